//! The secret half: what opens a wrap.

use std::fmt;
use std::sync::Arc;

use age_core::format::{FileKey, Stanza};
use secrecy::{ExposeSecret, SecretString};

use crate::keys::{Recipient, SshKey};

/// One age identity: X25519, SSH (unencrypted by the time it is here) or a plugin's.
pub struct Identity(Arc<Inner>);

struct Inner {
    kind: Kind,
    recipient: Option<Recipient>,
}

enum Kind {
    X25519(age::x25519::Identity),
    Ssh {
        key: age::ssh::Identity,
        text: SecretString,
    },
    Plugin {
        name: String,
        text: SecretString,
    },
}

/// Why a text is no identity. Never holds the text.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// A recipient where an identity belongs.
    #[error("this is a recipient (a public key), not an identity")]
    IsRecipient,
    /// Neither age's, nor a plugin's, nor an SSH private key.
    #[error("not an age identity")]
    Unknown,
    /// An age or plugin identity whose checksum or length is wrong.
    #[error("the identity is damaged: its checksum or length is wrong")]
    Damaged,
    /// A post-quantum identity.
    #[error("post-quantum identities (AGE-SECRET-KEY-PQ-1…) are not supported yet")]
    PostQuantum,
    /// An SSH private key that cannot be read.
    #[error("the SSH private key is damaged")]
    SshDamaged,
    /// An SSH private key under a passphrase.
    #[error("the SSH private key is protected by a passphrase")]
    SshEncrypted,
    /// The passphrase does not open the key.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// An SSH private key of a kind that age knows not how to use.
    #[error(
        "of SSH keys only ssh-ed25519 and ssh-rsa, in files that ssh-keygen writes, can be used"
    )]
    SshUnsupported,
}

impl Identity {
    /// Makes a new X25519 identity from the operating system's randomness.
    pub fn mint() -> Self {
        Self::of_x25519(age::x25519::Identity::generate())
    }

    /// Parses one identity as it stands in a key file (X25519 or a plugin's; no white space around it), or the whole
    /// text of an SSH private key.
    ///
    /// # Errors
    /// See [`IdentityError`]; none of them holds the text.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text.trim_start().starts_with("-----BEGIN ") {
            return Self::parse_ssh(text);
        }
        if text.starts_with("AGE-SECRET-KEY-PQ-1") {
            return Err(IdentityError::PostQuantum);
        }
        if text.starts_with("AGE-SECRET-KEY-") {
            // Go's age takes capitals only; so do we, though the age library would take either.
            if text.bytes().any(|b| b.is_ascii_lowercase()) {
                return Err(IdentityError::Damaged);
            }
            return text
                .parse()
                .map(Self::of_x25519)
                .map_err(|_: &str| IdentityError::Damaged);
        }
        if text.starts_with("AGE-PLUGIN-") {
            if text.bytes().any(|b| b.is_ascii_lowercase()) {
                return Err(IdentityError::Damaged);
            }
            let parsed: age::plugin::Identity =
                text.parse().map_err(|_: &str| IdentityError::Damaged)?;
            return Ok(Self(Arc::new(Inner {
                kind: Kind::Plugin {
                    name: parsed.plugin().to_owned(),
                    text: SecretString::from(text),
                },
                recipient: None,
            })));
        }
        if Recipient::parse(text).is_ok() {
            return Err(IdentityError::IsRecipient);
        }
        Err(IdentityError::Unknown)
    }

    /// The recipient that this identity opens; none for a plugin identity, whose plugin alone knows.
    pub fn recipient(&self) -> Option<Recipient> {
        self.0.recipient.clone()
    }

    /// As [`Identity::recipient`], without the clone.
    pub fn recipient_ref(&self) -> Option<&Recipient> {
        self.0.recipient.as_ref()
    }

    /// The identity's text, as a line of a key file (no newline); an SSH key's is its whole file, where it was given as
    /// text, with its newline.
    pub fn to_text(&self) -> SecretString {
        match &self.0.kind {
            Kind::X25519(key) => key.to_string(),
            Kind::Ssh { text, .. } | Kind::Plugin { text, .. } => text.clone(),
        }
    }

    /// A second handle on the same identity; the secret is not copied.
    #[must_use]
    pub fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// The name of the plugin that holds the secret; none for the kinds that need no plugin.
    pub fn plugin(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Plugin { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether it is an SSH private key.
    pub fn is_ssh(&self) -> bool {
        matches!(self.0.kind, Kind::Ssh { .. })
    }

    /// What messages call it: its recipient, or its plugin. Never its text.
    pub fn name(&self) -> String {
        match (&self.0.recipient, &self.0.kind) {
            (Some(recipient), _) => recipient.short(),
            (None, Kind::Plugin { name, .. }) => format!("age-plugin-{name}"),
            (None, _) => "an SSH key".to_owned(),
        }
    }

    /// Takes an SSH key that is decrypted already.
    pub(super) fn of_ssh(
        key: age::ssh::Identity,
        text: SecretString,
    ) -> Result<Self, IdentityError> {
        let recipient = age::ssh::Recipient::try_from(key.clone())
            .map_err(|_| IdentityError::SshUnsupported)?;
        Ok(Self(Arc::new(Inner {
            kind: Kind::Ssh { key, text },
            recipient: Some(Recipient::of_ssh(recipient)),
        })))
    }

    /// The text of a plugin's identity, for its plugin.
    pub(super) fn plugin_text(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Plugin { text, .. } => Some(text.expose_secret()),
            _ => None,
        }
    }

    /// Tries all stanzas of one header; a plugin identity opens nothing here.
    pub(super) fn try_stanzas(
        &self,
        stanzas: &[Stanza],
    ) -> Option<Result<FileKey, age::DecryptError>> {
        match &self.0.kind {
            Kind::X25519(key) => age::Identity::unwrap_stanzas(key, stanzas),
            Kind::Ssh { key, .. } => age::Identity::unwrap_stanzas(key, stanzas),
            Kind::Plugin { .. } => None,
        }
    }

    fn of_x25519(key: age::x25519::Identity) -> Self {
        let recipient = Recipient::of_x25519(key.to_public());
        Self(Arc::new(Inner {
            kind: Kind::X25519(key),
            recipient: Some(recipient),
        }))
    }

    fn parse_ssh(text: &str) -> Result<Self, IdentityError> {
        match SshKey::parse(text)? {
            SshKey::Open(identity) => Ok(identity),
            SshKey::Locked(_) => Err(IdentityError::SshEncrypted),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.name())
    }
}
