//! `cofferdam unseal`: plaintext in memory that stays, for containers and services that read it while they run.

#[cfg(target_os = "linux")]
mod folders;
#[cfg(target_os = "linux")]
mod on_change;
#[cfg(target_os = "linux")]
mod outcome;
#[cfg(target_os = "linux")]
mod stopped;

use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::CliError;

/// Keep decrypted files in memory, for programs that read them while they run.
///
/// Each NAME.sops.EXT in the folder becomes NAME.EXT in memory, and a link to it stands beside the document until
/// `cofferdam wipe` or the machine's next start. Run again, it replaces all files of a folder in one step if a value
/// changed, and nothing otherwise: a container that has the folder in memory mounted sees the new files at once.
///
/// A folder that is in no memory is refused with exit code 125.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct UnsealArgs {
    /// The documents NAME.sops.EXT in this folder; =NAME names its folder in memory. May be given several times.
    #[arg(long, value_name = "DIR[=NAME]", group = "what")]
    dir: Vec<String>,
    /// Also every folder below (without --dir: below the working directory) whose documents open here.
    #[arg(long, group = "what")]
    all: bool,
    /// The folder for the files: a tmpfs or ramfs that is yours alone.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Wipe a file, or remove a link, that stands where a link to plaintext belongs.
    #[arg(long)]
    replace: bool,
    /// Put no links beside the documents.
    #[arg(long)]
    no_links: bool,
    /// When a file changed (GLOB over DIR/NAME.EXT; without it any file), do this once: unit:NAME reloads or restarts a
    /// systemd unit, container:NAME restarts a container that runs, run:COMMAND runs a command. May be given several
    /// times.
    #[arg(long, value_name = "[GLOB=]ACTION")]
    on_change: Vec<String>,
    /// Start containers that stopped because a file of these was missing.
    #[arg(long)]
    start: bool,
    /// Print what would change and what would be done; do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `cofferdam unseal`.
///
/// # Errors
/// Refusal: there is no memory for plaintext, or the folder that was named is none. Failure: a document does not open,
/// something stands in a link's place, an action failed. With `--all` the other folders are done all the same.
pub fn run(args: &UnsealArgs, context: &Context) -> Result<(), CliError> {
    on_linux::run(args, context)
}

#[cfg(not(target_os = "linux"))]
mod on_linux {
    use super::{CliError, Context, UnsealArgs};

    pub fn run(_: &UnsealArgs, _: &Context) -> Result<(), CliError> {
        Err(CliError::failed(
            "unseal works on Linux only: other systems have no memory-backed folders that it could verify",
        ))
    }
}

#[cfg(target_os = "linux")]
mod on_linux {
    use super::folders::{self, Folder};
    use super::on_change::{Due, Rules};
    use super::outcome::Outcome;
    use super::stopped;
    use super::{CliError, Context, UnsealArgs};
    use crate::cli::document_flags;
    use crate::cli::error::Kind;
    use crate::cli::memory_files::{self, Home, Judge, Obstacle};
    use crate::cli::plaintexts;
    use crate::exec::folder::FolderError;
    use crate::exec::hardening;
    use crate::exec::place::Place;
    use crate::exec::resident::{self, Change, Resident, Slot};

    pub fn run(args: &UnsealArgs, context: &Context) -> Result<(), CliError> {
        let rules = Rules::parse(&args.on_change)?;
        let wanted = folders::find(&args.dir, args.all, context)?;
        unseal(args, &rules, &wanted, context)
    }

    /// A folder about to be written.
    struct Job {
        home: Home,
        slot: Slot,
        /// Files of documents that do not open here now, or not any more.
        kept: Vec<String>,
        obstacles: Vec<Obstacle>,
    }

    fn unseal(
        args: &UnsealArgs,
        rules: &Rules,
        wanted: &[Folder],
        context: &Context,
    ) -> Result<(), CliError> {
        hardening::harden();
        let place = place(args, context)?;
        let known = place.as_ref().map(resident::slots).unwrap_or_default();
        let gone = folders::gone(wanted, &known, &args.dir, args.all, context);
        let sources: Vec<_> = wanted.iter().flat_map(|f| f.sources.clone()).collect();
        if sources.is_empty() && gone.is_empty() {
            return Err(folders::none(&args.dir));
        }
        let (plaintexts, unopened, lookup) = plaintexts::open_each(sources, context)?;
        let (foreign, failed): (Vec<_>, Vec<_>) = unopened
            .into_iter()
            .partition(|(_, error)| args.all && document_flags::is_not_for_us(error));
        if !failed.is_empty() && !args.all {
            return Err(plaintexts::not_opened(failed, &lookup));
        }
        if plaintexts.is_empty() && gone.is_empty() && failed.is_empty() {
            return Err(plaintexts::not_opened(foreign, &lookup));
        }
        let options = document_flags::printing(context)?;
        let judge = Judge {
            root: place.as_ref().map(Place::root),
            replace: args.replace,
            lookup: &lookup,
            options: &options,
        };
        let mut problems = Vec::new();
        let mut jobs = Vec::new();
        for folder in wanted {
            let shut = failed.iter().chain(&foreign).map(|(source, _)| source);
            let kept = folder.names(shut);
            let opened = plaintexts
                .iter()
                .filter(|plaintext| folder.sources.contains(&plaintext.source));
            let job = memory_files::homes(opened, &options).and_then(|mut homes| {
                let Some(home) = homes.pop() else {
                    return Ok(None);
                };
                resident::names_fit(&home.files).map_err(|e| memory_files::not_written(&e))?;
                let (obstacles, stands) = match args.no_links {
                    true => (Vec::new(), None),
                    false => home.look(&judge)?,
                };
                let slot = folders::slot(folder, stands, &known, place.as_ref())?;
                Ok(Some(Job {
                    home,
                    slot,
                    kept,
                    obstacles,
                }))
            });
            match job {
                Ok(job) => jobs.extend(job),
                Err(error) if args.all => problems.push(error),
                Err(error) => return Err(error),
            }
        }
        let mut outcome = Outcome {
            is_dry: args.dry_run,
            for_others: foreign.len(),
            ..Outcome::default()
        };
        let mut due = Due::default();
        for job in &jobs {
            let changes = job.slot.changes(&job.home.files, &job.kept);
            // What a folder holds when the machine starts is no change.
            if known.contains(&job.slot) {
                due.add(rules, &context.directory, &job.home.folder, &changes);
            }
            outcome.folders.push((job.slot.clone(), changes));
        }
        for slot in &gone {
            let changes = slot.changes(&[], &[]);
            due.add(rules, &context.directory, &slot.home, &changes);
            outcome.folders.push((slot.clone(), changes));
        }
        if let Some(place) = place.filter(|_| !args.dry_run) {
            let not_written = |error: FolderError| memory_files::not_written(&error);
            let resident = Resident::enter(&place).map_err(not_written)?;
            due.take_over(rules, &resident.note(PENDING), context);
            let left = due.to_text();
            resident.keep_note(PENDING, &left).map_err(not_written)?;
            for job in &jobs {
                if let Err(error) = job.write(&resident, args.no_links, context) {
                    if !args.all {
                        return Err(error);
                    }
                    problems.push(error);
                }
            }
            for slot in &gone {
                resident.wipe(slot).map_err(not_written)?;
            }
            drop(resident);
            // Values are not needed any more, and actions may take long.
            drop((jobs, plaintexts));
            problems.extend(due.run(&outcome.changed(), context, |left| {
                let resident = Resident::enter(&place).map_err(not_written)?;
                resident.keep_note(PENDING, left).map_err(not_written)
            }));
            problems.extend(stopped::look_after(&mut outcome, args.start, context));
        }
        outcome.actions = due.actions();
        outcome.print(args.json, context)?;
        if !failed.is_empty() {
            problems.push(plaintexts::not_opened(failed, &lookup));
        }
        let last = problems.pop();
        for problem in problems {
            context.ui.failure(&problem);
        }
        last.map_or(Ok(()), Err)
    }

    impl Job {
        fn write(
            &self,
            resident: &Resident<'_>,
            no_links: bool,
            context: &Context,
        ) -> Result<(), CliError> {
            let not_written = |error: FolderError| memory_files::not_written(&error);
            for obstacle in &self.obstacles {
                obstacle.clear(context)?;
            }
            let changes = resident
                .write(&self.slot, &self.home.files, &self.kept)
                .map_err(not_written)?;
            let stay = changes
                .into_iter()
                .filter(|(_, change)| !no_links && *change != Change::Removed);
            let names: Vec<String> = stay.map(|(name, _)| name).collect();
            resident.link(&self.slot, &names).map_err(not_written)
        }
    }

    /// The root; for a dry run as it is, without making one.
    fn place(args: &UnsealArgs, context: &Context) -> Result<Option<Place>, CliError> {
        if !args.dry_run {
            let refused = |error: CliError| error.with_kind(Kind::Refused);
            let place = memory_files::place(args.root.as_deref(), context).map_err(refused)?;
            place
                .close()
                .map_err(|error| refused(CliError::from_error(&error)))?;
            return Ok(Some(place));
        }
        Ok(match &args.root {
            Some(root) => Place::there(&context.resolve(root)),
            None => Place::all_of_system().into_iter().next(),
        })
    }

    /// The note of what is still to be done.
    const PENDING: &str = "pending";
}
