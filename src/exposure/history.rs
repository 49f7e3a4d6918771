//! All versions of all documents, and what follows from them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use crate::exposure::{
    Elsewhere, ExposedLeaf, Exposure, Fingerprint, LeafFacts, LeafPlace, LeafState, Subject,
    TokenDigest, VersionFacts,
};

/// Every version of every document that history holds.
#[derive(Debug, Default)]
pub struct History {
    versions: Vec<Version>,
}

#[derive(Debug)]
struct Version {
    path: String,
    since: Timestamp,
    facts: VersionFacts,
}

/// What the files of history are at HEAD.
#[derive(Debug, Default)]
pub struct Today {
    /// Every file that HEAD holds and history knows as a document; those that are missing here are gone.
    pub files: BTreeMap<String, TodayFile>,
}

/// A file at HEAD.
#[derive(Debug)]
pub enum TodayFile {
    /// Its leaves, encrypted or not.
    Leaves(Vec<(LeafPlace, LeafFacts)>),
    /// It is there, but what it holds cannot be told.
    Opaque,
}

impl History {
    /// Adds one version of the file at `path`; `since` is the time of the first commit that holds it.
    pub fn add(&mut self, path: &str, since: Timestamp, facts: VersionFacts) {
        self.versions.push(Version {
            path: path.to_owned(),
            since,
            facts,
        });
    }

    /// How many versions were added.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// What the subjects could ever open, compared with today.
    pub fn exposure(&self, subjects: &[Subject], today: &Today) -> Exposure {
        let exposed_by = self.follow_data_keys();
        let mut gathered: BTreeMap<(&str, &LeafPlace), Gathered<'_>> = BTreeMap::new();
        for (version, by) in self.versions.iter().zip(&exposed_by) {
            if by.is_empty() {
                continue;
            }
            for (place, leaf) in &version.facts.leaves {
                let Some(token) = leaf.token else { continue };
                let entry = gathered
                    .entry((version.path.as_str(), place))
                    .or_insert_with(|| Gathered::new(version.since));
                entry.add(version, by, token, leaf.value);
            }
        }
        let everywhere = values_today(today);
        let mut exposure = Exposure::default();
        for ((path, place), gathered) in gathered {
            let (state, assumed) = gathered.compare(place, today.files.get(path));
            let leaf = ExposedLeaf {
                file: path.to_owned(),
                document: gathered.is_stream.then_some(place.document),
                key: place.key.clone(),
                state,
                assumed,
                identities: gathered
                    .by
                    .iter()
                    .map(|index| subjects[*index].name.clone())
                    .collect(),
                since: gathered.since.to_string(),
                today: ciphertext_today(place, today.files.get(path)),
                readers: gathered.readers.iter().map(ToString::to_string).collect(),
                in_use_at: if state == LeafState::Removed && !place.is_comment {
                    gathered.elsewhere(&everywhere)
                } else {
                    Vec::new()
                },
                used_by: BTreeSet::new(),
            };
            if place.is_comment {
                exposure.comments.push(leaf);
            } else {
                exposure.leaves.push(leaf);
            }
        }
        exposure
    }

    /// For each version the subjects that know its data key: by a wrap of their own in it, or in any version that shares
    /// the data key. Versions share it if it is the same, or if a token of one stands in the other.
    fn follow_data_keys(&self) -> Vec<BTreeSet<usize>> {
        let mut groups = Groups::new(self.versions.len());
        let mut first: HashMap<Fingerprint, usize> = HashMap::new();
        for (index, version) in self.versions.iter().enumerate() {
            let facts = &version.facts;
            let tokens = facts.leaves.iter().filter_map(|(_, leaf)| leaf.token);
            for mark in facts.data_key.into_iter().chain(facts.mac).chain(tokens) {
                let other = *first.entry(mark).or_insert(index);
                groups.join(index, other);
            }
        }
        let mut by_group: HashMap<usize, BTreeSet<usize>> = HashMap::new();
        for (index, version) in self.versions.iter().enumerate() {
            by_group
                .entry(groups.of(index))
                .or_default()
                .extend(&version.facts.opened_by);
        }
        (0..self.versions.len())
            .map(|index| by_group[&groups.of(index)].clone())
            .collect()
    }
}

/// What was gathered of one leaf from all versions that could be read.
struct Gathered<'a> {
    since: Timestamp,
    by: BTreeSet<usize>,
    readers: BTreeSet<&'a crate::keys::Recipient>,
    tokens: BTreeSet<Fingerprint>,
    values: BTreeSet<Fingerprint>,
    /// A version's value could not be opened here.
    has_unknown: bool,
    is_stream: bool,
}

impl<'a> Gathered<'a> {
    fn new(since: Timestamp) -> Self {
        Self {
            since,
            by: BTreeSet::new(),
            readers: BTreeSet::new(),
            tokens: BTreeSet::new(),
            values: BTreeSet::new(),
            has_unknown: false,
            is_stream: false,
        }
    }

    fn add(
        &mut self,
        version: &'a Version,
        by: &BTreeSet<usize>,
        token: Fingerprint,
        value: Option<Fingerprint>,
    ) {
        self.since = self.since.min(version.since);
        self.by.extend(by);
        self.readers.extend(&version.facts.recipients);
        self.tokens.insert(token);
        match value {
            Some(value) => {
                self.values.insert(value);
            }
            None => self.has_unknown = true,
        }
        self.is_stream |= version.facts.is_stream;
    }

    /// The state, and whether it is assumed. What cannot be compared counts as in use: never a false all-clear.
    fn compare(&self, place: &LeafPlace, today: Option<&TodayFile>) -> (LeafState, bool) {
        let leaves = match today {
            None => return (LeafState::Removed, false),
            Some(TodayFile::Opaque) => return (LeafState::InUse, true),
            Some(TodayFile::Leaves(leaves)) => leaves,
        };
        let mut here = leaves.iter().filter(|(p, _)| p == place).map(|(_, l)| l);
        let mut found = false;
        let mut is_unknown = self.has_unknown;
        let same = here.any(|leaf| {
            found = true;
            is_unknown |= leaf.value.is_none();
            leaf.token.is_some_and(|token| self.tokens.contains(&token))
                || leaf.value.is_some_and(|value| self.values.contains(&value))
        });
        if same {
            (LeafState::InUse, false)
        } else if !found {
            (LeafState::Removed, false)
        } else if is_unknown {
            (LeafState::InUse, true)
        } else if place.is_comment {
            (LeafState::Removed, false)
        } else {
            (LeafState::Replaced, false)
        }
    }

    fn elsewhere(&self, everywhere: &HashMap<Fingerprint, Vec<Elsewhere>>) -> Vec<Elsewhere> {
        let mut places: Vec<Elsewhere> = self
            .values
            .iter()
            .filter_map(|value| everywhere.get(value))
            .flatten()
            .cloned()
            .collect();
        places.sort();
        places.dedup();
        places
    }
}

fn ciphertext_today(place: &LeafPlace, today: Option<&TodayFile>) -> Option<TokenDigest> {
    let Some(TodayFile::Leaves(leaves)) = today else {
        return None;
    };
    let (_, leaf) = leaves.iter().find(|(p, _)| p == place)?;
    leaf.ciphertext
}

/// Where each value stands that is encrypted today.
fn values_today(today: &Today) -> HashMap<Fingerprint, Vec<Elsewhere>> {
    let mut found: HashMap<Fingerprint, Vec<Elsewhere>> = HashMap::new();
    for (file, content) in &today.files {
        let TodayFile::Leaves(leaves) = content else {
            continue;
        };
        for (place, leaf) in leaves
            .iter()
            .filter(|(p, l)| !p.is_comment && l.token.is_some())
        {
            // Equal short values say nothing: many places hold `true`.
            if let Some(value) = leaf.value.filter(|_| leaf.is_long) {
                found.entry(value).or_default().push(Elsewhere {
                    file: file.clone(),
                    key: place.key.clone(),
                });
            }
        }
    }
    found
}

/// Disjoint sets.
struct Groups(Vec<usize>);

impl Groups {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn of(&mut self, mut index: usize) -> usize {
        while self.0[index] != index {
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        let (low, high) = (one.min(other), one.max(other));
        self.0[high] = low;
    }
}
