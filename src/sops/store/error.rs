//! What a store can object to; never carries input text, which may hold a leaf value.

use std::fmt;

use crate::sops::store::Store;

/// Why a file could not be read or printed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// The text does not follow the format.
    #[error("not valid {store}, line {line}: {reason}")]
    Malformed {
        /// The format.
        store: Store,
        /// The line, from 1.
        line: usize,
        /// What is wrong, without any of the text.
        reason: String,
    },
    /// The format allows it, SOPS does not (a list at the top, a key that is no string, an empty file).
    #[error("SOPS cannot hold this {store} file, line {line}: {reason}")]
    Refused {
        /// The format.
        store: Store,
        /// The line, from 1.
        line: usize,
        /// What is refused, without any of the text.
        reason: String,
    },
    /// The `sops` entry is there but is no metadata.
    #[error("the `sops` entry is not usable as metadata: {reason}")]
    BadMetadata {
        /// What is wrong, without values.
        reason: String,
    },
    /// The tree cannot be printed in this format.
    #[error("cannot be printed as {store}: {reason}")]
    NotPrintable {
        /// The format.
        store: Store,
        /// Which key, and why.
        reason: String,
    },
    /// A valid file that this version does not edit.
    #[error("unsupported {store} file: {reason}")]
    Unsupported {
        /// The format.
        store: Store,
        /// What is not supported.
        reason: String,
    },
}

impl StoreError {
    /// The text at byte `at` of `source` is malformed.
    pub fn malformed(store: Store, source: &[u8], at: usize, reason: impl Into<String>) -> Self {
        Self::Malformed {
            store,
            line: line_at(source, at),
            reason: reason.into(),
        }
    }

    /// What stands at byte `at` of `source` is valid but not for SOPS.
    pub fn refused(store: Store, source: &[u8], at: usize, reason: impl Into<String>) -> Self {
        Self::Refused {
            store,
            line: line_at(source, at),
            reason: reason.into(),
        }
    }

    /// The tree cannot be printed by `store`.
    pub fn not_printable(store: Store, reason: impl Into<String>) -> Self {
        Self::NotPrintable {
            store,
            reason: reason.into(),
        }
    }
}

/// The line, from 1, in which byte `at` stands.
pub fn line_at(source: &[u8], at: usize) -> usize {
    1 + source.iter().take(at).filter(|b| **b == b'\n').count()
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
