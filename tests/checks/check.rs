//! `check`: the sample repository before and after its split, forms of output, accepted findings, and odd repositories.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::support::homeops::Homeops;
use crate::support::{COFFERDAM, Ran, Sandbox, copy_folder, have_peers, tests_folder};
use serde_json::Value;

const EVERYTHING: [&str; 4] = ["--policy", "strict", "--policy", "homelab"];

/// How many findings each policy has.
fn counts(ran: &Ran) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for finding in findings(ran) {
        let name = finding["policy"].as_str().unwrap().to_owned();
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn findings(ran: &Ran) -> Vec<Value> {
    let printed: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|e| panic!("{e}\n{}\n{}", ran.stdout, ran.stderr));
    printed["findings"].as_array().unwrap().clone()
}

/// A copy of a policy's tree of mistakes, outside of every repository.
fn tree(sandbox: &Sandbox, policy: &str) -> PathBuf {
    let folder = sandbox.path().join(policy);
    std::fs::create_dir_all(&folder).unwrap();
    copy_folder(
        &tests_folder().join("policies").join(policy).join("fail"),
        &folder,
    );
    folder
}

fn check(sandbox: &Sandbox, folder: &Path, args: &[&str]) -> Ran {
    let mut command = sandbox.command(COFFERDAM, folder);
    Ran::of(command.arg("check").args(args))
}

#[test]
fn the_sample_before_and_after_the_split() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let tree = homeops.repository();
    let sandbox = &homeops.sandbox;
    // As it was before anybody wrote down who should read what.
    let aside = sandbox.path().join("cofferdam.toml");
    std::fs::rename(tree.join("cofferdam.toml"), &aside).unwrap();
    let packs = ["--json", "--policy", "default", "--policy", "homelab"];
    let before = check(sandbox, &tree, &packs).expect_code(3);
    let wanted = [
        ("backup-stays-here", 1),
        ("http-without-redirect", 2),
        ("identity-spans-zones", 1),
        ("image-version-skew", 1),
        ("no-ci", 1),
        ("no-recovery", 1),
        ("one-identity-everywhere", 1),
        ("open-metrics", 1),
        ("pre-deploy-writes-plaintext", 21),
        ("rule-matches-plaintext", 1),
        ("rule-too-wide", 1),
        ("rule-unanchored", 3),
        ("secret-change-not-deployed", 21),
        ("tls-check-off", 1),
        ("unpinned-image", 4),
    ];
    let told = |counts: &BTreeMap<String, usize>| -> Vec<(String, usize)> {
        counts.iter().map(|(name, n)| (name.clone(), *n)).collect()
    };
    let wanted: Vec<(String, usize)> = wanted.map(|(name, n)| (name.to_owned(), n)).to_vec();
    assert_eq!(told(&counts(&before)), wanted);
    let catch_all = findings(&before)
        .into_iter()
        .find(|f| f["policy"] == "rule-too-wide")
        .unwrap();
    assert_eq!(
        (&catch_all["file"], &catch_all["line"]),
        (&".sops.yaml".into(), &9.into())
    );
    let images: Vec<Value> = findings(&before)
        .into_iter()
        .filter(|f| f["policy"] == "unpinned-image")
        .collect();
    for name in [
        "frigate:stable",
        "crowdsec:latest",
        "lldap:stable",
        "komodo-periphery:latest",
    ] {
        let naming = images
            .iter()
            .filter(|f| f["message"].as_str().unwrap().contains(name));
        assert_eq!(naming.count(), 1, "{name}");
    }

    std::fs::rename(&aside, tree.join("cofferdam.toml")).unwrap();
    homeops.split().expect_code(0);
    // Of what concerns secrets there is left what a split does not touch: Komodo's own files.
    let of_komodo = [
        ("pre-deploy-writes-plaintext", 21),
        ("secret-change-not-deployed", 21),
    ];
    let of_komodo = of_komodo.map(|(name, n)| (name.to_owned(), n)).to_vec();
    let after = check(sandbox, &tree, &["--json"]).expect_code(3);
    assert_eq!(told(&counts(&after)), of_komodo);
    let mut migrate = sandbox.command(COFFERDAM, &tree);
    Ran::of(migrate.args(["migrate", "komodo", "--yes"])).expect_code(0);
    sandbox.git(&tree, &["commit", "--quiet", "-am", "komodo: from memory"]);
    // None about secrets: nothing to say at all.
    let migrated = check(sandbox, &tree, &["--json"]).expect_code(0);
    assert_eq!(findings(&migrated).len(), 0);
    let strict = check(sandbox, &tree, &["--json", "--policy", "strict"]);
    let strict = counts(&strict);
    let allowed = ["host-without-clones", "zone-without-age"];
    assert!(
        strict.keys().all(|name| allowed.contains(&name.as_str())),
        "{strict:?}"
    );
    let homelab = check(sandbox, &tree, &["--json", "--policy", "homelab"]).expect_code(3);
    let other = [
        ("backup-stays-here", 1),
        ("http-without-redirect", 2),
        ("image-version-skew", 1),
        ("no-ci", 1),
        ("open-metrics", 1),
        ("tls-check-off", 1),
        ("unpinned-image", 4),
    ];
    let other = other.map(|(name, n)| (name.to_owned(), n)).to_vec();
    assert_eq!(told(&counts(&homelab)), other);

    // What a colleague does by hand is found.
    let text =
        std::fs::read_to_string(tree.join("docker/stacks/racknerd-aegis/newt/.sops.env")).unwrap();
    std::fs::write(tree.join("docker/stacks/kasm/newt/.sops.env"), text).unwrap();
    let copied = counts(&check(sandbox, &tree, &["--json"]).expect_code(3));
    assert_eq!(
        (copied["foreign-zone-reader"], copied["missing-reader"]),
        (1, 1),
        "{copied:?}"
    );
    sandbox.git(
        &tree,
        &["checkout", "--quiet", "docker/stacks/kasm/newt/.sops.env"],
    );
    let old = sandbox.git(&tree, &["show", "HEAD~3:docker/stacks/omni/omni/.sops.env"]);
    std::fs::write(tree.join("docker/stacks/omni/omni/.sops.env"), old + "\n").unwrap();
    let stale = counts(&check(sandbox, &tree, &["--json"]).expect_code(3));
    assert_eq!(
        (stale["retired-recipient"], stale["missing-reader"]),
        (1, 1),
        "{stale:?}"
    );
}

#[test]
fn a_change_is_compared_with_where_it_began() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, recovery) = Homeops::prepared();
    homeops.split().expect_code(0);
    let tree = homeops.repository();
    let sandbox = &homeops.sandbox;
    let git = |args: &[&str]| sandbox.git(&tree, args);
    // Komodo's files are not what this is about.
    let mut migrate = sandbox.command(COFFERDAM, &tree);
    Ran::of(migrate.args(["migrate", "komodo", "--yes"])).expect_code(0);
    git(&["commit", "--quiet", "-am", "komodo: from memory"]);
    let since = |revision: &str| check(sandbox, &tree, &["--json", "--since", revision]);
    let file = "docker/stacks/server04/traefik/.sops.env";
    let sops = |args: &[&str]| {
        let mut command = sandbox.command("sops", &tree);
        command.env("SOPS_AGE_KEY_FILE", homeops.laptop_file());
        Ran::of(command.args(args)).expect_code(0);
    };
    // What the split did is no finding: every data key is new.
    since("HEAD~3").expect_code(0);
    git(&["switch", "--quiet", "-c", "change"]);
    // An edit on this side, and one on the other that this side has not.
    sops(&["set", file, "[\"CF_DNS_API_TOKEN\"]", "\"another\""]);
    git(&["commit", "--quiet", "-am", "edit"]);
    git(&["switch", "--quiet", "main"]);
    sops(&[
        "set",
        "docker/stacks/kasm/newt/.sops.env",
        "[\"NEWT_ID\"]",
        "\"new\"",
    ]);
    git(&["commit", "--quiet", "-am", "meanwhile"]);
    git(&["switch", "--quiet", "change"]);
    since("main").expect_code(0);
    // A recipient that sops takes out alone.
    sops(&["rotate", "-i", "--rm-age", recovery.as_str(), file]);
    let rotated = counts(&since("main").expect_code(3));
    assert_eq!(
        rotated.keys().collect::<Vec<_>>(),
        ["missing-reader", "no-recovery"]
    );
    git(&["checkout", "--quiet", file]);
    let text = std::fs::read_to_string(tree.join(file)).unwrap();
    let without = without_recipient(&text, recovery.as_str());
    std::fs::write(tree.join(file), without).unwrap();
    let left = counts(&since("main").expect_code(3));
    assert_eq!(left["recipient-left-behind"], 1, "{left:?}");
    git(&["checkout", "--quiet", file]);
    // A secret of the VPS, in a folder that the LAN reads.
    let from = tree.join("docker/stacks/racknerd-aegis/newt/.sops.env");
    std::fs::create_dir_all(tree.join("docker/stacks/kasm/stolen")).unwrap();
    std::fs::copy(from, tree.join("docker/stacks/kasm/stolen/.sops.env")).unwrap();
    let copied = counts(&since("main").expect_code(3));
    assert_eq!(copied["copied-across-zones"], 1, "{copied:?}");
    std::fs::remove_dir_all(tree.join("docker/stacks/kasm/stolen")).unwrap();
    // A command that nobody reviewed.
    let topology = std::fs::read_to_string(tree.join("cofferdam.toml")).unwrap();
    std::fs::write(
        tree.join("cofferdam.toml"),
        topology.replace("[publish]", "[publish]\nrun = [\"curl evil.example\"]"),
    )
    .unwrap();
    let trusts = since("main").expect_code(3);
    assert!(
        trusts.stdout.contains("runs here: curl evil.example"),
        "{}",
        trusts.stdout
    );
    since("no-such-revision").expect_code(2);
    let empty = sandbox.path().join("no-git");
    std::fs::create_dir(&empty).unwrap();
    check(sandbox, &empty, &["--since", "HEAD"]).expect_code(2);
}

/// A dotenv document without one of its age entries, which is its last.
fn without_recipient(text: &str, recipient: &str) -> String {
    let line = text.lines().find(|l| l.ends_with(recipient)).unwrap();
    let entry = line.split("__map_").next().unwrap();
    let kept = text.lines().filter(|line| !line.starts_with(entry));
    let mut moved: Vec<String> = kept.map(str::to_owned).collect();
    // Lists have no gaps: those behind move up.
    let at: usize = entry.rsplit('_').next().unwrap().parse().unwrap();
    for line in &mut moved {
        for later in at + 1..9 {
            let (old, new) = (format!("list_{later}__"), format!("list_{}__", later - 1));
            if line.starts_with("sops_age__") {
                *line = line.replace(&old, &new);
            }
        }
    }
    moved.join("\n") + "\n"
}

/// A repository with something for every kind of place, and names that forms of output must take care of.
fn motley(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.path().join("motley");
    let stack = folder.join("a b,c:d%ü");
    std::fs::create_dir_all(&stack).unwrap();
    std::fs::write(
        stack.join("compose.yaml"),
        "services:\n  web:\n    image: nginx\n    ports: ['9100:9100']\n",
    )
    .unwrap();
    std::fs::write(folder.join("line\nbreak.sops.env"), "A=1\n").unwrap();
    std::fs::write(
        folder.join(".sops.yaml"),
        "creation_rules:\n  - path_regex: .*\n    age: x\n",
    )
    .unwrap();
    folder
}

#[test]
fn sarif_is_what_its_schema_says() {
    let schema =
        std::fs::read_to_string(tests_folder().join("schemas/sarif-schema-2.1.0.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&schema).unwrap();
    // As published, this pattern is no regular expression: a bracket too many. We write no language.
    for of in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][of]["properties"]["language"];
        let pattern = language.as_object_mut().unwrap().remove("pattern");
        assert!(pattern.unwrap().as_str().unwrap().ends_with("{2}]?$"));
    }
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    // The validator does refuse what is wrong.
    assert!(!validator.is_valid(&serde_json::json!({"version": "2.1.0", "runs": [{}]})));
    let sandbox = Sandbox::new();
    let mut trees = vec![motley(&sandbox)];
    for name in [
        "no-recovery",
        "unreadable-file",
        "pre-deploy-writes-plaintext",
        "chart-password",
    ] {
        trees.push(tree(&sandbox, name));
    }
    let empty = sandbox.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    trees.push(empty);
    for tree in trees {
        let ran = check(&sandbox, &tree, &[&["--sarif"], &EVERYTHING[..]].concat());
        let log: Value = serde_json::from_str(&ran.stdout).unwrap();
        let errors: Vec<String> = validator.iter_errors(&log).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", tree.display());
        let run = &log["runs"][0];
        let json = findings(&check(
            &sandbox,
            &tree,
            &[&["--json"], &EVERYTHING[..]].concat(),
        ));
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), json.len());
        for result in results {
            let at = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][at]["id"], result["ruleId"]);
        }
    }
}

#[test]
fn forms_of_output_survive_odd_names() {
    let sandbox = Sandbox::new();
    let folder = motley(&sandbox);
    let text = check(&sandbox, &folder, &EVERYTHING).expect_code(3);
    assert!(
        text.stdout.contains("line?break.sops.env"),
        "{}",
        text.stdout
    );
    assert!(
        text.stdout
            .contains("a b,c:d%ü/compose.yaml:3: image nginx is not pinned")
    );
    let ran = check(
        &sandbox,
        &folder,
        &[&["--github"], &EVERYTHING[..]].concat(),
    )
    .expect_code(3);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        lines.iter().all(|line| line.starts_with("::")),
        "{}",
        ran.stdout
    );
    let image =
        "::warning file=a b%2Cc%3Ad%25ü/compose.yaml,line=3,title=unpinned-image::image nginx";
    assert!(
        lines.iter().any(|line| line.starts_with(image)),
        "{}",
        ran.stdout
    );
    let json = check(&sandbox, &folder, &[&["--json"], &EVERYTHING[..]].concat()).expect_code(3);
    assert_eq!(findings(&json).len(), lines.len());
    // Two forms at once.
    check(&sandbox, &folder, &["--json", "--sarif"]).expect_code(2);
}

#[test]
fn packs_of_ones_own() {
    let sandbox = Sandbox::new();
    let folder = motley(&sandbox);
    let pack = |when: &str| {
        let text = format!(
            "[[policy]]\nname = \"own\"\nabout = \"file\"\nseverity = \"note\"\nwhen = '''{when}'''\nmessage = \"{{name}}!\"\nremedy = \"none\"\n"
        );
        std::fs::write(folder.join("own.toml"), text).unwrap();
        check(&sandbox, &folder, &["--json", "--policy", "own.toml"])
    };
    let found = findings(&pack("file.name == 'compose.yaml'").expect_code(3));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["message"], "compose.yaml!");
    pack("file.name == 'absent'").expect_code(0);
    for (when, wanted) in [
        ("file.nam == ''", "file has no fact nam"),
        ("rule.matched > 0", "names rule"),
        ("file.name ==", "is not CEL"),
        ("file.name.matches('a')", "there is no function matches"),
    ] {
        let ran = pack(when).expect_code(2);
        assert!(ran.stderr.contains(wanted), "{when}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    let erring = findings(&pack("size(file.name) / 0 > 1").expect_code(3));
    assert!(erring.len() > 2);
    assert_eq!(erring[0]["severity"], "error");
    let absent = check(&sandbox, &folder, &["--policy", "absent.toml"]).expect_code(2);
    assert!(
        absent
            .stderr
            .contains("there is no pack of policies absent.toml"),
        "{}",
        absent.stderr
    );
}

#[test]
fn accepted_findings_have_a_reason_and_an_end() {
    let sandbox = Sandbox::new();
    let folder = motley(&sandbox);
    let file = "a b,c:d%ü/compose.yaml";
    let list = |text: &str| {
        std::fs::create_dir_all(folder.join(".cofferdam")).unwrap();
        std::fs::write(folder.join(".cofferdam/accepted-findings.toml"), text).unwrap();
        check(&sandbox, &folder, &["--json", "--policy", "homelab"])
    };
    let entry = |until: &str| {
        format!(
            "[[accepted]]\npolicy = \"unpinned-image\"\nfile = \"{file}\"\nreason = \"r\"\nuntil = \"{until}\"\n"
        )
    };
    let all = counts(&list(""));
    assert_eq!(all["unpinned-image"], 1);
    let ran = list(&entry("2999-01-01"));
    assert!(!counts(&ran).contains_key("unpinned-image"));
    assert!(ran.stderr.contains("; 1 accepted"), "{}", ran.stderr);
    let ran = list(&entry("2020-01-01"));
    assert_eq!(counts(&ran), all);
    assert!(ran.stderr.contains("ended on 2020-01-01"), "{}", ran.stderr);
    let ran = list(&entry("2999-01-01").replace("unpinned-image", "open-webdav"));
    assert!(
        ran.stderr.contains("is accepted but not found any more"),
        "{}",
        ran.stderr
    );
    for broken in [
        entry("soon"),
        entry("2999-01-01").replace("\"r\"", "\"\""),
        "x".to_owned(),
    ] {
        list(&broken).expect_code(2);
    }
    // A list elsewhere.
    std::fs::write(folder.join("other.toml"), entry("2999-01-01")).unwrap();
    list("");
    let ran = check(
        &sandbox,
        &folder,
        &["--json", "--policy", "homelab", "--baseline", "other.toml"],
    );
    assert!(!counts(&ran).contains_key("unpinned-image"));
    check(&sandbox, &folder, &["--baseline", "absent.toml"]).expect_code(2);
}

#[test]
fn odd_repositories_are_survived_and_reported() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let document =
        std::fs::read(tests_folder().join("policies/no-rules/fail/web/.sops.env")).unwrap();
    let folder = sandbox.path().join("odd");
    let write = |path: &str, bytes: &[u8]| {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    };
    write("good/.sops.env", &document);
    write("torn/.sops.env", &document[..document.len() / 2]);
    write(
        "torn/whole-name.yaml",
        b"a: ENC[AES256_GCM,data:x]\nsops:\n  lastmodified: 1\n  mac: [\n",
    );
    write("broken/compose.yaml", b"services:\n  a: [\n---\n\t- x\n");
    write("broken/.sops.yaml", b"creation_rules: {a: 1}\n");
    write("latin/.sops.yaml", b"# \xe4\xf6\ncreation_rules: []\n");
    write(
        ".sops.yaml",
        b"creation_rules:\n  - path_regex: '('\n    age: x\n    odd_field: 1\n  - path_regex: ''\n",
    );
    write("cofferdam.toml", b"version = 1\n[zones\n");
    write(".cofferdam/keyring.toml", b"version = 9\n");
    write(
        "stacks.toml",
        b"[[stack]]\nname = 1\n[stack.config]\nserver_id = [\n",
    );
    write("binary.yaml", &[0, 159, 146, 150, 0]);
    write("empty.yaml", b"");
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff.sops.env");
    std::fs::write(folder.join(odd), &document).unwrap();
    std::os::unix::fs::symlink("loop-b", folder.join("loop-a")).unwrap();
    std::os::unix::fs::symlink("loop-a", folder.join("loop-b")).unwrap();
    std::os::unix::fs::symlink("..", folder.join("good/up")).unwrap();
    std::fs::write(sandbox.path().join("outside.env"), &document).unwrap();
    std::os::unix::fs::symlink("../outside.env", folder.join("link.sops.env")).unwrap();
    let large = std::fs::File::create(folder.join("large.yaml")).unwrap();
    large.set_len(100 << 20).unwrap();

    let args = [&["--json"], &EVERYTHING[..]].concat();
    let without_git = check(&sandbox, &folder, &args).expect_code(3);
    sandbox.git(&folder, &["init", "--quiet"]);
    let with_git = check(&sandbox, &folder, &args).expect_code(3);
    for ran in [without_git, with_git] {
        let problems: Vec<String> = findings(&ran)
            .iter()
            .filter(|f| f["policy"] == "unreadable-file")
            .map(|f| f["file"].as_str().unwrap().to_owned())
            .collect();
        for file in [
            "torn/whole-name.yaml",
            "broken/compose.yaml",
            "broken/.sops.yaml",
            "latin/.sops.yaml",
            "cofferdam.toml",
            ".cofferdam/keyring.toml",
            "odd\u{fffd}.sops.env",
            "link.sops.env",
        ] {
            assert!(problems.iter().any(|p| p == file), "{file}: {problems:?}");
        }
        let counts = counts(&ran);
        assert_eq!(counts["unknown-rule-field"], 1);
        assert!(counts["rule-unusable"] >= 2, "{counts:?}");
    }
    // A clone without history, and a repository without anything.
    sandbox.git(&folder, &["add", "good"]);
    sandbox.git(&folder, &["commit", "--quiet", "-m", "one"]);
    let url = format!("file://{}", folder.display());
    sandbox.git(
        sandbox.path(),
        &["clone", "--quiet", "--depth", "1", &url, "shallow"],
    );
    let shallow = check(&sandbox, &sandbox.path().join("shallow"), &["--json"]).expect_code(3);
    assert_eq!(counts(&shallow)["no-rules"], 1);
    let empty = sandbox.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    check(&sandbox, &empty, &["--json"]).expect_code(0);
    sandbox.git(&empty, &["init", "--quiet"]);
    check(&sandbox, &empty, &["--json"]).expect_code(0);
}

#[test]
fn no_value_is_in_what_check_prints() {
    let sandbox = Sandbox::new();
    let tree = tree(&sandbox, "clear-secret");
    for form in [&[][..], &["--json"], &["--sarif"], &["--github"]] {
        let ran = check(&sandbox, &tree, form).expect_code(3);
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        assert!(printed.contains("ADMIN_PASSWORD"));
        assert!(!printed.contains("correct-horse"), "{printed}");
    }
}
