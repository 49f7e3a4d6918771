//! Proof: each reader unwraps what it must and nothing else, asked anew in every run (protocol rule 19).

use crate::apply::{ApplyError, Run, now};
use crate::fleet::Challenge;
use crate::journal::Step;
use crate::keys::Recipient;
use crate::ledger::{Receipt, ReceiptKind, State};
use crate::plan::{Party, PlannedReader};

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
        self.step(Step::Prove, |run| {
            let failures = run.failing_readers(&[])?;
            if failures.is_empty() {
                Ok(())
            } else {
                Err(ApplyError::Gate { failures })
            }
        })?;
        let at = now();
        for reader in self.plan().readers.clone() {
            for id in &reader.needs {
                let receipt = Receipt {
                    reader: reader.name.clone(),
                    kind: ReceiptKind::Unwrapped,
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
        let mut failures = Vec::new();
        for reader in &self.plan().readers {
            match self.failing(reader, gone) {
                Ok(failure) => failures.extend(failure),
                Err(ApplyError::Target { reader, source }) => {
                    failures.push(format!("{reader}: {}", chain(&source)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(failures)
    }

    fn failing(
        &self,
        reader: &PlannedReader,
        gone: &[Recipient],
    ) -> Result<Option<String>, ApplyError> {
        let roster = self.roster()?;
        for (id, recipient) in &roster {
            let must = reader.needs.contains(id);
            let receipt = self.ask(reader, recipient)?;
            if must && !(receipt.opened && receipt.everywhere) {
                return Ok(Some(format!(
                    "{} cannot open what is wrapped to {id}",
                    reader.name
                )));
            }
            if !must && receipt.opened {
                return Ok(Some(format!(
                    "{} opens what is wrapped to {id}, which it must not hold",
                    reader.name
                )));
            }
        }
        for party in &self.plan().always {
            let (Party::Operator { recipient, .. } | Party::Recovery { recipient }) = party else {
                continue;
            };
            if self.ask(reader, recipient)?.opened {
                return Ok(Some(format!(
                    "{} holds the identity of {}",
                    reader.name,
                    party.label()
                )));
            }
        }
        for recipient in gone {
            if self.ask(reader, recipient)?.opened {
                return Ok(Some(format!(
                    "{} still opens {}",
                    reader.name,
                    recipient.short()
                )));
            }
        }
        Ok(None)
    }

    fn ask(
        &self,
        reader: &PlannedReader,
        recipient: &Recipient,
    ) -> Result<crate::fleet::Receipt, ApplyError> {
        let run = self.progress().run.as_str();
        let challenge = Challenge::new(&reader.name, run, recipient)?;
        self.work.targets[&reader.name]
            .prove(&challenge)
            .map_err(ApplyError::target(&reader.name))
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
