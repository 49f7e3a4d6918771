//! Which token comes next; simple keys and indentation.

use super::super::chars::{is_blank, is_blank_or_end};
use super::{Fault, MAX_DEPTH, Mark, Scanner, SimpleKey, TokenKind};

impl<'a> Scanner<'a> {
    /// Scans at least one token more.
    pub(super) fn fetch_next(&mut self) -> Result<(), Fault> {
        if !self.stream_started {
            self.stream_started = true;
            self.push(TokenKind::StreamStart, self.mark, self.mark);
            return Ok(());
        }
        let scan_mark = self.mark;
        self.scan_to_next_token()?;
        self.unroll_indent(self.mark.column, scan_mark);
        if self.is_end() {
            return self.fetch_stream_end();
        }
        if self.mark.column == 0 && self.at(0) == b'%' {
            return self.fetch_directive();
        }
        if self.at_document_indicator() {
            return self.fetch_document_indicator();
        }

        let mut comment_mark = self.mark;
        if let Some(last) = self.tokens.last()
            && (self.flow_level == 0 && self.at(0) == b':'
                || self.flow_level > 0 && self.at(0) == b',')
        {
            // A comment that follows belongs to the token before the indicator.
            comment_mark = last.start;
        }
        self.fetch_content()?;
        // A dash alone has no line comment: it becomes the head of what follows.
        if !matches!(
            self.tokens.last().map(|token| &token.kind),
            Some(TokenKind::BlockEntry)
        ) {
            self.scan_line_comment(comment_mark);
        }
        Ok(())
    }

    fn fetch_content(&mut self) -> Result<(), Fault> {
        let flow = self.flow_level > 0;
        let next_is_space = is_blank_or_end(self.source, self.pos + 1);
        match self.at(0) {
            b'[' => self.fetch_flow_start(TokenKind::FlowSequenceStart),
            b'{' => self.fetch_flow_start(TokenKind::FlowMappingStart),
            b']' => self.fetch_flow_end(TokenKind::FlowSequenceEnd),
            b'}' => self.fetch_flow_end(TokenKind::FlowMappingEnd),
            b',' => {
                self.remove_simple_key()?;
                self.simple_key_allowed = true;
                self.push_indicator(TokenKind::FlowEntry);
                Ok(())
            }
            b'-' if next_is_space => self.fetch_block_entry(),
            b'?' if flow || next_is_space => self.fetch_key(),
            b':' if flow || next_is_space => self.fetch_value(),
            b'*' => {
                self.start_simple_key()?;
                self.scan_anchor(true)
            }
            b'&' => {
                self.start_simple_key()?;
                self.scan_anchor(false)
            }
            b'!' => {
                self.start_simple_key()?;
                self.scan_tag()
            }
            indicator @ (b'|' | b'>') if !flow => {
                self.remove_simple_key()?;
                self.simple_key_allowed = true;
                self.scan_block_scalar(indicator == b'|')
            }
            quote @ (b'\'' | b'"') => {
                self.start_simple_key()?;
                self.scan_quoted_scalar(quote == b'\'')
            }
            b'-' if is_blank(self.source, self.pos + 1) => Err(self.cannot_start()),
            b'?' | b':' if flow || next_is_space => Err(self.cannot_start()),
            b'#' | b'%' | b'@' | b'`' | b'|' | b'>' => Err(self.cannot_start()),
            _ if is_blank_or_end(self.source, self.pos) => Err(self.cannot_start()),
            _ => {
                self.start_simple_key()?;
                self.scan_plain_scalar()
            }
        }
    }

    fn cannot_start(&self) -> Fault {
        self.fault(self.mark, "found a character that cannot start any token")
    }

    fn push_indicator(&mut self, kind: TokenKind<'a>) {
        let start = self.mark;
        self.skip();
        self.push(kind, start, self.mark);
    }

    /// A key may start here, none right after it.
    fn start_simple_key(&mut self) -> Result<(), Fault> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        Ok(())
    }

    pub(super) fn simple_key_is_valid(&mut self, index: usize) -> Result<bool, Fault> {
        let Some(key) = self.simple_keys.get_mut(index) else {
            return Ok(false);
        };
        if !key.possible {
            return Ok(false);
        }
        if key.mark.line < self.mark.line || key.mark.index + 1024 < self.mark.index {
            if key.required {
                return Err(Fault::at(key.mark, "could not find the ':' of a key"));
            }
            key.possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn save_simple_key(&mut self) -> Result<(), Fault> {
        if !self.simple_key_allowed {
            return Ok(());
        }
        let required = self.flow_level == 0 && self.indent == self.mark.column;
        self.remove_simple_key()?;
        let key = SimpleKey {
            possible: true,
            required,
            token_number: self.next_token_number(),
            mark: self.mark,
        };
        let index = self.simple_keys.len() - 1;
        self.simple_keys[index] = key;
        self.simple_keys_by_token.insert(key.token_number, index);
        Ok(())
    }

    fn next_token_number(&self) -> usize {
        self.consumed + (self.tokens.len() - self.head)
    }

    fn remove_simple_key(&mut self) -> Result<(), Fault> {
        let Some(key) = self.simple_keys.last_mut() else {
            return Ok(());
        };
        if key.possible {
            if key.required {
                return Err(Fault::at(key.mark, "could not find the ':' of a key"));
            }
            key.possible = false;
            let number = key.token_number;
            self.simple_keys_by_token.remove(&number);
        }
        Ok(())
    }

    fn roll_indent(
        &mut self,
        column: i64,
        number: Option<usize>,
        kind: TokenKind<'a>,
        mark: Mark,
    ) -> Result<(), Fault> {
        if self.flow_level > 0 || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > MAX_DEPTH {
            return Err(self.fault(mark, "nested too deeply"));
        }
        match number {
            Some(number) => self.insert(number, kind, mark),
            None => self.push(kind, mark, mark),
        }
        Ok(())
    }

    /// Ends the blocks that are indented deeper than `column`.
    fn unroll_indent(&mut self, column: i64, scan_mark: Mark) {
        if self.flow_level > 0 {
            return;
        }
        let mut block_mark = scan_mark;
        block_mark.index -= 1;
        while self.indent > column {
            // The end goes before comments that stand at the indentation of the block that ends now, so that foot
            // comments of outer blocks stay outside.
            let mut stop_index = block_mark.index;
            for run in self.comments.iter().rev() {
                if run.end.index < stop_index {
                    break;
                }
                if run.start.column == self.indent + 1 {
                    block_mark = run.start;
                }
                stop_index = run.scan.index;
            }
            self.push(TokenKind::BlockEnd, block_mark, block_mark);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn fetch_stream_end(&mut self) -> Result<(), Fault> {
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
        self.unroll_indent(-1, self.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.push(TokenKind::StreamEnd, self.mark, self.mark);
        Ok(())
    }

    fn fetch_directive(&mut self) -> Result<(), Fault> {
        self.unroll_indent(-1, self.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_directive()
    }

    fn fetch_document_indicator(&mut self) -> Result<(), Fault> {
        self.unroll_indent(-1, self.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let kind = if self.at(0) == b'-' {
            TokenKind::DocumentStart
        } else {
            TokenKind::DocumentEnd
        };
        let start = self.mark;
        self.skip();
        self.skip();
        self.skip();
        self.push(kind, start, self.mark);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: TokenKind<'a>) -> Result<(), Fault> {
        self.save_simple_key()?;
        let key = SimpleKey {
            possible: false,
            required: false,
            token_number: self.next_token_number(),
            mark: self.mark,
        };
        self.simple_keys.push(key);
        self.flow_level += 1;
        if self.flow_level > MAX_DEPTH {
            return Err(self.fault(self.mark, "nested too deeply"));
        }
        self.simple_key_allowed = true;
        self.push_indicator(kind);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: TokenKind<'a>) -> Result<(), Fault> {
        self.remove_simple_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            if let Some(key) = self.simple_keys.pop() {
                self.simple_keys_by_token.remove(&key.token_number);
            }
        }
        self.simple_key_allowed = false;
        self.push_indicator(kind);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), Fault> {
        // In a flow collection the parser finds the error.
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.fault(self.mark, "a list item is not allowed here"));
            }
            self.roll_indent(
                self.mark.column,
                None,
                TokenKind::BlockSequenceStart,
                self.mark,
            )?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(TokenKind::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), Fault> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.fault(self.mark, "a mapping key is not allowed here"));
            }
            self.roll_indent(
                self.mark.column,
                None,
                TokenKind::BlockMappingStart,
                self.mark,
            )?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.push_indicator(TokenKind::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), Fault> {
        let index = self.simple_keys.len() - 1;
        if self.simple_key_is_valid(index)? {
            let key = self.simple_keys[index];
            self.insert(key.token_number, TokenKind::Key, key.mark);
            self.roll_indent(
                key.mark.column,
                Some(key.token_number),
                TokenKind::BlockMappingStart,
                key.mark,
            )?;
            self.simple_keys[index].possible = false;
            self.simple_keys_by_token.remove(&key.token_number);
            self.simple_key_allowed = false;
        } else {
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return Err(self.fault(self.mark, "a mapping value is not allowed here"));
                }
                self.roll_indent(
                    self.mark.column,
                    None,
                    TokenKind::BlockMappingStart,
                    self.mark,
                )?;
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.push_indicator(TokenKind::Value);
        Ok(())
    }
}
