//! What a run's journal and ledger say, as sets: read off the real plan once for each pair.

use std::collections::BTreeMap;

use cofferdam::journal::{Progress, guards};
use cofferdam::keys::Recipient;
use cofferdam::ledger::{Ledger, State};
use cofferdam::topology::Topology;

use crate::cast::Cast;
use crate::world::{Bits, DOCUMENTS};

/// One reader of the plan.
#[derive(Debug, Clone, Default)]
pub struct ReaderFacts {
    pub is_planned: bool,
    pub needs: Bits,
    /// Of the plan's identities those that it does not need.
    pub forbidden: Bits,
    pub loses: Bits,
    pub leaving: Bits,
    pub without: bool,
    pub concerned: bool,
    pub declares: bool,
    /// Whether an identity was, or was to be, shipped to it.
    pub shipped: bool,
    /// Whether it needs one that the run mints.
    pub needs_minted: bool,
    /// Whether taking back was done there.
    pub taken_back: bool,
}

/// One document of the plan.
#[derive(Debug, Clone, Copy)]
pub struct DocumentFacts {
    pub before: Bits,
    /// None: an identity of it is not minted yet.
    pub after: Option<Bits>,
    /// The readers that read it afterwards.
    pub read_by: u8,
}

#[derive(Debug, Clone)]
pub struct Facts {
    pub readers: Vec<ReaderFacts>,
    pub documents: [Option<DocumentFacts>; DOCUMENTS],
    /// What leaves, and what must not stay at each place.
    pub gone: Bits,
    pub gone_at: Vec<Bits>,
    /// What the run mints, as far as it is minted; and whether it is.
    pub minted: Bits,
    pub is_minted: bool,
    /// Of `minted` what must not stay at each place once the run went back.
    pub adopted: Bits,
    pub is_adopted: bool,
    pub minted_done: bool,
    /// Whether another run has minted an identity of the same name.
    pub is_overtaken: bool,
    /// Operators and recovery.
    pub always: Bits,
    pub bars_way_back: bool,
    pub is_ended: bool,
}

impl Facts {
    pub fn of(cast: &Cast, progress: &Progress, ledger: &Ledger, topology: &Topology) -> Self {
        let plan = &progress.plan;
        let recipient_of = |id: &str| -> Option<Recipient> {
            let planned = plan.identity(id).and_then(|i| i.recipient.clone());
            let own = || {
                ledger
                    .record(id)
                    .filter(|r| progress.has_minted(id, &r.recipient))
            };
            planned.or_else(|| own().map(|r| r.recipient.clone()))
        };
        let minted: Vec<&str> = plan
            .identities
            .iter()
            .filter(|i| i.recipient.is_none())
            .map(|i| i.id.as_str())
            .collect();
        let mut roster: BTreeMap<String, Recipient> = plan.known_recipients();
        for identity in &plan.identities {
            roster.extend(recipient_of(&identity.id).map(|r| (identity.id.clone(), r)));
        }
        let bits_of = |ids: &mut dyn Iterator<Item = &str>| {
            ids.filter_map(recipient_of)
                .fold(0, |bits, r| bits | cast.number_of(&r))
        };
        let mut readers = vec![ReaderFacts::default(); cast.scenario.readers.len()];
        for planned in &plan.readers {
            let shipped = |id: &String| {
                progress.started.contains(&cofferdam::journal::Step::Ship {
                    id: id.clone(),
                    reader: planned.name.clone(),
                })
            };
            let taken_back = |id: &&str| {
                progress.done.contains(&cofferdam::journal::Step::Withdraw {
                    id: (*id).to_owned(),
                    reader: planned.name.clone(),
                })
            };
            readers[cast.reader(&planned.name)] = ReaderFacts {
                is_planned: true,
                needs: bits_of(&mut planned.needs.iter().map(String::as_str)),
                forbidden: bits_of(&mut plan.forbidden_to(planned)),
                loses: cast.bits(&planned.loses),
                leaving: cast.bits(plan.leaving(planned).map(|r| &r.recipient)),
                without: planned.without,
                concerned: plan.concerns(planned),
                declares: planned.declares_clones,
                shipped: planned.needs.iter().any(shipped),
                needs_minted: planned.needs.iter().any(|id| minted.contains(&id.as_str())),
                taken_back: minted.iter().all(taken_back),
            };
        }
        let mut documents = [None; DOCUMENTS];
        for planned in &plan.documents {
            let reads = |reader: &cofferdam::plan::PlannedReader| {
                planned.after.iter().any(|p| {
                    matches!(p, cofferdam::plan::Party::Identity(id) if reader.needs.contains(id))
                })
            };
            documents[cast.document(&planned.path)] = Some(DocumentFacts {
                before: cast.bits(&planned.before),
                after: planned.recipients_after(&roster).map(|r| cast.bits(&r)),
                read_by: plan
                    .readers
                    .iter()
                    .filter(|r| reads(r))
                    .fold(0, |bits, r| bits | 1 << cast.reader(&r.name)),
            });
        }
        let gone: Vec<Recipient> = plan.retiring.iter().map(|r| r.recipient.clone()).collect();
        let adopted = || plan.retiring.iter().filter(|r| r.adopt);
        Self {
            readers,
            documents,
            gone: cast.bits(&gone),
            gone_at: cast
                .paths
                .iter()
                .map(|path| cast.bits(&plan.gone_at(topology, path, &gone)))
                .collect(),
            minted: bits_of(&mut minted.iter().copied()),
            is_minted: minted.iter().all(|id| recipient_of(id).is_some()),
            adopted: cast.bits(adopted().map(|r| &r.recipient)),
            is_adopted: adopted().all(|r| ledger.record(&r.id).is_some()),
            is_overtaken: minted.iter().any(|id| {
                let record = ledger.record(id);
                record.is_some_and(|r| !progress.has_minted(id, &r.recipient))
            }),
            minted_done: minted.iter().any(|id| {
                progress.done.contains(&cofferdam::journal::Step::Mint {
                    id: (*id).to_owned(),
                })
            }),
            always: cast.bits(plan.always.iter().filter_map(|p| p.recipient(&roster))),
            bars_way_back: plan.retiring.iter().any(|r| {
                let record = ledger.record(&r.id);
                let mut documents = plan.documents.iter();
                let is_needed = documents.any(|d| d.before.contains(&r.recipient));
                is_needed && record.is_some_and(|r| guards::bars_way_back(r.state))
            }),
            is_ended: cofferdam::journal::lease::is_ended(plan, ledger),
        }
    }
}

/// The identities that a ledger calls retired or compromised, and those that live.
pub fn by_state(cast: &Cast, ledger: &Ledger, is: impl Fn(State) -> bool) -> Bits {
    let records = ledger
        .records()
        .iter()
        .filter(|r| is(r.state) && r.kept_for.is_empty());
    records.fold(0, |bits, r| bits | cast.number_of(&r.recipient))
}
