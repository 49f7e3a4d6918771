//! Facts about the hosts, clusters and zones of `cofferdam.toml`.

use crate::policy::facts::{Material, Record, facts, number};
use crate::topology::{HostTarget, IdentityScope, Reader};

facts! {
    /// A host or cluster.
    Host HostFacts {
        /// Its name.
        name: String,
        /// Its zone.
        zone: String,
        /// Whether it is a cluster.
        is_cluster: bool,
        /// Whether a directory stands in its place.
        is_local: bool,
        /// Whether it declares the folders that show what it has deployed.
        has_clones: bool,
        /// The path of its identity file; empty for a cluster.
        identity_file: String,
    }
}

facts! {
    /// A zone.
    Zone ZoneFacts {
        /// Its name.
        name: String,
        /// Its hosts and clusters.
        readers: Vec<String>,
        /// How many documents it reads, shared ones included.
        documents: i64,
        /// After how many days its rotation is due; 0: never.
        max_age_days: i64,
        /// Whether each of its hosts has an identity of its own.
        has_host_identities: bool,
    }
}

pub(super) fn records(material: &Material<'_>) -> Vec<Record> {
    let Some(topology) = material.topology else {
        return Vec::new();
    };
    let at = |section: &str, name: &str| {
        let plain = format!("[{section}.{name}]");
        let quoted = format!("[{section}.\"{name}\"]");
        let line = Material::line_in(material.topology_text, &plain);
        line.or_else(|| Material::line_in(material.topology_text, &quoted))
    };
    let file = || Some("cofferdam.toml".to_owned());
    let mut records = Vec::new();
    let hosts = topology.hosts.iter().map(Reader::Host);
    for reader in hosts.chain(topology.clusters.iter().map(Reader::Cluster)) {
        let (facts, line) = match reader {
            Reader::Host(host) => (
                HostFacts {
                    is_local: matches!(host.target, HostTarget::Local(_)),
                    has_clones: !host.clones.is_empty(),
                    identity_file: host.identity_file.clone(),
                    ..HostFacts::default()
                },
                at("hosts", &host.name),
            ),
            Reader::Cluster(cluster) => {
                let is_local = matches!(cluster.target, crate::topology::ClusterTarget::Local(_));
                let facts = HostFacts {
                    is_cluster: true,
                    is_local,
                    ..HostFacts::default()
                };
                (facts, at("clusters", &cluster.name))
            }
        };
        let facts = HostFacts {
            name: reader.name().to_owned(),
            zone: reader.zone().to_owned(),
            ..facts
        };
        records.push(facts.record(file(), line));
    }
    for zone in &topology.zones {
        let reads = |path| {
            let places = topology.places(path);
            places
                .iter()
                .any(|p| p.zone_names().contains(&zone.name.as_str()))
        };
        let facts = ZoneFacts {
            name: zone.name.clone(),
            readers: topology
                .readers(&zone.name)
                .iter()
                .map(|r| r.name().to_owned())
                .collect(),
            documents: number(
                material
                    .documents
                    .iter()
                    .filter(|(path, _)| reads(path))
                    .count(),
            ),
            max_age_days: zone.max_age.map_or(0, |age| age.as_hours() / 24),
            has_host_identities: zone.identity == IdentityScope::Host,
        };
        records.push(facts.record(file(), at("zones", &zone.name)));
    }
    records
}
