//! Ansible: secrets that only the operator's own tools read.
//!
//! Source: community.sops collection, `vars/sops` plugin: `group_vars/` and `host_vars/` files ending in `.sops.yml`,
//! `.sops.yaml`, `.sops.json`; `ansible.cfg`, section `community.sops`, `age_keyfile`.

use crate::evidence::{Evidence, Origin, Reader, Sources, is_below, parent_text, yaml};
use crate::repo_path::RepoPath;

/// Folders that only Ansible has.
const FOLDERS: [&str; 2] = ["group_vars", "host_vars"];

pub(super) fn gather(sources: &Sources, evidence: &mut Evidence) {
    for (file, text) in &sources.texts {
        if file.file_name() != "ansible.cfg" {
            continue;
        }
        for document in sources
            .documents
            .keys()
            .filter(|d| is_below(d, parent_text(file)))
        {
            if !evidence.is_claimed(document) && !parent_text(file).is_empty() {
                evidence.read(document, Reader::Operator, Origin::new(file, 0));
            }
        }
        if let Some(path) = key_file(text) {
            let line = yaml::line_of(text, 1, path);
            let text = format!(
                "line {line}: Ansible takes its identity from {path}; after the split that file needs the operator's"
            );
            evidence.note(file, text);
        }
    }
    for document in sources.documents.keys() {
        if evidence.is_claimed(document) {
            continue;
        }
        if let Some(folder) = variables_folder(document) {
            evidence.read(document, Reader::Operator, Origin::new(&folder, 0));
        }
    }
}

/// The `group_vars` or `host_vars` folder above a document.
fn variables_folder(document: &RepoPath) -> Option<RepoPath> {
    let mut folder = document.parent();
    while let Some(at) = folder {
        if FOLDERS.contains(&at.file_name()) {
            return Some(at);
        }
        folder = at.parent();
    }
    None
}

/// The key file that an `ansible.cfg` names.
fn key_file(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "age_keyfile" | "sops_age_keyfile").then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{readers, sources};

    #[test]
    fn variables_are_the_operators() {
        let mut evidence = Evidence::default();
        let sources = sources(&[
            ("px/group_vars/all/s.sops.yml", "a: ENC[x]\n"),
            (
                "an/ansible.cfg",
                "[community.sops]\nage_keyfile = ~/.sops/key.txt\n",
            ),
            ("an/roles/x/s.sops.yml", "a: ENC[x]\n"),
            ("other/s.sops.yml", "a: ENC[x]\n"),
        ]);
        gather(&sources, &mut evidence);
        assert_eq!(
            readers(&evidence, "px/group_vars/all/s.sops.yml"),
            [Reader::Operator]
        );
        assert_eq!(
            readers(&evidence, "an/roles/x/s.sops.yml"),
            [Reader::Operator]
        );
        assert!(readers(&evidence, "other/s.sops.yml").is_empty());
        assert!(evidence.notes[0].text.contains("~/.sops/key.txt"));
    }
}
