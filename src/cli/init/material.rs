//! Reads from the work tree what evidence is taken from (edge).

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::path::Path;

use rayon::prelude::*;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::evidence::{DocumentFacts, Sources};
use crate::repo::{Git, Scan};
use crate::repo_path::RepoPath;
use crate::sops::{self, Document, DocumentError};

/// Larger files are no configuration that a person wrote.
pub const MAX_TEXT: u64 = 1 << 20;

/// A SOPS document by its path, or why it cannot be read.
pub type ReadDocument = (RepoPath, Result<Document, DocumentError>);

/// Scans the repository and reads the texts that may be evidence.
///
/// # Errors
/// If git cannot list the files, or a file that may be a SOPS document cannot be read.
pub fn collect(git: &Git, context: &Context) -> Result<Sources, CliError> {
    let scan = Scan::of_repository(git)?;
    let problems: Vec<String> = scan
        .problems()
        .map(|(path, why)| format!("cannot look into {}: {why:?}", path.display()))
        .collect();
    if !problems.is_empty() {
        return Err(CliError::many(Kind::Failed, problems));
    }
    let (sources, documents) = read(scan, git.root());
    for (path, document) in documents {
        if let Err(error) = document {
            // `plan` will name it again.
            context.ui.warn(format!("{path}: {error}"));
        }
    }
    Ok(sources)
}

/// Reads the texts of a scan that may be evidence, and its documents; one that cannot be read is among the sources
/// without any facts.
pub fn read(scan: Scan, root: &Path) -> (Sources, Vec<ReadDocument>) {
    read_with(scan, |path: &RepoPath| {
        let file = path.under(root);
        let is_small = || std::fs::metadata(&file).is_ok_and(|m| m.len() <= MAX_TEXT);
        let is_wanted = may_be_evidence(path) && is_small();
        is_wanted
            .then(|| std::fs::read_to_string(&file).ok())
            .flatten()
    })
}

/// As [`read`], with texts from elsewhere than the work tree.
pub fn read_with(
    scan: Scan,
    text: impl Fn(&RepoPath) -> Option<String> + Sync,
) -> (Sources, Vec<ReadDocument>) {
    let mut sources = Sources::default();
    let texts: Vec<Option<String>> = scan.others.par_iter().map(&text).collect();
    for (path, text) in scan.others.into_iter().zip(texts) {
        if let Some(text) = text {
            sources.texts.insert(path.clone(), text);
        }
        sources.paths.insert(path);
    }
    let parsed: Vec<(String, ReadDocument)> = scan
        .documents
        .into_par_iter()
        .map(|found| {
            let text = String::from_utf8_lossy(&found.source).into_owned();
            (
                text,
                (found.path, Document::parse(found.store, found.source)),
            )
        })
        .collect();
    let mut documents = Vec::new();
    for (text, (path, document)) in parsed {
        let facts = document.as_ref().map(facts).unwrap_or_default();
        sources.texts.insert(path.clone(), text);
        sources.documents.insert(path.clone(), facts);
        sources.paths.insert(path.clone());
        documents.push((path, document));
    }
    (sources, documents)
}

/// Whether a file of this name may be evidence.
pub fn may_be_evidence(path: &RepoPath) -> bool {
    let name = path.file_name();
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
    matches!(
        extension,
        "yaml" | "yml" | "toml" | "cfg" | "sh" | "env" | "service" | "nix"
    ) || name.contains("Dockerfile")
        || !name.contains('.')
}

/// What a document's metadata say.
fn facts(document: &Document) -> DocumentFacts {
    let own = document.selection();
    let is_default = *own == sops::selection::Selection::default();
    DocumentFacts {
        recipients: document.recipients().into_iter().cloned().collect(),
        selection: (!is_default).then(|| (own.selector(), own.text().to_owned())),
        mac_only_encrypted: document.mac_only_encrypted(),
        selection_origin: None,
    }
}
