//! Each reader has a clone of its own and pulls when it likes. At every moment it opens the revision that it has deployed
//! with what lies on its disk; retirement waits for it; one restored from a snapshot is noticed (protocol rules 12 and 19).

use std::path::PathBuf;

use crate::support::ground::{Ground, identities, parse, recipient};
use crate::support::homeops::Homeops;
use crate::support::two_clones::TwoClones;
use crate::support::{Ran, Sandbox};

const PUSHED: &str = "remote = \"origin\"\npush = true\n";

struct Fleet<'s> {
    world: TwoClones<'s>,
}

impl<'s> Fleet<'s> {
    /// Every host has a clone of the remote below its folder, and declares it.
    fn new(sandbox: &'s Sandbox, publish: &str) -> Self {
        let world = TwoClones::new(sandbox, publish);
        let toml = world.a.repository().join("cofferdam.toml");
        let mut text = std::fs::read_to_string(&toml).unwrap();
        for (host, _) in &world.a.hosts {
            let local = format!("local = \"../targets/{host}\"\n");
            text = text.replace(&local, &format!("{local}clones = [\"/srv/stacks/*\"]\n"));
        }
        std::fs::write(&toml, text).unwrap();
        world.a.git(&["commit", "-q", "-a", "-m", "clones"]);
        world.a.git(&["push", "-q"]);
        let fleet = Self { world };
        for n in 0..fleet.world.a.hosts.len() {
            let clone = fleet.clone_of(n);
            std::fs::create_dir_all(clone.parent().unwrap()).unwrap();
            let hub = fleet.world.folder.join("hub.git");
            let args = [
                "clone",
                "-q",
                hub.to_str().unwrap(),
                clone.to_str().unwrap(),
            ];
            sandbox.git(sandbox.path(), &args);
        }
        fleet
    }

    fn clone_of(&self, n: usize) -> PathBuf {
        let (host, _) = &self.world.a.hosts[n];
        let targets = self.world.a.folder.join("targets");
        targets.join(host).join("srv/stacks/home")
    }

    fn pull(&self, n: usize) {
        self.world.a.sandbox.git(&self.clone_of(n), &["pull", "-q"]);
    }

    /// Every reader opens what it has deployed; the cluster, what the remote has.
    #[track_caller]
    fn expect_nobody_locked_out(&self, when: &str) {
        for (n, (host, zone)) in self.world.a.hosts.iter().enumerate() {
            let held = identities(&self.world.a.host_file(host));
            for path in &self.world.a.documents {
                if Homeops::zones_of(path.as_str()).contains(zone) {
                    let bytes = std::fs::read(path.under(&self.clone_of(n))).unwrap();
                    let opened = parse(path, bytes).open_with(&held);
                    assert!(opened.is_ok(), "{when}: {host} is locked out of {path}");
                }
            }
        }
        for (reader, zone, held) in self.world.a.readers() {
            for path in &self.world.a.documents {
                if zone == "k8s" && Homeops::zones_of(path.as_str()).contains(&zone) {
                    let text = self.world.hub(&["show", &format!("main:{path}")]) + "\n";
                    let opened = parse(path, text.into_bytes()).open_with(&held);
                    assert!(opened.is_ok(), "{when}: {reader} is locked out of {path}");
                }
            }
        }
    }
}

/// Numbers that only the seed decides.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn schedule(seed: u64) {
    let sandbox = Sandbox::in_memory();
    let fleet = Fleet::new(&sandbox, PUSHED);
    let a = &fleet.world.a;
    let mut dice = Dice(seed);
    let mut told = Vec::new();
    fleet.expect_nobody_locked_out("at first");
    for turn in 0..26 {
        let what = match dice.roll(10) {
            0..=3 => {
                let reader = usize::try_from(dice.roll(3)).unwrap();
                fleet.pull(reader);
                format!("{} pulls", a.hosts[reader].0)
            }
            4 => {
                // A colleague, up to date.
                let b = &fleet.world.b;
                b.git(&["pull", "-q"]);
                std::fs::write(b.repository().join("notes.txt"), format!("{turn}\n")).unwrap();
                b.git(&["add", "notes.txt"]);
                b.git(&["commit", "-q", "-m", "notes"]);
                b.git(&["push", "-q"]);
                "a colleague pushes".to_owned()
            }
            _ => operate(a, &mut dice),
        };
        told.push(what);
        fleet.expect_nobody_locked_out(&format!("seed {seed}: {}", told.join(", ")));
    }
    // In the end everybody pulls, and the run comes to its end.
    for _ in 0..4 {
        for reader in 0..3 {
            fleet.pull(reader);
        }
        up_to_date(a);
        let ran = a.run(&["resume", "--yes"]);
        fleet.expect_nobody_locked_out(&format!("seed {seed}, at the end: {}", told.join(", ")));
        if ran.code == Some(0) {
            break;
        }
        told.push(format!("resume: {}", ran.stderr));
    }
    assert!(a.unfinished().is_none(), "seed {seed}: {}", told.join(", "));
    assert_eq!(fleet.world.held(), "", "seed {seed}: {}", told.join(", "));
}

/// Brings the operator's clone up to date, where git can.
fn up_to_date(a: &Ground<'_>) {
    let pull = |ground: &Ground<'_>| {
        let mut command = ground.sandbox.command("git", &ground.repository());
        Ran::of(command.args(["pull", "-q", "--rebase"])).code == Some(0)
    };
    if !pull(a) {
        let mut abort = a.sandbox.command("git", &a.repository());
        Ran::of(abort.args(["rebase", "--abort"]));
    }
}

/// The operator begins a run, goes on, goes back, or is killed while it does.
fn operate(a: &Ground<'_>, dice: &mut Dice) -> String {
    let begun = a.unfinished().is_some();
    let args: &[&str] = match (begun, dice.roll(5)) {
        (true, 0) => &["undo", "--yes"],
        (true, _) => &["resume", "--yes"],
        (false, 0) => &["rotate", "lan", "--yes"],
        (false, 1) => &["rotate", "vps", "--yes"],
        (false, _) => &["split", "--yes"],
    };
    up_to_date(a);
    let mut command = a.command(args);
    if dice.roll(3) == 0 {
        let at = dice.roll(120) + 1;
        command.env("COFFERDAM_CRASH_AT", at.to_string());
    }
    let ran = Ran::of(&mut command);
    assert!(
        matches!(ran.code, None | Some(0 | 1 | 5)),
        "{args:?}: {}",
        ran.stderr
    );
    format!("{} ({:?})", args.join(" "), ran.code)
}

#[test]
fn readers_pull_at_any_time() {
    for seed in [1, 2] {
        schedule(seed);
    }
}

#[test]
fn readers_pull_at_other_times() {
    for seed in [3, 4] {
        schedule(seed);
    }
}

#[test]
fn retirement_waits_for_every_clone() {
    let sandbox = Sandbox::in_memory();
    let fleet = Fleet::new(&sandbox, PUSHED);
    let a = &fleet.world.a;
    let shared = recipient(&a.folder.join("shared.txt"));
    a.run(&["split", "--yes"]).expect_code(5);
    for reader in 0..3 {
        let stopped = a.run(&["resume", "--yes"]).expect_code(5);
        let (host, _) = &a.hosts[reader];
        assert!(stopped.stderr.contains(host.as_str()), "{}", stopped.stderr);
        for (n, _) in a.hosts.iter().enumerate() {
            let held = identities(&a.host_file(&a.hosts[n].0));
            assert!(
                held.holds(&shared),
                "{n} lost the old identity before all had pulled"
            );
        }
        fleet.pull(reader);
        fleet.expect_nobody_locked_out(host);
    }
    a.run(&["resume", "--yes"]).expect_code(0);
    fleet.expect_nobody_locked_out("all have pulled");
    for (host, _) in &a.hosts {
        assert!(!identities(&a.host_file(host)).holds(&shared), "{host}");
    }
}

/// Between the proof and the retirement a host is put back as it was: it is asked again, and nobody loses anything.
#[test]
fn a_reader_restored_from_a_snapshot_is_noticed() {
    let sandbox = Sandbox::in_memory();
    let restore = "ready = [\"test ! -e ../snapshot || { rm -f ../targets/kasm/etc/sops/age/keys.txt && cp -p ../snapshot ../targets/kasm/etc/sops/age/keys.txt; }\"]\n";
    let fleet = Fleet::new(&sandbox, &format!("{PUSHED}{restore}"));
    let a = &fleet.world.a;
    let snapshot = a.folder.join("snapshot");
    let taken = std::fs::read(a.host_file("kasm")).unwrap();
    a.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    for reader in 0..3 {
        fleet.pull(reader);
    }
    std::fs::copy(a.host_file("kasm"), a.folder.join("kept")).unwrap();
    crate::support::ground::private(&snapshot, std::str::from_utf8(&taken).unwrap(), 0o400);
    let stopped = a.run(&["resume"]).expect_code(5);
    assert!(
        stopped.stderr.contains("kasm cannot open"),
        "{}",
        stopped.stderr
    );
    a.expect_nothing_retired("restored");
    std::fs::remove_file(&snapshot).unwrap();
    // A resume delivers again what the snapshot lacked.
    a.run(&["resume"]).expect_code(0);
    fleet.expect_nobody_locked_out("delivered again");

    // Restored after the run's end: told, and set right by sync.
    let file = a.host_file("kasm");
    crate::support::ground::private(&file, std::str::from_utf8(&taken).unwrap(), 0o400);
    let shared = recipient(&a.folder.join("shared.txt"));
    a.run(&["sync", "--yes"]).expect_code(0);
    let held = identities(&file);
    assert!(!held.holds(&shared) && held.recipients().len() == 1);
    fleet.expect_nobody_locked_out("set right");
}
