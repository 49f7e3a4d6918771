//! `why`: who opens a file, what a reader holds, and the first step that is missing.

use crate::support::homeops::{Homeops, fixture};
use crate::support::{COFFERDAM, Ran, Sandbox, copy_folder, have_peers, tests_folder};
use serde_json::Value;

const FILE: &str = "docker/stacks/kasm/newt/.sops.env";

/// What is missing, in order.
fn missing(ran: &Ran) -> Vec<String> {
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    let missing = printed["missing"].as_array().unwrap();
    missing
        .iter()
        .map(|m| m["what"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_file_before_and_after_the_split() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    // The topology is there, the split is not: the file does not open for those who should read it.
    let before = homeops.cofferdam(&["why", FILE]).expect_code(0);
    for wanted in [
        ".sops.yaml:6: docker/stacks/.*\\.sops\\.(env|json)$",
        "(known to nobody here)",
        "zone lan",
        "SOPS_AGE_KEY_FILE",
        "2 identities",
        "first missing step: it does not open for",
    ] {
        assert!(
            before.stdout.contains(wanted),
            "{wanted}: {}",
            before.stdout
        );
    }
    homeops.split().expect_code(0);
    let after = homeops.cofferdam(&["why", FILE]).expect_code(0);
    assert!(
        after
            .stdout
            .contains("opens, by the identity of operator laptop"),
        "{}",
        after.stdout
    );
    assert!(
        after.stdout.ends_with("nothing is missing\n"),
        "{}",
        after.stdout
    );
    assert!(after.stdout.contains("kasm (lan)"), "{}", after.stdout);
    // From within a folder, by the name it has there.
    let mut inside = homeops.command(&["-C", "docker/stacks/kasm/newt", "why", ".sops.env"]);
    let inside = Ran::of(&mut inside).expect_code(0);
    assert_eq!(inside.stdout, after.stdout);

    // Only the old identity at hand.
    let mut retired = homeops.command(&["why", "--json", FILE]);
    retired.env("SOPS_AGE_KEY_FILE", fixture("shared-key.txt"));
    let retired = Ran::of(&mut retired).expect_code(0);
    assert_eq!(
        missing(&retired),
        ["no identity at hand is that of a recipient"]
    );
    // Brought back from history.
    let tree = homeops.repository();
    let old = homeops
        .sandbox
        .git(&tree, &["show", &format!("HEAD~2:{FILE}")]);
    std::fs::write(tree.join(FILE), old + "\n").unwrap();
    let stale = missing(&homeops.cofferdam(&["why", "--json", FILE]).expect_code(0));
    assert!(
        stale[0].contains("which the ledger calls retired"),
        "{stale:?}"
    );
    // And the error of a command leads here.
    let mut decrypt = homeops.command(&["decrypt", FILE]);
    decrypt.env("SOPS_AGE_KEY_FILE", homeops.laptop_file());
    let decrypt = Ran::of(&mut decrypt).expect_code(1);
    assert!(
        decrypt.stderr.contains("cofferdam why"),
        "{}",
        decrypt.stderr
    );
}

#[test]
fn readers_and_what_they_lack() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let before = missing(&homeops.cofferdam(&["why", "--json", "kasm"]).expect_code(0));
    assert_eq!(before, ["zone lan has no identity yet"]);
    homeops.split().expect_code(0);
    let host = homeops.cofferdam(&["why", "kasm"]).expect_code(0);
    assert!(
        host.stdout.starts_with("kasm (host of zone lan)\n"),
        "{}",
        host.stdout
    );
    for wanted in ["opened a challenge on 20", FILE, "nothing is missing\n"] {
        assert!(host.stdout.contains(wanted), "{wanted}: {}", host.stdout);
    }
    let cluster = homeops.cofferdam(&["why", "minipcs"]).expect_code(0);
    assert!(
        cluster
            .stdout
            .contains("flux-system/sops-age, entry age.agekey"),
        "{}",
        cluster.stdout
    );
    assert!(
        cluster.stdout.ends_with("nothing is missing\n"),
        "{}",
        cluster.stdout
    );
    // An entry that Flux passes over.
    let file = homeops.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("age.agekey"), "{text}");
    std::fs::write(&file, text.replace("age.agekey", "age.key")).unwrap();
    let wrong = missing(
        &homeops
            .cofferdam(&["why", "--json", "minipcs"])
            .expect_code(0),
    );
    assert!(wrong[0].contains("does not end in .agekey"), "{wrong:?}");
    // A host that is new to the topology.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{text}\n[hosts.new]\nzone = \"lan\"\nssh = \"new\"\n"),
    )
    .unwrap();
    let new = missing(&homeops.cofferdam(&["why", "--json", "new"]).expect_code(0));
    assert!(new[0].ends_with("was never delivered to it"), "{new:?}");
    let nobody = homeops.cofferdam(&["why", "nobody"]).expect_code(2);
    assert!(
        nobody.stderr.contains("there are kasm"),
        "{}",
        nobody.stderr
    );
}

#[test]
fn without_git_topology_or_identity() {
    let sandbox = Sandbox::new();
    let why = |tree: &str, args: &[&str]| {
        let folder = sandbox.path().join(tree);
        std::fs::create_dir_all(&folder).unwrap();
        copy_folder(&tests_folder().join("policies").join(tree), &folder);
        Ran::of(sandbox.command(COFFERDAM, &folder).arg("why").args(args))
    };
    let locked = why("one-identity-everywhere/fail", &["lan/.sops.env"]).expect_code(0);
    assert!(locked.stdout.contains("does not open"), "{}", locked.stdout);
    assert!(locked.stdout.contains("not there"), "{}", locked.stdout);
    let rule = why("secret-without-rule/fail", &["--json", "web/.sops.env"]).expect_code(0);
    assert_eq!(missing(&rule)[0], "no usable rule of .sops.yaml matches it");
    let plain = why("secret-not-encrypted/fail", &["--json", "web/app.sops.env"]).expect_code(0);
    assert_eq!(missing(&plain), ["it is not encrypted"]);
    let clear = why("clear-secret/fail", &["web/.sops.env"]).expect_code(0);
    assert!(!clear.stdout.contains("correct-horse"), "{}", clear.stdout);
    let damaged = why("unreadable-file/fail", &["--json", "odd.sops.env"]).expect_code(0);
    assert!(!missing(&damaged).is_empty());
    why("one-identity-everywhere/fail", &["absent"]).expect_code(2);
    why("one-identity-everywhere/fail", &["../pass/lan/.sops.env"]).expect_code(2);
}
