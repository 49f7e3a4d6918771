//! The environment as a value, so that a lookup depends on nothing else.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: where identities are found"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::keys::{NoPrompt, Prompt};
use crate::keystore::TerminalPrompt;

/// The environment variables, and who can be asked.
///
/// # Secrets
/// The variables may hold identities; `Debug` prints none of them.
#[derive(Clone)]
pub struct Surroundings {
    variables: BTreeMap<OsString, OsString>,
    prompt: Arc<dyn Prompt>,
    macos: bool,
}

impl Surroundings {
    /// Those of this process, with its terminal.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            prompt: Arc::new(TerminalPrompt),
            macos: cfg!(target_os = "macos"),
        }
    }

    /// These variables and no others, with nobody to ask.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            prompt: Arc::new(NoPrompt),
            macos: false,
        }
    }

    /// The same, with somebody else to ask.
    #[must_use]
    pub fn with_prompt(mut self, prompt: Arc<dyn Prompt>) -> Self {
        self.prompt = prompt;
        self
    }

    /// The value of a variable; an empty one counts.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    /// All variables, for a child.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The home folder.
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
    }

    /// Who can be asked.
    pub fn prompt(&self) -> Arc<dyn Prompt> {
        Arc::clone(&self.prompt)
    }

    /// The user's configuration folder, as Go's `os.UserConfigDir` has it with the change that sops makes on macOS,
    /// where `XDG_CONFIG_HOME` counts if it is set.
    ///
    /// # Errors
    /// A relative `XDG_CONFIG_HOME`, on other systems than macOS.
    pub(super) fn config_folder(&self) -> Result<Option<PathBuf>, &'static str> {
        let xdg = self
            .variable("XDG_CONFIG_HOME")
            .filter(|value| !value.is_empty());
        match xdg.map(PathBuf::from) {
            Some(folder) if self.macos || folder.is_absolute() => Ok(Some(folder)),
            Some(_) => Err("XDG_CONFIG_HOME is a relative path"),
            None if self.macos => Ok(self
                .home()
                .map(|home| home.join("Library/Application Support"))),
            None => Ok(self.home().map(|home| home.join(".config"))),
        }
    }

    #[cfg(test)]
    pub(super) fn on_macos(mut self) -> Self {
        self.macos = true;
        self
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(surroundings: &Surroundings) -> PathBuf {
        surroundings.config_folder().unwrap().unwrap()
    }

    #[test]
    fn the_configuration_folder_is_that_of_the_system() {
        let plain = Surroundings::of([("HOME", "/home/ada")]);
        assert_eq!(folder(&plain), PathBuf::from("/home/ada/.config"));
        assert_eq!(
            folder(&plain.clone().on_macos()),
            PathBuf::from("/home/ada/Library/Application Support")
        );
        let xdg = Surroundings::of([("HOME", "/home/ada"), ("XDG_CONFIG_HOME", "/xdg")]);
        assert_eq!(folder(&xdg), PathBuf::from("/xdg"));
        assert_eq!(folder(&xdg.on_macos()), PathBuf::from("/xdg"));
        let none = Surroundings::of([("HOME", ""), ("XDG_CONFIG_HOME", "")]);
        assert_eq!(none.config_folder(), Ok(None));
        assert!(
            Surroundings::of([("XDG_CONFIG_HOME", "x")])
                .config_folder()
                .is_err()
        );
    }

    #[test]
    fn debug_prints_names_and_no_values() {
        let text = format!("{:?}", Surroundings::of([("SOPS_AGE_KEY", "hunter2")]));
        assert_eq!(text, "{\"SOPS_AGE_KEY\"}");
    }
}
