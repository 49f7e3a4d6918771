//! A source of identities that costs something to read: a passphrase, a command, an RSA key's arithmetic. It is read
//! when nothing cheaper opens a wrap, and once per run.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use age_core::format::Stanza;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use crate::keys::{IdentitySet, Recipient};

/// What reading a late source gave: its identities, or a reason that holds nothing secret.
pub type Loaded = Result<IdentitySet, String>;

type Load = dyn Fn(Option<&Recipient>) -> Loaded + Send + Sync;

/// A source of identities that is read on demand; see the module.
pub struct LateSource {
    name: String,
    recipient: Option<Recipient>,
    ssh: bool,
    asks: bool,
    per_recipient: bool,
    load: Box<Load>,
    loaded: Mutex<Vec<(Option<Recipient>, Arc<Loaded>)>>,
}

impl LateSource {
    /// A source called `name` in messages, read by `load`.
    pub fn new(
        name: &str,
        load: impl Fn(Option<&Recipient>) -> Loaded + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            recipient: None,
            ssh: false,
            asks: false,
            per_recipient: false,
            load: Box::new(load),
            loaded: Mutex::default(),
        }
    }

    /// Reading it asks a person: it comes last, and only to open a wrap, never to list recipients.
    #[must_use]
    pub fn asking(mut self) -> Self {
        self.asks = true;
        self
    }

    /// It holds an SSH key, so it is left alone for wraps of other kinds.
    #[must_use]
    pub fn ssh(mut self) -> Self {
        self.ssh = true;
        self
    }

    /// Its one recipient is known before it is read.
    #[must_use]
    pub fn known(mut self, recipient: Recipient) -> Self {
        self.ssh |= recipient.is_ssh();
        self.recipient = Some(recipient);
        self
    }

    /// It may answer differently for different recipients: `load` is told which one is wanted, once each.
    #[must_use]
    pub fn per_recipient(mut self) -> Self {
        self.per_recipient = true;
        self
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its recipient, where that is known before it is read.
    pub fn recipient(&self) -> Option<&Recipient> {
        self.recipient.as_ref()
    }

    /// Whether reading it asks a person.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Why reading it failed, if it was read and failed.
    pub fn failure(&self) -> Option<String> {
        self.read_so_far()
            .iter()
            .find_map(|loaded| loaded.as_ref().as_ref().err().cloned())
    }

    /// Reads it, or gives what an earlier reading gave.
    pub fn load(&self, wanted: Option<&Recipient>) -> Arc<Loaded> {
        let wanted = wanted.filter(|_| self.per_recipient);
        // Held while reading: a second thread waits for the answer rather than asking again.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = loaded.iter().find(|(of, _)| of.as_ref() == wanted) {
            return Arc::clone(known);
        }
        if let Some(constant) = constant(&loaded) {
            return constant;
        }
        let fresh = Arc::new((self.load)(wanted));
        loaded.push((wanted.cloned(), Arc::clone(&fresh)));
        fresh
    }

    /// Whether it is told which recipient is wanted.
    pub(super) fn is_per_recipient(&self) -> bool {
        self.per_recipient
    }

    /// Whether it could hold the identity of `recipient`, as far as that can be told for nothing.
    pub(super) fn may_hold(&self, recipient: &Recipient) -> bool {
        recipient.is_ssh() || !self.ssh
    }

    /// Whether what was read so far holds the identity of `recipient`.
    pub(super) fn holds_so_far(&self, recipient: &Recipient) -> bool {
        self.read_so_far().iter().any(|loaded| {
            loaded
                .as_ref()
                .as_ref()
                .is_ok_and(|set| set.holds(recipient))
        })
    }

    /// What was read so far.
    pub(super) fn read_so_far(&self) -> Vec<Arc<Loaded>> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded
            .iter()
            .map(|(_, loaded)| Arc::clone(loaded))
            .collect()
    }

    /// Whether it could open a header of these stanzas, as far as that can be told for nothing.
    pub(super) fn may_open(&self, stanzas: &[Stanza]) -> bool {
        if !self.ssh {
            return true;
        }
        let wanted = self.recipient.as_ref().and_then(ssh_tag);
        stanzas.iter().any(|stanza| {
            stanza.tag.starts_with("ssh-")
                && wanted
                    .as_ref()
                    .is_none_or(|wanted| stanza.args.first() == Some(wanted))
        })
    }
}

/// What a source gives whatever recipient is wanted: it was asked for two and gave the same. Then it is asked no more,
/// for it may well ask a person.
fn constant(loaded: &[(Option<Recipient>, Arc<Loaded>)]) -> Option<Arc<Loaded>> {
    let mut sets = loaded
        .iter()
        .filter_map(|(_, loaded)| Some((loaded, loaded.as_ref().as_ref().ok()?)));
    let (_, first) = sets.next()?;
    let (same, second) = sets.next()?;
    (first.identities().len() == second.identities().len()
        && first.recipients() == second.recipients())
    .then(|| Arc::clone(same))
}

/// The first argument of a stanza for an SSH recipient: the first four octets of the SHA-256 of its key.
///
/// Source: age's README, "SSH keys"; `age-0.12.1/src/ssh.rs`, `ssh_tag`.
fn ssh_tag(recipient: &Recipient) -> Option<String> {
    let (_, encoded) = recipient.key().split_once(' ')?;
    let key = BASE64_STANDARD.decode(encoded).ok()?;
    Some(BASE64_STANDARD_NO_PAD.encode(&Sha256::digest(key)[..4]))
}

impl fmt::Debug for LateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateSource({})", self.name)
    }
}
