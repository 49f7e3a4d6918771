//! The re-key protocol, checked on every state that its actors can reach.
//!
//! A state holds what lasts: commits, clones, journals, ledgers, the remote's branch and ref, what each reader holds and has
//! deployed; and of a running command its place in the executor's sequence and the readers that failed in it. A step goes on
//! to the next thing that lasts. Between any two the command may be killed; what it asked of a reader or of the remote may be
//! done and the answer lost. From each state `stateright` goes on to all that follow, until there are no new ones.
//!
//! **Real** are the planner (`plan::converge`, with `reader_safety` in it) over a parsed `cofferdam.toml`, the journal (entries,
//! their fold, what an heir takes over), the ledger and its generations, the duties that `ship` goes by, and every decision of
//! `journal::guards`, `journal::lease` and `plan::late` (`protocol_model/mind.rs`, `facts.rs`). **Modelled** is the order in which
//! `src/apply` looks and acts (`executor.rs` and the files beside it, `back.rs`): a change of that order has to be made here too.
//!
//! What is left out, and why nothing is lost by it:
//! - *Ciphertext* is a set of recipients, the number of a data key and the edits that it holds. Who opens what depends on
//!   nothing else; that real age and sops agree is tested on real files (`tests/interop.rs`, `tests/history_splice.rs`).
//! - *Writes* are whole or not at all: `power_loss_leaves_old_or_new()` shows that of files, `tests/crash.rs` of runs.
//! - *Steps that change one clone's own files alone* (the copy of the ledger, the git index, handing over) are one step; what
//!   they record is looked at by nobody else. Creation rules are left out: readers do not read them.
//! - *Bookkeeping of commands and waves* is left out: one wave, no `[publish] run`. `tests/waves.rs` has them.
//! - *Readers* pull the last published commit, at any time. Documents of one zone are alike, so one or two stand for all, and of
//!   commits with the same documents the first stands for all.
//! - *The ref's commit* keeps its name while one clone renews it, and gets another when it changes hands: only whose it is counts.
//! - *The time* is now or after every grace.
//!
//! What is not claimed:
//! - A reader that was restored from a snapshot and has not been served since opens what the snapshot has deployed, and nothing
//!   newer. A restore does not fall between a look at a reader and the act that follows at once.
//! - Old bytes that somebody publishes after the last look before identities leave: `check` finds them, `sync` re-encrypts them.
//! - A document in an old clone that was removed from the repository since, and the clones of readers that declare none.
//! - The work tree of a clone whose run another clone has taken over: readers read the remote.
//! - Whoever takes a run over has to see to it that its machine is not at work on it until the ref has moved.
//! - A clone that cannot ask the remote and ships after another took its run back by a further commit may give a reader
//!   an identity again that opens nothing: the ledger's generation does not change there.
//!
//! Rules of the protocol that are not here, for they are not about the order of steps: 4 (what an operator's loss costs) and 8
//! (unknown recipients) are the planner's alone; 5 takes identities that nobody can unseal
//! (`rule_5_what_nobody_can_unseal_is_minted_anew()`); 7 is about key entries of other kinds (`all_problems_are_told_at_once()`);
//! 18, 20, 21 and 22 are about single targets and texts (`tests/kubernetes.rs`, `a_planted_wrap_is_not_answered()`,
//! `rule_22_changed_commands_are_accepted_by_name()`); 23 and 24 are about what `init` and `check` find.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test may fail where it stands"
)]

#[path = "protocol_model/back.rs"]
mod back;
#[path = "protocol_model/cast.rs"]
mod cast;
#[path = "protocol_model/changes.rs"]
mod changes;
#[path = "protocol_model/executor.rs"]
mod executor;
#[path = "protocol_model/facts.rs"]
mod facts;
#[path = "protocol_model/faults.rs"]
mod faults;
#[path = "protocol_model/hold.rs"]
mod hold;
#[path = "protocol_model/mind.rs"]
mod mind;
#[path = "protocol_model/model.rs"]
mod model;
#[path = "protocol_model/notes.rs"]
mod notes;
#[path = "protocol_model/others.rs"]
mod others;
#[path = "protocol_model/publish.rs"]
mod publish;
#[path = "protocol_model/retire.rs"]
mod retire;
#[path = "protocol_model/rewrite.rs"]
mod rewrite;
#[path = "protocol_model/rules.rs"]
mod rules;
#[path = "protocol_model/scenarios.rs"]
mod scenarios;
#[path = "protocol_model/ship.rs"]
mod ship;
#[path = "protocol_model/world.rs"]
mod world;

use std::time::Instant;

use faults::Fault;
use model::{ENDS, Protocol};
use scenarios::{scenario, scenarios};

#[test]
fn every_state_is_safe() {
    let only = std::env::var("ONLY").ok();
    let mut broken = 0;
    let mut states = 0;
    for scenario in scenarios() {
        let name = scenario.name;
        if only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            continue;
        }
        let begun = Instant::now();
        let outcome = Protocol::new(scenario, None).check();
        states += outcome.states;
        println!(
            "{name}: {} states ({:.1?})",
            outcome.states,
            begun.elapsed()
        );
        if let Some((rule, acts)) = outcome.broken {
            println!("  broken: {rule}");
            acts.iter().for_each(|act| println!("    {act:?}"));
            broken += 1;
        }
    }
    println!("in all {states} states");
    assert_eq!(broken, 0, "a rule is broken: the acts above lead there");
}

/// Rule, fault, the scenario that it is planted in, what breaks.
const PLANTED: [(u8, Fault, &str, &[&str]); 25] = [
    (
        1,
        Fault::NothingSealed,
        "split",
        &["no identity is nowhere"],
    ),
    (
        2,
        Fault::TwoRoles,
        "split, an operator with",
        &["a retired recipient opens nothing under a new data key"],
    ),
    (
        3,
        Fault::NoPossession,
        "split, a mistyped",
        &["without a way back somebody here opens everything"],
    ),
    (
        6,
        Fault::OldDataKey,
        "split",
        &["a retired recipient opens nothing under a new data key"],
    ),
    (
        9,
        Fault::WidensByPlace,
        "rotate, a late",
        &["nobody gains a document"],
    ),
    (
        10,
        Fault::OverwritesEdits,
        "split, an edit",
        &["nobody's edit is lost"],
    ),
    (
        11,
        Fault::PublishUnverified,
        "split, a hook",
        &[
            "every reader opens the last published commit",
            "every reader opens the revision that it has deployed",
        ],
    ),
    (
        12,
        Fault::ClonesIgnored,
        "split",
        &["every reader opens the revision that it has deployed"],
    ),
    (
        12,
        Fault::RetireBeforeProof,
        "split",
        &["every reader opens the revision that it has deployed"],
    ),
    (
        13,
        Fault::NoLookAtTip,
        "remote, a late",
        &[
            "every reader opens the last published commit",
            "every reader opens the work tree",
            "every reader opens the revision that it has deployed",
        ],
    ),
    (
        14,
        Fault::NoLease,
        "remote, two operators",
        &["one run at a time ships"],
    ),
    (
        14,
        Fault::HoldForgotten,
        "remote, two operators",
        &["a run that ended holds no ref"],
    ),
    (
        14,
        Fault::LowerGeneration,
        "remote that does not",
        &["what is retired or taken back has left its readers"],
    ),
    (
        14,
        Fault::ShipsUnasked,
        "remote, a stale",
        &["what is retired or taken back has left its readers"],
    ),
    (
        15,
        Fault::UndoKeepsIdentities,
        "split",
        &[
            "what is retired or taken back has left its readers",
            "no identity is nowhere",
        ],
    ),
    (
        15,
        Fault::UndoLeavesDocuments,
        "split",
        &["every reader opens the work tree", "no identity is nowhere"],
    ),
    (
        15,
        Fault::UndoForgetsEdits,
        "split, an edit",
        &["nobody's edit is lost"],
    ),
    (
        15,
        Fault::UndoBlind,
        "split",
        &["every reader opens the revision that it has deployed"],
    ),
    (
        15,
        Fault::UndoDoesNotWait,
        "split",
        &["every reader opens the revision that it has deployed"],
    ),
    (16, Fault::RevokeWaits, "rotate, then revoke", &[ENDS]),
    (
        16,
        Fault::RevokeServesTheRevoked,
        "rotate, then revoke",
        &["nobody gains a document"],
    ),
    (
        17,
        Fault::KeepsNothingWithout,
        "split, a reader that may",
        &[
            "every reader opens the work tree",
            "every reader opens the last published commit",
            "every reader opens the revision that it has deployed",
        ],
    ),
    (
        19,
        Fault::RewriteBeforeGate,
        "split, a reader that may",
        &[
            "every reader opens the work tree",
            "every reader opens the last published commit",
            "every reader opens the revision that it has deployed",
        ],
    ),
    (
        19,
        Fault::NotAskedAgain,
        "split, a reader restored",
        &["every reader opens the revision that it has deployed"],
    ),
    (
        19,
        Fault::RetireBeforeProof,
        "split, a reader restored",
        &["every reader opens the revision that it has deployed"],
    ),
];

#[test]
fn each_planted_fault_is_caught() {
    let mut missed = Vec::new();
    for (rule, fault, name, expected) in PLANTED {
        let begun = Instant::now();
        let outcome = Protocol::new(scenario(name), Some(fault)).check();
        let told = outcome.broken.as_ref().map_or("nothing", |(told, _)| told);
        let steps = outcome.broken.as_ref().map_or(0, |(_, acts)| acts.len());
        println!(
            "rule {rule}, {fault:?}: {told}, after {steps} acts, found among {} states ({:.1?})",
            outcome.states,
            begun.elapsed()
        );
        if !expected.contains(&told) {
            if let Some((_, acts)) = &outcome.broken {
                acts.iter().for_each(|act| println!("    {act:?}"));
            }
            missed.push(fault);
        }
    }
    assert!(
        missed.is_empty(),
        "{missed:?} broke nothing, or something else"
    );
}
