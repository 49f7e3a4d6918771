//! What a run's end means to whoever called: text, exit code, what to do next.

use crate::apply::{ApplyError, Ended, Phase, ReaderFailure};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::project::Project;
use crate::cli::ui::Tone;
use crate::cli::unopened;
use crate::fleet::TargetError;
use crate::repo::git::GitError;

/// Tells how a run ended.
///
/// # Errors
/// A stop part-way (exit 5) with its reason and what to do next.
pub fn tell(result: Result<Ended, ApplyError>, context: &Context) -> Result<(), CliError> {
    match result {
        Ok(Ended::Completed) => {
            context.ui.note(format!(
                "{}     see it with: cofferdam status",
                Tone::Good.paint("done")
            ));
            Ok(())
        }
        Ok(Ended::Held(phase)) => {
            let before = match phase {
                Phase::Ship => "ship",
                Phase::Prove => "prove",
                Phase::Rewrite => "rewrite",
                Phase::Publish => "publish",
                Phase::Retire => "retire",
            };
            context.ui.note(format!(
                "held before {before}, as asked; cofferdam resume goes on, cofferdam undo takes it back"
            ));
            Ok(())
        }
        Ok(Ended::Offered(branch)) => {
            let (name, base) = (&branch.name, &branch.base);
            context.ui.note(format!(
                "the change stands on branch {name}: look it over and merge it into {base}, then: cofferdam resume\n\
                 until then readers hold both identities, and cofferdam undo takes it back"
            ));
            Ok(())
        }
        Ok(Ended::HandedOver) => {
            handed_over(context);
            Ok(())
        }
        Err(error) => Err(stopped(&error)),
    }
}

/// Says that another clone goes on with the run of this one.
pub fn handed_over(context: &Context) {
    context.ui.note(
        "another clone has taken this run over; it is no longer at work here. Bring this clone up to date: git pull",
    );
}

/// A stop part-way.
pub fn stopped(error: &ApplyError) -> CliError {
    let mut failure = CliError::from_error(error).with_kind(crate::cli::error::Kind::Stopped);
    for hint in hints(error) {
        failure = failure.hint(hint);
    }
    failure
}

/// How readers that were only read back come to a stronger receipt.
fn stronger(failures: &[ReaderFailure]) -> Option<String> {
    let weak = failures.iter().filter(|failure| failure.is_weak);
    let names: Vec<String> = weak.map(|f| format!("{:?}", f.reader)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "put cofferdam, sops or age on the PATH of those that were only read back, or let them through by name: in cofferdam.toml, [gate] except = [{}]",
            names.join(", ")
        )
    })
}

fn hints(error: &ApplyError) -> Vec<String> {
    let resume = "cofferdam resume".to_owned();
    let then = |what: &str| {
        vec![format!(
            "{what}, then: cofferdam resume (or: cofferdam undo)"
        )]
    };
    match error {
        ApplyError::Target { source, .. } if matches!(source, TargetError::Ahead { .. }) => {
            unopened::target_hint(source).into_iter().collect()
        }
        ApplyError::Gate { failures } => {
            let mut hints = then("mend these readers, or wait until they are back");
            hints.extend(stronger(failures));
            if failures.iter().all(|f| !f.holds_too_much) {
                let names = failures.iter().map(|f| format!(" --without {}", f.reader));
                hints.push(format!(
                    "or go on without them; what they read stays open to what they hold: cofferdam resume{} --yes",
                    names.collect::<String>()
                ));
            }
            hints
        }
        ApplyError::Unshown { failures } => {
            let mut hints = then("mend these readers, or wait until they are back");
            hints.extend(stronger(failures));
            hints
        }
        ApplyError::NotCommitted => then("commit the changes (git add -A && git commit)"),
        ApplyError::Git(GitError::Locked { .. })
        | ApplyError::CommitRefused(GitError::Locked { .. }) => {
            then("if no git is at work here, remove the lock file that is named above")
        }
        ApplyError::Document { path, .. } => then(&format!(
            "mend {path}, or take it back to a version that opens (git checkout COMMIT -- {path})"
        )),
        ApplyError::Overtaken { .. } => {
            vec!["this one is gone; see what is left to do: cofferdam status".to_owned()]
        }
        ApplyError::LedgerLost { .. } => then(
            "put the ledger back as the run left it (from a stash, or git checkout COMMIT -- .cofferdam)",
        ),
        ApplyError::Stragglers { .. } => then(
            "give these documents the recipients of .sops.yaml (sops updatekeys FILE) and new data keys (cofferdam renew FILE), and commit them",
        ),
        ApplyError::CommitRefused(_) => then("mend what refused the commit"),
        ApplyError::PublishMismatch { .. } => then(
            "a hook, a clean filter, autocrlf or a skip-worktree flag changed what was committed: switch it off for these files",
        ),
        ApplyError::NotPushed { .. } | ApplyError::PushRefused { .. } => {
            then("push the commit (git pull --rebase if the remote moved on)")
        }
        ApplyError::Remote { remote, .. } => {
            vec![format!(
                "see that this works: git ls-remote {remote}, then: cofferdam resume"
            )]
        }
        ApplyError::LeaseHeld { .. } => vec![
            "wait until that run has ended, then: git pull, and run this again".to_owned(),
            "or, if its machine is gone for good: cofferdam resume --take-over".to_owned(),
        ],
        ApplyError::LeaseLost { .. } => vec!["leave it to them: cofferdam resume".to_owned()],
        ApplyError::LeaseUnreadable { remote, name, .. } => vec![format!(
            "if no other version of cofferdam is at work: git push {remote} :{name}"
        )],
        ApplyError::LeaseRefused { remote, name, .. } => vec![format!(
            "allow {name} to be pushed to {remote}, or take `remote` out of [publish], then run this again"
        )],
        ApplyError::TakeOver { hint, .. } => vec![hint.clone()],
        ApplyError::Behind { is_over: true, .. } => {
            vec!["git pull, then run this again".to_owned()]
        }
        ApplyError::Behind { .. } => then("bring this clone up to date (git pull --rebase)"),
        ApplyError::NotMerged { branch } => then(&format!(
            "look it over and merge it (git merge {}, or a pull request)",
            branch.name
        )),
        ApplyError::NotOnBranch { branch } => then(&format!("git switch {branch}")),
        ApplyError::CheckOut { .. } => {
            then("commit, stash or move away what is in the way of git switch")
        }
        ApplyError::BranchMoved { remote, branch } => vec![format!(
            "merge it, then: cofferdam resume; or close it (git push {remote} --delete {branch}), then: cofferdam undo"
        )],
        ApplyError::Command { .. } => then("mend what the command ran into"),
        ApplyError::NotTaken { .. } => then("let these readers pull the new revision"),
        ApplyError::Grace { until, .. } => vec![format!("after {until}: cofferdam resume")],
        ApplyError::Unproven { .. } => {
            let mut hints = then("bring the identity that is missing here");
            hints.push("or waive it by name: cofferdam resume --unproven NAME".to_owned());
            hints
        }
        ApplyError::Copies { .. } => then("remove these copies"),
        ApplyError::NoWayBack { .. } => vec![resume],
        _ => vec![format!("{resume} (or: cofferdam undo)")],
    }
}

/// Refuses to begin while another run has not ended.
///
/// # Errors
/// Exit 5 with the two ways on.
pub fn refuse_over_unfinished(project: &Project) -> Result<(), CliError> {
    match project.unfinished()? {
        None => Ok(()),
        Some(journal) => Err(CliError::stopped(format!(
            "run {} has not ended",
            journal.progress().run
        ))
        .hint("go on with it: cofferdam resume")
        .hint("or take it back: cofferdam undo")),
    }
}
