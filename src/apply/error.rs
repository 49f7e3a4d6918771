//! Why a run stopped. It stands at a safe point: every reader opens what it must, and the same call goes on.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::apply::journal_file::JournalError;
use crate::fleet::TargetError;
use crate::journal::{Lease, ReviewBranch};
use crate::keys::wrap::WrapError;
use crate::keystore::sealed::UnsealError;
use crate::ledger::LedgerError;
use crate::repo::atomic_write::WriteError;
use crate::repo::git::GitError;
use crate::repo::scan::ScanError;
use crate::repo_path::{RepoPath, RepoPathError};
use crate::sops::document::DocumentError;

/// What one reader did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderFailure {
    /// Its name.
    pub reader: String,
    /// What happened, with its name.
    pub said: String,
    /// Whether it opens what it must not; there is no going on without such a reader.
    pub holds_too_much: bool,
    /// Whether it was only read back, where that does not suffice.
    pub is_weak: bool,
}

fn joined(failures: &[ReaderFailure]) -> String {
    let said: Vec<&str> = failures.iter().map(|f| f.said.as_str()).collect();
    said.join("; ")
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A path that cannot stand in the repository.
    #[error("{text} cannot stand in the repository")]
    Path {
        /// The path.
        text: String,
        /// Why.
        source: RepoPathError,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A wrap.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// A sealed identity.
    #[error(transparent)]
    Sealed(#[from] UnsealError),
    /// A reader.
    #[error("{reader} failed")]
    Target {
        /// Its name.
        reader: String,
        /// What happened there.
        source: TargetError,
    },
    /// A document.
    #[error("{path} cannot be rewritten")]
    Document {
        /// The document.
        path: RepoPath,
        /// Why.
        source: DocumentError,
    },
    /// Staged bytes that are not what they must be; nothing was moved into place.
    #[error("the new bytes of {path} do not check out: {reason}")]
    Staged {
        /// The document.
        path: RepoPath,
        /// What is wrong.
        reason: String,
    },
    /// The creation rules.
    #[error("{}", .problems.join("; "))]
    Rules {
        /// What is wrong, one entry each.
        problems: Vec<String>,
    },
    /// An identity that is used before it exists.
    #[error("identity {id} was never minted")]
    Unminted {
        /// Its id.
        id: String,
    },
    /// Another run has minted an identity of that name since this one was planned.
    #[error(
        "another run has minted {id} since this one was planned; nothing of this one was shipped"
    )]
    Overtaken {
        /// The identity.
        id: String,
    },
    /// The ledger does not know an identity that this run minted: somebody put an older one in its place.
    #[error("identity {id} was minted by this run and is gone from .cofferdam/keyring.toml")]
    LedgerLost {
        /// Its id.
        id: String,
    },
    /// An identity is needed and none that is at hand opens its sealed file.
    #[error("identity {id} cannot be unsealed with the identities at hand")]
    CannotUnseal {
        /// Its id.
        id: String,
    },
    /// Readers that did not show what they must: nothing was rewritten.
    #[error("stopped at the gate, nothing was rewritten: {}", joined(.failures))]
    Gate {
        /// One entry a reader.
        failures: Vec<ReaderFailure>,
    },
    /// Readers that did not show what they must before the old identities leave.
    #[error("nothing was retired: {}", joined(.failures))]
    Unshown {
        /// One entry a reader.
        failures: Vec<ReaderFailure>,
    },
    /// Too late to go on without a reader, or no reader of the plan.
    #[error("cannot go on without {reader}: {reason}")]
    Without {
        /// The name.
        reader: String,
        /// Why.
        reason: String,
    },
    /// Commits are the operator's.
    #[error("the rewritten files are not committed yet")]
    NotCommitted,
    /// git, a hook or a signature refused the commit.
    #[error("the commit was refused, nothing was retired")]
    CommitRefused(#[source] GitError),
    /// Protocol rule 11.
    #[error("what was committed is not what was verified, nothing was retired: {}", .paths.join(", "))]
    PublishMismatch {
        /// The documents, each with what is wrong.
        paths: Vec<String>,
    },
    /// The remote does not have the commit.
    #[error("{remote} does not have the run's commit yet, nothing was retired")]
    NotPushed {
        /// The remote.
        remote: String,
    },
    /// The remote could not be asked.
    #[error("cannot ask {remote}")]
    Remote {
        /// The remote.
        remote: String,
        /// What git said.
        source: GitError,
    },
    /// Protocol rule 14: somebody else's run.
    #[error("{remote} is at work for another run: {lease}")]
    LeaseHeld {
        /// The remote.
        remote: String,
        /// Whose.
        lease: Box<Lease>,
    },
    /// The ref of a run stands at something that no cofferdam wrote.
    #[error("{name} at {remote} holds no run that this cofferdam can read: {reason}")]
    LeaseUnreadable {
        /// The remote.
        remote: String,
        /// The ref.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The remote does not let the ref of a run be moved.
    #[error("{remote} does not take {name}, nothing was shipped and nothing is left behind")]
    LeaseRefused {
        /// The remote.
        remote: String,
        /// The ref.
        name: &'static str,
        /// What git said.
        source: GitError,
    },
    /// The ref is no longer ours in the middle of the run.
    #[error("this run was taken over: {remote} is held by {lease}")]
    LeaseLost {
        /// The remote.
        remote: String,
        /// By whom.
        lease: Box<Lease>,
    },
    /// Another clone's run that does not fit this clone.
    #[error("the run cannot be taken over: {reason}")]
    TakeOver {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// The remote and this clone each have commits that the other lacks.
    #[error("{remote} has commits that are not here{}", .why.as_deref().map(|w| format!(": {w}")).unwrap_or_default())]
    Behind {
        /// The remote.
        remote: String,
        /// Why they could not be taken.
        why: Option<String>,
        /// Whether the run is over, with nothing shipped and nothing left behind.
        is_over: bool,
    },
    /// A push was refused.
    #[error("the push to {remote} was refused, nothing was retired")]
    PushRefused {
        /// The remote.
        remote: String,
        /// What git said.
        source: GitError,
    },
    /// The run's own branch was not merged yet.
    #[error("branch {} is not merged into {} yet, nothing was retired", .branch.name, .branch.base)]
    NotMerged {
        /// Both branches.
        branch: ReviewBranch,
    },
    /// The run was cut off on its own branch, and another is checked out.
    #[error("the run stands on branch {branch}, which is not checked out")]
    NotOnBranch {
        /// The run's own branch.
        branch: String,
    },
    /// A branch could not be checked out.
    #[error("cannot check out {branch}")]
    CheckOut {
        /// The branch.
        branch: String,
        /// What git said.
        source: GitError,
    },
    /// Somebody committed on the run's own branch at the remote.
    #[error("branch {branch} at {remote} holds commits that are not the run's")]
    BranchMoved {
        /// The remote.
        remote: String,
        /// The run's own branch.
        branch: String,
    },
    /// A command of `[publish]`.
    #[error("`{command}` {outcome}, nothing was retired")]
    Command {
        /// As in `cofferdam.toml`.
        command: String,
        /// How it ended.
        outcome: String,
    },
    /// Readers that do not run the new revision.
    #[error("waiting for readers to take the new revision: {}", .readers.join("; "))]
    NotTaken {
        /// One entry a reader.
        readers: Vec<String>,
    },
    /// A zone's grace.
    #[error("the grace of zone {zone} lasts until {until}, nothing was retired")]
    Grace {
        /// The zone.
        zone: String,
        /// When it ends.
        until: Timestamp,
    },
    /// Protocol rule 3.
    #[error("nothing is retired before this is shown: {}", .missing.join("; "))]
    Unproven {
        /// One entry a recipient.
        missing: Vec<String>,
    },
    /// The repository could not be searched for documents.
    #[error("cannot look for documents, nothing was retired")]
    Scan {
        /// Why.
        source: ScanError,
    },
    /// Documents that came to the repository since the plan was made.
    #[error("still wrapped to what is to be retired: {}", .paths.join(", "))]
    Stragglers {
        /// The documents.
        paths: Vec<String>,
    },
    /// A reader still opens what it must not, after retirement.
    #[error("retired, but still there: {}", joined(.copies))]
    Copies {
        /// One entry a reader.
        copies: Vec<ReaderFailure>,
    },
    /// Readers where it failed, after the others were served.
    #[error("{doing} failed at some readers: {}", .failures.join("; "))]
    Readers {
        /// What.
        doing: &'static str,
        /// One entry a reader.
        failures: Vec<String>,
    },
    /// The way back is closed.
    #[error("there is no way back: {reason}")]
    NoWayBack {
        /// Why.
        reason: String,
    },
}

impl ApplyError {
    /// Names the reader that failed.
    pub(super) fn target(reader: &str) -> impl FnOnce(TargetError) -> Self {
        let reader = reader.to_owned();
        move |source| Self::Target { reader, source }
    }

    /// Names the remote that could not be asked.
    pub(super) fn remote(remote: &str) -> impl FnOnce(GitError) -> Self {
        let remote = remote.to_owned();
        move |source| Self::Remote { remote, source }
    }

    /// Names the document that failed.
    pub(super) fn document(path: &RepoPath) -> impl Fn(DocumentError) -> Self {
        let path = path.clone();
        move |source| Self::Document {
            path: path.clone(),
            source,
        }
    }

    /// Names the path that is none.
    pub(super) fn path(text: &str) -> impl FnOnce(RepoPathError) -> Self {
        let text = text.to_owned();
        move |source| Self::Path { text, source }
    }
}
