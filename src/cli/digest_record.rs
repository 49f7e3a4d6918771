//! Keeps `.cofferdam/digests.toml`: what documents looked like when they were verified.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: looks where a record is kept"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cli::check::gather;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::inventory::{DIGESTS_PATH, DocumentDigest};
use crate::repo::digest_file::{self, DigestFileError, IfMissing};
use crate::repo::recognise::recognise;
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
    let entries = verified.iter();
    let entries: Vec<_> = entries.filter_map(|(p, d)| entry(&root, p, d)).collect();
    match digest_file::bring_up_to_date(&root, &entries, IfMissing::Create) {
        Ok(_) => Ok(()),
        Err(error @ DigestFileError::Record(_)) => Err(CliError::from_error(&error).hint(format!(
            "remove {DIGESTS_PATH}, then: cofferdam verify --record"
        ))),
        Err(error) => Err(CliError::from_error(&error)),
    }
}

/// Records documents that were just written, where their repository has a record; whether one changed. They are written
/// already, so what is wrong with a record is a warning.
pub fn refresh(written: &[(PathBuf, Document)], context: &Context) -> bool {
    let mut by_root: BTreeMap<PathBuf, Vec<(RepoPath, DocumentDigest)>> = BTreeMap::new();
    for (path, document) in written {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        if let Some(root) = root_with_record(&path)
            && let Some(entry) = entry(root, &path, document)
        {
            by_root.entry(root.to_owned()).or_default().push(entry);
        }
    }
    let mut has_changed = false;
    for (root, entries) in by_root {
        match digest_file::bring_up_to_date(&root, &entries, IfMissing::Leave) {
            Ok(changed) => has_changed |= changed,
            Err(error) => context.ui.warn(error.warning()),
        }
    }
    has_changed
}

/// As [`refresh`], of a document's bytes.
pub fn refresh_bytes(path: &Path, bytes: &[u8], context: &Context) -> bool {
    // As a check reads it, by name and content, whatever format was asked for.
    let store = recognise(&path.to_string_lossy(), bytes);
    let document = store.and_then(|store| Document::parse(store, bytes.to_vec()).ok());
    document.is_some_and(|document| refresh(&[(path.to_owned(), document)], context))
}

fn entry(root: &Path, path: &Path, document: &Document) -> Option<(RepoPath, DocumentDigest)> {
    let place = RepoPath::from_path(path.strip_prefix(root).ok()?).ok()?;
    Some((place, DocumentDigest::of(document)?))
}

/// The root of the repository around a file, if a record is kept there; found without git, which may be missing.
fn root_with_record(path: &Path) -> Option<&Path> {
    for folder in path.ancestors().skip(1) {
        if folder.join(DIGESTS_PATH).is_file() {
            return Some(folder);
        }
        if folder.join(".git").exists() {
            return None;
        }
    }
    None
}
