//! Hosts reached by the system's `ssh`: nothing of ours is installed there, nothing but `sh` and coreutils is needed.
//!
//! The user's SSH configuration, agent, jumps and known hosts count. All calls to a host share one connection, which ends
//! with us. Scripts and data travel on stdin, answers are framed by a nonce. A file is edited here and written whole
//! there: beside the old one, synced, and moved into place only if the old one still is what was read.

pub mod answers;
pub(in crate::fleet) mod call;
mod deployed;
#[cfg(feature = "libssh2")]
mod libssh2;
mod problem;
mod program;
mod proof;
mod proof_script;
mod reply;
mod script;
mod session;
mod system;
mod transport;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use problem::{SshError, SshProblem};
pub use program::SshProgram;

use crate::fleet::directory::{Opened, Root};
use crate::fleet::directory_host::unique;
use crate::fleet::generation::{Claim, beside};
use crate::fleet::{
    Before, Challenge, Delivered, Deployed, FileBefore, Held, Receipt, Target, TargetError,
    TargetKind, Withdrawn,
};
use crate::keys::key_file::KeyFile;
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::ledger::{Generation, Mark};
use crate::repo_path::RepoPath;
use crate::topology::host::{Container, Host, HostTarget, Transport as Way};
use reply::Reply;
use script::Script;
use session::Session;
use system::System;
use transport::Transport;

/// The mode of an identity file: its owner reads it, nobody writes it.
const MODE: u32 = 0o400;
/// What stands for the digest of a file that is not there.
const ABSENT: &str = "absent";

/// Whether this build can reach hosts with `transport = "libssh2"`.
pub const HAS_LIBSSH2: bool = cfg!(feature = "libssh2");

/// A host that is reached by SSH.
#[derive(Debug)]
pub struct SshHost {
    name: String,
    address: String,
    identity_file: String,
    claim: Claim,
    after_ship: Vec<String>,
    /// The container that reads in its place.
    reader: Option<Container>,
    /// Where `cofferdam` stands there, if that is said.
    cofferdam: Option<String>,
    session: Session,
}

/// What a look at the host's file gave.
struct Seen {
    opened: Option<Opened>,
    generation: Option<Mark>,
    /// Folders on the way that are not there, innermost first.
    absent: Vec<String>,
}

impl SshHost {
    /// The target of a host with an SSH address; none for one that is reached otherwise, or by a transport that was not
    /// built in ([`HAS_LIBSSH2`]).
    pub fn of(host: &Host, program: &Arc<SshProgram>) -> Option<Self> {
        let HostTarget::Ssh(address) = &host.target else {
            return None;
        };
        Some(Self {
            name: host.name.clone(),
            address: address.clone(),
            identity_file: host.identity_file.clone(),
            claim: Claim::default(),
            after_ship: host.after_ship.clone(),
            session: Session::new(
                transport(host, address, program)?,
                address,
                &host.identity_file,
                host.reader
                    .as_ref()
                    .map(|container| container.name.as_str()),
            ),
            reader: host.reader.clone(),
            cofferdam: host.cofferdam.clone(),
        })
    }

    fn look(&self) -> Result<Seen, TargetError> {
        let reply = self.run(self.claimed(script::READ), Zeroizing::default())?;
        let head = reply.head();
        let generation = head
            .lines()
            .find_map(|line| line.strip_prefix("generation "))
            .and_then(|mark| mark.parse().ok());
        let absent = head
            .lines()
            .filter_map(|line| line.strip_prefix("absent "))
            .map(str::to_owned)
            .collect();
        let Some(bytes) = reply.parts().next() else {
            return Ok(Seen {
                opened: None,
                generation,
                absent,
            });
        };
        let mode = head
            .lines()
            .find_map(|line| line.strip_prefix("file "))
            .and_then(|meta| meta.split(' ').next())
            .and_then(|mode| u32::from_str_radix(mode, 8).ok())
            .ok_or_else(|| self.nonsense("file"))?;
        let bytes = Zeroizing::new(bytes.to_vec());
        let file = KeyFile::parse(&bytes).map_err(|source| TargetError::KeyFile {
            target: self.name.clone(),
            path: PathBuf::from(&self.identity_file),
            source,
        })?;
        Ok(Seen {
            opened: Some(Opened { bytes, file, mode }),
            generation,
            absent,
        })
    }

    /// A script that knows the generation that was claimed.
    fn claimed(&self, body: &'static str) -> Script {
        let claimed = self.claim.get();
        let of = |part: fn(&Generation) -> String| claimed.as_ref().map(part).unwrap_or_default();
        Script::new(body)
            .set("lineage", &of(|g| g.lineage().to_owned()))
            .set("number", &of(|g| g.mark().number().to_string()))
            .set("raised", &of(|g| g.mark().run().to_owned()))
            .set("tmpmark", &self.temporary_name())
    }

    /// A name beside the file that a sweep finds.
    fn temporary_name(&self) -> String {
        format!(".{}.cofferdam-{}.tmp", self.file_name(), program::random())
    }

    /// Writes the file whole if it still is what was read; then the commands that have to follow.
    fn write(
        &self,
        read: Option<&Opened>,
        text: &str,
        mode: u32,
        raise: bool,
    ) -> Result<(), TargetError> {
        let script = self
            .claimed(script::WRITE)
            .set("raise", if raise { "yes" } else { "" })
            .set("want", &digest_of(read))
            .set("new", &digest(text.as_bytes()))
            .set("mode", &format!("{mode:04o}"))
            .set("mask", &format!("{:04o}", 0o777 & !mode))
            .set("tmpname", &self.temporary_name())
            .set(
                "after",
                if self.after_ship.is_empty() {
                    ""
                } else {
                    "yes"
                },
            );
        self.run(script, Zeroizing::new(text.as_bytes().to_vec()))?;
        self.after()
    }

    fn after(&self) -> Result<(), TargetError> {
        if !self.after_ship.is_empty() {
            let script = Script::new(script::AFTER).list("commands", &self.after_ship);
            self.run(script, Zeroizing::default())?;
        }
        Ok(())
    }

    /// Protocol rule 14: refuses a host that a later generation wrote to.
    fn guard(&self, seen: &Seen) -> Result<(), TargetError> {
        match self.claim.ahead(seen.generation.as_ref()) {
            None => Ok(()),
            Some(found) => Err(TargetError::Ahead {
                target: self.name.clone(),
                found,
                place: format!("{}:{}", self.address, beside(&self.identity_file)),
            }),
        }
    }

    /// Runs a script that must end in `ok`.
    fn run(&self, script: Script, data: Zeroizing<Vec<u8>>) -> Result<Reply, TargetError> {
        let reply = self.ask(script, data)?;
        if reply.word() == "ok" {
            return Ok(reply);
        }
        Err(self.refusal(&reply))
    }

    fn ask(&self, script: Script, data: Zeroizing<Vec<u8>>) -> Result<Reply, TargetError> {
        self.session
            .run(script, data)
            .map_err(|problem| self.problem(problem))
    }

    /// What a script's last word means.
    fn refusal(&self, reply: &Reply) -> TargetError {
        let rest = problem::last_line(reply.rest().as_bytes());
        let two = || {
            let (first, second) = rest.split_once(' ').unwrap_or((&rest, ""));
            (first.to_owned(), second.to_owned())
        };
        self.problem(match reply.word() {
            "changed" => {
                return TargetError::Changed {
                    target: self.name.clone(),
                    path: PathBuf::from(&self.identity_file),
                };
            }
            "ahead" => match rest.parse() {
                Ok(found) => {
                    return TargetError::Ahead {
                        target: self.name.clone(),
                        found,
                        place: format!("{}:{}", self.address, beside(&self.identity_file)),
                    };
                }
                Err(_) => return self.nonsense("ahead"),
            },
            "symlink" => SshProblem::Symlink { path: rest },
            "kind" => SshProblem::WrongKind { path: rest },
            "mangled" => SshProblem::Mangled,
            "loose" => {
                let (mode, path) = two();
                let wanted = if path == self.identity_file {
                    "0400"
                } else {
                    "0700"
                };
                let mode = format!("{mode:0>4}");
                SshProblem::Loose { path, mode, wanted }
            }
            "failed" => {
                let whole = reply.rest();
                let (doing, said) = whole.split_once(": ").unwrap_or((whole, ""));
                SshProblem::Failed {
                    doing: problem::last_line(doing.as_bytes()),
                    said: problem::last_line(said.as_bytes()),
                }
            }
            "command" => {
                let (status, command) = two();
                SshProblem::AfterShip { command, status }
            }
            "mounted" => {
                let (containers, at) = rest.split_once(';').unwrap_or(("", &rest));
                SshProblem::StaleMount {
                    path: self.identity_file.clone(),
                    at: at.trim_end().to_owned(),
                    containers: containers.split_whitespace().map(str::to_owned).collect(),
                    reader: self.reader.as_ref().map(|reader| reader.name.clone()),
                }
            }
            "reader" => return self.no_reader(&rest),
            word => return self.nonsense(word),
        })
    }

    /// Why the container that reads in the host's place cannot be asked.
    fn no_reader(&self, why: &str) -> TargetError {
        let container = self.reader.as_ref().map(|reader| reader.name.clone());
        let container = container.unwrap_or_default();
        let (word, said) = why.split_once(' ').unwrap_or((why, ""));
        self.problem(match word {
            "none" => SshProblem::NoDocker { container },
            "refused" => SshProblem::NoContainer {
                container,
                said: problem::last_line(said.as_bytes()),
            },
            "stopped" => SshProblem::ContainerStopped { container },
            "unmounted" => SshProblem::NotMounted {
                container,
                path: self.identity_file.clone(),
            },
            "closed" => SshProblem::ContainerClosed { container },
            word => return self.nonsense(word),
        })
    }

    fn nonsense(&self, word: &str) -> TargetError {
        let word = problem::last_line(word.as_bytes());
        self.problem(SshProblem::Nonsense { word })
    }

    fn problem(&self, source: SshProblem) -> TargetError {
        TargetError::Ssh(SshError {
            host: self.name.clone(),
            address: self.address.clone(),
            source,
        })
    }

    fn file_name(&self) -> &str {
        let path = &self.identity_file;
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// The path as undo's notes have it.
    fn relative(&self) -> &str {
        self.identity_file.trim_start_matches('/')
    }
}

impl Target for SshHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Host
    }

    fn place(&self) -> String {
        format!("{}:{}", self.address, self.identity_file)
    }

    fn read(&self) -> Result<Held, TargetError> {
        let seen = self.look()?;
        let mut before = Before {
            files: BTreeMap::new(),
            absent_folders: seen
                .absent
                .iter()
                .rev()
                .map(|folder| folder.trim_start_matches('/').to_owned())
                .collect(),
            generation: seen.generation,
        };
        let (mut identities, mut recipients) = (Vec::new(), Vec::new());
        if let Some(opened) = &seen.opened {
            let note = FileBefore {
                mode: opened.mode,
                final_newline: opened.bytes.last().is_none_or(|&byte| byte == b'\n'),
            };
            before.files.insert(self.relative().to_owned(), note);
            identities = opened.file.identities();
            recipients = opened.file.recipients();
        }
        Ok(Held {
            identities: IdentitySet::new(identities),
            recipients: unique(recipients),
            // What others can read is refused, so there is nothing to warn of.
            permissions: Vec::new(),
            ahead: self.claim.ahead(before.generation.as_ref()),
            before,
        })
    }

    fn host_key(&self) -> Option<String> {
        self.session.host_key()
    }

    fn claim(&self, generation: &Generation) {
        self.claim.set(generation);
    }

    fn deliver(&self, id: &str, identity: &Identity) -> Result<Delivered, TargetError> {
        let seen = self.look()?;
        self.guard(&seen)?;
        let opened = seen.opened.as_ref();
        let is_there = opened.is_some_and(|opened| {
            let recipient = identity.recipient_ref();
            recipient.is_some_and(|recipient| opened.file.holds(recipient))
        });
        if is_there && opened.is_some_and(|opened| opened.mode == MODE) {
            return Ok(Delivered::AlreadyThere);
        }
        let empty = KeyFile::empty();
        let file = opened.map_or(&empty, |opened| &opened.file);
        let text = file.with_identity(&[&format!("cofferdam: {id}")], identity);
        self.write(opened, text.expose(), MODE, true)?;
        Ok(if is_there {
            Delivered::AlreadyThere
        } else {
            Delivered::Placed
        })
    }

    fn prove(&self, challenge: &Challenge) -> Result<Receipt, TargetError> {
        let mut receipts = self.answer(std::slice::from_ref(challenge))?;
        receipts.pop().ok_or_else(|| self.nonsense("no receipt"))
    }

    fn prove_all(&self, challenges: &[Challenge]) -> Result<Vec<Receipt>, TargetError> {
        self.answer(challenges)
    }

    fn withdraw(
        &self,
        recipient: &Recipient,
        before: Option<&Before>,
    ) -> Result<Withdrawn, TargetError> {
        let file_before = before.and_then(|before| before.files.get(self.relative()).copied());
        let mut outcome = Withdrawn::WasAbsent;
        let seen = self.look()?;
        self.guard(&seen)?;
        if let Some(opened) = seen.opened {
            let holds = opened.file.holds(recipient);
            let text = if holds {
                outcome = Withdrawn::Removed;
                Root::text_without(&opened, recipient, file_before)
            } else {
                Zeroizing::new(opened.file.text().expose().clone())
            };
            let made_by_us = before.is_some() && file_before.is_none();
            // An earlier, killed undo may have got as far as the text.
            let mode = file_before.map_or(if holds { MODE } else { opened.mode }, |b| b.mode);
            if made_by_us && text.trim().is_empty() {
                let script = self
                    .claimed(script::REMOVE)
                    .set("want", &digest_of(Some(&opened)));
                self.run(script, Zeroizing::default())?;
                self.after()?;
            } else if holds || mode != opened.mode {
                self.write(Some(&opened), &text, mode, holds && before.is_none())?;
            }
        }
        if let Some(before) = before
            && seen.generation != before.generation
        {
            let first = before.generation.as_ref().map(Mark::to_string);
            let script = self
                .claimed(script::LOWER)
                .set("first", &first.unwrap_or_default());
            self.run(script, Zeroizing::default())?;
        }
        let folders: Vec<String> = before
            .iter()
            .flat_map(|before| before.absent_folders.iter().rev())
            .map(|folder| format!("/{folder}"))
            .collect();
        if !folders.is_empty() {
            let script = Script::new(script::REMOVE_FOLDERS).list("folders", &folders);
            self.run(script, Zeroizing::default())?;
        }
        Ok(outcome)
    }

    fn deployed(
        &self,
        globs: &[String],
        documents: &[RepoPath],
    ) -> Result<Vec<Deployed>, TargetError> {
        self.digests(globs, documents)
    }

    fn sweep(&self) -> Result<Vec<String>, TargetError> {
        let reply = self.run(Script::new(script::SWEEP), Zeroizing::default())?;
        Ok(reply
            .head()
            .lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

fn transport(host: &Host, address: &str, program: &Arc<SshProgram>) -> Option<Box<dyn Transport>> {
    let program = Arc::clone(program);
    match host.transport {
        None | Some(Way::Openssh) => Some(Box::new(System::new(program, address))),
        #[cfg(feature = "libssh2")]
        Some(Way::Libssh2) => Some(Box::new(libssh2::Libssh2::new(program, address))),
        #[cfg(not(feature = "libssh2"))]
        Some(Way::Libssh2) => None,
    }
}

fn digest_of(opened: Option<&Opened>) -> String {
    opened.map_or_else(|| ABSENT.to_owned(), |opened| digest(&opened.bytes))
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}
