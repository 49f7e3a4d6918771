//! A repository's standing as text.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use crate::journal::ReviewBranch;
use crate::ledger::ReceiptKind;
use crate::plan::drift::{Standing, days};
use crate::plan::reader_phase::ReaderPhase;
use crate::report::table::Table;

/// How many lines of drift are shown before the rest is counted.
const DRIFT_SHOWN: usize = 10;

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnfinishedRun {
    /// Its name.
    pub run: String,
    /// Whether `undo` is possible still.
    pub can_undo: bool,
    /// The earliest moment at which old identities leave, and undo ends; none: when `resume` gets there.
    pub undo_ends: Option<Timestamp>,
    /// The branch that it waits for to be merged; none: it waits for no such thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<ReviewBranch>,
}

impl UnfinishedRun {
    fn text(&self) -> String {
        let run = &self.run;
        if !self.can_undo {
            return format!(
                "run {run} has not ended: cofferdam resume (old identities have begun to leave: undo is over)"
            );
        }
        if let Some(ReviewBranch { name, base }) = &self.branch {
            return format!(
                "run {run} waits until branch {name} is merged into {base}: then cofferdam resume, or cofferdam undo at any time before"
            );
        }
        let ends = match self.undo_ends {
            Some(at) => format!("not before {at}"),
            None => "when resume gets there".to_owned(),
        };
        format!(
            "run {run} has not ended: cofferdam resume, or cofferdam undo\n\
             undo ends once old identities leave their readers: {ends}"
        )
    }
}

/// Renders `standing`; ends in a newline.
pub fn status_text(
    standing: &Standing,
    readers: &[ReaderPhase],
    now: Timestamp,
    unfinished: Option<&UnfinishedRun>,
) -> String {
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
            match (identity.state, &identity.adopts) {
                (Some(state), _) => state.to_string(),
                (None, Some(adopts)) => format!("to adopt {}", adopts.short()),
                (None, None) => "none yet".to_owned(),
            },
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
    if !readers.is_empty() {
        text.push('\n');
        text.push_str(&reader_table(readers));
    }
    if let Some(run) = unfinished {
        let _ = writeln!(text, "\n{}", run.text());
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

/// One line a reader.
fn reader_table(readers: &[ReaderPhase]) -> String {
    let mut table = Table::new(0);
    let is_probed = readers.iter().any(|r| r.probe.is_some());
    let mut head = vec!["reader", "phase", "identity", "proof"];
    if is_probed {
        head.push("asked now");
    }
    table.row(head);
    for reader in readers {
        let proof = match (reader.proven, reader.receipt) {
            (Some(at), kind) => {
                let day: String = at.to_string().chars().take(10).collect();
                match kind {
                    Some(ReceiptKind::ReadBack) => format!("{day} (read back)"),
                    Some(ReceiptKind::Reconciled) => format!("{day} (reconciled)"),
                    _ => day,
                }
            }
            (None, _) => "–".to_owned(),
        };
        let mut row = vec![
            reader.reader.clone(),
            reader.phase.clone(),
            reader.id.clone().unwrap_or_else(|| "–".to_owned()),
            proof,
        ];
        row.extend(reader.probe.clone());
        table.row(row);
    }
    table.render()
}
