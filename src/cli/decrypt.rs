//! `cofferdam decrypt`: one document's plaintext.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::document_flags::{self, FileFlags};
use crate::cli::error::CliError;
use crate::repo::atomic_write::Mode;
use crate::secret::SecretBytes;
use crate::sops::extract::{self, ExtractPath};
use crate::sops::open::Warning;
use crate::sops::store::detect;
use crate::sops::tree::Tree;
use crate::sops::{Document, EmitOptions, Store};

/// Decrypt a document and print what sops would print.
///
/// The MAC is checked before anything is printed. Nothing is written unless --in-place or --output say so.
#[derive(Debug, Args)]
pub struct DecryptArgs {
    #[command(flatten)]
    flags: FileFlags,
    /// Print one part only: '["key"]["other"][0]'.
    #[arg(long, value_name = "PATH")]
    extract: Option<String>,
    /// Print even if the MAC does not match; a changed value is still refused.
    #[arg(long)]
    ignore_mac: bool,
}

/// Runs `cofferdam decrypt`.
///
/// # Errors
/// Usage: flags that contradict each other. Failure: the file cannot be read, opened, verified or printed.
pub fn run(args: &DecryptArgs, context: &Context) -> Result<(), CliError> {
    let flags = &args.flags;
    let path = match &args.extract {
        Some(text) => Some(ExtractPath::parse(text).map_err(|e| {
            CliError::usage(e).hint("cofferdam decrypt --extract '[\"key\"][0]' FILE")
        })?),
        None => None,
    };
    let config = flags.config(context)?;
    let options = flags.emit_options(config.as_ref());
    let source = flags.read(context)?;
    let label = flags.label();
    let what = format!("cannot decrypt {label}");
    let content = detect::store_of(&source);
    let document = Document::parse(flags.input_store(), source).map_err(|e| {
        let error = document_flags::failure(&what, &e, None);
        match content {
            Some(store) if store != flags.input_store() => {
                error.hint(format!("it looks like {store}: --input-type {store}"))
            }
            _ => error,
        }
    })?;
    let lookup = document_flags::identities(context);
    let failed = |e| document_flags::failure(&what, &e, Some(&lookup));
    let key = document
        .unwrap_data_key(&lookup.identities)
        .map_err(failed)?;
    let output = flags.output_store();
    let plain = if args.ignore_mac {
        let plain = document.open_ignoring_mac(&key).map_err(failed)?;
        warn(context, &label, plain.warnings());
        print(plain.tree(), path.as_ref(), output, &options, &what)?
    } else {
        let plain = document.open(&key).map_err(failed)?;
        warn(context, &label, plain.warnings());
        print(plain.tree(), path.as_ref(), output, &options, &what)?
    };
    flags.write(context, plain.expose(), Mode::Exact(0o600))?;
    Ok(())
}

fn print(
    tree: &Tree,
    path: Option<&ExtractPath>,
    output: Store,
    options: &EmitOptions,
    what: &str,
) -> Result<SecretBytes, CliError> {
    let printed = match path {
        None => crate::sops::store::emit(output, tree, None, options),
        Some(path) => {
            let node = path
                .find(tree)
                .map_err(|e| CliError::failed(what).caused_by(&e))?;
            extract::emit(node, output, options)
        }
    };
    printed.map_err(|e| CliError::failed(what).caused_by(&e))
}

/// Tells what was odd.
pub fn warn(context: &Context, label: &str, warnings: &[Warning]) {
    for warning in warnings {
        match warning.line {
            Some(line) => context
                .ui
                .warn(format!("{label}, line {line}: {}", warning.text)),
            None => context.ui.warn(format!("{label}: {}", warning.text)),
        }
    }
}
