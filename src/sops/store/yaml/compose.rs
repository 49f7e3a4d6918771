//! Events to nodes: go-yaml's node tree, with head, line and foot comments where go-yaml puts them.
//!
//! Source: go-yaml v3 `decode.go` (3.0.1), type `parser`.

use std::collections::HashMap;
use std::ops::Range;

use super::buffer::Text;
use super::fault::Fault;
use super::parse::{Event, EventKind, Parser};
use super::resolve::Tag;
use super::scan::{Lines, MAX_DEPTH, Mark, Style};

/// Index of a node in [`Composer::nodes`].
pub(super) type NodeId = usize;

pub(super) struct Scalar<'a> {
    pub(super) text: Text<'a>,
    pub(super) quoted: bool,
    /// An explicit tag other than `!`.
    pub(super) tag: Option<Tag>,
    /// Where it stands, if that place can be edited alone.
    pub(super) place: Option<Range<usize>>,
}

pub(super) enum Kind<'a> {
    Document(Option<NodeId>),
    /// Keys and values by turns.
    Mapping {
        content: Vec<NodeId>,
        flow: bool,
    },
    Sequence(Vec<NodeId>),
    Scalar(Scalar<'a>),
    Alias {
        name: Vec<u8>,
        target: NodeId,
    },
}

pub(super) struct Node<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) mark: Mark,
    pub(super) anchored: bool,
    pub(super) head: Lines,
    pub(super) line: Lines,
    pub(super) foot: Lines,
}

pub(super) struct Composer<'a> {
    parser: Parser<'a>,
    next: Option<Event<'a>>,
    anchors: HashMap<Vec<u8>, NodeId>,
    pub(super) nodes: Vec<Node<'a>>,
    /// Whether any alias was met.
    pub(super) aliased: bool,
}

impl<'a> Composer<'a> {
    pub(super) fn new(parser: Parser<'a>) -> Self {
        Self {
            parser,
            next: None,
            anchors: HashMap::new(),
            nodes: Vec::new(),
            aliased: false,
        }
    }

    /// The next document, or none at the end.
    pub(super) fn document(&mut self) -> Result<Option<NodeId>, Fault> {
        if matches!(self.peek()?.kind, EventKind::StreamStart) {
            self.take()?;
        }
        if matches!(self.peek()?.kind, EventKind::StreamEnd) {
            return Ok(None);
        }
        let event = self.take()?;
        let id = self.add(Kind::Document(None), event);
        let content = self.node(0)?;
        self.nodes[id].kind = Kind::Document(Some(content));
        let end = self.take()?;
        self.nodes[id].foot = end.comments.foot;
        Ok(Some(id))
    }

    fn peek(&mut self) -> Result<&Event<'a>, Fault> {
        let event = match self.next.take() {
            Some(event) => event,
            None => self.parser.next_event()?,
        };
        Ok(self.next.insert(event))
    }

    fn take(&mut self) -> Result<Event<'a>, Fault> {
        match self.next.take() {
            Some(event) => Ok(event),
            None => self.parser.next_event(),
        }
    }

    fn add(&mut self, kind: Kind<'a>, event: Event<'a>) -> NodeId {
        let id = self.nodes.len();
        let anchored = event.anchor.is_some();
        if let Some(anchor) = event.anchor {
            self.anchors.insert(anchor, id);
        }
        let comments = event.comments;
        self.nodes.push(Node {
            kind,
            mark: event.start,
            anchored,
            head: comments.head,
            line: comments.line,
            foot: comments.foot,
        });
        id
    }

    fn node(&mut self, depth: usize) -> Result<NodeId, Fault> {
        let mut event = self.take()?;
        if depth > MAX_DEPTH {
            return Err(Fault::at(event.start, "nested too deeply"));
        }
        match std::mem::replace(&mut event.kind, EventKind::StreamEnd) {
            EventKind::Scalar(scalar) => {
                let tag = event
                    .tag
                    .as_deref()
                    .filter(|tag| *tag != b"!")
                    .map(Tag::of_long);
                let kind = Kind::Scalar(Scalar {
                    text: scalar.text,
                    quoted: scalar.style != Style::Plain,
                    tag,
                    place: scalar.place.filter(|_| event.tag.is_none()),
                });
                Ok(self.add(kind, event))
            }
            EventKind::Alias(name) => {
                self.aliased = true;
                let target = *self.anchors.get(&name).ok_or_else(|| {
                    Fault::at(event.start, "an alias names an anchor that is not there")
                })?;
                Ok(self.add(Kind::Alias { name, target }, event))
            }
            EventKind::SequenceStart => {
                let id = self.add(Kind::Sequence(Vec::new()), event);
                let mut content = Vec::new();
                while !matches!(self.peek()?.kind, EventKind::SequenceEnd) {
                    content.push(self.node(depth + 1)?);
                }
                let end = self.take()?;
                let node = &mut self.nodes[id];
                node.kind = Kind::Sequence(content);
                node.line = end.comments.line;
                node.foot = end.comments.foot;
                Ok(id)
            }
            EventKind::MappingStart { flow } => {
                let id = self.add(
                    Kind::Mapping {
                        content: Vec::new(),
                        flow,
                    },
                    event,
                );
                self.mapping(id, flow, depth)?;
                Ok(id)
            }
            _ => Err(Fault::at(
                event.start,
                "a value is missing or not understood",
            )),
        }
    }

    fn mapping(&mut self, id: NodeId, flow: bool, depth: usize) -> Result<(), Fault> {
        let mut content: Vec<NodeId> = Vec::new();
        while !matches!(self.peek()?.kind, EventKind::MappingEnd) {
            let key = self.node(depth + 1)?;
            if !flow && !self.nodes[key].foot.is_empty() && content.len() > 1 {
                // The foot of the value before, at this key's indentation.
                let previous = content[content.len() - 2];
                self.nodes[previous].foot = std::mem::take(&mut self.nodes[key].foot);
            }
            content.push(key);
            let value = self.node(depth + 1)?;
            content.push(value);
            if self.nodes[key].foot.is_empty() {
                self.nodes[key].foot = std::mem::take(&mut self.nodes[value].foot);
            }
        }
        let end = self.take()?;
        let mut foot = end.comments.foot;
        if !flow && !foot.is_empty() && content.len() > 1 {
            let last_key = content[content.len() - 2];
            self.nodes[last_key].foot = std::mem::take(&mut foot);
        }
        let node = &mut self.nodes[id];
        node.kind = Kind::Mapping { content, flow };
        node.line = end.comments.line;
        node.foot = foot;
        Ok(())
    }
}
