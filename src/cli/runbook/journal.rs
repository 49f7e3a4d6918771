//! The journal of a runbook on disk, below `.git`: no commit can pretend that a step was done.

use std::path::PathBuf;

use crate::cli::error::CliError;
use crate::cli::runbook::trust;
use crate::repo::durable;
use crate::repo::git::Git;
use crate::repo::log_file::{self, LogFile};
use crate::runbook::{Entry, Progress};

/// A runbook's journal, open for appending. The caller holds the lock of runbooks.
#[derive(Debug)]
pub struct Journal {
    file: PathBuf,
    log: LogFile,
}

fn file(git: &Git, name: &str) -> PathBuf {
    git.git_dir()
        .join("cofferdam")
        .join(format!("runbook-{name}.jsonl"))
}

/// How far a runbook has come, without touching its journal; none if there is none, or it cannot be read.
pub fn peek(git: &Git, name: &str) -> Option<Progress> {
    let content = log_file::read_lines(&file(git, name)).ok()??;
    Progress::of(parse(&content).ok()?).ok()?
}

impl Journal {
    /// Opens the journal of a runbook and tells how far it has come; none if it never ran.
    ///
    /// # Errors
    /// The journal cannot be read, or is damaged.
    pub fn open(git: &Git, name: &str) -> Result<(Self, Option<Progress>), CliError> {
        trust::folder(git)?;
        let file = file(git, name);
        let (log, content) = LogFile::open(&file)?;
        let damaged = |error: &dyn std::error::Error| {
            CliError::failed(format!("{} is damaged", file.display()))
                .caused_by(error)
                .hint(format!(
                    "see what was done (cofferdam status), then: rm {}",
                    file.display()
                ))
        };
        let entries = parse(&content).map_err(|error| damaged(&error))?;
        let progress = Progress::of(entries).map_err(|error| damaged(&error))?;
        Ok((Self { file, log }, progress))
    }

    /// Forgets an earlier run of the runbook.
    ///
    /// # Errors
    /// The file cannot be replaced.
    pub fn restart(&mut self) -> Result<(), CliError> {
        durable::unlink(&self.file)?;
        self.log = LogFile::open(&self.file)?.0;
        Ok(())
    }

    /// Appends an entry; it is on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&mut self, entry: &Entry) -> Result<(), CliError> {
        durable::crash_point("runbook");
        self.log.append_line(&serde_json::to_vec(entry)?)?;
        durable::crash_point("runbook");
        Ok(())
    }
}

fn parse(content: &[u8]) -> Result<Vec<Entry>, serde_json::Error> {
    content
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect()
}
