//! `cofferdam status`: zones, identities with age and due date, drift, unfinished runs.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;

use crate::apply::JournalFile;
use crate::cli::context::Context;
use crate::cli::departures;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::{Project, load_ledger, load_topology};
use crate::cli::prove::prove_all;
use crate::cli::some_readers::some_duties;
use crate::journal::{Progress, ReviewBranch, Step, guards};
use crate::keys::Recipient;
use crate::ledger::Ledger;
use crate::plan::drift::{StandingInput, standing};
use crate::plan::reader_phase::{PhaseInput, ReaderPhase, reader_phases};
use crate::repo::git::Git;
use crate::repo::scan::Scan;
use crate::repo_path::RepoPath;
use crate::report::status_text::{UnfinishedRun, status_text};
use crate::sops::document::Document;
use crate::topology::Topology;

/// Show zones and their identities, readers, what is due, what is not as cofferdam.toml wants it, and unfinished runs.
///
/// Needs no identity and reads no host, unless asked to with --probe. Exits with 3 when there is something to do: a rotation
/// or drill is due, something is not as cofferdam.toml wants it, a run has not ended, or a reader that was asked has no
/// answer or a wrong one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    /// Ask every reader now what it can open, as `prove` does: one restored from a backup is found here.
    #[arg(long)]
    probe: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit 3 when a rotation or drill is due, something is not as the topology wants it, or a run has not ended.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let git = crate::cli::project::discover(&context.directory)?;
    let topology = load_topology(git.root())?;
    let ledger = load_ledger(git.root())?;
    let scan = Scan::of_repository(&git)?;
    let mut damaged = Vec::new();
    let mut documents: Vec<(RepoPath, Vec<Recipient>)> = Vec::new();
    for found in scan.documents {
        match Document::parse(found.store, found.source) {
            Ok(document) => {
                let recipients = document.recipients().into_iter().cloned().collect();
                documents.push((found.path, recipients));
            }
            Err(error) => damaged.push(format!("{}: {error}", found.path)),
        }
    }
    let now = Timestamp::now();
    let mut standing = standing(&StandingInput {
        topology: &topology,
        ledger: &ledger,
        documents: &documents,
        now,
    });
    standing.drift.extend(damaged);
    standing
        .drift
        .extend(departures::drift(&git, &topology, &ledger, &documents)?);
    let progress = JournalFile::unfinished_progress(git.root())?;
    let mut readers = reader_phases(&PhaseInput {
        topology: &topology,
        ledger: &ledger,
        shipped: &shipped(progress.as_ref()),
        left: &left(progress.as_ref()),
    });
    if args.probe {
        standing
            .drift
            .extend(probe(&mut readers, &documents, context)?);
    }
    let branch = match &progress {
        Some(progress) => waits_for(&git, progress)?,
        None => None,
    };
    let unfinished = progress.map(|progress| UnfinishedRun {
        run: progress.run.to_string(),
        can_undo: guards::has_way_back(&progress),
        undo_ends: grace_ends(&progress, &topology, &ledger),
        branch,
    });
    if args.json {
        let mut value = serde_json::to_value(&standing)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("readers".to_owned(), json!(readers));
            let name = unfinished.as_ref().map(|run| run.run.clone());
            object.insert("unfinished".to_owned(), json!(name));
            object.insert("run".to_owned(), json!(unfinished));
        }
        context.ui.answer(serde_json::to_string_pretty(&value)?);
    } else {
        let text = status_text(&standing, &readers, now, unfinished.as_ref());
        context.ui.answer(text.trim_end());
    }
    let mut reasons = Vec::new();
    if !standing.due.is_empty() {
        reasons.push(format!("{} due", standing.due.len()));
    }
    if !standing.drift.is_empty() {
        reasons.push(format!(
            "{} not as cofferdam.toml wants",
            standing.drift.len()
        ));
    }
    if unfinished.is_some() {
        reasons.push("a run has not ended".to_owned());
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(CliError::new(Kind::Findings, reasons.join(", ")))
    }
}

/// Asks all readers; what is wrong, one line each.
fn probe(
    readers: &mut [ReaderPhase],
    documents: &[(RepoPath, Vec<Recipient>)],
    context: &Context,
) -> Result<Vec<String>, CliError> {
    let project = Project::load(context)?;
    let duties = some_duties(&project, documents, &[])?;
    let mut wrong = Vec::new();
    for proof in prove_all(&project, &duties, context)? {
        let line = readers
            .iter_mut()
            .find(|line| line.reader == proof.outcome.reader);
        let Some(line) = line else {
            continue;
        };
        line.probe = Some(match proof.outcome.error {
            None => "as it should".to_owned(),
            Some(error) => {
                wrong.push(format!("{}: {error}", line.reader));
                if proof.is_unreachable {
                    "unreachable".to_owned()
                } else {
                    "not as it should".to_owned()
                }
            }
        });
    }
    Ok(wrong)
}

/// The branch that the run has offered, as long as what it wrote is not here.
fn waits_for(git: &Git, progress: &Progress) -> Result<Option<ReviewBranch>, CliError> {
    let (Some(own), Some(last)) = (&progress.options.branch, progress.commits.last()) else {
        return Ok(None);
    };
    let here = git.branch()?;
    let waits = progress.started.contains(&Step::Offer)
        && here == Some(format!("refs/heads/{}", own.base))
        && !git.is_ancestor(last, "HEAD")?;
    Ok(waits.then(|| own.clone()))
}

/// What readers of the run hold already, by reader and id.
fn shipped(progress: Option<&Progress>) -> BTreeSet<(String, String)> {
    let done = progress.into_iter().flat_map(|progress| &progress.done);
    done.filter_map(|step| match step {
        Step::Ship { id, reader } => Some((reader.clone(), id.clone())),
        _ => None,
    })
    .collect()
}

/// What has left readers in the run, by reader and recipient.
fn left(progress: Option<&Progress>) -> BTreeSet<(String, Recipient)> {
    let done = progress.into_iter().flat_map(|progress| &progress.done);
    done.filter_map(|step| match step {
        Step::Retire { recipient, reader } => Some((reader.clone(), recipient.clone())),
        _ => None,
    })
    .collect()
}

/// When the last grace of a zone ends, once the new identities are in use.
fn grace_ends(progress: &Progress, topology: &Topology, ledger: &Ledger) -> Option<Timestamp> {
    let losing = progress.plan.readers.iter();
    let zones: BTreeSet<&str> = losing
        .filter(|reader| !reader.loses.is_empty())
        .map(|reader| reader.zone.as_str())
        .collect();
    let graces = zones.iter().filter_map(|zone| topology.zone(zone)?.grace);
    let grace = graces.max()?;
    let retiring = progress.plan.retiring.iter();
    let since = retiring
        .filter_map(|retiring| ledger.record(&retiring.id))
        .filter(|record| record.state == crate::ledger::State::Retiring)
        .map(|record| record.since)
        .max()?;
    since.checked_add(grace).ok()
}
