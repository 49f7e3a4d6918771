//! Protocol rules 13 and 15 with a remote: what others push while a run is at work, documents that come late, and the way back
//! once others have the commit.

use crate::support::ground::{Ground, identities, parse, recipient};
use crate::support::two_clones::TwoClones;
use crate::support::{Sandbox, have_peers};
use cofferdam::ledger::State;
use cofferdam::repo_path::RepoPath;

const PUSHED: &str = "remote = \"origin\"\npush = true\n";
const KASM: &str = "docker/stacks/kasm/newt/.sops.env";
const LATE: &str = "docker/stacks/kasm/late/.sops.env";

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

/// Commits a file with these bytes.
fn commit(ground: &Ground<'_>, name: &str, bytes: &[u8]) {
    let file = ground.repository().join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, bytes).unwrap();
    ground.git(&["add", name]);
    ground.git(&["commit", "-q", "-m", name]);
}

#[test]
fn a_document_that_a_colleague_pushes_late_is_rewritten_too() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    let old = world.a.read(&path(KASM));
    world
        .a
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    // From a clone that has not pulled: wrapped to the old identity, and merged.
    commit(&world.b, LATE, &old);
    world.b.git(&["pull", "-q", "--no-rebase", "--no-edit"]);
    world.b.git(&["push", "-q"]);
    let done = world.a.run(&["resume"]).expect_code(0);
    assert!(
        done.stderr.contains(&format!("{LATE} came since")),
        "{}",
        done.stderr
    );
    let tip = world.hub(&["show", &format!("main:{LATE}")]) + "\n";
    let (late, kasm) = (
        parse(&path(LATE), tip.into_bytes()),
        parse(&path(KASM), world.a.read(&path(KASM))),
    );
    assert_eq!(late.recipients(), kasm.recipients());
    for (reader, zone, held) in world.a.readers() {
        assert_eq!(held.recipients().len(), 1, "{reader}");
        assert_eq!(late.open_with(&held).is_ok(), zone == "lan", "{reader}");
    }
    assert_eq!(world.held(), "");
    assert_eq!(world.a.git(&["status", "--porcelain"]), "");
}

/// A revert at the remote brings old bytes back: they are rewritten again before anything leaves.
#[test]
fn a_revert_that_a_colleague_pushes_is_rewritten_again() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    let before = world.copy("before");
    world
        .a
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    world.b.git(&["pull", "-q"]);
    commit(&world.b, KASM, &before.a.read(&path(KASM)));
    world.b.git(&["push", "-q"]);
    world.a.run(&["resume"]).expect_code(0);
    world.a.expect_split(&before.a, "reverted");
    world.b.git(&["pull", "-q"]);
    world.b.expect_split(&before.b, "reverted, at the remote");
}

#[test]
fn open_branches_are_told_of_and_sync_takes_what_comes_later() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    world.a.run(&["split", "--yes"]).expect_code(0);
    world.b.git(&["pull", "-q"]);
    let old = world
        .a
        .ledger()
        .records()
        .iter()
        .find(|r| r.id.starts_with("lan-"))
        .unwrap()
        .clone();
    // On a branch: one document for the old identity alone, and nobody else.
    world.b.git(&["checkout", "-q", "-b", "feature"]);
    let plain = world.b.folder.join("plain.env");
    std::fs::write(&plain, "LATE=1\n").unwrap();
    let to = [
        "--config",
        "/dev/null",
        "encrypt",
        "--input-type",
        "dotenv",
        "--output-type",
        "dotenv",
        "--age",
        old.recipient.as_str(),
        plain.to_str().unwrap(),
    ];
    let made = world
        .b
        .sops(&to, &world.b.folder.join("laptop.txt"))
        .expect_code(0);
    commit(&world.b, LATE, &made.stdout_bytes);
    world.b.git(&["push", "-q", "-u", "origin", "feature"]);

    let rotated = world.a.run(&["rotate", "lan", "--yes"]).expect_code(0);
    assert!(
        rotated.stderr.contains("origin/feature"),
        "{}",
        rotated.stderr
    );
    assert!(rotated.stderr.contains(LATE), "{}", rotated.stderr);
    // Documents that are as on main are not told of, nor is what was merged.
    assert!(
        !rotated.stderr.contains(&format!("{KASM} for what")),
        "{}",
        rotated.stderr
    );
    let state = world.a.ledger().record(&old.id).unwrap().state;
    assert_eq!(state, State::Retired);

    world.b.git(&["checkout", "-q", "main"]);
    world.b.git(&["pull", "-q"]);
    world.b.git(&["merge", "-q", "--no-edit", "feature"]);
    world.b.git(&["push", "-q"]);
    // The other operator: the laptop's identity opens what is sealed, and that opens the document.
    world.a.git(&["pull", "-q"]);
    let mut sync = world.a.command_with("laptop.txt", &["sync", "--yes"]);
    crate::support::Ran::of(&mut sync).expect_code(0);
    let late = parse(&path(LATE), world.a.read(&path(LATE)));
    let kasm = parse(&path(KASM), world.a.read(&path(KASM)));
    assert_eq!(late.recipients(), kasm.recipients());
    let host = identities(&world.a.host_file("kasm"));
    late.open_with(&host).unwrap();
    assert!(
        parse(&path(LATE), made.stdout_bytes)
            .open_with(&host)
            .is_err()
    );
}

/// Once published: today's values, a colleague's edit among them, go back to the recipients of before, in a further commit.
#[test]
fn rule_15_undo_once_pushed_keeps_what_others_wrote() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    world
        .a
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    let published = world.hub(&["rev-parse", "main"]);
    world.b.git(&["pull", "-q"]);
    let set = [
        "set",
        "--output-type",
        "dotenv",
        KASM,
        "[\"COLLEAGUE\"]",
        "\"was here\"",
    ];
    world
        .b
        .sops(&set, &world.b.folder.join("laptop.txt"))
        .expect_code(0);
    world.b.git(&["commit", "-q", "-a", "-m", "edit"]);
    world.b.git(&["push", "-q"]);
    // From a clone that lacks the edit; killed on the way, and gone on with.
    let shared = recipient(&world.a.folder.join("shared.txt"));
    let mut done = 0;
    for n in [0, 4, 9, 16, 23, 31, 40] {
        let when = format!("killed at {n}");
        let here = world.copy(&format!("back-{n}"));
        let mut undo = here.a.command(&["undo", "--yes"]);
        if n > 0 {
            undo.env("COFFERDAM_CRASH_AT", n.to_string());
        }
        let ran = crate::support::Ran::of(&mut undo);
        here.a.expect_readable(&when);
        if ran.code.is_none() {
            here.a.run(&["resume"]).expect_code(0);
        } else {
            ran.expect_code(0);
            done += 1;
        }
        assert_eq!(here.held(), "", "{when}");
        here.hub(&["merge-base", "--is-ancestor", &published, "main"]);
        here.b.git(&["pull", "-q"]);
        for document in &here.b.documents {
            let is = parse(document, here.b.read(document));
            assert_eq!(is.recipients(), [&shared], "{when}: {document}");
        }
        let shown = here
            .b
            .sops(&["decrypt", KASM], &here.b.folder.join("shared.txt"));
        assert!(
            shown.expect_code(0).stdout.contains("COLLEAGUE=was here"),
            "{when}"
        );
        for (reader, _, held) in here.a.readers() {
            assert_eq!(
                held.recipients(),
                std::slice::from_ref(&shared),
                "{when}: {reader}"
            );
        }
        here.remove();
    }
    assert!(done >= 1);
}

/// What a colleague encrypted for the new identities meanwhile would be lost to its readers: the way back stops there.
#[test]
fn rule_15_undo_stops_at_documents_made_for_what_it_takes_away() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    world
        .a
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    world.b.git(&["pull", "-q"]);
    commit(&world.b, LATE, &world.b.read(&path(KASM)));
    world.b.git(&["push", "-q"]);
    let stopped = world.a.run(&["undo", "--yes"]).expect_code(5);
    assert!(stopped.stderr.contains(LATE), "{}", stopped.stderr);
    let late = parse(&path(LATE), world.a.read(&path(LATE)));
    for host in ["kasm", "nvr"] {
        late.open_with(&identities(&world.a.host_file(host)))
            .unwrap();
    }
    world.a.git(&["rm", "-q", LATE]);
    world.a.git(&["commit", "-q", "-m", "later"]);
    world.a.git(&["push", "-q"]);
    world.a.run(&["resume"]).expect_code(0);
    let shared = recipient(&world.a.folder.join("shared.txt"));
    for (reader, _, held) in world.a.readers() {
        assert_eq!(held.recipients(), std::slice::from_ref(&shared), "{reader}");
    }
}
