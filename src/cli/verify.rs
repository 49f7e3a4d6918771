//! `cofferdam verify`: every document opens, and its values are those it was written with.

use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::decrypt::warn;
use crate::cli::digest_record;
use crate::cli::document_flags;
use crate::cli::documents::Documents;
use crate::cli::error::CliError;

/// Open documents and check their MAC; print nothing of their values.
///
/// Folders are searched for SOPS documents by content. All bad documents are named.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Files, and folders to search for SOPS documents; without any, the working directory.
    paths: Vec<PathBuf>,
    /// Record in .cofferdam/digests.toml what verified documents look like, so that check finds, without an identity, what is
    /// changed by hand later.
    #[arg(long)]
    record: bool,
}

/// Runs `cofferdam verify`.
///
/// # Errors
/// Failure: a path cannot be read, or a document is not encrypted, does not open or does not verify.
pub fn run(args: &VerifyArgs, context: &Context) -> Result<(), CliError> {
    let paths = if args.paths.is_empty() {
        vec![PathBuf::from(".")]
    } else {
        args.paths.clone()
    };
    let lookup = document_flags::identities(context);
    let documents = Documents::find(&paths, context)?;
    let places = documents.paths();
    let mut seen = Vec::new();
    let progress = context.ui.progress("verifying", documents.len() as u64);
    let opened = documents.open(&lookup.identities, &progress);
    let (mut good, mut values, mut bad) = (0, 0, Vec::new());
    for ((path, result), (_, place)) in opened.into_iter().zip(places) {
        match result {
            Ok((document, verified)) => {
                if args.record {
                    seen.push((place, document));
                }
                warn(context, &path, verified.warnings());
                good += 1;
                values += verified.encrypted_values();
            }
            Err(error) => bad.push((path, error)),
        }
    }
    if args.record {
        digest_record::record(&seen, context)?;
    }
    if bad.is_empty() {
        context.ui.answer(format!(
            "{good} documents verified, {values} encrypted values"
        ));
        return Ok(());
    }
    context
        .ui
        .note(format!("{good} documents verified, {} bad", bad.len()));
    Err(document_flags::failures(&bad, &lookup))
}
