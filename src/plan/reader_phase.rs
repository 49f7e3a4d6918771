//! Where each reader stands in the life of its identities, told from ledger and journal: nobody is asked.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::inventory::ReaderKind;
use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger, ReceiptKind, Record, State};
use crate::plan::access;
use crate::plan::duties::holder_of;
use crate::topology::Topology;

/// One reader's line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReaderPhase {
    /// Its name in the topology.
    pub reader: String,
    /// Host or cluster.
    pub kind: ReaderKind,
    /// Its zone.
    pub zone: String,
    /// `minted`, `shipped`, `proven`, `active`; and what is still to leave.
    pub phase: String,
    /// Its newest identity.
    pub id: Option<String>,
    /// When it last showed in a run that it opens that.
    pub proven: Option<Timestamp>,
    /// How it did.
    pub receipt: Option<ReceiptKind>,
    /// What it answered now; none: it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

/// What phases are told from.
#[derive(Debug, Clone, Copy)]
pub struct PhaseInput<'a> {
    /// Intended state.
    pub topology: &'a Topology,
    /// The identities that exist.
    pub ledger: &'a Ledger,
    /// What the unfinished run has delivered, by reader and id.
    pub shipped: &'a BTreeSet<(String, String)>,
    /// What it has taken away, by reader and recipient.
    pub left: &'a BTreeSet<(String, Recipient)>,
}

/// Tells where readers stand: hosts, then clusters, in the topology's order.
pub fn reader_phases(input: &PhaseInput<'_>) -> Vec<ReaderPhase> {
    let hosts = input.topology.hosts.iter();
    let hosts = hosts.map(|h| (h.name.as_str(), ReaderKind::Host));
    let clusters = input.topology.clusters.iter();
    let clusters = clusters.map(|c| (c.name.as_str(), ReaderKind::Cluster));
    hosts
        .chain(clusters)
        .map(|(name, kind)| reader_phase(input, name, kind))
        .collect()
}

fn reader_phase(input: &PhaseInput<'_>, name: &str, kind: ReaderKind) -> ReaderPhase {
    let zone = access::zone_of_reader(input.topology, name);
    let own = holder_of(input.topology, name);
    let newest = own.as_ref().and_then(|own| input.ledger.live(own));
    let mut phase = newest.map_or_else(
        || "no identity yet".to_owned(),
        |record| {
            let is_there = input
                .shipped
                .contains(&(name.to_owned(), record.id.clone()));
            match record.state {
                State::Minted if is_there => State::Shipped,
                state => state,
            }
            .to_string()
        },
    );
    for record in leaving(input, name, own.as_ref()) {
        phase.push_str(&format!(", {} retiring", record.id));
    }
    let receipt = newest.and_then(|record| record.receipts.iter().find(|r| r.reader == name));
    ReaderPhase {
        reader: name.to_owned(),
        kind,
        zone: zone.map_or_else(String::new, |zone| zone.name.clone()),
        phase,
        id: newest.map(|record| record.id.clone()),
        proven: receipt.map(|receipt| receipt.at),
        receipt: receipt.map(|receipt| receipt.kind),
        probe: None,
    }
}

/// What the reader may still hold and is to lose.
fn leaving<'a>(input: &PhaseInput<'a>, name: &str, own: Option<&Holder>) -> Vec<&'a Record> {
    let records = input.ledger.records().iter();
    records
        .filter(|record| record.state == State::Retiring)
        .filter(|record| own == Some(&record.holder) || matches!(record.holder, Holder::Shared(_)))
        .filter(|record| {
            let pair = (name.to_owned(), record.recipient.clone());
            !input.left.contains(&pair)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Identity;
    use crate::ledger::Receipt;
    use crate::topology;

    #[test]
    fn each_reader_has_its_own_phase() {
        let recipient = || Identity::mint().recipient().unwrap();
        let text = format!(
            "version = 1\n[recovery]\nrecipients = [\"{}\"]\n[operators.laptop]\nrecipients = [\"{}\"]\n\
             [zones.lan]\nfiles = [{{ paths = [\"a.sops.env\"] }}]\n\
             [hosts.kasm]\nzone = \"lan\"\nlocal = \"../kasm\"\n[hosts.nvr]\nzone = \"lan\"\nlocal = \"../nvr\"\n",
            recipient(),
            recipient()
        );
        let topology = topology::parse(&text, "cofferdam.toml").unwrap();
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let mut ledger = Ledger::new();
        let lan = || Holder::Zone("lan".to_owned());
        let old = recipient();
        ledger
            .add(Record::minted("lan-1", lan(), old.clone(), now))
            .unwrap();
        ledger.advance("lan-1", State::Retiring, now).unwrap();
        ledger
            .add(Record::minted("lan-2", lan(), recipient(), now))
            .unwrap();
        let receipt = Receipt {
            reader: "nvr".to_owned(),
            kind: ReceiptKind::ReadBack,
            at: now,
        };
        ledger.receive("lan-2", receipt).unwrap();
        let phases = reader_phases(&PhaseInput {
            topology: &topology,
            ledger: &ledger,
            shipped: &BTreeSet::from([("kasm".to_owned(), "lan-2".to_owned())]),
            left: &BTreeSet::from([("nvr".to_owned(), old)]),
        });
        let told: Vec<&str> = phases.iter().map(|p| p.phase.as_str()).collect();
        assert_eq!(told, ["shipped, lan-1 retiring", "minted"]);
        assert_eq!(phases[1].receipt, Some(ReceiptKind::ReadBack));
        assert_eq!(phases[0].proven, None);
    }
}
