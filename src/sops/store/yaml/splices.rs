//! Replacing the metadata in a file and nothing else.

use super::{DEFAULT_INDENT, emit, metadata_entry};
use crate::sops::store::{Parsed, Splice, Store, StoreError};
use crate::sops::tree::Mapping;

/// One replacement per copy.
pub(super) fn metadata(
    source: &[u8],
    parsed: &Parsed,
    metadata: &Mapping,
) -> Result<Vec<Splice>, StoreError> {
    if parsed.metadata.is_none() {
        return Err(StoreError::BadMetadata {
            reason: "there is none to replace".to_owned(),
        });
    }
    if parsed.metadata_places.is_empty() {
        return Err(StoreError::Unsupported {
            store: Store::Yaml,
            reason: "the `sops` entry is not a block of its own at the left margin".to_owned(),
        });
    }
    let entry = metadata_entry(metadata);
    parsed
        .metadata_places
        .iter()
        .map(|range| {
            let old = source
                .get(range.clone())
                .ok_or_else(|| StoreError::Unsupported {
                    store: Store::Yaml,
                    reason: "the metadata does not stand where it was found".to_owned(),
                })?;
            let block = emit::documents(&[Mapping::default()], Some(&entry), indent_of(old));
            let mut text = block.expose().clone();
            if !old.ends_with(b"\n") {
                text.pop();
            }
            if old.windows(2).any(|pair| pair == b"\r\n") {
                text = text
                    .iter()
                    .fold(Vec::with_capacity(text.len() + 64), |mut text, octet| {
                        if *octet == b'\n' {
                            text.push(b'\r');
                        }
                        text.push(*octet);
                        text
                    });
            }
            Ok(Splice {
                range: range.clone(),
                text,
            })
        })
        .collect()
}

/// The indentation of the first line inside the block.
fn indent_of(block: &[u8]) -> usize {
    let inside = block
        .split(|octet| *octet == b'\n')
        .skip(1)
        .map(|line| {
            (
                line.iter().take_while(|octet| **octet == b' ').count(),
                line.trim_ascii(),
            )
        })
        .find(|(_, text)| !text.is_empty() && !text.starts_with(b"#"));
    match inside {
        Some((indent @ 2..=9, _)) => indent,
        _ => DEFAULT_INDENT,
    }
}
