//! Scalars: block, quoted and plain.

use super::super::buffer::TextBuilder;
use super::super::chars::{is_blank, is_blank_or_end, is_break, is_break_or_end};
use super::properties::hex;
use super::{Fault, Mark, Scanner, Style, TokenKind};

/// Blank space inside a scalar that is not yet known to belong to it.
#[derive(Default)]
struct Gap {
    /// Whether it holds a line break.
    broken: bool,
    leading_break: Vec<u8>,
    trailing_breaks: Vec<u8>,
    /// Blanks on the same line, as octets of the source.
    blanks: std::ops::Range<usize>,
}

impl Gap {
    /// Appends what the gap stands for: folded breaks, or the blanks as they are.
    fn fold_into(&mut self, text: &mut TextBuilder<'_>) {
        if self.broken {
            if self.leading_break == b"\n" {
                text.push(if self.trailing_breaks.is_empty() {
                    b" "
                } else {
                    &self.trailing_breaks
                });
            } else {
                text.push(&self.leading_break);
                text.push(&self.trailing_breaks);
            }
        } else {
            text.push_source(self.blanks.clone());
        }
        *self = Self::default();
    }
}

impl Scanner<'_> {
    /// Steps over blanks and line breaks into `gap`; tabs below `indent` on a new line are refused if it is given.
    fn scan_gap(&mut self, gap: &mut Gap, indent: Option<i64>, start: Mark) -> Result<(), Fault> {
        loop {
            if is_blank(self.source, self.pos) {
                if gap.broken
                    && indent.is_some_and(|indent| self.mark.column < indent)
                    && self.at(0) == b'\t'
                {
                    return Err(self.fault(start, "a tab stands where indentation should"));
                }
                if !gap.broken {
                    if gap.blanks.is_empty() {
                        gap.blanks = self.pos..self.pos;
                    }
                    gap.blanks.end = self.pos + 1;
                }
                self.skip();
            } else if is_break(self.source, self.pos) {
                if gap.broken {
                    self.read_line(&mut gap.trailing_breaks);
                } else {
                    gap.blanks = 0..0;
                    self.read_line(&mut gap.leading_break);
                    gap.broken = true;
                }
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn scan_plain_scalar(&mut self) -> Result<(), Fault> {
        let start = self.mark;
        let mut end = self.mark;
        let indent = self.indent + 1;
        let mut text = TextBuilder::new(self.source);
        let mut gap = Gap::default();
        loop {
            if self.at_document_indicator() || self.at(0) == b'#' {
                break;
            }
            let mut run = self.pos;
            while !is_blank_or_end(self.source, self.pos) {
                let ends = match self.at(0) {
                    b':' => is_blank_or_end(self.source, self.pos + 1),
                    b',' | b'?' | b'[' | b']' | b'{' | b'}' => self.flow_level > 0,
                    _ => false,
                };
                if ends {
                    break;
                }
                if gap.broken || !gap.blanks.is_empty() {
                    gap.fold_into(&mut text);
                    run = self.pos;
                }
                self.skip_run();
                end = self.mark;
            }
            if run < self.pos {
                text.push_source(run..self.pos);
            }
            if !(is_blank(self.source, self.pos) || is_break(self.source, self.pos)) {
                break;
            }
            self.scan_gap(&mut gap, Some(indent), start)?;
            if self.flow_level == 0 && self.mark.column < indent {
                break;
            }
        }
        let place = Some(start.octet..end.octet);
        self.push(
            TokenKind::Scalar {
                text: text.finish(),
                style: Style::Plain,
                place,
            },
            start,
            end,
        );
        if gap.broken {
            self.simple_key_allowed = true;
        }
        Ok(())
    }

    pub(super) fn scan_quoted_scalar(&mut self, single: bool) -> Result<(), Fault> {
        let start = self.mark;
        let quote = self.at(0);
        self.skip();
        let mut text = TextBuilder::new(self.source);
        loop {
            if self.at_document_indicator() {
                return Err(self.fault(start, "a quoted text holds a document separator"));
            }
            if self.is_end() {
                return Err(self.fault(start, "a quoted text does not end"));
            }
            let mut gap = Gap::default();
            let mut run = self.pos;
            while !is_blank_or_end(self.source, self.pos) {
                let octet = self.at(0);
                if single && octet == quote && self.at(1) == quote {
                    // One of the two quotes stays.
                    text.push_source(run..self.pos + 1);
                    self.skip();
                    self.skip();
                    run = self.pos;
                } else if octet == quote {
                    break;
                } else if !single && octet == b'\\' {
                    text.push_source(run..self.pos);
                    if is_break(self.source, self.pos + 1) {
                        self.skip();
                        self.skip_line();
                        gap.broken = true;
                        run = self.pos;
                        break;
                    }
                    self.scan_escape(&mut text, start)?;
                    run = self.pos;
                } else {
                    self.skip_run();
                }
            }
            if run < self.pos {
                text.push_source(run..self.pos);
            }
            if self.at(0) == quote {
                break;
            }
            // After an escaped break `leading_break` stays empty: only the breaks behind it count.
            self.scan_gap(&mut gap, None, start)?;
            gap.fold_into(&mut text);
        }
        self.skip();
        let style = if single {
            Style::SingleQuoted
        } else {
            Style::DoubleQuoted
        };
        let place = Some(start.octet..self.pos);
        self.push(
            TokenKind::Scalar {
                text: text.finish(),
                style,
                place,
            },
            start,
            self.mark,
        );
        Ok(())
    }

    /// Decodes one `\` escape.
    fn scan_escape(&mut self, text: &mut TextBuilder<'_>, start: Mark) -> Result<(), Fault> {
        let (plain, digits): (&[u8], usize) = match self.at(1) {
            b'0' => (b"\0", 0),
            b'a' => (b"\x07", 0),
            b'b' => (b"\x08", 0),
            b't' | b'\t' => (b"\t", 0),
            b'n' => (b"\n", 0),
            b'v' => (b"\x0B", 0),
            b'f' => (b"\x0C", 0),
            b'r' => (b"\r", 0),
            b'e' => (b"\x1B", 0),
            b' ' => (b" ", 0),
            b'"' => (b"\"", 0),
            b'\'' => (b"'", 0),
            b'\\' => (b"\\", 0),
            b'N' => ("\u{85}".as_bytes(), 0),
            b'_' => ("\u{A0}".as_bytes(), 0),
            b'L' => ("\u{2028}".as_bytes(), 0),
            b'P' => ("\u{2029}".as_bytes(), 0),
            b'x' => (b"", 2),
            b'u' => (b"", 4),
            b'U' => (b"", 8),
            _ => return Err(self.fault(start, "a quoted text has an unknown escape")),
        };
        self.skip();
        self.skip();
        text.push(plain);
        if digits > 0 {
            let mut value = 0_u32;
            for _ in 0..digits {
                let Some(digit) = hex(self.at(0)) else {
                    return Err(
                        self.fault(start, "a quoted text has an escape with a digit missing")
                    );
                };
                value = value << 4 | u32::from(digit);
                self.skip();
            }
            let Some(character) = char::from_u32(value) else {
                return Err(self.fault(start, "a quoted text has an escape that is no character"));
            };
            text.push(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }

    pub(super) fn scan_block_scalar(&mut self, literal: bool) -> Result<(), Fault> {
        let start = self.mark;
        self.skip();
        let (keep, increment) = self.scan_block_header(start)?;
        let header_end = self.pos;
        self.skip_blanks();
        let mut place = start.octet..header_end;
        let commented = self.at(0) == b'#';
        if commented {
            self.scan_line_comment(start);
        }
        if !is_break_or_end(self.source, self.pos) {
            return Err(self.fault(start, "a block text has text behind its header"));
        }
        self.skip_line();

        let mut indent = if increment > 0 {
            self.indent.max(0) + increment
        } else {
            0
        };
        let mut text = TextBuilder::new(self.source);
        let mut leading_break = Vec::new();
        let mut trailing_breaks = Vec::new();
        let mut leading_blank = false;
        let mut end = self.scan_block_breaks(&mut indent, &mut trailing_breaks, start)?;
        while self.mark.column == indent && !self.is_end() {
            let blank = is_blank(self.source, self.pos);
            if !literal && !leading_blank && !blank && leading_break == b"\n" {
                if trailing_breaks.is_empty() {
                    text.push(b" ");
                }
            } else {
                text.push(&leading_break);
            }
            leading_break.clear();
            text.push(&trailing_breaks);
            trailing_breaks.clear();
            leading_blank = blank;
            let line = self.pos;
            while !is_break_or_end(self.source, self.pos) {
                self.skip_run();
            }
            text.push_source(line..self.pos);
            place.end = self.pos;
            self.read_line(&mut leading_break);
            end = self.scan_block_breaks(&mut indent, &mut trailing_breaks, start)?;
        }
        if keep != Some(false) {
            text.push(&leading_break);
        }
        if keep == Some(true) {
            text.push(&trailing_breaks);
        }
        let style = if literal {
            Style::Literal
        } else {
            Style::Folded
        };
        // With a comment in it the place could not be replaced without losing the comment.
        let place = (!commented).then_some(place);
        self.push(
            TokenKind::Scalar {
                text: text.finish(),
                style,
                place,
            },
            start,
            end,
        );
        Ok(())
    }

    /// Reads `+` or `-` and the digit, in either order: whether final breaks are kept (none: one of them), and the digit.
    fn scan_block_header(&mut self, start: Mark) -> Result<(Option<bool>, i64), Fault> {
        let mut keep = None;
        let mut increment = 0;
        for _ in 0..2 {
            match self.at(0) {
                sign @ (b'+' | b'-') if keep.is_none() => keep = Some(sign == b'+'),
                b'0' if increment == 0 => {
                    return Err(self.fault(start, "a block text has indentation 0"));
                }
                digit @ b'1'..=b'9' if increment == 0 => increment = i64::from(digit - b'0'),
                _ => break,
            }
            self.skip();
        }
        Ok((keep, increment))
    }

    /// Steps over indentation and blank lines; finds the indentation if it is 0. The end of the last line passed.
    fn scan_block_breaks(
        &mut self,
        indent: &mut i64,
        breaks: &mut Vec<u8>,
        start: Mark,
    ) -> Result<Mark, Fault> {
        let mut end = self.mark;
        let mut deepest = 0;
        loop {
            while (*indent == 0 || self.mark.column < *indent) && self.at(0) == b' ' {
                self.skip();
            }
            deepest = deepest.max(self.mark.column);
            if (*indent == 0 || self.mark.column < *indent) && self.at(0) == b'\t' {
                return Err(self.fault(start, "a tab stands where indentation should"));
            }
            if !is_break(self.source, self.pos) {
                break;
            }
            self.read_line(breaks);
            end = self.mark;
        }
        if *indent == 0 {
            *indent = deepest.max(self.indent + 1).max(1);
        }
        Ok(end)
    }
}
