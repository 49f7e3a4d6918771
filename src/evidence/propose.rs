//! From evidence to a topology as one might have written it by hand.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::proposal::summary;
use crate::evidence::targets::{clusters, hosts};
use crate::evidence::zone_names::{ZoneNames, zone_name};
use crate::evidence::{
    Answers, DocumentFacts, Evidence, FileSet, Origin, Proposal, Reader, SharedProposal, Sources,
    ZoneProposal, adoption, folders, generalise, parent_text, recipients,
};
use crate::keys::Recipient;
use crate::repo_path::RepoPath;
use crate::topology::Selection;

/// Makes a topology of what was found and what people said.
pub fn propose(sources: &Sources, evidence: &Evidence, answers: &Answers) -> Proposal {
    let mut proposal = Proposal {
        recovery: answers.recovery.clone(),
        operators: answers.operators.clone(),
        remotes: answers.remotes.clone(),
        has_komodo: evidence.hosts.values().any(|h| !h.clones.is_empty()),
        is_local: answers.local_root.is_some(),
        notes: evidence.notes.clone(),
        ..Proposal::default()
    };
    let zones = ZoneNames::new(evidence, answers);
    let mut by_zones: BTreeMap<Vec<String>, BTreeSet<RepoPath>> = BTreeMap::new();
    for document in sources.documents.keys() {
        by_zones
            .entry(zones.of(document, evidence))
            .or_default()
            .insert(document.clone());
    }
    let bases = folders::host_bases(sources, evidence);
    let mut shared = Vec::new();
    for (names, documents) in &by_zones {
        match names.as_slice() {
            [name] => {
                let hosts = zones.hosts_of(name, &bases);
                let zone = zone(name, documents, sources, evidence, answers, &zones, &hosts);
                proposal.zones.push(zone);
            }
            several => shared.push((several, documents)),
        }
    }
    let mut taken: BTreeSet<String> = zones.with_readers();
    taken.extend(proposal.zones.iter().map(|z| z.name.clone()));
    for (names, documents) in shared {
        share(
            &mut proposal.shared,
            &mut taken,
            (names, documents),
            sources,
            evidence,
            answers,
        );
    }
    // A zone all of whose documents are shared still needs its place.
    for name in zones.with_readers() {
        let is_shared = proposal.shared.iter().any(|s| s.zones.contains(&name));
        if is_shared && !proposal.zones.iter().any(|z| z.name == name) {
            let none = BTreeSet::new();
            let zone = zone(
                &name,
                &none,
                sources,
                evidence,
                answers,
                &zones,
                &BTreeMap::new(),
            );
            proposal.zones.push(zone);
        }
    }
    proposal
        .zones
        .sort_by_key(|z| (!z.has_readers, z.name.clone()));
    count_partial_readers(&mut proposal, evidence, &zones);
    adoption::propose(&mut proposal, sources, evidence, &zones);
    let adopted = proposal.zones.iter().filter_map(|z| z.adopt.as_ref());
    let adopted: BTreeSet<&Recipient> = adopted.map(|a| &a.recipient).collect();
    let notes = recipients::notes(sources, answers, &adopted);
    proposal.notes.extend(notes);
    proposal.hosts = hosts(evidence, answers, &zones, &mut proposal);
    proposal.clusters = clusters(evidence, answers, &zones, &proposal);
    proposal
}

fn zone(
    name: &str,
    documents: &BTreeSet<RepoPath>,
    sources: &Sources,
    evidence: &Evidence,
    answers: &Answers,
    zones: &ZoneNames,
    hosts: &BTreeMap<String, BTreeSet<String>>,
) -> ZoneProposal {
    let members = |names: &BTreeMap<String, String>| -> Vec<String> {
        names
            .iter()
            .filter(|(_, z)| *z == name)
            .map(|(n, _)| n.clone())
            .collect()
    };
    let (own_hosts, own_clusters) = (members(&zones.hosts), members(&zones.clusters));
    let has_own = |host: &String| evidence.hosts.get(host).is_some_and(|h| h.has_own_zone);
    let reason = if own_hosts.first().is_some_and(has_own) {
        "a machine of NixOS has an identity of its own".to_owned()
    } else if let Some(first) = own_hosts.first() {
        let origins: Vec<Origin> = own_hosts
            .iter()
            .filter_map(|h| {
                evidence
                    .hosts
                    .get(h)?
                    .region
                    .as_ref()
                    .map(|(_, o)| o.clone())
            })
            .collect();
        match origins.first() {
            Some(_) => format!("by Komodo's region: {}", summary(&origins)),
            None => format!("no region is known of {first}"),
        }
    } else if let Some(cluster) = own_clusters.first() {
        format!("read by the cluster {cluster}")
    } else {
        "no reader: operators and recovery only".to_owned()
    };
    ZoneProposal {
        name: name.to_owned(),
        reason,
        has_readers: !(own_hosts.is_empty() && own_clusters.is_empty()),
        adopt: None,
        partial_readers: Vec::new(),
        files: file_sets(documents, sources, evidence, answers, |set, paths| {
            generalise::cover(set, paths, hosts)
        }),
    }
}

fn share(
    shared: &mut Vec<SharedProposal>,
    taken: &mut BTreeSet<String>,
    (zones, documents): (&[String], &BTreeSet<RepoPath>),
    sources: &Sources,
    evidence: &Evidence,
    answers: &Answers,
) {
    let mut by_folder: BTreeMap<&str, BTreeSet<RepoPath>> = BTreeMap::new();
    for document in documents {
        by_folder
            .entry(parent_text(document))
            .or_default()
            .insert(document.clone());
    }
    for (folder, documents) in by_folder {
        let mut parts: Vec<&str> = folder.split('/').collect();
        let mut name = zone_name(parts.pop().unwrap_or_default());
        // Another folder or a zone of that name: its parents tell them apart, then a number.
        while !taken.insert(name.clone()) {
            name = match parts.pop() {
                Some(parent) => format!("{}-{name}", zone_name(parent)),
                None => format!("{name}-{}", taken.len()),
            };
        }
        shared.push(SharedProposal {
            name,
            zones: zones.to_vec(),
            files: file_sets(
                &documents,
                sources,
                evidence,
                answers,
                generalise::cover_folder,
            ),
        });
    }
}

/// Groups documents by selection, and finds globs for each group.
fn file_sets(
    documents: &BTreeSet<RepoPath>,
    sources: &Sources,
    evidence: &Evidence,
    answers: &Answers,
    cover: impl Fn(&BTreeSet<RepoPath>, &BTreeSet<RepoPath>) -> Vec<String>,
) -> Vec<FileSet> {
    let mut groups: BTreeMap<(Option<Selection>, bool), BTreeSet<RepoPath>> = BTreeMap::new();
    let none = DocumentFacts::default();
    let facts = |d: &RepoPath| sources.documents.get(d).unwrap_or(&none);
    for document in documents {
        let facts = facts(document);
        let group = (facts.selection.clone(), facts.mac_only_encrypted);
        groups.entry(group).or_default().insert(document.clone());
    }
    let set = |((selection, mac_only_encrypted), documents): (
        (Option<Selection>, bool),
        BTreeSet<RepoPath>,
    )| {
        let readings = documents
            .iter()
            .filter_map(|d| Some((d, evidence.readings.get(d)?)));
        let readings: Vec<_> = readings
            .flat_map(|(d, r)| r.iter().map(move |r| (d, r)))
            .collect();
        let mut doubts: Vec<(RepoPath, &'static str)> = Vec::new();
        for (document, reading) in &readings {
            let is_said = answers.document_zones.contains_key(*document);
            let doubt = reading
                .doubt
                .filter(|_| !is_said)
                .map(|text| ((*document).clone(), text));
            doubts.extend(doubt.filter(|d| !doubts.contains(d)));
        }
        FileSet {
            paths: match answers.exact_names {
                true => documents
                    .iter()
                    .map(|d| generalise::escape(d.as_str()))
                    .collect(),
                false => cover(&documents, &sources.paths),
            },
            selection_origin: documents
                .iter()
                .find_map(|d| facts(d).selection_origin.clone()),
            selection,
            mac_only_encrypted,
            origins: readings.iter().map(|(_, r)| r.origin.clone()).collect(),
            doubts,
            documents,
        }
    };
    groups.into_iter().map(set).collect()
}

/// Notes, per zone, the hosts that read fewer documents than the zone's identity opens.
fn count_partial_readers(proposal: &mut Proposal, evidence: &Evidence, zones: &ZoneNames) {
    let shared = &proposal.shared;
    for zone in &mut proposal.zones {
        let own = zone.files.iter().flat_map(|f| &f.documents);
        let also = shared.iter().filter(|s| s.zones.contains(&zone.name));
        let also = also.flat_map(|s| &s.files).flat_map(|f| &f.documents);
        let opened: BTreeSet<&RepoPath> = own.chain(also).collect();
        for (host, _) in zones.hosts.iter().filter(|(_, z)| **z == zone.name) {
            let read = opened.iter().filter(|d| reads(evidence, host, d)).count();
            if read < opened.len() {
                zone.partial_readers
                    .push((host.clone(), read, opened.len()));
            }
        }
    }
}

pub(super) fn reads(evidence: &Evidence, host: &str, document: &RepoPath) -> bool {
    let readings = evidence.readings.get(document).into_iter().flatten();
    readings
        .into_iter()
        .any(|r| matches!(&r.reader, Reader::Host(name) if name == host))
}
