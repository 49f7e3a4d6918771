//! Which commits are the run's, and who else has them.

use crate::apply::{ApplyError, RULES_PATH, Run, clones};
use crate::inventory::Digest;
use crate::journal::{Entry, Step};
use crate::keys::Recipient;
use crate::ledger::LEDGER_PATH;
use crate::repo::git::Oid;
use crate::repo_path::RepoPath;

/// How many commits below HEAD are searched for one that the run made and could not record.
const SEARCHED: usize = 100;

impl Run<'_> {
    /// Records the commit of a run that was killed before it could: it stands on the run's last state, touches
    /// nothing but the run's files, and is no colleague's.
    pub(super) fn adopt_commit(&mut self) -> Result<(), ApplyError> {
        let publishing = self.progress().started.contains(&Step::Publish);
        if !publishing || self.is_done(&Step::Publish) {
            return Ok(());
        }
        let known = |oid: Option<&str>| {
            oid == self.progress().head.as_deref()
                || oid.is_some_and(|o| self.progress().commits.iter().any(|c| c == o))
        };
        // Others may have committed on top of it since.
        let mut at = self.work.git.head()?;
        for _ in 0..SEARCHED {
            let Some(commit) = at else { break };
            if known(Some(commit.as_str())) {
                break;
            }
            let parent = self.work.git.parent(&commit)?;
            if !known(parent.as_ref().map(Oid::as_str)) {
                at = parent;
                continue;
            }
            if self.touches_own_files_only(&commit, parent.as_ref())?
                && self.is_by_a_run(&commit, parent.as_ref())?
            {
                self.journal.record(Entry::Committed {
                    commit: commit.to_string(),
                })?;
            }
            break;
        }
        Ok(())
    }

    /// Whether a commit changes the ledger, or holds what was staged: a colleague's edit of one of the run's documents, which
    /// stands just where the run's commit would, does neither.
    fn is_by_a_run(&self, commit: &Oid, parent: Option<&Oid>) -> Result<bool, ApplyError> {
        let path = RepoPath::new(LEDGER_PATH).map_err(ApplyError::path(LEDGER_PATH))?;
        let before = match parent {
            Some(parent) => self.work.git.blob(parent.as_str(), &path)?,
            None => None,
        };
        if self.work.git.blob(commit.as_str(), &path)? != before {
            return Ok(true);
        }
        let staged = &self.progress().staged;
        let paths: Vec<RepoPath> = staged.keys().cloned().collect();
        let blobs = self.work.git.blobs(commit.as_str(), &paths)?;
        Ok(paths.iter().zip(blobs).all(|(path, blob)| {
            let digest = blob.as_deref().map(Digest::of);
            digest == staged.get(path).map(|s| s.after)
        }))
    }

    /// Whether between HEAD and the first state there is nothing but commits of this run, at least one.
    pub(super) fn head_is_ours(&self) -> Result<bool, ApplyError> {
        let mut at = self.work.git.head()?;
        let mut steps = 0;
        while at.as_ref().map(Oid::as_str) != self.progress().head.as_deref() {
            let Some(commit) = at else { return Ok(false) };
            let recorded = self.progress().commits.iter().any(|c| c == commit.as_str());
            let parent = self.work.git.parent(&commit)?;
            if !recorded || !self.touches_own_files_only(&commit, parent.as_ref())? {
                return Ok(false);
            }
            at = parent;
            steps += 1;
        }
        Ok(steps > 0)
    }

    fn touches_own_files_only(
        &self,
        commit: &Oid,
        parent: Option<&Oid>,
    ) -> Result<bool, ApplyError> {
        let own = self.own_paths_and_record()?;
        let after = self.work.git.tree(commit.as_str())?;
        let before = match parent {
            Some(parent) => self.work.git.tree(parent.as_str())?,
            None => std::collections::BTreeMap::new(),
        };
        let sealed = self.work.sealed.strip_prefix(self.work.root).ok();
        Ok(before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .all(|path| {
                own.iter().any(|o| o.as_str() == path)
                    // Undo may have removed the file from the work tree already.
                    || sealed.is_some_and(|s| std::path::Path::new(path).starts_with(s))
            }))
    }

    /// Whether others have what the run committed, or documents that only what it minted opens: somebody may have edited
    /// what was rewritten, and committed that.
    pub(super) fn is_built_on(&self) -> Result<bool, ApplyError> {
        if self.is_published()? {
            return Ok(true);
        }
        let ids = self.minted_by_plan();
        let minted: Vec<Recipient> = ids.iter().filter_map(|id| self.recipient_of(id)).collect();
        let needs = |commit: &Oid| -> Result<bool, ApplyError> {
            let tree = self.work.git.tree(commit.as_str())?;
            Ok(!minted.is_empty() && !self.wrapped_in(tree, &minted)?.is_empty())
        };
        if let Some(remote) = &self.work.topology.publish.remote
            && let Some(tip) = self.fetched_tip(remote)?
            && needs(&tip)?
        {
            return Ok(true);
        }
        match self.work.git.head()? {
            Some(head) if !self.head_is_ours()? => needs(&head),
            _ => Ok(false),
        }
    }

    /// Whether anybody but this branch has what the run committed, or somebody built on it.
    pub(super) fn is_published(&self) -> Result<bool, ApplyError> {
        let head = self.work.git.head()?;
        let mut bytes: Vec<(RepoPath, Digest)> = self
            .progress()
            .staged
            .iter()
            .map(|(path, staged)| (path.clone(), staged.after))
            .collect();
        let paths: Vec<RepoPath> = self.progress().staged.keys().cloned().collect();
        for commit in &self.progress().commits {
            // Taken off the branch, and swept by git since.
            let Some(commit) = self.work.git.resolve(commit)? else {
                continue;
            };
            if !self.work.git.refs_containing(&commit)?.is_empty() {
                return Ok(true);
            }
            for (path, blob) in paths
                .iter()
                .zip(self.work.git.blobs(commit.as_str(), &paths)?)
            {
                bytes.extend(blob.map(|blob| (path.clone(), Digest::of(&blob))));
            }
        }
        // What a hook or a flag kept from being committed is nobody's news.
        if let (Some(first), false) = (self.progress().head.as_deref(), self.is_inherited())
            && self.work.git.resolve(first)?.is_some()
        {
            let blobs = self.work.git.blobs(first, &paths)?;
            let before: Vec<Option<Digest>> = blobs
                .iter()
                .map(|blob| blob.as_deref().map(Digest::of))
                .collect();
            let stale = |path: &RepoPath, digest: Digest| {
                let at = paths.iter().position(|p| p == path);
                at.is_some_and(|at| before[at] == Some(digest))
            };
            bytes.retain(|(path, digest)| !stale(path, *digest));
        }
        if clones::hold(&self.work, &bytes)? {
            return Ok(true);
        }
        let Some(head) = head else { return Ok(false) };
        let holds = |commit: &Oid| -> Result<bool, ApplyError> {
            let blobs = self.work.git.blobs(commit.as_str(), &paths)?;
            Ok(paths.iter().zip(blobs).any(|(path, blob)| {
                // Rules are no ciphertext: another run may have written the same ones.
                path.as_str() != RULES_PATH
                    && blob.is_some_and(|blob| bytes.contains(&(path.clone(), Digest::of(&blob))))
            }))
        };
        // A squash or a rebase made another commit of it.
        if let Some(remote) = &self.work.topology.publish.remote
            && !bytes.is_empty()
            && let Some(tip) = self.fetched_tip(remote)?
            && holds(&tip)?
        {
            return Ok(true);
        }
        let is_first = Some(head.as_str()) == self.progress().head.as_deref();
        // An inherited run's first state is what the other clone may have published.
        if (is_first && !self.is_inherited()) || self.head_is_ours()? {
            return Ok(false);
        }
        // Somebody committed since. What they committed may stand on the run's commit, or hold what it rewrote.
        for commit in &self.progress().commits {
            if self.work.git.resolve(commit)?.is_some()
                && self.work.git.is_ancestor(commit, head.as_str())?
            {
                return Ok(true);
            }
        }
        holds(&head)
    }
}
