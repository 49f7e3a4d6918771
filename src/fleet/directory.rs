//! What directory hosts and directory clusters share: paths that stay inside, key files, undoing.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: the directories of targets"
)]

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::fleet::generation::{Claim, mark_in, with_mark};
use crate::fleet::{Before, DirectoryCluster, DirectoryHost, FileBefore, Target, TargetError};
use crate::keys::Recipient;
use crate::keys::key_file::KeyFile;
use crate::ledger::Mark;
use crate::repo::atomic_write::{self, Mode};
use crate::repo::durable;
use crate::topology::host::{ClusterTarget, HostTarget, Reader};

/// The mode of a file of generations: no secret, nobody else's business.
const MARKS_MODE: u32 = 0o600;

/// The directory target of a reader, `local` being relative to `base`; none for a reader that is reached otherwise.
pub fn local_target(reader: Reader<'_>, base: &Path) -> Option<Box<dyn Target>> {
    match reader {
        Reader::Host(host) => match &host.target {
            HostTarget::Local(root) => Some(Box::new(DirectoryHost::new(
                &host.name,
                base.join(root),
                &host.identity_file,
            ))),
            HostTarget::Ssh(_) => None,
        },
        Reader::Cluster(cluster) => match &cluster.target {
            ClusterTarget::Local(root) => Some(Box::new(DirectoryCluster::new(
                &cluster.name,
                base.join(root),
                &cluster.secrets,
            ))),
            ClusterTarget::Context(_) => None,
        },
    }
}

/// A directory that stands for a target's root.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) target: String,
    pub(super) folder: PathBuf,
}

/// A key file as it was read.
///
/// # Secrets
/// Bytes and identities; both are wiped on drop.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) file: KeyFile,
    pub(super) mode: u32,
}

impl Root {
    /// Refuses a root that is absent and any symbolic link on the way to `path` (relative to the root).
    pub(super) fn resolve(&self, path: &str) -> Result<PathBuf, TargetError> {
        let unreachable = |source| TargetError::Unreachable {
            target: self.target.clone(),
            path: self.folder.clone(),
            source,
        };
        if !std::fs::metadata(&self.folder)
            .map_err(unreachable)?
            .is_dir()
        {
            return Err(unreachable(io::ErrorKind::NotADirectory.into()));
        }
        let mut at = self.folder.clone();
        let mut is_empty = true;
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if part == ".." {
                return Err(self.bad_path(path));
            }
            is_empty = false;
            at.push(part);
            match std::fs::symlink_metadata(&at) {
                Ok(metadata) if metadata.file_type().is_symlink() => {
                    return Err(TargetError::Symlink {
                        target: self.target.clone(),
                        path: at,
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.read_error(&at, source)),
            }
        }
        if is_empty {
            return Err(self.bad_path(path));
        }
        Ok(at)
    }

    /// Reads and parses a key file; none if it is absent.
    pub(super) fn open(&self, path: &str) -> Result<Option<Opened>, TargetError> {
        let full = self.resolve(path)?;
        let bytes = atomic_write::read_no_follow(&full).map_err(|error| match error {
            atomic_write::WriteError::Io { source, .. } => self.read_error(&full, source),
            other => self.write_error(other),
        })?;
        let Some(bytes) = bytes.map(Zeroizing::new) else {
            return Ok(None);
        };
        let file = KeyFile::parse(&bytes).map_err(|source| TargetError::KeyFile {
            target: self.target.clone(),
            path: full.clone(),
            source,
        })?;
        let mode = std::fs::symlink_metadata(&full)
            .map_err(|source| self.read_error(&full, source))?
            .permissions()
            .mode()
            & 0o7777;
        Ok(Some(Opened { bytes, file, mode }))
    }

    /// Writes a key file if it still is what was read; makes its folder (0700) and the folders above (0755) if need be.
    pub(super) fn write(
        &self,
        path: &str,
        read: Option<&Opened>,
        text: &str,
        mode: u32,
    ) -> Result<(), TargetError> {
        let full = self.resolve(path)?;
        self.make_folders(&full)?;
        let expected = read.map(|read| read.bytes.as_slice());
        atomic_write::replace_expecting(&full, expected, text.as_bytes(), Mode::Exact(mode))
            .map_err(|e| self.write_error(e))
    }

    fn make_folders(&self, full: &Path) -> Result<(), TargetError> {
        if let Some(folder) = full.parent() {
            if let Some(above) = folder.parent() {
                atomic_write::create_folder(above, 0o755).map_err(|e| self.write_error(e))?;
            }
            atomic_write::create_folder(folder, 0o700).map_err(|e| self.write_error(e))?;
        }
        Ok(())
    }

    /// What the file of generations at `path` says of the claimed lineage.
    pub(super) fn mark(&self, path: &str, claimed: &Claim) -> Result<Option<Mark>, TargetError> {
        let Some(claimed) = claimed.get() else {
            return Ok(None);
        };
        Ok(mark_in(&self.marks(path)?, claimed.lineage()))
    }

    fn marks(&self, path: &str) -> Result<String, TargetError> {
        let full = self.resolve(path)?;
        let bytes = atomic_write::read_no_follow(&full).map_err(|e| self.write_error(e))?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    }

    /// Protocol rule 14: refuses a target that a later generation wrote to.
    pub(super) fn guard(&self, path: &str, claimed: &Claim) -> Result<(), TargetError> {
        match claimed.ahead(self.mark(path, claimed)?.as_ref()) {
            None => Ok(()),
            Some(found) => Err(TargetError::Ahead {
                target: self.target.clone(),
                found,
                place: self.resolve(path)?.display().to_string(),
            }),
        }
    }

    /// Lets the target carry the claimed generation: done right before a write, so that a crash in between leaves a target
    /// that an older clone does not write to.
    pub(super) fn raise(&self, path: &str, claimed: &Claim) -> Result<(), TargetError> {
        self.guard(path, claimed)?;
        match claimed.get() {
            None => Ok(()),
            Some(claimed) => self.put_mark(path, claimed.lineage(), Some(claimed.mark())),
        }
    }

    /// Lets the target carry what it carried before a delivery.
    pub(super) fn lower(
        &self,
        path: &str,
        claimed: &Claim,
        before: &Before,
    ) -> Result<(), TargetError> {
        match claimed.get() {
            None => Ok(()),
            Some(claimed) => self.put_mark(path, claimed.lineage(), before.generation.as_ref()),
        }
    }

    fn put_mark(&self, path: &str, lineage: &str, mark: Option<&Mark>) -> Result<(), TargetError> {
        let full = self.resolve(path)?;
        let text = self.marks(path)?;
        let after = with_mark(&text, lineage, mark);
        if after == text {
            return Ok(());
        }
        if after.is_empty() {
            return atomic_write::remove(&full)
                .map(|_| ())
                .map_err(|e| self.write_error(e));
        }
        self.make_folders(&full)?;
        atomic_write::replace(&full, after.as_bytes(), Mode::Exact(MARKS_MODE))
            .map_err(|e| self.write_error(e))
    }

    /// Removes a key file if it still is what was read.
    pub(super) fn remove(&self, path: &str, read: &Opened) -> Result<(), TargetError> {
        let full = self.resolve(path)?;
        let now = self.open(path)?;
        if now.is_some_and(|now| now.bytes != read.bytes) {
            return Err(TargetError::Changed {
                target: self.target.clone(),
                path: full,
            });
        }
        atomic_write::remove(&full)
            .map(|_| ())
            .map_err(|e| self.write_error(e))
    }

    /// Notes one file, and the folders on the way to it that are absent.
    pub(super) fn note(&self, before: &mut Before, path: &str, opened: Option<&Opened>) {
        let path = path.trim_start_matches('/');
        if let Some(opened) = opened {
            before.files.insert(
                path.to_owned(),
                FileBefore {
                    mode: opened.mode,
                    final_newline: opened.bytes.last().is_none_or(|&byte| byte == b'\n'),
                },
            );
        }
        for (at, _) in path.match_indices('/') {
            let folder = &path[..at];
            if !self.folder.join(folder).exists()
                && !before.absent_folders.iter().any(|known| known == folder)
            {
                before.absent_folders.push(folder.to_owned());
            }
        }
    }

    /// The text of a key file without the identity of `recipient`, as it was before the delivery where that is known.
    pub(super) fn text_without(
        opened: &Opened,
        recipient: &Recipient,
        before: Option<FileBefore>,
    ) -> Zeroizing<String> {
        let text = opened.file.without(recipient);
        let mut text = Zeroizing::new(text.expose().clone());
        if before.is_some_and(|before| !before.final_newline) {
            let trimmed = text.strip_suffix('\n').map_or(text.len(), str::len);
            text.truncate(trimmed);
            if text.ends_with('\r') {
                text.pop();
            }
        }
        text
    }

    /// Removes the folders that a delivery had made, innermost first, as far as they are empty.
    pub(super) fn remove_folders(&self, before: &Before) -> Result<(), TargetError> {
        for folder in before.absent_folders.iter().rev() {
            let full = self.resolve(folder)?;
            match durable::remove_folder(&full) {
                Ok(()) => durable::sync_folder(full.parent().unwrap_or(&full))
                    .map_err(|source| self.read_error(&full, source))?,
                // Absent, or somebody put something there.
                Err(_) => continue,
            }
        }
        Ok(())
    }

    /// Sweeps the folders that hold these paths.
    pub(super) fn sweep<'a>(
        &self,
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<String>, TargetError> {
        let mut folders = BTreeSet::new();
        for path in paths {
            if let Some(folder) = self.resolve(path)?.parent() {
                folders.insert(folder.to_owned());
            }
        }
        let mut swept = Vec::new();
        for folder in folders {
            let files = atomic_write::sweep_temporary(&folder).map_err(|e| self.write_error(e))?;
            swept.extend(files.iter().map(|file| file.display().to_string()));
        }
        Ok(swept)
    }

    pub(super) fn read_error(&self, path: &Path, source: io::Error) -> TargetError {
        TargetError::Read {
            target: self.target.clone(),
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn write_error(&self, error: atomic_write::WriteError) -> TargetError {
        TargetError::write(&self.target, error)
    }

    fn bad_path(&self, path: &str) -> TargetError {
        TargetError::BadPath {
            target: self.target.clone(),
            path: path.to_owned(),
        }
    }
}
