//! The burn list, `.cofferdam/burn-list.toml`: what was decided about each exposed value. Committed; holds no plaintext and
//! nothing made from it, only digests of ciphertext.

use std::fmt::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::exposure::{ExposedLeaf, Exposure, LeafState, TokenDigest};

/// Where the burn list stands, relative to the repository's root.
pub const BURN_LIST_PATH: &str = ".cofferdam/burn-list.toml";

const HEADER: &str = "# Values that retired or compromised identities can still open in git history, written by\n\
                      # `cofferdam exposure --record`; it holds no secret. To accept one that cannot be replaced:\n\
                      # state = \"accepted\", reason = \"…\", until = \"2027-06-01T00:00:00Z\"\n";

/// What was decided about values, by file and key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurnList {
    /// The version of this file's form; 1.
    version: u32,
    /// The values.
    #[serde(default, rename = "value", skip_serializing_if = "Vec::is_empty")]
    values: Vec<BurnItem>,
}

/// One value's standing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BurnItem {
    /// The file.
    pub file: String,
    /// Which document of the stream, where the file is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<usize>,
    /// The keys down to it.
    pub key: Vec<String>,
    /// The identities that can open it in history.
    pub identities: Vec<String>,
    /// What is to be done.
    pub state: BurnState,
    /// Since when it is in this state.
    pub at: Timestamp,
    /// Of a replaced value: the digest (32 hex digits) of the ciphertext that was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphertext: Option<String>,
    /// Why it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What is to be done about a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BurnState {
    /// It has to be replaced at its issuer.
    Open,
    /// It was replaced, or is gone.
    Replaced,
    /// Somebody lives with it, for a time and a reason.
    Accepted,
}

/// Why a burn list could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BurnListError {
    /// Not TOML, or not a burn list's TOML.
    #[error("{BURN_LIST_PATH} is damaged")]
    Malformed(#[source] toml_edit::de::Error),
    /// Written by a later Cofferdam.
    #[error("{BURN_LIST_PATH} has version {0}; this cofferdam knows version 1")]
    Version(u32),
    /// Accepted without a reason or an end.
    #[error("{BURN_LIST_PATH}: {file} {key} is accepted without `{missing}`")]
    Unfounded {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What is missing.
        missing: &'static str,
    },
    /// Could not be written as TOML.
    #[error("{BURN_LIST_PATH} could not be put together")]
    Unprintable(#[source] toml_edit::ser::Error),
}

impl BurnList {
    /// An empty list.
    pub fn new() -> Self {
        Self {
            version: 1,
            values: Vec::new(),
        }
    }

    /// Reads a burn list's text.
    ///
    /// # Errors
    /// [`BurnListError::Malformed`], [`BurnListError::Version`], [`BurnListError::Unfounded`].
    pub fn parse(text: &str) -> Result<Self, BurnListError> {
        let list: Self = toml_edit::de::from_str(text).map_err(BurnListError::Malformed)?;
        if list.version != 1 {
            return Err(BurnListError::Version(list.version));
        }
        for item in &list.values {
            let missing = match (&item.reason, item.until) {
                _ if item.state != BurnState::Accepted => continue,
                (Some(reason), Some(_)) if !reason.trim().is_empty() => continue,
                (_, None) => "until",
                _ => "reason",
            };
            return Err(BurnListError::Unfounded {
                file: item.file.clone(),
                key: item.key.join("."),
                missing,
            });
        }
        Ok(list)
    }

    /// The burn list's text.
    ///
    /// # Errors
    /// [`BurnListError::Unprintable`], which no list built here meets.
    pub fn to_text(&self) -> Result<String, BurnListError> {
        let body = toml_edit::ser::to_string_pretty(self).map_err(BurnListError::Unprintable)?;
        Ok(format!("{HEADER}{body}"))
    }

    /// The values.
    pub fn values(&self) -> &[BurnItem] {
        &self.values
    }

    /// The standing of a value, by what was found now and what the list says of it.
    pub fn state(&self, leaf: &ExposedLeaf, now: Timestamp) -> BurnState {
        if !leaf.is_open() {
            return BurnState::Replaced;
        }
        let Some(item) = self.item(leaf) else {
            return BurnState::Open;
        };
        match item.state {
            BurnState::Accepted if item.until.is_some_and(|until| now < until) => {
                BurnState::Accepted
            }
            // Nobody here can compare the values; somebody did, and nothing was written there since.
            BurnState::Replaced
                if leaf.assumed
                    && leaf.today.is_some()
                    && item.ciphertext == leaf.today.as_ref().map(hex) =>
            {
                BurnState::Replaced
            }
            _ => BurnState::Open,
        }
    }

    /// The list with what was found now written into it: new values are added, none is forgotten, and what is accepted
    /// stays so until its end.
    #[must_use]
    pub fn updated(&self, exposure: &Exposure, now: Timestamp) -> Self {
        let mut values: Vec<BurnItem> = exposure
            .leaves
            .iter()
            .map(|leaf| self.updated_item(leaf, now))
            .collect();
        // What another identity exposed, and was not asked for now.
        for item in &self.values {
            if !exposure.leaves.iter().any(|leaf| is_of(item, leaf)) {
                values.push(item.clone());
            }
        }
        values.sort_by(|a, b| (&a.file, a.document, &a.key).cmp(&(&b.file, b.document, &b.key)));
        Self { version: 1, values }
    }

    fn updated_item(&self, leaf: &ExposedLeaf, now: Timestamp) -> BurnItem {
        let state = self.state(leaf, now);
        let known = self.item(leaf);
        let mut identities = leaf.identities.clone();
        identities.extend(known.into_iter().flat_map(|item| item.identities.clone()));
        let is_accepted = state == BurnState::Accepted;
        let same = known.filter(|item| item.state == state);
        BurnItem {
            file: leaf.file.clone(),
            document: leaf.document,
            key: leaf.key.clone(),
            identities: identities.into_iter().collect(),
            state,
            at: same.map_or(now, |item| item.at),
            ciphertext: leaf
                .today
                .as_ref()
                .filter(|_| state == BurnState::Replaced && leaf.state != LeafState::Removed)
                .map(hex),
            reason: known
                .filter(|_| is_accepted)
                .and_then(|item| item.reason.clone()),
            until: known.filter(|_| is_accepted).and_then(|item| item.until),
        }
    }

    fn item(&self, leaf: &ExposedLeaf) -> Option<&BurnItem> {
        self.values.iter().find(|item| is_of(item, leaf))
    }
}

fn is_of(item: &BurnItem, leaf: &ExposedLeaf) -> bool {
    item.file == leaf.file && item.document == leaf.document && item.key == leaf.key
}

fn hex(digest: &TokenDigest) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn leaf(state: LeafState, assumed: bool) -> ExposedLeaf {
        ExposedLeaf {
            file: "a.env".into(),
            document: None,
            key: vec!["A".into()],
            state,
            assumed,
            identities: BTreeSet::from(["shared".to_owned()]),
            since: String::new(),
            readers: BTreeSet::new(),
            today: Some([7; 16]),
            in_use_at: Vec::new(),
            used_by: BTreeSet::new(),
        }
    }

    fn with(leaf: ExposedLeaf) -> Exposure {
        Exposure {
            leaves: vec![leaf],
            ..Exposure::default()
        }
    }

    #[test]
    fn a_replacement_is_noticed_and_remembered_while_the_ciphertext_stays() {
        let now = Timestamp::UNIX_EPOCH;
        let open = BurnList::new().updated(&with(leaf(LeafState::InUse, false)), now);
        assert_eq!(open.values()[0].state, BurnState::Open);
        let replaced = open.updated(&with(leaf(LeafState::Replaced, false)), now);
        assert_eq!(replaced.values()[0].state, BurnState::Replaced);
        let text = replaced.to_text().unwrap();
        let replaced = BurnList::parse(&text).unwrap();
        assert_eq!(replaced.to_text().unwrap(), text);
        // Without an identity: believed while nothing was written there.
        let mut blind = leaf(LeafState::InUse, true);
        assert_eq!(replaced.state(&blind, now), BurnState::Replaced);
        blind.today = Some([8; 16]);
        assert_eq!(replaced.state(&blind, now), BurnState::Open);
        // With one, what is found counts.
        let back = leaf(LeafState::InUse, false);
        assert_eq!(replaced.state(&back, now), BurnState::Open);
    }

    #[test]
    fn what_is_accepted_needs_a_reason_and_an_end() {
        let text = "version = 1\n[[value]]\nfile = \"a.env\"\nkey = [\"A\"]\nidentities = []\nstate = \"accepted\"\nat = \"2026-01-01T00:00:00Z\"\n";
        assert!(BurnList::parse(text).is_err());
        let text = format!("{text}reason = \"read only\"\nuntil = \"2026-06-01T00:00:00Z\"\n");
        let list = BurnList::parse(&text).unwrap();
        let (before, after) = ("2026-05-31T00:00:00Z", "2026-06-02T00:00:00Z");
        let state = |at: &str| list.state(&leaf(LeafState::InUse, false), at.parse().unwrap());
        assert_eq!(state(before), BurnState::Accepted);
        assert_eq!(state(after), BurnState::Open);
    }
}
