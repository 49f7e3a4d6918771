//! Tokens, marks and comment runs: what the scanner hands to the parser.

use std::ops::Range;

use super::super::buffer::Text;

/// A place in the source, counted as go-yaml counts (characters, CRLF as two), and in octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Mark {
    pub(in super::super) index: i64,
    pub(in super::super) line: i64,
    pub(in super::super) column: i64,
    pub(in super::super) octet: usize,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    Literal,
    Folded,
}

/// A tag as written: its handle (`!`, `!!`, `!x!`, or none for `!<…>` and `!`) and the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct RawTag {
    pub(in super::super) handle: Vec<u8>,
    pub(in super::super) suffix: Vec<u8>,
}

pub(in super::super) enum TokenKind<'a> {
    StreamStart,
    StreamEnd,
    VersionDirective {
        major: u8,
        minor: u8,
    },
    TagDirective {
        handle: Vec<u8>,
        prefix: Vec<u8>,
    },
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(Vec<u8>),
    Anchor(Vec<u8>),
    Tag(RawTag),
    Scalar {
        text: Text<'a>,
        style: Style,
        place: Option<Range<usize>>,
    },
    /// Its content has been taken by the parser.
    Spent,
}

pub(in super::super) struct Token<'a> {
    pub(in super::super) kind: TokenKind<'a>,
    pub(in super::super) start: Mark,
    pub(in super::super) end: Mark,
}

/// Lines of a comment, each from its `#` to the end of the line; none for an empty line between them.
pub(in super::super) type Lines = Vec<Option<Range<usize>>>;

/// Joins two comments as go-yaml does, with a line break if both are there.
pub(in super::super) fn append(to: &mut Lines, more: Lines) {
    if to.is_empty() {
        *to = more;
    } else {
        to.extend(more);
    }
}

/// A run of comment lines and the token it is bound to.
#[derive(Default)]
pub(super) struct CommentRun {
    /// Where scanning for it began.
    pub(super) scan: Mark,
    /// The token it belongs to stands here.
    pub(super) token: Mark,
    pub(super) start: Mark,
    pub(super) end: Mark,
    pub(super) head: Lines,
    pub(super) line: Lines,
    pub(super) foot: Lines,
}
