//! What is new since the last run here is confirmed by name (protocol rule 22): `--yes` means the plan that was made before,
//! not whatever a merged pull request makes Cofferdam run, reach or trust.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::path::PathBuf;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::Git;
use crate::topology::{Baseline, Topology, TrustedFact};

/// Whose new commands, addresses and recipients are confirmed.
#[derive(Debug, Default, clap::Args)]
pub struct AcceptArgs {
    /// Accept what is new about NAME since the last run here: a host, cluster or operator, `recovery`, `gate`, or `publish` for its commands.
    #[arg(long, value_name = "NAME")]
    accept: Vec<String>,
}

/// Asks for what is new since the last run of this clone, and remembers it. Without an earlier run there is nothing to compare
/// with, and nothing is asked.
///
/// # Errors
/// Something new was not accepted, and there is nobody to ask.
pub fn confirm(
    git: &Git,
    topology: &Topology,
    args: &AcceptArgs,
    context: &Context,
) -> Result<(), CliError> {
    let path = file(git);
    let now = Baseline::of(topology);
    let earlier = match std::fs::read(&path) {
        // One that cannot be read trusts nothing.
        Ok(bytes) => Some(serde_json::from_slice::<Baseline>(&bytes).unwrap_or_default()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => {
            return Err(CliError::failed(format!("cannot read {}", path.display())).caused_by(&e));
        }
    };
    if let Some(earlier) = &earlier {
        let new: Vec<&TrustedFact> = now
            .since(earlier)
            .into_iter()
            .filter(|fact| !args.accept.contains(&fact.name))
            .collect();
        ask(&new, context)?;
    }
    if earlier.as_ref() == Some(&now) {
        return Ok(());
    }
    let fail = |e: &dyn std::error::Error| {
        CliError::failed("cannot remember what was confirmed").caused_by(e)
    };
    if let Some(folder) = path.parent() {
        atomic_write::create_folder(folder, 0o700).map_err(|e| fail(&e))?;
    }
    let text = serde_json::to_vec_pretty(&now)?;
    atomic_write::replace(&path, &text, Mode::Keep).map_err(|e| fail(&e))
}

fn ask(new: &[&TrustedFact], context: &Context) -> Result<(), CliError> {
    if new.is_empty() {
        return Ok(());
    }
    if context.ui.can_ask() {
        context
            .ui
            .note("new in cofferdam.toml since the last run here:");
        for fact in new {
            context.ui.note(format!("  {}: {}", fact.name, fact.text));
        }
        return match context.ui.confirm("Is this as you want it?")? {
            true => Ok(()),
            false => Err(CliError::failed("not confirmed; nothing was changed")),
        };
    }
    let mut names: Vec<&str> = new.iter().map(|fact| fact.name.as_str()).collect();
    names.dedup();
    let flags: Vec<String> = names
        .iter()
        .map(|name| format!("--accept {name}"))
        .collect();
    Err(CliError::many(
        Kind::Failed,
        new.iter().map(|fact| {
            format!(
                "new in cofferdam.toml since the last run here: {}: {}",
                fact.name, fact.text
            )
        }),
    )
    .hint(format!(
        "git log -p -- cofferdam.toml shows who wrote it; if it is as you want it, run this again with {}",
        flags.join(" ")
    )))
}

/// Beside git's own files: not in the work tree, where a pull request could bring it along.
fn file(git: &Git) -> PathBuf {
    git.common_dir().join("cofferdam/confirmed.json")
}
