//! Symbolic links that lead from where programs look for plaintext to where it is.

#![expect(clippy::disallowed_methods, reason = "edge: makes and removes links")]

use std::io;
use std::path::{Path, PathBuf};

/// What stands where a link belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// A link of ours, live or left behind.
    Ours,
    /// Another link.
    Link {
        /// Where it leads.
        target: PathBuf,
    },
    /// A file.
    File,
    /// A folder.
    Folder,
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

/// What stands at `link`; `below_root` is where ours would lead, whatever the root.
///
/// # Errors
/// [`LinkError::Io`].
pub fn look(link: &Path, below_root: &Path) -> Result<Standing, LinkError> {
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
        return Ok(Standing::Folder);
    }
    if !kind.is_symlink() {
        return Ok(Standing::File);
    }
    let target = std::fs::read_link(link).map_err(io)?;
    Ok(if target.is_absolute() && target.ends_with(below_root) {
        Standing::Ours
    } else {
        Standing::Link { target }
    })
}

/// Puts a link to `target`, a file of a slot, at `link`; one of ours that leads elsewhere is replaced.
pub(super) fn place(link: &Path, target: &Path) -> Result<(), LinkError> {
    let path = link.to_owned();
    // <root>/<slot>/files/<name>
    let below_root: PathBuf = match target.components().count().checked_sub(3) {
        Some(front) => target.components().skip(front).collect(),
        None => target.to_owned(),
    };
    match look(link, &below_root)? {
        Standing::Nothing => {}
        Standing::Ours => {
            if std::fs::read_link(link).is_ok_and(|found| found == target) {
                return Ok(());
            }
            std::fs::remove_file(link).map_err(|source| LinkError::Io {
                path: path.clone(),
                source,
            })?;
        }
        Standing::Link { target } => return Err(LinkError::Foreign { path, target }),
        Standing::File => return Err(LinkError::File { path }),
        Standing::Folder => return Err(LinkError::Folder { path }),
    }
    std::os::unix::fs::symlink(target, link).map_err(|source| LinkError::Io { path, source })
}

/// Removes a link if it leads into `files`.
pub(super) fn remove(link: &Path, files: &Path) {
    if std::fs::read_link(link).is_ok_and(|target| target.starts_with(files)) {
        // A folder that became read-only keeps a link that leads nowhere.
        let _ = std::fs::remove_file(link);
    }
}
