//! Hosts and clusters of a proposal: their names here, and how each is reached.

use std::collections::BTreeMap;

use crate::evidence::propose::reads;
use crate::evidence::zone_names::ZoneNames;
use crate::evidence::{Answers, ClusterProposal, Evidence, HostProposal, Note, Proposal, Target};

/// Where Docker hosts keep their identities unless something says otherwise.
const IDENTITY_FILE: &str = "/etc/sops/age/keys.txt";
const DEFAULT_CLONES: &str = "/etc/komodo/stacks/*";

pub(super) fn hosts(
    evidence: &Evidence,
    answers: &Answers,
    zones: &ZoneNames,
    proposal: &mut Proposal,
) -> Vec<HostProposal> {
    let mut found = Vec::new();
    for (name, host) in &evidence.hosts {
        let zone = zones.hosts.get(name).cloned().unwrap_or_default();
        if !proposal.zones.iter().any(|z| z.name == zone) {
            let text = format!(
                "names the host {name}, which reads no secret; if it holds an identity, remove it there"
            );
            proposal.notes.push(Note {
                file: host.origin.file.clone(),
                text,
            });
            continue;
        }
        let (zone_reason, zone_guessed) = match (&host.region, answers.host_zones.get(name)) {
            (_, Some(_)) => ("your answer".to_owned(), false),
            (Some((region, origin)), None) => (format!("region {region:?}, {origin}"), false),
            (None, None) => ("a guess: no region is known".to_owned(), true),
        };
        let (identity_file, identity_file_origin) = match &evidence.identity_file {
            Some((path, origin)) => (path.clone(), Some(origin.clone())),
            None => (IDENTITY_FILE.to_owned(), None),
        };
        let mut clones: Vec<String> = host.clones.iter().cloned().collect();
        if clones.is_empty() && !host.guessed {
            clones.push(DEFAULT_CLONES.to_owned());
        }
        let name_here = target_name(name, |n| found.iter().any(|h: &HostProposal| h.name == n));
        found.push(HostProposal {
            name: name_here.clone(),
            origin: host.origin.clone(),
            zone,
            zone_reason,
            zone_guessed,
            target: target(name, &name_here, answers, &answers.ssh),
            identity_file,
            identity_file_origin,
            clones: if proposal.is_local {
                Vec::new()
            } else {
                clones
            },
            documents: evidence
                .readings
                .keys()
                .filter(|d| reads(evidence, name, d))
                .count(),
        });
    }
    found
}

pub(super) fn clusters(
    evidence: &Evidence,
    answers: &Answers,
    zones: &ZoneNames,
    proposal: &Proposal,
) -> Vec<ClusterProposal> {
    let mut found = Vec::new();
    for (name, cluster) in &evidence.clusters {
        let zone = zones.clusters.get(name).cloned().unwrap_or_default();
        if !proposal.zones.iter().any(|z| z.name == zone) {
            continue;
        }
        let name_here = target_name(&name.replace('.', "-"), |n| {
            let is_host = proposal.hosts.iter().any(|h| h.name == n);
            is_host || found.iter().any(|c: &ClusterProposal| c.name == n)
        });
        found.push(ClusterProposal {
            name: name_here.clone(),
            origin: cluster.origin.clone(),
            guessed: cluster.guessed,
            zone,
            target: target(name, &name_here, answers, &answers.contexts),
            secrets: cluster
                .secrets
                .iter()
                .map(|(s, o)| (s.clone(), o.clone()))
                .collect(),
            kustomizations: cluster
                .kustomizations
                .iter()
                .map(|(k, o)| (k.clone(), o.clone()))
                .collect(),
        });
    }
    found
}

/// Reaches a target: `own` is its name in its tool's files, `name` the one it has here.
fn target(own: &str, name: &str, answers: &Answers, said: &BTreeMap<String, String>) -> Target {
    match (
        &answers.local_root,
        said.get(own).or_else(|| said.get(name)),
    ) {
        (Some(root), _) => Target::Local(format!("{}/{name}", root.trim_end_matches('/'))),
        (None, Some(said)) => Target::Remote {
            name: said.clone(),
            guessed: false,
        },
        (None, None) => Target::Remote {
            name: name.to_owned(),
            guessed: true,
        },
    }
}

/// A simple word for a target whose own name may hold blanks and worse; a number where it is taken.
fn target_name(own: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let word: String = own
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .take(60)
        .collect();
    let word = word.trim_matches(|c| matches!(c, '-' | '_' | '.'));
    let word = if word.is_empty() { "target" } else { word };
    let mut name = word.to_owned();
    let mut number = 2;
    while is_taken(&name) {
        name = format!("{word}-{number}");
        number += 1;
    }
    name
}
