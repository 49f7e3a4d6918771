//! The documents keep their word: console blocks run and print what they say, examples parse, and the paths, tests,
//! sections, commands and flags that prose names exist.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use cofferdam::journal::Entry;
use cofferdam::plan::Plan;
use cofferdam::topology;
use regex::Regex;
use support::{COFFERDAM, Ran, Sandbox, copy_folder, have_peers, tests_folder};

/// The pages that stand at the project's root and in its folder of documents.
const PAGES: [&str; 14] = [
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "docs/sops-format.md",
    "docs/plan-format.md",
    "docs/policies.md",
    "docs/runtime.md",
    "docs/komodo.md",
    "docs/topology.md",
    "docs/kubernetes.md",
    "docs/receipts.md",
    "docs/hooks.md",
    "docs/leaks.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The fenced blocks of one kind, in order.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(fence) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if fence == kind {
                found.push(body.join("\n"));
            }
        }
    }
    found
}

/// One command of a console block and the lines below it.
#[derive(Debug)]
struct Shown {
    command: String,
    output: Vec<String>,
}

/// The commands of a console block: `$ ` begins one, `> ` goes on with it, the rest is output.
fn commands(block: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            shown.push(Shown {
                command: command.to_owned(),
                output: Vec::new(),
            });
        } else if let Some(more) = line.strip_prefix("> ") {
            let last = shown.last_mut().expect("a block begins with a command");
            last.command.push('\n');
            last.command.push_str(more);
        } else {
            let last = shown.last_mut().expect("a block begins with a command");
            last.output.push(line.to_owned());
        }
    }
    shown
}

/// The shown output as a pattern: `…` is anything within a line, alone on a line any number of lines.
fn pattern(output: &[String]) -> Regex {
    let mut pattern = String::from("^");
    for line in output {
        if line == "…" {
            pattern.push_str("(?:.*\n)*?");
        } else {
            let parts: Vec<String> = line.split('…').map(regex::escape).collect();
            pattern.push_str(&parts.join(".*"));
            pattern.push_str(" *\n");
        }
    }
    pattern.push('$');
    Regex::new(&pattern).unwrap()
}

/// Runs all console blocks of the README in one shell, in a copy of what they name.
#[test]
fn the_readmes_console_blocks_print_what_they_show() {
    if !have_peers(&["age-keygen", "sops"]) {
        return;
    }
    let shown: Vec<Shown> = blocks(&page("README.md"), "console")
        .iter()
        .flat_map(|block| commands(block))
        .collect();
    assert!(shown.len() > 20, "only {} commands", shown.len());

    let sandbox = Sandbox::new();
    let project = sandbox.path().join("cofferdam");
    let sample = "tests/fixtures/homeops";
    std::fs::create_dir_all(project.join("tests/fixtures")).unwrap();
    copy_folder(
        &tests_folder().join("fixtures/homeops"),
        &project.join(sample),
    );

    let mark = "@@@@";
    let mut script = String::from("exec 2>&1\n");
    for (i, one) in shown.iter().enumerate() {
        let command = &one.command;
        script.push_str(&format!("echo {mark}{i}\n{command}\necho {mark}exit $?\n"));
    }
    let file = sandbox.path().join("readme.sh");
    std::fs::write(&file, script).unwrap();
    let mut bash = sandbox.command("bash", &project);
    with_cofferdam_on_path(&mut bash);
    let ran = Ran::of(bash.arg(&file)).expect_code(0);

    let printed: Vec<&str> = ran.stdout.split(mark).skip(1).collect();
    assert_eq!(printed.len(), 2 * shown.len(), "{}", ran.stdout);
    for (one, pair) in shown.iter().zip(printed.chunks(2)) {
        let (_, output) = pair[0].split_once('\n').unwrap();
        assert_eq!(pair[1].trim_end(), "exit 0", "$ {}\n{output}", one.command);
        assert!(
            pattern(&one.output).is_match(output),
            "$ {}\n--- shown\n{}\n--- printed\n{output}",
            one.command,
            one.output.join("\n")
        );
    }
}

/// Puts the folder of the binary under test first on PATH.
fn with_cofferdam_on_path(command: &mut Command) {
    let path = command
        .get_envs()
        .find(|(name, _)| *name == "PATH")
        .and_then(|(_, value)| value)
        .unwrap()
        .to_owned();
    let own = Path::new(COFFERDAM).parent().unwrap().to_owned();
    let all = std::iter::once(own).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(all).unwrap());
}

#[test]
fn the_readmes_first_two_commands_exist() {
    let first = &blocks(&page("README.md"), "sh")[0];
    let lines: Vec<&str> = first.lines().collect();
    assert_eq!(lines, ["cargo run --release -- demo", "./test"]);
    assert!(help(&[]).contains("\n  demo "));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(root().join("test"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o111, 0o111, "./test cannot be run");
}

fn help(words: &[&str]) -> String {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(COFFERDAM, sandbox.path());
    let ran = Ran::of(command.args(words).arg("--help").env("COLUMNS", "200"));
    ran.expect_code(0).stdout
}

/// The subcommands that a help text lists.
fn subcommands(words: &[&str]) -> BTreeSet<String> {
    let text = help(words);
    let Some((_, list)) = text.split_once("\nCommands:\n") else {
        return BTreeSet::new();
    };
    list.lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Every command, those below another one with both words.
fn all_commands() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for name in subcommands(&[]) {
        let below = subcommands(&[&name]);
        if below.is_empty() {
            all.insert(name);
        } else {
            all.extend(below.iter().map(|second| format!("{name} {second}")));
        }
    }
    all
}

#[test]
fn the_readmes_table_lists_every_command() {
    let row = Regex::new(r"(?m)^\| `cofferdam ([a-z ]+)` \|").unwrap();
    let text = page("README.md");
    let listed: BTreeSet<String> = row.captures_iter(&text).map(|c| c[1].to_owned()).collect();
    assert_eq!(listed, all_commands());
}

#[test]
fn commands_and_flags_in_prose_exist() {
    let commands = all_commands();
    let said = Regex::new(r"(?:`|\$ |\(|=)cofferdam ([a-z][^`\n]*)").unwrap();
    let flag = Regex::new(r"(?:^|\s)(--[a-z][a-z-]*)").unwrap();
    let substitution = Regex::new(r"\$\([^)]*\)").unwrap();
    let mut problems = Vec::new();
    for name in PAGES {
        let text = page(name);
        for found in said.captures_iter(&text) {
            let line = found[1].split(['|', '#', ';', '>', '&']).next().unwrap();
            // What stands in `$(…)` is another program's.
            let line = substitution.replace_all(line, "X");
            let Some(command) = commands.iter().find(|c| {
                line.strip_prefix(c.as_str())
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
            }) else {
                problems.push(format!("{name}: no command: cofferdam {line}"));
                continue;
            };
            let words: Vec<&str> = command.split(' ').collect();
            let known = help(&words);
            for flag in flag.captures_iter(&line) {
                let exists = Regex::new(&format!(r"{}[^a-z-]", regex::escape(&flag[1]))).unwrap();
                if !exists.is_match(&known) {
                    problems.push(format!("{name}: {command} has no {}", &flag[1]));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn links_lead_to_files() {
    let link = Regex::new(r"\]\(([^)#]+)(?:#[^)]*)?\)").unwrap();
    let mut problems = Vec::new();
    for name in PAGES {
        let folder = root().join(name).parent().unwrap().to_owned();
        for found in link.captures_iter(&page(name)) {
            let target = &found[1];
            if !target.starts_with("https://") && !folder.join(target).exists() {
                problems.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn sources() -> Vec<(PathBuf, String)> {
    fn visit(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    visit(&root().join("src"), &mut found);
    visit(&root().join("tests"), &mut found);
    found
}

/// A test that stands behind a claim is named with its brackets: `no_such_test()`.
#[test]
fn tests_named_in_prose_exist() {
    let name = Regex::new(r"`([a-z0-9_]+)\(\)`").unwrap();
    let sources = sources();
    let mut problems = Vec::new();
    let mut count = 0;
    for page_name in PAGES {
        for found in name.captures_iter(&page(page_name)) {
            count += 1;
            let definition = format!("fn {}(", &found[1]);
            if !sources.iter().any(|(_, text)| text.contains(&definition)) {
                problems.push(format!("{page_name}: {}", &found[1]));
            }
        }
    }
    assert!(count > 20, "only {count} tests are named");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Every module has its line in the module map.
#[test]
fn the_module_map_is_complete() {
    let text = page("ARCHITECTURE.md");
    let module = Regex::new(r"(?m)^pub mod ([a-z0-9_]+);").unwrap();
    let lib = page("src/lib.rs");
    let missing: Vec<&str> = module
        .captures_iter(&lib)
        .map(|c| c.get(1).unwrap().as_str())
        .filter(|name| !text.contains(&format!("| `{name}` |")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Comments cite sections of the format's page, and rules of the protocol by number.
#[test]
fn sections_and_rules_cited_in_comments_exist() {
    let section = Regex::new(r"sops-format\.md`,(?:\s|//!|///)+section ([0-9.]+[0-9])").unwrap();
    let rule = Regex::new(r"(?i)protocol(?:\s|//!|///)+(?:rules?\s)?([0-9]+)").unwrap();
    let format = page("docs/sops-format.md");
    let architecture = page("ARCHITECTURE.md");
    let mut problems = Vec::new();
    for (path, text) in sources() {
        let path = path.display();
        for found in section.captures_iter(&text) {
            let number = &found[1];
            let heading = Regex::new(&format!(r"(?m)^##+ {}[. ]", regex::escape(number))).unwrap();
            if !heading.is_match(&format) {
                problems.push(format!(
                    "{path}: docs/sops-format.md has no section {number}"
                ));
            }
        }
        for found in rule.captures_iter(&text) {
            if !architecture.contains(&format!("\n| {} |", &found[1])) {
                problems.push(format!("{path}: ARCHITECTURE.md has no rule {}", &found[1]));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn the_saved_plan_shown_is_one() {
    let text = page("docs/plan-format.md");
    let example = &blocks(&text, "json")[0];
    let plan: Plan = serde_json::from_str(example).unwrap();
    assert_eq!(plan.version, 1);
    let again: Plan = serde_json::from_value(serde_json::to_value(&plan).unwrap()).unwrap();
    assert_eq!(plan, again);
}

#[test]
fn the_journal_lines_shown_are_entries() {
    let text = page("docs/plan-format.md");
    let lines: Vec<String> = blocks(&text, "jsonl")
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(lines.len() > 10);
    for line in lines {
        let entry: Entry = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(serde_json::to_string(&entry).unwrap(), line);
    }
}

/// Whole examples parse; in parts of one every key is known and has a value of its type.
#[test]
fn the_topologies_shown_are_ones() {
    let text = page("docs/topology.md");
    let mut whole = 0;
    for block in blocks(&text, "toml") {
        let problems = topology::parse(&block, "cofferdam.toml").err();
        let problems = problems.unwrap_or_default();
        let is_whole = block.starts_with("version = 1\n");
        whole += usize::from(is_whole);
        let wrong: Vec<&topology::TopologyProblem> = problems
            .iter()
            .filter(|p| {
                is_whole
                    || ["unknown key", "must be", "not TOML"]
                        .iter()
                        .any(|word| p.message.contains(word))
            })
            .collect();
        assert!(wrong.is_empty(), "{block}\n{wrong:#?}");
    }
    assert!(whole > 0, "no example is whole");
}

/// Every table that the parser reads, each with a key that it cannot know: it answers with those that it does.
const ASKED: &str = r#"
asked = 1
[[dismissed]]
asked = 1
[recovery]
asked = 1
[operators.o]
asked = 1
[zones.z]
asked = 1
files = [{ asked = 1 }]
[shared.s]
asked = 1
[hosts.h]
asked = 1
[clusters.c]
asked = 1
secrets = [{ asked = 1 }]
[gate]
asked = 1
[publish]
asked = 1
[sealed]
asked = 1
"#;

/// The keys that the parser knows, by the title that it gives a table.
fn known_keys() -> Vec<(String, BTreeSet<String>)> {
    let unlike = "qqqqqqqqqqqqqqqqqqqqqqqq";
    let problems = topology::parse(&ASKED.replace("asked", unlike), "f").unwrap_err();
    let mut known = Vec::new();
    for problem in problems {
        let Some((title, _)) = problem.message.split_once(": unknown key") else {
            continue;
        };
        let hint = problem.hint.unwrap();
        let keys = hint.strip_prefix("known here: ").expect("a list of keys");
        let keys = keys.split(", ").map(str::to_owned).collect();
        known.push((title.to_owned(), keys));
    }
    known
}

/// The first column of the tables of keys, by the heading above.
fn keys_of_the_page(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found: Vec<(String, BTreeSet<String>)> = Vec::new();
    let (mut heading, mut in_table) = (String::new(), false);
    for line in text.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches(['#', ' ']).to_owned();
        } else if line.starts_with("| key |") {
            in_table = true;
            found.push((heading.clone(), BTreeSet::new()));
        } else if let (true, Some(row)) = (in_table, line.strip_prefix("| `")) {
            let key = row.split('`').next().unwrap().to_owned();
            found.last_mut().unwrap().1.insert(key);
        }
        in_table &= line.starts_with('|');
    }
    found
}

/// A key that the parser learns or forgets needs its line in the page.
#[test]
fn the_page_of_the_topology_names_every_key() {
    let text = page("docs/topology.md");
    let known = known_keys();
    let shown = keys_of_the_page(&text);
    for (title, heading, nth) in [
        ("[recovery]", "[recovery]", 0),
        ("operator o", "[operators.NAME]", 0),
        ("zone z", "[zones.NAME]", 0),
        ("zone z: files", "files", 0),
        ("shared entry s", "[shared.NAME]", 0),
        ("host h", "[hosts.NAME]", 0),
        ("cluster c", "[clusters.NAME]", 0),
        ("cluster c: secrets", "[clusters.NAME]", 1),
        ("[gate]", "[gate]", 0),
        ("[publish]", "[publish]", 0),
        ("cofferdam.toml: dismissed", "[[dismissed]]", 0),
        ("[sealed]", "[sealed]", 0),
    ] {
        let keys = known.iter().find(|(found, _)| found == title);
        let (_, keys) = keys.unwrap_or_else(|| panic!("the parser reads no {title}"));
        let mut tables = shown.iter().filter(|(found, _)| found == heading);
        let (_, listed) = tables.nth(nth).expect(heading);
        assert_eq!(listed, keys, "docs/topology.md, {heading}");
    }
    assert_eq!(shown.len(), 12, "tables of keys");

    let (_, sections) = known.iter().find(|(t, _)| t == "cofferdam.toml").unwrap();
    for section in sections {
        let heading = Regex::new(&format!(r"(?m)^## \[*{section}(\.NAME)?\]*$")).unwrap();
        assert!(heading.is_match(&text), "docs/topology.md has no {section}");
    }

    // A table of a new kind has to be asked as well.
    let table = Regex::new(r#"(?:\.tables?\(|\.entries\(root,\s*)"([a-z_]+)""#).unwrap();
    let folder = root().join("src/topology/parse");
    for (path, source) in sources() {
        if path.starts_with(&folder) {
            for found in table.captures_iter(&source) {
                let name = Regex::new(&format!(r"(?m)^\[*{}\b", &found[1])).unwrap();
                assert!(name.is_match(ASKED), "{}: {}", path.display(), &found[1]);
            }
        }
    }
}

#[test]
fn cases_named_in_the_format_exist() {
    let case = Regex::new(r"`case:([a-z0-9-]+)`").unwrap();
    let text = page("docs/sops-format.md");
    let cases = tests_folder().join("vectors/interop/cases");
    let names: BTreeSet<&str> = case
        .captures_iter(&text)
        .map(|c| c.get(1).unwrap().as_str())
        .collect();
    assert!(names.len() > 60, "only {} cases are named", names.len());
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| !cases.join(name).is_dir())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
