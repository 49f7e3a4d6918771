//! Which folders of documents are meant, and which slot each has.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: resolves and walks the folders that the user names"
)]

use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::plaintexts::Source;
use crate::exec::place::Place;
use crate::exec::resident::{self, Slot};

/// A folder, and its documents.
pub struct Folder {
    /// Without links.
    pub path: PathBuf,
    /// The name of its slot, if the user gives one.
    pub name: Option<String>,
    /// Its documents; none: whatever stood in its slot goes.
    pub sources: Vec<Source>,
}

impl Folder {
    /// The plaintext names of those among these documents that are in this folder.
    pub fn names<'s>(&self, sources: impl Iterator<Item = &'s Source>) -> Vec<String> {
        sources
            .filter(|source| self.sources.contains(source))
            .filter_map(|source| source.plain_name().ok())
            .collect()
    }

    fn of(given: &Path, name: Option<String>, context: &Context) -> Result<Self, CliError> {
        let path = std::fs::canonicalize(context.resolve(given)).map_err(|e| {
            CliError::failed(format!("cannot resolve the folder {}", given.display())).caused_by(&e)
        })?;
        Ok(Self {
            path,
            name,
            sources: Source::in_folder(given, context)?,
        })
    }
}

/// The folders that the user names; with `all` also those with documents below them, or below the working directory.
///
/// # Errors
/// Usage: a name that can be no slot's, or that two folders have. A folder cannot be read.
pub fn find(dirs: &[String], all: bool, context: &Context) -> Result<Vec<Folder>, CliError> {
    let mut found: Vec<Folder> = Vec::new();
    let mut add = |folder: Folder| -> Result<(), CliError> {
        if let Some(name) = &folder.name
            && let Some(other) = found.iter().find(|other| other.name.as_ref() == Some(name))
            && other.path != folder.path
        {
            return Err(CliError::usage(format!(
                "{} and {} have one name, {name}",
                other.path.display(),
                folder.path.display()
            )));
        }
        if found.iter().all(|other| other.path != folder.path) {
            found.push(folder);
        }
        Ok(())
    };
    for text in dirs {
        let (dir, name) = split(text, context)?;
        add(Folder::of(&dir, name, context)?)?;
        if all {
            below(&dir, context).try_for_each(|dir| add(Folder::of(&dir, None, context)?))?;
        }
    }
    if dirs.is_empty() && all {
        let here = Path::new(".");
        below(here, context).try_for_each(|dir| add(Folder::of(&dir, None, context)?))?;
    }
    Ok(found)
}

/// The slots whose documents are all gone: of folders that are meant, and with `all` of folders that are no more, where they
/// would be below those that the user names.
pub fn gone(
    wanted: &[Folder],
    known: &[Slot],
    dirs: &[String],
    all: bool,
    context: &Context,
) -> Vec<Slot> {
    let here = [".".to_owned()];
    let dirs = if dirs.is_empty() { &here[..] } else { dirs };
    let named = dirs.iter().filter_map(|text| split(text, context).ok());
    let bases: Vec<PathBuf> = named
        .filter_map(|(dir, _)| std::fs::canonicalize(context.resolve(&dir)).ok())
        .collect();
    let is_gone = |slot: &&Slot| {
        let meant = wanted.iter().find(|folder| folder.path == slot.home);
        match meant {
            Some(folder) => folder.sources.is_empty(),
            // Not what lies elsewhere: a file system that is not mounted now has not gone.
            None => {
                let is_below = bases.iter().any(|base| slot.home.starts_with(base));
                all && is_below && !slot.home.is_dir()
            }
        }
    };
    known.iter().filter(is_gone).cloned().collect()
}

/// What is said where no document is meant.
pub fn none(dirs: &[String]) -> CliError {
    let place = match dirs {
        [] => "below the working directory".to_owned(),
        dirs => format!("in {}", dirs.join(", ")),
    };
    CliError::failed(format!("there is no document NAME.sops.EXT {place}"))
}

/// The slot of a folder: the one that its links lead to or that is kept for it, else a new one.
///
/// # Errors
/// Its name is another folder's; the folder has a slot of another name, or in another root.
pub fn slot(
    folder: &Folder,
    stands: Option<Slot>,
    known: &[Slot],
    place: Option<&Place>,
) -> Result<Slot, CliError> {
    let root = place.map(Place::root);
    let shown = folder.path.display();
    let kept = known.iter().find(|slot| slot.home == folder.path).cloned();
    let elsewhere = stands.filter(|slot| Some(slot.root.as_path()) != root);
    if let Some(other) = elsewhere {
        let root = other.root.display();
        return Err(CliError::failed(format!(
            "the plaintext of {shown} is kept in {root} already"
        ))
        .hint(format!("cofferdam unseal --root {root} …"))
        .hint(format!("cofferdam wipe --root {root} --dir {shown}")));
    }
    let name = match (&folder.name, &kept) {
        (Some(name), Some(kept)) if name != &kept.name => {
            return Err(CliError::failed(format!(
                "the plaintext of {shown} is kept under the name {} already",
                kept.name
            ))
            .hint(format!("cofferdam wipe --dir {shown}")));
        }
        (None, Some(kept)) => kept.name.clone(),
        (Some(name), _) => name.clone(),
        (None, None) => resident::slot_name(&folder.path),
    };
    if let Some(other) = known.iter().find(|slot| slot.name == name)
        && other.home != folder.path
    {
        return Err(CliError::failed(format!(
            "the name {name} is that of {} already",
            other.home.display()
        ))
        .hint("choose another one: --dir DIR=NAME"));
    }
    Ok(Slot {
        root: root.unwrap_or(Path::new("")).to_owned(),
        name,
        home: folder.path.clone(),
    })
}

/// `DIR` or `DIR=NAME`; a folder whose own name holds the sign is taken whole.
fn split(text: &str, context: &Context) -> Result<(PathBuf, Option<String>), CliError> {
    let whole = PathBuf::from(text);
    let split = text
        .rsplit_once('=')
        .filter(|_| !context.resolve(&whole).exists());
    let Some((dir, name)) = split else {
        return Ok((whole, None));
    };
    if !resident::is_slot_name(name) {
        return Err(CliError::usage(format!(
            "`{name}` in --dir {text} is no name for a folder in memory"
        ))
        .hint("letters, digits, `-`, `_` and `.`, not at the start"));
    }
    Ok((PathBuf::from(dir), Some(name.to_owned())))
}

/// The folders below one that have documents; links are not followed, and git's own folders not entered.
fn below(dir: &Path, context: &Context) -> impl Iterator<Item = PathBuf> {
    let base = context.resolve(dir);
    let walk = WalkBuilder::new(&base)
        .standard_filters(false)
        .follow_links(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .sort_by_file_name(Ord::cmp)
        .build();
    let folders = walk
        .flatten()
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()))
        .filter(|entry| has_documents(entry.path()));
    let shown = dir.to_owned();
    folders.map(move |entry| match entry.path().strip_prefix(&base) {
        Ok(rest) if rest.as_os_str().is_empty() => shown.clone(),
        Ok(rest) if shown == Path::new(".") => rest.to_owned(),
        Ok(rest) => shown.join(rest),
        Err(_) => entry.path().to_owned(),
    })
}

fn has_documents(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.any(|name| name.contains(".sops."))
}
