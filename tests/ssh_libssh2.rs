//! The tests of hosts by SSH once more, over the library libssh2: the name of this binary chooses it
//! (`support::bench::transport`).

#![cfg(feature = "libssh2")]

#[path = "ssh.rs"]
mod hosts;

#[path = "ssh_clones.rs"]
mod clones;
