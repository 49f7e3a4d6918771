//! One attempt to open a secret by any one of its wraps, through the phases from cheap to costly.

use std::cell::RefCell;

use age_core::format::{FileKey, Stanza};

use crate::keys::late_source::{LateSource, Loaded};
use crate::keys::plugin::{Known, PluginHost};
use crate::keys::wrap::UnwrapError;
use crate::keys::{Identity, IdentitySet, Recipient, age_file};
use crate::secret::SecretBytes;

/// One wrap: the recipient that it is said to be for, and its text.
pub(super) struct Wrap<'w> {
    recipient: Option<&'w Recipient>,
    armored: &'w str,
    /// No age file: not tried again.
    broken: bool,
}

impl<'w> Wrap<'w> {
    pub(super) fn new(recipient: Option<&'w Recipient>, armored: &'w str) -> Self {
        Self {
            recipient,
            armored,
            broken: false,
        }
    }
}

/// The wraps of one secret, and what came of them.
pub(super) struct Attempt<'w> {
    wraps: Vec<Wrap<'w>>,
    opened: Option<SecretBytes>,
    failure: Option<UnwrapError>,
}

impl<'w> Attempt<'w> {
    pub(super) fn new(wraps: Vec<Wrap<'w>>) -> Self {
        Self {
            wraps,
            opened: None,
            failure: None,
        }
    }

    pub(super) fn outcome(self) -> Result<Option<SecretBytes>, UnwrapError> {
        match (self.opened, self.failure) {
            (None, Some(failure)) => Err(failure),
            (opened, _) => Ok(opened),
        }
    }

    /// Keeps the first failure, but rather one of an identity, which the user can do something about.
    fn fail(&mut self, failure: UnwrapError) {
        match (&self.failure, &failure) {
            (None, _) | (Some(UnwrapError::Malformed { .. }), UnwrapError::Failed { .. }) => {
                self.failure = Some(failure);
            }
            _ => {}
        }
    }

    fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    fn live(&self) -> impl Iterator<Item = &Wrap<'w>> {
        self.wraps.iter().filter(|wrap| !wrap.broken)
    }
}

impl IdentitySet {
    /// Tries everything on all of `attempts`, cheap before costly.
    pub(super) fn try_all(&self, attempts: &mut [&mut Attempt<'_>], host: Option<&PluginHost>) {
        for attempt in attempts.iter_mut() {
            self.try_in_memory(attempt);
        }
        for source in self.late().iter().filter(|source| !source.asks()) {
            try_late(source, attempts, host);
        }
        self.try_plugins(attempts, host);
        for source in self.late().iter().filter(|source| source.asks()) {
            try_late(source, attempts, host);
        }
    }

    fn try_in_memory(&self, attempt: &mut Attempt<'_>) {
        if attempt.is_open() {
            return;
        }
        let first = |wrap: &Wrap<'_>| wrap.recipient.and_then(|r| self.identity_of(r));
        // The wrap whose identity is here first.
        let mut order: Vec<usize> = (0..attempt.wraps.len()).collect();
        if order.len() > 1 {
            order.sort_by_key(|&at| first(&attempt.wraps[at]).is_none());
        }
        for at in order {
            let wrap = &attempt.wraps[at];
            if wrap.broken {
                continue;
            }
            let trial = Trial {
                first: first(wrap),
                identities: self.identities(),
                failure: RefCell::default(),
            };
            let opened = age_file::open(wrap.armored, &trial);
            let failure = trial.failure.into_inner();
            match opened {
                Ok(Some(secret)) => {
                    attempt.opened = Some(secret);
                    return;
                }
                Ok(None) => {}
                Err(error) => {
                    attempt.wraps[at].broken = true;
                    attempt.fail(error);
                }
            }
            if let Some(failure) = failure {
                attempt.fail(failure);
            }
        }
    }

    fn try_plugins(&self, attempts: &mut [&mut Attempt<'_>], host: Option<&PluginHost>) {
        let Some(host) = host.or(self.host()) else {
            return;
        };
        let mut plugins: Vec<&str> = Vec::new();
        for plugin in self.identities().iter().filter_map(Identity::plugin) {
            if !plugins.contains(&plugin) {
                plugins.push(plugin);
            }
        }
        // A plugin that a wrap names goes first.
        let named = |plugin: &str, attempt: &Attempt<'_>| {
            let mut wraps = attempt.live();
            wraps.any(|wrap| wrap.recipient.and_then(Recipient::plugin) == Some(plugin))
        };
        plugins.sort_by_key(|plugin| !attempts.iter().any(|attempt| named(plugin, attempt)));
        for plugin in plugins {
            let identities: Vec<&str> = self
                .identities()
                .iter()
                .filter(|identity| identity.plugin() == Some(plugin))
                .filter_map(Identity::plugin_text)
                .collect();
            let mut files: Vec<&str> = Vec::new();
            let mut owners: Vec<usize> = Vec::new();
            for (owner, attempt) in attempts.iter().enumerate().filter(|(_, a)| !a.is_open()) {
                let only_named = named(plugin, attempt);
                for wrap in attempt.live() {
                    let is_named = wrap.recipient.and_then(Recipient::plugin) == Some(plugin);
                    if is_named || !only_named {
                        files.push(wrap.armored);
                        owners.push(owner);
                    }
                }
            }
            if files.is_empty() {
                return;
            }
            let answers = host.open(plugin, &identities, &files);
            for ((owner, file), answer) in owners.into_iter().zip(files).zip(answers) {
                let attempt = &mut *attempts[owner];
                match answer {
                    Ok(Some(key)) if !attempt.is_open() => match age_file::open(file, &Known(&key))
                    {
                        Ok(opened) => attempt.opened = opened,
                        Err(error) => attempt.fail(error),
                    },
                    Ok(_) => {}
                    Err(reason) => attempt.fail(UnwrapError::Failed {
                        identity: format!("age-plugin-{plugin}"),
                        reason,
                    }),
                }
            }
        }
    }
}

fn try_late(source: &LateSource, attempts: &mut [&mut Attempt<'_>], host: Option<&PluginHost>) {
    let may_open = |wrap: &Wrap<'_>| {
        age_file::stanzas(wrap.armored).is_ok_and(|stanzas| source.may_open(&stanzas))
    };
    let mut relevant: Vec<&mut Attempt<'_>> = attempts
        .iter_mut()
        .filter(|attempt| !attempt.is_open() && attempt.live().any(may_open))
        .map(|attempt| &mut **attempt)
        .collect();
    if relevant.is_empty() {
        return;
    }
    if !source.is_per_recipient() {
        return try_loaded(source, &source.load(None), &mut relevant, host);
    }
    // What it gave before, then what it gives for each recipient that is wanted.
    for loaded in source.read_so_far() {
        try_loaded(source, &loaded, &mut relevant, host);
    }
    for attempt in relevant {
        let wanted: Vec<Option<&Recipient>> = attempt.live().map(|wrap| wrap.recipient).collect();
        for recipient in wanted {
            if !attempt.is_open() {
                try_loaded(source, &source.load(recipient), &mut [attempt], host);
            }
        }
    }
}

fn try_loaded(
    source: &LateSource,
    loaded: &Loaded,
    attempts: &mut [&mut Attempt<'_>],
    host: Option<&PluginHost>,
) {
    match loaded {
        Ok(set) => set.try_all(attempts, host),
        // Of a source that asks, the user has to hear; another is reported with the sources if nothing opens.
        Err(reason) if source.asks() => {
            for attempt in attempts.iter_mut() {
                attempt.fail(UnwrapError::Failed {
                    identity: source.name().to_owned(),
                    reason: reason.clone(),
                });
            }
        }
        Err(_) => {}
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
