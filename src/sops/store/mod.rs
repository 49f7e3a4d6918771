//! Stores: one file format each, parse and emit.
//!
//! A store knows syntax only. It tells leaves from comments and finds the metadata; it encrypts nothing and decides
//! no type by guess beyond what its format says.

use std::ops::Range;

use crate::sops::tree::{Mapping, Tree};

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
    /// Where the metadata stands in the source, one range per copy (YAML repeats it in each document).
    pub metadata_places: Vec<Range<usize>>,
}

/// A replacement of bytes of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The bytes to replace.
    pub range: Range<usize>,
    /// What takes their place.
    pub text: Vec<u8>,
}

/// How a store prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmitOptions {
    /// `stores.yaml.indent`; none means 4.
    pub yaml_indent: Option<i64>,
    /// `stores.json.indent`; none means tabs (-1).
    pub json_indent: Option<i64>,
}
