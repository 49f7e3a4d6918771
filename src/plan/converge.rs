//! The one planner behind every goal: from what is there to what the topology wants.
//!
//! *Split* takes the repository from one shared identity to one per zone, *rotate* replaces the identities it is given,
//! *sync* brings in line what was edited since. Documents, rules and readers that are as the topology wants them are left
//! alone, so that a goal that was reached plans nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::inventory::{DocumentFacts, RepoFacts, TargetFacts};
use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger, State};
use crate::plan::access::{self, Access};
use crate::plan::{
    Goal, Party, Plan, PlanProblem, PlannedDocument, PlannedIdentity, PlannedReader, PlannedRules,
    RetiringIdentity, reader_safety,
};
use crate::repo_path::RepoPath;
use crate::topology::Topology;

/// What a plan is made from.
#[derive(Debug)]
pub struct PlanInput<'a> {
    /// Intended state.
    pub topology: &'a Topology,
    /// The identities that exist.
    pub ledger: &'a Ledger,
    /// What the repository holds.
    pub repo: &'a RepoFacts,
    /// What the readers hold, one entry per host and cluster of the topology.
    pub targets: &'a [TargetFacts],
    /// The recipients of the identities at hand.
    pub at_hand: &'a [Recipient],
    /// Now; dates the new ids.
    pub now: Timestamp,
    /// What is asked for.
    pub goal: Goal,
    /// The holders whose identities are replaced although they are live.
    pub replace: &'a [Holder],
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
    let mut problems = role_problems(input);
    let identities = identities(input);
    let access = Access::new(input.topology, &identities);
    let always = access::always(input.topology);

    let retiring = retiring(input, &identities, &mut problems);
    let gone: BTreeSet<&Recipient> = retiring.iter().map(|r| &r.recipient).collect();

    let mut documents = Vec::new();
    let mut after_by_path: BTreeMap<&RepoPath, Vec<Party>> = BTreeMap::new();
    for document in &input.repo.documents {
        match access.place_of(&document.path) {
            Err(problem) => problems.push(problem),
            Ok(place) => {
                let mut after = place.parties.clone();
                after.extend(always.iter().cloned());
                if concerned(input, document, &gone) && needs_rewrite(document, &after, &identities)
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
    let readers = readers(input, &access, &identities, &gone, &after_by_path);
    problems.extend(widening(input, &readers, &documents, &gone));
    if !problems.is_empty() {
        return Err(problems);
    }

    let exposed_values = input
        .repo
        .documents
        .iter()
        .filter(|d| d.recipients.iter().any(|r| gone.contains(r)))
        .map(|d| d.values)
        .sum();
    let plan = Plan {
        version: 1,
        goal: input.goal,
        notes: notes(&readers),
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
    let unsafe_steps = reader_safety::check(&plan, input.targets);
    if unsafe_steps.is_empty() {
        Ok(plan)
    } else {
        Err(unsafe_steps)
    }
}

/// One identity for each holder that has a reader: the live one of the ledger, else one to be minted.
fn identities(input: &PlanInput<'_>) -> Vec<PlannedIdentity> {
    let mut planned: Vec<PlannedIdentity> = Vec::new();
    for (holder, stem) in access::holders(input.topology) {
        let live = input
            .ledger
            .live(&holder)
            .filter(|_| !input.replace.contains(&holder));
        let identity = match live {
            Some(record) => PlannedIdentity {
                id: record.id.clone(),
                holder,
                recipient: Some(record.recipient.clone()),
            },
            None => {
                let taken: Vec<String> = planned.iter().map(|p| p.id.clone()).collect();
                PlannedIdentity {
                    id: input.ledger.free_id(&stem, input.now, &taken),
                    holder,
                    recipient: None,
                }
            }
        };
        planned.push(identity);
    }
    planned
}

/// Protocol rule 2: operators and recovery are nobody else.
fn role_problems(input: &PlanInput<'_>) -> Vec<PlanProblem> {
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
        let holders: Vec<&str> = input
            .targets
            .iter()
            .filter(|t| t.held.contains(recipient))
            .map(|t| t.name.as_str())
            .collect();
        if !holders.is_empty() {
            clash(format!("held by {}", holders.join(", ")));
        } else if let Some(record) = input.ledger.record_of(recipient) {
            clash(format!("the recipient of {} ({})", record.id, record.state));
        }
    }
    problems
}

/// Protocol rule 8: which recipients leave, and which nobody knows.
fn retiring(
    input: &PlanInput<'_>,
    identities: &[PlannedIdentity],
    problems: &mut Vec<PlanProblem>,
) -> Vec<RetiringIdentity> {
    let mut known: BTreeSet<Recipient> = identities
        .iter()
        .filter_map(|i| i.recipient.clone())
        .collect();
    known.extend(
        access::always(input.topology)
            .iter()
            .filter_map(|p| match p {
                Party::Identity(_) => None,
                Party::Operator { recipient, .. } | Party::Recovery { recipient } => {
                    Some(recipient.clone())
                }
            }),
    );

    let mut found: BTreeMap<&Recipient, Vec<RepoPath>> = BTreeMap::new();
    for document in &input.repo.documents {
        for recipient in &document.recipients {
            if !known.contains(recipient) {
                found
                    .entry(recipient)
                    .or_default()
                    .push(document.path.clone());
            }
        }
    }
    // A reader may still hold what no document uses any more: a run that was taken back half-way elsewhere.
    for record in input.ledger.records() {
        let leaves = record.state == State::Retiring || !known.contains(&record.recipient);
        let held = input
            .targets
            .iter()
            .any(|t| t.held.contains(&record.recipient));
        if leaves && held {
            found.entry(&record.recipient).or_default();
        }
    }

    let mut leaving: Vec<RetiringIdentity> = Vec::new();
    for (recipient, documents) in found {
        let held_by: Vec<String> = input
            .targets
            .iter()
            .filter(|t| t.held.contains(recipient))
            .map(|t| t.name.clone())
            .collect();
        let at_hand = input.at_hand.contains(recipient);
        let record = input.ledger.record_of(recipient);
        let dropped = input.leave.drop.contains(recipient);
        if !at_hand && held_by.is_empty() && record.is_none() && !dropped {
            problems.push(PlanProblem::UnknownRecipient {
                recipient: recipient.clone(),
                documents,
            });
            continue;
        }
        let taken: Vec<String> = leaving
            .iter()
            .map(|r| r.id.clone())
            .chain(identities.iter().map(|i| i.id.clone()))
            .collect();
        leaving.push(RetiringIdentity {
            id: record.map_or_else(
                || input.ledger.free_id("shared", input.now, &taken),
                |r| r.id.clone(),
            ),
            recipient: recipient.clone(),
            held_by,
            adopt: at_hand,
        });
    }
    leaving
}

fn needs_rewrite(
    document: &DocumentFacts,
    after: &[Party],
    identities: &[PlannedIdentity],
) -> bool {
    let roster = identities
        .iter()
        .filter_map(|i| Some((i.id.clone(), i.recipient.clone()?)))
        .collect();
    let wanted: Option<BTreeSet<&Recipient>> = after.iter().map(|p| p.recipient(&roster)).collect();
    wanted.is_none_or(|wanted| wanted != document.recipients.iter().collect())
}

/// A rotation rewrites what the identities it replaces open, and nothing else.
fn concerned(input: &PlanInput<'_>, document: &DocumentFacts, gone: &BTreeSet<&Recipient>) -> bool {
    input.goal != Goal::Rotate || document.recipients.iter().any(|r| gone.contains(r))
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

fn readers(
    input: &PlanInput<'_>,
    access: &Access,
    identities: &[PlannedIdentity],
    gone: &BTreeSet<&Recipient>,
    after: &BTreeMap<&RepoPath, Vec<Party>>,
) -> Vec<PlannedReader> {
    input
        .targets
        .iter()
        .map(|target| {
            let needs = access.ids_of_reader(&target.name);
            let receives = needs
                .iter()
                .filter(|id| {
                    identities
                        .iter()
                        .find(|i| i.id == **id)
                        .and_then(|i| i.recipient.as_ref())
                        .is_none_or(|recipient| !target.held.contains(recipient))
                })
                .cloned()
                .collect();
            PlannedReader {
                name: target.name.clone(),
                kind: target.kind,
                zone: target.zone.clone(),
                receives,
                loses: target
                    .held
                    .iter()
                    .filter(|r| gone.contains(r))
                    .cloned()
                    .collect(),
                opens_before: input
                    .repo
                    .documents
                    .iter()
                    .filter(|d| d.recipients.iter().any(|r| target.held.contains(r)))
                    .count(),
                opens_after: after
                    .values()
                    .filter(|parties| {
                        parties
                            .iter()
                            .any(|p| matches!(p, Party::Identity(id) if needs.contains(id)))
                    })
                    .count(),
                needs,
                declares_clones: target.declares_clones,
            }
        })
        .collect()
}

/// Protocol rule 9: a reader may gain a document only from the adopted identity, or by name.
fn widening(
    input: &PlanInput<'_>,
    readers: &[PlannedReader],
    documents: &[PlannedDocument],
    gone: &BTreeSet<&Recipient>,
) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    for document in documents {
        // What everybody could open may be given to any zone, but only when the zones are made.
        let shared = input.goal == Goal::Split
            && document
                .before
                .iter()
                .any(|r| gone.contains(r) && !is_of_a_zone(input, r));
        if shared || input.leave.widen.contains(&document.path) {
            continue;
        }
        for (reader, target) in readers.iter().zip(input.targets) {
            let reads = document
                .after
                .iter()
                .any(|p| matches!(p, Party::Identity(id) if reader.needs.contains(id)));
            let read = document
                .before
                .iter()
                .any(|r| target.held.contains(r) || was_held_by(input, target, r));
            if reads && !read {
                problems.push(PlanProblem::Widening {
                    path: document.path.clone(),
                    reader: reader.name.clone(),
                });
            }
        }
    }
    problems
}

/// Whether a recipient was this reader's own until it was retired: a document that came late (protocol rule 13).
fn was_held_by(input: &PlanInput<'_>, target: &TargetFacts, recipient: &Recipient) -> bool {
    let record = input.ledger.record_of(recipient);
    record.is_some_and(|r| {
        r.state == State::Retired
            && match &r.holder {
                Holder::Zone(zone) => *zone == target.zone,
                Holder::Host(host) => *host == target.name,
                Holder::Shared(_) => false,
            }
    })
}

/// Whether a recipient was minted for a zone or host, rather than adopted.
fn is_of_a_zone(input: &PlanInput<'_>, recipient: &Recipient) -> bool {
    let record = input.ledger.record_of(recipient);
    record.is_some_and(|r| !matches!(r.holder, Holder::Shared(_)))
}

fn notes(readers: &[PlannedReader]) -> Vec<String> {
    let blind: Vec<&str> = readers
        .iter()
        .filter(|r| !r.loses.is_empty() && !r.declares_clones)
        .map(|r| r.name.as_str())
        .collect();
    if blind.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "retires without proof that readers run the new revision: {} (they declare no `clones` that can be looked at)",
        blind.join(", ")
    )]
}

#[cfg(test)]
#[path = "converge_tests.rs"]
mod tests;
