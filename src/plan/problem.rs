//! What stops a plan: all of it at once, each with what to do about it.

use crate::keys::Recipient;
use crate::repo_path::RepoPath;

/// One reason why no plan can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanProblem {
    /// A document that no zone and no shared entry claims.
    #[error("{path} falls in no zone")]
    Unplaced {
        /// The document.
        path: RepoPath,
    },
    /// A document that several claim.
    #[error("{path} falls in {} places: {}", places.len(), places.join(", "))]
    Ambiguous {
        /// The document.
        path: RepoPath,
        /// The zones and shared entries.
        places: Vec<String>,
    },
    /// Protocol rule 2.
    #[error("{recipient} is {role} and also {other_role}")]
    TwoRoles {
        /// The recipient, shortened.
        recipient: String,
        /// What the topology says it is.
        role: String,
        /// What it is besides.
        other_role: String,
    },
    /// Protocol rule 8.
    #[error("{recipient} reads {} and nobody knows whose it is", listed(documents))]
    UnknownRecipient {
        /// The recipient.
        recipient: Recipient,
        /// Where it stands.
        documents: Vec<RepoPath>,
    },
    /// Protocol rule 7.
    #[error("{path} is also wrapped by {}, which cannot be re-wrapped here", entries.join(", "))]
    ForeignEntries {
        /// The document.
        path: RepoPath,
        /// The entries.
        entries: Vec<String>,
    },
    /// A document whose data key is shared out over groups; one list of readers cannot say that.
    #[error("{path} has {groups} key groups")]
    KeyGroups {
        /// The document.
        path: RepoPath,
        /// How many.
        groups: usize,
    },
    /// Protocol rule 9.
    #[error("{reader} could not open {path} before and would afterwards")]
    Widening {
        /// The document.
        path: RepoPath,
        /// Who would gain.
        reader: String,
    },
    /// An identity to be adopted that no document of its holder is wrapped to.
    #[error("{holder} adopts {recipient}, which opens none of its documents")]
    AdoptedUnused {
        /// The zone or host.
        holder: String,
        /// The recipient, shortened.
        recipient: String,
    },
    /// An identity to be adopted that somebody else has.
    #[error("{holder} adopts {recipient}, which {} as well", held_by(readers))]
    AdoptedElsewhere {
        /// The zone or host.
        holder: String,
        /// The recipient, shortened.
        recipient: String,
        /// Who holds it.
        readers: Vec<String>,
    },
    /// An identity to be adopted that cannot be sealed, because it is nowhere (protocol rule 1).
    #[error(
        "{holder} adopts {recipient}, whose identity is neither at hand nor on any of its readers"
    )]
    AdoptedNotHad {
        /// The zone or host.
        holder: String,
        /// The recipient, shortened.
        recipient: String,
    },
    /// An identity to be adopted where another one serves.
    #[error("{holder} adopts {recipient}, and {live} serves it already")]
    AdoptedLate {
        /// The zone or host.
        holder: String,
        /// The recipient, shortened.
        recipient: String,
        /// The id of the one that serves.
        live: String,
    },
    /// A document's readers would be locked out at some point of the run.
    #[error("{reader} would lose access to {path}: {when}")]
    LockOut {
        /// The document.
        path: RepoPath,
        /// Who.
        reader: String,
        /// At what point.
        when: String,
    },
    /// Protocol rule 17.
    #[error("{reader} cannot keep {id}: {why}")]
    CannotKeep {
        /// The reader that the run was to go on without.
        reader: String,
        /// The last identity that it proved.
        id: String,
        /// Why documents must not stay wrapped to it.
        why: String,
    },
    /// A name that is no reader's.
    #[error("there is no host or cluster {reader}")]
    NoReader {
        /// The name.
        reader: String,
        /// Those that there are.
        readers: Vec<String>,
    },
    /// Something about `.sops.yaml`.
    #[error("{message}")]
    Rules {
        /// What.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl PlanProblem {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unplaced { path } => format!(
                "add a glob that matches {path} to `files` of a zone or shared entry in cofferdam.toml"
            ),
            Self::Ambiguous { .. } => {
                "narrow `paths`, or use `exclude`, in cofferdam.toml so that one place is left".to_owned()
            }
            Self::TwoRoles { .. } => {
                "make a key of its own for the operator (age-keygen -o laptop.txt) and name that recipient".to_owned()
            }
            Self::UnknownRecipient { recipient, .. } => format!(
                "list it as an operator in cofferdam.toml if it should keep reading, or drop it with --drop {recipient}"
            ),
            Self::ForeignEntries { path, .. } => {
                format!("drop those entries with --drop-foreign {path}, or take the file out of every zone's `paths`")
            }
            Self::KeyGroups { path, .. } => format!(
                "re-create {path} with one list of recipients, or keep it in a repository of its own"
            ),
            Self::Widening { path, .. } => format!("move {path} back, or allow it with --widen {path}"),
            Self::CannotKeep { reader, .. } => format!(
                "bring {reader} back and run the same command, or revoke it as well: cofferdam revoke {reader}"
            ),
            Self::NoReader { readers, .. } => format!("they are: {}", readers.join(", ")),
            Self::AdoptedUnused { .. } | Self::AdoptedLate { .. } => {
                "remove `adopt` from that section of cofferdam.toml".to_owned()
            }
            Self::AdoptedElsewhere { .. } => {
                "remove `adopt` from that section of cofferdam.toml: a new identity is minted, and this one retires".to_owned()
            }
            Self::AdoptedNotHad { .. } => {
                "give it with --identity FILE; or remove `adopt` from that section of cofferdam.toml, and one is minted".to_owned()
            }
            Self::LockOut { .. } => "this is a fault of the plan; nothing was changed".to_owned(),
            Self::Rules { hint, .. } => return hint.clone(),
        })
    }
}

fn held_by(readers: &[String]) -> String {
    match readers {
        [one] => format!("{one} holds"),
        several => format!("{} hold", several.join(", ")),
    }
}

/// Names up to three paths and counts the rest.
fn listed(paths: &[RepoPath]) -> String {
    let mut text = paths
        .iter()
        .take(3)
        .map(RepoPath::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if paths.len() > 3 {
        text.push_str(&format!(" and {} more", paths.len() - 3));
    }
    text
}
