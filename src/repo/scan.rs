//! Which files there are, and which of them are SOPS documents, by content (edge).
//!
//! A document is what a store recognises, wherever it lies and whatever it is called; rules and topology play no part.
//! Symbolic links and submodules are not followed: what they lead to is scanned where it lies, or belongs to another
//! repository.

#![expect(clippy::disallowed_methods, reason = "edge: reads the work tree")]

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::repo::content::{self, Content};
use crate::repo::git::{Git, GitError};
use crate::repo::recognise::{identity_line, recognise};
use crate::repo_path::RepoPath;
use crate::sops::store::Store;

/// A SOPS document as it lies in the work tree.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where.
    pub path: RepoPath,
    /// Its bytes; encrypted.
    pub source: Vec<u8>,
    /// Its format.
    pub store: Store,
}

/// Why a path was not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// A symbolic link.
    Symlink,
    /// A symbolic link to a SOPS document outside of the repository.
    OutsideDocument(PathBuf),
    /// A submodule, or a repository inside this one.
    Submodule,
    /// A pipe, socket or device.
    Special,
    /// Tracked, but not in the work tree (deleted, or outside a sparse checkout).
    Absent,
    /// A SOPS document whose name is not UTF-8: sops and its rules could not name it.
    NameNotUtf8,
    /// Another file whose name is not UTF-8.
    OtherNameNotUtf8,
    /// It could not be read.
    Unreadable(String),
    /// By what it holds it may be a SOPS document, of a size that nothing here opens.
    TooLarge,
}

impl Skipped {
    /// Whether a secret may be hidden there, so that a plan must not go on.
    pub fn is_problem(&self) -> bool {
        matches!(
            self,
            Self::NameNotUtf8 | Self::Unreadable(_) | Self::OutsideDocument(_) | Self::TooLarge
        )
    }
}

/// All files of a work tree, sorted by path.
#[derive(Debug, Default)]
pub struct Scan {
    /// The SOPS documents.
    pub documents: Vec<Found>,
    /// All other files.
    pub others: Vec<RepoPath>,
    /// Those of them that hold an age identity in the clear, each with the line of the first.
    pub identities: Vec<(RepoPath, usize)>,
    /// What was not looked into, and why.
    pub skipped: Vec<(PathBuf, Skipped)>,
}

/// Why a scan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// `git` could not list the files.
    #[error("cannot list the files of the repository")]
    Git(#[from] GitError),
    /// A folder could not be listed.
    #[error("cannot list {path}")]
    Walk {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: ignore::Error,
    },
    /// A path that was named does not exist or cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Scan {
    /// Scans the work tree of `git`: files that are tracked or would be, ignored ones not.
    ///
    /// # Errors
    /// [`ScanError::Git`]. Files that cannot be read are no error: they are among the skipped.
    pub fn of_repository(git: &Git) -> Result<Self, ScanError> {
        Ok(Self::of_files(git.root(), git.files()?))
    }

    /// Scans a folder that is no git repository: all files that no `.gitignore` excludes, hidden ones too.
    ///
    /// # Errors
    /// [`ScanError::Walk`].
    pub fn of_folder(root: &Path) -> Result<Self, ScanError> {
        let files = walk(root)?
            .into_iter()
            .filter_map(|path| path.strip_prefix(root).ok().map(Path::to_owned))
            .collect();
        Ok(Self::of_files(root, files))
    }

    fn of_files(root: &Path, files: Vec<PathBuf>) -> Self {
        Self::of_looked(files.into_par_iter().map(|path| look(root, path)).collect())
    }

    pub(super) fn of_looked(looked: Vec<Looked>) -> Self {
        let mut scan = Self::default();
        for one in looked {
            match one {
                Looked::Document(found) => scan.documents.push(found),
                Looked::Other(path, identity) => {
                    scan.identities
                        .extend(identity.map(|line| (path.clone(), line)));
                    scan.others.push(path);
                }
                Looked::Skipped(path, why) => scan.skipped.push((path, why)),
            }
        }
        scan.documents.sort_by(|a, b| a.path.cmp(&b.path));
        scan.others.sort();
        scan.identities.sort();
        scan.skipped.sort_by(|a, b| a.0.cmp(&b.0));
        scan
    }

    /// The paths where a secret may be hidden that was not looked into.
    pub fn problems(&self) -> impl Iterator<Item = &(PathBuf, Skipped)> {
        self.skipped.iter().filter(|(_, why)| why.is_problem())
    }
}

/// A document found by [`documents_at`], named as the caller named it.
#[derive(Debug, Clone)]
pub struct FoundAt {
    /// The path, below one that was given.
    pub path: PathBuf,
    /// Its bytes; encrypted.
    pub source: Vec<u8>,
    /// Its format, by content; none for a file that was named itself but is no SOPS document.
    pub store: Option<Store>,
}

/// Finds the SOPS documents at and below `paths`, without `git`: files that are named are returned whatever they
/// hold, folders are searched for documents, hidden files too. In order of `paths`, then by name; each once.
///
/// # Errors
/// [`ScanError::Read`] for a path that is absent or a file that cannot be read, [`ScanError::Walk`].
pub fn documents_at(paths: &[PathBuf]) -> Result<Vec<FoundAt>, ScanError> {
    let mut files = Vec::new();
    for path in paths {
        let read = |source| ScanError::Read {
            path: path.clone(),
            source,
        };
        if std::fs::metadata(path).map_err(read)?.is_dir() {
            files.extend(walk(path)?.into_iter().map(|file| (file, false)));
        } else {
            files.push((path.clone(), true));
        }
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|(file, _)| seen.insert(file.clone()));
    let found: Result<Vec<Option<FoundAt>>, ScanError> = files
        .into_par_iter()
        .map(|(path, is_named)| {
            if !is_named && !std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file()) {
                return Ok(None);
            }
            let read = |source| ScanError::Read {
                path: path.clone(),
                source,
            };
            let source = if is_named {
                content::whole(&path).map_err(read)?
            } else {
                match content::of(&path).map_err(read)? {
                    Content::Whole(source) => source,
                    Content::Other(_) => return Ok(None),
                    // To pass over what may be a document would be to say that there is none.
                    Content::TooLarge => content::whole(&path).map_err(read)?,
                }
            };
            let store = recognise(&path.to_string_lossy(), &source);
            Ok((is_named || store.is_some()).then_some(FoundAt {
                path,
                source,
                store,
            }))
        })
        .collect();
    Ok(found?.into_iter().flatten().collect())
}

pub(super) enum Looked {
    Document(Found),
    /// Another file, with the line on which it holds an age identity.
    Other(RepoPath, Option<usize>),
    Skipped(PathBuf, Skipped),
}

fn look(root: &Path, path: PathBuf) -> Looked {
    let file = root.join(&path);
    let metadata = match std::fs::symlink_metadata(&file) {
        Ok(metadata) => metadata,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Looked::Skipped(path, Skipped::Absent);
        }
        Err(error) => return Looked::Skipped(path, Skipped::Unreadable(error.to_string())),
    };
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return Looked::Skipped(path, link(root, &file));
    }
    if kind.is_dir() {
        return Looked::Skipped(path, Skipped::Submodule);
    }
    if !kind.is_file() {
        return Looked::Skipped(path, Skipped::Special);
    }
    match content::of(&file) {
        Ok(Content::Whole(source)) => told(path, source),
        Ok(Content::Other(identity)) => other(path, identity),
        Ok(Content::TooLarge) => Looked::Skipped(path, Skipped::TooLarge),
        Err(error) => Looked::Skipped(path, Skipped::Unreadable(error.to_string())),
    }
}

/// A file that is no document.
pub(super) fn other(path: PathBuf, identity: Option<usize>) -> Looked {
    match RepoPath::from_path(&path) {
        Ok(path) => Looked::Other(path, identity),
        Err(_) => Looked::Skipped(path, Skipped::OtherNameNotUtf8),
    }
}

/// What a regular file is by its bytes.
pub(super) fn told(path: PathBuf, source: Vec<u8>) -> Looked {
    let store = recognise(&path.to_string_lossy(), &source);
    let identity = store.is_none().then(|| identity_line(&source)).flatten();
    match (RepoPath::from_path(&path), store) {
        (Ok(path), Some(store)) => Looked::Document(Found {
            path,
            source,
            store,
        }),
        (Err(_), Some(_)) => Looked::Skipped(path, Skipped::NameNotUtf8),
        (_, None) => other(path, identity),
    }
}

/// A link to a document outside of the tree hides a secret: it is scanned nowhere, and readers read it through the link.
fn link(root: &Path, file: &Path) -> Skipped {
    let (Ok(target), Ok(root)) = (file.canonicalize(), root.canonicalize()) else {
        return Skipped::Symlink;
    };
    let hides = !target.starts_with(root)
        && target.is_file()
        && match content::of(&target) {
            Ok(Content::Whole(source)) => recognise(&file.to_string_lossy(), &source).is_some(),
            Ok(Content::TooLarge) => true,
            Ok(Content::Other(_)) | Err(_) => false,
        };
    if hides {
        Skipped::OutsideDocument(target)
    } else {
        Skipped::Symlink
    }
}

fn walk(root: &Path) -> Result<Vec<PathBuf>, ScanError> {
    let walker = ignore::WalkBuilder::new(root)
        .hidden(false)
        .ignore(false)
        .parents(false)
        .require_git(false)
        .follow_links(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .build();
    let mut files = Vec::new();
    for entry in walker {
        let entry = entry.map_err(|source| ScanError::Walk {
            path: root.to_owned(),
            source,
        })?;
        if entry.file_type().is_some_and(|kind| !kind.is_dir()) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const DOCUMENT: &str = "A=ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\nsops_lastmodified=x\nsops_mac=ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\n";

    fn fill(root: &Path) {
        std::fs::create_dir_all(root.join("stacks/ü b")).unwrap();
        std::fs::write(root.join("stacks/ü b/.sops.env"), DOCUMENT).unwrap();
        std::fs::write(root.join("stacks/new\nline.env"), DOCUMENT).unwrap();
        std::fs::write(root.join("README.md"), "text").unwrap();
        std::fs::write(root.join("ignored.env"), DOCUMENT).unwrap();
        std::fs::write(root.join(".gitignore"), "ignored.env\n").unwrap();
        let odd = std::ffi::OsStr::from_bytes(b"odd\xff.env");
        std::fs::write(root.join(odd), DOCUMENT).unwrap();
        std::os::unix::fs::symlink("README.md", root.join("link.env")).unwrap();
    }

    fn check(scan: &Scan) {
        let documents: Vec<&str> = scan.documents.iter().map(|d| d.path.as_str()).collect();
        assert_eq!(documents, ["stacks/new\nline.env", "stacks/ü b/.sops.env"]);
        let others: Vec<&str> = scan.others.iter().map(RepoPath::as_str).collect();
        assert_eq!(others, [".gitignore", "README.md"]);
        assert_eq!(scan.skipped.len(), 2);
        let problems: Vec<_> = scan.problems().collect();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].1, Skipped::NameNotUtf8);
    }

    #[test]
    fn a_link_to_a_document_outside_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("repository");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(folder.path().join("outside.env"), DOCUMENT).unwrap();
        std::fs::write(folder.path().join("plain.env"), "A=1\n").unwrap();
        std::os::unix::fs::symlink("../outside.env", root.join("secret.sops.env")).unwrap();
        std::os::unix::fs::symlink("../plain.env", root.join("plain.env")).unwrap();
        std::os::unix::fs::symlink("../absent.env", root.join("absent.env")).unwrap();
        let scan = Scan::of_folder(&root).unwrap();
        let problems: Vec<_> = scan.problems().collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].0, Path::new("secret.sops.env"));
    }

    #[test]
    fn finds_documents_with_and_without_git() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path());
        check(&Scan::of_folder(folder.path()).unwrap());
        let done = std::process::Command::new("git")
            .args(["init", "-q"])
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(done.success());
        let git = Git::discover(folder.path()).unwrap();
        check(&Scan::of_repository(&git).unwrap());
    }

    #[test]
    fn named_files_are_returned_whatever_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path());
        let readme = folder.path().join("README.md");
        let found = documents_at(&[readme.clone(), folder.path().join("stacks")]).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!((&found[0].path, found[0].store), (&readme, None));
        assert!(documents_at(&[folder.path().join("absent")]).is_err());
    }
}
