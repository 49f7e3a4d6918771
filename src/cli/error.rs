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
        }
    }
}

/// A failure on its way to the terminal.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    messages: Vec<String>,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl CliError {
    /// A failure of `kind` with one message.
    pub fn new(kind: Kind, message: impl Display) -> Self {
        Self {
            kind,
            messages: vec![message.to_string()],
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

    /// Changes the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// What it means for whoever called.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The lines to print, in order, each with its label (`error`, `caused by`, `hint`).
    pub fn lines(&self) -> Vec<(&'static str, &str)> {
        let errors = self.messages.iter().map(|t| ("error", t.as_str()));
        let causes = self.causes.iter().map(|t| ("caused by", t.as_str()));
        let hints = self.hints.iter().map(|t| ("hint", t.as_str()));
        errors.chain(causes).chain(hints).collect()
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
