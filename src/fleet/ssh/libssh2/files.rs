//! The files of the user's SSH configuration: read, found by patterns, their names filled in.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads the user's SSH configuration"
)]

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::client_config::{Collector, NotFollowed, Settings};
use super::known_hosts::fits;
use crate::fleet::ssh::problem::SshProblem;

const VARIABLE: &str = "COFFERDAM_SSH";
/// Files that are looked for when none is named, in the folder `.ssh` at home.
const IDENTITY_FILES: [&str; 3] = ["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519"];
const KNOWN_HOSTS: [[&str; 2]; 2] = [
    ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"],
    ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"],
];

impl From<NotFollowed> for SshProblem {
    fn from(NotFollowed { what, at }: NotFollowed) -> Self {
        Self::NotFollowed { what, at }
    }
}

/// What applies to a host: of `words`, the options in `COFFERDAM_SSH`, and of the configuration. `port` stands above
/// both. A host on the way is reached by the configuration alone, as `ssh` does it.
pub(super) fn settings(
    words: &[String],
    address: &str,
    port: Option<u16>,
    is_on_the_way: bool,
) -> Result<Settings, SshProblem> {
    let mut collector = Collector::new(address);
    if let Some(port) = port {
        collector.set(&format!("Port {port}"), VARIABLE)?;
    }
    let mut file = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, joined) = match word.get(..2) {
            Some(option) => (option, &word[2..]),
            None => (word.as_str(), ""),
        };
        let keyword = match option {
            // They change nothing here.
            "-a" | "-k" | "-q" | "-T" | "-v" | "-x" => continue,
            "-F" => "",
            "-i" => "IdentityFile ",
            "-J" => "ProxyJump ",
            "-o" => " ",
            "-p" => "Port ",
            _ => return Err(not_followed(word, VARIABLE)),
        };
        let value = if joined.is_empty() {
            let missing = || not_followed(&format!("{option} without a value"), VARIABLE);
            words.next().ok_or_else(missing)?.as_str()
        } else {
            joined
        };
        if keyword.is_empty() {
            file = Some(value.to_owned());
        } else if !is_on_the_way {
            collector.set(&format!("{keyword}{value}"), VARIABLE)?;
        }
    }
    match file.as_deref() {
        Some("none") => {}
        Some(file) => {
            let path = at_home(file)?;
            let text =
                read(&path)?.ok_or_else(|| not_followed("a file that is not there", file))?;
            include(&mut collector, &path, &text, "~/.ssh")?;
        }
        None => {
            let path = at_home("~/.ssh/config")?;
            if let Some(text) = read(&path)? {
                let is_loose = std::fs::metadata(&path).is_ok_and(|meta| meta.mode() & 0o022 != 0);
                if is_loose {
                    let what = "a configuration that others can write";
                    return Err(not_followed(what, &path.display().to_string()));
                }
                include(&mut collector, &path, &text, "~/.ssh")?;
            }
            let path = Path::new("/etc/ssh/ssh_config");
            if let Some(text) = read(path)? {
                include(&mut collector, path, &text, "/etc/ssh")?;
            }
        }
    }
    Ok(collector.finish()?)
}

fn include(
    collector: &mut Collector,
    path: &Path,
    text: &str,
    folder: &str,
) -> Result<(), SshProblem> {
    let includes = |pattern: &str| included(pattern, folder);
    Ok(collector.file(&path.display().to_string(), text, &includes)?)
}

/// The files that an `Include` names, in order; those that are not there are none.
fn included(pattern: &str, folder: &str) -> Result<Vec<(String, String)>, String> {
    let pattern = if pattern.starts_with(['/', '~']) {
        pattern.to_owned()
    } else {
        format!("{folder}/{pattern}")
    };
    let path = at_home(&pattern).map_err(|problem| problem.to_string())?;
    let has_pattern = |text: &str| text.contains(['*', '?', '[']);
    let name = path.file_name().and_then(|name| name.to_str());
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut paths = Vec::new();
    match name {
        _ if has_pattern(&parent.to_string_lossy()) => {
            return Err(format!("Include {pattern}"));
        }
        Some(name) if name.contains('[') => return Err(format!("Include {pattern}")),
        Some(name) if has_pattern(name) => {
            for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
                let found = entry.file_name().to_string_lossy().into_owned();
                if fits(name, &found) && (!found.starts_with('.') || name.starts_with('.')) {
                    paths.push(entry.path());
                }
            }
            paths.sort();
        }
        _ => paths.push(path),
    }
    let mut files = Vec::new();
    for path in paths {
        let text = read(&path).map_err(|problem| problem.to_string())?;
        files.extend(text.map(|text| (path.display().to_string(), text)));
    }
    Ok(files)
}

/// The private keys to try.
pub(super) fn identity_files(settings: &Settings, user: &str) -> Result<Vec<PathBuf>, SshProblem> {
    if settings.identity_files.is_empty() {
        return IDENTITY_FILES.into_iter().map(at_home).collect();
    }
    settings
        .identity_files
        .iter()
        .filter(|file| !file.eq_ignore_ascii_case("none"))
        .map(|file| filled_in(file, settings, user))
        .collect()
}

/// The socket of an agent; none: nobody is to be asked.
pub(super) fn agent(settings: &Settings, user: &str) -> Result<Option<PathBuf>, SshProblem> {
    let usual = || std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    let socket = match settings.identity_agent.as_deref() {
        None | Some("SSH_AUTH_SOCK" | "$SSH_AUTH_SOCK") => usual(),
        Some(word) if word.eq_ignore_ascii_case("none") => None,
        Some(path) => Some(filled_in(path, settings, user)?),
    };
    Ok(socket.filter(|path| !path.as_os_str().is_empty()))
}

/// The texts of the lists of known hosts, and the file to which a line is to be added.
pub(super) fn known_hosts(
    settings: &Settings,
    user: &str,
) -> Result<(Vec<String>, PathBuf), SshProblem> {
    let mut paths = Vec::new();
    for (named, usual) in settings.known_hosts.iter().zip(KNOWN_HOSTS) {
        match named {
            None => {
                for file in usual {
                    paths.push(at_home(file)?);
                }
            }
            Some(files) => {
                for file in files
                    .iter()
                    .filter(|file| !file.eq_ignore_ascii_case("none"))
                {
                    paths.push(filled_in(file, settings, user)?);
                }
            }
        }
    }
    let mut texts = Vec::new();
    for path in &paths {
        texts.extend(read(path)?);
    }
    let first = match paths.into_iter().next() {
        Some(path) => path,
        None => at_home(KNOWN_HOSTS[0][0])?,
    };
    Ok((texts, first))
}

/// The name of the user here.
pub(super) fn local_user() -> Option<String> {
    ["LOGNAME", "USER"]
        .into_iter()
        .filter_map(std::env::var_os)
        .filter_map(|name| name.into_string().ok())
        .find(|name| !name.is_empty())
        .or_else(|| {
            rustix::process::getuid()
                .is_root()
                .then(|| "root".to_owned())
        })
}

/// Fills in `~` and the tokens of ssh_config(5).
fn filled_in(text: &str, settings: &Settings, user: &str) -> Result<PathBuf, SshProblem> {
    let mut filled = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '%' => match rest.next() {
                Some('%') => filled.push('%'),
                Some('d') => filled.push_str(&at_home("~")?.to_string_lossy()),
                Some('h') => filled.push_str(&settings.host_name),
                Some('n') => filled.push_str(&settings.alias),
                Some('p') => filled.push_str(&settings.port.to_string()),
                Some('r') => filled.push_str(user),
                Some('u') => filled.push_str(&local_user().unwrap_or_default()),
                _ => return Err(not_followed(text, "the SSH configuration")),
            },
            '$' => return Err(not_followed(text, "the SSH configuration")),
            c => filled.push(c),
        }
    }
    at_home(&filled)
}

fn at_home(text: &str) -> Result<PathBuf, SshProblem> {
    let Some(rest) = text.strip_prefix('~') else {
        return Ok(PathBuf::from(text));
    };
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    match home {
        Some(home) if rest.is_empty() => Ok(home),
        Some(home) if rest.starts_with('/') => Ok(home.join(rest.trim_start_matches('/'))),
        _ => Err(not_followed(text, "the SSH configuration")),
    }
}

/// A file's text; none if it is not there.
fn read(path: &Path) -> Result<Option<String>, SshProblem> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(not_followed(
            &error.to_string(),
            &path.display().to_string(),
        )),
    }
}

fn not_followed(what: &str, at: &str) -> SshProblem {
    SshProblem::NotFollowed {
        what: what.to_owned(),
        at: at.to_owned(),
    }
}
