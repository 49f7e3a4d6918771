//! Undo (protocol rule 15): byte for byte back while nobody else has seen the run's commit; afterwards by a further commit
//! that re-encrypts today's values to the previous recipients. Either way documents go back first, identities leave last.

#![expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]

use crate::apply::journal_file::Side;
use crate::apply::rewrite::{rewrapped, store_of};
use crate::apply::{
    ApplyError, GITIGNORE_PATH, RULES_PATH, Run, clones, document_slot, read_optional,
};
use crate::inventory::Digest;
use crate::journal::{Entry, Outcome, Step};
use crate::keys::Recipient;
use crate::ledger::{LEDGER_PATH, State};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::{GitError, IndexEntry, Oid};
use crate::repo_path::RepoPath;
use crate::sops::document::Document;

/// How a run was undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// Everything is byte for byte as before the run.
    PutBack,
    /// A further commit went back; history keeps both.
    ByCommit,
}

impl Run<'_> {
    /// Takes the run back, or goes on with that.
    ///
    /// # Errors
    /// [`ApplyError::NoWayBack`] once retirement has begun; otherwise as [`Run::execute`].
    pub fn undo(mut self) -> Result<Undone, ApplyError> {
        if self.progress().retirement_begun() && self.progress().undo.is_none() {
            return Err(ApplyError::NoWayBack {
                reason: "old identities have begun to leave".to_owned(),
            });
        }
        self.sweep()?;
        let published = match self.progress().undo {
            Some(published) => published,
            None => {
                let published = self.is_published()?;
                self.journal.record(Entry::UndoBegun { published })?;
                published
            }
        };
        if published {
            self.undo_by_commit()?;
            self.journal.finish(Outcome::Undone)?;
            Ok(Undone::ByCommit)
        } else {
            self.put_back()?;
            self.journal.finish(Outcome::Undone)?;
            Ok(Undone::PutBack)
        }
    }

    /// Whether anybody but this branch has the run's commit.
    fn is_published(&self) -> Result<bool, ApplyError> {
        match self.own_head()? {
            Some(head) => {
                let elsewhere = self.work.git.refs_containing(&head)?;
                Ok(!elsewhere.is_empty() || clones::have_pulled(&self.work, self.progress())?)
            }
            None => Ok(!self.progress().commits.is_empty()),
        }
    }

    fn put_back(&mut self) -> Result<(), ApplyError> {
        self.work.observer.phase("undo", "documents and rules");
        let documents: Vec<(RepoPath, String, Option<Vec<Recipient>>)> = self
            .plan()
            .documents
            .iter()
            .enumerate()
            .map(|(i, d)| (d.path.clone(), document_slot(i), Some(d.before.clone())))
            .collect();
        for (path, slot, before) in documents {
            self.restore(&path, &slot, before.as_deref())?;
        }
        if self.plan().rules.changes {
            let rules = RepoPath::new(RULES_PATH).map_err(ApplyError::path(RULES_PATH))?;
            self.restore(&rules, "rules", None)?;
        }
        self.uncommit()?;
        for id in self.minted_by_plan() {
            // The ledger goes last: without a record the identity has left already.
            if self.ledger.record(&id).is_some() {
                self.withdraw_everywhere(&id)?;
            }
        }
        let mut ids = self.minted_by_plan();
        let before = self.journal.slot(Side::Before, "ledger");
        let first = read_optional(&before)?;
        let known = |id: &str| {
            let text = first.as_deref().map(String::from_utf8_lossy);
            text.is_some_and(|t| t.contains(&format!("\"{id}\"")))
        };
        ids.extend(
            self.plan()
                .retiring
                .iter()
                .filter(|r| !known(&r.id))
                .map(|r| r.id.clone()),
        );
        for id in &ids {
            self.unseal_for_good(id)?;
        }
        // Empty folders are nothing to git; a folder with somebody's file in it stays.
        let _ = std::fs::remove_dir(&self.work.sealed);
        for (slot, path) in [("ledger", LEDGER_PATH), ("gitignore", GITIGNORE_PATH)] {
            self.restore_own(slot, path)?;
        }
        Ok(())
    }

    /// Puts one rewritten file back, if it was rewritten. Somebody's edit since is kept: its values are wrapped to the
    /// previous recipients.
    fn restore(
        &mut self,
        path: &RepoPath,
        slot: &str,
        recipients: Option<&[Recipient]>,
    ) -> Result<(), ApplyError> {
        let Some(staged) = self.progress().staged.get(path).copied() else {
            return Ok(());
        };
        let target = path.under(self.work.root);
        let now = read_optional(&target)?;
        let digest = now.as_deref().map(Digest::of);
        if digest == staged.before {
            return Ok(());
        }
        let kept = match staged.before {
            Some(_) => read_optional(&self.journal.slot(Side::Before, slot))?,
            None => None,
        };
        let bytes = match (digest == Some(staged.after), recipients, &now) {
            (true, _, _) => kept,
            (false, Some(recipients), Some(now)) => {
                let keys = self.keys();
                Some(rewrapped(
                    path,
                    now,
                    recipients,
                    false,
                    &keys,
                    super::now(),
                )?)
            }
            _ => {
                self.work
                    .observer
                    .note(&format!("{path} was changed by somebody since and stays"));
                return Ok(());
            }
        };
        self.step(Step::Restore { path: path.clone() }, |_| {
            match bytes {
                Some(bytes) => {
                    atomic_write::replace_expecting(&target, now.as_deref(), &bytes, Mode::Keep)?;
                }
                None => {
                    atomic_write::remove(&target)?;
                }
            }
            Ok(())
        })
    }

    /// Puts a file of our own back to its bytes from before the run.
    fn restore_own(&self, slot: &str, path: &str) -> Result<(), ApplyError> {
        let target = self.work.root.join(path);
        match read_optional(&self.journal.slot(Side::Before, slot))? {
            Some(bytes) => {
                if read_optional(&target)?.as_deref() != Some(bytes.as_slice()) {
                    atomic_write::replace(&target, &bytes, Mode::Keep)?;
                }
            }
            None => {
                atomic_write::remove(&target)?;
            }
        }
        Ok(())
    }

    /// Takes the run's commits off the branch; the work tree stays.
    fn uncommit(&mut self) -> Result<(), ApplyError> {
        let first = self.progress().head.as_deref().and_then(Oid::parse);
        let head = self.work.git.head()?;
        let index = self.progress().index.clone();
        let Some(index) = index else { return Ok(()) };
        self.step(Step::Uncommit, |run| {
            if let Some(head) = head
                && Some(&head) != first.as_ref()
            {
                run.work
                    .git
                    .move_head(&head, first.as_ref(), "cofferdam undo")?;
            }
            let entries: Vec<(RepoPath, Option<IndexEntry>)> = index
                .into_iter()
                .map(|(path, entry)| {
                    let entry = entry.and_then(|(mode, oid)| {
                        Some(IndexEntry {
                            mode,
                            oid: Oid::parse(&oid)?,
                        })
                    });
                    (path, entry)
                })
                .collect();
            run.work.git.restore_index(&entries)?;
            Ok(())
        })
    }

    /// The way back once others have the commit: forward, with today's values.
    fn undo_by_commit(&mut self) -> Result<(), ApplyError> {
        let dead = self.plan().retiring.iter().find(|r| {
            let state = self.ledger.record(&r.id).map(|record| record.state);
            matches!(state, Some(State::Retired | State::Compromised))
        });
        if let Some(dead) = dead {
            return Err(ApplyError::NoWayBack {
                reason: format!("{} is retired or compromised", dead.id),
            });
        }
        if !self.progress().retirement_begun() {
            self.rewrite_back()?;
            self.commit_back()?;
            self.await_readers()?;
        }
        for id in self.minted_by_plan() {
            self.withdraw_everywhere(&id)?;
        }
        let ids = self.minted_by_plan();
        self.advance(&ids, State::Retired)?;
        self.record_withdrawal()
    }

    /// Wraps today's values to the recipients of before, all documents checked before the first is written.
    fn rewrite_back(&mut self) -> Result<(), ApplyError> {
        self.work
            .observer
            .phase("undo", "documents and rules, by a further commit");
        let keys = self.keys();
        let mut made = Vec::new();
        for planned in &self.plan().documents {
            let target = planned.path.under(self.work.root);
            let Some(now) = read_optional(&target)? else {
                continue;
            };
            let store = store_of(&planned.path, &now);
            let document =
                Document::parse(store, now.clone()).map_err(ApplyError::document(&planned.path))?;
            if document.recipients() == planned.before.iter().collect::<Vec<_>>() {
                continue;
            }
            let back = rewrapped(
                &planned.path,
                &now,
                &planned.before,
                false,
                &keys,
                super::now(),
            )?;
            made.push((planned.path.clone(), target, now, back));
        }
        for (path, target, now, back) in made {
            self.step(Step::Restore { path }, |_| {
                atomic_write::replace_expecting(&target, Some(&now), &back, Mode::Keep)
                    .map_err(ApplyError::from)
            })?;
        }
        let rules = RepoPath::new(RULES_PATH).map_err(ApplyError::path(RULES_PATH))?;
        self.restore(&rules, "rules", None)?;
        let now = super::now();
        for retiring in self.plan().retiring.clone() {
            if self.ledger.record(&retiring.id).is_some() {
                self.ledger.advance(&retiring.id, State::Active, now)?;
            }
        }
        let ids = self.minted_by_plan();
        self.advance(&ids, State::Retiring)
    }

    fn commit_back(&mut self) -> Result<(), ApplyError> {
        let paths = self.own_paths()?;
        let differs = |run: &Self| -> Result<Vec<String>, ApplyError> {
            let blobs = run.work.git.blobs("HEAD", &paths)?;
            let mut wrong = Vec::new();
            for (path, blob) in paths.iter().zip(blobs) {
                if blob != read_optional(&path.under(run.work.root))? {
                    wrong.push(path.to_string());
                }
            }
            Ok(wrong)
        };
        if !differs(self)?.is_empty() {
            self.step(Step::Publish, |run| {
                match run
                    .work
                    .git
                    .commit(&paths, "chore(sops): take the run back\n")
                {
                    Ok(_) | Err(GitError::NothingToCommit) => Ok(()),
                    Err(error) => Err(ApplyError::CommitRefused(error)),
                }
            })?;
        }
        let wrong = differs(self)?;
        if wrong.is_empty() {
            self.push_ledger()
        } else {
            Err(ApplyError::PublishMismatch { paths: wrong })
        }
    }

    fn record_withdrawal(&mut self) -> Result<(), ApplyError> {
        let path = RepoPath::new(LEDGER_PATH).map_err(ApplyError::path(LEDGER_PATH))?;
        let message = "chore(sops): withdraw the identities of the run\n";
        match self.work.git.commit(std::slice::from_ref(&path), message) {
            Ok(_) | Err(GitError::NothingToCommit) => self.push_ledger(),
            Err(error) => Err(ApplyError::CommitRefused(error)),
        }
    }
}
