//! YAML read and printed again, against what `sops encrypt` followed by `sops decrypt` printed.
//!
//! `vectors/yaml_printed.json` holds generated files (comments everywhere, every scalar style, odd indentation, several
//! documents) with the output of sops 3.11.0, or null where sops refused the file. Files on which sops itself moves a
//! comment between encryption and decryption are left out.

#![expect(clippy::disallowed_methods, reason = "edge: reads the vectors")]

use cofferdam::sops::store::{self, EmitOptions, Store};

#[test]
fn files_print_as_sops_prints_them() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/yaml_printed.json"
    );
    let cases: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(path).expect("the vectors are there")).expect("JSON");
    assert!(cases.len() > 50, "too few vectors");
    for case in cases {
        let plain = case["plain"].as_str().expect("a plain text");
        let parsed = store::parse(Store::Yaml, plain.as_bytes());
        match case["printed"].as_str() {
            None => assert!(parsed.is_err(), "sops refuses this:\n{plain}"),
            Some(expected) => {
                let parsed = parsed.unwrap_or_else(|error| panic!("{error}:\n{plain}"));
                let printed = store::emit(Store::Yaml, &parsed.tree, None, &EmitOptions::default())
                    .expect("printable");
                assert_eq!(
                    String::from_utf8_lossy(printed.expose()),
                    expected,
                    "from:\n{plain}"
                );
            }
        }
    }
}
