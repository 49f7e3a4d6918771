//! What a plain scalar means.

use super::value;
use crate::secret::SecretBytes;
use crate::sops::tree::Value;

fn of(scalar: &str) -> Value {
    value(&format!("k: {scalar}\n"))
}

fn string(text: &str) -> Value {
    Value::Str(SecretBytes::from_slice(text.as_bytes()))
}

#[test]
fn nulls_and_truth_values() {
    for text in ["", "~", "null", "Null", "NULL", "!!null \"\""] {
        assert_eq!(of(text), Value::Null, "{text}");
    }
    for text in ["true", "True", "TRUE"] {
        assert_eq!(of(text), Value::Bool(true), "{text}");
    }
    for text in ["false", "False", "FALSE"] {
        assert_eq!(of(text), Value::Bool(false), "{text}");
    }
    for text in ["yes", "no", "on", "off", "y", "n", "nUll", "tRue"] {
        assert_eq!(of(text), string(text), "{text}");
    }
}

#[test]
fn integers() {
    for (text, expected) in [
        ("0", 0),
        ("-17", -17),
        ("+1", 1),
        ("1_000", 1000),
        ("1__0", 10),
        ("1_", 1),
        ("0x1F", 31),
        ("0X1f", 31),
        ("-0x10", -16),
        ("0x_1F", 31),
        ("0o17", 15),
        ("0O17", 15),
        ("017", 15),
        ("007", 7),
        ("0_7", 7),
        ("00", 0),
        ("0b101", 5),
        ("0B11", 3),
        ("-0b11", -3),
        ("0b-11", -3),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("!!int \"0x10\"", 16),
        ("! 12", 12),
    ] {
        assert_eq!(of(text), Value::Int(expected), "{text}");
    }
}

#[test]
fn floats() {
    for (text, expected) in [
        ("08", 8.0),
        ("09", 9.0),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("+.5", 0.5),
        (".1_0", 0.1),
        ("1e3", 1e3),
        ("1E3", 1e3),
        ("1e+3", 1e3),
        ("12e03", 12e3),
        ("1_0_0.5", 100.5),
        (".inf", f64::INFINITY),
        ("-.Inf", f64::NEG_INFINITY),
        ("+.INF", f64::INFINITY),
        ("18446744073709551616", 18446744073709551616.0),
        ("-9223372036854775809", -9223372036854775809.0),
        ("1e-400", 0.0),
        ("!!float 3", 3.0),
    ] {
        assert_eq!(of(text), Value::Float(expected), "{text}");
    }
    for text in [".nan", ".NaN", ".NAN"] {
        assert!(
            matches!(of(text), Value::Float(float) if float.is_nan()),
            "{text}"
        );
    }
}

#[test]
fn times() {
    for (text, expected) in [
        ("2024-01-02", "2024-01-02T00:00:00Z"),
        ("2024-1-2", "2024-01-02T00:00:00Z"),
        ("2024-01-02 03:04:05", "2024-01-02T03:04:05Z"),
        ("2024-01-02   03:04:05.50", "2024-01-02T03:04:05.5Z"),
        (
            "2024-01-02T03:04:05.123+02:00",
            "2024-01-02T03:04:05.123+02:00",
        ),
        ("2024-01-02t03:04:05Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05Z"),
        (
            "2024-01-02T03:04:05,1234567899Z",
            "2024-01-02T03:04:05.123456789Z",
        ),
        ("2024-02-29", "2024-02-29T00:00:00Z"),
        ("!!timestamp \"2024-01-02\"", "2024-01-02T00:00:00Z"),
    ] {
        assert_eq!(
            of(text),
            Value::Time(SecretBytes::from_slice(expected.as_bytes())),
            "{text}"
        );
    }
    for text in [
        "2024-01-02T03:04:05",
        "2024-01-02T03:04:05z",
        "2024-01-02 03:04:05 Z",
        "2024-01-02T03:04:05+2",
        "2024-01-02T03:04:05++2:00",
        "2026-02-30",
        "2023-02-29",
        "2024-13-01",
        "2024-01-02T24:00:00Z",
    ] {
        assert_eq!(of(text), string(text), "{text}");
    }
}

#[test]
fn strings() {
    for text in [
        "0o8", "0x", "0b2", "_1", "1e", "e3", "nan", "inf", "12:30:45", "1,000", ".", "..", "=",
        "1e400", "._5", ".5_", "+", "-x", "1.2.3", "0x1.8",
    ] {
        assert_eq!(of(text), string(text), "{text}");
    }
    for (text, expected) in [
        ("!!str 12", "12"),
        ("!custom x", "x"),
        ("!!binary aGk=", "hi"),
        ("'it''s'", "it's"),
        (
            r#""a\tb\x41\u00e9\U0001F600\N\L""#,
            "a\tbA\u{e9}\u{1F600}\u{85}\u{2028}",
        ),
        ("\"12\"", "12"),
        ("'2024-01-02'", "2024-01-02"),
        ("\"a\\\n  b\"", "ab"),
        ("a\n  b\n\n  c", "a b\nc"),
        ("|\n  12\n", "12\n"),
        (">-\n  a\n  b\n\n  c\n", "a b\nc"),
        ("|+\n  a\n", "a\n\n"),
        ("|2-\n   a\n", " a"),
    ] {
        assert_eq!(of(text), string(expected), "{text}");
    }
}
