//! One answer of a policy, with its place.

use serde::Serialize;

use crate::policy::Severity;

/// Something that a policy found.
///
/// The order of findings: severity, then file (the repository as a whole first), line, policy, message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The policy's name.
    pub policy: String,
    /// How much it matters.
    pub severity: Severity,
    /// The file, relative to the repository's root; none: the repository as a whole.
    pub file: Option<String>,
    /// The line, from 1; none: the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    fn rank(&self) -> (Severity, Option<&str>, Option<usize>, &str, &str) {
        let file = self.file.as_deref();
        (self.severity, file, self.line, &self.policy, &self.message)
    }
}

impl Ord for Finding {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Finding {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
