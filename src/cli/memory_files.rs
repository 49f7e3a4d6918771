//! What `exec` and `unseal` share: which files belong beside which documents, where they may lie, and what stands in the way.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: resolves folders, and removes what stands where a link belongs"
)]

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::found_plaintext;
use crate::cli::plaintexts::Plaintext;
use crate::exec::Named;
use crate::exec::folder::{self, FolderError};
use crate::exec::links::{self, LinkError, Standing};
use crate::exec::place::{Place, PlaceError};
use crate::exec::resident::Slot;
use crate::keystore::Lookup;
use crate::sops::EmitOptions;

/// The files that belong into one folder.
pub struct Home {
    /// The folder of the documents, without links.
    pub folder: PathBuf,
    /// The plaintexts, by name.
    pub files: Vec<Named>,
    /// The document of each.
    pub documents: Vec<PathBuf>,
}

/// What stands where a link belongs, and may be cleared away.
pub struct Obstacle {
    path: PathBuf,
    kind: Kind,
    /// What the link is to lead to.
    wanted: String,
}

/// What an obstacle is.
enum Kind {
    File,
    Link,
    EmptyFolder,
}

/// How what stands in the way is judged.
pub struct Judge<'a> {
    /// Where files are to be, if that is known.
    pub root: Option<&'a Path>,
    /// It goes, whatever it is.
    pub replace: bool,
    /// To find out whether a file is surely ours.
    pub lookup: &'a Lookup,
    /// How plaintext is printed.
    pub options: &'a EmitOptions,
}

impl Home {
    /// What stands in the way of this folder's links, and the slot whose links stand there already.
    ///
    /// # Errors
    /// Something that may not be cleared away.
    pub fn look(&self, judge: &Judge<'_>) -> Result<(Vec<Obstacle>, Option<Slot>), CliError> {
        let mut obstacles = Vec::new();
        let mut slot = None;
        for (file, document) in self.files.iter().zip(&self.documents) {
            let path = self.folder.join(&file.name);
            let is_ours = || {
                let identities = &judge.lookup.identities;
                found_plaintext::is_decrypted_here(&path, document, identities, judge.options)
            };
            let kind = match links::look(&path, judge.root)? {
                Standing::Nothing | Standing::Ours => continue,
                Standing::Resident(found) => {
                    slot = Some(found);
                    continue;
                }
                Standing::File if judge.replace || is_ours() => Kind::File,
                Standing::Link { .. } if judge.replace => Kind::Link,
                Standing::Folder { is_empty: true } => Kind::EmptyFolder,
                Standing::File => return Err(stands(&LinkError::File { path })),
                Standing::Link { target } => {
                    return Err(stands(&LinkError::Foreign { path, target }));
                }
                Standing::Folder { .. } => return Err(stands(&LinkError::Folder { path })),
            };
            let wanted = format!("the plaintext of {}", file.origin);
            obstacles.push(Obstacle { path, kind, wanted });
        }
        Ok((obstacles, slot))
    }
}

impl Obstacle {
    /// Clears it away, and says so.
    ///
    /// # Errors
    /// The system's.
    pub fn clear(&self, context: &Context) -> Result<(), CliError> {
        let shown = self.path.strip_prefix(&context.directory);
        let shown = shown.unwrap_or(&self.path).display();
        let wanted = &self.wanted;
        let told = match self.kind {
            Kind::File => {
                found_plaintext::wipe(&self.path)?;
                format!("wiped {shown}, a file in the place of {wanted}")
            }
            Kind::Link => {
                std::fs::remove_file(&self.path)?;
                format!("removed {shown}, a link in the place of {wanted}")
            }
            Kind::EmptyFolder => {
                std::fs::remove_dir(&self.path)?;
                format!(
                    "removed {shown}, an empty folder in the place of {wanted}: dockerd makes one where a file is missing"
                )
            }
        };
        context.ui.note(told);
        Ok(())
    }
}

/// The folders of documents, with what belongs into each.
///
/// # Errors
/// Two documents of a folder have one plaintext name, or one's is another document's own.
pub fn homes<'p>(
    plaintexts: impl Iterator<Item = &'p Plaintext>,
    options: &EmitOptions,
) -> Result<Vec<Home>, CliError> {
    let mut homes: Vec<Home> = Vec::new();
    for plaintext in plaintexts {
        let source = &plaintext.source;
        let name = source.plain_name()?;
        let parent = source.path.parent().unwrap_or(Path::new("/"));
        let folder = std::fs::canonicalize(parent).map_err(|e| {
            CliError::failed(format!("cannot resolve {}", parent.display())).caused_by(&e)
        })?;
        let file = Named {
            name,
            origin: source.label.clone(),
            value: plaintext.text(options)?,
        };
        let document = folder.join(source.path.file_name().unwrap_or_default());
        match homes.iter_mut().find(|home| home.folder == folder) {
            Some(home) => {
                if let Some(other) = home.files.iter().find(|other| other.name == file.name) {
                    return Err(CliError::usage(format!(
                        "{} and {} have one plaintext name, {}",
                        other.origin, file.origin, file.name
                    ))
                    .hint(format!("--file {}=NAME", file.origin)));
                }
                home.files.push(file);
                home.documents.push(document);
            }
            None => homes.push(Home {
                folder,
                files: vec![file],
                documents: vec![document],
            }),
        }
    }
    for home in &homes {
        for file in &home.files {
            if home.documents.contains(&home.folder.join(&file.name)) {
                return Err(CliError::usage(format!(
                    "the plaintext of {} would stand in a document's own place",
                    file.origin
                )));
            }
        }
    }
    Ok(homes)
}

/// The place for plaintext, swept; with a warning where it may be swapped.
///
/// # Errors
/// There is none; the one that was named is not in memory, or not private.
pub fn place(root: Option<&Path>, context: &Context) -> Result<Place, CliError> {
    let found = match root {
        Some(root) => Place::named(&context.resolve(root)),
        None => {
            // An earlier run may have had another root.
            for place in Place::all_of_system() {
                if let Err(error) = folder::sweep(&place) {
                    context.ui.warn(&error);
                }
            }
            Place::of_system()
        }
    };
    let place = found.map_err(|error| {
        let failure = CliError::from_error(&error);
        match error {
            PlaceError::None { .. } | PlaceError::NotMemory { .. } => failure
                .hint("mount a tmpfs and name it: --root DIR (in a container: --tmpfs /run/cofferdam:mode=0700)"),
            PlaceError::NotPrivate { .. } | PlaceError::Io { .. } => failure,
        }
    })?;
    if place.may_be_swapped {
        let root = place.root().display();
        context.ui.warn(format!(
            "plaintext in {root} may be written to the swap area: it is a tmpfs without noswap, and swap is on"
        ));
    }
    Ok(place)
}

/// Why files could not be written, and what helps.
pub fn not_written(error: &FolderError) -> CliError {
    match error {
        FolderError::Link(link) => stands(link),
        FolderError::Full { .. } => {
            CliError::from_error(error).hint("give it more: --root DIR, a tmpfs with a larger size")
        }
        _ => CliError::from_error(error),
    }
}

fn stands(error: &LinkError) -> CliError {
    let failure = CliError::from_error(error);
    match error {
        LinkError::File { .. } => failure.hint("look at it; --replace wipes it and goes on"),
        LinkError::Foreign { .. } => failure.hint("--replace removes that link and goes on"),
        LinkError::Folder { .. } => failure.hint("look at what is in it, and move it away"),
        LinkError::Io { .. } => failure.hint(
            "--no-links leaves the folder alone; the program finds the files in $COFFERDAM_DIR",
        ),
    }
}
