//! The remote's branch: fetched, compared, and taken where it only goes on from here (protocol rules 13 and 14).

use crate::apply::{ApplyError, Run, read_optional};
use crate::ledger::{LEDGER_PATH, Ledger};
use crate::repo::git::{Git, GitError, Oid};

/// The remote-tracking ref of a branch.
fn tracking(branch: &str, remote: &str) -> String {
    let short = branch.trim_start_matches("refs/heads/");
    format!("refs/remotes/{remote}/{short}")
}

/// Fetches, and tells whether the remote's branch has commits that this clone lacks.
///
/// # Errors
/// [`ApplyError::Remote`].
pub fn is_behind(git: &Git, remote: &str) -> Result<bool, ApplyError> {
    git.fetch(remote).map_err(ApplyError::remote(remote))?;
    let (Some(head), Some(branch)) = (git.head()?, git.branch()?) else {
        return Ok(false);
    };
    match git.resolve(&tracking(&branch, remote))? {
        Some(tip) => Ok(!git.is_ancestor(tip.as_str(), head.as_str())?),
        None => Ok(false),
    }
}

impl Run<'_> {
    /// The remote's branch as it is now; none if the remote does not have it.
    pub(super) fn fetched_tip(&self, remote: &str) -> Result<Option<Oid>, ApplyError> {
        let git = self.work.git;
        git.fetch(remote).map_err(ApplyError::remote(remote))?;
        match self.followed_branch()? {
            Some(branch) => Ok(git.resolve(&tracking(&branch, remote))?),
            None => Ok(None),
        }
    }

    /// Brings what others pushed since to this clone, where its branch only goes on from HEAD and nothing uncommitted is in
    /// the way. Tells why it could not; none if HEAD has everything that the remote's branch has.
    pub(super) fn take_tip(&mut self) -> Result<Option<ApplyError>, ApplyError> {
        let Some(remote) = self.work.topology.publish.remote.clone() else {
            return Ok(None);
        };
        let git = self.work.git;
        let (Some(tip), Some(head)) = (self.fetched_tip(&remote)?, git.head()?) else {
            return Ok(None);
        };
        if git.is_ancestor(tip.as_str(), head.as_str())? {
            return Ok(None);
        }
        if !git.is_ancestor(head.as_str(), tip.as_str())? {
            return Ok(Some(ApplyError::Behind {
                remote,
                why: None,
                is_over: false,
            }));
        }
        match self.fast_forward(&tip) {
            Ok(()) => {
                self.work.observer.phase("pull", &remote);
                let path = self.work.root.join(LEDGER_PATH);
                if let Some(text) = read_optional(&path)? {
                    self.ledger = Ledger::parse(&String::from_utf8_lossy(&text))?;
                }
                Ok(None)
            }
            Err(ApplyError::Git(GitError::Failed { output, .. })) => Ok(Some(ApplyError::Behind {
                remote,
                why: Some(output),
                is_over: false,
            })),
            Err(error) => Err(error),
        }
    }

    /// Whether the remote's branch holds the run's files as HEAD does, compared by blob: a merge, a squash and a rebase all
    /// make other commits of them.
    pub(super) fn is_at_tip(&self, remote: &str) -> Result<bool, ApplyError> {
        let Some(tip) = self.fetched_tip(remote)? else {
            return Ok(false);
        };
        let paths = self.own_paths()?;
        let here = self.work.git.blobs("HEAD", &paths)?;
        Ok(here == self.work.git.blobs(tip.as_str(), &paths)?)
    }
}
