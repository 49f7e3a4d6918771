//! The texts under which a value shows up in output: itself, its lines, and the ways in which programs print it.
//!
//! A value counts from [`SHORTEST`] bytes on: what is shorter would be found in every other line.

use base64::Engine;
use base64::alphabet::{self, Alphabet};
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::SecretBytes;

/// The shortest value, and the shortest part of one, that is looked for.
pub const SHORTEST: usize = 8;

/// What is looked for, ready to be found.
///
/// # Secrets
/// The patterns are plaintext, wiped on drop.
#[derive(Debug)]
pub struct Patterns {
    /// Sorted, each once, none shorter than [`SHORTEST`].
    sorted: Vec<SecretBytes>,
    /// A bit for the hash of each pattern's first bytes: most places in a text are told apart by it alone.
    filter: Vec<u64>,
}

const FILTER_BITS: u32 = 14;

/// What was found at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// The length of the longest pattern that stands there; 0 if none does.
    pub length: usize,
    /// Whether the text ends within a pattern that may begin there.
    pub may_go_on: bool,
}

impl Patterns {
    /// Everything under which these values may be printed.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Vec::new();
        for value in values {
            for part in parts(value) {
                renderings(part.expose(), &mut all);
            }
        }
        all.retain(|pattern| pattern.expose().len() >= SHORTEST);
        all.sort_by(|a, b| a.expose().cmp(b.expose()));
        all.dedup_by(|a, b| a.expose() == b.expose());
        let mut filter = vec![0; 1 << (FILTER_BITS - 6)];
        for pattern in &all {
            let bit = hash(pattern.expose());
            filter[bit >> 6] |= 1 << (bit & 63);
        }
        Self {
            sorted: all,
            filter,
        }
    }

    /// Nothing to look for.
    pub fn none() -> Self {
        Self::of([])
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// What stands at the beginning of `text`.
    pub(super) fn at(&self, text: &[u8]) -> Found {
        let mut found = Found {
            length: 0,
            may_go_on: false,
        };
        let head = if text.len() >= SHORTEST {
            let bit = hash(text);
            if self.filter[bit >> 6] & (1 << (bit & 63)) == 0 {
                return found;
            }
            &text[..SHORTEST]
        } else {
            text
        };
        let begin = self
            .sorted
            .partition_point(|p| p.expose().as_slice() < head);
        for pattern in &self.sorted[begin..] {
            let pattern = pattern.expose();
            if !pattern.starts_with(head) {
                break;
            }
            if text.starts_with(pattern) {
                found.length = found.length.max(pattern.len());
            } else if pattern.starts_with(text) {
                found.may_go_on = true;
            }
        }
        found
    }
}

/// Of the first bytes of `text`, which has at least [`SHORTEST`].
fn hash(text: &[u8]) -> usize {
    let mut head = [0; SHORTEST];
    head.copy_from_slice(&text[..SHORTEST]);
    let spread = u64::from_le_bytes(head).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread >> (64 - FILTER_BITS)) as usize
}

/// The value, its lines, and what compose makes of each: it takes quotes away, reads escapes, ends at ` #`, and takes a `$`
/// for a variable.
pub(super) fn parts(value: &[u8]) -> Vec<SecretBytes> {
    let mut parts = Vec::new();
    add_parts(value, &mut parts);
    if value.contains(&b'\\') {
        add_parts(SecretBytes::new(unescaped(value)).expose(), &mut parts);
    }
    parts.sort_by(|a, b| a.expose().cmp(b.expose()));
    parts.dedup_by(|a, b| a.expose() == b.expose());
    parts
}

fn add_parts(value: &[u8], to: &mut Vec<SecretBytes>) {
    let mut add = |part: &[u8]| {
        for part in [part, part.trim_ascii()] {
            if part.len() >= SHORTEST {
                to.push(SecretBytes::from_slice(part));
            }
        }
    };
    let is_quote = |b: &u8| matches!(b, b'"' | b'\'');
    add(value);
    for line in value.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let bare = line.trim_ascii();
        let front = bare.iter().take_while(|b| is_quote(b)).count();
        let back = bare[front..]
            .iter()
            .rev()
            .take_while(|b| is_quote(b))
            .count();
        let unquoted = &bare[front..bare.len() - back];
        for text in [line, unquoted] {
            let comment = text.windows(2).position(|pair| pair == b" #");
            for text in [text, &text[..comment.unwrap_or(text.len())]] {
                add(text);
                around_dollars(text).into_iter().for_each(&mut add);
            }
        }
    }
}

/// What a double-quoted value of an `.env` stands for.
pub(crate) fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'\\', Some(escaped)) => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                bytes.next();
            }
            _ => out.push(*byte),
        }
    }
    out
}

/// A value's text between variables, and the names that are taken for variables: `$NAME`, `${NAME…}`; `$$` is a dollar.
///
/// Source: compose-spec, `template/template.go`; compose prints such a name in a warning, and the text around it as the value.
fn around_dollars(line: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    while at < line.len() {
        if line[at] != b'$' {
            at += 1;
            continue;
        }
        let braced = line.get(at + 1) == Some(&b'{');
        let name = at + 1 + usize::from(braced);
        let length = line[name..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
            .count();
        if line.get(at + 1) == Some(&b'$') {
            at += 2;
        } else if length == 0 {
            at += 1;
        } else {
            parts.push(&line[begin..at]);
            parts.push(&line[name..name + length]);
            at = name + length;
            if braced && line.get(at) == Some(&b'}') {
                at += 1;
            }
            begin = at;
        }
    }
    if begin > 0 {
        parts.push(&line[begin..]);
    }
    parts
}

/// The ways in which programs print `part`; some may be the same.
pub(crate) fn renderings(part: &[u8], to: &mut Vec<SecretBytes>) {
    plain_and_escaped(part, to);
    if part.contains(&b'$') {
        // Compose prints a dollar as two.
        let mut doubled = replaced(part, |b, out| {
            if b == b'$' {
                out.push(b'$');
            }
            out.push(b);
        });
        plain_and_escaped(&doubled, to);
        doubled.zeroize();
    }
    for alphabet in [&alphabet::STANDARD, &alphabet::URL_SAFE] {
        base64(part, alphabet, to);
    }
    for kept in [
        b"".as_slice(),
        b"/",
        // JavaScript's `encodeURIComponent`.
        b"!'()*",
        // Go's `url.PathEscape`, and a user's name or password in a URL.
        b"$&+=:@",
        b"$&+,;=",
    ] {
        for upper in [true, false] {
            keep(part, percent(part, kept, upper, b"%20"), to);
            keep(part, percent(part, kept, upper, b"+"), to);
        }
    }
}

fn plain_and_escaped(part: &[u8], to: &mut Vec<SecretBytes>) {
    to.push(SecretBytes::from_slice(part));
    // Single-quoted YAML, and a shell's.
    for quote in [b"''".as_slice(), b"'\\''"] {
        keep(
            part,
            replaced(part, |b, out| match b {
                b'\'' => out.extend(quote),
                _ => out.push(b),
            }),
            to,
        );
    }
    for (html, ascii, slash) in [
        (false, false, false),
        (true, false, false),
        (false, true, false),
        (true, true, false),
        (false, false, true),
        (false, true, true),
    ] {
        keep(part, json(part, html, ascii, slash), to);
    }
    // Escapes of single bytes: dotenv and Go's `%q` know `\n` and `\t`; dotenv escapes the dollar, too.
    keep(
        part,
        replaced(part, |b, out| match b {
            b'"' | b'\\' | b'$' | b'`' => out.extend([b'\\', b]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            _ => out.push(b),
        }),
        to,
    );
    keep(
        part,
        replaced(part, |b, out| match b {
            b'\n' => out.extend(b"\\n"),
            _ => out.push(b),
        }),
        to,
    );
}

/// A text of its own size, made in a buffer that never grows, so that no copy is left behind.
fn replaced(part: &[u8], mut each: impl FnMut(u8, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Zeroizing::new(Vec::with_capacity(part.len() * 6));
    for byte in part {
        each(*byte, &mut out);
    }
    out.to_vec()
}

/// Keeps a rendering that differs from what it renders.
fn keep(part: &[u8], mut rendering: Vec<u8>, to: &mut Vec<SecretBytes>) {
    if rendering == part {
        rendering.zeroize();
    } else {
        to.push(SecretBytes::new(rendering));
    }
}

/// The inside of a JSON string; `html` escapes as Go does, `ascii` as Python, `slash` as PHP.
fn json(part: &[u8], html: bool, ascii: bool, slash: bool) -> Vec<u8> {
    let mut out = Zeroizing::new(Vec::with_capacity(part.len() * 6));
    for chunk in part.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend([b'\\', c as u8]),
                '\n' => out.extend(b"\\n"),
                '\r' => out.extend(b"\\r"),
                '\t' => out.extend(b"\\t"),
                '\u{8}' => out.extend(b"\\b"),
                '\u{c}' => out.extend(b"\\f"),
                '/' if slash => out.extend(b"\\/"),
                '<' | '>' | '&' if html => unicode(c, &mut out),
                '\0'..='\u{1f}' => unicode(c, &mut out),
                _ if ascii && !c.is_ascii() => unicode(c, &mut out),
                _ => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend(chunk.invalid());
    }
    out.to_vec()
}

fn unicode(c: char, out: &mut Vec<u8>) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend(b"\\u");
        for shift in [12, 8, 4, 0] {
            out.push(b"0123456789abcdef"[usize::from(*unit >> shift & 15)]);
        }
    }
}

fn percent(part: &[u8], kept: &[u8], upper: bool, blank: &[u8]) -> Vec<u8> {
    let digits: &[u8; 16] = if upper {
        b"0123456789ABCDEF"
    } else {
        b"0123456789abcdef"
    };
    replaced(part, |b, out| match b {
        b' ' => out.extend(blank),
        b'-' | b'_' | b'.' | b'~' => out.push(b),
        _ if b.is_ascii_alphanumeric() || kept.contains(&b) => out.push(b),
        _ => out.extend([
            b'%',
            digits[usize::from(b >> 4)],
            digits[usize::from(b & 15)],
        ]),
    })
}

/// The value on its own, and what all texts share in which it stands after one, two or three other bytes.
fn base64(part: &[u8], alphabet: &Alphabet, to: &mut Vec<SecretBytes>) {
    let engine = GeneralPurpose::new(alphabet, NO_PAD);
    to.push(SecretBytes::new(engine.encode(part).into_bytes()));
    for before in 0..3_usize {
        let mut shifted = vec![0; before];
        shifted.reserve_exact(part.len());
        shifted.extend_from_slice(part);
        let mut text = engine.encode(&shifted).into_bytes();
        // Letters that hold bits of what stands before or behind differ.
        let first = (before * 8).div_ceil(6);
        let end = shifted.len() * 8 / 6;
        to.push(SecretBytes::from_slice(&text[first.min(end)..end]));
        text.zeroize();
        shifted.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(value: &[u8], text: &[u8]) -> bool {
        let patterns = Patterns::of([value]);
        (0..text.len()).any(|at| patterns.at(&text[at..]).length > 0)
    }

    #[test]
    fn a_value_is_found_however_it_is_printed() {
        for (value, printed) in [
            ("hunter2-hunter2", "hunter2-hunter2"),
            ("two lines\nof a secret", "  of a secret"),
            ("two lines\nof a secret", r#""two lines\nof a secret""#),
            ("quote\"back\\slash", r#"quote\"back\\slash"#),
            (
                "<tag>&more</tag>",
                r"\u003ctag\u003e\u0026more\u003c/tag\u003e",
            ),
            ("pässwörter", "p\\u00e4ssw\\u00f6rter"),
            ("/path/to/it", r"\/path\/to\/it"),
            ("it's a secret", "it''s a secret"),
            ("it's a secret", "it'\\''s a secret"),
            ("pa$$ pa$sw pa", "pa$$$$ pa$$sw pa"),
            ("p$w\"quoted\"", r#"p$$w\"quoted\""#),
            ("a b&c=d/e:f@g", "a%20b%26c%3Dd%2Fe%3Af%40g"),
            ("a b&c=d/e:f@g", "a+b%26c%3dd%2fe%3af%40g"),
            ("p@ss/word$1", "postgres://u:p%40ss%2Fword$1@db"),
            ("s3cr3t-va$lue", "X: s3cr3t-va"),
            ("pw$RestOfItAll", "The \"RestOfItAll\" variable is not set"),
            ("pw$RestOfItAll-and-more", "pw-and-more"),
            ("\"s3cr3t-va$lue it is\"", "X: s3cr3t-va it is"),
            ("'quoted value'", "X: quoted value"),
            ("\"line \\\"one\\\"\\nline two\"", "line two"),
            ("before-it #after", "before-it"),
        ] {
            assert!(finds(value.as_bytes(), printed.as_bytes()), "{printed}");
        }
        let engine = base64::engine::general_purpose::STANDARD;
        for before in ["", "u:", "user:", "x", "someone:"] {
            let text = engine.encode(format!("{before}hunter2-hunter2!").as_bytes());
            assert!(finds(b"hunter2-hunter2", text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn short_values_and_other_texts_are_left() {
        assert!(Patterns::of([b"hunter2".as_slice(), b"a\nb\nc\n"]).is_empty());
        assert!(!finds(
            b"hunter2-hunter2",
            b"hunter2-hunter3 and hunter2-hunte"
        ));
        assert!(!finds(b"cost: 5$ each", b"each and every one"));
    }

    #[test]
    fn the_beginning_of_a_pattern_at_the_end_is_told() {
        let patterns = Patterns::of([b"hunter2-hunter2".as_slice()]);
        for (text, length, may_go_on) in [
            ("h", 0, true),
            ("hunter2-hunte", 0, true),
            ("hunter2-hunter2", 15, false),
            ("hunter2-hunter2x", 15, false),
            ("hunter3", 0, false),
        ] {
            let expected = Found { length, may_go_on };
            assert_eq!(patterns.at(text.as_bytes()), expected, "{text}");
        }
    }
}
