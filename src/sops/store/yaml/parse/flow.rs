//! Flow collections.

use super::super::fault::Fault;
use super::super::scan::TokenKind;
use super::{Event, EventKind, Parser, State};

impl<'a> Parser<'a> {
    /// Steps over the comma between entries.
    fn flow_separator(&mut self, first: bool, reason: &'static str) -> Result<(), Fault> {
        if first {
            return Ok(());
        }
        let token = self.scanner.peek()?;
        if !matches!(token.kind, TokenKind::FlowEntry) {
            return Err(Fault::at(token.start, reason));
        }
        self.scanner.skip_token();
        Ok(())
    }

    pub(super) fn flow_sequence_entry(&mut self, first: bool) -> Result<Event<'a>, Fault> {
        if first {
            self.scanner.peek()?;
            self.scanner.skip_token();
        }
        if !matches!(self.scanner.peek()?.kind, TokenKind::FlowSequenceEnd) {
            self.flow_separator(first, "a flow list lacks a ',' or ']'")?;
            let token = self.scanner.peek()?;
            let start = token.start;
            match token.kind {
                TokenKind::Key => {
                    self.state = State::FlowSequenceEntryMappingKey;
                    self.scanner.skip_token();
                    return Ok(Event::bare(EventKind::MappingStart { flow: true }, start));
                }
                TokenKind::FlowSequenceEnd => {}
                _ => {
                    self.states.push(State::FlowSequenceEntry);
                    return self.node(false, false);
                }
            }
        }
        self.flow_end(EventKind::SequenceEnd)
    }

    fn flow_end(&mut self, kind: EventKind<'a>) -> Result<Event<'a>, Fault> {
        let start = self.scanner.peek()?.start;
        self.pop_state();
        let mut event = Event::bare(kind, start);
        event.comments = self.take_comments();
        self.scanner.skip_token();
        Ok(event)
    }

    pub(super) fn flow_sequence_entry_mapping_key(&mut self) -> Result<Event<'a>, Fault> {
        let token = self.scanner.peek()?;
        let end = token.end;
        if matches!(
            token.kind,
            TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowSequenceEnd
        ) {
            // go-yaml drops this token, so what follows is read as the value, or refused.
            self.scanner.skip_token();
            self.state = State::FlowSequenceEntryMappingValue;
            return Ok(self.empty_scalar(end));
        }
        self.states.push(State::FlowSequenceEntryMappingValue);
        self.node(false, false)
    }

    pub(super) fn flow_sequence_entry_mapping_value(&mut self) -> Result<Event<'a>, Fault> {
        let token = self.scanner.peek()?;
        let start = token.start;
        if matches!(token.kind, TokenKind::Value) {
            self.scanner.skip_token();
            if !matches!(
                self.scanner.peek()?.kind,
                TokenKind::FlowEntry | TokenKind::FlowSequenceEnd
            ) {
                self.states.push(State::FlowSequenceEntryMappingEnd);
                return self.node(false, false);
            }
        }
        self.state = State::FlowSequenceEntryMappingEnd;
        Ok(self.empty_scalar(start))
    }

    pub(super) fn flow_sequence_entry_mapping_end(&mut self) -> Result<Event<'a>, Fault> {
        let start = self.scanner.peek()?.start;
        self.state = State::FlowSequenceEntry;
        Ok(Event::bare(EventKind::MappingEnd, start))
    }

    pub(super) fn flow_mapping_key(&mut self, first: bool) -> Result<Event<'a>, Fault> {
        if first {
            self.scanner.peek()?;
            self.scanner.skip_token();
        }
        if !matches!(self.scanner.peek()?.kind, TokenKind::FlowMappingEnd) {
            self.flow_separator(first, "a flow mapping lacks a ',' or '}'")?;
            match self.scanner.peek()?.kind {
                TokenKind::Key => {
                    self.scanner.skip_token();
                    let token = self.scanner.peek()?;
                    let start = token.start;
                    if matches!(
                        token.kind,
                        TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowMappingEnd
                    ) {
                        self.state = State::FlowMappingValue;
                        return Ok(self.empty_scalar(start));
                    }
                    self.states.push(State::FlowMappingValue);
                    return self.node(false, false);
                }
                TokenKind::FlowMappingEnd => {}
                _ => {
                    self.states.push(State::FlowMappingEmptyValue);
                    return self.node(false, false);
                }
            }
        }
        self.flow_end(EventKind::MappingEnd)
    }

    pub(super) fn flow_mapping_value(&mut self, empty: bool) -> Result<Event<'a>, Fault> {
        let token = self.scanner.peek()?;
        let start = token.start;
        if !empty && matches!(token.kind, TokenKind::Value) {
            self.scanner.skip_token();
            if !matches!(
                self.scanner.peek()?.kind,
                TokenKind::FlowEntry | TokenKind::FlowMappingEnd
            ) {
                self.states.push(State::FlowMappingKey);
                return self.node(false, false);
            }
        }
        self.state = State::FlowMappingKey;
        Ok(self.empty_scalar(start))
    }
}
