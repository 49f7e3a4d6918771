//! Clusters reached by the user's `kubectl`: identities in the Secrets that Flux, or Argo CD with KSOPS, reads.
//!
//! The user's kubeconfig, credentials and proxies count. Values travel on stdin alone. Every write names the version of the
//! Secret that was read, so that nothing of somebody else's is overwritten, and is read back.
//!
//! Two forms. An entry ending `.agekey` is Flux's: each new identity gets an entry of its own. Any other entry is a key file
//! that a program reads as a file (KSOPS: `keys.txt`): new identities go behind what it holds.

mod kubectl;
mod kustomization;
mod problem;
mod secret;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

pub use kubectl::KubectlProgram;
pub use problem::{KubeError, KubeProblem};

use crate::fleet::directory::{Opened, Root};
use crate::fleet::directory_host::unique;
use crate::fleet::{
    Before, Challenge, Delivered, FileBefore, Held, Receipt, Reconciliation, Target, TargetError,
    TargetKind, Withdrawn,
};
use crate::keys::key_file::KeyFile;
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::ledger::ReceiptKind;
use crate::topology::host::{Cluster, ClusterTarget, NamespacedName};
use kubectl::{Address, FluxKind, MANAGER};
use secret::{ENDING, SecretObject};

/// How often a write is tried that somebody else's was quicker than.
const TRIES: u32 = 6;

/// A cluster that is reached by `kubectl`.
#[derive(Debug)]
pub struct KubernetesCluster {
    name: String,
    context: String,
    watched: Vec<Watched>,
    kustomizations: Vec<NamespacedName>,
    program: Arc<KubectlProgram>,
}

/// A Secret and what its readers take from it.
#[derive(Debug)]
struct Watched {
    at: Address,
    forms: Vec<Form>,
}

/// How identities stand in a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Every entry ending `.agekey`.
    Flux,
    /// One entry that is a key file.
    File(String),
}

impl Form {
    /// The entries of this form that are there.
    fn entries(&self, secret: &SecretObject) -> Vec<String> {
        secret
            .names()
            .filter(|name| match self {
                Self::Flux => name.ends_with(ENDING),
                Self::File(entry) => name == entry,
            })
            .map(str::to_owned)
            .collect()
    }

    /// The entry that a new identity goes to.
    fn entry_for(&self, id: &str) -> String {
        match self {
            Self::Flux => format!("{id}{ENDING}"),
            Self::File(entry) => entry.clone(),
        }
    }
}

/// One write.
struct Change {
    entry: String,
    text: Text,
}

enum Text {
    Apply(Zeroizing<Vec<u8>>),
    Patch(Zeroizing<Vec<u8>>),
}

impl KubernetesCluster {
    /// The target of a cluster with a context; none for one that is reached otherwise.
    pub fn of(cluster: &Cluster, program: &Arc<KubectlProgram>) -> Option<Self> {
        let ClusterTarget::Context(context) = &cluster.target else {
            return None;
        };
        let mut watched: Vec<Watched> = Vec::new();
        for entry in &cluster.secrets {
            let at = Address {
                namespace: entry.namespace.clone(),
                name: entry.name.clone(),
            };
            let form = if entry.entry.ends_with(ENDING) {
                Form::Flux
            } else {
                Form::File(entry.entry.clone())
            };
            match watched.iter_mut().find(|known| known.at == at) {
                Some(known) if known.forms.contains(&form) => {}
                Some(known) => known.forms.push(form),
                None => watched.push(Watched {
                    at,
                    forms: vec![form],
                }),
            }
        }
        Some(Self {
            name: cluster.name.clone(),
            context: context.clone(),
            watched,
            kustomizations: cluster.kustomizations.clone(),
            program: Arc::clone(program),
        })
    }

    fn get(&self, at: &Address) -> Result<SecretObject, KubeProblem> {
        SecretObject::parse(at, &self.program.get(&self.context, at)?)
    }

    /// Asks `next` for a write until there is none to make; each is made on what was read right before it.
    ///
    /// A write that failed is looked at again: it may have been done all the same (a connection that broke off), or
    /// somebody else's may have come first. One that was done and is undone again is `undone`.
    fn change(
        &self,
        at: &Address,
        next: impl Fn(&SecretObject) -> Result<Option<Change>, KubeProblem>,
        undone: impl Fn(&SecretObject, String) -> KubeProblem,
    ) -> Result<bool, KubeProblem> {
        let mut done: Vec<String> = Vec::new();
        let mut failed: Option<(String, KubeProblem)> = None;
        let mut tries = 0;
        loop {
            let secret = self.get(at)?;
            let Some(change) = next(&secret)? else {
                return Ok(!done.is_empty() || failed.is_some());
            };
            if let Some((version, problem)) = failed.take()
                && version == secret.version()
                && !matches!(problem, KubeProblem::Overtaken { .. })
            {
                return Err(problem);
            }
            if done.contains(&change.entry) {
                return Err(undone(&secret, change.entry));
            }
            if tries >= TRIES {
                let secret = at.to_string();
                return Err(KubeProblem::Busy { secret, tries });
            }
            std::thread::sleep(Duration::from_millis(100) * tries);
            secret.check_mutable()?;
            let written = match change.text {
                Text::Apply(manifest) => self.program.apply(&self.context, at, manifest),
                Text::Patch(patch) => self.program.patch(&self.context, at, patch),
            };
            match written {
                Ok(()) => {
                    done.push(change.entry);
                    tries = 0;
                }
                Err(problem) if is_final(&problem) => return Err(problem),
                Err(problem) => {
                    failed = Some((secret.version().to_owned(), problem));
                    tries += 1;
                }
            }
        }
    }

    /// The write that puts an identity into one form of a Secret; none if it is there.
    fn delivery(
        form: &Form,
        id: &str,
        identity: &Identity,
        secret: &SecretObject,
    ) -> Result<Option<Change>, KubeProblem> {
        // All of them are read, also when it is found: a malformed one makes Flux refuse the rest.
        for entry in form.entries(secret) {
            let file = secret.key_file(&entry)?;
            let recipient = identity.recipient_ref();
            if let Some((file, recipient)) = file.zip(recipient)
                && file.holds(recipient)
            {
                return Ok(None);
            }
        }
        let entry = form.entry_for(id);
        let old = secret.key_file(&entry)?;
        let ours = secret.applied_by_us();
        let is_foreign = old.is_some() && !ours.contains(&entry.as_str());
        if *form == Form::Flux && is_foreign && secret.managers_of(&entry) != MANAGER {
            return Err(KubeProblem::Conflict {
                secret: secret.at.to_string(),
                managers: secret.managers_of(&entry),
                entry,
            });
        }
        let empty = KeyFile::empty();
        let file = old.as_ref().unwrap_or(&empty);
        let text = file.with_identity(&[&format!("cofferdam: {id}")], identity);
        let value = text.expose().as_bytes();
        let by_apply = *form == Form::Flux && !is_foreign && secret.may_be_applied();
        let text = if by_apply {
            let keep: Vec<&str> = ours.into_iter().filter(|name| *name != entry).collect();
            Text::Apply(secret.manifest(&keep, Some((&entry, value))))
        } else {
            Text::Patch(secret.patch(&entry, Some(value), false))
        };
        Ok(Some(Change { entry, text }))
    }

    /// The next write that takes an identity out of a Secret; none if it is nowhere.
    fn withdrawal(
        watched: &Watched,
        recipient: &Recipient,
        before: Option<&Before>,
        secret: &SecretObject,
    ) -> Result<Option<Change>, KubeProblem> {
        let is_annotated = secret
            .annotated()
            .iter()
            .any(|identity| identity.recipient_ref() == Some(recipient));
        for entry in watched.forms.iter().flat_map(|form| form.entries(secret)) {
            let Some(file) = secret.key_file(&entry)? else {
                continue;
            };
            if !file.holds(recipient) {
                continue;
            }
            let others = secret.appliers_of(&entry);
            if !others.is_empty() {
                return Err(KubeProblem::Applied {
                    secret: secret.at.to_string(),
                    managers: others.join(", "),
                    entry,
                });
            }
            let key = place_of(&watched.at, &entry);
            let note = before.and_then(|before| before.files.get(&key).copied());
            let opened = Opened {
                bytes: Zeroizing::new(secret.value(&entry).unwrap_or_default().to_vec()),
                file,
                mode: 0,
            };
            let text = Root::text_without(&opened, recipient, note);
            // An entry without any identity makes some versions of Flux fail: it goes, with what comments it has.
            let is_left = text
                .lines()
                .any(|line| !line.trim().is_empty() && !line.starts_with('#'));
            let ours = secret.applied_by_us();
            let by_apply = ours.contains(&entry.as_str())
                && secret.managers_of(&entry) == MANAGER
                && secret.may_be_applied()
                && !is_left;
            let text = if by_apply {
                let keep: Vec<&str> = ours.into_iter().filter(|name| *name != entry).collect();
                Text::Apply(secret.manifest(&keep, None))
            } else {
                let value = is_left.then_some(text.as_bytes());
                Text::Patch(secret.patch(&entry, value, is_annotated))
            };
            return Ok(Some(Change { entry, text }));
        }
        Ok(is_annotated.then(|| Change {
            entry: String::new(),
            text: Text::Patch(secret.patch("", None, true)),
        }))
    }

    fn problem(&self, source: KubeProblem) -> TargetError {
        TargetError::Kubernetes(KubeError {
            cluster: self.name.clone(),
            context: self.context.clone(),
            source,
        })
    }

    fn each<T>(
        &self,
        mut look: impl FnMut(&Watched, &SecretObject) -> Result<T, KubeProblem>,
    ) -> Result<Vec<T>, TargetError> {
        self.watched
            .iter()
            .map(|watched| {
                self.get(&watched.at)
                    .and_then(|secret| look(watched, &secret))
            })
            .collect::<Result<_, _>>()
            .map_err(|problem| self.problem(problem))
    }
}

impl Target for KubernetesCluster {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Cluster
    }

    fn place(&self) -> String {
        let secrets: Vec<String> = self.watched.iter().map(|w| w.at.to_string()).collect();
        format!("{}: {}", self.context, secrets.join(", "))
    }

    fn read(&self) -> Result<Held, TargetError> {
        let (mut identities, mut recipients) = (Vec::new(), Vec::new());
        let mut files = BTreeMap::new();
        self.each(|watched, secret| {
            for entry in watched.forms.iter().flat_map(|form| form.entries(secret)) {
                let Some(file) = secret.key_file(&entry)? else {
                    continue;
                };
                let value = secret.value(&entry).unwrap_or_default();
                let note = FileBefore {
                    mode: 0,
                    final_newline: value.last().is_none_or(|&byte| byte == b'\n'),
                };
                files.insert(place_of(&watched.at, &entry), note);
                identities.extend(file.identities());
                recipients.extend(file.recipients());
            }
            Ok(())
        })?;
        Ok(Held {
            identities: IdentitySet::new(identities),
            recipients: unique(recipients),
            permissions: Vec::new(),
            ahead: None,
            before: Before {
                generation: None,
                files,
                absent_folders: Vec::new(),
            },
        })
    }

    fn deliver(&self, id: &str, identity: &Identity) -> Result<Delivered, TargetError> {
        let mut outcome = Delivered::AlreadyThere;
        // Each is looked at before any is changed: one that cannot be served leaves the others as they are.
        self.each(|watched, secret| {
            for form in &watched.forms {
                if Self::delivery(form, id, identity, secret)?.is_some() {
                    secret.check_mutable()?;
                }
            }
            Ok(())
        })?;
        for watched in &self.watched {
            for form in &watched.forms {
                let changed = self.change(
                    &watched.at,
                    |secret| Self::delivery(form, id, identity, secret),
                    |secret, entry| KubeProblem::Vanished {
                        secret: watched.at.to_string(),
                        entry,
                        managers: secret.managers(),
                    },
                );
                if changed.map_err(|problem| self.problem(problem))? {
                    outcome = Delivered::Placed;
                }
            }
        }
        Ok(outcome)
    }

    fn prove(&self, challenge: &Challenge) -> Result<Receipt, TargetError> {
        let mut receipts = self.prove_all(std::slice::from_ref(challenge))?;
        receipts.pop().ok_or_else(|| TargetError::NotItsChallenge {
            target: self.name.clone(),
        })
    }

    /// The weaker receipt: what the Secrets hold is read back, and opens the challenges here. A positive proof needs the
    /// identity in every form of every Secret, for each has its own readers; a negative one, in no entry at all.
    fn prove_all(&self, challenges: &[Challenge]) -> Result<Vec<Receipt>, TargetError> {
        let mut places: Vec<IdentitySet> = Vec::new();
        let mut copies: Vec<(String, IdentitySet)> = Vec::new();
        self.each(|watched, secret| {
            let mut read = Vec::new();
            for form in &watched.forms {
                let mut identities = Vec::new();
                for entry in form.entries(secret) {
                    let file = secret.key_file(&entry)?;
                    identities.extend(file.iter().flat_map(KeyFile::identities));
                    read.push(entry);
                }
                places.push(IdentitySet::new(identities));
            }
            let found = secret.copies(&read).into_iter();
            copies.extend(found.map(|(place, one)| (place, IdentitySet::new(vec![one]))));
            Ok(())
        })?;
        let mut receipts = Vec::new();
        for challenge in challenges {
            let question = challenge.question();
            let mut answered = None;
            let mut everywhere = !places.is_empty();
            for identities in &places {
                let answer = question.answer(&self.name, identities)?;
                everywhere &= answer.is_some();
                answered = answered.or(answer);
            }
            let mut found = Vec::new();
            for (place, identities) in &copies {
                let answer = question.answer(&self.name, identities)?;
                if answer.is_some() {
                    found.push(place.clone());
                }
                answered = answered.or(answer);
            }
            found.dedup();
            let mut receipt = challenge.judge(answered.as_ref())?;
            receipt.everywhere = everywhere;
            receipt.kind = ReceiptKind::ReadBack;
            receipt.copies = found;
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    fn withdraw(
        &self,
        recipient: &Recipient,
        before: Option<&Before>,
    ) -> Result<Withdrawn, TargetError> {
        let mut outcome = Withdrawn::WasAbsent;
        for watched in &self.watched {
            let changed = self.change(
                &watched.at,
                |secret| Self::withdrawal(watched, recipient, before, secret),
                |secret, entry| KubeProblem::PutBack {
                    secret: watched.at.to_string(),
                    managers: secret.managers_of(&entry),
                    entry,
                },
            );
            if changed.map_err(|problem| self.problem(problem))? {
                outcome = Withdrawn::Removed;
            }
        }
        Ok(outcome)
    }

    fn reconciled(&self) -> Result<Vec<Reconciliation>, TargetError> {
        let look = |name: &NamespacedName| {
            let json = self
                .program
                .get_object(&self.context, FluxKind::Kustomization, name)?;
            kustomization::parse(name, &json)
        };
        let found: Result<Vec<_>, _> = self.kustomizations.iter().map(look).collect();
        found.map_err(|problem| self.problem(problem))
    }

    /// The source first: what it has not fetched cannot be applied.
    fn ask_to_reconcile(&self, what: &Reconciliation, at: &str) -> Result<(), TargetError> {
        let source = what.source.iter().map(|s| (FluxKind::GitRepository, s));
        let mut all = source.chain([(FluxKind::Kustomization, &what.name)]);
        all.try_for_each(|(kind, name)| self.program.request(&self.context, kind, name, at))
            .map_err(|problem| self.problem(problem))
    }

    /// A Secret has no temporary files.
    fn sweep(&self) -> Result<Vec<String>, TargetError> {
        Ok(Vec::new())
    }
}

/// An entry as undo's notes name it.
fn place_of(at: &Address, entry: &str) -> String {
    format!("{at}/{entry}")
}

/// Whether trying again is of no use.
fn is_final(problem: &KubeProblem) -> bool {
    matches!(
        problem,
        KubeProblem::NoProgram { .. }
            | KubeProblem::NoContext
            | KubeProblem::Unauthorized { .. }
            | KubeProblem::Forbidden { .. }
            | KubeProblem::Missing { .. }
    )
}
