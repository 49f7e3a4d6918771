//! One identity's record, and what readers have shown.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::keys::Recipient;
use crate::ledger::State;

/// Who holds an identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// Every reader of a zone.
    Zone(String),
    /// One host alone.
    Host(String),
    /// Everybody: an identity found in the repository, adopted in order to retire it.
    Shared(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Zone(name) => write!(f, "zone {name}"),
            Holder::Host(name) => write!(f, "host {name}"),
            Holder::Shared(_) => f.write_str("shared by all"),
        }
    }
}

/// One identity as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name, unique in the ledger: `lan-2026-11`.
    pub id: String,
    /// Who holds it.
    pub holder: Holder,
    /// Its public half.
    pub recipient: Recipient,
    /// Where it is in its life.
    pub state: State,
    /// When it was minted; none for an adopted one, whose birth nobody wrote down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minted: Option<Timestamp>,
    /// When it entered its state.
    pub since: Timestamp,
    /// The readers that it was ever delivered to, or found on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_to: Vec<String>,
    /// While it is retiring: the readers for whose sake documents stay wrapped to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_for: Vec<String>,
    /// The newest receipt of each reader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<Receipt>,
}

impl Record {
    /// The record of a newly minted identity.
    pub fn minted(id: &str, holder: Holder, recipient: Recipient, at: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            holder,
            recipient,
            state: State::Minted,
            minted: Some(at),
            since: at,
            given_to: Vec::new(),
            kept_for: Vec::new(),
            receipts: Vec::new(),
        }
    }

    /// The record of an identity that documents are wrapped to already.
    pub fn adopted(id: &str, holder: Holder, recipient: Recipient, at: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            holder,
            recipient,
            state: State::Active,
            minted: None,
            since: at,
            given_to: Vec::new(),
            kept_for: Vec::new(),
            receipts: Vec::new(),
        }
    }

    /// From when its age counts: when it was minted; of one that was adopted, when it entered its state.
    pub fn begun(&self) -> Timestamp {
        self.minted.unwrap_or(self.since)
    }

    /// Whether `reader` ever had it, as far as anybody wrote down.
    pub fn was_given_to(&self, reader: &str) -> bool {
        self.given_to.iter().any(|name| name == reader)
            || self.receipts.iter().any(|r| r.reader == reader)
    }
}

/// How a reader showed that it can unwrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptKind {
    /// A challenge was unwrapped with the identities found on the target.
    Unwrapped,
    /// What the target holds was read back, and opens the challenge elsewhere: weaker.
    ReadBack,
    /// Flux decrypted documents with it in the cluster, and applied them.
    Reconciled,
}

impl fmt::Display for ReceiptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwrapped => "unwrapped there",
            Self::ReadBack => "read back",
            Self::Reconciled => "reconciled by Flux",
        })
    }
}

/// A reader's proof, as the ledger remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The host, cluster or operator.
    pub reader: String,
    /// How it was shown.
    pub kind: ReceiptKind,
    /// When.
    pub at: Timestamp,
}

/// The record that a recovery identity was read back from where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadBack {
    /// The recovery recipient.
    pub recipient: Recipient,
    /// When its identity was last read back and matched.
    pub read_back: Timestamp,
}

/// An operator, or recovery, that was revoked: its recipient is never trusted again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedParty {
    /// `operator laptop`, `recovery`.
    pub name: String,
    /// Its recipient.
    pub recipient: Recipient,
    /// When it was revoked.
    pub at: Timestamp,
}

/// A reader that was revoked: it stays known, and is looked at again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// Its name, as it was in the topology.
    pub name: String,
    /// Its zone at that time.
    pub zone: String,
    /// When it was revoked.
    pub at: Timestamp,
    /// Its section of `cofferdam.toml`, as it was: how it is reached and where its identity lives.
    pub section: String,
}
