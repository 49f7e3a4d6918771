//! The identities of this machine's user, from every place where sops looks.
//!
//! Source: sops 3.11.0 `age/keysource.go`, and 3.12 for `SOPS_AGE_SSH_PRIVATE_KEY_CMD` and `SOPS_AGE_RECIPIENT`. All
//! places count, not the first; one that fails matters only if nothing else opens a file.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: where identities are found"
)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::keys::key_file::is_encrypted;
use crate::keys::late_source::LateSource;
use crate::keys::{IdentitySet, PluginHost};
use crate::keystore::key_source::{self, KeyCommand};
use crate::keystore::permissions::{self, PermissionProblem};
use crate::keystore::surroundings::Surroundings;
use crate::secret::SecretBytes;

/// What a lookup found.
#[derive(Debug)]
pub struct Lookup {
    /// The identities, and the sources that are read on demand.
    pub identities: IdentitySet,
    /// Every place that was looked at, in order.
    pub sources: Vec<Source>,
    /// Key files that others can read, in order; for the command line to warn of.
    pub warnings: Vec<PermissionProblem>,
}

/// One place where identities may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The variable or the path, or both.
    pub name: String,
    /// What was there.
    pub outcome: Outcome,
}

/// What was found at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was read.
    Read {
        /// How many identities it holds.
        identities: usize,
    },
    /// It is read when nothing else opens a file.
    OnDemand,
    /// The variable is not set, or there is no such file.
    Absent,
    /// It is there and of no use; the reason holds nothing secret.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Looks everywhere, in sops's order. Reads key files; runs nothing and asks nothing before an identity is wanted.
pub fn look_up(surroundings: &Surroundings) -> Lookup {
    let path = surroundings.variable("PATH").unwrap_or_default().to_owned();
    let host = Arc::new(PluginHost::new(Some(path), surroundings.prompt()));
    let mut lookup = Lookup {
        identities: IdentitySet::default().with_host(host),
        sources: Vec::new(),
        warnings: Vec::new(),
    };
    lookup.ssh_file_of(surroundings);
    lookup.ssh_command_of(surroundings);
    for file in ["id_ed25519", "id_rsa"] {
        lookup.default_ssh_file(surroundings, file);
    }
    lookup.key_variable(surroundings);
    lookup.key_file_of(surroundings);
    lookup.key_command_of(surroundings);
    lookup.default_key_file(surroundings);
    lookup
}

/// Reads one key file or SSH key that the user names, and nothing else.
pub fn look_up_file(path: &Path, surroundings: &Surroundings) -> Lookup {
    let variables = surroundings.variable("PATH").unwrap_or_default().to_owned();
    let host = Arc::new(PluginHost::new(Some(variables), surroundings.prompt()));
    let mut lookup = Lookup {
        identities: IdentitySet::default().with_host(host),
        sources: Vec::new(),
        warnings: Vec::new(),
    };
    let name = path.display().to_string();
    match key_source::read(path) {
        Ok(bytes)
            if bytes.expose().starts_with(b"-----BEGIN ") && !is_encrypted(bytes.expose()) =>
        {
            let found = key_source::of_ssh_key(&name, &bytes, &surroundings.prompt());
            lookup.found(&name, found);
        }
        Ok(bytes) => lookup.key_file(&name, path, bytes, surroundings),
        Err(error) => lookup.add(&name, failed(&error)),
    }
    lookup
}

impl Lookup {
    /// The places that are there and of no use, by name, with the reason: to be told if nothing opens. Those that are
    /// read on demand are among them once they were read.
    pub fn failures(&self) -> Vec<(String, String)> {
        let known = self
            .sources
            .iter()
            .filter_map(|source| match &source.outcome {
                Outcome::Failed { reason } => Some((source.name.clone(), reason.clone())),
                _ => None,
            });
        known.chain(self.identities.failures()).collect()
    }

    fn ssh_file_of(&mut self, surroundings: &Surroundings) {
        const VARIABLE: &str = "SOPS_AGE_SSH_PRIVATE_KEY_FILE";
        match surroundings.variable(VARIABLE) {
            Some(path) => {
                let path = PathBuf::from(path);
                let name = key_source::named(VARIABLE, &path);
                let source = key_source::ssh_file_source(&name, path, surroundings.prompt());
                self.on_demand(&name, source);
            }
            None => self.add(VARIABLE, Outcome::Absent),
        }
    }

    fn default_ssh_file(&mut self, surroundings: &Surroundings, file: &str) {
        let Some(home) = surroundings.home() else {
            return;
        };
        let path = home.join(".ssh").join(file);
        let name = path.display().to_string();
        if path.exists() {
            let source = key_source::ssh_file_source(&name, path, surroundings.prompt());
            self.on_demand(&name, source);
        } else {
            self.add(&name, Outcome::Absent);
        }
    }

    fn ssh_command_of(&mut self, surroundings: &Surroundings) {
        const VARIABLE: &str = "SOPS_AGE_SSH_PRIVATE_KEY_CMD";
        let prompt = surroundings.prompt();
        self.command(
            surroundings,
            VARIABLE,
            |source| source.ssh(),
            move |bytes| key_source::of_ssh_key(VARIABLE, &bytes, &prompt),
        );
    }

    fn key_command_of(&mut self, surroundings: &Surroundings) {
        const VARIABLE: &str = "SOPS_AGE_KEY_CMD";
        let prompt = surroundings.prompt();
        self.command(
            surroundings,
            VARIABLE,
            |source| source,
            move |bytes| key_source::of_key_file(VARIABLE, bytes, &prompt),
        );
    }

    fn command(
        &mut self,
        surroundings: &Surroundings,
        variable: &str,
        kind: impl FnOnce(LateSource) -> LateSource,
        read: impl Fn(SecretBytes) -> Result<IdentitySet, String> + Send + Sync + 'static,
    ) {
        let Some(text) = surroundings.variable(variable) else {
            return self.add(variable, Outcome::Absent);
        };
        match KeyCommand::parse(text, surroundings) {
            Ok(command) => {
                let source = LateSource::new(variable, move |wanted| read(command.run(wanted)?));
                self.on_demand(variable, kind(source.per_recipient()));
            }
            Err(reason) => self.add(variable, Outcome::Failed { reason }),
        }
    }

    fn key_variable(&mut self, surroundings: &Surroundings) {
        const VARIABLE: &str = "SOPS_AGE_KEY";
        match surroundings.variable(VARIABLE) {
            Some(value) => {
                let bytes = SecretBytes::from_slice(value.as_encoded_bytes());
                let found = key_source::of_variable(VARIABLE, bytes, &surroundings.prompt());
                self.found(VARIABLE, found);
            }
            None => self.add(VARIABLE, Outcome::Absent),
        }
    }

    fn key_file_of(&mut self, surroundings: &Surroundings) {
        const VARIABLE: &str = "SOPS_AGE_KEY_FILE";
        match surroundings.variable(VARIABLE) {
            Some(path) => {
                let path = Path::new(path);
                let name = key_source::named(VARIABLE, path);
                match key_source::read(path) {
                    Ok(bytes) => self.key_file(&name, path, bytes, surroundings),
                    Err(error) => self.add(&name, failed(&error)),
                }
            }
            None => self.add(VARIABLE, Outcome::Absent),
        }
    }

    fn default_key_file(&mut self, surroundings: &Surroundings) {
        let folder = match surroundings.config_folder() {
            Ok(Some(folder)) => folder,
            Ok(None) => return,
            Err(reason) => {
                let reason = reason.to_owned();
                return self.add("the default key file", Outcome::Failed { reason });
            }
        };
        let path = folder.join("sops/age/keys.txt");
        let name = path.display().to_string();
        match key_source::read(&path) {
            Ok(bytes) => self.key_file(&name, &path, bytes, surroundings),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.add(&name, Outcome::Absent)
            }
            Err(error) => self.add(&name, failed(&error)),
        }
    }

    fn key_file(
        &mut self,
        name: &str,
        path: &Path,
        bytes: SecretBytes,
        surroundings: &Surroundings,
    ) {
        // Only the file itself: the folders of a user's home are the user's affair, and a link to a dotfile is common.
        if let Ok(path) = path.canonicalize() {
            let problems = permissions::problems_of(&path).unwrap_or_default();
            let loose = |problem: &PermissionProblem| {
                matches!(problem, PermissionProblem::LooseFile { .. })
            };
            self.warnings.extend(problems.into_iter().filter(loose));
        }
        let found = key_source::of_key_file(name, bytes, &surroundings.prompt());
        self.found(name, found);
    }

    fn found(&mut self, name: &str, found: Result<IdentitySet, String>) {
        match found {
            Ok(set) => {
                let outcome = match set.identities().len() {
                    0 => Outcome::OnDemand,
                    identities => Outcome::Read { identities },
                };
                self.identities.extend(set);
                self.add(name, outcome);
            }
            Err(reason) => self.add(name, Outcome::Failed { reason }),
        }
    }

    fn on_demand(&mut self, name: &str, source: LateSource) {
        self.identities.push_late(source);
        self.add(name, Outcome::OnDemand);
    }

    fn add(&mut self, name: &str, outcome: Outcome) {
        self.sources.push(Source {
            name: name.to_owned(),
            outcome,
        });
    }
}

fn failed(error: &io::Error) -> Outcome {
    Outcome::Failed {
        reason: error.to_string(),
    }
}
