//! The one seam through which durable writes reach the file system (edge).
//!
//! Every create, write, sync, rename and unlink that a crash must not tear goes through here, so that a test can see
//! in which order they happened and what had been synced.
//!
//! # The trace (debug builds only)
//! If `COFFERDAM_TRACE_IO` names a file, each operation that succeeded is appended to it as one line of JSON, in the
//! order in which they took effect. `op` says which; paths are absolute.
//!
//! | op | fields | meaning |
//! |---|---|---|
//! | `create` | `path` `mode` | an empty file came to be; its name is durable after `fsync_dir` of its folder |
//! | `write` | `path` `offset` `data` (base64) | bytes were written; durable after `fsync` of the file |
//! | `truncate` | `path` `len` | the file was cut; durable after `fsync` |
//! | `chmod` | `path` `mode` | durable after `fsync` |
//! | `fsync` | `path` | content and mode of this file are durable |
//! | `rename` | `from` `to` | durable after `fsync_dir` of the folder of `to` (never across folders) |
//! | `unlink` | `path` | durable after `fsync_dir` of its folder |
//! | `mkdir` | `path` `mode` | durable after `fsync_dir` of its parent |
//! | `rmdir` | `path` | durable after `fsync_dir` of its parent |
//! | `fsync_dir` | `path` | the names in this folder are durable |
//! | `git` | `command` `git_dir` `copy` | `git` changed its folder and it was synced whole; `copy` is a copy of it as it was then |
//!
//! The trace holds everything that was written, identities of directory targets too: a test's throwaway ones.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: the one seam for durable writes"
)]

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, Mode, OFlags};

use crate::repo::trace;

/// A file open for durable writing.
#[derive(Debug)]
pub struct DurableFile {
    file: File,
    path: PathBuf,
}

impl DurableFile {
    /// Creates a file that must not exist; a symbolic link in its place is not followed.
    ///
    /// # Errors
    /// Of the system, `AlreadyExists` among them.
    pub fn create_new(path: &Path, mode: u32) -> io::Result<Self> {
        trace::recorded(
            || {
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                    .open(path)?;
                Ok(Self {
                    file,
                    path: path.to_owned(),
                })
            },
            |_| trace::Op::Create { path, mode },
        )
    }

    /// Opens an existing regular file for reading and writing, never through a symbolic link.
    ///
    /// # Errors
    /// Of the system.
    pub fn open_existing(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Of the system; part of the bytes may have been written.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Self { file, path } = self;
        trace::recorded(
            || {
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(bytes)
            },
            |()| trace::Op::Write {
                path,
                offset,
                data: bytes,
            },
        )
    }

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// Of the system.
    pub fn truncate(&self, length: u64) -> io::Result<()> {
        trace::recorded(
            || self.file.set_len(length),
            |()| trace::Op::Truncate {
                path: &self.path,
                len: length,
            },
        )
    }

    /// Sets exactly these permission bits, whatever the umask says.
    ///
    /// # Errors
    /// Of the system.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        trace::recorded(
            || Ok(sys::fchmod(&self.file, Mode::from_bits_truncate(mode))?),
            |()| trace::Op::Chmod {
                path: &self.path,
                mode,
            },
        )
    }

    /// Makes content and permissions durable.
    ///
    /// # Errors
    /// Of the system: the content may not survive a power loss.
    pub fn sync(&self) -> io::Result<()> {
        trace::recorded(
            || self.file.sync_all(),
            |()| trace::Op::Fsync { path: &self.path },
        )
    }

    /// Makes the content durable, with as much else as is needed to read it back.
    ///
    /// # Errors
    /// As [`DurableFile::sync`].
    pub fn sync_data(&self) -> io::Result<()> {
        trace::recorded(
            || self.file.sync_data(),
            |()| trace::Op::Fsync { path: &self.path },
        )
    }

    /// The open file, for what needs no trace (owner, length, reading).
    pub fn as_file(&self) -> &File {
        &self.file
    }
}

/// Renames within one folder, replacing what is there.
///
/// # Errors
/// Of the system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    trace::recorded(
        || std::fs::rename(from, to),
        |()| trace::Op::Rename { from, to },
    )
}

/// Renames within one folder; fails with `AlreadyExists` if the name is taken.
///
/// # Errors
/// Of the system.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    trace::recorded(
        || rename_without_replacing(from, to),
        |()| trace::Op::Rename { from, to },
    )
}

#[cfg(target_os = "linux")]
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match sys::renameat_with(sys::CWD, from, sys::CWD, to, sys::RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems know no flags.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_then_unlink(from, to),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    link_then_unlink(from, to)
}

fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}

/// Removes a name; durable after [`sync_folder`].
///
/// # Errors
/// Of the system.
pub fn unlink(path: &Path) -> io::Result<()> {
    trace::recorded(
        || std::fs::remove_file(path),
        |()| trace::Op::Unlink { path },
    )
}

/// Creates one folder with exactly these permission bits; durable after [`sync_folder`] of its parent.
///
/// # Errors
/// Of the system, `AlreadyExists` among them.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    trace::recorded(
        || {
            sys::mkdir(path, Mode::from_bits_truncate(mode))?;
            Ok(sys::chmod(path, Mode::from_bits_truncate(mode))?)
        },
        |()| trace::Op::Mkdir { path, mode },
    )
}

/// Removes one empty folder; durable after [`sync_folder`] of its parent.
///
/// # Errors
/// Of the system.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    trace::recorded(|| std::fs::remove_dir(path), |()| trace::Op::Rmdir { path })
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Of the system.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    // `Path::parent` of a bare file name.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    trace::recorded(
        || match File::open(path)?.sync_all() {
            // File systems that cannot sync folders (some network ones) say EINVAL.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        },
        |()| trace::Op::FsyncDir { path },
    )
}

/// Makes the contents of many files and the names in many folders durable at once.
///
/// On Linux one `syncfs` per file system takes the place of one `fsync` per file: a thousand small files are durable
/// after some milliseconds rather than some seconds. The guarantee is the same; what else was dirty there is written too.
///
/// # Errors
/// Of the system: some of them may not survive a power loss.
pub fn sync_all(files: &[PathBuf], folders: &[PathBuf]) -> io::Result<()> {
    if cfg!(target_os = "linux") && files.len() + folders.len() > SYNCED_ONE_BY_ONE {
        let parents = files.iter().filter_map(|f| f.parent()).map(Path::to_owned);
        let mut places: Vec<PathBuf> = parents.chain(folders.iter().cloned()).collect();
        places.sort();
        places.dedup();
        let mut devices = Vec::new();
        for place in places {
            let device = std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(&place)?);
            if !devices.contains(&device) {
                devices.push(device);
                sync_file_system(&place)?;
            }
        }
        for path in files {
            trace::recorded(|| Ok(()), |()| trace::Op::Fsync { path })?;
        }
        for path in folders {
            trace::recorded(|| Ok(()), |()| trace::Op::FsyncDir { path })?;
        }
        return Ok(());
    }
    for path in files {
        trace::recorded(
            || File::open(path)?.sync_all(),
            |()| trace::Op::Fsync { path },
        )?;
    }
    for path in folders {
        sync_folder(path)?;
    }
    Ok(())
}

/// Up to so many files and folders, `fsync` of each is quicker than a whole file system.
const SYNCED_ONE_BY_ONE: usize = 8;

/// Makes everything on the file system that holds `folder` durable, and records that `git` changed its folder.
///
/// `git` syncs objects and refs when told to, but not the folders that name them.
///
/// # Errors
/// Of the system.
pub fn sync_after_git(command: &str, git_dir: &Path) -> io::Result<()> {
    sync_file_system(git_dir)?;
    trace::git(command, git_dir)
}

#[cfg(target_os = "linux")]
fn sync_file_system(folder: &Path) -> io::Result<()> {
    Ok(sys::syncfs(File::open(folder)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_folder: &Path) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

/// A place where a test may have the process killed; nothing in release builds.
///
/// If `COFFERDAM_CRASH_AT` is N, the N-th call (from 1) kills the process with SIGKILL. If `COFFERDAM_CRASH_LOG` names
/// a file, each call appends its `name` there, so that a test can count the points first. If `COFFERDAM_CRASH_NAMED` is
/// set, points of other names do not count: what the process starts is not killed with it.
#[cfg(debug_assertions)]
pub fn crash_point(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if std::env::var_os("COFFERDAM_CRASH_NAMED").is_some_and(|named| named != *name) {
        return;
    }
    let call = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(log) = std::env::var_os("COFFERDAM_CRASH_LOG")
        && let Ok(mut file) = File::options().append(true).create(true).open(log)
    {
        let _ = writeln!(file, "{name}");
    }
    let Some(at) = std::env::var_os("COFFERDAM_CRASH_AT") else {
        return;
    };
    if at.to_str().and_then(|n| n.parse().ok()) == Some(call) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may need an instant to arrive; nothing may happen in it.
        loop {
            std::thread::park();
        }
    }
}

/// A place where a test may have the process killed; nothing in release builds.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn crash_point(_name: &str) {}
