//! NixOS with sops-nix: which machine's configuration names which document.
//!
//! Nix is a language: what is computed is not seen. Seen are `sopsFile` and `defaultSopsFile` with a path written out, in the modules
//! that a machine's configuration reaches by paths written out. A machine is one of `nixosConfigurations`, else the folder or
//! file after `hosts/`, `machines/`, `nodes/` or `systems/`.
//!
//! Source: sops-nix, README ("Deploy example": `sops.defaultSopsFile`, `sops.secrets.<name>.sopsFile`, `sops.age.keyFile`,
//! `sops.age.sshKeyPaths`); Nix manual, "Path literals".

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, HostEvidence, Origin, Reader, Sources, parent_text};
use crate::repo_path::{RepoPath, resolve};

/// Folders whose entries are machines, by custom.
const FOLDERS: [&str; 4] = ["hosts", "machines", "nodes", "systems"];
const DOUBT: &str = "a module that no machine's configuration reaches by a path written out names it; say which machines import that";

pub(super) fn gather(sources: &Sources, evidence: &mut Evidence) {
    let modules: BTreeMap<&RepoPath, String> = sources
        .texts
        .iter()
        .filter(|(path, _)| path.file_name().ends_with(".nix"))
        .map(|(path, text)| (path, without_comments(text)))
        .collect();
    if !modules.values().any(|text| speaks(text)) {
        return;
    }
    let mut machines = machines(&modules);
    by_custom(&modules, &mut machines);
    let mut reached: BTreeSet<&RepoPath> = BTreeSet::new();
    for (name, (origin, roots)) in &machines {
        for module in closure(&modules, roots) {
            reached.insert(module);
            for (document, line) in documents(sources, module, &modules[module]) {
                let host = evidence.hosts.entry(name.clone());
                host.or_insert_with(|| HostEvidence {
                    origin: origin.clone(),
                    region: None,
                    clones: BTreeSet::new(),
                    guessed: false,
                    has_own_zone: true,
                });
                evidence.read(
                    &document,
                    Reader::Host(name.clone()),
                    Origin::new(module, line),
                );
            }
        }
    }
    for (module, text) in modules
        .iter()
        .filter(|(module, _)| !reached.contains(**module))
    {
        for (document, line) in documents(sources, module, text) {
            if !evidence.is_claimed(&document) {
                let origin = Origin::new(module, line);
                evidence.read_in_doubt(&document, Reader::Operator, origin, DOUBT);
            }
        }
    }
    key_file(&modules, evidence);
}

/// Whether a module names a document, perhaps.
fn speaks(text: &str) -> bool {
    text.contains("sopsFile") || text.contains("defaultSopsFile")
}

/// A machine's place of declaration, and the modules that it begins with.
type Machine<'a> = (Origin, BTreeSet<&'a RepoPath>);

/// The machines of `nixosConfigurations`.
fn machines<'a>(modules: &BTreeMap<&'a RepoPath, String>) -> BTreeMap<String, Machine<'a>> {
    let mut found = BTreeMap::new();
    for (file, text) in modules {
        let dotted = text.match_indices("nixosConfigurations.");
        let mut starts: Vec<(usize, String)> = dotted
            .filter_map(|(at, word)| {
                let rest = &text[at + word.len()..];
                let (name, after) = name(rest)?;
                after.trim_start().starts_with('=').then_some((at, name))
            })
            .collect();
        // The other way of writing it: one set, a name and a system each.
        for (at, _) in text.match_indices("nixosSystem") {
            let before = text[..at].trim_end_matches(|c: char| c != '=');
            let before = before.trim_end_matches('=').trim_end();
            let word = before
                .rsplit(|c: char| c.is_whitespace() || c == '{' || c == ';')
                .next()
                .unwrap_or_default();
            if let Some((name, "")) = name(word) {
                starts.push((at, name));
            }
        }
        starts.sort();
        for (index, (at, name)) in starts.iter().enumerate() {
            let end = starts.get(index + 1).map_or(text.len(), |(next, _)| *next);
            let line = line_at(text, *at);
            let roots = references(modules, file, text.get(*at..end).unwrap_or_default());
            let machine = found
                .entry(name.clone())
                .or_insert_with(|| (Origin::new(file, line), BTreeSet::new()));
            machine.1.extend(roots);
        }
    }
    found
}

/// Machines by the names of folders and files, where no configuration names them.
fn by_custom<'a>(
    modules: &BTreeMap<&'a RepoPath, String>,
    machines: &mut BTreeMap<String, Machine<'a>>,
) {
    let named: BTreeSet<&RepoPath> = machines
        .values()
        .flat_map(|(_, roots)| roots.iter().copied())
        .collect();
    let mut found: BTreeMap<String, Machine<'a>> = BTreeMap::new();
    for module in modules.keys().filter(|module| !named.contains(**module)) {
        let mut parts = module.as_str().split('/');
        if parts.by_ref().any(|part| FOLDERS.contains(&part))
            && let Some(entry) = parts.next()
        {
            let name = entry.strip_suffix(".nix").unwrap_or(entry);
            if matches!(name, "default" | "common" | "shared") {
                continue;
            }
            let machine = found
                .entry(name.to_owned())
                .or_insert_with(|| (Origin::new(module, 0), BTreeSet::new()));
            machine.1.insert(module);
        }
    }
    for (name, machine) in found {
        machines.entry(name).or_insert(machine);
    }
}

/// The modules that are reached from some, by paths written out.
fn closure<'a>(
    modules: &BTreeMap<&'a RepoPath, String>,
    roots: &BTreeSet<&'a RepoPath>,
) -> BTreeSet<&'a RepoPath> {
    let mut seen = roots.clone();
    let mut waiting: Vec<&RepoPath> = roots.iter().copied().collect();
    while let Some(module) = waiting.pop() {
        let Some(text) = modules.get(module) else {
            continue;
        };
        for next in references(modules, module, text) {
            if seen.insert(next) {
                waiting.push(next);
            }
        }
    }
    seen
}

/// The modules that a piece of a module names.
fn references<'a>(
    modules: &BTreeMap<&'a RepoPath, String>,
    module: &RepoPath,
    text: &str,
) -> BTreeSet<&'a RepoPath> {
    let known = |path: RepoPath| modules.get_key_value(&path).map(|(path, _)| *path);
    let words = text.split(|c: char| c.is_whitespace() || "()[]{};\",".contains(c));
    words
        .filter(|word| word.starts_with("./") || word.starts_with("../"))
        .filter_map(|word| place(module, word))
        .filter_map(|path| known(path.clone()).or_else(|| known(path.join("default.nix").ok()?)))
        .collect()
}

/// The documents that a module names, each with its line.
fn documents(sources: &Sources, module: &RepoPath, text: &str) -> Vec<(RepoPath, usize)> {
    let mut found = Vec::new();
    for key in ["sopsFile", "defaultSopsFile"] {
        for (at, _) in text.match_indices(key) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = text[at + key.len()..].trim_start();
            let Some(value) = rest.strip_prefix('=') else {
                continue;
            };
            let value = value.split(';').next().unwrap_or_default();
            if let Some(path) = place(module, value.trim())
                && sources.documents.contains_key(&path)
            {
                found.push((path, line_at(text, at)));
            }
        }
    }
    found
}

/// The path that an expression stands for: relative to its module, or to the flake's root by `self`.
fn place(module: &RepoPath, expression: &str) -> Option<RepoPath> {
    let text = expression.trim_matches(['(', ')', '"', ' ']);
    let plain: String = text.chars().filter(|c| !"\" ".contains(*c)).collect();
    for root in [
        "${self}/",
        "${inputs.self}/",
        "self+/",
        "inputs.self+/",
        "${flake}/",
    ] {
        if let Some(rest) = plain.strip_prefix(root) {
            return RepoPath::new(rest).ok();
        }
    }
    let is_path = text.starts_with("./") || text.starts_with("../");
    if !is_path || text.contains("${") {
        return None;
    }
    let folder = RepoPath::new(parent_text(module)).ok();
    resolve(folder.as_ref(), text).ok()
}

/// The key file that the first module that says one names. Without one machines use their SSH host keys, and what is delivered
/// to a file is not read.
fn key_file(modules: &BTreeMap<&RepoPath, String>, evidence: &mut Evidence) {
    let named = modules.iter().find_map(|(module, text)| {
        let at = text.find("keyFile")?;
        let rest = text[at + "keyFile".len()..]
            .trim_start()
            .strip_prefix('=')?;
        let path = rest.split(';').next()?.trim().trim_matches('"');
        let is_plain = path.starts_with('/') && !path.contains("${");
        is_plain.then(|| (path.to_owned(), Origin::new(module, line_at(text, at))))
    });
    let first = modules.iter().find(|(_, text)| speaks(text));
    if let (None, Some((module, _))) = (&named, first) {
        evidence.note(
            module,
            "no module here sets sops.age.keyFile, and machines then take their SSH host key for an identity; set it to the identity_file in cofferdam.toml, or what is delivered there is not read",
        );
    }
    if evidence.identity_file.is_none() {
        evidence.identity_file = named;
    }
}

/// The name at the start of a text, bare or in quotes, and what follows.
fn name(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
        }
    };
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    is_name.then(|| (name.to_owned(), rest))
}

/// The text with comments blanked, so that places stay.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut is_line, mut is_block, mut is_text) = (false, false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        if c == '\n' {
            is_line = false;
        } else if is_block {
            if c == '*' && next == Some('/') {
                chars.next();
                is_block = false;
                out.push(' ');
            }
            out.push(' ');
            continue;
        } else if !is_line && c == '"' {
            is_text = !is_text;
        } else if !is_text && c == '#' {
            is_line = true;
        } else if !is_text && !is_line && c == '/' && next == Some('*') {
            chars.next();
            is_block = true;
            out.push_str("  ");
            continue;
        }
        out.push(if is_line && c != '\n' { ' ' } else { c });
    }
    out
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{host, readers, sources};

    #[test]
    fn machines_read_what_their_modules_name() {
        let flake = "{ outputs = { self, ... }: {\n  nixosConfigurations.web1 = lib.nixosSystem { modules = [ ./m/web1 ./m/shared.nix ]; };\n  nixosConfigurations.\"db-1\" = lib.nixosSystem { modules = [ ./m/db.nix ]; };\n}; }\n";
        let sources = sources(&[
            ("flake.nix", flake),
            (
                "m/web1/default.nix",
                "{ imports = [ ../base.nix ];\n  # sops.secrets.x.sopsFile = ../../s/no.yaml;\n  sops.defaultSopsFile = ../../s/web1.yaml;\n  sops.age.keyFile = \"/var/lib/key.txt\"; }\n",
            ),
            (
                "m/shared.nix",
                "{ sops.secrets.a = { sopsFile = \"${self}/s/common.yaml\"; }; }\n",
            ),
            (
                "m/base.nix",
                "{ /* sopsFile = ../s/no.yaml; */ sops.secrets.\"b\".sopsFile = self + \"/s/base.yaml\"; }\n",
            ),
            (
                "m/db.nix",
                "{ sops.secrets.c.sopsFile = ../s/common.yaml; }\n",
            ),
            (
                "m/lost.nix",
                "{ sops.secrets.c.sopsFile = ../s/lost.yaml; }\n",
            ),
            ("s/web1.yaml", "a: ENC[x]"),
            ("s/common.yaml", "a: ENC[x]"),
            ("s/base.yaml", "a: ENC[x]"),
            ("s/lost.yaml", "a: ENC[x]"),
            ("s/no.yaml", "a: ENC[x]"),
        ]);
        let mut evidence = Evidence::default();
        gather(&sources, &mut evidence);
        assert_eq!(readers(&evidence, "s/web1.yaml"), [host("web1")]);
        assert_eq!(readers(&evidence, "s/base.yaml"), [host("web1")]);
        assert_eq!(
            readers(&evidence, "s/common.yaml"),
            [host("db-1"), host("web1")]
        );
        assert_eq!(readers(&evidence, "s/lost.yaml"), [Reader::Operator]);
        assert!(readers(&evidence, "s/no.yaml").is_empty());
        let reading = &evidence.readings[&RepoPath::new("s/web1.yaml").unwrap()][0];
        assert_eq!(reading.origin.to_string(), "m/web1/default.nix:3");
        assert_eq!(evidence.hosts["db-1"].origin.to_string(), "flake.nix:3");
        assert_eq!(evidence.identity_file.unwrap().0, "/var/lib/key.txt");
    }

    #[test]
    fn machines_by_custom_and_as_one_set() {
        let flake = "{ nixosConfigurations = { a = lib.nixosSystem { modules = [ ./x/a.nix ]; };\n b = lib.nixosSystem { modules = [ ./x/b.nix ]; }; }; }";
        let all = sources(&[
            ("flake.nix", flake),
            ("x/a.nix", "{ sops.defaultSopsFile = ./a.yaml; }"),
            ("x/b.nix", "{ sops.defaultSopsFile = ./b.yaml; }"),
            ("hosts/c/sops.nix", "{ sops.defaultSopsFile = ./c.yaml; }"),
            ("hosts/d.nix", "{ sops.defaultSopsFile = ../x/a.yaml; }"),
            ("x/a.yaml", "a: ENC[x]"),
            ("x/b.yaml", "a: ENC[x]"),
            ("hosts/c/c.yaml", "a: ENC[x]"),
        ]);
        let mut evidence = Evidence::default();
        gather(&all, &mut evidence);
        assert_eq!(readers(&evidence, "x/a.yaml"), [host("a"), host("d")]);
        assert_eq!(readers(&evidence, "x/b.yaml"), [host("b")]);
        assert_eq!(readers(&evidence, "hosts/c/c.yaml"), [host("c")]);
        assert!(evidence.notes[0].text.contains("sops.age.keyFile"));
        // A flake without secrets is none of our business.
        let mut none = Evidence::default();
        gather(&sources(&[("flake.nix", flake)]), &mut none);
        assert!(none.hosts.is_empty() && none.notes.is_empty());
    }
}
