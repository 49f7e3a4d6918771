//! The `sops` block as values: who may open, what is selected, when and by what it was written.
//!
//! The block itself stays a generic mapping, so that unknown fields and foreign key entries survive every edit; this
//! is the view of it that we understand.

use crate::keys::Recipient;
use crate::sops::selection::{Selection, SelectionError, Selector};
use crate::sops::time_text;
use crate::sops::tree::{Mapping, MappingItem, Node, Value};

/// The version that new documents carry: their metadata layout and number types are those of this release. Readers
/// accept any version, older or newer than their own.
pub const VERSION: &str = "3.11.0";

/// The key types that are not age's, with the fields that name an entry for people.
const FOREIGN: [(&str, &[&str]); 6] = [
    ("pgp", &["fp"]),
    ("kms", &["arn"]),
    ("gcp_kms", &["resource_id"]),
    ("hckms", &["key_id"]),
    ("azure_kv", &["vault_url", "name", "version"]),
    ("hc_vault", &["vault_address", "engine_path", "key_name"]),
];

/// What the metadata of a document say.
#[derive(Debug)]
pub struct Metadata {
    /// Where `key_groups` rules: true; where the lists at the top do: false.
    pub has_group_list: bool,
    /// One group, or several with a threshold.
    pub groups: Vec<KeyGroup>,
    /// `shamir_threshold`; none if absent or zero.
    pub threshold: Option<u64>,
    /// Which leaves are encrypted.
    pub selection: Selection,
    /// Whether the MAC covers encrypted leaves only.
    pub mac_only_encrypted: bool,
    /// As written in the file.
    pub lastmodified: String,
    /// The additional data of the MAC: `lastmodified` in whole seconds.
    pub mac_aad: String,
    /// The MAC's token; none if missing or empty.
    pub mac: Option<String>,
    /// The version of the writer.
    pub version: String,
}

/// Keys any one of which opens the group's part.
#[derive(Debug, Default)]
pub struct KeyGroup {
    /// age entries, in file order.
    pub age: Vec<AgeEntry>,
    /// Entries of other types, in file order.
    pub foreign: Vec<ForeignEntry>,
}

/// An age recipient and the data key (or share) wrapped to it.
#[derive(Debug)]
pub struct AgeEntry {
    /// The recipient as written.
    pub text: String,
    /// The same, if it is of a kind we know.
    pub recipient: Option<Recipient>,
    /// The armored age file.
    pub enc: String,
}

/// A key entry that only another program can use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignEntry {
    /// `pgp`, `kms`, `gcp_kms`, …
    pub kind: String,
    /// Fingerprint, ARN or the like.
    pub name: String,
}

impl std::fmt::Display for ForeignEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Why metadata are not usable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetadataError {
    /// No `lastmodified`, or no RFC 3339 time.
    #[error("`lastmodified` is missing or is not a time")]
    LastModified,
    /// No `version`, or not three numbers.
    #[error("`version` is missing or is not like 3.11.0")]
    Version,
    /// Two selectors.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// No key entry of any type.
    #[error("no keys are listed, so nothing can open the file")]
    NoKeys,
    /// A field has the wrong shape.
    #[error("`{0}` has the wrong shape")]
    Shape(&'static str),
}

impl Metadata {
    /// Reads the generic mapping.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn read(mapping: &Mapping) -> Result<Self, MetadataError> {
        let lastmodified = text(mapping, "lastmodified").ok_or(MetadataError::LastModified)?;
        let mac_aad = time_text::whole_seconds(&lastmodified).ok_or(MetadataError::LastModified)?;
        let version = text(mapping, "version").unwrap_or_default();
        if !is_version(&version) {
            return Err(MetadataError::Version);
        }
        let selection = Selection::from_metadata(mapping)?;
        let top = read_group(mapping)?;
        let has_group_list = top.age.is_empty() && top.foreign.is_empty();
        let groups = if has_group_list {
            read_groups(mapping)?
        } else {
            vec![top]
        };
        if groups
            .iter()
            .all(|g| g.age.is_empty() && g.foreign.is_empty())
        {
            return Err(MetadataError::NoKeys);
        }
        Ok(Self {
            has_group_list,
            groups,
            threshold: threshold(mapping)?,
            selection,
            mac_only_encrypted: flag(mapping, "mac_only_encrypted"),
            lastmodified,
            mac_aad,
            mac: text(mapping, "mac").filter(|m| !m.is_empty()),
            version,
        })
    }

    /// Whether a file with this metadata counts as encrypted: `sops filestatus`'s answer.
    pub fn is_encrypted(&self) -> bool {
        self.mac.is_some() && !self.version.is_empty()
    }

    /// The age recipients of all groups that are of a known kind, in file order.
    pub fn recipients(&self) -> Vec<&Recipient> {
        let entries = self.groups.iter().flat_map(|g| &g.age);
        entries.filter_map(|e| e.recipient.as_ref()).collect()
    }

    /// The entries that are not age's, and age entries of an unknown kind.
    pub fn foreign_entries(&self) -> Vec<ForeignEntry> {
        let mut out = Vec::new();
        for group in &self.groups {
            out.extend(group.foreign.iter().cloned());
            let unknown = group.age.iter().filter(|e| e.recipient.is_none());
            out.extend(unknown.map(|e| ForeignEntry {
                kind: "age".to_owned(),
                name: e.text.clone(),
            }));
        }
        out
    }
}

/// Sets a text field where it stands, or adds it at the end.
pub fn set_text(mapping: &mut Mapping, key: &str, value: &str) {
    match mapping.get_mut(key) {
        Some(Node::Leaf(leaf)) => leaf.value = Value::text(value),
        Some(node) => *node = Node::text(value),
        None => mapping.push(key, Node::text(value)),
    }
}

/// Removes a field.
pub fn remove(mapping: &mut Mapping, key: &str) {
    mapping
        .items
        .retain(|item| !matches!(item, MappingItem::Entry(e) if e.key == key));
}

/// The names of the lists in `mapping` that hold key entries which are not age's.
pub fn foreign_lists(mapping: &Mapping) -> Vec<String> {
    let lists = mapping
        .entries()
        .filter(|e| is_foreign_list(&e.key, &e.value));
    lists.map(|e| e.key.clone()).collect()
}

fn is_foreign_list(key: &str, node: &Node) -> bool {
    let Node::List(list) = node else {
        return false;
    };
    if key == "age" || key == "key_groups" {
        return false;
    }
    // A key type of a later version is foreign too: a list of mappings that wrap something.
    list.nodes().next().is_some()
        && (FOREIGN.iter().any(|(kind, _)| *kind == key)
            || list
                .nodes()
                .all(|n| matches!(n, Node::Mapping(m) if m.get("enc").is_some())))
}

fn read_groups(mapping: &Mapping) -> Result<Vec<KeyGroup>, MetadataError> {
    match mapping.get("key_groups") {
        None => Ok(Vec::new()),
        Some(Node::Leaf(leaf)) if leaf.value == Value::Null => Ok(Vec::new()),
        Some(Node::List(list)) => list
            .nodes()
            .map(|node| match node {
                Node::Mapping(group) => read_group(group),
                _ => Err(MetadataError::Shape("key_groups")),
            })
            .collect(),
        Some(_) => Err(MetadataError::Shape("key_groups")),
    }
}

fn read_group(mapping: &Mapping) -> Result<KeyGroup, MetadataError> {
    let mut group = KeyGroup::default();
    match mapping.get("age") {
        None => {}
        Some(Node::Leaf(leaf)) if leaf.value == Value::Null => {}
        Some(Node::List(list)) => {
            for node in list.nodes() {
                let Node::Mapping(entry) = node else {
                    return Err(MetadataError::Shape("age"));
                };
                let recipient = text(entry, "recipient").unwrap_or_default();
                group.age.push(AgeEntry {
                    recipient: Recipient::parse(&recipient).ok(),
                    text: recipient,
                    enc: text(entry, "enc").unwrap_or_default(),
                });
            }
        }
        Some(_) => return Err(MetadataError::Shape("age")),
    }
    for entry in mapping.entries() {
        if !is_foreign_list(&entry.key, &entry.value) {
            continue;
        }
        let Node::List(list) = &entry.value else {
            continue;
        };
        let fields = FOREIGN.iter().find(|(kind, _)| *kind == entry.key);
        for node in list.nodes() {
            let name = match (node, fields) {
                (Node::Mapping(key), Some((_, fields))) => fields
                    .iter()
                    .filter_map(|f| text(key, f))
                    .collect::<Vec<_>>()
                    .join(" "),
                _ => String::new(),
            };
            group.foreign.push(ForeignEntry {
                kind: entry.key.clone(),
                name,
            });
        }
    }
    Ok(group)
}

/// A field as text: a string, or a time that was not quoted.
fn text(mapping: &Mapping, key: &str) -> Option<String> {
    let Node::Leaf(leaf) = mapping.get(key)? else {
        return None;
    };
    match &leaf.value {
        Value::Str(bytes) | Value::Time(bytes) => String::from_utf8(bytes.expose().clone()).ok(),
        _ => None,
    }
}

fn flag(mapping: &Mapping, key: &str) -> bool {
    match mapping.get(key) {
        Some(Node::Leaf(leaf)) => match &leaf.value {
            Value::Bool(b) => *b,
            Value::Str(bytes) => bytes.expose() == b"true",
            _ => false,
        },
        _ => false,
    }
}

/// `shamir_threshold`, also as `2.000000`, as very old flat files have it.
fn threshold(mapping: &Mapping) -> Result<Option<u64>, MetadataError> {
    let bad = MetadataError::Shape("shamir_threshold");
    let Some(node) = mapping.get("shamir_threshold") else {
        return Ok(None);
    };
    let Node::Leaf(leaf) = node else {
        return Err(bad);
    };
    let number = match &leaf.value {
        Value::Null => 0.0,
        #[expect(
            clippy::cast_precision_loss,
            reason = "anything that large is refused below"
        )]
        Value::Int(n) => *n as f64,
        Value::Float(x) => *x,
        Value::Str(bytes) => std::str::from_utf8(bytes.expose())
            .ok()
            .and_then(|t| t.parse().ok())
            .unwrap_or(-1.0),
        _ => -1.0,
    };
    if !(0.0..=255.0).contains(&number) || number.fract() != 0.0 {
        return Err(bad);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 255, whole"
    )]
    let number = number as u64;
    Ok((number > 0).then_some(number))
}

/// Three numbers, then perhaps a pre-release or build mark.
fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or(text);
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// What a new document's metadata hold, MAC and wrapped keys included.
pub struct NewMetadata<'a> {
    /// Per group, recipients with the wrapped data key or share.
    pub groups: Vec<Vec<(String, String)>>,
    /// `shamir_threshold`; none is left out.
    pub threshold: Option<u64>,
    /// `lastmodified`.
    pub lastmodified: String,
    /// The MAC's token.
    pub mac: String,
    /// Named in the metadata; none for binary.
    pub selection: Option<&'a Selection>,
    /// `mac_only_encrypted`.
    pub mac_only_encrypted: bool,
    /// How an empty list of a group is said: JSON has `null` there, YAML `[]`.
    pub empty_list: Node,
}

impl NewMetadata<'_> {
    /// The mapping, in the order of sops 3.11.
    pub fn to_mapping(&self) -> Mapping {
        let mut out = Mapping::default();
        if let Some(threshold) = self.threshold {
            let threshold = i64::try_from(threshold).unwrap_or(i64::MAX);
            out.push("shamir_threshold", leaf(Value::Int(threshold)));
        }
        if let [only] = self.groups.as_slice() {
            out.push("age", age_list(only));
        } else {
            let mut list = crate::sops::tree::List::default();
            for group in &self.groups {
                let mut mapping = Mapping::default();
                mapping.push("hc_vault", self.empty_list.duplicate());
                mapping.push("age", age_list(group));
                list.items
                    .push(crate::sops::tree::ListItem::Node(Node::Mapping(mapping)));
            }
            out.push("key_groups", Node::List(list));
        }
        out.push("lastmodified", Node::text(&self.lastmodified));
        out.push("mac", Node::text(&self.mac));
        if let Some(selection) = self.selection {
            let field = selection.selector().field();
            out.push(field, Node::text(selection.text()));
        }
        if self.mac_only_encrypted {
            out.push("mac_only_encrypted", leaf(Value::Bool(true)));
        }
        out.push("version", Node::text(VERSION));
        out
    }
}

fn leaf(value: Value) -> Node {
    Node::Leaf(crate::sops::tree::Leaf::made(value))
}

fn age_list(entries: &[(String, String)]) -> Node {
    let mut list = crate::sops::tree::List::default();
    for (recipient, enc) in entries {
        let mut entry = Mapping::default();
        entry.push("recipient", Node::text(recipient));
        entry.push("enc", Node::text(enc));
        list.items
            .push(crate::sops::tree::ListItem::Node(Node::Mapping(entry)));
    }
    Node::List(list)
}

/// The selector fields, for those who list what metadata may hold.
pub fn selector_fields() -> [&'static str; 6] {
    Selector::ALL.map(Selector::field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Mapping {
        let mut mapping = Mapping::default();
        mapping.push("age", age_list(&[("age1x".to_owned(), "enc".to_owned())]));
        mapping.push("lastmodified", Node::text("2026-01-02T03:04:05+00:00"));
        mapping.push("mac", Node::text("m"));
        mapping.push("version", Node::text("3.9.1-rc.1"));
        mapping
    }

    #[test]
    fn reads_what_it_needs_and_brings_the_time_to_its_mac_form() {
        let metadata = Metadata::read(&minimal()).unwrap();
        assert_eq!(metadata.mac_aad, "2026-01-02T03:04:05Z");
        assert_eq!(metadata.groups.len(), 1);
        assert!(metadata.is_encrypted());
        assert_eq!(metadata.selection, Selection::default());
    }

    #[test]
    fn names_what_is_missing() {
        for (field, error) in [
            ("age", MetadataError::NoKeys),
            ("lastmodified", MetadataError::LastModified),
            ("version", MetadataError::Version),
        ] {
            let mut mapping = minimal();
            remove(&mut mapping, field);
            assert_eq!(Metadata::read(&mapping).unwrap_err(), error);
        }
    }

    #[test]
    fn other_key_types_are_named_unknown_ones_too() {
        let mut mapping = minimal();
        for kind in ["pgp", "quantum"] {
            let mut entry = Mapping::default();
            entry.push("fp", Node::text("ABC"));
            entry.push("enc", Node::text("x"));
            let list = crate::sops::tree::List {
                items: vec![crate::sops::tree::ListItem::Node(Node::Mapping(entry))],
            };
            mapping.push(kind, Node::List(list));
        }
        mapping.push("kms", Node::List(crate::sops::tree::List::default()));
        let names: Vec<String> = Metadata::read(&mapping).unwrap().groups[0]
            .foreign
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["pgp ABC", "quantum "]);
    }
}
