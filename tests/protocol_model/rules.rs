//! What holds in every state.

use cofferdam::ledger::State;

use crate::cast::{ALWAYS, RECOVERY, SHARED, Wish};
use crate::facts::by_state;
use crate::mind::Mind;
use crate::world::{At, Bits, By, Commit, DOCUMENTS, Doc, Docs, Run, Tree, World};

/// A name for people, and whether it holds.
pub type Rule = (&'static str, fn(&Mind, &World) -> bool);

pub const RULES: [Rule; 12] = [
    ("every reader opens the work tree", work_trees_open),
    (
        "every reader opens the last published commit",
        published_opens,
    ),
    (
        "every reader opens the revision that it has deployed",
        deployed_opens,
    ),
    ("nobody gains a document", nobody_gains),
    (
        "a retired recipient opens nothing under a new data key",
        retired_opens_nothing_new,
    ),
    ("no identity is nowhere", no_identity_is_nowhere),
    (
        "operators and recovery open what is rewritten",
        operators_open,
    ),
    (
        "without a way back somebody here opens everything",
        ours_opens,
    ),
    ("nobody's edit is lost", edits_survive),
    (
        "what is retired or taken back has left its readers",
        retired_is_gone,
    ),
    ("one run at a time ships", one_run_ships),
    ("a run that ended holds no ref", no_ref_is_left),
];

/// Whether a reader is revoked: `cofferdam.toml` no longer names it, here or there.
pub fn is_revoked(mind: &Mind, w: &World, reader: usize) -> bool {
    let revoked = |wish: &Wish| *wish == Wish::Revoke(reader);
    mind.cast.scenario.wishes.iter().any(revoked)
        && (w.desks.iter().any(|d| d.tree.struck) || w.commit(w.published()).tree.struck)
}

/// Whether a document opens for a reader that is to read it. One that came wrapped to another zone's identity never did.
fn opens(mind: &Mind, w: &World, reader: usize, docs: &Docs) -> bool {
    let held = w.readers[reader].held;
    (0..DOCUMENTS).all(|n| {
        let Some(doc) = docs[n] else { return true };
        let stranger = doc.key == 0 && doc.to & first(mind, reader) == 0;
        !mind.cast.reads(reader, n) || stranger || doc.to & held != 0
    })
}

fn first(mind: &Mind, reader: usize) -> Bits {
    mind.cast.first_held(reader)
}

/// The readers that the protocol answers for: in scope, and not restored from a snapshot since they were served.
fn served<'a>(mind: &'a Mind, w: &'a World) -> impl Iterator<Item = usize> + 'a {
    (0..w.readers.len()).filter(|n| !is_revoked(mind, w, *n) && !w.readers[*n].restored)
}

fn work_trees_open(mind: &Mind, w: &World) -> bool {
    // Of clones that are not behind, and whose run no other clone has taken over.
    let is_current = |n: &usize| {
        let desk = &w.desks[*n];
        let holds = w.lease.is_some_and(|l| usize::from(l.desk) == *n);
        // The clone that a run was taken from wraps, or puts back, once it is at work again; readers read the remote.
        let was_taken = w.left.takeovers < mind.cast.scenario.left.takeovers;
        let is_its = w.tip.is_none() || desk.run.is_none() || (holds && !was_taken);
        w.stands_on(desk.head, w.published()) && is_its
    };
    let mut desks = (0..w.desks.len()).filter(is_current).map(|n| &w.desks[n]);
    desks.all(|desk| served(mind, w).all(|n| opens(mind, w, n, &desk.tree.docs)))
}

fn published_opens(mind: &Mind, w: &World) -> bool {
    let docs = w.commit(w.published()).tree.docs;
    served(mind, w).all(|n| opens(mind, w, n, &docs))
}

fn deployed_opens(mind: &Mind, w: &World) -> bool {
    (0..w.readers.len()).all(|n| {
        let excused = is_revoked(mind, w, n) || w.readers[n].excused;
        let declares = mind.cast.scenario.readers[n].1;
        let published = w.commit(w.published()).tree.docs;
        let mut docs = w.commit(w.readers[n].has).tree.docs;
        // What was removed from the repository since is nobody's concern.
        docs.iter_mut()
            .zip(published)
            .for_each(|(doc, now)| *doc = doc.filter(|_| now.is_some()));
        excused || !declares || opens(mind, w, n, &docs)
    })
}

/// The first version of a document that anybody committed.
fn first_version(w: &World, n: usize) -> Option<Doc> {
    w.commits.iter().find_map(|c| c.tree.docs[n])
}

fn nobody_gains(mind: &Mind, w: &World) -> bool {
    let trees = w.desks.iter().map(|d| &d.tree);
    let mut trees = trees.chain([&w.commit(w.published()).tree]);
    trees.all(|tree| {
        (0..w.readers.len()).all(|reader| {
            let held = w.readers[reader].held;
            (0..DOCUMENTS).all(|n| {
                let Some(doc) = tree.docs[n].filter(|doc| doc.to & held != 0) else {
                    return true;
                };
                let could = first_version(w, n).is_some_and(|d| d.to & first(mind, reader) != 0);
                // Once what all shared is retired, documents open for their zones alone.
                let partitioned = is_retired(mind, tree, SHARED) && doc.key > 0;
                let revoked = is_revoked(mind, w, reader) && doc.to & held & revoking(mind, w) != 0;
                could && (!partitioned || mind.cast.reads(reader, n)) && !revoked
            })
        })
    })
}

/// What a revocation that is at work mints.
fn revoking(mind: &Mind, w: &World) -> Bits {
    let runs = w.desks.iter().filter_map(|d| d.run.as_ref());
    let of = |run: &Run| mind.journal(run.journal).progress.plan.revoked.is_some();
    let zones = mind.cast.scenario.zones;
    let minted = |run: &Run| (0..zones).fold(0, |bits, at| bits | mind.cast.minted(run.number, at));
    runs.filter(|run| of(run))
        .fold(0, |bits, run| bits | minted(run))
}

/// What runs minted, the split before the beginning aside.
fn fresh(mind: &Mind) -> Bits {
    let first = mind.cast.minted(1, 0);
    mind.cast.all_minted() & !(first - 1)
}

fn is_retired(mind: &Mind, tree: &Tree, bit: Bits) -> bool {
    let ledger = mind.ledger(tree.ledger);
    by_state(&mind.cast, &ledger, |s| {
        matches!(s, State::Retired | State::Compromised)
    }) & bit
        != 0
}

fn retired_opens_nothing_new(mind: &Mind, w: &World) -> bool {
    // A commit that goes back and that nobody has yet is taken off the branch by whoever hands over.
    let counts = |at: usize, by: By| {
        by == By::Run || by == By::Back && w.stands_on(w.published(), at.try_into().unwrap())
    };
    w.commits
        .iter()
        .enumerate()
        .filter(|(at, c)| counts(*at, c.by))
        .all(|(_, c)| {
            let ledger = mind.ledger(c.tree.ledger);
            let leaving = by_state(&mind.cast, &ledger, |s| {
                matches!(s, State::Retiring | State::Retired | State::Compromised)
            });
            (0..DOCUMENTS).all(|n| {
                let Some(doc) = c.tree.docs[n] else {
                    return true;
                };
                // What is published by a run under a new data key is not wrapped to what leaves, and no version of the same data
                // key ever was wrapped to anybody else.
                let spliced = |old: &Commit| {
                    old.tree.docs[n].is_some_and(|d| d.key == doc.key && d.to & !doc.to != 0)
                };
                let is_its = w.commit(c.parent.unwrap_or(0)).tree.docs[n] != c.tree.docs[n];
                !is_its
                    || ((doc.key == 0 || doc.to & leaving == 0) && !w.commits.iter().any(spliced))
            })
        })
}

fn no_identity_is_nowhere(mind: &Mind, w: &World) -> bool {
    let trees = w
        .desks
        .iter()
        .map(|d| &d.tree)
        .chain(w.commits.iter().map(|c| &c.tree));
    let mut sealed = w.lease.map_or(0, |l| l.sealed);
    let (mut used, mut held) = (0, 0);
    for tree in trees {
        sealed |= tree.sealed;
    }
    for run in w.desks.iter().filter_map(|d| d.run.as_ref()) {
        sealed |= run.inherited.map_or(0, |(_, sealed, _)| sealed);
    }
    w.desks
        .iter()
        .for_each(|d| d.tree.docs.iter().flatten().for_each(|doc| used |= doc.to));
    served(mind, w).for_each(|n| held |= w.readers[n].held);
    let left = (0..w.readers.len()).any(|n| w.readers[n].held & first(mind, n) == 0);
    let shared = if left && !mind.cast.scenario.is_split {
        SHARED
    } else {
        0
    };
    // The identities of the beginning were sealed by the split before.
    ((used | held) & fresh(mind) | shared) & !sealed == 0
        && (w
            .commits
            .iter()
            .filter(|c| matches!(c.by, By::Run | By::Back))
            .all(|c| {
                let docs = c
                    .tree
                    .docs
                    .iter()
                    .flatten()
                    .fold(0, |bits, doc| bits | doc.to);
                docs & fresh(mind) & !c.tree.sealed == 0
            }))
}

fn operators_open(mind: &Mind, w: &World) -> bool {
    let trees = w
        .desks
        .iter()
        .map(|d| &d.tree)
        .chain(w.commits.iter().map(|c| &c.tree));
    let mut docs = trees.flat_map(|tree| tree.docs.iter().flatten());
    // What is taken back goes to whom it was wrapped at first.
    let is_first = |doc: &Doc| {
        w.commit(0)
            .tree
            .docs
            .iter()
            .flatten()
            .any(|d| d.to == doc.to)
    };
    let always = if mind.cast.scenario.two_roles {
        RECOVERY
    } else {
        ALWAYS
    };
    docs.all(|doc| is_first(doc) || doc.to & always == always)
}

fn ours_opens(mind: &Mind, w: &World) -> bool {
    let recovery = if mind.cast.scenario.mistyped {
        0
    } else {
        RECOVERY
    };
    let readable = mind.cast.at_hand[0] | mind.cast.at_hand[1] | recovery;
    let gone = w.desks.iter().any(|d| is_retired(mind, &d.tree, Bits::MAX));
    let docs = w.commit(w.published()).tree.docs;
    !gone || docs.iter().flatten().all(|doc| doc.to & readable != 0)
}

fn edits_survive(_: &Mind, w: &World) -> bool {
    w.desks.iter().all(|desk| {
        let docs = desk.tree.docs.iter().zip(desk.saved);
        docs.into_iter()
            .all(|(doc, saved)| doc.is_none_or(|doc| doc.value & saved == saved))
    })
}

/// Once no run is at work, readers hold neither what is retired nor what nobody knows.
fn retired_is_gone(mind: &Mind, w: &World) -> bool {
    if w.desks.iter().any(|d| d.run.is_some()) {
        return true;
    }
    let ledger = mind.ledger(w.commit(w.published()).tree.ledger);
    let live = by_state(&mind.cast, &ledger, |s| {
        !matches!(s, State::Retired | State::Compromised)
    });
    let kept = ledger.records().iter().filter(|r| !r.kept_for.is_empty());
    let kept = kept.fold(0, |bits, r| bits | mind.cast.number_of(&r.recipient));
    let adopted = ledger.records().iter().any(|r| r.minted.is_none());
    let shared = if adopted { 0 } else { SHARED };
    // What the run went on without is served by the next `sync`.
    let flaky = mind.cast.scenario.flaky;
    let mut served = served(mind, w).filter(|n| flaky & (1 << n) == 0);
    served.all(|n| w.readers[n].held & !(live | kept | shared) == 0)
}

fn one_run_ships(mind: &Mind, w: &World) -> bool {
    let shipping = w.desks.iter().filter_map(|d| d.run.as_ref()).filter(|run| {
        let progress = &mind.journal(run.journal).progress;
        // Forwards: what goes back takes from readers what it minted itself, and no more.
        let is_at_work = run
            .work
            .is_some_and(|work| work.at > At::Acquire && work.at < At::Release);
        let is_released = progress
            .started
            .contains(&cofferdam::journal::Step::Release);
        is_at_work && progress.shipping_begun() && !is_released
    });
    let mut numbers: Vec<u8> = shipping.map(|run| run.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.len() <= 1
}

fn no_ref_is_left(_: &Mind, w: &World) -> bool {
    w.lease.is_none() || w.desks.iter().any(|d| d.run.is_some())
}

/// Whether it is over: no run is left.
pub fn is_over(w: &World) -> bool {
    w.desks.iter().all(|d| d.run.is_none())
}
