//! What `cofferdam leaks` found, as text and as JSON: places, documents and keys, never a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use crate::exec::patterns::SHORTEST;
use crate::leaks::finder::{Find, Finder};
use crate::leaks::look::{Copy, Outcome};
use crate::leaks::places::{Kind, Spot};

/// How many names a note gives.
const NAMED: usize = 5;
/// How many keys of one document a line gives.
const KEYS: usize = 12;

/// All that there is to tell.
#[derive(Debug)]
pub struct Answer<'a> {
    /// What was looked for.
    pub finder: &'a Finder,
    /// What was found.
    pub outcome: &'a Outcome,
    /// Where it was looked for.
    pub spots: &'a [Spot],
    /// Values that were not looked for.
    pub too_short: &'a BTreeSet<(String, String)>,
    /// Documents whose values were not looked for.
    pub unopened: &'a BTreeSet<String>,
    /// Whether what may be chance counts.
    pub all: bool,
}

/// The values that are too short to be looked for, by document and key.
pub fn too_short(finder: &Finder) -> BTreeSet<(String, String)> {
    let short = finder.wanted().iter().filter(|wanted| {
        let length = wanted.value.expose().trim_ascii().len();
        !wanted.is_comment && !wanted.is_earlier && length > 0 && length < SHORTEST
    });
    short.map(|w| (w.document.clone(), w.key.clone())).collect()
}

/// Some names, and how many more.
pub fn listed(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    match names.len().checked_sub(NAMED) {
        Some(more) if more > 1 => format!("{} and {more} more", names[..NAMED].join(", ")),
        _ => names.join(", "),
    }
}

#[derive(Serialize)]
struct JsonAnswer<'a> {
    looked_in: Vec<String>,
    files: u64,
    bytes: u64,
    values: usize,
    copies: Vec<JsonCopy<'a>>,
    copies_unnamed: usize,
    not_looked_at: Vec<JsonNot<'a>>,
    not_looked_at_unnamed: usize,
    too_short: Vec<JsonKey<'a>>,
    not_opened: &'a BTreeSet<String>,
}

#[derive(Serialize)]
struct JsonCopy<'a> {
    kind: Kind,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    in_memory: bool,
    finds: Vec<JsonFind<'a>>,
    advice: &'static str,
}

#[derive(Serialize)]
struct JsonFind<'a> {
    secrets: Vec<JsonKey<'a>>,
    offset: u64,
    count: u64,
    encoded: bool,
    partial: bool,
    may_be_chance: bool,
}

#[derive(Serialize)]
struct JsonKey<'a> {
    document: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    earlier: bool,
}

#[derive(Serialize)]
struct JsonNot<'a> {
    path: String,
    why: &'a str,
}

impl Answer<'_> {
    /// In how many places there is something that counts.
    pub fn count(&self) -> usize {
        self.counted().count() + self.outcome.unnamed
    }

    fn counts(&self, find: &Find) -> bool {
        self.all || !find.may_be_chance
    }

    fn counted(&self) -> impl Iterator<Item = &Copy> {
        let copies = self.outcome.copies.iter();
        copies.filter(|copy| copy.finds.iter().any(|find| self.counts(find)))
    }

    /// For programs; also what may be chance.
    pub fn json(&self) -> impl Serialize {
        let wanted = self.finder.wanted();
        let find = |find: &Find| JsonFind {
            secrets: find
                .owners
                .iter()
                .map(|owner| JsonKey {
                    document: &wanted[*owner].document,
                    key: &wanted[*owner].key,
                    earlier: wanted[*owner].is_earlier,
                })
                .collect(),
            offset: find.offset,
            count: find.count,
            encoded: find.is_encoded,
            partial: find.is_partial,
            may_be_chance: find.may_be_chance,
        };
        JsonAnswer {
            looked_in: self
                .spots
                .iter()
                .map(|s| s.path.display().to_string())
                .collect(),
            files: self.outcome.files,
            bytes: self.outcome.bytes,
            values: self.finder.len(),
            copies: self
                .outcome
                .copies
                .iter()
                .map(|copy| JsonCopy {
                    kind: copy.kind,
                    path: copy.path.display().to_string(),
                    object: copy.object.as_deref(),
                    in_memory: copy.in_memory,
                    finds: copy.finds.iter().map(find).collect(),
                    advice: copy.kind.advice(),
                })
                .collect(),
            copies_unnamed: self.outcome.unnamed,
            not_looked_at: self
                .outcome
                .not_looked
                .iter()
                .map(|(path, why)| JsonNot {
                    path: path.display().to_string(),
                    why,
                })
                .collect(),
            not_looked_at_unnamed: self.outcome.not_looked_unnamed,
            too_short: self
                .too_short
                .iter()
                .map(|(document, key)| JsonKey {
                    document,
                    key,
                    earlier: false,
                })
                .collect(),
            not_opened: self.unopened,
        }
    }

    /// The copies, by kind of place, each kind with what to do.
    pub fn text(&self) -> String {
        let mut by_kind: BTreeMap<Kind, Vec<&Copy>> = BTreeMap::new();
        for copy in self.counted() {
            by_kind.entry(copy.kind).or_default().push(copy);
        }
        let mut out = String::new();
        for (kind, copies) in by_kind {
            let _ = writeln!(out, "{}", kind.title());
            for copy in copies {
                let memory = if copy.in_memory {
                    " (in memory: gone with the next boot)"
                } else {
                    ""
                };
                let path = printable(&copy.path.display().to_string());
                let object = copy.object.as_ref();
                let object = object.map(|o| format!(", object {o}")).unwrap_or_default();
                let _ = writeln!(out, "  {path}{object}{memory}");
                for (document, keys) in self.by_document(copy) {
                    let _ = writeln!(out, "    {}: {}", printable(&document), some(&keys));
                }
            }
            let _ = writeln!(out, "  what to do: {}\n", kind.advice());
        }
        out
    }

    /// A line for each key, of each document.
    fn by_document(&self, copy: &Copy) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for find in copy.finds.iter().filter(|find| self.counts(find)) {
            let wanted = self.finder.wanted();
            let Some(first) = find.owners.first().map(|owner| &wanted[*owner]) else {
                continue;
            };
            let mut remarks = vec![format!("byte {}", find.offset)];
            if find.count > 1 {
                remarks.push(format!("{} times", find.count));
            }
            if find.is_encoded {
                remarks.push("encoded".to_owned());
            }
            if find.is_partial {
                remarks.push("lines of it".to_owned());
            }
            if first.is_earlier {
                remarks.push("an earlier value".to_owned());
            }
            let others = find.owners.len() - 1;
            if others > 0 {
                remarks.push(format!(
                    "held in {others} other place{}, too",
                    if others == 1 { "" } else { "s" }
                ));
            }
            let line = format!("{} ({})", printable(&first.key), remarks.join(", "));
            found.entry(first.document.clone()).or_default().push(line);
        }
        found
    }

    /// What limits the answer, a line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let outcome = self.outcome;
        let chance: Vec<&Copy> = outcome
            .copies
            .iter()
            .filter(|copy| !copy.finds.iter().any(|find| self.counts(find)))
            .collect();
        if !chance.is_empty() {
            notes.push(format!(
                "{} more hold nothing but values that may stand there by chance (words, host names, paths, numbers): --all names them",
                counted(chance.len(), "place")
            ));
        }
        if outcome.unnamed > 0 {
            notes.push(format!(
                "{} more with finds are not named",
                counted(outcome.unnamed, "place")
            ));
        }
        for (path, why) in outcome.not_looked.iter().take(NAMED * 4) {
            notes.push(format!(
                "not looked at: {}: {why}",
                printable(&path.display().to_string())
            ));
        }
        let more = outcome.not_looked.len().saturating_sub(NAMED * 4) + outcome.not_looked_unnamed;
        if more > 0 {
            notes.push(format!("not looked at: {} more", counted(more, "place")));
        }
        if !self.unopened.is_empty() {
            notes.push(format!(
                "not looked for: the values of what no identity here opens: {}",
                listed(self.unopened.iter().cloned())
            ));
        }
        if !self.too_short.is_empty() {
            let keys = self.too_short.iter();
            notes.push(format!(
                "not looked for: {} shorter than {SHORTEST} bytes: {}",
                counted(self.too_short.len(), "value"),
                listed(keys.map(|(document, key)| format!("{key} of {document}")))
            ));
        }
        let found = self.count();
        notes.push(format!(
            "looked at {} with {} MB{}",
            counted(usize::try_from(outcome.files).unwrap_or(usize::MAX), "file"),
            outcome.bytes.div_ceil(1_000_000),
            if found == 0 { ": no copy" } else { "" }
        ));
        notes
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn some(keys: &[String]) -> String {
    match keys.len().checked_sub(KEYS) {
        Some(more) if more > 1 => format!("{} and {more} more", keys[..KEYS].join(", ")),
        _ => keys.join(", "),
    }
}

/// Without what a terminal would take for a command: names of files are anybody's.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(clean).collect()
}
