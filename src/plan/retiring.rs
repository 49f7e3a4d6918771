//! Which recipients leave, and which nobody knows (protocol rule 8).

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::TargetFacts;
use crate::keys::Recipient;
use crate::ledger::State;
use crate::plan::access;
use crate::plan::converge::PlanInput;
use crate::plan::kept::Kept;
use crate::plan::{Departed, Goal, Party, PlanProblem, PlannedIdentity, RetiringIdentity};
use crate::repo_path::RepoPath;

/// Protocol rule 8: which recipients leave, and which nobody knows.
pub(super) fn retiring(
    input: &PlanInput<'_>,
    targets: &[TargetFacts],
    identities: &[PlannedIdentity],
    kept: &[Kept],
    departed: &[Departed],
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
        let held = targets.iter().any(|t| t.held.contains(&record.recipient));
        // One that serves nobody any more, while no document and no reader that is known has it.
        let is_over = record.state.is_live() && matches!(input.goal, Goal::Split | Goal::Sync);
        if leaves && (held || is_over) {
            found.entry(&record.recipient).or_default();
        }
    }

    let mut leaving: Vec<RetiringIdentity> = Vec::new();
    for (recipient, documents) in found {
        let held_by: Vec<String> = targets
            .iter()
            .filter(|t| t.held.contains(recipient))
            .map(|t| t.name.clone())
            .collect();
        let at_hand = input.at_hand.contains(recipient);
        let record = input.ledger.record_of(recipient);
        let dropped = input.leave.drop.contains(recipient);
        // A revocation does not wait for somebody to look into a recipient that nobody knows: it keeps none.
        let dropped = dropped || input.goal == Goal::Revoke;
        // Who read everything and left is no identity of ours, whether it is at hand or not.
        let mut known = departed.iter().filter_map(|d| d.recipient.as_ref());
        if held_by.is_empty() && known.any(|r| r == recipient) {
            continue;
        }
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
            kept_for: kept
                .iter()
                .filter(|k| k.recipient == *recipient)
                .map(|k| k.reader.clone())
                .collect(),
        });
    }
    leaving
}
