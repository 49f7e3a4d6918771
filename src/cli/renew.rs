//! `cofferdam renew`: new data keys, in place.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: asks the clock, resolves the paths that the user names"
)]

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use rayon::prelude::*;

use crate::cli::context::Context;
use crate::cli::decrypt::warn;
use crate::cli::digest_record;
use crate::cli::document_flags;
use crate::cli::documents::Documents;
use crate::cli::error::CliError;
use crate::repo::atomic_write::{Expected, Mode};
use crate::repo::batch_write::{self, Replacement};
use crate::sops::{Document, DocumentError, NewKeys, NewRecipients, Store, Verified};

/// Re-encrypt documents under new data keys, in place; who can open them stays as it is.
///
/// All documents are opened, verified and renewed in memory first; if one fails, nothing is written. Only ciphertexts
/// and the metadata change.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// Files, and folders to search for SOPS documents.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Renew FILE although it has entries of other key types (PGP, KMS, …): they are removed.
    #[arg(long, value_name = "FILE")]
    drop_foreign: Vec<PathBuf>,
}

struct Staged {
    name: String,
    path: PathBuf,
    before: Vec<u8>,
    after: Vec<u8>,
    store: Store,
}

/// Runs `cofferdam renew`.
///
/// # Errors
/// Failure: a path cannot be read or written, or a document is not encrypted, does not open, does not verify, or has
/// keys of other types.
pub fn run(args: &RenewArgs, context: &Context) -> Result<(), CliError> {
    let lookup = document_flags::identities(context);
    let documents = Documents::find(&args.paths, context)?;
    if documents.is_empty() {
        return Err(CliError::failed("there is no SOPS document at these paths"));
    }
    let dropped: Vec<PathBuf> = args
        .drop_foreign
        .iter()
        .map(|p| context.resolve(p).canonicalize())
        .collect::<Result<_, _>>()
        .map_err(|e| CliError::failed("--drop-foreign names no file").caused_by(&e))?;
    let paths = documents.paths();
    let progress = context.ui.progress("renewing", documents.len() as u64);
    let opened = documents.open(&lookup.identities, &progress);
    let now = Timestamp::now();
    let staged: Vec<(String, Result<Staged, DocumentError>)> = opened
        .into_par_iter()
        .zip(paths)
        .map(|((name, opened), (_, path))| {
            let result = opened.and_then(|(document, verified)| {
                let after = renew(&document, &verified, dropped.contains(&path), now)?;
                warn(context, &name, verified.warnings());
                Ok(Staged {
                    name: name.clone(),
                    path,
                    before: document.source().to_vec(),
                    after,
                    store: document.store(),
                })
            });
            (name, result)
        })
        .collect();
    let (mut good, mut bad) = (Vec::with_capacity(staged.len()), Vec::new());
    for (name, result) in staged {
        match result {
            Ok(staged) => good.push(staged),
            Err(error) => bad.push((name, error)),
        }
    }
    if !bad.is_empty() {
        context.ui.note("nothing was written");
        return Err(document_flags::failures(&bad, &lookup));
    }
    write(&good)?;
    // They were opened and compared: what was recorded of them is brought up to date.
    let renewed: Vec<(PathBuf, Document)> = good
        .into_iter()
        .map(|s| Ok((s.path, Document::parse(s.store, s.after)?)))
        .collect::<Result<_, DocumentError>>()?;
    digest_record::refresh(&renewed, context);
    let good = renewed;
    context
        .ui
        .answer(format!("{} documents renewed", good.len()));
    Ok(())
}

/// The renewed bytes, opened again and compared before they are believed.
fn renew(
    document: &Document,
    verified: &Verified,
    drop_foreign: bool,
    now: Timestamp,
) -> Result<Vec<u8>, DocumentError> {
    let keys = NewKeys {
        recipients: NewRecipients::Keep,
        drop_foreign,
    };
    let renewed = document.renew(verified, &keys, now)?;
    let again = Document::parse(document.store(), renewed.bytes)?;
    if !again.open(&renewed.data_key)?.same_plaintext(verified) {
        return Err(DocumentError::NotReadable {
            key: "the renewed document".to_owned(),
            reason: "would not hold the same values; nothing was written".to_owned(),
        });
    }
    Ok(again.into_source())
}

fn write(staged: &[Staged]) -> Result<(), CliError> {
    let replacements: Vec<Replacement> = staged
        .iter()
        .map(|s| Replacement {
            path: &s.path,
            expected: Expected::Bytes(&s.before),
            bytes: &s.after,
            mode: Mode::Keep,
        })
        .collect();
    let results = batch_write::replace_all(&replacements).map_err(|error| {
        CliError::from_error(&error)
            .hint("make room, or mend what refused the write, and run it again")
    })?;
    let failed: Vec<String> = staged
        .iter()
        .zip(&results)
        .filter_map(|(s, r)| Some(format!("{} was not written: {}", s.name, r.as_ref().err()?)))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let written = staged.len() - failed.len();
    Err(
        CliError::many(crate::cli::error::Kind::Failed, failed).hint(format!(
            "{written} other documents were renewed; run it again on these"
        )),
    )
}
