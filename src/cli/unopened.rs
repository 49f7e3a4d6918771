//! Documents and readers that stop a plan, told so that a person can act: alike ones together, each with a hint.

use crate::cli::error::{CliError, Kind};
use crate::fleet::TargetError;
use crate::keystore::{Lookup, Outcome};
use crate::repo_path::RepoPath;
use crate::sops::document::DocumentError;
use crate::sops::key_group::KeyGroupError;

/// How many paths are named before the rest is counted.
const PATHS_SHOWN: usize = 3;

/// A document that could not be opened or verified.
#[derive(Debug)]
pub struct Unopened {
    /// Which.
    pub path: RepoPath,
    /// Why.
    pub error: DocumentError,
}

/// One failure for all of `unopened`: those locked to the same recipients together, all others by name.
pub fn failure(unopened: &[Unopened], other: Vec<String>, lookup: &Lookup) -> CliError {
    let mut told: Vec<(String, Option<String>)> =
        other.into_iter().map(|text| (text, None)).collect();
    let mut locked: Vec<(&[String], String, Vec<&RepoPath>)> = Vec::new();
    for one in unopened {
        match &one.error {
            DocumentError::KeyGroup(KeyGroupError::NotForUs { recipients, cause }) => {
                let cause = cause.as_ref().map(|e| one_line(e)).unwrap_or_default();
                let alike = locked
                    .iter_mut()
                    .find(|(of, why, _)| of == recipients && *why == cause);
                match alike {
                    Some((_, _, paths)) => paths.push(&one.path),
                    None => locked.push((recipients, cause, vec![&one.path])),
                }
            }
            error => told.push((
                format!("{}: {}", one.path, one_line(error)),
                Some(damaged_hint(&one.path, error)),
            )),
        }
    }
    for (recipients, cause, paths) in locked {
        let mut message = format!(
            "no identity at hand opens {}; encrypted to {}",
            listed(&paths),
            recipients.join(", ")
        );
        if !cause.is_empty() {
            message.push_str(": ");
            message.push_str(&cause);
        }
        let has_age = recipients
            .iter()
            .any(|r| r.starts_with("age1") || r.starts_with("ssh-"));
        let hint = if has_age {
            missing_identity_hint(lookup)
        } else {
            format!(
                "only age identities are used here; whoever can open it adds an age recipient: sops rotate -i --add-age RECIPIENT {}",
                paths[0]
            )
        };
        told.push((message, Some(hint)));
    }
    CliError::many_with_hints(Kind::Failed, told)
}

fn damaged_hint(path: &RepoPath, error: &DocumentError) -> String {
    let history = format!("git log -p -- {path}");
    match error {
        DocumentError::MacMismatch | DocumentError::MacUnreadable(_) | DocumentError::NoMac => {
            format!(
                "{history} shows what was changed; if that is as it should be: sops rotate -i --ignore-mac {path}"
            )
        }
        _ => format!(
            "{history} shows what was changed; git checkout COMMIT -- {path} brings a good version back"
        ),
    }
}

/// What to do about a reader that could not be read.
pub fn target_hint(error: &TargetError) -> Option<String> {
    Some(match error {
        TargetError::Unreachable { .. } => {
            "make that folder, or correct `local` in cofferdam.toml".to_owned()
        }
        TargetError::KeyFile { path, .. } => format!(
            "mend {}: an identity a line, each beginning with AGE-SECRET-KEY-1",
            path.display()
        ),
        TargetError::Symlink { .. } | TargetError::Write { .. } | TargetError::Read { .. } => {
            "put a regular file there that you may read and replace".to_owned()
        }
        TargetError::Ahead { place, .. } => format!(
            "take that run's ledger: git pull (only if that clone is lost for good, remove {place})"
        ),
        _ => return None,
    })
}

/// What to do when no identity at hand opens a document.
pub fn missing_identity_hint(lookup: &Lookup) -> String {
    let mut told: Vec<String> = lookup
        .sources
        .iter()
        .filter_map(|source| match &source.outcome {
            Outcome::Read { identities } if *identities > 0 => {
                let noun = if *identities == 1 {
                    "identity that does"
                } else {
                    "identities that do"
                };
                Some(format!(
                    "{} has {identities} {noun} not open it",
                    source.name
                ))
            }
            _ => None,
        })
        .collect();
    let failures = lookup.failures();
    told.extend(
        failures
            .iter()
            .map(|(name, reason)| format!("{name}: {reason}")),
    );
    let ask = "name the file of an identity that opens it: export SOPS_AGE_KEY_FILE=keys.txt";
    if told.is_empty() {
        ask.to_owned()
    } else {
        format!("{ask}; so far, {}", told.join("; "))
    }
}

/// An error and its causes on one line; a cause that its error repeats is left out.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn listed(paths: &[&RepoPath]) -> String {
    let names: Vec<&str> = paths.iter().take(PATHS_SHOWN).map(|p| p.as_str()).collect();
    let names = names.join(", ");
    match paths.len() {
        1 => names,
        n if n <= PATHS_SHOWN => format!("{n} documents ({names})"),
        n => format!("{n} documents ({names} and {} more)", n - PATHS_SHOWN),
    }
}
