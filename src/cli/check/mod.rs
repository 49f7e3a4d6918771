//! `cofferdam check`: policies over the repository.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

mod fix;
pub mod gather;
mod since;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::cli::check::gather::Tree;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::policy::baseline::BASELINE_PATH;
use crate::policy::facts::Record;
use crate::policy::{Baseline, Pack, Policy, evaluate, pack};
use crate::report::findings_github::findings_github;
use crate::report::findings_json::findings_json;
use crate::report::findings_sarif::findings_sarif;
use crate::report::findings_text::{findings_text, totals};

/// Ask policies of the repository: what is wrong with its secrets, its rules and what surrounds them.
///
/// Needs no identity, and works without cofferdam.toml and without git. Each finding has a remedy. Exits with 3 when there
/// are findings that nobody accepted.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// A pack of policies: default, strict, homelab, or a file; may be given several times.
    #[arg(long, value_name = "PACK", default_value = "default")]
    policy: Vec<String>,
    /// Also look at what changed since REV parted from HEAD: recipients, values, places, and whom cofferdam.toml trusts.
    #[arg(long, value_name = "REV")]
    since: Option<String>,
    /// Look at what is about to be committed, not at the work tree; tell what concerns the files that are staged.
    #[arg(long, conflicts_with = "since")]
    staged: bool,
    /// Ask these policies of the packs alone; may be given several times.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Repair what has a safe repair, say what was done, and tell what is left; nothing is committed, no secret is touched.
    #[arg(long, conflicts_with_all = ["since", "staged"])]
    fix: bool,
    /// With --fix: say what would be done, and change nothing.
    #[arg(long, requires = "fix")]
    dry_run: bool,
    /// The list of accepted findings; .cofferdam/accepted-findings.toml by default.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long, group = "form")]
    json: bool,
    /// Print as SARIF 2.1.0, for code scanning.
    #[arg(long, group = "form")]
    sarif: bool,
    /// Print as annotations of GitHub's workflows.
    #[arg(long, group = "form")]
    github: bool,
}

/// Runs the command.
///
/// # Errors
/// Usage: no such pack, a pack or a list of accepted findings that cannot be used. Exit 3 with findings.
pub fn run(args: &CheckArgs, context: &Context) -> Result<(), CliError> {
    let policies = policies(&args.policy, &args.only, context)?;
    let (root, git) = gather::root(context)?;
    let baseline = baseline(args.baseline.as_deref(), &root, context)?;
    let before = args.since.as_deref();
    let before = before.map(|revision| since::before(git.as_ref(), revision));
    let before = before.transpose()?;
    let tree = match (args.staged, git.as_ref()) {
        (false, git) => Tree::Work(&root, git),
        (true, Some(git)) => Tree::staged(git)?,
        (true, None) => return Err(CliError::usage("--staged needs a git repository")),
    };
    let staged = match &tree {
        Tree::Staged(staged) => Some(staged.changed.clone()),
        Tree::Work(..) => None,
    };
    let gathered = gather::gather(tree, before.as_ref())?;
    let asked: Vec<&Policy> = policies.iter().collect();
    let names: Vec<&str> = policies.iter().map(|p| p.name.as_str()).collect();
    let judge = |records: &[Record]| {
        let mut found = evaluate(&asked, records);
        if let Some(staged) = &staged {
            found.retain(|finding| finding.file.as_ref().is_some_and(|f| staged.contains(f)));
        }
        baseline.judge(found, &names, Timestamp::now())
    };
    let mut judged = judge(&gathered.records);
    if args.fix {
        let Some(git) = git.as_ref() else {
            return Err(CliError::usage(
                "--fix needs a git repository: without one there is no way back",
            ));
        };
        // What somebody accepted stays as it is.
        if fix::fix(&judged.open, &gathered.sources, git, args.dry_run, context)? {
            let gathered = gather::gather(Tree::Work(&root, Some(git)), None)?;
            judged = judge(&gathered.records);
        }
    }
    // A part of the repository does not tell which acceptances are no longer needed.
    for remark in judged.remarks.iter().filter(|_| staged.is_none()) {
        context.ui.note(remark);
    }
    let findings = judged.open;
    if args.json {
        context
            .ui
            .answer(serde_json::to_string_pretty(&findings_json(&findings))?);
    } else if args.sarif {
        let log = findings_sarif(&findings, &policies, env!("CARGO_PKG_VERSION"));
        context.ui.answer(serde_json::to_string_pretty(&log)?);
    } else if args.github {
        let text = findings_github(&findings);
        if !text.is_empty() {
            context.ui.answer(text.trim_end());
        }
    } else if findings.is_empty() {
        context.ui.note(match policies.len() {
            1 => "1 policy, no findings".to_owned(),
            many => format!("{many} policies, no findings"),
        });
    } else {
        context.ui.answer(findings_text(&findings).trim_end());
    }
    let accepted = match judged.accepted {
        0 => String::new(),
        n => format!("; {n} accepted"),
    };
    if findings.is_empty() {
        if !accepted.is_empty() {
            context.ui.note(format!("nothing open{accepted}"));
        }
        return Ok(());
    }
    let error = CliError::new(Kind::Findings, format!("{}{accepted}", totals(&findings)));
    Err(error.hint(format!(
        "follow the remedies, or accept a finding for a time: [[accepted]] with policy, file, reason and until in {BASELINE_PATH}"
    )))
}

/// The policies of all packs; compiled before any file of the repository is read.
fn policies(names: &[String], only: &[String], context: &Context) -> Result<Vec<Policy>, CliError> {
    let mut packs = Vec::new();
    for name in names {
        let text = match pack::built_in(name) {
            Some(text) => text.to_owned(),
            None => {
                let file = context.resolve(Path::new(name));
                std::fs::read_to_string(&file).map_err(|error| {
                    CliError::usage(format!("there is no pack of policies {name}"))
                        .caused_by(&error)
                        .hint("default, strict, homelab, or the path of a file")
                })?
            }
        };
        packs.push((name.clone(), text));
    }
    let mut policies = Pack::all(&packs).map_err(|error| {
        CliError::from_error(&error)
            .with_kind(Kind::Usage)
            .hint("docs/policies.md lists subjects and facts")
    })?;
    if let Some(absent) = only
        .iter()
        .find(|name| !policies.iter().any(|p| p.name == **name))
    {
        return Err(
            CliError::usage(format!("no policy {absent} is in the packs that are asked"))
                .hint("--policy names packs; docs/policies.md lists what is in them"),
        );
    }
    policies.retain(|policy| only.is_empty() || only.contains(&policy.name));
    Ok(policies)
}

fn baseline(named: Option<&Path>, root: &Path, context: &Context) -> Result<Baseline, CliError> {
    let file = named.map_or_else(|| root.join(BASELINE_PATH), |file| context.resolve(file));
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            return Ok(Baseline::default());
        }
        Err(error) => {
            return Err(
                CliError::usage(format!("cannot read {}", file.display())).caused_by(&error)
            );
        }
    };
    Baseline::parse(&text).map_err(|error| {
        CliError::usage(format!("{}", file.display()))
            .caused_by(&error)
            .hint("each entry is [[accepted]] with policy, file (none: the repository), reason and until = \"2027-01-31\"")
    })
}
