//! What can be wrong with a YAML source, and where.

use super::scan::Mark;

/// A refusal with its place; says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) kind: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Not YAML, or YAML that sops cannot read.
    Malformed(&'static str),
    /// YAML that sops cannot carry.
    Unsupported(&'static str),
    /// A top-level `sops` key where data should stand.
    ReservedKey,
}

impl Fault {
    /// Malformed at `mark`.
    pub(super) fn at(mark: Mark, reason: &'static str) -> Self {
        Self::of(mark, FaultKind::Malformed(reason))
    }

    /// Sound, but not for sops.
    pub(super) fn unsupported(mark: Mark, reason: &'static str) -> Self {
        Self::of(mark, FaultKind::Unsupported(reason))
    }

    pub(super) fn of(mark: Mark, kind: FaultKind) -> Self {
        Self {
            line: usize::try_from(mark.line).unwrap_or(0) + 1,
            column: usize::try_from(mark.column).unwrap_or(0) + 1,
            kind,
        }
    }
}
