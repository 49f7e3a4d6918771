//! AES-256-GCM over one leaf, its key path as additional data. The key schedule is made once a document.

use aes_gcm::aead::AeadInPlace;
use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::generic_array::typenum::U32;
use aes_gcm::{AesGcm, KeyInit, aes::Aes256};
use rand::RngCore;

use crate::keys::DataKey;
use crate::secret::SecretBytes;
use crate::sops::ciphertext::{self, Token};
use crate::sops::leaf::Kind;

/// SOPS draws 32-byte nonces, so GCM derives its first counter block by GHASH.
type Aes256Gcm32 = AesGcm<Aes256, U32>;

/// Encrypts and decrypts the leaves of one document.
pub struct LeafCipher(Aes256Gcm32);

/// The token does not belong to this data key and path, or was changed.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("does not decrypt: it was changed, moved, or belongs to another file")]
pub struct CipherError;

impl LeafCipher {
    /// Expands the data key.
    pub fn new(key: &DataKey) -> Self {
        Self(Aes256Gcm32::new(GenericArray::from_slice(key.expose())))
    }

    /// Decrypts `token` for the path `aad`.
    ///
    /// # Errors
    /// [`CipherError`] if the tag does not fit, or a field has a length that SOPS never writes.
    pub fn open(&self, token: &Token, aad: &[u8]) -> Result<SecretBytes, CipherError> {
        if token.iv.len() != 32 || token.tag.len() != 16 {
            return Err(CipherError);
        }
        let mut text = SecretBytes::from_slice(&token.data);
        self.0
            .decrypt_in_place_detached(
                GenericArray::from_slice(&token.iv),
                aad,
                text.expose_mut(),
                GenericArray::from_slice(&token.tag),
            )
            .map_err(|_| CipherError)?;
        Ok(text)
    }

    /// Encrypts `plain` for the path `aad` under a fresh nonce, as a token. An empty text stays empty, as in sops.
    ///
    /// # Errors
    /// [`CipherError`] only beyond GCM's limit of 64 GiB.
    pub fn seal(&self, plain: &[u8], aad: &[u8], kind: Kind) -> Result<String, CipherError> {
        if plain.is_empty() {
            return Ok(String::new());
        }
        let mut iv = [0u8; 32];
        // A generator seeded and reseeded by the operating system; one system call a leaf would dominate.
        rand::thread_rng().fill_bytes(&mut iv);
        let mut data = SecretBytes::from_slice(plain);
        let tag = self
            .0
            .encrypt_in_place_detached(GenericArray::from_slice(&iv), aad, data.expose_mut())
            .map_err(|_| CipherError)?;
        Ok(ciphertext::format(data.expose(), &iv, &tag, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_its_own_path_and_key_only() {
        let key = DataKey::generate();
        let cipher = LeafCipher::new(&key);
        let text = cipher.seal(b"value", b"a:b:", Kind::Str).unwrap();
        let token = Token::parse(&text).unwrap();
        assert_eq!(cipher.open(&token, b"a:b:").unwrap().expose(), b"value");
        assert!(cipher.open(&token, b"a:").is_err());
        assert!(
            LeafCipher::new(&DataKey::generate())
                .open(&token, b"a:b:")
                .is_err()
        );
        for change in 0..3 {
            let mut changed = token.clone();
            match change {
                0 => changed.data[0] ^= 1,
                1 => changed.iv[31] ^= 1,
                _ => changed.tag[0] ^= 1,
            }
            assert!(cipher.open(&changed, b"a:b:").is_err());
        }
        assert_eq!(cipher.seal(b"", b"a:", Kind::Str).unwrap(), "");
    }
}
