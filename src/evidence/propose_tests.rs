//! Whole proposals over small trees, read back by the topology's own parser.

use std::collections::BTreeMap;

use crate::evidence::testing::{path, sources};
use crate::evidence::{Answers, Evidence, propose, to_toml};
use crate::keys::{Identity, Recipient};
use crate::topology::{self, Topology};

fn recipient() -> Recipient {
    Identity::mint().recipient().unwrap()
}

fn answers() -> Answers {
    Answers {
        recovery: vec![recipient()],
        operators: BTreeMap::from([("laptop".to_owned(), vec![recipient()])]),
        ..Answers::default()
    }
}

/// The topology that is written for these files; every document has its one place, other files none.
fn written(files: &[(&str, &str)], answers: &Answers) -> (Topology, String) {
    let mut sources = sources(files);
    let evidence = Evidence::gather(&mut sources);
    let proposal = propose(&sources, &evidence, answers);
    assert!(
        proposal.misplaced(&sources).is_empty(),
        "{:?}",
        proposal.misplaced(&sources)
    );
    let text = to_toml(&proposal);
    let topology = topology::parse(&text, "cofferdam.toml");
    let topology = topology.unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    for file in &sources.paths {
        let expected = usize::from(sources.documents.contains_key(file));
        assert_eq!(topology.places(file).len(), expected, "{file}\n{text}");
    }
    (topology, text)
}

fn places(topology: &Topology, file: &str) -> Vec<String> {
    topology
        .places(&path(file))
        .iter()
        .map(|p| p.name().to_owned())
        .collect()
}

const SECRET: &str = "kind: Secret\nstringData:\n    a: ENC[x]\n";

fn ks(path: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec:\n  path: {path}\n  decryption:\n    provider: sops\n    secretRef: {{name: sops-age}}\n"
    )
}

#[test]
fn several_clusters_have_a_zone_each_and_share_what_both_read() {
    let (one, two) = (ks("./k/one"), ks("./k/two"));
    let files = [
        ("k/clusters/one/a.yaml", one.as_str()),
        ("k/clusters/two/a.yaml", two.as_str()),
        ("k/one/kustomization.yaml", "resources: [../base]"),
        ("k/two/kustomization.yaml", "resources: [../base]"),
        ("k/one/x-secret.yaml", SECRET),
        ("k/two/x-secret.yaml", SECRET),
        ("k/base/y-secret.yaml", SECRET),
        ("k/base/deployment.yaml", "kind: Deployment"),
        ("k/lost/z-secret.yaml", SECRET),
    ];
    let (topology, text) = written(&files, &answers());
    assert_eq!(places(&topology, "k/one/x-secret.yaml"), ["k8s-one"]);
    assert_eq!(places(&topology, "k/two/x-secret.yaml"), ["k8s-two"]);
    assert_eq!(
        topology.shared("base").unwrap().zones,
        ["k8s-one", "k8s-two"]
    );
    // In doubt nobody loses what they read today.
    assert_eq!(
        topology.shared("lost").unwrap().zones,
        ["k8s-one", "k8s-two"]
    );
    assert!(text.contains("# decide: k/lost/z-secret.yaml"), "{text}");
    let mut said = answers();
    said.document_zones
        .insert(path("k/lost/z-secret.yaml"), vec!["k8s-two".to_owned()]);
    let (topology, text) = written(&files, &said);
    assert_eq!(places(&topology, "k/lost/z-secret.yaml"), ["k8s-two"]);
    assert!(!text.contains("k/lost/z-secret.yaml: no"), "{text}");
}

#[test]
fn odd_names_of_hosts_folders_and_files_stay_parseable() {
    let komodo = "[[server]]\nname = \"My \\\"big\\\" Server\"\n[server.config]\nregion = \"x\\ny\"\n\
                  [[server]]\nname = \"minipcs\"\n[[server]]\nname = \"vps #1\"\n[server.config]\nregion = \"Cloud vps\"\n";
    let flux = ks("./k8s");
    let files = [
        ("komodo.toml", komodo),
        ("d/My \"big\" Server/a/.sops.env", "A=ENC[x]"),
        ("d/minipcs/{x}/.sops.env", "A=ENC[x]"),
        ("d/vps #1/a/.sops.env", "A=ENC[x]"),
        ("d/vps #1/a/plain.sops.env", "A=b"),
        ("clusters/minipcs/a.yaml", flux.as_str()),
        ("k8s/db secret.yaml", SECRET),
        ("lan/terraform.sops.json", "{ENC["),
        ("root.sops.env", "A=ENC[x]"),
        ("Big Folder!/x.sops.env", "A=ENC[x]"),
        (".sops.yaml", "creation_rules: [\n"),
    ];
    let (topology, text) = written(&files, &answers());
    assert_eq!(places(&topology, "d/vps #1/a/.sops.env"), ["vps"]);
    assert_eq!(places(&topology, "d/minipcs/{x}/.sops.env"), ["lan"]);
    // A folder named like a zone with readers does not join it.
    assert_eq!(
        places(&topology, "lan/terraform.sops.json"),
        ["lan-operators"]
    );
    assert_eq!(places(&topology, "root.sops.env"), ["root"]);
    assert_eq!(places(&topology, "Big Folder!/x.sops.env"), ["big-folder"]);
    assert!(topology.host("My--big--Server").is_some() && topology.host("vps--1").is_some());
    assert_eq!(topology.clusters[0].name, "minipcs-2");
    assert!(text.contains("plain.sops.env: is named like a SOPS document but is not encrypted"));
}

#[test]
fn a_zone_whose_documents_are_all_shared_still_exists() {
    let files = [
        (
            "k.toml",
            "[[stack]]\nname = \"a\"\n[stack.config]\nserver_id = \"a\"\nfile_paths = [\"s/x/compose.yaml\"]\n\
                    [[stack]]\nname = \"b\"\n[stack.config]\nserver_id = \"b-vps\"\nfile_paths = [\"s/x/compose.yaml\"]\n",
        ),
        ("s/x/compose.yaml", "services: {a: {env_file: .env}}"),
        ("s/x/.sops.env", "A=ENC[x]"),
    ];
    let (topology, text) = written(&files, &answers());
    assert_eq!(topology.zones.len(), 2);
    assert_eq!(topology.shared("x").unwrap().zones, ["lan", "vps"]);
    assert!(
        text.contains("# decide: a guess: no region is known"),
        "{text}"
    );
    let mut said = answers();
    said.host_zones.insert("a".to_owned(), "vps".to_owned());
    let (topology, _) = written(&files, &said);
    assert_eq!(places(&topology, "s/x/.sops.env"), ["vps"]);
}

#[test]
fn names_are_the_last_resort() {
    let mut said = answers();
    said.exact_names = true;
    let (topology, text) = written(
        &[("p/g.sops.yml", "a: ENC[x]"), ("p/h.sops.yml", "a: b")],
        &said,
    );
    assert_eq!(places(&topology, "p/g.sops.yml"), ["p"]);
    assert!(text.contains("\"p/g.sops.yml\""), "{text}");
}
