//! Our own files: what they hold at first is kept for undo, and git is told to ignore the journal.

use crate::apply::journal_file::{JOURNAL_FOLDER, Side};
use crate::apply::{ApplyError, GITIGNORE_PATH, Run, read_optional};
use crate::journal::Step;
use crate::ledger::LEDGER_PATH;
use crate::repo::atomic_write::{self, Mode};

impl Run<'_> {
    /// Keeps the bytes of our own files (staging keeps those of documents), and has git ignore the journal.
    pub(super) fn prepare(&mut self) -> Result<(), ApplyError> {
        // Steps of their own: once a copy may differ from its file, it must not be taken again.
        if !self.is_done(&Step::Keep) {
            self.step(Step::Keep, |run| {
                run.keep("gitignore", GITIGNORE_PATH)?;
                run.keep("ledger", LEDGER_PATH)?;
                run.keep_stale_seals()
            })?;
        }
        self.keep_digests()?;
        if !self.is_done(&Step::Prepare) {
            self.step(Step::Prepare, |run| run.ignore_journal())?;
        }
        Ok(())
    }

    /// Copies a file's bytes to the journal's folder; a missing file leaves no copy.
    fn keep(&self, slot: &str, path: &str) -> Result<(), ApplyError> {
        let copy = self.journal.slot(Side::Before, slot);
        if let Some(bytes) = read_optional(&self.work.root.join(path))? {
            atomic_write::replace(&copy, &bytes, Mode::Exact(0o600))?;
        }
        Ok(())
    }

    fn ignore_journal(&self) -> Result<(), ApplyError> {
        let path = self.work.root.join(GITIGNORE_PATH);
        let text = read_optional(&path)?;
        if let Some(text) = ignoring_journal(text.as_deref()) {
            atomic_write::replace(&path, &text, Mode::Keep)?;
        }
        Ok(())
    }
}

/// The text of `.gitignore` with the line that names the journal; none if it has it.
pub(super) fn ignoring_journal(text: Option<&[u8]>) -> Option<Vec<u8>> {
    let line = format!("/{JOURNAL_FOLDER}/");
    let mut text = text.unwrap_or_default().to_vec();
    if text.split(|b| *b == b'\n').any(|l| l == line.as_bytes()) {
        return None;
    }
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    Some(text)
}
