//! Forwards: evidence, a last look, and old identities leave.

use cofferdam::journal::Progress;
use cofferdam::journal::guards::{self, Waiting};
use cofferdam::plan::Goal;

use crate::cast::OPERATORS;
use crate::changes::Change;
use crate::executor::{Executor, Next, each};
use crate::faults::Fault;
use crate::mind::now;
use crate::notes::Note;
use crate::world::{At, Bits, By, Commit, DOCUMENTS, Doc, Tree, World};

impl Executor<'_> {
    /// Whether declared clones of readers that are locked out otherwise are not there yet.
    pub fn is_stale(&self, w: &World, n: usize) -> bool {
        if self.has(Fault::ClonesIgnored) || !self.mind.cast.scenario.readers[n].1 {
            return false;
        }
        let facts = self.facts(w);
        let deployed = w.commit(w.readers[n].has).tree.docs;
        (0..DOCUMENTS).any(|d| {
            let read = facts.documents[d].is_some_and(|f| f.read_by & (1 << n) != 0);
            read && deployed[d].is_some() && deployed[d] != self.tree(w).docs[d]
        })
    }

    /// What retirement waits for.
    pub fn waits(&self, w: &World) -> bool {
        let facts = self.facts(w);
        let progress = &self.journal(w).progress;
        let again = progress.retirement_begun();
        let awaited = |n: &usize| {
            let reader = &facts.readers[*n];
            let losing = reader.loses != 0;
            reader.is_planned
                && if progress.undo.is_some() {
                    reader.needs_minted
                } else {
                    losing
                }
        };
        let awaited: Vec<usize> = (0..w.readers.len()).filter(awaited).collect();
        let stale = awaited.iter().filter(|n| self.is_stale(w, **n)).count();
        let unseen = awaited
            .iter()
            .filter(|n| !facts.readers[**n].declares)
            .count();
        let unseen = if again { 0 } else { unseen };
        if guards::waiting(stale, unseen, false, progress.options.yes) != Waiting::Nothing {
            return true;
        }
        !again && !w.late_hour && self.is_graced(progress)
    }

    pub fn is_graced(&self, progress: &Progress) -> bool {
        let goal = match self.has(Fault::RevokeWaits) {
            true => Goal::Rotate,
            false => progress.plan.goal,
        };
        let topology = &self.mind.cast.topology[0];
        let mut losing = progress.plan.readers.iter().filter(|r| !r.loses.is_empty());
        losing.any(|reader| {
            let grace = topology.zone(&reader.zone).and_then(|z| z.grace);
            guards::grace_until(goal, now(), grace).is_some()
        })
    }

    /// What must not stay in a document, of what it is wrapped to.
    pub fn needs_what_leaves(&self, w: &World, n: usize, doc: &Doc) -> bool {
        let gone = self.facts(w).gone_at.get(n).copied().unwrap_or(0);
        let gone: Vec<Bits> = each(gone).collect();
        guards::needs_what_leaves(&each(doc.to).collect::<Vec<_>>(), &gone)
    }

    pub fn look(&self, w: &World) -> Next {
        if self.waits(w) && !self.has(Fault::RetireBeforeProof) {
            return self.stopped("readers are not there yet", w);
        }
        let facts = self.facts(w);
        let blind = self.has(Fault::NoLookAtTip);
        if facts.gone == 0 || blind || self.has(Fault::RetireBeforeProof) {
            let mut after = w.clone();
            self.go(&mut after, At::Retire);
            return Next::Did(vec![("looked", after)]);
        }
        let mut after = w.clone();
        let late = usize::from(self.run(w).work.unwrap().late);
        if !self.take_tip(&mut after) {
            return self.stopped("behind", w);
        }
        let back = |mut after: World, what| {
            let work = self.run_mut(&mut after).work.as_mut().unwrap();
            (work.at, work.late) = (At::Rewrite, work.late + 1);
            Next::Did(vec![(what, after)])
        };
        if after.desks[self.desk].head != w.desks[self.desk].head && guards::may_go_back(late) {
            return back(after, "pulled");
        }
        let trusting = self.has(Fault::PublishUnverified);
        if self.unpublished(&after, true) && !trusting {
            return self.stopped("not published", &after);
        }
        let tree = *self.tree(&after);
        let late_ones: Vec<(usize, Doc)> = (0..DOCUMENTS)
            .filter_map(|n| Some((n, tree.docs[n]?)))
            .filter(|(n, doc)| self.needs_what_leaves(&after, *n, doc))
            .collect();
        if !late_ones.is_empty() {
            if !guards::may_go_back(late) {
                return self.stopped("stragglers", &after);
            }
            for (n, doc) in late_ones {
                let journal = self.run(&after).journal;
                match self.mind.amended(journal, tree.ledger, tree.struck, n, doc) {
                    Some(journal) => self.run_mut(&mut after).journal = journal,
                    None => return self.stopped("stragglers", w),
                }
            }
            return back(after, "came late");
        }
        let head = self.head(&after).tree.docs;
        let at_head = (0..DOCUMENTS)
            .filter_map(|n| Some((n, head[n]?)))
            .any(|(n, doc)| self.needs_what_leaves(&after, n, &doc));
        if at_head && !trusting {
            return self.stopped("stragglers at HEAD", &after);
        }
        self.go(&mut after, At::Retire);
        Next::Did(vec![("looked", after)])
    }

    pub fn is_possessed(&self, w: &World) -> bool {
        let facts = self.facts(w);
        let hand = self.mind.cast.at_hand[self.desk];
        let opens = |operator: Bits| {
            let mut docs = (0..DOCUMENTS).filter(|n| facts.documents[*n].is_some());
            hand & operator != 0
                && docs.all(|n| self.tree(w).docs[n].is_none_or(|doc| doc.to & operator != 0))
        };
        let operator = OPERATORS.iter().any(|o| opens(*o));
        let ledger = self.mind.ledger(self.tree(w).ledger);
        let recovery = &self.mind.cast.topology[0].recovery.recipients;
        let unread = recovery
            .iter()
            .filter(|r| ledger.recovery_read_back(r).is_none())
            .count();
        guards::is_possessed(operator, unread)
    }

    pub fn begin_retirement(&self, w: &World) -> Next {
        if self.facts(w).gone == 0 {
            return Next::To(At::Retired);
        }
        if !self.is_possessed(w) && !self.has(Fault::NoPossession) {
            return self.stopped("possession is not proven", w);
        }
        let asks = !self.has(Fault::NotAskedAgain) && !self.has(Fault::RetireBeforeProof);
        if asks && !self.all_prove(w, false) {
            return self.stopped("a reader shows it no more", w);
        }
        let mut begun = w.clone();
        if !self.journal(w).progress.retirement_begun() {
            self.note(&mut begun, Note::Recording);
        }
        let Some(mut after) = self.renew(&begun) else {
            return self.stopped("another holds the ref", &begun);
        };
        let mut outcomes = Vec::new();
        if begun != *w {
            outcomes.push(("killed before it held", self.stop(begun)));
        }
        let facts = self.facts(&after);
        let losing: Vec<(u8, Bits)> = (0..w.readers.len())
            .filter(|n| facts.readers[*n].is_planned && !facts.readers[*n].without)
            .map(|n| (n as u8, facts.readers[n].leaving & w.readers[n].held))
            .filter(|(_, bits)| *bits != 0)
            .collect();
        let todo = losing.iter().fold(0, |bits, (n, _)| bits | 1 << n);
        self.note(&mut after, Note::Retiring(losing));
        let work = self.run_mut(&mut after).work.as_mut().unwrap();
        (work.at, work.todo) = (At::Taking, todo);
        outcomes.push(("begin to retire", after));
        Next::Did(outcomes)
    }

    /// Takes what leaves from one reader after the other, in any order.
    pub fn take(&self, w: &World) -> Next {
        let work = self.run(w).work.unwrap();
        if work.todo == 0 {
            if work.failed != 0 || !self.all_prove(w, true) {
                return self.stopped("not all let go", w);
            }
            return Next::To(At::Retired);
        }
        let facts = self.facts(w);
        let mut outcomes = Vec::new();
        for n in (0..w.readers.len()).filter(|n| work.todo & (1 << n) != 0) {
            let mut done = w.clone();
            let work = self.run_mut(&mut done).work.as_mut().unwrap();
            work.todo &= !(1 << n);
            let mut failed = done.clone();
            self.run_mut(&mut failed).work.as_mut().unwrap().failed |= 1 << n;
            let held = w.readers[n].held;
            let needs: Vec<Bits> = each(facts.readers[n].needs).collect();
            let trusting = self.has(Fault::NotAskedAgain) || self.has(Fault::RetireBeforeProof);
            let may = guards::may_take(&needs, |bit| held & bit != 0) && !self.is_stale(w, n);
            if !(may || trusting) || self.is_refused(self.tree(w).ledger, w.readers[n].mark) {
                outcomes.push(("not taken", failed));
                continue;
            }
            let reader = &mut done.readers[n];
            reader.held &= !facts.readers[n].leaving;
            reader.mark = self.mind.mark_of(self.tree(w).ledger);
            if self.mind.cast.scenario.flaky & (1 << n) != 0 {
                outcomes.push(("no answer", failed));
            }
            outcomes.push(("taken and killed", self.stop(done.clone())));
            outcomes.push(("taken", done));
        }
        Next::Did(outcomes)
    }

    pub fn retired(&self, w: &World) -> Next {
        self.changed(w, Change::Retired, At::Record)
    }

    /// The second commit: the ledger alone.
    pub fn record(&self, w: &World, to: At, note: Option<Note>) -> Next {
        let (head, ledger) = (w.desks[self.desk].head, self.tree(w).ledger);
        if self.head(w).tree.ledger == ledger {
            return Next::To(to);
        }
        let mut after = w.clone();
        if let Some(note) = note {
            self.note(&mut after, note);
        }
        let tree = Tree {
            ledger,
            ..self.head(w).tree
        };
        let commit = after.add(Commit {
            parent: Some(head),
            tree,
            by: By::Record,
        });
        after.desks[self.desk].head = commit;
        self.go(&mut after, to);
        Next::Did(vec![("record", after)])
    }

    pub fn push_record(&self, w: &World, to: At) -> Next {
        let Some(tip) = w.tip else {
            return Next::To(to);
        };
        let head = w.desks[self.desk].head;
        if w.commit(tip).tree.ledger == w.commit(head).tree.ledger
            && w.commit(tip).tree.docs == w.commit(head).tree.docs
        {
            return Next::To(to);
        }
        match self.pushed(w) {
            Some(mut after) => {
                self.go(&mut after, to);
                Next::Did(vec![("push the record", after)])
            }
            None => self.stopped("push refused", w),
        }
    }
}
