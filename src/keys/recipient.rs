//! The public half: who a data key is wrapped to.

use std::fmt;
use std::sync::Arc;

use age::ssh::ParseRecipientKeyError;
use sha2::{Digest, Sha256};

/// An age recipient as text that parsed: `age1…`, `ssh-ed25519 …`, `ssh-rsa …` or a plugin's `age1<name>1…`.
///
/// Two recipients are equal if they are the same key: the comment of an SSH key does not count, but it is kept and
/// printed, since SOPS writes it into the document. The parsed form is shared by clones, so a clone is cheap and
/// wrapping parses nothing.
#[derive(Clone)]
pub struct Recipient {
    text: Arc<str>,
    key: Arc<str>,
    parsed: Parsed,
}

/// The parsed form, by kind.
#[derive(Clone)]
pub(super) enum Parsed {
    /// age's own kind.
    X25519(age::x25519::Recipient),
    /// An SSH public key.
    Ssh(Arc<age::ssh::Recipient>),
    /// A key on a hardware token that can be wrapped to without its plugin.
    Tag(Arc<dyn age::Recipient + Send + Sync>),
    /// Whatever `age-plugin-<name>` makes of it.
    Plugin(Arc<age::plugin::Recipient>),
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
        /// The text as given; only its beginning where it does not even look like a recipient.
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
        let text = text.trim();
        if looks_like_identity(text) {
            return Err(RecipientError::IsIdentity);
        }
        if text.contains(['\n', '\r', '\0']) {
            return Err(malformed(text, "it has more than one line"));
        }
        if text.starts_with("age1") {
            return Self::parse_age(text);
        }
        if ["ssh-", "ecdsa-", "sk-"]
            .iter()
            .any(|p| text.starts_with(p))
        {
            return Self::parse_ssh(text);
        }
        Err(malformed(
            text,
            "it begins neither with age1 nor with ssh-ed25519 or ssh-rsa",
        ))
    }

    /// The text as given, trimmed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key without an SSH comment: what equality compares.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A short form for people: `age12c9k…muj`, `ssh-ed25519 …x3Kq1w laptop`.
    pub fn short(&self) -> String {
        if let Some((kind, encoded)) = self.key.split_once(' ') {
            let comment = self.text[kind.len()..].trim_start();
            let comment = comment.strip_prefix(encoded).unwrap_or_default().trim();
            let tail = &encoded[encoded.len().saturating_sub(6)..];
            let short = format!("{kind} …{tail} {comment}");
            return short.trim_end().to_owned();
        }
        // A plugin's name is worth reading in full.
        let head = self.key.rfind('1').map_or(0, |one| one + 1).max(4) + 4;
        match (
            self.key.get(..head),
            self.key.get(self.key.len().saturating_sub(3)..),
        ) {
            (Some(head), Some(tail)) if head.len() + 3 < self.key.len() => format!("{head}…{tail}"),
            _ => self.key.to_string(),
        }
    }

    /// The first 8 hex digits of the SHA-256 of its key: the mark by which a sealed file's name tells to whom it is sealed.
    pub fn seal_mark(&self) -> String {
        let digest = Sha256::digest(self.key());
        digest.iter().take(4).map(|b| format!("{b:02x}")).collect()
    }

    /// The name of the plugin that wraps to it; none for the kinds that need no plugin.
    pub fn plugin(&self) -> Option<&str> {
        match &self.parsed {
            Parsed::Plugin(plugin) => Some(plugin.plugin()),
            _ => None,
        }
    }

    /// Whether it is age's own kind, whose identity is a text that can be moved.
    pub fn is_x25519(&self) -> bool {
        matches!(self.parsed, Parsed::X25519(_))
    }

    /// Whether it is an SSH public key.
    pub fn is_ssh(&self) -> bool {
        matches!(self.parsed, Parsed::Ssh(_))
    }

    /// The parsed form, for wrapping.
    pub(super) fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// The recipient of an X25519 identity; needs no parsing.
    pub(super) fn of_x25519(recipient: age::x25519::Recipient) -> Self {
        let text: Arc<str> = recipient.to_string().into();
        Self {
            key: Arc::clone(&text),
            text,
            parsed: Parsed::X25519(recipient),
        }
    }

    /// The recipient of an SSH identity, without comment.
    pub(super) fn of_ssh(recipient: age::ssh::Recipient) -> Self {
        let text: Arc<str> = recipient.to_string().into();
        Self {
            key: Arc::clone(&text),
            text,
            parsed: Parsed::Ssh(Arc::new(recipient)),
        }
    }

    fn parse_age(text: &str) -> Result<Self, RecipientError> {
        if text.bytes().any(|b| b.is_ascii_whitespace()) {
            return Err(malformed(text, "it holds white space"));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(malformed(text, "it holds capital letters"));
        }
        let parsed = if text.starts_with("age1pq1") {
            return Err(malformed(
                text,
                "post-quantum recipients (age1pq1…) are not supported yet",
            ));
        } else if let Ok(recipient) = text.parse::<age::x25519::Recipient>() {
            Parsed::X25519(recipient)
        } else if let Ok(recipient) = text.parse::<age::tag::Recipient>() {
            Parsed::Tag(Arc::new(recipient))
        } else if let Ok(recipient) = text.parse::<age::tagpq::Recipient>() {
            Parsed::Tag(Arc::new(recipient))
        } else {
            match text.parse::<age::plugin::Recipient>() {
                Ok(recipient) if !matches!(recipient.plugin(), "tag" | "tagpq") => {
                    Parsed::Plugin(Arc::new(recipient))
                }
                _ => return Err(malformed(text, "its checksum or length is wrong")),
            }
        };
        let text: Arc<str> = text.into();
        Ok(Self {
            key: Arc::clone(&text),
            text,
            parsed,
        })
    }

    fn parse_ssh(text: &str) -> Result<Self, RecipientError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(kind), Some(encoded)) = (words.next(), words.next()) else {
            return Err(malformed(text, "an SSH public key has a kind and a key"));
        };
        let key = format!("{kind} {encoded}");
        let parsed: age::ssh::Recipient = key.parse().map_err(|error| {
            let reason = match error {
                ParseRecipientKeyError::RsaModulusTooLarge => "the RSA key is too large",
                ParseRecipientKeyError::RsaModulusTooSmall => "the RSA key is below 2048 bits",
                ParseRecipientKeyError::Unsupported(_) => {
                    "of SSH keys only ssh-ed25519 and ssh-rsa can be encrypted to"
                }
                _ if !matches!(kind, "ssh-ed25519" | "ssh-rsa") => {
                    "of SSH keys only ssh-ed25519 and ssh-rsa can be encrypted to"
                }
                _ => "the SSH public key is damaged",
            };
            malformed(text, reason)
        })?;
        // age's parser stops at the first octet that is no base64; what it read must be what is there.
        let canonical = parsed.to_string();
        if canonical.trim_end_matches('=') != key.trim_end_matches('=') {
            return Err(malformed(text, "the SSH public key is damaged"));
        }
        Ok(Self {
            text: text.into(),
            key: canonical.into(),
            parsed: Parsed::Ssh(Arc::new(parsed)),
        })
    }
}

/// Whether `text` holds a secret key of any kind that we know, damaged or not.
fn looks_like_identity(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    ["SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY"]
        .iter()
        .any(|mark| upper.contains(mark))
}

fn malformed(text: &str, reason: &str) -> RecipientError {
    let known = ["age1", "ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|p| text.starts_with(p));
    let text = if known || text.chars().count() <= 8 {
        text.to_owned()
    } else {
        // It may be anything, a password pasted into the wrong place among others.
        text.chars().take(4).chain(['…']).collect()
    };
    RecipientError::Malformed {
        text,
        reason: reason.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    const ED: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    fn reason(text: &str) -> String {
        match Recipient::parse(text) {
            Err(RecipientError::Malformed { reason, .. }) => reason,
            other => panic!("expected a malformed recipient, got {other:?}"),
        }
    }

    #[test]
    fn parses_and_keeps_the_text() {
        let r = Recipient::parse(&format!("  {X}\n")).unwrap();
        assert_eq!(r.as_str(), X);
        assert_eq!(r.short(), "age1t7rx…7pa");
        assert_eq!(format!("{r} {r:?}"), format!("{X} {X}"));
    }

    #[test]
    fn an_ssh_comment_is_kept_but_does_not_count() {
        let with = Recipient::parse(&format!("{ED} alice@laptop  home")).unwrap();
        let without = Recipient::parse(ED).unwrap();
        assert_eq!(with, without);
        assert_eq!(with.as_str(), format!("{ED} alice@laptop  home"));
        assert_eq!(with.key(), ED);
        assert_eq!(with.short(), "ssh-ed25519 …Z6isGN alice@laptop  home");
        assert_eq!(without.short(), "ssh-ed25519 …Z6isGN");
    }

    #[test]
    fn damage_is_refused() {
        assert!(reason(&X.replace("t7", "t8")).contains("checksum"));
        assert!(reason(&X[..40]).contains("checksum"));
        assert!(reason(&X.to_uppercase().replace("AGE1", "age1")).contains("capital"));
        assert!(reason(&format!("{X} {X}")).contains("white space"));
        assert!(reason(&format!("{X}\n{X}")).contains("more than one line"));
        assert!(reason(&ED[..50]).contains("damaged"));
        assert!(reason(&format!("{ED}AAAA")).contains("damaged"));
        assert!(reason("ssh-ed25519").contains("kind and a key"));
        assert!(reason("age1").contains("checksum"));
        assert!(reason("").contains("neither"));
    }

    #[test]
    fn unsupported_kinds_are_named() {
        assert!(reason("age1pq1qqqq").contains("not supported yet"));
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA==";
        assert!(reason(ecdsa).contains("only ssh-ed25519 and ssh-rsa"));
    }

    #[test]
    fn an_identity_pasted_by_mistake_is_not_repeated() {
        for text in [
            "AGE-SECRET-KEY-1QQQQ",
            "age-secret-key-1qqqq",
            "GE-SECRET-KEY-1QQQQ",
            "AGE-SECRET-KEY-PQ-1QQQ",
            "AGE-PLUGIN-YUBIKEY-1QQQ",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            assert_eq!(Recipient::parse(text), Err(RecipientError::IsIdentity));
        }
        let error = Recipient::parse("correct horse battery").unwrap_err();
        assert!(!error.to_string().contains("horse"));
    }

    #[test]
    fn a_plugins_recipient_tells_its_plugin() {
        let text = "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t";
        let r = Recipient::parse(text).unwrap();
        assert_eq!(r.plugin(), Some("yubikey"));
        assert_eq!(r.short(), "age1yubikey1qwt5…l3t");
    }
}
