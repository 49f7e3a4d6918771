//! From evidence to a topology as one might have written it by hand, each part with the reason for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{
    DocumentFacts, Evidence, HostEvidence, Note, Origin, Reader, SecretEntry, Sources, folders,
    generalise, parent_text,
};
use crate::keys::Recipient;
use crate::repo_path::RepoPath;
use crate::topology::Selection;

/// Where Docker hosts keep their identities unless something says otherwise.
const IDENTITY_FILE: &str = "/etc/sops/age/keys.txt";
const DEFAULT_CLONES: &str = "/etc/komodo/stacks/*";

/// What people said: on the command line, or when asked.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// The recovery recipients.
    pub recovery: Vec<Recipient>,
    /// The operators' recipients by name.
    pub operators: BTreeMap<String, Vec<Recipient>>,
    /// The folder, relative to `cofferdam.toml`, that holds every target as a directory.
    pub local_root: Option<String>,
    /// The git remotes there are; none is written, one is suggested.
    pub remotes: Vec<String>,
    /// The SSH destination of a host.
    pub ssh: BTreeMap<String, String>,
    /// The kubeconfig context of a cluster.
    pub contexts: BTreeMap<String, String>,
    /// The zone of a host of which only a folder's name speaks.
    pub host_zones: BTreeMap<String, String>,
}

/// A topology to be written.
#[derive(Debug, Default)]
pub struct Proposal {
    /// The recovery recipients.
    pub recovery: Vec<Recipient>,
    /// The operators' recipients by name.
    pub operators: BTreeMap<String, Vec<Recipient>>,
    /// The zones, those with readers first.
    pub zones: Vec<ZoneProposal>,
    /// What several zones read.
    pub shared: Vec<SharedProposal>,
    /// The Docker hosts.
    pub hosts: Vec<HostProposal>,
    /// The clusters.
    pub clusters: Vec<ClusterProposal>,
    /// The git remotes that `[publish]` could name.
    pub remotes: Vec<String>,
    /// Whether Komodo deploys from this repository.
    pub has_komodo: bool,
    /// Whether every target is a directory.
    pub is_local: bool,
    /// What else is worth saying.
    pub notes: Vec<Note>,
}

/// A zone.
#[derive(Debug)]
pub struct ZoneProposal {
    /// Its name.
    pub name: String,
    /// Why there is such a zone.
    pub reason: String,
    /// Whether a host or a cluster reads it.
    pub has_readers: bool,
    /// Hosts that read less than the zone opens: name, documents read, documents opened.
    pub partial_readers: Vec<(String, usize, usize)>,
    /// Its files.
    pub files: Vec<FileSet>,
}

/// Documents that several zones read.
#[derive(Debug)]
pub struct SharedProposal {
    /// Its name, after its folder.
    pub name: String,
    /// The zones.
    pub zones: Vec<String>,
    /// Its files.
    pub files: Vec<FileSet>,
}

/// Globs with one selection of leaves.
#[derive(Debug)]
pub struct FileSet {
    /// The globs.
    pub paths: Vec<String>,
    /// Which leaves are encrypted; none for the default.
    pub selection: Option<Selection>,
    /// Whether the MAC covers encrypted leaves only.
    pub mac_only_encrypted: bool,
    /// Where the selection is written.
    pub selection_origin: Option<Origin>,
    /// The documents that they match today.
    pub documents: BTreeSet<RepoPath>,
    /// Where it says who reads them.
    pub origins: Vec<Origin>,
    /// What a person should decide, by document.
    pub doubts: Vec<(RepoPath, &'static str)>,
}

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A directory stands for it.
    Local(String),
    /// By SSH or a kubeconfig context of this name.
    Remote {
        /// The destination.
        name: String,
        /// Whether nobody said so.
        guessed: bool,
    },
}

/// A Docker host.
#[derive(Debug)]
pub struct HostProposal {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub origin: Origin,
    /// Its zone.
    pub zone: String,
    /// Why that zone.
    pub zone_reason: String,
    /// Whether the zone is a guess.
    pub zone_guessed: bool,
    /// How it is reached.
    pub target: Target,
    /// Where its identities lie.
    pub identity_file: String,
    /// Where that is written; none if it is the usual place.
    pub identity_file_origin: Option<Origin>,
    /// Its clones of the repository.
    pub clones: Vec<String>,
    /// How many documents it reads.
    pub documents: usize,
}

/// A cluster.
#[derive(Debug)]
pub struct ClusterProposal {
    /// Its name.
    pub name: String,
    /// Where it is named.
    pub origin: Origin,
    /// Whether its name is a guess.
    pub guessed: bool,
    /// Its zone.
    pub zone: String,
    /// How it is reached.
    pub target: Target,
    /// The Secrets that hold its identities.
    pub secrets: Vec<(SecretEntry, Origin)>,
}

impl Proposal {
    /// How many documents fall in some zone or shared entry.
    pub fn document_count(&self) -> usize {
        let zones = self.zones.iter().flat_map(|z| &z.files);
        let shared = self.shared.iter().flat_map(|s| &s.files);
        zones.chain(shared).map(|f| f.documents.len()).sum()
    }
}

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
                let zone = zone(name, documents, sources, evidence, &zones, &hosts);
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
            names,
            documents,
            sources,
            evidence,
        );
    }
    // A zone all of whose documents are shared still needs its place.
    for name in zones.with_readers() {
        let is_shared = proposal.shared.iter().any(|s| s.zones.contains(&name));
        if is_shared && !proposal.zones.iter().any(|z| z.name == name) {
            let none = BTreeSet::new();
            let zone = zone(&name, &none, sources, evidence, &zones, &BTreeMap::new());
            proposal.zones.push(zone);
        }
    }
    proposal
        .zones
        .sort_by_key(|z| (!z.has_readers, z.name.clone()));
    count_partial_readers(&mut proposal, evidence, &zones);
    proposal.hosts = hosts(evidence, answers, &zones, &mut proposal);
    proposal.clusters = clusters(evidence, answers, &zones, &proposal);
    proposal
}

/// Which zone each host, cluster and operator-only folder has.
struct ZoneNames {
    hosts: BTreeMap<String, String>,
    clusters: BTreeMap<String, String>,
}

impl ZoneNames {
    fn new(evidence: &Evidence, answers: &Answers) -> Self {
        let host = |(name, host): (&String, &HostEvidence)| {
            let zone = match answers.host_zones.get(name) {
                Some(zone) => zone.clone(),
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
        }
    }

    /// The zones that read a document, sorted; an operator-only zone where no host and no cluster does.
    fn of(&self, document: &RepoPath, evidence: &Evidence) -> Vec<String> {
        let readings = evidence.readings.get(document).into_iter().flatten();
        let zones: BTreeSet<String> = readings
            .filter_map(|r| match &r.reader {
                Reader::Host(name) => self.hosts.get(name).cloned(),
                Reader::Cluster(name) => self.clusters.get(name).cloned(),
                Reader::Operator => None,
            })
            .collect();
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

    fn with_readers(&self) -> BTreeSet<String> {
        self.hosts
            .values()
            .chain(self.clusters.values())
            .cloned()
            .collect()
    }

    /// Of each base folder, the hosts of this zone.
    fn hosts_of(
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
fn zone_name(text: &str) -> String {
    let fold = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || c == '_' => c,
        _ => '-',
    };
    let name: String = text.chars().map(fold).collect();
    let name = name.trim_matches('-');
    if name.is_empty() {
        "root".to_owned()
    } else {
        name.to_owned()
    }
}

fn zone(
    name: &str,
    documents: &BTreeSet<RepoPath>,
    sources: &Sources,
    evidence: &Evidence,
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
    let reason = if let Some(first) = own_hosts.first() {
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
        partial_readers: Vec::new(),
        files: file_sets(documents, sources, evidence, |set, paths| {
            generalise::cover(set, paths, hosts)
        }),
    }
}

fn share(
    shared: &mut Vec<SharedProposal>,
    taken: &mut BTreeSet<String>,
    zones: &[String],
    documents: &BTreeSet<RepoPath>,
    sources: &Sources,
    evidence: &Evidence,
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
            files: file_sets(&documents, sources, evidence, generalise::cover_folder),
        });
    }
}

/// Groups documents by selection, and finds globs for each group.
fn file_sets(
    documents: &BTreeSet<RepoPath>,
    sources: &Sources,
    evidence: &Evidence,
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
            let doubt = reading.doubt.map(|text| ((*document).clone(), text));
            doubts.extend(doubt.filter(|d| !doubts.contains(d)));
        }
        FileSet {
            paths: cover(&documents, &sources.paths),
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

fn reads(evidence: &Evidence, host: &str, document: &RepoPath) -> bool {
    let readings = evidence.readings.get(document).into_iter().flatten();
    readings
        .into_iter()
        .any(|r| matches!(&r.reader, Reader::Host(name) if name == host))
}

fn hosts(
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
        found.push(HostProposal {
            name: name.clone(),
            origin: host.origin.clone(),
            zone,
            zone_reason,
            zone_guessed,
            target: target(name, answers, &answers.ssh),
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

fn clusters(
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
        found.push(ClusterProposal {
            name: name.clone(),
            origin: cluster.origin.clone(),
            guessed: cluster.guessed,
            zone,
            target: target(name, answers, &answers.contexts),
            secrets: cluster
                .secrets
                .iter()
                .map(|(s, o)| (s.clone(), o.clone()))
                .collect(),
        });
    }
    found
}

fn target(name: &str, answers: &Answers, said: &BTreeMap<String, String>) -> Target {
    match (&answers.local_root, said.get(name)) {
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

/// The first origin and how many others there are.
pub(super) fn summary(origins: &[Origin]) -> String {
    let distinct: BTreeSet<&Origin> = origins.iter().collect();
    match (distinct.first(), distinct.len()) {
        (None, _) => String::new(),
        (Some(one), 1) => one.to_string(),
        (Some(first), n) => format!("{first} and {} more", n - 1),
    }
}
