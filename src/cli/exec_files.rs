//! The files of `exec`: whose folder each belongs to, what stands in its place now, and how long it stays.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: resolves folders, and removes a link that stands in the way"
)]

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::found_plaintext;
use crate::cli::plaintexts::Plaintext;
use crate::exec::Named;
use crate::exec::folder::{self, Folder, FolderError};
use crate::exec::links::{self, LinkError, Standing};
use crate::exec::place::{Place, PlaceError};
use crate::keystore::Lookup;
use crate::sops::EmitOptions;

/// The files that belong into one folder.
struct Home {
    folder: PathBuf,
    files: Vec<Named>,
    /// The document of each.
    documents: Vec<PathBuf>,
}

/// Files that are about to be written.
pub struct Files {
    place: Place,
    homes: Vec<Home>,
    with_links: bool,
}

/// How files are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wishes<'a> {
    /// The root that the user names.
    pub root: Option<&'a Path>,
    /// Wipe what stands in a link's place, whatever it is.
    pub replace: bool,
    /// Put links into the folders of the documents.
    pub with_links: bool,
}

impl Files {
    /// Finds a place, and makes room for the links: a plaintext file that is surely ours is wiped, and that is said.
    ///
    /// # Errors
    /// There is no place; two documents have one name; something stands in the way. Nothing is changed then.
    pub fn prepare<'p>(
        plaintexts: impl Iterator<Item = &'p Plaintext>,
        wishes: Wishes<'_>,
        options: &EmitOptions,
        lookup: &Lookup,
        context: &Context,
    ) -> Result<Self, CliError> {
        let homes = homes(plaintexts, options)?;
        let place = place(wishes.root, context)?;
        let mut in_the_way = Vec::new();
        if wishes.with_links {
            for home in &homes {
                for (file, document) in home.files.iter().zip(&home.documents) {
                    let link = home.folder.join(&file.name);
                    let below = folder::target_below_root(&home.folder, &file.name);
                    let standing = links::look(&link, &below)?;
                    let ours = || {
                        let identities = &lookup.identities;
                        found_plaintext::is_decrypted_here(&link, document, identities, options)
                    };
                    let told = format!("the plaintext of {}", file.origin);
                    match standing {
                        Standing::Nothing | Standing::Ours => {}
                        Standing::File if wishes.replace || ours() => {
                            in_the_way.push((link, true, told));
                        }
                        Standing::Link { .. } if wishes.replace => {
                            in_the_way.push((link, false, told));
                        }
                        Standing::File => return Err(stands(&LinkError::File { path: link })),
                        Standing::Link { target } => {
                            return Err(stands(&LinkError::Foreign { path: link, target }));
                        }
                        Standing::Folder => return Err(stands(&LinkError::Folder { path: link })),
                    }
                }
            }
        }
        for (path, is_file, told) in in_the_way {
            let shown = path.strip_prefix(&context.directory).unwrap_or(&path);
            if is_file {
                found_plaintext::wipe(&path)?;
                let shown = shown.display();
                context
                    .ui
                    .note(format!("wiped {shown}, a file in the place of {told}"));
            } else {
                std::fs::remove_file(&path)?;
                let shown = shown.display();
                context
                    .ui
                    .note(format!("removed {shown}, a link in the place of {told}"));
            }
        }
        Ok(Self {
            place,
            homes,
            with_links: wishes.with_links,
        })
    }

    /// Writes them; `entered` is called with each folder as soon as it stands.
    ///
    /// # Errors
    /// The memory is full; something came into the way; the system's. Nothing is left then.
    pub fn write(self, mut entered: impl FnMut(&Folder)) -> Result<Vec<Folder>, CliError> {
        let mut folders = Vec::new();
        for home in self.homes {
            let folder = Folder::enter(&self.place, &home.folder, &home.files, self.with_links);
            let folder = folder.map_err(|error| match &error {
                FolderError::Link(link) => stands(link),
                FolderError::Full { .. } => CliError::from_error(&error)
                    .hint("give it more: --root DIR, a tmpfs with a larger size"),
                _ => CliError::from_error(&error),
            })?;
            entered(&folder);
            folders.push(folder);
        }
        Ok(folders)
    }
}

fn homes<'p>(
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
fn place(root: Option<&Path>, context: &Context) -> Result<Place, CliError> {
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

fn stands(error: &LinkError) -> CliError {
    let failure = CliError::from_error(error);
    match error {
        LinkError::File { .. } => failure.hint("look at it; --replace wipes it and goes on"),
        LinkError::Foreign { .. } => failure.hint("--replace removes that link and goes on"),
        LinkError::Folder { path } => failure.hint(format!("rmdir {}", path.display())),
        LinkError::Io { .. } => failure.hint(
            "--no-links leaves the folder alone; the program finds the files in $COFFERDAM_DIR",
        ),
    }
}
