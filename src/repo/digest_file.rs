//! The record of verified documents on disk (edge): brought up to date, and put back.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: looks which recorded documents are still there"
)]

use std::path::Path;

use crate::inventory::digests::{self, DIGESTS_PATH, DigestsError, DocumentDigest, PutBack};
use crate::repo::atomic_write::{self, Mode, WriteError};
use crate::repo_path::RepoPath;

/// How often it is begun anew because somebody else wrote the file at the same time.
const ATTEMPTS: usize = 3;

/// What to do where there is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// Begin one.
    Create,
    /// Nothing: nobody asked for one.
    Leave,
}

/// Why the record stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum DigestFileError {
    /// What it holds cannot be read.
    #[error(transparent)]
    Record(#[from] DigestsError),
    /// The file cannot be read or written.
    #[error("cannot record in {DIGESTS_PATH}")]
    File(#[from] WriteError),
}

impl DigestFileError {
    /// What is wrong and what to do, on one line: for those whom it does not stop.
    pub fn warning(&self) -> String {
        let mut why = self.to_string();
        if let Self::File(error) = self {
            why.push_str(&format!(": {error}"));
        }
        format!(
            "what was written is not recorded as verified: {why}; mend or remove it, then: cofferdam verify --record"
        )
    }
}

/// Records documents of the repository at `root` that were just verified; what is recorded of documents that are gone is
/// forgotten. Whether the file changed.
///
/// # Errors
/// [`DigestFileError`]; the file is then as it was.
pub fn bring_up_to_date(
    root: &Path,
    verified: &[(RepoPath, DocumentDigest)],
    if_missing: IfMissing,
) -> Result<bool, DigestFileError> {
    let file = root.join(DIGESTS_PATH);
    again_if_changed(|| {
        let before = atomic_write::read_no_follow(&file)?;
        if before.is_none() && if_missing == IfMissing::Leave {
            return Ok(false);
        }
        let is_there = |path: &RepoPath| path.under(root).is_file();
        let after = digests::brought_up_to_date(before.as_deref(), verified, is_there)?;
        let Some(after) = after else {
            return Ok(false);
        };
        if let Some(folder) = file.parent() {
            atomic_write::create_folder(folder, 0o755)?;
        }
        atomic_write::replace_expecting(&file, before.as_deref(), &after, Mode::Keep)?;
        Ok(true)
    })
}

/// Puts the record back that held `first` (none: was not there) before `documents` were recorded, as [`digests::put_back`]
/// tells.
///
/// # Errors
/// [`DigestFileError::File`]; the file is then as it was.
pub fn put_back(
    root: &Path,
    first: Option<&[u8]>,
    documents: &[RepoPath],
) -> Result<(), DigestFileError> {
    let file = root.join(DIGESTS_PATH);
    again_if_changed(|| {
        let now = atomic_write::read_no_follow(&file)?;
        let is_there = |path: &RepoPath| path.under(root).is_file();
        match digests::put_back(now.as_deref(), first, documents, is_there) {
            PutBack::Stay => {}
            PutBack::Remove => {
                atomic_write::remove(&file)?;
            }
            PutBack::Write(bytes) => {
                atomic_write::replace_expecting(&file, now.as_deref(), &bytes, Mode::Keep)?;
            }
        }
        Ok(())
    })
}

fn again_if_changed<T>(
    mut act: impl FnMut() -> Result<T, DigestFileError>,
) -> Result<T, DigestFileError> {
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        match act() {
            Err(DigestFileError::File(WriteError::Changed { .. })) if attempts > 0 => {}
            other => return other,
        }
    }
}
