//! `cofferdam rotate`: a new identity in place of a zone's, on schedule or at once.

use crate::cli::begin::{self, BeginArgs, ReviewArgs};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::planning::Asked;
use crate::plan::Goal;

/// Replace the identities of zones by new ones, in the same phases as `split`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    zones: ZoneArgs,
    #[command(flatten)]
    review: ReviewArgs,
    #[command(flatten)]
    begin: BeginArgs,
}

/// Which zones.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct ZoneArgs {
    /// Zones of cofferdam.toml whose identities are replaced.
    #[arg(value_name = "ZONE")]
    zones: Vec<String>,
    /// Also every zone whose identity has reached its `max_age`; if there is none, nothing is done.
    #[arg(long)]
    due: bool,
}

impl ZoneArgs {
    /// What these zones ask the planner for.
    pub fn asked(&self) -> Asked {
        Asked {
            goal: Goal::Rotate,
            zones: self.zones.clone(),
            due: self.due,
            revoke: None,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Exit 1 for a refusal before any act, 2 for an unknown zone, 4 for a stale saved plan, 5 for a stop part-way.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    begin::run(
        &args.zones.asked(),
        &args.begin,
        Some(&args.review),
        context,
    )
}
