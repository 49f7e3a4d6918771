//! The recovery kit is rehearsed, and used: with nothing else at hand an operator gets going again.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::support::ground::{Ground, identities, parse, private, recipient};
use crate::support::{Ran, Sandbox, assert_same_files, have_peers, snapshot};
use cofferdam::keys::Identity;
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keystore::sealed;

/// A new identity in a key file of its own; its recipient.
fn new_identity(file: &Path) -> String {
    let identity = Identity::mint();
    let text = KeyFile::empty().with_identity(&[], &identity);
    private(file, text.expose(), 0o600);
    identity.recipient().unwrap().as_str().to_owned()
}

/// The small repository after its split.
fn split(sandbox: &Sandbox) -> Ground<'_> {
    let ground = Ground::small(sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    ground
}

/// Runs a command with these bytes on standard input and no identity anywhere.
fn run_with_input(ground: &Ground<'_>, args: &[&str], input: &[u8]) -> Ran {
    let mut command = ground.command(args);
    command
        .env_remove("SOPS_AGE_KEY_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stdout_bytes: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn drill(ground: &Ground<'_>, kit: &str) -> Ran {
    let mut command = ground.command(&["recovery", "drill", "--kit", kit]);
    Ran::of(command.env_remove("SOPS_AGE_KEY_FILE"))
}

/// Sets the date of the last drill back, and asks for one every 180 days.
fn age_the_drill(ground: &Ground<'_>) {
    let ledger = ground.repository().join(".cofferdam/keyring.toml");
    let text = std::fs::read_to_string(&ledger).unwrap();
    let old: String = text
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("read_back", _)) => "read_back = \"2025-01-01T00:00:00Z\"\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_ne!(old, text);
    std::fs::write(&ledger, old).unwrap();
    let topology = ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap();
    let with = text.replacen("[recovery]", "[recovery]\ndrill_every = \"180 days\"", 1);
    std::fs::write(&topology, with).unwrap();
}

#[test]
fn a_drill_opens_everything_and_renews_the_receipt() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    age_the_drill(&ground);
    let due = ground.run(&["status"]).expect_code(3);
    assert!(due.stdout.contains("was last read back"), "{}", due.stdout);
    let ran = drill(&ground, "../recovery.txt").expect_code(0);
    let kit = recipient(&ground.folder.join("recovery.txt"));
    let said = format!(
        "the kit of {} opens 5 of 5 documents and 4 of 4 sealed identities\n",
        kit.short()
    );
    assert_eq!(ran.stdout, said);
    ground.run(&["status"]).expect_code(0);
    let read_back = ground.ledger().recovery_read_back(&kit).unwrap();
    assert!(read_back.to_string().as_str() > "2026", "{read_back}");
}

#[test]
fn a_kit_is_read_from_paper() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let file = std::fs::read_to_string(ground.folder.join("recovery.txt")).unwrap();
    let args = ["recovery", "drill", "--kit", "-"];
    run_with_input(&ground, &args, file.as_bytes()).expect_code(0);
    let line = file.lines().find(|l| l.starts_with("AGE-")).unwrap();
    let typed = format!("{}\n  {}\n", line[..37].to_lowercase(), &line[37..]);
    run_with_input(&ground, &args, typed.as_bytes()).expect_code(0);

    let mistyped = typed.replacen(
        &typed[20..21],
        if &typed[20..21] == "q" { "p" } else { "q" },
        1,
    );
    let refused = run_with_input(&ground, &args, mistyped.as_bytes()).expect_code(1);
    assert!(
        !refused.stderr.contains(&typed[25..36]),
        "{}",
        refused.stderr
    );
    // No terminal, no file.
    let mut command = ground.command(&["recovery", "drill"]);
    let refused = Ran::of(with_no_terminal(&mut command)).expect_code(2);
    assert!(refused.stderr.contains("--kit FILE"), "{}", refused.stderr);
}

/// A session of its own has no controlling terminal.
fn with_no_terminal(command: &mut std::process::Command) -> &mut std::process::Command {
    let mut detached = std::process::Command::new("setsid");
    detached
        .arg("--wait")
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        detached.current_dir(folder);
    }
    detached.env_clear().stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            detached.env(name, value);
        }
    }
    *command = detached;
    command
}

#[test]
fn a_drill_that_fails_is_not_recorded() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    age_the_drill(&ground);
    let before = snapshot(&ground.repository());
    // Another identity, none, no file.
    let wrong = drill(&ground, "../laptop.txt").expect_code(1);
    assert!(
        wrong.stderr.contains("recovery recipient"),
        "{}",
        wrong.stderr
    );
    std::fs::write(ground.folder.join("empty.txt"), "# nothing\n").unwrap();
    drill(&ground, "../empty.txt").expect_code(1);
    drill(&ground, "../missing.txt").expect_code(1);
    assert_same_files(&before, &snapshot(&ground.repository()));
    // A document whose values were tampered with opens, and does not verify.
    let damaged = ground.documents[0].under(&ground.repository());
    let text = std::fs::read_to_string(&damaged).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    std::fs::write(
        &damaged,
        format!("{}\n{rest}", &first.replacen("data:", "data:A", 1)),
    )
    .unwrap();
    let failed = drill(&ground, "../recovery.txt").expect_code(1);
    assert!(
        failed.stderr.contains(ground.documents[0].as_str()),
        "{}",
        failed.stderr
    );
    std::fs::write(&damaged, text).unwrap();
    // A sealed identity that was exchanged for another one of the same name.
    let kit = recipient(&ground.folder.join("recovery.txt"));
    let ledger = ground.ledger();
    let id = &ledger.records().last().unwrap().id;
    let file = ground
        .repository()
        .join(".cofferdam/sealed")
        .join(sealed::sealed_file_name(id, &kit));
    let sealed_before = std::fs::read(&file).unwrap();
    std::fs::write(&file, sealed::seal(&Identity::mint(), &kit).unwrap()).unwrap();
    let failed = drill(&ground, "../recovery.txt").expect_code(1);
    assert!(
        failed.stderr.contains("another identity"),
        "{}",
        failed.stderr
    );
    // One that is not there is a finding: the kit itself is good.
    std::fs::remove_file(&file).unwrap();
    let finding = drill(&ground, "../recovery.txt").expect_code(3);
    assert!(finding.stderr.contains(id.as_str()), "{}", finding.stderr);
    std::fs::write(&file, sealed_before).unwrap();
    drill(&ground, "../recovery.txt").expect_code(0);
}

/// Protocol rule 3: a recovery identity made elsewhere has no receipt; a drill in the middle of the run gives it one.
#[test]
fn a_drill_is_the_receipt_that_retirement_asks_for() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let ground = Ground::small(&sandbox);
    let ledger = ground.repository().join(".cofferdam/keyring.toml");
    std::fs::remove_file(ledger).unwrap();
    let stopped = ground.run(&["split", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("recovery drill"),
        "{}",
        stopped.stderr
    );
    drill(&ground, "../recovery.txt").expect_code(0);
    ground.run(&["resume"]).expect_code(0);
    assert_eq!(ground.git(&["status", "--porcelain"]), "");
}

#[test]
fn before_the_split_a_drill_finds_what_is_not_encrypted_to_the_kit() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let ground = Ground::small(&sandbox);
    let finding = drill(&ground, "../recovery.txt").expect_code(3);
    assert!(
        finding.stdout.contains("0 of 5 documents"),
        "{}",
        finding.stdout
    );
    assert!(
        finding.stderr.contains("cofferdam split"),
        "{}",
        finding.stderr
    );
}

/// Everything of the operator is lost but the repository; the kit and a new identity are there.
#[test]
fn with_the_kit_alone_an_operator_gets_going() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let lost = recipient(&ground.folder.join("laptop.txt"));
    for gone in ["laptop.txt", "keys.txt", "shared.txt"] {
        std::fs::remove_file(ground.folder.join(gone)).unwrap();
    }
    let new = ground.folder.join("new.txt");
    let fresh = new_identity(&new);
    let operator = format!("laptop={fresh}");
    let args = ["recovery", "restore", "--operator", &operator];
    let kit = std::fs::read(ground.folder.join("recovery.txt")).unwrap();

    let before = snapshot(&ground.repository());
    let asks: Vec<&str> = args.iter().copied().chain(["--kit", "-"]).collect();
    let unasked = run_with_input(&ground, &asks, &kit).expect_code(2);
    assert!(unasked.stderr.contains(&lost.short()), "{}", unasked.stderr);
    assert_same_files(&before, &snapshot(&ground.repository()));

    let yes: Vec<&str> = asks.iter().copied().chain(["--yes"]).collect();
    run_with_input(&ground, &yes, &kit).expect_code(0);
    // Real sops opens every document with the new identity alone, and prints what it printed before.
    let expected = crate::support::homeops::Homeops::expected();
    for path in &ground.documents {
        let ran = ground
            .sops(&["decrypt", path.as_str()], &new)
            .expect_code(0);
        assert_eq!(ran.stdout, expected[path.as_str()], "{path}");
        // Whoever read it still does: nothing was taken from anybody.
        let document = parse(path, ground.read(path));
        assert!(document.recipients().contains(&&lost), "{path}");
    }
    ground.expect_readable_by_hosts();
    for record in ground.ledger().records() {
        let name = sealed::sealed_file_name(&record.id, &recipient(&new));
        let file = std::fs::read(ground.repository().join(".cofferdam/sealed").join(name)).unwrap();
        let opened = sealed::unseal(&[&file], &identities(&new))
            .unwrap()
            .unwrap();
        assert_eq!(opened.recipient_ref(), Some(&record.recipient));
    }
    let topology = std::fs::read_to_string(ground.repository().join("cofferdam.toml")).unwrap();
    assert!(topology.contains(&fresh) && !topology.contains(lost.as_str()));
    // Again: there is nothing left to do, and nothing changes.
    let after = snapshot(&ground.repository());
    run_with_input(&ground, &yes, &kit).expect_code(0);
    assert_same_files(&after, &snapshot(&ground.repository()));
}

#[test]
fn a_restoration_gives_nobody_two_roles() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let ground = split(&sandbox);
    let before = snapshot(&ground.repository());
    let zone = ground.ledger().records().last().unwrap().recipient.clone();
    let kit = recipient(&ground.folder.join("recovery.txt"));
    let shared = recipient(&ground.folder.join("shared.txt"));
    let refuse = |operator: String, code: i32, says: &str| {
        let ran = ground.run(&[
            "recovery",
            "restore",
            "--yes",
            "--kit",
            "../recovery.txt",
            "--operator",
            &operator,
        ]);
        let ran = ran.expect_code(code);
        assert!(ran.stderr.contains(says), "{operator}: {}", ran.stderr);
    };
    refuse(
        format!("laptop={}", zone.as_str()),
        1,
        "the recipient given",
    );
    refuse(format!("laptop={}", shared.as_str()), 1, "retired");
    refuse(format!("laptop={}", kit.as_str()), 1, "cofferdam.toml");
    refuse(
        format!("no good={}", Identity::mint().recipient().unwrap().as_str()),
        1,
        "simple word",
    );
    refuse("laptop".to_owned(), 2, "NAME=RECIPIENT");
    refuse("laptop=age1nonsense".to_owned(), 2, "age1nonsense");
    assert_same_files(&before, &snapshot(&ground.repository()));
}

#[test]
fn a_restoration_that_is_killed_goes_on() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = split(&sandbox);
    let new = before.folder.join("new.txt");
    let operator = format!("desk={}", new_identity(&new));
    let args = [
        "recovery",
        "restore",
        "--yes",
        "--kit",
        "../recovery.txt",
        "--operator",
        &operator,
    ];
    let mut moments = 0;
    for n in 1.. {
        let ground = before.copy(&format!("restore-{n}"));
        let mut command = ground.command(&args);
        let ran = Ran::of(command.env("COFFERDAM_CRASH_AT", n.to_string()));
        ground.expect_readable_by_hosts();
        ground.run(&args).expect_code(0);
        ground.expect_no_leftovers(&format!("killed at {n}"));
        for path in &ground.documents {
            let document = parse(path, ground.read(path));
            assert!(
                document.open_with(&identities(&new)).is_ok(),
                "killed at {n}: {path}"
            );
        }
        ground.remove();
        if ran.code.is_some() {
            break;
        }
        moments += 1;
    }
    println!("killed at {moments} moments");
    assert!(moments > 8, "only {moments} moments");
}
