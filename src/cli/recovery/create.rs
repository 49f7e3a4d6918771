//! `cofferdam recovery create`: mints the recovery identity into a file outside of every repository.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::recovery::ledger_file::LedgerFile;
use crate::keys::key_file::KeyFile;
use crate::keys::{DataKey, Identity, IdentitySet, Recipient, wrap};
use crate::repo::Git;
use crate::repo::durable::{self, DurableFile};
use crate::secret::SecretBytes;

/// Mint the recovery identity and print its recipient.
///
/// The identity is written once, with mode 0400, to FILE, which must lie outside every git work tree; it is read back,
/// and the ledger records that. Keep the file offline: it opens every document.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Where the identity goes; must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs `cofferdam recovery create`.
///
/// # Errors
/// Failure: FILE exists or lies in a git work tree; it, or the ledger, could not be written or read back.
pub fn run(args: &CreateArgs, context: &Context) -> Result<(), CliError> {
    let git = Git::discover(&context.directory).map_err(|error| {
        CliError::from_error(&error)
            .hint("run it in the repository whose ledger records this, or name that with -C")
    })?;
    let file = place(&context.resolve(&args.out), &git)?;
    // Before anything is minted: a damaged ledger would make the identity one that nobody recorded.
    let ledger = LedgerFile::open(git.root())?;
    let identity = Identity::mint();
    let recipient = identity
        .recipient()
        .ok_or_else(|| CliError::failed("the new identity has no recipient"))?;
    let now = Timestamp::now();
    write_once(&file, &identity, now)?;
    let done = read_back(&file, &recipient).and_then(|()| ledger.record(&recipient, now));
    if let Err(error) = done {
        // Nothing uses it yet; left behind it would only be in the way of the next try.
        let _ = durable::unlink(&file);
        return Err(error.hint(format!("{} was removed again", file.display())));
    }
    let ui = &context.ui;
    ui.note(format!(
        "wrote the recovery identity to {} and read it back",
        file.display()
    ));
    ui.note("It opens every document: move it to paper or to a medium that is kept offline, then remove the file.");
    ui.note("Its recipient, for `cofferdam init --recovery`:");
    ui.answer(recipient.as_str());
    Ok(())
}

/// The file's real path, if nothing is there and no git work tree holds it.
fn place(out: &Path, git: &Git) -> Result<PathBuf, CliError> {
    let name = out
        .file_name()
        .ok_or_else(|| CliError::usage(format!("--out {} names no file", out.display())))?;
    let folder = out.parent().unwrap_or(Path::new("/"));
    let folder = std::fs::canonicalize(folder).map_err(|error| {
        CliError::failed(format!("cannot write into {}", folder.display())).caused_by(&error)
    })?;
    let file = folder.join(name);
    let in_tree = |why: &Path| {
        CliError::failed(format!(
            "{} lies in the git work tree {}",
            file.display(),
            why.display()
        ))
        .hint("name a file outside, such as --out ../recovery.txt")
    };
    for above in folder.ancestors() {
        // A bare repository holds no work tree, but is no place for it either.
        let is_bare = ["HEAD", "objects", "refs"]
            .iter()
            .all(|n| above.join(n).exists());
        if is_bare || std::fs::symlink_metadata(above.join(".git")).is_ok() {
            return Err(in_tree(above));
        }
    }
    // A work tree may lie apart from its `.git`.
    let root = std::fs::canonicalize(git.root()).unwrap_or_else(|_| git.root().to_owned());
    if folder.starts_with(&root) {
        return Err(in_tree(&root));
    }
    if std::fs::symlink_metadata(&file).is_ok() {
        return Err(occupied(&file));
    }
    Ok(file)
}

fn write_once(file: &Path, identity: &Identity, now: Timestamp) -> Result<(), CliError> {
    let created = format!("created: {now:.0}");
    let comments = ["recovery identity; keep it offline", created.as_str()];
    let text = KeyFile::empty().with_identity(&comments, identity);
    let cannot = |error: &std::io::Error| {
        CliError::failed(format!("cannot write {}", file.display())).caused_by(error)
    };
    let mut out = match DurableFile::create_new(file, 0o400) {
        Ok(out) => out,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(occupied(file));
        }
        Err(error) => return Err(cannot(&error)),
    };
    let folder = file.parent().unwrap_or(Path::new("/"));
    let written = out
        .set_mode(0o400)
        .and_then(|()| out.write_at(0, text.expose().as_bytes()))
        .and_then(|()| out.sync())
        .and_then(|()| durable::sync_folder(folder));
    written.map_err(|error| {
        let _ = durable::unlink(file);
        cannot(&error)
    })
}

/// Opens the file anew and has its identity unwrap what was wrapped to its recipient.
fn read_back(file: &Path, recipient: &Recipient) -> Result<(), CliError> {
    let cannot = |what: &str| CliError::failed(format!("{} {what}", file.display()));
    let mut bytes = SecretBytes::new(Vec::with_capacity(4096));
    std::fs::File::open(file)
        .and_then(|mut f| f.read_to_end(bytes.expose_mut()))
        .map_err(|error| cannot("cannot be read back").caused_by(&error))?;
    let key_file = KeyFile::parse(bytes.expose())
        .map_err(|error| cannot("does not hold what was written").caused_by(&error))?;
    let set = IdentitySet::new(key_file.identities());
    let probe = DataKey::generate();
    let opened = set.unwrap(&wrap::wrap(probe.expose(), recipient)?)?;
    match opened {
        Some(opened) if opened == SecretBytes::from_slice(probe.expose()) => Ok(()),
        _ => Err(cannot("does not open what is wrapped to its recipient")),
    }
}

fn occupied(file: &Path) -> CliError {
    CliError::failed(format!(
        "{} exists already; it is never overwritten",
        file.display()
    ))
    .hint("name another file")
}
