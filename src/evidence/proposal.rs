//! A topology to be written, each part with the reason for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Note, Origin, SecretEntry, Sources};
use crate::keys::Recipient;
use crate::repo_path::RepoPath;
use crate::topology::{Glob, Selection};

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
    /// The zones that read a document of which nothing in the repository says so; none: operators only.
    pub document_zones: BTreeMap<RepoPath, Vec<String>>,
    /// Whether to list files by name instead of finding globs.
    pub exact_names: bool,
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
    /// The identity that serves it today; none: one is minted.
    pub adopt: Option<AdoptionProposal>,
    /// Hosts that read less than the zone opens: name, documents read, documents opened.
    pub partial_readers: Vec<(String, usize, usize)>,
    /// Its files.
    pub files: Vec<FileSet>,
}

/// An identity that serves a zone already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptionProposal {
    /// Its recipient.
    pub recipient: Recipient,
    /// Its name in a `.sops.yaml`, and where that is written.
    pub name: Option<(Origin, String)>,
    /// How many documents it opens: those of the zone.
    pub documents: usize,
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
    /// The Kustomizations that decrypt, as `namespace/name`.
    pub kustomizations: Vec<(String, Origin)>,
}

impl Proposal {
    /// How many documents fall in some zone or shared entry.
    pub fn document_count(&self) -> usize {
        self.file_sets().map(|(_, f)| f.documents.len()).sum()
    }

    /// Documents that do not match exactly the one place they are meant for, and other files that match any.
    pub fn misplaced(&self, sources: &Sources) -> Vec<RepoPath> {
        let sets: Vec<(&FileSet, Vec<Glob>)> = self
            .file_sets()
            .map(|(_, set)| {
                (
                    set,
                    set.paths
                        .iter()
                        .filter_map(|p| Glob::parse(p).ok())
                        .collect(),
                )
            })
            .collect();
        let is_wrong = |path: &&RepoPath| {
            let mut matching = sets
                .iter()
                .filter(|(_, globs)| globs.iter().any(|g| g.matches(path.as_str())));
            match sources.documents.contains_key(path) {
                true => {
                    let first = matching.next();
                    !first.is_some_and(|(set, _)| set.documents.contains(*path))
                        || matching.next().is_some()
                }
                false => matching.next().is_some(),
            }
        };
        sources.paths.iter().filter(is_wrong).cloned().collect()
    }

    fn file_sets(&self) -> impl Iterator<Item = (&str, &FileSet)> {
        let zones = self
            .zones
            .iter()
            .flat_map(|z| z.files.iter().map(|f| (z.name.as_str(), f)));
        let shared = self
            .shared
            .iter()
            .flat_map(|s| s.files.iter().map(|f| (s.name.as_str(), f)));
        zones.chain(shared)
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
