//! Hosts and clusters (edge): what identities they hold, deliveries, proofs, withdrawals.
//!
//! One small trait, [`Target`]: directories that stand for a host's root or a cluster's Secrets, hosts reached by the
//! system's `ssh`, and clusters reached by the user's `kubectl`.
//! A target only does what it is told: which identity goes where, and when, is the plan's.

mod abreast;
pub mod challenge;
mod deployed;
pub mod directory;
mod directory_cluster;
mod directory_host;
mod generation;
pub mod kubernetes;
mod reconciled;
pub mod ssh;
mod target;

pub use crate::inventory::{Before, FileBefore};
pub use abreast::{abreast, abreast_telling};
pub use challenge::{Answer, Challenge, Question};
pub use deployed::{Deployed, DeployedClone};
pub use directory::local_target;
pub use directory_cluster::DirectoryCluster;
pub use directory_host::DirectoryHost;
pub use kubernetes::{KubectlProgram, KubernetesCluster};
pub use reconciled::Reconciliation;
pub use ssh::{SshHost, SshProgram};
pub use target::{
    Delivered, Held, Permission, PermissionFinding, Receipt, Target, TargetError, TargetKind,
    Withdrawn,
};
