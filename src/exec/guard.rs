//! A second, small process that outlives the supervisor if that is killed: it ends the program and wipes the files.
//!
//! It is this same binary, started anew, so it holds no secret. It leads the process group that the program joins, reads
//! what it guards from a pipe, and acts when the pipe ends without a farewell.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: a process of its own, which watches another"
)]

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use signal_hook::consts::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
};

use crate::exec::folder;

/// The argument that makes the binary a guard.
const ROLE: &str = "guard-of-exec";

/// How long the program may take to end by itself once its supervisor is gone.
const PATIENCE: Duration = Duration::from_secs(2);

const FAREWELL: u8 = b'.';
const PROCESS: u8 = b'p';
const SLOT: u8 = b's';

/// Our end of a guard.
#[derive(Debug)]
pub struct Guard {
    process: Option<(Child, ChildStdin)>,
}

impl Guard {
    /// Starts a guard; as the leader of a process group, if there is to be one. Without a guard all works, but a
    /// kill of the supervisor leaves the program running.
    pub fn start(leads: bool) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("cofferdam")
            .args([ROLE, if leads { "group" } else { "process" }])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if leads {
            command.process_group(0);
        }
        let process = command.spawn().ok();
        Self {
            process: process.and_then(|mut child| child.stdin.take().map(|pipe| (child, pipe))),
        }
    }

    /// The process group for the program: the guard's, or 0 for one of its own.
    pub fn group(&self) -> i32 {
        let process = self.process.as_ref();
        process.map_or(0, |(child, _)| i32::try_from(child.id()).unwrap_or(0))
    }

    /// Names the program.
    pub fn watch(&mut self, pid: Pid) {
        self.tell(PROCESS, pid.as_raw_nonzero().to_string().as_bytes());
    }

    /// Names files to leave behind in our place.
    pub fn keep(&mut self, slot: &Path) {
        self.tell(SLOT, slot.as_os_str().as_bytes());
    }

    fn tell(&mut self, kind: u8, text: &[u8]) {
        if let Some((_, pipe)) = &mut self.process {
            let mut message = vec![kind];
            message.extend(text);
            message.push(0);
            // A guard that died guards nothing; the next start sweeps.
            let _ = pipe.write_all(&message);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((_, pipe)) = &mut self.process {
            let _ = pipe.write_all(&[FAREWELL]);
        }
    }
}

/// Whether these arguments ask for a guard; if so, how it watches.
pub fn is_asked_for(mut arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> Option<bool> {
    let role = arguments.nth(1)?;
    let kind = arguments.next()?;
    (role.as_ref() == ROLE && arguments.next().is_none()).then(|| kind.as_ref() == "group")
}

/// Is the guard: returns when there is nothing left to guard.
pub fn stand(leads: bool) {
    // What is sent to the group is meant for the program.
    let deaf = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [
        SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
    ] {
        let _ = signal_hook::flag::register(signal, std::sync::Arc::clone(&deaf));
    }
    let Some(charge) = Charge::read(&mut std::io::stdin().lock()) else {
        return;
    };
    charge.end(leads);
}

/// What a guard has to see to.
#[derive(Debug, Default)]
struct Charge {
    process: Option<OwnedFd>,
    slots: Vec<PathBuf>,
}

impl Charge {
    /// Reads until the supervisor is gone; none if it said farewell.
    fn read(from: &mut impl Read) -> Option<Self> {
        let mut charge = Self::default();
        let mut message = Vec::new();
        let mut byte = [0];
        loop {
            match from.read(&mut byte) {
                Ok(0) => return Some(charge),
                Ok(_) if byte[0] == 0 => charge.take(&std::mem::take(&mut message)),
                Ok(_) if message.is_empty() && byte[0] == FAREWELL => return None,
                Ok(_) => message.push(byte[0]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Some(charge),
            }
        }
    }

    fn take(&mut self, message: &[u8]) {
        match message.split_first() {
            Some((&PROCESS, text)) => {
                // Taken hold of while the supervisor still lives, so that its number is the program's own.
                let number = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
                self.process = number
                    .and_then(Pid::from_raw)
                    .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
            }
            Some((&SLOT, path)) => self.slots.push(PathBuf::from(OsStr::from_bytes(path))),
            _ => {}
        }
    }

    fn end(&self, leads: bool) {
        self.send(leads, Signal::TERM);
        for slot in &self.slots {
            folder::leave_behind(slot);
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE && self.is_alive(leads) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.send(leads, Signal::KILL);
    }

    /// Sends to the program, and to what it started if the group is ours. A kill of the group is our own end.
    fn send(&self, leads: bool, signal: Signal) {
        if leads {
            let _ = rustix::process::kill_current_process_group(signal);
        } else if let Some(process) = &self.process {
            let _ = rustix::process::pidfd_send_signal(process, signal);
        }
    }

    fn is_alive(&self, leads: bool) -> bool {
        if leads {
            return others_in_group();
        }
        self.process.as_ref().is_some_and(|process| {
            // A process that has ended can be read from.
            let mut polled = [rustix::event::PollFd::new(
                process,
                rustix::event::PollFlags::IN,
            )];
            let now = rustix::event::Timespec::default();
            rustix::event::poll(&mut polled, Some(&now)) == Ok(0)
        })
    }
}

/// Whether another live process is in our group; yes if that cannot be told.
fn others_in_group() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return true;
    };
    let own = std::process::id().to_string();
    let is_other = |stat: &str| {
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = rest.split_whitespace();
        let (state, group) = (fields.next(), fields.nth(1));
        group == Some(own.as_str()) && !matches!(state, Some("Z" | "X"))
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let is_process = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
        is_process
            && name != own.as_str()
            && std::fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| is_other(&stat))
    })
}
