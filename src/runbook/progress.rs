//! The journal of a runbook: its entries, and their fold.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One line of a runbook's journal. Holds names and dates, never what a command printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Entry {
    /// The first line.
    Begun {
        /// The journal's version: 1.
        version: u32,
        /// The digest of the runbook's text.
        digest: String,
        /// The parameters.
        set: BTreeMap<String, String>,
        /// When.
        at: Timestamp,
    },
    /// A step is about to be done.
    Started {
        /// Which.
        step: String,
        /// Runs of ours that are as young as this entry, and older: they are not the step's.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        runs: Vec<String>,
        /// When.
        at: Timestamp,
    },
    /// A step was done.
    Done {
        /// Which.
        step: String,
        /// The command's exit code, where there was a command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u8>,
        /// When.
        at: Timestamp,
    },
    /// All steps were done, or the runbook was given up.
    Ended {
        /// When.
        at: Timestamp,
    },
}

/// A journal that no runbook writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgressError {
    /// Something stands before the first line, or a first line in the middle.
    #[error("line {line} is out of order")]
    Order {
        /// From 1.
        line: usize,
    },
    /// Written by another version.
    #[error("it has version {0}; this cofferdam knows version 1")]
    Version(u32),
}

/// How far a runbook has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The digest of the text that was begun.
    pub digest: String,
    /// Its parameters.
    pub set: BTreeMap<String, String>,
    /// The steps that were done, with the exit code where there was a command.
    pub done: BTreeMap<String, Option<u8>>,
    /// The step that was begun last and not done.
    pub current: Option<Current>,
    /// It has ended.
    pub ended: bool,
}

/// A step that was begun and not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Which.
    pub step: String,
    /// Runs of ours that are not the step's.
    pub runs: BTreeSet<String>,
    /// When it was first begun.
    pub at: Timestamp,
}

impl Progress {
    /// Folds a journal's entries; none if there is no entry.
    ///
    /// # Errors
    /// See [`ProgressError`].
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Result<Option<Self>, ProgressError> {
        let mut progress: Option<Self> = None;
        for (line, entry) in (1..).zip(entries) {
            match (&mut progress, entry) {
                (None, Entry::Begun { version, .. }) if version != 1 => {
                    return Err(ProgressError::Version(version));
                }
                (None, Entry::Begun { digest, set, .. }) => {
                    progress = Some(Self {
                        digest,
                        set,
                        done: BTreeMap::new(),
                        current: None,
                        ended: false,
                    });
                }
                (None, _) | (Some(_), Entry::Begun { .. }) => {
                    return Err(ProgressError::Order { line });
                }
                (Some(progress), entry) => progress.add(entry),
            }
        }
        Ok(progress)
    }

    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Begun { .. } => {}
            Entry::Started { step, runs, at } => {
                // Tried again: what the first try began is still the step's.
                if self.current.as_ref().is_none_or(|c| c.step != step) {
                    self.current = Some(Current {
                        step,
                        runs: runs.into_iter().collect(),
                        at,
                    });
                }
            }
            Entry::Done { step, code, .. } => {
                self.current.take_if(|current| current.step == step);
                self.done.insert(step, code);
            }
            Entry::Ended { .. } => self.ended = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn begun() -> Entry {
        Entry::Begun {
            version: 1,
            digest: "d".into(),
            set: BTreeMap::new(),
            at: at(0),
        }
    }

    fn started(step: &str, second: i64) -> Entry {
        Entry::Started {
            step: step.into(),
            runs: Vec::new(),
            at: at(second),
        }
    }

    #[test]
    fn a_step_that_was_cut_off_is_the_current_one() {
        let done = Entry::Done {
            step: "a".into(),
            code: Some(3),
            at: at(2),
        };
        let entries = [
            begun(),
            started("a", 1),
            done,
            started("b", 3),
            started("b", 9),
        ];
        let progress = Progress::of(entries).unwrap().unwrap();
        assert_eq!(progress.done, BTreeMap::from([("a".to_owned(), Some(3))]));
        let current = progress.current.unwrap();
        assert_eq!((current.step.as_str(), current.at), ("b", at(3)));
        assert!(!progress.ended);
    }

    #[test]
    fn what_no_runbook_writes_is_refused() {
        assert_eq!(Progress::of([]), Ok(None));
        assert_eq!(
            Progress::of([started("a", 1)]),
            Err(ProgressError::Order { line: 1 })
        );
        assert_eq!(
            Progress::of([begun(), begun()]),
            Err(ProgressError::Order { line: 2 })
        );
    }
}
