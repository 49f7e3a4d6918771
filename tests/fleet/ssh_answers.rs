//! A host that has `cofferdam` answers challenges with it: real `sshd`s, the built binary, and no `sops` nor `age` there.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::bench::{Bench, busybox, by_ssh, chmod, prove, text_of};
use crate::support::ground::Ground;
use crate::support::sshd::{Fleet, Manners, have_sshd};
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};
use cofferdam::fleet::ssh::answers;
use cofferdam::fleet::{Challenge, Target};
use cofferdam::keys::wrap::wrap;
use cofferdam::keys::{Identity, Recipient};
use cofferdam::ledger::ReceiptKind;

/// A host with busybox and what `put` adds to its PATH.
fn host_with(put: impl FnOnce(&Path)) -> Option<(Bench, Sandbox)> {
    if !have_sshd() {
        return None;
    }
    let (applets, bin) = busybox()?;
    put(Path::new(&bin));
    let manners = Manners {
        path: Some(bin),
        ..Manners::default()
    };
    Some((Bench::new("kasm", &manners), applets))
}

fn script(file: &Path, text: &str) {
    std::fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
    chmod(file, 0o755);
}

#[test]
fn a_host_with_cofferdam_answers_by_itself_and_names_what_it_found() {
    // What was run is written down: neither an identity nor a challenge's text is in it.
    let Some((bench, applets)) = host_with(|bin| {
        let text = format!(
            "echo \"$*\" >>{0}/ran\nexec {COFFERDAM} \"$@\"",
            bin.display()
        );
        script(&bin.join("cofferdam"), &text);
    }) else {
        return;
    };
    let own = Identity::mint();
    bench.put(&text_of(&own), 0o400);
    let target = bench.target("kasm");
    let receipt = prove(&target, &own.recipient().unwrap());
    assert!(receipt.opened && receipt.everywhere && receipt.copies.is_empty());
    assert_eq!(receipt.kind, ReceiptKind::Unwrapped);
    let ran = std::fs::read_to_string(applets.path().join("bin/ran")).unwrap();
    assert_eq!(ran, "prove --answer\n");

    let home = bench.fleet.host("kasm").join("home");
    let plant = |path: &str, text: &str| -> PathBuf {
        let file = home.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        chmod(&file, 0o600);
        file
    };
    let secret_of = |identity: &Identity| -> String {
        let text = text_of(identity);
        let line = text.lines().find(|line| line.starts_with("AGE-"));
        line.unwrap().to_owned()
    };
    let found = |identity: &Identity, file: &Path| {
        let recipient = identity.recipient().unwrap();
        let receipt = prove(&target, &recipient);
        assert!(receipt.opened && !receipt.everywhere, "{}", file.display());
        assert_eq!(receipt.copies, [file.to_str().unwrap()]);
    };
    let copies: Vec<Identity> = (0..5).map(|_| Identity::mint()).collect();
    let file = plant(".config/sops/age/keys.txt", &text_of(&copies[0]));
    found(&copies[0], &file);
    let file = plant(".sops/key.txt", &text_of(&copies[1]));
    found(&copies[1], &file);
    let file = plant("odd place/k.txt", &text_of(&copies[2]));
    let line = format!("export SOPS_AGE_KEY_FILE=\"{}\"\n", file.display());
    plant(".bash_profile", &line);
    found(&copies[2], &file);
    let line = format!("# mine\nexport SOPS_AGE_KEY='{}'\n", secret_of(&copies[3]));
    let file = plant(".profile", &line);
    found(&copies[3], &file);
    if have_peers(&["ssh-keygen"]) {
        let key = plant(".ssh/id_ed25519", "");
        std::fs::remove_file(&key).unwrap();
        let mut keygen = bench.sandbox.command("ssh-keygen", &home);
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "x", "-f"]);
        Ran::of(keygen.arg(&key)).expect_code(0);
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let receipt = prove(&target, &Recipient::parse(public.trim()).unwrap());
        assert_eq!(receipt.copies, [key.to_str().unwrap()]);
    }
    // What nobody has is opened by nobody, and the identity file's own is no copy.
    assert!(!prove(&target, &copies[4].recipient().unwrap()).opened);
    assert!(prove(&target, &own.recipient().unwrap()).copies.is_empty());
    let log = std::fs::read_to_string(applets.path().join("bin/ran")).unwrap();
    for text in [bench.fleet.argv(), log] {
        assert!(!text.contains("AGE-SECRET-KEY"));
    }
}

/// What was installed under that name may be older, or something else.
#[test]
fn what_is_no_cofferdam_is_passed_over() {
    if !have_peers(&["age"]) {
        return;
    }
    let age = Ran::of(
        Sandbox::new()
            .command("sh", Path::new("/"))
            .args(["-c", "command -v age"]),
    );
    let age = age.expect_code(0).stdout.trim_end().to_owned();
    let odd = [
        "echo \"error: unexpected argument '--answer' found\" >&2; exit 2",
        "echo hello; exit 0",
        "cat >/dev/null; echo 'cofferdam answers 1'; exit 0",
        "printf 'cofferdam answers 1\\ncofferdam answered\\n'; exit 3",
        "exit 0",
        // It would never end.
        "exec sleep 600",
    ];
    for text in odd {
        for has_age in [true, false] {
            if has_age && text.contains("sleep") {
                continue;
            }
            let Some((bench, _applets)) = host_with(|bin| {
                script(&bin.join("cofferdam"), text);
                if has_age {
                    symlink(&age, bin.join("age")).unwrap();
                }
            }) else {
                return;
            };
            let own = Identity::mint();
            bench.put(&text_of(&own), 0o400);
            let receipt = prove(&bench.target("kasm"), &own.recipient().unwrap());
            assert!(receipt.opened && receipt.everywhere, "{text}");
            let expected = match has_age {
                true => ReceiptKind::Unwrapped,
                false => ReceiptKind::ReadBack,
            };
            assert_eq!(receipt.kind, expected, "{text}");
        }
    }
}

/// An identity in the login's own environment is as good as one in a file.
#[test]
fn what_the_environment_of_the_login_holds_is_found() {
    if !have_sshd() || !have_peers(&["sops", "age"]) {
        return;
    }
    for tool in ["cofferdam", "sops", "age", "none"] {
        let Some((_applets, bin)) = busybox() else {
            return;
        };
        let program = match tool {
            "cofferdam" => Some(PathBuf::from(COFFERDAM)),
            _ => crate::support::find_program(tool),
        };
        if let Some(program) = program {
            symlink(program, Path::new(&bin).join(tool)).unwrap();
        }
        let (own, stray) = (Identity::mint(), Identity::mint());
        let text = text_of(&stray);
        let secret = text.lines().find(|l| l.starts_with("AGE-")).unwrap();
        let forced = format!("export SOPS_AGE_KEY={secret}\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"");
        let manners = Manners {
            path: Some(bin),
            forced: Some(forced),
            ..Manners::default()
        };
        let bench = Bench::new("kasm", &manners);
        bench.put(&text_of(&own), 0o400);
        let target = bench.target("kasm");
        let receipt = prove(&target, &own.recipient().unwrap());
        assert!(receipt.everywhere && receipt.copies.is_empty(), "{tool}");
        let receipt = prove(&target, &stray.recipient().unwrap());
        assert!(receipt.opened && !receipt.everywhere, "{tool}");
        let place = match tool {
            "cofferdam" => "the environment",
            _ => "SOPS_AGE_KEY",
        };
        assert_eq!(receipt.copies, [place], "{tool}");
        assert!(!bench.fleet.argv().contains("AGE-SECRET-KEY"));
    }
}

/// Asks the built binary as a host's script does.
fn answer(sandbox: &Sandbox, input: &[u8]) -> Ran {
    // Neither a repository nor a topology is near.
    let mut command = sandbox.command(COFFERDAM, sandbox.path());
    command.args(["prove", "--answer"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stdout_bytes: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn rule_21_an_answer_is_a_digest_and_a_planted_wrap_gets_none() {
    let sandbox = Sandbox::new();
    let own = Identity::mint();
    let recipient = own.recipient().unwrap();
    let file = sandbox.path().join("keys.txt");
    std::fs::write(&file, text_of(&own)).unwrap();
    let challenge = Challenge::new("kasm", "run-1", &recipient).unwrap();
    let ask = |questions: &[serde_json::Value]| {
        let asked = serde_json::json!({"version": 1, "questions": questions});
        answer(
            &sandbox,
            format!("{}\n{asked}\n", file.display()).as_bytes(),
        )
    };
    let question = serde_json::to_value(challenge.question()).unwrap();
    let shown = ask(std::slice::from_ref(&question)).expect_code(0).stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!((lines[0], lines[2]), (answers::FIRST, answers::LAST));
    let digest = lines[1].split(' ').nth(2).unwrap();
    assert_eq!(
        lines[1],
        format!("answer 0 {digest} file {}", file.display())
    );
    let given = cofferdam::fleet::Answer::from_hex(digest).unwrap();
    assert!(challenge.judge(Some(&given)).unwrap().opened);

    // A document's data key, planted as a challenge; somebody else's challenge; another's name on ours.
    let mut planted = question.clone();
    planted["wrapped"] = wrap(&[7; 32], &recipient).unwrap().into();
    let mut others = question.clone();
    let other = Challenge::new("omni", "run-1", &recipient).unwrap();
    others["wrapped"] = other.question().wrapped.clone().into();
    let mut renamed = question.clone();
    renamed["target"] = "omni".into();
    for asked in [planted, others, renamed.clone()] {
        let shown = ask(&[asked]).expect_code(0);
        assert_eq!(shown.stdout.lines().count(), 2, "{}", shown.stdout);
        assert!(!shown.stderr.contains("AGE-SECRET"));
    }
    let refused = ask(&[question.clone(), renamed]).expect_code(1);
    assert!(
        refused.stderr.contains("several targets"),
        "{}",
        refused.stderr
    );
    let inputs: [&[u8]; 5] = [
        b"",
        b"/keys\n\xff\x00\n",
        b"no\n",
        b"/keys\n{}\n",
        b"keys.txt\n{\"version\":1,\"questions\":[]}\n",
    ];
    for input in inputs {
        let refused = answer(&sandbox, input).expect_code(1);
        assert!(
            refused.stderr.contains("holds no questions"),
            "{}",
            refused.stderr
        );
    }
    let usage = Ran::of(
        sandbox
            .command(COFFERDAM, sandbox.path())
            .args(["prove", "--answer", "kasm"]),
    );
    usage.expect_code(2);
}

/// `[gate] receipt = "unwrapped"`: a host with nothing is stopped for, and goes through once it has `cofferdam`.
#[test]
fn the_gate_asks_for_what_the_topology_says() {
    if !have_sshd() || !have_peers(&["sops"]) {
        return;
    }
    let Some((_applets, bin)) = busybox() else {
        return;
    };
    let sandbox = Sandbox::new();
    let ground = Ground::small(&sandbox);
    let mut fleet = Fleet::new(sandbox.path());
    let manners = Manners {
        path: Some(bin.clone()),
        ..Manners::default()
    };
    fleet.add("kasm", &manners);
    by_ssh(&ground, "kasm", "");
    let topology = ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap();
    let strict = format!("{text}\n[gate]\nreceipt = \"unwrapped\"\n");
    std::fs::write(&topology, &strict).unwrap();
    let run = |args: &[&str]| Ran::of(ground.command(args).env("COFFERDAM_SSH", fleet.program()));
    let stopped = run(&["split", "--yes"]).expect_code(5);
    for wanted in [
        "kasm was only read back",
        "except = [\"kasm\"]",
        "cofferdam, sops or age",
    ] {
        assert!(stopped.stderr.contains(wanted), "{}", stopped.stderr);
    }
    ground.expect_nothing_retired("read back");
    ground.expect_readable("read back");
    let asked = run(&["prove", "kasm"]).expect_code(5);
    assert!(asked.stdout.contains("only read back"), "{}", asked.stdout);

    // A weaker gate is somebody's decision, by name; so is a hole in it.
    for weaker in [text.clone(), format!("{strict}except = \"kasm\"\n")] {
        std::fs::write(&topology, weaker).unwrap();
        let refused = run(&["resume", "--yes"]).expect_code(1);
        assert!(
            refused.stderr.contains("only read back"),
            "{}",
            refused.stderr
        );
        assert!(
            refused.stderr.contains("--accept gate"),
            "{}",
            refused.stderr
        );
    }
    std::fs::write(&topology, &strict).unwrap();
    symlink(COFFERDAM, Path::new(&bin).join("cofferdam")).unwrap();
    run(&["resume", "--yes"]).expect_code(0);
    let ledger = ground.ledger();
    let live = ledger
        .records()
        .iter()
        .find(|r| r.id.starts_with("lan-"))
        .unwrap();
    let of_kasm = live.receipts.iter().find(|r| r.reader == "kasm").unwrap();
    assert_eq!(of_kasm.kind, ReceiptKind::Unwrapped);
    ground.expect_readable_by_hosts();

    // With the exception confirmed, what can only be read back goes through.
    std::fs::remove_file(Path::new(&bin).join("cofferdam")).unwrap();
    std::fs::write(&topology, format!("{strict}except = \"kasm\"\n")).unwrap();
    ground.git(&["commit", "-qam", "kasm may be read back"]);
    run(&["rotate", "lan", "--yes", "--accept", "gate"]).expect_code(0);
}

/// Where `cofferdam` stands elsewhere than on PATH, the topology says so.
#[test]
fn a_cofferdam_that_the_topology_names_is_asked_first() {
    if !have_sshd() {
        return;
    }
    let Some((bench, _applets)) = host_with(|_| {}) else {
        return;
    };
    let own = Identity::mint();
    bench.put(&text_of(&own), 0o400);
    let program = cofferdam::fleet::SshProgram::new(bench.fleet.words());
    let host = |cofferdam: Option<&str>| cofferdam::topology::Host {
        adopt: None,
        name: "kasm".to_owned(),
        zone: "lan".to_owned(),
        target: cofferdam::topology::HostTarget::Ssh("kasm".to_owned()),
        identity_file: bench.file().to_str().unwrap().to_owned(),
        transport: None,
        clones: Vec::new(),
        after_ship: Vec::new(),
        reader: None,
        cofferdam: cofferdam.map(str::to_owned),
    };
    let program = std::sync::Arc::new(program);
    for (named, expected) in [
        (None, ReceiptKind::ReadBack),
        (Some("/nonexistent/cofferdam"), ReceiptKind::ReadBack),
        (Some(COFFERDAM), ReceiptKind::Unwrapped),
    ] {
        let target = cofferdam::fleet::SshHost::of(&host(named), &program).unwrap();
        let challenge = Challenge::new("kasm", "r", &own.recipient().unwrap()).unwrap();
        assert_eq!(
            target.prove(&challenge).unwrap().kind,
            expected,
            "{named:?}"
        );
    }
}
