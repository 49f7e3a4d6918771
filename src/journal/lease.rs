//! Who holds the one run that may be at work on a remote's repository, and what another clone takes over of its journal.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::{Entry, Options, RunId, Step};
use crate::plan::Goal;

/// What stands behind the ref of a run, for whoever finds it taken. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The version of this form; 1.
    pub version: u32,
    /// The run's name.
    pub run: RunId,
    /// What was asked for.
    pub goal: Goal,
    /// Who, as git knows them.
    pub name: String,
    /// On which machine.
    pub host: String,
    /// When it was taken, or renewed.
    pub at: Timestamp,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goal = match self.goal {
            Goal::Split => "split",
            Goal::Rotate => "rotate",
            Goal::Sync => "sync",
            Goal::Revoke => "revoke",
        };
        write!(
            f,
            "{} on {} since {} (run {}, {goal})",
            printable(&self.name),
            printable(&self.host),
            self.at,
            self.run
        )
    }
}

/// Names come from another machine and reach a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// What a clone that takes a run over writes as its own journal: the plan and what was done to readers and documents;
/// nothing about the other clone's files, index, commits and hold on the ref. `commit` is where the ref stood.
pub fn inherited(
    entries: Vec<Entry>,
    head: Option<String>,
    options: Options,
    commit: &str,
) -> Vec<Entry> {
    let mut kept: Vec<Entry> = entries
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Begun {
                version,
                run,
                at,
                options: theirs,
                plan,
                ..
            } => Some(Entry::Begun {
                version,
                run,
                at,
                head: head.clone(),
                options: Options {
                    unproven: theirs.unproven,
                    branch: theirs.branch,
                    ..options.clone()
                },
                plan,
            }),
            Entry::Started { ref step } | Entry::Done { ref step } => {
                is_everybodys(step).then_some(entry)
            }
            Entry::Indexed { .. } | Entry::Committed { .. } => None,
            other => Some(other),
        })
        .collect();
    kept.push(Entry::Started {
        step: Step::TakeOver {
            commit: commit.to_owned(),
        },
    });
    kept
}

/// Whether a step is true of the run wherever one looks from, and not of one clone's files alone.
fn is_everybodys(step: &Step) -> bool {
    match step {
        Step::Adopt { .. }
        | Step::Mint { .. }
        | Step::Ship { .. }
        | Step::Prove
        | Step::Stage
        | Step::Run { .. }
        | Step::Ready { .. }
        | Step::Retire { .. }
        | Step::Record
        | Step::Withdraw { .. } => true,
        Step::Keep
        | Step::Branch
        | Step::Offer
        | Step::Prepare
        | Step::Lease { .. }
        | Step::TakeOver { .. }
        | Step::Release
        | Step::Replace { .. }
        | Step::Publish
        | Step::Push
        | Step::Restore { .. }
        | Step::Uncommit => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_tells_who_and_prints_no_control_characters() {
        let lease = Lease {
            version: 1,
            run: RunId::new("2026-11-23T20:15:30Z".parse().unwrap(), 0x9f3c),
            goal: Goal::Rotate,
            name: "Ada\u{1b}[31m".into(),
            host: "tower".into(),
            at: "2026-11-23T20:15:31Z".parse().unwrap(),
        };
        assert_eq!(
            lease.to_string(),
            "Ada[31m on tower since 2026-11-23T20:15:31Z (run 20261123T201530Z-9f3c, rotate)"
        );
    }
}
