//! A small repository of a test's own, without the sample's targets around it.

use std::path::PathBuf;

use super::{COFFERDAM, Ran, Sandbox};

/// A git work tree in a sandbox of its own.
#[derive(Debug)]
pub struct Repository {
    /// What commands run in.
    pub sandbox: Sandbox,
    /// The work tree.
    pub tree: PathBuf,
    /// The key file that `cofferdam` is given; none: it finds no identity.
    pub keys: Option<PathBuf>,
}

impl Repository {
    /// An empty one, with nothing committed.
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        let tree = sandbox.path().join("r");
        std::fs::create_dir(&tree).unwrap();
        sandbox.git(&tree, &["init", "--quiet"]);
        Self {
            sandbox,
            tree,
            keys: None,
        }
    }

    /// Writes a file with its folders.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = self.tree.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    /// The text of a file.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.tree.join(path)).unwrap()
    }

    /// Runs `git`; it must succeed. What it printed, less the last line break.
    pub fn git(&self, args: &[&str]) -> String {
        self.sandbox.git(&self.tree, args)
    }

    /// Commits all there is.
    pub fn commit_all(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", message]);
    }

    /// Runs `cofferdam`; it must not panic.
    #[track_caller]
    pub fn cofferdam(&self, args: &[&str]) -> Ran {
        let mut command = self.sandbox.command(COFFERDAM, &self.tree);
        if let Some(keys) = &self.keys {
            command.env("SOPS_AGE_KEY_FILE", keys);
        }
        let ran = Ran::of(command.args(args));
        assert!(!ran.stderr.contains("panicked"), "{args:?}: {}", ran.stderr);
        ran
    }
}

impl Default for Repository {
    fn default() -> Self {
        Self::new()
    }
}
