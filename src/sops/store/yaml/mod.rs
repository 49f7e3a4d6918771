//! YAML: not wired in yet.

use crate::secret::SecretBytes;
use crate::sops::store::{EmitOptions, Parsed, Splice, Store, StoreError};
use crate::sops::tree::{Mapping, Node, Tree};

/// Reads a YAML stream.
///
/// # Errors
/// [`StoreError`] if it is malformed or nothing SOPS can hold.
pub fn parse(_source: &[u8]) -> Result<Parsed, StoreError> {
    Err(absent())
}

/// Prints a tree as YAML, the metadata at the end of each document.
///
/// # Errors
/// [`StoreError::NotPrintable`].
pub fn emit(
    _tree: &Tree,
    _metadata: Option<&Mapping>,
    _options: &EmitOptions,
) -> Result<SecretBytes, StoreError> {
    Err(absent())
}

/// Prints one value.
///
/// # Errors
/// [`StoreError::NotPrintable`].
pub fn emit_node(_node: &Node, _options: &EmitOptions) -> Result<SecretBytes, StoreError> {
    Err(absent())
}

/// The replacements that put `metadata` in the place of each copy in `source`.
///
/// # Errors
/// [`StoreError`] if it cannot be said in the block's form.
pub fn metadata_splices(
    _source: &[u8],
    _parsed: &Parsed,
    _metadata: &Mapping,
) -> Result<Vec<Splice>, StoreError> {
    Err(absent())
}

fn absent() -> StoreError {
    StoreError::Unsupported {
        store: Store::Yaml,
        reason: "YAML is not wired in".to_owned(),
    }
}
