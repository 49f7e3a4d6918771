//! `sync` follows an edited topology: after each edit everybody opens exactly what it says, a second `sync` has nothing to do, and
//! who left opens nothing that is encrypted from then on, neither by what was held nor by what could be unsealed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::ground::{Ground, identities, parse, private, recipient};
use crate::support::homeops::Homeops;
use crate::support::side_by_side::side_by_side;
use crate::support::{Sandbox, tests_folder};
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keys::{Identity, IdentitySet};
use cofferdam::keystore::sealed;
use cofferdam::ledger::{Holder, State};
use cofferdam::repo_path::RepoPath;
use cofferdam::topology::{self, Topology};

fn split(sandbox: &Sandbox) -> Ground<'_> {
    let ground = Ground::small(sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    ground
}

fn toml(ground: &Ground<'_>) -> PathBuf {
    ground.repository().join("cofferdam.toml")
}

/// Edits `cofferdam.toml` and commits it, as people do.
#[track_caller]
fn edit(ground: &Ground<'_>, changes: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(toml(ground)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        text = text.replace(from, to);
    }
    std::fs::write(toml(ground), text).unwrap();
    ground.git(&["add", "-A"]);
    ground.git(&["commit", "-q", "-m", "edit"]);
}

fn add(ground: &Ground<'_>, text: &str) {
    edit(
        ground,
        &[("version = 1\n", &format!("version = 1\n{text}"))],
    );
}

/// `sync --yes` with what was accepted by name.
#[track_caller]
fn sync(ground: &Ground<'_>, accepted: &[&str], more: &[&str]) {
    let mut args = vec!["sync", "--yes"];
    for name in accepted {
        args.extend(["--accept", *name]);
    }
    args.extend(more);
    ground.run(&args).expect_code(0);
}

fn new_operator(ground: &Ground<'_>, file: &str) -> String {
    let identity = Identity::mint();
    let text = KeyFile::empty().with_identity(&[], &identity);
    private(&ground.folder.join(file), text.expose(), 0o600);
    identity.recipient().unwrap().to_string()
}

/// The identities on every reader of the topology, by name.
fn held(ground: &Ground<'_>, topology: &Topology) -> BTreeMap<String, IdentitySet> {
    let mut held = BTreeMap::new();
    for host in &topology.hosts {
        held.insert(host.name.clone(), identities(&ground.host_file(&host.name)));
    }
    for cluster in &topology.clusters {
        let folder = ground.folder.join("targets").join(&cluster.name);
        let folder = folder.join("flux-system/sops-age");
        let mut all = IdentitySet::new(Vec::new());
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_hidden = path
                .file_name()
                .unwrap()
                .as_encoded_bytes()
                .starts_with(b".");
            if !is_hidden {
                all.extend(identities(&path));
            }
        }
        held.insert(cluster.name.clone(), all);
    }
    held
}

/// Who opens what is exactly the topology, in the work tree and at HEAD; and a second `sync` has nothing to do.
#[track_caller]
fn expect_converged(ground: &Ground<'_>, when: &str) {
    assert_eq!(ground.git(&["status", "--short"]), "", "{when}");
    let text = std::fs::read_to_string(toml(ground)).unwrap();
    let topology = topology::parse(&text, "cofferdam.toml").unwrap();
    let held = held(ground, &topology);
    for path in documents(ground) {
        let places = topology.places(&path);
        let readers = topology.readers_of(&places[0]);
        let document = parse(&path, ground.read(&path));
        for (name, held) in &held {
            let reads = readers.iter().any(|r| r.name() == name);
            assert_eq!(
                document.open_with(held).is_ok(),
                reads,
                "{when}: {name}: {path}"
            );
        }
        let always = topology.always().len();
        let zones = document.recipients().len() - always;
        assert!(zones <= held.len(), "{when}: {path}");
        for (recipient, name) in topology.always() {
            assert!(
                document.recipients().contains(&recipient),
                "{when}: {name}: {path}"
            );
        }
    }
    let head = ground.git(&["rev-parse", "HEAD"]);
    let again = ground.run(&["sync", "--yes"]).expect_code(0);
    assert!(
        again.stderr.contains("Nothing to do"),
        "{when}: {}",
        again.stderr
    );
    assert_eq!(ground.git(&["rev-parse", "HEAD"]), head, "{when}");
    assert!(ground.unfinished().is_none(), "{when}");
    ground.expect_no_leftovers(when);
}

fn documents(ground: &Ground<'_>) -> Vec<RepoPath> {
    let files = ground.git(&["ls-files"]);
    let is_secret = |path: &&str| {
        path.contains(".sops.") && !path.ends_with(".sops.yaml") || path.ends_with("secret.yaml")
    };
    files
        .lines()
        .filter(is_secret)
        .map(|p| RepoPath::new(p).unwrap())
        .collect()
}

/// These identities open no document, by themselves or by what they unseal in the work tree; nor does any data key of before.
#[track_caller]
fn expect_shut_out(ground: &Ground<'_>, before: &Ground<'_>, gone: &IdentitySet, when: &str) {
    let mut gone = gone.share();
    for folder in [before, ground].map(|g| g.repository().join(".cofferdam/sealed")) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            if let Ok(Some(identity)) = sealed::unseal(&[&bytes], &gone) {
                gone.push(identity);
            }
        }
    }
    let recovery = identities(&before.folder.join("recovery.txt"));
    for path in documents(ground) {
        let document = parse(&path, ground.read(&path));
        assert!(document.open_with(&gone).is_err(), "{when}: {path}");
        if before.repository().join(path.as_str()).is_file() {
            let old = parse(&path, before.read(&path))
                .unwrap_data_key(&recovery)
                .unwrap();
            assert!(
                document.open(&old).is_err(),
                "{when}: {path} keeps its data key"
            );
        }
    }
}

fn live_ids(ground: &Ground<'_>) -> Vec<String> {
    let ledger = ground.ledger();
    let live = ["k8s", "lan", "vps"].map(|zone| ledger.live(&Holder::Zone(zone.into())).cloned());
    live.into_iter().flatten().map(|r| r.id).collect()
}

/// With an operator `desk`, by an X25519 and an SSH recipient.
fn with_desk(ground: &Ground<'_>) -> IdentitySet {
    let age = new_operator(ground, "desk.txt");
    let ssh = std::fs::read_to_string(tests_folder().join("throwaway_keys/dave.pub")).unwrap();
    add(
        ground,
        &format!(
            "[operators.desk]   # hers\nrecipients = [\"{age}\", \"{}\"]\n",
            ssh.trim_end()
        ),
    );
    let ids = live_ids(ground);
    let ran = ground.run(&["plan", "sync"]).expect_code(0);
    assert!(
        ran.stdout
            .contains("seal 4 identities to operator desk as well"),
        "{}",
        ran.stdout
    );
    sync(ground, &["desk"], &[]);
    assert_eq!(
        live_ids(ground),
        ids,
        "who comes costs nobody a new identity"
    );
    let desk = identities(&ground.folder.join("desk.txt"));
    for path in &ground.documents {
        assert!(
            parse(path, ground.read(path)).open_with(&desk).is_ok(),
            "{path}"
        );
    }
    expect_converged(ground, "an operator came");
    // What was retired opens for her as well, and so does history.
    let shared = ground
        .ledger()
        .record_of(&recipient(&ground.folder.join("shared.txt")))
        .unwrap()
        .id
        .clone();
    let name = sealed::sealed_file_name(&shared, &recipient(&ground.folder.join("desk.txt")));
    let bytes = std::fs::read(ground.repository().join(".cofferdam/sealed").join(name)).unwrap();
    assert!(sealed::unseal(&[&bytes], &desk).unwrap().is_some());
    desk
}

fn without_desk(ground: &Ground<'_>) {
    let text = std::fs::read_to_string(toml(ground)).unwrap();
    let at = text.find("[operators.desk]").unwrap();
    let end = at + text[at..].find("\n\n").unwrap();
    std::fs::write(toml(ground), format!("{}{}", &text[..at], &text[end..])).unwrap();
    ground.git(&["commit", "-qam", "without desk"]);
}

#[test]
fn an_operator_comes_and_goes() {
    let sandbox = Sandbox::in_memory();
    let first = split(&sandbox);
    let old = live_ids(&first);
    let desk = with_desk(&first);
    let ground = first.copy("gone");
    without_desk(&ground);
    let status = ground.run(&["status"]).expect_code(3);
    assert!(
        status.stdout.contains("operator desk could unseal it"),
        "{}",
        status.stdout
    );
    let plan = ground.run(&["plan", "sync"]).expect_code(0).stdout;
    for needle in ["operator desk", "opens 5 → 0", &old[0], &old[1], &old[2]] {
        assert!(plan.contains(needle), "{needle} is not in\n{plan}");
    }
    let json = ground
        .run(&["plan", "sync", "--json"])
        .expect_code(0)
        .stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["departed"][0]["could_unseal"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(json["departed"].as_array().unwrap().len(), 2);
    // A rotation of one zone leaves the rest to `sync`, and says so.
    let rotated = ground.run(&["plan", "rotate", "lan"]).expect_code(0).stdout;
    assert!(rotated.contains("until cofferdam sync"), "{rotated}");
    // Taken back before the retirement, everything is as it was.
    let back = ground.copy("back");
    let before = back.first();
    back.run(&["sync", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    back.run(&["undo", "--yes"]).expect_code(0);
    back.expect_first(&before, "undone");
    back.remove();

    sync(&ground, &[], &[]);
    assert!(live_ids(&ground).iter().all(|id| !old.contains(id)));
    expect_shut_out(&ground, &first, &desk, "desk left");
    for entry in std::fs::read_dir(ground.repository().join(".cofferdam/sealed")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let mark = desk.recipients()[0].seal_mark();
        assert!(!name.contains(&mark), "{name} is still there");
    }
    expect_converged(&ground, "desk left");
}

#[test]
fn an_operator_is_revoked_by_name_or_recipient() {
    let sandbox = Sandbox::in_memory();
    let first = split(&sandbox);
    let desk = with_desk(&first);
    for (copy, name) in [
        ("name", "desk".to_owned()),
        ("recipient", desk.recipients()[0].to_string()),
    ] {
        let ground = first.copy(copy);
        let old = live_ids(&ground);
        let ran = ground.run(&["revoke", &name, "--yes"]).expect_code(0);
        assert!(
            ran.stderr.contains("Revoke operator desk"),
            "{}",
            ran.stderr
        );
        expect_shut_out(&ground, &first, &desk, copy);
        let ledger = ground.ledger();
        for id in &old {
            assert_eq!(ledger.record(id).unwrap().state, State::Compromised, "{id}");
        }
        assert!(ledger.revoked_party(&desk.recipients()[0]).is_some());
        expect_converged(&ground, copy);
        let again = ground.run(&["revoke", &name, "--yes"]);
        assert!(
            copy == "name" || again.stderr.contains("was revoked at"),
            "{}",
            again.stderr
        );
        // She is not trusted again.
        if copy == "recipient" {
            let text = std::fs::read_to_string(toml(&ground)).unwrap();
            assert!(
                text.contains("[operators.desk]   # hers"),
                "her SSH key stays\n{text}"
            );
            add(
                &ground,
                &format!("[operators.again]\nrecipients = [\"{name}\"]\n"),
            );
            let refused = ground
                .run(&["sync", "--yes", "--accept", "again"])
                .expect_code(1);
            assert!(refused.stderr.contains("revoked at"), "{}", refused.stderr);
        }
    }
    let last = first.copy("last");
    without_desk(&last);
    let refused = last.run(&["revoke", "laptop", "--yes"]).expect_code(2);
    assert!(
        refused.stderr.contains("recovery restore"),
        "{}",
        refused.stderr
    );
    last.run(&["revoke", "recovery", "--yes"]).expect_code(2);
    let misspelt = last.run(&["revoke", "laptob", "--yes"]).expect_code(2);
    assert!(
        misspelt.stderr.contains("did you mean laptop?"),
        "{}",
        misspelt.stderr
    );
    // Taken out by hand before: still known by name.
    last.run(&["revoke", "desk", "--yes"]).expect_code(0);
    expect_shut_out(&last, &first, &desk, "by hand");
    expect_converged(&last, "by hand");
}

#[test]
fn recovery_is_replaced() {
    let sandbox = Sandbox::in_memory();
    let first = split(&sandbox);
    let ground = first.copy("recovery");
    let old = ground.folder.join("recovery.txt");
    let lost = identities(&old);
    std::fs::rename(&old, ground.folder.join("lost.txt")).unwrap();
    let created = ground
        .run(&["recovery", "create", "--out", "../recovery.txt"])
        .expect_code(0)
        .stdout;
    let new = created
        .split_whitespace()
        .find(|w| w.starts_with("age1"))
        .unwrap();
    edit(&ground, &[(lost.recipients()[0].as_str(), new)]);
    sync(&ground, &["recovery"], &[]);
    expect_shut_out(&ground, &first, &lost, "recovery");
    expect_converged(&ground, "recovery");
    ground.expect_readable("recovery");
}

#[test]
fn hosts_come_move_and_go() {
    let sandbox = Sandbox::in_memory();
    let first = split(&sandbox);
    let lan = identities(&first.host_file("kasm"));

    // One comes: it is given what its zone has; and it is put back if the run is taken back.
    let ground = first.copy("hosts");
    std::fs::create_dir_all(ground.folder.join("targets/new")).unwrap();
    private(&ground.host_file("new"), "", 0o400);
    add(
        &ground,
        "[hosts.new]\nzone = \"lan\"\nlocal = \"../targets/new\"\n",
    );
    let ids = live_ids(&ground);
    let before = ground.first();
    let args = ["sync", "--yes", "--accept", "new", "--hold-at", "rewrite"];
    ground.run(&args).expect_code(0);
    ground.run(&["undo", "--yes"]).expect_code(0);
    ground.expect_first(&before, "undone");
    sync(&ground, &["new"], &[]);
    assert_eq!(live_ids(&ground), ids);
    expect_converged(&ground, "a host came");
    // With an operator who comes at the same time it widens nothing either.
    let both = first.copy("both");
    std::fs::create_dir_all(both.folder.join("targets/new")).unwrap();
    private(&both.host_file("new"), "", 0o400);
    let desk = new_operator(&both, "desk.txt");
    add(
        &both,
        &format!(
            "[operators.desk]\nrecipients = [\"{desk}\"]\n[hosts.new]\nzone = \"lan\"\nlocal = \"../targets/new\"\n"
        ),
    );
    sync(&both, &["new", "desk"], &[]);
    expect_converged(&both, "a host and an operator came");
    both.remove();

    // One moves: it knows its old zone's identity, so the zone gets another.
    edit(
        &ground,
        &[(
            "[hosts.kasm]\nzone = \"lan\"",
            "[hosts.kasm]\nzone = \"vps\"",
        )],
    );
    let plan = ground.run(&["plan", "sync"]).expect_code(0).stdout;
    assert!(plan.contains("kasm had it and left zone lan"), "{plan}");
    sync(&ground, &["kasm"], &[]);
    expect_converged(&ground, "a host moved");
    for path in documents(&ground) {
        assert!(
            parse(&path, ground.read(&path)).open_with(&lan).is_err(),
            "{path}"
        );
    }
    // One is taken out by hand, and another that was its zone's last.
    let nvr = identities(&ground.host_file("nvr"));
    edit(
        &ground,
        &[(
            "[hosts.nvr]\nzone = \"lan\"\nlocal = \"../targets/nvr\"\n",
            "",
        )],
    );
    sync(&ground, &[], &[]);
    expect_converged(&ground, "a host went");
    for path in documents(&ground) {
        assert!(
            parse(&path, ground.read(&path)).open_with(&nvr).is_err(),
            "{path}"
        );
    }
    edit(
        &ground,
        &[(
            "[hosts.new]\nzone = \"lan\"\nlocal = \"../targets/new\"\n",
            "",
        )],
    );
    sync(&ground, &[], &[]);
    assert!(ground.ledger().live(&Holder::Zone("lan".into())).is_none());
    expect_converged(&ground, "the last host of a zone went");
}

#[test]
fn zones_paths_and_clusters() {
    let sandbox = Sandbox::in_memory();
    let first = split(&sandbox);
    let ground = first.copy("zones");
    // A zone of its own for one host and its files: narrower for the others.
    edit(
        &ground,
        &[
            ("docker/stacks/{kasm,nvr}/**", "docker/stacks/kasm/**"),
            (
                "[hosts.nvr]\nzone = \"lan\"",
                "[hosts.nvr]\nzone = \"cams\"",
            ),
            (
                "[shared.alloy]",
                "[zones.cams]\nfiles = [{ paths = [\"docker/stacks/nvr/**/*.sops.{env,json,yaml}\"] }]\n\n[shared.alloy]",
            ),
        ],
    );
    sync(&ground, &["nvr"], &[]);
    expect_converged(&ground, "a zone came");
    // A path moves: its new readers could not open it, so it is named.
    ground.git(&[
        "mv",
        "docker/stacks/kasm/newt",
        "docker/stacks/racknerd-aegis/newt",
    ]);
    ground.git(&["commit", "-qm", "moved"]);
    let refused = ground.run(&["sync", "--yes"]).expect_code(1);
    assert!(
        refused
            .stderr
            .contains("racknerd-aegis could not open docker/stacks/racknerd-aegis/newt/.sops.env"),
        "{}",
        refused.stderr
    );
    sync(
        &ground,
        &[],
        &["--widen", "docker/stacks/racknerd-aegis/newt/.sops.env"],
    );
    expect_converged(&ground, "a path moved");
    // A second cluster in the zone of the first, then one more with a zone of its own.
    for name in ["second", "edge"] {
        let file = ground
            .folder
            .join("targets")
            .join(name)
            .join("flux-system/sops-age/none.agekey");
        private(&file, "", 0o600);
    }
    let secrets = "secrets = [{ namespace = \"flux-system\", name = \"sops-age\" }]";
    add(
        &ground,
        &format!("[clusters.second]\nzone = \"k8s\"\nlocal = \"../targets/second\"\n{secrets}\n"),
    );
    sync(&ground, &["second"], &[]);
    expect_converged(&ground, "a cluster came");
    // The zone goes, with its host: its file falls to another zone by name.
    let text = std::fs::read_to_string(toml(&ground)).unwrap();
    let at = text.find("[zones.cams]").unwrap();
    let end = text.find("[shared.alloy]").unwrap();
    let text = format!("{}{}", &text[..at], &text[end..])
        .replace("docker/stacks/kasm/**", "docker/stacks/{kasm,nvr}/**")
        .replace("zone = \"cams\"", "zone = \"lan\"");
    std::fs::write(toml(&ground), text).unwrap();
    ground.git(&["commit", "-qam", "a zone goes"]);
    let frigate = "docker/stacks/nvr/frigate/.sops.json";
    let refused = ground
        .run(&["sync", "--yes", "--accept", "nvr"])
        .expect_code(1);
    assert!(
        refused
            .stderr
            .contains(&format!("kasm could not open {frigate}")),
        "{}",
        refused.stderr
    );
    sync(&ground, &["nvr"], &["--widen", frigate]);
    expect_converged(&ground, "a zone went");
    let gone = ground.ledger();
    let cams: Vec<State> = gone
        .records()
        .iter()
        .filter(|r| r.holder == Holder::Zone("cams".into()))
        .map(|r| r.state)
        .collect();
    assert_eq!(cams, [State::Retired]);
}

#[test]
fn an_identity_for_each_host_and_back() {
    let sandbox = Sandbox::in_memory();
    let first = split(&sandbox);
    let lan = identities(&first.host_file("kasm"));
    let ground = first.copy("each");
    edit(
        &ground,
        &[("[zones.lan]\n", "[zones.lan]\nidentity = \"host\"\n")],
    );
    sync(&ground, &[], &[]);
    expect_converged(&ground, "an identity for each host");
    let [kasm, nvr] = ["kasm", "nvr"].map(|host| recipient(&ground.host_file(host)));
    assert_ne!(kasm, nvr);
    expect_no_opening(&ground, &lan);
    edit(
        &ground,
        &[("[zones.lan]\nidentity = \"host\"\n", "[zones.lan]\n")],
    );
    sync(&ground, &[], &[]);
    expect_converged(&ground, "and back");
    assert_eq!(
        recipient(&ground.host_file("kasm")),
        recipient(&ground.host_file("nvr"))
    );
    if crate::support::have_peers(&["sops"]) {
        ground.expect_sops_agrees();
    }
}

#[track_caller]
fn expect_no_opening(ground: &Ground<'_>, gone: &IdentitySet) {
    for path in documents(ground) {
        assert!(
            parse(&path, ground.read(&path)).open_with(gone).is_err(),
            "{path}"
        );
    }
}

#[test]
fn killed_at_every_entry_while_an_operator_leaves_and_a_host_moves() {
    let sandbox = Sandbox::in_memory();
    let before = split(&sandbox);
    let desk = with_desk(&before);
    without_desk(&before);
    edit(
        &before,
        &[(
            "[hosts.kasm]\nzone = \"lan\"",
            "[hosts.kasm]\nzone = \"vps\"",
        )],
    );
    let first = before.first();
    let lan = before
        .ledger()
        .live(&Holder::Zone("lan".into()))
        .unwrap()
        .recipient
        .clone();
    let entries = AtomicUsize::new(0);
    side_by_side(|n| {
        let when = format!("killed at {}", n + 1);
        let ground = before.copy(&format!("on-{n}"));
        let args = ["sync", "--yes", "--accept", "kasm"];
        let mut command = ground.command(&args);
        let output = command
            .env("COFFERDAM_CRASH_AT", (n + 1).to_string())
            .output()
            .unwrap();
        let killed = output.status.code().is_none();
        let begun = ground.unfinished().is_some();
        // Who reads a document before and after reads it now.
        for path in &ground.documents {
            let document = parse(path, ground.read(path));
            for (reader, zone, held) in ground.readers() {
                let stays = reader != "kasm" || path.as_str().contains("/shared/");
                if stays && Homeops::zones_of(path.as_str()).contains(&zone) {
                    assert!(
                        document.open_with(&held).is_ok(),
                        "{when}: {reader}: {path}"
                    );
                }
            }
        }
        if begun && n % 3 == 0 && !ground.retirement_begun() {
            ground.run(&["undo", "--yes"]).expect_code(0);
            ground.expect_first(&first, &when);
        }
        // Killed before it began, or taken back: asked for again.
        ground.run(&["resume", "--yes"]).expect_code(0);
        if ground
            .ledger()
            .live(&Holder::Zone("lan".into()))
            .unwrap()
            .recipient
            == lan
        {
            sync(&ground, &["kasm"], &[]);
        }
        expect_shut_out(&ground, &before, &desk, &when);
        expect_converged(&ground, &when);
        ground.remove();
        if killed {
            entries.fetch_add(1, Ordering::SeqCst);
        }
        killed
    });
    let entries = entries.load(Ordering::SeqCst);
    println!("killed at {entries} moments");
    assert!(entries > 40, "only {entries} moments");
}

/// Protocol rule 22: a ledger that names somebody else's recipient for a zone is believed by nobody.
#[test]
fn rule_22_a_recipient_that_opens_nothing_is_not_believed() {
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let folder = ground.repository().join(".cofferdam");
    let ledger_file = folder.join("keyring.toml");
    let text = std::fs::read_to_string(&ledger_file).unwrap();
    let ledger = ground.ledger();
    let stranger = Identity::mint();
    let theirs = stranger.recipient().unwrap();
    let [lan, vps] = ["lan", "vps"].map(|z| ledger.live(&Holder::Zone(z.into())).unwrap());
    let attack = |name: &str, record: &cofferdam::ledger::Record, sealed_too: bool| {
        let ground = ground.copy(name);
        let file = ground.repository().join(".cofferdam/keyring.toml");
        std::fs::write(
            &file,
            text.replace(record.recipient.as_str(), theirs.as_str()),
        )
        .unwrap();
        if sealed_too {
            for key in ["laptop.txt", "recovery.txt"] {
                let to = recipient(&ground.folder.join(key));
                let name = sealed::sealed_file_name(&record.id, &to);
                let bytes = sealed::seal(&stranger, &to).unwrap();
                std::fs::write(
                    ground.repository().join(".cofferdam/sealed").join(name),
                    bytes,
                )
                .unwrap();
            }
            // And a document of their own, which does open for them.
            let own = "docker/stacks/kasm/theirs.sops.env";
            let recipients = [
                &theirs,
                &recipient(&ground.folder.join("laptop.txt")),
                &recipient(&ground.folder.join("recovery.txt")),
            ];
            let list = recipients.map(|r| r.as_str().to_owned()).join(",");
            let plain = ground.folder.join("plain.env");
            std::fs::write(&plain, "A=b\n").unwrap();
            let made =
                crate::support::Ran::of(ground.sandbox.command("sops", &ground.folder).args([
                    "encrypt",
                    "--age",
                    &list,
                    "plain.env",
                ]));
            std::fs::write(ground.repository().join(own), made.expect_code(0).stdout).unwrap();
        }
        ground.git(&["add", "-A"]);
        ground.git(&["commit", "-qm", "a pull request"]);
        ground
    };
    if !crate::support::have_peers(&["sops"]) {
        return;
    }
    assert!(ledger_file.is_file());
    for (n, (record, sealed_too)) in [(lan, false), (lan, true), (vps, true)]
        .into_iter()
        .enumerate()
    {
        let ground = attack(&format!("attack-{n}"), record, sealed_too);
        let first = ground.first();
        std::fs::remove_file(ground.host_file("kasm")).unwrap();
        let commands: [&[&str]; 5] = [
            &["sync", "--yes"],
            &["plan", "sync"],
            &["ship"],
            // They wrap what is shared with the zone that is swapped.
            if record.id == lan.id {
                &["rotate", "vps", "--yes"]
            } else {
                &["rotate", "lan", "--yes"]
            },
            if record.id == lan.id {
                &["revoke", "racknerd-aegis", "--yes"]
            } else {
                &["revoke", "nvr", "--yes"]
            },
        ];
        for args in commands {
            let ran = ground.run(args).expect_code(1);
            let said = [
                format!("{} is not believed", record.id),
                format!("identity {} cannot be unsealed", record.id),
            ];
            assert!(
                said.iter().any(|said| ran.stderr.contains(said)),
                "{args:?}: {}",
                ran.stderr
            );
        }
        let now = ground.first();
        assert_eq!(now.commits(), first.commits());
        for path in documents(&ground)
            .into_iter()
            .filter(|p| !p.as_str().contains("theirs"))
        {
            let opens = parse(&path, ground.read(&path))
                .open_with(&IdentitySet::new(vec![stranger.share()]));
            assert!(opens.is_err(), "{path}");
        }
        assert!(!identities(&ground.host_file("nvr")).holds(&theirs));
        assert!(!ground.host_file("kasm").exists());
    }
}

/// Protocol rule 23: readers that nobody declared are listed, and stop what would lock them out.
#[test]
fn rule_23_undeclared_readers_are_declared_or_dismissed_by_name() {
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let write = |path: &str, text: &str| {
        let path = ground.repository().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        ground.git(&["add", "-A"]);
        ground.git(&["commit", "-qm", "more"]);
    };
    write(".github/workflows/deploy.yml", "env:\n  SOPS_AGE_KEY: x\n");
    let plan = ground.run(&["plan", "rotate", "lan"]).expect_code(0);
    assert!(
        plan.stdout.contains("ci:.github/workflows/deploy.yml"),
        "{}",
        plan.stdout
    );
    let asked = ground.run(&["rotate", "lan"]);
    assert_ne!(asked.code, Some(0), "nobody said that it is right");
    ground.run(&["rotate", "lan", "--yes"]).expect_code(0);

    let other = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a, namespace: flux-system}\nspec:\n  path: ./kubernetes\n  decryption: {provider: sops, secretRef: {name: other}}\n";
    write("clusters/minipcs/a.yaml", other);
    let komodo = "[[server]]\nname = \"pi\"\n[[stack]]\nname = \"newt\"\n[stack.config]\nserver_id = \"pi\"\nrun_directory = \"docker/stacks/kasm/newt\"\nfile_paths = [\"compose.yaml\"]\n";
    write("komodo/main.toml", komodo);
    write(
        "docker/stacks/kasm/newt/compose.yaml",
        "services:\n  newt:\n    env_file: .env\n",
    );
    let head = ground.git(&["rev-parse", "HEAD"]);
    let refused = ground.run(&["rotate", "lan", "--yes"]).expect_code(1);
    for needle in [
        "kustomization:clusters/minipcs/a.yaml",
        "host:pi",
        "[[dismissed]]",
    ] {
        assert!(
            refused.stderr.contains(needle),
            "{needle} is not in\n{}",
            refused.stderr
        );
    }
    assert_eq!(ground.git(&["rev-parse", "HEAD"]), head);
    let json = ground
        .run(&["plan", "rotate", "lan", "--json"])
        .expect_code(0)
        .stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["uses"].as_array().unwrap().len(), 3);
    // Not for a revocation.
    ground.run(&["revoke", "nvr", "--yes"]).expect_code(0);
    let dismissals = "dismissed = [\n  { use = \"kustomization:clusters/minipcs/a.yaml\", because = \"never applied\" },\n  { use = \"host:pi\", because = \"is kasm\" },\n]\n";
    add(&ground, dismissals);
    let refused = ground.run(&["rotate", "lan", "--yes"]).expect_code(1);
    assert!(
        refused.stderr.contains("--accept dismissed"),
        "{}",
        refused.stderr
    );
    ground
        .run(&["rotate", "lan", "--yes", "--accept", "dismissed"])
        .expect_code(0);
}

#[test]
fn names_that_nobody_has_are_met_with_the_closest() {
    let sandbox = Sandbox::in_memory();
    let ground = split(&sandbox);
    let cases: [(&[&str], &str); 4] = [
        (&["rotate", "lam", "--yes"], "did you mean lan?"),
        (&["revoke", "nvv", "--yes"], "did you mean nvr?"),
        (
            &["sync", "--yes", "--without", "kasn"],
            "did you mean kasm?",
        ),
        (&["ship", "kasn"], "did you mean kasm?"),
    ];
    for (args, hint) in cases {
        let ran = ground.run(args).expect_code(2);
        assert!(ran.stderr.contains(hint), "{args:?}: {}", ran.stderr);
    }
}
