//! Protocol rule 12 for clusters: whether Flux has applied the rewritten documents, compared by blob, not by commit id.
//!
//! A Kustomization that is ready at a commit with them has decrypted them, and what they are wrapped to is no longer the old
//! identity: where it decrypts from the Secret that was delivered to, that is the strongest receipt there is.

use std::collections::BTreeMap;

use crate::apply::clones::{Wanted, wanted};
use crate::apply::errands::one_line;
use crate::apply::{ApplyError, Workspace, now};
use crate::fleet::{Reconciliation, abreast};
use crate::inventory::Digest;
use crate::journal::Progress;
use crate::plan::PlannedReader;
use crate::repo::git::{GitError, Oid};
use crate::repo_path::RepoPath;
use crate::topology::Cluster;

/// What the clusters' Kustomizations show.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// What is missing, a text each.
    pub(super) missing: Vec<String>,
    /// Clusters that decrypted and applied the new documents.
    pub(super) reconciled: Vec<String>,
}

/// Looks at the declared Kustomizations of `readers`. Those that are not there yet are asked for another turn, where that is
/// allowed.
pub(super) fn look(
    work: &Workspace<'_>,
    progress: &Progress,
    readers: &[&PlannedReader],
) -> Result<Shown, ApplyError> {
    let losing: Vec<(&Cluster, Wanted)> = readers
        .iter()
        .copied()
        .filter_map(|reader| Some((work.topology.cluster(&reader.name)?, reader)))
        .filter(|(cluster, _)| !cluster.kustomizations.is_empty())
        .map(|(cluster, reader)| Ok((cluster, wanted(work, progress, reader)?)))
        .collect::<Result<_, ApplyError>>()?;
    let states = abreast(&losing, |(cluster, _)| {
        work.targets[&cluster.name].reconciled()
    });
    let mut history = History::new(work);
    let mut shown = Shown::default();
    for ((cluster, wanted), states) in losing.iter().zip(states) {
        let name = &cluster.name;
        let states = match states {
            Ok(states) => states,
            Err(error) => {
                shown.missing.push(format!("{name}: {}", one_line(&error)));
                continue;
            }
        };
        let (mut is_there, mut has_decrypted) = (!states.is_empty(), false);
        for state in &states {
            match history.lacking(state, wanted)? {
                None => has_decrypted |= decrypts(state, cluster, wanted),
                Some(lacking) => {
                    is_there = false;
                    let text = format!("{name}: Kustomization {} {lacking}", state.name);
                    shown.missing.push(text);
                    ask(work, name, state);
                }
            }
        }
        if is_there && has_decrypted {
            shown.reconciled.push(name.clone());
        }
    }
    Ok(shown)
}

/// Whether some Kustomization has applied a commit with one of these bytes of a document: then others have seen it. One that is
/// not known here may have.
///
/// # Errors
/// A cluster that cannot be looked at: what was taken there cannot be taken back.
pub(super) fn hold(
    work: &Workspace<'_>,
    published: &[(RepoPath, Digest)],
) -> Result<bool, ApplyError> {
    let clusters: Vec<&Cluster> = work
        .topology
        .clusters
        .iter()
        .filter(|c| !c.kustomizations.is_empty() && work.targets.contains_key(&c.name))
        .collect();
    let states = abreast(&clusters, |cluster| {
        work.targets[&cluster.name]
            .reconciled()
            .map_err(ApplyError::target(&cluster.name))
    });
    let paths: Vec<RepoPath> = published.iter().map(|(path, _)| path.clone()).collect();
    let mut history = History::new(work);
    for state in states {
        for one in state?.iter().filter(|one| one.revision.is_some()) {
            let Some(commit) = one.commit() else {
                return Ok(true);
            };
            let Some(held) = history.digests(commit, &paths)? else {
                return Ok(true);
            };
            let mut pairs = published.iter().zip(held);
            if pairs.any(|((_, digest), held)| held == Some(*digest)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether a Kustomization that has the new documents has decrypted one of them with what was delivered.
fn decrypts(state: &Reconciliation, cluster: &Cluster, wanted: &Wanted) -> bool {
    let is_served = cluster.secrets.iter().any(|secret| {
        state.secret.as_deref() == Some(&*secret.name) && secret.namespace == state.name.namespace
    });
    is_served
        && wanted
            .iter()
            .any(|(path, digest)| digest.is_some() && state.covers(path.as_str()))
}

/// Asks for a turn. The right to is one that the login may do without, so no failure is told.
fn ask(work: &Workspace<'_>, cluster: &str, state: &Reconciliation) {
    if state.is_suspended {
        return;
    }
    let asked = work.targets[cluster].ask_to_reconcile(state, &now().to_string());
    if asked.is_ok() {
        work.observer.note(&format!(
            "{cluster}: asked Flux to reconcile {}",
            state.name
        ));
    }
}

/// What commits hold, each looked up once; unknown ones are fetched once, where there is a remote.
struct History<'w> {
    work: &'w Workspace<'w>,
    has_fetched: bool,
    known: BTreeMap<String, Option<Oid>>,
}

impl<'w> History<'w> {
    fn new(work: &'w Workspace<'w>) -> Self {
        Self {
            work,
            has_fetched: false,
            known: BTreeMap::new(),
        }
    }

    /// Why a Kustomization is no evidence that the cluster has the new documents; none if it is.
    fn lacking(
        &mut self,
        state: &Reconciliation,
        wanted: &Wanted,
    ) -> Result<Option<String>, ApplyError> {
        if let Some(trouble) = &state.trouble {
            return Ok(Some(trouble.clone()));
        }
        let Some(revision) = &state.revision else {
            return Ok(Some("has applied nothing yet".to_owned()));
        };
        let Some(commit) = state.commit() else {
            let revision: String = revision.chars().filter(|c| !c.is_control()).collect();
            return Ok(Some(format!(
                "has applied {revision}, which names no commit of git"
            )));
        };
        let short = commit.get(..12).unwrap_or(commit);
        let paths: Vec<RepoPath> = wanted.keys().cloned().collect();
        let Some(held) = self.digests(commit, &paths)? else {
            return Ok(Some(format!(
                "has applied commit {short}, which is not known here (fetch it)"
            )));
        };
        let (mut is_one, mut stale) = (wanted.is_empty(), None);
        for ((path, wanted), held) in wanted.iter().zip(held) {
            // As with clones: what is absent there is not deployed there.
            if held.is_some() && held != *wanted {
                stale = stale.or(Some(path));
            }
            is_one |= held == *wanted;
        }
        Ok(match stale {
            Some(path) => Some(format!(
                "has applied commit {short}, with another version of {path}"
            )),
            None if !is_one => Some(format!(
                "has applied commit {short}, which holds none of its documents"
            )),
            None => None,
        })
    }

    /// The digests of files in a commit; none if it is not known here.
    fn digests(
        &mut self,
        commit: &str,
        paths: &[RepoPath],
    ) -> Result<Option<Vec<Option<Digest>>>, ApplyError> {
        let Some(oid) = self.commit(commit)? else {
            return Ok(None);
        };
        let blobs = self.work.git.blobs(oid.as_str(), paths)?;
        let digests = blobs.iter().map(|blob| blob.as_deref().map(Digest::of));
        Ok(Some(digests.collect()))
    }

    fn commit(&mut self, commit: &str) -> Result<Option<Oid>, ApplyError> {
        if let Some(known) = self.known.get(commit) {
            return Ok(known.clone());
        }
        let git = self.work.git;
        let mut found = git.resolve(commit)?;
        if found.is_none()
            && !self.has_fetched
            && let Some(remote) = self.remote()?
        {
            self.has_fetched = true;
            // One that cannot be fetched is no evidence, and says so as one that is not known.
            if git.fetch(&remote).is_ok() {
                found = git.resolve(commit)?;
            }
        }
        self.known.insert(commit.to_owned(), found.clone());
        Ok(found)
    }

    /// The remote that clusters may read from: the topology's, else `origin`, else the only one.
    fn remote(&self) -> Result<Option<String>, GitError> {
        if let Some(remote) = &self.work.topology.publish.remote {
            return Ok(Some(remote.clone()));
        }
        let mut remotes = self.work.git.remotes()?;
        if remotes.iter().any(|name| name == "origin") {
            return Ok(Some("origin".to_owned()));
        }
        Ok(remotes.pop().filter(|_| remotes.is_empty()))
    }
}
