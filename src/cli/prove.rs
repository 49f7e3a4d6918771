//! `cofferdam prove`: have readers show what they can open, and what they cannot.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::time::Instant;

use jiff::Timestamp;
use rand::RngCore;
use serde::Serialize;

use crate::apply::asking::{Asked, ask};
use crate::apply::{ApplyError, Observer};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::narrator::Narrator;
use crate::cli::project::Project;
use crate::cli::prove_answer;
use crate::cli::some_readers::{documents, some_duties};
use crate::cli::unopened;
use crate::fleet::abreast_telling;
use crate::inventory::ReaderOutcome;
use crate::journal::RunId;
use crate::ledger::ReceiptKind;
use crate::plan::duties::Duty;
use crate::report::outcome_text::outcome_text;

/// Have readers show that they open what they should, and nothing that they should not.
///
/// Each reader is given challenges made for its own identities, and for those of other zones, of operators, of recovery, and
/// for retired ones. It must open its own and no other, with whatever it finds in the places where identities are looked
/// for. Changes nothing. Exits with 5 if a reader fails or cannot be asked.
///
/// On a host that has `cofferdam`, the other side asks `prove --answer` there: it reads challenges on standard input, opens
/// them with what it finds, and prints digests. It needs neither a repository nor `cofferdam.toml`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Hosts and clusters to ask; none: all.
    #[arg(value_name = "HOST")]
    readers: Vec<String>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    /// Answer challenges from standard input as this machine, with every identity found on it; for programs.
    #[arg(long, conflicts_with_all = ["readers", "json"])]
    answer: bool,
}

/// What one reader showed.
#[derive(Debug, Serialize)]
pub(super) struct Proof {
    #[serde(flatten)]
    pub(super) outcome: ReaderOutcome,
    /// What it must open, and how it showed that.
    pub(super) opens: Vec<Opens>,
    /// Whether it did not answer at all.
    pub(super) is_unreachable: bool,
    /// How many recipients it was shown not to open.
    pub(super) others: usize,
}

/// An identity that a reader holds.
#[derive(Debug, Serialize)]
pub(super) struct Opens {
    /// Its id.
    pub(super) id: String,
    /// How it was shown.
    pub(super) receipt: ReceiptKind,
}

/// Runs the command.
///
/// # Errors
/// Exit 5 when a reader fails or cannot be asked, 2 for a name that the topology does not know. With `--answer`: 1 for
/// questions that make no sense.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    if args.answer {
        return prove_answer::run(context);
    }
    let project = Project::load(context)?;
    let documents = documents(&project.git)?;
    let duties = some_duties(&project, &documents, &args.readers)?;
    let proofs = prove_all(&project, &duties, context)?;
    if args.json {
        context.ui.answer(serde_json::to_string_pretty(&proofs)?);
    } else {
        let outcomes: Vec<ReaderOutcome> = proofs.iter().map(|p| p.outcome.clone()).collect();
        context.ui.answer(outcome_text(&outcomes).trim_end());
    }
    let failing: Vec<&str> = proofs
        .iter()
        .filter(|proof| proof.outcome.error.is_some())
        .map(|proof| proof.outcome.reader.as_str())
        .collect();
    if failing.is_empty() {
        return Ok(());
    }
    Err(CliError::new(
        Kind::Stopped,
        format!("no proof from {}", failing.join(", ")),
    )
    .hint("mend what the table names; what a reader lacks: cofferdam ship HOST; then: cofferdam prove"))
}

/// Asks readers side by side; the proofs in the duties' order.
pub(super) fn prove_all(
    project: &Project,
    duties: &[Duty],
    context: &Context,
) -> Result<Vec<Proof>, CliError> {
    // An asking of its own: no answer of a run serves for it.
    let salt = (rand::rngs::OsRng.next_u32() & 0xffff) as u16;
    let asking = RunId::new(Timestamp::now(), salt);
    let names: Vec<String> = duties.iter().map(|duty| duty.reader.clone()).collect();
    let narrator = Narrator::new(&context.ui, true);
    let tell = narrator.readers("asking", &names);
    let mut proofs = Vec::new();
    let told: Result<(), CliError> = abreast_telling(
        duties,
        |duty| prove_one(project, duty, asking.as_str()),
        |at, proof| {
            tell(&proof.outcome);
            proofs.push((at, proof));
            Ok(())
        },
    );
    drop(tell);
    told?;
    proofs.sort_by_key(|(at, _)| *at);
    Ok(proofs.into_iter().map(|(_, proof)| proof).collect())
}

fn prove_one(project: &Project, duty: &Duty, asking: &str) -> Proof {
    let begun = Instant::now();
    let holds = duty.holds.iter().map(|(id, r)| Asked::must(id, r));
    let lacks = duty.lacks.iter().map(|(id, r)| Asked::must_not(id, r));
    let parties = duty.parties.iter().filter_map(Asked::party);
    let asked: Vec<Asked> = holds.chain(lacks).chain(parties).collect();
    let others = asked.len() - duty.holds.len();
    let target = project.targets[&duty.reader].as_ref();
    let shown = ask(target, asking, &asked, &project.topology.gate);
    let is_unreachable =
        matches!(&shown, Err(ApplyError::Target { source, .. }) if source.is_unreachable());
    let (opens, error) = match shown {
        Ok(shown) => {
            let error = (!shown.failures.is_empty()).then(|| shown.failures.join("; "));
            (shown.kinds, error)
        }
        Err(ApplyError::Target { source, .. }) => (Vec::new(), Some(unopened::one_line(&source))),
        Err(error) => (Vec::new(), Some(unopened::one_line(&error))),
    };
    let done = match (&error, opens.as_slice()) {
        (Some(_), _) => String::new(),
        (None, []) => format!("holds nothing, and none of {others} others"),
        (None, opens) => {
            let texts: Vec<String> = opens
                .iter()
                .map(|(id, kind)| format!("{id} ({})", kind_text(*kind)))
                .collect();
            format!("opens {}, and none of {others} others", texts.join(", "))
        }
    };
    Proof {
        outcome: ReaderOutcome {
            reader: duty.reader.clone(),
            done,
            took: begun.elapsed(),
            error,
        },
        opens: opens
            .into_iter()
            .map(|(id, receipt)| Opens { id, receipt })
            .collect(),
        is_unreachable,
        others,
    }
}

fn kind_text(kind: ReceiptKind) -> &'static str {
    match kind {
        ReceiptKind::Unwrapped => "unwrapped there",
        ReceiptKind::ReadBack => "read back, the weaker receipt",
        ReceiptKind::Reconciled => "reconciled by Flux",
    }
}
