//! `cofferdam exec`: runs a program with plaintext in its environment.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};

/// Run a program with decrypted values, which never touch a disk.
///
/// The top-level keys of each document become environment variables, byte for byte. Variables that hold or name
/// identities (SOPS_*, COFFERDAM_*) are kept from the program. Values in what it prints are masked, unless it prints to a
/// terminal.
///
/// The exit code is the program's own, or 128 + n if signal n ended it; 125 if Cofferdam refuses or fails, 126 if the
/// program cannot be run, 127 if there is none.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// A document; with =NAME its whole text becomes one variable of that name.
    #[arg(long, value_name = "FILE[=NAME]", required = true)]
    file: Vec<String>,
    /// Set variables (the default for --file).
    #[arg(long)]
    env: bool,
    /// Set the variable of this key only; may be given several times.
    #[arg(long, value_name = "KEY")]
    only: Vec<String>,
    /// Put P before the name of each variable.
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Set this variable although it changes how programs run (PATH, LD_PRELOAD, BASH_ENV, ...).
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// Mask values in what the program prints, also on a terminal.
    #[arg(long, conflicts_with = "no_mask")]
    mask: bool,
    /// Mask nothing.
    #[arg(long)]
    no_mask: bool,
    /// Kill the program if it goes on for this long after a signal to end.
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u64>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs `cofferdam exec`; the exit code is the program's.
///
/// # Errors
/// Every refusal has exit code 125, a program that cannot be run 126, one that is not there 127.
pub fn run(args: &ExecArgs, context: &Context) -> Result<ExitCode, CliError> {
    on_linux::run(args, context).map_err(refused)
}

/// A failure of ours, told apart from the program's exit codes.
pub fn refused(error: CliError) -> CliError {
    match error.kind() {
        Kind::NotRunnable | Kind::NotFound => error,
        _ => error.with_kind(Kind::Refused),
    }
}

#[cfg(not(target_os = "linux"))]
mod on_linux {
    use super::{CliError, Context, ExecArgs, ExitCode};

    pub fn run(_: &ExecArgs, _: &Context) -> Result<ExitCode, CliError> {
        Err(CliError::failed(
            "exec works on Linux only: other systems have no memory-backed folders that it could verify",
        ))
    }
}

#[cfg(target_os = "linux")]
mod on_linux {
    #![expect(
        clippy::disallowed_methods,
        reason = "edge: asks whether the streams are terminals"
    )]

    use std::io::IsTerminal;
    use std::sync::Arc;

    use super::{CliError, Context, Duration, ExecArgs, ExitCode, Kind, OsString};
    use crate::cli::document_flags;
    use crate::cli::plaintexts::{self, Plaintext, Source};
    use crate::exec::Named;
    use crate::exec::child::{ChildError, Task};
    use crate::exec::environment::{self, Choice, EnvironmentError};
    use crate::exec::hardening;
    use crate::exec::patterns::Patterns;
    use crate::exec::supervisor::{Manners, Supervisor};

    pub fn run(args: &ExecArgs, context: &Context) -> Result<ExitCode, CliError> {
        no_placeholder(&args.command)?;
        hardening::harden();
        let sources = args.file.iter().map(|text| Source::parse(text, context));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let plaintexts = plaintexts::open(sources, context)?;
        let variables = variables(args, &plaintexts, context)?;
        let (mask_out, mask_err) = args.masked();
        let patterns = (mask_out || mask_err).then(|| patterns(&plaintexts));
        drop(plaintexts);
        let task = Task {
            command: args.command.clone(),
            variables,
            settings: Vec::new(),
        };
        if !mask_out && !mask_err {
            return Err(not_run(&task.replace()));
        }
        let mut supervisor = Supervisor::new().map_err(|e| not_run(&e))?;
        let manners = Manners {
            stdout: patterns.clone().filter(|_| mask_out),
            stderr: patterns.filter(|_| mask_err),
            grace: args.grace.map(Duration::from_secs),
        };
        let code = supervisor.run(task, &manners).map_err(|e| not_run(&e))?;
        Ok(ExitCode::from(code))
    }

    impl ExecArgs {
        /// Whether standard output and standard error are masked.
        fn masked(&self) -> (bool, bool) {
            let masked = |is_terminal: bool| !self.no_mask && (self.mask || !is_terminal);
            (
                masked(std::io::stdout().is_terminal()),
                masked(std::io::stderr().is_terminal()),
            )
        }
    }

    /// Komodo replaces the placeholder by its own command; where it is left, it would be run as one.
    fn no_placeholder(command: &[OsString]) -> Result<(), CliError> {
        const PLACEHOLDER: &str = "[[COMPOSE_COMMAND]]";
        let stands = |word: &OsString| word.to_string_lossy().contains(PLACEHOLDER);
        if command.iter().any(stands) {
            return Err(CliError::usage(format!(
                "the command still holds the placeholder {PLACEHOLDER}"
            ))
            .hint("Komodo fills it in `compose_cmd_wrapper` only"));
        }
        Ok(())
    }

    fn variables(
        args: &ExecArgs,
        plaintexts: &[Plaintext],
        context: &Context,
    ) -> Result<Vec<Named>, CliError> {
        let choice = Choice {
            only: &args.only,
            prefix: &args.prefix,
            allow: &args.allow,
        };
        let options = document_flags::printing(context)?;
        let mut found = Vec::new();
        for plaintext in plaintexts {
            found.extend(plaintext.variables(choice, &options)?);
        }
        environment::variables(found, choice).map_err(|problems| {
            let hinted = problems.iter().map(|problem| {
                let hint = match problem {
                    EnvironmentError::Dangerous { name, .. } => {
                        Some(format!("--allow {name} sets it all the same"))
                    }
                    EnvironmentError::BadName { .. } => {
                        Some("name the keys that are wanted: --only KEY".to_owned())
                    }
                    EnvironmentError::Nul { .. }
                    | EnvironmentError::Duplicate { .. }
                    | EnvironmentError::Absent(_) => None,
                };
                (problem.to_string(), hint)
            });
            CliError::many_with_hints(Kind::Refused, hinted)
        })
    }

    fn patterns(plaintexts: &[Plaintext]) -> Arc<Patterns> {
        let secrets: Vec<_> = plaintexts.iter().flat_map(Plaintext::secrets).collect();
        Arc::new(Patterns::of(secrets.iter().map(|s| s.expose().as_slice())))
    }

    fn not_run(error: &ChildError) -> CliError {
        let failure = CliError::from_error(error);
        match error {
            ChildError::NotFound { .. } => failure.with_kind(Kind::NotFound),
            ChildError::NotRunnable { .. } => failure.with_kind(Kind::NotRunnable),
            ChildError::TooLong => failure.hint("name the keys that are wanted: --only KEY"),
            ChildError::System { .. } => failure,
        }
    }
}
