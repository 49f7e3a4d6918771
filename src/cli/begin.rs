//! Beginning a run: plan, confirm, open the journal, apply. What `split`, `rotate` and `sync` share.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use jiff::Timestamp;
use rand::RngCore;

use crate::apply::{Ended, JournalFile, Phase, Run};
use crate::cli::confirmed::{self, AcceptArgs};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::exposure;
use crate::cli::narrator::Narrator;
use crate::cli::planning::{self, Asked, LeaveArgs};
use crate::cli::project::Project;
use crate::cli::remote;
use crate::cli::revoke;
use crate::cli::run_outcome;
use crate::cli::uses;
use crate::journal::{Entry, Options, ReviewBranch, RunId};
use crate::plan::{Goal, Plan};
use crate::report::plan_text::plan_text;

/// How a run is begun.
#[derive(Debug, clap::Args)]
pub struct BeginArgs {
    /// Go ahead without asking; also your word that readers take the new commit before the old identity leaves.
    #[arg(short, long)]
    yes: bool,
    /// Apply the plan saved in FILE, and only if it still fits (exit 4 if not).
    #[arg(long, value_name = "FILE")]
    plan: Option<std::path::PathBuf>,
    /// Go ahead although other files have uncommitted changes; they are left out of the run's commit.
    #[arg(long)]
    allow_dirty: bool,
    /// Retire without proof that NAME (an operator, or `recovery`) can open the new documents; may be given several times.
    #[arg(long, value_name = "NAME")]
    unproven: Vec<String>,
    /// Stop before this phase; `resume` goes on.
    #[arg(long, value_name = "PHASE")]
    hold_at: Option<HoldAt>,
    #[command(flatten)]
    leave: LeaveArgs,
    #[command(flatten)]
    accept: AcceptArgs,
}

/// Whether the change is looked over before it counts.
#[derive(Debug, clap::Args)]
pub struct ReviewArgs {
    /// Commit to a branch of its own, cofferdam/…, and go back to the one that is checked out: readers hold both identities
    /// until the branch was merged, and `resume` goes on then. With several zones, one at a time.
    #[arg(long)]
    branch: bool,
}

/// A phase to stop before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum HoldAt {
    /// Before identities are delivered.
    Ship,
    /// Before readers have to prove what they can open.
    Prove,
    /// Before documents change.
    Rewrite,
    /// Before the commit.
    Publish,
    /// Before old identities are taken from readers.
    Retire,
}

impl From<HoldAt> for Phase {
    fn from(hold: HoldAt) -> Self {
        match hold {
            HoldAt::Ship => Phase::Ship,
            HoldAt::Prove => Phase::Prove,
            HoldAt::Rewrite => Phase::Rewrite,
            HoldAt::Publish => Phase::Publish,
            HoldAt::Retire => Phase::Retire,
        }
    }
}

/// Plans what is asked for, confirms it and applies it.
///
/// # Errors
/// Exit 1 for a refusal before any act, 4 for a stale saved plan, 5 for a stop part-way.
pub fn run(
    asked: &Asked,
    args: &BeginArgs,
    review: Option<&ReviewArgs>,
    context: &Context,
) -> Result<(), CliError> {
    let (mut project, lock) = Project::locked(context)?;
    if asked.revoke.is_some() {
        revoke::preempt(&project, &lock, args.yes, context)?;
        project.reload()?;
    }
    run_outcome::refuse_over_unfinished(&project)?;
    remote::ask_first(&project)?;
    refuse_dirty(&project, args.allow_dirty)?;
    project.git.check_user().map_err(|error| {
        CliError::from_error(&error)
            .hint("git config user.name NAME && git config user.email ADDRESS")
    })?;
    let struck = match &asked.revoke {
        Some(name) => Some(revoke::strike(&mut project, name)?),
        None => None,
    };
    let one;
    let (asked, is_reviewed) = if review.is_some_and(|review| review.branch) {
        let later;
        (one, later) = asked.first_zone(&project)?;
        if !later.is_empty() {
            context.ui.note(format!(
                "one branch at a time: {} once this run has ended",
                later.join(", ")
            ));
        }
        (&one, true)
    } else {
        (asked, false)
    };
    let planned = planning::plan(&project, asked, struck.as_ref(), &args.leave, context)?;
    let Some(plan) = planned else {
        context.ui.note("nothing is due");
        return Ok(());
    };
    if let Some(path) = &args.plan {
        let saved = std::fs::read(context.resolve(path)).map_err(|e| {
            CliError::usage(format!("cannot read {}", path.display())).caused_by(&e)
        })?;
        let saved: Plan = serde_json::from_slice(&saved).map_err(|e| {
            CliError::usage(format!("{} is no saved plan", path.display())).caused_by(&e)
        })?;
        if saved != plan {
            return Err(CliError::new(
                Kind::OutOfDate,
                format!(
                    "{} no longer fits this repository and its readers",
                    path.display()
                ),
            )
            .hint("make the plan anew: cofferdam plan … --out FILE"));
        }
    }
    if plan.is_empty() {
        context.ui.note(plan_text(&plan).trim_end());
        return Ok(());
    }
    let branch = is_reviewed
        .then(|| review_branch(&project, asked))
        .transpose()?;
    context.ui.note(plan_text(&plan).trim_end());
    uses::settle(&plan, args.yes, context)?;
    confirmed::confirm(&project.git, &project.topology, &args.accept, context)?;
    if !args.yes && !context.ui.confirm("\nDo this?")? {
        return Err(CliError::failed("not confirmed; nothing was changed"));
    }
    let git = project.git.holding(&lock)?;
    let exposed = exposed_by(&plan);
    if let Some(struck) = &struck {
        struck.write(&project.root)?;
    }
    let at = Timestamp::now();
    let salt = (rand::rngs::OsRng.next_u32() & 0xffff) as u16;
    let journal = JournalFile::begin(
        &project.root,
        Entry::Begun {
            version: 1,
            run: RunId::new(at, salt),
            at,
            head: git.head()?.map(|oid| oid.to_string()),
            options: Options {
                yes: args.yes,
                unproven: args.unproven.clone(),
                branch,
            },
            plan: Box::new(plan),
        },
    )
    .map_err(|error| {
        CliError::from_error(&error).hint(
            "nothing was changed; make room, or mend what refused the write, and run it again",
        )
    })?;
    let narrator = Narrator::new(&context.ui, args.yes);
    let run = Run::new(
        project.workspace(&git, &narrator),
        journal,
        project.ledger.clone(),
        args.hold_at.map(Phase::from),
    );
    let result = run.execute();
    let completed = matches!(result, Ok(Ended::Completed));
    run_outcome::tell(result, context)?;
    if completed {
        if let Some(struck) = &struck {
            struck.take_identities(context);
        }
        exposure::tell(&project, &exposed, context);
    }
    Ok(())
}

/// The branch for what is asked, which is not there yet.
///
/// # Errors
/// Exit 1 if no branch is checked out, or there is one of that name already; the remote cannot be asked.
fn review_branch(project: &Project, asked: &Asked) -> Result<ReviewBranch, CliError> {
    let git = &project.git;
    let Some(here) = git.branch()? else {
        return Err(CliError::failed(
            "--branch goes back to the branch that is checked out, and none is",
        )
        .hint("git switch main, then run this again"));
    };
    let goal = match asked.goal {
        Goal::Split => "split",
        Goal::Rotate => "rotate",
        Goal::Sync => "sync",
        Goal::Revoke => "revoke",
    };
    let words: Vec<&str> = std::iter::once(goal)
        .chain(asked.zones.iter().map(String::as_str))
        .collect();
    let name = format!("cofferdam/{}", words.join("-"));
    let full = format!("refs/heads/{name}");
    let taken = |place: &str, remove: String| {
        CliError::failed(format!("there is a branch {name} already{place}"))
            .hint(format!("merge it, or take it away: {remove}"))
    };
    if git.resolve(&full)?.is_some() {
        return Err(taken("", format!("git branch -D {name}")));
    }
    if let Some(remote) = &project.topology.publish.remote
        && git.remote_ref(remote, &full)?.is_some()
    {
        let remove = format!("git push {remote} --delete {name}");
        return Err(taken(&format!(" at {remote}"), remove));
    }
    Ok(ReviewBranch {
        name,
        base: here.trim_start_matches("refs/heads/").to_owned(),
    })
}

/// The identities whose exposure a run ends by listing: those that a split or a revocation takes away.
pub(super) fn exposed_by(plan: &Plan) -> Vec<String> {
    match (&plan.revoked, plan.goal) {
        (Some(revoked), _) => {
            let recipients = revoked.recipients.iter().map(|r| r.as_str().to_owned());
            recipients
                .chain(revoked.compromised.iter().cloned())
                .collect()
        }
        (None, Goal::Split) => plan.retiring.iter().map(|r| r.id.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Other people's unfinished work must not end up in, or beside, the run's commit.
fn refuse_dirty(project: &Project, allow: bool) -> Result<(), CliError> {
    if let Some(operation) = project.git.operation_in_progress() {
        return Err(
            CliError::failed(format!("a {operation} is in progress here"))
                .hint(format!("finish it, or git {operation} --abort")),
        );
    }
    if allow {
        return Ok(());
    }
    let dirty: Vec<String> = project
        .git
        .status()?
        .into_iter()
        .map(|entry| entry.path.to_string_lossy().into_owned())
        .filter(|path| {
            path != "cofferdam.toml" && path != ".gitignore" && !path.starts_with(".cofferdam/")
        })
        .collect();
    if dirty.is_empty() {
        return Ok(());
    }
    let mut shown = dirty.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if dirty.len() > 5 {
        shown.push_str(&format!(" and {} more", dirty.len() - 5));
    }
    Err(
        CliError::failed(format!("the work tree has uncommitted changes: {shown}"))
            .hint("commit or stash them (git stash -u), or go ahead with --allow-dirty"),
    )
}
