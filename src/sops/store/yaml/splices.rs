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
            // Sops itself prints a comment here now and then, which it took from the list before.
            let comments = head_comments(old);
            let mut text = block.expose().clone();
            if text.starts_with(HEAD) {
                text.splice(HEAD.len()..HEAD.len(), comments);
            }
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

/// The block's first line.
const HEAD: &[u8] = b"sops:\n";

/// The comment lines right below the first line, each with a plain line break.
fn head_comments(block: &[u8]) -> Vec<u8> {
    let mut comments = Vec::new();
    for line in block.split(|octet| *octet == b'\n').skip(1) {
        if !line.trim_ascii_start().starts_with(b"#") {
            break;
        }
        comments.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        comments.push(b'\n');
    }
    comments
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
