//! Every version of every file that any ref still reaches.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;

use jiff::Timestamp;

use super::call::Purpose;
use super::{Git, GitError, Oid};
use crate::repo_path::RepoPath;

/// A version of a file: its name, its content by name, and since when there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVersion {
    /// Relative to the root; not always UTF-8.
    pub path: OsString,
    /// The blob.
    pub oid: Oid,
    /// The earliest commit time at which this content came to stand at this path.
    pub since: Timestamp,
}

impl Git {
    /// Every content that ever stood at every path, over all refs, HEAD, stashes and merges; regular files only.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn file_versions(&self) -> Result<Vec<FileVersion>, GitError> {
        const NAME: &str = "log";
        let io = |source| GitError::Io {
            command: NAME,
            source,
        };
        let odd = |what: &[u8]| GitError::Unexpected {
            command: NAME,
            what: String::from_utf8_lossy(what).into_owned(),
        };
        let mut command = self.command(Purpose::Read);
        // A merge adds what equals none of its parents (`-c`); the rest is told by the commits that it merges.
        command.args([NAME, "--all", "--raw", "-z", "-c", "--root", "--no-renames"]);
        command.args([
            "--no-abbrev",
            "--no-notes",
            "--no-show-signature",
            "--no-ext-diff",
        ]);
        command.args(["--format=@%ct"]);
        if self.head()?.is_some() {
            command.arg("HEAD");
        }
        let mut child = command
            .arg("--")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        let Some(stdout) = child.stdout.take() else {
            return Err(odd(b"no pipe"));
        };
        let mut records = Records(BufReader::with_capacity(1 << 16, stdout));
        let mut found: HashMap<(OsString, Oid), Timestamp> = HashMap::new();
        let mut time = Timestamp::UNIX_EPOCH;
        while let Some(record) = records.next().map_err(io)? {
            let record = record.strip_prefix(b"\n").unwrap_or(&record);
            if record.is_empty() {
                continue;
            }
            if let Some(seconds) = record.strip_prefix(b"@") {
                let seconds = std::str::from_utf8(seconds)
                    .ok()
                    .and_then(|s| s.trim().parse().ok());
                time = seconds
                    .and_then(|s: i64| Timestamp::from_second(s).ok())
                    .ok_or_else(|| odd(record))?;
                continue;
            }
            let parents = record.iter().take_while(|byte| **byte == b':').count();
            if parents == 0 {
                return Err(odd(record));
            }
            let line = std::str::from_utf8(&record[parents..]).map_err(|_| odd(record))?;
            let fields: Vec<&str> = line.split(' ').collect();
            // The modes of the parents and the result, then their objects, then the status.
            let (Some(mode), Some(oid)) = (fields.get(parents), fields.get(2 * parents + 1)) else {
                return Err(odd(record));
            };
            let is_file = mode.starts_with("100");
            let oid = Oid::parse(oid).ok_or_else(|| odd(record))?;
            let path = records.next().map_err(io)?.ok_or_else(|| odd(record))?;
            if is_file {
                let since = found.entry((OsString::from_vec(path), oid)).or_insert(time);
                *since = (*since).min(time);
            }
        }
        let status = child.wait().map_err(io)?;
        if !status.success() {
            return Err(GitError::Failed {
                command: NAME,
                code: status.code(),
                output: String::new(),
            });
        }
        let mut versions: Vec<FileVersion> = found
            .into_iter()
            .map(|((path, oid), since)| FileVersion { path, oid, since })
            .collect();
        versions.sort_by(|a, b| {
            (&a.path, a.since, a.oid.as_str()).cmp(&(&b.path, b.since, b.oid.as_str()))
        });
        Ok(versions)
    }

    /// The sizes of these objects in bytes, in order; none for one that this clone does not hold.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn sizes(&self, oids: &[&Oid]) -> Result<Vec<Option<u64>>, GitError> {
        const NAME: &str = "cat-file";
        if oids.is_empty() {
            return Ok(Vec::new());
        }
        let io = |source| GitError::Io {
            command: NAME,
            source,
        };
        let mut child = self
            .command(Purpose::Read)
            // A partial clone is not filled for this.
            .env("GIT_NO_LAZY_FETCH", "1")
            .args([NAME, "--batch-check=%(objectsize)"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GitError::Unexpected {
                command: NAME,
                what: "no pipes".to_owned(),
            });
        };
        let mut input = String::new();
        for oid in oids {
            input.push_str(oid.as_str());
            input.push('\n');
        }
        let sizes = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            let lines = BufReader::new(stdout).lines();
            lines
                .map(|line| Ok(line?.parse().ok()))
                .collect::<std::io::Result<Vec<Option<u64>>>>()
        })
        .map_err(io)?;
        child.wait().map_err(io)?;
        if sizes.len() == oids.len() {
            Ok(sizes)
        } else {
            Err(GitError::Unexpected {
                command: NAME,
                what: format!("{} sizes for {} objects", sizes.len(), oids.len()),
            })
        }
    }

    /// The names that files directly in `folder` ever had in the history of HEAD.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn names_ever_in(&self, folder: &RepoPath) -> Result<BTreeSet<String>, GitError> {
        if self.head()?.is_none() {
            return Ok(BTreeSet::new());
        }
        let args = ["-z", "-m", "--full-history", "--name-only", "--no-renames"].into_iter();
        let args = args.chain([
            "--no-show-signature",
            "--format=",
            "HEAD",
            "--",
            folder.as_str(),
        ]);
        let args: Vec<&str> = args.collect();
        let output = self.read("log", &args)?;
        let prefix = format!("{folder}/");
        let names = output.split(|byte| *byte == 0).filter_map(|record| {
            let path = std::str::from_utf8(record.trim_ascii_start()).ok()?;
            let name = path.strip_prefix(&prefix)?;
            (!name.contains('/')).then(|| name.to_owned())
        });
        Ok(names.collect())
    }

    /// Every content that the file at `path` had in the history of HEAD, newest first.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn contents_ever(&self, path: &RepoPath) -> Result<Vec<Vec<u8>>, GitError> {
        if self.head()?.is_none() {
            return Ok(Vec::new());
        }
        let args = ["-z", "-m", "--full-history", "--raw", "--no-abbrev"].into_iter();
        let args = args.chain(["--no-renames", "--no-show-signature", "--no-ext-diff"]);
        let args = args.chain(["--format=", "HEAD", "--", path.as_str()]);
        let args: Vec<&str> = args.collect();
        let output = self.read("log", &args)?;
        let mut oids: Vec<Oid> = Vec::new();
        for record in output.split(|byte| *byte == 0) {
            // `:100644 100644 <before> <after> M`; the path is a record of its own.
            let line = std::str::from_utf8(record.trim_ascii_start()).unwrap_or_default();
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, mode, _, after, _] = fields.as_slice() else {
                continue;
            };
            if let Some(oid) = Oid::parse(after).filter(|_| line.starts_with(':'))
                && mode.starts_with("100")
                && !oids.contains(&oid)
            {
                oids.push(oid);
            }
        }
        self.cat_files(&oids.iter().collect::<Vec<_>>())
    }

    /// Whether this clone lacks the beginning of its history.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn is_shallow(&self) -> Result<bool, GitError> {
        let output = self.read("rev-parse", &["--is-shallow-repository"])?;
        Ok(self.line_of("rev-parse", output)? == "true")
    }
}

/// Pieces that end in NUL.
struct Records<R>(BufReader<R>);

impl<R: Read> Records<R> {
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut record = Vec::new();
        if self.0.read_until(0, &mut record)? == 0 {
            return Ok(None);
        }
        if record.last() == Some(&0) {
            record.pop();
        }
        Ok(Some(record))
    }
}
