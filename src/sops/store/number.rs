//! How numbers are spelled; Go's three spellings of a binary64 number, all with the shortest digits that read back.
//!
//! Source: Go `strconv.FormatFloat`, `encoding/json`; sops 3.11.0 `stores/stores.go` (`ValToString`).

/// Without an exponent: `3`, `0.0000001`, `+Inf`. What is encrypted and hashed.
pub fn without_exponent(x: f64) -> String {
    if x.is_infinite() {
        return if x > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{x}")
}

/// As JSON prints it: an exponent below 1e-6 and from 1e21 on. None for infinities and NaN.
pub fn json(x: f64) -> Option<String> {
    if !x.is_finite() {
        return None;
    }
    let size = x.abs();
    if x == 0.0 || (1e-6..1e21).contains(&size) {
        return Some(format!("{x}"));
    }
    let (mantissa, exponent) = scientific(x);
    let sign = if exponent < 0 { '-' } else { '+' };
    Some(format!("{mantissa}e{sign}{}", exponent.abs()))
}

/// Go's `%g` with shortest digits: an exponent below 1e-4 and from 1e6 on, at least two digits long.
pub fn general(x: f64, exponent_sign: char) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() || x == 0.0 {
        return without_exponent(x);
    }
    let (mantissa, exponent) = scientific(x);
    // The shortest form may have up to 21 digits before Go changes to an exponent only for `%v`; `%g` changes at 6.
    if (-4..6).contains(&exponent) {
        return format!("{x}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{exponent_sign}{sign}{:02}", exponent.abs())
}

/// As dotenv and INI print it: general with a capital `E`, and `.0` where it would look like an integer.
pub fn flat(x: f64) -> String {
    let text = general(x, 'E');
    if text.contains(['.', 'E']) || !x.is_finite() {
        return text;
    }
    format!("{text}.0")
}

/// Mantissa digits and decimal exponent of a finite number.
fn scientific(x: f64) -> (String, i32) {
    let text = format!("{x:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa.to_owned(), exponent.parse().unwrap_or(0)),
        None => (text, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_as_go_does() {
        assert_eq!(without_exponent(1e21), "1000000000000000000000");
        assert_eq!(without_exponent(1e-7), "0.0000001");
        assert_eq!(without_exponent(-0.0), "-0");
        assert_eq!(without_exponent(f64::INFINITY), "+Inf");
        assert_eq!(without_exponent(f64::NAN), "NaN");
        assert_eq!(json(1e-9).unwrap(), "1e-9");
        assert_eq!(json(1e23).unwrap(), "1e+23");
        assert_eq!(
            json(123_456_789_012_345_678_901_234.0).unwrap(),
            "1.2345678901234569e+23"
        );
        assert_eq!(json(1e20).unwrap(), "100000000000000000000");
        assert_eq!(json(f64::NAN), None);
        assert_eq!(flat(1e6), "1E+06");
        assert_eq!(flat(3.0), "3.0");
        assert_eq!(flat(1e-7), "1E-07");
        assert_eq!(general(1_234_567.5, 'e'), "1.2345675e+06");
        assert_eq!(general(999_999.0, 'e'), "999999");
        assert_eq!(general(0.0001, 'e'), "0.0001");
    }
}
