//! Protocol rule 17: a run that goes on without a reader keeps the last identity proven on it as a recipient of what it reads.

use crate::inventory::TargetFacts;
use crate::keys::Recipient;
use crate::ledger::{Ledger, Record, State};
use crate::plan::access::{self, Access};
use crate::plan::converge::PlanInput;
use crate::plan::{Departed, Party, Plan, PlanProblem, PlannedIdentity, RetiringIdentity};

/// An identity that stays a recipient for a reader's sake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The reader that the run goes on without.
    pub reader: String,
    /// The identity's name in the ledger; none: it is not in there yet.
    pub id: Option<String>,
    /// Its public half.
    pub recipient: Recipient,
}

/// The readers that a plan goes on without: those named now, and those that a ledger names and that are still not back.
pub(super) fn without(
    input: &PlanInput<'_>,
    targets: &[TargetFacts],
    identities: &[PlannedIdentity],
) -> Vec<String> {
    let names_now = |target: &&TargetFacts| {
        let needs = Access::new(input.topology, identities, &[]).ids_of_reader(&target.name);
        let lacks = needs.iter().any(|id| {
            let identity = identities.iter().find(|i| i.id == *id);
            let recipient = identity.and_then(|i| i.recipient.as_ref());
            recipient.is_none_or(|r| !target.held.contains(r))
        });
        let named = input.without.contains(&target.name) && (lacks || !target.reach.is_read());
        // The word of an earlier run holds until the reader answers; a new identity for its zone asks for it again.
        let minted = identities
            .iter()
            .any(|i| needs.contains(&i.id) && i.recipient.is_none());
        let records = input.ledger.records();
        let earlier = !target.reach.is_read()
            && !minted
            && records.iter().any(|r| r.kept_for.contains(&target.name));
        named || earlier
    };
    let left_out = targets.iter().filter(names_now);
    left_out.map(|t| t.name.clone()).collect()
}

/// What is kept for the readers of `without`.
///
/// # Errors
/// [`PlanProblem::CannotKeep`] for an identity that is compromised, or that a revoked reader held.
pub(super) fn kept(
    input: &PlanInput<'_>,
    targets: &[TargetFacts],
    identities: &[PlannedIdentity],
    without: &[String],
    departed: &[Departed],
) -> Result<Vec<Kept>, Vec<PlanProblem>> {
    let compromised = input.revoked.map_or(&[][..], |r| &r.compromised);
    let keepable = |record: &Record, reader: &str| {
        keepable(input.ledger, record, reader, compromised, departed)
    };
    let mut kept = Vec::new();
    let mut problems = Vec::new();
    for target in targets.iter().filter(|t| without.contains(&t.name)) {
        let serves = |recipient: &Recipient| {
            let mut live = identities.iter();
            live.any(|i| i.recipient.as_ref() == Some(recipient))
        };
        match last_proven(input.ledger, &target.name) {
            Some(record) if serves(&record.recipient) => {}
            Some(record) => match keepable(record, &target.name) {
                Ok(()) => kept.push(Kept {
                    reader: target.name.clone(),
                    id: Some(record.id.clone()),
                    recipient: record.recipient.clone(),
                }),
                Err(problem) => problems.push(problem),
            },
            // It never proved any: what it is known, or supposed, to hold is still shared.
            None => {
                let always = access::always(input.topology);
                let held = target.held.iter().filter(|r| {
                    let of_always = |p: &Party| p.recipient(&Default::default()) == Some(r);
                    !serves(r) && !always.iter().any(of_always)
                });
                for recipient in held {
                    let record = input.ledger.record_of(recipient);
                    match record.map_or(Ok(()), |r| keepable(r, &target.name)) {
                        Ok(()) => kept.push(Kept {
                            reader: target.name.clone(),
                            id: record.map(|r| r.id.clone()),
                            recipient: recipient.clone(),
                        }),
                        Err(problem) => problems.push(problem),
                    }
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(kept)
    } else {
        Err(problems)
    }
}

/// The identity that `reader` proved last, of those that were not taken from it since.
pub fn last_proven<'a>(ledger: &'a Ledger, reader: &str) -> Option<&'a Record> {
    let records = ledger.records().iter();
    records
        .filter(|r| !matches!(r.state, State::Withdrawn | State::Retired))
        .filter_map(|r| {
            let receipts = r.receipts.iter().filter(|x| x.reader == reader);
            Some((receipts.map(|x| x.at).max()?, r))
        })
        .max_by_key(|(at, _)| *at)
        .map(|(_, record)| record)
}

/// Whether documents may stay wrapped to an identity.
fn keepable(
    ledger: &Ledger,
    record: &Record,
    reader: &str,
    compromised: &[String],
    departed: &[Departed],
) -> Result<(), PlanProblem> {
    let cannot = |why: String| {
        Err(PlanProblem::CannotKeep {
            reader: reader.to_owned(),
            id: record.id.clone(),
            why,
        })
    };
    if record.state == State::Compromised || compromised.contains(&record.id) {
        return cannot("it is compromised".to_owned());
    }
    if let Some(left) = departed
        .iter()
        .find(|d| d.could_unseal.contains(&record.id))
    {
        return cannot(format!("{} could unseal it and left", left.name));
    }
    match ledger
        .revoked()
        .iter()
        .find(|r| record.was_given_to(&r.name))
    {
        Some(revoked) => cannot(format!("{} held it and is revoked", revoked.name)),
        None => Ok(()),
    }
}

/// What a ledger says is kept.
pub fn kept_by_ledger(ledger: &Ledger) -> Vec<Kept> {
    let of = |record: &Record| {
        let (id, recipient) = (record.id.clone(), record.recipient.clone());
        let kept = move |reader: &String| Kept {
            reader: reader.clone(),
            id: Some(id.clone()),
            recipient: recipient.clone(),
        };
        record.kept_for.iter().map(kept).collect::<Vec<_>>()
    };
    ledger.records().iter().flat_map(of).collect()
}

impl Plan {
    /// What the plan keeps, a pair of reader and identity each.
    pub fn kept(&self) -> Vec<Kept> {
        let of = |identity: &RetiringIdentity| {
            let kept = identity.kept_for.iter().map(|reader| Kept {
                reader: reader.clone(),
                id: Some(identity.id.clone()),
                recipient: identity.recipient.clone(),
            });
            kept.collect::<Vec<_>>()
        };
        self.retiring.iter().flat_map(of).collect()
    }

    /// What going on without `reader` keeps for it, by id: the last identity that it proved, or what it holds if it never
    /// proved any. Empty where it holds what it needs already, and where it never held anything.
    ///
    /// # Errors
    /// [`PlanProblem::NoReader`] for a name that is none of the plan's, [`PlanProblem::CannotKeep`].
    pub fn keeps_for(&self, reader: &str, ledger: &Ledger) -> Result<Vec<String>, PlanProblem> {
        let Some(planned) = self.readers.iter().find(|r| r.name == reader) else {
            return Err(PlanProblem::NoReader {
                reader: reader.to_owned(),
                readers: self.readers.iter().map(|r| r.name.clone()).collect(),
            });
        };
        if let Some(record) = last_proven(ledger, reader)
            && planned.needs.contains(&record.id)
        {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = match last_proven(ledger, reader) {
            Some(record) => vec![record.id.clone()],
            None => {
                let held = self.retiring.iter();
                let held = held.filter(|r| planned.loses.contains(&r.recipient));
                held.map(|r| r.id.clone()).collect()
            }
        };
        for record in ids.iter().filter_map(|id| ledger.record(id)) {
            let revoked = self.revoked.as_ref();
            let compromised = revoked.map_or(&[][..], |r| &r.compromised);
            keepable(ledger, record, reader, compromised, &self.departed)?;
        }
        Ok(ids)
    }

    /// Goes on without `reader`: documents that it reads stay wrapped to `keeps`, and its zone keeps these identities.
    pub fn go_on_without(&mut self, reader: &str, keeps: &[String]) {
        let Some(planned) = self.readers.iter_mut().find(|r| r.name == reader) else {
            return;
        };
        planned.without = true;
        let (zone, needs) = (planned.zone.clone(), planned.needs.clone());
        let retiring = self.retiring.iter_mut();
        for identity in retiring.filter(|r| keeps.contains(&r.id)) {
            if !identity.kept_for.iter().any(|name| name == reader) {
                identity.kept_for.push(reader.to_owned());
            }
            for mate in self.readers.iter_mut().filter(|r| r.zone == zone) {
                mate.loses.retain(|r| *r != identity.recipient);
            }
            for document in &mut self.documents {
                let read = |p: &Party| matches!(p, Party::Identity(id) if needs.contains(id));
                let kept = Party::Identity(identity.id.clone());
                let Some(at) = document.after.iter().rposition(read) else {
                    continue;
                };
                if !document.after.contains(&kept) {
                    document.after.insert(at + 1, kept);
                }
            }
            self.rules.changes = true;
        }
    }
}
