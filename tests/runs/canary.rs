//! No plaintext and no identity appears where it does not belong: not in output, logs, journal, argv, git objects or
//! any file but a reader's own key file, whatever is done and wherever it is killed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::homeops::Homeops;
use crate::support::{Ran, have_peers};

/// The marked value.
const CANARY: &str = "canary-Zq7TfM3xWv9LpK2n";
const SECRETS: [(&str, &str, &str); 3] = [
    (
        "docker/stacks/kasm/canary/.sops.env",
        "dotenv",
        "# canary-Zq7TfM3xWv9LpK2n\nA=canary-Zq7TfM3xWv9LpK2n\n",
    ),
    (
        "docker/stacks/racknerd-aegis/canary/.sops.json",
        "json",
        "{\"a\": [\"canary-Zq7TfM3xWv9LpK2n\"]}\n",
    ),
    (
        "kubernetes/apps/canary-secret.yaml",
        "yaml",
        "stringData:\n  # canary-Zq7TfM3xWv9LpK2n\n  a: |\n    x\n    canary-Zq7TfM3xWv9LpK2n\n",
    ),
];

/// What must not be found, and where it was looked for.
struct Watch {
    homeops: Homeops,
    /// Texts beside the canary: each identity known so far.
    identities: Vec<String>,
    argv_log: PathBuf,
}

impl Watch {
    fn new() -> Self {
        let homeops = Homeops::new();
        let repository = homeops.repository();
        for (path, kind, text) in SECRETS {
            let file = repository.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            let mut sops = homeops.sandbox.command("sops", &repository);
            sops.args(["--config", "/dev/null", "encrypt", "-i", "--age"])
                .arg(homeops.shared.as_str())
                .args(["--input-type", kind, "--output-type", kind, path]);
            Ran::of(&mut sops).expect_code(0);
        }
        homeops.sandbox.git(&repository, &["add", "-A"]);
        homeops
            .sandbox
            .git(&repository, &["commit", "-qm", "secrets"]);
        let mut watch = Self {
            argv_log: homeops.sandbox.path().join("argv.log"),
            homeops,
            identities: Vec::new(),
        };
        watch.wrap_programs();
        watch.learn_identities();
        watch
    }

    /// Puts programs before the real ones that write their arguments down.
    fn wrap_programs(&self) {
        let bin = self.homeops.sandbox.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for program in ["git", "sh"] {
            let real =
                Ran::of(Command::new("/bin/sh").args(["-c", &format!("command -v {program}")]));
            let text = format!(
                "#!/bin/sh\nprintf '%s\\n' \"$@\" >> '{}'\nexec {} \"$@\"\n",
                self.argv_log.display(),
                real.stdout.trim()
            );
            std::fs::write(bin.join(program), text).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(bin.join(program), mode).unwrap();
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.homeops.command(args);
        let own = self.homeops.sandbox.path().join("bin");
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", own.display()));
        command
    }

    /// Collects the identities that lie in key files by now.
    fn learn_identities(&mut self) {
        let sandbox = self.homeops.sandbox.path();
        for file in files_below(sandbox) {
            let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
            for line in text.lines().filter(|l| l.starts_with("AGE-SECRET-KEY-1")) {
                if !self.identities.iter().any(|known| known == line.trim()) {
                    self.identities.push(line.trim().to_owned());
                }
            }
        }
    }

    /// Fails if a command's words hold what they must not.
    #[track_caller]
    fn check_output(&self, what: &str, ran: &Ran) {
        for (stream, text) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
            self.check_bytes(&format!("{stream} of {what}"), text.as_bytes(), false);
        }
    }

    /// Fails if `bytes` hold the canary or, unless they are a reader's key file, an identity.
    #[track_caller]
    fn check_bytes(&self, place: &str, bytes: &[u8], is_key_file: bool) {
        assert!(!holds(bytes, CANARY), "{place} holds a value");
        if is_key_file {
            return;
        }
        for identity in &self.identities {
            assert!(!holds(bytes, identity), "{place} holds an identity");
            // The part that tells it apart, in whatever frame.
            let body = &identity["AGE-SECRET-KEY-1".len()..];
            assert!(
                !holds(bytes, &body[..24]),
                "{place} holds part of an identity"
            );
            assert!(
                !holds(bytes, &body[..24].to_lowercase()),
                "{place} holds part of an identity"
            );
        }
        // One that is not known yet.
        let text = String::from_utf8_lossy(bytes);
        for (at, _) in text.match_indices("AGE-SECRET-KEY-1") {
            let rest = &text[at + "AGE-SECRET-KEY-1".len()..];
            let body: String = rest
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            assert!(body.len() < 20, "{place} holds an identity");
        }
    }

    /// Fails if any file in the sandbox or any git object holds what it must not.
    #[track_caller]
    fn check_files(&mut self, moment: &str) {
        self.learn_identities();
        let sandbox = self.homeops.sandbox.path();
        let plain = sandbox.join("plain");
        let key_files = ["keys.txt", "laptop.txt", "recovery.txt"].map(|name| sandbox.join(name));
        for file in files_below(sandbox) {
            if file.starts_with(&plain) {
                continue;
            }
            let is_key_file = file.starts_with(self.homeops.targets()) || key_files.contains(&file);
            // A run may rename or remove what was just listed only while it lives; here none does.
            let bytes = std::fs::read(&file).unwrap();
            let place = format!(
                "{moment}: {}",
                file.strip_prefix(sandbox).unwrap().display()
            );
            self.check_bytes(&place, &bytes, is_key_file);
        }
        let mut git = self
            .homeops
            .sandbox
            .command("git", &self.homeops.repository());
        git.args(["cat-file", "--batch-all-objects", "--batch", "--unordered"]);
        let objects = Ran::of(&mut git).expect_code(0);
        assert!(objects.stdout_bytes.len() > 10_000);
        self.check_bytes(
            &format!("{moment}: git objects"),
            &objects.stdout_bytes,
            false,
        );
    }

    /// Runs a command and looks at its words and at all files afterwards.
    #[track_caller]
    fn run(&mut self, args: &[&str], code: i32) -> Ran {
        let what = args.join(" ");
        let ran = Ran::of(&mut self.command(args)).expect_code(code);
        self.check_files(&what);
        self.check_output(&what, &ran);
        ran
    }
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn the_whole_path_shows_nothing() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let mut watch = Watch::new();
    let out = watch.run(&["recovery", "create", "--out", "../recovery.txt"], 0);
    let recovery = out.stdout.trim().to_owned();
    let operator = format!("laptop={}", watch.homeops.laptop);
    watch.run(
        &[
            "init",
            "--yes",
            "--recovery",
            &recovery,
            "--operator",
            &operator,
            "--local-root",
            "../targets",
        ],
        0,
    );
    watch.run(&["plan", "split"], 0);
    watch.run(&["plan", "split", "--json"], 0);
    watch.run(&["plan", "split", "--out", "../plan.json"], 0);
    for phase in ["ship", "prove", "rewrite", "publish", "retire"] {
        let first = phase == "ship";
        let command: &[&str] = if first {
            &["split", "--yes", "--hold-at", phase]
        } else {
            &["resume", "--hold-at", phase]
        };
        watch.run(command, 0);
    }
    watch.run(&["resume"], 0);
    watch.run(&["split", "--yes"], 0);
    watch.run(&["status"], 0);

    let (env, ..) = SECRETS[0];
    watch.run(&["verify", "."], 0);
    watch.run(&["renew", env], 0);
    // Standard output of `decrypt` is the one place for a value.
    let ran = Ran::of(&mut watch.command(&["decrypt", env])).expect_code(0);
    assert!(ran.stdout.contains(CANARY));
    watch.check_bytes("stderr of decrypt", ran.stderr.as_bytes(), false);
    let plain = watch.homeops.sandbox.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let (.., text) = SECRETS[2];
    std::fs::write(plain.join("new-secret.yaml"), text).unwrap();
    let to = watch.homeops.laptop.to_string();
    watch.run(
        &[
            "encrypt",
            "--config",
            "/dev/null",
            "--age",
            &to,
            "../plain/new-secret.yaml",
        ],
        0,
    );

    let argv = std::fs::read(&watch.argv_log).unwrap();
    assert!(!argv.is_empty());
    watch.check_bytes("argv", &argv, false);
}

#[test]
fn a_killed_split_leaves_nothing() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let mut watch = Watch::new();
    let recovery = watch.homeops.recovery_create();
    watch.homeops.init(&recovery).expect_code(0);
    let mut goal: &[&str] = &["split", "--yes"];
    let mut ended = false;
    for round in 0..200u64 {
        let mut child = watch
            .command(goal)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Later and later, so that the run gets on.
        std::thread::sleep(Duration::from_millis(15 + 37 * round % 400 + 10 * round));
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        for stream in [&output.stdout, &output.stderr] {
            watch.check_bytes("output of a killed run", stream, false);
        }
        // What git does on its behalf ends on its own.
        std::thread::sleep(Duration::from_millis(50));
        watch.check_files(&format!("after kill {round}"));
        if output.status.success() {
            ended = true;
            break;
        }
        if watch
            .homeops
            .repository()
            .join(".cofferdam/journal")
            .is_dir()
        {
            goal = if round % 2 == 0 {
                &["resume", "--yes"]
            } else {
                &["split", "--yes"]
            };
        }
    }
    assert!(ended, "the run never ended");
    watch.run(&["resume", "--yes"], 0);
    watch.run(&["split", "--yes"], 0);
    for (path, ..) in SECRETS {
        let read = watch
            .homeops
            .sops_decrypt(path, &watch.homeops.laptop_file());
        assert!(read.expect_code(0).stdout.contains(CANARY));
    }
}

#[test]
fn mistakes_are_told_without_repeating_secrets() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let mut watch = Watch::new();
    let recovery = watch.homeops.recovery_create();
    watch.homeops.init(&recovery).expect_code(0);
    watch.learn_identities();
    let plain = watch.homeops.sandbox.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    // Plain files that do not parse.
    let broken = [
        ("a.yaml", format!("a: \"{CANARY}\nb: [{CANARY}\n")),
        ("b.yaml", format!("a: {CANARY}: {CANARY}\n\t- {CANARY}\n")),
        ("c.yaml", format!("{CANARY}: &x 1\n{CANARY}: *{CANARY}\n")),
        ("a.json", format!("{{\"a\": {CANARY}}}\n")),
        (
            "b.json",
            format!("{{\"{CANARY}\": \"{CANARY}\", \"{CANARY}\n"),
        ),
        ("a.env", format!("{CANARY}\n")),
        ("a.ini", format!("[{CANARY}\n{CANARY}\n")),
    ];
    let to = watch.homeops.laptop.to_string();
    for (name, text) in &broken {
        std::fs::write(plain.join(name), text).unwrap();
        let path = format!("../plain/{name}");
        for args in [
            &["encrypt", "--age", &to, &path][..],
            &["decrypt", &path],
            &["verify", &path],
        ] {
            let ran = Ran::of(&mut watch.command(args));
            assert_ne!(ran.code, Some(101), "{args:?}: {}", ran.stderr);
            watch.check_output(&args.join(" "), &ran);
        }
    }
    // An identity where a recipient belongs.
    let identity = watch.identities[0].clone();
    let operator = format!("laptop={identity}");
    let topology = watch.homeops.repository().join("cofferdam.toml");
    let good = std::fs::read_to_string(&topology).unwrap();
    std::fs::write(&topology, good.replace(&to, &identity)).unwrap();
    let mut calls: Vec<Vec<&str>> = vec![
        vec!["plan", "split"],
        vec!["split", "--yes"],
        vec!["status"],
    ];
    calls.push(vec!["split", "--drop", &identity]);
    calls.push(vec!["encrypt", "--age", &identity, "../plain/a.env"]);
    calls.push(vec![
        "init",
        "--yes",
        "--recovery",
        &identity,
        "--operator",
        &operator,
    ]);
    calls.push(vec!["init", "--yes", "--operator", &operator]);
    for args in calls {
        if args[0] == "init" {
            std::fs::remove_file(&topology).ok();
        }
        let ran = Ran::of(&mut watch.command(&args));
        assert!(
            ran.code.is_some_and(|code| code != 0 && code != 101),
            "{args:?}"
        );
        watch.check_output(args[0], &ran);
    }
}
