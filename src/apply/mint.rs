//! Mint: take over the identities that are there, make those that the goal lacks; seal each to operators and recovery, write the ledger. Inert.

use crate::apply::{ApplyError, Run, now};
use crate::journal::{Entry, Step};
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::keystore::sealed;
use crate::ledger::{Holder, Record, State};
use crate::plan::{Party, PlannedReader};
use crate::repo::atomic_write::{self, Mode};

impl Run<'_> {
    /// Adopts what is to be retired and mints what is missing; what the ledger knows already is done.
    pub(super) fn mint(&mut self) -> Result<(), ApplyError> {
        let ids = self.minted_by_plan();
        let others = |id: &&String| {
            let record = self.ledger.record(id);
            record.is_some_and(|r| !self.progress().has_minted(id, &r.recipient))
        };
        if let Some(id) = ids.iter().find(others) {
            return Err(ApplyError::Overtaken { id: id.clone() });
        }
        let mut adopted = self.adopted_by_plan();
        let is_anothers = |(id, recipient): &&(String, Recipient)| {
            let record = self.ledger.record(id);
            record.is_some_and(|r| r.recipient != *recipient)
        };
        if let Some((id, _)) = adopted.iter().find(is_anothers) {
            return Err(ApplyError::Overtaken { id: id.clone() });
        }
        adopted.retain(|(id, _)| self.ledger.record(id).is_none());
        let missing: Vec<String> = self
            .plan()
            .identities
            .iter()
            .filter(|i| i.recipient.is_none() && self.ledger.record(&i.id).is_none())
            .map(|i| i.id.clone())
            .collect();
        // Minting again under the same id would leave what was wrapped to the first one without a sealed identity.
        let minted = |id: &&String| self.is_done(&Step::Mint { id: (*id).clone() });
        if let Some(id) = missing.iter().find(minted) {
            return Err(ApplyError::LedgerLost { id: id.clone() });
        }
        if adopted.is_empty() && missing.is_empty() {
            return Ok(());
        }
        let stays = |(id, _): &&(String, Recipient)| self.plan().identity(id).is_some();
        let staying = adopted.iter().filter(stays);
        let staying: Vec<&str> = staying.map(|(id, _)| id.as_str()).collect();
        if !staying.is_empty() {
            self.work.observer.phase("adopt", &staying.join(", "));
        }
        for (id, recipient) in adopted {
            self.adopt(&id, &recipient)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.work.observer.phase("mint", &missing.join(", "));
        for id in missing {
            self.step(Step::Mint { id: id.clone() }, |run| run.mint_one(&id))?;
        }
        Ok(())
    }

    /// Protocol rule 14: from here on, clones that do not know of this run's identities write to no reader that it wrote
    /// to. Saved together with what is minted.
    fn raise_generation(&mut self) -> Result<(), ApplyError> {
        let run = self.progress().run.clone();
        self.ledger.raise_generation(run.as_str())?;
        self.claim_targets();
        Ok(())
    }

    /// Protocol rule 1: what was there before stays readable to operators and recovery, whether it leaves or goes on.
    fn adopt(&mut self, id: &str, recipient: &Recipient) -> Result<(), ApplyError> {
        let identity = match self.work.at_hand.get(recipient) {
            Some(identity) => Some(identity),
            None => self.held_by_a_reader(recipient)?,
        };
        let identity = identity.ok_or_else(|| ApplyError::CannotUnseal { id: id.to_owned() })?;
        let holder = self.plan().identity(id).map(|i| i.holder.clone());
        let holder = holder.unwrap_or_else(|| Holder::Shared(id.to_owned()));
        // Who has it already, the run may go on without: it costs a new one to take it away (protocol rule 16).
        let has_it = |r: &&PlannedReader| {
            r.needs.iter().any(|need| need == id) && !r.receives.iter().any(|lacks| lacks == id)
        };
        let given = self.plan().readers.iter().filter(has_it);
        let given: Vec<String> = given.map(|r| r.name.clone()).collect();
        self.step(Step::Adopt { id: id.to_owned() }, |run| {
            run.seal(id, &identity)?;
            let record = Record::adopted(id, holder, recipient.clone(), now());
            run.raise_generation()?;
            run.ledger.add(record)?;
            for reader in &given {
                run.ledger.give(id, reader)?;
            }
            run.save_ledger()
        })
    }

    fn mint_one(&mut self, id: &str) -> Result<(), ApplyError> {
        let unminted = || ApplyError::Unminted { id: id.to_owned() };
        let identity = Identity::mint();
        let recipient = identity.recipient().ok_or_else(unminted)?;
        let holder = self
            .plan()
            .identity(id)
            .ok_or_else(unminted)?
            .holder
            .clone();
        self.journal.record(Entry::Minted {
            id: id.to_owned(),
            recipient: recipient.clone(),
        })?;
        self.seal(id, &identity)?;
        self.raise_generation()?;
        self.ledger
            .add(Record::minted(id, holder, recipient, now()))?;
        self.save_ledger()?;
        self.minted.insert(id.to_owned(), identity);
        Ok(())
    }

    /// The identities that this run takes over as they are, with their recipients.
    pub(super) fn adopted_by_plan(&self) -> Vec<(String, Recipient)> {
        let adopted = self.plan().adopted().into_iter();
        adopted
            .map(|(id, recipient)| (id.to_owned(), recipient.clone()))
            .collect()
    }

    /// The ids of all identities that this run seals: those that it mints or adopts, and those that leave.
    pub(super) fn sealed_by_plan(&self) -> Vec<String> {
        let retiring = self.plan().retiring.iter().map(|r| r.id.clone());
        let staying = self.plan().identities.iter().filter(|i| i.adopt);
        let others = retiring.chain(staying.map(|i| i.id.clone()));
        self.minted_by_plan().into_iter().chain(others).collect()
    }

    /// Writes one sealed file for each recipient that reads everything.
    fn seal(&self, id: &str, identity: &Identity) -> Result<(), ApplyError> {
        atomic_write::create_folder(&self.work.sealed, 0o755)?;
        for recipient in self.always_recipients() {
            let name = sealed::sealed_file_name(id, recipient);
            let bytes = sealed::seal(identity, recipient)?;
            atomic_write::replace(&self.work.sealed.join(name), &bytes, Mode::Exact(0o644))?;
        }
        Ok(())
    }

    /// Protocol rule 1, looked at again before anything is published: every identity of the run lies sealed. One whose
    /// files somebody removed is sealed again.
    pub(super) fn check_sealed(&mut self) -> Result<(), ApplyError> {
        for (id, recipient) in self.adopted_by_plan() {
            if self.is_sealed_file_missing(&id)? {
                let at_hand = self.work.at_hand.get(&recipient);
                let identity = match at_hand {
                    Some(identity) => Some(identity),
                    None => self.held_by_a_reader(&recipient)?,
                };
                let identity =
                    identity.ok_or_else(|| ApplyError::CannotUnseal { id: id.clone() })?;
                self.seal(&id, &identity)?;
            }
        }
        for id in self.minted_by_plan() {
            if self.is_sealed_file_missing(&id)? {
                let identity = self.identity(&id)?;
                self.seal(&id, &identity)?;
            }
        }
        Ok(())
    }

    fn is_sealed_file_missing(&self, id: &str) -> Result<bool, ApplyError> {
        for recipient in self.always_recipients() {
            let name = sealed::sealed_file_name(id, recipient);
            if super::read_optional(&self.work.sealed.join(name))?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the sealed files of `id`.
    pub(super) fn unseal_for_good(&self, id: &str) -> Result<(), ApplyError> {
        for recipient in self.always_recipients() {
            let name = sealed::sealed_file_name(id, recipient);
            atomic_write::remove(&self.work.sealed.join(name))?;
        }
        Ok(())
    }

    pub(super) fn always_recipients(&self) -> Vec<&Recipient> {
        self.plan()
            .always
            .iter()
            .filter_map(|party| match party {
                Party::Identity(_) => None,
                Party::Operator { recipient, .. } | Party::Recovery { recipient } => {
                    Some(recipient)
                }
            })
            .collect()
    }

    /// The identity of `id`: minted by this process, sealed to somebody at hand, or held by a reader.
    ///
    /// # Errors
    /// [`ApplyError::CannotUnseal`] if it is in none of these places.
    pub(super) fn identity(&mut self, id: &str) -> Result<Identity, ApplyError> {
        if let Some(identity) = self.minted.get(id) {
            return Ok(identity.share());
        }
        let recipient = self
            .recipient_of(id)
            .ok_or_else(|| ApplyError::Unminted { id: id.to_owned() })?;
        let identity = match self.unsealed(id, &recipient)? {
            Some(identity) => Some(identity),
            None => self.held_by_a_reader(&recipient)?,
        };
        let identity = identity.ok_or_else(|| ApplyError::CannotUnseal { id: id.to_owned() })?;
        self.minted.insert(id.to_owned(), identity.share());
        Ok(identity)
    }

    fn unsealed(&self, id: &str, recipient: &Recipient) -> Result<Option<Identity>, ApplyError> {
        let mut files = Vec::new();
        for party in self.always_recipients() {
            let path = self.work.sealed.join(sealed::sealed_file_name(id, party));
            files.extend(super::read_optional(&path)?);
        }
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        let identity = sealed::unseal(&files, self.work.at_hand)?;
        // A sealed file that somebody swapped is no identity of ours.
        Ok(identity.filter(|i| i.recipient().as_ref() == Some(recipient)))
    }

    pub(super) fn held_by_a_reader(
        &self,
        recipient: &Recipient,
    ) -> Result<Option<Identity>, ApplyError> {
        for target in self.work.targets.values() {
            // One that cannot be read is no source; that it cannot be is told at the gate.
            let Ok(held) = target.read() else {
                continue;
            };
            if let Some(identity) = held.identities.get(recipient) {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    /// Protocol rule 5: an identity that nobody can unseal any more and that no document uses is made anew.
    pub(super) fn mint_anew(&mut self, id: &str) -> Result<(), ApplyError> {
        let used = self
            .ledger
            .record(id)
            .is_none_or(|r| !r.state.precedes(State::Active));
        if used || self.progress().started.contains(&Step::Stage) {
            return Err(ApplyError::CannotUnseal { id: id.to_owned() });
        }
        self.work.observer.note(&format!(
            "{id} cannot be unsealed by anybody here and nothing uses it yet: minting it anew"
        ));
        self.withdraw_everywhere(&[id.to_owned()])?;
        self.unseal_for_good(id)?;
        self.ledger.forget(id)?;
        self.step(Step::Mint { id: id.to_owned() }, |run| run.mint_one(id))
    }

    /// Everything that can open documents here: identities at hand and those of the plan that could be had.
    pub(super) fn keys(&mut self) -> IdentitySet {
        let ids: Vec<String> = self
            .plan()
            .identities
            .iter()
            .map(|i| i.id.clone())
            // What leaves is kept sealed: it opens documents that come late.
            .chain(self.plan().retiring.iter().filter_map(|r| {
                let at_hand = self.work.at_hand.holds(&r.recipient);
                (!at_hand && self.ledger.record(&r.id).is_some()).then(|| r.id.clone())
            }))
            .collect();
        let mut identities = Vec::new();
        for id in ids {
            // Not having one is no failure: the data key in memory checks what it would have opened.
            identities.extend(self.identity(&id).ok());
        }
        let mut keys = self.work.at_hand.share();
        keys.extend(IdentitySet::new(identities));
        keys
    }
}
