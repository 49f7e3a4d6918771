//! Taking the recipients that retire out of a rule that keeps others.

use super::Edit;
use crate::rules::RulesProblem;
use crate::rules::layout::{end_of_line, start_of_line};
use crate::rules::node::{Kind, Node};

impl Edit<'_> {
    /// Takes the recipients that retire out of the rule.
    pub(super) fn thin(&mut self, at: usize) -> Result<(), RulesProblem> {
        let Some(node) = self.item_node(at).cloned() else {
            return Ok(());
        };
        self.thin_keys(&node, 0)
    }

    fn thin_keys(&mut self, node: &Node, depth: usize) -> Result<(), RulesProblem> {
        let yaml = self.yaml;
        let node = yaml.resolve(node);
        if depth > 20 {
            return Ok(());
        }
        match &node.kind {
            Kind::Map(entries, is_flow) => {
                for (key, value) in entries {
                    let Kind::Scalar(name, _) = &key.kind else {
                        continue;
                    };
                    match name.as_str() {
                        "age" => self.thin_age(key, value, *is_flow)?,
                        "key_groups" | "merge" | "<<" => self.thin_keys(value, depth + 1)?,
                        _ => {}
                    }
                }
            }
            Kind::List(items, _) => {
                for item in items {
                    self.thin_keys(item, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Thins the value of `age`: a string or a list.
    fn thin_age(&mut self, key: &Node, value: &Node, in_flow: bool) -> Result<(), RulesProblem> {
        let yaml = self.yaml;
        let target = yaml.resolve(value);
        let go = |node: &Node| self.all_retire(node);
        let goes_whole = match &target.kind {
            Kind::List(items, _) => !items.is_empty() && items.iter().all(go),
            _ => go(target),
        };
        if goes_whole {
            if in_flow {
                let reason = "a rule in braces is not edited: write it with one key a line";
                return Err(self.layout_problem(key.place.start, reason));
            }
            return self.remove_entry(key, value);
        }
        match &target.kind {
            Kind::List(items, is_flow) => self.thin_list(items, *is_flow),
            Kind::Scalar(..) => {
                self.thin_text(target);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn thin_list(&mut self, items: &[Node], is_flow: bool) -> Result<(), RulesProblem> {
        let gone: Vec<bool> = items.iter().map(|item| self.all_retire(item)).collect();
        let last_kept = gone.iter().rposition(|gone| !gone);
        for (at, item) in items.iter().enumerate() {
            if !gone[at] {
                if matches!(item.kind, Kind::Scalar(..)) {
                    self.thin_text(item);
                }
                continue;
            }
            if !is_flow {
                let line = start_of_line(self.text, item.place.start);
                if !self.text[line..].trim_start().starts_with('-') {
                    let reason = "a list laid out in a way that can't be edited in place";
                    return Err(self.layout_problem(item.place.start, reason));
                }
                let end = end_of_line(self.text, item.place.end);
                self.splice(line..end, String::new());
            } else if Some(at) < last_kept {
                self.splice(item.place.start..items[at + 1].place.start, String::new());
            } else if let (Some(kept), true) = (last_kept, at + 1 == items.len()) {
                self.splice(items[kept].place.end..item.place.end, String::new());
            }
        }
        Ok(())
    }

    /// Tells whether all recipients of a scalar retire.
    fn all_retire(&self, node: &Node) -> bool {
        let Some(text) = self.yaml.text(node) else {
            return false;
        };
        let mut parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .peekable();
        parts.peek().is_some() && parts.all(|part| self.request.retires(part))
    }

    /// Cuts recipients with one of their commas out of a comma-separated string, whatever its quotes.
    fn thin_text(&mut self, node: &Node) {
        let Some(raw) = self.text.get(node.place.clone()) else {
            return;
        };
        let Kind::Scalar(text, _) = &node.kind else {
            return;
        };
        let gone: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty() && self.request.retires(part))
            .collect();
        let mut new = raw.to_owned();
        for part in gone {
            let Some(start) = new.find(part) else {
                continue;
            };
            let end = start + part.len();
            let behind = new[end..].trim_start();
            if let Some(after_comma) = behind.strip_prefix(',') {
                let next = new.len() - after_comma.trim_start().len();
                new.replace_range(start..next, "");
            } else {
                let before = new[..start].trim_end();
                let from = before
                    .strip_suffix(',')
                    .map_or(start, |kept| kept.trim_end().len());
                new.replace_range(from..end, "");
            }
        }
        if new != raw {
            self.splice(node.place.clone(), new);
        }
    }

    /// Takes a whole `age:` entry out of a rule that has keys of other types.
    fn remove_entry(&mut self, key: &Node, value: &Node) -> Result<(), RulesProblem> {
        let line = start_of_line(self.text, key.place.start);
        let is_alone = self.text[line..key.place.start].trim().is_empty();
        if !is_alone {
            let reason = "the recipients that retire are the first entry of this rule: move path_regex above them";
            return Err(self.layout_problem(key.place.start, reason));
        }
        let end = end_of_line(self.text, value.place.end.max(key.place.end));
        self.splice(line..end, String::new());
        Ok(())
    }
}
