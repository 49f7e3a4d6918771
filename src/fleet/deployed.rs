//! What readers have deployed (protocol rule 12): the folders that globs name on a host, and digests of documents in them.
//!
//! Names of folders are octets: nobody promises that they are UTF-8, or without line breaks.

use std::collections::BTreeMap;

use crate::inventory::Digest;
use crate::repo_path::RepoPath;
use crate::topology::Glob;

/// What stands where one glob points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// An absolute glob, as asked.
    pub glob: String,
    /// The folders that it names, sorted; none if it matches nothing.
    pub clones: Vec<DeployedClone>,
}

/// One folder and the documents it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedClone {
    /// Its path, for people.
    pub folder: String,
    /// Digests of the bytes of those documents that it holds; one that is absent is not deployed there.
    pub documents: BTreeMap<RepoPath, Digest>,
}

/// The paths that `glob` may name, by one path component at a time; whether they are folders is not looked at.
///
/// `list` gives the names in each of some folders, in their order; a folder that is absent, or none, holds no names.
pub(super) fn expand<E>(
    glob: &str,
    mut list: impl FnMut(&[Vec<u8>]) -> Result<Vec<Vec<Vec<u8>>>, E>,
) -> Result<Vec<Vec<u8>>, E> {
    let mut folders = vec![Vec::new()];
    for part in glob.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if !is_pattern(part) {
            for folder in &mut folders {
                folder.push(b'/');
                folder.extend_from_slice(part.as_bytes());
            }
            continue;
        }
        // The topology's reader refuses what does not parse.
        let Ok(pattern) = Glob::parse(part) else {
            return Ok(Vec::new());
        };
        let mut next = Vec::new();
        for (folder, names) in folders.iter().zip(list(&folders)?) {
            for name in names {
                if pattern.matches(&String::from_utf8_lossy(&name)) {
                    next.push([folder.as_slice(), b"/", &name].concat());
                }
            }
        }
        folders = next;
        if folders.is_empty() {
            break;
        }
    }
    folders.sort();
    Ok(folders)
}

/// Whether a path's component is more than a name.
fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '[', '{', '\\'])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn expanded(glob: &str) -> Vec<Vec<u8>> {
        expand(glob, |folders| {
            let names = |folder: &Vec<u8>| -> Vec<Vec<u8>> {
                match folder.as_slice() {
                    b"/srv" => vec![b"b".to_vec(), b"a\nb".to_vec(), b"\xff".to_vec()],
                    b"/srv/b" => vec![b"x1".to_vec(), b"y".to_vec(), b".git".to_vec()],
                    _ => Vec::new(),
                }
            };
            Ok::<_, Infallible>(folders.iter().map(names).collect())
        })
        .unwrap_or_default()
    }

    #[test]
    fn every_folder_is_named_whatever_its_name() {
        assert_eq!(expanded("/opt/./homeops"), [b"/opt/homeops".to_vec()]);
        assert_eq!(
            expanded("/srv/*"),
            [&b"/srv/a\nb"[..], b"/srv/b", b"/srv/\xff"]
        );
        assert_eq!(
            expanded("/srv/*/{x?,.g*}"),
            [&b"/srv/b/.git"[..], b"/srv/b/x1"]
        );
        assert_eq!(expanded("/srv/b/y/z"), [b"/srv/b/y/z".to_vec()]);
        assert!(expanded("/none/*/z").is_empty());
        assert!(expanded("/").len() == 1);
    }
}
