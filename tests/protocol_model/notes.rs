//! Lines of a journal: the model's words, and the real entries that they stand for.

use cofferdam::inventory::Before;
use cofferdam::journal::{Entry, Outcome, Progress, Step};

use crate::cast::{READERS, digest};
use crate::faults::Fault;
use crate::mind::{Mind, lease_oid, long, oid};
use crate::world::{Bits, Doc, Docs};

/// One line for a journal, in the model's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Note {
    Keep,
    /// The identities that were made, in the plan's order.
    Minted(Vec<Bits>),
    Lease(u8),
    TakenOver(u8),
    Releasing,
    /// Identities may be delivered to these readers, each of which carried this mark before.
    Shipping(Vec<(u8, (u8, u8))>),
    Proven,
    Staged(Docs, Docs),
    Publishing,
    Committed(u8),
    Published,
    Retiring(Vec<(u8, Bits)>),
    Recording,
    TakingBack(u8),
    TakenBack(u8),
    Amended(u8, Doc, u16),
    Without(u8, u16),
    Undo(bool),
    End(bool),
}

impl Mind {
    /// The real entries of a line.
    pub fn entries(&self, progress: &Progress, note: &Note) -> Vec<Entry> {
        let both = |step: Step| vec![Entry::Started { step: step.clone() }, Entry::Done { step }];
        let begun = |step: Step| vec![Entry::Started { step }];
        let minted = progress
            .plan
            .identities
            .iter()
            .filter(|i| i.recipient.is_none());
        let reader = |n: &u8| READERS[usize::from(*n)].to_owned();
        match note {
            Note::Keep => both(Step::Keep),
            Note::Minted(made) => minted
                .zip(made)
                .flat_map(|(identity, bits)| {
                    let step = Step::Mint {
                        id: identity.id.clone(),
                    };
                    let made = self.cast.recipients_of(*bits).into_iter();
                    let made = made.map(|recipient| Entry::Minted {
                        id: identity.id.clone(),
                        recipient,
                    });
                    begun(step.clone())
                        .into_iter()
                        .chain(made)
                        .chain([Entry::Done { step }])
                        .collect::<Vec<_>>()
                })
                .collect(),
            // Begun first; done once the remote has answered.
            Note::Lease(name) => {
                let step = Step::Lease {
                    commit: lease_oid(*name),
                };
                if progress.started.contains(&step) && !progress.done.contains(&step) {
                    vec![Entry::Done { step }]
                } else {
                    begun(step)
                }
            }
            Note::TakenOver(name) => vec![Entry::Done {
                step: Step::TakeOver {
                    commit: lease_oid(*name),
                },
            }],
            Note::Releasing => begun(Step::Release),
            Note::Shipping(readers) => readers
                .iter()
                .flat_map(|(n, mark)| {
                    let planned = progress.plan.readers.iter().find(|r| r.name == reader(n));
                    let found = Entry::Found {
                        reader: reader(n),
                        before: Before {
                            generation: long(*mark),
                            ..Before::default()
                        },
                    };
                    let needs = planned.map(|r| r.needs.clone()).unwrap_or_default();
                    let steps = needs.into_iter().map(|id| Entry::Started {
                        step: Step::Ship {
                            id,
                            reader: reader(n),
                        },
                    });
                    std::iter::once(found).chain(steps).collect::<Vec<_>>()
                })
                .collect(),
            Note::Proven => both(Step::Prove),
            Note::Staged(before, after) => {
                let mut entries = begun(Step::Stage);
                for (n, path) in self.cast.paths.iter().enumerate() {
                    if let Some(after) = &after[n] {
                        entries.push(Entry::Staged {
                            path: path.clone(),
                            before: before[n].as_ref().map(digest),
                            after: digest(after),
                        });
                    }
                }
                entries.push(Entry::Done { step: Step::Stage });
                entries
            }
            Note::Publishing => {
                let mut entries = begun(Step::Publish);
                if progress.index.is_none() {
                    entries.push(Entry::Indexed {
                        entries: Vec::new(),
                    });
                }
                entries
            }
            Note::Committed(commit) => vec![Entry::Committed {
                commit: oid(*commit),
            }],
            Note::Published => vec![Entry::Done {
                step: Step::Publish,
            }],
            Note::Retiring(readers) => readers
                .iter()
                .flat_map(|(n, bits)| {
                    self.cast
                        .recipients_of(*bits)
                        .into_iter()
                        .map(|recipient| Entry::Started {
                            step: Step::Retire {
                                recipient,
                                reader: reader(n),
                            },
                        })
                })
                .collect(),
            Note::Recording => begun(Step::Record),
            Note::TakingBack(n) => minted
                .flat_map(|i| {
                    begun(Step::Withdraw {
                        id: i.id.clone(),
                        reader: reader(n),
                    })
                })
                .collect(),
            Note::TakenBack(n) => minted
                .map(|i| Entry::Done {
                    step: Step::Withdraw {
                        id: i.id.clone(),
                        reader: reader(n),
                    },
                })
                .collect(),
            Note::Amended(document, doc, ledger) => {
                let planned = self.planned_late(progress, *ledger, usize::from(*document), doc);
                vec![Entry::Amended {
                    documents: planned.into_iter().collect(),
                }]
            }
            Note::Without(n, ledger) => {
                let keeps = progress.plan.keeps_for(&reader(n), &self.ledger(*ledger));
                let forgets = self.has(Fault::KeepsNothingWithout);
                vec![Entry::Without {
                    reader: reader(n),
                    keeps: keeps.unwrap().into_iter().filter(|_| !forgets).collect(),
                }]
            }
            Note::Undo(published) => vec![Entry::UndoBegun {
                published: *published,
            }],
            Note::End(forwards) => vec![Entry::Finished {
                outcome: match forwards {
                    true => Outcome::Completed,
                    false => Outcome::Undone,
                },
            }],
        }
    }
}
