//! Protocol rule 18: a container that reads in its host's place. A real `dockerd`, containers of busybox with the key file
//! mounted, and a real `sshd` of the host they run on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::bench::{Bench, by_ssh, chmod, prove, text_of, told};
use crate::support::dockerd::Dockerd;
use crate::support::ground::{Ground, identities, recipient};
use crate::support::sshd::{Fleet, Manners, have_sshd};
use crate::support::{COFFERDAM, Ran, Sandbox, find_program, have_peers};
use cofferdam::fleet::{Challenge, Receipt, SshHost, SshProgram, Target, TargetError};
use cofferdam::keys::{Identity, Recipient};
use cofferdam::ledger::ReceiptKind;
use cofferdam::topology::{Container, Host, HostTarget};

const INSIDE: &str = "/etc/sops/age/keys.txt";

/// A folder with a `docker` that reaches the daemon, and PATH with it before the system's own.
fn client(daemon: &Dockerd, sandbox: &Sandbox) -> String {
    let bin = sandbox.path().join("client");
    std::fs::create_dir(&bin).unwrap();
    daemon.put_client(&bin);
    format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display())
}

/// A host by SSH whose file is read by a container.
fn host(bench: &Bench, reader: Option<&str>, after_ship: &[&str]) -> SshHost {
    let host = Host {
        adopt: None,
        name: "kasm".to_owned(),
        zone: "lan".to_owned(),
        target: HostTarget::Ssh("kasm".to_owned()),
        identity_file: bench.file().to_str().unwrap().to_owned(),
        transport: None,
        clones: Vec::new(),
        after_ship: after_ship.iter().map(|&c| c.to_owned()).collect(),
        reader: reader.map(|text| Container::parse(text).unwrap()),
        cofferdam: None,
    };
    SshHost::of(&host, &Arc::new(SshProgram::new(bench.fleet.words()))).unwrap()
}

fn ask(target: &SshHost, recipient: &Recipient) -> Result<Receipt, TargetError> {
    let challenge = Challenge::new("kasm", "r", recipient).unwrap();
    target.prove(&challenge)
}

fn mount(from: &Path, to: &str) -> String {
    format!("{}:{to}:ro", from.display())
}

#[test]
fn a_container_with_the_previous_file_has_no_receipt_until_it_is_restarted() {
    if !have_sshd() || !have_peers(&["age"]) {
        return;
    }
    let Some(daemon) = Dockerd::start() else {
        return;
    };
    daemon.import("bb", &[]);
    let sandbox = Sandbox::new();
    let manners = Manners {
        path: Some(client(&daemon, &sandbox)),
        ..Manners::default()
    };
    let bench = Bench::new("kasm", &manners);
    let (old, new) = (Identity::mint(), Identity::mint());
    let (old_r, new_r) = (old.recipient().unwrap(), new.recipient().unwrap());
    bench.put(&text_of(&old), 0o400);
    let (file, folder) = (bench.file(), bench.folder());
    daemon.run("periphery", "bb", &["--volume", &mount(&file, INSIDE)]);
    daemon.run("whole", "bb", &["--volume", &mount(&folder, "/keys")]);
    let restart = || {
        daemon
            .docker(&["restart", "--time", "0", "periphery"])
            .expect_code(0)
    };

    // Nothing has happened yet: both see what the host sees.
    let undeclared = host(&bench, None, &[]);
    let declared = host(&bench, Some("docker:periphery"), &[]);
    for target in [&undeclared, &declared] {
        let receipt = ask(target, &old_r).unwrap();
        assert!(receipt.opened && receipt.everywhere && receipt.copies.is_empty());
    }
    // The host has age, the container nothing: the host looks at what the container sees, which is the weaker receipt.
    assert_eq!(
        ask(&undeclared, &old_r).unwrap().kind,
        ReceiptKind::Unwrapped
    );
    assert_eq!(ask(&declared, &old_r).unwrap().kind, ReceiptKind::ReadBack);

    // Delivered: the host has the new file, the container the old one. Docker tells whose mount that is.
    declared.deliver("lan-1", &new).unwrap();
    for (target, hint) in [
        (
            &undeclared,
            "reader = \"docker:periphery\" has it proven inside",
        ),
        (&declared, "after_ship = [\"docker restart periphery\"]"),
    ] {
        let error = told(&ask(target, &new_r).unwrap_err());
        let wanted = format!(
            "the container periphery still has the previous {}",
            file.display()
        );
        assert!(error.contains(&wanted), "{error}");
        assert!(
            error.contains(&format!("mounted, at {INSIDE} (")),
            "{error}"
        );
        assert!(
            error.contains("docker restart periphery") && error.contains(hint),
            "{error}"
        );
    }
    // Who mounts the folder sees the new file at once, but the other one still has to be told.
    let whole = host(&bench, Some("docker:whole"), &[]);
    assert!(told(&ask(&whole, &new_r).unwrap_err()).contains("periphery"));
    restart();
    for target in [&undeclared, &declared, &whole] {
        let receipt = ask(target, &new_r).unwrap();
        assert!(receipt.opened && receipt.everywhere, "{receipt:?}");
    }

    // Retired: the same again, and with `after_ship` there is nothing to wait for.
    declared.withdraw(&old_r, None).unwrap();
    assert!(told(&ask(&declared, &old_r).unwrap_err()).contains("still has the previous"));
    let served = host(
        &bench,
        Some("docker:periphery"),
        &["docker restart --time 0 periphery"],
    );
    let third = Identity::mint();
    served.deliver("lan-2", &third).unwrap();
    let receipt = ask(&served, &third.recipient().unwrap()).unwrap();
    assert!(receipt.opened && receipt.everywhere);
    assert!(!ask(&served, &old_r).unwrap().opened);
    served.withdraw(&new_r, None).unwrap();
    assert!(!ask(&served, &new_r).unwrap().opened);
}

#[test]
fn what_a_container_has_is_what_it_proves_itself_with() {
    if !have_sshd() || !have_peers(&["age", "sops"]) {
        return;
    }
    let Some(daemon) = Dockerd::start() else {
        return;
    };
    let sandbox = Sandbox::new();
    let manners = Manners {
        path: Some(client(&daemon, &sandbox)),
        ..Manners::default()
    };
    let bench = Bench::new("kasm", &manners);
    let (own, stray) = (Identity::mint(), Identity::mint());
    bench.put(&text_of(&own), 0o400);
    let (own_r, stray_r) = (own.recipient().unwrap(), stray.recipient().unwrap());
    let programs: [(&str, PathBuf); 3] = [
        ("sops", find_program("sops").unwrap()),
        ("age", find_program("age").unwrap()),
        ("cofferdam", PathBuf::from(COFFERDAM)),
    ];
    for (name, program) in &programs {
        daemon.import(name, &[program]);
        daemon.run(name, name, &["--volume", &mount(&bench.file(), INSIDE)]);
        let target = host(&bench, Some(&format!("docker:{name}")), &[]);
        let receipt = ask(&target, &own_r).unwrap();
        assert!(receipt.opened && receipt.everywhere, "{name}: {receipt:?}");
        assert_eq!(receipt.kind, ReceiptKind::Unwrapped, "{name}");
        assert!(!ask(&target, &stray_r).unwrap().opened, "{name}");
        // Another file than the one that is mounted, of an earlier image say: it is what the program inside reads.
        let other = sandbox.path().join("other.txt");
        std::fs::write(&other, text_of(&stray)).unwrap();
        let at = format!("{name}:/tmp/keys.txt");
        daemon
            .docker(&["cp", other.to_str().unwrap(), &at])
            .expect_code(0);
        let elsewhere = host(&bench, Some(&format!("docker:{name}:/tmp/keys.txt")), &[]);
        let receipt = ask(&elsewhere, &own_r).unwrap();
        assert!(receipt.opened && !receipt.everywhere, "{name}: {receipt:?}");
        let place = format!("docker:{name}:/tmp/keys.txt");
        assert_eq!(receipt.lacking, [place.as_str()], "{name}");
        let receipt = ask(&elsewhere, &stray_r).unwrap();
        assert!(receipt.opened && !receipt.everywhere, "{name}: {receipt:?}");
        assert_eq!(receipt.copies, [place], "{name}");
        daemon.docker(&["rm", "--force", name]).expect_code(0);
        daemon.docker(&["rmi", "--force", name]).expect_code(0);
    }
    assert!(!bench.fleet.argv().contains("AGE-SECRET-KEY"));
}

#[test]
fn a_container_that_cannot_be_asked_is_told_by_name() {
    if !have_sshd() || !have_peers(&["setpriv"]) {
        return;
    }
    let Some(daemon) = Dockerd::start() else {
        return;
    };
    daemon.import("bb", &[]);
    let sandbox = Sandbox::new();
    let path = client(&daemon, &sandbox);
    let own = Identity::mint();
    let expect = |manners: Manners, reader: &str, wanted: &[&str]| {
        let bench = Bench::new("kasm", &manners);
        bench.put(&text_of(&own), 0o400);
        let target = host(&bench, Some(reader), &[]);
        let error = told(&ask(&target, &own.recipient().unwrap()).unwrap_err());
        for wanted in wanted.iter().chain(&["kasm"]) {
            assert!(error.contains(wanted), "{error}");
        }
        // Without the declaration the host proves itself as ever.
        let plain = host(&bench, None, &[]);
        if manners.forced.is_none() {
            assert!(prove(&plain, &own.recipient().unwrap()).opened);
        }
    };
    let with = |path: &str| Manners {
        path: Some(path.to_owned()),
        ..Manners::default()
    };
    expect(
        with(&path),
        "docker:periphery",
        &[
            "container periphery",
            "No such container",
            "correct `reader`",
        ],
    );
    daemon.run("periphery", "bb", &[]);
    expect(
        with(&path),
        "docker:periphery",
        &["does not mount ", "reader = \"docker:periphery:/path\""],
    );
    daemon
        .docker(&["stop", "--time", "0", "periphery"])
        .expect_code(0);
    expect(
        with(&path),
        "docker:periphery",
        &["which is not running", "docker start periphery"],
    );
    // No docker on the host at all; a docker that reaches no daemon; a login without rights.
    let Some((_applets, bin)) = crate::support::bench::busybox() else {
        return;
    };
    expect(
        with(&bin),
        "docker:periphery",
        &["has no `docker` on its PATH"],
    );
    let dead = sandbox.path().join("dead");
    std::fs::create_dir(&dead).unwrap();
    let docker = find_program("docker").unwrap();
    let text = format!(
        "#!/bin/sh\nDOCKER_HOST=unix:///nonexistent exec '{}' \"$@\"\n",
        docker.display()
    );
    std::fs::write(dead.join("docker"), text).unwrap();
    chmod(&dead.join("docker"), 0o755);
    expect(
        with(&format!("{}:/usr/bin:/bin", dead.display())),
        "docker:periphery",
        &["Cannot connect", "start the daemon there"],
    );
    let nobody =
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \"$SSH_ORIGINAL_COMMAND\"";
    let manners = Manners {
        forced: Some(nobody.to_owned()),
        ..with(&path)
    };
    expect(manners, "docker:periphery", &["sudo is refused"]);
}

/// A whole split: without `after_ship` it stops at the gate, and again once the old identity was taken from the file.
#[test]
fn rule_18_a_split_waits_for_the_container_that_reads() {
    if !have_sshd() || !have_peers(&["sops", "age"]) {
        return;
    }
    let Some(daemon) = Dockerd::start() else {
        return;
    };
    daemon.import("bb", &[]);
    let sandbox = Sandbox::new();
    let ground = Ground::small(&sandbox);
    let mut fleet = Fleet::new(sandbox.path());
    let manners = Manners {
        path: Some(client(&daemon, &sandbox)),
        ..Manners::default()
    };
    fleet.add("kasm", &manners);
    by_ssh(&ground, "kasm", "reader = \"docker:periphery\"\n");
    let file = ground.host_file("kasm");
    daemon.run("periphery", "bb", &["--volume", &mount(&file, INSIDE)]);
    let inside = || -> Vec<Recipient> {
        let text = daemon
            .docker(&["exec", "periphery", "cat", INSIDE])
            .expect_code(0);
        let copy = sandbox.path().join("inside.txt");
        std::fs::write(&copy, text.stdout).unwrap();
        identities(&copy).recipients()
    };
    let shared = recipient(&sandbox.path().join("small/shared.txt"));
    assert_eq!(inside(), std::slice::from_ref(&shared));
    let run = |args: &[&str]| Ran::of(ground.command(args).env("COFFERDAM_SSH", fleet.program()));
    let restart = || {
        daemon
            .docker(&["restart", "--time", "0", "periphery"])
            .expect_code(0)
    };

    let stopped = run(&["split", "--yes"]).expect_code(5);
    let wanted =
        "nothing was rewritten: kasm (kasm): the container periphery still has the previous";
    assert!(stopped.stderr.contains(wanted), "{}", stopped.stderr);
    ground.expect_nothing_retired("the container has the old file");
    assert_eq!(inside(), std::slice::from_ref(&shared));
    restart();
    assert_eq!(inside().len(), 2);
    // The old identity leaves the file: the container still has it, which is told.
    let stopped = run(&["resume", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("still has the previous"),
        "{}",
        stopped.stderr
    );
    assert!(inside().contains(&shared));
    restart();
    run(&["resume", "--yes"]).expect_code(0);
    let held = inside();
    assert!(held.len() == 1 && held[0] != shared);
    ground.expect_readable_by_hosts();

    // With `after_ship` nobody has to be there.
    let topology = ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap();
    let reader = "reader = \"docker:periphery\"\n";
    let served = format!("{reader}after_ship = [\"docker restart --time 0 periphery\"]\n");
    std::fs::write(&topology, text.replace(reader, &served)).unwrap();
    run(&["rotate", "lan", "--yes", "--accept", "kasm"]).expect_code(0);
    let after = inside();
    assert!(after.len() == 1 && after != held);
    assert_eq!(after, identities(&file).recipients());
}
