//! The cases of `tests/vectors/interop`, made by real sops: we read what it wrote, it reads what we write.
//!
//! Works on the library, so that every case of every store is tried without one process each; the command line has
//! tests of its own. Where sops is not installed, what needs it is skipped and said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cofferdam::keys::{Identity, IdentitySet, Recipient};
use cofferdam::sops::{
    Document, DocumentError, EmitOptions, EncryptOptions, NewKeys, NewRecipients, Store, encrypt,
};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/interop")
}

fn cases() -> Vec<Value> {
    let text = fs::read_to_string(root().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["cases"].as_array().unwrap().clone()
}

fn now() -> jiff::Timestamp {
    "2026-02-03T04:05:06Z".parse().unwrap()
}

/// The sops program; none, with a word on the output, where it is missing and may be.
fn sops() -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("sops"))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none_or(|v| v != "1"),
            "sops is not on PATH"
        );
        println!("skipped: sops is not on PATH");
    }
    found
}

/// What `sops decrypt` prints for `bytes` in a case, or its exit code.
fn sops_decrypt(
    sops: &Path,
    case: &Value,
    name: &str,
    bytes: &[u8],
    env: &Value,
) -> Result<Vec<u8>, i32> {
    let folder = tempfile::tempdir().unwrap();
    let config = case_folder(case).join(".sops.yaml");
    if config.exists() {
        fs::copy(config, folder.path().join(".sops.yaml")).unwrap();
    }
    fs::write(folder.path().join(name), bytes).unwrap();
    let mut command = Command::new(sops);
    command
        .args(["decrypt", name])
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path());
    for (key, value) in env.as_object().unwrap() {
        command.env(key, root().join(value.as_str().unwrap()));
    }
    let output = command.output().unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        println!("    {}", String::from_utf8_lossy(&output.stderr));
        Err(output.status.code().unwrap_or(-1))
    }
}

fn case_folder(case: &Value) -> PathBuf {
    root().join("cases").join(case["name"].as_str().unwrap())
}

fn store_of(case: &Value) -> Store {
    Store::from_name(case["store"].as_str().unwrap()).unwrap()
}

fn identities(env: &Value) -> IdentitySet {
    let mut all = Vec::new();
    for (name, path) in env.as_object().unwrap() {
        let text = fs::read_to_string(root().join(path.as_str().unwrap())).unwrap();
        if name == "SOPS_AGE_SSH_PRIVATE_KEY_FILE" {
            all.push(Identity::parse(&text).unwrap());
        } else {
            let lines = text
                .lines()
                .filter(|l| !l.starts_with('#') && !l.is_empty());
            all.extend(lines.map(|l| Identity::parse(l).unwrap()));
        }
    }
    IdentitySet::new(all)
}

/// The indents that a case's `.sops.yaml` sets.
fn emit_options(case: &Value) -> EmitOptions {
    let text = fs::read_to_string(case_folder(case).join(".sops.yaml")).unwrap_or_default();
    let config: Value = serde_yaml::from_str(&text).unwrap_or(Value::Null);
    EmitOptions {
        yaml_indent: config["stores"]["yaml"]["indent"].as_i64(),
        json_indent: config["stores"]["json"]["indent"].as_i64(),
        json_binary_indent: None,
    }
}

fn is_plain_decrypt(run: &Value) -> bool {
    let argv: Vec<&str> = run["argv"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    matches!(
        argv.as_slice(),
        ["decrypt", _] | ["decrypt", "--ignore-mac", _]
    )
}

fn file_of(run: &Value) -> &str {
    run["argv"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .as_str()
        .unwrap()
}

/// Runs `check` on each case; prints the count; panics with all failures.
fn each(what: &str, check: impl Fn(&Value) -> Result<bool, String>) {
    let (mut done, mut failures) = (0, Vec::new());
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        match check(&case) {
            Ok(true) => done += 1,
            Ok(false) => {}
            Err(reason) => failures.push(format!("{name}: {reason}")),
        }
    }
    println!("{what}: {done} cases pass, {} fail", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(done > 0, "no case tried");
}

fn open_run(case: &Value, run: &Value) -> Result<Vec<u8>, DocumentError> {
    let source = fs::read(case_folder(case).join(file_of(run))).unwrap();
    let document = Document::parse(store_of(case), source)?;
    let key = document.unwrap_data_key(&identities(&run["env"]))?;
    let ignore_mac = run["argv"]
        .as_array()
        .unwrap()
        .iter()
        .any(|a| a == "--ignore-mac");
    let options = emit_options(case);
    let out = if ignore_mac {
        document
            .open_ignoring_mac(&key)?
            .emit(store_of(case), &options)?
    } else {
        document.open(&key)?.emit(store_of(case), &options)?
    };
    Ok(out.expose().clone())
}

#[test]
fn decrypts_to_the_recorded_bytes_and_refuses_what_was_tampered_with() {
    each("decrypt", |case| {
        let mut tried = false;
        for run in case["runs"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| is_plain_decrypt(r))
        {
            tried = true;
            let expected_exit = run["exit"].as_i64().unwrap();
            match (open_run(case, run), expected_exit) {
                (Ok(out), 0) => {
                    let recorded = fs::read(root().join(run["stdout"].as_str().unwrap())).unwrap();
                    let is_defect = case["tags"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|t| t == "sops-defect");
                    if out != recorded && !is_defect {
                        return Err(difference(&recorded, &out));
                    }
                }
                (Ok(_), code) => return Err(format!("opened, though sops says {code}")),
                (Err(error), 0) => {
                    return Err(format!("{error} / {:?}", std::error::Error::source(&error)));
                }
                (Err(_), _) => {}
            }
        }
        Ok(tried)
    });
}

#[test]
fn sops_opens_what_we_encrypt_to_the_recorded_bytes() {
    let Some(sops) = sops() else { return };
    each("encrypt", |case| {
        let (Some(plain), Some(encrypted)) = (
            case["files"]["plain"].as_str(),
            case["files"]["encrypted"].as_str(),
        ) else {
            return Ok(false);
        };
        let options = options_like(case, encrypted)?;
        let source = fs::read(root().join(plain)).unwrap();
        let ours = encrypt(store_of(case), &source, &options).map_err(|e| e.to_string())?;
        for run in case["runs"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| is_plain_decrypt(r))
        {
            // Edited cases record what comes after the edit, too.
            if !encrypted.ends_with(file_of(run)) || run["exit"] != 0 {
                continue;
            }
            let recorded = fs::read(root().join(run["stdout"].as_str().unwrap())).unwrap();
            let theirs = sops_decrypt(&sops, case, file_of(run), &ours.bytes, &run["env"])
                .map_err(|code| format!("sops exits {code}"))?;
            let is_defect = case["tags"]
                .as_array()
                .unwrap()
                .iter()
                .any(|t| t == "sops-defect");
            if theirs != recorded && !is_defect {
                return Err(difference(&recorded, &theirs));
            }
            let document =
                Document::parse(store_of(case), ours.bytes.clone()).map_err(|e| e.to_string())?;
            let verified = document
                .open_with(&identities(&run["env"]))
                .map_err(|e| e.to_string())?;
            let by_us = verified
                .emit(store_of(case), &emit_options(case))
                .map_err(|e| e.to_string())?;
            if by_us.expose() != &recorded && !is_defect {
                return Err(format!("by us: {}", difference(&recorded, by_us.expose())));
            }
        }
        Ok(true)
    });
}

#[test]
fn refuses_to_encrypt_what_sops_refuses() {
    each("refuse to encrypt", |case| {
        if case["kind"] != "refuse-encrypt" {
            return Ok(false);
        }
        let name = case["name"].as_str().unwrap();
        // These are refused by the command line, before there is anything to encrypt.
        if name.starts_with("config-")
            || name == "refuse-two-selectors"
            || name == "refuse-bad-recipient"
        {
            return Ok(false);
        }
        let source = fs::read(root().join(case["files"]["plain"].as_str().unwrap())).unwrap();
        match encrypt(store_of(case), &source, &default_options(store_of(case))) {
            Ok(_) => Err("was encrypted".to_owned()),
            Err(_) => Ok(true),
        }
    });
}

#[test]
fn after_a_renewal_sops_prints_the_same_and_only_tokens_changed() {
    let sops = sops();
    each("renew", |case| {
        let mut tried = false;
        for run in case["runs"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| is_plain_decrypt(r))
        {
            if run["exit"] != 0
                || run["argv"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|a| a == "--ignore-mac")
            {
                continue;
            }
            let source = fs::read(case_folder(case).join(file_of(run))).unwrap();
            let document =
                Document::parse(store_of(case), source.clone()).map_err(|e| e.to_string())?;
            let verified = document
                .open_with(&identities(&run["env"]))
                .map_err(|e| e.to_string())?;
            let keys = NewKeys {
                recipients: NewRecipients::Keep,
                drop_foreign: case["name"] == "accept-opaque-keys",
            };
            let renewed = document
                .renew(&verified, &keys, now())
                .map_err(|e| e.to_string())?;
            if without_tokens(store_of(case), &renewed.bytes)
                != without_tokens(store_of(case), &source)
            {
                return Err("more than tokens and metadata changed".to_owned());
            }
            let again = Document::parse(store_of(case), renewed.bytes.clone())
                .map_err(|e| e.to_string())?;
            let reopened = again
                .open_with(&identities(&run["env"]))
                .map_err(|e| e.to_string())?;
            if !reopened.same_plaintext(&verified) {
                return Err("the plaintext changed".to_owned());
            }
            if document.open(reopened.data_key()).is_ok() {
                return Err("the data key stayed".to_owned());
            }
            if let Some(sops) = &sops {
                let is_defect = case["tags"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|t| t == "sops-defect");
                let recorded = fs::read(root().join(run["stdout"].as_str().unwrap())).unwrap();
                let theirs = sops_decrypt(sops, case, file_of(run), &renewed.bytes, &run["env"])
                    .map_err(|code| format!("sops exits {code}"))?;
                if theirs != recorded && !is_defect {
                    return Err(difference(&recorded, &theirs));
                }
            }
            tried = true;
        }
        Ok(tried)
    });
}

#[test]
fn an_added_recipient_changes_nothing_but_metadata() {
    let added = Identity::mint();
    let recipient: Recipient = added.recipient().unwrap();
    each("rewrap", |case| {
        let Some(path) = case["files"]["encrypted"]
            .as_str()
            .filter(|_| case["kind"] == "roundtrip")
        else {
            return Ok(false);
        };
        let run = &case["runs"][0];
        let source = fs::read(root().join(path)).unwrap();
        let document =
            Document::parse(store_of(case), source.clone()).map_err(|e| e.to_string())?;
        if document.metadata().mac.is_none() {
            return Ok(false);
        }
        let key = document
            .unwrap_data_key(&identities(&run["env"]))
            .map_err(|e| e.to_string())?;
        let bytes = match document.rewrap(&key, std::slice::from_ref(&recipient)) {
            Err(DocumentError::SeveralGroups(_)) => return Ok(false),
            other => other.map_err(|e| e.to_string())?,
        };
        if without_metadata(store_of(case), &bytes) != without_metadata(store_of(case), &source) {
            return Err("more than metadata changed".to_owned());
        }
        let again = Document::parse(store_of(case), bytes).map_err(|e| e.to_string())?;
        let by_added = again
            .open_with(&IdentitySet::new(vec![added.share()]))
            .map_err(|e| e.to_string())?;
        let before = document.open(&key).map_err(|e| e.to_string())?;
        Ok(by_added.same_plaintext(&before))
    });
}

fn default_options(output: Store) -> EncryptOptions {
    EncryptOptions {
        key_groups: vec![vec![Identity::mint().recipient().unwrap()]],
        threshold: None,
        selection: cofferdam::sops::Selection::default(),
        mac_only_encrypted: false,
        now: now(),
        output,
        emit: EmitOptions::default(),
    }
}

/// The options that the recorded file was made with, as its metadata tell them.
fn options_like(case: &Value, encrypted: &str) -> Result<EncryptOptions, String> {
    let source = fs::read(root().join(encrypted)).unwrap();
    let document = Document::parse(store_of(case), source).map_err(|e| e.to_string())?;
    let group = |g: &cofferdam::sops::metadata::KeyGroup| {
        g.age
            .iter()
            .filter_map(|e| e.recipient.clone())
            .collect::<Vec<_>>()
    };
    Ok(EncryptOptions {
        key_groups: document.key_groups().iter().map(group).collect(),
        threshold: document.threshold(),
        selection: document.selection().clone(),
        mac_only_encrypted: document.mac_only_encrypted(),
        now: now(),
        output: store_of(case),
        emit: emit_options(case),
    })
}

/// The file with each token replaced by a mark and the metadata cut.
fn without_tokens(store: Store, bytes: &[u8]) -> String {
    let text = without_metadata(store, bytes);
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("ENC[AES256_GCM,") {
        out.push_str(&rest[..at]);
        out.push_str("ENC");
        rest = &rest[at..];
        rest = &rest[rest.find(']').map_or(rest.len(), |i| i + 1)..];
    }
    out + rest
}

fn without_metadata(store: Store, bytes: &[u8]) -> String {
    let parsed = cofferdam::sops::store::parse(store, bytes).unwrap();
    let mut out = bytes.to_vec();
    let mut places = parsed.metadata_places;
    places.sort_by_key(|p| std::cmp::Reverse(p.start));
    for place in places {
        out.drain(place);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn difference(expected: &[u8], found: &[u8]) -> String {
    let (a, b) = (
        String::from_utf8_lossy(expected),
        String::from_utf8_lossy(found),
    );
    let line = a.lines().zip(b.lines()).position(|(x, y)| x != y);
    let line = line.unwrap_or_else(|| a.lines().count().min(b.lines().count()));
    format!(
        "line {}: expected {:?}, found {:?}",
        line + 1,
        a.lines().nth(line).unwrap_or(""),
        b.lines().nth(line).unwrap_or("")
    )
}
