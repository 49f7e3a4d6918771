//! The YAML of a rules file with the place of each node.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, StructureStyle};

/// A node and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The bytes of a scalar, an alias or a flow collection; a block collection's from its first to its last child.
    pub(super) place: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// The value; true if it is plain, so that `null` means nothing and `<<` a merge.
    Scalar(String, bool),
    /// Its items; true if it is written with brackets.
    List(Vec<Node>, bool),
    /// Its entries; true if it is written with braces.
    Map(Vec<(Node, Node)>, bool),
    Alias(usize),
}

/// The first document of a file.
#[derive(Debug)]
pub(super) struct Yaml {
    pub(super) root: Option<Node>,
    /// What aliases stand for.
    pub(super) anchors: HashMap<usize, Node>,
    /// The anchors by name: the last definition of each, with its id.
    pub(super) names: Vec<(String, usize)>,
    /// The places of all comments.
    pub(super) comments: Vec<Range<usize>>,
}

/// Why a file is no YAML: the line and a reason that repeats nothing of the file.
#[derive(Debug)]
pub(super) struct YamlFault {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// Deeper than any rules file; keeps the recursion harmless.
const DEEPEST: usize = 60;

impl Yaml {
    pub(super) fn parse(text: &str) -> Result<Self, YamlFault> {
        let mut options = Options::default();
        options.set_emit_comments(true);
        options.emit_anchor_events = true;
        options.block_scalar_eof_without_line_feed = true;
        options.max_buffered_comment_events = usize::MAX;
        let mut yaml = Self {
            root: None,
            anchors: HashMap::new(),
            names: Vec::new(),
            comments: Vec::new(),
        };
        let mut events = Vec::new();
        let mut documents = 0;
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, span) = next.map_err(|error| YamlFault {
                line: error.marker().line(),
                reason: "not well-formed YAML".to_owned(),
            })?;
            let place = span.byte_range().unwrap_or(0..0);
            match event {
                Event::Comment(..) => yaml.comments.push(place),
                Event::Anchor(id, name) => {
                    yaml.names.retain(|(known, _)| *known != name);
                    yaml.names.push((name.into_owned(), id));
                }
                Event::DocumentStart(..) => documents += 1,
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                event if documents <= 1 => events.push((event, place)),
                _ => {}
            }
        }
        let mut events = events.into_iter();
        if let Some(first) = events.next() {
            yaml.root = Some(yaml.node(text, first, &mut events, 0)?);
        }
        Ok(yaml)
    }

    fn node<'e>(
        &mut self,
        text: &str,
        (event, place): (Event<'e>, Range<usize>),
        events: &mut impl Iterator<Item = (Event<'e>, Range<usize>)>,
        depth: usize,
    ) -> Result<Node, YamlFault> {
        let fault = |reason: &str| YamlFault {
            line: line_of(text, place.start),
            reason: reason.to_owned(),
        };
        if depth > DEEPEST {
            return Err(fault("nested too deeply"));
        }
        let mut anchor = 0;
        let mut node = Node {
            kind: Kind::Alias(0),
            place: place.clone(),
        };
        match event {
            Event::Scalar(value, style, id, _) => {
                anchor = id;
                if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                    let raw = text.get(place.clone()).unwrap_or_default();
                    node.place.end = place.start + raw.trim_end().len();
                }
                let is_plain = style == ScalarStyle::Plain;
                node.kind = Kind::Scalar(value.into_owned(), is_plain);
            }
            Event::Alias(id) => node.kind = Kind::Alias(id),
            Event::SequenceStart(style, id, _) => {
                anchor = id;
                let mut items = Vec::new();
                loop {
                    match events.next() {
                        None => return Err(fault("ends too early")),
                        Some((Event::SequenceEnd, end)) => {
                            node.place.end = end.end;
                            break;
                        }
                        Some(next) => items.push(self.node(text, next, events, depth + 1)?),
                    }
                }
                let is_flow = style == StructureStyle::Flow;
                if !is_flow {
                    node.place.end = items.last().map_or(place.start, |item| item.place.end);
                }
                node.kind = Kind::List(items, is_flow);
            }
            Event::MappingStart(style, id, _) => {
                anchor = id;
                let mut entries = Vec::new();
                loop {
                    let key = match events.next() {
                        None => return Err(fault("ends too early")),
                        Some((Event::MappingEnd, end)) => {
                            node.place.end = end.end;
                            break;
                        }
                        Some(next) => self.node(text, next, events, depth + 1)?,
                    };
                    let next = events.next().ok_or_else(|| fault("ends too early"))?;
                    let value = self.node(text, next, events, depth + 1)?;
                    entries.push((key, value));
                }
                let is_flow = style == StructureStyle::Flow;
                if !is_flow {
                    node.place.end = entries.last().map_or(place.start, |(key, value)| {
                        value.place.end.max(key.place.end)
                    });
                }
                node.kind = Kind::Map(entries, is_flow);
            }
            _ => return Err(fault("an unexpected part of YAML")),
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// The node itself, or what an alias stands for.
    pub(super) fn resolve<'a>(&'a self, node: &'a Node) -> &'a Node {
        let mut node = node;
        for _ in 0..DEEPEST {
            match node.kind {
                Kind::Alias(id) => match self.anchors.get(&id) {
                    Some(target) => node = target,
                    None => break,
                },
                _ => break,
            }
        }
        node
    }

    /// The text of a scalar; none for a null and for collections.
    pub(super) fn text<'a>(&'a self, node: &'a Node) -> Option<&'a str> {
        match &self.resolve(node).kind {
            Kind::Scalar(text, is_plain) if !(*is_plain && is_null(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_null(&self, node: &Node) -> bool {
        matches!(&self.resolve(node).kind, Kind::Scalar(text, true) if is_null(text))
    }

    /// The entries of a mapping with merged ones (`<<`) after its own; none if it is no mapping.
    pub(super) fn entries<'a>(
        &'a self,
        node: &'a Node,
    ) -> Option<Vec<(&'a str, &'a Node, &'a Node)>> {
        self.entries_at(node, 0)
    }

    fn entries_at<'a>(
        &'a self,
        node: &'a Node,
        depth: usize,
    ) -> Option<Vec<(&'a str, &'a Node, &'a Node)>> {
        let Kind::Map(entries, _) = &self.resolve(node).kind else {
            return None;
        };
        let mut out: Vec<(&str, &Node, &Node)> = Vec::new();
        let mut merged = Vec::new();
        for (key, value) in entries {
            match &self.resolve(key).kind {
                Kind::Scalar(name, true) if name == "<<" && depth < 8 => {
                    match &self.resolve(value).kind {
                        Kind::List(items, _) => merged.extend(items),
                        _ => merged.push(value),
                    }
                }
                Kind::Scalar(name, _) => out.push((name, key, value)),
                _ => {}
            }
        }
        for source in merged {
            for entry in self.entries_at(source, depth + 1).unwrap_or_default() {
                if !out.iter().any(|(name, ..)| *name == entry.0) {
                    out.push(entry);
                }
            }
        }
        Some(out)
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The line of a byte, counted from 1.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.matches('\n').count() + 1
}
