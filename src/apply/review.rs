//! What the commit on a run's own branch tells whoever looks it over.

use std::collections::BTreeMap;

use crate::apply::Run;
use crate::keys::Recipient;

impl Run<'_> {
    /// What whoever looks over the run's branch wants to know; nothing without one.
    pub(super) fn review_text(&self) -> String {
        if self.own_branch().is_none() {
            return String::new();
        }
        let plan = self.plan();
        let name = |recipient: &Recipient| {
            let record = self.ledger.record_of(recipient);
            record.map_or_else(|| recipient.short(), |record| record.id.clone())
        };
        let roster = self.wrapped_roster().unwrap_or_default();
        let mut changes: BTreeMap<String, usize> = BTreeMap::new();
        for document in &plan.documents {
            let after = document.recipients_after(&roster).unwrap_or_default();
            let only = |these: &[Recipient], others: &[Recipient]| {
                let only = these.iter().filter(|r| !others.contains(r)).map(name);
                let only: Vec<String> = only.collect();
                if only.is_empty() {
                    "nobody".to_owned()
                } else {
                    only.join(", ")
                }
            };
            let change = format!(
                "{}: opens for {} instead of {}",
                document.place,
                only(&after, &document.before),
                only(&document.before, &after)
            );
            *changes.entry(change).or_default() += 1;
        }
        let mut text = "\nWho opens what:\n".to_owned();
        for (change, documents) in changes {
            text.push_str(&format!("- {documents} in {change}\n"));
        }
        text.push_str("\nShown by readers before this commit:\n");
        for identity in plan.identities.iter().filter(|i| i.recipient.is_none()) {
            let record = self.ledger.record(&identity.id);
            let receipts = record.map(|r| r.receipts.as_slice()).unwrap_or_default();
            let shown: Vec<String> = receipts
                .iter()
                .map(|receipt| format!("{} ({})", receipt.reader, receipt.kind))
                .collect();
            if !shown.is_empty() {
                text.push_str(&format!("- {}: {}\n", identity.id, shown.join(", ")));
            }
        }
        text.push_str("\nOnce this is merged: cofferdam resume\n");
        text
    }
}
