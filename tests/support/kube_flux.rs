//! The double's Kustomizations and GitRepositories: what `kubectl` needs to read and annotate them. No controller works on them;
//! tests say what one would have written.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    dead_code,
    reason = "a test may fail where it stands, and uses what it needs"
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kube_objects::{Refusal, merge};

/// A group, its version, a plural and a kind.
const KINDS: [(&str, &str, &str); 2] = [
    (
        "kustomize.toolkit.fluxcd.io",
        "kustomizations",
        "Kustomization",
    ),
    (
        "source.toolkit.fluxcd.io",
        "gitrepositories",
        "GitRepository",
    ),
];

/// The objects, and what is not allowed.
#[derive(Default)]
pub struct Flux {
    /// By plural, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    /// The server knows nothing of Flux.
    pub is_absent: bool,
    /// Verbs that the token has no right to.
    pub denied: Vec<&'static str>,
}

impl Flux {
    /// Puts a Kustomization there that decrypts `path` from the Secret `secret`, and that nothing has worked on yet.
    pub fn add(&mut self, namespace: &str, name: &str, path: &str, secret: &str) {
        let spec = json!({
            "interval": "10m", "prune": true, "path": path,
            "sourceRef": {"kind": "GitRepository", "name": "home"},
            "decryption": {"provider": "sops", "secretRef": {"name": secret}},
        });
        self.put("kustomizations", namespace, name, &json!({"spec": spec}));
        self.put("gitrepositories", namespace, "home", &json!({"spec": {}}));
    }

    fn put(&mut self, plural: &str, namespace: &str, name: &str, more: &Value) {
        let (group, _, kind) = KINDS.iter().find(|k| k.1 == plural).unwrap();
        let mut object = json!({
            "apiVersion": format!("{group}/v1"), "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "generation": 1, "resourceVersion": "1", "uid": name},
        });
        merge(&mut object, more);
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.insert(key, object);
    }

    /// What a controller would have written: the revision that it applied last, and whether it is ready.
    pub fn reconcile(&mut self, namespace: &str, name: &str, revision: &str, ready: bool) {
        let (status, reason) = match ready {
            true => ("True", "ReconciliationSucceeded"),
            false => ("False", "BuildFailed"),
        };
        let generation = self.kustomization(namespace, name)["metadata"]["generation"].clone();
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "observedGeneration": generation, "message": "of the test"});
        let change = json!({"status": {"observedGeneration": generation, "lastAppliedRevision": revision, "conditions": [condition]}});
        self.change(namespace, name, &change);
    }

    /// Somebody's change of a Kustomization: a merge patch. One of its `spec` makes another generation.
    pub fn change(&mut self, namespace: &str, name: &str, change: &Value) {
        let object = self.object("kustomizations", namespace, name).unwrap();
        merge(object, change);
        if change.get("spec").is_some() {
            let generation = object["metadata"]["generation"].as_u64().unwrap() + 1;
            object["metadata"]["generation"] = generation.into();
        }
    }

    /// A Kustomization as it stands.
    pub fn kustomization(&self, namespace: &str, name: &str) -> &Value {
        let key = (
            "kustomizations".to_owned(),
            namespace.to_owned(),
            name.to_owned(),
        );
        &self.objects[&key]
    }

    /// The objects that were asked for another turn, as `plural/name`.
    pub fn asked(&self) -> Vec<String> {
        let is_asked = |object: &Value| {
            object
                .pointer("/metadata/annotations/reconcile.fluxcd.io~1requestedAt")
                .is_some()
        };
        let asked = self.objects.iter().filter(|(_, object)| is_asked(object));
        asked
            .map(|((plural, _, name), _)| format!("{plural}/{name}"))
            .collect()
    }

    fn object(&mut self, plural: &str, namespace: &str, name: &str) -> Option<&mut Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.get_mut(&key)
    }

    /// The groups that the server says it has.
    pub fn groups(&self) -> Vec<Value> {
        let kinds = KINDS.iter().filter(|_| !self.is_absent);
        kinds
            .map(|(group, _, _)| {
                let version = json!({"groupVersion": format!("{group}/v1"), "version": "v1"});
                json!({"name": group, "versions": [version], "preferredVersion": version})
            })
            .collect()
    }

    /// The answer to a request below `/apis/`; none for what is not Flux's.
    pub fn answer(
        &mut self,
        verb: &str,
        parts: &[&str],
        body: &[u8],
    ) -> Option<Result<(u16, Value), Refusal>> {
        let ["apis", group, "v1", rest @ ..] = parts else {
            return None;
        };
        let (group, plural, kind) = KINDS.iter().find(|k| k.0 == *group && !self.is_absent)?;
        let refuse =
            |code, reason, message: String| Some(Err(Refusal(code, reason, message, Value::Null)));
        match rest {
            [] => {
                let resource = json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": true, "kind": kind, "verbs": ["get", "list", "patch"]});
                Some(Ok((
                    200,
                    json!({"kind": "APIResourceList", "groupVersion": format!("{group}/v1"), "resources": [resource]}),
                )))
            }
            ["namespaces", namespace, resource, name] if resource == plural => {
                if self.denied.contains(&verb) {
                    let message = format!(
                        "{plural}.{group} \"{name}\" is forbidden: User \"u\" cannot {verb} resource \"{plural}\" in API group \"{group}\" in the namespace \"{namespace}\""
                    );
                    return refuse(403, "Forbidden", message);
                }
                let Some(object) = self.object(plural, namespace, name) else {
                    let message = format!("{plural}.{group} \"{name}\" not found");
                    return refuse(404, "NotFound", message);
                };
                if verb == "patch" {
                    merge(object, &serde_json::from_slice(body).unwrap());
                }
                Some(Ok((200, object.clone())))
            }
            _ => None,
        }
    }
}
