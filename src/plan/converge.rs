//! The one planner behind every goal: from what is there to what the topology wants.
//!
//! *Split* takes the repository from one shared identity to one per zone, *rotate* replaces the identities it is given,
//! *sync* brings in line what was edited since. Documents, rules and readers that are as the topology wants them are left
//! alone, so that a goal that was reached plans nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::inventory::{DocumentFacts, RepoFacts, TargetFacts};
use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger};
use crate::plan::access::{self, Access};
use crate::plan::departed::{self, DepartedInput, Former, Seals};
use crate::plan::kept::{self, Kept};
use crate::plan::notes::notes;
use crate::plan::readers::Readers;
use crate::plan::retiring::retiring;
use crate::plan::supposed::supposed;
use crate::plan::widening::{opened_before, widening};
use crate::plan::{
    Goal, Party, Plan, PlanProblem, PlannedDocument, PlannedIdentity, PlannedRules, PlannedSeal,
    Revoked, adoption, reader_safety,
};
use crate::repo_path::RepoPath;
use crate::topology::Topology;

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// Intended state.
    pub topology: &'a Topology,
    /// The identities that exist.
    pub ledger: &'a Ledger,
    /// What the repository holds.
    pub repo: &'a RepoFacts,
    /// What the readers hold or, where they could not be read, nothing; one entry per host and cluster of the topology.
    pub targets: &'a [TargetFacts],
    /// The recipients of the identities at hand.
    pub at_hand: &'a [Recipient],
    /// Now; dates the new ids.
    pub now: Timestamp,
    /// What is asked for.
    pub goal: Goal,
    /// The holders whose identities are replaced although they are live.
    pub replace: &'a [Holder],
    /// The readers that the run goes on without, by name.
    pub without: &'a [String],
    /// Revoke: what is revoked.
    pub revoked: Option<&'a Revoked>,
    /// The sealed files that there are and were.
    pub seals: &'a Seals,
    /// Operators and recovery of earlier topologies.
    pub formers: &'a [Former],
    /// The operator's word on single cases.
    pub leave: &'a Leave,
}

/// What the operator allowed by name.
#[derive(Debug, Clone, Default)]
pub struct Leave {
    /// Unknown recipients that may go.
    pub drop: Vec<Recipient>,
    /// Documents whose entries of other key types may go.
    pub drop_foreign: Vec<RepoPath>,
    /// Documents that may gain a reader.
    pub widen: Vec<RepoPath>,
}

/// Plans the way to the goal.
///
/// # Errors
/// Every [`PlanProblem`] there is, not only the first.
pub fn plan(input: &PlanInput<'_>) -> Result<Plan, Vec<PlanProblem>> {
    let targets = &supposed(input);
    let mut problems = role_problems(input, targets);
    let left = input.left();
    let departed = departed::departed(&left, input.recipients());
    let exposed = departed::exposed(&left, &departed);
    // Who left a topology that is converged on costs what it knows (protocol rule 4).
    let converges = matches!(input.goal, Goal::Split | Goal::Sync);
    let mut replace: Vec<Holder> = input.replace.to_vec();
    if converges {
        replace.extend(exposed.iter().map(|e| e.holder.clone()));
    }
    let identities = identities(input, &replace);
    problems.extend(adoption::problems(input, &identities));
    let always = access::always(input.topology);

    let without = kept::without(input, targets, &identities);
    let mut kept = match kept::kept(input, targets, &identities, &without, &departed) {
        Ok(kept) => kept,
        Err(cannot) => {
            problems.extend(cannot);
            Vec::new()
        }
    };
    let retiring = retiring(input, targets, &identities, &kept, &departed, &mut problems);
    for kept in &mut kept {
        // One that is still to be adopted gets its id there.
        let known = retiring.iter().find(|r| r.recipient == kept.recipient);
        kept.id = known.map(|r| r.id.clone()).or(kept.id.take());
    }
    let access = Access::new(input.topology, &identities, &kept);
    let gone: BTreeSet<&Recipient> = retiring.iter().map(|r| &r.recipient).collect();
    let departing: Vec<&Recipient> = departed
        .iter()
        .filter_map(|d| d.recipient.as_ref())
        .filter(|r| converges || input.revoked.is_some_and(|v| v.recipients.contains(r)))
        .collect();
    let leaving: BTreeSet<&Recipient> = gone.iter().copied().chain(departing).collect();

    let mut documents = Vec::new();
    let mut after_by_path: BTreeMap<&RepoPath, Vec<Party>> = BTreeMap::new();
    for document in &input.repo.documents {
        match access.place_of(&document.path) {
            Err(problem) => problems.push(problem),
            Ok(place) => {
                let mut after = place.parties.clone();
                if input.goal == Goal::Revoke {
                    after.retain(|party| opened_before(input, document, party, &identities));
                }
                after.extend(always.iter().cloned());
                if concerned(input, document, &leaving)
                    && needs_rewrite(document, &after, &identities, &kept)
                {
                    problems.extend(document_problems(input, document));
                    let foreign = document.foreign.clone();
                    documents.push(PlannedDocument {
                        path: document.path.clone(),
                        place: place.name.clone(),
                        before: document.recipients.clone(),
                        after: after.clone(),
                        digest: document.digest,
                        dropped_foreign: foreign,
                    });
                }
                after_by_path.insert(&document.path, after);
            }
        }
    }
    let readers = Readers {
        input,
        targets,
        access: &access,
        identities: &identities,
        kept: &kept,
        without: &without,
        gone: &gone,
    }
    .planned(&after_by_path);
    problems.extend(widening(
        input,
        targets,
        &readers,
        &identities,
        &documents,
        &gone,
    ));
    if !problems.is_empty() {
        return Err(problems);
    }

    let exposed_values = input
        .repo
        .documents
        .iter()
        .filter(|d| d.recipients.iter().any(|r| leaving.contains(r)))
        .map(|d| d.values)
        .sum();
    let plan = Plan {
        version: 1,
        goal: input.goal,
        revoked: input.revoked.cloned(),
        notes: notes(input, &identities, &readers, &retiring, &exposed, &replace),
        seals: seals(&identities, &left, converges),
        unseals: unseals(input, &left, converges),
        uses: Vec::new(),
        departed,
        identities,
        retiring,
        always,
        documents,
        documents_in_scope: input.repo.documents.len(),
        readers,
        rules: PlannedRules {
            changes: false,
            rules_before: 0,
            rules_after: 0,
            previous: Vec::new(),
            notes: Vec::new(),
        },
        exposed_values,
    };
    let unsafe_steps = reader_safety::check(&plan, targets);
    if unsafe_steps.is_empty() {
        Ok(plan)
    } else {
        Err(unsafe_steps)
    }
}

impl<'a> PlanInput<'a> {
    /// What departures are told from.
    fn left(&self) -> DepartedInput<'a> {
        DepartedInput {
            topology: self.topology,
            ledger: self.ledger,
            seals: self.seals,
            formers: self.formers,
        }
    }

    fn recipients(&self) -> impl Iterator<Item = &'a [Recipient]> {
        let documents = self.repo.documents.iter();
        documents.map(|d| d.recipients.as_slice())
    }
}

/// The identities that are sealed to operators and recovery that came since.
fn seals(
    identities: &[PlannedIdentity],
    left: &DepartedInput<'_>,
    converges: bool,
) -> Vec<PlannedSeal> {
    if !converges {
        return Vec::new();
    }
    let lacking = departed::lacking(left).into_iter();
    lacking
        .map(|(id, to)| PlannedSeal {
            is_live: identities
                .iter()
                .any(|i| i.id == id && i.recipient.is_some()),
            id,
            to,
        })
        .collect()
}

/// The sealed files that are for nobody who is left; of a revocation, those for whom it revokes.
fn unseals(input: &PlanInput<'_>, left: &DepartedInput<'_>, converges: bool) -> Vec<String> {
    let revoked = input.revoked.map_or(&[][..], |r| &r.recipients);
    let marks: Vec<String> = revoked.iter().map(Recipient::seal_mark).collect();
    let is_revoked =
        |name: &String| Seals::of_name(name).is_some_and(|(_, mark)| marks.contains(&mark));
    let stale = departed::stale_files(left).into_iter();
    stale.filter(|name| converges || is_revoked(name)).collect()
}

/// One identity for each holder that has a reader: the live one of the ledger, else the one that it adopts, else one to be
/// minted.
fn identities(input: &PlanInput<'_>, replace: &[Holder]) -> Vec<PlannedIdentity> {
    let mut planned: Vec<PlannedIdentity> = Vec::new();
    for (holder, stem) in access::holders(input.topology) {
        let live = input
            .ledger
            .live(&holder)
            .filter(|_| !replace.contains(&holder));
        let identity = match live {
            Some(record) => PlannedIdentity {
                id: record.id.clone(),
                holder,
                recipient: Some(record.recipient.clone()),
                adopt: false,
            },
            None => {
                let planned = planned.iter().map(|p| &p.id);
                let taken: Vec<String> = planned.chain(input.seals.ids()).cloned().collect();
                let adopted = adoption::of(input.topology, input.ledger, &holder)
                    .filter(|_| !replace.contains(&holder));
                PlannedIdentity {
                    id: input.ledger.free_id(&stem, input.now, &taken),
                    holder,
                    recipient: adopted.cloned(),
                    adopt: adopted.is_some(),
                }
            }
        };
        planned.push(identity);
    }
    planned
}

/// Protocol rule 2: operators and recovery are nobody else.
fn role_problems(input: &PlanInput<'_>, targets: &[TargetFacts]) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    for party in access::always(input.topology) {
        let (Party::Operator { recipient, .. } | Party::Recovery { recipient }) = &party else {
            continue;
        };
        let mut clash = |other_role: String| {
            problems.push(PlanProblem::TwoRoles {
                recipient: recipient.short(),
                role: format!("the recipient of {}", party.label()),
                other_role,
            });
        };
        let holders: Vec<&str> = targets
            .iter()
            .filter(|t| t.held.contains(recipient))
            .map(|t| t.name.as_str())
            .collect();
        if !holders.is_empty() {
            clash(format!("held by {}", holders.join(", ")));
        } else if let Some(record) = input.ledger.record_of(recipient) {
            clash(format!("the recipient of {} ({})", record.id, record.state));
        } else if let Some(revoked) = input.ledger.revoked_party(recipient) {
            clash(format!(
                "that of {}, revoked at {}",
                revoked.name, revoked.at
            ));
        }
    }
    problems
}

fn needs_rewrite(
    document: &DocumentFacts,
    after: &[Party],
    identities: &[PlannedIdentity],
    kept: &[Kept],
) -> bool {
    let live = identities
        .iter()
        .filter_map(|i| Some((i.id.clone(), i.recipient.clone()?)));
    let kept = kept
        .iter()
        .filter_map(|k| Some((k.id.clone()?, k.recipient.clone())));
    let roster = live.chain(kept).collect();
    let wanted: Option<BTreeSet<&Recipient>> = after.iter().map(|p| p.recipient(&roster)).collect();
    wanted.is_none_or(|wanted| wanted != document.recipients.iter().collect())
}

/// A rotation rewrites what the identities it replaces open, and nothing else; a revocation what it takes from somebody.
fn concerned(
    input: &PlanInput<'_>,
    document: &DocumentFacts,
    leaving: &BTreeSet<&Recipient>,
) -> bool {
    !matches!(input.goal, Goal::Rotate | Goal::Revoke)
        || document.recipients.iter().any(|r| leaving.contains(r))
}

fn document_problems(input: &PlanInput<'_>, document: &DocumentFacts) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    if document.key_groups > 1 {
        problems.push(PlanProblem::KeyGroups {
            path: document.path.clone(),
            groups: document.key_groups,
        });
    }
    if !document.foreign.is_empty() && !input.leave.drop_foreign.contains(&document.path) {
        problems.push(PlanProblem::ForeignEntries {
            path: document.path.clone(),
            entries: document.foreign.clone(),
        });
    }
    problems
}

#[cfg(test)]
#[path = "converge_tests.rs"]
mod tests;
