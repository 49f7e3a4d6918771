//! The octets of a file as text go-yaml would read: UTF-8 with or without a BOM, or UTF-16 with one.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::fault::Fault;
use super::scan::Mark;

/// A file as UTF-8.
pub(super) struct Source<'a> {
    pub(super) text: Cow<'a, [u8]>,
    /// Where the text starts, behind a BOM.
    pub(super) start: usize,
    /// Whether octets of `text` are those of the file; not so for UTF-16.
    pub(super) in_place: bool,
}

/// Decodes and checks the whole file.
pub(super) fn decode(file: &[u8]) -> Result<Source<'_>, Fault> {
    let source = match file {
        [0xEF, 0xBB, 0xBF, ..] => Source {
            text: Cow::Borrowed(file),
            start: 3,
            in_place: true,
        },
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        _ => Source {
            text: Cow::Borrowed(file),
            start: 0,
            in_place: true,
        },
    };
    check(&source.text, source.start)?;
    Ok(source)
}

fn utf16(file: &[u8], unit: fn([u8; 2]) -> u16) -> Result<Source<'_>, Fault> {
    let broken = || Fault::at(Mark::default(), "not valid UTF-16");
    let (pairs, rest) = file.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(broken());
    }
    let mut text = Zeroizing::new(Vec::with_capacity(file.len() * 2));
    for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        let character = character.map_err(|_| broken())?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(Source {
        text: Cow::Owned(std::mem::take(&mut *text)),
        start: 0,
        in_place: false,
    })
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.text {
            zeroize::Zeroize::zeroize(text);
        }
    }
}

/// Refuses what go-yaml's reader refuses: broken UTF-8 and control characters.
fn check(text: &[u8], start: usize) -> Result<(), Fault> {
    let fault = |at: usize, reason| Err(Fault::at(mark_of(text, at), reason));
    let body = &text[start..];
    let valid = match std::str::from_utf8(body) {
        Ok(valid) => valid,
        Err(error) => return fault(start + error.valid_up_to(), "not valid UTF-8"),
    };
    let octets = valid.as_bytes();
    for (i, octet) in octets.iter().enumerate() {
        let bad = match octet {
            b'\t' | b'\n' | b'\r' | 0x20..=0x7E | 0x80..=0xC1 | 0xC3..=0xEE | 0xF0.. => false,
            // U+0080 to U+009F, but for NEL.
            0xC2 => octets[i + 1] < 0xA0 && octets[i + 1] != 0x85,
            // U+FFFE and U+FFFF.
            0xEF => octets[i + 1] == 0xBF && octets[i + 2] >= 0xBE,
            _ => true,
        };
        if bad {
            return fault(start + i, "a control character");
        }
    }
    Ok(())
}

fn mark_of(text: &[u8], at: usize) -> Mark {
    let before = &text[..at];
    let line = before.iter().filter(|octet| **octet == b'\n').count();
    let column = before
        .iter()
        .rev()
        .take_while(|octet| **octet != b'\n')
        .count();
    Mark {
        index: 0,
        line: i64::try_from(line).unwrap_or(0),
        column: i64::try_from(column).unwrap_or(0),
        octet: at,
    }
}
