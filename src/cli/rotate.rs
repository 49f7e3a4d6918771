//! `cofferdam rotate`: a new identity in place of a zone's, on schedule or at once.

use crate::cli::begin::{self, BeginArgs};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::planning::Asked;
use crate::plan::Goal;

/// Replace the identities of zones: mint, ship, prove, rewrite, publish, retire.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    zones: ZoneArgs,
    #[command(flatten)]
    begin: BeginArgs,
}

/// Which zones.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct ZoneArgs {
    /// The zones.
    #[arg(value_name = "ZONE")]
    zones: Vec<String>,
    /// The zones whose identity has reached its `max_age`; with none, there is nothing to do.
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
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Exit 1 for a refusal before any act, 2 for an unknown zone, 4 for a stale saved plan, 5 for a stop part-way.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    begin::run(&args.zones.asked(), &args.begin, context)
}
