//! What a store reads from a file: ordered mappings, lists, leaves and comments, each with its place in the source.
//!
//! The same tree holds ciphertext (leaves are `Str` tokens, `ENC[…]`) and plaintext. Metadata is not part of it.
//! In an encrypted tree a comment of a list stands as a `Str` leaf (`- ENC[…,type:comment]`), as sops writes it;
//! turning it into a comment and back is the work of `document`, not of a store.

use std::ops::Range;

use crate::secret::SecretBytes;

/// All documents of one file, in order; only YAML has more than one.
#[derive(Debug, Default)]
pub struct Tree {
    /// At least one for a file that parsed.
    pub documents: Vec<Mapping>,
}

/// An ordered mapping with its comments; keys need not be unique (dotenv, JSON, later YAML documents).
#[derive(Debug, Default)]
pub struct Mapping {
    /// Entries and comments in the order of the file.
    pub items: Vec<MappingItem>,
}

/// What stands in a mapping.
#[derive(Debug)]
pub enum MappingItem {
    /// A comment where a key could stand.
    Comment(Comment),
    /// A key and its value.
    Entry(Entry),
}

/// A key and its value.
#[derive(Debug)]
pub struct Entry {
    /// The key, decoded (unquoted, unescaped).
    pub key: String,
    /// Its value.
    pub value: Node,
}

/// A value: inner node or leaf.
#[derive(Debug)]
pub enum Node {
    /// An ordered mapping.
    Mapping(Mapping),
    /// A list.
    List(List),
    /// A scalar.
    Leaf(Leaf),
}

/// A list with its comments.
#[derive(Debug, Default)]
pub struct List {
    /// Items and comments in the order of the file.
    pub items: Vec<ListItem>,
}

/// What stands in a list.
#[derive(Debug)]
pub enum ListItem {
    /// A comment where an item could stand.
    Comment(Comment),
    /// An item.
    Node(Node),
}

/// A scalar and where it stands.
#[derive(Debug)]
pub struct Leaf {
    /// The typed value.
    pub value: Value,
    /// The bytes of the source that spell the scalar, quotes and block header included; none for a made-up leaf.
    pub place: Option<Range<usize>>,
}

/// A comment line and where it stands.
#[derive(Debug)]
pub struct Comment {
    /// The text after the comment sign, leading blank included (INI: see the store).
    pub text: SecretBytes,
    /// The bytes of the source that spell the comment, its sign (`#`) included; none for a made-up comment.
    pub place: Option<Range<usize>>,
    /// Whether it stood behind a value on the same line.
    pub inline: bool,
}

/// A typed scalar. Wiped on drop where it holds text.
#[derive(Debug, PartialEq)]
pub enum Value {
    /// `null`: never encrypted, never hashed.
    Null,
    /// Text or raw octets.
    Str(SecretBytes),
    /// A signed 64-bit integer.
    Int(i64),
    /// A binary64 number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A point in time, as canonical RFC 3339 text with nanoseconds as needed and the offset as written (`Z` for UTC).
    Time(SecretBytes),
}

impl Leaf {
    /// A leaf that stands nowhere yet.
    pub fn made(value: Value) -> Self {
        Self { value, place: None }
    }
}
