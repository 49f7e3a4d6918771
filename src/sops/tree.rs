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

impl Value {
    /// A string leaf.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::Str(SecretBytes::from_slice(text.as_ref()))
    }

    /// The octets of a string; none for other types.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Str(bytes) => Some(bytes.expose()),
            _ => None,
        }
    }

    /// A second wiped copy, on purpose.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Null => Self::Null,
            Self::Str(bytes) => Self::Str(bytes.duplicate()),
            Self::Int(n) => Self::Int(*n),
            Self::Float(x) => Self::Float(*x),
            Self::Bool(b) => Self::Bool(*b),
            Self::Time(text) => Self::Time(text.duplicate()),
        }
    }

    /// Whether both are the same value of the same type; NaN equals NaN, 0 differs from -0.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => {
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
            }
            _ => self == other,
        }
    }
}

impl Node {
    /// A string leaf that stands nowhere yet.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::Leaf(Leaf::made(Value::text(text)))
    }

    /// The string, if this is a string leaf and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Leaf(leaf) => std::str::from_utf8(leaf.value.as_bytes()?).ok(),
            _ => None,
        }
    }

    /// A second wiped copy, on purpose; places are kept.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Mapping(mapping) => Self::Mapping(mapping.duplicate()),
            Self::List(list) => Self::List(list.duplicate()),
            Self::Leaf(leaf) => Self::Leaf(Leaf {
                value: leaf.value.duplicate(),
                place: leaf.place.clone(),
            }),
        }
    }
}

impl Comment {
    /// A second wiped copy, on purpose; the place is kept.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            text: self.text.duplicate(),
            place: self.place.clone(),
            inline: self.inline,
        }
    }
}

impl List {
    /// A second wiped copy, on purpose; places are kept.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let items = self.items.iter().map(|item| match item {
            ListItem::Comment(comment) => ListItem::Comment(comment.duplicate()),
            ListItem::Node(node) => ListItem::Node(node.duplicate()),
        });
        Self {
            items: items.collect(),
        }
    }

    /// The items that are values.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.items.iter().filter_map(|item| match item {
            ListItem::Node(node) => Some(node),
            ListItem::Comment(_) => None,
        })
    }
}

impl Mapping {
    /// A second wiped copy, on purpose; places are kept.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let items = self.items.iter().map(|item| match item {
            MappingItem::Comment(comment) => MappingItem::Comment(comment.duplicate()),
            MappingItem::Entry(entry) => MappingItem::Entry(Entry {
                key: entry.key.clone(),
                value: entry.value.duplicate(),
            }),
        });
        Self {
            items: items.collect(),
        }
    }

    /// The entries, comments left out.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.items.iter().filter_map(|item| match item {
            MappingItem::Entry(entry) => Some(entry),
            MappingItem::Comment(_) => None,
        })
    }

    /// The value of the first entry with this key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The same, for change in place.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.items.iter_mut().find_map(|item| match item {
            MappingItem::Entry(entry) if entry.key == key => Some(&mut entry.value),
            _ => None,
        })
    }

    /// Adds an entry behind all others.
    pub fn push(&mut self, key: impl Into<String>, value: Node) {
        self.items.push(MappingItem::Entry(Entry {
            key: key.into(),
            value,
        }));
    }
}
