//! Real `sshd`s on loopback ports, each with its own host key, home folder and way to answer, and a client configuration
//! that knows them strictly. Every server is our own child and ends with the value.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The server: it insists on being started by its absolute path.
const SSHD: &str = "/usr/sbin/sshd";

/// How a host behaves.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// Runs in the shell in place of what is asked, which is `$SSH_ORIGINAL_COMMAND`.
    pub forced: Option<String>,
    /// The host that it is behind.
    pub jump: Option<String>,
    /// PATH there; none: sshd's own.
    pub path: Option<String>,
    /// The client's list holds another key for it.
    pub key_is_wrong: bool,
    /// The client's list does not hold its key.
    pub key_is_unknown: bool,
    /// The host whose host key it has, too.
    pub key_of: Option<String>,
    /// Nobody listens.
    pub is_dead: bool,
}

/// The servers and their client configuration.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    servers: Vec<Child>,
}

/// Whether real servers can be started; says what is missing, or fails where that is asked for.
#[must_use]
pub fn have_sshd() -> bool {
    let missing = if !Path::new(SSHD).is_file() {
        Some("no /usr/sbin/sshd (openssh-server)")
    } else if !super::have_peers(&["ssh", "ssh-keygen"]) {
        return false;
    } else if run(Command::new("id").arg("-u")).trim() != "0" {
        Some("real sshds are started as root only")
    } else {
        None
    };
    let Some(missing) = missing else {
        return true;
    };
    let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|v| v == "1");
    assert!(!required, "{missing}");
    println!("skipped: {missing}");
    false
}

impl Fleet {
    /// A fleet below `folder`, without hosts.
    pub fn new(folder: &Path) -> Self {
        let folder = folder.join("ssh");
        std::fs::create_dir(&folder).unwrap();
        // Privilege separation wants it; packages make it at boot.
        std::fs::create_dir_all("/run/sshd").unwrap();
        keygen(&folder.join("client"));
        keygen(&folder.join("other"));
        std::fs::write(folder.join("config"), "").unwrap();
        std::fs::write(folder.join("known_hosts"), "").unwrap();
        // What is in argv is written down, for tests that look for secrets there.
        let wrapper = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{0}/argv'\nexec ssh \"$@\"\n",
            folder.display()
        );
        write(&folder.join("ssh"), &wrapper, 0o755);
        Self {
            folder,
            servers: Vec::new(),
        }
    }

    /// Starts a host; `ssh NAME` reaches it.
    pub fn add(&mut self, name: &str, manners: &Manners) {
        let folder = self.folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(folder.join("home")).unwrap();
        match &manners.key_of {
            None => keygen(&folder.join("hostkey")),
            Some(other) => {
                for name in ["hostkey", "hostkey.pub"] {
                    std::fs::copy(self.folder.join(other).join(name), folder.join(name)).unwrap();
                }
            }
        }
        let port = free_port();
        let home = folder.join("home");
        let path = manners.path.as_ref().map(|path| format!(" PATH={path}"));
        let forced = manners.forced.as_ref().map(|text| {
            write(
                &folder.join("forced"),
                &format!("#!/bin/sh\n{text}\n"),
                0o755,
            );
            format!("ForceCommand {}/forced\n", folder.display())
        });
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/hostkey\nPidFile {0}/pid\n\
             AuthorizedKeysFile {1}/client.pub\nStrictModes no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\nMaxStartups 100\n\
             SetEnv HOME={2}{3}\n{4}",
            folder.display(),
            self.folder.display(),
            home.display(),
            path.unwrap_or_default(),
            forced.unwrap_or_default(),
        );
        write(&folder.join("sshd_config"), &config, 0o600);
        let key_file = if manners.key_is_wrong {
            "other"
        } else {
            "hostkey"
        };
        let key_folder = if manners.key_is_wrong {
            &self.folder
        } else {
            &folder
        };
        let key = std::fs::read_to_string(key_folder.join(format!("{key_file}.pub"))).unwrap();
        if !manners.key_is_unknown {
            append(
                &self.folder.join("known_hosts"),
                &format!("[127.0.0.1]:{port} {key}"),
            );
        }
        append(
            &self.folder.join("config"),
            &format!(
                "Host {name}\n HostName 127.0.0.1\n Port {port}\n User root\n IdentityFile {0}/client\n IdentitiesOnly yes\n \
                 UserKnownHostsFile {0}/known_hosts\n GlobalKnownHostsFile /dev/null\n HostKeyAlgorithms ssh-ed25519\n{1}",
                self.folder.display(),
                manners
                    .jump
                    .as_ref()
                    .map(|jump| format!(" ProxyJump {jump}\n"))
                    .unwrap_or_default()
            ),
        );
        if manners.is_dead {
            return;
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(folder.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.servers.push(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !greets(port) {
            assert!(Instant::now() < deadline, "sshd of {name} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A host's folder: `home` is its HOME.
    pub fn host(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What `COFFERDAM_SSH` is to name: the program, and the configuration for a transport that runs no program.
    pub fn program(&self) -> String {
        self.words().join(" ")
    }

    /// The same as words.
    pub fn words(&self) -> Vec<String> {
        let path = |name| self.folder.join(name).display().to_string();
        vec![path("ssh"), "-F".to_owned(), path("config")]
    }

    /// All arguments that the program was ever given.
    pub fn argv(&self) -> String {
        std::fs::read_to_string(self.folder.join("argv")).unwrap_or_default()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn keygen(path: &Path) {
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path));
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut greeting = [0u8; 4];
    stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-"
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn write(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
