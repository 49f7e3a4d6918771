//! Policies: what `check` asks of a repository, as data, and what it found.
//!
//! A policy is a CEL expression over the facts of one subject (a file, a rule, a stack …); each record of which it is
//! true is a finding. Packs of policies are TOML; those in `policies/` are part of the binary. [`facts`] makes the
//! records from what other modules read; it opens no document and needs no identity.

pub mod baseline;
pub mod expression;
pub mod facts;
pub mod finding;
pub mod fix;
pub mod pack;

use std::collections::BTreeSet;
use std::fmt;

use rayon::prelude::*;

use crate::policy::expression::{Asked, Evaluator, Expression};
use crate::policy::facts::{Fact, Record, Subject};

pub use baseline::{Baseline, BaselineError};
pub use expression::ExpressionError;
pub use finding::Finding;
pub use pack::{Pack, PackError};

/// How much a finding matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Secrets are at risk, or readers are.
    Error,
    /// Something will go wrong one day, or makes a break-in worse.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One question.
#[derive(Debug)]
pub struct Policy {
    /// Its name: lowercase words with hyphens, unique among all packs of a call.
    pub name: String,
    /// What it asks about.
    pub about: Subject,
    /// How much its findings matter.
    pub severity: Severity,
    /// True of what is wrong.
    pub expression: Expression,
    /// What is wrong, with `{fact}` in place of facts.
    pub message: Template,
    /// What to do about it, likewise.
    pub remedy: Template,
    /// The fact that holds the line of the finding; none: the record's own line.
    pub line: Option<usize>,
}

/// Text with places for facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A fact, as its position in the subject's list.
    Fact(usize),
}

/// How many items of a list a message names.
const NAMED: usize = 4;

impl Template {
    /// Reads a text in which `{fact}` stands for a fact of `subject`.
    ///
    /// # Errors
    /// The name that is no fact of it.
    pub fn parse(text: &str, subject: Subject) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(|| after.to_owned())?;
            let at = subject.fields().iter().position(|f| f.name == name);
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Fact(at.ok_or_else(|| name.to_owned())?));
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The text for one record, on one line and without control characters, whatever a file's name holds.
    pub fn fill(&self, record: &Record) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(own) => text.push_str(own),
                Part::Fact(at) => match record.facts.get(*at) {
                    Some(Fact::Text(value)) => text.push_str(value),
                    Some(Fact::Number(value)) => text.push_str(&value.to_string()),
                    Some(Fact::Truth(value)) => text.push_str(&value.to_string()),
                    Some(Fact::Texts(values)) => text.push_str(&listed(values)),
                    None => {}
                },
            }
        }
        text.chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect()
    }
}

fn listed(values: &[String]) -> String {
    let more = values.len().saturating_sub(NAMED);
    let named = values.get(..NAMED).unwrap_or(values).join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Asks every policy of every record of its subject; sorted by severity, file and line.
pub fn evaluate(policies: &[&Policy], records: &[Record]) -> Vec<Finding> {
    let evaluator = Evaluator::new();
    let of_subject = |subject: &Subject| {
        let own: Vec<&Policy> = policies
            .iter()
            .copied()
            .filter(|p| p.about == *subject)
            .collect();
        let asked = own.iter().flat_map(|p| p.expression.asked()).copied();
        let asked: BTreeSet<usize> = asked.collect();
        (own, asked)
    };
    let by_subject: Vec<_> = Subject::ALL.iter().map(of_subject).collect();
    let of_record = |record: &Record| -> Vec<Finding> {
        let at = Subject::ALL.iter().position(|s| *s == record.subject);
        let Some((own, asked)) = at.and_then(|at| by_subject.get(at)) else {
            return Vec::new();
        };
        if own.is_empty() {
            return Vec::new();
        }
        let of = evaluator.asked(record, asked);
        own.iter()
            .filter_map(|policy| ask(policy, record, &of))
            .collect()
    };
    let mut findings: Vec<Finding> = records.par_iter().flat_map_iter(of_record).collect();
    findings.sort();
    findings.dedup();
    findings
}

fn ask(policy: &Policy, record: &Record, of: &Asked) -> Option<Finding> {
    let (severity, message, remedy) = match policy.expression.holds(of) {
        Ok(false) => return None,
        Ok(true) => (
            policy.severity,
            policy.message.fill(record),
            policy.remedy.fill(record),
        ),
        // A question that cannot be answered is no all-clear.
        Err(error) => (
            Severity::Error,
            format!("the policy could not be evaluated: {error}"),
            format!("correct the expression of the policy {}", policy.name),
        ),
    };
    let line = match policy.line.map(|at| record.facts.get(at)) {
        Some(Some(Fact::Number(line))) => usize::try_from(*line).ok().filter(|line| *line > 0),
        _ => record.line,
    };
    Some(Finding {
        policy: policy.name.clone(),
        severity,
        file: record.file.clone(),
        line: line.filter(|_| record.file.is_some()),
        message,
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::FileFacts;

    #[test]
    fn templates_name_facts_and_stay_on_their_line() {
        let facts = FileFacts {
            path: "a\nb".to_owned(),
            recipients: ["1", "2", "3", "4", "5", "6"].map(str::to_owned).to_vec(),
            ..FileFacts::default()
        };
        let record = facts.record(None, None);
        let fill = |text: &str| Template::parse(text, Subject::File).unwrap().fill(&record);
        assert_eq!(
            fill("of {path}: {recipients}!"),
            "of a?b: 1, 2, 3, 4 and 2 more!"
        );
        assert_eq!(fill("none"), "none");
        assert_eq!(
            Template::parse("{pth}", Subject::File),
            Err("pth".to_owned())
        );
        assert!(Template::parse("{path", Subject::File).is_err());
    }

    #[test]
    fn an_expression_that_errs_is_a_finding() {
        let pack = "[[policy]]\nname = \"odd\"\nabout = \"file\"\nseverity = \"note\"\nwhen = \"file.recipients[3] == ''\"\nmessage = \"m\"\nremedy = \"r\"\n";
        let pack = Pack::parse("odd.toml", pack).unwrap();
        let policies: Vec<&Policy> = pack.policies.iter().collect();
        let record = FileFacts::default().record(Some("a".to_owned()), Some(1));
        let found = evaluate(&policies, &[record]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].severity, found[0].policy.as_str()),
            (Severity::Error, "odd")
        );
        assert!(found[0].message.contains("could not be evaluated"));
    }
}
