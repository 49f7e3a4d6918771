//! The files of `exec`, and how long they stay: for the run, or as long as `unseal` keeps them.

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::memory_files::{self, Home, Judge};
use crate::cli::plaintexts::Plaintext;
use crate::exec::Named;
use crate::exec::folder::Folder;
use crate::exec::place::Place;
use crate::exec::resident::{Change, Resident, Slot};
use crate::keystore::Lookup;
use crate::sops::EmitOptions;

/// Files that are about to be written.
pub struct Files {
    /// None where all of them stay.
    place: Option<Place>,
    homes: Vec<Home>,
    /// Folders whose links lead to files that stay.
    resident: Vec<(Slot, Home)>,
    with_links: bool,
}

/// Files that stand.
#[derive(Default)]
pub struct Written {
    /// Those that go with the run.
    pub folders: Vec<Folder>,
    /// Where all of them are, a folder each.
    pub paths: Vec<PathBuf>,
    /// Folders of documents where links stand that go with the run.
    pub linked: Vec<PathBuf>,
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
        let mut homes = Vec::new();
        let mut resident = Vec::new();
        let mut obstacles = Vec::new();
        let root = wishes.root.map(|root| context.resolve(root));
        let judge = Judge {
            root: root.as_deref(),
            replace: wishes.replace,
            lookup,
            options,
        };
        for home in memory_files::homes(plaintexts, options)? {
            if !wishes.with_links {
                homes.push(home);
                continue;
            }
            let (found, slot) = home.look(&judge)?;
            obstacles.extend(found);
            match slot {
                Some(slot) => resident.push((slot, home)),
                None => homes.push(home),
            }
        }
        let place = (!homes.is_empty())
            .then(|| memory_files::place(wishes.root, context))
            .transpose()?;
        for obstacle in obstacles {
            obstacle.clear(context)?;
        }
        Ok(Self {
            place,
            homes,
            resident,
            with_links: wishes.with_links,
        })
    }

    /// Every file, with the folder of its document.
    pub fn all(&self) -> impl Iterator<Item = (&Path, &Named)> {
        let resident = self.resident.iter().map(|(_, home)| home);
        let homes = self.homes.iter().chain(resident);
        homes.flat_map(|home| home.files.iter().map(|file| (home.folder.as_path(), file)))
    }

    /// Writes them; `entered` is called with each folder that goes with the run as soon as it stands.
    ///
    /// # Errors
    /// The memory is full; something came into the way; the system's. Nothing but what stays is left then.
    pub fn write(
        self,
        context: &Context,
        mut entered: impl FnMut(&Folder),
    ) -> Result<Written, CliError> {
        let mut written = Written::default();
        for (slot, home) in self.resident {
            bring_up_to_date(&slot, &home, context)?;
            written.paths.push(slot.path());
        }
        for home in self.homes {
            let Some(place) = &self.place else { continue };
            let folder = Folder::enter(place, &home.folder, &home.files, self.with_links)
                .map_err(|error| memory_files::not_written(&error))?;
            entered(&folder);
            written.paths.push(folder.files());
            written.folders.push(folder);
            if self.with_links {
                written.linked.push(home.folder);
            }
        }
        Ok(written)
    }
}

/// Files that stay have today's values before a program relies on them.
fn bring_up_to_date(slot: &Slot, home: &Home, context: &Context) -> Result<(), CliError> {
    let failed = |error| memory_files::not_written(&error);
    let Some(place) = Place::there(&slot.root) else {
        return Err(
            CliError::failed(format!("{} is not in memory any more", slot.root.display()))
                .hint("cofferdam unseal"),
        );
    };
    let resident = Resident::enter(&place).map_err(failed)?;
    // Other documents' files are not this run's to take away.
    let changes = resident
        .write(slot, &home.files, &slot.names())
        .map_err(failed)?;
    let names: Vec<String> = changes.iter().map(|(name, _)| name.clone()).collect();
    resident.link(slot, &names).map_err(failed)?;
    for (name, change) in changes {
        if matches!(change, Change::New | Change::Changed) {
            let path = slot.path().join(name);
            context
                .ui
                .note(format!("brought up to date: {}", path.display()));
        }
    }
    Ok(())
}
