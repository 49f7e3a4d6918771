//! Errands: what is to be done at readers, side by side; one dead reader does not stop the others.
//!
//! The journal has one writer. All steps are recorded as begun before the first reader is touched, and each as done when
//! its reader's answer is in: whatever is under way at a crash was announced, and the readers themselves tell how far it
//! came.

#![expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]

use std::time::Instant;

use crate::apply::{ApplyError, Run};
use crate::fleet::{Held, Target, TargetError, abreast, abreast_telling};
use crate::inventory::ReaderOutcome;
use crate::journal::{Entry, Step};

/// What is to be done at one reader, in order; the first failure ends it.
pub(super) struct Errand {
    /// The reader.
    pub(super) reader: String,
    /// Steps of the journal and how each is done.
    pub(super) acts: Vec<(Step, Act)>,
}

/// Does one step at a reader; says what was done, for people.
pub(super) type Act = Box<dyn Fn(&dyn Target) -> Result<String, TargetError> + Send + Sync>;

impl Run<'_> {
    /// Runs all errands, one a reader, side by side; the outcomes in the errands' order. A reader that fails is
    /// remembered as such for the rest of this call of the program.
    pub(super) fn run_errands(
        &mut self,
        doing: &str,
        errands: &[Errand],
    ) -> Result<Vec<ReaderOutcome>, ApplyError> {
        let begun = errands
            .iter()
            .flat_map(|errand| &errand.acts)
            .map(|(step, _)| Entry::Started { step: step.clone() })
            .collect::<Vec<_>>();
        if begun.is_empty() {
            return Ok(Vec::new());
        }
        self.journal.record_all(begun)?;
        let names: Vec<String> = errands.iter().map(|e| e.reader.clone()).collect();
        let targets = self.work.targets;
        let journal = &mut self.journal;
        let tell = self.work.observer.readers(doing, &names);
        let mut outcomes = Vec::with_capacity(errands.len());
        let told: Result<(), ApplyError> = abreast_telling(
            errands,
            |errand| carry_out(errand, targets[&errand.reader].as_ref()),
            |at, (outcome, done)| {
                tell(&outcome);
                outcomes.push((at, outcome));
                let steps = &errands[at].acts[..done];
                let done: Vec<Entry> = steps
                    .iter()
                    .map(|(step, _)| Entry::Done { step: step.clone() })
                    .collect();
                if !done.is_empty() {
                    journal.record_all(done)?;
                }
                Ok(())
            },
        );
        drop(tell);
        told?;
        outcomes.sort_by_key(|(at, _)| *at);
        let outcomes: Vec<ReaderOutcome> = outcomes.into_iter().map(|(_, o)| o).collect();
        for outcome in &outcomes {
            if let Some(error) = &outcome.error {
                self.failed.insert(outcome.reader.clone(), error.clone());
            }
        }
        Ok(outcomes)
    }

    /// Reads what these readers hold, side by side; of one that failed already, why.
    pub(super) fn read_all(&self, names: Vec<String>) -> Vec<(String, Result<Held, String>)> {
        let read = abreast(&names, |name| match self.failed.get(name) {
            Some(why) => Err(why.clone()),
            None => self.work.targets[name].read().map_err(|e| one_line(&e)),
        });
        names.into_iter().zip(read).collect()
    }

    /// Shows what came of readers: where one failed, or where they are more than folders of this machine.
    pub(super) fn show(&self, outcomes: &[ReaderOutcome]) {
        let is_worth_it = outcomes
            .iter()
            .any(|o| o.error.is_some() || self.is_remote(&o.reader));
        if is_worth_it {
            self.work.observer.outcomes(outcomes);
        }
    }

    fn is_remote(&self, reader: &str) -> bool {
        let target = self.work.targets.get(reader);
        target.is_some_and(|target| target.is_remote())
    }
}

/// The outcome, and how many acts were done.
fn carry_out(errand: &Errand, target: &dyn Target) -> (ReaderOutcome, usize) {
    let begun = Instant::now();
    let mut said = Vec::new();
    let mut error = None;
    for (_, act) in &errand.acts {
        match act(target) {
            Ok(text) => said.push(text),
            Err(failure) => {
                error = Some(one_line(&failure));
                break;
            }
        }
    }
    let done = said.len();
    said.retain(|text| !text.is_empty());
    let outcome = ReaderOutcome {
        reader: errand.reader.clone(),
        done: said.join(", "),
        took: begun.elapsed(),
        error,
    };
    (outcome, done)
}

/// An error and its causes on one line.
pub(super) fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What is wrong with a reader, with its name in front; many errors say it themselves.
pub(super) fn of_reader(name: &str, why: &str) -> String {
    match why.strip_prefix(name) {
        Some(rest) if rest.starts_with([' ', ':']) => why.to_owned(),
        _ => format!("{name}: {why}"),
    }
}
