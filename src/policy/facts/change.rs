//! Facts about what changed since a revision; there are none unless one is named.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::policy::facts::{Material, Record, facts, number};
use crate::repo_path::RepoPath;
use crate::sops::Document;
use crate::sops::leaves::LeafContent;
use crate::topology::{Baseline, Topology};

facts! {
    /// A document, or `cofferdam.toml`, that is not as it was at the revision of `--since`.
    Change ChangeFacts {
        /// Its path.
        path: String,
        /// Who could open the document then and cannot now, by name.
        removed_recipients: Vec<String>,
        /// How many encrypted values are the same tokens as then, under the same data key.
        kept_values: i64,
        /// The time of its last change as it was then; empty: it was not there.
        lastmodified_before: String,
        /// The time of its last change as it is now.
        lastmodified: String,
        /// Whether that time went backwards.
        went_back: bool,
        /// Documents of other zones, as they were then, that it shares encrypted values with.
        copied_from: Vec<String>,
        /// Of `cofferdam.toml`: commands, addresses and recipients that it did not name then.
        new_trust: Vec<String>,
    }
}

/// A repository as it was.
pub struct Before {
    /// Its SOPS documents that could be read.
    pub documents: Vec<(RepoPath, Document)>,
    /// Its topology; none if there was no usable one.
    pub topology: Option<Topology>,
}

pub(super) fn records(material: &Material<'_>) -> Vec<Record> {
    let Some(before) = material.before else {
        return Vec::new();
    };
    let then: BTreeMap<&RepoPath, &Document> =
        before.documents.iter().map(|(p, d)| (p, d)).collect();
    let mut holders: BTreeMap<String, Vec<&RepoPath>> = BTreeMap::new();
    for (path, document) in &before.documents {
        for token in tokens(document) {
            holders.entry(token).or_default().push(path);
        }
    }
    let by_evidence = material.evidence.zones();
    let zones = |path: &RepoPath| -> Option<BTreeSet<String>> {
        match material.topology {
            Some(topology) => {
                let places = topology.places(path);
                let names = places.iter().flat_map(|p| p.zone_names());
                Some(names.map(str::to_owned).collect())
            }
            None => by_evidence
                .get(path)
                .map(|zones| zones.iter().cloned().collect()),
        }
    };
    let mut records = Vec::new();
    for (path, document) in material.documents {
        let old = then.get(path);
        if old.is_some_and(|old| old.source() == document.source()) {
            continue;
        }
        let own = tokens(document);
        let mut sources: BTreeSet<&RepoPath> = BTreeSet::new();
        for token in &own {
            sources.extend(holders.get(token).into_iter().flatten().copied());
        }
        let here = zones(path);
        let is_elsewhere = |source: &&&RepoPath| {
            let there = zones(source);
            **source != path && there.is_some() && here.is_some() && there != here
        };
        let copied = sources.iter().filter(is_elsewhere);
        let mut facts = ChangeFacts {
            path: path.as_str().to_owned(),
            lastmodified: document.lastmodified().to_owned(),
            copied_from: copied.map(|path| path.as_str().to_owned()).collect(),
            ..ChangeFacts::default()
        };
        if let Some(old) = old {
            let now = document.recipients();
            let removed = old.recipients().into_iter().filter(|r| !now.contains(r));
            facts.removed_recipients = removed.map(|r| material.name_of(r)).collect();
            facts.kept_values = number(tokens(old).intersection(&own).count());
            facts.lastmodified_before = old.lastmodified().to_owned();
            facts.went_back = is_earlier(document.lastmodified(), old.lastmodified());
        }
        records.push(facts.record(Some(path.as_str().to_owned()), None));
    }
    records.extend(topology_record(material, before));
    records
}

/// What the topology makes Cofferdam trust that it did not then. Where there was none, nobody had anything to compare.
fn topology_record(material: &Material<'_>, before: &Before) -> Option<Record> {
    let then = Baseline::of(before.topology.as_ref()?);
    let now = Baseline::of(material.topology?);
    let new = now.since(&then);
    let facts = ChangeFacts {
        path: "cofferdam.toml".to_owned(),
        new_trust: new
            .iter()
            .map(|fact| format!("{}: {}", fact.name, fact.text))
            .collect(),
        ..ChangeFacts::default()
    };
    Some(facts.record(Some("cofferdam.toml".to_owned()), None))
}

/// The encrypted values of a document, as they stand.
fn tokens(document: &Document) -> HashSet<String> {
    let leaves = document.leaves().into_iter();
    let sealed = leaves.filter_map(|leaf| match leaf.content {
        LeafContent::Sealed(sealed) => Some(sealed.text),
        _ => None,
    });
    sealed.collect()
}

/// Whether a time lies before another; texts that are no times compare as nothing.
fn is_earlier(one: &str, other: &str) -> bool {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    matches!((time(one), time(other)), (Some(one), Some(other)) if one < other)
}
