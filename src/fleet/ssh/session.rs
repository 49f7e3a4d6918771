//! The calls to one host: over one connection, as root where that is needed, each answer framed by a nonce.

use std::sync::{Arc, Mutex, PoisonError};

use rand::RngCore;
use zeroize::Zeroizing;

use super::problem::{SshProblem, last_line};
use super::reply::{NoReply, Reply};
use super::script::{BOOTSTRAP, BOOTSTRAP_AS_ROOT, PROBE, Script};
use super::transport::{Link, Transport};

/// The way to one host; connects at the first call.
#[derive(Debug)]
pub(super) struct Session {
    // First, for it goes first: a transport may take along what connections use.
    connected: Mutex<Option<Connected>>,
    transport: Box<dyn Transport>,
    address: String,
    identity_file: String,
    /// The container that is looked into as well.
    container: Option<String>,
}

#[derive(Debug, Clone)]
struct Connected {
    link: Arc<dyn Link>,
    as_root: bool,
}

impl Session {
    pub(super) fn new(
        transport: Box<dyn Transport>,
        address: &str,
        identity_file: &str,
        container: Option<&str>,
    ) -> Self {
        Self {
            connected: Mutex::new(None),
            transport,
            address: address.to_owned(),
            identity_file: identity_file.to_owned(),
            container: container.map(str::to_owned),
        }
    }

    /// Runs a script with `data` as its input, as root where that is needed.
    pub(super) fn run(
        &self,
        script: Script,
        data: Zeroizing<Vec<u8>>,
    ) -> Result<Reply, SshProblem> {
        let connected = self.connect()?;
        let command = if connected.as_root {
            BOOTSTRAP_AS_ROOT
        } else {
            BOOTSTRAP
        };
        self.call(connected.link.as_ref(), command, script, data)
    }

    /// The host key that was shown last; none before a connection.
    pub(super) fn host_key(&self) -> Option<String> {
        let connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connected.as_ref()?.link.host_key()
    }

    fn connect(&self) -> Result<Connected, SshProblem> {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = connected.as_ref() {
            if known.link.stands() {
                return Ok(known.clone());
            }
            // It broke off; a new one is made.
            *connected = None;
        }
        let link = self.transport.connect()?;
        let probe = self.call(
            link.as_ref(),
            BOOTSTRAP,
            Script::new(PROBE),
            Zeroizing::default(),
        )?;
        if probe.word() != "login" {
            return Err(SshProblem::Nonsense {
                word: probe.word().to_owned(),
            });
        }
        let as_root = probe.rest().starts_with("yes");
        Ok(connected.insert(Connected { link, as_root }).clone())
    }

    fn call(
        &self,
        link: &dyn Link,
        command: &str,
        script: Script,
        data: Zeroizing<Vec<u8>>,
    ) -> Result<Reply, SshProblem> {
        let mut octets = [0u8; 16];
        rand::rngs::OsRng.fill_bytes(&mut octets);
        let nonce: String = octets.iter().map(|o| format!("{o:02x}")).collect();
        let line = script
            .set("nonce", &nonce)
            .set("file", &self.identity_file)
            .set("container", self.container.as_deref().unwrap_or_default())
            .line();
        let mut input = Zeroizing::new(Vec::with_capacity(line.len() + data.len()));
        input.extend_from_slice(line.as_bytes());
        input.extend_from_slice(&data);
        drop(data);

        let called = link.call(command, input)?;
        Reply::find(called.output, &nonce).map_err(|missing| {
            if let Some(lost) = called.lost {
                return lost;
            }
            let said = last_line(&called.errors);
            match missing {
                NoReply::NotBegun if command == BOOTSTRAP_AS_ROOT || said.starts_with("sudo:") => {
                    SshProblem::NoSudo { said }
                }
                NoReply::NotBegun => SshProblem::NoShell { said },
                NoReply::BrokenOff => SshProblem::Unreachable {
                    address: self.address.clone(),
                    said,
                },
            }
        })
    }
}
