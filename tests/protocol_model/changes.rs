//! Changes of a ledger, as the executor makes them.

use cofferdam::journal::{Progress, guards};
use cofferdam::ledger::{Holder, Ledger, Record, State, Tombstone};

use crate::mind::{Mind, now, receipt};

/// One change of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    Adopt,
    Mint,
    Shipped(u8),
    Proven,
    Rewritten,
    Retired,
    Inherit(u16),
    GoingBack,
    WentBack,
}

impl Mind {
    /// Makes one; none: the ledger refuses.
    pub fn apply(&self, ledger: &mut Ledger, progress: &Progress, change: Change) -> Option<()> {
        let plan = &progress.plan;
        let run = progress.run.as_str();
        let number = u8::from_str_radix(&run[run.len() - 2..], 16).unwrap();
        let minted = || {
            plan.identities
                .iter()
                .enumerate()
                .filter(|(_, i)| i.recipient.is_none())
        };
        let advance = |ledger: &mut Ledger, id: &str, to: State| {
            let behind = ledger.record(id).is_some_and(|r| r.state.precedes(to));
            if behind {
                ledger.advance(id, to, now()).ok()?;
            }
            Some(())
        };
        match change {
            Change::Adopt => {
                for one in plan.retiring.iter().filter(|r| r.adopt) {
                    if ledger.record(&one.id).is_none() {
                        ledger.raise_generation(run).ok()?;
                        let record = Record::adopted(
                            &one.id,
                            Holder::Shared(one.id.clone()),
                            one.recipient.clone(),
                            now(),
                        );
                        ledger.add(record).ok()?;
                    }
                }
            }
            Change::Mint => {
                for (at, one) in minted() {
                    if ledger.record(&one.id).is_none() {
                        ledger.raise_generation(run).ok()?;
                        let recipient = self.recipient(self.cast.minted(number, at));
                        let holder = one.holder.clone();
                        ledger
                            .add(Record::minted(&one.id, holder, recipient, now()))
                            .ok()?;
                    }
                }
            }
            Change::Shipped(failed) => {
                for (_, one) in minted() {
                    let mut in_need = plan
                        .readers
                        .iter()
                        .filter(|r| !r.without && r.needs.contains(&one.id));
                    if in_need.all(|r| failed & (1 << self.cast.reader(&r.name)) == 0) {
                        advance(ledger, &one.id, State::Shipped)?;
                    }
                }
            }
            Change::Proven => {
                for reader in plan.readers.iter().filter(|r| !r.without) {
                    for id in &reader.needs {
                        let is_fresh = ledger.record(id).is_some_and(|record| {
                            record.state.precedes(State::Active)
                                || record.receipts.iter().all(|r| r.reader != reader.name)
                        });
                        if is_fresh {
                            ledger.receive(id, receipt(&reader.name)).ok()?;
                        }
                    }
                }
                for (_, one) in minted() {
                    advance(ledger, &one.id, State::Proven)?;
                }
            }
            Change::Rewritten => {
                for one in &plan.identities {
                    advance(ledger, &one.id, State::Active)?;
                }
                for one in &plan.retiring {
                    if ledger.record(&one.id).is_some() {
                        ledger.keep_for(&one.id, &one.kept_for).ok()?;
                    }
                    advance(ledger, &one.id, State::Retiring)?;
                }
            }
            Change::Retired => {
                if let Some(revoked) = &plan.revoked {
                    for id in &revoked.compromised {
                        if ledger.record(id).is_some() {
                            ledger.advance(id, State::Compromised, now()).ok()?;
                        }
                    }
                    let reader = revoked.reader.clone()?;
                    ledger.bury(Tombstone {
                        name: revoked.name.clone(),
                        zone: reader.zone,
                        at: now(),
                        section: reader.section,
                    });
                }
                for one in plan.retiring.iter().filter(|r| r.kept_for.is_empty()) {
                    advance(ledger, &one.id, State::Retired)?;
                }
            }
            Change::Inherit(theirs) => {
                let theirs = self.ledger(theirs);
                let retiring = plan.retiring.iter().map(|r| &r.id);
                for id in minted().map(|(_, i)| &i.id).chain(retiring) {
                    if let (Some(record), None) = (theirs.record(id), ledger.record(id)) {
                        ledger.add(record.clone()).ok()?;
                    }
                }
            }
            Change::GoingBack => {
                for one in &plan.retiring {
                    let record = ledger.record(&one.id);
                    if record.is_some_and(|r| !guards::bars_way_back(r.state)) {
                        ledger.advance(&one.id, State::Active, now()).ok()?;
                    }
                }
                for (_, one) in minted() {
                    advance(ledger, &one.id, State::Retiring)?;
                }
            }
            Change::WentBack => {
                for (_, one) in minted() {
                    advance(ledger, &one.id, State::Retired)?;
                }
            }
        }
        Some(())
    }
}
