//! What `git` knows: files, objects, refs.

#![expect(clippy::disallowed_methods, reason = "edge: looks at the repository")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::call::Purpose;
use super::{Git, GitError, Oid};
use crate::repo_path::RepoPath;

/// One path that differs between HEAD, the index and the work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusEntry {
    /// Relative to the root; not always UTF-8.
    pub path: PathBuf,
    /// The index differs from HEAD.
    pub staged: bool,
    /// The work tree differs from the index.
    pub unstaged: bool,
    /// Not tracked, not ignored.
    pub untracked: bool,
    /// A merge left it in conflict.
    pub conflicted: bool,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The mode as git prints it: `100644`, `100755`, `120000` (symbolic link), `160000` (submodule).
    pub mode: String,
    /// The blob, or the commit of a submodule.
    pub oid: Oid,
}

/// A file of the index, not in conflict.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IndexEntry {
    /// The mode as git prints it.
    pub mode: String,
    /// The blob.
    pub oid: Oid,
}

impl Git {
    /// The commit that is checked out; none before the first commit.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn head(&self) -> Result<Option<Oid>, GitError> {
        self.resolve("HEAD")
    }

    /// Whether there is no commit yet on the current branch.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn is_unborn(&self) -> Result<bool, GitError> {
        Ok(self.head()?.is_none())
    }

    /// The commit that `revision` names; none if there is no such commit.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn resolve(&self, revision: &str) -> Result<Option<Oid>, GitError> {
        let wanted = format!("{revision}^{{commit}}");
        let args = ["--verify", "--quiet", "--end-of-options", wanted.as_str()];
        let Some(output) = self.ask("rev-parse", &args)? else {
            return Ok(None);
        };
        let line = self.line_of("rev-parse", output)?;
        Oid::parse(&line).map(Some).ok_or(GitError::Unexpected {
            command: "rev-parse",
            what: "no object name".to_owned(),
        })
    }

    /// The first parent of a commit; none for a root commit.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn parent(&self, commit: &Oid) -> Result<Option<Oid>, GitError> {
        self.resolve(&format!("{commit}^1"))
    }

    /// The full name of the current branch, `refs/heads/…`; none if HEAD is detached.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn branch(&self) -> Result<Option<String>, GitError> {
        match self.ask("symbolic-ref", &["--quiet", "HEAD"])? {
            Some(output) => self.line_of("symbolic-ref", output).map(Some),
            None => Ok(None),
        }
    }

    /// The ref that the current branch tracks, `refs/remotes/…`; none if it tracks none.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn upstream(&self) -> Result<Option<String>, GitError> {
        let Some(branch) = self.branch()? else {
            return Ok(None);
        };
        let output = self.read("for-each-ref", &["--format=%(upstream)", &branch])?;
        let line = self.line_of("for-each-ref", output)?;
        Ok(Some(line).filter(|line| !line.is_empty()))
    }

    /// The names of the remotes.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn remotes(&self) -> Result<Vec<String>, GitError> {
        let output = self.read::<&str>("remote", &[])?;
        let text = self.line_of("remote", output)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// What differs between HEAD, the index and the work tree; untracked files one by one, ignored ones not.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn status(&self) -> Result<Vec<StatusEntry>, GitError> {
        let args = [
            "--porcelain=v2",
            "-z",
            "--untracked-files=all",
            "--no-renames",
        ];
        let output = self.read("status", &args)?;
        records(&output)
            .filter(|record| !record.starts_with(b"#"))
            .map(|record| {
                status_entry(record).ok_or_else(|| GitError::Unexpected {
                    command: "status",
                    what: String::from_utf8_lossy(record).into_owned(),
                })
            })
            .collect()
    }

    /// A merge, rebase, cherry-pick or revert that is not finished; none if there is none.
    pub fn operation_in_progress(&self) -> Option<&'static str> {
        let operations = [
            ("MERGE_HEAD", "merge"),
            ("rebase-merge", "rebase"),
            ("rebase-apply", "rebase"),
            ("CHERRY_PICK_HEAD", "cherry-pick"),
            ("REVERT_HEAD", "revert"),
        ];
        operations
            .into_iter()
            .find(|(file, _)| self.git_dir().join(file).exists())
            .map(|(_, name)| name)
    }

    /// All files of the work tree that git tracks or would: relative to the root, sorted, each once.
    ///
    /// Tracked files that were deleted are among them; submodules stand as their folder.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn files(&self) -> Result<Vec<PathBuf>, GitError> {
        let output = self.read("ls-files", &["-co", "--exclude-standard", "-z"])?;
        let files: BTreeSet<PathBuf> = records(&output).map(path).collect();
        Ok(files.into_iter().collect())
    }

    /// All files in the index, relative to the root.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn tracked(&self) -> Result<HashSet<PathBuf>, GitError> {
        let output = self.read("ls-files", &["-z"])?;
        Ok(records(&output).map(path).collect())
    }

    /// Whether git ignores this path (which need not exist).
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn is_ignored(&self, path: &RepoPath) -> Result<bool, GitError> {
        let mut command = vec!["--quiet", "--no-index", "--"];
        command.push(path.as_str());
        Ok(self.ask("check-ignore", &command)?.is_some())
    }

    /// The index entries of these paths, none for one that is not in the index.
    ///
    /// # Errors
    /// [`GitError::Unexpected`] for a path in conflict.
    pub fn index_entries(&self, paths: &[RepoPath]) -> Result<Vec<Option<IndexEntry>>, GitError> {
        let output = self.read("ls-files", &["-s", "-z"])?;
        let wanted: HashSet<&[u8]> = paths.iter().map(|p| p.as_str().as_bytes()).collect();
        let mut found = BTreeMap::new();
        for record in records(&output) {
            let odd = || GitError::Unexpected {
                command: "ls-files",
                what: String::from_utf8_lossy(record).into_owned(),
            };
            let (front, name) = split_once(record, b'\t').ok_or_else(odd)?;
            if !wanted.contains(name) {
                continue;
            }
            let front = std::str::from_utf8(front).map_err(|_| odd())?;
            let mut parts = front.split(' ');
            let (Some(mode), Some(oid), Some("0")) = (
                parts.next(),
                parts.next().and_then(Oid::parse),
                parts.next(),
            ) else {
                return Err(odd());
            };
            let entry = IndexEntry {
                mode: mode.to_owned(),
                oid,
            };
            found.insert(name.to_owned(), entry);
        }
        Ok(paths
            .iter()
            .map(|p| found.get(p.as_str().as_bytes()).cloned())
            .collect())
    }

    /// All files of a commit, by path relative to the root; paths that are not UTF-8 are left out.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn tree(&self, revision: &str) -> Result<BTreeMap<String, TreeEntry>, GitError> {
        let args = ["-r", "-z", "--full-tree", "--end-of-options", revision];
        let output = self.read("ls-tree", &args)?;
        let mut tree = BTreeMap::new();
        for record in records(&output) {
            let odd = || GitError::Unexpected {
                command: "ls-tree",
                what: String::from_utf8_lossy(record).into_owned(),
            };
            let (front, name) = split_once(record, b'\t').ok_or_else(odd)?;
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            let front = std::str::from_utf8(front).map_err(|_| odd())?;
            let mut parts = front.split(' ');
            let mode = parts.next().ok_or_else(odd)?.to_owned();
            let oid = parts.nth(1).and_then(Oid::parse).ok_or_else(odd)?;
            tree.insert(name.to_owned(), TreeEntry { mode, oid });
        }
        Ok(tree)
    }

    /// The content of one file in a commit; none if it is absent there or no regular file.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn blob(&self, revision: &str, path: &RepoPath) -> Result<Option<Vec<u8>>, GitError> {
        Ok(self
            .blobs(revision, std::slice::from_ref(path))?
            .pop()
            .flatten())
    }

    /// The contents of many files in a commit, by one `cat-file`; none for one that is absent or no regular file.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn blobs(
        &self,
        revision: &str,
        paths: &[RepoPath],
    ) -> Result<Vec<Option<Vec<u8>>>, GitError> {
        let tree = self.tree(revision)?;
        let oids: Vec<Option<&Oid>> = paths
            .iter()
            .map(|p| {
                tree.get(p.as_str())
                    .filter(|entry| entry.mode.starts_with("100"))
                    .map(|entry| &entry.oid)
            })
            .collect();
        let wanted: Vec<&Oid> = oids.iter().copied().flatten().collect();
        let mut contents = self.cat_files(&wanted)?.into_iter();
        Ok(oids
            .iter()
            .map(|oid| oid.and_then(|_| contents.next()))
            .collect())
    }

    /// The contents of these blobs, in order.
    ///
    /// # Errors
    /// [`GitError::Unexpected`] if one is missing or no blob; see [`GitError`].
    pub fn cat_files(&self, oids: &[&Oid]) -> Result<Vec<Vec<u8>>, GitError> {
        const NAME: &str = "cat-file";
        if oids.is_empty() {
            return Ok(Vec::new());
        }
        let io = |source| GitError::Io {
            command: NAME,
            source,
        };
        let odd = |what: &str| GitError::Unexpected {
            command: NAME,
            what: what.to_owned(),
        };
        let mut child = self
            .command(Purpose::Read)
            .args([NAME, "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(odd("no pipes"));
        };
        let mut input = String::new();
        for oid in oids {
            input.push_str(oid.as_str());
            input.push('\n');
        }
        let contents = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            let mut stdout = BufReader::new(stdout);
            let mut contents = Vec::with_capacity(oids.len());
            let mut header = String::new();
            for oid in oids {
                header.clear();
                stdout.read_line(&mut header).map_err(io)?;
                let header = header.trim_end();
                let size = header
                    .strip_prefix(oid.as_str())
                    .and_then(|rest| rest.strip_prefix(" blob "))
                    .and_then(|size| size.parse::<usize>().ok())
                    .ok_or_else(|| odd(header))?;
                let mut content = vec![0; size];
                stdout.read_exact(&mut content).map_err(io)?;
                stdout.read_exact(&mut [0]).map_err(io)?;
                contents.push(content);
            }
            Ok(contents)
        });
        // Dropping the pipes ends it; it was asked for nothing more.
        child.wait().map_err(io)?;
        contents
    }

    /// The name that git would give a blob of these bytes, without filters and without storing it. One process a call.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn hash_blob(&self, bytes: &[u8]) -> Result<Oid, GitError> {
        let output = self.change("hash-object", &["--stdin", "--no-filters"], Some(bytes))?;
        let line = self.line_of("hash-object", output)?;
        Oid::parse(&line).ok_or(GitError::Unexpected {
            command: "hash-object",
            what: "no object name".to_owned(),
        })
    }

    /// Refs that contain a commit, other than the current branch; and other work trees that have it checked out.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn refs_containing(&self, commit: &Oid) -> Result<Vec<String>, GitError> {
        let args = ["--format=%(refname)", "--contains", commit.as_str()];
        let output = self.read("for-each-ref", &args)?;
        let text = self.line_of("for-each-ref", output)?;
        let own = self.branch()?;
        let mut refs: Vec<String> = text
            .lines()
            .filter(|name| Some(*name) != own.as_deref())
            .map(str::to_owned)
            .collect();
        let output = self.read("worktree", &["list", "--porcelain"])?;
        let text = String::from_utf8_lossy(&output);
        let own_root = self.root().to_string_lossy();
        for block in text.split("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let (Some(folder), Some(head)) = (field("worktree "), field("HEAD ")) else {
                continue;
            };
            // A branch that is checked out elsewhere is among the refs already.
            let is_detached = block.lines().any(|line| line == "detached");
            if is_detached && folder != own_root && self.is_ancestor(commit.as_str(), head)? {
                refs.push(format!("work tree {folder}"));
            }
        }
        Ok(refs)
    }

    /// Whether `ancestor` is reachable from `descendant` (or is the same).
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool, GitError> {
        let args = ["--is-ancestor", ancestor, descendant];
        Ok(self.ask("merge-base", &args)?.is_some())
    }

    /// Whether git knows who commits, so that a run does not fail at its end.
    ///
    /// # Errors
    /// [`GitError::NoUser`] if not; see [`GitError`].
    pub fn check_user(&self) -> Result<(), GitError> {
        self.read("var", &["GIT_AUTHOR_IDENT"])?;
        self.read("var", &["GIT_COMMITTER_IDENT"])?;
        Ok(())
    }

    /// A configuration value; none if it is not set.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn config(&self, name: &str) -> Result<Option<String>, GitError> {
        match self.ask("config", &["--get", name])? {
            Some(output) => self.line_of("config", output).map(Some),
            None => Ok(None),
        }
    }
}

/// Splits output of `-z` calls.
pub(super) fn records(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    output.split(|&byte| byte == 0).filter(|r| !r.is_empty())
}

pub(super) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

pub(super) fn split_once(bytes: &[u8], sign: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == sign)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// Source: git-status(1), "Porcelain Format Version 2".
fn status_entry(record: &[u8]) -> Option<StatusEntry> {
    let mut entry = StatusEntry {
        path: PathBuf::new(),
        staged: false,
        unstaged: false,
        untracked: false,
        conflicted: false,
    };
    let fields_before_path = match record.first()? {
        b'?' => {
            entry.untracked = true;
            1
        }
        b'1' => 8,
        b'u' => {
            entry.conflicted = true;
            10
        }
        // `2` is a rename, which was not asked for.
        _ => return None,
    };
    if !entry.untracked {
        entry.staged = *record.get(2)? != b'.';
        entry.unstaged = *record.get(3)? != b'.';
    }
    let mut rest = record;
    for _ in 0..fields_before_path {
        rest = split_once(rest, b' ')?.1;
    }
    entry.path = path(rest);
    Some(entry)
}

/// A repository path as an argument that is taken literally, from the root.
pub(super) fn pathspec(path: &RepoPath) -> OsString {
    let mut spec = OsString::from(":(top,literal)");
    spec.push(path.as_str());
    spec
}

/// Whether there is something (a file, or a dangling link) at the path.
pub(super) fn is_present(root: &Path, path: &RepoPath) -> bool {
    std::fs::symlink_metadata(path.under(root)).is_ok()
}

/// The bytes that arguments take on the command line.
pub(super) fn length_of(args: &[OsString]) -> usize {
    args.iter().map(|arg| arg.as_bytes().len() + 9).sum()
}
