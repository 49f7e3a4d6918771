//! The SOPS file format: documents, their leaves, selection, MAC and metadata, and the five stores.
//!
//! Native: nothing here calls `sops`. Edits are made in the bytes of the file, never by way of a value tree.

pub mod cipher;
pub mod ciphertext;
pub mod document;
pub mod encrypt;
pub mod extract;
pub mod flatten;
pub mod key_group;
pub mod leaf;
pub mod leaves;
pub mod mac;
pub mod metadata;
pub mod open;
#[cfg(test)]
mod properties_tests;
pub mod rewrite;
pub mod selection;
pub mod store;
pub mod time_text;
pub mod tree;
pub mod verified;

pub use document::{Document, DocumentError};
pub use encrypt::{EncryptOptions, Encrypted, encrypt};
pub use rewrite::{NewKeys, NewRecipients, Renewed};
pub use selection::{Selection, Selector};
pub use store::{EmitOptions, Store};
pub use verified::{Unverified, Verified};
