//! One Secret as the server gives it: its entries, who owns them, and the texts that change it.
//!
//! Pure. Values are wiped on drop; texts that hold values are written into buffers that do not grow.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::{Zeroize, Zeroizing};

use super::kubectl::{Address, MANAGER};
use super::problem::KubeProblem;
use crate::keys::Identity;
use crate::keys::key_file::{KeyFile, KeyFileError};

/// Where client-side `kubectl apply` keeps the whole manifest, values included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager of client-side `kubectl apply`.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
/// Entries with this ending are what Flux reads as age identities.
///
/// Source: fluxcd/kustomize-controller `internal/decryptor/decryptor.go` (commit 49770ea), `ImportKeys`:
/// `filepath.Ext(name)` is compared, so what stands before the last dot does not matter.
pub(super) const ENDING: &str = ".agekey";

/// A Secret as it was read.
///
/// # Secrets
/// All its values; they are wiped on drop.
pub(super) struct SecretObject {
    pub(super) at: Address,
    uid: String,
    version: String,
    immutable: bool,
    entries: BTreeMap<String, Entry>,
    managers: Vec<ManagedFields>,
    has_data: bool,
    /// Identities in the annotation of client-side apply.
    annotated: Vec<Identity>,
}

/// One value: decoded, and as it stands there.
struct Entry {
    bytes: Zeroizing<Vec<u8>>,
    text: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "type")]
    secret_type: Option<String>,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(borrow)]
    metadata: WireMetadata<'a>,
    /// Borrowed, so that no copy is made of a value that has no escapes; base64 has none.
    #[serde(borrow, default)]
    data: Option<BTreeMap<String, &'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata<'a> {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(borrow, default)]
    annotations: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(default)]
    managed_fields: Vec<ManagedFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedFields {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    fields_v1: serde_json::Value,
}

impl ManagedFields {
    fn owns(&self, entry: &str) -> bool {
        self.fields_v1
            .get("f:data")
            .is_some_and(|data| data.get(format!("f:{entry}")).is_some())
    }

    fn annotates(&self) -> bool {
        self.fields_v1
            .pointer("/f:metadata/f:annotations")
            .is_some_and(|fields| fields.get(format!("f:{LAST_APPLIED}")).is_some())
    }
}

impl SecretObject {
    /// Parses what `kubectl get --output=json` printed.
    pub(super) fn parse(at: &Address, json: &[u8]) -> Result<Self, KubeProblem> {
        let nonsense = |what: String| KubeProblem::Nonsense {
            secret: at.to_string(),
            what,
        };
        // The error's text names a place and a kind of token, but a value might stand in it: only the place is told.
        let wire: Wire<'_> = serde_json::from_slice(json)
            .map_err(|e| nonsense(format!("line {}, column {}", e.line(), e.column())))?;
        if wire.kind != "Secret" || wire.metadata.uid.is_empty() {
            return Err(nonsense("another kind of object".to_owned()));
        }
        if let Some(kind) = wire.secret_type.filter(|kind| kind != "Opaque") {
            return Err(KubeProblem::WrongType {
                secret: at.to_string(),
                kind,
            });
        }
        let mut entries = BTreeMap::new();
        for (name, raw) in wire.data.iter().flatten() {
            let bad = || KubeProblem::NotBase64 {
                secret: at.to_string(),
                entry: name.clone(),
            };
            let quoted = raw.get();
            let text = quoted
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .ok_or_else(bad)?;
            let mut bytes = Zeroizing::new(vec![0u8; text.len() / 4 * 3 + 3]);
            let length = STANDARD.decode_slice(text, &mut bytes).map_err(|_| bad())?;
            bytes[length..].zeroize();
            bytes.truncate(length);
            let text = Zeroizing::new(text.to_owned());
            entries.insert(name.clone(), Entry { bytes, text });
        }
        let annotated = wire
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(LAST_APPLIED))
            .map(|raw| identities_in(raw.get()))
            .unwrap_or_default();
        Ok(Self {
            at: at.clone(),
            uid: wire.metadata.uid,
            version: wire.metadata.resource_version,
            immutable: wire.immutable.unwrap_or(false),
            entries,
            managers: wire.metadata.managed_fields,
            has_data: wire.data.is_some(),
            annotated,
        })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Refuses a Secret that cannot be changed.
    pub(super) fn check_mutable(&self) -> Result<(), KubeProblem> {
        if self.immutable {
            return Err(KubeProblem::Immutable {
                secret: self.at.to_string(),
            });
        }
        Ok(())
    }

    /// The names of the entries, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// A value; none if the entry is not there.
    pub(super) fn value(&self, entry: &str) -> Option<&[u8]> {
        self.entries.get(entry).map(|entry| entry.bytes.as_slice())
    }

    /// An entry as a key file; none if it is not there.
    pub(super) fn key_file(&self, entry: &str) -> Result<Option<KeyFile>, KubeProblem> {
        let malformed = |source: KeyFileError| KubeProblem::Malformed {
            secret: self.at.to_string(),
            entry: entry.to_owned(),
            source,
        };
        self.value(entry)
            .map(KeyFile::parse)
            .transpose()
            .map_err(malformed)
    }

    /// Identities in entries that are not `read`, and in the annotation, each with its place.
    pub(super) fn copies(&self, read: &[String]) -> Vec<(String, Identity)> {
        let elsewhere = self.entries.iter().filter(|(name, _)| !read.contains(name));
        let mut copies = Vec::new();
        for (name, entry) in elsewhere {
            let Ok(text) = std::str::from_utf8(&entry.bytes) else {
                continue;
            };
            let place = format!("entry {name} of Secret {}", self.at);
            copies.extend(
                identities_in(text)
                    .into_iter()
                    .map(|one| (place.clone(), one)),
            );
        }
        let place = format!("the annotation {LAST_APPLIED} of Secret {}", self.at);
        copies.extend(
            self.annotated
                .iter()
                .map(|one| (place.clone(), one.share())),
        );
        copies
    }

    /// Who owns an entry, for people.
    pub(super) fn managers_of(&self, entry: &str) -> String {
        self.named(|fields| fields.owns(entry))
    }

    /// The managers other than ours that hold an entry by server-side apply: each puts it back when it next applies.
    pub(super) fn appliers_of(&self, entry: &str) -> Vec<&str> {
        self.managers
            .iter()
            .filter(|fields| fields.operation == "Apply" && fields.manager != MANAGER)
            .filter(|fields| fields.owns(entry))
            .map(|fields| fields.manager.as_str())
            .collect()
    }

    /// Who owns any entry, for people.
    pub(super) fn managers(&self) -> String {
        self.named(|fields| fields.fields_v1.get("f:data").is_some())
    }

    fn named(&self, owns: impl Fn(&ManagedFields) -> bool) -> String {
        let mut names: Vec<&str> = self
            .managers
            .iter()
            .filter(|fields| owns(fields))
            .map(|fields| fields.manager.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return "a manager that left no name".to_owned();
        }
        names.join(", ")
    }

    /// The entries that are ours by server-side apply.
    pub(super) fn applied_by_us(&self) -> Vec<&str> {
        let ours = self
            .managers
            .iter()
            .find(|fields| fields.manager == MANAGER && fields.operation == "Apply");
        self.names()
            .filter(|name| ours.is_some_and(|fields| fields.owns(name)))
            .collect()
    }

    /// Whether `kubectl apply --server-side` may be used on it.
    ///
    /// It may not where the Secret was once applied client-side: kubectl (1.26 to 1.37, tried) then takes over the
    /// ownership of everything that was applied so, in our name, and applies our manifest a second time, which *removes*
    /// those entries: today's identity among them.
    pub(super) fn may_be_applied(&self) -> bool {
        !self
            .managers
            .iter()
            .any(|fields| fields.manager == CLIENT_SIDE || fields.annotates())
    }

    /// The manifest of our entries: those of `keep`, with the values they have, and `added`.
    /// It names the version that was read: if somebody changed the Secret since, the server refuses.
    pub(super) fn manifest(
        &self,
        keep: &[&str],
        added: Option<(&str, &[u8])>,
    ) -> Zeroizing<Vec<u8>> {
        let kept = keep
            .iter()
            .filter_map(|name| self.entries.get_key_value(*name));
        let length: usize = kept
            .clone()
            .map(|(name, entry)| name.len() + entry.text.len() + 8)
            .sum();
        let room = length + added.map_or(0, |(name, value)| name.len() + value.len() * 2 + 16);
        let mut json = Zeroizing::new(String::with_capacity(room + 1024));
        json.push_str("{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{");
        for (key, value) in [
            ("name", &self.at.name),
            ("namespace", &self.at.namespace),
            ("uid", &self.uid),
        ] {
            json.push_str(&format!("{}:{},", quoted(key), quoted(value)));
        }
        json.push_str(&format!("\"resourceVersion\":{}}}", quoted(&self.version)));
        json.push_str(",\"data\":{");
        let mut comma = "";
        for (name, entry) in kept {
            json.push_str(&format!("{comma}{}:\"", quoted(name)));
            json.push_str(&entry.text);
            json.push('"');
            comma = ",";
        }
        if let Some((name, value)) = added {
            json.push_str(&format!("{comma}{}:\"", quoted(name)));
            STANDARD.encode_string(value, &mut json);
            json.push('"');
        }
        json.push_str("}}");
        Zeroizing::new(std::mem::take(&mut *json).into_bytes())
    }

    /// A JSON patch that puts `value` into an entry, or removes the entry (protocol rule 20): it tests that the Secret and
    /// the entry are what was read. With `unannotate` the annotation of client-side apply goes, too.
    pub(super) fn patch(
        &self,
        entry: &str,
        value: Option<&[u8]>,
        unannotate: bool,
    ) -> Zeroizing<Vec<u8>> {
        let old = self.entries.get(entry);
        let room =
            old.map_or(0, |old| old.text.len()) + value.map_or(0, |value| value.len() * 2 + 8);
        let mut json = Zeroizing::new(String::with_capacity(room + 1024));
        let path = quoted(&format!("/data/{}", pointer(entry)));
        for (path, value) in [
            ("/metadata/uid", &self.uid),
            ("/metadata/resourceVersion", &self.version),
        ] {
            let comma = if json.is_empty() { "[" } else { "," };
            json.push_str(&format!(
                "{comma}{{\"op\":\"test\",\"path\":\"{path}\",\"value\":{}}}",
                quoted(value)
            ));
        }
        if let Some(old) = old {
            json.push_str(&format!(",{{\"op\":\"test\",\"path\":{path},\"value\":\""));
            json.push_str(&old.text);
            json.push_str("\"}");
        }
        if !self.has_data && value.is_some() {
            json.push_str(",{\"op\":\"add\",\"path\":\"/data\",\"value\":{}}");
        }
        match value {
            Some(value) => {
                json.push_str(&format!(",{{\"op\":\"add\",\"path\":{path},\"value\":\""));
                STANDARD.encode_string(value, &mut json);
                json.push_str("\"}");
            }
            None if old.is_some() => {
                json.push_str(&format!(",{{\"op\":\"remove\",\"path\":{path}}}"));
            }
            None => {}
        }
        if unannotate {
            let path = format!("/metadata/annotations/{}", pointer(LAST_APPLIED));
            json.push_str(&format!(
                ",{{\"op\":\"remove\",\"path\":{}}}",
                quoted(&path)
            ));
        }
        json.push(']');
        Zeroizing::new(std::mem::take(&mut *json).into_bytes())
    }

    /// The identities in the annotation of client-side apply.
    pub(super) fn annotated(&self) -> &[Identity] {
        &self.annotated
    }
}

impl std::fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretObject")
            .field("at", &self.at)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Identities anywhere in a text: as they are, or inside of base64, as a manifest carries them.
fn identities_in(text: &str) -> Vec<Identity> {
    let mut found = plain_identities_in(text);
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    for word in text.split(|c: char| !is_base64(c)) {
        // Nothing shorter holds an identity.
        if word.len() < 64 {
            continue;
        }
        let mut bytes = Zeroizing::new(vec![0u8; word.len() / 4 * 3 + 3]);
        let Ok(length) = STANDARD.decode_slice(word, &mut bytes) else {
            continue;
        };
        if let Ok(text) = std::str::from_utf8(&bytes[..length]) {
            found.extend(plain_identities_in(text));
        }
    }
    found
}

fn plain_identities_in(text: &str) -> Vec<Identity> {
    let mut found = Vec::new();
    for begin in ["AGE-SECRET-KEY-", "AGE-PLUGIN-"] {
        for (at, _) in text.match_indices(begin) {
            let rest = &text[at..];
            let end = rest
                .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-'))
                .unwrap_or(rest.len());
            found.extend(Identity::parse(&rest[..end]).ok());
        }
    }
    found
}

/// A JSON string of a text that is no secret.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A token of a JSON pointer. Source: RFC 6901 §3.
fn pointer(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn at() -> Address {
        Address {
            namespace: "flux-system".to_owned(),
            name: "sops-age".to_owned(),
        }
    }

    fn parse(object: &serde_json::Value) -> Result<SecretObject, KubeProblem> {
        SecretObject::parse(&at(), object.to_string().as_bytes())
    }

    fn object(data: serde_json::Value) -> serde_json::Value {
        serde_json::json!({"kind": "Secret", "type": "Opaque", "metadata": {"uid": "u", "resourceVersion": "7"}, "data": data})
    }

    #[test]
    fn only_a_secret_for_identities_is_taken() {
        for (text, part) in [
            ("", "is no Secret: line 1"),
            ("{\"kind\":\"Secret\",\"metadata\":{}}", "another kind"),
            (
                "{\"kind\":\"List\",\"metadata\":{\"uid\":\"u\"}}",
                "another kind",
            ),
            (
                "{\"kind\":\"Secret\",\"type\":\"kubernetes.io/tls\",\"metadata\":{\"uid\":\"u\"}}",
                "of type kubernetes.io/tls",
            ),
            (
                "{\"kind\":\"Secret\",\"metadata\":{\"uid\":\"u\"},\"data\":{\"a\":\"%\"}}",
                "entry a of Secret flux-system/sops-age is not base64",
            ),
            (
                "{\"kind\":\"Secret\",\"metadata\":{\"uid\":\"u\"},\"data\":{\"a\":[1]}}",
                "not base64",
            ),
        ] {
            let error = SecretObject::parse(&at(), text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        let bare =
            SecretObject::parse(&at(), b"{\"kind\":\"Secret\",\"metadata\":{\"uid\":\"u\"}}");
        assert_eq!(bare.unwrap().names().count(), 0);
    }

    #[test]
    fn texts_that_change_it_are_json_and_name_what_was_read() {
        let secret = parse(&object(
            serde_json::json!({"a.agekey": "eA==", "b": "eQ=="}),
        ))
        .unwrap();
        let manifest = secret.manifest(&["a.agekey"], Some(("k.agekey", b"new")));
        let json: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(
            json["data"],
            serde_json::json!({"a.agekey": "eA==", "k.agekey": "bmV3"})
        );
        assert_eq!(
            json["metadata"],
            serde_json::json!({"name": "sops-age", "namespace": "flux-system", "uid": "u", "resourceVersion": "7"})
        );
        let patch: serde_json::Value =
            serde_json::from_slice(&secret.patch("b", None, true)).unwrap();
        assert_eq!(
            patch,
            serde_json::json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "test", "path": "/data/b", "value": "eQ=="},
                {"op": "remove", "path": "/data/b"},
                {"op": "remove", "path": "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"},
            ])
        );
        let empty = SecretObject::parse(
            &at(),
            b"{\"kind\":\"Secret\",\"metadata\":{\"uid\":\"u\",\"resourceVersion\":\"7\"}}",
        );
        let patch: serde_json::Value =
            serde_json::from_slice(&empty.unwrap().patch("k", Some(b"new"), false)).unwrap();
        assert_eq!(
            patch[2],
            serde_json::json!({"op": "add", "path": "/data", "value": {}})
        );
        assert_eq!(patch[3]["value"], "bmV3");
    }

    #[test]
    fn copies_are_found_in_other_entries_and_in_the_annotation() {
        let (one, two) = (Identity::mint(), Identity::mint());
        let text = |i: &Identity| i.to_text().expose_secret().to_owned();
        let base64 = |text: String| STANDARD.encode(text);
        let manifest =
            serde_json::json!({"data": {"age.agekey": base64(format!("# x\n{}\n", text(&one)))}});
        let mut object = object(serde_json::json!({
            "age.agekey": base64(text(&two)),
            "notes": base64(format!("old: {}, gone", text(&one))),
            "binary": "/////w==",
        }));
        object["metadata"]["annotations"] = serde_json::json!({LAST_APPLIED: manifest.to_string()});
        let secret = parse(&object).unwrap();
        let copies = secret.copies(&["age.agekey".to_owned()]);
        let places: Vec<&str> = copies.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(
            places,
            [
                "entry notes of Secret flux-system/sops-age",
                "the annotation kubectl.kubernetes.io/last-applied-configuration of Secret flux-system/sops-age"
            ]
        );
        let recipients: Vec<_> = copies.iter().map(|(_, one)| one.recipient()).collect();
        assert_eq!(recipients, [one.recipient(), one.recipient()]);
        assert_eq!(secret.annotated().len(), 1);
        assert!(!format!("{secret:?}").contains("SECRET-KEY"));
    }

    #[test]
    fn what_was_applied_by_the_client_is_not_applied_by_the_server() {
        let fields = |manager: &str, operation: &str, fields: serde_json::Value| serde_json::json!({"manager": manager, "operation": operation, "fieldsV1": fields});
        let data = serde_json::json!({"f:data": {".": {}, "f:a.agekey": {}}});
        let mut object = object(serde_json::json!({"a.agekey": "eA==", "b.agekey": "eA=="}));
        object["metadata"]["managedFields"] = serde_json::json!([
            fields("kubectl-create", "Update", data.clone()),
            fields(
                MANAGER,
                "Apply",
                serde_json::json!({"f:data": {"f:b.agekey": {}}})
            ),
            fields(MANAGER, "Update", data.clone()),
        ]);
        let secret = parse(&object).unwrap();
        assert!(secret.may_be_applied());
        assert_eq!(secret.applied_by_us(), ["b.agekey"]);
        assert_eq!(secret.managers_of("a.agekey"), "cofferdam, kubectl-create");
        object["metadata"]["managedFields"] =
            serde_json::json!([fields(CLIENT_SIDE, "Update", data)]);
        assert!(!parse(&object).unwrap().may_be_applied());
        let annotation =
            serde_json::json!({"f:metadata": {"f:annotations": {format!("f:{LAST_APPLIED}"): {}}}});
        object["metadata"]["managedFields"] =
            serde_json::json!([fields("helper", "Update", annotation)]);
        assert!(!parse(&object).unwrap().may_be_applied());
    }
}
