//! `cofferdam exposure`: the burn list.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

mod gather;
mod subjects;

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::{Project, discover, load_ledger};
use crate::exposure::burn_list::{BURN_LIST_PATH, BurnList, BurnState};
use crate::keystore::{self, Surroundings};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::Git;
use crate::report::exposure_text::exposure_text;

/// List the values that retired or compromised identities can still open in git history, and which are still in use.
///
/// Walks every version of every document over all refs. A value counts as replaced only if today's was compared with all
/// that could be read; without an identity that opens them, it is assumed to be in use. Changes nothing without --record.
#[derive(Debug, clap::Args)]
pub struct ExposureArgs {
    /// Identities, by id or recipient; without any, all that the ledger calls retiring, retired or compromised.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Ask for the identities in FILE, whether the ledger knows them or not; may be given several times.
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    /// Write what was found into .cofferdam/burn-list.toml, for you to commit.
    #[arg(long)]
    record: bool,
    /// Exit with 3 while a value is neither replaced nor accepted.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
///
/// # Errors
/// Usage: an identity that nobody knows. Exit 3 with `--check` while something is open.
pub fn run(args: &ExposureArgs, context: &Context) -> Result<(), CliError> {
    let git = discover(&context.directory)?;
    let ledger = load_ledger(git.root())?;
    let list = load_list(&git)?;
    let surroundings = Surroundings::of_process();
    let lookup = keystore::look_up(&surroundings);
    for warning in &lookup.warnings {
        context.ui.warn(warning);
    }
    let files: Vec<PathBuf> = args.identity.iter().map(|p| context.resolve(p)).collect();
    let subjects = subjects::find(&subjects::Wanted {
        ids: &args.ids,
        files: &files,
        ledger: &ledger,
        sealed: &sealed_folder(&git),
        at_hand: &lookup.identities,
        surroundings: &surroundings,
    })?;
    if subjects.is_empty() {
        if args.json {
            context
                .ui
                .answer(r#"{"leaves": [], "comments": [], "notes": [], "open": 0}"#);
        } else {
            context
                .ui
                .note("the ledger has no retiring, retired or compromised identity");
        }
        return Ok(());
    }
    let exposure = gather::exposure(&git, &subjects, &lookup.identities, context)?;
    let now = Timestamp::now();
    let list = if args.record {
        let updated = list.updated(&exposure, now);
        let path = git.root().join(BURN_LIST_PATH);
        if let Some(folder) = path.parent() {
            atomic_write::create_folder(folder, 0o755).map_err(|e| CliError::from_error(&e))?;
        }
        atomic_write::replace(
            &path,
            updated
                .to_text()
                .map_err(|e| CliError::from_error(&e))?
                .as_bytes(),
            Mode::Keep,
        )
        .map_err(|e| CliError::from_error(&e))?;
        updated
    } else {
        list
    };
    let open = exposure
        .leaves
        .iter()
        .filter(|leaf| list.state(leaf, now) == BurnState::Open)
        .count();
    if args.json {
        let mut value = serde_json::to_value(&exposure)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("open".to_owned(), json!(open));
        }
        context.ui.answer(serde_json::to_string_pretty(&value)?);
    } else {
        let names: Vec<String> = subjects.iter().map(|s| s.name.clone()).collect();
        let text = exposure_text(&names, &exposure, &list, now);
        context.ui.answer(text.trim_end());
    }
    if args.record {
        context.ui.note(format!(
            "wrote {BURN_LIST_PATH}: git add {BURN_LIST_PATH} && git commit"
        ));
    }
    if args.check && open > 0 {
        return Err(CliError::new(
            Kind::Findings,
            format!("{open} exposed values are neither replaced nor accepted"),
        )
        .hint("change each at its issuer and in its document (sops edit FILE), then: cofferdam exposure --record"));
    }
    Ok(())
}

fn load_list(git: &Git) -> Result<BurnList, CliError> {
    match std::fs::read_to_string(git.root().join(BURN_LIST_PATH)) {
        Ok(text) => BurnList::parse(&text).map_err(|e| CliError::from_error(&e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BurnList::new()),
        Err(e) => Err(CliError::failed(format!("cannot read {BURN_LIST_PATH}")).caused_by(&e)),
    }
}

/// The folder of sealed identities; the default where there is no usable topology.
fn sealed_folder(git: &Git) -> PathBuf {
    let topology = crate::cli::project::load_topology(git.root());
    let folder = topology.map_or_else(|_| ".cofferdam/sealed".to_owned(), |t| t.sealed_folder);
    git.root().join(folder)
}

/// Lists at the end of a run what whoever took these identities can go on reading; says nothing where it cannot be told.
pub fn tell(project: &Project, ids: &[String], context: &Context) {
    if ids.is_empty() || context.ui.is_quiet() {
        return;
    }
    let (Ok(ledger), Ok(list)) = (load_ledger(&project.root), load_list(&project.git)) else {
        return;
    };
    let known: Vec<String> = ids
        .iter()
        .filter(|id| ledger.record(id).is_some())
        .cloned()
        .collect();
    let subjects = subjects::find(&subjects::Wanted {
        ids: &known,
        files: &[],
        ledger: &ledger,
        sealed: &project.sealed(),
        at_hand: &project.lookup.identities,
        surroundings: &Surroundings::of_process(),
    });
    let Ok(subjects) = subjects else { return };
    if let Ok(exposure) =
        gather::exposure(&project.git, &subjects, &project.lookup.identities, context)
        && !exposure.leaves.is_empty()
    {
        let names: Vec<String> = subjects.iter().map(|s| s.name.clone()).collect();
        let text = exposure_text(&names, &exposure, &list, Timestamp::now());
        context.ui.note(format!("\n{}", text.trim_end()));
        context
            .ui
            .note("\nkeep this list with: cofferdam exposure --record");
    }
}
