//! Hooks before a commit look at what is committed, whatever the work tree holds; the steps of `action.yml` do what they say.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::repository::Repository;
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};
use cofferdam::keys::Identity;
use serde_yaml::Value;

const SECRET: &str = "correct-horse-canary";

/// A repository with one narrow rule, one document and a README, all committed.
struct Ground(Repository);

impl std::ops::Deref for Ground {
    type Target = Repository;

    fn deref(&self) -> &Repository {
        &self.0
    }
}

impl Ground {
    fn new() -> Self {
        let recipient = Identity::mint().recipient().unwrap();
        let ground = Self(Repository::new());
        ground.write(
            ".sops.yaml",
            format!("creation_rules:\n  - path_regex: ^web/.*secret.*\\.yaml$\n    age: {recipient}\n  - path_regex: ^web/.*\\.sops\\.env$\n    age: {recipient}\n"),
        );
        ground.write("README.md", "words\n");
        ground.write("web/old.sops.env", "A=1\n");
        ground.git(&["config", "core.hooksPath", ".git/hooks"]);
        ground
            .cofferdam(&["encrypt", "-i", "web/old.sops.env"])
            .expect_code(0);
        ground.commit_all("one");
        ground
    }

    /// A git command with the binary under test on its PATH.
    fn with_hooks(&self, program: &str) -> Command {
        let folder = self.sandbox.path().join("bin");
        if !folder.exists() {
            std::fs::create_dir(&folder).unwrap();
            std::os::unix::fs::symlink(COFFERDAM, folder.join("cofferdam")).unwrap();
        }
        let mut command = self.sandbox.command(program, &self.tree);
        let path = command
            .get_envs()
            .find(|(name, _)| *name == "PATH")
            .and_then(|(_, value)| value)
            .map(std::ffi::OsStr::to_owned)
            .or_else(|| std::env::var_os("PATH"))
            .unwrap();
        let mut all = vec![folder];
        all.extend(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).unwrap());
        command
    }

    /// Installs the hooks' own lines as git's hook.
    fn install(&self, ids: &[&str]) {
        let mut script = "#!/bin/sh\nset -e\n".to_owned();
        for id in ids {
            script.push_str(&format!("{}\n", hook(id)["entry"].as_str().unwrap()));
        }
        let file = self.tree.join(".git/hooks/pre-commit");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn commit(&self, args: &[&str]) -> Ran {
        let mut command = self.with_hooks("git");
        Ran::of(command.args(["commit", "-m", "change"]).args(args))
    }

    /// What is committed of a file, if it is.
    fn committed(&self, path: &str) -> Option<String> {
        let mut show = self.sandbox.command("git", &self.tree);
        let ran = Ran::of(show.args(["show", &format!("HEAD:{path}")]));
        (ran.code == Some(0)).then_some(ran.stdout)
    }
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn hook(id: &str) -> Value {
    let hooks: Vec<Value> = serde_yaml::from_str(&file(".pre-commit-hooks.yaml")).unwrap();
    let found = hooks
        .into_iter()
        .find(|hook| hook["id"].as_str() == Some(id));
    found.unwrap()
}

const PLAINTEXT: &[&str] = &["cofferdam-plaintext"];
const BOTH: &[&str] = &["cofferdam-encrypt", "cofferdam-plaintext"];

#[test]
fn no_secret_is_committed_in_the_clear() {
    if !have_peers(&["git"]) {
        return;
    }
    let ground = Ground::new();
    ground.install(PLAINTEXT);
    let refused = |path: &str, text: &str, policy: &str| {
        ground.write(path, text);
        ground.git(&["add", "--force", path]);
        let ran = ground.commit(&["--quiet"]).expect_code(1);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(told.contains(policy) && told.contains(path), "{told}");
        assert!(!told.contains(SECRET), "{told}");
        ground.git(&["rm", "--quiet", "--force", "--cached", path]);
        std::fs::remove_file(ground.tree.join(path)).unwrap();
    };
    let secret = format!("A={SECRET}\n");
    refused("web/new.sops.env", &secret, "secret-not-encrypted");
    refused("web/old.env", &secret, "plaintext-tracked");
    let manifest = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nstringData:\n  p: {SECRET}\n"
    );
    refused("manifest.yaml", &manifest, "manifest-in-the-clear");
    let identity = Identity::mint().to_text();
    let identity = secrecy::ExposeSecret::expose_secret(&identity).to_owned();
    refused(
        "keys.txt",
        &format!("{identity}\n"),
        "identity-in-the-clear",
    );
    // What concerns nobody's staged files stops nobody: the document of old has no recovery recipient.
    ground.write("README.md", "other words\n");
    ground.git(&["add", "README.md"]);
    ground.commit(&["--quiet"]).expect_code(0);
    ground.cofferdam(&["check"]).expect_code(3);
}

#[test]
fn what_is_staged_counts_and_not_what_lies_there() {
    if !have_peers(&["git"]) {
        return;
    }
    let ground = Ground::new();
    ground.install(PLAINTEXT);
    let path = "web/new.sops.env";
    ground.write(path, format!("A={SECRET}\n"));
    ground.git(&["add", path]);
    // Encrypted since, but not staged anew.
    ground.cofferdam(&["encrypt", "-i", path]).expect_code(0);
    ground.commit(&["--quiet"]).expect_code(1);
    ground.git(&["add", path]);
    // The other way round: the work tree holds it in the clear.
    let encrypted = ground.read(path);
    ground.write(path, format!("A={SECRET}\n"));
    ground.commit(&["--quiet"]).expect_code(0);
    assert_eq!(ground.committed(path).unwrap(), encrypted);
    // An index that git makes for one commit alone.
    ground.commit(&["--quiet", "-a"]).expect_code(1);
    ground.commit(&["--quiet", path]).expect_code(1);
    ground.write("README.md", "other words\n");
    ground.commit(&["--quiet", "README.md"]).expect_code(0);
    assert_eq!(ground.committed(path).unwrap(), encrypted);
    // From a folder below.
    let below = ground.tree.join("web");
    let mut check = ground.sandbox.command(COFFERDAM, &below);
    ground.git(&["add", path]);
    let ran = Ran::of(check.args(["check", "--staged", "--only", "secret-not-encrypted"]));
    ran.expect_code(3);
    ground
        .cofferdam(&["check", "--staged", "--only", "no-such"])
        .expect_code(2);
    ground
        .cofferdam(&["check", "--staged", "--since", "HEAD"])
        .expect_code(2);
    let elsewhere = Sandbox::new();
    let mut check = elsewhere.command(COFFERDAM, elsewhere.path());
    Ran::of(check.args(["check", "--staged"])).expect_code(2);
}

#[test]
fn what_a_rule_says_is_a_secret_gets_encrypted() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let ground = Ground::new();
    ground.install(BOTH);
    let path = "web/my-secret.yaml";
    ground.write(path, format!("password: {SECRET}\n"));
    ground.write("web/new.sops.env", format!("A={SECRET}\n"));
    ground.write("web/plain.yaml", "a: b\n");
    ground.git(&["add", "."]);
    let ran = ground.commit(&["--quiet"]).expect_code(1);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(told.contains("encrypted web/my-secret.yaml"), "{told}");
    assert!(
        told.contains("git add -- web/my-secret.yaml web/new.sops.env"),
        "{told}"
    );
    assert!(!told.contains(SECRET), "{told}");
    for path in [path, "web/new.sops.env"] {
        assert!(!ground.read(path).contains(SECRET));
        ground
            .cofferdam(&["check", "--only", "secret-not-encrypted"])
            .expect_code(0);
    }
    assert_eq!(ground.read("web/plain.yaml"), "a: b\n");
    // Still staged in the clear: once more nothing passes, and nothing is encrypted twice.
    let once = ground.read(path);
    ground.commit(&["--quiet"]).expect_code(1);
    assert_eq!(ground.read(path), once);
    ground.git(&["add", "."]);
    ground.commit(&["--quiet"]).expect_code(0);
    assert_eq!(ground.committed(path).unwrap(), once);
    // A document that somebody decrypted in place.
    ground.write(path, format!("password: {SECRET}\n"));
    ground.commit(&["--quiet", "-a"]).expect_code(1);
    assert!(ground.read(path).contains("ENC["));
    // The work tree differs from what is staged: nothing is written, whatever else is staged.
    ground.git(&["reset", "--quiet", "--hard"]);
    ground.write(path, format!("password: {SECRET}\n"));
    ground.write("web/b-secret.yaml", format!("password: {SECRET}\n"));
    ground.git(&["add", "."]);
    ground.write(path, "password: another\n");
    let ran = ground.cofferdam(&["encrypt", "--staged"]).expect_code(1);
    assert!(
        ran.stderr.contains("the work tree holds another version"),
        "{}",
        ran.stderr
    );
    assert_eq!(ground.read(path), "password: another\n");
    assert!(ground.read("web/b-secret.yaml").contains(SECRET));
}

#[test]
fn a_rule_that_matches_other_files_too_encrypts_nothing() {
    if !have_peers(&["git"]) {
        return;
    }
    let ground = Ground::new();
    let recipient = Identity::mint().recipient().unwrap();
    ground.write(
        ".sops.yaml",
        format!("creation_rules:\n  - path_regex: .*.yaml\n    age: {recipient}\n  - path_regex: .*.md\n    age: {recipient}\n"),
    );
    ground.git(&["add", "."]);
    ground.write("web/compose.yaml", "services: {}\n");
    ground.write("web/values.yaml", "a: b\n");
    // In the clear at HEAD, and changed: nobody means it to be encrypted.
    ground.write("README.md", "other words\n");
    ground.git(&["add", "."]);
    let ran = ground.cofferdam(&["encrypt", "--staged"]).expect_code(0);
    for told in [
        "left in the clear: web/values.yaml: their rule (.*.yaml) matches",
        "cofferdam encrypt -i FILE && git add -- FILE",
    ] {
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("README.md"), "{}", ran.stderr);
    assert_eq!(ground.read("web/values.yaml"), "a: b\n");
    assert_eq!(ground.read("web/compose.yaml"), "services: {}\n");
    assert_eq!(ground.read("README.md"), "other words\n");
    // A rule for whatever there is: told in one line, but for files that are named like documents.
    ground.write(
        ".sops.yaml",
        format!("creation_rules:\n  - age: {recipient}\n"),
    );
    for n in 10..30 {
        ground.write(&format!("web/{n}.yaml"), "a: b\n");
    }
    ground.write("web/new.sops.yaml", format!("a: {SECRET}\n"));
    ground.git(&["add", "."]);
    let ran = ground.cofferdam(&["encrypt", "--staged"]).expect_code(3);
    let told = "web/19.yaml, and 11 more: their rule (without a path_regex) matches";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("left in the clear").count(), 1);
    assert!(!ground.read("web/new.sops.yaml").contains(SECRET));
    assert_eq!(ground.read("web/10.yaml"), "a: b\n");
}

#[test]
fn an_empty_repository_and_one_without_rules() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let tree = sandbox.path().join("r");
    std::fs::create_dir(&tree).unwrap();
    sandbox.git(&tree, &["init", "--quiet"]);
    let run = |args: &[&str]| Ran::of(sandbox.command(COFFERDAM, &tree).args(args));
    run(&["encrypt", "--staged"]).expect_code(0);
    run(&["check", "--staged"]).expect_code(0);
    std::fs::write(tree.join("a.sops.env"), "A=1\n").unwrap();
    sandbox.git(&tree, &["add", "."]);
    run(&["encrypt", "--staged"]).expect_code(0);
    run(&["check", "--staged"]).expect_code(3);
    std::fs::write(tree.join(".sops.yaml"), "creation_rules: {a: 1}\n").unwrap();
    sandbox.git(&tree, &["add", "."]);
    run(&["encrypt", "--staged"]).expect_code(1);
}

#[test]
fn the_hooks_run_under_pre_commit() {
    if !have_peers(&["git", "pre-commit"]) {
        return;
    }
    let ground = Ground::new();
    let hooks = ground.sandbox.path().join("hooks");
    std::fs::create_dir(&hooks).unwrap();
    std::fs::write(
        hooks.join(".pre-commit-hooks.yaml"),
        file(".pre-commit-hooks.yaml"),
    )
    .unwrap();
    ground.sandbox.git(&hooks, &["init", "--quiet"]);
    ground.sandbox.git(&hooks, &["add", "."]);
    ground
        .sandbox
        .git(&hooks, &["commit", "--quiet", "-m", "hooks"]);
    let rev = ground.sandbox.git(&hooks, &["rev-parse", "HEAD"]);
    ground.git(&["config", "--unset", "core.hooksPath"]);
    let config = format!(
        "repos:\n  - repo: {}\n    rev: {}\n    hooks:\n      - id: cofferdam-encrypt\n      - id: cofferdam-plaintext\n",
        hooks.display(),
        rev.trim()
    );
    ground.write(".pre-commit-config.yaml", &config);
    ground.git(&["add", "."]);
    ground.git(&["commit", "--quiet", "-m", "hooks"]);
    Ran::of(ground.with_hooks("pre-commit").arg("install")).expect_code(0);
    ground.write("web/new.sops.env", format!("A={SECRET}\n"));
    ground.git(&["add", "."]);
    let ran = ground.commit(&[]).expect_code(1);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(told.contains("encrypted web/new.sops.env"), "{told}");
    assert!(told.contains("secret-not-encrypted"), "{told}");
    assert!(ground.read("web/new.sops.env").contains("ENC["));
    ground.git(&["add", "."]);
    // What is not staged is put aside by pre-commit while hooks run, and back afterwards.
    ground.write("README.md", "other words\n");
    ground.commit(&[]).expect_code(0);
    assert_eq!(ground.read("README.md"), "other words\n");
    assert!(
        ground
            .committed("web/new.sops.env")
            .unwrap()
            .contains("ENC[")
    );
}

/// Runs a step of the action with its inputs, as the runner would; gives what it set.
fn step(
    ground: &Ground,
    step: &Value,
    values: &BTreeMap<String, String>,
) -> (Ran, BTreeMap<String, String>) {
    let filled = |text: &str| -> String {
        let mut text = text.to_owned();
        while let Some(at) = text.find("${{") {
            let end = at + text[at..].find("}}").unwrap();
            let name = text[at + 3..end].trim();
            let value = values.get(name).unwrap_or_else(|| panic!("no {name}"));
            text.replace_range(at..end + 2, value);
        }
        text
    };
    let run = step["run"].as_str().unwrap();
    assert!(
        !run.contains("${{"),
        "inputs reach a shell by the environment alone: {run}"
    );
    assert_eq!(step["shell"].as_str(), Some("bash"));
    let outputs = ground.sandbox.path().join("outputs");
    std::fs::write(&outputs, "").unwrap();
    let mut command = ground.with_hooks("bash");
    command
        .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", run])
        .env("GITHUB_OUTPUT", &outputs);
    if let Some(folder) = step["working-directory"].as_str() {
        command.current_dir(ground.tree.join(filled(folder)));
    }
    for (name, value) in step["env"].as_mapping().unwrap() {
        command.env(name.as_str().unwrap(), filled(value.as_str().unwrap()));
    }
    let ran = Ran::of(&mut command);
    let set = std::fs::read_to_string(&outputs).unwrap();
    let set = set.lines().filter_map(|line| line.split_once('='));
    let set = set.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    (ran, set)
}

#[test]
fn the_steps_of_the_action_check_and_judge() {
    if !have_peers(&["git", "bash"]) {
        return;
    }
    let action: Value = serde_yaml::from_str(&file("action.yml")).unwrap();
    assert_eq!(action["runs"]["using"].as_str(), Some("composite"));
    let steps = action["runs"]["steps"].as_sequence().unwrap();
    let ground = Ground::new();
    let run = |inputs: &[(&str, &str)]| {
        let mut values = BTreeMap::new();
        for (name, input) in action["inputs"].as_mapping().unwrap() {
            let name = name.as_str().unwrap();
            let given = inputs.iter().find(|(given, _)| *given == name);
            let value = given.map_or(input["default"].as_str().unwrap(), |(_, value)| *value);
            values.insert(format!("inputs.{name}"), value.to_owned());
        }
        let place = |name: &str| ground.sandbox.path().join(name).display().to_string();
        values.insert("github.action_path".to_owned(), place("action"));
        values.insert("runner.temp".to_owned(), place("runner"));
        let mut ended = None;
        for one in steps.iter().filter(|s| s.get("run").is_some()) {
            let (ran, set) = step(&ground, one, &values);
            let failed = ran.code != Some(0);
            let id = one["id"].as_str().unwrap_or_default();
            for (name, value) in set {
                values.insert(format!("steps.{id}.outputs.{name}"), value);
            }
            ended = Some((one["name"].as_str().unwrap(), ran));
            if failed {
                break;
            }
        }
        (ended.unwrap(), values)
    };
    let binary = ("binary", COFFERDAM);
    let ((last, ran), values) = run(&[binary, ("policy", "strict homelab")]);
    assert_eq!((last, ran.code), ("judge", Some(3)));
    let sarif = std::fs::read_to_string(&values["steps.check.outputs.sarif"]).unwrap();
    let sarif: serde_json::Value = serde_json::from_str(&sarif).unwrap();
    assert!(!sarif["runs"][0]["results"].as_array().unwrap().is_empty());
    let uploads = steps.iter().find(|s| s.get("uses").is_some()).unwrap();
    let file = uploads["with"]["sarif_file"].as_str().unwrap();
    assert_eq!(file, "${{ steps.check.outputs.sarif }}");
    // Annotations, for the log.
    let check = steps
        .iter()
        .find(|s| s["id"].as_str() == Some("check"))
        .unwrap();
    let (shown, _) = step(&ground, check, &values);
    assert!(shown.stdout.contains("::error "), "{}", shown.stdout);
    std::fs::write(
        ground.tree.join("own.toml"),
        "[[policy]]\nname = \"none\"\nabout = \"file\"\nseverity = \"note\"\nwhen = \"false\"\nmessage = \"m\"\nremedy = \"r\"\n",
    )
    .unwrap();
    let ((last, ran), _) = run(&[binary, ("policy", "own.toml"), ("since", "HEAD")]);
    assert_eq!((last, ran.code), ("judge", Some(0)), "{}", ran.stderr);
    let ((last, ran), _) = run(&[binary, ("policy", "absent.toml")]);
    assert_eq!((last, ran.code), ("ask policies", Some(2)));
    let ((last, _), _) = run(&[binary, ("since", "$(touch pwned); no-such")]);
    assert_eq!(last, "ask policies");
    assert!(!ground.tree.join("pwned").exists());
}
