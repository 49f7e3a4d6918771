//! Readers: hosts behind real sshds, clusters behind a real kubectl.

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
