//! A repository that was zoned by hand: a split goes on with the identities that serve a zone already, and killed at every
//! entry of the journal it locks nobody out.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::crash::crash_at;
use crate::support::ground::Ground;
use crate::support::side_by_side::side_by_side;
use crate::support::{Ran, Sandbox, have_peers};
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keys::{Identity, Recipient};
use cofferdam::ledger::{Holder, State};

const VPS: &str = "racknerd-aegis";

/// The small repository, of which the VPS has an identity of its own beside the shared one, which the laptop has.
struct Zoned<'s> {
    ground: Ground<'s>,
    vps: Recipient,
}

impl<'s> Zoned<'s> {
    fn new(sandbox: &'s Sandbox) -> Self {
        let ground = Ground::small(sandbox);
        let vps = Identity::mint();
        let recipient = vps.recipient().unwrap();
        let text = KeyFile::empty().with_identity(&[], &vps);
        std::fs::remove_file(ground.host_file(VPS)).unwrap();
        std::fs::write(ground.host_file(VPS), text.expose()).unwrap();
        let zoned = Self {
            ground,
            vps: recipient,
        };
        for document in [
            "docker/stacks/racknerd-aegis/identity/.sops.env",
            "docker/stacks/shared/alloy/.sops.env",
        ] {
            zoned.sops(&["rotate", "-i", "--add-age", zoned.vps.as_str(), document]);
        }
        zoned.edit(|text| {
            text.replace(
                "[zones.vps]\n",
                &format!("[zones.vps]\nadopt = \"{}\"\n", zoned.vps),
            )
        });
        zoned.ground.git(&["add", "-A"]);
        zoned
            .ground
            .git(&["commit", "-q", "-m", "zone the VPS by hand"]);
        zoned
    }

    fn sops(&self, args: &[&str]) {
        let sandbox = self.ground.sandbox;
        let mut sops = sandbox.command("sops", &self.ground.repository());
        sops.env("SOPS_AGE_KEY_FILE", self.ground.folder.join("shared.txt"));
        Ran::of(sops.args(args)).expect_code(0);
    }

    fn edit(&self, change: impl Fn(&str) -> String) {
        let file = self.ground.repository().join("cofferdam.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let changed = change(&text);
        assert_ne!(changed, text);
        std::fs::write(file, changed).unwrap();
    }

    fn key_file(&self) -> Vec<u8> {
        std::fs::read(self.ground.host_file(VPS)).unwrap()
    }
}

fn is_missing() -> bool {
    !have_peers(&["git", "sops"])
}

#[test]
fn what_serves_a_zone_goes_on_and_the_rest_is_split() {
    if is_missing() {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Zoned::new(&sandbox);
    let after = before.ground.copy("after");
    let status = Ran::of(&mut after.command(&["status"])).stdout;
    let to_adopt = format!("to adopt {}", before.vps.short());
    assert!(status.contains(&to_adopt), "{status}");
    let why = after.run(&["why", VPS]).stdout;
    assert!(why.contains("zone vps has not adopted age1"), "{why}");
    let document = "docker/stacks/racknerd-aegis/identity/.sops.env";
    let why = after.run(&["why", document]).stdout;
    assert!(
        why.contains("which zone vps adopts with the next run"),
        "{why}"
    );
    let check = after.run(&["check", "--json"]).stdout;
    assert!(check.contains("\"findings\""), "{check}");
    assert!(!check.contains(before.vps.as_str()), "{check}");
    let plan = after.run(&["plan", "split"]).expect_code(0).stdout;
    assert!(plan.contains("(adopted)"), "{plan}");
    assert!(
        plan.contains("adopt 1 identity, mint 2 identities"),
        "{plan}"
    );
    let note = "is not at hand: it is read from racknerd-aegis";
    assert!(plan.contains(note), "{plan}");
    after.run(&["split", "--yes"]).expect_code(0);
    after.expect_finished(&before.ground, "adopted");
    let ledger = after.ledger();
    let live = ledger.live(&Holder::Zone("vps".to_owned())).unwrap();
    assert_eq!(live.recipient, before.vps);
    assert!(live.minted.is_none() && live.was_given_to(VPS));
    // Nothing was written where nothing had to be.
    assert_eq!(
        std::fs::read(after.host_file(VPS)).unwrap(),
        before.key_file()
    );
    let again = after.run(&["plan", "split"]).expect_code(0).stdout;
    assert!(again.starts_with("Nothing to do"), "{again}");
    // It is an identity like any other: it is rotated, and `adopt` stays without effect.
    after.run(&["rotate", "vps", "--yes"]).expect_code(0);
    let ledger = after.ledger();
    let old = ledger.record_of(&before.vps).unwrap();
    assert_eq!(old.state, State::Retired);
    let live = ledger.live(&Holder::Zone("vps".to_owned())).unwrap();
    assert_ne!(live.recipient, before.vps);
    after.expect_readable("rotated");
    let again = after.run(&["plan", "sync"]).expect_code(0).stdout;
    assert!(again.starts_with("Nothing to do"), "{again}");
}

#[test]
fn who_holds_it_is_remembered_though_the_run_goes_on_without() {
    if is_missing() {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let zoned = Zoned::new(&sandbox);
    let ground = &zoned.ground;
    // A second host of the zone, whose key file cannot be read.
    zoned.edit(|text| {
        let host = "\n[hosts.second]\nzone = \"vps\"\nlocal = \"../targets/second\"\n";
        text.replace("\n[clusters.", &format!("{host}\n[clusters."))
    });
    ground.git(&["commit", "-q", "-a", "-m", "a second host"]);
    std::fs::create_dir_all(ground.host_file("second")).unwrap();
    let split = [
        "split",
        "--yes",
        "--without",
        "second",
        "--accept",
        "second",
    ];
    ground.run(&split).expect_code(0);
    let ledger = ground.ledger();
    let live = ledger.live(&Holder::Zone("vps".to_owned())).unwrap();
    assert_eq!(live.recipient, zoned.vps);
    assert!(live.was_given_to("second") && live.was_given_to(VPS));
    std::fs::remove_dir(ground.host_file("second")).unwrap();
    ground.run(&["revoke", "second", "--yes"]).expect_code(0);
    let ledger = ground.ledger();
    let old = ledger.record_of(&zoned.vps).unwrap();
    assert_eq!(old.state, State::Compromised);
    let live = ledger.live(&Holder::Zone("vps".to_owned())).unwrap();
    assert_ne!(live.recipient, zoned.vps);
    ground.expect_readable("revoked");
}

#[test]
fn the_last_reader_of_a_zone_that_adopted_can_be_revoked() {
    if is_missing() {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let zoned = Zoned::new(&sandbox);
    let ground = &zoned.ground;
    ground.run(&["split", "--yes"]).expect_code(0);
    ground.run(&["revoke", VPS, "--yes"]).expect_code(0);
    let text = std::fs::read_to_string(ground.repository().join("cofferdam.toml")).unwrap();
    assert!(text.contains("adopt = ") && !text.contains("[hosts.racknerd-aegis]"));
    let ledger = ground.ledger();
    assert_eq!(
        ledger.record_of(&zoned.vps).unwrap().state,
        State::Compromised
    );
    let again = ground.run(&["plan", "sync"]).expect_code(0).stdout;
    assert!(again.starts_with("Nothing to do"), "{again}");
}

#[test]
fn killed_at_every_entry() {
    if is_missing() {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let zoned = Zoned::new(&sandbox);
    let before = &zoned.ground;
    let first = before.first();
    let entries = AtomicUsize::new(0);
    side_by_side(|n| {
        // Every entry of a split is killed elsewhere; here every other one, and all around the adoption.
        let n = if n < 12 { n } else { 2 * n - 12 };
        let when = format!("killed at {}", n + 1);
        let going_on = before.copy(&format!("on-{n}"));
        let killed = crash_at(&going_on, &["split", "--yes"], n + 1);
        going_on.expect_readable(&when);
        let going_back = going_on.copy(&format!("back-{n}"));
        going_on.resume_and_finish(before, &first, &format!("{when}, then resume"));
        let ledger = going_on.ledger();
        let live = ledger.live(&Holder::Zone("vps".to_owned())).unwrap();
        assert_eq!(live.recipient, zoned.vps, "{when}");
        going_back.undo_or_finish(before, &first, &format!("{when}, then undo"));
        going_on.remove();
        going_back.remove();
        if killed {
            entries.fetch_add(1, Ordering::SeqCst);
        }
        killed
    });
    let entries = entries.load(Ordering::SeqCst);
    println!("killed at {entries} moments");
    assert!(entries > 30, "only {entries} moments");
}

#[test]
fn taken_back_by_a_commit_it_serves_on() {
    if is_missing() {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let zoned = Zoned::new(&sandbox);
    let ground = &zoned.ground;
    ground
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    // Somebody has the commit.
    ground.git(&["branch", "theirs"]);
    ground.run(&["undo", "--yes"]).expect_code(0);
    ground.expect_readable("taken back");
    assert_eq!(
        std::fs::read(ground.host_file(VPS)).unwrap(),
        zoned.key_file()
    );
    let ledger = ground.ledger();
    let live = ledger.live(&Holder::Zone("vps".to_owned())).unwrap();
    assert_eq!((&live.recipient, live.state), (&zoned.vps, State::Active));
    // And the next one goes through.
    ground.run(&["split", "--yes"]).expect_code(0);
    ground.expect_readable("split again");
    let live = ground.ledger();
    let live = live.live(&Holder::Zone("vps".to_owned())).unwrap();
    assert_eq!(live.recipient, zoned.vps);
}

#[test]
fn offered_on_a_branch_it_waits_for_the_merge() {
    if is_missing() {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let zoned = Zoned::new(&sandbox);
    let ground = &zoned.ground;
    let before = ground.copy("before");
    ground.run(&["split", "--yes", "--branch"]).expect_code(0);
    ground.expect_readable("offered");
    ground.run(&["resume"]).expect_code(5);
    let branch = ground.git(&[
        "branch",
        "--list",
        "cofferdam/*",
        "--format=%(refname:short)",
    ]);
    ground.git(&["merge", "-q", "--squash", branch.trim()]);
    ground.git(&["commit", "-q", "-m", "merge the split"]);
    ground.run(&["resume"]).expect_code(0);
    ground.expect_split(&before, "merged");
}

#[test]
fn an_identity_that_others_hold_or_nobody_has_is_not_adopted() {
    if is_missing() {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let zoned = Zoned::new(&sandbox);
    let ground = &zoned.ground;
    let first = ground.first();
    let refused = |ground: &Ground<'_>, said: &str| {
        let ran = ground.run(&["split", "--yes"]).expect_code(1);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        assert!(ran.stderr.contains("remove `adopt`"), "{}", ran.stderr);
    };
    let elsewhere = ground.copy("elsewhere");
    let mut both = std::fs::read_to_string(elsewhere.host_file("kasm")).unwrap();
    both.push_str(&String::from_utf8(zoned.key_file()).unwrap());
    std::fs::remove_file(elsewhere.host_file("kasm")).unwrap();
    std::fs::write(elsewhere.host_file("kasm"), both).unwrap();
    refused(&elsewhere, "which kasm holds as well");
    let nowhere = ground.copy("nowhere");
    std::fs::remove_file(nowhere.host_file(VPS)).unwrap();
    refused(&nowhere, "neither at hand nor on any of its readers");
    ground.expect_first(&first, "nothing was done");
}
