//! The objects of the double of a Kubernetes API: Secrets with versions, field managers, conflicts and validation.
//!
//! Written from the API's documentation, not from its code; a double, no oracle. What it is strict about: uid and
//! resourceVersion, ownership of fields (server-side apply and updates), 404, 409, 415, 422, base64, immutable Secrets.
//! Source: kubernetes.io/docs/reference/using-api (API concepts, server-side apply), RFC 6902, RFC 7396.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Where client-side apply keeps the manifest.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A field: its way through the object.
type Field = Vec<String>;

/// A refusal: status code, reason, message, details.
#[derive(Debug)]
pub struct Refusal(pub u16, pub &'static str, pub String, pub Value);

/// One manager's hold on an object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hold {
    manager: String,
    operation: String,
    fields: BTreeSet<Field>,
}

/// A stored object: content without `managedFields`, and who holds what.
#[derive(Debug, Clone)]
pub struct Stored {
    content: Value,
    holds: Vec<Hold>,
}

/// All objects.
#[derive(Debug, Default)]
pub struct Objects {
    stored: BTreeMap<(String, String), Stored>,
    version: u64,
}

fn refuse(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal(code, reason, message.into(), Value::Null)
}

fn modified(name: &str) -> Refusal {
    refuse(
        409,
        "Conflict",
        format!(
            "Operation cannot be fulfilled on secrets \"{name}\": the object has been modified; please apply your changes to the latest version and try again"
        ),
    )
}

impl Objects {
    /// The object as a client sees it.
    pub fn get(&self, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let key = (namespace.to_owned(), name.to_owned());
        let stored = self.stored.get(&key).ok_or_else(|| {
            Refusal(
                404,
                "NotFound",
                format!("secrets \"{name}\" not found"),
                json!({"name": name, "kind": "secrets"}),
            )
        })?;
        Ok(stored.shown())
    }

    /// Whether a namespace has any object; others do not exist here.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.stored.keys().any(|(of, _)| of == namespace)
    }

    /// Makes an object.
    pub fn create(
        &mut self,
        namespace: &str,
        body: Value,
        manager: &str,
    ) -> Result<Value, Refusal> {
        let name = text(&body, "/metadata/name").unwrap_or_default();
        let key = (namespace.to_owned(), name.clone());
        if self.stored.contains_key(&key) {
            let message = format!("secrets \"{name}\" already exists");
            return Err(refuse(409, "AlreadyExists", message));
        }
        let content = self.settled(body, &key, None)?;
        let hold = Hold {
            manager: manager.to_owned(),
            operation: "Update".to_owned(),
            fields: fields(&content).into_keys().collect(),
        };
        let holds = vec![hold];
        let stored = Stored { content, holds };
        let shown = stored.shown();
        self.stored.insert(key, stored);
        Ok(shown)
    }

    /// Removes an object.
    pub fn delete(&mut self, namespace: &str, name: &str) -> Result<Value, Refusal> {
        let shown = self.get(namespace, name)?;
        self.version += 1;
        self.stored.remove(&(namespace.to_owned(), name.to_owned()));
        Ok(shown)
    }

    /// Puts `after` in the object's place: what changed belongs to `manager` afterwards.
    pub fn update(
        &mut self,
        namespace: &str,
        name: &str,
        mut after: Value,
        manager: &str,
    ) -> Result<Value, Refusal> {
        let before = self.get(namespace, name)?;
        for field in ["uid", "resourceVersion"] {
            let path = format!("/metadata/{field}");
            if let Some(given) = text(&after, &path)
                && Some(&given) != text(&before, &path).as_ref()
            {
                return Err(modified(name));
            }
        }
        let given = after
            .pointer_mut("/metadata")
            .and_then(Value::as_object_mut)
            .and_then(|metadata| metadata.remove("managedFields"));
        let key = (namespace.to_owned(), name.to_owned());
        let old = self.stored[&key].clone();
        let content = self.settled(after, &key, Some(&old.content))?;
        let (was, is) = (fields(&old.content), fields(&content));
        // An explicit change of managedFields is taken as it is.
        let mut holds = match given {
            Some(given) if before.pointer("/metadata/managedFields") != Some(&given) => {
                parse_holds(&given)
            }
            _ => old.holds.clone(),
        };
        let changed: BTreeSet<Field> = is
            .iter()
            .filter(|(field, value)| was.get(*field) != Some(value))
            .map(|(field, _)| field.clone())
            .collect();
        for hold in &mut holds {
            hold.fields
                .retain(|field| is.contains_key(field) && !changed.contains(field));
        }
        if !changed.is_empty() {
            hold_of(&mut holds, manager, "Update").extend(changed);
        }
        Ok(self.store(key, old, content, holds))
    }

    /// Server-side apply.
    pub fn apply(
        &mut self,
        namespace: &str,
        name: &str,
        body: Value,
        manager: &str,
        force: bool,
    ) -> Result<Value, Refusal> {
        if manager.is_empty() {
            let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
            return Err(refuse(422, "Invalid", message));
        }
        let key = (namespace.to_owned(), name.to_owned());
        let Some(old) = self.stored.get(&key).cloned() else {
            if let Some(uid) = text(&body, "/metadata/uid") {
                let message = format!(
                    "Operation cannot be fulfilled on secrets \"{name}\": uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(refuse(409, "Conflict", message));
            }
            let content = self.settled(body, &key, None)?;
            let mut holds = Vec::new();
            hold_of(&mut holds, manager, "Apply").extend(fields(&content).into_keys());
            let stored = Stored { content, holds };
            let shown = stored.shown();
            self.stored.insert(key, stored);
            return Ok(shown);
        };
        for field in ["uid", "resourceVersion"] {
            let path = format!("/metadata/{field}");
            if let Some(given) = text(&body, &path)
                && Some(&given) != text(&old.content, &path).as_ref()
            {
                return Err(modified(name));
            }
        }
        let (wanted, was) = (fields(&body), fields(&old.content));
        let is_own = |hold: &&Hold| hold.manager == manager && hold.operation == "Apply";
        let mut conflicts = Vec::new();
        let mut holds = old.holds.clone();
        for (field, value) in &wanted {
            if was.get(field).is_none_or(|old| old == value) {
                continue;
            }
            for hold in holds.iter_mut().filter(|hold| !is_own(&&**hold)) {
                if force {
                    hold.fields.remove(field);
                } else if hold.fields.contains(field) {
                    conflicts.push((hold.manager.clone(), format!(".{}", field.join("."))));
                }
            }
        }
        if let Some((manager, field)) = conflicts.first() {
            let causes: Vec<Value> = conflicts
                .iter()
                .map(|(manager, field)| {
                    let message = format!("conflict with \"{manager}\" using v1");
                    json!({"reason": "FieldManagerConflict", "message": message, "field": field})
                })
                .collect();
            let message = format!(
                "Apply failed with {} conflict: conflict with \"{manager}\" using v1: {field}",
                conflicts.len()
            );
            return Err(Refusal(409, "Conflict", message, json!({"causes": causes})));
        }
        let mut content = old.content.clone();
        let owned: BTreeSet<Field> = holds
            .iter()
            .filter(is_own)
            .flat_map(|hold| hold.fields.clone())
            .collect();
        for field in owned.iter().filter(|field| !wanted.contains_key(*field)) {
            let others = holds
                .iter()
                .filter(|hold| !is_own(hold))
                .any(|hold| hold.fields.contains(field));
            if !others {
                remove(&mut content, field);
            }
        }
        for (field, value) in &wanted {
            set(&mut content, field, value.clone());
        }
        let content = self.settled(content, &key, Some(&old.content))?;
        *hold_of(&mut holds, manager, "Apply") = wanted.into_keys().collect();
        Ok(self.store(key, old, content, holds))
    }

    fn store(
        &mut self,
        key: (String, String),
        old: Stored,
        mut content: Value,
        mut holds: Vec<Hold>,
    ) -> Value {
        holds.retain(|hold| !hold.fields.is_empty());
        // What changes nothing makes no new version.
        if old.holds == holds && fields(&old.content) == fields(&content) {
            content = old.content;
        }
        let stored = Stored { content, holds };
        let shown = stored.shown();
        self.stored.insert(key, stored);
        shown
    }

    /// What the server makes of a body: validated, `stringData` folded in, with a new version and its uid.
    fn settled(
        &mut self,
        mut body: Value,
        key: &(String, String),
        old: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let invalid = |what: String| {
            let message = format!("Secret \"{}\" is invalid: {what}", key.1);
            refuse(422, "Invalid", message)
        };
        let object = body
            .as_object_mut()
            .ok_or_else(|| refuse(400, "BadRequest", "not an object"))?;
        if let Some(Value::Object(plain)) = object.remove("stringData") {
            let data = object.entry("data").or_insert_with(|| json!({}));
            for (entry, value) in plain {
                data[entry] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
            }
        }
        for (entry, value) in object
            .get("data")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if STANDARD.decode(value.as_str().unwrap_or("%")).is_err() {
                let message = "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0";
                return Err(refuse(400, "BadRequest", message));
            }
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if entry.is_empty() || !entry.chars().all(is_name) {
                return Err(invalid(format!(
                    "data[{entry}]: Invalid value: \"{entry}\""
                )));
            }
        }
        object.entry("type").or_insert_with(|| json!("Opaque"));
        if let Some(old) = old {
            if old["type"] != object["type"] {
                return Err(invalid(
                    "type: Invalid value: field is immutable".to_owned(),
                ));
            }
            if old["immutable"] == json!(true) && old["data"] != object["data"] {
                return Err(invalid(
                    "data: Forbidden: field is immutable when `immutable` is set".to_owned(),
                ));
            }
        }
        self.version += 1;
        let uid = old.map_or_else(
            || json!(format!("uid-{}", self.version)),
            |old| old["metadata"]["uid"].clone(),
        );
        body["apiVersion"] = json!("v1");
        body["kind"] = json!("Secret");
        let metadata = &mut body["metadata"];
        metadata["namespace"] = json!(key.0);
        metadata["name"] = json!(key.1);
        metadata["uid"] = uid;
        metadata["resourceVersion"] = json!(self.version.to_string());
        Ok(body)
    }
}

impl Stored {
    fn shown(&self) -> Value {
        let mut shown = self.content.clone();
        let managed: Vec<Value> = self
            .holds
            .iter()
            .map(|hold| {
                let mut tree = json!({});
                for field in &hold.fields {
                    let mut at = &mut tree;
                    for part in field {
                        at = &mut at[format!("f:{part}")];
                        if at.is_null() {
                            *at = json!({});
                        }
                    }
                }
                json!({"manager": hold.manager, "operation": hold.operation, "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": tree})
            })
            .collect();
        shown["metadata"]["managedFields"] = json!(managed);
        shown
    }
}

fn parse_holds(given: &Value) -> Vec<Hold> {
    fn walk(tree: &Map<String, Value>, at: &[String], fields: &mut BTreeSet<Field>) {
        for (key, below) in tree {
            let Some(part) = key.strip_prefix("f:") else {
                continue;
            };
            let mut field = at.to_vec();
            field.push(part.to_owned());
            match below.as_object() {
                Some(below) if !below.is_empty() => walk(below, &field, fields),
                _ => {
                    fields.insert(field);
                }
            }
        }
    }
    let mut holds = Vec::new();
    for entry in given.as_array().into_iter().flatten() {
        let manager = text(entry, "/manager").unwrap_or_default();
        let operation = text(entry, "/operation").unwrap_or_default();
        let mut fields = BTreeSet::new();
        if let Some(tree) = entry["fieldsV1"].as_object() {
            walk(tree, &[], &mut fields);
        }
        hold_of(&mut holds, &manager, &operation).extend(fields);
    }
    holds
}

fn hold_of<'a>(
    holds: &'a mut Vec<Hold>,
    manager: &str,
    operation: &str,
) -> &'a mut BTreeSet<Field> {
    let found = holds
        .iter()
        .position(|hold| hold.manager == manager && hold.operation == operation);
    let at = found.unwrap_or_else(|| {
        holds.push(Hold {
            manager: manager.to_owned(),
            operation: operation.to_owned(),
            fields: BTreeSet::new(),
        });
        holds.len() - 1
    });
    &mut holds[at].fields
}

/// The fields that managers own, with their values.
fn fields(object: &Value) -> BTreeMap<Field, Value> {
    let mut found = BTreeMap::new();
    let maps: [&[&str]; 3] = [
        &["data"],
        &["metadata", "annotations"],
        &["metadata", "labels"],
    ];
    for path in maps {
        let at = format!("/{}", path.join("/"));
        for (key, value) in object
            .pointer(&at)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let mut field: Field = path.iter().map(|&part| part.to_owned()).collect();
            field.push(key.clone());
            found.insert(field, value.clone());
        }
    }
    for key in ["type", "immutable"] {
        if let Some(value) = object.get(key) {
            found.insert(vec![key.to_owned()], value.clone());
        }
    }
    found
}

fn set(object: &mut Value, field: &Field, value: Value) {
    let mut at = object;
    for part in field {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}

fn remove(object: &mut Value, field: &Field) {
    let Some((last, above)) = field.split_last() else {
        return;
    };
    let mut at = object;
    for part in above {
        at = &mut at[part];
    }
    if let Some(map) = at.as_object_mut() {
        map.remove(last);
    }
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

/// RFC 7396.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// RFC 6902: `add`, `remove`, `replace` and `test`, on objects.
pub fn patch(target: &mut Value, operations: &Value) -> Result<(), Refusal> {
    let fail = |what: String| {
        let message =
            format!("the server rejected our request due to an error in our request: {what}");
        refuse(422, "Invalid", message)
    };
    for operation in operations.as_array().into_iter().flatten() {
        let path = text(operation, "/path").unwrap_or_default();
        let (above, last) = path.rsplit_once('/').ok_or_else(|| fail(path.clone()))?;
        let last = last.replace("~1", "/").replace("~0", "~");
        let value = operation["value"].clone();
        let now = target.pointer(&path).cloned();
        let map = target
            .pointer_mut(above)
            .and_then(Value::as_object_mut)
            .ok_or_else(|| fail(format!("no path {above}")))?;
        match operation["op"].as_str() {
            Some("test") if now.as_ref() == Some(&value) => {}
            Some("test") => return Err(fail(format!("testing value {path} failed"))),
            Some("add") => {
                map.insert(last, value);
            }
            Some("replace") if now.is_some() => {
                map.insert(last, value);
            }
            Some("remove") if now.is_some() => {
                map.shift_remove(&last);
            }
            _ => return Err(fail(format!("cannot change {path}"))),
        }
    }
    Ok(())
}
