//! Proof: each reader unwraps what it must and nothing else, asked anew in every run (protocol rule 19).

#![expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]

use std::collections::BTreeMap;
use std::time::Instant;

use crate::apply::asking::{Asked, ask};
use crate::apply::errands::{of_reader, one_line};
use crate::apply::{ApplyError, ReaderFailure, Run, now};
use crate::fleet::abreast_telling;
use crate::inventory::ReaderOutcome;
use crate::journal::{Step, guards};
use crate::keys::Recipient;
use crate::ledger::{Receipt, ReceiptKind, State};
use crate::plan::PlannedReader;
use crate::topology::Gate;

impl Run<'_> {
    /// Asks every reader; the gate lets nothing through unless all have shown both (design: prove, gate).
    pub(super) fn prove(&mut self) -> Result<(), ApplyError> {
        // Once documents are rewritten the gate lies behind; retirement asks again by itself.
        if self.progress().retirement_begun() {
            return Ok(());
        }
        let names: Vec<&str> = self.asked().map(|r| r.name.as_str()).collect();
        self.work.observer.phase("prove", &names.join(", "));
        let mut kinds = Kinds::new();
        self.step(Step::Prove, |run| {
            let shown = run.ask_all(false)?;
            kinds = shown.kinds;
            if shown.failures.is_empty() {
                Ok(())
            } else {
                Err(ApplyError::Gate {
                    failures: shown.failures,
                })
            }
        })?;
        let at = now();
        let asked: Vec<PlannedReader> = self.asked().cloned().collect();
        for reader in asked {
            for id in &reader.needs {
                let receipt = Receipt {
                    reader: reader.name.clone(),
                    kind: kinds
                        .get(&(reader.name.clone(), id.clone()))
                        .copied()
                        .unwrap_or(ReceiptKind::Unwrapped),
                    at,
                };
                let fresh = self.ledger.record(id).is_some_and(|record| {
                    record.state.precedes(State::Active)
                        || record.receipts.iter().all(|r| r.reader != reader.name)
                });
                if fresh {
                    self.ledger.receive(id, receipt)?;
                }
            }
        }
        let ids = self.minted_by_plan();
        self.advance(&ids, State::Proven)
    }

    /// Records what clusters have shown beyond the gate: that they decrypted and applied what this run wrote.
    pub(super) fn record_reconciled(&mut self) -> Result<(), ApplyError> {
        let at = now();
        let readers = self.plan().readers.iter();
        let shown: Vec<(String, Vec<String>)> = readers
            .filter(|reader| self.reconciled.contains(&reader.name))
            .map(|reader| (reader.name.clone(), reader.needs.clone()))
            .collect();
        for (reader, needs) in &shown {
            for id in needs {
                let receipt = Receipt {
                    reader: reader.clone(),
                    kind: ReceiptKind::Reconciled,
                    at,
                };
                self.ledger.receive(id, receipt)?;
            }
        }
        match shown.is_empty() {
            true => Ok(()),
            false => self.save_ledger(),
        }
    }

    /// What readers fail to show, one entry each: that they open what they need, and neither another zone's, an operator's
    /// nor recovery's wraps; once identities have left (`gone`), nor theirs.
    pub(super) fn failing_readers(&self, gone: bool) -> Result<Vec<ReaderFailure>, ApplyError> {
        Ok(self.ask_all(gone)?.failures)
    }

    /// The readers that have to prove something: all but those that the run goes on without.
    pub(super) fn asked(&self) -> impl Iterator<Item = &PlannedReader> {
        self.plan().readers.iter().filter(|r| !r.without)
    }

    /// Asks all readers, side by side, but those that failed already: they show nothing. One that the run goes on without
    /// need show nothing; what it must not hold it is asked for all the same.
    fn ask_all(&self, gone: bool) -> Result<Shown, ApplyError> {
        let roster = self.roster()?;
        // Once identities have left, the gate lies behind.
        let gate = match gone {
            false => self.work.topology.gate.clone(),
            true => Gate::default(),
        };
        let mut shown = Shown::default();
        let (failed, asked): (Vec<_>, Vec<_>) = self
            .plan()
            .readers
            .iter()
            .partition(|reader| self.failed.contains_key(&reader.name));
        for reader in failed {
            shown
                .failures
                .extend(self.silent(reader, &self.failed[&reader.name]));
        }
        let names: Vec<String> = asked.iter().map(|r| r.name.clone()).collect();
        let tell = self.work.observer.readers("asking", &names);
        abreast_telling(
            &asked,
            |reader| {
                let begun = Instant::now();
                let gone: Vec<Recipient> = match gone && !reader.without {
                    true => {
                        let leaving = self.plan().leaving(reader);
                        leaving.map(|r| r.recipient.clone()).collect()
                    }
                    false => Vec::new(),
                };
                (self.failing(reader, &roster, &gone, &gate), begun.elapsed())
            },
            |at, (answer, took)| {
                let failure = match answer {
                    Ok((failure, kinds)) => {
                        shown.kinds.extend(kinds);
                        failure
                    }
                    Err(ApplyError::Target { source, .. }) => {
                        self.silent(asked[at], &one_line(&source))
                    }
                    Err(error) => return Err(error),
                };
                tell(&ReaderOutcome {
                    reader: asked[at].name.clone(),
                    done: "asked".to_owned(),
                    took,
                    error: failure.as_ref().map(|f| f.said.clone()),
                });
                shown.failures.extend(failure);
                Ok(())
            },
        )?;
        drop(tell);
        // They came in the order of their answers.
        let readers = &self.plan().readers;
        shown
            .failures
            .sort_by_key(|failure| readers.iter().position(|r| r.name == failure.reader));
        Ok(shown)
    }

    /// What it means that a reader did not answer: nothing, if the run goes on without it, or changes nothing for it.
    fn silent(&self, reader: &PlannedReader, why: &str) -> Option<ReaderFailure> {
        let concerned = self.plan().concerns(reader);
        if !guards::silence_stops(reader.without, concerned) {
            if !reader.without {
                let said = of_reader(&reader.name, why);
                let note = format!("{said}; nothing that it reads changes");
                self.work.observer.note(&note);
            }
            return None;
        }
        Some(ReaderFailure {
            reader: reader.name.clone(),
            said: of_reader(&reader.name, why),
            holds_too_much: false,
            is_weak: false,
        })
    }

    /// What one reader fails to show, and how it showed the rest.
    fn failing(
        &self,
        reader: &PlannedReader,
        roster: &BTreeMap<String, Recipient>,
        gone: &[Recipient],
        gate: &Gate,
    ) -> Result<(Option<ReaderFailure>, Kinds), ApplyError> {
        let name = reader.name.as_str();
        let mut asked: Vec<Asked> = roster
            .iter()
            .filter(|(id, _)| !(reader.without && reader.needs.contains(id)))
            .map(|(id, recipient)| {
                if reader.needs.contains(id) {
                    Asked::must(id, recipient)
                } else {
                    Asked::must_not(id, recipient)
                }
            })
            .collect();
        asked.extend(self.plan().always.iter().filter_map(Asked::party));
        asked.extend(gone.iter().map(Asked::gone));
        let run = self.progress().run.as_str();
        let shown = ask(self.work.targets[name].as_ref(), run, &asked, gate)?;
        let kinds = shown.kinds.into_iter();
        let kinds = kinds.map(|(id, kind)| ((name.to_owned(), id), kind));
        let failure = (!shown.failures.is_empty()).then(|| ReaderFailure {
            reader: name.to_owned(),
            said: shown.failures.join("; "),
            holds_too_much: shown.holds_too_much,
            is_weak: shown.is_weak,
        });
        Ok((failure, kinds.collect()))
    }
}

/// How readers showed that they open what they need, by reader and id.
type Kinds = BTreeMap<(String, String), ReceiptKind>;

/// What all readers showed.
#[derive(Default)]
struct Shown {
    failures: Vec<ReaderFailure>,
    kinds: Kinds,
}
