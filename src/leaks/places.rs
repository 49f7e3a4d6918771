//! Where plaintext gets left on a host, what kind of place a path is, and what to do about a copy there.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: looks which of the usual places there are"
)]

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

/// A kind of place: what is to be done about a copy depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A work tree of a repository, or a folder of stacks.
    Stack,
    /// An object in a git repository.
    GitObject,
    /// A folder for temporary files.
    Temporary,
    /// What dockerd keeps of a container.
    Container,
    /// What containerd keeps of containers, also of removed ones.
    ContainerdDatabase,
    /// What a container printed.
    ContainerLog,
    /// A layer of an image or a container.
    Layer,
    /// What dockerd keeps of images and builds.
    Image,
    /// A volume.
    Volume,
    /// A log.
    Log,
    /// What was typed into a shell.
    ShellHistory,
    /// The memory of a program that crashed.
    CoreDump,
    /// Settings of services.
    Settings,
    /// Something that was read from standard input.
    Stream,
    /// Any other file.
    Other,
}

impl Kind {
    /// As a heading.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Stack => "stacks' folders and work trees",
            Kind::GitObject => "git objects",
            Kind::Temporary => "temporary files",
            Kind::Container => "containers, as dockerd keeps them",
            Kind::ContainerdDatabase => "containers, as containerd keeps them",
            Kind::ContainerLog => "containers' logs",
            Kind::Layer => "layers of images and containers",
            Kind::Image => "images and builds, as dockerd keeps them",
            Kind::Volume => "volumes",
            Kind::Log => "logs",
            Kind::ShellHistory => "shell histories",
            Kind::CoreDump => "core dumps",
            Kind::Settings => "services' settings",
            Kind::Stream => "standard input",
            Kind::Other => "other files",
        }
    }

    /// What to do about a copy there.
    pub fn advice(self) -> &'static str {
        match self {
            Kind::Stack => {
                "deploy with `cofferdam exec --dir FOLDER` or `cofferdam unseal`: both wipe a file that is surely a decrypted copy; wipe others by `shred -u FILE`"
            }
            Kind::GitObject => {
                "whoever can fetch the repository has it: replace the value at its issuer. Which commit: `git log --all --find-object=OBJECT`; then rewrite history, or, if no commit holds it, `git reflog expire --expire=now --all && git gc --prune=now`"
            }
            Kind::Temporary => "wipe it: `shred -u FILE`; find out which program left it",
            Kind::Container => {
                "its environment holds the value: give it a file in memory instead (`cofferdam unseal`, a `*_FILE` variable), then recreate it"
            }
            Kind::ContainerdDatabase => {
                "it keeps values of removed containers, too: no command takes them out. Stop environment variables first (a `*_FILE` variable), then replace the value at its issuer"
            }
            Kind::ContainerLog => {
                "stop the program from printing it; then recreate the container, which removes its log, and look where logs are shipped to"
            }
            Kind::Layer => {
                "of a container: recreate it without `configs: content` and `secrets: environment`, which compose copies into it; of an image: build it without the value (`RUN --mount=type=secret`), remove it here and in registries, and replace the value"
            }
            Kind::Image => {
                "a build argument or an ENV holds it: build without (`RUN --mount=type=secret`), `docker image rm` and `docker builder prune`, also in registries"
            }
            Kind::Volume => {
                "a program stored it there, perhaps rightly: if it need not, have the program forget it"
            }
            Kind::Log => {
                "stop what prints it (`cofferdam exec` masks); delete the log with its rotated copies (journald: `journalctl --rotate && journalctl --vacuum-time=1s`), look where logs are shipped to"
            }
            Kind::ShellHistory => {
                "take the line out (`history -d`, then `history -w`), and replace the value if others can read the file or its backups"
            }
            Kind::CoreDump => {
                "remove it (`coredumpctl` lists them); `Storage=none` in coredump.conf keeps none"
            }
            Kind::Settings => {
                "use a credential of systemd (`LoadCredentialEncrypted=`) or `cofferdam exec` in ExecStart instead of the value"
            }
            Kind::Stream => {
                "whoever can read what it came from, or its backups, has the value: replace it at its issuer; of Komodo's database: scrub `config` first (`cofferdam migrate komodo`)"
            }
            Kind::Other => "wipe it (`shred -u FILE`) if it need not be there",
        }
    }
}

/// A folder or file to look in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Where.
    pub path: PathBuf,
    /// What kind of place it is, as far as its files do not say otherwise.
    pub kind: Kind,
}

/// The usual places below the root of a file system that exist there, and the file systems' other names for them resolved
/// within that root.
pub fn usual(root: &Path) -> Vec<Spot> {
    let mut named: Vec<(PathBuf, Kind)> = [
        ("etc/komodo", Kind::Stack),
        ("opt/stacks", Kind::Stack),
        ("opt/komodo", Kind::Stack),
        ("tmp", Kind::Temporary),
        ("var/tmp", Kind::Temporary),
        ("var/lib/docker", Kind::Layer),
        ("var/lib/containerd", Kind::Layer),
        ("var/log", Kind::Log),
        ("var/lib/systemd/coredump", Kind::CoreDump),
        ("var/crash", Kind::CoreDump),
        ("etc/environment", Kind::Settings),
        ("etc/default", Kind::Settings),
        ("etc/systemd/system", Kind::Settings),
    ]
    .map(|(path, kind)| (PathBuf::from(path), kind))
    .to_vec();
    for (settings, keys) in [
        ("etc/docker/daemon.json", &["data-root", "graph"][..]),
        ("etc/containerd/config.toml", &["root"][..]),
    ] {
        named.extend(data_root(&within(root, settings), keys).map(|path| (path, Kind::Layer)));
    }
    let mut homes = vec![PathBuf::from("root")];
    if let Ok(entries) = std::fs::read_dir(within(root, "home")) {
        homes.extend(
            entries
                .flatten()
                .map(|e| Path::new("home").join(e.file_name())),
        );
    }
    for home in homes {
        let Ok(entries) = std::fs::read_dir(within(root, &home)) else {
            continue;
        };
        let names = entries.flatten().map(|e| e.file_name());
        let histories = names.filter(|name| name.to_string_lossy().ends_with("_history"));
        named.extend(histories.map(|name| (home.join(name), Kind::ShellHistory)));
        for (name, kind) in [
            (".local/share/fish/fish_history", Kind::ShellHistory),
            (".profile", Kind::Settings),
            (".bashrc", Kind::Settings),
            (".bash_profile", Kind::Settings),
            (".zshrc", Kind::Settings),
            (".zshenv", Kind::Settings),
        ] {
            named.push((home.join(name), kind));
        }
    }
    let spots = named.into_iter().map(|(path, kind)| Spot {
        path: within(root, path),
        kind,
    });
    spots
        .filter(|spot| spot.path.symlink_metadata().is_ok())
        .collect()
}

/// Leaves out what lies in another spot.
pub fn without_nested(spots: Vec<Spot>) -> Vec<Spot> {
    let real = |spot: &Spot| std::fs::canonicalize(&spot.path).unwrap_or(spot.path.clone());
    let all: Vec<PathBuf> = spots.iter().map(real).collect();
    let mut seen = BTreeSet::new();
    let is_apart = |path: &PathBuf| !all.iter().any(|o| o != path && path.starts_with(o));
    let kept = spots.into_iter().zip(&all);
    kept.filter(|(_, path)| is_apart(path) && seen.insert((*path).clone()))
        .map(|(spot, _)| spot)
        .collect()
}

/// Another place for the data of a daemon, by its settings.
fn data_root(settings: &Path, keys: &[&str]) -> Option<PathBuf> {
    let text = std::fs::read_to_string(settings).ok()?;
    let value = match settings.extension()?.to_str()? {
        "json" => {
            let all: serde_json::Value = serde_json::from_str(&text).ok()?;
            keys.iter()
                .find_map(|key| Some(all.get(key)?.as_str()?.to_owned()))
        }
        _ => {
            let all: toml_edit::DocumentMut = text.parse().ok()?;
            keys.iter()
                .find_map(|key| Some(all.get(key)?.as_str()?.to_owned()))
        }
    };
    let path = PathBuf::from(value?);
    Some(path.strip_prefix("/").map(Path::to_owned).unwrap_or(path))
}

/// `path` below `root`, links on the way taken as they would be if `root` were the root.
fn within(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    let mut rest: Vec<PathBuf> = parts(path.as_ref());
    rest.reverse();
    let mut at = root.to_owned();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            if at != root {
                at.pop();
            }
            continue;
        }
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links < 16 => {
                links += 1;
                if target.is_absolute() {
                    root.clone_into(&mut at);
                }
                rest.extend(parts(&target).into_iter().rev());
            }
            _ => at = next,
        }
    }
    at
}

fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components();
    parts
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

/// The kind of a file by its path, in a place of kind `around`.
pub fn kind_of(path: &Path, around: Kind) -> Kind {
    let text = path.to_string_lossy();
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy())
        .unwrap_or_default();
    let has = |part: &str| text.contains(part);
    if matches!(name.as_ref(), "config.v2.json" | "hostconfig.json") {
        Kind::Container
    } else if has("/io.containerd.metadata.v1.bolt/") {
        Kind::ContainerdDatabase
    } else if has("/containers/") && (has("-json.log") || has("/local-logs/")) {
        Kind::ContainerLog
    } else if has("/imagedb/") || has("/buildkit/") || has("/builder/") {
        Kind::Image
    } else if has("/volumes/") && around == Kind::Layer {
        Kind::Volume
    } else if [
        "/overlay2/",
        "/vfs/dir/",
        "/fuse-overlayfs/",
        "/btrfs/subvolumes/",
        "/io.containerd.",
    ]
    .into_iter()
    .any(has)
    {
        Kind::Layer
    } else if name.ends_with("_history") {
        Kind::ShellHistory
    } else {
        around
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_below_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("srv/docker")).unwrap();
        std::fs::create_dir_all(root.join("var/lib")).unwrap();
        std::os::unix::fs::symlink("/srv/docker", root.join("var/lib/docker")).unwrap();
        std::os::unix::fs::symlink("../../../../srv", root.join("var/lib/containerd")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert_eq!(within(root, "var/lib/docker"), root.join("srv/docker"));
        assert_eq!(
            within(root, "/var/lib/containerd/docker"),
            root.join("srv/docker")
        );
        assert_eq!(within(root, "loop"), root.join("loop"));
        let spots = without_nested(usual(root));
        let paths: Vec<PathBuf> = spots.into_iter().map(|spot| spot.path).collect();
        assert_eq!(paths, [root.join("srv")]);
    }

    #[test]
    fn settings_name_the_data_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("etc/docker")).unwrap();
        std::fs::create_dir_all(root.join("etc/containerd")).unwrap();
        std::fs::create_dir_all(root.join("mnt/c")).unwrap();
        std::fs::create_dir_all(root.join("mnt/d")).unwrap();
        std::fs::write(
            root.join("etc/docker/daemon.json"),
            r#"{"data-root": "/mnt/d"}"#,
        )
        .unwrap();
        std::fs::write(root.join("etc/containerd/config.toml"), "root = '/mnt/c'\n").unwrap();
        let paths: Vec<PathBuf> = usual(root).into_iter().map(|spot| spot.path).collect();
        assert_eq!(paths, [root.join("mnt/d"), root.join("mnt/c")]);
    }

    #[test]
    fn a_path_says_what_it_is() {
        for (path, around, kind) in [
            (
                "/var/lib/docker/containers/1/config.v2.json",
                Kind::Layer,
                Kind::Container,
            ),
            (
                "/var/lib/docker/containers/1/1-json.log.1",
                Kind::Layer,
                Kind::ContainerLog,
            ),
            (
                "/d/containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
                Kind::Other,
                Kind::ContainerdDatabase,
            ),
            (
                "/var/lib/docker/overlay2/x/diff/a",
                Kind::Layer,
                Kind::Layer,
            ),
            (
                "/var/lib/docker/image/vfs/imagedb/content/sha256/x",
                Kind::Layer,
                Kind::Image,
            ),
            (
                "/var/lib/docker/volumes/x/_data/a",
                Kind::Layer,
                Kind::Volume,
            ),
            ("/srv/volumes/a", Kind::Other, Kind::Other),
            ("/root/.bash_history", Kind::Other, Kind::ShellHistory),
            ("/var/log/syslog", Kind::Log, Kind::Log),
        ] {
            assert_eq!(kind_of(Path::new(path), around), kind, "{path}");
        }
    }
}
