//! `why FILE`.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use jiff::Timestamp;

use crate::cli::error::CliError;
use crate::cli::why::{Scene, Why, places};
use crate::keys::Recipient;
use crate::keystore::Lookup;
use crate::ledger::State;
use crate::plan::drift::{StandingInput, wanted};
use crate::repo::content;
use crate::repo::recognise::{by_name, recognise};
use crate::repo_path::RepoPath;
use crate::rules::{RulesFile, path_for_rules};
use crate::sops::{Document, DocumentError};

pub fn why(scene: &Scene<'_>, path: &RepoPath, lookup: &Lookup) -> Result<Why, CliError> {
    let mut why = Why {
        about: path.as_str().to_owned(),
        ..Why::default()
    };
    let source = content::whole(&path.under(scene.root))
        .map_err(|e| CliError::failed(format!("cannot read {path}")).caused_by(&e))?;
    let store = recognise(path.as_str(), &source);
    let document = store.map(|store| Document::parse(store, source));
    match &document {
        None => {
            let text = format!(
                "no SOPS document; by its name it would be one of {}",
                by_name(path.as_str())
            );
            why.know("document", vec![text]);
        }
        Some(Err(error)) => {
            why.know("document", vec![format!("damaged: {error}")]);
            why.lacks(
                "the document cannot be read",
                format!("git log -p -- {path} shows what was changed"),
            );
        }
        Some(Ok(document)) => why.know(
            "document",
            vec![format!(
                "{}, by sops {}, last changed {}",
                document.store(),
                document.version(),
                document.lastmodified()
            )],
        ),
    }
    rule(scene, path, &mut why);
    let Some(Ok(document)) = document else {
        if document.is_none() {
            why.lacks(
                "it is not encrypted",
                format!("cofferdam encrypt -i {path}"),
            );
        }
        return Ok(why);
    };
    recipients(scene, path, &document, &mut why);
    identities(scene, path, &document, lookup, &mut why);
    Ok(why)
}

/// The rule that matches the file: of the `.sops.yaml` at or above it.
fn rule(scene: &Scene<'_>, path: &RepoPath, why: &mut Why) {
    let mut folder = path.parent();
    let file = loop {
        let at = folder.as_ref().map_or_else(
            || ".sops.yaml".to_owned(),
            |folder| format!("{folder}/.sops.yaml"),
        );
        if scene.root.join(&at).is_file() {
            break at;
        }
        match folder {
            Some(inner) => folder = inner.parent(),
            None => {
                why.know(
                    "rule",
                    vec!["there is no .sops.yaml at or above it".to_owned()],
                );
                return;
            }
        }
    };
    let read = std::fs::read_to_string(scene.root.join(&file));
    let rules = read.map_err(|e| e.to_string());
    let rules = rules.and_then(|text| RulesFile::parse(&text).map_err(|e| e.to_string()));
    let base = file.strip_suffix("/.sops.yaml").unwrap_or_default();
    let name = if base.is_empty() {
        path.as_str()
    } else {
        path_for_rules(base, path.as_str())
    };
    let matched = rules.as_ref().map(|rules| rules.rule_for(name));
    match matched {
        Err(problem) => {
            why.know("rule", vec![format!("{file} cannot be used: {problem}")]);
            why.lacks(
                format!("{file} cannot be used"),
                "correct it: sops stops at it",
            );
        }
        Ok(Ok(Some(rule))) => {
            let text = match rule.path_regex.as_str() {
                "" => format!("{file}:{}: a rule for every file", rule.line),
                regex => format!("{file}:{}: {regex}", rule.line),
            };
            why.know("rule", vec![text]);
        }
        Ok(Ok(None)) => why.know("rule", vec![format!("{file} has no creation rules")]),
        Ok(Err(error)) => {
            why.know("rule", vec![format!("{file}: {error}")]);
            why.lacks(
                format!("no usable rule of {file} matches it"),
                "cofferdam sync, or correct its rules: sops could not encrypt it again",
            );
        }
    }
}

fn recipients(scene: &Scene<'_>, path: &RepoPath, document: &Document, why: &mut Why) {
    let own: Vec<Recipient> = document.recipients().into_iter().cloned().collect();
    let line = |recipient: &Recipient| {
        let holder = scene.holder(recipient);
        let holder = holder.unwrap_or_else(|| "known to nobody here".to_owned());
        format!("{recipient} ({holder})")
    };
    let mut lines: Vec<String> = own.iter().map(line).collect();
    lines.extend(document.foreign_entries().iter().map(ToString::to_string));
    why.know("opens for", lines);
    for recipient in &own {
        let Some(record) = scene.ledger.record_of(recipient) else {
            continue;
        };
        let is_over = matches!(
            record.state,
            State::Retired | State::Compromised | State::Withdrawn
        );
        if is_over && record.kept_for.is_empty() {
            why.lacks(
                format!(
                    "it is encrypted to {}, which the ledger calls {}",
                    record.id, record.state
                ),
                "cofferdam sync",
            );
        }
    }
    let Some(topology) = scene.topology else {
        return;
    };
    let places = topology.places(path);
    let readers = places.iter().flat_map(|place| topology.readers_of(place));
    why.know(
        "read by",
        readers
            .map(|r| format!("{} ({})", r.name(), r.zone()))
            .collect(),
    );
    let documents = [(path.clone(), own.clone())];
    let input = StandingInput {
        topology,
        ledger: scene.ledger,
        documents: &documents,
        now: Timestamp::now(),
    };
    for (_, place) in wanted(&input) {
        match place {
            Err(problem) => why.lacks(
                problem.to_string(),
                "give it exactly one place in cofferdam.toml, then cofferdam sync",
            ),
            Ok((place, wanted)) => {
                why.know("place", vec![place]);
                for recipient in wanted.iter().filter(|r| !own.contains(r)) {
                    why.lacks(
                        format!("it does not open for {}", line(recipient)),
                        "cofferdam sync",
                    );
                }
            }
        }
    }
}

/// Where identities were looked for, and whether one opens the document.
fn identities(
    scene: &Scene<'_>,
    path: &RepoPath,
    document: &Document,
    lookup: &Lookup,
    why: &mut Why,
) {
    let opened = document.open_with(&lookup.identities);
    why.know("looked for", places(lookup));
    let at_hand: Vec<String> = document
        .recipients()
        .into_iter()
        .filter(|recipient| lookup.identities.holds(recipient))
        .map(|recipient| scene.holder(recipient).unwrap_or_else(|| recipient.short()))
        .collect();
    match opened {
        Ok(_) if at_hand.is_empty() => why.know("here", vec!["opens".to_owned()]),
        Ok(_) => why.know(
            "here",
            vec![format!("opens, by the identity of {}", at_hand.join(", "))],
        ),
        Err(error) if error.is_locked() => {
            why.know("here", vec!["does not open".to_owned()]);
            why.lacks(
                "no identity at hand is that of a recipient",
                "export SOPS_AGE_KEY_FILE=FILE, a key file with an identity of one of those that it opens for",
            );
        }
        Err(error) => {
            let is_mac = matches!(
                error,
                DocumentError::NoMac | DocumentError::MacMismatch | DocumentError::MacUnreadable(_)
            );
            why.know("here", vec![format!("does not open: {error}")]);
            let what = if is_mac {
                "it was changed by hand"
            } else {
                "it cannot be opened"
            };
            why.lacks(what, format!("git log -p -- {path} shows what was changed"));
        }
    }
}
