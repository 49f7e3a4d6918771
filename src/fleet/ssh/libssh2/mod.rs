//! The library libssh2 as a transport, in this process: for machines without an `ssh` program. Built by the feature
//! `libssh2` alone, for it brings C code that reads what a host sends.
//!
//! The user's SSH configuration counts as far as [`client_config`] follows it; host keys are checked strictly by our own
//! reader of the lists. Calls to a host go over one connection, one after another.

mod client_config;
mod dial;
mod files;
mod jump;
mod known_hosts;
mod login;
mod patience;
#[cfg(test)]
mod tests;

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ssh2::Channel;
use zeroize::Zeroizing;

use super::call::OUTPUT_LIMIT;
use super::problem::{SshProblem, last_line};
use super::program::SshProgram;
use super::transport::{Called, Link, Transport};
use dial::Wire;
pub(super) use login::Passphrases;
use patience::{Fault, Patience};

// The system's own libssh2 may be one that a server can take over.
const _: () = assert!(
    option_env!("LIBSSH2_SYS_USE_PKG_CONFIG").is_none(),
    "LIBSSH2_SYS_USE_PKG_CONFIG builds with the system's libssh2, which may have CVE-2026-55200: unset it"
);

/// How long the other side may take to close a channel.
const CLOSING: Duration = Duration::from_millis(500);

/// The way to one host by the library.
#[derive(Debug)]
pub(super) struct Libssh2 {
    program: Arc<SshProgram>,
    address: String,
}

impl Libssh2 {
    pub(super) fn new(program: Arc<SshProgram>, address: &str) -> Self {
        Self {
            program,
            address: address.to_owned(),
        }
    }
}

impl Transport for Libssh2 {
    fn connect(&self) -> Result<Arc<dyn Link>, SshProblem> {
        let settings = files::settings(self.program.options(), &self.address, None, false)?;
        let wire = dial::open(&self.program, &self.address, &settings, 0)?;
        Ok(Arc::new(Connection {
            address: self.address.clone(),
            connect: self.program.connect_patience(),
            step: self.program.step_patience(),
            open: Mutex::new(Open { next: None, wire }),
        }))
    }
}

/// A connection that is logged in; one call at a time.
struct Connection {
    address: String,
    connect: Duration,
    step: Duration,
    open: Mutex<Open>,
}

/// The library's side of it.
struct Open {
    /// The channel for the next call, which showed that the connection stands. Goes before the connection does.
    next: Option<Channel>,
    wire: Wire,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Link for Connection {
    fn stands(&self) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.wire.stands() {
            return false;
        }
        if open.next.is_none() {
            let patience = Patience::of(self.connect);
            open.next = patience.call(|| open.wire.session.channel_session()).ok();
        }
        open.next.is_some()
    }

    fn host_key(&self) -> Option<String> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = open.wire.session.host_key_hash(ssh2::HashType::Sha256)?;
        let text = STANDARD_NO_PAD.encode(digest);
        Some(format!("SHA256:{text}"))
    }

    fn call(&self, command: &str, input: Zeroizing<Vec<u8>>) -> Result<Called, SshProblem> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = Patience::of(self.step);
        let mut called = Called {
            // It never grows, so that no unwiped copy is left behind.
            output: Zeroizing::new(Vec::with_capacity(OUTPUT_LIMIT)),
            errors: Zeroizing::new(Vec::with_capacity(OUTPUT_LIMIT)),
            lost: None,
        };
        match run(&mut open, command, &input, patience, &mut called) {
            Ok(()) => Ok(called),
            Err(fault) => {
                // What runs there may be stuck: nothing more is asked of this connection.
                open.wire.is_lost.store(true, Ordering::SeqCst);
                match fault.problem(&self.address) {
                    problem @ SshProblem::TimedOut { .. } => Err(problem),
                    problem => {
                        called.lost = Some(problem);
                        Ok(called)
                    }
                }
            }
        }
    }
}

fn run(
    open: &mut Open,
    command: &str,
    input: &[u8],
    patience: Patience,
    called: &mut Called,
) -> Result<(), Fault> {
    let session = open.wire.session.clone();
    let mut channel = match open.next.take() {
        Some(channel) => channel,
        None => patience.call(|| session.channel_session())?,
    };
    patience.call(|| channel.exec(command))?;
    let mut left = Some(input);
    let mut chunk = Zeroizing::new([0u8; 8192]);
    loop {
        let mut moved = false;
        if let Some(rest) = left {
            if rest.is_empty() {
                patience.call(|| channel.send_eof())?;
                left = None;
            } else {
                match channel.write(rest) {
                    Ok(length) => {
                        moved |= length > 0;
                        left = Some(&rest[length..]);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    // A reader that went away shows in how the command ended.
                    Err(_) => left = None,
                }
            }
        }
        for (stream, collected) in [(0, &mut called.output), (1, &mut called.errors)] {
            match channel.stream(stream).read(chunk.as_mut_slice()) {
                Ok(0) => {}
                // The rest is read and dropped, so that the writer is not stuck.
                Ok(length) => {
                    let room = (OUTPUT_LIMIT - collected.len()).min(length);
                    collected.extend_from_slice(&chunk[..room]);
                    moved = true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        if channel.eof() {
            break;
        }
        if !moved {
            // Sends one when it is due.
            session.keepalive_send().or_else(idle)?;
            patience.rest()?;
        }
    }
    // It has said all; how it closes changes nothing.
    let closing = Patience::of(CLOSING);
    let _ = closing.call(|| channel.close());
    let _ = closing.call(|| channel.wait_close());
    Ok(())
}

fn idle(error: ssh2::Error) -> Result<u32, Fault> {
    if patience::would_block(&error) {
        return Ok(0);
    }
    Err(Fault::Library(error))
}

/// The library's error within one of input and output.
fn broken(error: &std::io::Error) -> Fault {
    let said = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ssh2::Error>());
    Fault::Broken(said.map_or_else(
        || last_line(error.to_string().as_bytes()),
        |error| error.message().to_owned(),
    ))
}
