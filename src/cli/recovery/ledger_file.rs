//! The ledger's file as found, to be written back with a recovery receipt, and only if nobody else wrote it meanwhile.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cli::error::CliError;
use crate::keys::Recipient;
use crate::ledger::{LEDGER_PATH, Ledger};
use crate::repo::atomic_write::{self, Mode};

/// The ledger and its bytes as found.
pub struct LedgerFile {
    path: PathBuf,
    /// What it says.
    pub ledger: Ledger,
    found: Option<Vec<u8>>,
}

impl LedgerFile {
    /// Reads the ledger of the repository at `root`; an empty one if there is none yet.
    ///
    /// # Errors
    /// A ledger that cannot be read or is damaged.
    pub fn open(root: &Path) -> Result<Self, CliError> {
        let path = root.join(LEDGER_PATH);
        let found = atomic_write::read_no_follow(&path)?;
        let ledger = match &found {
            Some(bytes) => Ledger::parse(std::str::from_utf8(bytes)?)?,
            None => Ledger::new(),
        };
        Ok(Self {
            path,
            ledger,
            found,
        })
    }

    /// Records that the recovery identity of `recipient` was read back.
    ///
    /// # Errors
    /// The file cannot be written, or was changed meanwhile.
    pub fn record(mut self, recipient: &Recipient, now: Timestamp) -> Result<(), CliError> {
        self.ledger.record_recovery_read_back(recipient, now);
        let text = self.ledger.to_text()?;
        if let Some(folder) = self.path.parent() {
            atomic_write::create_folder(folder, 0o755)?;
        }
        atomic_write::replace_expecting(
            &self.path,
            self.found.as_deref(),
            text.as_bytes(),
            Mode::Keep,
        )?;
        Ok(())
    }
}
