//! The record of verified documents, as runs and `encrypt` keep it: what is changed by hand is found with no identity at hand,
//! undo puts the record back, and whatever happens to it stops no run.

use crate::support::ground::Ground;
use crate::support::two_clones::TwoClones;
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};
use cofferdam::inventory::digests::Standing;
use cofferdam::repo_path::RepoPath;
use serde_json::Value;

const RECORD: &str = ".cofferdam/digests.toml";
const KASM: &str = "docker/stacks/kasm/newt/.sops.env";
const YAML: &str = "kubernetes/infrastructure/controllers/certmanager/secret.yaml";
const SHARED: &str = "docker/stacks/shared/alloy/.sops.env";

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn read(ground: &Ground<'_>, name: &str) -> String {
    std::fs::read_to_string(ground.repository().join(name)).unwrap()
}

fn write(ground: &Ground<'_>, name: &str, text: &str) {
    std::fs::write(ground.repository().join(name), text).unwrap();
}

fn commit_all(ground: &Ground<'_>, message: &str) {
    ground.git(&["add", "-A"]);
    ground.git(&["commit", "-q", "-m", message]);
}

/// What `check` finds of these policies with no identity at hand, each with its file.
fn found(ground: &Ground<'_>, policies: &[&str]) -> Vec<(String, String)> {
    let mut check = ground.sandbox.command(COFFERDAM, &ground.repository());
    let ran = Ran::of(check.args([
        "check", "--json", "--policy", "default", "--policy", "strict",
    ]));
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = printed["findings"].as_array().unwrap().iter();
    all.map(|f| (text(&f["policy"]), text(&f["file"])))
        .filter(|(policy, _)| policies.contains(&policy.as_str()))
        .collect()
}

fn changed_by_hand(ground: &Ground<'_>) -> Vec<String> {
    let all = found(ground, &["changed-by-hand"]);
    all.into_iter().map(|(_, file)| file).collect()
}

/// A record as `verify` makes it, with somebody's words in it, committed.
fn recorded(ground: &Ground<'_>) -> String {
    ground.run(&["verify", "--record"]).expect_code(0);
    let text = format!("# ours\n{}\n", read(ground, RECORD));
    write(ground, RECORD, &text);
    commit_all(ground, "record");
    text
}

/// The same document with the tokens of its first two values swapped.
fn swapped(text: &str) -> String {
    let values: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("sops_"))
        .filter_map(|line| Some(line.split_once("=ENC[")?.1))
        .collect();
    let (one, other) = (values[0], values[1]);
    assert_ne!(one, other);
    text.replace(one, "ONE")
        .replace(other, one)
        .replace("ONE", other)
}

#[test]
fn after_a_split_what_is_changed_by_hand_is_found_without_an_identity() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("split");
    ground.run(&["split", "--yes"]).expect_code(0);
    ground.expect_finished(&before, "split");
    let committed = ground.git(&["diff", "--name-only", "HEAD~2", "HEAD~1"]);
    assert!(committed.lines().any(|line| line == RECORD), "{committed}");
    assert!(read(&ground, RECORD).contains("It holds no secret"));
    assert_eq!(
        found(&ground, &["changed-by-hand", "not-verified-since"]),
        []
    );

    // A clear value.
    let text = read(&ground, YAML);
    let line = text.lines().find(|l| l.starts_with("    name:")).unwrap();
    write(&ground, YAML, &text.replace(line, "    name: another"));
    assert_eq!(changed_by_hand(&ground), [YAML]);
    write(&ground, YAML, &text);
    // Encrypted values that change places: each token still opens where it is not looked at closely.
    let text = read(&ground, SHARED);
    write(&ground, SHARED, &swapped(&text));
    assert_eq!(changed_by_hand(&ground), [SHARED]);
    write(&ground, SHARED, &text);
    // Who edits with sops is not told that it was by hand, and by default nothing at all.
    ground
        .sops(
            &["set", KASM, "[\"EDITED\"]", "\"as one should\""],
            &ground.folder.join("laptop.txt"),
        )
        .expect_code(0);
    let told = found(&ground, &["changed-by-hand", "not-verified-since"]);
    assert_eq!(told, [("not-verified-since".to_owned(), KASM.to_owned())]);
    let mut check = sandbox.command(COFFERDAM, &ground.repository());
    let by_default = Ran::of(check.args(["check"]));
    assert!(
        !by_default.stdout.contains("verified"),
        "{}",
        by_default.stdout
    );
    // The next run records it again.
    commit_all(&ground, "edited");
    ground.run(&["rotate", "lan", "--yes"]).expect_code(0);
    assert_eq!(ground.git(&["status", "--porcelain", "-uall"]), "");
    ground.expect_recorded("rotated");
    assert_eq!(
        found(&ground, &["changed-by-hand", "not-verified-since"]),
        []
    );
    let text = read(&ground, KASM);
    write(&ground, KASM, &swapped(&text));
    assert_eq!(changed_by_hand(&ground), [KASM]);
}

#[test]
fn undo_puts_an_earlier_record_back_byte_for_byte() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let own = recorded(&before);
    // One whose document is gone is forgotten by the run, and comes back.
    write(
        &before,
        RECORD,
        &format!("{own}\"gone/.sops.env\" = {{ mac = \"00\", values = \"00\" }}\n"),
    );
    commit_all(&before, "an entry of a document that is gone");
    let first = before.first();
    for hold in ["ship", "rewrite", "publish", "retire"] {
        let ground = before.copy(&format!("hold-{hold}"));
        let held = ground.run(&["split", "--yes", "--hold-at", hold]);
        held.expect_code(0);
        if matches!(hold, "publish" | "retire") {
            ground.expect_recorded(hold);
            assert!(!read(&ground, RECORD).contains("gone/"), "{hold}");
        }
        let on = ground.copy(&format!("on-{hold}"));
        ground.run(&["undo", "--yes"]).expect_code(0);
        ground.expect_first(&first, hold);
        on.run(&["resume"]).expect_code(0);
        on.expect_finished(&before, hold);
    }
    // One that was never committed goes back to that.
    let fresh = Ground::copy(&before, "fresh");
    fresh.git(&["rm", "-q", "--cached", RECORD]);
    fresh.git(&["commit", "-q", "-m", "not for everybody"]);
    let first = fresh.first();
    fresh
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    fresh.run(&["undo", "--yes"]).expect_code(0);
    fresh.expect_first(&first, "not committed");
}

#[test]
fn undo_by_a_further_commit_leaves_a_record_that_is_true() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    for has_record in [false, true] {
        let ground = before.copy(&format!("back-{has_record}"));
        if has_record {
            recorded(&ground);
        }
        ground
            .run(&["split", "--yes", "--hold-at", "retire"])
            .expect_code(0);
        ground.git(&["branch", "colleague"]);
        for n in [20, 30, 40] {
            let mut command = ground.command(&["undo", "--yes"]);
            Ran::of(command.env("COFFERDAM_CRASH_AT", n.to_string()));
        }
        ground.run(&["undo", "--yes"]).expect_code(0);
        ground.expect_recorded("wrapped back");
        ground.expect_readable("wrapped back");
        assert_eq!(ground.git(&["status", "--porcelain", "-uall"]), "");
        let last = ground.git(&["diff", "--name-only", "HEAD~1", "HEAD"]);
        assert_eq!(last, ".cofferdam/keyring.toml");
    }
}

#[test]
fn a_record_that_cannot_be_used_stops_nothing_and_stays() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let damages: [&dyn Fn(&std::path::Path); 3] = [
        &|file| std::fs::write(file, "<<<<<<< ours\nversion = 1\n").unwrap(),
        &|file| std::fs::create_dir(file).unwrap(),
        &|file| std::os::unix::fs::symlink("keyring.toml", file).unwrap(),
    ];
    for (n, damage) in damages.into_iter().enumerate() {
        let ground = before.copy(&format!("damaged-{n}"));
        damage(&ground.repository().join(RECORD));
        let first = ground.first();
        let held = ground
            .run(&["split", "--yes", "--hold-at", "retire"])
            .expect_code(0);
        let told = "cofferdam verify --record";
        assert!(held.stderr.contains(told), "{n}: {}", held.stderr);
        let committed = ground.git(&["ls-tree", "-r", "--name-only", "HEAD"]);
        assert!(!committed.contains(RECORD), "{n}: {committed}");
        let back = ground.copy(&format!("damaged-back-{n}"));
        ground.run(&["resume"]).expect_code(0);
        ground.expect_readable("retired beside a damaged record");
        assert!(ground.unfinished().is_none());
        back.run(&["undo", "--yes"]).expect_code(0);
        back.expect_first(&first, &format!("damaged in way {n}"));
    }
    // One that was damaged by a merge after the run wrote it, and is committed so.
    let ground = before.copy("merged");
    ground
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    let text = read(&ground, RECORD).replacen("\n", "\n<<<<<<< HEAD\n", 1);
    write(&ground, RECORD, &text);
    ground.run(&["resume"]).expect_code(0);
    assert_eq!(read(&ground, RECORD), text);
    assert!(ground.unfinished().is_none());
    let commits = ground.git(&["rev-list", "--count", "HEAD"]);
    assert_eq!(commits, "3", "no commit for the record's sake");
}

#[test]
fn what_somebody_records_meanwhile_stays() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    for hold in ["publish", "retire"] {
        let ground = before.copy(&format!("meanwhile-{hold}"));
        ground
            .run(&["split", "--yes", "--hold-at", hold])
            .expect_code(0);
        let other = "docker/stacks/kasm/other/.sops.env";
        let folder = ground.repository().join("docker/stacks/kasm/other");
        std::fs::create_dir(folder).unwrap();
        write(&ground, other, "A=1\n");
        ground.run(&["encrypt", "-i", other]).expect_code(0);
        assert_eq!(ground.standing(&path(other)), Standing::Verified, "{hold}");
        let on = ground.copy(&format!("meanwhile-on-{hold}"));
        on.run(&["resume"]).expect_code(0);
        on.expect_recorded(hold);
        assert_eq!(on.standing(&path(other)), Standing::Verified, "{hold}");
        assert!(on.unfinished().is_none());
        // Undo keeps what it says of the document that is none of the run's.
        ground.run(&["undo", "--yes"]).expect_code(0);
        assert_eq!(ground.standing(&path(other)), Standing::Verified, "{hold}");
        assert_eq!(ground.standing(&path(KASM)), Standing::Unknown, "{hold}");
        assert_eq!(read(&ground, RECORD).matches("mac = ").count(), 1);
        assert_eq!(ground.read(&path(KASM)), before.read(&path(KASM)));
    }
}

#[test]
fn what_a_colleague_pushes_to_the_record_meanwhile_is_taken() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, "remote = \"origin\"\npush = true\n");
    for has_record in [false, true] {
        let here = world.copy(&format!("pushed-{has_record}"));
        if has_record {
            recorded(&here.a);
            here.a.git(&["push", "-q"]);
            here.b.git(&["pull", "-q"]);
        }
        here.a
            .run(&["split", "--yes", "--hold-at", "publish"])
            .expect_code(0);
        // Of a document that is none of the run's.
        let theirs = "docker/stacks/kasm/attic/.sops.env";
        std::fs::create_dir(here.b.repository().join("docker/stacks/kasm/attic")).unwrap();
        write(&here.b, theirs, "A=1\n");
        let laptop = crate::support::ground::recipient(&here.b.folder.join("laptop.txt"));
        here.b
            .run(&["encrypt", "-i", "--age", laptop.as_str(), theirs])
            .expect_code(0);
        here.b.run(&["verify", "--record", theirs]).expect_code(0);
        commit_all(&here.b, "theirs");
        here.b.git(&["push", "-q"]);
        let back = here.copy(&format!("pushed-back-{has_record}"));
        here.a.run(&["resume"]).expect_code(0);
        here.a.expect_split(&world.a, "theirs came first");
        assert_eq!(here.a.standing(&path(theirs)), Standing::Verified);
        assert_eq!(
            here.hub(&["rev-parse", "main"]),
            here.a.git(&["rev-parse", "HEAD"])
        );
        back.a.run(&["undo", "--yes"]).expect_code(0);
        back.a.expect_readable("taken back");
        back.a.git(&["pull", "-q"]);
        assert_eq!(back.a.standing(&path(theirs)), Standing::Verified);
        assert_eq!(back.a.git(&["status", "--porcelain", "-uall"]), "");
    }
}

/// Its journal says that our own files were kept, and nothing of the record.
#[test]
fn a_run_that_an_earlier_version_began_does_not_lose_the_record() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    recorded(&before);
    let first = before.first();
    for hold in ["rewrite", "retire"] {
        let ground = before.copy(&format!("earlier-{hold}"));
        ground
            .run(&["split", "--yes", "--hold-at", hold])
            .expect_code(0);
        let journal = ground.unfinished().unwrap().folder().to_owned();
        let log = std::fs::read_to_string(journal.join("log.jsonl")).unwrap();
        let lines = log.lines().filter(|line| !line.contains("keep-digests"));
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        assert_ne!(lines, log);
        std::fs::write(journal.join("log.jsonl"), lines).unwrap();
        std::fs::remove_file(journal.join("digests.before")).unwrap();
        if hold == "retire" {
            // It did not record either: what stands there is as it was before the run.
            write(&ground, RECORD, &read(&before, RECORD));
            ground.git(&["add", RECORD]);
            ground.git(&["commit", "-q", "--amend", "--no-edit"]);
            let amended = ground.git(&["rev-parse", "HEAD"]);
            let log = std::fs::read_to_string(journal.join("log.jsonl")).unwrap();
            let lines = log
                .lines()
                .map(|line| match line.contains("\"committed\"") {
                    true => format!("{{\"entry\":\"committed\",\"commit\":\"{amended}\"}}\n"),
                    false => format!("{line}\n"),
                });
            std::fs::write(journal.join("log.jsonl"), lines.collect::<String>()).unwrap();
        }
        let on = ground.copy(&format!("earlier-on-{hold}"));
        let both = ground.copy(&format!("earlier-both-{hold}"));
        ground.run(&["undo", "--yes"]).expect_code(0);
        ground.expect_first(&first, hold);
        both.run(&["resume", "--hold-at", "retire"]).expect_code(0);
        both.run(&["undo", "--yes"]).expect_code(0);
        both.expect_first(&first, &format!("{hold}, resumed and undone"));
        on.run(&["resume"]).expect_code(0);
        if hold == "rewrite" {
            on.expect_finished(&before, hold);
        } else {
            on.expect_readable(hold);
            assert_eq!(read(&on, RECORD), read(&before, RECORD));
        }
        assert!(on.unfinished().is_none());
    }
}

#[test]
fn what_comes_late_or_is_edited_meanwhile_is_recorded_as_well() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let mut ground = before.copy("late");
    ground
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    let late = "docker/stacks/kasm/late/.sops.env";
    std::fs::create_dir(ground.repository().join("docker/stacks/kasm/late")).unwrap();
    std::fs::copy(
        before.repository().join(KASM),
        ground.repository().join(late),
    )
    .unwrap();
    ground
        .sops(
            &["set", KASM, "[\"EDITED\"]", "\"meanwhile\""],
            &ground.folder.join("laptop.txt"),
        )
        .expect_code(0);
    commit_all(&ground, "late, and edited");
    ground.run(&["resume"]).expect_code(0);
    ground.documents.push(path(late));
    ground.expect_recorded("late");
    assert_eq!(ground.git(&["status", "--porcelain", "-uall"]), "");
    let last = ground.git(&["diff", "--name-only", "HEAD~1", "HEAD"]);
    assert_eq!(last, ".cofferdam/keyring.toml");
}

#[test]
fn a_split_on_a_branch_carries_its_record() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    commit_all(&before, "topology");
    let ground = before.copy("branch");
    ground.run(&["split", "--branch", "--yes"]).expect_code(0);
    assert!(!ground.repository().join(RECORD).exists());
    let branch = ground.git(&[
        "branch",
        "--format=%(refname:short)",
        "--list",
        "cofferdam/*",
    ]);
    let offered = ground.git(&["show", &format!("{branch}:{RECORD}")]);
    assert!(offered.contains(KASM), "{offered}");
    let back = ground.copy("branch-back");
    back.run(&["undo", "--yes"]).expect_code(0);
    back.expect_first(&before.first(), "taken back");
    ground.git(&["merge", "-q", "--ff-only", branch.trim()]);
    ground.run(&["resume"]).expect_code(0);
    ground.expect_split(&before, "merged");
}

#[test]
fn encrypt_brings_a_record_up_to_date_and_begins_none() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    let rules = ".sops.yaml";
    let laptop = crate::support::ground::recipient(&ground.folder.join("laptop.txt"));
    write(
        &ground,
        rules,
        &format!("creation_rules:\n  - path_regex: secret\n    age: {laptop}\n"),
    );
    let folder = ground.repository().join("secrets");
    std::fs::create_dir(&folder).unwrap();
    let file = "secrets/a.sops.env";
    let encrypt = |file: &str| {
        write(&ground, file, "A=1\nB_unencrypted=2\n");
        ground.run(&["encrypt", "-i", file]).expect_code(0)
    };
    // Nobody asked for a record.
    encrypt(file);
    assert!(!ground.repository().join(RECORD).exists());
    ground.run(&["verify", "--record", KASM]).expect_code(0);
    encrypt(file);
    assert_eq!(ground.standing(&path(file)), Standing::Verified);
    let text = read(&ground, file);
    write(
        &ground,
        file,
        &text.replace("B_unencrypted=2", "B_unencrypted=3"),
    );
    assert_eq!(changed_by_hand(&ground), [file]);
    encrypt(file);
    assert_eq!(ground.standing(&path(file)), Standing::Verified);
    // From elsewhere, and to another name; what is printed is recorded nowhere.
    let other = "secrets/b.sops.yaml";
    std::fs::write(ground.folder.join("plain.yaml"), "a: 1\n").unwrap();
    let target = ground.repository().join(other);
    let mut elsewhere = sandbox.command(COFFERDAM, &ground.folder);
    elsewhere.args([
        "encrypt",
        "--age",
        laptop.as_str(),
        "plain.yaml",
        "--output",
    ]);
    Ran::of(elsewhere.arg(&target)).expect_code(0);
    assert_eq!(ground.standing(&path(other)), Standing::Verified);
    let record = read(&ground, RECORD);
    std::fs::write(ground.repository().join("secrets/plain.env"), "A=1\n").unwrap();
    ground.run(&["encrypt", "secrets/plain.env"]).expect_code(0);
    assert_eq!(read(&ground, RECORD), record);
    std::fs::remove_file(ground.repository().join("secrets/plain.env")).unwrap();
    // For a hook.
    let staged = "secrets/c.sops.env";
    write(&ground, staged, "A=1\n");
    ground.git(&["add", "-A"]);
    let ran = ground.run(&["encrypt", "--staged"]).expect_code(3);
    let hint = format!("git add -- {staged} {RECORD}");
    assert!(ran.stderr.contains(&hint), "{}", ran.stderr);
    assert_eq!(ground.standing(&path(staged)), Standing::Verified);
    // A record that is damaged is told of, and nothing fails for it.
    write(&ground, RECORD, "version = 7\n");
    let ran = encrypt(file);
    assert!(
        ran.stderr.contains("cofferdam verify --record"),
        "{}",
        ran.stderr
    );
    let ran = ground.run(&["renew", file]).expect_code(0);
    assert!(
        ran.stderr.contains("cofferdam verify --record"),
        "{}",
        ran.stderr
    );
    assert_eq!(read(&ground, RECORD), "version = 7\n");
    // Without a repository.
    let outside = Sandbox::new();
    std::fs::write(outside.path().join("x.env"), "A=1\n").unwrap();
    let mut command = outside.command(COFFERDAM, outside.path());
    command.args(["encrypt", "-i", "--age", laptop.as_str(), "x.env"]);
    let ran = Ran::of(&mut command).expect_code(0);
    assert_eq!(ran.stderr, "");
}
