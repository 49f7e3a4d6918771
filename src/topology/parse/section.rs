//! One table of the file as it is being read: typed access that notes every mistake with its place.

use std::cell::RefCell;
use std::ops::Range;

use jiff::SignedDuration;
use toml_edit::{Item, TableLike, Value};

use crate::topology::TopologyProblem;
use crate::topology::closest::closest;
use crate::topology::duration::parse_duration;
use crate::topology::problem::quoted;

/// The mistakes found so far.
pub(crate) struct Findings<'t> {
    text: &'t str,
    file: &'t str,
    found: RefCell<Vec<(usize, TopologyProblem)>>,
}

impl<'t> Findings<'t> {
    pub(crate) fn new(text: &'t str, file: &'t str) -> Self {
        Self {
            text,
            file,
            found: RefCell::default(),
        }
    }

    /// Notes a mistake at a byte range of the text.
    pub(crate) fn add(&self, at: Range<usize>, message: String, hint: Option<String>) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let problem = TopologyProblem {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
            hint,
        };
        let mut found = self.found.borrow_mut();
        if !found.iter().any(|(_, other)| *other == problem) {
            found.push((at.start, problem));
        }
    }

    /// All mistakes in the order of their places.
    pub(crate) fn into_problems(self) -> Vec<TopologyProblem> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(start, _)| *start);
        found.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// A table, what is asked of it, and its name for messages.
pub(crate) struct Section<'f> {
    findings: &'f Findings<'f>,
    table: &'f dyn TableLike,
    at: Range<usize>,
    title: String,
    asked: RefCell<Vec<&'static str>>,
}

/// A value and its place.
pub(crate) type Placed<T> = (T, Range<usize>);

impl<'f> Section<'f> {
    pub(crate) fn new(
        findings: &'f Findings<'f>,
        table: &'f dyn TableLike,
        at: Range<usize>,
        title: String,
    ) -> Self {
        Self {
            findings,
            table,
            at,
            title,
            asked: RefCell::default(),
        }
    }

    /// Where the table's header or its opening brace stands.
    pub(crate) fn place(&self) -> Range<usize> {
        self.at.clone()
    }

    /// The name for messages.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// False where the key's type is wrong, which was noted already.
    pub(crate) fn is_list_or_absent(&self, key: &str) -> bool {
        self.table
            .get(key)
            .is_none_or(|item| item.is_array() || item.is_array_of_tables())
    }

    /// Where the key stands, or the table if it has none of that name.
    pub(crate) fn key_place(&self, key: &str) -> Range<usize> {
        self.table
            .get_key_value(key)
            .and_then(|(key, _)| key.span())
            .unwrap_or_else(|| self.place())
    }

    /// The keys with their places, in order.
    pub(crate) fn names(&self) -> Vec<Placed<String>> {
        self.table
            .iter()
            .map(|(name, _)| (name.to_owned(), self.key_place(name)))
            .collect()
    }

    fn item(&self, key: &'static str) -> Option<&'f Item> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, at: Range<usize>, wanted: &str, item: &str, hint: &str) {
        let message = format!(
            "{}: {key} must be {wanted}, not {}",
            self.title,
            article(item)
        );
        self.findings.add(at, message, Some(hint.to_owned()));
    }

    fn wrong_item(&self, key: &str, item: &Item, wanted: &str, hint: &str) {
        let at = item.span().unwrap_or_else(|| self.key_place(key));
        self.wrong_type(key, at, wanted, item.type_name(), hint);
    }

    pub(crate) fn integer(&self, key: &'static str) -> Option<Placed<i64>> {
        let item = self.item(key)?;
        let Some(number) = item.as_integer() else {
            self.wrong_item(key, item, "a number", &format!("write: {key} = 1"));
            return None;
        };
        Some((number, item.span().unwrap_or_else(|| self.key_place(key))))
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        let item = self.item(key)?;
        if item.as_bool().is_none() {
            self.wrong_item(key, item, "true or false", &format!("write: {key} = true"));
        }
        item.as_bool()
    }

    /// A string that is not empty.
    pub(crate) fn string(&self, key: &'static str) -> Option<Placed<String>> {
        let item = self.item(key)?;
        let Some(text) = item.as_str() else {
            self.wrong_item(key, item, "a string", &format!("write: {key} = \"…\""));
            return None;
        };
        let at = item.span().unwrap_or_else(|| self.key_place(key));
        if text.trim().is_empty() || text.contains(['\0', '\n']) {
            let message = format!("{}: {key} is empty or holds a line break", self.title);
            let hint = "fill it in or remove the line".to_owned();
            self.findings.add(at, message, Some(hint));
            return None;
        }
        Some((text.to_owned(), at))
    }

    /// A text of one or several lines that is not empty, without line breaks at its ends.
    pub(crate) fn text(&self, key: &'static str) -> Option<Placed<String>> {
        let item = self.item(key)?;
        let at = item.span().unwrap_or_else(|| self.key_place(key));
        let Some(text) = item.as_str() else {
            self.wrong_item(key, item, "a string", &format!("write: {key} = \"…\""));
            return None;
        };
        let text = text.trim_matches('\n').trim_end();
        if text.trim().is_empty() || text.contains('\0') {
            let message = format!("{}: {key} is empty", self.title);
            let hint = "fill it in or remove the line".to_owned();
            self.findings.add(at, message, Some(hint));
            return None;
        }
        Some((text.to_owned(), at))
    }

    /// A list of whole numbers, each with its place. Wrong elements are left out.
    pub(crate) fn integers(&self, key: &'static str) -> Option<Vec<Placed<i64>>> {
        let item = self.item(key)?;
        let hint = format!("write: {key} = [0, 3]");
        let Some(array) = item.as_array() else {
            self.wrong_item(key, item, "a list of numbers", &hint);
            return None;
        };
        let mut out = Vec::new();
        for value in array {
            let at = value.span().unwrap_or_else(|| self.key_place(key));
            match value.as_integer() {
                Some(number) => out.push((number, at)),
                None => self.wrong_type(key, at, "a list of numbers", value.type_name(), &hint),
            }
        }
        Some(out)
    }

    /// A path or an address: a string that can't be taken for an option.
    pub(crate) fn path(&self, key: &'static str) -> Option<String> {
        let (text, at) = self.string(key)?;
        if text.starts_with('-') {
            let message = format!("{}: {key} starts with '-'", self.title);
            let hint = "programs would take it for an option".to_owned();
            self.findings.add(at, message, Some(hint));
            return None;
        }
        Some(text)
    }

    /// One of several words.
    pub(crate) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let (text, at) = self.string(key)?;
        let known = words.iter().find(|(word, _)| *word == text);
        if known.is_none() {
            let message = format!("{}: {key} is {}", self.title, quoted(&text));
            let list: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            let hint = format!("it is {}", list.join(" or "));
            self.findings.add(at, message, Some(hint));
        }
        known.map(|(_, meaning)| *meaning)
    }

    pub(crate) fn duration(&self, key: &'static str) -> Option<SignedDuration> {
        let (text, at) = self.string(key)?;
        match parse_duration(&text) {
            Ok(duration) => Some(duration),
            Err(error) => {
                let message = format!("{}: {key} is {}: {error}", self.title, quoted(&text));
                let hint = format!("write: {key} = \"90 days\"");
                self.findings.add(at, message, Some(hint));
                None
            }
        }
    }

    /// A list of strings, each with its place; none if the key is absent or no list. Wrong elements are left out.
    pub(crate) fn strings(&self, key: &'static str) -> Option<Vec<Placed<String>>> {
        let item = self.item(key)?;
        let hint = format!("write: {key} = [\"…\", \"…\"]");
        let Some(array) = item.as_array() else {
            self.wrong_item(key, item, "a list of strings", &hint);
            return None;
        };
        let mut out = Vec::new();
        for value in array {
            let at = value.span().unwrap_or_else(|| self.key_place(key));
            match value {
                Value::String(text) => out.push((text.value().clone(), at)),
                other => {
                    self.wrong_type(key, at, "a list of strings", other.type_name(), &hint);
                }
            }
        }
        Some(out)
    }

    /// As [`Self::strings`]; one string stands for a list of it.
    pub(super) fn string_or_strings(&self, key: &'static str) -> Option<Vec<Placed<String>>> {
        if self.table.get(key).is_some_and(Item::is_str) {
            return self.string(key).map(|one| vec![one]);
        }
        self.strings(key)
    }

    /// The table under a key that may be absent.
    pub(crate) fn table(&self, key: &'static str) -> Option<Section<'f>> {
        let item = self.item(key)?;
        self.section_of(key, item, format!("[{key}]"))
    }

    /// The table under a name found by [`Section::names`].
    pub(crate) fn entry(&self, name: &str, title: String) -> Option<Section<'f>> {
        self.section_of(name, self.table.get(name)?, title)
    }

    fn section_of(&self, key: &str, item: &'f Item, title: String) -> Option<Section<'f>> {
        let Some(table) = item.as_table_like() else {
            let hint = format!("write a table under the header of {key}");
            self.wrong_item(key, item, "a table", &hint);
            return None;
        };
        let at = self.key_place(key);
        Some(Section::new(self.findings, table, at, title))
    }

    /// The tables of a list: inline ones or `[[…]]`. None if the key is absent or no such list.
    pub(crate) fn tables(&self, key: &'static str, example: &str) -> Option<Vec<Section<'f>>> {
        let item = self.item(key)?;
        let title = || format!("{}: {key}", self.title);
        if let Some(tables) = item.as_array_of_tables() {
            let sections = tables.iter().map(|table| {
                let at = table.span().unwrap_or_else(|| self.key_place(key));
                Section::new(self.findings, table, at, title())
            });
            return Some(sections.collect());
        }
        let Some(array) = item.as_array() else {
            self.wrong_item(
                key,
                item,
                "a list of tables",
                &format!("write: {key} = [{example}]"),
            );
            return None;
        };
        let mut sections = Vec::new();
        for value in array {
            let at = value.span().unwrap_or_else(|| self.key_place(key));
            match value.as_inline_table() {
                Some(table) => sections.push(Section::new(self.findings, table, at, title())),
                None => self.wrong_type(
                    key,
                    at,
                    "a list of tables",
                    value.type_name(),
                    &format!("write: {key} = [{example}]"),
                ),
            }
        }
        Some(sections)
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(&self) {
        let asked = self.asked.borrow();
        for (name, at) in self.names() {
            if asked.iter().any(|key| *key == name) {
                continue;
            }
            let hint = match closest(&name, asked.iter().copied()) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known here: {}", asked.join(", ")),
            };
            let message = format!("{}: unknown key {}", self.title, quoted(&name));
            self.findings.add(at, message, Some(hint));
        }
    }
}

fn article(type_name: &str) -> String {
    match type_name {
        "array" | "array of tables" => "a list".to_owned(),
        "integer" | "inline table" => format!("an {type_name}"),
        other => format!("a {other}"),
    }
}
