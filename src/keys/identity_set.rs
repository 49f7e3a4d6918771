//! Identities at hand, and which of them opens a wrap.

use std::cell::RefCell;
use std::fmt;

use age_core::format::{FileKey, Stanza};

use crate::keys::age_file;
use crate::keys::wrap::UnwrapError;
use crate::keys::{Identity, Recipient};
use crate::secret::SecretBytes;

/// Identities at hand, in the order in which they are tried; shared by threads.
#[derive(Default)]
pub struct IdentitySet {
    identities: Vec<Identity>,
}

impl IdentitySet {
    /// A set of these identities.
    pub fn new(identities: Vec<Identity>) -> Self {
        Self { identities }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// Adds the identities of `other` behind those of this set.
    pub fn extend(&mut self, other: IdentitySet) {
        self.identities.extend(other.identities);
    }

    /// The known recipients, in order.
    pub fn recipients(&self) -> Vec<Recipient> {
        let mut recipients: Vec<Recipient> = Vec::new();
        for recipient in self.identities.iter().filter_map(Identity::recipient) {
            if !recipients.contains(&recipient) {
                recipients.push(recipient);
            }
        }
        recipients
    }

    /// Whether the identity of `recipient` is in the set.
    pub fn holds(&self, recipient: &Recipient) -> bool {
        self.identity_of(recipient).is_some()
    }

    /// A set of the identity of `recipient` alone; none if it is not here.
    pub fn only(&self, recipient: &Recipient) -> Option<IdentitySet> {
        let identity = self.identity_of(recipient)?.share();
        Some(Self::new(vec![identity]))
    }

    /// Opens one armored age file; none if no identity of the set is among its recipients.
    ///
    /// # Errors
    /// [`UnwrapError`] if the text is no age file, or a plugin failed.
    pub fn unwrap(&self, armored: &str) -> Result<Option<SecretBytes>, UnwrapError> {
        self.open(None, armored)
    }

    /// As [`IdentitySet::unwrap`], trying the identity of `recipient` first: a wrong X25519 identity costs as much as
    /// the right one.
    ///
    /// # Errors
    /// As [`IdentitySet::unwrap`].
    pub fn unwrap_for(
        &self,
        recipient: &Recipient,
        armored: &str,
    ) -> Result<Option<SecretBytes>, UnwrapError> {
        self.open(Some(recipient), armored)
    }

    fn identity_of(&self, recipient: &Recipient) -> Option<&Identity> {
        self.identities
            .iter()
            .find(|identity| identity.recipient_ref() == Some(recipient))
    }

    fn open(
        &self,
        first: Option<&Recipient>,
        armored: &str,
    ) -> Result<Option<SecretBytes>, UnwrapError> {
        let trial = Trial {
            first: first.and_then(|recipient| self.identity_of(recipient)),
            identities: &self.identities,
            failure: RefCell::default(),
        };
        let opened = age_file::open(armored, &trial)?;
        match (opened, trial.failure.into_inner()) {
            (None, Some(failure)) => Err(failure),
            (opened, _) => Ok(opened),
        }
    }
}

impl fmt::Debug for IdentitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.identities).finish()
    }
}

/// Tries one identity after the other on one header; one that fails does not keep the others from trying.
struct Trial<'a> {
    first: Option<&'a Identity>,
    identities: &'a [Identity],
    failure: RefCell<Option<UnwrapError>>,
}

impl age::Identity for Trial<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, age::DecryptError>> {
        let rest = self.identities.iter().filter(|identity| {
            !self
                .first
                .is_some_and(|first| std::ptr::eq(first, *identity))
        });
        for identity in self.first.into_iter().chain(rest) {
            match identity.try_stanzas(stanzas) {
                Some(Ok(key)) => return Some(Ok(key)),
                Some(Err(error)) => {
                    self.failure
                        .borrow_mut()
                        .get_or_insert_with(|| UnwrapError::Failed {
                            identity: identity.name(),
                            reason: age_file::plain_message(&error),
                        });
                }
                None => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::wrap::wrap;

    #[test]
    fn what_is_wrapped_opens_with_its_identity_and_no_other() {
        let (a, b) = (Identity::mint(), Identity::mint());
        let recipient = a.recipient().unwrap();
        let armored = wrap(b"thirty-two bytes of a data key..", &recipient).unwrap();
        assert!(armored.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
        assert!(armored.ends_with("-----END AGE ENCRYPTED FILE-----\n"));
        assert!(armored.lines().all(|line| line.len() <= 64));

        let stranger = IdentitySet::new(vec![b.share()]);
        assert!(stranger.unwrap(&armored).unwrap().is_none());
        assert!(!stranger.holds(&recipient));
        let set = IdentitySet::new(vec![b, a]);
        for opened in [
            set.unwrap(&armored),
            set.unwrap_for(&recipient, &armored),
            set.unwrap_for(&Identity::mint().recipient().unwrap(), &armored),
            set.only(&recipient).unwrap().unwrap(armored.trim()),
        ] {
            assert_eq!(
                opened.unwrap().unwrap().expose(),
                b"thirty-two bytes of a data key.."
            );
        }
        assert_eq!(set.recipients().len(), 2);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let identity = Identity::mint();
        let armored = wrap(&[7; 32], &identity.recipient().unwrap()).unwrap();
        let set = IdentitySet::new(vec![identity]);
        for bad in [
            "",
            "x",
            "age-encryption.org/v1\n",
            &armored[..120],
            &armored[1..],
        ] {
            assert!(matches!(
                set.unwrap(bad),
                Err(UnwrapError::Malformed { .. })
            ));
        }
        for at in 36..armored.len() - 36 {
            let mut bytes = armored.clone().into_bytes();
            if bytes[at] == b'\n' {
                continue;
            }
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let opened = set.unwrap(std::str::from_utf8(&bytes).unwrap());
            assert!(!matches!(opened, Ok(Some(_))), "octet {at} changed unseen");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let identity = Identity::mint();
        let text = format!(
            "{identity:?} {:?}",
            IdentitySet::new(vec![identity.share()])
        );
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains(&identity.recipient().unwrap().short()));
    }

    #[test]
    fn sets_are_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<IdentitySet>();
        shared::<Identity>();
        shared::<Recipient>();
    }
}
