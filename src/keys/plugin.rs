//! Opening wraps through `age-plugin-…` programs: many files in one session, so that one run asks for one touch or PIN.
//!
//! This is the one place in `keys` that runs a program: the age plugin protocol is part of what an age identity is.
//! Source: C2SP, `age-plugin.md`, state machine `identity-v1`.

#![expect(clippy::disallowed_methods, reason = "edge: plugins are programs")]

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use age_core::format::{FileKey, Stanza};
use age_core::plugin::{Connection, IDENTITY_V1};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::keys::age_file;
use crate::keys::prompt::{NoPrompt, Prompt};
use crate::secret::Secret;

/// The key of one age file, as a plugin returns it.
pub(super) type FileKeyBytes = Secret<[u8; 16]>;

/// What a plugin said of one file: its key, or that it is not for it; or a reason of failure.
pub(super) type Answer = Result<Option<FileKeyBytes>, String>;

type Digest32 = [u8; 32];

/// Runs plugins, and remembers for the run what they opened and what they were told.
pub struct PluginHost {
    search_path: Option<OsString>,
    prompt: Arc<dyn Prompt>,
    /// Held through a session: one question at a time, and a second thread finds the first one's answers.
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    opened: HashMap<Digest32, FileKeyBytes>,
    foreign: HashSet<(String, Digest32)>,
    secrets: HashMap<(String, String), SecretString>,
}

impl PluginHost {
    /// A host that looks for plugins in `search_path` (none: the process's `PATH`) and passes their questions to
    /// `prompt`.
    pub fn new(search_path: Option<OsString>, prompt: Arc<dyn Prompt>) -> Self {
        Self {
            search_path,
            prompt,
            memory: Mutex::default(),
        }
    }

    /// Opens many age files through one session of `plugin`; one answer each, in order.
    pub(super) fn open(&self, plugin: &str, identities: &[&str], files: &[&str]) -> Vec<Answer> {
        let mut memory = self.memory();
        let digests: Vec<Digest32> = files
            .iter()
            .map(|file| Sha256::digest(file).into())
            .collect();
        let asked: Vec<usize> = (0..files.len())
            .filter(|&at| {
                !memory.opened.contains_key(&digests[at])
                    && !memory.foreign.contains(&(plugin.to_owned(), digests[at]))
            })
            .collect();
        let mut failed: HashMap<usize, String> = HashMap::new();
        if !asked.is_empty() {
            let stanzas: Vec<Vec<Stanza>> = asked
                .iter()
                .map(|&at| age_file::stanzas(files[at]).unwrap_or_default())
                .collect();
            let mut session =
                Session::new(plugin, self.prompt.as_ref(), &memory.secrets, stanzas.len());
            let outcome = self
                .find(plugin)
                .and_then(|path| session.run(&path, identities, &stanzas));
            if let Err(reason) = outcome {
                session.failure.get_or_insert(reason);
            }
            let Session {
                keys,
                errors,
                failure,
                answers,
                ..
            } = session;
            if keys.iter().any(Option::is_some) {
                // Only what served is remembered: a wrong PIN given again by itself would lock the token.
                memory.secrets.extend(answers);
            }
            for ((&at, key), error) in asked.iter().zip(keys).zip(errors) {
                match (key, error.or_else(|| failure.clone())) {
                    (Some(key), _) => {
                        memory.opened.insert(digests[at], key);
                    }
                    (None, Some(reason)) => {
                        failed.insert(at, reason);
                    }
                    (None, None) => {
                        memory.foreign.insert((plugin.to_owned(), digests[at]));
                    }
                }
            }
        }
        (0..files.len())
            .map(|at| match failed.remove(&at) {
                Some(reason) => Err(reason),
                None => Ok(memory.opened.get(&digests[at]).map(Secret::duplicate)),
            })
            .collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugin's program, from the absolute folders of the search path: a relative one could lie in the repository.
    fn find(&self, plugin: &str) -> Result<PathBuf, String> {
        let program = format!("age-plugin-{plugin}");
        let process_path;
        let path = match &self.search_path {
            Some(path) => path,
            None => {
                process_path = std::env::var_os("PATH").unwrap_or_default();
                &process_path
            }
        };
        std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&program))
            .find(|file| {
                file.metadata()
                    .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
            })
            .ok_or_else(|| format!("the program {program} is not on PATH"))
    }
}

impl Default for PluginHost {
    fn default() -> Self {
        Self::new(None, Arc::new(NoPrompt))
    }
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PluginHost")
    }
}

/// One run of a plugin's program.
struct Session<'a> {
    plugin: &'a str,
    prompt: &'a dyn Prompt,
    known: &'a HashMap<(String, String), SecretString>,
    /// By file.
    keys: Vec<Option<FileKeyBytes>>,
    /// By file.
    errors: Vec<Option<String>>,
    /// What concerns all files.
    failure: Option<String>,
    /// What was answered to which question.
    answers: Vec<((String, String), SecretString)>,
    reused: HashSet<String>,
}

impl<'a> Session<'a> {
    fn new(
        plugin: &'a str,
        prompt: &'a dyn Prompt,
        known: &'a HashMap<(String, String), SecretString>,
        files: usize,
    ) -> Self {
        Self {
            plugin,
            prompt,
            known,
            keys: (0..files).map(|_| None).collect(),
            errors: vec![None; files],
            failure: None,
            answers: Vec::new(),
            reused: HashSet::new(),
        }
    }

    fn run(
        &mut self,
        program: &std::path::Path,
        identities: &[&str],
        files: &[Vec<Stanza>],
    ) -> Result<(), String> {
        let died = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::BrokenPipe => {
                "the plugin ended before it had answered".to_owned()
            }
            _ => age_file::plain_message(&error),
        };
        let mut connection = Connection::open(program, IDENTITY_V1).map_err(died)?;
        connection
            .unidir_send(|mut phase| {
                for identity in identities {
                    phase.send("add-identity", &[identity], &[])?;
                }
                for (index, stanzas) in files.iter().enumerate() {
                    let index = index.to_string();
                    for stanza in stanzas {
                        phase.send_stanza("recipient-stanza", &[&index], stanza)?;
                    }
                }
                Ok(())
            })
            .map_err(died)?;
        let commands = [
            "msg",
            "confirm",
            "request-public",
            "request-secret",
            "file-key",
            "error",
        ];
        connection
            .bidir_receive(&commands, |command, reply| {
                let text = String::from_utf8_lossy(&command.body);
                match command.tag.as_str() {
                    "msg" => {
                        self.prompt.message(&text);
                        reply.ok(None)
                    }
                    "confirm" => match self.confirm(&text, &command.args) {
                        Some(true) => reply.ok_with_metadata(&["yes"], None),
                        Some(false) => reply.ok_with_metadata(&["no"], None),
                        None => reply.fail(),
                    },
                    "request-public" => match self.prompt.public(&text) {
                        Ok(answer) => reply.ok(Some(answer.as_bytes())),
                        Err(error) => {
                            self.refused(&error);
                            reply.fail()
                        }
                    },
                    "request-secret" => match self.secret(&text) {
                        Some(answer) => reply.ok(Some(answer.expose_secret().as_bytes())),
                        None => reply.fail(),
                    },
                    "file-key" => {
                        drop(text);
                        if self.take_key(command) {
                            reply.ok(None)
                        } else {
                            reply.fail()
                        }
                    }
                    _ => {
                        self.take_error(&command.args, &text);
                        reply.ok(None)
                    }
                }
            })
            .map_err(died)
    }

    fn confirm(&mut self, text: &str, args: &[String]) -> Option<bool> {
        let mut labels = args.iter().take(2).map(|arg| {
            let bytes = BASE64_STANDARD_NO_PAD.decode(arg).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let yes = labels.next()?;
        let no = labels.next();
        match self.prompt.confirm(text, &yes, no.as_deref()) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.refused(&error);
                None
            }
        }
    }

    /// Answers with what served before, once; asked again in one session, that answer was wrong.
    fn secret(&mut self, text: &str) -> Option<SecretString> {
        let question = (self.plugin.to_owned(), text.to_owned());
        let first_time = self.reused.insert(text.to_owned());
        if let (true, Some(answer)) = (first_time, self.known.get(&question)) {
            return Some(answer.clone());
        }
        match self.prompt.secret(text) {
            Ok(answer) => {
                self.answers.retain(|(asked, _)| asked != &question);
                self.answers.push((question, answer.clone()));
                Some(answer)
            }
            Err(error) => {
                self.refused(&error);
                None
            }
        }
    }

    fn refused(&mut self, error: &dyn fmt::Display) {
        self.failure.get_or_insert_with(|| error.to_string());
    }

    fn take_key(&mut self, mut command: Stanza) -> bool {
        let key: Option<[u8; 16]> = command.body.as_slice().try_into().ok();
        command.body.zeroize();
        let slot = match command.args.as_slice() {
            [index] => index
                .parse()
                .ok()
                .and_then(|at: usize| self.keys.get_mut(at)),
            _ => None,
        };
        match (slot, key) {
            (Some(slot @ None), Some(mut bytes)) => {
                *slot = Some(Secret::new(bytes));
                bytes.zeroize();
                true
            }
            _ => false,
        }
    }

    fn take_error(&mut self, args: &[String], text: &str) {
        let text = age_file::plain_message(&text);
        let slot = match args {
            [kind, file, ..] if kind == "stanza" => file
                .parse()
                .ok()
                .and_then(|at: usize| self.errors.get_mut(at)),
            _ => Some(&mut self.failure),
        };
        if let Some(slot) = slot {
            slot.get_or_insert(text);
        }
    }
}

/// Opens a header whose file key is known.
pub(super) struct Known<'a>(pub(super) &'a FileKeyBytes);

impl age::Identity for Known<'_> {
    fn unwrap_stanza(&self, _stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        Some(Ok(FileKey::init_with_mut(|key| {
            key.copy_from_slice(self.0.expose())
        })))
    }
}
