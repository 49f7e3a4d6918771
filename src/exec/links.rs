//! Symbolic links that lead from where programs look for plaintext to where it is.

#![expect(clippy::disallowed_methods, reason = "edge: makes and removes links")]

use std::io;
use std::path::{Path, PathBuf};

use crate::exec::folder;
use crate::exec::place::Place;
use crate::exec::resident::{self, Slot};

/// What stands where a link belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// A link of ours, of a run that lives or was killed.
    Ours,
    /// A link of ours to a file that stays.
    Resident(Slot),
    /// Another link.
    Link {
        /// Where it leads.
        target: PathBuf,
    },
    /// A file.
    File,
    /// A folder.
    Folder {
        /// Nothing is in it.
        is_empty: bool,
    },
}

/// Why a link does not stand.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A file is there.
    #[error("a file stands at {}, where a link belongs", path.display())]
    File {
        /// Where.
        path: PathBuf,
    },
    /// A link that is none of ours is there.
    #[error("a link to {} stands at {}, where one of ours belongs", target.display(), path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A folder is there.
    #[error("a folder stands at {}, where a link belongs", path.display())]
    Folder {
        /// Where.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot put a link at {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What stands at `link`, in the folder of the documents (its own path, without links), `root` being where files are to be
/// now.
///
/// # Errors
/// [`LinkError::Io`].
pub fn look(link: &Path, root: Option<&Path>) -> Result<Standing, LinkError> {
    let io = |source| LinkError::Io {
        path: link.to_owned(),
        source,
    };
    let kind = match std::fs::symlink_metadata(link) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Nothing),
        Err(error) => return Err(io(error)),
    };
    if kind.is_dir() {
        let is_empty = std::fs::read_dir(link).is_ok_and(|mut entries| entries.next().is_none());
        return Ok(Standing::Folder { is_empty });
    }
    if !kind.is_symlink() {
        return Ok(Standing::File);
    }
    let target = std::fs::read_link(link).map_err(io)?;
    let home = link.parent().unwrap_or(Path::new("/"));
    match Slot::behind(link) {
        Some(slot) if slot.home == home => return Ok(Standing::Resident(slot)),
        _ => {}
    }
    Ok(if is_ours(link, &target, root) {
        Standing::Ours
    } else {
        Standing::Link { target }
    })
}

/// Whether a link leads to where we would keep its file, or did, whatever the root was.
fn is_ours(link: &Path, target: &Path, root: Option<&Path>) -> bool {
    let (Some(home), Some(name)) = (link.parent(), link.file_name()) else {
        return false;
    };
    let resident = Path::new(&resident::slot_name(home)).join(name);
    let leads_nowhere = || std::fs::metadata(target).is_err();
    let roots = || {
        Place::paths_of_system()
            .into_iter()
            .chain(root.map(Path::to_owned))
    };
    target.is_absolute()
        && (target.ends_with(folder::target_below_root(home, name))
            || target.ends_with(resident)
            // After a restart of the machine, a slot whose name the user gave.
            || (leads_nowhere() && roots().any(|root| target.starts_with(root))))
}

/// Puts a link to `target`, below `root`, at `link`, in one step over one of ours that leads elsewhere. One that leads to files that stay is
/// left as it is, unless `target` is among them.
pub(super) fn lead(link: &Path, target: &Path, root: &Path) -> Result<(), LinkError> {
    let path = link.to_owned();
    if std::fs::read_link(link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    match look(link, Some(root))? {
        Standing::Nothing => {
            return std::os::unix::fs::symlink(target, link)
                .map_err(|source| LinkError::Io { path, source });
        }
        Standing::Ours => {}
        Standing::Resident(slot) if target.starts_with(&slot.root) => {}
        Standing::Resident(_) => return Ok(()),
        Standing::Link { target } => return Err(LinkError::Foreign { path, target }),
        Standing::File => return Err(LinkError::File { path }),
        Standing::Folder { .. } => return Err(LinkError::Folder { path }),
    }
    let mut new = link.as_os_str().to_owned();
    new.push(".cofferdam-new");
    // Of a run that was killed here.
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(target, &new)
        .and_then(|()| std::fs::rename(&new, link))
        .map_err(|source| LinkError::Io { path, source })
}

/// Removes a link if it leads into `folder`.
pub(super) fn remove(link: &Path, folder: &Path) {
    if std::fs::read_link(link).is_ok_and(|target| target.starts_with(folder)) {
        // A folder that became read-only keeps a link that leads nowhere.
        let _ = std::fs::remove_file(link);
    }
}
