//! Plaintext for programs: exec, unseal and what runs around them.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

#[path = "../support/mod.rs"]
mod support;

mod exec_compose;
mod exec_dockerd;
mod exec_env;
mod exec_files;
mod exec_kills;
mod exec_mounts;
mod leaks;
mod migrate_komodo;
mod preflight;
mod resident_dockerd;
mod static_build;
mod unseal;
