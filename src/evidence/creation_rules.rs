//! What today's `.sops.yaml` says about which leaves of a document are encrypted.
//!
//! Source: sops 3.11, `config/config.go`: the nearest `.sops.yaml` above a file counts, the first rule whose
//! `path_regex` matches the path relative to that file's folder wins, a rule without one matches all.

use serde_yaml::Value;

use crate::evidence::{Evidence, Origin, Sources, is_below, parent_text, yaml};
use crate::re2;
use crate::repo_path::RepoPath;
use crate::topology::{Selection, Selector};

struct Rule {
    pattern: Option<regex::Regex>,
    selection: Option<Selection>,
    mac_only_encrypted: bool,
    origin: Origin,
}

/// Gives each document the selection of the creation rule that matches it.
pub(super) fn apply(sources: &mut Sources, evidence: &mut Evidence) {
    let mut files: Vec<(RepoPath, Vec<Rule>)> = Vec::new();
    for (file, text) in sources
        .texts
        .iter()
        .filter(|(f, _)| f.file_name() == ".sops.yaml")
    {
        files.push((file.clone(), rules(file, text, evidence)));
    }
    // Deepest first: the nearest one counts.
    files.sort_by_key(|(file, _)| std::cmp::Reverse(parent_text(file).len()));
    for (document, facts) in &mut sources.documents {
        let nearest = files
            .iter()
            .find(|(file, _)| is_below(document, parent_text(file)));
        let Some((file, rules)) = nearest else {
            continue;
        };
        let folder = parent_text(file);
        let path = document
            .as_str()
            .get(folder.len()..)
            .unwrap_or_default()
            .trim_start_matches('/');
        let rule = rules
            .iter()
            .find(|r| r.pattern.as_ref().is_none_or(|p| p.is_match(path)));
        if let Some(rule) = rule {
            if facts.selection.is_some() && facts.selection != rule.selection {
                let text = format!(
                    "is not encrypted as {} says for new files; the rule was taken",
                    rule.origin
                );
                evidence.note(document, text);
            }
            facts.selection = rule.selection.clone();
            facts.mac_only_encrypted = rule.mac_only_encrypted;
            let is_default = rule.selection.is_none() && !rule.mac_only_encrypted;
            facts.selection_origin = (!is_default).then(|| rule.origin.clone());
        }
    }
}

fn rules(file: &RepoPath, text: &str, evidence: &mut Evidence) -> Vec<Rule> {
    let (documents, broken) = yaml::documents(text);
    if let Some(broken) = broken {
        evidence.note(file, format!("{broken}; its rules were not read"));
    }
    let mut found = Vec::new();
    let mut line = 1;
    let rules = documents
        .iter()
        .filter_map(|(_, v)| v.get("creation_rules")?.as_sequence());
    for rule in rules.flatten() {
        let pattern = yaml::text_at(rule, &["path_regex"]);
        if let Some(pattern) = pattern {
            line = yaml::line_of(text, line, pattern);
        }
        let pattern = match pattern.map(re2::compile) {
            Some(Ok(pattern)) => Some(pattern),
            Some(Err(_)) => {
                evidence.note(
                    file,
                    format!("line {line}: its path_regex is no regular expression"),
                );
                continue;
            }
            None => None,
        };
        let selection = Selector::ALL.into_iter().find_map(|kind| {
            let value = yaml::text_at(rule, &[kind.field()])?;
            (!value.is_empty()).then(|| (kind, value.to_owned()))
        });
        let mac_only = rule.get("mac_only_encrypted").and_then(Value::as_bool);
        found.push(Rule {
            pattern,
            selection,
            mac_only_encrypted: mac_only.unwrap_or(false),
            origin: Origin::new(file, line),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{path, sources};

    #[test]
    fn the_first_rule_of_the_nearest_file_counts() {
        let rules = "creation_rules:\n  - path_regex: a/.*\\.env$\n    age: x\n  - path_regex: .*.yaml\n    \
                     encrypted_regex: '^(data|stringData)$'\n  - mac_only_encrypted: true\n";
        let mut sources = sources(&[
            (".sops.yaml", rules),
            (
                "sub/.sops.yaml",
                "creation_rules:\n  - path_regex: ^x\\.yaml$\n    encrypted_suffix: _e\n",
            ),
            ("a/s.env", "A=ENC[x]"),
            ("a/s.yaml", "a: ENC[x]"),
            ("a/s.ini", "a = ENC[x]"),
            ("sub/x.yaml", "a: ENC[x]"),
        ]);
        apply(&mut sources, &mut Evidence::default());
        let of = |p: &str| sources.documents[&path(p)].clone();
        assert_eq!(of("a/s.env").selection, None);
        assert_eq!(
            of("a/s.yaml").selection,
            Some((Selector::EncryptedRegex, "^(data|stringData)$".to_owned()))
        );
        assert_eq!(
            of("a/s.yaml").selection_origin.unwrap().to_string(),
            ".sops.yaml:4"
        );
        assert!(of("a/s.ini").mac_only_encrypted);
        assert_eq!(
            of("sub/x.yaml").selection,
            Some((Selector::EncryptedSuffix, "_e".to_owned()))
        );
    }
}
