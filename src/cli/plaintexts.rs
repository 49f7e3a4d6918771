//! Documents opened for programs: which files, and what each gives as variables, as a file, and to be masked.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads the documents that the user names"
)]

use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::document_flags;
use crate::cli::error::CliError;
use crate::exec::Named;
use crate::exec::environment::Choice;
use crate::keys::IdentitySet;
use crate::keystore::Lookup;
use crate::repo::{content, recognise};
use crate::secret::SecretBytes;
use crate::sops::cipher::LeafCipher;
use crate::sops::leaf;
use crate::sops::leaves::LeafContent;
use crate::sops::tree::{Node, Value};
use crate::sops::{Document, DocumentError, EmitOptions, Store, Verified};

/// A document that the user names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is; absolute.
    pub path: PathBuf,
    /// As the user would call it.
    pub label: String,
    /// The name of its plaintext, if the user gave one.
    pub name: Option<String>,
}

/// A document that was opened and verified.
#[derive(Debug)]
pub struct Plaintext {
    /// Which.
    pub source: Source,
    document: Document,
    verified: Verified,
}

impl Source {
    /// From `FILE` or `FILE=NAME`; a file whose own name holds the sign is taken whole.
    ///
    /// # Errors
    /// A NAME that is empty or a path.
    pub fn parse(text: &str, context: &Context) -> Result<Self, CliError> {
        let whole = context.resolve(Path::new(text));
        let split = text.rsplit_once('=').filter(|_| !whole.exists());
        let (file, name) = match split {
            Some((file, name)) => (file, Some(name)),
            None => (text, None),
        };
        if let Some(name) = name
            && (name.is_empty() || name.contains('/') || matches!(name, "." | ".."))
        {
            return Err(CliError::usage(format!(
                "`{name}` in --file {text} is no name for a plaintext"
            ))
            .hint("--file FILE=NAME, NAME without folders"));
        }
        Ok(Self {
            path: context.resolve(Path::new(file)),
            label: file.to_owned(),
            name: name.map(str::to_owned),
        })
    }

    /// The documents `NAME.sops.EXT` right in a folder, by name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn in_folder(folder: &Path, context: &Context) -> Result<Vec<Self>, CliError> {
        let shown = folder.display();
        let entries = std::fs::read_dir(context.resolve(folder)).map_err(|e| {
            CliError::failed(format!("cannot read the folder {shown}")).caused_by(&e)
        })?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = entry.path();
            if plain_name(&name).is_some() && path.is_file() && !is_rules(&name, &path) {
                let label = folder.join(&name).display().to_string();
                found.push(Self {
                    path,
                    label,
                    name: None,
                });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// The same.
    ///
    /// # Errors
    /// As above; the folder holds none.
    pub fn all_in_folder(folder: &Path, context: &Context) -> Result<Vec<Self>, CliError> {
        let found = Self::in_folder(folder, context)?;
        if found.is_empty() {
            let shown = folder.display();
            return Err(CliError::failed(format!(
                "the folder {shown} holds no document NAME.sops.EXT"
            ))
            .hint("name a document of another name: --file FILE"));
        }
        Ok(found)
    }

    /// The name of its plaintext: the one given, else its own without `.sops`.
    ///
    /// # Errors
    /// Its name does not say.
    pub fn plain_name(&self) -> Result<String, CliError> {
        let own = self.path.file_name().and_then(|n| n.to_str());
        self.name
            .clone()
            .or_else(|| own.and_then(plain_name))
            .ok_or_else(|| {
                CliError::failed(format!(
                    "the name {} does not say what its plaintext is called",
                    self.label
                ))
                .hint(format!("--file {}=NAME", self.label))
            })
    }
}

/// `NAME.EXT` for `NAME.sops.EXT`; NAME may be empty.
fn plain_name(name: &str) -> Option<String> {
    let (front, extension) = name.rsplit_once(".sops.")?;
    (!extension.is_empty()).then(|| format!("{front}.{extension}"))
}

/// Whether it is a file of creation rules, which has the same form of name, and no document.
fn is_rules(name: &str, path: &Path) -> bool {
    matches!(name, ".sops.yaml" | ".sops.yml")
        && content::whole(path).is_ok_and(|source| recognise::recognise(name, &source).is_none())
}

/// A document that could not be read, parsed or opened.
pub type Unopened = (Source, DocumentError);

/// Opens and verifies documents, in order; what must be asked for is asked once. The identities are given out as well.
///
/// # Errors
/// Any that cannot be read, opened or verified, all at once.
pub fn open(sources: Vec<Source>, context: &Context) -> Result<(Vec<Plaintext>, Lookup), CliError> {
    let (opened, unopened, lookup) = open_each(sources, context)?;
    if unopened.is_empty() {
        return Ok((opened, lookup));
    }
    Err(not_opened(unopened, &lookup))
}

/// What is said of documents that did not open.
pub fn not_opened(unopened: Vec<Unopened>, lookup: &Lookup) -> CliError {
    let failed: Vec<_> = unopened
        .into_iter()
        .map(|(source, error)| (format!("cannot open {}", source.label), error))
        .collect();
    document_flags::failures(&failed, lookup)
}

/// The same, but those that do not open are given out too.
///
/// # Errors
/// Any that cannot be read.
pub fn open_each(
    sources: Vec<Source>,
    context: &Context,
) -> Result<(Vec<Plaintext>, Vec<Unopened>, Lookup), CliError> {
    let mut read = Vec::new();
    let mut failed = Vec::new();
    for source in sources {
        let bytes = content::whole(&source.path)
            .map_err(|e| CliError::failed(format!("cannot read {}", source.label)).caused_by(&e))?;
        match parse(&source.label, bytes) {
            Ok(document) => read.push((source, document)),
            Err(error) => failed.push((source, error)),
        }
    }
    let lookup = document_flags::identities(context);
    prefetch(read.iter().map(|(_, document)| document), &lookup);
    let mut opened = Vec::new();
    for (source, document) in read {
        match document.open_with(&lookup.identities) {
            Ok(verified) => {
                super::decrypt::warn(context, &source.label, verified.warnings());
                opened.push(Plaintext {
                    source,
                    document,
                    verified,
                });
            }
            Err(error) => failed.push((source, error)),
        }
    }
    Ok((opened, failed, lookup))
}

fn prefetch<'d>(documents: impl Iterator<Item = &'d Document>, lookup: &Lookup) {
    let wraps: Vec<_> = documents.flat_map(Document::wraps).collect();
    lookup.identities.prefetch(&wraps);
}

fn parse(name: &str, source: Vec<u8>) -> Result<Document, DocumentError> {
    let store = recognise::recognise(name, &source).unwrap_or_else(|| Store::for_path(name));
    Document::parse(store, source)
}

/// The text of an older version of a document, if it opens and verifies.
pub fn text_of_version(
    name: &str,
    source: Vec<u8>,
    identities: &IdentitySet,
    options: &EmitOptions,
) -> Option<SecretBytes> {
    let document = parse(name, source).ok()?;
    let verified = document.open_with(identities).ok()?;
    verified.emit(document.store(), options).ok()
}

impl Plaintext {
    /// The top-level keys as variables; the whole text as one if the user gave a name for it.
    ///
    /// Values are the texts that `sops exec-env` gives, but for null, which is empty.
    ///
    /// # Errors
    /// Keys among the chosen that hold more than one value, by name; several documents in one file.
    pub fn variables(
        &self,
        choice: Choice<'_>,
        options: &EmitOptions,
    ) -> Result<Vec<Named>, CliError> {
        let label = &self.source.label;
        let named = |name: &str, value| Named {
            name: name.to_owned(),
            origin: label.clone(),
            value,
        };
        if let Some(name) = &self.source.name {
            return Ok(vec![named(name, self.text(options)?)]);
        }
        let [mapping] = self.verified.tree().documents.as_slice() else {
            return Err(CliError::failed(format!(
                "{label} holds several documents; variables can be made of one"
            ))
            .hint(format!(
                "--file {label}=NAME makes one variable of all its text"
            )));
        };
        let mut variables = Vec::new();
        let mut nested = Vec::new();
        for entry in mapping.entries().filter(|entry| choice.takes(&entry.key)) {
            match &entry.value {
                Node::Leaf(leaf) => variables.push(named(&entry.key, text_of(&leaf.value))),
                Node::Mapping(_) => nested.push((&entry.key, "a mapping")),
                Node::List(_) => nested.push((&entry.key, "a list")),
            }
        }
        if nested.is_empty() {
            return Ok(variables);
        }
        let messages = nested.into_iter().map(|(key, what)| {
            format!("{label}: `{key}` is {what}, and a variable holds one value")
        });
        Err(CliError::many(super::error::Kind::Failed, messages)
            .hint("name the keys that are wanted: --only KEY"))
    }

    /// What `sops decrypt` prints.
    ///
    /// # Errors
    /// The format cannot say it.
    pub fn text(&self, options: &EmitOptions) -> Result<SecretBytes, CliError> {
        let printed = self.verified.emit(self.document.store(), options);
        printed.map_err(|e| {
            CliError::failed(format!("cannot print {}", self.source.label)).caused_by(&e)
        })
    }

    /// Its top-level keys.
    pub fn keys(&self) -> Vec<String> {
        let documents = self.verified.tree().documents.iter();
        documents
            .flat_map(|mapping| mapping.entries().map(|entry| entry.key.clone()))
            .collect()
    }

    /// Every value and comment that is encrypted in it.
    pub fn secrets(&self) -> Vec<SecretBytes> {
        secrets(&self.document, &self.verified)
    }
}

/// Every value and comment of a document that is encrypted.
pub fn secrets(document: &Document, verified: &Verified) -> Vec<SecretBytes> {
    let cipher = LeafCipher::new(verified.data_key());
    let leaves = document.leaves().into_iter();
    leaves
        .filter_map(|leaf| match leaf.content {
            LeafContent::Sealed(sealed) => sealed.open(&cipher),
            LeafContent::Clear(_) | LeafContent::Empty => None,
        })
        .collect()
}

/// Source: sops 3.11.0, `stores/stores.go`, `ValToString`; for null it gives `<nil>`.
fn text_of(value: &Value) -> SecretBytes {
    match value {
        Value::Null => SecretBytes::new(Vec::new()),
        Value::Bool(truth) => SecretBytes::from_slice(truth.to_string().as_bytes()),
        other => leaf::to_bytes(other).map_or_else(|| SecretBytes::new(Vec::new()), |(_, b)| b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_without_sops() {
        for (name, plain) in [
            (".sops.env", Some(".env")),
            ("backup.sops.env", Some("backup.env")),
            ("a.sops.b.sops.json", Some("a.sops.b.json")),
            ("x.sops.", None),
            ("sops.env", None),
            ("secret.json.sops", None),
        ] {
            assert_eq!(plain_name(name).as_deref(), plain, "{name}");
        }
    }
}
