//! One mistake in `cofferdam.toml`, and where it stands.

use std::fmt;

/// A mistake, with its place and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyProblem {
    /// The file's name as given to the parser.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for TopologyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file, line, column, ..
        } = self;
        write!(f, "{file}:{line}:{column}: {}", self.message)
    }
}

impl std::error::Error for TopologyProblem {}

/// Text of a user in quotes for an error; withheld if it could hold a secret.
pub(crate) fn quoted(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    if text.chars().count() > 120 || upper.contains("SECRET-KEY") || upper.contains("AGE-PLUGIN") {
        return "(a text that is not repeated here)".to_owned();
    }
    format!("{text:?}")
}
