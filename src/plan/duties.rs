//! What each reader must hold and must not hold outside of a run, by topology and ledger.

use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger, Record, State};
use crate::plan::{Party, access};
use crate::repo_path::RepoPath;
use crate::topology::{IdentityScope, Topology};

/// One reader's duties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duty {
    /// Its name in the topology.
    pub reader: String,
    /// The ids and recipients that it must hold.
    pub holds: Vec<(String, Recipient)>,
    /// The ids and recipients that it must not hold: other readers', and old ones.
    pub lacks: Vec<(String, Recipient)>,
    /// Operators and recovery: it must not hold theirs either.
    pub parties: Vec<Party>,
}

/// What duties are told from.
#[derive(Debug, Clone, Copy)]
pub struct DutiesInput<'a> {
    /// Intended state.
    pub topology: &'a Topology,
    /// The identities that exist.
    pub ledger: &'a Ledger,
    /// Every SOPS document with its age recipients.
    pub documents: &'a [(RepoPath, Vec<Recipient>)],
    /// Whether a run has not ended: until then nobody is blamed for what may still be under way.
    pub is_unfinished: bool,
}

/// Tells the duties of all readers, hosts first, in the topology's order.
pub fn duties(input: &DutiesInput<'_>) -> Vec<Duty> {
    let zones = input.topology.zones.iter();
    let names: Vec<&str> = zones
        .flat_map(|zone| access::readers_of(input.topology, &zone.name))
        .collect();
    let hosts = input.topology.hosts.iter().map(|h| h.name.as_str());
    let clusters = input.topology.clusters.iter().map(|c| c.name.as_str());
    hosts
        .chain(clusters)
        .filter(|name| names.contains(name))
        .map(|name| duty(input, name))
        .collect()
}

fn duty(input: &DutiesInput<'_>, reader: &str) -> Duty {
    let own = holder_of(input.topology, reader);
    let (mut holds, mut lacks) = (Vec::new(), Vec::new());
    for record in input.ledger.records() {
        let pair = (record.id.clone(), record.recipient.clone());
        if own.as_ref() == Some(&record.holder) && is_needed(input, record) {
            holds.push(pair);
        } else if is_forbidden(input, record, own.as_ref()) {
            lacks.push(pair);
        }
    }
    lacks.retain(|(_, recipient)| holds.iter().all(|(_, held)| held != recipient));
    Duty {
        reader: reader.to_owned(),
        holds,
        lacks,
        parties: access::always(input.topology),
    }
}

/// Who holds the identity of `reader`; none if the topology does not know it.
pub fn holder_of(topology: &Topology, reader: &str) -> Option<Holder> {
    let zone = access::zone_of_reader(topology, reader)?;
    Some(match zone.identity {
        IdentityScope::Zone => Holder::Zone(zone.name.clone()),
        IdentityScope::Host => Holder::Host(reader.to_owned()),
    })
}

fn is_needed(input: &DutiesInput<'_>, record: &Record) -> bool {
    match record.state {
        State::Shipped | State::Proven | State::Active => true,
        // It may be on its way.
        State::Minted => !input.is_unfinished,
        State::Retiring => is_wrapped(input, &record.recipient),
        State::Retired | State::Compromised | State::Withdrawn => false,
    }
}

fn is_forbidden(input: &DutiesInput<'_>, record: &Record, own: Option<&Holder>) -> bool {
    let is_others = own != Some(&record.holder) && !matches!(record.holder, Holder::Shared(_));
    match record.state {
        State::Minted | State::Shipped | State::Proven | State::Active | State::Retiring => {
            is_others
        }
        State::Retired | State::Withdrawn => true,
        // Innocent readers keep it until they hold the new documents.
        State::Compromised => !input.is_unfinished && !is_wrapped(input, &record.recipient),
    }
}

fn is_wrapped(input: &DutiesInput<'_>, recipient: &Recipient) -> bool {
    let mut documents = input.documents.iter();
    documents.any(|(_, recipients)| recipients.contains(recipient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Identity;
    use crate::topology;

    #[test]
    fn own_identities_are_held_and_others_and_old_ones_are_not() {
        let mut recipients: Vec<Recipient> = (0..6)
            .map(|_| Identity::mint().recipient().unwrap())
            .collect();
        let mut next = || recipients.pop().unwrap();
        let text = format!(
            "version = 1\n[recovery]\nrecipients = [\"{}\"]\n[operators.laptop]\nrecipients = [\"{}\"]\n\
             [zones.lan]\nfiles = [{{ paths = [\"a.sops.env\"] }}]\n[zones.vps]\nfiles = [{{ paths = [\"b.sops.env\"] }}]\n\
             [hosts.kasm]\nzone = \"lan\"\nlocal = \"../kasm\"\n[hosts.far]\nzone = \"vps\"\nlocal = \"../far\"\n",
            next(),
            next()
        );
        let topology = topology::parse(&text, "cofferdam.toml").unwrap();
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let mut ledger = Ledger::new();
        for (id, zone, state) in [
            ("lan-1", "lan", State::Retired),
            ("lan-2", "lan", State::Retiring),
            ("lan-3", "lan", State::Active),
            ("vps-1", "vps", State::Active),
        ] {
            let record = Record::minted(id, Holder::Zone(zone.to_owned()), next(), now);
            ledger.add(record).unwrap();
            ledger.advance(id, state, now).unwrap();
        }
        let told = |documents: &[(RepoPath, Vec<Recipient>)]| {
            let input = DutiesInput {
                topology: &topology,
                ledger: &ledger,
                documents,
                is_unfinished: false,
            };
            let ids = |pairs: &[(String, Recipient)]| -> Vec<String> {
                pairs.iter().map(|(id, _)| id.clone()).collect()
            };
            let told = duties(&input);
            let told = told
                .iter()
                .map(|d| (d.reader.clone(), ids(&d.holds), ids(&d.lacks)));
            told.collect::<Vec<_>>()
        };
        let of = |reader: &str, holds: &[&str], lacks: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
            (reader.to_owned(), words(holds), words(lacks))
        };
        assert_eq!(
            told(&[]),
            [
                of("kasm", &["lan-3"], &["lan-1", "vps-1"]),
                of("far", &["vps-1"], &["lan-1", "lan-2", "lan-3"]),
            ]
        );
        // What a document is still wrapped to is needed, retiring or not.
        let kept = ledger.record("lan-2").unwrap().recipient.clone();
        let document = (RepoPath::new("a.sops.env").unwrap(), vec![kept]);
        assert_eq!(told(&[document])[0].1, ["lan-2", "lan-3"]);
    }
}
