//! Real sops as the judge of which rule a file gets: generated configurations, the recipients it chose against ours.

use std::path::Path;
use std::process::{Command, Output};

use cofferdam::keys::Recipient;
use cofferdam::repo_path::RepoPath;
use cofferdam::rules::{
    CreationRule, DesiredRule, RewriteRequest, RulesError, RulesFile, path_for_rules, rewrite,
};

const A: &str = "age10nhmzvq99ujjjgj0y4pzjagzlw0mtzhqawuaa38muencnl7wpfdqpjn90t";
const B: &str = "age1etgxmzumnmsszyc6lde4ql4qqzuhxhhemfhctswp0e8shrgkaqeqer8mxz";
const C: &str = "age1juqpzcy6ptg72peejnmesya0dxq5qknpt496ekx554taauzlz5vs8z7v7g";

fn filled(text: &str) -> String {
    text.replace("$A", A).replace("$B", B).replace("$C", C)
}

/// Tells whether sops is there; panics without it where peers are required.
fn has_sops() -> bool {
    let found = Command::new("sops").arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
        "sops is required and missing"
    );
    found
}

fn sops(folder: &Path, file: &str) -> Output {
    Command::new("sops")
        .args(["encrypt", file])
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .output()
        .unwrap()
}

/// The recipients that sops wrote, in order.
fn chosen(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| {
            line.trim_start()
                .trim_start_matches("- ")
                .strip_prefix("recipient: ")
        })
        .map(str::to_owned)
        .collect()
}

fn ours(rule: &CreationRule) -> Vec<String> {
    rule.age().map(str::to_owned).collect()
}

#[test]
fn sops_and_we_choose_the_same_recipients() {
    if !has_sops() {
        println!("skipped: sops is not installed");
        return;
    }
    let configs = [
        // First match wins; unanchored; the folder of the configuration is taken off.
        "creation_rules:\n- path_regex: ^a\\.yaml$\n  age: $A\n- path_regex: a\\.yaml$\n  age: $B\n- path_regex: ^sub/b\n  age: '$A,$B'\n- age: $C\n",
        // Strings, lists, commas inside lists, anchors, folded strings.
        "keys:\n  - &a $A\n  - &b $B\ncreation_rules:\n  - path_regex: ^a\n    age: [*a, *b]\n  - path_regex: ^sub/a\n    age:\n      - *b # b\n      - $A , $C\n  - path_regex: b\n    age: >-\n      $A,\n      $B,\n",
        // Key groups with merges; they win over flat keys.
        "creation_rules:\n  - path_regex: ^a\n    age: $C\n    key_groups:\n      - age: [$B, $A]\n        merge:\n          - age: [$C, $A]\n  - path_regex: sub\n    shamir_threshold: 2\n    key_groups:\n      - age: [$A]\n      - age: ['$B,$C']\n  - key_groups: []\n    age: $B\n",
        // Merge keys of YAML, unknown fields, empty expressions and selectors.
        "base: &base\n  age: $A\ncreation_rules:\n  - path_regex: ^a\n    <<: *base\n    nobody: knows\n  - path_regex: ''\n    unencrypted_suffix: ''\n    encrypted_suffix: _x\n    mac_only_encrypted: yes\n    age: $B\n",
        // RE2: what differs between the dialects.
        "creation_rules:\n  - path_regex: ^\\d\n    age: $A\n  - path_regex: '[a&&z]\\.yaml$'\n    age: $B\n  - path_regex: (?i)B{1}\\Q.yaml\\E\n    age: $C\n",
        // Several documents: the first counts.
        "creation_rules:\n  - age: $A\n---\ncreation_rules:\n  - age: $B\n",
    ];
    let files = ["a.yaml", "b.yaml", "sub/a.yaml", "sub/b.yaml"];
    for config in configs {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let config = filled(config);
        std::fs::write(root.join(".sops.yaml"), &config).unwrap();
        std::fs::create_dir(root.join("sub")).unwrap();
        let rules = RulesFile::parse(&config).unwrap();
        for file in files {
            let full = root.join(file);
            std::fs::write(&full, "a: 1\n").unwrap();
            let output = sops(&root, file);
            let inside = path_for_rules(root.to_str().unwrap(), full.to_str().unwrap());
            assert_eq!(inside, file);
            match rules.rule_with_keys_for(inside) {
                Ok(Some(rule)) => {
                    assert!(output.status.success(), "{config}\n{file}: {output:?}");
                    assert_eq!(chosen(&output), ours(rule), "{config}\n{file}");
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert_eq!(
                        text.contains("mac_only_encrypted: true"),
                        rule.mac_only_encrypted
                    );
                }
                other => assert!(!output.status.success(), "{config}\n{file}: {other:?}"),
            }
            // From another folder: the configuration above it is found, the path stays that inside its folder.
            if let Some(name) = file.strip_prefix("sub/") {
                assert_eq!(chosen(&sops(&root.join("sub"), name)), chosen(&output));
            }
        }
    }
}

#[test]
fn sops_and_we_refuse_the_same_configurations() {
    if !has_sops() {
        println!("skipped: sops is not installed");
        return;
    }
    let cases = [
        ("creation_rules: []\n", "no matching creation rules found"),
        (
            "creation_rules:\n  - path_regex: ^b\n    age: $A\n",
            "no matching creation rules found",
        ),
        (
            "creation_rules:\n  - path_regex: (\n    age: $A\n",
            "can not compile regexp",
        ),
        (
            "creation_rules:\n  - path_regex: a(?=b)\n    age: $A\n",
            "can not compile regexp",
        ),
        (
            "creation_rules:\n  - encrypted_suffix: _a\n    encrypted_regex: b\n    age: $A\n",
            "cannot use more than one of",
        ),
        ("creation_rules:\n  - path_regex: a\n", "keys"),
        ("creation_rules: {a: b}\n", "nmarshal"),
        ("creation_rules: [\n", "nmarshal"),
        ("creation_rules:\n  - age: [[$A]]\n", "expected string in"),
        (
            "creation_rules:\n  - age: {a: $A}\n",
            "expected string, []string",
        ),
        ("creation_rules:\n  - age: $A\n    age: $B\n", "nmarshal"),
        (
            "creation_rules:\n  - age: $A\n    shamir_threshold: x\n",
            "nmarshal",
        ),
        (
            "creation_rules:\n  - age: $A\n    mac_only_encrypted: maybe\n",
            "nmarshal",
        ),
        ("- a\n", "nmarshal"),
    ];
    for (config, message) in cases {
        let root = tempfile::tempdir().unwrap();
        let config = filled(config);
        std::fs::write(root.path().join(".sops.yaml"), &config).unwrap();
        std::fs::write(root.path().join("a.yaml"), "a: 1\n").unwrap();
        let output = sops(root.path(), "a.yaml");
        assert!(!output.status.success(), "sops takes it: {config}");
        let ours = RulesFile::parse(&config).and_then(|rules| {
            rules
                .rule_with_keys_for("a.yaml")
                .map(|rule| rule.is_some())
        });
        let error = ours.expect_err(&config);
        if !matches!(error, RulesError::NoKeys { .. }) {
            let theirs = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(theirs.contains(message), "{config}\n{theirs}");
            assert!(error.to_string().contains(message), "{config}\n{error}");
        }
    }
    // No list at all: as if there were no file.
    for config in [
        "",
        "stores: {}\n",
        "creation_rules:\n",
        "creation_rules: null\n",
    ] {
        assert!(
            RulesFile::parse(config)
                .unwrap()
                .rule_for("a.yaml")
                .unwrap()
                .is_none()
        );
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(".sops.yaml"), config).unwrap();
        std::fs::write(root.path().join("a.yaml"), "a: 1\n").unwrap();
        let output = sops(root.path(), "a.yaml");
        let theirs = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            theirs.contains("has no creation rules"),
            "{config}: {theirs}"
        );
    }
}

const TOPOLOGY: &str = r#"version = 1
[recovery]
recipients = ["$A"]
[operators.laptop]
recipients = ["$B"]
[zones.k8s]
files = [{ paths = ["kubernetes/**/*secret*.yaml", "kubernetes/**/*credentials*.yaml"], encrypted_regex = "^(data|stringData)$" }]
[zones.lan]
files = [{ paths = ["docker/stacks/{kasm,nvr}/**/*.sops.{env,json,yaml}"] }]
[zones.proxmox]
files = [{ paths = ["proxmox/**/*.sops.yml"] }]
[shared.alloy]
zones = ["lan", "k8s"]
files = [{ paths = ["docker/stacks/shared/alloy/*.sops.env"] }]
"#;

const ONE_KEY: &str = r"creation_rules:
  # Proxmox/Ansible secrets (encrypt all values in .sops.yml files)
  - path_regex: proxmox/.*\.sops\.yml$
    age: $C
  # Docker/Komodo secrets (encrypt entire .sops.env and .sops.json files)
  - path_regex: docker/stacks/.*\.sops\.(env|json)$
    age: $C
  # K8s secrets (existing rule)
  - path_regex: .*.yaml
    encrypted_regex: '^(data|stringData)$'
    age: $C
";

#[test]
fn sops_follows_the_rules_of_a_topology() {
    let topology = cofferdam::topology::parse(&filled(TOPOLOGY), "cofferdam.toml").unwrap();
    let secrets = [
        "kubernetes/infra/db-secret.yaml",
        "kubernetes/store-credentials.yaml",
        "docker/stacks/kasm/newt/.sops.env",
        "docker/stacks/nvr/frigate/.sops.json",
        "proxmox/group_vars/all/secrets.sops.yml",
        "docker/stacks/shared/alloy/.sops.env",
    ]
    .map(|file| RepoPath::new(file).unwrap());
    let plain = [
        "kubernetes/values.yaml",
        "docker/stacks/kasm/newt/compose.yaml",
        ".sops.yaml",
    ]
    .map(|file| RepoPath::new(file).unwrap());
    let known: Vec<RepoPath> = secrets.iter().chain(&plain).cloned().collect();
    let mut desired: Vec<DesiredRule> = Vec::new();
    let mut meant: Vec<(RepoPath, Option<usize>)> = Vec::new();
    for secret in &secrets {
        let places = topology.places(secret);
        assert_eq!(places.len(), 1, "{secret}");
        let set = places[0].file_set();
        let path_regex = set.path_regex(&known).unwrap();
        let at = desired
            .iter()
            .position(|rule| rule.path_regex == path_regex);
        meant.push((secret.clone(), Some(at.unwrap_or(desired.len()))));
        if at.is_none() {
            let always = topology.always().into_iter();
            desired.push(DesiredRule {
                name: places[0].title(),
                path_regex,
                recipients: always.map(|(r, holder)| (r.clone(), holder)).collect(),
                selection: set.selection.clone(),
                mac_only_encrypted: set.mac_only_encrypted,
            });
        }
    }
    let request = RewriteRequest {
        desired: &desired,
        ours: &[],
        retiring: &[Recipient::parse(C).unwrap()],
        secrets: &meant,
        not_secrets: &plain,
    };
    let rewritten = rewrite(Some(&filled(ONE_KEY)), &request).unwrap();
    assert_eq!((rewritten.rules_before, rewritten.rules_after), (3, 4));
    let comments = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(comments(&rewritten.text), comments(ONE_KEY));
    if !has_sops() {
        println!("skipped: sops is not installed");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for file in &known {
        let full = file.under(root.path());
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        let text = match full.extension().and_then(|ext| ext.to_str()) {
            Some("json") => "{\"data\": \"1\"}",
            Some("env") => "data=1\n",
            _ => "data: 1\nkind: Secret\n",
        };
        std::fs::write(full, text).unwrap();
    }
    std::fs::write(root.path().join(".sops.yaml"), &rewritten.text).unwrap();
    for secret in &secrets {
        let output = sops(root.path(), secret.as_str());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{secret}: {output:?}");
        assert!(
            text.contains(A) && text.contains(B) && !text.contains(C),
            "{secret}"
        );
        assert_eq!(
            text.contains("kind: Secret"),
            secret.as_str().starts_with("kubernetes/"),
            "{secret}"
        );
    }
    for file in &plain {
        let output = sops(root.path(), file.as_str());
        let theirs = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            theirs.contains("no matching creation rules found"),
            "{file}: {theirs}"
        );
    }
}
