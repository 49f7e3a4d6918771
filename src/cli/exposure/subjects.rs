//! Which identities an exposure is asked for, and the identities themselves where they can be had.

use std::path::{Path, PathBuf};

use crate::cli::error::CliError;
use crate::exposure::Subject;
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::keystore::{self, Outcome, Surroundings};
use crate::ledger::{Ledger, Record, State};

/// What the user asked for, and where to look.
pub struct Wanted<'a> {
    /// Ids or recipients; none: all that the ledger retires.
    pub ids: &'a [String],
    /// Key files.
    pub files: &'a [PathBuf],
    /// The identities that exist.
    pub ledger: &'a Ledger,
    /// The folder of sealed identities.
    pub sealed: &'a Path,
    /// The identities of whoever asks.
    pub at_hand: &'a IdentitySet,
    /// Where passphrases are asked for.
    pub surroundings: &'a Surroundings,
}

/// The subjects, each with its identity if it is at hand or sealed to somebody at hand.
///
/// # Errors
/// Usage: a file without an identity, an id that is neither in the ledger nor a recipient.
pub fn find(wanted: &Wanted<'_>) -> Result<Vec<Subject>, CliError> {
    let mut subjects: Vec<Subject> = Vec::new();
    for path in wanted.files {
        for subject in of_file(path, wanted)? {
            add(&mut subjects, subject);
        }
    }
    for id in wanted.ids {
        let record = wanted.ledger.record(id);
        let recipient = match record {
            Some(record) => record.recipient.clone(),
            None => Recipient::parse(id).map_err(|_| {
                CliError::usage(format!(
                    "{id} is neither an identity of the ledger nor a recipient"
                ))
                .hint("cofferdam status lists the ledger's identities")
            })?,
        };
        let record = record.or_else(|| wanted.ledger.record_of(&recipient));
        add(&mut subjects, of_recipient(&recipient, record, wanted));
    }
    if wanted.ids.is_empty() && wanted.files.is_empty() {
        for record in wanted.ledger.records() {
            if matches!(
                record.state,
                State::Retiring | State::Retired | State::Compromised
            ) {
                add(
                    &mut subjects,
                    of_recipient(&record.recipient, Some(record), wanted),
                );
            }
        }
    }
    Ok(subjects)
}

fn add(subjects: &mut Vec<Subject>, subject: Subject) {
    let known =
        subject.recipient.is_some() && subjects.iter().any(|s| s.recipient == subject.recipient);
    if !known {
        subjects.push(subject);
    }
}

fn of_file(path: &Path, wanted: &Wanted<'_>) -> Result<Vec<Subject>, CliError> {
    let lookup = keystore::look_up_file(path, wanted.surroundings);
    let failed = lookup
        .sources
        .iter()
        .find_map(|source| match &source.outcome {
            Outcome::Failed { reason } => Some(reason.clone()),
            _ => None,
        });
    if let Some(reason) = failed {
        return Err(CliError::usage(format!(
            "{} has no identity that can be read: {reason}",
            path.display()
        )));
    }
    lookup.identities.read_all();
    if let Some((name, reason)) = lookup.identities.failures().into_iter().next() {
        return Err(CliError::usage(format!("{name}: {reason}")));
    }
    let identities = lookup.identities.identities();
    if identities.is_empty() {
        // Under a passphrase, or by a plugin: one subject of unknown recipient.
        return Ok(vec![Subject {
            name: path.display().to_string(),
            recipient: None,
            identity: Some(lookup.identities.share()),
        }]);
    }
    Ok(identities
        .iter()
        .map(|identity| {
            let recipient = identity.recipient();
            let record = recipient.as_ref().and_then(|r| wanted.ledger.record_of(r));
            Subject {
                name: match (&record, &recipient) {
                    (Some(record), _) => record.id.clone(),
                    (None, Some(recipient)) => recipient.short(),
                    (None, None) => path.display().to_string(),
                },
                recipient,
                identity: Some(IdentitySet::new(vec![identity.share()])),
            }
        })
        .collect())
}

fn of_recipient(recipient: &Recipient, record: Option<&Record>, wanted: &Wanted<'_>) -> Subject {
    let identity = wanted.at_hand.get(recipient);
    let identity = identity.or_else(|| unsealed(record?, wanted));
    Subject {
        name: record.map_or_else(|| recipient.short(), |r| r.id.clone()),
        recipient: Some(recipient.clone()),
        identity: identity.map(|identity| IdentitySet::new(vec![identity])),
    }
}

/// The identity as it is sealed to operators and recovery; a file that does not hold it counts as none.
#[expect(clippy::disallowed_methods, reason = "edge: the command line")]
fn unsealed(record: &Record, wanted: &Wanted<'_>) -> Option<Identity> {
    let prefix = format!("{}.", record.id);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(wanted.sealed).ok()?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(".age") {
            files.extend(std::fs::read(entry.path()).ok());
        }
    }
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let identity = keystore::unseal(&files, wanted.at_hand).ok()??;
    (identity.recipient().as_ref() == Some(&record.recipient)).then_some(identity)
}
