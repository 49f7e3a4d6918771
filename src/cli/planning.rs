//! From a loaded project to a plan, for `plan` and for the commands that apply one.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use jiff::Timestamp;

use crate::apply::TOPOLOGY_PATH;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::Project;
use crate::keys::Recipient;
use crate::plan::split::{Leave, PlanInput, split};
use crate::plan::{Plan, PlanProblem, rules};
use crate::repo_path::RepoPath;
use crate::topology;

/// What the operator allows by name.
#[derive(Debug, Default, clap::Args)]
pub struct LeaveArgs {
    /// Let an unknown recipient go; may be given several times.
    #[arg(long = "drop", value_name = "RECIPIENT")]
    pub drop: Vec<String>,
    /// Drop PGP, KMS and Vault entries of FILE, which hold its old data key.
    #[arg(long, value_name = "FILE")]
    pub drop_foreign: Vec<String>,
    /// Let FILE gain a reader that could not open it before.
    #[arg(long, value_name = "FILE")]
    pub widen: Vec<String>,
}

impl LeaveArgs {
    fn parse(&self) -> Result<Leave, CliError> {
        let path = |text: &String| {
            RepoPath::new(text).map_err(|e| CliError::usage(format!("{text}: {e}")))
        };
        Ok(Leave {
            drop: self
                .drop
                .iter()
                .map(|text| Recipient::parse(text).map_err(CliError::usage))
                .collect::<Result<_, _>>()?,
            drop_foreign: self
                .drop_foreign
                .iter()
                .map(path)
                .collect::<Result<_, _>>()?,
            widen: self.widen.iter().map(path).collect::<Result<_, _>>()?,
        })
    }
}

/// Plans a split of the project as it is now.
///
/// # Errors
/// Everything that stops a plan, at once.
pub fn plan_split(
    project: &Project,
    leave: &LeaveArgs,
    context: &Context,
) -> Result<Plan, CliError> {
    let leave = leave.parse()?;
    let targets = project.target_facts(context)?;
    let repo = project.inventory(context)?;
    let at_hand = project.lookup.identities.recipients();
    let mut plan = split(&PlanInput {
        topology: &project.topology,
        ledger: &project.ledger,
        repo: &repo,
        targets: &targets,
        at_hand: &at_hand,
        now: Timestamp::now(),
        leave: &leave,
    })
    .map_err(|problems| refusal(&problems))?;

    let documents: Vec<RepoPath> = repo.documents.iter().map(|d| d.path.clone()).collect();
    let previous = previous_topology(project);
    plan.rules = rules::planned(&rules::PlannedInput {
        topology: &project.topology,
        previous: previous.as_ref(),
        plan: &plan,
        current: repo.rules.as_deref(),
        documents: &documents,
        others: &repo.others,
    })
    .map_err(|problems| refusal(&problems))?;
    Ok(plan)
}

/// The topology at HEAD, whose rules are ours to replace; none if there is none, or it no longer parses.
fn previous_topology(project: &Project) -> Option<topology::Topology> {
    let path = RepoPath::new(TOPOLOGY_PATH).ok()?;
    let text = project.git.blob("HEAD", &path).ok()??;
    topology::parse(&String::from_utf8(text).ok()?, TOPOLOGY_PATH).ok()
}

fn refusal(problems: &[PlanProblem]) -> CliError {
    CliError::many_with_hints(
        Kind::Failed,
        problems.iter().map(|p| (p.to_string(), p.hint())),
    )
}
