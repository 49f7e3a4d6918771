//! The rehearsal: a kit alone opens every document that is encrypted to it, and every identity that is sealed to it.

use crate::keys::{IdentitySet, Recipient};
use crate::ledger::{Ledger, Record, State};
use crate::repo_path::RepoPath;
use crate::sops::document::{Document, DocumentError};

/// A kit under test: the identity of one recovery recipient, and nothing else.
#[derive(Debug)]
pub struct Drill<'a> {
    /// Whose kit it is.
    pub recipient: &'a Recipient,
    /// The kit's identity alone.
    pub kit: &'a IdentitySet,
}

/// What a rehearsal showed.
#[derive(Debug, Default)]
pub struct Rehearsal {
    /// How many documents the kit opened, MAC and all.
    pub opened: usize,
    /// Documents that are not encrypted to the kit's recipient.
    pub not_ours: Vec<RepoPath>,
    /// Documents that are, and do not open with it.
    pub failed: Vec<(RepoPath, DocumentError)>,
}

impl Drill<'_> {
    /// Opens `document` with the kit alone and notes how that went.
    pub fn open(&self, path: &RepoPath, document: &Document, into: &mut Rehearsal) {
        if !document.recipients().contains(&self.recipient) {
            into.not_ours.push(path.clone());
            return;
        }
        match document.open_with(self.kit) {
            Ok(_) => into.opened += 1,
            Err(error) => into.failed.push((path.clone(), error)),
        }
    }
}

/// The identities that a kit must be able to unseal: all that any document, today or in history, was encrypted to.
pub fn sealed_for_good(ledger: &Ledger) -> impl Iterator<Item = &Record> {
    let records = ledger.records().iter();
    records.filter(|record| record.state != State::Withdrawn)
}
