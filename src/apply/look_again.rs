//! Protocol rule 13: right before anything leaves, the repository is looked at again, as it is here and as the remote has it.
//!
//! A document that came since and opens only by what leaves is rewritten as well, where the topology and the identities that
//! opened it so far say for whom; else the run stops and names it. Open branches are told of, and not waited for.

use std::collections::BTreeMap;

use crate::apply::{ApplyError, Run};
use crate::inventory::Digest;
use crate::journal::{Entry, guards};
use crate::keys::Recipient;
use crate::plan::PlannedDocument;
use crate::plan::late::Late;
use crate::repo::content;
use crate::repo::git::{Oid, TreeEntry};
use crate::repo::recognise::recognise;
use crate::repo::scan::Scan;
use crate::repo_path::RepoPath;
use crate::sops::document::Document;

/// Up to this size, in bytes, some dozens of files are read at a time.
const SMALL: u64 = 512 << 10;

/// What looking again found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Nothing is wrapped to what leaves.
    Clear,
    /// Something is, and is planned now.
    Rewrite,
}

impl Run<'_> {
    /// Looks whether anything still needs what leaves. `late` is how often documents came late already.
    pub(super) fn look_again(&mut self, late: usize) -> Result<Again, ApplyError> {
        let gone = self.plan().leaving_recipients();
        if gone.is_empty() {
            return Ok(Again::Clear);
        }
        let head = self.work.git.head()?;
        if let Some(behind) = self.take_tip()? {
            return Err(behind);
        }
        if self.work.git.head()? != head && guards::may_go_back(late) {
            // Others' commits may hold older or newer bytes of what was rewritten.
            return Ok(Again::Rewrite);
        }
        if self.work.topology.publish.commit {
            let paths = self.documents_at_head()?;
            if !paths.is_empty() {
                return Err(ApplyError::PublishMismatch { paths });
            }
        }
        let stragglers = self.stragglers(&gone)?;
        if !stragglers.is_empty() {
            let planned: Option<Vec<PlannedDocument>> = stragglers
                .iter()
                .map(|(path, bytes)| self.amendment(path, bytes))
                .collect();
            return match planned {
                Some(documents) if guards::may_go_back(late) => {
                    for document in &documents {
                        self.work.observer.note(&format!(
                            "{} came since and is rewritten as well",
                            document.path
                        ));
                    }
                    self.journal.record(Entry::Amended { documents })?;
                    Ok(Again::Rewrite)
                }
                _ => Err(ApplyError::Stragglers {
                    paths: stragglers.iter().map(|(p, _)| p.to_string()).collect(),
                }),
            };
        }
        self.check_head(&gone)?;
        self.tell_of_branches(&gone)?;
        Ok(Again::Clear)
    }

    /// The documents of the work tree that are wrapped to one of `gone`.
    pub(super) fn stragglers(
        &self,
        gone: &[Recipient],
    ) -> Result<Vec<(RepoPath, Vec<u8>)>, ApplyError> {
        let scan =
            Scan::of_repository(self.work.git).map_err(|source| ApplyError::Scan { source })?;
        let mut found = Vec::new();
        for document in scan.documents {
            let fail = ApplyError::document(&document.path);
            let parsed = Document::parse(document.store, document.source.clone()).map_err(fail)?;
            if guards::needs_what_leaves(parsed.recipients(), &self.gone_at(&document.path, gone)) {
                found.push((document.path, document.source));
            }
        }
        Ok(found)
    }

    /// How a document that came late is rewritten; none if nobody has said for whom, or it cannot be done as it should.
    fn amendment(&self, path: &RepoPath, bytes: &[u8]) -> Option<PlannedDocument> {
        let document = Document::parse(recognise(path.as_str(), bytes)?, bytes.to_vec()).ok()?;
        if document.key_groups().len() > 1 || !document.foreign_entries().is_empty() {
            return None;
        }
        let late = Late {
            path,
            before: document.recipients().into_iter().cloned().collect(),
            digest: Digest::of(bytes),
        };
        late.planned(self.plan(), self.work.topology, &self.ledger)
    }

    /// What is committed counts as well as what lies here: a file may be changed, and not committed.
    pub(super) fn check_head(&self, gone: &[Recipient]) -> Result<(), ApplyError> {
        let git = self.work.git;
        let Some(head) = git.head()? else {
            return Ok(());
        };
        let tree = git.tree(head.as_str())?;
        let found = self.wrapped_in(tree, gone)?;
        if found.is_empty() {
            return Ok(());
        }
        let paths = found.into_iter().map(|p| format!("{p} (at HEAD)"));
        Err(ApplyError::Stragglers {
            paths: paths.collect(),
        })
    }

    /// The SOPS documents among these files of a commit that are wrapped to one of `gone`.
    pub(super) fn wrapped_in(
        &self,
        mut files: BTreeMap<String, TreeEntry>,
        gone: &[Recipient],
    ) -> Result<Vec<String>, ApplyError> {
        files.retain(|_, entry| entry.mode.starts_with("100"));
        let files: Vec<(String, Oid)> = files.into_iter().map(|(p, e)| (p, e.oid)).collect();
        let oids: Vec<&Oid> = files.iter().map(|(_, oid)| oid).collect();
        let sizes = self.work.git.sizes(&oids)?;
        let files = files.iter().zip(sizes);
        // No plan has a document of that size.
        let files = files.filter(|(_, size)| size.is_none_or(|size| size <= content::LARGEST));
        let files: Vec<_> = files.collect();
        let mut found = Vec::new();
        // A few at a time, and large ones alone.
        let is_small = |size: Option<u64>| size.is_none_or(|size| size <= SMALL);
        for some in files.chunk_by(|(_, a), (_, b)| is_small(*a) && is_small(*b)) {
            for some in some.chunks(64) {
                let oids: Vec<&Oid> = some.iter().map(|((_, oid), _)| oid).collect();
                for (((path, _), _), bytes) in some.iter().zip(self.work.git.cat_files(&oids)?) {
                    let wrapped = recognise(path, &bytes)
                        .and_then(|store| Document::parse(store, bytes).ok())
                        .is_some_and(|d| {
                            let path = RepoPath::new(path.as_str()).ok();
                            let gone =
                                path.map_or_else(|| gone.to_vec(), |p| self.gone_at(&p, gone));
                            guards::needs_what_leaves(d.recipients(), &gone)
                        });
                    if wrapped {
                        found.push(path.clone());
                    }
                }
            }
        }
        Ok(found)
    }

    /// Tells of documents on branches that are not merged: once they are, `sync` re-encrypts them.
    fn tell_of_branches(&self, gone: &[Recipient]) -> Result<(), ApplyError> {
        let git = self.work.git;
        let Some(head) = git.head()? else {
            return Ok(());
        };
        for (name, tip) in self.branches()? {
            if git.is_ancestor(tip.as_str(), head.as_str())? {
                continue;
            }
            let mut files = git.tree(tip.as_str())?;
            if let Some(base) = git.merge_base(tip.as_str(), head.as_str())? {
                let base = git.tree(base.as_str())?;
                files.retain(|path, entry| base.get(path) != Some(entry));
            }
            for path in self.wrapped_in(files, gone)? {
                self.work.observer.note(&format!(
                    "branch {name} still has {path} for what is retired: once it is merged, cofferdam sync re-encrypts it"
                ));
            }
        }
        Ok(())
    }

    /// The branches here, and those that the remote has now, by name and commit.
    fn branches(&self) -> Result<Vec<(String, Oid)>, ApplyError> {
        let git = self.work.git;
        let mut branches = git.local_branches()?;
        if let Some(remote) = &self.work.topology.publish.remote {
            let theirs = git
                .remote_branches(remote)
                .map_err(ApplyError::remote(remote))?;
            for (name, oid) in theirs {
                // One that was pushed after our fetch is looked at next time.
                if git.resolve(oid.as_str())?.is_some() && !branches.iter().any(|(_, o)| *o == oid)
                {
                    branches.push((format!("{remote}/{name}"), oid));
                }
            }
        }
        Ok(branches)
    }
}
