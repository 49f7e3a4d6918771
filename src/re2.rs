//! Regular expressions in RE2 syntax, as SOPS reads them, for Rust's `regex`.
//!
//! The two dialects differ where it hurts: some patterns are errors in one only, and some mean something else silently
//! (`\d` beyond ASCII, `\<`, `[a&&b]`). So a pattern is read here by the rules of Go's `regexp/syntax` and written anew.
//! Matching is unanchored, as with Go's `MatchString`: [`regex::Regex::is_match`].
//!
//! Source: Go 1.19 to 1.25, `regexp/syntax/parse.go`, with the flags `syntax.Perl` that `regexp.Compile` sets.

mod unicode;

use regex::{Regex, RegexBuilder};

/// Why Go refuses a pattern; the text is Go's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {problem}: `{fragment}`")]
pub struct Re2Error {
    /// What is wrong.
    pub problem: &'static str,
    /// The part of the pattern that is.
    pub fragment: String,
}

/// Compiles a pattern in RE2 syntax.
///
/// # Errors
/// [`Re2Error`] for what Go refuses, and for an expression too large to compile.
pub fn compile(pattern: &str) -> Result<Regex, Re2Error> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .nest_limit(1100)
        .build()
        .map_err(|_| Re2Error {
            problem: "expression too large",
            fragment: pattern.to_owned(),
        })
}

/// Writes a pattern in RE2 syntax in the syntax of Rust's `regex`.
///
/// # Errors
/// [`Re2Error`] for what Go refuses.
pub fn translate(pattern: &str) -> Result<String, Re2Error> {
    let mut translator = Translator {
        rest: pattern,
        whole: pattern,
        out: String::with_capacity(pattern.len() + 8),
        depth: 0,
        names: Vec::new(),
        operand: Operand::None,
        last_repeat: 0,
    };
    translator.run()?;
    Ok(translator.out)
}

/// What a repetition operator would apply to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// Nothing: the start of an expression, of a group or of an alternative.
    None,
    /// Something that can be repeated.
    Some,
    /// Something that was repeated already.
    Repeated,
}

struct Translator<'p> {
    rest: &'p str,
    whole: &'p str,
    out: String,
    depth: usize,
    names: Vec<&'p str>,
    operand: Operand,
    /// Where the last repetition operator begins.
    last_repeat: usize,
}

fn error<T>(problem: &'static str, fragment: &str) -> Result<T, Re2Error> {
    Err(Re2Error {
        problem,
        fragment: fragment.to_owned(),
    })
}

const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_RANGE: &str = "invalid character class range";
const BAD_GROUP: &str = "invalid or unsupported Perl syntax";
const BAD_NAME: &str = "invalid named capture";

impl<'p> Translator<'p> {
    fn run(&mut self) -> Result<(), Re2Error> {
        while let Some(c) = self.rest.chars().next() {
            match c {
                '(' => self.group()?,
                ')' => {
                    if self.depth == 0 {
                        return error("unexpected )", self.whole);
                    }
                    self.depth -= 1;
                    self.skip(1);
                    self.out.push(')');
                    self.operand = Operand::Some;
                }
                '|' => {
                    self.skip(1);
                    self.out.push('|');
                    self.operand = Operand::None;
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    let before = self.rest;
                    self.skip(1);
                    self.repeat(before, c.encode_utf8(&mut [0; 4]))?;
                }
                '{' => self.braces()?,
                '.' | '^' | '$' => {
                    self.skip(1);
                    self.out.push(c);
                    self.operand = Operand::Some;
                }
                '\\' => self.backslash()?,
                c => {
                    self.skip(c.len_utf8());
                    self.literal(c);
                }
            }
        }
        if self.depth > 0 {
            return error("missing closing )", self.whole);
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// The text between an earlier rest and the present one.
    fn since(&self, before: &'p str) -> &'p str {
        &before[..before.len() - self.rest.len()]
    }

    fn literal(&mut self, c: char) {
        push_literal(&mut self.out, c);
        self.operand = Operand::Some;
    }

    /// Writes a repetition whose operator, without `?`, has been read.
    fn repeat(&mut self, before: &'p str, operator: &str) -> Result<(), Re2Error> {
        let lazy = self.rest.starts_with('?');
        if lazy {
            self.skip(1);
        }
        match self.operand {
            Operand::None => {
                return error(
                    "missing argument to repetition operator",
                    self.since(before),
                );
            }
            Operand::Repeated => {
                let both = &self.whole[self.last_repeat..self.whole.len() - self.rest.len()];
                return error("invalid nested repetition operator", both);
            }
            Operand::Some => {}
        }
        self.out.push_str(operator);
        if lazy {
            self.out.push('?');
        }
        self.operand = Operand::Repeated;
        self.last_repeat = self.whole.len() - before.len();
        Ok(())
    }

    /// `{n}`, `{n,}`, `{n,m}`; anything else is a literal brace.
    fn braces(&mut self) -> Result<(), Re2Error> {
        let before = self.rest;
        let Some((low, high, length)) = counts(self.rest) else {
            self.skip(1);
            self.literal('{');
            return Ok(());
        };
        self.skip(length);
        if low > 1000 || high.is_some_and(|high| high > 1000 || low > high) {
            return error("invalid repeat count", self.since(before));
        }
        let operator = self.since(before);
        self.repeat(before, operator)
    }

    /// `(`, `(?P<name>`, `(?<name>`, `(?flags)`, `(?flags:`.
    fn group(&mut self) -> Result<(), Re2Error> {
        let before = self.rest;
        if !self.rest.starts_with("(?") {
            self.skip(1);
            self.out.push('(');
            return self.open(before);
        }
        let name = ["(?P<", "(?<"]
            .iter()
            .find_map(|start| self.rest.strip_prefix(start));
        if let Some(after) = name {
            let Some((name, after)) = after.split_once('>') else {
                return error(BAD_NAME, before);
            };
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            self.rest = after;
            if name.is_empty() || !name.chars().all(is_word) {
                return error(BAD_NAME, self.since(before));
            }
            if self.names.contains(&name) {
                return error("duplicate capture group name", name);
            }
            self.names.push(name);
            // Rust's names can't begin with a digit; nobody asks for a capture.
            self.out.push('(');
            return self.open(before);
        }
        self.flags(before)
    }

    fn open(&mut self, before: &str) -> Result<(), Re2Error> {
        self.depth += 1;
        if self.depth > 1000 {
            return error("expression nests too deeply", before);
        }
        self.operand = Operand::None;
        Ok(())
    }

    fn flags(&mut self, before: &'p str) -> Result<(), Re2Error> {
        self.skip(2);
        let mut set: [Option<bool>; 4] = [None; 4];
        let mut value = true;
        let mut saw_flag = false;
        loop {
            let Some(c) = self.rest.chars().next() else {
                return error(BAD_GROUP, before);
            };
            self.skip(c.len_utf8());
            match (c, "imsU".find(c)) {
                (_, Some(at)) => {
                    set[at] = Some(value);
                    saw_flag = true;
                }
                ('-', _) if value => {
                    value = false;
                    saw_flag = false;
                }
                (':' | ')', _) if value || saw_flag => {
                    self.write_flags(&set, c);
                    return if c == ':' { self.open(before) } else { Ok(()) };
                }
                _ => return error(BAD_GROUP, self.since(before)),
            }
        }
    }

    fn write_flags(&mut self, set: &[Option<bool>; 4], end: char) {
        let chosen = |value: bool| -> String {
            let flags = "imsU".chars().zip(set);
            flags
                .filter(|(_, flag)| **flag == Some(value))
                .map(|(c, _)| c)
                .collect()
        };
        let (on, off) = (chosen(true), chosen(false));
        if end == ')' && on.is_empty() && off.is_empty() {
            return;
        }
        self.out.push_str("(?");
        self.out.push_str(&on);
        if !off.is_empty() {
            self.out.push('-');
            self.out.push_str(&off);
        }
        self.out.push(end);
        if end == ')' {
            // Go lets an operator reach back over the flags to what stands before them; nobody writes that, and it is
            // refused here.
            self.operand = Operand::None;
        }
    }

    fn backslash(&mut self) -> Result<(), Re2Error> {
        let rest = self.rest;
        match rest.as_bytes().get(1) {
            Some(b'A' | b'z') => {
                self.out.push_str(&rest[..2]);
                self.skip(2);
            }
            Some(b'b' | b'B') => {
                self.out.push_str("(?-u:");
                self.out.push_str(&rest[..2]);
                self.out.push(')');
                self.skip(2);
            }
            Some(b'Q') => {
                let (literal, after) = rest[2..].split_once("\\E").unwrap_or((&rest[2..], ""));
                literal.chars().for_each(|c| self.literal(c));
                self.rest = after;
                return Ok(());
            }
            Some(b'C') => return error(BAD_ESCAPE, "\\C"),
            _ => {
                let mut set = String::new();
                if self.named_set(&mut set)? {
                    self.out.push('[');
                    self.out.push_str(&set);
                    self.out.push(']');
                } else {
                    let c = self.escape()?;
                    push_literal(&mut self.out, c);
                }
            }
        }
        self.operand = Operand::Some;
        Ok(())
    }

    /// Reads `\d`, `\pN` and the like, if one is next, and writes it as a part of a class.
    fn named_set(&mut self, out: &mut String) -> Result<bool, Re2Error> {
        let bytes = self.rest.as_bytes();
        if bytes.first() != Some(&b'\\') {
            return Ok(false);
        }
        let set = match bytes.get(1) {
            Some(b'd') => "0-9",
            Some(b'D') => "[^0-9]",
            Some(b's') => "\\t\\n\\x0C\\r ",
            Some(b'S') => "[^\\t\\n\\x0C\\r ]",
            Some(b'w') => "0-9A-Za-z_",
            Some(b'W') => "[^0-9A-Za-z_]",
            Some(b'p' | b'P') => {
                self.unicode_set(out)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        out.push_str(set);
        self.skip(2);
        Ok(true)
    }

    fn unicode_set(&mut self, out: &mut String) -> Result<(), Re2Error> {
        let before = self.rest;
        let mut negated = before.as_bytes()[1] == b'P';
        self.skip(2);
        let Some(first) = self.rest.chars().next() else {
            return error(BAD_ESCAPE, before);
        };
        let mut name = &self.rest[..first.len_utf8()];
        if first == '{' {
            let Some((inner, after)) = self.rest[1..].split_once('}') else {
                return error(BAD_RANGE, before);
            };
            name = inner;
            self.rest = after;
        } else {
            self.skip(first.len_utf8());
        }
        if let Some(positive) = name.strip_prefix('^') {
            negated = !negated;
            name = positive;
        }
        let Some(property) = unicode::property(name) else {
            return error(BAD_RANGE, self.since(before));
        };
        out.push_str(if negated { "\\P{" } else { "\\p{" });
        out.push_str(&property);
        out.push('}');
        Ok(())
    }

    /// Reads an escape that stands for one character.
    fn escape(&mut self) -> Result<char, Re2Error> {
        let before = self.rest;
        self.skip(1);
        let Some(c) = self.rest.chars().next() else {
            return error("trailing backslash at end of expression", "");
        };
        self.skip(c.len_utf8());
        let digit = |text: &str, radix| text.chars().next().and_then(|c| c.to_digit(radix));
        let code = match c {
            // A single digit but zero would be a back-reference.
            '0'..='7' if c == '0' || digit(self.rest, 8).is_some() => {
                let mut code = digit(&before[1..], 8).unwrap_or(0);
                for _ in 0..2 {
                    if let Some(next) = digit(self.rest, 8) {
                        code = code * 8 + next;
                        self.skip(1);
                    }
                }
                code
            }
            'x' => match self.hexadecimal() {
                Some(code) => code,
                None => return error(BAD_ESCAPE, self.since(before)),
            },
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(c),
            _ => return error(BAD_ESCAPE, self.since(before)),
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => error(BAD_ESCAPE, self.since(before)),
        }
    }

    /// The rest of `\x41` or `\x{10FFFF}`.
    fn hexadecimal(&mut self) -> Option<u32> {
        let (digits, length) = match self.rest.strip_prefix('{') {
            Some(after) => {
                let digits = &after[..after.find('}')?];
                (digits, digits.len() + 2)
            }
            None => (self.rest.get(..2)?, 2),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.skip(length);
        let significant = digits.trim_start_matches('0');
        match significant.len() {
            0 => Some(0),
            1..=6 => u32::from_str_radix(significant, 16).ok(),
            _ => None,
        }
    }

    fn class(&mut self) -> Result<(), Re2Error> {
        let before = self.rest;
        let mut out = String::from("[");
        self.skip(1);
        if self.rest.starts_with('^') {
            self.skip(1);
            out.push('^');
        }
        let mut is_first = true;
        while is_first || !self.rest.starts_with(']') {
            is_first = false;
            if self.rest.starts_with("[:")
                && let Some(end) = self.rest.find(":]")
                && end >= 2
            {
                let name = &self.rest[..end + 2];
                if !unicode::is_posix_class(&name[2..end]) {
                    return error(BAD_RANGE, name);
                }
                out.push_str(name);
                self.skip(end + 2);
                continue;
            }
            if self.named_set(&mut out)? {
                continue;
            }
            let range = self.rest;
            let low = self.class_char(before)?;
            push_class_char(&mut out, low);
            if self.rest.starts_with('-') && self.rest.len() >= 2 && !self.rest.starts_with("-]") {
                self.skip(1);
                let high = self.class_char(before)?;
                if high < low {
                    return error(BAD_RANGE, self.since(range));
                }
                out.push('-');
                push_class_char(&mut out, high);
            }
        }
        self.skip(1);
        out.push(']');
        self.out.push_str(&out);
        self.operand = Operand::Some;
        Ok(())
    }

    fn class_char(&mut self, class: &str) -> Result<char, Re2Error> {
        match self.rest.chars().next() {
            None => error("missing closing ]", class),
            Some('\\') => self.escape(),
            Some(c) => {
                self.skip(c.len_utf8());
                Ok(c)
            }
        }
    }
}

/// Reads `{n}`, `{n,}` or `{n,m}`: the bounds (none: no upper one) and the length in bytes.
fn counts(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let inner = &text[1..text.find('}')?];
    let number = |digits: &str| -> Option<u32> {
        let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
        if digits.is_empty() || has_leading_zero || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(digits.parse().unwrap_or(u32::MAX))
    };
    let (low, high) = match inner.split_once(',') {
        None => (number(inner)?, Some(number(inner)?)),
        Some((low, "")) => (number(low)?, None),
        Some((low, high)) => (number(low)?, Some(number(high)?)),
    };
    Some((low, high, inner.len() + 2))
}

fn push_literal(out: &mut String, c: char) {
    if "\\.+*?()|[]{}^$".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

fn push_class_char(out: &mut String, c: char) {
    if "\\[]^-&~".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests;
