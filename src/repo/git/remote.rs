//! What `git` is asked of a remote: refs there, objects behind them, and a ref swapped only if it stands where it was seen.

use super::{Git, GitError, Oid};

/// What came of [`Git::swap_ref`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The ref stands as asked.
    Done,
    /// It stood elsewhere; none: it is not there.
    Moved(Option<Oid>),
}

impl Git {
    /// Where a ref of a remote stands now; none if it is not there. Asks the remote.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what git said if the remote cannot be reached; see [`GitError`].
    pub fn remote_ref(&self, remote: &str, name: &str) -> Result<Option<Oid>, GitError> {
        let args = ["--quiet", "--refs", "--end-of-options", remote, name];
        let output = self.read("ls-remote", &args)?;
        let text = self.line_of("ls-remote", output)?;
        let found = text.lines().find_map(|line| {
            let (oid, at) = line.split_once('\t')?;
            (at == name).then(|| Oid::parse(oid)).flatten()
        });
        Ok(found)
    }

    /// The branches of a remote as it has them now: short name and commit.
    ///
    /// # Errors
    /// As [`Git::remote_ref`].
    pub fn remote_branches(&self, remote: &str) -> Result<Vec<(String, Oid)>, GitError> {
        let args = ["--quiet", "--heads", "--end-of-options", remote];
        let output = self.read("ls-remote", &args)?;
        let text = String::from_utf8_lossy(&output);
        let branch = |line: &str| {
            let (oid, name) = line.split_once('\t')?;
            Some((
                name.strip_prefix("refs/heads/")?.to_owned(),
                Oid::parse(oid)?,
            ))
        };
        Ok(text.lines().filter_map(branch).collect())
    }

    /// The branches of this repository: short name and commit.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn local_branches(&self) -> Result<Vec<(String, Oid)>, GitError> {
        let args = ["--format=%(objectname) %(refname:lstrip=2)", "refs/heads"];
        let output = self.read("for-each-ref", &args)?;
        let text = String::from_utf8_lossy(&output);
        let branch = |line: &str| {
            let (oid, name) = line.split_once(' ')?;
            Some((name.to_owned(), Oid::parse(oid)?))
        };
        Ok(text.lines().filter_map(branch).collect())
    }

    /// Fetches one ref of a remote into a ref of ours, wherever that stood.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn fetch_ref(&self, remote: &str, from: &str, to: &str) -> Result<(), GitError> {
        let refspec = format!("+{from}:{to}");
        let args = [
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--end-of-options",
            remote,
            refspec.as_str(),
        ];
        self.change("fetch", &args, None)?;
        self.settle("fetch")
    }

    /// Stores bytes as a blob.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn store_blob(&self, bytes: &[u8]) -> Result<Oid, GitError> {
        let args = ["-w", "--stdin", "--no-filters"];
        let output = self.change("hash-object", &args, Some(bytes))?;
        self.named("hash-object", output)
    }

    /// Stores a folder of these files and folders; names must hold no slash.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn store_tree(
        &self,
        files: &[(String, Oid)],
        folders: &[(String, Oid)],
    ) -> Result<Oid, GitError> {
        let mut input = String::new();
        for (name, oid) in files {
            input.push_str(&format!("100644 blob {oid}\t{name}\0"));
        }
        for (name, oid) in folders {
            input.push_str(&format!("040000 tree {oid}\t{name}\0"));
        }
        let output = self.change("mktree", &["-z"], Some(input.as_bytes()))?;
        self.named("mktree", output)
    }

    /// Stores a commit that stands on nothing and is on no branch.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn store_commit(&self, tree: &Oid, message: &str) -> Result<Oid, GitError> {
        let output = self.change(
            "commit-tree",
            &[tree.as_str()],
            Some(format!("{message}\n").as_bytes()),
        )?;
        self.settle("commit-tree")?;
        self.named("commit-tree", output)
    }

    /// Moves a ref of a remote from where it was seen (none: it was not there) to `new` (none: away), and only from there.
    ///
    /// Hooks of this clone are not asked: no branch moves. Whatever the connection did, the remote is asked where the ref
    /// stands before anything but success is told.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what the remote said if the ref stands where it was and may not be moved; any
    /// [`GitError`] of asking the remote if that fails: then nobody knows where it stands.
    pub fn swap_ref(
        &self,
        remote: &str,
        name: &str,
        expected: Option<&Oid>,
        new: Option<&Oid>,
    ) -> Result<Swap, GitError> {
        let lease = format!(
            "--force-with-lease={name}:{}",
            expected.map(Oid::as_str).unwrap_or_default()
        );
        let refspec = format!("{}:{name}", new.map(Oid::as_str).unwrap_or_default());
        let args = [
            "--quiet",
            "--no-verify",
            "--no-follow-tags",
            lease.as_str(),
            "--end-of-options",
            remote,
            refspec.as_str(),
        ];
        let Err(refused) = self.change("push", &args, None) else {
            self.settle("push")?;
            return Ok(Swap::Done);
        };
        let now = self.remote_ref(remote, name)?;
        if now.as_ref() == new {
            Ok(Swap::Done)
        } else if now.as_ref() == expected {
            Err(refused)
        } else {
            Ok(Swap::Moved(now))
        }
    }

    /// Takes a ref of this repository away, wherever it stands.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn drop_ref(&self, name: &str) -> Result<(), GitError> {
        if self.resolve(name)?.is_some() {
            self.change("update-ref", &["-d", name], None)?;
        }
        Ok(())
    }

    /// Moves the current branch on to a commit that stands on it, with index and work tree; nothing happens if files that
    /// would change hold something uncommitted.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what git said.
    pub fn fast_forward(&self, to: &Oid) -> Result<(), GitError> {
        self.change("merge", &["--ff-only", "--quiet", to.as_str()], None)?;
        self.settle("merge")
    }

    /// The last commit that two have in common; none if there is none.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn merge_base(&self, one: &str, other: &str) -> Result<Option<Oid>, GitError> {
        let Some(output) = self.ask("merge-base", &[one, other])? else {
            return Ok(None);
        };
        self.named("merge-base", output).map(Some)
    }

    /// The message of a commit, trailing line breaks left out.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn message(&self, commit: &Oid) -> Result<String, GitError> {
        let args = ["--no-show-signature", "-1", "--format=%B", commit.as_str()];
        let output = self.read("log", &args)?;
        Ok(String::from_utf8_lossy(&output)
            .trim_end_matches('\n')
            .to_owned())
    }

    /// Name of whoever commits here.
    ///
    /// # Errors
    /// [`GitError::NoUser`]; see [`GitError`].
    pub fn committer_name(&self) -> Result<String, GitError> {
        let output = self.read("var", &["GIT_COMMITTER_IDENT"])?;
        let line = self.line_of("var", output)?;
        Ok(line
            .split_once(" <")
            .map_or(line.as_str(), |(name, _)| name)
            .to_owned())
    }

    fn named(&self, command: &'static str, output: Vec<u8>) -> Result<Oid, GitError> {
        let line = self.line_of(command, output)?;
        Oid::parse(&line).ok_or(GitError::Unexpected {
            command,
            what: "no object name".to_owned(),
        })
    }
}
