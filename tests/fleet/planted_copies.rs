//! Protocol rule 21: a forgotten copy of an identity is found wherever identities are looked for on a reader, whosever it is; each
//! turns the proof red and is named.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::support::bench::{chmod, text_of, transport};
use crate::support::ground::{Ground, identities};
use crate::support::machine::can_be_real;
use crate::support::sshd::{Fleet, Manners, have_sshd};
use crate::support::{Ran, Sandbox, have_peers};
use cofferdam::fleet::challenge::Challenge;
use cofferdam::fleet::{Receipt, SshHost, SshProgram, Target};
use cofferdam::keys::{Identity, Recipient};
use cofferdam::ledger::Holder;
use cofferdam::topology::{Host, HostTarget};

/// Not where everybody looks, so that what lies there is a copy.
const FILE: &str = "/etc/own/keys.txt";

/// Files that are looked for as they are named: those that hold age identities, those that hold an SSH key.
const AGE_FILES: [&str; 8] = [
    "/etc/sops/age/keys.txt",
    // The login's own home, root's and another's; the login's is root's here.
    "/root/.config/sops/age/keys.txt",
    "/root/.sops/key.txt",
    "/home/ops/.config/sops/age/keys.txt",
    "/home/ops/.sops/key.txt",
    "/home/other user/.config/sops/age/keys.txt",
    "/root/xdg/sops/age/keys.txt",
    // What `SOPS_AGE_KEY_FILE` of the login names.
    "/root/named by the login.txt",
];
const SSH_FILES: [&str; 8] = [
    "/root/.ssh/id_ed25519",
    "/root/.ssh/id_rsa",
    "/home/ops/.ssh/id_ed25519",
    "/home/ops/.ssh/id_rsa",
    "/home/other user/.ssh/id_ed25519",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_rsa_key",
    // What `SOPS_AGE_SSH_PRIVATE_KEY_FILE` of the login names.
    "/root/key of the login",
];
/// Files that set the environment: `/etc/environment` has no `export`.
const SETTINGS: [&str; 8] = [
    "/etc/environment",
    "/etc/profile",
    "/etc/profile.d/one.sh",
    "/etc/profile.d/two.sh",
    "/root/.profile",
    "/root/.bash_profile",
    "/root/.bashrc",
    "/root/.zshenv",
];

/// What a reader must not hold, by name: identities of age, and SSH keys that age takes for identities.
struct Planted {
    age: BTreeMap<String, Identity>,
    ssh: BTreeMap<String, (PathBuf, Recipient)>,
}

impl Planted {
    /// As many strangers' identities as a repository has: zones, operators, recovery, the one that all shared.
    fn new(folder: &Path, sandbox: &Sandbox) -> Self {
        let age = [
            "zone vps",
            "zone k8s",
            "operator laptop",
            "recovery",
            "shared",
        ];
        let ssh = [("operator desk", "ed25519"), ("operator attic", "rsa")];
        Self {
            age: age.map(|name| (name.to_owned(), Identity::mint())).into(),
            ssh: ssh
                .map(|(name, kind)| {
                    let file = folder.join(kind);
                    let mut keygen = sandbox.command("ssh-keygen", folder);
                    keygen.args(["-q", "-t", kind, "-N", "", "-C", "x", "-f"]);
                    Ran::of(keygen.arg(&file)).expect_code(0);
                    let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
                    (
                        name.to_owned(),
                        (file, Recipient::parse(public.trim()).unwrap()),
                    )
                })
                .into(),
        }
    }

    fn recipients(&self) -> Vec<(&str, Recipient)> {
        let age = self
            .age
            .iter()
            .map(|(name, identity)| (name.as_str(), identity.recipient().unwrap()));
        let ssh = self
            .ssh
            .iter()
            .map(|(name, (_, recipient))| (name.as_str(), recipient.clone()));
        age.chain(ssh).collect()
    }

    fn age_file(&self) -> String {
        self.age.values().map(text_of).collect()
    }
}

/// A machine with real `sshd` whose programs are those in its own folder.
struct Searched {
    sandbox: Sandbox,
    fleet: Fleet,
    own: Identity,
}

impl Searched {
    fn new(tools: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let bin = sandbox.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let plain = [
            "sh",
            "tr",
            "id",
            "stat",
            "cat",
            "sed",
            "awk",
            "cut",
            "sort",
            "head",
            "tail",
            "grep",
            "sha256sum",
            "sync",
            "env",
            "ssh-keygen",
            "rm",
            "mv",
            "chown",
            "chmod",
            "mkdir",
            "rmdir",
        ];
        for tool in plain.iter().chain(tools) {
            let mut which = sandbox.command("sh", sandbox.path());
            let found =
                Ran::of(which.args(["-c", &format!("readlink -f \"$(command -v {tool})\"")]));
            let found = found.expect_code(0).stdout;
            // The machine has a home of its own: what lies below ours is not seen there.
            match tools.contains(tool) {
                true => drop(std::fs::copy(found.trim_end(), bin.join(tool)).unwrap()),
                false => symlink(found.trim_end(), bin.join(tool)).unwrap(),
            }
        }
        let mut fleet = Fleet::new(sandbox.path());
        // What the login's own environment says.
        let login = "XDG_CONFIG_HOME=$HOME/xdg SOPS_AGE_KEY_FILE=\"$HOME/named by the login.txt\" \
                     SOPS_AGE_SSH_PRIVATE_KEY_FILE=\"$HOME/key of the login\"; \
                     SOPS_AGE_KEY=$(cat \"$HOME/key of the variable\" 2>/dev/null); export SOPS_AGE_KEY XDG_CONFIG_HOME SOPS_AGE_KEY_FILE SOPS_AGE_SSH_PRIVATE_KEY_FILE; exec sh -c \"$SSH_ORIGINAL_COMMAND\"";
        let manners = Manners {
            forced: Some(login.to_owned()),
            path: Some(bin.to_str().unwrap().to_owned()),
            is_machine: true,
            ..Manners::default()
        };
        fleet.add("kasm", &manners);
        let searched = Self {
            sandbox,
            fleet,
            own: Identity::mint(),
        };
        let file = searched.put(FILE, &text_of(&searched.own));
        chmod(&file, 0o400);
        chmod(file.parent().unwrap(), 0o700);
        searched
    }

    fn put(&self, path: &str, text: &str) -> PathBuf {
        let file = self.fleet.disk("kasm", path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        chmod(&file, 0o600);
        file
    }

    fn receipts(&self, recipients: &[Recipient]) -> Vec<Receipt> {
        let program = SshProgram::new(self.fleet.words())
            .with_patience(Duration::from_secs(30), Duration::from_secs(300));
        let host = Host {
            adopt: None,
            name: "kasm".to_owned(),
            zone: "lan".to_owned(),
            target: HostTarget::Ssh("kasm".to_owned()),
            identity_file: self.fleet.path("kasm", FILE),
            transport: transport(),
            clones: Vec::new(),
            after_ship: Vec::new(),
            reader: None,
            cofferdam: None,
        };
        let target = SshHost::of(&host, &Arc::new(program)).unwrap();
        let challenge = |recipient: &Recipient| Challenge::new("kasm", "run", recipient).unwrap();
        let challenges: Vec<Challenge> = recipients.iter().map(challenge).collect();
        target.prove_all(&challenges).unwrap()
    }
}

/// Every place × every recipient, by `sops`, by `age`, and read back where the host has neither.
#[test]
fn planted_copy_matrix() {
    if !have_sshd() || !have_peers(&["sops", "age", "ssh-keygen"]) {
        return;
    }
    if !can_be_real() {
        return;
    }
    for (tools, of_each) in [
        (&["age"][..], 9),
        (&[], 9),
        (&["sops", "age"], 1),
        (&["sops"], 1),
    ] {
        let host = Searched::new(tools);
        let planted = Planted::new(host.sandbox.path(), &host.sandbox);
        // `sops` is slow to start: with it one of each kind, in every place.
        let mut asked = planted.recipients();
        if of_each == 1 {
            asked.retain(|(name, _)| ["shared", "operator desk", "operator attic"].contains(name));
        }
        let recipients: Vec<Recipient> = asked.iter().map(|(_, r)| r.clone()).collect();
        let mut all = recipients.clone();
        all.push(host.own.recipient().unwrap());
        let clean = host.receipts(&all);
        for ((name, _), receipt) in asked.iter().zip(&clean) {
            assert!(
                !receipt.opened && receipt.copies.is_empty(),
                "{tools:?} {name}: {receipt:?}"
            );
        }
        let own = clean.last().unwrap();
        assert!(
            own.opened && own.everywhere && own.copies.is_empty(),
            "{tools:?}: {own:?}"
        );

        // In its own file they are no copies, and as red.
        let own = text_of(&host.own);
        chmod(
            &host.put(FILE, &format!("{own}{}", planted.age_file())),
            0o400,
        );
        for ((name, _), receipt) in asked.iter().zip(host.receipts(&recipients)) {
            let red = planted.age.contains_key(*name);
            assert_eq!(
                (receipt.opened, receipt.everywhere),
                (red, red),
                "{tools:?} {name}"
            );
            assert!(receipt.copies.is_empty(), "{tools:?} {name}: {receipt:?}");
        }
        chmod(&host.put(FILE, &own), 0o400);

        // By place: whose identities were put there.
        let mut cells: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        let age: BTreeSet<&str> = planted.age.keys().map(String::as_str).collect();
        for path in AGE_FILES {
            host.put(path, &planted.age_file());
            cells.insert(path.to_owned(), age.clone());
        }
        // What a variable of the login holds is named by the variable.
        let text = text_of(&planted.age["shared"]);
        let secret = text.lines().find(|line| line.starts_with("AGE-"));
        host.put("/root/key of the variable", secret.unwrap());
        cells.insert("SOPS_AGE_KEY".to_owned(), BTreeSet::from(["shared"]));
        let kinds = |path: &str| {
            if path.contains("rsa") {
                "operator attic"
            } else {
                "operator desk"
            }
        };
        for path in SSH_FILES {
            let name = kinds(path);
            host.put(
                path,
                &std::fs::read_to_string(&planted.ssh[name].0).unwrap(),
            );
            cells.insert(path.to_owned(), BTreeSet::from([name]));
        }
        for (number, path) in SETTINGS.into_iter().enumerate() {
            let export = if path == "/etc/environment" {
                ""
            } else {
                "export "
            };
            let named = format!("/root/named {number}/keys.txt");
            host.put(&named, &planted.age_file());
            cells.insert(named.clone(), age.clone());
            let key = format!("/root/named {number}/key");
            let whose = ["operator desk", "operator attic"][number % 2];
            host.put(
                &key,
                &std::fs::read_to_string(&planted.ssh[whose].0).unwrap(),
            );
            cells.insert(key.clone(), BTreeSet::from([whose]));
            // A variable holds one identity, or several with line breaks in between, which no setting of this form has.
            let (name, identity) = match of_each {
                1 => planted.age.get_key_value("shared").unwrap(),
                _ => planted.age.iter().nth(number % planted.age.len()).unwrap(),
            };
            let text = text_of(identity);
            let secret = text.lines().find(|line| line.starts_with("AGE-")).unwrap();
            let seen = |path: &str| host.fleet.path("kasm", path);
            let text = format!(
                "# mine\n{export}SOPS_AGE_KEY_FILE=\"{}\"\n{export}SOPS_AGE_SSH_PRIVATE_KEY_FILE='{}'\n{export}SOPS_AGE_KEY={secret}\n",
                seen(&named),
                seen(&key)
            );
            host.put(path, &text);
            cells.insert(path.to_owned(), BTreeSet::from([name.as_str()]));
        }

        let receipts = host.receipts(&recipients);
        let mut count = 0;
        for ((name, _), receipt) in asked.iter().zip(&receipts) {
            assert!(receipt.opened && !receipt.everywhere, "{tools:?} {name}");
            let copies: BTreeSet<&str> = receipt.copies.iter().map(String::as_str).collect();
            for (place, holds) in &cells {
                let named = copies.contains(host.fleet.path("kasm", place).as_str());
                assert_eq!(named, holds.contains(name), "{tools:?}: {name} in {place}");
                count += usize::from(named);
            }
            let wanted = cells.values().filter(|holds| holds.contains(name)).count();
            assert_eq!(copies.len(), wanted, "{tools:?} {name}: {copies:?}");
        }
        println!("{tools:?}: {count} copies, each named");
        assert!(!host.fleet.argv().contains("AGE-SECRET-KEY"));
    }
}

/// Every reader of the sample in directories × every recipient of its repository: found by `prove`, and by a run.
#[test]
fn planted_copy_matrix_of_directories() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    ground.run(&["prove"]).expect_code(0);
    let ledger = ground.ledger();
    let holders: BTreeMap<&str, Holder> = ["k8s", "lan", "vps"]
        .map(|zone| (zone, Holder::Zone(zone.to_owned())))
        .into();
    let file_of = |zone: &str| match zone {
        "k8s" => std::fs::read_dir(ground.cluster_folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|e| e == "agekey"))
            .unwrap(),
        "lan" => ground.host_file("kasm"),
        _ => ground.host_file("racknerd-aegis"),
    };
    // Whose identity, how the proof names it, and its text.
    let mut planted: Vec<(String, String)> = Vec::new();
    for (zone, holder) in &holders {
        let id = ledger.live(holder).unwrap().id.clone();
        planted.push((id, std::fs::read_to_string(file_of(zone)).unwrap()));
    }
    for (name, file) in [
        ("operator laptop", "laptop.txt"),
        ("recovery", "recovery.txt"),
        ("shared-", "shared.txt"),
    ] {
        planted.push((
            name.to_owned(),
            std::fs::read_to_string(ground.folder.join(file)).unwrap(),
        ));
    }
    let readers = [
        ("kasm", "lan", ground.host_file("kasm")),
        ("nvr", "lan", ground.host_file("nvr")),
        ("racknerd-aegis", "vps", ground.host_file("racknerd-aegis")),
        ("minipcs", "k8s", file_of("k8s")),
    ];
    let mut count = 0;
    for (reader, zone, file) in &readers {
        let own = std::fs::read_to_string(file).unwrap();
        let of_zone = &ledger.live(&holders[zone]).unwrap().id;
        for (name, text) in planted.iter().filter(|(name, _)| name != of_zone) {
            chmod(file, 0o600);
            std::fs::write(file, format!("{own}{text}")).unwrap();
            let ran = ground.run(&["prove", reader]).expect_code(5);
            let said = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                said.contains(name) && said.contains(reader),
                "{reader}, {name}: {said}"
            );
            assert!(!said.contains("AGE-SECRET-KEY"));
            count += 1;
        }
        std::fs::write(file, &own).unwrap();
        chmod(file, 0o400);
    }
    assert_eq!(count, readers.len() * (planted.len() - 1));
    ground.run(&["prove"]).expect_code(0);
    // A run is stopped by it before anything is rewritten.
    let file = ground.host_file("racknerd-aegis");
    let own = std::fs::read_to_string(&file).unwrap();
    chmod(&file, 0o600);
    std::fs::write(&file, format!("{own}{}", planted[1].1)).unwrap();
    assert!(identities(&file).recipients().len() == 2);
    let stopped = ground.run(&["rotate", "vps", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("must not hold"),
        "{}",
        stopped.stderr
    );
}
