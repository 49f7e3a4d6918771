//! Ship: deliver each identity to its readers, beside the ones they hold.

use crate::apply::{ApplyError, Run};
use crate::fleet::abreast;
use crate::journal::{Entry, Step};
use crate::ledger::State;

impl Run<'_> {
    /// Delivers what is missing; a reader that holds an identity already is left alone.
    pub(super) fn ship(&mut self) -> Result<(), ApplyError> {
        // An identity that had to be minted anew is missing at readers that were served before it.
        let mut announced = false;
        loop {
            let missing = self.missing()?;
            if missing.is_empty() {
                break;
            }
            if !announced {
                let mut readers: Vec<&str> = missing.iter().map(|(r, _)| r.as_str()).collect();
                readers.dedup();
                self.work.observer.phase("ship", &readers.join(", "));
                announced = true;
            }
            for (reader, id) in missing {
                let identity = match self.identity(&id) {
                    Ok(identity) => identity,
                    Err(ApplyError::CannotUnseal { .. }) => {
                        self.mint_anew(&id)?;
                        break;
                    }
                    Err(error) => return Err(error),
                };
                self.find(&reader)?;
                let step = Step::Ship {
                    id: id.clone(),
                    reader: reader.clone(),
                };
                self.step(step, |run| {
                    run.work.targets[&reader]
                        .deliver(&id, &identity)
                        .map_err(ApplyError::target(&reader))?;
                    Ok(())
                })?;
            }
        }
        let ids = self.minted_by_plan();
        self.advance(&ids, State::Shipped)
    }

    /// Remembers what a reader's files are like before the first delivery.
    fn find(&mut self, reader: &str) -> Result<(), ApplyError> {
        if self.progress().found.contains_key(reader) {
            return Ok(());
        }
        let held = self.work.targets[reader]
            .read()
            .map_err(ApplyError::target(reader))?;
        self.journal.record(Entry::Found {
            reader: reader.to_owned(),
            before: held.before,
        })?;
        Ok(())
    }

    /// The pairs of reader and id where the reader does not hold what it needs.
    fn missing(&self) -> Result<Vec<(String, String)>, ApplyError> {
        let roster = self.roster()?;
        let mut missing = Vec::new();
        let readers = &self.plan().readers;
        let read = abreast(readers, |reader| self.work.targets[&reader.name].read());
        for (reader, held) in readers.iter().zip(read) {
            let held = held.map_err(ApplyError::target(&reader.name))?;
            for id in &reader.needs {
                if roster.get(id).is_some_and(|r| !held.identities.holds(r)) {
                    missing.push((reader.name.clone(), id.clone()));
                }
            }
        }
        Ok(missing)
    }

    /// Takes an identity of the plan back from every reader.
    pub(super) fn withdraw_everywhere(&mut self, id: &str) -> Result<(), ApplyError> {
        let Some(recipient) = self.recipient_of(id) else {
            return Ok(());
        };
        let names: Vec<String> = self.work.targets.keys().cloned().collect();
        for name in names {
            let target = &self.work.targets[&name];
            let held = target.read().map_err(ApplyError::target(&name))?;
            let step = Step::Withdraw {
                id: id.to_owned(),
                reader: name.clone(),
            };
            // A kill may have come between the identity's removal and what else undoing a delivery takes.
            let half_way = self.progress().found.contains_key(&name) && !self.is_done(&step);
            if !held.identities.holds(&recipient) && !half_way {
                continue;
            }
            self.step(step, |run| {
                let before = run.progress().found.get(&name).cloned();
                run.work.targets[&name]
                    .withdraw(&recipient, before.as_ref())
                    .map_err(ApplyError::target(&name))?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The ids that this run minted.
    pub(super) fn minted_by_plan(&self) -> Vec<String> {
        self.plan()
            .identities
            .iter()
            .filter(|i| i.recipient.is_none())
            .map(|i| i.id.clone())
            .collect()
    }
}
