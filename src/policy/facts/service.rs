//! Facts about services of compose files, and about images.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::services::{NamedImage, Service, images};
use crate::policy::facts::{Material, Record, facts, number};

facts! {
    /// A service of a compose file.
    Service ServiceFacts {
        /// Its name.
        name: String,
        /// Its image; empty if it is built.
        image: String,
        /// The names of the variables that it is given, also those that are encrypted.
        variables: Vec<String>,
        /// Its variables as `NAME=value`, those whose value stands in the clear.
        environment: Vec<String>,
        /// The words of its entrypoint and command, in lower case.
        command: Vec<String>,
        /// Its labels as `key=value`, in lower case.
        labels: Vec<String>,
        /// The ports of the host that others than the host itself reach.
        open_ports: Vec<String>,
        /// The container's ports behind them.
        open_targets: Vec<String>,
        /// Whether anything about it, or a configuration beside its compose file, speaks of a redirection to HTTPS.
        redirects: bool,
        /// Routers of Traefik, by its labels, that lead to the dashboard without a middleware.
        open_dashboards: Vec<String>,
        /// Whether it is a backup, by its name or its image.
        is_backup: bool,
        /// What about it names a place elsewhere: variables, words of its command.
        offsite_hints: Vec<String>,
    }
}

facts! {
    /// An image.
    Image ImageFacts {
        /// The image as it is named.
        name: String,
        /// The same without tag and digest.
        repository: String,
        /// The tag; empty if there is none.
        tag: String,
        /// Whether a digest pins it.
        has_digest: bool,
        /// How many times it is named.
        uses: i64,
        /// Of the first of its repository's images: all tags under which the repository is named here, if they are written out.
        tags: Vec<String>,
        /// Whether it is the first, by tag, of its repository's images.
        is_first_of_repository: bool,
    }
}

/// Programs that make backups.
const BACKUPS: [&str; 9] = [
    "backup",
    "restic",
    "borg",
    "kopia",
    "duplicati",
    "duplicity",
    "autorestic",
    "velero",
    "snapshotter",
];
/// Parts of variables and words that name a place elsewhere.
const OFFSITE: [&str; 13] = [
    "s3", "b2_", "b2:", "rclone", "sftp", "ssh", "aws_", "azure", "gcs", "webdav", "minio",
    "rest:", "remote",
];

pub(super) fn records(material: &Material<'_>, services: &[Service]) -> Vec<Record> {
    let mut records: Vec<Record> = services
        .iter()
        .map(|one| {
            let origin = &one.origin;
            let file = origin.file.as_str().to_owned();
            service(material, one).record(Some(file), Some(origin.line))
        })
        .collect();
    records.extend(image_records(&images(material.sources, services)));
    records
}

fn service(material: &Material<'_>, one: &Service) -> ServiceFacts {
    let lower =
        |texts: &[String]| -> Vec<String> { texts.iter().map(|t| t.to_lowercase()).collect() };
    let variables: Vec<String> = one
        .environment
        .iter()
        .map(|variable| variable.split('=').next().unwrap_or_default().to_owned())
        .collect();
    let open = one.ports.iter().filter(|port| port.is_open());
    let is_backup = |text: &str| {
        let text = text.to_lowercase();
        BACKUPS.iter().any(|word| text.contains(word))
    };
    let names_offsite = |text: &str| {
        let text = text.to_lowercase();
        OFFSITE.iter().any(|hint| text.contains(hint))
    };
    // Of a variable the name alone: what it is set to is nobody's business here.
    let hints = one.environment.iter().zip(&variables);
    let hints = hints
        .filter(|(whole, _)| names_offsite(whole))
        .map(|(_, name)| name);
    let words = one.command.iter().filter(|word| names_offsite(word));
    ServiceFacts {
        name: one.name.clone(),
        image: one.image.clone(),
        environment: one
            .environment
            .iter()
            .filter(|v| v.contains('='))
            .cloned()
            .collect(),
        command: lower(&one.command),
        labels: lower(&one.labels),
        open_ports: open.clone().map(|port| port.published.clone()).collect(),
        open_targets: open.map(|port| port.target.clone()).collect(),
        redirects: redirects(material, one),
        open_dashboards: open_dashboards(&lower(&one.labels)),
        is_backup: is_backup(&one.name) || is_backup(&one.image),
        offsite_hints: hints.chain(words).cloned().collect(),
        variables,
    }
}

/// Whether the service, or a YAML or TOML file in or below the folder of its compose file, speaks of a redirection.
fn redirects(material: &Material<'_>, one: &Service) -> bool {
    let speaks = |text: &str| {
        let text = text.to_lowercase();
        text.contains("redirections")
            || text.contains("redirectscheme")
            || text.contains("redirect-to-https")
    };
    let own = one
        .command
        .iter()
        .chain(&one.labels)
        .chain(&one.environment);
    if own.into_iter().any(|text| speaks(text)) {
        return true;
    }
    let Some(folder) = one.origin.file.parent() else {
        return material
            .sources
            .texts
            .get(&one.origin.file)
            .is_some_and(|t| speaks(t));
    };
    // Paths are sorted: those inside stand together.
    let inside = format!("{folder}/");
    let from = material.sources.texts.range(folder..);
    let mut near = from
        .skip_while(|(path, _)| !path.as_str().starts_with(&inside))
        .take_while(|(path, _)| path.as_str().starts_with(&inside));
    near.any(|(_, text)| speaks(text))
}

/// Routers that lead to `api@internal` without a middleware.
fn open_dashboards(labels: &[String]) -> Vec<String> {
    let router = |label: &String| {
        let (key, value) = label.split_once('=')?;
        let name = key
            .strip_prefix("traefik.http.routers.")?
            .strip_suffix(".service")?;
        (value == "api@internal").then(|| name.to_owned())
    };
    let is_open = |name: &String| {
        let guard = format!("traefik.http.routers.{name}.middlewares=");
        !labels
            .iter()
            .any(|label| label.starts_with(&guard) && label.len() > guard.len())
    };
    labels.iter().filter_map(router).filter(is_open).collect()
}

fn image_records(images: &[NamedImage]) -> Vec<Record> {
    let mut by_name: BTreeMap<&str, Vec<&NamedImage>> = BTreeMap::new();
    let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for image in images {
        by_name.entry(&image.name).or_default().push(image);
        // A variable's value is known to nobody here.
        if !image.tag().is_empty() && !image.tag().contains('$') {
            tags.entry(image.repository())
                .or_default()
                .insert(image.tag());
        }
    }
    let record = |(name, places): (&str, Vec<&NamedImage>)| {
        let first = places.first()?;
        let known = tags.get(first.repository());
        let is_first = known.is_some_and(|known| known.first() == Some(&first.tag()));
        // Told once: every image with every tag would be many.
        let known = known.filter(|_| is_first).into_iter().flatten();
        let facts = ImageFacts {
            name: name.to_owned(),
            repository: first.repository().to_owned(),
            tag: first.tag().to_owned(),
            has_digest: first.has_digest(),
            uses: number(places.len()),
            tags: known.map(|tag| (*tag).to_owned()).collect(),
            is_first_of_repository: is_first,
        };
        let origin = &first.origin;
        Some(facts.record(Some(origin.file.as_str().to_owned()), Some(origin.line)))
    };
    by_name.into_iter().filter_map(record).collect()
}
