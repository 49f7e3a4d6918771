//! The journal of one run: what is intended, what was done. An intent log, synced before each act.
//!
//! It holds the plan, paths and digests of ciphertext; no plaintext, no identity. After a crash the executor compares
//! what is there with what the journal says and goes on; the journal is a help, the state of files, commits and targets
//! decides.

pub mod entry;
pub mod guards;
pub mod lease;
pub mod progress;

pub use entry::{Entry, Options, Outcome, ReviewBranch, RunId, Step};
pub use lease::Lease;
pub use progress::{Progress, ProgressError, Staged};
