//! Everybody but the executor: readers that pull, snapshots, colleagues, people who pull and rebase, a stale clone that
//! ships.

use cofferdam::ledger::State;
use cofferdam::plan::duties::{DutiesInput, duties};

use crate::cast::{ALWAYS, SHARED};
use crate::executor::Executor;
use crate::facts::by_state;
use crate::faults::Fault;
use crate::mind::Mind;
use crate::model::Act;
use crate::world::{At, Bits, By, Commit, DOCUMENTS, Doc, Docs, Tree, World};

pub fn acts(mind: &Mind, w: &World, out: &mut Vec<(Act, World)>) {
    readers(w, out);
    colleagues(mind, w, out);
    if w.tip.is_some() {
        people(mind, w, out);
    }
    for desk in 0..w.desks.len() {
        let behind = !w.stands_on(w.desks[desk].head, w.published());
        let asks = !mind.cast.scenario.unasked && !mind.has(Fault::ShipsUnasked);
        if w.left.ships > 0 && w.desks[desk].run.is_none() && !(behind && asks) {
            out.push((Act::StaleShip(desk), ship(mind, w, desk)));
        }
    }
    let revoking = w
        .desks
        .iter()
        .filter_map(|d| d.run.as_ref())
        .any(|run| mind.journal(run.journal).progress.plan.revoked.is_some());
    // No revocation waits for this.
    if mind.cast.scenario.grace && !w.late_hour && !revoking {
        let mut after = w.clone();
        after.late_hour = true;
        out.push((Act::TimePasses, after));
    }
}

fn readers(w: &World, out: &mut Vec<(Act, World)>) {
    // A reader cares for documents alone: of commits with the same ones the first stands for all.
    let docs = w.commit(w.published()).tree.docs;
    let now = w.commits.iter().position(|c| c.tree.docs == docs).unwrap() as u8;
    for (n, reader) in w.readers.iter().enumerate() {
        if reader.has != now {
            let mut after = w.clone();
            let changed = &mut after.readers[n];
            changed.has = now;
            changed.excused |= changed.restored;
            out.push((Act::Pull(n), after));
        }
        if w.left.snapshots > 0 && reader.snapshot.is_none() {
            let mut after = w.clone();
            after.left.snapshots -= 1;
            after.readers[n].snapshot = Some((reader.held, reader.mark, reader.has));
            out.push((Act::Snapshot(n), after));
        }
        if let Some((held, mark, has)) = reader.snapshot
            && held != reader.held
        {
            let mut after = w.clone();
            let changed = &mut after.readers[n];
            (changed.held, changed.mark, changed.has) = (held, mark, has);
            (changed.snapshot, changed.restored, changed.excused) = (None, true, false);
            out.push((Act::Restore(n), after));
        }
    }
}

/// Whether somebody may still come with old bytes: until the last look before identities leave. What comes later is found
/// by `check`, and `sync` re-encrypts it.
fn may_come_late(mind: &Mind, w: &World, docs: &Docs) -> bool {
    let looking = w.desks.iter().filter_map(|d| d.run.as_ref()).any(|run| {
        let begun = mind.journal(run.journal).progress.retirement_begun();
        let past = run.work.is_some_and(|work| {
            let past = matches!(work.at, At::Retire | At::Taking | At::Retired | At::Record);
            past || work.at >= At::BackLook
        });
        begun || past
    });
    let trees = w
        .desks
        .iter()
        .map(|d| &d.tree)
        .chain([&w.commit(w.published()).tree]);
    let dead = trees.fold(0, |bits, tree| {
        let ledger = mind.ledger(tree.ledger);
        bits | by_state(&mind.cast, &ledger, |s| {
            matches!(s, State::Retired | State::Compromised | State::Withdrawn)
        })
    });
    let wrapped = docs.iter().flatten().fold(0, |bits, doc| bits | doc.to);
    !looking && wrapped & dead == 0
}

fn colleagues(mind: &Mind, w: &World, out: &mut Vec<(Act, World)>) {
    let first = w.commit(0).tree.docs;
    let documents = mind.cast.scenario.documents.len();
    let edited = |doc: Doc| Doc {
        value: doc.value | 1 << (w.left.edits + w.left.commits),
        ..doc
    };
    let desk = &w.desks[0];
    if w.left.edits > 0 {
        // The first document stands for all: they differ in their zones alone.
        for n in 0..documents.min(1) {
            let now = desk.tree.docs[n].map(edited);
            // An editor that was opened before writes what it read then.
            let then = first[n].map(edited);
            let stale = may_come_late(mind, w, &first);
            for (what, doc, may) in [
                ("in place", now, true),
                ("opened before", then, stale && now != then),
            ] {
                if let (Some(doc), true) = (doc, may) {
                    let mut after = w.clone();
                    after.left.edits -= 1;
                    after.desks[0].tree.docs[n] = Some(doc);
                    after.desks[0].saved[n] = doc.value;
                    out.push((Act::Edit(what, n), after));
                }
            }
        }
    }
    let base = w.published();
    let published = w.commit(base).tree;
    let mut commit = |act: Act, tree: Tree, spend: fn(&mut World)| {
        let mut after = w.clone();
        spend(&mut after);
        let by = By::Others;
        let made = after.add(Commit {
            parent: Some(base),
            tree,
            by,
        });
        match after.tip {
            Some(_) => after.tip = Some(made),
            None => {
                // In the operator's own clone: its files change with the commit.
                let head = published.docs;
                let desk = &mut after.desks[0];
                desk.head = made;
                for (n, before) in head.iter().enumerate() {
                    if tree.docs[n] != *before {
                        desk.tree.docs[n] = tree.docs[n];
                        desk.saved[n] = tree.docs[n].map_or(0, |doc| doc.value);
                    }
                }
            }
        }
        out.push((act, after));
    };
    if w.left.commits > 0 {
        // With a remote a colleague's own clone; without one, what lies in the operator's work tree.
        let n = 0;
        let source = if w.tip.is_some() {
            published
        } else {
            desk.tree
        };
        let mut tree = published;
        tree.docs[n] = source.docs[n].map(edited);
        if tree.docs[n].is_some() {
            commit(Act::Commit(n), tree, |w| w.left.commits -= 1);
        }
    }
    let is_clean = w.tip.is_some() || desk.tree.docs == published.docs;
    if w.left.reverts > 0 && is_clean && published.docs != first && may_come_late(mind, w, &first) {
        let mut tree = published;
        tree.docs = first;
        commit(Act::Revert, tree, |w| w.left.reverts -= 1);
    }
    if let (Some((_, from)), true) = (mind.cast.scenario.late, w.left.lates > 0) {
        let mut tree = published;
        let to = if mind.cast.scenario.is_split {
            mind.cast.minted(0, from) | ALWAYS
        } else {
            SHARED
        };
        let mut docs = [None; DOCUMENTS];
        docs[documents] = Some(Doc {
            to,
            key: 0,
            value: 0,
        });
        tree.docs[documents] = docs[documents];
        if may_come_late(mind, w, &docs) {
            commit(Act::Late, tree, |w| w.left.lates -= 1);
        }
    }
}

/// What people do by hand where a run says so: pull, or rebase what the remote does not take.
fn people(mind: &Mind, w: &World, out: &mut Vec<(Act, World)>) {
    let tip = w.published();
    for (n, desk) in w.desks.iter().enumerate() {
        let at_rest = desk.run.is_none_or(|run| run.work.is_none());
        if !at_rest || w.stands_on(desk.head, tip) {
            continue;
        }
        if w.stands_on(tip, desk.head) {
            let mut after = w.clone();
            if (Executor { mind, desk: n }).take_tip(&mut after) {
                out.push((Act::GitPull(n), after));
            }
        } else if let Some(after) = rebased(w, n, tip) {
            out.push((Act::Rebase(n), after));
        }
    }
}

/// A clone whose own commits stand on the remote's branch, in one. What both changed is taken from the remote.
fn rebased(w: &World, n: usize, tip: u8) -> Option<World> {
    let desk = &w.desks[n];
    let head = w.commit(desk.head).tree;
    if desk.tree.docs != head.docs || desk.tree.ledger != head.ledger {
        return None;
    }
    let mut base = desk.head;
    while !w.stands_on(tip, base) {
        base = w.commit(base).parent?;
    }
    let (base, theirs) = (w.commit(base).tree, w.commit(tip).tree);
    let mut tree = theirs;
    for d in 0..DOCUMENTS {
        if theirs.docs[d] == base.docs[d] {
            tree.docs[d] = head.docs[d];
        }
    }
    if theirs.ledger == base.ledger {
        tree.ledger = head.ledger;
    }
    tree.sealed |= head.sealed;
    tree.struck |= head.struck;
    let mut after = w.clone();
    let by = w.commit(desk.head).by;
    let commit = after.add(Commit {
        parent: Some(tip),
        tree,
        by,
    });
    let desk = &mut after.desks[n];
    desk.head = commit;
    desk.seen = tip;
    desk.tree = Tree {
        sealed: desk.tree.sealed | tree.sealed,
        ..tree
    };
    for d in 0..DOCUMENTS {
        desk.saved[d] = tree.docs[d].map_or(0, |doc| doc.value);
    }
    Some(after)
}

/// `cofferdam ship` from a clone as it lies there: by the real duties.
fn ship(mind: &Mind, w: &World, n: usize) -> World {
    let tree = &w.desks[n].tree;
    let paths = mind.cast.paths.iter().zip(&tree.docs);
    let documents: Vec<_> = paths
        .filter_map(|(path, doc)| Some((path.clone(), mind.cast.recipients_of(doc.as_ref()?.to))))
        .collect();
    let ledger = mind.ledger(tree.ledger);
    let told = duties(&DutiesInput {
        topology: &mind.cast.topology[usize::from(tree.struck)],
        ledger: &ledger,
        documents: &documents,
        is_unfinished: false,
    });
    let executor = Executor { mind, desk: n };
    let mut after = w.clone();
    after.left.ships -= 1;
    for duty in told {
        let holds: Bits = mind.cast.bits(duty.holds.iter().map(|(_, r)| r));
        let reader = &mut after.readers[mind.cast.reader(&duty.reader)];
        let lacks = holds & !reader.held;
        if lacks != 0 && !executor.is_refused(tree.ledger, reader.mark) {
            reader.held |= lacks;
            reader.mark = mind.mark_of(tree.ledger);
            (reader.restored, reader.excused) = (false, false);
        }
    }
    after
}
