//! The files of Komodo's stacks, edited: from a `pre_deploy` that leaves plaintext on disk to a wrapper that holds it in memory.
//!
//! Source: moghtech/komodo v2.3.2, `bin/periphery/src/api/compose.rs` and `lib/command`: paths of a stack are relative to its
//! `run_directory`; a `pre_deploy` command is a list of lines that are joined with `&&`; `[[COMPOSE_COMMAND]]` in
//! `compose_cmd_wrapper` is replaced by the compose command, for the subcommands that `compose_cmd_wrapper_include` lists
//! (`up` alone where it is empty); a file under `config_files` is looked at for changes only if it `requires` something.

use std::collections::BTreeSet;

use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, Value};

use crate::migration::stack::{self, Leak, PLACEHOLDER, Reading, Stack};
use crate::repo_path::RepoPath;

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
            let Some(config) = config else { continue };
            if let Some(read) = stack::read(config, documents) {
                edit(config, &read);
                stacks.push(Stack {
                    name,
                    line,
                    ..read.stack
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

/// Edits the settings of a stack as it was read, unless a person has to.
fn edit(config: &mut dyn TableLike, read: &Reading) {
    let Reading {
        is_ours, decrypts, ..
    } = *read;
    if read.stack.left.is_some() || read.stack.leaks.is_empty() {
        return;
    }
    untrack(config, &read.stack.leaks);
    let comment = without_decryption(config, &read.others);
    if !is_ours && decrypts {
        let folder = match read.folder.as_str() {
            "" => ".",
            folder => folder,
        };
        let line = format!("cofferdam exec --dir {folder} -- {PLACEHOLDER}");
        config.insert("compose_cmd_wrapper", Item::Value(line.into()));
        if let (Some(comment), Some(mut key)) = (comment, config.key_mut("compose_cmd_wrapper")) {
            key.leaf_decor_mut().set_prefix(comment);
        }
    }
    if (is_ours || decrypts) && !read.wraps_config {
        let words: Array = WRAPPED.into_iter().collect();
        config.insert("compose_cmd_wrapper_include", Item::Value(words.into()));
    }
    watch(config, &read.unwatched);
}

/// Takes the lines that decrypt out of `pre_deploy`, the whole of it where nothing else is in it; gives the comment that
/// stood before it then.
fn without_decryption(config: &mut dyn TableLike, others: &[String]) -> Option<String> {
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

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
#[path = "komodo_tests.rs"]
mod tests;
