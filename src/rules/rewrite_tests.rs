#![expect(clippy::disallowed_methods, reason = "tests")]

use super::*;
use crate::keys::Recipient;
use crate::topology::Selector;

const OLD: &str = "age10nhmzvq99ujjjgj0y4pzjagzlw0mtzhqawuaa38muencnl7wpfdqpjn90t";
const LAPTOP: &str = "age1etgxmzumnmsszyc6lde4ql4qqzuhxhhemfhctswp0e8shrgkaqeqer8mxz";
const PAPER: &str = "age1juqpzcy6ptg72peejnmesya0dxq5qknpt496ekx554taauzlz5vs8z7v7g";
const LAN: &str = "age1597wnpk9ux09zd83dzg4xpvyuvye7hctks97fuf6j5cw3df46umqze57sh";
const VPS: &str = "age1ancdd5ysp5n5depy952pk35ckh6etd9at376hrlda22u3kepsq9slc74vs";
const K8S: &str = "age1sjhjke20re28q3hpjlcv5qyjnqjljvy4jzhk2w273junaefngusqst0t6x";

fn recipient(text: &str) -> Recipient {
    Recipient::parse(text).unwrap()
}

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn filled(text: &str) -> String {
    [
        ("OLD", OLD),
        ("LAPTOP", LAPTOP),
        ("PAPER", PAPER),
        ("LAN", LAN),
        ("VPS", VPS),
        ("K8S", K8S),
    ]
    .iter()
    .fold(text.to_owned(), |text, (name, value)| {
        text.replace(name, value)
    })
}

fn desired(name: &str, path_regex: &str, zones: &[(&str, &str)]) -> DesiredRule {
    let zones = zones
        .iter()
        .map(|(text, holder)| (recipient(text), (*holder).to_owned()));
    let always = [(LAPTOP, "operator laptop"), (PAPER, "recovery")];
    let always = always.map(|(text, holder)| (recipient(text), holder.to_owned()));
    DesiredRule {
        name: name.to_owned(),
        path_regex: path_regex.to_owned(),
        recipients: zones.chain(always).collect(),
        selection: None,
        mac_only_encrypted: false,
    }
}

/// The zones of the sample repository.
fn zones() -> Vec<DesiredRule> {
    let mut k8s = desired(
        "k8s",
        r"^kubernetes/(.*/)?[^/]*(secret|credentials)[^/]*\.yaml$",
        &[(K8S, "zone k8s")],
    );
    k8s.selection = Some((Selector::EncryptedRegex, "^(data|stringData)$".to_owned()));
    vec![
        k8s,
        desired(
            "lan",
            r"^docker/stacks/(kasm|nvr)/(.*/)?[^/]*\.sops\.(env|json)$",
            &[(LAN, "zone lan")],
        ),
        desired(
            "vps",
            r"^docker/stacks/aegis/(.*/)?[^/]*\.sops\.(env|json)$",
            &[(VPS, "zone vps")],
        ),
        desired("proxmox", r"^proxmox/(.*/)?[^/]*\.sops\.yml$", &[]),
        desired(
            "alloy",
            r"^docker/stacks/shared/alloy/[^/]*\.sops\.env$",
            &[(LAN, "zone lan"), (VPS, "zone vps")],
        ),
    ]
}

fn secrets() -> Vec<(RepoPath, Option<usize>)> {
    [
        ("docker/stacks/aegis/pangolin/.sops.env", 2),
        ("docker/stacks/kasm/newt/.sops.env", 1),
        ("docker/stacks/nvr/frigate/.sops.json", 1),
        ("docker/stacks/shared/alloy/.sops.env", 4),
        ("kubernetes/a/drive-credentials.yaml", 0),
        ("kubernetes/a/oidc-secret.yaml", 0),
        ("proxmox/group_vars/all/secrets.sops.yml", 3),
    ]
    .map(|(file, rule)| (path(file), Some(rule)))
    .to_vec()
}

fn not_secrets() -> Vec<RepoPath> {
    [
        ".sops.yaml",
        "README.md",
        "kubernetes/apps/values.yaml",
        "docker/stacks/kasm/newt/compose.yaml",
    ]
    .map(path)
    .to_vec()
}

fn run(current: Option<&str>, desired: &[DesiredRule]) -> Result<Rewritten, Vec<RulesProblem>> {
    run_for(current, desired, &secrets(), &[])
}

fn run_for(
    current: Option<&str>,
    desired: &[DesiredRule],
    secrets: &[(RepoPath, Option<usize>)],
    ours: &[String],
) -> Result<Rewritten, Vec<RulesProblem>> {
    let request = RewriteRequest {
        desired,
        ours,
        retiring: &[recipient(OLD)],
        secrets,
        not_secrets: &not_secrets(),
    };
    let current = current.map(filled);
    let first = rewrite(current.as_deref(), &request)?;
    let again = rewrite(Some(&first.text), &request).unwrap();
    assert_eq!(again.text, first.text, "a second rewrite changed something");
    Ok(first)
}

const SAMPLE: &str = r"creation_rules:
  # Proxmox/Ansible secrets (encrypt all values in .sops.yml files)
  - path_regex: proxmox/.*\.sops\.yml$
    age: OLD
  # Docker/Komodo secrets (encrypt entire .sops.env and .sops.json files)
  - path_regex: docker/stacks/.*\.sops\.(env|json)$
    age: OLD
  # K8s secrets (existing rule)
  - path_regex: .*.yaml
    encrypted_regex: '^(data|stringData)$'
    age: OLD
";

#[test]
fn splits_the_sample_in_place_and_keeps_its_comments() {
    let rewritten = run(Some(SAMPLE), &zones()).unwrap();
    let expected = filled(
        r"creation_rules:
  # Proxmox/Ansible secrets (encrypt all values in .sops.yml files)
  - path_regex: ^proxmox/(.*/)?[^/]*\.sops\.yml$
    age:
      - LAPTOP # operator laptop
      - PAPER # recovery
  # Docker/Komodo secrets (encrypt entire .sops.env and .sops.json files)
  - path_regex: ^docker/stacks/(kasm|nvr)/(.*/)?[^/]*\.sops\.(env|json)$
    age:
      - LAN # zone lan
      - LAPTOP # operator laptop
      - PAPER # recovery
  - path_regex: ^docker/stacks/aegis/(.*/)?[^/]*\.sops\.(env|json)$
    age:
      - VPS # zone vps
      - LAPTOP # operator laptop
      - PAPER # recovery
  - path_regex: ^docker/stacks/shared/alloy/[^/]*\.sops\.env$
    age:
      - LAN # zone lan
      - VPS # zone vps
      - LAPTOP # operator laptop
      - PAPER # recovery
  # K8s secrets (existing rule)
  - path_regex: ^kubernetes/(.*/)?[^/]*(secret|credentials)[^/]*\.yaml$
    encrypted_regex: '^(data|stringData)$'
    age:
      - K8S # zone k8s
      - LAPTOP # operator laptop
      - PAPER # recovery
",
    );
    assert_eq!(rewritten.text, expected);
    assert_eq!((rewritten.rules_before, rewritten.rules_after), (3, 5));
    assert!(rewritten.notes.is_empty(), "{:?}", rewritten.notes);
}

#[test]
fn follows_the_layout_of_the_file() {
    let current = "# top\nkeys:\n- &laptop LAPTOP # mine\n- &old OLD\nstores:\n  yaml:\n    indent: 2\ncreation_rules:\n\n# all\n- path_regex: .*\n  owner: home # who\n  # inner\n  age: *old # shared\n\n# ci\n- path_regex: ^ci/\n  pgp: ABCDEF\n# end\n";
    let rewritten = run(Some(current), &zones()[1..2]).err();
    // Files without a desired rule do not count as matched.
    assert!(rewritten.is_some());
    let lan: Vec<_> = vec![(path("docker/stacks/kasm/newt/.sops.env"), Some(0))];
    let rewritten = run_for(Some(current), &zones()[1..2], &lan, &[]).unwrap();
    let rule = "- path_regex: ^docker/stacks/(kasm|nvr)/(.*/)?[^/]*\\.sops\\.(env|json)$\n  owner: home # who\n  age:\n  - LAN # zone lan\n  - *laptop # operator laptop\n  - PAPER # recovery\n";
    let expected = filled(&current.replace(
        "- path_regex: .*\n  owner: home # who\n  # inner\n  age: *old # shared\n",
        &format!("# inner\n{rule}"),
    ));
    assert_eq!(rewritten.text, expected);
}

#[test]
fn a_mixed_rule_loses_only_what_retires() {
    let lan = [(path("docker/stacks/kasm/newt/.sops.env"), Some(0))];
    for (before, after) in [
        ("age: OLD,VPS", "age: VPS"),
        ("age: 'VPS, OLD'", "age: 'VPS'"),
        (
            "age: >-\n      OLD,\n      VPS,\n      K8S",
            "age: >-\n      VPS,\n      K8S",
        ),
        ("age: >-\n      VPS,\n      OLD", "age: >-\n      VPS"),
        ("age: [OLD, VPS]", "age: [VPS]"),
        ("age: [VPS, OLD, OLD]", "age: [VPS]"),
        (
            "age:\n      - VPS # v\n      - OLD # o",
            "age:\n      - VPS # v",
        ),
        (
            "age:\n      - OLD,VPS\n      - K8S",
            "age:\n      - VPS\n      - K8S",
        ),
        ("pgp: AB\n    age: OLD", "pgp: AB"),
        (
            "key_groups:\n      - age:\n          - OLD\n          - VPS\n        pgp: [AB]\n      - age: [K8S]",
            "key_groups:\n      - age:\n          - VPS\n        pgp: [AB]\n      - age: [K8S]",
        ),
        (
            "key_groups:\n      - pgp: [AB]\n        age: [OLD]",
            "key_groups:\n      - pgp: [AB]",
        ),
    ] {
        let head = "creation_rules:\n  - path_regex: ^other/ # keep\n    ";
        let rewritten = run_for(
            Some(&format!("{head}{before}\n")),
            &zones()[1..2],
            &lan,
            &[],
        );
        let text = rewritten.unwrap().text;
        assert!(
            text.ends_with(&filled(&format!(
                "- path_regex: ^other/ # keep\n    {after}\n"
            ))),
            "{before}: {text}"
        );
    }
}

#[test]
fn a_group_that_would_be_empty_is_a_problem() {
    let current = "creation_rules:\n  - path_regex: ^other/\n    key_groups:\n      - age: [OLD]\n      - age: [VPS]\n";
    let problems = run_for(Some(current), &zones()[1..2], &[], &[]).unwrap_err();
    assert!(
        matches!(problems[0], RulesProblem::Layout { line: 4, .. }),
        "{problems:?}"
    );
}

#[test]
fn kept_rules_that_match_too_much_stop_the_run() {
    let lan = [(path("docker/stacks/kasm/newt/.sops.env"), Some(0))];
    let current = "creation_rules:\n  - path_regex: docker/\n    pgp: AB\n";
    let problems = run_for(Some(current), &zones()[1..2], &lan, &[]).unwrap_err();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            ".sops.yaml line 7: the rule `docker/` matches docker/stacks/kasm/newt/compose.yaml, which is no secret"
        ]
    );
    let current = "creation_rules:\n  - path_regex: kasm.*env\n    pgp: AB\n  - path_regex: ^docker/stacks/(kasm|nvr)/(.*/)?[^/]*\\.sops\\.(env|json)$\n    age: OLD\n";
    let problems = run_for(Some(current), &zones()[1..2], &lan, &[]).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        ".sops.yaml line 2: the rule `kasm.*env` matches docker/stacks/kasm/newt/.sops.env before the one meant for it, ^docker/stacks/(kasm|nvr)/(.*/)?[^/]*\\.sops\\.(env|json)$"
    );
}

#[test]
fn writes_a_file_where_there_is_none() {
    for current in [
        None,
        Some(""),
        Some("creation_rules: [] # none\nstores: {}\n"),
        Some("stores: {}"),
        Some("creation_rules:\n"),
    ] {
        let rewritten = run(current, &zones()).unwrap();
        let file = RulesFile::parse(&rewritten.text).unwrap();
        assert_eq!(file.creation_rules.unwrap().len(), 5, "{}", rewritten.text);
        let kept = ["stores: {}", "# none"];
        let kept = kept
            .iter()
            .filter(|part| current.is_some_and(|text| text.contains(*part)));
        for part in kept {
            assert!(rewritten.text.contains(part), "{}", rewritten.text);
        }
    }
}

#[test]
fn our_own_rules_are_regenerated_where_they_stand() {
    let first = run(Some(SAMPLE), &zones()).unwrap().text;
    let mut changed = zones();
    changed[1].recipients[0] = (recipient(OLD), "zone lan".to_owned());
    changed[2].path_regex = r"^docker/stacks/aegis/(.*/)?[^/]*\.sops\.env$".to_owned();
    let ours: Vec<String> = zones().into_iter().map(|rule| rule.path_regex).collect();
    let request = RewriteRequest {
        desired: &changed,
        ours: &ours,
        retiring: &[recipient(LAN)],
        secrets: &secrets(),
        not_secrets: &not_secrets(),
    };
    let problems = rewrite(Some(&first), &request).map(|r| r.text);
    let text = problems.unwrap();
    let alloy = format!("      - {LAN} # zone lan\n      - {VPS}");
    let expected = first
        .replacen(
            &format!("- {LAN} # zone lan\n      - {LAPTOP}"),
            &format!("- {OLD} # zone lan\n      - {LAPTOP}"),
            1,
        )
        .replace(&zones()[2].path_regex, &changed[2].path_regex);
    assert!(expected.contains(&alloy));
    assert_eq!(text, expected);
}

#[test]
fn notes_a_selector_that_goes() {
    let mut rules = zones();
    rules[0].selection = None;
    let rewritten = run(Some(SAMPLE), &rules).unwrap();
    assert_eq!(
        rewritten.notes,
        [
            "the rule `.*.yaml` (line 9) had encrypted_regex ^(data|stringData)$; for k8s the topology says no selector"
        ]
    );
}

#[test]
fn keeps_line_endings_and_empty_lines() {
    let spaced = SAMPLE
        .replace("    age: OLD\n  #", "    age: OLD\n\n  #")
        .replace('\n', "\r\n");
    let text = run(Some(&spaced), &zones()).unwrap().text;
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert_eq!(text.matches("\r\n\r\n").count(), 4, "{text}");
    assert!(!text.contains("\r\n\r\n\r\n"));
}

#[test]
fn brackets_are_refused_and_named() {
    let current = "creation_rules: [{path_regex: '.*', age: OLD}]\n";
    let problems = run(Some(current), &zones()).unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .contains("line 1: the rules are written in brackets")
    );
}

#[test]
fn reads_stores_and_keeps_count_of_what_sops_does_not_know() {
    let file = RulesFile::parse(
        "stores:\n  yaml: {indent: 2}\n  json: {indent: 4}\ncreation_rules:\n  - owner: me\n    kms: [a, 'b,c']\n    key_groups: null\n",
    )
    .unwrap();
    assert_eq!(file.stores.yaml_indent, Some(2));
    assert_eq!(file.stores.json_indent, Some(4));
    let rules = file.creation_rules.unwrap();
    assert_eq!(rules[0].unknown_fields, ["owner"]);
    assert_eq!(rules[0].key_groups[0].foreign.len(), 3);
    assert_eq!(rules[0].line, 5);
}

#[test]
fn an_anchor_inside_a_rule_that_goes_is_named() {
    let current = "creation_rules:\n  - path_regex: .*x\n    age: &k OLD\n  - path_regex: ^ci/\n    pgp: *k\n";
    assert!(run(Some(current), &zones()).is_err());
}

#[test]
fn proving_five_thousand_files_is_quick() {
    let text = run(Some(SAMPLE), &zones()).unwrap().text;
    let files: Vec<RepoPath> = (0..5000)
        .map(|n| path(&format!("kubernetes/apps/{n}/deployment.yaml")))
        .collect();
    let started = std::time::Instant::now();
    prove(&text, &[], &files).unwrap();
    assert!(
        started.elapsed().as_millis() < 2000,
        "{:?}",
        started.elapsed()
    );
}

proptest::proptest! {
    #[test]
    fn every_byte_outside_the_rules_that_go_stays(
        above in "(# [a-z é]{0,9}\n|\n|x[0-9]: [a-z]{1,5} # c\n){0,4}",
        kept in "(  # [a-z]{0,5}\n|\n){0,2}",
        below in "(\n|  # [a-z]{0,9}\n|# [a-z]{0,4}\n){0,3}",
    ) {
        let kept = format!("{kept}  - path_regex: ^ci/ # é\n    pgp:   [ 'AB' ]\n    odd: {{a: 1}}\n{below}");
        let lines: std::collections::HashSet<&str> = above.lines().filter(|l| l.starts_with('x')).map(|l| &l[..2]).collect();
        proptest::prop_assume!(lines.len() == above.lines().filter(|l| l.starts_with('x')).count());
        let text = filled(&format!("{above}{SAMPLE}{kept}"));
        let request = RewriteRequest {
            desired: &zones(),
            ours: &[],
            retiring: &[recipient(OLD)],
            secrets: &secrets(),
            not_secrets: &not_secrets(),
        };
        let new = rewrite(Some(&text), &request).unwrap().text;
        proptest::prop_assert!(new.starts_with(&above));
        proptest::prop_assert!(new.ends_with(&kept), "{}", new);
        let again = rewrite(Some(&new), &request).unwrap();
        proptest::prop_assert_eq!(again.text, new);
    }

    #[test]
    fn never_panics(cut in 0..SAMPLE.len(), insert in "[ -~\n]{0,6}", gone in 0..40_usize) {
        let mut text = filled(SAMPLE);
        let end = (cut + gone).min(text.len());
        text.replace_range(cut..end, &insert);
        let request = RewriteRequest {
            desired: &zones(),
            ours: &[],
            retiring: &[recipient(OLD)],
            secrets: &secrets(),
            not_secrets: &not_secrets(),
        };
        if let Ok(first) = rewrite(Some(&text), &request) {
            let again = rewrite(Some(&first.text), &request).unwrap();
            proptest::prop_assert_eq!(again.text, first.text);
        }
    }
}
