//! What a repository holds, per SOPS document: store, recipients, digest of the ciphertext.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::keys::Recipient;
use crate::repo_path::RepoPath;

/// SHA-256 of a file's bytes as they are on disk (ciphertext), printed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that 64 hex digits print; none if they do not.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0u8; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| D::Error::custom("a digest is 64 hex digits"))
    }
}

/// One SOPS document that was opened and verified.
#[derive(Debug, Clone)]
pub struct DocumentFacts {
    /// Where it is.
    pub path: RepoPath,
    /// The age recipients, in file order.
    pub recipients: Vec<Recipient>,
    /// Key entries of other kinds (PGP, KMS, Vault), by name.
    pub foreign: Vec<String>,
    /// How many key groups; 1 but for Shamir.
    pub key_groups: usize,
    /// Of its bytes.
    pub digest: Digest,
    /// Encrypted, non-empty values.
    pub values: usize,
}

/// What a repository holds.
#[derive(Debug, Clone, Default)]
pub struct RepoFacts {
    /// The SOPS documents, by path.
    pub documents: Vec<DocumentFacts>,
    /// Every other file.
    pub others: Vec<RepoPath>,
    /// The text of `.sops.yaml`; none if there is none.
    pub rules: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_reads_what_it_prints() {
        let digest = Digest::of(b"abc");
        let text = serde_json::to_string(&digest).unwrap();
        assert!(text.starts_with("\"ba7816bf"));
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"é\"").is_err());
    }
}
