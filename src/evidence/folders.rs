//! What folder names say where no tool's file speaks: `<base>/<host>/…` belongs to the host, the rest to the operator.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, HostEvidence, Origin, Reader, Sources, compose, is_below};
use crate::repo_path::RepoPath;

/// Folders whose children are hosts.
const HOST_PARENTS: [&str; 5] = ["stacks", "hosts", "servers", "machines", "docker"];
/// Children that are no host, whatever their parent's name.
const SHARED: [&str; 5] = ["shared", "common", "base", "templates", "global"];

pub(super) fn gather(sources: &Sources, evidence: &mut Evidence) {
    let bases = host_bases(sources, evidence);
    let composes: Vec<&RepoPath> = sources
        .paths
        .iter()
        .filter(|p| compose::is_compose(p))
        .collect();
    if evidence.hosts.is_empty() {
        for file in &composes {
            guess_host(file, sources, evidence);
        }
    }
    identity_file(sources, evidence);
    for document in sources.documents.keys() {
        if evidence.is_claimed(document) {
            continue;
        }
        let folder = |text: &str| RepoPath::new(text).unwrap_or_else(|_| document.clone());
        if let Some((base, host)) = host_folder(document, evidence) {
            let origin = Origin::new(&folder(&format!("{base}/{host}")), 0);
            evidence.read(document, Reader::Host(host), origin);
            continue;
        }
        // Beside hosts' folders, not in one: whoever reads it today must go on reading it.
        let base = bases
            .keys()
            .find(|b| !b.is_empty() && is_below(document, b));
        if let Some(base) = base {
            let doubt = "no stack names it; kept for all hosts until you say otherwise";
            let origin = Origin::new(&folder(base), 0);
            for host in evidence.hosts.keys().cloned().collect::<Vec<_>>() {
                evidence.read_in_doubt(document, Reader::Host(host), origin.clone(), doubt);
            }
            continue;
        }
        let top = document.as_str().split('/').next().unwrap_or_default();
        let doubt = "nothing in the repository says who reads it; the operator alone, until you say otherwise";
        evidence.read_in_doubt(
            document,
            Reader::Operator,
            Origin::new(&folder(top), 0),
            doubt,
        );
    }
}

/// The folders that hold a folder of each host's name, with those hosts; the shallowest such folder a path.
pub(super) fn host_bases(
    sources: &Sources,
    evidence: &Evidence,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut bases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for document in sources.documents.keys() {
        if let Some((base, host)) = host_folder(document, evidence) {
            bases.entry(base).or_default().insert(host);
        }
    }
    bases
}

/// The base and the host in whose folder a path lies.
pub(super) fn host_folder(path: &RepoPath, evidence: &Evidence) -> Option<(String, String)> {
    let parts: Vec<&str> = path.as_str().split('/').collect();
    let folders = parts.split_last().map_or(&[][..], |(_, folders)| folders);
    let index = folders
        .iter()
        .position(|p| evidence.hosts.contains_key(*p))?;
    Some((
        folders.get(..index)?.join("/"),
        (*folders.get(index)?).to_owned(),
    ))
}

/// Takes the folder of a compose file for a host's: `…/stacks/<host>/<stack>/compose.yaml`; `docker/<stack>/…` is one
/// host of unknown name.
fn guess_host(file: &RepoPath, sources: &Sources, evidence: &mut Evidence) {
    let readings = compose::readings(sources, file, evidence);
    if readings.is_empty() {
        return;
    }
    let parts: Vec<&str> = file.as_str().split('/').collect();
    let parent = parts.iter().rposition(|p| HOST_PARENTS.contains(p));
    let Some(parent) = parent else { return };
    let below = parts.get(parent + 1..).unwrap_or_default();
    let name = match below {
        [host, _, _, ..] if !SHARED.contains(host) => *host,
        [_, _] | [_] => parts.get(parent).copied().unwrap_or_default(),
        _ => return,
    };
    let folder = file.parent().unwrap_or_else(|| file.clone());
    evidence
        .hosts
        .entry(name.to_owned())
        .or_insert_with(|| HostEvidence {
            origin: Origin::new(&folder, 0),
            region: None,
            clones: BTreeSet::new(),
            guessed: true,
            has_own_zone: false,
        });
    for reading in readings {
        evidence.read(
            &reading.document,
            Reader::Host(name.to_owned()),
            reading.origin,
        );
    }
}

/// The absolute path that scripts or compose files give `SOPS_AGE_KEY_FILE`.
fn identity_file(sources: &Sources, evidence: &mut Evidence) {
    for (file, text) in &sources.texts {
        // A CI workflow's or a developer's own file is no host's.
        if file.as_str().starts_with('.') || evidence.identity_file.is_some() {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            let Some((_, rest)) = line.split_once("SOPS_AGE_KEY_FILE") else {
                continue;
            };
            let Some(start) = rest.find('/') else {
                continue;
            };
            let path = rest.get(start..).unwrap_or_default();
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let path = path.split(|c| !is_plain(c)).next().unwrap_or_default();
            // `$HOME/…` is somebody's own.
            let before = rest.get(..start).unwrap_or_default();
            let is_home =
                before.contains("HOME") || before.contains('~') || path.starts_with("/home/");
            if path.len() > 1 && !is_home {
                evidence.identity_file = Some((path.to_owned(), Origin::new(file, index + 1)));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{host, readers, sources};

    fn gathered(files: &[(&str, &str)]) -> Evidence {
        Evidence::gather(&mut sources(files))
    }

    #[test]
    fn a_repository_without_komodo() {
        let evidence = gathered(&[
            (
                "stacks/one/app/compose.yaml",
                "services: {a: {env_file: [.env, ../../shared/x/.env]}}\n",
            ),
            ("stacks/one/app/.sops.env", "A=ENC[x]"),
            (
                "stacks/two/app/compose.yaml",
                "services: {a: {env_file: ../../shared/x/.env}}\n",
            ),
            ("stacks/two/app/unread.sops.env", "A=ENC[x]"),
            ("stacks/shared/x/.sops.env", "A=ENC[x]"),
            ("terraform/x.sops.json", "ENC["),
            (
                "run.sh",
                "export SOPS_AGE_KEY_FILE=\"${SOPS_AGE_KEY_FILE:-/etc/keys/age.txt}\"\n",
            ),
        ]);
        assert_eq!(
            readers(&evidence, "stacks/one/app/.sops.env"),
            [host("one")]
        );
        assert_eq!(
            readers(&evidence, "stacks/two/app/unread.sops.env"),
            [host("two")]
        );
        assert_eq!(
            readers(&evidence, "stacks/shared/x/.sops.env"),
            [host("one"), host("two")]
        );
        assert_eq!(
            readers(&evidence, "terraform/x.sops.json"),
            [Reader::Operator]
        );
        assert!(evidence.hosts["one"].guessed);
        assert_eq!(evidence.identity_file.unwrap().0, "/etc/keys/age.txt");
    }

    #[test]
    fn a_document_beside_the_hosts_is_kept_for_all_in_doubt() {
        let komodo = "[[server]]\nname = \"a\"\n[[server]]\nname = \"b\"\n";
        let evidence = gathered(&[
            ("k.toml", komodo),
            ("d/a/x.sops.env", "A=ENC[x]"),
            ("d/other/x.sops.env", "A=ENC[x]"),
        ]);
        assert_eq!(readers(&evidence, "d/a/x.sops.env"), [host("a")]);
        assert_eq!(
            readers(&evidence, "d/other/x.sops.env"),
            [host("a"), host("b")]
        );
        assert!(
            evidence
                .readings
                .values()
                .flatten()
                .any(|r| r.doubt.is_some())
        );
    }
}
