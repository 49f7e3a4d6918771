//! The executor's sequence, backwards: undo byte for byte, undo by a further commit, and leaving a run to another clone.

use cofferdam::inventory::Digest;
use cofferdam::journal::Step;
use cofferdam::journal::guards::{self, PutBack, WayBack};

use crate::changes::Change;
use crate::executor::{Executor, Next, each};
use crate::faults::Fault;
use crate::mind::digest_of;
use crate::notes::Note;
use crate::world::{At, Bits, By, Commit, DOCUMENTS, Doc, World};

impl Executor<'_> {
    pub fn step_back(&self, w: &World) -> Next {
        match self.at(w) {
            At::Undo => self.begin_undo(w),
            At::Docs => self.put_back_documents(w),
            At::Uncommit => self.take_commit_off(w),
            At::Seen => self.look_who_has_it(w),
            At::TakeBack => self.begin_taking_back(w, At::TakingBack),
            At::TakingBack => self.take_back(w, At::Own),
            At::Own => {
                let mut after = w.clone();
                self.put_own_files_back(&mut after);
                self.done_if_changed(w, after, "own files", At::Release)
            }
            At::BackDocs => self.rewrap_documents(w),
            At::BackCommit => self.commit_back(w),
            At::BackPush => self.push(w, At::BackAwait),
            At::BackAwait => self.look_again_back(w),
            At::BackLook => self.begin_taking_back(w, At::BackTaking),
            At::BackTaking => self.take_back(w, At::BackRecord),
            At::BackRecord => self.withdrawn(w),
            At::BackPushRecord => self.push_record(w, At::Release),
            other => unreachable!("{other:?} goes forwards"),
        }
    }

    fn begin_undo(&self, w: &World) -> Next {
        let progress = &self.journal(w).progress;
        if progress.only_has_to_end() && progress.undo.is_some() {
            return Next::To(At::Release);
        }
        if self.is_coordinated(w) {
            let goes = cofferdam::journal::lease::goes(&self.journal(w).progress, self.whose(w));
            let ended = || {
                let ledger = w.commit(w.published()).tree.ledger;
                self.mind.facts(self.run(w).journal, ledger, false).is_ended
            };
            use cofferdam::journal::lease::Goes;
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
        if !guards::has_way_back(&self.journal(w).progress) {
            return self.stopped("no way back", w);
        }
        let mut after = w.clone();
        self.adopt_commit(&mut after);
        if let Some((ledger, sealed, from)) = self.run(&after).inherited {
            after.desks[self.desk].tree.sealed |= sealed;
            self.change(&mut after, Change::Inherit(ledger));
            self.note(&mut after, Note::TakenOver(from));
            self.run_mut(&mut after).inherited = None;
        }
        let is_heir = self.journal(&after).progress.inherited_from().is_some();
        let theirs = after.lease.is_none_or(|l| usize::from(l.desk) != self.desk);
        if self.is_coordinated(w) && is_heir && theirs {
            return Next::Did(self.swap(&after, At::Undo, true));
        }
        let begun = self.journal(&after).progress.undo;
        let seen = begun == Some(true) || self.is_built_on(&mut after);
        let progress = &self.journal(&after).progress;
        let by_commit = guards::way_back(progress, seen) == WayBack::ByCommit;
        let by_commit = by_commit && !self.has(Fault::UndoBlind);
        if by_commit && self.facts(&after).bars_way_back {
            return self.stopped("no way back", w);
        }
        if begun != Some(by_commit) {
            self.note(&mut after, Note::Undo(by_commit));
        }
        let to = if by_commit { At::BackDocs } else { At::Docs };
        self.done_if_changed(w, after, "begin to undo", to)
    }

    fn put_back_documents(&self, w: &World) -> Next {
        for n in 0..DOCUMENTS {
            let mut after = w.clone();
            if self.has(Fault::UndoLeavesDocuments) {
                break;
            }
            if !self.restore(&mut after, n) {
                return self.stopped("nobody here opens it", w);
            }
            if after != *w {
                return Next::Did(vec![("put back", after)]);
            }
        }
        Next::To(At::Uncommit)
    }

    /// Puts one document back; false: it cannot be opened here.
    fn restore(&self, w: &mut World, n: usize) -> bool {
        let journal = self.run(w).journal;
        let facts = self.facts(w);
        let (Some(staged), Some(planned)) = (self.mind.staged(journal, n), facts.documents[n])
        else {
            return true;
        };
        let Some(now) = self.tree(w).docs[n] else {
            return true;
        };
        let kept = self.run(w).before[n].filter(|kept| {
            let replaced = digest_of(Some(&now)) == Some(staged.after);
            let is_it = digest_of(Some(kept)) == staged.before;
            let forgets = self.has(Fault::UndoForgetsEdits);
            (forgets || (replaced && is_it)) && kept.to == planned.before
        });
        let put = match (
            guards::put_back(kept.is_some(), now.to == planned.before),
            kept,
        ) {
            (PutBack::Kept, Some(kept)) => kept,
            (PutBack::Stay, _) => now,
            _ => {
                if !self.opens(w, &now) {
                    return false;
                }
                Doc {
                    to: planned.before,
                    key: w.fresh_key(n, usize::MAX),
                    ..now
                }
            }
        };
        w.desks[self.desk].tree.docs[n] = Some(put);
        true
    }

    fn take_commit_off(&self, w: &World) -> Next {
        let mut after = w.clone();
        self.uncommit(&mut after);
        self.done_if_changed(w, after, "commit taken off", At::Seen)
    }

    fn uncommit(&self, w: &mut World) {
        let first = self.mind.first_head(self.run(w).journal);
        if self.journal(w).progress.index.is_some() && self.head_is_ours(w) {
            w.desks[self.desk].head = first;
        }
    }

    /// Whether between HEAD and the first state there is nothing but commits of this run, at least one.
    fn head_is_ours(&self, w: &World) -> bool {
        let journal = self.run(w).journal;
        let (first, commits) = (self.mind.first_head(journal), self.mind.commits(journal));
        let mut at = w.desks[self.desk].head;
        let mut steps = 0;
        while at != first {
            let commit = w.commit(at);
            let (true, Some(parent)) = (
                commits.contains(&at) && commit.by != By::Others,
                commit.parent,
            ) else {
                return false;
            };
            (at, steps) = (parent, steps + 1);
        }
        steps > 0
    }

    fn look_who_has_it(&self, w: &World) -> Next {
        let mut after = w.clone();
        if !self.is_built_on(&mut after) || self.has(Fault::UndoBlind) {
            return self.done_if_changed(w, after, "nobody has it", At::TakeBack);
        }
        let journal = self.run(w).journal;
        let first = self.mind.first_head(journal);
        if let Some(last) = self.mind.commits(journal).last()
            && after.desks[self.desk].head == first
        {
            after.desks[self.desk].head = *last;
        }
        self.note(&mut after, Note::Undo(true));
        self.go(&mut after, At::BackDocs);
        Next::Did(vec![("pulled meanwhile", after)])
    }

    /// Whether others have what the run committed, or documents that only what it minted opens.
    fn is_built_on(&self, w: &mut World) -> bool {
        if self.is_seen(w) {
            return true;
        }
        let minted = self.facts(w).minted;
        let needs = |commit: u8| {
            let docs = w.commit(commit).tree.docs;
            docs.iter().flatten().any(|doc| doc.to & minted != 0)
        };
        w.tip.is_some_and(needs) || (!self.head_is_ours(w) && needs(w.desks[self.desk].head))
    }

    /// Whether anybody but this branch has what the run committed, or somebody built on it.
    fn is_seen(&self, w: &mut World) -> bool {
        let run = *self.run(w);
        let progress = &self.journal(w).progress;
        let inherited = progress.inherited_from().is_some();
        let (first, head) = (self.mind.first_head(run.journal), w.desks[self.desk].head);
        let commits = self.mind.commits(run.journal);
        // By the remote as it is now.
        if let Some(tip) = w.tip {
            w.desks[self.desk].seen = tip;
        }
        let seen = w.desks[self.desk].seen;
        let mut bytes: Vec<(usize, Digest)> = Vec::new();
        for n in 0..DOCUMENTS {
            let Some(staged) = self.mind.staged(run.journal, n) else {
                continue;
            };
            let mut found = vec![Some(staged.after)];
            found.extend(
                commits
                    .iter()
                    .map(|c| digest_of(w.commit(*c).tree.docs[n].as_ref())),
            );
            let stale = digest_of(w.commit(first).tree.docs[n].as_ref());
            found.retain(|d| d.is_some() && (inherited || *d != stale));
            bytes.extend(found.into_iter().flatten().map(|digest| (n, digest)));
        }
        if w.tip.is_some() && commits.iter().any(|c| w.stands_on(seen, *c)) {
            return true;
        }
        let holds = |commit: u8| {
            let docs = w.commit(commit).tree.docs;
            bytes
                .iter()
                .any(|(n, digest)| digest_of(docs[*n].as_ref()) == Some(*digest))
        };
        let readers = self.mind.cast.scenario.readers.iter().zip(&w.readers);
        let mut declared = readers.filter(|((_, declares), _)| *declares);
        if declared.any(|(_, reader)| holds(reader.has)) {
            return true;
        }
        if w.tip.is_some_and(holds) {
            return true;
        }
        if (head == first && !inherited) || self.head_is_ours(w) {
            return false;
        }
        commits.iter().any(|c| w.stands_on(head, *c)) || holds(head)
    }

    /// Which readers are to give minted identities back.
    fn begin_taking_back(&self, w: &World, to: At) -> Next {
        if self.has(Fault::UndoKeepsIdentities) {
            return Next::To(if to == At::TakingBack {
                At::Own
            } else {
                At::BackRecord
            });
        }
        let facts = self.facts(w);
        let journal = self.run(w).journal;
        let failed = self.failed(w);
        let mut outcomes = Vec::new();
        for silent in self.silences(w) {
            let told = silent | failed;
            let mut todo = 0u8;
            let mut stops = false;
            for n in 0..w.readers.len() {
                let reader = &facts.readers[n];
                let half_way = self.mind.found(journal, n).is_some() && !reader.taken_back;
                if told & (1 << n) != 0 {
                    stops |= reader.shipped;
                } else if w.readers[n].held & facts.minted != 0 || (half_way && facts.minted != 0) {
                    todo |= 1 << n;
                }
            }
            let mut after = w.clone();
            for n in (0..w.readers.len()).filter(|n| todo & (1 << n) != 0) {
                self.note(&mut after, Note::TakingBack(n as u8));
            }
            let work = self.run_mut(&mut after).work.as_mut().unwrap();
            work.at = to;
            work.todo = todo;
            // A failure is told once all were tried.
            work.failed = if stops { told } else { failed };
            work.late = u8::from(stops);
            outcomes.push(("take back", after));
        }
        Next::Did(outcomes)
    }

    fn take_back(&self, w: &World, to: At) -> Next {
        let work = self.run(w).work.unwrap();
        if work.todo == 0 {
            if work.late != 0 {
                return self.stopped("not all gave back", w);
            }
            return Next::To(to);
        }
        let facts = self.facts(w);
        let journal = self.run(w).journal;
        let mut outcomes = Vec::new();
        for n in (0..w.readers.len()).filter(|n| work.todo & (1 << n) != 0) {
            let mut done = w.clone();
            let work = self.run_mut(&mut done).work.as_mut().unwrap();
            work.todo &= !(1 << n);
            let mut failed = done.clone();
            let work = self.run_mut(&mut failed).work.as_mut().unwrap();
            (work.failed, work.late) = (work.failed | 1 << n, 1);
            let deployed = w.commit(w.readers[n].has).tree.docs;
            let mut deployed = deployed.iter().flatten();
            let declares = self.mind.cast.scenario.readers[n].1;
            let runs_it = declares
                && deployed.any(|doc| {
                    doc.to & facts.minted != 0 && doc.to & w.readers[n].held & !facts.minted == 0
                });
            if runs_it && !self.has(Fault::UndoBlind) && !self.has(Fault::UndoDoesNotWait) {
                outcomes.push(("restored meanwhile", failed));
                continue;
            }
            if self.is_refused(self.tree(w).ledger, w.readers[n].mark) {
                outcomes.push(("refused by a later generation", failed));
                continue;
            }
            let reader = &mut done.readers[n];
            reader.held &= !facts.minted;
            match self.mind.found(journal, n) {
                Some(mark) => reader.mark = mark,
                None => reader.mark = self.mind.mark_of(self.tree(w).ledger),
            }
            let killed = self.stop(done.clone());
            self.note(&mut done, Note::TakenBack(n as u8));
            if self.mind.cast.scenario.flaky & (1 << n) != 0 {
                outcomes.push(("no answer", failed));
            }
            outcomes.push(("taken back and killed", killed));
            outcomes.push(("taken back", done));
        }
        Next::Did(outcomes)
    }

    fn put_own_files_back(&self, w: &mut World) {
        let run = *self.run(w);
        let head = w.desks[self.desk].head;
        let first = self.mind.first_head(run.journal);
        let (now, then) = (w.commit(head).tree.ledger, w.commit(first).tree.ledger);
        let ledger = if head == first || now == then {
            run.kept
        } else {
            now
        };
        let facts = self.facts(w);
        let known = self.mind.ledger(ledger);
        let is_known = |bit: Bits| {
            let recipient = &self.mind.cast.recipients_of(bit)[0];
            known.record_of(recipient).is_some()
        };
        for bit in each(facts.minted | facts.adopted).filter(|bit| !is_known(*bit)) {
            w.desks[self.desk].tree.sealed &= !bit;
        }
        w.desks[self.desk].tree.ledger = ledger;
    }

    /// The files of this clone as they were at first.
    pub fn put_files_back(&self, w: &mut World) {
        for n in 0..DOCUMENTS {
            let staged = self.mind.staged(self.run(w).journal, n).map(|s| s.after);
            if digest_of(self.tree(w).docs[n].as_ref()) == staged {
                self.restore(w, n);
            }
        }
        self.uncommit(w);
        self.put_own_files_back(w);
    }

    /// Leaves the run to the clone that has taken it over. Only files of this clone change, so it is one step.
    pub fn handed_over(&self, w: &World) -> Next {
        let mut after = w.clone();
        self.adopt_commit(&mut after);
        if self.journal(&after).progress.retirement_begun() || self.is_seen(&mut after) {
            let seen = after.desks[self.desk].seen;
            loop {
                let at = after.desks[self.desk].head;
                let head = *after.commit(at);
                match (head.by, head.parent) {
                    (By::Record | By::Back, Some(parent)) if !after.stands_on(seen, at) => {
                        after.desks[self.desk].head = parent;
                    }
                    _ => break,
                }
            }
            let ledger = after.commit(after.desks[self.desk].head).tree.ledger;
            after.desks[self.desk].tree.ledger = ledger;
            if self.journal(&after).progress.undo == Some(true)
                && !self.take_published_documents(&mut after)
            {
                return self.stopped("nobody here opens it", w);
            }
        } else {
            self.put_files_back(&mut after);
        }
        after.desks[self.desk].run = None;
        Next::Did(vec![("hand over", after)])
    }

    /// Documents that an undo wrapped back open again for whom those at HEAD do; false: one cannot be opened here.
    fn take_published_documents(&self, w: &mut World) -> bool {
        let facts = self.facts(w);
        let head = *w.commit(w.desks[self.desk].head);
        for n in 0..DOCUMENTS {
            let (Some(planned), Some(now), Some(published)) =
                (facts.documents[n], self.tree(w).docs[n], head.tree.docs[n])
            else {
                continue;
            };
            if now.to != planned.before || published.to == planned.before {
                continue;
            }
            if !self.opens(w, &now) || !self.opens(w, &published) {
                return false;
            }
            let key = now.key;
            let same = Doc {
                key,
                to: now.to,
                ..published
            } == now;
            let put = if same {
                published
            } else {
                Doc {
                    to: published.to,
                    key: w.fresh_key(n, usize::MAX),
                    ..now
                }
            };
            w.desks[self.desk].tree.docs[n] = Some(put);
        }
        true
    }

    fn rewrap_documents(&self, w: &World) -> Next {
        let facts = self.facts(w);
        if facts.bars_way_back {
            return self.stopped("no way back", w);
        }
        let mut after = w.clone();
        self.take_tip(&mut after);
        if after != *w {
            return Next::Did(vec![("pulled", after)]);
        }
        for n in 0..DOCUMENTS {
            let (Some(planned), Some(now)) = (facts.documents[n], self.tree(w).docs[n]) else {
                continue;
            };
            if now.to == planned.before {
                continue;
            }
            if !self.opens(w, &now) {
                return self.stopped("nobody here opens it", w);
            }
            let back = Doc {
                to: planned.before,
                key: w.fresh_key(n, usize::MAX),
                ..now
            };
            after.desks[self.desk].tree.docs[n] = Some(back);
            return Next::Did(vec![("wrapped back", after)]);
        }
        if !self.change(&mut after, Change::GoingBack) {
            return self.stopped("the ledger refuses", w);
        }
        self.done_if_changed(w, after, "ledger", At::BackCommit)
    }

    /// Whether HEAD holds the run's files as they lie here.
    fn is_back(&self, w: &World) -> bool {
        let facts = self.facts(w);
        let (head, tree) = (&self.head(w).tree, self.tree(w));
        let mut planned = (0..DOCUMENTS).filter(|n| facts.documents[*n].is_some());
        planned.all(|n| head.docs[n] == tree.docs[n])
            && (head.ledger, head.sealed, head.struck) == (tree.ledger, tree.sealed, tree.struck)
    }

    fn commit_back(&self, w: &World) -> Next {
        if self.is_back(w) {
            return Next::To(At::BackPush);
        }
        let facts = self.facts(w);
        let mut tree = *self.tree(w);
        for n in (0..DOCUMENTS).filter(|n| facts.documents[*n].is_none()) {
            tree.docs[n] = self.head(w).tree.docs[n];
        }
        let mut after = w.clone();
        self.note(&mut after, Note::Publishing);
        let parent = Some(w.desks[self.desk].head);
        after.desks[self.desk].head = after.add(Commit {
            parent,
            tree,
            by: By::Back,
        });
        self.note(&mut after, Note::Published);
        self.go(&mut after, At::BackPush);
        Next::Did(vec![("commit back", after)])
    }

    fn look_again_back(&self, w: &World) -> Next {
        if self.waits(w) && !self.has(Fault::UndoDoesNotWait) {
            return self.stopped("readers are not there yet", w);
        }
        let mut after = w.clone();
        if !self.take_tip(&mut after) {
            return self.stopped("behind", w);
        }
        let facts = self.facts(&after);
        let minted: Vec<Bits> = each(facts.minted).collect();
        let needs = |doc: Option<Doc>| {
            doc.is_some_and(|doc| {
                guards::needs_what_leaves(&each(doc.to).collect::<Vec<_>>(), &minted)
            })
        };
        let (tree, head) = (self.tree(&after).docs, self.head(&after).tree.docs);
        if tree.into_iter().chain(head).any(needs) {
            return self.stopped("stragglers", &after);
        }
        let holds = |n: usize| {
            let (planned, held) = (&facts.readers[n], after.readers[n].held);
            let loses: Vec<Bits> = each(planned.loses).collect();
            !planned.is_planned
                || planned.without
                || guards::may_take(&loses, |bit| held & bit != 0)
        };
        if !(0..w.readers.len()).all(holds) {
            return self.stopped("a reader lacks what it is to read with again", &after);
        }
        match self.renew(&after) {
            None => self.stopped("another holds the ref", &after),
            Some(mut after) => {
                self.go(&mut after, At::BackLook);
                Next::Did(vec![("looked", after)])
            }
        }
    }

    fn withdrawn(&self, w: &World) -> Next {
        let mut after = w.clone();
        if !self.change(&mut after, Change::WentBack) {
            return self.stopped("the ledger refuses", w);
        }
        if after != *w {
            return Next::Did(vec![("ledger", after)]);
        }
        self.record(w, At::BackPushRecord, None)
    }

    /// Records the commit of a run that was killed before it could.
    pub fn adopt_commit(&self, w: &mut World) {
        let journal = self.journal(w);
        let progress = &journal.progress;
        let publishing = progress.started.contains(&Step::Publish);
        if !publishing || progress.done.contains(&Step::Publish) {
            return;
        }
        let number = self.run(w).journal;
        let (first, commits) = (self.mind.first_head(number), self.mind.commits(number));
        let is_known = |at: u8| at == first || commits.contains(&at);
        let mut at = w.desks[self.desk].head;
        while !is_known(at) {
            let commit = *w.commit(at);
            let Some(parent) = commit.parent else { return };
            if !is_known(parent) {
                at = parent;
                continue;
            }
            let facts = self.facts(w);
            let before = w.commit(parent).tree;
            let others = (0..DOCUMENTS)
                .any(|n| facts.documents[n].is_none() && before.docs[n] != commit.tree.docs[n]);
            let as_staged = (0..DOCUMENTS).all(|n| {
                let staged = self.mind.staged(number, n);
                staged.is_none_or(|s| digest_of(commit.tree.docs[n].as_ref()) == Some(s.after))
            });
            if !others && (commit.tree.ledger != before.ledger || as_staged) {
                self.note(w, Note::Committed(at));
            }
            return;
        }
    }

    /// Brings what others pushed to this clone, where nothing is in the way; false: it cannot be brought.
    pub fn take_tip(&self, w: &mut World) -> bool {
        let Some(tip) = w.tip else {
            return true;
        };
        let desk = w.desks[self.desk];
        w.desks[self.desk].seen = tip;
        if w.stands_on(desk.head, tip) {
            return true;
        }
        if !w.stands_on(tip, desk.head) {
            return false;
        }
        let (head, theirs) = (w.commit(desk.head).tree, w.commit(tip).tree);
        let mut tree = desk.tree;
        let mut clean = true;
        for n in 0..DOCUMENTS {
            if head.docs[n] != theirs.docs[n] {
                clean &= tree.docs[n] == head.docs[n];
                tree.docs[n] = theirs.docs[n];
            }
        }
        if head.ledger != theirs.ledger {
            clean &= tree.ledger == head.ledger;
            tree.ledger = theirs.ledger;
        }
        tree.sealed |= theirs.sealed;
        if head.struck != theirs.struck {
            clean &= tree.struck == head.struck;
            tree.struck = theirs.struck;
        }
        if clean {
            let desk = &mut w.desks[self.desk];
            (desk.head, desk.tree) = (tip, tree);
            for n in 0..DOCUMENTS {
                desk.saved[n] = tree.docs[n].map_or(0, |doc| doc.value);
            }
        }
        clean
    }
}
