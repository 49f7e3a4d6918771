//! The `git` program, driven so that the user's hooks, signing and configuration work (edge).
//!
//! Reading calls take no locks, start no file-system monitor and never rename-detect. Paths are literal, never patterns.
//! Nothing secret is passed to `git`.

mod call;
mod history;
mod index;
mod read;
mod remote;
mod write;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::repo::lock::RunLock;

pub use history::FileVersion;
pub use read::{IndexEntry, StatusEntry, TreeEntry};
pub use remote::Swap;

/// A work tree and its repository.
#[derive(Debug, Clone)]
pub struct Git {
    root: PathBuf,
    git_dir: PathBuf,
    common_dir: PathBuf,
    held: Option<Arc<File>>,
}

/// The name of an object: 40 or 64 lowercase hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid(String);

impl Oid {
    /// Takes the full name of an object; none for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (matches!(text.len(), 40 | 64) && is_hex).then(|| Self(text.to_owned()))
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Oid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Oid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the name of a git object"))
    }
}

/// Why `git` did not do what it was asked. Output of `git` and of hooks is kept, with passwords in addresses removed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` on PATH.
    #[error("the program git was not found on PATH")]
    NotInstalled,
    /// The folder is in no repository.
    #[error("{folder} is not in a git repository")]
    NotARepository {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The repository has no work tree, or the folder is inside `.git`.
    #[error("{folder} is in a git repository, but not in a work tree")]
    NoWorkTree {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The repository belongs to another user; `git` refuses until `safe.directory` names it.
    #[error("git does not trust {folder}: it belongs to another user (safe.directory)")]
    DubiousOwnership {
        /// The folder.
        folder: PathBuf,
    },
    /// No author name or address is configured.
    #[error("git does not know who commits: user.name or user.email is not set")]
    NoUser,
    /// A commit would change nothing.
    #[error("nothing to commit")]
    NothingToCommit,
    /// Another `git` process is at work, or left its lock behind.
    #[error("another git process is at work here, or left its lock file behind: {message}")]
    Locked {
        /// What git said; it names the lock file.
        message: String,
    },
    /// A ref was not where it was expected.
    #[error("{reference} moved meanwhile")]
    Moved {
        /// The ref.
        reference: String,
    },
    /// The call failed.
    #[error("git {command} failed{}: {output}", code.map(|code| format!(" with exit code {code}")).unwrap_or_default())]
    Failed {
        /// The command, without options.
        command: &'static str,
        /// Its exit code; none if a signal ended it.
        code: Option<i32>,
        /// What it and its hooks printed.
        output: String,
    },
    /// The call could not be made, or its output not be read.
    #[error("cannot run git {command}")]
    Io {
        /// The command.
        command: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Output was not as documented.
    #[error("git {command} printed something unexpected: {what}")]
    Unexpected {
        /// The command.
        command: &'static str,
        /// What was missing or odd.
        what: String,
    },
}

impl Git {
    /// Finds the work tree that holds `folder`: main or linked, from any folder below its root.
    ///
    /// # Errors
    /// [`GitError::NotARepository`], [`GitError::NoWorkTree`], [`GitError::DubiousOwnership`], [`GitError::NotInstalled`].
    pub fn discover(folder: &Path) -> Result<Self, GitError> {
        let seeker = Self {
            root: folder.to_owned(),
            git_dir: PathBuf::new(),
            common_dir: PathBuf::new(),
            held: None,
        };
        let asked = ["--show-toplevel", "--absolute-git-dir", "--git-common-dir"];
        let [root, git_dir, common_dir] = seeker.paths_of(asked)?;
        if root.as_os_str().is_empty() {
            return Err(GitError::NoWorkTree {
                folder: folder.to_owned(),
            });
        }
        Ok(Self {
            root,
            git_dir,
            common_dir: folder.join(common_dir),
            held: None,
        })
    }

    /// The same repository, whose writing calls keep the run locked until they have ended, even if we are killed.
    ///
    /// # Errors
    /// Of the system.
    pub fn holding(&self, lock: &RunLock) -> io::Result<Self> {
        Ok(Self {
            held: Some(Arc::new(lock.share()?)),
            ..self.clone()
        })
    }

    /// The root of the work tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The repository's own folder (of a linked work tree: its private one).
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The folder that all work trees of the repository share.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }
}

#[cfg(test)]
mod tests;
