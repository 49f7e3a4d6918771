//! The burn list for people: what to replace, by file.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;

use crate::exposure::burn_list::{BurnList, BurnState};
use crate::exposure::{ExposedLeaf, Exposure, LeafState};
use crate::keys::Recipient;
use crate::report::table::Table;

/// How wide a line may get.
const WIDTH: usize = 110;

/// Renders what `names` exposed; ends in a newline.
pub fn exposure_text(
    names: &[String],
    exposure: &Exposure,
    list: &BurnList,
    now: Timestamp,
) -> String {
    let mut text = String::new();
    let open: Vec<&ExposedLeaf> = exposure
        .leaves
        .iter()
        .filter(|leaf| list.state(leaf, now) == BurnState::Open)
        .collect();
    let accepted = exposure
        .leaves
        .iter()
        .filter(|leaf| list.state(leaf, now) == BurnState::Accepted)
        .count();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} could open {} in git history",
        names.join(", "),
        count(exposure.leaves.len(), "value")
    );
    let mut table = Table::new(2);
    for (number, what) in [
        (
            open.len(),
            "still in use: replace them where they were issued",
        ),
        (accepted, "accepted for now"),
        (exposure.count(LeafState::Replaced), "replaced since"),
        (exposure.count(LeafState::Removed), "removed since"),
    ] {
        if number > 0 {
            table.row([format!("{number:>4}"), what.to_owned()]);
        }
    }
    text.push_str(&table.render());
    let mut by_file: BTreeMap<&str, Vec<&ExposedLeaf>> = BTreeMap::new();
    for leaf in &open {
        by_file.entry(leaf.file.as_str()).or_default().push(leaf);
    }
    for (file, leaves) in by_file {
        let since = leaves.iter().map(|leaf| leaf.since.as_str()).min();
        let since: String = since.unwrap_or_default().chars().take(10).collect();
        let _ = writeln!(text, "\n  {file}  (readable since {since})");
        let names: Vec<String> = leaves.iter().map(|leaf| name(leaf)).collect();
        let mut table = Table::new(4);
        table.row(["values", &names.join(" ")]);
        let used: std::collections::BTreeSet<&str> = leaves
            .iter()
            .flat_map(|leaf| leaf.used_by.iter().map(String::as_str))
            .collect();
        if !used.is_empty() {
            table.row([
                "used by".to_owned(),
                used.into_iter().collect::<Vec<_>>().join(", "),
            ]);
        }
        let readers: std::collections::BTreeSet<&str> = leaves
            .iter()
            .flat_map(|leaf| leaf.readers.iter().map(String::as_str))
            .collect();
        // One is who the list is about.
        if readers.len() > 1 {
            let short = |text: &&str| match Recipient::parse(text) {
                Ok(recipient) => recipient.short(),
                Err(_) => (*text).to_owned(),
            };
            let readers: Vec<String> = readers.iter().map(short).collect();
            table.row(["read by".to_owned(), readers.join(", ")]);
        }
        text.push_str(&table.render_within(WIDTH));
    }
    if !exposure.comments.is_empty() {
        let commented = exposure
            .comments
            .iter()
            .filter(|c| c.state == LeafState::InUse)
            .count();
        let _ = writeln!(
            text,
            "\n  encrypted comments in {} could be read as well, {commented} of them as they are today",
            count(exposure.comments.len(), "place")
        );
    }
    for note in &exposure.notes {
        let _ = writeln!(text, "\n  ! {note}");
    }
    text
}

fn name(leaf: &ExposedLeaf) -> String {
    let mut name = leaf.key.join(".");
    if let Some(document) = leaf.document {
        name = format!("{document}:{name}");
    }
    if leaf.assumed {
        name.push('?');
    }
    for place in &leaf.in_use_at {
        let _ = write!(name, " (now {} {})", place.file, place.key.join("."));
    }
    name
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
