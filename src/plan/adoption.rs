//! Identities that serve a zone already, and go on doing so: a repository that was zoned by hand.
//!
//! `adopt` in `cofferdam.toml` names the recipient. It counts until the ledger knows it; from then on the ledger says which
//! identity serves. Adopting takes nothing on trust: the identity must be had, to be sealed (protocol rule 1), and it must be
//! nobody else's.

use std::collections::BTreeSet;

use crate::inventory::TargetFacts;
use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger};
use crate::plan::access;
use crate::plan::converge::PlanInput;
use crate::plan::{PlanProblem, PlannedIdentity};
use crate::topology::{Place, Topology};

/// The recipient that `holder` adopts; none if it adopts none, or the ledger knows it already.
pub fn of<'a>(topology: &'a Topology, ledger: &Ledger, holder: &Holder) -> Option<&'a Recipient> {
    named(topology, holder).filter(|recipient| ledger.record_of(recipient).is_none())
}

/// The recipients that somebody other than the readers of `holder` adopts.
pub(super) fn of_others<'a>(topology: &'a Topology, holder: &Holder) -> BTreeSet<&'a Recipient> {
    let holders = access::holders(topology).into_iter();
    let others = holders.filter(|(other, _)| other != holder);
    others
        .filter_map(|(other, _)| named(topology, &other))
        .collect()
}

fn named<'a>(topology: &'a Topology, holder: &Holder) -> Option<&'a Recipient> {
    match holder {
        Holder::Zone(name) => topology.zone(name)?.adopt.as_ref(),
        Holder::Host(name) => {
            let host = topology.host(name).and_then(|h| h.adopt.as_ref());
            host.or_else(|| topology.cluster(name)?.adopt.as_ref())
        }
        Holder::Shared(_) => None,
    }
}

/// What stands against adopting what the topology says.
pub(super) fn problems(input: &PlanInput<'_>, identities: &[PlannedIdentity]) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    for identity in identities {
        let adopts = of(input.topology, input.ledger, &identity.holder);
        match (&identity.recipient, adopts) {
            (Some(recipient), _) if identity.adopt => {
                problems.extend(problems_of(input, identity, recipient));
            }
            (Some(_), Some(adopts)) => problems.push(PlanProblem::AdoptedLate {
                holder: identity.holder.to_string(),
                recipient: adopts.short(),
                live: identity.id.clone(),
            }),
            _ => {}
        }
    }
    problems
}

fn problems_of(
    input: &PlanInput<'_>,
    identity: &PlannedIdentity,
    recipient: &Recipient,
) -> Vec<PlanProblem> {
    let readers = access::readers_of_holder(input.topology, &identity.holder);
    let holder = identity.holder.to_string();
    let mut problems = Vec::new();
    let reads = |place: &Place<'_>| {
        let of = input.topology.readers_of(place);
        of.iter().any(|reader| readers.contains(&reader.name()))
    };
    let opens_any = input.repo.documents.iter().any(|document| {
        document.recipients.contains(recipient)
            && input.topology.places(&document.path).iter().any(reads)
    });
    if !opens_any {
        problems.push(PlanProblem::AdoptedUnused {
            holder: holder.clone(),
            recipient: recipient.short(),
        });
    }
    let holding = |target: &&TargetFacts| target.reach.is_read() && target.held.contains(recipient);
    let (own, others): (Vec<_>, Vec<_>) = input
        .targets
        .iter()
        .filter(holding)
        .map(|target| target.name.as_str())
        .partition(|name| readers.contains(name));
    if !others.is_empty() {
        problems.push(PlanProblem::AdoptedElsewhere {
            holder: holder.clone(),
            recipient: recipient.short(),
            readers: others.into_iter().map(str::to_owned).collect(),
        });
    }
    if own.is_empty() && !input.at_hand.contains(recipient) {
        problems.push(PlanProblem::AdoptedNotHad {
            holder,
            recipient: recipient.short(),
        });
    }
    problems
}
