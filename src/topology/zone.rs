//! Zones and shared entries: which files belong together.

use jiff::SignedDuration;

use super::file_set::FileSet;
use crate::keys::Recipient;

/// A group of hosts and paths that share one blast radius.
#[derive(Debug, Clone)]
pub struct Zone {
    /// A simple word.
    pub name: String,
    /// Whether the zone has one identity or each of its hosts its own.
    pub identity: IdentityScope,
    /// The recipient of an identity that its readers hold already and that serves it until it is rotated; only where the
    /// zone has one identity.
    pub adopt: Option<Recipient>,
    /// Rotation is due after this.
    pub max_age: Option<SignedDuration>,
    /// Retirement is delayed by this.
    pub grace: Option<SignedDuration>,
    /// The files it reads.
    pub files: Vec<FileSet>,
}

/// Who has an identity of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityScope {
    /// The zone has one, all its hosts hold it.
    #[default]
    Zone,
    /// Each host has one and opens only what that host reads.
    Host,
}

/// Files that several zones read.
#[derive(Debug, Clone)]
pub struct Shared {
    /// A simple word, not that of a zone.
    pub name: String,
    /// The zones that read them; each exists.
    pub zones: Vec<String>,
    /// The files.
    pub files: Vec<FileSet>,
}

/// What claims a file: a zone or a shared entry, with the file set that matched.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// One zone.
    Zone(&'a Zone, &'a FileSet),
    /// A shared entry.
    Shared(&'a Shared, &'a FileSet),
}

impl<'a> Place<'a> {
    /// The name of the zone or shared entry.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Zone(zone, _) => &zone.name,
            Self::Shared(shared, _) => &shared.name,
        }
    }

    /// The name with its kind: `zone lan`, `shared alloy`.
    pub fn title(&self) -> String {
        match self {
            Self::Zone(zone, _) => format!("zone {}", zone.name),
            Self::Shared(shared, _) => format!("shared {}", shared.name),
        }
    }

    /// The file set that matched.
    pub fn file_set(&self) -> &'a FileSet {
        match self {
            Self::Zone(_, set) | Self::Shared(_, set) => set,
        }
    }

    /// The names of the zones that read its files.
    pub fn zone_names(&self) -> Vec<&'a str> {
        match self {
            Self::Zone(zone, _) => vec![&zone.name],
            Self::Shared(shared, _) => shared.zones.iter().map(String::as_str).collect(),
        }
    }
}
