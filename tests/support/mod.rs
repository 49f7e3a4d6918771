//! What tests of the real binary share: a sealed-off environment, the sample repository and its targets.
//!
//! Nothing of the caller's environment but PATH reaches a program that a test starts, and nothing is written outside
//! the test's own folder.

#![allow(dead_code, reason = "each test binary uses a part of this")]

pub mod bench;
pub mod dockerd;
pub mod ground;
pub mod homeops;
pub mod kube_double;
pub mod kube_flux;
pub mod kube_objects;
pub mod machine;
pub mod proxy;
pub mod replay;
pub mod repository;
pub mod runtime;
pub mod side_by_side;
pub mod snapshot;
pub mod sshd;
pub mod two_clones;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The binary under test.
pub const COFFERDAM: &str = env!("CARGO_BIN_EXE_cofferdam");

/// The folder `tests/` of the sources.
pub fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Whether these programs are at hand. Where one is not, says that the test is skipped, or fails if
/// `COFFERDAM_REQUIRE_PEERS=1` asks for that.
#[must_use]
pub fn have_peers(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| find_program(program).is_none())
        .collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|v| v == "1");
    assert!(!required, "not on PATH: {}", missing.join(", "));
    println!("skipped: not on PATH: {}", missing.join(", "));
    false
}

/// PATH, with the programs first that `./test` has installed.
fn search_path() -> Vec<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let installed = cache.map(|cache| cache.join("cofferdam/peers/bin"));
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed
        .into_iter()
        .chain([own])
        .chain(std::env::split_paths(&path))
        .collect()
}

/// Where a program stands; none if it is not at hand.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    search_path()
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A folder in memory; where there is none, or a small one, that for temporary files.
pub fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let fits = rustix::fs::statvfs(memory).is_ok_and(|s| s.f_bavail * s.f_frsize > 256 << 20);
    if fits && tempfile::tempdir_in(memory).is_ok() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// A folder of its own with HOME and TMPDIR in it; gone when dropped.
#[derive(Debug)]
pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// Makes the folder, and a git configuration with a committer.
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// The same below `parent`.
    pub fn new_in(parent: &Path) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("cofferdam-test-")
            .tempdir_in(parent)
            .unwrap();
        let sandbox = Self { folder };
        std::fs::create_dir(sandbox.home()).unwrap();
        std::fs::create_dir(sandbox.temporary()).unwrap();
        std::fs::write(
            sandbox.home().join(".gitconfig"),
            "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n",
        )
        .unwrap();
        sandbox
    }

    /// In memory where the system has a place for it: for tests that kill or sync a thousand times.
    pub fn in_memory() -> Self {
        Self::new_in(&memory())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// HOME.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// TMPDIR.
    pub fn temporary(&self) -> PathBuf {
        self.path().join("tmp")
    }

    /// A command in `folder` with nothing of the caller's environment but PATH.
    pub fn command(&self, program: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::join_paths(search_path()).unwrap())
            .env("HOME", self.home())
            .env("TMPDIR", self.temporary())
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CEILING_DIRECTORIES", self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `git` in `folder`; it must succeed. What it printed, less the last line break.
    pub fn git(&self, folder: &Path, args: &[&str]) -> String {
        let ran = Ran::of(self.command("git", folder).args(args));
        ran.expect_code(0).stdout.trim_end_matches('\n').to_owned()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed, octet for octet.
    pub stdout_bytes: Vec<u8>,
    /// The same as text.
    pub stdout: String,
    /// What it said beside.
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output: Output = command
            .output()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stdout_bytes: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails, showing both streams, unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// All files below a folder with their contents, by relative path; symbolic links as `-> target`. `.git` is left out.
pub fn snapshot(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    fn visit(root: &Path, folder: &Path, files: &mut std::collections::BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name() == Some(OsStr::new(".git")) {
                continue;
            }
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                visit(root, &path, files);
                continue;
            }
            let content = if kind.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                format!("-> {}", target.display()).into_bytes()
            } else {
                std::fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().to_string_lossy();
            files.insert(name.into_owned(), content);
        }
    }
    let mut files = std::collections::BTreeMap::new();
    visit(folder, folder, &mut files);
    files
}

/// Copies a folder with everything in it: permissions and symbolic links kept.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mode = std::fs::metadata(from).unwrap().permissions();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_symlink() {
            let link = std::fs::read_link(entry.path()).unwrap();
            std::os::unix::fs::symlink(link, &target).unwrap();
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
    std::fs::set_permissions(to, mode).unwrap();
}

/// Fails, naming the files that differ but not showing them, unless both snapshots are the same; the lock of a run and
/// what hides it from git do not count.
#[track_caller]
pub fn assert_same_files(
    before: &std::collections::BTreeMap<String, Vec<u8>>,
    after: &std::collections::BTreeMap<String, Vec<u8>>,
) {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing: Vec<&String> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .filter(|name| !name.ends_with(".cofferdam/journal/lock"))
        .filter(|name| !name.ends_with(".cofferdam/journal/.gitignore"))
        .collect();
    assert!(differing.is_empty(), "these files differ: {differing:?}");
}
