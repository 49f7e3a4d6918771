//! The SOPS file format: documents, their leaves, selection, MAC and metadata, and the five stores.
//!
//! Native: nothing here calls `sops`. Edits are made in the bytes of the file, never by way of a value tree.

pub mod cipher;
pub mod ciphertext;
pub mod flatten;
pub mod leaf;
pub mod mac;
pub mod selection;
pub mod store;
pub mod time_text;
pub mod tree;
