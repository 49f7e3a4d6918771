//! How a failure reaches a person: kind, message, causes, hints, exit code. Only this file knows exit codes.
//!
//! Printed as `error: …`, `caused by: …` per cause and `hint: …`, a hint being a command to run next.

use std::error::Error;
use std::fmt::Display;

/// What a failure means for whoever called; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something went wrong; nothing, or nothing more, was done. Exit 1.
    Failed,
    /// The command was called wrongly. Exit 2.
    Usage,
    /// The command did its work and has findings to report. Exit 3.
    Findings,
    /// A saved plan no longer fits what is there. Exit 4.
    OutOfDate,
    /// Stopped part-way at a safe point; `resume` goes on. Exit 5.
    Stopped,
    /// `exec` refused or failed; told apart from what the program gives. Exit 125.
    Refused,
    /// The program of `exec` cannot be run. Exit 126.
    NotRunnable,
    /// There is no such program. Exit 127.
    NotFound,
}

impl Kind {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Findings => 3,
            Kind::OutOfDate => 4,
            Kind::Stopped => 5,
            Kind::Refused => 125,
            Kind::NotRunnable => 126,
            Kind::NotFound => 127,
        }
    }
}

/// A failure on its way to the terminal.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    /// What went wrong, each with what to do about it where that is its own.
    messages: Vec<(String, Option<String>)>,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl CliError {
    /// A failure of `kind` with one message.
    pub fn new(kind: Kind, message: impl Display) -> Self {
        Self {
            kind,
            messages: vec![(message.to_string(), None)],
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// A plain failure (exit 1).
    pub fn failed(message: impl Display) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A wrong call (exit 2).
    pub fn usage(message: impl Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A stop part-way (exit 5).
    pub fn stopped(message: impl Display) -> Self {
        Self::new(Kind::Stopped, message)
    }

    /// A plain failure (exit 1) from an error value and its chain of sources.
    pub fn from_error(error: &dyn Error) -> Self {
        let mut failure = Self::failed(error);
        failure.push_sources(error);
        failure
    }

    /// Several failures of one kind, told at once.
    pub fn many(kind: Kind, messages: impl IntoIterator<Item = String>) -> Self {
        Self::many_with_hints(kind, messages.into_iter().map(|text| (text, None)))
    }

    /// Several failures of one kind, each with its own hint; a hint that several in a row share is told once, after
    /// the last of them.
    pub fn many_with_hints(
        kind: Kind,
        messages: impl IntoIterator<Item = (String, Option<String>)>,
    ) -> Self {
        Self {
            kind,
            messages: messages.into_iter().collect(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Adds the chain below `error` as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn Error) -> Self {
        self.causes.push(error.to_string());
        self.push_sources(error);
        self
    }

    /// Adds a hint: a command to run next, or what to change.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// Takes the hints away, to give others.
    #[must_use]
    pub fn without_hints(mut self) -> Self {
        self.hints.clear();
        self
    }

    /// Changes the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Its messages and causes on one line, where a failure is no more than a warning.
    pub fn on_one_line(&self) -> String {
        let messages = self.messages.iter().map(|(message, _)| message.as_str());
        let all: Vec<&str> = messages
            .chain(self.causes.iter().map(String::as_str))
            .collect();
        all.join(": ")
    }

    /// What it means for whoever called.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The lines to print, in order, each with its label (`error`, `caused by`, `hint`).
    pub fn lines(&self) -> Vec<(&'static str, &str)> {
        let mut errors = Vec::new();
        for (i, (message, hint)) in self.messages.iter().enumerate() {
            errors.push(("error", message.as_str()));
            let next = self.messages.get(i + 1).map(|(_, hint)| hint);
            if let Some(hint) = hint.as_ref().filter(|_| next != Some(hint)) {
                errors.push(("hint", hint.as_str()));
            }
        }
        let causes = self.causes.iter().map(|t| ("caused by", t.as_str()));
        let hints = self.hints.iter().map(|t| ("hint", t.as_str()));
        errors.into_iter().chain(causes).chain(hints).collect()
    }

    fn push_sources(&mut self, error: &dyn Error) {
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            source = cause.source();
        }
    }
}

impl<E: Error> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::from_error(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_that_several_share_is_told_once() {
        let told = |text: &str, hint: &str| (text.to_owned(), Some(hint.to_owned()));
        let error = CliError::many_with_hints(
            Kind::Failed,
            [
                told("a", "x"),
                told("b", "x"),
                ("c".to_owned(), None),
                told("d", "y"),
            ],
        );
        let lines = [
            ("error", "a"),
            ("error", "b"),
            ("hint", "x"),
            ("error", "c"),
            ("error", "d"),
            ("hint", "y"),
        ];
        assert_eq!(error.lines(), lines);
    }
}
