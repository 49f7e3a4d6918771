//! The files that stay, one generation after the other, and the links that lead from one to the next in one step.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: writes and wipes files in memory"
)]

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::exec::Named;
use crate::exec::folder::{self, FolderError, failed, open_folder};
use crate::exec::resident::Change;

/// The link to the files of now.
pub(super) const DATA: &str = "..data";
/// How the folder of a generation is called, before its number.
pub(super) const GENERATION: &str = "..gen.";

/// Makes a generation: of new content new files, of the same the files themselves, for they may be mounted.
pub(super) fn fill(
    next: &Path,
    before: Option<&Path>,
    files: &[Named],
    changes: &[(String, Change)],
) -> Result<(), FolderError> {
    make_folder(next, 0o755)?;
    let folder = open_folder(next)?;
    for (name, change) in changes {
        let to = next.join(name);
        let file = files.iter().find(|file| &file.name == name);
        match (change, before, file) {
            (Change::Removed, ..) => {}
            (Change::Same, Some(before), _) => {
                std::fs::hard_link(before.join(name), &to).map_err(failed("link", &to))?;
            }
            (_, _, Some(file)) => {
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::CLOEXEC
                    | OFlags::NOFOLLOW;
                let created = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o400));
                created
                    .map_err(io::Error::from)
                    .and_then(|created| {
                        let mut created = File::from(created);
                        created.write_all(file.value.expose())?;
                        // Whatever the umask is.
                        created.set_permissions(Permissions::from_mode(0o444))
                    })
                    .map_err(failed("write", &to))?;
            }
            (_, _, None) => {}
        }
    }
    Ok(())
}

/// What becomes of the bytes of a file that goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// They are overwritten, also for whoever has the file open.
    Overwrite,
    /// They stay for whoever has the file open, and go with the last one.
    Remove,
}

/// Takes a generation away.
pub(super) fn remove(generation: &Path, end: End) {
    for entry in std::fs::read_dir(generation)
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        if end == End::Overwrite {
            // Read-only for all, which does not hold for root only.
            let _ = std::fs::set_permissions(&path, Permissions::from_mode(0o600));
            folder::wipe(&path);
        } else {
            let _ = std::fs::remove_file(&path);
        }
    }
    // What cannot be removed stays for the next run.
    let _ = std::fs::remove_dir(generation);
}

/// Removes what a killed run left in a slot.
pub(super) fn remove_strays(slot: &Path, current: Option<&Path>) {
    for entry in std::fs::read_dir(slot).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(NEW) && path.is_symlink() {
            let _ = std::fs::remove_file(&path);
        } else if number(name).is_some() && current != Some(path.as_path()) {
            remove(&path, End::Remove);
        }
    }
}

/// How a link is called before it takes another's place.
const NEW: &str = "..new";

/// Makes `slot/name` a link to `target`, in one step if another link stands there. A folder that dockerd made when it missed
/// the file goes.
pub(super) fn lead(slot: &Path, name: &str, target: &Path) -> Result<(), FolderError> {
    let link = slot.join(name);
    if std::fs::read_link(&link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    if !link.is_symlink() && link.is_dir() {
        std::fs::remove_dir(&link).map_err(failed("remove the folder", &link))?;
    }
    let new = slot.join(format!("{name}{NEW}"));
    let _ = std::fs::remove_file(&new);
    symlink(target, &new)
        .and_then(|()| std::fs::rename(&new, &link))
        .map_err(failed("put a link at", &link))
}

/// The number of a generation, by its folder's name.
pub(super) fn number(generation: &str) -> Option<u64> {
    generation.strip_prefix(GENERATION)?.parse().ok()
}

/// Makes a folder of this mode, or gives it to one that is there.
pub(super) fn make_folder(path: &Path, mode: u32) -> Result<(), FolderError> {
    let made = std::fs::DirBuilder::new().mode(mode).create(path);
    match made {
        // Whatever the umask is, and whatever dockerd made.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(failed("make the folder", path)(error)),
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(failed("set the mode of", path))
}
