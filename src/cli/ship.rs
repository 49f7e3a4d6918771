//! `cofferdam ship`: deliver to readers the identities that they need and lack.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::collections::BTreeMap;
use std::time::Instant;

use crate::apply::Observer;
use crate::cli::belief::{self, Claim};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::kept_sealed::sealed_files;
use crate::cli::narrator::Narrator;
use crate::cli::project::Project;
use crate::cli::remote;
use crate::cli::run_outcome;
use crate::cli::ship_print::{self, PrintArgs};
use crate::cli::some_readers::{documents, some_duties};
use crate::cli::unopened;
use crate::fleet::{Delivered, Target, TargetError, abreast_telling};
use crate::inventory::ReaderOutcome;
use crate::keys::{Identity, Recipient};
use crate::keystore::sealed;
use crate::ledger::LEDGER_PATH;
use crate::plan::access::Access;
use crate::plan::duties::Duty;
use crate::repo::atomic_write::{self, Mode};
use crate::repo_path::RepoPath;
use crate::report::outcome_text::outcome_text;

/// Deliver to readers the identities that the ledger says they need, beside what they hold.
///
/// For a host that was rebuilt, or restored from a backup. Identities are unsealed with those at hand. Nothing else changes:
/// no document, and no identity leaves; the ledger notes who was given one for the first time. `prove` shows afterwards that they open. Exits with 5 if a reader fails;
/// the others are served.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Hosts and clusters to serve; none: all.
    #[arg(value_name = "HOST")]
    readers: Vec<String>,
    /// Print as JSON.
    #[arg(long, conflicts_with = "print")]
    json: bool,
    #[command(flatten)]
    print: PrintArgs,
}

/// Runs the command.
///
/// # Errors
/// Exit 5 when a reader fails or a run has not ended, 2 for a name that the topology does not know, 1 when an identity
/// cannot be unsealed: then nothing was done.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    if args.print.print.is_some() {
        return ship_print::run(&args.print, &args.readers, context);
    }
    let (project, _lock) = Project::locked(context)?;
    run_outcome::refuse_over_unfinished(&project)?;
    remote::refuse_behind(&project, context)?;
    let documents = documents(&project.git)?;
    let duties = some_duties(&project, &documents, &args.readers)?;
    let identities = unseal(&project, &duties)?;
    belief::check(&project, &claims(&project, &duties, &documents))?;
    note_given(&project, &duties)?;
    let outcomes = ship_all(&project, &duties, &identities, context)?;
    if args.json {
        context.ui.answer(serde_json::to_string_pretty(&outcomes)?);
    } else {
        context.ui.answer(outcome_text(&outcomes).trim_end());
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.error.is_some())
        .map(|outcome| outcome.reader.as_str())
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let error = format!("not delivered to {}", failed.join(", "));
    Err(CliError::new(Kind::Stopped, error)
        .hint("mend what the table names, then run this again: cofferdam ship"))
}

/// The identities that readers need, all before the first delivery. Each is what its record says, whoever wrote the sealed
/// file.
fn unseal(project: &Project, duties: &[Duty]) -> Result<BTreeMap<String, Identity>, CliError> {
    let needed: BTreeMap<&String, &Recipient> = duties
        .iter()
        .flat_map(|duty| &duty.holds)
        .map(|(id, recipient)| (id, recipient))
        .collect();
    let mut identities = BTreeMap::new();
    let mut sealed_ids = Vec::new();
    let mut files: Vec<Vec<Vec<u8>>> = Vec::new();
    for (id, recipient) in needed {
        match project.lookup.identities.get(recipient) {
            Some(identity) => {
                identities.insert(id.clone(), identity);
            }
            None => {
                sealed_ids.push((id, recipient));
                files.push(sealed_files(project, id)?);
            }
        }
    }
    let slices: Vec<Vec<&[u8]>> = files
        .iter()
        .map(|files| files.iter().map(Vec::as_slice).collect())
        .collect();
    let unsealed = sealed::unseal_many(&slices, &project.lookup.identities);
    for ((id, recipient), opened) in sealed_ids.into_iter().zip(unsealed) {
        let opened = opened.map_err(|error| {
            CliError::failed(format!("identity {id} cannot be unsealed")).caused_by(&error)
        })?;
        let identity = opened.filter(|i| i.recipient().as_ref() == Some(recipient));
        let identity = identity.ok_or_else(|| {
            CliError::failed(format!(
                "identity {id} cannot be unsealed with the identities at hand; nothing was delivered"
            ))
            .hint(unopened::missing_identity_hint(&project.lookup))
        })?;
        identities.insert(id.clone(), identity);
    }
    Ok(identities)
}

/// What a delivery believes of the ledger: a live identity opens what its reader reads, a kept one what is wrapped to it.
fn claims(
    project: &Project,
    duties: &[Duty],
    documents: &[(RepoPath, Vec<Recipient>)],
) -> Vec<Claim> {
    let access = Access::new(&project.topology, &[], &[]);
    let mut claims: Vec<Claim> = Vec::new();
    for duty in duties {
        for (id, recipient) in &duty.holds {
            let is_live = project.ledger.record(id).is_some_and(|r| r.state.is_live());
            let opens = documents.iter().filter(|(path, to)| match is_live {
                true => access.reads(&duty.reader, path),
                false => to.contains(recipient),
            });
            claims.push(Claim {
                id: id.clone(),
                recipient: recipient.clone(),
                documents: opens.map(|(path, _)| path.clone()).collect(),
                is_held: false,
            });
        }
    }
    claims
}

/// Whoever is given an identity is remembered in the ledger, before it is.
fn note_given(project: &Project, duties: &[Duty]) -> Result<(), CliError> {
    let mut ledger = project.ledger.clone();
    for duty in duties {
        for (id, _) in &duty.holds {
            if ledger
                .record(id)
                .is_some_and(|r| !r.was_given_to(&duty.reader))
            {
                ledger.give(id, &duty.reader)?;
            }
        }
    }
    if ledger != project.ledger {
        let text = ledger.to_text()?;
        atomic_write::replace(&project.root.join(LEDGER_PATH), text.as_bytes(), Mode::Keep)?;
    }
    Ok(())
}

fn ship_all(
    project: &Project,
    duties: &[Duty],
    identities: &BTreeMap<String, Identity>,
    context: &Context,
) -> Result<Vec<ReaderOutcome>, CliError> {
    let names: Vec<String> = duties.iter().map(|duty| duty.reader.clone()).collect();
    let narrator = Narrator::new(&context.ui, true);
    let tell = narrator.readers("shipping", &names);
    let mut outcomes = Vec::new();
    let told: Result<(), CliError> = abreast_telling(
        duties,
        |duty| {
            let begun = Instant::now();
            let target = project.targets[&duty.reader].as_ref();
            let mut said = Vec::new();
            let error = ship_one(target, duty, identities, &mut said).err();
            ReaderOutcome {
                reader: duty.reader.clone(),
                done: said.join(", "),
                took: begun.elapsed(),
                error: error.map(|error| unopened::one_line(&error)),
            }
        },
        |at, outcome| {
            tell(&outcome);
            outcomes.push((at, outcome));
            Ok(())
        },
    );
    drop(tell);
    told?;
    outcomes.sort_by_key(|(at, _)| *at);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

fn ship_one(
    target: &dyn Target,
    duty: &Duty,
    identities: &BTreeMap<String, Identity>,
    said: &mut Vec<String>,
) -> Result<(), TargetError> {
    // What a kill left of an earlier call.
    target.sweep()?;
    for (id, _) in &duty.holds {
        if let Some(identity) = identities.get(id) {
            said.push(match target.deliver(id, identity)? {
                Delivered::Placed => format!("{id} delivered"),
                Delivered::AlreadyThere => format!("{id} was there"),
            });
        }
    }
    Ok(())
}
