//! Facts about the repository as a whole.

use crate::keys::Recipient;
use crate::policy::facts::{Material, Record, facts, number};

facts! {
    /// The repository as a whole.
    Repository RepositoryFacts {
        /// How many SOPS documents there are.
        documents: i64,
        /// How many distinct age recipients they have.
        recipients: i64,
        /// The recipient under which alone every document is, if there are several documents and it is the same one.
        only_recipient: String,
        /// The documents that no recovery recipient opens; without `cofferdam.toml` those with a single recipient.
        without_recovery: Vec<String>,
        /// The recovery drills that are due, a sentence each.
        drills_due: Vec<String>,
        /// Whether a `.sops.yaml` stands at the root.
        has_rules: bool,
        /// Every other `.sops.yaml`, in folders below.
        nested_rules: Vec<String>,
        /// Whether there is a usable `cofferdam.toml`.
        has_topology: bool,
        /// The submodules, and repositories inside this one; they are not looked into.
        submodules: Vec<String>,
        /// Whether there is a workflow of a CI service that is known by its place: GitHub, GitLab, Forgejo, Gitea and others.
        has_ci: bool,
    }
}

/// Where CI services look for their workflows.
const CI_FILES: [&str; 8] = [
    ".gitlab-ci.yml",
    ".drone.yml",
    ".woodpecker.yml",
    ".woodpecker.yaml",
    "Jenkinsfile",
    "azure-pipelines.yml",
    ".circleci/config.yml",
    ".travis.yml",
];
const CI_FOLDERS: [&str; 5] = [
    ".github/workflows/",
    ".forgejo/workflows/",
    ".gitea/workflows/",
    ".woodpecker/",
    ".buildkite/",
];

pub(super) fn record(material: &Material<'_>) -> Record {
    let documents = material.documents;
    let mut recipients: Vec<&Recipient> = Vec::new();
    for recipient in documents
        .iter()
        .flat_map(|(_, document)| document.recipients())
    {
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    let only = match recipients.as_slice() {
        [only] if documents.len() > 1 => {
            let has_others = documents
                .iter()
                .any(|(_, d)| !d.foreign_entries().is_empty());
            if has_others {
                String::new()
            } else {
                material.name_of(only)
            }
        }
        _ => String::new(),
    };
    let recovery = material.topology.map(|t| t.recovery.recipients.as_slice());
    let lacks_recovery = |document: &crate::sops::Document| {
        let own = document.recipients();
        match recovery {
            Some(recovery) => !recovery.iter().any(|r| own.contains(&r)),
            None => own.len() + document.foreign_entries().len() == 1,
        }
    };
    let paths = &material.sources.paths;
    let nested = material.rules.iter().map(|(path, _)| path.as_str());
    let facts = RepositoryFacts {
        documents: number(documents.len()),
        recipients: number(recipients.len()),
        only_recipient: only,
        without_recovery: documents
            .iter()
            .filter(|(_, document)| lacks_recovery(document))
            .map(|(path, _)| path.as_str().to_owned())
            .collect(),
        drills_due: material.drills.to_vec(),
        has_rules: paths.iter().any(|p| p.as_str() == ".sops.yaml"),
        nested_rules: nested
            .filter(|p| *p != ".sops.yaml")
            .map(str::to_owned)
            .collect(),
        has_topology: material.topology.is_some(),
        submodules: material.submodules.to_vec(),
        has_ci: paths.iter().any(|path| {
            let path = path.as_str();
            CI_FILES.contains(&path) || CI_FOLDERS.iter().any(|folder| path.starts_with(folder))
        }),
    };
    facts.record(None, None)
}
