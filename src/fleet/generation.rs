//! The file in which a target carries generations (protocol rule 14): a line `LINEAGE NUMBER RUN` for each ledger that
//! wrote there.

use std::sync::{Mutex, PoisonError};

use crate::ledger::{Generation, Mark};

/// The generation that a target's caller works for; none before the first run that mints.
#[derive(Debug, Default)]
pub(super) struct Claim(Mutex<Option<Generation>>);

impl Claim {
    pub(super) fn set(&self, generation: &Generation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(generation.clone());
    }

    /// The mark, if what was claimed is behind it.
    pub(super) fn ahead(&self, found: Option<&Mark>) -> Option<Mark> {
        let claimed = self.get()?;
        found.filter(|found| claimed.is_behind(found)).cloned()
    }

    pub(super) fn get(&self) -> Option<Generation> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The file for an identity file: hidden, beside it.
pub(super) fn beside(identity_file: &str) -> String {
    let (folder, name) = identity_file
        .rsplit_once('/')
        .unwrap_or(("", identity_file));
    format!("{folder}/.{name}.cofferdam-generation")
}

/// The mark of a lineage; a line that is none counts for nothing.
pub(super) fn mark_in(text: &str, lineage: &str) -> Option<Mark> {
    let mut marks = text.lines().filter_map(|line| {
        let (first, mark) = line.split_once(' ')?;
        (first == lineage).then(|| mark.parse().ok()).flatten()
    });
    marks.next_back()
}

/// The text with another mark of a lineage, or with none; other lines stay as they are, where they are.
pub(super) fn with_mark(text: &str, lineage: &str, mark: Option<&Mark>) -> String {
    let mut line = mark.map(|mark| format!("{lineage} {mark}\n"));
    let mut after = String::new();
    for old in text.lines() {
        if old.split(' ').next() == Some(lineage) {
            after.extend(line.take());
        } else {
            after.push_str(old);
            after.push('\n');
        }
    }
    after.extend(line);
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lineage_has_its_line() {
        let text = "a 1 x\nb 7 y\nnoise\n";
        let mark: Mark = "2 z".parse().unwrap();
        assert_eq!(mark_in(text, "b").map(|m| m.number()), Some(7));
        assert_eq!(mark_in(text, "noise"), None);
        let raised = with_mark(text, "a", Some(&mark));
        assert_eq!(raised, "a 2 z\nb 7 y\nnoise\n");
        assert_eq!(with_mark(&raised, "a", mark_in(text, "a").as_ref()), text);
        let added = with_mark(text, "c", Some(&mark));
        assert_eq!(added, format!("{text}c 2 z\n"));
        assert_eq!(with_mark(&added, "c", None), text);
        assert_eq!(
            beside("/etc/keys.txt"),
            "/etc/.keys.txt.cofferdam-generation"
        );
    }
}
