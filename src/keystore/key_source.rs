//! One source of identities: bytes of a key file or an SSH key, from a file, a variable or a command.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: where identities are found"
)]

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use age::secrecy::SecretString;
use zeroize::Zeroizing;

use crate::command_words;
use crate::keys::key_file::is_encrypted;
use crate::keys::late_source::{LateSource, Loaded};
use crate::keys::{
    Identity, IdentityError, IdentitySet, KeyFile, LockedSshKey, Prompt, PromptError, Recipient,
    SshKey,
};
use crate::keystore::surroundings::Surroundings;
use crate::secret::SecretBytes;

/// How often a passphrase may be mistyped.
const TRIES: usize = 3;

/// No key file is larger; `/dev/zero` is.
const LARGEST: u64 = 1 << 20;

/// The identities of a key file's bytes; one under a passphrase gives a source that asks.
pub(super) fn of_key_file(name: &str, bytes: SecretBytes, prompt: &Arc<dyn Prompt>) -> Loaded {
    if is_encrypted(bytes.expose()) {
        return Ok(passphrase_source(name, bytes, Arc::clone(prompt)));
    }
    let file = KeyFile::parse(bytes.expose()).map_err(|error| error.to_string())?;
    of_parsed(&file)
}

/// The identities of `SOPS_AGE_KEY`: a key file, in which a line may hold several.
///
/// Source: sops 3.13 splits this variable, and only it, at white space.
pub(super) fn of_variable(name: &str, bytes: SecretBytes, prompt: &Arc<dyn Prompt>) -> Loaded {
    if is_encrypted(bytes.expose()) {
        return of_key_file(name, bytes, prompt);
    }
    let file = KeyFile::parse(bytes.expose()).or_else(|error| {
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| error.to_string())?;
        let mut lines = Zeroizing::new(String::with_capacity(text.len() + 1));
        for line in text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
        {
            for word in line.split_whitespace() {
                lines.push_str(word);
                lines.push('\n');
            }
        }
        // The first error names the line as the user wrote it.
        KeyFile::parse(lines.as_bytes()).map_err(|_| error.to_string())
    })?;
    of_parsed(&file)
}

fn of_parsed(file: &KeyFile) -> Loaded {
    let identities = file.identities();
    if !identities.is_empty() {
        return Ok(IdentitySet::new(identities));
    }
    if file.unsupported_lines().is_empty() {
        Err("there is no identity in it".to_owned())
    } else {
        Err(IdentityError::PostQuantum.to_string())
    }
}

/// The identity of an SSH private key's bytes; one under a passphrase gives a source that asks.
pub(super) fn of_ssh_key(name: &str, bytes: &SecretBytes, prompt: &Arc<dyn Prompt>) -> Loaded {
    let text =
        std::str::from_utf8(bytes.expose()).map_err(|_| IdentityError::SshDamaged.to_string())?;
    match SshKey::parse(text).map_err(|error| error.to_string())? {
        SshKey::Open(identity) => Ok(IdentitySet::new(vec![identity])),
        SshKey::Locked(key) => Ok(locked_ssh_source(name, key, Arc::clone(prompt))),
    }
}

/// Reads a whole file into a wiped buffer.
pub(super) fn read(path: &Path) -> io::Result<SecretBytes> {
    let file = File::open(path)?;
    let data = file.metadata()?;
    if data.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    // One buffer of the right size: a grown one leaves unwiped copies behind. A pipe has no size.
    let room = if data.is_file() {
        data.len().min(LARGEST)
    } else {
        1 << 16
    };
    read_up_to_limit(file, usize::try_from(room).unwrap_or(0) + 1)
}

fn read_up_to_limit(from: impl Read, room: usize) -> io::Result<SecretBytes> {
    let mut bytes = SecretBytes::new(Vec::with_capacity(room));
    from.take(LARGEST + 1).read_to_end(bytes.expose_mut())?;
    if bytes.expose().len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than any key file",
        ));
    }
    Ok(bytes)
}

/// A key command: run on demand, told in `SOPS_AGE_RECIPIENT` which recipient is wanted.
#[derive(Clone)]
pub(super) struct KeyCommand {
    words: Vec<String>,
    surroundings: Surroundings,
}

impl KeyCommand {
    /// Splits the command line `text`; it may hold a secret, so errors do not repeat it.
    pub(super) fn parse(
        text: &std::ffi::OsStr,
        surroundings: &Surroundings,
    ) -> Result<Self, String> {
        let text = text.to_str().ok_or("the command is not UTF-8")?;
        let words = command_words::split(text).ok_or("a quote of the command is left open")?;
        if words.is_empty() {
            return Err("the command is empty".to_owned());
        }
        Ok(Self {
            words,
            surroundings: surroundings.clone(),
        })
    }

    /// Runs it and takes what it prints.
    pub(super) fn run(&self, wanted: Option<&Recipient>) -> Result<SecretBytes, String> {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .env_clear()
            .envs(self.surroundings.variables())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(recipient) = wanted {
            command.env("SOPS_AGE_RECIPIENT", recipient.as_str());
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("the command cannot be run: {error}"))?;
        let output = child
            .stdout
            .take()
            .ok_or("the command has no output")
            .map(|output| read_up_to_limit(output, 1 << 16));
        let status = child.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("the command failed: {status}"));
        }
        output?.map_err(|error| error.to_string())
    }
}

fn passphrase_source(name: &str, bytes: SecretBytes, prompt: Arc<dyn Prompt>) -> IdentitySet {
    let shown = name.to_owned();
    let load = move |_: Option<&Recipient>| {
        let question = format!("Passphrase for {shown}:");
        let plain = ask(prompt.as_ref(), &question, |passphrase| {
            decrypt(&bytes, passphrase)
        })?;
        let file = KeyFile::parse(plain.expose()).map_err(|error| error.to_string())?;
        of_parsed(&file)
    };
    let mut set = IdentitySet::default();
    set.push_late(LateSource::new(name, load).asking());
    set
}

fn locked_ssh_source(name: &str, key: LockedSshKey, prompt: Arc<dyn Prompt>) -> IdentitySet {
    let shown = name.to_owned();
    let recipient = key.recipient().clone();
    let load = move |_: Option<&Recipient>| {
        let question = format!("Passphrase for the SSH key {shown}:");
        let unlock = |passphrase: &SecretString| match key.unlock(passphrase) {
            Err(IdentityError::WrongPassphrase) => Ok(None),
            Err(error) => Err(error.to_string()),
            Ok(identity) => Ok(Some(identity)),
        };
        let identity: Identity = ask(prompt.as_ref(), &question, unlock)?;
        Ok(IdentitySet::new(vec![identity]))
    };
    let mut set = IdentitySet::default();
    set.push_late(LateSource::new(name, load).asking().known(recipient));
    set
}

/// Asks until the passphrase opens, a few times at most.
fn ask<T>(
    prompt: &dyn Prompt,
    question: &str,
    open: impl Fn(&SecretString) -> Result<Option<T>, String>,
) -> Result<T, String> {
    for attempt in 0..TRIES {
        let passphrase = match prompt.secret(question) {
            Ok(passphrase) => passphrase,
            Err(PromptError::NoTerminal) => {
                return Err(
                    "it is under a passphrase, and there is no terminal to ask for it on"
                        .to_owned(),
                );
            }
            Err(error) => return Err(error.to_string()),
        };
        if let Some(opened) = open(&passphrase)? {
            return Ok(opened);
        }
        if attempt + 1 < TRIES {
            prompt.message("Wrong passphrase, try again.");
        }
    }
    Err("wrong passphrase".to_owned())
}

/// Decrypts a key file under a passphrase; none if the passphrase is wrong.
fn decrypt(bytes: &SecretBytes, passphrase: &SecretString) -> Result<Option<SecretBytes>, String> {
    let damaged = |_| "the encrypted key file is damaged".to_owned();
    let reader = age::armor::ArmoredReader::new(bytes.expose().trim_ascii_start());
    let decryptor = age::Decryptor::new_buffered(reader)
        .map_err(|_| "the encrypted key file is damaged".to_owned())?;
    if !decryptor.is_scrypt() {
        return Err("it is encrypted, but not with a passphrase".to_owned());
    }
    let mut key = age::scrypt::Identity::new(passphrase.clone());
    // As Go's age: beyond it, a file would keep the machine busy for minutes.
    key.set_max_work_factor(22);
    match decryptor.decrypt(std::iter::once(&key as _)) {
        Ok(reader) => read_up_to_limit(reader, bytes.expose().len())
            .map(Some)
            .map_err(damaged),
        Err(age::DecryptError::ExcessiveWork { .. }) => {
            Err("its passphrase costs more work than is reasonable".to_owned())
        }
        Err(age::DecryptError::InvalidHeader | age::DecryptError::InvalidMac) => {
            Err("the encrypted key file is damaged".to_owned())
        }
        Err(_) => Ok(None),
    }
}

/// A name for messages: the variable and the path.
pub(super) fn named(variable: &str, path: &Path) -> String {
    format!("{variable} ({})", path.display())
}

/// An SSH key's file, read on demand: its kind is not known before, and reading an RSA key costs.
pub(super) fn ssh_file_source(name: &str, path: PathBuf, prompt: Arc<dyn Prompt>) -> LateSource {
    let shown = path.display().to_string();
    let load = move |_: Option<&Recipient>| {
        let bytes = read(&path).map_err(|error| error.to_string())?;
        of_ssh_key(&shown, &bytes, &prompt)
    };
    LateSource::new(name, load).ssh()
}
