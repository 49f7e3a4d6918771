//! `cofferdam sync`: bring the repository and its readers in line with an edited topology.

use crate::cli::begin::{self, BeginArgs, ReviewArgs};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::planning::Asked;
use crate::plan::Goal;

/// Bring documents, rules and readers in line with an edited cofferdam.toml.
///
/// A host that joined its zone receives the zone's identity, a document that moved gets its new place's recipients, a new
/// operator is wrapped into every document. Who left costs what it knows: the zone of a host that moved or went gets a new
/// identity, and every zone does when an operator or a recovery recipient went. No reader gains a document that it could not open before, unless --widen names it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    review: ReviewArgs,
    #[command(flatten)]
    begin: BeginArgs,
}

/// Runs the command.
///
/// # Errors
/// Exit 1 for a refusal before any act, 4 for a stale saved plan, 5 for a stop part-way.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    begin::run(
        &Asked::goal(Goal::Sync),
        &args.begin,
        Some(&args.review),
        context,
    )
}
