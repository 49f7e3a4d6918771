//! `cofferdam revoke`: somebody else may hold what a host, a cluster or an identity opens.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::path::Path;

use crate::apply::{JournalFile, Run, TOPOLOGY_PATH};
use crate::cli::begin::{self, BeginArgs};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::narrator::Narrator;
use crate::cli::planning::Asked;
use crate::cli::planning::meant;
use crate::cli::project::{Project, discover, load_ledger};
use crate::cli::{revoke_party, undo, unopened};
use crate::fleet::{Target, Withdrawn};
use crate::keys::Recipient;
use crate::ledger::{Holder, Record};
use crate::plan::revocation::given_to;
use crate::plan::{Goal, Plan, Revoked, RevokedReader, access};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::lock::RunLock;
use crate::repo_path::RepoPath;
use crate::topology::{self, Topology, without_reader};

/// Replace at once what a host or cluster, or whoever took an identity, can open.
///
/// The host leaves cofferdam.toml and gets nothing new; the other hosts of its zone get a new identity, and every document that
/// it could open is re-encrypted under a new data key. An operator could open everything and unseal every identity: all of them
/// are replaced. No grace is given. An unfinished run is taken back first. What was
/// exposed is listed at the end: those values still have to be replaced where they were issued.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A host or cluster; an operator, or `recovery`, by name or recipient; an identity by id or recipient.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    begin: BeginArgs,
}

/// Runs the command.
///
/// # Errors
/// Exit 1 for a refusal before any act, 2 for an unknown name, 4 for a stale saved plan, 5 for a stop part-way.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let git = discover(&context.directory)?;
    let ledger = load_ledger(git.root())?;
    let buried = ledger.revoked().iter().find(|t| t.name == args.name);
    if let Some(tombstone) = buried
        && section_of(git.root(), &args.name).is_none()
        && JournalFile::unfinished_run(git.root())?.is_none()
    {
        context.ui.note(format!(
            "{} was revoked at {}: cofferdam exposure lists what it could open",
            tombstone.name, tombstone.at
        ));
        return Ok(());
    }
    if let Some(party) = revoke_party::is_over(git.root(), &ledger, &args.name)? {
        context.ui.note(format!(
            "{} was revoked at {}: cofferdam exposure {} lists what it could open",
            party.name, party.at, party.recipient
        ));
        return Ok(());
    }
    begin::run(&asked(&args.name), &args.begin, None, context)
}

/// What `cofferdam.toml` says of a reader as it lies in the work tree.
fn section_of(root: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(root.join(TOPOLOGY_PATH)).ok()?;
    without_reader(&text, name).ok().map(|w| w.section)
}

/// What a revocation asks the planner for.
pub fn asked(name: &str) -> Asked {
    Asked {
        revoke: Some(name.to_owned()),
        ..Asked::goal(Goal::Revoke)
    }
}

/// A revocation, worked out: who is revoked and whose identities are replaced.
pub struct Struck {
    /// For the plan.
    pub revoked: Revoked,
    /// The holders that get a new identity.
    pub replace: Vec<Holder>,
    /// The text of `cofferdam.toml` without the reader; none if it stays as it is.
    text: Option<String>,
    /// The reader as it can still be reached.
    target: Option<Box<dyn Target>>,
    recipients: Vec<Recipient>,
}

/// Works out a revocation and takes the reader out of the project's topology, in memory only.
///
/// # Errors
/// Usage: a name that nobody knows; a topology that does not hold without the reader.
pub fn strike(project: &mut Project, name: &str) -> Result<Struck, CliError> {
    let of_reader = ["hosts.", "clusters."]
        .iter()
        .find_map(|kind| name.strip_prefix(kind));
    let name = of_reader.unwrap_or(name);
    let is_reader = project.targets.contains_key(name);
    if is_reader && of_reader.is_none() && revoke_party::is_operator(&project.topology, name) {
        return Err(
            CliError::usage(format!("{name} is an operator, and a host or cluster")).hint(format!(
                "cofferdam revoke operators.{name}, or hosts.{name}"
            )),
        );
    }
    if is_reader {
        let path = project.root.join(TOPOLOGY_PATH);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            CliError::failed(format!("cannot read {}", path.display())).caused_by(&e)
        })?;
        return strike_reader(project, name, &text);
    }
    // Taken out by hand, or by a revocation that was killed before it began: the last commit still says what it was.
    if let Some(text) = text_at_head(project)
        && without_reader(&text, name).is_ok()
    {
        let known = topology::parse(&text, TOPOLOGY_PATH).ok();
        if let Some(known) = known.filter(|t| zone_of(t, name).is_some()) {
            let now = std::mem::replace(&mut project.topology, known);
            project.connect()?;
            let struck = strike_reader(project, name, &text);
            project.topology = now;
            let target = project.targets.remove(name);
            project.connect()?;
            return struck.map(|struck| Struck {
                text: None,
                target: struck.target.or(target),
                ..struck
            });
        }
    }
    if let Some(struck) = revoke_party::strike(project, name)? {
        return Ok(struck);
    }
    let recipient = Recipient::parse(name).ok();
    let record = project
        .ledger
        .record(name)
        .or_else(|| recipient.as_ref().and_then(|r| project.ledger.record_of(r)));
    let Some(record) = record.cloned() else {
        let mut known: Vec<&str> = project.targets.keys().map(String::as_str).collect();
        known.extend(project.topology.operators.iter().map(|o| o.name.as_str()));
        known.extend(project.ledger.records().iter().map(|r| r.id.as_str()));
        return Err(CliError::usage(format!(
            "{name} is no host, no cluster, no operator and no identity of the ledger"
        ))
        .hint(meant(name, &known)));
    };
    let is_live = record.state.is_live();
    Ok(Struck {
        replace: if is_live {
            vec![record.holder.clone()]
        } else {
            Vec::new()
        },
        recipients: vec![record.recipient.clone()],
        revoked: Revoked {
            name: record.id.clone(),
            reader: None,
            recipients: Vec::new(),
            compromised: vec![record.id],
        },
        text: None,
        target: None,
    })
}

/// What a revocation that was stopped and has ended now leaves to do: its reader as the plan remembers it. None for another
/// goal, or where the reader cannot be made out any more.
pub fn struck_by(project: &mut Project, plan: &Plan) -> Option<Struck> {
    let revoked = plan.revoked.clone()?;
    let reader = revoked.reader.as_ref()?;
    let text = std::fs::read_to_string(project.root.join(TOPOLOGY_PATH)).ok()?;
    // Only one of them holds: the two kinds of reader have different keys.
    let known = ["hosts", "clusters"].iter().find_map(|kind| {
        let whole = format!("{text}\n[{kind}.{:?}]\n{}\n", revoked.name, reader.section);
        topology::parse(&whole, TOPOLOGY_PATH).ok()
    })?;
    let now = std::mem::replace(&mut project.topology, known);
    let connected = project.connect();
    let target = connected
        .ok()
        .and_then(|()| project.targets.remove(&revoked.name));
    project.topology = now;
    project.connect().ok()?;
    let given = revoked.compromised.iter();
    let recipients = given
        .filter_map(|id| Some(project.ledger.record(id)?.recipient.clone()))
        .collect();
    Some(Struck {
        revoked,
        replace: Vec::new(),
        text: None,
        target,
        recipients,
    })
}

fn zone_of(topology: &Topology, name: &str) -> Option<String> {
    access::zone_of_reader(topology, name).map(|zone| zone.name.clone())
}

fn text_at_head(project: &Project) -> Option<String> {
    let path = RepoPath::new(TOPOLOGY_PATH).ok()?;
    let bytes = project.git.blob("HEAD", &path).ok()??;
    String::from_utf8(bytes).ok()
}

fn strike_reader(project: &mut Project, name: &str, text: &str) -> Result<Struck, CliError> {
    let without = without_reader(text, name).map_err(|e| CliError::from_error(&e))?;
    let zone = zone_of(&project.topology, name);
    let zone = zone.ok_or_else(|| CliError::usage(format!("{name} has no zone")))?;
    let given: Vec<&Record> = given_to(&project.ledger, &project.topology, name, &zone);
    let replace = given
        .iter()
        .filter(|r| r.state.is_live())
        .map(|r| r.holder.clone())
        .collect();
    let revoked = Revoked {
        name: name.to_owned(),
        reader: Some(RevokedReader {
            zone,
            section: without.section,
        }),
        recipients: Vec::new(),
        compromised: given.iter().map(|r| r.id.clone()).collect(),
    };
    let recipients = given.iter().map(|r| r.recipient.clone()).collect();
    project.topology = topology::parse(&without.text, TOPOLOGY_PATH).map_err(|problems| {
        let told = problems.into_iter().map(|p| (p.to_string(), p.hint));
        CliError::many_with_hints(crate::cli::error::Kind::Failed, told).hint(format!(
            "cofferdam.toml must hold without {name}: take it out of what is named above"
        ))
    })?;
    Ok(Struck {
        revoked,
        replace,
        text: Some(without.text),
        target: project.targets.remove(name),
        recipients,
    })
}

impl Struck {
    /// A revocation of recipients that read everything; `text` is `cofferdam.toml` without them, if it changes.
    pub fn of_party(revoked: Revoked, replace: Vec<Holder>, text: Option<String>) -> Self {
        Self {
            revoked,
            replace,
            text,
            target: None,
            recipients: Vec::new(),
        }
    }

    /// Writes the topology without the reader.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, root: &Path) -> Result<(), CliError> {
        let Some(text) = &self.text else {
            return Ok(());
        };
        atomic_write::replace(&root.join(TOPOLOGY_PATH), text.as_bytes(), Mode::Keep)
            .map_err(|e| CliError::from_error(&e).hint("nothing was changed"))
    }

    /// Takes what the reader was given from it, if it can still be reached; that it cannot changes nothing of the revocation.
    pub fn take_identities(&self, context: &Context) {
        let Some(target) = &self.target else {
            return;
        };
        let mut taken = 0;
        for recipient in &self.recipients {
            match target.withdraw(recipient, None) {
                Ok(Withdrawn::Removed) => taken += 1,
                Ok(Withdrawn::WasAbsent) => {}
                Err(error) => {
                    context.ui.warn(format!(
                        "{} still holds what it was given, which opens nothing that is encrypted from now on: {}",
                        target.name(),
                        unopened::one_line(&error)
                    ));
                    return;
                }
            }
        }
        if taken > 0 {
            context.ui.note(format!(
                "took {taken} {} from {}; whoever has been there may have copies",
                if taken == 1 { "identity" } else { "identities" },
                target.name()
            ));
        }
    }
}

/// Takes back an unfinished run, so that a revocation need not wait for it.
///
/// # Errors
/// It has begun to retire, or cannot be taken back: exit 1 or 5 with what to do.
pub fn preempt(
    project: &Project,
    lock: &RunLock,
    yes: bool,
    context: &Context,
) -> Result<(), CliError> {
    let Some(journal) = project.unfinished()? else {
        return Ok(());
    };
    let id = journal.progress().run.clone();
    context
        .ui
        .note(format!("run {id} has not ended: it is taken back first"));
    if !yes && !context.ui.confirm("Take it back?")? {
        return Err(CliError::failed("not confirmed; nothing was changed"));
    }
    let git = project.git.holding(lock)?;
    let narrator = Narrator::new(&context.ui, yes);
    let run = Run::new(
        project.workspace(&git, &narrator),
        journal,
        project.ledger.clone(),
        None,
    );
    undo::finish(run, context)
}
