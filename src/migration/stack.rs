//! One of Komodo's stacks as it is written: which documents it uses, and where their plaintext goes.

use std::collections::BTreeSet;
use std::fmt;

use toml_edit::{Item, TableLike, Value};

use crate::repo_path::{RepoPath, resolve};

/// The script that wrote plaintext beside the documents of a folder.
const SCRIPT: &str = "sops-decrypt.sh";
/// What Komodo replaces in a wrapper.
pub(super) const PLACEHOLDER: &str = "[[COMPOSE_COMMAND]]";

/// One stack that uses secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Where it begins, from 1.
    pub line: usize,
    /// What is wrong with it as it is; empty: nothing.
    pub leaks: Vec<Leak>,
    /// Its compose files.
    pub compose: Vec<RepoPath>,
    /// Why it was left as it is, though something is wrong; none: it was changed, or needs no change.
    pub left: Option<String>,
}

/// What is wrong with a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leak {
    /// `pre_deploy` writes plaintext to the stack's disk, where it stays.
    PreDeploy {
        /// The command's line.
        command: String,
    },
    /// The wrapper does not wrap `config`: Komodo stores what that prints, values included.
    ConfigNotWrapped,
    /// The wrapper has sops hand out plaintext.
    Sops {
        /// `exec-file` or `exec-env`.
        verb: &'static str,
    },
    /// Komodo reads, stores and shows a file that `sops-decrypt.sh` wrote or `cofferdam` links.
    Tracked {
        /// The file, as the stack names it.
        path: String,
    },
    /// A change of this document alone is none that Komodo would deploy.
    NotWatched {
        /// The document, as the stack would name it.
        path: String,
    },
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PreDeploy { command } => write!(
                f,
                "pre_deploy runs `{command}`, which leaves plaintext on the stack's disk"
            ),
            Self::ConfigNotWrapped => f.write_str(
                "compose_cmd_wrapper_include lacks `config`, and Komodo stores what that prints",
            ),
            Self::Sops { verb: "exec-file" } => f.write_str(
                "compose_cmd_wrapper runs `sops exec-file`, which writes plaintext to $TMPDIR, or hands out a pipe that compose cannot read twice",
            ),
            Self::Sops { verb } => write!(
                f,
                "compose_cmd_wrapper runs `sops {verb}`: what compose prints, values included, is stored by Komodo"
            ),
            Self::Tracked { path } => write!(
                f,
                "additional_env_files tracks {path}: Komodo stores and shows what is in it"
            ),
            Self::NotWatched { path } => write!(
                f,
                "a change of {path} alone is not deployed: config_files does not list it"
            ),
        }
    }
}

/// What was read of a stack, and what an edit of it needs to know.
pub(super) struct Reading {
    /// The stack; without its name and line, which its settings do not hold.
    pub stack: Stack,
    /// Whether `cofferdam exec` runs it already.
    pub is_ours: bool,
    /// Whether `pre_deploy` decrypts to disk.
    pub decrypts: bool,
    /// What else `pre_deploy` does.
    pub others: Vec<String>,
    /// The folder whose documents it uses.
    pub folder: String,
    /// Whether its wrapper is for `config` as well.
    pub wraps_config: bool,
    /// The documents of which a change alone is not deployed.
    pub unwatched: Vec<String>,
}

/// Reads the settings of one stack; none if it uses no secret that can be seen here.
pub(super) fn read(config: &dyn TableLike, documents: &BTreeSet<RepoPath>) -> Option<Reading> {
    let run = text_of(config.get("run_directory"));
    let run = resolve(None, run.trim_start_matches('/')).ok();
    let step = config.get("pre_deploy").and_then(Item::as_table_like);
    let command = step.map_or(String::new(), |step| text_of(step.get("command")));
    let folder = step.map_or(String::new(), |step| text_of(step.get("path")));
    let wrapper = text_of(config.get("compose_cmd_wrapper"));
    let ours = wrapper.contains("cofferdam exec");

    let (decrypting, others): (Vec<&str>, Vec<&str>) = command
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .partition(|line| decrypts(line));
    let by_sops = ["exec-file", "exec-env"].into_iter().find(|verb| {
        let words: Vec<&str> = wrapper.split_whitespace().collect();
        let pairs = words.windows(2);
        pairs
            .into_iter()
            .any(|pair| pair[0].ends_with("sops") && pair[1] == *verb)
    });
    let tracked = tracked_in(config, run.as_ref(), documents);
    if decrypting.is_empty() && !ours && by_sops.is_none() && tracked.is_empty() {
        return None;
    }
    let folders: Vec<String> = if ours {
        named_after(&wrapper, "--dir")
    } else if decrypting.is_empty() {
        Vec::new()
    } else {
        vec![folder]
    };
    let watched: Vec<String> = folders
        .iter()
        .flat_map(|folder| documents_in(folder, run.as_ref(), documents))
        .collect();

    let mut leaks: Vec<Leak> = decrypting
        .iter()
        .map(|line| Leak::PreDeploy {
            command: (*line).to_owned(),
        })
        .collect();
    let include = words_of(config.get("compose_cmd_wrapper_include"));
    let wraps_config = include.iter().any(|word| word == "config");
    if ours && !wraps_config {
        leaks.push(Leak::ConfigNotWrapped);
    }
    leaks.extend(by_sops.map(|verb| Leak::Sops { verb }));
    leaks.extend(tracked.into_iter().map(|path| Leak::Tracked { path }));
    let listed = paths_of(config.get("config_files"));
    let unwatched: Vec<String> = watched
        .into_iter()
        .filter(|path| !listed.contains(path))
        .collect();
    leaks.extend(
        unwatched
            .iter()
            .map(|path| Leak::NotWatched { path: path.clone() }),
    );

    let left = obstacle(&decrypting, &wrapper, ours, &folders);
    let mut files = words_of(config.get("file_paths"));
    if files.is_empty() {
        files.push("compose.yaml".to_owned());
    }
    let compose = files.iter().map(|file| resolve(run.as_ref(), file));
    Some(Reading {
        stack: Stack {
            name: String::new(),
            line: 0,
            leaks,
            compose: compose.filter_map(Result::ok).collect(),
            left,
        },
        is_ours: ours,
        decrypts: !decrypting.is_empty(),
        others: others.into_iter().map(str::to_owned).collect(),
        folder: folders.into_iter().next().unwrap_or_default(),
        wraps_config,
        unwatched,
    })
}

/// Whether a line of `pre_deploy` decrypts to disk.
fn decrypts(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let sops = |word: &&str| word.rsplit('/').next() == Some("sops");
    line.contains(SCRIPT)
        || words.iter().any(sops)
            && words
                .iter()
                .any(|word| matches!(*word, "-d" | "--decrypt" | "decrypt"))
}

/// Why a stack is left to a person.
fn obstacle(decrypting: &[&str], wrapper: &str, ours: bool, folders: &[String]) -> Option<String> {
    if !wrapper.is_empty() && !ours {
        return Some(format!(
            "it has a compose_cmd_wrapper already: put `cofferdam exec --dir DIR -- ` before {PLACEHOLDER} in it"
        ));
    }
    let is_script = |line: &&&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [script] if script.rsplit('/').next() == Some(SCRIPT))
    };
    if let Some(line) = decrypting.iter().find(|line| !is_script(line)) {
        return Some(format!(
            "`{line}` is more than {SCRIPT} in one folder: a person has to say which folders `cofferdam exec --dir` takes"
        ));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/@+".contains(c);
    let odd = folders.iter().find(|folder| !folder.chars().all(is_plain));
    odd.map(|folder| {
        format!("the folder {folder:?} has characters that a shell may read otherwise")
    })
}

/// The files of `additional_env_files` that Komodo tracks, as it does unless told otherwise, and that come from documents.
fn tracked_in(
    config: &dyn TableLike,
    run: Option<&RepoPath>,
    documents: &BTreeSet<RepoPath>,
) -> Vec<String> {
    let is_decrypted = |path: &str| {
        let document = match path.rsplit_once('.') {
            Some((front, extension)) => format!("{front}.sops.{extension}"),
            None => return false,
        };
        resolve(run, &document).is_ok_and(|document| documents.contains(&document))
    };
    let tracked = |table: &dyn TableLike| {
        let path = table.get("path").and_then(Item::as_str)?;
        let is_tracked = table.get("track").and_then(Item::as_bool) != Some(false);
        (is_tracked && is_decrypted(path)).then(|| path.to_owned())
    };
    match config.get("additional_env_files") {
        Some(Item::ArrayOfTables(tables)) => tables.iter().filter_map(|t| tracked(t)).collect(),
        Some(Item::Value(Value::Array(array))) => array
            .iter()
            .filter_map(|value| match value {
                Value::String(path) => is_decrypted(path.value()).then(|| path.value().clone()),
                other => tracked(other.as_inline_table()?),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The documents right in a folder that is named relative to `run`, each named likewise.
fn documents_in(
    folder: &str,
    run: Option<&RepoPath>,
    documents: &BTreeSet<RepoPath>,
) -> Vec<String> {
    let at = resolve(run, if folder.is_empty() { "." } else { folder }).ok();
    let inside = |document: &&RepoPath| document.parent() == at;
    let named = |document: &RepoPath| match folder.trim_end_matches('/') {
        "" | "." => document.file_name().to_owned(),
        folder => format!("{folder}/{}", document.file_name()),
    };
    documents.iter().filter(inside).map(named).collect()
}

/// The words that follow `flag` in a command line.
fn named_after(command: &str, flag: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == flag);
    pairs
        .map(|pair| pair[1].trim_matches('\'').to_owned())
        .collect()
}

fn text_of(item: Option<&Item>) -> String {
    item.and_then(Item::as_str).unwrap_or_default().to_owned()
}

fn words_of(item: Option<&Item>) -> Vec<String> {
    let array = item.and_then(Item::as_array).into_iter().flatten();
    array
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

/// The paths of `config_files` that Komodo looks at for changes.
fn paths_of(item: Option<&Item>) -> Vec<String> {
    let counts = |table: &dyn TableLike| {
        let requires = table.get("requires").and_then(Item::as_str);
        let path = table.get("path").and_then(Item::as_str)?;
        matches!(requires, Some("Redeploy" | "Restart")).then(|| path.to_owned())
    };
    match item {
        Some(Item::ArrayOfTables(tables)) => tables.iter().filter_map(|t| counts(t)).collect(),
        Some(Item::Value(Value::Array(array))) => array
            .iter()
            .filter_map(|value| counts(value.as_inline_table()?))
            .collect(),
        _ => Vec::new(),
    }
}
