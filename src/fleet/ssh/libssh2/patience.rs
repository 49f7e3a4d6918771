//! Calls of the library that never block: tried again until they are through, or time is up.

#![expect(clippy::disallowed_methods, reason = "edge: the library's time-outs")]

use std::time::{Duration, Instant};

use crate::fleet::ssh::problem::SshProblem;

/// How long to rest before the next try.
const REST: Duration = Duration::from_millis(2);

/// How long something may take as a whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    whole: Duration,
    deadline: Instant,
}

/// Why a call did not go through.
#[derive(Debug)]
pub(super) enum Fault {
    TimedOut(Duration),
    Library(ssh2::Error),
    /// The connection ended, saying this.
    Broken(String),
}

impl Patience {
    pub(super) fn of(whole: Duration) -> Self {
        Self {
            whole,
            deadline: Instant::now() + whole,
        }
    }

    /// The same from now on: somebody was asked meanwhile.
    pub(super) fn renewed(self) -> Self {
        Self::of(self.whole)
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(super) fn whole(&self) -> Duration {
        self.whole
    }

    /// Calls until it goes through.
    pub(super) fn call<T>(
        &self,
        mut call: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T, Fault> {
        loop {
            match call() {
                Ok(value) => return Ok(value),
                Err(error) if would_block(&error) => self.rest()?,
                Err(error) => return Err(Fault::Library(error)),
            }
        }
    }

    /// Rests a moment, if there is one left.
    pub(super) fn rest(&self) -> Result<(), Fault> {
        if self.left().is_zero() {
            return Err(Fault::TimedOut(self.whole));
        }
        std::thread::sleep(REST);
        Ok(())
    }
}

impl Fault {
    /// What it means for a connection to `address`.
    pub(super) fn problem(self, address: &str) -> SshProblem {
        match self {
            Self::TimedOut(patience) => SshProblem::TimedOut { patience },
            Self::Library(error) => Self::Broken(error.message().to_owned()).problem(address),
            Self::Broken(said) => SshProblem::Unreachable {
                address: address.to_owned(),
                said,
            },
        }
    }
}

pub(super) fn would_block(error: &ssh2::Error) -> bool {
    code(error) == Some(libssh2_sys::LIBSSH2_ERROR_EAGAIN)
}

/// The library's own number for what went wrong.
pub(super) fn code(error: &ssh2::Error) -> Option<i32> {
    match error.code() {
        ssh2::ErrorCode::Session(code) => Some(code),
        ssh2::ErrorCode::SFTP(_) => None,
    }
}
