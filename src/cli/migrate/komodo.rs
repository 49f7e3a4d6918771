//! `cofferdam migrate komodo`: from `pre_deploy = sops-decrypt.sh` to the wrapper.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::collections::BTreeSet;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::init::material::MAX_TEXT;
use crate::cli::project::discover;
use crate::evidence::{DocumentFacts, Sources, compose};
use crate::migration::{Migrated, Stack, migrated};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::Git;
use crate::repo::scan::Scan;
use crate::repo_path::RepoPath;

/// Rewrite Komodo's stacks: `cofferdam exec` around compose in the place of `sops-decrypt.sh` before it.
///
/// Looks at every TOML file with `[[stack]]`. A stack whose `pre_deploy` runs `sops-decrypt.sh` gets `compose_cmd_wrapper` with
/// its include list, and `config_files`, so that a change of a secret alone is deployed; `pre_deploy` goes. Comments and
/// everything else stay. Needs no identity. Nothing is committed: look at `git diff` first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Change nothing; exit with 3 if a stack still leaves plaintext behind, or would not be deployed anew.
    #[arg(long)]
    check: bool,
    /// Go ahead without asking.
    #[arg(short, long, conflicts_with = "check")]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// Exit 3 with `--check` and stacks that leak, or where some are left to a person; exit 1 for a file that is no TOML, cannot
/// be written, or was not confirmed.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let git = discover(&context.directory)?;
    let (files, sources) = material(&git)?;
    let documents = sources.documents.keys().cloned().collect();
    let mut done: Vec<(RepoPath, String, Migrated)> = Vec::new();
    let mut broken = Vec::new();
    for (file, text) in files {
        match migrated(&file, &text, &documents) {
            Ok(migrated) => done.push((file, text, migrated)),
            Err(error) => broken.push(format!("{error}: {}", error.source.message())),
        }
    }
    if !broken.is_empty() {
        return Err(CliError::many(Kind::Failed, broken).hint("nothing was changed"));
    }
    let (mut stacks, mut leaking, mut left) = (0, 0, 0);
    for (file, _, migrated) in &done {
        for stack in &migrated.stacks {
            stacks += 1;
            let heading = format!("{file}:{}: {}", stack.line, stack.name);
            let unseal = to_unseal(stack, &sources);
            if stack.leaks.is_empty() {
                if let Some(unseal) = unseal {
                    context.ui.note(format!("{heading}\n  {unseal}"));
                }
                continue;
            }
            leaking += 1;
            context.ui.answer(heading);
            for leak in &stack.leaks {
                context.ui.answer(format!("  {leak}"));
            }
            if let Some(unseal) = unseal {
                context.ui.answer(format!("  {unseal}"));
            }
            if let Some(why) = &stack.left {
                left += 1;
                context.ui.answer(format!("  left to you: {why}"));
            }
        }
    }
    if leaking == 0 {
        context.ui.note(match stacks {
            0 => "no stack here decrypts anything".to_owned(),
            n => format!("all {n} stacks with secrets get them from memory"),
        });
        return Ok(());
    }
    if args.check {
        return Err(CliError::new(
            Kind::Findings,
            format!("{leaking} of {stacks} stacks with secrets should be migrated"),
        )
        .hint("cofferdam migrate komodo"));
    }
    let changed: Vec<&(RepoPath, String, Migrated)> = done
        .iter()
        .filter(|(_, text, migrated)| *text != migrated.text)
        .collect();
    if !changed.is_empty() {
        let question = format!("\nRewrite {} files?", changed.len());
        if !args.yes && !context.ui.confirm(&question)? {
            return Err(CliError::failed("not confirmed; nothing was changed"));
        }
        for (file, text, migrated) in &changed {
            let path = file.under(git.root());
            atomic_write::replace_expecting(
                &path,
                Some(text.as_bytes()),
                migrated.text.as_bytes(),
                Mode::Keep,
            )
            .map_err(|error| CliError::from_error(&error))?;
        }
        context.ui.note(format!(
            "rewrote {} files for {} stacks; look at git diff, and put cofferdam on each server's PATH before you deploy",
            changed.len(),
            leaking - left
        ));
    }
    if left > 0 {
        return Err(CliError::new(
            Kind::Findings,
            format!("{left} stacks are left to you, as said above"),
        ));
    }
    Ok(())
}

/// Files with their texts.
type Texts = Vec<(RepoPath, String)>;

/// What a stack's host must keep, because containers keep it mounted: `exec` alone refuses to deploy that.
fn to_unseal(stack: &Stack, sources: &Sources) -> Option<String> {
    let mounted: BTreeSet<RepoPath> = stack
        .compose
        .iter()
        .flat_map(|file| compose::mounted(sources, file))
        .collect();
    let names: Vec<&str> = mounted.iter().map(RepoPath::as_str).collect();
    let folders: BTreeSet<String> = mounted
        .iter()
        .map(|document| match document.parent() {
            Some(folder) => format!(" --dir {folder}"),
            None => " --dir .".to_owned(),
        })
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "its containers mount the plaintext of {}: on its host `cofferdam unseal{}` must keep that in memory",
            names.join(", "),
            folders.into_iter().collect::<String>()
        )
    })
}

/// The TOML files with stacks; the compose files and the SOPS documents.
fn material(git: &Git) -> Result<(Texts, Sources), CliError> {
    let scan = Scan::of_repository(git)?;
    let documents = scan.documents.into_iter();
    let mut sources = Sources {
        documents: documents
            .map(|found| (found.path, DocumentFacts::default()))
            .collect(),
        ..Sources::default()
    };
    let mut files = Vec::new();
    for path in scan.others {
        let is_project = [".yaml", ".yml"]
            .iter()
            .any(|end| path.as_str().ends_with(end));
        if !is_project && !path.as_str().ends_with(".toml") {
            continue;
        }
        let file = path.under(git.root());
        let text = match std::fs::metadata(&file).and_then(|found| {
            // Nobody writes a larger one by hand.
            let is_small = found.len() <= MAX_TEXT;
            is_small.then(|| std::fs::read_to_string(&file)).transpose()
        }) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => continue,
            Err(error) => {
                return Err(CliError::failed(format!("cannot read {path}")).caused_by(&error));
            }
        };
        if is_project {
            sources.texts.insert(path, text);
        } else if text.contains("[[stack]]") {
            files.push((path, text));
        }
    }
    Ok((files, sources))
}
