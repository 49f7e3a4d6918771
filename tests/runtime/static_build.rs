//! The static build of the binary in a container that holds nothing else.

#![cfg(target_os = "linux")]

use std::path::PathBuf;

use crate::support::dockerd::Dockerd;
use crate::support::runtime::Stack;
use crate::support::{Ran, Sandbox};

/// The static binary: the one that `COFFERDAM_STATIC` names, else where `./build-static` puts it.
fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("COFFERDAM_STATIC").map(PathBuf::from);
    let default = crate::support::tests_folder().join("../target/static/cofferdam");
    let path = named.unwrap_or(default);
    if path.is_file() {
        return Some(path);
    }
    let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|v| v == "1");
    assert!(
        !required,
        "no static binary at {}: ./build-static",
        path.display()
    );
    println!(
        "skipped: no static binary at {}: ./build-static",
        path.display()
    );
    None
}

#[test]
fn it_runs_in_a_container_of_nothing_else() {
    let Some(binary) = binary() else { return };
    let Some(dockerd) = Dockerd::start() else {
        return;
    };
    dockerd.import_only("alone", &binary);
    let stack = Stack::within(Sandbox::new());
    stack.write(".sops.env", "A=the value of a\n");
    let folder = stack.folder();
    let bind = |source: &std::path::Path, target: &str| format!("{}:{target}", source.display());
    let (repo, key) = (bind(&folder, "/repo"), bind(&stack.key_file(), "/key:ro"));
    let run = |args: &[&str]| -> Ran {
        let mut all = vec![
            "run",
            "--rm",
            "--network=none",
            "--tmpfs=/run/cofferdam:mode=0700",
            "--volume",
            &repo,
            "--volume",
            &key,
            "--env=SOPS_AGE_KEY_FILE=/key",
            "alone",
            "/cofferdam",
            "-C",
            "/repo",
        ];
        all.extend(args);
        dockerd.docker(&all).expect_code(0)
    };
    let version = concat!("cofferdam ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(run(&["--version"]).stdout, version);
    assert_eq!(run(&["decrypt", ".sops.env"]).stdout, "A=the value of a\n");
    // Variables, and then files: the only program there is the binary itself, which encrypts what it finds behind the link.
    let exec = [
        "exec",
        "--no-mask",
        "--file",
        ".sops.env",
        "--",
        "/cofferdam",
        "--version",
    ];
    assert_eq!(run(&exec).stdout, version);
    let identity = std::fs::read_to_string(stack.key_file()).unwrap();
    let recipient = age_recipient(&identity);
    let exec = [
        "exec",
        "--no-mask",
        "--dir",
        ".",
        "--",
        "/cofferdam",
        "encrypt",
        "--age",
        &recipient,
        ".env",
    ];
    let encrypted = run(&exec).stdout;
    assert!(encrypted.contains("A=ENC["), "{encrypted}");
    std::fs::write(folder.join("again.sops.env"), encrypted).unwrap();
    assert_eq!(
        run(&["decrypt", "again.sops.env"]).stdout,
        "A=the value of a\n"
    );
    assert!(!folder.join(".env").is_symlink());
    let unsealed = run(&["unseal", "--dir", "."]).stdout;
    assert!(unsealed.contains("+ .env"), "{unsealed}");
}

fn age_recipient(key_file: &str) -> String {
    let line = key_file
        .lines()
        .find(|line| line.starts_with("AGE-SECRET-KEY-"));
    let identity = cofferdam::keys::Identity::parse(line.unwrap()).unwrap();
    identity.recipient().unwrap().to_string()
}
