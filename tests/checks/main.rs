//! What is told without running anything: init, check, exposure, why.

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
