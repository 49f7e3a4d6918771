//! What the operator should know of a plan, a line each.

use crate::inventory::Reach;
use crate::ledger::Holder;
use crate::plan::converge::PlanInput;
use crate::plan::departed::Exposed;
use crate::plan::{Goal, PlannedIdentity, PlannedReader, RetiringIdentity};
use crate::topology::ClusterTarget;

pub(super) fn notes(
    input: &PlanInput<'_>,
    identities: &[PlannedIdentity],
    readers: &[PlannedReader],
    retiring: &[RetiringIdentity],
    exposed: &[Exposed],
    replace: &[Holder],
) -> Vec<String> {
    let mut notes = Vec::new();
    let topology = input.topology;
    for Exposed { id, holder, why } in exposed {
        notes.push(match replace.contains(holder) {
            true if input.goal == Goal::Revoke => continue,
            true => format!("{id} is replaced: {why}"),
            false => format!("{why}: {id} stays until cofferdam sync replaces it"),
        });
    }
    for identity in identities.iter().filter(|i| i.adopt) {
        let recipient = identity.recipient.iter();
        let absent = recipient.filter(|r| !input.at_hand.contains(r));
        for recipient in absent {
            let mut targets = input.targets.iter();
            if let Some(reader) = targets.find(|t| t.held.contains(recipient)) {
                notes.push(format!(
                    "{} is not at hand: it is read from {}, and sealed to operators and recovery",
                    identity.id, reader.name
                ));
            }
        }
    }
    for reader in readers.iter().filter(|r| !r.reach.is_read()) {
        let what = match reader.reach {
            Reach::Unreachable => "cannot be reached",
            _ => "cannot be read",
        };
        let kept: Vec<&str> = retiring
            .iter()
            .filter(|r| r.kept_for.contains(&reader.name))
            .map(|r| r.id.as_str())
            .collect();
        notes.push(match (reader.without, kept.as_slice()) {
            (true, []) => format!("{} {what}: it is left out", reader.name),
            (true, ids) => format!(
                "{} {what}: it is left out, and what it reads stays open to {}",
                reader.name,
                ids.join(", ")
            ),
            (false, _) => format!(
                "{} {what}; what it holds is supposed. The run stops at the gate until it proves what it opens, or goes on --without {}",
                reader.name, reader.name
            ),
        });
    }
    // Of hosts it is not known before they are asked.
    let is_read_back = |name: &str| {
        let cluster = topology.cluster(name);
        cluster.is_some_and(|c| matches!(c.target, ClusterTarget::Context(_)))
    };
    let weak: Vec<String> = readers
        .iter()
        .filter(|r| !r.without && is_read_back(&r.name) && !topology.gate.takes_read_back(&r.name))
        .map(|r| format!("{:?}", r.name))
        .collect();
    if !weak.is_empty() {
        notes.push(format!(
            "stops at the gate: clusters can only be read back there, and [gate] asks for receipt = \"unwrapped\" (except = [{}] lets them through)",
            weak.join(", ")
        ));
    }
    let blind: Vec<&str> = readers
        .iter()
        .filter(|r| !r.loses.is_empty() && !r.declares_clones)
        .map(|r| r.name.as_str())
        .collect();
    if !blind.is_empty() {
        notes.push(format!(
            "retires without proof that readers run the new revision: {} (they declare no `clones` or `kustomizations` that can be looked at)",
            blind.join(", ")
        ));
    }
    notes
}
