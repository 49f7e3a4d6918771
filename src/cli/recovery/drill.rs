//! `cofferdam recovery drill`: the rehearsal that the kit still opens everything.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::path::Path;

use jiff::Timestamp;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::{discover, load_topology};
use crate::cli::recovery::kit::{Kit, KitArgs};
use crate::cli::recovery::ledger_file::LedgerFile;
use crate::keys::Identity;
use crate::keystore::{sealed_file_name, unseal_many};
use crate::ledger::{Ledger, Record};
use crate::recovery::{Drill, Rehearsal, drill};
use crate::repo::atomic_write;
use crate::repo::git::Git;
use crate::repo::lock::RunLock;
use crate::repo::scan::Scan;
use crate::repo_path::RepoPath;
use crate::sops::document::Document;
use crate::topology::Topology;

/// Rehearse recovery: read the kit back and have it open everything.
///
/// The kit alone must open every document and unseal every sealed identity. Nothing is decrypted to disk or printed. The
/// ledger records the date; `status` says when the next drill is due (`drill_every`). Exits with 3 where something is not
/// encrypted or sealed to the kit.
#[derive(Debug, clap::Args)]
pub struct DrillArgs {
    #[command(flatten)]
    kit: KitArgs,
}

/// Runs `cofferdam recovery drill`.
///
/// # Errors
/// Exit 1 if the kit is the wrong one, or does not open what is encrypted to it (nothing is recorded); 3 if documents or
/// identities are not encrypted to it.
pub fn run(args: &DrillArgs, context: &Context) -> Result<(), CliError> {
    let git = discover(&context.directory)?;
    let topology = load_topology(git.root())?;
    let kit = args.kit.read(&topology, context)?;
    let _lock = lock(git.root())?;
    let ledger = LedgerFile::open(git.root())?;
    let shown = rehearse(&kit, &git)?;
    let sealed = unseal_all(&kit, &topology, &ledger.ledger, git.root())?;
    let mut broken = shown.broken;
    broken.extend(sealed.broken);
    let short = kit.recipient.short();
    if !broken.is_empty() {
        return Err(CliError::many(Kind::Failed, broken).hint(format!(
            "the drill of {short} failed and was not recorded; mend these (git log -p -- FILE), or make a new kit: cofferdam recovery create"
        )));
    }
    ledger.record(&kit.recipient, Timestamp::now())?;
    let ui = &context.ui;
    ui.answer(format!(
        "the kit of {short} opens {} of {} documents and {} of {} sealed identities",
        shown.rehearsal.opened,
        shown.documents.len(),
        sealed.identities.len(),
        sealed.identities.len() + sealed.missing.len(),
    ));
    ui.note("recorded in .cofferdam/keyring.toml; commit it");
    for other in &topology.recovery.recipients {
        if *other != kit.recipient {
            ui.note(format!(
                "{} has a kit of its own, to be rehearsed too",
                other.short()
            ));
        }
    }
    let mut findings: Vec<String> = Vec::new();
    let not_ours = &shown.rehearsal.not_ours;
    if !not_ours.is_empty() {
        findings.push(format!(
            "not encrypted to {short}: {}",
            shortened(not_ours.iter().map(RepoPath::as_str))
        ));
    }
    if !sealed.missing.is_empty() {
        findings.push(format!(
            "not sealed to {short}: {}",
            shortened(sealed.missing.iter().map(String::as_str))
        ));
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(CliError::many(Kind::Findings, findings)
        .hint("before the first split: cofferdam split; afterwards: cofferdam sync"))
}

/// Takes the lock of the repository: no run may write the ledger meanwhile.
pub(super) fn lock(root: &Path) -> Result<RunLock, CliError> {
    RunLock::acquire(root).map_err(|error| {
        CliError::from_error(&error).hint("wait until it has ended, then run this again")
    })
}

/// The repository's documents, and how the kit fared with them.
pub(super) struct Documents {
    /// All that can be read.
    pub documents: Vec<(RepoPath, Document)>,
    /// What the kit opened and what not.
    pub rehearsal: Rehearsal,
    /// Documents that should open and do not, one line each.
    pub broken: Vec<String>,
}

/// Opens every document of the work tree with the kit alone.
pub(super) fn rehearse(kit: &Kit, git: &Git) -> Result<Documents, CliError> {
    let mut documents = Vec::new();
    let mut rehearsal = Rehearsal::default();
    let mut broken = Vec::new();
    let scan = Scan::of_repository(git)?;
    for (path, _) in scan.problems() {
        broken.push(format!(
            "{} is a document, or may be one, that cannot be looked into",
            path.display()
        ));
    }
    let drill = Drill {
        recipient: &kit.recipient,
        kit: &kit.identities,
    };
    let mut parsed = Vec::new();
    for found in scan.documents {
        match Document::parse(found.store, found.source) {
            Ok(document) => parsed.push((found.path, document)),
            Err(error) => broken.push(format!("{}: {}", found.path, told(&error))),
        }
    }
    // A plugin runs, and asks, once for all.
    let wraps: Vec<_> = parsed.iter().flat_map(|(_, d)| d.wraps()).collect();
    kit.identities.prefetch(&wraps);
    drop(wraps);
    for (path, document) in parsed {
        drill.open(&path, &document, &mut rehearsal);
        documents.push((path, document));
    }
    broken.extend(
        rehearsal
            .failed
            .iter()
            .map(|(path, error)| format!("the kit does not open {path}: {}", told(error))),
    );
    Ok(Documents {
        documents,
        rehearsal,
        broken,
    })
}

/// What the kit unsealed.
pub(super) struct Sealed {
    /// The identities, each with its id.
    pub identities: Vec<(String, Identity)>,
    /// Ids of those that are not sealed to the kit.
    pub missing: Vec<String>,
    /// Sealed files that should open and do not, one line each.
    pub broken: Vec<String>,
}

/// Unseals every identity that is kept, with the kit alone.
pub(super) fn unseal_all(
    kit: &Kit,
    topology: &Topology,
    ledger: &Ledger,
    root: &Path,
) -> Result<Sealed, CliError> {
    let folder = root.join(&topology.sealed_folder);
    let mut sealed = Sealed {
        identities: Vec::new(),
        missing: Vec::new(),
        broken: Vec::new(),
    };
    let mut present: Vec<(&Record, String, Vec<u8>)> = Vec::new();
    for record in drill::sealed_for_good(ledger) {
        let name = sealed_file_name(&record.id, &kit.recipient);
        match atomic_write::read_no_follow(&folder.join(&name))? {
            Some(bytes) => present.push((record, name, bytes)),
            None => sealed.missing.push(record.id.clone()),
        }
    }
    let files: Vec<Vec<&[u8]>> = present
        .iter()
        .map(|(_, _, bytes)| vec![bytes.as_slice()])
        .collect();
    let opened = unseal_many(&files, &kit.identities);
    for ((record, name, _), opened) in present.iter().zip(opened) {
        match opened {
            Ok(Some(identity)) if identity.recipient_ref() == Some(&record.recipient) => {
                sealed.identities.push((record.id.clone(), identity));
            }
            Ok(Some(_)) => sealed.broken.push(format!(
                "{name} holds another identity than that of {}",
                record.id
            )),
            Ok(None) => sealed.broken.push(format!("the kit does not open {name}")),
            Err(error) => sealed
                .broken
                .push(format!("the kit does not open {name}: {}", told(&error))),
        }
    }
    Ok(sealed)
}

/// An error and its causes on one line.
fn told(error: &dyn std::error::Error) -> String {
    crate::cli::unopened::one_line(error)
}

/// The first few of many names.
pub(super) fn shortened<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.collect();
    let shown = all.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
