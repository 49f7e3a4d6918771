//! The states of an identity's life and the ways between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an identity is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Made and sealed; no reader has it, no document uses it.
    Minted,
    /// Delivered to its readers beside what they hold.
    Shipped,
    /// Every reader has shown that it can unwrap with it.
    Proven,
    /// Documents are wrapped to it.
    Active,
    /// Documents are no longer wrapped to it; readers still hold it.
    Retiring,
    /// Withdrawn from its readers; kept sealed for good.
    Retired,
    /// In the wrong hands.
    Compromised,
    /// Made by a run that was undone; never used.
    Withdrawn,
}

/// A change of state that the life of an identity does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot go from {from} to {to}")]
pub struct TransitionError {
    from: State,
    to: State,
}

impl State {
    /// Whether documents are, or will be, wrapped to an identity in this state.
    pub fn is_live(self) -> bool {
        matches!(
            self,
            State::Minted | State::Shipped | State::Proven | State::Active
        )
    }

    /// Gives the state after a step to `to`.
    ///
    /// # Errors
    /// [`TransitionError`] for a step backwards or out of an end. Two steps back exist, both by undo: a retiring
    /// identity is active again, and one that was never anybody's only way in is withdrawn.
    pub fn advance(self, to: State) -> Result<State, TransitionError> {
        let allowed = match (self.order(), to.order()) {
            (Some(from), Some(onto)) => {
                from <= onto || (self == State::Retiring && to == State::Active)
            }
            (Some(_), None) => to == State::Compromised || self.is_live(),
            (None, _) => self == to,
        };
        if allowed {
            Ok(to)
        } else {
            Err(TransitionError { from: self, to })
        }
    }

    /// Whether `to` lies ahead in a life without mishap.
    pub fn precedes(self, to: State) -> bool {
        matches!((self.order(), to.order()), (Some(from), Some(onto)) if from < onto)
    }

    /// The place in a life without mishap; none for its other ends.
    fn order(self) -> Option<u8> {
        match self {
            State::Minted => Some(0),
            State::Shipped => Some(1),
            State::Proven => Some(2),
            State::Active => Some(3),
            State::Retiring => Some(4),
            State::Retired => Some(5),
            State::Compromised | State::Withdrawn => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Minted => "minted",
            State::Shipped => "shipped",
            State::Proven => "proven",
            State::Active => "active",
            State::Retiring => "retiring",
            State::Retired => "retired",
            State::Compromised => "compromised",
            State::Withdrawn => "withdrawn",
        })
    }
}
