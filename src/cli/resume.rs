//! `cofferdam resume`: go on with a run that crashed or stopped.

use crate::apply::{Ended, JournalFile, Phase, Run};
use crate::cli::begin::{self, HoldAt};
use crate::cli::confirmed::{self, AcceptArgs};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exposure;
use crate::cli::narrator::Narrator;
use crate::cli::project::Project;
use crate::cli::remote;
use crate::cli::revoke;
use crate::cli::run_outcome;
use crate::repo::lock::RunLock;

/// Go on with a run that crashed or stopped.
///
/// Looks at what is there and does what is left. Without an unfinished run there is nothing to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Your word that readers have taken the new commit.
    #[arg(short, long)]
    yes: bool,
    /// Retire without proof that NAME (an operator, or `recovery`) can open the new documents.
    #[arg(long, value_name = "NAME")]
    unproven: Vec<String>,
    /// Go on without HOST (or cluster), which stopped the run at the gate: it gets nothing new, and what it reads stays open
    /// to the last identity that it proved. `sync` finishes once it is back. May be given several times.
    #[arg(long, value_name = "HOST")]
    without: Vec<String>,
    /// Stop before this phase.
    #[arg(long, value_name = "PHASE")]
    hold_at: Option<HoldAt>,
    /// Go on here with the run that another clone began and cannot end; its machine must not be at work on it any more.
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    accept: AcceptArgs,
}

/// Runs the command.
///
/// # Errors
/// Exit 5 if it stops again.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let (mut project, lock) = Project::locked(context)?;
    let journal = match project.unfinished()? {
        Some(journal) => journal,
        None if args.take_over => {
            return match remote::take_over(&project, &lock, args.yes, context)? {
                Some(journal) => go_on(&mut project, journal, &lock, args, context),
                None => Ok(()),
            };
        }
        None => {
            context.ui.note("nothing to resume");
            remote::tell_of_run_elsewhere(&project, context);
            return Ok(());
        }
    };
    go_on(&mut project, journal, &lock, args, context)
}

fn go_on(
    project: &mut Project,
    journal: JournalFile,
    lock: &RunLock,
    args: &Args,
    context: &Context,
) -> Result<(), CliError> {
    let git = project.git.holding(lock)?;
    confirmed::confirm(&git, &project.topology, &args.accept, context)?;
    let yes = args.yes || journal.progress().options.yes;
    let narrator = Narrator::new(&context.ui, yes);
    let undoing = journal.progress().undo.is_some();
    let plan = journal.progress().plan.clone();
    let run = Run::new(
        project.workspace(&git, &narrator),
        journal,
        project.ledger.clone(),
        args.hold_at.map(Phase::from),
    )
    .waive(&args.unproven)
    .without(&args.without)
    .map_err(|error| {
        CliError::from_error(&error)
            .hint("without that word: cofferdam resume (or: cofferdam undo)")
    })?;
    if undoing {
        return super::undo::finish(run, context);
    }
    let result = run.execute();
    let completed = matches!(result, Ok(Ended::Completed));
    run_outcome::tell(result, context)?;
    if completed {
        if let Some(struck) = revoke::struck_by(project, &plan) {
            struck.take_identities(context);
        }
        exposure::tell(project, &begin::exposed_by(&plan), context);
    }
    Ok(())
}
