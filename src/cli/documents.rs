//! Many documents at once: found below paths, opened in parallel.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: resolves the paths that the user names"
)]

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::ui::Progress;
use crate::keys::IdentitySet;
use crate::repo::scan::{self, FoundAt};
use crate::sops::{Document, DocumentError, Store, Verified};

/// Documents below some paths, each once, by the name that the user would know it by.
pub struct Documents(Vec<(String, PathBuf, Result<Document, DocumentError>)>);

/// A document by its name, opened or why not.
pub type Opened = (String, Result<(Document, Verified), DocumentError>);

impl Documents {
    /// Finds them: files that are named, whatever they hold, and documents in folders, by content.
    ///
    /// # Errors
    /// A path is missing or cannot be read.
    pub fn find(paths: &[PathBuf], context: &Context) -> Result<Self, CliError> {
        let paths: Vec<PathBuf> = paths.iter().map(|p| context.resolve(p)).collect();
        let mut found = scan::documents_at(&paths)?;
        // Two names of one file are one document.
        let mut seen = std::collections::HashSet::new();
        found.retain(|f| seen.insert(real(&f.path)));
        let read = |f: FoundAt| {
            let name = label(&f.path, &context.directory);
            let store = f.store.unwrap_or_else(|| Store::for_path(&name));
            (name, real(&f.path), Document::parse(store, f.source))
        };
        Ok(Self(found.into_par_iter().map(read).collect()))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and the real paths, in order.
    pub fn paths(&self) -> Vec<(String, PathBuf)> {
        let paths = self.0.iter();
        paths
            .map(|(name, path, _)| (name.clone(), path.clone()))
            .collect()
    }

    /// Opens all, in order; whatever must be asked or run is asked or run once for all of them.
    pub fn open(self, identities: &IdentitySet, progress: &Progress) -> Vec<Opened> {
        let wraps: Vec<_> = self
            .0
            .iter()
            .filter_map(|(_, _, document)| document.as_ref().ok())
            .flat_map(Document::wraps)
            .collect();
        identities.prefetch(&wraps);
        drop(wraps);
        let open = |(name, _, document): (String, PathBuf, Result<Document, DocumentError>)| {
            let opened = document.and_then(|document| {
                let verified = document.open_with(identities)?;
                Ok((document, verified))
            });
            progress.step();
            (name, opened)
        };
        self.0.into_par_iter().map(open).collect()
    }
}

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The path as seen from the working directory.
fn label(path: &Path, directory: &Path) -> String {
    let path = path.strip_prefix(directory).unwrap_or(path);
    let text = path.to_string_lossy();
    text.strip_prefix("./").unwrap_or(&text).to_owned()
}
