//! The binary under the name `sops-decrypt.sh`: what the script of that name did in a stack's folder, from memory.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: the command line, and what is in the working directory"
)]

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::plaintexts::Source;
use crate::cli::ui::Ui;

/// The script's name.
const NAME: &str = "sops-decrypt.sh";
/// The script's key file where none was named.
const KEY_FILE: &str = "/etc/sops/age/keys.txt";

/// Whether the binary was called by the script's name.
pub fn is_called(mut arguments: impl Iterator<Item = OsString>) -> bool {
    let called = arguments.next().unwrap_or_default();
    Path::new(&called)
        .file_name()
        .is_some_and(|name| name == NAME)
}

/// Becomes `cofferdam unseal --dir .`, with the key file that the script used; comes back if there is nothing to do, which
/// is no failure, as it was none of the script.
///
/// # Errors
/// The script took no arguments; the system's.
pub fn run(mut arguments: impl Iterator<Item = OsString>, ui: &Ui) -> Result<(), CliError> {
    if arguments.nth(1).is_some() {
        return Err(CliError::usage(format!(
            "{NAME} takes no arguments: it works in the working directory"
        ))
        .hint("cofferdam unseal --help"));
    }
    let context = Context {
        ui: ui.clone(),
        directory: std::env::current_dir()?,
    };
    if Source::in_folder(Path::new("."), &context)?.is_empty() {
        ui.note("there is no document NAME.sops.EXT here");
        return Ok(());
    }
    ui.note(
        "the plaintext stays in memory until the machine restarts or `cofferdam wipe --dir .` is run here: as post_deploy, if no container mounts it",
    );
    let mut unseal = Command::new("/proc/self/exe");
    unseal.arg0("cofferdam").args(["unseal", "--dir", "."]);
    let names_identity =
        |(name, _): &(OsString, OsString)| name.to_string_lossy().starts_with("SOPS_AGE_");
    if !std::env::vars_os().any(|pair| names_identity(&pair)) && Path::new(KEY_FILE).exists() {
        unseal.env("SOPS_AGE_KEY_FILE", KEY_FILE);
    }
    Err(CliError::failed("cannot run this program again").caused_by(&unseal.exec()))
}
