//! Compose files: which documents' plaintext their services are given.
//!
//! Source: the Compose Specification (`env_file` as text, list, or `{path, required, format}`; `include`; `extends.file`;
//! top-level `secrets` and `configs` with `file`; bind mounts). Paths are relative to the folder of the file.

use std::collections::BTreeSet;

use serde_yaml::Value;

use crate::evidence::{Evidence, Origin, Sources, parent_text, plaintext, yaml};
use crate::repo_path::{RepoPath, resolve};

/// A document that a compose file needs, and where it says so.
pub(super) struct ComposeReading {
    pub(super) document: RepoPath,
    pub(super) origin: Origin,
    /// A container keeps it mounted; else compose only reads it.
    pub(super) is_mounted: bool,
}

/// The documents whose plaintext stays mounted in containers of the compose file at `path`.
pub fn mounted(sources: &Sources, path: &RepoPath) -> BTreeSet<RepoPath> {
    let readings = readings(sources, path, &mut Evidence::default());
    let mounted = readings.into_iter().filter(|reading| reading.is_mounted);
    mounted.map(|reading| reading.document).collect()
}

/// Whether a file is a compose file, by its name.
pub(super) fn is_compose(path: &RepoPath) -> bool {
    let name = path.file_name();
    let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    is_yaml && (name.starts_with("compose.") || name.starts_with("docker-compose."))
}

/// The documents whose plaintext the compose file at `path`, and the files it includes or extends, refer to.
pub(super) fn readings(
    sources: &Sources,
    path: &RepoPath,
    evidence: &mut Evidence,
) -> Vec<ComposeReading> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    // A stack rather than recursion: `include` may go in circles.
    let mut waiting = vec![path.clone()];
    while let Some(file) = waiting.pop() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let Some(text) = sources.texts.get(&file) else {
            continue;
        };
        let (documents, broken) = yaml::documents(text);
        if let Some(broken) = broken {
            evidence.note(&file, format!("{broken}; skipped"));
        }
        let mut project = Project {
            sources,
            file: &file,
            text,
            found: &mut found,
            waiting: &mut waiting,
        };
        // Compose reads `.env` beside the file by itself, for `${…}`.
        project.plaintext(".env", 0, false);
        for (_, value) in &documents {
            project.read(value);
        }
    }
    found
}

struct Project<'a> {
    sources: &'a Sources,
    file: &'a RepoPath,
    text: &'a str,
    found: &'a mut Vec<ComposeReading>,
    waiting: &'a mut Vec<RepoPath>,
}

impl Project<'_> {
    fn read(&mut self, value: &Value) {
        for include in list(value.get("include")) {
            let paths = include.get("path").unwrap_or(include);
            for path in yaml::texts(Some(paths)) {
                self.include(path);
            }
            self.env_files(include.get("env_file"));
        }
        for service in mapping_values(value.get("services")) {
            self.env_files(service.get("env_file"));
            self.extends(service.get("extends"));
            for volume in list(service.get("volumes")) {
                self.volume(volume);
            }
        }
        for field in ["secrets", "configs"] {
            for entry in mapping_values(value.get(field)) {
                if let Some(file) = yaml::text_at(entry, &["file"]) {
                    self.plaintext(file, self.line(file), true);
                }
            }
        }
    }

    fn env_files(&mut self, value: Option<&Value>) {
        for entry in list(value) {
            let path = entry.as_str().or_else(|| yaml::text_at(entry, &["path"]));
            if let Some(path) = path {
                let line = yaml::line_of(self.text, 1, "env_file");
                let line = yaml::line_of(self.text, line, path);
                self.plaintext(path, line, false);
            }
        }
    }

    fn extends(&mut self, value: Option<&Value>) {
        if let Some(file) = value.and_then(|v| yaml::text_at(v, &["file"])) {
            self.include(file);
        }
    }

    fn volume(&mut self, value: &Value) {
        let source = match value {
            Value::String(short) => short.split(':').next(),
            long => yaml::text_at(long, &["source"]),
        };
        // A bare word is a named volume, not a path.
        if let Some(source) = source.filter(|s| s.starts_with('.')) {
            self.plaintext(source, self.line(source), true);
        }
    }

    fn include(&mut self, path: &str) {
        self.waiting.extend(self.resolve(path));
    }

    fn plaintext(&mut self, path: &str, line: usize, is_mounted: bool) {
        let Some(path) = self.resolve(path) else {
            return;
        };
        if let Some(document) = plaintext::source_of(self.sources, &path) {
            let document = document.clone();
            let origin = Origin::new(self.file, line);
            // The implied `.env` gives way to the line that names it.
            self.found
                .retain(|r| r.document != document || r.origin.line != 0);
            match self.found.iter_mut().find(|r| r.document == document) {
                Some(known) => known.is_mounted |= is_mounted,
                None => self.found.push(ComposeReading {
                    document,
                    origin,
                    is_mounted,
                }),
            }
        }
    }

    fn resolve(&self, path: &str) -> Option<RepoPath> {
        let folder = RepoPath::new(parent_text(self.file)).ok();
        resolve(folder.as_ref(), path).ok()
    }

    fn line(&self, needle: &str) -> usize {
        yaml::line_of(self.text, 1, needle)
    }
}

/// The items of a list, or the one value that stands in its place.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Sequence(items)) => items.iter().collect(),
        Some(one) => vec![one],
    }
}

fn mapping_values(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Mapping(mapping)) => mapping.iter().map(|(_, v)| v).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{path, sources};

    fn read(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let sources = sources(files);
        let mut evidence = Evidence::default();
        let found = readings(&sources, &path("s/a/compose.yaml"), &mut evidence);
        let mut found: Vec<_> = found
            .iter()
            .map(|r| (r.document.to_string(), r.origin.to_string()))
            .collect();
        found.sort();
        found
    }

    #[test]
    fn every_form_of_env_file() {
        let compose = "services:\n  a:\n    env_file: .env\n  b:\n    env_file:\n      - one.env\n      \
                       - path: ../shared/two.env\n        required: false\n        format: raw\n";
        let found = read(&[
            ("s/a/compose.yaml", compose),
            ("s/a/.sops.env", "A=ENC[x]"),
            ("s/a/one.sops.env", "A=ENC[x]"),
            ("s/shared/two.sops.env", "A=ENC[x]"),
            ("s/a/unread.sops.env", "A=ENC[x]"),
        ]);
        let expected = [
            ("s/a/.sops.env", "s/a/compose.yaml:3"),
            ("s/a/one.sops.env", "s/a/compose.yaml:6"),
            ("s/shared/two.sops.env", "s/a/compose.yaml:7"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn includes_extensions_mounts_and_circles() {
        let found = read(&[
            (
                "s/a/compose.yaml",
                "include:\n  - ../b/compose.yaml\n  - path: [../c/compose.yaml]\nservices:\n  x:\n    extends: {file: ../d/base.yaml, service: y}\n    \
                 volumes: ['./conf.json:/c:ro', 'named:/d', {type: bind, source: ./k.json, target: /k}]\nsecrets:\n  t: {file: ./t.txt}\n",
            ),
            (
                "s/b/compose.yaml",
                "include: ../a/compose.yaml\nservices: {b: {env_file: b.env}}\n",
            ),
            ("s/c/compose.yaml", "services: {c: {env_file: c.env}}\n"),
            ("s/d/base.yaml", "services: {y: {env_file: d.env}}\n"),
            ("s/b/b.sops.env", "A=ENC[x]"),
            ("s/c/c.sops.env", "A=ENC[x]"),
            ("s/d/d.sops.env", "A=ENC[x]"),
            ("s/a/conf.sops.json", "ENC["),
            ("s/a/k.sops.json", "ENC["),
            ("s/a/t.sops.txt", "ENC["),
        ]);
        assert_eq!(found.len(), 6, "{found:?}");
    }

    #[test]
    fn what_stays_mounted() {
        let compose = "services: {a: {env_file: [.env, both.env], volumes: ['./conf.json:/c', './both.env:/b']}}\nconfigs: {t: {file: t.txt}}\n";
        let sources = sources(&[
            ("s/a/compose.yaml", compose),
            ("s/a/.sops.env", "A=ENC[x]"),
            ("s/a/both.sops.env", "A=ENC[x]"),
            ("s/a/conf.sops.json", "ENC["),
            ("s/a/t.sops.txt", "ENC["),
        ]);
        let found = mounted(&sources, &path("s/a/compose.yaml"));
        let expected = ["s/a/both.sops.env", "s/a/conf.sops.json", "s/a/t.sops.txt"];
        assert_eq!(found, expected.map(path).into());
    }

    #[test]
    fn a_broken_file_is_a_note() {
        let sources = sources(&[("s/a/compose.yaml", "services: [\n")]);
        let mut evidence = Evidence::default();
        assert!(readings(&sources, &path("s/a/compose.yaml"), &mut evidence).is_empty());
        assert_eq!(evidence.notes.len(), 1);
    }
}
