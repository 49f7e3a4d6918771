//! The command line: the list of commands and their dispatch. One command a file.
//!
//! A command is a clap `Args` struct whose docstring is its help text, and `run(args, &Context)`.

mod begin;
mod belief;
pub mod check;
mod confirmed;
pub mod context;
pub mod decrypt;
pub mod demo;
mod departures;
mod digest_record;
pub mod document_flags;
pub mod documents;
pub mod encrypt;
mod encrypt_staged;
pub mod error;
pub mod exec;
#[cfg(target_os = "linux")]
mod exec_compose;
#[cfg(target_os = "linux")]
mod exec_digest;
#[cfg(target_os = "linux")]
mod exec_files;
pub mod exposure;
#[cfg(target_os = "linux")]
mod found_plaintext;
pub mod init;
mod kept_sealed;
pub mod leaks;
#[cfg(target_os = "linux")]
mod memory_files;
pub mod migrate;
mod narrator;
mod plaintexts;
pub mod plan;
mod planning;
pub mod preflight;
mod project;
pub mod prove;
mod prove_answer;
mod reader_bars;
pub mod recovery;
pub mod redact;
mod remote;
pub mod renew;
pub mod resume;
pub mod revoke;
mod revoke_party;
pub mod rotate;
mod run_outcome;
pub mod runbook;
#[cfg(target_os = "linux")]
mod script_name;
pub mod ship;
mod ship_print;
mod some_readers;
pub mod split;
pub mod status;
pub mod sync;
pub mod ui;
pub mod undo;
mod unopened;
pub mod unseal;
mod uses;
pub mod verify;
pub mod why;
pub mod wipe;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use context::Context;
use error::{CliError, Kind};
use ui::Ui;

/// Secrets lifecycle manager for GitOps repositories encrypted with SOPS and age.
#[derive(Debug, Parser)]
#[command(
    name = "cofferdam",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    /// Run as if started in DIR.
    #[arg(
        short = 'C',
        value_name = "DIR",
        global = true,
        help_heading = "Everywhere"
    )]
    directory: Option<PathBuf>,
    /// Print answers and errors only.
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::InitArgs),
    Status(status::Args),
    Plan(plan::Args),
    Split(split::Args),
    Rotate(rotate::Args),
    Sync(sync::Args),
    Revoke(revoke::Args),
    Resume(resume::Args),
    Undo(undo::Args),
    Ship(ship::Args),
    Prove(prove::Args),
    Recovery(recovery::RecoveryArgs),
    Check(check::CheckArgs),
    Why(why::WhyArgs),
    Exposure(exposure::ExposureArgs),
    Runbook(runbook::RunbookArgs),
    Exec(exec::ExecArgs),
    Unseal(unseal::UnsealArgs),
    Wipe(wipe::WipeArgs),
    Preflight(preflight::PreflightArgs),
    Redact(redact::RedactArgs),
    Leaks(leaks::LeaksArgs),
    Migrate(migrate::MigrateArgs),
    Demo(demo::Args),
    Encrypt(encrypt::EncryptArgs),
    Decrypt(decrypt::DecryptArgs),
    Verify(verify::VerifyArgs),
    Renew(renew::RenewArgs),
}

/// Parses the command line, runs the command, prints a failure, gives the exit code.
#[cfg_attr(
    target_os = "linux",
    expect(clippy::disallowed_methods, reason = "edge: the command line")
)]
pub fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(leads) = crate::exec::guard::is_asked_for(std::env::args_os()) {
        crate::exec::guard::stand(leads);
        return ExitCode::SUCCESS;
    }
    #[cfg(target_os = "linux")]
    if script_name::is_called(std::env::args_os()) {
        let ui = Ui::new(false);
        return match script_name::run(std::env::args_os(), &ui) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                ui.failure(&error);
                ExitCode::from(error.kind().exit_code())
            }
        };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let ui = Ui::new(cli.quiet);
    let is_exec = matches!(cli.command, Command::Exec(_) | Command::Preflight(_));
    match start(cli, &ui) {
        Ok(code) => code,
        Err(error) if is_exec => {
            let error = exec::refused(error);
            ui.failure(&error);
            ExitCode::from(error.kind().exit_code())
        }
        Err(error) => {
            ui.failure(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Prints help, or what is wrong with the command line. For `exec` that has an exit code of its own.
#[expect(clippy::disallowed_methods, reason = "edge: the command line")]
fn explain(error: &clap::Error) -> ExitCode {
    // A reader that closed the pipe is no failure of ours.
    let _ = error.print();
    let code = if error.exit_code() != 0 && names_exec(std::env::args_os()) {
        Kind::Refused.exit_code()
    } else {
        u8::try_from(error.exit_code()).unwrap_or(Kind::Usage.exit_code())
    };
    ExitCode::from(code)
}

/// Whether the command is `exec`, in arguments that do not parse.
fn names_exec(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_string_lossy().as_ref() {
            "-C" => drop(arguments.next()),
            flag if flag.starts_with('-') => {}
            command => return matches!(command, "exec" | "preflight"),
        }
    }
    false
}

#[expect(clippy::disallowed_methods, reason = "edge: the command line")]
fn start(cli: Cli, ui: &Ui) -> Result<ExitCode, CliError> {
    if let Some(directory) = &cli.directory {
        std::env::set_current_dir(directory).map_err(|e| {
            CliError::failed(format!("cannot change to {}", directory.display())).caused_by(&e)
        })?;
    }
    let context = Context {
        ui: ui.clone(),
        directory: std::env::current_dir()?,
    };
    dispatch(cli.command, &context)
}

fn dispatch(command: Command, context: &Context) -> Result<ExitCode, CliError> {
    let done = match command {
        // The program's own exit code.
        Command::Exec(args) => return exec::run(&args, context),
        Command::Preflight(args) => return preflight::run(&args, context),
        Command::Init(args) => init::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Plan(args) => plan::run(&args, context),
        Command::Split(args) => split::run(&args, context),
        Command::Rotate(args) => rotate::run(&args, context),
        Command::Sync(args) => sync::run(&args, context),
        Command::Revoke(args) => revoke::run(&args, context),
        Command::Resume(args) => resume::run(&args, context),
        Command::Undo(args) => undo::run(&args, context),
        Command::Ship(args) => ship::run(&args, context),
        Command::Prove(args) => prove::run(&args, context),
        Command::Unseal(args) => unseal::run(&args, context),
        Command::Wipe(args) => wipe::run(&args, context),
        Command::Redact(args) => redact::run(&args, context),
        Command::Leaks(args) => leaks::run(&args, context),
        Command::Demo(args) => demo::run(&args, context),
        Command::Recovery(args) => recovery::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Why(args) => why::run(&args, context),
        Command::Exposure(args) => exposure::run(&args, context),
        Command::Runbook(args) => runbook::run(&args, context),
        Command::Migrate(args) => migrate::run(&args, context),
        Command::Encrypt(args) => encrypt::run(&args, context),
        Command::Decrypt(args) => decrypt::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Renew(args) => renew::run(&args, context),
    };
    done.map(|()| ExitCode::SUCCESS)
}
