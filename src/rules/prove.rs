//! Proof that a rules file says what is meant, file by file, under SOPS's first-match semantics.

use std::collections::BTreeSet;

use super::RulesProblem;
use super::creation_rule::{CreationRule, RulesError, RulesFile};
use super::matching::first_match;
use crate::keys::Recipient;
use crate::repo_path::RepoPath;

/// What is meant for a secret.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The secret.
    pub file: RepoPath,
    /// The `path_regex` of the rule meant for it; none: any rule with these recipients.
    pub path_regex: Option<String>,
    /// Exactly these, in any order; none: whatever the rule has (a document of other keys).
    pub recipients: Option<Vec<Recipient>>,
}

/// Proves that every secret first-matches the rule meant for it, with the recipients meant, and that no other file matches.
///
/// # Errors
/// All that does not hold, one problem for each rule and kind, naming the first file.
pub fn prove(
    text: &str,
    secrets: &[Expectation],
    not_secrets: &[RepoPath],
) -> Result<(), Vec<RulesProblem>> {
    let file = RulesFile::parse(text).map_err(|error| vec![RulesProblem::Unreadable(error)])?;
    let rules = file.creation_rules.unwrap_or_default();
    let mut problems: Vec<RulesProblem> = Vec::new();
    let mut seen: BTreeSet<(usize, u8)> = BTreeSet::new();
    let sets: Vec<Option<BTreeSet<Recipient>>> = rules.iter().map(recipients).collect();
    for secret in secrets {
        let at = match first_match(&rules, secret.file.as_str()) {
            Err(error) => return Err(vec![regex_problem(error)]),
            Ok(None) => {
                problems.push(RulesProblem::Unmatched {
                    file: secret.file.clone(),
                });
                continue;
            }
            Ok(Some(at)) => at,
        };
        let rule = &rules[at];
        if let Some(meant) = &secret.path_regex
            && *meant != rule.path_regex
        {
            if seen.insert((at, 0)) {
                problems.push(RulesProblem::Shadows {
                    file: secret.file.clone(),
                    rule: title(rule),
                    line: rule.line,
                    meant: meant.clone(),
                });
            }
            continue;
        }
        if let Some(meant) = &secret.recipients
            && (sets[at] != Some(meant.iter().cloned().collect())
                || (secret.path_regex.is_some() && rule.has_foreign_keys()))
            && seen.insert((at, 1))
        {
            problems.push(RulesProblem::Recipients {
                file: secret.file.clone(),
                line: rule.line,
            });
        }
    }
    for file in not_secrets {
        match first_match(&rules, file.as_str()) {
            Err(error) => return Err(vec![regex_problem(error)]),
            Ok(Some(at)) if seen.insert((at, 2)) => problems.push(RulesProblem::MatchesPlainFile {
                file: file.clone(),
                rule: title(&rules[at]),
                line: rules[at].line,
            }),
            Ok(_) => {}
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// The parsed recipients of a rule; none if one does not parse.
fn recipients(rule: &CreationRule) -> Option<BTreeSet<Recipient>> {
    rule.age().map(|text| Recipient::parse(text).ok()).collect()
}

/// The rule's expression, or words for the rule that has none.
fn title(rule: &CreationRule) -> String {
    if rule.path_regex.is_empty() {
        "without a path_regex".to_owned()
    } else {
        format!("`{}`", rule.path_regex)
    }
}

fn regex_problem(error: RulesError) -> RulesProblem {
    match error {
        RulesError::Regex { line, source } => RulesProblem::Regex { line, source },
        other => RulesProblem::Unreadable(other),
    }
}
