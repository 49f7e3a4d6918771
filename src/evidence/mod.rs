//! What other tools' files say about who reads which secret: Komodo, compose, Flux, KSOPS, Ansible, else folder names.
//!
//! Pure: it takes every file's path and the texts of those that may be evidence, and returns values. A broken file of
//! another tool is a note, never a failure. [`Evidence::gather`] collects readings; [`propose`] makes a
//! topology of them; [`to_toml`] writes it with a comment beside each line that says where it came from.

mod adoption;
mod ansible;
mod argocd;
pub mod compose;
pub mod consumers;
mod creation_rules;
pub mod flux;
mod folders;
mod generalise;
mod komodo;
pub mod manifests;
mod nixos;
mod plaintext;
pub mod proposal;
mod propose;
#[cfg(test)]
mod propose_tests;
mod recipients;
pub mod releases;
pub mod services;
pub mod stacks;
mod targets;
pub mod text;
pub mod uses;
mod yaml;
mod zone_names;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::keys::Recipient;
use crate::repo_path::RepoPath;
use crate::topology::Selection;

pub use proposal::{
    AdoptionProposal, Answers, ClusterProposal, FileSet, HostProposal, Proposal, SharedProposal,
    Target, ZoneProposal,
};
pub use propose::propose;
pub use text::to_toml;

/// What is known of the repository: every file's path, the texts that may be evidence, and the SOPS documents.
#[derive(Debug, Default)]
pub struct Sources {
    /// Every file that is not ignored, SOPS documents included.
    pub paths: BTreeSet<RepoPath>,
    /// The texts of files that may be evidence; of SOPS documents as they stand, encrypted.
    pub texts: BTreeMap<RepoPath, String>,
    /// The SOPS documents.
    pub documents: BTreeMap<RepoPath, DocumentFacts>,
}

impl Sources {
    /// Whether there is a folder (with at least one file in it) of this path.
    pub fn has_folder(&self, folder: &str) -> bool {
        self.paths.iter().any(|p| is_below(p, folder))
    }

    /// The SOPS documents directly in `folder` (empty: the root).
    fn documents_in<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a RepoPath> {
        self.documents
            .keys()
            .filter(move |d| parent_text(d) == folder)
    }
}

/// What a SOPS document tells without being opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocumentFacts {
    /// The age recipients that it is wrapped to.
    pub recipients: Vec<Recipient>,
    /// Which leaves are encrypted, as in the creation rule that matches it; none for SOPS's default.
    pub selection: Option<Selection>,
    /// Whether its MAC covers encrypted leaves only.
    pub mac_only_encrypted: bool,
    /// Where the selection is written.
    pub selection_origin: Option<Origin>,
}

/// Where a piece of evidence stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file.
    pub file: RepoPath,
    /// The line, from 1; 0 if the file as a whole is meant.
    pub line: usize,
}

impl Origin {
    fn new(file: &RepoPath, line: usize) -> Self {
        Self {
            file: file.clone(),
            line,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Who opens a document at run time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// A Docker host, by name.
    Host(String),
    /// A cluster, by name.
    Cluster(String),
    /// The operator's own tools.
    Operator,
}

/// One statement that a reader opens a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Who.
    pub reader: Reader,
    /// Where it says so.
    pub origin: Origin,
    /// Why it may be otherwise; a person should decide.
    pub doubt: Option<&'static str>,
}

/// A host that evidence names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEvidence {
    /// Where it is named.
    pub origin: Origin,
    /// Komodo's region, with its place.
    pub region: Option<(String, Origin)>,
    /// Folders that hold its clones of the repository, as globs.
    pub clones: BTreeSet<String>,
    /// Whether only a folder's name speaks for it.
    pub guessed: bool,
    /// Whether machines of its kind have an identity each, so that it is a zone of its own.
    pub has_own_zone: bool,
}

/// One entry of a Secret that holds a cluster's identities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretEntry {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
    /// The key within it.
    pub entry: String,
}

/// A cluster that evidence names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterEvidence {
    /// Where it is named.
    pub origin: Origin,
    /// The Secrets that hold its identities, each with its place.
    pub secrets: BTreeMap<SecretEntry, Origin>,
    /// The Kustomizations that decrypt, as `namespace/name`, each with its place.
    pub kustomizations: BTreeMap<String, Origin>,
    /// Whether its name is a guess.
    pub guessed: bool,
}

/// A file of another tool that says something which a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file.
    pub file: RepoPath,
    /// What about it.
    pub text: String,
}

/// One statement that a cluster decrypts by a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decryption {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// Where it says so: the Kustomization, or what patches it.
    pub origin: Origin,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Docker hosts by name.
    pub hosts: BTreeMap<String, HostEvidence>,
    /// Clusters by name.
    pub clusters: BTreeMap<String, ClusterEvidence>,
    /// The Kustomizations that decrypt, each with its Secret.
    pub decryptions: Vec<Decryption>,
    /// Per document, who reads it.
    pub readings: BTreeMap<RepoPath, Vec<Reading>>,
    /// The key file's path on Docker hosts, where a script or a compose file names it.
    pub identity_file: Option<(String, Origin)>,
    /// What could not be used, and what else is worth saying.
    pub notes: Vec<Note>,
}

impl Evidence {
    /// Collects what every tool's files say; folder names speak last, and only for documents nobody else claims.
    ///
    /// Today's creation rules give each document of `sources` its selection.
    pub fn gather(sources: &mut Sources) -> Self {
        let mut evidence = Self::default();
        creation_rules::apply(sources, &mut evidence);
        let sources = &*sources;
        komodo::gather(sources, &mut evidence);
        flux::gather(sources, &mut evidence);
        argocd::gather(sources, &mut evidence);
        ansible::gather(sources, &mut evidence);
        nixos::gather(sources, &mut evidence);
        folders::gather(sources, &mut evidence);
        for path in &sources.paths {
            let name = path.file_name();
            // sops's own configuration has such a name too.
            let is_named_so =
                name.contains(".sops.") && !matches!(name, ".sops.yaml" | ".sops.yml");
            if is_named_so && !sources.documents.contains_key(path) {
                evidence.note(path, "is named like a SOPS document but is not encrypted");
            }
        }
        evidence
    }

    fn read(&mut self, document: &RepoPath, reader: Reader, origin: Origin) {
        self.push(
            document,
            Reading {
                reader,
                origin,
                doubt: None,
            },
        );
    }

    fn read_in_doubt(
        &mut self,
        document: &RepoPath,
        reader: Reader,
        origin: Origin,
        doubt: &'static str,
    ) {
        self.push(
            document,
            Reading {
                reader,
                origin,
                doubt: Some(doubt),
            },
        );
    }

    fn push(&mut self, document: &RepoPath, reading: Reading) {
        let readings = self.readings.entry(document.clone()).or_default();
        if !readings.iter().any(|r| r.reader == reading.reader) {
            readings.push(reading);
        }
    }

    fn note(&mut self, file: &RepoPath, text: impl Into<String>) {
        let note = Note {
            file: file.clone(),
            text: text.into(),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The zones that hosts and clusters read each document from, as far as evidence says; none for a document that neither
    /// a host nor a cluster reads.
    pub fn zones(&self) -> BTreeMap<RepoPath, Vec<String>> {
        let names = zone_names::ZoneNames::new(self, &Answers::default());
        let read = self.readings.iter().filter(|(_, readings)| {
            let mut readings = readings.iter();
            readings.any(|r| r.reader != Reader::Operator)
        });
        read.map(|(document, _)| (document.clone(), names.of(document, self)))
            .collect()
    }

    /// Whether somebody is known to read `document`.
    fn is_claimed(&self, document: &RepoPath) -> bool {
        self.readings.get(document).is_some_and(|r| !r.is_empty())
    }
}

/// The text of a path's folder; empty at the root.
fn parent_text(path: &RepoPath) -> &str {
    path.as_str().rsplit_once('/').map_or("", |(p, _)| p)
}

/// Whether `path` lies in `folder` or deeper; everything lies below the root.
fn is_below(path: &RepoPath, folder: &str) -> bool {
    folder.is_empty()
        || path
            .as_str()
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn path(text: &str) -> RepoPath {
        RepoPath::new(text).unwrap()
    }

    /// Sources of these files; a file whose text holds `ENC[` is a SOPS document with one recipient.
    pub(crate) fn sources(files: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        for (name, text) in files {
            sources.paths.insert(path(name));
            sources.texts.insert(path(name), (*text).to_owned());
            if text.contains("ENC[") {
                let facts = DocumentFacts {
                    recipients: vec![
                        Recipient::parse(
                            "age12c9kanc9dldzlz2wxyeu9ap8m5syar5a64dz7nkhcu3u36txsscsmfymuj",
                        )
                        .unwrap(),
                    ],
                    ..DocumentFacts::default()
                };
                sources.documents.insert(path(name), facts);
            }
        }
        sources
    }

    pub(crate) fn readers(evidence: &Evidence, document: &str) -> Vec<Reader> {
        let mut readers: Vec<Reader> = evidence
            .readings
            .get(&path(document))
            .into_iter()
            .flatten()
            .map(|r| r.reader.clone())
            .collect();
        readers.sort();
        readers
    }

    pub(crate) fn host(name: &str) -> Reader {
        Reader::Host(name.to_owned())
    }
}
