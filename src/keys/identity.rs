//! The secret half: what opens a wrap.

use secrecy::SecretString;

use crate::keys::Recipient;
use crate::keys::wrap::UnwrapError;
use crate::secret::SecretBytes;

/// One age identity: X25519, SSH (unencrypted by the time it is here) or a plugin's.
pub struct Identity {}

impl Identity {
    /// Makes a new X25519 identity from the operating system's randomness.
    pub fn mint() -> Self {
        unimplemented!()
    }

    /// The recipient that this identity opens; none for a plugin identity, whose plugin alone knows.
    pub fn recipient(&self) -> Option<Recipient> {
        unimplemented!()
    }

    /// The identity's text, as a line of a key file (no newline).
    pub fn to_text(&self) -> SecretString {
        unimplemented!()
    }
}

/// Identities at hand, in the order in which they are tried; shared by threads.
#[derive(Default)]
pub struct IdentitySet {}

impl IdentitySet {
    /// A set of these identities.
    pub fn new(_identities: Vec<Identity>) -> Self {
        unimplemented!()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }

    /// Adds the identities of `other` behind those of this set.
    pub fn extend(&mut self, _other: IdentitySet) {
        unimplemented!()
    }

    /// The known recipients, in order.
    pub fn recipients(&self) -> Vec<Recipient> {
        unimplemented!()
    }

    /// Whether the identity of `recipient` is in the set.
    pub fn holds(&self, _recipient: &Recipient) -> bool {
        unimplemented!()
    }

    /// Opens one armored age file; none if no identity of the set is among its recipients.
    ///
    /// # Errors
    /// [`UnwrapError`] if the text is no age file, or a plugin failed.
    pub fn unwrap(&self, _armored: &str) -> Result<Option<SecretBytes>, UnwrapError> {
        unimplemented!()
    }
}
