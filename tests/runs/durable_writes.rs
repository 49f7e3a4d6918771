//! Writes against a failing machine: power lost after any operation, a full disk.
//!
//! The writes are done by this test program itself, started a second time, since the trace is asked for by environment.

use std::path::{Path, PathBuf};

use crate::support::replay::Trace;
use crate::support::{Ran, Sandbox, copy_folder, snapshot};
use cofferdam::repo::atomic_write::{self, Mode};
use cofferdam::repo::log_file::{self, LogFile};

const FOLDER: &str = "TEST_FOLDER";

fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn again(sandbox: &Sandbox, test: &str, folder: &Path) -> std::process::Command {
    let program = std::env::current_exe().unwrap();
    let mut command = sandbox.command(program, sandbox.path());
    let test = module_path!().replacen("runs::", "", 1) + "::" + test;
    command
        .args(["--exact", &test, "--nocapture"])
        .env(FOLDER, folder);
    command
}

fn write_everything(folder: &Path) {
    atomic_write::replace(&folder.join("document"), &[b'n'; 9000], Mode::Keep).unwrap();
    let made = folder.join("made/deep");
    atomic_write::create_folder(&made, 0o700).unwrap();
    atomic_write::create_new(&made.join("file"), b"whole", Mode::Exact(0o400)).unwrap();
    let (mut log, _) = LogFile::open(&folder.join("log")).unwrap();
    log.append_line(b"first").unwrap();
    log.append_line(b"second").unwrap();
    atomic_write::remove(&folder.join("gone")).unwrap();
}

#[test]
fn power_loss_leaves_old_or_new() {
    if let Some(folder) = folder() {
        return write_everything(&folder);
    }
    let sandbox = Sandbox::new();
    let start = sandbox.path().join("start");
    std::fs::create_dir(&start).unwrap();
    std::fs::write(start.join("document"), [b'o'; 8000]).unwrap();
    std::fs::write(start.join("gone"), "x").unwrap();
    let work = sandbox.path().join("work");
    copy_folder(&start, &work);
    let trace = sandbox.path().join("trace");
    Ran::of(
        again(&sandbox, "power_loss_leaves_old_or_new", &work).env("COFFERDAM_TRACE_IO", &trace),
    )
    .expect_code(0);
    let trace = Trace::read(&trace);
    assert!(trace.len() > 20);
    let mut logs = Vec::new();
    for done in 0..=trace.len() {
        let left = sandbox.path().join(format!("left-{done}"));
        copy_folder(&start, &left);
        trace.lose_power(done, &work, &left);
        let document = std::fs::read(left.join("document")).unwrap();
        assert!(
            document == [b'o'; 8000] || document == [b'n'; 9000],
            "torn before {}",
            trace.name(done)
        );
        if let Ok(file) = std::fs::read(left.join("made/deep/file")) {
            assert_eq!(file, b"whole");
        }
        let log = log_file::read_lines(&left.join("log")).unwrap();
        logs.push(log.unwrap_or_default().len());
    }
    // What was appended is there for good as soon as the call returned.
    assert!(logs.is_sorted());
    let last = sandbox.path().join(format!("left-{}", trace.len()));
    assert_eq!(snapshot(&last), snapshot(&work));
    assert!(!last.join("gone").exists());
}

fn fill_the_disk(folder: &Path) {
    let document = folder.join("document");
    std::fs::write(&document, "old").unwrap();
    let (mut log, _) = LogFile::open(&folder.join("log")).unwrap();
    log.append_line(b"first").unwrap();
    let error = atomic_write::replace(&document, &vec![b'n'; 1 << 20], Mode::Keep).unwrap_err();
    assert!(matches!(error, atomic_write::WriteError::Io { .. }));
    assert_eq!(std::fs::read(&document).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2);
    assert!(log.append_line(&vec![b'x'; 1 << 20]).is_err());
    assert_eq!(
        log_file::read_lines(&folder.join("log")).unwrap().unwrap(),
        b"first\n"
    );
    log.append_line(b"second").unwrap();
    println!("the disk was full");
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    if let Some(folder) = folder() {
        return fill_the_disk(&folder);
    }
    let sandbox = Sandbox::new();
    let small = sandbox.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let inner = again(&sandbox, "a_full_disk_leaves_the_old_file", &small);
    let mut command = sandbox.command("unshare", sandbox.path());
    command
        .args(["--mount", "--map-root-user", "sh", "-c"])
        .arg("mount -t tmpfs -o size=64k none \"$1\" && shift && exec \"$@\"")
        .arg("sh")
        .arg(&small)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(FOLDER, &small);
    let ran = match command.output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: cannot start unshare: {error}");
            return;
        }
    };
    let text = String::from_utf8_lossy(&ran.stdout);
    let said = String::from_utf8_lossy(&ran.stderr);
    if !text.contains("running 1 test") {
        println!("skipped: cannot mount a small file system here: {said}");
        return;
    }
    assert!(text.contains("the disk was full"), "{text}\n{said}");
}
