//! Files in memory for as long as somebody needs them: one folder for each folder of documents, shared by the runs in it.
//!
//! Below the root: `gate`, locked while anything is changed; and for each folder of documents a slot with `lock` (held by
//! every live run, released by the kernel however one ends), `links` (the links that lead here) and `files`. A slot
//! whose lock nobody holds is dead, and swept by the next run.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: writes and wipes files in memory"
)]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::exec::Named;
use crate::exec::links::{self, LinkError};
use crate::exec::place::{self, Place};

/// How long another run may take to enter or leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// A run's hold on its files. Dropped, it leaves: the last one out wipes and removes files and links.
#[derive(Debug)]
pub struct Folder {
    slot: PathBuf,
    lock: Option<File>,
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something else stands where a link belongs.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Another run holds the gate for too long.
    #[error("another run is entering or leaving {} and does not go on", path.display())]
    Busy {
        /// The gate.
        path: PathBuf,
    },
    /// The memory is full, or its limit is reached.
    #[error("the memory behind {} is full: the plaintext does not fit", path.display())]
    Full {
        /// What did not fit.
        path: PathBuf,
    },
    /// What should be memory is none.
    #[error("{} is not in memory any more", path.display())]
    NotMemory {
        /// The folder.
        path: PathBuf,
    },
    /// The name is one of those by which a folder that stays is kept in order.
    #[error("no file that stays can be called {name}: names that begin with two dots are taken")]
    Name {
        /// The file's.
        name: String,
    },
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Folder {
    /// Sweeps what dead runs left, writes the files, mode 0600, and puts a link to each into `home`, the folder of the
    /// documents, if they are wanted. Live runs in the same folder go on, with the new content.
    ///
    /// # Errors
    /// See [`FolderError`]; nothing is left then.
    pub fn enter(
        place: &Place,
        home: &Path,
        files: &[Named],
        with_links: bool,
    ) -> Result<Self, FolderError> {
        let root = place.root();
        let gate = Gate::pass(root)?;
        sweep_behind(&gate);
        let slot = root.join(slot_name(home));
        make_folder(&slot)?;
        let lock = lock_file(&slot)?;
        // Shared with live runs; a dead one's slot was just swept, and nobody takes it alone while the gate is ours.
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared)
            .map_err(|errno| failed("lock", &slot)(errno.into()))?;
        let folder = Self {
            slot,
            lock: Some(lock),
        };
        let filled = folder.fill(place, files).and_then(|()| {
            if with_links {
                folder.link(home, files)?;
            }
            Ok(())
        });
        // Leaving passes the gate again.
        drop(gate);
        filled.map(|()| folder)
    }

    /// The folder with the files.
    pub fn files(&self) -> PathBuf {
        self.slot.join("files")
    }

    /// The slot, for a guard that leaves in our place.
    pub fn slot(&self) -> &Path {
        &self.slot
    }

    fn fill(&self, place: &Place, files: &[Named]) -> Result<(), FolderError> {
        let into = self.files();
        make_folder(&into)?;
        let staging = self.slot.join("staging");
        let slot = open_folder(&self.slot)?;
        if !place::is_memory(&slot) || !place::is_memory(place.folder()) {
            return Err(FolderError::NotMemory {
                path: self.slot.clone(),
            });
        }
        for file in files {
            let to = into.join(&file.name);
            let written =
                write_new(&slot, file.value.expose()).and_then(|()| std::fs::rename(&staging, &to));
            if let Err(error) = written {
                wipe(&staging);
                return Err(failed("write", &to)(error));
            }
        }
        Ok(())
    }

    fn link(&self, home: &Path, files: &[Named]) -> Result<(), FolderError> {
        let list = self.slot.join("links");
        let mut links = read_links(&list);
        for file in files {
            let link = home.join(&file.name);
            if !links.contains(&link) {
                links.push(link);
            }
        }
        // Known before they stand, so that no kill leaves one that nobody knows of.
        std::fs::write(&list, link_list(&links)).map_err(failed("write", &list))?;
        for file in files {
            let root = self.slot.parent().unwrap_or(&self.slot);
            let target = self.files().join(&file.name);
            links::lead(&home.join(&file.name), &target, root)?;
        }
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(lock) = self.lock.take() {
            // By name: a child that is just being started holds a copy for a moment.
            let _ = rustix::fs::flock(&lock, FlockOperation::Unlock);
            drop(lock);
            leave_behind(&self.slot);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Wipes and removes a slot if no live run holds it.
pub fn leave_behind(slot: &Path) {
    if let Some(root) = slot.parent()
        && let Ok(_gate) = Gate::pass(root)
    {
        clean_if_dead(slot);
    }
}

/// Wipes and removes the slots that dead runs left; how many.
///
/// # Errors
/// [`FolderError::Busy`]; the system's.
pub fn sweep(place: &Place) -> Result<usize, FolderError> {
    Ok(sweep_behind(&Gate::pass(place.root())?))
}

/// The name of a link's target as it would be for these documents, whatever the root: `<slot>/files/<name>`.
pub(super) fn target_below_root(home: &Path, name: &OsStr) -> PathBuf {
    Path::new(&slot_name(home)).join("files").join(name)
}

/// The lock under which a root is changed.
#[derive(Debug)]
pub(super) struct Gate {
    root: PathBuf,
    _lock: File,
}

impl Gate {
    pub(super) fn pass(root: &Path) -> Result<Self, FolderError> {
        let path = root.join("gate");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| failed("open", &path)(errno.into()))?;
        let lock = File::from(lock);
        let began = Instant::now();
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(Errno::WOULDBLOCK) => return Err(FolderError::Busy { path }),
                Err(errno) => return Err(failed("lock", &path)(errno.into())),
            }
        }
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
        })
    }
}

fn sweep_behind(gate: &Gate) -> usize {
    let entries = std::fs::read_dir(&gate.root)
        .into_iter()
        .flatten()
        .flatten();
    let slots = entries.map(|entry| entry.path());
    slots
        .filter(|path| is_slot(path) && clean_if_dead(path))
        .count()
}

/// A folder of the form that [`slot_name`] gives: others may keep theirs beside.
fn is_slot(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let digest = name.rsplit('.').next().unwrap_or_default();
    let is_digest = digest.len() == DIGEST && digest.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest && name.starts_with("exec.") && !path.is_symlink() && path.is_dir()
}

/// Cleans a slot that no live run holds; whether it did. The gate is ours.
fn clean_if_dead(slot: &Path) -> bool {
    if !slot.is_dir() {
        return false;
    }
    let Ok(lock) = lock_file(slot) else {
        return false;
    };
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return false;
    }
    let files = slot.join("files");
    for entry in std::fs::read_dir(&files).into_iter().flatten().flatten() {
        wipe(&entry.path());
    }
    wipe(&slot.join("staging"));
    // What cannot be removed stays for the next sweep, and holds nothing.
    let _ = std::fs::remove_dir(&files);
    let list = slot.join("links");
    for link in read_links(&list) {
        links::remove(&link, &files);
    }
    let _ = std::fs::remove_file(&list);
    let _ = std::fs::remove_file(slot.join("lock"));
    let _ = std::fs::remove_dir(slot);
    true
}

/// Overwrites a file in memory and removes it.
pub(super) fn wipe(path: &Path) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) {
        let _ = overwrite(&mut File::from(file));
    }
    let _ = std::fs::remove_file(path);
}

/// Writes zeros over all of a file.
///
/// # Errors
/// The system's.
pub fn overwrite(file: &mut File) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    let zeros = [0; 4096];
    while left > 0 {
        let length = usize::try_from(left)
            .unwrap_or(zeros.len())
            .min(zeros.len());
        file.write_all(&zeros[..length])?;
        left -= length as u64;
    }
    Ok(())
}

fn write_new(slot: &File, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let create = || rustix::fs::openat(slot, "staging", flags, Mode::from_raw_mode(0o600));
    let file = match create() {
        // Of a run that was killed while others lived on.
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(slot, "staging", rustix::fs::AtFlags::empty())?;
            create()?
        }
        other => other?,
    };
    File::from(file).write_all(content)
}

fn make_folder(path: &Path) -> Result<(), FolderError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("make the folder", path)(errno.into())),
    }
}

pub(super) fn open_folder(path: &Path) -> Result<File, FolderError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened
        .map(File::from)
        .map_err(|errno| failed("open", path)(errno.into()))
}

fn lock_file(slot: &Path) -> Result<File, FolderError> {
    let path = slot.join("lock");
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
        .map(File::from)
        .map_err(|errno| failed("open", &path)(errno.into()))
}

/// What [`read_links`] reads.
pub(super) fn link_list<'l>(links: impl IntoIterator<Item = &'l PathBuf>) -> Vec<u8> {
    let ended = |link: &'l PathBuf| link.as_os_str().as_bytes().iter().copied().chain([0]);
    links.into_iter().flat_map(ended).collect()
}

pub(super) fn read_links(list: &Path) -> Vec<PathBuf> {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(list) {
        let _ = file.read_to_end(&mut text);
    }
    text.split(|b| *b == 0)
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(OsStr::from_bytes(path)))
        .collect()
}

const DIGEST: usize = 16;

/// The name of a run's slot for a folder of documents.
fn slot_name(home: &Path) -> String {
    format!("exec.{}", readable_name(home))
}

/// A name for a folder: readable, and its own.
pub(super) fn readable_name(home: &Path) -> String {
    let own = home.file_name().unwrap_or_default().to_string_lossy();
    let readable: String = own
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .take(40)
        .collect();
    let mut name = format!("{readable}.");
    for byte in Sha256::digest(home.as_os_str().as_bytes())
        .iter()
        .take(DIGEST / 2)
    {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    move |source| match Errno::from_io_error(&source) {
        Some(Errno::NOSPC | Errno::DQUOT) => FolderError::Full {
            path: path.to_owned(),
        },
        _ => FolderError::Io {
            what,
            path: path.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretBytes;

    fn file(name: &str, value: &str) -> Named {
        Named {
            name: name.to_owned(),
            origin: String::new(),
            value: SecretBytes::from_slice(value.as_bytes()),
        }
    }

    fn root() -> Option<tempfile::TempDir> {
        let root = tempfile::tempdir_in("/dev/shm").ok()?;
        Place::named(root.path()).is_ok().then_some(root)
    }

    fn enter(root: &Path, home: &Path, files: &[Named]) -> Result<Folder, FolderError> {
        Folder::enter(&Place::named(root).unwrap(), home, files, true)
    }

    #[test]
    fn files_and_links_stand_until_the_last_one_leaves() {
        let (Some(root), home) = (root(), tempfile::tempdir().unwrap()) else {
            return;
        };
        let link = home.path().join(".env");
        let one = enter(root.path(), home.path(), &[file(".env", "A=1\n")]).unwrap();
        assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=1\n");
        let two = enter(root.path(), home.path(), &[file(".env", "A=2\n")]).unwrap();
        assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=2\n");
        drop(one);
        assert_eq!(std::fs::read_to_string(&link).unwrap(), "A=2\n");
        drop(two);
        assert!(!link.is_symlink());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_dead_run_left_is_swept() {
        let (Some(root), home) = (root(), tempfile::tempdir().unwrap()) else {
            return;
        };
        let other = tempfile::tempdir().unwrap();
        let mut dead = enter(root.path(), home.path(), &[file(".env", "A=1\n")]).unwrap();
        // As the kernel does it when a process is killed.
        drop(dead.lock.take());
        std::fs::create_dir(root.path().join("exec.not-ours")).unwrap();
        drop(enter(root.path(), other.path(), &[file("b", "2")]).unwrap());
        assert!(!home.path().join(".env").is_symlink());
        assert!(!dead.slot().exists());
        assert!(root.path().join("exec.not-ours").is_dir());
        assert_eq!(sweep(&Place::named(root.path()).unwrap()).unwrap(), 0);
    }

    #[test]
    fn what_stands_in_the_way_stays_and_nothing_else_does() {
        let (Some(root), home) = (root(), tempfile::tempdir().unwrap()) else {
            return;
        };
        let foreign = home.path().join("b.env");
        std::fs::write(&foreign, "theirs").unwrap();
        let files = [file("a.env", "1"), file("b.env", "2")];
        let refused = enter(root.path(), home.path(), &files).unwrap_err();
        assert!(matches!(refused, FolderError::Link(LinkError::File { .. })));
        assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "theirs");
        assert!(!home.path().join("a.env").is_symlink());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
