//! Where the rules stand in the text, and how their file is laid out.

use std::ops::Range;

use super::RulesProblem;
use super::node::{Kind, Node, Yaml, line_of};

/// The layout of a file's creation rules.
pub(super) struct Layout {
    /// `\n` or `\r\n`.
    pub(super) newline: &'static str,
    /// The column of the rules' dashes.
    pub(super) dash: usize,
    /// The columns from a dash to the rule's keys.
    pub(super) inner: usize,
    /// The columns from a key to the dashes of its list.
    pub(super) list: usize,
    /// Whether an empty line stands between rules.
    pub(super) has_blank_lines: bool,
    /// One for each rule.
    pub(super) items: Vec<Item>,
    /// Where the first rule goes if there is none: the bytes to replace.
    pub(super) empty_slot: Range<usize>,
    /// Whether `creation_rules:` must be written too.
    pub(super) lacks_key: bool,
    /// False for rules in brackets, which are not edited.
    pub(super) is_block: bool,
}

/// Where a rule stands.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The first of the comment lines directly above it.
    pub(super) lead: usize,
    /// The line with its dash.
    pub(super) start: usize,
    /// Behind its last line.
    pub(super) end: usize,
}

impl Layout {
    pub(super) fn of(text: &str, yaml: &Yaml) -> Result<Self, RulesProblem> {
        let mut layout = Self {
            newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
            dash: 2,
            inner: 2,
            list: 2,
            has_blank_lines: false,
            items: Vec::new(),
            empty_slot: text.len()..text.len(),
            lacks_key: true,
            is_block: true,
        };
        let Some(root) = yaml.root.as_ref().filter(|root| !yaml.is_null(root)) else {
            return Ok(layout);
        };
        if matches!(root.kind, Kind::Map(_, true)) {
            layout.is_block = false;
            layout.lacks_key = false;
        }
        let entries = yaml.entries(root).unwrap_or_default();
        let Some((_, key, value)) = entries.iter().find(|(name, ..)| *name == "creation_rules")
        else {
            // Behind the last line of the first document.
            let end = end_of_line(text, root.place.end);
            layout.empty_slot = end..end;
            return Ok(layout);
        };
        layout.lacks_key = false;
        let target = yaml.resolve(value);
        match &target.kind {
            Kind::List(items, is_flow) if !items.is_empty() => {
                layout.is_block &= !is_flow;
                if layout.is_block {
                    // The parser gives a list without indentation no usable start.
                    let first_line = match value.kind {
                        Kind::Alias(_) => start_of_line(text, target.place.start),
                        _ => end_of_line(text, key.place.end),
                    };
                    layout.locate(text, column(text, key.place.start), first_line, items)?;
                }
            }
            _ => {
                // The value, `[]` or `null`, goes with what separates it from the colon.
                let colon = text[key.place.end..]
                    .find(':')
                    .map_or(key.place.end, |at| key.place.end + at + 1);
                let end = value.place.end.max(colon);
                let line_end = end_of_line(text, end);
                layout.empty_slot = if value.place.is_empty() {
                    line_end..line_end
                } else {
                    colon..end
                };
            }
        }
        Ok(layout)
    }

    fn locate(
        &mut self,
        text: &str,
        key_column: usize,
        first_line: usize,
        rules: &[Node],
    ) -> Result<(), RulesProblem> {
        let first_dash = text[first_line..]
            .split_inclusive('\n')
            .find(|line| line.trim_start_matches(' ').starts_with('-'))
            .unwrap_or_default();
        self.dash = first_dash.len() - first_dash.trim_start_matches(' ').len();
        self.list = self.dash.saturating_sub(key_column);
        let mut floor = first_line;
        let mut inner = None;
        for rule in rules {
            let unusual = |at: usize| RulesProblem::Layout {
                line: line_of(text, at),
                reason: "a rule laid out in a way that can't be edited in place",
            };
            let mut start = floor;
            loop {
                let line = &text[start..end_of_line(text, start)];
                let indent = line.len() - line.trim_start_matches(' ').len();
                if indent == self.dash && line[indent..].starts_with('-') {
                    break;
                }
                let is_between = line.trim().is_empty() || line.trim_start().starts_with('#');
                if !is_between || start >= text.len() {
                    return Err(unusual(start));
                }
                start = end_of_line(text, start);
            }
            let mut lead = start;
            while let Some(above) = line_above(text, lead).filter(|above| *above >= floor) {
                if !text[above..lead].trim_start().starts_with('#') {
                    break;
                }
                lead = above;
            }
            if !self.items.is_empty() && text[floor..lead].contains('\n') {
                self.has_blank_lines = true;
            }
            let mut end = end_of_line(text, rule.place.end.max(start + self.dash));
            while end < text.len() {
                let next = end_of_line(text, end);
                let line = &text[end..next];
                let indent = line.len() - line.trim_start().len();
                if !line.trim_start().starts_with('#') || indent <= self.dash {
                    break;
                }
                end = next;
            }
            if line_of(text, rule.place.start) == line_of(text, start) && inner.is_none() {
                inner = Some(column(text, rule.place.start).saturating_sub(self.dash));
            }
            self.items.push(Item { lead, start, end });
            floor = end;
        }
        self.inner = inner.filter(|inner| *inner >= 2).unwrap_or(2);
        Ok(())
    }
}

/// The start of the line that holds `at`.
pub(super) fn start_of_line(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Behind the newline of the line that holds `at`.
pub(super) fn end_of_line(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

fn line_above(text: &str, line: usize) -> Option<usize> {
    (line > 0).then(|| start_of_line(text, line - 1))
}

fn column(text: &str, at: usize) -> usize {
    at - start_of_line(text, at)
}
