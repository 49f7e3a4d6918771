//! Wrapping secret bytes to one recipient, in the armored form that SOPS stores: one age file a recipient.

use std::io::Write;

use age::armor::{ArmoredWriter, Format};

use crate::keys::Recipient;
use crate::keys::age_file::plain_message;
use crate::keys::recipient::Parsed;

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
#[derive(Debug, Clone, thiserror::Error)]
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
/// The age library adds a second stanza of random "grease" that every reader skips, so two wraps of one secret differ
/// in length.
///
/// # Errors
/// [`WrapError::Failed`] if a plugin is missing or refuses.
pub fn wrap(secret: &[u8], recipient: &Recipient) -> Result<String, WrapError> {
    let failed = |reason: String| WrapError::Failed {
        recipient: recipient.clone(),
        reason,
    };
    match recipient.parsed() {
        Parsed::X25519(r) => encrypt(secret, r),
        Parsed::Ssh(r) => encrypt(secret, r.as_ref()),
        Parsed::Tag(r) => encrypt(secret, r.as_ref()),
        Parsed::Plugin(r) => {
            let plugin = age::plugin::RecipientPluginV1::new(
                r.plugin(),
                std::slice::from_ref(r),
                &[],
                age::NoCallbacks,
            )
            .map_err(|error| failed(plain_message(&error)))?;
            encrypt(secret, &plugin)
        }
    }
    .map_err(failed)
}

fn encrypt(secret: &[u8], recipient: &dyn age::Recipient) -> Result<String, String> {
    let write = || -> Result<Vec<u8>, age::EncryptError> {
        let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient))?;
        let armor = ArmoredWriter::wrap_output(Vec::with_capacity(640), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armor)?;
        writer.write_all(secret)?;
        Ok(writer.finish()?.finish()?)
    };
    let bytes = write().map_err(|error| plain_message(&error))?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
