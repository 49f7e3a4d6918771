//! YAML as sops reads and prints it: go-yaml v3's grammar, comments and types, and its printed form.
//!
//! Which comment becomes which item of the tree decides under which path it is encrypted, and go-yaml decides that in
//! the state of its scanner. So scanner, parser and emitter here are ports of go-yaml's, with octet positions added:
//! `scan`, `parse`, `compose` and `convert` lead to the tree, `emit` leads back.
//!
//! Places: a leaf's is that of its scalar without tag or anchor; quotes belong to it, and of a block scalar the header
//! and everything up to its last line of text, without that line's break. A value that is not written, a tagged one,
//! or a block scalar with a comment in its header has none. A file with aliases or in UTF-16 has no places at all.

mod buffer;
mod chars;
mod compose;
mod convert;
mod emit;
mod fault;
mod parse;
mod resolve;
mod scan;
mod source;
mod splices;
mod timestamp;

use self::compose::Composer;
use self::convert::Converter;
use self::fault::{Fault, FaultKind};
use self::parse::Parser;
use self::scan::Scanner;
use crate::secret::SecretBytes;
use crate::sops::store::{EmitOptions, Parsed, Splice, Store, StoreError};
use crate::sops::tree::{Entry, List, ListItem, Mapping, MappingItem, Node, Tree};

/// Indentation where nothing else is asked for.
const DEFAULT_INDENT: usize = 4;

/// Reads a YAML stream, plain or encrypted.
///
/// # Errors
/// [`StoreError::Malformed`] if sops cannot read it, [`StoreError::Refused`] if sops can read but not hold it,
/// [`StoreError::BadMetadata`] if a `sops` entry stands where none may or is no mapping.
pub fn parse(source: &[u8]) -> Result<Parsed, StoreError> {
    read(source).map_err(store_error)
}

fn read(file: &[u8]) -> Result<Parsed, Fault> {
    let source = source::decode(file)?;
    let mut composer = Composer::new(Parser::new(Scanner::new(&source.text, source.start)));
    let mut documents = Vec::new();
    while let Some(document) = composer.document()? {
        documents.push(document);
    }
    let end = scan::Mark::default();
    if documents.is_empty() {
        return Err(Fault::at(end, "no document, only comments or nothing"));
    }
    let mut converter = Converter {
        source: &source.text,
        nodes: &composer.nodes,
        places: source.in_place && !composer.aliased,
        copying: 0,
        copied: 0,
    };
    let mut parsed = Parsed {
        tree: Tree::default(),
        metadata: None,
        metadata_places: Vec::new(),
    };
    for (index, id) in documents.into_iter().enumerate() {
        let document = converter.document(id, index == 0)?;
        parsed.tree.documents.push(document.data);
        for entry in document.metadata {
            if index == 0 {
                parsed.metadata = entry.value;
            }
            if parsed.metadata.is_none() {
                return Err(Fault::of(entry.mark, FaultKind::ReservedKey));
            }
            if source.in_place {
                parsed.metadata_places.extend(entry.place);
            }
        }
    }
    Ok(parsed)
}

/// Prints a tree as YAML, the metadata at the end of each document.
///
/// # Errors
/// [`StoreError::NotPrintable`] if a negative indentation is asked for.
pub fn emit(
    tree: &Tree,
    metadata: Option<&Mapping>,
    options: &EmitOptions,
) -> Result<SecretBytes, StoreError> {
    let indent = indentation(options.yaml_indent)?;
    let metadata = metadata.map(metadata_entry);
    Ok(emit::documents(&tree.documents, metadata.as_ref(), indent))
}

/// Prints one value, with the default indentation whatever the options say, as sops does.
///
/// # Errors
/// None yet.
pub fn emit_node(node: &Node, _options: &EmitOptions) -> Result<SecretBytes, StoreError> {
    Ok(emit::single(node, DEFAULT_INDENT))
}

/// The replacements that put `metadata` in the place of each copy in `source`, with the copy's own indentation.
///
/// # Errors
/// [`StoreError::BadMetadata`] if there is none, [`StoreError::Unsupported`] if a copy is not written as a block of
/// its own at the left margin.
pub fn metadata_splices(
    source: &[u8],
    parsed: &Parsed,
    metadata: &Mapping,
) -> Result<Vec<Splice>, StoreError> {
    splices::metadata(source, parsed, metadata)
}

/// The indentation go-yaml uses for a setting.
fn indentation(setting: Option<i64>) -> Result<usize, StoreError> {
    match setting {
        None | Some(0) => Ok(DEFAULT_INDENT),
        Some(indent @ 2..=9) => Ok(usize::try_from(indent).unwrap_or(DEFAULT_INDENT)),
        Some(indent) if indent < 0 => Err(StoreError::not_printable(
            Store::Yaml,
            "a negative indentation",
        )),
        Some(_) => Ok(2),
    }
}

fn metadata_entry(metadata: &Mapping) -> Entry {
    Entry {
        key: "sops".to_owned(),
        value: Node::Mapping(copy_mapping(metadata)),
    }
}

fn copy_mapping(mapping: &Mapping) -> Mapping {
    let items = mapping.items.iter().filter_map(|item| match item {
        MappingItem::Comment(_) => None,
        MappingItem::Entry(entry) => Some(MappingItem::Entry(Entry {
            key: entry.key.clone(),
            value: copy_node(&entry.value),
        })),
    });
    Mapping {
        items: items.collect(),
    }
}

fn copy_node(node: &Node) -> Node {
    use crate::sops::tree::{Leaf, Value};
    match node {
        Node::Mapping(mapping) => Node::Mapping(copy_mapping(mapping)),
        Node::List(list) => Node::List(List {
            items: list
                .items
                .iter()
                .filter_map(|item| match item {
                    ListItem::Comment(_) => None,
                    ListItem::Node(node) => Some(ListItem::Node(copy_node(node))),
                })
                .collect(),
        }),
        Node::Leaf(leaf) => Node::Leaf(Leaf::made(match &leaf.value {
            Value::Null => Value::Null,
            Value::Str(text) => Value::Str(text.duplicate()),
            Value::Int(value) => Value::Int(*value),
            Value::Float(value) => Value::Float(*value),
            Value::Bool(value) => Value::Bool(*value),
            Value::Time(time) => Value::Time(time.duplicate()),
        })),
    }
}

fn store_error(fault: Fault) -> StoreError {
    let Fault { line, column, kind } = fault;
    match kind {
        FaultKind::Malformed(reason) => StoreError::Malformed {
            store: Store::Yaml,
            line,
            reason: format!("{reason} (column {column})"),
        },
        FaultKind::Unsupported(reason) => StoreError::Refused {
            store: Store::Yaml,
            line,
            reason: format!("{reason} (column {column})"),
        },
        FaultKind::ReservedKey => StoreError::BadMetadata {
            reason: format!(
                "on line {line}: it is no mapping, or stands in a later document alone"
            ),
        },
    }
}

#[cfg(test)]
mod tests;
