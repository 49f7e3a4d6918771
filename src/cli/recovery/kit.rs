//! The kit as it is brought to a rehearsal or a restoration: a file, standard input, or typed from paper.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads the recovery kit from where the person keeps it"
)]

use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::keys::{DataKey, Identity, IdentitySet, KeyFile, Prompt, Recipient, wrap};
use crate::keystore::{Surroundings, TerminalPrompt, look_up};
use crate::recovery::typed_identity;
use crate::secret::SecretBytes;
use crate::topology::Topology;

/// No kit is larger.
const LARGEST: u64 = 1 << 20;

/// Where the kit is.
#[derive(Debug, clap::Args)]
pub struct KitArgs {
    /// The kit's file, or `-` for standard input; without it the identity is typed on the terminal, unseen.
    #[arg(long, value_name = "FILE")]
    kit: Option<PathBuf>,
}

/// A kit that was read: the identity of one of the topology's recovery recipients.
pub struct Kit {
    /// Whose it is.
    pub recipient: Recipient,
    /// Its identity, and nothing else.
    pub identities: IdentitySet,
}

impl KitArgs {
    /// Reads the kit and finds the recovery recipient that it opens, by having it unwrap what is wrapped to each.
    ///
    /// # Errors
    /// The kit cannot be read, or holds the identity of no recovery recipient.
    pub fn read(&self, topology: &Topology, context: &Context) -> Result<Kit, CliError> {
        let recipients = &topology.recovery.recipients;
        let (name, held) = match &self.kit {
            Some(path) if path.as_os_str() == "-" => ("standard input".to_owned(), of_stdin()?),
            Some(path) => {
                let path = context.resolve(path);
                let held = of_file(&path, recipients, context)?;
                (path.display().to_string(), held)
            }
            None => ("what was typed".to_owned(), of_terminal()?),
        };
        let mut failures = Vec::new();
        for recipient in recipients {
            let probe = DataKey::generate();
            let wrapped = wrap::wrap(probe.expose(), recipient)?;
            match held.unwrap_for(recipient, &wrapped) {
                Ok(Some(opened)) if opened == SecretBytes::from_slice(probe.expose()) => {
                    return Ok(Kit {
                        identities: alone(&held, recipient, &name)?,
                        recipient: recipient.clone(),
                    });
                }
                Ok(_) => {}
                Err(error) => failures.push(CliError::from_error(&error)),
            }
        }
        if let Some(failure) = failures.pop() {
            return Err(failure.hint("the kit's plugin or passphrase failed; try again"));
        }
        let wanted: Vec<&str> = recipients.iter().map(Recipient::as_str).collect();
        let mut error = CliError::failed(format!(
            "{name} does not hold the identity of a recovery recipient"
        ));
        for (place, reason) in held.failures() {
            error = error.hint(format!("{place}: {reason}"));
        }
        Err(error.hint(format!(
            "cofferdam.toml names {}; look for the kit of one of them",
            wanted.join(", ")
        )))
    }
}

/// The identity of `recipient` and no other: what else a file holds must not open anything in its place.
fn alone(held: &IdentitySet, recipient: &Recipient, name: &str) -> Result<IdentitySet, CliError> {
    match held.only(recipient) {
        Some(identity) => Ok(identity),
        // Of a plugin's identity nobody but the plugin knows the recipient.
        None if held.identities().len() == 1 => Ok(held.share()),
        None => Err(CliError::failed(format!(
            "{name} holds several identities, and which is the kit's cannot be told"
        ))
        .hint("give the recovery identity alone")),
    }
}

/// The identities of a file, read as `SOPS_AGE_KEY_FILE` is: plain, under a passphrase, or a plugin's.
fn of_file(
    path: &Path,
    recipients: &[Recipient],
    context: &Context,
) -> Result<IdentitySet, CliError> {
    let cannot = |error: &std::io::Error| {
        CliError::failed(format!("cannot read {}", path.display())).caused_by(error)
    };
    std::fs::File::open(path).map_err(|error| cannot(&error))?;
    let mut variables = vec![("PATH", std::env::var_os("PATH").unwrap_or_default())];
    variables.push(("SOPS_AGE_KEY_FILE", path.as_os_str().to_owned()));
    if recipients.iter().any(Recipient::is_ssh) {
        variables.push(("SOPS_AGE_SSH_PRIVATE_KEY_FILE", path.as_os_str().to_owned()));
    }
    let surroundings = Surroundings::of(variables).with_prompt(std::sync::Arc::new(TerminalPrompt));
    let lookup = look_up(&surroundings);
    for warning in &lookup.warnings {
        context.ui.warn(warning);
    }
    if lookup.identities.is_empty() {
        let mut error = CliError::failed(format!("{} holds no identity", path.display()));
        for (_, reason) in lookup.failures() {
            error = error.caused_by(&std::io::Error::other(reason));
        }
        return Err(error);
    }
    Ok(lookup.identities)
}

fn of_stdin() -> Result<IdentitySet, CliError> {
    let mut bytes = SecretBytes::new(Vec::with_capacity(1 << 16));
    std::io::stdin()
        .lock()
        .take(LARGEST)
        .read_to_end(bytes.expose_mut())?;
    if let Ok(file) = KeyFile::parse(bytes.expose()) {
        let identities = file.identities();
        if !identities.is_empty() {
            return Ok(IdentitySet::new(identities));
        }
    }
    let text = std::str::from_utf8(bytes.expose())
        .map_err(|_| CliError::failed("standard input holds no identity"))?;
    Ok(one(typed_identity(text)?))
}

fn of_terminal() -> Result<IdentitySet, CliError> {
    let typed = TerminalPrompt
        .secret("Recovery identity (AGE-SECRET-KEY-1…; blanks and small letters do not matter):")
        .map_err(|error| {
            CliError::usage("the kit must be read from somewhere")
                .caused_by(&error)
                .hint("name its file: --kit FILE, or --kit - for standard input")
        })?;
    Ok(one(typed_identity(typed.expose_secret())?))
}

fn one(identity: Identity) -> IdentitySet {
    IdentitySet::new(vec![identity])
}
