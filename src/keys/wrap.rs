//! Wrapping secret bytes to one recipient, in the armored form that SOPS stores: one age file a recipient.

use crate::keys::Recipient;

/// Why wrapping failed.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The recipient's plugin failed or is not on PATH.
    #[error("wrapping to {recipient} failed: {reason}")]
    Failed {
        /// The recipient.
        recipient: Recipient,
        /// What the age library said.
        reason: String,
    },
}

/// Why a wrap could not be opened (other than: not for us).
#[derive(Debug, thiserror::Error)]
pub enum UnwrapError {
    /// The text is no armored age file.
    #[error("not an age file: {reason}")]
    Malformed {
        /// What the age library said.
        reason: String,
    },
    /// An identity could have opened it but failed: a plugin, a passphrase.
    #[error("opening with {identity} failed: {reason}")]
    Failed {
        /// The identity, by recipient or plugin name; never its text.
        identity: String,
        /// What the age library said.
        reason: String,
    },
}

/// Encrypts `secret` to `recipient` as one armored age file; the text ends in a newline.
///
/// # Errors
/// [`WrapError::Failed`] if a plugin is missing or refuses.
pub fn wrap(_secret: &[u8], _recipient: &Recipient) -> Result<String, WrapError> {
    unimplemented!()
}
