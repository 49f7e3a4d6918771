//! Komodo's stacks: from a `pre_deploy` that leaves plaintext on disk to a wrapper that holds it in memory.
//!
//! Source: moghtech/komodo v2.3.2, `bin/periphery/src/api/compose.rs` and `lib/command`: paths of a stack are relative to its
//! `run_directory`; a `pre_deploy` command is a list of lines that are joined with `&&`; `[[COMPOSE_COMMAND]]` in
//! `compose_cmd_wrapper` is replaced by the compose command, for the subcommands that `compose_cmd_wrapper_include` lists
//! (`up` alone where it is empty); a file under `config_files` is looked at for changes only if it `requires` something.

use std::collections::BTreeSet;
use std::fmt;

use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, Value};

use crate::repo_path::{RepoPath, resolve};

/// The script that wrote plaintext beside the documents of a folder.
const SCRIPT: &str = "sops-decrypt.sh";
/// What Komodo replaces in a wrapper.
const PLACEHOLDER: &str = "[[COMPOSE_COMMAND]]";
/// The compose subcommands that read a stack's secrets.
const WRAPPED: [&str; 5] = ["config", "build", "pull", "up", "run"];

/// A file of stacks as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Its text; the same where nothing changes.
    pub text: String,
    /// The stacks that use secrets, in order.
    pub stacks: Vec<Stack>,
}

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

/// Why a file could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{file} is not TOML")]
pub struct MigrationError {
    /// The file.
    pub file: RepoPath,
    /// Where and why.
    #[source]
    pub source: toml_edit::TomlError,
}

/// Edits the stacks of `file`, given the repository's SOPS documents; everything else stays as it is written.
///
/// # Errors
/// [`MigrationError`].
pub fn migrated(
    file: &RepoPath,
    text: &str,
    documents: &BTreeSet<RepoPath>,
) -> Result<Migrated, MigrationError> {
    let fail = |source| MigrationError {
        file: file.clone(),
        source,
    };
    // An editable document knows no places: those come from the text as it was read.
    let places = toml_edit::Document::parse(text).map_err(fail)?;
    let lines: Vec<usize> = match places.get("stack") {
        Some(Item::ArrayOfTables(tables)) => tables
            .iter()
            .map(|table| table.span().map_or(0, |span| line_at(text, span.start)))
            .collect(),
        _ => Vec::new(),
    };
    let mut document: DocumentMut = text.parse().map_err(fail)?;
    let mut stacks = Vec::new();
    if let Some(tables) = document
        .get_mut("stack")
        .and_then(Item::as_array_of_tables_mut)
    {
        for (table, line) in tables.iter_mut().zip(lines) {
            let name = table.get("name").and_then(Item::as_str).unwrap_or_default();
            let name = name.to_owned();
            let config = table.get_mut("config").and_then(Item::as_table_like_mut);
            if let Some(stack) = config.and_then(|config| edit(config, documents)) {
                stacks.push(Stack {
                    name,
                    line,
                    ..stack
                });
            }
        }
    }
    let mut edited = document.to_string();
    if text.contains("\r\n") && !text.replace("\r\n", "").contains('\n') {
        // Read as one line break, printed as another.
        edited = edited.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    let is_changed = stacks
        .iter()
        .any(|s| s.left.is_none() && !s.leaks.is_empty());
    Ok(Migrated {
        text: if is_changed { edited } else { text.to_owned() },
        stacks,
    })
}

/// Edits one stack; none if it uses no secret that can be seen here.
fn edit(config: &mut dyn TableLike, documents: &BTreeSet<RepoPath>) -> Option<Stack> {
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
    if ours && !include.iter().any(|word| word == "config") {
        leaks.push(Leak::ConfigNotWrapped);
    }
    leaks.extend(by_sops.map(|verb| Leak::Sops { verb }));
    leaks.extend(tracked.into_iter().map(|path| Leak::Tracked { path }));
    let listed = paths_of(config.get("config_files"));
    let unwatched: Vec<&String> = watched
        .iter()
        .filter(|path| !listed.contains(path))
        .collect();
    leaks.extend(unwatched.iter().map(|path| Leak::NotWatched {
        path: (*path).clone(),
    }));

    let left = obstacle(&decrypting, &wrapper, ours, &folders);
    if left.is_none() && !leaks.is_empty() {
        let unwatched: Vec<String> = unwatched.into_iter().cloned().collect();
        untrack(config, &leaks);
        let comment = without_decryption(config, &others);
        if !ours && !decrypting.is_empty() {
            let folder = folders.first().map_or("", String::as_str);
            let folder = if folder.is_empty() { "." } else { folder };
            let line = format!("cofferdam exec --dir {folder} -- {PLACEHOLDER}");
            config.insert("compose_cmd_wrapper", Item::Value(line.into()));
            if let (Some(comment), Some(mut key)) = (comment, config.key_mut("compose_cmd_wrapper"))
            {
                key.leaf_decor_mut().set_prefix(comment);
            }
        }
        if (ours || !decrypting.is_empty()) && !include.iter().any(|word| word == "config") {
            let words: Array = WRAPPED.into_iter().collect();
            config.insert("compose_cmd_wrapper_include", Item::Value(words.into()));
        }
        watch(config, &unwatched);
    }
    let mut files = words_of(config.get("file_paths"));
    if files.is_empty() {
        files.push("compose.yaml".to_owned());
    }
    let compose = files.iter().map(|file| resolve(run.as_ref(), file));
    Some(Stack {
        name: String::new(),
        line: 0,
        leaks,
        compose: compose.filter_map(Result::ok).collect(),
        left,
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

/// Takes the lines that decrypt out of `pre_deploy`, the whole of it where nothing else is in it; gives the comment that
/// stood before it then.
fn without_decryption(config: &mut dyn TableLike, others: &[&str]) -> Option<String> {
    if !others.is_empty() {
        let step = config
            .get_mut("pre_deploy")
            .and_then(Item::as_table_like_mut);
        if let Some(step) = step {
            step.insert("command", Item::Value(others.join("\n").into()));
        }
        return None;
    }
    let removed = config.remove("pre_deploy")?;
    let prefix = removed.as_table()?.decor().prefix()?.as_str()?.to_owned();
    let comment: String = prefix
        .lines()
        .filter(|line| line.trim_start().starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    (!comment.is_empty()).then_some(comment)
}

/// Has Komodo deploy anew when one of these documents changes.
fn watch(config: &mut dyn TableLike, paths: &[String]) {
    if paths.is_empty() {
        return;
    }
    if let Some(tables) = config
        .get_mut("config_files")
        .and_then(Item::as_array_of_tables_mut)
    {
        for path in paths {
            let mut table = toml_edit::Table::new();
            table.insert("path", Item::Value(path.as_str().into()));
            table.insert("requires", Item::Value("Redeploy".into()));
            tables.push(table);
        }
        return;
    }
    let mut array = match config.get("config_files").and_then(Item::as_array) {
        Some(array) => array.clone(),
        None => Array::new(),
    };
    for path in paths {
        let mut table = InlineTable::new();
        table.insert("path", path.as_str().into());
        table.insert("requires", "Redeploy".into());
        let mut value = Value::InlineTable(table);
        value.decor_mut().set_prefix("\n  ");
        array.push_formatted(value);
    }
    array.set_trailing_comma(true);
    array.set_trailing("\n");
    config.insert("config_files", Item::Value(array.into()));
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

/// Has Komodo leave alone what it tracks and should not.
fn untrack(config: &mut dyn TableLike, leaks: &[Leak]) {
    let is_tracked = |path: &str| {
        let mut tracked = leaks.iter();
        tracked.any(|leak| matches!(leak, Leak::Tracked { path: tracked } if tracked == path))
    };
    match config.get_mut("additional_env_files") {
        Some(Item::ArrayOfTables(tables)) => {
            for table in tables.iter_mut() {
                if table
                    .get("path")
                    .and_then(Item::as_str)
                    .is_some_and(is_tracked)
                {
                    table.insert("track", Item::Value(false.into()));
                }
            }
        }
        Some(Item::Value(Value::Array(array))) => {
            for value in array.iter_mut() {
                let path = match value {
                    Value::String(path) => path.value().clone(),
                    Value::InlineTable(table) => {
                        let path = table.get("path").and_then(Value::as_str);
                        path.unwrap_or_default().to_owned()
                    }
                    _ => continue,
                };
                if !is_tracked(&path) {
                    continue;
                }
                if let Value::InlineTable(table) = value {
                    table.insert("track", false.into());
                    table.fmt();
                } else {
                    let mut table = InlineTable::new();
                    table.insert("path", path.into());
                    table.insert("track", false.into());
                    let decor = value.decor().clone();
                    *value = Value::InlineTable(table);
                    *value.decor_mut() = decor;
                }
            }
        }
        _ => {}
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

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
#[path = "komodo_tests.rs"]
mod tests;
