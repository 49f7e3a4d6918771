//! Protocol rule 12: whether a reader's own clones hold the rewritten documents, compared by digest.

use std::collections::BTreeMap;

use crate::apply::{ApplyError, Workspace, read_optional, reconciled};
use crate::fleet::{Deployed, abreast};
use crate::inventory::Digest;
use crate::journal::Progress;
use crate::plan::{Party, PlannedReader};
use crate::repo_path::RepoPath;
use crate::topology::host::Host;

/// Those of `readers` whose clones are not there yet, each with what is missing. One that cannot be looked at is not there
/// yet.
pub(super) fn not_taken(
    work: &Workspace<'_>,
    progress: &Progress,
    readers: &[&PlannedReader],
) -> Result<Vec<String>, ApplyError> {
    let losing: Vec<(&Host, Wanted)> = readers
        .iter()
        .copied()
        .filter_map(|reader| Some((work.topology.host(&reader.name)?, reader)))
        .filter(|(host, _)| !host.clones.is_empty())
        .map(|(host, reader)| Ok((host, wanted(work, progress, reader)?)))
        .collect::<Result<_, ApplyError>>()?;
    let missing = abreast(&losing, |(host, wanted)| missing_on(work, host, wanted));
    Ok(missing.into_iter().flatten().collect())
}

/// The digests of a run's documents that a reader reads, as they are here; none for one that was removed since.
pub(super) type Wanted = BTreeMap<RepoPath, Option<Digest>>;

pub(super) fn wanted(
    work: &Workspace<'_>,
    progress: &Progress,
    reader: &PlannedReader,
) -> Result<Wanted, ApplyError> {
    let documents = progress.plan.documents.iter().filter(|document| {
        let reads = |p: &Party| matches!(p, Party::Identity(id) if reader.needs.contains(id));
        document.after.iter().any(reads)
    });
    documents
        .map(|document| {
            let bytes = read_optional(&document.path.under(work.root))?;
            Ok((document.path.clone(), bytes.map(|b| Digest::of(&b))))
        })
        .collect()
}

/// What is missing on one host, a text each.
fn missing_on(work: &Workspace<'_>, host: &Host, wanted: &Wanted) -> Vec<String> {
    let name = &host.name;
    let documents: Vec<RepoPath> = wanted.keys().cloned().collect();
    let found = match work.targets[name].deployed(&host.clones, &documents) {
        Ok(found) => found,
        Err(error) => {
            return vec![format!("{name}: {}", super::errands::one_line(&error))];
        }
    };
    let mut missing = Vec::new();
    for Deployed { glob, clones } in found {
        if clones.is_empty() {
            missing.push(format!("{name}: {glob} matches nothing"));
        }
        for clone in clones {
            let stale = clone
                .documents
                .iter()
                .find(|(path, digest)| wanted.get(*path) != Some(&Some(**digest)));
            if let Some((path, _)) = stale {
                missing.push(format!("{name}: {path} in {}", clone.folder));
            }
        }
    }
    missing
}

/// Whether some declared clone or Kustomization holds one of these bytes of a document: then others have seen the commit.
///
/// # Errors
/// A host or cluster that cannot be looked at: what was taken there cannot be taken back.
pub(super) fn hold(
    work: &Workspace<'_>,
    published: &[(RepoPath, Digest)],
) -> Result<bool, ApplyError> {
    if published.is_empty() {
        return Ok(false);
    }
    if reconciled::hold(work, published)? {
        return Ok(true);
    }
    let mut documents: Vec<RepoPath> = published.iter().map(|(path, _)| path.clone()).collect();
    documents.sort();
    documents.dedup();
    let hosts: Vec<&Host> = work
        .topology
        .hosts
        .iter()
        .filter(|host| !host.clones.is_empty() && work.targets.contains_key(&host.name))
        .collect();
    let found = abreast(&hosts, |host| {
        work.targets[&host.name]
            .deployed(&host.clones, &documents)
            .map_err(ApplyError::target(&host.name))
    });
    for deployed in found {
        let mut clones = deployed?.into_iter().flat_map(|glob| glob.clones);
        let is_published = |path: &RepoPath, digest: &Digest| {
            published.iter().any(|(p, d)| p == path && d == digest)
        };
        if clones.any(|clone| clone.documents.iter().any(|(p, d)| is_published(p, d))) {
            return Ok(true);
        }
    }
    Ok(false)
}
