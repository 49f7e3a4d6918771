//! `cofferdam.toml` → [`Topology`], or all its mistakes at once.

mod cross_check;
mod files;
pub(crate) mod section;
mod targets;

use std::collections::HashMap;
use std::ops::Range;

use toml_edit::Document;

use self::section::{Findings, Section};
use super::problem::quoted;
use super::{
    Dismissed, Gate, IdentityScope, Operator, Publish, Recovery, Shared, Topology, TopologyProblem,
    Zone,
};
use crate::keys::Recipient;
use crate::keys::recipient::RecipientError;

/// The default folder of the sealed identities.
const SEALED_FOLDER: &str = ".cofferdam/sealed";

/// Parses the text of `file_name`.
///
/// # Errors
/// All mistakes, in the order of their places; never an empty list.
pub fn parse(text: &str, file_name: &str) -> Result<Topology, Vec<TopologyProblem>> {
    let findings = Findings::new(text, file_name);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            let message = error.message().lines().next().unwrap_or_default();
            findings.add(at, format!("not TOML: {message}"), None);
            return Err(findings.into_problems());
        }
    };
    let mut reader = Reader {
        findings: &findings,
        places: HashMap::new(),
    };
    let topology = reader.topology(&Section::new(
        &findings,
        document.as_table(),
        0..0,
        "cofferdam.toml".to_owned(),
    ));
    cross_check::check(&topology, &reader);
    let problems = findings.into_problems();
    if problems.is_empty() {
        Ok(topology)
    } else {
        Err(problems)
    }
}

/// Where something stands, for mistakes that show only when everything has been read.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Spot {
    /// The header of an entry: its kind and name.
    Entry(&'static str, String),
    /// A name within an entry that must exist elsewhere: the entry's kind and name, the name.
    Mention(&'static str, String, String),
    /// A recipient of a holder, by its position.
    Recipient(String, usize),
}

struct Reader<'f> {
    findings: &'f Findings<'f>,
    places: HashMap<Spot, Range<usize>>,
}

impl<'f> Reader<'f> {
    fn place(&self, spot: &Spot) -> Range<usize> {
        self.places.get(spot).cloned().unwrap_or(0..0)
    }

    fn topology(&mut self, root: &Section<'f>) -> Topology {
        self.version(root);
        let recovery = self.recovery(root);
        let operators = self.entries(root, "operators", "operator", |reader, name, section| {
            let recipients = reader.recipients(section, &format!("operator {name}"));
            Operator { name, recipients }
        });
        if operators.is_empty() {
            self.findings.add(
                0..0,
                "no operator: nobody could open the documents from a computer".to_owned(),
                Some("add [operators.laptop] with recipients = [\"age1…\"]".to_owned()),
            );
        }
        let zones = self.entries(root, "zones", "zone", Self::zone);
        let shared = self.entries(root, "shared", "shared entry", Self::shared_entry);
        let hosts = self.entries(root, "hosts", "host", Self::host);
        let clusters = self.entries(root, "clusters", "cluster", Self::cluster);
        let gate = match root.table("gate") {
            Some(section) => self.gate(&section),
            None => Gate::default(),
        };
        let publish = match root.table("publish") {
            Some(section) => self.publish(&section),
            None => Publish::default(),
        };
        let dismissed = self.dismissed(root);
        let sealed_folder = root.table("sealed").and_then(|section| {
            let folder = section.path("folder");
            section.finish();
            folder
        });
        root.finish();
        Topology {
            recovery,
            operators,
            zones,
            shared,
            hosts,
            clusters,
            gate,
            publish,
            dismissed,
            sealed_folder: sealed_folder.unwrap_or_else(|| SEALED_FOLDER.to_owned()),
        }
    }

    fn version(&self, root: &Section<'f>) {
        let hint = Some("write: version = 1".to_owned());
        match root.integer("version") {
            Some((1, _)) => {}
            Some((other, at)) => {
                let message = format!("version {other} is not known to this cofferdam");
                self.findings.add(at, message, hint);
            }
            None if root.has("version") => {}
            None => self
                .findings
                .add(0..0, "version is missing".to_owned(), hint),
        }
    }

    fn recovery(&mut self, root: &Section<'f>) -> Recovery {
        let Some(section) = root.table("recovery") else {
            if !root.has("recovery") {
                self.findings.add(
                    0..0,
                    "no recovery recipient: [recovery] is missing".to_owned(),
                    Some("run: cofferdam recovery create --out FILE".to_owned()),
                );
            }
            return Recovery {
                recipients: Vec::new(),
                drill_every: None,
            };
        };
        let recovery = Recovery {
            recipients: self.recipients(&section, "recovery"),
            drill_every: section.duration("drill_every"),
        };
        section.finish();
        recovery
    }

    fn dismissed(&self, root: &Section<'f>) -> Vec<Dismissed> {
        let example =
            "{ use = \"ci:.github/workflows/deploy.yml\", because = \"it has a key of its own\" }";
        let mut dismissed = Vec::new();
        for section in root.tables("dismissed", example).unwrap_or_default() {
            let (name, because) = (section.text("use"), section.text("because"));
            for key in ["use", "because"] {
                if !section.has(key) {
                    let message = format!("{} lacks {key}", section.title());
                    let hint = format!("write: dismissed = [{example}]");
                    self.findings.add(section.place(), message, Some(hint));
                }
            }
            section.finish();
            if let (Some((name, _)), Some((because, _))) = (name, because) {
                dismissed.push(Dismissed { name, because });
            }
        }
        dismissed
    }

    /// Reads `recipients` and says if there is none.
    fn recipients(&mut self, section: &Section<'f>, holder: &str) -> Vec<Recipient> {
        let texts = section.strings("recipients");
        if texts.is_none() && section.has("recipients") {
            return Vec::new();
        }
        let texts = texts.unwrap_or_default();
        if texts.is_empty() {
            let at = section.key_place("recipients");
            let hint = match holder {
                "recovery" => "run: cofferdam recovery create --out FILE",
                _ => "add recipients = [\"age1…\"]; `age-keygen -y FILE` prints one",
            };
            self.findings.add(
                at,
                format!("{holder} has no recipient"),
                Some(hint.to_owned()),
            );
        }
        let mut recipients = Vec::new();
        for (text, at) in texts {
            let spot = Spot::Recipient(holder.to_owned(), recipients.len());
            recipients.extend(self.recipient(&text, at, holder, spot));
        }
        recipients
    }

    /// Reads one recipient of `holder`, and remembers where it stands.
    fn recipient(
        &mut self,
        text: &str,
        at: Range<usize>,
        holder: &str,
        spot: Spot,
    ) -> Option<Recipient> {
        match Recipient::parse(text) {
            Ok(recipient) => {
                self.places.insert(spot, at);
                return Some(recipient);
            }
            Err(RecipientError::IsIdentity) => self.findings.add(
                at,
                format!("{holder}: this is an identity (a secret key), not a recipient"),
                Some("remove it from this file and rotate it; write its recipient, which `age-keygen -y` prints".to_owned()),
            ),
            Err(RecipientError::Malformed { text, reason }) => self.findings.add(
                at,
                format!("{holder}: {} is not an age recipient: {reason}", quoted(&text)),
                Some("recipients look like age1…, ssh-ed25519 … or ssh-rsa …".to_owned()),
            ),
        }
        None
    }

    /// Reads `adopt` of a zone, a host or a cluster.
    fn adopt(
        &mut self,
        kind: &'static str,
        name: &str,
        section: &Section<'f>,
    ) -> Option<Recipient> {
        let (text, at) = section.text("adopt")?;
        let holder = format!("{kind} {name}");
        let spot = Spot::Recipient(holder.clone(), 0);
        let recipient = self.recipient(&text, at.clone(), &holder, spot)?;
        if !recipient.is_x25519() {
            let message = format!(
                "{holder}: only an identity of age itself can be adopted, and {} is none",
                recipient.short()
            );
            let hint = "remove `adopt`: a split mints an age identity in its place".to_owned();
            self.findings.add(at, message, Some(hint));
        }
        Some(recipient)
    }

    /// Reads the entries of `[key.NAME]` tables.
    fn entries<T>(
        &mut self,
        root: &Section<'f>,
        key: &'static str,
        kind: &'static str,
        read: impl Fn(&mut Self, String, &Section<'f>) -> T,
    ) -> Vec<T> {
        let Some(table) = root.table(key) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (name, at) in table.names() {
            let Some(section) = table.entry(&name, format!("{kind} {name}")) else {
                continue;
            };
            if !is_simple_word(&name, kind == "host") {
                let message = format!("the {kind} name {} is not a simple word", quoted(&name));
                let hint = "use letters, digits, '-' and '_', beginning with a letter or digit";
                self.findings
                    .add(at.clone(), message, Some(hint.to_owned()));
            }
            self.places.insert(Spot::Entry(kind, name.clone()), at);
            out.push(read(self, name, &section));
            section.finish();
        }
        out
    }

    fn zone(&mut self, name: String, section: &Section<'f>) -> Zone {
        let scopes = [("zone", IdentityScope::Zone), ("host", IdentityScope::Host)];
        Zone {
            identity: section.word("identity", &scopes).unwrap_or_default(),
            adopt: self.adopt("zone", &name, section),
            max_age: section.duration("max_age"),
            grace: section.duration("grace"),
            files: self.file_sets("zone", &name, section),
            name,
        }
    }

    fn shared_entry(&mut self, name: String, section: &Section<'f>) -> Shared {
        let zones = self.mentions(section, "zones", "shared entry", &name);
        if zones.is_empty() && section.is_list_or_absent("zones") {
            let at = section.key_place("zones");
            let message = format!("shared entry {name} names no zone");
            let hint = "add zones = [\"…\", \"…\"]".to_owned();
            self.findings.add(at, message, Some(hint));
        }
        let files = self.file_sets("shared entry", &name, section);
        if files.is_empty() && section.is_list_or_absent("files") {
            let message = format!("shared entry {name} has no files");
            let hint = "add files = [{ paths = [\"…\"] }]".to_owned();
            self.findings.add(section.place(), message, Some(hint));
        }
        Shared { name, zones, files }
    }

    /// Reads a list of names and remembers where each stands.
    fn mentions(
        &mut self,
        section: &Section<'f>,
        key: &'static str,
        kind: &'static str,
        name: &str,
    ) -> Vec<String> {
        let names = match kind {
            "publish" | "gate" => section.string_or_strings(key),
            _ => section.strings(key),
        };
        names
            .unwrap_or_default()
            .into_iter()
            .map(|(mention, at)| {
                let spot = Spot::Mention(kind, name.to_owned(), mention.clone());
                self.places.insert(spot, at);
                mention
            })
            .collect()
    }
}

pub(crate) fn is_simple_word(name: &str, with_dots: bool) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (with_dots && c == '.'))
}

#[cfg(test)]
mod tests;
