//! What a reader holds, as read from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::keys::Recipient;
use crate::ledger::Mark;

/// What kind of reader a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReaderKind {
    /// A machine with a key file.
    Host,
    /// A cluster with a Secret.
    Cluster,
}

/// Whether a reader could be read when a plan was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// It answered; what it holds is known.
    #[default]
    Read,
    /// It did not answer: what it holds is supposed.
    Unreachable,
    /// It answered with something wrong (a damaged key file, a link, a changed host key): what it holds is supposed.
    Failed,
}

impl Reach {
    /// Whether what the reader holds is known.
    pub fn is_read(&self) -> bool {
        *self == Self::Read
    }
}

/// One reader and the identities found on it.
#[derive(Debug, Clone)]
pub struct TargetFacts {
    /// Its name in the topology.
    pub name: String,
    /// Host or cluster.
    pub kind: ReaderKind,
    /// Its zone.
    pub zone: String,
    /// The recipients of the identities it holds; empty for a reader that could not be read.
    pub held: Vec<Recipient>,
    /// Whether it could be read.
    pub reach: Reach,
    /// Whether it declares where its deployed revision can be looked at.
    pub declares_clones: bool,
}

/// The state of the files before a delivery, for undo. Paths are relative to the target's root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The files that were there.
    pub files: BTreeMap<String, FileBefore>,
    /// The folders on the way that were not, outermost first.
    pub absent_folders: Vec<String>,
    /// The generation that had written there last; none if none had, or to forget it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Mark>,
}

/// One file before a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBefore {
    /// Its permission bits.
    pub mode: u32,
    /// Whether its last line ended in a line break.
    pub final_newline: bool,
}
