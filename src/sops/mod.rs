//! The SOPS file format: documents, their leaves, selection, MAC and metadata, and the five stores.
//!
//! Native: nothing here calls `sops`. Edits are made in the bytes of the file, never by way of a value tree.

pub mod flatten;
pub mod store;
pub mod tree;
