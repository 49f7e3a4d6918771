//! `cofferdam redact`: the masker of `exec` as a filter.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: a filter from standard input to standard output"
)]

use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::document_flags;
use crate::cli::documents::Documents;
use crate::cli::error::CliError;
use crate::cli::plaintexts;
use crate::exec::output;
use crate::exec::patterns::Patterns;

/// Mask the values of documents in a text: read it from standard input, print it to standard output.
///
/// A value counts from 8 bytes on: itself, each of its lines, and its base64, URL, JSON and shell forms. If a document does
/// not open nothing is printed, for its values could not be masked.
#[derive(Debug, Args)]
pub struct RedactArgs {
    /// Files, and folders to search for SOPS documents; without any, the working directory.
    paths: Vec<PathBuf>,
}

/// Runs `cofferdam redact`.
///
/// # Errors
/// Failure: there is no document, or one that cannot be opened; the system's.
pub fn run(args: &RedactArgs, context: &Context) -> Result<(), CliError> {
    #[cfg(target_os = "linux")]
    crate::exec::hardening::harden();
    let here = [PathBuf::from(".")];
    let paths = if args.paths.is_empty() {
        &here[..]
    } else {
        &args.paths
    };
    let documents = Documents::find(paths, context)?;
    if documents.is_empty() {
        return Err(
            CliError::failed("there is no SOPS document here, so nothing could be masked")
                .hint("cofferdam redact FOLDER"),
        );
    }
    let lookup = document_flags::identities(context);
    let progress = context.ui.progress("opening", documents.len() as u64);
    let mut failed = Vec::new();
    let mut secrets = Vec::new();
    for (name, opened) in documents.open(&lookup.identities, &progress) {
        match opened {
            Ok((document, verified)) => secrets.extend(plaintexts::secrets(&document, &verified)),
            Err(error) => failed.push((format!("cannot open {name}"), error)),
        }
    }
    drop(progress);
    if !failed.is_empty() {
        return Err(document_flags::failures(&failed, &lookup));
    }
    let patterns = Patterns::of(secrets.iter().map(|s| s.expose().as_slice()));
    drop(secrets);
    let copied = output::copy(
        &mut std::io::stdin().lock(),
        &mut std::io::stdout(),
        &patterns,
    );
    match copied {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| CliError::failed("cannot copy standard input").caused_by(&e)),
    }
}
