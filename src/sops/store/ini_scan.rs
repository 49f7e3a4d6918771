//! The lines of an INI file as go-ini reads them, each with its place.

use std::ops::Range;

use crate::secret::SecretBytes;
use crate::sops::store::{Store, StoreError};

/// A section with its keys.
pub(super) struct Section {
    pub name: String,
    /// The line of the header; empty for the keys before any header.
    pub header: Range<usize>,
    /// The comments above, joined; and where the first stands.
    pub comment: Option<(SecretBytes, Range<usize>)>,
    pub keys: Vec<Key>,
}

/// A key and its value.
pub(super) struct Key {
    pub name: String,
    pub value: SecretBytes,
    /// The value as spelled, quotes included, inline comment not.
    pub place: Range<usize>,
    /// The line or lines, line end included.
    pub lines: Range<usize>,
    /// The comments above and behind, joined; and where the first stands.
    pub comment: Option<(SecretBytes, Range<usize>)>,
    pub comment_is_inline: bool,
}

/// Reads all sections; the first is `DEFAULT`, perhaps empty.
pub(super) fn scan(source: &[u8]) -> Result<Vec<Section>, StoreError> {
    if source.starts_with(b"\xff\xfe") || source.starts_with(b"\xfe\xff") {
        return Err(StoreError::Unsupported {
            store: Store::Ini,
            reason: "it is UTF-16".to_owned(),
        });
    }
    let mut scanner = Scanner {
        source,
        at: if source.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        },
        comment: None,
    };
    let mut sections = vec![Section {
        name: "DEFAULT".to_owned(),
        header: 0..0,
        comment: None,
        keys: Vec::new(),
    }];
    while let Some(line) = scanner.next_line() {
        let text = trim_start(source, line.clone());
        match source.get(text.start).filter(|_| !text.is_empty()) {
            None => {}
            Some(b'#' | b';') => scanner.note(text),
            Some(b'[') => sections.push(scanner.section(line, text)?),
            Some(_) => {
                let key = scanner.key(line, text)?;
                if let Some(section) = sections.last_mut() {
                    add(section, key);
                }
            }
        }
    }
    Ok(sections)
}

/// Adds a key; a repeated one replaces the first in its position.
fn add(section: &mut Section, key: Key) {
    match section.keys.iter_mut().find(|k| k.name == key.name) {
        Some(first) => *first = key,
        None => section.keys.push(key),
    }
}

struct Scanner<'a> {
    source: &'a [u8],
    at: usize,
    /// Comments that wait for their key or section, and where the first stands.
    comment: Option<(SecretBytes, Range<usize>)>,
}

impl Scanner<'_> {
    /// The next line, its line feed included.
    fn next_line(&mut self) -> Option<Range<usize>> {
        let rest = self.source.get(self.at..).filter(|r| !r.is_empty())?;
        let length = rest
            .iter()
            .position(|b| *b == b'\n')
            .map_or(rest.len(), |i| i + 1);
        let line = self.at..self.at + length;
        self.at = line.end;
        Some(line)
    }

    /// Adds the comment at `place` to those that wait.
    fn note(&mut self, place: Range<usize>) {
        let text = &self.source[place.clone()];
        match &mut self.comment {
            Some((waiting, _)) => {
                let mut joined = waiting.expose().clone();
                joined.extend_from_slice(text);
                *waiting = SecretBytes::new(joined);
            }
            None => {
                let trimmed = trim(self.source, place);
                self.comment = Some((SecretBytes::from_slice(text), trimmed));
            }
        }
    }

    fn take_comment(&mut self) -> Option<(SecretBytes, Range<usize>)> {
        let (text, place) = self.comment.take()?;
        let inner = trim(text.expose(), 0..text.expose().len());
        let text = SecretBytes::from_slice(&text.expose()[inner]);
        (!text.expose().is_empty()).then_some((text, place))
    }

    fn error(&self, at: usize, reason: &str) -> StoreError {
        StoreError::malformed(Store::Ini, self.source, at, reason)
    }

    fn section(&mut self, line: Range<usize>, text: Range<usize>) -> Result<Section, StoreError> {
        let bytes = &self.source[text.clone()];
        let close = bytes
            .iter()
            .rposition(|b| *b == b']')
            .ok_or_else(|| self.error(text.start, "a section header is not closed"))?;
        let name = std::str::from_utf8(&bytes[1..close.max(1)])
            .map_err(|_| self.error(text.start, "a section name is not UTF-8"))?
            .to_owned();
        if name.is_empty() {
            return Err(self.error(text.start, "a section has no name"));
        }
        if let Some(sign) = find_sign(&bytes[close..]) {
            self.note(text.start + close + sign..text.end);
        }
        Ok(Section {
            name,
            header: line,
            comment: self.take_comment(),
            keys: Vec::new(),
        })
    }

    fn key(&mut self, line: Range<usize>, text: Range<usize>) -> Result<Key, StoreError> {
        let (name, value_at) = self.key_name(text.clone())?;
        if name == "-" {
            let reason = "a key `-` gets a number and is lost in SOPS";
            return Err(StoreError::refused(
                Store::Ini,
                self.source,
                text.start,
                reason,
            ));
        }
        let had_comment = self.comment.is_some();
        let (value, place) = self.value(value_at..text.end)?;
        let comment_is_inline = !had_comment && self.comment.is_some();
        Ok(Key {
            name,
            value,
            place,
            lines: line.start..self.at,
            comment: self.take_comment(),
            comment_is_inline,
        })
    }

    /// The key's name, and where the value's part of the line begins.
    fn key_name(&self, text: Range<usize>) -> Result<(String, usize), StoreError> {
        let line = &self.source[text.clone()];
        let quote: &[u8] = if line.starts_with(b"\"\"\"") && line.len() > 6 {
            b"\"\"\""
        } else if line.starts_with(b"\"") {
            b"\""
        } else if line.starts_with(b"`") {
            b"`"
        } else {
            b""
        };
        let delimiter = |from: usize| {
            let rest = line.get(from..).unwrap_or_default();
            rest.iter()
                .position(|b| matches!(b, b'=' | b':'))
                .map(|i| from + i)
        };
        let missing = || self.error(text.start, "a line has neither `=` nor `:`");
        let (name, at) = if quote.is_empty() {
            let at = delimiter(0).ok_or_else(missing)?;
            (0..at, at)
        } else {
            let start = quote.len();
            let end = find(&line[start..], quote).map(|i| start + i);
            let end = end.ok_or_else(|| self.error(text.start, "a quoted key is not closed"))?;
            let at = delimiter(end + quote.len()).ok_or_else(missing)?;
            (start..end, at)
        };
        let name = trim(self.source, text.start + name.start..text.start + name.end);
        if name.is_empty() {
            return Err(self.error(text.start, "a line has no key"));
        }
        let name = std::str::from_utf8(&self.source[name])
            .map_err(|_| self.error(text.start, "a key is not UTF-8"))?;
        Ok((name.to_owned(), text.start + at + 1))
    }

    fn value(&mut self, rest: Range<usize>) -> Result<(SecretBytes, Range<usize>), StoreError> {
        let start = trim_start(self.source, rest.clone()).start;
        let line = &self.source[start..rest.end];
        if line.is_empty() {
            let empty = trim(self.source, rest.clone());
            return Ok((
                SecretBytes::from_slice(b""),
                empty.start.min(empty.end)..empty.end,
            ));
        }
        if line.starts_with(b"\"\"\"") && line.len() > 3 {
            return self.quoted(start, rest.end, b"\"\"\"");
        }
        if line.starts_with(b"`") {
            return self.quoted(start, rest.end, b"`");
        }
        let trimmed = trim(self.source, start..rest.end);
        if self.source[trimmed.clone()].ends_with(b"\\") {
            return Ok(self.continued(trimmed));
        }
        let mut place = trimmed.clone();
        if let Some(sign) = find_sign(&self.source[trimmed.clone()]) {
            self.note(trimmed.start + sign..trimmed.end);
            place = trim(self.source, trimmed.start..trimmed.start + sign);
        }
        let text = &self.source[place.clone()];
        let bare = without_quotes(text, b'\'').or_else(|| without_quotes(text, b'"'));
        Ok((SecretBytes::from_slice(bare.unwrap_or(text)), place))
    }

    /// A value in quotes that protect everything, perhaps over several lines.
    fn quoted(
        &mut self,
        start: usize,
        line_end: usize,
        quote: &[u8],
    ) -> Result<(SecretBytes, Range<usize>), StoreError> {
        let inner = start + quote.len();
        if let Some(end) = rfind(&self.source[inner..line_end], quote) {
            let end = inner + end;
            let value = SecretBytes::from_slice(&self.source[inner..end]);
            return Ok((value, start..end + quote.len()));
        }
        while let Some(next) = self.next_line() {
            let Some(end) = rfind(&self.source[next.clone()], quote) else {
                continue;
            };
            let end = next.start + end;
            if let Some(sign) = find_sign(&self.source[end..next.end]) {
                self.note(trim(self.source, end + sign..next.end));
            }
            let value = SecretBytes::from_slice(&self.source[inner..end]);
            return Ok((value, start..end + quote.len()));
        }
        Err(self.error(start, "a quoted value is not closed"))
    }

    /// A value that goes on behind a backslash at the end of its line.
    fn continued(&mut self, first: Range<usize>) -> (SecretBytes, Range<usize>) {
        let mut value = self.source[first.start..first.end - 1].to_vec();
        let mut end = first.end;
        while let Some(line) = self.next_line() {
            let text = trim(self.source, line);
            if text.is_empty() {
                break;
            }
            end = text.end;
            value.extend_from_slice(&self.source[text]);
            if value.last() != Some(&b'\\') {
                break;
            }
            value.pop();
        }
        (SecretBytes::new(value), first.start..end)
    }
}

/// The text between two quotes that stand nowhere else in it.
fn without_quotes(text: &[u8], quote: u8) -> Option<&[u8]> {
    let inner = text.strip_prefix(&[quote])?.strip_suffix(&[quote])?;
    (!inner.contains(&quote)).then_some(inner)
}

fn find_sign(text: &[u8]) -> Option<usize> {
    text.iter().position(|b| matches!(b, b'#' | b';'))
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|w| w == word)
}

fn rfind(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).rposition(|w| w == word)
}

fn trim_start(source: &[u8], place: Range<usize>) -> Range<usize> {
    let text = &source[place.clone()];
    let kept = match std::str::from_utf8(text) {
        Ok(text) => text.trim_start().len(),
        Err(_) => text.trim_ascii_start().len(),
    };
    place.end - kept..place.end
}

fn trim(source: &[u8], place: Range<usize>) -> Range<usize> {
    let place = trim_start(source, place);
    let text = &source[place.clone()];
    let kept = match std::str::from_utf8(text) {
        Ok(text) => text.trim_end().len(),
        Err(_) => text.trim_ascii_end().len(),
    };
    place.start..place.start + kept
}
