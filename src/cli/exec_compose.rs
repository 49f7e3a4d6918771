//! What `exec` asks compose before it makes containers: whether they would mount files that go with the run, and which
//! values dockerd is about to keep.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: finds out where a mount's source leads"
)]

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::exec_files::Written;
use crate::exec::child::Task;
use crate::exec::compose::Secrets;
use crate::exec::compose_command::ComposeCommand;
use crate::exec::compose_project::{self, Mount, Project};
use crate::exec::output::{Collector, Output};
use crate::exec::supervisor::{Manners, Supervisor};

/// How compose is asked.
pub struct Asking<'a> {
    /// The call that is about to be made.
    pub command: ComposeCommand<'a>,
    /// With its environment.
    pub task: &'a Task,
    /// What may not be printed.
    pub secrets: Secrets<'a>,
    /// What stands in memory for this run.
    pub written: &'a Written,
}

/// Compose failed, or says no project.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("{0}")]
    Said(String),
    #[error("docker compose config failed with exit code {0}")]
    Failed(u8),
}

impl Asking<'_> {
    /// Names on standard error what dockerd keeps; the exit code if a signal ended it all meanwhile.
    ///
    /// # Errors
    /// A container would mount a file that goes with the run; compose does not say.
    pub fn look(
        &self,
        supervisor: &mut Supervisor,
        context: &Context,
    ) -> Result<Option<u8>, CliError> {
        let mut project = self.project(&[], supervisor)?;
        if let Some(signal) = supervisor.was_told() {
            return Ok(Some(128 + signal));
        }
        // A service that is named is run whatever its profile.
        let named = self.command.words().iter().filter_map(|word| word.to_str());
        let mut unknown = named.filter(|word| !word.starts_with('-') && !word.contains('='));
        if unknown.any(|word| !project.services.contains(word)) {
            let all = self.project(&["--profile", "*"], supervisor)?;
            if self
                .command
                .words()
                .iter()
                .filter_map(|word| word.to_str())
                .any(|word| all.services.contains(word) && !project.services.contains(word))
            {
                project = all;
            }
        }
        if let Some(signal) = supervisor.was_told() {
            return Ok(Some(128 + signal));
        }
        for what in &project.kept {
            context
                .ui
                .warn(format!("{what} holds a value, which dockerd keeps on disk"));
        }
        if !self.command.makes_containers() {
            return Ok(None);
        }
        let flags = self.command.mounted_by_flags().into_iter();
        project.mounts.extend(flags.map(|source| Mount {
            by: "the container".to_owned(),
            source,
        }));
        self.refuse(&project.mounts, context)?;
        Ok(None)
    }

    fn project(&self, flags: &[&str], supervisor: &mut Supervisor) -> Result<Project, CliError> {
        let (out, err) = (Collector::default(), Collector::default());
        let manners = Manners {
            stdout: Output::Collected(out.clone()),
            stderr: Output::Collected(err.clone()),
            grace: None,
        };
        let command = self.command.asking(flags);
        let code = supervisor
            .ask(self.task, &command, &manners)
            .map_err(|error| super::exec::not_run(&error))?;
        if supervisor.was_told().is_some() {
            return Ok(Project::default());
        }
        let unknown = || {
            CliError::failed(
                "it is not known what the containers would mount: compose does not say what the project is",
            )
        };
        if code != 0 {
            let said = self.secrets.masked(&String::from_utf8_lossy(&err.take()));
            return Err(unknown()
                .caused_by(&Unanswered::Failed(code))
                .caused_by(&Unanswered::Said(said.trim().to_owned())));
        }
        compose_project::read(&out.take(), self.secrets).map_err(|e| unknown().caused_by(&e))
    }

    fn refuse(&self, mounts: &[Mount], context: &Context) -> Result<(), CliError> {
        let folders: Vec<PathBuf> = self
            .written
            .folders
            .iter()
            .filter_map(|folder| std::fs::canonicalize(folder.files()).ok())
            .collect();
        let mut refused = Vec::new();
        for Mount { by, source } in mounts {
            let source = context.resolve(source);
            let Ok(real) = std::fs::canonicalize(&source) else {
                continue;
            };
            if folders.iter().any(|folder| real.starts_with(folder)) {
                refused.push(format!(
                    "{by} would mount {}, which goes when the command ends",
                    shown(&source, context)
                ));
            } else if self.written.linked.contains(&real) {
                context.ui.warn(format!(
                    "{by} mounts {}: the links in it lead nowhere in a container",
                    shown(&source, context)
                ));
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let folders = self.written.linked.iter();
        let folders: Vec<String> = folders
            .map(|folder| format!(" --dir {}", shown(folder, context)))
            .collect();
        Err(
            CliError::many(super::error::Kind::Refused, refused).hint(format!(
                "cofferdam unseal{} keeps the files in memory while containers need them",
                folders.concat()
            )),
        )
    }
}

fn shown(path: &Path, context: &Context) -> String {
    let path = path.strip_prefix(&context.directory).unwrap_or(path);
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    path.display().to_string()
}
