//! Undo while nobody else has the run's commit: every file, the index, HEAD and the readers as they were at first.
//!
//! Documents go back first and identities leave last. What somebody changed meanwhile is kept: its values are wrapped to the
//! previous recipients.

use crate::apply::journal_file::Side;
use crate::apply::own_files::ignoring_journal;
use crate::apply::rewrite::{rewrapped, store_of};
use crate::apply::{
    ApplyError, GITIGNORE_PATH, JOURNAL_FOLDER, RULES_PATH, Run, document_slot, read_optional,
};
use crate::inventory::Digest;
use crate::journal::Step;
use crate::journal::guards::{self, PutBack};
use crate::keys::Recipient;
use crate::ledger::{LEDGER_PATH, Ledger};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::durable;
use crate::repo::git::{IndexEntry, Oid};
use crate::repo_path::RepoPath;
use crate::sops::document::Document;

impl Run<'_> {
    /// Puts everything back to the first state. False: somebody has pulled the run's commit right before it was taken off the
    /// branch. It stands there again then, and every identity is where it was.
    pub(super) fn put_back(&mut self) -> Result<bool, ApplyError> {
        self.put_back_documents(false)?;
        // Looked at once more, now that nobody can come by the commit any more.
        if self.is_built_on()? {
            self.put_commit_back()?;
            return Ok(false);
        }
        // The ledger goes last: without a record an identity has left already.
        let recorded =
            |id: &String| self.ledger.record(id).is_some() && self.recipient_of(id).is_some();
        let ids: Vec<String> = self
            .shipped_by_plan()
            .into_iter()
            .filter(recorded)
            .collect();
        self.withdraw_everywhere(&ids)?;
        self.put_back_own_files()?;
        Ok(true)
    }

    /// Puts the files of this clone back to the first state; no reader is asked, or touched. Documents that hold other bytes
    /// than this clone's stay: the run goes on elsewhere, and they may have come from there.
    pub(super) fn put_back_files(&mut self) -> Result<(), ApplyError> {
        self.put_back_documents(true)?;
        self.put_back_own_files()
    }

    fn put_back_documents(&mut self, own_only: bool) -> Result<(), ApplyError> {
        self.work.observer.phase("undo", "documents and rules");
        let documents: Vec<(RepoPath, String, Vec<Recipient>)> = self
            .plan()
            .documents
            .iter()
            .enumerate()
            .map(|(i, d)| (d.path.clone(), document_slot(i), d.before.clone()))
            .collect();
        for (path, slot, before) in documents {
            let staged = self.progress().staged.get(&path).map(|s| s.after);
            let now = read_optional(&path.under(self.work.root))?;
            if own_only && now.as_deref().map(Digest::of) != staged {
                continue;
            }
            self.restore_document(&path, &slot, &before)?;
        }
        if self.plan().rules.changes {
            self.restore_rules()?;
        }
        self.uncommit()
    }

    fn put_back_own_files(&mut self) -> Result<(), ApplyError> {
        // Nothing of our own was touched before it was kept.
        if !self.is_done(&Step::Keep) {
            return Ok(());
        }
        let kept = self.first_bytes("ledger", LEDGER_PATH)?;
        let first = match &kept {
            Some(text) => Ledger::parse(&String::from_utf8_lossy(text))?,
            None => Ledger::new(),
        };
        let adopted = self.adopted_by_plan().into_iter().map(|(id, _)| id);
        let ids: Vec<String> = adopted
            .chain(self.minted_by_plan())
            .filter(|id| first.record(id).is_none())
            .collect();
        for id in &ids {
            self.unseal_for_good(id)?;
        }
        self.put_back_seals()?;
        // Empty folders are nothing to git; a folder with somebody's file in it stays.
        if durable::remove_folder(&self.work.sealed).is_ok() {
            atomic_write::sync_parent(&self.work.sealed)?;
        }
        self.put_back_digests()?;
        self.restore_ledger(kept.as_deref())?;
        self.restore_gitignore()
    }

    /// Puts one document back, if it was rewritten, so that it opens for whom it opened at first.
    fn restore_document(
        &mut self,
        path: &RepoPath,
        slot: &str,
        recipients: &[Recipient],
    ) -> Result<(), ApplyError> {
        let Some(staged) = self.progress().staged.get(path).copied() else {
            return Ok(());
        };
        let target = path.under(self.work.root);
        let Some(now) = read_optional(&target)? else {
            self.work.observer.note(&format!(
                "{path} was removed by somebody since and stays so"
            ));
            return Ok(());
        };
        let kept = if Digest::of(&now) == staged.after {
            let kept = read_optional(&self.journal.slot(Side::Before, slot))?;
            kept.filter(|bytes| Some(Digest::of(bytes)) == staged.before)
        } else {
            None
        };
        // What was staged a second time replaced somebody's edit of the first, wrapped to recipients that leave.
        let kept = match kept {
            Some(kept) if is_wrapped_to(path, &kept, recipients)? => Some(kept),
            _ => None,
        };
        let now_fits = is_wrapped_to(path, &now, recipients)?;
        let bytes = match (guards::put_back(kept.is_some(), now_fits), kept) {
            (PutBack::Kept, Some(kept)) => kept,
            (PutBack::Stay, _) => return Ok(()),
            _ => {
                let keys = self.keys();
                rewrapped(path, &now, recipients, false, &keys, super::now())?
            }
        };
        self.step(Step::Restore { path: path.clone() }, |_| {
            atomic_write::replace_expecting(&target, Some(&now), &bytes, Mode::Keep)
                .map_err(ApplyError::from)
        })
    }

    /// Puts the creation rules back, unless somebody changed them since.
    pub(super) fn restore_rules(&mut self) -> Result<(), ApplyError> {
        let path = RepoPath::new(RULES_PATH).map_err(ApplyError::path(RULES_PATH))?;
        let Some(staged) = self.progress().staged.get(&path).copied() else {
            return Ok(());
        };
        let target = path.under(self.work.root);
        let now = read_optional(&target)?;
        let digest = now.as_deref().map(Digest::of);
        let bytes = match staged.before {
            before if digest == before => now.clone(),
            _ if digest != Some(staged.after) => {
                self.work.observer.note(&format!(
                    "{path} was changed by somebody since and stays: see to it that no rule names an identity of this run"
                ));
                return Ok(());
            }
            Some(_) => read_optional(&self.journal.slot(Side::Before, "rules"))?,
            None => None,
        };
        let leaving: Vec<Recipient> = {
            let ids = self.minted_by_plan();
            ids.iter().filter_map(|id| self.recipient_of(id)).collect()
        };
        let text = bytes
            .as_deref()
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        if leaving.iter().any(|r| text.contains(r.as_str())) {
            self.work.observer.note(&format!(
                "{path} was changed by somebody while it was rewritten and still names identities of this run: take them out"
            ));
        }
        if digest == staged.before {
            return Ok(());
        }
        self.step(Step::Restore { path }, |_| {
            match bytes {
                Some(bytes) => {
                    atomic_write::replace_expecting(&target, now.as_deref(), &bytes, Mode::Keep)?;
                }
                None => {
                    atomic_write::remove(&target)?;
                }
            }
            Ok(())
        })
    }

    /// One of our own files as it was before the run, or, if others have committed another one since, as HEAD has it.
    pub(super) fn first_bytes(
        &self,
        slot: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, ApplyError> {
        let kept = read_optional(&self.journal.slot(Side::Before, slot))?;
        let path = RepoPath::new(path).map_err(ApplyError::path(path))?;
        let at = |revision: Option<&str>| match revision {
            Some(revision) => self.work.git.blob(revision, &path),
            None => Ok(None),
        };
        let head = self.work.git.head()?;
        let first = self.progress().head.as_deref();
        if head.as_ref().map(Oid::as_str) == first {
            return Ok(kept);
        }
        let (now, then) = (at(head.as_ref().map(Oid::as_str))?, at(first)?);
        Ok(if now == then { kept } else { now })
    }

    fn restore_ledger(&self, kept: Option<&[u8]>) -> Result<(), ApplyError> {
        let target = self.work.root.join(LEDGER_PATH);
        match kept {
            Some(bytes) => {
                if read_optional(&target)?.as_deref() != Some(bytes) {
                    atomic_write::replace(&target, bytes, Mode::Keep)?;
                }
            }
            None => {
                atomic_write::remove(&target)?;
            }
        }
        Ok(())
    }

    /// Takes our line out again; what somebody else wrote meanwhile stays.
    fn restore_gitignore(&self) -> Result<(), ApplyError> {
        let target = self.work.root.join(GITIGNORE_PATH);
        let kept = self.first_bytes("gitignore", GITIGNORE_PATH)?;
        let Some(now) = read_optional(&target)? else {
            return Ok(());
        };
        let Some(ours) = ignoring_journal(kept.as_deref()) else {
            return Ok(());
        };
        let back = if now == ours {
            kept
        } else {
            let line = format!("/{JOURNAL_FOLDER}/\n");
            let mut lines: Vec<&[u8]> = now.split_inclusive(|b| *b == b'\n').collect();
            lines.retain(|l| *l != line.as_bytes());
            Some(lines.concat())
        };
        match back {
            Some(bytes) if bytes == now => {}
            Some(bytes) => atomic_write::replace(&target, &bytes, Mode::Keep)?,
            None => {
                atomic_write::remove(&target)?;
            }
        }
        Ok(())
    }

    /// Puts the run's last commit back on the branch that it was taken off, so that a further one can follow it.
    fn put_commit_back(&self) -> Result<(), ApplyError> {
        let progress = self.progress();
        let last = progress.commits.last().and_then(|c| Oid::parse(c));
        let (Some(head), Some(last)) = (self.work.git.head()?, last) else {
            return Ok(());
        };
        let is_first = Some(head.as_str()) == progress.head.as_deref();
        if is_first && self.work.git.resolve(last.as_str())?.is_some() {
            self.work
                .git
                .move_head(&head, Some(&last), "cofferdam undo: pulled meanwhile")?;
        }
        Ok(())
    }

    /// Takes the run's commits off the branch; the work tree stays.
    fn uncommit(&mut self) -> Result<(), ApplyError> {
        let Some(index) = self.progress().index.clone() else {
            return Ok(());
        };
        let first = self.progress().head.as_deref().and_then(Oid::parse);
        self.step(Step::Uncommit, |run| {
            let head = run.work.git.head()?;
            let entries: Vec<(RepoPath, Option<IndexEntry>)> = match head {
                // Somebody committed what is none of the run's: the index is to agree with that.
                Some(head) if Some(&head) != first.as_ref() && !run.head_is_ours()? => {
                    let tree = run.work.git.tree(head.as_str())?;
                    let entry = |path: &RepoPath| {
                        tree.get(path.as_str()).map(|file| IndexEntry {
                            mode: file.mode.clone(),
                            oid: file.oid.clone(),
                        })
                    };
                    index
                        .into_iter()
                        .map(|(p, _)| (p.clone(), entry(&p)))
                        .collect()
                }
                head => {
                    if let Some(head) = head.filter(|head| Some(head) != first.as_ref()) {
                        run.work
                            .git
                            .move_head(&head, first.as_ref(), "cofferdam undo")?;
                    }
                    let entry = |(mode, oid): (String, String)| {
                        Some(IndexEntry {
                            mode,
                            oid: Oid::parse(&oid)?,
                        })
                    };
                    index
                        .into_iter()
                        .map(|(p, e)| (p, e.and_then(entry)))
                        .collect()
                }
            };
            Ok(run.work.git.restore_index(&entries)?)
        })
    }
}

/// Whether a document's recipients are exactly these.
fn is_wrapped_to(
    path: &RepoPath,
    bytes: &[u8],
    recipients: &[Recipient],
) -> Result<bool, ApplyError> {
    let document = Document::parse(store_of(path, bytes), bytes.to_vec())
        .map_err(ApplyError::document(path))?;
    Ok(document.recipients() == recipients.iter().collect::<Vec<_>>())
}
