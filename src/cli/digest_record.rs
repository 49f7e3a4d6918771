//! Keeps `.cofferdam/digests.toml`: what documents looked like when they were verified.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads and writes the record of the repository"
)]

use std::path::{Path, PathBuf};

use crate::cli::check::gather;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::inventory::{DIGESTS_PATH, Digests, DocumentDigest};
use crate::repo::atomic_write::{self, Mode};
use crate::repo_path::RepoPath;
use crate::sops::Document;

/// Records documents that were just verified, each with its real path; those outside of the repository are left out. What
/// the record holds of documents that are gone is forgotten.
///
/// # Errors
/// A record that is damaged or cannot be written.
pub fn record(verified: &[(PathBuf, Document)], context: &Context) -> Result<(), CliError> {
    let (root, _) = gather::root(context)?;
    let root = std::fs::canonicalize(&root).unwrap_or(root);
    write(&root, &root.join(DIGESTS_PATH), verified)
}

/// As [`record`], if there is a record already: for commands that write documents.
///
/// # Errors
/// See [`record`].
pub fn refresh(verified: &[(PathBuf, Document)], context: &Context) -> Result<(), CliError> {
    let (root, _) = gather::root(context)?;
    let root = std::fs::canonicalize(&root).unwrap_or(root);
    let file = root.join(DIGESTS_PATH);
    match file.exists() {
        true => write(&root, &file, verified),
        false => Ok(()),
    }
}

fn write(root: &Path, file: &Path, verified: &[(PathBuf, Document)]) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| {
        CliError::failed(format!("cannot record in {DIGESTS_PATH}")).caused_by(error)
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&error)),
    };
    let mut digests = match &text {
        Some(text) => Digests::parse(text).map_err(|error| {
            CliError::from_error(&error).hint(format!(
                "remove {DIGESTS_PATH}, then: cofferdam verify --record"
            ))
        })?,
        None => Digests::default(),
    };
    digests.retain(|path| path.under(root).is_file());
    for (path, document) in verified {
        let place = path.strip_prefix(root).ok();
        let place = place.and_then(|path| RepoPath::from_path(path).ok());
        if let (Some(place), Some(digest)) = (place, DocumentDigest::of(document)) {
            digests.record(place, digest);
        }
    }
    let after = digests.to_text();
    if text.as_deref() == Some(after.as_str()) {
        return Ok(());
    }
    if let Some(folder) = file.parent() {
        atomic_write::create_folder(folder, 0o755).map_err(|error| failed(&error))?;
    }
    let before = text.as_deref().map(str::as_bytes);
    atomic_write::replace_expecting(file, before, after.as_bytes(), Mode::Keep)
        .map_err(|error| failed(&error))
}
