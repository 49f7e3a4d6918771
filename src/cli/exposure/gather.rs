//! Reading all of history: every version of every document, some at a time, on all cores.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;

use rayon::prelude::*;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::init::material;
use crate::evidence::consumers::consumers;
use crate::exposure::{
    Exposure, FingerprintKey, History, LeafFacts, LeafPlace, Subject, Today, TodayFile,
    VersionFacts, plain_facts, read_version,
};
use crate::keys::{DataKey, IdentitySet};
use crate::repo::git::{FileVersion, Git, Oid};
use crate::repo::recognise::recognise;
use crate::sops::Document;
use crate::sops::store::{self, detect};

/// How many bytes of history are held at a time.
const AT_A_TIME: u64 = 32 << 20;
/// A version larger than this is not read, but named.
const LARGEST: u64 = 64 << 20;
/// How many paths a note names.
const NAMED: usize = 3;

/// What the subjects could ever open.
///
/// # Errors
/// What git says.
pub fn exposure(
    git: &Git,
    subjects: &[Subject],
    at_hand: &IdentitySet,
    context: &Context,
) -> Result<Exposure, CliError> {
    let versions = git.file_versions()?;
    let mut reader = HistoryReader {
        git,
        subjects,
        at_hand,
        fingerprints: FingerprintKey::generate(),
        context,
        damaged: Vec::new(),
        too_large: Vec::new(),
        absent: Vec::new(),
    };
    let mut read = reader.read(&versions, &HashMap::new())?;
    // Data keys outlive the wraps of those who knew them: tried on what nobody at hand opens.
    let mut keys: HashMap<&OsStr, Vec<DataKey>> = HashMap::new();
    for (index, found) in &mut read {
        if let Some(key) = found.1.take() {
            keys.entry(versions[*index].path.as_os_str())
                .or_default()
                .push(key);
        }
    }
    let locked: Vec<FileVersion> = read
        .iter()
        .filter(|(_, (facts, _))| facts.data_key.is_none())
        .map(|(index, _)| versions[*index].clone())
        .filter(|version| keys.contains_key(version.path.as_os_str()))
        .collect();
    let mut opened = reader.read(&locked, &keys)?;
    let mut by_version: HashMap<(&OsStr, &Oid), VersionFacts> = opened
        .drain()
        .map(|(index, (facts, _))| {
            let version = &locked[index];
            ((version.path.as_os_str(), &version.oid), facts)
        })
        .collect();

    let head = match git.head()? {
        Some(_) => git.tree("HEAD")?,
        None => BTreeMap::new(),
    };
    let mut history = History::default();
    let mut today = Today::default();
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let mut indexes: Vec<usize> = read.keys().copied().collect();
    indexes.sort_unstable();
    for index in indexes {
        let Some((facts, _)) = read.remove(&index) else {
            continue;
        };
        let version = &versions[index];
        let path = version.path.to_string_lossy().into_owned();
        let facts = by_version
            .remove(&(version.path.as_os_str(), &version.oid))
            .unwrap_or(facts);
        let is_today = head
            .get(&path)
            .is_some_and(|entry| entry.oid == version.oid);
        if is_today {
            today
                .files
                .insert(path.clone(), TodayFile::Leaves(facts.leaves.clone()));
        }
        *known.entry(path.clone()).or_default() |= is_today;
        history.add(&path, version.since, facts);
    }
    // A file that was a document once, and is something else at HEAD.
    for (path, _) in known.into_iter().filter(|(_, is_today)| !is_today) {
        if let Some(entry) = head.get(&path) {
            let file = if entry.mode.starts_with("100") {
                let bytes = git.cat_files(&[&entry.oid])?.pop().unwrap_or_default();
                reader.plain(&path, &bytes)
            } else {
                TodayFile::Opaque
            };
            today.files.insert(path, file);
        }
    }
    let mut exposure = history.exposure(subjects, &today);
    exposure.notes = reader.notes(&exposure)?;
    // Who takes a value is worth knowing; that a file of another tool cannot be read is not, here.
    if let Ok(sources) = material::collect(git, context) {
        let consumers = consumers(&sources);
        for leaf in &mut exposure.leaves {
            let users = consumers
                .iter()
                .find(|(path, _)| path.as_str() == leaf.file);
            leaf.used_by = users.map(|(_, users)| users.clone()).unwrap_or_default();
        }
    }
    Ok(exposure)
}

struct HistoryReader<'a> {
    git: &'a Git,
    subjects: &'a [Subject],
    at_hand: &'a IdentitySet,
    fingerprints: FingerprintKey,
    context: &'a Context,
    damaged: Vec<String>,
    too_large: Vec<String>,
    absent: Vec<String>,
}

type Read = HashMap<usize, (VersionFacts, Option<DataKey>)>;

impl HistoryReader<'_> {
    /// The documents among `versions`, by index; `keys` are data keys to try, by path.
    fn read(
        &mut self,
        versions: &[FileVersion],
        keys: &HashMap<&OsStr, Vec<DataKey>>,
    ) -> Result<Read, CliError> {
        let oids: Vec<&Oid> = versions.iter().map(|version| &version.oid).collect();
        let sizes = self.git.sizes(&oids)?;
        let bar = self
            .context
            .ui
            .progress("reading history", versions.len() as u64);
        let mut found = Read::new();
        let mut batch: Vec<usize> = Vec::new();
        let mut bytes = 0;
        for (index, size) in sizes.into_iter().enumerate() {
            let path = || versions[index].path.to_string_lossy().into_owned();
            match size {
                None => self.absent.push(path()),
                Some(size) if size > LARGEST => self.too_large.push(path()),
                Some(size) => {
                    batch.push(index);
                    bytes += size;
                }
            }
            if bytes >= AT_A_TIME {
                self.read_batch(versions, &batch, keys, &mut found)?;
                batch.clear();
                bytes = 0;
            }
            bar.step();
        }
        self.read_batch(versions, &batch, keys, &mut found)?;
        Ok(found)
    }

    fn read_batch(
        &mut self,
        versions: &[FileVersion],
        batch: &[usize],
        keys: &HashMap<&OsStr, Vec<DataKey>>,
        found: &mut Read,
    ) -> Result<(), CliError> {
        let oids: Vec<&Oid> = batch.iter().map(|index| &versions[*index].oid).collect();
        let contents = self.git.cat_files(&oids)?;
        let read: Vec<(usize, Result<_, String>)> = batch
            .par_iter()
            .zip(contents)
            .filter_map(|(index, source)| {
                let path = &versions[*index].path;
                let name = path.to_string_lossy();
                let store = recognise(&name, &source)?;
                let known = keys.get(path.as_os_str()).map_or(&[][..], Vec::as_slice);
                let facts = match Document::parse(store, source) {
                    Ok(document) => Ok(read_version(
                        &document,
                        self.subjects,
                        self.at_hand,
                        known,
                        &self.fingerprints,
                    )),
                    Err(_) => Err(name.into_owned()),
                };
                Some((*index, facts))
            })
            .collect();
        for (index, facts) in read {
            match facts {
                Ok(facts) => {
                    found.insert(index, facts);
                }
                Err(path) => self.damaged.push(path),
            }
        }
        Ok(())
    }

    fn plain(&self, path: &str, bytes: &[u8]) -> TodayFile {
        let by_name = crate::repo::recognise::by_name(path);
        let store = detect::store_of(bytes).unwrap_or(by_name);
        let leaves: Option<Vec<(LeafPlace, LeafFacts)>> = store::parse_plain(store, bytes)
            .ok()
            .filter(|parsed| parsed.metadata.is_none())
            .map(|parsed| plain_facts(&parsed.tree, &self.fingerprints));
        leaves.map_or(TodayFile::Opaque, TodayFile::Leaves)
    }

    fn notes(&mut self, exposure: &Exposure) -> Result<Vec<String>, CliError> {
        let mut notes = Vec::new();
        if self.git.is_shallow()? {
            notes.push(
                "this clone is shallow: what lies before its first commit was not looked at (git fetch --unshallow)"
                    .to_owned(),
            );
        }
        for (paths, what) in [
            (&mut self.damaged, "versions that are damaged were not read"),
            (&mut self.too_large, "versions over 64 MiB were not read"),
            (
                &mut self.absent,
                "versions that this clone does not hold were not read",
            ),
        ] {
            paths.sort();
            paths.dedup();
            if !paths.is_empty() {
                let named = paths
                    .iter()
                    .take(NAMED)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ");
                let more = paths.len().saturating_sub(NAMED);
                let rest = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                notes.push(format!("{what}: {named}{rest}"));
            }
        }
        let blind: Vec<&str> = self
            .subjects
            .iter()
            .filter(|subject| subject.identity.is_none())
            .map(|subject| subject.name.as_str())
            .collect();
        if !blind.is_empty() && !exposure.leaves.is_empty() {
            notes.push(format!(
                "nobody here holds {}: what it opens is taken from the documents' lists of recipients",
                blind.join(", ")
            ));
        }
        if exposure.leaves.iter().any(|leaf| leaf.assumed) {
            notes.push(
                "values marked ? could not be compared with an identity at hand, and are assumed to be in use".to_owned(),
            );
        }
        Ok(notes)
    }
}
