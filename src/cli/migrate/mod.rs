//! `cofferdam migrate`: rewrites other tools' files so that no plaintext stays on a disk.

pub mod komodo;

use crate::cli::context::Context;
use crate::cli::error::CliError;

/// Rewrite other tools' files so that programs get secrets from memory.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    #[command(subcommand)]
    command: MigrateCommand,
}

#[derive(Debug, clap::Subcommand)]
enum MigrateCommand {
    Komodo(komodo::Args),
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: &MigrateArgs, context: &Context) -> Result<(), CliError> {
    match &args.command {
        MigrateCommand::Komodo(args) => komodo::run(args, context),
    }
}
