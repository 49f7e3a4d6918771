//! Rewriting a document in its own bytes: renew (new data key) and rewrap (more recipients, same data key).
//!
//! A recipient leaves only together with the data key: otherwise the old wrap, kept in history, would open new values.
//! So [`Document::rewrap`] can only add, and dropping somebody is [`Document::renew`] with other recipients.

use jiff::Timestamp;

use crate::keys::wrap::wrap;
use crate::keys::{DataKey, Recipient};
use crate::sops::cipher::LeafCipher;
use crate::sops::document::{Document, DocumentError};
use crate::sops::key_group::{self, KeyGroupError};
use crate::sops::leaf::Kind;
use crate::sops::metadata;
use crate::sops::open::Sealed;
use crate::sops::store::error::line_at;
use crate::sops::store::{self, Splice, StoreError, splice};
use crate::sops::time_text;
use crate::sops::tree::{List, ListItem, Mapping, MappingItem, Node};
use crate::sops::verified::Verified;

/// Who can open a renewed document.
#[derive(Debug, Clone, Copy)]
pub enum NewRecipients<'a> {
    /// Those who can now, in their groups.
    Keep,
    /// Exactly these, in one group.
    Only(&'a [Recipient]),
}

/// What a renewal does about keys.
#[derive(Debug, Clone, Copy)]
pub struct NewKeys<'a> {
    /// Who can open the result.
    pub recipients: NewRecipients<'a>,
    /// Whether entries that cannot be re-wrapped here (PGP, KMS, …) may be dropped; otherwise they stop the renewal.
    pub drop_foreign: bool,
}

/// A renewed document.
#[derive(Debug)]
pub struct Renewed {
    /// The file's new bytes.
    pub bytes: Vec<u8>,
    /// The new data key, which opens them.
    pub data_key: DataKey,
}

impl Document {
    /// Encrypts everything under a new data key: only tokens and metadata change.
    ///
    /// # Errors
    /// [`DocumentError::ForeignEntries`] if they are not to be dropped; [`DocumentError::KeyGroup`] if a recipient
    /// cannot be wrapped to; [`DocumentError::OtherDocument`] if `verified` was read from another document.
    pub fn renew(
        &self,
        verified: &Verified,
        keys: &NewKeys,
        now: Timestamp,
    ) -> Result<Renewed, DocumentError> {
        if verified.document != self.id {
            return Err(DocumentError::OtherDocument);
        }
        let new_key = DataKey::generate();
        let (old, new) = (
            LeafCipher::new(verified.data_key()),
            LeafCipher::new(&new_key),
        );
        let mut splices = self.leaf_splices(&verified.sealed, &old, &new)?;

        let mut mapping = self.metadata_mapping()?;
        self.replace_keys(&mut mapping, keys, &new_key)?;
        let lastmodified = time_text::last_modified(now);
        let mac = self.carried_mac(&old)?;
        let mac = seal(&new, mac.expose(), &lastmodified, Kind::Str)?;
        metadata::set_text(&mut mapping, "lastmodified", &lastmodified);
        metadata::set_text(&mut mapping, "mac", &mac);
        splices.extend(self.metadata_splices(&mapping)?);
        Ok(Renewed {
            bytes: splice::apply(&self.source, splices)?,
            data_key: new_key,
        })
    }

    /// Wraps the same data key to more recipients; those who are there already are skipped. Values, MAC, time and
    /// existing wraps stay as they are. `key` is checked against the MAC first.
    ///
    /// # Errors
    /// [`DocumentError::SeveralGroups`]; the errors of [`Document::open`] if `key` is not this document's.
    pub fn rewrap(&self, key: &DataKey, add: &[Recipient]) -> Result<Vec<u8>, DocumentError> {
        self.carried_mac(&LeafCipher::new(key))?;
        if self.metadata.groups.len() != 1 {
            return Err(DocumentError::SeveralGroups(self.metadata.groups.len()));
        }
        let present = self.recipients();
        let mut added: Vec<&Recipient> = Vec::new();
        for recipient in add {
            if !present.contains(&recipient) && !added.contains(&recipient) {
                added.push(recipient);
            }
        }
        if added.is_empty() {
            return Ok(self.source.clone());
        }
        let mut mapping = self.metadata_mapping()?;
        let group = group_mut(&mut mapping, self.metadata.has_group_list, 0)?;
        let list = age_list_mut(group);
        let pattern = EntryPattern::of(list);
        for recipient in added {
            let enc = wrap(key.expose(), recipient).map_err(KeyGroupError::from)?;
            let entry = pattern.entry(recipient.as_str(), &enc);
            list.items.push(ListItem::Node(Node::Mapping(entry)));
        }
        let splices = self.metadata_splices(&mapping)?;
        Ok(splice::apply(&self.source, splices)?)
    }

    fn metadata_mapping(&self) -> Result<Mapping, DocumentError> {
        let mapping = self.parsed.metadata.as_ref();
        Ok(mapping.ok_or(DocumentError::NoMetadata)?.duplicate())
    }

    fn metadata_splices(&self, mapping: &Mapping) -> Result<Vec<Splice>, StoreError> {
        store::metadata_splices(self.store, &self.source, &self.parsed, mapping)
    }

    /// Each token in its own bytes.
    fn leaf_splices(
        &self,
        sealed: &[Sealed],
        old: &LeafCipher,
        new: &LeafCipher,
    ) -> Result<Vec<Splice>, DocumentError> {
        let mut in_order: Vec<&Sealed> = sealed.iter().collect();
        in_order.sort_by_key(|s| s.place.start);
        let mut splices: Vec<Splice> = Vec::with_capacity(sealed.len() + 8);
        let mut last: Option<&Sealed> = None;
        for leaf in in_order {
            if let Some(last) = last.filter(|last| leaf.place.start < last.place.end) {
                // An alias stands for the same bytes; with the same path it is the same ciphertext.
                if last.place == leaf.place && last.write_aad == leaf.write_aad {
                    continue;
                }
                let line = line_at(&self.source, leaf.place.start);
                return Err(DocumentError::SharedPlace { line });
            }
            last = Some(leaf);
            let plain = old
                .open(&leaf.token, leaf.read_aad.as_bytes())
                .map_err(|e| DocumentError::MacUnreadable(e.into()))?;
            let token = seal(new, plain.expose(), &leaf.write_aad, leaf.token.kind)?;
            splices.push(self.token_splice(leaf, &token));
        }
        Ok(splices)
    }

    /// Replaces exactly the token's bytes if they stand in the source verbatim, else the whole scalar.
    fn token_splice(&self, leaf: &Sealed, token: &str) -> Splice {
        let spelled = self.source.get(leaf.place.clone()).unwrap_or_default();
        let old = &leaf.text.as_bytes()[..leaf.token.length.min(leaf.text.len())];
        let found = spelled.windows(old.len()).position(|w| w == old);
        match found {
            Some(at) => {
                let start = leaf.place.start + at;
                Splice {
                    range: start..start + old.len(),
                    text: token.as_bytes().to_vec(),
                }
            }
            None => Splice {
                range: leaf.place.clone(),
                text: store::scalar_text(self.store, token),
            },
        }
    }

    fn replace_keys(
        &self,
        mapping: &mut Mapping,
        keys: &NewKeys,
        new_key: &DataKey,
    ) -> Result<(), DocumentError> {
        match keys.recipients {
            NewRecipients::Keep => self.keep_recipients(mapping, keys.drop_foreign, new_key),
            NewRecipients::Only(recipients) => {
                self.only_recipients(mapping, recipients, keys.drop_foreign, new_key)
            }
        }
    }

    fn keep_recipients(
        &self,
        mapping: &mut Mapping,
        drop_foreign: bool,
        new_key: &DataKey,
    ) -> Result<(), DocumentError> {
        let foreign = self.foreign_entries();
        if !foreign.is_empty() && !drop_foreign {
            return Err(DocumentError::ForeignEntries(foreign));
        }
        let groups = &self.metadata.groups;
        let parts = key_group::parts(new_key, groups.len(), self.metadata.threshold)?;
        for (i, (group, part)) in groups.iter().zip(&parts).enumerate() {
            let node = group_mut(mapping, self.metadata.has_group_list, i)?;
            for name in metadata::foreign_lists(node) {
                metadata::remove(node, &name);
            }
            let known: Vec<bool> = group.age.iter().map(|e| e.recipient.is_some()).collect();
            if !known.contains(&true) {
                return Err(KeyGroupError::EmptyGroup.into());
            }
            let list = age_list_mut(node);
            let mut at = 0;
            list.items.retain(|item| {
                let is_entry = matches!(item, ListItem::Node(_));
                let keep = !is_entry || known.get(at).copied().unwrap_or(false);
                at += usize::from(is_entry);
                keep
            });
            let recipients = group.age.iter().filter_map(|e| e.recipient.as_ref());
            for (entry, recipient) in entries_mut(list).zip(recipients) {
                let enc = wrap(part.expose(), recipient).map_err(KeyGroupError::from)?;
                metadata::set_text(entry, "enc", &enc);
            }
        }
        Ok(())
    }

    fn only_recipients(
        &self,
        mapping: &mut Mapping,
        recipients: &[Recipient],
        drop_foreign: bool,
        new_key: &DataKey,
    ) -> Result<(), DocumentError> {
        if recipients.is_empty() {
            return Err(KeyGroupError::EmptyGroup.into());
        }
        // An age entry of a kind we do not know is a recipient that the caller leaves out by name.
        let foreign: Vec<_> = self
            .metadata
            .groups
            .iter()
            .flat_map(|g| g.foreign.clone())
            .collect();
        if !foreign.is_empty() && !drop_foreign {
            return Err(DocumentError::ForeignEntries(foreign));
        }
        if self.metadata.has_group_list {
            let first = group_mut(mapping, true, 0)?;
            let pattern = EntryPattern::of(age_list_mut(first));
            metadata::remove(mapping, "shamir_threshold");
            metadata::remove(mapping, "age");
            let list = Node::List(pattern.list(recipients, new_key)?);
            let slot = mapping.items.iter_mut().find_map(|item| match item {
                MappingItem::Entry(entry) if entry.key == "key_groups" => Some(entry),
                _ => None,
            });
            if let Some(entry) = slot {
                entry.key = "age".to_owned();
                entry.value = list;
            }
            return Ok(());
        }
        for name in metadata::foreign_lists(mapping) {
            metadata::remove(mapping, &name);
        }
        let list = age_list_mut(mapping);
        let pattern = EntryPattern::of(list);
        // Entries of recipients who stay keep their place among the new ones' order and their unknown fields.
        let mut old: Vec<Mapping> = std::mem::take(list)
            .items
            .into_iter()
            .filter_map(|item| match item {
                ListItem::Node(Node::Mapping(entry)) => Some(entry),
                _ => None,
            })
            .collect();
        for recipient in recipients {
            let enc = wrap(new_key.expose(), recipient).map_err(KeyGroupError::from)?;
            let same = |entry: &Mapping| {
                let text = entry.get("recipient").and_then(Node::as_str);
                text.and_then(|t| Recipient::parse(t).ok()).as_ref() == Some(recipient)
            };
            let entry = match old.iter().position(same) {
                Some(at) => {
                    let mut entry = old.remove(at);
                    metadata::set_text(&mut entry, "enc", &enc);
                    entry
                }
                None => pattern.entry(recipient.as_str(), &enc),
            };
            list.items.push(ListItem::Node(Node::Mapping(entry)));
        }
        Ok(())
    }
}

/// The order of the fields of an entry, as found: 3.13 sorts them.
struct EntryPattern {
    enc_first: bool,
}

impl EntryPattern {
    fn of(list: &List) -> Self {
        let first = list.nodes().find_map(|node| match node {
            Node::Mapping(entry) => entry.entries().next(),
            _ => None,
        });
        Self {
            enc_first: first.is_some_and(|field| field.key == "enc"),
        }
    }

    fn entry(&self, recipient: &str, enc: &str) -> Mapping {
        let mut fields = [("recipient", recipient), ("enc", enc)];
        if self.enc_first {
            fields.reverse();
        }
        let mut entry = Mapping::default();
        for (key, value) in fields {
            entry.push(key, Node::text(value));
        }
        entry
    }

    fn list(&self, recipients: &[Recipient], key: &DataKey) -> Result<List, KeyGroupError> {
        let mut list = List::default();
        for recipient in recipients {
            let enc = wrap(key.expose(), recipient)?;
            let entry = self.entry(recipient.as_str(), &enc);
            list.items.push(ListItem::Node(Node::Mapping(entry)));
        }
        Ok(list)
    }
}

/// The mapping that holds the lists of group `i`.
fn group_mut(
    mapping: &mut Mapping,
    has_group_list: bool,
    i: usize,
) -> Result<&mut Mapping, DocumentError> {
    if !has_group_list {
        return Ok(mapping);
    }
    let missing = metadata::MetadataError::Shape("key_groups");
    let Some(Node::List(list)) = mapping.get_mut("key_groups") else {
        return Err(missing.into());
    };
    entries_mut(list).nth(i).ok_or_else(|| missing.into())
}

fn entries_mut(list: &mut List) -> impl Iterator<Item = &mut Mapping> {
    list.items.iter_mut().filter_map(|item| match item {
        ListItem::Node(Node::Mapping(entry)) => Some(entry),
        _ => None,
    })
}

/// The `age` list of a group; made if it is missing, where sops would write it.
fn age_list_mut(group: &mut Mapping) -> &mut List {
    if !matches!(group.get("age"), Some(Node::List(_))) {
        let at = group.items.iter().position(|item| match item {
            MappingItem::Entry(entry) => entry.key == "age" || entry.key == "lastmodified",
            MappingItem::Comment(_) => false,
        });
        metadata::remove(group, "age");
        let at = at.unwrap_or(group.items.len()).min(group.items.len());
        let entry = crate::sops::tree::Entry {
            key: "age".to_owned(),
            value: Node::List(List::default()),
        };
        group.items.insert(at, MappingItem::Entry(entry));
    }
    match group.get_mut("age") {
        Some(Node::List(list)) => list,
        // Just inserted.
        _ => unreachable!("the age list was made above"),
    }
}

fn seal(cipher: &LeafCipher, plain: &[u8], aad: &str, kind: Kind) -> Result<String, DocumentError> {
    cipher
        .seal(plain, aad.as_bytes(), kind)
        .map_err(|e| DocumentError::MacUnreadable(e.into()))
}
