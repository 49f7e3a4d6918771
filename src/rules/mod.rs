//! `.sops.yaml`: creation rules as SOPS reads them, and the smallest edit that makes them say what the topology says.
//!
//! Reading follows SOPS's own semantics, first match wins. Writing splices bytes: what is not ours stays as it is.
//! Neither looks for the file; that is the caller's.

mod creation_rule;
mod layout;
mod matching;
mod node;
mod prove;
mod render;
mod rewrite;

pub use creation_rule::{CreationRule, ForeignKey, KeyGroup, RulesError, RulesFile, Stores};
pub use matching::path_for_rules;
pub use prove::{Expectation, prove};
pub use rewrite::{DesiredRule, RewriteRequest, Rewritten, rewrite};

use crate::repo_path::RepoPath;

/// Why rules can't be written or do not hold, with the rule's place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesProblem {
    /// The file can't be read.
    #[error(".sops.yaml can't be read")]
    Unreadable(#[source] RulesError),
    /// A kept rule would match a file that is no secret.
    #[error(".sops.yaml line {line}: the rule {rule} matches {file}, which is no secret")]
    MatchesPlainFile {
        /// The first such file.
        file: RepoPath,
        /// The rule's `path_regex`.
        rule: String,
        /// Its line.
        line: usize,
    },
    /// Another rule matches first.
    #[error(
        ".sops.yaml line {line}: the rule {rule} matches {file} before the one meant for it, {meant}"
    )]
    Shadows {
        /// The first such file.
        file: RepoPath,
        /// The `path_regex` of the rule that matches.
        rule: String,
        /// Its line.
        line: usize,
        /// The `path_regex` of the rule meant.
        meant: String,
    },
    /// No rule matches a secret.
    #[error("no rule of .sops.yaml matches {file}")]
    Unmatched {
        /// The first such file.
        file: RepoPath,
    },
    /// The right rule has the wrong recipients.
    #[error(".sops.yaml line {line}: the rule for {file} has other recipients than meant")]
    Recipients {
        /// The first such file.
        file: RepoPath,
        /// The rule's line.
        line: usize,
    },
    /// A rule's expression is bad, so that no file after it can be matched.
    #[error(".sops.yaml line {line}: bad path_regex")]
    Regex {
        /// The rule's line.
        line: usize,
        /// What is wrong.
        #[source]
        source: crate::re2::Re2Error,
    },
    /// The layout of the file does not allow an edit in place.
    #[error(".sops.yaml line {line}: {reason}")]
    Layout {
        /// The line.
        line: usize,
        /// What stands in the way.
        reason: &'static str,
    },
}

#[cfg(test)]
mod rewrite_tests;
