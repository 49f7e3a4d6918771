//! `cofferdam plan`: what would change, and nothing else.

use crate::apply::JournalFile;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::planning::{self, Asked, LeaveArgs};
use crate::cli::project::Project;
use crate::cli::revoke;
use crate::cli::rotate::ZoneArgs;
use crate::plan::Goal;
use crate::repo::atomic_write::{self, Mode};
use crate::report::plan_json::plan_json;
use crate::report::plan_text::plan_text;

/// Print what a command would change; change nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    goal: GoalArgs,
}

#[derive(Debug, clap::Subcommand)]
enum GoalArgs {
    /// What `split` would change.
    Split(PrintArgs),
    /// What `rotate` would change.
    Rotate(RotateArgs),
    /// What `sync` would change.
    Sync(PrintArgs),
    /// What `revoke` would change.
    Revoke(RevokeArgs),
}

/// What `revoke` would change.
#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// A host or cluster; an operator, or `recovery`, by name or recipient; an identity by id or recipient.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    print: PrintArgs,
}

/// What `rotate` would change.
#[derive(Debug, clap::Args)]
struct RotateArgs {
    #[command(flatten)]
    zones: ZoneArgs,
    #[command(flatten)]
    print: PrintArgs,
}

/// How a plan is made and printed.
#[derive(Debug, clap::Args)]
struct PrintArgs {
    #[command(flatten)]
    leave: LeaveArgs,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
    /// Save the plan; `split --plan FILE` (or `rotate`, `sync`) applies it, and only if it still fits.
    #[arg(long, value_name = "FILE")]
    out: Option<std::path::PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Everything that stops a plan, at once.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let (asked, args) = match &args.goal {
        GoalArgs::Split(args) => (Asked::goal(Goal::Split), args),
        GoalArgs::Rotate(args) => (args.zones.asked(), &args.print),
        GoalArgs::Sync(args) => (Asked::goal(Goal::Sync), args),
        GoalArgs::Revoke(args) => (revoke::asked(&args.name), &args.print),
    };
    let mut project = Project::load(context)?;
    let struck = match &asked.revoke {
        Some(name) => Some(revoke::strike(&mut project, name)?),
        None => None,
    };
    if let Some(run) = JournalFile::unfinished_run(&project.root)? {
        context.ui.warn(format!(
            "run {run} has not ended; the plan is made from what it left so far (cofferdam resume, or undo)"
        ));
    }
    let Some(plan) = planning::plan(&project, &asked, struck.as_ref(), &args.leave, context)?
    else {
        context.ui.note("nothing is due");
        return Ok(());
    };
    if let Some(path) = &args.out {
        let mut text = serde_json::to_vec_pretty(&plan)?;
        text.push(b'\n');
        atomic_write::replace(&context.resolve(path), &text, Mode::Keep)?;
    }
    if args.json {
        context
            .ui
            .answer(serde_json::to_string_pretty(&plan_json(&plan)?)?);
    } else {
        context.ui.answer(plan_text(&plan).trim_end());
    }
    Ok(())
}
