//! A path inside the repository: UTF-8, `/`-separated, normalized, relative to the repository's root.

use std::fmt;
use std::path::{Path, PathBuf};

/// A normalized path relative to the repository's root; never empty, never absolute, no `.` or `..` component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoPath(String);

/// Why a text is no path inside a repository.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RepoPathError {
    /// The path is empty.
    #[error("the path is empty")]
    Empty,
    /// The path is absolute or leaves the repository.
    #[error("{0:?} is not inside the repository")]
    Outside(String),
    /// The path's name is not UTF-8.
    #[error("{0:?} is not UTF-8")]
    NotUtf8(PathBuf),
}

impl RepoPath {
    /// Normalizes `text`: drops `.` and repeated `/`.
    ///
    /// # Errors
    /// [`RepoPathError::Empty`] if nothing is left, [`RepoPathError::Outside`] for an absolute path or one with `..`.
    pub fn new(text: &str) -> Result<Self, RepoPathError> {
        if text.starts_with('/') {
            return Err(RepoPathError::Outside(text.to_owned()));
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(RepoPathError::Outside(text.to_owned())),
                part => parts.push(part),
            }
        }
        if parts.is_empty() {
            return Err(RepoPathError::Empty);
        }
        Ok(Self(parts.join("/")))
    }

    /// Turns a relative file-system path into a repository path.
    ///
    /// # Errors
    /// As [`RepoPath::new`], and [`RepoPathError::NotUtf8`].
    pub fn from_path(path: &Path) -> Result<Self, RepoPathError> {
        let text = path
            .to_str()
            .ok_or_else(|| RepoPathError::NotUtf8(path.to_owned()))?;
        Self::new(text)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below `root` in the file system.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folder that holds it; none at the root.
    pub fn parent(&self) -> Option<RepoPath> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The path `other`, taken as relative to this path as a folder; `..` may climb up to the root.
    ///
    /// # Errors
    /// [`RepoPathError::Outside`] if it climbs further or is absolute, [`RepoPathError::Empty`] if it ends at the root.
    pub fn join(&self, other: &str) -> Result<RepoPath, RepoPathError> {
        resolve(Some(self), other)
    }
}

/// Resolves `text` against the folder `base` (none: the root), following `.` and `..` as text.
///
/// # Errors
/// As [`RepoPath::join`].
pub fn resolve(base: Option<&RepoPath>, text: &str) -> Result<RepoPath, RepoPathError> {
    if text.starts_with('/') {
        return Err(RepoPathError::Outside(text.to_owned()));
    }
    let mut parts: Vec<&str> = base.map_or_else(Vec::new, |b| b.0.split('/').collect());
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(RepoPathError::Outside(text.to_owned()));
                }
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(RepoPathError::Empty);
    }
    Ok(RepoPath(parts.join("/")))
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for RepoPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for RepoPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RepoPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_and_refuses_what_leaves_the_repository() {
        assert_eq!(RepoPath::new("./a//b/").unwrap().as_str(), "a/b");
        assert!(RepoPath::new("../a").is_err());
        assert!(RepoPath::new("/a").is_err());
        assert!(RepoPath::new("./").is_err());
    }

    #[test]
    fn resolves_like_a_compose_file_would() {
        let base = RepoPath::new("docker/stacks/vps/alloy").unwrap();
        assert_eq!(
            base.join("../../shared/alloy/.env").unwrap().as_str(),
            "docker/stacks/shared/alloy/.env"
        );
        assert!(base.join("../../../../../x").is_err());
    }
}
