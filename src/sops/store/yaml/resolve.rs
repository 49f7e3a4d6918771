//! What a scalar means: go-yaml v3's typing, which is neither YAML 1.1 nor 1.2.
//!
//! Source: go-yaml v3 `resolve.go` and `decode.go` (3.0.1); the table in `docs/sops-format.md`, section 9.3.

use base64::Engine as _;

use super::timestamp;
use crate::secret::{Secret, SecretBytes};
use crate::sops::tree::Value;

/// Tags that decide a type, in short form; all others leave the text as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Null,
    Bool,
    Str,
    Int,
    Float,
    Timestamp,
    Binary,
    Merge,
    /// Any other: the text stays a string.
    Other,
}

impl Tag {
    /// Reads a long tag (`tag:yaml.org,2002:int`); short forms stay foreign unless spelled `!!` before.
    pub(super) fn of_long(tag: &[u8]) -> Self {
        let name = tag
            .strip_prefix(b"tag:yaml.org,2002:")
            .or_else(|| tag.strip_prefix(b"!!"));
        match name.unwrap_or_default() {
            b"null" => Self::Null,
            b"bool" => Self::Bool,
            b"str" => Self::Str,
            b"int" => Self::Int,
            b"float" => Self::Float,
            b"timestamp" => Self::Timestamp,
            b"binary" => Self::Binary,
            b"merge" => Self::Merge,
            _ => Self::Other,
        }
    }
}

/// A plain scalar before tags are applied.
#[derive(Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64`, up to `u64`.
    LargeInt(u64),
    Float(f64),
    Time(String),
    Str,
}

/// Why a scalar has no value sops can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Sops does not read it.
    Malformed(&'static str),
    /// Sops reads it and then cannot encrypt it.
    Unsupported(&'static str),
}

/// Types a plain scalar without a tag.
pub(super) fn plain(text: &[u8]) -> Plain {
    match std::str::from_utf8(text) {
        Ok(text) => plain_text(text, true),
        Err(_) => Plain::Str,
    }
}

/// The value of a scalar: `tag` none for an untagged one, `quoted` for quotes and blocks.
pub(super) fn value(tag: Option<Tag>, quoted: bool, text: &[u8]) -> Result<Value, Refusal> {
    let wanted = match tag {
        None if quoted => Tag::Str,
        None => return untagged(plain(text), text),
        Some(tag) => tag,
    };
    let utf8 = std::str::from_utf8(text).unwrap_or("x");
    let plain = match wanted {
        Tag::Str | Tag::Merge | Tag::Other => return Ok(Value::Str(SecretBytes::from_slice(text))),
        Tag::Binary => return binary(text),
        Tag::Timestamp => plain_text(utf8, true),
        _ => plain_text(utf8, false),
    };
    match (wanted, plain) {
        (Tag::Float, Plain::Int(int)) => Ok(Value::Float(int as f64)),
        (Tag::Null, plain @ Plain::Null)
        | (Tag::Bool, plain @ Plain::Bool(_))
        | (Tag::Int, plain @ (Plain::Int(_) | Plain::LargeInt(_)))
        | (Tag::Float, plain @ Plain::Float(_))
        | (Tag::Timestamp, plain @ Plain::Time(_)) => untagged(plain, text),
        _ => Err(Refusal::Malformed("a value does not fit its tag")),
    }
}

fn untagged(plain: Plain, text: &[u8]) -> Result<Value, Refusal> {
    Ok(match plain {
        Plain::Null => Value::Null,
        Plain::Bool(value) => Value::Bool(value),
        Plain::Int(value) => Value::Int(value),
        Plain::LargeInt(_) => {
            return Err(Refusal::Unsupported("an integer above 9223372036854775807"));
        }
        Plain::Float(value) => Value::Float(value),
        Plain::Time(time) => Value::Time(Secret::new(time.into_bytes())),
        Plain::Str => Value::Str(SecretBytes::from_slice(text)),
    })
}

fn binary(text: &[u8]) -> Result<Value, Refusal> {
    let digits: zeroize::Zeroizing<Vec<u8>> = text
        .iter()
        .copied()
        .filter(|octet| !matches!(octet, b'\r' | b'\n'))
        .collect::<Vec<_>>()
        .into();
    base64::engine::general_purpose::STANDARD
        .decode(&*digits)
        .map(|octets| Value::Str(Secret::new(octets)))
        .map_err(|_| Refusal::Malformed("a !!binary value is not base64"))
}

fn plain_text(text: &str, times: bool) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Plain::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'.' => dotted(text),
        b'+' | b'-' | b'0'..=b'9' => number_or_time(text, times),
        _ => Plain::Str,
    }
}

/// `.5` and the like, where underscores must stand between digits.
fn dotted(text: &str) -> Plain {
    let octets = text.as_bytes();
    let digit = |i: Option<usize>| {
        i.and_then(|i| octets.get(i))
            .is_some_and(u8::is_ascii_digit)
    };
    let sound = octets
        .iter()
        .enumerate()
        .all(|(i, octet)| *octet != b'_' || digit(i.checked_sub(1)) && digit(Some(i + 1)));
    if sound {
        float(&text.replace('_', "")).map_or(Plain::Str, Plain::Float)
    } else {
        Plain::Str
    }
}

fn number_or_time(text: &str, times: bool) -> Plain {
    if times && let Some(time) = timestamp::canonical(text) {
        return Plain::Time(time);
    }
    let cleaned;
    let digits = if text.contains('_') {
        cleaned = zeroize::Zeroizing::new(text.replace('_', ""));
        cleaned.as_str()
    } else {
        text
    };
    if let Some(int) = integer(digits) {
        return int;
    }
    if let Some(value) = float(digits) {
        return Plain::Float(value);
    }
    prefixed(digits).unwrap_or(Plain::Str)
}

/// An integer as Go's base 0 reads it: `0x`, `0o`, `0b` and leading-zero octal.
fn integer(digits: &str) -> Option<Plain> {
    let (negative, unsigned) = match digits.as_bytes().first()? {
        b'-' => (true, &digits[1..]),
        b'+' => (false, &digits[1..]),
        _ => (false, digits),
    };
    let octets = unsigned.as_bytes();
    let (radix, number) = match octets {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    // Rust takes a sign here, Go does not.
    if !number.as_bytes().first()?.is_ascii_alphanumeric() {
        return None;
    }
    let magnitude = u64::from_str_radix(number, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(Plain::Int);
    }
    match i64::try_from(magnitude) {
        Ok(value) => Some(Plain::Int(value)),
        // Go's unsigned reading takes no sign at all.
        Err(_) if digits.starts_with('+') => None,
        Err(_) => Some(Plain::LargeInt(magnitude)),
    }
}

/// The rest of go-yaml's `0b` and `0o` handling, which lets a sign stand behind the prefix (`0b-11`).
fn prefixed(digits: &str) -> Option<Plain> {
    let (radix, number) = match digits.as_bytes() {
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        _ => return None,
    };
    i64::from_str_radix(number, radix).ok().map(Plain::Int)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, in range.
fn float(digits: &str) -> Option<f64> {
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let sound_mantissa =
        all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let sound_exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && all_digits(exponent)
    });
    if !sound_mantissa || !sound_exponent {
        return None;
    }
    digits.parse::<f64>().ok().filter(|value| value.is_finite())
}
