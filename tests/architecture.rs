//! Rules about the sources themselves: who may import whom, how long a file may be, what names say, which paths in
//! prose exist.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The core, from the bottom up: a module imports only from lower rows (and from itself).
const CORE: [&[&str]; 8] = [
    &["secret", "repo_path", "re2", "command_words", "selector"],
    &["keys", "shamir"],
    &["sops", "topology", "ledger"],
    &[
        "rules",
        "recovery",
        "evidence",
        "exposure",
        "runbook",
        "migration",
    ],
    &["inventory"],
    &["plan", "policy"],
    &["journal"],
    &["report"],
];

/// The edges: how many rows of the core each may import from, and which other edges.
const EDGES: [(&str, usize, &[&str]); 6] = [
    ("exec", 1, &[]),
    ("leaks", 1, &["exec"]),
    ("keystore", 2, &["repo"]),
    ("repo", 5, &[]),
    ("fleet", 5, &["repo"]),
    ("apply", 7, &["repo", "keystore", "fleet"]),
];

/// Nothing imports this one, and it imports everything.
const TOP: &str = "cli";

/// Lines of code a file may have, without tests, comments and blank lines.
const LENGTH: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of these endings, but test data and build output.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    fn visit(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let is_data = matches!(
                    name.as_str(),
                    "target" | ".git" | "fixtures" | "vectors" | "interop" | "corpus" | "artifacts"
                );
                if !is_data {
                    visit(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    visit(&root().join(folder), endings, &mut found);
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// The module right below the crate's root that a source file belongs to; none for the root itself.
fn module_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    let first = rest.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then_some(name)
}

/// What a module may import; none if it is in no table.
fn allowed(module: &str) -> Option<BTreeSet<&'static str>> {
    let rows = |count: usize| CORE[..count].iter().flat_map(|row| row.iter().copied());
    if let Some(row) = CORE.iter().position(|row| row.contains(&module)) {
        return Some(rows(row).collect());
    }
    let (_, count, edges) = EDGES.iter().find(|(name, _, _)| *name == module)?;
    Some(rows(*count).chain(edges.iter().copied()).collect())
}

/// A file's lines without comments and without its tests.
fn code_lines(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut previous = "";
    for (number, line) in (1..).zip(text.lines()) {
        if previous.trim() == "#[cfg(test)]" && line.starts_with("mod ") && line.ends_with('{') {
            break;
        }
        previous = line;
        if !line.trim().is_empty() && !line.trim_start().starts_with("//") {
            lines.push((number, line));
        }
    }
    lines
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

#[track_caller]
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn modules_import_downwards_only() {
    let import = Regex::new(r"\bcrate::([a-z0-9_]+|\{)").unwrap();
    let mut problems = Vec::new();
    let sources = files("src", &[".rs"]);
    assert!(!sources.is_empty());
    for path in sources {
        let name = relative(&path);
        let text = std::fs::read_to_string(&path).unwrap();
        let Some(module) = module_of(&name) else {
            continue;
        };
        if module == TOP || is_test_file(&name) {
            continue;
        }
        let Some(allowed) = allowed(module) else {
            problems.push(format!("{name}: module {module} is in no table"));
            continue;
        };
        for (number, line) in code_lines(&text) {
            for found in import.captures_iter(line) {
                let imported = &found[1];
                if imported != module && !allowed.contains(imported) {
                    problems.push(format!("{name}:{number}: {module} imports {imported}"));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn files_are_short() {
    let mut problems = Vec::new();
    for path in files("src", &[".rs"]) {
        let name = relative(&path);
        if is_test_file(&name) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let length = code_lines(&text).len();
        if length > LENGTH {
            problems.push(format!("{name}: {length} lines of code, at most {LENGTH}"));
        }
    }
    report(&problems);
}

#[test]
fn names_name_the_concept() {
    let vague = Regex::new(r"(?i)(^|[/_.-])(utils?|helpers?|common|misc)([/_.-]|$)").unwrap();
    let problems: Vec<String> = ["src", "tests", "fuzz"]
        .into_iter()
        .flat_map(|folder| files(folder, &[".rs"]))
        .map(|path| relative(&path))
        .filter(|name| vague.is_match(name))
        .collect();
    report(&problems);
}

#[test]
fn paths_in_prose_exist() {
    let path =
        Regex::new(r"`((?:src|tests|docs|runbooks|policies|fuzz|keys\.example|\.ci)/[^`\s]*)`")
            .unwrap();
    let pattern = Regex::new(r"[*{}<>…$]").unwrap();
    let mut problems = Vec::new();
    let prose = files("", &[".md"]);
    for file in prose {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            for found in path.captures_iter(line) {
                let named = found[1].split(['#', ':']).next().unwrap_or_default();
                if !pattern.is_match(named) && !root().join(named).exists() {
                    let name = relative(&file);
                    problems.push(format!("{name}:{number}: {named} does not exist"));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn nothing_points_outside_the_project() {
    // Put together, so that this file does not hold them itself.
    let words = [
        ["/wo", "rk/"].concat(),
        ["/tmp", "/w/"].concat(),
        ["issues ", "show"].concat(),
        ["this ", "session"].concat(),
    ];
    let number = Regex::new(&["(?i)\\b", "issue", " #?[0-9]{1,2}\\b"].concat()).unwrap();
    let mut problems = Vec::new();
    let endings = [".rs", ".md", ".toml", ".sh", ".py", "test", "run"];
    for path in files("", &endings) {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for (at, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word)) || number.is_match(line) {
                problems.push(format!("{}:{at}: {line}", relative(&path)));
            }
        }
    }
    report(&problems);
}

#[test]
fn the_default_build_holds_no_c_code() {
    let listed = |features: &[&str]| {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--locked", "--prefix", "none"])
            .args(["--edges", "normal,build", "--format", "{p}"])
            .args(features)
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let names = text.lines().filter_map(|line| line.split(' ').next());
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    // `cc`, `cmake` and `pkg-config` are how crates build and find C code; `linux-raw-sys` is numbers in Rust.
    let is_c = |name: &&String| {
        matches!(name.as_str(), "cc" | "cmake" | "pkg-config" | "bindgen")
            || (name.ends_with("-sys") && *name != "linux-raw-sys")
    };
    let crates = listed(&[]);
    assert!(crates.contains("age"));
    assert_eq!(crates.iter().filter(is_c).collect::<Vec<_>>(), [""; 0]);
    // What is looked for is found where it is.
    let crates = listed(&["--features", "libssh2"]);
    assert!(crates.contains("libssh2-sys") && crates.contains("openssl-sys"));
}
