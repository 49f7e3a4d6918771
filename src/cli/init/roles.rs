//! No recipient in two roles: what operators and recovery hold, no target holds; what a zone adopts, no other zone's.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::error::{CliError, Kind};
use crate::evidence::{Note, Proposal, Sources, Target};
use crate::keys::Recipient;
use crate::keys::key_file::KeyFile;

/// Refuses an operator or recovery recipient whose identity lies on a target that can be read from here, or which is
/// the only recipient of every document (then it is the shared identity that a split retires).
///
/// # Errors
/// A failure that names both holders, for each such recipient.
pub(super) fn check(proposal: &Proposal, sources: &Sources, root: &Path) -> Result<(), CliError> {
    let people = people(proposal);
    let mut problems = Vec::new();
    for file in key_files(proposal) {
        let Some(held) = held(&root.join(&file.path)) else {
            continue;
        };
        for (holder, _) in people.iter().filter(|(_, r)| held.contains(r)) {
            problems.push(format!(
                "{holder} and {} hold the same identity: {} opens what {holder} must open alone",
                file.holder(),
                file.path.display()
            ));
        }
    }
    if let Some(shared) = only_recipient(sources) {
        for (holder, recipient) in people.iter().filter(|(_, r)| *r == *shared) {
            problems.push(format!(
                "{holder} is {}, the only recipient of all {} documents: the shared identity itself",
                recipient.short(),
                sources.documents.len()
            ));
        }
    }
    for (index, (holder, recipient)) in people.iter().enumerate() {
        let twin = people.iter().skip(index + 1).find(|(_, r)| r == recipient);
        if let Some((other, _)) = twin {
            problems.push(format!(
                "{holder} and {other} have the same recipient {}",
                recipient.short()
            ));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(CliError::many(Kind::Failed, problems)
            .hint("make an identity that nobody else holds: age-keygen -o FILE")),
    }
}

/// Takes back what a zone was to adopt where a target that can be read from here says otherwise: one of another zone holds
/// that identity too.
pub(super) fn withdraw_adoptions(proposal: &mut Proposal, root: &Path) {
    let found: Vec<(TargetFile, Vec<Recipient>)> = key_files(proposal)
        .into_iter()
        .filter_map(|file| {
            let held = held(&root.join(&file.path))?;
            Some((file, held))
        })
        .collect();
    let mut notes = Vec::new();
    for zone in &mut proposal.zones {
        let Some(adopt) = &zone.adopt else {
            continue;
        };
        let elsewhere = found
            .iter()
            .find(|(file, held)| file.zone != zone.name && held.contains(&adopt.recipient));
        if let Some((file, _)) = elsewhere {
            let holder = file.holder();
            let documents = zone.files.iter().flat_map(|set| &set.documents);
            notes.extend(documents.take(1).map(|document| Note {
                file: document.clone(),
                text: format!(
                    "zone {} is given a new identity: {holder} holds today's ({}) too",
                    zone.name,
                    adopt.recipient.short()
                ),
            }));
            zone.adopt = None;
        }
    }
    proposal.notes.extend(notes);
}

fn people(proposal: &Proposal) -> Vec<(String, Recipient)> {
    let operators = proposal.operators.iter().flat_map(|(name, keys)| {
        keys.iter()
            .map(move |k| (format!("operator {name}"), k.clone()))
    });
    let recovery = proposal
        .recovery
        .iter()
        .map(|k| ("recovery".to_owned(), k.clone()));
    operators.chain(recovery).collect()
}

/// A file of a directory target that holds identities.
struct TargetFile {
    kind: &'static str,
    name: String,
    zone: String,
    /// Relative to `cofferdam.toml`, or absolute.
    path: PathBuf,
}

impl TargetFile {
    fn holder(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// The key files of directory targets.
fn key_files(proposal: &Proposal) -> Vec<TargetFile> {
    let mut files = Vec::new();
    for host in &proposal.hosts {
        if let Target::Local(folder) = &host.target {
            files.push(TargetFile {
                kind: "host",
                name: host.name.clone(),
                zone: host.zone.clone(),
                path: Path::new(folder).join(host.identity_file.trim_start_matches('/')),
            });
        }
    }
    for cluster in &proposal.clusters {
        if let Target::Local(folder) = &cluster.target {
            for (secret, _) in &cluster.secrets {
                let folder = Path::new(folder).join(&secret.namespace).join(&secret.name);
                files.push(TargetFile {
                    kind: "cluster",
                    name: cluster.name.clone(),
                    zone: cluster.zone.clone(),
                    path: folder.join(&secret.entry),
                });
            }
        }
    }
    files
}

/// The recipients of a key file's identities; none if it cannot be read as one.
fn held(file: &Path) -> Option<Vec<Recipient>> {
    let bytes = crate::secret::SecretBytes::new(std::fs::read(file).ok()?);
    Some(KeyFile::parse(bytes.expose()).ok()?.recipients())
}

fn only_recipient(sources: &Sources) -> Option<&Recipient> {
    let mut all = BTreeSet::new();
    for facts in sources.documents.values() {
        match facts.recipients.as_slice() {
            [one] => all.insert(one),
            _ => return None,
        };
    }
    if all.len() == 1 {
        all.pop_first()
    } else {
        None
    }
}
