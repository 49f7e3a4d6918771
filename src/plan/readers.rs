//! What a plan does to each reader.

use std::collections::{BTreeMap, BTreeSet};

use crate::inventory::TargetFacts;
use crate::keys::Recipient;
use crate::plan::access::Access;
use crate::plan::converge::PlanInput;
use crate::plan::kept::Kept;
use crate::plan::{Party, PlannedIdentity, PlannedReader};
use crate::repo_path::RepoPath;

/// What readers are planned from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readers<'a> {
    pub(super) input: &'a PlanInput<'a>,
    pub(super) targets: &'a [TargetFacts],
    pub(super) access: &'a Access<'a>,
    pub(super) identities: &'a [PlannedIdentity],
    pub(super) kept: &'a [Kept],
    pub(super) without: &'a [String],
    pub(super) gone: &'a BTreeSet<&'a Recipient>,
}

impl Readers<'_> {
    /// One entry for each target, in order; `after` is who reads each document afterwards.
    pub(super) fn planned(&self, after: &BTreeMap<&RepoPath, Vec<Party>>) -> Vec<PlannedReader> {
        let targets = self.targets.iter();
        targets.map(|target| self.one(target, after)).collect()
    }

    fn one(&self, target: &TargetFacts, after: &BTreeMap<&RepoPath, Vec<Party>>) -> PlannedReader {
        let needs = self.access.ids_of_reader(&target.name);
        let receives = needs
            .iter()
            .filter(|id| {
                let identity = self.identities.iter().find(|i| i.id == **id);
                let recipient = identity.and_then(|i| i.recipient.as_ref());
                recipient.is_none_or(|recipient| !target.held.contains(recipient))
            })
            .cloned()
            .collect();
        let kept = self.kept_in_zone(&target.zone);
        let leaves = |r: &&Recipient| self.gone.contains(*r) && !kept.contains(r);
        let documents = self.input.repo.documents.iter();
        let opens = |parties: &&Vec<Party>| {
            let mut parties = parties.iter();
            parties.any(|p| matches!(p, Party::Identity(id) if needs.contains(id)))
        };
        PlannedReader {
            name: target.name.clone(),
            kind: target.kind,
            zone: target.zone.clone(),
            receives,
            loses: target.held.iter().filter(leaves).cloned().collect(),
            opens_before: documents
                .filter(|d| d.recipients.iter().any(|r| target.held.contains(r)))
                .count(),
            opens_after: after.values().filter(opens).count(),
            needs,
            declares_clones: target.declares_clones,
            reach: target.reach,
            without: self.without.contains(&target.name),
        }
    }

    /// What all readers of a zone keep because documents stay wrapped to it for the sake of one of them.
    fn kept_in_zone(&self, zone: &str) -> Vec<&Recipient> {
        let in_zone = |name: &str| {
            let mut targets = self.targets.iter();
            targets.any(|t| t.name == name && t.zone == zone)
        };
        let kept = self.kept.iter().filter(|k| in_zone(&k.reader));
        kept.map(|k| &k.recipient).collect()
    }
}
