//! What came of readers as a table.

use crate::inventory::ReaderOutcome;
use crate::report::table::Table;

/// The width that text is wrapped to.
const WIDTH: usize = 100;

/// Renders a line a reader: its name, how long it took, what was done or what went wrong; ends in a newline.
pub fn outcome_text(outcomes: &[ReaderOutcome]) -> String {
    let mut table = Table::new(9);
    for outcome in outcomes {
        let mut said = Vec::new();
        if !outcome.done.is_empty() {
            said.push(outcome.done.clone());
        }
        match &outcome.error {
            Some(error) => said.push(format!("failed: {error}")),
            None if said.is_empty() => said.push("nothing to do".to_owned()),
            None => {}
        }
        let took = if outcome.took.is_zero() {
            "–".to_owned()
        } else {
            format!("{:.1} s", outcome.took.as_secs_f64())
        };
        table.row([outcome.reader.clone(), took, said.join("; ")]);
    }
    table.render_within(WIDTH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_a_reader() {
        let outcome = |reader: &str, done: &str, took: u64, error: Option<&str>| ReaderOutcome {
            reader: reader.to_owned(),
            done: done.to_owned(),
            took: Duration::from_millis(took),
            error: error.map(str::to_owned),
        };
        let text = outcome_text(&[
            outcome("kasm", "lan-2026-11 delivered", 340, None),
            outcome("server04", "", 20_000, Some("cannot be reached")),
            outcome("vps", "", 0, None),
        ]);
        let wanted = [
            "         kasm      0.3 s   lan-2026-11 delivered",
            "         server04  20.0 s  failed: cannot be reached",
            "         vps       –       nothing to do",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
        let json = serde_json::to_value(outcome("kasm", "x", 340, None)).unwrap();
        assert_eq!(json["milliseconds"], 340);
    }
}
