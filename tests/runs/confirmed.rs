//! Protocol rule 22: what a merged change to `cofferdam.toml` makes Cofferdam run, reach or trust is confirmed by name.

use crate::support::ground::Ground;
use crate::support::{Sandbox, have_peers};

#[test]
fn a_new_command_or_address_is_confirmed_by_name() {
    if !have_peers(&["sops", "git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let ground = Ground::small(&sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    let tree = ground.repository();
    let path = tree.join("cofferdam.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    // Nothing new: nothing asked.
    ground.run(&["rotate", "lan", "--yes"]).expect_code(0);

    let ran = sandbox.path().join("ran");
    let with_command = format!("{text}\n[publish]\nrun = [\"touch {}\"]\n", ran.display());
    assert!(!text.contains("[publish]"));
    std::fs::write(&path, &with_command).unwrap();
    ground.git(&["commit", "-qam", "a pull request"]);
    let head = ground.git(&["rev-parse", "HEAD"]);
    let refused = ground.run(&["rotate", "lan", "--yes"]).expect_code(1);
    assert!(
        refused.stderr.contains("publish: runs here: touch "),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("--accept publish"),
        "{}",
        refused.stderr
    );
    assert!(!ran.exists());
    assert_eq!(ground.git(&["rev-parse", "HEAD"]), head);
    assert!(ground.unfinished().is_none());
    ground
        .run(&["rotate", "lan", "--yes", "--accept", "kasm"])
        .expect_code(1);
    ground
        .run(&["rotate", "lan", "--yes", "--accept", "publish"])
        .expect_code(0);
    assert!(ran.exists());
    // Accepted once, known from then on.
    ground.run(&["rotate", "lan", "--yes"]).expect_code(0);

    // A run that waits must not carry out what came meanwhile either.
    ground
        .run(&["rotate", "lan", "--yes", "--hold-at", "publish"])
        .expect_code(0);
    let other = sandbox.path().join("other");
    let changed = with_command.replace(&ran.display().to_string(), &other.display().to_string());
    std::fs::write(&path, changed).unwrap();
    let refused = ground.run(&["resume", "--yes"]).expect_code(1);
    assert!(
        refused.stderr.contains("--accept publish"),
        "{}",
        refused.stderr
    );
    assert!(!other.exists());
    std::fs::write(&path, &with_command).unwrap();
    ground.run(&["resume", "--yes"]).expect_code(0);
    ground.expect_readable_by_hosts();
}
