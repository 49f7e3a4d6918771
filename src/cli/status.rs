//! `cofferdam status`: zones, identities with age and due date, drift, unfinished runs.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use jiff::Timestamp;
use serde_json::json;

use crate::apply::JournalFile;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::{load_ledger, load_topology};
use crate::keys::Recipient;
use crate::plan::drift::{StandingInput, standing};
use crate::repo::scan::Scan;
use crate::repo_path::RepoPath;
use crate::report::status_text::status_text;
use crate::sops::document::Document;

/// Show zones and their identities, what is due, what is not as cofferdam.toml wants it, and unfinished runs.
///
/// Needs no identity and reads no host. Exits with 3 when there is something to do: a rotation or drill is due, something
/// is not as cofferdam.toml wants it, or a run has not ended.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print as JSON.
    #[arg(long)]
    json: bool,
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
    let unfinished = JournalFile::unfinished_run(git.root())?.map(|run| run.to_string());
    if args.json {
        let mut value = serde_json::to_value(&standing)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("unfinished".to_owned(), json!(unfinished));
        }
        context.ui.answer(serde_json::to_string_pretty(&value)?);
    } else {
        context
            .ui
            .answer(status_text(&standing, now, unfinished.as_deref()).trim_end());
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
