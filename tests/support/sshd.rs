//! Real `sshd`s on loopback ports, each with its own host key, home folder and way to answer, and a client configuration
//! that knows them strictly. Every server is our own child and ends with the value.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::machine::Machine;
use super::proxy::Proxy;

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
    /// It is a machine of its own: an address, a disk, and the account `ops` beside root's.
    pub is_machine: bool,
    /// The connection to it can be cut.
    pub can_be_cut: bool,
}

/// The servers and their client configuration.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    hosts: BTreeMap<String, Server>,
}

/// One host's server.
#[derive(Debug)]
struct Server {
    address: Ipv4Addr,
    port: u16,
    /// None for one that is dead.
    child: Option<Child>,
    machine: Option<Machine>,
    proxy: Option<Proxy>,
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
            hosts: BTreeMap::new(),
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
        let machine = manners
            .is_machine
            .then(|| Machine::new(&folder.join("disk")));
        let number = u8::try_from(self.hosts.len() + 1).unwrap();
        let address = match &machine {
            Some(_) => Ipv4Addr::new(127, 0, 9, number),
            None => Ipv4Addr::LOCALHOST,
        };
        let port = free_port(address);
        // Where the server finds its own files.
        let seen = match &machine {
            Some(machine) => {
                for name in ["hostkey", "hostkey.pub"] {
                    let file = machine.disk.join("etc/sshd").join(name);
                    std::fs::copy(folder.join(name), file).unwrap();
                }
                std::fs::copy(
                    self.folder.join("client.pub"),
                    machine.disk.join("etc/sshd/client.pub"),
                )
                .unwrap();
                machine.path("/etc/sshd")
            }
            None => {
                std::fs::copy(self.folder.join("client.pub"), folder.join("client.pub")).unwrap();
                folder.display().to_string()
            }
        };
        let files = match &machine {
            Some(machine) => machine.disk.join("etc/sshd"),
            None => folder.clone(),
        };
        let home = match &machine {
            // The accounts say where their homes are.
            Some(machine) if machine.is_real => None,
            Some(machine) => Some(machine.path("/root")),
            None => Some(folder.join("home").display().to_string()),
        };
        let path = manners.path.clone().or_else(|| {
            let machine = machine.as_ref().filter(|machine| !machine.is_real)?;
            Some(machine.stand_in_path())
        });
        let set: Vec<String> = [("HOME", home), ("PATH", path)]
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
            .collect();
        let set = match set.as_slice() {
            [] => String::new(),
            set => format!("SetEnv {}\n", set.join(" ")),
        };
        let forced = manners.forced.as_ref().map(|text| {
            write(
                &files.join("forced"),
                &format!("#!/bin/sh\n{text}\n"),
                0o755,
            );
            format!("ForceCommand {seen}/forced\n")
        });
        let config = format!(
            "Port {port}\nListenAddress {address}\nHostKey {seen}/hostkey\nPidFile {0}\n\
             AuthorizedKeysFile {seen}/client.pub\nStrictModes no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\nMaxStartups 100\n{set}{1}",
            match &machine {
                Some(_) => "none".to_owned(),
                None => format!("{seen}/pid"),
            },
            forced.unwrap_or_default(),
        );
        write(&files.join("sshd_config"), &config, 0o600);
        let proxy = manners
            .can_be_cut
            .then(|| Proxy::new((address, port), Duration::ZERO));
        let (shown, shown_port) = match &proxy {
            Some(proxy) => (Ipv4Addr::LOCALHOST, proxy.port),
            None => (address, port),
        };
        if !manners.key_is_unknown {
            let key = match manners.key_is_wrong {
                true => self.folder.join("other.pub"),
                false => folder.join("hostkey.pub"),
            };
            let key = std::fs::read_to_string(key).unwrap();
            append(
                &self.folder.join("known_hosts"),
                &format!("[{shown}]:{shown_port} {key}"),
            );
        }
        // An address may name another user than root.
        append(
            &self.folder.join("config"),
            &format!(
                "Host {name}\n HostName {shown}\n Port {shown_port}\n IdentityFile {0}/client\n IdentitiesOnly yes\n \
                 UserKnownHostsFile {0}/known_hosts\n GlobalKnownHostsFile /dev/null\n HostKeyAlgorithms ssh-ed25519\n{1} User root\n",
                self.folder.display(),
                manners
                    .jump
                    .as_ref()
                    .map(|jump| format!(" ProxyJump {jump}\n"))
                    .unwrap_or_default()
            ),
        );
        let server = Server {
            address,
            port,
            child: None,
            machine,
            proxy,
        };
        self.hosts.insert(name.to_owned(), server);
        if !manners.is_dead {
            self.start(name);
        }
    }

    /// Starts the server of a host that is dead.
    pub fn start(&mut self, name: &str) {
        let folder = self.host(name);
        let server = self.hosts.get_mut(name).unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let mut command = match &server.machine {
            Some(machine) => machine.command(SSHD),
            None => Command::new(SSHD),
        };
        let config = match &server.machine {
            Some(machine) => machine.path("/etc/sshd/sshd_config"),
            None => folder.join("sshd_config").display().to_string(),
        };
        let child = command
            .args(["-D", "-e", "-f", &config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        server.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !greets(server.address, server.port) {
            assert!(Instant::now() < deadline, "sshd of {name} does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills a host's server and all its connections.
    pub fn kill(&mut self, name: &str) {
        let server = self.hosts.get_mut(name).unwrap();
        if let Some(mut child) = server.child.take() {
            // Stopped first, so that it makes no more children.
            signal(child.id(), Signal::STOP);
            kill_below(child.id());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Kills the processes that serve connections to a host; how many there were.
    pub fn kill_sessions(&self, name: &str) -> usize {
        self.hosts[name]
            .child
            .as_ref()
            .map_or(0, |child| kill_below(child.id()))
    }

    /// Cuts the connections to a host; whether there were any.
    pub fn cut(&self, name: &str) -> bool {
        let proxy = self.hosts[name].proxy.as_ref();
        proxy.is_some_and(|proxy| proxy.cut() > 0)
    }

    /// A login of a machine of its own that needs sudo to write where root does.
    pub fn login_without_rights(&self, name: &str) -> &'static str {
        let machine = self.hosts[name].machine.as_ref().unwrap();
        machine.login_without_rights()
    }

    /// A path of a machine of its own as `cofferdam.toml` has it.
    pub fn path(&self, name: &str, path: &str) -> String {
        self.hosts[name].machine.as_ref().unwrap().path(path)
    }

    /// The same as it lies on this disk.
    pub fn disk(&self, name: &str, path: &str) -> PathBuf {
        let machine = self.hosts[name].machine.as_ref().unwrap();
        machine.disk.join(path.trim_start_matches('/'))
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
        let names: Vec<String> = self.hosts.keys().cloned().collect();
        for name in names {
            self.kill(&name);
        }
    }
}

/// Kills all descendants of a process; how many there were.
fn kill_below(pid: u32) -> usize {
    let below = children(pid);
    let more: usize = below.iter().map(|&child| kill_below(child)).sum();
    for &child in &below {
        signal(child, Signal::KILL);
    }
    below.len() + more
}

/// The processes that a process has begun.
///
/// Source: proc_pid_stat(5): the parent is the second word behind the name, which ends with the last parenthesis.
pub fn children(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if let (Some(parent), Ok(child)) = (parent, entry.file_name().to_string_lossy().parse())
            && parent == pid
        {
            children.push(child);
        }
    }
    children
}

/// Sends a signal to a process of ours; that it has ended already is no matter.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
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

fn greets(address: Ipv4Addr, port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((address, port)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut greeting = [0u8; 4];
    stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-"
}

fn free_port(address: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
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
