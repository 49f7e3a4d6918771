//! The record of verified documents (`.cofferdam/digests.toml`): a run records what it writes, as it was verified.
//!
//! The record helps `check`, and no run depends on it. One that cannot be read or written is told of and left as it is; what
//! somebody else wrote to it meanwhile stays; and no commit is made, or found wrong, for its sake.

use rayon::prelude::*;

use crate::apply::journal_file::Side;
use crate::apply::rewrite::store_of;
use crate::apply::{ApplyError, RULES_PATH, Run, read_optional};
use crate::inventory::{DIGESTS_PATH, Digests, DocumentDigest};
use crate::journal::Step;
use crate::repo::atomic_write::{self, Mode, WriteError};
use crate::repo::digest_file::{self, DigestFileError, IfMissing};
use crate::repo::git::{GitError, Oid};
use crate::repo_path::RepoPath;
use crate::sops::document::Document;

impl Run<'_> {
    /// Keeps the record's bytes for undo, before anything is recorded.
    pub(super) fn keep_digests(&mut self) -> Result<(), ApplyError> {
        // Once index entries are written down, the record would not be among them: an earlier version began this run.
        if self.is_done(&Step::KeepDigests) || self.progress().index.is_some() {
            return Ok(());
        }
        let bytes = match atomic_write::read_no_follow(&self.work.root.join(DIGESTS_PATH)) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.tell_of_record(&error.into());
                return Ok(());
            }
        };
        self.step(Step::KeepDigests, |run| {
            let copy = run.journal.slot(Side::Before, "digests");
            match bytes {
                Some(bytes) => atomic_write::replace(&copy, &bytes, Mode::Exact(0o600))?,
                // An attempt that was killed may have left one.
                None => {
                    atomic_write::remove(&copy)?;
                }
            }
            Ok(())
        })
    }

    /// Records verified bytes that are about to be moved into place: until they are, the record speaks of a MAC that no
    /// document carries, and says nothing. So a kill between the two leaves no document that was written and not recorded.
    pub(super) fn record_digests<'b>(
        &self,
        written: impl IntoIterator<Item = (&'b RepoPath, &'b [u8])>,
    ) {
        if self.is_done(&Step::KeepDigests) {
            self.record_if(IfMissing::Create, written);
        }
    }

    /// The same on the way back by a further commit, where there is a record: what is wrapped back was verified again.
    pub(super) fn record_digests_back<'b>(
        &self,
        written: impl IntoIterator<Item = (&'b RepoPath, &'b [u8])>,
    ) {
        self.record_if(IfMissing::Leave, written);
    }

    fn record_if<'b>(
        &self,
        if_missing: IfMissing,
        written: impl IntoIterator<Item = (&'b RepoPath, &'b [u8])>,
    ) {
        let documents: Vec<_> = written
            .into_iter()
            .filter(|(path, _)| path.as_str() != RULES_PATH)
            .collect();
        let verified: Vec<(RepoPath, DocumentDigest)> = documents
            .into_par_iter()
            .filter_map(|(path, bytes)| {
                let document = Document::parse(store_of(path, bytes), bytes.to_vec()).ok()?;
                Some((path.clone(), DocumentDigest::of(&document)?))
            })
            .collect();
        if verified.is_empty() {
            return;
        }
        let recorded = digest_file::bring_up_to_date(self.work.root, &verified, if_missing);
        if let Err(error) = recorded {
            self.tell_of_record(&error);
        }
    }

    /// Whether the record goes into the run's commits: never one that this run does not keep, or that cannot be read.
    pub(super) fn publishes_digests(&self) -> bool {
        if !self.is_done(&Step::KeepDigests) && self.progress().undo != Some(true) {
            return false;
        }
        let bytes = atomic_write::read_no_follow(&self.work.root.join(DIGESTS_PATH));
        let bytes = bytes.ok().flatten();
        !self.plan().documents.is_empty()
            && bytes.is_some_and(|bytes| Digests::read(Some(&bytes)).is_ok())
    }

    /// Undo: the record as it was at first, or, if others have committed another one since, as HEAD has it.
    pub(super) fn put_back_digests(&self) -> Result<(), ApplyError> {
        if !self.is_done(&Step::KeepDigests) {
            return Ok(());
        }
        let first = self.first_bytes("digests", DIGESTS_PATH)?;
        self.put_record_back_to(first.as_deref())
    }

    /// What HEAD's record says of the run's documents, after they were taken from HEAD again.
    pub(super) fn take_published_digests(&self) -> Result<(), ApplyError> {
        let path = RepoPath::new(DIGESTS_PATH).map_err(ApplyError::path(DIGESTS_PATH))?;
        let published = self.work.git.blob("HEAD", &path)?;
        self.put_record_back_to(published.as_deref())
    }

    fn put_record_back_to(&self, bytes: Option<&[u8]>) -> Result<(), ApplyError> {
        let documents = self.plan().documents.iter();
        let documents: Vec<RepoPath> = documents.map(|d| d.path.clone()).collect();
        match digest_file::put_back(self.work.root, bytes, &documents) {
            Ok(()) => Ok(()),
            Err(DigestFileError::File(
                error @ (WriteError::Io { .. } | WriteError::Uncertain { .. }),
            )) => Err(error.into()),
            // Somebody has put something else in its place.
            Err(error) => {
                self.tell_of_record(&error);
                Ok(())
            }
        }
    }

    /// Moves the branch on to `tip`. What this run recorded and has not committed stands in the way where others have written
    /// to the record as well: it is set aside, and recorded again over theirs.
    pub(super) fn fast_forward(&self, tip: &Oid) -> Result<(), ApplyError> {
        let git = self.work.git;
        let refused = match git.fast_forward(tip) {
            Err(error @ GitError::Failed { .. }) if self.publishes_digests() => error,
            other => return Ok(other?),
        };
        let file = self.work.root.join(DIGESTS_PATH);
        let path = RepoPath::new(DIGESTS_PATH).map_err(ApplyError::path(DIGESTS_PATH))?;
        let committed = git.blob("HEAD", &path)?;
        let own = read_optional(&file)?;
        let known = |bytes: Option<&[u8]>| Digests::read(bytes).unwrap_or_default();
        let recorded = known(own.as_deref()).beyond(&known(committed.as_deref()));
        let (Some(own), false) = (own, recorded.is_empty()) else {
            return Err(refused.into());
        };
        let set_aside = match &committed {
            Some(bytes) => atomic_write::replace_expecting(&file, Some(&own), bytes, Mode::Keep),
            None => atomic_write::remove(&file).map(drop),
        };
        if set_aside.is_err() {
            return Err(refused.into());
        }
        let moved = git.fast_forward(tip);
        let told = match &moved {
            Ok(()) => {
                let root = self.work.root;
                digest_file::bring_up_to_date(root, &recorded, IfMissing::Create).map(drop)
            }
            Err(_) => {
                atomic_write::replace_expecting(&file, committed.as_deref(), &own, Mode::Keep)
                    .map_err(DigestFileError::from)
            }
        };
        if let Err(error) = told {
            self.tell_of_record(&error);
        }
        Ok(moved?)
    }

    fn tell_of_record(&self, error: &DigestFileError) {
        self.work.observer.note(&error.warning());
    }
}
