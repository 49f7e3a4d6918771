//! The model: the actors put together, and the check that from every state a run can come to its end.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::cast::{ALWAYS, Cast, SHARED, Scenario, Wish};
use crate::executor::Executor;
use crate::faults::Fault;
use crate::mind::{Mind, Question};
use crate::notes::Note;
use crate::others;
use crate::rules::{RULES, is_over};
use crate::world::{At, By, Commit, DOCUMENTS, Desk, Doc, Reader, Run, Tree, Work, World};

/// What somebody does.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Begin(usize, Wish, u8),
    Resume(usize),
    Undo(usize),
    TakeOver(usize),
    GoOnWithout(usize, usize),
    Kill(usize),
    Does(usize, &'static str),
    Pull(usize),
    Snapshot(usize),
    Restore(usize),
    Edit(&'static str, usize),
    Commit(usize),
    Revert,
    Late,
    GitPull(usize),
    Rebase(usize),
    StaleShip(usize),
    TimePasses,
}

/// An act and the world after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub act: Act,
    pub to: World,
}

/// The ways between states, for the look backwards from the ends.
#[derive(Default)]
struct Ways {
    back: HashMap<u64, Vec<u64>>,
    over: Vec<u64>,
    seen: HashSet<u64>,
}

#[derive(Clone)]
pub struct Protocol {
    pub mind: Arc<Mind>,
    ways: Option<Arc<Mutex<Ways>>>,
    /// States that have no way to an end, once that is known.
    lost: Arc<HashSet<u64>>,
}

/// What a check came to.
pub struct Outcome {
    pub states: usize,
    /// The rule that broke, and the acts that lead there.
    pub broken: Option<(String, Vec<Act>)>,
}

/// The name of the rule that looks at the whole graph.
pub const ENDS: &str = "a run can always come to its end";

impl Protocol {
    pub fn new(scenario: Scenario, fault: Option<Fault>) -> Self {
        let mind = Mind::new(Cast::new(scenario), fault);
        Self {
            mind: Arc::new(mind),
            ways: Some(Arc::default()),
            lost: Arc::default(),
        }
    }

    /// Looks at every state that can be reached, or at those up to the first that breaks a rule.
    pub fn check(self) -> Outcome {
        let ways = self.ways.clone().unwrap();
        let outcome = self.clone().look();
        if outcome.broken.is_some() {
            return outcome;
        }
        let lost = ways.lock().unwrap().lost();
        if lost.is_empty() {
            return outcome;
        }
        // Once more, for the acts that lead to one of these.
        let mut again = self;
        (again.ways, again.lost) = (None, Arc::new(lost));
        Outcome {
            states: outcome.states,
            ..again.look()
        }
    }

    fn look(self) -> Outcome {
        let checker = self
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let states = checker.unique_state_count();
        let mut found = checker.discoveries().into_iter();
        Outcome {
            states,
            broken: found.next().map(|(rule, path)| {
                let acts = path.into_actions().into_iter().map(|m| m.act);
                (rule.to_owned(), acts.collect())
            }),
        }
    }

    fn moves(&self, w: &World) -> Vec<Move> {
        let mut moves = Vec::new();
        for desk in 0..w.desks.len() {
            self.operator(w, desk, &mut moves);
        }
        others::acts(&self.mind, w, &mut moves);
        moves.retain(|(_, to)| to != w);
        moves
            .into_iter()
            .map(|(act, to)| Move { act, to })
            .collect()
    }

    fn operator(&self, w: &World, desk: usize, out: &mut Vec<(Act, World)>) {
        let executor = Executor {
            mind: &self.mind,
            desk,
        };
        let Some(run) = w.desks[desk].run else {
            self.begin(w, desk, out);
            self.take_over(w, desk, out);
            return;
        };
        if run.work.is_some() {
            let outcomes = executor.step(w);
            out.extend(
                outcomes
                    .into_iter()
                    .map(|(what, to)| (Act::Does(desk, what), to)),
            );
            out.push((Act::Kill(desk), executor.stop(w.clone())));
            return;
        }
        if self.is_being_taken_over(w, desk) {
            return;
        }
        let going = |at: At| {
            let mut after = w.clone();
            after.desks[desk].run.as_mut().unwrap().work = Some(Work {
                at,
                failed: 0,
                todo: 0,
                late: 0,
            });
            after
        };
        let progress = &self.mind.journal(run.journal).progress;
        if progress.undo.is_none() {
            out.push((Act::Resume(desk), going(At::Start)));
        }
        let may_undo = !self.mind.cast.scenario.forwards_only;
        if cofferdam::journal::guards::has_way_back(progress) && may_undo {
            out.push((Act::Undo(desk), going(At::Undo)));
        }
        for reader in 0..w.readers.len() {
            if self.mind.cast.scenario.flaky & (1 << reader) == 0 || progress.undo.is_some() {
                continue;
            }
            let ledger = w.desks[desk].tree.ledger;
            if let Some(journal) = self.mind.without(run.journal, reader, ledger) {
                let mut after = w.clone();
                after.desks[desk].run.as_mut().unwrap().journal = journal;
                out.push((Act::GoOnWithout(desk, reader), after));
            }
        }
    }

    /// Whoever takes a run over sees to it that its machine is not at work on it, until the ref has moved.
    fn is_being_taken_over(&self, w: &World, desk: usize) -> bool {
        let held = w.lease.is_some_and(|l| usize::from(l.desk) == desk);
        let others = w.desks.iter().enumerate().filter(|(n, _)| *n != desk);
        let mut others = others.filter_map(|(_, other)| other.run);
        let heir = |run: Run| {
            self.mind
                .journal(run.journal)
                .progress
                .inherited_from()
                .is_some()
        };
        let is_at_work = others.clone().any(|run| run.work.is_some());
        // Both ways: the heir waits for the other, and the other for the heir.
        let is_heir = w.desks[desk].run.is_some_and(heir) && !held;
        (held && others.any(|run| heir(run) && run.work.is_some())) || (is_heir && is_at_work)
    }

    fn begin(&self, w: &World, desk: usize, out: &mut Vec<(Act, World)>) {
        let one = &w.desks[desk];
        if w.left.runs == 0 || one.tree.docs != w.commit(one.head).tree.docs {
            return;
        }
        let ahead = !w.stands_on(one.head, w.published());
        if w.tip.is_some() && !self.mind.has(Fault::NoLease) && (w.lease.is_some() || ahead) {
            return;
        }
        let scenario = &self.mind.cast.scenario;
        let sets = (0..16u8).filter(|set| set & !scenario.flaky == 0);
        let questions = sets.flat_map(|silent| {
            let withouts = if silent == 0 {
                vec![0]
            } else {
                vec![0, silent]
            };
            withouts.into_iter().map(move |without| (silent, without))
        });
        for (silent, without) in questions {
            for wish in scenario.wishes {
                let held = w.readers.iter().enumerate();
                let held = held.map(|(n, r)| (silent & (1 << n) == 0).then_some(r.held));
                let question = Question {
                    wish: *wish,
                    run: w.runs + 1,
                    head: one.head,
                    desk: desk as u8,
                    ledger: one.tree.ledger,
                    docs: one.tree.docs,
                    struck: one.tree.struck,
                    held: held.collect(),
                    without,
                };
                let Some(journal) = self.mind.begin(question) else {
                    continue;
                };
                let mut after = w.clone();
                after.runs += 1;
                after.left.runs -= 1;
                let begun = &mut after.desks[desk];
                begun.seen = w.published();
                begun.tree.struck |= matches!(wish, Wish::Revoke(_));
                begun.run = Some(Run {
                    journal: self.mind.note(journal, Note::Keep),
                    number: w.runs + 1,
                    kept: one.tree.ledger,
                    after: [None; DOCUMENTS],
                    before: [None; DOCUMENTS],
                    inherited: None,
                    work: Some(Work {
                        at: At::Mint,
                        failed: 0,
                        todo: 0,
                        late: 0,
                    }),
                });
                out.push((Act::Begin(desk, *wish, silent), after));
            }
        }
    }

    /// Goes on with a run of another clone that is not at work on it any more.
    fn take_over(&self, w: &World, desk: usize, out: &mut Vec<(Act, World)>) {
        let (Some(lease), true) = (w.lease, w.left.takeovers > 0) else {
            return;
        };
        let one = &w.desks[desk];
        let other = w.desks[usize::from(lease.desk)].run;
        let at_rest = other.is_none_or(|run| run.work.is_none());
        if !at_rest || !w.stands_on(one.head, w.published()) || lease.struck != one.tree.struck {
            return;
        }
        let name = lease.name;
        let Some(journal) = self.mind.heir(lease.journal, one.head, name) else {
            return;
        };
        let mut after = w.clone();
        after.left.takeovers -= 1;
        after.desks[desk].run = Some(Run {
            journal: self.mind.note(journal, Note::Keep),
            number: lease.run,
            kept: one.tree.ledger,
            after: [None; DOCUMENTS],
            before: [None; DOCUMENTS],
            inherited: Some((lease.ledger, lease.sealed, name)),
            work: None,
        });
        out.push((Act::TakeOver(desk), after));
    }
}

fn name_of(w: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    w.hash(&mut hasher);
    hasher.finish()
}

impl Ways {
    /// How many states have no way to an end.
    fn lost(&self) -> HashSet<u64> {
        let mut reached: HashSet<u64> = self.over.iter().copied().collect();
        let mut next: Vec<u64> = self.over.clone();
        while let Some(at) = next.pop() {
            for from in self.back.get(&at).into_iter().flatten() {
                if reached.insert(*from) {
                    next.push(*from);
                }
            }
        }
        self.seen.difference(&reached).copied().collect()
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        let cast = &self.mind.cast;
        let scenario = &cast.scenario;
        let mut docs = [None; DOCUMENTS];
        for (doc, zones) in docs.iter_mut().zip(scenario.documents) {
            let minted = zones
                .iter()
                .fold(0, |bits, zone| bits | cast.minted(0, *zone));
            let to = if scenario.is_split {
                minted | ALWAYS
            } else {
                SHARED
            };
            *doc = Some(Doc {
                to,
                key: 0,
                value: 0,
            });
        }
        let zones = (0..scenario.zones).fold(0, |bits, zone| bits | cast.minted(0, zone));
        let tree = Tree {
            docs,
            ledger: self.mind.first_ledger(),
            sealed: if scenario.is_split { zones } else { 0 },
            struck: false,
        };
        let desk = Desk {
            head: 0,
            seen: 0,
            tree,
            run: None,
            saved: [0; DOCUMENTS],
        };
        let readers = (0..scenario.readers.len()).map(|n| Reader {
            held: cast.first_held(n),
            mark: if scenario.is_split { (1, 0) } else { (0, 0) },
            has: 0,
            snapshot: None,
            restored: false,
            excused: false,
        });
        vec![World {
            commits: vec![Commit {
                parent: None,
                tree,
                by: By::Start,
            }],
            desks: vec![desk; scenario.desks],
            readers: readers.collect(),
            tip: scenario.remote.then_some(0),
            lease: None,
            hands: (0, 0, 0),
            runs: 0,
            late_hour: false,
            wrong: None,
            left: scenario.left,
        }]
    }

    fn actions(&self, w: &World, actions: &mut Vec<Move>) {
        let moves = self.moves(w);
        if let Some(ways) = &self.ways {
            let here = name_of(w);
            let there: Vec<u64> = moves.iter().map(|m| name_of(&m.to)).collect();
            let mut ways = ways.lock().unwrap();
            ways.seen.insert(here);
            if is_over(w) {
                ways.over.push(here);
            }
            for to in there {
                ways.back.entry(to).or_default().push(here);
            }
        }
        actions.extend(moves);
    }

    fn next_state(&self, _: &World, action: Move) -> Option<World> {
        Some(action.to)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! rules {
            ($($n:literal)*) => {
                vec![$(Property::always(RULES[$n].0, |model: &Self, w: &World| {
                    (RULES[$n].1)(&model.mind, w)
                })),*]
            };
        }
        let mut rules = rules!(0 1 2 3 4 5 6 7 8 9 10 11);
        rules.push(Property::always(ENDS, |model: &Self, w: &World| {
            model.lost.is_empty() || !model.lost.contains(&name_of(w))
        }));
        rules
    }
}
