//! One line of the journal.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::inventory::{Before, Digest};
use crate::keys::Recipient;
use crate::plan::{Plan, PlannedDocument};
use crate::repo_path::RepoPath;

/// The name of a run: its start in UTC and four random hex digits, `20261123T201530Z-9f3c`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Names a run that begins at `at`.
    pub fn new(at: Timestamp, salt: u16) -> Self {
        let date: String = at
            .to_string()
            .chars()
            .take(19)
            .filter(|c| !matches!(c, '-' | ':'))
            .collect();
        Self(format!("{date}Z-{salt:04x}"))
    }

    /// The name as text; safe as a file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the operator said when the run began; a resume goes by it too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `--yes`: the operator's word that readers take the new revision.
    pub yes: bool,
    /// `--unproven NAME`: recipients that may stay without a receipt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unproven: Vec<String>,
    /// `--branch`: the run commits to a branch of its own and waits until that is merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<ReviewBranch>,
}

/// The branch of a run whose change is looked over before anybody takes it; short names, without `refs/heads/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewBranch {
    /// The run's own branch.
    pub name: String,
    /// The branch that it is to be merged into.
    pub base: String,
}

/// One act of a run; each is checked, recorded as started, done, and recorded as done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Keep copies of our own files that are about to change.
    Keep,
    /// Keep a copy of the record of verified documents, or know that there is none. Without this, as in a run that an earlier
    /// version began, nothing could be put back, and the record is left alone.
    KeepDigests,
    /// Have git ignore the journal.
    Prepare,
    /// Begin the branch that the run commits to.
    Branch,
    /// Seal an identity that is to be retired to operators and recovery.
    Adopt {
        /// Its id.
        id: String,
    },
    /// Make and seal an identity.
    Mint {
        /// Its id.
        id: String,
    },
    /// Seal an identity that exists to operators and recovery that came since.
    Seal {
        /// Its id.
        id: String,
    },
    /// Remove a sealed file that is for nobody who is left.
    Unseal {
        /// The file's name.
        name: String,
    },
    /// Hold the ref that lets one run at a time work, with the run's state behind it; again whenever that is renewed.
    Lease {
        /// The commit that the ref is moved to.
        commit: String,
    },
    /// Take over, from another clone, the run behind the ref.
    TakeOver {
        /// The commit that the ref stood at.
        commit: String,
    },
    /// Let the ref go.
    Release,
    /// Deliver an identity to a reader.
    Ship {
        /// Its id.
        id: String,
        /// The reader.
        reader: String,
    },
    /// Have every reader unwrap what it should and fail at what it should not.
    Prove,
    /// Write every document's new bytes beside the repository's files, verified.
    Stage,
    /// Move one document's new bytes into place.
    Replace {
        /// The document, or `.sops.yaml`.
        path: RepoPath,
    },
    /// Commit.
    Publish,
    /// Push the commit.
    Push,
    /// Push the run's own branch where the run pushes at all, and go back to the one that it is to be merged into.
    Offer,
    /// Run one of the operator's commands.
    Run {
        /// Its index in `[publish] run`.
        index: usize,
        /// The wave it is run for; none where there is one wave only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wave: Option<String>,
    },
    /// See that the readers of a wave that others wait for run the new revision.
    Ready {
        /// The wave.
        wave: String,
    },
    /// Remove an identity from a reader.
    Retire {
        /// Its recipient.
        recipient: Recipient,
        /// The reader.
        reader: String,
    },
    /// Commit the ledger that says what was retired.
    Record,
    /// Put one file back to its bytes from before the run.
    Restore {
        /// The file.
        path: RepoPath,
    },
    /// Take the run's commit back.
    Uncommit,
    /// Remove a minted identity from a reader.
    Withdraw {
        /// Its id.
        id: String,
        /// The reader.
        reader: String,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything in the plan was done.
    Completed,
    /// Everything was put back.
    Undone,
    /// Another clone took it over.
    #[serde(rename = "handed-over")]
    HandedOver,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Entry {
    /// The first line.
    Begun {
        /// The version of the journal's form; 1.
        version: u32,
        /// The run's name.
        run: RunId,
        /// When.
        at: Timestamp,
        /// HEAD at the start; none in a repository without a commit.
        head: Option<String>,
        /// What the operator said.
        options: Options,
        /// Everything the run will do.
        plan: Box<Plan>,
    },
    /// A step is about to be done.
    Started {
        /// Which.
        step: Step,
    },
    /// A step was done and checked.
    Done {
        /// Which.
        step: Step,
    },
    /// An identity was made; written down before anything else knows of it, the ledger included.
    Minted {
        /// Its id: another run that was planned at the same time may give its own the same.
        id: String,
        /// Its public half.
        recipient: Recipient,
    },
    /// A file's new bytes lie staged and verified.
    Staged {
        /// The file.
        path: RepoPath,
        /// Of the bytes that they are to replace; none: the file was not there.
        before: Option<Digest>,
        /// Of the staged bytes.
        after: Digest,
    },
    /// What a reader's files were like before its first delivery; undo goes back to that.
    Found {
        /// The reader.
        reader: String,
        /// Permissions, and what was absent.
        before: Before,
    },
    /// The index entries of the run's files before the commit; undo puts them back.
    Indexed {
        /// As git tells them; none: the index did not know the file.
        entries: Vec<(RepoPath, Option<(String, String)>)>,
    },
    /// Documents that came to the repository since, and are to be rewritten as well; each replaces the plan's of its path.
    Amended {
        /// They, as in a plan.
        documents: Vec<PlannedDocument>,
    },
    /// The run's commit.
    Committed {
        /// Its object name.
        commit: String,
    },
    /// From here on the run goes on without a reader (protocol rule 17).
    Without {
        /// Its name.
        reader: String,
        /// The ids that what it reads stays wrapped to.
        keeps: Vec<String>,
    },
    /// From here on the run goes backwards.
    UndoBegun {
        /// Whether others have seen the run's commit, so that it is undone by a further commit.
        published: bool,
    },
    /// The last line.
    Finished {
        /// How.
        outcome: Outcome,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_file_names() {
        let id = RunId::new("2026-11-23T20:15:30.5Z".parse().unwrap(), 0x9f3c);
        assert_eq!(id.as_str(), "20261123T201530Z-9f3c");
    }

    #[test]
    fn an_entry_is_one_line() {
        let entry = Entry::Started {
            step: Step::Ship {
                id: "lan-2026-11".into(),
                reader: "kasm".into(),
            },
        };
        let line = serde_json::to_string(&entry).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
    }
}
