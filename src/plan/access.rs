//! Who should read what, by the topology: the parties of each place, the ids of each reader.

use crate::ledger::Holder;
use crate::plan::kept::Kept;
use crate::plan::{Party, PlanProblem, PlannedIdentity};
use crate::repo_path::RepoPath;
use crate::topology::{FileSet, IdentityScope, Topology, Zone};

/// The topology seen through the identities of one plan.
#[derive(Debug)]
pub struct Access<'a> {
    topology: &'a Topology,
    identities: &'a [PlannedIdentity],
    kept: &'a [Kept],
}

/// Where a document belongs and which zone identities read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceAccess {
    /// The zone or shared entry, for people: `zone lan`, `shared alloy`.
    pub name: String,
    /// Its zone identities, in the topology's order.
    pub parties: Vec<Party>,
}

impl<'a> Access<'a> {
    /// Sees `topology` through `identities`, and those that are kept for readers that a run goes on without.
    pub fn new(
        topology: &'a Topology,
        identities: &'a [PlannedIdentity],
        kept: &'a [Kept],
    ) -> Self {
        Self {
            topology,
            identities,
            kept,
        }
    }

    /// Whether `reader` should read the document at `path`, by the topology alone.
    pub fn reads(&self, reader: &str, path: &RepoPath) -> bool {
        let places = self.topology.places(path);
        let mut readers = places.iter().flat_map(|p| self.topology.readers_of(p));
        readers.any(|r| r.name() == reader)
    }

    /// The one place of `path`.
    ///
    /// # Errors
    /// [`PlanProblem::Unplaced`], [`PlanProblem::Ambiguous`].
    pub fn place_of(&self, path: &RepoPath) -> Result<PlaceAccess, PlanProblem> {
        let places = self.topology.places(path);
        match places.as_slice() {
            [] => Err(PlanProblem::Unplaced { path: path.clone() }),
            [place] => Ok(PlaceAccess {
                name: place.title(),
                parties: self.parties(&self.topology.zones_of(place), place.file_set()),
            }),
            several => Err(PlanProblem::Ambiguous {
                path: path.clone(),
                places: several.iter().map(|p| p.title()).collect(),
            }),
        }
    }

    /// The identities that read the files of `files` in `zones`.
    pub fn parties(&self, zones: &[&Zone], files: &FileSet) -> Vec<Party> {
        let mut parties = Vec::new();
        for zone in zones {
            match zone.identity {
                IdentityScope::Zone => parties.extend(self.id_of(&Holder::Zone(zone.name.clone()))),
                IdentityScope::Host => {
                    for reader in readers_of(self.topology, &zone.name) {
                        let named = files.hosts.as_ref();
                        if named.is_none_or(|hosts| hosts.iter().any(|h| h == reader)) {
                            parties.extend(self.id_of(&Holder::Host(reader.to_owned())));
                        }
                    }
                }
            }
            for kept in self.kept {
                let named = files.hosts.as_ref();
                let reads = readers_of(self.topology, &zone.name).contains(&kept.reader.as_str())
                    && (zone.identity == IdentityScope::Zone
                        || named.is_none_or(|hosts| hosts.contains(&kept.reader)));
                if let Some(id) = kept.id.as_ref().filter(|id| reads && !parties.contains(id)) {
                    parties.push(id.clone());
                }
            }
        }
        parties.into_iter().map(Party::Identity).collect()
    }

    /// The ids that the reader `name` must hold.
    pub fn ids_of_reader(&self, name: &str) -> Vec<String> {
        let zone = zone_of_reader(self.topology, name);
        zone.map_or_else(Vec::new, |zone| {
            let holder = match zone.identity {
                IdentityScope::Zone => Holder::Zone(zone.name.clone()),
                IdentityScope::Host => Holder::Host(name.to_owned()),
            };
            self.id_of(&holder).into_iter().collect()
        })
    }

    fn id_of(&self, holder: &Holder) -> Option<String> {
        self.identities
            .iter()
            .find(|i| i.holder == *holder)
            .map(|i| i.id.clone())
    }
}

/// Who reads every document: operators, then recovery.
pub fn always(topology: &Topology) -> Vec<Party> {
    let operators = topology.operators.iter().flat_map(|operator| {
        operator.recipients.iter().map(|recipient| Party::Operator {
            name: operator.name.clone(),
            recipient: recipient.clone(),
        })
    });
    let recovery = topology
        .recovery
        .recipients
        .iter()
        .map(|recipient| Party::Recovery {
            recipient: recipient.clone(),
        });
    operators.chain(recovery).collect()
}

/// Everybody who should hold an identity, with the stem of its id; a zone without a reader gets none (protocol 5).
pub fn holders(topology: &Topology) -> Vec<(Holder, String)> {
    let mut holders = Vec::new();
    for zone in &topology.zones {
        let readers = readers_of(topology, &zone.name);
        match zone.identity {
            IdentityScope::Zone if readers.is_empty() => {}
            IdentityScope::Zone => {
                holders.push((Holder::Zone(zone.name.clone()), zone.name.clone()));
            }
            IdentityScope::Host => holders.extend(
                readers
                    .into_iter()
                    .map(|r| (Holder::Host(r.to_owned()), r.to_owned())),
            ),
        }
    }
    holders
}

/// The names of the hosts, then clusters, of a zone.
pub fn readers_of<'a>(topology: &'a Topology, zone: &str) -> Vec<&'a str> {
    let hosts = topology.hosts.iter().filter(|h| h.zone == zone);
    let clusters = topology.clusters.iter().filter(|c| c.zone == zone);
    hosts
        .map(|h| h.name.as_str())
        .chain(clusters.map(|c| c.name.as_str()))
        .collect()
}

/// The names of the readers that are to hold what `holder` holds; nobody's is what is shared.
pub fn readers_of_holder<'a>(topology: &'a Topology, holder: &'a Holder) -> Vec<&'a str> {
    match holder {
        Holder::Zone(zone) => readers_of(topology, zone),
        Holder::Host(host) => vec![host],
        Holder::Shared(_) => Vec::new(),
    }
}

/// The zone of the reader `name`; none if the topology knows no such reader.
pub fn zone_of_reader<'a>(topology: &'a Topology, name: &str) -> Option<&'a Zone> {
    let host = topology.hosts.iter().find(|h| h.name == name);
    let cluster = topology.clusters.iter().find(|c| c.name == name);
    let zone = host.map(|h| &h.zone).or(cluster.map(|c| &c.zone))?;
    topology.zones.iter().find(|z| z.name == *zone)
}
