//! `cofferdam recovery`: the offline means to open everything.

pub mod create;
pub mod drill;
mod kit;
mod ledger_file;
pub mod restore;

use clap::Subcommand;

use crate::cli::context::Context;
use crate::cli::error::CliError;

/// Make, rehearse and use the offline recovery identity.
#[derive(Debug, clap::Args)]
pub struct RecoveryArgs {
    #[command(subcommand)]
    command: RecoveryCommand,
}

/// The commands below `recovery`.
#[derive(Debug, Subcommand)]
enum RecoveryCommand {
    Create(create::CreateArgs),
    Drill(drill::DrillArgs),
    Restore(restore::RestoreArgs),
}

/// Runs a command below `recovery`.
///
/// # Errors
/// The command's.
pub fn run(args: &RecoveryArgs, context: &Context) -> Result<(), CliError> {
    match &args.command {
        RecoveryCommand::Create(args) => create::run(args, context),
        RecoveryCommand::Drill(args) => drill::run(args, context),
        RecoveryCommand::Restore(args) => restore::run(args, context),
    }
}
