//! Runbooks: an operator's job as steps that run, and that print as a page for people.
//!
//! A runbook is a TOML file: our own commands and the operator's, with questions and checks between them. This module
//! reads one, fills in its parameters, folds its journal and renders it. It runs nothing.

pub mod fill;
pub mod markdown;
pub mod parse;
pub mod progress;

use jiff::SignedDuration;
use sha2::{Digest, Sha256};

pub use fill::FillError;
pub use markdown::markdown;
pub use parse::parse;
pub use progress::{Entry, Progress, ProgressError};

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runbook {
    /// Its name: that of its file, without the ending.
    pub name: String,
    /// What it does, in one line.
    pub title: String,
    /// When and why, in Markdown.
    pub about: Option<String>,
    /// What differs from time to time.
    pub parameters: Vec<Parameter>,
    /// At least one; names are unique.
    pub steps: Vec<Step>,
}

/// A word that the operator gives: `--set NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Written `{{name}}` in commands and texts.
    pub name: String,
    /// What it is.
    pub about: String,
    /// The value if none is given; without it one must be.
    pub default: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it is for, in Markdown.
    pub text: Option<String>,
    /// What is done.
    pub action: Action,
    /// It is done again whenever the runbook is continued, though it was done before.
    pub again: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A command.
    Run {
        /// Which.
        command: Command,
        /// The exit codes that count as done.
        allow: Vec<u8>,
    },
    /// A question that only a person can answer.
    Confirm {
        /// The question.
        question: String,
        /// `--yes` does not answer it: it is about something that only a person's hands can have done.
        by_hand: bool,
    },
    /// A command that is tried until it succeeds.
    WaitUntil {
        /// Which.
        command: Command,
        /// From one try to the next.
        every: SignedDuration,
        /// For all tries together.
        timeout: SignedDuration,
    },
}

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments; `cofferdam` is this very program. At least one word.
    Words(Vec<String>),
    /// A text for `sh -c`.
    Shell(String),
}

impl Runbook {
    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}

impl Command {
    /// The command line as a person would type it.
    pub fn shown(&self) -> String {
        match self {
            Command::Words(words) => words
                .iter()
                .map(|word| quoted_for_shell(word))
                .collect::<Vec<_>>()
                .join(" "),
            Command::Shell(text) => text.clone(),
        }
    }

    /// The words after `cofferdam`; none if it is another program's command.
    pub fn own(&self) -> Option<&[String]> {
        match self {
            Command::Words(words) => words
                .split_first()
                .filter(|(program, _)| *program == "cofferdam")
                .map(|(_, rest)| rest),
            Command::Shell(_) => None,
        }
    }

    /// The command that goes on with the run that this one began and that was cut off; none if it begins no run.
    pub fn resume(&self) -> Option<Command> {
        let (first, rest) = self.own()?.split_first()?;
        if !["split", "rotate", "revoke", "sync"].contains(&first.as_str()) {
            return None;
        }
        let mut words = vec!["cofferdam".to_owned(), "resume".to_owned()];
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "--yes" | "-y" => words.push("--yes".to_owned()),
                "--hold-at" => {
                    words.push(word.clone());
                    words.extend(rest.next().cloned());
                }
                _ if word.starts_with("--hold-at=") => words.push(word.clone()),
                _ => {}
            }
        }
        Some(Command::Words(words))
    }
}

/// The digest of a runbook's text, as it is kept to notice that the text was changed: SHA-256 in hexadecimal.
pub fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn quoted_for_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Command {
        Command::Words(line.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn what_begins_a_run_is_resumed_with_the_same_word_and_hold() {
        let resume = |line: &str| words(line).resume().map(|c| c.shown());
        assert_eq!(
            resume("cofferdam rotate --due --yes").as_deref(),
            Some("cofferdam resume --yes")
        );
        assert_eq!(
            resume("cofferdam split --hold-at retire --yes").as_deref(),
            Some("cofferdam resume --hold-at retire --yes")
        );
        assert_eq!(resume("cofferdam status"), None);
        assert_eq!(resume("git rotate"), None);
        assert_eq!(Command::Shell("cofferdam split".to_owned()).resume(), None);
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_change_them() {
        let command = Command::Words(vec![
            "a b".into(),
            "it's".into(),
            "-x=1".into(),
            String::new(),
        ]);
        assert_eq!(command.shown(), r"'a b' 'it'\''s' -x=1 ''");
    }
}
