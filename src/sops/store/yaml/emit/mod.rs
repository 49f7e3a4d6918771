//! The emitter: a tree to text, octet for octet as sops 3.11 prints it.
//!
//! A port of the block-style part of go-yaml v3's `emitterc.go` (3.0.1), together with how sops hands comments to it.
//! See `NOTICE` beside this folder for go-yaml's licence.

mod analysis;
mod scalar;
mod writer;

use super::buffer::Buffer;
use crate::secret::SecretBytes;
use crate::sops::tree::{Comment, Entry, ListItem, Mapping, MappingItem, Node};
use scalar::Form;
use writer::Writer;

/// Prints documents one after another, `metadata` as the last entry of each.
pub(super) fn documents(
    documents: &[Mapping],
    metadata: Option<&Entry>,
    indent: usize,
) -> SecretBytes {
    let mut emitter = Emitter {
        writer: Writer::new(indent),
    };
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            emitter.writer.document_separator();
        }
        emitter.root(&Value::Mapping(&document.items, metadata));
    }
    emitter.writer.finish()
}

/// Prints one value as a document of its own.
pub(super) fn single(node: &Node, indent: usize) -> SecretBytes {
    let mut emitter = Emitter {
        writer: Writer::new(indent),
    };
    emitter.root(&Value::of(node));
    emitter.writer.finish()
}

/// A node as it is printed: a mapping may have one entry more than it holds.
enum Value<'t> {
    Mapping(&'t [MappingItem], Option<&'t Entry>),
    List(&'t [ListItem]),
    Leaf(&'t crate::sops::tree::Value),
}

impl<'t> Value<'t> {
    fn of(node: &'t Node) -> Self {
        match node {
            Node::Mapping(mapping) => Self::Mapping(&mapping.items, None),
            Node::List(list) => Self::List(&list.items),
            Node::Leaf(leaf) => Self::Leaf(&leaf.value),
        }
    }

    /// The comments that stand before the first entry: they become the head of the collection itself.
    fn own_head(&self) -> Buffer {
        match self {
            Self::Mapping(items, _) => joined(items.iter().map_while(map_comment)),
            Self::List(items) => joined(items.iter().map_while(list_comment)),
            Self::Leaf(_) => Buffer::default(),
        }
    }
}

fn map_comment(item: &MappingItem) -> Option<&Comment> {
    match item {
        MappingItem::Comment(comment) => Some(comment),
        MappingItem::Entry(_) => None,
    }
}

fn list_comment(item: &ListItem) -> Option<&Comment> {
    match item {
        ListItem::Comment(comment) => Some(comment),
        ListItem::Node(_) => None,
    }
}

/// `#a⏎#b` for the comments `a` and `b`.
fn joined<'t>(comments: impl Iterator<Item = &'t Comment>) -> Buffer {
    let mut text = Buffer::default();
    for comment in comments {
        append_comment(&mut text, comment);
    }
    text
}

fn append_comment(text: &mut Buffer, comment: &Comment) {
    text.extend(if text.is_empty() { b"#" } else { b"\n#" });
    text.extend(comment.text.expose());
}

/// Puts the comments before an item above those the item brings itself.
fn stacked(mut above: Buffer, own: &Buffer) -> Buffer {
    if !above.is_empty() && !own.is_empty() {
        above.push(b'\n');
    }
    above.extend(own.as_slice());
    above
}

/// Entries or items with the comments above each, those of the first aside, and the comments after the last.
struct Gathered<T> {
    entries: Vec<(Buffer, T)>,
    rest: Buffer,
}

impl<T> Gathered<T> {
    fn new() -> Self {
        Self {
            entries: Vec::new(),
            rest: Buffer::default(),
        }
    }

    fn comment(&mut self, comment: &Comment) {
        append_comment(&mut self.rest, comment);
    }

    fn entry(&mut self, entry: T) {
        let above = std::mem::take(&mut self.rest);
        // What stands before the first entry is the head of the collection.
        let above = if self.entries.is_empty() {
            Buffer::default()
        } else {
            above
        };
        self.entries.push((above, entry));
    }
}

/// Prints nodes in the order of go-yaml's events. A comment is announced with the event that brings it and printed
/// when the writer comes to a place for one, which may be much later; a newer one of the same kind displaces it.
struct Emitter {
    writer: Writer,
}

impl Emitter {
    fn root(&mut self, value: &Value<'_>) {
        self.writer.announce_head(value.own_head());
        self.writer.head_comment();
        self.value(value, false, Buffer::default());
        self.writer.end_document();
    }

    /// Prints a value whose head has been announced; `in_list` if it stands behind a dash.
    fn value(&mut self, value: &Value<'_>, in_list: bool, foot: Buffer) {
        match value {
            Value::Leaf(leaf) => {
                self.writer.announce_foot(foot);
                self.writer.scalar(&Form::of(leaf), in_list, false);
                self.writer.foot_comment();
            }
            Value::List(items) => self.list(items, in_list, foot),
            Value::Mapping(items, last) => self.mapping(items, *last, in_list, foot),
        }
    }

    fn list(&mut self, items: &[ListItem], in_list: bool, foot: Buffer) {
        let mut gathered = Gathered::new();
        for item in items {
            match item {
                ListItem::Comment(comment) => gathered.comment(comment),
                ListItem::Node(node) => gathered.entry(node),
            }
        }
        self.writer.foot_comment();
        if gathered.entries.is_empty() {
            self.writer.empty_list(foot);
            return;
        }
        let outer = self.writer.increase_indent(in_list);
        let count = gathered.entries.len();
        for (index, (above, node)) in gathered.entries.into_iter().enumerate() {
            let value = Value::of(node);
            let foot = if index + 1 == count {
                std::mem::take(&mut gathered.rest)
            } else {
                Buffer::default()
            };
            self.writer.announce_head(stacked(above, &value.own_head()));
            self.writer.head_comment();
            self.writer.write_indent();
            self.writer.indicator(b"-", true, false, true);
            self.value(&value, true, foot);
        }
        self.writer.announce_foot(foot);
        self.writer.restore_indent(outer);
    }

    fn mapping(
        &mut self,
        items: &[MappingItem],
        last: Option<&Entry>,
        in_list: bool,
        foot: Buffer,
    ) {
        let mut gathered = Gathered::new();
        for item in items {
            match item {
                MappingItem::Comment(comment) => gathered.comment(comment),
                MappingItem::Entry(entry) => gathered.entry(entry),
            }
        }
        if let Some(last) = last {
            gathered.entry(last);
        }
        self.writer.foot_comment();
        if gathered.entries.is_empty() {
            self.writer.empty_mapping(in_list, foot);
            return;
        }
        let outer = self.writer.increase_indent(in_list);
        for (above, entry) in gathered.entries {
            self.entry(entry, above);
        }
        self.writer.announce_tail(gathered.rest);
        self.writer.announce_foot(foot);
        self.writer.head_comment();
        self.writer.restore_indent(outer);
    }

    fn entry(&mut self, entry: &Entry, above: Buffer) {
        self.writer.announce_head(above);
        self.writer.head_comment();
        self.writer.write_indent();
        let key = Form::of_text(entry.key.as_bytes());
        let simple = key.is_simple_key();
        let value = Value::of(&entry.value);
        if simple {
            self.writer.scalar(&key, false, true);
            self.writer.announce_head(value.own_head());
            self.writer.indicator(b":", false, false, false);
        } else {
            self.writer.indicator(b"?", true, false, true);
            self.writer.scalar(&key, false, false);
            self.writer.announce_head(value.own_head());
            self.writer.write_indent();
            self.writer.indicator(b":", true, false, true);
        }
        self.value(&value, false, Buffer::default());
    }
}
