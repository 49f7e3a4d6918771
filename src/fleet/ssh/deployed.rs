//! What a host by SSH has deployed: its folders are listed there and matched here, its documents hashed there.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{Script, SshHost, script};
use crate::fleet::deployed::expand;
use crate::fleet::{Deployed, DeployedClone, TargetError};
use crate::inventory::Digest;
use crate::repo_path::RepoPath;

impl SshHost {
    /// As [`crate::fleet::Target::deployed`]: a call for each level of a glob, and one for the digests.
    pub(super) fn digests(
        &self,
        globs: &[String],
        documents: &[RepoPath],
    ) -> Result<Vec<Deployed>, TargetError> {
        let mut named = Vec::new();
        for glob in globs {
            let folders = expand(glob, |folders| self.names(folders))?;
            named.push((glob, folders));
        }
        let folders: Vec<&[u8]> = named
            .iter()
            .flat_map(|(_, folders)| folders.iter().map(Vec::as_slice))
            .collect();
        let mut clones = if folders.is_empty() {
            Vec::new()
        } else {
            self.clones(&folders, documents)?
        }
        .into_iter();
        Ok(named
            .into_iter()
            .map(|(glob, folders)| Deployed {
                glob: glob.clone(),
                clones: clones.by_ref().take(folders.len()).flatten().collect(),
            })
            .collect())
    }

    /// The names in each of some folders.
    fn names(&self, folders: &[Vec<u8>]) -> Result<Vec<Vec<Vec<u8>>>, TargetError> {
        let folders_there = folders.iter().map(Vec::as_slice);
        let script = Script::new(script::LIST).octets("folders", folders_there);
        let reply = self.run(script, Zeroizing::default())?;
        let names: Vec<Vec<Vec<u8>>> = reply
            .parts()
            .map(|part| {
                let names = part.split(|&octet| octet == 0);
                let names = names.filter(|name| !name.is_empty());
                names.map(<[u8]>::to_vec).collect()
            })
            .collect();
        if names.len() == folders.len() {
            Ok(names)
        } else {
            Err(self.nonsense("a part of the list"))
        }
    }

    /// What each of some folders holds; none for one that is no folder.
    fn clones(
        &self,
        folders: &[&[u8]],
        documents: &[RepoPath],
    ) -> Result<Vec<Option<DeployedClone>>, TargetError> {
        let paths = documents
            .iter()
            .map(|document| document.as_str().as_bytes());
        let script = Script::new(script::DEPLOYED)
            .octets("folders", folders.iter().copied())
            .octets("documents", paths);
        let reply = self.run(script, Zeroizing::default())?;
        let mut clones = Vec::new();
        for (folder, part) in folders.iter().zip(reply.parts()) {
            let part = String::from_utf8_lossy(part);
            let mut lines = part.lines();
            if lines.next() != Some("folder") {
                clones.push(None);
                continue;
            }
            let mut held = BTreeMap::new();
            for line in lines {
                let (document, digest) = line
                    .split_once(' ')
                    .and_then(|(number, hex)| {
                        let document = documents.get(number.parse::<usize>().ok()?)?;
                        Some((document.clone(), Digest::from_hex(hex)?))
                    })
                    .ok_or_else(|| self.nonsense("a part of the digests"))?;
                held.insert(document, digest);
            }
            clones.push(Some(DeployedClone {
                folder: String::from_utf8_lossy(folder).escape_debug().to_string(),
                documents: held,
            }));
        }
        if clones.len() == folders.len() {
            Ok(clones)
        } else {
            Err(self.nonsense("a part of the digests"))
        }
    }
}
