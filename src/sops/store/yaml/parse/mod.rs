//! The parser: tokens to events, with the comments that belong to each.
//!
//! A port of go-yaml v3's `parserc.go` (3.0.1). See `NOTICE` beside this folder for its licence.

mod block;
mod flow;

use std::ops::Range;

use super::buffer::Text;
use super::fault::Fault;
use super::scan::{Lines, Mark, Pending, RawTag, Scanner, Style, TokenKind};

/// Where the parser stands in the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    StreamStart,
    ImplicitDocumentStart,
    DocumentStart,
    DocumentContent,
    DocumentEnd,
    BlockNode,
    BlockSequenceFirstEntry,
    BlockSequenceEntry,
    IndentlessSequenceEntry,
    BlockMappingFirstKey,
    BlockMappingKey,
    BlockMappingValue,
    FlowSequenceFirstEntry,
    FlowSequenceEntry,
    FlowSequenceEntryMappingKey,
    FlowSequenceEntryMappingValue,
    FlowSequenceEntryMappingEnd,
    FlowMappingFirstKey,
    FlowMappingKey,
    FlowMappingValue,
    FlowMappingEmptyValue,
    End,
}

pub(super) enum EventKind<'a> {
    StreamStart,
    StreamEnd,
    DocumentStart,
    DocumentEnd,
    Alias(Vec<u8>),
    Scalar(ScalarEvent<'a>),
    SequenceStart,
    SequenceEnd,
    MappingStart { flow: bool },
    MappingEnd,
}

pub(super) struct ScalarEvent<'a> {
    pub(super) text: Text<'a>,
    pub(super) style: Style,
    /// Where it stands; none if nothing is written.
    pub(super) place: Option<Range<usize>>,
}

pub(super) struct Event<'a> {
    pub(super) kind: EventKind<'a>,
    pub(super) start: Mark,
    pub(super) anchor: Option<Vec<u8>>,
    /// Long form (`tag:yaml.org,2002:str`), or `!` alone.
    pub(super) tag: Option<Vec<u8>>,
    pub(super) comments: Pending,
}

impl<'a> Event<'a> {
    fn bare(kind: EventKind<'a>, start: Mark) -> Self {
        Self {
            kind,
            start,
            anchor: None,
            tag: None,
            comments: Pending::default(),
        }
    }
}

pub(super) struct Parser<'a> {
    scanner: Scanner<'a>,
    state: State,
    states: Vec<State>,
    tag_directives: Vec<(Vec<u8>, Vec<u8>)>,
    /// Head comment of a list item that is a collection.
    stem: Lines,
}

impl<'a> Parser<'a> {
    pub(super) fn new(scanner: Scanner<'a>) -> Self {
        Self {
            scanner,
            state: State::StreamStart,
            states: Vec::new(),
            tag_directives: Vec::new(),
            stem: Lines::new(),
        }
    }

    /// The next event; `StreamEnd` again and again at the end.
    pub(super) fn next_event(&mut self) -> Result<Event<'a>, Fault> {
        match self.state {
            State::StreamStart => {
                let start = self.scanner.peek()?.start;
                self.state = State::ImplicitDocumentStart;
                self.scanner.skip_token();
                Ok(Event::bare(EventKind::StreamStart, start))
            }
            State::ImplicitDocumentStart => self.document_start(true),
            State::DocumentStart => self.document_start(false),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::BlockNode => self.node(true, false),
            State::BlockSequenceFirstEntry => self.block_sequence_entry(true),
            State::BlockSequenceEntry => self.block_sequence_entry(false),
            State::IndentlessSequenceEntry => self.indentless_sequence_entry(),
            State::BlockMappingFirstKey => self.block_mapping_key(true),
            State::BlockMappingKey => self.block_mapping_key(false),
            State::BlockMappingValue => self.block_mapping_value(),
            State::FlowSequenceFirstEntry => self.flow_sequence_entry(true),
            State::FlowSequenceEntry => self.flow_sequence_entry(false),
            State::FlowSequenceEntryMappingKey => self.flow_sequence_entry_mapping_key(),
            State::FlowSequenceEntryMappingValue => self.flow_sequence_entry_mapping_value(),
            State::FlowSequenceEntryMappingEnd => self.flow_sequence_entry_mapping_end(),
            State::FlowMappingFirstKey => self.flow_mapping_key(true),
            State::FlowMappingKey => self.flow_mapping_key(false),
            State::FlowMappingValue => self.flow_mapping_value(false),
            State::FlowMappingEmptyValue => self.flow_mapping_value(true),
            State::End => Ok(Event::bare(EventKind::StreamEnd, Mark::default())),
        }
    }

    fn pop_state(&mut self) {
        self.state = self.states.pop().unwrap_or(State::End);
    }

    fn take_comments(&mut self) -> Pending {
        self.stem = Lines::new();
        std::mem::take(&mut self.scanner.pending)
    }

    fn empty_scalar(&self, mark: Mark) -> Event<'a> {
        let scalar = ScalarEvent {
            text: Text::Source(&[]),
            style: Style::Plain,
            place: None,
        };
        Event::bare(EventKind::Scalar(scalar), mark)
    }

    fn document_start(&mut self, implicit: bool) -> Result<Event<'a>, Fault> {
        if !implicit {
            while matches!(self.scanner.peek()?.kind, TokenKind::DocumentEnd) {
                self.scanner.skip_token();
            }
        }
        let token = self.scanner.peek()?;
        let start = token.start;
        match token.kind {
            TokenKind::StreamEnd => {
                self.state = State::End;
                self.scanner.skip_token();
                Ok(Event::bare(EventKind::StreamEnd, start))
            }
            TokenKind::VersionDirective { .. }
            | TokenKind::TagDirective { .. }
            | TokenKind::DocumentStart => self.explicit_document_start(start),
            _ if implicit => {
                self.add_default_tag_directives();
                self.states.push(State::DocumentEnd);
                self.state = State::BlockNode;
                let mut event = Event::bare(EventKind::DocumentStart, start);
                event.comments.head = split_document_head(&mut self.scanner.pending.head);
                Ok(event)
            }
            _ => self.explicit_document_start(start),
        }
    }

    fn explicit_document_start(&mut self, start: Mark) -> Result<Event<'a>, Fault> {
        self.process_directives()?;
        let token = self.scanner.peek()?;
        if !matches!(token.kind, TokenKind::DocumentStart) {
            return Err(Fault::at(
                token.start,
                "a document does not start with '---'",
            ));
        }
        self.states.push(State::DocumentEnd);
        self.state = State::DocumentContent;
        self.scanner.skip_token();
        Ok(Event::bare(EventKind::DocumentStart, start))
    }

    fn document_content(&mut self) -> Result<Event<'a>, Fault> {
        let token = self.scanner.peek()?;
        let start = token.start;
        if matches!(
            token.kind,
            TokenKind::VersionDirective { .. }
                | TokenKind::TagDirective { .. }
                | TokenKind::DocumentStart
                | TokenKind::DocumentEnd
                | TokenKind::StreamEnd
        ) {
            self.pop_state();
            return Ok(self.empty_scalar(start));
        }
        self.node(true, false)
    }

    fn document_end(&mut self) -> Result<Event<'a>, Fault> {
        let token = self.scanner.peek()?;
        let start = token.start;
        if matches!(token.kind, TokenKind::DocumentEnd) {
            self.scanner.skip_token();
        }
        self.tag_directives.clear();
        self.state = State::DocumentStart;
        let mut event = Event::bare(EventKind::DocumentEnd, start);
        event.comments = self.take_comments();
        if event.comments.foot.is_empty() {
            event.comments.foot = std::mem::take(&mut event.comments.head);
        }
        Ok(event)
    }

    fn process_directives(&mut self) -> Result<(), Fault> {
        let mut versioned = false;
        loop {
            let token = self.scanner.peek()?;
            let start = token.start;
            match std::mem::replace(&mut token.kind, TokenKind::Spent) {
                TokenKind::VersionDirective { .. } if versioned => {
                    return Err(Fault::at(start, "a second %YAML directive"));
                }
                TokenKind::VersionDirective { major, minor } if (major, minor) != (1, 1) => {
                    return Err(Fault::at(
                        start,
                        "a %YAML version other than 1.1, which sops does not read",
                    ));
                }
                TokenKind::VersionDirective { .. } => versioned = true,
                TokenKind::TagDirective { handle, prefix } => {
                    if self
                        .tag_directives
                        .iter()
                        .any(|(known, _)| *known == handle)
                    {
                        return Err(Fault::at(
                            start,
                            "a second %TAG directive for the same handle",
                        ));
                    }
                    self.tag_directives.push((handle, prefix));
                }
                other => {
                    token.kind = other;
                    break;
                }
            }
            self.scanner.skip_token();
        }
        self.add_default_tag_directives();
        Ok(())
    }

    fn add_default_tag_directives(&mut self) {
        for (handle, prefix) in [(&b"!"[..], &b"!"[..]), (b"!!", b"tag:yaml.org,2002:")] {
            if !self.tag_directives.iter().any(|(known, _)| known == handle) {
                self.tag_directives.push((handle.to_vec(), prefix.to_vec()));
            }
        }
    }

    /// A node of any kind; `indentless` where a list may stand at its key's column.
    fn node(&mut self, block: bool, indentless: bool) -> Result<Event<'a>, Fault> {
        let token = self.scanner.peek()?;
        let start = token.start;
        if let TokenKind::Alias(name) = &mut token.kind {
            let name = std::mem::take(name);
            self.pop_state();
            let mut event = Event::bare(EventKind::Alias(name), start);
            event.comments = self.take_comments();
            self.scanner.skip_token();
            return Ok(event);
        }
        let (anchor, tag) = self.properties()?;
        let mut event = Event {
            anchor,
            tag,
            ..Event::bare(EventKind::StreamEnd, start)
        };

        let token = self.scanner.peek()?;
        let next = token.start;
        match &mut token.kind {
            TokenKind::BlockEntry if indentless => {
                self.state = State::IndentlessSequenceEntry;
                event.kind = EventKind::SequenceStart;
            }
            TokenKind::Scalar { text, style, place } => {
                let text = std::mem::replace(text, Text::Source(&[]));
                event.kind = EventKind::Scalar(ScalarEvent {
                    text,
                    style: *style,
                    place: place.take(),
                });
                self.pop_state();
                event.comments = self.take_comments();
                self.scanner.skip_token();
            }
            TokenKind::FlowSequenceStart => {
                self.state = State::FlowSequenceFirstEntry;
                event.kind = EventKind::SequenceStart;
                event.comments = self.take_comments();
            }
            TokenKind::FlowMappingStart => {
                self.state = State::FlowMappingFirstKey;
                event.kind = EventKind::MappingStart { flow: true };
                event.comments = self.take_comments();
            }
            TokenKind::BlockSequenceStart if block => {
                self.state = State::BlockSequenceFirstEntry;
                event.kind = EventKind::SequenceStart;
                event.comments.head = std::mem::take(&mut self.stem);
            }
            TokenKind::BlockMappingStart if block => {
                self.state = State::BlockMappingFirstKey;
                event.kind = EventKind::MappingStart { flow: false };
                event.comments.head = std::mem::take(&mut self.stem);
            }
            _ if event.anchor.is_some() || event.tag.is_some() => {
                self.pop_state();
                let scalar = ScalarEvent {
                    text: Text::Source(&[]),
                    style: Style::Plain,
                    place: None,
                };
                event.kind = EventKind::Scalar(scalar);
            }
            _ => return Err(Fault::at(next, "a value is missing or not understood")),
        }
        Ok(event)
    }

    /// An anchor and a tag, in either order.
    #[expect(clippy::type_complexity, reason = "two optional names, used once")]
    fn properties(&mut self) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>), Fault> {
        let mut anchor = None;
        let mut tag = None;
        loop {
            let token = self.scanner.peek()?;
            let start = token.start;
            match &mut token.kind {
                TokenKind::Anchor(name) if anchor.is_none() => anchor = Some(std::mem::take(name)),
                TokenKind::Tag(raw) if tag.is_none() => {
                    let raw = std::mem::take(raw);
                    tag = Some(self.resolve_tag(raw, start)?);
                }
                _ => return Ok((anchor, tag.filter(|tag| !tag.is_empty()))),
            }
            self.scanner.skip_token();
        }
    }

    fn resolve_tag(&self, raw: RawTag, mark: Mark) -> Result<Vec<u8>, Fault> {
        if raw.handle.is_empty() {
            return Ok(raw.suffix);
        }
        let (_, prefix) = self
            .tag_directives
            .iter()
            .find(|(handle, _)| *handle == raw.handle)
            .ok_or_else(|| Fault::at(mark, "a tag handle is not declared"))?;
        Ok([prefix.as_slice(), &raw.suffix].concat())
    }
}

/// Splits the part before the last empty line off a document's first comment: it belongs to the document.
fn split_document_head(head: &mut Lines) -> Lines {
    // An empty line at the very start does not split.
    let Some(empty) = head
        .iter()
        .rposition(Option::is_none)
        .filter(|index| *index > 0)
    else {
        return Lines::new();
    };
    let rest = head.split_off(empty + 1);
    let mut document = std::mem::replace(head, rest);
    document.pop();
    document
}
