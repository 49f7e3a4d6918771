//! Printing INI as go-ini does: keys aligned, comments above, a blank line between sections.
//!
//! Source: gopkg.in/ini.v1 `file.go` (`writeToBuffer`); sops 3.11.0 `stores/ini/store.go` (`iniFromTreeBranches`).

use crate::secret::SecretBytes;
use crate::sops::store::dotenv::flat_text;
use crate::sops::store::{Store, StoreError};
use crate::sops::tree::{Entry, Mapping, MappingItem, Node};

/// Prints the sections of `document`, then `last`.
pub(super) fn print(
    document: &Mapping,
    last: Option<(&str, &Mapping)>,
) -> Result<SecretBytes, StoreError> {
    let mut sections: Vec<(&str, &Mapping)> = Vec::new();
    for entry in document.entries() {
        let Node::Mapping(mapping) = &entry.value else {
            return Err(refuse(
                &entry.key,
                "is no section: INI has sections of keys only",
            ));
        };
        sections.push((&entry.key, mapping));
    }
    sections.extend(last);
    let mut out = SecretBytes::new(Vec::new());
    let count = sections.len();
    for (i, (name, section)) in sections.into_iter().enumerate() {
        if name.is_empty() || name.contains('\n') {
            return Err(refuse(name, "cannot be the name of a section"));
        }
        let is_unnamed = i == 0 && name.eq_ignore_ascii_case("DEFAULT");
        let keys = keys_of(section)?;
        if let Some(MappingItem::Comment(comment)) = section.items.first() {
            comment_lines(out.expose_mut(), comment.text.expose());
        }
        if is_unnamed && keys.is_empty() {
            continue;
        }
        let buffer = out.expose_mut();
        if !is_unnamed {
            buffer.extend_from_slice(format!("[{name}]\n").as_bytes());
        }
        print_keys(buffer, &keys)?;
        if i + 1 < count {
            buffer.push(b'\n');
        }
    }
    Ok(out)
}

struct Line<'a> {
    entry: &'a Entry,
    name: String,
    comments: Vec<&'a [u8]>,
}

/// The keys with the comments that stand behind them in the tree; of a repeated key the last value, in the first place.
fn keys_of(section: &Mapping) -> Result<Vec<Line<'_>>, StoreError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut current = None;
    for item in &section.items {
        match item {
            MappingItem::Comment(comment) => {
                let line = current.and_then(|i: usize| lines.get_mut(i));
                if let Some(line) = line.filter(|_| !comment.text.expose().is_empty()) {
                    line.comments.push(comment.text.expose());
                }
            }
            MappingItem::Entry(entry) => {
                if entry.key.is_empty() || entry.key == "-" || entry.key.contains('\n') {
                    return Err(refuse(&entry.key, "cannot be written as a key"));
                }
                let line = Line {
                    entry,
                    name: key_name(&entry.key),
                    comments: Vec::new(),
                };
                let first = lines.iter().position(|l| l.entry.key == entry.key);
                current = Some(first.unwrap_or(lines.len()));
                match first {
                    Some(i) => lines[i] = line,
                    None => lines.push(line),
                }
            }
        }
    }
    Ok(lines)
}

fn print_keys(out: &mut Vec<u8>, lines: &[Line]) -> Result<(), StoreError> {
    let width = lines.iter().map(|l| l.name.len()).max().unwrap_or(0);
    for line in lines {
        for comment in &line.comments {
            comment_lines(out, comment);
        }
        let Node::Leaf(leaf) = &line.entry.value else {
            return Err(refuse(&line.entry.key, "holds a list or a mapping"));
        };
        out.extend_from_slice(line.name.as_bytes());
        out.resize(out.len() + width - line.name.len(), b' ');
        out.extend_from_slice(b" = ");
        let text = flat_text(&leaf.value);
        let spelled = SecretBytes::new(value(text.expose()));
        out.extend_from_slice(spelled.expose());
        out.push(b'\n');
    }
    Ok(())
}

fn key_name(key: &str) -> String {
    if key.contains(['"', '=', ':']) {
        format!("`{key}`")
    } else if key.contains('`') {
        format!("\"\"\"{key}\"\"\"")
    } else {
        key.to_owned()
    }
}

/// Spells a value, in quotes where it must be.
pub(super) fn value(text: &[u8]) -> Vec<u8> {
    let has = |signs: &[u8]| text.iter().any(|b| signs.contains(b));
    let has_outer_blanks = match std::str::from_utf8(text) {
        Ok(text) => text.trim().len() != text.len(),
        Err(_) => text.trim_ascii().len() != text.len(),
    };
    let quote: &[u8] = if has(b"\n`") {
        b"\"\"\""
    } else if has(b"#;") {
        b"`"
    } else if has_outer_blanks {
        b"\""
    } else {
        b""
    };
    [quote, text, quote].concat()
}

/// Each line with its own sign, or `; ` where it has none.
fn comment_lines(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    for line in text.split(|b| *b == b'\n') {
        let (sign, rest) = match line.split_first() {
            Some((sign @ (b'#' | b';'), rest)) => (*sign, rest),
            _ => (b';', line),
        };
        out.push(sign);
        out.push(b' ');
        out.extend_from_slice(rest.trim_ascii());
        out.push(b'\n');
    }
}

fn refuse(key: &str, why: &str) -> StoreError {
    StoreError::not_printable(Store::Ini, format!("the key `{key}` {why}"))
}
