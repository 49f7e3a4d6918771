//! The sample repository: 29 secrets under one shared identity, seven hosts and a cluster as directories, and the
//! commands that split it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cofferdam::keys::key_file::KeyFile;
use cofferdam::keys::{Identity, Recipient};

use super::{COFFERDAM, Ran, Sandbox, tests_folder};

/// The hosts of the LAN zone.
pub const LAN: [&str; 6] = ["kasm", "komodo", "nvr", "omni", "server04", "storage"];
/// The host of the VPS zone.
pub const VPS: &str = "racknerd-aegis";
/// The cluster, and its entry.
pub const CLUSTER: &str = "minipcs";
const CLUSTER_FOLDER: &str = "flux-system/sops-age";
const HOST_FILE: &str = "etc/sops/age/keys.txt";

/// A clone of the sample repository with everything around it that the split needs.
#[derive(Debug)]
pub struct Homeops {
    /// Where all of it lies.
    pub sandbox: Sandbox,
    /// The recipient of the operator's own identity.
    pub laptop: Recipient,
    /// The recipient that all secrets are under at first.
    pub shared: Recipient,
}

impl Homeops {
    /// Clones the repository and fills the targets with the shared identity.
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// The same below `parent`.
    pub fn new_in(parent: &Path) -> Self {
        let sandbox = Sandbox::new_in(parent);
        let bundle = fixture("homeops.bundle");
        let bundle = bundle.to_str().unwrap();
        sandbox.git(
            sandbox.path(),
            &["clone", "--quiet", "--branch", "main", bundle, "r"],
        );
        let shared_text = std::fs::read_to_string(fixture("shared-key.txt")).unwrap();
        let shared = KeyFile::parse(shared_text.as_bytes())
            .unwrap()
            .recipients()
            .remove(0);
        let laptop = Identity::mint();
        let laptop_text = KeyFile::empty()
            .with_identity(&["created: 2026-01-01T00:00:00Z"], &laptop)
            .expose()
            .clone();
        let keys = format!("{shared_text}{laptop_text}");
        private(&sandbox.path().join("laptop.txt"), &laptop_text, 0o600);
        private(&sandbox.path().join("keys.txt"), &keys, 0o600);
        let homeops = Self {
            sandbox,
            laptop: laptop.recipient().unwrap(),
            shared,
        };
        for host in homeops.hosts() {
            private(&homeops.host_file(host), &shared_text, 0o400);
        }
        private(
            &homeops.cluster_folder().join("age.agekey"),
            &shared_text,
            0o600,
        );
        homeops
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &'static str> {
        LAN.into_iter().chain([VPS])
    }

    /// The work tree.
    pub fn repository(&self) -> PathBuf {
        self.sandbox.path().join("r")
    }

    /// The directory that stands for hosts and clusters.
    pub fn targets(&self) -> PathBuf {
        self.sandbox.path().join("targets")
    }

    /// The identity file of a host.
    pub fn host_file(&self, host: &str) -> PathBuf {
        self.targets().join(host).join(HOST_FILE)
    }

    /// The folder that stands for the cluster's Secret.
    pub fn cluster_folder(&self) -> PathBuf {
        self.targets().join(CLUSTER).join(CLUSTER_FOLDER)
    }

    /// The operator's key file: the shared identity and the laptop's.
    pub fn keys_file(&self) -> PathBuf {
        self.sandbox.path().join("keys.txt")
    }

    /// The operator's own identity alone.
    pub fn laptop_file(&self) -> PathBuf {
        self.sandbox.path().join("laptop.txt")
    }

    /// The file that `recovery create` writes.
    pub fn recovery_file(&self) -> PathBuf {
        self.sandbox.path().join("recovery.txt")
    }

    /// A `cofferdam` command in the work tree, with the operator's key file.
    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.command(COFFERDAM, &self.repository());
        command
            .args(args)
            .env("SOPS_AGE_KEY_FILE", self.keys_file());
        command
    }

    /// Runs it.
    pub fn cofferdam(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// `recovery create`; the recipient that it prints.
    pub fn recovery_create(&self) -> Recipient {
        let ran = self
            .cofferdam(&["recovery", "create", "--out", "../recovery.txt"])
            .expect_code(0);
        let word = ran
            .stdout
            .split_whitespace()
            .find(|word| word.starts_with("age1"))
            .unwrap_or_else(|| panic!("no recipient in {:?}", ran.stdout));
        Recipient::parse(word).unwrap()
    }

    /// `init` with the laptop as operator and directory targets.
    pub fn init(&self, recovery: &Recipient) -> Ran {
        self.cofferdam(&[
            "init",
            "--yes",
            "--recovery",
            recovery.as_str(),
            "--operator",
            &format!("laptop={}", self.laptop),
            "--local-root",
            "../targets",
        ])
    }

    /// `plan split`.
    pub fn plan_split(&self) -> Ran {
        self.cofferdam(&["plan", "split"])
    }

    /// `split --yes`.
    pub fn split(&self) -> Ran {
        self.cofferdam(&["split", "--yes"])
    }

    /// All commands up to the split; the recovery recipient.
    pub fn prepared() -> (Self, Recipient) {
        Self::prepared_in(&std::env::temp_dir())
    }

    /// The same below `parent`.
    pub fn prepared_in(parent: &Path) -> (Self, Recipient) {
        let homeops = Self::new_in(parent);
        let recovery = homeops.recovery_create();
        homeops.init(&recovery).expect_code(0);
        (homeops, recovery)
    }

    /// What `sops decrypt` prints of each secret, by path.
    pub fn expected() -> BTreeMap<String, String> {
        let text = std::fs::read(fixture("expected.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Runs real `sops decrypt` on a file of the work tree with only the identities of `key_file`.
    pub fn sops_decrypt(&self, path: &str, key_file: &Path) -> Ran {
        Ran::of(
            self.sandbox
                .command("sops", &self.repository())
                .args(["decrypt", path])
                .env("SOPS_AGE_KEY_FILE", key_file),
        )
    }

    /// The key files as found on a reader of each zone that has readers: `lan`, `vps`, `k8s`.
    ///
    /// The cluster's entries are put together in one file, as Flux does.
    pub fn zone_key_files(&self) -> BTreeMap<&'static str, PathBuf> {
        let mut together = Vec::new();
        let mut entries: Vec<PathBuf> = std::fs::read_dir(self.cluster_folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for entry in entries {
            together.extend(std::fs::read(entry).unwrap());
        }
        let cluster = self.sandbox.path().join("cluster-keys.txt");
        std::fs::write(&cluster, together).unwrap();
        BTreeMap::from([
            ("lan", self.host_file("server04")),
            ("vps", self.host_file(VPS)),
            ("k8s", cluster),
        ])
    }

    /// The zones whose readers must open a secret.
    pub fn zones_of(path: &str) -> &'static [&'static str] {
        if path.starts_with("kubernetes/") {
            &["k8s"]
        } else if path.starts_with("docker/stacks/shared/alloy/") {
            &["lan", "vps"]
        } else if path.starts_with("docker/stacks/racknerd-aegis/") {
            &["vps"]
        } else if path.starts_with("docker/stacks/") {
            &["lan"]
        } else {
            &[]
        }
    }
}

impl Default for Homeops {
    fn default() -> Self {
        Self::new()
    }
}

/// A file of the sample.
pub fn fixture(name: &str) -> PathBuf {
    tests_folder().join("fixtures/homeops").join(name)
}

fn private(path: &Path, text: &str, mode: u32) {
    let folder = path.parent().unwrap();
    if !folder.is_dir() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
