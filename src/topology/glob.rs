//! Path globs, and the regular expressions they become in `.sops.yaml`.
//!
//! Anchored at both ends. `*` is any run of characters but `/`, dots and nothing included; `?` is one such character;
//! `**/` is any number of folders, none included; a last `**` is everything below; `[a-z]`, `[!a-z]`, `{a,b}`; `\` escapes.

use std::fmt;

use regex::Regex;

/// A glob that parsed.
#[derive(Clone)]
pub struct Glob {
    text: String,
    atoms: Vec<Atom>,
    regex: Regex,
}

/// Why a text is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Nothing there.
    #[error("the glob is empty")]
    Empty,
    /// Globs are relative to the repository's root and stay inside it.
    #[error(
        "the glob is not a path inside the repository: no leading '/', no '.', '..' or empty component"
    )]
    Outside,
    /// It names a folder.
    #[error("the glob ends in '/': add '**' for everything below the folder")]
    Folder,
    /// `{` without `}` or the reverse.
    #[error("a brace is not closed or not opened")]
    Brace,
    /// `[` without `]`, an empty class, a range that runs backwards or holds `/`.
    #[error("a character class is not closed, is empty, runs backwards or holds '/'")]
    Class,
    /// `a**`, `**b`.
    #[error("'**' must be a whole component, as in 'a/**/b'")]
    DoubleStar,
    /// A lone backslash at the end.
    #[error("the glob ends in a backslash")]
    Escape,
    /// Too many parts for the regex engine.
    #[error("the glob is too large")]
    Size,
}

/// One indivisible part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Atom {
    /// One character.
    Char(char),
    /// `?`
    One,
    /// `*`
    Run,
    /// `**/`
    Folders,
    /// A last `**`.
    Below,
    /// `[…]` in regex syntax.
    Class(String),
    /// `{…}`
    Choice(Vec<Vec<Atom>>),
}

impl Glob {
    /// Parses a glob.
    ///
    /// # Errors
    /// See [`GlobError`].
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.ends_with('/') {
            return Err(GlobError::Folder);
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) || text.contains('\n') {
            return Err(GlobError::Outside);
        }
        let mut parser = Parser {
            chars: text.chars().collect(),
            at: 0,
        };
        let atoms = parser.sequence(true, 0)?;
        let regex =
            Regex::new(&regex_of(std::slice::from_ref(&atoms))).map_err(|_| GlobError::Size)?;
        Ok(Self {
            text: text.to_owned(),
            atoms,
            regex,
        })
    }

    /// Tells whether a whole path matches.
    pub fn matches(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    /// Returns the anchored regular expression, the same in RE2 and in Rust's `regex`.
    pub fn to_regex(&self) -> String {
        regex_of(std::slice::from_ref(&self.atoms))
    }

    /// Returns one anchored regular expression for several globs, with what they have in common at both ends stated once.
    pub fn join<'a>(globs: impl IntoIterator<Item = &'a Glob>) -> String {
        let all: Vec<Vec<Atom>> = globs.into_iter().map(|glob| glob.atoms.clone()).collect();
        regex_of(&all)
    }

    /// The glob as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn atoms(&self) -> &[Atom] {
        &self.atoms
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

/// The anchored expression for any of several patterns.
pub(super) fn regex_of(patterns: &[Vec<Atom>]) -> String {
    let mut out = String::from("^");
    write_choice(&mut out, patterns);
    out.push('$');
    out
}

/// Writes `(a|b)` with the common beginning and end outside the parentheses; no parentheses around a single one.
fn write_choice(out: &mut String, patterns: &[Vec<Atom>]) {
    let mut distinct: Vec<&[Atom]> = Vec::new();
    for pattern in patterns {
        if !distinct.contains(&pattern.as_slice()) {
            distinct.push(pattern);
        }
    }
    let Some(first) = distinct.first().copied() else {
        return;
    };
    let shortest = distinct.iter().map(|p| p.len()).min().unwrap_or(0);
    let start = (0..shortest)
        .take_while(|&i| distinct.iter().all(|p| p[i] == first[i]))
        .count();
    // Words are cut only where a word ends, or `(kasm|komodo)` would read `k(asm|omodo)`.
    let start = boundary(first, start, &distinct);
    let end = (0..shortest - start)
        .take_while(|&i| {
            distinct
                .iter()
                .all(|p| p[p.len() - 1 - i] == first[first.len() - 1 - i])
        })
        .count();
    let end = end_boundary(first, end, &distinct);
    write_atoms(out, &first[..start]);
    let middles: Vec<&[Atom]> = distinct.iter().map(|p| &p[start..p.len() - end]).collect();
    if middles.iter().any(|m| !m.is_empty()) {
        let plain = middles.len() == 1;
        if !plain {
            out.push('(');
        }
        let mut written = false;
        for middle in middles.iter().filter(|m| !m.is_empty()) {
            if written {
                out.push('|');
            }
            write_atoms(out, middle);
            written = true;
        }
        if !plain {
            out.push(')');
            if middles.iter().any(|m| m.is_empty()) {
                out.push('?');
            }
        }
    }
    write_atoms(out, &first[first.len() - end..]);
}

fn is_word(atom: Option<&Atom>) -> bool {
    matches!(atom, Some(Atom::Char(c)) if c.is_alphanumeric() || *c == '_' || *c == '-')
}

/// Moves the end of the common beginning back to where no word is cut.
fn boundary(first: &[Atom], mut start: usize, all: &[&[Atom]]) -> usize {
    if all.len() == 1 {
        return start;
    }
    while start > 0 && is_word(first.get(start - 1)) && all.iter().any(|p| is_word(p.get(start))) {
        start -= 1;
    }
    start
}

/// Moves the start of the common end forward to where no word is cut.
fn end_boundary(first: &[Atom], mut end: usize, all: &[&[Atom]]) -> usize {
    if all.len() == 1 {
        return 0;
    }
    while end > 0
        && is_word(first.get(first.len() - end))
        && all
            .iter()
            .any(|p| (p.len() > end) && is_word(p.get(p.len() - end - 1)))
    {
        end -= 1;
    }
    end
}

fn write_atoms(out: &mut String, atoms: &[Atom]) {
    for atom in atoms {
        match atom {
            Atom::Char(c) => {
                if "\\.+*?()|[]{}^$".contains(*c) {
                    out.push('\\');
                }
                out.push(*c);
            }
            Atom::One => out.push_str("[^/]"),
            Atom::Run => out.push_str("[^/]*"),
            Atom::Folders => out.push_str("(.*/)?"),
            Atom::Below => out.push_str(".*"),
            Atom::Class(text) => out.push_str(text),
            Atom::Choice(patterns) => write_choice(out, patterns),
        }
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// Parses up to the end, or up to `,` or `}` inside braces.
    fn sequence(&mut self, mut at_start: bool, depth: usize) -> Result<Vec<Atom>, GlobError> {
        // Deeper nesting is nobody's intent and would cost stack.
        if depth > 16 {
            return Err(GlobError::Size);
        }
        let mut atoms = Vec::new();
        while let Some(c) = self.peek() {
            if depth > 0 && (c == ',' || c == '}') {
                return Ok(atoms);
            }
            self.at += 1;
            let atom = match c {
                '*' if self.peek() == Some('*') => {
                    self.at += 1;
                    if !at_start {
                        return Err(GlobError::DoubleStar);
                    }
                    match self.peek() {
                        Some('/') => {
                            self.at += 1;
                            // `**/**/` is `**/`.
                            if atoms.last() != Some(&Atom::Folders) {
                                atoms.push(Atom::Folders);
                            }
                            continue;
                        }
                        None if depth == 0 => Atom::Below,
                        _ => return Err(GlobError::DoubleStar),
                    }
                }
                '*' => Atom::Run,
                '?' => Atom::One,
                '[' => self.class()?,
                '{' => self.choice(at_start, depth)?,
                '}' => return Err(GlobError::Brace),
                '\\' => {
                    let escaped = self.peek().ok_or(GlobError::Escape)?;
                    self.at += 1;
                    Atom::Char(escaped)
                }
                c => Atom::Char(c),
            };
            at_start = ends_component(std::slice::from_ref(&atom));
            atoms.push(atom);
        }
        if depth > 0 {
            return Err(GlobError::Brace);
        }
        Ok(atoms)
    }

    fn choice(&mut self, at_start: bool, depth: usize) -> Result<Atom, GlobError> {
        let mut patterns = vec![self.sequence(at_start, depth + 1)?];
        loop {
            match self.peek() {
                Some(',') => {
                    self.at += 1;
                    patterns.push(self.sequence(at_start, depth + 1)?);
                }
                Some('}') => {
                    self.at += 1;
                    return Ok(Atom::Choice(patterns));
                }
                _ => return Err(GlobError::Brace),
            }
        }
    }

    fn class(&mut self) -> Result<Atom, GlobError> {
        let mut out = String::from("[");
        if matches!(self.peek(), Some('!' | '^')) {
            self.at += 1;
            out.push_str("^/");
        }
        let mut is_first = true;
        loop {
            let low = self.class_char(is_first)?;
            let Some(low) = low else {
                break;
            };
            is_first = false;
            push_class_char(&mut out, low)?;
            if self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']') {
                self.at += 1;
                let high = self.class_char(true)?.ok_or(GlobError::Class)?;
                if low > high || (low..=high).contains(&'/') {
                    return Err(GlobError::Class);
                }
                out.push('-');
                push_class_char(&mut out, high)?;
            }
        }
        out.push(']');
        Ok(Atom::Class(out))
    }

    /// The next member of a class; none at its end. A `]` that comes first is a member.
    fn class_char(&mut self, is_first: bool) -> Result<Option<char>, GlobError> {
        let c = self.peek().ok_or(GlobError::Class)?;
        self.at += 1;
        match c {
            ']' if !is_first => Ok(None),
            '\\' => {
                let escaped = self.peek().ok_or(GlobError::Class)?;
                self.at += 1;
                Ok(Some(escaped))
            }
            c => Ok(Some(c)),
        }
    }
}

fn push_class_char(out: &mut String, c: char) -> Result<(), GlobError> {
    if c == '/' {
        return Err(GlobError::Class);
    }
    if "\\[]^-&~".contains(c) {
        out.push('\\');
    }
    out.push(c);
    Ok(())
}

fn ends_component(atoms: &[Atom]) -> bool {
    match atoms.last() {
        Some(Atom::Char('/') | Atom::Folders) => true,
        Some(Atom::Choice(patterns)) => patterns.iter().all(|p| ends_component(p)),
        _ => false,
    }
}

#[cfg(test)]
#[path = "glob_tests.rs"]
mod tests;
