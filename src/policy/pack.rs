//! Packs of policies: TOML with `[[policy]]` entries, and the packs that are built in.

use serde::Deserialize;

use crate::policy::expression::{Expression, ExpressionError};
use crate::policy::facts::Subject;
use crate::policy::{Policy, Severity, Template};

/// The packs that are part of the binary: name and text.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("default", include_str!("../../policies/default.toml")),
    ("strict", include_str!("../../policies/strict.toml")),
    ("homelab", include_str!("../../policies/homelab.toml")),
];

/// The policies of one file.
#[derive(Debug)]
pub struct Pack {
    /// The built-in packs that it takes in.
    pub include: Vec<String>,
    /// Its own policies, in order.
    pub policies: Vec<Policy>,
}

/// Why a file is no pack.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Not TOML, or not a pack's.
    #[error("{pack} is no pack of policies")]
    Malformed {
        /// The pack.
        pack: String,
        /// What is wrong.
        #[source]
        source: Box<toml_edit::de::Error>,
    },
    /// A name that is not lowercase words with hyphens.
    #[error("{pack}: {name:?} is no name of a policy: lowercase letters, digits and hyphens")]
    Name {
        /// The pack.
        pack: String,
        /// The name.
        name: String,
    },
    /// Two policies of one name.
    #[error("{pack}: there are two policies {name}")]
    Twice {
        /// The pack that brings the second.
        pack: String,
        /// The name.
        name: String,
    },
    /// An expression that cannot be used.
    #[error("{pack}: policy {name}")]
    Expression {
        /// The pack.
        pack: String,
        /// The policy.
        name: String,
        /// What is wrong.
        #[source]
        source: ExpressionError,
    },
    /// A message, remedy or line that names what is no fact.
    #[error("{pack}: policy {name}: {text:?} is no fact of {subject} that can stand there")]
    Fact {
        /// The pack.
        pack: String,
        /// The policy.
        name: String,
        /// What was named.
        text: String,
        /// The policy's subject.
        subject: &'static str,
    },
    /// An included pack that is not built in.
    #[error("{pack} includes {name}; there are default, strict and homelab")]
    Include {
        /// The pack.
        pack: String,
        /// What it includes.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackText {
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    policy: Vec<PolicyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    name: String,
    about: Subject,
    severity: Severity,
    when: String,
    message: String,
    remedy: String,
    line: Option<String>,
}

impl Pack {
    /// Reads a pack; `name` is what errors call it.
    ///
    /// # Errors
    /// See [`PackError`].
    pub fn parse(name: &str, text: &str) -> Result<Self, PackError> {
        let read: PackText =
            toml_edit::de::from_str(text).map_err(|source| PackError::Malformed {
                pack: name.to_owned(),
                source: Box::new(source),
            })?;
        if let Some(odd) = read.include.iter().find(|n| built_in(n).is_none()) {
            return Err(PackError::Include {
                pack: name.to_owned(),
                name: odd.clone(),
            });
        }
        let mut policies: Vec<Policy> = Vec::new();
        for text in read.policy {
            if policies.iter().any(|p| p.name == text.name) {
                return Err(PackError::Twice {
                    pack: name.to_owned(),
                    name: text.name,
                });
            }
            policies.push(policy(name, text)?);
        }
        Ok(Self {
            include: read.include,
            policies,
        })
    }

    /// All policies of packs given as name and text, and of those that they include; each built-in pack once.
    ///
    /// # Errors
    /// See [`PackError`]; [`PackError::Twice`] also for a name in two packs.
    pub fn all(packs: &[(String, String)]) -> Result<Vec<Policy>, PackError> {
        let mut waiting: Vec<(String, String)> = packs.to_vec();
        waiting.reverse();
        let mut seen: Vec<String> = Vec::new();
        let mut policies: Vec<Policy> = Vec::new();
        while let Some((name, text)) = waiting.pop() {
            if seen.contains(&name) {
                continue;
            }
            let pack = Self::parse(&name, &text)?;
            for own in pack.policies {
                if policies.iter().any(|p| p.name == own.name) {
                    return Err(PackError::Twice {
                        pack: name,
                        name: own.name,
                    });
                }
                policies.push(own);
            }
            for included in pack.include {
                let text = built_in(&included).unwrap_or_default();
                waiting.push((included, text.to_owned()));
            }
            seen.push(name);
        }
        Ok(policies)
    }
}

/// The text of a built-in pack.
pub fn built_in(name: &str) -> Option<&'static str> {
    let found = BUILT_IN.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text)
}

fn policy(pack: &str, text: PolicyText) -> Result<Policy, PackError> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.name.is_empty() || !text.name.chars().all(is_plain) {
        return Err(PackError::Name {
            pack: pack.to_owned(),
            name: text.name,
        });
    }
    let subject = text.about;
    let no_fact = |named: String| PackError::Fact {
        pack: pack.to_owned(),
        name: text.name.clone(),
        text: named,
        subject: subject.name(),
    };
    let expression =
        Expression::compile(&text.when, subject).map_err(|source| PackError::Expression {
            pack: pack.to_owned(),
            name: text.name.clone(),
            source,
        })?;
    let line = match &text.line {
        None => None,
        Some(named) => Some(
            subject
                .number(named)
                .ok_or_else(|| no_fact(named.clone()))?,
        ),
    };
    Ok(Policy {
        message: Template::parse(&text.message, subject).map_err(no_fact)?,
        remedy: Template::parse(&text.remedy, subject).map_err(no_fact)?,
        name: text.name.clone(),
        about: subject,
        severity: text.severity,
        expression,
        line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(fields: &str) -> Result<Pack, PackError> {
        let rest = "about = \"rule\"\nseverity = \"error\"\n";
        Pack::parse("x.toml", &format!("[[policy]]\n{rest}{fields}"))
    }

    #[test]
    fn the_built_in_packs_are_well_formed_and_share_no_name() {
        let all: Vec<(String, String)> = BUILT_IN
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        assert!(Pack::all(&all).unwrap().len() > 25);
        let strict = [("strict".to_owned(), BUILT_IN[1].1.to_owned())];
        let default = Pack::parse("default", BUILT_IN[0].1).unwrap();
        assert!(Pack::all(&strict).unwrap().len() > default.policies.len());
    }

    #[test]
    fn what_is_wrong_with_a_pack_is_said_by_name() {
        let good = "when = \"rule.matched > 1\"\nmessage = \"{matched}\"\nremedy = \"r\"\n";
        assert!(pack(&format!("name = \"a\"\n{good}")).is_ok());
        assert!(pack(&format!("name = \"a\"\nline = \"number\"\n{good}")).is_ok());
        for (fields, wanted) in [
            (format!("name = \"A b\"\n{good}"), "is no name"),
            (
                format!("name = \"a\"\nline = \"path_regex\"\n{good}"),
                "\"path_regex\" is no fact",
            ),
            (format!("name = \"a\"\nodd = 1\n{good}"), "no pack"),
            (good.to_owned(), "no pack"),
            (
                "name = \"a\"\nwhen = \"rule.x\"\nmessage = \"\"\nremedy = \"\"\n".to_owned(),
                "policy a",
            ),
            (
                "name = \"a\"\nwhen = \"true\"\nmessage = \"{x}\"\nremedy = \"\"\n".to_owned(),
                "\"x\" is no fact of rule",
            ),
        ] {
            let error = pack(&fields).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let odd = Pack::parse("x.toml", "include = [\"nothing\"]\n").unwrap_err();
        assert!(odd.to_string().contains("includes nothing"), "{odd}");
        let twice = [("a", "1"), ("b", "2")].map(|(name, _)| {
            let text = format!(
                "[[policy]]\nname = \"same\"\nabout = \"rule\"\nseverity = \"note\"\n{good}"
            );
            (name.to_owned(), text)
        });
        assert!(matches!(Pack::all(&twice), Err(PackError::Twice { .. })));
    }
}
