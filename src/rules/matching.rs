//! The first rule that matches a path.

use super::creation_rule::{CreationRule, RulesError, RulesFile};
use crate::re2::Re2Error;

impl RulesFile {
    /// Returns the first rule that matches `path`, as written by [`path_for_rules`]; none if the file has no list of rules.
    ///
    /// # Errors
    /// [`RulesError::NoMatch`] if there are rules and none matches, [`RulesError::Regex`] for a bad expression before the
    /// first match, [`RulesError::Selectors`] if the rule has several selectors.
    pub fn rule_for(&self, path: &str) -> Result<Option<&CreationRule>, RulesError> {
        let Some(rules) = &self.creation_rules else {
            return Ok(None);
        };
        match first_match(rules, path)? {
            Some(at) => {
                rules[at].selection()?;
                Ok(Some(&rules[at]))
            }
            None => Err(RulesError::NoMatch),
        }
    }

    /// As [`RulesFile::rule_for`], for a rule that must bring the keys.
    ///
    /// # Errors
    /// Also [`RulesError::NoKeys`].
    pub fn rule_with_keys_for(&self, path: &str) -> Result<Option<&CreationRule>, RulesError> {
        let rule = self.rule_for(path)?;
        match rule {
            Some(rule) if rule.key_groups.is_empty() => Err(RulesError::NoKeys { line: rule.line }),
            rule => Ok(rule),
        }
    }
}

impl CreationRule {
    /// Whether its expression matches `path`, whatever rules stand before it.
    ///
    /// # Errors
    /// A bad expression.
    pub fn matches(&self, path: &str) -> Result<bool, &Re2Error> {
        if self.path_regex.is_empty() {
            return Ok(true);
        }
        Ok(self.compiled()?.is_match(path))
    }
}

/// The position of the first rule that matches.
pub(super) fn first_match(rules: &[CreationRule], path: &str) -> Result<Option<usize>, RulesError> {
    for (at, rule) in rules.iter().enumerate() {
        if rule.path_regex.is_empty() {
            return Ok(Some(at));
        }
        let regex = rule.compiled().map_err(|source| RulesError::Regex {
            line: rule.line,
            source: source.clone(),
        })?;
        if regex.is_match(path) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Returns the path that rules are matched against: `file` without the folder of the configuration, both absolute.
///
/// A file outside that folder is matched by its absolute path.
pub fn path_for_rules<'p>(config_folder: &str, file: &'p str) -> &'p str {
    file.strip_prefix(config_folder)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(file)
}
