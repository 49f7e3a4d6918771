//! Facts about files, secret or not.

use std::collections::BTreeMap;

use crate::evidence::manifests::clear_secret;
use crate::inventory::digests::Standing;
use crate::keys::Recipient;
use crate::ledger::State;
use crate::policy::facts::document::{clear_secrets, pinned_sops, too_old};
use crate::policy::facts::rule::Matched;
use crate::policy::facts::{Material, Record, facts, number};
use crate::repo_path::RepoPath;
use crate::sops::Document;

facts! {
    /// A file.
    File FileFacts {
        /// Its path.
        path: String,
        /// Its name.
        name: String,
        /// Whether it is a SOPS document.
        is_secret: bool,
        /// What keeps it from being looked into: damage, a name that is not UTF-8, no right to read; empty: nothing.
        problem: String,
        /// Of a document: those who can open it, by name.
        recipients: Vec<String>,
        /// Of a document: its keys of other kinds than age.
        foreign_keys: Vec<String>,
        /// Of a document: its place in `cofferdam.toml`, such as `zone lan`; empty without one.
        place: String,
        /// Of a document: why it has no one place in `cofferdam.toml`; empty: it has one, or there is no such file.
        misplaced: String,
        /// Of a document: recipients in use that its place does not give it, by name.
        extra_recipients: Vec<String>,
        /// Of a document: who should open it by `cofferdam.toml` and the ledger, and cannot.
        missing_recipients: Vec<String>,
        /// Of a document: recipients that neither `cofferdam.toml` nor the ledger knows, or where there is neither, no rule.
        unknown_recipients: Vec<String>,
        /// Of a document: recipients that the ledger calls retiring, retired, compromised or withdrawn, and keeps for nobody.
        retired_recipients: Vec<String>,
        /// Whether a `.sops.yaml` lies at or above it.
        has_rules_file: bool,
        /// Whether one of its rules matches it.
        has_rule: bool,
        /// Of a document: the keys of clear values that look like secrets.
        clear_secrets: Vec<String>,
        /// Of a document: why sops is too old for its recipients; empty: it is not, as far as files say.
        sops_too_old: String,
        /// Of a document: whether it carries the MAC that was last verified over values that it was not made for.
        changed_by_hand: bool,
        /// Of a document: whether it was written again, or first, since documents here were last verified and recorded.
        is_unverified: bool,
        /// Whether it is named like a document, `NAME.sops.EXT`, and is none.
        is_named_secret: bool,
        /// The document whose plaintext it is, by its name.
        plaintext_of: String,
        /// Of a document: an ignored file beside it that holds its plaintext, by its name.
        plaintext_beside: String,
        /// The line on which it holds an age identity in the clear; 0: none.
        identity_line: i64,
        /// The line on which it holds a Kubernetes Secret with values in the clear; 0: none.
        clear_manifest_line: i64,
        /// The line on which it turns the check of TLS certificates off; 0: none.
        skips_tls_line: i64,
    }
}

pub(super) fn records(material: &Material<'_>, matched: &Matched<'_>) -> Vec<Record> {
    let documents: BTreeMap<&RepoPath, &Document> = material
        .documents
        .iter()
        .map(|(path, document)| (path, document))
        .collect();
    let pinned = pinned_sops(material.sources);
    let mut records = Vec::new();
    for path in &material.sources.paths {
        let mut facts = match documents.get(path) {
            Some(document) => of_document(material, path, document, pinned.as_ref()),
            None => of_other(material, path),
        };
        facts.path = path.as_str().to_owned();
        facts.name = path.file_name().to_owned();
        facts.has_rule = matched.has_rule(path);
        facts.has_rules_file = matched.has_rules_file(path);
        records.push(facts.record(Some(path.as_str().to_owned()), None));
    }
    for trouble in material.troubles {
        let facts = FileFacts {
            path: trouble.file.clone(),
            name: trouble
                .file
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            problem: trouble.what.clone(),
            ..FileFacts::default()
        };
        records.push(facts.record(Some(trouble.file.clone()), trouble.line));
    }
    records
}

fn of_document(
    material: &Material<'_>,
    path: &RepoPath,
    document: &Document,
    pinned: Option<&(String, String)>,
) -> FileFacts {
    let own = document.recipients();
    let standing = material.digests.standing(path, document);
    let name = |recipient: &Recipient| material.name_of(recipient);
    let mut facts = FileFacts {
        is_secret: true,
        recipients: own.iter().map(|r| name(r)).collect(),
        foreign_keys: document
            .foreign_entries()
            .iter()
            .map(ToString::to_string)
            .collect(),
        clear_secrets: clear_secrets(document),
        sops_too_old: too_old(document, pinned),
        changed_by_hand: standing == Standing::Changed,
        is_unverified: !material.digests.is_empty() && standing == Standing::Unknown,
        plaintext_beside: material.beside.get(path).cloned().unwrap_or_default(),
        ..FileFacts::default()
    };
    let wanted = match material.wanted.get(path) {
        Some(Ok((place, wanted))) => {
            facts.place.clone_from(place);
            let missing = wanted.iter().filter(|r| !own.contains(r));
            facts.missing_recipients = missing.map(name).collect();
            Some(wanted)
        }
        Some(Err(problem)) => {
            facts.misplaced.clone_from(problem);
            None
        }
        None => None,
    };
    for recipient in own {
        if wanted.is_some_and(|wanted| wanted.contains(recipient)) {
            continue;
        }
        let record = material.ledger.record_of(recipient);
        let is_over = record.is_some_and(|r| {
            matches!(
                r.state,
                State::Retiring | State::Retired | State::Compromised | State::Withdrawn
            ) && r.kept_for.is_empty()
        });
        if is_over {
            facts.retired_recipients.push(name(recipient));
        } else if !material.is_known(recipient) {
            facts.unknown_recipients.push(name(recipient));
        } else if wanted.is_some() {
            facts.extra_recipients.push(name(recipient));
        }
    }
    facts
}

fn of_other(material: &Material<'_>, path: &RepoPath) -> FileFacts {
    let text = material.sources.texts.get(path);
    let plaintext_of = document_of_plaintext(path)
        .into_iter()
        .find(|document| material.sources.documents.contains_key(document));
    FileFacts {
        is_named_secret: is_named_secret(path),
        plaintext_of: plaintext_of.map_or(String::new(), |d| d.as_str().to_owned()),
        identity_line: material
            .identities
            .get(path)
            .map_or(0, |line| number(*line)),
        clear_manifest_line: text.and_then(|text| clear_secret(text)).map_or(0, number),
        skips_tls_line: text.and_then(|text| skips_tls(text)).map_or(0, number),
        ..FileFacts::default()
    }
}

/// Whether a file is named like a document: `NAME.sops.EXT`.
pub fn is_named_secret(path: &RepoPath) -> bool {
    let name = path.file_name();
    let is_rules = matches!(name, ".sops.yaml" | ".sops.yml");
    name.contains(".sops.") && !is_rules && !is_prose(name)
}

/// Examples and documentation may be named like secrets.
fn is_prose(name: &str) -> bool {
    ["md", "example", "sample", "template", "tmpl", "dist"]
        .iter()
        .any(|end| name.ends_with(&format!(".{end}")))
        || name.contains(".example.")
}

/// The documents that a plaintext file of this name would come from. Only of dotenv files, and of names that are nothing
/// but an ending: `values.yaml` beside `values.sops.yaml` is what charts are used with.
fn document_of_plaintext(path: &RepoPath) -> Vec<RepoPath> {
    let name = path.file_name();
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return Vec::new();
    };
    if extension != "env" && !stem.is_empty() {
        return Vec::new();
    }
    let candidates = [
        format!("{stem}.sops.{extension}"),
        format!("{stem}.enc.{extension}"),
    ];
    let sibling = |name: &String| match path.parent() {
        Some(folder) => folder.join(name).ok(),
        None => RepoPath::new(name).ok(),
    };
    candidates
        .iter()
        .filter_map(sibling)
        .filter(|c| c != path)
        .collect()
}

/// The names under which the plaintext of a document would lie beside it.
pub fn plaintext_names(document: &RepoPath) -> Option<RepoPath> {
    let name = document.file_name();
    let plain = name.replacen(".sops.", ".", 1);
    let plain = if plain == name {
        name.replacen(".enc.", ".", 1)
    } else {
        plain
    };
    if plain == name {
        return None;
    }
    let path = match document.parent() {
        Some(folder) => folder.join(&plain).ok()?,
        None => RepoPath::new(&plain).ok()?,
    };
    document_of_plaintext(&path)
        .contains(document)
        .then_some(path)
}

/// The first line that turns the check of TLS certificates off.
fn skips_tls(text: &str) -> Option<usize> {
    // Cheap first: most texts do not speak of it.
    let lower = text.to_ascii_lowercase();
    if !lower.contains("skip") {
        return None;
    }
    let position = lower.lines().position(|line| {
        let line = line.trim_start().trim_start_matches("- ");
        let plain: String = line
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '=' || *c == ':')
            .collect();
        let says = [
            "insecureskipverify=true",
            "insecureskipverify:true",
            "insecureskiptlsverify:true",
            "insecureskiptlsverify=true",
        ];
        !line.starts_with('#') && says.iter().any(|says| plain.contains(says))
    });
    position.map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text).unwrap()
    }

    #[test]
    fn plaintext_and_its_document_by_name() {
        let of = |p: &str| plaintext_names(&path(p)).map(|p| p.as_str().to_owned());
        assert_eq!(of("a/.sops.env").as_deref(), Some("a/.env"));
        assert_eq!(of("a/backup.sops.env").as_deref(), Some("a/backup.env"));
        assert_eq!(of(".sops.json").as_deref(), Some(".json"));
        assert_eq!(of("a/app.enc.env").as_deref(), Some("a/app.env"));
        assert_eq!(of("a/values.sops.yaml"), None);
        assert_eq!(of("a/secret.yaml"), None);
    }

    #[test]
    fn lines_that_turn_tls_off() {
        assert_eq!(
            skips_tls("a\n  - --serverstransport.insecureskipverify=true\n"),
            Some(2)
        );
        assert_eq!(skips_tls("tls:\n  insecureSkipVerify: true\n"), Some(2));
        assert_eq!(skips_tls("insecure_skip_verify = true\n"), Some(1));
        assert_eq!(skips_tls("# insecureSkipVerify: true\n"), None);
        assert_eq!(skips_tls("insecureSkipVerify: false\n"), None);
        assert_eq!(skips_tls("nothing\n"), None);
    }
}
