//! `cofferdam wipe`: the end of what `unseal` keeps in memory.

use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::CliError;

/// Wipe the plaintext that `cofferdam unseal` keeps in memory, and the links to it.
///
/// It is overwritten and removed, also for containers that have it mounted; what a killed `cofferdam exec` left goes as well.
#[derive(Debug, Args)]
pub struct WipeArgs {
    /// Only that of the documents in this folder; may be given several times.
    #[arg(long, value_name = "DIR")]
    dir: Vec<PathBuf>,
    /// The folder in memory; without it, those that are looked for by `unseal`.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Runs `cofferdam wipe`. Where there is nothing, that is said, and no failure.
///
/// # Errors
/// Refusal: the root that was named is not in memory, or not private. Failure: the system's.
pub fn run(args: &WipeArgs, context: &Context) -> Result<(), CliError> {
    on_linux::run(args, context)
}

#[cfg(not(target_os = "linux"))]
mod on_linux {
    use super::{CliError, Context, WipeArgs};

    pub fn run(_: &WipeArgs, _: &Context) -> Result<(), CliError> {
        Err(CliError::failed(
            "wipe works on Linux only, as `unseal` does",
        ))
    }
}

#[cfg(target_os = "linux")]
mod on_linux {
    #![expect(
        clippy::disallowed_methods,
        reason = "edge: resolves the folders that the user names"
    )]

    use super::{CliError, Context, WipeArgs};
    use crate::cli::error::Kind;
    use crate::cli::memory_files;
    use crate::exec::folder;
    use crate::exec::place::Place;
    use crate::exec::resident::Resident;

    pub fn run(args: &WipeArgs, context: &Context) -> Result<(), CliError> {
        let places = match &args.root {
            Some(root) => {
                let place = Place::found(&context.resolve(root));
                vec![place.map_err(|e| CliError::from_error(&e).with_kind(Kind::Refused))?]
            }
            None => Place::all_of_system(),
        };
        let homes: Vec<_> = args
            .dir
            .iter()
            .map(|dir| {
                let dir = context.resolve(dir);
                // One that is gone is known by its path.
                std::fs::canonicalize(&dir).unwrap_or(dir)
            })
            .collect();
        let mut wiped = 0;
        for place in &places {
            let failed = |error| memory_files::not_written(&error);
            folder::sweep(place).map_err(failed)?;
            let resident = Resident::enter(place).map_err(failed)?;
            for slot in resident.slots() {
                if !homes.is_empty() && !homes.contains(&slot.home) {
                    continue;
                }
                resident.wipe(&slot).map_err(failed)?;
                wiped += 1;
                let (home, path) = (slot.home.display(), slot.path());
                context
                    .ui
                    .answer(format!("wiped {}, of {home}", path.display()));
            }
        }
        if wiped == 0 {
            context.ui.note("nothing is kept in memory here");
        }
        Ok(())
    }
}
