//! One host's connection: a master that carries all calls, and the calls.

#![expect(clippy::disallowed_methods, reason = "edge: starts ssh")]

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngCore;
use zeroize::Zeroizing;

use super::call;
use super::problem::{SshProblem, classify, last_line};
use super::program::SshProgram;
use super::reply::{NoReply, Reply};
use super::script::{BOOTSTRAP, BOOTSTRAP_AS_ROOT, PROBE, Script};

/// How long the last words of a master may take, once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// The way to one host; connects at the first call.
#[derive(Debug)]
pub(super) struct Session {
    // First, for it goes first: the program takes the folder of its socket along.
    connected: Mutex<Option<Connected>>,
    program: Arc<SshProgram>,
    address: String,
    identity_file: String,
}

#[derive(Debug)]
struct Connected {
    master: Master,
    as_root: bool,
}

/// The `ssh` process that holds the connection. It runs `cat` there: when we end, however that is, `cat` ends, and with it
/// the connection.
#[derive(Debug)]
struct Master {
    /// None only while it is dropped.
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    socket: PathBuf,
    program: Arc<SshProgram>,
}

impl Session {
    pub(super) fn new(program: Arc<SshProgram>, address: &str, identity_file: &str) -> Self {
        Self {
            connected: Mutex::new(None),
            program,
            address: address.to_owned(),
            identity_file: identity_file.to_owned(),
        }
    }

    /// Runs a script with `data` as its input, as root where that is needed.
    pub(super) fn run(
        &self,
        script: Script,
        data: Zeroizing<Vec<u8>>,
    ) -> Result<Reply, SshProblem> {
        let (socket, as_root) = self.connect()?;
        let command = if as_root {
            BOOTSTRAP_AS_ROOT
        } else {
            BOOTSTRAP
        };
        self.call(&socket, command, script, data)
    }

    fn connect(&self) -> Result<(PathBuf, bool), SshProblem> {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = connected.as_mut() {
            if known.master.ended(Duration::ZERO).is_none() {
                return Ok((known.master.socket.clone(), known.as_root));
            }
            // It broke off; a new one is made.
            *connected = None;
        }
        let master = self.open_master()?;
        let probe = self.call(
            &master.socket,
            BOOTSTRAP,
            Script::new(PROBE),
            Zeroizing::default(),
        )?;
        if probe.word() != "login" {
            return Err(SshProblem::Nonsense {
                word: probe.word().to_owned(),
            });
        }
        let as_root = probe.rest().starts_with("yes");
        let socket = master.socket.clone();
        *connected = Some(Connected { master, as_root });
        Ok((socket, as_root))
    }

    fn open_master(&self) -> Result<Master, SshProblem> {
        let socket = self.program.socket()?;
        let mut command = self.program.command();
        command
            .args(["-M", "-o", "ControlPersist=no", "-S"])
            .arg(&socket)
            .args(["--", &self.address, "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| self.no_program(source))?;
        let errors = child.stderr.take().map(call::collect);
        let mut master = Master {
            stdin: child.stdin.take(),
            child: Some(child),
            socket,
            program: Arc::clone(&self.program),
        };
        let patience = self.program.connect_patience() + Duration::from_secs(2);
        let deadline = Instant::now() + patience;
        while !is_socket(&master.socket) {
            if let Some(status) = master.ended(Duration::from_millis(10)) {
                let said = errors
                    .and_then(|errors| errors.recv_timeout(LAST_WORDS).ok())
                    .unwrap_or_default();
                // ssh itself ends with 255; anything else is the login's own end.
                return Err(if status.code() == Some(255) {
                    self.classify(&said)
                } else {
                    SshProblem::NoShell {
                        said: last_line(&said),
                    }
                });
            }
            if Instant::now() >= deadline {
                return Err(SshProblem::TimedOut { patience });
            }
        }
        Ok(master)
    }

    fn call(
        &self,
        socket: &Path,
        command: &str,
        script: Script,
        data: Zeroizing<Vec<u8>>,
    ) -> Result<Reply, SshProblem> {
        let mut octets = [0u8; 16];
        rand::rngs::OsRng.fill_bytes(&mut octets);
        let nonce: String = octets.iter().map(|o| format!("{o:02x}")).collect();
        let line = script
            .set("nonce", &nonce)
            .set("file", &self.identity_file)
            .line();
        let mut input = Zeroizing::new(Vec::with_capacity(line.len() + data.len()));
        input.extend_from_slice(line.as_bytes());
        input.extend_from_slice(&data);
        drop(data);

        let mut ssh = self.program.command();
        ssh.args(["-o", "ControlMaster=no", "-S"])
            .arg(socket)
            .args(["--", &self.address, command]);
        let patience = self.program.step_patience();
        let ended =
            call::run(&mut ssh, input, patience).map_err(|source| self.no_program(source))?;
        let Some(status) = ended.status else {
            return Err(SshProblem::TimedOut { patience });
        };
        Reply::find(ended.output, &nonce).map_err(|missing| {
            let said = last_line(&ended.errors);
            let is_first = missing == NoReply::NotBegun && status.code() != Some(255);
            if is_first && (command == BOOTSTRAP_AS_ROOT || said.starts_with("sudo:")) {
                SshProblem::NoSudo { said }
            } else if missing == NoReply::BrokenOff || status.code() == Some(255) {
                self.classify(&ended.errors)
            } else {
                SshProblem::NoShell { said }
            }
        })
    }

    fn classify(&self, errors: &[u8]) -> SshProblem {
        classify(&self.address, errors, |changed| {
            self.program.remedy(&self.address, changed)
        })
    }

    fn no_program(&self, source: std::io::Error) -> SshProblem {
        SshProblem::NoProgram {
            program: self.program.name().to_owned(),
            source,
        }
    }
}

impl Master {
    /// How it ended, if it does so within `patience`.
    fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        call::wait(child, patience).ok().flatten()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself now; the program waits for all of them together.
        if let Some(child) = self.child.take() {
            self.program.farewell(child);
        }
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}
