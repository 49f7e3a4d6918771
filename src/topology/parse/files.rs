//! The `files` of a zone or shared entry.

use super::section::{Placed, Section};
use super::{Reader, Spot};
use crate::topology::problem::quoted;
use crate::topology::{FileSet, Glob, Selection, Selector};

const EXAMPLE: &str = "{ paths = [\"…\"] }";

impl<'f> Reader<'f> {
    /// Reads `files` of the entry `name`.
    pub(super) fn file_sets(
        &mut self,
        kind: &'static str,
        name: &str,
        section: &Section<'f>,
    ) -> Vec<FileSet> {
        let sections = section.tables("files", EXAMPLE).unwrap_or_default();
        sections
            .iter()
            .map(|set| self.file_set(kind, name, set))
            .collect()
    }

    fn file_set(&mut self, kind: &'static str, name: &str, section: &Section<'f>) -> FileSet {
        let paths = section.strings("paths").unwrap_or_default();
        if !section.has("paths") {
            let message = format!("{}: paths is missing", section.title());
            let hint = "add paths = [\"…\"]".to_owned();
            self.findings.add(section.place(), message, Some(hint));
        } else if paths.is_empty() && section.is_list_or_absent("paths") {
            let message = format!("{}: paths names no file", section.title());
            let hint = "add a glob such as \"folder/**/*.sops.yaml\"".to_owned();
            self.findings
                .add(section.key_place("paths"), message, Some(hint));
        }
        let paths = self.globs(section, paths);
        let exclude = section.strings("exclude").unwrap_or_default();
        let set = FileSet {
            paths,
            exclude: self.globs(section, exclude),
            selection: self.selection(section),
            mac_only_encrypted: section.boolean("mac_only_encrypted").unwrap_or(false),
            hosts: section
                .has("hosts")
                .then(|| self.mentions(section, "hosts", kind, name)),
        };
        // Asked for even where absent, so that the hints know it.
        if set.hosts.is_none() {
            let _ = section.strings("hosts");
        }
        section.finish();
        set
    }

    fn globs(&self, section: &Section<'f>, texts: Vec<Placed<String>>) -> Vec<Glob> {
        let mut globs: Vec<Glob> = Vec::new();
        for (text, at) in texts {
            match Glob::parse(&text) {
                Ok(glob) if globs.contains(&glob) => {
                    let message = format!(
                        "{}: the glob {} is there twice",
                        section.title(),
                        quoted(&text)
                    );
                    self.findings
                        .add(at, message, Some("remove one".to_owned()));
                }
                Ok(glob) => globs.push(glob),
                Err(error) => {
                    let message =
                        format!("{}: bad glob {}: {error}", section.title(), quoted(&text));
                    let hint = "globs look like folder/**/*.sops.{env,json,yaml}".to_owned();
                    self.findings.add(at, message, Some(hint));
                }
            }
        }
        globs
    }

    fn selection(&self, section: &Section<'f>) -> Option<Selection> {
        let mut found: Vec<Selection> = Vec::new();
        for kind in Selector::ALL {
            let Some((text, at)) = section.string(kind.field()) else {
                continue;
            };
            if kind.is_regex()
                && let Err(error) = crate::re2::compile(&text)
            {
                // SOPS takes a bad expression for one that never matches and writes the file in the clear.
                let message = format!(
                    "{}: {kind} is no regular expression: {error}",
                    section.title()
                );
                let hint =
                    "SOPS uses RE2 syntax, without look-ahead and back-references".to_owned();
                self.findings.add(at, message, Some(hint));
                continue;
            }
            if let Some((other, _)) = found.first() {
                let message = format!("{}: both {other} and {kind}", section.title());
                let hint = "a document has one selector: keep one of them".to_owned();
                self.findings
                    .add(section.key_place(kind.field()), message, Some(hint));
            }
            found.push((kind, text));
        }
        found.into_iter().next()
    }

    /// Remembers where a single name stands that must exist elsewhere.
    pub(super) fn mention(
        &mut self,
        section: &Section<'f>,
        key: &'static str,
        kind: &'static str,
        name: &str,
    ) -> Option<String> {
        let (mention, at) = section.string(key)?;
        let spot = Spot::Mention(kind, name.to_owned(), mention.clone());
        self.places.insert(spot, at);
        Some(mention)
    }
}
