//! Protocol rule 12 for clusters: retirement waits until declared Kustomizations have applied what the run wrote. A real
//! `kubectl`; the cluster is a double of the API (`tests/support/kube_double.rs`), and so is what Flux would have written.

use crate::support::ground::{Ground, recipient};
use crate::support::kube_double::KubeDouble;
use crate::support::{Ran, Sandbox, have_peers};
use cofferdam::ledger::{Holder, ReceiptKind, State};
use serde_json::json;

const NAMESPACE: &str = "flux-system";
const SECRET: &str = "sops-age";
const APPS: &str = "apps";
/// What the cluster reads.
const MINE: &str = "kubernetes/infrastructure/controllers/certmanager/secret.yaml";
const KUSTOMIZATIONS: &str = "kustomizations = [\"flux-system/apps\"]\n";

struct Runs<'s> {
    ground: Ground<'s>,
    double: KubeDouble,
}

impl<'s> Runs<'s> {
    /// The small repository with its cluster reached by kubectl, and one Kustomization at its first commit. None where a program
    /// is missing.
    fn new(sandbox: &'s Sandbox) -> Option<Self> {
        if !have_peers(&["kubectl", "sops"]) {
            return None;
        }
        let ground = Ground::small(sandbox);
        let double = KubeDouble::start(sandbox.path());
        let shared = std::fs::read_to_string(sandbox.path().join("small/shared.txt")).unwrap();
        double.create(NAMESPACE, SECRET, &[("age.agekey", &*shared)]);
        let path = ground.repository().join("cofferdam.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let declared = format!("context = \"minipcs\"\n{KUSTOMIZATIONS}");
        let by_kubectl = text.replace("local = \"../targets/minipcs\"\n", &declared);
        assert_ne!(text, by_kubectl);
        std::fs::write(&path, by_kubectl).unwrap();
        let runs = Self { ground, double };
        runs.double.with(|double| {
            double
                .flux
                .add(NAMESPACE, APPS, "./kubernetes/infrastructure", SECRET);
        });
        runs.applied(&runs.head());
        Some(runs)
    }

    fn head(&self) -> String {
        self.ground.git(&["rev-parse", "HEAD"])
    }

    /// Flux has applied this commit, and is ready.
    fn applied(&self, commit: &str) {
        self.reconcile(&format!("main@sha1:{commit}"), true);
    }

    fn reconcile(&self, revision: &str, ready: bool) {
        self.double
            .with(|double| double.flux.reconcile(NAMESPACE, APPS, revision, ready));
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.ground.command(args);
        command.env("COFFERDAM_KUBECTL", self.double.program());
        let ran = Ran::of(&mut command);
        for text in [&ran.stdout, &ran.stderr, &self.double.argv()] {
            assert!(!text.contains("AGE-SECRET-KEY") && !text.contains("QUdFLVNFQ1JF"));
        }
        ran
    }

    /// The run stops before anything is retired, and says this.
    #[track_caller]
    fn expect_waiting(&self, args: &[&str], wanted: &str) {
        let stopped = self.run(args).expect_code(5);
        assert!(
            stopped.stderr.contains(wanted),
            "{wanted}: {}",
            stopped.stderr
        );
        self.ground.expect_nothing_retired(wanted);
        let entries = self.double.entries(NAMESPACE, SECRET).unwrap();
        assert!(entries.contains_key("age.agekey"), "{wanted}");
    }

    fn receipt(&self) -> ReceiptKind {
        let ledger = self.ground.ledger();
        let live = ledger.live(&Holder::Zone("k8s".to_owned())).unwrap();
        let receipts: Vec<_> = live
            .receipts
            .iter()
            .filter(|r| r.reader == "minipcs")
            .collect();
        assert_eq!(receipts.len(), 1);
        receipts[0].kind
    }

    fn expect_retired(&self) {
        let shared = recipient(&self.ground.repository().join("../shared.txt"));
        let state = self.ground.ledger().record_of(&shared).unwrap().state;
        assert_eq!(state, State::Retired);
        let entries = self.double.entries(NAMESPACE, SECRET).unwrap();
        assert!(!entries.contains_key("age.agekey"));
    }
}

#[test]
fn rule_12_retirement_waits_until_flux_has_applied_the_documents() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    let first = runs.head();
    let plan = runs.run(&["plan", "split"]).expect_code(0).stdout;
    let told: String = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains(
            "retires without proof that readers run the new revision: kasm, nvr, racknerd-aegis ("
        ),
        "{plan}"
    );

    let stale = format!(
        "minipcs: Kustomization flux-system/apps has applied commit {}, with another version of {MINE}",
        &first[..12]
    );
    runs.expect_waiting(&["split", "--yes"], &stale);
    // It was asked for another turn, and its source before.
    let asked = runs.double.with(|double| double.flux.asked());
    assert_eq!(asked, ["gitrepositories/home", "kustomizations/apps"]);
    let head = runs.head();
    assert_ne!(head, first);
    runs.reconcile(&format!("main@sha1:{head}"), false);
    runs.expect_waiting(
        &["resume", "--yes"],
        "flux-system/apps is not ready: BuildFailed",
    );
    runs.applied(&head);
    let suspend = |yes: bool| {
        let change = json!({"spec": {"suspend": yes}});
        runs.double
            .with(|double| double.flux.change(NAMESPACE, APPS, &change));
    };
    suspend(true);
    runs.expect_waiting(
        &["resume", "--yes"],
        "is suspended (flux resume kustomization apps --namespace flux-system)",
    );
    suspend(false);
    runs.expect_waiting(&["resume", "--yes"], "was changed and not reconciled since");
    let other = "1234567890abcdef1234567890abcdef12345678";
    runs.applied(other);
    runs.expect_waiting(
        &["resume", "--yes"],
        "has applied commit 1234567890ab, which is not known here",
    );
    runs.reconcile(&format!("latest@sha256:{other}{}", &other[..24]), true);
    runs.expect_waiting(&["resume", "--yes"], "which names no commit of git");
    // The form of older sources.
    runs.reconcile(&format!("main/{head}"), true);
    assert_eq!(runs.receipt(), ReceiptKind::ReadBack);
    runs.run(&["resume", "--yes"]).expect_code(0);
    runs.expect_retired();
    assert_eq!(runs.receipt(), ReceiptKind::Reconciled);
    let committed = runs.ground.git(&["show", "HEAD:.cofferdam/keyring.toml"]);
    assert!(committed.contains("kind = \"reconciled\""), "{committed}");
    let status = runs.run(&["status"]).expect_code(0).stdout;
    assert!(status.contains("(reconciled)"), "{status}");
    // An operator's commit on top leaves the documents as they are.
    runs.ground
        .git(&["commit", "-q", "--allow-empty", "-m", "more"]);
    runs.run(&["sync", "--yes"]).expect_code(0);
}

#[test]
fn a_commit_of_somebody_else_is_fetched_and_compared_by_blob() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    let tree = runs.ground.repository();
    let remote = sandbox.path().join("remote.git");
    sandbox.git(
        sandbox.path(),
        &["init", "-q", "--bare", remote.to_str().unwrap()],
    );
    runs.ground
        .git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    runs.ground.git(&["push", "-q", "origin", "HEAD:main"]);
    runs.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    runs.ground.git(&["push", "-q", "origin", "HEAD:main"]);
    // Somebody else commits on top of it; the cluster applies that, and this clone has never seen it.
    let other = sandbox.path().join("other");
    sandbox.git(
        sandbox.path(),
        &[
            "clone",
            "-q",
            "-b",
            "main",
            remote.to_str().unwrap(),
            other.to_str().unwrap(),
        ],
    );
    std::fs::write(other.join("README.md"), "Changed.\n").unwrap();
    sandbox.git(&other, &["commit", "-qam", "docs"]);
    sandbox.git(&other, &["push", "-q", "origin", "HEAD:main"]);
    let theirs = sandbox.git(&other, &["rev-parse", "HEAD"]);
    runs.applied(&theirs);
    assert!(!tree.join(".git/FETCH_HEAD").exists());
    runs.run(&["resume", "--yes"]).expect_code(0);
    runs.expect_retired();
    assert_eq!(runs.receipt(), ReceiptKind::Reconciled);
}

/// Ready and at the right commit is evidence; the receipt is only as good as what was decrypted.
#[test]
fn what_decrypts_from_elsewhere_or_nothing_is_no_stronger_receipt() {
    for change in [
        json!({"spec": {"decryption": {"secretRef": {"name": "another"}}}}),
        json!({"spec": {"decryption": null}}),
        json!({"spec": {"path": "./kubernetes/apps"}}),
    ] {
        let sandbox = Sandbox::new();
        let Some(runs) = Runs::new(&sandbox) else {
            return;
        };
        runs.double
            .with(|double| double.flux.change(NAMESPACE, APPS, &change));
        runs.run(&["split", "--yes", "--hold-at", "retire"])
            .expect_code(0);
        runs.applied(&runs.head());
        runs.run(&["resume", "--yes"]).expect_code(0);
        runs.expect_retired();
        assert_eq!(runs.receipt(), ReceiptKind::ReadBack, "{change}");
    }
}

#[test]
fn what_cannot_be_looked_at_is_no_evidence() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    runs.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    runs.double.with(|double| double.flux.denied = vec!["get"]);
    runs.expect_waiting(
        &["resume", "--yes"],
        "the login may not get Kustomization flux-system/apps (docs/kubernetes.md",
    );
    // No right to ask for a turn: that is nobody's failure.
    runs.double
        .with(|double| double.flux.denied = vec!["patch"]);
    runs.expect_waiting(&["resume", "--yes"], "with another version of");
    let asked = runs.double.with(|double| double.flux.asked());
    assert!(asked.is_empty(), "{asked:?}");
    runs.double.with(|double| double.flux.denied.clear());
    let topology = runs.ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap();
    std::fs::write(
        &topology,
        text.replace("flux-system/apps", "flux-system/app"),
    )
    .unwrap();
    runs.expect_waiting(&["resume", "--yes"], "there is no Kustomization flux-system/app (kubectl --context minipcs get kustomizations.kustomize.toolkit.fluxcd.io");
    std::fs::write(&topology, text).unwrap();
    runs.applied(&runs.head());
    runs.run(&["resume", "--yes"]).expect_code(0);
    runs.expect_retired();
}

/// A cluster is read back at the gate. Where that does not suffice, it is let through by name, and shows more before retirement.
#[test]
fn a_cluster_passes_a_strict_gate_by_name() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    let topology = runs.ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap();
    let strict = format!("{text}\n[gate]\nreceipt = \"unwrapped\"\n");
    std::fs::write(&topology, &strict).unwrap();
    let plan = runs.run(&["plan", "split"]).expect_code(0).stdout;
    let told: String = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("stops at the gate: clusters can only be read back there")
            && told.contains("(except = [\"minipcs\"] lets them through)"),
        "{plan}"
    );
    runs.expect_waiting(&["split", "--yes"], "minipcs was only read back");
    runs.ground.expect_readable("at the strict gate");
    std::fs::write(&topology, format!("{strict}except = [\"minipcs\"]\n")).unwrap();
    runs.expect_waiting(
        &["resume", "--yes", "--accept", "gate"],
        "with another version of",
    );
    runs.applied(&runs.head());
    runs.run(&["resume", "--yes"]).expect_code(0);
    runs.expect_retired();
    assert_eq!(runs.receipt(), ReceiptKind::Reconciled);
}

#[test]
fn a_cluster_without_flux_says_so() {
    let sandbox = Sandbox::new();
    let Some(runs) = Runs::new(&sandbox) else {
        return;
    };
    runs.double.with(|double| double.flux.is_absent = true);
    runs.expect_waiting(
        &["split", "--yes"],
        "there is no Kustomization flux-system/apps",
    );
}

#[test]
fn rule_15_a_cluster_that_applied_the_commit_counts_as_elsewhere() {
    for is_applied in [false, true] {
        let sandbox = Sandbox::new();
        let Some(runs) = Runs::new(&sandbox) else {
            return;
        };
        let first = runs.head();
        runs.run(&["split", "--yes", "--hold-at", "retire"])
            .expect_code(0);
        let published = runs.head();
        if is_applied {
            runs.applied(&published);
        }
        let undone = runs.run(&["undo", "--yes"]);
        if is_applied {
            // It goes back by a further commit, and waits until Flux has applied that.
            undone.expect_code(5);
            let back = runs.head();
            assert!(back != published && back != first);
            runs.applied(&back);
            runs.run(&["undo", "--yes"]).expect_code(0);
        } else {
            undone.expect_code(0);
            assert_eq!(runs.head(), first);
        }
        let entries = runs.double.entries(NAMESPACE, SECRET).unwrap();
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["age.agekey"]);
    }
}
