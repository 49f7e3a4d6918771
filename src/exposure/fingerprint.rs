//! Comparing secrets without keeping them.

use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;

use crate::secret::Secret;

/// A key that is made for one comparison and never stored.
///
/// # Secrets
/// Wiped on drop; with it, fingerprints could be searched for short values.
pub struct FingerprintKey(Secret<[u8; 32]>);

/// The first 16 bytes of an HMAC-SHA256; equal for equal bytes under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl FingerprintKey {
    /// A new random key.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        Self(Secret::new(bytes))
    }

    /// The fingerprint of `bytes`; those of different `kind`s never meet.
    pub fn of(&self, kind: &str, bytes: &[u8]) -> Fingerprint {
        // An HMAC takes keys of any length.
        let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(self.0.expose()) else {
            unreachable!("HMAC takes keys of any length")
        };
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        Fingerprint(short)
    }
}

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_under_one_key_and_kind_alone_are_equal() {
        let (one, other) = (FingerprintKey::generate(), FingerprintKey::generate());
        assert_eq!(one.of("value", b"x"), one.of("value", b"x"));
        assert_ne!(one.of("value", b"x"), one.of("value", b"y"));
        assert_ne!(one.of("value", b"x"), one.of("token", b"x"));
        assert_ne!(one.of("value", b"x"), other.of("value", b"x"));
        assert!(!format!("{one:?}").contains(char::is_numeric));
    }
}
