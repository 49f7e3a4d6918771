//! Which texts of a repository's runbooks a person has confirmed here: a pull must not decide what commands run.
//!
//! The digests lie below `.git`, where no commit can put anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cli::error::CliError;
use crate::cli::runbook::shelf::{self, Book, Origin};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::Git;
use crate::runbook;

/// The folder below `.git` for everything about runbooks; made if need be.
pub fn folder(git: &Git) -> Result<PathBuf, CliError> {
    let folder = git.git_dir().join("cofferdam");
    atomic_write::create_folder(&folder, 0o700)?;
    Ok(folder)
}

/// What is known of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It comes with this program, or was confirmed as it is.
    Known,
    /// Of this name nothing has run here yet.
    New,
    /// It differs from the one that ran last, or stands before a built-in one.
    Changed,
}

/// The confirmed digests, by runbook.
#[derive(Debug)]
pub struct Confirmed {
    file: PathBuf,
    digests: BTreeMap<String, String>,
}

impl Confirmed {
    /// Reads them.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub fn open(git: &Git) -> Result<Self, CliError> {
        let file = folder(git)?.join("confirmed-runbooks.json");
        Ok(Self {
            digests: read(&file)?,
            file,
        })
    }

    /// Protocol rule 22: how this text stands to what ran here last.
    pub fn standing(&self, book: &Book) -> Standing {
        if book.origin == Origin::BuiltIn {
            return Standing::Known;
        }
        // Before anything was confirmed, the built-in one is what a person, or a timer, expects under its name.
        let expected = self
            .digests
            .get(&book.name)
            .cloned()
            .or_else(|| shelf::built_in_digest(&book.name));
        match expected {
            Some(digest) if digest == runbook::digest(&book.text) => Standing::Known,
            Some(_) => Standing::Changed,
            None => Standing::New,
        }
    }

    /// Remembers this text as confirmed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn confirm(&mut self, book: &Book) -> Result<(), CliError> {
        if book.origin == Origin::BuiltIn {
            return Ok(());
        }
        let digest = runbook::digest(&book.text);
        if self.digests.get(&book.name) == Some(&digest) {
            return Ok(());
        }
        self.digests.insert(book.name.clone(), digest);
        let text = serde_json::to_vec_pretty(&self.digests)?;
        atomic_write::replace(&self.file, &text, Mode::Exact(0o600))?;
        Ok(())
    }
}

fn read(file: &Path) -> Result<BTreeMap<String, String>, CliError> {
    match atomic_write::read_no_follow(file)? {
        None => Ok(BTreeMap::new()),
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            CliError::failed(format!("{} is damaged", file.display()))
                .caused_by(&error)
                .hint(format!(
                    "remove it: rm {}; every runbook is then confirmed anew",
                    file.display()
                ))
        }),
    }
}
