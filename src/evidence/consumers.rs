//! What takes a document's values at run time: compose services and Kubernetes workloads, by name, for people.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use crate::evidence::{Sources, compose, parent_text, plaintext, yaml};
use crate::repo_path::{RepoPath, resolve};

/// What a workload calls the Secret that it takes values from: the key that holds the name, and the key within it, if any.
const REFERENCES: [(&str, Option<&str>); 7] = [
    ("secretName", None),
    ("existingSecret", None),
    ("secretRef", Some("name")),
    ("secretKeyRef", Some("name")),
    ("imagePullSecrets", Some("name")),
    ("apiTokenSecretRef", Some("name")),
    ("objectStorageConfig", Some("name")),
];

/// What takes the values of each document, as far as files say.
pub fn consumers(sources: &Sources) -> BTreeMap<RepoPath, BTreeSet<String>> {
    let mut found: BTreeMap<RepoPath, BTreeSet<String>> = BTreeMap::new();
    let mut secrets: Vec<(String, Option<String>, &RepoPath)> = Vec::new();
    let mut manifests: Vec<(&RepoPath, Value)> = Vec::new();
    for (path, text) in &sources.texts {
        let name = path.file_name();
        if !name.ends_with(".yaml") && !name.ends_with(".yml") {
            continue;
        }
        for (_, value) in yaml::documents(text).0 {
            if sources.documents.contains_key(path) {
                if value.get("kind").and_then(Value::as_str) == Some("Secret")
                    && let Some(name) = yaml::text_at(&value, &["metadata", "name"])
                {
                    let namespace = yaml::text_at(&value, &["metadata", "namespace"]);
                    secrets.push((name.to_owned(), namespace.map(str::to_owned), path));
                }
            } else if compose::is_compose(path) {
                of_compose(sources, path, &value, &mut found);
            } else if value.get("kind").is_some() {
                manifests.push((path, value));
            }
        }
    }
    for (_, manifest) in &manifests {
        let mut names = BTreeSet::new();
        references(manifest, &mut names);
        let namespace = yaml::text_at(manifest, &["metadata", "namespace"]);
        let kind = yaml::text_at(manifest, &["kind"]).unwrap_or_default();
        let name = yaml::text_at(manifest, &["metadata", "name"]).unwrap_or_default();
        for (secret, of, path) in &secrets {
            let is_elsewhere = namespace.is_some() && of.is_some() && namespace != of.as_deref();
            if names.contains(secret.as_str()) && !is_elsewhere {
                found
                    .entry((*path).clone())
                    .or_default()
                    .insert(format!("{kind} {name}"));
            }
        }
    }
    found
}

fn of_compose(
    sources: &Sources,
    path: &RepoPath,
    value: &Value,
    found: &mut BTreeMap<RepoPath, BTreeSet<String>>,
) {
    let Some(Value::Mapping(services)) = value.get("services") else {
        return;
    };
    let folder = RepoPath::new(parent_text(path)).ok();
    for (name, service) in services {
        let name = name.as_str().unwrap_or_default();
        let files = match service.get("env_file") {
            Some(Value::Sequence(many)) => many.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        for file in files {
            let file = file.as_str().or_else(|| yaml::text_at(file, &["path"]));
            let file = file.and_then(|file| resolve(folder.as_ref(), file).ok());
            let document = file.and_then(|file| plaintext::source_of(sources, &file).cloned());
            if let Some(document) = document {
                found
                    .entry(document)
                    .or_default()
                    .insert(format!("compose service {name}"));
            }
        }
    }
}

/// The names of all Secrets that a manifest refers to, wherever it does.
fn references<'a>(value: &'a Value, names: &mut BTreeSet<&'a str>) {
    match value {
        Value::Mapping(mapping) => {
            for (key, below) in mapping {
                for (reference, within) in REFERENCES {
                    if key.as_str() != Some(reference) {
                        continue;
                    }
                    let entries = match below {
                        Value::Sequence(many) => many.iter().collect(),
                        one => vec![one],
                    };
                    for entry in entries {
                        let name = match within {
                            Some(within) => entry.get(within),
                            None => Some(entry),
                        };
                        names.extend(name.and_then(Value::as_str));
                    }
                }
                references(below, names);
            }
            // Flux's `valuesFrom`, cert-manager's and others' references by kind.
            if mapping.get("kind").and_then(Value::as_str) == Some("Secret") {
                names.extend(mapping.get("name").and_then(Value::as_str));
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{path, sources};

    #[test]
    fn services_and_workloads_are_named() {
        let secret = "kind: Secret\nmetadata: {name: db, namespace: a}\ndata: {x: 'ENC[]'}\n";
        let sources = sources(&[
            ("s/.sops.env", "A=ENC[]"),
            (
                "s/compose.yaml",
                "services:\n  web:\n    env_file: .env\n  job:\n    env_file: [{path: .env}]\n  other: {}\n",
            ),
            ("k/db-secret.yaml", secret),
            (
                "k/app.yaml",
                "kind: Deployment\nmetadata: {name: app, namespace: a}\nspec:\n  env:\n    - valueFrom: {secretKeyRef: {name: db}}\n---\nkind: Job\nmetadata: {name: far, namespace: b}\nspec: {volumes: [{secret: {secretName: db}}]}\n---\nkind: HelmRelease\nmetadata: {name: chart}\nspec: {valuesFrom: [{kind: Secret, name: db}]}\n",
            ),
        ]);
        let found = consumers(&sources);
        let of = |p: &str| {
            found[&path(p)]
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert_eq!(
            of("s/.sops.env"),
            "compose service job, compose service web"
        );
        assert_eq!(of("k/db-secret.yaml"), "Deployment app, HelmRelease chart");
    }
}
