//! `init` on repositories of other kinds than the sample: NixOS machines that have identities of their own already, KSOPS, Ansible.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};
use cofferdam::keys::{Identity, Recipient};
use cofferdam::topology::{self, Topology};
use secrecy::ExposeSecret;

struct World {
    sandbox: Sandbox,
    tree: PathBuf,
    alice: Recipient,
}

impl World {
    /// An empty repository, and an operator with a key file.
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let tree = sandbox.path().join("r");
        std::fs::create_dir(&tree).unwrap();
        sandbox.git(&tree, &["init", "--quiet"]);
        let alice = Identity::mint();
        let world = Self {
            sandbox,
            tree,
            alice: alice.recipient().unwrap(),
        };
        world.key_file("alice.txt", &alice, 0o600);
        world
    }

    fn key_file(&self, at: &str, identity: &Identity, mode: u32) {
        let file = self.sandbox.path().join(at);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("{}\n", identity.to_text().expose_secret())).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let folder = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(file.parent().unwrap(), folder).unwrap();
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.tree.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.sandbox.command(COFFERDAM, &self.tree);
        command.env("SOPS_AGE_KEY_FILE", self.sandbox.path().join("alice.txt"));
        Ran::of(command.args(args))
    }

    fn encrypt(&self, path: &str) {
        self.write(path, "password: x\n");
        self.run(&["encrypt", "-i", path]).expect_code(0);
    }

    fn commit(&self) {
        self.sandbox.git(&self.tree, &["add", "."]);
        self.sandbox
            .git(&self.tree, &["commit", "--quiet", "-m", "change"]);
    }

    fn init(&self, more: &[&str]) -> (Ran, String, Topology) {
        let out = self.sandbox.path().join("recovery.txt");
        let recovery = self.run(&["recovery", "create", "--out", out.to_str().unwrap()]);
        let recovery = recovery.expect_code(0).stdout.trim().to_owned();
        let alice = format!("alice={}", self.alice);
        let args = [
            "init",
            "--yes",
            "--recovery",
            &recovery,
            "--operator",
            &alice,
        ];
        let ran = self.run(&[&args, more].concat()).expect_code(0);
        let text = std::fs::read_to_string(self.tree.join("cofferdam.toml")).unwrap();
        let topology = topology::parse(&text, "cofferdam.toml").unwrap();
        (ran, text, topology)
    }
}

/// A flake with two machines and sops-nix, each machine with an age identity of its own, as its documentation proposes.
fn machines(world: &World) -> [Identity; 2] {
    let machines = [Identity::mint(), Identity::mint()];
    let [web1, web2] = machines.each_ref().map(|m| m.recipient().unwrap());
    let alice = &world.alice;
    world.write(
        ".sops.yaml",
        &format!(
            "keys:\n  - &admin_alice {alice}\n  - &server_web1 {web1}\n  - &server_web2 {web2}\ncreation_rules:\n  - path_regex: secrets/web1/[^/]+\\.yaml$\n    key_groups:\n      - age:\n          - *admin_alice\n          - *server_web1\n  - path_regex: secrets/web2/[^/]+\\.yaml$\n    key_groups:\n      - age: [*admin_alice, *server_web2]\n  - path_regex: secrets/common\\.yaml$\n    key_groups:\n      - age:\n          - *admin_alice\n          - *server_web1\n          - *server_web2\n"
        ),
    );
    world.write("flake.nix", "{\n  outputs = { nixpkgs, sops-nix, ... }: {\n    nixosConfigurations.web1 = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web1/configuration.nix sops-nix.nixosModules.sops ]; };\n    nixosConfigurations.web2 = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web2/configuration.nix ]; };\n  };\n}\n");
    world.write("hosts/web1/configuration.nix", "{ config, ... }: {\n  imports = [ ../common.nix ];\n  sops.defaultSopsFile = ../../secrets/web1/app.yaml;\n  sops.age.keyFile = \"/var/lib/sops-nix/key.txt\";\n  sops.secrets.password = { };\n}\n");
    world.write("hosts/web2/configuration.nix", "{ config, ... }: {\n  imports = [ ../common.nix ];\n  sops = {\n    defaultSopsFile = ../../secrets/web2/db.yaml;\n    secrets.password = { };\n  };\n}\n");
    world.write(
        "hosts/common.nix",
        "{ sops.secrets.shared = { sopsFile = ../secrets/common.yaml; }; }\n",
    );
    for path in [
        "secrets/web1/app.yaml",
        "secrets/web2/db.yaml",
        "secrets/common.yaml",
    ] {
        world.encrypt(path);
    }
    world.commit();
    machines
}

#[test]
fn machines_of_a_flake_are_zones_of_their_own() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let world = World::new();
    let identities = machines(&world);
    let targets = world.sandbox.path().join("targets");
    let (ran, text, topology) = world.init(&["--local-root", targets.to_str().unwrap()]);
    let zones: Vec<&str> = topology.zones.iter().map(|z| z.name.as_str()).collect();
    assert_eq!(zones, ["web1", "web2"], "{text}");
    assert_eq!(topology.hosts.len(), 2);
    for host in &topology.hosts {
        assert_eq!(host.zone, host.name);
        assert_eq!(host.identity_file, "/var/lib/sops-nix/key.txt", "{text}");
    }
    assert!(
        text.contains("[shared.") && text.contains("flake.nix:3"),
        "{text}"
    );
    let told = format!("{}{}", ran.stdout, ran.stderr);
    for (zone, identity) in topology.zones.iter().zip(&identities) {
        assert_eq!(zone.adopt, identity.recipient(), "{text}");
        let reason = format!(
            "calls it server_{}; it opens the 2 documents of this zone and no others",
            zone.name
        );
        assert!(text.contains(&reason), "{text}");
        let keeps = format!("who keep {}", identity.recipient().unwrap().short());
        assert!(told.contains(&keeps), "{told}");
    }
    assert!(!told.contains("opens 2 documents today"), "{told}");
    assert!(!told.contains("admin_alice"), "{told}");

    // What follows holds: each machine goes on with its identity, and reads what it read.
    for (identity, name) in identities.iter().zip(["web1", "web2"]) {
        world.key_file(
            &format!("targets/{name}/var/lib/sops-nix/key.txt"),
            identity,
            0o400,
        );
    }
    let key_files = || {
        ["web1", "web2"]
            .map(|name| std::fs::read(targets.join(name).join("var/lib/sops-nix/key.txt")).unwrap())
    };
    let first = key_files();
    let split = world.run(&["split", "--yes"]).expect_code(0);
    assert!(!split.stderr.contains("mint"), "{}", split.stderr);
    assert_eq!(key_files(), first);
    let opens = |name: &str, document: &str| {
        let mut sops = world.sandbox.command("sops", &world.tree);
        let key = targets.join(name).join("var/lib/sops-nix/key.txt");
        sops.env("SOPS_AGE_KEY_FILE", key);
        Ran::of(sops.args(["decrypt", document])).code == Some(0)
    };
    assert!(opens("web1", "secrets/web1/app.yaml") && opens("web1", "secrets/common.yaml"));
    assert!(opens("web2", "secrets/web2/db.yaml") && opens("web2", "secrets/common.yaml"));
    assert!(!opens("web1", "secrets/web2/db.yaml") && !opens("web2", "secrets/web1/app.yaml"));
    let rules = std::fs::read_to_string(world.tree.join(".sops.yaml")).unwrap();
    assert!(rules.contains("&admin_alice"), "{rules}");
    // Rules of old that name the operator stay behind ours, as they are written: that is all there is to say.
    let check = world.run(&["check", "--json"]).expect_code(3);
    let printed: serde_json::Value = serde_json::from_str(&check.stdout).unwrap();
    let findings = printed["findings"].as_array().unwrap();
    assert!(
        findings.iter().all(|f| f["policy"] == "rule-unanchored"),
        "{printed}"
    );
}

#[test]
fn an_identity_on_the_wrong_machine_as_well_is_not_adopted() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let world = World::new();
    let [web1, web2] = machines(&world);
    world.key_file("targets/web1/var/lib/sops-nix/key.txt", &web1, 0o400);
    world.key_file("targets/web2/var/lib/sops-nix/key.txt", &web1, 0o400);
    let targets = world.sandbox.path().join("targets");
    let (ran, text, topology) = world.init(&["--local-root", targets.to_str().unwrap()]);
    let adopted: Vec<Option<&Recipient>> =
        topology.zones.iter().map(|z| z.adopt.as_ref()).collect();
    assert_eq!(adopted, [None, web2.recipient().as_ref()], "{text}");
    let note = "zone web1 is given a new identity: host web2 holds today's";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
}

#[test]
fn ksops_and_ansible_are_recognised_and_said() {
    if !have_peers(&["git"]) {
        return;
    }
    let world = World::new();
    let alice = &world.alice;
    world.write(
        ".sops.yaml",
        &format!("creation_rules:\n  - age: {alice}\n"),
    );
    world.write("apps/web/gen.yaml", "apiVersion: viaduct.ai/v1\nkind: ksops\nmetadata: {name: gen}\nfiles:\n  - ./db.enc.yaml\n");
    world.encrypt("apps/web/db.enc.yaml");
    world.write(
        "ansible/ansible.cfg",
        "[community.sops]\nage_keyfile = ~/.sops/key.txt\n",
    );
    world.encrypt("ansible/group_vars/all/vault.sops.yml");
    world.commit();
    // The one recipient of every document cannot be an operator.
    let other = Identity::mint().recipient().unwrap();
    let world = World {
        alice: other,
        ..world
    };
    let (ran, text, topology) = world.init(&[]);
    assert!(topology.hosts.is_empty() && topology.clusters.is_empty());
    let decide = text.lines().filter(|line| line.contains("# decide:"));
    let decide: Vec<&str> = decide.collect();
    let ksops = decide
        .iter()
        .find(|line| line.contains("apps/web/db.enc.yaml"));
    assert!(ksops.unwrap().contains("KSOPS"), "{text}");
    assert!(
        !decide.iter().any(|line| line.contains("vault.sops.yml")),
        "{text}"
    );
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(told.contains("~/.sops/key.txt"), "{told}");
}
