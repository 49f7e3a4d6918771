//! Runbooks of a repository's own: what their files may hold, who decides that they run, and how they stop and go on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};
use cofferdam::keys::Identity;
use secrecy::ExposeSecret;

/// A repository with a folder of runbooks.
struct Repository {
    sandbox: Sandbox,
}

impl Repository {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.git(sandbox.path(), &["init", "-q", "r"]);
        std::fs::create_dir(sandbox.path().join("r/runbooks")).unwrap();
        Self { sandbox }
    }

    fn root(&self) -> PathBuf {
        self.sandbox.path().join("r")
    }

    /// Writes a runbook with these steps.
    fn book(&self, name: &str, steps: &str) {
        self.text(name, &format!("version = 1\ntitle = \"A test\"\n{steps}"));
    }

    fn text(&self, name: &str, text: &str) {
        let file = self.root().join(format!("runbooks/{name}.toml"));
        std::fs::write(file, text).unwrap();
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.command(COFFERDAM, &self.root());
        command.arg("runbook").args(args);
        command
    }

    fn call(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    fn run(&self, name: &str, more: &[&str]) -> Ran {
        let mut args = vec!["run", name, "--yes"];
        args.extend(more);
        self.call(&args)
    }

    /// What steps wrote into the file `log`.
    fn log(&self) -> String {
        std::fs::read_to_string(self.root().join("log")).unwrap_or_default()
    }
}

fn steps(commands: &[(&str, &str)]) -> String {
    commands
        .iter()
        .map(|(name, command)| format!("[[steps]]\nname = \"{name}\"\nrun = '''{command}'''\n"))
        .collect()
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    repository.text(
        "bad",
        "version = 1\ntitel = \"x\"\n[[steps]]\nname = \"a\"\n[[steps]]\nname = \"a\"\nrun = [\"x\", \"{{host}}\"]\n",
    );
    for args in [&["show", "bad"][..], &["run", "bad", "--yes"]] {
        let ran = repository.call(args).expect_code(1);
        for wanted in [
            "runbooks/bad.toml:2:1: the runbook: unknown key \"titel\"",
            "did you mean title?",
            "step \"a\" does nothing",
            "two steps are called \"a\"",
            "step \"a\" has no parameter {{host}}",
        ] {
            assert!(ran.stderr.contains(wanted), "{wanted}\n{}", ran.stderr);
        }
    }
    // Bytes of all kinds never make it panic.
    for text in [
        &b"\xff\xfe"[..],
        b"",
        b"version = 1",
        b"steps = [[]]",
        b"[[steps]]\n[[steps.run]]\n",
        b"title = \"\\u0000\"",
    ] {
        std::fs::write(repository.root().join("runbooks/bad.toml"), text).unwrap();
        let ran = repository.run("bad", &[]).expect_code(1);
        assert!(ran.stderr.contains("error:"), "{}", ran.stderr);
    }
    repository.call(&["list"]).expect_code(0);
    repository.call(&["list", "--json"]).expect_code(0);
    // Neither a link nor a name that leads elsewhere is followed.
    std::os::unix::fs::symlink(
        "/etc/hostname",
        repository.root().join("runbooks/link.toml"),
    )
    .unwrap();
    repository.run("link", &[]).expect_code(1);
    for name in ["../r/runbooks/bad", "", ".", "a/b", "-x"] {
        repository
            .call(&["run", "--yes", "--", name])
            .expect_code(2);
    }
    repository.call(&["show", "split"]).expect_code(0);
}

#[test]
fn commands_run_in_the_root_read_nothing_and_get_no_identity() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    repository.book(
        "look",
        &steps(&[
            ("where", "pwd > log"),
            ("input", "cat >> log; echo read >> log"),
            ("environment", "env >> log"),
        ]),
    );
    let below = repository.root().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    let identity = Identity::mint().to_text();
    let mut command = repository.command(&["run", "look", "--yes"]);
    command
        .current_dir(&below)
        .env("SOPS_AGE_KEY", identity.expose_secret())
        .stdin(std::process::Stdio::piped());
    Ran::of(&mut command).expect_code(0);
    let log = repository.log();
    let root = repository.root().canonicalize().unwrap();
    assert!(
        log.starts_with(&format!("{}\nread\n", root.display())),
        "{log}"
    );
    assert!(!log.contains("SOPS_AGE_KEY"));
}

/// Protocol rule 22: what a pull changed does not run because a timer says `--yes`.
#[test]
fn rule_22_changed_commands_are_accepted_by_name() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    repository.book("job", &steps(&[("one", "echo one >> log")]));
    // Nothing ran under this name: `--yes` suffices.
    repository.run("job", &[]).expect_code(0);
    repository.run("job", &[]).expect_code(0);
    assert_eq!(repository.log(), "one\none\n");
    repository.book("job", &steps(&[("one", "echo two >> log")]));
    let refused = repository.run("job", &[]).expect_code(1);
    assert!(
        refused.stderr.contains("--accept job"),
        "{}",
        refused.stderr
    );
    repository.run("job", &["--accept", "other"]).expect_code(1);
    assert_eq!(repository.log(), "one\none\n");
    repository.run("job", &["--accept", "job"]).expect_code(0);
    repository.run("job", &[]).expect_code(0);
    assert_eq!(repository.log(), "one\none\ntwo\ntwo\n");
    // A file that comes to stand before a built-in runbook is a change as well.
    repository.book("rotate", &steps(&[("one", "echo three >> log")]));
    repository.run("rotate", &[]).expect_code(1);
    assert!(!repository.log().contains("three"));
    let shown = repository.call(&["show", "rotate"]).expect_code(0);
    assert!(shown.stdout.contains("echo three"));
    repository
        .run("rotate", &["--accept", "rotate"])
        .expect_code(0);
    // What is confirmed lies where no commit can put anything.
    let files: Vec<String> = std::fs::read_dir(repository.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name == ".cofferdam")
        .collect();
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn a_value_is_one_plain_word() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    let parameter = "[parameters.host]\nabout = \"a host\"\n[parameters.port]\nabout = \"its port\"\ndefault = \"22\"\n";
    let step = "[[steps]]\nname = \"a\"\nrun = \"echo {{host}}:{{port}} >> log\"\n";
    repository.book("job", &format!("{parameter}{step}"));
    let missing = repository.run("job", &[]).expect_code(2);
    assert!(
        missing.stderr.contains("needs a value for host: a host"),
        "{}",
        missing.stderr
    );
    for bad in [
        "host=a;id",
        "host=$(id)",
        "host=-x",
        "host=",
        "host=a b",
        "hots=a",
        "host",
        "host=a\nb",
    ] {
        repository.run("job", &["--set", bad]).expect_code(2);
    }
    let identity = Identity::mint().to_text();
    let secret = format!("host={}", identity.expose_secret());
    let refused = repository.run("job", &["--set", &secret]).expect_code(2);
    assert!(!refused.stderr.contains(identity.expose_secret()));
    assert_eq!(repository.log(), "");
    repository
        .run("job", &["--set", "host=root@nvr"])
        .expect_code(0);
    repository
        .run("job", &["--set", "host=nvr", "--set", "port=2222"])
        .expect_code(0);
    assert_eq!(repository.log(), "root@nvr:22\nnvr:2222\n");
}

#[test]
fn a_killed_runbook_goes_on_with_the_step_it_was_in() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    let again = "[[steps]]\nname = \"mount\"\nrun = \"echo mount >> log\"\nagain = true\n";
    let rest = steps(&[
        ("first", "echo first >> log"),
        // The runbook is killed from within the step, the first time.
        (
            "second",
            "echo second >> log; test -e once || { touch once; kill -9 $PPID; }",
        ),
        ("third", "echo third >> log"),
    ]);
    repository.book("job", &format!("{again}{rest}"));
    assert_eq!(repository.run("job", &[]).code, None);
    let ran = repository.run("job", &[]).expect_code(0);
    assert!(
        ran.stderr.contains("second (goes on here)"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        repository.log(),
        "mount\nfirst\nsecond\nmount\nsecond\nthird\n"
    );
    // It has ended: the next one begins anew.
    repository.run("job", &["--from", "third"]).expect_code(0);
    assert!(repository.log().ends_with("third\nthird\n"));
    let unknown = repository.run("job", &["--from", "fourth"]).expect_code(2);
    assert!(
        unknown.stderr.contains("mount, first, second, third"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn a_step_that_fails_is_tried_again_and_none_before_it() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    let book = steps(&[
        ("first", "echo first >> log"),
        ("second", "test -e ready || exit 7"),
        ("third", "echo third >> log"),
    ]);
    repository.book("job", &book);
    let stopped = repository.run("job", &[]).expect_code(5);
    assert!(stopped.stderr.contains("exit code 7"), "{}", stopped.stderr);
    repository.run("job", &[]).expect_code(5);
    // It was begun with another text.
    repository.book("job", &book.replace("third >>", "THIRD >>"));
    let other = repository.run("job", &["--accept", "job"]).expect_code(1);
    assert!(other.stderr.contains("--restart"), "{}", other.stderr);
    repository.book("job", &book);
    std::fs::write(repository.root().join("ready"), "").unwrap();
    repository.run("job", &[]).expect_code(0);
    assert_eq!(repository.log(), "first\nthird\n");
    // Left out by the operator; and it stays left out when the runbook is continued.
    std::fs::remove_file(repository.root().join("ready")).unwrap();
    repository.run("job", &["--from", "second"]).expect_code(5);
    std::fs::write(repository.root().join("ready"), "").unwrap();
    repository.run("job", &[]).expect_code(0);
    assert_eq!(repository.log(), "first\nthird\nthird\n");
    repository.run("job", &["--restart"]).expect_code(0);
    assert_eq!(repository.log(), "first\nthird\nthird\nfirst\nthird\n");
}

#[test]
fn exit_codes_say_what_a_timer_needs_to_know() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    let allowed = "[[steps]]\nname = \"look\"\nrun = \"exit 3\"\nallow = [0, 3]\n";
    repository.book("findings", allowed);
    repository.run("findings", &[]).expect_code(3);
    let then = format!("{allowed}{}", steps(&[("mend", "true")]));
    repository.book("mended", &then);
    repository.run("mended", &[]).expect_code(0);
    repository.book(
        "missing",
        "[[steps]]\nname = \"a\"\nrun = [\"no-such-program\"]\n",
    );
    let missing = repository.run("missing", &[]).expect_code(5);
    assert!(
        missing.stderr.contains("cannot run no-such-program"),
        "{}",
        missing.stderr
    );
    repository.book("killed", &steps(&[("a", "kill -9 $$")]));
    repository.run("killed", &[]).expect_code(5);
    // Nothing begins without a word of the operator's.
    repository.call(&["run", "mended"]).expect_code(2);
    repository.run("nothing", &[]).expect_code(2);
}

#[test]
fn waiting_ends_with_success_or_in_time() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    let wait = |command: &str, timeout: &str| {
        format!(
            "[[steps]]\nname = \"wait\"\nwait_until = '''{command}'''\nevery = \"1 second\"\ntimeout = \"{timeout}\"\n"
        )
    };
    let tries = "echo try >> log; test $(wc -l < log) -ge 3";
    repository.book("comes", &wait(tries, "20 seconds"));
    repository.run("comes", &[]).expect_code(0);
    assert_eq!(repository.log(), "try\ntry\ntry\n");
    repository.book("never", &wait("false", "2 seconds"));
    let never = repository.run("never", &[]).expect_code(5);
    assert!(
        never.stderr.contains("within 2 seconds"),
        "{}",
        never.stderr
    );
    // A try that hangs ends with everything that it started.
    repository.book(
        "hangs",
        &wait("sleep 600 & echo $! > pid; wait", "1 second"),
    );
    let began = Instant::now();
    repository.run("hangs", &[]).expect_code(5);
    assert!(began.elapsed() < Duration::from_secs(20));
    let pid = std::fs::read_to_string(repository.root().join("pid")).unwrap();
    let began = Instant::now();
    while is_running(pid.trim()) {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{pid} still runs"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a process is there and not a zombie.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

#[test]
fn one_runbook_at_a_time_and_what_a_dead_one_started_is_waited_for() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    repository.book(
        "slow",
        &steps(&[("a", "echo began >> log; sleep 3; echo ended >> log")]),
    );
    repository.book("next", &steps(&[("a", "echo next >> log")]));
    let mut slow = repository
        .command(&["run", "slow", "--yes"])
        .spawn()
        .unwrap();
    while repository.log().is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let busy = repository.run("next", &[]).expect_code(1);
    assert!(busy.stderr.contains("another runbook"), "{}", busy.stderr);
    slow.kill().unwrap();
    slow.wait().unwrap();
    // Its command lives on; the next runbook waits for its end.
    repository.run("next", &[]).expect_code(0);
    assert_eq!(repository.log(), "began\nended\nnext\n");
}

#[test]
fn a_question_is_answered_by_yes_unless_it_is_about_hands_work() {
    if !have_peers(&["git"]) {
        return;
    }
    let repository = Repository::new();
    repository.book(
        "ask",
        "[[steps]]\nname = \"soft\"\nconfirm = \"Fine?\"\n[[steps]]\nname = \"hard\"\nconfirm = \"Paper in the safe?\"\nby_hand = true\n",
    );
    let waits = repository.run("ask", &[]).expect_code(5);
    assert!(
        waits.stderr.contains("Paper in the safe?"),
        "{}",
        waits.stderr
    );
    repository.run("ask", &["--confirm", "hard"]).expect_code(0);
    repository
        .run("ask", &["--confirm", "harder"])
        .expect_code(2);
}
