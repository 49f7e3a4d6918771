//! Facts about recipients and their identities.

use std::collections::{BTreeMap, BTreeSet};

use crate::keys::Recipient;
use crate::ledger::State;
use crate::policy::facts::{Material, Record, facts, number};
use crate::repo_path::RepoPath;
use crate::topology::Topology;

facts! {
    /// A recipient and its identity.
    Identity IdentityFacts {
        /// The recipient.
        recipient: String,
        /// Who holds its identity, for people: an operator, recovery, the ledger's id, else the recipient's short form.
        name: String,
        /// Its state in the ledger; empty if the ledger does not know it.
        state: String,
        /// How many documents it opens.
        opens: i64,
        /// How many documents it alone opens.
        opens_alone: i64,
        /// The zones whose readers must hold it, since they read documents that it opens; of operators and recovery: none.
        zones: Vec<String>,
        /// Whether no one zone reads all documents that its readers open with it.
        spans_zones: bool,
        /// Whether it belongs to an operator or to recovery.
        opens_everything: bool,
        /// The day on which its rotation was due; empty: it is not.
        overdue_since: String,
    }
}

pub(super) fn records(material: &Material<'_>) -> Vec<Record> {
    let mut recipients: Vec<&Recipient> = Vec::new();
    let used = material
        .documents
        .iter()
        .flat_map(|(_, document)| document.recipients());
    let live = material
        .ledger
        .records()
        .iter()
        .filter(|r| r.state.is_live());
    for recipient in used.chain(live.map(|r| &r.recipient)) {
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    let by_evidence = material.evidence.zones();
    recipients
        .into_iter()
        .map(|recipient| record(material, recipient, &by_evidence))
        .collect()
}

fn record(
    material: &Material<'_>,
    recipient: &Recipient,
    by_evidence: &BTreeMap<RepoPath, Vec<String>>,
) -> Record {
    let always = material.topology.map(Topology::always).unwrap_or_default();
    let opens_everything = always.iter().any(|(known, _)| *known == recipient);
    let mut opens = 0;
    let mut alone = 0;
    let mut zones_of: Vec<BTreeSet<String>> = Vec::new();
    for (path, document) in material.documents {
        let own = document.recipients();
        if !own.contains(&recipient) {
            continue;
        }
        opens += 1;
        let is_alone = own.len() == 1;
        alone += usize::from(is_alone);
        match material.topology {
            Some(topology) => {
                let places = topology.places(path);
                let names = places.iter().flat_map(|p| p.zone_names());
                let with_readers = names.filter(|zone| !topology.readers(zone).is_empty());
                zones_of.push(with_readers.map(str::to_owned).collect());
            }
            // Who else opens it may be who reads it.
            None if is_alone => {
                let zones = by_evidence.get(path).cloned().unwrap_or_default();
                zones_of.push(zones.into_iter().collect());
            }
            None => {}
        }
    }
    if opens_everything {
        zones_of.clear();
    }
    let zones: BTreeSet<String> = zones_of.iter().flatten().cloned().collect();
    let fits = |zone: &String| zones_of.iter().all(|own| own.contains(zone));
    let spans_zones = !zones.is_empty() && !zones.iter().any(fits);
    let ledger = material.ledger.record_of(recipient);
    let overdue = ledger.and_then(|r| material.overdue.get(&r.id));
    let facts = IdentityFacts {
        recipient: recipient.as_str().to_owned(),
        name: material.name_of(recipient),
        state: ledger.map_or(String::new(), |r| State::to_string(&r.state)),
        opens: number(opens),
        opens_alone: number(alone),
        zones: zones.into_iter().collect(),
        spans_zones,
        opens_everything,
        overdue_since: overdue.cloned().unwrap_or_default(),
    };
    let place = place(material, recipient);
    let (file, line) = place.map_or((None, None), |(file, line)| (Some(file), Some(line)));
    facts.record(file, line)
}

/// Where the recipient is written: in the ledger, else in a rules file.
fn place(material: &Material<'_>, recipient: &Recipient) -> Option<(String, usize)> {
    let text = recipient.as_str();
    if let Some(line) = Material::line_in(material.ledger_text, text) {
        return Some((crate::ledger::LEDGER_PATH.to_owned(), line));
    }
    material.rules.iter().find_map(|(path, _)| {
        let line = Material::line_in(material.sources.texts.get(path)?, text)?;
        Some((path.as_str().to_owned(), line))
    })
}
