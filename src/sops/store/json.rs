//! JSON: a parser that knows where each scalar stands, and sops's printer.
//!
//! Follows Go's `encoding/json`, which sops uses: duplicate keys are kept, bytes behind the closing brace are ignored,
//! lone surrogates and invalid UTF-8 become U+FFFD. Integers that fit come out as [`Value::Int`]; what sops makes of
//! them (3.11: always a float) is decided where values are encrypted and hashed.

use crate::secret::SecretBytes;
use crate::sops::store::json_text::{self, Printer};
use crate::sops::store::splice::Splice;
use crate::sops::store::{Parsed, Store, StoreError};
use crate::sops::tree::{Entry, Leaf, List, ListItem, Mapping, MappingItem, Node, Tree, Value};

/// Deeper nesting is refused, so that no input can exhaust the stack.
const MAX_DEPTH: usize = 256;

/// Reads one JSON object; bytes behind it are ignored, as sops does.
///
/// # Errors
/// [`StoreError`] if it is malformed, no object, or its `sops` member is no single object.
pub fn parse(source: &[u8]) -> Result<Parsed, StoreError> {
    let mut parser = Parser {
        source,
        at: 0,
        depth: 0,
        metadata: None,
    };
    parser.skip_blanks();
    if parser.peek() != Some(b'{') {
        // A JSON text that is a list or a scalar, or no JSON at all: sops takes neither.
        return Err(StoreError::refused(
            Store::Json,
            source,
            parser.at,
            "the top level is not an object",
        ));
    }
    let mapping = parser.object(true)?;
    let (metadata, metadata_places) = match parser.metadata {
        Some((mapping, place)) => (Some(mapping), vec![place]),
        None => (None, Vec::new()),
    };
    Ok(Parsed {
        tree: Tree {
            documents: vec![mapping],
        },
        metadata,
        metadata_places,
    })
}

/// Prints the first document, its comments dropped, with the metadata as last member.
///
/// # Errors
/// [`StoreError::NotPrintable`] for an infinity or NaN, or an indent below -1.
pub fn emit(
    tree: &Tree,
    metadata: Option<&Mapping>,
    indent: Option<i64>,
) -> Result<SecretBytes, StoreError> {
    let mut printer = Printer::new(indent)?;
    let empty = Mapping::default();
    let mapping = tree.documents.first().unwrap_or(&empty);
    let members = mapping
        .entries()
        .map(|e| (e.key.as_str(), &e.value))
        .collect::<Vec<_>>();
    printer.members(&members, metadata)?;
    printer.line_end();
    Ok(printer.finish())
}

/// Prints one value; a mapping ends in a newline, as a file does, other values do not.
///
/// # Errors
/// As [`emit`].
pub fn emit_node(node: &Node, indent: Option<i64>) -> Result<SecretBytes, StoreError> {
    let mut printer = Printer::new(indent)?;
    printer.node(node)?;
    if matches!(node, Node::Mapping(_)) {
        printer.line_end();
    }
    Ok(printer.finish())
}

/// Changes only the scalars that differ where the shape is the same; else prints the whole block anew.
///
/// # Errors
/// As [`emit`]; [`StoreError::BadMetadata`] if the source has none.
pub fn metadata_splices(
    source: &[u8],
    parsed: &Parsed,
    metadata: &Mapping,
) -> Result<Vec<Splice>, StoreError> {
    let (Some(old), [place]) = (&parsed.metadata, parsed.metadata_places.as_slice()) else {
        return Err(StoreError::BadMetadata {
            reason: "the file has none".to_owned(),
        });
    };
    let mut splices = Vec::new();
    if changed_scalars(old, metadata, &mut splices)? {
        return Ok(splices);
    }
    let (indent, depth) = json_text::indent_of(source, place.start);
    let mut printer = Printer::nested(indent, depth);
    printer.mapping(metadata)?;
    Ok(vec![Splice {
        range: place.clone(),
        text: printer.finish().expose().clone(),
    }])
}

/// Collects the replacements of changed scalars; false if the shapes differ.
fn changed_scalars(
    old: &Mapping,
    new: &Mapping,
    splices: &mut Vec<Splice>,
) -> Result<bool, StoreError> {
    let (olds, news): (Vec<_>, Vec<_>) = (old.entries().collect(), new.entries().collect());
    if olds.len() != news.len() {
        return Ok(false);
    }
    for (a, b) in olds.iter().zip(&news) {
        if a.key != b.key || !changed_in_node(&a.value, &b.value, splices)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn changed_in_node(old: &Node, new: &Node, splices: &mut Vec<Splice>) -> Result<bool, StoreError> {
    match (old, new) {
        (Node::Mapping(a), Node::Mapping(b)) => changed_scalars(a, b, splices),
        (Node::List(a), Node::List(b)) => {
            let (olds, news): (Vec<_>, Vec<_>) = (a.nodes().collect(), b.nodes().collect());
            if olds.len() != news.len() {
                return Ok(false);
            }
            for (x, y) in olds.iter().zip(&news) {
                if !changed_in_node(x, y, splices)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Node::Leaf(a), Node::Leaf(b)) => {
            if a.value.same(&b.value) {
                return Ok(true);
            }
            let Some(place) = &a.place else {
                return Ok(false);
            };
            let mut printer = Printer::nested(None, 0);
            printer.node(new)?;
            splices.push(Splice {
                range: place.clone(),
                text: printer.finish().expose().clone(),
            });
            Ok(true)
        }
        _ => Ok(false),
    }
}

struct Parser<'a> {
    source: &'a [u8],
    at: usize,
    depth: usize,
    metadata: Option<(Mapping, std::ops::Range<usize>)>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn error(&self, reason: &str) -> StoreError {
        StoreError::malformed(Store::Json, self.source, self.at, reason)
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, reason: &str) -> Result<(), StoreError> {
        if self.peek() != Some(byte) {
            return Err(self.error(reason));
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self) -> Result<(), StoreError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(StoreError::Unsupported {
                store: Store::Json,
                reason: format!("nested deeper than {MAX_DEPTH} levels"),
            });
        }
        self.skip_blanks();
        Ok(())
    }

    fn object(&mut self, top: bool) -> Result<Mapping, StoreError> {
        self.enter()?;
        let mut mapping = Mapping::default();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(mapping);
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.error("a member name in double quotes is due here"));
            }
            let key = self.string()?;
            // Go replaces invalid UTF-8 by U+FFFD when it decodes, and so did `string`.
            let key = String::from_utf8_lossy(key.expose()).into_owned();
            self.skip_blanks();
            self.expect(b':', "a colon is due here")?;
            self.skip_blanks();
            let start = self.at;
            let value = self.value()?;
            if top && key == "sops" {
                self.take_metadata(value, start)?;
            } else {
                mapping.items.push(MappingItem::Entry(Entry { key, value }));
            }
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.error("a comma or a closing brace is due here")),
            }
            self.skip_blanks();
        }
        self.at += 1;
        self.depth -= 1;
        Ok(mapping)
    }

    fn take_metadata(&mut self, value: Node, start: usize) -> Result<(), StoreError> {
        let reason = match (value, &self.metadata) {
            (Node::Mapping(mapping), None) => {
                self.metadata = Some((mapping, start..self.at));
                return Ok(());
            }
            (Node::Mapping(_), Some(_)) => "it stands twice",
            _ => "it is not an object",
        };
        Err(StoreError::BadMetadata {
            reason: reason.to_owned(),
        })
    }

    fn list(&mut self) -> Result<List, StoreError> {
        self.enter()?;
        let mut list = List::default();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(list);
        }
        loop {
            list.items.push(ListItem::Node(self.value()?));
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.error("a comma or a closing bracket is due here")),
            }
            self.skip_blanks();
        }
        self.at += 1;
        self.depth -= 1;
        Ok(list)
    }

    fn value(&mut self) -> Result<Node, StoreError> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => return Ok(Node::Mapping(self.object(false)?)),
            Some(b'[') => return Ok(Node::List(self.list()?)),
            Some(b'"') => Value::Str(self.string()?),
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            None => return Err(self.error("the text ends too early")),
            Some(_) => return Err(self.error("a value is due here")),
        };
        Ok(Node::Leaf(Leaf {
            value,
            place: Some(start..self.at),
        }))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, StoreError> {
        if !self.source[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("a value is due here"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, StoreError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.error("a digit is due here")),
        }
        let mut integral = true;
        if self.peek() == Some(b'.') {
            integral = false;
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            integral = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        let text = std::str::from_utf8(&self.source[start..self.at]).unwrap_or_default();
        if integral
            && text != "-0"
            && let Ok(n) = text.parse::<i64>()
        {
            return Ok(Value::Int(n));
        }
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Value::Float(x)),
            _ => Err(self.error("the number is out of range")),
        }
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), StoreError> {
        let start = self.at;
        self.digits();
        if self.at == start {
            return Err(self.error("a digit is due here"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<SecretBytes, StoreError> {
        let (text, end) = json_text::unquote(self.source, self.at)
            .map_err(|(at, reason)| StoreError::malformed(Store::Json, self.source, at, reason))?;
        self.at = end;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        let parsed = parse(text.as_bytes()).unwrap();
        let out = emit(&parsed.tree, parsed.metadata.as_ref(), None).unwrap();
        String::from_utf8(out.expose().clone()).unwrap()
    }

    #[test]
    fn prints_what_sops_prints() {
        let plain = r#"{"a": "q\" s\/ \u0000 \u007f", "u": "\u00e9 \ud83d\ude00 \u2028", "h": "<&>", "n": [1, 1e3, 1e21, []], "o": {}} x"#;
        let expected = "{\n\t\"a\": \"q\\\" s/ \\u0000 \u{7f}\",\n\t\"u\": \"é 😀 \\u2028\",\n\t\"h\": \"\\u003c\\u0026\\u003e\",\n\t\"n\": [\n\t\t1,\n\t\t1000,\n\t\t1e+21,\n\t\t[]\n\t],\n\t\"o\": {}\n}\n";
        assert_eq!(round(plain), expected);
    }

    #[test]
    fn keeps_duplicates_and_sets_the_metadata_apart() {
        let text = "{\n\t\"a\": 1,\n\t\"a\": 2,\n\t\"sops\": {\n\t\t\"version\": \"3\"\n\t}\n}\n";
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.tree.documents[0].entries().count(), 2);
        assert_eq!(
            &text[parsed.metadata_places[0].clone()],
            "{\n\t\t\"version\": \"3\"\n\t}"
        );
        assert_eq!(round(text), text);
    }

    #[test]
    fn refuses_what_sops_refuses() {
        for bad in [
            "",
            "[]",
            "1",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{a:1}",
            "{\"a\":01}",
            "\u{feff}{}",
            "// c\n{}",
            "{\"a\":1,}",
            "{\"sops\":1}",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{}{}", "{\"a\":".repeat(100_000), "1");
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn metadata_with_a_new_entry_keeps_the_indentation_of_its_block() {
        let text =
            "{\n  \"a\": 1,\n  \"sops\": {\n    \"l\": [\n      1\n    ]\n  },\n  \"z\": 1 }";
        let parsed = parse(text.as_bytes()).unwrap();
        let mut metadata = parsed.metadata.as_ref().unwrap().duplicate();
        metadata.push("v", Node::text("x"));
        let splices = metadata_splices(text.as_bytes(), &parsed, &metadata).unwrap();
        let out = crate::sops::store::splice::apply(text.as_bytes(), splices).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\n  \"a\": 1,\n  \"sops\": {\n    \"l\": [\n      1\n    ],\n    \"v\": \"x\"\n  },\n  \"z\": 1 }"
        );
    }
}
