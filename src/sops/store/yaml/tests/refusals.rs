//! What sops does not read or cannot hold.

use super::{parse, parsed, printed, refusal};
use crate::sops::store::StoreError;

#[test]
fn malformed_files_say_where() {
    for (text, wrong_line) in [
        ("a: b: c\n", 1),
        ("a:\n\tb: 2\n", 2),
        ("a: [1\nb: 2\n", 2),
        ("a: 'x\n", 1),
        ("a: \"\\z\"\n", 1),
        ("a: 1\n b: 2\n", 2),
        ("a: *x\n", 1),
        ("%YAML 1.2\n---\na: 1\n", 1),
        ("a: 1\nb: 2\na: 3\n", 3),
        ("m: {a: 1, a: 2}\n", 1),
        ("a: !!bool yes\n", 1),
        ("a: !!binary \"%\"\n", 1),
        ("<<: x\n", 1),
        ("# only\n", 1),
        ("", 1),
        ("a: \u{7}\n", 1),
        ("a: 1\nb: \u{7F}\n", 2),
        ("a: &x [*x]\n", 1),
        ("a: !u!x 1\n", 1),
        ("a: @x\n", 1),
    ] {
        match refusal(text) {
            StoreError::Malformed { line, .. } => assert_eq!(line, wrong_line, "{text:?}"),
            other => panic!("{text:?}: {other}"),
        }
    }
    assert!(parse(b"a: \xFF\n").is_err());
    assert!(parse(b"\xFF\xFEa").is_err());
}

#[test]
fn what_sops_cannot_hold() {
    for text in [
        "- a\n",
        "a\n",
        "12\n",
        "a: 1\n---\n- b\n",
        "1: a\n",
        "1.5: a\n",
        "true: a\n",
        "null: a\n",
        "~: a\n",
        "2024-01-02: a\n",
        "? [a]\n: b\n",
        "? {a: 1}\n: b\n",
        "a: 9223372036854775808\n",
        "a: 18446744073709551615\n",
        "!!binary /w==: a\n",
    ] {
        assert!(
            matches!(refusal(text), StoreError::Refused { .. }),
            "{text:?}"
        );
    }
}

#[test]
fn the_key_sops_is_reserved_at_the_top() {
    for text in [
        "sops: 1\n",
        "sops:\n",
        "sops: [1]\n",
        "a: 1\n---\nsops: {a: 1}\n",
        "&a sops: *a\n",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert_eq!(printed("a: {sops: 1}\n"), "a:\n    sops: 1\n");
    let encrypted = parsed("a: 1\nsops: {mac: x}\n---\nb: 1\nsops: [damaged]\n");
    assert!(encrypted.metadata.is_some());
    assert_eq!(encrypted.tree.documents.len(), 2);
}

#[test]
fn nesting_and_copies_are_bounded() {
    for text in [
        "a: ".to_owned() + &"[".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(50_000),
        "{a: ".repeat(9_999),
    ] {
        assert!(matches!(refusal(&text), StoreError::Malformed { .. }));
    }
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for letter in b'b'..=b'j' {
        let (this, before) = (char::from(letter), char::from(letter - 1));
        bomb += &format!(
            "{this}: &{this} [{}]\n",
            vec![format!("*{before}"); 9].join(",")
        );
    }
    assert!(matches!(refusal(&bomb), StoreError::Malformed { .. }));
}

/// Every prefix of a file, and every file with one octet changed, is read or refused, never worse.
#[test]
fn damaged_files_do_not_panic() {
    let text = "# h\na: &x [1, {b: 'c'}] # l\nd: |2-\n   e\n  f\n? g\n: \"\\u00e9\\\n  z\"\n---\n!!str h: *x\n- i\n";
    for end in 0..text.len() {
        let _ = parse(&text.as_bytes()[..end]);
        for octet in [
            b'\n', b' ', b'#', b':', b'-', b'[', b'}', b'"', b'\'', b'|', b'&', b'!', b'\t', b'\r',
            0xC2, 0,
        ] {
            let mut changed = text.as_bytes().to_vec();
            changed[end] = octet;
            let _ = parse(&changed);
            changed.insert(end, octet);
            let _ = parse(&changed);
        }
    }
}
