//! Seven machines by real `sshd`s take part in a split, a rotation and a revocation of the sample repository: one behind
//! another, one whose login needs sudo, one dead, one slow, one with a wrong host key, one that prints noise. What each holds
//! is read from its disk, and what that opens is judged by real `sops` and by real decryption.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::support::bench::{chmod, mode, names, transport_line};
use crate::support::ground::{identities, parse};
use crate::support::homeops::{Homeops, LAN, VPS};
use crate::support::sshd::{Fleet, Manners, have_sshd};
use crate::support::{Ran, have_peers};
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keys::{IdentitySet, Recipient};
use cofferdam::ledger::{Holder, Ledger, State};
use cofferdam::repo_path::RepoPath;

/// Its login needs sudo.
const SUDO: &str = "kasm";
const NOISY: &str = "komodo";
const SLOW: &str = "nvr";
/// The list of known hosts has another key for it.
const WRONG_KEY: &str = "omni";
/// The VPS is behind it.
const BETWEEN: &str = "server04";
const DEAD: &str = "storage";

const FILE: &str = "/etc/sops/age/keys.txt";
const NOISE: &str =
    "echo Welcome; echo mail >&2; sh -c \"$SSH_ORIGINAL_COMMAND\"; s=$?; echo bye; exit $s";

/// In the form that people write by hand.
const TOPOLOGY: &str = r#"version = 1

[recovery]                                  # the private half lives only on paper
recipients  = ["RECOVERY"]
drill_every = "180 days"

[operators.laptop]
recipients = ["LAPTOP"]

[zones.k8s]
max_age = "90 days"
files   = [{ paths = ["kubernetes/**/*secret*.yaml", "kubernetes/**/*credentials*.yaml"], exclude = [], encrypted_regex = "^(data|stringData)$" }]

[zones.lan]
identity = "zone"
files = [{ paths = ["docker/stacks/{kasm,komodo,nvr,omni,server04,storage}/**/*.sops.{env,json,yaml}"] }]

[zones.vps]
files = [{ paths = ["docker/stacks/racknerd-aegis/**/*.sops.{env,json,yaml}"] }]

[zones.proxmox]                             # no reader: operators and recovery only
files = [{ paths = ["proxmox/**/*.sops.yml"] }]

[shared.alloy]                              # read by several zones
zones = ["lan", "vps"]
files = [{ paths = ["docker/stacks/shared/alloy/*.sops.env"] }]

[clusters.minipcs]
zone = "k8s"
local = "../targets/minipcs"
secrets = [{ namespace = "flux-system", name = "sops-age", entry = "age.agekey" }]

[publish]
commit = true
"#;

/// The sample repository and the machines that read it.
struct Seven {
    homeops: Homeops,
    fleet: Fleet,
    documents: Vec<RepoPath>,
    expected: BTreeMap<String, String>,
}

impl Seven {
    fn new() -> Self {
        let homeops = Homeops::new();
        let recovery = homeops.recovery_create();
        let mut fleet = Fleet::new(homeops.sandbox.path());
        let mut topology = TOPOLOGY
            .replace("RECOVERY", recovery.as_str())
            .replace("LAPTOP", homeops.laptop.as_str());
        for name in homeops.hosts() {
            let forced = match name {
                NOISY => Some(NOISE.to_owned()),
                SLOW => Some("sleep 0.2; exec sh -c \"$SSH_ORIGINAL_COMMAND\"".to_owned()),
                _ => None,
            };
            let manners = Manners {
                forced,
                jump: (name == VPS).then(|| BETWEEN.to_owned()),
                key_is_wrong: name == WRONG_KEY,
                is_dead: name == DEAD,
                is_machine: true,
                ..Manners::default()
            };
            fleet.add(name, &manners);
            let disk = fleet.disk(name, FILE);
            std::fs::create_dir_all(disk.parent().unwrap()).unwrap();
            chmod(disk.parent().unwrap(), 0o700);
            std::fs::copy(homeops.host_file(name), &disk).unwrap();
            chmod(&disk, 0o400);
            let login = match name {
                SUDO => fleet.login_without_rights(name),
                _ => "root",
            };
            let zone = if name == VPS { "vps" } else { "lan" };
            write!(
                topology,
                "\n[hosts.{name}]\nzone = \"{zone}\"\nssh = \"{login}@{name}\"\nidentity_file = \"{}\"\n{}",
                fleet.path(name, FILE),
                transport_line()
            )
            .unwrap();
        }
        std::fs::write(homeops.repository().join("cofferdam.toml"), topology).unwrap();
        let expected = Homeops::expected();
        Self {
            documents: expected
                .keys()
                .map(|path| RepoPath::new(path).unwrap())
                .collect(),
            expected,
            homeops,
            fleet,
        }
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(
            self.homeops
                .command(args)
                .env("COFFERDAM_SSH", self.fleet.program()),
        )
    }

    fn git(&self, args: &[&str]) -> String {
        self.homeops.sandbox.git(&self.homeops.repository(), args)
    }

    fn held(&self, host: &str) -> IdentitySet {
        identities(&self.fleet.disk(host, FILE))
    }

    fn ledger(&self) -> Ledger {
        let path = self.homeops.repository().join(".cofferdam/keyring.toml");
        Ledger::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn live(&self, zone: &str) -> Recipient {
        let ledger = self.ledger();
        ledger
            .live(&Holder::Zone(zone.to_owned()))
            .unwrap()
            .recipient
            .clone()
    }

    /// All documents as they lie in the work tree, and the commit.
    fn state(&self) -> (Vec<Vec<u8>>, String) {
        let bytes =
            |path: &RepoPath| std::fs::read(path.under(&self.homeops.repository())).unwrap();
        (
            self.documents.iter().map(bytes).collect(),
            self.git(&["rev-parse", "HEAD"]),
        )
    }

    /// By what lies on the disk of each machine, dead or alive: it opens what its zone reads, in the work tree and at HEAD, and, if
    /// `exactly`, nothing else. `but` opens nothing.
    #[track_caller]
    fn expect_readers(&self, exactly: bool, but: &[&str], when: &str) {
        let held: Vec<(&str, IdentitySet)> =
            self.homeops.hosts().map(|h| (h, self.held(h))).collect();
        for path in &self.documents {
            let file = std::fs::read(path.under(&self.homeops.repository())).unwrap();
            let mut command = self
                .homeops
                .sandbox
                .command("git", &self.homeops.repository());
            let blob = Ran::of(command.args(["cat-file", "blob", &format!("HEAD:{path}")]));
            for (place, bytes) in [
                ("work tree", file),
                ("HEAD", blob.expect_code(0).stdout_bytes),
            ] {
                let document = parse(path, bytes);
                for (host, held) in &held {
                    let zone = if *host == VPS { "vps" } else { "lan" };
                    let may =
                        Homeops::zones_of(path.as_str()).contains(&zone) && !but.contains(host);
                    let opens = document.open_with(held).is_ok();
                    assert!(
                        opens || !may,
                        "{when}: {host} is locked out of {path}, {place}"
                    );
                    assert!(
                        !opens || may || !exactly,
                        "{when}: {host} opens {path}, {place}"
                    );
                }
            }
        }
    }

    /// Real sops with a machine's key file as it lies on its disk: the right text of what its zone reads, nothing of the rest.
    #[track_caller]
    fn expect_sops(&self, host: &str, but: bool) {
        let zone = if host == VPS { "vps" } else { "lan" };
        for (path, plain) in &self.expected {
            let ran = self
                .homeops
                .sops_decrypt(path, &self.fleet.disk(host, FILE));
            if Homeops::zones_of(path).contains(&zone) && !but {
                assert_eq!(&ran.expect_code(0).stdout, plain, "{host}: {path}");
            } else {
                assert_ne!(ran.code, Some(0), "{host} opens {path}");
            }
        }
    }

    /// Each machine holds its zone's identity and nothing else, privately, with nothing left beside it.
    #[track_caller]
    fn expect_disks(&self, hosts: &[&str], when: &str) {
        for &host in hosts {
            let file = self.fleet.disk(host, FILE);
            let zone = if host == VPS { "vps" } else { "lan" };
            assert_eq!(
                self.held(host).recipients(),
                [self.live(zone)],
                "{when}: {host}"
            );
            assert_eq!(mode(&file), 0o400, "{when}: {host}");
            let generation = ".keys.txt.cofferdam-generation".to_owned();
            let wanted = BTreeSet::from([generation, "keys.txt".to_owned()]);
            assert_eq!(names(file.parent().unwrap()), wanted, "{when}: {host}");
            use std::os::unix::fs::MetadataExt;
            assert_eq!(std::fs::metadata(&file).unwrap().uid(), 0, "{when}: {host}");
        }
    }

    fn log(&self, host: &str) -> String {
        std::fs::read_to_string(self.fleet.host(host).join("log")).unwrap()
    }
}

#[test]
fn seven_machines_take_part_in_a_split_a_rotation_and_a_revocation() {
    if !have_sshd() || !have_peers(&["git", "sops", "ssh-keyscan"]) {
        return;
    }
    let mut seven = Seven::new();
    let all: Vec<&str> = seven.homeops.hosts().collect();
    let first = seven.state();

    // Two cannot be worked on, each for its own reason; the others are served, and nothing is rewritten.
    let stopped = seven.run(&["split", "--yes"]).expect_code(5);
    let said = &stopped.stderr;
    for wanted in [
        "stopped at the gate, nothing was rewritten",
        "storage (root@storage): it cannot be reached",
        "Connection refused",
        "omni (root@omni): its SSH host key has changed",
        "resume --without",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(seven.state(), first);
    for host in &all {
        let count = if [DEAD, WRONG_KEY].contains(host) {
            1
        } else {
            2
        };
        assert_eq!(seven.held(host).recipients().len(), count, "{host}");
        assert!(seven.held(host).holds(&seven.homeops.shared), "{host}");
    }
    seven.expect_readers(false, &[], "stopped");
    seven.run(&["resume"]).expect_code(5);

    // What it says is done: the host is started, and the command run that it shows.
    seven.fleet.start(DEAD);
    let remedy = said
        .lines()
        .find_map(|line| line.split_once("if the host was set up anew: "))
        .map(|(_, rest)| rest.split("; ").next().unwrap().to_owned())
        .unwrap();
    let mut shell = seven
        .homeops
        .sandbox
        .command("sh", seven.homeops.sandbox.path());
    Ran::of(shell.args(["-c", &remedy])).expect_code(0);
    seven.run(&["resume"]).expect_code(0);
    seven.expect_disks(&all, "split");
    seven.expect_readers(true, &[], "split");
    seven.expect_sops(SUDO, false);
    seven.expect_sops(VPS, false);
    assert!(
        seven.log(BETWEEN).contains("Accepted publickey"),
        "{}",
        seven.log(BETWEEN)
    );
    let login = seven.log(SUDO);
    assert!(login.contains("Accepted publickey for"), "{login}");

    // A rotation while one is dead: stopped with nothing rewritten, gone on without it, finished when it is back.
    let old = seven.live("lan");
    let before = seven.state();
    seven.fleet.kill(DEAD);
    let stopped = seven.run(&["rotate", "lan", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("resume --without storage --yes"),
        "{}",
        stopped.stderr
    );
    assert_eq!(seven.state(), before);
    seven.expect_readers(true, &[], "stopped at the gate");
    seven
        .run(&["resume", "--without", DEAD, "--yes"])
        .expect_code(0);
    seven.expect_readers(true, &[], "gone on without");
    assert_eq!(seven.held(DEAD).recipients(), std::slice::from_ref(&old));
    assert!(
        seven.held(SUDO).holds(&old),
        "its zone keeps it while it is wrapped"
    );
    seven.run(&["status"]).expect_code(3);
    seven.fleet.start(DEAD);
    seven.run(&["sync", "--yes"]).expect_code(0);
    assert_ne!(seven.live("lan"), old);
    seven.expect_disks(&all, "rotated");
    seven.expect_readers(true, &[], "rotated");
    seven.expect_sops(DEAD, false);
    seven.run(&["status"]).expect_code(0);

    // A revocation, the host in between being dead: with it the one behind it.
    let taken = seven.held(SLOW);
    let before = seven.state();
    seven.fleet.kill(BETWEEN);
    let stopped = seven.run(&["revoke", SLOW, "--yes"]).expect_code(5);
    assert!(
        stopped
            .stderr
            .contains("server04 (root@server04): it cannot be reached"),
        "{}",
        stopped.stderr
    );
    assert_eq!(seven.state().0, before.0, "nothing is rewritten");
    seven.expect_readers(false, &[SLOW], "stopped");
    seven.fleet.start(BETWEEN);
    let resumed = seven.run(&["resume"]).expect_code(0);
    for wanted in ["identity from nvr", "still in use: replace them"] {
        assert!(
            resumed.stderr.contains(wanted),
            "{wanted}: {}",
            resumed.stderr
        );
    }
    let rest: Vec<&str> = all.iter().copied().filter(|&host| host != SLOW).collect();
    seven.expect_disks(&rest, "revoked");
    seven.expect_readers(true, &[SLOW], "revoked");
    seven.expect_sops(SLOW, true);
    assert!(seven.held(SLOW).recipients().is_empty());
    for path in &seven.documents {
        let bytes = std::fs::read(path.under(&seven.homeops.repository())).unwrap();
        assert!(
            parse(path, bytes).open_with(&taken).is_err(),
            "what was there opens {path}"
        );
    }
    let ledger = seven.ledger();
    for recipient in taken.recipients() {
        assert_eq!(
            ledger.record_of(&recipient).unwrap().state,
            State::Compromised
        );
    }
    assert_eq!(LAN.len() + 1, all.len());

    // No identity was ever in an argument list, and connections and their folders went with each command.
    assert!(!seven.fleet.argv().contains("AGE-SECRET-KEY"));
    let left = names(&seven.homeops.sandbox.temporary());
    assert!(
        left.iter().all(|name| !name.starts_with("cofferdam-")),
        "{left:?}"
    );
    // The machines have nothing of ours, and the machine of the one without rights was asked for them.
    let kept = KeyFile::parse(&std::fs::read(seven.fleet.disk(SUDO, FILE)).unwrap()).unwrap();
    assert_eq!(kept.recipients(), [seven.live("lan")]);
}
