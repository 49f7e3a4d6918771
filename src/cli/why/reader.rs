//! `why HOST`: a host or a cluster.

use crate::cli::error::CliError;
use crate::cli::why::{Scene, Why};
use crate::ledger::Holder;
use crate::plan::{access, adoption};
use crate::repo::scan::Scan;
use crate::sops::Document;
use crate::topology::{HostTarget, IdentityScope, Reader, Topology};

/// The reader of that name.
pub fn find<'a>(topology: &'a Topology, name: &str) -> Option<Reader<'a>> {
    let host = topology.host(name).map(Reader::Host);
    host.or_else(|| topology.cluster(name).map(Reader::Cluster))
}

pub fn why(scene: &Scene<'_>, reader: Reader<'_>) -> Result<Why, CliError> {
    let kind = match reader {
        Reader::Host(_) => "host",
        Reader::Cluster(_) => "cluster",
    };
    let mut why = Why {
        about: format!("{} ({kind} of zone {})", reader.name(), reader.zone()),
        ..Why::default()
    };
    place(reader, &mut why);
    let Some(topology) = scene.topology else {
        return Ok(why);
    };
    let is_own = access::zone_of_reader(topology, reader.name())
        .is_some_and(|zone| zone.identity == IdentityScope::Host);
    let holder = if is_own {
        Holder::Host(reader.name().to_owned())
    } else {
        Holder::Zone(reader.zone().to_owned())
    };
    let live = scene.ledger.live(&holder);
    match live {
        None => {
            let adopts = adoption::of(topology, scene.ledger, &holder);
            why.lacks(
                match adopts {
                    Some(recipient) => format!("{holder} has not adopted {recipient} yet"),
                    None => format!("{holder} has no identity yet"),
                },
                "cofferdam split, or cofferdam sync once the repository was split",
            );
        }
        Some(record) => {
            why.know(
                "identity",
                vec![format!(
                    "{} ({}, {})",
                    record.id, record.recipient, record.state
                )],
            );
            let receipt = record.receipts.iter().find(|r| r.reader == reader.name());
            match receipt {
                Some(receipt) => {
                    let how = match receipt.kind {
                        crate::ledger::ReceiptKind::Unwrapped => "opened a challenge",
                        crate::ledger::ReceiptKind::ReadBack => "what it holds was read back",
                        crate::ledger::ReceiptKind::Reconciled => "Flux applied what it decrypts",
                    };
                    why.know("shown", vec![format!("{how} on {}", receipt.at)]);
                }
                None if record.was_given_to(reader.name()) => why.lacks(
                    format!("it never showed that it opens what is for {}", record.id),
                    format!("cofferdam prove {}", reader.name()),
                ),
                None => why.lacks(
                    format!("{} was never delivered to it", record.id),
                    format!("cofferdam ship {}", reader.name()),
                ),
            }
        }
    }
    let old = scene
        .ledger
        .records()
        .iter()
        .filter(|r| !r.state.is_live() && r.was_given_to(reader.name()));
    why.know(
        "held once",
        old.map(|r| format!("{} ({})", r.id, r.state)).collect(),
    );
    let mut reads = Vec::new();
    for found in scan(scene)?.documents {
        let places = topology.places(&found.path);
        let readers = places.iter().flat_map(|place| topology.readers_of(place));
        if !readers.into_iter().any(|r| r.name() == reader.name()) {
            continue;
        }
        let path = found.path.clone();
        reads.push(path.as_str().to_owned());
        match Document::parse(found.store, found.source) {
            Err(error) => why.lacks(format!("{path}: {error}"), format!("git log -p -- {path}")),
            Ok(document) => {
                let recipient = live.map(|record| &record.recipient);
                if recipient.is_some_and(|r| !document.recipients().contains(&r)) {
                    why.lacks(format!("{path} is not encrypted to it"), "cofferdam sync");
                }
            }
        }
    }
    why.know("reads", reads);
    Ok(why)
}

fn scan(scene: &Scene<'_>) -> Result<Scan, CliError> {
    let git = crate::repo::Git::discover(scene.root);
    Ok(match git {
        Ok(git) => Scan::of_repository(&git)?,
        Err(_) => Scan::of_folder(scene.root)?,
    })
}

/// How it is reached and where its identity lies; entries that Flux would pass over.
fn place(reader: Reader<'_>, why: &mut Why) {
    match reader {
        Reader::Host(host) => {
            let target = match &host.target {
                HostTarget::Ssh(address) => format!("ssh {address}"),
                HostTarget::Local(folder) => format!("directory {folder}"),
            };
            why.know("reached by", vec![target]);
            why.know("key file", vec![host.identity_file.clone()]);
        }
        Reader::Cluster(cluster) => {
            let secrets = cluster.secrets.iter();
            why.know(
                "secrets",
                secrets
                    .map(|s| format!("{}/{}, entry {}", s.namespace, s.name, s.entry))
                    .collect(),
            );
            for secret in &cluster.secrets {
                // KSOPS reads one key file; Flux only entries with this ending.
                let is_read = secret.entry.ends_with(".agekey") || secret.entry == "keys.txt";
                if !is_read {
                    why.lacks(
                        format!(
                            "Flux does not read the entry {} of {}/{}: it does not end in .agekey",
                            secret.entry, secret.namespace, secret.name
                        ),
                        "name the entry NAME.agekey, in the Secret and in cofferdam.toml",
                    );
                }
            }
        }
    }
}
