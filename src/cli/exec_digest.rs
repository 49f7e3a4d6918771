//! The variable by which compose can tell that a container needs new values, and the host's key behind it.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: keeps a key of this host's own"
)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rand::RngCore;

use crate::exec::digest::KEY_LENGTH;
use crate::repo::atomic_write::{self, Mode, WriteError};
use crate::secret::SecretBytes;

/// The name of the variable.
pub const VARIABLE: &str = "COFFERDAM_DIGEST";

const FILE: &str = "digest.key";

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestKeyError {
    /// There is no folder for it.
    #[error("there is no folder for the host's key; --state DIR names one")]
    NoFolder,
    /// The key, or its folder, cannot be read or written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Somebody else may read or write it.
    #[error("{} is not private: it must be yours, mode 0600", path.display())]
    NotPrivate {
        /// The key.
        path: PathBuf,
    },
    /// It is no key.
    #[error("{} is not a key of {KEY_LENGTH} bytes", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

/// The host's key in `state`, made if there is none.
///
/// # Errors
/// [`DigestKeyError`].
pub fn key(state: Option<&Path>) -> Result<SecretBytes, DigestKeyError> {
    let state = match state {
        Some(state) => state.to_owned(),
        None => folder_of_system().ok_or(DigestKeyError::NoFolder)?,
    };
    let path = state.join(FILE);
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    atomic_write::create_folder(&state, 0o700)?;
    let mut new = SecretBytes::new(vec![0; KEY_LENGTH]);
    rand::rngs::OsRng.fill_bytes(new.expose_mut());
    match atomic_write::create_new(&path, new.expose(), Mode::Exact(0o600)) {
        Ok(()) | Err(WriteError::Uncertain { .. }) => Ok(new),
        // Another run was quicker.
        Err(WriteError::Exists { .. }) => read(&path)?.ok_or(DigestKeyError::NoKey { path }),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> Result<Option<SecretBytes>, DigestKeyError> {
    let Some(bytes) = atomic_write::read_no_follow(path)?.map(SecretBytes::new) else {
        return Ok(None);
    };
    let path = path.to_owned();
    let is_private = std::fs::symlink_metadata(&path).is_ok_and(|found| {
        found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0
    });
    if !is_private {
        return Err(DigestKeyError::NotPrivate { path });
    }
    if bytes.expose().len() != KEY_LENGTH {
        return Err(DigestKeyError::NoKey { path });
    }
    Ok(Some(bytes))
}

fn folder_of_system() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/cofferdam"));
    }
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("cofferdam"))
}
