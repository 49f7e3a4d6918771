//! Forwards: documents are staged and moved into place.

use cofferdam::journal::guards::{self, Standing};

use crate::cast::OPERATORS;
use crate::changes::Change;
use crate::executor::{Executor, Next};
use crate::faults::Fault;
use crate::mind::digest_of;
use crate::notes::Note;
use crate::world::{At, DOCUMENTS, Doc, World};

impl Executor<'_> {
    /// Where a document stands.
    pub fn standing(&self, w: &World, n: usize) -> Standing {
        let now = self.tree(w).docs[n];
        if now.is_none() {
            return Standing::Done;
        }
        let run = self.run(w);
        let staged = self.mind.staged(run.journal, n);
        let kept = staged.and(digest_of(run.after[n].as_ref()));
        let standing = guards::standing(digest_of(now.as_ref()), staged, kept);
        if standing == Standing::Open && staged.is_some() && self.has(Fault::OverwritesEdits) {
            return Standing::Staged;
        }
        standing
    }

    pub fn opens(&self, w: &World, doc: &Doc) -> bool {
        let hand = self.mind.cast.at_hand[self.desk];
        let sealed = if hand & OPERATORS[self.desk] != 0 {
            self.tree(w).sealed
        } else {
            0
        };
        // What a reader holds can be had from there.
        let facts = self.facts(w);
        let held = w.readers.iter().fold(0, |bits, r| bits | r.held);
        doc.to & (hand | sealed | held & (facts.minted | facts.gone)) != 0
    }

    pub fn stage(&self, w: &World) -> Next {
        let facts = self.facts(w);
        let planned = |n: &usize| facts.documents[*n].is_some();
        let open: Vec<usize> = (0..DOCUMENTS)
            .filter(planned)
            .filter(|n| self.standing(w, *n) == Standing::Open)
            .collect();
        if open.is_empty() {
            return Next::To(At::Replace);
        }
        let mut after = w.clone();
        let (mut befores, mut afters) = ([None; DOCUMENTS], [None; DOCUMENTS]);
        for n in open {
            let Some(now) = self.tree(w).docs[n].filter(|doc| self.opens(w, doc)) else {
                return self.stopped("nobody here opens it", w);
            };
            let Some(to) = facts.documents[n].and_then(|d| d.after) else {
                return self.stopped("not minted", w);
            };
            let key = match self.has(Fault::OldDataKey) {
                true => now.key,
                false => w.fresh_key(n, self.desk),
            };
            let made = Doc { to, key, ..now };
            (befores[n], afters[n]) = (Some(now), Some(made));
            let run = self.run_mut(&mut after);
            (run.before[n], run.after[n]) = (Some(now), Some(made));
        }
        let killed = self.stop(after.clone());
        self.note(&mut after, Note::Staged(befores, afters));
        self.go(&mut after, At::Replace);
        Next::Did(vec![("stage", after), ("killed before the record", killed)])
    }

    pub fn replace(&self, w: &World) -> Next {
        let facts = self.facts(w);
        let mut planned = (0..DOCUMENTS).filter(|n| facts.documents[*n].is_some());
        if let Some(n) = planned
            .clone()
            .find(|n| self.standing(w, *n) == Standing::Staged)
        {
            let mut after = w.clone();
            after.desks[self.desk].tree.docs[n] = self.run(w).after[n];
            return Next::Did(vec![("replace", after)]);
        }
        if planned.any(|n| self.standing(w, n) != Standing::Done) {
            return self.stopped("changed meanwhile", w);
        }
        self.changed(w, Change::Rewritten, At::Publish)
    }
}
