//! `cofferdam exec` with variables: exact values, exit codes, signals, refusals, and what it keeps from the program.

#![cfg(target_os = "linux")]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::runtime::{Stack, is_ignored};
use crate::support::{Ran, have_peers};
use rustix::process::{Pid, Signal, kill_process};

/// Runs to the end, however long the program sleeps: a test that hangs is no test.
fn ended(child: &mut Child, within: Duration) -> i32 {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().expect("ended by a code");
        }
        assert!(began.elapsed() < within, "still running");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Starts it and waits until it has printed a line.
fn started(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    let stdout = child.stdout.as_mut().unwrap();
    while stdout.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    (child, String::from_utf8(line).unwrap())
}

#[test]
fn every_value_arrives_byte_for_byte() {
    let stack = Stack::new();
    let long = "0123456789abcdef".repeat(4096);
    let values = [
        ("DOLLAR", "pa$$ $HOME ${PATH} $(id)"),
        ("QUOTES", "it's \"quoted\" `here` \\ \\n"),
        ("HASH", "before #after # and more"),
        ("LINES", "one\ntwo\r\n\n three \n"),
        ("UNICODE", "pässwörd ✓ 密码"),
        ("BLANKS", "  two before, two behind  "),
        ("EMPTY", ""),
        ("EQUALS", "a=b=c"),
        ("LONG", long.as_str()),
    ];
    stack.write_json("all.sops.json", &values);
    for masking in [&[][..], &["--no-mask"], &["--mask"]] {
        let out = stack.folder().join("out");
        let script = format!("env -0 > {}", out.display());
        let ran = stack
            .exec(&["--file", "all.sops.json"])
            .args(masking)
            .args(["--", "sh", "-c", &script])
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let seen = std::fs::read(&out).unwrap();
        let seen: Vec<&[u8]> = seen.split(|b| *b == 0).collect();
        for (name, value) in values {
            let expected = format!("{name}={value}");
            assert!(seen.contains(&expected.as_bytes()), "{name}");
        }
    }
}

#[test]
fn sops_exec_env_gives_the_same() {
    if !have_peers(&["sops"]) {
        return;
    }
    let stack = Stack::new();
    let yaml = "text: some text\nnumber: 12345678901\nfraction: 1.50\nyes: true\nno: false\nwhen: 2024-01-02T03:04:05Z\n\
                empty: \"\"\n# a comment\nlines: |\n  one\n  two $x #y\nquoted: \"a\\tb\"\n";
    stack.write("s.sops.yaml", yaml);
    stack.write(
        "s.sops.env",
        "A=1\nB=one\\ntwo $x #y\n# note\nC=\"quoted\"\nD=\n",
    );
    for file in ["s.sops.yaml", "s.sops.env"] {
        let ours = stack
            .exec(&["--no-mask", "--file", file, "--", "env", "-0"])
            .output()
            .unwrap();
        assert!(ours.status.success(), "{ours:?}");
        let theirs = stack
            .command("sops")
            .args(["exec-env", file, "env -0"])
            .output()
            .unwrap();
        assert!(theirs.status.success(), "{theirs:?}");
        // What the shell of sops adds, and the identity's variable that it leaves.
        let variables = |bytes: &[u8]| -> Vec<String> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let other = ["SOPS_AGE_KEY_FILE=", "PWD=", "SHLVL=", "_=", "OLDPWD="];
            let mut all: Vec<String> = text
                .split('\0')
                .filter(|v| !other.iter().any(|o| v.starts_with(o)))
                .map(str::to_owned)
                .collect();
            all.sort();
            all
        };
        assert_eq!(variables(&ours.stdout), variables(&theirs.stdout), "{file}");
    }
}

#[test]
fn exit_codes_are_the_programs_or_ours() {
    let stack = Stack::new();
    stack.write("s.sops.env", "KEY=a-secret-value\n");
    stack.write("broken.sops.env", "KEY=a-secret-value\n");
    let broken = std::fs::read_to_string(stack.folder().join("broken.sops.env")).unwrap();
    let token = broken.find("data:").unwrap() + 5;
    let flipped = if broken.as_bytes()[token] == b'A' {
        "B"
    } else {
        "A"
    };
    let mut changed = broken.clone();
    changed.replace_range(token..=token, flipped);
    std::fs::write(stack.folder().join("broken.sops.env"), changed).unwrap();
    std::fs::write(stack.folder().join("plain.env"), "KEY=a-secret-value\n").unwrap();
    let file = ["--file", "s.sops.env"];
    for masking in ["--mask", "--no-mask"] {
        for (args, code) in [
            (&["--", "true"][..], 0),
            (&["--", "sh", "-c", "exit 42"], 42),
            (&["--", "sh", "-c", "exit 255"], 255),
            (&["--", "no-such-program"], 127),
            (&["--", "./no-such-program"], 127),
            (&["--", "./s.sops.env"], 126),
            (&["--", "/"], 126),
        ] {
            let command = stack.exec(&file).arg(masking).args(args).output().unwrap();
            assert_eq!(command.status.code(), Some(code), "{args:?} {command:?}");
        }
    }
    let killed = Ran::of(stack.exec(&file).args(["--", "sh", "-c", "kill -KILL $$"]));
    killed.expect_code(137);
    let killed = Ran::of(stack.exec(&file).args(["--", "sh", "-c", "kill -TERM $$"]));
    killed.expect_code(143);
    // Refusals of our own, the command line's included.
    for args in [
        &["--", "true"][..],
        &["--file", "s.sops.env"],
        &["--file", "s.sops.env", "--"],
        &["--file", "s.sops.env", "--no-such-flag", "--", "true"],
        &["--file", "s.sops.env", "--mask", "--no-mask", "--", "true"],
        &["--file", "absent.sops.env", "--", "true"],
        &["--file", "plain.env", "--", "true"],
        &["--file", "broken.sops.env", "--", "true"],
        &["--file", "s.sops.env", "--", "[[COMPOSE_COMMAND]]"],
        &[
            "--file",
            "s.sops.env",
            "--",
            "sh",
            "-c",
            "[[COMPOSE_COMMAND]] up",
        ],
        &["--file", "s.sops.env", "--file", "s.sops.env", "--", "true"],
        &["--file", "s.sops.env=", "--", "true"],
        &["--file", "s.sops.env=a/b", "--", "true"],
    ] {
        let ran = Ran::of(&mut stack.exec(args)).expect_code(125);
        assert!(!ran.stderr.contains("a-secret-value"), "{args:?}");
        assert!(ran.stderr.contains("error:"), "{args:?}");
    }
    let elsewhere = Ran::of(
        stack
            .cofferdam()
            .args(["-C", "absent", "exec", "--", "true"]),
    );
    elsewhere.expect_code(125);
    let without = Ran::of(
        stack
            .exec(&file)
            .args(["--", "true"])
            .env_remove("SOPS_AGE_KEY_FILE"),
    );
    without.expect_code(125);
    // The other commands keep theirs.
    Ran::of(stack.cofferdam().args(["verify", "--no-such-flag"])).expect_code(2);
}

#[test]
fn names_and_values_that_do_not_fit_are_named_without_the_value() {
    let stack = Stack::new();
    let secret = "hunter2-hunter2";
    let yaml = format!("nested:\n  a: {secret}\nlist:\n  - {secret}\nplain: {secret}\n");
    stack.write("nested.sops.yaml", &yaml);
    stack.write_json(
        "odd.sops.json",
        &[("a-b", secret), ("1st", secret), ("ok", secret)],
    );
    stack.write_json("nul.sops.json", &[("NUL", "hunter2\0hunter2")]);
    let dangerous = [
        "PATH",
        "LD_PRELOAD",
        "BASH_ENV",
        "IFS",
        "DOCKER_HOST",
        "GIT_SSH_COMMAND",
    ];
    stack.write_json("code.sops.json", &dangerous.map(|name| (name, secret)));
    stack.write("twice.sops.env", &format!("A={secret}\nA={secret}\n"));
    stack.write("again.sops.env", &format!("A={secret}\n"));
    for (args, told) in [
        (
            &["--file", "nested.sops.yaml"][..],
            &[
                "nested.sops.yaml: `nested` is a mapping",
                "`list` is a list",
                "--only KEY",
            ][..],
        ),
        (
            &["--file", "odd.sops.json"],
            &["odd.sops.json: `a-b` is no name", "`1st` is no name"],
        ),
        (
            &["--file", "nul.sops.json"],
            &["nul.sops.json: the value of `NUL` holds a NUL byte"],
        ),
        (
            &["--file", "code.sops.json"],
            &[
                "`PATH` changes",
                "`LD_PRELOAD`",
                "`BASH_ENV`",
                "`IFS`",
                "`DOCKER_HOST`",
                "--allow PATH",
            ],
        ),
        (
            &["--file", "twice.sops.env"],
            &["twice.sops.env: `A` is set twice"],
        ),
        (
            &["--file", "again.sops.env", "--file", "odd.sops.json=A"],
            &["odd.sops.json: `A` is set twice, also by again.sops.env"],
        ),
        (
            &["--file", "again.sops.env", "--only", "B"],
            &["no file has the key `B`"],
        ),
    ] {
        let ran = Ran::of(stack.exec(args).args(["--", "touch", "ran"])).expect_code(125);
        for text in told {
            assert!(ran.stderr.contains(text), "{text}\n{}", ran.stderr);
        }
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        assert!(!stack.folder().join("ran").exists());
    }
    let chosen = [
        "--no-mask",
        "--file",
        "nested.sops.yaml",
        "--only",
        "plain",
        "--prefix",
        "APP_",
    ];
    let ran = Ran::of(
        stack
            .exec(&chosen)
            .args(["--", "sh", "-c", "echo $APP_plain"]),
    );
    assert_eq!(ran.expect_code(0).stdout, format!("{secret}\n"));
    let allowed = [
        "--no-mask",
        "--file",
        "code.sops.json",
        "--only",
        "IFS",
        "--allow",
        "IFS",
    ];
    let ran = Ran::of(stack.exec(&allowed).args(["--", "env"])).expect_code(0);
    assert!(ran.stdout.contains(&format!("IFS={secret}\n")));
    // A whole text under one name.
    let whole = ["--no-mask", "--file", "nested.sops.yaml=CONFIG"];
    let ran = Ran::of(stack.exec(&whole).args(["--", "printenv", "CONFIG"])).expect_code(0);
    let decrypted = Ran::of(stack.cofferdam().args(["decrypt", "nested.sops.yaml"]));
    assert_eq!(ran.stdout, format!("{}\n", decrypted.expect_code(0).stdout));
}

#[test]
fn an_environment_that_is_too_long_is_refused() {
    let stack = Stack::new();
    stack.write_json("s.sops.json", &[("LONG", &"x".repeat(200 << 10))]);
    for masking in ["--mask", "--no-mask"] {
        let ran = Ran::of(&mut stack.exec(&[masking, "--file", "s.sops.json", "--", "true"]));
        assert!(
            ran.expect_code(125)
                .stderr
                .contains("too long for an environment")
        );
    }
}

#[test]
fn identities_do_not_reach_the_program_and_core_dumps_are_off() {
    let stack = Stack::new();
    stack.write("s.sops.env", "KEY=a-secret-value\n");
    let key = std::fs::read_to_string(stack.key_file()).unwrap();
    for masking in ["--mask", "--no-mask"] {
        let ran = Ran::of(
            stack
                .exec(&[
                    "--file",
                    "s.sops.env",
                    masking,
                    "--",
                    "sh",
                    "-c",
                    "env; ulimit -c",
                ])
                .env("SOPS_AGE_KEY", key.trim())
                .env("SOPS_AGE_KEY_CMD", "true")
                .env("COFFERDAM_SSH", "ssh")
                .env("OTHER", "kept"),
        )
        .expect_code(0);
        assert!(!ran.stdout.contains("SOPS_") && !ran.stdout.contains("COFFERDAM_"));
        assert!(!ran.stdout.contains("AGE-SECRET-KEY"));
        assert!(ran.stdout.contains("OTHER=kept\n"));
        assert!(ran.stdout.ends_with("\n0\n"), "{}", ran.stdout);
    }
    // While it waits, nobody of the same user can look into it.
    let (mut child, _) = started(&mut stack.exec(&[
        "--file",
        "s.sops.env",
        "--",
        "sh",
        "-c",
        "echo up; exec sleep 30",
    ]));
    let status = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = status
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(ended(&mut child, Duration::from_secs(10)), 143);
}

#[test]
fn without_masking_the_program_takes_our_place() {
    let stack = Stack::new();
    stack.write("s.sops.env", "KEY=a-secret-value\n");
    let script = ["--", "sh", "-c", "echo $$; exec sleep 30"];
    let (mut child, line) = started(
        stack
            .exec(&["--no-mask", "--file", "s.sops.env"])
            .args(script),
    );
    assert_eq!(line, child.id().to_string());
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut child, line) = started(stack.exec(&["--mask", "--file", "s.sops.env"]).args(script));
    assert_ne!(line, child.id().to_string());
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(ended(&mut child, Duration::from_secs(10)), 143);
}

#[test]
fn signals_reach_the_program_and_what_it_started() {
    let stack = Stack::new();
    stack.write("s.sops.env", "KEY=a-secret-value\n");
    for (signal, name, code) in [
        (Signal::HUP, "HUP", 3),
        (Signal::INT, "INT", 4),
        (Signal::QUIT, "QUIT", 5),
        (Signal::TERM, "TERM", 6),
        (Signal::USR1, "USR1", 7),
        (Signal::USR2, "USR2", 8),
    ] {
        if is_ignored(signal.as_raw()) {
            continue;
        }
        let script = format!("trap 'exit {code}' {name}; echo up; while :; do sleep 0.05; done");
        let (mut child, _) =
            started(&mut stack.exec(&["--file", "s.sops.env", "--", "sh", "-c", &script]));
        kill_process(pid(&child), signal).unwrap();
        assert_eq!(ended(&mut child, Duration::from_secs(10)), code, "{name}");
    }
    // One that does not listen is killed: by --grace, or at the second TERM.
    let deaf = [
        "--",
        "sh",
        "-c",
        "trap '' TERM INT; echo up; while :; do sleep 0.05; done",
    ];
    if !is_ignored(Signal::INT.as_raw()) {
        let (mut child, _) = started(
            stack
                .exec(&["--file", "s.sops.env", "--grace", "1"])
                .args(deaf),
        );
        kill_process(pid(&child), Signal::INT).unwrap();
        assert_eq!(ended(&mut child, Duration::from_secs(10)), 137);
    }
    let (mut child, _) = started(stack.exec(&["--file", "s.sops.env"]).args(deaf));
    kill_process(pid(&child), Signal::TERM).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none());
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(ended(&mut child, Duration::from_secs(10)), 137);
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let stack = Stack::new();
    stack.write("s.sops.env", "KEY=a-secret-value\n");
    let inner = "trap; echo up; sleep 0.3; exit 9";
    let outer = format!(
        "trap '' HUP; exec {} exec --file s.sops.env -- sh -c '{inner}'",
        crate::support::COFFERDAM
    );
    let (mut child, _) = started(stack.command("sh").args(["-c", &outer]));
    kill_process(pid(&child), Signal::HUP).unwrap();
    assert_eq!(ended(&mut child, Duration::from_secs(10)), 9);
}

#[test]
fn when_the_wrapper_is_killed_the_programs_tree_ends() {
    let stack = Stack::new();
    stack.write("s.sops.env", "KEY=a-secret-value\n");
    for script in [
        "sleep 300 & echo $!; wait",
        // One that does not listen to requests to end.
        "trap '' TERM; (trap '' TERM; sleep 300) & echo $!; wait; sleep 300",
    ] {
        let (mut child, line) =
            started(&mut stack.exec(&["--file", "s.sops.env", "--", "sh", "-c", script]));
        let inner: i32 = line.parse().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        crate::support::runtime::expect_gone(inner, Duration::from_secs(10));
    }
}

#[test]
fn what_stays_behind_does_not_hold_us() {
    let stack = Stack::new();
    stack.write("s.sops.env", "KEY=a-secret-value\n");
    let began = Instant::now();
    let args = [
        "--file",
        "s.sops.env",
        "--",
        "sh",
        "-c",
        "sleep 5 & echo done",
    ];
    let ran = Ran::of(&mut stack.exec(&args)).expect_code(0);
    assert_eq!(ran.stdout, "done\n");
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[test]
fn output_is_masked_and_whole() {
    let stack = Stack::new();
    stack.write("s.sops.env", "KEY=a-secret-value\nSHORT=abc\n");
    let script = "echo out $KEY $SHORT; echo err $KEY >&2; printf %s \"$KEY\" | base64";
    let args = ["--file", "s.sops.env", "--", "sh", "-c", script];
    let ran = Ran::of(&mut stack.exec(&args)).expect_code(0);
    assert_eq!(ran.stdout, "out [masked] abc\n[masked]=\n");
    assert_eq!(ran.stderr, "err [masked]\n");
    // A reader that is slow gets everything, a reader that goes ends the program as it would without us.
    let script = "i=0; while [ $i -lt 20000 ]; do echo \"line $i $KEY\"; i=$((i+1)); done";
    let args = ["--file", "s.sops.env", "--", "sh", "-c", script];
    let mut child = stack.exec(&args).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(ended(&mut child, Duration::from_secs(20)), 0);
    assert_eq!(text.lines().count(), 20000);
    assert!(text.lines().all(|line| line.ends_with(" [masked]")));
    let args = ["--file", "s.sops.env", "--", "sh", "-c", "exec yes $KEY"];
    let (mut child, line) = started(&mut stack.exec(&args));
    assert_eq!(line, "[masked]");
    drop(child.stdout.take());
    assert_eq!(ended(&mut child, Duration::from_secs(10)), 141);
}
