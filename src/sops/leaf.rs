//! Typed leaf values and their bytes: what is encrypted, hashed, and read back.
//!
//! Source: sops 3.11.0 `aes/cipher.go`, `sops.go` (`ToBytes`).

use crate::secret::SecretBytes;
use crate::sops::store::number;
use crate::sops::time_text;
use crate::sops::tree::Value;

/// The type that a token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text or octets.
    Str,
    /// A signed 64-bit integer.
    Int,
    /// A binary64 number.
    Float,
    /// A truth value.
    Bool,
    /// A point in time.
    Time,
    /// A comment.
    Comment,
}

impl Kind {
    /// The type named by `tag`; none for unknown ones and `bytes`, which sops itself cannot read.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Some(match tag {
            "str" => Self::Str,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "time" => Self::Time,
            "comment" => Self::Comment,
            _ => return None,
        })
    }

    /// Its name in a token.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Time => "time",
            Self::Comment => "comment",
        }
    }
}

/// The type and the bytes of a leaf; none for null, which is neither encrypted nor hashed.
pub fn to_bytes(value: &Value) -> Option<(Kind, SecretBytes)> {
    let text = |text: String| SecretBytes::new(text.into_bytes());
    Some(match value {
        Value::Null => return None,
        Value::Str(bytes) => (Kind::Str, bytes.duplicate()),
        Value::Int(n) => (Kind::Int, text(n.to_string())),
        Value::Float(x) => (Kind::Float, text(number::without_exponent(*x))),
        Value::Bool(b) => (
            Kind::Bool,
            SecretBytes::from_slice(if *b { b"True" } else { b"False" }),
        ),
        Value::Time(rfc3339) => (Kind::Time, rfc3339.duplicate()),
    })
}

/// The value that decrypted `bytes` of type `kind` stand for; none if they do not fit the type. Not for comments.
pub fn from_bytes(kind: Kind, bytes: SecretBytes) -> Option<Value> {
    if matches!(kind, Kind::Str | Kind::Comment) {
        return Some(Value::Str(bytes));
    }
    let text = std::str::from_utf8(bytes.expose()).ok()?;
    Some(match kind {
        Kind::Int => Value::Int(text.parse().ok()?),
        Kind::Float => Value::Float(parse_float(text)?),
        Kind::Bool => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Value::Bool(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Value::Bool(false),
            _ => return None,
        },
        Kind::Time => Value::Time(SecretBytes::new(time_text::canonical(text)?.into_bytes())),
        Kind::Str | Kind::Comment => return None,
    })
}

fn parse_float(text: &str) -> Option<f64> {
    let x: f64 = text.parse().ok()?;
    // A finite spelling that overflows is an error in Go.
    let spelled_infinite = text.to_ascii_lowercase().contains("inf");
    (x.is_finite() || x.is_nan() || spelled_infinite).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_sops_and_read_back() {
        for (value, bytes) in [
            (Value::Int(-7), "-7"),
            (Value::Float(3.0), "3"),
            (Value::Float(1e21), "1000000000000000000000"),
            (Value::Float(f64::NEG_INFINITY), "-Inf"),
            (Value::Bool(true), "True"),
            (Value::text("x\u{0}"), "x\u{0}"),
            (
                Value::Time(SecretBytes::from_slice(b"2024-01-02T03:04:05.5+02:00")),
                "2024-01-02T03:04:05.5+02:00",
            ),
        ] {
            let (kind, found) = to_bytes(&value).unwrap();
            assert_eq!(found.expose(), bytes.as_bytes());
            assert!(from_bytes(kind, found).unwrap().same(&value));
        }
        assert!(to_bytes(&Value::Null).is_none());
    }

    #[test]
    fn text_that_does_not_fit_its_type_is_refused() {
        for (kind, text) in [
            (Kind::Int, "two"),
            (Kind::Int, ""),
            (Kind::Int, "9223372036854775808"),
            (Kind::Float, "x"),
            (Kind::Float, "1e400"),
            (Kind::Bool, "yes"),
            (Kind::Time, "2024-01-02"),
        ] {
            assert!(
                from_bytes(kind, SecretBytes::from_slice(text.as_bytes())).is_none(),
                "{text}"
            );
        }
    }
}
