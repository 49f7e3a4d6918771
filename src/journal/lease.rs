//! Who holds the one run that may be at work on a remote's repository, and what another clone takes over of its journal.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::{Entry, Options, Progress, RunId, Step};
use crate::ledger::{Ledger, State};
use crate::plan::{Goal, Plan};

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

/// Whose the ref is, as a run sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// It is not there.
    Nobodys,
    /// It stands where this clone's run moved it, or took it over from.
    Ours,
    /// It is another clone's, which goes on with this run.
    Heirs,
    /// Quite another run's.
    Anothers,
}

/// Tells whose the ref is that stands at `there`, with the lease of this run behind it; none: it is not there.
pub fn whose(progress: &Progress, there: Option<(&str, &RunId)>) -> Whose {
    match there {
        None => Whose::Nobodys,
        Some((commit, _)) if progress.holds_lease(commit) => Whose::Ours,
        Some((_, run)) if *run == progress.run => Whose::Heirs,
        Some(_) => Whose::Anothers,
    }
}

/// Whose a run is, asked before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    /// On here.
    On,
    /// On here, unless the remote's ledger says that it [`is_ended`].
    OnUnlessEnded,
    /// On in another clone.
    Elsewhere,
    /// Nowhere, unless the remote's ledger says that it [`is_ended`]: another run is at work.
    NowhereUnlessEnded,
}

/// Tells where a run goes on.
pub fn goes(progress: &Progress, whose: Whose) -> Goes {
    let is_heir = progress.inherited_from().is_some();
    match whose {
        _ if !progress.sought_lease() && !is_heir => Goes::On,
        Whose::Ours => Goes::On,
        Whose::Nobodys if progress.started.contains(&Step::Release) => Goes::On,
        // Taken away by hand, or the remote was set up anew: it is free, and taken again later.
        Whose::Nobodys => Goes::OnUnlessEnded,
        Whose::Heirs => Goes::Elsewhere,
        Whose::Anothers if progress.held_lease() || is_heir => Goes::NowhereUnlessEnded,
        // As far as anybody knows it never had the ref, and learns so when it asks for it.
        Whose::Anothers => Goes::OnUnlessEnded,
    }
}

/// Whether a ledger says that the run of `plan` has come to its end, or was taken back.
pub fn is_ended(plan: &Plan, ledger: &Ledger) -> bool {
    let is_gone = |id: &String| {
        let record = ledger.record(id);
        record.is_some_and(|r| matches!(r.state, State::Retired | State::Withdrawn))
    };
    let retiring: Vec<&String> = plan.retiring.iter().map(|r| &r.id).collect();
    let minted: Vec<&String> = plan
        .identities
        .iter()
        .filter(|i| i.recipient.is_none())
        .map(|i| &i.id)
        .collect();
    let all_gone = |ids: Vec<&String>| !ids.is_empty() && ids.into_iter().all(is_gone);
    all_gone(retiring) || all_gone(minted)
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
        | Step::KeepDigests
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
        | Step::Seal { .. }
        | Step::Unseal { .. }
        | Step::Uncommit => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_whose_answer_was_lost_may_have_been_taken_over() {
        let run = |salt| RunId::new(Timestamp::UNIX_EPOCH, salt);
        let step = Step::Lease {
            commit: "a".to_owned(),
        };
        let mut progress = Progress::of([Entry::Begun {
            version: 1,
            run: run(1),
            at: Timestamp::UNIX_EPOCH,
            head: None,
            options: Options::default(),
            plan: Box::new(empty_plan()),
        }])
        .unwrap();
        assert_eq!(goes(&progress, Whose::Heirs), Goes::On);
        progress
            .add(Entry::Started { step: step.clone() }, 2)
            .unwrap();
        let (mine, heir, other) = (run(1), run(1), run(2));
        assert_eq!(whose(&progress, Some(("a", &mine))), Whose::Ours);
        assert_eq!(whose(&progress, Some(("b", &heir))), Whose::Heirs);
        assert_eq!(whose(&progress, Some(("b", &other))), Whose::Anothers);
        assert_eq!(goes(&progress, Whose::Heirs), Goes::Elsewhere);
        assert_eq!(goes(&progress, Whose::Nobodys), Goes::OnUnlessEnded);
        // It never had it, as far as it knows, and learns so when it asks.
        assert_eq!(goes(&progress, Whose::Anothers), Goes::OnUnlessEnded);
        progress.add(Entry::Done { step }, 3).unwrap();
        assert_eq!(goes(&progress, Whose::Anothers), Goes::NowhereUnlessEnded);
        assert!(progress.sought_lease() && progress.held_lease());
    }

    fn empty_plan() -> Plan {
        let text = r#"{"version":1,"goal":"sync","identities":[],"retiring":[],"always":[],"documents":[],
            "documents_in_scope":0,"readers":[],"rules":{"changes":false,"rules_before":0,"rules_after":0,
            "previous":[],"notes":[]},"exposed_values":0,"notes":[]}"#;
        serde_json::from_str(text).unwrap()
    }

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
