//! Whole runs with a cluster that a real `kubectl` reaches: split, rotation, undo, and what stops them. The cluster is a double
//! of the API (`tests/support/kube_double.rs`); whether documents open is asked of real `sops`.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::ground::{Ground, private, recipient};
use crate::support::kube_double::{Fault, KubeDouble, patch_as};
use crate::support::{Ran, Sandbox, have_peers};
use cofferdam::ledger::{ReceiptKind, State};
use serde_json::json;

const NAMESPACE: &str = "flux-system";
const SECRET: &str = "sops-age";
/// What the cluster reads, and what only the VPS reads.
const MINE: &str = "kubernetes/infrastructure/controllers/certmanager/secret.yaml";
const OTHER: &str = "docker/stacks/racknerd-aegis/identity/.sops.env";

/// The small repository with its cluster reached by kubectl.
struct Runs<'s> {
    ground: Ground<'s>,
    double: KubeDouble,
}

impl<'s> Runs<'s> {
    /// None where a program is missing.
    fn new(sandbox: &'s Sandbox) -> Option<Self> {
        if !have_peers(&["kubectl", "sops"]) {
            return None;
        }
        let ground = Ground::small(sandbox);
        let double = KubeDouble::start(sandbox.path());
        let shared = std::fs::read_to_string(sandbox.path().join("small/shared.txt")).unwrap();
        let entries = [("age.agekey", &*shared), ("sops.vault-token", "hvs.x")];
        double.create(NAMESPACE, SECRET, &entries);
        let path = ground.repository().join("cofferdam.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let by_kubectl = text.replace("local = \"../targets/minipcs\"", "context = \"minipcs\"");
        assert_ne!(text, by_kubectl);
        std::fs::write(&path, by_kubectl).unwrap();
        Some(Self { ground, double })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.ground.command(args);
        command.env("COFFERDAM_KUBECTL", self.double.program());
        command
    }

    /// Runs it; whatever comes of it, no identity is on its streams, nor in kubectl's arguments.
    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        let ran = Ran::of(&mut self.command(args));
        let argv = self.double.argv();
        for text in [&ran.stdout, &ran.stderr, &argv] {
            assert!(!text.contains("AGE-SECRET-KEY") && !text.contains("QUdFLVNFQ1JF"));
        }
        ran
    }

    fn entries(&self) -> Vec<String> {
        let entries = self.double.entries(NAMESPACE, SECRET).unwrap();
        entries.into_keys().collect()
    }

    /// Whether real sops opens a document with what Flux would import from the Secret.
    fn opens(&self, document: &str) -> bool {
        let entries = self.double.entries(NAMESPACE, SECRET).unwrap();
        let keys: String = entries
            .iter()
            .filter(|(name, _)| name.ends_with(".agekey"))
            .map(|(_, value)| format!("{}\n", value.trim_end()))
            .collect();
        let file = self.ground.repository().join("../flux.txt");
        if file.exists() {
            std::fs::remove_file(&file).unwrap();
        }
        private(&file, &keys, 0o600);
        self.ground.sops(&["decrypt", document], &file).code == Some(0)
    }

    fn zone_entry(&self) -> String {
        let entries = self.entries();
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!(entries[1], "sops.vault-token");
        entries[0].clone()
    }

    fn state_of_the_shared(&self) -> State {
        let shared = recipient(&self.ground.repository().join("../shared.txt"));
        self.ground.ledger().record_of(&shared).unwrap().state
    }
}

#[test]
fn a_split_and_a_rotation_by_kubectl() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    assert!(runs.opens(MINE) && runs.opens(OTHER));
    runs.run(&["split", "--yes"]).expect_code(0);
    let first = runs.zone_entry();
    assert!(runs.opens(MINE) && !runs.opens(OTHER));
    assert_eq!(runs.state_of_the_shared(), State::Retired);
    let id = first.strip_suffix(".agekey").unwrap();
    let record = runs.ground.ledger().record(id).unwrap().clone();
    assert_eq!(record.receipts[0].reader, "minipcs");
    assert_eq!(record.receipts[0].kind, ReceiptKind::ReadBack);

    runs.run(&["rotate", "k8s", "--yes"]).expect_code(0);
    let second = runs.zone_entry();
    assert_ne!(first, second);
    assert!(runs.opens(MINE) && !runs.opens(OTHER));
    runs.run(&["sync", "--yes"]).expect_code(0);
    assert_eq!(runs.zone_entry(), second);
}

#[test]
fn undo_takes_the_entry_back() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    let first = runs.double.entries(NAMESPACE, SECRET);
    let held = ["split", "--yes", "--hold-at", "publish"];
    runs.run(&held).expect_code(0);
    assert_eq!(runs.entries().len(), 3);
    assert!(runs.opens(MINE));
    runs.run(&["undo", "--yes"]).expect_code(0);
    assert_eq!(runs.double.entries(NAMESPACE, SECRET), first);
}

#[test]
fn a_missing_right_stops_at_the_gate_and_resume_goes_on() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    // Read it may, so the plan is made; write it may not.
    runs.double.with(|double| double.denied = vec!["patch"]);
    let stopped = runs.run(&["split", "--yes"]).expect_code(5);
    assert!(
        stopped
            .stderr
            .contains("may not patch Secret flux-system/sops-age"),
        "{}",
        stopped.stderr
    );
    runs.ground.expect_nothing_retired("no right to patch");
    runs.double.with(|double| double.denied.clear());
    runs.run(&["resume", "--yes"]).expect_code(0);
    assert!(runs.opens(MINE) && !runs.opens(OTHER));
    runs.zone_entry();
}

#[test]
fn a_cluster_that_cannot_be_read_stops_at_the_gate() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    runs.double.with(|double| double.is_closed = true);
    let stopped = runs.run(&["split", "--yes"]).expect_code(5);
    let told = "stopped at the gate, nothing was rewritten: minipcs (context minipcs): ";
    assert!(stopped.stderr.contains(told), "{}", stopped.stderr);
    assert!(
        stopped
            .stderr
            .contains("refuses the kubeconfig's credentials")
    );
    runs.ground.expect_readable("stopped at the gate");
    runs.double.with(|double| double.is_closed = false);
    runs.run(&["resume", "--yes"]).expect_code(0);
    runs.zone_entry();
}

#[test]
fn another_zones_identity_in_the_secret_stops_the_run() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    let laptop = sandbox.path().join("small/laptop.txt");
    let copy = std::fs::read_to_string(laptop).unwrap();
    let change = json!({"stringData": {"notes": format!("backup: {copy}")}});
    runs.double.patch_as("somebody", NAMESPACE, SECRET, &change);
    let stopped = runs.run(&["split", "--yes"]).expect_code(5);
    assert!(
        stopped
            .stderr
            .contains("entry notes of Secret flux-system/sops-age"),
        "{}",
        stopped.stderr
    );
    runs.ground.expect_nothing_retired("a copy");
    runs.double.patch_as(
        "somebody",
        NAMESPACE,
        SECRET,
        &json!({"data": {"notes": null}}),
    );
    runs.run(&["resume", "--yes"]).expect_code(0);
}

#[test]
fn rule_20_what_is_put_back_is_not_retired() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    runs.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    let again = runs
        .double
        .with(|double| double.objects.get(NAMESPACE, SECRET))
        .unwrap();
    let again = json!({"data": {"age.agekey": again["data"]["age.agekey"]}});
    runs.double.with(|double| {
        double.hook = Some(Box::new(move |objects| {
            patch_as(objects, "external-secrets", NAMESPACE, SECRET, &again);
        }));
    });
    let stopped = runs.run(&["resume", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("external-secrets puts it back"),
        "{}",
        stopped.stderr
    );
    assert_ne!(runs.state_of_the_shared(), State::Retired);
    runs.double.with(|double| double.hook = None);
    runs.run(&["resume", "--yes"]).expect_code(0);
    assert_eq!(runs.state_of_the_shared(), State::Retired);
    runs.zone_entry();
}

/// Killed right after a write to the cluster was done and before anything of it is recorded: the first such write is the
/// delivery, the second the withdrawal of today's entry.
#[test]
fn killed_between_a_write_and_its_record() {
    for kill_at in [1, 2] {
        let sandbox = Sandbox::new();
        let Some(runs) = Runs::new(&sandbox) else {
            return;
        };
        let pid = Arc::new(AtomicU32::new(0));
        let (of_child, mut writes) = (Arc::clone(&pid), 0);
        runs.double.with(|double| {
            double.hook = Some(Box::new(move |_| {
                writes += 1;
                if writes == kill_at {
                    let pid = of_child.load(Ordering::SeqCst).to_string();
                    let killed = Command::new("kill").args(["-9", &pid]).status();
                    assert!(killed.unwrap().success());
                }
            }));
        });
        let mut command = runs.command(&["split", "--yes"]);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = quiet.spawn().unwrap();
        pid.store(child.id(), Ordering::SeqCst);
        let ended = child.wait().unwrap();
        assert_eq!(ended.code(), None, "write {kill_at}: {ended}");
        assert!(runs.opens(MINE), "write {kill_at}: locked out");
        runs.double.with(|double| {
            double.hook = None;
            // The connection breaks off in the middle of the next answers, too.
            double.faults = vec![Fault::CutAnswer].into();
        });
        runs.run(&["resume", "--yes"]).expect_code(5);
        assert!(runs.opens(MINE), "write {kill_at}: locked out");
        runs.run(&["resume", "--yes"]).expect_code(0);
        assert!(runs.opens(MINE) && !runs.opens(OTHER));
        runs.zone_entry();
    }
}

/// Another hand carries the delivery over: real sops opens it, real kubectl puts it there, and the run goes on.
#[test]
fn a_printed_delivery_is_sealed_and_adds_one_entry() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    let held = ["split", "--yes", "--hold-at", "ship"];
    runs.run(&held).expect_code(0);
    let print = ["ship", "--print", "kubernetes"];
    let printed = runs.run(&print).expect_code(0);
    assert!(
        printed.stdout.contains(".agekey: ENC[AES256_GCM"),
        "{}",
        printed.stdout
    );
    assert_eq!(runs.entries(), ["age.agekey", "sops.vault-token"]);

    let small = sandbox.path().join("small");
    let file = small.join("delivery.yaml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let path = file.to_str().unwrap();
    // What every reader holds today does not open it (protocol rule 1).
    let refused = runs
        .ground
        .sops(&["decrypt", path], &small.join("shared.txt"));
    assert_ne!(refused.code, Some(0));
    let shared = recipient(&small.join("shared.txt"));
    let to = [&print[..], &["--to", shared.as_str()]].concat();
    let refused = runs.run(&to).expect_code(1);
    assert!(
        refused.stderr.contains("which readers hold"),
        "{}",
        refused.stderr
    );

    let opened = runs
        .ground
        .sops(&["decrypt", path], &small.join("laptop.txt"));
    let patch = small.join("patch.yaml");
    private(&patch, &opened.expect_code(0).stdout, 0o600);
    let words = cofferdam::command_words::split(&runs.double.program()).unwrap();
    let args =
        "--context=minipcs --namespace=flux-system patch secret sops-age --type=merge --patch-file";
    let mut kubectl = sandbox.command(&words[0], &small);
    Ran::of(kubectl.args(args.split(' ')).arg(&patch)).expect_code(0);
    std::fs::remove_file(&patch).unwrap();
    assert_eq!(runs.entries().len(), 3);
    runs.run(&["resume", "--yes"]).expect_code(0);
    assert!(runs.opens(MINE) && !runs.opens(OTHER));
    runs.zone_entry();
}

#[test]
fn a_delivery_is_printed_for_one_secret_that_is_named() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    let print = |more: &[&str]| runs.run(&[&["ship", "--print", "kubernetes"], more].concat());
    let none = print(&[]).expect_code(1);
    assert!(
        none.stderr.contains("zone k8s has no identity yet"),
        "{}",
        none.stderr
    );
    print(&["nope"]).expect_code(2);
    print(&["minipcs", "--secret", "flux-system/nope"]).expect_code(2);
    print(&["minipcs", "--to", "age1nope"]).expect_code(2);
    runs.run(&["ship", "--to", "age1x"]).expect_code(2);
}
