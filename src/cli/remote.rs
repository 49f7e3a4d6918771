//! The remote that coordinates operators: asked before anything is planned, and when a run of another clone is taken over.

use crate::apply::{self, JournalFile, lease};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::Project;
use crate::cli::run_outcome;
use crate::journal::Options;
use crate::repo::lock::RunLock;
use crate::report::plan_text::plan_text;

/// Asks the remote, if there is one, whether a run is at work and whether it has commits that are not here.
///
/// # Errors
/// Exit 5 if another clone's run is at work; exit 1 if the remote cannot be asked, or this clone is behind.
pub fn ask_first(project: &Project) -> Result<(), CliError> {
    let Some(remote) = &project.topology.publish.remote else {
        return Ok(());
    };
    let unasked = |error: &apply::ApplyError| {
        run_outcome::stopped(error)
            .with_kind(Kind::Failed)
            .without_hints()
            .hint(format!(
                "nothing was changed; see that this works: git ls-remote {remote}"
            ))
    };
    if !project.git.remotes()?.contains(remote) {
        return Err(CliError::failed(format!(
            "[publish] names the remote {remote}, which git does not know here"
        ))
        .hint(format!("git remote add {remote} URL")));
    }
    match lease::look(&project.git, remote) {
        Ok(None) => {}
        Ok(Some(held)) => {
            return Err(run_outcome::stopped(&apply::ApplyError::LeaseHeld {
                remote: remote.clone(),
                lease: Box::new(held.lease),
            }));
        }
        Err(error @ apply::ApplyError::LeaseUnreadable { .. }) => {
            return Err(run_outcome::stopped(&error).with_kind(Kind::Failed));
        }
        Err(error) => return Err(unasked(&error)),
    }
    if apply::is_behind(&project.git, remote).map_err(|error| unasked(&error))? {
        return Err(
            CliError::failed(format!("{remote} has commits that are not here"))
                .hint("git pull, then run this again"),
        );
    }
    Ok(())
}

/// Refuses to serve readers from a clone that lacks commits of the remote: its ledger may name identities that were taken
/// back since. A remote that does not answer holds nobody up: it may stand on a reader that is to be served, and targets
/// take nothing from a clone of an earlier generation.
///
/// # Errors
/// Exit 1 if this clone is behind.
pub fn refuse_behind(project: &Project, context: &Context) -> Result<(), CliError> {
    let Some(remote) = &project.topology.publish.remote else {
        return Ok(());
    };
    match apply::is_behind(&project.git, remote) {
        Ok(false) => Ok(()),
        Ok(true) => Err(
            CliError::failed(format!("{remote} has commits that are not here"))
                .hint("git pull, then run this again"),
        ),
        Err(error) => {
            context.ui.warn(format!(
                "whether {remote} has commits that are not here is not known: {}",
                super::unopened::one_line(&error)
            ));
            Ok(())
        }
    }
}

/// Says whose run is at work, to somebody who has none here. That the remote cannot be asked is no news.
pub fn tell_of_run_elsewhere(project: &Project, context: &Context) {
    let Some(remote) = &project.topology.publish.remote else {
        return;
    };
    if let Ok(Some(held)) = lease::look(&project.git, remote) {
        context.ui.note(format!(
            "{remote} is at work for another run: {}; if its machine is gone for good: cofferdam resume --take-over",
            held.lease
        ));
    }
}

/// Begins here the journal of the run that another clone holds, once the person has seen it; none if there is none.
///
/// # Errors
/// Exit 2 without a remote; exit 1 if it does not fit this clone, or was not confirmed.
pub fn take_over(
    project: &Project,
    lock: &RunLock,
    yes: bool,
    context: &Context,
) -> Result<Option<JournalFile>, CliError> {
    let Some(remote) = &project.topology.publish.remote else {
        return Err(CliError::usage(
            "runs are taken over by way of a remote, and [publish] names none",
        )
        .hint("go on in the clone where the run was begun: cofferdam resume"));
    };
    let failed = |error: apply::ApplyError| run_outcome::stopped(&error).with_kind(Kind::Failed);
    let git = project.git.holding(lock)?;
    let Some(held) = lease::look(&git, remote).map_err(failed)? else {
        context
            .ui
            .note(format!("nothing to take over: no run is held at {remote}"));
        return Ok(None);
    };
    if apply::is_behind(&git, remote).map_err(failed)? {
        return Err(
            CliError::failed(format!("{remote} has commits that are not here"))
                .hint("git pull, then: cofferdam resume --take-over"),
        );
    }
    let options = Options {
        yes,
        ..Options::default()
    };
    let found = apply::take_over(&project.root, &git, &project.topology, &held, &options)
        .map_err(failed)?;
    context.ui.note(plan_text(&found.plan).trim_end());
    context.ui.note(format!(
        "\nThis run is of {}.\nIts new identities were minted there.",
        held.lease
    ));
    if !yes && !context.ui.confirm("Go on with it here?")? {
        return Err(CliError::failed("not confirmed; nothing was changed"));
    }
    Ok(Some(found.begin(&project.root).map_err(failed)?))
}
