//! Where the emitter stands on the page: columns, indentation, comments that wait for a place.

use super::super::buffer::Buffer;
use super::super::chars::{is_break, octet, width};
use crate::secret::SecretBytes;

pub(super) struct Writer {
    pub(super) out: Buffer,
    best_indent: usize,
    /// Column of the current block; none outside any.
    indent: Option<usize>,
    pub(super) column: usize,
    /// Whether the last thing written was blank.
    pub(super) whitespace: bool,
    /// Whether the line holds nothing but indentation and indicators.
    pub(super) indention: bool,
    /// A foot comment was written at this indentation: an empty line must follow it there.
    foot_indent: Option<usize>,
    head: Buffer,
    foot: Buffer,
    /// The foot of a mapping's last entry, printed where the mapping ends.
    tail: Buffer,
}

impl Writer {
    pub(super) fn new(indent: usize) -> Self {
        Self {
            out: Buffer::default(),
            best_indent: indent,
            indent: None,
            column: 0,
            whitespace: true,
            indention: true,
            foot_indent: None,
            head: Buffer::default(),
            foot: Buffer::default(),
            tail: Buffer::default(),
        }
    }

    pub(super) fn finish(self) -> SecretBytes {
        self.out.into_secret()
    }

    /// How far the text of a block scalar stands inside what stands at `outer`.
    pub(super) fn indent_digit(&self, outer: Option<usize>) -> u8 {
        let inside = self.indent.unwrap_or(0).saturating_sub(outer.unwrap_or(0));
        b'0' + u8::try_from(inside).unwrap_or(4)
    }

    pub(super) fn announce_head(&mut self, head: Buffer) {
        if !head.is_empty() {
            self.head = head;
        }
    }

    pub(super) fn announce_foot(&mut self, foot: Buffer) {
        if !foot.is_empty() {
            self.foot = foot;
        }
    }

    pub(super) fn announce_tail(&mut self, tail: Buffer) {
        if !tail.is_empty() {
            self.tail = tail;
        }
    }

    pub(super) fn put(&mut self, octet: u8) {
        self.out.push(octet);
        self.column += 1;
    }

    pub(super) fn put_break(&mut self) {
        self.out.push(b'\n');
        self.column = 0;
        self.indention = true;
    }

    /// Writes the character at `i` of `text`; the octets it takes.
    pub(super) fn write(&mut self, text: &[u8], i: usize) -> usize {
        let end = (i + width(octet(text, i))).min(text.len());
        self.out.extend(&text[i..end]);
        self.column += 1;
        end - i
    }

    /// Writes the line break at `i` of `text`; the octets it takes.
    pub(super) fn write_break(&mut self, text: &[u8], i: usize) -> usize {
        if text[i] == b'\n' {
            self.put_break();
            return 1;
        }
        let octets = self.write(text, i);
        self.column = 0;
        self.indention = true;
        octets
    }

    pub(super) fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put_break();
        }
        if self.foot_indent == Some(indent) {
            self.put_break();
        }
        while self.column < indent {
            self.put(b' ');
        }
        self.whitespace = true;
        self.foot_indent = None;
    }

    pub(super) fn indicator(
        &mut self,
        text: &[u8],
        need_blank: bool,
        is_blank: bool,
        is_indention: bool,
    ) {
        if need_blank && !self.whitespace {
            self.put(b' ');
        }
        for octet in text {
            self.put(*octet);
        }
        self.whitespace = is_blank;
        self.indention = self.indention && is_indention;
    }

    /// Goes one level in; the level to restore afterwards.
    pub(super) fn increase_indent(&mut self, in_list: bool) -> Option<usize> {
        let outer = self.indent;
        self.indent = Some(match outer {
            None => 0,
            Some(indent) => self.deeper(indent, in_list),
        });
        outer
    }

    /// As [`Self::increase_indent`], for scalars and flow collections.
    pub(super) fn increase_indent_inline(&mut self, in_list: bool) -> Option<usize> {
        let outer = self.indent;
        self.indent = Some(outer.map_or(self.best_indent, |indent| self.deeper(indent, in_list)));
        outer
    }

    fn deeper(&self, indent: usize, in_list: bool) -> usize {
        if in_list {
            indent + 2
        } else {
            self.best_indent * ((indent + self.best_indent) / self.best_indent)
        }
    }

    pub(super) fn restore_indent(&mut self, outer: Option<usize>) {
        self.indent = outer;
    }

    pub(super) fn document_separator(&mut self) {
        self.write_indent();
        self.indicator(b"---", true, false, false);
        self.write_indent();
        if !self.head.is_empty() {
            self.head_comment();
            self.put_break();
        }
    }

    pub(super) fn end_document(&mut self) {
        self.foot_indent = Some(0);
        self.foot_comment();
        self.foot_indent = None;
        self.write_indent();
    }

    /// Prints the tail and the head comment that wait, if they do.
    pub(super) fn head_comment(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        if !tail.is_empty() {
            self.write_indent();
            self.write_comment(tail.as_slice());
            self.foot_indent = Some(self.indent.unwrap_or(0));
        }
        let head = std::mem::take(&mut self.head);
        if !head.is_empty() {
            self.write_indent();
            self.write_comment(head.as_slice());
        }
    }

    /// Prints the foot comment that waits, if one does.
    pub(super) fn foot_comment(&mut self) {
        let foot = std::mem::take(&mut self.foot);
        if !foot.is_empty() {
            self.write_indent();
            self.write_comment(foot.as_slice());
            self.foot_indent = Some(self.indent.unwrap_or(0));
        }
    }

    fn write_comment(&mut self, comment: &[u8]) {
        let mut breaks = false;
        let mut pound = false;
        let mut i = 0;
        while i < comment.len() {
            if is_break(comment, i) {
                i += self.write_break(comment, i);
                breaks = true;
                pound = false;
                continue;
            }
            if breaks {
                self.write_indent();
            }
            if !pound {
                if comment[i] != b'#' {
                    self.put(b'#');
                    self.put(b' ');
                }
                pound = true;
            }
            i += self.write(comment, i);
            self.indention = false;
            breaks = false;
        }
        if !breaks {
            self.put_break();
        }
        self.whitespace = true;
    }

    pub(super) fn empty_list(&mut self, foot: Buffer) {
        self.announce_foot(foot);
        self.indicator(b"[", true, true, false);
        self.indicator(b"]", false, false, false);
        self.foot_comment();
    }

    pub(super) fn empty_mapping(&mut self, in_list: bool, foot: Buffer) {
        self.announce_foot(foot);
        self.indicator(b"{", true, true, false);
        let outer = self.increase_indent_inline(in_list);
        self.head_comment();
        self.restore_indent(outer);
        self.indicator(b"}", false, false, false);
        self.foot_comment();
    }
}
