//! A directory that stands for the Secrets of a Kubernetes cluster.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: the directories of targets"
)]

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use crate::fleet::directory::{Opened, Root};
use crate::fleet::directory_host::unique;
use crate::fleet::generation::Claim;
use crate::fleet::{
    Before, Challenge, Delivered, Held, Receipt, Target, TargetError, TargetKind, Withdrawn,
};
use crate::keys::key_file::KeyFile;
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::ledger::Generation;
use crate::topology::host::SecretEntry;

/// Entries with this ending are what Flux reads as age identities.
const ENDING: &str = ".agekey";
const MODE: u32 = 0o600;
/// Stands for an annotation on each Secret.
const MARKS: &str = ".cofferdam-generation";

/// A directory of `<namespace>/<secret>/<entry>` files. A new identity gets an entry of its own, `<id>.agekey`.
#[derive(Debug)]
pub struct DirectoryCluster {
    root: Root,
    secrets: Vec<SecretEntry>,
    claim: Claim,
}

impl DirectoryCluster {
    /// The cluster `name` whose Secrets lie below `root`.
    pub fn new(name: &str, root: PathBuf, secrets: &[SecretEntry]) -> Self {
        Self {
            root: Root {
                target: name.to_owned(),
                folder: root,
            },
            secrets: secrets.to_vec(),
            claim: Claim::default(),
        }
    }

    /// The folders of the Secrets, each once.
    fn folders(&self) -> BTreeSet<String> {
        self.secrets
            .iter()
            .map(|secret| format!("{}/{}", secret.namespace, secret.name))
            .collect()
    }

    /// The declared entries and all others that Flux would read, that exist, in order of their names.
    fn entries(&self) -> Result<Vec<(String, Opened)>, TargetError> {
        let mut paths: BTreeSet<String> = self
            .secrets
            .iter()
            .map(|s| format!("{}/{}/{}", s.namespace, s.name, s.entry))
            .collect();
        for folder in self.folders() {
            let full = self.root.resolve(&folder)?;
            let listed = match std::fs::read_dir(&full) {
                Ok(listed) => listed,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(self.root.read_error(&full, source)),
            };
            for entry in listed {
                let entry = entry.map_err(|source| self.root.read_error(&full, source))?;
                // Keys of a Secret are plain ASCII; hidden names are not keys but what a kubelet or we put there.
                if let Some(name) = entry.file_name().to_str()
                    && name.ends_with(ENDING)
                    && !name.starts_with('.')
                {
                    paths.insert(format!("{folder}/{name}"));
                }
            }
        }
        let mut entries = Vec::new();
        for path in paths {
            if let Some(opened) = self.root.open(&path)? {
                entries.push((path, opened));
            }
        }
        Ok(entries)
    }
}

impl Target for DirectoryCluster {
    fn name(&self) -> &str {
        &self.root.target
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Cluster
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        let folders: Vec<String> = self.folders().into_iter().collect();
        folders.join(", ")
    }

    fn read(&self) -> Result<Held, TargetError> {
        let entries = self.entries()?;
        let mut before = Before::default();
        for folder in self.folders() {
            self.root.note(&mut before, &format!("{folder}/"), None);
        }
        for (path, opened) in &entries {
            self.root.note(&mut before, path, Some(opened));
        }
        before.generation = self.root.mark(MARKS, &self.claim)?;
        let files = || entries.iter().map(|(_, opened)| &opened.file);
        Ok(Held {
            identities: IdentitySet::new(files().flat_map(KeyFile::identities).collect()),
            recipients: unique(files().flat_map(KeyFile::recipients).collect()),
            permissions: Vec::new(),
            ahead: self.claim.ahead(before.generation.as_ref()),
            before,
        })
    }

    fn claim(&self, generation: &Generation) {
        self.claim.set(generation);
    }

    fn deliver(&self, id: &str, identity: &Identity) -> Result<Delivered, TargetError> {
        self.root.guard(MARKS, &self.claim)?;
        let mut outcome = Delivered::AlreadyThere;
        let entries = self.entries()?;
        for folder in self.folders() {
            let is_there = entries.iter().any(|(path, opened)| {
                path.starts_with(&format!("{folder}/"))
                    && identity
                        .recipient_ref()
                        .is_some_and(|recipient| opened.file.holds(recipient))
            });
            if is_there {
                continue;
            }
            let path = format!("{folder}/{id}{ENDING}");
            let opened = self.root.open(&path)?;
            let empty = KeyFile::empty();
            let file = opened.as_ref().map_or(&empty, |opened| &opened.file);
            let text = file.with_identity(&[&format!("cofferdam: {id}")], identity);
            let mode = opened.as_ref().map_or(MODE, |opened| opened.mode);
            self.root.raise(MARKS, &self.claim)?;
            self.root
                .write(&path, opened.as_ref(), text.expose(), mode)?;
            outcome = Delivered::Placed;
        }
        Ok(outcome)
    }

    fn prove(&self, challenge: &Challenge) -> Result<Receipt, TargetError> {
        // Every Secret has its own readers: a positive proof needs the identity in each, a negative one in none.
        let mut opened_by_all = true;
        let mut opened_by_any = false;
        let entries = self.entries()?;
        let mut answered = None;
        for folder in self.folders() {
            let prefix = format!("{folder}/");
            let identities = entries
                .iter()
                .filter(|(path, _)| path.starts_with(&prefix))
                .flat_map(|(_, opened)| opened.file.identities())
                .collect();
            let answer = challenge
                .question()
                .answer(self.name(), &IdentitySet::new(identities))?;
            opened_by_all &= answer.is_some();
            opened_by_any |= answer.is_some();
            answered = answered.or(answer);
        }
        let mut receipt = challenge.judge(answered.as_ref())?;
        receipt.opened = opened_by_any;
        receipt.everywhere = opened_by_all;
        Ok(receipt)
    }

    fn withdraw(
        &self,
        recipient: &Recipient,
        before: Option<&Before>,
    ) -> Result<Withdrawn, TargetError> {
        self.root.guard(MARKS, &self.claim)?;
        let mut outcome = Withdrawn::WasAbsent;
        for (path, opened) in self.entries()? {
            if !opened.file.holds(recipient) {
                continue;
            }
            outcome = Withdrawn::Removed;
            if before.is_none() {
                self.root.raise(MARKS, &self.claim)?;
            }
            let file_before = before.and_then(|before| before.files.get(&path).copied());
            let text = Root::text_without(&opened, recipient, file_before);
            // An entry without any identity makes Flux fail: it goes, with what comments it has.
            let is_left = text
                .lines()
                .any(|line| !line.trim().is_empty() && !line.starts_with('#'));
            if is_left {
                let mode = file_before.map_or(opened.mode, |before| before.mode);
                self.root.write(&path, Some(&opened), &text, mode)?;
            } else {
                self.root.remove(&path, &opened)?;
            }
        }
        if let Some(before) = before {
            self.root.lower(MARKS, &self.claim, before)?;
            self.root.remove_folders(before)?;
        }
        Ok(outcome)
    }

    fn sweep(&self) -> Result<Vec<String>, TargetError> {
        let paths: Vec<String> = self
            .folders()
            .into_iter()
            .map(|folder| format!("{folder}/x"))
            .collect();
        self.root.sweep(paths.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn secret(namespace: &str) -> SecretEntry {
        SecretEntry {
            namespace: namespace.to_owned(),
            name: "sops-age".to_owned(),
            entry: "age.agekey".to_owned(),
        }
    }

    #[test]
    fn new_identities_get_their_own_entry_and_old_entries_go() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new, foreign) = (Identity::mint(), Identity::mint(), Identity::mint());
        let (old_r, new_r) = (old.recipient().unwrap(), new.recipient().unwrap());
        let text = |identity: &Identity| format!("{}\n", identity.to_text().expose_secret());
        let a = folder.path().join("flux-system/sops-age");
        let b = folder.path().join("apps/sops-age");
        for dir in [&a, &b] {
            std::fs::create_dir_all(dir).unwrap();
        }
        std::fs::write(a.join("age.agekey"), text(&old)).unwrap();
        std::fs::write(b.join("age.agekey"), text(&foreign) + &text(&old)).unwrap();
        let cluster = DirectoryCluster::new(
            "minipcs",
            folder.path().to_owned(),
            &[secret("flux-system"), secret("apps")],
        );
        let before = cluster.read().unwrap().before;
        assert_eq!(cluster.deliver("k8s-1", &new).unwrap(), Delivered::Placed);
        assert_eq!(
            cluster.deliver("k8s-1", &new).unwrap(),
            Delivered::AlreadyThere
        );
        assert!(a.join("k8s-1.agekey").exists() && b.join("k8s-1.agekey").exists());
        let challenge = Challenge::new("minipcs", "run", &new_r).unwrap();
        let receipt = cluster.prove(&challenge).unwrap();
        assert!(receipt.opened && receipt.everywhere);
        std::fs::remove_file(b.join("k8s-1.agekey")).unwrap();
        let receipt = cluster.prove(&challenge).unwrap();
        assert!(receipt.opened && !receipt.everywhere);

        cluster.withdraw(&new_r, Some(&before)).unwrap();
        assert!(!a.join("k8s-1.agekey").exists());
        assert_eq!(cluster.read().unwrap().before, before);

        cluster.deliver("k8s-1", &new).unwrap();
        assert_eq!(cluster.withdraw(&old_r, None).unwrap(), Withdrawn::Removed);
        assert_eq!(
            cluster.withdraw(&old_r, None).unwrap(),
            Withdrawn::WasAbsent
        );
        assert!(!a.join("age.agekey").exists());
        assert_eq!(
            std::fs::read_to_string(b.join("age.agekey")).unwrap(),
            text(&foreign)
        );
    }

    #[test]
    fn undo_removes_folders_that_a_delivery_made() {
        let folder = tempfile::tempdir().unwrap();
        let new = Identity::mint();
        let cluster =
            DirectoryCluster::new("c", folder.path().to_owned(), &[secret("flux-system")]);
        let before = cluster.read().unwrap().before;
        cluster.deliver("k8s-1", &new).unwrap();
        cluster
            .withdraw(&new.recipient().unwrap(), Some(&before))
            .unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
