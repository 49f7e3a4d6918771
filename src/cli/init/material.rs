//! Reads from the work tree what evidence is taken from (edge).

use std::sync::LazyLock;

use regex::Regex;

use crate::cli::error::{CliError, Kind};
use crate::evidence::{DocumentFacts, Sources};
use crate::keys::Recipient;
use crate::repo::{Git, Scan};
use crate::repo_path::RepoPath;

/// Larger files are no configuration that a person wrote.
const MAX_TEXT: u64 = 1 << 20;

/// Scans the repository and reads the texts that may be evidence.
///
/// # Errors
/// If git cannot list the files, or a file that may be a SOPS document cannot be read.
pub(super) fn collect(git: &Git) -> Result<Sources, CliError> {
    let scan = Scan::of_repository(git)?;
    let problems: Vec<String> = scan
        .problems()
        .map(|(path, why)| format!("cannot look into {}: {why:?}", path.display()))
        .collect();
    if !problems.is_empty() {
        return Err(CliError::many(Kind::Failed, problems));
    }
    let mut sources = Sources::default();
    for path in scan.others {
        let file = path.under(git.root());
        if may_be_evidence(&path)
            && std::fs::metadata(&file).is_ok_and(|m| m.len() <= MAX_TEXT)
            && let Ok(text) = std::fs::read_to_string(&file)
        {
            sources.texts.insert(path.clone(), text);
        }
        sources.paths.insert(path);
    }
    for document in scan.documents {
        let text = String::from_utf8_lossy(&document.source).into_owned();
        let facts = DocumentFacts {
            recipients: recipients(&text),
            ..DocumentFacts::default()
        };
        sources.documents.insert(document.path.clone(), facts);
        sources.texts.insert(document.path.clone(), text);
        sources.paths.insert(document.path);
    }
    Ok(sources)
}

fn may_be_evidence(path: &RepoPath) -> bool {
    let name = path.file_name();
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
    matches!(
        extension,
        "yaml" | "yml" | "toml" | "cfg" | "sh" | "env" | "service"
    ) || name.contains("Dockerfile")
        || !name.contains('.')
}

/// The age recipients of a document's metadata, as every store writes them: `recipient: …`, `"recipient": "…"`,
/// `…map_recipient=…`.
fn recipients(text: &str) -> Vec<Recipient> {
    static FIELD: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"recipient["']?[ \t]*[:=][ \t]*["']?(age1[0-9a-z]+|ssh-[a-z0-9]+ [A-Za-z0-9+/=]+)"#,
        )
        .ok()
    });
    let found = FIELD.iter().flat_map(|field| field.captures_iter(text));
    let texts = found.filter_map(|c| c.get(1).map(|m| m.as_str().to_owned()));
    let mut recipients: Vec<Recipient> = Vec::new();
    for recipient in texts.filter_map(|t| Recipient::parse(&t).ok()) {
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    recipients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_of_every_store() {
        let key = "age12c9kanc9dldzlz2wxyeu9ap8m5syar5a64dz7nkhcu3u36txsscsmfymuj";
        for text in [
            format!("sops:\n    age:\n        - recipient: {key}\n          enc: |\n"),
            format!("{{\"sops\": {{\"age\": [{{\"recipient\": \"{key}\"}}]}}}}"),
            format!("sops_age__list_0__map_recipient={key}\n"),
            format!("[sops]\nage__list_0__map_recipient = {key}\n"),
        ] {
            let found: Vec<String> = recipients(&text)
                .iter()
                .map(|r| r.as_str().to_owned())
                .collect();
            assert_eq!(found, [key], "{text}");
        }
    }
}
