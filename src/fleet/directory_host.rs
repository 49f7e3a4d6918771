//! A directory that stands for the root of a host.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: the directories of targets"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::fleet::deployed;
use crate::fleet::directory::Root;
use crate::fleet::generation::{Claim, beside};
use crate::fleet::{
    Before, Challenge, Delivered, Deployed, DeployedClone, Held, Permission, PermissionFinding,
    Receipt, Target, TargetError, TargetKind, Withdrawn,
};
use crate::inventory::Digest;
use crate::keys::key_file::KeyFile;
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::ledger::Generation;
use crate::repo_path::RepoPath;

/// The mode of an identity file: its owner reads it, nobody writes it.
const MODE: u32 = 0o400;

/// A directory that stands for a host's root; its identity file lies at its own absolute path below it.
#[derive(Debug)]
pub struct DirectoryHost {
    root: Root,
    identity_file: String,
    claim: Claim,
}

impl DirectoryHost {
    /// The host `name` whose root is `root`; the identity file is given as on the host, `/etc/sops/age/keys.txt`.
    pub fn new(name: &str, root: PathBuf, identity_file: &str) -> Self {
        Self {
            root: Root {
                target: name.to_owned(),
                folder: root,
            },
            identity_file: identity_file.to_owned(),
            claim: Claim::default(),
        }
    }

    fn below(&self, path: &[u8]) -> PathBuf {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        self.root.folder.join(OsStr::from_bytes(path))
    }

    /// The names in a folder; none if it is absent, or no folder.
    fn names_in(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, TargetError> {
        let folder = self.below(path);
        let fail = |source| self.root.read_error(&folder, source);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(source) => return Err(fail(source)),
        };
        entries
            .map(|entry| Ok(entry.map_err(fail)?.file_name().as_bytes().to_vec()))
            .collect()
    }

    fn clone_in(
        &self,
        folder: &Path,
        documents: &[RepoPath],
    ) -> Result<DeployedClone, TargetError> {
        let mut held = BTreeMap::new();
        for document in documents {
            let path = document.under(folder);
            match std::fs::read(&path) {
                Ok(bytes) => {
                    held.insert(document.clone(), Digest::of(&bytes));
                }
                Err(error) if is_absent(&error) => {}
                Err(source) => return Err(self.root.read_error(&path, source)),
            }
        }
        Ok(DeployedClone {
            folder: folder.display().to_string(),
            documents: held,
        })
    }

    fn permissions(&self, mode: Option<u32>) -> Result<Vec<PermissionFinding>, TargetError> {
        let mut findings = Vec::new();
        if let Some(mode) = mode.filter(|mode| mode & 0o077 != 0) {
            findings.push(PermissionFinding {
                path: self.identity_file.clone(),
                mode,
                what: Permission::File,
            });
        }
        let full = self.root.resolve(&self.identity_file)?;
        if let (Some(folder), Some((name, _))) =
            (full.parent(), self.identity_file.rsplit_once('/'))
            && let Ok(metadata) = std::fs::metadata(folder)
        {
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                findings.push(PermissionFinding {
                    path: name.to_owned(),
                    mode,
                    what: Permission::Folder,
                });
            }
        }
        Ok(findings)
    }
}

impl Target for DirectoryHost {
    fn name(&self) -> &str {
        &self.root.target
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Host
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        let path = self.identity_file.trim_start_matches('/');
        self.root.folder.join(path).display().to_string()
    }

    fn read(&self) -> Result<Held, TargetError> {
        let opened = self.root.open(&self.identity_file)?;
        let mut before = Before::default();
        self.root
            .note(&mut before, &self.identity_file, opened.as_ref());
        let marks = beside(&self.identity_file);
        before.generation = self.root.mark(&marks, &self.claim)?;
        let permissions = self.permissions(opened.as_ref().map(|opened| opened.mode))?;
        let (identities, recipients) = match &opened {
            Some(opened) => (opened.file.identities(), opened.file.recipients()),
            None => (Vec::new(), Vec::new()),
        };
        Ok(Held {
            identities: IdentitySet::new(identities),
            recipients: unique(recipients),
            permissions,
            ahead: self.claim.ahead(before.generation.as_ref()),
            before,
        })
    }

    fn claim(&self, generation: &Generation) {
        self.claim.set(generation);
    }

    fn deliver(&self, id: &str, identity: &Identity) -> Result<Delivered, TargetError> {
        let marks = beside(&self.identity_file);
        self.root.guard(&marks, &self.claim)?;
        let opened = self.root.open(&self.identity_file)?;
        let is_there = |file: &KeyFile| identity.recipient_ref().is_some_and(|r| file.holds(r));
        if opened
            .as_ref()
            .is_some_and(|opened| is_there(&opened.file) && opened.mode == MODE)
        {
            return Ok(Delivered::AlreadyThere);
        }
        let empty = KeyFile::empty();
        let file = opened.as_ref().map_or(&empty, |opened| &opened.file);
        let outcome = if is_there(file) {
            Delivered::AlreadyThere
        } else {
            Delivered::Placed
        };
        let text = file.with_identity(&[&format!("cofferdam: {id}")], identity);
        self.root.raise(&marks, &self.claim)?;
        self.root
            .write(&self.identity_file, opened.as_ref(), text.expose(), MODE)?;
        Ok(outcome)
    }

    fn prove(&self, challenge: &Challenge) -> Result<Receipt, TargetError> {
        let held = self.read()?;
        let answer = challenge.question().answer(self.name(), &held.identities)?;
        challenge.judge(answer.as_ref())
    }

    fn withdraw(
        &self,
        recipient: &Recipient,
        before: Option<&Before>,
    ) -> Result<Withdrawn, TargetError> {
        let marks = beside(&self.identity_file);
        self.root.guard(&marks, &self.claim)?;
        let path = self.identity_file.trim_start_matches('/');
        let file_before = before.and_then(|before| before.files.get(path).copied());
        let mut outcome = Withdrawn::WasAbsent;
        if let Some(opened) = self.root.open(&self.identity_file)? {
            let holds = opened.file.holds(recipient);
            let text = if holds {
                outcome = Withdrawn::Removed;
                Root::text_without(&opened, recipient, file_before)
            } else {
                zeroize::Zeroizing::new(opened.file.text().expose().clone())
            };
            let made_by_us = before.is_some() && file_before.is_none();
            // An earlier, killed undo may have got as far as the text.
            let mode = file_before.map_or(if holds { MODE } else { opened.mode }, |b| b.mode);
            if holds && before.is_none() {
                self.root.raise(&marks, &self.claim)?;
            }
            if made_by_us && text.trim().is_empty() {
                self.root.remove(&self.identity_file, &opened)?;
            } else if holds || mode != opened.mode {
                self.root
                    .write(&self.identity_file, Some(&opened), &text, mode)?;
            }
        }
        if let Some(before) = before {
            self.root.lower(&marks, &self.claim, before)?;
            self.root.remove_folders(before)?;
        }
        Ok(outcome)
    }

    fn deployed(
        &self,
        globs: &[String],
        documents: &[RepoPath],
    ) -> Result<Vec<Deployed>, TargetError> {
        globs
            .iter()
            .map(|glob| {
                let paths = deployed::expand(glob, |folders| {
                    folders.iter().map(|f| self.names_in(f)).collect()
                })?;
                let folders = paths.iter().map(|path| self.below(path));
                Ok(Deployed {
                    glob: glob.clone(),
                    clones: folders
                        .filter(|folder| folder.is_dir())
                        .map(|folder| self.clone_in(&folder, documents))
                        .collect::<Result<_, _>>()?,
                })
            })
            .collect()
    }

    fn sweep(&self) -> Result<Vec<String>, TargetError> {
        self.root
            .sweep(std::iter::once(self.identity_file.as_str()))
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Each recipient once, in order.
pub(super) fn unique(recipients: Vec<Recipient>) -> Vec<Recipient> {
    let mut seen = std::collections::HashSet::new();
    recipients
        .into_iter()
        .filter(|recipient| seen.insert(recipient.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const FILE: &str = "/etc/sops/age/keys.txt";

    fn host(root: &Path) -> DirectoryHost {
        DirectoryHost::new("server04", root.to_owned(), FILE)
    }

    fn put(root: &Path, text: &str, mode: u32) -> PathBuf {
        let path = root.join("etc/sops/age/keys.txt");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn delivers_beside_proves_and_withdraws() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Identity::mint(), Identity::mint());
        let (old_r, new_r) = (old.recipient().unwrap(), new.recipient().unwrap());
        let text = format!("# mine\n{}", old.to_text().expose_secret());
        let path = put(folder.path(), &text, 0o644);
        let host = host(folder.path());

        let held = host.read().unwrap();
        assert_eq!(held.recipients, std::slice::from_ref(&old_r));
        assert_eq!(held.permissions.len(), 2);
        let challenge = Challenge::new("server04", "run", &new_r).unwrap();
        assert!(!host.prove(&challenge).unwrap().opened);

        assert_eq!(host.deliver("lan-1", &new).unwrap(), Delivered::Placed);
        assert_eq!(
            host.deliver("lan-1", &new).unwrap(),
            Delivered::AlreadyThere
        );
        assert_eq!(mode(&path), 0o400);
        assert_eq!(
            host.read().unwrap().recipients,
            [old_r.clone(), new_r.clone()]
        );
        assert!(host.prove(&challenge).unwrap().opened);

        // Undo: byte for byte, and the permissions.
        assert_eq!(
            host.withdraw(&new_r, Some(&held.before)).unwrap(),
            Withdrawn::Removed
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(mode(&path), 0o644);

        // Retirement: the old one goes, the rest stays.
        host.deliver("lan-1", &new).unwrap();
        assert_eq!(host.withdraw(&old_r, None).unwrap(), Withdrawn::Removed);
        assert_eq!(host.withdraw(&old_r, None).unwrap(), Withdrawn::WasAbsent);
        assert_eq!(host.read().unwrap().recipients, [new_r]);
        assert_eq!(mode(&path), 0o400);
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .starts_with("# mine\n")
        );
    }

    #[test]
    fn undo_removes_what_a_delivery_made() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let new = Identity::mint();
        let before = host.read().unwrap().before;
        assert_eq!(before.absent_folders, ["etc", "etc/sops", "etc/sops/age"]);
        host.deliver("lan-1", &new).unwrap();
        assert_eq!(mode(&folder.path().join("etc/sops/age")), 0o700);
        assert_eq!(mode(&folder.path().join("etc")), 0o755);
        host.withdraw(&new.recipient().unwrap(), Some(&before))
            .unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        host.withdraw(&new.recipient().unwrap(), Some(&before))
            .unwrap();
    }

    #[test]
    fn refuses_links_damage_and_absent_roots() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let path = put(folder.path(), "hunter2\n", 0o400);
        let damaged = host.deliver("x", &Identity::mint()).unwrap_err();
        assert!(matches!(damaged, TargetError::KeyFile { .. }));
        assert!(!format!("{damaged} {damaged:?}").contains("hunter2"));
        std::fs::rename(&path, folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("real"), &path).unwrap();
        assert!(matches!(host.read(), Err(TargetError::Symlink { .. })));
        let absent = DirectoryHost::new("a", folder.path().join("none"), FILE);
        assert!(matches!(
            absent.read(),
            Err(TargetError::Unreachable { .. })
        ));
        let outside = DirectoryHost::new("a", folder.path().to_owned(), "/../x");
        assert!(matches!(outside.read(), Err(TargetError::BadPath { .. })));
    }

    #[test]
    fn sweeps_temporary_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = put(folder.path(), "", 0o400);
        let left = path.with_file_name(".keys.txt.cofferdam-00112233.tmp");
        std::fs::write(&left, "").unwrap();
        assert_eq!(host(folder.path()).sweep().unwrap().len(), 1);
        assert!(!left.exists() && path.exists());
    }
}
