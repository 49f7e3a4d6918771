//! What an identity could ever open, and which of those values are still in use: the burn list.
//!
//! Exposure follows data keys, not recipient lists: a recipient that was taken from a document without a new data key goes on
//! reading what is written under the old one. Values are compared by fingerprints under a key that lives as long as the
//! process; nothing printed or stored is made from a value.

pub mod burn_list;
mod fingerprint;
mod history;
mod version;

use std::collections::BTreeSet;

use serde::Serialize;

pub use fingerprint::{Fingerprint, FingerprintKey};
pub use history::{History, Today, TodayFile};
pub use version::{LeafFacts, LeafPlace, TokenDigest, VersionFacts, plain_facts, read_version};

use crate::keys::{IdentitySet, Recipient};

/// An identity whose exposure is asked for.
#[derive(Debug)]
pub struct Subject {
    /// Its name in the ledger; else its recipient, shortened.
    pub name: String,
    /// Its recipient, if it is known.
    pub recipient: Option<Recipient>,
    /// The identity itself, alone in its set; none if nobody here has it: then recipient lists have to be believed.
    pub identity: Option<IdentitySet>,
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeafState {
    /// Today's value is among those that could be read, or it cannot be shown that it is not.
    InUse,
    /// There is another value in its place.
    Replaced,
    /// The file or the leaf is gone.
    Removed,
}

/// One value's place and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExposedLeaf {
    /// The file.
    pub file: String,
    /// Which document of the stream, from 0; none for files that hold one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<usize>,
    /// The keys down to it; indexes of lists are decimal. Of a comment: its container's.
    pub key: Vec<String>,
    /// What became of it.
    pub state: LeafState,
    /// Whether `in_use` is assumed, because the values could not be compared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
    /// The identities that could read it.
    pub identities: BTreeSet<String>,
    /// The commit time (RFC 3339) of the first version that could be read.
    pub since: String,
    /// Every recipient that those versions were wrapped to.
    pub readers: BTreeSet<String>,
    /// The ciphertext that stands there today.
    #[serde(skip)]
    pub today: Option<TokenDigest>,
    /// Of a removed value: where else the same one stands today.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_use_at: Vec<Elsewhere>,
    /// What takes the value, as far as files say: compose services, workloads.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub used_by: BTreeSet<String>,
}

/// Another place of the same value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Elsewhere {
    /// The file.
    pub file: String,
    /// The keys down to it.
    pub key: Vec<String>,
}

impl ExposedLeaf {
    /// Whether the value still has to be replaced at its issuer.
    pub fn is_open(&self) -> bool {
        self.state == LeafState::InUse || !self.in_use_at.is_empty()
    }
}

/// Everything that the identities asked for could ever open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exposure {
    /// The values, by file, document and key.
    pub leaves: Vec<ExposedLeaf>,
    /// Encrypted comments, one entry for each container that has some.
    pub comments: Vec<ExposedLeaf>,
    /// Versions that could not be read, and what else limits the answer; one line each.
    pub notes: Vec<String>,
}

impl Exposure {
    /// How many values are in this state.
    pub fn count(&self, state: LeafState) -> usize {
        self.leaves.iter().filter(|l| l.state == state).count()
    }
}
