//! Creation rules: which files, which keys, which leaves.

use std::sync::OnceLock;

use regex::Regex;

use super::node::{Kind, Node, Yaml, line_of};
use crate::keys::Recipient;
use crate::re2::{self, Re2Error};
use crate::topology::{Selection, Selector};

/// A configuration file of SOPS.
#[derive(Debug, Default)]
pub struct RulesFile {
    /// The creation rules in order; none if the file has no such list, which is not the same as an empty one.
    pub creation_rules: Option<Vec<CreationRule>>,
    /// How stores print.
    pub stores: Stores,
}

/// The `stores` of a configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stores {
    /// `stores.yaml.indent`
    pub yaml_indent: Option<i64>,
    /// `stores.json.indent`
    pub json_indent: Option<i64>,
    /// `stores.json_binary.indent`
    pub json_binary_indent: Option<i64>,
}

/// One creation rule.
#[derive(Debug)]
pub struct CreationRule {
    /// The expression; empty: every file.
    pub path_regex: String,
    /// The line of the rule, counted from 1.
    pub line: usize,
    /// The keys; one group unless `key_groups` says otherwise. Empty if the rule names none.
    pub key_groups: Vec<KeyGroup>,
    /// `shamir_threshold`
    pub shamir_threshold: Option<i64>,
    /// The selectors; more than one is an error once the rule is used.
    pub selectors: Vec<Selection>,
    /// `mac_only_encrypted`
    pub mac_only_encrypted: bool,
    /// The fields that SOPS does not know.
    pub unknown_fields: Vec<String>,
    pub(super) regex: OnceLock<Result<Regex, Re2Error>>,
}

/// Keys any one of which opens a group's part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyGroup {
    /// The age recipients as written, trimmed; not yet parsed, and perhaps empty, which SOPS refuses once they are used.
    pub age: Vec<String>,
    /// Keys of other types.
    pub foreign: Vec<ForeignKey>,
}

/// A key that is not age's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The field: `pgp`, `kms`, …
    pub kind: String,
    /// The key as written: a fingerprint, an ARN; for a mapping its fields.
    pub text: String,
}

/// What SOPS says of a bad configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Not YAML, or not of the right shape.
    #[error("error loading config: could not unmarshal config file: line {line}: {reason}")]
    Malformed {
        /// The line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There are rules, none matches.
    #[error("error loading config: no matching creation rules found")]
    NoMatch,
    /// A rule that had to be tried has a bad expression.
    #[error("can not compile regexp of the creation rule on line {line}")]
    Regex {
        /// The rule's line.
        line: usize,
        /// What is wrong.
        #[source]
        source: Re2Error,
    },
    /// The rule has several selectors.
    #[error(
        "error loading config: cannot use more than one of encrypted_suffix, unencrypted_suffix, encrypted_regex, unencrypted_regex, encrypted_comment_regex, or unencrypted_comment_regex for the same rule (line {line})"
    )]
    Selectors {
        /// The rule's line.
        line: usize,
    },
    /// The rule names no key.
    #[error("the creation rule on line {line} has no keys")]
    NoKeys {
        /// The rule's line.
        line: usize,
    },
}

/// The fields that name keys other than age's, in the order in which SOPS takes them.
const FOREIGN: [&str; 6] = [
    "pgp",
    "kms",
    "gcp_kms",
    "hckms",
    "azure_keyvault",
    "hc_vault_transit_uri",
];
const OTHER_FIELDS: [&str; 7] = [
    "path_regex",
    "age",
    "aws_profile",
    "key_groups",
    "shamir_threshold",
    "mac_only_encrypted",
    "omit_extensions",
];

impl RulesFile {
    /// Parses the text of a configuration.
    ///
    /// # Errors
    /// [`RulesError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let yaml = parse_yaml(text)?;
        Self::from_yaml(text, &yaml)
    }

    pub(super) fn from_yaml(text: &str, yaml: &Yaml) -> Result<Self, RulesError> {
        let reader = Reader { text, yaml };
        let Some(root) = yaml.root.as_ref().filter(|root| !yaml.is_null(root)) else {
            return Ok(Self::default());
        };
        let entries = reader.entries(root, "a mapping")?;
        let mut file = Self::default();
        for (name, _, value) in entries {
            match name {
                "creation_rules" if !yaml.is_null(value) => {
                    let rules = reader.list(value, "creation_rules must be a list")?;
                    let rules = rules.iter().map(|rule| reader.rule(rule));
                    file.creation_rules = Some(rules.collect::<Result<_, _>>()?);
                }
                "stores" if !yaml.is_null(value) => file.stores = reader.stores(value)?,
                _ => {}
            }
        }
        Ok(file)
    }
}

pub(super) fn parse_yaml(text: &str) -> Result<Yaml, RulesError> {
    Yaml::parse(text).map_err(|fault| RulesError::Malformed {
        line: fault.line,
        reason: fault.reason,
    })
}

impl CreationRule {
    /// The age recipients of all groups as written.
    pub fn age(&self) -> impl Iterator<Item = &str> {
        self.key_groups
            .iter()
            .flat_map(|group| group.age.iter().map(String::as_str))
    }

    /// Tells whether any group holds a key of another type.
    pub fn has_foreign_keys(&self) -> bool {
        self.key_groups
            .iter()
            .any(|group| !group.foreign.is_empty())
    }

    /// Tells whether one of its recipients is `recipient`.
    pub fn has_recipient(&self, recipient: &Recipient) -> bool {
        self.age().any(|text| is_recipient(text, recipient))
    }

    /// The selector, of which a usable rule has at most one.
    ///
    /// # Errors
    /// [`RulesError::Selectors`].
    pub fn selection(&self) -> Result<Option<&Selection>, RulesError> {
        match self.selectors.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(RulesError::Selectors { line: self.line }),
        }
    }
}

/// Tells whether a text of a rules file names a recipient.
pub(super) fn is_recipient(text: &str, recipient: &Recipient) -> bool {
    text == recipient.as_str() || Recipient::parse(text).is_ok_and(|parsed| parsed == *recipient)
}

/// The parts between commas, trimmed; none of an empty text.
fn parts(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|part| part.trim().to_owned()).collect()
}

struct Reader<'a> {
    text: &'a str,
    yaml: &'a Yaml,
}

type Entries<'a> = Vec<(&'a str, &'a Node, &'a Node)>;

impl<'a> Reader<'a> {
    fn malformed<T>(&self, node: &Node, reason: &str) -> Result<T, RulesError> {
        Err(RulesError::Malformed {
            line: line_of(self.text, node.place.start),
            reason: reason.to_owned(),
        })
    }

    fn entries(&self, node: &'a Node, wanted: &str) -> Result<Entries<'a>, RulesError> {
        if self.yaml.is_null(node) {
            return Ok(Vec::new());
        }
        let Some(entries) = self.yaml.entries(node) else {
            return self.malformed(node, &format!("not {wanted}"));
        };
        for (at, (name, key, _)) in entries.iter().enumerate() {
            if entries[..at].iter().any(|(other, ..)| other == name) {
                return self.malformed(key, "a key is there twice");
            }
        }
        Ok(entries)
    }

    fn list(&self, node: &'a Node, reason: &str) -> Result<&'a [Node], RulesError> {
        match &self.yaml.resolve(node).kind {
            Kind::List(items, _) => Ok(items),
            _ => self.malformed(node, reason),
        }
    }

    fn rule(&self, node: &'a Node) -> Result<CreationRule, RulesError> {
        let mut rule = CreationRule {
            path_regex: String::new(),
            line: line_of(self.text, node.place.start),
            key_groups: Vec::new(),
            shamir_threshold: None,
            selectors: Vec::new(),
            mac_only_encrypted: false,
            unknown_fields: Vec::new(),
            regex: OnceLock::new(),
        };
        let entries = self.entries(node, "a creation rule")?;
        let mut groups = None;
        for (name, _, value) in &entries {
            let selector = Selector::ALL.into_iter().find(|kind| kind.field() == *name);
            match *name {
                "path_regex" => {
                    rule.path_regex = self.scalar(value)?.unwrap_or_default().to_owned()
                }
                "key_groups" if !self.yaml.is_null(value) => {
                    groups = Some(self.list(value, "key_groups must be a list")?);
                }
                "shamir_threshold" => rule.shamir_threshold = self.integer(value)?,
                "mac_only_encrypted" => rule.mac_only_encrypted = self.boolean(value)?,
                _ => {}
            }
            if let Some(kind) = selector {
                // SOPS takes an empty selector for none.
                let text = self.scalar(value)?.filter(|text| !text.is_empty());
                rule.selectors
                    .extend(text.map(|text| (kind, text.to_owned())));
            }
            let is_known =
                selector.is_some() || OTHER_FIELDS.contains(name) || FOREIGN.contains(name);
            if !is_known {
                rule.unknown_fields.push((*name).to_owned());
            }
        }
        if let Some(groups) = groups.filter(|groups| !groups.is_empty()) {
            for group in groups {
                rule.key_groups.push(self.group(group, 0)?);
            }
        } else {
            let flat = self.flat_keys(&entries)?;
            if flat != KeyGroup::default() {
                rule.key_groups.push(flat);
            }
        }
        Ok(rule)
    }

    fn flat_keys(&self, entries: &Entries<'a>) -> Result<KeyGroup, RulesError> {
        let field = |wanted: &str| entries.iter().find(|(name, ..)| *name == wanted);
        let mut group = KeyGroup::default();
        if let Some((_, _, value)) = field("age") {
            group.age = self.texts(value)?;
        }
        for kind in FOREIGN {
            if let Some((_, _, value)) = field(kind) {
                let keys = self.texts(value)?.into_iter();
                group.foreign.extend(keys.map(|text| ForeignKey {
                    kind: kind.to_owned(),
                    text,
                }));
            }
        }
        Ok(group)
    }

    /// A group of `key_groups`: the keys of those it merges first, each key once.
    fn group(&self, node: &'a Node, depth: usize) -> Result<KeyGroup, RulesError> {
        if depth > 16 {
            return self.malformed(node, "key groups merge too deeply");
        }
        let entries = self.entries(node, "a key group")?;
        let mut group = KeyGroup::default();
        if let Some((_, _, merge)) = entries.iter().find(|(name, ..)| *name == "merge")
            && !self.yaml.is_null(merge)
        {
            for part in self.list(merge, "merge must be a list")? {
                let part = self.group(part, depth + 1)?;
                group.age.extend(part.age);
                group.foreign.extend(part.foreign);
            }
        }
        for (name, _, value) in &entries {
            if matches!(*name, "merge") || self.yaml.is_null(value) {
                continue;
            }
            let keys = self.list(value, "the keys of a group must be a list")?;
            for key in keys {
                match (*name, self.yaml.text(key)) {
                    ("age", Some(text)) => group.age.extend(parts(text)),
                    ("age", None) if self.yaml.is_null(key) => {}
                    ("age", None) => return self.malformed(key, "a recipient must be a string"),
                    (kind, text) => group.foreign.push(ForeignKey {
                        kind: kind.to_owned(),
                        text: text.map_or_else(|| self.fields(key), str::to_owned),
                    }),
                }
            }
        }
        let mut seen = std::collections::HashSet::new();
        group.age.retain(|text| seen.insert(text.clone()));
        Ok(group)
    }

    fn fields(&self, node: &'a Node) -> String {
        let entries = self.yaml.entries(node).unwrap_or_default();
        let texts = entries.iter().filter_map(|(name, _, value)| {
            self.yaml.text(value).map(|text| format!("{name}={text}"))
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    /// The keys of a flat field: a comma-separated string, whose empty parts do not count, or a list of such, whose empty
    /// parts SOPS takes for bad keys.
    fn texts(&self, node: &'a Node) -> Result<Vec<String>, RulesError> {
        match &self.yaml.resolve(node).kind {
            Kind::List(items, _) => {
                let mut texts = Vec::new();
                for item in items {
                    match self.yaml.text(item) {
                        Some(text) => texts.push(text),
                        None => {
                            let reason = "invalid key configuration: expected string in list";
                            return self.malformed(item, reason);
                        }
                    }
                }
                Ok(parts(&texts.join(",")))
            }
            Kind::Map(..) => self.malformed(
                node,
                "invalid key configuration: expected string, []string, or nil",
            ),
            _ => {
                let mut keys = parts(self.yaml.text(node).unwrap_or_default());
                keys.retain(|key| !key.is_empty());
                Ok(keys)
            }
        }
    }

    fn scalar(&self, node: &'a Node) -> Result<Option<&'a str>, RulesError> {
        match &self.yaml.resolve(node).kind {
            Kind::Scalar(..) => Ok(self.yaml.text(node)),
            _ => self.malformed(node, "expected a string"),
        }
    }

    fn integer(&self, node: &'a Node) -> Result<Option<i64>, RulesError> {
        match self.scalar(node)?.map(str::parse) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => self.malformed(node, "expected a number"),
        }
    }

    fn boolean(&self, node: &'a Node) -> Result<bool, RulesError> {
        match self.scalar(node)?.map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "yes" | "on" | "y") => Ok(true),
            None | Some("false" | "no" | "off" | "n") => Ok(false),
            Some(_) => self.malformed(node, "expected true or false"),
        }
    }

    fn stores(&self, node: &'a Node) -> Result<Stores, RulesError> {
        let mut stores = Stores::default();
        for (name, _, value) in self.entries(node, "a mapping of stores")? {
            let slot = match name {
                "yaml" => &mut stores.yaml_indent,
                "json" => &mut stores.json_indent,
                "json_binary" => &mut stores.json_binary_indent,
                _ => continue,
            };
            for (option, _, value) in self.entries(value, "the options of a store")? {
                if option == "indent" {
                    *slot = self.integer(value)?;
                }
            }
        }
        Ok(stores)
    }
}

impl CreationRule {
    /// The compiled expression; compiled once.
    pub(super) fn compiled(&self) -> Result<&Regex, &Re2Error> {
        self.regex
            .get_or_init(|| re2::compile(&self.path_regex))
            .as_ref()
    }
}
