//! Protocol rule 14: a clone whose ledger is behind writes to no target that a later one wrote to.

use std::path::{Path, PathBuf};

use crate::support::bench::{Bench, names, told};
use crate::support::ground::Ground;
use crate::support::sshd::{Manners, have_sshd};
use crate::support::{Sandbox, have_peers};
use cofferdam::fleet::{Delivered, DirectoryCluster, DirectoryHost, Target, TargetError};
use cofferdam::keys::Identity;
use cofferdam::keys::key_file::KeyFile;
use cofferdam::ledger::Generation;
use cofferdam::topology::SecretEntry;

fn generations() -> [Generation; 3] {
    let first = Generation::after(None, "run-a").unwrap();
    let second = Generation::after(Some(&first), "run-b").unwrap();
    let other = Generation::after(Some(&first), "run-c").unwrap();
    [first, second, other]
}

fn expect_ahead<T: std::fmt::Debug>(result: Result<T, TargetError>) {
    let error = result.unwrap_err();
    assert!(
        matches!(error, TargetError::Ahead { .. }),
        "{}",
        told(&error)
    );
    assert!(told(&error).contains("run run-b"), "{}", told(&error));
}

/// The same for every kind of target; `files` is where its identities lie.
fn an_older_clone_is_refused(target: &dyn Target, files: &Path) {
    let [first, second, other] = generations();
    let (old, new, late) = (Identity::mint(), Identity::mint(), Identity::mint());
    let (old_r, new_r) = (old.recipient().unwrap(), new.recipient().unwrap());
    let was = names(files);
    let start = target.read().unwrap().before;

    // Without a ledger nothing is guarded, and nothing carried.
    target.claim(&first);
    let before = target.read().unwrap().before;
    assert_eq!(target.deliver("lan-1", &old).unwrap(), Delivered::Placed);
    let before_second = target.read().unwrap().before;
    assert_eq!(before_second.generation.as_ref(), Some(first.mark()));
    target.claim(&second);
    assert_eq!(target.deliver("lan-2", &new).unwrap(), Delivered::Placed);
    for behind in [&first, &other] {
        target.claim(behind);
        let held = target.read().unwrap();
        assert_eq!(held.ahead.as_ref(), Some(second.mark()));
        expect_ahead(target.deliver("lan-1", &late));
        expect_ahead(target.deliver("lan-1", &old));
        expect_ahead(target.withdraw(&new_r, None));
        expect_ahead(target.withdraw(&new_r, Some(&before)));
        assert_eq!(target.read().unwrap().recipients, held.recipients);
    }
    // Undo: what the delivery found is what it leaves.
    target.claim(&second);
    target.withdraw(&new_r, Some(&before_second)).unwrap();
    assert_eq!(target.read().unwrap().before, before_second);
    target.claim(&first);
    target.withdraw(&old_r, Some(&before)).unwrap();
    assert_eq!(
        (names(files), &target.read().unwrap().before),
        (was, &start)
    );
    // A retirement raises, too.
    target.deliver("lan-1", &old).unwrap();
    target.claim(&second);
    target.withdraw(&old_r, None).unwrap();
    target.claim(&first);
    expect_ahead(target.deliver("lan-1", &old));
}

#[test]
fn an_older_clone_writes_to_no_directory() {
    let folder = tempfile::tempdir().unwrap();
    let host = DirectoryHost::new("kasm", folder.path().to_owned(), "/keys.txt");
    an_older_clone_is_refused(&host, folder.path());
    let folder = tempfile::tempdir().unwrap();
    let secret = SecretEntry {
        namespace: "flux-system".to_owned(),
        name: "sops-age".to_owned(),
        entry: "age.agekey".to_owned(),
    };
    let cluster = DirectoryCluster::new("minipcs", folder.path().to_owned(), &[secret]);
    an_older_clone_is_refused(&cluster, folder.path());
}

#[test]
fn an_older_clone_writes_to_no_host_by_ssh() {
    if !have_sshd() {
        return;
    }
    for path in [None, crate::support::bench::busybox()] {
        let manners = Manners {
            path: path.as_ref().map(|(_, bin)| bin.clone()),
            ..Manners::default()
        };
        let bench = Bench::new("kasm", &manners);
        an_older_clone_is_refused(&bench.target("kasm"), &bench.folder());
    }
}

#[test]
fn a_kill_between_the_generation_and_the_file_is_safe() {
    if !have_sshd() {
        return;
    }
    // The host's `mv` kills its caller when the identity file is due, as often as there is a file `kill`.
    let sandbox = Sandbox::new();
    let bin = sandbox.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let kill = sandbox.path().join("kill");
    let text = format!(
        "#!/bin/sh\nfor last; do :; done\ncase $last in */keys.txt) [ -e '{}' ] && kill -9 0;; esac\nexec /bin/mv \"$@\"\n",
        kill.display()
    );
    std::fs::write(bin.join("mv"), text).unwrap();
    crate::support::bench::chmod(&bin.join("mv"), 0o755);
    let manners = Manners {
        path: Some(format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display())),
        ..Manners::default()
    };
    let bench = Bench::new("kasm", &manners);
    let [first, second, _] = generations();
    let (old, new) = (Identity::mint(), Identity::mint());
    let target = bench.target("kasm");
    target.claim(&first);
    target.deliver("lan-1", &old).unwrap();
    let text = bench.text();
    let before = target.read().unwrap().before;

    std::fs::write(&kill, "").unwrap();
    target.claim(&second);
    let error = target.deliver("lan-2", &new).unwrap_err();
    assert!(matches!(error, TargetError::Ssh(_)), "{}", told(&error));
    std::fs::remove_file(&kill).unwrap();
    assert_eq!(bench.text(), text);
    target.claim(&first);
    expect_ahead(target.deliver("lan-9", &Identity::mint()));
    target.claim(&second);
    assert_eq!(target.deliver("lan-2", &new).unwrap(), Delivered::Placed);
    target.sweep().unwrap();
    assert_eq!(names(&bench.folder()).len(), 2);
    let recipient = new.recipient().unwrap();
    target.withdraw(&recipient, Some(&before)).unwrap();
    assert_eq!(bench.text(), text);
    assert_eq!(target.read().unwrap().before, before);
}

fn recipients(file: &PathBuf) -> usize {
    let bytes = std::fs::read(file).unwrap();
    KeyFile::parse(&bytes).unwrap().recipients().len()
}

#[test]
fn a_clone_that_was_not_pulled_is_told_to_pull() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    let folder = &ground.folder;
    sandbox.git(folder, &["clone", "-q", "r", "stale"]);
    ground.run(&["rotate", "lan", "--yes"]).expect_code(0);
    let before = std::fs::read(ground.host_file("kasm")).unwrap();
    let stale = |args: &[&str]| {
        let mut command = sandbox.command(crate::support::COFFERDAM, &folder.join("stale"));
        command
            .args(args)
            .env("SOPS_AGE_KEY_FILE", folder.join("keys.txt"));
        crate::support::Ran::of(&mut command)
    };
    for args in [&["rotate", "lan", "--yes"][..], &["sync", "--yes"][..]] {
        let stopped = stale(args).expect_code(5).stderr;
        for wanted in [
            "kasm was written to by run ",
            "generation 2",
            "hint: git pull",
        ] {
            assert!(stopped.contains(wanted), "{stopped}");
        }
        assert!(!stopped.contains("racknerd"), "{stopped}");
    }
    assert_eq!(std::fs::read(ground.host_file("kasm")).unwrap(), before);
    assert_eq!(recipients(&ground.host_file("nvr")), 1);
    sandbox.git(&folder.join("stale"), &["pull", "-q"]);
    stale(&["rotate", "lan", "--yes"]).expect_code(0);
    assert_ne!(std::fs::read(ground.host_file("kasm")).unwrap(), before);
}
