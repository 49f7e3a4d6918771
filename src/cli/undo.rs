//! `cofferdam undo`: take back a run whose retirement has not begun.

use crate::apply::{ApplyError, Run, Undone};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::narrator::Narrator;
use crate::cli::project::Project;
use crate::cli::run_outcome;

/// Take back a run that crashed or stopped, as long as it has not begun to retire.
///
/// While nobody else has the run's commit, everything is put back byte for byte. Else today's values are re-encrypted to
/// the previous recipients, in a further commit. Without an unfinished run there is nothing to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go ahead without asking.
    #[arg(short, long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit 1 if retirement has begun; 5 if it stops part-way.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let (project, lock) = Project::locked(context)?;
    let Some(journal) = project.unfinished()? else {
        context.ui.note("nothing to undo");
        return Ok(());
    };
    let run_id = journal.progress().run.clone();
    let question = format!("Take back run {run_id}?");
    if !args.yes && context.ui.can_ask() && !context.ui.confirm(&question)? {
        return Err(CliError::failed("not confirmed; nothing was changed"));
    }
    let git = project.git.holding(&lock)?;
    let yes = args.yes || journal.progress().options.yes;
    let narrator = Narrator::new(&context.ui, yes);
    let run = Run::new(
        project.workspace(&git, &narrator),
        journal,
        project.ledger.clone(),
        None,
    );
    finish(run, context)
}

/// Undoes `run` and tells how.
pub(super) fn finish(run: Run<'_>, context: &Context) -> Result<(), CliError> {
    match run.undo() {
        Ok(Undone::PutBack) => {
            context.ui.note("undone: everything is as before the run");
            Ok(())
        }
        Ok(Undone::ByCommit) => {
            context
                .ui
                .note("undone by a further commit; git history keeps both");
            Ok(())
        }
        Ok(Undone::HandedOver) => {
            run_outcome::handed_over(context);
            Ok(())
        }
        Err(error @ ApplyError::NoWayBack { .. }) => {
            Err(CliError::from_error(&error).hint("cofferdam resume"))
        }
        Err(error) => Err(run_outcome::stopped(&error)),
    }
}
