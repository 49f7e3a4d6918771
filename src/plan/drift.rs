//! How far a repository is from its topology, told from metadata alone: no identity, no target.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger, Record, State};
use crate::plan::access::{self, Access};
use crate::plan::adoption;
use crate::plan::kept::kept_by_ledger;
use crate::plan::{Party, PlanProblem, PlannedIdentity, Roster};
use crate::repo_path::RepoPath;
use crate::topology::Topology;

/// A repository's standing at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// One entry per identity that the topology calls for, in its order.
    pub identities: Vec<IdentityStanding>,
    /// SOPS documents in the repository.
    pub documents: usize,
    /// What is not as the topology wants it; one line each.
    pub drift: Vec<String>,
    /// What is due; one line each.
    pub due: Vec<String>,
}

/// One identity's standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdentityStanding {
    /// Its zone.
    pub zone: String,
    /// Who holds it.
    pub holder: String,
    /// Its readers.
    pub readers: Vec<String>,
    /// Its id; none: not minted yet.
    pub id: Option<String>,
    /// The recipient that it adopts with the next run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopts: Option<Recipient>,
    /// Where it is in its life.
    pub state: Option<State>,
    /// When it was minted.
    pub minted: Option<Timestamp>,
    /// When its rotation is due.
    pub due: Option<Timestamp>,
    /// How many documents it opens.
    pub opens: usize,
}

/// What a standing is told from.
#[derive(Debug, Clone, Copy)]
pub struct StandingInput<'a> {
    /// Intended state.
    pub topology: &'a Topology,
    /// The identities that exist.
    pub ledger: &'a Ledger,
    /// Every SOPS document with its age recipients.
    pub documents: &'a [(RepoPath, Vec<Recipient>)],
    /// Now.
    pub now: Timestamp,
}

/// Tells how a repository stands.
pub fn standing(input: &StandingInput<'_>) -> Standing {
    let identities = identities(input);
    let mut due: Vec<String> = identities
        .iter()
        .filter(|i| i.due.is_some_and(|due| due <= input.now))
        .filter_map(|i| {
            Some(format!(
                "{} of {} is due for rotation",
                i.id.as_ref()?,
                i.holder
            ))
        })
        .collect();
    due.extend(drills(input));
    Standing {
        drift: drift(input),
        documents: input.documents.len(),
        identities,
        due,
    }
}

fn live_identities(input: &StandingInput<'_>) -> Vec<PlannedIdentity> {
    access::holders(input.topology)
        .into_iter()
        .filter_map(|(holder, _)| {
            if let Some(record) = input.ledger.live(&holder) {
                return Some(PlannedIdentity {
                    id: record.id.clone(),
                    recipient: Some(record.recipient.clone()),
                    adopt: false,
                    holder,
                });
            }
            let recipient = adoption::of(input.topology, input.ledger, &holder)?;
            Some(PlannedIdentity {
                id: holder.to_string(),
                recipient: Some(recipient.clone()),
                adopt: true,
                holder,
            })
        })
        .collect()
}

fn identities(input: &StandingInput<'_>) -> Vec<IdentityStanding> {
    access::holders(input.topology)
        .into_iter()
        .map(|(holder, _)| {
            let (zone, readers) = match &holder {
                Holder::Zone(zone) => {
                    let readers = access::readers_of(input.topology, zone);
                    (
                        zone.clone(),
                        readers.into_iter().map(str::to_owned).collect(),
                    )
                }
                Holder::Host(host) => {
                    let zone = access::zone_of_reader(input.topology, host);
                    (
                        zone.map_or_else(String::new, |z| z.name.clone()),
                        vec![host.clone()],
                    )
                }
                Holder::Shared(id) => (String::new(), vec![id.clone()]),
            };
            let record = input.ledger.live(&holder);
            let adopts = adoption::of(input.topology, input.ledger, &holder);
            let adopts = adopts.filter(|_| record.is_none());
            let recipient = record.map(|r| &r.recipient).or(adopts);
            let max_age = input.topology.zone(&zone).and_then(|z| z.max_age);
            let minted = record.and_then(|r| r.minted);
            // Of one that was adopted nobody wrote down when it was made.
            let begun = record.map(Record::begun);
            IdentityStanding {
                zone,
                holder: holder.to_string(),
                readers,
                id: record.map(|r| r.id.clone()),
                state: record.map(|r| r.state),
                minted,
                due: begun
                    .zip(max_age)
                    .and_then(|(at, age)| at.checked_add(age).ok()),
                opens: recipient.map_or(0, |r| {
                    let opened = input.documents.iter();
                    opened.filter(|(_, to)| to.contains(r)).count()
                }),
                adopts: adopts.cloned(),
            }
        })
        .collect()
}

/// The recovery drills that are due; one line each.
pub fn drills(input: &StandingInput<'_>) -> Vec<String> {
    let every = input.topology.recovery.drill_every;
    input
        .topology
        .recovery
        .recipients
        .iter()
        .filter_map(|recipient| {
            let Some(last) = input.ledger.recovery_read_back(recipient) else {
                return Some(format!(
                    "the recovery identity of {} was never read back",
                    recipient.short()
                ));
            };
            let next = last.checked_add(every?).ok()?;
            (next <= input.now).then(|| {
                format!(
                    "the recovery identity of {} was last read back {} ago",
                    recipient.short(),
                    days(input.now, last)
                )
            })
        })
        .collect()
}

/// A span in whole days, for people.
pub fn days(now: Timestamp, then: Timestamp) -> String {
    let span: SignedDuration = now.duration_since(then);
    match span.as_hours() / 24 {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        n => format!("{n} days"),
    }
}

/// One document's place and the recipients that it should have; or why it has no one place.
pub type Wanted<'a> = (
    &'a RepoPath,
    Result<(String, BTreeSet<Recipient>), PlanProblem>,
);

/// The recipients that each document should have: those of its zones' identities, of readers that are waited for,
/// operators and recovery.
pub fn wanted<'a>(input: &StandingInput<'a>) -> Vec<Wanted<'a>> {
    let live = live_identities(input);
    let kept = kept_by_ledger(input.ledger);
    let access = Access::new(input.topology, &live, &kept);
    let roster: Roster = live
        .iter()
        .filter_map(|i| Some((i.id.clone(), i.recipient.clone()?)))
        .chain(
            kept.iter()
                .filter_map(|k| Some((k.id.clone()?, k.recipient.clone()))),
        )
        .collect();
    let always = access::always(input.topology);
    let of = |path: &RepoPath| {
        let place = access.place_of(path)?;
        let parties = place.parties.iter().chain(&always);
        let recipients = parties.filter_map(|p: &Party| p.recipient(&roster).cloned());
        Ok((place.name, recipients.collect()))
    };
    let documents = input.documents.iter();
    documents.map(|(path, _)| (path, of(path))).collect()
}

fn drift(input: &StandingInput<'_>) -> Vec<String> {
    let mut drift = Vec::new();
    for (holder, _) in access::holders(input.topology) {
        if input.ledger.live(&holder).is_some() {
            continue;
        }
        drift.push(match adoption::of(input.topology, input.ledger, &holder) {
            Some(recipient) => format!("{holder} has not adopted {} yet", recipient.short()),
            None => format!("{holder} has no identity yet"),
        });
    }
    for record in input.ledger.records() {
        if !record.kept_for.is_empty() {
            drift.push(format!(
                "{} is kept for {}, which the last run went on without",
                record.id,
                record.kept_for.join(", ")
            ));
        } else if record.state == State::Retiring {
            drift.push(format!(
                "{} is retiring and still held by readers",
                record.id
            ));
        }
    }
    for ((path, wanted), (_, recipients)) in wanted(input).into_iter().zip(input.documents) {
        match wanted {
            Err(problem) => drift.push(problem.to_string()),
            Ok((place, wanted)) => {
                if wanted != recipients.iter().cloned().collect() {
                    drift.push(format!("{path} is not encrypted to the readers of {place}"));
                }
            }
        }
    }
    drift
}
