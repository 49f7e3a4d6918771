//! The spelling of JSON: strings, and the printer with sops's escapes and indentation.

use crate::secret::SecretBytes;
use crate::sops::store::{Store, StoreError, number};
use crate::sops::tree::{List, Mapping, Node, Value};

/// Decodes the string whose opening quote stands at `at`; gives its octets (always UTF-8) and the place behind it.
///
/// # Errors
/// The place and what is wrong there.
pub(super) fn unquote(
    source: &[u8],
    at: usize,
) -> Result<(SecretBytes, usize), (usize, &'static str)> {
    let mut i = at + 1;
    let run = run_end(source, i);
    // The common case, no escape: one copy.
    if source.get(run) == Some(&b'"') {
        return Ok((valid_utf8(&source[i..run]), run + 1));
    }
    // Decoded text is never longer than its spelling, so the buffer never moves (a move would leave plaintext behind),
    // except for invalid UTF-8, which is cipher text's problem and grows by U+FFFD.
    let mut raw = SecretBytes::new(Vec::with_capacity(closing_quote(source, i) - i));
    loop {
        let end = run_end(source, i);
        raw.expose_mut().extend_from_slice(&source[i..end]);
        i = end;
        match source.get(i) {
            Some(b'"') => return Ok((valid_utf8(raw.expose()), i + 1)),
            Some(b'\\') => {
                let (c, next) = escape(source, i)?;
                let mut buffer = [0u8; 4];
                let text = c.encode_utf8(&mut buffer);
                raw.expose_mut().extend_from_slice(text.as_bytes());
                i = next;
            }
            Some(_) => return Err((i, "a control character in a string")),
            None => return Err((i, "the text ends inside a string")),
        }
    }
}

/// The end of the run of ordinary bytes from `i` on.
fn run_end(source: &[u8], i: usize) -> usize {
    let rest = source.get(i..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
    i + length.unwrap_or(rest.len())
}

fn closing_quote(source: &[u8], mut i: usize) -> usize {
    while let Some(byte) = source.get(i) {
        match byte {
            b'"' => return i,
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    source.len().max(i)
}

/// Reads the escape whose backslash stands at `at`.
fn escape(source: &[u8], at: usize) -> Result<(char, usize), (usize, &'static str)> {
    let simple = match source.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(source, at),
        _ => return Err((at, "an unknown escape in a string")),
    };
    Ok((simple, at + 2))
}

fn unicode_escape(source: &[u8], at: usize) -> Result<(char, usize), (usize, &'static str)> {
    let first = hex4(source, at + 2).ok_or((at, "a broken \\u escape in a string"))?;
    if let Some(c) = char::from_u32(first) {
        return Ok((c, at + 6));
    }
    // A surrogate: valid only as the first half of a pair, else U+FFFD for it alone.
    if (0xD800..0xDC00).contains(&first)
        && source.get(at + 6) == Some(&b'\\')
        && source.get(at + 7) == Some(&b'u')
        && let Some(second) = hex4(source, at + 8)
        && (0xDC00..0xE000).contains(&second)
        && let Some(c) = char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
    {
        return Ok((c, at + 12));
    }
    Ok(('\u{FFFD}', at + 6))
}

fn hex4(source: &[u8], at: usize) -> Option<u32> {
    source
        .get(at..at + 4)?
        .iter()
        .try_fold(0, |n, b| Some(n * 16 + char::from(*b).to_digit(16)?))
}

fn valid_utf8(bytes: &[u8]) -> SecretBytes {
    match std::str::from_utf8(bytes) {
        Ok(_) => SecretBytes::from_slice(bytes),
        Err(_) => SecretBytes::new(String::from_utf8_lossy(bytes).into_owned().into_bytes()),
    }
}

/// The indentation unit of a pretty-printed source and the depth of the line on which `at` stands; no unit if the
/// source is on one line there.
pub(super) fn indent_of(source: &[u8], at: usize) -> (Option<Vec<u8>>, usize) {
    let line_start = source[..at]
        .iter()
        .rposition(|b| *b == b'\n')
        .map(|i| i + 1);
    let Some(start) = line_start else {
        return (None, 0);
    };
    let unit: Vec<u8> = source[start..at]
        .iter()
        .copied()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .collect();
    (Some(unit), 1)
}

/// Prints values in sops's form into one wiped buffer.
pub(super) struct Printer {
    out: SecretBytes,
    indent: Option<Vec<u8>>,
    depth: usize,
}

impl Printer {
    /// A printer with sops's `indent` setting: none or -1 a tab, 0 newlines alone, n blanks.
    pub(super) fn new(indent: Option<i64>) -> Result<Self, StoreError> {
        let unit = match indent {
            None | Some(-1) => b"\t".to_vec(),
            Some(n) => {
                let width = usize::try_from(n).ok().filter(|w| *w <= 64);
                let width = width.ok_or_else(|| {
                    StoreError::not_printable(Store::Json, format!("indent {n} is not possible"))
                })?;
                vec![b' '; width]
            }
        };
        Ok(Self::nested(Some(unit), 0))
    }

    /// A printer for a value that stands `depth` units deep; no unit prints on one line.
    pub(super) fn nested(indent: Option<Vec<u8>>, depth: usize) -> Self {
        Self {
            out: SecretBytes::new(Vec::with_capacity(4096)),
            indent,
            depth,
        }
    }

    /// The text printed so far.
    pub(super) fn finish(self) -> SecretBytes {
        self.out
    }

    /// Ends the file.
    pub(super) fn line_end(&mut self) {
        self.put(b"\n");
    }

    /// Prints any value.
    pub(super) fn node(&mut self, node: &Node) -> Result<(), StoreError> {
        match node {
            Node::Mapping(mapping) => self.mapping(mapping),
            Node::List(list) => self.list(list),
            Node::Leaf(leaf) => self.value(&leaf.value),
        }
    }

    /// Prints an object, comments dropped.
    pub(super) fn mapping(&mut self, mapping: &Mapping) -> Result<(), StoreError> {
        let members: Vec<_> = mapping
            .entries()
            .map(|e| (e.key.as_str(), &e.value))
            .collect();
        self.members(&members, None)
    }

    /// Prints an object of these members and, last, the metadata.
    pub(super) fn members(
        &mut self,
        members: &[(&str, &Node)],
        metadata: Option<&Mapping>,
    ) -> Result<(), StoreError> {
        if members.is_empty() && metadata.is_none() {
            self.put(b"{}");
            return Ok(());
        }
        self.put(b"{");
        self.depth += 1;
        let mut first = true;
        for (key, value) in members {
            self.member(key, &mut first);
            self.node(value)?;
        }
        if let Some(metadata) = metadata {
            self.member("sops", &mut first);
            self.mapping(metadata)?;
        }
        self.depth -= 1;
        self.break_line();
        self.put(b"}");
        Ok(())
    }

    fn member(&mut self, key: &str, first: &mut bool) {
        self.next(first);
        self.string(key.as_bytes());
        self.put(b": ");
    }

    fn next(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.put(if self.indent.is_some() { b"," } else { b", " });
        }
        self.break_line();
    }

    fn list(&mut self, list: &List) -> Result<(), StoreError> {
        let items: Vec<_> = list.nodes().collect();
        if items.is_empty() {
            self.put(b"[]");
            return Ok(());
        }
        self.put(b"[");
        self.depth += 1;
        let mut first = true;
        for item in items {
            self.next(&mut first);
            self.node(item)?;
        }
        self.depth -= 1;
        self.break_line();
        self.put(b"]");
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<(), StoreError> {
        match value {
            Value::Null => self.put(b"null"),
            Value::Bool(true) => self.put(b"true"),
            Value::Bool(false) => self.put(b"false"),
            Value::Int(n) => self.put(n.to_string().as_bytes()),
            Value::Float(x) => {
                let text = number::json(*x).ok_or_else(|| {
                    StoreError::not_printable(Store::Json, "JSON has no infinity and no NaN")
                })?;
                self.put(text.as_bytes());
            }
            Value::Str(text) | Value::Time(text) => self.string(text.expose()),
        }
        Ok(())
    }

    fn break_line(&mut self) {
        let Some(unit) = self.indent.take() else {
            return;
        };
        self.put(b"\n");
        for _ in 0..self.depth {
            self.put(&unit);
        }
        self.indent = Some(unit);
    }

    fn string(&mut self, bytes: &[u8]) {
        self.put(b"\"");
        for chunk in bytes.utf8_chunks() {
            self.escaped(chunk.valid());
            // Go writes one U+FFFD for each invalid byte.
            for _ in chunk.invalid() {
                self.put(b"\\ufffd");
            }
        }
        self.put(b"\"");
    }

    fn escaped(&mut self, text: &str) {
        let mut start = 0;
        for (i, c) in text.char_indices() {
            let escape: &[u8] = match c {
                '"' => b"\\\"",
                '\\' => b"\\\\",
                '\u{8}' => b"\\b",
                '\u{c}' => b"\\f",
                '\n' => b"\\n",
                '\r' => b"\\r",
                '\t' => b"\\t",
                '<' => b"\\u003c",
                '>' => b"\\u003e",
                '&' => b"\\u0026",
                '\u{2028}' => b"\\u2028",
                '\u{2029}' => b"\\u2029",
                '\0'..='\u{1f}' => {
                    self.put(&text.as_bytes()[start..i]);
                    self.put(format!("\\u{:04x}", u32::from(c)).as_bytes());
                    start = i + c.len_utf8();
                    continue;
                }
                _ => continue,
            };
            self.put(&text.as_bytes()[start..i]);
            self.put(escape);
            start = i + c.len_utf8();
        }
        self.put(&text.as_bytes()[start..]);
    }

    /// Appends; a buffer that must grow moves by hand, so that the old one is wiped.
    fn put(&mut self, bytes: &[u8]) {
        let out = self.out.expose_mut();
        if out.capacity() - out.len() < bytes.len() {
            let mut larger = Vec::with_capacity((out.len() + bytes.len()) * 2);
            larger.extend_from_slice(out);
            self.out = SecretBytes::new(larger);
        }
        self.out.expose_mut().extend_from_slice(bytes);
    }
}
