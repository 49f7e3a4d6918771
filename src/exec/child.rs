//! The program to run: its arguments, its environment, and what it means when it cannot be started.

#![expect(clippy::disallowed_methods, reason = "edge: starts the program")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;

use crate::exec::Named;
use crate::exec::environment;

/// A program with its arguments and what is added to its environment.
#[derive(Debug)]
pub struct Task {
    /// The program and its arguments; at least one.
    pub command: Vec<OsString>,
    /// Secret variables.
    pub variables: Vec<Named>,
    /// Other variables.
    pub settings: Vec<(String, OsString)>,
}

/// Why a program did not run, or was not looked after to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// There is no such program.
    #[error("there is no program `{program}`")]
    NotFound {
        /// As it was given.
        program: String,
    },
    /// It is there and cannot be run.
    #[error("cannot run `{program}`")]
    NotRunnable {
        /// As it was given.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The system takes no environment of this size.
    #[error("the variables are too long for an environment")]
    TooLong,
    /// The system refused something else.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl ChildError {
    pub(super) fn system(what: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System {
            what,
            source: source.into(),
        }
    }
}

impl Task {
    /// Becomes the program (`execve`); comes back only if that fails.
    pub fn replace(&self) -> ChildError {
        let error = self.to_command(&self.command).exec();
        failure(&self.command, error)
    }

    /// These words as a command in the task's environment, whose streams are still ours. Variables that may hold or name an
    /// identity are left out.
    pub(super) fn to_command(&self, words: &[OsString]) -> Command {
        let mut command = Command::new(program(words));
        command.args(words.iter().skip(1));
        withhold_identities(&mut command);
        for variable in &self.variables {
            command.env(&variable.name, OsStr::from_bytes(variable.value.expose()));
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Keeps variables that may hold or name an identity from a command.
pub fn withhold_identities(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if environment::is_withheld(name.as_bytes()) {
            command.env_remove(name);
        }
    }
}

/// What it means that a command could not be started.
pub(super) fn failure(words: &[OsString], error: io::Error) -> ChildError {
    let program = program(words).to_string_lossy().into_owned();
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => ChildError::NotFound { program },
        Some(Errno::TOOBIG) => ChildError::TooLong,
        _ => ChildError::NotRunnable {
            program,
            source: error,
        },
    }
}

fn program(words: &[OsString]) -> &OsStr {
    words.first().map_or(OsStr::new(""), OsStr::new)
}
