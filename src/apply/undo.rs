//! Undo (protocol rule 15): byte for byte back while nobody else has seen the run's commit; afterwards by a further commit
//! that re-encrypts today's values to the previous recipients. Either way documents go back first, identities leave last.

use crate::apply::rewrite::{rewrapped, store_of};
use crate::apply::{ApplyError, ReaderFailure, Run, read_optional};
use crate::journal::guards::{self, WayBack};
use crate::journal::{Entry, Outcome, Step};
use crate::keys::Recipient;
use crate::ledger::{LEDGER_PATH, State};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::GitError;
use crate::repo_path::RepoPath;
use crate::sops::document::Document;

/// The message of a commit that wraps documents back.
pub(super) const TAKING_BACK: &str = "chore(sops): take the run back\n";
/// The message of the one that records that the run's identities were withdrawn.
pub(super) const WITHDRAWING: &str = "chore(sops): withdraw the identities of the run\n";

/// How a run was undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// Everything is byte for byte as before the run.
    PutBack,
    /// A further commit went back; history keeps both.
    ByCommit,
    /// Not at all: another clone has taken the run over. This one's files are as before it, unless they are published.
    HandedOver,
}

impl Run<'_> {
    /// Takes the run back, or goes on with that.
    ///
    /// # Errors
    /// [`ApplyError::NoWayBack`] once retirement has begun; otherwise as [`Run::execute`].
    pub fn undo(mut self) -> Result<Undone, ApplyError> {
        if let (true, Some(published)) = (self.progress().only_has_to_end(), self.progress().undo) {
            self.release()?;
            self.journal.finish(Outcome::Undone)?;
            return Ok(if published {
                Undone::ByCommit
            } else {
                Undone::PutBack
            });
        }
        if self.is_taken_over()? {
            self.hand_over()?;
            return Ok(Undone::HandedOver);
        }
        if !guards::has_way_back(self.progress()) {
            return Err(ApplyError::NoWayBack {
                reason: "old identities have begun to leave".to_owned(),
            });
        }
        self.reclaim_branch()?;
        self.sweep()?;
        self.adopt_commit()?;
        if self.is_inherited() {
            self.prepare()?;
            self.inherit()?;
            // Else the clone that began it would go on meanwhile.
            if let Err(error) = self.acquire() {
                return Err(self.without_lease(error)?);
            }
        }
        // Asked again by an undo that goes on: others may have come by the commit, or built on it, since.
        let seen = self.progress().undo == Some(true) || self.is_built_on()?;
        let published = guards::way_back(self.progress(), seen) == WayBack::ByCommit;
        if published {
            // Before it is written down that there is no other way.
            self.check_way_back()?;
        }
        if self.progress().undo != Some(published) {
            self.journal.record(Entry::UndoBegun { published })?;
        }
        if !published && self.put_back()? {
            self.leave_branch()?;
            self.release()?;
            self.journal.finish(Outcome::Undone)?;
            return Ok(Undone::PutBack);
        }
        if !published {
            self.journal.record(Entry::UndoBegun { published: true })?;
        }
        self.undo_by_commit()?;
        self.leave_branch()?;
        self.release()?;
        self.journal.finish(Outcome::Undone)?;
        Ok(Undone::ByCommit)
    }

    /// Whether documents may be wrapped to their previous recipients again.
    fn check_way_back(&self) -> Result<(), ApplyError> {
        let plan = self.plan();
        let dead = plan.retiring.iter().find(|r| {
            let state = self.ledger.record(&r.id).map(|record| record.state);
            let mut documents = plan.documents.iter();
            state.is_some_and(guards::bars_way_back)
                && documents.any(|document| document.before.contains(&r.recipient))
        });
        match dead {
            Some(dead) => Err(ApplyError::NoWayBack {
                reason: format!("{} is retired or compromised", dead.id),
            }),
            None => Ok(()),
        }
    }

    /// The way back once others have the commit: forward, with today's values.
    fn undo_by_commit(&mut self) -> Result<(), ApplyError> {
        self.check_way_back()?;
        // What others pushed since goes back with the rest, and comes in the way of our push.
        self.take_tip()?;
        self.rewrite_back()?;
        self.commit_back()?;
        self.push()?;
        self.run_commands()?;
        self.await_readers()?;
        self.look_again_back()?;
        self.renew_lease()?;
        self.withdraw_everywhere(&self.shipped_by_plan())?;
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
        self.record_digests_back(
            made.iter()
                .map(|(path, _, _, back)| (path, back.as_slice())),
        );
        for (path, target, now, back) in made {
            self.step(Step::Restore { path }, |_| {
                atomic_write::replace_expecting(&target, Some(&now), &back, Mode::Keep)
                    .map_err(ApplyError::from)
            })?;
        }
        self.restore_rules()?;
        let now = super::now();
        for retiring in self.plan().retiring.clone() {
            let record = self.ledger.record(&retiring.id);
            // One that no document needs any more, and that only a reader still holds, stays retired.
            if record.is_some_and(|record| !guards::bars_way_back(record.state)) {
                self.ledger.advance(&retiring.id, State::Active, now)?;
            }
        }
        let ids = self.minted_by_plan();
        self.advance(&ids, State::Retiring)
    }

    /// Leaves no document wrapped to the recipients of before by an undo that another clone's run came before: committed, it
    /// would open for nobody once they are retired. Values that somebody changed meanwhile stay.
    pub(super) fn take_published_documents(&mut self) -> Result<(), ApplyError> {
        if self.progress().undo != Some(true) {
            return Ok(());
        }
        let keys = self.keys();
        for planned in self.plan().documents.clone() {
            let fail = ApplyError::document(&planned.path);
            let target = planned.path.under(self.work.root);
            let head = self.work.git.blob("HEAD", &planned.path)?;
            let (Some(now), Some(head)) = (read_optional(&target)?, head) else {
                continue;
            };
            let store = store_of(&planned.path, &head);
            let published = Document::parse(store, head.clone()).map_err(&fail)?;
            let here = Document::parse(store, now.clone()).map_err(&fail)?;
            let is_back = |document: &Document| {
                document.recipients() == planned.before.iter().collect::<Vec<_>>()
            };
            if !is_back(&here) || is_back(&published) {
                continue;
            }
            let opened = here
                .open(&here.unwrap_data_key(&keys).map_err(&fail)?)
                .map_err(&fail)?;
            let theirs = published
                .open(&published.unwrap_data_key(&keys).map_err(&fail)?)
                .map_err(&fail)?;
            let bytes = if opened.same_plaintext(&theirs) {
                head
            } else {
                let recipients: Vec<Recipient> =
                    published.recipients().into_iter().cloned().collect();
                rewrapped(&planned.path, &now, &recipients, false, &keys, super::now())?
            };
            atomic_write::replace_expecting(&target, Some(&now), &bytes, Mode::Keep)?;
        }
        self.take_published_digests()
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
                let paths = run.committed_paths()?;
                match run.work.git.commit(&paths, TAKING_BACK) {
                    Ok(_) | Err(GitError::NothingToCommit) => Ok(()),
                    Err(error) => Err(ApplyError::CommitRefused(error)),
                }
            })?;
        }
        let wrong = differs(self)?;
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::PublishMismatch { paths: wrong })
        }
    }

    /// Looks again before minted identities leave: nothing is wrapped to them, here or at the remote, and each reader still
    /// holds what it is to read with.
    fn look_again_back(&mut self) -> Result<(), ApplyError> {
        if let Some(behind) = self.take_tip()? {
            return Err(behind);
        }
        let ids = self.minted_by_plan();
        let gone: Vec<_> = ids.iter().filter_map(|id| self.recipient_of(id)).collect();
        let stragglers = self.stragglers(&gone)?;
        if !stragglers.is_empty() {
            return Err(ApplyError::Stragglers {
                paths: stragglers.iter().map(|(p, _)| p.to_string()).collect(),
            });
        }
        self.check_head(&gone)?;
        let mut failures = Vec::new();
        for reader in self.asked() {
            let held = self.work.targets[&reader.name]
                .read()
                .map_err(ApplyError::target(&reader.name))?;
            if !guards::may_take(&reader.loses, |r| held.identities.holds(r)) {
                failures.push(ReaderFailure {
                    is_weak: false,
                    reader: reader.name.clone(),
                    said: format!(
                        "{} no longer holds the identity that it is to read with again",
                        reader.name
                    ),
                    holds_too_much: false,
                });
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::Unshown { failures })
        }
    }

    fn record_withdrawal(&mut self) -> Result<(), ApplyError> {
        let path = RepoPath::new(LEDGER_PATH).map_err(ApplyError::path(LEDGER_PATH))?;
        let message = WITHDRAWING;
        match self.work.git.commit(std::slice::from_ref(&path), message) {
            Ok(_) | Err(GitError::NothingToCommit) => self.push_ledger(),
            Err(error) => Err(ApplyError::CommitRefused(error)),
        }
    }
}
