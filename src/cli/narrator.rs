//! Tells a person at the terminal what a run does.

use crate::apply::Observer;
use crate::cli::ui::{Tone, Ui};
use crate::inventory::ReaderOutcome;
use crate::report::outcome_text::outcome_text;

/// An observer that prints a line per phase and draws bars.
#[derive(Debug)]
pub struct Narrator<'a> {
    ui: &'a Ui,
    yes: bool,
}

impl<'a> Narrator<'a> {
    /// Prints to `ui`; with `yes` the operator's word is given already.
    pub fn new(ui: &'a Ui, yes: bool) -> Self {
        Self { ui, yes }
    }
}

impl Observer for Narrator<'_> {
    fn phase(&self, name: &str, detail: &str) {
        self.ui.note(format!(
            "{} {detail}",
            Tone::Bold.paint(format!("{name:<8}"))
        ));
    }

    fn note(&self, text: &str) {
        self.ui.note(format!("         {text}"));
    }

    fn counter<'a>(&'a self, what: &str, total: usize) -> Box<dyn Fn() + Sync + 'a> {
        let bar = self.ui.progress(what, total as u64);
        Box::new(move || bar.step())
    }

    fn readers<'b>(&'b self, doing: &str, names: &[String]) -> Box<dyn Fn(&ReaderOutcome) + 'b> {
        let bars = self.ui.reader_bars(doing, names);
        Box::new(move |outcome| bars.finish(&outcome.reader, outcome.error.is_none()))
    }

    fn outcomes(&self, outcomes: &[ReaderOutcome]) {
        self.ui.note(outcome_text(outcomes).trim_end());
    }

    fn confirm_taken(&self, readers: &[String]) -> bool {
        if self.yes {
            return true;
        }
        if !self.ui.can_ask() {
            return false;
        }
        let question = format!(
            "Have these readers taken the new revision? {}\nOld identities are removed from them next.",
            readers.join(", ")
        );
        self.ui.confirm(&question).unwrap_or(false)
    }
}
