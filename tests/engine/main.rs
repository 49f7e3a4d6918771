//! Documents, keys and rules: the SOPS engine beside real sops and age.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

#[path = "../support/mod.rs"]
mod support;

mod interop;
mod interop_cli;
mod keys_interop;
mod keys_plugin;
mod keystore_lookup;
mod recovery;
mod redact;
mod rules_sops;
mod yaml_printed;
