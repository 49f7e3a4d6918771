//! `check --fix`: what it repairs, byte by byte, what it leaves, and that it takes nothing away; `verify --record`.

use crate::support::repository::Repository;
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers, snapshot, tests_folder};
use serde_json::Value;

const CANARY: &str = "correct-horse-canary";

/// Two stacks: one that cofferdam runs already, and one that decrypts into files; a document beside each.
fn stacks() -> Repository {
    let keys = tests_folder().join("throwaway_keys/alice.txt");
    let text = std::fs::read_to_string(&keys).unwrap();
    let recipient = text.split("public key: ").nth(1).unwrap();
    let recipient = recipient.lines().next().unwrap();
    let stacks = Repository {
        keys: Some(keys),
        ..Repository::new()
    };
    for folder in ["s/web", "s/db"] {
        let file = format!("{folder}/.sops.env");
        stacks.write(&file, format!("A={CANARY}\nPORT_unencrypted=8080\n"));
        stacks
            .cofferdam(&["encrypt", "--age", recipient, "-i", &file])
            .expect_code(0);
    }
    stacks.write("ours.toml", "# kept\n[[stack]]\nname   =  \"web\" # odd spaces\n[stack.config]\nrun_directory = \"s/web\"\nfile_paths = [\"compose.yaml\"]\ncompose_cmd_wrapper = \"cofferdam exec --dir . -- [[COMPOSE_COMMAND]]\"\n");
    stacks.write("theirs.toml", "[[stack]]\nname = \"db\"\n[stack.config]\nrun_directory = \"s/db\"\n[stack.config.pre_deploy]\npath = \".\"\ncommand = \"sops-decrypt.sh\"\n");
    stacks.write("s/web/.gitignore", "*.log");
    stacks.commit_all("one");
    stacks
}

/// The findings: policy and file.
fn policies(ground: &Repository, args: &[&str]) -> Vec<(String, String)> {
    let ran = ground.cofferdam(&[&["check", "--json"], args].concat());
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    let all = printed["findings"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|f| (text(&f["policy"]), text(&f["file"])))
        .collect()
}

#[test]
fn what_has_a_safe_repair_is_repaired_and_nothing_else() {
    if !have_peers(&["git"]) {
        return;
    }
    let ground = stacks();
    ground.write("s/web/.env", format!("A={CANARY}\n"));
    ground.write("s/db/.env", format!("A={CANARY}\n"));
    let identity = cofferdam::keys::Identity::mint().to_text();
    let identity = secrecy::ExposeSecret::expose_secret(&identity).to_owned();
    ground.write("s/keys.txt", format!("# mine\n{identity}\n"));
    ground.write("s/compose.yaml", format!("services: {{}}\n# {identity}\n"));
    let before = snapshot(&ground.tree);
    let dry = ground
        .cofferdam(&["check", "--fix", "--dry-run"])
        .expect_code(3);
    assert!(
        dry.stderr.contains("would edit ours.toml"),
        "{}",
        dry.stderr
    );
    assert_eq!(snapshot(&ground.tree), before);

    let ran = ground.cofferdam(&["check", "--fix"]).expect_code(3);
    for told in [
        "edited .gitignore",
        "has git ignore s/db/.env, which stays where it is",
        "edited s/web/.gitignore",
        "edited ours.toml",
        "has git ignore s/keys.txt, which stays where it is",
        "left to you: s/compose.yaml: it holds more than an identity",
        "has a change of .sops.env deploy the stack web",
        "left to you: theirs.toml: stacks decrypt into files",
    ] {
        assert!(ran.stderr.contains(told), "{told}\n{}", ran.stderr);
    }
    let printed = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!printed.contains(CANARY) && !printed.contains(&identity));
    assert_eq!(ground.read(".gitignore"), "/s/db/.env\n/s/keys.txt\n");
    assert_eq!(ground.read("s/web/.gitignore"), "*.log\n/.env\n");
    let after = snapshot(&ground.tree);
    let changed: Vec<&String> = after
        .iter()
        .filter(|(path, bytes)| !path.starts_with(".git/") && before.get(*path) != Some(bytes))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(changed, [".gitignore", "ours.toml", "s/web/.gitignore"]);
    // Lines are added, none is touched.
    let diff = ground.git(&["diff", "-U0", "--", "ours.toml"]);
    assert!(
        !diff
            .lines()
            .any(|line| line.starts_with('-') && !line.starts_with("---")),
        "{diff}"
    );
    let left: Vec<(String, String)> = policies(&ground, &[])
        .into_iter()
        .filter(|(_, file)| file == "ours.toml" || file.ends_with("/.env"))
        .collect();
    assert_eq!(left, []);
    assert_eq!(
        ground.git(&["status", "--porcelain", "s/db", "s/web"]),
        " M s/web/.gitignore"
    );
    // Once more: nothing.
    ground.cofferdam(&["check", "--fix"]).expect_code(3);
    assert_eq!(
        snapshot(&ground.tree).get("ours.toml"),
        after.get("ours.toml")
    );
    assert_eq!(ground.read("s/web/.gitignore"), "*.log\n/.env\n");
}

#[test]
fn changed_files_tracked_plaintext_and_folders_without_git_are_left() {
    if !have_peers(&["git"]) {
        return;
    }
    let ground = stacks();
    ground.write("s/db/.env", "A=1\n");
    ground.git(&["add", "--force", "s/db/.env"]);
    ground.git(&["commit", "--quiet", "-m", "plaintext"]);
    let text = ground.read("ours.toml");
    ground.write("ours.toml", format!("{text}# meanwhile\n"));
    ground.write("s/web/.env", "A=1\n");
    let ran = ground.cofferdam(&["check", "--fix"]).expect_code(1);
    assert!(
        ran.stderr.contains("uncommitted changes: ours.toml"),
        "{}",
        ran.stderr
    );
    assert_eq!(ground.read("s/web/.gitignore"), "*.log");
    ground.git(&["checkout", "--quiet", "ours.toml"]);
    let ran = ground.cofferdam(&["check", "--fix"]).expect_code(3);
    assert!(
        ran.stderr.contains("left to you: s/db/.env: git tracks it"),
        "{}",
        ran.stderr
    );
    assert_eq!(ground.read("s/db/.env"), "A=1\n");
    assert!(ground.git(&["ls-files"]).contains("s/db/.env"));
    // What somebody accepted is left as well, and not spoken of.
    std::fs::create_dir_all(ground.tree.join(".cofferdam")).unwrap();
    let accepted = "[[accepted]]\npolicy = \"plaintext-tracked\"\nfile = \"s/db/.env\"\nreason = \"r\"\nuntil = \"2999-01-01\"\n";
    ground.write(".cofferdam/accepted-findings.toml", accepted);
    let ran = ground.cofferdam(&["check", "--fix"]).expect_code(3);
    assert!(!ran.stderr.contains("s/db/.env"), "{}", ran.stderr);
    let elsewhere = Sandbox::new();
    let mut check = elsewhere.command(COFFERDAM, elsewhere.path());
    Ran::of(check.args(["check", "--fix"])).expect_code(2);
    ground.cofferdam(&["check", "--dry-run"]).expect_code(2);
    ground
        .cofferdam(&["check", "--fix", "--staged"])
        .expect_code(2);
}

#[test]
fn what_is_changed_by_hand_after_it_was_recorded_is_found() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let ground = stacks();
    let file = "s/web/.sops.env";
    let by_hand = |ground: &Repository| {
        let all = policies(ground, &["--policy", "strict"]);
        let own = all
            .into_iter()
            .filter(|(name, _)| matches!(name.as_str(), "changed-by-hand" | "not-verified-since"));
        own.collect::<Vec<_>>()
    };
    let found = |policy: &str| vec![(policy.to_owned(), file.to_owned())];
    // Without a record nothing is said.
    let text = ground.read(file);
    ground.write(file, text.replace("8080", "9999"));
    assert_eq!(by_hand(&ground), []);
    ground.write(file, &text);
    ground.cofferdam(&["verify", "--record"]).expect_code(0);
    let record = ground.read(".cofferdam/digests.toml");
    assert_eq!(record.matches(" = { mac = ").count(), 2, "{record}");
    assert!(!record.contains("8080") && !record.contains(CANARY));
    assert_eq!(by_hand(&ground), []);
    ground.write(file, text.replace("8080", "9999"));
    assert_eq!(by_hand(&ground), found("changed-by-hand"));
    // Who records it again says so only of what verifies.
    ground.cofferdam(&["verify", "--record"]).expect_code(1);
    assert_eq!(by_hand(&ground), found("changed-by-hand"));
    ground.write(file, &text);
    // An edit as it should be is no finding; until it is recorded again, that is worth knowing to who asks for it.
    let mut set = ground.sandbox.command("sops", &ground.tree);
    set.env(
        "SOPS_AGE_KEY_FILE",
        tests_folder().join("throwaway_keys/alice.txt"),
    );
    Ran::of(set.args(["set", file, "[\"A\"]", "\"another\""])).expect_code(0);
    assert_eq!(by_hand(&ground), found("not-verified-since"));
    ground
        .cofferdam(&["verify", "--record", "s/web"])
        .expect_code(0);
    assert_eq!(by_hand(&ground), []);
    // Our own writers keep the record.
    ground.cofferdam(&["renew", "s"]).expect_code(0);
    assert_eq!(by_hand(&ground), []);
    let text = ground.read(file);
    ground.write(file, text.replace("8080", "9999"));
    assert_eq!(by_hand(&ground), found("changed-by-hand"));
    // A document that is gone is forgotten; a damaged record is named.
    std::fs::remove_file(ground.tree.join(file)).unwrap();
    ground.cofferdam(&["verify", "--record"]).expect_code(0);
    assert!(!ground.read(".cofferdam/digests.toml").contains("s/web"));
    ground.write(".cofferdam/digests.toml", "version = 7\n");
    let told = policies(&ground, &[]);
    let damaged = (
        "unreadable-file".to_owned(),
        ".cofferdam/digests.toml".to_owned(),
    );
    assert!(told.contains(&damaged), "{told:?}");
    ground.cofferdam(&["verify", "--record"]).expect_code(1);
}
