//! Protocol rule 9: nobody gains a document by its place.

use std::collections::BTreeSet;

use crate::inventory::{DocumentFacts, TargetFacts};
use crate::keys::Recipient;
use crate::ledger::{Holder, State};
use crate::plan::access;
use crate::plan::converge::PlanInput;
use crate::plan::{Goal, Party, PlanProblem, PlannedDocument, PlannedIdentity, PlannedReader};

/// Protocol rule 9: a reader may gain a document only from the adopted identity, or by name.
pub(super) fn widening(
    input: &PlanInput<'_>,
    targets: &[TargetFacts],
    readers: &[PlannedReader],
    identities: &[PlannedIdentity],
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
        for (reader, target) in readers.iter().zip(targets) {
            // Who is new in a zone reads what the zone reads: its section of `cofferdam.toml` says so by name.
            let joined = is_new_in_zone(input, target);
            let reads = document
                .after
                .iter()
                .any(|p| matches!(p, Party::Identity(id) if reader.needs.contains(id)));
            // It was to hold what its zone adopts all along.
            let adopted = |r: &Recipient| {
                let mut adopted = identities.iter().filter(|i| i.adopt);
                adopted.any(|i| i.recipient.as_ref() == Some(r) && reader.needs.contains(&i.id))
            };
            let read = document.before.iter().any(|r| {
                target.held.contains(r)
                    || adopted(r)
                    || was_held_by(input, target, r)
                    || (joined && could_in_zone(input, target, r))
            });
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

/// Whether a holder's identity, of now or of an earlier time, opens a document: a revocation gives nobody a document that
/// its place alone would, and does not stop for it either (protocol rules 8 and 9).
pub(super) fn opened_before(
    input: &PlanInput<'_>,
    document: &DocumentFacts,
    party: &Party,
    identities: &[PlannedIdentity],
) -> bool {
    let Party::Identity(id) = party else {
        return true;
    };
    let identity = identities.iter().find(|i| i.id == *id);
    let holder = identity.map(|i| &i.holder);
    let adopted = identity
        .filter(|i| i.adopt)
        .and_then(|i| i.recipient.as_ref());
    document.recipients.iter().any(|recipient| {
        let record = input.ledger.record_of(recipient);
        adopted == Some(recipient)
            || record.is_some_and(|r| Some(&r.holder) == holder || r.id == *id)
            || record.is_none_or(|r| matches!(r.holder, Holder::Shared(_)))
                && input.at_hand.contains(recipient)
    })
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

/// Whether no identity of its zone, or of its own, was ever given to a reader.
fn is_new_in_zone(input: &PlanInput<'_>, target: &TargetFacts) -> bool {
    let mut records = input.ledger.records().iter();
    !records.any(|r| r.was_given_to(&target.name) && is_of_zone(input, &r.holder, target))
        && input
            .ledger
            .records()
            .iter()
            .any(|r| is_of_zone(input, &r.holder, target))
}

/// Whether a recipient is one of the reader's zone: its zone's, or that of one of its hosts.
fn could_in_zone(input: &PlanInput<'_>, target: &TargetFacts, recipient: &Recipient) -> bool {
    let record = input.ledger.record_of(recipient);
    record.is_some_and(|r| r.state != State::Withdrawn && is_of_zone(input, &r.holder, target))
}

fn is_of_zone(input: &PlanInput<'_>, holder: &Holder, target: &TargetFacts) -> bool {
    match holder {
        Holder::Zone(zone) => *zone == target.zone,
        Holder::Host(host) => access::zone_of_reader(input.topology, host)
            .is_some_and(|zone| zone.name == target.zone),
        Holder::Shared(_) => false,
    }
}

/// Whether a recipient was minted for a zone or host, rather than adopted.
fn is_of_a_zone(input: &PlanInput<'_>, recipient: &Recipient) -> bool {
    let record = input.ledger.record_of(recipient);
    record.is_some_and(|r| !matches!(r.holder, Holder::Shared(_)))
}
