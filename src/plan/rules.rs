//! What `.sops.yaml` must say for a plan: one rule for each file set of the topology, zones identities as recipients.

use crate::keys::{Identity, Recipient};
use crate::plan::access::{self, Access};
use crate::plan::{Party, Plan, PlanProblem, PlannedRules, Roster};
use crate::repo_path::RepoPath;
use crate::rules::{self, DesiredRule, RewriteRequest, Rewritten, RulesFile, RulesProblem};
use crate::topology::{ExcludeError, FileSet, Place, Topology, Zone};

/// What the rules are planned from, before anything is minted.
#[derive(Debug, Clone, Copy)]
pub struct PlannedInput<'a> {
    /// Intended state.
    pub topology: &'a Topology,
    /// The topologies that were committed so far, whose rules may be replaced.
    pub previous: &'a [Topology],
    /// The plan so far.
    pub plan: &'a Plan,
    /// The text now.
    pub current: Option<&'a str>,
    /// Every SOPS document.
    pub documents: &'a [RepoPath],
    /// Every other file.
    pub others: &'a [RepoPath],
}

/// What the rules are written from, once every identity has a recipient.
#[derive(Debug, Clone, Copy)]
pub struct RulesInput<'a> {
    /// Intended state.
    pub topology: &'a Topology,
    /// The plan.
    pub plan: &'a Plan,
    /// The recipients of its identities.
    pub roster: &'a Roster,
    /// The text now.
    pub current: Option<&'a str>,
    /// Every SOPS document.
    pub documents: &'a [RepoPath],
    /// Every other file.
    pub others: &'a [RepoPath],
}

/// Why rules could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesFailure {
    /// An `exclude` that no rule can say.
    #[error(transparent)]
    Exclude(#[from] ExcludeError),
    /// The file itself.
    #[error("{0}")]
    Rules(RulesProblem),
    /// An identity without a recipient.
    #[error("identity {0} was never minted")]
    Unminted(String),
}

/// Plans the change of `.sops.yaml` and proves it over every file, with stand-ins for what is not minted yet.
///
/// # Errors
/// Everything that stands in the way.
pub fn planned(input: &PlannedInput<'_>) -> Result<PlannedRules, Vec<PlanProblem>> {
    let roster: Roster = input
        .plan
        .identities
        .iter()
        .filter_map(|identity| {
            let stand_in = || Identity::mint().recipient();
            let recipient = identity.recipient.clone().or_else(stand_in)?;
            Some((identity.id.clone(), recipient))
        })
        .chain(input.plan.known_recipients())
        .collect();
    let mut plan = input.plan.clone();
    plan.rules.previous = previous_rules(input);
    let rewritten = rewritten(&RulesInput {
        topology: input.topology,
        plan: &plan,
        roster: &roster,
        current: input.current,
        documents: input.documents,
        others: input.others,
    })
    .map_err(|failures| failures.iter().map(problem).collect::<Vec<_>>())?;
    let mut notes = too_wide(input);
    notes.extend(rewritten.notes);
    Ok(PlannedRules {
        changes: input.current != Some(rewritten.text.as_str()),
        rules_before: rewritten.rules_before,
        rules_after: rewritten.rules_after,
        previous: plan.rules.previous,
        notes,
    })
}

/// The new text of `.sops.yaml`, proven over every file.
///
/// # Errors
/// Everything that stands in the way.
pub fn rewritten(input: &RulesInput<'_>) -> Result<Rewritten, Vec<RulesFailure>> {
    let kept = input.plan.kept();
    let access = Access::new(input.topology, &input.plan.identities, &kept);
    let known: Vec<RepoPath> = input
        .documents
        .iter()
        .chain(input.others)
        .cloned()
        .collect();
    let mut desired = Vec::new();
    let mut sets: Vec<&FileSet> = Vec::new();
    let mut failures = Vec::new();
    for (name, zones, set) in file_sets(input.topology) {
        let mut parties = access.parties(&zones, set);
        parties.extend(access::always(input.topology));
        match (set.path_regex(&known), recipients(&parties, input)) {
            (Ok(path_regex), Ok(recipients)) => {
                sets.push(set);
                desired.push(DesiredRule {
                    name,
                    path_regex,
                    recipients,
                    selection: set.selection.clone(),
                    mac_only_encrypted: set.mac_only_encrypted,
                });
            }
            (Err(error), _) => failures.push(error.into()),
            (_, Err(failure)) => failures.push(failure),
        }
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    let meant = |path: &RepoPath| {
        let place = input.topology.places(path).into_iter().next()?;
        let set: &FileSet = place.file_set();
        sets.iter().position(|s| std::ptr::eq(*s, set))
    };
    let secrets: Vec<(RepoPath, Option<usize>)> = input
        .documents
        .iter()
        .map(|path| (path.clone(), meant(path)))
        .collect();
    let retiring = input.plan.leaving_recipients();
    rules::rewrite(
        input.current,
        &RewriteRequest {
            desired: &desired,
            ours: &input.plan.rules.previous,
            retiring: &retiring,
            secrets: &secrets,
            not_secrets: input.others,
        },
    )
    .map_err(|problems| problems.into_iter().map(RulesFailure::Rules).collect())
}

/// Every file set with the zones that read it: shared entries first, being narrower, then zones.
fn file_sets(topology: &Topology) -> Vec<(String, Vec<&Zone>, &FileSet)> {
    let mut sets = Vec::new();
    for shared in &topology.shared {
        for set in &shared.files {
            let place = Place::Shared(shared, set);
            sets.push((place.title(), topology.zones_of(&place), set));
        }
    }
    for zone in &topology.zones {
        for set in &zone.files {
            sets.push((Place::Zone(zone, set).title(), vec![zone], set));
        }
    }
    sets
}

/// Recipients with the words that name their holders in the file.
fn recipients(
    parties: &[Party],
    input: &RulesInput<'_>,
) -> Result<Vec<(Recipient, String)>, RulesFailure> {
    parties
        .iter()
        .map(|party| {
            let words = match party {
                Party::Identity(id) => match input.plan.identity(id) {
                    Some(identity) => identity.holder.to_string(),
                    None => kept_words(input.plan, id),
                },
                other => other.label(),
            };
            let recipient = party.recipient(input.roster).cloned();
            recipient
                .map(|r| (r, words))
                .ok_or_else(|| RulesFailure::Unminted(party.label()))
        })
        .collect()
}

/// The words beside a kept recipient: whom it is kept for.
fn kept_words(plan: &Plan, id: &str) -> String {
    let kept = plan.retiring.iter().find(|r| r.id == *id);
    let readers = kept.map(|r| r.kept_for.join(", ")).unwrap_or_default();
    format!("{id}, kept for {readers}")
}

/// The expressions that committed topologies generate: rules of ours that may go. An edit may have been committed before it is
/// converged on, and then HEAD no longer says what is ours.
fn previous_rules(input: &PlannedInput<'_>) -> Vec<String> {
    let known: Vec<RepoPath> = input
        .documents
        .iter()
        .chain(input.others)
        .cloned()
        .collect();
    let mut rules: Vec<String> = Vec::new();
    for (_, _, set) in input.previous.iter().flat_map(file_sets) {
        rules.extend(
            set.path_regex(&known)
                .ok()
                .filter(|rule| !rules.contains(rule)),
        );
    }
    rules
}

/// Rules of now that match files which are no secret.
fn too_wide(input: &PlannedInput<'_>) -> Vec<String> {
    let Some(file) = input.current.and_then(|text| RulesFile::parse(text).ok()) else {
        return Vec::new();
    };
    let mut counts: Vec<(String, usize)> = Vec::new();
    for path in input.others {
        let Ok(Some(rule)) = file.rule_for(path.as_str()) else {
            continue;
        };
        match counts
            .iter_mut()
            .find(|(regex, _)| *regex == rule.path_regex)
        {
            Some((_, count)) => *count += 1,
            None => counts.push((rule.path_regex.clone(), 1)),
        }
    }
    counts
        .into_iter()
        .map(|(regex, count)| {
            let files = if count == 1 {
                "1 file that is"
            } else {
                "files that are"
            };
            if count == 1 {
                format!("the rule `{regex}` matched {files} no secret")
            } else {
                format!("the rule `{regex}` matched {count} {files} no secret")
            }
        })
        .collect()
}

fn problem(failure: &RulesFailure) -> PlanProblem {
    let hint = match failure {
        RulesFailure::Exclude(_) => {
            Some("name the files themselves in `paths` of cofferdam.toml".to_owned())
        }
        RulesFailure::Rules(RulesProblem::MatchesPlainFile { file, .. }) => Some(format!(
            "narrow that rule's path_regex in .sops.yaml, or `paths` in cofferdam.toml where it comes from there, so that it matches secrets only; or encrypt {file} if it is one"
        )),
        RulesFailure::Rules(RulesProblem::Shadows { .. }) => {
            Some("move that rule behind the others in .sops.yaml, or narrow it".to_owned())
        }
        _ => None,
    };
    let mut message = failure.to_string();
    if let RulesFailure::Rules(problem) = failure {
        let mut source = std::error::Error::source(problem);
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
    }
    PlanProblem::Rules { message, hint }
}
