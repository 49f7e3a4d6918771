//! Documents that come to a repository while a run is at work (protocol rule 13): for whom they are rewritten, and what of
//! them must not stay.

use crate::inventory::Digest;
use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger};
use crate::plan::access::{self, Access};
use crate::plan::{Goal, Party, Plan, PlannedDocument};
use crate::repo_path::RepoPath;
use crate::topology::Topology;

/// A document as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late<'a> {
    /// Where it is.
    pub path: &'a RepoPath,
    /// Whom it is wrapped to.
    pub before: Vec<Recipient>,
    /// Of its bytes.
    pub digest: Digest,
}

impl Late<'_> {
    /// How `plan` rewrites it as well; none if nobody has said for whom.
    pub fn planned(
        &self,
        plan: &Plan,
        topology: &Topology,
        ledger: &Ledger,
    ) -> Option<PlannedDocument> {
        let before = &self.before;
        let kept = plan.kept();
        let place = Access::new(topology, &plan.identities, &kept)
            .place_of(self.path)
            .ok()?;
        let held_by = |recipient: &Recipient| {
            let record = ledger.record_of(recipient);
            record.map(|r| r.holder.clone())
        };
        // Protocol rule 9: it opens for nobody who could not open it before, the split of what all share aside.
        let could = |party: &Party| {
            let Party::Identity(id) = party else {
                return true;
            };
            let Some(identity) = plan.identity(id) else {
                // Kept for a reader that it opens for already, or not at all.
                let kept = kept.iter().find(|k| k.id.as_ref() == Some(id));
                return kept.is_some_and(|k| before.contains(&k.recipient));
            };
            before.iter().any(|recipient| match held_by(recipient) {
                Some(Holder::Shared(_)) => plan.goal == Goal::Split,
                Some(holder) => holder == identity.holder,
                None => false,
            })
        };
        let planned = plan.documents.iter().find(|d| d.path == *self.path);
        let is_planned = planned.is_some_and(|d| before.iter().all(|r| d.before.contains(r)));
        if !is_planned && !place.parties.iter().all(could) {
            return None;
        }
        let mut after = place.parties;
        after.extend(access::always(topology));
        Some(PlannedDocument {
            path: self.path.clone(),
            place: place.name,
            before: before.clone(),
            after,
            digest: self.digest,
            dropped_foreign: Vec::new(),
        })
    }
}

impl Plan {
    /// What must not be left in the document at `path`: of `gone` all that is not kept for one of its readers.
    pub fn gone_at(
        &self,
        topology: &Topology,
        path: &RepoPath,
        gone: &[Recipient],
    ) -> Vec<Recipient> {
        let kept = self.kept();
        let access = Access::new(topology, &[], &kept);
        let place = access.place_of(path).ok();
        let stays = |recipient: &&Recipient| {
            let id = kept.iter().find(|k| k.recipient == **recipient);
            let party = id.and_then(|k| k.id.clone()).map(Party::Identity);
            let place = place.as_ref();
            party.is_some_and(|party| place.is_some_and(|p| p.parties.contains(&party)))
        };
        gone.iter().filter(|r| !stays(r)).cloned().collect()
    }
}
