//! Files in memory that stay: one folder for each folder of documents, replaced as a whole when a value changes.
//!
//! Below the root, for a folder of documents whose slot is called SLOT:
//!
//! - `SLOT/NAME`, a link to `..data/NAME`; `SLOT/..data`, a link to `..gen.N`; `SLOT/..gen.N/NAME`, the files. Whoever has SLOT
//!   mounted sees new files as soon as `..data` leads to them, all at once. Kubernetes lays out its volumes in this way.
//! - `.resident/SLOT/home`, the folder of the documents, and `.resident/SLOT/links`, the links in it that lead here.
//!
//! The root is for its owner alone. What lies in SLOT is readable by all, for whoever has it mounted may have any user.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: writes and wipes files in memory"
)]

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::exec::Named;
use crate::exec::folder::{self, FolderError, Gate, failed, open_folder};
use crate::exec::generation::{self, DATA, End, GENERATION, make_folder};
use crate::exec::links;
use crate::exec::place::{self, Place};
use crate::secret::SecretBytes;

/// Where it is kept which folder a slot belongs to.
const REGISTER: &str = ".resident";
/// A root, with nobody else changing it.
#[derive(Debug)]
pub struct Resident<'p> {
    place: &'p Place,
    _gate: Gate,
}

/// A folder of documents whose plaintext stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The root that it is in.
    pub root: PathBuf,
    /// Its name.
    pub name: String,
    /// The folder of the documents.
    pub home: PathBuf,
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was not there.
    New,
    /// Its content is another.
    Changed,
    /// It is as it was.
    Same,
    /// It goes.
    Removed,
}

impl Slot {
    /// The folder that programs read, and that can be mounted.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// The slot that a link leads to, if it is one of ours that stands.
    pub fn behind(link: &Path) -> Option<Self> {
        let target = std::fs::read_link(link).ok()?;
        let slot = target.parent()?;
        let name = slot.file_name()?.to_str()?;
        let root = slot.parent().filter(|root| root.is_absolute())?;
        let place = Place::there(root)?;
        read_slot(place.root(), name)
    }

    /// The links that lead here, by the list that is kept.
    pub fn links(&self) -> Vec<PathBuf> {
        folder::read_links(&self.register().join("links"))
    }

    fn register(&self) -> PathBuf {
        self.root.join(REGISTER).join(&self.name)
    }

    fn generation(&self) -> Option<PathBuf> {
        let target = std::fs::read_link(self.path().join(DATA)).ok()?;
        let name = target.to_str()?;
        generation::number(name)?;
        Some(self.path().join(name))
    }

    /// The names of its files.
    pub fn names(&self) -> Vec<String> {
        let Some(generation) = self.generation() else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(generation).into_iter().flatten();
        let mut names: Vec<_> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// What writing these files would change, `kept` being names that stay as they are. By name, each once.
    pub fn changes(&self, files: &[Named], kept: &[String]) -> Vec<(String, Change)> {
        let before = self.names();
        let generation = self.generation();
        let mut changes = Vec::new();
        for file in files {
            let now = generation.as_ref().map(|folder| folder.join(&file.name));
            let change = match now.filter(|_| before.contains(&file.name)) {
                None => Change::New,
                Some(path) if holds(&path, &file.value) => Change::Same,
                Some(_) => Change::Changed,
            };
            changes.push((file.name.clone(), change));
        }
        for name in before {
            if !files.iter().any(|file| file.name == name) {
                let change = if kept.contains(&name) {
                    Change::Same
                } else {
                    Change::Removed
                };
                changes.push((name, change));
            }
        }
        changes.sort();
        changes
    }
}

impl<'p> Resident<'p> {
    /// Waits until nobody else changes the root.
    ///
    /// # Errors
    /// [`FolderError::Busy`]; the system's.
    pub fn enter(place: &'p Place) -> Result<Self, FolderError> {
        let gate = Gate::pass(place.root())?;
        Ok(Self { place, _gate: gate })
    }

    /// Every slot, by name.
    pub fn slots(&self) -> Vec<Slot> {
        slots(self.place)
    }

    /// Writes a generation of exactly these files and those that are `kept` from the one before, and leads to it; says what
    /// changed, by name. Where nothing did, nothing is written.
    ///
    /// # Errors
    /// See [`FolderError`]; the generation before stands then.
    pub fn write(
        &self,
        slot: &Slot,
        files: &[Named],
        kept: &[String],
    ) -> Result<Vec<(String, Change)>, FolderError> {
        names_fit(files)?;
        let path = slot.path();
        make_folder(&slot.root.join(REGISTER), 0o700)?;
        make_folder(&slot.register(), 0o700)?;
        write_file(
            &slot.register().join("home"),
            slot.home.as_os_str().as_bytes(),
        )?;
        make_folder(&path, 0o755)?;
        let folder = open_folder(&path)?;
        if !place::is_memory(&folder) || !place::is_memory(self.place.folder()) {
            return Err(FolderError::NotMemory { path });
        }
        let changes = slot.changes(files, kept);
        let before = slot.generation();
        generation::remove_strays(&path, before.as_deref());
        if before.is_none() || changes.iter().any(|(_, change)| *change != Change::Same) {
            let last = before.as_deref().and_then(Path::file_name);
            let last = last
                .and_then(OsStr::to_str)
                .and_then(generation::number)
                .unwrap_or(0);
            let name = format!("{GENERATION}{}", last + 1);
            let next = path.join(&name);
            let filled = generation::fill(&next, before.as_deref(), files, &changes)
                .and_then(|()| generation::lead(&path, DATA, Path::new(&name)));
            if let Err(error) = filled {
                generation::remove(&next, End::Remove);
                return Err(error);
            }
        }
        for (name, change) in &changes {
            let at = path.join(name);
            if *change == Change::Removed {
                let _ = std::fs::remove_file(&at);
            } else {
                generation::lead(&path, name, &Path::new(DATA).join(name))?;
            }
        }
        if let (Some(before), true) = (&before, slot.generation() != before) {
            // Whoever has one of its files mounted reads on in it: it is not overwritten.
            generation::remove(before, End::Remove);
        }
        Ok(changes)
    }

    /// Puts links to these files into the folder of the documents, over links of ours only, and takes those away that lead to
    /// no file any more.
    ///
    /// # Errors
    /// Something else stands there; the system's.
    pub fn link(&self, slot: &Slot, names: &[String]) -> Result<(), FolderError> {
        let wanted: Vec<_> = names.iter().map(|name| slot.home.join(name)).collect();
        let known = slot.links();
        // Known before they stand, so that no kill leaves one that nobody knows of.
        let all = known
            .iter()
            .chain(wanted.iter().filter(|l| !known.contains(l)));
        write_links(slot, all)?;
        for (link, name) in wanted.iter().zip(names) {
            links::lead(link, &slot.path().join(name), &slot.root)?;
        }
        for link in known.iter().filter(|link| !wanted.contains(link)) {
            links::remove(link, &slot.path());
        }
        write_links(slot, wanted.iter())
    }

    /// Wipes and removes a slot and the links that lead to it.
    ///
    /// # Errors
    /// The system's, where a file could be neither overwritten nor removed; the slot stays known then.
    pub fn wipe(&self, slot: &Slot) -> Result<(), FolderError> {
        for link in slot.links() {
            links::remove(&link, &slot.path());
        }
        let path = slot.path();
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let entry = entry.path();
            let is_link = entry.is_symlink();
            if is_link || !entry.is_dir() {
                let _ = std::fs::remove_file(&entry);
            } else {
                generation::remove(&entry, End::Overwrite);
            }
        }
        match std::fs::remove_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
        for file in ["links", "home"] {
            let _ = std::fs::remove_file(slot.register().join(file));
        }
        let _ = std::fs::remove_dir(slot.register());
        let _ = std::fs::remove_dir(slot.root.join(REGISTER));
        Ok(())
    }

    /// Keeps a text of ours with the root: what is still to be done. Empty removes it.
    ///
    /// # Errors
    /// The system's.
    pub fn keep_note(&self, name: &str, text: &str) -> Result<(), FolderError> {
        let register = self.place.root().join(REGISTER);
        let path = register.join(name);
        if text.is_empty() {
            let _ = std::fs::remove_file(path);
            return Ok(());
        }
        make_folder(&register, 0o700)?;
        write_file(&path, text.as_bytes())
    }

    /// The text that was kept; empty: none.
    pub fn note(&self, name: &str) -> String {
        let path = self.place.root().join(REGISTER).join(name);
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

/// Every slot of a root, by name.
pub fn slots(place: &Place) -> Vec<Slot> {
    let register = place.root().join(REGISTER);
    let entries = std::fs::read_dir(register).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| read_slot(place.root(), entry.file_name().to_str()?))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The name of the slot for a folder, where the user gives none: readable, and its own.
pub fn slot_name(home: &Path) -> String {
    let name = folder::readable_name(home);
    // Hidden folders have names too.
    name.trim_start_matches('.').to_owned()
}

/// Whether a name that the user gives can be a slot's.
pub fn is_slot_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_ours = name == "gate" || name.starts_with("exec.");
    !name.is_empty()
        && name.len() <= 100
        && name.chars().all(fits)
        && !name.starts_with('.')
        && !is_ours
}

/// Whether files of these names can stay.
///
/// # Errors
/// [`FolderError::Name`].
pub fn names_fit(files: &[Named]) -> Result<(), FolderError> {
    match files.iter().find(|file| file.name.starts_with("..")) {
        Some(file) => Err(FolderError::Name {
            name: file.name.clone(),
        }),
        None => Ok(()),
    }
}

fn read_slot(root: &Path, name: &str) -> Option<Slot> {
    let home = std::fs::read(root.join(REGISTER).join(name).join("home")).ok()?;
    is_slot_name(name).then(|| Slot {
        root: root.to_owned(),
        name: name.to_owned(),
        home: PathBuf::from(OsStr::from_bytes(&home)),
    })
}

fn holds(path: &Path, content: &SecretBytes) -> bool {
    std::fs::read(path).is_ok_and(|found| &SecretBytes::new(found) == content)
}

fn write_links<'l>(
    slot: &Slot,
    links: impl Iterator<Item = &'l PathBuf>,
) -> Result<(), FolderError> {
    write_file(&slot.register().join("links"), &folder::link_list(links))
}

/// Replaces a small file of ours in one step.
fn write_file(path: &Path, content: &[u8]) -> Result<(), FolderError> {
    let new = path.with_extension("new");
    std::fs::write(&new, content)
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(failed("write", path))
}
