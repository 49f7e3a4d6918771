//! One host with a real `sshd`, its key file, and what tests ask of it.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail where it stands, and uses what it needs"
)]

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cofferdam::fleet::challenge::Challenge;
use cofferdam::fleet::{Receipt, SshHost, SshProgram, Target, TargetError};
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keys::{Identity, Recipient};
use cofferdam::topology::{Host, HostTarget, Transport};

use super::ground::Ground;
use super::sshd::{Fleet, Manners};
use super::{Ran, Sandbox};

/// One host, its key file, and the servers behind it.
pub struct Bench {
    pub sandbox: Sandbox,
    pub fleet: Fleet,
}

impl Bench {
    pub fn new(name: &str, manners: &Manners) -> Self {
        let sandbox = Sandbox::new();
        let mut fleet = Fleet::new(sandbox.path());
        fleet.add(name, manners);
        std::fs::create_dir(sandbox.path().join("etc")).unwrap();
        let bench = Self { sandbox, fleet };
        chmod(&bench.folder(), 0o700);
        bench
    }

    pub fn folder(&self) -> PathBuf {
        self.sandbox.path().join("etc")
    }

    pub fn file(&self) -> PathBuf {
        self.folder().join("keys.txt")
    }

    pub fn put(&self, text: &str, mode: u32) {
        std::fs::write(self.file(), text).unwrap();
        chmod(&self.file(), mode);
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    pub fn target(&self, name: &str) -> SshHost {
        self.target_at(name, &self.file(), &[])
    }

    pub fn target_at(&self, name: &str, file: &Path, after_ship: &[&str]) -> SshHost {
        let program = SshProgram::new(self.fleet.words())
            .with_patience(Duration::from_secs(20), Duration::from_secs(60));
        host(name, file, after_ship, program)
    }
}

/// The transport under test: binaries that are named for the library test it, the same tests in others the `ssh` program.
pub fn transport() -> Option<Transport> {
    env!("CARGO_CRATE_NAME")
        .ends_with("libssh2")
        .then_some(Transport::Libssh2)
}

/// The line of `cofferdam.toml` that asks for it.
pub fn transport_line() -> &'static str {
    match transport() {
        Some(_) => "transport = \"libssh2\"\n",
        None => "",
    }
}

pub fn host(name: &str, file: &Path, after_ship: &[&str], program: SshProgram) -> SshHost {
    let host = Host {
        adopt: None,
        name: name.to_owned(),
        zone: "lan".to_owned(),
        target: HostTarget::Ssh(name.to_owned()),
        identity_file: file.to_str().unwrap().to_owned(),
        transport: transport(),
        clones: Vec::new(),
        after_ship: after_ship.iter().map(|&c| c.to_owned()).collect(),
        reader: None,
        cofferdam: None,
    };
    SshHost::of(&host, &Arc::new(program)).unwrap()
}

pub fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

pub fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

pub fn text_of(identity: &Identity) -> String {
    KeyFile::empty()
        .with_identity(&[], identity)
        .expose()
        .clone()
}

pub fn prove(target: &SshHost, recipient: &Recipient) -> Receipt {
    let challenge = Challenge::new(target.name(), "run-1", recipient).unwrap();
    target.prove(&challenge).unwrap()
}

/// An error and its causes.
pub fn told(error: &TargetError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A folder with every applet of busybox and nothing else, for PATH; none where there is no busybox.
pub fn busybox() -> Option<(Sandbox, String)> {
    let sandbox = Sandbox::new();
    let mut which = sandbox.command("sh", sandbox.path());
    let found = Ran::of(which.args(["-c", "command -v busybox"])).stdout;
    if found.is_empty() {
        println!("skipped: not on PATH: busybox");
        return None;
    }
    let bin = sandbox.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let busybox = found.trim_end();
    let applets = Ran::of(sandbox.command(busybox, sandbox.path()).arg("--list")).stdout;
    for applet in applets.lines() {
        symlink(busybox, bin.join(applet)).unwrap();
    }
    let bin = bin.to_str().unwrap().to_owned();
    Some((sandbox, bin))
}

/// Makes a directory host of a repository a host by SSH with the same file; `more` are further lines of its section.
pub fn by_ssh(ground: &Ground<'_>, name: &str, more: &str) {
    let file = ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let before = format!("local = \"../targets/{name}\"\n");
    assert_eq!(text.matches(&before).count(), 1, "{text}");
    let identity_file = ground.host_file(name);
    let after = format!(
        "ssh = \"{name}\"\n{}identity_file = \"{}\"\n{more}",
        transport_line(),
        identity_file.display()
    );
    std::fs::write(&file, text.replace(&before, &after)).unwrap();
    chmod(identity_file.parent().unwrap(), 0o700);
    chmod(&identity_file, 0o400);
}
