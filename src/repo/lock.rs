//! One run at a time in a work tree (edge).

#![expect(clippy::disallowed_methods, reason = "edge: the lock file")]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::repo::atomic_write::{self, Mode};

/// The lock of a run, held until dropped. The kernel releases it however the process ends.
///
/// `git` processes that write on behalf of the run hold it as well (see [`crate::repo::Git::holding`]): if we are
/// killed while one of them works, the next run waits until it has ended.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run is at work here.
    #[error("another run is at work in this repository{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that took it, if it could be read.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("cannot lock {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder of the lock could not be made.
    #[error("cannot make the folder of {path}")]
    Folder {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: atomic_write::WriteError,
    },
}

/// How long the processes of a dead run may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

impl RunLock {
    /// Takes the lock of the work tree at `root`, in `.cofferdam/journal/lock`.
    ///
    /// # Errors
    /// [`LockError::Held`] at once if a live run holds it, or after a while if what a killed one started does not end.
    pub fn acquire(root: &Path) -> Result<Self, LockError> {
        let folder = root.join(".cofferdam").join("journal");
        let path = folder.join("lock");
        // `.cofferdam` is committed and gets ordinary permissions; the journal is private.
        for (folder, mode) in [(folder.parent().unwrap_or(root), 0o755), (&folder, 0o700)] {
            atomic_write::create_folder(folder, mode).map_err(|source| LockError::Folder {
                path: path.clone(),
                source,
            })?;
        }
        let lock = Self::acquire_at(&path)?;
        let fail = |source| LockError::Folder {
            path: path.clone(),
            source,
        };
        // Whoever was killed here before it began a run left nothing else behind.
        atomic_write::sweep_temporary(&folder).map_err(fail)?;
        // Git never sees the journal, not even before the run's commit says so in the repository's own .gitignore.
        let ignore = folder.join(".gitignore");
        if !ignore.exists() {
            atomic_write::replace(&ignore, b"*\n", Mode::Exact(0o600)).map_err(fail)?;
        }
        Ok(lock)
    }

    /// Takes the lock whose file is `path`, in a folder that exists.
    ///
    /// # Errors
    /// As [`RunLock::acquire`].
    pub fn acquire_at(path: &Path) -> Result<Self, LockError> {
        let path = path.to_owned();
        let io = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(io)?;
        let began = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => {
                    let pid = holder(&mut file);
                    if pid.is_none_or(is_alive) || began.elapsed() > PATIENCE {
                        return Err(LockError::Held { path, pid });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(errno) => return Err(io(errno.into())),
            }
        }
        file.set_len(0).map_err(io)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
            .map_err(io)?;
        Ok(Self { file })
    }

    /// Another handle on the same lock, for a child process: the lock lasts until the child has ended, too.
    ///
    /// # Errors
    /// Of the system.
    pub fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return true;
    };
    // A process that was killed but not yet reaped counts as dead.
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().next());
        return !matches!(state, Some("Z" | "X"));
    }
    rustix::process::test_kill_process(pid) != Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(root.path()).unwrap();
        let second = RunLock::acquire(root.path());
        assert!(
            matches!(second, Err(LockError::Held { pid: Some(pid), .. }) if pid == std::process::id())
        );
        drop(lock);
        drop(RunLock::acquire(root.path()).unwrap());
    }

    #[test]
    fn what_a_kill_left_beside_it_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(".cofferdam/journal");
        std::fs::create_dir_all(&folder).unwrap();
        let left = folder.join("..gitignore.cofferdam-01cdd9b2.tmp");
        std::fs::write(&left, "").unwrap();
        drop(RunLock::acquire(root.path()).unwrap());
        assert!(!left.exists() && folder.join(".gitignore").exists());
    }

    #[test]
    fn waits_for_a_child_of_a_dead_run() {
        let root = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(root.path()).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("0.3")
            .stdin(lock.share().unwrap())
            .spawn()
            .unwrap();
        drop(lock);
        // A process id that no live process has.
        std::fs::write(root.path().join(".cofferdam/journal/lock"), "2147483646\n").unwrap();
        let began = Instant::now();
        drop(RunLock::acquire(root.path()).unwrap());
        assert!(began.elapsed() > Duration::from_millis(100));
        child.wait().unwrap();
    }
}
