//! `cofferdam leaks`: plaintext copies of the repository's secrets.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: the command line and standard input"
)]

mod print;
mod wanted;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind as ErrorKind};
use crate::leaks::finder::Finder;
use crate::leaks::look;
use crate::leaks::places::{Kind, Spot, usual, without_nested};
use crate::repo::Git;

/// Find plaintext copies of documents' values on this host, or in a stream.
///
/// Looks where plaintext gets left: the repository and its git objects, /etc/komodo, /tmp, what Docker and containerd keep, logs,
/// shell histories, core dumps, services' settings; or only in the PATHS that you name. A value counts from 8 bytes on,
/// with its base64, hexadecimal, URL, JSON and shell forms. What is found is told by document and key, never the value. Run it as
/// root, to see what others own. Exits with 3 when there is a copy.
#[derive(Debug, Args)]
pub struct LeaksArgs {
    /// Files and folders to look in instead of the usual places; `-` for standard input.
    paths: Vec<PathBuf>,
    /// Look in the usual places of the file system below DIR: a backup, another machine's disk.
    #[arg(long, value_name = "DIR", conflicts_with = "paths")]
    root: Option<PathBuf>,
    /// The documents, or folders of documents, whose values are looked for; without it, the working directory's.
    #[arg(long, value_name = "PATH")]
    documents: Vec<PathBuf>,
    /// Also look for values that only earlier versions in git history hold.
    #[arg(long)]
    history: bool,
    /// Also count what may stand there by chance: values that are words, host names, paths or numbers.
    #[arg(long)]
    all: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `cofferdam leaks`.
///
/// # Errors
/// Failure: there is no document, or none that opens; the system's. Exit 3 with a copy.
pub fn run(args: &LeaksArgs, context: &Context) -> Result<(), CliError> {
    #[cfg(target_os = "linux")]
    crate::exec::hardening::harden();
    let is_stream = args.paths.iter().any(|path| path == Path::new("-"));
    if is_stream && args.paths.len() > 1 {
        return Err(
            CliError::usage("`-` stands alone: standard input is looked at by itself")
                .hint("run the command twice"),
        );
    }
    let spots = if is_stream {
        Vec::new()
    } else {
        spots(args, context)?
    };
    let wanted = wanted::gather(&args.documents, args.history, context)?;
    let finder = Finder::new(wanted.secrets);
    let too_short = print::too_short(&finder);
    if finder.is_empty() {
        return Err(CliError::failed(
            "no document that opens holds a value of 8 bytes or more, so nothing could be found",
        ));
    }
    let outcome = if is_stream {
        look::stream(&finder, &mut std::io::stdin().lock())
            .map_err(|e| CliError::failed("cannot read standard input").caused_by(&e))?
    } else {
        context.ui.note(format!(
            "looking for {} values in {}",
            finder.len(),
            print::listed(spots.iter().map(|spot| spot.path.display().to_string()))
        ));
        look::look(&finder, &spots)
    };
    let answer = print::Answer {
        finder: &finder,
        outcome: &outcome,
        spots: &spots,
        too_short: &too_short,
        unopened: &wanted.unopened,
        all: args.all,
    };
    if args.json {
        context
            .ui
            .answer(serde_json::to_string_pretty(&answer.json())?);
    } else {
        let text = answer.text();
        if !text.is_empty() {
            context.ui.answer(text.trim_end());
        }
    }
    for note in answer.notes() {
        context.ui.note(note);
    }
    let count = answer.count();
    if count == 0 {
        return Ok(());
    }
    let copies = if count == 1 {
        "place holds"
    } else {
        "places hold"
    };
    Err(CliError::new(
        ErrorKind::Findings,
        format!("{count} {copies} plaintext of these documents"),
    ))
}

/// Where to look.
fn spots(args: &LeaksArgs, context: &Context) -> Result<Vec<Spot>, CliError> {
    if !args.paths.is_empty() {
        let named = |path: &PathBuf| Spot {
            // Without `.` at the end.
            path: context.resolve(path).components().collect(),
            kind: Kind::Other,
        };
        let spots: Vec<Spot> = args.paths.iter().map(named).collect();
        if let Some(missing) = spots.iter().find(|spot| spot.path.metadata().is_err()) {
            let path = missing.path.display();
            return Err(CliError::failed(format!(
                "cannot look in {path}: it is not there, or cannot be reached"
            )));
        }
        return Ok(without_nested(spots));
    }
    let root = args.root.as_ref().map(|root| context.resolve(root));
    let is_other_root = root.is_some();
    let root = root.unwrap_or_else(|| PathBuf::from("/"));
    if !root.is_dir() {
        return Err(CliError::failed(format!("{} is no folder", root.display())));
    }
    let mut spots = usual(&root);
    if !is_other_root {
        let repository = Git::discover(&context.directory).ok();
        let work_tree = repository
            .as_ref()
            .map_or(context.directory.as_path(), Git::root);
        // The objects of a linked work tree lie elsewhere.
        let objects = repository.as_ref().map(Git::common_dir);
        for path in [Some(work_tree), objects].into_iter().flatten() {
            spots.push(Spot {
                path: path.to_owned(),
                kind: Kind::Stack,
            });
        }
    }
    let spots = without_nested(spots);
    if spots.is_empty() {
        return Err(CliError::failed(format!(
            "below {} there is none of the places where plaintext gets left",
            root.display()
        ))
        .hint("name folders to look in: cofferdam leaks FOLDER"));
    }
    Ok(spots)
}
