//! The text of an SSH private key: open, or under a passphrase.

use std::fmt;

use secrecy::SecretString;

use crate::keys::{Identity, IdentityError, Recipient};

/// An SSH private key that parsed.
#[derive(Debug)]
pub enum SshKey {
    /// It needs no passphrase.
    Open(Identity),
    /// It needs a passphrase.
    Locked(LockedSshKey),
}

/// An SSH private key under a passphrase; its recipient is known, for the file names it in the clear.
pub struct LockedSshKey {
    key: age::ssh::EncryptedKey,
    recipient: Recipient,
    text: SecretString,
}

impl SshKey {
    /// Parses the text of a file as `ssh-keygen` writes it.
    ///
    /// # Errors
    /// [`IdentityError::SshDamaged`], [`IdentityError::SshUnsupported`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let parsed = age::ssh::Identity::from_buffer(text.trim_start().as_bytes(), None)
            .map_err(|_| IdentityError::SshDamaged)?;
        match parsed {
            age::ssh::Identity::Unencrypted(_) => {
                Identity::of_ssh(parsed, SecretString::from(text)).map(Self::Open)
            }
            age::ssh::Identity::Encrypted(ref key) => {
                let key = key.clone();
                let recipient = age::ssh::Recipient::try_from(parsed)
                    .map_err(|_| IdentityError::SshUnsupported)?;
                Ok(Self::Locked(LockedSshKey {
                    key,
                    recipient: Recipient::of_ssh(recipient),
                    text: SecretString::from(text),
                }))
            }
            age::ssh::Identity::Unsupported(_) => Err(IdentityError::SshUnsupported),
        }
    }
}

impl LockedSshKey {
    /// The recipient that it opens.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Decrypts the key; costs a tenth of a second by design.
    ///
    /// # Errors
    /// [`IdentityError::WrongPassphrase`].
    pub fn unlock(&self, passphrase: &SecretString) -> Result<Identity, IdentityError> {
        let key = self
            .key
            .decrypt(passphrase.clone())
            .map_err(|_| IdentityError::WrongPassphrase)?;
        Identity::of_ssh(age::ssh::Identity::from(key), self.text.clone())
    }
}

impl fmt::Debug for LockedSshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedSshKey({})", self.recipient.short())
    }
}
