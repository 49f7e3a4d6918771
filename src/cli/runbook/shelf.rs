//! Where runbooks come from: the binary, and the repository's own folder, which goes first.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads the repository's runbooks"
)]

use std::path::Path;

use crate::cli::error::{CliError, Kind};
use crate::repo::atomic_write;
use crate::runbook::{self, Runbook};
use crate::topology::closest::closest;

/// The folder of a repository's own runbooks.
pub const FOLDER: &str = "runbooks";

/// No runbook is larger.
const LARGEST: usize = 1 << 20;

/// Those that come with this program, by name.
const BUILT_IN: [(&str, &str); 7] = [
    (
        "interrupted-run",
        include_str!("../../../runbooks/interrupted-run.toml"),
    ),
    (
        "lost-operator",
        include_str!("../../../runbooks/lost-operator.toml"),
    ),
    ("new-host", include_str!("../../../runbooks/new-host.toml")),
    (
        "recovery-drill",
        include_str!("../../../runbooks/recovery-drill.toml"),
    ),
    (
        "revoke-host",
        include_str!("../../../runbooks/revoke-host.toml"),
    ),
    ("rotate", include_str!("../../../runbooks/rotate.toml")),
    ("split", include_str!("../../../runbooks/split.toml")),
];

/// Where a runbook was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In this program.
    BuiltIn,
    /// In the repository.
    Repository,
}

/// A runbook's text and where it is from.
#[derive(Debug)]
pub struct Book {
    /// Its name.
    pub name: String,
    /// The text.
    pub text: String,
    /// Where it is from.
    pub origin: Origin,
}

impl Book {
    /// Where it is from, for people.
    pub fn place(&self) -> String {
        match self.origin {
            Origin::BuiltIn => "built in".to_owned(),
            Origin::Repository => format!("{FOLDER}/{}.toml", self.name),
        }
    }

    /// Reads the text.
    ///
    /// # Errors
    /// All its mistakes at once.
    pub fn parse(&self) -> Result<Runbook, CliError> {
        runbook::parse(&self.text, &self.name, &self.place()).map_err(|problems| {
            let told = problems.into_iter().map(|p| (p.to_string(), p.hint));
            CliError::many_with_hints(Kind::Failed, told)
        })
    }
}

/// The digest of the built-in runbook of that name; none if there is none.
pub fn built_in_digest(name: &str) -> Option<String> {
    let found = BUILT_IN.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| runbook::digest(text))
}

/// The names of all runbooks, sorted. `root`: the repository, if there is one.
///
/// # Errors
/// The folder cannot be read.
pub fn names(root: Option<&Path>) -> Result<Vec<String>, CliError> {
    let mut names: Vec<String> = BUILT_IN
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let folder = root.map(|root| root.join(FOLDER));
    if let Some(folder) = folder.filter(|folder| folder.is_dir()) {
        for entry in std::fs::read_dir(&folder)? {
            let name = entry?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".toml"));
            names.extend(stem.filter(|stem| is_name(stem)).map(str::to_owned));
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The runbook of that name: the repository's, else the built-in one.
///
/// # Errors
/// There is none; a file that cannot be read, is no text or is reached through a link.
pub fn find(name: &str, root: Option<&Path>) -> Result<Book, CliError> {
    if !is_name(name) {
        return Err(unknown(name, root));
    }
    let file = root.map(|root| root.join(FOLDER).join(format!("{name}.toml")));
    if let Some(file) = &file {
        let linked = root.is_some_and(|root| root.join(FOLDER).is_symlink());
        if linked || file.is_symlink() {
            return Err(CliError::failed(format!(
                "{FOLDER}/{name}.toml is reached through a symbolic link"
            ))
            .hint("put the file itself there"));
        }
        let cannot = |error: &dyn std::error::Error| {
            CliError::failed(format!("cannot read {FOLDER}/{name}.toml")).caused_by(error)
        };
        if let Some(bytes) = atomic_write::read_no_follow(file).map_err(|e| cannot(&e))? {
            if bytes.len() > LARGEST {
                return Err(CliError::failed(format!(
                    "{FOLDER}/{name}.toml is larger than any runbook"
                )));
            }
            return Ok(Book {
                name: name.to_owned(),
                text: String::from_utf8(bytes).map_err(|e| cannot(&e.utf8_error()))?,
                origin: Origin::Repository,
            });
        }
    }
    match BUILT_IN.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Ok(Book {
            name: name.to_owned(),
            text: (*text).to_owned(),
            origin: Origin::BuiltIn,
        }),
        None => Err(unknown(name, root)),
    }
}

fn unknown(name: &str, root: Option<&Path>) -> CliError {
    let error = CliError::usage(format!("there is no runbook {name:?}"));
    let known = names(root).unwrap_or_default();
    match closest(name, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("cofferdam runbook list"),
    }
}

fn is_name(name: &str) -> bool {
    crate::topology::parse::is_simple_word(name, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ones_are_well_formed() {
        for (name, text) in BUILT_IN {
            let parsed = runbook::parse(text, name, name);
            assert!(parsed.is_ok(), "{name}: {:?}", parsed.err());
        }
    }
}
