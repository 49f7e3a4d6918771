//! Reads from the work tree what evidence is taken from (edge).

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::evidence::{DocumentFacts, Sources};
use crate::repo::scan::Found;
use crate::repo::{Git, Scan};
use crate::repo_path::RepoPath;
use crate::sops::{self, document::Document};

/// Larger files are no configuration that a person wrote.
const MAX_TEXT: u64 = 1 << 20;

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
    let mut sources = Sources::default();
    for path in scan.others {
        let file = path.under(git.root());
        if may_be_evidence(&path)
            && std::fs::metadata(&file).is_ok_and(|m| m.len() <= MAX_TEXT)
            && let Ok(text) = std::fs::read_to_string(&file)
        {
            sources.texts.insert(path.clone(), text);
        }
        sources.paths.insert(path);
    }
    for document in scan.documents {
        let text = String::from_utf8_lossy(&document.source).into_owned();
        let path = document.path.clone();
        sources.texts.insert(path.clone(), text);
        sources
            .documents
            .insert(path.clone(), facts(document, context));
        sources.paths.insert(path);
    }
    Ok(sources)
}

fn may_be_evidence(path: &RepoPath) -> bool {
    let name = path.file_name();
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
    matches!(
        extension,
        "yaml" | "yml" | "toml" | "cfg" | "sh" | "env" | "service"
    ) || name.contains("Dockerfile")
        || !name.contains('.')
}

/// What a document's metadata say; a note for one that cannot be read, which `plan` will name again.
fn facts(found: Found, context: &Context) -> DocumentFacts {
    let path = found.path.clone();
    let document = match Document::parse(found.store, found.source) {
        Ok(document) => document,
        Err(error) => {
            context.ui.warn(format!("{path}: {error}"));
            return DocumentFacts::default();
        }
    };
    let own = document.selection();
    let is_default = *own == sops::selection::Selection::default();
    DocumentFacts {
        recipients: document.recipients().into_iter().cloned().collect(),
        selection: (!is_default).then(|| (own.selector(), own.text().to_owned())),
        mac_only_encrypted: document.mac_only_encrypted(),
        selection_origin: None,
    }
}
