//! The same cases by way of the command line: every recorded call of sops, made to us with the same arguments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/interop")
}

fn cases() -> Vec<Value> {
    let text = fs::read_to_string(root().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["cases"].as_array().unwrap().clone()
}

fn arguments(argv: &Value) -> Vec<String> {
    let argv = argv.as_array().unwrap().iter();
    argv.map(|a| a.as_str().unwrap().to_owned()).collect()
}

/// Runs us in a copy of the case's folder, with nothing of our own environment.
fn cofferdam(folder: &Path, argv: &[String], env: &Value) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
    command
        .args(argv)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder.join("no-home"));
    for (key, value) in env.as_object().into_iter().flatten() {
        command.env(key, root().join(value.as_str().unwrap()));
    }
    command.output().unwrap()
}

fn copy_of(case: &Value) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(
        &root().join("cases").join(case["name"].as_str().unwrap()),
        to.path(),
    );
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn is_defect(case: &Value) -> bool {
    case["tags"]
        .as_array()
        .unwrap()
        .iter()
        .any(|t| t == "sops-defect")
}

#[test]
fn decrypt_answers_as_sops_did() {
    let mut tried = 0;
    let mut failures = Vec::new();
    for case in cases() {
        let folder = copy_of(&case);
        for run in case["runs"].as_array().unwrap() {
            let argv = arguments(&run["argv"]);
            let name = format!("{} {argv:?}", case["name"]);
            let output = cofferdam(folder.path(), &argv, &run["env"]);
            tried += 1;
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!stderr.contains("panicked"), "{name}: {stderr}");
            if run["exit"] != 0 {
                if output.status.success()
                    || !output.stdout.is_empty()
                    || !stderr.contains("error: ")
                {
                    failures.push(format!("{name}: not refused: {stderr}"));
                }
                continue;
            }
            let recorded = fs::read(root().join(run["stdout"].as_str().unwrap())).unwrap();
            if !output.status.success() || (output.stdout != recorded && !is_defect(&case)) {
                let found = String::from_utf8_lossy(&output.stdout).into_owned();
                let wanted = String::from_utf8_lossy(&recorded).into_owned();
                failures.push(format!(
                    "{name}: {stderr}\n--- wanted\n{wanted}--- found\n{found}"
                ));
            }
        }
    }
    println!("decrypt: {tried} recorded calls, {} differ", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn encrypt_takes_the_recorded_arguments_and_the_result_decrypts_to_the_recorded_bytes() {
    let mut tried = 0;
    let mut failures = Vec::new();
    for case in cases() {
        let Some(recorded) = case["encrypt"].as_object() else {
            continue;
        };
        let mut argv = arguments(&recorded["argv"]);
        // The global form of 3.11: flags, then -e.
        if let Some(at) = argv.iter().position(|a| a == "-e") {
            argv.remove(at);
            argv.insert(0, "encrypt".to_owned());
        }
        let folder = copy_of(&case);
        let name = format!("{} {argv:?}", case["name"]);
        // Some cases encrypt a file in a folder below; the vectors keep it beside the others.
        let input = argv.last().unwrap().clone();
        let plain = root().join(case["files"]["plain"].as_str().unwrap());
        if let Some(parent) = Path::new(&input).parent() {
            fs::create_dir_all(folder.path().join(parent)).unwrap();
        }
        fs::copy(plain, folder.path().join(&input)).unwrap();
        let output = cofferdam(folder.path(), &argv, &Value::Null);
        tried += 1;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{name}: {stderr}");
        if recorded["exit"] != 0 {
            if output.status.success() || !output.stdout.is_empty() {
                failures.push(format!("{name}: not refused"));
            }
            continue;
        }
        if !output.status.success() {
            failures.push(format!("{name}: {stderr}"));
            continue;
        }
        let Some(encrypted) = case["files"]["encrypted"].as_str() else {
            continue;
        };
        let encrypted = Path::new(encrypted).file_name().unwrap().to_str().unwrap();
        fs::write(folder.path().join(encrypted), &output.stdout).unwrap();
        for run in case["runs"].as_array().unwrap() {
            let argv = arguments(&run["argv"]);
            if run["exit"] != 0 || argv.last().map(String::as_str) != Some(encrypted) {
                continue;
            }
            let opened = cofferdam(folder.path(), &argv, &run["env"]);
            let recorded = fs::read(root().join(run["stdout"].as_str().unwrap())).unwrap();
            if opened.stdout != recorded && !is_defect(&case) {
                failures.push(format!(
                    "{name}: decrypts otherwise: {}",
                    String::from_utf8_lossy(&opened.stderr)
                ));
            }
        }
    }
    println!("encrypt: {tried} recorded calls, {} differ", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn renew_keeps_everything_and_writes_nothing_if_one_file_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = root().join("cases");
    for (case, file) in [
        ("env-basic", "enc.env"),
        ("json-nested", "enc.json"),
        ("yaml-types", "enc.yaml"),
        ("ini-basic", "enc.ini"),
        ("bin-text", "enc.bin"),
    ] {
        fs::copy(vectors.join(case).join(file), folder.path().join(file)).unwrap();
    }
    fs::write(folder.path().join("plain.yaml"), "a: 1\n").unwrap();
    let env = serde_json::json!({ "SOPS_AGE_KEY_FILE": "keys/alice.txt" });
    let call = |argv: &[&str]| {
        let argv: Vec<String> = argv.iter().map(|a| (*a).to_owned()).collect();
        cofferdam(folder.path(), &argv, &env)
    };
    let decrypted = |file: &str| call(&["decrypt", file]).stdout;
    let files = ["enc.env", "enc.json", "enc.yaml", "enc.ini", "enc.bin"];
    let before: Vec<_> = files
        .iter()
        .map(|f| (fs::read(folder.path().join(f)).unwrap(), decrypted(f)))
        .collect();

    let bad = vectors.join("bad-value/enc.yaml");
    fs::copy(bad, folder.path().join("bad.yaml")).unwrap();
    assert_eq!(call(&["verify", "."]).status.code(), Some(1));
    let refused = call(&["renew", "."]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bad.yaml"));
    for (file, (bytes, _)) in files.iter().zip(&before) {
        assert_eq!(
            &fs::read(folder.path().join(file)).unwrap(),
            bytes,
            "{file}"
        );
    }

    fs::remove_file(folder.path().join("bad.yaml")).unwrap();
    let done = call(&["renew", "."]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&done.stdout),
        "5 documents renewed\n"
    );
    assert!(call(&["verify", "."]).status.success());
    for (file, (bytes, plain)) in files.iter().zip(&before) {
        assert_ne!(
            &fs::read(folder.path().join(file)).unwrap(),
            bytes,
            "{file}"
        );
        assert_eq!(&decrypted(file), plain, "{file}");
    }
    assert_eq!(
        fs::read(folder.path().join("plain.yaml")).unwrap(),
        b"a: 1\n"
    );
    assert_eq!(call(&["renew", "plain.yaml"]).status.code(), Some(1));
}

#[test]
fn flags_that_contradict_each_other_are_usage_errors() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.yaml"), "a: 1\n").unwrap();
    let age = "age1y9w8ltdtzmjusvk9h43kevq8nxspu48xttzha80v6lsgkmse6c5qnr0rss";
    for argv in [
        vec!["encrypt", "-a", age, "-i", "--output", "x", "p.yaml"],
        vec![
            "encrypt",
            "-a",
            age,
            "--encrypted-regex",
            "a",
            "--encrypted-suffix",
            "b",
            "p.yaml",
        ],
        vec!["encrypt", "-a", age],
        vec!["decrypt", "--extract", "a", "p.yaml"],
    ] {
        let argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
        let output = cofferdam(folder.path(), &argv, &Value::Null);
        assert_eq!(output.status.code(), Some(2), "{argv:?}");
    }
    assert_eq!(fs::read(folder.path().join("p.yaml")).unwrap(), b"a: 1\n");
    assert!(!folder.path().join("x").exists());
}
