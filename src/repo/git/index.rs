//! What is about to be committed: the entries of the index, and which of them differ from HEAD.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: asks which index a commit that is being made uses"
)]

use std::path::PathBuf;

use super::call::Purpose;
use super::read::{path, records, split_once};
use super::{Git, GitError, IndexEntry, Oid};

impl Git {
    /// All entries of the index, by path relative to the root; those in conflict are left out.
    ///
    /// Inside a hook it is the index that git commits from: `git commit -a` and `git commit FILE` make one of their own.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn staged_files(&self) -> Result<Vec<(PathBuf, IndexEntry)>, GitError> {
        let output = self.read_index("ls-files", &["-s", "-z", "--full-name"])?;
        let mut entries = Vec::new();
        for record in records(&output) {
            let odd = || GitError::Unexpected {
                command: "ls-files",
                what: String::from_utf8_lossy(record).into_owned(),
            };
            let (front, name) = split_once(record, b'\t').ok_or_else(odd)?;
            let front = std::str::from_utf8(front).map_err(|_| odd())?;
            let mut parts = front.split(' ');
            let (Some(mode), Some(oid), Some(stage)) = (
                parts.next(),
                parts.next().and_then(Oid::parse),
                parts.next(),
            ) else {
                return Err(odd());
            };
            if stage == "0" {
                let mode = mode.to_owned();
                entries.push((path(name), IndexEntry { mode, oid }));
            }
        }
        Ok(entries)
    }

    /// The paths whose entry in the index differs from HEAD, those that were taken out left aside.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn staged_changes(&self) -> Result<Vec<PathBuf>, GitError> {
        let args = [
            "--cached",
            "--name-only",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--diff-filter=ACMT",
            "--ignore-submodules",
        ];
        let output = self.read_index("diff", &args)?;
        Ok(records(&output).map(path).collect())
    }

    /// A reading call on the index of the commit that is being made, if one is.
    fn read_index(&self, name: &'static str, args: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut command = self.command(Purpose::Read);
        command.arg(name).args(args);
        if let Some(index) = self.index_of_commit() {
            command.env("GIT_INDEX_FILE", index);
        }
        let output = self.run(name, &mut command, None)?;
        self.succeeded(name, output)
    }

    /// The index that `GIT_INDEX_FILE` names, if it is one of this repository's.
    fn index_of_commit(&self) -> Option<PathBuf> {
        let named = PathBuf::from(std::env::var_os("GIT_INDEX_FILE")?);
        // Git gives it relative to where it starts the hook: the root.
        let file = std::env::current_dir().ok()?.join(named);
        let folder = std::fs::canonicalize(file.parent()?).ok()?;
        let own = std::fs::canonicalize(self.git_dir()).ok()?;
        (folder == own).then(|| Some(folder.join(file.file_name()?)))?
    }
}
