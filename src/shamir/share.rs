//! Splitting a secret into shares and combining them.

use rand::RngCore;
use zeroize::Zeroizing;

use crate::secret::SecretBytes;
use crate::shamir::gf256::{invert, multiply};

/// How many shares there are and how many are needed: 2 ≤ needed ≤ shares ≤ 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    needed: u8,
    shares: u8,
}

impl Threshold {
    /// A valid pair; none for any other.
    pub fn new(needed: u64, shares: usize) -> Option<Self> {
        let needed = u8::try_from(needed).ok()?;
        let shares = u8::try_from(shares).ok()?;
        (needed >= 2 && needed <= shares).then_some(Self { needed, shares })
    }

    /// How many shares combine to the secret.
    pub fn needed(self) -> usize {
        usize::from(self.needed)
    }
}

/// One part: as many bytes as the secret has, then one byte that names the part.
#[derive(Debug)]
pub struct Share(SecretBytes);

/// Why shares do not combine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShamirError {
    /// Fewer than two.
    #[error("fewer than two shares")]
    TooFew,
    /// They are of different length, or too short.
    #[error("the shares differ in length or are too short")]
    Length,
    /// Two are the same part.
    #[error("two shares are the same part")]
    Repeated,
}

impl Share {
    /// Takes the bytes of a share; none if too short to be one.
    pub fn from_bytes(bytes: SecretBytes) -> Option<Self> {
        (bytes.expose().len() >= 2).then_some(Self(bytes))
    }

    /// The bytes: y values, then x.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    fn x(&self) -> u8 {
        self.0.expose().last().copied().unwrap_or_default()
    }
}

/// Splits `secret`; part i (from 0) carries x = i + 1.
pub fn split(secret: &[u8], threshold: Threshold, random: &mut impl RngCore) -> Vec<Share> {
    let mut coefficients = Zeroizing::new(vec![0u8; threshold.needed() - 1]);
    let mut parts: Vec<SecretBytes> = (1..=threshold.shares)
        .map(|x| {
            let mut part = Vec::with_capacity(secret.len() + 1);
            part.resize(secret.len(), 0);
            part.push(x);
            SecretBytes::new(part)
        })
        .collect();
    for (i, byte) in secret.iter().enumerate() {
        random.fill_bytes(&mut coefficients);
        for (part, x) in parts.iter_mut().zip(1..=threshold.shares) {
            // Horner's rule, from the highest coefficient down to the secret's byte.
            let high = coefficients
                .iter()
                .fold(0, |sum, coefficient| multiply(sum, x) ^ coefficient);
            part.expose_mut()[i] = multiply(high, x) ^ byte;
        }
    }
    parts.into_iter().map(Share).collect()
}

/// Combines shares by interpolation at 0. Too few shares give a wrong secret, not an error: the caller must check.
///
/// # Errors
/// [`ShamirError`] if the shares cannot belong together.
pub fn combine(shares: &[Share]) -> Result<SecretBytes, ShamirError> {
    let Some(first) = shares.first().filter(|_| shares.len() >= 2) else {
        return Err(ShamirError::TooFew);
    };
    let length = first.expose().len();
    if shares.iter().any(|s| s.expose().len() != length) {
        return Err(ShamirError::Length);
    }
    for (i, share) in shares.iter().enumerate() {
        if share.x() == 0 || shares[..i].iter().any(|s| s.x() == share.x()) {
            return Err(ShamirError::Repeated);
        }
    }
    let mut secret = SecretBytes::new(vec![0; length - 1]);
    for share in shares {
        let others = shares.iter().filter(|s| s.x() != share.x());
        let weight = others.fold(1, |w, other| {
            multiply(w, multiply(other.x(), invert(other.x() ^ share.x())))
        });
        for (sum, y) in secret.expose_mut().iter_mut().zip(share.expose()) {
            *sum ^= multiply(*y, weight);
        }
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn thresholds_outside_the_limits_do_not_exist() {
        assert!(Threshold::new(1, 3).is_none());
        assert!(Threshold::new(4, 3).is_none());
        assert!(Threshold::new(2, 256).is_none());
        assert!(Threshold::new(255, 255).is_some());
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let share = |bytes: &[u8]| Share::from_bytes(SecretBytes::from_slice(bytes)).unwrap();
        assert_eq!(combine(&[share(&[1, 1])]).unwrap_err(), ShamirError::TooFew);
        let repeated = combine(&[share(&[1, 1]), share(&[2, 1])]).unwrap_err();
        assert_eq!(repeated, ShamirError::Repeated);
        let uneven = combine(&[share(&[1, 1]), share(&[2, 2, 2])]).unwrap_err();
        assert_eq!(uneven, ShamirError::Length);
    }

    proptest! {
        #[test]
        fn any_needed_parts_combine_and_one_fewer_do_not(
            secret in proptest::collection::vec(any::<u8>(), 32),
            needed in 2u64..5,
            extra in 0usize..3,
            start in 0usize..7,
        ) {
            let count = usize::try_from(needed).unwrap() + extra;
            let threshold = Threshold::new(needed, count).unwrap();
            let mut parts = split(&secret, threshold, &mut rand::rngs::OsRng);
            parts.rotate_left(start % count);
            parts.truncate(threshold.needed());
            let whole = combine(&parts).unwrap();
            prop_assert_eq!(whole.expose(), &secret);
            parts.pop();
            if let Ok(wrong) = combine(&parts) {
                prop_assert_ne!(wrong.expose(), &secret);
            }
        }
    }
}
