//! Protocol rule 12: whether a reader's own clones hold the rewritten documents, compared byte by byte.
//!
//! Only clones of directory hosts are looked at here: they lie under `local`.

#![expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]

use std::path::{Path, PathBuf};

use crate::apply::{ApplyError, Workspace, read_optional};
use crate::inventory::Digest;
use crate::journal::Progress;
use crate::plan::{Party, PlannedReader};
use crate::repo_path::RepoPath;
use crate::topology::{Glob, HostTarget};

/// The readers that lose an identity and whose clones are not there yet, each with what is missing.
pub(super) fn not_taken(
    work: &Workspace<'_>,
    progress: &Progress,
) -> Result<Vec<String>, ApplyError> {
    let mut waiting = Vec::new();
    let losing = progress.plan.readers.iter().filter(|r| !r.loses.is_empty());
    for reader in losing {
        let Some(host) = work.topology.host(&reader.name) else {
            continue;
        };
        let HostTarget::Local(local) = &host.target else {
            continue;
        };
        for glob in &host.clones {
            let folders = expand(&work.root.join(local), glob)?;
            if folders.is_empty() {
                waiting.push(format!("{}: {glob} matches nothing", reader.name));
            }
            for folder in folders {
                if let Some(path) = first_stale(work.root, &folder, reader, progress)? {
                    waiting.push(format!("{}: {path} in {}", reader.name, folder.display()));
                }
            }
        }
    }
    Ok(waiting)
}

/// The first document that `folder` holds in other bytes than the run's; one that it does not hold is not deployed there.
fn first_stale(
    root: &Path,
    folder: &Path,
    reader: &PlannedReader,
    progress: &Progress,
) -> Result<Option<String>, ApplyError> {
    for document in &progress.plan.documents {
        let read = document
            .after
            .iter()
            .any(|p| matches!(p, Party::Identity(id) if reader.needs.contains(id)));
        if !read {
            continue;
        }
        let ours = read_optional(&document.path.under(root))?;
        if let Some(bytes) = read_optional(&document.path.under(folder))?
            && Some(bytes) != ours
        {
            return Ok(Some(document.path.to_string()));
        }
    }
    Ok(None)
}

/// The folders below `root` that an absolute glob names, one path component at a time.
fn expand(root: &Path, glob: &str) -> Result<Vec<PathBuf>, ApplyError> {
    let mut folders = vec![root.to_owned()];
    for part in glob.split('/').filter(|p| !p.is_empty()) {
        let mut next = Vec::new();
        for folder in &folders {
            if !part.contains(['*', '?', '[', '{']) {
                next.push(folder.join(part));
                continue;
            }
            let Ok(pattern) = Glob::parse(part) else {
                continue;
            };
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            for entry in entries.flatten() {
                if entry
                    .file_name()
                    .to_str()
                    .is_some_and(|n| pattern.matches(n))
                {
                    next.push(entry.path());
                }
            }
        }
        folders = next;
    }
    folders.retain(|f| f.is_dir());
    folders.sort();
    Ok(folders)
}

/// Whether some clone of a directory host holds one of these bytes of a document: then others have seen the commit.
pub(super) fn hold(
    work: &Workspace<'_>,
    published: &[(RepoPath, Digest)],
) -> Result<bool, ApplyError> {
    for host in &work.topology.hosts {
        let HostTarget::Local(local) = &host.target else {
            continue;
        };
        for glob in &host.clones {
            for folder in expand(&work.root.join(local), glob)? {
                for (path, digest) in published {
                    let bytes = read_optional(&path.under(&folder))?;
                    if bytes.is_some_and(|b| Digest::of(&b) == *digest) {
                        return Ok(true);
                    }
                }
            }
        }
    }
    Ok(false)
}
