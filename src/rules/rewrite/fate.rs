//! What becomes of each rule there is, and the check that it became that.

use super::{DesiredRule, RewriteRequest};
use crate::rules::RulesProblem;
use crate::rules::creation_rule::{CreationRule, is_recipient};
use crate::rules::matching::first_match;

/// What becomes of a rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// Every byte stays.
    Keep,
    /// It loses the recipients that retire.
    Thin,
    /// These desired rules take its place; none: it goes.
    Replace(Vec<usize>),
}

impl RewriteRequest<'_> {
    pub(super) fn retires(&self, text: &str) -> bool {
        self.retiring.iter().any(|gone| is_recipient(text, gone))
    }

    fn is_ours(&self, rule: &CreationRule) -> bool {
        let wanted = self.desired.iter().map(|desired| &desired.path_regex);
        wanted
            .chain(self.ours)
            .any(|regex| *regex == rule.path_regex)
    }

    /// What becomes of each rule, and the desired rules that take no rule's place.
    pub(super) fn fates(&self, rules: &[CreationRule]) -> (Vec<Fate>, Vec<usize>) {
        let mut placed = vec![false; self.desired.len()];
        let mut fates: Vec<Fate> = Vec::new();
        for rule in rules {
            let same = self
                .desired
                .iter()
                .position(|desired| desired.path_regex == rule.path_regex);
            let goes = rule.age().next().is_some()
                && !rule.has_foreign_keys()
                && rule.age().all(|text| text.is_empty() || self.retires(text));
            fates.push(match same {
                Some(at) if !placed[at] => {
                    placed[at] = true;
                    if says(rule, &self.desired[at]) {
                        Fate::Keep
                    } else {
                        Fate::Replace(vec![at])
                    }
                }
                _ if self.is_ours(rule) || goes => Fate::Replace(Vec::new()),
                _ if rule.age().any(|text| self.retires(text)) => Fate::Thin,
                _ => Fate::Keep,
            });
        }
        // A desired rule follows the rule that matched most of its files, of those that go.
        let mut matched = vec![vec![0_usize; rules.len()]; self.desired.len()];
        for (file, meant) in self.secrets {
            if let (Some(meant), Ok(Some(at))) = (meant, first_match(rules, file.as_str()))
                && let Some(row) = matched.get_mut(*meant)
            {
                row[at] += 1;
            }
        }
        for (at, row) in matched
            .iter()
            .enumerate()
            .filter(|(at, _)| !placed[*at])
            .collect::<Vec<_>>()
        {
            let most = row
                .iter()
                .enumerate()
                .filter(|(rule, count)| **count > 0 && matches!(fates[*rule], Fate::Replace(_)))
                .max_by_key(|(rule, count)| (**count, std::cmp::Reverse(*rule)));
            if let Some((rule, _)) = most
                && let Fate::Replace(successors) = &mut fates[rule]
            {
                successors.push(at);
                placed[at] = true;
            }
        }
        let left = (0..placed.len()).filter(|at| !placed[*at]).collect();
        (fates, left)
    }
}

/// Tells whether a rule already says what is wanted.
fn says(rule: &CreationRule, desired: &DesiredRule) -> bool {
    let texts: Vec<&str> = rule.age().collect();
    let wanted = &desired.recipients;
    rule.path_regex == desired.path_regex
        && rule.key_groups.len() == 1
        && !rule.has_foreign_keys()
        && rule.shamir_threshold.is_none()
        && texts.len() == wanted.len()
        && wanted
            .iter()
            .all(|(recipient, _)| rule.has_recipient(recipient))
        && rule.selectors.as_slice() == desired.selection.as_slice()
        && rule.mac_only_encrypted == desired.mac_only_encrypted
}

/// Checks that the new text says the same where it must and what is wanted elsewhere.
pub(super) fn still_says(
    before: &[CreationRule],
    after: &[CreationRule],
    request: &RewriteRequest<'_>,
) -> Result<(), RulesProblem> {
    let failed = |line, reason| Err(RulesProblem::Layout { line, reason });
    let (fates, _) = request.fates(before);
    let mut rest = after.iter();
    for (rule, fate) in before.iter().zip(&fates) {
        if matches!(fate, Fate::Replace(_)) {
            continue;
        }
        let wanted: Vec<&str> = rule.age().filter(|text| !request.retires(text)).collect();
        let survives = rest.any(|other| {
            let texts: Vec<&str> = other.age().collect();
            let foreign = |rule: &CreationRule| -> usize {
                rule.key_groups
                    .iter()
                    .map(|group| group.foreign.len())
                    .sum()
            };
            other.path_regex == rule.path_regex
                && (texts == wanted
                    || *fate == Fate::Keep && texts == rule.age().collect::<Vec<_>>())
                && foreign(other) == foreign(rule)
                && other.key_groups.len() == rule.key_groups.len()
                && other.selectors == rule.selectors
                && other.mac_only_encrypted == rule.mac_only_encrypted
                && other.shamir_threshold == rule.shamir_threshold
                && other
                    .key_groups
                    .iter()
                    .all(|group| !group.age.is_empty() || !group.foreign.is_empty())
        });
        if !survives && !rule.key_groups.is_empty() {
            return failed(
                rule.line,
                "the recipients that retire can't be taken out of this rule in place",
            );
        }
    }
    for desired in request.desired {
        let count = after.iter().filter(|rule| says(rule, desired)).count();
        if count != 1 {
            return failed(1, "the rules can't be brought into this file in place");
        }
    }
    Ok(())
}
