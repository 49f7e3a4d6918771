//! What becomes a variable of the child's environment, and what of ours does not reach it.

use std::collections::HashMap;

use crate::exec::Named;

/// Which variables, and under what names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// Only these keys; all if empty.
    pub only: &'a [String],
    /// Put before each key.
    pub prefix: &'a str,
    /// Names that may be set although they change how programs run.
    pub allow: &'a [String],
}

/// Why a key does not become a variable. Names the file and the key, never the value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvironmentError {
    /// It is no name for a variable.
    #[error("{origin}: `{name}` is no name for an environment variable")]
    BadName {
        /// The file.
        origin: String,
        /// The name, prefix included.
        name: String,
    },
    /// The name changes how programs are found or run.
    #[error("{origin}: `{name}` changes how programs run")]
    Dangerous {
        /// The file.
        origin: String,
        /// The name, prefix included.
        name: String,
    },
    /// An environment cannot carry the value.
    #[error(
        "{origin}: the value of `{name}` holds a NUL byte, which no environment variable can carry"
    )]
    Nul {
        /// The file.
        origin: String,
        /// The name, prefix included.
        name: String,
    },
    /// The name comes twice.
    #[error("{origin}: `{name}` is set twice{}", other.as_ref().map(|other| format!(", also by {other}")).unwrap_or_default())]
    Duplicate {
        /// The file.
        origin: String,
        /// The name, prefix included.
        name: String,
        /// The other file, if it is another.
        other: Option<String>,
    },
    /// A key that was asked for is not there.
    #[error("no file has the key `{0}`")]
    Absent(String),
}

/// Picks the keys, names them, and checks that an environment can hold them.
///
/// # Errors
/// Everything that is wrong, in order.
pub fn variables(
    found: Vec<Named>,
    choice: Choice<'_>,
) -> Result<Vec<Named>, Vec<EnvironmentError>> {
    let mut problems = Vec::new();
    for key in choice.only {
        if !found.iter().any(|v| v.name == *key) {
            problems.push(EnvironmentError::Absent(key.clone()));
        }
    }
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut chosen = Vec::new();
    for variable in found {
        if !choice.takes(&variable.name) {
            continue;
        }
        let name = format!("{}{}", choice.prefix, variable.name);
        let origin = variable.origin.clone();
        if !is_name(&name) {
            problems.push(EnvironmentError::BadName { origin, name });
            continue;
        }
        if is_dangerous(&name) && !choice.allow.contains(&name) {
            problems.push(EnvironmentError::Dangerous {
                origin: origin.clone(),
                name: name.clone(),
            });
        }
        if variable.value.expose().contains(&0) {
            problems.push(EnvironmentError::Nul {
                origin: origin.clone(),
                name: name.clone(),
            });
        }
        if let Some(first) = seen.insert(name.clone(), origin.clone()) {
            problems.push(EnvironmentError::Duplicate {
                name: name.clone(),
                other: (first != origin).then_some(first),
                origin,
            });
        }
        chosen.push(Named { name, ..variable });
    }
    if problems.is_empty() {
        Ok(chosen)
    } else {
        Err(problems)
    }
}

impl Choice<'_> {
    /// Whether a key is among those asked for.
    pub fn takes(&self, key: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == key)
    }
}

/// Whether it can be set and read by every shell: a letter or underscore, then letters, digits and underscores.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether the variable decides which code other programs run, or where they turn to.
///
/// Whoever can write a document can encrypt a value of their choice to its recipients, which are public.
pub fn is_dangerous(name: &str) -> bool {
    const NAMES: [&str; 52] = [
        "PATH",
        "HOME",
        "SHELL",
        "IFS",
        "ENV",
        "BASH_ENV",
        "BASHOPTS",
        "SHELLOPTS",
        "PROMPT_COMMAND",
        "PS4",
        "ZDOTDIR",
        "FPATH",
        "TMPDIR",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "LOCPATH",
        "NLSPATH",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "PERL5LIB",
        "PERL5OPT",
        "PERL5DB",
        "PERLLIB",
        "RUBYLIB",
        "RUBYOPT",
        "NODE_OPTIONS",
        "NODE_PATH",
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "_JAVA_OPTIONS",
        "CLASSPATH",
        "EDITOR",
        "VISUAL",
        "PAGER",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "GIT_EDITOR",
        "GIT_SEQUENCE_EDITOR",
        "GIT_PAGER",
        "GIT_DIR",
        "GIT_EXEC_PATH",
        "GIT_EXTERNAL_DIFF",
        "GIT_PROXY_COMMAND",
        "GIT_TEMPLATE_DIR",
        "SSH_ASKPASS",
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
        "DOCKER_CONFIG",
        "COMPOSE_FILE",
        "KUBECONFIG",
    ];
    let starts = ["LD_", "DYLD_", "GIT_CONFIG", "BASH_FUNC_"];
    NAMES.contains(&name) || starts.iter().any(|start| name.starts_with(start))
}

/// Whether a variable of our own environment is kept from the child: it may hold an identity, or say where one is.
pub fn is_withheld(name: &[u8]) -> bool {
    name.starts_with(b"SOPS_") || name.starts_with(b"COFFERDAM_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretBytes;

    fn named(origin: &str, name: &str, value: &[u8]) -> Named {
        Named {
            name: name.to_owned(),
            origin: origin.to_owned(),
            value: SecretBytes::from_slice(value),
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once_and_no_value_is() {
        let found = vec![
            named("a.env", "A", b"hunter2"),
            named("a.env", "A", b"hunter2"),
            named("b.env", "A", b"hunter2"),
            named("b.env", "a-b", b"hunter2"),
            named("b.env", "1A", b"hunter2"),
            named("b.env", "", b"hunter2"),
            named("b.env", "N", b"hunter2\0"),
            named("b.env", "LD_PRELOAD", b"hunter2"),
        ];
        let problems = variables(found, Choice::default()).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "a.env: `A` is set twice",
            "b.env: `A` is set twice, also by a.env",
            "b.env: `a-b` is no name for an environment variable",
            "b.env: `1A` is no name for an environment variable",
            "b.env: `` is no name for an environment variable",
            "b.env: the value of `N` holds a NUL byte, which no environment variable can carry",
            "b.env: `LD_PRELOAD` changes how programs run",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn keys_are_chosen_before_they_are_prefixed_and_judged() {
        let found = || {
            vec![
                named("a.env", "A", b"1"),
                named("a.env", "PATH", b"2"),
                named("a.env", "1", b"3"),
            ]
        };
        let names = |choice| -> Vec<String> {
            let variables = variables(found(), choice).unwrap();
            variables.into_iter().map(|v| v.name).collect()
        };
        let only = ["A".to_owned()];
        let choice = Choice {
            only: &only,
            prefix: "X_",
            allow: &[],
        };
        assert_eq!(names(choice), ["X_A"]);
        let choice = Choice {
            prefix: "X_",
            ..Choice::default()
        };
        assert_eq!(names(choice), ["X_A", "X_PATH", "X_1"]);
        let (only, allow) = (["PATH".to_owned()], ["PATH".to_owned()]);
        let choice = Choice {
            only: &only,
            prefix: "",
            allow: &allow,
        };
        assert_eq!(names(choice), ["PATH"]);
        let only = ["B".to_owned()];
        let choice = Choice {
            only: &only,
            ..Choice::default()
        };
        let problems = variables(found(), choice).unwrap_err();
        assert_eq!(problems, [EnvironmentError::Absent("B".to_owned())]);
    }
}
