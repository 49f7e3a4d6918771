//! Where plaintext may lie: a folder that is memory, nobody else's, and is not swapped if that can be had.
//!
//! Never a disk, and never `/tmp`: where there is no such folder, the answer is an error that names what was tried.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: looks for memory-backed folders, and mounts one"
)]

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// The root of its own, which may be mounted.
const OWN_ROOT: &str = "/run/cofferdam";

/// Source: Linux, `include/uapi/linux/magic.h`.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// Source: as above.
const RAMFS_MAGIC: u64 = 0x8584_58f6;

/// A folder in memory that is ours.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    /// The folder itself, whatever its path leads to later.
    folder: File,
    /// Whether what lies in it can be written to a swap area that is on now.
    pub may_be_swapped: bool,
}

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A folder that was named is on a disk.
    #[error("{} is not in memory: its file system is neither tmpfs nor ramfs", path.display())]
    NotMemory {
        /// The folder.
        path: PathBuf,
    },
    /// A folder belongs to somebody else, or others can write there.
    #[error("{} is not private: {reason}", path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// No folder of the system serves.
    #[error("there is no memory-backed folder for plaintext: {}", tried.join("; "))]
    None {
        /// Each that was tried, and why not.
        tried: Vec<String>,
    },
    /// The system refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Place {
    /// The folder that the user names, taken as found; created if it is absent and its parent is in memory.
    ///
    /// # Errors
    /// All but [`PlaceError::None`].
    pub fn named(root: &Path) -> Result<Self, PlaceError> {
        if let (Err(error), Some(parent)) = (root.symlink_metadata(), root.parent())
            && error.kind() == io::ErrorKind::NotFound
        {
            let folder = open(parent)?;
            if !is_memory(&folder) {
                return Err(PlaceError::NotMemory {
                    path: root.to_owned(),
                });
            }
            create(root)?;
        }
        Self::found(root)
    }

    /// The best folder that this system has: `/run/cofferdam`, mounted if we may, else below `XDG_RUNTIME_DIR`, else below
    /// `/dev/shm`.
    ///
    /// # Errors
    /// [`PlaceError::None`].
    pub fn of_system() -> Result<Self, PlaceError> {
        let mut tried = Vec::new();
        for candidate in [Self::own, Self::of_user, Self::shared_memory] {
            match candidate() {
                Ok(place) => return Ok(place),
                Err(error) => tried.push(with_cause(&error)),
            }
        }
        Err(PlaceError::None { tried })
    }

    /// Every root that earlier runs may have used, where it is there and ours.
    pub fn all_of_system() -> Vec<Self> {
        let paths = Self::paths_of_system().into_iter();
        paths.filter_map(|path| Self::there(&path)).collect()
    }

    /// Where roots are looked for.
    pub(super) fn paths_of_system() -> Vec<PathBuf> {
        let paths = [
            Some(PathBuf::from(OWN_ROOT)),
            runtime_folder(),
            Some(shared_folder()),
        ];
        paths.into_iter().flatten().collect()
    }

    /// A root, if it is there and ours.
    pub fn there(root: &Path) -> Option<Self> {
        root.is_dir().then(|| Self::found(root).ok()).flatten()
    }

    /// Sees to it that nobody else enters: what lies in it may be for all to read. A folder that holds nothing yet is closed
    /// to others.
    ///
    /// # Errors
    /// [`PlaceError::NotPrivate`]; the system's.
    pub fn close(&self) -> Result<(), PlaceError> {
        let io = |source| PlaceError::Io {
            path: self.root.clone(),
            source,
        };
        if self.folder.metadata().map_err(io)?.mode() & 0o077 == 0 {
            return Ok(());
        }
        // dockerd made it, where a container started before the files were there.
        remove_empty_folders(&self.root);
        let is_empty = std::fs::read_dir(&self.root).map_err(io)?.next().is_none();
        if !is_empty {
            return Err(PlaceError::NotPrivate {
                path: self.root.clone(),
                reason: "others can enter it, and files that stay are for all to read; chmod 700",
            });
        }
        let closed = std::fs::Permissions::from_mode(0o700);
        self.folder.set_permissions(closed).map_err(io)
    }

    /// The folder's path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &File {
        &self.folder
    }

    /// A folder that is there, as it is.
    ///
    /// # Errors
    /// All but [`PlaceError::None`].
    pub fn found(root: &Path) -> Result<Self, PlaceError> {
        let folder = open(root)?;
        if !is_memory(&folder) {
            return Err(PlaceError::NotMemory {
                path: root.to_owned(),
            });
        }
        is_private(root, &folder)?;
        let may_be_swapped = is_tmpfs(&folder) && swap_is_on() && !has_noswap(&folder);
        Ok(Self {
            root: root.to_owned(),
            folder,
            may_be_swapped,
        })
    }

    fn own() -> Result<Self, PlaceError> {
        let root = Path::new(OWN_ROOT);
        let is_new = match create(root) {
            Ok(()) => true,
            Err(PlaceError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                false
            }
            Err(other) => return Err(other),
        };
        match Self::found(root) {
            Ok(place) if !place.may_be_swapped => return Ok(place),
            Ok(_) | Err(PlaceError::NotMemory { .. }) => {}
            Err(other) => return Err(other),
        }
        let mounted = mount_once(root);
        let place = Self::found(root);
        if is_new && place.is_err() {
            // What we made on a disk is of no use. Not empty: not ours alone any more.
            let _ = std::fs::remove_dir(root);
        }
        match (place, mounted) {
            (Err(PlaceError::NotMemory { path }), Err(source)) => {
                Err(PlaceError::Io { path, source })
            }
            (place, _) => place,
        }
    }

    fn of_user() -> Result<Self, PlaceError> {
        let Some(root) = runtime_folder() else {
            return Err(PlaceError::Io {
                path: PathBuf::from("$XDG_RUNTIME_DIR"),
                source: io::Error::other("it is not set"),
            });
        };
        Self::below_memory(&root)
    }

    fn shared_memory() -> Result<Self, PlaceError> {
        Self::below_memory(&shared_folder())
    }

    /// `root`, created if its parent is in memory.
    fn below_memory(root: &Path) -> Result<Self, PlaceError> {
        match Self::named(root) {
            // Somebody was faster.
            Err(PlaceError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Self::found(root)
            }
            other => other,
        }
    }
}

/// Whether an open file or folder is on a tmpfs or ramfs.
pub(super) fn is_memory(file: &File) -> bool {
    matches!(magic(file), Some(TMPFS_MAGIC | RAMFS_MAGIC))
}

fn is_tmpfs(file: &File) -> bool {
    magic(file) == Some(TMPFS_MAGIC)
}

/// Asked of what is open, not of a path.
fn magic(file: &File) -> Option<u64> {
    let found = rustix::fs::fstatfs(file).ok()?;
    // Of another width or sign on other machines.
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "the type of f_type differs between machines; the magic has 32 bits"
    )]
    Some(u64::from(found.f_type as u32))
}

fn runtime_folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    folder.is_absolute().then(|| folder.join("cofferdam"))
}

fn shared_folder() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    PathBuf::from(format!("/dev/shm/cofferdam-{user}"))
}

fn create(path: &Path) -> Result<(), PlaceError> {
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|source| PlaceError::Io {
            path: path.to_owned(),
            source,
        })
}

/// Opens a folder, not through a link.
fn open(path: &Path) -> Result<File, PlaceError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.map(File::from).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => PlaceError::NotPrivate {
            path: path.to_owned(),
            reason: "it is no folder, or a link to one",
        },
        other => PlaceError::Io {
            path: path.to_owned(),
            source: other.into(),
        },
    })
}

fn is_private(path: &Path, folder: &File) -> Result<(), PlaceError> {
    let refused = |reason| PlaceError::NotPrivate {
        path: path.to_owned(),
        reason,
    };
    let io = |source| PlaceError::Io {
        path: path.to_owned(),
        source,
    };
    let found = folder.metadata().map_err(io)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user"));
    }
    if path == Path::new(OWN_ROOT) && found.mode() & 0o077 != 0 {
        // A container's tmpfs comes open to all. This folder is for us alone, so it may be closed.
        let closed = std::fs::Permissions::from_mode(0o700);
        return folder.set_permissions(closed).map_err(io);
    }
    if found.mode() & 0o022 != 0 {
        return Err(refused(
            "others can write there; name a folder in it that is yours alone",
        ));
    }
    Ok(())
}

/// Mounts a tmpfs at `root`, unless somebody just did or runs lie there: they would be hidden.
fn mount_once(root: &Path) -> io::Result<()> {
    let below = open(root).map_err(|error| io::Error::other(error.to_string()))?;
    rustix::fs::flock(&below, FlockOperation::LockExclusive)?;
    let is_mounted = || -> io::Result<bool> {
        let now = std::fs::metadata(root)?;
        let then = below.metadata()?;
        Ok((now.dev(), now.ino()) != (then.dev(), then.ino()))
    };
    if is_mounted()? {
        return Ok(());
    }
    // Where dockerd missed a file to mount it made a folder.
    remove_empty_folders(root);
    if std::fs::read_dir(root)?.next().is_some() {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mount = |data| rustix::mount::mount("cofferdam", root, "tmpfs", flags, Some(data));
    match mount(c"size=64m,mode=0700,noswap") {
        // Kernels before 6.4, and user namespaces.
        Err(Errno::INVAL) if !is_memory(&below) => Ok(mount(c"size=64m,mode=0700")?),
        other => Ok(other?),
    }
}

/// Removes the folders that hold nothing but such folders.
fn remove_empty_folders(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty_folders(&entry.path());
            // Refused where something is in it.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// Whether a swap area is on that is not itself memory.
fn swap_is_on() -> bool {
    let areas = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let mut names = areas
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    names.any(|name| !name.starts_with("/dev/zram"))
}

/// Whether the file system of `file` is mounted with `noswap`.
fn has_noswap(file: &File) -> bool {
    let Ok(found) = file.metadata() else {
        return false;
    };
    let (major, minor) = (
        rustix::fs::major(found.dev()),
        rustix::fs::minor(found.dev()),
    );
    let device = format!("{major}:{minor}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| {
        let is_it = line.split(' ').nth(2) == Some(device.as_str());
        let options = line.rsplit(' ').next().unwrap_or_default();
        is_it && options.split(',').any(|option| option == "noswap")
    })
}

fn with_cause(error: &PlaceError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
