//! Readers that nobody declared, as the plan lists them (protocol rule 23), and what has to be said about them before a run.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::init::material;
use crate::cli::project::Project;
use crate::evidence::{Evidence, uses};
use crate::plan::{Goal, Plan, PlannedUse};

/// What the repository's files say of other uses, but those that are declared or dismissed.
///
/// # Errors
/// The repository cannot be searched.
pub fn listed(project: &Project, context: &Context) -> Result<Vec<PlannedUse>, CliError> {
    let mut sources = material::collect(&project.git, context)?;
    let evidence = Evidence::gather(&mut sources);
    let revoked: Vec<&str> = project
        .ledger
        .revoked()
        .iter()
        .map(|t| t.name.as_str())
        .collect();
    let uses = uses::undeclared(&sources, &evidence, &project.topology, &revoked);
    let planned = uses.into_iter().map(|one| PlannedUse {
        name: one.name,
        text: one.text,
        stops: one.stops,
    });
    Ok(planned.collect())
}

/// Sees to it that each is declared or dismissed; `--yes` dismisses what is only listed. A revocation does not wait for it.
///
/// # Errors
/// Exit 1 for what is locked out for sure, by name; what is listed was not confirmed.
pub fn settle(plan: &Plan, yes: bool, context: &Context) -> Result<(), CliError> {
    if plan.goal == Goal::Revoke {
        return Ok(());
    }
    let stopping: Vec<(String, Option<String>)> = plan
        .uses
        .iter()
        .filter(|used| used.stops)
        .map(|used| {
            (
                format!("{}: {}", used.name, used.text),
                Some(hint(&used.name)),
            )
        })
        .collect();
    if !stopping.is_empty() {
        return Err(CliError::many_with_hints(Kind::Failed, stopping));
    }
    let question = "\nAre the uses that the plan lists with `?` taken care of?";
    if plan.uses.is_empty() || yes || context.ui.confirm(question)? {
        return Ok(());
    }
    let names = plan
        .uses
        .iter()
        .map(|used| (used.name.clone(), Some(hint(&used.name))));
    Err(CliError::many_with_hints(Kind::Failed, names))
}

fn hint(name: &str) -> String {
    let declare = match name.split_once(':') {
        Some(("host", host)) => format!("declare it as [hosts.{host}]"),
        Some(("ci", _)) => "give it a recipient of its own as an operator".to_owned(),
        _ => "declare its Secret in a cluster's `secrets`".to_owned(),
    };
    format!(
        "{declare}; or dismiss it in cofferdam.toml: [[dismissed]] with use = \"{name}\" and because = \"…\""
    )
}
