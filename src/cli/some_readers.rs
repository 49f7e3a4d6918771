//! The readers that a command names, and what they must hold; for commands outside of a run.

use crate::apply::JournalFile;
use crate::cli::error::CliError;
use crate::cli::project::Project;
use crate::keys::Recipient;
use crate::plan::duties::{DutiesInput, Duty, duties};
use crate::repo::git::Git;
use crate::repo::scan::Scan;
use crate::repo_path::RepoPath;
use crate::sops::document::Document;
use crate::topology::closest::closest;

/// Every SOPS document of the work tree that can be read, with its age recipients.
///
/// # Errors
/// The repository cannot be searched.
pub fn documents(git: &Git) -> Result<Vec<(RepoPath, Vec<Recipient>)>, CliError> {
    let scan = Scan::of_repository(git)?;
    let mut documents = Vec::new();
    for found in scan.documents {
        if let Ok(document) = Document::parse(found.store, found.source) {
            let recipients = document.recipients().into_iter().cloned().collect();
            documents.push((found.path, recipients));
        }
    }
    Ok(documents)
}

/// The duties of the readers with these names, or of all.
///
/// # Errors
/// A name that the topology does not know (exit 2); a damaged journal.
pub fn some_duties(
    project: &Project,
    documents: &[(RepoPath, Vec<Recipient>)],
    names: &[String],
) -> Result<Vec<Duty>, CliError> {
    let is_unfinished = JournalFile::unfinished_run(&project.root)?.is_some();
    let mut duties = duties(&DutiesInput {
        topology: &project.topology,
        ledger: &project.ledger,
        documents,
        is_unfinished,
    });
    for name in names {
        if duties.iter().any(|duty| duty.reader == *name) {
            continue;
        }
        let known = duties.iter().map(|duty| duty.reader.as_str());
        let hint = match closest(name, known.clone()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it knows {}", known.collect::<Vec<_>>().join(", ")),
        };
        let error = format!("cofferdam.toml has no host and no cluster {name:?}");
        return Err(CliError::usage(error).hint(hint));
    }
    if !names.is_empty() {
        duties.retain(|duty| names.contains(&duty.reader));
    }
    Ok(duties)
}
