//! Protocol rule 14: one run at a time on everything that is pushed to one remote.
//!
//! A run holds `refs/cofferdam/run` of the remote from before its first delivery to its end. The ref moves only from where it
//! was last seen, so of two that try at once one loses, before it has shipped anything. Behind the ref stands a commit, on no
//! branch, with who holds it, the journal, the ledger and the sealed identities: enough for another clone to go on.

use crate::apply::undo::{TAKING_BACK, WITHDRAWING};
use crate::apply::{ApplyError, Run, TOPOLOGY_PATH, read_optional};
use crate::journal::lease::{Goes, Whose, whose};
use crate::journal::{self, Entry, Lease, Outcome, Step};
use crate::keystore::sealed;
use crate::ledger::{LEDGER_PATH, Ledger};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::{Git, GitError, IndexEntry, Oid, Swap};
use crate::repo_path::RepoPath;

/// The ref of the remote that a run holds.
pub const RUN_REF: &str = "refs/cofferdam/run";
/// Where it is fetched to, for as long as it is looked at.
const SEEN_REF: &str = "refs/cofferdam/seen";
/// The files behind the ref.
pub(super) const LEASE_FILE: &str = "lease.json";
pub(super) const JOURNAL_FILE: &str = "journal.jsonl";
pub(super) const LEDGER_FILE: &str = "keyring.toml";
pub(super) const SEALED_FOLDER: &str = "sealed";

/// A run found behind the ref.
#[derive(Debug)]
pub struct HeldRun {
    /// Where the ref stands; the commit is here.
    pub commit: Oid,
    /// Whose it is.
    pub lease: Lease,
}

/// Looks whether a run is held at `remote`, and by whom; none if none is. Asks the remote.
///
/// # Errors
/// [`ApplyError::Remote`], [`ApplyError::LeaseUnreadable`].
pub fn look(git: &Git, remote: &str) -> Result<Option<HeldRun>, ApplyError> {
    let fail = || ApplyError::remote(remote);
    let mut attempts = 3;
    let commit = loop {
        if git.remote_ref(remote, RUN_REF).map_err(fail())?.is_none() {
            return Ok(None);
        }
        match git.fetch_ref(remote, RUN_REF, SEEN_REF) {
            Ok(()) => break git.resolve(SEEN_REF)?,
            // Released between the two.
            Err(_) if attempts > 1 => attempts -= 1,
            Err(error) => return Err(fail()(error)),
        }
    };
    git.drop_ref(SEEN_REF)?;
    let unreadable = |reason: String| ApplyError::LeaseUnreadable {
        remote: remote.to_owned(),
        name: RUN_REF,
        reason,
    };
    let commit = commit.ok_or_else(|| unreadable("it is no commit".to_owned()))?;
    let text = behind(git, &commit, LEASE_FILE)?
        .ok_or_else(|| unreadable(format!("{LEASE_FILE} is missing")))?;
    let lease: Lease =
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    if lease.version != 1 {
        return Err(unreadable(format!("it has version {}", lease.version)));
    }
    Ok(Some(HeldRun { commit, lease }))
}

/// A file of the commit behind the ref.
pub(super) fn behind(git: &Git, commit: &Oid, name: &str) -> Result<Option<Vec<u8>>, ApplyError> {
    let path = RepoPath::new(name).map_err(ApplyError::path(name))?;
    Ok(git.blob(commit.as_str(), &path)?)
}

impl Run<'_> {
    fn coordinator(&self) -> Option<String> {
        self.work.topology.publish.remote.clone()
    }

    /// Whether another clone goes on with this run, or has ended it.
    ///
    /// # Errors
    /// [`ApplyError::LeaseHeld`] if quite another run is at work; [`ApplyError::Remote`].
    pub(super) fn is_taken_over(&self) -> Result<bool, ApplyError> {
        let progress = self.progress();
        let Some(remote) = self.coordinator() else {
            return Ok(false);
        };
        if !progress.sought_lease() && !self.is_inherited() {
            return Ok(false);
        }
        let there = self.work.git.remote_ref(&remote, RUN_REF);
        let there = there.map_err(ApplyError::remote(&remote))?;
        let held = match there {
            Some(oid) if progress.holds_lease(oid.as_str()) => return Ok(false),
            Some(_) => look(self.work.git, &remote)?,
            None => None,
        };
        let behind = held.as_ref().map(|h| (h.commit.as_str(), &h.lease.run));
        match (
            journal::lease::goes(progress, whose(progress, behind)),
            held,
        ) {
            (Goes::On, _) => Ok(false),
            (Goes::Elsewhere, _) => Ok(true),
            (Goes::NowhereUnlessEnded, Some(held)) if !self.is_ended_elsewhere(&remote)? => {
                Err(ApplyError::LeaseHeld {
                    remote,
                    lease: Box::new(held.lease),
                })
            }
            (Goes::NowhereUnlessEnded, _) => Ok(true),
            (Goes::OnUnlessEnded, _) => self.is_ended_elsewhere(&remote),
        }
    }

    /// Whether the remote's ledger says that the run has come to its end, or was taken back.
    fn is_ended_elsewhere(&self, remote: &str) -> Result<bool, ApplyError> {
        let Some(tip) = self.fetched_tip(remote)? else {
            return Ok(false);
        };
        let path = RepoPath::new(LEDGER_PATH).map_err(ApplyError::path(LEDGER_PATH))?;
        let Some(text) = self.work.git.blob(tip.as_str(), &path)? else {
            return Ok(false);
        };
        let ledger = Ledger::parse(&String::from_utf8_lossy(&text))?;
        Ok(journal::lease::is_ended(self.plan(), &ledger))
    }

    /// Leaves the run to the clone that has taken it over: this one's files go back, unless others have them already; no
    /// reader is touched.
    pub(super) fn hand_over(mut self) -> Result<(), ApplyError> {
        self.work
            .observer
            .phase("hand over", "another clone has taken this run over");
        self.sweep_clone()?;
        self.adopt_commit()?;
        if self.progress().retirement_begun() || self.is_published()? {
            // What others have stays. The ledger may say what nobody has yet: whoever goes on says it too.
            self.drop_own_end()?;
            let path = RepoPath::new(LEDGER_PATH).map_err(ApplyError::path(LEDGER_PATH))?;
            let target = path.under(self.work.root);
            if let Some(bytes) = self.work.git.blob("HEAD", &path)?
                && read_optional(&target)?.as_ref() != Some(&bytes)
            {
                atomic_write::replace(&target, &bytes, Mode::Keep)?;
            }
            self.take_published_documents()?;
        } else {
            self.put_back_files()?;
        }
        self.journal.finish(Outcome::HandedOver)?;
        Ok(())
    }

    /// Takes commits off the branch that record the retirement, or take the run back, and that nobody else has.
    fn drop_own_end(&mut self) -> Result<(), ApplyError> {
        let git = self.work.git;
        let own = [
            self.retirement_message(),
            TAKING_BACK.to_owned(),
            WITHDRAWING.to_owned(),
        ];
        while let Some(head) = git.head()?
            && let Some(parent) = git.parent(&head)?
        {
            let message = git.message(&head)?;
            let is_ours = own.iter().any(|one| one.trim_end() == message);
            if !is_ours || !git.refs_containing(&head)?.is_empty() {
                break;
            }
            git.move_head(&head, Some(&parent), "cofferdam: handed over")?;
            let mut tree = git.tree(parent.as_str())?;
            let entries = self.own_paths_and_record()?.into_iter().map(|path| {
                let file = tree.remove(path.as_str());
                let entry = file.map(|file| IndexEntry {
                    mode: file.mode,
                    oid: file.oid,
                });
                (path, entry)
            });
            git.restore_index(&entries.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Sees to it that the ref is ours, before anything is shipped.
    pub(super) fn acquire(&mut self) -> Result<(), ApplyError> {
        let Some(remote) = self.coordinator() else {
            return Ok(());
        };
        if self.progress().retirement_begun() && !self.progress().held_lease() {
            // Begun before there was a remote to coordinate with.
            return Ok(());
        }
        // Before the ref is taken from the clone that began: it would be let go again, and that run with it.
        if self.is_inherited()
            && !self.progress().shipping_begun()
            && let Some(ApplyError::Behind { remote, why, .. }) = self.take_tip()?
        {
            return Err(ApplyError::Behind {
                remote,
                why,
                is_over: true,
            });
        }
        let there = self.work.git.remote_ref(&remote, RUN_REF);
        let there = there.map_err(ApplyError::remote(&remote))?;
        match &there {
            Some(oid) if self.progress().holds_lease(oid.as_str()) => {
                let step = Step::Lease {
                    commit: oid.to_string(),
                };
                if self.is_inherited_at(oid) {
                    self.swap_lease(&remote, Some(oid))
                } else if self.is_done(&step) {
                    Ok(())
                } else {
                    // It was taken, and the answer lost.
                    self.journal.record(Entry::Done { step })?;
                    Ok(())
                }
            }
            there => self.claim(&remote, there.is_some()),
        }?;
        // Somebody's run may have begun and ended since this one was planned.
        if !self.progress().shipping_begun()
            && let Some(ApplyError::Behind { remote, why, .. }) = self.take_tip()?
        {
            self.release()?;
            return Err(ApplyError::Behind {
                remote,
                why,
                is_over: true,
            });
        }
        Ok(())
    }

    /// Puts the run's state as it is now behind the ref, and so learns whether it is still ours.
    pub(super) fn renew_lease(&mut self) -> Result<(), ApplyError> {
        let Some(remote) = self.coordinator() else {
            return Ok(());
        };
        if !self.progress().held_lease() {
            return Ok(());
        }
        let there = self.work.git.remote_ref(&remote, RUN_REF);
        match there.map_err(ApplyError::remote(&remote))? {
            Some(oid) if self.progress().holds_lease(oid.as_str()) => {
                self.swap_lease(&remote, Some(&oid))
            }
            there => self.claim(&remote, there.is_some()),
        }
    }

    /// Takes the ref if it is nobody's; `is_there` says whether it stood where this run had not put it.
    fn claim(&mut self, remote: &str, is_there: bool) -> Result<(), ApplyError> {
        let held = if is_there {
            look(self.work.git, remote)?
        } else {
            None
        };
        let behind = held.as_ref().map(|h| (h.commit.as_str(), &h.lease.run));
        match (whose(self.progress(), behind), held) {
            (Whose::Heirs | Whose::Anothers, Some(held)) => {
                Err(self.lost(remote.to_owned(), held.lease))
            }
            _ => self.swap_lease(remote, None),
        }
    }

    fn swap_lease(&mut self, remote: &str, expected: Option<&Oid>) -> Result<(), ApplyError> {
        if expected.is_none() {
            self.work.observer.phase("hold", remote);
        }
        let commit = self.lease_commit()?;
        let step = Step::Lease {
            commit: commit.to_string(),
        };
        self.step(step, |run| {
            match run
                .work
                .git
                .swap_ref(remote, RUN_REF, expected, Some(&commit))
            {
                Ok(Swap::Done) => Ok(()),
                Ok(Swap::Moved(_)) => match look(run.work.git, remote)? {
                    Some(held) => Err(run.lost(remote.to_owned(), held.lease)),
                    // Whoever was faster has ended meanwhile.
                    None => match run
                        .work
                        .git
                        .swap_ref(remote, RUN_REF, None, Some(&commit))
                        .map_err(ApplyError::remote(remote))?
                    {
                        Swap::Done => Ok(()),
                        Swap::Moved(_) => Err(ApplyError::LeaseUnreadable {
                            remote: remote.to_owned(),
                            name: RUN_REF,
                            reason: "it moves all the time".to_owned(),
                        }),
                    },
                },
                Err(
                    source @ GitError::Failed {
                        command: "push", ..
                    },
                ) => Err(ApplyError::LeaseRefused {
                    remote: remote.to_owned(),
                    name: RUN_REF,
                    source,
                }),
                // Whether the ref moved before the connection went nobody knows: a resume looks.
                Err(source) => Err(ApplyError::remote(remote)(source)),
            }
        })
    }

    fn lost(&self, remote: String, lease: Lease) -> ApplyError {
        let lease = Box::new(lease);
        if lease.run == self.progress().run {
            ApplyError::LeaseLost { remote, lease }
        } else {
            ApplyError::LeaseHeld { remote, lease }
        }
    }

    /// Ends a run that did not get the ref, as long as it has shipped nothing: its files go, as if it had never begun.
    pub(super) fn without_lease(mut self, error: ApplyError) -> Result<ApplyError, ApplyError> {
        let is_certain = matches!(
            error,
            ApplyError::Overtaken { .. }
                | ApplyError::LeaseHeld { .. }
                | ApplyError::LeaseLost { .. }
                | ApplyError::LeaseRefused { .. }
                | ApplyError::LeaseUnreadable { .. }
                | ApplyError::Behind { .. }
        );
        if is_certain && !self.progress().shipping_begun() {
            self.put_back_files()?;
            let outcome = if self.is_inherited() {
                Outcome::HandedOver
            } else {
                Outcome::Undone
            };
            self.journal.finish(outcome)?;
        }
        Ok(error)
    }

    /// Lets the ref go at the run's end.
    pub(super) fn release(&mut self) -> Result<(), ApplyError> {
        let Some(remote) = self.coordinator() else {
            return Ok(());
        };
        if !self.progress().sought_lease() && !self.is_inherited() {
            return Ok(());
        }
        self.step(Step::Release, |run| {
            let there = run.work.git.remote_ref(&remote, RUN_REF);
            let Some(oid) = there.map_err(ApplyError::remote(&remote))? else {
                return Ok(());
            };
            if !run.progress().holds_lease(oid.as_str()) {
                return Ok(());
            }
            run.work
                .git
                .swap_ref(&remote, RUN_REF, Some(&oid), None)
                .map_err(ApplyError::remote(&remote))?;
            Ok(())
        })
    }

    /// The commit that stands behind the ref: who holds it, and all that another clone needs in order to go on.
    fn lease_commit(&self) -> Result<Oid, ApplyError> {
        let git = self.work.git;
        let lease = Lease {
            version: 1,
            run: self.progress().run.clone(),
            goal: self.plan().goal,
            name: git.committer_name()?,
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            at: super::now(),
        };
        let mut text = serde_json::to_vec_pretty(&lease)
            .map_err(crate::apply::journal_file::JournalError::Unprintable)?;
        text.push(b'\n');
        let mut files = vec![
            (LEASE_FILE.to_owned(), git.store_blob(&text)?),
            (
                JOURNAL_FILE.to_owned(),
                git.store_blob(&self.journal.text()?)?,
            ),
        ];
        for (name, path) in [(LEDGER_FILE, LEDGER_PATH), (TOPOLOGY_PATH, TOPOLOGY_PATH)] {
            if let Some(bytes) = read_optional(&self.work.root.join(path))? {
                files.push((name.to_owned(), git.store_blob(&bytes)?));
            }
        }
        let mut sealed = Vec::new();
        for name in self.sealed_names() {
            if let Some(bytes) = read_optional(&self.work.sealed.join(&name))? {
                sealed.push((name, git.store_blob(&bytes)?));
            }
        }
        let sealed = git.store_tree(&sealed, &[])?;
        let tree = git.store_tree(&files, &[(SEALED_FOLDER.to_owned(), sealed)])?;
        Ok(git.store_commit(&tree, &format!("cofferdam run {}", lease.run))?)
    }

    /// The files of the identities that this run minted or adopted, sealed to whoever reads everything.
    pub(super) fn sealed_names(&self) -> Vec<String> {
        let recipients = self.always_recipients();
        self.sealed_by_plan()
            .iter()
            .flat_map(|id| {
                let names = recipients.iter().map(|r| sealed::sealed_file_name(id, r));
                names.collect::<Vec<_>>()
            })
            .collect()
    }
}
