//! The fold of a journal's entries: how far a run has come.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::{Before, Digest};
use crate::journal::{Entry, Options, Outcome, RunId, Step};
use crate::keys::Recipient;
use crate::plan::Plan;
use crate::repo_path::RepoPath;

/// How far a run has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The run's name.
    pub run: RunId,
    /// HEAD at the start.
    pub head: Option<String>,
    /// What the operator said.
    pub options: Options,
    /// Everything the run will do, without the readers that it goes on without.
    pub plan: Plan,
    /// The steps that were done.
    pub done: BTreeSet<Step>,
    /// The steps that were started.
    pub started: BTreeSet<Step>,
    /// The identities that this run made: id and public half, the last one that was made under each id.
    pub minted: BTreeMap<String, Recipient>,
    /// What lies staged.
    pub staged: BTreeMap<RepoPath, Staged>,
    /// What readers were like before their first delivery.
    pub found: BTreeMap<String, Before>,
    /// The index entries (mode, blob) of the run's files before the first commit.
    #[expect(
        clippy::type_complexity,
        reason = "a list of plain facts, named by the line above"
    )]
    pub index: Option<Vec<(RepoPath, Option<(String, String)>)>>,
    /// The run's commits, in order.
    pub commits: Vec<String>,
    /// Whether it goes backwards, and if so whether by a further commit.
    pub undo: Option<bool>,
    /// How it ended; none: it has not.
    pub outcome: Option<Outcome>,
}

/// One file's staged bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Of the bytes to be replaced; none: the file was not there.
    pub before: Option<Digest>,
    /// Of the new bytes.
    pub after: Digest,
}

/// Why entries are no journal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProgressError {
    /// The first line is missing or something else.
    #[error("the journal does not begin with its plan")]
    NoBeginning,
    /// Written by a later Cofferdam.
    #[error("the journal has version {0}; this cofferdam knows version 1")]
    Version(u32),
    /// A second beginning, or a line after the end.
    #[error("line {line} of the journal stands where none can")]
    IllegalOrder {
        /// From 1.
        line: usize,
    },
    /// A step done that was not started.
    #[error("line {line} of the journal ends a step that was not begun")]
    NotStarted {
        /// From 1.
        line: usize,
    },
}

impl Progress {
    /// Folds the entries of one journal.
    ///
    /// # Errors
    /// [`ProgressError`] for orders that no run writes.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Result<Self, ProgressError> {
        let mut entries = entries.into_iter();
        let Some(Entry::Begun {
            version,
            run,
            head,
            options,
            plan,
            ..
        }) = entries.next()
        else {
            return Err(ProgressError::NoBeginning);
        };
        if version != 1 {
            return Err(ProgressError::Version(version));
        }
        let mut progress = Self {
            run,
            head,
            options,
            plan: *plan,
            done: BTreeSet::new(),
            started: BTreeSet::new(),
            minted: BTreeMap::new(),
            staged: BTreeMap::new(),
            found: BTreeMap::new(),
            index: None,
            commits: Vec::new(),
            undo: None,
            outcome: None,
        };
        for (index, entry) in entries.enumerate() {
            progress.add(entry, index + 2)?;
        }
        Ok(progress)
    }

    /// Adds one more entry, the `line`th of its journal.
    ///
    /// # Errors
    /// As [`Progress::of`].
    pub fn add(&mut self, entry: Entry, line: usize) -> Result<(), ProgressError> {
        if self.outcome.is_some() {
            return Err(ProgressError::IllegalOrder { line });
        }
        match entry {
            Entry::Begun { .. } => return Err(ProgressError::IllegalOrder { line }),
            Entry::Started { step } => {
                // Done once, begun again: a resume found that it no longer holds.
                self.done.remove(&step);
                if step == Step::Publish {
                    // What is published again is deployed again.
                    self.done
                        .retain(|s| !matches!(s, Step::Run { .. } | Step::Ready { .. }));
                }
                self.started.insert(step);
            }
            Entry::Done { step } => {
                if !self.started.contains(&step) {
                    return Err(ProgressError::NotStarted { line });
                }
                self.done.insert(step);
            }
            Entry::Minted { id, recipient } => {
                self.minted.insert(id, recipient);
            }
            Entry::Staged {
                path,
                before,
                after,
            } => {
                self.staged.insert(path, Staged { before, after });
            }
            // The first look counts: a later one sees what this run did.
            Entry::Found { reader, before } => {
                self.found.entry(reader).or_insert(before);
            }
            Entry::Indexed { entries } => {
                self.index.get_or_insert(entries);
            }
            Entry::Amended { documents } => {
                let planned = &mut self.plan.documents;
                for document in documents {
                    match planned.iter_mut().find(|d| d.path == document.path) {
                        Some(before) => *before = document,
                        None => planned.push(document),
                    }
                }
            }
            Entry::Committed { commit } => self.commits.push(commit),
            Entry::Without { reader, keeps } => self.plan.go_on_without(&reader, &keeps),
            Entry::UndoBegun { published } => {
                // What was let go on the way forwards is let go again, when everything was taken back.
                self.started.remove(&Step::Release);
                self.done.remove(&Step::Release);
                self.undo = Some(published);
            }
            Entry::Finished { outcome } => self.outcome = Some(outcome),
        }
        Ok(())
    }

    /// Whether the run's ref is ours if it stands at `commit`: we moved it there, or meant to take it from there.
    pub fn holds_lease(&self, commit: &str) -> bool {
        self.started.iter().any(|step| match step {
            Step::Lease { commit: own } | Step::TakeOver { commit: own } => own == commit,
            _ => false,
        })
    }

    /// The commit that the ref stood at when this clone took the run over; none if it began here.
    pub fn inherited_from(&self) -> Option<&str> {
        self.started.iter().find_map(|step| match step {
            Step::TakeOver { commit } => Some(commit.as_str()),
            _ => None,
        })
    }

    /// Whether the identity of this name and public half is one that this run made: two runs that are planned at once give
    /// theirs the same names.
    pub fn has_minted(&self, id: &str, recipient: &Recipient) -> bool {
        self.minted.get(id) == Some(recipient)
    }

    /// Whether there is nothing left to do but to end: the ref is let go last, and from then on another run may work on the
    /// same documents.
    pub fn only_has_to_end(&self) -> bool {
        self.started.contains(&Step::Release) && (self.undo.is_some() || self.retirement_begun())
    }

    /// Whether the ref may have been ours at some time: the answer may be lost of a push that took it.
    pub fn sought_lease(&self) -> bool {
        let is_lease = |step: &Step| matches!(step, Step::Lease { .. });
        self.started.iter().any(is_lease)
    }

    /// Whether the ref was ours at some time.
    pub fn held_lease(&self) -> bool {
        let is_lease = |step: &Step| matches!(step, Step::Lease { .. });
        self.done.iter().any(is_lease)
    }

    /// Whether an identity may have been delivered to a reader.
    pub fn shipping_begun(&self) -> bool {
        let is_ship = |step: &Step| matches!(step, Step::Ship { .. });
        self.started.iter().any(is_ship)
    }

    /// Whether an identity may have been removed from a reader: from then on there is no way back.
    pub fn retirement_begun(&self) -> bool {
        self.started
            .iter()
            .any(|step| matches!(step, Step::Retire { .. } | Step::Record))
    }
}
