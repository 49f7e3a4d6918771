//! A bar a reader, while readers are worked on side by side.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: asks whether standard error is a terminal"
)]

use std::io::{self, IsTerminal};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long work must last before anything is drawn: what flashes by is noise.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a bar that waits moves.
const TICK: Duration = Duration::from_millis(120);

/// One bar a reader; drawn on a terminal, once half a second has passed, and gone when dropped.
#[derive(Debug)]
pub struct ReaderBars {
    bars: Vec<(String, ProgressBar)>,
    all: MultiProgress,
    /// Set when the work is over.
    over: Arc<(Mutex<bool>, Condvar)>,
    drawer: Option<std::thread::JoinHandle<()>>,
}

impl ReaderBars {
    /// Bars for these readers; `is_quiet` draws none.
    pub fn new(doing: &str, names: &[String], is_quiet: bool) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        if is_quiet || !io::stderr().is_terminal() {
            return Self {
                bars: Vec::new(),
                all,
                over,
                drawer: None,
            };
        }
        let style = ProgressStyle::with_template("         {prefix} {spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        let bars: Vec<(String, ProgressBar)> = names
            .iter()
            .map(|name| {
                let bar = all.add(ProgressBar::new_spinner());
                bar.set_style(style.clone());
                bar.set_prefix(format!("{name:width$}"));
                bar.set_message(doing.to_owned());
                (name.clone(), bar)
            })
            .collect();
        let drawer = draw_late(&all, &bars, Arc::clone(&over));
        Self {
            bars,
            all,
            over,
            drawer: Some(drawer),
        }
    }

    /// Says that a reader is done with.
    pub fn finish(&self, reader: &str, is_well: bool) {
        if let Some((_, bar)) = self.bars.iter().find(|(name, _)| name == reader) {
            bar.disable_steady_tick();
            bar.finish_with_message(if is_well { "done" } else { "failed" });
        }
    }
}

impl Drop for ReaderBars {
    fn drop(&mut self) {
        let (over, woken) = &*self.over;
        *over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        woken.notify_all();
        if let Some(drawer) = self.drawer.take() {
            // It only waits and draws.
            let _ = drawer.join();
        }
        for (_, bar) in &self.bars {
            bar.finish_and_clear();
        }
        // A terminal that went away is no failure of ours.
        let _ = self.all.clear();
    }
}

/// Shows the bars from a thread of its own, unless the work is over first.
fn draw_late(
    all: &MultiProgress,
    bars: &[(String, ProgressBar)],
    over: Arc<(Mutex<bool>, Condvar)>,
) -> std::thread::JoinHandle<()> {
    let all = all.clone();
    let bars: Vec<ProgressBar> = bars.iter().map(|(_, bar)| bar.clone()).collect();
    std::thread::spawn(move || {
        let (is_over, woken) = &*over;
        let guard = is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = woken.wait_timeout_while(guard, PATIENCE, |is_over| !*is_over);
        let (guard, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if *guard || !waited.timed_out() {
            return;
        }
        drop(guard);
        all.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        for bar in bars.iter().filter(|bar| !bar.is_finished()) {
            bar.enable_steady_tick(TICK);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_draws_nothing() {
        let bars = ReaderBars::new("shipping", &["kasm".to_owned()], true);
        bars.finish("kasm", true);
        bars.finish("nobody", false);
        assert!(bars.bars.is_empty() && bars.drawer.is_none());
    }
}
