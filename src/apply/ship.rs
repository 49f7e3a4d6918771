//! Ship: deliver each identity to its readers, beside the ones they hold; and take it back.

use std::collections::BTreeMap;

use crate::apply::errands::{Act, Errand, of_reader};
use crate::apply::{ApplyError, Run};
use crate::fleet::{Delivered, Withdrawn};
use crate::inventory::{Before, ReaderOutcome};
use crate::journal::{Entry, Step};
use crate::ledger::State;

impl Run<'_> {
    /// Delivers what is missing, to many readers side by side; a reader that holds an identity already is left alone.
    /// Those that fail are shown, and stop the run at the gate: until then the others are served.
    pub(super) fn ship(&mut self) -> Result<(), ApplyError> {
        let mut announced = false;
        // An identity that had to be minted anew is missing at readers that were served before it.
        let missing = loop {
            let missing = self.missing()?;
            if !missing.is_empty() && !announced {
                let readers: Vec<&str> = missing.iter().map(|m| m.reader.as_str()).collect();
                self.work.observer.phase("ship", &readers.join(", "));
                announced = true;
            }
            if !self.mint_anew_what_is_lost(&missing)? {
                break missing;
            }
        };
        let unseen: Vec<ReaderOutcome> = self.failures();
        let found: Vec<Entry> = missing
            .iter()
            .filter(|m| !self.progress().found.contains_key(&m.reader))
            .map(|m| Entry::Found {
                reader: m.reader.clone(),
                before: m.before.clone(),
            })
            .collect();
        if !found.is_empty() {
            // What readers' files are like before the first delivery.
            self.journal.record_all(found)?;
        }
        self.note_given()?;
        let mut errands = Vec::new();
        for one in missing {
            errands.push(self.delivery(one)?);
        }
        let mut outcomes = self.run_errands("shipping", &errands)?;
        outcomes.extend(unseen);
        self.show(&outcomes);
        // What a reader still lacks is not shipped yet.
        let ids: Vec<String> = self
            .minted_by_plan()
            .into_iter()
            .filter(|id| {
                let mut in_need = self.asked().filter(|r| r.needs.contains(id));
                in_need.all(|r| !self.failed.contains_key(&r.name))
            })
            .collect();
        self.advance(&ids, State::Shipped)
    }

    /// Whoever is given an identity is remembered from before it is, whether it proves that or not: it costs a new one to
    /// take it away again (protocol rules 4 and 16).
    fn note_given(&mut self) -> Result<(), ApplyError> {
        let asked: Vec<(String, Vec<String>)> = self
            .asked()
            .map(|r| (r.name.clone(), r.needs.clone()))
            .collect();
        for (reader, ids) in asked {
            for id in ids {
                self.ledger.give(&id, &reader)?;
            }
        }
        self.save_ledger()
    }

    fn delivery(&mut self, missing: Missing) -> Result<Errand, ApplyError> {
        let reader = missing.reader;
        let mut acts: Vec<(Step, Act)> = Vec::new();
        for id in missing.ids {
            let identity = self.identity(&id)?;
            let step = Step::Ship {
                id: id.clone(),
                reader: reader.clone(),
            };
            acts.push((
                step,
                Box::new(move |target| {
                    Ok(match target.deliver(&id, &identity)? {
                        Delivered::Placed => format!("{id} delivered"),
                        Delivered::AlreadyThere => format!("{id} was there"),
                    })
                }),
            ));
        }
        Ok(Errand { reader, acts })
    }

    /// Mints anew what is to be shipped and cannot be unsealed by anybody; whether there was any.
    fn mint_anew_what_is_lost(&mut self, missing: &[Missing]) -> Result<bool, ApplyError> {
        for id in missing.iter().flat_map(|m| &m.ids) {
            match self.identity(id) {
                Ok(_) => {}
                Err(ApplyError::CannotUnseal { .. }) => {
                    self.mint_anew(id)?;
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The readers that do not hold what they need. One that cannot be read is remembered as failed.
    fn missing(&mut self) -> Result<Vec<Missing>, ApplyError> {
        let roster = self.roster()?;
        let mut missing = Vec::new();
        let mut failures = BTreeMap::new();
        let names = self.asked().map(|r| r.name.clone());
        let read = self.read_all(names.collect());
        for (reader, (_, held)) in self.asked().zip(read) {
            let held = match held {
                Ok(held) => held,
                Err(why) => {
                    failures.insert(reader.name.clone(), why);
                    continue;
                }
            };
            let lacks = |id: &&String| roster.get(*id).is_some_and(|r| !held.identities.holds(r));
            let ids: Vec<String> = reader.needs.iter().filter(lacks).cloned().collect();
            if !ids.is_empty() {
                missing.push(Missing {
                    reader: reader.name.clone(),
                    ids,
                    before: held.before,
                });
            }
        }
        self.failed.extend(failures);
        Ok(missing)
    }

    /// The readers that failed so far.
    fn failures(&self) -> Vec<ReaderOutcome> {
        self.failed
            .iter()
            .map(|(reader, error)| ReaderOutcome {
                reader: reader.clone(),
                done: String::new(),
                took: std::time::Duration::ZERO,
                error: Some(error.clone()),
            })
            .collect()
    }

    /// Takes identities of the plan back from every reader that has them by this run, side by side. All are tried before a failure is told; a reader
    /// that cannot be asked counts only where one of them was shipped.
    pub(super) fn withdraw_everywhere(&mut self, ids: &[String]) -> Result<(), ApplyError> {
        let known: Vec<_> = ids
            .iter()
            .filter_map(|id| Some((id.clone(), self.recipient_of(id)?)))
            .collect();
        if known.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.work.targets.keys().cloned().collect();
        let (mut errands, mut failures) = (Vec::new(), Vec::new());
        for (name, held) in self.read_all(names) {
            let held = match held {
                Ok(held) => held,
                Err(text) => {
                    let shipped = known.iter().any(|(id, _)| {
                        self.progress().started.contains(&Step::Ship {
                            id: id.clone(),
                            reader: name.clone(),
                        })
                    });
                    if shipped {
                        failures.push(of_reader(&name, &text));
                    } else {
                        let note =
                            format!("{name} was never shipped to, and is left alone: {text}");
                        self.work.observer.note(&note);
                    }
                    continue;
                }
            };
            let before = self.progress().found.get(&name).cloned();
            let mut acts: Vec<(Step, Act)> = Vec::new();
            for (id, recipient) in known.iter().filter(|(id, _)| self.brings(id, &name)) {
                let step = Step::Withdraw {
                    id: id.clone(),
                    reader: name.clone(),
                };
                // A kill may have come between the identity's removal and what else undoing a delivery takes.
                let half_way = before.is_some() && !self.is_done(&step);
                if !held.identities.holds(recipient) && !half_way {
                    continue;
                }
                let (id, recipient, before) = (id.clone(), recipient.clone(), before.clone());
                acts.push((
                    step,
                    Box::new(move |target| {
                        Ok(match target.withdraw(&recipient, before.as_ref())? {
                            Withdrawn::Removed => format!("{id} taken back"),
                            Withdrawn::WasAbsent => String::new(),
                        })
                    }),
                ));
            }
            if !acts.is_empty() {
                errands.push(Errand { reader: name, acts });
            }
        }
        let outcomes = self.run_errands("taking back", &errands)?;
        self.show(&outcomes);
        failures.extend(failures_of(&outcomes));
        if failures.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::Readers {
                doing: "taking new identities back",
                failures,
            })
        }
    }

    /// The ids that this run delivered to some reader: those that it minted, and others' that a reader lacked.
    pub(super) fn shipped_by_plan(&self) -> Vec<String> {
        let mut ids = self.minted_by_plan();
        for id in self.plan().readers.iter().flat_map(|r| &r.receives) {
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids
    }

    /// Whether this run brings `id` to the reader, or may have: what it minted was nobody's before.
    fn brings(&self, id: &String, reader: &str) -> bool {
        let mut readers = self.plan().readers.iter();
        self.minted_by_plan().contains(id)
            || readers.any(|r| r.name == reader && r.receives.contains(id))
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

/// A reader that does not hold all it needs.
struct Missing {
    reader: String,
    ids: Vec<String>,
    /// What its files are like now.
    before: Before,
}

/// One text a reader that failed.
pub(super) fn failures_of(outcomes: &[ReaderOutcome]) -> Vec<String> {
    outcomes
        .iter()
        .filter_map(|o| Some(of_reader(&o.reader, o.error.as_ref()?)))
        .collect()
}
