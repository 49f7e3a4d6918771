//! Bad input is named, with a hint, by the right exit code, and nothing is written.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::homeops::Homeops;
use crate::support::snapshot::{expect_snapshot, masked};
use crate::support::{Ran, assert_same_files, have_peers, snapshot};

const NEWT: &str = "docker/stacks/kasm/newt/.sops.env";
const GRAFANA: &str = "kubernetes/infrastructure/configs/grafana-admin-secret.yaml";
const TOPOLOGY: &str = "cofferdam.toml";

/// Everything that a refused command must leave as it is.
#[derive(Debug)]
struct State {
    repository: BTreeMap<String, Vec<u8>>,
    targets: BTreeMap<String, Vec<u8>>,
    modes: BTreeMap<String, u32>,
    refs: String,
}

impl State {
    fn of(homeops: &Homeops) -> Self {
        let mut modes = BTreeMap::new();
        modes_below(&homeops.repository(), &mut modes);
        modes_below(&homeops.targets(), &mut modes);
        let mut git = homeops.sandbox.command("git", &homeops.repository());
        let refs = Ran::of(git.args(["for-each-ref"])).stdout;
        Self {
            repository: snapshot(&homeops.repository()),
            targets: snapshot(&homeops.targets()),
            modes,
            refs,
        }
    }

    #[track_caller]
    fn expect(&self, homeops: &Homeops) {
        let now = Self::of(homeops);
        assert_same_files(&self.repository, &now.repository);
        assert_same_files(&self.targets, &now.targets);
        assert_eq!(self.modes, now.modes);
        assert_eq!(self.refs, now.refs);
    }
}

/// Permissions of all files and folders but git's own and the journal's lock.
fn modes_below(folder: &Path, modes: &mut BTreeMap<String, u32>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with(".git") || path.ends_with(".cofferdam/journal") {
            continue;
        }
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        modes.insert(path.display().to_string(), metadata.permissions().mode());
        if metadata.is_dir() {
            modes_below(&path, modes);
        }
    }
}

fn edit(homeops: &Homeops, path: &str, change: impl FnOnce(String) -> String) {
    let file = homeops.repository().join(path);
    let before = std::fs::read_to_string(&file).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after, "{path} was not changed");
    std::fs::write(&file, after).unwrap();
}

fn commit(homeops: &Homeops) {
    let repository = homeops.repository();
    homeops.sandbox.git(&repository, &["add", "-A"]);
    homeops
        .sandbox
        .git(&repository, &["commit", "-q", "-m", "change"]);
}

/// Runs a command that must be refused: exit code, an error, a hint, no answer, nothing written. Its words are kept as
/// a snapshot.
#[track_caller]
fn refused(homeops: &Homeops, name: &str, command: &mut Command, code: i32) -> String {
    let before = State::of(homeops);
    let ran = Ran::of(command).expect_code(code);
    before.expect(homeops);
    assert_eq!(ran.stdout, "", "{name}: an answer beside the refusal");
    let said: Vec<&str> = ran
        .stderr
        .lines()
        .skip_while(|line| !line.starts_with("error: "))
        .collect();
    assert!(!said.is_empty(), "{name}: no error in {:?}", ran.stderr);
    assert!(
        said.iter().any(|line| line.starts_with("hint: ")),
        "{name}: no hint in {:?}",
        ran.stderr
    );
    let text = masked(homeops, &format!("{}\n", said.join("\n")));
    expect_snapshot(&format!("refusals/{name}"), &text);
    text
}

/// The sample, ready to be split; none if git or sops is missing.
fn prepared() -> Option<Homeops> {
    have_peers(&["git"]).then(|| Homeops::prepared().0)
}

#[test]
fn no_identity_opens_the_documents() {
    let Some(homeops) = prepared() else { return };
    for (name, key_file) in [
        ("no_identity", None),
        ("identity_of_somebody_else", Some(homeops.laptop_file())),
        (
            "identity_file_missing",
            Some(homeops.sandbox.path().join("none.txt")),
        ),
    ] {
        for goal in [&["plan", "split"][..], &["split", "--yes"]] {
            let mut command = homeops.command(goal);
            command.env_remove("SOPS_AGE_KEY_FILE");
            if let Some(file) = &key_file {
                command.env("SOPS_AGE_KEY_FILE", file);
            }
            let said = refused(&homeops, name, &mut command, 1);
            assert!(said.contains("29 documents"), "{said}");
        }
    }
}

#[test]
fn a_tampered_document() {
    let Some(homeops) = prepared() else { return };
    edit(&homeops, GRAFANA, |text| {
        text.replace("name: grafana-admin", "name: other")
    });
    edit(&homeops, NEWT, |text| {
        text.replacen("ENC[AES256_GCM,data:", "ENC[AES256_GCM,data:AAAA", 1)
    });
    commit(&homeops);
    for goal in [&["plan", "split"][..], &["split", "--yes"]] {
        let said = refused(&homeops, "tampered", &mut homeops.command(goal), 1);
        assert!(
            said.contains(GRAFANA) && said.contains("MAC mismatch"),
            "{said}"
        );
        assert!(said.contains(NEWT) && said.contains("NEWT_ID"), "{said}");
    }
}

#[test]
fn a_document_that_only_pgp_opens() {
    let Some(homeops) = prepared() else { return };
    edit(&homeops, GRAFANA, |text| {
        let values = &text[..text.find("sops:").unwrap()];
        format!(
            "{values}sops:\n    pgp:\n        - created_at: \"2026-01-01T00:00:00Z\"\n          enc: |-\n            -----BEGIN PGP MESSAGE-----\n\n            hQEMA1qkAAAAAAAAAQ==\n            -----END PGP MESSAGE-----\n          fp: FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4\n    lastmodified: \"2026-01-01T00:00:00Z\"\n    mac: ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]\n    version: 3.11.0\n"
        )
    });
    commit(&homeops);
    let said = refused(
        &homeops,
        "only_pgp",
        &mut homeops.command(&["split", "--yes"]),
        1,
    );
    assert!(
        said.contains(GRAFANA) && said.contains("pgp FBC7B9E2"),
        "{said}"
    );
}

#[test]
fn a_topology_with_three_mistakes_reports_all() {
    let Some(homeops) = prepared() else { return };
    edit(&homeops, TOPOLOGY, |text| {
        text.replacen("max_age = \"90 days\"", "max_age = \"90 dayz\"", 1)
            .replace("zone = \"k8s\"", "zone = \"k9s\"")
            .replace("commit = true", "comit = true")
    });
    for goal in [&["plan", "split"][..], &["split", "--yes"], &["resume"]] {
        let mut command = homeops.command(goal);
        let said = refused(&homeops, "topology_three_mistakes", &mut command, 1);
        let places: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("error: cofferdam.toml:"))
            .collect();
        assert_eq!(places.len(), 3, "{said}");
        for place in places {
            let mut numbers = place.split(':').map(str::parse::<usize>);
            assert!(
                numbers.next().unwrap().is_ok_and(|line| line > 1),
                "{place}"
            );
            assert!(
                numbers.next().unwrap().is_ok_and(|column| column > 0),
                "{place}"
            );
        }
    }
}

#[test]
fn a_document_in_two_zones_or_in_none() {
    let Some(homeops) = prepared() else { return };
    edit(&homeops, TOPOLOGY, |text| {
        text.replace(
            "[\"proxmox/**/*.sops.yml\"]",
            "[\"proxmox/**/*.sops.yml\", \"docker/stacks/kasm/**/*.sops.env\"]",
        )
    });
    let said = refused(
        &homeops,
        "two_zones",
        &mut homeops.command(&["split", "--yes"]),
        1,
    );
    assert!(
        said.contains("zone lan") && said.contains("zone proxmox"),
        "{said}"
    );

    let Some(homeops) = prepared() else { return };
    std::fs::create_dir(homeops.repository().join("attic")).unwrap();
    homeops
        .sandbox
        .git(&homeops.repository(), &["mv", NEWT, "attic/old.sops.env"]);
    commit(&homeops);
    let said = refused(
        &homeops,
        "no_zone",
        &mut homeops.command(&["split", "--yes"]),
        1,
    );
    assert!(said.contains("attic/old.sops.env"), "{said}");
}

#[test]
#[cfg(not(feature = "libssh2"))]
fn a_transport_that_is_not_built_in() {
    let Some(homeops) = prepared() else { return };
    edit(&homeops, TOPOLOGY, |text| {
        let line = "local = \"../targets/kasm\"";
        assert_eq!(text.matches(line).count(), 1, "{text}");
        text.replace(line, "ssh = \"root@kasm\"\ntransport = \"libssh2\"")
    });
    let said = refused(
        &homeops,
        "transport",
        &mut homeops.command(&["split", "--yes", "--allow-dirty"]),
        1,
    );
    for wanted in [
        "transport of: kasm",
        "leave `transport` out",
        "--features libssh2",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn a_dirty_work_tree() {
    let Some(homeops) = prepared() else { return };
    edit(&homeops, "README.md", |text| format!("{text}mine\n"));
    std::fs::write(homeops.repository().join("new.txt"), "mine too\n").unwrap();
    let said = refused(
        &homeops,
        "dirty",
        &mut homeops.command(&["split", "--yes"]),
        1,
    );
    assert!(
        said.contains("README.md") && said.contains("new.txt"),
        "{said}"
    );

    homeops
        .cofferdam(&["split", "--yes", "--allow-dirty"])
        .expect_code(0);
    let git = |args: &[&str]| homeops.sandbox.git(&homeops.repository(), args);
    assert_eq!(git(&["status", "--porcelain"]), " M README.md\n?? new.txt");
    let committed = git(&["log", "--format=", "--name-only", "-2"]);
    assert!(!committed.contains("README.md") && !committed.contains("new.txt"));
    homeops.sops_decrypt_if_there(NEWT);
}

#[test]
fn a_second_run_at_the_same_time() {
    let Some(homeops) = prepared() else { return };
    let lock = cofferdam::repo::lock::RunLock::acquire(&homeops.repository()).unwrap();
    for goal in [&["split", "--yes"][..], &["resume"], &["undo", "--yes"]] {
        refused(&homeops, "second_run", &mut homeops.command(goal), 1);
    }
    drop(lock);
    homeops.split().expect_code(0);
}

#[test]
fn an_unfinished_run_is_not_run_over() {
    let Some(homeops) = prepared() else { return };
    homeops
        .cofferdam(&["split", "--yes", "--hold-at", "rewrite"])
        .expect_code(0);
    refused(
        &homeops,
        "unfinished",
        &mut homeops.command(&["split", "--yes"]),
        5,
    );
    homeops.cofferdam(&["resume"]).expect_code(0);
}

#[test]
fn an_operator_with_the_shared_recipient() {
    let Some(homeops) = prepared() else { return };
    edit(&homeops, TOPOLOGY, |text| {
        text.replace(homeops.laptop.as_str(), homeops.shared.as_str())
    });
    for goal in [&["plan", "split"][..], &["split", "--yes"]] {
        let mut command = homeops.command(goal);
        let said = refused(&homeops, "operator_is_shared_plan", &mut command, 1);
        assert!(said.contains("operator laptop"), "{said}");
    }

    let homeops = Homeops::new();
    let recovery = homeops.recovery_create();
    let operator = format!("laptop={}", homeops.shared);
    let mut command = homeops.command(&[
        "init",
        "--yes",
        "--recovery",
        recovery.as_str(),
        "--operator",
        &operator,
        "--local-root",
        "../targets",
    ]);
    refused(&homeops, "operator_is_shared_init", &mut command, 1);
}

#[test]
fn nobody_to_ask() {
    let Some(homeops) = prepared() else { return };
    let said = refused(
        &homeops,
        "nobody_to_ask",
        &mut homeops.command(&["split"]),
        2,
    );
    assert!(said.contains("--yes"), "{said}");
}

#[test]
fn no_topology_and_no_repository() {
    let Some(homeops) = prepared() else { return };
    std::fs::remove_file(homeops.repository().join(TOPOLOGY)).unwrap();
    for goal in [
        &["plan", "split"][..],
        &["split", "--yes"],
        &["resume"],
        &["undo", "--yes"],
    ] {
        refused(&homeops, "no_topology", &mut homeops.command(goal), 1);
    }
    for goal in [
        &["plan", "split"][..],
        &["split", "--yes"],
        &["resume"],
        &["undo", "--yes"],
    ] {
        let mut command = homeops.command(goal);
        command.current_dir(homeops.sandbox.path());
        refused(&homeops, "no_repository", &mut command, 1);
    }
}

/// A split that stops at the gate: exit 5, an error, hints, no document touched. Its words are kept as a snapshot.
#[track_caller]
fn stopped_at_the_gate(homeops: &Homeops, name: &str) -> String {
    let documents = |homeops: &Homeops| -> Vec<Vec<u8>> {
        let paths = Homeops::expected().into_keys();
        paths
            .map(|path| std::fs::read(homeops.repository().join(path)).unwrap())
            .collect()
    };
    let before = documents(homeops);
    let ran = Ran::of(&mut homeops.command(&["split", "--yes"])).expect_code(5);
    assert_eq!(documents(homeops), before, "{name}");
    let said = ran.stderr.lines();
    let said: Vec<&str> = said.skip_while(|l| !l.starts_with("error: ")).collect();
    let text = masked(homeops, &format!("{}\n", said.join("\n")));
    expect_snapshot(&format!("refusals/{name}"), &text);
    ran.stderr
}

#[test]
fn targets_that_cannot_be_read() {
    let Some(homeops) = prepared() else { return };
    std::fs::remove_dir_all(homeops.targets().join("nvr")).unwrap();
    std::fs::remove_dir_all(homeops.targets().join("minipcs")).unwrap();
    let said = stopped_at_the_gate(&homeops, "target_missing");
    assert!(said.contains("nvr") && said.contains("minipcs"), "{said}");

    let Some(homeops) = prepared() else { return };
    let file = homeops.host_file("nvr");
    let held = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "AGE-SECRET-KEY-1QQQQQQ\n").unwrap();
    let said = stopped_at_the_gate(&homeops, "target_key_file");
    assert!(said.contains("nvr") && said.contains("line 1"), "{said}");
    assert!(!said.contains("QQQQ"), "{said}");
    Ran::of(&mut homeops.command(&["undo", "--yes"])).expect_code(0);

    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    stopped_at_the_gate(&homeops, "target_no_file");
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, held).unwrap();
    Ran::of(&mut homeops.command(&["resume"])).expect_code(0);
}

#[test]
fn a_rule_of_somebody_else_that_matches_everything() {
    let Some(homeops) = prepared() else { return };
    edit(&homeops, ".sops.yaml", |text| {
        format!("{text}  - path_regex: .*\n    pgp: FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4\n")
    });
    commit(&homeops);
    let said = refused(
        &homeops,
        "foreign_catch_all",
        &mut homeops.command(&["split", "--yes"]),
        1,
    );
    assert!(said.contains(".sops.yaml line"), "{said}");
}

#[test]
fn rules_with_anchors_groups_and_foreign_keys_keep_what_is_not_ours() {
    let Some(homeops) = prepared() else { return };
    let shared = homeops.shared.as_str();
    let rules = format!(
        "# top\nkeys:\n  - &shared {shared}\nstores:\n  yaml:\n    indent: 2\ncreation_rules:\n  - path_regex: proxmox/.*\\.sops\\.yml$\n    key_groups:\n      - age:\n          - *shared\n  # legacy\n  - path_regex: ^legacy/\n    pgp: FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4\n  - path_regex: .*.yaml\n    encrypted_regex: '^(data|stringData)$'\n    age: *shared\n"
    );
    std::fs::write(homeops.repository().join(".sops.yaml"), rules).unwrap();
    commit(&homeops);
    homeops.split().expect_code(0);
    let text = std::fs::read_to_string(homeops.repository().join(".sops.yaml")).unwrap();
    assert!(text.starts_with("# top\nkeys:\n"), "{text}");
    assert!(text.contains("stores:\n  yaml:\n    indent: 2\n"), "{text}");
    assert!(
        text.contains("  # legacy\n  - path_regex: ^legacy/\n    pgp: FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4\n"),
        "{text}"
    );
    assert!(!text.contains("path_regex: .*.yaml"), "{text}");
    homeops.sops_decrypt_if_there(NEWT);
    homeops.split().expect_code(0);
}

#[test]
fn without_rules_they_are_written() {
    let Some(homeops) = prepared() else { return };
    std::fs::remove_file(homeops.repository().join(".sops.yaml")).unwrap();
    commit(&homeops);
    homeops.split().expect_code(0);
    let text = std::fs::read_to_string(homeops.repository().join(".sops.yaml")).unwrap();
    assert_eq!(text.matches("path_regex").count(), 5, "{text}");
}

#[test]
fn odd_names_links_and_permissions() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let Some(homeops) = prepared() else { return };
    let folder = homeops.repository().join("docker/stacks/kasm/newt");
    let names = [
        "with space.sops.env",
        "uni-ü→.sops.env",
        "new\nline.sops.env",
        "-dash.sops.env",
        "quo\"te's.sops.env",
        "$(touch x);.sops.env",
    ];
    for name in names {
        std::fs::write(folder.join(name), "ODD=name\n").unwrap();
        let mut sops = homeops.sandbox.command("sops", &folder);
        sops.args([
            "--config",
            "/dev/null",
            "encrypt",
            "--age",
            homeops.shared.as_str(),
        ])
        .args([
            "--input-type",
            "dotenv",
            "--output-type",
            "dotenv",
            "-i",
            "--",
        ])
        .arg(format!("./{name}"));
        Ran::of(&mut sops).expect_code(0);
    }
    std::os::unix::fs::symlink(".sops.env", folder.join("link.sops.env")).unwrap();
    let private = homeops.repository().join(GRAFANA);
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
    commit(&homeops);

    homeops.split().expect_code(0);
    let git = |args: &[&str]| homeops.sandbox.git(&homeops.repository(), args);
    assert_eq!(git(&["status", "--porcelain"]), "");
    for name in names {
        let path = format!("docker/stacks/kasm/newt/{name}");
        let mut sops = homeops.sandbox.command("sops", &homeops.repository());
        sops.args([
            "decrypt",
            "--input-type",
            "dotenv",
            "--output-type",
            "dotenv",
        ])
        .args(["--", &path])
        .env("SOPS_AGE_KEY_FILE", homeops.host_file("kasm"));
        assert_eq!(Ran::of(&mut sops).expect_code(0).stdout, "ODD=name\n");
        assert!(!folder.join("x").exists());
    }
    let link = std::fs::read_link(folder.join("link.sops.env")).unwrap();
    assert_eq!(link, Path::new(".sops.env"));
    let mode = std::fs::metadata(&private).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_full_disk_stops_the_run_and_resume_finishes_it() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    // Sizes below what a run needs, so that it runs out at several places.
    for spare in [4, 40, 120, 200] {
        let Some(disk) = SmallDisk::mount() else {
            println!("skipped: a small file system can be mounted by root only");
            return;
        };
        let homeops = Homeops::prepared_below(disk.folder.path());
        let filler = disk.folder.path().join("filler");
        disk.fill(&filler, spare);
        let ran = homeops.split();
        assert_ne!(ran.code, Some(101), "{}", ran.stderr);
        if ran.code != Some(0) {
            assert!(ran.stderr.contains("error: "), "{}", ran.stderr);
            assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
        }
        // Whatever happened, every document opens for somebody whom it opened for before.
        for (path, plain) in Homeops::expected() {
            let read = homeops
                .sops_decrypt(&path, &homeops.keys_file())
                .expect_code(0);
            assert_eq!(read.stdout, plain, "{path}, with {spare} KiB to spare");
        }
        std::fs::remove_file(&filler).unwrap();
        homeops.cofferdam(&["resume", "--yes"]).expect_code(0);
        homeops.split().expect_code(0);
        for (path, plain) in Homeops::expected() {
            let read = homeops
                .sops_decrypt(&path, &homeops.laptop_file())
                .expect_code(0);
            assert_eq!(read.stdout, plain);
        }
        homeops
            .sops_decrypt(NEWT, &homeops.host_file("kasm"))
            .expect_code(0);
    }
}

/// A file system in memory with little room; unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("cofferdam-disk-")
            .tempdir()
            .unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        matches!(mounted, Ok(status) if status.success()).then_some(Self { folder })
    }

    /// Leaves this many KiB.
    fn fill(&self, filler: &Path, spare: u64) {
        let status = rustix::fs::statvfs(self.folder.path()).unwrap();
        let free = status.f_bavail * status.f_frsize;
        let size = usize::try_from(free - spare * 1024).unwrap();
        std::fs::write(filler, vec![0u8; size]).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still have a file open.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status();
    }
}

trait Reads {
    fn sops_decrypt_if_there(&self, path: &str);
    fn prepared_below(folder: &Path) -> Homeops;
}

impl Reads for Homeops {
    /// Real sops, where it is installed, opens a document of the host kasm.
    fn sops_decrypt_if_there(&self, path: &str) {
        if have_peers(&["sops"]) {
            self.sops_decrypt(path, &self.host_file("kasm"))
                .expect_code(0);
        }
    }

    fn prepared_below(folder: &Path) -> Homeops {
        let homeops = Homeops::new_in(folder);
        let recovery = homeops.recovery_create();
        homeops.init(&recovery).expect_code(0);
        homeops
    }
}
