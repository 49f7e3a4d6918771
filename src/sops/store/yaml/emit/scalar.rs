//! How a scalar is printed: its text, style and tag, and the writing of each style.
//!
//! Source: go-yaml v3 `encode.go` (`stringv`, `encodeBase64`, `isBase60Float`, `isOldBool`) and `emitterc.go`.

use std::borrow::Cow;

use base64::Engine as _;
use zeroize::{Zeroize, Zeroizing};

use super::super::chars::{is_break, is_printable, octet, width};
use super::super::resolve::{self, Plain};
use super::super::scan::Style;
use super::analysis::{Analysis, analyze};
use super::writer::Writer;
use crate::sops::store::number;
use crate::sops::tree::Value;

/// Longest key that stands before its colon without a `?`, tag included.
const SIMPLE_KEY_LENGTH: usize = 128;

/// A scalar ready to be printed.
pub(super) struct Form<'t> {
    text: Cow<'t, [u8]>,
    tag: &'static str,
    style: Style,
    analysis: Analysis,
}

impl Drop for Form<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.text {
            text.zeroize();
        }
    }
}

impl<'t> Form<'t> {
    pub(super) fn of(value: &'t Value) -> Self {
        match value {
            Value::Null => Self::plain(Cow::Borrowed(b"null")),
            Value::Bool(true) => Self::plain(Cow::Borrowed(b"true")),
            Value::Bool(false) => Self::plain(Cow::Borrowed(b"false")),
            Value::Int(int) => Self::plain(Cow::Owned(int.to_string().into_bytes())),
            Value::Float(float) => Self::plain(Cow::Owned(float_text(*float).into_bytes())),
            Value::Time(time) => Self::plain(Cow::Borrowed(time.expose())),
            Value::Str(text) => Self::of_text(text.expose()),
        }
    }

    fn plain(text: Cow<'t, [u8]>) -> Self {
        let analysis = analyze(&text);
        Self {
            text,
            tag: "",
            style: Style::Plain,
            analysis,
        }
    }

    /// The form of a string.
    pub(super) fn of_text(text: &'t [u8]) -> Self {
        let Ok(valid) = std::str::from_utf8(text) else {
            return Self::binary(text);
        };
        let analysis = analyze(text);
        let style = if text.contains(&b'\n') {
            // Sops prints null for a block text that starts with a tab: its indentation cannot be found.
            if analysis.block && text[0] != b'\t' {
                Style::Literal
            } else {
                Style::DoubleQuoted
            }
        } else if resolve::plain(text) != Plain::Str || is_base_60(text) || is_old_bool(valid) {
            Style::DoubleQuoted
        } else if analysis.plain {
            Style::Plain
        } else if analysis.single_quoted {
            Style::SingleQuoted
        } else {
            Style::DoubleQuoted
        };
        // A plain `<<` would be a merge key, so its reading is spelled out.
        let tag = if text == b"<<" { "!!merge" } else { "" };
        Self {
            text: Cow::Borrowed(text),
            tag,
            style,
            analysis,
        }
    }

    /// Octets that are not UTF-8, as base64 in lines of 70.
    fn binary(octets: &[u8]) -> Self {
        let digits = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(octets));
        let many = digits.len() >= 70;
        let mut text = Vec::with_capacity(digits.len() + digits.len() / 70 + 1);
        for line in digits.as_bytes().chunks(70) {
            text.extend_from_slice(line);
            if many {
                text.push(b'\n');
            }
        }
        let style = if many { Style::Literal } else { Style::Plain };
        let analysis = analyze(&text);
        Self {
            text: Cow::Owned(text),
            tag: "!!binary",
            style,
            analysis,
        }
    }

    /// Whether it can stand as a key without a `?`.
    pub(super) fn is_simple_key(&self) -> bool {
        !self.analysis.multiline && self.text.len() + self.tag.len() <= SIMPLE_KEY_LENGTH
    }
}

/// Go's shortest `%g` in YAML's spelling.
fn float_text(float: f64) -> String {
    if float.is_nan() {
        ".nan".to_owned()
    } else if float.is_infinite() {
        if float > 0.0 { ".inf" } else { "-.inf" }.to_owned()
    } else {
        number::general(float, 'e')
    }
}

fn is_old_bool(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "on"
            | "On"
            | "ON"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "off"
            | "Off"
            | "OFF"
    )
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`, a number to the base 60 in YAML 1.1.
fn is_base_60(text: &[u8]) -> bool {
    let text = text
        .strip_prefix(b"+")
        .or_else(|| text.strip_prefix(b"-"))
        .unwrap_or(text);
    let mut parts = text.split(|octet| *octet == b':');
    let head = parts.next().unwrap_or_default();
    let digits = |text: &[u8]| {
        text.iter()
            .all(|octet| octet.is_ascii_digit() || *octet == b'_')
    };
    if !head.first().is_some_and(u8::is_ascii_digit) || !digits(head) {
        return false;
    }
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return false;
    }
    while let Some(mut part) = parts.next() {
        if parts.peek().is_none()
            && let Some(dot) = part.iter().position(|octet| *octet == b'.')
        {
            if !digits(&part[dot + 1..]) {
                return false;
            }
            part = &part[..dot];
        }
        let sound = match part {
            [digit] => digit.is_ascii_digit(),
            [b'0'..=b'5', digit] => digit.is_ascii_digit(),
            _ => false,
        };
        if !sound {
            return false;
        }
    }
    true
}

impl Writer {
    /// Prints a scalar: `in_list` behind a dash, `as_key` before a colon.
    pub(super) fn scalar(&mut self, form: &Form<'_>, in_list: bool, as_key: bool) {
        if !form.tag.is_empty() {
            if !self.whitespace {
                self.put(b' ');
            }
            self.out.extend(form.tag.as_bytes());
            self.column += form.tag.len();
            self.whitespace = false;
            self.indention = false;
        }
        let style = match form.style {
            _ if as_key && form.analysis.multiline => Style::DoubleQuoted,
            style => style,
        };
        let outer = self.increase_indent_inline(in_list);
        let text = &*form.text;
        match style {
            Style::Plain => self.plain(text),
            Style::SingleQuoted => self.single_quoted(text),
            Style::DoubleQuoted => self.double_quoted(text),
            Style::Literal | Style::Folded => self.literal(text, outer),
        }
        self.restore_indent(outer);
    }

    fn plain(&mut self, text: &[u8]) {
        if !self.whitespace {
            self.put(b' ');
        }
        // Nothing printed plain holds a line break.
        self.out.extend(text);
        self.column += text.len();
        self.whitespace = false;
        self.indention = false;
    }

    fn single_quoted(&mut self, text: &[u8]) {
        self.indicator(b"'", true, false, false);
        let mut breaks = false;
        let mut i = 0;
        while i < text.len() {
            if is_break(text, i) {
                if !breaks && text[i] == b'\n' {
                    self.put_break();
                }
                i += self.write_break(text, i);
                breaks = true;
                continue;
            }
            if text[i] == b' ' {
                i += self.write(text, i);
                continue;
            }
            if breaks {
                self.write_indent();
            }
            if text[i] == b'\'' {
                self.put(b'\'');
            }
            i += self.write(text, i);
            self.indention = false;
            breaks = false;
        }
        self.indicator(b"'", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn double_quoted(&mut self, text: &[u8]) {
        self.indicator(b"\"", true, false, false);
        // go-yaml looks for a BOM at the start of the text, whichever character it is at.
        let with_bom = text.starts_with(b"\xEF\xBB\xBF");
        let mut i = 0;
        while i < text.len() {
            if with_bom
                || !is_printable(text, i)
                || is_break(text, i)
                || matches!(text[i], b'"' | b'\\')
            {
                i += self.escape(text, i);
            } else {
                i += self.write(text, i);
            }
        }
        self.indicator(b"\"", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    /// Writes the character at `i` as an escape; the octets it takes.
    fn escape(&mut self, text: &[u8], i: usize) -> usize {
        let octets = width(octet(text, i));
        let character = std::str::from_utf8(&text[i..(i + octets).min(text.len())])
            .ok()
            .and_then(|text| text.chars().next());
        // The text is valid UTF-8: only then is it quoted.
        let value = character.map_or(0xFFFD, u32::from);
        let short = match value {
            0x00 => b'0',
            0x07 => b'a',
            0x08 => b'b',
            0x09 => b't',
            0x0A => b'n',
            0x0B => b'v',
            0x0C => b'f',
            0x0D => b'r',
            0x1B => b'e',
            0x22 => b'"',
            0x5C => b'\\',
            0x85 => b'N',
            0xA0 => b'_',
            0x2028 => b'L',
            0x2029 => b'P',
            _ => 0,
        };
        self.put(b'\\');
        if short != 0 {
            self.put(short);
            return octets;
        }
        let (letter, digits) = match value {
            0..=0xFF => (b'x', 2),
            0x100..=0xFFFF => (b'u', 4),
            _ => (b'U', 8),
        };
        self.put(letter);
        for place in (0..digits).rev() {
            self.put(b"0123456789ABCDEF"[(value >> (4 * place)) as usize & 0xF]);
        }
        octets
    }

    fn literal(&mut self, text: &[u8], outer: Option<usize>) {
        self.indicator(b"|", true, false, false);
        if matches!(octet(text, 0), b' ') || is_break(text, 0) {
            // Sops prints its indent setting here, which is wrong behind a dash and below it: it cannot read the text
            // back then. The digit counts from the column of the keys or dashes around.
            let digit = [self.indent_digit(outer)];
            self.indicator(&digit, false, false, false);
        }
        if let Some(chomp) = chomping(text) {
            self.indicator(&[chomp], false, false, false);
        }
        self.put_break();
        self.whitespace = true;
        let mut breaks = true;
        let mut i = 0;
        while i < text.len() {
            if is_break(text, i) {
                i += self.write_break(text, i);
                breaks = true;
                continue;
            }
            if breaks {
                self.write_indent();
            }
            i += self.write(text, i);
            self.indention = false;
            breaks = false;
        }
    }
}

/// The sign in a literal's header: `-` without a final break, `+` with more than one or nothing else.
fn chomping(text: &[u8]) -> Option<u8> {
    let last = |text: &[u8]| (0..text.len()).rev().find(|i| text[*i] & 0xC0 != 0x80);
    let Some(end) = last(text) else {
        return Some(b'-');
    };
    if !is_break(text, end) {
        return Some(b'-');
    }
    match last(&text[..end]) {
        None => Some(b'+'),
        Some(before) if is_break(text, before) => Some(b'+'),
        Some(_) => None,
    }
}
