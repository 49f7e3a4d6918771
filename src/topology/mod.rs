//! The topology: the intended state of a repository, as its people write it in `cofferdam.toml`.
//!
//! Says who may read what: recovery and operators, zones and their files, hosts and clusters that hold a zone's
//! identity. Reads text and answers questions about paths; it knows nothing of what is on any host or in any document.

pub mod baseline;
pub mod closest;
pub mod duration;
pub mod file_set;
pub mod gate;
pub mod glob;
pub mod host;
pub mod operators;
pub mod parse;
pub mod problem;
pub mod publish;
pub mod without_reader;
pub mod zone;

use jiff::SignedDuration;

use crate::keys::Recipient;
use crate::repo_path::RepoPath;

pub use baseline::{Baseline, TrustedFact};
pub use file_set::{ExcludeError, FileSet, Selection, Selector};
pub use gate::{Gate, Suffices};
pub use glob::{Glob, GlobError};
pub use host::{
    Cluster, ClusterTarget, Container, Host, HostTarget, NamespacedName, Reader, SecretEntry,
    Transport,
};
pub use parse::parse;
pub use problem::TopologyProblem;
pub use publish::{Publish, Wave};
pub use without_reader::{RemovalError, Without, without_reader};
pub use zone::{IdentityScope, Place, Shared, Zone};

/// The whole of `cofferdam.toml`, in the order in which it is written.
///
/// Guarantees of [`parse()`]: at least one recovery recipient and one operator, no recipient in two roles, names are
/// simple words and unique, every zone, host and cluster that is named exists.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Wrapped into every document; the private half lives on paper only.
    pub recovery: Recovery,
    /// People and their machines; they open every document.
    pub operators: Vec<Operator>,
    /// Groups of hosts and paths that share one blast radius.
    pub zones: Vec<Zone>,
    /// Files that several zones read.
    pub shared: Vec<Shared>,
    /// Machines that hold an identity.
    pub hosts: Vec<Host>,
    /// Kubernetes clusters that hold an identity.
    pub clusters: Vec<Cluster>,
    /// What lets a run through before documents are rewritten.
    pub gate: Gate,
    /// What happens between the rewrite and the retirement.
    pub publish: Publish,
    /// Uses of identities that are none of the readers above, each with the reason why that is right.
    pub dismissed: Vec<Dismissed>,
    /// The folder of the sealed identities, relative to `cofferdam.toml` or absolute; `.cofferdam/sealed` by default.
    pub sealed_folder: String,
}

/// The recovery recipients and how often they are rehearsed.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// A drill is due after this.
    pub drill_every: Option<SignedDuration>,
}

/// A use that nobody declares, and that is right so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dismissed {
    /// As a plan lists it: `ci:.github/workflows/deploy.yml`.
    pub name: String,
    /// Why.
    pub because: String,
}

/// A person or a person's machine.
#[derive(Debug, Clone)]
pub struct Operator {
    /// A simple word.
    pub name: String,
    /// At least one.
    pub recipients: Vec<Recipient>,
}

impl Topology {
    /// Returns the zone of that name.
    pub fn zone(&self, name: &str) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.name == name)
    }

    /// Returns the shared entry of that name.
    pub fn shared(&self, name: &str) -> Option<&Shared> {
        self.shared.iter().find(|shared| shared.name == name)
    }

    /// Returns the host of that name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// Returns the cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// Returns every zone and shared entry that claims `path`, each once with its first file set that matches.
    ///
    /// A SOPS document must have exactly one place; none or several is an error that the planner names.
    pub fn places(&self, path: &RepoPath) -> Vec<Place<'_>> {
        let claims = |files: &'_ [FileSet]| files.iter().position(|set| set.matches(path));
        let zones = self
            .zones
            .iter()
            .filter_map(|zone| claims(&zone.files).map(|at| Place::Zone(zone, &zone.files[at])));
        let shared = self.shared.iter().filter_map(|shared| {
            claims(&shared.files).map(|at| Place::Shared(shared, &shared.files[at]))
        });
        zones.chain(shared).collect()
    }

    /// Returns the zones that read the files of a place.
    pub fn zones_of(&self, place: &Place<'_>) -> Vec<&Zone> {
        place
            .zone_names()
            .into_iter()
            .filter_map(|name| self.zone(name))
            .collect()
    }

    /// Returns the hosts and clusters of a zone, hosts first.
    pub fn readers(&self, zone: &str) -> Vec<Reader<'_>> {
        let hosts = self.hosts.iter().filter(|host| host.zone == zone);
        let clusters = self.clusters.iter().filter(|cluster| cluster.zone == zone);
        hosts
            .map(Reader::Host)
            .chain(clusters.map(Reader::Cluster))
            .collect()
    }

    /// Returns the hosts and clusters that read the files of a place: those of its zones, of which the file set may name some.
    pub fn readers_of(&self, place: &Place<'_>) -> Vec<Reader<'_>> {
        let named = place.file_set().hosts.as_ref();
        self.zones_of(place)
            .into_iter()
            .flat_map(|zone| self.readers(&zone.name))
            .filter(|reader| {
                named.is_none_or(|names| names.iter().any(|name| name == reader.name()))
            })
            .collect()
    }

    /// Returns the recipients that are adopted, each with the zone, host or cluster that adopts it: its kind and its name.
    pub fn adopted(&self) -> Vec<(&'static str, &str, &Recipient)> {
        let zones = self.zones.iter().map(|z| ("zone", &z.name, &z.adopt));
        let hosts = self.hosts.iter().map(|h| ("host", &h.name, &h.adopt));
        let clusters = self.clusters.iter();
        let clusters = clusters.map(|c| ("cluster", &c.name, &c.adopt));
        let all = zones.chain(hosts).chain(clusters);
        all.filter_map(|(kind, name, adopt)| Some((kind, name.as_str(), adopt.as_ref()?)))
            .collect()
    }

    /// Returns every recipient that opens all documents with the name of its holder: operators, then recovery.
    pub fn always(&self) -> Vec<(&Recipient, String)> {
        let operators = self.operators.iter().flat_map(|operator| {
            let holder = format!("operator {}", operator.name);
            operator.recipients.iter().map(move |r| (r, holder.clone()))
        });
        let recovery = self.recovery.recipients.iter();
        operators
            .chain(recovery.map(|r| (r, "recovery".to_owned())))
            .collect()
    }
}
