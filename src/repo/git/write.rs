//! What `git` is asked to change: commits, HEAD, index entries, remotes.

use std::ffi::OsString;

use super::read::{IndexEntry, is_present, length_of, pathspec};
use super::{Git, GitError, Oid};
use crate::repo::durable;
use crate::repo_path::RepoPath;

/// Longer lists of paths go by standard input, so that the system's limit on arguments is never met.
const ARGUMENT_LIMIT: usize = 512 * 1024;

impl Git {
    /// Commits the work tree's content of exactly these paths, whatever else is staged, and returns the commit.
    ///
    /// Ignored files among them are added; paths that are gone are removed; hooks and signing are active. What was
    /// committed survives a power loss. What a hook changed is in the commit: compare [`Git::blobs`] afterwards.
    ///
    /// # Errors
    /// [`GitError::NothingToCommit`], [`GitError::NoUser`], [`GitError::Failed`] with the output of a hook that refused.
    pub fn commit(&self, paths: &[RepoPath], message: &str) -> Result<Oid, GitError> {
        let before = self.head()?;
        let present: Vec<OsString> = paths
            .iter()
            .filter(|path| is_present(self.root(), path))
            .map(pathspec)
            .collect();
        if !present.is_empty() {
            self.change_paths("add", &["--force"], &present)?;
            // An earlier attempt may have been through a filter that is gone now: by size and time the index finds the
            // file unchanged and would keep what the filter made of it.
            self.change_paths("add", &["--renormalize"], &present)?;
        }
        let specs = self.known(paths)?;
        if specs.is_empty() {
            return Err(GitError::NothingToCommit);
        }
        let args = ["--quiet", "--only", "--no-edit", "--message", message];
        match self.change_paths("commit", &args, &specs) {
            Ok(()) => {}
            Err(GitError::Failed { output, .. })
                if output.contains("nothing to commit")
                    || output.contains("nothing added to commit")
                    || output.contains("no changes added to commit") =>
            {
                return Err(GitError::NothingToCommit);
            }
            Err(error) => return Err(error),
        }
        self.settle("commit")?;
        let after = self.head()?;
        match after {
            Some(after) if before.as_ref() != Some(&after) => Ok(after),
            // `git commit --quiet` with nothing to do says nothing and exits with 1 or, by some hooks, 0.
            _ => Err(GitError::NothingToCommit),
        }
    }

    /// Moves the current branch (or a detached HEAD) from one commit to another, none meaning before the first; index
    /// and work tree stay. Nothing happens unless it stands at `from`.
    ///
    /// # Errors
    /// [`GitError::Moved`] if it stands elsewhere; see [`GitError`].
    pub fn move_head(&self, from: &Oid, to: Option<&Oid>, reason: &str) -> Result<(), GitError> {
        let moved = match to {
            Some(to) => self.change(
                "update-ref",
                &["-m", reason, "HEAD", to.as_str(), from.as_str()],
                None,
            ),
            None => self.change(
                "update-ref",
                &["-m", reason, "-d", "HEAD", from.as_str()],
                None,
            ),
        };
        match moved {
            Ok(_) => self.settle("update-ref"),
            Err(GitError::Failed { output, .. }) if output.contains("but expected") => {
                Err(GitError::Moved {
                    reference: "HEAD".to_owned(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Puts these index entries back as [`Git::index_entries`] gave them; none removes the path from the index.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn restore_index(
        &self,
        entries: &[(RepoPath, Option<IndexEntry>)],
    ) -> Result<(), GitError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut input = Vec::new();
        for (path, entry) in entries {
            let line = match entry {
                Some(entry) => format!("{} {} 0\t{path}\0", entry.mode, entry.oid),
                None => format!("0 {}\t{path}\0", "0".repeat(40)),
            };
            input.extend_from_slice(line.as_bytes());
        }
        self.change("update-index", &["-z", "--index-info"], Some(&input))?;
        // Exit code 1 only says that some file differs from the index.
        match self.change("update-index", &["-q", "--refresh"], None) {
            Ok(_) | Err(GitError::Failed { code: Some(1), .. }) => {}
            Err(error) => return Err(error),
        }
        self.settle("update-index")
    }

    /// Begins a branch at HEAD and checks it out; files stay as they are.
    ///
    /// # Errors
    /// [`GitError::Failed`] if there is one of that name; see [`GitError`].
    pub fn begin_branch(&self, name: &str) -> Result<(), GitError> {
        self.change("switch", &["--quiet", "--no-track", "--create", name], None)?;
        self.settle("switch")
    }

    /// Checks out a branch; nothing happens if files that would change hold something uncommitted.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what git said.
    pub fn switch(&self, name: &str) -> Result<(), GitError> {
        self.change("switch", &["--quiet", "--no-guess", name], None)?;
        self.settle("switch")
    }

    /// Takes a branch away that stands at `at` and is not checked out.
    ///
    /// # Errors
    /// [`GitError::Failed`] if it stands elsewhere; see [`GitError`].
    pub fn delete_branch(&self, name: &str, at: &Oid) -> Result<(), GitError> {
        let name = format!("refs/heads/{name}");
        self.change("update-ref", &["-d", &name, at.as_str()], None)?;
        self.settle("update-ref")
    }

    /// Fetches from a remote into its remote-tracking refs.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn fetch(&self, remote: &str) -> Result<(), GitError> {
        self.change("fetch", &["--quiet", "--end-of-options", remote], None)?;
        self.settle("fetch")
    }

    /// Pushes one refspec to a remote, with the user's hooks; never by force.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what the remote said; see [`GitError`].
    pub fn push(&self, remote: &str, refspec: &str) -> Result<(), GitError> {
        let args = ["--quiet", "--end-of-options", remote, refspec];
        self.change("push", &args, None)?;
        self.settle("push")
    }

    /// Those of `paths` that the index or HEAD knows, as arguments: `git` refuses a list with an unknown one.
    fn known(&self, paths: &[RepoPath]) -> Result<Vec<OsString>, GitError> {
        let tracked = self.tracked()?;
        let committed = match self.head()? {
            Some(head) => self.tree(head.as_str())?,
            None => std::collections::BTreeMap::new(),
        };
        Ok(paths
            .iter()
            .filter(|path| {
                tracked.contains(std::path::Path::new(path.as_str()))
                    || committed.contains_key(path.as_str())
            })
            .map(pathspec)
            .collect())
    }

    fn change_paths(
        &self,
        name: &'static str,
        options: &[&str],
        specs: &[OsString],
    ) -> Result<(), GitError> {
        let mut args: Vec<OsString> = options.iter().map(OsString::from).collect();
        if length_of(specs) < ARGUMENT_LIMIT {
            args.push("--".into());
            args.extend(specs.iter().cloned());
            self.change(name, &args, None)?;
        } else {
            args.push("--pathspec-from-file=-".into());
            args.push("--pathspec-file-nul".into());
            let input = specs.join(std::ffi::OsStr::new("\0"));
            self.change(name, &args, Some(input.as_encoded_bytes()))?;
        }
        Ok(())
    }

    /// Makes durable what `git` wrote.
    pub(super) fn settle(&self, command: &'static str) -> Result<(), GitError> {
        durable::sync_after_git(command, self.common_dir())
            .map_err(|source| GitError::Io { command, source })
    }
}
