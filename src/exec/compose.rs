//! What `docker compose config` prints, without values: whoever runs it keeps that text, as Komodo does in its database.
//!
//! An entry of an environment whose name is a decrypted key is replaced whole, however short; everywhere else values are
//! masked. `image`, `container_name` and `deploy` stay, for they are read by machines. If a value may be left, the answer
//! is an error and no text.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use serde_yaml::Value as Yaml;

use crate::exec::masking::{MASK, Masker};
use crate::exec::patterns::{self, Patterns, SHORTEST};
use crate::secret::SecretBytes;

/// What a command line makes compose print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The project, as YAML.
    Yaml,
    /// The project, as JSON.
    Json,
    /// `NAME=VALUE`, a variable a line.
    Environment,
    /// Into a file, past us.
    File,
}

/// What must not be printed.
#[derive(Debug, Clone, Copy)]
pub struct Secrets<'a> {
    /// Names of decrypted keys.
    pub names: &'a BTreeSet<String>,
    /// The values.
    pub values: &'a [SecretBytes],
    /// The forms in which they are found.
    pub patterns: &'a Patterns,
}

/// A text without values.
#[derive(Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// The text.
    pub text: Vec<u8>,
    /// Services in whose `image`, `container_name` or `deploy` a value stands, with which of these; it is left there.
    pub left: Vec<(String, String)>,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScrubError {
    /// It is not of the form that was asked for.
    #[error("what compose printed is not {0}, so values in it could not be found")]
    Form(&'static str),
    /// A value is still in it.
    #[error("a value would be left in what compose printed")]
    Left,
}

/// Takes the values out of what compose printed in `form`.
///
/// # Errors
/// [`ScrubError`]; then nothing of the text may be printed.
pub fn scrub(form: Form, text: &[u8], secrets: Secrets<'_>) -> Result<Scrubbed, ScrubError> {
    match form {
        Form::Yaml => {
            let project: Yaml =
                serde_yaml::from_slice(text).map_err(|_| ScrubError::Form("YAML"))?;
            let project = serde_json::to_value(&project).map_err(|_| ScrubError::Form("YAML"))?;
            scrub_project(project, secrets, |project| {
                serde_yaml::to_string(project).map_err(|_| ScrubError::Form("YAML"))
            })
        }
        Form::Json => {
            let project: Json =
                serde_json::from_slice(text).map_err(|_| ScrubError::Form("JSON"))?;
            scrub_project(project, secrets, |project| {
                let text = serde_json::to_string_pretty(project);
                text.map(|text| text + "\n")
                    .map_err(|_| ScrubError::Form("JSON"))
            })
        }
        Form::Environment => scrub_lines(text, secrets),
        Form::File => Err(ScrubError::Left),
    }
}

fn scrub_project(
    mut project: Json,
    secrets: Secrets<'_>,
    print: impl Fn(&Json) -> Result<String, ScrubError>,
) -> Result<Scrubbed, ScrubError> {
    if !project.is_object() {
        return Err(ScrubError::Form("a project"));
    }
    let mut left = Vec::new();
    // What machines read is put aside, and back in its place at the end.
    let mut kept: Vec<(String, &str, Json)> = Vec::new();
    if let Some(services) = project.get_mut("services").and_then(Json::as_object_mut) {
        for (name, service) in services {
            let Some(service) = service.as_object_mut() else {
                continue;
            };
            for field in ["image", "container_name", "deploy"] {
                if let Some(value) = service.get_mut(field) {
                    let value = std::mem::replace(value, Json::Null);
                    if secrets.masks(&value.to_string()) {
                        left.push((name.clone(), field.to_owned()));
                    }
                    kept.push((name.clone(), field, value));
                }
            }
            if let Some(environment) = service.get_mut("environment") {
                secrets.replace_named(environment);
            }
        }
    }
    secrets.mask(&mut project);
    if secrets.may_be_in(&print(&project)?) {
        return Err(ScrubError::Left);
    }
    for (service, field, value) in kept {
        // Names of services that hold a value were masked; then there is no place to put it back to.
        let place = project
            .get_mut("services")
            .and_then(|services| services.get_mut(&service))
            .and_then(|service| service.get_mut(field))
            .ok_or(ScrubError::Left)?;
        *place = value;
    }
    Ok(Scrubbed {
        text: print(&project)?.into_bytes(),
        left,
    })
}

fn scrub_lines(text: &[u8], secrets: Secrets<'_>) -> Result<Scrubbed, ScrubError> {
    let text = std::str::from_utf8(text).map_err(|_| ScrubError::Form("text"))?;
    let mut out = String::new();
    // A value of several lines goes with its name.
    let mut is_replaced = false;
    for line in text.lines() {
        let name = line
            .split_once('=')
            .map(|(name, _)| name)
            .filter(|name| crate::exec::environment::is_name(name));
        if let Some(name) = name {
            is_replaced = secrets.names.contains(name);
            if is_replaced {
                out.push_str(&format!("{name}={}\n", mask()));
            }
        }
        if !is_replaced {
            out.push_str(&secrets.masked(line));
            out.push('\n');
        }
    }
    if secrets.may_be_in(&out) {
        return Err(ScrubError::Left);
    }
    Ok(Scrubbed {
        text: out.into_bytes(),
        left: Vec::new(),
    })
}

fn mask() -> String {
    String::from_utf8_lossy(MASK).into_owned()
}

impl Secrets<'_> {
    /// A text with the values masked.
    pub fn masked(&self, text: &str) -> String {
        let mut masker = Masker::new(self.patterns);
        let mut out = Vec::with_capacity(text.len());
        masker.push(text.as_bytes(), &mut out);
        masker.finish(&mut out);
        // A value that is part of a letter's bytes would be found only in text that is none.
        String::from_utf8(out).unwrap_or_else(|_| mask())
    }

    /// Whether a value stands in a text.
    pub(super) fn masks(&self, text: &str) -> bool {
        self.masked(text) != text
    }

    /// Replaces entries whose names are decrypted keys: of a mapping, or of a list of `NAME=VALUE`.
    fn replace_named(&self, environment: &mut Json) {
        match environment {
            Json::Object(entries) => {
                for (name, value) in entries {
                    if self.names.contains(name) && !value.is_null() {
                        *value = Json::String(mask());
                    }
                }
            }
            Json::Array(entries) => {
                for entry in entries {
                    let name = entry
                        .as_str()
                        .and_then(|e| e.split_once('='))
                        .map(|(n, _)| n);
                    if let Some(name) = name.filter(|name| self.names.contains(*name)) {
                        *entry = Json::String(format!("{name}={}", mask()));
                    }
                }
            }
            _ => {}
        }
    }

    fn mask(&self, value: &mut Json) {
        match value {
            Json::String(text) => *text = self.masked(text),
            Json::Number(number) => {
                if self.masks(&number.to_string()) {
                    *value = Json::String(mask());
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.mask(item)),
            Json::Object(entries) => {
                let all = std::mem::take(entries);
                for (key, mut item) in all {
                    self.mask(&mut item);
                    entries.insert(self.masked(&key), item);
                }
            }
            Json::Null | Json::Bool(_) => {}
        }
    }

    /// Whether a value may stand in a text, line breaks, indentation, quotes and escapes aside.
    fn may_be_in(&self, text: &str) -> bool {
        let all = squeezed(text.as_bytes());
        let parts = self
            .values
            .iter()
            .flat_map(|value| patterns::parts(value.expose()));
        parts.map(|part| squeezed(part.expose())).any(|part| {
            part.len() >= SHORTEST && all.windows(part.len()).any(|window| window == *part)
        })
    }
}

fn squeezed(text: &[u8]) -> zeroize::Zeroizing<Vec<u8>> {
    let is_dressing = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'\\');
    zeroize::Zeroizing::new(text.iter().copied().filter(|b| !is_dressing(b)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [&str; 4] = [
        "s3cr3t-va$lue with \"quotes\" # x",
        "abc",
        "1.2.3-secretver",
        "123456789012",
    ];

    fn scrubbed(form: Form, text: &str) -> Result<Scrubbed, ScrubError> {
        let names = ["PASS", "SHORT", "VER", "NUM"].map(str::to_owned).into();
        let values = VALUES.map(|v| SecretBytes::from_slice(v.as_bytes()));
        let patterns = Patterns::of(VALUES.map(str::as_bytes));
        let secrets = Secrets {
            names: &names,
            values: &values,
            patterns: &patterns,
        };
        scrub(form, text.as_bytes(), secrets)
    }

    #[test]
    fn values_go_and_what_machines_read_stays() {
        let text = "name: s\nservices:\n  app:\n    command:\n      - run\n      - '--password=s3cr3t-va with \"quotes\" # x'\n      - \"123456789012\"\n    \
                    container_name: app\n    environment:\n      OTHER: 'xs3cr3t-va with \"quotes\" # xy'\n      PASS: 's3cr3t-va with \"quotes\" # x'\n      \
                    SHORT: abc\n      SET: abc\n    image: app:1.2.3-secretver\n    networks:\n      default: null\n    ports:\n      - 123456789012\n";
        let done = scrubbed(Form::Yaml, text).unwrap();
        let expected = "name: s\nservices:\n  app:\n    command:\n    - run\n    - --password=[masked][masked]\n    - '[masked]'\n    \
                    container_name: app\n    environment:\n      OTHER: x[masked][masked]y\n      PASS: '[masked]'\n      \
                    SHORT: '[masked]'\n      SET: abc\n    image: app:1.2.3-secretver\n    networks:\n      default: null\n    ports:\n    - '[masked]'\n";
        assert_eq!(String::from_utf8(done.text).unwrap(), expected);
        assert_eq!(done.left, [("app".to_owned(), "image".to_owned())]);
    }

    #[test]
    fn lines_of_an_environment() {
        let text = "HOME=/root\nPASS=one\ntwo lines\nSHORT=abc\nX=1.2.3-secretver\n";
        let done = scrubbed(Form::Environment, text).unwrap();
        let expected = "HOME=/root\nPASS=[masked]\nSHORT=[masked]\nX=[masked]\n";
        assert_eq!(String::from_utf8(done.text).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_judged_is_not_printed() {
        for (form, text, error) in [
            (Form::Yaml, "a: [", ScrubError::Form("YAML")),
            (Form::Yaml, "just text", ScrubError::Form("a project")),
            (Form::Json, "{", ScrubError::Form("JSON")),
            // A value that stands there in a form that is not masked.
            (
                Form::Json,
                "{\"a\": \"1.2.3 -secretver\"}",
                ScrubError::Left,
            ),
            (Form::File, "", ScrubError::Left),
        ] {
            assert_eq!(scrubbed(form, text).unwrap_err(), error, "{text}");
        }
    }
}
