//! Runs with `--branch`: the commit stands on a branch of the run's own until somebody has looked it over and merged it.
//!
//! The branch is checked out from the run's start to its commit, and again for an undo. In between the one that it is to be
//! merged into is, as it was: with the old documents, and without what the run wrote to ledger and sealed identities. So a
//! run that waits looks at commits, and at nothing else, to learn whether it may go on.

use crate::apply::{ApplyError, Run, read_optional};
use crate::journal::{ReviewBranch, Step};
use crate::ledger::{LEDGER_PATH, Ledger, State};
use crate::repo::git::{Oid, Swap};
use crate::repo_path::RepoPath;

/// Where a run with a branch of its own stands when it is gone on with.
pub(super) enum Standing {
    /// It works on the files that are checked out: it has no branch, stands on it, or was merged.
    AtWork,
    /// Its branch was offered, and nobody has merged it.
    Offered(ReviewBranch),
}

impl Run<'_> {
    /// The run's own branch, if it has one.
    pub(super) fn own_branch(&self) -> Option<&ReviewBranch> {
        self.progress().options.branch.as_ref()
    }

    /// Whether the run's own branch is checked out.
    pub(super) fn is_on_own_branch(&self) -> Result<bool, ApplyError> {
        let Some(own) = self.own_branch() else {
            return Ok(false);
        };
        let here = self.work.git.branch()?;
        Ok(here.as_deref() == Some(&full(&own.name)))
    }

    /// The branch that others take the run from: the one that is checked out, or is merged into.
    pub(super) fn followed_branch(&self) -> Result<Option<String>, ApplyError> {
        match self.own_branch() {
            Some(own) if self.is_on_own_branch()? => Ok(Some(full(&own.base))),
            _ => Ok(self.work.git.branch()?),
        }
    }

    /// Begins the run's own branch, or finds out whether it was merged since.
    pub(super) fn settle_branch(&mut self) -> Result<Standing, ApplyError> {
        let Some(own) = self.own_branch().cloned() else {
            return Ok(Standing::AtWork);
        };
        if !self.progress().started.contains(&Step::Branch) && !self.is_inherited() {
            self.begin_branch(&own)?;
            return Ok(Standing::AtWork);
        }
        if self.is_merged(&own)? {
            self.check_out(&own.base)?;
            self.take_tip()?;
            self.reload_ledger()?;
            return Ok(Standing::AtWork);
        }
        if self.is_on_own_branch()? {
            return Ok(Standing::AtWork);
        }
        let offered = self.progress().started.contains(&Step::Offer)
            || self.is_inherited() && self.own_branch_there(&own)?.is_some();
        let exists = self.work.git.resolve(&full(&own.name))?.is_some();
        match (offered, exists) {
            (true, _) => Ok(Standing::Offered(own)),
            (false, true) => Err(ApplyError::NotOnBranch { branch: own.name }),
            (false, false) => {
                self.begin_branch(&own)?;
                Ok(Standing::AtWork)
            }
        }
    }

    fn begin_branch(&mut self, own: &ReviewBranch) -> Result<(), ApplyError> {
        self.work.observer.phase("branch", &own.name);
        self.step(Step::Branch, |run| {
            // Killed between the two records.
            if !run.is_on_own_branch()? {
                run.work.git.begin_branch(&own.name)?;
            }
            Ok(())
        })
    }

    /// Hands the run's commit to whoever looks it over: pushes the branch where the run pushes at all, and checks out the one
    /// that it is to be merged into.
    pub(super) fn offer(&mut self, own: &ReviewBranch) -> Result<(), ApplyError> {
        // Behind the ref of the run stands what another clone needs to go on with it.
        self.renew_lease()?;
        let own = own.clone();
        self.step(Step::Offer, |run| {
            let publish = &run.work.topology.publish;
            if let (Some(remote), true) = (&publish.remote, publish.push) {
                run.work.observer.phase("push", &own.name);
                let push = run
                    .work
                    .git
                    .push(remote, &format!("HEAD:{}", full(&own.name)));
                push.map_err(|source| ApplyError::PushRefused {
                    remote: remote.clone(),
                    source,
                })?;
            }
            run.check_out(&own.base)
        })
    }

    /// Whether the branch that the run is to be merged into has the run's ledger, here or at the remote. Documents are
    /// compared later, like those of every run: a merge, a squash and a rebase all make other commits of them.
    fn is_merged(&self, own: &ReviewBranch) -> Result<bool, ApplyError> {
        // What serves from this run on.
        let mut new = self.minted_by_plan();
        let adopted = self.plan().identities.iter().filter(|i| i.adopt);
        new.extend(adopted.map(|i| i.id.clone()));
        let has = |commit: &Oid| -> Result<bool, ApplyError> {
            let path = RepoPath::new(LEDGER_PATH).map_err(ApplyError::path(LEDGER_PATH))?;
            let Some(text) = self.work.git.blob(commit.as_str(), &path)? else {
                return Ok(false);
            };
            let ledger = Ledger::parse(&String::from_utf8_lossy(&text))?;
            let is_used = |id: &String| {
                let record = ledger.record(id);
                record.is_some_and(|r| !r.state.precedes(State::Active))
            };
            let leaves = |id: &String| {
                let record = ledger.record(id);
                record.is_some_and(|r| !r.state.precedes(State::Retiring))
            };
            // A run that brings none takes something away, or only re-encrypts.
            let retiring: Vec<String> = self.plan().retiring.iter().map(|r| r.id.clone()).collect();
            if new.is_empty() && retiring.is_empty() {
                return self.has_documents(commit);
            }
            Ok(new.iter().all(is_used) && retiring.iter().all(leaves))
        };
        let mut tips: Vec<Oid> = self
            .work
            .git
            .resolve(&full(&own.base))?
            .into_iter()
            .collect();
        if let Some(remote) = &self.work.topology.publish.remote {
            self.work
                .git
                .fetch(remote)
                .map_err(ApplyError::remote(remote))?;
            let theirs = format!("refs/remotes/{remote}/{}", own.base);
            tips.extend(self.work.git.resolve(&theirs)?);
        }
        for tip in tips {
            if has(&tip)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a commit holds everything that was staged.
    fn has_documents(&self, commit: &Oid) -> Result<bool, ApplyError> {
        let staged = &self.progress().staged;
        let paths: Vec<RepoPath> = staged.keys().cloned().collect();
        let blobs = self.work.git.blobs(commit.as_str(), &paths)?;
        let digest = |blob: Option<Vec<u8>>| blob.as_deref().map(crate::inventory::Digest::of);
        Ok(!paths.is_empty()
            && paths
                .iter()
                .zip(blobs)
                .all(|(path, blob)| digest(blob) == staged.get(path).map(|staged| staged.after)))
    }

    /// Where the remote's copy of the run's own branch stands.
    fn own_branch_there(&self, own: &ReviewBranch) -> Result<Option<Oid>, ApplyError> {
        let Some(remote) = &self.work.topology.publish.remote else {
            return Ok(None);
        };
        let there = self.work.git.remote_ref(remote, &full(&own.name));
        there.map_err(ApplyError::remote(remote))
    }

    /// Before an undo: takes the offer back, so that nobody merges what is being taken away, and checks the branch out.
    /// Where it was merged already, the way back begins there.
    pub(super) fn reclaim_branch(&mut self) -> Result<(), ApplyError> {
        let Some(own) = self.own_branch().cloned() else {
            return Ok(());
        };
        if !self.progress().started.contains(&Step::Branch) {
            return Ok(());
        }
        if self.is_merged(&own)? {
            self.check_out(&own.base)?;
            self.take_tip()?;
            return self.reload_ledger();
        }
        self.drop_branch_there(&own)?;
        if self.work.git.resolve(&full(&own.name))?.is_some() {
            self.check_out(&own.name)?;
            self.reload_ledger()?;
        }
        Ok(())
    }

    /// After the run's end, or its undo: the branch has served, and nothing is on it that is not elsewhere, or taken back.
    pub(super) fn leave_branch(&mut self) -> Result<(), ApplyError> {
        let Some(own) = self.own_branch().cloned() else {
            return Ok(());
        };
        if self.is_on_own_branch()? {
            self.check_out(&own.base)?;
        }
        let git = self.work.git;
        if let Some(tip) = git.resolve(&full(&own.name))?
            && self.is_runs(&tip)
        {
            git.delete_branch(&own.name, &tip)?;
        }
        match self.drop_branch_there(&own) {
            // Somebody's commits are on it: it is theirs now.
            Err(ApplyError::BranchMoved { .. }) => Ok(()),
            other => other,
        }
    }

    /// Takes the remote's copy of the branch away, if it stands where this run pushed it.
    fn drop_branch_there(&mut self, own: &ReviewBranch) -> Result<(), ApplyError> {
        let (Some(remote), Some(there)) = (
            self.work.topology.publish.remote.clone(),
            self.own_branch_there(own)?,
        ) else {
            return Ok(());
        };
        let moved = || ApplyError::BranchMoved {
            remote: remote.clone(),
            branch: own.name.clone(),
        };
        if !self.is_runs(&there) {
            return Err(moved());
        }
        let swap = self
            .work
            .git
            .swap_ref(&remote, &full(&own.name), Some(&there), None);
        match swap.map_err(ApplyError::remote(&remote))? {
            Swap::Done | Swap::Moved(None) => {
                let seen = format!("refs/remotes/{remote}/{}", own.name);
                Ok(self.work.git.drop_ref(&seen)?)
            }
            Swap::Moved(Some(_)) => Err(moved()),
        }
    }

    /// Whether a commit is the run's, or the one that it began at.
    fn is_runs(&self, commit: &Oid) -> bool {
        let progress = self.progress();
        progress.head.as_deref() == Some(commit.as_str())
            || progress.commits.iter().any(|c| c == commit.as_str())
    }

    fn check_out(&self, branch: &str) -> Result<(), ApplyError> {
        if self.work.git.branch()?.as_deref() == Some(&full(branch)) {
            return Ok(());
        }
        let switched = self.work.git.switch(branch);
        switched.map_err(|source| ApplyError::CheckOut {
            branch: branch.to_owned(),
            source,
        })
    }

    /// Reads the ledger of the branch that was checked out.
    fn reload_ledger(&mut self) -> Result<(), ApplyError> {
        let text = read_optional(&self.work.root.join(LEDGER_PATH))?;
        self.ledger = match text {
            Some(text) => Ledger::parse(&String::from_utf8_lossy(&text))?,
            None => Ledger::new(),
        };
        self.claim_targets();
        Ok(())
    }
}

fn full(branch: &str) -> String {
    format!("refs/heads/{branch}")
}
