//! The tests of hosts by SSH once more, over the library libssh2: the name of this binary chooses it
//! (`support::bench::transport`).

#![cfg(feature = "libssh2")]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

#[path = "../support/mod.rs"]
mod support;

mod logins;

#[path = "../fleet/fleet_ssh.rs"]
mod fleet_ssh;
#[path = "../fleet/planted_copies.rs"]
mod planted_copies;
#[path = "../fleet/ssh.rs"]
mod ssh;
#[path = "../fleet/ssh_clones.rs"]
mod ssh_clones;
#[path = "../fleet/ssh_kills.rs"]
mod ssh_kills;
