//! A plaintext file found where a link belongs: whether it is surely what a script decrypted here, and its end.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads and wipes the file that stands in the way"
)]

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::cli::error::CliError;
use crate::cli::plaintexts;
use crate::exec::folder;
use crate::keys::IdentitySet;
use crate::repo::{Git, content};
use crate::secret::SecretBytes;
use crate::sops::EmitOptions;

/// Whether git does not track `file`, and it holds what a committed version of `document` decrypts to.
///
/// Whatever cannot be told is a no: there is no repository, git fails, no identity at hand opens that version.
pub fn is_decrypted_here(
    file: &Path,
    document: &Path,
    identities: &IdentitySet,
    options: &EmitOptions,
) -> bool {
    let look = || -> Option<bool> {
        let folder = file.parent()?;
        let git = Git::discover(folder).ok()?;
        let root = std::fs::canonicalize(git.root()).ok()?;
        let below = |path: &Path| -> Option<std::path::PathBuf> {
            let folder = std::fs::canonicalize(path.parent()?).ok()?;
            let path = folder.join(path.file_name()?);
            Some(path.strip_prefix(&root).ok()?.to_owned())
        };
        let (file_below, document_below) = (below(file)?, below(document)?);
        if git.tracked().ok()?.contains(&file_below) {
            return Some(false);
        }
        let content = SecretBytes::new(content::whole(file).ok()?);
        let versions = git.file_versions().ok()?;
        let oids: Vec<_> = versions
            .iter()
            .filter(|version| version.path == document_below.as_os_str())
            .map(|version| &version.oid)
            .collect();
        let name = document.to_string_lossy();
        let is_it = |source| {
            plaintexts::text_of_version(&name, source, identities, options)
                .is_some_and(|text| text == content)
        };
        // The newest is the likeliest.
        Some(git.cat_files(&oids).ok()?.into_iter().rev().any(is_it))
    };
    look().unwrap_or(false)
}

/// Overwrites a file, syncs that, and removes it. A disk may keep older copies of its blocks.
///
/// # Errors
/// The system's.
pub fn wipe(path: &Path) -> Result<(), CliError> {
    let overwritten = File::options()
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .and_then(|mut file| {
            folder::overwrite(&mut file)?;
            file.sync_all()
        });
    overwritten
        .and_then(|()| std::fs::remove_file(path))
        .map_err(|e| CliError::failed(format!("cannot wipe {}", path.display())).caused_by(&e))
}
