//! A plan as text: what changes for whom, file by file, and what a break-in would open before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::plan::{Goal, Party, Plan, PlannedDocument, PlannedReader};
use crate::report::table::Table;

/// How many files of one place are listed before the rest is counted.
const FILES_SHOWN: usize = 40;

/// The width that text is wrapped to; only paths may run over.
const WIDTH: usize = 80;

/// Renders `plan`; ends in a newline.
pub fn plan_text(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!(
            "Nothing to do: {} and their readers are as cofferdam.toml wants them.\n",
            count(plan.documents_in_scope, "document")
        );
    }
    let mut text = String::new();
    let hosts = plan.readers.len() - clusters(plan);
    let mut scope = vec![
        count(plan.documents_in_scope, "document"),
        count(hosts, "host"),
    ];
    if clusters(plan) > 0 {
        scope.push(count(clusters(plan), "cluster"));
    }
    let _ = writeln!(text, "{}   {}\n", headline(plan), scope.join(", "));
    text.push_str(&zones(plan));
    text.push_str(&departed(plan));
    text.push('\n');
    text.push_str(&files(plan));
    text.push_str(&readers(plan));
    text.push_str(&rules(plan));
    text.push_str(&steps(plan));
    for note in &plan.notes {
        text.push_str(&wrapped("  !", note, "    "));
    }
    for used in &plan.uses {
        let mark = if used.stops { "stops" } else { "used" };
        let what = format!("{}: {}", used.name, used.text);
        text.push_str(&wrapped(&format!("  ? {mark}"), &what, "    "));
    }
    if plan.exposed_values > 0 {
        let leaving = plan.leaving_recipients();
        let names: Vec<String> = leaving.iter().map(|r| r.short()).collect();
        let note = format!(
            "{} stay readable in git history to whoever took {}: cofferdam exposure lists them afterwards",
            count(plan.exposed_values, "value"),
            names.join(", ")
        );
        text.push_str(&wrapped("  !", &note, "    "));
    }
    text
}

fn headline(plan: &Plan) -> String {
    let zones: BTreeSet<&str> = plan.readers.iter().map(|r| r.zone.as_str()).collect();
    let new = plan
        .identities
        .iter()
        .filter(|i| i.recipient.is_none())
        .count();
    match plan.retiring.len() {
        _ if plan.goal == Goal::Revoke => format!(
            "Revoke {}",
            plan.revoked
                .as_ref()
                .map_or("identities", |r| r.name.as_str())
        ),
        _ if plan.goal == Goal::Rotate => format!("Rotate {}", identities(new)),
        n if n == 0 || plan.goal == Goal::Sync => {
            format!("Bring {} up to date", count(zones.len(), "zone"))
        }
        n => format!("Split {} into {}", shared(n), count(zones.len(), "zone")),
    }
}

fn shared(n: usize) -> String {
    if n == 1 {
        "1 shared identity".to_owned()
    } else {
        format!("{n} shared identities")
    }
}

fn clusters(plan: &Plan) -> usize {
    plan.readers
        .iter()
        .filter(|r| r.kind == crate::inventory::ReaderKind::Cluster)
        .count()
}

/// One row a zone: its identity, what a break-in opens, who reads it; then who reads everything.
fn zones(plan: &Plan) -> String {
    let mut by_zone: BTreeMap<&str, Vec<&PlannedReader>> = BTreeMap::new();
    for reader in &plan.readers {
        by_zone.entry(&reader.zone).or_default().push(reader);
    }
    let mut table = Table::new(2);
    table.row(["zone", "identity", "a break-in opens", "readers"]);
    for (zone, readers) in &by_zone {
        let ids: BTreeSet<&str> = readers
            .iter()
            .flat_map(|r| r.needs.iter().map(String::as_str))
            .collect();
        table.row([
            (*zone).to_owned(),
            ids.into_iter()
                .map(|id| with_origin(plan, id))
                .collect::<Vec<_>>()
                .join(" "),
            blast_radius(readers),
            readers
                .iter()
                .map(|r| r.name.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        ]);
    }
    for place in operator_only(plan) {
        let zone = place.split_once(' ').map_or(place, |(_, name)| name);
        table.row([zone, "–", "–", "operators and recovery only"]);
    }
    let always: Vec<String> = plan
        .always
        .iter()
        .filter_map(|party| Some(format!("{} ({})", party.label(), known(party)?.short())))
        .collect();
    let mut text = table.render_within(WIDTH);
    let always = format!("also opens for {}", always.join(", "));
    text.push_str(&wrapped("  every file", &always, "    "));
    text
}

/// The id, and whether it is one that its readers have already.
fn with_origin(plan: &Plan, id: &str) -> String {
    match plan.identity(id) {
        Some(identity) if identity.adopt => format!("{id} (adopted)"),
        _ => id.to_owned(),
    }
}

/// Who read everything and left: what that opened, and what could be unsealed by it.
fn departed(plan: &Plan) -> String {
    let departing = plan.departing();
    let mut text = String::new();
    for left in &plan.departed {
        let whose = match &left.recipient {
            Some(recipient) => format!("{} ({})", left.name, recipient.short()),
            None => left.name.clone(),
        };
        let leaves = match &left.recipient {
            Some(recipient) => departing.contains(&recipient),
            None => matches!(plan.goal, Goal::Split | Goal::Sync),
        };
        let after = if leaves { 0 } else { left.opens };
        let mut what = format!("{whose}: opens {} → {after}", left.opens);
        if !left.could_unseal.is_empty() {
            let ids = left.could_unseal.join(", ");
            what.push_str(&format!(", could unseal {ids}"));
        }
        text.push_str(&wrapped("  left      ", &what, "    "));
    }
    text
}

fn known(party: &Party) -> Option<&crate::keys::Recipient> {
    match party {
        Party::Identity(_) => None,
        Party::Operator { recipient, .. } | Party::Recovery { recipient } => Some(recipient),
    }
}

/// Places whose documents no zone identity reads.
fn operator_only(plan: &Plan) -> BTreeSet<&str> {
    plan.documents
        .iter()
        .filter(|d| !d.after.iter().any(|p| matches!(p, Party::Identity(_))))
        .map(|d| d.place.as_str())
        .collect()
}

fn blast_radius(readers: &[&PlannedReader]) -> String {
    let range = |value: fn(&PlannedReader) -> usize| {
        let values: BTreeSet<usize> = readers.iter().map(|r| value(r)).collect();
        match (values.first(), values.last()) {
            (Some(low), Some(high)) if low != high => format!("{low}–{high}"),
            (Some(only), _) => only.to_string(),
            _ => "0".to_owned(),
        }
    };
    format!(
        "{} → {}",
        range(|r| r.opens_before),
        range(|r| r.opens_after)
    )
}

/// The documents, grouped by place, with their recipients before and after.
fn files(plan: &Plan) -> String {
    // Zones, then what several of them share.
    let mut places: BTreeMap<(bool, &str), Vec<&PlannedDocument>> = BTreeMap::new();
    for document in &plan.documents {
        let shared = document.place.starts_with("shared ");
        places
            .entry((shared, &document.place))
            .or_default()
            .push(document);
    }
    let mut text = String::new();
    for ((_, place), documents) in places {
        let _ = writeln!(text, "  {place}: {}", count(documents.len(), "file"));
        for (change, paths) in by_change(plan, &documents) {
            let _ = writeln!(text, "    {change}");
            for path in paths.iter().take(FILES_SHOWN) {
                let _ = writeln!(text, "      {path}");
            }
            if paths.len() > FILES_SHOWN {
                let _ = writeln!(
                    text,
                    "      and {} more (--json lists all)",
                    paths.len() - FILES_SHOWN
                );
            }
        }
        text.push('\n');
    }
    text
}

/// Documents of one place by the change of their recipients, which is mostly the same for all.
fn by_change<'a>(plan: &Plan, documents: &[&'a PlannedDocument]) -> BTreeMap<String, Vec<&'a str>> {
    let mut changes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for document in documents {
        let before: Vec<String> = document.before.iter().map(|r| named(plan, r)).collect();
        let after: Vec<String> = document.after.iter().map(Party::label).collect();
        changes
            .entry(format!("{} → {}", before.join(", "), after.join(", ")))
            .or_default()
            .push(document.path.as_str());
    }
    changes
}

/// A recipient by its id or holder where the plan knows one.
fn named(plan: &Plan, recipient: &crate::keys::Recipient) -> String {
    let of_identity = plan
        .identities
        .iter()
        .find(|i| i.recipient.as_ref() == Some(recipient))
        .map(|i| i.id.clone());
    let of_party = || {
        plan.always
            .iter()
            .find(|p| known(p) == Some(recipient))
            .map(Party::label)
    };
    of_identity
        .or_else(of_party)
        .or_else(|| {
            let mut left = plan.departed.iter();
            let left = left.find(|d| d.recipient.as_ref() == Some(recipient))?;
            Some(format!("{} ({})", left.name, recipient.short()))
        })
        .unwrap_or_else(|| recipient.short())
}

/// The readers: what each gets, loses and opens.
fn readers(plan: &Plan) -> String {
    if plan.readers.is_empty() {
        return String::new();
    }
    let mut table = Table::new(2);
    table.row(["reader", "zone", "receives", "loses", "opens"]);
    for reader in &plan.readers {
        let loses: Vec<String> = reader.loses.iter().map(|r| r.short()).collect();
        table.row([
            reader.name.clone(),
            reader.zone.clone(),
            dash(reader.receives.join(" ")),
            dash(loses.join(" ")),
            format!("{} → {}", reader.opens_before, reader.opens_after),
        ]);
    }
    let mut text = table.render();
    text.push('\n');
    text
}

fn dash(text: String) -> String {
    if text.is_empty() {
        "–".to_owned()
    } else {
        text
    }
}

fn rules(plan: &Plan) -> String {
    if !plan.rules.changes {
        return String::new();
    }
    let mut text = format!(
        "  .sops.yaml   {} → {}\n",
        count(plan.rules.rules_before, "rule"),
        plan.rules.rules_after
    );
    for note in &plan.rules.notes {
        let _ = writeln!(text, "               {note}");
    }
    text.push('\n');
    text
}

fn steps(plan: &Plan) -> String {
    let minted = plan
        .identities
        .iter()
        .filter(|i| i.recipient.is_none())
        .count();
    let receiving = plan
        .readers
        .iter()
        .filter(|r| !r.receives.is_empty())
        .count();
    let losing = plan.readers.iter().filter(|r| !r.loses.is_empty()).count();
    let retiring: Vec<String> = plan.retiring.iter().map(|r| r.recipient.short()).collect();
    let retire = if retiring.is_empty() {
        "retire nothing".to_owned()
    } else {
        format!(
            "retire {} from {}",
            retiring.join(", "),
            count(losing, "reader")
        )
    };
    let adopted = plan.identities.iter().filter(|i| i.adopt).count();
    let identities_step = match (adopted, minted) {
        (0, 0) => None,
        (0, minted) => Some(format!("mint {}", identities(minted))),
        (adopted, 0) => Some(format!("adopt {}", identities(adopted))),
        (adopted, minted) => Some(format!(
            "adopt {}, mint {}",
            identities(adopted),
            identities(minted)
        )),
    };
    let mut steps: Vec<String> = identities_step.into_iter().collect();
    if !plan.seals.is_empty() {
        let to: BTreeSet<String> = plan
            .seals
            .iter()
            .flat_map(|s| &s.to)
            .map(Party::label)
            .collect();
        let to: Vec<String> = to.into_iter().collect();
        steps.push(format!(
            "seal {} to {} as well",
            identities(plan.seals.len()),
            to.join(", ")
        ));
    }
    let mut publish = "publish (commit)".to_owned();
    if !plan.unseals.is_empty() {
        let files = count(plan.unseals.len(), "sealed file");
        publish = format!("publish (commit), without {files} of those who left");
    }
    if receiving > 0 {
        steps.push(format!("ship to {}", count(receiving, "reader")));
    }
    steps.push("prove that each reader opens what it should, and nothing else".to_owned());
    steps.push(format!(
        "gate: nothing is rewritten before all {} have proven it",
        count(plan.readers.len(), "reader")
    ));
    if !plan.documents.is_empty() {
        steps.push(format!(
            "rewrite {} under new data keys",
            count(plan.documents.len(), "document")
        ));
    }
    steps.extend([publish, retire]);
    let mut text = String::new();
    for (number, step) in (1..).zip(steps) {
        text.push_str(&wrapped(&format!("  {number}"), &step, "    "));
    }
    text.push('\n');
    text
}

/// `label text`, broken between words at [`WIDTH`]; further lines begin with `indent`.
fn wrapped(label: &str, text: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut line = label.to_owned();
    // The first word goes to the column where further lines begin.
    let gap = indent.chars().count().saturating_sub(line.chars().count());
    line.push_str(&" ".repeat(gap.max(1) - 1));
    let mut has_word = false;
    for word in text.split(' ') {
        if has_word && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = indent[..indent.len().saturating_sub(1)].to_owned();
        }
        line.push(' ');
        line.push_str(word);
        has_word = true;
    }
    out.push_str(&line);
    out.push('\n');
    out
}

fn identities(n: usize) -> String {
    if n == 1 {
        "1 identity".to_owned()
    } else {
        format!("{n} identities")
    }
}

/// `1 file`, `2 files`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}
