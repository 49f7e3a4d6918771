//! Rewrite: stage every document's new bytes, verify them, then move them into place.
//!
//! Protocol rule 10: a document that holds its *before* bytes is rewritten, one that holds its *after* bytes is done, any
//! other is planned again from what it holds now and never overwritten.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::apply::journal_file::Side;
use crate::apply::{ApplyError, RULES_PATH, Run, document_slot, read_optional};
use crate::inventory::Digest;
use crate::journal::{Entry, Step, guards};
use crate::keys::{IdentitySet, Recipient};
use crate::ledger::State;
use crate::plan::rules::{self, RulesInput};
use crate::repo::atomic_write::{self, Expected, Mode};
use crate::repo::batch_write::{self, Replacement};
use crate::repo::recognise::recognise;
use crate::repo::scan::Scan;
use crate::repo_path::RepoPath;
use crate::sops::document::Document;
use crate::sops::rewrite::{NewKeys, NewRecipients};
use crate::sops::store::Store;

/// A file that is to be rewritten: where, and under which name its bytes lie in the journal's folder.
#[derive(Debug, Clone)]
struct Item {
    path: RepoPath,
    slot: String,
    /// The place in the plan's list; none for the rules.
    index: Option<usize>,
}

/// Where a file stands between its two states.
enum Standing {
    /// It holds its new bytes.
    Done,
    /// Its new bytes lie staged and it holds the bytes that they replace.
    Staged,
    /// New bytes must be made from what it holds (none: it is not there).
    Open(Option<Vec<u8>>),
}

impl Run<'_> {
    /// Brings every document and the rules to their new bytes.
    pub(super) fn rewrite(&mut self) -> Result<(), ApplyError> {
        let items = self.items()?;
        let mut open = Vec::new();
        for item in &items {
            if let Standing::Open(bytes) = self.standing(item)? {
                open.push((item.clone(), bytes));
            }
        }
        if !open.is_empty() {
            let documents = open.iter().filter(|(item, _)| item.index.is_some()).count();
            let rules = if documents < open.len() {
                ", and .sops.yaml"
            } else {
                ""
            };
            let detail = format!("{documents} documents under new data keys{rules}");
            self.work.observer.phase("rewrite", &detail);
            self.step(Step::Stage, |run| run.stage(open))?;
        }
        self.replace(&items)?;
        let active: Vec<String> = self
            .plan()
            .identities
            .iter()
            .map(|i| i.id.clone())
            .collect();
        self.advance(&active, State::Active)?;
        let leaving = self.plan().retiring.clone();
        for identity in &leaving {
            if self.ledger.record(&identity.id).is_some() {
                self.ledger.keep_for(&identity.id, &identity.kept_for)?;
            }
        }
        let leaving: Vec<String> = leaving.into_iter().map(|r| r.id).collect();
        self.advance(&leaving, State::Retiring)
    }

    /// The documents of the plan and, where they change, the rules.
    fn items(&self) -> Result<Vec<Item>, ApplyError> {
        let mut items: Vec<Item> = self
            .plan()
            .documents
            .iter()
            .enumerate()
            .map(|(index, document)| Item {
                path: document.path.clone(),
                slot: document_slot(index),
                index: Some(index),
            })
            .collect();
        if self.plan().rules.changes {
            items.push(Item {
                path: RepoPath::new(RULES_PATH).map_err(ApplyError::path(RULES_PATH))?,
                slot: "rules".to_owned(),
                index: None,
            });
        }
        Ok(items)
    }

    fn standing(&self, item: &Item) -> Result<Standing, ApplyError> {
        let now = read_optional(&item.path.under(self.work.root))?;
        if now.is_none() && item.index.is_some() {
            // Somebody removed the document since: nothing is left to rewrite, and its removal is published.
            return Ok(Standing::Done);
        }
        let digest = now.as_deref().map(Digest::of);
        let staged = self.progress().staged.get(&item.path).copied();
        let kept = match staged {
            Some(_) => read_optional(&self.journal.slot(Side::After, &item.slot))?,
            None => None,
        };
        let kept = kept.as_deref().map(Digest::of);
        Ok(match guards::standing(digest, staged, kept) {
            guards::Standing::Done => Standing::Done,
            guards::Standing::Staged => Standing::Staged,
            guards::Standing::Open => Standing::Open(now),
        })
    }

    /// The staged bytes of a file that holds what they replace.
    fn staged_move(&self, item: &Item) -> Result<Move, ApplyError> {
        let before = match self.progress().staged[&item.path].before {
            Some(_) => read_optional(&self.journal.slot(Side::Before, &item.slot))?,
            None => None,
        };
        let after = read_optional(&self.journal.slot(Side::After, &item.slot))?;
        Ok(Move {
            target: item.path.under(self.work.root),
            path: item.path.clone(),
            before,
            after: after.ok_or_else(|| ApplyError::Staged {
                path: item.path.clone(),
                reason: "the staged bytes are gone".to_owned(),
            })?,
        })
    }

    /// Makes, checks and stages the new bytes of `open`, all of them or none.
    fn stage(&mut self, open: Vec<(Item, Option<Vec<u8>>)>) -> Result<(), ApplyError> {
        let roster = self.wrapped_roster()?;
        let keys = self.keys();
        let now = super::now();
        let tick = self.work.observer.counter("rewriting", open.len());
        let plan = &self.journal.progress().plan;
        let made: Result<Vec<Staging>, ApplyError> = open
            .into_par_iter()
            .map(|(item, before)| {
                let after = match item.index {
                    None => self.new_rules(before.as_deref())?,
                    Some(index) => {
                        let planned = &plan.documents[index];
                        let recipients = planned.recipients_after(&roster).ok_or_else(|| {
                            ApplyError::Unminted {
                                id: planned.place.clone(),
                            }
                        })?;
                        let source = before.as_deref().ok_or_else(|| ApplyError::Staged {
                            path: item.path.clone(),
                            reason: "the document is gone".to_owned(),
                        })?;
                        let drop = !planned.dropped_foreign.is_empty();
                        rewrapped(&item.path, source, &recipients, drop, &keys, now)?
                    }
                };
                tick();
                Ok(Staging {
                    before_slot: self.journal.slot(Side::Before, &item.slot),
                    after_slot: self.journal.slot(Side::After, &item.slot),
                    path: item.path,
                    before,
                    after,
                })
            })
            .collect();
        drop(tick);
        let made = made?;
        write_slots(&made)?;
        let entries = made.into_iter().map(|staging| Entry::Staged {
            path: staging.path,
            before: staging.before.as_deref().map(Digest::of),
            after: Digest::of(&staging.after),
        });
        self.journal.record_all(entries.collect())?;
        Ok(())
    }

    /// The text of `.sops.yaml` for the recipients as they are now, proven over every file of the repository.
    fn new_rules(&self, current: Option<&[u8]>) -> Result<Vec<u8>, ApplyError> {
        let scan = Scan::of_repository(self.work.git).map_err(|e| ApplyError::Rules {
            problems: vec![e.to_string()],
        })?;
        let documents: Vec<RepoPath> = scan.documents.into_iter().map(|d| d.path).collect();
        let current = current.map(String::from_utf8_lossy);
        let roster = self.wrapped_roster()?;
        rules::rewritten(&RulesInput {
            topology: self.work.topology,
            plan: self.plan(),
            roster: &roster,
            current: current.as_deref(),
            documents: &documents,
            others: &scan.others,
        })
        .map(|rewritten| rewritten.text.into_bytes())
        .map_err(|problems| ApplyError::Rules {
            problems: problems.iter().map(ToString::to_string).collect(),
        })
    }

    /// Moves staged bytes into place, one file after the other, synced together.
    fn replace(&mut self, items: &[Item]) -> Result<(), ApplyError> {
        let mut moves = Vec::new();
        for item in items {
            if matches!(self.standing(item)?, Standing::Staged) {
                moves.push(self.staged_move(item)?);
            }
        }
        let steps = |moves: &[Move]| -> Vec<Step> {
            let paths = moves.iter().map(|m| m.path.clone());
            paths.map(|path| Step::Replace { path }).collect()
        };
        if !moves.is_empty() {
            self.record_digests(moves.iter().map(|m| (&m.path, m.after.as_slice())));
            let begun = steps(&moves)
                .into_iter()
                .map(|step| Entry::Started { step });
            self.journal.record_all(begun.collect())?;
            let replacements: Vec<Replacement> = moves.iter().map(Move::replacement).collect();
            let results = batch_write::replace_all(&replacements)?;
            for result in results {
                result?;
            }
            let done = steps(&moves).into_iter().map(|step| Entry::Done { step });
            self.journal.record_all(done.collect())?;
        }
        // Whatever changed meanwhile is planned again by the next resume; nothing is published over it.
        for item in items {
            if !matches!(self.standing(item)?, Standing::Done) {
                return Err(ApplyError::Staged {
                    path: item.path.clone(),
                    reason: "somebody changed the file while it was rewritten".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// One file's staged bytes on their way into place.
struct Move {
    path: RepoPath,
    target: PathBuf,
    before: Option<Vec<u8>>,
    after: Vec<u8>,
}

impl Move {
    fn replacement(&self) -> Replacement<'_> {
        Replacement {
            path: &self.target,
            expected: match &self.before {
                Some(bytes) => Expected::Bytes(bytes),
                None => Expected::Nothing,
            },
            bytes: &self.after,
            mode: Mode::Keep,
        }
    }
}

/// One file's bytes on their way to the journal's folder.
struct Staging {
    path: RepoPath,
    before: Option<Vec<u8>>,
    after: Vec<u8>,
    before_slot: PathBuf,
    after_slot: PathBuf,
}

/// Writes the bytes of before and after to the journal's folder, synced together.
fn write_slots(stagings: &[Staging]) -> Result<(), ApplyError> {
    let mut slots = Vec::new();
    for staging in stagings {
        let mut slot = |path, bytes| {
            slots.push(Replacement {
                path,
                expected: Expected::Anything,
                bytes,
                mode: Mode::Exact(0o600),
            });
        };
        slot(staging.after_slot.as_path(), staging.after.as_slice());
        match &staging.before {
            Some(bytes) => slot(staging.before_slot.as_path(), bytes),
            None => {
                atomic_write::remove(&staging.before_slot)?;
            }
        }
    }
    for result in batch_write::replace_all(&slots)? {
        result?;
    }
    Ok(())
}

/// The bytes of a document for `recipients` under a new data key, opened again and compared before they are returned.
pub(super) fn rewrapped(
    path: &RepoPath,
    source: &[u8],
    recipients: &[Recipient],
    drop_foreign: bool,
    keys: &IdentitySet,
    now: jiff::Timestamp,
) -> Result<Vec<u8>, ApplyError> {
    let fail = ApplyError::document(path);
    let wrong = |reason: &str| ApplyError::Staged {
        path: path.clone(),
        reason: reason.to_owned(),
    };
    let store = store_of(path, source);
    let document = Document::parse(store, source.to_vec()).map_err(&fail)?;
    let data_key = document.unwrap_data_key(keys).map_err(&fail)?;
    let opened = document.open(&data_key).map_err(&fail)?;
    let new_keys = NewKeys {
        recipients: NewRecipients::Only(recipients),
        drop_foreign,
    };
    let renewed = document.renew(&opened, &new_keys, now).map_err(&fail)?;

    let again = Document::parse(store, renewed.bytes.clone()).map_err(&fail)?;
    let reopened = again.open(&renewed.data_key).map_err(&fail)?;
    if !opened.same_plaintext(&reopened) {
        return Err(wrong("its values are not those of the original"));
    }
    if again.recipients() != recipients.iter().collect::<Vec<_>>() {
        return Err(wrong("its recipients are not those of the plan"));
    }
    for recipient in recipients {
        let Some(one) = keys.only(recipient) else {
            continue;
        };
        let key = again.unwrap_data_key(&one).map_err(&fail)?;
        if key.expose() != renewed.data_key.expose() {
            return Err(wrong("a recipient's wrap holds another data key"));
        }
    }
    Ok(renewed.bytes)
}

/// The format of a document: by its content, as the scan told it, else by its name.
pub(super) fn store_of(path: &RepoPath, source: &[u8]) -> Store {
    recognise(path.as_str(), source).unwrap_or_else(|| Store::for_path(path.as_str()))
}
