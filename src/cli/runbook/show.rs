//! `cofferdam runbook show`.

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::runbook::{given, shelf, unfilled};
use crate::repo::git::Git;
use crate::runbook::{fill, markdown};

/// Print a runbook as Markdown: the very commands that `runbook run` runs.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The runbook.
    #[arg(value_name = "NAME")]
    name: String,
    /// Fill in a parameter; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no such runbook, or it has mistakes: all of them at once.
pub fn run(args: &ShowArgs, context: &Context) -> Result<(), CliError> {
    let git = Git::discover(&context.directory).ok();
    let runbook = shelf::find(&args.name, git.as_ref().map(Git::root))?.parse()?;
    let mut values = given(&args.set)?;
    for (name, value) in &values {
        fill::check_value(name, value).map_err(|e| unfilled(&e, &runbook.parameters))?;
        if runbook.parameters.iter().all(|p| p.name != *name) {
            let error = fill::FillError::Unknown {
                runbook: runbook.name.clone(),
                name: name.clone(),
            };
            return Err(unfilled(&error, &runbook.parameters));
        }
    }
    for parameter in &runbook.parameters {
        let stand_in = || parameter.name.to_uppercase();
        values
            .entry(parameter.name.clone())
            .or_insert_with(|| parameter.default.clone().unwrap_or_else(stand_in));
    }
    let page = markdown(&runbook.filled(&values));
    context.ui.answer(page.trim_end());
    Ok(())
}
