//! A repository in the middle of its split, with its targets: what each reader opens, whether it is finished, or as at first.
//!
//! All of it is asked of the library, in process: thousands of states are looked at. Real sops is asked of a few.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cofferdam::apply::JournalFile;
use cofferdam::inventory::digests::{DIGESTS_PATH, Digests, Standing};
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keys::{Identity, IdentitySet, Recipient};
use cofferdam::keystore::sealed;
use cofferdam::ledger::{Holder, Ledger, State};
use cofferdam::repo::atomic_write::is_temporary;
use cofferdam::repo::git::Git;
use cofferdam::repo::recognise::recognise;
use cofferdam::repo_path::RepoPath;
use cofferdam::sops::document::Document;

use super::homeops::{Homeops, fixture};
use super::{COFFERDAM, Ran, Sandbox, copy_folder};

/// A document of the small repository and the zones that read it.
const DOCUMENTS: [&str; 5] = [
    "docker/stacks/kasm/newt/.sops.env",
    "docker/stacks/nvr/frigate/.sops.json",
    "docker/stacks/racknerd-aegis/identity/.sops.env",
    "docker/stacks/shared/alloy/.sops.env",
    "kubernetes/infrastructure/controllers/certmanager/secret.yaml",
];

/// Its hosts and their zones.
const HOSTS: [(&str, &str); 3] = [("kasm", "lan"), ("nvr", "lan"), ("racknerd-aegis", "vps")];

const TOPOLOGY: &str = r#"version = 1

[recovery]
recipients = ["RECOVERY"]

[operators.laptop]
recipients = ["LAPTOP"]

[zones.k8s]
files = [{ paths = ["kubernetes/**/secret.yaml"], encrypted_regex = "^(data|stringData)$" }]

[zones.lan]
files = [{ paths = ["docker/stacks/{kasm,nvr}/**/*.sops.{env,json,yaml}"] }]

[zones.vps]
files = [{ paths = ["docker/stacks/racknerd-aegis/**/*.sops.{env,json,yaml}"] }]

[shared.alloy]
zones = ["lan", "vps"]
files = [{ paths = ["docker/stacks/shared/alloy/*.sops.env"] }]

[hosts.kasm]
zone = "lan"
local = "../targets/kasm"

[hosts.nvr]
zone = "lan"
local = "../targets/nvr"

[hosts.racknerd-aegis]
zone = "vps"
local = "../targets/racknerd-aegis"

[clusters.minipcs]
zone = "k8s"
local = "../targets/minipcs"
secrets = [{ namespace = "flux-system", name = "sops-age", entry = "age.agekey" }]
"#;

/// A file's or a folder's permissions and its content.
pub type Tree = BTreeMap<String, (u32, Option<Vec<u8>>)>;

/// A folder with a repository `r`, its `targets` and the key files of operator and recovery.
#[derive(Debug, Clone)]
pub struct Ground<'s> {
    /// What commands run in.
    pub sandbox: &'s Sandbox,
    /// The folder.
    pub folder: PathBuf,
    /// The secrets.
    pub documents: Vec<RepoPath>,
    /// Hosts and their zones.
    pub hosts: Vec<(String, &'static str)>,
}

/// How things were before a run.
#[derive(Debug, Clone, PartialEq)]
pub struct First {
    head: String,
    status: String,
    index: String,
    tree: Tree,
    targets: Tree,
}

impl First {
    /// The commits that branches hold.
    pub fn commits(&self) -> &str {
        &self.head
    }
}

impl<'s> Ground<'s> {
    /// The small repository, ready to be split: five documents made by real sops, three hosts, one cluster.
    pub fn small(sandbox: &'s Sandbox) -> Self {
        let folder = sandbox.path().join("small");
        let ground = Self {
            sandbox,
            folder: folder.clone(),
            documents: DOCUMENTS.map(|d| RepoPath::new(d).unwrap()).into(),
            hosts: HOSTS.map(|(h, z)| (h.to_owned(), z)).into(),
        };
        std::fs::create_dir(&folder).unwrap();
        let bundle = fixture("homeops.bundle");
        let bundle = bundle.to_str().unwrap();
        sandbox.git(&folder, &["clone", "-q", "-b", "main", bundle, "whole"]);
        let root = ground.repository();
        sandbox.git(&folder, &["init", "-q", "r"]);
        for name in DOCUMENTS.into_iter().chain([".sops.yaml"]) {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::copy(folder.join("whole").join(name), root.join(name)).unwrap();
        }
        std::fs::write(root.join("README.md"), "A home.\n").unwrap();
        std::fs::write(root.join(".gitignore"), "*.bak").unwrap();
        std::fs::remove_dir_all(folder.join("whole")).unwrap();
        sandbox.git(&root, &["add", "-A"]);
        sandbox.git(&root, &["commit", "-q", "-m", "first"]);

        let shared = std::fs::read_to_string(fixture("shared-key.txt")).unwrap();
        let laptop = Identity::mint();
        let text = KeyFile::empty().with_identity(&[], &laptop);
        private(&folder.join("laptop.txt"), text.expose(), 0o600);
        private(&folder.join("shared.txt"), &shared, 0o600);
        let both = format!("{shared}{}", text.expose());
        private(&folder.join("keys.txt"), &both, 0o600);
        for (host, _) in &ground.hosts {
            private(&ground.host_file(host), &shared, 0o400);
        }
        // One host had its file open to others: undo puts that back as well.
        private(&ground.host_file("nvr"), shared.trim_end(), 0o640);
        private(&ground.cluster_folder().join("age.agekey"), &shared, 0o600);

        let created = ground.run(&["recovery", "create", "--out", "../recovery.txt"]);
        let created = created.expect_code(0).stdout;
        let recovery = created
            .split_whitespace()
            .find(|w| w.starts_with("age1"))
            .unwrap();
        let topology = TOPOLOGY
            .replace("RECOVERY", recovery)
            .replace("LAPTOP", laptop.recipient().unwrap().as_str());
        std::fs::write(root.join("cofferdam.toml"), topology).unwrap();
        ground
    }

    /// The sample repository, ready to be split.
    pub fn whole(homeops: &'s Homeops) -> Self {
        let folder = homeops.sandbox.path().to_owned();
        std::fs::copy(fixture("shared-key.txt"), folder.join("shared.txt")).unwrap();
        Self {
            sandbox: &homeops.sandbox,
            folder,
            documents: Homeops::expected()
                .into_keys()
                .map(|path| RepoPath::new(&path).unwrap())
                .collect(),
            hosts: homeops
                .hosts()
                .map(|host| {
                    let zone = if host == super::homeops::VPS {
                        "vps"
                    } else {
                        "lan"
                    };
                    (host.to_owned(), zone)
                })
                .collect(),
        }
    }

    /// A copy of its own beside this one.
    pub fn copy(&self, name: &str) -> Self {
        let folder = self.sandbox.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        for part in ["r", "targets"] {
            copy_folder(&self.folder.join(part), &folder.join(part));
        }
        for part in ["keys.txt", "laptop.txt", "shared.txt", "recovery.txt"] {
            std::fs::copy(self.folder.join(part), folder.join(part)).unwrap();
        }
        Self {
            folder,
            ..self.clone()
        }
    }

    /// Removes it.
    pub fn remove(self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// The work tree.
    pub fn repository(&self) -> PathBuf {
        self.folder.join("r")
    }

    /// A host's key file.
    pub fn host_file(&self, host: &str) -> PathBuf {
        self.folder
            .join("targets")
            .join(host)
            .join("etc/sops/age/keys.txt")
    }

    /// The folder that stands for the cluster's Secret.
    pub fn cluster_folder(&self) -> PathBuf {
        self.folder.join("targets/minipcs/flux-system/sops-age")
    }

    /// A `cofferdam` command in the work tree with the shared and the operator's identity.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(COFFERDAM, &self.repository());
        command
            .args(args)
            .env("SOPS_AGE_KEY_FILE", self.folder.join("keys.txt"));
        command
    }

    /// The same with the identities of another file.
    pub fn command_with(&self, keys: &str, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.env("SOPS_AGE_KEY_FILE", self.folder.join(keys));
        command
    }

    /// Runs it.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }

    /// Runs git in the work tree.
    pub fn git(&self, args: &[&str]) -> String {
        self.sandbox.git(&self.repository(), args)
    }

    /// A document's bytes in the work tree.
    pub fn read(&self, path: &RepoPath) -> Vec<u8> {
        std::fs::read(path.under(&self.repository())).unwrap()
    }

    /// The ledger as it stands in the work tree.
    pub fn ledger(&self) -> Ledger {
        let path = self.repository().join(".cofferdam/keyring.toml");
        Ledger::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Lets a zone's identity be a year old, and rotation be due after 90 days.
    pub fn age_the_zone(&self, zone: &str) {
        let topology = self.repository().join("cofferdam.toml");
        let text = std::fs::read_to_string(&topology).unwrap();
        let header = format!("[zones.{zone}]");
        let with = text.replacen(&header, &format!("{header}\nmax_age = \"90 days\""), 1);
        assert_ne!(with, text);
        std::fs::write(&topology, with).unwrap();
        let ledger = self.repository().join(".cofferdam/keyring.toml");
        let text = std::fs::read_to_string(&ledger).unwrap();
        let id = format!("id = \"{zone}-");
        let (before, after) = text.split_once(&id).unwrap();
        let mut aged = format!("{before}{id}");
        let mut done = false;
        for line in after.lines() {
            if line.starts_with("minted = ") && !done {
                aged.push_str("minted = \"2025-01-01T00:00:00Z\"\n");
                done = true;
            } else {
                aged.push_str(line);
                aged.push('\n');
            }
        }
        std::fs::write(&ledger, aged).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "age"]);
    }

    /// What the record of verified documents says of one of them, as it is here.
    pub fn standing(&self, path: &RepoPath) -> Standing {
        let record = std::fs::read(self.repository().join(DIGESTS_PATH)).ok();
        let record = Digests::read(record.as_deref()).unwrap();
        record.standing(path, &parse(path, self.read(path)))
    }

    /// The record says of every document that it is as it was verified.
    #[track_caller]
    pub fn expect_recorded(&self, when: &str) {
        for path in &self.documents {
            assert_eq!(self.standing(path), Standing::Verified, "{when}: {path}");
        }
    }

    /// The unfinished run's journal.
    pub fn unfinished(&self) -> Option<JournalFile> {
        JournalFile::unfinished(&self.repository()).unwrap()
    }

    /// Whether a run has begun to take old identities away.
    pub fn retirement_begun(&self) -> bool {
        self.unfinished()
            .is_some_and(|journal| journal.progress().retirement_begun())
    }

    /// Readers, their zones, and the identities as found on their targets.
    pub fn readers(&self) -> Vec<(String, &'static str, IdentitySet)> {
        let mut readers: Vec<_> = self
            .hosts
            .iter()
            .map(|(host, zone)| (host.clone(), *zone, identities(&self.host_file(host))))
            .collect();
        let mut cluster = IdentitySet::new(Vec::new());
        for entry in std::fs::read_dir(self.cluster_folder()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "agekey") && !is_hidden(&path) {
                cluster.extend(identities(&path));
            }
        }
        readers.push(("minipcs".to_owned(), "k8s", cluster));
        readers
    }

    /// Every reader opens every document of its zone, in the work tree and at HEAD; so does the operator with the
    /// identities from before, and from the rewrite on each of operator and recovery.
    #[track_caller]
    pub fn expect_readable(&self, when: &str) {
        let git = Git::discover(&self.repository()).unwrap();
        let committed = git.blobs("HEAD", &self.documents).unwrap();
        let readers = self.readers();
        let [shared, laptop, recovery] =
            ["shared.txt", "laptop.txt", "recovery.txt"].map(|f| identities(&self.folder.join(f)));
        for (path, blob) in self.documents.iter().zip(committed) {
            let blob = blob.unwrap_or_else(|| panic!("{when}: {path} is not at HEAD"));
            let mut places = vec![("the work tree", self.read(path)), ("HEAD", blob)];
            // Once is enough for the same octets.
            places.dedup_by(|one, other| one.1 == other.1);
            for (place, bytes) in places {
                let document = parse(path, bytes);
                for (reader, zone, held) in &readers {
                    if Homeops::zones_of(path.as_str()).contains(zone) {
                        let opened = document.open_with(held);
                        assert!(
                            opened.is_ok(),
                            "{when}: {reader} is locked out of {path} in {place}: {:?}",
                            opened.err()
                        );
                    }
                }
                let kept = document.open_with(&shared).is_ok();
                let always = [&laptop, &recovery].map(|set| document.open_with(set).is_ok());
                assert!(
                    kept || always == [true, true],
                    "{when}: operator and recovery open {path} in {place}: {always:?}"
                );
            }
        }
    }

    /// After a split: every reader opens every document of its zone in the work tree.
    #[track_caller]
    pub fn expect_readable_by_hosts(&self) {
        for path in &self.documents {
            let document = parse(path, self.read(path));
            for (reader, zone, held) in self.readers() {
                let reads = Homeops::zones_of(path.as_str()).contains(&zone);
                assert_eq!(document.open_with(&held).is_ok(), reads, "{reader}: {path}");
            }
        }
    }

    /// Everything as it is now, for [`Ground::expect_first`].
    pub fn first(&self) -> First {
        let journal = |line: &&str| !line.contains(".cofferdam/journal/");
        let status = self.git(&["status", "--porcelain=v2", "-uall"]);
        let mut tree = tree(&self.repository());
        tree.retain(|name, _| {
            !name.starts_with(".git/") && name != ".git" && !name.starts_with(".cofferdam/journal")
        });
        First {
            head: self.git(&["log", "--all", "--format=%H %D"]),
            status: status
                .lines()
                .filter(journal)
                .collect::<Vec<_>>()
                .join("\n"),
            index: self.git(&["ls-files", "-s"]),
            tree,
            targets: tree_of_targets(&self.folder.join("targets")),
        }
    }

    /// Everything is byte for byte as it was.
    #[track_caller]
    pub fn expect_first(&self, first: &First, when: &str) {
        let now = self.first();
        assert_eq!(now.head, first.head, "{when}: commits");
        assert_eq!(now.status, first.status, "{when}: git status");
        assert_eq!(now.index, first.index, "{when}: index");
        same_tree(&now.tree, &first.tree, &format!("{when}: work tree"));
        same_tree(&now.targets, &first.targets, &format!("{when}: targets"));
        assert!(self.unfinished().is_none(), "{when}: unfinished run");
        self.expect_no_leftovers(when);
    }

    /// The split is done, exactly: who opens what, targets, rules, ledger, sealed identities, commits, nothing left over.
    /// `before` is the ground as it was before the run.
    #[track_caller]
    pub fn expect_finished(&self, before: &Ground<'_>, when: &str) {
        self.expect_split(before, when);
        let first = before.git(&["rev-parse", "HEAD"]);
        let commits = self.git(&["rev-list", "--count", &format!("{first}..HEAD")]);
        assert_eq!(commits, "2", "{when}: commits");
    }

    /// As [`Ground::expect_finished`], whatever the number of commits.
    #[track_caller]
    pub fn expect_split(&self, before: &Ground<'_>, when: &str) {
        self.expect_readable(when);
        self.expect_recorded(when);
        let ledger = self.ledger();
        let shared = recipient(&self.folder.join("shared.txt"));
        let [laptop, recovery] =
            ["laptop.txt", "recovery.txt"].map(|f| recipient(&self.folder.join(f)));
        let zones: BTreeMap<&str, Recipient> = ["k8s", "lan", "vps"]
            .into_iter()
            .map(|zone| {
                let live = ledger.live(&Holder::Zone(zone.to_owned())).unwrap();
                assert_eq!(live.state, State::Active, "{when}: {zone}");
                (zone, live.recipient.clone())
            })
            .collect();
        let old = ledger.record_of(&shared).unwrap();
        assert_eq!(old.state, State::Retired, "{when}: the old identity");
        assert_eq!(ledger.records().len(), 4, "{when}: identities");

        for (reader, zone, held) in self.readers() {
            assert_eq!(held.recipients(), [zones[zone].clone()], "{when}: {reader}");
        }
        let old_key = identities(&self.folder.join("shared.txt"));
        for path in &self.documents {
            let document = parse(path, self.read(path));
            let wrapped: BTreeSet<&str> =
                document.recipients().iter().map(|r| r.as_str()).collect();
            let wanted: BTreeSet<&str> = Homeops::zones_of(path.as_str())
                .iter()
                .map(|zone| zones[zone].as_str())
                .chain([laptop.as_str(), recovery.as_str()])
                .collect();
            assert_eq!(wrapped, wanted, "{when}: {path}");
            assert!(document.open_with(&old_key).is_err(), "{when}: {path}");
            for (reader, zone, held) in self.readers() {
                let may = Homeops::zones_of(path.as_str()).contains(&zone);
                assert_eq!(
                    document.open_with(&held).is_ok(),
                    may,
                    "{when}: {reader}, {path}"
                );
            }
            let was = parse(path, before.read(path)).open_with(&old_key).unwrap();
            for set in ["laptop.txt", "recovery.txt"] {
                let is = document
                    .open_with(&identities(&self.folder.join(set)))
                    .unwrap_or_else(|error| panic!("{when}: {set} opens {path}: {error:?}"));
                assert!(was.same_plaintext(&is), "{when}: values of {path}");
            }
        }
        let rules = std::fs::read_to_string(self.repository().join(".sops.yaml")).unwrap();
        assert!(!rules.contains(shared.as_str()), "{when}: {rules}");
        for recipient in zones.values().chain([&laptop, &recovery]) {
            assert!(rules.contains(recipient.as_str()), "{when}: {rules}");
        }
        for record in ledger.records() {
            for (always, file) in [(&laptop, "laptop.txt"), (&recovery, "recovery.txt")] {
                let name = sealed::sealed_file_name(&record.id, always);
                let sealed = std::fs::read(self.repository().join(".cofferdam/sealed").join(name));
                let sealed = sealed.unwrap_or_else(|e| panic!("{when}: {}: {e}", record.id));
                let key = identities(&self.folder.join(file));
                let opened = sealed::unseal(&[&sealed], &key).unwrap().unwrap();
                assert_eq!(opened.recipient(), Some(record.recipient.clone()), "{when}");
            }
        }
        let sealed = std::fs::read_dir(self.repository().join(".cofferdam/sealed")).unwrap();
        assert_eq!(
            sealed.count(),
            2 * ledger.records().len(),
            "{when}: sealed files"
        );
        assert_eq!(self.git(&["status", "--porcelain", "-uall"]), "", "{when}");
        assert!(self.unfinished().is_none(), "{when}: unfinished run");
        self.expect_no_leftovers(when);
    }

    /// Takes back what can be taken back; from the beginning of the retirement on, goes on. Checks the end.
    pub fn undo_or_finish(&self, before: &Ground<'_>, first: &First, when: &str) {
        if self.retirement_begun() {
            let refused = self.run(&["undo", "--yes"]).expect_code(1);
            assert!(
                refused.stderr.contains("cofferdam resume"),
                "{}",
                refused.stderr
            );
            self.run(&["resume"]).expect_code(0);
            return self.expect_finished(before, when);
        }
        let begun = self.unfinished().is_some();
        let undone = self.run(&["undo", "--yes"]).expect_code(0);
        if begun || first == &self.first() {
            self.expect_first(first, when);
        } else {
            assert!(
                undone.stderr.contains("nothing to undo"),
                "{}",
                undone.stderr
            );
            self.expect_finished(before, when);
        }
    }

    /// Goes on, and checks the end; killed before it began, a run leaves nothing to go on with.
    pub fn resume_and_finish(&self, before: &Ground<'_>, first: &First, when: &str) {
        let begun = self.unfinished().is_some();
        self.run(&["resume"]).expect_code(0);
        if !begun && first == &self.first() {
            self.expect_first(first, when);
            self.run(&["split", "--yes"]).expect_code(0);
        }
        self.expect_finished(before, when);
    }

    /// The run stopped where nothing is retired yet: readers still hold the old identity, beside their own.
    #[track_caller]
    pub fn expect_nothing_retired(&self, when: &str) {
        let shared = recipient(&self.folder.join("shared.txt"));
        for (reader, _, held) in self.readers() {
            assert!(
                held.holds(&shared),
                "{when}: {reader} lost the old identity"
            );
        }
        let ledger = self.ledger();
        let state = ledger.record_of(&shared).map(|record| record.state);
        assert_ne!(state, Some(State::Retired), "{when}");
        assert!(!self.retirement_begun(), "{when}");
    }

    /// As [`Ground::expect_nothing_retired`], of these hosts alone.
    #[track_caller]
    pub fn expect_nothing_retired_on(&self, hosts: &[&str], when: &str) {
        let shared = recipient(&self.folder.join("shared.txt"));
        for host in hosts {
            let held = identities(&self.host_file(host));
            assert!(held.holds(&shared), "{when}: {host} lost the old identity");
        }
        assert!(!self.retirement_begun(), "{when}");
    }

    /// Nothing temporary lies anywhere, and of runs nothing but their logs.
    #[track_caller]
    pub fn expect_no_leftovers(&self, when: &str) {
        for part in ["r", "targets"] {
            for name in tree(&self.folder.join(part)).into_keys() {
                let file = Path::new(&name).file_name().unwrap();
                assert!(!is_temporary(file), "{when}: {name} was left behind");
                if let Some(name) = name.strip_prefix(".cofferdam/journal/") {
                    let known = matches!(name, "lock" | ".gitignore")
                        || !name.contains('/')
                        || name.ends_with("/log.jsonl");
                    assert!(known, "{when}: {name} was left in the journal's folder");
                }
            }
        }
    }

    /// Asks real sops what each zone opens, by the identities as found on one reader of each.
    #[track_caller]
    pub fn expect_sops_agrees(&self) {
        let mut cluster = Vec::new();
        for entry in std::fs::read_dir(self.cluster_folder()).unwrap() {
            cluster.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        let cluster_file = self.folder.join("cluster-keys.txt");
        std::fs::write(&cluster_file, cluster).unwrap();
        let mut files: Vec<(&str, PathBuf)> = vec![("k8s", cluster_file)];
        for zone in ["lan", "vps"] {
            let (host, _) = self.hosts.iter().find(|(_, z)| *z == zone).unwrap();
            files.push((zone, self.host_file(host)));
        }
        let expected = Homeops::expected();
        for path in &self.documents {
            for (zone, keys) in &files {
                let ran = self.sops(&["decrypt", path.as_str()], keys);
                if Homeops::zones_of(path.as_str()).contains(zone) {
                    assert_eq!(ran.expect_code(0).stdout, expected[path.as_str()], "{path}");
                } else {
                    assert_ne!(ran.code, Some(0), "{zone} opens {path}");
                }
            }
            let ran = self.sops(&["decrypt", path.as_str()], &self.folder.join("shared.txt"));
            assert_ne!(ran.code, Some(0), "the old identity opens {path}");
        }
    }

    /// Runs real sops in the work tree with one key file.
    pub fn sops(&self, args: &[&str], keys: &Path) -> Ran {
        Ran::of(
            self.sandbox
                .command("sops", &self.repository())
                .args(args)
                .env("SOPS_AGE_KEY_FILE", keys),
        )
    }
}

/// The identities of a key file.
pub fn identities(path: &Path) -> IdentitySet {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    IdentitySet::new(KeyFile::parse(&bytes).unwrap().identities())
}

/// The one recipient of a key file.
pub fn recipient(path: &Path) -> Recipient {
    let mut all = identities(path).recipients();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// A document of the work tree.
pub fn parse(path: &RepoPath, bytes: Vec<u8>) -> Document {
    let store = recognise(path.as_str(), &bytes).unwrap_or_else(|| panic!("{path} is no document"));
    Document::parse(store, bytes).unwrap()
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap();
    name.as_encoded_bytes().starts_with(b".")
}

/// All files and folders with permissions and contents; `.git` left out.
fn tree(root: &Path) -> Tree {
    fn visit(root: &Path, folder: &Path, all: &mut Tree) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() == ".git" {
                continue;
            }
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if metadata.is_dir() {
                all.insert(name, (mode, None));
                visit(root, &path, all);
            } else {
                all.insert(name, (mode, Some(std::fs::read(&path).unwrap())));
            }
        }
    }
    let mut all = Tree::new();
    visit(root, root, &mut all);
    all
}

fn tree_of_targets(root: &Path) -> Tree {
    tree(root)
}

#[track_caller]
fn same_tree(now: &Tree, first: &Tree, when: &str) {
    let differing: Vec<String> = now
        .keys()
        .chain(first.keys())
        .filter(|name| now.get(*name) != first.get(*name))
        .map(|name| {
            let show = |tree: &Tree| {
                tree.get(name)
                    .map(|(mode, b)| (format!("{mode:o}"), b.as_ref().map(Vec::len)))
            };
            format!("{name}: first {:?}, now {:?}", show(first), show(now))
        })
        .collect();
    assert!(differing.is_empty(), "{when}:\n{}", differing.join("\n"));
}

/// Writes a file of these permissions, making its folder (0700).
pub fn private(path: &Path, text: &str, mode: u32) {
    let folder = path.parent().unwrap();
    if !folder.is_dir() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let _ = std::fs::remove_file(path);
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
