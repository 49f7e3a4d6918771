//! Binary: the whole file is one string under `data` in a JSON wrapper without selector.

use crate::secret::SecretBytes;
use crate::sops::store::{EmitOptions, Parsed, Store, StoreError, json};
use crate::sops::tree::{Mapping, Node, Tree};

/// Reads the JSON wrapper.
///
/// # Errors
/// As [`json::parse`].
pub fn parse(source: &[u8]) -> Result<Parsed, StoreError> {
    json::parse(source)
}

/// Takes any octets as the one leaf.
pub fn parse_plain(source: &[u8]) -> Parsed {
    let mut mapping = Mapping::default();
    mapping.push("data", Node::text(source));
    Parsed {
        tree: Tree {
            documents: vec![mapping],
        },
        metadata: None,
        metadata_places: Vec::new(),
    }
}

/// Prints the wrapper, or without metadata the octets themselves.
///
/// # Errors
/// [`StoreError::NotPrintable`] if there is no string under `data`.
pub fn emit(
    tree: &Tree,
    metadata: Option<&Mapping>,
    options: &EmitOptions,
) -> Result<SecretBytes, StoreError> {
    if metadata.is_some() {
        return json::emit(tree, metadata, options.json_binary_indent);
    }
    let data = tree.documents.first().and_then(|d| d.get("data"));
    match data {
        Some(Node::Leaf(leaf)) if leaf.value.as_bytes().is_some() => Ok(SecretBytes::from_slice(
            leaf.value.as_bytes().unwrap_or_default(),
        )),
        _ => Err(StoreError::not_printable(
            Store::Binary,
            "there is no text under the key `data`; name another --output-type",
        )),
    }
}
