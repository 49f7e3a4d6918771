//! `.cofferdam/digests.toml`: what each document looked like when it was last verified, or written, with an identity.
//!
//! It lets `check` find, without an identity, a document whose values somebody changed under a MAC that was made for others:
//! by hand, in a merge, by a tool that knows no SOPS. Whoever writes a document by SOPS makes a new MAC; of such a document
//! the record says nothing until it is verified again, so that nobody is nagged for editing as one should.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};

use crate::repo_path::RepoPath;
use crate::sops::Document;
use crate::sops::leaves::LeafContent;

/// Where the record stands, relative to the repository's root.
pub const DIGESTS_PATH: &str = ".cofferdam/digests.toml";

const HEADER: &str = "# What documents looked like when cofferdam last verified or wrote them. It holds no secret. Anew: cofferdam verify --record\n";

/// What a document looks like: a name of its MAC, and a digest of all that the MAC should speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentDigest {
    /// The first 16 hex digits of the SHA-256 of the MAC's token.
    mac: String,
    /// The SHA-256, in hex, over the places of all values, the encrypted ones as their tokens and the clear ones as they stand,
    /// and the selector.
    values: String,
}

/// What the record says of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its values are those that were verified.
    Verified,
    /// It carries the MAC that was verified, over other values.
    Changed,
    /// It was written again since, under a MAC of its own; or was never verified.
    Unknown,
}

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digests(BTreeMap<RepoPath, DocumentDigest>);

/// Why the record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DigestsError {
    /// Not UTF-8.
    #[error("{DIGESTS_PATH} is damaged")]
    NotText(#[source] std::str::Utf8Error),
    /// Not TOML.
    #[error("{DIGESTS_PATH} is damaged")]
    Malformed(#[source] toml_edit::TomlError),
    /// Written by a later Cofferdam.
    #[error("{DIGESTS_PATH} has another version than 1")]
    Version,
    /// An entry that is none.
    #[error("{DIGESTS_PATH}: the entry {0:?} is damaged")]
    Entry(String),
}

impl DocumentDigest {
    /// What `document` looks like; none if it carries no MAC.
    pub fn of(document: &Document) -> Option<Self> {
        let mac = hex(&Sha256::digest(document.mac_text()?));
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        let selection = document.selection();
        part(selection.selector().field().as_bytes());
        part(selection.text().as_bytes());
        part(&[u8::from(document.mac_only_encrypted())]);
        // Comments in the clear are no values: neither the MAC nor anybody's program speaks for them.
        let leaves = document.leaves().into_iter();
        for leaf in leaves.filter(|leaf| !leaf.is_comment) {
            part(&(leaf.document as u64).to_be_bytes());
            part(&(leaf.key.len() as u64).to_be_bytes());
            for key in &leaf.key {
                part(key.as_bytes());
            }
            match &leaf.content {
                LeafContent::Sealed(sealed) => part(sealed.text.as_bytes()),
                LeafContent::Clear(value) => part(value.expose()),
                LeafContent::Empty => part(b""),
            }
        }
        Some(Self {
            mac: mac.get(..16).unwrap_or(&mac).to_owned(),
            values: hex(&hasher.finalize()),
        })
    }
}

impl Digests {
    /// Reads the record's file; none: it is not there, and nothing is recorded.
    ///
    /// # Errors
    /// See [`DigestsError`].
    pub fn read(bytes: Option<&[u8]>) -> Result<Self, DigestsError> {
        match bytes {
            Some(bytes) => Self::parse(std::str::from_utf8(bytes).map_err(DigestsError::NotText)?),
            None => Ok(Self::default()),
        }
    }

    /// Reads the record.
    ///
    /// # Errors
    /// See [`DigestsError`].
    pub fn parse(text: &str) -> Result<Self, DigestsError> {
        let read: DocumentMut = text.parse().map_err(DigestsError::Malformed)?;
        if read.get("version").and_then(Item::as_integer) != Some(1) {
            return Err(DigestsError::Version);
        }
        let mut found = BTreeMap::new();
        let documents = read.get("documents").and_then(Item::as_table_like);
        for (name, item) in documents.into_iter().flat_map(|table| table.iter()) {
            let field = |key: &str| {
                let text = item.as_table_like()?.get(key)?.as_str()?;
                let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
                is_hex.then(|| text.to_owned())
            };
            let entry = || {
                Some((
                    RepoPath::new(name).ok()?,
                    DocumentDigest {
                        mac: field("mac")?,
                        values: field("values")?,
                    },
                ))
            };
            let (path, digest) = entry().ok_or_else(|| DigestsError::Entry(name.to_owned()))?;
            found.insert(path, digest);
        }
        Ok(Self(found))
    }

    /// The record as text: a line a document, by path, so that two branches that verified different ones merge.
    pub fn to_text(&self) -> String {
        let mut documents = Table::new();
        for (path, digest) in &self.0 {
            let mut entry = InlineTable::new();
            entry.insert("mac", digest.mac.as_str().into());
            entry.insert("values", digest.values.as_str().into());
            documents.insert(path.as_str(), Item::Value(Value::InlineTable(entry)));
        }
        let mut text = DocumentMut::new();
        text.insert("version", Item::Value(1.into()));
        text.insert("documents", Item::Table(documents));
        format!("{HEADER}{text}")
    }

    /// Whether nothing was ever recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records what a document looks like that was just verified.
    pub fn record(&mut self, path: RepoPath, digest: DocumentDigest) {
        self.0.insert(path, digest);
    }

    /// What is recorded here, and is not, or not so, in `other`.
    pub fn beyond(&self, other: &Self) -> Vec<(RepoPath, DocumentDigest)> {
        let own = self.0.iter();
        let own = own.filter(|(path, digest)| other.0.get(*path) != Some(digest));
        own.map(|(path, digest)| (path.clone(), digest.clone()))
            .collect()
    }

    /// Forgets documents for which `is_there` is not true.
    pub fn retain(&mut self, is_there: impl Fn(&RepoPath) -> bool) {
        self.0.retain(|path, _| is_there(path));
    }

    /// What the record says of `document`.
    pub fn standing(&self, path: &RepoPath, document: &Document) -> Standing {
        let (Some(known), Some(now)) = (self.0.get(path), DocumentDigest::of(document)) else {
            return Standing::Unknown;
        };
        if known.mac != now.mac {
            Standing::Unknown
        } else if known.values == now.values {
            Standing::Verified
        } else {
            Standing::Changed
        }
    }
}

/// What the record's file is to hold once `verified` are recorded, and documents forgotten for which `is_there` is not true.
/// None: what it holds.
///
/// # Errors
/// See [`DigestsError`].
pub fn brought_up_to_date(
    file: Option<&[u8]>,
    verified: &[(RepoPath, DocumentDigest)],
    is_there: impl Fn(&RepoPath) -> bool,
) -> Result<Option<Vec<u8>>, DigestsError> {
    let mut digests = Digests::read(file)?;
    digests.retain(is_there);
    for (path, digest) in verified {
        digests.record(path.clone(), digest.clone());
    }
    let text = digests.to_text().into_bytes();
    Ok((file != Some(&text)).then_some(text))
}

/// What puts the record's file back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutBack {
    /// It stays as it is.
    Stay,
    /// It goes.
    Remove,
    /// It gets these bytes.
    Write(Vec<u8>),
}

/// Tells what puts the record's file back that held `first` before a run recorded `documents`, and holds `now`; none: it is
/// not there.
///
/// It is byte for byte as at first if nobody but the run changed what it says; else what somebody recorded meanwhile of other
/// documents stays. One that cannot be read, or that somebody removed, is left alone.
pub fn put_back<'a>(
    now: Option<&[u8]>,
    first: Option<&[u8]>,
    documents: impl IntoIterator<Item = &'a RepoPath>,
    is_there: impl Fn(&RepoPath) -> bool,
) -> PutBack {
    if now.is_none() || now == first {
        return PutBack::Stay;
    }
    let (Ok(mut digests), Ok(mut before)) = (Digests::read(now), Digests::read(first)) else {
        return PutBack::Stay;
    };
    // The run has forgotten those that were gone by then.
    digests.retain(&is_there);
    before.retain(&is_there);
    for path in documents {
        match before.0.get(path) {
            Some(digest) => digests.record(path.clone(), digest.clone()),
            None => {
                digests.0.remove(path);
            }
        }
    }
    match first {
        Some(first) if digests == before => PutBack::Write(first.to_owned()),
        None if digests == before => PutBack::Remove,
        _ => PutBack::Write(digests.to_text().into_bytes()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Identity;
    use crate::sops::{EmitOptions, EncryptOptions, Selection, Selector, Store, encrypt};

    fn document(plain: &str) -> Vec<u8> {
        let options = EncryptOptions {
            key_groups: vec![vec![Identity::mint().recipient().unwrap()]],
            threshold: None,
            selection: Selection::new(Selector::UnencryptedSuffix, "_clear"),
            mac_only_encrypted: false,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            output: Store::Dotenv,
            emit: EmitOptions::default(),
        };
        encrypt(Store::Dotenv, plain.as_bytes(), &options)
            .unwrap()
            .bytes
    }

    #[test]
    fn what_changes_under_the_same_mac_is_told() {
        let source = document("# a\nA=1\nB=2\nC_clear=x\n");
        let parse = |source: &[u8]| Document::parse(Store::Dotenv, source.to_vec()).unwrap();
        let path = RepoPath::new("a b/ü.sops.env").unwrap();
        let mut digests = Digests::default();
        assert!(digests.is_empty());
        assert_eq!(digests.standing(&path, &parse(&source)), Standing::Unknown);
        digests.record(path.clone(), DocumentDigest::of(&parse(&source)).unwrap());
        let again = Digests::parse(&digests.to_text()).unwrap();
        assert_eq!(again, digests);
        assert_eq!(digests.standing(&path, &parse(&source)), Standing::Verified);
        let text = String::from_utf8(source).unwrap();
        let changed = [
            text.replace("C_clear=x", "C_clear=y"),
            text.replace("B=", "D="),
            text.lines()
                .filter(|l| !l.starts_with("A="))
                .map(|l| format!("{l}\n"))
                .collect(),
            format!("E_clear=1\n{text}"),
        ];
        for changed in changed {
            let standing = digests.standing(&path, &parse(changed.as_bytes()));
            assert_eq!(standing, Standing::Changed, "{changed}");
        }
        // Readers come and go under the same MAC; who wrote it anew made another.
        let wraps = text.replace("sops_age__list_0__map_enc=-", "sops_age__list_0__map_enc=+");
        assert_eq!(
            digests.standing(&path, &parse(wraps.as_bytes())),
            Standing::Verified
        );
        let anew = document("A=1\nB=2\nC_clear=x\n");
        assert_eq!(digests.standing(&path, &parse(&anew)), Standing::Unknown);
        digests.retain(|_| false);
        assert!(digests.is_empty());
    }

    #[test]
    fn a_damaged_record_is_an_error() {
        for text in [
            "version = 2\n",
            "",
            "x",
            "version = 1\n[documents]\na = 1\n",
        ] {
            assert!(Digests::parse(text).is_err(), "{text:?}");
        }
        assert!(Digests::read(Some(b"\xff")).is_err() && Digests::read(None).is_ok());
        let odd = "version = 1\n[documents]\n\"../a\" = { mac = \"00\", values = \"00\" }\n";
        assert!(matches!(Digests::parse(odd), Err(DigestsError::Entry(_))));
    }

    fn named(name: &str, values: &str) -> (RepoPath, DocumentDigest) {
        let digest = DocumentDigest {
            mac: "00".to_owned(),
            values: values.to_owned(),
        };
        (RepoPath::new(name).unwrap(), digest)
    }

    fn text(entries: &[(&str, &str)]) -> Vec<u8> {
        let entries = entries.iter().map(|(name, values)| named(name, values));
        Digests(entries.collect()).to_text().into_bytes()
    }

    #[test]
    fn what_was_verified_is_recorded_and_what_is_gone_forgotten() {
        let is_there = |path: &RepoPath| path.as_str() != "gone";
        let update = |file: Option<&[u8]>| brought_up_to_date(file, &[named("a", "11")], is_there);
        assert_eq!(update(None).unwrap(), Some(text(&[("a", "11")])));
        let before = text(&[("a", "22"), ("b", "33"), ("gone", "44")]);
        let after = text(&[("a", "11"), ("b", "33")]);
        assert_eq!(update(Some(&before)).unwrap().as_ref(), Some(&after));
        assert_eq!(update(Some(&after)).unwrap(), None);
        let [before, after] = [before, after].map(|text| Digests::read(Some(&text)).unwrap());
        assert_eq!(after.beyond(&before), [named("a", "11")]);
        for damaged in [&b"version = 2\n"[..], b"\xff"] {
            assert!(update(Some(damaged)).is_err());
        }
    }

    #[test]
    fn the_record_goes_back_to_its_bytes_unless_somebody_else_recorded() {
        let documents = [named("a", "").0, named("new", "").0];
        let is_there = |path: &RepoPath| path.as_str() != "gone";
        let back =
            |now: Option<&[u8]>, first: Option<&[u8]>| put_back(now, first, &documents, is_there);
        // Not as we print it, and with somebody's comment.
        let first = b"# ours\nversion=1\n[documents]\ngone={mac='00',values='44'}\na={mac='00',values='22'}\n";
        let run = brought_up_to_date(
            Some(first),
            &[named("a", "11"), named("new", "55")],
            is_there,
        );
        let run = run.unwrap().unwrap();
        assert_eq!(
            back(Some(&run), Some(first)),
            PutBack::Write(first.to_vec())
        );
        assert_eq!(back(Some(&run), None), PutBack::Remove);
        // Somebody verified another document meanwhile.
        let theirs = brought_up_to_date(Some(&run), &[named("other", "66")], is_there);
        let theirs = theirs.unwrap().unwrap();
        let kept = text(&[("a", "22"), ("other", "66")]);
        assert_eq!(back(Some(&theirs), Some(first)), PutBack::Write(kept));
        let kept = text(&[("other", "66")]);
        assert_eq!(back(Some(&theirs), None), PutBack::Write(kept));
        // What cannot be read, was never changed, or was removed, stays so.
        assert_eq!(back(Some(first), Some(first)), PutBack::Stay);
        assert_eq!(back(Some(b"<<<<<<<"), Some(first)), PutBack::Stay);
        assert_eq!(back(Some(&run), Some(b"<<<<<<<")), PutBack::Stay);
        assert_eq!(back(None, Some(first)), PutBack::Stay);
    }
}
