//! What a cluster's controller has applied (protocol rule 12): one of Flux's Kustomizations and how far it has come.
//!
//! Source: fluxcd/kustomize-controller, docs/spec/v1/kustomizations.md (`spec.suspend`, `spec.decryption`, `status.conditions`,
//! `status.lastAppliedRevision`); fluxcd/source-controller, docs/spec/v1/gitrepositories.md (`BRANCH@sha1:COMMIT`), and
//! `BRANCH/COMMIT` of its releases before 0.36.

use crate::topology::NamespacedName;

/// A Kustomization as its controller left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// Which one.
    pub name: NamespacedName,
    /// The revision that was applied last, as the controller writes it; none if none ever was.
    pub revision: Option<String>,
    /// Why it is no evidence, whatever was applied last; with what to do.
    pub trouble: Option<String>,
    /// Whether it is at rest because somebody suspended it: asking for another turn is of no use.
    pub is_suspended: bool,
    /// The names of the Secret from which it decrypts, in its namespace; none if it decrypts nothing.
    pub secret: Option<String>,
    /// The folder that it applies, relative to the repository's root; empty for all of it.
    pub folder: String,
    /// The GitRepository from which it takes its files; none if it takes them from elsewhere.
    pub source: Option<NamespacedName>,
}

impl Reconciliation {
    /// The commit that was applied last; none if the revision names none.
    pub fn commit(&self) -> Option<&str> {
        commit_of(self.revision.as_deref()?)
    }

    /// Whether it applies the file at `path` itself: one in its folder.
    pub fn covers(&self, path: &str) -> bool {
        self.folder.is_empty()
            || path
                .strip_prefix(&self.folder)
                .is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The commit in a revision: `main@sha1:COMMIT`, `sha1:COMMIT`, `main/COMMIT`. An artifact of another kind of source names a
/// digest, which is no commit.
fn commit_of(revision: &str) -> Option<&str> {
    let commit = match revision.rsplit_once("sha1:") {
        Some((before, commit)) if before.is_empty() || before.ends_with('@') => commit,
        Some(_) => return None,
        None => revision.rsplit_once('/')?.1,
    };
    let is_commit = commit.len() == 40
        && commit
            .chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    is_commit.then_some(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_read_from_every_form_of_a_revision() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        for form in [
            format!("main@sha1:{sha}"),
            format!("feature/x@sha1:{sha}"),
            format!("sha1:{sha}"),
            format!("main/{sha}"),
            format!("feature/x/{sha}"),
        ] {
            assert_eq!(commit_of(&form), Some(sha), "{form}");
        }
        for other in [
            sha.to_owned(),
            format!("latest@sha256:{sha}{}", &sha[..24]),
            format!("main@sha1:{}", &sha[1..]),
            format!("main@sha1:{}", sha.to_uppercase()),
            format!("mainsha1:{sha}"),
            "main".to_owned(),
            String::new(),
        ] {
            assert_eq!(commit_of(&other), None, "{other}");
        }
    }

    #[test]
    fn a_folder_covers_what_is_in_it() {
        let mut one = Reconciliation {
            name: NamespacedName::parse("flux-system/apps").unwrap(),
            revision: None,
            trouble: None,
            is_suspended: false,
            secret: None,
            folder: "k/apps".to_owned(),
            source: None,
        };
        assert!(one.covers("k/apps/a.yaml") && one.covers("k/apps/b/c.yaml"));
        assert!(!one.covers("k/apps2/a.yaml") && !one.covers("k/a.yaml"));
        one.folder.clear();
        assert!(one.covers("x"));
    }
}
