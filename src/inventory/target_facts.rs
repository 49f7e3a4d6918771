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

/// One reader and the identities found on it.
#[derive(Debug, Clone)]
pub struct TargetFacts {
    /// Its name in the topology.
    pub name: String,
    /// Host or cluster.
    pub kind: ReaderKind,
    /// Its zone.
    pub zone: String,
    /// The recipients of the identities it holds.
    pub held: Vec<Recipient>,
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
