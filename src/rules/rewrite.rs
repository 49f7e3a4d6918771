//! The smallest edit that makes a rules file say what the topology says.

mod fate;
mod recipients;

use std::collections::BTreeMap;
use std::ops::Range;

use self::fate::{Fate, still_says};
use super::RulesProblem;
use super::creation_rule::{CreationRule, RulesFile, parse_yaml};
use super::layout::{Item, Layout, end_of_line, start_of_line};
use super::node::{Kind, Node, Yaml, line_of};
use super::prove::{Expectation, prove};
use super::render::rule_text;
use crate::keys::Recipient;
use crate::repo_path::RepoPath;
use crate::topology::Selection;

/// A rule as the topology wants it.
#[derive(Debug, Clone)]
pub struct DesiredRule {
    /// The zone or shared entry, for notes.
    pub name: String,
    /// The expression; it tells the rule from others.
    pub path_regex: String,
    /// Each with the words for its holder: `zone lan`.
    pub recipients: Vec<(Recipient, String)>,
    /// The selector.
    pub selection: Option<Selection>,
    /// `mac_only_encrypted`
    pub mac_only_encrypted: bool,
}

/// What a rewrite starts from.
#[derive(Debug, Clone, Copy)]
pub struct RewriteRequest<'a> {
    /// The rules wanted, in the order of the topology.
    pub desired: &'a [DesiredRule],
    /// The `path_regex` of every rule that the topology generated before; those of `desired` count as well.
    pub ours: &'a [String],
    /// The recipients that retire in this run.
    pub retiring: &'a [Recipient],
    /// Every SOPS document, with the index of the desired rule meant for it; none: not judged.
    pub secrets: &'a [(RepoPath, Option<usize>)],
    /// Every other file; none of them may match a rule.
    pub not_secrets: &'a [RepoPath],
}

/// A rules file that says what is wanted, proven for every file of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The new text; the old one, byte for byte, if nothing had to change.
    pub text: String,
    /// How many rules there were.
    pub rules_before: usize,
    /// How many there are.
    pub rules_after: usize,
    /// What people should know: a selector that changed, fields that went.
    pub notes: Vec<String>,
}

const HEADER: &str = "# Rules for new SOPS documents; those below come from cofferdam.toml.\n";

/// Rewrites the text of `.sops.yaml`, or writes one where there is none.
///
/// # Errors
/// All that stands in the way, by rule and file; nothing is returned that was not proven.
pub fn rewrite(
    current: Option<&str>,
    request: &RewriteRequest<'_>,
) -> Result<Rewritten, Vec<RulesProblem>> {
    let text = current.unwrap_or_default();
    let unreadable = |error| vec![RulesProblem::Unreadable(error)];
    let yaml = parse_yaml(text).map_err(unreadable)?;
    let file = RulesFile::from_yaml(text, &yaml).map_err(unreadable)?;
    let layout = Layout::of(text, &yaml).map_err(|problem| vec![problem])?;
    let rules = file.creation_rules.unwrap_or_default();
    let mut edit = Edit {
        text,
        yaml: &yaml,
        layout: &layout,
        rules: &rules,
        request,
        splices: BTreeMap::new(),
        notes: Vec::new(),
    };
    edit.plan().map_err(|problem| vec![problem])?;
    let notes = std::mem::take(&mut edit.notes);
    let mut new_text = edit.apply();
    if current.is_none() {
        new_text.insert_str(0, HEADER);
    }
    let after = RulesFile::parse(&new_text).map_err(|_| {
        vec![RulesProblem::Layout {
            line: 1,
            reason: "a kept part refers to an anchor inside a rule that goes",
        }]
    })?;
    let after = after.creation_rules.unwrap_or_default();
    still_says(&rules, &after, request).map_err(|problem| vec![problem])?;
    let expectations: Vec<Expectation> = request
        .secrets
        .iter()
        .filter_map(|(file, meant)| {
            let rule = request.desired.get((*meant)?)?;
            Some(Expectation {
                file: file.clone(),
                path_regex: Some(rule.path_regex.clone()),
                recipients: Some(rule.recipients.iter().map(|(r, _)| r.clone()).collect()),
            })
        })
        .collect();
    prove(&new_text, &expectations, request.not_secrets)?;
    Ok(Rewritten {
        text: new_text,
        rules_before: rules.len(),
        rules_after: after.len(),
        notes,
    })
}

struct Edit<'a> {
    text: &'a str,
    yaml: &'a Yaml,
    layout: &'a Layout,
    rules: &'a [CreationRule],
    request: &'a RewriteRequest<'a>,
    /// By start and end, so that equal ones fall together.
    splices: BTreeMap<(usize, usize), String>,
    notes: Vec<String>,
}

impl Edit<'_> {
    fn plan(&mut self) -> Result<(), RulesProblem> {
        let (fates, left) = self.request.fates(self.rules);
        let is_same = left.is_empty() && fates.iter().all(|fate| *fate == Fate::Keep);
        if is_same {
            return Ok(());
        }
        if !self.layout.is_block {
            return Err(RulesProblem::Layout {
                line: self.rules.first().map_or(1, |rule| rule.line),
                reason: "the rules are written in brackets, which is not edited: write them as a list with dashes",
            });
        }
        if self.layout.items.is_empty() {
            self.fill(&left);
            return Ok(());
        }
        let (mut before, mut after) = self.neighbours(&fates, &left);
        for (at, fate) in fates.iter().enumerate() {
            let item = self.layout.items[at].clone();
            let before = before.remove(&at).unwrap_or_default();
            let after = after.remove(&at).unwrap_or_default();
            if !before.is_empty() {
                let text = self.several(&before, "") + self.gap();
                self.splice(item.lead..item.lead, text);
            }
            match fate {
                Fate::Keep => {}
                Fate::Thin => self.thin(at)?,
                Fate::Replace(successors) => self.replace(at, &item, successors, &after),
            }
            if !matches!(fate, Fate::Replace(_)) && !after.is_empty() {
                let text = format!("{}{}", self.gap(), self.several(&after, ""));
                let needs_newline = !self.text[..item.end].ends_with('\n');
                let newline = if needs_newline {
                    self.layout.newline
                } else {
                    ""
                };
                self.splice(item.end..item.end, format!("{newline}{text}"));
            }
        }
        Ok(())
    }

    /// Where the desired rules go that take no rule's place: behind the one before them in the topology's order, else
    /// before the first rule.
    fn neighbours(
        &self,
        fates: &[Fate],
        left: &[usize],
    ) -> (BTreeMap<usize, Vec<usize>>, BTreeMap<usize, Vec<usize>>) {
        let mut place_of: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, fate) in fates.iter().enumerate() {
            let regex = &self.rules[at].path_regex;
            let own = self
                .request
                .desired
                .iter()
                .position(|d| d.path_regex == *regex);
            match fate {
                Fate::Replace(successors) => {
                    place_of.extend(successors.iter().map(|desired| (*desired, at)));
                }
                _ => place_of.extend(own.map(|desired| (desired, at))),
            }
        }
        let mut before: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut after: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &desired in left {
            match place_of.range(..desired).next_back() {
                Some((_, &item)) => after.entry(item).or_default().push(desired),
                None => before.entry(0).or_default().push(desired),
            }
        }
        (before, after)
    }

    /// Writes the first rules of a file that has none.
    fn fill(&mut self, left: &[usize]) {
        let newline = self.layout.newline;
        let slot = self.layout.empty_slot.clone();
        let rules = self.several(left, "");
        let mut text = String::new();
        let replaces_value = !slot.is_empty();
        if replaces_value || (slot.start > 0 && !self.text[..slot.start].ends_with('\n')) {
            text.push_str(newline);
        }
        if self.layout.lacks_key {
            text.push_str("creation_rules:");
            text.push_str(newline);
        }
        text.push_str(&rules);
        if replaces_value {
            // What followed the value on its line, a comment or the newline, stays on the line of the key.
            let line_end = end_of_line(self.text, slot.end);
            let tail = self.text[slot.end..line_end].to_owned();
            text = format!("{}{}", tail.trim_end(), text);
            self.splice(slot.start..line_end, text);
        } else {
            self.splice(slot, text);
        }
    }

    fn gap(&self) -> &'static str {
        if self.layout.has_blank_lines {
            self.layout.newline
        } else {
            ""
        }
    }

    /// The text of several desired rules; `kept_fields` go into the first.
    fn several(&self, desired: &[usize], kept_fields: &str) -> String {
        let texts = desired.iter().enumerate().map(|(nth, &at)| {
            let fields = if nth == 0 { kept_fields } else { "" };
            rule_text(&self.request.desired[at], self.layout, fields, |text| {
                self.alias(text)
            })
        });
        texts.collect::<Vec<_>>().join(self.gap())
    }

    /// The name of an anchor that stands for a recipient and was written above the rules.
    fn alias(&self, recipient: &str) -> Option<String> {
        let first = self.layout.items.first()?.lead;
        let stands_for = |id: &usize| {
            self.yaml.anchors.get(id).is_some_and(|node| {
                node.place.end <= first
                    && matches!(&node.kind, Kind::Scalar(text, _) if text.trim() == recipient)
            })
        };
        let (name, _) = self.yaml.names.iter().find(|(_, id)| stands_for(id))?;
        Some(name.clone())
    }

    fn replace(&mut self, at: usize, item: &Item, successors: &[usize], after: &[usize]) {
        let all: Vec<usize> = successors.iter().chain(after).copied().collect();
        self.note_changes(at, &all);
        if all.is_empty() {
            let mut range = item.lead..item.end;
            let is_blank_above = self.text[..range.start].ends_with("\n\n")
                || self.text[..range.start].ends_with("\n\r\n");
            let below = &self.text[range.end..];
            if is_blank_above && (below.is_empty() || below.starts_with(['\n', '\r'])) {
                range.start = start_of_line(self.text, range.start - 1);
            }
            self.splice(range, String::new());
            return;
        }
        let (comments, fields) = self.remains(at, item);
        let mut text = comments + &self.several(&all, &fields);
        if !self.text[..item.end].ends_with('\n') {
            text.truncate(text.trim_end().len());
        }
        self.splice(item.start..item.end, text);
    }

    /// The comments inside a rule that goes, as lines above its successor, and its fields that SOPS does not know.
    fn remains(&self, at: usize, item: &Item) -> (String, String) {
        let Some(Node {
            kind: Kind::Map(entries, false),
            ..
        }) = self.item_node(at)
        else {
            return (String::new(), String::new());
        };
        let mut fields = String::new();
        let mut left_out: Vec<Range<usize>> = Vec::new();
        for (key, value) in entries {
            let Kind::Scalar(name, _) = &key.kind else {
                continue;
            };
            let lines = start_of_line(self.text, key.place.start)
                ..end_of_line(self.text, value.place.end.max(key.place.end));
            if matches!(name.as_str(), "age" | "key_groups") {
                left_out.push(lines);
            } else if self.rules[at].unknown_fields.contains(name) {
                let indent = " ".repeat(self.layout.dash + self.layout.inner);
                let body = self.text[key.place.start..lines.end].trim_end();
                fields.push_str(&format!("{indent}{body}{}", self.layout.newline));
                left_out.push(lines);
            }
        }
        let indent = " ".repeat(self.layout.dash);
        let mut comments = String::new();
        for place in &self.yaml.comments {
            let is_inside = place.start >= item.start && place.end <= item.end;
            let line = start_of_line(self.text, place.start);
            let is_trailing = !self.text[line..place.start].trim().is_empty();
            let goes = left_out.iter().any(|lines| lines.contains(&place.start));
            let is_field = goes && !is_trailing && fields.contains(&self.text[place.clone()]);
            if is_inside && !(goes && is_trailing) && !is_field {
                let comment = self.text[place.clone()].trim_end();
                comments.push_str(&format!("{indent}{comment}{}", self.layout.newline));
            }
        }
        (comments, fields)
    }

    fn note_changes(&mut self, at: usize, successors: &[usize]) {
        let rule = &self.rules[at];
        let title = format!("the rule `{}` (line {})", rule.path_regex, rule.line);
        for (kind, value) in &rule.selectors {
            for &successor in successors {
                let desired = &self.request.desired[successor];
                if desired.selection.as_ref() != Some(&(*kind, value.clone())) {
                    let says = match &desired.selection {
                        Some((kind, value)) => format!("{kind} {value}"),
                        None => "no selector".to_owned(),
                    };
                    let name = &desired.name;
                    self.notes.push(format!(
                        "{title} had {kind} {value}; for {name} the topology says {says}"
                    ));
                }
            }
        }
        if successors.is_empty() {
            self.notes.push(format!(
                "{title} goes: it matched no file that a rule is wanted for"
            ));
        }
    }

    /// The node of a rule as written in the list.
    fn item_node(&self, at: usize) -> Option<&Node> {
        let root = self.yaml.root.as_ref()?;
        let entries = self.yaml.entries(root)?;
        let (_, _, list) = entries
            .into_iter()
            .find(|(name, ..)| *name == "creation_rules")?;
        match &self.yaml.resolve(list).kind {
            Kind::List(items, _) => items.get(at),
            _ => None,
        }
    }

    fn splice(&mut self, range: Range<usize>, text: String) {
        self.splices
            .entry((range.start, range.end))
            .and_modify(|other| other.push_str(&text))
            .or_insert(text);
    }

    fn apply(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for ((start, end), text) in &self.splices {
            // Overlapping ones can only come from recipients named twice; what is gone stays gone.
            let start = (*start).max(at);
            out.push_str(&self.text[at..start]);
            out.push_str(text);
            at = (*end).max(start);
        }
        out.push_str(&self.text[at..]);
        out
    }

    fn layout_problem(&self, at: usize, reason: &'static str) -> RulesProblem {
        RulesProblem::Layout {
            line: line_of(self.text, at),
            reason,
        }
    }
}
