//! Applying a plan: check, record, do, check again, record; and going on, or back, after a crash (edge).
//!
//! A run is a fixed sequence of phases, each made of steps that look first whether they are already done. So a fresh
//! run and a resumed one are the same code: the journal tells what was intended and what lies staged, the files, commits
//! and targets tell what is true. Nothing that can still open a document is removed before everything that must open it
//! has been shown to.

pub mod asking;
mod branch;
mod clones;
mod digests;
mod errands;
pub mod error;
pub mod journal_file;
pub mod lease;
mod look_again;
mod mint;
mod own_commits;
mod own_files;
mod publish;
mod put_back;
mod receipts;
mod reconciled;
mod retire;
mod review;
mod rewrite;
mod seals;
mod ship;
mod take_over;
mod tip;
mod undo;
mod waves;
mod without;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use error::{ApplyError, ReaderFailure};
pub use journal_file::{JOURNAL_FOLDER, JournalFile};
pub use take_over::take_over;
pub use tip::is_behind;
pub use undo::Undone;

use crate::apply::branch::Standing;
use crate::apply::look_again::Again;
use crate::fleet::{Target, abreast};
use crate::inventory::{DIGESTS_PATH, ReaderOutcome};
use crate::journal::{Entry, Outcome, Progress, ReviewBranch, Step};
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::ledger::{LEDGER_PATH, Ledger, State};
use crate::plan::{Plan, Roster};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::Git;
use crate::repo_path::RepoPath;
use crate::topology::Topology;

/// The creation rules' file.
pub const RULES_PATH: &str = ".sops.yaml";
/// Told to ignore the journal.
pub const GITIGNORE_PATH: &str = ".gitignore";
/// The topology's file.
pub const TOPOLOGY_PATH: &str = "cofferdam.toml";

/// What a run works on; the same for its whole life.
pub struct Workspace<'a> {
    /// The repository's root.
    pub root: &'a Path,
    /// The repository's git.
    pub git: &'a Git,
    /// Intended state.
    pub topology: &'a Topology,
    /// The folder of sealed identities.
    pub sealed: PathBuf,
    /// One for each reader of the plan, by name.
    pub targets: &'a BTreeMap<String, Box<dyn Target>>,
    /// The identities of whoever runs this.
    pub at_hand: &'a IdentitySet,
    /// Told what happens.
    pub observer: &'a dyn Observer,
}

/// Is told what happens, for people to see.
pub trait Observer: Sync {
    /// A phase begins: `ship`, `prove`, …
    fn phase(&self, name: &str, detail: &str);
    /// Something worth a line.
    fn note(&self, text: &str);
    /// A number of like things begins; the returned function is called once for each that is done, by any thread.
    fn counter<'a>(&'a self, what: &str, total: usize) -> Box<dyn Fn() + Sync + 'a>;
    /// Work at these readers begins, side by side; the returned function is given each outcome as it comes.
    fn readers<'a>(&'a self, _doing: &str, _names: &[String]) -> Box<dyn Fn(&ReaderOutcome) + 'a> {
        Box::new(|_| {})
    }
    /// What came of readers, all in.
    fn outcomes(&self, _outcomes: &[ReaderOutcome]) {}
    /// Asks whether these readers have taken the new revision; nobody to ask means no.
    fn confirm_taken(&self, readers: &[String]) -> bool;
}

/// Says nothing.
#[derive(Debug)]
pub struct Silent;

impl Observer for Silent {
    fn phase(&self, _name: &str, _detail: &str) {}
    fn note(&self, _text: &str) {}
    fn counter<'a>(&'a self, _what: &str, _total: usize) -> Box<dyn Fn() + Sync + 'a> {
        Box::new(|| {})
    }
    fn confirm_taken(&self, _readers: &[String]) -> bool {
        false
    }
}

/// Where a run stops of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before anything is delivered.
    Ship,
    /// Before readers are asked.
    Prove,
    /// Before documents change.
    Rewrite,
    /// Before the commit.
    Publish,
    /// Before old identities leave.
    Retire,
}

/// What came of a run that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Everything was done.
    Completed,
    /// Stopped where `--hold-at` said.
    Held(Phase),
    /// The change stands on a branch of its own, ready to be looked over and merged.
    Offered(ReviewBranch),
    /// Another clone has taken the run over; this one's files are as before it, unless they are published.
    HandedOver,
}

/// One run: its journal, the ledger, what was minted.
pub struct Run<'a> {
    work: Workspace<'a>,
    journal: JournalFile,
    ledger: Ledger,
    minted: BTreeMap<String, Identity>,
    hold_at: Option<Phase>,
    waived: Vec<String>,
    /// Readers that failed in this call of the program, and why: they are not asked again.
    failed: BTreeMap<String, String>,
    /// Clusters that were seen to have decrypted and applied what this run wrote.
    reconciled: BTreeSet<String>,
}

impl<'a> Run<'a> {
    /// A run whose journal is open: begun just now, or found unfinished.
    pub fn new(
        work: Workspace<'a>,
        journal: JournalFile,
        ledger: Ledger,
        hold_at: Option<Phase>,
    ) -> Self {
        let run = Self {
            work,
            journal,
            ledger,
            minted: BTreeMap::new(),
            hold_at,
            waived: Vec::new(),
            failed: BTreeMap::new(),
            reconciled: BTreeSet::new(),
        };
        run.claim_targets();
        run
    }

    /// Tells every target for which generation of the ledger this works.
    fn claim_targets(&self) {
        if let Some(generation) = self.ledger.generation() {
            for target in self.work.targets.values() {
                target.claim(generation);
            }
        }
    }

    /// Waives the receipt of these recipients too (protocol rule 3).
    #[must_use]
    pub fn waive(mut self, names: &[String]) -> Self {
        self.waived.extend(names.iter().cloned());
        self
    }

    /// Does what is left of the plan.
    ///
    /// # Errors
    /// [`ApplyError`]: the run stopped at a safe point and can go on by the same call on a run opened anew.
    pub fn execute(mut self) -> Result<Ended, ApplyError> {
        if self.progress().only_has_to_end() {
            self.release()?;
            self.journal.finish(Outcome::Completed)?;
            return Ok(Ended::Completed);
        }
        if self.is_taken_over()? {
            self.hand_over()?;
            return Ok(Ended::HandedOver);
        }
        if let Standing::Offered(branch) = self.settle_branch()? {
            return Err(ApplyError::NotMerged { branch });
        }
        self.sweep()?;
        self.adopt_commit()?;
        if !self.progress().started.is_empty() {
            // What cannot be taken yet is in nobody's way before the retirement.
            self.take_tip()?;
        }
        self.prepare()?;
        self.inherit()?;
        if let Err(error) = self.mint() {
            return Err(self.without_lease(error)?);
        }
        self.seal_to_newcomers()?;
        if let Err(error) = self.acquire() {
            return Err(self.without_lease(error)?);
        }
        if self.holds_at(Phase::Ship) {
            return Ok(Ended::Held(Phase::Ship));
        }
        self.ship()?;
        if self.holds_at(Phase::Prove) {
            return Ok(Ended::Held(Phase::Prove));
        }
        self.prove()?;
        if self.holds_at(Phase::Rewrite) {
            return Ok(Ended::Held(Phase::Rewrite));
        }
        let mut late = 0;
        loop {
            self.rewrite()?;
            if self.holds_at(Phase::Publish) {
                return Ok(Ended::Held(Phase::Publish));
            }
            self.publish()?;
            if let Some(branch) = self.own_branch().cloned()
                && self.is_on_own_branch()?
            {
                self.offer(&branch)?;
                return Ok(Ended::Offered(branch));
            }
            if self.progress().retirement_begun() {
                self.await_clones(None)?;
            } else {
                if self.holds_at(Phase::Retire) {
                    return Ok(Ended::Held(Phase::Retire));
                }
                self.await_readers()?;
            }
            match self.look_again(late)? {
                Again::Clear => break,
                Again::Rewrite => late += 1,
            }
        }
        self.retire()?;
        self.leave_branch()?;
        self.release()?;
        self.journal.finish(Outcome::Completed)?;
        Ok(Ended::Completed)
    }

    fn holds_at(&self, phase: Phase) -> bool {
        self.hold_at.is_some_and(|hold| hold <= phase)
    }

    fn progress(&self) -> &Progress {
        self.journal.progress()
    }

    fn plan(&self) -> &Plan {
        &self.journal.progress().plan
    }

    /// Runs `act` between the two records of `step`.
    fn step<T>(
        &mut self,
        step: Step,
        act: impl FnOnce(&mut Self) -> Result<T, ApplyError>,
    ) -> Result<T, ApplyError> {
        self.journal.record(Entry::Started { step: step.clone() })?;
        let value = act(self)?;
        self.journal.record(Entry::Done { step })?;
        Ok(value)
    }

    fn is_done(&self, step: &Step) -> bool {
        self.progress().done.contains(step)
    }

    /// Removes temporary files that a kill left beside files that this run writes.
    fn sweep(&mut self) -> Result<(), ApplyError> {
        self.sweep_clone()?;
        let targets: Vec<_> = self.work.targets.values().collect();
        let swept = abreast(&targets, |target| target.sweep());
        for (target, swept) in targets.into_iter().zip(swept) {
            if let Err(error) = swept {
                let why = errands::one_line(&error);
                self.failed.insert(target.name().to_owned(), why);
            }
        }
        Ok(())
    }

    /// The same in this clone alone.
    #[expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]
    fn sweep_clone(&self) -> Result<(), ApplyError> {
        let root = self.work.root;
        let mut folders = vec![
            root.to_owned(),
            root.join(".cofferdam"),
            root.join(JOURNAL_FOLDER),
            self.journal.folder().to_owned(),
            self.work.sealed.clone(),
        ];
        folders.extend(self.plan().documents.iter().map(|d| {
            d.path
                .parent()
                .map_or_else(|| root.to_owned(), |parent| parent.under(root))
        }));
        folders.sort();
        folders.dedup();
        for folder in folders.iter().filter(|f| f.is_dir()) {
            atomic_write::sweep_temporary(folder)?;
        }
        Ok(())
    }

    fn save_ledger(&self) -> Result<(), ApplyError> {
        let text = self.ledger.to_text()?;
        let path = self.work.root.join(LEDGER_PATH);
        if read_optional(&path)?.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            atomic_write::create_folder(folder, 0o755)?;
        }
        atomic_write::replace(&path, text.as_bytes(), Mode::Keep)?;
        Ok(())
    }

    fn advance(&mut self, ids: &[String], to: State) -> Result<(), ApplyError> {
        let now = now();
        for id in ids {
            let behind = self.ledger.record(id).is_some_and(|r| r.state.precedes(to));
            if behind {
                self.ledger.advance(id, to, now)?;
            }
        }
        self.save_ledger()
    }

    /// The recipients that documents are wrapped to afterwards: those of the plan's identities, and of what is kept.
    fn wrapped_roster(&self) -> Result<Roster, ApplyError> {
        let mut roster = self.plan().known_recipients();
        roster.extend(self.roster()?);
        Ok(roster)
    }

    /// The recipients of the plan's identities, by the plan or by the ledger.
    fn roster(&self) -> Result<Roster, ApplyError> {
        self.plan()
            .identities
            .iter()
            .map(|identity| {
                self.recipient_of(&identity.id)
                    .map(|r| (identity.id.clone(), r))
                    .ok_or_else(|| ApplyError::Unminted {
                        id: identity.id.clone(),
                    })
            })
            .collect()
    }

    /// The recipient of one of the plan's identities; none if it was not minted yet.
    fn recipient_of(&self, id: &str) -> Option<Recipient> {
        let planned = self.plan().identity(id);
        if let Some(recipient) = planned.and_then(|i| i.recipient.clone()) {
            return Some(recipient);
        }
        // A record of a name that this run is to give, and that it did not make, is another run's.
        let is_own =
            |recipient: &Recipient| planned.is_none() || self.progress().has_minted(id, recipient);
        let record = self.ledger.record(id).filter(|r| is_own(&r.recipient));
        record.map(|r| r.recipient.clone())
    }

    /// [`Run::own_paths`], and the record of verified documents. That is never looked at to learn whether something is
    /// published: others write it as well.
    fn own_paths_and_record(&self) -> Result<Vec<RepoPath>, ApplyError> {
        let mut paths = self.own_paths()?;
        paths.push(RepoPath::new(DIGESTS_PATH).map_err(ApplyError::path(DIGESTS_PATH))?);
        Ok(paths)
    }

    /// What a commit of the run holds.
    fn committed_paths(&self) -> Result<Vec<RepoPath>, ApplyError> {
        if self.publishes_digests() {
            self.own_paths_and_record()
        } else {
            self.own_paths()
        }
    }

    /// Every file of the repository that this run may have written, for git.
    #[expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]
    fn own_paths(&self) -> Result<Vec<RepoPath>, ApplyError> {
        let mut paths: Vec<RepoPath> = self
            .plan()
            .documents
            .iter()
            .map(|d| d.path.clone())
            .collect();
        for own in [RULES_PATH, GITIGNORE_PATH, TOPOLOGY_PATH, LEDGER_PATH] {
            let path = RepoPath::new(own).map_err(ApplyError::path(own))?;
            if path.under(self.work.root).exists() {
                paths.push(path);
            }
        }
        if let Ok(folder) = self.work.sealed.strip_prefix(self.work.root) {
            for name in file_names(&self.work.sealed)? {
                let path = folder.join(&name);
                let text = path.display().to_string();
                paths.push(RepoPath::from_path(&path).map_err(ApplyError::path(&text))?);
            }
            // What was removed is published as well.
            for name in &self.plan().unseals {
                let path = folder.join(name);
                let text = path.display().to_string();
                let path = RepoPath::from_path(&path).map_err(ApplyError::path(&text))?;
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        Ok(paths)
    }
}

/// The name under which a document's bytes lie in the journal's folder.
fn document_slot(index: usize) -> String {
    format!("document-{index}")
}

/// Reads a file; none if it is not there.
#[expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]
pub(crate) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, ApplyError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ApplyError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The names of the regular files of a folder, sorted; temporary ones left out.
#[expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]
fn file_names(folder: &Path) -> Result<Vec<std::ffi::OsString>, ApplyError> {
    let fail = |source| ApplyError::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        if entry.file_type().map_err(fail)?.is_file() && !atomic_write::is_temporary(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whole seconds: the ledger is read by people.
#[expect(clippy::disallowed_methods, reason = "edge: carries out a plan")]
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
