//! The real planner, journal and ledger, behind numbers: each plan, fold of entries and change of a ledger is worked out
//! once, by the functions that the executor calls, and remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

use cofferdam::inventory::{Digest, DocumentFacts, Reach, ReaderKind, RepoFacts, TargetFacts};
use cofferdam::journal::{Entry, Options, Progress, RunId, guards, lease};
use cofferdam::keys::Recipient;
use cofferdam::ledger::{Holder, Ledger, Mark, Receipt, ReceiptKind, Record, State};
use cofferdam::plan::converge::{self, Leave, PlanInput};
use cofferdam::plan::departed::Seals;
use cofferdam::plan::late::Late;
use cofferdam::plan::{Goal, Party, Plan, Revoked, RevokedReader, revocation};
use jiff::Timestamp;

use crate::cast::{Cast, READERS, RECOVERY, SHARED, Wish, ZONES, digest};
use crate::changes::Change;
use crate::facts::Facts;
use crate::faults::Fault;
use crate::notes::Note;
use crate::world::{Bits, Doc, Docs};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    pub wish: Wish,
    pub run: u8,
    pub head: u8,
    pub desk: u8,
    pub ledger: u16,
    pub docs: Docs,
    pub struck: bool,
    /// What each reader holds; none: it does not answer.
    pub held: Vec<Option<Bits>>,
    pub without: u8,
}

struct Memo<K, V>(RwLock<HashMap<K, V>>);

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    fn new() -> Self {
        Self(RwLock::new(HashMap::new()))
    }

    fn get(&self, key: K, make: impl FnOnce(&K) -> V) -> V {
        if let Some(value) = self.0.read().unwrap().get(&key) {
            return value.clone();
        }
        let value = make(&key);
        let mut all = self.0.write().unwrap();
        all.entry(key).or_insert(value).clone()
    }
}

/// Values of which equal ones have one number.
struct Shelf<T>(RwLock<Shelved<T>>);

/// The number of each text, and the value of each number.
type Shelved<T> = (HashMap<String, usize>, Vec<Arc<T>>);

impl<T> Shelf<T> {
    fn new() -> Self {
        Self(RwLock::new((HashMap::new(), Vec::new())))
    }

    fn put(&self, text: String, value: T) -> usize {
        let mut all = self.0.write().unwrap();
        let next = all.1.len();
        let at = *all.0.entry(text).or_insert(next);
        if at == next {
            all.1.push(Arc::new(value));
        }
        at
    }

    fn get(&self, at: usize) -> Arc<T> {
        self.0.read().unwrap().1[at].clone()
    }
}

/// A journal: its entries, and their fold.
pub struct Journal {
    pub entries: Vec<Entry>,
    pub progress: Progress,
}

pub struct Mind {
    pub cast: Cast,
    pub fault: Option<Fault>,
    ledgers: Shelf<Ledger>,
    journals: Shelf<Journal>,
    plans: Memo<Question, Option<u32>>,
    notes: Memo<(u32, Note), u32>,
    changes: Memo<(u16, u32, Change), Option<u16>>,
    facts: Memo<(u32, u16, bool), Arc<Facts>>,
    heirs: Memo<(u32, u8, u8), Option<u32>>,
    late: Memo<(u32, u16, bool, u8, Doc), Option<u32>>,
}

pub fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

pub fn oid(commit: u8) -> String {
    format!("{commit:040x}")
}

pub fn lease_oid(name: u8) -> String {
    format!("{:040x}", 0xf000 + u32::from(name))
}

pub fn run_id(run: u8) -> RunId {
    RunId::new(now(), u16::from(run))
}

/// A mark as the model writes it.
fn short(mark: Option<&Mark>) -> (u8, u8) {
    mark.map_or((0, 0), |mark| {
        let run = u8::from_str_radix(&mark.run()[mark.run().len() - 2..], 16).unwrap();
        (mark.number() as u8, run)
    })
}

pub fn long(mark: (u8, u8)) -> Option<Mark> {
    let text = format!("{} {}", mark.0, run_id(mark.1).as_str());
    (mark.0 > 0).then(|| text.parse().unwrap())
}

impl Mind {
    pub fn new(cast: Cast, fault: Option<Fault>) -> Self {
        Self {
            cast,
            fault,
            ledgers: Shelf::new(),
            journals: Shelf::new(),
            plans: Memo::new(),
            notes: Memo::new(),
            changes: Memo::new(),
            facts: Memo::new(),
            heirs: Memo::new(),
            late: Memo::new(),
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub fn ledger(&self, at: u16) -> Arc<Ledger> {
        self.ledgers.get(usize::from(at))
    }

    fn keep(&self, ledger: Ledger) -> u16 {
        let text = ledger.to_text().unwrap();
        self.ledgers.put(text, ledger).try_into().unwrap()
    }

    pub fn journal(&self, at: u32) -> Arc<Journal> {
        self.journals.get(at as usize)
    }

    fn enter(&self, entries: Vec<Entry>, progress: Progress) -> u32 {
        let text = format!("{progress:?}");
        let journal = Journal { entries, progress };
        self.journals.put(text, journal).try_into().unwrap()
    }

    /// The ledger at the beginning: nothing but that recovery was read back or, after a split, that too.
    pub fn first_ledger(&self) -> u16 {
        let mut ledger = Ledger::new();
        if !self.cast.scenario.mistyped {
            ledger.record_recovery_read_back(&self.recipient(RECOVERY), now());
        }
        if self.cast.scenario.is_split {
            ledger.raise_generation(run_id(0).as_str()).unwrap();
            for (at, zone) in ZONES[..self.cast.scenario.zones].iter().enumerate() {
                let (id, holder) = (format!("{zone}-0"), Holder::Zone((*zone).to_owned()));
                let recipient = self.recipient(self.cast.minted(0, at));
                ledger
                    .add(Record::minted(&id, holder, recipient, now()))
                    .unwrap();
                ledger.advance(&id, State::Active, now()).unwrap();
                for (name, (of, _)) in READERS.iter().zip(self.cast.scenario.readers) {
                    if *of == at {
                        ledger.receive(&id, receipt(name)).unwrap();
                    }
                }
            }
        }
        self.keep(ledger)
    }

    pub fn recipient(&self, bit: Bits) -> Recipient {
        self.cast.recipients[bit.trailing_zeros() as usize].clone()
    }

    /// The real planner's answer, as a journal that begins with it; none if it refuses or there is nothing to do.
    pub fn begin(&self, question: Question) -> Option<u32> {
        self.plans.get(question, |q| {
            let plan = self.plan(q)?;
            if plan.is_empty() {
                return None;
            }
            let begun = Entry::Begun {
                version: 1,
                run: run_id(q.run),
                at: now(),
                head: Some(oid(q.head)),
                options: Options {
                    yes: true,
                    ..Options::default()
                },
                plan: Box::new(plan),
            };
            let progress = Progress::of([begun.clone()]).unwrap();
            Some(self.enter(vec![begun], progress))
        })
    }

    fn plan(&self, q: &Question) -> Option<Plan> {
        let ledger = self.ledger(q.ledger);
        let struck = q.struck || matches!(q.wish, Wish::Revoke(_));
        let struck = struck && !self.has(Fault::RevokeServesTheRevoked);
        let topology = match self.has(Fault::TwoRoles) {
            true => &self.cast.clean,
            false => &self.cast.topology[usize::from(struck)],
        };
        let revoked = match q.wish {
            Wish::Revoke(reader) => Some(self.revoked(&ledger, reader)),
            _ => None,
        };
        let replace: Vec<Holder> = match q.wish {
            Wish::Rotate(zone) => vec![Holder::Zone(ZONES[zone].to_owned())],
            Wish::Revoke(reader) => {
                let zone = ZONES[self.cast.scenario.readers[reader].0];
                revocation::given_to(&ledger, &self.cast.topology[0], READERS[reader], zone)
                    .iter()
                    .filter(|r| r.state.is_live())
                    .map(|r| r.holder.clone())
                    .collect()
            }
            Wish::Split | Wish::Sync => Vec::new(),
        };
        let documents = self.cast.paths.iter().zip(&q.docs);
        let repo = RepoFacts {
            documents: documents
                .filter_map(|(path, doc)| {
                    let doc = doc.as_ref()?;
                    Some(DocumentFacts {
                        path: path.clone(),
                        recipients: self.cast.recipients_of(doc.to),
                        foreign: Vec::new(),
                        key_groups: 1,
                        digest: digest(doc),
                        values: 1,
                    })
                })
                .collect(),
            others: Vec::new(),
            rules: None,
        };
        let targets: Vec<TargetFacts> = topology
            .hosts
            .iter()
            .map(|host| {
                let held = q.held[self.cast.reader(&host.name)];
                TargetFacts {
                    name: host.name.clone(),
                    kind: ReaderKind::Host,
                    zone: host.zone.clone(),
                    held: self.cast.recipients_of(held.unwrap_or(0)),
                    reach: held.map_or(Reach::Unreachable, |_| Reach::Read),
                    declares_clones: !host.clones.is_empty(),
                }
            })
            .collect();
        let at_hand = self
            .cast
            .recipients_of(self.cast.at_hand[usize::from(q.desk)]);
        let without: Vec<String> = (0..READERS.len())
            .filter(|n| q.without & (1 << n) != 0)
            .map(|n| READERS[n].to_owned())
            .collect();
        let plan = converge::plan(&PlanInput {
            topology,
            ledger: &ledger,
            repo: &repo,
            targets: &targets,
            at_hand: &at_hand,
            now: now(),
            goal: match q.wish {
                Wish::Split => Goal::Split,
                Wish::Rotate(_) => Goal::Rotate,
                Wish::Revoke(_) => Goal::Revoke,
                Wish::Sync => Goal::Sync,
            },
            replace: &replace,
            without: &without,
            revoked: revoked.as_ref(),
            seals: &Seals::default(),
            formers: &[],
            leave: &Leave::default(),
        });
        self.spoilt(plan.ok()?, q)
    }

    /// The plan as a planner with the planted fault would make it.
    fn spoilt(&self, mut plan: Plan, q: &Question) -> Option<Plan> {
        if self.has(Fault::KeepsNothingWithout) && q.without != 0 {
            for identity in &mut plan.retiring {
                identity.kept_for.clear();
            }
            for document in &mut plan.documents {
                let planned: Vec<String> = plan.identities.iter().map(|i| i.id.clone()).collect();
                document.after.retain(|party| match party {
                    Party::Identity(id) => planned.contains(id),
                    _ => true,
                });
            }
        }
        if self.has(Fault::TwoRoles) {
            let (operator, shared) = (&self.cast.recipients[1], &self.cast.recipients[0]);
            let mut parties: Vec<&mut Party> = plan.always.iter_mut().collect();
            let documents = plan.documents.iter_mut();
            parties.extend(documents.flat_map(|d| &mut d.after));
            for party in parties {
                if let Party::Operator { recipient, .. } = party
                    && recipient == operator
                {
                    *recipient = shared.clone();
                }
            }
        }
        Some(plan)
    }

    fn revoked(&self, ledger: &Ledger, reader: usize) -> Revoked {
        let zone = ZONES[self.cast.scenario.readers[reader].0];
        let given = revocation::given_to(ledger, &self.cast.topology[0], READERS[reader], zone);
        Revoked {
            name: READERS[reader].to_owned(),
            reader: Some(RevokedReader {
                zone: zone.to_owned(),
                section: String::new(),
            }),
            recipients: Vec::new(),
            compromised: given.iter().map(|r| r.id.clone()).collect(),
        }
    }

    /// Adds a line to a journal, by the real fold.
    pub fn note(&self, journal: u32, note: Note) -> u32 {
        self.notes.get((journal, note), |(at, note)| {
            let journal = self.journal(*at);
            let (mut entries, mut progress) = (journal.entries.clone(), journal.progress.clone());
            for entry in self.entries(&progress, note) {
                entries.push(entry.clone());
                progress.add(entry, entries.len()).unwrap();
            }
            self.enter(entries, progress)
        })
    }

    pub fn planned_late(
        &self,
        progress: &Progress,
        ledger: u16,
        document: usize,
        doc: &Doc,
    ) -> Option<cofferdam::plan::PlannedDocument> {
        let late = Late {
            path: &self.cast.paths[document],
            before: self.cast.recipients_of(doc.to),
            digest: digest(doc),
        };
        let struck = progress.plan.revoked.is_some();
        let topology = &self.cast.topology[usize::from(struck)];
        let mut plan = progress.plan.clone();
        if self.has(Fault::WidensByPlace) {
            plan.goal = Goal::Split;
            let mut open = late.clone();
            open.before = self.cast.recipients_of(SHARED);
            let mut known = Ledger::new();
            known
                .add(Record::adopted(
                    "shared",
                    Holder::Shared("shared".to_owned()),
                    self.recipient(SHARED),
                    now(),
                ))
                .unwrap();
            return open.planned(&plan, topology, &known);
        }
        late.planned(&plan, topology, &self.ledger(ledger))
    }

    /// The journal of a run that also rewrites a document that came late; none if nobody says for whom.
    pub fn amended(
        &self,
        journal: u32,
        ledger: u16,
        struck: bool,
        document: usize,
        doc: Doc,
    ) -> Option<u32> {
        let key = (journal, ledger, struck, document as u8, doc);
        self.late.get(key, |_| {
            let progress = &self.journal(journal).progress;
            self.planned_late(progress, ledger, document, &doc)?;
            Some(self.note(journal, Note::Amended(document as u8, doc, ledger)))
        })
    }

    /// Whether the real rules let the run go on without a reader, and its journal then.
    pub fn without(&self, journal: u32, reader: usize, ledger: u16) -> Option<u32> {
        let progress = &self.journal(journal).progress;
        let planned = progress
            .plan
            .readers
            .iter()
            .find(|r| r.name == READERS[reader])?;
        if planned.without
            || !guards::may_go_on_without(progress)
            || progress
                .plan
                .keeps_for(READERS[reader], &self.ledger(ledger))
                .is_err()
        {
            return None;
        }
        Some(self.note(journal, Note::Without(reader as u8, ledger)))
    }

    /// The journal that a clone which takes the run over begins with.
    pub fn heir(&self, journal: u32, head: u8, name: u8) -> Option<u32> {
        self.heirs.get((journal, head, name), |_| {
            let entries = self.journal(journal).entries.clone();
            let options = Options {
                yes: true,
                ..Options::default()
            };
            let entries = lease::inherited(entries, Some(oid(head)), options, &lease_oid(name));
            let progress = Progress::of(entries.clone()).ok()?;
            (progress.outcome.is_none()).then(|| self.enter(entries, progress))
        })
    }

    /// Whether a hold under this name was begun and not done; none: not begun.
    pub fn has_begun_only(&self, journal: u32, name: u8) -> Option<bool> {
        let progress = &self.journal(journal).progress;
        let step = cofferdam::journal::Step::Lease {
            commit: lease_oid(name),
        };
        let begun = progress.started.contains(&step);
        begun.then(|| !progress.done.contains(&step))
    }

    pub fn inherited_from(&self, journal: u32, name: u8) -> bool {
        self.journal(journal).progress.inherited_from() == Some(lease_oid(name).as_str())
    }

    pub fn whose(&self, journal: u32, there: Option<(u8, u8)>) -> lease::Whose {
        let there = there.map(|(name, run)| (lease_oid(name), run_id(run)));
        let there = there.as_ref().map(|(oid, run)| (oid.as_str(), run));
        lease::whose(&self.journal(journal).progress, there)
    }

    /// Changes a ledger as the executor does, by the real ledger; none if that refuses.
    pub fn change(&self, ledger: u16, journal: u32, change: Change) -> Option<u16> {
        self.changes.get((ledger, journal, change), |_| {
            let mut changed = (*self.ledger(ledger)).clone();
            let progress = &self.journal(journal).progress;
            self.apply(&mut changed, progress, change)?;
            Some(self.keep(changed))
        })
    }

    pub fn facts(&self, journal: u32, ledger: u16, struck: bool) -> Arc<Facts> {
        self.facts.get((journal, ledger, struck), |_| {
            let progress = &self.journal(journal).progress;
            let topology = &self.cast.topology[usize::from(struck)];
            Arc::new(Facts::of(
                &self.cast,
                progress,
                &self.ledger(ledger),
                topology,
            ))
        })
    }

    /// Whether a target that carries `mark` refuses a clone with this ledger.
    pub fn is_behind(&self, ledger: u16, mark: (u8, u8)) -> bool {
        let ledger = self.ledger(ledger);
        let found = long(mark);
        let (Some(claimed), Some(found)) = (ledger.generation(), found) else {
            return false;
        };
        claimed.is_behind(&found)
    }

    /// The mark that a clone with this ledger leaves.
    pub fn mark_of(&self, ledger: u16) -> (u8, u8) {
        short(self.ledger(ledger).generation().map(|g| g.mark()))
    }

    /// The mark that a reader carried before the run; none: the run did not look.
    pub fn found(&self, journal: u32, reader: usize) -> Option<(u8, u8)> {
        let journal = self.journal(journal);
        let before = journal.progress.found.get(READERS[reader])?;
        Some(short(before.generation.as_ref()))
    }

    pub fn staged(&self, journal: u32, document: usize) -> Option<cofferdam::journal::Staged> {
        let journal = self.journal(journal);
        let path = self.cast.paths.get(document)?;
        journal.progress.staged.get(path).copied()
    }

    /// The commits that a journal names, in order.
    pub fn commits(&self, journal: u32) -> Vec<u8> {
        let journal = self.journal(journal);
        journal.progress.commits.iter().map(|c| number(c)).collect()
    }

    pub fn first_head(&self, journal: u32) -> u8 {
        number(self.journal(journal).progress.head.as_deref().unwrap())
    }
}

fn number(oid: &str) -> u8 {
    u8::from_str_radix(&oid[oid.len() - 2..], 16).unwrap()
}

pub fn receipt(reader: &str) -> Receipt {
    Receipt {
        reader: reader.to_owned(),
        kind: ReceiptKind::Unwrapped,
        at: now(),
    }
}

/// The digest of a slot.
pub fn digest_of(doc: Option<&Doc>) -> Option<Digest> {
    doc.map(digest)
}
