//! Safe repairs: edits of text that take nothing away from anybody and touch no secret. Pure; who calls reads and writes.

use std::collections::{BTreeMap, BTreeSet};

use crate::migration::{Leak, migrated};
use crate::policy::Finding;
use crate::repo_path::RepoPath;

/// A file as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The file.
    pub path: RepoPath,
    /// Its text; none: there is no such file yet.
    pub before: Option<String>,
    /// Its text afterwards.
    pub after: String,
    /// What it does, for people, a sentence each.
    pub does: Vec<String>,
}

/// What can be repaired, and what a person has to do.
#[derive(Debug, Default)]
pub struct Fixes {
    /// The edits, by path.
    pub edits: Vec<Edit>,
    /// Findings that look repairable and are not: the file, and why.
    pub left: Vec<(RepoPath, String)>,
}

/// What fixes are made from.
pub struct FixInput<'a> {
    /// Texts of files, as they lie in the work tree.
    pub texts: &'a BTreeMap<RepoPath, String>,
    /// The SOPS documents.
    pub documents: &'a BTreeSet<RepoPath>,
    /// Files that hold age identities and nothing else.
    pub key_files: &'a BTreeSet<RepoPath>,
    /// Whether git tracks a file.
    pub is_tracked: &'a dyn Fn(&RepoPath) -> bool,
}

const PLAINTEXT: &str = "plaintext-tracked";
/// Its findings are repaired in key files alone.
pub const IDENTITY: &str = "identity-in-the-clear";

/// The policies whose findings may have a safe repair.
pub const FIXABLE: [&str; 5] = [
    PLAINTEXT,
    IDENTITY,
    "pre-deploy-writes-plaintext",
    "secret-change-not-deployed",
    "wrapper-without-config",
];

/// The repairs of `findings`.
pub fn fixes(findings: &[Finding], input: &FixInput<'_>) -> Fixes {
    let of = |policies: &[&str]| -> BTreeSet<RepoPath> {
        let own = findings
            .iter()
            .filter(|f| policies.contains(&f.policy.as_str()));
        own.filter_map(|f| RepoPath::new(f.file.as_deref()?).ok())
            .collect()
    };
    let mut fixes = Fixes::default();
    let mut secrets: Vec<(RepoPath, &str)> = Vec::new();
    for file in of(&[PLAINTEXT]) {
        let why = "git tracks it, and taking it out takes it from every clone that pulls: first see to it that nothing reads it there";
        secrets.push((file, why));
    }
    for file in of(&[IDENTITY]) {
        let why =
            "git tracks it, so every clone holds the identity: cofferdam revoke, then take it out";
        match input.key_files.contains(&file) || (input.is_tracked)(&file) {
            true => secrets.push((file, why)),
            // Something reads it for what else it holds, and should not stop to be in git.
            false => {
                let why = "it holds more than an identity: take that out, and put it where no repository is";
                fixes.left.push((file, why.to_owned()));
            }
        }
    }
    ignore(&secrets, input, &mut fixes);
    for file in of(&FIXABLE[2..]) {
        stacks(&file, input, &mut fixes);
    }
    fixes.edits.sort_by(|a, b| a.path.cmp(&b.path));
    fixes
}

/// Has git ignore plaintext and key files that it does not track yet. What it tracks stays, for the reason beside it: taking it
/// out takes it from every clone, and from whatever runs there.
fn ignore(files: &[(RepoPath, &str)], input: &FixInput<'_>, fixes: &mut Fixes) {
    let mut by_file: BTreeMap<RepoPath, Vec<(&RepoPath, String)>> = BTreeMap::new();
    for (file, tracked) in files {
        if (input.is_tracked)(file) {
            fixes.left.push((file.clone(), (*tracked).to_owned()));
            continue;
        }
        let beside = file
            .parent()
            .and_then(|folder| folder.join(".gitignore").ok());
        let beside = beside.filter(|path| input.texts.contains_key(path));
        let Some(place) = beside.or_else(|| RepoPath::new(".gitignore").ok()) else {
            continue;
        };
        let name = match place.parent() {
            Some(_) => file.file_name(),
            None => file.as_str(),
        };
        match pattern(name) {
            Some(pattern) => by_file.entry(place).or_default().push((file, pattern)),
            None => fixes
                .left
                .push((file.clone(), "no line of .gitignore can name it".to_owned())),
        }
    }
    for (path, lines) in by_file {
        let before = input.texts.get(&path).cloned();
        let mut after = before.clone().unwrap_or_default();
        let end = if after.contains("\r\n") { "\r\n" } else { "\n" };
        if !after.is_empty() && !after.ends_with('\n') {
            after.push_str(end);
        }
        let mut does = Vec::new();
        for (file, pattern) in lines {
            after.push_str(&pattern);
            after.push_str(end);
            does.push(format!("has git ignore {file}, which stays where it is"));
        }
        fixes.edits.push(Edit {
            path,
            before,
            after,
            does,
        });
    }
}

/// The line of a `.gitignore` that matches this path alone, from its folder on; none if there is no such line.
///
/// Source: gitignore(5), PATTERN FORMAT.
fn pattern(path: &str) -> Option<String> {
    if path.contains(['\n', '\r']) {
        return None;
    }
    let mut line = String::from("/");
    for c in path.chars() {
        if matches!(c, '\\' | '*' | '?' | '[') {
            line.push('\\');
        }
        line.push(c);
    }
    let kept = line.trim_end_matches(' ').len();
    let spaces = line.len() - kept;
    line.truncate(kept);
    line.push_str(&"\\ ".repeat(spaces));
    Some(line)
}

/// Has Komodo watch documents and wrap `config`. A stack that decrypts into files needs `cofferdam` on its server before its
/// text is changed: that is `migrate komodo`'s to say.
fn stacks(file: &RepoPath, input: &FixInput<'_>, fixes: &mut Fixes) {
    let Some(text) = input.texts.get(file) else {
        return;
    };
    let done = match migrated(file, text, input.documents) {
        Ok(done) => done,
        Err(error) => {
            fixes.left.push((file.clone(), error.to_string()));
            return;
        }
    };
    let leaking: Vec<_> = done.stacks.iter().filter(|s| !s.leaks.is_empty()).collect();
    let writes = |leak: &Leak| matches!(leak, Leak::PreDeploy { .. });
    if leaking.iter().any(|stack| stack.leaks.iter().any(writes)) {
        let why = "stacks decrypt into files before a deployment: cofferdam migrate komodo, once cofferdam is on their servers";
        fixes.left.push((file.clone(), why.to_owned()));
        return;
    }
    for stack in &leaking {
        if let Some(why) = &stack.left {
            fixes
                .left
                .push((file.clone(), format!("stack {}: {why}", stack.name)));
        }
    }
    if done.text == *text {
        if leaking.is_empty() {
            let why = "its stacks are not run by cofferdam exec, and so a person has to say what they need";
            fixes.left.push((file.clone(), why.to_owned()));
        }
        return;
    }
    let does = leaking.iter().filter(|stack| stack.left.is_none());
    let does = does.flat_map(|stack| {
        let name = &stack.name;
        stack.leaks.iter().map(move |leak| match leak {
            Leak::NotWatched { path } => {
                format!("has a change of {path} deploy the stack {name}")
            }
            _ => format!("has the stack {name} run config with its secrets"),
        })
    });
    fixes.edits.push(Edit {
        path: file.clone(),
        before: Some(text.clone()),
        does: does.collect(),
        after: done.text,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Severity;

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text).unwrap()
    }

    fn found(policy: &str, file: &str) -> Finding {
        Finding {
            policy: policy.to_owned(),
            severity: Severity::Error,
            file: Some(file.to_owned()),
            line: None,
            message: String::new(),
            remedy: String::new(),
        }
    }

    fn run(findings: &[Finding], texts: &[(&str, &str)], tracked: &str) -> Fixes {
        let texts = texts
            .iter()
            .map(|(p, t)| (path(p), (*t).to_owned()))
            .collect();
        let documents = BTreeSet::from([path("s/web/.sops.env")]);
        fixes(
            findings,
            &FixInput {
                texts: &texts,
                documents: &documents,
                key_files: &BTreeSet::from([path("a/keys.txt"), path("b/keys.txt")]),
                is_tracked: &|file| file.as_str() == tracked,
            },
        )
    }

    #[test]
    fn plaintext_is_ignored_by_a_line_of_the_nearest_file() {
        let findings = [
            found("plaintext-tracked", "a/.env"),
            found("plaintext-tracked", "b/x [1] .env"),
            found("plaintext-tracked", "c/.env"),
        ];
        let texts = [("a/.gitignore", "x\r\ny"), (".gitignore", "z\n")];
        let fixes = run(&findings, &texts, "c/.env");
        let told: Vec<(&str, &str)> = fixes
            .edits
            .iter()
            .map(|e| (e.path.as_str(), e.after.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (".gitignore", "z\n/b/x \\[1] .env\n"),
                ("a/.gitignore", "x\r\ny\r\n/.env\r\n"),
            ]
        );
        assert_eq!(fixes.left.len(), 1);
        assert_eq!(fixes.left[0].0, path("c/.env"));
        assert_eq!(pattern("a ").as_deref(), Some("/a\\ "));
        assert_eq!(pattern("a\nb"), None);
        // The first file of the kind.
        let fixes = run(&findings[..1], &[], "");
        assert_eq!(fixes.edits[0].before, None);
        assert_eq!(fixes.edits[0].after, "/a/.env\n");
    }

    #[test]
    fn key_files_are_ignored_and_nothing_else_that_holds_an_identity() {
        let findings = ["a/keys.txt", "b/keys.txt", "compose.yaml"]
            .map(|file| found("identity-in-the-clear", file));
        let fixes = run(&findings, &[], "b/keys.txt");
        assert_eq!(fixes.edits.len(), 1);
        assert_eq!(fixes.edits[0].after, "/a/keys.txt\n");
        let left: Vec<(&str, &str)> = fixes
            .left
            .iter()
            .map(|(file, why)| (file.as_str(), &why[..9]))
            .collect();
        assert_eq!(
            left,
            [("compose.yaml", "it holds "), ("b/keys.txt", "git track")]
        );
    }

    #[test]
    fn stacks_that_cofferdam_runs_already_are_completed() {
        let ours = "[[stack]]\nname = \"web\"\n[stack.config]\ncompose_cmd_wrapper = \"cofferdam exec --dir s/web -- [[COMPOSE_COMMAND]]\"  # ours\n";
        let fixes = run(
            &[found("wrapper-without-config", "k.toml")],
            &[("k.toml", ours)],
            "",
        );
        assert_eq!(fixes.edits.len(), 1);
        let edit = &fixes.edits[0];
        assert!(edit.after.starts_with(ours), "{}", edit.after);
        assert!(edit.after.contains("\"config\"") && edit.after.contains("Redeploy"));
        assert_eq!(edit.does.len(), 2, "{:?}", edit.does);
        let again = run(
            &[found("wrapper-without-config", "k.toml")],
            &[("k.toml", &edit.after)],
            "",
        );
        assert!(again.edits.is_empty());
        let leaves = "[[stack]]\nname = \"web\"\n[stack.config.pre_deploy]\npath = \"s/web\"\ncommand = \"sops-decrypt.sh\"\n";
        let fixes = run(
            &[found("pre-deploy-writes-plaintext", "k.toml")],
            &[("k.toml", leaves)],
            "",
        );
        assert!(fixes.edits.is_empty());
        assert!(fixes.left[0].1.contains("migrate komodo"));
    }
}
