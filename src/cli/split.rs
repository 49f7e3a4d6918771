//! `cofferdam split`: one shared identity to one per zone, planned, confirmed, applied, journaled.

use crate::cli::begin::{self, BeginArgs, ReviewArgs};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::planning::Asked;
use crate::plan::Goal;

/// Split one shared identity into one per zone, as cofferdam.toml says.
///
/// Prints the plan, asks, and applies it in phases: mint (make identities, sealed to operators and recovery), ship (deliver
/// them beside the old one), prove (every reader opens what it should and nothing else), rewrite (documents under new
/// data keys, and .sops.yaml), publish (commit), retire (take the old identity from the readers). Every step is journaled:
/// after a crash or a stop `resume` goes on and `undo` goes back.
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
        &Asked::goal(Goal::Split),
        &args.begin,
        Some(&args.review),
        context,
    )
}
