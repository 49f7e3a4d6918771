//! Services of compose files as policies ask about them: image, environment by name, command, labels, ports.
//!
//! Source: the Compose Specification (`environment` as list or mapping; `labels` likewise; `ports` as
//! `[IP:][PUBLISHED:]TARGET[/PROTOCOL]` or a mapping with `host_ip`, `published`, `target`).

use std::collections::BTreeSet;

use serde_yaml::Value;

use crate::evidence::{Origin, Sources, compose, parent_text, plaintext, yaml};
use crate::repo_path::{RepoPath, resolve};

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in the compose file.
    pub name: String,
    /// Where it is declared.
    pub origin: Origin,
    /// Its image; empty if it is built.
    pub image: String,
    /// The line of the image.
    pub image_line: usize,
    /// The variables of its environment as `NAME=value` where the value stands in the clear, else `NAME`; those of its env
    /// files too, encrypted ones by name.
    pub environment: Vec<String>,
    /// The words of its entrypoint and command.
    pub command: Vec<String>,
    /// Its labels as `key=value`.
    pub labels: Vec<String>,
    /// Its published ports.
    pub ports: Vec<Port>,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The address of the host that it is bound to; none: all.
    pub host_ip: Option<String>,
    /// The port of the host; empty: any.
    pub published: String,
    /// The port of the container.
    pub target: String,
}

impl Port {
    /// Whether others than the host itself reach it.
    pub fn is_open(&self) -> bool {
        match self.host_ip.as_deref() {
            None => true,
            Some(ip) => !(ip.starts_with("127.") || ip == "::1" || ip == "[::1]"),
        }
    }
}

/// A compose file that cannot be read, with the line.
pub type Broken = (RepoPath, String);

/// All services of all compose files, and the compose files that cannot be read.
pub fn services(sources: &Sources) -> (Vec<Service>, Vec<Broken>) {
    let mut found = Vec::new();
    let mut broken = Vec::new();
    for (file, text) in &sources.texts {
        if !compose::is_compose(file) || sources.documents.contains_key(file) {
            continue;
        }
        let (documents, fault) = yaml::documents(text);
        broken.extend(fault.map(|fault| (file.clone(), fault)));
        for (line, value) in &documents {
            let Some(Value::Mapping(services)) = value.get("services") else {
                continue;
            };
            for (name, value) in services {
                if let Some(name) = name.as_str() {
                    found.push(service(sources, file, text, *line, name, value));
                }
            }
        }
    }
    (found, broken)
}

fn service(
    sources: &Sources,
    file: &RepoPath,
    text: &str,
    first: usize,
    name: &str,
    value: &Value,
) -> Service {
    let first = yaml::line_of(text, first, "services:");
    let line = line_of_key(text, first, name);
    let image = yaml::text_at(value, &["image"]).unwrap_or_default();
    let mut environment = pairs(value.get("environment"));
    environment.extend(env_files(sources, file, value.get("env_file")));
    let mut command = words(value.get("entrypoint"));
    command.extend(words(value.get("command")));
    Service {
        name: name.to_owned(),
        origin: Origin::new(file, line),
        image: image.to_owned(),
        image_line: yaml::line_of(text, line, image),
        environment,
        command,
        labels: pairs(value.get("labels")),
        ports: list(value.get("ports"))
            .into_iter()
            .filter_map(port)
            .collect(),
    }
}

/// The line on which a mapping's key stands.
fn line_of_key(text: &str, first: usize, key: &str) -> usize {
    let forms = [
        format!("{key}:"),
        format!("\"{key}\":"),
        format!("'{key}':"),
    ];
    let lines = text.lines().enumerate().skip(first.saturating_sub(1));
    let mut lines = lines.filter(|(_, line)| {
        let line = line.trim_start();
        forms.iter().any(|form| line.starts_with(form.as_str()))
    });
    lines.next().map_or(first, |(index, _)| index + 1)
}

/// The variables that a service's env files give it.
fn env_files(sources: &Sources, file: &RepoPath, value: Option<&Value>) -> Vec<String> {
    let folder = RepoPath::new(parent_text(file)).ok();
    let mut found = Vec::new();
    for entry in list(value) {
        let path = entry.as_str().or_else(|| yaml::text_at(entry, &["path"]));
        let path = path.and_then(|path| resolve(folder.as_ref(), path).ok());
        let Some(path) = path else { continue };
        let document = plaintext::source_of(sources, &path);
        let text = sources.texts.get(document.unwrap_or(&path));
        let is_document = document.is_some();
        for line in text.into_iter().flat_map(|text| text.lines()) {
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let name = name.trim().trim_start_matches("export ");
            if name.starts_with('#') || (is_document && name.starts_with("sops_")) {
                continue;
            }
            if is_document && value.starts_with("ENC[") {
                found.push(name.to_owned());
            } else {
                found.push(format!("{name}={}", value.trim()));
            }
        }
    }
    found
}

/// A list of `a=b`, or a mapping.
fn pairs(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Sequence(items)) => items.iter().filter_map(scalar).collect(),
        Some(Value::Mapping(entries)) => entries
            .iter()
            .filter_map(|(key, value)| match value {
                Value::Null => scalar(key),
                value => Some(format!("{}={}", scalar(key)?, scalar(value)?)),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(line)) => line.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Sequence(items)) => items.iter().filter_map(scalar).collect(),
        _ => Vec::new(),
    }
}

fn port(value: &Value) -> Option<Port> {
    if let Value::Mapping(_) = value {
        return Some(Port {
            host_ip: yaml::text_at(value, &["host_ip"]).map(str::to_owned),
            published: value.get("published").and_then(scalar).unwrap_or_default(),
            target: value.get("target").and_then(scalar)?,
        });
    }
    let text = scalar(value)?;
    let text = text.split('/').next().unwrap_or_default();
    // An address of IPv6 stands in brackets and holds colons.
    let (before, target) = text.rsplit_once(':').unwrap_or(("", text));
    let (host_ip, published) = match before.rsplit_once(':') {
        Some((ip, published)) => (Some(ip.to_owned()), published),
        None => (None, before),
    };
    Some(Port {
        host_ip,
        published: published.to_owned(),
        target: target.to_owned(),
    })
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Sequence(items)) => items.iter().collect(),
        Some(one) => vec![one],
    }
}

/// An image as it is named somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// The name as written.
    pub name: String,
    /// Where.
    pub origin: Origin,
}

impl NamedImage {
    /// The name without tag and digest.
    pub fn repository(&self) -> &str {
        let name = self.name.split('@').next().unwrap_or_default();
        match name.rsplit_once(':') {
            // A colon before a slash belongs to a port of the registry.
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        }
    }

    /// The tag; empty if there is none.
    pub fn tag(&self) -> &str {
        let name = self.name.split('@').next().unwrap_or_default();
        match name.rsplit_once(':') {
            Some((_, tag)) if !tag.contains('/') => tag,
            _ => "",
        }
    }

    /// Whether a digest pins it.
    pub fn has_digest(&self) -> bool {
        self.name.contains('@')
    }
}

/// All images that compose files, Kubernetes manifests and Dockerfiles name, in order of file and line.
pub fn images(sources: &Sources, services: &[Service]) -> Vec<NamedImage> {
    let mut found: Vec<NamedImage> = services
        .iter()
        .filter(|service| !service.image.is_empty())
        .map(|service| NamedImage {
            name: service.image.clone(),
            origin: Origin::new(&service.origin.file, service.image_line),
        })
        .collect();
    for (file, text) in &sources.texts {
        if sources.documents.contains_key(file) || compose::is_compose(file) {
            continue;
        }
        let name = file.file_name();
        if name.contains("Dockerfile") || name.contains("Containerfile") {
            found.extend(base_images(file, text));
        } else if (name.ends_with(".yaml") || name.ends_with(".yml"))
            && text.contains("apiVersion:")
            && text.contains("image:")
        {
            found.extend(manifest_images(file, text));
        }
    }
    found.sort_by(|a, b| a.origin.cmp(&b.origin));
    found
}

/// The images of `FROM` lines, but for stages of the same file.
fn base_images(file: &RepoPath, text: &str) -> Vec<NamedImage> {
    let mut stages = BTreeSet::from(["scratch".to_owned()]);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace().filter(|w| !w.starts_with("--"));
        if !words.next().is_some_and(|w| w.eq_ignore_ascii_case("from")) {
            continue;
        }
        let Some(image) = words.next() else { continue };
        if !stages.contains(&image.to_lowercase()) {
            found.push(NamedImage {
                name: image.to_owned(),
                origin: Origin::new(file, index + 1),
            });
        }
        if words.next().is_some_and(|w| w.eq_ignore_ascii_case("as")) {
            stages.extend(words.next().map(str::to_lowercase));
        }
    }
    found
}

/// The images of containers in a manifest: texts below a key `image` beside a `name`.
fn manifest_images(file: &RepoPath, text: &str) -> Vec<NamedImage> {
    let mut found = Vec::new();
    for (line, value) in yaml::documents(text).0 {
        let mut names = Vec::new();
        container_images(&value, &mut names);
        for name in names {
            found.push(NamedImage {
                origin: Origin::new(file, yaml::line_of(text, line, &name)),
                name,
            });
        }
    }
    found
}

fn container_images(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Mapping(entries) => {
            for (key, below) in entries {
                let is_list = matches!(key.as_str(), Some("containers" | "initContainers"));
                if let (true, Value::Sequence(containers)) = (is_list, below) {
                    let images = containers
                        .iter()
                        .filter_map(|c| yaml::text_at(c, &["image"]));
                    names.extend(images.map(str::to_owned));
                } else {
                    container_images(below, names);
                }
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| container_images(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::sources;

    #[test]
    fn what_a_service_says_is_read_in_each_form() {
        let compose = "services:\n  web:\n    image: traefik:v3\n    env_file: [.env, {path: plain.env}]\n    environment:\n      A: 1\n      B:\n    command: --x --y=2\n    labels: [a=b]\n    ports: ['80:80', 443, '127.0.0.1:9090:90/tcp', {target: 1, published: '2', host_ip: '::1'}, '[::1]:5:6']\n  job:\n    build: .\n    environment: [C=2, D]\n";
        let sources = sources(&[
            ("s/compose.yaml", compose),
            ("s/.sops.env", "TOKEN=ENC[x]\nCLEAR=1\nsops_mac=ENC[x]\n"),
            ("s/plain.env", "# no\nexport E=3\n"),
            ("t/docker-compose.yml", "services: [\n"),
        ]);
        let (services, broken) = services(&sources);
        assert_eq!(broken.len(), 1);
        let web = &services[0];
        assert_eq!((web.origin.line, web.image_line), (2, 3));
        assert_eq!(web.environment, ["A=1", "B", "TOKEN", "CLEAR=1", "E=3"]);
        assert_eq!(web.command, ["--x", "--y=2"]);
        let ports: Vec<(&str, &str, bool)> = web
            .ports
            .iter()
            .map(|p| (p.published.as_str(), p.target.as_str(), p.is_open()))
            .collect();
        let wanted = [
            ("80", "80", true),
            ("", "443", true),
            ("9090", "90", false),
            ("2", "1", false),
            ("5", "6", false),
        ];
        assert_eq!(ports, wanted);
        let job = &services[1];
        assert_eq!((job.origin.line, job.image.as_str()), (11, ""));
        assert_eq!(job.environment, ["C=2", "D"]);
    }

    #[test]
    fn images_of_every_kind_of_file() {
        let sources = sources(&[
            (
                "a/Dockerfile",
                "FROM --platform=x golang:1.22 AS build\nFROM build\nFROM scratch\nFROM alpine\n",
            ),
            (
                "a/compose.yaml",
                "services: {x: {image: 'registry:5000/a/b'}}\n",
            ),
            (
                "k/d.yaml",
                "apiVersion: apps/v1\nkind: Deployment\nspec:\n  containers:\n    - name: a\n      image: c/d:1@sha256:00\nimage: not-this\n",
            ),
        ]);
        let (services, _) = services(&sources);
        let found = images(&sources, &services);
        let told: Vec<(&str, &str, &str, usize)> = found
            .iter()
            .map(|i| {
                (
                    i.repository(),
                    i.tag(),
                    i.origin.file.as_str(),
                    i.origin.line,
                )
            })
            .collect();
        let wanted = [
            ("golang", "1.22", "a/Dockerfile", 1),
            ("alpine", "", "a/Dockerfile", 4),
            ("registry:5000/a/b", "", "a/compose.yaml", 1),
            ("c/d", "1", "k/d.yaml", 6),
        ];
        assert_eq!(told, wanted);
        assert!(found[3].has_digest());
    }
}
