//! Readers: hosts behind real sshds, clusters behind a real kubectl.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

#[path = "../support/mod.rs"]
mod support;

mod fleet_ssh;
mod kubernetes;
mod kubernetes_flux;
mod kubernetes_runs;
mod planted_copies;
mod ship_and_prove;
mod ssh;
mod ssh_answers;
mod ssh_clones;
mod ssh_kills;
mod ssh_reader;
