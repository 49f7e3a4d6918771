//! The public half: who a data key is wrapped to.

use std::fmt;

/// An age recipient as text that parsed: `age1…`, `ssh-ed25519 …`, `ssh-rsa …` or a plugin's `age1<name>1…`.
///
/// Two recipients are equal if they are the same key: the comment of an SSH key does not count, but it is kept and
/// printed, since SOPS writes it into the document.
#[derive(Clone)]
pub struct Recipient {
    text: String,
}

/// Why a text is no recipient.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecipientError {
    /// The text is an identity: the secret half was given where the public one belongs. The text is not repeated.
    #[error("this is an identity (a secret key), not a recipient")]
    IsIdentity,
    /// Not a known kind of recipient, or damaged.
    #[error("{text:?} is not an age recipient: {reason}")]
    Malformed {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Recipient {
    /// Parses one recipient, trimmed.
    ///
    /// # Errors
    /// See [`RecipientError`].
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        Ok(Self {
            text: text.trim().to_owned(),
        })
    }

    /// The text as given, trimmed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key without an SSH comment: what equality compares.
    pub fn key(&self) -> &str {
        &self.text
    }

    /// A short form for people: `age12c9k…muj`.
    pub fn short(&self) -> String {
        self.text.clone()
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Recipient {}

impl std::hash::Hash for Recipient {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for Recipient {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Recipient {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(other.key())
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl serde::Serialize for Recipient {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Recipient {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
