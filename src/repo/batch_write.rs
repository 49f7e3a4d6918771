//! Many files replaced at once: each as [`crate::repo::atomic_write`] replaces one, but synced together (edge).

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::repo::atomic_write::{
    Expected, Mode, WriteError, fill, folder_of, look_at, put_in_place, temporary_path,
};
use crate::repo::durable;

/// One file of [`replace_all`].
#[derive(Debug)]
pub struct Replacement<'a> {
    /// The file.
    pub path: &'a Path,
    /// What must be there right before the rename.
    pub expected: Expected<'a>,
    /// What it gets.
    pub bytes: &'a [u8],
    /// The permissions it gets.
    pub mode: Mode,
}

/// Replaces or creates many files as [`crate::repo::atomic_write`] does each, but syncs them together.
///
/// Every new content is on disk before the first file is replaced: a full disk leaves all of them as they were. Returns one
/// result per file, in order; a file that changed meanwhile is left alone and the others go on.
///
/// # Errors
/// The first [`WriteError`] of a content that could not be written: nothing was replaced.
pub fn replace_all(
    replacements: &[Replacement<'_>],
) -> Result<Vec<Result<(), WriteError>>, WriteError> {
    let temporaries: Vec<Result<PathBuf, WriteError>> =
        replacements.par_iter().map(write_beside).collect();
    let drop_all = || {
        for temporary in temporaries.iter().flatten() {
            let _ = durable::unlink(temporary);
        }
    };
    if temporaries.iter().any(Result::is_err) {
        drop_all();
        return match temporaries.into_iter().find_map(Result::err) {
            Some(error) => Err(error),
            None => Ok(Vec::new()),
        };
    }
    let files: Vec<PathBuf> = temporaries.iter().flatten().cloned().collect();
    let Some(first) = replacements.first() else {
        return Ok(Vec::new());
    };
    if let Err(error) = durable::sync_all(&files, &[]) {
        drop_all();
        return Err(WriteError::io("sync", first.path)(error));
    }
    let results: Vec<Result<(), WriteError>> = replacements
        .iter()
        .zip(&files)
        .map(|(replacement, temporary)| {
            durable::crash_point("replace");
            put_in_place(temporary, replacement.path, &replacement.expected).inspect_err(|_| {
                let _ = durable::unlink(temporary);
            })
        })
        .collect();
    let mut folders: Vec<PathBuf> = files.iter().map(|f| folder_of(f).to_owned()).collect();
    folders.sort();
    folders.dedup();
    if let Err(source) = durable::sync_all(&[], &folders) {
        let path = first.path.to_owned();
        return Err(WriteError::Uncertain { path, source });
    }
    Ok(results)
}

fn write_beside(replacement: &Replacement<'_>) -> Result<PathBuf, WriteError> {
    let path = replacement.path;
    let before = look_at(path, &replacement.expected)?;
    let temporary = temporary_path(path)?;
    match fill(
        &temporary,
        path,
        replacement.bytes,
        replacement.mode,
        before.as_ref(),
    ) {
        Ok(_) => Ok(temporary),
        Err(error) => {
            let _ = durable::unlink(&temporary);
            Err(error)
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "edge: tests make files to replace"
)]
mod tests {
    use super::*;

    #[test]
    fn replaces_all_and_leaves_a_changed_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..20).map(|n| folder.path().join(n.to_string())).collect();
        for path in &paths {
            std::fs::write(path, "old").unwrap();
        }
        std::fs::write(&paths[7], "edited").unwrap();
        let replacements: Vec<Replacement> = paths
            .iter()
            .map(|path| Replacement {
                path,
                expected: Expected::Bytes(b"old"),
                bytes: b"new",
                mode: Mode::Keep,
            })
            .collect();
        let results = replace_all(&replacements).unwrap();
        for (n, (path, result)) in paths.iter().zip(results).enumerate() {
            let changed = matches!(result, Err(WriteError::Changed { .. }));
            assert_eq!(changed, n == 7);
            let text = if n == 7 { "edited" } else { "new" };
            assert_eq!(std::fs::read_to_string(path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 20);
    }

    #[test]
    fn one_that_cannot_be_written_stops_all() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good");
        let bad = folder.path().join("missing/bad");
        std::fs::write(&good, "old").unwrap();
        let replacement = |path| Replacement {
            path,
            expected: Expected::Anything,
            bytes: b"new".as_slice(),
            mode: Mode::Keep,
        };
        assert!(replace_all(&[replacement(good.as_path()), replacement(bad.as_path())]).is_err());
        assert_eq!(std::fs::read_to_string(&good).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
