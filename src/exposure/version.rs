//! One version of a document, as history holds it, boiled down to fingerprints.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::exposure::{Fingerprint, FingerprintKey, Subject};
use crate::keys::{DataKey, IdentitySet, Recipient};
use crate::sops::Document;
use crate::sops::cipher::LeafCipher;
use crate::sops::leaves::{LeafContent, ListedLeaf, plain_leaves};
use crate::sops::tree::Tree;

/// From how many bytes on an equal value elsewhere is taken for the same secret.
const LONG: usize = 8;

/// Where a leaf stands within a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafPlace {
    /// Which document of the stream, from 0.
    pub document: usize,
    /// The keys down to it.
    pub key: Vec<String>,
    /// Whether it is a comment of that container.
    pub is_comment: bool,
}

/// What a leaf holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafFacts {
    /// Of its token's text; none: it is not encrypted.
    pub token: Option<Fingerprint>,
    /// Of its value; none: it could not be opened.
    pub value: Option<Fingerprint>,
    /// Whether its value is long enough (8 bytes) that another place with the same one is no chance.
    pub is_long: bool,
    /// Of its token's text, without a key: it tells ciphertext apart and nothing about the value.
    pub ciphertext: Option<TokenDigest>,
}

/// The first 16 bytes of the SHA-256 of a token's text.
pub type TokenDigest = [u8; 16];

/// One version of a document.
#[derive(Debug)]
pub struct VersionFacts {
    /// The recipients of its wraps.
    pub recipients: Vec<Recipient>,
    /// The subjects that open it by a wrap of their own, by index.
    pub opened_by: BTreeSet<usize>,
    /// Of its data key; none: nobody at hand opens it.
    pub data_key: Option<Fingerprint>,
    /// Of its MAC's token.
    pub mac: Option<Fingerprint>,
    /// Its leaves that hold something, in order.
    pub leaves: Vec<(LeafPlace, LeafFacts)>,
    /// Whether it is a stream of several documents.
    pub is_stream: bool,
}

/// Reads one version with every identity there is. `known` are data keys that may open it although nobody at hand does.
///
/// The data key comes back where a subject opens the version, so that it can be tried on others.
pub fn read_version(
    document: &Document,
    subjects: &[Subject],
    at_hand: &IdentitySet,
    known: &[DataKey],
    fingerprints: &FingerprintKey,
) -> (VersionFacts, Option<DataKey>) {
    let recipients: Vec<Recipient> = document.recipients().into_iter().cloned().collect();
    let mut opened_by = BTreeSet::new();
    let mut exposed: Option<DataKey> = None;
    for (index, subject) in subjects.iter().enumerate() {
        match &subject.identity {
            // The label of a wrap may lie; what the identity opens decides.
            Some(identity) => {
                if let Ok(key) = document.unwrap_data_key(identity) {
                    opened_by.insert(index);
                    exposed = Some(key);
                }
            }
            None => {
                if subject
                    .recipient
                    .as_ref()
                    .is_some_and(|r| recipients.contains(r))
                {
                    opened_by.insert(index);
                }
            }
        }
    }
    let other = match &exposed {
        Some(_) => None,
        None => document.unwrap_data_key(at_hand).ok(),
    };
    let known = known.iter().find(|key| document.is_data_key(key));
    let key = exposed.as_ref().or(other.as_ref()).or(known);
    let cipher = key.map(LeafCipher::new);
    let listed = document.leaves();
    let is_stream = listed.iter().any(|leaf| leaf.document > 0);
    let facts = VersionFacts {
        recipients,
        opened_by,
        data_key: key.map(|key| fingerprints.of("data key", key.expose())),
        mac: document
            .mac_text()
            .map(|text| fingerprints.of("token", text.as_bytes())),
        leaves: facts(listed, cipher.as_ref(), fingerprints),
        is_stream,
    };
    (facts, exposed)
}

/// The leaves of a file that is not encrypted (any more).
pub fn plain_facts(tree: &Tree, fingerprints: &FingerprintKey) -> Vec<(LeafPlace, LeafFacts)> {
    facts(plain_leaves(tree), None, fingerprints)
}

fn facts(
    listed: Vec<ListedLeaf>,
    cipher: Option<&LeafCipher>,
    fingerprints: &FingerprintKey,
) -> Vec<(LeafPlace, LeafFacts)> {
    let mut found = Vec::with_capacity(listed.len());
    for leaf in listed {
        let facts = match &leaf.content {
            LeafContent::Empty => continue,
            LeafContent::Clear(bytes) => LeafFacts {
                token: None,
                value: Some(fingerprints.of("value", bytes.expose())),
                is_long: bytes.expose().len() >= LONG,
                ciphertext: None,
            },
            LeafContent::Sealed(sealed) => {
                let value = cipher.and_then(|cipher| sealed.open(cipher));
                LeafFacts {
                    token: Some(fingerprints.of("token", sealed.text.as_bytes())),
                    value: value
                        .as_ref()
                        .map(|bytes| fingerprints.of("value", bytes.expose())),
                    is_long: value.is_some_and(|bytes| bytes.expose().len() >= LONG),
                    ciphertext: Some(digest(&sealed.text)),
                }
            }
        };
        let place = LeafPlace {
            document: leaf.document,
            key: leaf.key,
            is_comment: leaf.is_comment,
        };
        found.push((place, facts));
    }
    found
}

fn digest(text: &str) -> TokenDigest {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(text)[..16]);
    short
}
