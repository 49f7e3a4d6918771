//! Forwards: identities are delivered, and readers prove that they hold them.

use cofferdam::journal::guards;

use crate::changes::Change;
use crate::executor::{Executor, Next, each};
use crate::faults::Fault;
use crate::notes::Note;
use crate::world::{At, Bits, World};

impl Executor<'_> {
    pub fn ship(&self, w: &World) -> Next {
        let facts = self.facts(w);
        let missing: Vec<usize> = (0..w.readers.len())
            .filter(|n| {
                let (reader, held) = (&facts.readers[*n], w.readers[*n].held);
                reader.is_planned && !reader.without && reader.needs & !held != 0
            })
            .collect();
        let needed = missing
            .iter()
            .fold(0, |bits, n| bits | facts.readers[*n].needs);
        if needed & !self.tree(w).sealed != 0 && !self.has(Fault::NothingSealed) {
            return self.stopped("cannot be unsealed", w);
        }
        let mut outcomes = Vec::new();
        for silent in self.silences(w) {
            let todo: Vec<usize> = missing
                .iter()
                .copied()
                .filter(|n| silent & (1 << n) == 0)
                .collect();
            if todo.is_empty() && silent == 0 {
                return self.changed(w, Change::Shipped(self.failed(w)), At::Prove);
            }
            let mut after = w.clone();
            let marks = todo
                .iter()
                .map(|n| (*n as u8, w.readers[*n].mark))
                .collect();
            self.note(&mut after, Note::Shipping(marks));
            let work = self.run_mut(&mut after).work.as_mut().unwrap();
            work.at = At::Shipping;
            work.failed |= silent;
            work.todo = todo.iter().fold(0, |bits, n| bits | 1 << n);
            outcomes.push(("ship", after));
        }
        Next::Did(outcomes)
    }

    pub fn failed(&self, w: &World) -> u8 {
        self.run(w).work.unwrap().failed
    }

    /// The sets of readers that may not answer now.
    pub fn silences(&self, w: &World) -> Vec<u8> {
        let flaky = self.mind.cast.scenario.flaky & !self.failed(w);
        (0..16u8).filter(|set| set & !flaky == 0).collect()
    }

    pub fn deliver(&self, w: &World) -> Next {
        let todo = self.run(w).work.unwrap().todo;
        if todo == 0 {
            return self.changed(w, Change::Shipped(self.failed(w)), At::Prove);
        }
        let facts = self.facts(w);
        let ledger = self.tree(w).ledger;
        let mut outcomes = Vec::new();
        for n in (0..w.readers.len()).filter(|n| todo & (1 << n) != 0) {
            let mut done = w.clone();
            let work = self.run_mut(&mut done).work.as_mut().unwrap();
            work.todo &= !(1 << n);
            let mut failed = done.clone();
            self.run_mut(&mut failed).work.as_mut().unwrap().failed |= 1 << n;
            if self.is_refused(ledger, w.readers[n].mark) {
                outcomes.push(("refused by a later generation", failed));
                continue;
            }
            let reader = &mut done.readers[n];
            reader.held |= facts.readers[n].needs;
            reader.mark = self.mind.mark_of(ledger);
            (reader.restored, reader.excused) = (false, false);
            let mut lost = failed;
            lost.readers[n] = *reader;
            if self.mind.cast.scenario.flaky & (1 << n) != 0 {
                outcomes.push(("delivered, the answer lost", lost.clone()));
            }
            outcomes.push(("delivered", done));
            outcomes.push(("delivered and killed", self.stop(lost)));
        }
        Next::Did(outcomes)
    }

    pub fn is_refused(&self, ledger: u16, mark: (u8, u8)) -> bool {
        !self.has(Fault::LowerGeneration) && self.mind.is_behind(ledger, mark)
    }

    pub fn prove(&self, w: &World) -> Next {
        if self.journal(w).progress.retirement_begun() || self.has(Fault::RewriteBeforeGate) {
            return Next::To(At::Rewrite);
        }
        if !self.all_prove(w, false) {
            return self.stopped("the gate is shut", w);
        }
        let mut after = w.clone();
        self.note(&mut after, Note::Proven);
        if !self.change(&mut after, Change::Proven) {
            return self.stopped("the ledger refuses", w);
        }
        self.done_if_changed(w, after, "prove", At::Rewrite)
    }

    /// Whether every reader shows what it must, and nothing else.
    pub fn all_prove(&self, w: &World, gone: bool) -> bool {
        let facts = self.facts(w);
        let failed = self.failed(w);
        facts
            .readers
            .iter()
            .zip(&w.readers)
            .enumerate()
            .all(|(n, (planned, reader))| {
                if !planned.is_planned {
                    return true;
                }
                if failed & (1 << n) != 0 {
                    return !guards::silence_stops(planned.without, planned.concerned);
                }
                let opens = |bits: Bits| {
                    each(bits).all(|b| guards::answers_well(true, reader.held & b != 0, true))
                };
                let lacks = |bits: Bits| {
                    each(bits).all(|b| guards::answers_well(false, reader.held & b != 0, true))
                };
                let left = if gone && !planned.without {
                    planned.leaving
                } else {
                    0
                };
                let always = if self.has(Fault::TwoRoles) {
                    0
                } else {
                    facts.always
                };
                (planned.without || opens(planned.needs))
                    && lacks(planned.forbidden | always | left)
            })
    }
}
