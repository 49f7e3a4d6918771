//! Publish: one commit with documents, rules, ledger and sealed identities; then the operator's commands; then wait.

use std::collections::BTreeSet;

use crate::apply::{ApplyError, Run, read_optional};
use crate::inventory::Digest;
use crate::journal::{Entry, Step, guards};
use crate::ledger::State;
use crate::plan::Goal;
use crate::repo::git::GitError;
use crate::repo_path::RepoPath;

impl Run<'_> {
    /// Commits what was rewritten and looks at what was committed (protocol rule 11), then pushes and runs commands.
    pub(super) fn publish(&mut self) -> Result<(), ApplyError> {
        if self.progress().retirement_begun() {
            // The ledger differs from HEAD by now. A document that somebody changed meanwhile was rewritten again.
            if !self.documents_at_head()?.is_empty() {
                self.commit()?;
            }
            return self.push_rest();
        }
        self.check_sealed()?;
        self.drop_stale_seals()?;
        if !self.mismatches()?.is_empty() {
            self.commit()?;
        } else if let (Some(head), true) =
            (self.work.git.head()?, self.progress().commits.is_empty())
        {
            // Killed between the commit and its record.
            self.journal.record(Entry::Committed {
                commit: head.to_string(),
            })?;
        }
        if self.is_on_own_branch()? {
            // Nobody takes it from there: what follows waits until it is merged.
            return Ok(());
        }
        self.push()?;
        self.run_commands()
    }

    fn commit(&mut self) -> Result<(), ApplyError> {
        if !self.work.topology.publish.commit {
            return Err(ApplyError::NotCommitted);
        }
        self.work.observer.phase("publish", "commit");
        let paths = self.committed_paths()?;
        let message = self.message();
        if self.progress().index.is_none() {
            // A further commit may hold the record where this one does not.
            let paths = self.own_paths_and_record()?;
            let entries = self.work.git.index_entries(&paths)?;
            let entries = entries
                .into_iter()
                .map(|e| e.map(|e| (e.mode, e.oid.to_string())));
            self.journal.record(Entry::Indexed {
                entries: paths.into_iter().zip(entries).collect(),
            })?;
        }
        self.step(Step::Publish, |run| {
            match run.work.git.commit(&paths, &message) {
                Ok(commit) => Ok(run.journal.record(Entry::Committed {
                    commit: commit.to_string(),
                })?),
                // The index says there is nothing to do, and yet HEAD differs: a filter or a flag stands between.
                Err(GitError::NothingToCommit) => Ok(()),
                Err(error) => Err(ApplyError::CommitRefused(error)),
            }
        })?;
        let paths = self.mismatches()?;
        if paths.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::PublishMismatch { paths })
        }
    }

    /// The commit's message, in the style that most such repositories use.
    fn message(&self) -> String {
        let plan = self.plan();
        let zones: BTreeSet<&str> = plan.readers.iter().map(|r| r.zone.as_str()).collect();
        let subject = match plan.goal {
            Goal::Split if !plan.retiring.is_empty() => {
                format!("split the shared identity into {} zones", zones.len())
            }
            Goal::Rotate => format!("rotate {}", self.minted_holders().join(", ")),
            Goal::Revoke => format!(
                "revoke {}",
                plan.revoked
                    .as_ref()
                    .map_or("identities", |r| r.name.as_str())
            ),
            Goal::Split | Goal::Sync => "bring secrets in line with cofferdam.toml".to_owned(),
        };
        let retiring: Vec<&str> = plan.retiring.iter().map(|r| r.id.as_str()).collect();
        let identities: Vec<&str> = plan.identities.iter().map(|i| i.id.as_str()).collect();
        format!(
            "chore(sops): {subject}\n\nDocuments re-encrypted under new data keys: {}\nIdentities: {}\nRetiring: {}\n",
            plan.documents.len(),
            identities.join(", "),
            if retiring.is_empty() {
                "none".to_owned()
            } else {
                retiring.join(", ")
            },
        ) + &self.review_text()
    }

    /// Who gets a new identity, for people.
    fn minted_holders(&self) -> Vec<String> {
        let minted = self
            .plan()
            .identities
            .iter()
            .filter(|i| i.recipient.is_none());
        minted.map(|i| i.holder.to_string()).collect()
    }

    /// The files of this run whose blob at HEAD is not what lies verified in the work tree, each with what is wrong.
    pub(super) fn mismatches(&self) -> Result<Vec<String>, ApplyError> {
        self.mismatching(&self.own_paths()?)
    }

    /// As [`Run::mismatches`], of documents and rules only.
    pub(super) fn documents_at_head(&self) -> Result<Vec<String>, ApplyError> {
        let paths: Vec<RepoPath> = self.progress().staged.keys().cloned().collect();
        self.mismatching(&paths)
    }

    fn mismatching(&self, paths: &[RepoPath]) -> Result<Vec<String>, ApplyError> {
        let blobs = match self.work.git.head()? {
            Some(_) => self.work.git.blobs("HEAD", paths)?,
            None => vec![None; paths.len()],
        };
        let mut wrong = Vec::new();
        for (path, blob) in paths.iter().zip(blobs) {
            let tree = read_optional(&path.under(self.work.root))?;
            let (blob, tree) = (
                blob.as_deref().map(Digest::of),
                tree.as_deref().map(Digest::of),
            );
            let staged = self.progress().staged.get(path).copied();
            if !guards::is_published(blob, tree, staged) {
                let what = if blob.is_none() { "absent" } else { "differs" };
                wrong.push(format!("{path} ({what})"));
            }
        }
        Ok(wrong)
    }

    /// Sees to it that the remote's branch holds the run's files: by pushing, or by looking whether the operator has.
    pub(super) fn push(&mut self) -> Result<(), ApplyError> {
        let publish = &self.work.topology.publish;
        let Some(remote) = publish.remote.clone() else {
            return Ok(());
        };
        if self.is_at_tip(&remote)? {
            return Ok(());
        }
        let branch = self.work.git.branch()?;
        let Some(branch) = branch.filter(|_| publish.push) else {
            return Err(ApplyError::NotPushed { remote });
        };
        self.renew_lease()?;
        self.work.observer.phase("push", &remote);
        self.step(Step::Push, |run| {
            run.work
                .git
                .push(&remote, &format!("HEAD:{branch}"))
                .map_err(|source| ApplyError::PushRefused { remote, source })
        })
    }

    /// Pushes what was committed after the publication: a kill may have come between the two.
    pub(super) fn push_rest(&self) -> Result<(), ApplyError> {
        match &self.work.topology.publish.remote {
            Some(remote) if self.work.topology.publish.push && !self.is_at_tip(remote)? => {
                self.push_ledger()
            }
            _ => Ok(()),
        }
    }

    /// Pushes the commit that records the retirement, where the run pushes at all.
    pub(super) fn push_ledger(&self) -> Result<(), ApplyError> {
        let publish = &self.work.topology.publish;
        let (Some(remote), true, Some(branch)) =
            (&publish.remote, publish.push, self.work.git.branch()?)
        else {
            return Ok(());
        };
        let short = branch.trim_start_matches("refs/heads/");
        self.work
            .git
            .push(remote, &format!("HEAD:refs/heads/{short}"))
            .map_err(|source| ApplyError::PushRefused {
                remote: remote.clone(),
                source,
            })
    }

    pub(super) fn grace(&self) -> Result<(), ApplyError> {
        let since = self
            .plan()
            .retiring
            .iter()
            .filter_map(|r| self.ledger.record(&r.id))
            .filter(|r| r.state == State::Retiring)
            .map(|r| r.since)
            .max();
        let Some(since) = since else { return Ok(()) };
        for reader in self.plan().readers.iter().filter(|r| !r.loses.is_empty()) {
            let grace = self.work.topology.zone(&reader.zone).and_then(|z| z.grace);
            let until = guards::grace_until(self.plan().goal, since, grace);
            if let Some(until) = until.filter(|until| super::now() < *until) {
                return Err(ApplyError::Grace {
                    zone: reader.zone.clone(),
                    until,
                });
            }
        }
        Ok(())
    }
}
