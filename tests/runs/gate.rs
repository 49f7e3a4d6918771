//! The gate in whole runs: a reader that opens what it must not stops the run before the rewrite, and again before retirement.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::Sandbox;
use crate::support::ground::{Ground, identities, recipient};

const HOST: &str = "kasm";
const OTHER_ZONE: &str = "racknerd-aegis";

/// Writes a key file as its owner would, whatever its mode.
fn write(file: &Path, bytes: &[u8]) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(file, bytes).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o400)).unwrap();
}

/// Adds the content of `other` to the key file of [`HOST`]; returns what it held.
fn plant(ground: &Ground<'_>, other: &Path) -> Vec<u8> {
    let file = ground.host_file(HOST);
    let held = std::fs::read(&file).unwrap();
    let mut both = held.clone();
    both.extend(std::fs::read(other).unwrap());
    write(&file, &both);
    held
}

fn held_at<'s>(before: &Ground<'s>, name: &str, phase: &str) -> Ground<'s> {
    let ground = before.copy(name);
    ground
        .run(&["split", "--yes", "--hold-at", phase])
        .expect_code(0);
    ground
}

fn expect_stopped(ground: &Ground<'_>, what: &str) {
    let stopped = ground.run(&["resume"]).expect_code(5);
    assert!(stopped.stderr.contains(HOST), "{}", stopped.stderr);
    assert!(stopped.stderr.contains(what), "{}", stopped.stderr);
}

#[test]
fn another_zones_identity_stops_the_run_before_anything_is_rewritten() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = held_at(&before, "planted", "prove");
    let documents = |ground: &Ground<'_>| -> Vec<Vec<u8>> {
        ground.documents.iter().map(|d| ground.read(d)).collect()
    };
    let held = plant(&ground, &ground.host_file(OTHER_ZONE));
    expect_stopped(&ground, "must not hold");
    assert_eq!(documents(&ground), documents(&before));
    let head = |ground: &Ground<'_>| ground.git(&["rev-parse", "HEAD"]);
    assert_eq!(head(&ground), head(&before));
    ground.expect_nothing_retired("planted");
    ground.expect_readable("planted");

    write(&ground.host_file(HOST), &held);
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "the copy is gone");
}

#[test]
fn an_operators_identity_on_a_host_stops_the_run() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = held_at(&before, "operator", "prove");
    let held = plant(&ground, &ground.folder.join("laptop.txt"));
    expect_stopped(&ground, "operator laptop");
    let head = |ground: &Ground<'_>| ground.git(&["rev-parse", "HEAD"]);
    assert_eq!(head(&ground), head(&before));
    ground.expect_nothing_retired("operator");

    write(&ground.host_file(HOST), &held);
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "the operator's is gone");
}

#[test]
fn rule_19_readers_are_asked_again_right_before_retirement() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("late");
    let file = ground.host_file(HOST);
    let other = ground.host_file(OTHER_ZONE);
    // Between the gate and the retirement, in the same run: somebody copies another zone's key file.
    let topology = ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap();
    let (file_name, other_name) = (file.display(), other.display());
    let command = format!(
        "chmod 600 {file_name} && cat {other_name} >> {file_name} && chmod 400 {file_name}"
    );
    assert!(!text.contains("[publish]"));
    std::fs::write(
        &topology,
        format!("{text}\n[publish]\nrun = [{command:?}]\n"),
    )
    .unwrap();
    let stopped = ground.run(&["split", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("must not hold"),
        "{}",
        stopped.stderr
    );
    ground.expect_nothing_retired("late");
    ground.expect_readable("late");
}

#[test]
fn a_host_restored_from_a_snapshot_gets_the_new_identity_before_it_loses_the_old_one() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = held_at(&before, "restored", "retire");
    let file = ground.host_file(HOST);
    write(&file, &std::fs::read(before.host_file(HOST)).unwrap());
    ground.expect_nothing_retired("restored");
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "restored");
    let shared = recipient(&ground.folder.join("shared.txt"));
    assert!(!identities(&file).holds(&shared));
}
