//! Sealed files of identities that exist already: made for operators and recovery that came, removed for those who left.

use crate::apply::journal_file::Side;
use crate::apply::{ApplyError, Run, read_optional};
use crate::journal::Step;
use crate::keys::Identity;
use crate::keystore::sealed;
use crate::plan::departed::Seals;
use crate::plan::{Party, PlannedSeal};
use crate::repo::atomic_write::{self, Mode};

impl Run<'_> {
    /// Seals what the plan says to operators and recovery that came since. One that serves a zone must not be missing; an old
    /// one that nobody here can unseal stays as it is.
    pub(super) fn seal_to_newcomers(&mut self) -> Result<(), ApplyError> {
        let mut open: Vec<PlannedSeal> = Vec::new();
        for seal in &self.plan().seals {
            if self.lacks_one_of(seal)? {
                open.push(seal.clone());
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        let mut to: Vec<String> = open.iter().flat_map(|s| &s.to).map(Party::label).collect();
        to.sort();
        to.dedup();
        self.work
            .observer
            .phase("seal", &format!("to {}", to.join(", ")));
        for (seal, identity) in open.iter().zip(self.unsealed_many(&open)?) {
            let Some(identity) = identity else {
                if seal.is_live {
                    return Err(ApplyError::CannotUnseal {
                        id: seal.id.clone(),
                    });
                }
                self.work.observer.note(&format!(
                    "{} cannot be unsealed here: it is not sealed to {}",
                    seal.id,
                    to.join(", ")
                ));
                continue;
            };
            let step = Step::Seal {
                id: seal.id.clone(),
            };
            self.step(step, |run| run.seal_to(seal, &identity))?;
        }
        Ok(())
    }

    fn seal_to(&self, seal: &PlannedSeal, identity: &Identity) -> Result<(), ApplyError> {
        atomic_write::create_folder(&self.work.sealed, 0o755)?;
        for recipient in seal.to.iter().filter_map(known) {
            let path = self
                .work
                .sealed
                .join(sealed::sealed_file_name(&seal.id, recipient));
            if read_optional(&path)?.is_none() {
                let bytes = sealed::seal(identity, recipient)?;
                atomic_write::replace(&path, &bytes, Mode::Exact(0o644))?;
            }
        }
        Ok(())
    }

    fn lacks_one_of(&self, seal: &PlannedSeal) -> Result<bool, ApplyError> {
        for recipient in seal.to.iter().filter_map(known) {
            let path = self
                .work
                .sealed
                .join(sealed::sealed_file_name(&seal.id, recipient));
            if read_optional(&path)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The identities of `seals`, in order: at hand, sealed to somebody at hand, or held by a reader. Each is what the ledger
    /// says, whoever wrote the sealed file.
    fn unsealed_many(&self, seals: &[PlannedSeal]) -> Result<Vec<Option<Identity>>, ApplyError> {
        let mut files: Vec<Vec<Vec<u8>>> = Vec::new();
        for seal in seals {
            let mut own = Vec::new();
            for name in super::file_names(&self.work.sealed)? {
                let pair = name.to_str().and_then(Seals::of_name);
                if pair.is_some_and(|(id, _)| id == seal.id) {
                    own.extend(read_optional(&self.work.sealed.join(&name))?);
                }
            }
            files.push(own);
        }
        let slices: Vec<Vec<&[u8]>> = files
            .iter()
            .map(|files| files.iter().map(Vec::as_slice).collect())
            .collect();
        let opened = sealed::unseal_many(&slices, self.work.at_hand);
        let mut identities = Vec::new();
        for (seal, opened) in seals.iter().zip(opened) {
            let Some(record) = self.ledger.record(&seal.id) else {
                identities.push(None);
                continue;
            };
            let is_it =
                |identity: &Identity| identity.recipient().as_ref() == Some(&record.recipient);
            let identity = self.work.at_hand.get(&record.recipient);
            let identity = identity.or_else(|| opened.ok().flatten().filter(is_it));
            identities.push(match identity {
                Some(identity) => Some(identity),
                None if seal.is_live => self.held_by_a_reader(&record.recipient)?,
                None => None,
            });
        }
        Ok(identities)
    }

    /// Removes the sealed files that are for nobody who is left. One that is the last of its identity stays.
    pub(super) fn drop_stale_seals(&mut self) -> Result<(), ApplyError> {
        for name in self.plan().unseals.clone() {
            let path = self.work.sealed.join(&name);
            let Some((id, _)) = Seals::of_name(&name) else {
                continue;
            };
            if read_optional(&path)?.is_none() {
                continue;
            }
            if !self.is_sealed_to_somebody(&id)? {
                self.work.observer.note(&format!(
                    "{name} stays: {id} is sealed to nobody else, and cannot be unsealed here"
                ));
                continue;
            }
            self.step(Step::Unseal { name }, |_| {
                atomic_write::remove(&path)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    fn is_sealed_to_somebody(&self, id: &str) -> Result<bool, ApplyError> {
        for recipient in self.always_recipients() {
            let name = sealed::sealed_file_name(id, recipient);
            if read_optional(&self.work.sealed.join(name))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies the sealed files that will go to the journal's folder.
    pub(super) fn keep_stale_seals(&self) -> Result<(), ApplyError> {
        for (n, name) in self.plan().unseals.iter().enumerate() {
            let copy = self.journal.slot(Side::Before, &format!("sealed-{n}"));
            if let Some(bytes) = read_optional(&self.work.sealed.join(name))? {
                atomic_write::replace(&copy, &bytes, Mode::Exact(0o600))?;
            }
        }
        Ok(())
    }

    /// Undo: sealed files that were made go, those that went come back.
    pub(super) fn put_back_seals(&self) -> Result<(), ApplyError> {
        for seal in &self.plan().seals {
            for recipient in seal.to.iter().filter_map(known) {
                let name = sealed::sealed_file_name(&seal.id, recipient);
                atomic_write::remove(&self.work.sealed.join(name))?;
            }
        }
        for (n, name) in self.plan().unseals.iter().enumerate() {
            let copy = self.journal.slot(Side::Before, &format!("sealed-{n}"));
            let path = self.work.sealed.join(name);
            if let (Some(bytes), None) = (read_optional(&copy)?, read_optional(&path)?) {
                atomic_write::create_folder(&self.work.sealed, 0o755)?;
                atomic_write::replace(&path, &bytes, Mode::Exact(0o644))?;
            }
        }
        Ok(())
    }
}

fn known(party: &Party) -> Option<&crate::keys::Recipient> {
    match party {
        Party::Identity(_) => None,
        Party::Operator { recipient, .. } | Party::Recovery { recipient } => Some(recipient),
    }
}
