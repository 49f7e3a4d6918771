//! The scanner: source text to tokens, with comments bound to them.
//!
//! A port of go-yaml v3's `scannerc.go` (3.0.1), for its comment rules depend on the scanner's state and decide where
//! sops puts each comment in the tree. See `NOTICE` beside this folder for its licence.

mod comments;
mod dispatch;
mod properties;
mod scalars;
mod token;

use std::collections::HashMap;

use super::chars::{is_blank, is_break, octet, width};
use super::fault::Fault;
use token::CommentRun;
pub(super) use token::{Lines, Mark, RawTag, Style, Token, TokenKind, append};

/// Deepest nesting of collections; go-yaml allows 10,000, which nobody writes and a call stack does not bear.
pub(super) const MAX_DEPTH: usize = 256;

#[derive(Clone, Copy)]
struct SimpleKey {
    possible: bool,
    required: bool,
    token_number: usize,
    mark: Mark,
}

/// Comments that wait for the event they belong to.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) head: Lines,
    pub(super) line: Lines,
    pub(super) foot: Lines,
}

pub(super) struct Scanner<'a> {
    source: &'a [u8],
    pos: usize,
    mark: Mark,
    newlines: i64,
    flow_level: usize,
    indent: i64,
    indents: Vec<i64>,
    simple_key_allowed: bool,
    simple_keys: Vec<SimpleKey>,
    simple_keys_by_token: HashMap<usize, usize>,
    stream_started: bool,
    tokens: Vec<Token<'a>>,
    /// Index in `tokens` of the first one that is not consumed; a few consumed ones stay before it.
    head: usize,
    consumed: usize,
    available: bool,
    comments: Vec<CommentRun>,
    comments_head: usize,
    pub(super) pending: Pending,
}

impl<'a> Scanner<'a> {
    /// Starts at octet `start` of `source`, which holds printable UTF-8 only.
    pub(super) fn new(source: &'a [u8], start: usize) -> Self {
        Self {
            source,
            pos: start,
            mark: Mark {
                octet: start,
                ..Mark::default()
            },
            newlines: 0,
            flow_level: 0,
            indent: -1,
            indents: Vec::new(),
            simple_key_allowed: true,
            simple_keys: vec![SimpleKey {
                possible: false,
                required: false,
                token_number: 0,
                mark: Mark::default(),
            }],
            simple_keys_by_token: HashMap::new(),
            stream_started: false,
            tokens: Vec::new(),
            head: 0,
            consumed: 0,
            available: false,
            comments: Vec::new(),
            comments_head: 0,
            pending: Pending::default(),
        }
    }

    /// Looks at the next token; its comments go to `pending`.
    pub(super) fn peek(&mut self) -> Result<&mut Token<'a>, Fault> {
        if !self.available {
            self.fetch_more()?;
        }
        let index = self.head;
        self.unfold_comments(index);
        Ok(&mut self.tokens[index])
    }

    /// Drops the token just peeked at.
    pub(super) fn skip_token(&mut self) {
        self.available = false;
        self.consumed += 1;
        self.head += 1;
        if self.head > 64 {
            // The scanner looks back at two tokens at most.
            self.tokens.drain(..self.head - 4);
            self.head = 4;
        }
    }

    /// Moves the comments bound to the token at `index`, or to what stands before it, to `pending`.
    fn unfold_comments(&mut self, index: usize) {
        let token = &self.tokens[index];
        while let Some(run) = self.comments.get_mut(self.comments_head) {
            if token.start.index < run.token.index {
                break;
            }
            // No heads on ends: they wait for the token that follows.
            if !run.head.is_empty() && matches!(token.kind, TokenKind::BlockEnd) {
                break;
            }
            let run = std::mem::take(run);
            append(&mut self.pending.head, run.head);
            append(&mut self.pending.foot, run.foot);
            append(&mut self.pending.line, run.line);
            self.comments_head += 1;
        }
    }

    fn fetch_more(&mut self) -> Result<(), Fault> {
        loop {
            // Comments need two tokens of lookahead: a foot is found before the token it precedes.
            if self.head + 2 < self.tokens.len() {
                match self.simple_keys_by_token.get(&self.consumed).copied() {
                    None => break,
                    Some(index) if !self.simple_key_is_valid(index)? => break,
                    Some(_) => {}
                }
            }
            self.fetch_next()?;
        }
        self.available = true;
        Ok(())
    }

    fn at(&self, offset: usize) -> u8 {
        octet(self.source, self.pos + offset)
    }

    fn is_end(&self) -> bool {
        self.pos >= self.source.len()
    }

    /// Steps over one character.
    fn skip(&mut self) {
        if !is_blank(self.source, self.pos) {
            self.newlines = 0;
        }
        self.mark.index += 1;
        self.mark.column += 1;
        self.pos += width(self.at(0));
        self.mark.octet = self.pos;
    }

    /// Steps over one character and the letters, digits and the like behind it, which end no scalar or comment.
    fn skip_run(&mut self) {
        self.skip();
        let rest = self.source.get(self.pos..).unwrap_or_default();
        let run = rest.iter().take_while(|octet| {
            octet.is_ascii_alphanumeric()
                || matches!(octet, b'/' | b'+' | b'=' | b'_' | b'.' | b'-')
        });
        let run = run.count();
        if run > 0 {
            self.newlines = 0;
            self.mark.index += run as i64;
            self.mark.column += run as i64;
            self.pos += run;
            self.mark.octet = self.pos;
        }
    }

    /// Steps over a line break, if there is one.
    fn skip_line(&mut self) {
        let octets = match self.at(0) {
            b'\r' if self.at(1) == b'\n' => {
                self.mark.index += 1;
                2
            }
            _ if is_break(self.source, self.pos) => width(self.at(0)),
            _ => return,
        };
        self.mark.index += 1;
        self.mark.column = 0;
        self.mark.line += 1;
        self.newlines += 1;
        self.pos += octets;
        self.mark.octet = self.pos;
    }

    /// Steps over a line break and appends it to `breaks`: LF for CR, LF, CRLF and NEL, LS and PS as they are.
    fn read_line(&mut self, breaks: &mut Vec<u8>) {
        if !is_break(self.source, self.pos) {
            return;
        }
        if self.at(0) == 0xE2 {
            breaks.extend([0xE2, 0x80, self.at(2)]);
        } else {
            breaks.push(b'\n');
        }
        self.skip_line();
    }

    fn push(&mut self, kind: TokenKind<'a>, start: Mark, end: Mark) {
        self.tokens.push(Token { kind, start, end });
    }

    /// Inserts a token before the one with `number`, counted from the start of the stream.
    fn insert(&mut self, number: usize, kind: TokenKind<'a>, mark: Mark) {
        let token = Token {
            kind,
            start: mark,
            end: mark,
        };
        match number.checked_sub(self.consumed) {
            Some(offset) if self.head + offset <= self.tokens.len() => {
                self.tokens.insert(self.head + offset, token)
            }
            _ => self.tokens.push(token),
        }
    }

    fn fault(&self, mark: Mark, reason: &'static str) -> Fault {
        Fault::at(mark, reason)
    }

    /// Whether `---` or `...` stands here, at the start of a line.
    fn at_document_indicator(&self) -> bool {
        self.mark.column == 0
            && matches!(self.at(0), b'-' | b'.')
            && self.at(1) == self.at(0)
            && self.at(2) == self.at(0)
            && super::chars::is_blank_or_end(self.source, self.pos + 3)
    }
}
