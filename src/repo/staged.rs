//! What is about to be committed, as it stands in the index: the work tree may hold something else (edge).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rayon::prelude::*;

use crate::repo::git::{Git, IndexEntry, Oid};
use crate::repo::scan::{Looked, Scan, ScanError, Skipped, other, told};
use crate::repo_path::RepoPath;

/// A larger file is neither a document nor a configuration that a person looks at.
const LARGEST: u64 = 8 << 20;
/// How many bytes are held at a time.
const AT_A_TIME: u64 = 32 << 20;

/// The files of the index.
#[derive(Debug)]
pub struct Staged {
    /// All of them, as a scan of the work tree would give them.
    pub scan: Scan,
    /// The contents of those that are no documents, up to the size of what is configuration.
    pub texts: BTreeMap<RepoPath, String>,
    /// Those that differ from HEAD, by name as messages give it.
    pub changed: BTreeSet<String>,
    /// The objects of the regular files among them that are no documents.
    pub plain: BTreeMap<RepoPath, Oid>,
}

impl Staged {
    /// Reads the index of `git`. Texts are kept of files that `is_wanted` and up to `longest` bytes.
    ///
    /// # Errors
    /// [`ScanError::Git`].
    pub fn read(
        git: &Git,
        longest: u64,
        is_wanted: impl Fn(&RepoPath) -> bool + Sync,
    ) -> Result<Self, ScanError> {
        let changed: BTreeSet<PathBuf> = git.staged_changes()?.into_iter().collect();
        let mut plain = BTreeMap::new();
        let mut looked = Vec::new();
        let mut files: Vec<(PathBuf, Oid)> = Vec::new();
        for (path, entry) in git.staged_files()? {
            match kind(&entry) {
                None => {
                    if let (true, Ok(name)) = (changed.contains(&path), RepoPath::from_path(&path))
                    {
                        plain.insert(name, entry.oid.clone());
                    }
                    files.push((path, entry.oid));
                }
                Some(why) => looked.push(Looked::Skipped(path, why)),
            }
        }
        let oids: Vec<&Oid> = files.iter().map(|(_, oid)| oid).collect();
        let sizes = git.sizes(&oids)?;
        let mut texts = BTreeMap::new();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut take = |batch: &mut Vec<(PathBuf, Oid)>| -> Result<(), ScanError> {
            let oids: Vec<&Oid> = batch.iter().map(|(_, oid)| oid).collect();
            let contents = git.cat_files(&oids)?;
            let one = |((path, _), source): ((PathBuf, Oid), Vec<u8>)| {
                let text = RepoPath::from_path(&path).ok().and_then(|path| {
                    let is_wanted = is_wanted(&path) && source.len() as u64 <= longest;
                    let text = is_wanted.then(|| String::from_utf8(source.clone()).ok());
                    Some((path, text.flatten()?))
                });
                (told(path, source), text)
            };
            let taken = std::mem::take(batch);
            let read: Vec<_> = taken.into_par_iter().zip(contents).map(one).collect();
            for (one, text) in read {
                if matches!(one, Looked::Other(..)) {
                    texts.extend(text);
                }
                looked.push(one);
            }
            Ok(())
        };
        let mut large = Vec::new();
        for (file, size) in files.into_iter().zip(sizes) {
            match size {
                Some(size) if size <= LARGEST => {
                    bytes += size;
                    batch.push(file);
                }
                _ => large.push(file.0),
            }
            if bytes >= AT_A_TIME {
                take(&mut batch)?;
                bytes = 0;
            }
        }
        take(&mut batch)?;
        // Named, so that rules are asked about them; not looked into.
        looked.extend(large.into_iter().map(|path| other(path, None)));
        let scan = Scan::of_looked(looked);
        for document in &scan.documents {
            plain.remove(&document.path);
        }
        let changed = changed
            .iter()
            .map(|path| path.to_string_lossy().into_owned());
        Ok(Self {
            scan,
            texts,
            changed: changed.collect(),
            plain,
        })
    }
}

/// Why an entry is not looked into; none: it is a regular file.
fn kind(entry: &IndexEntry) -> Option<Skipped> {
    match entry.mode.as_str() {
        "120000" => Some(Skipped::Symlink),
        "160000" => Some(Skipped::Submodule),
        _ => None,
    }
}
