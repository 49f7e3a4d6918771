//! Recipients that documents have today, beside those that were given: who is already told apart, and what a split makes of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Answers, Note, Origin, Sources};
use crate::keys::Recipient;
use crate::repo_path::RepoPath;

/// A note for each recipient of a repository that tells readers apart already, with the name that `.sops.yaml` gives it; but
/// of those that zones adopt.
/// One shared recipient is what a split is for, and needs no note.
pub(super) fn notes(
    sources: &Sources,
    answers: &Answers,
    adopted: &BTreeSet<&Recipient>,
) -> Vec<Note> {
    let given: Vec<&Recipient> = answers
        .recovery
        .iter()
        .chain(answers.operators.values().flatten())
        .collect();
    let mut opens: BTreeMap<&Recipient, Vec<&RepoPath>> = BTreeMap::new();
    for (path, facts) in &sources.documents {
        for recipient in facts.recipients.iter().filter(|r| !given.contains(r)) {
            opens.entry(recipient).or_default().push(path);
        }
    }
    if opens.len() < 2 {
        return Vec::new();
    }
    let note = |(recipient, documents): (&Recipient, Vec<&RepoPath>)| {
        if adopted.contains(recipient) {
            return None;
        }
        let named = name(sources, recipient);
        let file = named.as_ref().map(|(origin, _)| &origin.file);
        let called = named.as_ref().map(|(_, name)| format!(" ({name})"));
        let called = called.unwrap_or_default();
        let what = match documents.len() {
            1 => "1 document".to_owned(),
            n => format!("{n} documents"),
        };
        Some(Note {
            file: file.or(documents.first().copied())?.clone(),
            text: format!(
                "{}{called} opens {what} today. If it is a person's, declare it as an operator, and it stays; if a machine's, the split gives that machine a new identity of its zone and takes this one out",
                recipient.short()
            ),
        })
    };
    opens.into_iter().filter_map(note).collect()
}

/// The name of a recipient in a `.sops.yaml`: its anchor, else the comment behind it.
pub(super) fn name(sources: &Sources, recipient: &Recipient) -> Option<(Origin, String)> {
    let rules = sources
        .texts
        .iter()
        .filter(|(path, _)| path.file_name() == ".sops.yaml");
    for (path, text) in rules {
        let lines = (1..).zip(text.lines());
        let mut lines = lines.filter(|(_, line)| line.contains(recipient.as_str()));
        let named = lines.find_map(|(number, line)| {
            let (before, after) = line.split_once(recipient.as_str())?;
            let anchor = before.split_whitespace().find_map(|w| w.strip_prefix('&'));
            let comment = after.split_once('#').map(|(_, comment)| comment.trim());
            let name = anchor.or(comment).filter(|name| !name.is_empty())?;
            Some((Origin::new(path, number), name.to_owned()))
        });
        if named.is_some() {
            return named;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{path, sources};
    use crate::keys::Identity;

    #[test]
    fn recipients_are_told_by_their_anchors() {
        let [alice, web, db] = [(); 3].map(|()| Identity::mint().recipient().unwrap());
        let rules =
            format!("keys:\n  - &alice {alice}\n  - &server_web {web}\n  - {db} # the database\n");
        let mut sources = sources(&[
            (".sops.yaml", &rules),
            ("a.yaml", "a: ENC[x]"),
            ("b.yaml", "a: ENC[x]"),
        ]);
        let own = |sources: &mut Sources, name: &str, recipients: &[&Recipient]| {
            let facts = sources.documents.get_mut(&path(name)).unwrap();
            facts.recipients = recipients.iter().map(|r| (*r).clone()).collect();
        };
        own(&mut sources, "a.yaml", &[&alice, &web]);
        own(&mut sources, "b.yaml", &[&alice, &db]);
        let answers = Answers {
            operators: BTreeMap::from([("alice".to_owned(), vec![alice])]),
            ..Answers::default()
        };
        let none = BTreeSet::new();
        let texts: Vec<String> = notes(&sources, &answers, &none)
            .into_iter()
            .map(|n| n.text)
            .collect();
        assert_eq!(texts.len(), 2);
        let all = texts.join("\n");
        assert!(all.contains("(server_web) opens 1 document today"), "{all}");
        assert!(all.contains("(the database)"), "{all}");
        own(&mut sources, "b.yaml", &[&web]);
        assert!(notes(&sources, &answers, &none).is_empty());
    }
}
