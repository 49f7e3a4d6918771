//! Times `cofferdam exposure` on a generated repository: 10,000 commits over 300 secret files, each commit a new version of one.
//!
//! Run: `cargo build --release && cargo run --release --example history_walk [COMMITS [SECRETS]]`. Prints the time and the peak
//! memory of each of three walks. Needs git and Linux.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "edge: a program that measures programs"
)]

use std::error::Error;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use cofferdam::keys::Identity;
use cofferdam::sops::{EmitOptions, EncryptOptions, Selection, Store, encrypt};
use rayon::prelude::*;
use secrecy::ExposeSecret;

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|n| n.parse::<usize>());
    let commits = numbers.next().unwrap_or(Ok(10_000))?;
    let secrets = numbers.next().unwrap_or(Ok(300))?;
    let folder = tempfile::tempdir()?;
    let shared = Identity::mint();
    let key_file = folder.path().join("keys.txt");
    std::fs::write(&key_file, format!("{}\n", shared.to_text().expose_secret()))?;
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600))?;
    let repository = folder.path().join("repository");
    generate(&repository, commits, secrets, &shared)?;
    let binary = binary()?;
    for _ in 0..3 {
        let start = Instant::now();
        let child = Command::new(&binary)
            .args(["exposure", "--json", "--identity"])
            .arg(&key_file)
            .current_dir(&repository)
            .stdout(Stdio::piped())
            .spawn()?;
        let peak = peak_of(child.id());
        let output = child.wait_with_output()?;
        let leaves = String::from_utf8(output.stdout)?
            .matches("\"state\"")
            .count();
        println!(
            "cofferdam exposure: {commits} commits over {secrets} secret files, {leaves} values, in {:.2} s, {} MiB at most",
            start.elapsed().as_secs_f64(),
            peak.join().map_err(|_| "the watcher failed")? / 1024
        );
    }
    Ok(())
}

/// Every document has three recipients, as after a split, and eight values.
fn generate(
    repository: &Path,
    commits: usize,
    secrets: usize,
    shared: &Identity,
) -> Result<(), Box<dyn Error>> {
    let recipients: Vec<_> = [shared, &Identity::mint(), &Identity::mint()]
        .into_iter()
        .filter_map(Identity::recipient)
        .collect();
    let options = EncryptOptions {
        key_groups: vec![recipients],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        now: jiff::Timestamp::now(),
        output: Store::Yaml,
        emit: EmitOptions::default(),
    };
    std::fs::create_dir(repository)?;
    run(Command::new("git")
        .args(["init", "-q", "-b", "main"])
        .current_dir(repository))?;
    let mut import = Command::new("git")
        .args(["fast-import", "--quiet"])
        .current_dir(repository)
        .stdin(Stdio::piped())
        .spawn()?;
    let mut pipe = BufWriter::new(import.stdin.take().ok_or("no pipe")?);
    for first in (0..commits).step_by(1000) {
        let versions: Vec<Result<Vec<u8>, String>> = (first..commits.min(first + 1000))
            .into_par_iter()
            .map(|commit| {
                let mut plain = String::new();
                for key in 0..8 {
                    plain.push_str(&format!(
                        "key{key}: value {key} of version {}\n",
                        commit / (key + 1)
                    ));
                }
                encrypt(Store::Yaml, plain.as_bytes(), &options)
                    .map(|e| e.bytes)
                    .map_err(|e| e.to_string())
            })
            .collect();
        for (commit, version) in (first..).zip(versions) {
            let version = version?;
            let time = 1_600_000_000 + commit * 60;
            write!(
                pipe,
                "commit refs/heads/main\ncommitter N <n@example.org> {time} +0000\ndata 1\nx\nM 644 inline secrets/s{}.yaml\ndata {}\n",
                commit % secrets,
                version.len()
            )?;
            pipe.write_all(&version)?;
            pipe.write_all(b"\n")?;
        }
    }
    drop(pipe);
    if !import.wait()?.success() {
        return Err("git fast-import failed".into());
    }
    run(Command::new("git")
        .args(["checkout", "-q", "main"])
        .current_dir(repository))
}

/// Watches a process's largest resident size in KiB until it ends.
fn peak_of(pid: u32) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
            let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
            let size = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
            let Some(size) = size else { break };
            peak = peak.max(size);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        peak
    })
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    match command.status()?.success() {
        true => Ok(()),
        false => Err(format!("{command:?} failed").into()),
    }
}

/// The release binary beside this program.
fn binary() -> Result<PathBuf, Box<dyn Error>> {
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(Path::parent).ok_or("no folder")?;
    let binary = folder.join("cofferdam");
    match binary.exists() {
        true => Ok(binary),
        false => Err("build it first: cargo build --release".into()),
    }
}
