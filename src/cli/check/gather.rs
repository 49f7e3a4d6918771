//! Reads what facts are made from (edge): the work tree, `.sops.yaml`, `cofferdam.toml`, the ledger.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::apply::TOPOLOGY_PATH;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::init::material;
use crate::evidence::{Evidence, Sources};
use crate::inventory::{DIGESTS_PATH, Digests};
use crate::keys::Recipient;
use crate::ledger::{LEDGER_PATH, Ledger};
use crate::plan::drift::{StandingInput, drills, standing, wanted};
use crate::policy::facts::{Before, Material, Record, Trouble, plaintext_names, records};
use crate::repo::content;
use crate::repo::git::{Git, GitError};
use crate::repo::scan::{Scan, Skipped};
use crate::repo::staged::Staged;
use crate::repo_path::RepoPath;
use crate::rules::RulesFile;
use crate::sops::Document;
use crate::topology::{self, Topology};

/// The root of the repository around the working directory; the working directory itself where there is no git.
///
/// # Errors
/// What git says, but for the absence of a repository or of git itself.
pub fn root(context: &Context) -> Result<(PathBuf, Option<Git>), CliError> {
    match Git::discover(&context.directory) {
        Ok(git) => Ok((git.root().to_owned(), Some(git))),
        Err(GitError::NotInstalled | GitError::NotARepository { .. }) => {
            Ok((context.directory.clone(), None))
        }
        Err(error) => Err(CliError::from_error(&error)),
    }
}

/// Where a repository's files are read from.
pub enum Tree<'a> {
    /// The work tree at this root, as git lists it; without git, all files.
    Work(&'a Path, Option<&'a Git>),
    /// What is about to be committed.
    Staged(Staged),
}

impl Tree<'_> {
    /// The index of `git`, with the texts that facts are made from.
    ///
    /// # Errors
    /// What git says.
    pub fn staged(git: &Git) -> Result<Self, CliError> {
        let is_wanted = |path: &RepoPath| {
            material::may_be_evidence(path)
                || matches!(path.as_str(), TOPOLOGY_PATH | LEDGER_PATH | DIGESTS_PATH)
        };
        Ok(Self::Staged(Staged::read(
            git,
            material::MAX_TEXT,
            is_wanted,
        )?))
    }
}

/// What a repository is like.
pub struct Gathered {
    /// The facts.
    pub records: Vec<Record>,
    /// Paths and texts that they were made from.
    pub sources: Sources,
}

/// Makes the facts of a repository, and of what changed since `before`.
///
/// # Errors
/// If its files cannot be listed. Whatever is wrong with a file is a fact.
pub fn gather(tree: Tree<'_>, before: Option<&Before>) -> Result<Gathered, CliError> {
    let (scan, root, staged) = match tree {
        Tree::Work(root, Some(git)) => (Scan::of_repository(git)?, Some(root), None),
        Tree::Work(root, None) => (Scan::of_folder(root)?, Some(root), None),
        Tree::Staged(staged) => (staged.scan, None, Some(staged.texts)),
    };
    let staged = staged.unwrap_or_default();
    let text = |path: &str, troubles: &mut Vec<Trouble>| match root {
        Some(root) => read_text(root, path, troubles),
        None => staged.get(&RepoPath::new(path).ok()?).cloned(),
    };
    let identities: BTreeMap<RepoPath, usize> = scan.identities.iter().cloned().collect();
    let mut troubles: Vec<Trouble> = scan
        .problems()
        .map(|(path, why)| skipped(path, why))
        .collect();
    let submodules: Vec<String> = scan
        .skipped
        .iter()
        .filter(|(_, why)| *why == Skipped::Submodule)
        .map(|(path, _)| path.to_string_lossy().into_owned())
        .collect();
    let (mut sources, read) = match root {
        Some(root) => material::read(scan, root),
        None => material::read_with(scan, |path| staged.get(path).cloned()),
    };
    let mut documents: Vec<(RepoPath, Document)> = Vec::new();
    for (path, document) in read {
        match document {
            Ok(document) => documents.push((path, document)),
            Err(error) => {
                troubles.push(trouble(path.as_str(), None, &error));
                // Told once, as what could not be looked into.
                sources.paths.remove(&path);
            }
        }
    }
    let rules = rules(&sources, &mut troubles);
    let read = text(TOPOLOGY_PATH, &mut troubles);
    let (topology_text, topology) = read_topology(read, &mut troubles);
    let read = text(LEDGER_PATH, &mut troubles);
    let (ledger_text, ledger) = read_ledger(read, &mut troubles);
    let read = text(DIGESTS_PATH, &mut troubles);
    let digests = read_digests(read, &mut troubles);
    let evidence = Evidence::gather(&mut sources);
    let of_documents: Vec<(RepoPath, Vec<Recipient>)> = documents
        .iter()
        .map(|(path, document)| {
            (
                path.clone(),
                document.recipients().into_iter().cloned().collect(),
            )
        })
        .collect();
    let standing = topology.as_ref().map(|topology| {
        Standing::of(&StandingInput {
            topology,
            ledger: &ledger,
            documents: &of_documents,
            now: Timestamp::now(),
        })
    });
    let standing = standing.unwrap_or_default();
    let beside = root.map_or(BTreeMap::new(), |root| beside(root, &sources, &documents));
    let records = records(&Material {
        sources: &sources,
        evidence: &evidence,
        documents: &documents,
        troubles: &troubles,
        submodules: &submodules,
        rules: &rules,
        topology: topology.as_ref(),
        topology_text: &topology_text,
        ledger: &ledger,
        ledger_text: &ledger_text,
        wanted: &standing.wanted,
        overdue: &standing.overdue,
        drills: &standing.drills,
        beside: &beside,
        identities: &identities,
        digests: &digests,
        before,
    });
    Ok(Gathered { records, sources })
}

type Places = BTreeMap<RepoPath, Result<(String, BTreeSet<Recipient>), String>>;

/// How the repository stands to its topology.
#[derive(Default)]
struct Standing {
    wanted: Places,
    overdue: BTreeMap<String, String>,
    drills: Vec<String>,
}

impl Standing {
    fn of(input: &StandingInput<'_>) -> Self {
        let standing = standing(input);
        let overdue = standing.identities.into_iter().filter_map(|identity| {
            let due = identity.due.filter(|due| *due <= input.now)?;
            let day = due.to_string();
            Some((identity.id?, day.get(..10).unwrap_or_default().to_owned()))
        });
        let places = wanted(input)
            .into_iter()
            .map(|(path, place)| (path.clone(), place.map_err(|problem| problem.to_string())));
        Self {
            wanted: places.collect(),
            overdue: overdue.collect(),
            drills: drills(input),
        }
    }
}

fn skipped(path: &Path, why: &Skipped) -> Trouble {
    let what = match why {
        Skipped::NameNotUtf8 => {
            "it is a SOPS document whose name is not UTF-8, which sops and its rules could not name"
                .to_owned()
        }
        Skipped::OutsideDocument(target) => format!(
            "it is a link to the SOPS document {} outside of the repository",
            target.display()
        ),
        Skipped::Unreadable(reason) => reason.clone(),
        Skipped::TooLarge => format!(
            "it looks like a SOPS document, but {}",
            content::too_large()
        ),
        other => format!("{other:?}"),
    };
    Trouble {
        file: path.to_string_lossy().into_owned(),
        line: None,
        what,
    }
}

/// A file's fault with its causes.
fn trouble(file: &str, line: Option<usize>, error: &dyn std::error::Error) -> Trouble {
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        what.push_str(&format!(": {error}"));
        cause = error.source();
    }
    Trouble {
        file: file.to_owned(),
        line,
        what,
    }
}

/// Every `.sops.yaml`.
fn rules(sources: &Sources, troubles: &mut Vec<Trouble>) -> Vec<(RepoPath, RulesFile)> {
    let mut found = Vec::new();
    for path in sources
        .paths
        .iter()
        .filter(|p| p.file_name() == ".sops.yaml")
    {
        let Some(text) = sources.texts.get(path) else {
            troubles.push(Trouble {
                file: path.as_str().to_owned(),
                line: None,
                what: "it is not UTF-8, or larger than 1 MiB".to_owned(),
            });
            continue;
        };
        match RulesFile::parse(text) {
            Ok(rules) => found.push((path.clone(), rules)),
            Err(error) => {
                let line = match &error {
                    crate::rules::RulesError::Malformed { line, .. } => Some(*line),
                    _ => None,
                };
                troubles.push(trouble(path.as_str(), line, &error));
            }
        }
    }
    found
}

fn read_topology(text: Option<String>, troubles: &mut Vec<Trouble>) -> (String, Option<Topology>) {
    let Some(text) = text else {
        return (String::new(), None);
    };
    match topology::parse(&text, TOPOLOGY_PATH) {
        Ok(topology) => (text, Some(topology)),
        Err(problems) => {
            troubles.extend(problems.into_iter().map(|problem| Trouble {
                file: TOPOLOGY_PATH.to_owned(),
                line: Some(problem.line),
                what: problem.message,
            }));
            (text, None)
        }
    }
}

fn read_ledger(text: Option<String>, troubles: &mut Vec<Trouble>) -> (String, Ledger) {
    let Some(text) = text else {
        return (String::new(), Ledger::new());
    };
    match Ledger::parse(&text) {
        Ok(ledger) => (text, ledger),
        Err(error) => {
            troubles.push(trouble(LEDGER_PATH, None, &error));
            (text, Ledger::new())
        }
    }
}

fn read_digests(text: Option<String>, troubles: &mut Vec<Trouble>) -> Digests {
    match text.as_deref().map(Digests::parse) {
        None => Digests::default(),
        Some(Ok(digests)) => digests,
        Some(Err(error)) => {
            troubles.push(trouble(DIGESTS_PATH, None, &error));
            Digests::default()
        }
    }
}

fn read_text(root: &Path, path: &str, troubles: &mut Vec<Trouble>) -> Option<String> {
    match std::fs::read_to_string(root.join(path)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            troubles.push(trouble(path, None, &error));
            None
        }
    }
}

/// The plaintext files that git does not see, beside their documents. A link is what `exec` leaves for a while.
fn beside(
    root: &Path,
    sources: &Sources,
    documents: &[(RepoPath, Document)],
) -> BTreeMap<RepoPath, String> {
    let lies = |path: &RepoPath| {
        let is_file = std::fs::symlink_metadata(path.under(root)).is_ok_and(|m| m.is_file());
        is_file && !sources.paths.contains(path)
    };
    let plaintext = documents.iter().filter_map(|(document, _)| {
        let plain = plaintext_names(document).filter(lies)?;
        Some((document.clone(), plain.as_str().to_owned()))
    });
    plaintext.collect()
}
