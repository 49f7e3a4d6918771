//! `cofferdam init`: proposes the topology from what the repository says.

mod conversation;
pub(super) mod material;
mod roles;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::evidence::{Answers, Evidence, Proposal, Sources, propose, to_toml};
use crate::keys::Recipient;
use crate::ledger::{LEDGER_PATH, Ledger};
use crate::repo::Git;
use crate::repo::atomic_write::{self, Mode, WriteError};
use crate::topology;

/// The topology's file, at the repository's root.
const TOPOLOGY: &str = "cofferdam.toml";
const EXAMPLE: &str = "cofferdam init --yes --recovery age1… --operator laptop=age1…";

/// Propose the topology, cofferdam.toml, from what the repository says.
///
/// Reads Komodo and compose files, Flux Kustomizations, Ansible folders and today's .sops.yaml; what none of them says
/// is marked `# decide:` and asked. Where a zone has an identity of its own already, the proposal adopts it. Without a terminal and without --yes the proposal is printed and nothing is written.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Write the proposal without asking; what it cannot tell stays marked `# decide:`.
    #[arg(long)]
    yes: bool,
    /// The recipient of an identity that is kept offline; `cofferdam recovery create` prints one.
    // Taken as text: clap would repeat a wrong value, and the likeliest wrong value is an identity.
    #[arg(long, value_name = "RECIPIENT")]
    recovery: Vec<String>,
    /// Your own recipient, with a name for it.
    #[arg(long, value_name = "NAME=RECIPIENT")]
    operator: Vec<String>,
    /// Rehearse: let a directory below DIR stand for every host and cluster.
    #[arg(long, value_name = "DIR")]
    local_root: Option<PathBuf>,
}

/// Runs `cofferdam init`.
///
/// # Errors
/// Usage: there is a topology already; `--yes` without `--recovery` or `--operator`; no terminal to ask on. Failure: not
/// in a git work tree; a recipient in two roles; the files cannot be read or written.
#[expect(clippy::disallowed_methods, reason = "edge: the command line")]
pub fn run(args: &InitArgs, context: &Context) -> Result<(), CliError> {
    let git = crate::cli::project::discover(&context.directory)?;
    let file = git.root().join(TOPOLOGY);
    if std::fs::symlink_metadata(&file).is_ok() {
        return Err(exists(&file));
    }
    let mut answers = answers(args, context, &git)?;
    if args.yes && (answers.recovery.is_empty() || answers.operators.is_empty()) {
        return Err(missing(&answers));
    }
    let mut sources = material::collect(&git, context)?;
    if sources.documents.is_empty() {
        return Err(
            CliError::failed(format!("no SOPS document in {}", git.root().display()))
                .hint("encrypt a first one with `sops encrypt`, then run init again"),
        );
    }
    let evidence = Evidence::gather(&mut sources);
    let is_asking = !args.yes && context.ui.can_ask();
    if is_asking {
        conversation::complete(&mut answers, &sources, &evidence, &context.ui)?;
    }
    let mut proposal = settle(&sources, &evidence, &mut answers)?;
    roles::withdraw_adoptions(&mut proposal, git.root());
    let text = to_toml(&proposal);
    roles::check(&proposal, &sources, git.root())?;
    if !answers.recovery.is_empty() && !answers.operators.is_empty() {
        validate(&text)?;
    }
    if !args.yes {
        context.ui.answer(text.trim_end());
        if !is_asking {
            return Err(
                CliError::usage("nothing was written: there is no terminal to ask on")
                    .hint(format!("the proposal is above; to write it: {EXAMPLE}")),
            );
        }
        if !context.ui.confirm(&format!("Write {TOPOLOGY}?"))? {
            return Err(CliError::failed("not confirmed; nothing was written"));
        }
    }
    write(&file, &text)?;
    say(&proposal, &text, context);
    remind_of_recovery(&proposal, &git, context);
    Ok(())
}

/// A recovery identity that nobody has read back may be a mistyped one: retirement will ask for proof.
#[expect(clippy::disallowed_methods, reason = "edge: the command line")]
fn remind_of_recovery(proposal: &Proposal, git: &Git, context: &Context) {
    let text = std::fs::read_to_string(git.root().join(LEDGER_PATH));
    // A damaged ledger is the next command's to report.
    let ledger = text.ok().and_then(|text| Ledger::parse(&text).ok());
    for recipient in &proposal.recovery {
        let is_proven = ledger
            .as_ref()
            .is_some_and(|l| l.recovery_read_back(recipient).is_some());
        if !is_proven {
            context.ui.note(format!(
                "note: no record here that the recovery identity of {} was ever read back; retirement will ask for it",
                recipient.short()
            ));
        }
    }
}

/// The proposal, with files by name where globs would not do.
fn settle(
    sources: &Sources,
    evidence: &Evidence,
    answers: &mut Answers,
) -> Result<Proposal, CliError> {
    let proposal = propose(sources, evidence, answers);
    if proposal.misplaced(sources).is_empty() {
        return Ok(proposal);
    }
    answers.exact_names = true;
    let proposal = propose(sources, evidence, answers);
    let wrong = proposal.misplaced(sources);
    if wrong.is_empty() {
        return Ok(proposal);
    }
    let message = |path| format!("no glob can name {path:?}");
    let messages = wrong.iter().map(|p| message(p.as_str()));
    Err(CliError::many(Kind::Failed, messages).hint("rename these files, then run init again"))
}

/// The topology's own parser has the last word.
fn validate(text: &str) -> Result<(), CliError> {
    match topology::parse(text, TOPOLOGY) {
        Ok(_) => Ok(()),
        Err(problems) => {
            let hints: Vec<String> = problems.iter().filter_map(|p| p.hint.clone()).collect();
            let messages = problems
                .iter()
                .map(|p| format!("the proposal has a mistake: {p}"));
            let error = CliError::many(Kind::Failed, messages);
            Err(hints
                .into_iter()
                .fold(error, |error, hint| error.hint(hint)))
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), CliError> {
    match atomic_write::create_new(file, text.as_bytes(), Mode::Default) {
        Ok(()) => Ok(()),
        // Somebody was faster.
        Err(WriteError::Exists { .. }) => Err(exists(file)),
        Err(error) => Err(CliError::from_error(&error)),
    }
}

fn say(proposal: &Proposal, text: &str, context: &Context) {
    let ui = &context.ui;
    let (hosts, clusters) = (proposal.hosts.len(), proposal.clusters.len());
    ui.answer(format!(
        "wrote {TOPOLOGY}: {} in {}, {}, {}",
        count(proposal.document_count(), "document"),
        count(proposal.zones.len(), "zone"),
        count(hosts, "host"),
        count(clusters, "cluster"),
    ));
    let names = |names: Vec<&str>| names.join(" ");
    for zone in &proposal.zones {
        let documents: usize = zone.files.iter().map(|f| f.documents.len()).sum();
        let hosts = proposal
            .hosts
            .iter()
            .filter(|h| h.zone == zone.name)
            .map(|h| h.name.as_str());
        let clusters = proposal.clusters.iter().filter(|c| c.zone == zone.name);
        let readers: Vec<&str> = hosts.chain(clusters.map(|c| c.name.as_str())).collect();
        let readers = match readers.is_empty() {
            true => "operators only".to_owned(),
            false => names(readers),
        };
        let adopted = match &zone.adopt {
            Some(adopt) => format!(", who keep {}", adopt.recipient.short()),
            None => String::new(),
        };
        ui.answer(format!(
            "  {:<12} {:<14} {readers}{adopted}",
            zone.name,
            count(documents, "document")
        ));
    }
    for shared in &proposal.shared {
        let documents: usize = shared.files.iter().map(|f| f.documents.len()).sum();
        let zones = shared.zones.join(" and ");
        let label = count(documents, "document");
        ui.answer(format!(
            "  {:<12} {label:<14} shared by {zones}",
            shared.name
        ));
    }
    for note in &proposal.notes {
        ui.note(format!("note: {}: {}", note.file, note.text));
    }
    let decisions = text.matches("# decide:").count();
    if decisions > 0 {
        ui.note(format!("{} marked `# decide:`", count(decisions, "line")));
    }
    if let (Some(remote), false) = (proposal.remotes.first(), proposal.is_local) {
        ui.note(format!(
            "[publish] could name the git remote {remote:?}, to coordinate several operators"
        ));
    }
    ui.note("next: cofferdam plan split");
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn answers(args: &InitArgs, context: &Context, git: &Git) -> Result<Answers, CliError> {
    let mut operators: BTreeMap<String, Vec<Recipient>> = BTreeMap::new();
    for text in &args.operator {
        // Not repeated: what stands there may be an identity.
        let Some((name, key)) = text.split_once('=') else {
            return Err(CliError::usage("--operator takes NAME=RECIPIENT").hint(EXAMPLE));
        };
        let key = recipient(key, &format!("--operator {name}"))?;
        operators.entry(name.to_owned()).or_default().push(key);
    }
    let recovery: Result<Vec<Recipient>, CliError> = args
        .recovery
        .iter()
        .map(|text| recipient(text, "--recovery"))
        .collect();
    let local_root = match &args.local_root {
        Some(path) => Some(local_root(path, context, git.root())?),
        None => None,
    };
    Ok(Answers {
        recovery: recovery?,
        operators,
        local_root,
        remotes: git.remotes()?,
        ..Answers::default()
    })
}

fn recipient(text: &str, option: &str) -> Result<Recipient, CliError> {
    Recipient::parse(text).map_err(|error| {
        CliError::usage(format!("{option} is no recipient"))
            .caused_by(&error)
            .hint("`age-keygen -y FILE` prints the recipient of an identity")
    })
}

/// DIR as `local` wants it: relative to `cofferdam.toml`, or absolute as it was given.
fn local_root(path: &Path, context: &Context, root: &Path) -> Result<String, CliError> {
    let target = context.resolve(path);
    // Links are followed as far as there is something: `..` in the result must mean what the system makes of it.
    let (root, target) = (real(root), real(&target));
    if target.starts_with(&root) {
        return Err(CliError::usage(format!(
            "--local-root {} lies in the repository: its identities would be committed",
            path.display()
        ))
        .hint("name a folder outside, such as ../targets"));
    }
    let relative = if path.is_absolute() {
        target
    } else {
        relative_to(&target, &root)
    };
    match relative.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(CliError::usage("--local-root is not UTF-8")),
    }
}

/// The real path of what exists of `path`, with the rest as text.
#[expect(clippy::disallowed_methods, reason = "edge: the command line")]
fn real(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                whole.pop();
            }
            other => {
                whole.push(other);
                whole = std::fs::canonicalize(&whole).unwrap_or(whole);
            }
        }
    }
    whole
}

fn relative_to(target: &Path, root: &Path) -> PathBuf {
    let (target, root): (Vec<_>, Vec<_>) =
        (target.components().collect(), root.components().collect());
    let same = target.iter().zip(&root).take_while(|(a, b)| a == b).count();
    let up = root.iter().skip(same).map(|_| Component::ParentDir);
    up.chain(target.iter().skip(same).copied()).collect()
}

fn exists(file: &Path) -> CliError {
    CliError::usage(format!("{} exists already", file.display()))
        .hint("edit it, then look at what follows: cofferdam plan split")
}

fn missing(answers: &Answers) -> CliError {
    let error = match (answers.recovery.is_empty(), answers.operators.is_empty()) {
        (true, true) => CliError::usage("--yes needs --recovery and --operator"),
        (true, false) => CliError::usage("--yes needs --recovery"),
        _ => CliError::usage("--yes needs --operator"),
    };
    let error = match answers.recovery.is_empty() {
        true => error.hint("make a recovery identity: cofferdam recovery create --out FILE"),
        false => error,
    };
    error.hint(EXAMPLE)
}
