//! `cofferdam recovery`: the offline means to open everything.

pub mod create;

use clap::Subcommand;

use crate::cli::context::Context;
use crate::cli::error::CliError;

/// Make the offline recovery identity.
#[derive(Debug, clap::Args)]
pub struct RecoveryArgs {
    #[command(subcommand)]
    command: RecoveryCommand,
}

/// The commands below `recovery`.
#[derive(Debug, Subcommand)]
enum RecoveryCommand {
    Create(create::CreateArgs),
}

/// Runs a command below `recovery`.
///
/// # Errors
/// The command's.
pub fn run(args: &RecoveryArgs, context: &Context) -> Result<(), CliError> {
    match &args.command {
        RecoveryCommand::Create(args) => create::run(args, context),
    }
}
