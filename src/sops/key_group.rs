//! Key groups: recovering the data key from one group, or from enough of several by their Shamir threshold.

use crate::keys::wrap::{UnwrapError, WrapError, wrap};
use crate::keys::{DataKey, IdentitySet, LabelledWrap, Recipient};
use crate::secret::SecretBytes;
use crate::shamir::{self, ShamirError, Share, Threshold};
use crate::sops::metadata::KeyGroup;

/// Why the data key was not recovered, or not wrapped.
#[derive(Debug, thiserror::Error)]
pub enum KeyGroupError {
    /// No identity at hand opens the file.
    #[error("no identity at hand opens it; it is encrypted to {}", listed(.recipients))]
    NotForUs {
        /// All recipients tried, as written; other key types by kind and name.
        recipients: Vec<String>,
        /// The first failure of an identity or wrap, if there was one.
        #[source]
        cause: Option<UnwrapError>,
    },
    /// Too few groups opened.
    #[error("{opened} of {groups} key groups open, {needed} are needed; tried {}", listed(.recipients))]
    TooFewGroups {
        /// How many opened.
        opened: usize,
        /// How many there are.
        groups: usize,
        /// How many are needed.
        needed: usize,
        /// All recipients tried.
        recipients: Vec<String>,
        /// The first failure of an identity or wrap, if there was one.
        #[source]
        cause: Option<UnwrapError>,
    },
    /// The threshold does not fit the number of groups.
    #[error("a threshold of {needed} does not fit {groups} key groups")]
    Threshold {
        /// The threshold.
        needed: u64,
        /// The number of groups.
        groups: usize,
    },
    /// The shares do not belong together.
    #[error("the parts of the data key do not combine")]
    Shares(#[from] ShamirError),
    /// What was unwrapped is no data key.
    #[error("what was unwrapped is not a data key of 32 bytes")]
    Length,
    /// A group without keys.
    #[error("a key group has no recipient")]
    EmptyGroup,
    /// A recipient's plugin failed.
    #[error("the data key could not be wrapped")]
    Wrap(#[from] WrapError),
}

fn listed(recipients: &[String]) -> String {
    if recipients.is_empty() {
        "nobody that is an age recipient".to_owned()
    } else {
        recipients.join(", ")
    }
}

/// Recovers the data key. A threshold of none means all groups.
///
/// # Errors
/// [`KeyGroupError`], naming the recipients tried.
pub fn unwrap(
    groups: &[KeyGroup],
    threshold: Option<u64>,
    identities: &IdentitySet,
) -> Result<DataKey, KeyGroupError> {
    let mut cause = None;
    let recipients = || {
        let names = groups.iter().flat_map(|g| {
            let age = g.age.iter().map(|e| e.text.clone());
            age.chain(g.foreign.iter().map(ToString::to_string))
        });
        names.collect::<Vec<_>>()
    };
    if let [only] = groups {
        let Some(bytes) = open_group(only, identities, &mut cause) else {
            return Err(KeyGroupError::NotForUs {
                recipients: recipients(),
                cause,
            });
        };
        return DataKey::from_bytes(bytes.expose()).ok_or(KeyGroupError::Length);
    }
    let threshold = threshold_of(threshold, groups.len())?;
    let mut shares = Vec::with_capacity(threshold.needed());
    for group in groups {
        if shares.len() == threshold.needed() {
            break;
        }
        if let Some(bytes) = open_group(group, identities, &mut cause) {
            shares.push(Share::from_bytes(bytes).ok_or(KeyGroupError::Length)?);
        }
    }
    if shares.len() < threshold.needed() {
        return Err(KeyGroupError::TooFewGroups {
            opened: shares.len(),
            groups: groups.len(),
            needed: threshold.needed(),
            recipients: recipients(),
            cause,
        });
    }
    DataKey::from_bytes(shamir::combine(&shares)?.expose()).ok_or(KeyGroupError::Length)
}

/// The secret that each group wraps: the data key itself for one group, else a share for each.
///
/// # Errors
/// [`KeyGroupError::Threshold`].
pub fn parts(
    key: &DataKey,
    groups: usize,
    threshold: Option<u64>,
) -> Result<Vec<SecretBytes>, KeyGroupError> {
    if groups == 1 {
        return Ok(vec![SecretBytes::from_slice(key.expose())]);
    }
    let threshold = threshold_of(threshold, groups)?;
    let shares = shamir::split(key.expose(), threshold, &mut rand::rngs::OsRng);
    let bytes = shares.iter().map(|s| SecretBytes::from_slice(s.expose()));
    Ok(bytes.collect())
}

/// Wraps the data key for new groups: per group, recipients as written with their armored wraps.
///
/// # Errors
/// [`KeyGroupError::EmptyGroup`], [`KeyGroupError::Threshold`], [`KeyGroupError::Wrap`].
pub fn wrap_groups(
    key: &DataKey,
    groups: &[Vec<Recipient>],
    threshold: Option<u64>,
) -> Result<Vec<Vec<(String, String)>>, KeyGroupError> {
    if groups.is_empty() || groups.iter().any(Vec::is_empty) {
        return Err(KeyGroupError::EmptyGroup);
    }
    let parts = parts(key, groups.len(), threshold)?;
    let mut out = Vec::with_capacity(groups.len());
    for (group, part) in groups.iter().zip(&parts) {
        let mut entries = Vec::with_capacity(group.len());
        for recipient in group {
            entries.push((
                recipient.as_str().to_owned(),
                wrap(part.expose(), recipient)?,
            ));
        }
        out.push(entries);
    }
    Ok(out)
}

fn threshold_of(threshold: Option<u64>, groups: usize) -> Result<Threshold, KeyGroupError> {
    let needed = threshold.unwrap_or(groups as u64);
    Threshold::new(needed, groups).ok_or(KeyGroupError::Threshold { needed, groups })
}

/// The wraps of a group, labelled by what is known of their recipients.
pub fn wraps(group: &KeyGroup) -> Vec<LabelledWrap<'_>> {
    let entries = group.age.iter();
    entries
        .map(|e| (e.recipient.as_ref(), e.enc.as_str()))
        .collect()
}

/// Opens one group by the cheapest of its entries that opens, whatever they are labelled: an entry may be mislabelled,
/// and a plugin identity does not know its recipient.
fn open_group(
    group: &KeyGroup,
    identities: &IdentitySet,
    cause: &mut Option<UnwrapError>,
) -> Option<SecretBytes> {
    match identities.unwrap_any(&wraps(group)) {
        Ok(opened) => opened,
        Err(error) => {
            cause.get_or_insert(error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Identity;
    use crate::sops::metadata::AgeEntry;

    fn groups_of(wrapped: Vec<Vec<(String, String)>>) -> Vec<KeyGroup> {
        let group = |entries: Vec<(String, String)>| KeyGroup {
            age: entries
                .into_iter()
                .map(|(text, enc)| AgeEntry {
                    recipient: Recipient::parse(&text).ok(),
                    text,
                    enc,
                })
                .collect(),
            foreign: Vec::new(),
        };
        wrapped.into_iter().map(group).collect()
    }

    #[test]
    fn two_of_three_groups_open_and_one_does_not() {
        let ids: Vec<Identity> = (0..3).map(|_| Identity::mint()).collect();
        let recipients = ids
            .iter()
            .map(|i| vec![i.recipient().unwrap()])
            .collect::<Vec<_>>();
        let key = DataKey::generate();
        let groups = groups_of(wrap_groups(&key, &recipients, Some(2)).unwrap());
        let set =
            |which: &[usize]| IdentitySet::new(which.iter().map(|i| ids[*i].share()).collect());
        for pair in [[0, 1], [2, 0], [1, 2]] {
            let found = unwrap(&groups, Some(2), &set(&pair)).unwrap();
            assert_eq!(found.expose(), key.expose());
        }
        let error = unwrap(&groups, Some(2), &set(&[1])).unwrap_err();
        assert!(matches!(
            error,
            KeyGroupError::TooFewGroups { opened: 1, .. }
        ));
        assert!(unwrap(&groups, None, &set(&[0, 1])).is_err());
    }

    #[test]
    fn nobody_opens_without_an_identity_and_the_error_names_the_recipients() {
        let owner = Identity::mint().recipient().unwrap();
        let wrapped = wrap_groups(&DataKey::generate(), &[vec![owner.clone()]], None).unwrap();
        let error = unwrap(&groups_of(wrapped), None, &IdentitySet::default()).unwrap_err();
        assert!(error.to_string().contains(owner.as_str()));
    }
}
