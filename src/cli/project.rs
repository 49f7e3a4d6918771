//! Everything that a command about the whole repository works on, loaded from disk (edge).

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use crate::apply::{JournalFile, Observer, TOPOLOGY_PATH, Workspace};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::kept_sealed;
use crate::cli::unopened::{self, Unopened};
use crate::fleet::ssh::HAS_LIBSSH2;
use crate::fleet::{
    KubectlProgram, KubernetesCluster, SshHost, SshProgram, Target, TargetKind, abreast,
    local_target,
};
use crate::inventory::{Digest, DocumentFacts, Reach, ReaderKind, RepoFacts, TargetFacts};
use crate::keys::IdentitySet;
use crate::keystore::{self, Lookup, Surroundings};
use crate::ledger::{LEDGER_PATH, Ledger};
use crate::repo::content;
use crate::repo::git::{Git, GitError};
use crate::repo::lock::{LockError, RunLock};
use crate::repo::scan::{Found, Scan, Skipped};
use crate::sops::document::{Document, DocumentError};
use crate::topology::{self, HostTarget, Reader, Topology, Transport};

/// A repository with its topology, ledger, readers and the identities at hand.
pub struct Project {
    /// The repository's git.
    pub git: Git,
    /// Its root.
    pub root: PathBuf,
    /// Intended state.
    pub topology: Topology,
    /// The identities that exist.
    pub ledger: Ledger,
    /// One for each host and cluster, by name.
    pub targets: BTreeMap<String, Box<dyn Target>>,
    /// The identities of whoever runs this, and where they were looked for.
    pub lookup: Lookup,
}

impl Project {
    /// Loads the project around the working directory; reads no target yet.
    ///
    /// # Errors
    /// No repository, no or a wrong topology (all mistakes at once), a damaged ledger, a target that cannot be reached
    /// by this version.
    pub fn load(context: &Context) -> Result<Self, CliError> {
        let git = discover(&context.directory)?;
        let root = git.root().to_owned();
        let topology = load_topology(&root)?;
        let ledger = load_ledger(&root)?;
        let targets = targets(&topology, &root, &ledger)?;
        let lookup = keystore::look_up(&Surroundings::of_process());
        for warning in &lookup.warnings {
            context.ui.warn(warning);
        }
        Ok(Self {
            git,
            root,
            topology,
            ledger,
            targets,
            lookup,
        })
    }

    /// The folder of sealed identities.
    pub fn sealed(&self) -> PathBuf {
        self.root.join(&self.topology.sealed_folder)
    }

    /// What a run works on.
    pub fn workspace<'a>(&'a self, git: &'a Git, observer: &'a dyn Observer) -> Workspace<'a> {
        Workspace {
            root: &self.root,
            git,
            topology: &self.topology,
            sealed: self.sealed(),
            targets: &self.targets,
            at_hand: &self.lookup.identities,
            observer,
        }
    }

    /// Loads the project and takes the lock that lets one run at a time work here.
    ///
    /// # Errors
    /// As [`Project::load`]; another run holds the lock; it cannot be made.
    pub fn locked(context: &Context) -> Result<(Self, RunLock), CliError> {
        let mut project = Self::load(context)?;
        let lock = RunLock::acquire(&project.root).map_err(|error| {
            let hint = match &error {
                LockError::Held { .. } => "wait until it has ended, then run this again",
                _ => "nothing was changed; make that folder writable, or make room",
            };
            CliError::from_error(&error).hint(hint)
        })?;
        // Another run may have ended between the two.
        project.reload()?;
        Ok((project, lock))
    }

    /// Reads topology and ledger again.
    ///
    /// # Errors
    /// As [`Project::load`].
    pub fn reload(&mut self) -> Result<(), CliError> {
        self.topology = load_topology(&self.root)?;
        self.ledger = load_ledger(&self.root)?;
        self.connect()
    }

    /// Makes the targets of the topology as it is in memory.
    ///
    /// # Errors
    /// A target that cannot be reached by this version.
    pub fn connect(&mut self) -> Result<(), CliError> {
        self.targets = targets(&self.topology, &self.root, &self.ledger)?;
        Ok(())
    }

    /// The run that has not ended; none if every run has.
    ///
    /// # Errors
    /// A damaged journal.
    pub fn unfinished(&self) -> Result<Option<JournalFile>, CliError> {
        Ok(JournalFile::unfinished(&self.root)?)
    }

    /// Opens and verifies every SOPS document of the repository with the identities at hand.
    ///
    /// # Errors
    /// Every document that cannot be opened or does not verify, by name; places where a secret may be hidden.
    pub fn inventory(&self, context: &Context) -> Result<RepoFacts, CliError> {
        let scan = Scan::of_repository(&self.git)?;
        let problems: Vec<String> = scan
            .problems()
            .map(|(path, why)| match why {
                Skipped::NameNotUtf8 => format!(
                    "{} is a SOPS document whose name is not UTF-8",
                    path.display()
                ),
                Skipped::OutsideDocument(target) => format!(
                    "{} is a link to the SOPS document {} outside of the repository, which nothing here can rewrite; \
                     put the document itself in its place",
                    path.display(),
                    target.display()
                ),
                Skipped::Unreadable(reason) => format!("cannot read {}: {reason}", path.display()),
                Skipped::TooLarge => format!(
                    "{} looks like a SOPS document and was not looked into: {}; take it out of the repository, or let git ignore it",
                    path.display(),
                    content::too_large()
                ),
                _ => format!("{} was not looked into", path.display()),
            })
            .collect();
        let identities = kept_sealed::for_documents(self, &scan.documents);
        let bar = context
            .ui
            .progress("opening documents", scan.documents.len() as u64);
        let opened: Vec<Result<DocumentFacts, Unopened>> = scan
            .documents
            .into_par_iter()
            .map(|found| {
                let facts = facts_of(found, &identities);
                bar.step();
                facts
            })
            .collect();
        drop(bar);
        let mut documents = Vec::new();
        let mut unopened = Vec::new();
        for one in opened {
            match one {
                Ok(facts) => documents.push(facts),
                Err(one) => unopened.push(one),
            }
        }
        if !problems.is_empty() || !unopened.is_empty() {
            return Err(unopened::failure(&unopened, problems, &self.lookup));
        }
        let rules = match std::fs::read_to_string(self.root.join(".sops.yaml")) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(CliError::failed("cannot read .sops.yaml").caused_by(&e)),
        };
        let mut others = scan.others;
        others.retain(|path| !path.as_str().starts_with(".cofferdam/journal/"));
        // Where one file is named for many, an ordinary one tells more than those that every repository like this has.
        others.sort_by_key(|path| is_ours(path.as_str()));
        Ok(RepoFacts {
            documents,
            others,
            rules,
        })
    }

    /// What each reader of the topology holds, hosts first. One that cannot be read is told, and holds up nothing before
    /// the gate.
    ///
    /// # Errors
    /// Readers that a later state of this repository wrote to; hosts that are one machine.
    pub fn target_facts(&self, context: &Context) -> Result<Vec<TargetFacts>, CliError> {
        let hosts = self.topology.hosts.iter().map(Reader::Host);
        let clusters = self.topology.clusters.iter().map(Reader::Cluster);
        let mut ahead = Vec::new();
        let readers: Vec<Reader<'_>> = hosts.chain(clusters).collect();
        let read = abreast(&readers, |reader| self.targets[reader.name()].read());
        let facts = readers.into_iter().zip(read).map(|(reader, held)| {
            let target = &self.targets[reader.name()];
            let (held, reach) = match held {
                Ok(held) => {
                    if let Some(found) = &held.ahead {
                        ahead.push(format!(
                            "{} was written to by run {} from another clone, at generation {} of the ledger; this clone is behind it",
                            target.name(),
                            found.run(),
                            found.number()
                        ));
                    }
                    for finding in &held.permissions {
                        context.ui.warn(format!(
                            "{} on {} is open to others (mode {:04o})",
                            finding.path,
                            target.name(),
                            finding.mode
                        ));
                    }
                    (held.recipients, Reach::Read)
                }
                Err(error) => {
                    let hint = unopened::target_hint(&error);
                    let hint = hint.map(|h| format!(" ({h})")).unwrap_or_default();
                    context
                        .ui
                        .warn(format!("{}{hint}", unopened::one_line(&error)));
                    let reach = if error.is_unreachable() {
                        Reach::Unreachable
                    } else {
                        Reach::Failed
                    };
                    (Vec::new(), reach)
                }
            };
            TargetFacts {
                name: reader.name().to_owned(),
                kind: match target.kind() {
                    TargetKind::Host => ReaderKind::Host,
                    TargetKind::Cluster => ReaderKind::Cluster,
                },
                zone: reader.zone().to_owned(),
                held,
                reach,
                declares_clones: shows_clones(reader),
            }
        });
        let facts: Vec<TargetFacts> = facts.collect();
        if !ahead.is_empty() {
            return Err(CliError::many(Kind::Stopped, ahead).hint("git pull"));
        }
        let problems = self.one_for_two();
        if problems.is_empty() {
            Ok(facts)
        } else {
            Err(CliError::many_with_hints(Kind::Failed, problems))
        }
    }
}

impl Project {
    /// Protocol rule 22: hosts that showed one SSH host key, each pair of neighbours with what to do. One machine that
    /// stands for two answers for both, and one identity file is written for two zones.
    fn one_for_two(&self) -> Vec<(String, Option<String>)> {
        let mut shown: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, target) in &self.targets {
            if let Some(key) = target.host_key() {
                shown.entry(key).or_default().push(name);
            }
        }
        let several = shown.into_iter().filter(|(_, names)| names.len() > 1);
        several
            .map(|(key, names)| {
                let text = format!("{} show one SSH host key, {key}", names.join(" and "));
                let hint = "declare a machine once; give one that was copied from another keys of its own: rm /etc/ssh/ssh_host_* && ssh-keygen -A";
                (text, Some(hint.to_owned()))
            })
            .collect()
    }
}

/// Whether retirement can look at what a reader has deployed.
fn shows_clones(reader: Reader<'_>) -> bool {
    match reader {
        Reader::Host(host) => !host.clones.is_empty(),
        Reader::Cluster(cluster) => !cluster.kustomizations.is_empty(),
    }
}

/// Reads and checks `cofferdam.toml`.
///
/// # Errors
/// That it is missing; all its mistakes at once.
pub fn load_topology(root: &std::path::Path) -> Result<Topology, CliError> {
    let path = root.join(TOPOLOGY_PATH);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(CliError::failed(format!(
                "there is no {TOPOLOGY_PATH} in {}",
                root.display()
            ))
            .hint("cofferdam init --recovery RECIPIENT --operator NAME=RECIPIENT"));
        }
        Err(e) => {
            return Err(CliError::failed(format!("cannot read {}", path.display())).caused_by(&e));
        }
    };
    topology::parse(&text, TOPOLOGY_PATH).map_err(|problems| {
        let told = problems.into_iter().map(|p| (p.to_string(), p.hint));
        CliError::many_with_hints(Kind::Failed, told)
    })
}

/// Reads the ledger; an empty one if there is none yet.
///
/// # Errors
/// A damaged ledger.
pub fn load_ledger(root: &std::path::Path) -> Result<Ledger, CliError> {
    match std::fs::read_to_string(root.join(LEDGER_PATH)) {
        Ok(text) => Ok(Ledger::parse(&text)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Ledger::new()),
        Err(e) => Err(CliError::failed(format!("cannot read {LEDGER_PATH}")).caused_by(&e)),
    }
}

fn is_ours(path: &str) -> bool {
    path.starts_with(".cofferdam/") || [TOPOLOGY_PATH, ".sops.yaml", ".gitignore"].contains(&path)
}

fn targets(
    topology: &Topology,
    root: &std::path::Path,
    ledger: &Ledger,
) -> Result<BTreeMap<String, Box<dyn Target>>, CliError> {
    let hosts = topology.hosts.iter().map(Reader::Host);
    let clusters = topology.clusters.iter().map(Reader::Cluster);
    let program = SshProgram::of_process().ok_or_else(|| {
        CliError::usage("COFFERDAM_SSH cannot be split into words: a quote is left open")
    })?;
    #[cfg(feature = "libssh2")]
    let program = program.with_prompt(Surroundings::of_process().prompt());
    let program = Arc::new(program);
    let needs_libssh2: Vec<&str> = topology
        .hosts
        .iter()
        .filter(|host| matches!(host.target, HostTarget::Ssh(_)))
        .filter(|host| host.transport == Some(Transport::Libssh2) && !HAS_LIBSSH2)
        .map(|host| host.name.as_str())
        .collect();
    if !needs_libssh2.is_empty() {
        return Err(CliError::failed(format!(
            "this build has no libssh2, which cofferdam.toml names as transport of: {}",
            needs_libssh2.join(", ")
        ))
        .hint("leave `transport` out, so that the ssh program reaches them; or build one that has it: cargo build --release --features libssh2"));
    }
    let kubectl = KubectlProgram::of_process().map(Arc::new).ok_or_else(|| {
        CliError::usage("COFFERDAM_KUBECTL cannot be split into words: a quote is left open")
    })?;
    let mut targets = BTreeMap::new();
    for reader in hosts.chain(clusters) {
        let boxed = match reader {
            Reader::Host(host) => {
                SshHost::of(host, &program).map(|host| Box::new(host) as Box<dyn Target>)
            }
            Reader::Cluster(cluster) => KubernetesCluster::of(cluster, &kubectl)
                .map(|cluster| Box::new(cluster) as Box<dyn Target>),
        };
        // What is reached by neither program is a directory: there is no fourth kind.
        if let Some(target) = boxed.or_else(|| local_target(reader, root)) {
            if let Some(generation) = ledger.generation() {
                target.claim(generation);
            }
            targets.insert(reader.name().to_owned(), target);
        }
    }
    Ok(targets)
}

fn facts_of(found: Found, identities: &IdentitySet) -> Result<DocumentFacts, Unopened> {
    let digest = Digest::of(&found.source);
    let path = found.path;
    let fail = |error: DocumentError| Unopened {
        path: path.clone(),
        error,
    };
    let document = Document::parse(found.store, found.source).map_err(fail)?;
    let key = document.unwrap_data_key(identities).map_err(fail)?;
    let opened = document.open(&key).map_err(fail)?;
    Ok(DocumentFacts {
        recipients: document.recipients().into_iter().cloned().collect(),
        foreign: document
            .foreign_entries()
            .iter()
            .map(ToString::to_string)
            .collect(),
        key_groups: document.key_groups().len(),
        digest,
        values: opened.encrypted_values(),
        path,
    })
}

/// The repository around `folder`.
///
/// # Errors
/// That there is none, or no `git`.
pub fn discover(folder: &std::path::Path) -> Result<Git, CliError> {
    Git::discover(folder).map_err(|error| {
        let hint = match &error {
            GitError::NotInstalled => "install git, or put it on PATH",
            GitError::NotARepository { .. } => {
                "go to the repository, or name it: cofferdam -C DIR (git init makes a new one)"
            }
            _ => return CliError::from_error(&error),
        };
        CliError::from_error(&error).hint(hint)
    })
}
