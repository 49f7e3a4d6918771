//! What tells who left (protocol rule 4): the sealed files that there are and were, and earlier versions of `cofferdam.toml`.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::path::Path;

use crate::apply::TOPOLOGY_PATH;
use crate::cli::error::CliError;
use crate::keys::Recipient;
use crate::ledger::Ledger;
use crate::plan::departed::{self, DepartedInput, Former, Seals};
use crate::repo::git::Git;
use crate::repo_path::RepoPath;
use crate::topology::{Topology, operators};

/// The sealed files of the work tree and of HEAD's history.
///
/// # Errors
/// The folder cannot be read; git fails.
pub fn seals(git: &Git, topology: &Topology) -> Result<Seals, CliError> {
    let folder = git.root().join(&topology.sealed_folder);
    let mut seals = Seals::default();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let text = format!("cannot read {}", folder.display());
            return Err(CliError::failed(text).caused_by(&error));
        }
    };
    for entry in entries.into_iter().flatten() {
        let name = entry?.file_name();
        seals.now.extend(name.to_str().and_then(Seals::of_name));
    }
    seals.ever.clone_from(&seals.now);
    // A folder outside of the repository has no history.
    let inside = folder.strip_prefix(git.root()).ok();
    if let Some(inside) = inside.and_then(|path| RepoPath::from_path(path).ok()) {
        let names = git.names_ever_in(&inside)?;
        seals
            .ever
            .extend(names.iter().filter_map(|name| Seals::of_name(name)));
    }
    Ok(seals)
}

/// Operators and recovery of the earlier versions of `cofferdam.toml`, newest first, each recipient once.
///
/// # Errors
/// Git fails.
pub fn formers(git: &Git) -> Result<Vec<Former>, CliError> {
    let mut formers: Vec<Former> = Vec::new();
    for text in git.contents_ever(&RepoPath::from_path(Path::new(TOPOLOGY_PATH))?)? {
        for (name, recipient) in operators::parties_in(&String::from_utf8_lossy(&text)) {
            if !formers.iter().any(|f| f.recipient == recipient) {
                formers.push(Former { name, recipient });
            }
        }
    }
    Ok(formers)
}

/// Which identities somebody who left knows, and which are not sealed to everybody who reads everything; one line each.
///
/// # Errors
/// As [`seals`] and [`formers`].
pub fn drift(
    git: &Git,
    topology: &Topology,
    ledger: &Ledger,
    documents: &[(RepoPath, Vec<Recipient>)],
) -> Result<Vec<String>, CliError> {
    let (seals, formers) = (seals(git, topology)?, formers(git)?);
    let input = DepartedInput {
        topology,
        ledger,
        seals: &seals,
        formers: &formers,
    };
    let departed = departed::departed(&input, documents.iter().map(|(_, to)| to.as_slice()));
    let exposed = departed::exposed(&input, &departed).into_iter();
    let mut lines: Vec<String> = exposed
        .map(|e| format!("{}: {} (cofferdam sync replaces it)", e.id, e.why))
        .collect();
    for (id, parties) in departed::lacking(&input) {
        if ledger.record(&id).is_some_and(|r| r.state.is_live()) {
            let parties: Vec<String> = parties.iter().map(|p| p.label()).collect();
            lines.push(format!("{id} is not sealed to {} yet", parties.join(", ")));
        }
    }
    Ok(lines)
}
