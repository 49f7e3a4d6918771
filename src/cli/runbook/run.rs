//! `cofferdam runbook run`: does the steps one by one, journaled, so that a run that stopped goes on where it was.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::apply::JournalFile;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::discover;
use crate::cli::runbook::journal::Journal;
use crate::cli::runbook::shelf::{self, Book};
use crate::cli::runbook::trust::{self, Confirmed, Standing};
use crate::cli::runbook::{command, given, unfilled};
use crate::cli::ui::Tone;
use crate::journal::Outcome;
use crate::repo::git::Git;
use crate::repo::lock::{LockError, RunLock};
use crate::runbook::markdown::span;
use crate::runbook::progress::Current;
use crate::runbook::{self, Action, Command, Entry, Progress, Runbook, Step};

/// Run a runbook's steps, or go on with one that stopped.
///
/// Shows the steps and asks. Each step is journaled before and after: run again, it goes on with the step it was in, and does
/// not repeat those that were done. Commands run in the repository's root and read nothing from standard input. A runbook of
/// the repository that was changed since it last ran here must be accepted by name.
///
/// Exit codes, as a timer needs them: 0 all done; 3 all done, and the last command has findings (`status`); 5 stopped
/// part-way, and the same command goes on; 1 refused before the first step.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The runbook.
    #[arg(value_name = "NAME")]
    name: String,
    /// Fill in a parameter; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Go ahead without asking; also your yes to the runbook's questions, but for those that are about your hands' work.
    #[arg(short, long)]
    yes: bool,
    /// Your yes to the question of this step; may be given several times.
    #[arg(long, value_name = "STEP")]
    confirm: Vec<String>,
    /// Begin at this step and leave out those before it.
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// Forget how far an earlier run came.
    #[arg(long)]
    restart: bool,
    /// Accept the runbook NAME although its text was changed since it last ran here.
    #[arg(long, value_name = "NAME")]
    accept: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Exit 1 for a refusal before the first step, 2 for wrong parameters, 5 for a stop part-way, 3 for findings at the end.
pub fn run(args: &RunArgs, context: &Context) -> Result<(), CliError> {
    let git = discover(&context.directory)?;
    let book = shelf::find(&args.name, Some(git.root()))?;
    let runbook = book.parse()?;
    for step in args.confirm.iter().chain(&args.from) {
        if runbook.step(step).is_none() {
            let steps: Vec<&str> = runbook.steps.iter().map(|s| s.name.as_str()).collect();
            return Err(CliError::usage(format!("{} has no step {step}", args.name))
                .hint(format!("its steps are: {}", steps.join(", "))));
        }
    }
    let lock = lock(&git)?;
    let (mut journal, progress) = Journal::open(&git, &args.name)?;
    let progress = progress.filter(|p| !p.ended && !args.restart);
    let set = given(&args.set)?;
    if let Some(progress) = &progress {
        refuse_other(progress, &book, &set, args)?;
    }
    let values = match &progress {
        Some(progress) => runbook.values(&progress.set),
        None => runbook.values(&set),
    }
    .map_err(|error| unfilled(&error, &runbook.parameters))?;
    let runbook = runbook.filled(&values);
    let mut confirmed = Confirmed::open(&git)?;
    let todo = Todo::of(&runbook, progress, args.from.as_deref());
    context.ui.note(todo.shown(&runbook, &book));
    ask(&confirmed, &book, args, context)?;
    confirmed.confirm(&book)?;
    if !todo.going_on {
        journal.restart()?;
        journal.record(&Entry::Begun {
            version: 1,
            digest: runbook::digest(&book.text),
            set: values,
            at: Timestamp::now(),
        })?;
    }
    for step in &todo.left_out {
        journal.record(&Entry::Done {
            step: step.clone(),
            code: None,
            at: Timestamp::now(),
        })?;
    }
    let mut doing = Doing {
        args,
        context,
        git: &git,
        lock: &lock,
        journal,
        current: todo.current,
    };
    let mut last = None;
    for (number, step) in (1..).zip(&runbook.steps) {
        if let Some(code) = todo.skipped.get(&step.name) {
            last = code.or(last);
            continue;
        }
        let place = format!("[{number}/{}] {}", runbook.steps.len(), step.name);
        last = doing.step(step, &place)?.or(last);
    }
    doing.journal.record(&Entry::Ended {
        at: Timestamp::now(),
    })?;
    if last == Some(Kind::Findings.exit_code()) {
        return Err(CliError::new(
            Kind::Findings,
            format!("{} is done, and its last command has findings", args.name),
        ));
    }
    context
        .ui
        .note(format!("{}     {}", Tone::Good.paint("done"), args.name));
    Ok(())
}

/// One runbook at a time in a work tree.
fn lock(git: &Git) -> Result<RunLock, CliError> {
    let path = trust::folder(git)?.join("runbook.lock");
    RunLock::acquire_at(&path).map_err(|error| match error {
        LockError::Held { pid, .. } => {
            let who = pid
                .map(|pid| format!(" (process {pid})"))
                .unwrap_or_default();
            CliError::failed(format!(
                "another runbook, or a command that one started, is at work in this repository{who}"
            ))
            .hint("wait until it has ended, then run this again")
        }
        error => CliError::from_error(&error),
    })
}

/// An unfinished run is gone on with as it was begun.
fn refuse_other(
    progress: &Progress,
    book: &Book,
    set: &BTreeMap<String, String>,
    args: &RunArgs,
) -> Result<(), CliError> {
    let name = &args.name;
    let again = format!("begin anew: cofferdam runbook run {name} --restart");
    if set
        .iter()
        .any(|(key, value)| progress.set.get(key) != Some(value))
    {
        let begun: Vec<String> = progress
            .set
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        return Err(CliError::failed(format!(
            "{name} was begun with {} and has not ended",
            begun.join(" ")
        ))
        .hint(format!("go on with it: cofferdam runbook run {name}"))
        .hint(again));
    }
    if progress.digest != runbook::digest(&book.text) {
        return Err(CliError::failed(format!(
            "{name} was begun with another text than {} has now",
            book.place()
        ))
        .hint(format!("see what was done: cofferdam status; then {again}")));
    }
    Ok(())
}

/// What is to be done, and what not.
struct Todo {
    /// An unfinished run is gone on with.
    going_on: bool,
    /// Steps that are left out, with the exit code of those that were done.
    skipped: BTreeMap<String, Option<u8>>,
    /// Those of them that the operator leaves out.
    left_out: Vec<String>,
    /// The step that was cut off.
    current: Option<Current>,
}

impl Todo {
    fn of(runbook: &Runbook, progress: Option<Progress>, from: Option<&str>) -> Self {
        let going_on = progress.is_some();
        let (mut skipped, current) = match progress {
            Some(progress) => (progress.done, progress.current),
            None => (BTreeMap::new(), None),
        };
        let mut before = from.is_some();
        let mut left_out = Vec::new();
        for step in &runbook.steps {
            if from == Some(step.name.as_str()) {
                before = false;
            }
            match (before, from.is_some()) {
                (true, _) => {
                    if !skipped.contains_key(&step.name) {
                        left_out.push(step.name.clone());
                    }
                    skipped.entry(step.name.clone()).or_default();
                }
                // Those from there on are done, whether they were before or not.
                (false, true) => {
                    skipped.remove(&step.name);
                }
                (false, false) if step.again => {
                    skipped.remove(&step.name);
                }
                (false, false) => {}
            }
        }
        Self {
            going_on,
            skipped,
            left_out,
            current,
        }
    }

    /// The steps, for the person who is asked.
    fn shown(&self, runbook: &Runbook, book: &Book) -> String {
        let mut text = format!("{} ({})\n", Tone::Bold.paint(&runbook.title), book.place());
        for (number, step) in (1..).zip(&runbook.steps) {
            let what = match &step.action {
                Action::Run { command, .. } => command.shown(),
                Action::Confirm { question, .. } => format!("ask: {question}"),
                Action::WaitUntil {
                    command, timeout, ..
                } => format!("wait up to {} for: {}", span(*timeout), command.shown()),
            };
            let mark = match self.skipped.get(&step.name) {
                Some(_) => " (left out)",
                None if self.current.as_ref().is_some_and(|c| c.step == step.name) => {
                    " (goes on here)"
                }
                None => "",
            };
            let what = what.replace('\n', "\n       ");
            text.push_str(&format!(
                "\n  {number:>2}  {}{mark}\n       {what}",
                step.name
            ));
        }
        text.push('\n');
        text
    }
}

/// Protocol rule 22: changed commands are confirmed by name, beyond `--yes`.
fn ask(
    confirmed: &Confirmed,
    book: &Book,
    args: &RunArgs,
    context: &Context,
) -> Result<(), CliError> {
    let name = &args.name;
    let ui = &context.ui;
    let refused = || CliError::failed("not confirmed; nothing was done");
    if confirmed.standing(book) == Standing::Changed && args.accept.as_ref() != Some(name) {
        let changed = format!(
            "{} is not the {name} that ran here last; its commands are those above",
            book.place()
        );
        if !ui.can_ask() {
            return Err(CliError::failed(changed)
                .hint(format!("read it: cofferdam runbook show {name}"))
                .hint(format!(
                    "then accept it by name: cofferdam runbook run {name} --accept {name}"
                )));
        }
        ui.warn(changed);
        if ui.ask(&format!("Type {name} to accept it:"))? != *name {
            return Err(refused());
        }
        return Ok(());
    }
    if args.yes || ui.confirm("\nDo this?")? {
        return Ok(());
    }
    Err(refused())
}

/// A runbook at work.
struct Doing<'a> {
    args: &'a RunArgs,
    context: &'a Context,
    git: &'a Git,
    lock: &'a RunLock,
    journal: Journal,
    current: Option<Current>,
}

impl Doing<'_> {
    /// Does one step; the exit code of its command, if it has one.
    fn step(&mut self, step: &Step, place: &str) -> Result<Option<u8>, CliError> {
        let cut_off = self.current.take().filter(|c| c.step == step.name);
        let at = Timestamp::now();
        let runs = match cut_off {
            Some(_) => Vec::new(),
            None => self.runs_since(at)?.into_iter().map(|(id, _)| id).collect(),
        };
        self.journal.record(&Entry::Started {
            step: step.name.clone(),
            runs,
            at,
        })?;
        let code = match &step.action {
            Action::Run { command, allow } => {
                Some(self.run(step, place, command, allow, cut_off.as_ref())?)
            }
            Action::Confirm { question, by_hand } => {
                self.confirm(step, place, question, *by_hand)?;
                None
            }
            Action::WaitUntil {
                command,
                every,
                timeout,
            } => {
                self.say(place, &format!("wait for: {}", command.shown()));
                let seconds =
                    |d: &jiff::SignedDuration| Duration::from_secs(d.as_secs().unsigned_abs());
                let root = self.git.root();
                if !command::wait_until(command, root, self.lock, seconds(every), seconds(timeout))?
                {
                    return Err(self.stopped(
                        step,
                        &format!(
                            "{} did not succeed within {}",
                            command.shown(),
                            span(*timeout)
                        ),
                    ));
                }
                None
            }
        };
        self.journal.record(&Entry::Done {
            step: step.name.clone(),
            code,
            at: Timestamp::now(),
        })?;
        Ok(code)
    }

    fn run(
        &self,
        step: &Step,
        place: &str,
        command: &Command,
        allow: &[u8],
        cut_off: Option<&Current>,
    ) -> Result<u8, CliError> {
        let begun = match cut_off {
            Some(current) if command.resume().is_some() => self.begun_by(current)?,
            _ => None,
        };
        let resume = match begun {
            // Killed between the run's last entry and ours.
            Some((run, Some(Outcome::Completed))) => {
                self.say(
                    place,
                    &format!("run {run} has ended; nothing is left to do"),
                );
                return Ok(0);
            }
            Some((_, None)) => command.resume(),
            // Taken back by somebody, gone on with in another clone, or never begun: the command itself knows what is left.
            Some((_, Some(Outcome::Undone | Outcome::HandedOver))) | None => None,
        };
        let command = resume.as_ref().unwrap_or(command);
        self.say(place, &command.shown());
        let status = command::run(command, self.git.root(), self.lock)?;
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) if allow.contains(&code) => Ok(code),
            Some(code) => Err(self.stopped(
                step,
                &format!("{} ended with exit code {code}", command.shown()),
            )),
            None => Err(self.stopped(step, &format!("{} was ended: {status}", command.shown()))),
        }
    }

    /// The run of ours that a step began before it was cut off.
    fn begun_by(&self, current: &Current) -> Result<Option<(String, Option<Outcome>)>, CliError> {
        let mut runs = self.runs_since(current.at)?;
        runs.retain(|(id, _)| !current.runs.contains(id));
        runs.sort_by_key(|(_, outcome)| outcome.is_none());
        Ok(runs.pop())
    }

    fn runs_since(&self, at: Timestamp) -> Result<Vec<(String, Option<Outcome>)>, CliError> {
        let runs = JournalFile::runs_since(self.git.root(), at)?;
        Ok(runs
            .into_iter()
            .map(|(id, outcome)| (id.to_string(), outcome))
            .collect())
    }

    fn confirm(
        &self,
        step: &Step,
        place: &str,
        question: &str,
        by_hand: bool,
    ) -> Result<(), CliError> {
        let ui = &self.context.ui;
        let given = self.args.confirm.contains(&step.name) || (self.args.yes && !by_hand);
        if given {
            self.say(place, &format!("confirmed: {question}"));
            return Ok(());
        }
        if !ui.can_ask() {
            let name = &self.args.name;
            return Err(
                CliError::stopped(format!("{} waits for you: {question}", step.name)).hint(
                    format!(
                        "when it is so: cofferdam runbook run {name} --yes --confirm {}",
                        step.name
                    ),
                ),
            );
        }
        self.say(place, "");
        if ui.confirm(question)? {
            return Ok(());
        }
        Err(self.stopped(step, "not confirmed"))
    }

    fn say(&self, place: &str, what: &str) {
        let line = format!("{} {what}", Tone::Bold.paint(place));
        self.context.ui.note(line.trim_end());
    }

    fn stopped(&self, step: &Step, why: &str) -> CliError {
        CliError::stopped(format!(
            "{} stopped at {}: {why}",
            self.args.name, step.name
        ))
        .hint(format!(
            "mend that, then go on: cofferdam runbook run {}",
            self.args.name
        ))
    }
}
