//! `cofferdam runbook`: jobs as steps that run, and print as a page.

mod command;
mod journal;
pub mod list;
pub mod run;
mod shelf;
pub mod show;
mod trust;

use std::collections::BTreeMap;

use clap::Subcommand;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::runbook::FillError;

/// List, show and run runbooks: jobs as steps, ours and your own commands.
///
/// Some come with cofferdam; the files `runbooks/*.toml` of your repository add to them, and go before those of the same
/// name.
#[derive(Debug, clap::Args)]
pub struct RunbookArgs {
    #[command(subcommand)]
    command: RunbookCommand,
}

/// The commands below `runbook`.
#[derive(Debug, Subcommand)]
enum RunbookCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Run(run::RunArgs),
}

/// Runs a command below `runbook`.
///
/// # Errors
/// The command's.
pub fn run(args: &RunbookArgs, context: &Context) -> Result<(), CliError> {
    match &args.command {
        RunbookCommand::List(args) => list::run(args, context),
        RunbookCommand::Show(args) => show::run(args, context),
        RunbookCommand::Run(args) => run::run(args, context),
    }
}

/// Splits the `NAME=VALUE` of `--set`.
fn given(set: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut given = BTreeMap::new();
    for text in set {
        // The value could be a secret that was given by mistake: it is not repeated.
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| CliError::usage("--set needs NAME=VALUE"))?;
        if given.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(CliError::usage(format!("--set gives {name} twice")));
        }
    }
    Ok(given)
}

/// A wrong or missing parameter.
fn unfilled(error: &FillError, parameters: &[crate::runbook::Parameter]) -> CliError {
    let failure = CliError::from_error(error).with_kind(Kind::Usage);
    match error {
        FillError::Unknown { .. } if parameters.is_empty() => failure,
        FillError::Unknown { .. } => {
            let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
            failure.hint(format!("it has: {}", names.join(", ")))
        }
        FillError::Missing { name, .. } => failure.hint(format!("--set {name}=…")),
        FillError::Value { .. } => failure,
        FillError::Identity { .. } => failure.hint(
            "give the path of its file; and replace it: it may stand in your shell's history",
        ),
    }
}
