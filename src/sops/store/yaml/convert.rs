//! Nodes to the tree: which comment becomes which item, as sops does it, and the metadata set apart.
//!
//! Source: sops 3.11.0 `stores/yaml/store.go` (`nodeToTreeValue`, `appendYamlNodeToTreeBranch`, `LoadPlainFile`,
//! `LoadEncryptedFile`).

use std::collections::HashSet;
use std::ops::Range;

use super::compose::{Kind, Node as YamlNode, NodeId, Scalar};
use super::fault::{Fault, FaultKind};
use super::resolve::{self, Refusal};
use super::scan::{Lines, MAX_DEPTH, Mark};
use crate::secret::SecretBytes;
use crate::sops::tree::{Comment, Entry, Leaf, List, ListItem, Mapping, MappingItem, Node, Value};

/// How many nodes aliases may add; go-yaml stops at about twice that.
const MAX_COPIED: usize = 200_000;

/// One document, its metadata set apart.
#[derive(Default)]
pub(super) struct Document {
    pub(super) data: Mapping,
    /// Every top-level `sops` entry.
    pub(super) metadata: Vec<MetadataEntry>,
}

pub(super) struct MetadataEntry {
    /// The value, in the first document only; none if it is no mapping.
    pub(super) value: Option<Mapping>,
    pub(super) mark: Mark,
    /// Its octets, if it is an entry of a block mapping at column 0 and free of aliases.
    pub(super) place: Option<Range<usize>>,
}

pub(super) struct Converter<'n, 'a> {
    pub(super) source: &'a [u8],
    pub(super) nodes: &'n [YamlNode<'a>],
    /// Whether places in the source may be told.
    pub(super) places: bool,
    /// How many aliases lead here; copies have no place of their own.
    pub(super) copying: usize,
    pub(super) copied: usize,
}

impl Converter<'_, '_> {
    /// Converts a document; `first` turns the checks on that sops makes for the first one alone.
    pub(super) fn document(&mut self, id: NodeId, first: bool) -> Result<Document, Fault> {
        let mut document = Document::default();
        let node = &self.nodes[id];
        self.map_comments(&node.head, false, &mut document.data);
        self.map_comments(&node.line, true, &mut document.data);
        if let Kind::Document(Some(content)) = node.kind {
            if first {
                self.check_first(content, 0)?;
            }
            self.root(content, first, &mut document, 0)?;
        }
        self.map_comments(&node.foot, false, &mut document.data);
        Ok(document)
    }

    fn root(
        &mut self,
        id: NodeId,
        first: bool,
        document: &mut Document,
        depth: usize,
    ) -> Result<(), Fault> {
        let node = &self.nodes[id];
        self.map_comments(&node.head, false, &mut document.data);
        self.map_comments(&node.line, true, &mut document.data);
        match &node.kind {
            Kind::Document(_) => {}
            Kind::Sequence(_) => return Err(Fault::unsupported(node.mark, "a list at the top")),
            Kind::Scalar(scalar) => {
                if scalar_value(scalar, node.mark)? != Value::Null {
                    return Err(Fault::unsupported(node.mark, "a single value at the top"));
                }
                return Ok(());
            }
            Kind::Mapping { content, flow } => {
                for pair in content.chunks_exact(2) {
                    if self.key(pair[0], depth)? == "sops" {
                        self.metadata(pair[0], pair[1], *flow, first, document)?;
                    } else {
                        self.entry(pair[0], pair[1], &mut document.data, depth)?;
                    }
                }
            }
            Kind::Alias { target, .. } => {
                self.enter_alias(depth, node.mark)?;
                self.root(*target, first, document, depth + 1)?;
                self.copying -= 1;
            }
        }
        self.map_comments(&node.foot, false, &mut document.data);
        Ok(())
    }

    /// Sets a `sops` entry apart; the comments around it stay in the data.
    fn metadata(
        &mut self,
        key: NodeId,
        value: NodeId,
        flow: bool,
        first: bool,
        document: &mut Document,
    ) -> Result<(), Fault> {
        let (key_node, value_node) = (&self.nodes[key], &self.nodes[value]);
        let mut before = Mapping::default();
        self.map_comments(&key_node.head, false, &mut before);
        self.map_comments(&key_node.line, true, &mut before);
        let scalar = matches!(value_node.kind, Kind::Scalar(_) | Kind::Alias { .. });
        if scalar {
            self.map_comments(&value_node.head, false, &mut before);
            self.map_comments(&value_node.line, true, &mut before);
        }
        document.data.items.append(&mut before.items);
        if scalar {
            self.map_comments(&value_node.foot, false, &mut document.data);
        }
        self.map_comments(&key_node.foot, false, &mut document.data);

        let value_mapping = match self.nodes[value].kind {
            Kind::Mapping { .. } if first => match self.value(value, false, 1)? {
                Node::Mapping(mapping) => Some(mapping),
                _ => None,
            },
            _ => None,
        };
        let editable =
            self.copying == 0 && !flow && key_node.mark.column == 0 && !key_node.anchored;
        let place = if editable {
            self.end_of(value).map(|end| key_node.mark.octet..end)
        } else {
            None
        };
        document.metadata.push(MetadataEntry {
            value: value_mapping,
            mark: key_node.mark,
            place,
        });
        Ok(())
    }

    /// The end of the last line of the mapping `id`, its line break included; none if it cannot be edited alone.
    fn end_of(&self, id: NodeId) -> Option<usize> {
        let mut end = 0;
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let node = &self.nodes[id];
            if node.anchored {
                return None;
            }
            end = end.max(node.mark.octet);
            match &node.kind {
                Kind::Mapping { content, .. } | Kind::Sequence(content) => open.extend(content),
                Kind::Scalar(scalar) => {
                    if let Some(place) = &scalar.place {
                        end = end.max(place.end);
                    }
                }
                Kind::Alias { .. } | Kind::Document(_) => return None,
            }
        }
        // What is left of the line can only be brackets, a comment or a missing value's blanks.
        let rest = self.source[end..].iter().position(|octet| *octet == b'\n');
        Some(rest.map_or(self.source.len(), |line| end + line + 1))
    }

    fn enter_alias(&mut self, depth: usize, mark: Mark) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::at(
                mark,
                "an alias leads to itself, or aliases nest too deeply",
            ));
        }
        self.copying += 1;
        Ok(())
    }

    fn count(&mut self, depth: usize, mark: Mark) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::at(
                mark,
                "an alias leads to itself, or values nest too deeply",
            ));
        }
        if self.copying > 0 {
            self.copied += 1;
            if self.copied > MAX_COPIED {
                return Err(Fault::at(mark, "aliases make too many copies"));
            }
        }
        Ok(())
    }

    fn value(&mut self, id: NodeId, comments_done: bool, depth: usize) -> Result<Node, Fault> {
        let node = &self.nodes[id];
        self.count(depth, node.mark)?;
        match &node.kind {
            Kind::Document(_) => Err(Fault::at(node.mark, "a document inside a document")),
            Kind::Scalar(scalar) => {
                let value = scalar_value(scalar, node.mark)?;
                let place = scalar
                    .place
                    .clone()
                    .filter(|_| self.places && self.copying == 0);
                Ok(Node::Leaf(Leaf { value, place }))
            }
            Kind::Alias { target, .. } => {
                self.enter_alias(depth, node.mark)?;
                let copy = self.value(*target, false, depth + 1)?;
                self.copying -= 1;
                Ok(copy)
            }
            Kind::Sequence(content) => {
                let mut list = List::default();
                if !comments_done {
                    self.list_comments(&node.head, false, &mut list);
                    self.list_comments(&node.line, true, &mut list);
                }
                for item in content {
                    let item_node = &self.nodes[*item];
                    self.list_comments(&item_node.head, false, &mut list);
                    self.list_comments(&item_node.line, true, &mut list);
                    let value = self.value(*item, true, depth + 1)?;
                    list.items.push(ListItem::Node(value));
                    self.list_comments(&item_node.foot, false, &mut list);
                }
                if !comments_done {
                    self.list_comments(&node.foot, false, &mut list);
                }
                Ok(Node::List(list))
            }
            Kind::Mapping { content, .. } => {
                let mut mapping = Mapping::default();
                if !comments_done {
                    self.map_comments(&node.head, false, &mut mapping);
                    self.map_comments(&node.line, true, &mut mapping);
                }
                for pair in content.chunks_exact(2) {
                    self.entry(pair[0], pair[1], &mut mapping, depth)?;
                }
                if !comments_done {
                    self.map_comments(&node.foot, false, &mut mapping);
                }
                Ok(Node::Mapping(mapping))
            }
        }
    }

    fn entry(
        &mut self,
        key: NodeId,
        value: NodeId,
        mapping: &mut Mapping,
        depth: usize,
    ) -> Result<(), Fault> {
        let (key_node, value_node) = (&self.nodes[key], &self.nodes[value]);
        self.map_comments(&key_node.head, false, mapping);
        self.map_comments(&key_node.line, true, mapping);
        let comments_done = matches!(value_node.kind, Kind::Scalar(_) | Kind::Alias { .. });
        if comments_done {
            self.map_comments(&value_node.head, false, mapping);
            self.map_comments(&value_node.line, true, mapping);
        }
        let key = self.key(key, depth)?;
        let value = self.value(value, comments_done, depth + 1)?;
        mapping.items.push(MappingItem::Entry(Entry { key, value }));
        if comments_done {
            self.map_comments(&value_node.foot, false, mapping);
        }
        self.map_comments(&key_node.foot, false, mapping);
        Ok(())
    }

    fn key(&self, id: NodeId, depth: usize) -> Result<String, Fault> {
        let node = &self.nodes[id];
        let refused = Err(Fault::unsupported(
            node.mark,
            "a key that is not text; quote it",
        ));
        match &node.kind {
            Kind::Scalar(scalar) => match scalar_value(scalar, node.mark)? {
                Value::Str(text) => match std::str::from_utf8(text.expose()) {
                    Ok(text) => Ok(text.to_owned()),
                    Err(_) => refused,
                },
                _ => refused,
            },
            Kind::Alias { target, .. } if depth <= MAX_DEPTH => self.key(*target, depth + 1),
            _ => refused,
        }
    }

    fn comments<'s>(
        &'s self,
        lines: &'s Lines,
        inline: bool,
    ) -> impl Iterator<Item = Comment> + 's {
        let places = self.places && self.copying == 0;
        lines.iter().flatten().map(move |line| Comment {
            text: SecretBytes::from_slice(&self.source[line.start + 1..line.end]),
            place: places.then(|| line.clone()),
            inline,
        })
    }

    fn map_comments(&self, lines: &Lines, inline: bool, mapping: &mut Mapping) {
        mapping
            .items
            .extend(self.comments(lines, inline).map(MappingItem::Comment));
    }

    fn list_comments(&self, lines: &Lines, inline: bool, list: &mut List) {
        list.items
            .extend(self.comments(lines, inline).map(ListItem::Comment));
    }

    /// What sops finds when it decodes the first document into a Go map: duplicate keys and `<<` over no mapping.
    fn check_first(&self, id: NodeId, depth: usize) -> Result<(), Fault> {
        let node = &self.nodes[id];
        if depth > MAX_DEPTH {
            return Err(Fault::at(node.mark, "nested too deeply"));
        }
        match &node.kind {
            Kind::Sequence(content) => content
                .iter()
                .try_for_each(|item| self.check_first(*item, depth + 1)),
            Kind::Mapping { content, .. } => {
                let mut seen = HashSet::new();
                for pair in content.chunks_exact(2) {
                    let key = &self.nodes[pair[0]];
                    let identity = match &key.kind {
                        Kind::Scalar(scalar) => (false, scalar.text.as_slice()),
                        Kind::Alias { name, .. } => (true, name.as_slice()),
                        _ => continue,
                    };
                    if !seen.insert(identity) {
                        return Err(Fault::at(key.mark, "a key that is already there"));
                    }
                    if identity == (false, b"<<") && !self.is_merge_value(pair[1]) {
                        return Err(Fault::at(key.mark, "a `<<` whose value is no mapping"));
                    }
                    self.check_first(pair[1], depth + 1)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether sops can read back what stands under `<<`: a mapping, or a list of them.
    fn is_merge_value(&self, id: NodeId) -> bool {
        let is_mapping = |id: NodeId| match &self.nodes[id].kind {
            Kind::Mapping { .. } => true,
            Kind::Alias { target, .. } => matches!(self.nodes[*target].kind, Kind::Mapping { .. }),
            _ => false,
        };
        is_mapping(id)
            || matches!(&self.nodes[id].kind, Kind::Sequence(items) if items.iter().all(|item| is_mapping(*item)))
    }
}

fn scalar_value(scalar: &Scalar<'_>, mark: Mark) -> Result<Value, Fault> {
    resolve::value(scalar.tag, scalar.quoted, scalar.text.as_slice()).map_err(|refusal| {
        match refusal {
            Refusal::Malformed(reason) => Fault::of(mark, FaultKind::Malformed(reason)),
            Refusal::Unsupported(reason) => Fault::of(mark, FaultKind::Unsupported(reason)),
        }
    })
}
