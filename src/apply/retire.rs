//! Retire: take the old identities from readers, once everybody who must read has been shown to. From here on there is no way
//! back, and nothing is destroyed: what is retired stays sealed to operators and recovery.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::apply::errands::{Act, Errand, of_reader};
use crate::apply::rewrite::store_of;
use crate::apply::ship::failures_of;
use crate::apply::{ApplyError, ReaderFailure, Run, read_optional};
use crate::journal::{Entry, Step, guards};
use crate::keys::{IdentitySet, Recipient};
use crate::ledger::{LEDGER_PATH, RevokedParty, State, Tombstone};
use crate::plan::Party;
use crate::repo::git::GitError;
use crate::repo_path::RepoPath;
use crate::sops::document::Document;
use crate::topology::Wave;

impl Run<'_> {
    /// Withdraws every retiring recipient from the readers that hold it, and records it. What is kept for a reader that the
    /// run goes on without leaves other zones' readers only.
    pub(super) fn retire(&mut self) -> Result<(), ApplyError> {
        let retiring = self.plan().retiring.clone();
        if !retiring.is_empty() {
            self.check_possession()?;
            self.check_proofs_again()?;
            self.record_reconciled()?;
            self.begin_retirement()?;
            let waves = self.waves();
            for (n, wave) in waves.iter().enumerate() {
                self.withdraw_from_all(wave)?;
                if n + 1 < waves.len() {
                    self.ask_ready(wave)?;
                }
            }
            let copies = self.failing_readers(true)?;
            if !copies.is_empty() {
                return Err(ApplyError::Copies { copies });
            }
        }
        self.compromise()?;
        let gone = retiring.into_iter().filter(|r| r.kept_for.is_empty());
        let ids: Vec<String> = gone.map(|r| r.id).collect();
        self.advance(&ids, State::Retired)?;
        self.record()
    }

    /// Revoke: what the reader was ever given is compromised from here on, and the reader is remembered.
    fn compromise(&mut self) -> Result<(), ApplyError> {
        let Some(revoked) = self.plan().revoked.clone() else {
            return Ok(());
        };
        let now = super::now();
        for id in &revoked.compromised {
            if self
                .ledger
                .record(id)
                .is_some_and(|r| r.state != State::Compromised)
            {
                self.ledger.advance(id, State::Compromised, now)?;
            }
        }
        for recipient in revoked.recipients {
            let (name, at) = (revoked.name.clone(), now);
            self.ledger.revoke_party(RevokedParty {
                name,
                recipient,
                at,
            });
        }
        if let Some(reader) = revoked.reader {
            self.ledger.bury(Tombstone {
                name: revoked.name,
                zone: reader.zone,
                at: now,
                section: reader.section,
            });
        }
        self.save_ledger()
    }

    /// What must not be left in the document at `path`.
    pub(super) fn gone_at(&self, path: &RepoPath, gone: &[Recipient]) -> Vec<Recipient> {
        self.plan().gone_at(self.work.topology, path, gone)
    }

    fn check_proofs_again(&mut self) -> Result<(), ApplyError> {
        let failures = self.failing_readers(false)?;
        if failures.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::Unshown { failures })
        }
    }

    /// From here on there is no way back, and another clone that takes the run over must know.
    fn begin_retirement(&mut self) -> Result<(), ApplyError> {
        if !self.progress().retirement_begun() {
            self.journal.record(Entry::Started { step: Step::Record })?;
        }
        self.renew_lease()
    }

    /// Takes what leaves from every reader of a wave that holds it, side by side; all are tried before a failure is told.
    fn withdraw_from_all(&mut self, wave: &Wave) -> Result<(), ApplyError> {
        let leaving: BTreeMap<String, Vec<Recipient>> = self
            .asked()
            .filter(|reader| wave.readers.contains(&reader.name))
            .map(|reader| {
                let gone = self.plan().leaving(reader);
                let gone = gone.map(|r| r.recipient.clone()).collect();
                (reader.name.clone(), gone)
            })
            .collect();
        let names: Vec<String> = leaving.keys().cloned().collect();
        let (mut errands, mut failures, mut reverted) = (Vec::new(), Vec::new(), Vec::new());
        // A reader that was restored since the wait for all of them deploys an old revision again.
        self.await_clones(Some(wave))?;
        for (name, held) in self.read_all(names) {
            let held = match held {
                Ok(held) => held,
                // What the run does not touch stays as it is, whether its reader answers or not.
                Err(_) if !self.has_to_answer(&name) => continue,
                Err(why) => {
                    failures.push(of_reader(&name, &why));
                    continue;
                }
            };
            let mut acts: Vec<(Step, Act)> = Vec::new();
            for recipient in leaving[&name].iter().filter(|r| held.identities.holds(r)) {
                let step = Step::Retire {
                    recipient: recipient.clone(),
                    reader: name.clone(),
                };
                let recipient = recipient.clone();
                acts.push((
                    step,
                    Box::new(move |target| {
                        target.withdraw(&recipient, None)?;
                        Ok(format!("{} retired", recipient.short()))
                    }),
                ));
            }
            if !acts.is_empty() {
                reverted.extend(self.check_what_stays(&name, &held.identities));
                errands.push(Errand { reader: name, acts });
            }
        }
        // One that no longer holds what it proved loses nothing, and neither does anybody else.
        if !reverted.is_empty() {
            return Err(ApplyError::Unshown { failures: reverted });
        }
        if !errands.is_empty() {
            let leaving: Vec<String> = leaving.values().flatten().map(Recipient::short).collect();
            let leaving: BTreeSet<String> = leaving.into_iter().collect();
            let leaving: Vec<String> = leaving.into_iter().collect();
            self.work.observer.phase("retire", &leaving.join(", "));
        }
        let outcomes = self.run_errands("retiring", &errands)?;
        self.show(&outcomes);
        failures.extend(failures_of(&outcomes));
        if failures.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::Readers {
                doing: "taking old identities away",
                failures,
            })
        }
    }

    /// Looks once more at the moment of taking: a reader restored from a snapshot since its proof holds the old identity
    /// alone, and would hold nothing.
    fn check_what_stays(&self, name: &str, held: &IdentitySet) -> Option<ReaderFailure> {
        let reader = self.plan().readers.iter().find(|r| r.name == name);
        let needs: Vec<Recipient> = reader
            .into_iter()
            .flat_map(|r| &r.needs)
            .filter_map(|id| self.recipient_of(id))
            .collect();
        let is_safe = guards::may_take(&needs, |recipient| held.holds(recipient));
        (!is_safe).then(|| ReaderFailure {
            reader: name.to_owned(),
            said: format!("{name} no longer holds the identity that it proved"),
            holds_too_much: false,
            is_weak: false,
        })
    }

    /// Whether the run changes something for this reader.
    fn has_to_answer(&self, name: &str) -> bool {
        let mut readers = self.plan().readers.iter();
        readers.any(|r| r.name == name && self.plan().concerns(r))
    }

    /// Protocol rule 3: an operator's identity at hand opens every rewritten document, and each recovery identity was read
    /// back from where it is kept; or the operator waived it by name.
    fn check_possession(&self) -> Result<(), ApplyError> {
        let waived = |name: &str| {
            self.waived
                .iter()
                .chain(&self.progress().options.unproven)
                .any(|n| n == name)
        };
        let mut missing = Vec::new();
        let mut operators = Vec::new();
        let mut shown = false;
        for party in &self.plan().always {
            match party {
                Party::Operator { name, recipient } => {
                    operators.push(name.as_str());
                    shown |= waived(name) || self.opens_everything(recipient)?;
                }
                Party::Recovery { recipient } => {
                    let read_back = self.ledger.recovery_read_back(recipient).is_some();
                    if !read_back && !waived("recovery") {
                        missing.push(format!(
                            "recovery: the identity of {} was never read back (cofferdam recovery drill does that)",
                            recipient.short()
                        ));
                    }
                }
                Party::Identity(_) => {}
            }
        }
        let unread = missing.len();
        if !shown {
            missing.push(format!(
                "operator: no identity at hand opens the rewritten documents as {} (name its key file in SOPS_AGE_KEY_FILE)",
                operators.join(" or ")
            ));
        }
        if guards::is_possessed(shown, unread) {
            Ok(())
        } else {
            Err(ApplyError::Unproven { missing })
        }
    }

    /// Whether the identity of `recipient` is at hand and opens every document of the run.
    fn opens_everything(&self, recipient: &Recipient) -> Result<bool, ApplyError> {
        let Some(one) = self.work.at_hand.only(recipient) else {
            return Ok(false);
        };
        let opened: Result<Vec<()>, ApplyError> = self
            .plan()
            .documents
            .par_iter()
            .map(|planned| {
                let fail = ApplyError::document(&planned.path);
                let Some(bytes) = read_optional(&planned.path.under(self.work.root))? else {
                    // Removed by somebody since.
                    return Ok(());
                };
                let store = store_of(&planned.path, &bytes);
                let document = Document::parse(store, bytes).map_err(&fail)?;
                let key = document.unwrap_data_key(&one).map_err(&fail)?;
                document.open(&key).map_err(&fail)?;
                Ok(())
            })
            .collect();
        opened.map(|_| true)
    }

    pub(super) fn retirement_message(&self) -> String {
        let ids: Vec<&str> = self.plan().retiring.iter().map(|r| r.id.as_str()).collect();
        format!("chore(sops): retire {}\n", ids.join(", "))
    }

    /// The second commit: the ledger alone.
    fn record(&mut self) -> Result<(), ApplyError> {
        if !self.work.topology.publish.commit {
            return Ok(());
        }
        let path = RepoPath::new(LEDGER_PATH).map_err(ApplyError::path(LEDGER_PATH))?;
        let committed = self.work.git.blob("HEAD", &path)?;
        if committed == read_optional(&path.under(self.work.root))? {
            return self.push_rest();
        }
        let message = self.retirement_message();
        self.step(Step::Record, |run| {
            match run.work.git.commit(std::slice::from_ref(&path), &message) {
                Ok(_) | Err(GitError::NothingToCommit) => Ok(()),
                Err(error) => Err(ApplyError::CommitRefused(error)),
            }
        })?;
        self.push_ledger()
    }
}
