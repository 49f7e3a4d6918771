//! Identities that serve a zone already: repositories whose `.sops.yaml` tells readers apart go on with what they have.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::zone_names::ZoneNames;
use crate::evidence::{AdoptionProposal, Evidence, Note, Proposal, Sources, recipients};
use crate::keys::Recipient;
use crate::repo_path::RepoPath;

/// Gives each zone with readers the identity that opens all of its documents and no other, if there is exactly one such.
pub(super) fn propose(
    proposal: &mut Proposal,
    sources: &Sources,
    evidence: &Evidence,
    zones: &ZoneNames,
) {
    let opened = opened_by(sources, proposal);
    if is_one_for_all(sources, &opened) {
        return;
    }
    let mut notes = Vec::new();
    for at in 0..proposal.zones.len() {
        let documents = documents_of(proposal, at);
        let zone = &mut proposal.zones[at];
        if !zone.has_readers || documents.is_empty() || takes_host_keys(evidence, zones, &zone.name)
        {
            continue;
        }
        let fitting: Vec<&Recipient> = opened
            .iter()
            .filter(|(recipient, opened)| recipient.is_x25519() && **opened == documents)
            .map(|(recipient, _)| *recipient)
            .collect();
        match fitting.as_slice() {
            [] => {}
            [one] => {
                zone.adopt = Some(AdoptionProposal {
                    recipient: (*one).clone(),
                    name: recipients::name(sources, one),
                    documents: documents.len(),
                });
            }
            several => {
                let names: Vec<String> = several.iter().map(|r| r.short()).collect();
                let file = documents.first().map(|path| (*path).clone());
                notes.extend(file.map(|file| Note {
                    file,
                    text: format!(
                        "{} open the documents of zone {} and no others: adopt = \"age1…\" there keeps the one that its readers hold",
                        names.join(" and "),
                        zone.name
                    ),
                }));
            }
        }
    }
    proposal.notes.extend(notes);
}

/// What each recipient opens, but for operators and recovery.
fn opened_by<'s>(
    sources: &'s Sources,
    proposal: &Proposal,
) -> BTreeMap<&'s Recipient, BTreeSet<RepoPath>> {
    let mut opened: BTreeMap<&Recipient, BTreeSet<RepoPath>> = BTreeMap::new();
    let always = proposal.operators.values().flatten();
    let always: Vec<&Recipient> = always.chain(&proposal.recovery).collect();
    for (path, facts) in &sources.documents {
        for recipient in facts.recipients.iter().filter(|r| !always.contains(r)) {
            opened.entry(recipient).or_default().insert(path.clone());
        }
    }
    opened
}

/// Whether one recipient alone opens everything: the shared identity, which is on some laptop too. A split is to end it.
fn is_one_for_all(sources: &Sources, opened: &BTreeMap<&Recipient, BTreeSet<RepoPath>>) -> bool {
    let is_alone = sources
        .documents
        .values()
        .all(|facts| facts.recipients.len() == 1);
    opened.len() == 1 && is_alone
}

/// The documents that a zone reads, shared ones included.
fn documents_of(proposal: &Proposal, at: usize) -> BTreeSet<RepoPath> {
    let zone = &proposal.zones[at];
    let shared = proposal.shared.iter();
    let shared = shared.filter(|s| s.zones.contains(&zone.name));
    let sets = zone.files.iter().chain(shared.flat_map(|s| &s.files));
    sets.flat_map(|set| set.documents.iter().cloned()).collect()
}

/// Whether the zone's machines open their documents by their SSH host keys, which are no identities that can be moved.
fn takes_host_keys(evidence: &Evidence, zones: &ZoneNames, zone: &str) -> bool {
    let mut hosts = zones.hosts.iter().filter(|(_, of)| of.as_str() == zone);
    evidence.identity_file.is_none()
        && hosts.any(|(name, _)| evidence.hosts.get(name).is_some_and(|h| h.has_own_zone))
}
