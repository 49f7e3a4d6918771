//! Protocol rule 14: with a remote, one run at a time, everywhere. Real git, a bare remote, two operators.

use crate::support::ground::Ground;
use crate::support::two_clones::TwoClones;
use crate::support::{Ran, Sandbox};

const PUSHED: &str = "remote = \"origin\"\npush = true\n";

/// Whoever lost has shipped nothing and has a clean tree: none of its own minted identities lies there.
#[track_caller]
fn expect_clean(ground: &Ground<'_>, when: &str) {
    assert_eq!(
        ground.git(&["status", "--porcelain", "-uall"]),
        "",
        "{when}"
    );
    assert!(ground.unfinished().is_none(), "{when}: unfinished run");
    ground.expect_no_leftovers(when);
    let refs = ground.git(&["for-each-ref", "--format=%(refname)", "refs/cofferdam"]);
    assert_eq!(refs, "", "{when}: refs left behind");
}

#[test]
fn the_second_operator_is_told_before_anything_is_made() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    let before = world.copy("before");
    world
        .a
        .run(&["split", "--yes", "--hold-at", "ship"])
        .expect_code(0);
    let held = world.held();
    assert!(!held.is_empty());
    let targets = world.a.first();
    let first = world.b.first();
    let refused = world.b.run(&["split", "--yes"]).expect_code(5);
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let run = world.a.unfinished().unwrap().progress().run.to_string();
    for word in [
        "Test on ",
        host.as_str(),
        run.as_str(),
        "split",
        "cofferdam resume --take-over",
        "wait",
    ] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    assert_eq!(
        world.b.first(),
        first,
        "the second operator changed something"
    );
    assert_eq!(world.a.first(), targets, "the readers changed");
    assert_eq!(world.held(), held);
    let told = world.b.run(&["resume"]).expect_code(0);
    assert!(told.stderr.contains(&run), "{}", told.stderr);

    // The first one ends; the second one pulls, and finds nothing to do.
    world.a.run(&["resume"]).expect_code(0);
    world.a.expect_finished(&before.a, "ended");
    assert_eq!(world.held(), "");
    let stale = world.b.run(&["split", "--yes"]).expect_code(1);
    assert!(stale.stderr.contains("git pull"), "{}", stale.stderr);
    world.b.git(&["pull", "-q"]);
    world.b.run(&["split", "--yes"]).expect_code(0);
    world.b.expect_finished(&before.b, "pulled");
    expect_clean(&world.b, "pulled");
}

#[test]
fn of_two_that_begin_at_once_one_loses_cleanly() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    for round in 0..4 {
        let world = world.copy(&format!("round-{round}"));
        let begin = |ground: &Ground<'_>| {
            let mut command = ground.command(&["split", "--yes", "--hold-at", "ship"]);
            command
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        };
        let (a, b) = (begin(&world.a), begin(&world.b));
        let codes = [a, b].map(|child| child.wait_with_output().unwrap().status.code().unwrap());
        let (winner, loser) = match codes {
            [0, 5] => (&world.a, &world.b),
            [5, 0] => (&world.b, &world.a),
            other => panic!("round {round}: {other:?}"),
        };
        expect_clean(loser, "lost");
        assert!(winner.unfinished().is_some());
        winner.run(&["resume"]).expect_code(0);
        winner.expect_split(&winner_before(&world, round), "won");
        assert_eq!(world.held(), "");
        loser.git(&["pull", "-q"]);
        loser.run(&["split", "--yes"]).expect_code(0);
    }
    fn winner_before<'s>(world: &TwoClones<'s>, _round: usize) -> Ground<'s> {
        let folder = world.folder.parent().unwrap().join("two/a");
        Ground {
            folder,
            ..world.a.clone()
        }
    }
}

/// Between the look and the swap: the ref is taken by another while our push is on its way.
#[test]
fn who_loses_the_swap_has_shipped_nothing() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    world
        .a
        .run(&["split", "--yes", "--hold-at", "ship"])
        .expect_code(0);
    let held = world.held();
    world.hub(&["update-ref", "-d", "refs/cofferdam/run"]);
    world.hub_hook(
        "update",
        &format!(
            "test \"$1\" = refs/cofferdam/run || exit 0\nrm \"$0\"\nunset GIT_QUARANTINE_PATH\nexec git update-ref refs/cofferdam/run {held}"
        ),
    );
    let first = world.b.first();
    let lost = world.b.run(&["split", "--yes"]).expect_code(5);
    assert!(lost.stderr.contains("Test on "), "{}", lost.stderr);
    assert_eq!(
        world.held(),
        held,
        "the hook did not run: this tests nothing"
    );
    assert_eq!(world.b.first(), first);
    expect_clean(&world.b, "lost");
}

#[test]
fn a_remote_that_refuses_or_is_gone_stops_before_anything_is_shipped() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    let first = world.b.first();
    world.hub_hook("pre-receive", "echo no such refs here >&2; exit 1");
    let refused = world.b.run(&["split", "--yes"]).expect_code(5);
    for word in [
        "no such refs here",
        "refs/cofferdam/run",
        "nothing was shipped",
    ] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    assert_eq!(world.b.first(), first);
    expect_clean(&world.b, "refused");
    std::fs::remove_file(world.folder.join("hub.git/hooks/pre-receive")).unwrap();

    let hub = world.folder.join("hub.git");
    std::fs::rename(&hub, world.folder.join("gone.git")).unwrap();
    let gone = world.b.run(&["split", "--yes"]).expect_code(1);
    assert!(gone.stderr.contains("cannot ask origin"), "{}", gone.stderr);
    assert!(gone.stderr.contains("git ls-remote"), "{}", gone.stderr);
    assert_eq!(world.b.first(), first);
    expect_clean(&world.b, "gone");

    // Gone in the middle: the run stops, and goes on once it is back.
    std::fs::rename(world.folder.join("gone.git"), &hub).unwrap();
    world
        .b
        .run(&["split", "--yes", "--hold-at", "prove"])
        .expect_code(0);
    std::fs::rename(&hub, world.folder.join("gone.git")).unwrap();
    let gone = world.b.run(&["resume"]).expect_code(5);
    assert!(gone.stderr.contains("cannot ask origin"), "{}", gone.stderr);
    world.b.expect_nothing_retired("gone in the middle");
    std::fs::rename(world.folder.join("gone.git"), &hub).unwrap();
    world.b.run(&["resume"]).expect_code(0);
    assert_eq!(world.held(), "");
    expect_clean(&world.b, "back again");
}

/// The ref is let go by an undo as well.
#[test]
fn an_undo_lets_others_begin() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    let before = world.copy("before");
    let first = world.a.first();
    world
        .a
        .run(&["split", "--yes", "--hold-at", "publish"])
        .expect_code(0);
    assert!(!world.held().is_empty());
    world.a.run(&["undo", "--yes"]).expect_code(0);
    world.a.expect_first(&first, "undone");
    assert_eq!(world.held(), "");
    world.b.run(&["split", "--yes"]).expect_code(0);
    world.b.expect_finished(&before.b, "by the other");
}

/// A laptop dies at any moment; the other operator finishes its run; the laptop wakes up and is told.
fn a_dead_laptop(moments: impl Iterator<Item = usize>) {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    for n in moments {
        let when = format!("the laptop died at {n}");
        let here = world.copy(&format!("dead-{n}"));
        let mut command = here.a.command(&["split", "--yes"]);
        let ran = Ran::of(command.env("COFFERDAM_CRASH_AT", n.to_string()));
        if ran.code.is_some() {
            assert_eq!(ran.code, Some(0), "{when}: {}", ran.stderr);
            return;
        }
        here.a.expect_readable(&when);
        here.b.git(&["pull", "-q"]);
        if here.held().is_empty() {
            let taken = here.b.run(&["resume", "--take-over", "--yes"]);
            let taken = taken.expect_code(0);
            assert!(taken.stderr.contains("nothing to take over"), "{when}");
            here.b.run(&["split", "--yes"]).expect_code(0);
        } else {
            let refused = here.b.run(&["split", "--yes"]).expect_code(5);
            assert!(refused.stderr.contains("--take-over"), "{when}");
            here.b
                .run(&["resume", "--take-over", "--yes"])
                .expect_code(0);
        }
        here.b.expect_split(&world.b, &when);
        assert_eq!(here.held(), "", "{when}");
        expect_clean(&here.b, &when);

        // The laptop wakes up.
        let woken = here.a.run(&["resume"]);
        assert!(
            matches!(woken.code, Some(0 | 5)),
            "{when}: {}",
            woken.stderr
        );
        assert_eq!(here.held(), "", "{when}, woken");
        assert!(here.a.unfinished().is_none(), "{when}: {}", woken.stderr);
        here.a.git(&["pull", "-q", "--rebase"]);
        here.a.expect_split(&world.a, &format!("{when}, woken"));
        here.a.run(&["split", "--yes"]).expect_code(0);
        here.remove();
    }
    panic!("the run never came to its end");
}

#[test]
fn a_dead_laptops_run_is_finished_by_another_clone() {
    a_dead_laptop((1..400).step_by(9));
}

#[test]
fn a_dead_laptops_run_is_finished_by_another_clone_at_other_moments() {
    a_dead_laptop((5..400).step_by(9));
}
