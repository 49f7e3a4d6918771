//! Documents, keys and rules: the SOPS engine beside real sops and age.

#[path = "../support/mod.rs"]
mod support;

mod interop;
mod interop_cli;
mod yaml_printed;
mod rules_sops;
mod keys_interop;
mod keys_plugin;
mod keystore_lookup;
mod recovery;
mod redact;
