//! What facts are made from, as other modules read it.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, Sources};
use crate::inventory::Digests;
use crate::keys::Recipient;
use crate::ledger::Ledger;
use crate::policy::facts::Before;
use crate::repo_path::RepoPath;
use crate::rules::RulesFile;
use crate::sops::Document;
use crate::topology::Topology;

/// A file that could not be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The file's name; not always UTF-8 in truth.
    pub file: String,
    /// The line, if it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

/// Everything that facts are made from.
pub struct Material<'a> {
    /// Paths and texts.
    pub sources: &'a Sources,
    /// Who reads what, by other tools' files.
    pub evidence: &'a Evidence,
    /// The SOPS documents that could be read.
    pub documents: &'a [(RepoPath, Document)],
    /// What could not be read.
    pub troubles: &'a [Trouble],
    /// The submodules, and repositories inside this one; not looked into.
    pub submodules: &'a [String],
    /// Every `.sops.yaml` that could be read.
    pub rules: &'a [(RepoPath, RulesFile)],
    /// Intended state; none if there is no usable `cofferdam.toml`.
    pub topology: Option<&'a Topology>,
    /// The text of `cofferdam.toml`.
    pub topology_text: &'a str,
    /// The identities that exist.
    pub ledger: &'a Ledger,
    /// The text of the ledger.
    pub ledger_text: &'a str,
    /// Per document, its place and the recipients that it should have, or why it has no one place.
    pub wanted: &'a BTreeMap<RepoPath, Result<(String, BTreeSet<Recipient>), String>>,
    /// The identities whose rotation is due, by id, with the day.
    pub overdue: &'a BTreeMap<String, String>,
    /// The recovery drills that are due.
    pub drills: &'a [String],
    /// The ignored plaintext files that lie beside a document.
    pub beside: &'a BTreeMap<RepoPath, String>,
    /// The files that hold an age identity in the clear, each with its line.
    pub identities: &'a BTreeMap<RepoPath, usize>,
    /// What documents looked like when they were last verified.
    pub digests: &'a Digests,
    /// The repository as it was at the revision that changes are told from, if one is named.
    pub before: Option<&'a Before>,
}

impl Material<'_> {
    /// Who holds a recipient, for people: an operator, recovery, an identity by id; else its short form.
    pub(super) fn name_of(&self, recipient: &Recipient) -> String {
        let always = self.topology.map(Topology::always).unwrap_or_default();
        if let Some((_, holder)) = always.iter().find(|(known, _)| *known == recipient) {
            return holder.clone();
        }
        if let Some(record) = self.ledger.record_of(recipient) {
            return record.id.clone();
        }
        let adopted = self.topology.map(Topology::adopted).unwrap_or_default();
        let mut adopted = adopted.iter().filter(|(_, _, known)| *known == recipient);
        adopted.next().map_or_else(
            || recipient.short(),
            |(kind, name, _)| format!("{kind} {name}"),
        )
    }

    /// Whether anybody knows a recipient: `cofferdam.toml`, the ledger, or where there is neither, the rules.
    pub(super) fn is_known(&self, recipient: &Recipient) -> bool {
        if self.ledger.record_of(recipient).is_some() {
            return true;
        }
        match self.topology {
            Some(topology) => {
                let (always, adopted) = (topology.always(), topology.adopted());
                always.iter().any(|(known, _)| *known == recipient)
                    || adopted.iter().any(|(_, _, known)| *known == recipient)
            }
            None => {
                let rules = || {
                    self.rules
                        .iter()
                        .flat_map(|(_, file)| file.creation_rules.iter().flatten())
                };
                rules().next().is_none() || rules().any(|rule| rule.has_recipient(recipient))
            }
        }
    }

    /// The line of a text that holds `needle`.
    pub(super) fn line_in(text: &str, needle: &str) -> Option<usize> {
        text.lines()
            .position(|line| line.contains(needle))
            .map(|at| at + 1)
    }
}
