//! The `ssh` program: which one, with what options, and the folder of its control sockets.

#![expect(clippy::disallowed_methods, reason = "edge: starts ssh")]

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngCore;

use super::call;
#[cfg(feature = "libssh2")]
use super::libssh2::Passphrases;
use super::problem::SshProblem;
use crate::command_words;

/// Options that no configuration of the user's changes: nobody to ask, host keys strictly checked, nothing forwarded, nothing
/// run here, and failures told, for they are read.
const OPTIONS: [&str; 10] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "RemoteCommand=none",
    "PermitLocalCommand=no",
    "LogLevel=ERROR",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
];
/// A control socket's path, ssh's own suffix included, must stay below 104 octets (macOS; Linux: 108).
const FOLDER_LIMIT: usize = 76;
/// How long all masters together may take to end by themselves.
const FAREWELL: Duration = Duration::from_millis(1500);

/// The program that reaches hosts, shared by all of them. Its folder goes with it.
#[derive(Debug)]
pub struct SshProgram {
    words: Vec<String>,
    folder: Mutex<Option<PathBuf>>,
    leaving: Mutex<Vec<Child>>,
    connect: Duration,
    step: Duration,
    #[cfg(feature = "libssh2")]
    passphrases: Passphrases,
}

impl SshProgram {
    /// `ssh`, or what `COFFERDAM_SSH` names: a program with options, as in `GIT_SSH_COMMAND`. None if that cannot be
    /// split into words.
    pub fn of_process() -> Option<Self> {
        let text = std::env::var("COFFERDAM_SSH").unwrap_or_default();
        if text.trim().is_empty() {
            return Some(Self::new(vec!["ssh".to_owned()]));
        }
        command_words::split(&text)
            .filter(|words| !words.is_empty())
            .map(Self::new)
    }

    /// This program with these options.
    pub fn new(words: Vec<String>) -> Self {
        Self {
            words,
            folder: Mutex::new(None),
            leaving: Mutex::default(),
            connect: Duration::from_secs(20),
            step: Duration::from_secs(120),
            #[cfg(feature = "libssh2")]
            passphrases: Passphrases::default(),
        }
    }

    /// The same with other limits: for making a connection, and for one step on a connected host.
    #[must_use]
    pub fn with_patience(mut self, connect: Duration, step: Duration) -> Self {
        self.connect = connect;
        self.step = step;
        self
    }

    /// The same with somebody to ask for the passphrases of SSH keys. The program itself asks nobody; libssh2 does.
    #[cfg(feature = "libssh2")]
    #[must_use]
    pub fn with_prompt(mut self, prompt: std::sync::Arc<dyn crate::keys::Prompt>) -> Self {
        self.passphrases = Passphrases::new(prompt);
        self
    }

    #[cfg(feature = "libssh2")]
    pub(super) fn passphrases(&self) -> &Passphrases {
        &self.passphrases
    }

    /// What stands behind the program's name.
    #[cfg(feature = "libssh2")]
    pub(super) fn options(&self) -> &[String] {
        &self.words[1..]
    }

    pub(super) fn connect_patience(&self) -> Duration {
        self.connect
    }

    pub(super) fn step_patience(&self) -> Duration {
        self.step
    }

    /// Takes a master that is about to end; a host that hangs does not say farewell, and others are not kept waiting.
    pub(super) fn farewell(&self, child: Child) {
        self.leaving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(child);
    }

    pub(super) fn name(&self) -> &str {
        &self.words[0]
    }

    /// A command with all options, up to the address.
    pub(super) fn command(&self) -> Command {
        self.command_with(&[])
    }

    /// The same with options that go before ours: of two, ssh takes the first.
    pub(super) fn command_with(&self, first: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg("-T").arg("-x");
        command.args(first.iter().flat_map(|option| ["-o", option]));
        for option in OPTIONS {
            command.arg("-o").arg(option);
        }
        let seconds = self.connect.as_secs().max(1);
        command.arg("-o").arg(format!("ConnectTimeout={seconds}"));
        command
    }

    /// A new path for a control socket, in a folder that only we can enter.
    pub(super) fn socket(&self) -> Result<PathBuf, SshProblem> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match &*folder {
            Some(folder) => folder,
            None => folder.insert(make_folder()?),
        };
        Ok(folder.join(random()))
    }

    /// The commands that make a host's key known, or replace it.
    pub(super) fn remedy(&self, address: &str, changed: bool) -> String {
        let resolved = self.resolved(address);
        let of = |key: &str| {
            resolved
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
                .and_then(|value| value.split(' ').next())
                .map(str::to_owned)
        };
        let plain = address.rsplit_once('@').map_or(address, |(_, host)| host);
        let host = of("hostname").unwrap_or_else(|| plain.to_owned());
        let port = of("port").unwrap_or_else(|| "22".to_owned());
        let file = of("userknownhostsfile").unwrap_or_else(|| "~/.ssh/known_hosts".to_owned());
        let name = of("hostkeyalias").unwrap_or_else(|| match port.as_str() {
            "22" => host.clone(),
            port => format!("[{host}]:{port}"),
        });
        let add = format!("ssh-keyscan -p {port} {host} >> {file}");
        if changed {
            format!("ssh-keygen -f {file} -R '{name}' && {add}")
        } else {
            add
        }
    }

    /// What the user's configuration makes of an address; empty if the program does not say.
    fn resolved(&self, address: &str) -> String {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(["-G", "--", address]);
        call::run(
            &mut command,
            zeroize::Zeroizing::default(),
            Duration::from_secs(5),
        )
        .map(|ended| String::from_utf8_lossy(&ended.output).into_owned())
        .unwrap_or_default()
    }
}

impl Drop for SshProgram {
    fn drop(&mut self) {
        let leaving = self
            .leaving
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + FAREWELL;
        for child in leaving {
            let left = deadline.saturating_duration_since(Instant::now());
            if !matches!(call::wait(child, left), Ok(Some(_))) {
                call::kill(child);
            }
        }
        let folder = self
            .folder
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folder.take() {
            // Sockets without a process behind them; nothing else was ever put there.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn make_folder() -> Result<PathBuf, SshProblem> {
    let places = [
        std::env::var_os("XDG_RUNTIME_DIR"),
        std::env::var_os("TMPDIR"),
    ];
    let places = places
        .into_iter()
        .flatten()
        .chain([OsString::from("/tmp")])
        .map(PathBuf::from)
        .filter(|place| place.is_absolute() && place.as_os_str().len() + 15 <= FOLDER_LIMIT);
    let mut failure = None;
    for place in places {
        let folder = place.join(format!("cofferdam-{}", random()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(source) => failure = Some((place, source)),
        }
    }
    let (folder, source) = failure.unwrap_or_else(|| {
        let missing = std::io::ErrorKind::NotFound.into();
        (Path::new("/tmp").to_owned(), missing)
    });
    Err(SshProblem::NoRuntimeFolder { folder, source })
}

/// Four octets in hexadecimal: a name.
pub(super) fn random() -> String {
    let mut octets = [0u8; 4];
    rand::rngs::OsRng.fill_bytes(&mut octets);
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_options_is_split() {
        let split = command_words::split("ssh -F 'my config' -o \"A=b c\"").unwrap();
        assert_eq!(split, ["ssh", "-F", "my config", "-o", "A=b c"]);
        assert_eq!(command_words::split("ssh 'x"), None);
    }

    #[test]
    fn the_folder_is_private_short_and_goes() {
        use std::os::unix::fs::PermissionsExt;
        let program = SshProgram::new(vec!["ssh".to_owned()]);
        let socket = program.socket().unwrap();
        let folder = socket.parent().unwrap().to_owned();
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert!(socket.as_os_str().len() + 17 < 104);
        drop(program);
        assert!(!folder.exists());
    }
}
