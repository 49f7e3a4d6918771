//! Power loss, replayed: from the trace of durable operations, the disk as it is if the power fails after any of them.
//!
//! The format of the trace is documented in `src/repo/durable.rs`. What was not synced is lost: contents and
//! permissions of files without `fsync`, names without `fsync_dir` of their folder. A rename whose folder was not
//! synced leaves the old name. The worst case, that nothing reaches the disk unasked, is what is rebuilt; a disk may
//! have kept more.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::Value;

/// The operations of a run, in order.
#[derive(Debug)]
pub struct Trace {
    operations: Vec<Value>,
}

/// A file's content and permissions.
#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    mode: u32,
}

/// A file, whatever its name: what programs see, and what the disk has.
#[derive(Debug, Clone, Default)]
struct Inode {
    now: Content,
    synced: Content,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq)]
enum Name {
    File(usize),
    Folder(u32),
}

/// Names and files while a trace is replayed.
#[derive(Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    now: BTreeMap<PathBuf, Name>,
    synced: BTreeMap<PathBuf, Name>,
    git: Option<(PathBuf, PathBuf)>,
}

impl Trace {
    /// Reads a trace file.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let operations = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        Self { operations }
    }

    /// How many operations there are; a run can stop after 0 to this many.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// What the n-th operation is, for messages.
    pub fn name(&self, n: usize) -> String {
        let Some(operation) = self.operations.get(n) else {
            return "the end".to_owned();
        };
        let field = |name: &str| operation[name].as_str().unwrap_or_default();
        format!("{} {}{}", field("op"), field("path"), field("to"))
    }

    /// Turns the folder `root`, which must be as it was before the run, into what is left of it if the power fails after
    /// the first `done` operations. In the trace it was called `traced`. `.git` is taken from the last copy.
    pub fn lose_power(&self, done: usize, traced: &Path, root: &Path) {
        let mut disk = Disk::read(root, traced);
        for operation in &self.operations[..done] {
            disk.apply(operation);
        }
        disk.write(root, traced);
    }
}

impl Disk {
    fn read(root: &Path, traced: &Path) -> Self {
        let mut disk = Self::default();
        disk.read_folder(root, traced);
        disk.synced = disk.now.clone();
        disk
    }

    fn read_folder(&mut self, folder: &Path, name: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let name = name.join(entry.file_name());
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            if kind.is_dir() {
                if entry.file_name() != ".git" {
                    self.now.insert(name.clone(), Name::Folder(mode));
                    self.read_folder(&entry.path(), &name);
                }
            } else if kind.is_file() {
                let content = Content {
                    bytes: std::fs::read(entry.path()).unwrap(),
                    mode,
                };
                self.inodes.push(Inode {
                    now: content.clone(),
                    synced: content,
                });
                self.now.insert(name, Name::File(self.inodes.len() - 1));
            }
        }
    }

    fn apply(&mut self, operation: &Value) {
        let text = |field: &str| operation[field].as_str().unwrap().to_owned();
        let number = |field: &str| operation[field].as_u64().unwrap();
        let path = |field: &str| without_dots(Path::new(&text(field)));
        match text("op").as_str() {
            "create" => {
                let mode = u32::try_from(number("mode")).unwrap();
                self.inodes.push(Inode {
                    now: Content {
                        bytes: Vec::new(),
                        mode,
                    },
                    synced: Content {
                        bytes: Vec::new(),
                        mode,
                    },
                });
                self.now
                    .insert(path("path"), Name::File(self.inodes.len() - 1));
            }
            "write" => {
                let data = base64::engine::general_purpose::STANDARD
                    .decode(text("data"))
                    .unwrap();
                let offset = usize::try_from(number("offset")).unwrap();
                let Some(inode) = self.inode(&path("path")) else {
                    return;
                };
                let bytes = &mut inode.now.bytes;
                bytes.resize(bytes.len().max(offset + data.len()), 0);
                bytes[offset..offset + data.len()].copy_from_slice(&data);
            }
            "truncate" => {
                let length = usize::try_from(number("len")).unwrap();
                if let Some(inode) = self.inode(&path("path")) {
                    inode.now.bytes.resize(length, 0);
                }
            }
            "chmod" => {
                let mode = u32::try_from(number("mode")).unwrap();
                if let Some(inode) = self.inode(&path("path")) {
                    inode.now.mode = mode;
                }
            }
            "fsync" => {
                if let Some(inode) = self.inode(&path("path")) {
                    inode.synced = inode.now.clone();
                }
            }
            "rename" => {
                if let Some(name) = self.now.remove(&path("from")) {
                    self.now.insert(path("to"), name);
                }
            }
            "unlink" | "rmdir" => {
                self.now.remove(&path("path"));
            }
            "mkdir" => {
                let mode = u32::try_from(number("mode")).unwrap();
                self.now.insert(path("path"), Name::Folder(mode));
            }
            "fsync_dir" => {
                let folder = path("path");
                let is_in = |path: &PathBuf| path.parent() == Some(folder.as_path());
                self.synced.retain(|path, _| !is_in(path));
                let names = self.now.iter().filter(|(path, _)| is_in(path));
                self.synced
                    .extend(names.map(|(path, name)| (path.clone(), name.clone())));
            }
            "git" => {
                // Git's changes are followed by a sync of the whole file system.
                self.git = Some((path("git_dir"), path("copy")));
                for inode in &mut self.inodes {
                    inode.synced = inode.now.clone();
                }
                self.synced = self.now.clone();
            }
            other => panic!("unknown operation {other}"),
        }
    }

    fn inode(&mut self, path: &Path) -> Option<&mut Inode> {
        match self.now.get(path) {
            Some(Name::File(inode)) => Some(&mut self.inodes[*inode]),
            _ => None,
        }
    }

    fn write(&self, root: &Path, traced: &Path) {
        let real = |path: &Path| path.strip_prefix(traced).ok().map(|path| root.join(path));
        clear(root);
        // In order of names a folder comes before what is in it; what lies in a lost folder is lost.
        for (path, name) in &self.synced {
            let Some(real) = real(path) else { continue };
            if !real.parent().is_some_and(Path::is_dir) {
                continue;
            }
            let mode = match name {
                Name::Folder(mode) => {
                    std::fs::create_dir_all(&real).unwrap();
                    *mode
                }
                Name::File(inode) => {
                    let content = &self.inodes[*inode].synced;
                    std::fs::write(&real, &content.bytes).unwrap();
                    content.mode
                }
            };
            std::fs::set_permissions(&real, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        if let Some((git_dir, copy)) = &self.git
            && let Some(real) = real(git_dir)
        {
            if real.exists() {
                std::fs::remove_dir_all(&real).unwrap();
            }
            super::copy_folder(copy, &real);
        }
    }
}

/// The same path without `..`: targets lie beside the repository that names them.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            clean.pop();
        } else {
            clean.push(part);
        }
    }
    clean
}

/// Removes everything but `.git` folders (and the folders that hold one) and symbolic links.
fn clear(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            if entry.file_name() != ".git" {
                clear(&entry.path());
                // Not empty if a repository is in it.
                let _ = std::fs::remove_dir(entry.path());
            }
        } else if kind.is_file() {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}
