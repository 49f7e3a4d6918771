//! Writes that leave the old file or the new one, never a part, also after a power loss (edge).
//!
//! A temporary file `.NAME.cofferdam-<8 hex>.tmp` is made beside the file with its final permissions, filled, synced and
//! renamed over it, and the folder is synced. On an error the temporary file goes; what a kill left,
//! [`sweep_temporary`] removes. Symbolic links are refused, not followed: see [`real_path`].

#![expect(
    clippy::disallowed_methods,
    reason = "edge: looks at files before it replaces them"
)]

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::RngCore;
use rustix::fs::OFlags;

use crate::repo::durable::{self, DurableFile};

/// The permissions that a written file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those of the file that is replaced; as [`Mode::Default`] if there is none.
    Keep,
    /// Exactly these bits, whatever the umask.
    Exact(u32),
    /// `0666` less the umask.
    Default,
}

/// Why a file was not written. The file is then as it was, except for [`WriteError::Uncertain`].
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The path is a symbolic link.
    #[error("{path} is a symbolic link")]
    Symlink {
        /// The path.
        path: PathBuf,
    },
    /// The path is a folder, a pipe or a device.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file holds something else than the caller had read.
    #[error("{path} changed while it was worked on")]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// There is a file already.
    #[error("{path} exists already")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The path leads out of the folder it must stay in.
    #[error("{path} leads out of {root}")]
    Outside {
        /// The path.
        path: PathBuf,
        /// The folder.
        root: PathBuf,
    },
    /// The system refused: disk full, no permission, read-only.
    #[error("cannot {act} {path}")]
    Io {
        /// What was attempted.
        act: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The new content is in place, but the folder could not be synced: it may not survive a power loss.
    #[error("{path} was written, but its folder could not be synced")]
    Uncertain {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl WriteError {
    pub(super) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }
}

/// Replaces or creates the file at `path`. Owner and group of a replaced file are kept.
///
/// # Errors
/// See [`WriteError`].
pub fn replace(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), WriteError> {
    write(path, bytes, mode, &Expected::Anything)
}

/// As [`replace`], but only if the file still holds `expected` (none: does not exist) right before the rename.
///
/// # Errors
/// [`WriteError::Changed`] if it does not; see [`WriteError`].
pub fn replace_expecting(
    path: &Path,
    expected: Option<&[u8]>,
    bytes: &[u8],
    mode: Mode,
) -> Result<(), WriteError> {
    match expected {
        Some(expected) => write(path, bytes, mode, &Expected::Bytes(expected)),
        None => write(path, bytes, mode, &Expected::Nothing).map_err(|error| match error {
            WriteError::Exists { path } => WriteError::Changed { path },
            other => other,
        }),
    }
}

/// Creates the file at `path`, which must not exist.
///
/// # Errors
/// [`WriteError::Exists`] if it does; see [`WriteError`].
pub fn create_new(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), WriteError> {
    write(path, bytes, mode, &Expected::Nothing)
}

/// Removes the file at `path` durably; a symbolic link is removed itself. Whether there was one.
///
/// # Errors
/// [`WriteError::Io`], [`WriteError::Uncertain`].
pub fn remove(path: &Path) -> Result<bool, WriteError> {
    match durable::unlink(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(WriteError::io("remove", path)(error)),
    }
    sync_parent(path)?;
    Ok(true)
}

/// Makes durable that `path` is, or is no longer, in its folder.
///
/// # Errors
/// [`WriteError::Uncertain`].
pub fn sync_parent(path: &Path) -> Result<(), WriteError> {
    durable::sync_folder(folder_of(path)).map_err(|source| WriteError::Uncertain {
        path: path.to_owned(),
        source,
    })
}

/// Creates the folder at `path` and the missing ones above it, each with `mode`, durably; those that were made, outermost first.
///
/// # Errors
/// [`WriteError::NotAFile`] is never returned; a file in the way is [`WriteError::Io`].
pub fn create_folder(path: &Path, mode: u32) -> Result<Vec<PathBuf>, WriteError> {
    let mut missing = Vec::new();
    let mut at = path;
    while !at.as_os_str().is_empty() && !at.is_dir() {
        missing.push(at.to_owned());
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    missing.reverse();
    let mut made = Vec::new();
    for folder in missing {
        match durable::make_folder(&folder, mode) {
            Ok(()) => {}
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {
                continue;
            }
            Err(error) => return Err(WriteError::io("create folder", &folder)(error)),
        }
        durable::sync_folder(folder_of(&folder))
            .map_err(WriteError::io("sync the folder of", &folder))?;
        made.push(folder);
    }
    Ok(made)
}

/// Removes the temporary files that a kill left in `folder`; returns their paths. A folder that is absent holds none.
///
/// The caller holds the run lock: a temporary file of a live process is swept as well.
///
/// # Errors
/// [`WriteError::Io`].
pub fn sweep_temporary(folder: &Path) -> Result<Vec<PathBuf>, WriteError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(WriteError::io("list", folder)(error)),
    };
    let mut swept = Vec::new();
    for entry in entries {
        let entry = entry.map_err(WriteError::io("list", folder))?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && is_temporary(&entry.file_name()) {
            durable::unlink(&entry.path()).map_err(WriteError::io("remove", &entry.path()))?;
            swept.push(entry.path());
        }
    }
    if !swept.is_empty() {
        durable::sync_folder(folder).map_err(WriteError::io("sync", folder))?;
    }
    swept.sort();
    Ok(swept)
}

/// Whether this is the name of one of our temporary files.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let Some(rest) = name
        .strip_prefix(b".")
        .and_then(|n| n.strip_suffix(b".tmp"))
    else {
        return false;
    };
    let Some(at) = rest.len().checked_sub(8) else {
        return false;
    };
    let (front, random) = rest.split_at(at);
    front.ends_with(MARK)
        && front.len() > MARK.len()
        && random
            .iter()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
}

/// Where a path that may be a symbolic link really is; refused if that is outside `root`.
///
/// # Errors
/// [`WriteError::Outside`]; [`WriteError::Io`] for a dangling link or a missing file.
pub fn real_path(path: &Path, root: &Path) -> Result<PathBuf, WriteError> {
    let real = std::fs::canonicalize(path).map_err(WriteError::io("resolve", path))?;
    let real_root = std::fs::canonicalize(root).map_err(WriteError::io("resolve", root))?;
    if real.starts_with(&real_root) {
        Ok(real)
    } else {
        Err(WriteError::Outside {
            path: path.to_owned(),
            root: root.to_owned(),
        })
    }
}

/// Reads a whole regular file, never through a symbolic link at its last component; none if it is absent.
///
/// # Errors
/// [`WriteError::Symlink`], [`WriteError::NotAFile`], [`WriteError::Io`].
pub fn read_no_follow(path: &Path) -> Result<Option<Vec<u8>>, WriteError> {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    let opened = std::fs::File::options()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
                || error.raw_os_error() == Some(rustix::io::Errno::MLINK.raw_os_error()) =>
        {
            return Err(WriteError::Symlink {
                path: path.to_owned(),
            });
        }
        Err(error) => return Err(WriteError::io("read", path)(error)),
    };
    let metadata = file.metadata().map_err(WriteError::io("read", path))?;
    if !metadata.is_file() {
        return Err(WriteError::NotAFile {
            path: path.to_owned(),
        });
    }
    // Exact capacity: growing would leave copies of a key file's content behind.
    let capacity = usize::try_from(metadata.len())
        .unwrap_or(0)
        .saturating_add(1);
    let mut bytes = Vec::with_capacity(capacity);
    file.read_to_end(&mut bytes)
        .map_err(WriteError::io("read", path))?;
    Ok(Some(bytes))
}

const MARK: &[u8] = b".cofferdam-";

/// What must be at the path for a write to go ahead.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Whatever is there, or nothing.
    Anything,
    /// No file.
    Nothing,
    /// A file that holds exactly this.
    Bytes(&'a [u8]),
}

fn write(path: &Path, bytes: &[u8], mode: Mode, expected: &Expected<'_>) -> Result<(), WriteError> {
    let before = look_at(path, expected)?;
    let temporary = temporary_path(path)?;
    let result = fill(&temporary, path, bytes, mode, before.as_ref())
        .and_then(|file| file.sync().map_err(WriteError::io("sync", path)))
        .and_then(|()| put_in_place(&temporary, path, expected));
    if result.is_err() {
        // The first error counts; a temporary file that stays is swept by the next run.
        let _ = durable::unlink(&temporary);
    }
    result?;
    durable::sync_folder(folder_of(path)).map_err(|source| WriteError::Uncertain {
        path: path.to_owned(),
        source,
    })
}

/// What stands at the path now, if it may be replaced.
pub(super) fn look_at(
    path: &Path,
    expected: &Expected<'_>,
) -> Result<Option<std::fs::Metadata>, WriteError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_symlink() => Err(WriteError::Symlink {
            path: path.to_owned(),
        }),
        Ok(_) if matches!(expected, Expected::Nothing) => Err(WriteError::Exists {
            path: path.to_owned(),
        }),
        Ok(metadata) if !metadata.is_file() => Err(WriteError::NotAFile {
            path: path.to_owned(),
        }),
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(WriteError::io("look at", path)(error)),
    }
}

pub(super) fn fill(
    temporary: &Path,
    path: &Path,
    bytes: &[u8],
    mode: Mode,
    before: Option<&std::fs::Metadata>,
) -> Result<DurableFile, WriteError> {
    let exact = match (mode, before) {
        (Mode::Exact(bits), _) => Some(bits & 0o7777),
        (Mode::Keep, Some(metadata)) => Some(metadata.mode() & 0o7777),
        (Mode::Keep, None) | (Mode::Default, _) => None,
    };
    // Private until the owner is right; only a file with default permissions is created with them.
    let initial = if exact.is_some() { 0o600 } else { 0o666 };
    let mut file = DurableFile::create_new(temporary, initial)
        .map_err(WriteError::io("create a file beside", path))?;
    if let Some(metadata) = before {
        keep_owner(&file, metadata).map_err(WriteError::io("keep the owner of", path))?;
    }
    if let Some(bits) = exact {
        file.set_mode(bits)
            .map_err(WriteError::io("set permissions beside", path))?;
    }
    file.write_at(0, bytes)
        .map_err(WriteError::io("write", path))?;
    Ok(file)
}

/// A reader that is not us must not lose its key file to us: the owner is kept, or nothing is written.
fn keep_owner(file: &DurableFile, before: &std::fs::Metadata) -> io::Result<()> {
    let now = file.as_file().metadata()?;
    if now.uid() == before.uid() && now.gid() == before.gid() {
        return Ok(());
    }
    std::os::unix::fs::fchown(file.as_file(), Some(before.uid()), Some(before.gid()))
}

pub(super) fn put_in_place(
    temporary: &Path,
    path: &Path,
    expected: &Expected<'_>,
) -> Result<(), WriteError> {
    match expected {
        Expected::Nothing => {
            return durable::rename_new(temporary, path).map_err(|error| {
                if error.kind() == io::ErrorKind::AlreadyExists {
                    WriteError::Exists {
                        path: path.to_owned(),
                    }
                } else {
                    WriteError::io("put in place", path)(error)
                }
            });
        }
        Expected::Bytes(bytes) => {
            let now = read_no_follow(path)?.map(zeroize::Zeroizing::new);
            if now.as_ref().map(|now| now.as_slice()) != Some(bytes) {
                return Err(WriteError::Changed {
                    path: path.to_owned(),
                });
            }
        }
        Expected::Anything => {}
    }
    durable::rename(temporary, path).map_err(WriteError::io("put in place", path))
}

pub(super) fn temporary_path(path: &Path) -> Result<PathBuf, WriteError> {
    let Some(name) = path.file_name() else {
        return Err(WriteError::NotAFile {
            path: path.to_owned(),
        });
    };
    // A name may have 255 bytes: the longest that leave room for the rest are taken, cut between characters.
    let mut name = name.as_bytes();
    if name.len() > 220 {
        let mut end = 220;
        while end > 0 && name.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
            end -= 1;
        }
        name = &name[..end];
    }
    let random = rand::rngs::OsRng.next_u32();
    let mut temporary = Vec::with_capacity(name.len() + 24);
    temporary.push(b'.');
    temporary.extend_from_slice(name);
    temporary.extend_from_slice(MARK);
    temporary.extend_from_slice(format!("{random:08x}.tmp").as_bytes());
    Ok(path.with_file_name(OsString::from_vec(temporary)))
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn replaces_and_keeps_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sops.env");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"new", Mode::Keep).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(mode_of(&path), 0o640);
        replace(&path, b"key", Mode::Exact(0o400)).unwrap();
        assert_eq!(mode_of(&path), 0o400);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn create_new_refuses_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create_new(&path, b"1", Mode::Exact(0o600)).unwrap();
        assert!(matches!(
            create_new(&path, b"2", Mode::Default),
            Err(WriteError::Exists { .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"1");
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn refuses_links_folders_and_changed_files() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let link = folder.path().join("link");
        std::fs::write(&target, "t").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(
            replace(&link, b"x", Mode::Keep),
            Err(WriteError::Symlink { .. })
        ));
        assert!(matches!(
            read_no_follow(&link),
            Err(WriteError::Symlink { .. })
        ));
        assert!(matches!(
            replace(folder.path(), b"x", Mode::Keep),
            Err(WriteError::NotAFile { .. })
        ));
        assert!(matches!(
            replace_expecting(&target, Some(b"other"), b"x", Mode::Keep),
            Err(WriteError::Changed { .. })
        ));
        assert!(matches!(
            replace_expecting(&target, None, b"x", Mode::Keep),
            Err(WriteError::Changed { .. })
        ));
        assert_eq!(std::fs::read(&target).unwrap(), b"t");
        assert_eq!(
            real_path(&link, folder.path()).unwrap(),
            std::fs::canonicalize(&target).unwrap()
        );
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("out")).unwrap();
        assert!(matches!(
            real_path(&folder.path().join("out"), folder.path()),
            Err(WriteError::Outside { .. })
        ));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn sweeps_its_own_temporary_files_only() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            ".keys.txt.cofferdam-0123abcd.tmp",
            ".keys.txt.cofferdam-0123ABCD.tmp",
            "keys.txt",
            ".x.tmp",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let swept = sweep_temporary(folder.path()).unwrap();
        assert_eq!(
            swept,
            [folder.path().join(".keys.txt.cofferdam-0123abcd.tmp")]
        );
        assert!(
            sweep_temporary(&folder.path().join("absent"))
                .unwrap()
                .is_empty()
        );
        let long = "ü".repeat(127);
        let temporary = temporary_path(&folder.path().join(long)).unwrap();
        let name = temporary.file_name().unwrap();
        assert!(name.len() <= 255 && name.to_str().is_some() && is_temporary(name));
    }

    #[test]
    fn creates_folders_with_their_mode() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("etc/sops/age");
        assert_eq!(create_folder(&deep, 0o700).unwrap().len(), 3);
        assert_eq!(mode_of(&deep), 0o700);
        assert!(create_folder(&deep, 0o700).unwrap().is_empty());
        assert!(remove(&deep.join("none")).is_ok_and(|removed| !removed));
    }
}
