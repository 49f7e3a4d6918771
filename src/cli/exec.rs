//! `cofferdam exec`: runs a program with plaintext in its environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};

/// Run a program with decrypted values, which never touch a disk.
///
/// --file gives variables: the top-level keys of a document, byte for byte. --dir gives files: each NAME.sops.EXT becomes
/// NAME.EXT in a private folder in memory, and a link to it stands beside the document while the program runs. --env and
/// --files choose otherwise. Where no folder is memory it refuses.
///
/// Variables that hold or name identities (SOPS_*, COFFERDAM_*) are kept from the program. Values in what it prints are
/// masked, unless it prints to a terminal.
///
/// The exit code is the program's own, or 128 + n if signal n ended it; 125 if Cofferdam refuses or fails, 126 if the
/// program cannot be run, 127 if there is none.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The documents NAME.sops.EXT in this folder; may be given several times.
    #[arg(long, value_name = "DIR", required_unless_present = "file")]
    dir: Vec<PathBuf>,
    /// A document; =NAME names its file, or one variable for its whole text. May be given several times.
    #[arg(long, value_name = "FILE[=NAME]")]
    file: Vec<String>,
    /// Set variables (the default for --file).
    #[arg(long)]
    env: bool,
    /// Write files (the default for --dir).
    #[arg(long)]
    files: bool,
    /// Set the variable of this key only; may be given several times.
    #[arg(long, value_name = "KEY")]
    only: Vec<String>,
    /// Put P before the name of each variable.
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Set this variable although it changes how programs run (PATH, LD_PRELOAD, BASH_ENV, ...).
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// The folder for the files: a tmpfs or ramfs that is yours alone.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Wipe a file, or remove a link, that stands where a link to plaintext belongs.
    #[arg(long)]
    replace: bool,
    /// Put no links beside the documents: the program finds the files in $COFFERDAM_DIR.
    #[arg(long)]
    no_links: bool,
    /// Mask values in what the program prints, also on a terminal.
    #[arg(long, conflicts_with = "no_mask")]
    mask: bool,
    /// Mask nothing.
    #[arg(long)]
    no_mask: bool,
    /// The folder of the host's key for $COFFERDAM_DIGEST, instead of /var/lib/cofferdam.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
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

#[cfg(target_os = "linux")]
pub(super) use on_linux::not_run;

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

    use std::collections::BTreeSet;
    use std::io::IsTerminal;
    use std::path::Path;
    use std::sync::Arc;

    use super::{CliError, Context, Duration, ExecArgs, ExitCode, Kind, OsString};
    use crate::cli::document_flags;
    use crate::cli::exec_compose::Asking;
    use crate::cli::exec_digest;
    use crate::cli::exec_files::{Files, Wishes, Written};
    use crate::cli::plaintexts::{self, Plaintext, Source};
    use crate::exec::Named;
    use crate::exec::child::{ChildError, Task};
    use crate::exec::compose::{self, Form, Secrets};
    use crate::exec::compose_command::ComposeCommand;
    use crate::exec::digest::digest;
    use crate::exec::environment::{self, Choice, EnvironmentError};
    use crate::exec::hardening;
    use crate::exec::output::{Collector, Output};
    use crate::exec::patterns::Patterns;
    use crate::exec::supervisor::{Manners, Supervisor};
    use crate::secret::SecretBytes;
    use crate::sops::EmitOptions;

    pub fn run(args: &ExecArgs, context: &Context) -> Result<ExitCode, CliError> {
        no_placeholder(&args.command)?;
        args.is_consistent()?;
        hardening::harden_briefly();
        let (sources, folders) = args.sources(context)?;
        let (plaintexts, lookup) = plaintexts::open(sources, context)?;
        let (from_folders, from_files) = plaintexts.split_at(folders);
        let options = document_flags::printing(context)?;
        let chosen = |folders: bool, files: bool| {
            let folders = folders.then_some(from_folders).into_iter().flatten();
            folders.chain(files.then_some(from_files).into_iter().flatten())
        };
        let variables = variables(args, chosen(args.env, args.env || !args.files), &options)?;
        let for_files = chosen(args.files || !args.env, args.files);
        let wishes = Wishes {
            root: args.root.as_deref(),
            replace: args.replace,
            with_links: !args.no_links,
        };
        let files = args
            .wants_files()
            .then(|| Files::prepare(for_files, wishes, &options, &lookup, context))
            .transpose()?;
        let (mask_out, mask_err) = args.masked();
        let call = ComposeCommand::of(&args.command);
        let form = call.and_then(|call| call.form()).filter(|_| mask_out);
        if form == Some(Form::File) {
            return Err(CliError::usage("compose would write the values to a file")
                .hint("docker compose config without --output prints them masked"));
        }
        let asked = call.filter(ComposeCommand::makes_images);
        let secrets =
            (mask_out || mask_err || asked.is_some()).then(|| Kept::of(&plaintexts, &variables));
        drop((plaintexts, lookup));
        let mut task = Task {
            command: args.command.clone(),
            variables,
            settings: Vec::new(),
        };
        if call.is_some() || args.state.is_some() {
            let state = args.state.as_deref().map(|state| context.resolve(state));
            match exec_digest::key(state.as_deref()) {
                Ok(key) => {
                    let variables = task.variables.iter().map(|v| (Path::new(""), v));
                    let files = files.iter().flat_map(Files::all);
                    let digest = digest(&key, variables.chain(files));
                    task.settings
                        .push((exec_digest::VARIABLE.to_owned(), digest.into()));
                }
                Err(error) if args.state.is_some() => return Err(CliError::from_error(&error)),
                Err(error) => context.ui.warn(format!(
                    "{} is not set: {}",
                    exec_digest::VARIABLE,
                    CliError::from_error(&error).on_one_line()
                )),
            }
        }
        if files.is_none() && !mask_out && !mask_err && asked.is_none() {
            return Err(not_run(&task.replace()));
        }
        let mut supervisor = Supervisor::new().map_err(|e| not_run(&e))?;
        let written = match files {
            Some(files) => files.write(context, |folder| supervisor.guard().keep(folder.slot()))?,
            None => Written::default(),
        };
        if let [path] = written.paths.as_slice() {
            let files = path.clone().into_os_string();
            task.settings.push((FILES_VARIABLE.to_owned(), files));
        }
        let masked = || {
            let patterns = secrets.as_ref().map(|s| Arc::clone(&s.patterns));
            patterns.map_or(Output::Own, Output::Masked)
        };
        let collector = Collector::default();
        let manners = Manners {
            stdout: match form {
                Some(_) => Output::Collected(collector.clone()),
                None if mask_out => masked(),
                None => Output::Own,
            },
            stderr: if mask_err { masked() } else { Output::Own },
            grace: args.grace.map(Duration::from_secs),
        };
        if let (Some(command), Some(secrets)) = (asked, &secrets) {
            let asking = Asking {
                command,
                task: &task,
                secrets: secrets.secrets(),
                written: &written,
            };
            if let Some(code) = asking.look(&mut supervisor, context)? {
                return Ok(ExitCode::from(code));
            }
        }
        let code = supervisor.run(task, &manners).map_err(|e| not_run(&e));
        // Before the guard is sent home.
        drop(written);
        let code = code?;
        // A command that failed said why on standard error.
        if let (Some(form), Some(secrets), 0) = (form, &secrets, code) {
            let scrubbed = compose::scrub(form, &collector.take(), secrets.secrets())
                .map_err(|e| CliError::from_error(&e).hint("--no-mask prints it as it is"))?;
            for (service, field) in &scrubbed.left {
                context.ui.warn(format!(
                    "a value stands in `{field}` of the service {service}, and stays there"
                ));
            }
            context.ui.answer_bytes(&scrubbed.text)?;
        }
        Ok(ExitCode::from(code))
    }

    /// What is kept of the documents to find their values in output.
    struct Kept {
        names: BTreeSet<String>,
        values: Vec<SecretBytes>,
        patterns: Arc<Patterns>,
    }

    impl Kept {
        fn of(plaintexts: &[Plaintext], variables: &[Named]) -> Self {
            let values: Vec<_> = plaintexts.iter().flat_map(Plaintext::secrets).collect();
            let keys = plaintexts.iter().flat_map(Plaintext::keys);
            Self {
                names: keys
                    .chain(variables.iter().map(|v| v.name.clone()))
                    .collect(),
                patterns: Arc::new(Patterns::of(values.iter().map(|s| s.expose().as_slice()))),
                values,
            }
        }

        fn secrets(&self) -> Secrets<'_> {
            Secrets {
                names: &self.names,
                values: &self.values,
                patterns: &self.patterns,
            }
        }
    }

    /// Tells the program where its files are.
    const FILES_VARIABLE: &str = "COFFERDAM_DIR";

    impl ExecArgs {
        fn wants_files(&self) -> bool {
            self.files || (!self.env && !self.dir.is_empty())
        }

        fn wants_variables(&self) -> bool {
            self.env || (!self.files && !self.file.is_empty())
        }

        fn is_consistent(&self) -> Result<(), CliError> {
            let for_variables =
                !self.only.is_empty() || !self.prefix.is_empty() || !self.allow.is_empty();
            if for_variables && !self.wants_variables() {
                return Err(CliError::usage(
                    "--only, --prefix and --allow are about variables, and there are none",
                )
                .hint("--env sets variables, also of --dir"));
            }
            let for_files = self.root.is_some() || self.replace || self.no_links;
            if for_files && !self.wants_files() {
                return Err(CliError::usage(
                    "--root, --replace and --no-links are about files, and there are none",
                )
                .hint("--files writes files, also of --file"));
            }
            Ok(())
        }

        /// The documents, those of folders first, and how many these are.
        fn sources(&self, context: &Context) -> Result<(Vec<Source>, usize), CliError> {
            let mut sources = Vec::new();
            for folder in &self.dir {
                sources.extend(Source::all_in_folder(folder, context)?);
            }
            let folders = sources.len();
            for text in &self.file {
                sources.push(Source::parse(text, context)?);
            }
            Ok((sources, folders))
        }

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

    fn variables<'p>(
        args: &ExecArgs,
        plaintexts: impl Iterator<Item = &'p Plaintext>,
        options: &EmitOptions,
    ) -> Result<Vec<Named>, CliError> {
        let choice = Choice {
            only: &args.only,
            prefix: &args.prefix,
            allow: &args.allow,
        };
        let mut found = Vec::new();
        for plaintext in plaintexts {
            found.extend(plaintext.variables(choice, options)?);
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

    pub fn not_run(error: &ChildError) -> CliError {
        let failure = CliError::from_error(error);
        match error {
            ChildError::NotFound { .. } => failure.with_kind(Kind::NotFound),
            ChildError::NotRunnable { .. } => failure.with_kind(Kind::NotRunnable),
            ChildError::TooLong => failure.hint("name the keys that are wanted: --only KEY"),
            ChildError::System { .. } => failure,
        }
    }
}
