//! Which zone each host, cluster and operator-only folder has.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Answers, Evidence, HostEvidence, Reader};
use crate::repo_path::RepoPath;

/// Which zone each host, cluster and operator-only folder has.
pub(super) struct ZoneNames {
    pub(super) hosts: BTreeMap<String, String>,
    pub(super) clusters: BTreeMap<String, String>,
    documents: BTreeMap<RepoPath, Vec<String>>,
}

impl ZoneNames {
    pub(super) fn new(evidence: &Evidence, answers: &Answers) -> Self {
        let host = |(name, host): (&String, &HostEvidence)| {
            let zone = match answers.host_zones.get(name) {
                Some(zone) => zone.clone(),
                None if host.has_own_zone => zone_name(name),
                None => region_zone(name, host).to_owned(),
            };
            (name.clone(), zone)
        };
        let cluster = |name: &String| {
            let zone = match evidence.clusters.len() {
                1 => "k8s".to_owned(),
                _ => format!("k8s-{}", zone_name(name)),
            };
            (name.clone(), zone)
        };
        Self {
            hosts: evidence.hosts.iter().map(host).collect(),
            clusters: evidence.clusters.keys().map(cluster).collect(),
            documents: answers.document_zones.clone(),
        }
    }

    /// The zones that read a document, sorted; an operator-only zone where no host and no cluster does.
    pub(super) fn of(&self, document: &RepoPath, evidence: &Evidence) -> Vec<String> {
        let readings = evidence.readings.get(document).into_iter().flatten();
        let said = self
            .documents
            .get(document)
            .map(|zones| zones.iter().cloned().collect());
        let zones: BTreeSet<String> = said.unwrap_or_else(|| {
            readings
                .filter_map(|r| match &r.reader {
                    Reader::Host(name) => self.hosts.get(name).cloned(),
                    Reader::Cluster(name) => self.clusters.get(name).cloned(),
                    Reader::Operator => None,
                })
                .collect()
        });
        if !zones.is_empty() {
            return zones.into_iter().collect();
        }
        let top = match document.as_str().split_once('/') {
            Some((top, _)) => zone_name(top),
            None => "root".to_owned(),
        };
        // A folder may have the name of a zone with readers; they must not become one.
        let is_taken = self.with_readers().contains(&top);
        vec![if is_taken {
            format!("{top}-operators")
        } else {
            top
        }]
    }

    pub(super) fn with_readers(&self) -> BTreeSet<String> {
        self.hosts
            .values()
            .chain(self.clusters.values())
            .cloned()
            .collect()
    }

    /// Of each base folder, the hosts of this zone.
    pub(super) fn hosts_of(
        &self,
        zone: &str,
        bases: &BTreeMap<String, BTreeSet<String>>,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut found = BTreeMap::new();
        for (base, hosts) in bases {
            let is_here = |h: &&String| self.hosts.get(*h).is_some_and(|z| z == zone);
            let own: BTreeSet<String> = hosts.iter().filter(is_here).cloned().collect();
            if !own.is_empty() {
                found.insert(base.clone(), own);
            }
        }
        found
    }
}

fn region_zone(name: &str, host: &HostEvidence) -> &'static str {
    let said = host.region.as_ref().map_or(name, |(region, _)| region);
    if said.to_lowercase().contains("vps") {
        "vps"
    } else {
        "lan"
    }
}

/// A folder's or cluster's name as a zone's: lower case letters, digits, `-` and `_`.
pub(super) fn zone_name(text: &str) -> String {
    let fold = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || c == '_' => c,
        _ => '-',
    };
    let name: String = text.chars().map(fold).collect();
    let name = name
        .trim_matches(|c| matches!(c, '-' | '_'))
        .get(..50)
        .unwrap_or(name.trim_matches(|c| matches!(c, '-' | '_')));
    if name.is_empty() {
        "root".to_owned()
    } else {
        name.to_owned()
    }
}
