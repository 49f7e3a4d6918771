//! Character classes of YAML 1.1 as go-yaml draws them, over UTF-8 octets; past the end stands NUL.

/// The octet at `i`, NUL past the end. The reader lets no NUL into the source, so NUL means the end.
pub(super) fn octet(text: &[u8], i: usize) -> u8 {
    text.get(i).copied().unwrap_or(0)
}

/// Length in octets of the character that starts with `octet`; 1 for a stray one, so that loops advance.
pub(super) fn width(octet: u8) -> usize {
    match octet {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    }
}

/// Letters, digits, `_` and `-` of ASCII: what anchors and tag handles are made of.
pub(super) fn is_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-')
}

/// Blank or tab.
pub(super) fn is_blank(text: &[u8], i: usize) -> bool {
    matches!(octet(text, i), b' ' | b'\t')
}

/// A line break: CR, LF, NEL, LS or PS.
pub(super) fn is_break(text: &[u8], i: usize) -> bool {
    match octet(text, i) {
        b'\r' | b'\n' => true,
        0xC2 => octet(text, i + 1) == 0x85,
        0xE2 => octet(text, i + 1) == 0x80 && matches!(octet(text, i + 2), 0xA8 | 0xA9),
        _ => false,
    }
}

/// A line break or the end.
pub(super) fn is_break_or_end(text: &[u8], i: usize) -> bool {
    octet(text, i) == 0 || is_break(text, i)
}

/// Blank, tab, line break or the end.
pub(super) fn is_blank_or_end(text: &[u8], i: usize) -> bool {
    is_blank(text, i) || is_break_or_end(text, i)
}

/// Whether go-yaml prints the character at `i` raw. Nothing above U+FFFF counts as printable.
pub(super) fn is_printable(text: &[u8], i: usize) -> bool {
    let next = octet(text, i + 1);
    match octet(text, i) {
        b'\n' | 0x20..=0x7E | 0xC3..=0xEC | 0xEE => true,
        0xC2 => next >= 0xA0,
        0xED => next < 0xA0,
        0xEF => {
            let last = octet(text, i + 2);
            !(next == 0xBB && last == 0xBF || next == 0xBF && matches!(last, 0xBE | 0xBF))
        }
        _ => false,
    }
}
