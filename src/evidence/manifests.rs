//! Kubernetes Secrets that stand in the clear.

use serde_yaml::Value;

use crate::evidence::yaml;

/// The line of the first Secret of a manifest that holds values in the clear; none if there is none.
///
/// Values that a tool fills in later, and empty ones, are none.
pub fn clear_secret(text: &str) -> Option<usize> {
    // Cheap first: most texts hold none. A chart's template is no YAML before it is filled in.
    let names_kind = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ").trim_end();
        line.strip_prefix("kind:")
            .is_some_and(|kind| kind.trim().trim_matches(['"', '\'']) == "Secret")
    };
    if !text.lines().any(names_kind) {
        return None;
    }
    let (documents, _) = yaml::documents(text);
    documents.iter().find_map(|(first, value)| {
        let items = value.get("items").and_then(Value::as_sequence);
        let mut all = std::iter::once(value).chain(items.into_iter().flatten());
        let holds = all.any(|value| {
            let is_secret = yaml::text_at(value, &["kind"]) == Some("Secret")
                && yaml::text_at(value, &["apiVersion"]) == Some("v1");
            is_secret
                && ["data", "stringData"]
                    .iter()
                    .any(|key| has_values(value, key))
        });
        holds.then(|| yaml::line_of(text, *first, "kind:"))
    })
}

fn has_values(secret: &Value, key: &str) -> bool {
    let values = secret.get(key).and_then(Value::as_mapping);
    let mut values = values.into_iter().flatten();
    values.any(|(_, value)| {
        let is_reference = |text: &str| {
            text.contains("${")
                || text.contains("{{")
                || text.starts_with('<') && text.ends_with('>')
        };
        let text = value.as_str().map(str::trim);
        text.is_some_and(|text| !text.is_empty() && !is_reference(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_the_clear_are_told_from_what_is_filled_in() {
        let secret = |values: &str| format!("apiVersion: v1\nkind: Secret\n{values}\n");
        assert_eq!(clear_secret(&secret("data: {a: aHVudGVyMg==}")), Some(2));
        assert_eq!(clear_secret(&secret("stringData:\n  a: x")), Some(2));
        for harmless in [
            "stringData: {a: '${A}'}",
            "data: {}",
            "data: {a: ''}",
            "type: Opaque",
        ] {
            assert_eq!(clear_secret(&secret(harmless)), None, "{harmless}");
        }
        let second = format!("kind: ConfigMap\n---\n{}", secret("data: {a: YQ==}"));
        assert_eq!(clear_secret(&second), Some(4));
        assert_eq!(clear_secret("kind: Secret\ndata: {a: YQ==}\n"), None);
        assert_eq!(clear_secret("kind: SealedSecret\n"), None);
        assert_eq!(clear_secret("kind: Secret\nx: [\n"), None);
    }
}
