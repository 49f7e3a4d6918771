//! Flux: which cluster decrypts which folders, and from which Secret.
//!
//! Source: fluxcd/kustomize-controller, docs/spec/v1/kustomizations.md (`spec.path`, `spec.decryption`; the Secret is
//! looked for in the Kustomization's namespace; every entry that ends in `.agekey` is imported).

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use crate::evidence::{
    ClusterEvidence, Decryption, Evidence, Origin, Reader, SecretEntry, Sources, is_below,
    parent_text, yaml,
};
use crate::repo_path::{RepoPath, resolve};
use crate::topology::NamespacedName;

const GROUP: &str = "kustomize.toolkit.fluxcd.io/";
const ENTRY: &str = "age.agekey";

/// A Flux Kustomization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kustomization {
    /// The cluster in whose folder it lies, if it lies in one's.
    pub cluster: Option<String>,
    /// Its name.
    pub name: String,
    /// Its namespace; its Secret is looked for there.
    pub namespace: String,
    /// The folder that it applies.
    pub path: String,
    /// The Secret with its identities, its own or by a patch.
    pub secret: Option<String>,
    /// Whether it decrypts, by itself or by a patch.
    pub decrypts: bool,
    /// Where it is declared.
    pub origin: Origin,
    /// The line of its name.
    pub line: usize,
}

/// The Kustomizations of the repository, with what patches add to them, each with the documents that it applies.
pub fn kustomizations(sources: &Sources) -> Vec<(Kustomization, BTreeSet<RepoPath>)> {
    let (mut found, patches) = read(sources, &mut Evidence::default());
    for one in &mut found {
        let patch = patches.get(&one.cluster).or_else(|| patches.get(&None));
        if let (None, Some((secret, _))) = (&one.secret, patch) {
            one.secret = Some(secret.clone());
            one.decrypts = true;
        }
    }
    let with_documents = |one: Kustomization| {
        let documents = documents_of(sources, &one.path);
        (one, documents)
    };
    found.into_iter().map(with_documents).collect()
}

/// Patches that add decryption to the Kustomizations of a cluster: Secret name by cluster.
type Patches = BTreeMap<Option<String>, (String, Origin)>;

fn read(sources: &Sources, evidence: &mut Evidence) -> (Vec<Kustomization>, Patches) {
    let mut kustomizations = Vec::new();
    let mut patches = Patches::new();
    for (file, text) in &sources.texts {
        let is_flux =
            text.contains(GROUP) || (text.contains("decryption") && text.contains("patch"));
        if !is_flux || !is_yaml(file) {
            continue;
        }
        let (documents, broken) = yaml::documents(text);
        if let Some(broken) = broken {
            evidence.note(file, format!("{broken}; skipped"));
        }
        for (line, value) in &documents {
            kustomizations.extend(kustomization(file, text, *line, value));
            if let Some(secret) = decryption_patch(value) {
                let line = yaml::line_of(text, *line, "decryption");
                patches
                    .entry(cluster_of(file))
                    .or_insert((secret, Origin::new(file, line)));
            }
        }
    }
    (kustomizations, patches)
}

pub(super) fn gather(sources: &Sources, evidence: &mut Evidence) {
    let (kustomizations, patches) = read(sources, evidence);
    let named: BTreeSet<String> = kustomizations
        .iter()
        .filter_map(|k| k.cluster.clone())
        .collect();
    let mut decryptions = Vec::new();
    for k in &kustomizations {
        let patch = patches.get(&k.cluster).or_else(|| patches.get(&None));
        if !k.decrypts && patch.is_none() {
            continue;
        }
        let (cluster, guessed) = match (&k.cluster, named.len()) {
            (Some(name), _) => (name.clone(), false),
            (None, 1) => (named.first().cloned().unwrap_or_default(), false),
            (None, _) => ("cluster".to_owned(), true),
        };
        let entry = evidence
            .clusters
            .entry(cluster.clone())
            .or_insert_with(|| ClusterEvidence {
                origin: k.origin.clone(),
                secrets: BTreeMap::new(),
                kustomizations: BTreeMap::new(),
                guessed,
            });
        let (secret, origin) = match (&k.secret, patch) {
            (Some(secret), _) => (Some(secret.clone()), k.origin.clone()),
            (None, Some((secret, origin))) => (Some(secret.clone()), origin.clone()),
            (None, None) => (None, k.origin.clone()),
        };
        // A name with a variable in it is made elsewhere.
        if let Some(name) = NamespacedName::parse(&format!("{}/{}", k.namespace, k.name)) {
            let place = Origin::new(&k.origin.file, k.line);
            entry
                .kustomizations
                .entry(name.to_string())
                .or_insert(place);
        }
        if let Some(name) = secret {
            decryptions.push(Decryption {
                namespace: k.namespace.clone(),
                secret: name.clone(),
                origin: origin.clone(),
            });
            let declared = declared_entry(sources, &name);
            let secret = SecretEntry {
                namespace: k.namespace.clone(),
                name,
                entry: declared.unwrap_or_else(|| ENTRY.to_owned()),
            };
            entry.secrets.entry(secret).or_insert(origin);
        }
        for document in documents_of(sources, &k.path) {
            evidence.read(
                &document,
                Reader::Cluster(cluster.clone()),
                k.origin.clone(),
            );
        }
    }
    evidence.decryptions.extend(decryptions);
    gather_secrets(sources, evidence);
}

/// `kind: Secret` documents under no Kustomization: of the cluster in whose folder they lie, else of the only one,
/// else, in doubt, of all.
fn gather_secrets(sources: &Sources, evidence: &mut Evidence) {
    let clusters: Vec<String> = evidence.clusters.keys().cloned().collect();
    for document in sources.documents.keys() {
        let text = sources.texts.get(document).map_or("", String::as_str);
        if evidence.is_claimed(document) || !text.lines().any(|l| l.trim_end() == "kind: Secret") {
            continue;
        }
        let line = yaml::line_of(text, 1, "kind: Secret");
        let origin = Origin::new(document, line);
        let own = cluster_of(document).filter(|c| clusters.contains(c));
        if let Some(cluster) = own {
            evidence.read(document, Reader::Cluster(cluster), origin);
        } else if let [only] = clusters.as_slice() {
            evidence.read(document, Reader::Cluster(only.clone()), origin);
        } else {
            let doubt = "no Kustomization names it, and there are several clusters";
            for cluster in &clusters {
                let reader = Reader::Cluster(cluster.clone());
                evidence.read_in_doubt(document, reader, origin.clone(), doubt);
            }
        }
    }
}

fn kustomization(file: &RepoPath, text: &str, line: usize, value: &Value) -> Option<Kustomization> {
    let is_flux = yaml::text_at(value, &["apiVersion"])?.starts_with(GROUP);
    if !is_flux || yaml::text_at(value, &["kind"])? != "Kustomization" {
        return None;
    }
    let path = yaml::text_at(value, &["spec", "path"]).unwrap_or("./");
    let name = yaml::text_at(value, &["metadata", "name"]).unwrap_or_default();
    let decryption = yaml::at(value, &["spec", "decryption"]);
    let sops = decryption.is_some_and(|d| yaml::text_at(d, &["provider"]) == Some("sops"));
    Some(Kustomization {
        cluster: cluster_of(file),
        namespace: yaml::text_at(value, &["metadata", "namespace"])
            .unwrap_or("flux-system")
            .to_owned(),
        line: yaml::line_of(text, line, &format!("name: {name}")),
        name: name.to_owned(),
        path: path.to_owned(),
        secret: decryption
            .and_then(|d| yaml::text_at(d, &["secretRef", "name"]))
            .map(str::to_owned),
        decrypts: sops,
        origin: Origin::new(file, yaml::line_of(text, line, path)),
    })
}

/// The Secret's name in a patch that adds `decryption` to Kustomizations, of a `kustomization.yaml` or a FluxInstance.
fn decryption_patch(value: &Value) -> Option<String> {
    let lists = [
        yaml::at(value, &["patches"]),
        yaml::at(value, &["spec", "patches"]),
        yaml::at(value, &["spec", "kustomize", "patches"]),
    ];
    let patches = lists
        .into_iter()
        .flatten()
        .filter_map(Value::as_sequence)
        .flatten();
    patches
        .filter_map(|p| yaml::text_at(p, &["patch"]))
        .filter(|text| text.contains("decryption"))
        .find_map(|text| secret_in_patch(&serde_yaml::from_str(text).ok()?))
}

fn secret_in_patch(patch: &Value) -> Option<String> {
    if let Some(operations) = patch.as_sequence() {
        return operations.iter().find_map(|operation| {
            let value = operation.get("value")?;
            let path = yaml::text_at(operation, &["path"])?;
            let name = match path {
                "/spec/decryption" => yaml::text_at(value, &["secretRef", "name"]),
                "/spec/decryption/secretRef" => yaml::text_at(value, &["name"]),
                "/spec/decryption/secretRef/name" => value.as_str(),
                _ => None,
            };
            name.map(str::to_owned)
        });
    }
    yaml::text_at(patch, &["spec", "decryption", "secretRef", "name"]).map(str::to_owned)
}

/// The documents below a Kustomization's path, and those that its `kustomization.yaml` files reach outside of it.
fn documents_of(sources: &Sources, path: &str) -> BTreeSet<RepoPath> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let root = match resolve(None, path.trim_start_matches('/')) {
        Ok(root) => root.as_str().to_owned(),
        Err(_) => String::new(),
    };
    let mut waiting = vec![root];
    while let Some(folder) = waiting.pop() {
        if !seen.insert(folder.clone()) {
            continue;
        }
        found.extend(
            sources
                .documents
                .keys()
                .filter(|d| is_below(d, &folder))
                .cloned(),
        );
        for file in sources
            .texts
            .keys()
            .filter(|f| is_kustomization(f) && is_below(f, &folder))
        {
            for reference in references(sources.texts.get(file).map_or("", String::as_str)) {
                let base = RepoPath::new(parent_text(file)).ok();
                let Ok(target) = resolve(base.as_ref(), &reference) else {
                    continue;
                };
                if sources.documents.contains_key(&target) {
                    found.insert(target);
                } else if !is_below(&target, &folder) && sources.has_folder(target.as_str()) {
                    waiting.push(target.as_str().to_owned());
                }
            }
        }
    }
    found
}

/// The paths that a `kustomization.yaml` refers to.
fn references(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, value) in yaml::documents(text).0 {
        for field in ["resources", "components", "bases", "generators"] {
            found.extend(yaml::texts(value.get(field)).into_iter().map(str::to_owned));
        }
        let items = |field: &str| value.get(field).and_then(Value::as_sequence).cloned();
        for patch in items("patches").into_iter().flatten() {
            found.extend(yaml::text_at(&patch, &["path"]).map(str::to_owned));
        }
        for generator in items("secretGenerator").into_iter().flatten() {
            for field in ["files", "envs", "env"] {
                for entry in yaml::texts(generator.get(field)) {
                    let path = entry.rsplit_once('=').map_or(entry, |(_, p)| p);
                    found.push(path.to_owned());
                }
            }
        }
    }
    found.retain(|r| !r.contains("://"));
    found
}

/// The entry ending in `.agekey` that a manifest in the repository gives the Secret `name`; its keys stand unencrypted.
fn declared_entry(sources: &Sources, name: &str) -> Option<String> {
    let texts = sources
        .texts
        .iter()
        .filter(|(f, t)| is_yaml(f) && t.contains(".agekey"));
    for (_, text) in texts {
        for (_, value) in yaml::documents(text).0 {
            let is_it = yaml::text_at(&value, &["kind"]) == Some("Secret")
                && yaml::text_at(&value, &["metadata", "name"]) == Some(name);
            if !is_it {
                continue;
            }
            for field in ["stringData", "data"] {
                let keys = value
                    .get(field)
                    .and_then(Value::as_mapping)
                    .into_iter()
                    .flatten();
                let mut keys = keys.filter_map(|(k, _)| k.as_str());
                if let Some(entry) = keys.find(|k| k.ends_with(".agekey")) {
                    return Some(entry.to_owned());
                }
            }
        }
    }
    None
}

/// The folder under `clusters/` in which a file lies.
fn cluster_of(file: &RepoPath) -> Option<String> {
    let parts: Vec<&str> = file.as_str().split('/').collect();
    let index = parts.iter().position(|p| *p == "clusters")?;
    // The last part is the file itself.
    parts
        .get(index + 1)
        .filter(|_| index + 2 < parts.len())
        .map(|p| (*p).to_owned())
}

fn is_kustomization(file: &RepoPath) -> bool {
    matches!(
        file.file_name(),
        "kustomization.yaml" | "kustomization.yml" | "Kustomization"
    )
}

fn is_yaml(file: &RepoPath) -> bool {
    file.as_str().ends_with(".yaml") || file.as_str().ends_with(".yml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{readers, sources};

    const SECRET: &str = "apiVersion: v1\nkind: Secret\nstringData:\n    a: ENC[x]\n";

    fn ks(path: &str, decryption: &str) -> String {
        format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: a\n  namespace: flux\nspec:\n  path: {path}\n{decryption}"
        )
    }

    const SOPS: &str = "  decryption:\n    provider: sops\n    secretRef:\n      name: age-key\n";

    fn gathered(files: &[(&str, &str)]) -> Evidence {
        let mut evidence = Evidence::default();
        gather(&sources(files), &mut evidence);
        evidence
    }

    fn cluster(name: &str) -> Reader {
        Reader::Cluster(name.to_owned())
    }

    #[test]
    fn paths_with_decryption_belong_to_their_cluster() {
        let evidence = gathered(&[
            ("k/clusters/one/a.yaml", &ks("./k/apps/one", SOPS)),
            ("k/clusters/two/a.yaml", &ks("./k/apps/two", SOPS)),
            (
                "k/apps/one/kustomization.yaml",
                "resources: [../base, x.yaml]\n",
            ),
            ("k/apps/one/x.yaml", SECRET),
            ("k/apps/two/y.yaml", SECRET),
            ("k/apps/base/b.yaml", SECRET),
            ("k/apps/other/z.yaml", SECRET),
            ("k/clusters/one/own.yaml", SECRET),
            (
                "boot/sops.yaml",
                "kind: Secret\nmetadata: {name: age-key}\nstringData:\n  main.agekey: ENC[x]\n",
            ),
        ]);
        assert_eq!(readers(&evidence, "k/apps/one/x.yaml"), [cluster("one")]);
        assert_eq!(readers(&evidence, "k/apps/base/b.yaml"), [cluster("one")]);
        assert_eq!(readers(&evidence, "k/apps/two/y.yaml"), [cluster("two")]);
        assert_eq!(
            readers(&evidence, "k/clusters/one/own.yaml"),
            [cluster("one")]
        );
        assert_eq!(
            readers(&evidence, "k/apps/other/z.yaml"),
            [cluster("one"), cluster("two")]
        );
        let kustomizations = &evidence.clusters["one"].kustomizations;
        let (name, origin) = kustomizations.first_key_value().unwrap();
        assert_eq!(
            (name.as_str(), origin.to_string().as_str()),
            ("flux/a", "k/clusters/one/a.yaml:4")
        );
        let secrets: Vec<_> = evidence.clusters["one"].secrets.keys().cloned().collect();
        assert_eq!(
            secrets,
            [SecretEntry {
                namespace: "flux".into(),
                name: "age-key".into(),
                entry: "main.agekey".into()
            }]
        );
    }

    #[test]
    fn a_patch_adds_decryption_to_all() {
        let patch = "patches:\n  - target: {kind: Kustomization}\n    patch: |\n      - op: add\n        path: /spec/decryption\n        \
                     value:\n          provider: sops\n          secretRef: {name: sops-age}\n";
        let evidence = gathered(&[
            ("clusters/a/flux-system/kustomization.yaml", patch),
            ("clusters/a/apps.yaml", &ks("./apps", "")),
            ("apps/s.yaml", SECRET),
        ]);
        assert_eq!(readers(&evidence, "apps/s.yaml"), [cluster("a")]);
        let (secret, origin) = evidence.clusters["a"].secrets.first_key_value().unwrap();
        assert_eq!(
            (secret.name.as_str(), secret.entry.as_str()),
            ("sops-age", "age.agekey")
        );
        assert_eq!(
            origin.file.as_str(),
            "clusters/a/flux-system/kustomization.yaml"
        );
    }

    #[test]
    fn without_decryption_a_path_says_nothing_and_broken_files_are_notes() {
        let evidence = gathered(&[
            ("clusters/a/apps.yaml", &ks("./apps", "")),
            (
                "clusters/a/broken.yaml",
                "apiVersion: kustomize.toolkit.fluxcd.io/v1\nspec: [\n",
            ),
            ("apps/s.yaml", SECRET),
        ]);
        assert!(evidence.clusters.is_empty() && evidence.readings.is_empty());
        assert_eq!(evidence.notes.len(), 1);
    }
}
