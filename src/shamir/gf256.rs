//! Arithmetic in GF(2^8) with the polynomial x^8+x^4+x^3+x+1, without branches or tables that depend on secrets.

/// The product of `a` and `b`.
pub(super) fn multiply(a: u8, b: u8) -> u8 {
    let mut product = 0u8;
    let mut a = a;
    for bit in 0..8 {
        // All ones if the bit is set, else zero.
        let mask = ((b >> bit) & 1).wrapping_neg();
        product ^= a & mask;
        let carry = (a >> 7).wrapping_neg();
        a = (a << 1) ^ (0x1b & carry);
    }
    product
}

/// The inverse of `a`, which is a^254; that of 0 is 0.
pub(super) fn invert(a: u8) -> u8 {
    let mut power = a;
    let mut out = 1u8;
    // 254 = 0b1111_1110: the product of a^2, a^4, … a^128.
    for _ in 0..7 {
        power = multiply(power, power);
        out = multiply(out, power);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_known_products() {
        // FIPS 197, section 4.2.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
        assert_eq!(invert(0), 0);
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        for a in 1..=255u8 {
            assert_eq!(multiply(a, invert(a)), 1);
        }
    }
}
