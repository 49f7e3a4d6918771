//! What a compose project mounts from this machine, and which values it hands to dockerd to keep on disk.
//!
//! Read from what compose itself says the project is, so that `include`, `extends` and variables count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::exec::compose::Secrets;

/// A file or folder of this machine that stays mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What mounts it, for messages.
    pub by: String,
    /// Its path, as compose gives it.
    pub source: PathBuf,
}

/// What was found in a project.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Project {
    /// The names of its services.
    pub services: BTreeSet<String>,
    /// What its containers mount.
    pub mounts: Vec<Mount>,
    /// What holds a value that dockerd keeps on disk, for messages.
    pub kept: Vec<String>,
}

/// Reads what `docker compose config --format json` printed.
///
/// # Errors
/// It is not that; the text is in no error.
pub fn read(text: &[u8], secrets: Secrets<'_>) -> Result<Project, NoProject> {
    let read: Read = serde_json::from_slice(text).map_err(|_| NoProject)?;
    let mut project = Project {
        services: read.services.keys().cloned().collect(),
        ..Project::default()
    };
    for (name, service) in &read.services {
        for volume in &service.volumes {
            if volume.kind == "bind" {
                project
                    .mounts
                    .extend(volume.source.as_ref().map(|source| Mount {
                        by: format!("the service {name}"),
                        source: path(source),
                    }));
            }
        }
        let arguments = service.build.iter().flat_map(|build| &build.args);
        for (argument, value) in arguments {
            let Some(Text(value)) = value else { continue };
            let is_named = secrets.names.contains(argument) && !value.is_empty();
            if is_named || secrets.masks(value) {
                project.kept.push(format!(
                    "the build argument {argument} of the service {name}"
                ));
            }
        }
    }
    for (name, volume) in &read.volumes {
        let options = volume.as_ref().map(|volume| &volume.driver_opts);
        let option = |key: &str| options.and_then(|o| o.get(key)).and_then(Option::as_ref);
        let is_bind =
            option("o").is_some_and(|o| o.split(',').any(|o| o == "bind" || o == "rbind"));
        if let Some(device) = option("device").filter(|_| is_bind) {
            project.mounts.push(Mount {
                by: format!("the volume {name}"),
                source: path(device),
            });
        }
    }
    for (kind, objects) in [("secret", &read.secrets), ("config", &read.configs)] {
        for (name, object) in objects {
            project
                .mounts
                .extend(object.file.as_ref().map(|file| Mount {
                    by: format!("the {kind} {name}"),
                    source: path(file),
                }));
            let holds = |Text(text): &Text| secrets.masks(text);
            let is_value = object.content.as_ref().is_some_and(holds);
            let variable = object.environment.as_ref();
            if is_value || variable.is_some_and(|v| secrets.names.contains(v)) {
                project.kept.push(format!("the {kind} {name}"));
            }
        }
    }
    Ok(project)
}

/// What compose printed is no project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what compose says of the project cannot be read")]
pub struct NoProject;

/// Compose prints each dollar as two.
fn path(text: &str) -> PathBuf {
    PathBuf::from(text.replace("$$", "$"))
}

/// Text that may hold a value: wiped.
struct Text(Zeroizing<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Text;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text)))
            }
        }
        from.deserialize_str(Visitor)
    }
}

#[derive(Deserialize)]
struct Read {
    services: BTreeMap<String, Service>,
    #[serde(default)]
    volumes: BTreeMap<String, Option<NamedVolume>>,
    #[serde(default)]
    secrets: BTreeMap<String, Object>,
    #[serde(default)]
    configs: BTreeMap<String, Object>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    volumes: Vec<Volume>,
    build: Option<Build>,
}

#[derive(Deserialize)]
struct Volume {
    #[serde(rename = "type")]
    kind: String,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Build {
    #[serde(default)]
    args: BTreeMap<String, Option<Text>>,
}

#[derive(Deserialize)]
struct NamedVolume {
    #[serde(default)]
    driver_opts: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
struct Object {
    file: Option<String>,
    environment: Option<String>,
    content: Option<Text>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::patterns::Patterns;
    use crate::secret::SecretBytes;

    #[test]
    fn mounts_and_values_are_found() {
        let text = r#"{"name": "x", "services": {
            "app": {"image": "a", "build": {"context": "/x", "args": {"PIN": "1", "EMPTY": null, "B": "q s3cr3t-va$$lue", "C": "no"}},
                    "volumes": [{"type": "bind", "source": "/x/$$a", "target": "/a", "bind": {}}, {"type": "volume", "source": "v", "target": "/v"},
                                {"type": "tmpfs", "target": "/t"}]},
            "b": {"image": "b"}},
          "volumes": {"v": {"name": "x_v", "driver_opts": {"type": "none", "o": "ro,bind", "device": "/x/v"}}, "w": null, "n": {"driver_opts": {"o": "addr=1", "device": ":/x"}}},
          "secrets": {"f": {"name": "x_f", "file": "/x/f"}, "e": {"environment": "PIN"}, "g": {"environment": "OTHER"}},
          "configs": {"c": {"content": "p=s3cr3t-va$$lue\n"}, "d": {"content": "nothing"}, "e": {"external": true, "name": "e"}}}"#;
        let value = "s3cr3t-va$lue";
        let names = BTreeSet::from(["PIN".to_owned(), "EMPTY".to_owned()]);
        let patterns = Patterns::of([value.as_bytes()]);
        let values = [SecretBytes::from_slice(value.as_bytes())];
        let secrets = Secrets {
            names: &names,
            values: &values,
            patterns: &patterns,
        };
        let project = read(text.as_bytes(), secrets).unwrap();
        let mounts: Vec<String> = project
            .mounts
            .iter()
            .map(|m| format!("{} {}", m.by, m.source.display()))
            .collect();
        let expected = [
            "the service app /x/$a",
            "the volume v /x/v",
            "the secret f /x/f",
        ];
        assert_eq!(mounts, expected);
        let kept = [
            "the build argument B of the service app",
            "the build argument PIN of the service app",
            "the secret e",
            "the config c",
        ];
        assert_eq!(project.kept, kept);
        assert_eq!(
            project.services,
            BTreeSet::from(["app".to_owned(), "b".to_owned()])
        );
        for text in ["", "[]", "services: {}", "{}"] {
            assert_eq!(read(text.as_bytes(), secrets), Err(NoProject), "{text}");
        }
    }
}
