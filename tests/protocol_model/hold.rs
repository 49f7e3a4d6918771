//! Forwards: the ref that lets one run at a time work, taken, renewed and let go.

use cofferdam::journal::lease::Whose;

use crate::executor::{Executor, Next, Outcomes};
use crate::faults::Fault;
use crate::notes::Note;
use crate::world::{At, Lease, World};

impl Executor<'_> {
    pub fn acquire(&self, w: &World) -> Next {
        let progress = &self.journal(w).progress;
        if !self.is_coordinated(w) || (progress.retirement_begun() && !progress.held_lease()) {
            return Next::To(At::Ship);
        }
        match self.whose(w) {
            Whose::Ours if w.lease.is_some_and(|l| usize::from(l.desk) == self.desk) => {
                let mut after = w.clone();
                // The answer was lost when it was taken.
                if !progress.held_lease() && !self.has(Fault::HoldForgotten) {
                    let name = w.lease.map_or(0, |l| l.name);
                    self.note(&mut after, Note::Lease(name));
                }
                if let Some(behind) = self.behind_before_shipping(&mut after) {
                    return behind;
                }
                self.done_if_changed(w, after, "hold", At::Ship)
            }
            Whose::Ours | Whose::Nobodys => Next::Did(self.swap(w, At::Ship, true)),
            Whose::Heirs | Whose::Anothers => self.without_lease(w),
        }
    }

    /// Moves the ref to what stands here. The answer may be lost, and the command killed before it asked.
    pub fn swap(&self, w: &World, to: At, before_shipping: bool) -> Outcomes {
        let is_heir = self.journal(w).progress.inherited_from().is_some();
        if is_heir && !self.journal(w).progress.shipping_begun() {
            let mut behind = w.clone();
            if !self.take_tip(&mut behind) {
                self.put_files_back(&mut behind);
                behind.desks[self.desk].run = None;
                return vec![("behind, and gone", behind)];
            }
        }
        let (hands, name) = self.next_hands(w);
        let mut begun = w.clone();
        // Begun already, by a call that was killed before it asked.
        if self.mind.has_begun_only(self.run(w).journal, name) != Some(true) {
            self.note(&mut begun, Note::Lease(name));
        }
        let mut lost = begun.clone();
        lost.hands = hands;
        lost.lease = Some(self.lease(&begun, name));
        let mut done = lost.clone();
        self.note(&mut done, Note::Lease(name));
        if before_shipping && let Some(Next::Did(behind)) = self.behind_before_shipping(&mut done) {
            return behind;
        }
        self.go(&mut done, to);
        vec![
            ("hold", done),
            ("hold, the answer lost", self.stop(lost)),
            ("killed before it held", self.stop(begun)),
        ]
    }

    /// The ref's next name, if this clone takes it.
    pub fn next_hands(&self, w: &World) -> ((u8, u8, u8), u8) {
        let (number, desk) = (self.run(w).number, self.desk as u8);
        let (count, run, last) = w.hands;
        let again = count > 0 && (run, last) == (number, desk);
        let count = if again { count } else { count + 1 };
        ((count, number, desk), 2 * count + desk)
    }

    /// What stands behind the ref once this clone holds it.
    pub fn lease(&self, w: &World, name: u8) -> Lease {
        let (run, tree) = (self.run(w), self.tree(w));
        Lease {
            name,
            run: run.number,
            desk: self.desk as u8,
            journal: run.journal,
            ledger: tree.ledger,
            sealed: tree.sealed,
            struck: tree.struck,
        }
    }

    /// Somebody's run may have begun and ended since this one was planned.
    pub fn behind_before_shipping(&self, w: &mut World) -> Option<Next> {
        if self.journal(w).progress.shipping_begun() || self.take_tip(w) {
            return None;
        }
        w.lease = None;
        self.put_files_back(w);
        w.desks[self.desk].run = None;
        Some(Next::Did(vec![("behind, and gone", w.clone())]))
    }

    pub fn without_lease(&self, w: &World) -> Next {
        if self.journal(w).progress.shipping_begun() {
            return self.stopped("another holds the ref", w);
        }
        let mut after = w.clone();
        self.put_files_back(&mut after);
        after.desks[self.desk].run = None;
        Next::Did(vec![("lost, and gone", after)])
    }

    /// Holds the ref for what stands here now, or learns that it is another's. None: it is.
    pub fn renew(&self, w: &World) -> Option<World> {
        if !self.is_coordinated(w) || !self.journal(w).progress.held_lease() {
            return Some(w.clone());
        }
        let mut after = w.clone();
        let name = match (self.whose(w), w.lease) {
            (Whose::Ours, Some(lease)) if usize::from(lease.desk) == self.desk => {
                // Somebody has looked at it under this name, in order to take it over.
                let mut others = w.desks.iter().filter_map(|d| d.run.as_ref());
                if others.any(|run| self.mind.inherited_from(run.journal, lease.name)) {
                    let count = w.hands.0 + 1;
                    after.hands = (count, lease.run, lease.desk);
                    let name = 2 * count + lease.desk;
                    self.note(&mut after, Note::Lease(name));
                    self.note(&mut after, Note::Lease(name));
                    name
                } else {
                    lease.name
                }
            }
            (Whose::Ours | Whose::Nobodys, _) => {
                let (hands, name) = self.next_hands(w);
                after.hands = hands;
                self.note(&mut after, Note::Lease(name));
                self.note(&mut after, Note::Lease(name));
                name
            }
            (Whose::Heirs | Whose::Anothers, _) => return None,
        };
        after.lease = Some(self.lease(&after, name));
        Some(after)
    }

    pub fn release(&self, w: &World) -> Next {
        let mut after = w.clone();
        let journal = &self.journal(w).progress;
        let held = match self.has(Fault::HoldForgotten) {
            true => journal.held_lease(),
            false => journal.sought_lease(),
        };
        let had_it = held || journal.inherited_from().is_some();
        if self.is_coordinated(w) && had_it && self.whose(w) == Whose::Ours {
            self.note(&mut after, Note::Releasing);
            after.lease = None;
            return Next::Did(vec![("release", after)]);
        }
        self.note(&mut after, Note::End(journal.undo.is_none()));
        after.desks[self.desk].run = None;
        Next::Did(vec![("end", after)])
    }
}
