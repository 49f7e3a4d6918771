//! `cofferdam preflight`: the entrypoint of a container whose programs need secrets.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::CliError;

/// Check that secrets can be had here, then become the program.
///
/// An identity is there and nobody else can read it; there is memory for plaintext; the canary opens, or, without one, a
/// challenge to each identity at hand. If anything is wrong all of it is told, and the program does not start. It gets the
/// environment as it is, and takes this process's place: signals and exit codes are its own.
///
/// Exit code 125 if something is wrong, 126 if the program cannot be run, 127 if there is none. Without a program it only
/// checks.
#[derive(Debug, Args)]
pub struct PreflightArgs {
    /// A SOPS document that must open here; may be given several times.
    #[arg(long, value_name = "FILE")]
    canary: Vec<PathBuf>,
    /// The folder in memory that must serve; without it, one is looked for as by `exec`.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs `cofferdam preflight`; comes back only if there is no program.
///
/// # Errors
/// Refusal, all that is wrong at once; the program is not there or cannot be run.
pub fn run(args: &PreflightArgs, context: &Context) -> Result<ExitCode, CliError> {
    on_linux::run(args, context)
}

#[cfg(not(target_os = "linux"))]
mod on_linux {
    use super::{CliError, Context, ExitCode, PreflightArgs};

    pub fn run(_: &PreflightArgs, _: &Context) -> Result<ExitCode, CliError> {
        Err(CliError::failed(
            "preflight works on Linux only: other systems have no memory-backed folders that it could verify",
        ))
    }
}

#[cfg(target_os = "linux")]
mod on_linux {
    #![expect(clippy::disallowed_methods, reason = "edge: becomes the program")]

    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rand::RngCore;

    use super::{CliError, Context, ExitCode, PreflightArgs};
    use crate::cli::error::Kind;
    use crate::cli::memory_files;
    use crate::cli::plaintexts::{self, Source};
    use crate::keys::wrap::wrap;
    use crate::keystore::{self, Lookup, Surroundings};
    use crate::secret::SecretBytes;

    pub fn run(args: &PreflightArgs, context: &Context) -> Result<ExitCode, CliError> {
        let lookup = keystore::look_up(&Surroundings::of_process());
        let mut problems = identities(&lookup);
        if problems.is_empty() {
            problems.extend(opens(args, &lookup, context));
        }
        match memory_files::place(args.root.as_deref(), context) {
            Ok(place) => context
                .ui
                .note(format!("memory for plaintext: {}", place.root().display())),
            Err(error) => problems.push(error),
        }
        let refused = |error: CliError| error.with_kind(Kind::Refused);
        if let Some(last) = problems.pop() {
            for problem in problems {
                context.ui.failure(&problem);
            }
            return Err(refused(last));
        }
        let [program, arguments @ ..] = args.command.as_slice() else {
            return Ok(ExitCode::SUCCESS);
        };
        let error = Command::new(program).args(arguments).exec();
        let shown = program.to_string_lossy();
        Err(if error.kind() == io::ErrorKind::NotFound {
            CliError::new(Kind::NotFound, format!("there is no program `{shown}`"))
        } else {
            CliError::new(Kind::NotRunnable, format!("cannot run `{shown}`")).caused_by(&error)
        })
    }

    /// What is wrong with the identities themselves.
    fn identities(lookup: &Lookup) -> Vec<CliError> {
        let mut problems: Vec<_> = lookup
            .warnings
            .iter()
            .map(|problem| CliError::failed(problem).hint("chmod 400 FILE, and its folder 700"))
            .collect();
        for (source, reason) in lookup.failures() {
            problems.push(CliError::failed(format!(
                "{source} is not usable: {reason}"
            )));
        }
        if lookup.identities.is_empty() && problems.is_empty() {
            let looked: Vec<_> = lookup.sources.iter().map(|s| s.name.as_str()).collect();
            problems.push(
                CliError::failed(format!(
                    "there is no identity; looked at {}",
                    looked.join(", ")
                ))
                .hint("name a key file: SOPS_AGE_KEY_FILE=FILE"),
            );
        }
        problems
    }

    /// What does not open.
    fn opens(args: &PreflightArgs, lookup: &Lookup, context: &Context) -> Vec<CliError> {
        if args.canary.is_empty() {
            return challenges(lookup, context);
        }
        let sources = args.canary.iter().map(|path| Source {
            path: context.resolve(path),
            label: path.display().to_string(),
            name: None,
        });
        match plaintexts::open(sources.collect(), context) {
            Ok(_) => {
                context.ui.note("the canary opens");
                Vec::new()
            }
            Err(error) => vec![error],
        }
    }

    /// Each identity unwraps what is wrapped to its own recipient.
    fn challenges(lookup: &Lookup, context: &Context) -> Vec<CliError> {
        let mut problems = Vec::new();
        for recipient in lookup.identities.recipients() {
            let mut challenge = SecretBytes::new(vec![0; 32]);
            rand::rngs::OsRng.fill_bytes(challenge.expose_mut());
            let answer = wrap(challenge.expose(), &recipient)
                .map_err(|error| CliError::from_error(&error))
                .and_then(|text| Ok(lookup.identities.unwrap_for(&recipient, &text)?));
            match answer {
                Ok(Some(answer)) if answer == challenge => {
                    context
                        .ui
                        .note(format!("the identity of {recipient} opens"));
                }
                Ok(_) => problems.push(CliError::failed(format!(
                    "the identity of {recipient} does not open what is wrapped to it"
                ))),
                Err(error) => problems.push(error),
            }
        }
        problems
    }
}
