//! The runbooks that come with cofferdam run, each from beginning to end on a small repository whose hosts are
//! directories; killed at each step they go on; and the page that `runbook show` prints holds the very same commands.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::support::ground::{Ground, identities, parse, private, recipient};
use crate::support::homeops::Homeops;
use crate::support::side_by_side::side_by_side;
use crate::support::snapshot::expect_snapshot;
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};
use cofferdam::keys::Identity;
use cofferdam::keys::key_file::KeyFile;
use cofferdam::ledger::{Holder, State};

/// Those that come with cofferdam.
const NAMES: [&str; 7] = [
    "interrupted-run",
    "lost-operator",
    "new-host",
    "recovery-drill",
    "revoke-host",
    "rotate",
    "split",
];

fn run_book(ground: &Ground<'_>, name: &str, more: &[&str]) -> Ran {
    let mut args = vec!["runbook", "run", name];
    args.extend(more);
    ground.run(&args)
}

/// The small repository after its split.
fn split(sandbox: &Sandbox) -> Ground<'_> {
    let ground = Ground::small(sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    ground
}

fn new_identity(file: &Path) -> String {
    let identity = Identity::mint();
    let text = KeyFile::empty().with_identity(&[], &identity);
    private(file, text.expose(), 0o600);
    identity.recipient().unwrap().as_str().to_owned()
}

#[test]
fn split_as_a_runbook() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("one");
    let ran = run_book(&ground, "split", &["--yes"]).expect_code(0);
    ground.expect_finished(&before, "by the runbook");
    for (number, step) in (1..).zip(["plan", "agree", "split", "publish", "retire", "check"]) {
        let line = format!("[{number}/6] {step}");
        assert!(ran.stderr.contains(&line), "{line}\n{}", ran.stderr);
    }
    // Again: everything is done, and the runbook begins anew.
    run_book(&ground, "split", &["--yes"]).expect_code(0);
    ground.expect_finished(&before, "run twice");
    // Without a terminal and without --yes nothing is begun.
    let ground = before.copy("two");
    let first = ground.first();
    run_book(&ground, "split", &[]).expect_code(2);
    ground.expect_first(&first, "not confirmed");
}

/// Killed before and after each line of the runbook's journal, and in the middle of its commands, a runbook goes on with
/// the step it was in.
#[test]
fn killed_at_each_step_a_split_goes_on() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    side_by_side(|n| {
        let when = format!("runbook killed at {}", n + 1);
        let ground = before.copy(&format!("on-{n}"));
        let killed = killed_at(&ground, &["runbook", "run", "split", "--yes"], n + 1);
        ground.expect_readable(&when);
        let ran = run_book(&ground, "split", &["--yes"]).expect_code(0);
        ground.expect_finished(&before, &when);
        if (7..26).contains(&n) && killed {
            assert!(ran.stderr.contains("(left out)"), "{when}: {}", ran.stderr);
        }
        ground.remove();
        killed
    });
    // The command itself is killed, in `split` at one of its own moments or in `resume`.
    let moments = [3, 14, 31, 47, 62, 75, 90, 110];
    side_by_side(|n| {
        let Some(moment) = moments.get(n) else {
            return false;
        };
        let when = format!("command killed at {moment}");
        let ground = before.copy(&format!("command-{n}"));
        let mut command = ground.command(&["runbook", "run", "split", "--yes"]);
        let ran = Ran::of(command.env("COFFERDAM_CRASH_AT", moment.to_string()));
        assert!(
            matches!(ran.code, None | Some(0 | 5)),
            "{when}: {}",
            ran.stderr
        );
        ground.expect_readable(&when);
        run_book(&ground, "split", &["--yes"]).expect_code(0);
        ground.expect_finished(&before, &when);
        ground.remove();
        true
    });
}

/// Runs a command that kills itself at its n-th line of the runbook's journal; whether it was killed.
fn killed_at(ground: &Ground<'_>, args: &[&str], n: usize) -> bool {
    let output = ground
        .command(args)
        .env("COFFERDAM_CRASH_NAMED", "runbook")
        .env("COFFERDAM_CRASH_AT", n.to_string())
        .output()
        .unwrap();
    if output.status.signal() == Some(9) {
        return true;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?} at {n}: {said}");
    false
}

#[test]
fn rotate_as_a_runbook_of_a_timer() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    // Nothing is due.
    let head = ground.git(&["rev-parse", "HEAD"]);
    let idle = run_book(&ground, "rotate", &["--yes"]).expect_code(0);
    assert!(idle.stderr.contains("nothing is due"), "{}", idle.stderr);
    assert_eq!(ground.git(&["rev-parse", "HEAD"]), head);

    ground.age_the_zone("vps");
    let live = |ground: &Ground<'_>, zone: &str| {
        let ledger = ground.ledger();
        ledger.live(&Holder::Zone(zone.to_owned())).unwrap().clone()
    };
    let (vps, lan) = (live(&ground, "vps"), live(&ground, "lan"));
    // Killed at each line: one rotation, never two.
    side_by_side(|n| {
        let ground = ground.copy(&format!("on-{n}"));
        let killed = killed_at(&ground, &["runbook", "run", "rotate", "--yes"], n + 1);
        ground.expect_readable_by_hosts();
        run_book(&ground, "rotate", &["--yes"]).expect_code(0);
        assert_ne!(live(&ground, "vps").id, vps.id, "killed at {}", n + 1);
        assert_eq!(live(&ground, "lan").id, lan.id, "killed at {}", n + 1);
        assert_eq!(ground.ledger().records().len(), 5, "killed at {}", n + 1);
        ground.expect_readable_by_hosts();
        ground.run(&["status"]).expect_code(0);
        ground.remove();
        killed
    });
}

#[test]
fn a_step_that_fails_stops_the_runbook_and_is_tried_again() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    ground.age_the_zone("vps");
    // The reader cannot be written to: the gate holds, nothing is rewritten.
    let file = ground.host_file("racknerd-aegis");
    let saved = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let stopped = run_book(&ground, "rotate", &["--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("cofferdam runbook run rotate"),
        "{}",
        stopped.stderr
    );
    let list = ground.run(&["runbook", "list"]).expect_code(0);
    assert!(list.stdout.contains("stopped part-way"), "{}", list.stdout);
    std::fs::remove_dir(&file).unwrap();
    private(&file, std::str::from_utf8(&saved).unwrap(), 0o400);
    run_book(&ground, "rotate", &["--yes"]).expect_code(0);
    ground.expect_readable_by_hosts();
    ground.run(&["status"]).expect_code(0);
}

#[test]
fn interrupted_run_as_a_runbook() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    for phase in ["ship", "rewrite", "publish", "retire"] {
        let ground = before.copy(phase);
        ground
            .run(&["split", "--yes", "--hold-at", phase])
            .expect_code(0);
        run_book(&ground, "interrupted-run", &["--yes"]).expect_code(0);
        ground.expect_finished(&before, phase);
        ground.remove();
    }
}

#[test]
fn recovery_drill_as_a_runbook() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let kit = recipient(&ground.folder.join("recovery.txt"));
    let before = ground.ledger().recovery_read_back(&kit).unwrap();
    // A question about hands' work is not answered by --yes.
    let waits = run_book(
        &ground,
        "recovery-drill",
        &["--yes", "--set", "kit=../recovery.txt"],
    );
    let waits = waits.expect_code(5);
    assert!(waits.stderr.contains("--confirm fetch"), "{}", waits.stderr);
    assert_eq!(ground.ledger().recovery_read_back(&kit), Some(before));
    let waits = run_book(&ground, "recovery-drill", &["--yes", "--confirm", "fetch"]);
    let waits = waits.expect_code(5);
    assert!(
        waits.stderr.contains("--confirm return"),
        "{}",
        waits.stderr
    );
    assert!(ground.ledger().recovery_read_back(&kit).unwrap() > before);
    let other = run_book(
        &ground,
        "recovery-drill",
        &["--yes", "--set", "kit=../other.txt"],
    );
    let other = other.expect_code(1);
    assert!(
        other.stderr.contains("kit=../recovery.txt"),
        "{}",
        other.stderr
    );
    run_book(&ground, "recovery-drill", &["--yes", "--confirm", "return"]).expect_code(0);
    assert_eq!(ground.git(&["status", "--porcelain"]), "");
    assert_eq!(
        ground.git(&["log", "-1", "--format=%s"]),
        "chore(sops): rehearse recovery"
    );
}

#[test]
fn new_host_as_a_runbook() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let set = ["--yes", "--set", "host=attic"];
    let undeclared = run_book(&ground, "new-host", &set).expect_code(5);
    assert!(
        undeclared.stderr.contains("no [hosts.attic]"),
        "{}",
        undeclared.stderr
    );
    let topology = ground.repository().join("cofferdam.toml");
    let mut text = std::fs::read_to_string(&topology).unwrap();
    text.push_str("\n[hosts.attic]\nzone = \"lan\"\nlocal = \"../targets/attic\"\n");
    std::fs::write(&topology, text).unwrap();
    let file = ground.host_file("attic");
    private(&file, "", 0o400);
    std::fs::remove_file(&file).unwrap();
    run_book(&ground, "new-host", &["--yes"]).expect_code(0);
    let lan = ground
        .ledger()
        .live(&Holder::Zone("lan".into()))
        .unwrap()
        .recipient
        .clone();
    assert_eq!(identities(&file).recipients(), [lan]);
    ground.expect_readable_by_hosts();
}

#[test]
fn lost_operator_as_a_runbook() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let lost = identities(&ground.folder.join("laptop.txt"));
    let old: Vec<String> = ground
        .ledger()
        .records()
        .iter()
        .map(|r| r.id.clone())
        .collect();
    for gone in ["keys.txt", "shared.txt"] {
        std::fs::remove_file(ground.folder.join(gone)).unwrap();
    }
    let new = ground.folder.join("new.txt");
    let operator = format!("recipient={}", new_identity(&new));
    let mut command = ground.command_with(
        "new.txt",
        &[
            "runbook",
            "run",
            "lost-operator",
            "--yes",
            "--confirm",
            "kit",
            "--set",
            "operator=laptop",
            "--set",
            &operator,
            "--set",
            "kit=../recovery.txt",
        ],
    );
    Ran::of(&mut command).expect_code(0);
    assert_eq!(ground.git(&["status", "--porcelain"]), "");
    let new = identities(&new);
    for path in &ground.documents {
        let document = parse(path, ground.read(path));
        assert!(document.open_with(&new).is_ok(), "{path}");
        assert!(document.open_with(&lost).is_err(), "{path}");
    }
    ground.expect_readable_by_hosts();
    // What the lost identity could unseal opens nothing any more.
    for zone in ["k8s", "lan", "vps"] {
        let live = ground
            .ledger()
            .live(&Holder::Zone(zone.into()))
            .unwrap()
            .clone();
        assert!(!old.contains(&live.id), "{zone}: {}", live.id);
        assert_eq!(live.state, State::Active);
    }
}

#[test]
fn revoke_host_as_a_runbook() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let held = identities(&ground.host_file("nvr"));
    let waits = run_book(&ground, "revoke-host", &["--yes", "--set", "host=nvr"]).expect_code(5);
    assert!(
        waits.stderr.contains("--confirm replace"),
        "{}",
        waits.stderr
    );
    for path in &ground.documents {
        let document = parse(path, ground.read(path));
        assert!(document.open_with(&held).is_err(), "{path}");
        for (reader, zone, held) in ground.readers() {
            let reads = reader != "nvr" && Homeops::zones_of(path.as_str()).contains(&zone);
            assert_eq!(document.open_with(&held).is_ok(), reads, "{reader}: {path}");
        }
    }
    let more = ["--yes", "--confirm", "replace"];
    let ended = run_book(&ground, "revoke-host", &more);
    assert!(matches!(ended.code, Some(0 | 3)), "{}", ended.stderr);
}

/// The commands of a page, in order: every `sh` block.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            commands.push(body.join("\n"));
        }
    }
    commands
}

/// What people copy from the page does what the runbook does.
#[test]
fn the_commands_of_the_page_do_the_job() {
    if !have_peers(&["git", "bash"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("page");
    let page = ground
        .run(&["runbook", "show", "split"])
        .expect_code(0)
        .stdout;
    let script = commands(&page).join("\n");
    assert_eq!(script.lines().count(), 4, "{script}");
    let mut shell = sandbox.command("bash", &ground.repository());
    let own = Path::new(COFFERDAM).parent().unwrap().to_owned();
    let path = shell
        .get_envs()
        .find(|(name, _)| *name == "PATH")
        .unwrap()
        .1
        .unwrap()
        .to_owned();
    let path = std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&path)));
    shell
        .args(["-euc", &script])
        .env("PATH", path.unwrap())
        .env("SOPS_AGE_KEY_FILE", ground.folder.join("keys.txt"));
    Ran::of(&mut shell).expect_code(0);
    ground.expect_finished(&before, "by the page");
}

#[test]
fn the_pages_are_as_they_were() {
    let sandbox = Sandbox::new();
    let show = |args: &[&str]| {
        let mut command = sandbox.command(COFFERDAM, sandbox.path());
        Ran::of(command.args(["runbook"]).args(args))
    };
    let list = show(&["list"]).expect_code(0).stdout;
    expect_snapshot("runbooks/list", &list);
    for name in NAMES {
        let page = show(&["show", name]).expect_code(0).stdout;
        expect_snapshot(&format!("runbooks/{name}"), &page);
        assert!(list.contains(name), "{name}");
    }
    let filled = show(&["show", "revoke-host", "--set", "host=nvr"]).expect_code(0);
    assert!(
        filled.stdout.contains("cofferdam revoke nvr --yes"),
        "{}",
        filled.stdout
    );
    let unknown = show(&["show", "rotat"]).expect_code(2);
    assert!(
        unknown.stderr.contains("did you mean rotate?"),
        "{}",
        unknown.stderr
    );
}
