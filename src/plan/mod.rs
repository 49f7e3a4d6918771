//! What would change, in order: topology + inventory + goal → [`Plan`]. Planning changes nothing.
//!
//! A plan names recipients that exist; identities that are still to be minted stand in it by id, so that a plan can be
//! printed, saved and compared without any identity being made.

pub mod access;
pub mod adoption;
pub mod converge;
pub mod departed;
pub mod drift;
pub mod duties;
pub mod kept;
pub mod late;
mod notes;
pub mod problem;
pub mod reader_phase;
pub mod reader_safety;
mod readers;
mod retiring;
pub mod revocation;
pub mod rules;
mod supposed;
mod widening;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use departed::Departed;
pub use problem::PlanProblem;

use crate::inventory::{Digest, Reach, ReaderKind};
use crate::keys::Recipient;
use crate::ledger::Holder;
use crate::repo_path::RepoPath;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// One shared identity → one per zone.
    Split,
    /// Other identities in place of live ones.
    Rotate,
    /// The repository in line with an edited topology.
    Sync,
    /// Other identities in place of those that a reader held, or of one: they are compromised.
    Revoke,
}

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// The reader's name; the id of an identity that is revoked by itself.
    pub name: String,
    /// What the topology said of the reader; none: an identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<RevokedReader>,
    /// Its recipients, if it is an operator, or recovery.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Recipient>,
    /// The ids of the identities that are compromised: all that the reader was ever given, or that were ever sealed to the
    /// operator, in any state.
    pub compromised: Vec<String>,
}

/// A reader that leaves the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedReader {
    /// Its zone.
    pub zone: String,
    /// Its section of `cofferdam.toml`.
    pub section: String,
}

/// Everything that a run will do, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the saved form; 1.
    pub version: u32,
    /// What was asked for.
    pub goal: Goal,
    /// Revoke: what is revoked, a reader's name or an identity's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
    /// The identities that serve the zones afterwards.
    pub identities: Vec<PlannedIdentity>,
    /// The recipients that leave.
    pub retiring: Vec<RetiringIdentity>,
    /// Who reads everything: operators, then recovery.
    pub always: Vec<Party>,
    /// Operators and recovery that left, and could open or unseal something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departed: Vec<Departed>,
    /// Identities that are sealed to further parties.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seals: Vec<PlannedSeal>,
    /// The sealed files, by name, that leave the work tree: they are for nobody who is left. History keeps them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseals: Vec<String>,
    /// Readers that nobody declared, as far as files tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<PlannedUse>,
    /// The documents to rewrite, by path.
    pub documents: Vec<PlannedDocument>,
    /// SOPS documents in the repository, rewritten or not.
    pub documents_in_scope: usize,
    /// The readers: hosts, then clusters, in the topology's order.
    pub readers: Vec<PlannedReader>,
    /// The creation rules.
    pub rules: PlannedRules,
    /// Encrypted values that whoever took a retiring identity can go on reading in git history.
    pub exposed_values: usize,
    /// What the operator should know; one line each.
    pub notes: Vec<String>,
}

/// One identity of the goal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedIdentity {
    /// Its name in the ledger.
    pub id: String,
    /// Who holds it.
    pub holder: Holder,
    /// Its recipient if it is live already, or adopted; none: to be minted.
    pub recipient: Option<Recipient>,
    /// Whether it is taken over as its readers hold it, and not in the ledger yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
}

/// One recipient that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetiringIdentity {
    /// Its name in the ledger, given at adoption.
    pub id: String,
    /// Its public half.
    pub recipient: Recipient,
    /// The readers that hold it now.
    pub held_by: Vec<String>,
    /// Whether it is sealed to operators and recovery first: its identity is at hand.
    pub adopt: bool,
    /// Readers that the run goes on without: documents they read stay wrapped to it, and their zone keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_for: Vec<String>,
}

/// An identity that is sealed to operators or recovery that came since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedSeal {
    /// Its name in the ledger.
    pub id: String,
    /// Whether documents are wrapped to it now.
    pub is_live: bool,
    /// To whom.
    pub to: Vec<Party>,
}

/// A reader that nobody declared (protocol rule 23).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedUse {
    /// By which it is dismissed: `ci:.github/workflows/deploy.yml`.
    pub name: String,
    /// What it is, and where that is written.
    pub text: String,
    /// Whether it stops the run until it is declared or dismissed by name, whatever else is confirmed.
    pub stops: bool,
}

/// Somebody a document is wrapped to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// An identity of the plan, by id.
    Identity(String),
    /// An operator's recipient.
    Operator {
        /// The operator's name.
        name: String,
        /// The recipient.
        recipient: Recipient,
    },
    /// A recovery recipient.
    Recovery {
        /// The recipient.
        recipient: Recipient,
    },
}

/// One document and who reads it before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedDocument {
    /// Where it is.
    pub path: RepoPath,
    /// The zone or shared entry it belongs to.
    pub place: String,
    /// Its recipients now.
    pub before: Vec<Recipient>,
    /// Its recipients afterwards: zone identities, operators, recovery.
    pub after: Vec<Party>,
    /// Of its bytes now.
    pub digest: Digest,
    /// Key entries of other kinds that are dropped, by the operator's word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_foreign: Vec<String>,
}

/// One reader and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedReader {
    /// Its name in the topology.
    pub name: String,
    /// Host or cluster.
    pub kind: ReaderKind,
    /// Its zone.
    pub zone: String,
    /// The ids it must hold.
    pub needs: Vec<String>,
    /// The ids among those that it does not hold yet.
    pub receives: Vec<String>,
    /// The retiring recipients it holds.
    pub loses: Vec<Recipient>,
    /// How many documents a break-in there opens now.
    pub opens_before: usize,
    /// How many afterwards.
    pub opens_after: usize,
    /// Whether retirement can be held back until it runs the new revision.
    pub declares_clones: bool,
    /// Whether it could be read; if not, what it holds is supposed.
    #[serde(default, skip_serializing_if = "Reach::is_read")]
    pub reach: Reach,
    /// Whether the run goes on without it: nothing is delivered to it, and it proves nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without: bool,
}

/// The creation rules before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRules {
    /// Whether `.sops.yaml` changes.
    pub changes: bool,
    /// Rules now.
    pub rules_before: usize,
    /// Rules afterwards.
    pub rules_after: usize,
    /// The `path_regex` of each rule that the topology at HEAD generates; those are ours to replace.
    pub previous: Vec<String>,
    /// What is worth saying about the old ones; one line each.
    pub notes: Vec<String>,
}

/// Recipients of the plan's identities by id, known once they are minted.
pub type Roster = BTreeMap<String, Recipient>;

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
            && !self.rules.changes
            && self
                .readers
                .iter()
                .all(|r| r.without || r.receives.is_empty() && r.loses.is_empty())
            && self
                .identities
                .iter()
                .all(|i| i.recipient.is_some() && !i.adopt)
            && self.unseals.is_empty()
            && !self.seals.iter().any(|seal| seal.is_live)
    }

    /// The recipients that no document stays wrapped to: those that retire, and those of who left.
    pub fn leaving_recipients(&self) -> Vec<Recipient> {
        let retiring = self.retiring.iter().map(|r| r.recipient.clone());
        let departed = self.departing().into_iter().cloned();
        retiring.chain(departed).collect()
    }

    /// The recipients of operators and recovery that this plan takes from documents: a rotation leaves that to `sync`.
    pub fn departing(&self) -> Vec<&Recipient> {
        let all = self.departed.iter().filter_map(|d| d.recipient.as_ref());
        match (self.goal, &self.revoked) {
            (Goal::Split | Goal::Sync, _) => all.collect(),
            (Goal::Revoke, Some(revoked)) => {
                all.filter(|r| revoked.recipients.contains(r)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The identities that are sealed and written into the ledger as they are, by id: those that zones go on with, and those
    /// that leave.
    pub fn adopted(&self) -> Vec<(&str, &Recipient)> {
        let leaving = self.retiring.iter().filter(|r| r.adopt);
        let leaving = leaving.map(|r| (r.id.as_str(), &r.recipient));
        let staying = self.identities.iter().filter(|i| i.adopt);
        let staying = staying.filter_map(|i| Some((i.id.as_str(), i.recipient.as_ref()?)));
        leaving.chain(staying).collect()
    }

    /// The identity with this id.
    pub fn identity(&self, id: &str) -> Option<&PlannedIdentity> {
        self.identities.iter().find(|i| i.id == id)
    }

    /// The recipients of all identities that documents are wrapped to and that exist already: live ones, and kept ones.
    pub fn known_recipients(&self) -> Roster {
        let live = self
            .identities
            .iter()
            .filter_map(|i| Some((i.id.clone(), i.recipient.clone()?)));
        let kept = self.retiring.iter().filter(|r| !r.kept_for.is_empty());
        live.chain(kept.map(|r| (r.id.clone(), r.recipient.clone())))
            .collect()
    }

    /// The identities that leave `reader`: all that retire, but one that is kept for a reader of its zone.
    pub fn leaving<'a>(
        &'a self,
        reader: &'a PlannedReader,
    ) -> impl Iterator<Item = &'a RetiringIdentity> {
        let zone_of = |name: &String| {
            let reader = self.readers.iter().find(|r| r.name == *name);
            reader.map(|r| r.zone.as_str())
        };
        self.retiring.iter().filter(move |r| {
            !r.kept_for
                .iter()
                .any(|name| zone_of(name) == Some(reader.zone.as_str()))
        })
    }

    /// Whether the run changes what `reader` holds, or a document that it reads.
    pub fn concerns(&self, reader: &PlannedReader) -> bool {
        let reads = |document: &PlannedDocument| {
            let mut after = document.after.iter();
            after.any(|p| matches!(p, Party::Identity(id) if reader.needs.contains(id)))
        };
        !reader.receives.is_empty() || !reader.loses.is_empty() || self.documents.iter().any(reads)
    }

    /// The ids that a reader must not be able to open: those it does not need.
    pub fn forbidden_to<'a>(&'a self, reader: &'a PlannedReader) -> impl Iterator<Item = &'a str> {
        self.identities
            .iter()
            .map(|i| i.id.as_str())
            .filter(|id| !reader.needs.iter().any(|n| n == id))
    }
}

impl Party {
    /// The recipient, if it is known.
    pub fn recipient<'a>(&'a self, roster: &'a Roster) -> Option<&'a Recipient> {
        match self {
            Party::Identity(id) => roster.get(id),
            Party::Operator { recipient, .. } | Party::Recovery { recipient } => Some(recipient),
        }
    }

    /// A name for people: `lan-2026-11`, `operator laptop`, `recovery`.
    pub fn label(&self) -> String {
        match self {
            Party::Identity(id) => id.clone(),
            Party::Operator { name, .. } => format!("operator {name}"),
            Party::Recovery { .. } => "recovery".to_owned(),
        }
    }
}

impl PlannedDocument {
    /// The recipients afterwards, in order; none if an identity of the plan is not minted yet.
    pub fn recipients_after(&self, roster: &Roster) -> Option<Vec<Recipient>> {
        self.after
            .iter()
            .map(|party| party.recipient(roster).cloned())
            .collect()
    }
}
