//! File sets: globs with what they exclude, and how their documents are encrypted.

use std::collections::BTreeSet;

use super::glob::{Atom, Glob, regex_of};
use crate::repo_path::RepoPath;
pub use crate::selector::Selector;

/// Files that are encrypted alike.
#[derive(Debug, Clone)]
pub struct FileSet {
    /// At least one.
    pub paths: Vec<Glob>,
    /// What `paths` match and the set leaves out.
    pub exclude: Vec<Glob>,
    /// Which leaves are encrypted; none: SOPS's default.
    pub selection: Option<Selection>,
    /// Whether the MAC covers encrypted leaves only.
    pub mac_only_encrypted: bool,
    /// The readers of these files by name; none: all readers of the zones.
    pub hosts: Option<Vec<String>>,
}

/// A selector of leaves and its value.
pub type Selection = (Selector, String);

/// A file that can't be left out of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} is excluded, but no rule can leave it out while it matches {glob}")]
pub struct ExcludeError {
    /// The excluded file.
    pub file: RepoPath,
    /// The glob that matches it.
    pub glob: String,
}

impl FileSet {
    /// Tells whether the set holds `path`.
    pub fn matches(&self, path: &RepoPath) -> bool {
        self.paths.iter().any(|glob| glob.matches(path.as_str())) && !self.excludes(path)
    }

    fn excludes(&self, path: &RepoPath) -> bool {
        self.exclude.iter().any(|glob| glob.matches(path.as_str()))
    }

    /// Returns the `path_regex` of the creation rule for this set: short where nothing is excluded.
    ///
    /// RE2 has no look-ahead, so a glob that catches one of the `known` files that are excluded is replaced by narrower
    /// ones that still match all `known` files of the set: its folders by name, at worst its files by name.
    ///
    /// # Errors
    /// [`ExcludeError`] if a glob catches an excluded file and no file of the set, so that nothing narrower is left.
    pub fn path_regex(&self, known: &[RepoPath]) -> Result<String, ExcludeError> {
        let mut patterns: Vec<Vec<Atom>> = Vec::new();
        for glob in &self.paths {
            let (left_out, kept): (Vec<&RepoPath>, Vec<&RepoPath>) = known
                .iter()
                .filter(|path| !self.exclude.is_empty() && glob.matches(path.as_str()))
                .partition(|path| self.excludes(path));
            let Some(file) = left_out.first() else {
                patterns.push(glob.atoms().to_vec());
                continue;
            };
            if kept.is_empty() {
                return Err(ExcludeError {
                    file: (*file).clone(),
                    glob: glob.to_string(),
                });
            }
            patterns.extend(narrower(glob, &kept, &left_out));
        }
        Ok(regex_of(&patterns))
    }
}

/// The most general of three replacements that match none of `left_out`: the first `**/` by the folders that stand in its
/// place, by whole folder paths, files by name.
fn narrower(glob: &Glob, kept: &[&RepoPath], left_out: &[&RepoPath]) -> Vec<Vec<Atom>> {
    let literal = |text: &str| text.chars().map(Atom::Char).collect::<Vec<_>>();
    if let Some(at) = glob.atoms().iter().position(|atom| *atom == Atom::Folders)
        && glob.atoms()[..at]
            .iter()
            .all(|atom| matches!(atom, Atom::Char(_)))
    {
        let (before, after) = (&glob.atoms()[..at], &glob.atoms()[at + 1..]);
        let skipped: usize = before
            .iter()
            .map(|atom| {
                if let Atom::Char(c) = atom {
                    c.len_utf8()
                } else {
                    0
                }
            })
            .sum();
        for is_whole in [false, true] {
            let folders: BTreeSet<&str> = kept
                .iter()
                .map(|path| {
                    let below = &path.as_str()[skipped..];
                    let end = if is_whole {
                        below.rfind('/')
                    } else {
                        below.find('/')
                    };
                    end.map_or("", |end| &below[..=end])
                })
                .collect();
            let candidate: Vec<Vec<Atom>> = folders
                .iter()
                .map(|folder| {
                    let mut atoms = before.to_vec();
                    atoms.extend(literal(folder));
                    if !is_whole && !folder.is_empty() {
                        atoms.push(Atom::Folders);
                    }
                    atoms.extend_from_slice(after);
                    atoms
                })
                .collect();
            if separates(&candidate, kept, left_out) {
                return candidate;
            }
        }
    }
    kept.iter().map(|path| literal(path.as_str())).collect()
}

fn separates(patterns: &[Vec<Atom>], kept: &[&RepoPath], left_out: &[&RepoPath]) -> bool {
    regex::Regex::new(&regex_of(patterns)).is_ok_and(|regex| {
        kept.iter().all(|path| regex.is_match(path.as_str()))
            && !left_out.iter().any(|path| regex.is_match(path.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str], exclude: &[&str]) -> FileSet {
        let globs = |texts: &[&str]| texts.iter().map(|t| Glob::parse(t).unwrap()).collect();
        FileSet {
            paths: globs(paths),
            exclude: globs(exclude),
            selection: None,
            mac_only_encrypted: false,
            hosts: None,
        }
    }

    fn paths(texts: &[&str]) -> Vec<RepoPath> {
        texts.iter().map(|t| RepoPath::new(t).unwrap()).collect()
    }

    #[test]
    fn excluding_nothing_that_exists_keeps_the_short_form() {
        let set = set(&["k/**/*secret*.yaml"], &["k/docs/**"]);
        let known = paths(&["k/a/secret.yaml", "k/docs/readme.md"]);
        assert_eq!(
            set.path_regex(&known).unwrap(),
            r"^k/(.*/)?[^/]*secret[^/]*\.yaml$"
        );
    }

    #[test]
    fn names_top_folders_then_whole_folders_then_files() {
        let secrets = set(&["k/**/*secret*.yaml"], &["k/docs/**"]);
        let known = paths(&["k/a/x/secret.yaml", "k/b/secret.yaml", "k/docs/secret.yaml"]);
        assert_eq!(
            secrets.path_regex(&known).unwrap(),
            r"^k/(a|b)/(.*/)?[^/]*secret[^/]*\.yaml$"
        );
        let secrets = set(&["k/**/*secret*.yaml"], &["k/a/docs/*"]);
        let known = paths(&["k/a/x/secret.yaml", "k/secret.yaml", "k/a/docs/secret.yaml"]);
        assert_eq!(
            secrets.path_regex(&known).unwrap(),
            r"^k/(a/x/)?[^/]*secret[^/]*\.yaml$"
        );
        let secrets = set(&["k/*secret*.yaml"], &["k/no-secret.yaml"]);
        let known = paths(&["k/a-secret.yaml", "k/b-secret.yaml", "k/no-secret.yaml"]);
        assert_eq!(
            secrets.path_regex(&known).unwrap(),
            r"^k/(a-secret|b-secret)\.yaml$"
        );
    }

    #[test]
    fn names_the_file_that_cannot_be_left_out() {
        let set = set(&["k/*.yaml"], &["k/only.yaml"]);
        let error = set.path_regex(&paths(&["k/only.yaml"])).unwrap_err();
        assert_eq!(error.file.as_str(), "k/only.yaml");
    }
}
