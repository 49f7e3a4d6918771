//! Connections: to the host itself or through others, its key checked, logged in.

use std::fmt::{self, Debug};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ssh2::{MethodType, Session};

use super::client_config::{Settings, hop};
use super::known_hosts::{self, Verdict};
use super::login::{Login, Refused};
use super::patience::{Fault, Patience};
use super::{files, jump};
use crate::fleet::ssh::problem::{SshProblem, last_line};
use crate::fleet::ssh::program::SshProgram;

/// What is offered; nothing that rests on SHA-1 or on CBC. Strict key exchange, against CVE-2023-48795, comes with it.
const METHODS: [(MethodType, &str); 5] = [
    (
        MethodType::Kex,
        "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,\
         diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256",
    ),
    (MethodType::CryptCs, CIPHERS),
    (MethodType::CryptSc, CIPHERS),
    (MethodType::MacCs, MACS),
    (MethodType::MacSc, MACS),
];
const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr";
const MACS: &str =
    "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";
/// Kinds of host keys with the algorithms that use them, in order of preference.
const HOST_KEYS: [(&str, &str); 6] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512"),
    ("ssh-rsa", "rsa-sha2-256"),
];
/// More hosts in a row than anybody has.
const LONGEST_WAY: usize = 8;
/// Seconds without a word before the other side is asked whether it is there.
const KEEPALIVE: u32 = 10;

/// A connection that is logged in. It ends at once when it is dropped, without waiting for the other side.
pub(super) struct Wire {
    pub(super) session: Session,
    stream: Stream,
    /// Set once it is known to be broken.
    pub(super) is_lost: Arc<AtomicBool>,
}

/// What octets travel by.
pub(super) enum Stream {
    Tcp(TcpStream),
    /// The near end of a way through another host.
    Jump(UnixStream),
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_fd().as_raw_fd(),
            Self::Jump(stream) => stream.as_fd().as_raw_fd(),
        }
    }
}

impl Stream {
    fn try_clone(&self) -> std::io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Jump(stream) => Self::Jump(stream.try_clone()?),
        })
    }
}

impl Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // A word to the other side, if it goes out at once; it sees the end anyway.
        let _ = self.session.disconnect(None, "done", None);
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Jump(stream) => stream.shutdown(Shutdown::Both),
        };
        // Whatever the library still has to say fails now, and it lets go of everything.
        self.session.set_blocking(true);
    }
}

/// Connects and logs in; `depth` counts the hosts on the way.
pub(super) fn open(
    program: &SshProgram,
    address: &str,
    settings: &Settings,
    depth: usize,
) -> Result<Wire, SshProblem> {
    let patience = Patience::of(program.connect_patience());
    let user = match &settings.user {
        Some(user) => user.clone(),
        None => files::local_user().ok_or_else(|| SshProblem::NotFollowed {
            what: "a login without a user".to_owned(),
            at: address.to_owned(),
        })?,
    };
    let (lists, list_file) = files::known_hosts(settings, &user)?;
    let (listed, port) = match &settings.key_alias {
        Some(alias) => (alias.as_str(), 22),
        None => (settings.host_name.as_str(), settings.port),
    };
    let is_lost = Arc::new(AtomicBool::new(false));
    let stream = if settings.jumps.is_empty() {
        Stream::Tcp(connect(address, settings, patience)?)
    } else {
        Stream::Jump(by_way_of(program, address, settings, depth, &is_lost)?)
    };
    let patience = patience.renewed();
    let fault = |fault: Fault| fault.problem(address);
    let mut session = Session::new().map_err(|error| fault(Fault::Library(error)))?;
    session.set_blocking(false);
    for (method, names) in METHODS {
        session
            .method_pref(method, names)
            .map_err(|error| fault(Fault::Library(error)))?;
    }
    let known = known_hosts::kinds(&lists, listed, port);
    session
        .method_pref(MethodType::HostKey, &host_key_methods(&known, settings))
        .map_err(|error| fault(Fault::Library(error)))?;
    let unreachable = |error: std::io::Error| SshProblem::Unreachable {
        address: address.to_owned(),
        said: error.to_string(),
    };
    session.set_tcp_stream(stream.try_clone().map_err(unreachable)?);
    let wire = Wire {
        session,
        stream,
        is_lost,
    };
    let mut session = wire.session.clone();
    patience.call(|| session.handshake()).map_err(fault)?;

    let (key, _) = session.host_key().ok_or_else(|| SshProblem::Unreachable {
        address: address.to_owned(),
        said: "it shows no host key".to_owned(),
    })?;
    let name = known_hosts::listed_name(listed, port);
    let file = shown(&list_file.display().to_string());
    let add = format!(
        "echo {} >> {file}",
        shown(&known_hosts::line_for(&name, key))
    );
    match known_hosts::judge(&lists, listed, port, key) {
        Verdict::Known => {}
        Verdict::Unknown => return Err(SshProblem::HostKeyUnknown { remedy: add }),
        Verdict::Changed => {
            let remedy = format!("ssh-keygen -f {file} -R {} && {add}", shown(&name));
            return Err(SshProblem::HostKeyChanged { remedy });
        }
        Verdict::Revoked => return Err(SshProblem::HostKeyRevoked),
        Verdict::Authority => return Err(SshProblem::HostKeyAuthority { remedy: add }),
    }

    let login = Login {
        session: &wire.session,
        agent: files::agent(settings, &user)?,
        files: files::identity_files(settings, &user)?,
        user: &user,
        only_files: settings.identities_only,
        passphrases: program.passphrases(),
        patience,
    };
    login.run().map_err(|refused| match refused {
        Refused::Keys(said) => SshProblem::LoginRefused {
            address: address.to_owned(),
            said: last_line(said.as_bytes()),
        },
        Refused::Fault(fault) => fault.problem(address),
    })?;
    wire.session.set_keepalive(true, KEEPALIVE);
    Ok(wire)
}

impl Wire {
    /// Whether the other side has not gone away, as far as the socket tells.
    pub(super) fn stands(&self) -> bool {
        if self.is_lost.load(Ordering::SeqCst) {
            return false;
        }
        match &self.stream {
            Stream::Tcp(stream) => match stream.peek(&mut [0]) {
                Ok(length) => length > 0,
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            },
            Stream::Jump(_) => true,
        }
    }
}

/// A stream through the hosts on the way, the last of which connects to the host.
fn by_way_of(
    program: &SshProgram,
    address: &str,
    settings: &Settings,
    depth: usize,
    is_lost: &Arc<AtomicBool>,
) -> Result<UnixStream, SshProblem> {
    let mut jumps = settings.jumps.clone();
    let last = jumps.pop().unwrap_or_default();
    let not_followed = |what: String| SshProblem::NotFollowed {
        what,
        at: address.to_owned(),
    };
    let (next, port) = hop(&last).ok_or_else(|| not_followed(format!("the ProxyJump {last}")))?;
    if depth == LONGEST_WAY {
        return Err(not_followed("a ProxyJump over so many hosts".to_owned()));
    }
    let mut on_the_way = files::settings(program.options(), &next, port, true)?;
    if !jumps.is_empty() {
        on_the_way.jumps = jumps;
    }
    let by_way = |said: String| SshProblem::Unreachable {
        address: address.to_owned(),
        said: format!("by way of {next}: {said}"),
    };
    let wire = open(program, &next, &on_the_way, depth + 1).map_err(|problem| match problem {
        SshProblem::Unreachable { said, .. } => by_way(said),
        problem => problem,
    })?;
    let patience = Patience::of(program.connect_patience());
    let channel = patience
        .call(|| {
            wire.session
                .channel_direct_tcpip(&settings.host_name, settings.port, None)
        })
        .map_err(|fault| match fault.problem(address) {
            SshProblem::Unreachable { said, .. } => by_way(said),
            problem => problem,
        })?;
    jump::lay(wire, channel, Arc::clone(is_lost)).map_err(|error| by_way(error.to_string()))
}

fn connect(
    address: &str,
    settings: &Settings,
    patience: Patience,
) -> Result<TcpStream, SshProblem> {
    let unreachable = |said: String| SshProblem::Unreachable {
        address: address.to_owned(),
        said,
    };
    let places = (settings.host_name.as_str(), settings.port)
        .to_socket_addrs()
        .map_err(|error| unreachable(error.to_string()))?;
    let mut problem = unreachable("its name has no address".to_owned());
    for place in places {
        let left = patience.left();
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&place, left) {
            Ok(stream) => {
                // Small messages go out as they come.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                let patience = patience.whole();
                problem = SshProblem::TimedOut { patience };
            }
            Err(error) => problem = unreachable(format!("{place}: {error}")),
        }
    }
    Err(problem)
}

/// The host key algorithms to offer: those of known keys first, so that a known key is the one that is shown.
fn host_key_methods(known: &[String], settings: &Settings) -> String {
    let wanted = &settings.host_key_algorithms;
    let mut methods: Vec<_> = HOST_KEYS
        .into_iter()
        .filter(|(_, method)| wanted.is_empty() || wanted.iter().any(|name| name == method))
        .collect();
    methods.sort_by_key(|(kind, _)| !known.iter().any(|known| known == kind));
    let methods: Vec<&str> = methods.into_iter().map(|(_, method)| method).collect();
    methods.join(",")
}

/// A word for a shell.
fn shown(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-~+".contains(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
