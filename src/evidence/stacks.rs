//! Komodo's stacks as policies ask about them: what is run before a deployment, by what compose is wrapped, what is watched.
//!
//! Source: moghtech/komodo v2.3.2, `client/core/rs/src/entities/stack.rs` (`compose_cmd_wrapper_include` empty: `up`
//! alone; `config_files[].requires` by default `None`; `webhook_enabled` by default true; `additional_env_files[].track`
//! by default true).

use std::collections::BTreeSet;

use toml_edit::{Document, Item, TableLike};

use crate::evidence::komodo::{path_entries, string, strings, tables};
use crate::evidence::{Evidence, Origin, Sources, compose, plaintext};
use crate::repo_path::{RepoPath, resolve};

/// One stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name; empty if it has none.
    pub name: String,
    /// The server that runs it.
    pub server: String,
    /// Where it is declared.
    pub origin: Origin,
    /// The documents that it needs.
    pub documents: BTreeSet<RepoPath>,
    /// The documents whose change has Komodo deploy again.
    pub watched: BTreeSet<RepoPath>,
    /// What runs before the deployment; empty: nothing.
    pub pre_deploy: String,
    /// The line of it.
    pub pre_deploy_line: usize,
    /// Whether what runs before the deployment writes decrypted files.
    pub writes_plaintext: bool,
    /// What compose is run by; empty: nothing.
    pub wrapper: String,
    /// The line of it.
    pub wrapper_line: usize,
    /// The commands of compose that are wrapped.
    pub wrapped: Vec<String>,
    /// Decrypted files that Komodo is told to read, store and show.
    pub tracked_plaintext: Vec<String>,
    /// Whether a push deploys.
    pub has_webhook: bool,
}

/// All stacks of the repository, in order of file and line.
pub fn stacks(sources: &Sources) -> Vec<Stack> {
    let mut found = Vec::new();
    for (file, text) in &sources.texts {
        if !file.as_str().ends_with(".toml") || !text.contains("[[stack]]") {
            continue;
        }
        let Ok(document) = Document::parse(text.as_str()) else {
            continue;
        };
        for table in tables(document.as_table(), "stack") {
            found.extend(stack(sources, file, text, table));
        }
    }
    found
}

fn stack(sources: &Sources, file: &RepoPath, text: &str, table: &dyn TableLike) -> Option<Stack> {
    let config = table.get("config").and_then(Item::as_table_like)?;
    let (name, line) = string(text, table.get("name")).unwrap_or_default();
    let run = string(text, config.get("run_directory")).map_or(String::new(), |(d, _)| d);
    let run = resolve(None, run.trim_start_matches('/')).ok();
    let at = |path: &str| resolve(run.as_ref(), path).ok();
    let mut stack = Stack {
        name,
        server: string(text, config.get("server_id").or(config.get("server")))
            .unwrap_or_default()
            .0,
        origin: Origin::new(file, line),
        documents: BTreeSet::new(),
        watched: BTreeSet::new(),
        pre_deploy: String::new(),
        pre_deploy_line: line,
        writes_plaintext: false,
        wrapper: String::new(),
        wrapper_line: line,
        wrapped: Vec::new(),
        tracked_plaintext: Vec::new(),
        has_webhook: config.get("webhook_enabled").and_then(Item::as_bool) != Some(false),
    };
    if let Some(step) = config.get("pre_deploy").and_then(Item::as_table_like) {
        let (command, line) = string(text, step.get("command")).unwrap_or_default();
        let folder = string(text, step.get("path")).unwrap_or_default().0;
        let folder = at(&folder);
        stack.writes_plaintext = writes_plaintext(sources, &command);
        if command.contains("sops") || command.contains("decrypt") {
            let folder = folder.as_ref().map_or("", RepoPath::as_str);
            stack
                .documents
                .extend(sources.documents_in(folder).cloned());
        }
        stack.pre_deploy = command;
        stack.pre_deploy_line = line;
    }
    let mut files = strings(text, config.get("file_paths"));
    if files.is_empty() && run.is_some() {
        files.push(("compose.yaml".to_owned(), line));
    }
    // What is wrong with compose files is said where they are read for their own sake.
    let mut ignored = Evidence::default();
    for (path, _) in files {
        if let Some(path) = at(&path) {
            let readings = compose::readings(sources, &path, &mut ignored);
            stack
                .documents
                .extend(readings.into_iter().map(|r| r.document));
        }
    }
    if let Some((wrapper, line)) = string(text, config.get("compose_cmd_wrapper")) {
        stack.wrapper = wrapper;
        stack.wrapper_line = line;
    }
    let wrapped = strings(text, config.get("compose_cmd_wrapper_include"));
    stack.wrapped = wrapped.into_iter().map(|(name, _)| name).collect();
    if stack.wrapped.is_empty() && !stack.wrapper.is_empty() {
        stack.wrapped.push("up".to_owned());
    }
    for entry in entries(config.get("config_files")) {
        let requires = entry
            .get("requires")
            .and_then(Item::as_str)
            .unwrap_or("None");
        let path = entry.get("path").and_then(Item::as_str).and_then(at);
        if matches!(requires, "Redeploy" | "Restart") {
            let document = path.and_then(|path| plaintext::source_of(sources, &path).cloned());
            stack.watched.extend(document);
        }
    }
    let tracked = entries(config.get("additional_env_files")).into_iter();
    let tracked = tracked.filter(|e| e.get("track").and_then(Item::as_bool) != Some(false));
    let tracked = tracked.filter_map(|e| Some(e.get("path")?.as_str()?.to_owned()));
    let plain = strings(text, config.get("additional_env_files")).into_iter();
    stack.tracked_plaintext = tracked
        .chain(plain.map(|(path, _)| path))
        .filter(|path| {
            let path = at(path);
            path.is_some_and(|path| {
                let document = plaintext::source_of(sources, &path);
                document.is_some_and(|document| *document != path)
            })
        })
        .collect();
    for (path, _) in path_entries(text, config.get("config_files")) {
        let document = at(&path).and_then(|path| plaintext::source_of(sources, &path).cloned());
        stack.documents.extend(document);
    }
    Some(stack)
}

/// Whether a command, or a script of the repository that it names, decrypts into files.
fn writes_plaintext(sources: &Sources, command: &str) -> bool {
    if decrypts_into_files(command) {
        return true;
    }
    let mut words = command
        .split(|c: char| c.is_whitespace() || "'\";|&()".contains(c))
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .filter(|word| !word.is_empty());
    words.any(|word| {
        let mut scripts = sources
            .texts
            .iter()
            .filter(|(path, _)| path.file_name() == word);
        match scripts.next() {
            Some((_, text)) => {
                decrypts_into_files(text) || scripts.any(|(_, text)| decrypts_into_files(text))
            }
            // The script lies elsewhere: this name is known for what it does.
            None => word == "sops-decrypt.sh",
        }
    })
}

fn decrypts_into_files(script: &str) -> bool {
    script.lines().any(|line| {
        let line = line.trim_start();
        let line = line.split(" #").next().unwrap_or(line);
        let words = || line.split_whitespace();
        let is_sops = words().any(|w| w == "sops" || w.ends_with("/sops"));
        let decrypts = words().any(|w| matches!(w, "decrypt" | "-d" | "--decrypt" | "-di"));
        let writes = line.contains('>') && !line.contains("> /dev/") && !line.contains(">/dev/")
            || words().any(|w| {
                matches!(w, "-i" | "--in-place" | "-di" | "--output") || w.starts_with("--output=")
            });
        !line.starts_with('#') && is_sops && decrypts && writes
    })
}

/// The tables of a list, in either way of writing it.
fn entries(item: Option<&Item>) -> Vec<Box<dyn TableLike>> {
    match item {
        Some(Item::ArrayOfTables(array)) => array
            .iter()
            .map(|table| Box::new(table.clone()) as Box<dyn TableLike>)
            .collect(),
        Some(Item::Value(value)) => value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_inline_table())
            .map(|table| Box::new(table.clone()) as Box<dyn TableLike>)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{path, sources};

    fn one(config: &str, script: &str) -> Stack {
        let text =
            format!("[[stack]]\nname = \"web\"\n[stack.config]\nserver_id = \"a\"\n{config}");
        let sources = sources(&[
            ("komodo/stacks.toml", &text),
            ("s/web/.sops.env", "A=ENC[]"),
            ("s/web/compose.yaml", "services: {web: {env_file: .env}}\n"),
            ("bin/sops-decrypt.sh", script),
        ]);
        stacks(&sources).remove(0)
    }

    #[test]
    fn a_script_that_decrypts_into_files_is_seen() {
        let pre = "[stack.config.pre_deploy]\npath = \"s/web\"\ncommand = \"sops-decrypt.sh\"\n";
        let stack = one(pre, "sops decrypt \"$f\" > \"${f%.sops.env}.env\"\n");
        assert!(stack.writes_plaintext);
        assert_eq!(stack.pre_deploy_line, 7);
        assert_eq!(stack.documents.len(), 1);
        for harmless in [
            "# sops decrypt x > y\n",
            "sops decrypt x | docker login --password-stdin\n",
            "sops decrypt x > /dev/null\n",
            "cofferdam exec --dir . -- docker compose up\n",
        ] {
            assert!(!one(pre, harmless).writes_plaintext, "{harmless}");
        }
        let own = "[stack.config.pre_deploy]\ncommand = \"cd s/web && sops -d .sops.env > .env\"\n";
        assert!(one(own, "").writes_plaintext);
    }

    #[test]
    fn wrappers_and_watched_files() {
        let stack = one(
            "file_paths = [\"s/web/compose.yaml\"]\ncompose_cmd_wrapper = \"cofferdam exec --dir s/web -- [[COMPOSE_COMMAND]]\"\nconfig_files = [{ path = \"s/web/.sops.env\", requires = \"Redeploy\" }]\nwebhook_enabled = false\n",
            "",
        );
        assert_eq!(stack.wrapped, ["up"]);
        assert_eq!(stack.wrapper_line, 6);
        assert_eq!(stack.watched, BTreeSet::from([path("s/web/.sops.env")]));
        assert_eq!(stack.documents, stack.watched);
        assert!(!stack.has_webhook);
        let stack = one(
            "file_paths = [\"s/web/compose.yaml\"]\ncompose_cmd_wrapper_include = [\"config\", \"up\"]\ncompose_cmd_wrapper = \"x\"\n[[stack.config.config_files]]\npath = \"s/web/.sops.env\"\n[[stack.config.additional_env_files]]\npath = \"s/web/.env\"\n",
            "",
        );
        assert_eq!(stack.wrapped, ["config", "up"]);
        // Komodo ignores changes unless told otherwise.
        assert!(stack.watched.is_empty());
        assert_eq!(stack.tracked_plaintext, ["s/web/.env"]);
    }
}
