//! What was retired stays sealed, so that documents that come late can still be opened (protocol rules 1 and 13).

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use crate::cli::error::CliError;
use crate::cli::project::Project;
use crate::keys::{IdentitySet, Recipient};
use crate::keystore::sealed;
use crate::ledger::{Record, State};
use crate::plan::{Party, access};
use crate::repo::scan::Found;
use crate::sops::document::Document;

/// The identities at hand, and those of the ledger that documents need which nothing at hand opens: unsealed with what is.
///
/// # Secrets
/// The identities are in memory only.
pub fn for_documents(project: &Project, documents: &[Found]) -> IdentitySet {
    let mut identities = project.lookup.identities.share();
    let at_hand = identities.recipients();
    let mut needed: Vec<&Record> = Vec::new();
    for found in documents {
        let Ok(document) = Document::parse(found.store, found.source.clone()) else {
            continue;
        };
        let recipients = document.recipients();
        if recipients.iter().any(|r| at_hand.contains(r)) {
            continue;
        }
        for recipient in recipients {
            if let Some(record) = project.ledger.record_of(recipient)
                && matches!(record.state, State::Retired | State::Compromised)
                && !needed.iter().any(|n| n.id == record.id)
            {
                needed.push(record);
            }
        }
    }
    let always: Vec<Recipient> = access::always(&project.topology)
        .into_iter()
        .filter_map(|party| match party {
            Party::Identity(_) => None,
            Party::Operator { recipient, .. } | Party::Recovery { recipient } => Some(recipient),
        })
        .collect();
    for record in needed {
        let files: Vec<Vec<u8>> = always
            .iter()
            .filter_map(|to| {
                let name = sealed::sealed_file_name(&record.id, to);
                std::fs::read(project.sealed().join(name)).ok()
            })
            .collect();
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        // One that cannot be unsealed is missed where its document is opened, by name.
        if let Ok(Some(identity)) = sealed::unseal(&files, &project.lookup.identities)
            && identity.recipient().as_ref() == Some(&record.recipient)
        {
            identities.push(identity);
        }
    }
    identities
}

/// All sealed files of an identity, whoever they are sealed to.
///
/// # Errors
/// The folder, or one of them, cannot be read.
pub fn sealed_files(project: &Project, id: &str) -> Result<Vec<Vec<u8>>, CliError> {
    let folder = project.sealed();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name
            .strip_prefix(id)
            .and_then(|rest| rest.strip_prefix('.'));
        let is_its = rest.is_some_and(|rest| {
            let digest = rest.strip_suffix(".age");
            digest.is_some_and(|digest| !digest.contains('.'))
        });
        if is_its && entry.file_type()?.is_file() {
            files.push(std::fs::read(entry.path())?);
        }
    }
    Ok(files)
}
