//! Parameters and their values: where they stand, what they may hold.

use std::collections::BTreeMap;

use crate::runbook::{Action, Command, Runbook, Step};

/// Why a runbook could not be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// A value for a parameter that the runbook does not have.
    #[error("{runbook} has no parameter {name}")]
    Unknown {
        /// The runbook.
        runbook: String,
        /// The parameter.
        name: String,
    },
    /// A parameter without a value.
    #[error("{runbook} needs a value for {name}: {about}")]
    Missing {
        /// The runbook.
        runbook: String,
        /// The parameter.
        name: String,
        /// What it is.
        about: String,
    },
    /// A value that could mean something else to a program or a shell.
    #[error(
        "the value of {name} may hold letters, digits and any of . _ / : , @ % + -, and begins with none of - and +"
    )]
    Value {
        /// The parameter.
        name: String,
    },
    /// A secret where everybody can read it.
    #[error("the value of {name} is an identity (a secret key), which no command line may hold")]
    Identity {
        /// The parameter.
        name: String,
    },
}

/// Checks a value: one word that neither a shell nor a program takes for anything else, and no secret. The value is not
/// repeated in the error.
///
/// # Errors
/// [`FillError::Value`], [`FillError::Identity`].
pub fn check_value(name: &str, value: &str) -> Result<(), FillError> {
    let name = name.to_owned();
    let upper = value.to_ascii_uppercase();
    if upper.contains("AGE-SECRET-KEY") || upper.contains("AGE-PLUGIN-") {
        return Err(FillError::Identity { name });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/:,@%+-".contains(c);
    let good = !value.is_empty()
        && value.len() <= 4096
        && !value.starts_with(['-', '+'])
        && value.chars().all(plain);
    if good {
        Ok(())
    } else {
        Err(FillError::Value { name })
    }
}

/// Whether a parameter may be called this.
pub fn is_parameter_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl Runbook {
    /// The value of every parameter: those `given`, else the defaults.
    ///
    /// # Errors
    /// See [`FillError`].
    pub fn values(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, FillError> {
        if let Some(name) = given
            .keys()
            .find(|name| self.parameters.iter().all(|p| p.name != **name))
        {
            return Err(FillError::Unknown {
                runbook: self.name.clone(),
                name: name.clone(),
            });
        }
        let mut values = BTreeMap::new();
        for parameter in &self.parameters {
            let value = given.get(&parameter.name).or(parameter.default.as_ref());
            let value = value.ok_or_else(|| FillError::Missing {
                runbook: self.name.clone(),
                name: parameter.name.clone(),
                about: parameter.about.clone(),
            })?;
            check_value(&parameter.name, value)?;
            values.insert(parameter.name.clone(), value.clone());
        }
        Ok(values)
    }

    /// The runbook with these values in place of their parameters; those without a value stay.
    #[must_use]
    pub fn filled(&self, values: &BTreeMap<String, String>) -> Runbook {
        let fill = |text: &String| with_values(text, values);
        let command = |command: &Command| match command {
            Command::Words(words) => Command::Words(words.iter().map(fill).collect()),
            Command::Shell(text) => Command::Shell(fill(text)),
        };
        let steps = self.steps.iter().map(|step| Step {
            name: step.name.clone(),
            text: step.text.as_ref().map(fill),
            again: step.again,
            action: match &step.action {
                Action::Run { command: c, allow } => Action::Run {
                    command: command(c),
                    allow: allow.clone(),
                },
                Action::Confirm { question, by_hand } => Action::Confirm {
                    question: fill(question),
                    by_hand: *by_hand,
                },
                Action::WaitUntil {
                    command: c,
                    every,
                    timeout,
                } => Action::WaitUntil {
                    command: command(c),
                    every: *every,
                    timeout: *timeout,
                },
            },
        });
        Runbook {
            steps: steps.collect(),
            ..self.clone()
        }
    }
}

/// The texts of a step that may name parameters, each with its key.
pub(super) fn texts(step: &Step) -> Vec<(&'static str, &str)> {
    fn of<'s>(key: &'static str, command: &'s Command) -> Vec<(&'static str, &'s str)> {
        match command {
            Command::Words(words) => words.iter().map(|w| (key, w.as_str())).collect(),
            Command::Shell(text) => vec![(key, text)],
        }
    }
    let mut texts = match &step.action {
        Action::Run { command, .. } => of("run", command),
        Action::Confirm { question, .. } => vec![("confirm", question.as_str())],
        Action::WaitUntil { command, .. } => of("wait_until", command),
    };
    texts.extend(step.text.as_ref().map(|text| ("text", text.as_str())));
    texts
}

/// The parameters that a text names, in order.
pub(super) fn mentions(text: &str) -> Vec<String> {
    pieces(text)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Parameter(name) => Some(name.to_owned()),
            Piece::Text(_) => None,
        })
        .collect()
}

fn with_values(text: &str, values: &BTreeMap<String, String>) -> String {
    pieces(text)
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Parameter(name) => match values.get(name) {
                Some(value) => value.clone(),
                None => format!("{{{{{name}}}}}"),
            },
        })
        .collect()
}

enum Piece<'t> {
    Text(&'t str),
    Parameter(&'t str),
}

/// A text cut at its `{{name}}`. Other braces (`{{.Names}}`, `${HOME}`) are text.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut from = 0;
    while let Some(open) = rest[from..].find("{{").map(|at| at + from) {
        let inner = &rest[open + 2..];
        match inner.split_once("}}") {
            Some((name, after)) if is_parameter_name(name) => {
                pieces.push(Piece::Text(&rest[..open]));
                pieces.push(Piece::Parameter(name));
                rest = after;
                from = 0;
            }
            _ => from = open + 1,
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_are_replaced() {
        let values = BTreeMap::from([("host".to_owned(), "nvr".to_owned())]);
        let fill = |text: &str| with_values(text, &values);
        assert_eq!(
            fill("ssh {{host}} 'echo ${HOME} {{.Names}}'"),
            "ssh nvr 'echo ${HOME} {{.Names}}'"
        );
        assert_eq!(
            fill("{{{host}}} {{other}} {{host"),
            "{nvr} {{other}} {{host"
        );
        assert_eq!(mentions("{{a}}{{b}} {{B}} {{"), ["a", "b"]);
        assert_eq!(fill(""), "");
    }

    #[test]
    fn values_are_one_plain_word_and_no_secret() {
        for good in [
            "nvr",
            "root@server04",
            "/mnt/usb/kit.txt",
            "age1qqqq",
            "90%",
            "a-b_c.d:1,2",
        ] {
            assert_eq!(check_value("x", good), Ok(()), "{good}");
        }
        for bad in [
            "", "-x", "+x", "a b", "a;b", "$(id)", "`id`", "a'b", "a\"b", "~", "a\nb", "*", "é",
            "a=b",
        ] {
            let error = check_value("x", bad).err();
            assert_eq!(error, Some(FillError::Value { name: "x".into() }), "{bad}");
        }
        let identity = "age-secret-key-1qqqq";
        let error = check_value("x", identity).err().unwrap();
        assert!(!error.to_string().contains("1qqqq"), "{error}");
    }
}
