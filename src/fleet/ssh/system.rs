//! The system's `ssh` as a transport: a master that carries all calls to a host, and the calls.

#![expect(clippy::disallowed_methods, reason = "edge: starts ssh")]

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::call;
use super::problem::{SshProblem, classify, last_line};
use super::program::SshProgram;
use super::transport::{Called, Link, Transport};

/// How long the last words of a master may take, once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// The way to one host by the `ssh` program.
#[derive(Debug)]
pub(super) struct System {
    way: Arc<Way>,
}

/// Whom to call, and by what.
#[derive(Debug)]
struct Way {
    program: Arc<SshProgram>,
    address: String,
}

/// The `ssh` process that holds the connection. It runs `cat` there: when we end, however that is, `cat` ends, and with it
/// the connection.
#[derive(Debug)]
struct Master {
    /// None only while it is dropped.
    child: Mutex<Option<Child>>,
    stdin: Option<ChildStdin>,
    host_key: Option<String>,
    socket: PathBuf,
    way: Arc<Way>,
}

impl System {
    pub(super) fn new(program: Arc<SshProgram>, address: &str) -> Self {
        Self {
            way: Arc::new(Way {
                program,
                address: address.to_owned(),
            }),
        }
    }
}

impl Transport for System {
    fn connect(&self) -> Result<Arc<dyn Link>, SshProblem> {
        let way = &self.way;
        let socket = way.program.socket()?;
        // What it says goes to a file, for it says there which host key it is shown.
        let log = socket.with_extension("log");
        let mut command = way.program.command_with(&["LogLevel=DEBUG1"]);
        command
            .arg("-E")
            .arg(&log)
            .args(["-M", "-o", "ControlPersist=no", "-S"])
            .arg(&socket)
            .args(["--", &way.address, "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| way.no_program(source))?;
        let errors = child.stderr.take().map(call::collect);
        let mut master = Master {
            host_key: None,
            stdin: child.stdin.take(),
            child: Mutex::new(Some(child)),
            socket,
            way: Arc::clone(way),
        };
        let patience = way.program.connect_patience() + Duration::from_secs(2);
        let begun = Instant::now();
        while !is_socket(&master.socket) {
            if let Some(status) = master.ended(call::pause(begun.elapsed())) {
                let said = errors
                    .and_then(|errors| errors.recv_timeout(LAST_WORDS).ok())
                    .unwrap_or_default();
                let said = [said.as_slice(), told(&log).as_bytes()].concat();
                // ssh itself ends with 255; anything else is the login's own end.
                return Err(if status.code() == Some(255) {
                    way.classify(&said)
                } else {
                    SshProblem::NoShell {
                        said: last_line(&said),
                    }
                });
            }
            if begun.elapsed() >= patience {
                return Err(SshProblem::TimedOut { patience });
            }
        }
        master.host_key = shown_key(&log);
        // The master goes on writing to it; nobody reads that.
        let _ = std::fs::remove_file(&log);
        Ok(Arc::new(master))
    }
}

/// What a master wrote to its log, but for what it says about itself.
fn told(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let is_told = |line: &&str| !line.starts_with("debug") && !line.starts_with("OpenSSH_");
    text.lines()
        .filter(is_told)
        .fold(String::new(), |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        })
}

/// The digest of the host key that a master was shown, as `ssh-keygen -l` prints it.
///
/// Source: OpenSSH 9.2, sshconnect.c, `verify_host_key()`: `Server host key: TYPE SHA256:DIGEST` at level DEBUG1.
fn shown_key(log: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&std::fs::read(log).ok()?).into_owned();
    let mut shown = text.lines().filter_map(|line| {
        let (_, key) = line.split_once("Server host key: ")?;
        key.split(' ').nth(1).map(str::to_owned)
    });
    shown.next_back()
}

impl Link for Master {
    fn stands(&self) -> bool {
        self.ended(Duration::ZERO).is_none()
    }

    fn host_key(&self) -> Option<String> {
        self.host_key.clone()
    }

    fn call(&self, command: &str, input: Zeroizing<Vec<u8>>) -> Result<Called, SshProblem> {
        let way = &self.way;
        let mut ssh = way.program.command();
        ssh.args(["-o", "ControlMaster=no", "-S"])
            .arg(&self.socket)
            .args(["--", &way.address, command]);
        let patience = way.program.step_patience();
        let ended =
            call::run(&mut ssh, input, patience).map_err(|source| way.no_program(source))?;
        let Some(status) = ended.status else {
            return Err(SshProblem::TimedOut { patience });
        };
        let lost = (status.code() == Some(255)).then(|| way.classify(&ended.errors));
        Ok(Called {
            output: ended.output,
            errors: ended.errors,
            lost,
        })
    }
}

impl Way {
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
    fn ended(&self, patience: Duration) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        call::wait(child.as_mut()?, patience).ok().flatten()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself now; the program waits for all of them together.
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = child.take() {
            self.way.program.farewell(child);
        }
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}
