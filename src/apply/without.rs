//! Going on without a reader that does not answer (protocol rule 17).

use crate::apply::{ApplyError, Run};
use crate::journal::{Entry, guards};

impl Run<'_> {
    /// From here on the run goes on without these readers: what they read stays open to the last identity that each proved.
    ///
    /// # Errors
    /// [`ApplyError::Without`] for a name that is none of the run's readers, once documents have been rewritten, and where
    /// that identity is compromised or was held by a revoked reader. Nothing is changed then.
    pub fn without(mut self, readers: &[String]) -> Result<Self, ApplyError> {
        let mut entries = Vec::new();
        for reader in readers {
            let refuse = |reason: String| ApplyError::Without {
                reader: reader.clone(),
                reason,
            };
            let keeps = self
                .plan()
                .keeps_for(reader, &self.ledger)
                .map_err(|problem| refuse(problem.to_string()))?;
            let planned = self.plan().readers.iter().find(|r| r.name == *reader);
            if planned.is_some_and(|r| r.without) {
                continue;
            }
            if !guards::may_go_on_without(self.progress()) {
                return Err(refuse(
                    "documents are rewritten already, and it proved that it opens them".to_owned(),
                ));
            }
            entries.push(Entry::Without {
                reader: reader.clone(),
                keeps,
            });
        }
        for entry in entries {
            self.journal.record(entry)?;
        }
        Ok(self)
    }
}
