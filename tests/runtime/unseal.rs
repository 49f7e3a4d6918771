//! `cofferdam unseal` and `wipe`: files in memory that stay, are replaced all at once, and go.

#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::runtime::{Bed, Stack};
use crate::support::{COFFERDAM, Ran};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A folder of documents below the stack's.
fn folder_of(bed: &Bed, name: &str) -> PathBuf {
    let folder = bed.path(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The folder in memory that a link leads to.
fn slot_of(bed: &Bed, link: &str) -> PathBuf {
    let target = std::fs::read_link(bed.path(link)).unwrap();
    target.parent().unwrap().to_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_stay_and_are_replaced_only_when_a_value_changed() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=first value\n");
    bed.stack
        .write("db.sops.json", "{\"b\": \"of the database\"}");
    let ran = bed.unseal(&["--dir", "."]).expect_code(0);
    assert!(ran.stdout.contains("+ .env\n  + db.json"), "{}", ran.stdout);
    let link = bed.stack.folder().join(".env");
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=first value\n");
    let slot = slot_of(&bed, ".env");
    assert_eq!(names(&slot), ["..data", "..gen.1", ".env", "db.json"]);
    // The root keeps others of the host out; a container's user, whoever it is, may read what is mounted.
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(bed.root.path()), 0o700);
    assert_eq!((mode(&slot), mode(&link)), (0o755, 0o444));

    let before = std::fs::metadata(&link).unwrap().ino();
    let ran = bed.unseal(&["--dir", "."]).expect_code(0);
    assert!(ran.stdout.contains("unchanged"), "{}", ran.stdout);
    assert_eq!(std::fs::metadata(&link).unwrap().ino(), before);

    // What did not change stays the file that it was, for it may be mounted.
    let other = slot.join("db.json");
    let before = std::fs::metadata(&other).unwrap().ino();
    bed.stack.write(".sops.env", "A=second value\n");
    let ran = bed.unseal(&["--dir", "."]).expect_code(0);
    assert!(ran.stdout.contains("~ .env\n    db.json"), "{}", ran.stdout);
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=second value\n");
    assert_eq!(std::fs::metadata(&other).unwrap().ino(), before);
    assert_eq!(names(&slot), ["..data", "..gen.2", ".env", "db.json"]);

    std::fs::remove_file(bed.stack.folder().join("db.sops.json")).unwrap();
    let ran = bed.unseal(&["--dir", "."]).expect_code(0);
    assert!(ran.stdout.contains("- db.json"), "{}", ran.stdout);
    assert!(!bed.stack.folder().join("db.json").is_symlink());
    assert_eq!(names(&slot), ["..data", "..gen.3", ".env"]);

    bed.wipe(&[]).expect_code(0);
    assert!(!link.is_symlink());
    assert_eq!(bed.left(), [] as [PathBuf; 0]);
    let again = bed.wipe(&[]).expect_code(0);
    assert!(again.stderr.contains("nothing is kept"), "{}", again.stderr);
}

#[test]
fn whoever_has_a_file_open_reads_on_until_it_is_wiped() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=the old value\n");
    bed.unseal(&["--dir", "."]).expect_code(0);
    let link = bed.stack.folder().join(".env");
    let open = || std::fs::File::open(&link).unwrap();
    let (old, read) = (open(), |file: &std::fs::File| {
        let mut text = [0; 64];
        let length = rustix::io::pread(file, &mut text, 0).unwrap();
        text[..length].to_vec()
    });
    bed.stack.write(".sops.env", "A=the new value\n");
    bed.unseal(&["--dir", "."]).expect_code(0);
    assert_eq!(read(&old), b"A=the old value\n");
    let new = open();
    bed.wipe(&[]).expect_code(0);
    assert_eq!(read(&new), [0; 16]);
}

#[test]
fn readers_see_one_generation_or_the_next_and_never_none() {
    let Some(bed) = Bed::new() else { return };
    let write = |round: usize| {
        let value = format!("V=round {round} {}\n", "x".repeat(round * 37 % 4000));
        bed.stack.write("a.sops.env", &value);
        bed.stack.write("b.sops.env", &value);
    };
    write(0);
    bed.unseal(&["--dir", "."]).expect_code(0);
    let slot = slot_of(&bed, "a.env");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = std::collections::BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                // As a program sees it that opens the folder once, and one that does not.
                let folder = rustix::fs::open(
                    slot.join("..data"),
                    rustix::fs::OFlags::DIRECTORY,
                    rustix::fs::Mode::empty(),
                );
                let folder = folder.unwrap();
                let read = |name: &str| {
                    let flags = rustix::fs::OFlags::RDONLY;
                    let file = rustix::fs::openat(&folder, name, flags, rustix::fs::Mode::empty());
                    let mut text = String::new();
                    // A generation that was just replaced is gone.
                    std::io::Read::read_to_string(&mut std::fs::File::from(file.ok()?), &mut text)
                        .ok()?;
                    Some(text)
                };
                if let (Some(a), Some(b)) = (read("a.env"), read("b.env")) {
                    assert_eq!(a, b);
                    rounds.insert(a);
                }
                // By its name a file is there at any moment, but where it is opened in the middle of the change.
                let whole = (0..3).find_map(|_| std::fs::read_to_string(slot.join("a.env")).ok());
                assert!(whole.unwrap().ends_with('\n'));
            }
            rounds.len()
        });
        for round in 1..30 {
            write(round);
            bed.unseal(&["--dir", "."]).expect_code(0);
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 3);
    });
}

#[test]
fn all_takes_what_opens_here_and_goes_on_where_something_does_not() {
    let Some(bed) = Bed::new() else { return };
    for name in ["one", "two", "three/deep", "foreign", "broken"] {
        folder_of(&bed, name);
    }
    bed.stack.write("one/.sops.env", "A=of the first one\n");
    bed.stack.write("two/.sops.env", "A=of the second one\n");
    bed.stack
        .write("three/deep/x.sops.json", "{\"x\": \"deeper\"}");
    let foreign = Stack::new();
    foreign.write("a.sops.env", "A=for others\n");
    std::fs::copy(
        foreign.folder().join("a.sops.env"),
        bed.stack.folder().join("foreign/a.sops.env"),
    )
    .unwrap();
    let ran = bed.unseal(&["--all"]).expect_code(0);
    assert!(
        ran.stderr.contains("1 document does not open"),
        "{}",
        ran.stderr
    );
    let path = |name: &str| bed.stack.folder().join(name);
    assert!(path("three/deep/x.json").exists());
    assert!(!path("foreign/a.env").is_symlink());

    // A value that was tampered with; a file of somebody's in a link's place; a folder that is gone.
    bed.stack
        .write("broken/.sops.env", "A=tampered with\nB=it\n");
    let text = std::fs::read_to_string(path("broken/.sops.env")).unwrap();
    let swapped = text.replacen("A=", "C=", 1);
    std::fs::write(path("broken/.sops.env"), swapped).unwrap();
    std::fs::remove_file(path("two/.env")).unwrap();
    std::fs::write(path("two/.env"), "MINE=1\n").unwrap();
    let gone = slot_of(&bed, "one/.env");
    std::fs::remove_dir_all(path("one")).unwrap();
    bed.stack
        .write("three/deep/x.sops.json", "{\"x\": \"deeper still\"}");
    let ran = bed.unseal(&["--all"]).expect_code(1);
    assert!(
        ran.stderr.contains("cannot open broken/.sops.env"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("a file stands at"), "{}", ran.stderr);
    assert!(ran.stdout.contains("~ x.json"), "{}", ran.stdout);
    assert_eq!(
        std::fs::read_to_string(path("two/.env")).unwrap(),
        "MINE=1\n"
    );
    assert!(!gone.exists());

    // What lies elsewhere is left alone, also where it cannot be seen now.
    folder_of(&bed, "elsewhere");
    bed.stack.write("elsewhere/.sops.env", "A=elsewhere\n");
    bed.unseal(&["--dir", "elsewhere"]).expect_code(0);
    let elsewhere = slot_of(&bed, "elsewhere/.env");
    std::fs::rename(path("elsewhere"), path("unmounted")).unwrap();
    bed.unseal(&["--all", "--dir", "three"]).expect_code(0);
    assert!(elsewhere.exists());
    std::fs::remove_dir_all(path("unmounted")).unwrap();

    // With --dir alone nothing is done if anything is wrong.
    let before = bed.left().len();
    bed.unseal(&["--dir", "three/deep", "--dir", "broken"])
        .expect_code(1);
    bed.unseal(&["--dir", "foreign"]).expect_code(1);
    assert_eq!(bed.left().len(), before);
    let none = folder_of(&bed, "none");
    let ran = bed.unseal(&["--dir", "none"]).expect_code(1);
    assert!(
        ran.stderr.contains("no document NAME.sops.EXT in none"),
        "{}",
        ran.stderr
    );
    assert!(names(&none).is_empty());
}

#[test]
fn a_document_that_does_not_open_any_more_keeps_its_file() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write("a.sops.env", "A=the value of a\n");
    bed.stack.write("b.sops.env", "B=the value of b\n");
    bed.unseal(&["--all"]).expect_code(0);
    let foreign = Stack::new();
    foreign.write("a.sops.env", "A=for others now\n");
    std::fs::copy(
        foreign.folder().join("a.sops.env"),
        bed.stack.folder().join("a.sops.env"),
    )
    .unwrap();
    bed.stack.write("b.sops.env", "B=another value\n");
    bed.unseal(&["--all"]).expect_code(0);
    let read = |name| std::fs::read_to_string(bed.stack.folder().join(name)).unwrap();
    assert_eq!(read("a.env"), "A=the value of a\n");
    assert_eq!(read("b.env"), "B=another value\n");
}

#[test]
fn what_dockerd_left_in_a_links_place_goes_and_nothing_else_does() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=the value\n");
    let link = bed.stack.folder().join(".env");
    std::fs::create_dir(&link).unwrap();
    let ran = bed.unseal(&["--dir", "."]).expect_code(0);
    assert!(ran.stderr.contains("an empty folder"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=the value\n");
    // The same in the root, where a container started before the files were there.
    let slot = slot_of(&bed, ".env");
    bed.wipe(&[]).expect_code(0);
    std::fs::create_dir_all(slot.join(".env")).unwrap();
    bed.unseal(&["--dir", "."]).expect_code(0);
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=the value\n");

    bed.wipe(&[]).expect_code(0);
    std::fs::create_dir(&link).unwrap();
    std::fs::write(link.join("theirs"), "x").unwrap();
    bed.unseal(&["--dir", "."]).expect_code(1);
    std::fs::remove_dir_all(&link).unwrap();
    symlink("/etc/hostname", &link).unwrap();
    bed.unseal(&["--dir", "."]).expect_code(1);
    assert_eq!(bed.left(), [] as [PathBuf; 0]);
    bed.unseal(&["--dir", ".", "--replace"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=the value\n");
}

#[test]
fn a_folder_in_memory_has_a_name_of_its_own_or_the_one_that_is_given() {
    let Some(bed) = Bed::new() else { return };
    for name in ["kasm/newt", "nvr/newt"] {
        folder_of(&bed, name);
        bed.stack
            .write(&format!("{name}/.sops.env"), "A=the value\n");
    }
    bed.unseal(&["--dir", "kasm/newt=newt"]).expect_code(0);
    assert_eq!(
        slot_of(&bed, "kasm/newt/.env"),
        bed.root.path().join("newt")
    );
    // It keeps it, wherever it is named again.
    bed.unseal(&["--all"]).expect_code(0);
    assert_eq!(
        slot_of(&bed, "kasm/newt/.env"),
        bed.root.path().join("newt")
    );
    assert_ne!(slot_of(&bed, "nvr/newt/.env"), bed.root.path().join("newt"));
    let refused = bed.unseal(&["--dir", "kasm/newt=other"]).expect_code(1);
    assert!(
        refused.stderr.contains("hint: cofferdam wipe --dir"),
        "{}",
        refused.stderr
    );
    bed.wipe(&["--dir", "nvr/newt"]).expect_code(0);
    let refused = bed.unseal(&["--dir", "nvr/newt=newt"]).expect_code(1);
    assert!(refused.stderr.contains("is that of"), "{}", refused.stderr);
    for name in ["../x", "", ".x", "gate", "exec.a", "a b"] {
        bed.unseal(&["--dir", &format!("nvr/newt={name}")])
            .expect_code(2);
    }
    // Nor has a file a name by which the folder is kept in order.
    folder_of(&bed, "odd");
    bed.stack.write("odd/..sops.data", "of the name ..data");
    let refused = bed
        .unseal(&["--dir", "nvr/newt", "--dir", "odd"])
        .expect_code(1);
    assert!(
        refused.stderr.contains("called ..data"),
        "{}",
        refused.stderr
    );
    assert!(!bed.stack.folder().join("nvr/newt/.env").is_symlink());

    // Another root does not take it over.
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut elsewhere = bed.stack.cofferdam();
    elsewhere
        .args(["unseal", "--dir", "kasm/newt", "--root"])
        .arg(other.path());
    let refused = Ran::of(&mut elsewhere).expect_code(1);
    assert!(refused.stderr.contains("is kept in"), "{}", refused.stderr);
}

#[test]
fn what_is_asked_for_when_a_value_changes_is_done_then_and_until_it_succeeds() {
    let Some(bed) = Bed::new() else { return };
    folder_of(&bed, "app");
    bed.stack.write("app/.sops.env", "A=the first value\n");
    bed.stack.write("app/b.sops.env", "A=another value\n");
    let script = "run:sh -c 'echo \"$COFFERDAM_CHANGED\" >> done; test -e fine; env > environment'";
    let of_b = "app/b.env=run:touch of-b";
    let unseal = |more: &[&str]| {
        let mut args = vec!["--dir", "app", "--on-change", script, "--on-change", of_b];
        args.extend(more);
        bed.unseal(&args)
    };
    let done = bed.stack.folder().join("done");
    // The first files are no change: what uses them starts after them.
    unseal(&[]).expect_code(0);
    unseal(&[]).expect_code(0);
    assert!(!done.exists());
    bed.stack.write("app/.sops.env", "A=the second value\n");
    let dry = unseal(&["--dry-run"]).expect_code(0);
    assert!(dry.stdout.contains("~ .env"), "{}", dry.stdout);
    assert!(dry.stdout.contains("would do: run:sh"), "{}", dry.stdout);
    assert!(!dry.stdout.contains("of-b"), "{}", dry.stdout);
    assert!(!done.exists());
    let file = bed.stack.folder().join("app/.env");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "A=the first value\n"
    );

    let ran = unseal(&[]).expect_code(0);
    assert!(ran.stdout.contains("done: run:sh"), "{}", ran.stdout);
    let changed = std::fs::read_to_string(&done).unwrap();
    assert_eq!(
        changed.trim(),
        slot_of(&bed, "app/.env").join(".env").to_str().unwrap()
    );
    let environment = std::fs::read_to_string(bed.stack.folder().join("environment")).unwrap();
    assert!(!environment.contains("SOPS_AGE"), "{environment}");
    assert!(!bed.stack.folder().join("of-b").exists());

    // One that fails is tried again although nothing changed since.
    let failing = |more: &[&str]| {
        let mut args = vec!["--dir", "app", "--on-change", "run:test -e fine"];
        args.extend(more);
        bed.unseal(&args)
    };
    bed.stack.write("app/.sops.env", "A=the third value\n");
    let ran = failing(&[]).expect_code(1);
    assert!(ran.stdout.contains("not done: run:test"), "{}", ran.stdout);
    failing(&[]).expect_code(1);
    std::fs::write(bed.stack.folder().join("fine"), "").unwrap();
    let ran = failing(&["--json"]).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["actions"][0]["done"], true);
    assert_eq!(json["folders"][0]["files"][0]["state"], "same");
    let ran = failing(&[]).expect_code(0);
    assert!(!ran.stdout.contains("done"), "{}", ran.stdout);
    bed.unseal(&["--dir", "app", "--on-change", "nothing"])
        .expect_code(2);
}

#[test]
fn exec_in_such_a_folder_uses_its_files_and_brings_them_up_to_date() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=the first value\n");
    bed.unseal(&["--dir", "."]).expect_code(0);
    let slot = slot_of(&bed, ".env");
    bed.stack.write(".sops.env", "A=the second value\n");
    bed.stack.write("new.sops.env", "B=a new one\n");
    // Without --root: where the files are is known.
    let mut exec = bed.stack.exec(&["--no-mask", "--dir", ".", "--"]);
    exec.args(["sh", "-c", "cat .env new.env; echo \"$COFFERDAM_DIR\""]);
    let ran = Ran::of(&mut exec).expect_code(0);
    let expected = format!("A=the second value\nB=a new one\n{}\n", slot.display());
    assert_eq!(ran.stdout, expected);
    assert_eq!(names(&slot), ["..data", "..gen.2", ".env", "new.env"]);
    assert_eq!(slot_of(&bed, "new.env"), slot);
    bed.unseal(&["--dir", "."]).expect_code(0);
    assert_eq!(names(&slot), ["..data", "..gen.2", ".env", "new.env"]);
}

#[test]
fn under_the_scripts_name_it_does_in_a_folder_what_the_script_did() {
    let Some(bed) = Bed::new() else { return };
    let script = bed.stack.sandbox.path().join("sops-decrypt.sh");
    symlink(COFFERDAM, &script).unwrap();
    folder_of(&bed, "empty");
    // With a /run of its own.
    let run = |steps: &str| {
        let mut command = bed.stack.command("unshare");
        let steps = format!("mount -t tmpfs none /run && set -e; {steps}");
        command.args(["-Urm", "sh", "-c", &steps, "sh"]);
        Ran::of(command.arg(&script).arg(COFFERDAM))
    };
    if run("true").code != Some(0) {
        println!("skipped: no user name space with a mount of its own");
        return;
    }
    let ran = run("cd empty; \"$1\"").expect_code(0);
    assert!(ran.stderr.contains("no document"), "{}", ran.stderr);
    run("\"$1\" x").expect_code(2);
    bed.stack.write("backup.sops.env", "A=the value\n");
    let ran = run(
        "\"$1\"; cat backup.env; readlink backup.env; \"$2\" wipe --dir .; test ! -L backup.env",
    );
    let ran = ran.expect_code(0);
    assert!(
        ran.stderr.contains("cofferdam wipe --dir ."),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stdout.contains("A=the value\n/run/cofferdam/stack."),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_root_that_is_no_memory_is_refused_and_nothing_is_written() {
    let Some(bed) = Bed::new() else { return };
    bed.stack.write(".sops.env", "A=the value\n");
    let disk = folder_of(&bed, "disk");
    for verb in ["unseal", "wipe"] {
        let mut command = bed.stack.cofferdam();
        command.args([verb, "--dir", ".", "--root"]).arg(&disk);
        let ran = Ran::of(&mut command).expect_code(125);
        assert!(ran.stderr.contains("is not in memory"), "{}", ran.stderr);
    }
    assert!(names(&disk).is_empty());
    let open = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = bed.stack.cofferdam();
    command
        .args(["unseal", "--dir", ".", "--root"])
        .arg(open.path());
    let ran = Ran::of(&mut command).expect_code(125);
    assert!(ran.stderr.contains("others can write"), "{}", ran.stderr);
    assert!(names(open.path()).is_empty());
    bed.unseal(&[]).expect_code(2);

    // Others may not write there, but enter: files that stay are for all to read.
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(open.path(), mode).unwrap();
    };
    let mut command = bed.stack.cofferdam();
    command
        .args(["unseal", "--dir", ".", "--root"])
        .arg(open.path());
    mode(0o755);
    std::fs::write(open.path().join("theirs"), "x").unwrap();
    let ran = Ran::of(&mut command).expect_code(125);
    assert!(ran.stderr.contains("others can enter"), "{}", ran.stderr);
    // Empty, or as dockerd makes it, it is closed.
    std::fs::remove_file(open.path().join("theirs")).unwrap();
    std::fs::create_dir_all(open.path().join("stack/.env")).unwrap();
    Ran::of(&mut command).expect_code(0);
    assert_eq!(
        std::fs::metadata(open.path()).unwrap().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_root_that_is_full_keeps_what_it_has() {
    let Some(bed) = Bed::new() else { return };
    // A name space of its own for the mount.
    let script = "mount -t tmpfs -o size=64k,mode=0700 none \"$1\" && shift && exec \"$@\"";
    let small = folder_of(&bed, "small");
    let available = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, "sh"])
        .arg(&small)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !available.is_ok_and(|status| status.success()) {
        println!("skipped: no user name space with a mount of its own");
        return;
    }
    folder_of(&bed, "app");
    bed.stack.write("app/a.sops.env", "A=small\n");
    bed.stack
        .write("b.sops.env", &format!("A={}\n", "x".repeat(80_000)));
    let steps = "set -e; \"$1\" unseal --root small --dir app; cp b.sops.env app/; \
                 \"$1\" unseal --root small --dir app && exit 1; cat app/a.env; find small -name '..gen*'; \
                 rm app/b.sops.env; \"$1\" unseal --root small --dir app; \"$1\" wipe --root small";
    let mut command = bed.stack.command("unshare");
    command.args(["-Urm", "sh", "-c", script, "sh"]).arg(&small);
    command.args(["sh", "-c", steps, "sh", COFFERDAM]);
    let ran = Ran::of(&mut command).expect_code(0);
    assert!(ran.stderr.contains("is full"), "{}", ran.stderr);
    assert!(ran.stdout.contains("A=small"), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("..gen").count(), 1, "{}", ran.stdout);
}

#[test]
fn killed_at_any_moment_it_leaves_whole_files_and_the_next_run_ends_what_it_began() {
    let Some(bed) = Bed::new() else { return };
    let mut random = StdRng::seed_from_u64(0x0005_ea1e_d000);
    let text = |round: usize| format!("V=value of round {round}\n");
    bed.stack.write("a.sops.env", &text(0));
    bed.stack.write("b.sops.env", &text(0));
    bed.unseal(&["--dir", "."]).expect_code(0);
    let (mut killed, mut ended) = (0, 0);
    for round in 1..=60 {
        bed.stack.write("a.sops.env", &text(round));
        bed.stack.write("b.sops.env", &text(round));
        let mut command = bed.command("unseal", &["--dir", "."]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.gen_range(0..10_000)));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            ended += 1;
        } else {
            killed += 1;
        }
        let read = |name| std::fs::read_to_string(bed.stack.folder().join(name)).unwrap();
        let (a, b) = (read("a.env"), read("b.env"));
        assert_eq!(a, b);
        assert!(
            a.starts_with("V=value of round ") && a.ends_with('\n'),
            "{a}"
        );
        if round % 4 == 0 {
            bed.unseal(&["--dir", "."]).expect_code(0);
            assert_eq!(read("a.env"), text(round));
            assert_eq!(names(&slot_of(&bed, "a.env")).len(), 4);
        }
        if round % 20 == 0 {
            bed.wipe(&[]).expect_code(0);
            assert_eq!(bed.left(), [] as [PathBuf; 0]);
            bed.unseal(&["--dir", "."]).expect_code(0);
        }
    }
    println!("killed {killed}, ended before {ended}");
    assert!(killed > 0);
}
