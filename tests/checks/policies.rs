//! Every policy has one name in `policies/`, `tests/policies/` and `docs/policies.md`; each finds something in the tree that
//! fails and nothing in the one that passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::snapshot::expect_snapshot;
use crate::support::{COFFERDAM, Ran, Sandbox, copy_folder, have_peers, tests_folder};
use cofferdam::policy::facts::Subject;
use cofferdam::policy::pack::BUILT_IN;
use cofferdam::policy::{Pack, Policy};
use regex::Regex;
use serde_json::Value;

fn policies() -> Vec<Policy> {
    let packs = BUILT_IN.map(|(name, text)| (name.to_owned(), text.to_owned()));
    Pack::all(&packs).unwrap()
}

fn page() -> (PathBuf, String) {
    let path = tests_folder().parent().unwrap().join("docs/policies.md");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn each_policy_has_one_name_in_three_places() {
    let names: Vec<String> = policies().into_iter().map(|p| p.name).collect();
    let set: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(set.len(), names.len());
    let trees: BTreeSet<String> = std::fs::read_dir(tests_folder().join("policies"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(trees, set);
    let section = Regex::new(r"(?m)^### ([a-z0-9-]+)$").unwrap();
    let (_, text) = page();
    let sections: Vec<String> = section
        .captures_iter(&text)
        .map(|c| c[1].to_owned())
        .collect();
    assert_eq!(sections, names, "in the order of the packs");
    for name in names {
        let from = text.find(&format!("### {name}\n")).unwrap();
        let own = text[from + 4..].split("\n##").next().unwrap();
        for part in ["**Why.**", "**Remedy.**", "Before:\n", "After:\n"] {
            assert!(own.contains(part), "{name} has no {part:?}");
        }
    }
}

/// A tree in a folder of its own. One with submodules becomes a repository that has them; one with the folders `before` and
/// `after` becomes a repository in which the first is committed and the second lies in the work tree.
fn tree(sandbox: &Sandbox, policy: &str, outcome: &str) -> PathBuf {
    let folder = sandbox.path().join(policy).join(outcome);
    std::fs::create_dir_all(&folder).unwrap();
    copy_folder(
        &tests_folder().join("policies").join(policy).join(outcome),
        &folder,
    );
    if folder.join("before").exists() {
        let repository = folder.join("repository");
        copy_folder(&folder.join("before"), &repository);
        sandbox.git(&repository, &["init", "--quiet"]);
        sandbox.git(&repository, &["add", "--force", "."]);
        sandbox.git(&repository, &["commit", "--quiet", "-m", "before"]);
        sandbox.git(
            &repository,
            &["rm", "-r", "--quiet", "--force", "--cached", "."],
        );
        for entry in std::fs::read_dir(&repository).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() == ".git" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                std::fs::remove_dir_all(entry.path()).unwrap();
            } else {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        copy_folder(&folder.join("after"), &repository);
        return repository;
    }
    if let Ok(modules) = std::fs::read_to_string(folder.join(".gitmodules")) {
        sandbox.git(&folder, &["init", "--quiet"]);
        sandbox.git(&folder, &["add", "."]);
        for path in modules
            .lines()
            .filter_map(|l| l.trim().strip_prefix("path = "))
        {
            std::fs::create_dir_all(folder.join(path)).unwrap();
            let link = format!("160000,{},{path}", "1".repeat(40));
            sandbox.git(&folder, &["update-index", "--add", "--cacheinfo", &link]);
        }
    }
    folder
}

fn findings_of(sandbox: &Sandbox, folder: &Path, policy: &str) -> Vec<Value> {
    let mut command = sandbox.command(COFFERDAM, folder);
    let packs = ["--policy", "strict", "--policy", "homelab"];
    command.args(["check", "--json"]).args(packs);
    if folder.ends_with("repository") {
        command.args(["--since", "HEAD"]);
    }
    let ran = Ran::of(&mut command);
    assert!(matches!(ran.code, Some(0 | 3)), "{policy}: {}", ran.stderr);
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    let all = printed["findings"].as_array().unwrap();
    assert_eq!(ran.code == Some(0), all.is_empty());
    let own = all.iter().filter(|f| f["policy"] == policy);
    own.cloned().collect()
}

#[test]
fn each_policy_finds_what_fails_and_passes_what_passes() {
    if !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let mut told = String::new();
    for policy in policies() {
        let name = policy.name.as_str();
        let passed = findings_of(&sandbox, &tree(&sandbox, name, "pass"), name);
        assert!(passed.is_empty(), "{name} passes not: {passed:#?}");
        let found = findings_of(&sandbox, &tree(&sandbox, name, "fail"), name);
        assert!(!found.is_empty(), "{name} finds nothing");
        told.push_str(&format!("{}: {name}\n", policy.severity));
        for finding in found {
            let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
            let wanted = ["policy", "severity", "file", "line", "message", "remedy"];
            assert_eq!(keys, wanted);
            assert_eq!(finding["severity"], policy.severity.to_string());
            let text = |key: &str| finding[key].as_str().unwrap_or("-").to_owned();
            told.push_str(&format!(
                "  {}:{}: {}\n    {}\n",
                text("file"),
                finding["line"],
                text("message"),
                text("remedy")
            ));
        }
    }
    expect_snapshot("policies", &told);
}

/// The facts as the page lists them.
fn facts() -> String {
    let mut text = "## Facts\n\nWhat an expression may ask about, by subject.\n".to_owned();
    for subject in Subject::ALL {
        text.push_str(&format!(
            "\n#### `{}`\n\n{}\n\n| fact | is | says |\n|---|---|---|\n",
            subject.name(),
            subject.about().trim()
        ));
        for field in subject.fields() {
            let kind = match field.kind {
                cofferdam::policy::facts::Kind::Text => "text",
                cofferdam::policy::facts::Kind::Number => "number",
                cofferdam::policy::facts::Kind::Truth => "true or false",
                cofferdam::policy::facts::Kind::Texts => "list of texts",
            };
            let says = field.about.trim();
            text.push_str(&format!(
                "| `{}.{}` | {kind} | {says} |\n",
                subject.name(),
                field.name
            ));
        }
    }
    text
}

#[test]
fn the_page_lists_every_fact() {
    let (path, text) = page();
    let before = text.split("\n## Facts\n").next().unwrap().trim_end();
    let wanted = format!("{before}\n\n{}", facts());
    if std::env::var_os("COFFERDAM_UPDATE_SNAPSHOTS").is_some_and(|v| v == "1") {
        std::fs::write(path, wanted).unwrap();
        return;
    }
    assert!(
        text == wanted,
        "docs/policies.md: the facts differ; COFFERDAM_UPDATE_SNAPSHOTS=1 writes them anew"
    );
}
