//! Times what `cofferdam exec` adds to the start of a program, against the bare command and `sops exec-env`, and shows its
//! resident size while it stays beside a program.
//!
//! Run: `cargo build --release && cargo run --release --example exec_start [RUNS]`. Without sops on PATH it leaves
//! that row out. Linux only.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "edge: a program that measures programs"
)]

use std::error::Error;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam::keys::Identity;
use cofferdam::sops::{EmitOptions, EncryptOptions, Selection, Store, encrypt};
use secrecy::ExposeSecret;

fn main() -> Result<(), Box<dyn Error>> {
    let runs: usize = std::env::args().nth(1).map_or(Ok(200), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let identity = Identity::mint();
    let key_file = folder.path().join("keys.txt");
    let text = format!("{}\n", identity.to_text().expose_secret());
    fs::write(&key_file, text)?;
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
    let plain: String = (0..20)
        .map(|n| format!("KEY_{n}=value-{n}-0123456789abcdef\n"))
        .collect();
    let options = EncryptOptions {
        key_groups: vec![identity.recipient().into_iter().collect()],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        now: jiff::Timestamp::now(),
        output: Store::Dotenv,
        emit: EmitOptions::default(),
    };
    let document = encrypt(Store::Dotenv, plain.as_bytes(), &options)?;
    fs::write(folder.path().join(".sops.env"), document.bytes)?;

    let binary = binary()?;
    let root = tempfile::tempdir_in("/dev/shm")?;
    let root = root.path().to_string_lossy().into_owned();
    let ours = |args: &[&str]| {
        let mut command = command(&binary, folder.path(), &key_file);
        command.arg("exec").args(args).args(["--", "true"]);
        command
    };
    let mut rows = vec![
        (
            "bare command",
            command(Path::new("true"), folder.path(), &key_file),
        ),
        ("exec, execve", ours(&["--no-mask", "--file", ".sops.env"])),
        ("exec, masked", ours(&["--file", ".sops.env"])),
        ("exec, files", ours(&["--root", &root, "--dir", "."])),
    ];
    let has_sops = Command::new("sops").arg("--version").output().is_ok();
    if has_sops {
        let mut sops = command(Path::new("sops"), folder.path(), &key_file);
        sops.args(["exec-env", ".sops.env", "true"]);
        rows.push(("sops exec-env", sops));
    }
    // One of each in turn, so that what else the machine does falls on all alike.
    let mut times = vec![Vec::with_capacity(runs); rows.len()];
    for _ in 0..runs {
        for ((_, command), times) in rows.iter_mut().zip(&mut times) {
            let began = Instant::now();
            let status = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            times.push(began.elapsed());
            if !status.success() {
                return Err(format!("{command:?} failed").into());
            }
        }
    }
    let bare = median(&mut times[0]);
    for ((name, _), times) in rows.iter().zip(&mut times) {
        let time = median(times);
        println!(
            "{name:14} {:7.2} ms   {:+7.2} ms over the bare command",
            milliseconds(time),
            milliseconds(time) - milliseconds(bare)
        );
    }
    for (name, args) in [
        ("masking", &["--file", ".sops.env"][..]),
        ("files", &["--root", &root, "--dir", "."]),
    ] {
        let mut command = command(&binary, folder.path(), &key_file);
        command.arg("exec").args(args);
        command.args(["--", "sh", "-c", "echo; exec sleep 30"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = [0];
        child
            .stdout
            .as_mut()
            .ok_or("no pipe")?
            .read_exact(&mut line)?;
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        println!("resident while {name}: {}", resident.unwrap_or("?").trim());
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.ok_or("no process")?, rustix::process::Signal::TERM)?;
        child.wait()?;
    }
    Ok(())
}

fn command(program: &Path, folder: &Path, key_file: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env("SOPS_AGE_KEY_FILE", key_file);
    command
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The release binary beside this example's folder.
fn binary() -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).ok_or("no target folder")?;
    let binary = folder.join("cofferdam");
    if binary.is_file() {
        Ok(binary)
    } else {
        Err("build the binary first: cargo build --release".into())
    }
}
