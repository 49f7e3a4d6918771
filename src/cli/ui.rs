//! All output to people and programs: standard output, standard error, questions, progress.
//!
//! Answers go to standard output, everything about them to standard error. Colour only on a terminal and never with
//! `NO_COLOR`; bars only on a terminal and for work that lasts over half a second.

#![expect(clippy::disallowed_methods, reason = "edge: the one place that prints")]

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::error::CliError;
use crate::cli::reader_bars::ReaderBars;

/// Where a command prints and asks.
#[derive(Debug, Clone)]
pub struct Ui {
    quiet: bool,
}

/// Emphasis; shown on terminals only.
#[derive(Debug, Clone, Copy)]
pub enum Tone {
    /// A heading.
    Bold,
    /// Done, safe.
    Good,
    /// Look here.
    Warn,
    /// Wrong.
    Bad,
    /// Less important.
    Dim,
}

impl Tone {
    fn style(self) -> Style {
        let colour = |c: AnsiColor| Style::new().fg_color(Some(c.into()));
        match self {
            Tone::Bold => Style::new().bold(),
            Tone::Good => colour(AnsiColor::Green),
            Tone::Warn => colour(AnsiColor::Yellow).bold(),
            Tone::Bad => colour(AnsiColor::Red).bold(),
            Tone::Dim => Style::new().dimmed(),
        }
    }

    /// Wraps `text` in the tone's escape codes; the streams strip them where they do not belong.
    pub fn paint(self, text: impl std::fmt::Display) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

impl Ui {
    /// A user interface; `quiet` leaves answers and errors only.
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Whether only answers and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints an answer, one line or several, to standard output.
    pub fn answer(&self, text: impl std::fmt::Display) {
        let mut out = anstream::stdout().lock();
        // A reader that closed the pipe (`| head`) is no failure of ours.
        let _ = writeln!(out, "{text}");
    }

    /// Writes octets to standard output as they are.
    ///
    /// # Errors
    /// The operating system's, a closed pipe excepted.
    pub fn answer_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Says what is being done, on standard error; silent with `--quiet`.
    pub fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            anstream::eprintln!("{text}");
        }
    }

    /// Warns on standard error, also with `--quiet`.
    pub fn warn(&self, text: impl std::fmt::Display) {
        anstream::eprintln!("{} {text}", Tone::Warn.paint("warning:"));
    }

    /// Prints a failure.
    pub fn failure(&self, error: &CliError) {
        for (label, text) in error.lines() {
            let label = format!("{label}:");
            let painted = match label.as_str() {
                "error:" => Tone::Bad.paint(&label),
                "hint:" => Tone::Good.paint(&label),
                _ => Tone::Bold.paint(&label),
            };
            anstream::eprintln!("{painted} {text}");
        }
    }

    /// Whether a question can be asked: standard input and standard error are terminals.
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks yes or no; only `y` and `yes` mean yes.
    ///
    /// # Errors
    /// A usage error that names `--yes` if there is no terminal to ask on.
    pub fn confirm(&self, question: &str) -> Result<bool, CliError> {
        if !self.can_ask() {
            return Err(CliError::usage(
                "this needs a confirmation and there is no terminal to ask on",
            )
            .hint("read the plan above, then run the command again with --yes"));
        }
        let answer = self.ask(&format!("{question} [y/N]"))?;
        Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a line of text, trimmed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ask(&self, question: &str) -> Result<String, CliError> {
        anstream::eprint!("{question} ");
        io::stderr().flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// A bar a reader; hidden as other bars are.
    pub fn reader_bars(&self, doing: &str, names: &[String]) -> ReaderBars {
        ReaderBars::new(doing, names, self.quiet)
    }

    /// A bar over `length` items; hidden unless standard error is a terminal and half a second has passed.
    pub fn progress(&self, what: &str, length: u64) -> Progress {
        if self.quiet || !io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        // Drawn late: a bar that flashes by is noise.
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_message(what.to_owned());
        Progress(bar)
    }
}

/// A progress bar that shows itself once the work has lasted half a second.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Counts one item as done; safe to call from several threads.
    pub fn step(&self) {
        self.0.inc(1);
        if self.0.is_hidden()
            && self.0.length().is_some()
            && io::stderr().is_terminal()
            && self.0.elapsed() > Duration::from_millis(500)
        {
            self.0
                .set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
