//! Times `cofferdam ship` to a fleet of real `sshd`s on loopback with slow lines, against its slowest host alone.
//!
//! Run: `cargo build --release && cargo run --release --example ship_fleet [HOSTS [MILLISECONDS]]`; 50 hosts and round trips of 100 ms
//! if nothing is said. Needs OpenSSH and root. All servers are its own children and share this machine's cores with their client,
//! which a real fleet does not: so the keys are exchanged by curve25519 (OpenSSH's own choice, sntrup761, takes 0.1 s of processor time
//! a login at either end), and it is printed what as many bare logins take.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "edge: a program that measures programs"
)]

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam::keys::{Identity, Recipient};
use cofferdam::sops::{EmitOptions, EncryptOptions, Selection, Store, encrypt};
use secrecy::ExposeSecret;

#[path = "../tests/support/proxy.rs"]
mod proxy;
use proxy::Proxy;

/// How many hosts are timed alone; the slowest counts.
const ALONE: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let hosts: usize = args.next().map_or(Ok(50), |n| n.parse())?;
    let round_trip = Duration::from_millis(args.next().map_or(Ok(100), |n| n.parse())?);
    let fleet = Fleet::new(hosts, round_trip)?;
    let names: Vec<&str> = fleet.names.iter().map(String::as_str).collect();
    // What is read for the first time is no measure.
    fleet.ship(&names[..1])?;
    let mut alone = Duration::ZERO;
    for name in names.iter().rev().take(ALONE) {
        alone = alone.max(fleet.ship(&[name])?.0);
    }
    let (all, processor) = fleet.ship(&names)?;
    println!(
        "round trips of {} ms; {} cores",
        round_trip.as_millis(),
        std::thread::available_parallelism()?
    );
    println!(
        "slowest of {ALONE} hosts alone: {:.2} s",
        alone.as_secs_f64()
    );
    println!(
        "{hosts} hosts: {:.2} s; cofferdam and its ssh took {:.2} s of processor time of it",
        all.as_secs_f64(),
        processor.as_secs_f64()
    );
    println!("ratio: {:.2}", all.as_secs_f64() / alone.as_secs_f64());
    let bare = fleet.log_in_to_all()?;
    println!(
        "as many bare logins at once, `ssh HOST true`: {:.2} s",
        bare.as_secs_f64()
    );
    Ok(())
}

/// Servers, the lines to them, and a repository whose readers they are.
struct Fleet {
    names: Vec<String>,
    servers: Vec<Child>,
    lines: Vec<Proxy>,
    folder: tempfile::TempDir,
}

impl Fleet {
    fn new(hosts: usize, round_trip: Duration) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut fleet = Self {
            names: (1..=hosts).map(|n| format!("h{n:03}")).collect(),
            servers: Vec::new(),
            lines: Vec::new(),
            folder,
        };
        fs::create_dir_all("/run/sshd")?;
        let root = fleet.folder.path().to_owned();
        fs::create_dir(root.join("home"))?;
        fs::create_dir(root.join("repository"))?;
        keygen(&root.join("client"))?;
        let (mut config, mut known) = (String::new(), String::new());
        for name in fleet.names.clone() {
            let host = root.join(&name);
            fs::create_dir(&host)?;
            keygen(&host.join("hostkey"))?;
            let port = fleet.serve(&host)?;
            let line = Proxy::new((Ipv4Addr::LOCALHOST, port), round_trip / 2);
            let key = fs::read_to_string(host.join("hostkey.pub"))?;
            write!(known, "[127.0.0.1]:{} {key}", line.port)?;
            writeln!(
                config,
                "Host {name}\n HostName 127.0.0.1\n Port {}",
                line.port
            )?;
            fleet.lines.push(line);
        }
        let path = root.display();
        writeln!(
            config,
            "Host *\n User root\n IdentityFile {path}/client\n IdentitiesOnly yes\n UserKnownHostsFile {path}/known_hosts\n \
             GlobalKnownHostsFile /dev/null\n KexAlgorithms curve25519-sha256"
        )?;
        fs::write(root.join("config"), config)?;
        fs::write(root.join("known_hosts"), known)?;
        fleet.split()?;
        Ok(fleet)
    }

    /// Starts a server; its port.
    fn serve(&mut self, host: &Path) -> Result<u16> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let config = host.join("sshd_config");
        fs::write(
            &config,
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/hostkey\nPidFile none\nAuthorizedKeysFile {0}/../client.pub\n\
                 StrictModes no\nUsePAM no\nPermitRootLogin yes\nSetEnv HOME={0}\n",
                host.display()
            ),
        )?;
        let log = fs::File::create(host.join("log"))?;
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stderr(log)
            .spawn()?;
        self.servers.push(server);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > deadline {
                return Err("an sshd does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(port)
    }

    /// A repository that was split while its hosts were directories; from then on they are reached by SSH.
    fn split(&self) -> Result<()> {
        let root = self.folder.path();
        let repository = root.join("repository");
        let (shared, laptop, recovery) = (Identity::mint(), Identity::mint(), Identity::mint());
        let of = |identity: &Identity| identity.recipient().ok_or("no recipient");
        let text = |identity: &Identity| format!("{}\n", identity.to_text().expose_secret());
        private(&root.join("keys.txt"), &(text(&shared) + &text(&laptop)))?;
        let document = encrypt(
            Store::Dotenv,
            b"PASSWORD=invented\n",
            &options(vec![of(&shared)?]),
        )?;
        fs::write(repository.join("a.sops.env"), document.bytes)?;
        let mut topology = format!(
            "version = 1\n[recovery]\nrecipients = [\"{}\"]\n[operators.laptop]\nrecipients = [\"{}\"]\n\
             [zones.lan]\nfiles = [{{ paths = [\"*.sops.env\"] }}]\n",
            of(&recovery)?,
            of(&laptop)?
        );
        for name in &self.names {
            let folder = root.join(name).join("keys");
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            private(&folder.join("keys.txt"), &text(&shared))?;
            write!(
                topology,
                "[hosts.{name}]\nzone = \"lan\"\nlocal = \"../{name}\"\nidentity_file = \"/keys/keys.txt\"\n"
            )?;
        }
        let file = repository.join("cofferdam.toml");
        fs::write(&file, &topology)?;
        for args in [
            &["init", "-q"][..],
            &["config", "user.name", "x"],
            &["config", "user.email", "x@example.org"],
            &["add", "-A"],
            &["commit", "-qm", "x"],
        ] {
            succeed(self.command("git").args(args))?;
        }
        let binary = binary()?;
        succeed(self.command(&binary).args([
            "split",
            "--yes",
            "--quiet",
            "--unproven",
            "recovery",
        ]))?;
        for name in &self.names {
            topology = topology.replace(
                &format!("local = \"../{name}\"\nidentity_file = \"/keys/keys.txt\""),
                &format!(
                    "ssh = \"{name}\"\nidentity_file = \"{}/{name}/keys/keys.txt\"",
                    root.display()
                ),
            );
        }
        fs::write(&file, topology)?;
        Ok(())
    }

    /// Takes the key files of these hosts away and ships anew: how long that took, and how much processor time of ours.
    fn ship(&self, names: &[&str]) -> Result<(Duration, Duration)> {
        for name in names {
            fs::remove_file(self.folder.path().join(name).join("keys/keys.txt"))?;
        }
        let mut command = self.command(&binary()?);
        command
            .args(["ship", "--quiet"])
            .args(names)
            .stdout(Stdio::null());
        let before = processor_time()?;
        let begun = Instant::now();
        succeed(&mut command)?;
        let took = begun.elapsed();
        for name in names {
            let file = self.folder.path().join(name).join("keys/keys.txt");
            if !fs::read_to_string(file)?.contains("AGE-SECRET-KEY-1") {
                return Err(format!("nothing was shipped to {name}").into());
            }
        }
        Ok((took, processor_time()?.saturating_sub(before)))
    }

    /// What the machine needs for the logins alone, without Cofferdam.
    fn log_in_to_all(&self) -> Result<Duration> {
        let config = self.folder.path().join("config");
        let begun = Instant::now();
        let mut logins = Vec::new();
        for name in &self.names {
            let mut ssh = self.command("ssh");
            ssh.arg("-F").arg(&config).args(["--", name, "true"]);
            logins.push(ssh.stdin(Stdio::null()).spawn()?);
        }
        for mut login in logins {
            if !login.wait()?.success() {
                return Err("a login failed".into());
            }
        }
        Ok(begun.elapsed())
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let root = self.folder.path();
        let mut command = Command::new(program);
        command
            .current_dir(root.join("repository"))
            .env("HOME", root.join("home"))
            .env("SOPS_AGE_KEY_FILE", root.join("keys.txt"))
            .env(
                "COFFERDAM_SSH",
                format!("ssh -F {}", root.join("config").display()),
            );
        command
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

/// What children that have ended took, with theirs. Source: proc_pid_stat(5), cutime and cstime, in hundredths of a second.
fn processor_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
    let ticks: u64 = rest
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn options(recipients: Vec<Recipient>) -> EncryptOptions {
    EncryptOptions {
        key_groups: vec![recipients],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        now: jiff::Timestamp::now(),
        output: Store::Dotenv,
        emit: EmitOptions::default(),
    }
}

fn keygen(path: &Path) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "x", "-f"]);
    succeed(command.arg(path))
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o600),
    )?)
}

/// The command beside this example.
fn binary() -> Result<PathBuf> {
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(Path::parent).ok_or("no folder")?;
    Ok(folder.join("cofferdam"))
}
