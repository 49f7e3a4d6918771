//! What a reader holds, as read from it.

use serde::{Deserialize, Serialize};

use crate::keys::Recipient;

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
