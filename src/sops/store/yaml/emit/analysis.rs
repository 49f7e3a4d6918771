//! In which styles a text can be printed.
//!
//! Source: go-yaml v3 `emitterc.go` (`yaml_emitter_analyze_scalar`).

use super::super::chars::{is_blank, is_blank_or_end, is_break, is_printable, width};

/// What a text allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Analysis {
    pub(super) multiline: bool,
    pub(super) plain: bool,
    pub(super) single_quoted: bool,
    pub(super) block: bool,
}

/// Looks at every character once.
pub(super) fn analyze(text: &[u8]) -> Analysis {
    if text.is_empty() {
        return Analysis {
            multiline: false,
            plain: true,
            single_quoted: true,
            block: false,
        };
    }
    let mut indicators = text.starts_with(b"---") || text.starts_with(b"...");
    let (mut breaks, mut special, mut tabs) = (false, false, false);
    let (mut space_first, mut break_first, mut space_last, mut break_last) =
        (false, false, false, false);
    let (mut space_after_break, mut break_after_space) = (false, false);
    let (mut after_space, mut after_break, mut after_blank) = (false, false, true);

    let mut i = 0;
    while i < text.len() {
        let next = i + width(text[i]);
        let before_blank = next >= text.len() || is_blank(text, next);
        indicators |= match text[i] {
            b'#' if i > 0 => after_blank,
            b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\''
            | b'"' | b'%' | b'@' | b'`' => i == 0,
            b'?' | b'-' => i == 0 && before_blank,
            b':' => before_blank,
            _ => false,
        };
        if text[i] == b'\t' {
            tabs = true;
        } else if !is_printable(text, i) {
            special = true;
        }
        let last = next >= text.len();
        if text[i] == b' ' {
            space_first |= i == 0;
            space_last |= last;
            space_after_break |= after_break;
            (after_space, after_break) = (true, false);
        } else if is_break(text, i) {
            breaks = true;
            break_first |= i == 0;
            break_last |= last;
            break_after_space |= after_space;
            (after_space, after_break) = (false, true);
        } else {
            (after_space, after_break) = (false, false);
        }
        after_blank = is_blank_or_end(text, i);
        i = next;
    }

    let raw = !(space_after_break || break_after_space || tabs || special);
    Analysis {
        multiline: breaks,
        plain: raw
            && !(space_first || break_first || space_last || break_last || breaks || indicators),
        single_quoted: raw,
        block: !(space_last || break_after_space || special),
    }
}
