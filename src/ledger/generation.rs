//! Which generation of a ledger wrote to a target last (protocol rule 14): one behind it never writes over one ahead.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far a ledger has come: raised once by each run that mints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Generation {
    lineage: String,
    mark: Mark,
}

/// What a target carries for one lineage: `NUMBER RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mark {
    number: u64,
    run: String,
}

/// The form in the ledger.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    /// The run that minted here first: several repositories may share a target.
    lineage: String,
    /// Counts from 1.
    number: u64,
    /// The run that raised it.
    run: String,
}

/// A text that is no generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a generation is a number and names of runs")]
pub struct NoGeneration;

impl Generation {
    /// The one after `previous`, raised by `run`; the first of a lineage is named for its run.
    pub fn after(previous: Option<&Self>, run: &str) -> Result<Self, NoGeneration> {
        let (lineage, number) = previous.map_or((run, 0), |p| (&p.lineage, p.mark.number));
        Parts {
            lineage: lineage.to_owned(),
            number: number.checked_add(1).ok_or(NoGeneration)?,
            run: run.to_owned(),
        }
        .try_into()
    }

    /// The name of the ledger's lineage: ASCII letters, digits and `-`.
    pub fn lineage(&self) -> &str {
        &self.lineage
    }

    /// What a target carries that this generation wrote to.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Whether a target with this mark was written to by a ledger that knows more than, or other than, this one.
    pub fn is_behind(&self, found: &Mark) -> bool {
        found.number > self.mark.number
            || (found.number == self.mark.number && found.run != self.mark.run)
    }
}

impl Mark {
    /// Counts from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The run that raised it.
    pub fn run(&self) -> &str {
        &self.run
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.run)
    }
}

impl FromStr for Mark {
    type Err = NoGeneration;

    fn from_str(text: &str) -> Result<Self, NoGeneration> {
        let (number, run) = text.split_once(' ').ok_or(NoGeneration)?;
        let is_number = number.bytes().all(|octet| octet.is_ascii_digit());
        if !is_number || !is_name(run) {
            return Err(NoGeneration);
        }
        Ok(Self {
            number: number.parse().map_err(|_| NoGeneration)?,
            run: run.to_owned(),
        })
    }
}

impl TryFrom<Parts> for Generation {
    type Error = NoGeneration;

    fn try_from(parts: Parts) -> Result<Self, NoGeneration> {
        if !is_name(&parts.lineage) || !is_name(&parts.run) || parts.number > LAST {
            return Err(NoGeneration);
        }
        Ok(Self {
            lineage: parts.lineage,
            mark: Mark {
                number: parts.number,
                run: parts.run,
            },
        })
    }
}

impl From<Generation> for Parts {
    fn from(generation: Generation) -> Self {
        Self {
            lineage: generation.lineage,
            number: generation.mark.number,
            run: generation.mark.run,
        }
    }
}

impl TryFrom<String> for Mark {
    type Error = NoGeneration;

    fn try_from(text: String) -> Result<Self, NoGeneration> {
        text.parse()
    }
}

impl From<Mark> for String {
    fn from(mark: Mark) -> Self {
        mark.to_string()
    }
}

/// What every shell still counts.
const LAST: u64 = 2_000_000_000;

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|o| o.is_ascii_alphanumeric() || o == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_and_another_run_are_ahead() {
        let first = Generation::after(None, "run-a").unwrap();
        let second = Generation::after(Some(&first), "run-b").unwrap();
        let other = Generation::after(Some(&first), "run-c").unwrap();
        assert_eq!((first.lineage(), second.lineage()), ("run-a", "run-a"));
        assert!(first.is_behind(second.mark()) && !second.is_behind(first.mark()));
        assert!(!second.is_behind(second.mark()) && second.is_behind(other.mark()));
        assert_eq!(second.mark().to_string(), "2 run-b");
        assert_eq!("2 run-b".parse().as_ref(), Ok(second.mark()));
        for bad in ["", "2", "x run", "+2 run", "2 a b", "2 a/b"] {
            assert_eq!(bad.parse::<Mark>(), Err(NoGeneration), "{bad}");
        }
    }
}
