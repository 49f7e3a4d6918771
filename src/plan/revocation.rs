//! What a revocation covers (protocol rule 16).

use crate::ledger::{Holder, Ledger, Record, State};
use crate::plan::access;
use crate::topology::Topology;

/// Every identity that a reader was ever given, in any state: its zone's of now and all that the ledger says it held; what was
/// shared by all before the split as well.
pub fn given_to<'a>(
    ledger: &'a Ledger,
    topology: &Topology,
    name: &str,
    zone: &str,
) -> Vec<&'a Record> {
    let own: Vec<Holder> = access::holders(topology)
        .into_iter()
        .map(|(holder, _)| holder)
        .filter(|holder| match holder {
            Holder::Zone(of) => of == zone,
            Holder::Host(of) => of == name,
            Holder::Shared(_) => false,
        })
        .collect();
    let records = ledger.records().iter();
    records
        .filter(|record| record.state != State::Withdrawn)
        .filter(|record| {
            record.was_given_to(name)
                || matches!(record.holder, Holder::Shared(_))
                || (record.state.is_live() && own.contains(&record.holder))
        })
        .collect()
}
