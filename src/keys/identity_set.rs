//! Identities at hand, and which of them opens a wrap.

use std::fmt;
use std::sync::Arc;

use crate::keys::attempt::{Attempt, Wrap};
use crate::keys::late_source::LateSource;
use crate::keys::plugin::PluginHost;
use crate::keys::wrap::UnwrapError;
use crate::keys::{Identity, Recipient};
use crate::secret::SecretBytes;

/// A wrap with the recipient that it is said to be for, if that is known: it says what to try first.
pub type LabelledWrap<'a> = (Option<&'a Recipient>, &'a str);

/// Identities at hand, in the order in which they are tried; shared by threads.
///
/// Cheap ones come first: X25519 and SSH keys in memory, then sources that are only read on demand, then plugins, last
/// whatever asks for a passphrase. What a plugin or a person answered is kept for the life of the set.
#[derive(Default)]
pub struct IdentitySet {
    identities: Vec<Identity>,
    late: Vec<Arc<LateSource>>,
    /// None: a host without anybody to ask.
    host: Option<Arc<PluginHost>>,
}

impl IdentitySet {
    /// A set of these identities.
    pub fn new(identities: Vec<Identity>) -> Self {
        let host = identities
            .iter()
            .any(|identity| identity.plugin().is_some())
            .then(Arc::default);
        Self {
            identities,
            late: Vec::new(),
            host,
        }
    }

    /// The same set, whose plugins run by way of `host`.
    #[must_use]
    pub fn with_host(mut self, host: Arc<PluginHost>) -> Self {
        self.host = Some(host);
        self
    }

    /// Whether there is none, nor a source that may hold one.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.late.is_empty()
    }

    /// Adds one identity behind the others.
    pub fn push(&mut self, identity: Identity) {
        if identity.plugin().is_some() && self.host.is_none() {
            self.host = Some(Arc::default());
        }
        self.identities.push(identity);
    }

    /// Adds a source that is read on demand.
    pub fn push_late(&mut self, source: LateSource) {
        self.late.push(Arc::new(source));
    }

    /// Adds the identities of `other` behind those of this set.
    pub fn extend(&mut self, other: IdentitySet) {
        self.identities.extend(other.identities);
        self.late.extend(other.late);
        // The first one that knows whom to ask.
        if self.host.is_none() {
            self.host = other.host;
        }
    }

    /// A second set of the same identities; nothing secret is copied, and what one learns from a person or a plugin the
    /// other knows too.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            identities: self.identities.iter().map(Identity::share).collect(),
            late: self.late.clone(),
            host: self.host.clone(),
        }
    }

    /// The identities in memory, in order; without those of sources that are read on demand.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The known recipients, in order. Reads sources that ask nobody; of the others only what was read already. A
    /// plugin's recipient is unknown.
    pub fn recipients(&self) -> Vec<Recipient> {
        let mut recipients: Vec<Recipient> = Vec::new();
        let mut add = |recipient: Recipient| {
            if !recipients.contains(&recipient) {
                recipients.push(recipient);
            }
        };
        self.identities
            .iter()
            .filter_map(Identity::recipient)
            .for_each(&mut add);
        for source in &self.late {
            if let Some(recipient) = source.recipient() {
                add(recipient.clone());
            } else {
                if !source.asks() {
                    source.load(None);
                }
                for loaded in source.read_so_far() {
                    if let Ok(set) = loaded.as_ref() {
                        set.recipients().into_iter().for_each(&mut add);
                    }
                }
            }
        }
        recipients
    }

    /// The identity of `recipient`, if it is in the set and not only found on demand.
    pub fn get(&self, recipient: &Recipient) -> Option<Identity> {
        self.identities()
            .iter()
            .find(|identity| identity.recipient_ref() == Some(recipient))
            .map(Identity::share)
    }

    /// Whether the identity of `recipient` is in the set, as far as [`IdentitySet::recipients`] knows.
    pub fn holds(&self, recipient: &Recipient) -> bool {
        self.identity_of(recipient).is_some() || self.late_of(recipient).is_some()
    }

    /// A set of the identity of `recipient` alone; none if it is not here.
    pub fn only(&self, recipient: &Recipient) -> Option<IdentitySet> {
        let mut set = IdentitySet {
            host: self.host.clone(),
            ..IdentitySet::default()
        };
        if let Some(identity) = self.identity_of(recipient) {
            set.identities.push(identity.share());
            return Some(set);
        }
        let source = self.late_of(recipient)?;
        if source.recipient() == Some(recipient) {
            set.late.push(Arc::clone(source));
            return Some(set);
        }
        source
            .read_so_far()
            .iter()
            .find_map(|loaded| match loaded.as_ref() {
                Ok(inner) => inner.only(recipient),
                Err(_) => None,
            })
    }

    /// Reads all sources that are read on demand, asking where they ask, so that their recipients are known.
    pub fn read_all(&self) {
        for source in &self.late {
            if let Ok(set) = source.load(None).as_ref() {
                set.read_all();
            }
        }
    }

    /// The sources that were read on demand and failed, by name, with the reason.
    pub fn failures(&self) -> Vec<(String, String)> {
        let mut failures = Vec::new();
        for source in &self.late {
            for loaded in source.read_so_far() {
                match loaded.as_ref() {
                    Ok(set) => failures.extend(set.failures()),
                    Err(reason) => failures.push((source.name().to_owned(), reason.clone())),
                }
            }
        }
        failures
    }

    /// Opens one armored age file; none if no identity of the set is among its recipients.
    ///
    /// # Errors
    /// [`UnwrapError`] if the text is no age file, or a plugin or a passphrase failed.
    pub fn unwrap(&self, armored: &str) -> Result<Option<SecretBytes>, UnwrapError> {
        self.open_one(vec![Wrap::new(None, armored)])
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
        self.open_one(vec![Wrap::new(Some(recipient), armored)])
    }

    /// Opens any one of several wraps of one secret, as a key group holds them: the cheapest that opens, so that nobody
    /// is asked for the second if the first opens for nothing.
    ///
    /// # Errors
    /// As [`IdentitySet::unwrap`]; only if none opens.
    pub fn unwrap_any(
        &self,
        wraps: &[LabelledWrap<'_>],
    ) -> Result<Option<SecretBytes>, UnwrapError> {
        let wraps = wraps.iter().map(|&(r, text)| Wrap::new(r, text));
        self.open_one(wraps.collect())
    }

    /// Opens many wraps, each for itself, in order; a plugin is run once for all of them.
    pub fn unwrap_many(&self, wraps: &[&str]) -> Vec<Result<Option<SecretBytes>, UnwrapError>> {
        self.open(
            wraps
                .iter()
                .map(|text| vec![Wrap::new(None, text)])
                .collect(),
        )
    }

    /// Opens the wraps of many documents (or key groups) as [`IdentitySet::unwrap_any`] does, with one session of each
    /// plugin for all of them; in order.
    pub fn unwrap_all(
        &self,
        documents: &[Vec<LabelledWrap<'_>>],
    ) -> Vec<Result<Option<SecretBytes>, UnwrapError>> {
        let mut groups = Vec::with_capacity(documents.len());
        for wraps in documents {
            let wraps = wraps.iter().map(|&(r, text)| Wrap::new(r, text));
            groups.push(wraps.collect());
        }
        self.open(groups)
    }

    /// Runs what has to be run or asked for these documents once, so that opening them one by one, from many threads,
    /// asks nothing more. Returns at once where no plugin is among the identities.
    pub fn prefetch(&self, documents: &[Vec<LabelledWrap<'_>>]) {
        if self
            .identities
            .iter()
            .any(|identity| identity.plugin().is_some())
        {
            drop(self.unwrap_all(documents));
        }
    }

    pub(super) fn identity_of(&self, recipient: &Recipient) -> Option<&Identity> {
        self.identities
            .iter()
            .find(|identity| identity.recipient_ref() == Some(recipient))
    }

    pub(super) fn late(&self) -> &[Arc<LateSource>] {
        &self.late
    }

    pub(super) fn host(&self) -> Option<&PluginHost> {
        self.host.as_deref()
    }

    fn late_of(&self, recipient: &Recipient) -> Option<&Arc<LateSource>> {
        self.late.iter().find(|source| {
            if let Some(known) = source.recipient() {
                return known == recipient;
            }
            if !source.may_hold(recipient) {
                return false;
            }
            source.holds_so_far(recipient)
                || !source.asks()
                    && source
                        .load(Some(recipient))
                        .as_ref()
                        .as_ref()
                        .is_ok_and(|set| set.holds(recipient))
        })
    }

    fn open_one(&self, wraps: Vec<Wrap<'_>>) -> Result<Option<SecretBytes>, UnwrapError> {
        let mut attempt = Attempt::new(wraps);
        self.try_all(&mut [&mut attempt], self.host());
        attempt.outcome()
    }

    fn open(&self, groups: Vec<Vec<Wrap<'_>>>) -> Vec<Result<Option<SecretBytes>, UnwrapError>> {
        let mut attempts: Vec<Attempt<'_>> = groups.into_iter().map(Attempt::new).collect();
        self.try_all(&mut attempts.iter_mut().collect::<Vec<_>>(), self.host());
        attempts.into_iter().map(Attempt::outcome).collect()
    }
}

impl fmt::Debug for IdentitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(&self.identities)
            .entries(&self.late)
            .finish()
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
