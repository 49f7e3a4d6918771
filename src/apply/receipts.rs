//! Proof: each reader unwraps what it must and nothing else, asked anew in every run (protocol rule 19).

#![expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]

use std::collections::BTreeMap;
use std::time::Instant;

use crate::apply::asking::{Asked, ask};
use crate::apply::errands::one_line;
use crate::apply::{ApplyError, Run, now};
use crate::fleet::abreast_telling;
use crate::inventory::ReaderOutcome;
use crate::journal::Step;
use crate::keys::Recipient;
use crate::ledger::{Receipt, ReceiptKind, State};
use crate::plan::PlannedReader;

impl Run<'_> {
    /// Asks every reader; the gate lets nothing through unless all have shown both (design: prove, gate).
    pub(super) fn prove(&mut self) -> Result<(), ApplyError> {
        // Once documents are rewritten the gate lies behind; retirement asks again by itself.
        if self.progress().retirement_begun() {
            return Ok(());
        }
        let names: Vec<&str> = self
            .plan()
            .readers
            .iter()
            .map(|r| r.name.as_str())
            .collect();
        self.work.observer.phase("prove", &names.join(", "));
        let mut kinds = Kinds::new();
        self.step(Step::Prove, |run| {
            let shown = run.ask_all(&[])?;
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
        for reader in self.plan().readers.clone() {
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

    /// What readers fail to show, one text each: that they open what they need, and neither another zone's, an
    /// operator's nor recovery's wraps, nor those of `gone`.
    pub(super) fn failing_readers(&self, gone: &[Recipient]) -> Result<Vec<String>, ApplyError> {
        Ok(self.ask_all(gone)?.failures)
    }

    /// Asks all readers, side by side, but those that failed already: they show nothing.
    fn ask_all(&self, gone: &[Recipient]) -> Result<Shown, ApplyError> {
        let roster = self.roster()?;
        let mut shown = Shown::default();
        let (failed, asked): (Vec<_>, Vec<_>) = self
            .plan()
            .readers
            .iter()
            .partition(|reader| self.failed.contains_key(&reader.name));
        for reader in failed {
            let why = &self.failed[&reader.name];
            shown.failures.push(format!("{}: {why}", reader.name));
        }
        let names: Vec<String> = asked.iter().map(|r| r.name.clone()).collect();
        let tell = self.work.observer.readers("asking", &names);
        abreast_telling(
            &asked,
            |reader| {
                let begun = Instant::now();
                (self.failing(reader, &roster, gone), begun.elapsed())
            },
            |at, (answer, took)| {
                let failure = match answer {
                    Ok((failure, kinds)) => {
                        shown.kinds.extend(kinds);
                        failure
                    }
                    Err(ApplyError::Target { reader, source }) => {
                        Some(format!("{reader}: {}", one_line(&source)))
                    }
                    Err(error) => return Err(error),
                };
                tell(&ReaderOutcome {
                    reader: asked[at].name.clone(),
                    done: "asked".to_owned(),
                    took,
                    error: failure.clone(),
                });
                shown.failures.extend(failure);
                Ok(())
            },
        )?;
        drop(tell);
        shown.failures.sort();
        Ok(shown)
    }

    /// What one reader fails to show, and how it showed the rest.
    fn failing(
        &self,
        reader: &PlannedReader,
        roster: &BTreeMap<String, Recipient>,
        gone: &[Recipient],
    ) -> Result<(Option<String>, Kinds), ApplyError> {
        let name = reader.name.as_str();
        let mut asked: Vec<Asked> = roster
            .iter()
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
        let shown = ask(self.work.targets[name].as_ref(), run, &asked)?;
        let kinds = shown.kinds.into_iter();
        let kinds = kinds.map(|(id, kind)| ((name.to_owned(), id), kind));
        let failure = (!shown.failures.is_empty()).then(|| shown.failures.join("; "));
        Ok((failure, kinds.collect()))
    }
}

/// How readers showed that they open what they need, by reader and id.
type Kinds = BTreeMap<(String, String), ReceiptKind>;

/// What all readers showed.
#[derive(Default)]
struct Shown {
    failures: Vec<String>,
    kinds: Kinds,
}
