//! Reading other tools' YAML: one value a document, each with the line on which it starts.

use serde_yaml::Value;

/// The documents of a YAML stream that parse, each with its first line (from 1); the message of the first that does not.
///
/// Cut at `---` lines first, so that one broken document does not hide the others.
pub(super) fn documents(text: &str) -> (Vec<(usize, Value)>, Option<String>) {
    let mut found = Vec::new();
    let mut broken = None;
    for (line, part) in parts(text) {
        match serde_yaml::from_str::<Value>(part) {
            Ok(Value::Null) => {}
            Ok(value) => found.push((line, value)),
            Err(error) => {
                let at = error.location().map_or(line, |l| line + l.line() - 1);
                broken.get_or_insert(format!("line {at} is not YAML"));
            }
        }
    }
    (found, broken)
}

/// The line, from `first` on, that holds `needle`; `first` if none does.
pub(super) fn line_of(text: &str, first: usize, needle: &str) -> usize {
    text.lines()
        .enumerate()
        .skip(first.saturating_sub(1))
        .find(|(_, line)| line.contains(needle))
        .map_or(first, |(index, _)| index + 1)
}

/// The value below a chain of mapping keys.
pub(super) fn at<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().try_fold(value, |v, key| v.get(*key))
}

/// The text below a chain of mapping keys.
pub(super) fn text_at<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    at(value, keys)?.as_str()
}

/// The texts of a list, or the one text that stands in its place.
pub(super) fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(one)) => vec![one],
        Some(Value::Sequence(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first, mut offset) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line.trim_end() == "---" || line.starts_with("--- ");
        if is_marker && offset > start {
            parts.push((first, text.get(start..offset).unwrap_or_default()));
            start = offset;
            first = index + 1;
        }
        offset += line.len();
    }
    parts.push((first, text.get(start..).unwrap_or_default()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_document_hides_no_other() {
        let (found, broken) = documents("a: 1\n---\nb: [\n---\nc: 3\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, 4);
        assert!(broken.unwrap().contains("is not YAML"));
    }

    #[test]
    fn empty_documents_and_comments_are_nothing() {
        assert_eq!(documents("# a\n---\n---\n").0.len(), 0);
    }
}
