//! A Flux Kustomization as the server's JSON has it.

use serde_json::Value;

use super::problem::KubeProblem;
use crate::fleet::Reconciliation;
use crate::repo_path::resolve;
use crate::topology::NamespacedName;

/// Reads one.
///
/// # Errors
/// [`KubeProblem::NoKustomization`] for what is none.
pub(super) fn parse(name: &NamespacedName, json: &[u8]) -> Result<Reconciliation, KubeProblem> {
    let value: Value = serde_json::from_slice(json).map_err(|_| no_kustomization(name))?;
    if text(&value, "/kind") != Some("Kustomization")
        || !text(&value, "/apiVersion")
            .is_some_and(|v| v.starts_with("kustomize.toolkit.fluxcd.io/"))
    {
        return Err(no_kustomization(name));
    }
    let folder = text(&value, "/spec/path").unwrap_or("./");
    let folder = resolve(None, folder.trim_start_matches('/'))
        .map(|path| path.as_str().to_owned())
        .unwrap_or_default();
    let is_suspended = value.pointer("/spec/suspend") == Some(&Value::Bool(true));
    let decrypts = text(&value, "/spec/decryption/provider") == Some("sops");
    let secret = text(&value, "/spec/decryption/secretRef/name").filter(|_| decrypts);
    let source = text(&value, "/spec/sourceRef/name")
        .filter(|_| text(&value, "/spec/sourceRef/kind") == Some("GitRepository"))
        .and_then(|source| {
            let namespace = text(&value, "/spec/sourceRef/namespace").unwrap_or(&name.namespace);
            NamespacedName::parse(&format!("{namespace}/{source}"))
        });
    Ok(Reconciliation {
        name: name.clone(),
        revision: text(&value, "/status/lastAppliedRevision").map(str::to_owned),
        trouble: trouble(name, &value, is_suspended),
        is_suspended,
        secret: secret.map(str::to_owned),
        folder,
        source,
    })
}

/// Why what it applied last is no evidence of what it does now.
fn trouble(name: &NamespacedName, value: &Value, is_suspended: bool) -> Option<String> {
    let NamespacedName { namespace, name } = name;
    if is_suspended {
        return Some(format!(
            "is suspended (flux resume kustomization {name} --namespace {namespace})"
        ));
    }
    if text(value, "/spec/kubeConfig/secretRef/name").is_some() {
        return Some("applies to another cluster (spec.kubeConfig)".to_owned());
    }
    let conditions = value
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| text(condition, "/type") == Some("Ready"));
    let generation = value
        .pointer("/metadata/generation")
        .and_then(Value::as_u64);
    let is_current =
        |seen: Option<&Value>| generation.is_some() && seen.and_then(Value::as_u64) == generation;
    let Some(ready) = ready else {
        return Some("was not reconciled yet".to_owned());
    };
    let observed = ready.pointer("/observedGeneration");
    if !is_current(value.pointer("/status/observedGeneration"))
        || (observed.is_some() && !is_current(observed))
    {
        return Some("was changed and not reconciled since".to_owned());
    }
    if text(ready, "/status") != Some("True") {
        // The reason is one of Flux's words; the message may quote what it was about to apply.
        let reason = text(ready, "/reason").unwrap_or("no reason given");
        let reason: String = reason
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(60)
            .collect();
        return Some(format!(
            "is not ready: {reason} (flux get kustomization {name} --namespace {namespace})"
        ));
    }
    None
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn no_kustomization(name: &NamespacedName) -> KubeProblem {
    KubeProblem::NoKustomization {
        name: name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name() -> NamespacedName {
        NamespacedName::parse("flux-system/apps").unwrap()
    }

    fn ready() -> Value {
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": "apps", "namespace": "flux-system", "generation": 3},
            "spec": {"path": "./k/apps/", "sourceRef": {"kind": "GitRepository", "name": "home"}, "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}}},
            "status": {
                "observedGeneration": 3,
                "lastAppliedRevision": "main@sha1:0123456789abcdef0123456789abcdef01234567",
                "conditions": [{"type": "Reconciling", "status": "False"}, {"type": "Ready", "status": "True", "observedGeneration": 3}],
            },
        })
    }

    fn of(value: &Value) -> Reconciliation {
        parse(&name(), value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_ready_one_is_evidence() {
        let one = of(&ready());
        assert_eq!(one.trouble, None);
        assert_eq!(
            one.commit(),
            Some("0123456789abcdef0123456789abcdef01234567")
        );
        assert_eq!(
            (one.folder.as_str(), one.secret.as_deref()),
            ("k/apps", Some("sops-age"))
        );
        assert_eq!(one.source, NamespacedName::parse("flux-system/home"));
    }

    #[test]
    fn all_else_is_none_and_says_why() {
        for (pointer, put, wanted) in [
            ("/spec/suspend", json!(true), "is suspended (flux resume"),
            (
                "/spec/kubeConfig",
                json!({"secretRef": {"name": "far"}}),
                "another cluster",
            ),
            (
                "/status/observedGeneration",
                json!(2),
                "changed and not reconciled since",
            ),
            (
                "/metadata/generation",
                json!(4),
                "changed and not reconciled since",
            ),
            ("/status/conditions", json!([]), "not reconciled yet"),
            (
                "/status/conditions",
                json!([{"type": "Ready", "status": "False", "reason": "BuildFailed"}]),
                "is not ready: BuildFailed",
            ),
            (
                "/status/conditions",
                json!([{"type": "Ready", "status": "Unknown", "reason": "Progressing"}]),
                "is not ready: Progressing",
            ),
            (
                "/status/conditions",
                json!([{"type": "Ready", "status": "True", "observedGeneration": 2}]),
                "changed and not",
            ),
        ] {
            let mut value = ready();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            value.pointer_mut(parent).unwrap()[field] = put;
            let trouble = of(&value).trouble.unwrap();
            assert!(trouble.contains(wanted), "{pointer}: {trouble}");
        }
        for other in [
            json!({}),
            json!({"kind": "Secret", "data": {"a": "hunter2"}}),
        ] {
            let error = parse(&name(), other.to_string().as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
        }
        assert!(parse(&name(), b"no json").is_err());
    }
}
