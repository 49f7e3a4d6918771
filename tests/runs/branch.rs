//! `--branch`: the change stands on a branch of its own until it was merged; whatever happens meanwhile, nobody is locked out.

use cofferdam::keys::Recipient;
use cofferdam::ledger::{Holder, State};

use crate::support::ground::Ground;
use crate::support::two_clones::TwoClones;
use crate::support::{Ran, Sandbox};

const BRANCH: &str = "cofferdam/rotate-lan";

fn split<'s>(sandbox: &'s Sandbox) -> Ground<'s> {
    let ground = Ground::small(sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    ground
}

fn lan(ground: &Ground<'_>) -> Recipient {
    let ledger = ground.ledger();
    let live = ledger.live(&Holder::Zone("lan".to_owned())).unwrap();
    live.recipient.clone()
}

fn branches(ground: &Ground<'_>) -> String {
    ground.git(&["branch", "--format=%(refname:short)"])
}

/// The rotation went to its end: the old identity is nowhere but sealed, and its branch has served.
#[track_caller]
fn expect_rotated(ground: &Ground<'_>, old: &Recipient, when: &str) {
    ground.expect_readable_by_hosts();
    let new = lan(ground);
    assert_ne!(new, *old, "{when}");
    let state = ground.ledger().record_of(old).unwrap().state;
    assert_eq!(state, State::Retired, "{when}");
    for (reader, zone, held) in ground.readers() {
        assert!(!held.holds(old), "{when}: {reader}");
        assert_eq!(held.holds(&new), zone == "lan", "{when}: {reader}");
    }
    assert_eq!(branches(ground), "main", "{when}");
    assert!(ground.unfinished().is_none(), "{when}");
    assert_eq!(ground.git(&["status", "--porcelain"]), "", "{when}");
}

#[test]
fn a_rotation_waits_on_its_branch_until_it_is_merged() {
    let sandbox = Sandbox::in_memory();
    let before = split(&sandbox);
    let old = lan(&before);
    let ground = before.copy("branch");
    let first = ground.first();
    let head = ground.git(&["rev-parse", "main"]);

    let offered = ground
        .run(&["rotate", "lan", "--branch", "--yes"])
        .expect_code(0);
    assert!(offered.stderr.contains(BRANCH), "{}", offered.stderr);
    assert!(
        offered.stderr.contains("merge it into main"),
        "{}",
        offered.stderr
    );
    // Whoever looks it over reads who opens what, and who has shown it.
    let told = ground.git(&["log", "-1", "--format=%B", BRANCH]);
    for line in [
        "- 2 in zone lan: opens for lan-2",
        "- 1 in shared alloy: opens for lan-2",
        ": kasm (unwrapped there), nvr (unwrapped there)",
        "Once this is merged: cofferdam resume",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    // Everything is as it was where people work, and readers hold both.
    assert_eq!(ground.git(&["branch", "--show-current"]), "main");
    assert_eq!(ground.git(&["rev-parse", "main"]), head);
    assert_eq!(ground.git(&["status", "--porcelain"]), "");
    ground.expect_readable("offered");
    for (reader, zone, held) in ground.readers() {
        let identities = if zone == "lan" { 2 } else { 1 };
        assert_eq!(held.recipients().len(), identities, "{reader}");
    }
    // Whoever deploys the branch to try it can read it, too.
    let tried = ground.copy("tried");
    tried.git(&["switch", "-q", BRANCH]);
    tried.expect_readable("the branch is checked out");

    // It waits, and says for what.
    let told = ground.run(&["status"]).expect_code(3).stdout;
    assert!(
        told.contains(&format!("waits until branch {BRANCH} is merged into main")),
        "{told}"
    );
    let waits = ground.run(&["resume", "--yes"]).expect_code(5).stderr;
    assert!(
        waits.contains(&format!("branch {BRANCH} is not merged into main yet")),
        "{waits}"
    );
    ground.run(&["rotate", "vps", "--yes"]).expect_code(5);
    ground.expect_readable("waiting");

    // A way back at any time, byte for byte.
    for checked_out in ["main", BRANCH] {
        let back = ground.copy("back");
        back.git(&["switch", "-q", checked_out]);
        back.run(&["undo", "--yes"]).expect_code(0);
        back.expect_first(&first, &format!("undone on {checked_out}"));
        back.remove();
    }

    // However it is merged.
    let merge: [&[&[&str]]; 3] = [
        &[&["merge", "-q", "--ff-only", BRANCH]],
        &[&["merge", "-q", "--no-ff", "-m", "merge", BRANCH]],
        &[
            &["merge", "-q", "--squash", BRANCH],
            &["commit", "-q", "-m", "squashed"],
        ],
    ];
    for (n, commands) in merge.into_iter().enumerate() {
        let merged = ground.copy("merged");
        for command in commands {
            merged.git(command);
        }
        let when = format!("merge {n}");
        merged.expect_readable(&when);
        merged.run(&["resume", "--yes"]).expect_code(0);
        expect_rotated(&merged, &old, &when);
        merged.run(&["sync", "--yes"]).expect_code(0);
        merged.remove();
    }
}

#[test]
fn after_the_merge_undo_goes_back_by_a_further_commit() {
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let old = lan(&ground);
    ground
        .run(&["rotate", "lan", "--branch", "--yes"])
        .expect_code(0);
    ground.git(&["merge", "-q", "--ff-only", BRANCH]);
    let new = lan(&ground);
    ground.run(&["undo", "--yes"]).expect_code(0);
    ground.expect_readable_by_hosts();
    assert_eq!(lan(&ground), old);
    for (reader, _, held) in ground.readers() {
        assert!(!held.holds(&new), "{reader}");
    }
    assert_eq!(branches(&ground), "main");
    assert!(ground.unfinished().is_none());
}

#[test]
fn by_way_of_a_remote() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, "remote = \"origin\"\npush = true\n");
    world.a.run(&["split", "--yes"]).expect_code(0);
    let old = lan(&world.a);
    world
        .a
        .run(&["rotate", "lan", "--branch", "--yes"])
        .expect_code(0);
    let there = |world: &TwoClones<'_>| {
        world.hub(&["for-each-ref", "--format=%(refname:short)", "refs/heads"])
    };
    assert_eq!(there(&world), format!("{BRANCH}\nmain"));
    assert_ne!(world.held(), "", "the run is held while it waits");
    world.a.run(&["resume", "--yes"]).expect_code(5);

    // Taken back: the branch leaves the remote before anything else, and nobody can merge it.
    let back = world.copy("two-back");
    back.a.run(&["undo", "--yes"]).expect_code(0);
    assert_eq!(there(&back), "main");
    assert_eq!(back.held(), "");
    assert_eq!(branches(&back.a), "main");
    assert_eq!(lan(&back.a), old);
    back.a.expect_readable_by_hosts();
    back.remove();

    // Somebody has committed on it: that is not taken away.
    let moved = world.copy("two-moved");
    moved.b.git(&["fetch", "-q"]);
    moved.b.git(&["switch", "-q", BRANCH]);
    moved
        .b
        .git(&["commit", "-q", "--allow-empty", "-m", "looked over"]);
    moved.b.git(&["push", "-q", "origin", BRANCH]);
    let refused = moved.a.run(&["undo", "--yes"]).expect_code(5).stderr;
    assert!(
        refused.contains("holds commits that are not the run's"),
        "{refused}"
    );
    moved.a.expect_readable("somebody committed on the branch");
    // Merged with that commit it goes on, and the branch is left to whoever it belongs to.
    moved.b.git(&["switch", "-q", "main"]);
    moved.b.git(&["pull", "-q"]);
    moved
        .b
        .git(&["merge", "-q", "--no-edit", &format!("origin/{BRANCH}")]);
    moved.b.git(&["push", "-q", "origin", "main"]);
    moved.a.run(&["resume", "--yes"]).expect_code(0);
    expect_rotated(&moved.a, &old, "merged with another commit");
    moved.remove();

    // A colleague squashes it at the remote; here nothing was pulled.
    world.b.git(&["fetch", "-q"]);
    world.b.git(&["merge", "-q", "--ff-only", "origin/main"]);
    world
        .b
        .git(&["merge", "-q", "--squash", &format!("origin/{BRANCH}")]);
    world.b.git(&["commit", "-q", "-m", "rotate lan (#7)"]);
    world.b.git(&["push", "-q", "origin", "main"]);
    let dead = world.copy("two-dead");
    world.a.run(&["resume", "--yes"]).expect_code(0);
    expect_rotated(&world.a, &old, "squashed at the remote");
    assert_eq!(there(&world), "main");
    assert_eq!(world.held(), "");

    // The laptop died while it waited: another clone goes on once the branch was merged.
    dead.b
        .run(&["resume", "--take-over", "--yes"])
        .expect_code(0);
    expect_rotated(&dead.b, &old, "by another clone");
    // Which commits the other clone made it cannot know: the branch is left.
    assert_eq!(there(&dead), format!("{BRANCH}\nmain"));
}

#[test]
fn refusals_name_the_branch() {
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    ground.git(&["branch", BRANCH]);
    let taken = ground
        .run(&["rotate", "lan", "--branch", "--yes"])
        .expect_code(1)
        .stderr;
    assert!(taken.contains(&format!("there is a branch {BRANCH} already")));
    ground.git(&["branch", "-q", "-D", BRANCH]);

    // One at a time.
    let several = ground
        .run(&["rotate", "lan", "vps", "--branch", "--yes"])
        .expect_code(0)
        .stderr;
    assert!(several.contains("one branch at a time: vps"), "{several}");
    assert_eq!(branches(&ground), format!("{BRANCH}\nmain"));
    ground.run(&["undo", "--yes"]).expect_code(0);

    // A zone that nobody but operators reads.
    let toml = ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let more = "\n[zones.attic]\nfiles = [{ paths = [\"attic/*.sops.env\"] }]\n";
    std::fs::write(&toml, format!("{text}{more}")).unwrap();
    let empty = ground.run(&["rotate", "attic", "--yes"]).expect_code(1);
    assert!(empty.stderr.contains("zone attic has no host"));
    std::fs::write(&toml, text).unwrap();

    ground.git(&["switch", "-q", "--detach"]);
    let detached = ground
        .run(&["rotate", "lan", "--branch", "--yes"])
        .expect_code(1)
        .stderr;
    assert!(detached.contains("none is"), "{detached}");
    let nothing = ground
        .run(&["rotate", "--due", "--branch", "--yes"])
        .expect_code(0)
        .stderr;
    assert!(nothing.contains("nothing is due"), "{nothing}");
}

#[test]
fn killed_at_every_entry_of_a_run_with_a_branch() {
    let sandbox = Sandbox::in_memory();
    let before = split(&sandbox);
    let old = lan(&before);
    let first = before.first();
    let crash_at = |ground: &Ground<'_>, args: &[&str], n: usize| -> bool {
        let mut command = ground.command(args);
        command.env("COFFERDAM_CRASH_AT", n.to_string());
        Ran::of(&mut command).code.is_none()
    };
    let mut n = 1;
    loop {
        let ground = before.copy("killed");
        let died = crash_at(&ground, &["rotate", "lan", "--branch", "--yes"], n);
        ground.expect_readable(&format!("killed at {n}"));
        if !died {
            break;
        }
        // Back, killed on the way as well, or on to the end.
        if n % 2 == 0 {
            let back = ground.copy("killed-back");
            crash_at(&back, &["undo", "--yes"], n % 7 + 1);
            back.expect_readable(&format!("killed at {n}, and going back"));
            back.run(&["undo", "--yes"]).expect_code(0);
            back.expect_first(&first, &format!("killed at {n}, undone"));
            back.remove();
        } else if ground.unfinished().is_some() {
            let when = format!("killed at {n}, resumed");
            let resumed = ground.run(&["resume", "--yes"]);
            assert!(
                matches!(resumed.code, Some(0 | 5)),
                "{when}: {}",
                resumed.stderr
            );
            assert_eq!(ground.git(&["branch", "--show-current"]), "main", "{when}");
            ground.expect_readable(&when);
            ground.git(&["merge", "-q", "--squash", BRANCH]);
            ground.git(&["commit", "-q", "-m", "squashed"]);
            let m = n % 23 + 1;
            crash_at(&ground, &["resume", "--yes"], m);
            ground.expect_readable_by_hosts();
            if ground.unfinished().is_some() {
                ground.run(&["resume", "--yes"]).expect_code(0);
            }
            expect_rotated(&ground, &old, &format!("{when}, killed again at {m}"));
        }
        ground.remove();
        n += 1;
    }
    assert!(n > 20, "only {n} moments");
}
