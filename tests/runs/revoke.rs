//! Revoking a host or an identity: it opens nothing that is encrypted from now on, whether it can be reached or not, and nobody
//! else is locked out at any moment. Judged by real decryption with the key files as they lie on the targets.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Sandbox;
use crate::support::ground::{Ground, identities, parse};
use crate::support::homeops::Homeops;
use crate::support::side_by_side::side_by_side;
use cofferdam::keys::{IdentitySet, Recipient};
use cofferdam::ledger::{Holder, State};

fn split(sandbox: &Sandbox) -> Ground<'_> {
    let ground = Ground::small(sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    ground
}

fn live(ground: &Ground<'_>, zone: &str) -> Option<Recipient> {
    let ledger = ground.ledger();
    ledger
        .live(&Holder::Zone(zone.to_owned()))
        .map(|r| r.recipient.clone())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Everybody but the hosts of `but` opens what is theirs at HEAD and in the work tree, and nothing else.
#[track_caller]
fn expect_served(ground: &Ground<'_>, but: &[&str], when: &str) {
    assert_eq!(ground.git(&["status", "--short"]), "", "{when}");
    for path in &ground.documents {
        let document = parse(path, ground.read(path));
        for (reader, zone, held) in ground.readers() {
            let reads = Homeops::zones_of(path.as_str()).contains(&zone);
            let reads = reads && !but.contains(&reader.as_str());
            assert_eq!(
                document.open_with(&held).is_ok(),
                reads,
                "{when}: {reader}: {path}"
            );
        }
        for keys in ["laptop.txt", "recovery.txt"] {
            let keys = identities(&ground.folder.join(keys));
            assert!(document.open_with(&keys).is_ok(), "{when}: {path}");
        }
    }
}

/// These identities open no document as it is now.
#[track_caller]
fn expect_shut_out(ground: &Ground<'_>, taken: &IdentitySet, when: &str) {
    for path in &ground.documents {
        let document = parse(path, ground.read(path));
        assert!(document.open_with(taken).is_err(), "{when}: {path}");
    }
}

#[test]
fn a_host_that_can_be_reached() {
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let old = live(&ground, "lan").unwrap();
    let taken = identities(&ground.host_file("nvr"));
    assert!(taken.holds(&old));
    let toml = ground.repository().join("cofferdam.toml");
    let text = read(&toml).replace("[hosts.nvr]", "# the recorder\n[hosts.nvr]");
    std::fs::write(&toml, &text).unwrap();
    ground.git(&["commit", "-qam", "a comment"]);

    let plan = ground.run(&["plan", "revoke", "nvr"]).expect_code(0);
    assert!(plan.stdout.starts_with("Revoke nvr"), "{}", plan.stdout);
    assert_eq!(read(&toml), text, "a plan changes nothing");
    let ran = ground.run(&["revoke", "nvr", "--yes"]).expect_code(0);
    assert!(
        ran.stderr.contains("took 1 identity from nvr"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("still in use: replace them"),
        "{}",
        ran.stderr
    );
    expect_served(&ground, &["nvr"], "revoked");
    expect_shut_out(&ground, &taken, "revoked");
    assert!(!identities(&ground.host_file("nvr")).holds(&old));
    assert!(!identities(&ground.host_file("kasm")).holds(&old));
    let after = read(&toml);
    assert!(!after.contains("[hosts.nvr]") && !after.contains("the recorder"));
    assert!(after.contains("docker/stacks/{kasm,nvr}/**"), "{after}");
    let ledger = ground.ledger();
    assert_eq!(ledger.record_of(&old).unwrap().state, State::Compromised);
    let tombstone = &ledger.revoked()[0];
    assert_eq!(
        (tombstone.name.as_str(), tombstone.zone.as_str()),
        ("nvr", "lan")
    );
    assert!(tombstone.section.contains("../targets/nvr"));
    // Its own zone alone: nobody else's identity changed.
    assert_eq!(ground.ledger().records().len(), 5);
    ground.run(&["sync", "--yes"]).expect_code(0);
    let again = ground.run(&["revoke", "nvr", "--yes"]).expect_code(0);
    assert!(
        again.stderr.contains("nvr was revoked at"),
        "{}",
        again.stderr
    );
    expect_served(&ground, &["nvr"], "afterwards");
}

#[test]
fn a_host_that_is_gone() {
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let taken = identities(&ground.host_file("nvr"));
    let folder = ground.folder.join("targets/nvr");
    std::fs::rename(&folder, ground.folder.join("stolen")).unwrap();
    let ran = ground.run(&["revoke", "nvr", "--yes"]).expect_code(0);
    assert!(
        ran.stderr.contains("nvr still holds what it was given"),
        "{}",
        ran.stderr
    );
    expect_shut_out(&ground, &taken, "stolen");
    std::fs::rename(ground.folder.join("stolen"), &folder).unwrap();
    expect_served(&ground, &["nvr"], "back");
}

#[test]
fn a_revocation_that_was_held_takes_what_it_revokes_and_lists_what_was_exposed_once_it_goes_on() {
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let host_file = ground.host_file("nvr");
    let entries = std::fs::read_dir(ground.cluster_folder()).unwrap();
    let entry = entries
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "agekey"))
        .unwrap();
    for (name, file) in [("nvr", &host_file), ("minipcs", &entry)] {
        assert_eq!(identities(file).recipients().len(), 1, "{name}");
        ground
            .run(&["revoke", name, "--yes", "--hold-at", "rewrite"])
            .expect_code(0);
        assert_eq!(identities(file).recipients().len(), 1, "{name}");
        let ran = ground.run(&["resume", "--yes"]).expect_code(0);
        for wanted in [
            format!("took 1 identity from {name}"),
            "still in use: replace them".to_owned(),
        ] {
            assert!(ran.stderr.contains(&wanted), "{wanted}: {}", ran.stderr);
        }
        assert!(
            !file.exists() || identities(file).recipients().is_empty(),
            "{name}"
        );
    }
    expect_served(&ground, &["nvr", "minipcs"], "gone on");
}

#[test]
fn the_only_host_of_a_zone_and_a_cluster() {
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let taken = identities(&ground.host_file("racknerd-aegis"));
    ground
        .run(&["revoke", "racknerd-aegis", "--yes"])
        .expect_code(0);
    expect_shut_out(&ground, &taken, "the only host");
    expect_served(&ground, &["racknerd-aegis"], "the only host");
    assert!(
        live(&ground, "vps").is_none(),
        "a zone without a reader gets no identity"
    );
    ground.run(&["revoke", "minipcs", "--yes"]).expect_code(0);
    expect_served(&ground, &["racknerd-aegis", "minipcs"], "the cluster");
}

#[test]
fn an_identity_by_id_and_by_recipient() {
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let taken = identities(&ground.host_file("nvr"));
    let old = live(&ground, "lan").unwrap();
    ground
        .run(&["revoke", old.as_str(), "--yes"])
        .expect_code(0);
    expect_shut_out(&ground, &taken, "by recipient");
    expect_served(&ground, &[], "by recipient");
    assert_eq!(
        ground.ledger().record_of(&old).unwrap().state,
        State::Compromised
    );
    let ledger = ground.ledger();
    let vps = ledger.live(&Holder::Zone("vps".into())).unwrap();
    ground.run(&["revoke", &vps.id, "--yes"]).expect_code(0);
    expect_served(&ground, &[], "by id");
    ground.run(&["revoke", "nobody", "--yes"]).expect_code(2);
}

#[test]
fn a_run_that_waits_is_taken_back_first() {
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let taken = identities(&ground.host_file("nvr"));
    ground
        .run(&["rotate", "vps", "lan", "--yes", "--hold-at", "rewrite"])
        .expect_code(0);
    // What it delivered to the host is worthless as well.
    let delivered = identities(&ground.host_file("nvr"));
    assert_eq!(delivered.recipients().len(), 2);
    ground.run(&["revoke", "nvr", "--yes"]).expect_code(0);
    expect_shut_out(&ground, &taken, "preempted");
    expect_shut_out(&ground, &delivered, "preempted");
    expect_served(&ground, &["nvr"], "preempted");
}

#[test]
fn killed_at_every_entry_of_a_revocation() {
    let sandbox = Sandbox::in_memory();
    let before = split(&sandbox);
    let taken = identities(&before.host_file("nvr"));
    let entries = AtomicUsize::new(0);
    side_by_side(|n| {
        let when = format!("killed at {}", n + 1);
        let ground = before.copy(&format!("on-{n}"));
        let output = ground
            .command(&["revoke", "nvr", "--yes"])
            .env("COFFERDAM_CRASH_AT", (n + 1).to_string())
            .output()
            .unwrap();
        let killed = output.status.code().is_none();
        // The innocent read on, at HEAD and in the work tree.
        for path in &ground.documents {
            let committed = ground.git(&["show", &format!("HEAD:{path}")]) + "\n";
            for bytes in [ground.read(path), committed.into_bytes()] {
                let document = parse(path, bytes);
                for (reader, zone, held) in ground.readers() {
                    if reader != "nvr" && Homeops::zones_of(path.as_str()).contains(&zone) {
                        assert!(
                            document.open_with(&held).is_ok(),
                            "{when}: {reader}: {path}"
                        );
                    }
                }
            }
        }
        ground.run(&["resume", "--yes"]).expect_code(0);
        // Killed before the run had begun: asked for again, whether or not the topology lacks the host already.
        if taken_opens(&ground, &taken) {
            ground.run(&["revoke", "nvr", "--yes"]).expect_code(0);
        }
        expect_shut_out(&ground, &taken, &when);
        expect_served(&ground, &["nvr"], &when);
        ground.remove();
        if killed {
            entries.fetch_add(1, Ordering::SeqCst);
        }
        killed
    });
    let entries = entries.load(Ordering::SeqCst);
    println!("killed at {entries} moments");
    assert!(entries > 30, "only {entries} moments");
}

fn taken_opens(ground: &Ground<'_>, taken: &IdentitySet) -> bool {
    ground
        .documents
        .iter()
        .any(|path| parse(path, ground.read(path)).open_with(taken).is_ok())
}
