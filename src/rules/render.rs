//! A new rule as text, in the layout of its file.

use super::layout::Layout;
use super::rewrite::DesiredRule;

/// Writes a rule; each line ends in a newline. `alias` names the anchor of a recipient, if the file has one.
pub(super) fn rule_text(
    rule: &DesiredRule,
    layout: &Layout,
    kept_fields: &str,
    alias: impl Fn(&str) -> Option<String>,
) -> String {
    let newline = layout.newline;
    let dash = " ".repeat(layout.dash);
    let first = format!("-{}", " ".repeat(layout.inner - 1));
    let key = " ".repeat(layout.dash + layout.inner);
    let item = " ".repeat(layout.dash + layout.inner + layout.list);
    let mut out = format!(
        "{dash}{first}path_regex: {}{newline}",
        scalar(&rule.path_regex)
    );
    if let Some((kind, value)) = &rule.selection {
        let value = if kind.is_regex() {
            single_quoted(value)
        } else {
            scalar(value)
        };
        out.push_str(&format!("{key}{kind}: {value}{newline}"));
    }
    if rule.mac_only_encrypted {
        out.push_str(&format!("{key}mac_only_encrypted: true{newline}"));
    }
    out.push_str(kept_fields);
    out.push_str(&format!("{key}age:{newline}"));
    for (recipient, holder) in &rule.recipients {
        let text = recipient.as_str();
        // SOPS splits at commas, and only a comment of an SSH key can hold one.
        let text = if text.contains(',') {
            recipient.key()
        } else {
            text
        };
        let value = alias(text).map_or_else(|| scalar(text), |name| format!("*{name}"));
        let holder = holder.replace(['\n', '\r'], " ");
        let comment = if holder.is_empty() {
            String::new()
        } else {
            format!(" # {holder}")
        };
        out.push_str(&format!("{item}- {value}{comment}{newline}"));
    }
    out
}

/// A string in YAML: plain where that means the same, else quoted.
fn scalar(text: &str) -> String {
    let starts_oddly = text.starts_with(|c: char| {
        "-?:,[]{}#&*!|>'\"%@`~=<".contains(c) || c.is_ascii_digit() || c == '.' || c == '+'
    }) || text.trim() != text;
    let ends_oddly = text.is_empty() || text.ends_with(':');
    let breaks_off = text.contains(": ") || text.contains(" #");
    let is_word = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if starts_oddly || ends_oddly || breaks_off || is_word || !is_printable(text) {
        single_quoted(text)
    } else {
        text.to_owned()
    }
}

fn is_printable(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
}

fn single_quoted(text: &str) -> String {
    if is_printable(text) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c.encode_utf8(&mut [0; 4])) => out.push(c),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_where_needed() {
        assert_eq!(
            scalar(r"^docker/(a|b)/(.*/)?[^/]*\.env$"),
            r"^docker/(a|b)/(.*/)?[^/]*\.env$"
        );
        assert_eq!(scalar("it's"), "it's");
        assert_eq!(scalar("[a"), "'[a'");
        assert_eq!(scalar("a: b"), "'a: b'");
        assert_eq!(scalar("^it's #1$"), "'^it''s #1$'");
        assert_eq!(scalar(""), "''");
        assert_eq!(scalar("a\tb"), "\"a\\U00000009b\"");
        assert_eq!(scalar("~"), "'~'");
    }
}
