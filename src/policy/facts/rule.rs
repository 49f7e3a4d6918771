//! Facts about creation rules, and which rule is whose.

use std::collections::BTreeMap;

use crate::policy::facts::{Material, Record, facts, number};
use crate::repo_path::RepoPath;
use crate::rules::{CreationRule, RulesError, RulesFile, path_for_rules};

facts! {
    /// A creation rule.
    Rule RuleFacts {
        /// Its expression; empty: every file.
        path_regex: String,
        /// Its place in the list, from 1.
        number: i64,
        /// Its age recipients as written.
        recipients: Vec<String>,
        /// How many files it is the first rule for, secret or not.
        matched: i64,
        /// How many SOPS documents it is the first rule for.
        documents: i64,
        /// The files that it is the first rule for and that are no SOPS documents, but for the next kind.
        plain_files: Vec<String>,
        /// Files of that kind which tools read in the clear: `.sops.yaml`, compose files, kustomizations, workflows.
        tool_files: Vec<String>,
        /// Whether it is bound to the path at both ends, by `^` and `$`.
        is_anchored: bool,
        /// Whether it is never chosen: rules before it match every path, or all its files and paths like those.
        is_unreachable: bool,
        /// The fields that SOPS does not know, and therefore ignores.
        unknown_fields: Vec<String>,
        /// What keeps sops from using it: a bad expression, two selectors, no keys; empty: nothing.
        problem: String,
    }
}

/// Names of files that tools read in the clear.
const TOOL_FILES: [&str; 5] = [
    ".sops.yaml",
    ".sops.yml",
    "kustomization.yaml",
    "kustomization.yml",
    "Chart.yaml",
];

/// Which rule each file has.
pub(super) struct Matched<'a> {
    files: &'a [(RepoPath, RulesFile)],
    /// Per file: the rules file at or above it, and the position of its first rule.
    first: BTreeMap<&'a RepoPath, (usize, Option<usize>)>,
}

impl<'a> Matched<'a> {
    pub(super) fn new(material: &Material<'a>) -> Self {
        let files = material.rules;
        let mut first = BTreeMap::new();
        for path in &material.sources.paths {
            let Some(owner) = owner(files, path) else {
                continue;
            };
            let rules = files[owner].1.creation_rules.as_deref().unwrap_or_default();
            let name = relative(&files[owner].0, path);
            let at = rules.iter().position(|rule| rule.matches(name) == Ok(true));
            first.insert(path, (owner, at));
        }
        Self { files, first }
    }

    /// Whether `path` lies where rules apply, and one of them does.
    pub(super) fn has_rule(&self, path: &RepoPath) -> bool {
        match self.first.get(path) {
            // A file of rules without any list of them applies to nothing.
            Some((owner, at)) => at.is_some() || self.files[*owner].1.creation_rules.is_none(),
            None => false,
        }
    }

    /// Whether any rules file lies at or above `path`.
    pub(super) fn has_rules_file(&self, path: &RepoPath) -> bool {
        self.first.contains_key(path)
    }
}

pub(super) fn records(material: &Material<'_>, matched: &Matched<'_>) -> Vec<Record> {
    let mut records = Vec::new();
    for (owner, (file, rules)) in material.rules.iter().enumerate() {
        let rules = rules.creation_rules.as_deref().unwrap_or_default();
        for (at, rule) in rules.iter().enumerate() {
            let own: Vec<&RepoPath> = matched
                .first
                .iter()
                .filter(|(_, first)| **first == (owner, Some(at)))
                .map(|(path, _)| *path)
                .collect();
            let plain = own
                .iter()
                .filter(|path| !material.sources.documents.contains_key(**path));
            let (tools, others): (Vec<&RepoPath>, Vec<&RepoPath>) =
                plain.copied().partition(|p| is_tool_file(p));
            let texts =
                |paths: Vec<&RepoPath>| paths.iter().map(|p| p.as_str().to_owned()).collect();
            let is_hidden = own.is_empty() && {
                let inside = matched.first.iter().filter(|(_, (o, _))| *o == owner);
                let names: Vec<&str> = inside.map(|(path, _)| relative(file, path)).collect();
                is_hidden(rule, &rules[..at], &names)
            };
            let facts = RuleFacts {
                path_regex: rule.path_regex.clone(),
                number: number(at + 1),
                recipients: rule.age().map(str::to_owned).collect(),
                matched: number(own.len()),
                documents: number(
                    own.iter()
                        .filter(|p| material.sources.documents.contains_key(**p))
                        .count(),
                ),
                plain_files: texts(others),
                tool_files: texts(tools),
                is_anchored: rule.path_regex.starts_with('^') && rule.path_regex.ends_with('$'),
                is_unreachable: is_hidden || rules[..at].iter().any(is_catch_all),
                unknown_fields: rule.unknown_fields.clone(),
                problem: problem(rule),
            };
            records.push(facts.record(Some(file.as_str().to_owned()), Some(rule.line)));
        }
    }
    records
}

/// Whether earlier rules take whatever `rule` matches of `names`, and of paths like those.
///
/// Files alone prove nothing: a rule for all the rest has no file of its own while every file has a narrower rule.
fn is_hidden(rule: &CreationRule, earlier: &[CreationRule], names: &[&str]) -> bool {
    let is_taken = |name: &str| earlier.iter().any(|rule| rule.matches(name) == Ok(true));
    let matching: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| rule.matches(name) == Ok(true))
        .collect();
    let like = |name: &&str| {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let below_first = name.split_once('/').map_or(*name, |(_, rest)| rest);
        let ending = file.find('.').map_or("", |dot| &file[dot..]);
        let inside = |file: &str| match folder {
            "" => file.to_owned(),
            folder => format!("{folder}/{file}"),
        };
        [
            (*name).to_owned(),
            format!("zz/{name}"),
            format!("zz/{below_first}"),
            below_first.to_owned(),
            file.to_owned(),
            inside(&format!("zz/{file}")),
            inside(&format!("zz{ending}")),
            inside(&format!("zz-{file}")),
        ]
    };
    let mut reached = matching.iter().flat_map(like);
    !matching.is_empty() && reached.all(|name| rule.matches(&name) != Ok(true) || is_taken(&name))
}

/// Whether a rule matches every path, by its text.
fn is_catch_all(rule: &CreationRule) -> bool {
    let text = rule
        .path_regex
        .trim_start_matches('^')
        .trim_end_matches('$');
    matches!(text, "" | ".*" | ".+" | "(.*)" | "(.+)")
}

fn problem(rule: &CreationRule) -> String {
    if let Err(error) = rule.matches("") {
        return error.to_string();
    }
    if let Err(RulesError::Selectors { .. }) = rule.selection() {
        return "more than one selector".to_owned();
    }
    if rule.key_groups.is_empty() {
        return "no keys".to_owned();
    }
    String::new()
}

/// Whether tools read a file of this name in the clear.
pub fn is_tool_file(path: &RepoPath) -> bool {
    let name = path.file_name();
    let is_compose = (name.starts_with("compose.") || name.starts_with("docker-compose."))
        && (name.ends_with(".yaml") || name.ends_with(".yml"));
    is_compose || TOOL_FILES.contains(&name) || path.as_str().starts_with(".github/")
}

/// The rules file that lies nearest, at or above a file.
fn owner(files: &[(RepoPath, RulesFile)], path: &RepoPath) -> Option<usize> {
    let folder = |file: &RepoPath| file.parent().map_or(String::new(), |p| format!("{p}/"));
    let above = files
        .iter()
        .enumerate()
        .filter(|(_, (file, _))| path.as_str().starts_with(&folder(file)));
    above
        .max_by_key(|(_, (file, _))| folder(file).len())
        .map(|(at, _)| at)
}

fn relative<'p>(rules: &RepoPath, path: &'p RepoPath) -> &'p str {
    match rules.parent() {
        Some(folder) => path_for_rules(folder.as_str(), path.as_str()),
        None => path.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_the_rest_is_reachable_and_one_behind_a_wider_one_is_not() {
        let rules = |first: &str, second: &str| {
            let text =
                format!("creation_rules:\n  - path_regex: '{first}'\n  - path_regex: '{second}'\n");
            RulesFile::parse(&text).unwrap().creation_rules.unwrap()
        };
        let hidden = |first: &str, second: &str| {
            let rules = rules(first, second);
            is_hidden(&rules[1], &rules[..1], &["web/.sops.env", "README.md"])
        };
        assert!(hidden(r"^.*\.sops\.env$", r"^web/.*\.sops\.env$"));
        assert!(hidden(r"\.env$", r"^web/.*\.sops\.env$"));
        assert!(hidden(r"^web/", r"^web/.*\.sops\.env$"));
        assert!(!hidden(r"^web/.*\.sops\.env$", r"^.*\.sops\.env$"));
        assert!(!hidden(r"^web/\.sops\.env$", r"^web/.*\.sops\.env$"));
        assert!(!hidden(r"^web/.*\.sops\.env$", r"^lan/.*\.sops\.env$"));
    }
}
