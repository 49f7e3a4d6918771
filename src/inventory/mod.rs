//! Actual state, as plain data: what the repository holds and what readers hold. Collected by the edges.

pub mod digests;
pub mod reader_outcome;
pub mod repo_facts;
pub mod target_facts;

pub use digests::{DIGESTS_PATH, Digests, DocumentDigest};
pub use reader_outcome::ReaderOutcome;
pub use repo_facts::{Digest, DocumentFacts, RepoFacts};
pub use target_facts::{Before, FileBefore, Reach, ReaderKind, TargetFacts};
