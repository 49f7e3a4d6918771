//! The repository on disk (edge): what files there are, writes that survive a crash, the lock, and `git`.
//!
//! Nothing here knows what a run is about: it reads and writes what it is told to.

pub mod atomic_write;
pub mod batch_write;
pub mod content;
pub mod digest_file;
pub mod durable;
pub mod git;
pub mod lock;
pub mod log_file;
pub mod recognise;
pub mod scan;
pub mod staged;
mod trace;

pub use git::{Git, GitError, Oid};
pub use lock::{LockError, RunLock};
pub use scan::{Scan, ScanError};
pub use staged::Staged;
