//! What is done when a file changed: units, containers and commands, once each, and again later where it failed.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: runs what the user asks for when a value changed"
)]

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::command_words;
use crate::exec::child;
use crate::exec::resident::Change;
use crate::topology::glob::Glob;

/// What the user asks for.
#[derive(Debug, Default)]
pub struct Rules(Vec<(Option<Glob>, Action)>);

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Unit(String),
    Container(String),
    Run(String),
}

/// What is to be done now, each once.
#[derive(Debug, Default)]
pub struct Due {
    actions: Vec<Action>,
    done: Vec<bool>,
}

impl Rules {
    /// Reads `[GLOB=]ACTION`s.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(texts: &[String]) -> Result<Self, CliError> {
        let mut rules = Vec::new();
        for text in texts {
            let wrong = |why: &str| {
                CliError::usage(format!("--on-change {text}: {why}")).hint(
                    "[GLOB=]unit:NAME, [GLOB=]container:NAME or [GLOB=]run:COMMAND, GLOB over DIR/NAME.EXT",
                )
            };
            let (glob, action) = match Action::parse(text) {
                Some(action) => (None, action),
                None => {
                    let (glob, action) = text
                        .match_indices('=')
                        .find_map(|(at, _)| Some((&text[..at], Action::parse(&text[at + 1..])?)))
                        .ok_or_else(|| wrong("it says nothing to do"))?;
                    let glob = Glob::parse(glob).map_err(|e| wrong(&e.to_string()))?;
                    (Some(glob), action)
                }
            };
            if action.command().is_none() {
                return Err(wrong("it names nothing, or a quote is left open"));
            }
            rules.push((glob, action));
        }
        Ok(Self(rules))
    }
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        let (kind, what) = text.split_once(':')?;
        let what = what.trim().to_owned();
        match kind {
            "unit" => Some(Self::Unit(what)),
            "container" => Some(Self::Container(what)),
            "run" => Some(Self::Run(what)),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Unit(name) => format!("unit:{name}"),
            Self::Container(name) => format!("container:{name}"),
            Self::Run(command) => format!("run:{command}"),
        }
    }

    /// The program and its arguments; none if there is none.
    fn command(&self) -> Option<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect();
        match self {
            Self::Unit(name) if !name.is_empty() => {
                Some(words(&["systemctl", "try-reload-or-restart", "--", name]))
            }
            Self::Container(name) if !name.is_empty() && !name.starts_with('-') => {
                Some(words(&["docker", "restart", name]))
            }
            Self::Run(command) => command_words::split(command).filter(|words| !words.is_empty()),
            Self::Unit(_) | Self::Container(_) => None,
        }
    }

    fn run(&self, changed: &str, context: &Context) -> Result<(), CliError> {
        if let Self::Container(name) = self
            && !is_running(name)?
        {
            context.ui.note(format!(
                "the container {name} does not run: it is not restarted"
            ));
            return Ok(());
        }
        let failed = |why: String| {
            CliError::failed(format!("{} failed: {why}", self.to_text()))
                .hint("the next `cofferdam unseal` with the same --on-change does it again")
        };
        let Some(words) = self.command() else {
            return Ok(());
        };
        let ended = program(&words)
            .current_dir(&context.directory)
            .env("COFFERDAM_CHANGED", changed)
            .stdin(Stdio::null())
            // Standard output is for what was done.
            .stdout(std::io::stderr())
            .status()
            .map_err(|error| failed(format!("`{}`: {error}", words[0])))?;
        if ended.success() {
            return Ok(());
        }
        Err(failed(ended.to_string()))
    }
}

impl Due {
    /// Adds what these changes of a folder's files ask for.
    pub fn add(
        &mut self,
        rules: &Rules,
        directory: &Path,
        folder: &Path,
        changes: &[(String, Change)],
    ) {
        // As the user would name it, and without links, so that it does not depend on where the command is run.
        let base = std::fs::canonicalize(directory);
        let below = folder.strip_prefix(base.as_deref().unwrap_or(directory));
        let below = below.map(Path::to_owned);
        for (name, _) in changes.iter().filter(|(_, c)| *c != Change::Same) {
            let path = below.as_ref().map(|below| below.join(name));
            let path = path.unwrap_or_default();
            let matches = |glob: &Option<Glob>| {
                glob.as_ref()
                    .is_none_or(|g| g.matches(&path.to_string_lossy()))
            };
            for (_, action) in rules.0.iter().filter(|(glob, _)| matches(glob)) {
                self.push(action);
            }
        }
    }

    /// Adds what an earlier run left undone, as far as the user still asks for it.
    pub fn take_over(&mut self, rules: &Rules, text: &str, context: &Context) {
        for line in text.lines() {
            match rules.0.iter().find(|(_, action)| action.to_text() == line) {
                Some((_, action)) => self.push(action),
                None => context.ui.note(format!(
                    "{line} is not done: it failed earlier, and is not asked for any more"
                )),
            }
        }
    }

    /// Everything, and whether it is done.
    pub fn actions(&self) -> Vec<(String, bool)> {
        let actions = self.actions.iter().map(Action::to_text);
        actions.zip(self.done.iter().copied()).collect()
    }

    /// What is not done, a line each.
    pub fn to_text(&self) -> String {
        let left = self
            .actions
            .iter()
            .zip(&self.done)
            .filter(|(_, done)| !**done);
        left.map(|(action, _)| action.to_text() + "\n").collect()
    }

    /// Does everything, and `keep`s what is left each time. Gives what failed.
    pub fn run(
        &mut self,
        changed: &str,
        context: &Context,
        keep: impl Fn(&str) -> Result<(), CliError>,
    ) -> Vec<CliError> {
        let mut failed = Vec::new();
        for at in 0..self.actions.len() {
            match self.actions[at].run(changed, context) {
                Ok(()) => {
                    self.done[at] = true;
                    failed.extend(keep(&self.to_text()).err());
                }
                Err(error) => failed.push(error),
            }
        }
        failed
    }

    fn push(&mut self, action: &Action) {
        if !self.actions.contains(action) {
            self.actions.push(action.clone());
            self.done.push(false);
        }
    }
}

fn is_running(container: &str) -> Result<bool, CliError> {
    let words = [
        "docker",
        "inspect",
        "--type=container",
        "--format={{.State.Running}}",
    ];
    let words: Vec<String> = words.iter().map(|&w| w.to_owned()).collect();
    let told = program(&words).arg(container).stdin(Stdio::null()).output();
    let told = told.map_err(|e| CliError::failed("cannot run `docker`").caused_by(&e))?;
    if told.status.success() {
        return Ok(told.stdout.starts_with(b"true"));
    }
    Err(CliError::failed(format!(
        "docker knows no container {container}: {}",
        String::from_utf8_lossy(&told.stderr).trim()
    )))
}

/// A program that gets nothing that may hold or name an identity.
pub fn program(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    child::withhold_identities(&mut command);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Result<Rules, CliError> {
        let texts: Vec<String> = texts.iter().map(|&t| t.to_owned()).collect();
        Rules::parse(&texts)
    }

    #[test]
    fn what_is_asked_for_is_done_once_and_only_for_what_changed() {
        let rules = rules(&[
            "docker/stacks/{kasm,nvr}/**/.env=container:newt",
            "unit:app.service",
            "*.json=run:sh -c 'a=b'",
        ])
        .unwrap();
        let changes = |list: &[(&str, Change)]| -> Vec<_> {
            list.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect()
        };
        let (here, newt) = (
            Path::new("/none"),
            Path::new("/none/docker/stacks/kasm/newt"),
        );
        let mut due = Due::default();
        due.add(&rules, here, newt, &changes(&[(".env", Change::Same)]));
        assert!(due.actions().is_empty());
        let both = changes(&[(".env", Change::Changed), ("b.env", Change::New)]);
        due.add(&rules, here, newt, &both);
        assert_eq!(due.to_text(), "container:newt\nunit:app.service\n");
        due.add(
            &rules,
            here,
            here,
            &changes(&[("s3.json", Change::Removed)]),
        );
        assert!(due.to_text().ends_with("run:sh -c 'a=b'\n"));
    }

    #[test]
    fn what_says_nothing_to_do_is_refused() {
        for text in [
            "",
            "x",
            "unit:",
            "a=b",
            "run:",
            "run:'open",
            "container:--help",
            "/abs=unit:x",
        ] {
            assert!(rules(&[text]).is_err(), "{text}");
        }
    }
}
