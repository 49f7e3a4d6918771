//! What `unseal` did, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::exec::resident::{Change, Slot};

/// What was done, or would be.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Nothing was done.
    pub is_dry: bool,
    /// The folders, and what became of their files.
    pub folders: Vec<(Slot, Vec<(String, Change)>)>,
    /// Documents that do not open with the identities at hand.
    pub for_others: usize,
    /// What was to be done because of changes, and whether it was.
    pub actions: Vec<(String, bool)>,
    /// Containers that stopped for a missing file, and whether each was started.
    pub containers: Vec<(String, bool)>,
}

impl Outcome {
    /// The files that changed, a path a line.
    pub fn changed(&self) -> String {
        let mut text = String::new();
        for (slot, changes) in &self.folders {
            for (name, _) in changes.iter().filter(|(_, c)| *c != Change::Same) {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{}", slot.path().join(name).display());
            }
        }
        text
    }

    /// Prints it.
    ///
    /// # Errors
    /// The system's.
    pub fn print(&self, as_json: bool, context: &Context) -> Result<(), CliError> {
        if as_json {
            context
                .ui
                .answer(serde_json::to_string_pretty(&self.to_json())?);
            return Ok(());
        }
        for (slot, changes) in &self.folders {
            let home = slot.home.strip_prefix(&context.directory);
            let home = match home.unwrap_or(&slot.home) {
                here if here == Path::new("") => Path::new("."),
                other => other,
            };
            let mut text = match self.is_dry && slot.root == Path::new("") {
                true => home.display().to_string(),
                false => format!("{} in {}", home.display(), slot.path().display()),
            };
            if changes.iter().all(|(_, change)| *change == Change::Same) {
                text += ": unchanged";
            } else {
                for (name, change) in changes {
                    let _ = write!(text, "\n  {} {name}", sign(*change));
                }
            }
            context.ui.answer(text);
        }
        if self.for_others > 0 {
            let documents = match self.for_others {
                1 => "1 document does".to_owned(),
                many => format!("{many} documents do"),
            };
            context.ui.note(format!(
                "{documents} not open with the identities at hand, and stay as they are"
            ));
        }
        for (action, is_done) in &self.actions {
            let does = match (self.is_dry, is_done) {
                (true, _) => "would do",
                (false, true) => "done",
                (false, false) => "not done",
            };
            context.ui.answer(format!("{does}: {action}"));
        }
        Ok(())
    }

    fn to_json(&self) -> serde_json::Value {
        let folders = self.folders.iter().map(|(slot, changes)| {
            let files = changes.iter();
            let files = files.map(|(name, change)| json!({"name": name, "state": word(*change)}));
            json!({
                "folder": slot.home.to_string_lossy(),
                "path": slot.path().to_string_lossy(),
                "files": files.collect::<Vec<_>>(),
            })
        });
        let containers = self.containers.iter();
        let containers =
            containers.map(|(name, started)| json!({"name": name, "started": started}));
        let actions = self.actions.iter();
        let actions = actions.map(|(action, done)| json!({"action": action, "done": done}));
        json!({
            "dry_run": self.is_dry,
            "folders": folders.collect::<Vec<_>>(),
            "not_for_us": self.for_others,
            "actions": actions.collect::<Vec<_>>(),
            "containers": containers.collect::<Vec<_>>(),
        })
    }
}

fn sign(change: Change) -> char {
    match change {
        Change::New => '+',
        Change::Changed => '~',
        Change::Same => ' ',
        Change::Removed => '-',
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Changed => "changed",
        Change::Same => "same",
        Change::Removed => "removed",
    }
}
