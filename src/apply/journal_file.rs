//! The journal on disk: one synced line an entry, and where staged and saved files lie.

#![expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::journal::{Entry, Outcome, Progress, ProgressError, RunId};
use crate::repo::atomic_write::{self, WriteError};
use crate::repo::durable;
use crate::repo::log_file::{self, LogFile, LogFileError};

/// Where journals lie, relative to the repository's root; never committed.
pub const JOURNAL_FOLDER: &str = ".cofferdam/journal";

/// The journal of one run, open for appending.
#[derive(Debug)]
pub struct JournalFile {
    log: LogFile,
    lines: usize,
    progress: Progress,
    folder: PathBuf,
}

/// Why a journal could not be read or extended.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file.
    #[error(transparent)]
    Log(#[from] LogFileError),
    /// A folder or file beside it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The folder of journals.
    #[error("cannot read {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that is no entry.
    #[error("line {line} of {path} is damaged")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An entry that cannot be put as a line.
    #[error("a journal entry could not be written as JSON")]
    Unprintable(#[source] serde_json::Error),
    /// Lines in an order that no run writes.
    #[error("{path} is damaged")]
    Order {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        source: ProgressError,
    },
    /// More than one run that has not ended.
    #[error("{} unfinished runs in {folder}", runs.len())]
    Several {
        /// Where.
        folder: PathBuf,
        /// Their names.
        runs: Vec<String>,
    },
}

impl JournalFile {
    /// Starts the journal of a run; `begun` must be [`Entry::Begun`].
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn begin(root: &Path, begun: Entry) -> Result<Self, JournalError> {
        let progress = Progress::of([begun.clone()]).map_err(|source| JournalError::Order {
            path: root.join(JOURNAL_FOLDER),
            source,
        })?;
        let folder = root.join(JOURNAL_FOLDER).join(progress.run.as_str());
        atomic_write::create_folder(&folder, 0o700)?;
        let line = serde_json::to_vec(&begun).map_err(JournalError::Unprintable)?;
        let (mut log, _) = LogFile::open(&log_path(&folder))?;
        durable::crash_point("journal");
        log.append_line(&line)?;
        durable::crash_point("journal");
        Ok(Self {
            log,
            lines: 1,
            progress,
            folder,
        })
    }

    /// Opens the journal of the run that has not ended; none if every run has. The caller holds the run lock.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn unfinished(root: &Path) -> Result<Option<Self>, JournalError> {
        let mut found = Vec::new();
        for folder in run_folders(root)? {
            let (log, content) = LogFile::open(&log_path(&folder))?;
            let entries = parse(&log_path(&folder), &content)?;
            // A crash before the first line was synced: nothing was done on its strength.
            if entries.is_empty() {
                continue;
            }
            let lines = entries.len();
            let progress = Progress::of(entries).map_err(|source| JournalError::Order {
                path: log_path(&folder),
                source,
            })?;
            if progress.outcome.is_none() {
                found.push(Self {
                    log,
                    lines,
                    progress,
                    folder,
                });
            } else {
                // Killed right after its last line. What lay staged is of no use to anybody.
                remove_slots(&folder)?;
            }
        }
        if found.len() > 1 {
            return Err(JournalError::Several {
                folder: root.join(JOURNAL_FOLDER),
                runs: found.iter().map(|j| j.progress.run.to_string()).collect(),
            });
        }
        Ok(found.pop())
    }

    /// The name of the run that has not ended, without touching its journal: a live run may be writing it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn unfinished_run(root: &Path) -> Result<Option<RunId>, JournalError> {
        Ok(Self::unfinished_progress(root)?.map(|progress| progress.run))
    }

    /// How far the run has come that has not ended; its journal is not touched.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn unfinished_progress(root: &Path) -> Result<Option<Progress>, JournalError> {
        for folder in run_folders(root)? {
            let path = log_path(&folder);
            let content = log_file::read_lines(&path)?.unwrap_or_default();
            let entries = parse(&path, &content)?;
            if entries.is_empty() {
                continue;
            }
            let progress =
                Progress::of(entries).map_err(|source| JournalError::Order { path, source })?;
            if progress.outcome.is_none() {
                return Ok(Some(progress));
            }
        }
        Ok(None)
    }

    /// The runs that began at `since` or later, to the second, each with how it ended; none: it has not.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn runs_since(
        root: &Path,
        since: Timestamp,
    ) -> Result<Vec<(RunId, Option<Outcome>)>, JournalError> {
        let first = RunId::new(since, 0);
        let date = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
        let mut runs = Vec::new();
        for folder in run_folders(root)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if date(&name) < date(first.as_str()) {
                continue;
            }
            let path = log_path(&folder);
            let content = log_file::read_lines(&path)?.unwrap_or_default();
            let entries = parse(&path, &content)?;
            // A crash before the first line was synced: nothing was done on its strength.
            if entries.is_empty() {
                continue;
            }
            let progress =
                Progress::of(entries).map_err(|source| JournalError::Order { path, source })?;
            runs.push((progress.run, progress.outcome));
        }
        Ok(runs)
    }

    /// Appends an entry; it is on disk when this returns.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn record(&mut self, entry: Entry) -> Result<(), JournalError> {
        self.record_all(vec![entry])
    }

    /// Appends entries, synced together; a crash may keep the first of them.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn record_all(&mut self, entries: Vec<Entry>) -> Result<(), JournalError> {
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            lines.push(serde_json::to_vec(&entry).map_err(JournalError::Unprintable)?);
            self.progress
                .add(entry, self.lines + lines.len())
                .map_err(|source| JournalError::Order {
                    path: log_path(&self.folder),
                    source,
                })?;
        }
        durable::crash_point("journal");
        self.log.append_lines(&lines)?;
        self.lines += lines.len();
        durable::crash_point("journal");
        Ok(())
    }

    /// The journal's text so far, one entry a line.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn text(&self) -> Result<Vec<u8>, JournalError> {
        Ok(log_file::read_lines(&log_path(&self.folder))?.unwrap_or_default())
    }

    /// How far the run has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where the journal and everything that lies beside it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the bytes of `slot` before the run, or after it, lie.
    pub fn slot(&self, side: Side, slot: &str) -> PathBuf {
        self.folder.join(format!("{slot}.{}", side.suffix()))
    }

    /// Ends the run: says so in the journal, then removes what lay staged.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn finish(mut self, outcome: Outcome) -> Result<(), JournalError> {
        self.record(Entry::Finished { outcome })?;
        remove_slots(&self.folder)
    }
}

/// Which bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// As they were before the run.
    Before,
    /// As the run wants them.
    After,
}

impl Side {
    fn suffix(self) -> &'static str {
        match self {
            Side::Before => "before",
            Side::After => "after",
        }
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("log.jsonl")
}

pub(super) fn parse(path: &Path, content: &[u8]) -> Result<Vec<Entry>, JournalError> {
    content
        .split(|b| *b == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|source| JournalError::Damaged {
                path: path.to_owned(),
                line: index + 1,
                source,
            })
        })
        .collect()
}

fn run_folders(root: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let path = root.join(JOURNAL_FOLDER);
    let fail = |source| JournalError::Folder {
        path: path.clone(),
        source,
    };
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() && log_path(&entry.path()).exists() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// Removes every file of a run's folder but its log.
fn remove_slots(folder: &Path) -> Result<(), JournalError> {
    let fail = |source| JournalError::Folder {
        path: folder.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path != log_path(folder) {
            atomic_write::remove(&path)?;
        }
    }
    Ok(())
}
