//! The public ledger, `.cofferdam/keyring.toml`: each identity's id, holder, recipient, state, dates and receipts.
//!
//! Committed with the repository; holds no secret. The only place where an identity's state changes. Receipts here
//! are a record for people: they open no gate, the recovery recipient's read-back aside.

mod generation;
mod record;
mod state;

pub use generation::{Generation, Mark, NoGeneration};
pub use record::{Holder, ReadBack, Receipt, ReceiptKind, Record, RevokedParty, Tombstone};
pub use state::{State, TransitionError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::keys::Recipient;

/// Where the ledger stands, relative to the repository's root.
pub const LEDGER_PATH: &str = ".cofferdam/keyring.toml";

const HEADER: &str = "# The public ledger of this repository's identities, written by cofferdam; it holds no secret.\n\
                      # `cofferdam status` shows it.\n";

/// All identities that were ever minted or adopted here, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The version of this file's form; 1.
    version: u32,
    /// How far it has come; none before the first run that minted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
    /// The identities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    identities: Vec<Record>,
    /// Recovery identities that were read back from where they are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recovery: Vec<ReadBack>,
    /// Readers that were revoked, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<Tombstone>,
    /// Operators and recovery that were revoked, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked_parties: Vec<RevokedParty>,
}

/// Why a ledger could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not TOML, or not a ledger's TOML.
    #[error("{LEDGER_PATH} is damaged")]
    Malformed(#[source] toml_edit::de::Error),
    /// Written by a later Cofferdam.
    #[error("{LEDGER_PATH} has version {0}; this cofferdam knows version 1")]
    Version(u32),
    /// Could not be written as TOML.
    #[error("{LEDGER_PATH} could not be put together")]
    Unprintable(#[source] toml_edit::ser::Error),
    /// No such identity.
    #[error("{LEDGER_PATH} knows no identity {0:?}")]
    UnknownId(String),
    /// There is no generation after the last.
    #[error("{LEDGER_PATH} cannot be raised to a further generation")]
    Generation(#[from] NoGeneration),
    /// The id is taken.
    #[error("{LEDGER_PATH} already has an identity {0:?}")]
    TakenId(String),
    /// An identity that documents were wrapped to stays in the ledger.
    #[error("identity {0} was used and stays in {LEDGER_PATH}")]
    Used(String),
    /// A state change that the life of an identity does not have.
    #[error("identity {id:?}")]
    Transition {
        /// The identity.
        id: String,
        /// What was tried.
        #[source]
        source: TransitionError,
    },
}

impl Ledger {
    /// A ledger without identities.
    pub fn new() -> Self {
        Self {
            version: 1,
            ..Self::default()
        }
    }

    /// Reads a ledger's text.
    ///
    /// # Errors
    /// [`LedgerError::Malformed`], [`LedgerError::Version`].
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let ledger: Ledger = toml_edit::de::from_str(text).map_err(LedgerError::Malformed)?;
        if ledger.version != 1 {
            return Err(LedgerError::Version(ledger.version));
        }
        Ok(ledger)
    }

    /// The ledger's text.
    ///
    /// # Errors
    /// [`LedgerError::Unprintable`], which no ledger built here meets.
    pub fn to_text(&self) -> Result<String, LedgerError> {
        let body = toml_edit::ser::to_string_pretty(self).map_err(LedgerError::Unprintable)?;
        Ok(format!("{HEADER}{body}"))
    }

    /// All records, oldest first.
    pub fn records(&self) -> &[Record] {
        &self.identities
    }

    /// The record with this id.
    pub fn record(&self, id: &str) -> Option<&Record> {
        self.identities.iter().find(|r| r.id == id)
    }

    /// The latest record of this recipient.
    pub fn record_of(&self, recipient: &Recipient) -> Option<&Record> {
        self.identities
            .iter()
            .rev()
            .find(|r| r.recipient == *recipient)
    }

    /// The identity that serves `holder` now: not retiring, retired, withdrawn or compromised.
    pub fn live(&self, holder: &Holder) -> Option<&Record> {
        self.identities
            .iter()
            .rev()
            .find(|r| r.holder == *holder && r.state.is_live())
    }

    /// How far the ledger has come; none before the first run that minted.
    pub fn generation(&self) -> Option<&Generation> {
        self.generation.as_ref()
    }

    /// Raises the generation for the run `run`, once.
    ///
    /// # Errors
    /// [`LedgerError::Generation`] if there is none after it, or `run` is no name of a run.
    pub fn raise_generation(&mut self, run: &str) -> Result<(), LedgerError> {
        let current = self.generation.as_ref();
        if current.is_none_or(|generation| generation.mark().run() != run) {
            self.generation = Some(Generation::after(current, run)?);
        }
        Ok(())
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`LedgerError::TakenId`].
    pub fn add(&mut self, record: Record) -> Result<(), LedgerError> {
        if self.record(&record.id).is_some() {
            return Err(LedgerError::TakenId(record.id));
        }
        self.identities.push(record);
        Ok(())
    }

    /// Takes out an identity that nothing ever used.
    ///
    /// # Errors
    /// [`LedgerError::UnknownId`]; [`LedgerError::Used`] for one that documents were wrapped to.
    pub fn forget(&mut self, id: &str) -> Result<(), LedgerError> {
        let record = self.record_mut(id)?;
        if !record.state.precedes(State::Active) {
            return Err(LedgerError::Used(id.to_owned()));
        }
        self.identities.retain(|r| r.id != id);
        Ok(())
    }

    /// Moves an identity on in its life; to the state it has already is no change.
    ///
    /// # Errors
    /// [`LedgerError::UnknownId`], [`LedgerError::Transition`].
    pub fn advance(&mut self, id: &str, to: State, at: Timestamp) -> Result<(), LedgerError> {
        let record = self.record_mut(id)?;
        if record.state == to {
            return Ok(());
        }
        record.state = record
            .state
            .advance(to)
            .map_err(|source| LedgerError::Transition {
                id: id.to_owned(),
                source,
            })?;
        record.since = at;
        if to != State::Retiring {
            record.kept_for.clear();
        }
        Ok(())
    }

    /// Says for which readers' sake documents stay wrapped to an identity that retires.
    ///
    /// # Errors
    /// [`LedgerError::UnknownId`].
    pub fn keep_for(&mut self, id: &str, readers: &[String]) -> Result<(), LedgerError> {
        self.record_mut(id)?.kept_for = readers.to_vec();
        Ok(())
    }

    /// Notes that a reader has, or is about to have, an identity.
    ///
    /// # Errors
    /// [`LedgerError::UnknownId`].
    pub fn give(&mut self, id: &str, reader: &str) -> Result<(), LedgerError> {
        let record = self.record_mut(id)?;
        if !record.given_to.iter().any(|name| name == reader) {
            record.given_to.push(reader.to_owned());
        }
        Ok(())
    }

    /// The readers that were revoked, oldest first.
    pub fn revoked(&self) -> &[Tombstone] {
        &self.revoked
    }

    /// Notes that a reader is revoked; an older note of the same name goes.
    pub fn bury(&mut self, tombstone: Tombstone) {
        if self.revoked.contains(&tombstone) {
            return;
        }
        self.revoked.retain(|t| t.name != tombstone.name);
        self.revoked.push(tombstone);
    }

    /// The operator or recovery that was revoked with this recipient.
    pub fn revoked_party(&self, recipient: &Recipient) -> Option<&RevokedParty> {
        let mut parties = self.revoked_parties.iter();
        parties.find(|party| party.recipient == *recipient)
    }

    /// The operators and recovery recipients that were revoked, oldest first.
    pub fn revoked_parties(&self) -> &[RevokedParty] {
        &self.revoked_parties
    }

    /// Notes that an operator, or recovery, is revoked; once noted it stays.
    pub fn revoke_party(&mut self, party: RevokedParty) {
        if self.revoked_party(&party.recipient).is_none() {
            self.revoked_parties.push(party);
        }
    }

    /// Keeps the newest receipt of each reader for an identity.
    ///
    /// # Errors
    /// [`LedgerError::UnknownId`].
    pub fn receive(&mut self, id: &str, receipt: Receipt) -> Result<(), LedgerError> {
        let record = self.record_mut(id)?;
        record.receipts.retain(|r| r.reader != receipt.reader);
        record.receipts.push(receipt);
        Ok(())
    }

    /// Notes that the recovery identity of `recipient` was read back from where it is kept.
    pub fn record_recovery_read_back(&mut self, recipient: &Recipient, at: Timestamp) {
        self.recovery.retain(|r| r.recipient != *recipient);
        self.recovery.push(ReadBack {
            recipient: recipient.clone(),
            read_back: at,
        });
    }

    /// When the recovery identity of `recipient` was last read back; none if never.
    pub fn recovery_read_back(&self, recipient: &Recipient) -> Option<Timestamp> {
        self.recovery
            .iter()
            .find(|r| r.recipient == *recipient)
            .map(|r| r.read_back)
    }

    /// A free id `<stem>-<year>-<month>`, with `-2`, `-3`, … where taken.
    pub fn free_id(&self, stem: &str, at: Timestamp, also_taken: &[String]) -> String {
        let date = at.to_string();
        let month = date.get(..7).unwrap_or("0000-00").to_owned();
        let base = format!("{stem}-{month}");
        let taken = |id: &str| self.record(id).is_some() || also_taken.iter().any(|t| t == id);
        if !taken(&base) {
            return base;
        }
        let mut number = 2;
        loop {
            let id = format!("{base}-{number}");
            if !taken(&id) {
                return id;
            }
            number += 1;
        }
    }

    fn record_mut(&mut self, id: &str) -> Result<&mut Record, LedgerError> {
        self.identities
            .iter_mut()
            .find(|r| r.id == id)
            .ok_or_else(|| LedgerError::UnknownId(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient() -> Recipient {
        Recipient::parse("age12c9kanc9dldzlz2wxyeu9ap8m5syar5a64dz7nkhcu3u36txsscsmfymuj").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn sample() -> Ledger {
        let mut ledger = Ledger::new();
        let now = at("2026-11-23T10:00:00Z");
        ledger
            .add(Record::minted(
                "lan-2026-11",
                Holder::Zone("lan".into()),
                recipient(),
                now,
            ))
            .unwrap();
        ledger.record_recovery_read_back(&recipient(), now);
        ledger
    }

    #[test]
    fn text_round_trip() {
        let mut ledger = sample();
        ledger
            .receive(
                "lan-2026-11",
                Receipt {
                    reader: "kasm".into(),
                    kind: ReceiptKind::Unwrapped,
                    at: at("2026-11-23T10:00:01Z"),
                },
            )
            .unwrap();
        let text = ledger.to_text().unwrap();
        assert_eq!(Ledger::parse(&text).unwrap(), ledger);
        assert_eq!(Ledger::parse(&text).unwrap().to_text().unwrap(), text);
    }

    #[test]
    fn states_follow_the_life_of_an_identity() {
        let mut ledger = sample();
        let now = at("2026-11-23T10:00:00Z");
        ledger.advance("lan-2026-11", State::Proven, now).unwrap();
        ledger.advance("lan-2026-11", State::Active, now).unwrap();
        assert!(ledger.advance("lan-2026-11", State::Minted, now).is_err());
        ledger.advance("lan-2026-11", State::Retiring, now).unwrap();
        assert!(ledger.live(&Holder::Zone("lan".into())).is_none());
        ledger.advance("lan-2026-11", State::Retired, now).unwrap();
        assert!(ledger.advance("lan-2026-11", State::Active, now).is_err());
    }

    #[test]
    fn ids_are_dated_and_unique() {
        let ledger = sample();
        let now = at("2026-11-23T10:00:00Z");
        assert_eq!(ledger.free_id("k8s", now, &[]), "k8s-2026-11");
        assert_eq!(ledger.free_id("lan", now, &[]), "lan-2026-11-2");
        assert_eq!(
            ledger.free_id("lan", now, &["lan-2026-11-2".into()]),
            "lan-2026-11-3"
        );
    }

    #[test]
    fn a_later_version_is_refused() {
        assert!(matches!(
            Ledger::parse("version = 2\n"),
            Err(LedgerError::Version(2))
        ));
    }
}
