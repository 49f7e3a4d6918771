//! Komodo's resource files: which server deploys which stack, and which documents that stack needs.
//!
//! Source: moghtech/komodo v2.3.2, `client/core/rs/src/entities/{stack,server}.rs` and `bin/periphery/src/api/compose.rs`:
//! paths of a stack are relative to `run_directory`, which is relative to the clone's root.

use toml_edit::{Document, Item, TableLike};

use crate::evidence::{Evidence, HostEvidence, Origin, Reader, Sources, compose, plaintext};
use crate::repo_path::{RepoPath, resolve};

/// Where Komodo's periphery keeps clones made for one stack.
const STACK_CLONES: &str = "/etc/komodo/stacks/*";
/// Where it keeps clones of a linked repository.
const REPO_CLONES: &str = "/etc/komodo/repos/*";

pub(super) fn gather(sources: &Sources, evidence: &mut Evidence) {
    let mut resources = Vec::new();
    for (file, text) in &sources.texts {
        let is_toml = file.as_str().ends_with(".toml");
        if !is_toml || !(text.contains("[[server]]") || text.contains("[[stack]]")) {
            continue;
        }
        match Document::parse(text.as_str()) {
            Ok(document) => resources.push((file, text, document)),
            Err(error) => {
                let line = error.span().map_or(0, |s| line_at(text, s.start));
                evidence.note(file, format!("line {line} is not TOML; skipped"));
            }
        }
    }
    // Servers first: a stack may stand in a file that sorts before its server's.
    for (file, text, document) in &resources {
        for server in tables(document.as_table(), "server") {
            gather_server(file, text, server, evidence);
        }
    }
    for (file, text, document) in &resources {
        for stack in tables(document.as_table(), "stack") {
            gather_stack(sources, file, text, stack, evidence);
        }
    }
}

fn gather_server(file: &RepoPath, text: &str, server: &dyn TableLike, evidence: &mut Evidence) {
    let Some((name, line)) = string(text, server.get("name")) else {
        return;
    };
    let config = server.get("config").and_then(Item::as_table_like);
    let region = config
        .and_then(|c| string(text, c.get("region")))
        .filter(|(region, _)| !region.is_empty())
        .map(|(region, line)| (region, Origin::new(file, line)));
    let host = host(evidence, &name, Origin::new(file, line));
    host.region = region.or(host.region.take());
}

fn gather_stack(
    sources: &Sources,
    file: &RepoPath,
    text: &str,
    stack: &dyn TableLike,
    evidence: &mut Evidence,
) {
    let Some(config) = stack.get("config").and_then(Item::as_table_like) else {
        return;
    };
    let Some((server, server_line)) =
        string(text, config.get("server_id").or(config.get("server")))
    else {
        return;
    };
    if server.is_empty() {
        return;
    }
    let origin = |line| Origin::new(file, line);
    let clones = match string(text, config.get("linked_repo")) {
        Some((repo, _)) if !repo.is_empty() => REPO_CLONES,
        _ => STACK_CLONES,
    };
    host(evidence, &server, origin(server_line))
        .clones
        .insert(clones.to_owned());
    let reader = Reader::Host(server);
    let run = string(text, config.get("run_directory")).map_or(String::new(), |(d, _)| d);
    let run = resolve(None, run.trim_start_matches('/')).ok();
    let at = |path: &str| resolve(run.as_ref(), path).ok();

    for field in ["pre_deploy", "post_deploy"] {
        let Some(step) = config.get(field).and_then(Item::as_table_like) else {
            continue;
        };
        let command = string(text, step.get("command")).map_or(String::new(), |(c, _)| c);
        let (folder, line) = string(text, step.get("path")).unwrap_or((String::new(), server_line));
        let folder = at(&folder);
        gather_command(
            sources,
            &command,
            folder.as_ref(),
            &reader,
            &origin(line),
            evidence,
        );
        // `sops-decrypt.sh` and its like take every document of the folder they are started in.
        if command.contains("sops") || command.contains("decrypt") {
            let folder = folder.as_ref().map_or("", RepoPath::as_str);
            for document in sources.documents_in(folder).cloned().collect::<Vec<_>>() {
                evidence.read(&document, reader.clone(), origin(line));
            }
        }
    }
    let mut compose_files = strings(text, config.get("file_paths"));
    if compose_files.is_empty() && run.is_some() {
        compose_files.push(("compose.yaml".to_owned(), server_line));
    }
    for (path, line) in compose_files {
        let Some(path) = at(&path) else { continue };
        if !sources.paths.contains(&path) {
            evidence.note(
                file,
                format!("line {line} names {path}, which is not in this repository"),
            );
            continue;
        }
        for reading in compose::readings(sources, &path, evidence) {
            evidence.read(&reading.document, reader.clone(), reading.origin);
        }
    }
    if let Some((wrapper, line)) = string(text, config.get("compose_cmd_wrapper")) {
        gather_command(
            sources,
            &wrapper,
            run.as_ref(),
            &reader,
            &origin(line),
            evidence,
        );
    }
    for field in ["config_files", "additional_env_files"] {
        for (path, line) in path_entries(text, config.get(field)) {
            let Some(path) = at(&path) else { continue };
            if let Some(document) = plaintext::source_of(sources, &path) {
                evidence.read(&document.clone(), reader.clone(), origin(line));
            }
        }
    }
}

/// Words of a command that name a document, or a folder after `--dir`.
fn gather_command(
    sources: &Sources,
    command: &str,
    folder: Option<&RepoPath>,
    reader: &Reader,
    origin: &Origin,
    evidence: &mut Evidence,
) {
    let is_quote = |c: char| c.is_whitespace() || "'\"=;|&()".contains(c);
    let words: Vec<&str> = command.split(is_quote).filter(|w| !w.is_empty()).collect();
    for (index, word) in words.iter().enumerate() {
        let Ok(path) = resolve(folder, word) else {
            continue;
        };
        if sources.documents.contains_key(&path) {
            evidence.read(&path, reader.clone(), origin.clone());
        } else if index > 0 && matches!(words.get(index - 1), Some(&"--dir")) {
            for document in sources
                .documents_in(path.as_str())
                .cloned()
                .collect::<Vec<_>>()
            {
                evidence.read(&document, reader.clone(), origin.clone());
            }
        }
    }
}

fn host<'a>(evidence: &'a mut Evidence, name: &str, origin: Origin) -> &'a mut HostEvidence {
    evidence
        .hosts
        .entry(name.to_owned())
        .or_insert(HostEvidence {
            origin,
            region: None,
            clones: Default::default(),
            guessed: false,
            has_own_zone: false,
        })
}

/// The tables of `[[name]]`, or of `name = [{ … }]`.
pub(super) fn tables<'a>(table: &'a dyn TableLike, name: &str) -> Vec<&'a dyn TableLike> {
    match table.get(name) {
        Some(Item::ArrayOfTables(array)) => array.iter().map(|t| t as &dyn TableLike).collect(),
        Some(Item::Value(value)) => value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v.as_inline_table().map(|t| t as &dyn TableLike))
            .collect(),
        _ => Vec::new(),
    }
}

pub(super) fn string(text: &str, item: Option<&Item>) -> Option<(String, usize)> {
    let item = item?;
    let line = item.span().map_or(0, |s| line_at(text, s.start));
    Some((item.as_str()?.to_owned(), line))
}

pub(super) fn strings(text: &str, item: Option<&Item>) -> Vec<(String, usize)> {
    let array = item.and_then(Item::as_array).into_iter().flatten();
    array
        .filter_map(|v| {
            let line = v.span().map_or(0, |s| line_at(text, s.start));
            Some((v.as_str()?.to_owned(), line))
        })
        .collect()
}

/// Entries that are a path, or a table with `path`.
pub(super) fn path_entries(text: &str, item: Option<&Item>) -> Vec<(String, usize)> {
    let mut found = strings(text, item);
    if let Some(array) = item.and_then(Item::as_array) {
        for table in array.iter().filter_map(|v| v.as_inline_table()) {
            if let Some(value) = table.get("path") {
                let line = value.span().map_or(0, |s| line_at(text, s.start));
                found.extend(value.as_str().map(|p| (p.to_owned(), line)));
            }
        }
    }
    if let Some(array) = item.and_then(Item::as_array_of_tables) {
        found.extend(array.iter().filter_map(|t| string(text, t.get("path"))));
    }
    found
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{host, readers, sources};

    fn gathered(files: &[(&str, &str)]) -> Evidence {
        let mut evidence = Evidence::default();
        gather(&sources(files), &mut evidence);
        evidence
    }

    #[test]
    fn a_pre_deploy_folder_is_read_by_the_stacks_server() {
        let evidence = gathered(&[
            (
                "k/stacks.toml",
                "[[stack]]\nname = \"a\"\n[stack.config]\nserver_id = \"vps\"\nfile_paths = [\"d/vps/a/compose.yaml\"]\n\
                 [stack.config.pre_deploy]\npath = \"d/shared/x\"\ncommand = \"sops-decrypt.sh\"\n",
            ),
            (
                "k/servers.toml",
                "[[server]]\nname = \"vps\"\n[server.config]\nregion = \"VPS\"\n",
            ),
            ("d/vps/a/compose.yaml", "services: {}\n"),
            ("d/shared/x/.sops.env", "A=ENC[x]\n"),
            ("d/shared/x/y/.sops.env", "A=ENC[x]\n"),
        ]);
        assert_eq!(readers(&evidence, "d/shared/x/.sops.env"), [host("vps")]);
        assert!(readers(&evidence, "d/shared/x/y/.sops.env").is_empty());
        let region = evidence.hosts["vps"].region.clone().unwrap();
        assert_eq!(
            (region.0.as_str(), region.1.to_string().as_str()),
            ("VPS", "k/servers.toml:4")
        );
        let origin = &evidence.readings.values().next().unwrap()[0].origin;
        assert_eq!(origin.to_string(), "k/stacks.toml:7");
    }

    #[test]
    fn paths_are_relative_to_the_run_directory() {
        let evidence = gathered(&[
            (
                "r.toml",
                "[[stack]]\nname = \"a\"\nconfig = { server = \"h\", run_directory = \"s/a\", linked_repo = \"r\", \
                 compose_cmd_wrapper = \"cofferdam exec --dir . --file ../b/x.sops.env -- [[COMPOSE_COMMAND]]\", \
                 config_files = [{ path = \"c.sops.yaml\", requires = \"Restart\" }] }\n",
            ),
            ("s/a/compose.yaml", "services: {a: {env_file: app.env}}\n"),
            ("s/a/app.sops.env", "A=ENC[x]\n"),
            ("s/a/c.sops.yaml", "a: ENC[x]\n"),
            ("s/b/x.sops.env", "A=ENC[x]\n"),
            ("s/b/y.sops.env", "A=ENC[x]\n"),
        ]);
        for document in ["s/a/app.sops.env", "s/a/c.sops.yaml", "s/b/x.sops.env"] {
            assert_eq!(readers(&evidence, document), [host("h")], "{document}");
        }
        assert!(readers(&evidence, "s/b/y.sops.env").is_empty());
        assert_eq!(evidence.hosts["h"].clones.first().unwrap(), REPO_CLONES);
    }

    #[test]
    fn a_broken_file_is_a_note() {
        let evidence = gathered(&[("r.toml", "[[server]]\nname = \n")]);
        assert_eq!(evidence.notes.len(), 1);
        assert!(evidence.hosts.is_empty());
    }
}
