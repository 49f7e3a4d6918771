//! `exposure`: every value that an identity could ever open, and what became of it; judged by real sops.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::homeops::{Homeops, fixture};
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// File and key → state, of what `exposure --json` printed.
fn states(ran: &Ran) -> BTreeMap<(String, String), String> {
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    let leaves = printed["leaves"].as_array().unwrap();
    let of = |leaf: &Value| {
        let key: Vec<&str> = leaf["key"]
            .as_array()
            .unwrap()
            .iter()
            .map(|k| k.as_str().unwrap())
            .collect();
        (leaf["file"].as_str().unwrap().to_owned(), key.join("."))
    };
    let found: BTreeMap<_, _> = leaves
        .iter()
        .map(|leaf| (of(leaf), leaf["state"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(found.len(), leaves.len(), "one entry per file and leaf");
    found
}

fn count(states: &BTreeMap<(String, String), String>, state: &str) -> usize {
    states.values().filter(|s| *s == state).count()
}

fn shared_key() -> PathBuf {
    fixture("shared-key.txt")
}

#[test]
fn the_shared_identity_of_the_sample_before_and_after_the_split() {
    if !have_peers(&["sops", "git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let shared = shared_key();
    let args = ["exposure", "--json", "--identity", shared.to_str().unwrap()];
    let before = states(&homeops.cofferdam(&args).expect_code(0));
    assert_eq!(before.len(), 85);
    assert_eq!(count(&before, "removed"), 1);
    assert_eq!(count(&before, "replaced"), 0);
    let removed = (
        "docker/stacks/kasm/retired/.sops.env".to_owned(),
        "OLD_API_KEY".to_owned(),
    );
    assert_eq!(before[&removed], "removed");

    homeops.split().expect_code(0);
    assert_eq!(states(&homeops.cofferdam(&args).expect_code(0)), before);
    // The ledger knows what was retired, and the operator unseals it.
    let by_ledger = homeops
        .command(&["exposure", "--json"])
        .env("SOPS_AGE_KEY_FILE", homeops.laptop_file())
        .output();
    let by_ledger = by_ledger.unwrap();
    let text = String::from_utf8(by_ledger.stdout).unwrap();
    assert!(!text.contains("assumed"), "{text}");
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["leaves"]
            .as_array()
            .unwrap()
            .len(),
        85
    );

    // A value changed with plain sops.
    let file = "docker/stacks/server04/traefik/.sops.env";
    let tree = homeops.repository();
    let home = Sandbox::new();
    let mut set = home.command("sops", &tree);
    set.env("SOPS_AGE_KEY_FILE", homeops.laptop_file());
    Ran::of(set.args(["set", file, "[\"CF_DNS_API_TOKEN\"]", "\"another\""])).expect_code(0);
    home.git(&tree, &["commit", "-qam", "fix: new token"]);
    let after = states(&homeops.cofferdam(&args).expect_code(0));
    let changed = (file.to_owned(), "CF_DNS_API_TOKEN".to_owned());
    assert_eq!(after[&changed], "replaced");
    assert_eq!(count(&after, "replaced"), 1);
    assert_eq!(count(&after, "in_use"), count(&before, "in_use") - 1);

    // The list in the repository: open, then by itself replaced; without any identity never a false all-clear.
    let check = homeops
        .cofferdam(&["exposure", "--record", "--check"])
        .expect_code(3);
    assert!(
        check.stderr.contains("83 exposed values"),
        "{}",
        check.stderr
    );
    let list = std::fs::read_to_string(tree.join(".cofferdam/burn-list.toml")).unwrap();
    assert_eq!(list.matches("state = \"open\"").count(), 83);
    let mut blind = homeops.command(&["exposure", "--check"]);
    blind.env_remove("SOPS_AGE_KEY_FILE");
    let blind = Ran::of(&mut blind).expect_code(3);
    assert!(
        blind.stderr.contains("83 exposed values"),
        "{}",
        blind.stderr
    );
    let accepted = list.replace(
        "state = \"open\"",
        "state = \"accepted\"\nreason = \"a rehearsal\"\nuntil = \"2100-01-01T00:00:00Z\"",
    );
    std::fs::write(tree.join(".cofferdam/burn-list.toml"), accepted).unwrap();
    homeops.cofferdam(&["exposure", "--check"]).expect_code(0);
}

#[test]
fn runs_end_with_the_list_and_it_says_who_since_when_and_where() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let split = homeops.split().expect_code(0);
    for told in [
        "could open 85 values in git history",
        "used by",
        "readable since 20",
    ] {
        assert!(split.stderr.contains(told), "{told}\n{}", split.stderr);
    }
    let shared = shared_key();
    let args = ["exposure", "--json", "--identity", shared.to_str().unwrap()];
    let printed: Value =
        serde_json::from_str(&homeops.cofferdam(&args).expect_code(0).stdout).unwrap();
    let leaves = printed["leaves"].as_array().unwrap();
    let file = "docker/stacks/kasm/newt/.sops.env";
    let newt = leaves
        .iter()
        .find(|l| l["file"] == file && l["key"][0] == "NEWT_SECRET")
        .unwrap();
    newt["since"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
    assert_eq!(
        newt["readers"],
        serde_json::json!([homeops.shared.as_str()])
    );
    assert!(
        newt["used_by"].to_string().contains("compose service"),
        "{newt}"
    );
    // A revocation ends with what the host could open: by its own identity, beside operator and recovery.
    let revoke = homeops
        .cofferdam(&["revoke", "nvr", "--yes"])
        .expect_code(0);
    assert!(
        revoke.stderr.contains("in git history"),
        "{}",
        revoke.stderr
    );
    assert!(revoke.stderr.contains("read by"), "{}", revoke.stderr);
}

#[test]
fn a_recipient_that_left_without_a_new_data_key_reads_on() {
    if !have_peers(&["sops", "git", "age-keygen"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let (one, two) = (key(&sandbox, "one"), key(&sandbox, "two"));
    let tree = sandbox.path().join("r");
    std::fs::create_dir(&tree).unwrap();
    sandbox.git(&tree, &["init", "-q"]);
    std::fs::write(tree.join("a.yaml"), "a: first value\nb: kept value\n").unwrap();
    let both = format!("{},{}", recipient(&one), recipient(&two));
    sops(
        &sandbox,
        &tree,
        &two,
        &["encrypt", "-i", "--age", &both, "a.yaml"],
    );
    commit(&sandbox, &tree);
    // Only the list of recipients changes; the data key stays.
    let rules = format!("creation_rules:\n  - age: {}\n", recipient(&two));
    std::fs::write(tree.join(".sops.yaml"), rules).unwrap();
    sops(&sandbox, &tree, &two, &["updatekeys", "-y", "a.yaml"]);
    commit(&sandbox, &tree);
    sops(
        &sandbox,
        &tree,
        &two,
        &["set", "a.yaml", "[\"a\"]", "\"second value\""],
    );
    commit(&sandbox, &tree);
    let mut command = sandbox.command(COFFERDAM, &tree);
    command.args(["exposure", "--json", "--identity"]).arg(&one);
    let ran = Ran::of(&mut command).expect_code(0);
    let found = states(&ran);
    // It was written after the recipient left, and opens with the data key that it knew.
    assert_eq!(found[&("a.yaml".to_owned(), "a".to_owned())], "in_use");
    sops(&sandbox, &tree, &two, &["rotate", "-i", "a.yaml"]);
    sops(
        &sandbox,
        &tree,
        &two,
        &["set", "a.yaml", "[\"a\"]", "\"third value\""],
    );
    commit(&sandbox, &tree);
    let mut command = sandbox.command(COFFERDAM, &tree);
    command.args(["exposure", "--json", "--identity"]).arg(&one);
    command.env("SOPS_AGE_KEY_FILE", &two);
    let found = states(&Ran::of(&mut command).expect_code(0));
    assert_eq!(found[&("a.yaml".to_owned(), "a".to_owned())], "replaced");
    assert_eq!(found[&("a.yaml".to_owned(), "b".to_owned())], "in_use");
}

#[test]
fn random_histories_agree_with_what_sops_reads_from_every_version() {
    if !have_peers(&["sops", "git", "age-keygen"]) {
        return;
    }
    for seed in 0..4 {
        random_history(seed);
    }
}

/// Branches, merges, moves, removals, edits, rotations with and without the identity asked for; then every version of every
/// file is decrypted by sops with that identity alone, and today's with the other.
fn random_history(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let sandbox = Sandbox::new();
    let (old, new) = (key(&sandbox, "old"), key(&sandbox, "new"));
    let tree = sandbox.path().join("r");
    std::fs::create_dir(&tree).unwrap();
    sandbox.git(&tree, &["init", "-q", "-b", "main"]);
    std::fs::write(tree.join("README"), "x\n").unwrap();
    commit(&sandbox, &tree);
    let names = ["a.env", "b.json", "c/d.yaml"];
    std::fs::create_dir(tree.join("c")).unwrap();
    let both = format!("{},{}", recipient(&old), recipient(&new));
    for step in 0..18 {
        let name = names[random.gen_range(0..names.len())];
        let path = tree.join(name);
        let key_name = ["K0", "K1", "K2"][random.gen_range(0..3)];
        let value = format!("value-{seed}-{}", random.gen_range(0..4));
        if path.exists() {
            match random.gen_range(0..6) {
                0 => std::fs::remove_file(&path).unwrap(),
                1 => sops(
                    &sandbox,
                    &tree,
                    &new,
                    &["rotate", "-i", "--rm-age", &recipient(&old), name],
                ),
                2 => sops(&sandbox, &tree, &new, &["rotate", "-i", name]),
                3 if step % 2 == 0 => {
                    let name = format!("b{step}");
                    sandbox.git(&tree, &["checkout", "-qb", &name]);
                }
                _ => sops(
                    &sandbox,
                    &tree,
                    &new,
                    &[
                        "set",
                        name,
                        &format!("[\"{key_name}\"]"),
                        &format!("\"{value}\""),
                    ],
                ),
            }
        } else {
            let plain = match name.rsplit('.').next().unwrap() {
                "env" => format!("K0={value}\nK1=\n"),
                "json" => format!("{{\"K0\": \"{value}\", \"n\": {{\"l\": [\"{value}\", 7]}}}}\n"),
                _ => format!("K0: {value}\nn:\n  - {value}-x\n"),
            };
            std::fs::write(&path, plain).unwrap();
            let to = if random.gen_bool(0.8) {
                both.clone()
            } else {
                recipient(&new)
            };
            sops(
                &sandbox,
                &tree,
                &new,
                &["encrypt", "-i", "--age", &to, name],
            );
        }
        commit(&sandbox, &tree);
    }
    let expected = by_sops(&sandbox, &tree, &old, &new);
    let mut command = sandbox.command(COFFERDAM, &tree);
    command.args(["exposure", "--json", "--identity"]).arg(&old);
    command.env("SOPS_AGE_KEY_FILE", &new);
    assert_eq!(
        states(&Ran::of(&mut command).expect_code(0)),
        expected,
        "seed {seed}"
    );
}

/// The same answer by asking sops about every blob of every commit.
fn by_sops(
    sandbox: &Sandbox,
    tree: &Path,
    old: &Path,
    new: &Path,
) -> BTreeMap<(String, String), String> {
    let mut read: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for commit in sandbox.git(tree, &["rev-list", "--all"]).lines() {
        for line in sandbox.git(tree, &["ls-tree", "-r", commit]).lines() {
            let (front, name) = line.split_once('\t').unwrap();
            let oid = front.rsplit(' ').next().unwrap();
            if name.starts_with("README") || !seen.insert((name.to_owned(), oid.to_owned())) {
                continue;
            }
            for (key, value) in leaves(sandbox, tree, name, oid, old).unwrap_or_default() {
                read.entry((name.to_owned(), key))
                    .or_default()
                    .insert(value);
            }
        }
    }
    let mut today = BTreeMap::new();
    for line in sandbox.git(tree, &["ls-tree", "-r", "HEAD"]).lines() {
        let (front, name) = line.split_once('\t').unwrap();
        let oid = front.rsplit(' ').next().unwrap();
        for (key, value) in leaves(sandbox, tree, name, oid, new).unwrap_or_default() {
            today.insert((name.to_owned(), key), value);
        }
    }
    read.into_iter()
        .map(|(place, values)| {
            let state = match today.get(&place) {
                None => "removed",
                Some(value) if values.contains(value) => "in_use",
                Some(_) => "replaced",
            };
            (place, state.to_owned())
        })
        .collect()
}

/// The non-empty leaves of a blob as sops reads them with one key file; none if it does not open.
fn leaves(
    sandbox: &Sandbox,
    tree: &Path,
    name: &str,
    oid: &str,
    key_file: &Path,
) -> Option<Vec<(String, String)>> {
    let extension = name.rsplit('.').next().unwrap();
    let kind = match extension {
        "env" => "dotenv",
        other => other,
    };
    let blob = sandbox.path().join(format!("blob.{extension}"));
    std::fs::write(
        &blob,
        format!("{}\n", sandbox.git(tree, &["cat-file", "blob", oid])),
    )
    .unwrap();
    let mut command = sandbox.command("sops", tree);
    command.env("SOPS_AGE_KEY_FILE", key_file);
    command
        .args(["decrypt", "--input-type", kind, "--output-type", "json"])
        .arg(&blob);
    let ran = Ran::of(&mut command);
    if ran.code != Some(0) {
        return None;
    }
    let mut found = Vec::new();
    flatten(&serde_json::from_str(&ran.stdout).unwrap(), "", &mut found);
    Some(found)
}

fn flatten(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    let below = |key: &str| {
        if at.is_empty() {
            key.to_owned()
        } else {
            format!("{at}.{key}")
        }
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| flatten(v, &below(k), found)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(i, v)| flatten(v, &below(&i.to_string()), found)),
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => found.push((at.to_owned(), text.clone())),
        other => found.push((at.to_owned(), other.to_string())),
    }
}

fn key(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.path().join(name);
    let mut command = sandbox.command("age-keygen", sandbox.path());
    Ran::of(command.arg("-o").arg(&path)).expect_code(0);
    path
}

fn recipient(key_file: &Path) -> String {
    let text = std::fs::read_to_string(key_file).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("# public key: "));
    line.unwrap().to_owned()
}

#[track_caller]
fn sops(sandbox: &Sandbox, tree: &Path, key_file: &Path, args: &[&str]) {
    let mut command = sandbox.command("sops", tree);
    command.env("SOPS_AGE_KEY_FILE", key_file);
    Ran::of(command.args(args)).expect_code(0);
}

fn commit(sandbox: &Sandbox, tree: &Path) {
    sandbox.git(tree, &["add", "-A"]);
    sandbox.git(tree, &["commit", "-q", "--allow-empty", "-m", "step"]);
}
