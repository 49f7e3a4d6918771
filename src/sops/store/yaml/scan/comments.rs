//! Blank space and comments between tokens, and which token a comment belongs to.

use super::super::chars::{is_blank, is_break, is_break_or_end};
use super::{CommentRun, Fault, Lines, Mark, Scanner, TokenKind};

/// How far go-yaml looks over blank space for a comment, in characters.
const REACH: usize = 512;

impl Scanner<'_> {
    /// Steps over blank space, line breaks and comments to the next token.
    pub(super) fn scan_to_next_token(&mut self) -> Result<(), Fault> {
        let scan_mark = self.mark;
        loop {
            // Tabs may separate, not indent.
            while self.at(0) == b' '
                || ((self.flow_level > 0 || !self.simple_key_allowed) && self.at(0) == b'\t')
            {
                self.skip();
            }
            self.raise_dash_comment();
            if self.at(0) == b'#' {
                self.scan_comments(scan_mark);
            }
            if !is_break(self.source, self.pos) {
                return Ok(());
            }
            self.skip_line();
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }

    /// Turns the comment behind a list's first dash, with the item on the lines below, into that item's head.
    fn raise_dash_comment(&mut self) {
        let [.., before, last] = self.tokens.as_slice() else {
            return;
        };
        let after_first_dash = matches!(before.kind, TokenKind::BlockSequenceStart)
            && matches!(last.kind, TokenKind::BlockEntry);
        if !after_first_dash || is_break(self.source, self.pos) {
            return;
        }
        if let Some(run) = self.comments.last_mut()
            && !run.line.is_empty()
        {
            run.head = std::mem::take(&mut run.line);
            if run.start.line == self.mark.line - 1 {
                run.token = self.mark;
            }
        }
    }

    /// Takes the comment on the rest of this line, if there is one, for the token at `token`.
    pub(super) fn scan_line_comment(&mut self, token: Mark) {
        if self.newlines > 0 {
            return;
        }
        let mut offset = 0;
        while offset < REACH && is_blank(self.source, self.pos + offset) {
            offset += 1;
        }
        if offset >= REACH || self.at(offset) != b'#' {
            return;
        }
        for _ in 0..offset {
            self.skip();
        }
        let start = self.mark;
        let place = self.skip_comment_text();
        self.comments.push(CommentRun {
            token,
            start,
            line: vec![Some(place)],
            ..CommentRun::default()
        });
    }

    /// Steps to the end of the line; the octets passed.
    fn skip_comment_text(&mut self) -> std::ops::Range<usize> {
        let start = self.pos;
        while !is_break_or_end(self.source, self.pos) {
            self.skip_run();
        }
        start..self.pos
    }

    fn next_indent(&self) -> i64 {
        self.indent.max(0)
    }

    /// Takes a block of comment lines, and the blank lines in it, and binds its parts to the token before or after.
    fn scan_comments(&mut self, mut scan_mark: Mark) {
        let token = match self.tokens.as_slice() {
            [.., before, last] if matches!(last.kind, TokenKind::FlowEntry) => before,
            [.., last] => last,
            [] => return,
        };
        let after_value_indicator = matches!(token.kind, TokenKind::Value);
        let mut token_mark = token.start;
        let mut start_mark = Mark::default();
        let mut next_indent = self.next_indent();
        let mut recent_empty = false;
        let mut first_empty = self.newlines <= 1;
        let mut line = self.mark.line;
        let mut column = self.mark.column;
        let mut text = Lines::new();

        // Where a comment must start to count as the foot of what stands before it.
        let mut foot_line = -1;
        if scan_mark.line > 0 {
            foot_line = self.mark.line - self.newlines + 1;
            if self.newlines == 0 && self.mark.column > 1 {
                foot_line += 1;
            }
        }

        let mut peek = 0;
        while peek < REACH {
            column += 1;
            if is_blank(self.source, self.pos + peek) {
                peek += 1;
                continue;
            }
            let here = Mark {
                index: self.mark.index + peek as i64,
                line,
                column,
                octet: self.pos + peek,
            };
            let octet = self.at(peek);
            let close_flow = self.flow_level > 0 && matches!(octet, b']' | b'}');
            if close_flow || is_break_or_end(self.source, self.pos + peek) {
                if close_flow || !recent_empty {
                    let dedented = start_mark.column - 1 < next_indent;
                    let is_foot = first_empty
                        && (start_mark.line == foot_line && !after_value_indicator || dedented);
                    if close_flow || is_foot {
                        // The first blank line ends the foot of what stands before; so does the end of a flow scope.
                        if !text.is_empty() {
                            if dedented {
                                token_mark = start_mark;
                            }
                            self.push_foot(scan_mark, token_mark, start_mark, here, &mut text);
                            scan_mark = here;
                            token_mark = here;
                        }
                    } else if !text.is_empty() && octet != 0 {
                        text.push(None);
                    }
                }
                if !is_break(self.source, self.pos + peek) {
                    break;
                }
                first_empty = false;
                recent_empty = true;
                column = 0;
                line += 1;
                peek += 1;
                continue;
            }

            if !text.is_empty()
                && (close_flow || column - 1 < next_indent && column != start_mark.column)
            {
                // At another indentation it is the foot of the data before, not the head of what comes.
                self.push_foot(scan_mark, token_mark, start_mark, here, &mut text);
                scan_mark = here;
                token_mark = here;
            }
            if octet != b'#' {
                break;
            }
            if text.is_empty() {
                start_mark = here;
                text.push(None);
            } else {
                text.push(None);
            }
            recent_empty = false;

            // Go on after this comment line.
            while self.pos < here.octet {
                if is_break(self.source, self.pos) {
                    self.skip_line();
                } else {
                    self.skip();
                }
            }
            let place = self.skip_comment_text();
            if let Some(last) = text.last_mut() {
                *last = Some(place);
            }
            // The line break stands at offset 0; go-yaml goes on behind it, at 1.
            peek = 1;
            column = 0;
            line = self.mark.line;
            next_indent = self.next_indent();
        }

        if !text.is_empty() {
            self.comments.push(CommentRun {
                scan: scan_mark,
                token: start_mark,
                start: start_mark,
                end: Mark {
                    index: self.mark.index + peek as i64 - 1,
                    line,
                    column,
                    octet: self.pos,
                },
                head: text,
                ..CommentRun::default()
            });
        }
    }

    fn push_foot(&mut self, scan: Mark, token: Mark, start: Mark, end: Mark, text: &mut Lines) {
        let foot = std::mem::take(text);
        self.comments.push(CommentRun {
            scan,
            token,
            start,
            end,
            foot,
            ..CommentRun::default()
        });
    }
}
