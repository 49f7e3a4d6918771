//! What go-yaml and sops do, row by row; the expected texts were printed by sops 3.11.0.

mod comments;
mod places;
mod printing;
mod refusals;
mod types;

use super::{emit, parse};
use crate::sops::store::{EmitOptions, Parsed, StoreError};
use crate::sops::tree::{MappingItem, Node, Value};

fn parsed(text: &str) -> Parsed {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refusal(text: &str) -> StoreError {
    parse(text.as_bytes()).expect_err(text)
}

/// Reads `text` and prints it without metadata.
fn printed(text: &str) -> String {
    printed_with(text, None)
}

fn printed_with(text: &str, indent: Option<i64>) -> String {
    let options = EmitOptions {
        yaml_indent: indent,
        ..EmitOptions::default()
    };
    let bytes = emit(&parsed(text).tree, None, &options).expect("printable");
    String::from_utf8(bytes.expose().clone()).expect("UTF-8")
}

/// The value of the first key in `text`.
fn value(text: &str) -> Value {
    let tree = parsed(text).tree;
    for item in tree.documents.into_iter().next().expect("a document").items {
        if let MappingItem::Entry(entry) = item {
            return match entry.value {
                Node::Leaf(leaf) => leaf.value,
                _ => panic!("{text:?}: no leaf"),
            };
        }
    }
    panic!("{text:?}: no entry")
}
