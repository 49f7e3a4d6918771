//! `cofferdam init` on the sample repository and on what it must refuse, by the real binary.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cofferdam::keys::Identity;
use cofferdam::repo_path::RepoPath;
use cofferdam::topology::{self, ClusterTarget, HostTarget, Topology};

const HOSTS: [&str; 7] = [
    "kasm",
    "komodo",
    "nvr",
    "omni",
    "racknerd-aegis",
    "server04",
    "storage",
];

struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// The sample repository in `r`, and targets that hold the shared identity in `targets`.
    fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let bundle = fixture("homeops.bundle");
        let cloned = world.git(
            &["clone", "-q", bundle.to_str().unwrap(), "r"],
            world.path(""),
        );
        assert!(cloned.status.success(), "{}", text(&cloned.stderr));
        let key = std::fs::read(fixture("shared-key.txt")).unwrap();
        let mut files: Vec<PathBuf> = HOSTS
            .iter()
            .map(|h| world.path(&format!("targets/{h}/etc/sops/age/keys.txt")))
            .collect();
        files.push(world.path("targets/minipcs/flux-system/sops-age/age.agekey"));
        for file in files {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, &key).unwrap();
        }
        world
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn git(&self, args: &[&str], folder: PathBuf) -> Output {
        self.hermetic(Command::new("git"))
            .args(args)
            .current_dir(folder)
            .output()
            .unwrap()
    }

    fn cofferdam(&self, args: &[&str]) -> Output {
        let command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        self.hermetic(command)
            .args(args)
            .current_dir(self.path("r"))
            .output()
            .unwrap()
    }

    fn hermetic(&self, mut command: Command) -> Command {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(std::process::Stdio::null());
        command
    }

    fn topology_text(&self) -> String {
        std::fs::read_to_string(self.path("r/cofferdam.toml")).unwrap()
    }

    fn topology(&self) -> Topology {
        topology::parse(&self.topology_text(), "cofferdam.toml").unwrap()
    }

    /// `init --yes` with two fresh recipients and `more`.
    fn init(&self, more: &[&str]) -> Output {
        let (recovery, operator) = (recipient(), format!("laptop={}", recipient()));
        let mut args = vec![
            "init",
            "--yes",
            "--recovery",
            &recovery,
            "--operator",
            &operator,
        ];
        args.extend(more);
        self.cofferdam(&args)
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/homeops")
        .join(name)
}

fn recipient() -> String {
    Identity::mint().recipient().unwrap().to_string()
}

fn shared_recipient() -> String {
    let key = std::fs::read_to_string(fixture("shared-key.txt")).unwrap();
    let line = key
        .lines()
        .find_map(|l| l.strip_prefix("# public key: "))
        .unwrap();
    line.to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn the_sample_repository_falls_into_its_zones() {
    let world = World::new();
    let output = world.init(&["--local-root", "../targets"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("next: cofferdam plan split"));
    assert!(
        !said.contains("keyring") && !said.contains(".sops.yaml") && !said.contains("decide"),
        "{said}"
    );
    let topology = world.topology();
    let zones: Vec<&str> = topology.zones.iter().map(|z| z.name.as_str()).collect();
    assert_eq!(zones, ["k8s", "lan", "vps", "proxmox"]);
    assert_eq!(topology.shared("alloy").unwrap().zones, ["lan", "vps"]);

    let documents: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    let documents = documents.as_object().unwrap();
    assert_eq!(documents.len(), 29);
    let listed = world.git(&["ls-files"], world.path("r"));
    let mut others = 0;
    for file in text(&listed.stdout).lines() {
        let places = topology.places(&RepoPath::new(file).unwrap());
        let names: Vec<&str> = places.iter().map(|p| p.name()).collect();
        if !documents.contains_key(file) {
            assert!(names.is_empty(), "{file} is no secret: {names:?}");
            others += 1;
            continue;
        }
        let expected = match file.split('/').collect::<Vec<_>>().as_slice() {
            ["kubernetes", ..] => "k8s",
            ["proxmox", ..] => "proxmox",
            ["docker", "stacks", "shared", ..] => "alloy",
            ["docker", "stacks", "racknerd-aegis", ..] => "vps",
            _ => "lan",
        };
        assert_eq!(names, [expected], "{file}");
        let selection = places[0].file_set().selection.as_ref();
        let expected = (expected == "k8s").then_some("^(data|stringData)$");
        assert_eq!(
            selection.map(|(_, value)| value.as_str()),
            expected,
            "{file}"
        );
    }
    assert!(others > 20);

    let hosts: Vec<&str> = topology.hosts.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(hosts, HOSTS);
    for host in &topology.hosts {
        assert_eq!(
            host.target,
            HostTarget::Local(format!("../targets/{}", host.name))
        );
        assert_eq!(host.identity_file, "/etc/sops/age/keys.txt");
        assert_eq!(
            host.zone,
            if host.name == "racknerd-aegis" {
                "vps"
            } else {
                "lan"
            }
        );
        assert!(host.clones.is_empty());
    }
    let cluster = &topology.clusters[0];
    assert_eq!(
        (cluster.name.as_str(), cluster.zone.as_str()),
        ("minipcs", "k8s")
    );
    assert_eq!(
        cluster.target,
        ClusterTarget::Local("../targets/minipcs".to_owned())
    );
    let secret = &cluster.secrets[0];
    let parts = [&secret.namespace, &secret.name, &secret.entry];
    assert_eq!(parts, ["flux-system", "sops-age", "age.agekey"]);

    let written = world.topology_text();
    for globs in [
        "docker/stacks/{kasm,komodo,nvr,omni,server04,storage}/**/*.sops.{env,json,yaml}",
        "docker/stacks/racknerd-aegis/**/*.sops.{env,json,yaml}",
        "docker/stacks/shared/alloy/*.sops.env",
        "kubernetes/**/*secret*.yaml",
        "proxmox/**/*.sops.yml",
        "identity = \"host\"",
    ] {
        assert!(written.contains(globs), "{globs}");
    }
    assert!(!written.contains("\nremote =") && !written.contains("grace"));
}

#[test]
fn a_new_file_in_each_zone_has_its_place() {
    let world = World::new();
    assert_eq!(code(&world.init(&["--local-root", "../targets"])), 0);
    let topology = world.topology();
    for (file, zone) in [
        ("docker/stacks/kasm/new/.sops.env", "lan"),
        ("docker/stacks/racknerd-aegis/new/x.sops.json", "vps"),
        ("kubernetes/infrastructure/new/db-secret.yaml", "k8s"),
        ("proxmox/host_vars/a/b.sops.yml", "proxmox"),
    ] {
        let places = topology.places(&RepoPath::new(file).unwrap());
        assert_eq!(
            places.iter().map(|p| p.name()).collect::<Vec<_>>(),
            [zone],
            "{file}"
        );
    }
}

#[test]
fn real_targets_get_grace_clones_and_marks() {
    let world = World::new();
    let output = world.init(&[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let topology = world.topology();
    for zone in &topology.zones {
        assert_eq!(
            zone.grace.is_some(),
            zone.name != "proxmox",
            "{}",
            zone.name
        );
    }
    for host in &topology.hosts {
        assert_eq!(host.clones, ["/etc/komodo/stacks/*"]);
        assert_eq!(host.target, HostTarget::Ssh(host.name.clone()));
    }
    assert!(topology.publish.run.is_empty() && topology.publish.remote.is_none());
    let written = world.topology_text();
    let ssh = written
        .lines()
        .find(|l| l.starts_with("ssh = \"server04\""))
        .unwrap();
    assert!(ssh.contains("# decide:"), "{ssh}");
    assert!(written.contains("# run = [\"km execute sync"));
    let said = text(&output.stderr);
    assert!(
        said.contains("origin") && said.contains("8 lines marked `# decide:`"),
        "{said}"
    );
}

#[test]
fn yes_needs_recovery_and_operator() {
    let world = World::new();
    let operator = format!("laptop={}", recipient());
    for args in [
        vec!["init", "--yes"],
        vec!["init", "--yes", "--operator", &operator],
        vec!["init", "--yes", "--recovery", &operator["laptop=".len()..]],
    ] {
        let output = world.cofferdam(&args);
        assert_eq!(code(&output), 2);
        assert!(text(&output.stderr).contains("cofferdam init --yes --recovery"));
        assert!(!world.path("r/cofferdam.toml").exists());
    }
}

#[test]
fn without_a_terminal_the_proposal_is_printed_and_nothing_written() {
    let world = World::new();
    let output = world.cofferdam(&["init"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stdout).contains("[zones.lan]"));
    assert!(text(&output.stdout).contains("# decide:"));
    assert!(!world.path("r/cofferdam.toml").exists());
}

#[test]
fn an_existing_topology_stays() {
    let world = World::new();
    std::fs::write(world.path("r/cofferdam.toml"), "mine").unwrap();
    assert_eq!(code(&world.init(&["--local-root", "../targets"])), 2);
    assert_eq!(world.topology_text(), "mine");
}

#[test]
fn nobody_has_two_roles() {
    let world = World::new();
    let shared = shared_recipient();
    let (fresh, operator) = (recipient(), format!("laptop={shared}"));
    let args = [
        "init",
        "--yes",
        "--recovery",
        &fresh,
        "--operator",
        &operator,
    ];
    let with_targets = [&args[..], &["--local-root", "../targets"]].concat();
    let output = world.cofferdam(&with_targets);
    assert_eq!(code(&output), 1);
    let said = text(&output.stderr);
    assert!(
        said.contains("operator laptop") && said.contains("host kasm"),
        "{said}"
    );
    assert!(
        said.contains("cluster minipcs") && said.contains("all 29 documents"),
        "{said}"
    );

    // Targets that cannot be read: the documents tell.
    let output = world.cofferdam(&args);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("all 29 documents"));

    let same = format!("laptop={fresh}");
    let output = world.cofferdam(&["init", "--yes", "--recovery", &fresh, "--operator", &same]);
    assert_eq!(code(&output), 1);
    assert!(!world.path("r/cofferdam.toml").exists());
}

#[test]
fn an_identity_given_for_a_recipient_is_not_repeated() {
    let world = World::new();
    let key = std::fs::read_to_string(fixture("shared-key.txt")).unwrap();
    let identity = key
        .lines()
        .find(|l| l.starts_with("AGE-SECRET-KEY-"))
        .unwrap();
    for args in [
        vec!["init", "--yes", "--recovery", identity],
        vec!["init", "--yes", "--operator", identity],
    ] {
        let output = world.cofferdam(&args);
        assert_eq!(code(&output), 2);
        assert!(!text(&output.stderr).contains("AGE-SECRET-KEY-1"));
    }
    let named = format!("laptop={identity}");
    let output = world.cofferdam(&["init", "--yes", "--operator", &named]);
    assert!(!text(&output.stderr).contains("AGE-SECRET-KEY-1"));
}

#[test]
fn a_local_root_in_the_repository_is_refused() {
    let world = World::new();
    assert_eq!(code(&world.init(&["--local-root", "targets"])), 2);
    assert!(!world.path("r/cofferdam.toml").exists());
}

#[test]
fn the_recovery_identity_is_written_once_outside_the_work_tree() {
    let world = World::new();
    let output = world.cofferdam(&["recovery", "create", "--out", "../recovery.txt"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(!text(&output.stderr).contains("AGE-SECRET-KEY-1"));
    let file = world.path("recovery.txt");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o400);
    let written = std::fs::read_to_string(&file).unwrap();
    let identity = written
        .lines()
        .find(|l| l.starts_with("AGE-SECRET-KEY-1"))
        .unwrap();
    let recipient = Identity::parse(identity).unwrap().recipient().unwrap();
    assert_eq!(printed, format!("{recipient}\n"));
    let ledger = std::fs::read_to_string(world.path("r/.cofferdam/keyring.toml")).unwrap();
    let ledger = cofferdam::ledger::Ledger::parse(&ledger).unwrap();
    assert!(ledger.recovery_read_back(&recipient).is_some());

    // Never overwritten.
    let again = world.cofferdam(&["recovery", "create", "--out", "../recovery.txt"]);
    assert_eq!(code(&again), 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn the_recovery_identity_is_never_written_into_a_work_tree() {
    let world = World::new();
    std::os::unix::fs::symlink(world.path("r/docker"), world.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(world.path("r/link.txt"), world.path("link.txt")).unwrap();
    let other = world.path("other");
    std::fs::create_dir_all(other.join("deep")).unwrap();
    assert!(world.git(&["init", "-q", "."], other).status.success());
    for out in [
        "recovery.txt",
        "docker/recovery.txt",
        ".git/recovery.txt",
        "../elsewhere/recovery.txt",
        "../link.txt",
        "../other/deep/recovery.txt",
    ] {
        let output = world.cofferdam(&["recovery", "create", "--out", out]);
        assert_eq!(code(&output), 1, "{out}");
        assert!(output.stdout.is_empty(), "{out}");
    }
    let status = world.git(&["status", "--porcelain"], world.path("r"));
    assert_eq!(text(&status.stdout), "");
    assert!(!world.path("r/.cofferdam").exists());
}

#[test]
fn a_damaged_ledger_stops_before_anything_is_minted() {
    let world = World::new();
    std::fs::create_dir(world.path("r/.cofferdam")).unwrap();
    std::fs::write(world.path("r/.cofferdam/keyring.toml"), "version = 9\n").unwrap();
    let output = world.cofferdam(&["recovery", "create", "--out", "../recovery.txt"]);
    assert_eq!(code(&output), 1);
    assert!(!world.path("recovery.txt").exists());
}
