//! Hosts reached by the system's `ssh`, with real `sshd`s: deliveries, proofs, withdrawals, and a split.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::support::bench::by_ssh as by_ssh_on;
use crate::support::bench::{
    Bench, busybox, chmod, host, mode, names, prove, text_of, told, transport, transport_line,
};
use crate::support::ground::Ground;
use crate::support::homeops::{Homeops, VPS};
use crate::support::sshd::{Fleet, Manners, have_sshd};
use crate::support::{Ran, Sandbox, have_peers};
use cofferdam::fleet::challenge::Challenge;
use cofferdam::fleet::{Delivered, SshProgram, Target, TargetError, Withdrawn};
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keys::{Identity, Recipient};
use cofferdam::ledger::ReceiptKind;

const NOISE: &str = "echo Welcome to the machine; echo mail >&2; sh -c \"$SSH_ORIGINAL_COMMAND\"; s=$?; echo bye; exit $s";

#[test]
fn an_identity_goes_beside_the_others_proves_itself_and_goes_again() {
    if !have_sshd() {
        return;
    }
    for forced in [None, Some(NOISE.to_owned())] {
        let bench = Bench::new(
            "kasm",
            &Manners {
                forced,
                ..Manners::default()
            },
        );
        let (old, new) = (Identity::mint(), Identity::mint());
        let (old_r, new_r) = (old.recipient().unwrap(), new.recipient().unwrap());
        let text = format!("# Bob's, ask him\n{}# end", text_of(&old));
        bench.put(&text, 0o600);
        let target = bench.target("kasm");

        let held = target.read().unwrap();
        assert_eq!(held.recipients, std::slice::from_ref(&old_r));
        assert!(!prove(&target, &new_r).opened);
        assert_eq!(target.deliver("lan-1", &new).unwrap(), Delivered::Placed);
        assert_eq!(
            target.deliver("lan-1", &new).unwrap(),
            Delivered::AlreadyThere
        );
        assert!(
            bench
                .text()
                .starts_with(&format!("{text}\n# cofferdam: lan-1\n"))
        );
        assert_eq!(mode(&bench.file()), 0o400);
        assert_eq!(
            names(&bench.folder()),
            BTreeSet::from(["keys.txt".to_owned()])
        );
        for recipient in [&old_r, &new_r] {
            let receipt = prove(&target, recipient);
            assert!(receipt.opened && receipt.everywhere && receipt.copies.is_empty());
            assert_eq!(receipt.kind, ReceiptKind::Unwrapped);
        }

        // Undo brings every byte back, and the mode.
        let withdrawn = target.withdraw(&new_r, Some(&held.before)).unwrap();
        assert_eq!(withdrawn, Withdrawn::Removed);
        assert_eq!((bench.text(), mode(&bench.file())), (text, 0o600));
        // Retirement takes one away and leaves the rest.
        target.deliver("lan-1", &new).unwrap();
        assert_eq!(target.withdraw(&old_r, None).unwrap(), Withdrawn::Removed);
        assert_eq!(target.withdraw(&old_r, None).unwrap(), Withdrawn::WasAbsent);
        assert!(
            bench
                .text()
                .starts_with("# Bob's, ask him\n# end\n# cofferdam: lan-1\n")
        );
        assert!(!prove(&target, &old_r).opened);
        assert!(!bench.fleet.argv().contains("AGE-SECRET-KEY"));
    }
}

#[test]
fn a_host_with_nothing_but_busybox_will_do() {
    if !have_sshd() {
        return;
    }
    let Some((_applets, bin)) = busybox() else {
        return;
    };
    let path = Some(bin);
    let bench = Bench::new(
        "nvr",
        &Manners {
            path,
            ..Manners::default()
        },
    );
    let (old, new) = (Identity::mint(), Identity::mint());
    bench.put(&text_of(&old), 0o600);
    let target = bench.target("nvr");
    let before = target.read().unwrap().before;
    assert_eq!(target.deliver("lan-1", &new).unwrap(), Delivered::Placed);
    assert_eq!(mode(&bench.file()), 0o400);
    let receipt = prove(&target, &new.recipient().unwrap());
    assert!(receipt.opened && receipt.everywhere);
    assert_eq!(receipt.kind, ReceiptKind::ReadBack);
    assert!(!prove(&target, &Identity::mint().recipient().unwrap()).opened);
    let recipient = new.recipient().unwrap();
    target.withdraw(&recipient, Some(&before)).unwrap();
    assert_eq!((bench.text(), mode(&bench.file())), (text_of(&old), 0o600));
    assert!(target.sweep().unwrap().is_empty());
    assert_eq!(names(&bench.folder()).len(), 1);
}

#[test]
fn folders_are_made_private_and_undone_and_leftovers_swept() {
    if !have_sshd() {
        return;
    }
    let bench = Bench::new("nvr", &Manners::default());
    let file = bench.folder().join("sops/age/keys.txt");
    let target = bench.target_at("nvr", &file, &[]);
    let new = Identity::mint();
    let before = target.read().unwrap().before;
    assert_eq!(before.absent_folders.len(), 2);
    target.deliver("lan-1", &new).unwrap();
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&bench.folder().join("sops")), 0o755);
    let left = file.with_file_name(".keys.txt.cofferdam-0011aabb.tmp");
    let other = file.with_file_name(".keys.txt.cofferdam-notours.tmp");
    std::fs::write(&left, "").unwrap();
    std::fs::write(&other, "").unwrap();
    assert_eq!(target.sweep().unwrap(), [left.to_str().unwrap()]);
    assert!(!left.exists());
    std::fs::remove_file(&other).unwrap();
    let recipient = new.recipient().unwrap();
    for outcome in [Withdrawn::Removed, Withdrawn::WasAbsent] {
        assert_eq!(target.withdraw(&recipient, Some(&before)).unwrap(), outcome);
        assert!(names(&bench.folder()).is_empty());
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_left_alone() {
    if !have_sshd() {
        return;
    }
    // The calls beside the master are: the probe, the look, the write.
    let race = "case $SSH_ORIGINAL_COMMAND in cat) exec cat;; esac
n=$(( $(cat \"$HOME/n\" 2>/dev/null || echo 0) + 1 )); echo $n >\"$HOME/n\"
[ $n = 3 ] && cat \"$HOME/theirs\" >\"$(cat \"$HOME/file\")\"
exec sh -c \"$SSH_ORIGINAL_COMMAND\"";
    let manners = Manners {
        forced: Some(race.to_owned()),
        ..Manners::default()
    };
    let bench = Bench::new("omni", &manners);
    bench.put(&text_of(&Identity::mint()), 0o600);
    let theirs = text_of(&Identity::mint());
    let home = bench.fleet.host("omni").join("home");
    std::fs::write(home.join("theirs"), &theirs).unwrap();
    std::fs::write(home.join("file"), bench.file().to_str().unwrap()).unwrap();
    let target = bench.target("omni");
    let new = Identity::mint();
    let error = target.deliver("lan-1", &new).unwrap_err();
    assert!(
        matches!(error, TargetError::Changed { .. }),
        "{}",
        told(&error)
    );
    assert_eq!(bench.text(), theirs);
    assert_eq!(names(&bench.folder()).len(), 1);
    assert_eq!(target.deliver("lan-1", &new).unwrap(), Delivered::Placed);
    assert!(bench.text().starts_with(&theirs));
}

#[test]
fn a_connection_that_ends_within_the_content_changes_nothing() {
    if !have_sshd() {
        return;
    }
    let cut = "case $SSH_ORIGINAL_COMMAND in cat) exec cat;; esac
n=$(( $(cat \"$HOME/n\" 2>/dev/null || echo 0) + 1 )); echo $n >\"$HOME/n\"
if [ $n = 3 ]; then { IFS= read -r s; printf '%s\\n' \"$s\"; head -c 30; } | sh -c \"$SSH_ORIGINAL_COMMAND\"; exit; fi
exec sh -c \"$SSH_ORIGINAL_COMMAND\"";
    let manners = Manners {
        forced: Some(cut.to_owned()),
        ..Manners::default()
    };
    let bench = Bench::new("omni", &manners);
    let text = text_of(&Identity::mint());
    bench.put(&text, 0o400);
    let target = bench.target("omni");
    let error = told(&target.deliver("lan-1", &Identity::mint()).unwrap_err());
    assert!(
        error.contains("what arrived is not what was sent"),
        "{error}"
    );
    assert_eq!(bench.text(), text);
    assert_eq!(names(&bench.folder()).len(), 1);
}

#[test]
fn after_ship_runs_and_what_was_cut_off_runs_before_the_next_proof() {
    if !have_sshd() {
        return;
    }
    let bench = Bench::new("kasm", &Manners::default());
    let log = bench.sandbox.path().join("log");
    let good = format!("echo 'it'\"'\"'s on' >>{}", log.display());
    let gate = bench.sandbox.path().join("gate");
    let late = format!("test -e {}", gate.display());
    let target = bench.target_at("kasm", &bench.file(), &[&good, &late]);
    let new = Identity::mint();
    let error = told(&target.deliver("lan-1", &new).unwrap_err());
    assert!(
        error.contains("after_ship command `test -e ") && error.contains("ended with 1"),
        "{error}"
    );
    let challenge = Challenge::new("kasm", "r", &new.recipient().unwrap()).unwrap();
    assert!(target.prove(&challenge).is_err());
    std::fs::write(&gate, "").unwrap();
    assert!(target.prove(&challenge).unwrap().opened);
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        "it's on\n".repeat(3)
    );
    assert!(target.prove(&challenge).unwrap().opened);
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 3);
    assert_eq!(names(&bench.folder()).len(), 1);
}

#[test]
fn copies_are_found_wherever_identities_are_looked_for() {
    if !have_sshd() || !have_peers(&["sops", "age", "ssh-keygen"]) {
        return;
    }
    for tools in [&["sops", "age"][..], &["sops"], &["age"], &[]] {
        let sandbox = Sandbox::new();
        let bin = sandbox.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let plain = [
            "sh",
            "tr",
            "id",
            "stat",
            "cat",
            "sed",
            "awk",
            "cut",
            "sort",
            "head",
            "tail",
            "grep",
            "sha256sum",
            "sync",
            "env",
            "ssh-keygen",
            "rm",
            "mv",
            "chown",
            "chmod",
            "mkdir",
            "rmdir",
        ];
        for tool in plain.iter().chain(tools) {
            let found = Ran::of(
                sandbox
                    .command("sh", sandbox.path())
                    .args(["-c", &format!("command -v {tool}")]),
            );
            symlink(found.expect_code(0).stdout.trim_end(), bin.join(tool)).unwrap();
        }
        let path = Some(bin.to_str().unwrap().to_owned());
        let bench = Bench::new(
            "kasm",
            &Manners {
                path,
                ..Manners::default()
            },
        );
        let home = bench.fleet.host("kasm").join("home");
        let own = Identity::mint();
        bench.put(&text_of(&own), 0o400);
        let target = bench.target("kasm");
        let expected = if tools.is_empty() {
            ReceiptKind::ReadBack
        } else {
            ReceiptKind::Unwrapped
        };
        let receipt = prove(&target, &own.recipient().unwrap());
        assert!(
            receipt.opened && receipt.everywhere && receipt.copies.is_empty(),
            "{tools:?} {receipt:?}"
        );
        assert_eq!(receipt.kind, expected, "{tools:?}");

        let plant = |path: &str, text: &str| {
            let file = home.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            chmod(&file, 0o600);
            file
        };
        for (path, named) in [
            (".config/sops/age/keys.txt", None),
            ("odd place/k.txt", Some("SOPS_AGE_KEY_FILE")),
            (".profile", Some("SOPS_AGE_KEY")),
        ] {
            let copy = Identity::mint();
            let recipient = copy.recipient().unwrap();
            assert!(!prove(&target, &recipient).opened);
            let file = match named {
                None => plant(path, &text_of(&copy)),
                Some("SOPS_AGE_KEY_FILE") => {
                    let file = plant(path, &text_of(&copy));
                    plant(
                        ".bash_profile",
                        &format!("export SOPS_AGE_KEY_FILE=\"{}\"\n", file.display()),
                    );
                    file
                }
                Some(_) => {
                    let text = text_of(&copy);
                    let secret = text
                        .lines()
                        .find(|line| line.starts_with("AGE-"))
                        .unwrap()
                        .to_owned();
                    plant(path, &format!("# mine\nexport SOPS_AGE_KEY='{secret}'\n"))
                }
            };
            let receipt = prove(&target, &recipient);
            assert!(receipt.opened && !receipt.everywhere, "{tools:?} {path}");
            assert_eq!(receipt.copies, [file.to_str().unwrap()], "{tools:?}");
        }
        // An SSH key that age takes for an identity.
        std::fs::create_dir(home.join(".ssh")).unwrap();
        let key = home.join(".ssh/id_ed25519");
        Ran::of(bench.sandbox.command("ssh-keygen", &home).args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "x",
            "-f",
            key.to_str().unwrap(),
        ]))
        .expect_code(0);
        let public = std::fs::read_to_string(home.join(".ssh/id_ed25519.pub")).unwrap();
        let receipt = prove(&target, &Recipient::parse(public.trim()).unwrap());
        assert_eq!(receipt.copies, [key.to_str().unwrap()], "{tools:?}");
        assert!(!bench.fleet.argv().contains("AGE-SECRET-KEY"));
    }
}

#[test]
fn what_others_can_read_and_what_is_no_key_file_is_refused() {
    if !have_sshd() {
        return;
    }
    let bench = Bench::new("kasm", &Manners::default());
    let target = bench.target("kasm");
    let new = Identity::mint();
    let text = text_of(&Identity::mint());
    let refused = |wanted: &[&str]| {
        let before = crate::support::snapshot(&bench.folder());
        for error in [target.read().err(), target.deliver("x", &new).err()] {
            let error = told(&error.unwrap());
            for wanted in wanted.iter().chain(&["kasm"]) {
                assert!(error.contains(wanted), "{error}");
            }
            assert!(!error.contains("hunter2"), "{error}");
        }
        crate::support::assert_same_files(&before, &crate::support::snapshot(&bench.folder()));
    };
    let file = bench.file();
    let path = file.to_str().unwrap();
    bench.put(&text, 0o644);
    refused(&["mode 0644", &format!("chmod 0400 '{path}'")]);
    bench.put(&text, 0o400);
    chmod(&bench.folder(), 0o755);
    refused(&["mode 0755", "chmod 0700"]);
    chmod(&bench.folder(), 0o700);
    bench.put("hunter2\n", 0o600);
    refused(&["is no identity file"]);
    std::fs::rename(&file, bench.folder().join("real")).unwrap();
    symlink("real", &file).unwrap();
    refused(&["symbolic link"]);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    refused(&["neither a plain file nor a folder"]);
    std::fs::remove_dir(&file).unwrap();
    target.deliver("x", &new).unwrap();
}

#[test]
fn a_full_disk_and_a_read_only_one_leave_the_file_as_it_was() {
    if !have_sshd() {
        return;
    }
    let bench = Bench::new("storage", &Manners::default());
    let folder = bench.folder();
    let mount = |options: &str| {
        let mut command = bench.sandbox.command("mount", bench.sandbox.path());
        Ran::of(
            command
                .args(["-t", "tmpfs", "-o", options, "none"])
                .arg(&folder),
        )
        .code
            == Some(0)
    };
    if !mount("size=16k,mode=0700") {
        println!("skipped: mounts are not allowed here");
        return;
    }
    let text = text_of(&Identity::mint());
    bench.put(&text, 0o400);
    // The filler takes what is left.
    let _ = std::fs::write(folder.join("filler"), vec![0u8; 64 << 10]);
    let target = bench.target("storage");
    let error = told(&target.deliver("x", &Identity::mint()).unwrap_err());
    let full = bench.text() == text && names(&folder).len() == 2;
    let ran = mount("remount,ro");
    let read_only = told(&target.deliver("x", &Identity::mint()).unwrap_err());
    let same = bench.text() == text;
    Ran::of(
        bench
            .sandbox
            .command("umount", bench.sandbox.path())
            .arg(&folder),
    )
    .expect_code(0);
    assert!(full && same && ran);
    assert!(
        error.contains("No space left") && error.contains("make room"),
        "{error}"
    );
    assert!(
        read_only.contains("Read-only file system (mount it writable there)"),
        "{read_only}"
    );
}

#[test]
fn a_host_that_cannot_be_worked_on_says_what_to_do() {
    if !have_sshd() {
        return;
    }
    let plain = Manners::default();
    let forced = |text: &str| Manners {
        forced: Some(text.to_owned()),
        ..Manners::default()
    };
    let nobody =
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c \"$SSH_ORIGINAL_COMMAND\"";
    let cases: [(&str, Manners, &[&str]); 6] = [
        (
            "dead",
            Manners {
                is_dead: true,
                ..plain.clone()
            },
            &[
                "cannot be reached",
                "Connection refused",
                "try: ssh dead true",
            ],
        ),
        (
            "changed",
            Manners {
                key_is_wrong: true,
                ..plain.clone()
            },
            &["host key has changed", "ssh-keygen -f ", "-R '[127.0.0.1]:"],
        ),
        (
            "unknown",
            Manners {
                key_is_unknown: true,
                ..plain.clone()
            },
            &[
                "host key is not known",
                // The library has seen the key, and shows the line itself.
                if transport().is_some() {
                    "echo '[127.0.0.1]:"
                } else {
                    "ssh-keyscan -p "
                },
                "known_hosts",
            ],
        ),
        (
            "nologin",
            forced("echo This account is not available >&2; exit 1"),
            &["runs no commands", "This account is not available"],
        ),
        (
            "nosudo",
            forced(nobody),
            &["sudo is refused", "log in as root"],
        ),
        (
            "breaks",
            forced("case $SSH_ORIGINAL_COMMAND in cat) exec cat;; esac; kill -9 $PPID"),
            &["cannot be reached"],
        ),
    ];
    for (name, manners, wanted) in cases {
        let bench = Bench::new(name, &manners);
        bench.put(&text_of(&Identity::mint()), 0o400);
        let error = told(&bench.target(name).read().unwrap_err());
        for wanted in wanted.iter().chain(&[name]) {
            assert!(error.contains(wanted), "{name}: {error}");
        }
    }
    let bench = Bench::new(
        "hangs",
        &forced("case $SSH_ORIGINAL_COMMAND in cat) exec cat;; esac; sleep 8"),
    );
    let program = SshProgram::new(bench.fleet.words())
        .with_patience(Duration::from_secs(20), Duration::from_secs(1));
    let begun = Instant::now();
    let error = told(
        &host("hangs", &bench.file(), &[], program)
            .read()
            .unwrap_err(),
    );
    assert!(error.contains("no answer within 1 seconds"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn logins_that_no_key_opens_and_names_that_nobody_knows() {
    if !have_sshd() || !have_peers(&["ssh-agent", "ssh-keygen"]) {
        return;
    }
    let bench = Bench::new("kasm", &Manners::default());
    let text = text_of(&Identity::mint());
    bench.put(&text, 0o400);
    let told_with = |name: &str, more: &[&str]| {
        let mut words = bench.fleet.words();
        words.extend(more.iter().map(|&word| word.to_owned()));
        told(
            &host(name, &bench.file(), &[], SshProgram::new(words))
                .read()
                .unwrap_err(),
        )
    };
    // A key file under a passphrase, which nobody is there to give.
    let key = bench.fleet.host("client");
    let mut keygen = bench.sandbox.command("ssh-keygen", bench.sandbox.path());
    keygen.args(["-q", "-p", "-P", "", "-N", "correct horse", "-f"]);
    Ran::of(keygen.arg(&key)).expect_code(0);
    let error = told_with("kasm", &[]);
    let wanted = match transport() {
        None => "the login was refused",
        Some(_) => "nobody gave its passphrase",
    };
    assert!(
        error.contains(wanted) && error.contains("ssh-add"),
        "{error}"
    );
    // An agent that holds nothing, and no key file.
    let socket = bench.sandbox.path().join("agent");
    let mut agent = std::process::Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !socket.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::fs::remove_file(&key).unwrap();
    let error = told_with(
        "kasm",
        &["-o", &format!("IdentityAgent={}", socket.display())],
    );
    agent.kill().unwrap();
    agent.wait().unwrap();
    for wanted in [
        "kasm (kasm): the login was refused",
        "ssh-add your key",
        "try: ssh kasm true",
    ] {
        assert!(error.contains(wanted), "{error}");
    }
    // A name that no resolver need be asked about: it has an empty label.
    let error = told_with("no..where", &[]);
    for wanted in [
        "no..where (no..where): it cannot be reached",
        "try: ssh no..where true",
    ] {
        assert!(error.contains(wanted), "{error}");
    }
    assert_eq!(bench.text(), text);
}

#[test]
fn sudo_is_used_where_the_login_needs_it_and_only_there() {
    if !have_sshd() {
        return;
    }
    let sandbox = Sandbox::new();
    let log = sandbox.path().join("sudo.log");
    std::fs::write(&log, "").unwrap();
    chmod(&log, 0o666);
    let bin = sandbox.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    chmod(sandbox.path(), 0o755);
    // A stand-in: real sudo is not needed to see how it is called. `id -u` says that the login is not root's.
    let put = |name: &str, text: String| {
        std::fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        chmod(&bin.join(name), 0o755);
    };
    put(
        "sudo",
        format!(
            "echo \"$1 $2\" >>{}\nshift\nexec setpriv --reuid=0 \"$@\"",
            log.display()
        ),
    );
    let path = Some(format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()));
    put("id", "echo 65534".to_owned());
    let bench = Bench::new(
        "kasm",
        &Manners {
            path,
            ..Manners::default()
        },
    );
    let new = Identity::mint();
    // The file is root's and the login says that it is somebody else.
    bench.put(&text_of(&Identity::mint()), 0o400);
    bench.target("kasm").deliver("lan-1", &new).unwrap();
    let calls = std::fs::read_to_string(&log).unwrap();
    assert!(
        !calls.is_empty() && calls.lines().all(|line| line == "-n sh"),
        "{calls}"
    );
    // Its own file: no sudo.
    std::fs::write(&log, "").unwrap();
    put("id", "echo 0".to_owned());
    bench
        .target("kasm")
        .deliver("lan-2", &Identity::mint())
        .unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn a_container_that_still_has_the_previous_file_mounted_is_noticed() {
    if !have_sshd() {
        return;
    }
    let bench = Bench::new("kasm", &Manners::default());
    let old = Identity::mint();
    bench.put(&text_of(&old), 0o400);
    let inside = bench.sandbox.path().join("inside");
    std::fs::write(&inside, "").unwrap();
    let mount = |args: &[&str]| {
        let mut command = bench.sandbox.command(args[0], bench.sandbox.path());
        Ran::of(command.args(&args[1..])).code == Some(0)
    };
    let (file, inside) = (bench.file(), inside.to_str().unwrap().to_owned());
    if !mount(&["mount", "--bind", file.to_str().unwrap(), &inside]) {
        println!("skipped: mounts are not allowed here");
        return;
    }
    let target = bench.target("kasm");
    let new = Identity::mint();
    let before = prove(&target, &old.recipient().unwrap());
    let delivered = target.deliver("lan-1", &new);
    let challenge = Challenge::new("kasm", "r", &new.recipient().unwrap()).unwrap();
    let stale = target.prove(&challenge);
    assert!(mount(&["umount", &inside]));
    assert!(before.opened);
    delivered.unwrap();
    let error = told(&stale.unwrap_err());
    assert!(error.contains(&format!("mounted, at {inside}")), "{error}");
    assert!(target.prove(&challenge).unwrap().opened);
}

#[test]
fn killed_at_any_moment_a_split_by_ssh_goes_on() {
    if !have_sshd() || !have_peers(&["git"]) {
        return;
    }
    let (homeops, fleet) = by_ssh(&["kasm", VPS]);
    let mut kills = 0;
    for wait in [150, 400, 700, 1000, 1300, 1600, 1900] {
        let mut command = homeops.command(&["split", "--yes"]);
        if kills > 0 {
            command = homeops.command(&["resume", "--yes"]);
        }
        let mut child = command
            .env("COFFERDAM_SSH", fleet.program())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        // Nobody is locked out of what the work tree holds, whatever was under way.
        for name in homeops.hosts() {
            let file = homeops.host_file(name);
            assert!(
                !KeyFile::parse(&std::fs::read(&file).unwrap())
                    .unwrap()
                    .recipients()
                    .is_empty()
            );
        }
    }
    assert!(kills > 0);
    let cofferdam =
        |args: &[&str]| Ran::of(homeops.command(args).env("COFFERDAM_SSH", fleet.program()));
    cofferdam(&["resume", "--yes"]).expect_code(0);
    cofferdam(&["split", "--yes"]).expect_code(0);
    assert_split(&homeops);
}

#[test]
fn undo_by_ssh_brings_every_byte_and_mode_back() {
    if !have_sshd() || !have_peers(&["git"]) {
        return;
    }
    let (homeops, fleet) = by_ssh(&["kasm", "omni"]);
    let cofferdam =
        |args: &[&str]| Ran::of(homeops.command(args).env("COFFERDAM_SSH", fleet.program()));
    chmod(&homeops.host_file("omni"), 0o600);
    let before = crate::support::snapshot(&homeops.targets());
    cofferdam(&["split", "--yes", "--hold-at", "rewrite"]).expect_code(0);
    assert_ne!(before, crate::support::snapshot(&homeops.targets()));
    cofferdam(&["undo", "--yes"]).expect_code(0);
    crate::support::assert_same_files(&before, &crate::support::snapshot(&homeops.targets()));
    assert_eq!(mode(&homeops.host_file("omni")), 0o600);
    assert_eq!(mode(&homeops.host_file("kasm")), 0o400);
}

#[test]
fn hosts_that_cannot_be_read_are_all_named_and_hold_up_the_gate_alone() {
    if !have_sshd() || !have_peers(&["git"]) {
        return;
    }
    let (homeops, mut fleet) = by_ssh(&["kasm"]);
    let topology = homeops.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap();
    let text = text.replace("ssh = \"kasm\"", "ssh = \"elsewhere\"");
    std::fs::write(&topology, text).unwrap();
    ssh_in(&homeops, &["nvr"]);
    let plain = Manners::default();
    fleet.add(
        "elsewhere",
        &Manners {
            key_is_wrong: true,
            ..plain.clone()
        },
    );
    fleet.add(
        "nvr",
        &Manners {
            is_dead: true,
            ..plain
        },
    );
    let documents = |homeops: &Homeops| -> Vec<Vec<u8>> {
        let paths = Homeops::expected().into_keys();
        paths
            .map(|path| std::fs::read(homeops.repository().join(path)).unwrap())
            .collect()
    };
    let (before, targets) = (
        documents(&homeops),
        crate::support::snapshot(&homeops.targets()),
    );
    let cofferdam =
        |args: &[&str]| Ran::of(homeops.command(args).env("COFFERDAM_SSH", fleet.program()));
    let ran = cofferdam(&["split", "--yes"]).expect_code(5);
    for wanted in [
        "kasm (elsewhere)",
        "ssh-keygen -f ",
        "nvr (nvr)",
        "Connection refused",
    ] {
        assert!(ran.stderr.contains(wanted), "{}", ran.stderr);
    }
    assert_eq!(before, documents(&homeops));
    let recipients = |host: &str| {
        let bytes = std::fs::read(homeops.host_file(host)).unwrap();
        KeyFile::parse(&bytes).unwrap().recipients().len()
    };
    assert_eq!((recipients("omni"), recipients("kasm")), (2, 1));
    // Nothing of this run is on them, so the way back does not need them.
    cofferdam(&["undo", "--yes"]).expect_code(0);
    crate::support::assert_same_files(&targets, &crate::support::snapshot(&homeops.targets()));
}

#[test]
fn two_hosts_with_one_host_key_are_refused_by_name() {
    if !have_sshd() || !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    let mut fleet = Fleet::new(&ground.folder);
    fleet.add("gate", &Manners::default());
    fleet.add("kasm", &Manners::default());
    let copy = Manners {
        key_of: Some("kasm".to_owned()),
        // The key of the host in between is another host's, and nobody's here.
        jump: Some("gate".to_owned()),
        ..Manners::default()
    };
    fleet.add(VPS, &copy);
    by_ssh_on(&ground, "kasm", "");
    by_ssh_on(&ground, VPS, "");
    let first = ground.first();
    let refused = Ran::of(
        ground
            .command(&["split", "--yes"])
            .env("COFFERDAM_SSH", fleet.program()),
    )
    .expect_code(1)
    .stderr;
    let wanted = format!("kasm and {VPS} show one SSH host key, SHA256:");
    assert!(refused.contains(&wanted), "{refused}");
    assert!(
        refused.contains("hint: declare a machine once"),
        "{refused}"
    );
    ground.expect_first(&first, "refused");
}

#[test]
fn a_zone_by_ssh_is_rotated() {
    if !have_sshd() || !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, fleet) = by_ssh(&["nvr", "storage"]);
    let cofferdam =
        |args: &[&str]| Ran::of(homeops.command(args).env("COFFERDAM_SSH", fleet.program()));
    cofferdam(&["split", "--yes"]).expect_code(0);
    let first = std::fs::read(homeops.host_file("nvr")).unwrap();
    cofferdam(&["rotate", "lan", "--yes"]).expect_code(0);
    let second = std::fs::read(homeops.host_file("nvr")).unwrap();
    let recipients = |bytes: &[u8]| KeyFile::parse(bytes).unwrap().recipients();
    assert_ne!(recipients(&first), recipients(&second));
    assert_split(&homeops);
}

/// The prepared sample with some hosts behind real servers.
fn by_ssh(hosts: &[&str]) -> (Homeops, Fleet) {
    let (homeops, _) = Homeops::prepared();
    let mut fleet = Fleet::new(homeops.sandbox.path());
    fleet.add("gate", &Manners::default());
    for name in hosts {
        let forced = match *name {
            "kasm" => Some(NOISE.to_owned()),
            // Behind another host, too.
            VPS => Some("sleep 0.3; exec sh -c \"$SSH_ORIGINAL_COMMAND\"".to_owned()),
            _ => None,
        };
        let jump = (*name == VPS).then(|| "gate".to_owned());
        let manners = Manners {
            forced,
            jump,
            ..Manners::default()
        };
        fleet.add(name, &manners);
    }
    ssh_in(&homeops, hosts);
    (homeops, fleet)
}

/// Makes hosts of directories hosts by SSH, with the same files.
fn ssh_in(homeops: &Homeops, hosts: &[&str]) {
    let topology = homeops.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap();
    let mut lines = Vec::new();
    let mut by_ssh = None;
    for line in text.lines() {
        if line.starts_with('[') {
            by_ssh = hosts
                .iter()
                .find(|name| line.starts_with(&format!("[hosts.{name}]")));
        }
        match by_ssh {
            Some(name) if line.starts_with("local ") => {
                lines.push(format!("ssh = \"{name}\""));
                lines.push(transport_line().to_owned());
            }
            Some(name) if line.starts_with("identity_file") => {
                let file = homeops.host_file(name);
                lines.push(format!("identity_file = \"{}\"", file.display()));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    let text = lines.join("\n") + "\n";
    assert!(text.matches("\nssh = ").count() >= hosts.len(), "{text}");
    std::fs::write(&topology, text).unwrap();
}

/// Each host holds its zone's identity alone, in a private file, with nothing beside it.
fn assert_split(homeops: &Homeops) {
    for name in homeops.hosts() {
        let file = homeops.host_file(name);
        let held = KeyFile::parse(&std::fs::read(&file).unwrap())
            .unwrap()
            .recipients();
        assert_eq!(held.len(), 1, "{name}");
        assert_ne!(held[0], homeops.shared, "{name}");
        assert_eq!(mode(&file), 0o400, "{name}");
        // Beside it stands the generation.
        assert_eq!(names(file.parent().unwrap()).len(), 2, "{name}");
    }
}

#[test]
fn three_hosts_by_ssh_and_the_rest_as_directories_are_split() {
    if !have_sshd() || !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, fleet) = by_ssh(&["kasm", "server04", VPS]);
    let cofferdam =
        |args: &[&str]| Ran::of(homeops.command(args).env("COFFERDAM_SSH", fleet.program()));

    cofferdam(&["split", "--yes"]).expect_code(0);
    assert_split(&homeops);
    let zones = homeops.zone_key_files();
    for (path, plain) in Homeops::expected() {
        for zone in Homeops::zones_of(&path) {
            let ran = homeops.sops_decrypt(&path, &zones[zone]).expect_code(0);
            assert_eq!(ran.stdout, plain, "{path}");
        }
    }
    assert!(!fleet.argv().contains("AGE-SECRET-KEY"));
    let jumps = std::fs::read_to_string(fleet.host("gate").join("log")).unwrap();
    assert!(jumps.contains("Accepted publickey"), "{jumps}");
    // Connections and their folders went with the command.
    let left = names(&homeops.sandbox.temporary());
    assert!(
        left.iter().all(|name| !name.starts_with("cofferdam-")),
        "{left:?}"
    );
    let again = cofferdam(&["split", "--yes"]).expect_code(0);
    assert!(again.stderr.contains("Nothing to do"), "{}", again.stderr);
}
