//! From a loaded project to a plan, for `plan` and for the commands that apply one.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use jiff::Timestamp;

use crate::apply::TOPOLOGY_PATH;
use crate::cli::belief;
use crate::cli::context::Context;
use crate::cli::departures;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::Project;
use crate::cli::revoke::Struck;
use crate::cli::uses;
use crate::keys::Recipient;
use crate::ledger::{Holder, Record};
use crate::plan::converge::{self, Leave, PlanInput};
use crate::plan::departed::Former;
use crate::plan::{Goal, Plan, PlanProblem, access, rules};
use crate::repo_path::RepoPath;
use crate::topology;
use crate::topology::closest::closest;

/// What the operator allows by name.
#[derive(Debug, Default, clap::Args)]
pub struct LeaveArgs {
    /// Remove RECIPIENT although neither cofferdam.toml nor the ledger knows it; may be given several times.
    #[arg(long = "drop", value_name = "RECIPIENT")]
    pub drop: Vec<String>,
    /// Remove the PGP, KMS and Vault entries of FILE: they cannot be given its new data key here.
    #[arg(long, value_name = "FILE")]
    pub drop_foreign: Vec<String>,
    /// Let a reader that could not open FILE before open it afterwards.
    #[arg(long, value_name = "FILE")]
    pub widen: Vec<String>,
    /// Go on without HOST (or cluster), which cannot be reached: it gets nothing new, and what it reads stays open to the
    /// last identity that it proved; may be given several times.
    #[arg(long, value_name = "HOST")]
    pub without: Vec<String>,
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

/// What a command asks the planner for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The goal.
    pub goal: Goal,
    /// Rotate: the zones that are named.
    pub zones: Vec<String>,
    /// Rotate: the zones whose identity has reached its age.
    pub due: bool,
    /// Revoke: the reader or identity.
    pub revoke: Option<String>,
}

impl Asked {
    /// A goal that names no zone.
    pub fn goal(goal: Goal) -> Self {
        Self {
            goal,
            zones: Vec::new(),
            due: false,
            revoke: None,
        }
    }

    /// The same for the first zone alone, and the zones that are left for later. Zones that are due are named then.
    ///
    /// # Errors
    /// Exit 2 for an unknown zone.
    pub fn first_zone(&self, project: &Project) -> Result<(Self, Vec<String>), CliError> {
        let mut zones: Vec<String> = Vec::new();
        for holder in self.replace(project)? {
            let zone = zone_of(project, &holder).map(|zone| zone.name.clone());
            zones.extend(zone.filter(|zone| !zones.contains(zone)));
        }
        if zones.is_empty() {
            return Ok((self.clone(), zones));
        }
        let later = zones.split_off(1);
        let one = Self {
            zones,
            // A zone of hosts with an identity each is done whole.
            due: false,
            ..self.clone()
        };
        Ok((one, later))
    }

    /// The holders whose identities are to be replaced.
    fn replace(&self, project: &Project) -> Result<Vec<Holder>, CliError> {
        let mut replace = Vec::new();
        for name in &self.zones {
            if project.topology.zone(name).is_none() {
                let zones: Vec<&str> = project
                    .topology
                    .zones
                    .iter()
                    .map(|z| z.name.as_str())
                    .collect();
                return Err(
                    CliError::usage(format!("there is no zone {name}")).hint(meant(name, &zones))
                );
            }
            if access::readers_of(&project.topology, name).is_empty() {
                return Err(CliError::failed(format!(
                    "zone {name} has no host and no cluster, and so no identity: operators and recovery alone read it"
                )));
            }
        }
        for (holder, _) in access::holders(&project.topology) {
            let zone = zone_of(project, &holder);
            let named = zone.is_some_and(|zone| self.zones.contains(&zone.name));
            let due = self.due && zone.is_some_and(|zone| is_due(project, &holder, zone));
            if named && project.ledger.live(&holder).is_none() {
                return Err(CliError::failed(format!("{holder} has no identity yet"))
                    .hint("cofferdam split, or cofferdam sync"));
            }
            if named || due {
                replace.push(holder);
            }
        }
        Ok(replace)
    }
}

/// What a name that nobody has may have been meant to be.
pub fn meant(name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}? They are: {}", known.join(", ")),
        None => format!("they are: {}", known.join(", ")),
    }
}

fn zone_of<'a>(project: &'a Project, holder: &Holder) -> Option<&'a topology::Zone> {
    match holder {
        Holder::Zone(name) => project.topology.zone(name),
        Holder::Host(name) => access::zone_of_reader(&project.topology, name),
        Holder::Shared(_) => None,
    }
}

fn is_due(project: &Project, holder: &Holder, zone: &topology::Zone) -> bool {
    let begun = project.ledger.live(holder).map(Record::begun);
    let due = begun
        .zip(zone.max_age)
        .and_then(|(at, age)| at.checked_add(age).ok());
    due.is_some_and(|due| due <= Timestamp::now())
}

/// Plans what is asked for on the project as it is now; none if nothing is asked for: no zone is due.
///
/// # Errors
/// Everything that stops a plan, at once.
pub fn plan(
    project: &Project,
    asked: &Asked,
    struck: Option<&Struck>,
    args: &LeaveArgs,
    context: &Context,
) -> Result<Option<Plan>, CliError> {
    let replace = match struck {
        Some(struck) => struck.replace.clone(),
        None => asked.replace(project)?,
    };
    if asked.goal == Goal::Rotate && replace.is_empty() {
        return Ok(None);
    }
    let without = args.without.as_slice();
    if let Some(unknown) = without.iter().find(|n| !project.targets.contains_key(*n)) {
        let names: Vec<&str> = project.targets.keys().map(String::as_str).collect();
        return Err(
            CliError::usage(format!("there is no host or cluster {unknown}"))
                .hint(meant(unknown, &names)),
        );
    }
    let leave = args.parse()?;
    let targets = project.target_facts(context)?;
    let repo = project.inventory(context)?;
    let at_hand = project.lookup.identities.recipients();
    let seals = departures::seals(&project.git, &project.topology)?;
    let mut formers = departures::formers(&project.git)?;
    for recipient in struck.iter().flat_map(|s| &s.revoked.recipients) {
        formers.retain(|former| former.recipient != *recipient);
        let name = struck.map_or_else(String::new, |s| s.revoked.name.clone());
        let recipient = recipient.clone();
        formers.insert(0, Former { name, recipient });
    }
    let mut plan = converge::plan(&PlanInput {
        goal: asked.goal,
        replace: &replace,
        topology: &project.topology,
        ledger: &project.ledger,
        repo: &repo,
        targets: &targets,
        at_hand: &at_hand,
        now: Timestamp::now(),
        without,
        revoked: struck.map(|s| &s.revoked),
        seals: &seals,
        formers: &formers,
        leave: &leave,
    })
    .or_else(|problems| {
        // A ledger that lies makes problems of its own, whose hints would help whoever made it lie.
        belief::check(project, &belief::claims_of_ledger(project, &repo, &targets))?;
        Err(refusal(&problems))
    })?;
    belief::check(
        project,
        &belief::claims(project, &plan, &repo, &targets, &leave.widen),
    )?;
    plan.uses = uses::listed(project, context)?;
    let documents: Vec<RepoPath> = repo.documents.iter().map(|d| d.path.clone()).collect();
    let previous = previous_topologies(project)?;
    plan.rules = rules::planned(&rules::PlannedInput {
        topology: &project.topology,
        previous: &previous,
        plan: &plan,
        current: repo.rules.as_deref(),
        documents: &documents,
        others: &repo.others,
    })
    .map_err(|problems| refusal(&problems))?;
    Ok(Some(plan))
}

/// The topologies of HEAD's history, newest first, whose rules are ours to replace; without those that do not parse.
fn previous_topologies(project: &Project) -> Result<Vec<topology::Topology>, CliError> {
    let path = RepoPath::new(TOPOLOGY_PATH)?;
    let texts = project.git.contents_ever(&path)?.into_iter();
    let texts = texts.filter_map(|text| String::from_utf8(text).ok());
    Ok(texts
        .filter_map(|text| topology::parse(&text, TOPOLOGY_PATH).ok())
        .collect())
}

fn refusal(problems: &[PlanProblem]) -> CliError {
    CliError::many_with_hints(
        Kind::Failed,
        problems.iter().map(|p| (p.to_string(), p.hint())),
    )
}
