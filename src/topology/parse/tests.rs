use super::*;
use crate::repo_path::RepoPath;
use crate::topology::{HostTarget, Selector};

const LAPTOP: &str = "age10nhmzvq99ujjjgj0y4pzjagzlw0mtzhqawuaa38muencnl7wpfdqpjn90t";
const PAPER: &str = "age1etgxmzumnmsszyc6lde4ql4qqzuhxhhemfhctswp0e8shrgkaqeqer8mxz";
const OTHER: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

const GOOD: &str = r#"version = 1

[recovery]                                  # on paper
recipients  = ["PAPER"]
drill_every = "180 days"

[operators.laptop]
recipients = ["LAPTOP"]

[zones.k8s]
max_age = "90 days"
files   = [{ paths = ["kubernetes/**/*secret*.yaml"], exclude = [], encrypted_regex = "^(data|stringData)$" }]

[zones.lan]
identity = "host"
grace = "24 hours"
files = [{ paths = ["docker/stacks/{kasm,komodo}/**/*.sops.{env,json,yaml}"] }]

[[zones.vps.files]]
paths = ["docker/stacks/racknerd-aegis/**/*.sops.{env,json,yaml}"]
mac_only_encrypted = true

[shared.alloy]
zones = ["lan", "vps"]
files = [{ paths = ["docker/stacks/shared/alloy/*.sops.env"], hosts = ["kasm"] }]

[hosts.kasm]
zone = "lan"
ssh  = "root@kasm"
clones = ["/etc/komodo/stacks/*"]

[hosts.aegis]
zone = "vps"
local = "../targets/aegis"
identity_file = "/root/keys.txt"

[clusters.minipcs]
zone = "k8s"
context = "minipcs"
secrets = [{ namespace = "flux-system", name = "sops-age" }]

[publish]
run = ["km execute sync homeops"]
order = ["vps", "minipcs"]
"#;

fn filled(text: &str) -> String {
    text.replace("LAPTOP", LAPTOP)
        .replace("PAPER", PAPER)
        .replace("OTHER", OTHER)
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(&filled(text), "cofferdam.toml").unwrap_err();
    assert!(
        problems
            .iter()
            .all(|p| p.hint.is_some() || p.message.starts_with("not TOML"))
    );
    problems.iter().map(ToString::to_string).collect()
}

/// What is wrong after one replacement in the good text.
fn after(old: &str, new: &str) -> Vec<String> {
    assert!(GOOD.contains(old), "{old}");
    problems(&GOOD.replacen(old, new, 1))
}

#[test]
fn reads_everything() {
    let topology = parse(&filled(GOOD), "cofferdam.toml").unwrap();
    assert_eq!(topology.recovery.drill_every.unwrap().as_hours(), 180 * 24);
    let names: Vec<_> = topology.zones.iter().map(|z| z.name.as_str()).collect();
    assert_eq!(names, ["k8s", "lan", "vps"]);
    assert_eq!(topology.zone("lan").unwrap().identity, IdentityScope::Host);
    let k8s = &topology.zone("k8s").unwrap().files[0];
    let selection = (Selector::EncryptedRegex, "^(data|stringData)$".to_owned());
    assert_eq!(k8s.selection, Some(selection));
    assert!(topology.zone("vps").unwrap().files[0].mac_only_encrypted);
    let kasm = topology.host("kasm").unwrap();
    assert_eq!(kasm.identity_file, "/etc/sops/age/keys.txt");
    assert_eq!(kasm.target, HostTarget::Ssh("root@kasm".to_owned()));
    let aegis = topology.host("aegis").unwrap();
    assert_eq!(
        aegis.target,
        HostTarget::Local("../targets/aegis".to_owned())
    );
    assert_eq!(
        topology.cluster("minipcs").unwrap().secrets[0].entry,
        "age.agekey"
    );
    assert_eq!(topology.publish.run, ["km execute sync homeops"]);
    assert!(topology.publish.commit && !topology.publish.push);
    assert_eq!(topology.sealed_folder, ".cofferdam/sealed");
}

#[test]
fn reads_what_readers_have_to_show() {
    let topology = parse(&filled(GOOD), "cofferdam.toml").unwrap();
    assert!(topology.gate.takes_read_back("kasm"));
    let text = GOOD
        .replace(
            "ssh  = \"root@kasm\"",
            "ssh = \"kasm\"\nreader = \"docker:periphery:/keys.txt\"\ncofferdam = \"/opt/cofferdam\"",
        )
        .replace(
            "context = \"minipcs\"",
            "context = \"minipcs\"\nkustomizations = [\"flux-system/apps\"]",
        )
        + "[gate]\nreceipt = \"unwrapped\"\nexcept = \"minipcs\"\n";
    let topology = parse(&filled(&text), "cofferdam.toml").unwrap();
    assert!(!topology.gate.takes_read_back("kasm") && topology.gate.takes_read_back("minipcs"));
    let kasm = topology.host("kasm").unwrap();
    let reader = kasm.reader.as_ref().unwrap();
    assert_eq!(reader.to_string(), "docker:periphery:/keys.txt");
    assert_eq!(kasm.cofferdam.as_deref(), Some("/opt/cofferdam"));
    let cluster = topology.cluster("minipcs").unwrap();
    assert_eq!(cluster.kustomizations[0].to_string(), "flux-system/apps");
}

#[test]
fn reads_what_is_adopted() {
    let text = GOOD
        .replace("max_age = \"90 days\"", "adopt = \"OTHER\"")
        .replace(
            "ssh  = \"root@kasm\"",
            "ssh  = \"root@kasm\"\nadopt = \"age12c9kanc9dldzlz2wxyeu9ap8m5syar5a64dz7nkhcu3u36txsscsmfymuj\"",
        );
    let topology = parse(&filled(&text), "cofferdam.toml").unwrap();
    let k8s = topology.zone("k8s").unwrap().adopt.as_ref();
    assert_eq!(k8s.unwrap().as_str(), OTHER);
    let kasm = topology.host("kasm").unwrap().adopt.as_ref();
    assert!(kasm.unwrap().as_str().starts_with("age12c9k"));
    assert!(topology.host("aegis").unwrap().adopt.is_none());
}

#[test]
fn finds_the_places_of_a_file() {
    let topology = parse(&filled(GOOD), "cofferdam.toml").unwrap();
    let titles = |path: &str| -> Vec<String> {
        let path = RepoPath::new(path).unwrap();
        topology.places(&path).iter().map(|p| p.title()).collect()
    };
    assert_eq!(titles("kubernetes/a/b/my-secret.yaml"), ["zone k8s"]);
    assert_eq!(
        titles("docker/stacks/shared/alloy/.sops.env"),
        ["shared alloy"]
    );
    assert!(titles("docker/stacks/nobody/.sops.env").is_empty());
    let path = RepoPath::new("docker/stacks/shared/alloy/.sops.env").unwrap();
    let place = topology.places(&path)[0];
    let zones: Vec<_> = topology
        .zones_of(&place)
        .iter()
        .map(|z| z.name.as_str())
        .collect();
    assert_eq!(zones, ["lan", "vps"]);
    let readers: Vec<_> = topology
        .readers_of(&place)
        .iter()
        .map(|r| r.name())
        .collect();
    assert_eq!(readers, ["kasm"]);
}

#[test]
fn reports_all_mistakes_at_once_with_their_places() {
    let text = GOOD
        .replace("version = 1", "version = 2")
        .replace("drill_every", "drill_evry")
        .replace("zone = \"k8s\"", "zone = \"k8\"")
        .replace("ssh  = \"root@kasm\"", "ssh  = \"-oProxyCommand=x\"");
    assert_eq!(
        problems(&text),
        [
            "cofferdam.toml:1:11: version 2 is not known to this cofferdam",
            "cofferdam.toml:5:1: [recovery]: unknown key \"drill_evry\"",
            "cofferdam.toml:29:8: host kasm: ssh starts with '-'",
            "cofferdam.toml:38:8: cluster minipcs names the zone \"k8\", which does not exist",
        ]
    );
}

#[test]
fn names_each_kind_of_mistake() {
    for (old, new, message) in [
        ("version = 1\n", "\n", "1:1: version is missing"),
        ("[\"PAPER\"]", "[]", "4:1: recovery has no recipient"),
        (
            "[\"LAPTOP\"]",
            "[\"PAPER\"]",
            "is both recovery and operator laptop",
        ),
        ("[\"LAPTOP\"]", "[\"LAPTOP\", \"LAPTOP\"]", "is there twice"),
        (
            "[\"LAPTOP\"]",
            "\"LAPTOP\"",
            "8:14: operator laptop: recipients must be a list of strings, not a string",
        ),
        (
            "[\"LAPTOP\"]",
            "[7]",
            "8:15: operator laptop: recipients must be a list of strings, not an integer",
        ),
        (
            "\"90 days\"",
            "\"90\"",
            "11:11: zone k8s: max_age is \"90\": not a duration",
        ),
        (
            "\"90 days\"",
            "90",
            "11:11: zone k8s: max_age must be a string, not an integer",
        ),
        (
            "[zones.k8s]",
            "[zones.\"k 8s\"]",
            "the zone name \"k 8s\" is not a simple word",
        ),
        (
            "\"^(data|stringData)$\"",
            "\"(\"",
            "encrypted_regex is no regular expression",
        ),
        (
            "exclude = [],",
            "encrypted_suffix = \"x\",",
            "both encrypted_suffix and encrypted_regex",
        ),
        (
            "exclude = [],",
            "exclud = [],",
            "12:55: zone k8s: files: unknown key \"exclud\"",
        ),
        (
            "identity = \"host\"",
            "identity = \"hosts\"",
            "identity is \"hosts\"",
        ),
        (
            "docker/stacks/{kasm,komodo}",
            "docker/stacks/{kasm,komodo",
            "a brace is not closed",
        ),
        (
            "[\"lan\", \"vps\"]",
            "[\"lan\", \"lan\"]",
            "names zone \"lan\" twice",
        ),
        ("[\"lan\", \"vps\"]", "[]", "names no zone"),
        (
            "hosts = [\"kasm\"]",
            "hosts = [\"minipcs\"]",
            "\"minipcs\" is not one of its readers",
        ),
        (
            "[shared.alloy]",
            "[shared.lan]",
            "shared entry lan has the name of a zone",
        ),
        (
            "ssh  = \"root@kasm\"\n",
            "",
            "27:8: host kasm has neither ssh nor local",
        ),
        (
            "ssh  = \"root@kasm\"\n",
            "ssh = \"a\"\nlocal = \"b\"\n",
            "30:1: host kasm has both ssh and local",
        ),
        (
            "\"/root/keys.txt\"",
            "\"keys.txt\"",
            "must be an absolute path",
        ),
        (
            "\"/etc/komodo/stacks/*\"",
            "\"stacks\"",
            "a clone must be an absolute path",
        ),
        (
            "name = \"sops-age\"",
            "name = \"../x\"",
            "is no name of Kubernetes",
        ),
        (
            "run = [",
            "push = true\nrun = [",
            "push = true without a remote",
        ),
        (
            "order = [\"vps\"",
            "order = [\"vsp\"",
            "order names \"vsp\"",
        ),
        (
            "clones = [",
            "reader = \"periphery\"\nclones = [",
            "30:10: host kasm: reader names no container",
        ),
        (
            "clones = [",
            "reader = \"docker:-x\"\nclones = [",
            "reader names no container",
        ),
        (
            "clones = [",
            "reader = \"docker:x:keys.txt\"\nclones = [",
            "reader names no container",
        ),
        (
            "local = \"../targets/aegis\"",
            "local = \"../targets/aegis\"\nreader = \"docker:periphery\"",
            "35:10: host aegis: a reader in a container, of a host that is a directory",
        ),
        (
            "clones = [",
            "cofferdam = \"bin/cofferdam\"\nclones = [",
            "30:1: host kasm: cofferdam must be the absolute path of a program",
        ),
        (
            "context = \"minipcs\"",
            "context = \"minipcs\"\nkustomizations = [\"apps\"]",
            "40:19: cluster minipcs: \"apps\" is no Kustomization's namespace and name",
        ),
        (
            "context = \"minipcs\"",
            "context = \"minipcs\"\nkustomizations = [\"a/b\", \"a/b\"]",
            "a/b is there twice",
        ),
        (
            "context = \"minipcs\"",
            "local = \"x\"\nkustomizations = [\"a/b\"]",
            "40:1: cluster minipcs: kustomizations of a cluster that is a directory",
        ),
        (
            "max_age = \"90 days\"",
            "adopt = \"LAPTOP\"",
            "is both operator laptop and zone k8s",
        ),
        (
            "max_age = \"90 days\"",
            "adopt = \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN x\"",
            "only an identity of age itself can be adopted",
        ),
        (
            "identity = \"host\"",
            "identity = \"host\"\nadopt = \"OTHER\"",
            "16:9: zone lan adopts one identity, and each of its readers has one",
        ),
        (
            "local = \"../targets/aegis\"",
            "local = \"../targets/aegis\"\nadopt = \"OTHER\"",
            "35:9: aegis adopts an identity of its own in zone vps, which has one for all",
        ),
        (
            "[publish]",
            "[gate]\nreceipt = \"strong\"\n[publish]",
            "43:11: [gate]: receipt is \"strong\"",
        ),
        (
            "[publish]",
            "[gate]\nreceipt = true\n[publish]",
            "[gate]: receipt must be a string",
        ),
        (
            "[publish]",
            "[gate]\nreceipts = \"unwrapped\"\n[publish]",
            "[gate]: unknown key \"receipts\"",
        ),
        (
            "[publish]",
            "[gate]\nreceipt = \"unwrapped\"\nexcept = [\"kasn\"]\n[publish]",
            "44:11: [gate]: except names \"kasn\", which does not exist",
        ),
        (
            "[publish]",
            "[gate]\nexcept = \"kasm\"\n[publish]",
            "43:1: [gate]: except says nothing where read-back suffices",
        ),
        ("[hosts.kasm]", "[host.kasm]", "unknown key \"host\""),
    ] {
        let found = after(old, new);
        assert!(
            found.iter().any(|f| f.contains(message)),
            "{message:?} is not in {found:#?}"
        );
    }
    assert_eq!(
        after("version = 1", "version = "),
        ["cofferdam.toml:1:11: not TOML: string values must be quoted, expected literal string"]
    );
}

#[test]
fn never_repeats_an_identity() {
    let identity = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ";
    for old in [
        "PAPER",
        "root@kasm",
        "90 days",
        "kubernetes/**/*secret*.yaml",
        "host\"\ngrace",
    ] {
        let new = match old {
            "host\"\ngrace" => format!("{identity}\"\ngrace"),
            _ => identity.to_owned(),
        };
        if let Err(found) = parse(&filled(&GOOD.replacen(old, &new, 1)), "f") {
            assert!(!format!("{found:?}").contains("SECRET-KEY-1"), "{old}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(cut in 0..GOOD.len(), insert in "\\PC{0,8}") {
        let mut text = GOOD.to_owned();
        text.insert_str(cut, &insert);
        let _ = parse(&filled(&text), "f");
    }
}
