//! How values and structure are printed.

use super::{parsed, printed, printed_with};
use crate::secret::SecretBytes;
use crate::sops::store::EmitOptions;
use crate::sops::store::yaml::{emit, emit_node, parse};
use crate::sops::tree::{Entry, Leaf, Mapping, MappingItem, Node, Tree, Value};

/// Prints `value` under the key `k`, checks that it reads back the same, and gives what follows `k:`.
fn of(value: Value) -> String {
    let copy = match &value {
        Value::Str(text) => Value::Str(text.duplicate()),
        Value::Int(int) => Value::Int(*int),
        Value::Float(float) => Value::Float(*float),
        other => panic!("{other:?}"),
    };
    let entry = Entry {
        key: "k".to_owned(),
        value: Node::Leaf(Leaf::made(value)),
    };
    let tree = Tree {
        documents: vec![Mapping {
            items: vec![MappingItem::Entry(entry)],
        }],
    };
    let text = emit(&tree, None, &EmitOptions::default()).unwrap();
    if matches!(copy, Value::Str(_)) {
        let again =
            parse(text.expose()).unwrap_or_else(|error| panic!("{:?}: {error}", text.expose()));
        match &again.tree.documents[0].items[0] {
            MappingItem::Entry(Entry {
                value: Node::Leaf(leaf),
                ..
            }) => assert_eq!(leaf.value, copy),
            other => panic!("{other:?}"),
        }
    }
    let text = String::from_utf8(text.expose().clone()).unwrap();
    text.strip_prefix("k: ").unwrap().to_owned()
}

fn string(text: &str) -> String {
    of(Value::Str(SecretBytes::from_slice(text.as_bytes())))
}

#[test]
fn numbers() {
    for (float, expected) in [
        (999999.0, "999999"),
        (1e6, "1e+06"),
        (1234567.5, "1.2345675e+06"),
        (1e20, "1e+20"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (3.0, "3"),
        (f64::INFINITY, ".inf"),
        (f64::NEG_INFINITY, "-.inf"),
        (f64::NAN, ".nan"),
        (-0.0, "-0"),
        (12345678.0, "1.2345678e+07"),
    ] {
        assert_eq!(of(Value::Float(float)), format!("{expected}\n"));
    }
    assert_eq!(of(Value::Int(i64::MIN)), "-9223372036854775808\n");
}

#[test]
fn strings_choose_their_style() {
    for (text, expected) in [
        ("a b", "a b"),
        ("é", "é"),
        ("", "\"\""),
        (" a", "' a'"),
        ("a ", "'a '"),
        ("a: b", "'a: b'"),
        ("a:b", "a:b"),
        ("a:", "'a:'"),
        ("a #b", "'a #b'"),
        ("a#b", "a#b"),
        ("- a", "'- a'"),
        ("-a", "-a"),
        ("-", "'-'"),
        ("? a", "'? a'"),
        ("[x]", "'[x]'"),
        ("{x", "'{x'"),
        ("*x", "'*x'"),
        ("@x", "'@x'"),
        ("`x", "'`x'"),
        ("%x", "'%x'"),
        ("it's", "it's"),
        ("'it's", "'''it''s'"),
        ("\"q", "'\"q'"),
        ("---", "'---'"),
        ("...x", "'...x'"),
        ("12", "\"12\""),
        ("1_0", "\"1_0\""),
        ("null", "\"null\""),
        ("~", "\"~\""),
        ("true", "\"true\""),
        ("yes", "\"yes\""),
        ("N", "\"N\""),
        ("off", "\"off\""),
        ("12:30:45", "\"12:30:45\""),
        ("1:20", "\"1:20\""),
        ("1:60", "1:60"),
        ("2024-01-02", "\"2024-01-02\""),
        (".5", "\".5\""),
        ("\t", "\"\\t\""),
        ("a\tb", "\"a\\tb\""),
        ("a\rb", "\"a\\rb\""),
        ("a\u{85}b", "\"a\\Nb\""),
        ("\u{FEFF}ab", "\"\\uFEFF\\x61\\x62\""),
        ("\u{1F600}", "\"\\U0001F600\""),
        ("a\u{A0}b", "a\u{A0}b"),
        ("a\u{2028}b", "'a\u{2028}    b'"),
        ("<<", "!!merge <<"),
        ("=", "="),
    ] {
        assert_eq!(string(text), format!("{expected}\n"), "{text:?}");
    }
    let long = "word ".repeat(60) + "end";
    assert_eq!(string(&long), format!("{long}\n"));
}

#[test]
fn blocks() {
    for (text, expected) in [
        ("a\nb\n", "|\n    a\n    b\n"),
        ("a\nb", "|-\n    a\n    b\n"),
        ("a\n\n", "|+\n    a\n\n"),
        ("\n", "|4+\n\n"),
        ("\na\n", "|4\n\n    a\n"),
        ("  a\nb\n", "|4\n      a\n    b\n"),
        ("a\n\tb", "|-\n    a\n    \tb\n"),
        ("a \nb", "\"a \\nb\"\n"),
        ("a\nb ", "\"a\\nb \"\n"),
        ("a\n\u{1F600}", "\"a\\n\\U0001F600\"\n"),
        // Sops prints null here and loses the value.
        ("\ta\nb", "\"\\ta\\nb\"\n"),
    ] {
        assert_eq!(string(text), expected, "{text:?}");
    }
    // Sops prints the digit 4 here and cannot read it back.
    assert_eq!(
        printed("l:\n  - |2\n\n     a\n"),
        "l:\n    - |2\n\n       a\n"
    );
    assert_eq!(
        printed("l:\n  - m: |\n\n      a\n"),
        "l:\n    - m: |2\n\n        a\n"
    );
}

#[test]
fn octets_that_are_no_text() {
    assert_eq!(
        of(Value::Str(SecretBytes::from_slice(b"\xFF\x00"))),
        "!!binary /wA=\n"
    );
    let lines = of(Value::Str(SecretBytes::from_slice(&[0xFF; 60])));
    assert_eq!(
        lines,
        format!(
            "!!binary |\n    {}\n    {}\n",
            "/".repeat(70),
            "/".repeat(10)
        )
    );
}

#[test]
fn structure() {
    assert_eq!(
        printed(
            "a: {b: [1, [2, 3], {c: d}]}\ne: []\nf: {}\ng:\n- - x\n  - u\n- z: 1\n  w: {v: 2}\n"
        ),
        "a:\n    b:\n        - 1\n        - - 2\n          - 3\n        - c: d\ne: []\nf: {}\ng:\n    - - x\n      - u\n    \
         - z: 1\n      w:\n        v: 2\n"
    );
    assert_eq!(
        printed_with("a: {b: [1, {c: x}]}\n", Some(2)),
        "a:\n  b:\n    - 1\n    - c: x\n"
    );
    assert_eq!(printed_with("a: {b: 1}\n", Some(1)), "a:\n  b: 1\n");
    assert_eq!(printed_with("a: {b: 1}\n", Some(12)), "a:\n  b: 1\n");
    assert_eq!(printed_with("a: {b: 1}\n", Some(0)), "a:\n    b: 1\n");
    let negative = EmitOptions {
        yaml_indent: Some(-1),
        ..EmitOptions::default()
    };
    assert!(emit(&parsed("a: 1\n").tree, None, &negative).is_err());
}

#[test]
fn keys() {
    assert_eq!(
        printed(
            "\"y\": 1\n\"1\": 2\n'a: b': 3\n'[x]': 4\n\"\": 5\n\" \": 6\n\"\\U0001F600\": 7\n\"a\\nb\": 8\n? c\n: 9\nyes: 10\n"
        ),
        "\"y\": 1\n\"1\": 2\n'a: b': 3\n'[x]': 4\n\"\": 5\n' ': 6\n\"\\U0001F600\": 7\n? |-\n    a\n    b\n: 8\nc: 9\n\"yes\": 10\n"
    );
    let long = "k".repeat(129);
    assert_eq!(
        printed(&format!("\"{long}\": 1\n")),
        format!("? {long}\n: 1\n")
    );
    assert_eq!(
        printed(&format!("{}: 1\n", &long[1..])),
        format!("{}: 1\n", &long[1..])
    );
}

#[test]
fn anchors_are_copied_and_merge_keys_stay() {
    assert_eq!(
        printed("a: &x {k: 1}\nb: *x\nc:\n  <<: *x\n  l: 2\n"),
        "a:\n    k: 1\nb:\n    k: 1\nc:\n    !!merge <<:\n        k: 1\n    l: 2\n"
    );
}

#[test]
fn documents() {
    assert_eq!(
        printed("---\na: 1\n...\n---\n---\nb: 2\n"),
        "a: 1\n---\n{}\n---\nb: 2\n"
    );
    assert_eq!(printed("null\n"), "{}\n");
    assert_eq!(
        printed("a: 1\n---\nb: 1\nb: 2\n"),
        "a: 1\n---\nb: 1\nb: 2\n"
    );
    assert_eq!(
        printed("\u{FEFF}a: 1\r\nb: |\r\n  x\r\n"),
        "a: 1\nb: |\n    x\n"
    );
    assert_eq!(printed("%YAML 1.1\n---\na: 1\n"), "a: 1\n");
}

#[test]
fn utf_16_is_read_without_places() {
    let mut file = vec![0xFF, 0xFE];
    file.extend("k: é\n".encode_utf16().flat_map(u16::to_le_bytes));
    let parsed = parse(&file).unwrap();
    match &parsed.tree.documents[0].items[0] {
        MappingItem::Entry(Entry {
            value: Node::Leaf(leaf),
            ..
        }) => assert_eq!(leaf.place, None),
        other => panic!("{other:?}"),
    }
}

#[test]
fn single_values_take_the_default_indentation() {
    let tree = parsed("l: [a, {b: {c: 1}}]\n").tree;
    let MappingItem::Entry(entry) = &tree.documents[0].items[0] else {
        panic!("no entry")
    };
    let two = EmitOptions {
        yaml_indent: Some(2),
        ..EmitOptions::default()
    };
    assert_eq!(
        emit_node(&entry.value, &two).unwrap().expose(),
        b"- a\n- b:\n    c: 1\n"
    );
}
