//! INI: not wired in yet.

use crate::secret::SecretBytes;
use crate::sops::store::{Parsed, Splice, Store, StoreError};
use crate::sops::tree::{Mapping, Tree};

fn absent() -> StoreError {
    StoreError::Unsupported {
        store: Store::Ini,
        reason: "INI is not wired in".to_owned(),
    }
}
/// Reads.
///
/// # Errors
/// Always.
pub fn parse(_source: &[u8]) -> Result<Parsed, StoreError> {
    Err(absent())
}
/// Prints.
///
/// # Errors
/// Always.
pub fn emit(_tree: &Tree, _metadata: Option<&Mapping>) -> Result<SecretBytes, StoreError> {
    Err(absent())
}
/// Edits.
///
/// # Errors
/// Always.
pub fn metadata_splices(_s: &[u8], _p: &Parsed, _m: &Mapping) -> Result<Vec<Splice>, StoreError> {
    Err(absent())
}
