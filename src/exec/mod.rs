//! Plaintext for programs, from memory only (edge): a child's environment, files in a memory-backed folder, and what the
//! child prints with the values masked.
//!
//! Nothing here decrypts: it is given named secret bytes, and sees to it that they reach the child, no disk, and nobody
//! else. `environment` decides what becomes a variable; `child` starts the program and `supervisor` looks after it;
//! `guard` ends it and wipes if the supervisor is killed; `place` finds memory, `folder` keeps files there for a run,
//! `resident` for as long as the machine is on, `links` leads to them; `patterns` and `masking` find values in output, `compose`
//! takes them out of a project that compose prints; `compose_command` tells its calls, `compose_project` what
//! would outlive a run, `digest` what changed since another. Linux only, but for the masking.

#[cfg(target_os = "linux")]
pub mod child;
pub mod compose;
pub mod compose_command;
pub mod compose_project;
#[cfg(unix)]
pub mod digest;
pub mod environment;
#[cfg(target_os = "linux")]
pub mod folder;
#[cfg(target_os = "linux")]
mod generation;
#[cfg(target_os = "linux")]
pub mod guard;
#[cfg(target_os = "linux")]
pub mod hardening;
#[cfg(target_os = "linux")]
pub mod links;
pub mod masking;
pub mod output;
pub mod patterns;
#[cfg(target_os = "linux")]
pub mod place;
#[cfg(target_os = "linux")]
pub mod resident;
#[cfg(target_os = "linux")]
pub mod supervisor;

use crate::secret::SecretBytes;

/// A value with the name that the child will know it by.
#[derive(Debug)]
pub struct Named {
    /// The variable's or the file's name.
    pub name: String,
    /// The file that it came from, for messages.
    pub origin: String,
    /// The value.
    pub value: SecretBytes,
}
