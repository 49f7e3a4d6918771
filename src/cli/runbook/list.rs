//! `cofferdam runbook list`.

use serde_json::json;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::runbook::{journal, shelf};
use crate::repo::git::Git;
use crate::report::table::Table;

/// List the runbooks: those that come with cofferdam and those of the repository.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The repository's folder of runbooks cannot be read.
pub fn run(args: &ListArgs, context: &Context) -> Result<(), CliError> {
    let git = Git::discover(&context.directory).ok();
    let root = git.as_ref().map(Git::root);
    let mut table = Table::new(0);
    table.row(["runbook", "does", "from"]);
    let mut all = Vec::new();
    for name in shelf::names(root)? {
        let (title, place, problem) = match shelf::find(&name, root) {
            Ok(book) => match book.parse() {
                Ok(runbook) => (runbook.title, book.place(), None),
                Err(error) => (String::new(), book.place(), Some(first_line(&error))),
            },
            Err(error) => (String::new(), String::new(), Some(first_line(&error))),
        };
        let unfinished = git
            .as_ref()
            .and_then(|git| journal::peek(git, &name))
            .is_some_and(|progress| !progress.ended);
        let shown = match &problem {
            Some(problem) => format!("(damaged) {problem}"),
            None => title.clone(),
        };
        let from = if unfinished {
            format!("{place}; stopped part-way")
        } else {
            place.clone()
        };
        table.row([name.clone(), shown, from]);
        all.push(json!({
            "name": name,
            "title": title,
            "from": place,
            "unfinished": unfinished,
            "problem": problem,
        }));
    }
    if args.json {
        context.ui.answer(serde_json::to_string_pretty(&all)?);
    } else {
        context.ui.answer(table.render().trim_end());
    }
    Ok(())
}

fn first_line(error: &CliError) -> String {
    let lines = error.lines();
    lines
        .first()
        .map(|(_, text)| (*text).to_owned())
        .unwrap_or_default()
}
