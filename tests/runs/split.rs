//! The main job on the sample repository, judged by real sops, age and git.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::homeops::{Homeops, VPS};
use crate::support::{Ran, have_peers};
use cofferdam::keys::Recipient;
use cofferdam::keys::key_file::KeyFile;

/// Who may open what after the split: the key file of each zone, the operator's, recovery's.
struct Holders {
    zones: BTreeMap<&'static str, PathBuf>,
    old: PathBuf,
}

impl Holders {
    fn after_split(homeops: &Homeops) -> Self {
        let old = homeops.sandbox.path().join("old.txt");
        std::fs::copy(crate::support::homeops::fixture("shared-key.txt"), &old).unwrap();
        Self {
            zones: homeops.zone_key_files(),
            old,
        }
    }
}

fn recipients_in(key_file: &Path) -> Vec<Recipient> {
    KeyFile::parse(&std::fs::read(key_file).unwrap())
        .unwrap()
        .recipients()
}

/// All age recipients named in a file's text.
fn named_recipients(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.starts_with("age1") && word.len() == 62)
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_secret_opens_for_its_own_readers_and_nobody_else() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    homeops.split().expect_code(0);
    let holders = Holders::after_split(&homeops);
    let expected = Homeops::expected();
    assert_eq!(expected.len(), 29);
    for (path, plain) in &expected {
        let opens = |who: &str, key_file: &Path| {
            let ran = homeops.sops_decrypt(path, key_file).expect_code(0);
            assert_eq!(ran.stdout, *plain, "{path} as {who} reads it");
        };
        let is_refused = |who: &str, key_file: &Path| {
            let ran = homeops.sops_decrypt(path, key_file);
            assert_ne!(ran.code, Some(0), "{who} must not open {path}");
            assert!(ran.stdout.is_empty(), "{who} must not open {path}");
        };
        let readers = Homeops::zones_of(path);
        for (zone, key_file) in &holders.zones {
            if readers.contains(zone) {
                opens(zone, key_file);
            } else {
                is_refused(zone, key_file);
            }
        }
        opens("the operator", &homeops.laptop_file());
        opens("recovery", &homeops.recovery_file());
        is_refused("the old identity", &holders.old);
    }
}

#[test]
fn the_targets_hold_their_zones_identity_alone() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    homeops.split().expect_code(0);
    let mut lan = BTreeSet::new();
    let mut all = BTreeSet::new();
    for host in homeops.hosts() {
        let file = homeops.host_file(host);
        let held = recipients_in(&file);
        assert_eq!(held.len(), 1, "{host}");
        assert_ne!(held[0], homeops.shared, "{host}");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o400, "{host}");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(homeops.shared.as_str()), "{host}: {text}");
        let mut beside: Vec<_> = std::fs::read_dir(file.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        beside.sort();
        let marks = ".keys.txt.cofferdam-generation";
        assert_eq!(beside, [marks, "keys.txt"], "{host}");
        if host != VPS {
            lan.insert(held[0].to_string());
        }
        all.insert(held[0].to_string());
    }
    assert_eq!(lan.len(), 1);
    assert_eq!(all.len(), 2);
    let entries: Vec<PathBuf> = std::fs::read_dir(homeops.cluster_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    let name = entries[0].file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("k8s-") && name.ends_with(".agekey"),
        "{name}"
    );
    let held = recipients_in(&entries[0]);
    assert_eq!(held.len(), 1);
    assert!(!all.contains(held[0].as_str()));
    assert_ne!(held[0], homeops.shared);
}

#[test]
fn plain_sops_encrypts_new_secrets_for_the_right_readers() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, recovery) = Homeops::prepared();
    homeops.split().expect_code(0);
    let zones: BTreeMap<&str, String> = homeops
        .zone_key_files()
        .into_iter()
        .map(|(zone, file)| (zone, recipients_in(&file)[0].to_string()))
        .collect();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: new\nstringData:\n  a: b\n";
    let new = [
        ("kubernetes/apps/new-secret.yaml", secret, vec!["k8s"]),
        (
            "kubernetes/infrastructure/configs/x-credentials.yaml",
            secret,
            vec!["k8s"],
        ),
        ("docker/stacks/kasm/new/.sops.env", "A=b\n", vec!["lan"]),
        (
            "docker/stacks/server04/.sops.json",
            "{\"a\": \"b\"}\n",
            vec!["lan"],
        ),
        (
            "docker/stacks/storage/deep/er/x.sops.yaml",
            "a: b\n",
            vec!["lan"],
        ),
        (
            "docker/stacks/racknerd-aegis/new/.sops.env",
            "A=b\n",
            vec!["vps"],
        ),
        (
            "docker/stacks/shared/alloy/more.sops.env",
            "A=b\n",
            vec!["lan", "vps"],
        ),
        ("proxmox/host_vars/pve1/new.sops.yml", "a: b\n", vec![]),
    ];
    for (path, text, readers) in new {
        let file = homeops.repository().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        let mut sops = homeops.sandbox.command("sops", &homeops.repository());
        Ran::of(sops.args(["encrypt", "-i", path])).expect_code(0);
        let sealed = std::fs::read_to_string(&file).unwrap();
        let mut wanted: BTreeSet<String> = readers.iter().map(|zone| zones[zone].clone()).collect();
        wanted.insert(homeops.laptop.to_string());
        wanted.insert(recovery.to_string());
        assert_eq!(named_recipients(&sealed), wanted, "{path}");
        // Only data and stringData of a Kubernetes Secret are encrypted.
        assert_eq!(
            sealed.contains("kind: Secret"),
            path.starts_with("kubernetes/")
        );
    }
    // What sops wrote itself is as it should be: nothing to do.
    homeops.sandbox.git(&homeops.repository(), &["add", "-A"]);
    homeops
        .sandbox
        .git(&homeops.repository(), &["commit", "-qm", "new secrets"]);
    let again = homeops.split().expect_code(0);
    assert!(again.stderr.contains("Nothing to do"), "{}", again.stderr);
}

#[test]
fn no_rule_matches_a_file_that_is_no_secret() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    homeops.split().expect_code(0);
    let secrets = Homeops::expected();
    let files = homeops.sandbox.git(&homeops.repository(), &["ls-files"]);
    let mut asked = BTreeSet::new();
    for path in files.lines().filter(|path| !secrets.contains_key(*path)) {
        let mut sops = homeops.sandbox.command("sops", &homeops.repository());
        let ran = Ran::of(sops.args(["encrypt", path]));
        assert_ne!(ran.code, Some(0), "{path} matches a rule");
        assert!(
            ran.stderr.contains("no matching creation rules"),
            "{path}: {}",
            ran.stderr
        );
        asked.insert(path);
    }
    assert!(asked.contains("kubernetes/apps/values.yaml"));
    assert!(asked.contains(".sops.yaml"));
    let composes = asked.iter().filter(|path| path.ends_with("compose.yaml"));
    assert!(composes.count() >= 16, "{asked:?}");
}

#[test]
fn the_work_tree_is_committed_and_clean_and_a_second_split_does_nothing() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let repository = homeops.repository();
    let git = |args: &[&str]| homeops.sandbox.git(&repository, args);
    let before = git(&["rev-parse", "HEAD"]);
    homeops.split().expect_code(0);
    assert_eq!(git(&["status", "--porcelain"]), "");
    // One commit carries the change; retirement is noted in a second one, which touches the ledger only.
    assert_eq!(git(&["rev-parse", "HEAD~2"]), before);
    assert_eq!(
        git(&["diff", "--name-only", "HEAD~1", "HEAD"]),
        ".cofferdam/keyring.toml"
    );
    let run = git(&["diff", "--name-only", "HEAD~2", "HEAD~1"]);
    for path in run.lines() {
        let allowed = Homeops::expected().contains_key(path)
            || path.starts_with(".cofferdam/sealed/")
            || [
                ".cofferdam/digests.toml",
                ".cofferdam/keyring.toml",
                ".gitignore",
                ".sops.yaml",
                "cofferdam.toml",
            ]
            .contains(&path);
        assert!(allowed, "{path} is in the run's commit");
    }

    let (head, first) = (
        git(&["rev-parse", "HEAD"]),
        crate::support::snapshot(&repository),
    );
    let targets = crate::support::snapshot(&homeops.targets());
    for args in [
        &["split", "--yes"][..],
        &["split"],
        &["resume"],
        &["undo", "--yes"],
    ] {
        let ran = homeops.cofferdam(args).expect_code(0);
        let said = ran.stderr.to_lowercase();
        assert!(said.contains("nothing to"), "{args:?}: {said}");
    }
    let plan = homeops.plan_split().expect_code(0);
    assert!(plan.stdout.contains("Nothing to do"), "{}", plan.stdout);
    assert_eq!(git(&["rev-parse", "HEAD"]), head);
    crate::support::assert_same_files(&first, &crate::support::snapshot(&repository));
    crate::support::assert_same_files(&targets, &crate::support::snapshot(&homeops.targets()));
}

#[test]
fn a_diff_shows_only_encrypted_values_and_the_metadata_block() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    homeops.split().expect_code(0);
    let repository = homeops.repository();
    for path in Homeops::expected().keys() {
        let show = |revision: &str| {
            let mut git = homeops.sandbox.command("git", &repository);
            Ran::of(git.args(["show", &format!("{revision}:{path}")]))
                .expect_code(0)
                .stdout
        };
        let (old, new) = (show("HEAD~2"), show("HEAD"));
        let (old, new) = (without_metadata(path, &old), without_metadata(path, &new));
        assert_eq!(old.len(), new.len(), "{path}: lines were added or removed");
        for (old, new) in old.iter().zip(&new) {
            let ((old_rest, old_values), (new_rest, new_values)) = (masked(old), masked(new));
            assert_eq!(old_rest, new_rest, "{path}: more than values changed");
            // A new data key: no value stays as it was.
            for (old, new) in old_values.iter().zip(&new_values) {
                assert_ne!(old, new, "{path}: a value was not encrypted anew");
            }
        }
        // The same by git's own words.
        let mut git = homeops.sandbox.command("git", &repository);
        let diff = Ran::of(git.args(["diff", "-U0", "HEAD~2", "HEAD", "--", path])).stdout;
        assert!(diff.contains("ENC[AES256_GCM"), "{path} was not rewritten");
    }
}

/// The lines of a document that are not sops's own.
fn without_metadata(path: &str, text: &str) -> Vec<String> {
    let lines = text.split_inclusive('\n').map(str::to_owned);
    if path.ends_with(".env") {
        return lines.filter(|line| !line.starts_with("sops_")).collect();
    }
    let opening = if path.ends_with(".json") {
        "\t\"sops\": {"
    } else {
        "sops:"
    };
    let mut inside = false;
    let mut kept = Vec::new();
    for line in lines {
        let bare = line.trim_end_matches('\n');
        if bare == opening {
            inside = true;
        } else if inside && !bare.starts_with([' ', '\t']) {
            inside = false;
        } else if inside && path.ends_with(".json") && (bare == "\t}" || bare == "\t},") {
            inside = false;
            continue;
        }
        if !inside {
            kept.push(line);
        }
    }
    assert!(
        kept.len() < text.lines().count(),
        "{path}: no metadata block found"
    );
    kept
}

/// A line with its `ENC[…]` tokens replaced by their type, and the tokens.
fn masked(line: &str) -> (String, Vec<String>) {
    let mut rest = String::new();
    let mut values = Vec::new();
    let mut left = line;
    while let Some(start) = left.find("ENC[AES256_GCM,") {
        let end = start + left[start..].find(']').unwrap() + 1;
        let token = &left[start..end];
        let kind = token.rsplit_once(",type:").unwrap().1;
        rest.push_str(&left[..start]);
        rest.push_str("ENC[");
        rest.push_str(kind);
        values.push(token.to_owned());
        left = &left[end..];
    }
    rest.push_str(left);
    (rest, values)
}

#[test]
fn every_identity_is_sealed_to_the_operator_and_to_recovery() {
    if !have_peers(&["git", "age"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    homeops.split().expect_code(0);
    let mut wanted: BTreeSet<String> = homeops
        .zone_key_files()
        .values()
        .map(|file| recipients_in(file)[0].to_string())
        .collect();
    wanted.insert(homeops.shared.to_string());
    for key_file in [homeops.laptop_file(), homeops.recovery_file()] {
        let mut opened = BTreeSet::new();
        for entry in std::fs::read_dir(homeops.repository().join(".cofferdam/sealed")).unwrap() {
            let mut age = homeops.sandbox.command("age", homeops.sandbox.path());
            age.arg("-d")
                .arg("-i")
                .arg(&key_file)
                .arg(entry.unwrap().path());
            let ran = Ran::of(&mut age);
            if ran.code == Some(0) {
                let found = KeyFile::parse(&ran.stdout_bytes).unwrap().recipients();
                opened.insert(found[0].to_string());
            }
        }
        assert_eq!(opened, wanted, "{}", key_file.display());
    }
}

#[test]
fn without_the_operators_identity_nothing_is_retired() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let shared = crate::support::homeops::fixture("shared-key.txt");
    let private = homeops.sandbox.path().join("only-shared.txt");
    std::fs::copy(shared, &private).unwrap();
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
    let run = |args: &[&str]| {
        let mut command = homeops.command(args);
        Ran::of(command.env("SOPS_AGE_KEY_FILE", &private))
    };
    let ran = run(&["split", "--yes"]).expect_code(5);
    assert!(ran.stderr.contains("laptop"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
    for host in homeops.hosts() {
        assert!(recipients_in(&homeops.host_file(host)).contains(&homeops.shared));
    }
    run(&["resume"]).expect_code(5);
    // With the operator's identity at hand the run ends.
    homeops.cofferdam(&["resume"]).expect_code(0);
    for host in homeops.hosts() {
        assert!(!recipients_in(&homeops.host_file(host)).contains(&homeops.shared));
    }
    for path in Homeops::expected().keys() {
        homeops
            .sops_decrypt(path, &homeops.laptop_file())
            .expect_code(0);
    }
}
