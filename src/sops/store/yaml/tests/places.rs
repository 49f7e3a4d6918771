//! Where leaves, comments and metadata stand in the source, and replacing the metadata.

use super::{emit, parse, parsed};
use crate::sops::store::EmitOptions;
use crate::sops::store::splice::apply;
use crate::sops::store::yaml::metadata_splices;
use crate::sops::tree::{List, ListItem, Mapping, MappingItem, Node};

/// The texts at all places of leaves and comments, in order; `-` for those without one.
fn places(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for document in &parsed(text).tree.documents {
        in_mapping(document, text, &mut found);
    }
    found
}

fn at(place: Option<&std::ops::Range<usize>>, text: &str) -> String {
    place.map_or("-".to_owned(), |place| text[place.clone()].to_owned())
}

fn in_mapping(mapping: &Mapping, text: &str, found: &mut Vec<String>) {
    for item in &mapping.items {
        match item {
            MappingItem::Comment(comment) => found.push(at(comment.place.as_ref(), text)),
            MappingItem::Entry(entry) => in_node(&entry.value, text, found),
        }
    }
}

fn in_node(node: &Node, text: &str, found: &mut Vec<String>) {
    match node {
        Node::Mapping(mapping) => in_mapping(mapping, text, found),
        Node::List(List { items }) => {
            for item in items {
                match item {
                    ListItem::Comment(comment) => found.push(at(comment.place.as_ref(), text)),
                    ListItem::Node(node) => in_node(node, text, found),
                }
            }
        }
        Node::Leaf(leaf) => found.push(at(leaf.place.as_ref(), text)),
    }
}

#[test]
fn of_leaves_and_comments() {
    assert_eq!(
        places("# é h\na: plain text # l\nb: 'q''q'\nc: \"\\u00e9\"\nd: [1, {e: f}]\ng:\n- h\n"),
        [
            "# é h",
            "# l",
            "plain text",
            "'q''q'",
            "\"\\u00e9\"",
            "1",
            "f",
            "h"
        ]
    );
    assert_eq!(
        places("a: |-\n  x\n\n  y\n\nb: >\n  z\n"),
        ["|-\n  x\n\n  y", ">\n  z"]
    );
    assert_eq!(
        places("a: x\n  y\nb:\nc: !!str 1\nd: &k v\n"),
        ["x\n  y", "-", "-", "v"]
    );
    assert_eq!(places("a: | # c\n  x\n"), ["# c", "-"]);
    assert_eq!(places("\u{FEFF}a: x\r\n# c\r\nb: y\r\n"), ["x", "# c", "y"]);
}

#[test]
fn aliases_take_all_places_away() {
    assert_eq!(places("# c\na: &k v\nb: *k\n"), ["-", "-", "-"]);
}

const ENCRYPTED: &str = "a: ENC[x]\nsops:\n    age:\n        - recipient: age1x\n          enc: |\n            -----BEGIN\n            \
    Zm9v\n            -----END\n        - recipient: age1y\n          enc: |\n            x\n    lastmodified: \"2026-11-23T15:36:21Z\"\n    \
    mac: ENC[y]\n    unencrypted_suffix: _unencrypted\n    version: 3.11.0\n";

fn unchanged(text: &str) -> String {
    let parsed = parsed(text);
    let splices =
        metadata_splices(text.as_bytes(), &parsed, parsed.metadata.as_ref().unwrap()).unwrap();
    String::from_utf8(apply(text.as_bytes(), splices).unwrap()).unwrap()
}

#[test]
fn metadata_as_sops_wrote_it_prints_the_same() {
    let two = "a: ENC[x]\nsops:\n  age:\n    - recipient: age1x\n      enc: |\n        x\n  mac: z\n  version: 3.11.0\n";
    for text in [
        ENCRYPTED.to_owned(),
        ENCRYPTED.trim_end().to_owned(),
        ENCRYPTED.replace('\n', "\r\n"),
        format!("{ENCRYPTED}# after\n"),
        ENCRYPTED.replace("sops:\n", "sops:\n#ENC[c]\n"),
        format!("{ENCRYPTED}\n\n---\n{ENCRYPTED}"),
        format!("{}\nz: 1\n", &ENCRYPTED[ENCRYPTED.find("sops").unwrap()..]),
        two.to_owned(),
    ] {
        assert_eq!(unchanged(&text), text);
    }
}

#[test]
fn every_copy_of_the_metadata_is_replaced_and_nothing_else() {
    let text = format!("# c\n{ENCRYPTED}---\nb:  odd # d\n{ENCRYPTED}");
    let other = parsed("sops:\n    mac: new\n    age: []\n");
    let splices = metadata_splices(
        text.as_bytes(),
        &parsed(&text),
        other.metadata.as_ref().unwrap(),
    )
    .unwrap();
    let out = String::from_utf8(apply(text.as_bytes(), splices).unwrap()).unwrap();
    assert_eq!(
        out,
        "# c\na: ENC[x]\nsops:\n    mac: new\n    age: []\n---\nb:  odd # d\na: ENC[x]\nsops:\n    mac: new\n    age: []\n"
    );
}

#[test]
fn metadata_that_is_no_block_is_left_to_a_full_print() {
    for text in [
        "{a: 1, sops: {mac: x}}\n",
        "  a: 1\n  sops:\n    mac: x\n",
        "a: &k x\nsops:\n    mac: *k\n",
    ] {
        let parsed = parsed(text);
        assert!(
            metadata_splices(text.as_bytes(), &parsed, parsed.metadata.as_ref().unwrap()).is_err(),
            "{text:?}"
        );
    }
    let plain = parsed("a: 1\n");
    assert!(metadata_splices(b"a: 1\n", &plain, &Mapping::default()).is_err());
}

#[test]
fn encrypted_files_print_the_same() {
    let text = format!("{ENCRYPTED}---\n{ENCRYPTED}");
    let parsed = parse(text.as_bytes()).unwrap();
    let out = emit(
        &parsed.tree,
        parsed.metadata.as_ref(),
        &EmitOptions::default(),
    )
    .unwrap();
    assert_eq!(String::from_utf8(out.expose().clone()).unwrap(), text);
}
