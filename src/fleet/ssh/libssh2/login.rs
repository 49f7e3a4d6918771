//! Logging in: by an agent's keys, then by key files. Passphrases are asked for on the terminal, once a run.

#![expect(clippy::disallowed_methods, reason = "edge: reads SSH key files")]

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use ssh2::Session;
use zeroize::Zeroizing;

use super::patience::{Fault, Patience, code};
use crate::keys::{NoPrompt, Prompt};

/// How often a passphrase is asked for before its file is passed over.
const QUESTIONS: usize = 3;

/// The passphrases of key files, each asked for once a run.
///
/// # Secrets
/// Passphrases are wiped when the run ends.
pub(in crate::fleet::ssh) struct Passphrases {
    prompt: Arc<dyn Prompt>,
    /// None for a file that nobody can open.
    known: Mutex<BTreeMap<PathBuf, Option<SecretString>>>,
}

impl Passphrases {
    pub(in crate::fleet::ssh) fn new(prompt: Arc<dyn Prompt>) -> Self {
        Self {
            prompt,
            known: Mutex::default(),
        }
    }

    /// The passphrase of `file`, other than `wrong`. Others who want one wait meanwhile, so that one question is asked
    /// at a time and none twice.
    fn of(&self, file: &Path, wrong: Option<&SecretString>) -> Option<SecretString> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(file) {
            Some(Some(found))
                if wrong.is_none_or(|w| w.expose_secret() != found.expose_secret()) =>
            {
                return Some(found.clone());
            }
            Some(None) => return None,
            _ => {}
        }
        let text = format!("Passphrase of {}:", file.display());
        let answer = self.prompt.secret(&text).ok();
        known.insert(file.to_owned(), answer.clone());
        answer
    }

    /// Passes a file over from now on.
    fn give_up(&self, file: &Path) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(file.to_owned(), None);
    }
}

impl Default for Passphrases {
    fn default() -> Self {
        Self::new(Arc::new(NoPrompt))
    }
}

impl Debug for Passphrases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrases(…)")
    }
}

/// What a login goes by.
pub(super) struct Login<'a> {
    pub(super) session: &'a Session,
    pub(super) user: &'a str,
    pub(super) agent: Option<PathBuf>,
    pub(super) files: Vec<PathBuf>,
    /// Only the agent's keys that stand in `files`, too.
    pub(super) only_files: bool,
    pub(super) passphrases: &'a Passphrases,
    pub(super) patience: Patience,
}

/// Why nobody was let in.
pub(super) enum Refused {
    /// No key opens the login; what was tried.
    Keys(String),
    Fault(Fault),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Login<'_> {
    /// Tries all there is.
    pub(super) fn run(mut self) -> Result<(), Refused> {
        let methods = self
            .patience
            .call(|| self.session.auth_methods(self.user).map(str::to_owned));
        if self.session.authenticated() {
            return Ok(());
        }
        let methods = methods?;
        if !methods.split(',').any(|method| method == "publickey") {
            let said = format!("it takes no keys, only: {}", printable(&methods));
            return Err(Refused::Keys(said));
        }
        let mut tried = Vec::new();
        if let Some(socket) = self.agent.take() {
            match self.by_agent(&socket) {
                Ok(true) => return Ok(()),
                Ok(false) => tried.push("the agent's keys".to_owned()),
                Err(Fault::Library(error)) if is_lost(&error) => {
                    return Err(Fault::Library(error).into());
                }
                Err(Fault::Library(error)) => {
                    tried.push(format!("the agent ({})", error.message()));
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        let mut encrypted = Vec::new();
        for file in std::mem::take(&mut self.files) {
            let text = match key_text(&file) {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                Err(why) => {
                    tried.push(format!("{} ({why})", file.display()));
                    continue;
                }
            };
            // What needs a person comes last.
            if is_encrypted(&text) {
                encrypted.push((file, text));
                continue;
            }
            match self.by_key(&text, None)? {
                None => return Ok(()),
                Some(why) => tried.push(format!("{} ({why})", file.display())),
            }
        }
        for (file, text) in encrypted {
            match self.by_encrypted(&file, &text)? {
                None => return Ok(()),
                Some(why) => tried.push(format!("{} ({why})", file.display())),
            }
        }
        if tried.is_empty() {
            tried.push("nothing: there is no agent and no key file".to_owned());
        }
        Err(Refused::Keys(format!(
            "Permission denied (publickey), tried {}",
            tried.join(", ")
        )))
    }

    /// Whether the agent opened it.
    fn by_agent(&self, socket: &Path) -> Result<bool, Fault> {
        let mut agent = self.session.agent().map_err(Fault::Library)?;
        agent.set_identity_path(socket).map_err(Fault::Library)?;
        agent.connect().map_err(Fault::Library)?;
        agent.list_identities().map_err(Fault::Library)?;
        let wanted: Vec<Vec<u8>> = self
            .files
            .iter()
            .filter_map(|file| public_half(file))
            .collect();
        let (named, others): (Vec<_>, Vec<_>) = agent
            .identities()
            .map_err(Fault::Library)?
            .into_iter()
            .partition(|key| wanted.iter().any(|blob| blob == key.blob()));
        let others = others.into_iter().filter(|_| !self.only_files);
        for key in named.into_iter().chain(others) {
            match self.patience.call(|| agent.userauth(self.user, &key)) {
                Ok(()) if self.session.authenticated() => return Ok(true),
                Err(Fault::Library(error)) if is_lost(&error) => {
                    return Err(Fault::Library(error));
                }
                Err(fault @ Fault::TimedOut(_)) => return Err(fault),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Why a key does not open it; none if it does.
    fn by_key(
        &self,
        text: &str,
        passphrase: Option<&SecretString>,
    ) -> Result<Option<&'static str>, Fault> {
        let passphrase = passphrase.map(ExposeSecret::expose_secret);
        let outcome = self.patience.call(|| {
            self.session
                .userauth_pubkey_memory(self.user, None, text, passphrase)
        });
        match outcome {
            Ok(()) if self.session.authenticated() => Ok(None),
            Ok(()) => Ok(Some(REFUSED)),
            Err(Fault::Library(error)) if is_lost(&error) => Err(Fault::Library(error)),
            Err(Fault::Library(error)) => Ok(Some(match code(&error) {
                Some(
                    libssh2_sys::LIBSSH2_ERROR_AUTHENTICATION_FAILED
                    | libssh2_sys::LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED,
                ) => REFUSED,
                _ => UNREADABLE,
            })),
            Err(fault) => Err(fault),
        }
    }

    fn by_encrypted(&mut self, file: &Path, text: &str) -> Result<Option<&'static str>, Fault> {
        let mut wrong = None;
        for _ in 0..QUESTIONS {
            let Some(passphrase) = self.passphrases.of(file, wrong.as_ref()) else {
                return Ok(Some("encrypted, and nobody gave its passphrase"));
            };
            self.patience = self.patience.renewed();
            match self.by_key(text, Some(&passphrase))? {
                Some(UNREADABLE) => wrong = Some(passphrase),
                outcome => return Ok(outcome),
            }
        }
        self.passphrases.give_up(file);
        Ok(Some("wrong passphrase"))
    }
}

const REFUSED: &str = "refused";
const UNREADABLE: &str = "not a key that libssh2 can use";

/// Whether the connection went with the call.
fn is_lost(error: &ssh2::Error) -> bool {
    matches!(
        code(error),
        Some(
            libssh2_sys::LIBSSH2_ERROR_SOCKET_DISCONNECT
                | libssh2_sys::LIBSSH2_ERROR_SOCKET_RECV
                | libssh2_sys::LIBSSH2_ERROR_SOCKET_SEND
                | libssh2_sys::LIBSSH2_ERROR_TIMEOUT
        )
    )
}

/// Whether a file is named for an agent's key only.
fn is_public(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "pub")
}

/// A private key's text; none if there is no such file.
fn key_text(file: &Path) -> Result<Option<Zeroizing<String>>, String> {
    let Some(meta) = std::fs::metadata(file).ok().filter(|_| !is_public(file)) else {
        return Ok(None);
    };
    if meta.mode() & 0o077 != 0 {
        return Err(format!("open to others, mode {:04o}", meta.mode() & 0o7777));
    }
    let bytes = Zeroizing::new(std::fs::read(file).map_err(|error| error.to_string())?);
    let text = std::str::from_utf8(&bytes).map_err(|_| UNREADABLE.to_owned())?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// A key's public half in wire form, from the file beside it.
fn public_half(file: &Path) -> Option<Vec<u8>> {
    let mut beside = file.as_os_str().to_owned();
    if !is_public(file) {
        beside.push(".pub");
    }
    let text = std::fs::read_to_string(beside).ok()?;
    let blob = text.split_ascii_whitespace().nth(1)?;
    STANDARD.decode(blob).ok()
}

/// Whether a key file asks for a passphrase.
///
/// Source: `PROTOCOL.key` of OpenSSH (the cipher's name follows the magic), RFC 1421 and RFC 5958 for the older forms.
fn is_encrypted(text: &str) -> bool {
    const MAGIC: &[u8] = b"openssh-key-v1\0\0\0\0\x04none";
    let body: Zeroizing<String> = Zeroizing::new(
        text.lines()
            .filter(|line| !line.starts_with("-----"))
            .take(2)
            .collect(),
    );
    if !text.contains("BEGIN OPENSSH PRIVATE KEY") {
        return text.contains("ENCRYPTED");
    }
    let whole = body.len() / 4 * 4;
    let head = body.get(..whole.min(64)).unwrap_or_default();
    STANDARD
        .decode(head)
        .is_ok_and(|head| !head.starts_with(MAGIC))
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}
