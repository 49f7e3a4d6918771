//! Block collections.

use super::super::fault::Fault;
use super::super::scan::{Lines, TokenKind};
use super::{Event, EventKind, Parser, State};

impl<'a> Parser<'a> {
    pub(super) fn block_sequence_entry(&mut self, first: bool) -> Result<Event<'a>, Fault> {
        if first {
            self.scanner.peek()?;
            self.scanner.skip_token();
        }
        let token = self.scanner.peek()?;
        let (start, end) = (token.start, token.end);
        match token.kind {
            TokenKind::BlockEntry => {
                let stem_lines = self.scanner.pending.head.len();
                self.scanner.skip_token();
                self.split_stem(stem_lines)?;
                if matches!(
                    self.scanner.peek()?.kind,
                    TokenKind::BlockEntry | TokenKind::BlockEnd
                ) {
                    self.state = State::BlockSequenceEntry;
                    Ok(self.empty_scalar(end))
                } else {
                    self.states.push(State::BlockSequenceEntry);
                    self.node(true, false)
                }
            }
            TokenKind::BlockEnd => {
                self.pop_state();
                self.scanner.skip_token();
                Ok(Event::bare(EventKind::SequenceEnd, start))
            }
            _ => Err(Fault::at(start, "a list item lacks its '-'")),
        }
    }

    pub(super) fn indentless_sequence_entry(&mut self) -> Result<Event<'a>, Fault> {
        let token = self.scanner.peek()?;
        let (start, end) = (token.start, token.end);
        if !matches!(token.kind, TokenKind::BlockEntry) {
            self.pop_state();
            return Ok(Event::bare(EventKind::SequenceEnd, start));
        }
        let stem_lines = self.scanner.pending.head.len();
        self.scanner.skip_token();
        self.split_stem(stem_lines)?;
        if matches!(
            self.scanner.peek()?.kind,
            TokenKind::BlockEntry | TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
        ) {
            self.state = State::IndentlessSequenceEntry;
            Ok(self.empty_scalar(end))
        } else {
            self.states.push(State::IndentlessSequenceEntry);
            self.node(true, false)
        }
    }

    /// Sets the comment before a dash aside if a collection follows it: it is the item's, not its first entry's.
    fn split_stem(&mut self, stem_lines: usize) -> Result<(), Fault> {
        if stem_lines == 0 {
            return Ok(());
        }
        if matches!(
            self.scanner.peek()?.kind,
            TokenKind::BlockSequenceStart | TokenKind::BlockMappingStart
        ) {
            let head = &mut self.scanner.pending.head;
            let rest: Lines = head.split_off(stem_lines.min(head.len()));
            self.stem = std::mem::replace(head, rest);
        }
        Ok(())
    }

    pub(super) fn block_mapping_key(&mut self, first: bool) -> Result<Event<'a>, Fault> {
        if first {
            self.scanner.peek()?;
            self.scanner.skip_token();
        }
        let token = self.scanner.peek()?;
        let (start, end) = (token.start, token.end);
        match token.kind {
            TokenKind::Key => {
                self.scanner.skip_token();
                if matches!(
                    self.scanner.peek()?.kind,
                    TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
                ) {
                    self.state = State::BlockMappingValue;
                    Ok(self.empty_scalar(end))
                } else {
                    self.states.push(State::BlockMappingValue);
                    self.node(true, true)
                }
            }
            TokenKind::BlockEnd => {
                self.pop_state();
                let mut event = Event::bare(EventKind::MappingEnd, start);
                event.comments = self.take_comments();
                self.scanner.skip_token();
                Ok(event)
            }
            _ => Err(Fault::at(
                start,
                "a mapping key is missing or not understood",
            )),
        }
    }

    pub(super) fn block_mapping_value(&mut self) -> Result<Event<'a>, Fault> {
        let token = self.scanner.peek()?;
        let (start, end) = (token.start, token.end);
        if !matches!(token.kind, TokenKind::Value) {
            self.state = State::BlockMappingKey;
            return Ok(self.empty_scalar(start));
        }
        self.scanner.skip_token();
        if matches!(
            self.scanner.peek()?.kind,
            TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
        ) {
            self.state = State::BlockMappingKey;
            Ok(self.empty_scalar(end))
        } else {
            self.states.push(State::BlockMappingKey);
            self.node(true, true)
        }
    }
}
