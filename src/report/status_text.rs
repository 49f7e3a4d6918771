//! A repository's standing as text.

use std::fmt::Write;

use jiff::Timestamp;

use crate::plan::drift::{Standing, days};
use crate::report::table::Table;

/// How many lines of drift are shown before the rest is counted.
const DRIFT_SHOWN: usize = 10;

/// Renders `standing`; ends in a newline.
pub fn status_text(standing: &Standing, now: Timestamp, unfinished: Option<&str>) -> String {
    let mut text = String::new();
    let mut table = Table::new(0);
    table.row([
        "zone",
        "identity",
        "state",
        "age",
        "rotation due",
        "opens",
        "readers",
    ]);
    for identity in &standing.identities {
        table.row([
            identity.zone.clone(),
            identity.id.clone().unwrap_or_else(|| "–".to_owned()),
            identity
                .state
                .map_or_else(|| "none yet".to_owned(), |s| s.to_string()),
            identity
                .minted
                .map_or_else(|| "–".to_owned(), |at| days(now, at)),
            identity.due.map_or_else(
                || "–".to_owned(),
                |due| due.to_string().chars().take(10).collect(),
            ),
            format!("{} of {}", identity.opens, standing.documents),
            identity.readers.join(" "),
        ]);
    }
    text.push_str(&table.render());
    if let Some(run) = unfinished {
        let _ = writeln!(
            text,
            "\nrun {run} has not ended: cofferdam resume, or cofferdam undo"
        );
    }
    for (title, lines) in [
        ("due", &standing.due),
        ("not as cofferdam.toml wants it", &standing.drift),
    ] {
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}:");
        for line in lines.iter().take(DRIFT_SHOWN) {
            let _ = writeln!(text, "  {line}");
        }
        if lines.len() > DRIFT_SHOWN {
            let _ = writeln!(
                text,
                "  and {} more (--json lists all)",
                lines.len() - DRIFT_SHOWN
            );
        }
    }
    text
}
