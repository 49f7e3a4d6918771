//! Readers that do not answer: the others are served, the gate holds, and the run goes on without them by the operator's word.
//! Who opens what is judged by real decryption with the key files as they lie on the targets.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::support::Sandbox;
use crate::support::ground::{Ground, identities, parse};
use crate::support::homeops::Homeops;
use cofferdam::keys::Recipient;
use cofferdam::ledger::{Holder, State};
use cofferdam::repo_path::RepoPath;

const DEAD: &str = "nvr";

fn folder(ground: &Ground<'_>, host: &str) -> PathBuf {
    ground.folder.join("targets").join(host)
}

fn away(ground: &Ground<'_>, host: &str) -> PathBuf {
    ground.folder.join(format!("{host}-away"))
}

/// The host's folder is gone: it cannot be reached. What it has deployed and holds stays as it is.
fn die(ground: &Ground<'_>, host: &str) {
    std::fs::rename(folder(ground, host), away(ground, host)).unwrap();
}

fn come_back(ground: &Ground<'_>, host: &str) {
    std::fs::rename(away(ground, host), folder(ground, host)).unwrap();
}

/// A host's key file, wherever the host is.
fn key_file(ground: &Ground<'_>, host: &str) -> PathBuf {
    let folder = match folder(ground, host) {
        folder if folder.is_dir() => folder,
        _ => away(ground, host),
    };
    folder.join("etc/sops/age/keys.txt")
}

fn live(ground: &Ground<'_>, zone: &str) -> Recipient {
    let ledger = ground.ledger();
    let record = ledger.live(&Holder::Zone(zone.to_owned())).unwrap();
    record.recipient.clone()
}

fn state(ground: &Ground<'_>, recipient: &Recipient) -> State {
    ground.ledger().record_of(recipient).unwrap().state
}

fn bytes(ground: &Ground<'_>) -> Vec<Vec<u8>> {
    ground.documents.iter().map(|d| ground.read(d)).collect()
}

fn head(ground: &Ground<'_>) -> String {
    ground.git(&["rev-parse", "HEAD"])
}

/// Each host, dead or alive, opens exactly its zone's documents, in the work tree and at HEAD; operator and recovery all.
#[track_caller]
fn expect_all_read(ground: &Ground<'_>, exactly: bool, when: &str) {
    for path in &ground.documents {
        let committed = ground.git(&["rev-parse", &format!("HEAD:{path}")]);
        let committed = ground.git(&["cat-file", "blob", committed.trim()]);
        for (place, bytes) in [
            ("the work tree", ground.read(path)),
            ("HEAD", committed.into_bytes()),
        ] {
            let document = parse(path, bytes);
            for (host, zone) in &ground.hosts {
                let may = Homeops::zones_of(path.as_str()).contains(zone);
                let opens = document
                    .open_with(&identities(&key_file(ground, host)))
                    .is_ok();
                assert!(
                    opens || !may,
                    "{when}: {host} is locked out of {path} in {place}"
                );
                assert!(
                    may || !opens || !exactly,
                    "{when}: {host} opens {path} in {place}"
                );
            }
            for file in ["laptop.txt", "recovery.txt"] {
                let opened = document.open_with(&identities(&ground.folder.join(file)));
                assert!(
                    opened.is_ok(),
                    "{when}: {file} does not open {path} in {place}"
                );
            }
        }
    }
}

fn wrapped(ground: &Ground<'_>, path: &str) -> BTreeSet<String> {
    let path = RepoPath::new(path).unwrap();
    let document = parse(&path, ground.read(&path));
    let recipients = document.recipients();
    recipients.iter().map(|r| r.as_str().to_owned()).collect()
}

const LAN: &str = "docker/stacks/kasm/newt/.sops.env";

fn split<'s>(sandbox: &'s Sandbox) -> Ground<'s> {
    let ground = Ground::small(sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    expect_all_read(&ground, true, "split");
    ground
}

#[test]
fn rule_17_a_rotation_goes_on_without_a_dead_host_and_sync_finishes() {
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let first = live(&ground, "lan");
    let (documents, commit) = (bytes(&ground), head(&ground));
    die(&ground, DEAD);

    let planned = ground.run(&["plan", "rotate", "lan"]).expect_code(0);
    assert!(
        planned.stdout.contains("nvr cannot be reached"),
        "{}",
        planned.stdout
    );
    let stopped = ground.run(&["rotate", "lan", "--yes"]).expect_code(5);
    for needle in [
        "at the gate",
        "nvr",
        "cofferdam resume --without nvr --yes",
        "cofferdam resume",
    ] {
        assert!(
            stopped.stderr.contains(needle),
            "{needle}: {}",
            stopped.stderr
        );
    }
    assert_eq!(
        (bytes(&ground), head(&ground)),
        (documents, commit),
        "nothing is rewritten"
    );
    expect_all_read(&ground, true, "stopped at the gate");
    let second = live(&ground, "lan");
    assert!(
        identities(&key_file(&ground, "kasm")).holds(&second),
        "the others are served"
    );
    ground.run(&["resume"]).expect_code(5);

    ground
        .run(&["resume", "--without", DEAD, "--yes"])
        .expect_code(0);
    expect_all_read(&ground, true, "gone on without");
    let rules = std::fs::read_to_string(ground.repository().join(".sops.yaml")).unwrap();
    assert!(rules.contains(first.as_str()), "{rules}");
    assert!(wrapped(&ground, LAN).contains(first.as_str()));
    assert_eq!(
        state(&ground, &first),
        State::Retiring,
        "not retired while wrapped"
    );
    assert!(
        identities(&key_file(&ground, "kasm")).holds(&first),
        "its zone keeps it"
    );
    assert_eq!(ground.git(&["status", "--porcelain"]), "");
    let nags = ground.run(&["status"]).expect_code(3);
    assert!(nags.stdout.contains("kept for nvr"), "{}", nags.stdout);
    // Nothing more to do while it is away: the word holds.
    let idle = ground.run(&["sync", "--yes"]).expect_code(0);
    assert!(idle.stderr.contains("Nothing to do"), "{}", idle.stderr);

    // A second rotation: what is kept is the last that *this host* proved.
    ground.run(&["rotate", "lan", "--yes"]).expect_code(5);
    ground.run(&["undo", "--yes"]).expect_code(0);
    expect_all_read(&ground, true, "undone");
    ground
        .run(&["rotate", "lan", "--yes", "--without", DEAD])
        .expect_code(0);
    expect_all_read(&ground, true, "rotated twice without");
    let third = live(&ground, "lan");
    assert!(third != second && second != first);
    assert_eq!(state(&ground, &second), State::Retired);
    assert_eq!(state(&ground, &first), State::Retiring);
    assert!(!wrapped(&ground, LAN).contains(second.as_str()));
    // Other zones go on by themselves.
    ground.run(&["rotate", "vps", "--yes"]).expect_code(0);
    expect_all_read(&ground, true, "another zone");
    assert!(wrapped(&ground, LAN).contains(first.as_str()));

    come_back(&ground, DEAD);
    ground.run(&["sync", "--yes"]).expect_code(0);
    expect_all_read(&ground, true, "back");
    assert_eq!(state(&ground, &first), State::Retired);
    for host in ["kasm", DEAD] {
        assert_eq!(
            identities(&key_file(&ground, host)).recipients(),
            std::slice::from_ref(&third),
            "{host}"
        );
    }
    assert!(!wrapped(&ground, LAN).contains(first.as_str()));
    let rules = std::fs::read_to_string(ground.repository().join(".sops.yaml")).unwrap();
    assert!(!rules.contains(first.as_str()), "{rules}");
    ground.run(&["status"]).expect_code(0);
}

#[test]
fn rule_17_a_split_without_a_dead_host_keeps_what_is_shared_for_its_zone_alone() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    die(&ground, DEAD);
    ground.run(&["split", "--yes"]).expect_code(5);
    ground.expect_nothing_retired_on(&["kasm", "racknerd-aegis"], "at the gate");
    ground
        .run(&["resume", "--without", DEAD, "--yes"])
        .expect_code(0);
    expect_all_read(&ground, false, "split without");
    let shared = crate::support::ground::recipient(&ground.folder.join("shared.txt"));
    assert!(
        identities(&key_file(&ground, "kasm")).holds(&shared),
        "its zone keeps it"
    );
    assert!(
        !identities(&key_file(&ground, "racknerd-aegis")).holds(&shared),
        "others do not"
    );
    assert_eq!(state(&ground, &shared), State::Retiring);
    let vps = "docker/stacks/racknerd-aegis/identity/.sops.env";
    assert!(!wrapped(&ground, vps).contains(shared.as_str()));
    assert!(wrapped(&ground, LAN).contains(shared.as_str()));
    come_back(&ground, DEAD);
    ground.run(&["sync", "--yes"]).expect_code(0);
    expect_all_read(&ground, true, "back");
    assert_eq!(state(&ground, &shared), State::Retired);
    ground.run(&["status"]).expect_code(0);
}

#[test]
fn a_host_that_is_back_before_the_resume_needs_no_word() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("back");
    die(&ground, DEAD);
    ground.run(&["split", "--yes"]).expect_code(5);
    come_back(&ground, DEAD);
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "back");
}

#[test]
fn a_damaged_key_file_is_its_own_hosts_failure() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("damaged");
    let first = ground.first();
    let file = key_file(&ground, DEAD);
    let held = std::fs::read(&file).unwrap();
    std::fs::write(&file, "AGE-SECRET-KEY-1DAMAGED\n").unwrap();
    let stopped = ground.run(&["split", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("no identity file"),
        "{}",
        stopped.stderr
    );
    assert!(!stopped.stderr.contains("DAMAGED"), "{}", stopped.stderr);
    assert_eq!(bytes(&ground), bytes(&before));
    let kasm = identities(&key_file(&ground, "kasm"));
    assert_eq!(kasm.recipients().len(), 2, "the others are served");
    let back = ground.copy("damaged-undone");
    ground.run(&["resume"]).expect_code(5);
    std::fs::write(&file, &held).unwrap();
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "mended");
    // Undo needs nothing of a host that nothing was delivered to.
    back.run(&["undo", "--yes"]).expect_code(0);
    std::fs::write(key_file(&back, DEAD), &held).unwrap();
    back.expect_first(&first, "undone");
}

#[test]
fn without_is_refused_for_strangers_and_after_the_rewrite() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    let unknown = ground
        .run(&["split", "--yes", "--without", "nobody"])
        .expect_code(2);
    assert!(unknown.stderr.contains("kasm"), "{}", unknown.stderr);
    ground
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    let late = ground.run(&["resume", "--without", DEAD]).expect_code(1);
    assert!(late.stderr.contains("rewritten already"), "{}", late.stderr);
    let unknown = ground
        .run(&["resume", "--without", "nobody"])
        .expect_code(1);
    assert!(
        unknown.stderr.contains("no host or cluster nobody"),
        "{}",
        unknown.stderr
    );
    ground.run(&["resume"]).expect_code(0);
}

#[test]
fn there_is_no_going_on_without_a_host_that_holds_too_much() {
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let file = key_file(&ground, DEAD);
    let mut both = std::fs::read(&file).unwrap();
    both.extend(std::fs::read(key_file(&ground, "racknerd-aegis")).unwrap());
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, both).unwrap();
    let stopped = ground.run(&["rotate", "lan", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("must not hold"),
        "{}",
        stopped.stderr
    );
    assert!(!stopped.stderr.contains("--without"), "{}", stopped.stderr);
    let still = ground
        .run(&["resume", "--without", DEAD, "--yes"])
        .expect_code(5);
    assert!(still.stderr.contains("must not hold"), "{}", still.stderr);
}
