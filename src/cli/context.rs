//! What every command gets: the user interface, the working directory, the environment as values.

use std::path::{Path, PathBuf};

use crate::cli::ui::Ui;

/// The surroundings of one call.
#[derive(Debug)]
pub struct Context {
    /// Output and questions.
    pub ui: Ui,
    /// The working directory, after `-C`; absolute.
    pub directory: PathBuf,
}

impl Context {
    /// `path` as the user meant it: relative to the working directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }
}
