//! Clusters reached by a real `kubectl`, against a double of the API with strict semantics (`tests/support/kube_double.rs`):
//! deliveries, proofs, withdrawals, and everything that can go wrong on the way.

use std::sync::Arc;
use std::time::Duration;

use crate::support::kube_double::{Fault, KubeDouble, patch_as};
use crate::support::kube_objects::LAST_APPLIED;
use crate::support::{Ran, Sandbox, have_peers};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cofferdam::fleet::challenge::Challenge;
use cofferdam::fleet::{
    Delivered, KubectlProgram, KubernetesCluster, Receipt, Target, TargetError, Withdrawn,
};
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keys::{Identity, Recipient};
use cofferdam::ledger::ReceiptKind;
use cofferdam::topology::{Cluster, ClusterTarget, SecretEntry};
use serde_json::json;

const NAMESPACE: &str = "flux-system";
const SECRET: &str = "sops-age";

/// A cluster with one Secret, and somebody who reaches it.
struct Bench {
    sandbox: Sandbox,
    double: KubeDouble,
}

impl Bench {
    /// None where there is no kubectl.
    fn new() -> Option<Self> {
        if !have_peers(&["kubectl"]) {
            return None;
        }
        let sandbox = Sandbox::new();
        let double = KubeDouble::start(sandbox.path());
        Some(Self { sandbox, double })
    }

    /// The same with today's identity in today's entry, made by hand.
    fn with(old: &Identity) -> Option<Self> {
        let bench = Self::new()?;
        let entries = [
            ("age.agekey", &*text_of(old)),
            ("sops.vault-token", "hvs.x"),
        ];
        bench.double.create(NAMESPACE, SECRET, &entries);
        Some(bench)
    }

    fn target(&self) -> KubernetesCluster {
        self.target_of(&[("sops-age", "age.agekey")])
    }

    fn target_of(&self, secrets: &[(&str, &str)]) -> KubernetesCluster {
        self.target_at("minipcs", secrets, Duration::from_secs(30))
    }

    fn target_at(
        &self,
        context: &str,
        secrets: &[(&str, &str)],
        patience: Duration,
    ) -> KubernetesCluster {
        let words = cofferdam::command_words::split(&self.double.program()).unwrap();
        let program = KubectlProgram::new(words).with_patience(patience);
        cluster(context, secrets, program)
    }

    fn entries(&self) -> Vec<String> {
        let entries = self.double.entries(NAMESPACE, SECRET).unwrap();
        entries.into_keys().collect()
    }

    fn value(&self, entry: &str) -> String {
        self.double.entries(NAMESPACE, SECRET).unwrap()[entry].clone()
    }
}

fn cluster(context: &str, secrets: &[(&str, &str)], program: KubectlProgram) -> KubernetesCluster {
    let cluster = Cluster {
        adopt: None,
        name: "minipcs".to_owned(),
        zone: "k8s".to_owned(),
        target: ClusterTarget::Context(context.to_owned()),
        secrets: secrets
            .iter()
            .map(|(name, entry)| SecretEntry {
                namespace: NAMESPACE.to_owned(),
                name: (*name).to_owned(),
                entry: (*entry).to_owned(),
            })
            .collect(),
        kustomizations: Vec::new(),
    };
    KubernetesCluster::of(&cluster, &Arc::new(program)).unwrap()
}

fn text_of(identity: &Identity) -> String {
    KeyFile::empty()
        .with_identity(&[], identity)
        .expose()
        .clone()
}

fn recipient(identity: &Identity) -> Recipient {
    identity.recipient().unwrap()
}

fn prove(target: &KubernetesCluster, recipient: &Recipient) -> Receipt {
    let challenge = Challenge::new(target.name(), "run-1", recipient).unwrap();
    target.prove(&challenge).unwrap()
}

/// An error and its causes.
fn told(error: &TargetError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// No identity, nor what base64 makes of one, is in a text.
#[track_caller]
fn expect_no_identity(text: &str) {
    for marker in [
        "AGE-SECRET-KEY",
        "QUdFLVNFQ1JF",
        "FHRS1TRUNSRVQt",
        "BR0UtU0VDUkVU",
    ] {
        assert!(!text.contains(marker), "an identity is in: {text}");
    }
}

#[test]
fn a_new_identity_gets_its_own_entry_and_the_old_entry_goes() {
    let (old, new) = (Identity::mint(), Identity::mint());
    let Some(bench) = Bench::with(&old) else {
        return;
    };
    let target = bench.target();
    let held = target.read().unwrap();
    assert_eq!(held.recipients, [recipient(&old)]);
    assert_eq!(target.deliver("k8s-1", &new).unwrap(), Delivered::Placed);
    assert_eq!(
        bench.entries(),
        ["age.agekey", "k8s-1.agekey", "sops.vault-token"]
    );
    assert!(
        bench
            .value("k8s-1.agekey")
            .starts_with("# cofferdam: k8s-1\n")
    );
    let requests = |part: &str| {
        bench.double.with(|double| {
            let count = double.requests.iter().filter(|r| r.contains(part)).count();
            double.requests.clear();
            count
        })
    };
    assert_eq!(requests("apply-patch"), 1);
    assert_eq!(
        target.deliver("k8s-1", &new).unwrap(),
        Delivered::AlreadyThere
    );
    assert_eq!(requests("patch "), 0);

    for identity in [&old, &new] {
        let receipt = prove(&target, &recipient(identity));
        assert!(receipt.opened && receipt.everywhere && receipt.copies.is_empty());
        assert_eq!(receipt.kind, ReceiptKind::ReadBack);
    }
    let other = prove(&target, &recipient(&Identity::mint()));
    assert!(!other.opened && !other.everywhere);

    requests("");
    assert_eq!(
        target.withdraw(&recipient(&old), None).unwrap(),
        Withdrawn::Removed
    );
    assert_eq!(requests("json-patch"), 1);
    assert_eq!(bench.entries(), ["k8s-1.agekey", "sops.vault-token"]);
    assert_eq!(
        target.withdraw(&recipient(&old), None).unwrap(),
        Withdrawn::WasAbsent
    );
    // A second identity beside the first, and the first goes by server-side apply: it is ours.
    let next = Identity::mint();
    target.deliver("k8s-2", &next).unwrap();
    requests("");
    target.withdraw(&recipient(&new), None).unwrap();
    assert_eq!(requests("apply-patch"), 1);
    assert_eq!(bench.entries(), ["k8s-2.agekey", "sops.vault-token"]);
    assert_eq!(bench.value("sops.vault-token"), "hvs.x");
    assert!(target.sweep().unwrap().is_empty());
    expect_no_identity(&bench.double.argv());
}

#[test]
fn undo_leaves_the_entries_as_they_were() {
    let (old, new) = (Identity::mint(), Identity::mint());
    let Some(bench) = Bench::with(&old) else {
        return;
    };
    // As some write it by hand: without a final line break.
    let file = text_of(&old).trim_end().to_owned();
    bench
        .double
        .create(NAMESPACE, "ksops", &[("keys.txt", &file)]);
    let target = bench.target_of(&[("sops-age", "age.agekey"), ("ksops", "keys.txt")]);
    let entries = || ["sops-age", "ksops"].map(|name| bench.double.entries(NAMESPACE, name));
    let (first, before) = (entries(), target.read().unwrap().before);
    target.deliver("k8s-1", &new).unwrap();
    assert!(prove(&target, &recipient(&new)).everywhere);
    target.withdraw(&recipient(&new), Some(&before)).unwrap();
    assert_eq!(entries(), first);
}

/// The Secret as client-side `kubectl apply -f secret.yaml` leaves it: its manifest is in an annotation.
fn apply_by_the_client(bench: &Bench, old: &Identity) {
    let text = text_of(old);
    let manifest =
        json!({"kind": "Secret", "data": {"age.agekey": STANDARD.encode(text.as_bytes())}});
    bench.double.create_as(
        "kubectl-client-side-apply",
        NAMESPACE,
        SECRET,
        &[("age.agekey", &text)],
        json!({"metadata": {"annotations": {LAST_APPLIED: manifest.to_string()}}}),
    );
}

#[test]
fn rule_20_what_the_client_applied_survives_a_delivery_and_leaves_no_copy() {
    let Some(bench) = Bench::new() else {
        return;
    };
    let (old, new) = (Identity::mint(), Identity::mint());
    apply_by_the_client(&bench, &old);
    let target = bench.target();
    target.deliver("k8s-1", &new).unwrap();
    // Twice: kubectl's take-over of ownership shows at the second server-side apply.
    target.deliver("k8s-2", &Identity::mint()).unwrap();
    assert_eq!(
        bench.entries(),
        ["age.agekey", "k8s-1.agekey", "k8s-2.agekey"]
    );
    let receipt = prove(&target, &recipient(&old));
    assert!(receipt.opened && receipt.everywhere);
    assert_eq!(receipt.copies.len(), 1, "{:?}", receipt.copies);
    assert!(receipt.copies[0].contains(LAST_APPLIED));

    target.withdraw(&recipient(&old), None).unwrap();
    assert!(!prove(&target, &recipient(&old)).opened);
    assert_eq!(bench.entries(), ["k8s-1.agekey", "k8s-2.agekey"]);
    // The client applies its old manifest once more: the copy is found, and goes alone if the entry is gone.
    apply_copy(&bench, &old);
    let receipt = prove(&target, &recipient(&old));
    assert!(receipt.opened && !receipt.everywhere);
    target.withdraw(&recipient(&old), None).unwrap();
    assert!(!prove(&target, &recipient(&old)).opened);
}

fn apply_copy(bench: &Bench, old: &Identity) {
    let manifest = json!({"stringData": {"age.agekey": text_of(old)}}).to_string();
    let change = json!({"metadata": {"annotations": {LAST_APPLIED: manifest}}});
    bench
        .double
        .patch_as("kubectl-client-side-apply", NAMESPACE, SECRET, &change);
}

/// Why server-side apply is not used on such a Secret: kubectl itself, asked to add an entry, removes today's identity.
#[test]
fn kubectl_takes_over_what_the_client_applied() {
    let Some(bench) = Bench::new() else {
        return;
    };
    apply_by_the_client(&bench, &Identity::mint());
    let manifest = bench.sandbox.path().join("manifest.json");
    let text = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": {"k8s-1.agekey": "eA=="}});
    std::fs::write(&manifest, text.to_string()).unwrap();
    let words = cofferdam::command_words::split(&bench.double.program()).unwrap();
    let mut command = bench.sandbox.command(&words[0], bench.sandbox.path());
    let args = "--context=minipcs --namespace=flux-system apply --server-side --field-manager=cofferdam --validate=false -f";
    Ran::of(command.args(args.split(' ')).arg(&manifest)).expect_code(0);
    assert_eq!(bench.entries(), ["k8s-1.agekey"]);
}

#[test]
fn a_key_file_in_one_entry_keeps_foreign_lines() {
    let Some(bench) = Bench::new() else {
        return;
    };
    let (old, new, foreign) = (Identity::mint(), Identity::mint(), Identity::mint());
    let text = format!("# by hand\n{}{}", text_of(&foreign), text_of(&old));
    bench
        .double
        .create(NAMESPACE, SECRET, &[("keys.txt", &text)]);
    let target = bench.target_of(&[("sops-age", "keys.txt")]);
    target.deliver("k8s-1", &new).unwrap();
    assert_eq!(bench.entries(), ["keys.txt"]);
    assert!(bench.value("keys.txt").starts_with(&text));
    assert!(prove(&target, &recipient(&new)).everywhere);
    target.withdraw(&recipient(&old), None).unwrap();
    target.withdraw(&recipient(&new), None).unwrap();
    assert_eq!(
        bench.value("keys.txt"),
        format!("# by hand\n{}", text_of(&foreign))
    );
    target.withdraw(&recipient(&foreign), None).unwrap();
    // An entry without an identity is not left.
    assert!(bench.entries().is_empty());
    target.deliver("k8s-2", &new).unwrap();
    assert!(prove(&target, &recipient(&new)).everywhere);
}

#[test]
fn rule_20_a_manager_that_puts_it_back_is_named() {
    let old = Identity::mint();
    let Some(bench) = Bench::with(&old) else {
        return;
    };
    let target = bench.target();
    let value = STANDARD.encode(text_of(&old));
    let again = json!({"data": {"age.agekey": value}});
    bench.double.with(|double| {
        double.hook = Some(Box::new(move |objects| {
            patch_as(objects, "external-secrets", NAMESPACE, SECRET, &again);
        }));
    });
    let error = told(&target.withdraw(&recipient(&old), None).unwrap_err());
    assert!(
        error.contains("holds the withdrawn identity again: external-secrets puts it back"),
        "{error}"
    );
    bench.double.with(|double| double.hook = None);
    target.withdraw(&recipient(&old), None).unwrap();

    // One that applies it would put it back at its next turn: it is named at once, and nothing is removed.
    let body = json!({"data": {"age.agekey": STANDARD.encode(text_of(&old))}});
    bench.double.with(|double| {
        double
            .objects
            .apply(NAMESPACE, SECRET, body, "kustomize-controller", false)
            .unwrap();
    });
    let error = told(&target.withdraw(&recipient(&old), None).unwrap_err());
    assert!(
        error.contains("is applied by kustomize-controller, which would put it back"),
        "{error}"
    );
    assert_eq!(bench.entries(), ["age.agekey", "sops.vault-token"]);
}

#[test]
fn rule_20_a_removal_tests_the_value_and_the_version() {
    let old = Identity::mint();
    let Some(bench) = Bench::with(&old) else {
        return;
    };
    // Somebody is quicker, three times; each time the Secret is read anew.
    bench.double.with(|double| {
        double.write_faults = vec![Fault::Overtaken; 3].into();
    });
    bench.target().withdraw(&recipient(&old), None).unwrap();
    assert_eq!(bench.entries(), ["sops.vault-token"]);
    let tests = bench.double.with(|double| {
        let patches = double.requests.iter().filter(|r| r.contains("json-patch"));
        patches.count()
    });
    assert_eq!(tests, 4);
}

#[test]
fn storms_end_and_lost_answers_are_looked_at() {
    let old = Identity::mint();
    let Some(bench) = Bench::with(&old) else {
        return;
    };
    let target = bench.target();
    let faults = |faults: &[Fault]| {
        bench.double.with(|double| {
            double.write_faults = faults.iter().cloned().collect();
        });
    };
    faults(&vec![Fault::Overtaken; 20]);
    let error = told(&target.deliver("k8s-1", &Identity::mint()).unwrap_err());
    assert!(
        error.contains("changed 6 times while it was worked on"),
        "{error}"
    );
    assert_eq!(bench.entries(), ["age.agekey", "sops.vault-token"]);

    faults(&[Fault::Status(409, "Conflict")]);
    let new = Identity::mint();
    assert_eq!(target.deliver("k8s-1", &new).unwrap(), Delivered::Placed);
    // Done, but the answer is lost.
    faults(&[Fault::CutAnswer]);
    assert_eq!(
        target.deliver("k8s-2", &Identity::mint()).unwrap(),
        Delivered::Placed
    );
    // Not done: said, and again is good.
    faults(&[Fault::Status(500, "InternalError")]);
    let error = told(&target.deliver("k8s-3", &Identity::mint()).unwrap_err());
    assert!(
        error.contains("it refused to patch Secret flux-system/sops-age"),
        "{error}"
    );
    faults(&[Fault::Cut]);
    let third = Identity::mint();
    let error = told(&target.deliver("k8s-3", &third).unwrap_err());
    assert!(error.contains("it cannot be reached"), "{error}");
    faults(&[]);
    assert_eq!(target.deliver("k8s-3", &third).unwrap(), Delivered::Placed);
    assert_eq!(bench.entries().len(), 5);
}

#[test]
fn what_is_wrong_is_told_and_changes_nothing() {
    let (old, new) = (Identity::mint(), Identity::mint());
    let Some(bench) = Bench::with(&old) else {
        return;
    };
    let double = &bench.double;
    let more = |more: serde_json::Value| {
        move |name: &str, text: &str| {
            double.create_as("x", NAMESPACE, name, &[("age.agekey", text)], more.clone());
        }
    };
    more(json!({"type": "kubernetes.io/tls"}))("tls", "x");
    more(json!({"immutable": true}))("fixed", &text_of(&old));
    more(json!({}))("broken", "AGE-SECRET-KEY-1NOTONE\n");
    double.create(
        NAMESPACE,
        "taken",
        &[("k8s-1.agekey", &text_of(&Identity::mint()))],
    );
    let secrets = ["sops-age", "tls", "fixed", "broken", "taken"];
    let all = || secrets.map(|name| double.entries(NAMESPACE, name));
    let before = all();
    let deliver = |target: &KubernetesCluster| {
        let error = told(&target.deliver("k8s-1", &new).unwrap_err());
        expect_no_identity(&error);
        error
    };
    for (name, part) in [
        (
            "none",
            "there is no Secret flux-system/none (if the name is right: kubectl",
        ),
        ("tls", "is of type kubernetes.io/tls"),
        ("fixed", "Secret flux-system/fixed is immutable"),
        (
            "broken",
            "entry age.agekey of Secret flux-system/broken is no identity file",
        ),
        (
            "taken",
            "entry k8s-1.agekey of Secret flux-system/taken belongs to kubectl-create",
        ),
    ] {
        // The other one is good, and comes first: it stays as it is, too.
        let target = bench.target_of(&[("sops-age", "age.agekey"), (name, "age.agekey")]);
        let error = deliver(&target);
        assert!(error.contains(part), "{name}: {error}");
        assert!(error.starts_with("minipcs (context minipcs): "), "{error}");
    }
    let error = deliver(&bench.target_at(
        "nope",
        &[("sops-age", "age.agekey")],
        Duration::from_secs(30),
    ));
    assert!(
        error.contains("the kubeconfig has no such context"),
        "{error}"
    );

    double.with(|double| double.denied = vec!["patch"]);
    let error = deliver(&bench.target());
    assert!(
        error.contains("may not patch Secret flux-system/sops-age"),
        "{error}"
    );
    double.with(|double| double.denied = vec!["get"]);
    let error = deliver(&bench.target());
    assert!(
        error.contains("may not get Secret flux-system/sops-age"),
        "{error}"
    );
    double.with(|double| double.denied.clear());

    double.with(|double| double.is_closed = true);
    let error = deliver(&bench.target());
    assert!(
        error.contains("refuses the kubeconfig's credentials"),
        "{error}"
    );
    double.with(|double| double.is_closed = false);

    double.with(|double| double.faults = [Fault::Slow(Duration::from_secs(9))].into());
    let slow = bench.target_at(
        "minipcs",
        &[("sops-age", "age.agekey")],
        Duration::from_secs(1),
    );
    let error = deliver(&slow);
    assert!(error.contains("it cannot be reached"), "{error}");
    double.with(|double| double.faults = [Fault::CutAnswer].into());
    let error = deliver(&bench.target());
    assert!(error.contains("it cannot be reached"), "{error}");

    let nowhere = cluster(
        "minipcs",
        &[("sops-age", "age.agekey")],
        KubectlProgram::new(vec!["/nonexistent/kubectl".to_owned()]),
    );
    let error = deliver(&nowhere);
    assert!(
        error.contains("cannot start /nonexistent/kubectl"),
        "{error}"
    );
    let garbage = cluster(
        "minipcs",
        &[("sops-age", "age.agekey")],
        KubectlProgram::new(vec!["echo".to_owned(), "AGE-SECRET-KEY-1X".to_owned()]),
    );
    let error = deliver(&garbage);
    assert!(error.contains("is no Secret: line 1"), "{error}");
    let hangs = cluster(
        "minipcs",
        &[("sops-age", "age.agekey")],
        KubectlProgram::new(["sh", "-c", "exec sleep 60"].map(str::to_owned).to_vec())
            .with_patience(Duration::from_millis(1)),
    );
    let error = deliver(&hangs);
    assert!(error.contains("no answer within 5 seconds"), "{error}");
    assert!(all() == before, "a Secret was changed");
}

#[test]
fn copies_beside_the_entries_that_are_read_are_found() {
    let (old, other) = (Identity::mint(), Identity::mint());
    let Some(bench) = Bench::with(&old) else {
        return;
    };
    let target = bench.target();
    for change in [
        json!({"stringData": {"lan.agekey": text_of(&other)}}),
        json!({"stringData": {"lan.agekey": "# moved\n", "backup": format!("x {}", text_of(&other))}}),
    ] {
        bench
            .double
            .patch_as("somebody", NAMESPACE, SECRET, &change);
        let receipt = prove(&target, &recipient(&other));
        assert!(receipt.opened, "{change}");
    }
    assert_eq!(
        prove(&target, &recipient(&other)).copies,
        ["entry backup of Secret flux-system/sops-age"]
    );
    // A Secret that lacks it makes the proof a weak one.
    bench
        .double
        .create("flux-system", "second", &[("age.agekey", &text_of(&other))]);
    let both = bench.target_of(&[("sops-age", "age.agekey"), ("second", "age.agekey")]);
    let receipt = prove(&both, &recipient(&old));
    assert!(receipt.opened && !receipt.everywhere);
}

/// Which entries Flux imports, and which make it refuse the whole Secret.
///
/// Source: fluxcd/kustomize-controller `internal/decryptor/decryptor.go` (commit 49770ea), `ImportKeys`, and getsops/sops
/// `age/keysource.go`, `parseIdentities`. Flux itself is not run here.
#[test]
fn flux_and_we_import_the_same_entries() {
    let good = Identity::mint();
    let Some(bench) = Bench::new() else {
        return;
    };
    let key = text_of(&good);
    let line = key.lines().last().unwrap().to_owned();
    let second = Identity::mint();
    // Entry, value, and whether the identity in it is imported; none: all of the Secret is refused.
    let cases: [(&str, String, Option<bool>); 14] = [
        ("age.agekey", key.clone(), Some(true)),
        ("k8s-2026-11.agekey", line.clone(), Some(true)),
        ("a.b.agekey", format!("# note\n\n{line}\n"), Some(true)),
        (".agekey", key.clone(), Some(true)),
        (
            "two.agekey",
            format!("{}{key}", text_of(&second)),
            Some(true),
        ),
        ("crlf.agekey", format!("# note\r\n{line}\r\n"), Some(true)),
        ("empty.agekey", String::new(), Some(false)),
        ("agekey", key.clone(), Some(false)),
        ("age.agekey.bak", key.clone(), Some(false)),
        ("keys.txt", key.clone(), Some(false)),
        ("bad.agekey", "hunter2\n".to_owned(), None),
        ("blank.agekey", format!(" {line}\n"), None),
        ("public.agekey", format!("{}\n", recipient(&good)), None),
        ("short.agekey", format!("{}\n", &line[..60]), None),
    ];
    for (entry, value, expected) in cases {
        bench.double.create(NAMESPACE, SECRET, &[(entry, &value)]);
        let held = bench.target().read();
        match expected {
            Some(imported) => {
                let held = held.unwrap();
                assert_eq!(
                    held.identities.holds(&recipient(&good)),
                    imported,
                    "{entry}"
                );
            }
            None => {
                let error = told(&held.unwrap_err());
                assert!(
                    error.contains(&format!("entry {entry} of Secret")),
                    "{error}"
                );
                assert!(!error.contains("hunter2") && !error.contains(&line[..60]));
            }
        }
        bench
            .double
            .with(|double| double.objects.delete(NAMESPACE, SECRET).unwrap());
    }
}
