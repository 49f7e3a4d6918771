//! A folder of documents under one identity of its own, as a stack's folder on a host.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use cofferdam::keys::Identity;
use cofferdam::keys::key_file::KeyFile;
use cofferdam::sops::{EmitOptions, EncryptOptions, Selection, Store, encrypt};
use rustix::process::Pid;

use super::{COFFERDAM, Ran, Sandbox};

/// A folder of our own in memory, mode 0700; none where the system has no `/dev/shm` to write to, which is said, or fails the
/// test where `COFFERDAM_REQUIRE_PEERS=1` asks for that.
pub fn private_memory() -> Option<tempfile::TempDir> {
    let root = tempfile::Builder::new()
        .prefix("cofferdam-test-root-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in("/dev/shm");
    if root.is_err() {
        let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|v| v == "1");
        assert!(!required, "no /dev/shm to write to");
        println!("skipped: no /dev/shm to write to");
    }
    root.ok()
}

/// The folder, the identity beside it.
#[derive(Debug)]
pub struct Stack {
    /// Where all of it lies.
    pub sandbox: Sandbox,
    identity: Identity,
}

impl Stack {
    /// An empty folder on disk and a new identity.
    pub fn new() -> Self {
        Self::within(Sandbox::new())
    }

    /// The same in this sandbox.
    pub fn within(sandbox: Sandbox) -> Self {
        let identity = Identity::mint();
        let text = KeyFile::empty().with_identity(&["created: 2026-01-01T00:00:00Z"], &identity);
        let stack = Self { sandbox, identity };
        std::fs::create_dir(stack.folder()).unwrap();
        std::fs::write(stack.key_file(), text.expose()).unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(stack.key_file(), mode).unwrap();
        stack
    }

    /// The stack's folder.
    pub fn folder(&self) -> PathBuf {
        self.sandbox.path().join("stack")
    }

    /// The file with the identity.
    pub fn key_file(&self) -> PathBuf {
        self.sandbox.path().join("keys.txt")
    }

    /// Encrypts `plain` as `name` in the stack's folder, or below it; every value is encrypted.
    pub fn write(&self, name: &str, plain: &str) {
        let store = Store::for_path(name);
        let options = EncryptOptions {
            key_groups: vec![vec![self.identity.recipient().unwrap()]],
            threshold: None,
            selection: Selection::default(),
            mac_only_encrypted: false,
            now: jiff::Timestamp::UNIX_EPOCH,
            output: store,
            emit: EmitOptions::default(),
        };
        let encrypted = encrypt(store, plain.as_bytes(), &options).unwrap();
        std::fs::write(self.folder().join(name), encrypted.bytes).unwrap();
    }

    /// The same of a JSON document with these keys.
    pub fn write_json(&self, name: &str, values: &[(&str, &str)]) {
        let mut map = serde_json::Map::new();
        for (key, value) in values {
            map.insert((*key).to_owned(), (*value).into());
        }
        self.write(name, &serde_json::to_string(&map).unwrap());
    }

    /// A program in the stack's folder, with the identity named in the environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.sandbox.command(program, &self.folder());
        command.env("SOPS_AGE_KEY_FILE", self.key_file());
        command
    }

    /// The binary under test, in the stack's folder.
    pub fn cofferdam(&self) -> Command {
        self.command(COFFERDAM)
    }

    /// `cofferdam exec` with these arguments.
    pub fn exec(&self, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = self.cofferdam();
        command.arg("exec").args(args);
        command
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

/// A stack, and a root in memory for its plaintext.
#[derive(Debug)]
pub struct Bed {
    /// The folder of documents.
    pub stack: Stack,
    /// Where plaintext goes.
    pub root: tempfile::TempDir,
}

impl Bed {
    /// An empty one; none where the system has no memory for it.
    pub fn new() -> Option<Self> {
        let root = private_memory()?;
        let stack = Stack::new();
        Some(Self { stack, root })
    }

    /// `cofferdam VERB` with the root, in the stack's folder.
    pub fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = self.stack.cofferdam();
        command.arg(verb).arg("--root").arg(self.root.path());
        command.args(args);
        command
    }

    /// `cofferdam exec`.
    pub fn exec(&self, args: &[&str]) -> Command {
        self.command("exec", args)
    }

    /// Runs `cofferdam unseal`.
    pub fn unseal(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command("unseal", args))
    }

    /// Runs `cofferdam wipe`.
    pub fn wipe(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command("wipe", args))
    }

    /// A file in the stack's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.stack.folder().join(name)
    }

    /// Writes a file that is no document, with its folders.
    pub fn write_plain(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What lies in the root but the gate.
    pub fn left(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.root.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| !path.ends_with("gate")).collect()
    }

    /// Nothing lies in the root, and nothing by these names in the stack's folder.
    #[track_caller]
    pub fn expect_clean(&self, links: &[&str]) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
        for link in links {
            let path = self.path(link);
            assert!(!path.is_symlink() && !path.exists(), "{link}");
        }
    }
}

/// The id of a child.
pub fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Waits until a child has ended, and fails, naming `what`, if it does not.
#[track_caller]
pub fn ended(child: &mut Child, what: &str) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        let patience = Duration::from_secs(20);
        assert!(began.elapsed() < patience, "still running: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a process has ended (or is only waited for by its parent), and fails if it does not.
#[track_caller]
pub fn expect_gone(pid: i32, within: Duration) {
    let began = Instant::now();
    while is_running(pid) {
        assert!(began.elapsed() < within, "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs.
pub fn is_running(pid: i32) -> bool {
    let stat = Path::new("/proc").join(pid.to_string()).join("stat");
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

/// The processes whose arguments hold `mark`.
pub fn processes_with(mark: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
            let holds = String::from_utf8_lossy(&arguments).contains(mark);
            (holds && is_running(pid)).then_some(pid)
        })
        .collect()
}

/// Whether whoever runs the tests has a signal ignored, as `nohup` does; what they start inherits that.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask & (1 << (signal - 1)) != 0
}
