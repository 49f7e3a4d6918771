//! Mistakes that show only when everything has been read: names that do not exist, recipients in two roles.

use std::collections::HashMap;

use super::{Reader, Spot};
use crate::keys::Recipient;
use crate::topology::closest::closest;
use crate::topology::problem::quoted;
use crate::topology::{FileSet, IdentityScope, Topology};

pub(super) fn check(topology: &Topology, reader: &Reader<'_>) {
    let checker = Checker { topology, reader };
    checker.zone_names();
    checker.file_hosts();
    checker.order();
    checker.twins();
    checker.adoption();
    checker.roles();
}

struct Checker<'a> {
    topology: &'a Topology,
    reader: &'a Reader<'a>,
}

impl Checker<'_> {
    fn zone_names(&self) {
        let hosts = self.topology.hosts.iter();
        let clusters = self.topology.clusters.iter();
        for host in hosts {
            self.zone_exists("host", &host.name, &host.zone);
        }
        for cluster in clusters {
            self.zone_exists("cluster", &cluster.name, &cluster.zone);
        }
        for shared in &self.topology.shared {
            for (at, zone) in shared.zones.iter().enumerate() {
                self.zone_exists("shared entry", &shared.name, zone);
                if shared.zones[..at].contains(zone) {
                    let message = format!(
                        "shared entry {} names zone {} twice",
                        shared.name,
                        quoted(zone)
                    );
                    self.note(
                        "shared entry",
                        &shared.name,
                        zone,
                        message,
                        "remove one".to_owned(),
                    );
                }
            }
        }
    }

    fn zone_exists(&self, kind: &'static str, name: &str, zone: &str) {
        if zone.is_empty() || self.topology.zone(zone).is_some() {
            return;
        }
        let known: Vec<&str> = self
            .topology
            .zones
            .iter()
            .map(|z| z.name.as_str())
            .collect();
        let message = format!(
            "{kind} {name} names the zone {}, which does not exist",
            quoted(zone)
        );
        self.note(kind, name, zone, message, suggestion(zone, &known));
    }

    fn note(&self, kind: &'static str, name: &str, mention: &str, message: String, hint: String) {
        let spot = Spot::Mention(kind, name.to_owned(), mention.to_owned());
        self.reader
            .findings
            .add(self.reader.place(&spot), message, Some(hint));
    }

    /// The `hosts` of a file set are readers of its zones.
    fn file_hosts(&self) {
        for zone in &self.topology.zones {
            self.hosts_of_sets("zone", &zone.name, &[zone.name.as_str()], &zone.files);
        }
        for shared in &self.topology.shared {
            let zones: Vec<&str> = shared.zones.iter().map(String::as_str).collect();
            self.hosts_of_sets("shared entry", &shared.name, &zones, &shared.files);
        }
    }

    fn hosts_of_sets(&self, kind: &'static str, name: &str, zones: &[&str], sets: &[FileSet]) {
        let readers: Vec<&str> = zones
            .iter()
            .flat_map(|zone| self.topology.readers(zone))
            .map(|reader| reader.name())
            .collect();
        for host in sets.iter().filter_map(|set| set.hosts.as_ref()).flatten() {
            if !readers.contains(&host.as_str()) {
                let message = format!("{kind} {name}: {} is not one of its readers", quoted(host));
                self.note(kind, name, host, message, suggestion(host, &readers));
            }
        }
    }

    fn order(&self) {
        let hosts = self.topology.hosts.iter().map(|host| host.name.as_str());
        let clusters = self.topology.clusters.iter().map(|c| c.name.as_str());
        let mut known: Vec<&str> = hosts.chain(clusters).collect();
        let publish = &self.topology.publish;
        self.all_known("publish", "canary", &publish.canary, &known);
        self.all_known("gate", "except", &self.topology.gate.except, &known);
        known.extend(self.topology.zones.iter().map(|zone| zone.name.as_str()));
        self.all_known("publish", "order", &publish.order, &known);
    }

    fn all_known(&self, section: &'static str, key: &str, names: &[String], known: &[&str]) {
        for name in names {
            if !known.contains(&name.as_str()) {
                let message = format!(
                    "[{section}]: {key} names {}, which does not exist",
                    quoted(name)
                );
                self.note(section, key, name, message, suggestion(name, known));
            }
        }
    }

    /// Names that would be told apart by nothing in a plan.
    fn twins(&self) {
        let zones = &self.topology.zones;
        for shared in &self.topology.shared {
            if zones.iter().any(|zone| zone.name == shared.name) {
                self.twin("shared entry", &shared.name, "zone");
            }
        }
        for cluster in &self.topology.clusters {
            if self.topology.host(&cluster.name).is_some() {
                self.twin("cluster", &cluster.name, "host");
            }
        }
    }

    fn twin(&self, kind: &'static str, name: &str, other: &str) {
        let at = self.reader.place(&Spot::Entry(kind, name.to_owned()));
        let message = format!("{kind} {name} has the name of a {other}");
        let hint = "rename one of them".to_owned();
        self.reader.findings.add(at, message, Some(hint));
    }

    /// Whoever adopts an identity, and which.
    fn adopted(&self) -> impl Iterator<Item = (String, &[Recipient])> {
        let adopted = self.topology.adopted().into_iter();
        adopted.map(|(kind, name, recipient)| {
            (format!("{kind} {name}"), std::slice::from_ref(recipient))
        })
    }

    /// An identity is adopted where one is wanted: by the zone, or by each of its readers. A zone whose last reader was
    /// revoked may still name one; it is nobody's then.
    fn adoption(&self) {
        for zone in &self.topology.zones {
            let readers = self.topology.readers(&zone.name);
            match zone.identity {
                IdentityScope::Zone => {
                    for reader in readers.iter().filter(|r| r.adopt().is_some()) {
                        let message = format!(
                            "{} adopts an identity of its own in zone {}, which has one for all",
                            reader.name(),
                            zone.name
                        );
                        let hint = format!(
                            "write it in [zones.{0}], or identity = \"host\" there",
                            zone.name
                        );
                        self.misplaced_adoption(reader.title(), message, hint);
                    }
                }
                IdentityScope::Host if zone.adopt.is_some() => {
                    let message = format!(
                        "zone {} adopts one identity, and each of its readers has one",
                        zone.name
                    );
                    let hint = "write each in the section of its host".to_owned();
                    self.misplaced_adoption(format!("zone {}", zone.name), message, hint);
                }
                IdentityScope::Host => {}
            }
        }
    }

    fn misplaced_adoption(&self, holder: String, message: String, hint: String) {
        let at = self.reader.place(&Spot::Recipient(holder, 0));
        self.reader.findings.add(at, message, Some(hint));
    }

    /// No recipient in two roles, and none twice.
    fn roles(&self) {
        let recovery = ("recovery".to_owned(), &self.topology.recovery.recipients);
        let operators = self.topology.operators.iter();
        let holders = operators.map(|o| (format!("operator {}", o.name), &o.recipients));
        let mut seen: HashMap<&str, String> = HashMap::new();
        let always = std::iter::once(recovery).chain(holders);
        let always = always.map(|(holder, recipients)| (holder, recipients.as_slice()));
        for (holder, recipients) in always.chain(self.adopted()) {
            for (at, recipient) in recipients.iter().enumerate() {
                let Some(first) = seen.insert(recipient.key(), holder.clone()) else {
                    continue;
                };
                let place = self.reader.place(&Spot::Recipient(holder.clone(), at));
                let (message, hint) = if first == holder {
                    (
                        format!("{holder}: {} is there twice", recipient.short()),
                        "remove one",
                    )
                } else {
                    (
                        format!("{} is both {first} and {holder}", recipient.short()),
                        "each holder needs an identity of its own: age-keygen makes one",
                    )
                };
                self.reader
                    .findings
                    .add(place, message, Some(hint.to_owned()));
            }
        }
    }
}

fn suggestion(name: &str, known: &[&str]) -> String {
    match closest(name, known.iter().copied()) {
        Some(known) => format!("did you mean {known}?"),
        None if known.is_empty() => "there is none yet".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    }
}
