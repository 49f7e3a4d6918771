//! `cofferdam leaks`: copies are found wherever they lie and in whatever form, told by name, and nothing else is.

#![cfg(target_os = "linux")]

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::dockerd::Dockerd;
use crate::support::runtime::{Stack, private_memory};
use crate::support::{Ran, have_peers};
use base64::Engine;
use serde_json::Value;

const PASSWORD: &str = "Hunter2-hunter2\"x$y";
const TOKEN: &str = "3f8a9b2c4d5e6f708192";
const KEY: &str =
    "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n";

/// A stack with a password, a token, a key of several lines, a user's name and a short value; and an empty folder that is
/// the root of a file system.
fn bed() -> (Stack, PathBuf) {
    let stack = Stack::new();
    stack.write_json(
        "app.sops.json",
        &[
            ("PASSWORD", PASSWORD),
            ("TOKEN", TOKEN),
            ("KEY", KEY),
            ("USER", "postgres"),
            ("PIN", "1234"),
        ],
    );
    let root = stack.sandbox.path().join("root");
    std::fs::create_dir(&root).unwrap();
    (stack, root)
}

fn put(root: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn leaks(stack: &Stack, code: i32, args: &[&str]) -> Ran {
    let ran = Ran::of(stack.cofferdam().arg("leaks").args(args)).expect_code(code);
    for value in [PASSWORD, TOKEN, "MIIEvQIBADANBgkq", "Hunter2"] {
        assert!(!ran.stdout.contains(value) && !ran.stderr.contains(value));
    }
    ran
}

fn json(stack: &Stack, code: i32, args: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend(args);
    serde_json::from_str(&leaks(stack, code, &all).stdout).unwrap()
}

/// What was found, as `kind path key`, below `root`; `?` before what may be chance.
fn found(answer: &Value, root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for copy in answer["copies"].as_array().unwrap() {
        let path = Path::new(copy["path"].as_str().unwrap());
        let path = path
            .strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string();
        for find in copy["finds"].as_array().unwrap() {
            let chance = if find["may_be_chance"] == true {
                "?"
            } else {
                ""
            };
            let kind = copy["kind"].as_str().unwrap();
            let key = find["secrets"][0]["key"].as_str().unwrap();
            found.push(format!("{chance}{kind} {path} {key}"));
        }
    }
    found
}

#[test]
fn copies_in_the_usual_places_are_found() {
    let (stack, root) = bed();
    let text = format!("USER=postgres\nPASSWORD={PASSWORD}\n");
    put(&root, "etc/komodo/stacks/app/.env", &text);
    put(&root, "tmp/.sops123", format!("xx{TOKEN}"));
    put(
        &root,
        "var/log/app.log",
        format!("connected with {TOKEN}\n{TOKEN}\n"),
    );
    put(
        &root,
        "root/.bash_history",
        format!("ls\ncurl -H 'X: {TOKEN}' h\n"),
    );
    put(
        &root,
        "home/me/.local/share/fish/fish_history",
        format!("- cmd: {TOKEN}\n"),
    );
    put(
        &root,
        "etc/systemd/system/a.service",
        format!("Environment=T={TOKEN}\n"),
    );
    put(
        &root,
        "var/lib/docker/containers/1/config.v2.json",
        format!("{{\"Env\":[\"T={TOKEN}\"]}}"),
    );
    put(
        &root,
        "var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
        format!("\0\x01{TOKEN}\0"),
    );
    put(&root, "var/lib/docker/overlay2/l/diff/key", KEY);
    // In none of the places.
    put(&root, "usr/share/doc", TOKEN);
    let args = ["--root", root.to_str().unwrap()];
    let answer = json(&stack, 3, &args);
    assert_eq!(
        found(&answer, &root),
        [
            "stack etc/komodo/stacks/app/.env USER",
            "stack etc/komodo/stacks/app/.env PASSWORD",
            "temporary tmp/.sops123 TOKEN",
            "container var/lib/docker/containers/1/config.v2.json TOKEN",
            "containerd_database var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db TOKEN",
            "layer var/lib/docker/overlay2/l/diff/key KEY",
            "log var/log/app.log TOKEN",
            "shell_history home/me/.local/share/fish/fish_history TOKEN",
            "shell_history root/.bash_history TOKEN",
            "settings etc/systemd/system/a.service TOKEN",
        ]
    );
    let log = &answer["copies"][5]["finds"][0];
    assert_eq!(
        (log["offset"].as_u64(), log["count"].as_u64()),
        (Some(15), Some(2))
    );
    let said = leaks(&stack, 3, &args);
    assert!(
        said.stdout
            .contains("    app.sops.json: TOKEN (byte 15, 2 times)\n"),
        "{}",
        said.stdout
    );
    assert!(
        said.stdout.contains("what to do: its environment holds"),
        "{}",
        said.stdout
    );
    assert!(
        said.stderr
            .contains("1 value shorter than 8 bytes: PIN of app.sops.json"),
        "{}",
        said.stderr
    );
    assert!(
        said.stderr.contains("9 places hold plaintext"),
        "{}",
        said.stderr
    );
}

#[test]
fn words_count_only_beside_what_is_sure() {
    let (stack, root) = bed();
    put(&root, "var/log/db.log", "role postgres connected\n");
    let args = ["--root", root.to_str().unwrap()];
    let answer = json(&stack, 0, &args);
    assert_eq!(found(&answer, &root), ["?log var/log/db.log USER"]);
    let said = leaks(&stack, 0, &args);
    assert_eq!(said.stdout, "");
    assert!(
        said.stderr
            .contains("1 place more hold nothing but values that may"),
        "{}",
        said.stderr
    );
    leaks(&stack, 3, &["--all", "--root", root.to_str().unwrap()]);
}

#[test]
fn forms_and_compressed_files_are_found() {
    let (stack, root) = bed();
    let engine = base64::engine::general_purpose::STANDARD;
    let quoted = serde_json::to_string(&format!("a {PASSWORD}")).unwrap();
    let pairs = [
        ("base64", engine.encode(format!("user:{PASSWORD}!"))),
        ("json", quoted.clone()),
        ("twice", PASSWORD.replace('$', "$$")),
        (
            "hex",
            TOKEN
                .bytes()
                .fold(String::new(), |hex, b| format!("{hex}{b:02x}")),
        ),
        ("indented", KEY.replace('\n', "\n    ")),
        ("one-line", "see MIIEvQIBADANBgkqhkiG9w0B".to_owned()),
    ];
    for (name, text) in &pairs {
        put(&root, name, text);
    }
    let binary: Vec<u8> = (0..=255).chain(TOKEN.bytes()).chain([0, 0xff]).collect();
    put(&root, "binary", binary);
    // None of them: a part, another case, ciphertext.
    put(
        &root,
        "other",
        format!("{} {}", &TOKEN[1..], TOKEN.to_uppercase()),
    );
    let document = std::fs::read(stack.folder().join("app.sops.json")).unwrap();
    put(&root, "app.sops.json", document);
    let mut expected: Vec<String> = pairs.iter().map(|(name, _)| (*name).to_owned()).collect();
    expected.push("binary".to_owned());
    for (program, name) in [
        ("gzip", "log.1.gz"),
        ("xz", "log.xz"),
        ("zstd", "log.zst"),
        ("bzip2", "log.bz2"),
    ] {
        if crate::support::find_program(program).is_none() {
            continue;
        }
        put(
            &root,
            "plain",
            format!("{}{TOKEN}\n", "some log\n".repeat(10_000)),
        );
        let packed = stack
            .command(program)
            .arg("-c")
            .arg(root.join("plain"))
            .output()
            .unwrap();
        put(&root, name, packed.stdout);
        std::fs::remove_file(root.join("plain")).unwrap();
        expected.push(name.to_owned());
    }
    let answer = json(&stack, 3, &[root.to_str().unwrap()]);
    let mut names: Vec<String> = found(&answer, &root)
        .into_iter()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    assert!(
        answer["not_looked_at"].as_array().unwrap().is_empty(),
        "{answer}"
    );
    // What says that it is compressed and is not.
    put(&root, "broken.gz", format!("\x1f{TOKEN}"));
    std::fs::write(
        root.join("broken.gz"),
        [b"\x1f\x8b\x08".as_slice(), TOKEN.as_bytes()].concat(),
    )
    .unwrap();
    let answer = json(&stack, 3, &[root.join("broken.gz").to_str().unwrap()]);
    assert_eq!(found(&answer, &root), ["other broken.gz TOKEN"]);
    assert!(
        answer["not_looked_at"][0]["why"]
            .as_str()
            .unwrap()
            .contains("compressed")
    );
}

#[test]
fn a_stream_is_searched_across_all_cuts() {
    let (stack, _) = bed();
    // The last places are around the ends of what is held at a time.
    for (begin, cut) in [
        (0, 1),
        (5, 7),
        (262_130, 4096),
        (263_150, 65_536),
        (1_000_003, 1 << 20),
    ] {
        let text = [vec![b'-'; begin], TOKEN.into(), vec![b'.'; 100]].concat();
        let mut child = stack
            .cofferdam()
            .args(["leaks", "--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for piece in text.chunks(cut) {
            stdin.write_all(piece).unwrap();
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found(&answer, Path::new("/")), ["stream - TOKEN"]);
        assert_eq!(answer["copies"][0]["finds"][0]["offset"], begin);
        assert_eq!(answer["copies"][0]["finds"][0]["count"], 1);
    }
    let nothing = stack
        .cofferdam()
        .args(["leaks", "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(0));
}

#[test]
fn git_objects_are_looked_into_loose_packed_and_unreachable() {
    let (stack, root) = bed();
    let repo = root.join("clone");
    std::fs::create_dir(&repo).unwrap();
    let git = |args: &[&str]| stack.sandbox.git(&repo, args);
    git(&["init", "--quiet"]);
    let commit = |name: &str, text: &str| {
        std::fs::write(repo.join(name), text).unwrap();
        git(&["add", "."]);
        git(&[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "--quiet",
            "-m",
            "x",
        ]);
        git(&["rev-parse", &format!("HEAD:{name}")])
    };
    let packed = commit("a", &format!("A={TOKEN}\n"));
    std::fs::write(repo.join("a"), "A=\n").unwrap();
    git(&["gc", "--quiet"]);
    let loose = commit("b", &format!("B={PASSWORD}\n"));
    std::fs::remove_file(repo.join("b")).unwrap();
    let file = repo.join("c");
    std::fs::write(&file, KEY).unwrap();
    let unreachable = git(&["hash-object", "-w", "c"]);
    std::fs::remove_file(file).unwrap();
    let answer = json(&stack, 3, &[root.to_str().unwrap()]);
    let mut objects: Vec<String> = Vec::new();
    for copy in answer["copies"].as_array().unwrap() {
        assert_eq!(copy["kind"], "git_object", "{copy}");
        objects.push(copy["object"].as_str().unwrap().to_owned());
    }
    let mut expected = [packed, loose, unreachable];
    expected.sort();
    assert_eq!(objects, expected);
    // Broken objects are told of, and the rest is looked at.
    put(
        &repo,
        ".git/objects/00/00000000000000000000000000000000000000",
        "no object",
    );
    let answer = json(&stack, 3, &[root.to_str().unwrap()]);
    assert_eq!(answer["copies"].as_array().unwrap().len(), 3, "{answer}");
    assert!(
        answer["not_looked_at"].as_array().unwrap().len() == 1,
        "{answer}"
    );
}

#[test]
fn values_of_history_are_looked_for_when_asked() {
    let (stack, root) = bed();
    let git = |args: &[&str]| stack.sandbox.git(&stack.folder(), args);
    git(&["init", "--quiet"]);
    for value in ["An0ther-t0ken-old", "An0ther-t0ken-new"] {
        stack.write("old.sops.env", &format!("T={value}\n"));
        git(&["add", "."]);
        git(&[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "--quiet",
            "-m",
            "x",
        ]);
    }
    put(&root, "a", "An0ther-t0ken-old");
    let path = root.to_str().unwrap();
    assert_eq!(found(&json(&stack, 0, &[path]), &root), [] as [String; 0]);
    let answer = json(&stack, 3, &["--history", path]);
    assert_eq!(found(&answer, &root), ["other a T"]);
    assert_eq!(
        answer["copies"][0]["finds"][0]["secrets"][0]["earlier"],
        true
    );
}

#[test]
fn odd_files_are_survived_and_told_of() {
    let (stack, root) = bed();
    put(&root, "deep/a", TOKEN);
    // The same file under another name, loops, and what has no end.
    std::fs::hard_link(root.join("deep/a"), root.join("deep/b")).unwrap();
    std::os::unix::fs::symlink("..", root.join("deep/loop")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", root.join("zero")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let mut sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(1 << 40)).unwrap();
    sparse.write_all(TOKEN.as_bytes()).unwrap();
    drop(sparse);
    let answer = json(&stack, 3, &[root.to_str().unwrap()]);
    let found = found(&answer, &root);
    assert!(
        found.len() == 2 && found[1] == "other sparse TOKEN",
        "{found:?}"
    );
    assert_eq!(answer["copies"][1]["finds"][0]["offset"], 1_u64 << 40);
    assert!(answer["bytes"].as_u64().unwrap() < 1 << 20, "{answer}");

    for (args, code, message) in [
        (&["absent"][..], 1, "cannot look in"),
        (&["-", "x"], 2, "stands alone"),
        (&["--root", "/dev/null"], 1, "is no folder"),
        (&["--root", "."], 1, "none of the places"),
        (
            &["--documents", root.join("deep").to_str().unwrap(), "."],
            1,
            "no SOPS document",
        ),
    ] {
        let said = leaks(&stack, code, args).stderr;
        assert!(said.contains(message), "{said}");
    }
    let foreign = Stack::new();
    foreign.write("b.sops.env", "B=for others only\n");
    let other = foreign.folder().join("b.sops.env");
    let said = leaks(&stack, 1, &["--documents", other.to_str().unwrap(), "."]).stderr;
    assert!(said.contains("cannot open"), "{said}");
    let said = leaks(
        &stack,
        0,
        &[
            "--documents",
            other.to_str().unwrap(),
            "--documents",
            ".",
            ".",
        ],
    )
    .stderr;
    assert!(said.contains("what no identity here opens"), "{said}");
}

#[test]
fn what_cannot_be_read_is_told_of() {
    let (stack, root) = bed();
    if !have_peers(&["setpriv"]) || !rustix::process::geteuid().is_root() {
        println!("skipped: needs root and setpriv");
        return;
    }
    put(&root, "closed", TOKEN);
    put(&root, "shut/a", TOKEN);
    put(&root, "open", TOKEN);
    let mode = |path: &Path, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).unwrap();
    };
    mode(&root.join("closed"), 0o000);
    mode(&root.join("shut"), 0o700);
    let mut command = stack.command("setpriv");
    command
        .args([
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-all",
        ])
        .args(["--reuid=0", "--clear-groups"])
        .arg(crate::support::COFFERDAM)
        .args(["leaks", "--json"])
        .arg(&root);
    rustix::fs::chown(
        root.join("shut"),
        Some(rustix::fs::Uid::from_raw(65534)),
        None,
    )
    .unwrap();
    let ran = Ran::of(&mut command).expect_code(3);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(found(&answer, &root), ["other open TOKEN"]);
    assert_eq!(
        answer["not_looked_at"].as_array().unwrap().len(),
        2,
        "{answer}"
    );
}

#[test]
fn files_of_unseal_in_memory_are_no_copies() {
    let (stack, _) = bed();
    let Some(memory) = private_memory() else {
        return;
    };
    let place = memory.path().join("cofferdam");
    std::fs::create_dir(&place).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&place, mode).unwrap();
    let mut exec = stack.exec(&["--files", "--dir", ".", "--root"]);
    exec.arg(&place).args([
        "--no-mask",
        "--",
        crate::support::COFFERDAM,
        "leaks",
        "--documents",
        "app.sops.json",
    ]);
    exec.arg("--json").arg(memory.path()).arg(".");
    exec.env("SOPS_AGE_KEY_FILE", stack.key_file());
    // The program gets no variable that names identities.
    let config = stack.sandbox.home().join(".config/sops/age");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::copy(stack.key_file(), config.join("keys.txt")).unwrap();
    Ran::of(&mut exec).expect_code(0);
    std::fs::write(memory.path().join("left"), TOKEN).unwrap();
    let answer = json(&stack, 3, &[memory.path().to_str().unwrap()]);
    assert_eq!(found(&answer, memory.path()), ["other left TOKEN"]);
    assert_eq!(answer["copies"][0]["in_memory"], true);
}

#[test]
fn what_dockerd_keeps_is_found() {
    let Some(dockerd) = Dockerd::start() else {
        return;
    };
    let (stack, _) = bed();
    dockerd.import("bb", &[]);
    let data = dockerd.data_root();
    let clean = json(&stack, 0, &[data.to_str().unwrap()]);
    assert_eq!(clean["copies"].as_array().unwrap().len(), 0, "{clean}");
    let env = format!("T={TOKEN}");
    dockerd.run("one", "bb", &["--env", &env]);
    let write = format!("echo {TOKEN} > /kept");
    dockerd
        .docker(&["exec", "one", "/bin/sh", "-c", &write])
        .expect_code(0);
    let kinds = |answer: &Value| -> Vec<String> {
        let copies = answer["copies"].as_array().unwrap().iter();
        let mut kinds: Vec<String> = copies
            .map(|c| c["kind"].as_str().unwrap().to_owned())
            .collect();
        kinds.dedup();
        kinds
    };
    let answer = json(&stack, 3, &[data.to_str().unwrap()]);
    assert_eq!(
        kinds(&answer),
        ["container", "containerd_database", "layer"],
        "{answer}"
    );
    dockerd.docker(&["rm", "--force", "one"]).expect_code(0);
    // It outlives the container.
    let answer = json(&stack, 3, &[data.to_str().unwrap()]);
    assert_eq!(kinds(&answer), ["containerd_database"], "{answer}");
}
