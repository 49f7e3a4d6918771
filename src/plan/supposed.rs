//! What a reader that cannot be read is supposed to hold, by the ledger and by the documents.
//!
//! A plan is made all the same, so that one dead host does not hold up the others. Nothing rests on the supposition: the
//! reader's own proof is what opens the gate.

use std::collections::BTreeSet;

use crate::inventory::TargetFacts;
use crate::keys::Recipient;
use crate::ledger::{Ledger, State};
use crate::plan::access::{self, Access};
use crate::plan::adoption;
use crate::plan::converge::PlanInput;
use crate::plan::duties::holder_of;

/// The facts of every target; where one could not be read, with what it is supposed to hold.
pub(super) fn supposed(input: &PlanInput<'_>) -> Vec<TargetFacts> {
    let suppose = |target: &TargetFacts| {
        let mut target = target.clone();
        if !target.reach.is_read() {
            target.held = by_ledger(input.ledger, &target.name);
            if target.held.is_empty() {
                target.held = by_documents(input, &target.name);
            }
        }
        target
    };
    input.targets.iter().map(suppose).collect()
}

/// The identities that the reader has proven and that nobody has taken from it since.
fn by_ledger(ledger: &Ledger, reader: &str) -> Vec<Recipient> {
    ledger
        .records()
        .iter()
        .filter(|r| !matches!(r.state, State::Retired | State::Withdrawn))
        .filter(|r| r.receipts.iter().any(|receipt| receipt.reader == reader))
        .map(|r| r.recipient.clone())
        .collect()
}

/// A reader that never proved anything holds what its documents are wrapped to: an identity that is still shared.
fn by_documents(input: &PlanInput<'_>, reader: &str) -> Vec<Recipient> {
    let access = Access::new(input.topology, &[], &[]);
    let always = access::always(input.topology);
    let own = holder_of(input.topology, reader);
    let others = own.map_or_else(BTreeSet::new, |own| {
        adoption::of_others(input.topology, &own)
    });
    let mut held: Vec<Recipient> = Vec::new();
    for document in &input.repo.documents {
        if !access.reads(reader, &document.path) {
            continue;
        }
        for recipient in &document.recipients {
            let of_always = always
                .iter()
                .any(|p| p.recipient(&Default::default()) == Some(recipient));
            let minted = input
                .ledger
                .record_of(recipient)
                .is_some_and(|r| r.minted.is_some());
            if !of_always && !minted && !others.contains(recipient) && !held.contains(recipient) {
                held.push(recipient.clone());
            }
        }
    }
    held
}
