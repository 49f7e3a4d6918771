//! Cofferdam: a secrets lifecycle manager for GitOps repositories encrypted with SOPS and age.
//!
//! The pure core takes values and returns values; the edges (`repo`, `keystore`, `fleet`, `exec`, `apply`, `cli`) do
//! the input and output. ARCHITECTURE.md holds the module map and the invariants.

pub mod apply;
pub mod cli;
pub mod command_words;
pub mod evidence;
pub mod exec;
pub mod exposure;
pub mod fleet;
pub mod inventory;
pub mod journal;
pub mod keys;
pub mod keystore;
pub mod leaks;
pub mod ledger;
pub mod migration;
pub mod plan;
pub mod policy;
pub mod re2;
pub mod recovery;
pub mod repo;
pub mod repo_path;
pub mod report;
pub mod rules;
pub mod runbook;
pub mod secret;
pub mod selector;
pub mod shamir;
pub mod sops;
pub mod topology;
