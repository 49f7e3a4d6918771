//! One call of the `git` program: its environment, its input, and what its failures mean.

#![expect(clippy::disallowed_methods, reason = "edge: starts git")]

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Git, GitError};

/// Variables that would point `git` at another repository than the one we were given, set when we run inside a hook.
const REDIRECTING: [&str; 11] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_GRAFT_FILE",
    "GIT_SHALLOW_FILE",
    "GIT_EXTERNAL_DIFF",
];

/// How long another process may keep the index or a ref locked before we give up.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// What a call may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reads; takes no optional locks.
    Read,
    /// Changes the repository, with the user's hooks and configuration; everything written is synced.
    Write,
}

impl Git {
    /// The command with everything but its arguments.
    pub(super) fn command(&self, purpose: Purpose) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.root);
        for name in REDIRECTING {
            command.env_remove(name);
        }
        command.arg("--no-pager");
        match purpose {
            Purpose::Read => {
                command
                    .args(["--literal-pathspecs", "--no-optional-locks"])
                    .args(["-c", "core.fsmonitor=", "-c", "core.untrackedCache=false"])
                    .args(["-c", "core.quotePath=false", "-c", "color.ui=false"])
                    .env("LC_ALL", "C");
            }
            Purpose::Write => {
                // Hooks run in the user's own locale; only git's messages are to be English.
                command
                    .args(["-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync"])
                    .args(["-c", "color.ui=false", "-c", "advice.addIgnoredFile=false"])
                    .env("LANGUAGE", "en");
            }
        }
        command
    }

    /// Runs a reading call and returns what it printed; any exit code but 0 is an error.
    pub(super) fn read<S: AsRef<OsStr>>(
        &self,
        name: &'static str,
        args: &[S],
    ) -> Result<Vec<u8>, GitError> {
        let mut command = self.command(Purpose::Read);
        command.arg(name).args(args);
        let output = self.run(name, &mut command, None)?;
        self.succeeded(name, output)
    }

    /// As [`Git::read`], but exit code 1 means "no".
    pub(super) fn ask<S: AsRef<OsStr>>(
        &self,
        name: &'static str,
        args: &[S],
    ) -> Result<Option<Vec<u8>>, GitError> {
        let mut command = self.command(Purpose::Read);
        command.arg(name).args(args);
        let output = self.run(name, &mut command, None)?;
        if output.status.code() == Some(1) {
            return Ok(None);
        }
        self.succeeded(name, output).map(Some)
    }

    /// Runs a call that changes the repository, waiting a while for locks of other processes.
    pub(super) fn change<S: AsRef<OsStr>>(
        &self,
        name: &'static str,
        args: &[S],
        input: Option<&[u8]>,
    ) -> Result<Vec<u8>, GitError> {
        let began = Instant::now();
        loop {
            let mut command = self.command(Purpose::Write);
            command.arg(name).args(args);
            let output = self.run(name, &mut command, input)?;
            match self.succeeded(name, output) {
                Err(GitError::Locked { .. }) if began.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                other => return other,
            }
        }
    }

    /// The paths that `rev-parse` prints for `asked`, in order.
    pub(super) fn paths_of<const N: usize>(
        &self,
        asked: [&'static str; N],
    ) -> Result<[PathBuf; N], GitError> {
        let printed = self.read("rev-parse", &asked)?;
        let lines: Vec<&[u8]> = printed.split_inclusive(|b| *b == b'\n').collect();
        let path = |line: &[u8]| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            PathBuf::from(OsStr::from_bytes(line))
        };
        if let Ok(lines) = <[&[u8]; N]>::try_from(lines) {
            return Ok(lines.map(path));
        }
        // One of them holds a newline: a call each.
        let mut paths: [PathBuf; N] = std::array::from_fn(|_| PathBuf::new());
        for (found, asked) in paths.iter_mut().zip(asked) {
            *found = path(&self.read("rev-parse", &[asked])?);
        }
        Ok(paths)
    }

    /// The one line that a call prints, as text.
    pub(super) fn line_of(&self, name: &'static str, output: Vec<u8>) -> Result<String, GitError> {
        let text = String::from_utf8(output).map_err(|_| GitError::Unexpected {
            command: name,
            what: "a line that is not UTF-8".to_owned(),
        })?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    pub(super) fn run(
        &self,
        name: &'static str,
        command: &mut Command,
        input: Option<&[u8]>,
    ) -> Result<Output, GitError> {
        let failed = |source: io::Error| {
            if source.kind() == io::ErrorKind::NotFound && self.root.is_dir() {
                GitError::NotInstalled
            } else {
                GitError::Io {
                    command: name,
                    source,
                }
            }
        };
        let stdin = match (&self.held, input) {
            (_, Some(_)) => Stdio::piped(),
            // The open file is the run lock: as long as this child lives, the run stays locked.
            (Some(held), None) => Stdio::from(held.try_clone().map_err(failed)?),
            (None, None) => Stdio::null(),
        };
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let pipe = child.stdin.take();
        std::thread::scope(|scope| {
            // Beside reading, since both pipes may fill up. A child that stops reading says why itself.
            if let (Some(mut pipe), Some(input)) = (pipe, input) {
                scope.spawn(move || pipe.write_all(input));
            }
            child.wait_with_output()
        })
        .map_err(failed)
    }

    pub(super) fn succeeded(
        &self,
        name: &'static str,
        output: Output,
    ) -> Result<Vec<u8>, GitError> {
        if output.status.success() {
            return Ok(output.stdout);
        }
        let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
        if matches!(name, "commit" | "push") {
            text.push_str(&String::from_utf8_lossy(&output.stdout));
        }
        let text = tidy(&text);
        let says = |part: &str| text.contains(part);
        Err(if says("detected dubious ownership") {
            GitError::DubiousOwnership {
                folder: self.root.clone(),
            }
        } else if says("not a git repository") {
            GitError::NotARepository {
                folder: self.root.clone(),
            }
        } else if says("must be run in a work tree") {
            GitError::NoWorkTree {
                folder: self.root.clone(),
            }
        } else if says("Please tell me who you are")
            || says("empty ident name")
            || says("unable to auto-detect email address")
            || says("no email was given and auto-detection is disabled")
            || says("no name was given and auto-detection is disabled")
        {
            GitError::NoUser
        } else if says("index.lock': File exists")
            || (says("Unable to create '") && says(".lock': File exists"))
        {
            GitError::Locked {
                message: text
                    .lines()
                    .find(|line| line.contains(".lock'"))
                    .unwrap_or_default()
                    .trim_start_matches("fatal: ")
                    .trim_start_matches("error: ")
                    .to_owned(),
            }
        } else {
            GitError::Failed {
                command: name,
                code: output.status.code(),
                output: text,
            }
        })
    }
}

/// Output fit for an error: no control characters, no passwords in addresses, the last forty lines.
pub(super) fn tidy(text: &str) -> String {
    let clean: String = text
        .chars()
        .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
        .collect();
    let lines: Vec<&str> = clean.lines().collect();
    let from = lines.len().saturating_sub(40);
    without_credentials(lines[from..].join("\n").trim())
}

/// Replaces what stands between `://` and `@` in an address.
fn without_credentials(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '\'' | '"'))
            .unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(sign) => {
                clean.push_str("***");
                rest = &after[sign..];
            }
            None => rest = after,
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_removed() {
        assert_eq!(
            tidy("fatal: unable to access 'https://me:hunter2@example.org/x@y': no\u{1b}[31m"),
            "fatal: unable to access 'https://***@example.org/x@y': no[31m"
        );
        assert_eq!(
            tidy("see https://example.org/a"),
            "see https://example.org/a"
        );
    }
}
