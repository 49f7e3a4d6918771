//! A step's command as a process: in the repository's root, with nothing to read.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: runs the commands of a runbook"
)]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::cli::error::CliError;
use crate::repo::lock::RunLock;
use crate::runbook::Command;

/// Runs a command to its end.
///
/// Its standard input is the lock of runbooks, at whose end it stands, so that it reads nothing: as long as it lives no
/// other runbook starts, also when we are killed.
///
/// # Errors
/// The program cannot be started.
pub fn run(command: &Command, root: &Path, lock: &RunLock) -> Result<ExitStatus, CliError> {
    let mut process = process(command, root)?;
    process.stdin(lock.share()?);
    process
        .status()
        .map_err(|error| not_started(command, &error))
}

/// Tries a command until it succeeds; false if it did not within `timeout`. What it prints is dropped.
///
/// # Errors
/// The program cannot be started.
pub fn wait_until(
    command: &Command,
    root: &Path,
    lock: &RunLock,
    every: Duration,
    timeout: Duration,
) -> Result<bool, CliError> {
    let began = Instant::now();
    loop {
        let mut process = process(command, root)?;
        process
            .stdin(lock.share()?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, so that a try that hangs ends with all that it started.
            .process_group(0);
        let child = process
            .spawn()
            .map_err(|error| not_started(command, &error))?;
        let left = timeout.saturating_sub(began.elapsed());
        if ended_within(child, left)?.is_some_and(|status| status.success()) {
            return Ok(true);
        }
        let left = timeout.saturating_sub(began.elapsed());
        if left <= every {
            return Ok(false);
        }
        std::thread::sleep(every);
    }
}

/// How a child ended; none if it had to be killed.
fn ended_within(mut child: Child, left: Duration) -> Result<Option<ExitStatus>, CliError> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= left {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(group) = group {
                // It may have ended this very moment.
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn process(command: &Command, root: &Path) -> Result<std::process::Command, CliError> {
    let mut process = match command {
        Command::Words(words) => {
            let (program, rest) = words
                .split_first()
                .ok_or_else(|| CliError::failed("a step names no program"))?;
            let mut process = match command.own() {
                Some(_) => std::process::Command::new(std::env::current_exe()?),
                None => std::process::Command::new(program),
            };
            process.args(rest);
            process
        }
        Command::Shell(text) => {
            let mut process = std::process::Command::new("sh");
            process.arg("-c").arg(text);
            process
        }
    };
    if command.own().is_none() {
        // An identity in the environment is for this program, not for whatever else a runbook names.
        process.env_remove("SOPS_AGE_KEY");
    }
    process.current_dir(root);
    Ok(process)
}

fn not_started(command: &Command, error: &std::io::Error) -> CliError {
    CliError::stopped(format!("cannot run {}", command.shown())).caused_by(error)
}
