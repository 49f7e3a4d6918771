//! Values that must not be printed, copied by accident or left in memory: identities, data keys, leaf values.
//!
//! `Secret<T>` wipes its content on drop, prints as `[secret]`, and gives it out only through a visible
//! [`Secret::expose`]. It has no `Clone`, `Display` or `Serialize`; a copy is made by name with [`Secret::duplicate`].

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A value that is wiped on drop and never printed.
pub struct Secret<T: Zeroize>(T);

/// Secret octets, any length.
pub type SecretBytes = Secret<Vec<u8>>;

impl<T: Zeroize> Secret<T> {
    /// Takes charge of `value`; the caller keeps no copy.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Gives the content out, in plain sight.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// Gives the content out for change in place.
    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize + Clone> Secret<T> {
    /// Makes a second wiped copy, on purpose.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl SecretBytes {
    /// Copies `bytes` into a wiped buffer.
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for SecretBytes {
    /// Compares in time that depends on the lengths only.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for SecretBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_print_the_content() {
        let secret = SecretBytes::from_slice(b"hunter2");
        assert_eq!(format!("{secret:?}"), "[secret]");
    }

    #[test]
    fn equality_is_by_content() {
        assert_eq!(SecretBytes::from_slice(b"a"), SecretBytes::from_slice(b"a"));
        assert_ne!(
            SecretBytes::from_slice(b"a"),
            SecretBytes::from_slice(b"ab")
        );
    }
}
