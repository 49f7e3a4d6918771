//! Hosts and clusters (edge): what identities they hold, deliveries, proofs, withdrawals.
//!
//! One small trait, [`Target`]; so far targets are directories that stand for a host's root or a cluster's Secrets.
//! A target only does what it is told: which identity goes where, and when, is the plan's.

pub mod challenge;
pub mod directory;
mod directory_cluster;
mod directory_host;
mod target;

pub use crate::inventory::{Before, FileBefore};
pub use challenge::{Answer, Challenge, Question};
pub use directory::local_target;
pub use directory_cluster::DirectoryCluster;
pub use directory_host::DirectoryHost;
pub use target::{
    Delivered, Held, Permission, PermissionFinding, Receipt, Target, TargetError, TargetKind,
    Withdrawn,
};
