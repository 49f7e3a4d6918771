//! Properties of whole documents: what is encrypted opens to the same, what was touched does not, nothing panics.

use proptest::prelude::*;

use crate::keys::{DataKey, Identity, Recipient};
use crate::sops::store::{self, detect};
use crate::sops::{
    Document, EmitOptions, EncryptOptions, NewKeys, NewRecipients, Selection, Selector, Store,
    encrypt,
};

fn now() -> jiff::Timestamp {
    "2026-02-03T04:05:06Z".parse().unwrap()
}

fn recipient() -> Recipient {
    static ONE: std::sync::LazyLock<Identity> = std::sync::LazyLock::new(Identity::mint);
    ONE.recipient().unwrap()
}

fn options(store: Store, selection: Selection) -> EncryptOptions {
    EncryptOptions {
        key_groups: vec![vec![recipient()]],
        threshold: None,
        selection,
        mac_only_encrypted: false,
        now: now(),
        output: store,
        emit: EmitOptions::default(),
    }
}

const PLAIN: [(Store, &str); 5] = [
    (Store::Dotenv, "# c\nA=1\nB_unencrypted=x\nC=\nA=2\n"),
    (
        Store::Json,
        "{\"a\": [1, \"x\", {\"b\": null}], \"c_unencrypted\": true, \"d\": \"\"}",
    ),
    (Store::Ini, "; top\nk = v\n[s]\n# c\na = 1\nb = `x#y`\n"),
    (
        Store::Yaml,
        "# c\na: 1\nl:\n  # in list\n  - x\n  - {b: 2024-01-02}\nm_unencrypted:\n  n: 1.5\n---\nz: |\n  two\n  lines\n",
    ),
    (Store::Binary, "any bytes\n\u{0}"),
];

/// An encrypted file of each store, with its data key.
fn encrypted() -> Vec<(Store, Vec<u8>, DataKey)> {
    PLAIN
        .iter()
        .map(|(store, plain)| {
            let options = options(*store, Selection::default());
            let made = encrypt(*store, plain.as_bytes(), &options).unwrap();
            (*store, made.bytes, made.data_key)
        })
        .collect()
}

#[test]
fn every_encrypted_file_is_found_by_content() {
    for (store, bytes, _) in encrypted() {
        let expected = if store == Store::Binary {
            Store::Json
        } else {
            store
        };
        assert_eq!(detect::store_of(&bytes), Some(expected));
    }
    for (_, plain) in PLAIN {
        assert!(!detect::looks_encrypted(plain.as_bytes()));
    }
}

/// Flips one character of every token in turn: each change is refused.
#[test]
fn a_changed_character_in_any_token_is_refused() {
    for (store, bytes, key) in encrypted() {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let places: Vec<usize> = text.match_indices("data:").map(|(i, _)| i + 5).collect();
        assert!(places.len() > 1);
        for at in places {
            // Metadata of later YAML documents is not read.
            if text[..at].matches("sops:\n").count() > 1 {
                continue;
            }
            // A comment that does not decrypt is kept as a comment, by the format.
            let token_end = at + text[at..].find(']').unwrap();
            if text[at..token_end].ends_with("type:comment") && store != Store::Yaml {
                continue;
            }
            let mut changed = bytes.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let opened = Document::parse(store, changed).and_then(|d| d.open(&key));
            if let Ok(verified) = opened {
                assert!(!verified.warnings().is_empty(), "{store} at {at}");
            }
        }
    }
}

#[test]
fn renewing_and_adding_keep_the_plaintext_and_refuse_the_old_key_or_not() {
    let added = Identity::mint();
    for (store, bytes, key) in encrypted() {
        let document = Document::parse(store, bytes.clone()).unwrap();
        let verified = document.open(&key).unwrap();
        let to = [added.recipient().unwrap()];
        let keys = NewKeys {
            recipients: NewRecipients::Only(&to),
            drop_foreign: false,
        };
        let renewed = document.renew(&verified, &keys, now()).unwrap();
        let again = Document::parse(store, renewed.bytes).unwrap();
        assert!(again.open(&key).is_err());
        let reopened = again.open(&renewed.data_key).unwrap();
        assert!(reopened.same_plaintext(&verified));
        assert_eq!(again.recipients(), [&to[0]]);

        let more = document.rewrap(&key, &to).unwrap();
        let more = Document::parse(store, more).unwrap();
        assert_eq!(more.recipients().len(), 2);
        assert_eq!(more.lastmodified(), document.lastmodified());
        assert!(more.open(&key).unwrap().same_plaintext(&verified));
        assert_eq!(document.rewrap(&key, &[recipient()]).unwrap(), bytes);
        assert!(document.rewrap(&DataKey::generate(), &to).is_err());
    }
}

#[test]
fn the_plaintext_of_one_document_is_not_written_into_another() {
    let all = encrypted();
    let (store, bytes, key) = &all[0];
    let one = Document::parse(*store, bytes.clone()).unwrap();
    let other = Document::parse(*store, bytes.clone()).unwrap();
    let keys = NewKeys {
        recipients: NewRecipients::Keep,
        drop_foreign: false,
    };
    assert!(other.renew(&one.open(key).unwrap(), &keys, now()).is_err());
}

#[test]
fn large_json_numbers_are_rounded_as_in_sops_and_said() {
    let plain = br#"{"a": 9007199254740993, "b": 5}"#;
    let made = encrypt(
        Store::Json,
        plain,
        &options(Store::Json, Selection::default()),
    )
    .unwrap();
    assert_eq!(made.warnings.len(), 1);
    assert!(made.warnings[0].text.contains("`a`"));
}

fn dotenv() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[A-Za-z_]{1,6}=[ -~é]{0,12}",
        "#[ -~]{0,8}",
        Just(String::new())
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        // Few digits: serde_json itself does not read back all of them.
        any::<i16>().prop_map(|n| serde_json::json!(f64::from(n) / 8.0)),
        "\\PC{0,12}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec(("\\PC{0,6}", inner), 0..4)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    });
    proptest::collection::vec(("[a-z:_]{0,6}", value), 0..5).prop_map(|m| {
        serde_json::Value::Object(m.into_iter().filter(|(k, _)| k != "sops").collect())
    })
}

fn selection() -> impl Strategy<Value = Selection> {
    prop_oneof![
        Just(Selection::default()),
        Just(Selection::new(Selector::EncryptedRegex, "^[a-m]")),
        Just(Selection::new(Selector::UnencryptedRegex, "[xyz]")),
        Just(Selection::new(Selector::EncryptedSuffix, "e")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn dotenv_opens_to_what_was_encrypted(plain in dotenv(), selection in selection()) {
        prop_assume!(!plain.contains("sops_"));
        let made = encrypt(Store::Dotenv, plain.as_bytes(), &options(Store::Dotenv, selection)).unwrap();
        let verified = Document::parse(Store::Dotenv, made.bytes).unwrap().open(&made.data_key).unwrap();
        let again = verified.emit(Store::Dotenv, &EmitOptions::default()).unwrap();
        let lines: Vec<&str> = plain.split('\n').filter(|l| !l.is_empty()).collect();
        let found = String::from_utf8(again.expose().clone()).unwrap();
        prop_assert_eq!(found.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn json_opens_to_what_was_encrypted(plain in json(), selection in selection()) {
        let text = serde_json::to_vec(&plain).unwrap();
        let made = encrypt(Store::Json, &text, &options(Store::Json, selection)).unwrap();
        let verified = Document::parse(Store::Json, made.bytes).unwrap().open(&made.data_key).unwrap();
        let again = verified.emit(Store::Json, &EmitOptions::default()).unwrap();
        let found: serde_json::Value = serde_json::from_slice(again.expose()).unwrap();
        // sops knows floats only; compare numbers as such.
        prop_assert_eq!(as_floats(found), as_floats(plain));
    }

    #[test]
    fn printed_json_reads_back_and_prints_the_same(plain in json()) {
        let text = serde_json::to_vec(&plain).unwrap();
        let parsed = store::parse(Store::Json, &text).unwrap();
        let once = store::emit(Store::Json, &parsed.tree, None, &EmitOptions::default()).unwrap();
        let parsed = store::parse(Store::Json, once.expose()).unwrap();
        let twice = store::emit(Store::Json, &parsed.tree, None, &EmitOptions::default()).unwrap();
        prop_assert_eq!(once.expose(), twice.expose());
    }

    #[test]
    fn no_parser_panics_on_a_mutated_document(
        which in 0usize..5,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..8),
    ) {
        static ALL: std::sync::LazyLock<Vec<(Store, Vec<u8>, DataKey)>> = std::sync::LazyLock::new(encrypted);
        let (store, bytes, key) = &ALL[which];
        let mut bytes = bytes.clone();
        for (place, byte, how) in edits {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
            if bytes.is_empty() { break; }
        }
        detect::looks_encrypted(&bytes);
        for store in [*store, Store::Json, Store::Dotenv, Store::Ini, Store::Yaml] {
            if let Ok(document) = Document::parse(store, bytes.clone())
                && let Ok(verified) = document.open(key)
            {
                let keys = NewKeys { recipients: NewRecipients::Keep, drop_foreign: true };
                if let Ok(renewed) = document.renew(&verified, &keys, now()) {
                    let again = Document::parse(store, renewed.bytes).unwrap();
                    prop_assert!(again.open(&renewed.data_key).unwrap().same_plaintext(&verified));
                }
            }
        }
    }

    #[test]
    fn no_parser_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for store in [Store::Json, Store::Dotenv, Store::Ini, Store::Yaml, Store::Binary] {
            let _ = store::parse(store, &bytes);
        }
    }

    #[test]
    fn no_parser_panics_on_its_own_signs(text in "[\\[\\]{}\"'`=:;#\\\\,.a0\\- \n\tsop_e+]{0,60}") {
        for store in [Store::Json, Store::Dotenv, Store::Ini, Store::Yaml] {
            if let Ok(parsed) = store::parse(store, text.as_bytes()) {
                let _ = store::emit(store, &parsed.tree, None, &EmitOptions::default());
            }
            let _ = encrypt(store, text.as_bytes(), &options(store, Selection::default()));
        }
    }
}

fn as_floats(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(n) => serde_json::json!(n.as_f64().unwrap() + 0.0),
        Value::Array(items) => Value::Array(items.into_iter().map(as_floats).collect()),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(k, v)| (k, as_floats(v)))
                .collect(),
        ),
        other => other,
    }
}
