//! `cofferdam exec` with files: they stand in memory while the program runs, and nothing is left whatever ends it.

#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::runtime::{Bed, Stack, ended, expect_gone, is_ignored, pid};
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};
use rustix::process::{Signal, kill_process};

fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{} never came",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

const ENV: &str = "DOLLAR=pa$$ $HOME ${X}\nQUOTES=it's \"quoted\"\nHASH=a #b\nLINES=one\\ntwo\nUNI=pässwörd ✓\n# note\n";

#[test]
fn files_stand_in_memory_while_the_program_runs() {
    let Some(bed) = Bed::new() else { return };
    let long = format!("LONG={}\n", "0123456789abcdef".repeat(4096));
    bed.stack.write(".sops.env", ENV);
    bed.stack.write("backup.sops.env", &long);
    bed.stack
        .write_json("s3.sops.json", &[("key", "a-secret-value")]);
    bed.stack
        .write("app.sops.yaml", "a:\n    b: a-secret-value\n# note\n");
    bed.stack
        .write("cert.sops.pem", "-----BEGIN-----\n\u{1}\u{2}\n");
    // Rules, not a document, though the name has the same form.
    std::fs::write(bed.path(".sops.yaml"), "creation_rules: []\n").unwrap();
    let names = [".env", "backup.env", "s3.json", "app.yaml", "cert.pem"];
    let script = "mkdir ../seen; for f in .env backup.env s3.json app.yaml cert.pem; do readlink $f; stat -Lc '%a %u' $f; \
                  cat $f > ../seen/$f; done; stat -c '%a' $COFFERDAM_DIR; stat -fc %T $COFFERDAM_DIR; ls -A $COFFERDAM_DIR | wc -l; exit 6";
    let ran = Ran::of(&mut bed.exec(&["--dir", ".", "--", "sh", "-c", script])).expect_code(6);
    assert_eq!(ran.stderr, "");
    let root = bed.root.path().to_str().unwrap();
    let user = std::fs::metadata(bed.root.path()).unwrap().uid();
    let mut lines = ran.stdout.lines();
    for name in names {
        let target = lines.next().unwrap();
        assert!(
            target.starts_with(root) && target.ends_with(name),
            "{target}"
        );
        assert_eq!(lines.next(), Some(format!("600 {user}").as_str()));
    }
    let rest: Vec<&str> = lines.map(str::trim).collect();
    assert_eq!(rest, ["700", "tmpfs", "5"]);
    let documents = [
        ".sops.env",
        "backup.sops.env",
        "s3.sops.json",
        "app.sops.yaml",
        "cert.sops.pem",
    ];
    for (name, document) in names.into_iter().zip(documents) {
        let seen = std::fs::read(bed.stack.sandbox.path().join("seen").join(name)).unwrap();
        let printed = Ran::of(bed.stack.cofferdam().args(["decrypt", document]));
        assert_eq!(seen, printed.expect_code(0).stdout_bytes, "{name}");
        if have_peers(&["sops"]) {
            let printed = Ran::of(bed.stack.command("sops").args(["decrypt", document]));
            assert_eq!(seen, printed.expect_code(0).stdout_bytes, "{name}");
        }
    }
    bed.expect_clean(&names);
}

#[test]
fn variables_and_files_go_together_or_apart() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=a-secret-value\n");
    bed.stack.write("other.sops.env", "B=another-secret\n");
    let script = "test -e .env && echo file; test -e other.env && echo other; test -e named && echo named; test -n \"$A\" && echo A; test -n \"$B\" && echo B; true";
    for (args, told) in [
        (&["--dir", "."][..], "file\nother\n"),
        (&["--dir", ".", "--env", "--files"], "file\nother\nA\nB\n"),
        (
            &["--dir", ".", "--file", "other.sops.env"],
            "file\nother\nB\n",
        ),
        (&["--files", "--file", "other.sops.env"], "other\n"),
        (&["--files", "--file", "other.sops.env=named"], "named\n"),
        (&["--dir", ".", "--no-links"], ""),
    ] {
        let ran = Ran::of(bed.exec(args).args(["--", "sh", "-c", script])).expect_code(0);
        assert_eq!(ran.stdout, told, "{args:?}");
        bed.expect_clean(&[".env", "other.env", "named"]);
    }
    // Without files there is no root to name, and the other way round.
    for args in [
        &["--file", ".sops.env"][..],
        &["--dir", ".", "--only", "A"],
        &["--dir", ".", "--prefix", "X_"],
        &["--dir", "absent"],
        &["--files", "--file", ".sops.env=other.sops.env"],
        &[
            "--files",
            "--file",
            ".sops.env",
            "--file",
            "other.sops.env=.env",
        ],
    ] {
        Ran::of(bed.exec(args).args(["--", "true"])).expect_code(125);
    }
    // From elsewhere, as Komodo does it: the folder is named from the root of the repository.
    let mut command = bed.exec(&["--dir", "stack", "--", "sh", "-c", "cat stack/.env"]);
    let ran = Ran::of(
        command
            .arg("--no-mask")
            .current_dir(bed.stack.sandbox.path()),
    );
    // What stands behind `--` is the program's.
    assert_eq!(ran.expect_code(0).stdout, "A=[masked]\n");
    let empty = bed.path("empty");
    std::fs::create_dir(&empty).unwrap();
    Ran::of(&mut bed.exec(&["--dir", "empty", "--", "true"])).expect_code(125);
}

#[test]
fn signals_let_the_program_end_with_its_files() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=a-secret-value\n");
    for (signal, code) in [(Signal::TERM, 3), (Signal::INT, 3), (Signal::HUP, 3)] {
        if is_ignored(signal.as_raw()) {
            continue;
        }
        let script = "trap 'cp -L .env ../at-end; exit 3' TERM INT HUP; touch up; while :; do sleep 0.02; done";
        let mut child = bed
            .exec(&["--dir", ".", "--", "sh", "-c", script])
            .spawn()
            .unwrap();
        wait_for(&bed.path("up"));
        kill_process(pid(&child), signal).unwrap();
        assert_eq!(ended(&mut child, "exec").code(), Some(code));
        let at_end = bed.stack.sandbox.path().join("at-end");
        assert_eq!(
            std::fs::read_to_string(&at_end).unwrap(),
            "A=a-secret-value\n"
        );
        std::fs::remove_file(at_end).unwrap();
        std::fs::remove_file(bed.path("up")).unwrap();
        bed.expect_clean(&[".env"]);
    }
    // A program that is killed, and one that is not there.
    let ran = Ran::of(&mut bed.exec(&["--dir", ".", "--", "sh", "-c", "kill -KILL $$"]));
    ran.expect_code(137);
    bed.expect_clean(&[".env"]);
    Ran::of(&mut bed.exec(&["--dir", ".", "--", "no-such-program"])).expect_code(127);
    Ran::of(&mut bed.exec(&["--dir", ".", "--", "./.sops.env"])).expect_code(126);
    bed.expect_clean(&[".env"]);
}

#[test]
fn a_kill_of_the_wrapper_leaves_nothing_even_before_the_next_start() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=a-secret-value\n");
    let script = "echo $$ > up.new; mv up.new up; exec sleep 300";
    let mut child = bed
        .exec(&["--dir", ".", "--", "sh", "-c", script])
        .spawn()
        .unwrap();
    wait_for(&bed.path("up"));
    assert!(bed.path(".env").is_symlink());
    let inner: i32 = std::fs::read_to_string(bed.path("up"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    expect_gone(inner, Duration::from_secs(10));
    let began = Instant::now();
    while !bed.left().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    bed.expect_clean(&[".env"]);
}

#[test]
fn runs_in_one_folder_share_it() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=first-secret-value\n");
    let wait = |name: &str| {
        let script =
            format!("touch {name}; while ! test -e stop-{name}; do sleep 0.01; done; cat .env");
        let mut command = bed.exec(&["--no-mask", "--dir", ".", "--", "sh", "-c", &script]);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        wait_for(&bed.path(name));
        child
    };
    let output =
        |child: Child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let one = wait("one");
    bed.stack.write(".sops.env", "A=second-secret-value\n");
    let two = wait("two");
    assert_eq!(bed.left().len(), 1);
    std::fs::write(bed.path("stop-one"), "").unwrap();
    assert_eq!(output(one), "A=second-secret-value\n");
    assert!(bed.path(".env").exists());
    // One that is killed does not take it away from the other.
    let mut three = wait("three");
    three.kill().unwrap();
    three.wait().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(bed.path(".env").exists());
    std::fs::write(bed.path("stop-two"), "").unwrap();
    assert_eq!(output(two), "A=second-secret-value\n");
    bed.expect_clean(&[".env"]);
}

#[test]
fn a_plaintext_file_is_wiped_only_if_it_is_surely_ours() {
    if !have_peers(&["git"]) {
        return;
    }
    let Some(bed) = Bed::new() else { return };
    let folder = bed.stack.folder();
    let git = |args: &[&str]| bed.stack.sandbox.git(&folder, args);
    git(&["init", "--quiet"]);
    let commit = |plain: &str| {
        bed.stack.write(".sops.env", plain);
        git(&["add", ".sops.env"]);
        git(&["commit", "--quiet", "-m", "x"]);
    };
    commit("A=oldest-secret\n");
    commit("A=older-secret\n");
    commit("A=newest-secret\n");
    let link = bed.path(".env");
    let run = |args: &[&str]| Ran::of(bed.exec(args).args(["--dir", ".", "--", "touch", "ran"]));
    let ran = || std::fs::remove_file(bed.path("ran")).is_ok();
    for plain in ["A=newest-secret\n", "A=oldest-secret\n"] {
        std::fs::write(&link, plain).unwrap();
        let done = run(&[]).expect_code(0);
        assert!(
            done.stderr.contains("wiped .env, a file in the place of"),
            "{}",
            done.stderr
        );
        assert!(ran());
        bed.expect_clean(&[".env"]);
    }
    // Somebody's own: never committed, changed, or tracked.
    let refused = |what: &str| {
        let done = run(&[]).expect_code(125);
        assert!(
            done.stderr.contains("hint: ") && done.stderr.contains("--replace"),
            "{what}"
        );
        assert!(!done.stderr.contains("secret"), "{}", done.stderr);
        assert!(!ran(), "{what}");
        assert_eq!(bed.left(), Vec::<PathBuf>::new(), "{what}");
    };
    bed.stack.write(".sops.env", "A=uncommitted-secret\n");
    for plain in ["A=uncommitted-secret\n", "A=newest-secret\nB=mine\n", ""] {
        std::fs::write(&link, plain).unwrap();
        refused(plain);
        assert_eq!(std::fs::read_to_string(&link).unwrap(), plain);
    }
    std::fs::write(&link, "A=newest-secret\n").unwrap();
    git(&["add", "-f", ".env"]);
    refused("tracked");
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=newest-secret\n");
    git(&["rm", "--quiet", "--cached", ".env"]);
    std::fs::write(&link, "mine").unwrap();
    let done = run(&["--replace"]).expect_code(0);
    assert!(done.stderr.contains("wiped .env"), "{}", done.stderr);
    assert!(ran());
    bed.expect_clean(&[".env"]);
    // A link of somebody else's, and a folder.
    symlink("../elsewhere", &link).unwrap();
    refused("a link");
    assert_eq!(
        std::fs::read_link(&link).unwrap(),
        Path::new("../elsewhere")
    );
    run(&["--replace"]).expect_code(0);
    bed.expect_clean(&[".env"]);
    std::fs::create_dir(&link).unwrap();
    std::fs::write(link.join("theirs"), "x").unwrap();
    let done = run(&["--replace"]).expect_code(125);
    assert!(
        done.stderr.contains("a folder stands at"),
        "{}",
        done.stderr
    );
    std::fs::remove_file(link.join("theirs")).unwrap();
    // An empty one is dockerd's, or nobody's.
    let done = run(&[]).expect_code(0);
    assert!(done.stderr.contains("an empty folder"), "{}", done.stderr);
    bed.expect_clean(&[".env"]);
    // A link that a run left in another root, which is gone.
    let target = std::fs::canonicalize(&folder).unwrap();
    run(&[]).expect_code(0);
    let mut child = bed
        .exec(&[
            "--dir",
            ".",
            "--",
            "sh",
            "-c",
            "readlink .env > up; exec sleep 300",
        ])
        .spawn()
        .unwrap();
    wait_for(&bed.path("up"));
    std::thread::sleep(Duration::from_millis(50));
    let old = std::fs::read_to_string(bed.path("up")).unwrap();
    let old = old
        .trim()
        .replace(bed.root.path().to_str().unwrap(), "/nowhere");
    child.kill().unwrap();
    child.wait().unwrap();
    run(&[]).expect_code(0);
    symlink(&old, target.join(".env")).unwrap();
    run(&[]).expect_code(0);
    bed.expect_clean(&[".env"]);
}

#[test]
fn without_a_repository_nothing_is_surely_ours() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=a-secret-value\n");
    std::fs::write(bed.path(".env"), "A=a-secret-value\n").unwrap();
    Ran::of(&mut bed.exec(&["--dir", ".", "--", "true"])).expect_code(125);
    assert_eq!(
        std::fs::read_to_string(bed.path(".env")).unwrap(),
        "A=a-secret-value\n"
    );
}

#[test]
fn a_root_that_is_no_private_memory_is_refused() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=a-secret-value\n");
    let disk = Sandbox::new();
    let on_disk = !matches!(
        rustix::fs::statfs(disk.path()).unwrap().f_type as u64,
        0x0102_1994
    );
    let run = |root: &Path| {
        let mut command = bed
            .stack
            .exec(&["--dir", ".", "--root", root.to_str().unwrap()]);
        let ran = Ran::of(command.args(["--", "touch", "ran"])).expect_code(125);
        assert!(!bed.path("ran").exists() && !bed.path(".env").is_symlink());
        ran.stderr
    };
    if on_disk {
        let root = disk.path().join("root");
        assert!(run(&root).contains("not in memory"));
        assert!(!root.exists());
        std::fs::create_dir(&root).unwrap();
        assert!(run(&root).contains("not in memory"));
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    }
    assert!(run(Path::new("/proc/self")).contains("error:"));
    assert!(run(Path::new("/dev/shm")).contains("others can write there"));
    let open = bed.root.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(run(&open).contains("others can write there"));
    let link = bed.root.path().join("link");
    symlink(&open, &link).unwrap();
    assert!(run(&link).contains("a link to one"));
    // One that is absent is made where its parent is memory.
    let new = bed.root.path().join("new");
    let mut command = bed
        .stack
        .exec(&["--dir", ".", "--root", new.to_str().unwrap()]);
    Ran::of(command.args(["--", "test", "-L", ".env"])).expect_code(0);
    assert_eq!(std::fs::metadata(&new).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_folder_that_takes_no_link_is_told() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=a-secret-value\n");
    if rustix::process::geteuid().is_root() {
        println!("skipped: root writes into read-only folders");
        return;
    }
    let mode = std::fs::Permissions::from_mode;
    std::fs::set_permissions(bed.stack.folder(), mode(0o500)).unwrap();
    let ran = Ran::of(&mut bed.exec(&["--dir", ".", "--", "true"])).expect_code(125);
    assert!(ran.stderr.contains("--no-links"), "{}", ran.stderr);
    Ran::of(&mut bed.exec(&["--no-links", "--dir", ".", "--", "true"])).expect_code(0);
    std::fs::set_permissions(bed.stack.folder(), mode(0o700)).unwrap();
    bed.expect_clean(&[".env"]);
}

#[test]
fn no_value_shows_outside_of_the_files() {
    let Some(bed) = Bed::new() else { return };
    let canary = "canary-value-4711-aXbY";
    bed.stack.write(".sops.env", &format!("A={canary}\n"));
    let script = "cat .env; cat .env >&2; tr '\\0' ' ' < /proc/$PPID/cmdline; echo; cat /proc/$$/environ | tr '\\0' '\\n' | grep -c . >/dev/null; \
                  for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $p; done 2>/dev/null | grep -c CANARY; true"
        .replace("CANARY", "canary-value-4711");
    let ran = Ran::of(&mut bed.exec(&["--dir", ".", "--", "sh", "-c", &script])).expect_code(0);
    assert!(!ran.stdout.contains("4711-aXbY") && !ran.stderr.contains("4711-aXbY"));
    assert!(ran.stdout.starts_with("A=[masked]\n"), "{}", ran.stdout);
    for (name, content) in crate::support::snapshot(bed.stack.sandbox.path()) {
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains("4711-aXbY"), "{name}");
    }
    bed.expect_clean(&[".env"]);
}

/// A shell in namespaces of its own, in which it may mount; `/run` is a folder on disk there, and so is `/dev/shm` if asked.
fn in_namespaces(stack: &Stack, shared_memory: bool, script: &str) -> Option<Ran> {
    let disk = stack.sandbox.path().join("disk");
    for folder in ["run", "shm", "tiny"] {
        std::fs::create_dir_all(disk.join(folder)).unwrap();
    }
    let disk = disk.to_str().unwrap();
    let over = if shared_memory {
        String::new()
    } else {
        format!("mount --bind {disk}/shm /dev/shm\n")
    };
    let script = format!("set -e\nmount --bind {disk}/run /run\n{over}{script}");
    let mut command = stack.command("unshare");
    command.args(["-Urm", "sh", "-c", &script]);
    let possible = Ran::of(stack.command("unshare").args(["-Urm", "true"])).code == Some(0);
    if !possible || !is_disk(stack.sandbox.path()) {
        let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|v| v == "1");
        assert!(!required, "no user namespaces, or no disk, to test with");
        println!("skipped: no user namespaces, or no disk, to test with");
        return None;
    }
    Some(Ran::of(&mut command))
}

fn is_disk(path: &Path) -> bool {
    let out = Command::new("stat")
        .args(["-fc", "%T"])
        .arg(path)
        .output()
        .unwrap();
    !matches!(
        String::from_utf8_lossy(&out.stdout).trim(),
        "tmpfs" | "ramfs"
    )
}

#[test]
fn the_ladder_of_places() {
    let stack = Stack::new();
    stack.write(".sops.env", "A=a-secret-value\n");
    let show =
        format!("{COFFERDAM} exec --dir . -- sh -c 'readlink .env; stat -fc %T $COFFERDAM_DIR'");
    // Where it may mount, it mounts; the second run finds that.
    let mounts = "grep -c ' /run/cofferdam ' /proc/self/mountinfo || true";
    let script = format!(
        "before=$({mounts})\n{show}\n{show}\necho $(($({mounts}) - before))\nls -A /run/cofferdam"
    );
    let Some(ran) = in_namespaces(&stack, true, &script) else {
        return;
    };
    let lines: Vec<String> = ran
        .expect_code(0)
        .stdout
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(
        lines[0].starts_with("/run/cofferdam/exec.stack."),
        "{lines:?}"
    );
    assert_eq!((lines[1].as_str(), &lines[2]), ("tmpfs", &lines[0]));
    assert_eq!(lines[3..], ["tmpfs", "1", "gate"]);
    // Nothing was written to the disk below.
    let below = stack.sandbox.path().join("disk/run/cofferdam");
    assert_eq!(std::fs::read_dir(below).unwrap().count(), 0);
    std::fs::remove_dir(stack.sandbox.path().join("disk/run/cofferdam")).unwrap();
    // Without that right: the user's runtime folder, if it is memory; then shared memory.
    let runtime = "mkdir -p /run/u && mount -t tmpfs none /run/u";
    let inner = |variables: &str| {
        format!(
            "{runtime}\n{variables} unshare -Ur sh -c '{}'",
            show.replace('\'', "'\\''")
        )
    };
    let ran = in_namespaces(&stack, true, &inner("XDG_RUNTIME_DIR=/run/u")).unwrap();
    let text = ran.expect_code(0).stdout;
    assert!(text.starts_with("/run/u/cofferdam/exec.stack."), "{text}");
    let ran = in_namespaces(&stack, true, &inner("XDG_RUNTIME_DIR=/run")).unwrap();
    let text = ran.expect_code(0).stdout;
    assert!(
        text.starts_with("/dev/shm/cofferdam-0/exec.stack."),
        "{text}"
    );
    let shared = Path::new("/dev/shm/cofferdam-0");
    if shared.is_dir() {
        let _ = std::fs::remove_file(shared.join("gate"));
        let _ = std::fs::remove_dir(shared);
    }
    // Nothing is memory: nothing runs, nothing is written.
    let ran = in_namespaces(&stack, false, &inner("XDG_RUNTIME_DIR=/run"))
        .unwrap()
        .expect_code(125);
    assert_eq!(ran.stdout, "");
    for text in [
        "no memory-backed folder",
        "/run/cofferdam",
        "/dev/shm",
        "hint: mount a tmpfs",
    ] {
        assert!(ran.stderr.contains(text), "{text}\n{}", ran.stderr);
    }
    for (name, content) in crate::support::snapshot(stack.sandbox.path()) {
        assert!(
            !String::from_utf8_lossy(&content).contains("a-secret-value"),
            "{name}"
        );
    }
    assert!(!stack.folder().join(".env").is_symlink());
}

#[test]
fn a_memory_that_is_full_is_told_and_left_clean() {
    let stack = Stack::new();
    stack.write(".sops.env", "A=a-secret-value\n");
    stack.write(
        "big.sops.env",
        &format!("B={}\n", "0123456789abcdef".repeat(16 << 10)),
    );
    let tiny = stack.sandbox.path().join("disk/tiny");
    let tiny = tiny.to_str().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k,mode=0700 none {tiny}\nset +e\n\
         {COFFERDAM} exec --root {tiny} --dir . -- touch ran; echo $?; ls -A {tiny}; ls -A . | grep env; rm big.sops.env\n\
         {COFFERDAM} exec --root {tiny} --dir . -- true; echo $?"
    );
    let Some(ran) = in_namespaces(&stack, true, &script) else {
        return;
    };
    let ran = ran.expect_code(0);
    assert_eq!(
        ran.stdout, "125\ngate\n.sops.env\nbig.sops.env\n0\n",
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("is full"), "{}", ran.stderr);
}

#[test]
fn every_stack_of_the_sample() {
    if !have_peers(&["git"]) {
        return;
    }
    let Some(bed) = Bed::new() else { return };
    let fixture = crate::support::tests_folder().join("fixtures/homeops");
    let bundle = fixture.join("homeops.bundle");
    let sandbox = &bed.stack.sandbox;
    let args = [
        "clone",
        "--quiet",
        "--branch",
        "main",
        bundle.to_str().unwrap(),
        "r",
    ];
    sandbox.git(sandbox.path(), &args);
    let key = sandbox.path().join("shared.txt");
    std::fs::copy(fixture.join("shared-key.txt"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let repository = sandbox.path().join("r");
    let files = sandbox.git(&repository, &["ls-files", "docker"]);
    let documents: Vec<&str> = files
        .lines()
        .filter(|f| f.contains(".sops.") && !f.ends_with(".sops.yaml"))
        .collect();
    assert!(documents.len() > 10, "{documents:?}");
    let before = crate::support::snapshot(&repository);
    for document in documents {
        let folder = Path::new(document).parent().unwrap().to_str().unwrap();
        let plain = document.replace(".sops.", ".");
        let run = |args: &[&str]| {
            let mut command = sandbox.command(COFFERDAM, &repository);
            Ran::of(command.args(args).env("SOPS_AGE_KEY_FILE", &key)).expect_code(0)
        };
        let root = bed.root.path().to_str().unwrap();
        let out = run(&[
            "exec",
            "--root",
            root,
            "--no-mask",
            "--dir",
            folder,
            "--",
            "cat",
            &plain,
        ]);
        assert_eq!(out.stdout, run(&["decrypt", document]).stdout, "{document}");
    }
    crate::support::assert_same_files(&before, &crate::support::snapshot(&repository));
    bed.expect_clean(&[]);
}
