//! Runs on the sample repository: split, rotate, revoke and sync, killed, taken back, and in the way of others.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod branch;
mod canary;
mod confirmed;
mod crash;
mod digests;
mod durable_writes;
mod gate;
mod generation;
mod history_splice;
mod lagging_reader;
mod lease;
mod power_loss;
mod protocol_rules;
mod publish_is_hostile;
mod refusals;
mod remote_tip;
mod revoke;
mod runbook_files;
mod runbooks;
mod schedule;
mod split;
mod sync;
mod texts;
mod undo_races;
mod waves;
mod without;
