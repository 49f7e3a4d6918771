//! Every place of a host where an identity may lie, whoever on it would use it: for proofs of what a host can open.
//!
//! The same places as in the script that a host without `cofferdam` runs (`src/fleet/ssh/script.rs`): the identity file, what
//! sops and age look at for every user, SSH keys of users and of the host, and what environment files name.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: where identities are found"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::keys::{IdentitySet, NoPrompt};
use crate::keystore::key_source;
use crate::keystore::lookup::{look_up, look_up_file};
use crate::keystore::surroundings::Surroundings;
use crate::secret::SecretBytes;

/// A place and what lies there.
#[derive(Debug)]
pub struct HostPlace {
    /// What kind of place it is.
    pub kind: PlaceKind,
    /// Its path; of the environment, a word for it.
    pub path: String,
    /// What was found there.
    pub identities: IdentitySet,
}

/// What kind of place identities lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// A key file.
    File,
    /// An SSH key.
    Ssh,
    /// A file that sets `SOPS_AGE_KEY`.
    Env,
    /// What this process finds as sops would: variables and key commands among others.
    Process,
}

impl PlaceKind {
    /// Its word in an answer.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Ssh => "ssh",
            Self::Env => "env",
            Self::Process => "process",
        }
    }
}

/// Files of the whole system that set variables.
const SYSTEM_PROFILES: [&str; 2] = ["/etc/environment", "/etc/profile"];
/// The same of the user.
const USER_PROFILES: [&str; 4] = [".profile", ".bash_profile", ".bashrc", ".zshenv"];

/// All places that are there and can be read, `identity_file` first, what this process finds by itself last. Nobody is asked
/// for anything.
pub fn host_places(identity_file: &Path, surroundings: &Surroundings) -> Vec<HostPlace> {
    let surroundings = surroundings.clone().with_prompt(Arc::new(NoPrompt));
    let mut places = Places {
        found: Vec::new(),
        surroundings: &surroundings,
    };
    places.file(PlaceKind::File, identity_file);
    places.variables(|name| surroundings.variable(name).map(PathBuf::from));
    places.file(PlaceKind::File, Path::new("/etc/sops/age/keys.txt"));
    if let Some(folder) = surroundings.variable("XDG_CONFIG_HOME") {
        let file = Path::new(folder).join("sops/age/keys.txt");
        places.file(PlaceKind::File, &file);
    }
    for home in homes(&surroundings) {
        places.file(PlaceKind::File, &home.join(".config/sops/age/keys.txt"));
        places.file(PlaceKind::File, &home.join(".sops/key.txt"));
        for key in ["id_ed25519", "id_rsa"] {
            places.file(PlaceKind::Ssh, &home.join(".ssh").join(key));
        }
    }
    for key in ["ssh_host_ed25519_key", "ssh_host_rsa_key"] {
        places.file(PlaceKind::Ssh, &Path::new("/etc/ssh").join(key));
    }
    for profile in profiles(&surroundings) {
        places.profile(&profile);
    }
    places.found.push(HostPlace {
        kind: PlaceKind::Process,
        path: "the environment".to_owned(),
        identities: look_up(&surroundings).identities,
    });
    places.found
}

struct Places<'s> {
    found: Vec<HostPlace>,
    surroundings: &'s Surroundings,
}

impl Places<'_> {
    /// A key file or SSH key, once; none if it is no plain file, or of no use.
    fn file(&mut self, kind: PlaceKind, path: &Path) {
        let name = path.display().to_string();
        let is_known = self
            .found
            .iter()
            .any(|place| place.kind == kind && place.path == name);
        if is_known || !path.is_file() {
            return;
        }
        let identities = look_up_file(path, self.surroundings).identities;
        if !identities.is_empty() {
            self.found.push(HostPlace {
                kind,
                path: name,
                identities,
            });
        }
    }

    /// What the two variables that hold paths name.
    fn variables(&mut self, value: impl Fn(&str) -> Option<PathBuf>) {
        let named = [
            ("SOPS_AGE_KEY_FILE", PlaceKind::File),
            ("SOPS_AGE_SSH_PRIVATE_KEY_FILE", PlaceKind::Ssh),
        ];
        for (variable, kind) in named {
            if let Some(path) = value(variable).filter(|path| !path.as_os_str().is_empty()) {
                self.file(kind, &path);
            }
        }
    }

    /// What an environment file names or holds.
    fn profile(&mut self, path: &Path) {
        let Ok(bytes) = key_source::read(path) else {
            return;
        };
        let Ok(text) = std::str::from_utf8(bytes.expose()) else {
            return;
        };
        self.variables(|name| assigned(text, name).map(|path| PathBuf::from(path.as_str())));
        if let Some(value) = assigned(text, "SOPS_AGE_KEY").filter(|value| !value.is_empty()) {
            let bytes = SecretBytes::from_slice(value.as_bytes());
            let prompt = self.surroundings.prompt();
            if let Ok(identities) = key_source::of_variable("SOPS_AGE_KEY", bytes, &prompt) {
                self.found.push(HostPlace {
                    kind: PlaceKind::Env,
                    path: path.display().to_string(),
                    identities,
                });
            }
        }
    }
}

/// The last value that a shell script or a list of variables gives `name`, without quotes.
fn assigned(text: &str, name: &str) -> Option<Zeroizing<String>> {
    let of = |line: &str| -> Option<Zeroizing<String>> {
        let line = line.trim_start();
        let line = line
            .strip_prefix("export")
            .filter(|rest| rest.starts_with(char::is_whitespace))
            .map_or(line, str::trim_start);
        let value = line.strip_prefix(name)?.strip_prefix('=')?;
        // Of the right size from the start: a grown one leaves copies behind.
        let mut plain = Zeroizing::new(String::with_capacity(value.len()));
        plain.extend(value.chars().filter(|c| !matches!(c, '"' | '\'')));
        Some(plain)
    };
    text.lines().filter_map(of).next_back()
}

fn homes(surroundings: &Surroundings) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = surroundings.home().into_iter().collect();
    homes.push(PathBuf::from("/root"));
    let mut users: Vec<PathBuf> = std::fs::read_dir("/home")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    users.sort();
    homes.extend(users);
    homes
}

fn profiles(surroundings: &Surroundings) -> Vec<PathBuf> {
    let mut profiles: Vec<PathBuf> = SYSTEM_PROFILES.map(PathBuf::from).into();
    let mut more: Vec<PathBuf> = std::fs::read_dir("/etc/profile.d")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "sh"))
        .collect();
    more.sort();
    profiles.extend(more);
    if let Some(home) = surroundings.home() {
        profiles.extend(USER_PROFILES.map(|name| home.join(name)));
    }
    profiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_the_script_reads_them() {
        let text = "SOPS_AGE_KEY_FILE=/a\n  export\tSOPS_AGE_KEY_FILE=\"/b c\"\nexportSOPS_AGE_KEY=x\nSOPS_AGE_KEY='k'\n";
        let of = |name: &str| assigned(text, name).map(|value| value.to_string());
        assert_eq!(of("SOPS_AGE_KEY_FILE").as_deref(), Some("/b c"));
        assert_eq!(of("SOPS_AGE_KEY").as_deref(), Some("k"));
        assert_eq!(of("SOPS_AGE"), None);
    }

    #[test]
    fn each_place_is_named_and_nothing_of_it_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let secret = crate::keys::Identity::mint();
        let text = crate::keys::KeyFile::empty().with_identity(&[], &secret);
        std::fs::write(home.join("keys.txt"), text.expose()).unwrap();
        let line = text
            .expose()
            .lines()
            .find(|l| l.starts_with("AGE-"))
            .unwrap();
        std::fs::write(
            home.join(".bashrc"),
            format!("export SOPS_AGE_KEY={line}\n"),
        )
        .unwrap();
        let surroundings = Surroundings::of([("HOME", home)]);
        let places = host_places(&home.join("keys.txt"), &surroundings);
        let recipient = secret.recipient().unwrap();
        let holding: Vec<(PlaceKind, &str)> = places
            .iter()
            .filter(|place| place.identities.holds(&recipient))
            .map(|place| (place.kind, place.path.as_str()))
            .collect();
        let (file, profile) = (home.join("keys.txt"), home.join(".bashrc"));
        assert_eq!(
            holding,
            [
                (PlaceKind::File, file.to_str().unwrap()),
                (PlaceKind::Env, profile.to_str().unwrap())
            ]
        );
        assert!(!format!("{places:?}").contains("AGE-SECRET"));
    }
}
