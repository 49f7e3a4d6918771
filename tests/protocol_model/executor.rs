//! The executor's sequence: where `src/apply` looks and acts, the model looks and acts; what it decides there is
//! asked of the same functions. A step goes on to the next thing that lasts (a record, a file, a commit, a delivery), and
//! between any two of these the command may be killed.

use std::sync::Arc;

use cofferdam::journal::lease::{self, Goes, Whose};

use crate::changes::Change;
use crate::facts::Facts;
use crate::faults::Fault;
use crate::mind::{Journal, Mind};
use crate::notes::Note;
use crate::world::{At, Bits, Commit, Run, Tree, World};

/// What came of one step: how it is told, and the world then.
pub type Outcomes = Vec<(&'static str, World)>;

pub enum Next {
    /// Nothing had to be done.
    To(At),
    Did(Outcomes),
}

/// A running command in one clone.
pub struct Executor<'a> {
    pub mind: &'a Mind,
    pub desk: usize,
}

impl Executor<'_> {
    /// Goes on to the next thing that lasts.
    pub fn step(&self, world: &World) -> Outcomes {
        let mut w = world.clone();
        loop {
            let next = match self.at(&w) {
                At::Start => self.start(&w),
                At::Mint => self.mint(&w),
                At::Acquire => self.acquire(&w),
                At::Ship => self.ship(&w),
                At::Shipping => self.deliver(&w),
                At::Prove => self.prove(&w),
                At::Rewrite => self.stage(&w),
                At::Replace => self.replace(&w),
                At::Publish => self.publish(&w),
                At::Push => self.push(&w, At::Await),
                At::Await => self.look(&w),
                At::Retire => self.begin_retirement(&w),
                At::Taking => self.take(&w),
                At::Retired => self.retired(&w),
                At::Record => self.record(&w, At::PushRecord, Some(Note::Recording)),
                At::PushRecord => self.push_record(&w, At::Release),
                At::PushAgain => self.push_record(&w, At::Await),
                At::Release => self.release(&w),
                _ => self.step_back(&w),
            };
            match next {
                Next::To(at) => self.go(&mut w, at),
                Next::Did(outcomes) => return outcomes,
            }
        }
    }

    // What it has to hand.

    pub fn run<'w>(&self, w: &'w World) -> &'w Run {
        w.desks[self.desk].run.as_ref().unwrap()
    }

    pub fn run_mut<'w>(&self, w: &'w mut World) -> &'w mut Run {
        w.desks[self.desk].run.as_mut().unwrap()
    }

    pub fn at(&self, w: &World) -> At {
        self.run(w).work.unwrap().at
    }

    pub fn tree<'w>(&self, w: &'w World) -> &'w Tree {
        &w.desks[self.desk].tree
    }

    pub fn head<'w>(&self, w: &'w World) -> &'w Commit {
        w.commit(w.desks[self.desk].head)
    }

    pub fn journal(&self, w: &World) -> Arc<Journal> {
        self.mind.journal(self.run(w).journal)
    }

    pub fn facts(&self, w: &World) -> Arc<Facts> {
        let tree = self.tree(w);
        self.mind
            .facts(self.run(w).journal, tree.ledger, tree.struck)
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.mind.has(fault)
    }

    pub fn is_coordinated(&self, w: &World) -> bool {
        w.tip.is_some() && !self.has(Fault::NoLease)
    }

    // What it does.

    pub fn go(&self, w: &mut World, at: At) {
        let work = self.run_mut(w).work.as_mut().unwrap();
        (work.at, work.todo) = (at, 0);
    }

    /// Stops, or is killed: what was in memory is gone.
    pub fn stop(&self, mut w: World) -> World {
        self.run_mut(&mut w).work = None;
        w
    }

    pub fn stopped(&self, why: &'static str, w: &World) -> Next {
        Next::Did(vec![(why, self.stop(w.clone()))])
    }

    pub fn note(&self, w: &mut World, note: Note) {
        let run = self.run_mut(w);
        run.journal = self.mind.note(run.journal, note);
    }

    /// Changes the ledger here; false: the ledger refuses.
    pub fn change(&self, w: &mut World, change: Change) -> bool {
        let journal = self.run(w).journal;
        let tree = &mut w.desks[self.desk].tree;
        match self.mind.change(tree.ledger, journal, change) {
            Some(ledger) => {
                tree.ledger = ledger;
                true
            }
            None => false,
        }
    }

    /// Does one change of the ledger and goes on; nothing where it is so already.
    pub fn changed(&self, w: &World, change: Change, to: At) -> Next {
        let mut after = w.clone();
        if !self.change(&mut after, change) {
            return self.stopped("the ledger refuses", w);
        }
        if after.desks == w.desks {
            return Next::To(to);
        }
        self.go(&mut after, to);
        Next::Did(vec![("ledger", after)])
    }

    pub fn start(&self, w: &World) -> Next {
        if self.journal(w).progress.only_has_to_end() {
            return Next::To(At::Release);
        }
        let mut after = w.clone();
        if self.is_coordinated(w) {
            let journal = self.run(w).journal;
            let goes = lease::goes(&self.journal(w).progress, self.whose(w));
            let tip = w.published();
            let ended = || {
                let ledger = w.commit(tip).tree.ledger;
                self.mind.facts(journal, ledger, false).is_ended
            };
            match goes {
                Goes::On => {}
                Goes::Elsewhere => return self.handed_over(w),
                Goes::NowhereUnlessEnded | Goes::OnUnlessEnded if ended() => {
                    return self.handed_over(w);
                }
                Goes::NowhereUnlessEnded => return self.stopped("another run is at work", w),
                Goes::OnUnlessEnded => {}
            }
        }
        self.adopt_commit(&mut after);
        self.take_tip(&mut after);
        if let Some((ledger, sealed, from)) = self.run(&after).inherited {
            after.desks[self.desk].tree.sealed |= sealed;
            self.change(&mut after, Change::Inherit(ledger));
            self.note(&mut after, Note::TakenOver(from));
            self.run_mut(&mut after).inherited = None;
        }
        self.done_if_changed(w, after, "start", At::Mint)
    }

    pub fn done_if_changed(&self, w: &World, mut after: World, what: &'static str, to: At) -> Next {
        if after == *w {
            return Next::To(to);
        }
        self.go(&mut after, to);
        Next::Did(vec![(what, after)])
    }

    pub fn whose(&self, w: &World) -> Whose {
        let there = w.lease.map(|l| (l.name, l.run));
        self.mind.whose(self.run(w).journal, there)
    }

    pub fn mint(&self, w: &World) -> Next {
        let facts = self.facts(w);
        if facts.is_overtaken {
            return self.without_lease(w);
        }
        let seal = !self.has(Fault::NothingSealed);
        let mut after = w.clone();
        if !facts.is_adopted {
            if seal {
                after.desks[self.desk].tree.sealed |= facts.adopted;
            }
            if !self.change(&mut after, Change::Adopt) {
                return self.stopped("the ledger refuses", w);
            }
            return Next::Did(vec![("adopt", after)]);
        }
        if facts.is_minted {
            return Next::To(At::Acquire);
        }
        if facts.minted_done {
            return self.stopped("the ledger is lost", w);
        }
        if !self.change(&mut after, Change::Mint) {
            return self.stopped("the ledger refuses", w);
        }
        let ledger = self.mind.ledger(self.tree(&after).ledger);
        let plan = &self.journal(w).progress.plan;
        let made = plan.identities.iter().filter(|i| i.recipient.is_none());
        let made = made.map(|identity| {
            let record = ledger.record(&identity.id);
            record.map_or(0, |r| self.mind.cast.number_of(&r.recipient))
        });
        let made = made.collect();
        self.note(&mut after, Note::Minted(made));
        if seal {
            let minted = self.facts(&after).minted;
            after.desks[self.desk].tree.sealed |= minted;
        }
        self.go(&mut after, At::Acquire);
        Next::Did(vec![("mint", after)])
    }
}

/// Each recipient of a set.
pub fn each(bits: Bits) -> impl Iterator<Item = Bits> {
    (0..Bits::BITS)
        .map(|n| 1 << n)
        .filter(move |bit| bits & bit != 0)
}
