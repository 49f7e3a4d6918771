//! What Cofferdam asks of whoever holds an identity, however it is reached.

use std::path::PathBuf;

use crate::fleet::kubernetes::{KubeError, KubeProblem};
use crate::fleet::ssh::SshError;
use crate::fleet::{Challenge, Deployed, Reconciliation};
use crate::inventory::Before;
use crate::keys::key_file::KeyFileError;
use crate::keys::wrap::UnwrapError;
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::ledger::{Generation, Mark, ReceiptKind};
use crate::repo::atomic_write::WriteError;
use crate::repo_path::RepoPath;

/// A host or cluster that holds identities.
///
/// All calls may be repeated: what is done already is not done again. None of them is quick on a real host.
pub trait Target: Send + Sync {
    /// The name in the topology.
    fn name(&self) -> &str;

    /// Host or cluster.
    fn kind(&self) -> TargetKind;

    /// Where its identities stand, for people: a path, or namespace and Secret.
    fn place(&self) -> String;

    /// Whether it is another machine, and not a folder of this one.
    fn is_remote(&self) -> bool {
        true
    }

    /// Reads which identities the target holds; changes nothing.
    ///
    /// # Errors
    /// See [`TargetError`].
    fn read(&self) -> Result<Held, TargetError>;

    /// Puts `identity` beside what is there, atomically; `id` is its name in the ledger.
    ///
    /// # Errors
    /// [`TargetError::Changed`] if somebody else wrote meanwhile; see [`TargetError`].
    fn deliver(&self, id: &str, identity: &Identity) -> Result<Delivered, TargetError>;

    /// Lets the target answer a challenge with the identities as they are found on it now.
    ///
    /// # Errors
    /// [`TargetError::WrongAnswer`]; see [`TargetError`]. That it cannot open the challenge is no error.
    fn prove(&self, challenge: &Challenge) -> Result<Receipt, TargetError>;

    /// Lets the target answer challenges of one run, in order; one call where that saves time.
    ///
    /// # Errors
    /// As [`Target::prove`].
    fn prove_all(&self, challenges: &[Challenge]) -> Result<Vec<Receipt>, TargetError> {
        challenges.iter().map(|one| self.prove(one)).collect()
    }

    /// The digest of the SSH host key that it showed at the last connection; none for what is reached otherwise.
    fn host_key(&self) -> Option<String> {
        None
    }

    /// Says for which generation of the ledger the calls to come are made. A target that carries a later one, or another
    /// run's of the same number, takes no deliveries and no withdrawals from then on ([`TargetError::Ahead`]); any other
    /// carries this one once it was written to, from just before the write on.
    fn claim(&self, generation: &Generation) {
        let _ = generation;
    }

    /// Takes the identity of `recipient` away, and only that. Given what was there before the delivery, the rest of the
    /// target's state goes back to that, too (undo): permissions, and files and folders that the delivery had made.
    ///
    /// # Errors
    /// As [`Target::deliver`].
    fn withdraw(
        &self,
        recipient: &Recipient,
        before: Option<&Before>,
    ) -> Result<Withdrawn, TargetError>;

    /// What the target has deployed: for each of `globs`, absolute on the target, the folders that it names there and the
    /// digests of those of `documents` that they hold. A target without folders of its own names none.
    ///
    /// # Errors
    /// See [`TargetError`]; a folder or document that is there and cannot be read is one.
    fn deployed(
        &self,
        globs: &[String],
        documents: &[RepoPath],
    ) -> Result<Vec<Deployed>, TargetError> {
        let _ = documents;
        let none = |glob: &String| Deployed {
            glob: glob.clone(),
            clones: Vec::new(),
        };
        Ok(globs.iter().map(none).collect())
    }

    /// How far the target's controllers have come with what is declared of them; none for a target that has none.
    ///
    /// # Errors
    /// See [`TargetError`].
    fn reconciled(&self) -> Result<Vec<Reconciliation>, TargetError> {
        Ok(Vec::new())
    }

    /// Asks a controller for a turn, at its next chance, as of `at` (any text that is another each time).
    ///
    /// # Errors
    /// See [`TargetError`]; the right to ask may be missing.
    fn ask_to_reconcile(&self, what: &Reconciliation, at: &str) -> Result<(), TargetError> {
        let _ = (what, at);
        Ok(())
    }

    /// Removes temporary files that a kill left; returns their paths.
    ///
    /// # Errors
    /// See [`TargetError`].
    fn sweep(&self) -> Result<Vec<String>, TargetError>;
}

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A machine with an identity file.
    Host,
    /// A Kubernetes cluster with Secrets.
    Cluster,
}

/// What a target holds.
///
/// # Secrets
/// The identities; they are wiped on drop.
#[derive(Debug)]
pub struct Held {
    /// All identities found, as the target's readers would find them.
    pub identities: IdentitySet,
    /// The recipients of those that know theirs, in order, each once.
    pub recipients: Vec<Recipient>,
    /// Files and folders that others may read.
    pub permissions: Vec<PermissionFinding>,
    /// The generation that wrote there last, if the one that was claimed is behind it.
    pub ahead: Option<Mark>,
    /// What [`Target::withdraw`] needs to bring the first state back; no secret.
    pub before: Before,
}

/// A file or folder that is open to others than its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionFinding {
    /// The path as the target's operator would name it.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// What it is.
    pub what: Permission,
}

/// What is open to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// The identity file: set to 0400 by the next delivery.
    File,
    /// Its folder: left alone.
    Folder,
}

/// What a delivery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// The identity was put there.
    Placed,
    /// It was there already.
    AlreadyThere,
}

/// What a withdrawal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// The identity was taken away.
    Removed,
    /// It was not there.
    WasAbsent,
}

/// What a target answered to a challenge in this run; positive and negative proofs have the same form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The target.
    pub target: String,
    /// The run that asked.
    pub run: String,
    /// Whose challenge it was.
    pub recipient: Recipient,
    /// Whether an identity found on the target opened it: a negative proof needs this to be false.
    pub opened: bool,
    /// Whether each of the target's places (Secrets) opened it: a positive proof needs this to be true.
    pub everywhere: bool,
    /// How it was shown.
    pub kind: ReceiptKind,
    /// Places beside the target's own that opened it, for people.
    pub copies: Vec<String>,
    /// Places of the target's own that did not, though another did, for people.
    pub lacking: Vec<String>,
}

/// Why a target did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It could not be reached, or its directory is absent.
    #[error("{target} cannot be reached at {path}")]
    Unreachable {
        /// The target.
        target: String,
        /// Where it was expected.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder on the way to the identity is a symbolic link.
    #[error("{path} on {target} is a symbolic link")]
    Symlink {
        /// The target.
        target: String,
        /// The link.
        path: PathBuf,
    },
    /// The path of an identity file leads out of the target's directory.
    #[error("{path:?} is no path of an identity file on {target}")]
    BadPath {
        /// The target.
        target: String,
        /// The path as given.
        path: String,
    },
    /// A file could not be read or listed.
    #[error("cannot read {path} on {target}")]
    Read {
        /// The target.
        target: String,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An identity file holds something else.
    #[error("{path} on {target} is no identity file")]
    KeyFile {
        /// The target.
        target: String,
        /// The file.
        path: PathBuf,
        /// What is wrong, by line number.
        source: KeyFileError,
    },
    /// Somebody else changed the file between reading and writing; nothing was written.
    #[error("{path} on {target} changed while it was worked on")]
    Changed {
        /// The target.
        target: String,
        /// The file.
        path: PathBuf,
    },
    /// A ledger that knows more was at work there; nothing was written.
    #[error(
        "{target} was written to by run {} from another clone, at generation {} of the ledger",
        .found.run(), .found.number()
    )]
    Ahead {
        /// The target.
        target: String,
        /// What it carries.
        found: Mark,
        /// Where, for whoever knows that the other clone is lost.
        place: String,
    },
    /// A file could not be written or removed.
    #[error("cannot write to {target}")]
    Write {
        /// The target.
        target: String,
        /// Why.
        source: WriteError,
    },
    /// The challenge is made for another target, or opens to something that is no challenge.
    #[error("{target} was given a challenge that is not its own")]
    NotItsChallenge {
        /// The target.
        target: String,
    },
    /// The answer does not belong to the challenge.
    #[error("{target} gave a wrong answer to the challenge for {recipient}")]
    WrongAnswer {
        /// The target.
        target: String,
        /// Whose challenge it was.
        recipient: Recipient,
    },
    /// An identity on the target could have opened the challenge, but failed.
    #[error("an identity on {target} failed")]
    Unwrap {
        /// The target.
        target: String,
        /// Why.
        source: UnwrapError,
    },
    /// A host that is reached by SSH.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// A cluster that is reached by kubectl.
    #[error(transparent)]
    Kubernetes(#[from] KubeError),
}

impl TargetError {
    /// Whether the target did not answer at all, so that nothing is known of it.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Ssh(error) => error.is_unreachable(),
            Self::Kubernetes(error) => matches!(
                error.source,
                KubeProblem::Unreachable { .. } | KubeProblem::TimedOut { .. }
            ),
            _ => false,
        }
    }

    /// Names the target in a failure to write.
    pub(super) fn write(target: &str, error: WriteError) -> Self {
        let target = target.to_owned();
        match error {
            WriteError::Changed { path } => Self::Changed { target, path },
            WriteError::Symlink { path } => Self::Symlink { target, path },
            source => Self::Write { target, source },
        }
    }
}
