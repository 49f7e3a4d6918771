//! What is told without running anything: init, check, exposure, why.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod check_fix;
mod exposure;
mod hooks;
mod init;
mod init_trees;
mod odd_repositories;
mod policies;
mod why;
