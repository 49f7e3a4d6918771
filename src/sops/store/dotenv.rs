//! dotenv as sops reads it: `KEY=VALUE` lines, verbatim but for `\n`; no quotes, no `export`, no inline comments.

use std::collections::HashMap;

use crate::secret::SecretBytes;
use crate::sops::flatten;
use crate::sops::store::splice::Splice;
use crate::sops::store::{Parsed, Store, StoreError, number};
use crate::sops::tree::{Comment, Entry, Leaf, ListItem, Mapping, MappingItem, Node, Tree, Value};

const PREFIX: &str = "sops_";

/// Reads lines; those whose key starts with `sops_` are the metadata, wherever they stand.
///
/// # Errors
/// [`StoreError`] for a line without `=` or a key that is not UTF-8.
pub fn parse(source: &[u8]) -> Result<Parsed, StoreError> {
    let mut mapping = Mapping::default();
    let mut flat = Vec::new();
    let mut metadata_places = Vec::new();
    for line in lines(source) {
        let (start, text, end) = (line.start, line.text, line.start + line.text.len());
        if text.is_empty() {
            continue;
        }
        if text[0] == b'#' {
            mapping.items.push(MappingItem::Comment(Comment {
                text: SecretBytes::from_slice(&text[1..]),
                place: Some(start..end),
                inline: false,
            }));
            continue;
        }
        let Some(equals) = text.iter().position(|b| *b == b'=') else {
            return Err(StoreError::malformed(
                Store::Dotenv,
                source,
                start,
                "a line that is no comment has no `=`",
            ));
        };
        let key = std::str::from_utf8(&text[..equals])
            .map_err(|_| StoreError::refused(Store::Dotenv, source, start, "a key is not UTF-8"))?;
        let leaf = Leaf {
            value: Value::Str(unescape(&text[equals + 1..])),
            place: Some(start + equals + 1..end),
        };
        if let Some(name) = key.strip_prefix(PREFIX) {
            flat.push((name.to_owned(), leaf));
            metadata_places.push(start..line.next);
        } else {
            mapping.items.push(MappingItem::Entry(Entry {
                key: key.to_owned(),
                value: Node::Leaf(leaf),
            }));
        }
    }
    let metadata = if flat.is_empty() {
        None
    } else {
        Some(flatten::unflatten(flat)?)
    };
    Ok(Parsed {
        tree: Tree {
            documents: vec![mapping],
        },
        metadata,
        metadata_places,
    })
}

/// Prints lines; the metadata last, sorted by key.
///
/// # Errors
/// [`StoreError::NotPrintable`] for a nested value, or a key that would be read back otherwise.
pub fn emit(tree: &Tree, metadata: Option<&Mapping>) -> Result<SecretBytes, StoreError> {
    let mut out = Vec::new();
    let empty = Mapping::default();
    for item in &tree.documents.first().unwrap_or(&empty).items {
        match item {
            MappingItem::Comment(comment) => emit_comment(&mut out, comment.text.expose()),
            MappingItem::Entry(entry) => emit_entry(&mut out, entry)?,
        }
    }
    if let Some(metadata) = metadata {
        let mut flat = flatten::flatten(metadata)?;
        flat.sort();
        for (key, value) in flat {
            out.extend_from_slice(line(&key, &value).as_bytes());
        }
    }
    Ok(SecretBytes::new(out))
}

/// Changes the lines whose value differs, drops those that are gone, puts new ones where sorting by key has them.
///
/// # Errors
/// [`StoreError::BadMetadata`] if the source has none.
pub fn metadata_splices(
    source: &[u8],
    parsed: &Parsed,
    metadata: &Mapping,
) -> Result<Vec<Splice>, StoreError> {
    let mut wanted: HashMap<String, String> = flatten::flatten(metadata)?.into_iter().collect();
    let mut splices = Vec::new();
    let mut kept: Vec<(&str, std::ops::Range<usize>)> = Vec::new();
    for place in &parsed.metadata_places {
        let text = source.get(place.clone()).unwrap_or_default();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let Some((key, value)) = text
            .iter()
            .position(|b| *b == b'=')
            .and_then(|i| Some((std::str::from_utf8(&text[..i]).ok()?, &text[i + 1..])))
        else {
            continue;
        };
        let name = key.strip_prefix(PREFIX).unwrap_or(key);
        match wanted.remove(name) {
            Some(new) => {
                let new = new.replace('\n', "\\n");
                if new.as_bytes() != value {
                    let start = place.start + key.len() + 1;
                    splices.push(Splice {
                        range: start..start + value.len(),
                        text: new.into_bytes(),
                    });
                }
                kept.push((name, place.clone()));
            }
            None => splices.push(Splice {
                range: place.clone(),
                text: Vec::new(),
            }),
        }
    }
    let fallback = parsed
        .metadata_places
        .first()
        .map_or(source.len(), |p| p.start);
    let mut added: Vec<(String, String)> = wanted.into_iter().collect();
    added.sort();
    for (name, value) in added {
        let before = kept
            .iter()
            .filter(|(k, _)| *k < name.as_str())
            .max_by_key(|(k, _)| *k);
        let at = before.map_or(fallback, |(_, place)| place.end);
        let mut text = Vec::new();
        if at > 0 && source.get(at - 1) != Some(&b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(line(&name, &value).as_bytes());
        splices.push(Splice {
            range: at..at,
            text,
        });
    }
    Ok(splices)
}

fn line(name: &str, value: &str) -> String {
    format!("{PREFIX}{name}={}\n", value.replace('\n', "\\n"))
}

struct Line<'a> {
    start: usize,
    text: &'a [u8],
    next: usize,
}

fn lines(source: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut at = 0;
    source.split(|b| *b == b'\n').map(move |text| {
        let start = at;
        at += text.len() + 1;
        Line {
            start,
            text,
            next: at.min(source.len()),
        }
    })
}

/// Turns the two characters `\n` into a newline; nothing else is an escape.
fn unescape(text: &[u8]) -> SecretBytes {
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        if text[i..].starts_with(b"\\n") {
            out.push(b'\n');
            i += 2;
        } else {
            out.push(text[i]);
            i += 1;
        }
    }
    SecretBytes::new(out)
}

fn emit_comment(out: &mut Vec<u8>, text: &[u8]) {
    // A comment of another store may have several lines.
    for part in text.split(|b| *b == b'\n') {
        out.push(b'#');
        out.extend_from_slice(part);
        out.push(b'\n');
    }
}

fn emit_entry(out: &mut Vec<u8>, entry: &Entry) -> Result<(), StoreError> {
    let refuse = |why: &str| {
        StoreError::not_printable(Store::Dotenv, format!("the key `{}` {why}", entry.key))
    };
    if entry.key.contains(['=', '\n']) || entry.key.starts_with('#') {
        return Err(refuse("cannot be written as the key of a line"));
    }
    let leaf = match &entry.value {
        Node::Leaf(leaf) => leaf,
        Node::List(list) if list.items.iter().all(|i| matches!(i, ListItem::Comment(_))) => {
            return Err(refuse("holds a list"));
        }
        Node::List(_) => return Err(refuse("holds a list")),
        Node::Mapping(_) => return Err(refuse("holds a mapping")),
    };
    out.extend_from_slice(entry.key.as_bytes());
    out.push(b'=');
    let text = flat_text(&leaf.value);
    for byte in text.expose() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            other => out.push(*other),
        }
    }
    out.push(b'\n');
    Ok(())
}

/// A leaf as text, as sops prints it where there are only strings.
pub(super) fn flat_text(value: &Value) -> SecretBytes {
    match value {
        Value::Str(text) | Value::Time(text) => text.duplicate(),
        Value::Null => SecretBytes::from_slice(b"<nil>"),
        Value::Bool(b) => SecretBytes::new(b.to_string().into_bytes()),
        Value::Int(n) => SecretBytes::new(n.to_string().into_bytes()),
        Value::Float(x) => SecretBytes::new(number::flat(*x).into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sops::store::splice;

    #[test]
    fn reads_verbatim_and_prints_back() {
        let text = "# c\nexport B=2\n H=x # no comment\nE=a\\nb\\\\n\r\n#\nF=\n=x\n";
        let parsed = parse(text.as_bytes()).unwrap();
        assert!(parsed.metadata.is_none());
        let out = emit(&parsed.tree, None).unwrap();
        assert_eq!(std::str::from_utf8(out.expose()).unwrap(), text);
        let e = parsed.tree.documents[0].get("E").unwrap();
        assert_eq!(e.as_str().unwrap(), "a\nb\\\n\r");
    }

    #[test]
    fn refuses_a_line_without_equals_by_its_number() {
        let error = parse(b"A=1\n\nfoo\n").unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
    }

    #[test]
    fn metadata_lines_are_edited_where_they_stand() {
        let text = "sops_mac=m\nA=1\nsops_age__list_0__map_enc=x\nsops_age__list_0__map_recipient=r\nsops_version=3";
        let parsed = parse(text.as_bytes()).unwrap();
        let mut metadata = parsed.metadata.as_ref().unwrap().duplicate();
        *metadata.get_mut("mac").unwrap() = Node::text("n");
        let Some(Node::List(list)) = metadata.get_mut("age") else {
            panic!("no list")
        };
        let mut entry = Mapping::default();
        entry.push("enc", Node::text("y\n"));
        entry.push("recipient", Node::text("s"));
        list.items.push(ListItem::Node(Node::Mapping(entry)));
        metadata.push("zzz", Node::text("1"));
        let splices = metadata_splices(text.as_bytes(), &parsed, &metadata).unwrap();
        let out = splice::apply(text.as_bytes(), splices).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "sops_mac=n\nA=1\nsops_age__list_0__map_enc=x\nsops_age__list_0__map_recipient=r\nsops_age__list_1__map_enc=y\\n\nsops_age__list_1__map_recipient=s\nsops_version=3\nsops_zzz=1\n"
        );
    }
}
