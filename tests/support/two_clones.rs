//! Two operators with a clone each of the small repository, the remote between them, and the same targets.

use std::path::PathBuf;

use super::ground::Ground;
use super::{Sandbox, copy_folder};

/// `hub.git`, the clones `a/r` and `b/r`, and the targets, which both reach.
#[derive(Debug)]
pub struct TwoClones<'s> {
    /// The folder of it all.
    pub folder: PathBuf,
    /// The first operator's clone.
    pub a: Ground<'s>,
    /// The second one's.
    pub b: Ground<'s>,
}

impl<'s> TwoClones<'s> {
    /// Both up to date, ready to be split; `publish` is added to `cofferdam.toml`.
    pub fn new(sandbox: &'s Sandbox, publish: &str) -> Self {
        let folder = sandbox.path().join("two");
        std::fs::create_dir(&folder).unwrap();
        let small = Ground::small(sandbox);
        let a = small.copy("two/a");
        small.remove();
        let toml = a.repository().join("cofferdam.toml");
        let text = std::fs::read_to_string(&toml).unwrap();
        std::fs::write(&toml, format!("{text}\n[publish]\n{publish}")).unwrap();
        a.git(&["add", "-A"]);
        a.git(&["commit", "-q", "-m", "topology"]);
        sandbox.git(&folder, &["clone", "-q", "--bare", "a/r", "hub.git"]);
        a.git(&["remote", "add", "origin", "../../hub.git"]);
        a.git(&["fetch", "-q", "origin"]);
        a.git(&["branch", "-q", "--set-upstream-to=origin/main"]);
        std::fs::create_dir(folder.join("b")).unwrap();
        let b = Ground {
            folder: folder.join("b"),
            ..a.clone()
        };
        sandbox.git(&b.folder, &["clone", "-q", "../hub.git", "r"]);
        b.git(&["remote", "set-url", "origin", "../../hub.git"]);
        b.git(&["config", "user.name", "Bea"]);
        std::os::unix::fs::symlink("../a/targets", b.folder.join("targets")).unwrap();
        for file in ["keys.txt", "laptop.txt", "shared.txt", "recovery.txt"] {
            std::fs::copy(a.folder.join(file), b.folder.join(file)).unwrap();
        }
        Self { folder, a, b }
    }

    /// A copy of its own beside this one.
    pub fn copy(&self, name: &str) -> Self {
        let folder = self.folder.parent().unwrap().join(name);
        copy_folder(&self.folder, &folder);
        let ground = |part: &str| Ground {
            folder: folder.join(part),
            ..self.a.clone()
        };
        Self {
            a: ground("a"),
            b: ground("b"),
            folder,
        }
    }

    /// Removes it.
    pub fn remove(self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// Runs git in the remote.
    pub fn hub(&self, args: &[&str]) -> String {
        self.a.sandbox.git(&self.folder.join("hub.git"), args)
    }

    /// Where the ref of a run stands in the remote; empty if it is not there.
    pub fn held(&self) -> String {
        self.hub(&[
            "for-each-ref",
            "--format=%(objectname)",
            "refs/cofferdam/run",
        ])
    }

    /// Writes a hook of the remote.
    pub fn hub_hook(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.join("hub.git/hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}
