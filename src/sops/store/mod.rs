//! Stores: one file format each, parse and emit.
//!
//! A store knows syntax only. It tells leaves from comments and finds the metadata; it encrypts nothing and decides
//! no type by guess beyond what its format says.

use std::ops::Range;

use crate::secret::SecretBytes;
use crate::sops::tree::{Mapping, Node, Tree};

pub mod binary;
pub mod detect;
pub mod dotenv;
pub mod error;
pub mod ini;
mod ini_scan;
mod ini_text;
pub mod json;
mod json_text;
pub mod number;
pub mod splice;
pub mod yaml;

pub use error::StoreError;
pub use splice::Splice;

/// The five file formats of SOPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Store {
    /// `.yaml`, `.yml`; several documents.
    Yaml,
    /// `.json`.
    Json,
    /// `.env`.
    Dotenv,
    /// `.ini`.
    Ini,
    /// Anything else: the whole file is one leaf in a JSON wrapper.
    Binary,
}

/// A file as a store read it.
#[derive(Debug)]
pub struct Parsed {
    /// The data, without metadata.
    pub tree: Tree,
    /// The `sops` block of the first document as a plain ordered tree (flattened forms are unflattened); none if absent.
    pub metadata: Option<Mapping>,
    /// Where the metadata stands in the source, one range per copy (YAML repeats it in each document; in dotenv and
    /// INI, one range per line).
    pub metadata_places: Vec<Range<usize>>,
}

/// How a store prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmitOptions {
    /// `stores.yaml.indent`; none means 4.
    pub yaml_indent: Option<i64>,
    /// `stores.json.indent`; none means tabs (-1).
    pub json_indent: Option<i64>,
    /// `stores.json_binary.indent`; none means tabs (-1).
    pub json_binary_indent: Option<i64>,
}

impl Store {
    /// The store that sops takes for a path: by its suffix, case-sensitive; anything unknown is binary.
    ///
    /// Source: sops 3.11.0 `cmd/sops/formats/formats.go`.
    pub fn for_path(path: &str) -> Self {
        if path.ends_with(".yaml") || path.ends_with(".yml") {
            Self::Yaml
        } else if path.ends_with(".json") {
            Self::Json
        } else if path.ends_with(".env") {
            Self::Dotenv
        } else if path.ends_with(".ini") {
            Self::Ini
        } else {
            Self::Binary
        }
    }

    /// The store of `--input-type` and `--output-type`; none for an unknown word.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "yaml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "dotenv" => Some(Self::Dotenv),
            "ini" => Some(Self::Ini),
            "binary" => Some(Self::Binary),
            _ => None,
        }
    }

    /// The word for it, as in `--input-type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Dotenv => "dotenv",
            Self::Ini => "ini",
            Self::Binary => "binary",
        }
    }
}

/// Reads an encrypted file (or, binary aside, any file) of this format.
///
/// # Errors
/// [`StoreError`] if the text does not follow the format, or SOPS cannot hold it.
pub fn parse(store: Store, source: &[u8]) -> Result<Parsed, StoreError> {
    match store {
        Store::Yaml => yaml::parse(source),
        Store::Json => json::parse(source),
        Store::Dotenv => dotenv::parse(source),
        Store::Ini => ini::parse(source),
        Store::Binary => binary::parse(source),
    }
}

/// Reads a plain file of this format: as [`parse`], but any bytes are a binary file.
///
/// # Errors
/// As [`parse`].
pub fn parse_plain(store: Store, source: &[u8]) -> Result<Parsed, StoreError> {
    match store {
        Store::Binary => Ok(binary::parse_plain(source)),
        other => parse(other, source),
    }
}

/// Prints a tree as sops does: with metadata, the encrypted file; without, the plain one.
///
/// # Errors
/// [`StoreError::NotPrintable`] if the format has no way to say it.
pub fn emit(
    store: Store,
    tree: &Tree,
    metadata: Option<&Mapping>,
    options: &EmitOptions,
) -> Result<SecretBytes, StoreError> {
    match store {
        Store::Yaml => yaml::emit(tree, metadata, options),
        Store::Json => json::emit(tree, metadata, options.json_indent),
        Store::Dotenv => dotenv::emit(tree, metadata),
        Store::Ini => ini::emit(tree, metadata),
        Store::Binary => binary::emit(tree, metadata, options),
    }
}

/// Prints one value, as `--extract` does for anything but a string.
///
/// # Errors
/// [`StoreError::NotPrintable`] if the format has no way to say it.
pub fn emit_node(
    store: Store,
    node: &Node,
    options: &EmitOptions,
) -> Result<SecretBytes, StoreError> {
    match store {
        Store::Yaml => yaml::emit_node(node, options),
        Store::Json => json::emit_node(node, options.json_indent),
        Store::Binary => json::emit_node(node, options.json_binary_indent),
        Store::Dotenv | Store::Ini => Err(StoreError::not_printable(
            store,
            "this format holds whole files only, no single values",
        )),
    }
}

/// The replacements that turn the metadata of `source` into `metadata` and leave everything else alone.
///
/// # Errors
/// [`StoreError`] if the metadata cannot be said in this format.
pub fn metadata_splices(
    store: Store,
    source: &[u8],
    parsed: &Parsed,
    metadata: &Mapping,
) -> Result<Vec<Splice>, StoreError> {
    match store {
        Store::Yaml => yaml::metadata_splices(source, parsed, metadata),
        Store::Json | Store::Binary => json::metadata_splices(source, parsed, metadata),
        Store::Dotenv => dotenv::metadata_splices(source, parsed, metadata),
        Store::Ini => ini::metadata_splices(source, parsed, metadata),
    }
}

/// The text that stands for a whole scalar if its token cannot be replaced in place.
pub fn scalar_text(store: Store, token: &str) -> Vec<u8> {
    match store {
        Store::Yaml | Store::Json | Store::Binary => format!("\"{token}\"").into_bytes(),
        Store::Dotenv | Store::Ini => token.as_bytes().to_vec(),
    }
}
