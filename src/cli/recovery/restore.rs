//! `cofferdam recovery restore`: from the kit alone to an operator who can work again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::apply::JournalFile;
use crate::apply::TOPOLOGY_PATH;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::{discover, load_ledger, load_topology};
use crate::cli::recovery::drill::{self, Documents, Sealed};
use crate::cli::recovery::kit::{Kit, KitArgs};
use crate::keys::{IdentitySet, Recipient};
use crate::keystore::{seal, sealed_file_name};
use crate::ledger::Ledger;
use crate::repo::atomic_write::{self, Expected, Mode};
use crate::repo::batch_write::{self, Replacement};
use crate::repo::durable;
use crate::repo_path::RepoPath;
use crate::sops::document::{Document, DocumentError};
use crate::topology::{self, Topology};

/// Use the recovery kit: let a new operator recipient open everything.
///
/// For a machine that holds the repository, the kit and a new operator identity (`age-keygen`). Every sealed identity is
/// sealed to the new recipient too, every document gets it as a further recipient, and cofferdam.toml names it; an operator
/// of that name loses its previous recipients there. Nothing is taken from anybody yet: `sync` does that, and gives new
/// identities to the zones in place of those that a lost operator could unseal.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The operator's name in cofferdam.toml and the recipient of the new identity.
    #[arg(long, value_name = "NAME=RECIPIENT")]
    operator: String,
    #[command(flatten)]
    kit: KitArgs,
    /// Go ahead without asking.
    #[arg(short, long)]
    yes: bool,
}

/// Runs `cofferdam recovery restore`.
///
/// # Errors
/// Exit 1 for a wrong kit, a recipient that has another role already, or a file that cannot be written; 3 if the operator
/// was added and something could not be opened by the kit; 5 over an unfinished run.
pub fn run(args: &RestoreArgs, context: &Context) -> Result<(), CliError> {
    let (name, recipient) = operator(&args.operator)?;
    let git = discover(&context.directory)?;
    let root = git.root().to_owned();
    let topology = load_topology(&root)?;
    let ledger = load_ledger(&root)?;
    refuse_second_role(&name, &recipient, &ledger)?;
    let found = atomic_write::read_no_follow(&root.join(TOPOLOGY_PATH))?.unwrap_or_default();
    let edited = with_operator(&found, &name, &recipient)?;
    let kit = args.kit.read(&topology, context)?;
    let _lock = drill::lock(&root)?;
    if let Some(run) = JournalFile::unfinished_run(&root)? {
        return Err(CliError::stopped(format!("run {run} has not ended"))
            .hint("go on with it with the kit at hand: SOPS_AGE_KEY_FILE=KIT cofferdam resume"));
    }
    let shown = drill::rehearse(&kit, &git)?;
    let sealed = drill::unseal_all(&kit, &topology, &ledger, &root)?;
    tell(&name, &recipient, &topology, &shown, &sealed, context);
    if !args.yes && !context.ui.confirm("\nDo this?")? {
        return Err(CliError::failed("not confirmed; nothing was changed"));
    }
    // Only additions, each whole in itself: after a crash anywhere the same command does the rest.
    sweep(&shown, &root, &root.join(&topology.sealed_folder))?;
    seal_all(&sealed, &recipient, &root.join(&topology.sealed_folder))?;
    let refused = rewrap_all(&shown, &kit, &recipient, &root)?;
    durable::crash_point("topology");
    atomic_write::replace_expecting(
        &root.join(TOPOLOGY_PATH),
        Some(&found),
        edited.as_bytes(),
        Mode::Keep,
    )?;
    let ui = &context.ui;
    ui.note(format!(
        "operator {name} opens what the kit opens; next, with that identity at hand:"
    ));
    ui.note(
        "  git add -u && git add .cofferdam && git commit -m 'chore(sops): restore an operator'",
    );
    ui.note("  cofferdam sync");
    left_out(&shown, &sealed, refused)
}

/// Splits `NAME=RECIPIENT`.
fn operator(text: &str) -> Result<(String, Recipient), CliError> {
    let (name, recipient) = text.split_once('=').ok_or_else(|| {
        CliError::usage("--operator needs NAME=RECIPIENT")
            .hint("age-keygen -o FILE makes an identity and prints its recipient")
    })?;
    let recipient = Recipient::parse(recipient.trim())
        .map_err(|error| CliError::from_error(&error).with_kind(Kind::Usage))?;
    Ok((name.trim().to_owned(), recipient))
}

/// Protocol rule 2: an operator's recipient is nobody else's. The roles within `cofferdam.toml` are its parser's affair.
fn refuse_second_role(name: &str, recipient: &Recipient, ledger: &Ledger) -> Result<(), CliError> {
    match ledger.record_of(recipient) {
        None => Ok(()),
        Some(record) => Err(CliError::failed(format!(
            "the recipient given for operator {name} is that of {} ({}, {})",
            record.id, record.holder, record.state
        ))
        .hint("make an identity of the operator's own: age-keygen -o FILE")),
    }
}

/// `cofferdam.toml` with the operator in it, all else as it was.
fn with_operator(found: &[u8], name: &str, recipient: &Recipient) -> Result<String, CliError> {
    let text = std::str::from_utf8(found)?;
    let mut document: DocumentMut = text.parse()?;
    let operators = document
        .entry("operators")
        .or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        })
        .as_table_like_mut()
        .ok_or_else(|| CliError::failed("[operators] is no table"))?;
    let entry = operators
        .entry(name)
        .or_insert_with(|| Item::Table(Table::new()))
        .as_table_like_mut()
        .ok_or_else(|| CliError::failed(format!("[operators.{name}] is no table")))?;
    let mut recipients = Array::new();
    recipients.push(recipient.as_str());
    entry.insert("recipients", value(recipients));
    let edited = document.to_string();
    topology::parse(&edited, TOPOLOGY_PATH).map_err(|problems| {
        let told = problems.into_iter().map(|p| (p.to_string(), p.hint));
        CliError::many_with_hints(Kind::Failed, told)
    })?;
    Ok(edited)
}

fn tell(
    name: &str,
    recipient: &Recipient,
    topology: &Topology,
    shown: &Documents,
    sealed: &Sealed,
    context: &Context,
) {
    let ui = &context.ui;
    ui.note(format!(
        "Let operator {name} ({}) open everything\n",
        recipient.short()
    ));
    ui.note(format!(
        "  {} of {} documents get it as a further recipient",
        shown.rehearsal.opened,
        shown.documents.len()
    ));
    ui.note(format!(
        "  {} sealed identities are sealed to it too",
        sealed.identities.len()
    ));
    let previous = topology.operators.iter().find(|o| o.name == name);
    for lost in previous.iter().flat_map(|o| &o.recipients) {
        if lost != recipient {
            ui.note(format!(
                "  {} leaves [operators.{name}]; `cofferdam sync` takes it from the documents",
                lost.short()
            ));
        }
    }
}

/// Removes what an earlier try, killed between a write and its rename, left behind.
fn sweep(shown: &Documents, root: &Path, sealed: &Path) -> Result<(), CliError> {
    let paths = shown.documents.iter().map(|(path, _)| path.under(root));
    let mut folders: BTreeSet<PathBuf> = paths
        .filter_map(|p| p.parent().map(Path::to_owned))
        .collect();
    folders.extend([root.to_owned(), sealed.to_owned()]);
    for folder in folders {
        atomic_write::sweep_temporary(&folder)?;
    }
    Ok(())
}

/// Writes each identity sealed to `recipient`, unless it is there and opens.
fn seal_all(sealed: &Sealed, recipient: &Recipient, folder: &Path) -> Result<(), CliError> {
    for (id, identity) in &sealed.identities {
        let path = folder.join(sealed_file_name(id, recipient));
        // An earlier try was killed after this one: whole, for it was put in place by a rename.
        if atomic_write::read_no_follow(&path)?.is_some() {
            continue;
        }
        let bytes = seal(identity, recipient)?;
        durable::crash_point("seal");
        atomic_write::create_new(&path, &bytes, Mode::Exact(0o644))?;
    }
    Ok(())
}

/// Adds `recipient` to every document that the kit opens; those that cannot take it, one line each.
fn rewrap_all(
    shown: &Documents,
    kit: &Kit,
    recipient: &Recipient,
    root: &Path,
) -> Result<Vec<String>, CliError> {
    let mut refused = Vec::new();
    let mut staged = Vec::new();
    for (path, document) in &shown.documents {
        let unopened = shown
            .rehearsal
            .failed
            .iter()
            .any(|(other, _)| other == path);
        if unopened || shown.rehearsal.not_ours.contains(path) {
            continue;
        }
        match rewrapped(document, &kit.identities, recipient) {
            Ok(after) if after == document.source() => {}
            Ok(after) => staged.push((path.under(root), document, after)),
            Err(error) => refused.push(format!(
                "{path} was left as it is: {}",
                crate::cli::unopened::one_line(&error)
            )),
        }
    }
    let replacements: Vec<Replacement<'_>> = staged
        .iter()
        .map(|(path, document, after)| Replacement {
            path,
            expected: Expected::Bytes(document.source()),
            bytes: after,
            mode: Mode::Keep,
        })
        .collect();
    for result in batch_write::replace_all(&replacements)? {
        if let Err(error) = result {
            refused.push(crate::cli::unopened::one_line(&error));
        }
    }
    Ok(refused)
}

/// The document with one more recipient, opened again by the kit and compared before it is believed.
fn rewrapped(
    document: &Document,
    kit: &IdentitySet,
    recipient: &Recipient,
) -> Result<Vec<u8>, DocumentError> {
    let key = document.unwrap_data_key(kit)?;
    let before = document.open(&key)?;
    let again = Document::parse(
        document.store(),
        document.rewrap(&key, std::slice::from_ref(recipient))?,
    )?;
    if !again.open_with(kit)?.same_plaintext(&before) {
        return Err(DocumentError::NotReadable {
            key: "the document with its further recipient".to_owned(),
            reason: "would not hold the same values".to_owned(),
        });
    }
    Ok(again.into_source())
}

/// What the new operator cannot open yet, by name.
fn left_out(shown: &Documents, sealed: &Sealed, refused: Vec<String>) -> Result<(), CliError> {
    let mut findings = refused;
    findings.extend(shown.broken.iter().cloned());
    findings.extend(sealed.broken.iter().cloned());
    let not_ours = &shown.rehearsal.not_ours;
    if !not_ours.is_empty() {
        findings.push(format!(
            "not encrypted to the kit: {}",
            drill::shortened(not_ours.iter().map(RepoPath::as_str))
        ));
    }
    if !sealed.missing.is_empty() {
        findings.push(format!(
            "not sealed to the kit: {}",
            drill::shortened(sealed.missing.iter().map(String::as_str))
        ));
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(CliError::many(Kind::Findings, findings)
        .hint("whoever else can open these adds the new recipient: sops updatekeys FILE"))
}
