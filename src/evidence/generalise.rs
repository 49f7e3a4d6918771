//! From the documents of a zone to globs that also fit the next document someone adds there.
//!
//! A glob is taken only if it matches documents of its own group and no other file at all; what no such glob covers is
//! listed by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::parent_text;
use crate::repo_path::RepoPath;
use crate::topology::Glob;

/// Names that secrets usually have.
const SECRET_NAMES: [&str; 5] = ["secret", "credential", "password", "token", "key"];
/// Extensions that the decryption script of a Docker host takes.
const HOST_EXTENSIONS: [&str; 3] = ["env", "json", "yaml"];

/// Globs that together match exactly `documents` among all `paths`, broad ones first.
///
/// `hosts` names, per base folder, the hosts of the zone whose folders lie there (none for a zone without hosts).
pub(super) fn cover(
    documents: &BTreeSet<RepoPath>,
    paths: &BTreeSet<RepoPath>,
    hosts: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut open = documents.clone();
    let mut globs = Vec::new();
    let mut candidates = host_globs(documents, hosts);
    candidates.extend(named_globs(documents));
    for candidate in candidates {
        if open.is_empty() {
            break;
        }
        let Ok(glob) = Glob::parse(&candidate) else {
            continue;
        };
        // Cheapest question first: most candidates cover nothing new.
        let is_useful = open.iter().any(|d| glob.matches(d.as_str()));
        if is_useful
            && !paths
                .iter()
                .any(|p| !documents.contains(p) && glob.matches(p.as_str()))
        {
            open.retain(|d| !glob.matches(d.as_str()));
            globs.push(candidate);
        }
    }
    globs.extend(open.iter().map(|d| escape(d.as_str())));
    globs
}

/// The globs of a shared entry: its documents lie in one folder, and only that folder is meant.
pub(super) fn cover_folder(
    documents: &BTreeSet<RepoPath>,
    paths: &BTreeSet<RepoPath>,
) -> Vec<String> {
    let mut open = documents.clone();
    let mut globs = Vec::new();
    for document in documents {
        for name in name_patterns(document) {
            let candidate = join(&escape(parent_text(document)), &name);
            let Ok(glob) = Glob::parse(&candidate) else {
                continue;
            };
            let is_useful = open.iter().any(|d| glob.matches(d.as_str()));
            if is_useful
                && !paths
                    .iter()
                    .any(|p| !documents.contains(p) && glob.matches(p.as_str()))
            {
                open.retain(|d| !glob.matches(d.as_str()));
                globs.push(candidate);
            }
        }
    }
    globs.extend(open.iter().map(|d| escape(d.as_str())));
    globs
}

/// `<base>/{each host}/**/*.sops.{env,json,yaml}`, then the same for each host alone, then for each folder alone.
fn host_globs(
    documents: &BTreeSet<RepoPath>,
    hosts: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut extensions: Vec<&str> = HOST_EXTENSIONS.to_vec();
    for document in documents {
        let own = sops_extension(document).filter(|e| !extensions.contains(e));
        extensions.extend(own);
    }
    let tail = format!("*.sops.{{{}}}", extensions.join(","));
    let mut globs = Vec::new();
    for (base, names) in hosts {
        let names: Vec<String> = names.iter().map(|n| escape(n)).collect();
        let alternatives = match names.as_slice() {
            [one] => one.clone(),
            many => format!("{{{}}}", many.join(",")),
        };
        globs.push(format!("{}/**/{tail}", join(&escape(base), &alternatives)));
    }
    for (base, names) in hosts {
        for name in names {
            globs.push(format!("{}/**/{tail}", join(&escape(base), &escape(name))));
        }
    }
    if !hosts.is_empty() {
        let folders: BTreeSet<&str> = documents.iter().map(parent_text).collect();
        globs.extend(folders.iter().map(|f| join(&escape(f), &tail)));
    }
    globs
}

/// Patterns by file name below each top folder, then below the folder common to all, then in each document's own.
fn named_globs(documents: &BTreeSet<RepoPath>) -> Vec<String> {
    let mut globs = Vec::new();
    let patterns: Vec<(&RepoPath, Vec<String>)> =
        documents.iter().map(|d| (d, name_patterns(d))).collect();
    let common = common_folder(documents);
    let levels: [&dyn Fn(&RepoPath) -> String; 3] = [
        &|d| {
            parent_text(d)
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        },
        &|_| common.clone(),
        &|d| parent_text(d).to_owned(),
    ];
    for (depth, level) in levels.iter().enumerate() {
        // By kind of pattern before by document, so that the broad `*.sops.EXT` comes first.
        for rank in 0..=SECRET_NAMES.len() {
            for (document, names) in &patterns {
                let Some(name) = names.get(rank).filter(|n| !n.is_empty()) else {
                    continue;
                };
                let folder = escape(&level(document));
                let glob = match (folder.as_str(), depth) {
                    // Nothing recursive at the root: it would claim folders that nobody has thought of yet.
                    ("", _) => name.clone(),
                    (folder, 2) => join(folder, name),
                    (folder, _) => format!("{folder}/**/{name}"),
                };
                if !globs.contains(&glob) {
                    globs.push(glob);
                }
            }
        }
    }
    globs
}

/// `*.sops.EXT` and `*secret*.EXT`, … as far as the document's name has them; empty where it has not, so that the
/// place says which.
fn name_patterns(document: &RepoPath) -> Vec<String> {
    let name = document.file_name();
    let mut patterns = vec![match sops_extension(document) {
        Some(extension) => format!("*.sops.{}", escape(extension)),
        None => String::new(),
    }];
    let extension = name
        .rsplit_once('.')
        .map_or(String::new(), |(_, e)| format!(".{}", escape(e)));
    let lower = name.strip_suffix(&extension).unwrap_or(name);
    for word in SECRET_NAMES {
        patterns.push(
            if lower.contains(word) && sops_extension(document).is_none() {
                format!("*{word}*{extension}")
            } else {
                String::new()
            },
        );
    }
    patterns
}

/// `env` of `NAME.sops.env`.
fn sops_extension(document: &RepoPath) -> Option<&str> {
    let (_, extension) = document.file_name().rsplit_once(".sops.")?;
    (!extension.contains('.')).then_some(extension)
}

fn common_folder(documents: &BTreeSet<RepoPath>) -> String {
    let mut folders = documents
        .iter()
        .map(|d| parent_text(d).split('/').collect::<Vec<_>>());
    let Some(mut common) = folders.next() else {
        return String::new();
    };
    for folder in folders {
        let same = common
            .iter()
            .zip(&folder)
            .take_while(|(a, b)| a == b)
            .count();
        common.truncate(same);
    }
    common.join("/")
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// A literal text as a glob.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if "*?[]{},\\!".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::path;

    fn set(paths: &[&str]) -> BTreeSet<RepoPath> {
        paths.iter().map(|p| path(p)).collect()
    }

    fn covered(documents: &[&str], others: &[&str]) -> Vec<String> {
        let documents = set(documents);
        let mut paths = documents.clone();
        paths.extend(set(others));
        cover(&documents, &paths, &BTreeMap::new())
    }

    #[test]
    fn names_are_generalised_only_where_nothing_else_matches() {
        let documents = [
            "k/a/db-secret.yaml",
            "k/b/store-credentials.yaml",
            "k/b/plain.yaml",
            "k/c/token.yaml",
        ];
        assert_eq!(
            covered(&documents, &["k/values.yaml", "k/a/compose.yaml"]),
            [
                "k/**/*secret*.yaml",
                "k/**/*credential*.yaml",
                "k/**/*token*.yaml",
                "k/b/plain.yaml"
            ]
        );
        // A file of that name that is no secret: narrower folders, then names.
        assert_eq!(
            covered(
                &["k/a/x-secret.yaml", "k/b/y-secret.yaml"],
                &["k/b/external-secret.yaml"]
            ),
            ["k/a/*secret*.yaml", "k/b/y-secret.yaml"]
        );
    }

    #[test]
    fn sops_names_come_first_and_the_rule_file_is_never_matched() {
        assert_eq!(
            covered(&["p/g/all.sops.yml", "p/h/b.sops.yml"], &[]),
            ["p/**/*.sops.yml"]
        );
        assert_eq!(covered(&["a.sops.yaml"], &[".sops.yaml"]), ["a.sops.yaml"]);
        assert_eq!(covered(&["a.sops.env"], &[]), ["*.sops.env"]);
    }

    #[test]
    fn hosts_share_one_glob_unless_it_takes_too_much() {
        let hosts = BTreeMap::from([(
            "d".to_owned(),
            BTreeSet::from(["a".to_owned(), "b".to_owned()]),
        )]);
        let documents = set(&["d/a/x/.sops.env", "d/b/y/.sops.json"]);
        let mut paths = documents.clone();
        paths.extend(set(&["d/a/x/compose.yaml", "d/c/z/.sops.env"]));
        assert_eq!(
            cover(&documents, &paths, &hosts),
            ["d/{a,b}/**/*.sops.{env,json,yaml}"]
        );
        paths.extend(set(&["d/b/other/.sops.env"]));
        assert_eq!(
            cover(&documents, &paths, &hosts),
            [
                "d/a/**/*.sops.{env,json,yaml}",
                "d/b/y/*.sops.{env,json,yaml}"
            ]
        );
    }

    #[test]
    fn odd_names_are_escaped() {
        let globs = covered(&["k/a{b},*.yaml"], &["k/ab.yaml"]);
        assert_eq!(globs, ["k/a\\{b\\}\\,\\*.yaml"]);
        assert!(Glob::parse(&globs[0]).unwrap().matches("k/a{b},*.yaml"));
    }
}
