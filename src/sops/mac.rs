//! The document MAC: SHA-512 over the leaf values in order, sealed with the data key.
//!
//! [`MacMatch`] is made here only, and `Verified` cannot be made without one.

use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use crate::sops::leaf;
use crate::sops::store::number;
use crate::sops::tree::Value;

/// SHA-256("sops"): fed first if only encrypted leaves count, so that the two kinds of MAC never agree.
///
/// Source: sops 3.11.0 `sops.go`, `MACOnlyEncryptedInitialization`.
const ENCRYPTED_ONLY: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Proof that the values of a document have the MAC that the document carries.
#[derive(Debug)]
pub struct MacMatch(());

/// Hashes the values of one document.
///
/// JSON numbers are hashed as 3.11 (always floats) and as 3.13 (integers kept) does it, where the two differ; either
/// may match.
pub struct MacHasher {
    main: Sha512,
    other: Option<Sha512>,
}

impl MacHasher {
    /// A hasher for a document with or without `mac_only_encrypted`.
    pub fn new(only_encrypted: bool) -> Self {
        let mut main = Sha512::new();
        if only_encrypted {
            main.update(ENCRYPTED_ONLY);
        }
        Self { main, other: None }
    }

    /// Feeds one leaf; null feeds nothing.
    pub fn feed(&mut self, value: &Value) {
        let Some((_, bytes)) = leaf::to_bytes(value) else {
            return;
        };
        if let Some(other) = &mut self.other {
            other.update(bytes.expose());
        }
        self.main.update(bytes.expose());
    }

    /// Feeds a clear number of a JSON file.
    pub fn feed_json(&mut self, value: &Value) {
        let as_other = match value {
            #[expect(
                clippy::cast_precision_loss,
                reason = "the loss is what sops 3.11 hashes"
            )]
            Value::Int(n) => number::without_exponent(*n as f64),
            Value::Float(x) if *x == 0.0 && x.is_sign_negative() => "0".to_owned(),
            _ => return self.feed(value),
        };
        let Some((_, bytes)) = leaf::to_bytes(value) else {
            return;
        };
        if self.other.is_none() && as_other.as_bytes() != bytes.expose().as_slice() {
            self.other = Some(self.main.clone());
        }
        if let Some(other) = &mut self.other {
            other.update(as_other.as_bytes());
        }
        self.main.update(bytes.expose());
    }

    /// The MAC's text: 128 upper-case hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.main.finalize())
    }

    /// Compares with the MAC that a document carries.
    pub fn check(self, carried: &[u8]) -> Option<MacMatch> {
        let main = hex(&self.main.finalize());
        let other = self.other.map(|other| hex(&other.finalize()));
        let equal = |text: &String| bool::from(text.as_bytes().ct_eq(carried));
        (equal(&main) || other.as_ref().is_some_and(equal)).then_some(MacMatch(()))
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_has_the_hash_of_nothing() {
        assert!(
            MacHasher::new(false)
                .finish()
                .starts_with("CF83E1357EEFB8BD")
        );
    }

    #[test]
    fn the_first_bytes_of_the_encrypted_only_kind_are_the_hash_of_sops() {
        assert_eq!(sha2::Sha256::digest(b"sops").as_slice(), ENCRYPTED_ONLY);
    }

    #[test]
    fn large_json_integers_match_either_way() {
        let big = Value::Int(9_007_199_254_740_993);
        for carried in ["9007199254740993", "9007199254740992"] {
            let mut hasher = MacHasher::new(false);
            hasher.feed(&Value::text("a"));
            hasher.feed_json(&big);
            let mac = hex(&Sha512::digest(format!("a{carried}")));
            assert!(hasher.check(mac.as_bytes()).is_some(), "{carried}");
        }
    }
}
