//! Through file systems: every file and every git repository below some places, once, without following links.

#![expect(clippy::disallowed_methods, reason = "edge: reads folders")]

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::leaks::places::{Kind, Spot, kind_of};

/// What is to be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// In what kind of place.
        kind: Kind,
        /// Whether it lies in memory.
        in_memory: bool,
    },
    /// The objects of a git repository.
    Repository(PathBuf),
}

/// What a walk tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something to look into.
    Task(Task),
    /// Something that is not looked into, and why.
    NotLooked(PathBuf, String),
}

/// What a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Disk,
    Memory,
    /// The kernel's own, without files.
    Pseudo,
    /// Layers that are looked at where they are.
    Overlay,
    /// Another machine's, or a program's.
    Remote,
}

struct Folder {
    path: PathBuf,
    kind: Kind,
    device: u64,
    system: System,
}

/// Goes through all places; stops early if `tell` says so.
pub fn walk(spots: &[Spot], tell: &mut dyn FnMut(Event) -> bool) {
    for spot in spots {
        let found = match spot.path.metadata() {
            Ok(found) => found,
            Err(error) => {
                if !tell(Event::NotLooked(spot.path.clone(), error.to_string())) {
                    return;
                }
                continue;
            }
        };
        let system = system_of(&spot.path);
        let going = if system == System::Pseudo {
            let why = "a file system of the kernel's own".to_owned();
            tell(Event::NotLooked(spot.path.clone(), why))
        } else if found.is_dir() {
            let folder = Folder {
                path: spot.path.clone(),
                kind: spot.kind,
                device: found.dev(),
                system,
            };
            walk_folder(folder, tell)
        } else if found.is_file() {
            tell(Event::Task(Task::File {
                kind: kind_of(&spot.path, spot.kind),
                path: spot.path.clone(),
                in_memory: system == System::Memory,
            }))
        } else {
            tell(Event::NotLooked(
                spot.path.clone(),
                "neither a file nor a folder".to_owned(),
            ))
        };
        if !going {
            return;
        }
    }
}

fn walk_folder(first: Folder, tell: &mut dyn FnMut(Event) -> bool) -> bool {
    let mut open = vec![first];
    while let Some(mut folder) = open.pop() {
        let names = match names(&folder.path) {
            Ok(names) => names,
            // Others go on working meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                if !tell(Event::NotLooked(folder.path, error.to_string())) {
                    return false;
                }
                continue;
            }
        };
        let has = |name: &str| names.iter().any(|(n, _)| n == name);
        // Files of `exec` and `unseal`: meant to be there, and in memory.
        if folder.system == System::Memory && has("gate") {
            continue;
        }
        let is_repository = has("HEAD") && has("objects") && has("refs");
        if is_repository && !tell(Event::Task(Task::Repository(folder.path.clone()))) {
            return false;
        }
        if has(".git") && matches!(folder.kind, Kind::Other) {
            folder.kind = Kind::Stack;
        }
        for (name, file_type) in names {
            let path = folder.path.join(&name);
            if file_type.is_file() {
                let task = Task::File {
                    kind: kind_of(&path, folder.kind),
                    path,
                    in_memory: folder.system == System::Memory,
                };
                if !tell(Event::Task(task)) {
                    return false;
                }
            } else if file_type.is_dir() && !(is_repository && name == "objects") {
                match below(path.clone(), &folder) {
                    Ok(Some(next)) => open.push(next),
                    Ok(None) => {}
                    Err(why) => {
                        if !tell(Event::NotLooked(path, why)) {
                            return false;
                        }
                    }
                }
            }
        }
    }
    true
}

/// The names in a folder with what each is; what vanished meanwhile is left out.
fn names(path: &Path) -> std::io::Result<Vec<(OsString, std::fs::FileType)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if let Ok(file_type) = entry.file_type() {
            names.push((entry.file_name(), file_type));
        }
    }
    Ok(names)
}

/// A folder in `parent`, unless its file system is none to look at.
fn below(path: PathBuf, parent: &Folder) -> Result<Option<Folder>, String> {
    let device = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => found.dev(),
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let system = if device == parent.device {
        parent.system
    } else {
        system_of(&path)
    };
    match system {
        System::Pseudo => return Ok(None),
        System::Overlay if device != parent.device => return Ok(None),
        System::Remote if device != parent.device => {
            return Err("another machine's file system: name it to have it looked at".to_owned());
        }
        _ => {}
    }
    Ok(Some(Folder {
        kind: parent.kind,
        path,
        device,
        system,
    }))
}

/// Source: Linux, `include/uapi/linux/magic.h`, and the sources of the file systems that are not in it.
#[cfg(target_os = "linux")]
fn system_of(path: &Path) -> System {
    let Ok(found) = rustix::fs::statfs(path) else {
        return System::Disk;
    };
    // Negative where the type is signed and the number has its highest bit set.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the numbers have 32 bits, in a field that differs between machines"
    )]
    let magic = found.f_type as u32;
    match magic {
        0x0102_1994 | 0x8584_58f6 => System::Memory,
        0x794c_7630 => System::Overlay,
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x6573_5546 | 0x0102_1997 | 0x00c3_6400 => {
            System::Remote
        }
        0x9fa0 | 0x6265_6572 | 0x0027_e0eb | 0x6367_7270 | 0x1cd1 | 0x6462_6720 | 0x7472_6163
        | 0x7363_6673 | 0xcafe_4a11 | 0x1980_0202 | 0x6165_676c | 0x6265_6570 | 0x6573_5543
        | 0xde5e_81e4 | 0x9584_58f6 | 0x6e73_6673 | 0x4249_4e4d | 0x0187 | 0x6759_6969
        | 0xf97c_ff8c | 0x4341_5d53 => System::Pseudo,
        _ => System::Disk,
    }
}

#[cfg(not(target_os = "linux"))]
fn system_of(_path: &Path) -> System {
    System::Disk
}
