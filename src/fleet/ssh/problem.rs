//! What can go wrong on the way to a host, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

/// A host that did not do what it was asked by SSH.
#[derive(Debug, thiserror::Error)]
#[error("{host} ({address})")]
pub struct SshError {
    /// The host's name in the topology.
    pub host: String,
    /// As in `cofferdam.toml`.
    pub address: String,
    /// What is wrong.
    pub source: SshProblem,
}

impl SshError {
    /// Whether the host did not answer at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self.source,
            SshProblem::Unreachable { .. } | SshProblem::TimedOut { .. }
        )
    }
}

/// What is wrong; each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SshProblem {
    /// The program is not there.
    #[error("cannot start {program} (install an SSH client, or name one in COFFERDAM_SSH)")]
    NoProgram {
        /// Its name.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No place for control sockets.
    #[error("cannot make a private folder for SSH's control sockets in {folder}")]
    NoRuntimeFolder {
        /// Where it was to be.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The host's key stands in no list.
    #[error("its SSH host key is not known; compare it with the host's own, then: {remedy}")]
    HostKeyUnknown {
        /// A command that adds the line.
        remedy: String,
    },
    /// The host shows another key than before.
    #[error(
        "its SSH host key has changed: somebody may stand in between; if the host was set up anew: {remedy}"
    )]
    HostKeyChanged {
        /// Commands that replace the line.
        remedy: String,
    },
    /// The host's key is not to be believed any more.
    #[error(
        "its SSH host key is marked as revoked in the list of known hosts: whoever shows it is not that host"
    )]
    HostKeyRevoked,
    /// The host would have to show a certificate.
    #[error(
        "its SSH host key is vouched for by an authority only (@cert-authority), which transport = \"libssh2\" cannot check; leave `transport` out for it, or compare the key with the host's own, then: {remedy}"
    )]
    HostKeyAuthority {
        /// A command that adds the line.
        remedy: String,
    },
    /// The SSH configuration asks for more than the library's transport does.
    #[error(
        "{at}: transport = \"libssh2\" cannot follow {what} (leave `transport` out for this host, so that the ssh program reaches it)"
    )]
    NotFollowed {
        /// The keyword, option or file.
        what: String,
        /// Where it stands.
        at: String,
    },
    /// No key opens the login.
    #[error("the login was refused: {said} (ssh-add your key, and try: ssh {address} true)")]
    LoginRefused {
        /// The address.
        address: String,
        /// The last line that ssh said.
        said: String,
    },
    /// No connection, or it broke off.
    #[error("it cannot be reached: {said} (try: ssh {address} true)")]
    Unreachable {
        /// The address.
        address: String,
        /// The last line that ssh said.
        said: String,
    },
    /// It took too long.
    #[error("no answer within {} seconds; the call was ended, and repeating it is safe", .patience.as_secs())]
    TimedOut {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The login works but does not run commands.
    #[error("its login runs no commands: {said} (it needs a shell: any that runs `sh`)")]
    NoShell {
        /// The last line it said.
        said: String,
    },
    /// The login is not root's, and cannot become root.
    #[error(
        "the login has not the rights that this takes, and sudo is refused: {said} (log in as root, or allow `sudo -n` there)"
    )]
    NoSudo {
        /// What sudo said.
        said: String,
    },
    /// A file or folder is a symbolic link.
    #[error(
        "{path} is a symbolic link (put the file itself there, or name where it leads as identity_file)"
    )]
    Symlink {
        /// The link.
        path: String,
    },
    /// A file or folder that others can read.
    #[error("{path} is open to others, mode {mode} (on the host: chmod {wanted} '{path}')")]
    Loose {
        /// The file or folder.
        path: String,
        /// Its permission bits, octal.
        mode: String,
        /// What they should be.
        wanted: &'static str,
    },
    /// Neither a file nor absent, or a folder that is none.
    #[error("{path} is neither a plain file nor a folder (move it away)")]
    WrongKind {
        /// What stands there.
        path: String,
    },
    /// A step failed: a full disk, a read-only file system, a missing right.
    #[error("cannot {doing}: {said}{}", advice(.said))]
    Failed {
        /// What was tried.
        doing: String,
        /// What the host said.
        said: String,
    },
    /// The bytes that arrived are not those that were sent; nothing was put in place.
    #[error("what arrived is not what was sent; nothing was changed (try again)")]
    Mangled,
    /// A command of `after_ship` failed.
    #[error(
        "the after_ship command `{command}` ended with {status}; it is run again before the next proof"
    )]
    AfterShip {
        /// As in `cofferdam.toml`.
        command: String,
        /// Its exit code.
        status: String,
    },
    /// A container has the file's predecessor mounted.
    #[error("{} still has the previous {path} mounted, at {at} ({})", holders(.containers), unmounting(.containers, .reader.as_deref()))]
    StaleMount {
        /// The identity file.
        path: String,
        /// Mount points, as seen inside.
        at: String,
        /// The containers that were found to be at it; none if nobody could say.
        containers: Vec<String>,
        /// The container that is declared as the reader.
        reader: Option<String>,
    },
    /// The declared container cannot be asked for: there is no docker.
    #[error(
        "its reader is the container {container}, and its login has no `docker` on its PATH (install it, or correct `reader`)"
    )]
    NoDocker {
        /// The container.
        container: String,
    },
    /// Docker does not tell of the declared container.
    #[error("its reader is the container {container}, of which docker says: {said}{}", docker_advice(.said))]
    NoContainer {
        /// The container.
        container: String,
        /// What docker said last.
        said: String,
    },
    /// The declared container is there and does not run.
    #[error(
        "its reader is the container {container}, which is not running (on the host: docker start {container})"
    )]
    ContainerStopped {
        /// The container.
        container: String,
    },
    /// The declared container has the file nowhere.
    #[error(
        "its reader is the container {container}, which does not mount {path} (say where it is inside: reader = \"docker:{container}:/path\")"
    )]
    NotMounted {
        /// The container.
        container: String,
        /// The identity file.
        path: String,
    },
    /// The declared container's files cannot be looked at.
    #[error(
        "its reader is the container {container}, whose files the login may not look at (log in as root, or allow `sudo -n` there)"
    )]
    ContainerClosed {
        /// The container.
        container: String,
    },
    /// The answer is not what the script prints.
    #[error("its answer makes no sense: {word}")]
    Nonsense {
        /// Its first word.
        word: String,
    },
    /// The challenge could not be made.
    #[error("the challenge could not be written as a document for sops")]
    Challenge(#[from] crate::sops::document::DocumentError),
}

fn holders(containers: &[String]) -> String {
    match containers {
        [] => "something there".to_owned(),
        [one] => format!("the container {one}"),
        several => format!("the containers {}", several.join(" and ")),
    }
}

/// What to do about a mount of the previous file.
fn unmounting(containers: &[String], reader: Option<&str>) -> String {
    let restart = match containers {
        [] => "restart that container, or do so in after_ship".to_owned(),
        names => {
            let commands: Vec<String> = names
                .iter()
                .map(|name| format!("\"docker restart {name}\""))
                .collect();
            format!("after_ship = [{}] restarts it", commands.join(", "))
        }
    };
    let declare = match (containers, reader) {
        (_, Some(_)) => String::new(),
        ([one], None) => format!("; reader = \"docker:{one}\" has it proven inside, too"),
        _ => "; reader = \"docker:NAME\" has it proven inside, too".to_owned(),
    };
    format!("{restart}{declare}; or mount the folder instead of the file")
}

fn docker_advice(said: &str) -> &'static str {
    if said.contains("permission denied") {
        " (log in as root, or allow `sudo -n` there)"
    } else if said.contains("No such") {
        " (docker ps --all lists them; correct `reader`)"
    } else if said.contains("Cannot connect") {
        " (start the daemon there)"
    } else {
        ""
    }
}

fn advice(said: &str) -> &'static str {
    if said.contains("Read-only file system") {
        " (mount it writable there)"
    } else if said.contains("No space left") || said.contains("quota") {
        " (make room there; the file is as it was)"
    } else if said.contains("Permission denied") || said.contains("not permitted") {
        " (log in as root, or allow `sudo -n` there)"
    } else {
        ""
    }
}

/// What the ssh program means by its last words; `remedy` gives the commands for a host key, `[changed]`.
pub(super) fn classify(
    address: &str,
    errors: &[u8],
    remedy: impl FnOnce(bool) -> String,
) -> SshProblem {
    let text = String::from_utf8_lossy(errors);
    let address = address.to_owned();
    let said = last_line(errors);
    if text.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") || text.contains("Offending ") {
        return SshProblem::HostKeyChanged {
            remedy: remedy(true),
        };
    }
    if text.contains("host key is known for") || text.contains("Host key verification failed") {
        return SshProblem::HostKeyUnknown {
            remedy: remedy(false),
        };
    }
    if text.contains("Permission denied (")
        || text.contains("Too many authentication failures")
        || text.contains("No more authentication methods")
    {
        return SshProblem::LoginRefused { address, said };
    }
    SshProblem::Unreachable { address, said }
}

/// The last line that says something, fit for a terminal.
pub(super) fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with("mux_client"))
        .unwrap_or("it said nothing");
    line.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_told_apart() {
        let of = |text: &str| classify("root@a", text.as_bytes(), |c| format!("changed {c}"));
        let unknown = "No ED25519 host key is known for a and you have requested strict checking.\r\nHost key verification failed.\r\n";
        assert!(
            matches!(of(unknown), SshProblem::HostKeyUnknown { remedy } if remedy.ends_with("false"))
        );
        let changed = "@  WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @\nOffending ED25519 key in /k:1\nHost key verification failed.\n";
        assert!(
            matches!(of(changed), SshProblem::HostKeyChanged { remedy } if remedy.ends_with("true"))
        );
        assert!(matches!(
            of("root@a: Permission denied (publickey)."),
            SshProblem::LoginRefused { .. }
        ));
        let refused = "ssh: connect to host a port 22: Connection refused\r\n\r\n";
        let problem = of(refused).to_string();
        assert!(
            problem.contains("Connection refused (try: ssh root@a true)"),
            "{problem}"
        );
        assert_eq!(last_line(b"\x1b[31mx\n"), " [31mx");
    }
}
