//! Who else can read a key file: its mode, its folder's, and what kind of file it is.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: where identities are found"
)]

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One thing about a key file that lets others at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermissionProblem {
    /// Others than the owner can read or write the file.
    LooseFile {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others than the owner can list or change the folder.
    LooseFolder {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path is a symbolic link: what it points to can change.
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// Neither a file nor a link.
    NotAFile {
        /// The path.
        path: PathBuf,
    },
}

impl fmt::Display for PermissionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LooseFile { path, mode } => {
                write!(
                    f,
                    "{} can be read by others (mode {mode:04o})",
                    path.display()
                )
            }
            Self::LooseFolder { path, mode } => write!(
                f,
                "the folder {} is open to others (mode {mode:04o})",
                path.display()
            ),
            Self::Symlink { path } => write!(f, "{} is a symbolic link", path.display()),
            Self::NotAFile { path } => write!(f, "{} is not a regular file", path.display()),
        }
    }
}

/// Whether permission bits let anybody but the owner in.
pub fn is_loose(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// What is wrong with the key file at `path` and with its folder, the file first.
///
/// # Errors
/// The file or its folder cannot be looked at.
pub fn problems_of(path: &Path) -> io::Result<Vec<PermissionProblem>> {
    let mut problems = Vec::new();
    let data = fs::symlink_metadata(path)?;
    let mode = data.mode() & 0o7777;
    let path = path.to_owned();
    if data.is_symlink() {
        problems.push(PermissionProblem::Symlink { path: path.clone() });
    } else if !data.is_file() {
        problems.push(PermissionProblem::NotAFile { path: path.clone() });
    } else if is_loose(mode) {
        problems.push(PermissionProblem::LooseFile {
            path: path.clone(),
            mode,
        });
    }
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Ok(problems),
    };
    let mode = fs::metadata(folder)?.mode() & 0o7777;
    if is_loose(mode) {
        problems.push(PermissionProblem::LooseFolder {
            path: folder.to_owned(),
            mode,
        });
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_private_file_in_a_private_folder_is_fine_and_all_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        chmod(folder.path(), 0o700);
        let file = folder.path().join("keys.txt");
        fs::write(&file, "").unwrap();
        for (mode, loose) in [(0o400, false), (0o600, false), (0o640, true), (0o604, true)] {
            chmod(&file, mode);
            assert_eq!(!problems_of(&file).unwrap().is_empty(), loose, "{mode:o}");
        }
        chmod(&file, 0o400);
        chmod(folder.path(), 0o755);
        let problems = problems_of(&file).unwrap();
        assert!(
            problems[0]
                .to_string()
                .ends_with("is open to others (mode 0755)")
        );
        chmod(folder.path(), 0o700);
        let link = folder.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(
            problems_of(&link).unwrap(),
            [PermissionProblem::Symlink { path: link }]
        );
        assert!(problems_of(&folder.path().join("none")).is_err());
    }
}
