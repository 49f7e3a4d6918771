//! Accepted findings: each with a reason and the day on which it ends.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;

use crate::policy::Finding;

/// Where accepted findings stand by default, relative to the repository's root.
pub const BASELINE_PATH: &str = ".cofferdam/accepted-findings.toml";

/// The accepted findings of a repository.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    #[serde(default)]
    accepted: Vec<Accepted>,
}

/// One acceptance. It covers a policy's findings in one file; those with this message only, if it names one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The policy.
    pub policy: String,
    /// The file; none: the repository as a whole.
    pub file: Option<String>,
    /// The finding's whole message, where a file has several.
    pub message: Option<String>,
    /// Why.
    pub reason: String,
    /// The last day on which it counts, in UTC: `2027-01-31`.
    pub until: String,
}

/// Why a file is no list of accepted findings.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not TOML, or an entry without its reason or its end.
    #[error("the list of accepted findings cannot be read")]
    Malformed(#[source] Box<toml_edit::de::Error>),
    /// An empty reason.
    #[error("the acceptance of {0} has no reason")]
    Reason(String),
    /// An end that is no day.
    #[error("the acceptance of {policy} ends {until:?}, which is no day such as 2027-01-31")]
    Until {
        /// The policy.
        policy: String,
        /// What stands there.
        until: String,
    },
}

/// Findings, with what was accepted taken out.
#[derive(Debug, Default)]
pub struct Judged {
    /// What is left.
    pub open: Vec<Finding>,
    /// How many were accepted.
    pub accepted: usize,
    /// What to say about acceptances: those that ended, and those that nothing needs any more.
    pub remarks: Vec<String>,
}

impl Baseline {
    /// Reads a list.
    ///
    /// # Errors
    /// See [`BaselineError`].
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let read: Self = toml_edit::de::from_str(text)
            .map_err(|source| BaselineError::Malformed(Box::new(source)))?;
        for entry in &read.accepted {
            if entry.reason.trim().is_empty() {
                return Err(BaselineError::Reason(entry.policy.clone()));
            }
            if entry.until.parse::<Date>().is_err() {
                return Err(BaselineError::Until {
                    policy: entry.policy.clone(),
                    until: entry.until.clone(),
                });
            }
        }
        Ok(read)
    }

    /// Takes out of `findings` what is accepted today; `asked` are the policies that were asked.
    pub fn judge(&self, findings: Vec<Finding>, asked: &[&str], now: Timestamp) -> Judged {
        let today = now.to_string();
        let today = today.get(..10).unwrap_or_default();
        let mut used = vec![false; self.accepted.len()];
        let mut judged = Judged::default();
        for finding in findings {
            let mut is_accepted = false;
            for (entry, used) in self.accepted.iter().zip(&mut used) {
                if entry.covers(&finding) {
                    *used = true;
                    // Days in this form compare as texts.
                    is_accepted |= entry.until.as_str() >= today;
                }
            }
            if is_accepted {
                judged.accepted += 1;
            } else {
                judged.open.push(finding);
            }
        }
        for (entry, used) in self.accepted.iter().zip(used) {
            if used && entry.until.as_str() < today {
                judged.remarks.push(format!(
                    "the acceptance of {} ended on {}",
                    entry.title(),
                    entry.until
                ));
            } else if !used && asked.contains(&entry.policy.as_str()) {
                judged.remarks.push(format!(
                    "{} is accepted but not found any more",
                    entry.title()
                ));
            }
        }
        judged
    }
}

impl Accepted {
    fn covers(&self, finding: &Finding) -> bool {
        self.policy == finding.policy
            && self.file == finding.file
            && self.message.as_ref().is_none_or(|m| *m == finding.message)
    }

    fn title(&self) -> String {
        match &self.file {
            Some(file) => format!("{} in {file}", self.policy),
            None => self.policy.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Severity;

    fn finding(policy: &str, file: Option<&str>, message: &str) -> Finding {
        Finding {
            policy: policy.to_owned(),
            severity: Severity::Error,
            file: file.map(str::to_owned),
            line: None,
            message: message.to_owned(),
            remedy: String::new(),
        }
    }

    fn judged(entry: &str, now: &str) -> Judged {
        let list = Baseline::parse(&format!("[[accepted]]\nreason = \"why\"\n{entry}")).unwrap();
        let findings = vec![
            finding("p", Some("a"), "one"),
            finding("p", Some("a"), "two"),
            finding("p", None, "one"),
            finding("q", Some("a"), "one"),
        ];
        list.judge(findings, &["p", "q"], now.parse().unwrap())
    }

    #[test]
    fn an_acceptance_covers_what_it_names_until_its_last_day() {
        let entry = "policy = \"p\"\nfile = \"a\"\nuntil = \"2026-11-25\"\n";
        let last_day = judged(entry, "2026-11-25T23:59:59Z");
        assert_eq!((last_day.open.len(), last_day.accepted), (2, 2));
        assert!(last_day.remarks.is_empty());
        let next_day = judged(entry, "2026-11-26T00:00:00Z");
        assert_eq!((next_day.open.len(), next_day.accepted), (4, 0));
        assert!(next_day.remarks[0].contains("ended on 2026-11-25"));
        let one = judged(
            &format!("{entry}message = \"two\"\n"),
            "2026-11-25T00:00:00Z",
        );
        assert_eq!((one.open.len(), one.accepted), (3, 1));
        let repository = judged(
            "policy = \"p\"\nuntil = \"2026-12-01\"\n",
            "2026-11-25T00:00:00Z",
        );
        assert_eq!(repository.accepted, 1);
        let gone = judged(
            "policy = \"p\"\nfile = \"b\"\nuntil = \"2026-12-01\"\n",
            "2026-11-25T00:00:00Z",
        );
        assert!(gone.remarks[0].contains("not found any more"));
    }

    #[test]
    fn an_acceptance_without_reason_or_end_is_refused() {
        let error = |text: &str| {
            Baseline::parse(&format!("[[accepted]]\npolicy = \"p\"\n{text}")).unwrap_err()
        };
        assert!(matches!(
            error("until = \"2026-12-01\"\n"),
            BaselineError::Malformed(_)
        ));
        assert!(matches!(
            error("reason = \"r\"\n"),
            BaselineError::Malformed(_)
        ));
        assert!(matches!(
            error("reason = \" \"\nuntil = \"2026-12-01\"\n"),
            BaselineError::Reason(_)
        ));
        for until in ["tomorrow", "2026-13-01", "2026-02-30", ""] {
            let error = error(&format!("reason = \"r\"\nuntil = \"{until}\"\n"));
            assert!(matches!(error, BaselineError::Until { .. }), "{until}");
        }
        assert!(Baseline::parse("").unwrap().accepted.is_empty());
    }
}
