//! `cofferdam why`: who opens a file and why not, what a reader holds and what it lacks.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

mod file;
mod reader;

use std::path::Path;

use serde::Serialize;

use crate::cli::check::gather;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::project::{load_ledger, load_topology};
use crate::keys::Recipient;
use crate::keystore::{Lookup, Outcome, Surroundings, look_up};
use crate::ledger::Ledger;
use crate::repo_path::RepoPath;
use crate::report::why_text::why_text;
use crate::topology::Topology;

/// Say who opens a file, or what a host or cluster can open, and the first step that is missing.
///
/// Of a file: the rule that matches it, who opens it by name, every place where an identity was looked for, and what was
/// there. Of a host or cluster: its identity, its documents, and what was shown of them. Changes nothing and prints no
/// value.
#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// A file, or a host or cluster of cofferdam.toml.
    #[arg(value_name = "FILE|HOST")]
    target: String,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// An answer.
#[derive(Debug, Default, Serialize)]
pub struct Why {
    /// What was asked about.
    pub about: String,
    /// What is known of it: a word and its lines.
    pub known: Vec<(&'static str, Vec<String>)>,
    /// The steps that are missing, the first one first; each with what to do.
    pub missing: Vec<Missing>,
}

/// One step that is missing.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// What is not there.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Why {
    fn know(&mut self, word: &'static str, lines: Vec<String>) {
        if !lines.is_empty() {
            self.known.push((word, lines));
        }
    }

    fn lacks(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.missing.push(Missing {
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}

/// Runs the command.
///
/// # Errors
/// Usage: what is neither a file nor a reader. A damaged `cofferdam.toml` or ledger.
pub fn run(args: &WhyArgs, context: &Context) -> Result<(), CliError> {
    let (root, _) = gather::root(context)?;
    let topology = if root.join(crate::apply::TOPOLOGY_PATH).exists() {
        Some(load_topology(&root)?)
    } else {
        None
    };
    let ledger = load_ledger(&root)?;
    let scene = Scene {
        root: &root,
        topology: topology.as_ref(),
        ledger: &ledger,
    };
    let named = context.resolve(Path::new(&args.target));
    let why = if named.is_file() {
        let path = crate::cli::document_flags::clean(&named);
        let path = path.strip_prefix(&root).ok().map(RepoPath::from_path);
        let Some(Ok(path)) = path else {
            return Err(CliError::usage(format!(
                "{} lies outside of the repository at {}",
                args.target,
                root.display()
            )));
        };
        let lookup = look_up(&Surroundings::of_process());
        for warning in &lookup.warnings {
            context.ui.warn(warning);
        }
        file::why(&scene, &path, &lookup)?
    } else {
        let reader = topology
            .as_ref()
            .and_then(|t| reader::find(t, &args.target));
        let Some(reader) = reader else {
            return Err(unknown(&args.target, topology.as_ref()));
        };
        reader::why(&scene, reader)?
    };
    if args.json {
        let known: serde_json::Map<String, serde_json::Value> = why
            .known
            .iter()
            .map(|(word, lines)| ((*word).to_owned(), serde_json::json!(lines)))
            .collect();
        let value = serde_json::json!({
            "about": why.about,
            "known": known,
            "missing": why.missing,
        });
        context.ui.answer(serde_json::to_string_pretty(&value)?);
    } else {
        let missing: Vec<(&str, &str)> = why
            .missing
            .iter()
            .map(|m| (m.what.as_str(), m.remedy.as_str()))
            .collect();
        context
            .ui
            .answer(why_text(&why.about, &why.known, &missing).trim_end());
    }
    Ok(())
}

fn unknown(target: &str, topology: Option<&Topology>) -> CliError {
    let error = CliError::usage(format!(
        "there is no file {target}, and no host or cluster of that name"
    ));
    let names: Vec<&str> = topology.map_or_else(Vec::new, |topology| {
        let hosts = topology.hosts.iter().map(|h| h.name.as_str());
        hosts
            .chain(topology.clusters.iter().map(|c| c.name.as_str()))
            .collect()
    });
    if names.is_empty() {
        error.hint("name a file; readers are known once there is a cofferdam.toml: cofferdam init")
    } else {
        error.hint(format!("there are {}", names.join(", ")))
    }
}

/// What every answer is told from.
struct Scene<'a> {
    root: &'a Path,
    topology: Option<&'a Topology>,
    ledger: &'a Ledger,
}

impl Scene<'_> {
    /// Who holds a recipient's identity, for people.
    fn holder(&self, recipient: &Recipient) -> Option<String> {
        let always = self.topology.map(Topology::always).unwrap_or_default();
        if let Some((_, holder)) = always.iter().find(|(known, _)| *known == recipient) {
            return Some(holder.clone());
        }
        if let Some(record) = self.ledger.record_of(recipient) {
            return Some(format!(
                "{}, {}, {}",
                record.id, record.holder, record.state
            ));
        }
        let adopted = self.topology.map(Topology::adopted).unwrap_or_default();
        let mut adopted = adopted.iter().filter(|(_, _, known)| *known == recipient);
        let (kind, name, _) = adopted.next()?;
        Some(format!("which {kind} {name} adopts with the next run"))
    }
}

/// Every place that was looked at, one line each.
fn places(lookup: &Lookup) -> Vec<String> {
    let late = lookup.identities.failures();
    let line = |source: &crate::keystore::Source| {
        let failed = late.iter().find(|(name, _)| *name == source.name);
        let outcome = match (&source.outcome, failed) {
            (_, Some((_, reason))) | (Outcome::Failed { reason }, None) => {
                format!("of no use: {reason}")
            }
            (Outcome::Read { identities: 1 }, None) => "1 identity".to_owned(),
            (Outcome::Read { identities }, None) => format!("{identities} identities"),
            (Outcome::OnDemand, None) => "read when needed".to_owned(),
            (Outcome::Absent, None) => "not there".to_owned(),
        };
        format!("{}: {outcome}", source.name)
    };
    lookup.sources.iter().map(line).collect()
}
