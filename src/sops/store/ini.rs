//! INI as sops reads it: go-ini's dialect, repeated sections kept apart.
//!
//! Quirks kept because sops has them: `#` and `;` start a comment anywhere in an unquoted value; a comment belongs to
//! the next key or section and in the tree stands behind its key; comments at the end of the file are lost when the
//! file is printed (never when it is edited in place).
//!
//! Source: gopkg.in/ini.v1 `parser.go`; sops 3.11.0 `stores/ini/store.go`.

use std::collections::HashMap;
use std::ops::Range;

use crate::secret::SecretBytes;
use crate::sops::flatten;
use crate::sops::store::ini_scan::{self, Key, Section};
use crate::sops::store::ini_text;
use crate::sops::store::splice::Splice;
use crate::sops::store::{Parsed, StoreError};
use crate::sops::tree::{Comment, Entry, Leaf, Mapping, MappingItem, Node, Tree, Value};

const METADATA: &str = "sops";

/// Reads sections; the first is always `DEFAULT`, the keys before any header.
///
/// # Errors
/// [`StoreError`] for a line that is neither header, comment nor key with a delimiter.
pub fn parse(source: &[u8]) -> Result<Parsed, StoreError> {
    let mut top = Mapping::default();
    let mut metadata = None;
    let mut metadata_places = Vec::new();
    for section in ini_scan::scan(source)? {
        if section.name != METADATA {
            let name = section.name.clone();
            top.push(name, Node::Mapping(section_mapping(section)));
            continue;
        }
        if metadata.is_some() {
            return Err(StoreError::BadMetadata {
                reason: "there are two [sops] sections".to_owned(),
            });
        }
        metadata_places.push(section.header.clone());
        let mut flat = Vec::with_capacity(section.keys.len());
        for key in section.keys {
            metadata_places.push(key.lines.clone());
            flat.push((
                key.name,
                Leaf {
                    value: Value::Str(unescape(&key.value)),
                    place: Some(key.place),
                },
            ));
        }
        metadata = Some(flatten::unflatten(flat)?);
    }
    Ok(Parsed {
        tree: Tree {
            documents: vec![top],
        },
        metadata,
        metadata_places,
    })
}

/// Prints sections, keys aligned; the metadata as last section.
///
/// # Errors
/// [`StoreError::NotPrintable`] for anything but mappings of scalars at the top.
pub fn emit(tree: &Tree, metadata: Option<&Mapping>) -> Result<SecretBytes, StoreError> {
    let empty = Mapping::default();
    let document = tree.documents.first().unwrap_or(&empty);
    let flat = match metadata {
        None => None,
        Some(metadata) => {
            let mut section = Mapping::default();
            for (key, value) in flatten::flatten(metadata)? {
                section.push(key, Node::text(value.replace('\n', "\\n")));
            }
            Some(section)
        }
    };
    ini_text::print(document, flat.as_ref().map(|section| (METADATA, section)))
}

/// Changes the values that differ where they stand, drops the lines of keys that are gone, adds new ones at the end of
/// the section.
///
/// # Errors
/// [`StoreError::BadMetadata`] if the source has none.
pub fn metadata_splices(
    source: &[u8],
    _parsed: &Parsed,
    metadata: &Mapping,
) -> Result<Vec<Splice>, StoreError> {
    let flat = flatten::flatten(metadata)?;
    let mut wanted: HashMap<&str, &str> =
        flat.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let sections = ini_scan::scan(source)?;
    let section = sections.iter().find(|s| s.name == METADATA);
    let section = section.ok_or_else(|| StoreError::BadMetadata {
        reason: "the file has none".to_owned(),
    })?;
    let mut splices = Vec::new();
    for key in &section.keys {
        match wanted.remove(key.name.as_str()) {
            Some(new) if unescape(&key.value).expose() == new.as_bytes() => {}
            Some(new) => splices.push(Splice {
                range: key.place.clone(),
                text: ini_text::value(new.replace('\n', "\\n").as_bytes()),
            }),
            None => splices.push(Splice {
                range: key.lines.clone(),
                text: Vec::new(),
            }),
        }
    }
    let at = section
        .keys
        .iter()
        .map(|k| k.lines.end)
        .max()
        .unwrap_or(section.header.end);
    let width = aligned_width(source, &section.keys);
    // Flattened order, so that the entries of one recipient stay together.
    for (name, value) in flat.iter().filter(|(k, _)| wanted.contains_key(k.as_str())) {
        let mut text = Vec::new();
        if at > 0 && source.get(at - 1) != Some(&b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(format!("{name:width$} = ").as_bytes());
        text.extend_from_slice(&ini_text::value(value.replace('\n', "\\n").as_bytes()));
        text.push(b'\n');
        splices.push(Splice {
            range: at..at,
            text,
        });
    }
    Ok(splices)
}

/// The column of the `=` that the section's first key has.
fn aligned_width(source: &[u8], keys: &[Key]) -> usize {
    let line = keys.first().and_then(|k| source.get(k.lines.clone()));
    let equals = line.and_then(|l| l.iter().position(|b| *b == b'='));
    equals.map_or(0, |at| at.saturating_sub(1))
}

fn section_mapping(section: Section) -> Mapping {
    let mut mapping = Mapping::default();
    if let Some((text, place)) = section.comment {
        mapping.items.push(comment_item(&text, place));
    }
    for key in section.keys {
        let inline = key.comment_is_inline;
        mapping.items.push(MappingItem::Entry(Entry {
            key: key.name,
            value: Node::Leaf(Leaf {
                value: Value::Str(key.value),
                place: Some(key.place),
            }),
        }));
        if let Some((text, place)) = key.comment {
            let mut item = comment_item(&text, place);
            if let MappingItem::Comment(comment) = &mut item {
                comment.inline = inline;
            }
            mapping.items.push(item);
        }
    }
    mapping
}

/// A comment without the sign and blanks of its first line; those of further lines stay, as in sops.
fn comment_item(text: &SecretBytes, place: Range<usize>) -> MappingItem {
    let raw = text.expose();
    let sign = raw.first().copied().unwrap_or(b' ');
    let start = raw
        .iter()
        .position(|b| *b != sign && *b != b' ')
        .unwrap_or(raw.len());
    let start = if matches!(sign, b'#' | b';') {
        start
    } else {
        0
    };
    // A first line that is a bare sign leaves an empty line, on which sops panics when it prints.
    let text = raw[start..].trim_ascii_start();
    MappingItem::Comment(Comment {
        text: SecretBytes::from_slice(text),
        place: Some(place),
        inline: false,
    })
}

/// Turns the two characters `\n` of a metadata value into a newline.
fn unescape(value: &SecretBytes) -> SecretBytes {
    match std::str::from_utf8(value.expose()) {
        Ok(text) => SecretBytes::new(text.replace("\\n", "\n").into_bytes()),
        Err(_) => value.duplicate(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sops::store::splice;

    fn round(text: &str) -> String {
        let parsed = parse(text.as_bytes()).unwrap();
        let out = emit(&parsed.tree, parsed.metadata.as_ref()).unwrap();
        String::from_utf8(out.expose().clone()).unwrap()
    }

    #[test]
    fn prints_as_go_ini_does() {
        let plain = "; top\nk=v\n[s]\n# one\n# two\na : 1 ; in\nlong=`x#y`\nq='z'\nd=1\nd=2\nb=\"  x \"\nc=one\\\ntwo\nm=\"\"\"1\n2\"\"\"\n[s]\nx=3 # y\n";
        let printed = "; top\nk = v\n\n[s]\n; one\n# two\n; in\na    = 1\nlong = `x#y`\nq    = z\nd    = 2\nb    = \"  x \"\nc    = onetwo\nm    = \"\"\"1\n2\"\"\"\n\n[s]\n; y\nx = 3\n";
        assert_eq!(round(plain), printed);
        assert_eq!(round(printed), printed);
    }

    #[test]
    fn a_bare_sign_above_a_comment_leaves_no_empty_line() {
        assert_eq!(round("; \nk=v # c\n"), "# c\nk = v\n");
    }

    #[test]
    fn refuses_what_go_ini_refuses() {
        for bad in [
            "novalue\n",
            "[]\n",
            "[a\n",
            "=x\n",
            "a=`x\n",
            "`a=x\n",
            "-=x\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_values_change_where_they_stand() {
        let text =
            "[s]\na = 1\n\n[sops]\nmac     = m\nage__list_0__map_enc = a\\n\nversion = 3.11.0\n";
        let parsed = parse(text.as_bytes()).unwrap();
        let mut metadata = parsed.metadata.as_ref().unwrap().duplicate();
        *metadata.get_mut("mac").unwrap() = Node::text("n");
        crate::sops::metadata::remove(&mut metadata, "version");
        metadata.push("x", Node::text("1\n"));
        let splices = metadata_splices(text.as_bytes(), &parsed, &metadata).unwrap();
        let out = splice::apply(text.as_bytes(), splices).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "[s]\na = 1\n\n[sops]\nmac     = n\nage__list_0__map_enc = a\\n\nx       = 1\\n\n"
        );
    }
}
