//! Flags and look-ups that the commands on single documents share: formats, selectors, `.sops.yaml`, identities.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: reads the files and the configuration that the user names"
)]

use std::path::{Component, Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::keystore::{self, Lookup, Surroundings};
use crate::repo::atomic_write::{self, Mode};
use crate::rules::RulesFile;
use crate::sops::{DocumentError, EmitOptions, Store, key_group::KeyGroupError};

/// How far up `.sops.yaml` is looked for; sops's limit.
const MAX_LEVELS: usize = 100;

/// A format, by name.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Format {
    /// YAML, several documents.
    Yaml,
    /// JSON.
    Json,
    /// `KEY=VALUE` lines.
    Dotenv,
    /// INI sections.
    Ini,
    /// Any bytes.
    Binary,
}

impl From<Format> for Store {
    fn from(format: Format) -> Self {
        match format {
            Format::Yaml => Self::Yaml,
            Format::Json => Self::Json,
            Format::Dotenv => Self::Dotenv,
            Format::Ini => Self::Ini,
            Format::Binary => Self::Binary,
        }
    }
}

/// Which file, in which format, and where the result goes.
#[derive(Debug, clap::Args)]
pub struct FileFlags {
    /// The file; without it, standard input.
    pub file: Option<PathBuf>,
    /// Write the result over the file.
    #[arg(short, long, conflicts_with = "output")]
    pub in_place: bool,
    /// Write the result to FILE.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The format of the input, whatever its name.
    #[arg(long, value_name = "FORMAT")]
    pub input_type: Option<Format>,
    /// The format of the result.
    #[arg(long, value_name = "FORMAT")]
    pub output_type: Option<Format>,
    /// Treat the input as a file of this name: that decides its format and the rule of .sops.yaml.
    #[arg(long, value_name = "NAME")]
    pub filename_override: Option<String>,
    /// Use FILE instead of the .sops.yaml found from the working directory upwards.
    #[arg(long, value_name = "FILE", env = "SOPS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Spaces per level of YAML and JSON.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub indent: Option<i64>,
}

impl FileFlags {
    /// The name that decides format and rule; none for standard input without an override.
    pub fn name(&self) -> Option<String> {
        let file = self.file.as_ref().map(|f| f.to_string_lossy().into_owned());
        self.filename_override.clone().or(file)
    }

    /// How the file is called in messages.
    pub fn label(&self) -> String {
        self.name().unwrap_or_else(|| "standard input".to_owned())
    }

    /// The format of the input.
    pub fn input_store(&self) -> Store {
        let by_name = self.name().map_or(Store::Binary, |n| Store::for_path(&n));
        self.input_type.map_or(by_name, Store::from)
    }

    /// The format of the result.
    pub fn output_store(&self) -> Store {
        let by_name = self.name().map_or(Store::Binary, |n| Store::for_path(&n));
        match (self.output_type, self.input_type, self.name()) {
            (Some(output), _, _) => output.into(),
            // Standard input without a name has no other hint at a format than the one that was given.
            (None, Some(input), None) => input.into(),
            _ => by_name,
        }
    }

    /// Reads the file, or standard input.
    ///
    /// # Errors
    /// Usage for `--in-place` without a file; the system's errors.
    pub fn read(&self, context: &Context) -> Result<Vec<u8>, CliError> {
        let Some(file) = &self.file else {
            if self.in_place {
                return Err(CliError::usage("--in-place needs a file"));
            }
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
                .map_err(|e| CliError::failed("cannot read standard input").caused_by(&e))?;
            return Ok(bytes);
        };
        std::fs::read(context.resolve(file))
            .map_err(|e| CliError::failed(format!("cannot read {}", file.display())).caused_by(&e))
    }

    /// Writes the result where the flags say; a new file gets `mode`. The file that was written; none: it was printed.
    ///
    /// # Errors
    /// The system's.
    pub fn write(
        &self,
        context: &Context,
        bytes: &[u8],
        mode: Mode,
    ) -> Result<Option<PathBuf>, CliError> {
        let target = if self.in_place {
            self.file.as_ref()
        } else {
            self.output.as_ref()
        };
        let Some(target) = target else {
            context.ui.answer_bytes(bytes)?;
            return Ok(None);
        };
        let path = context.resolve(target);
        // A link is followed, as sops does; what it points at is replaced.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let mode = if path.exists() { Mode::Keep } else { mode };
        atomic_write::replace(&path, bytes, mode)?;
        Ok(Some(path))
    }

    /// How the result is printed: the flag, else what `.sops.yaml` says.
    pub fn emit_options(&self, config: Option<&Config>) -> EmitOptions {
        let stores = config.map(|c| c.rules.stores).unwrap_or_default();
        EmitOptions {
            yaml_indent: self.indent.or(stores.yaml_indent),
            json_indent: self.indent.or(stores.json_indent),
            json_binary_indent: self.indent.or(stores.json_binary_indent),
        }
    }

    /// Finds and reads `.sops.yaml`: the one named, else upwards from the working directory.
    ///
    /// # Errors
    /// A file that is named and missing, or does not parse.
    pub fn config(&self, context: &Context) -> Result<Option<Config>, CliError> {
        match &self.config {
            Some(path) => Config::read(context.resolve(path)).map(Some),
            None => find_config(&context.directory)
                .map(Config::read)
                .transpose(),
        }
    }
}

impl Config {
    fn read(path: PathBuf) -> Result<Self, CliError> {
        let failed = |e: &dyn std::error::Error| {
            CliError::failed(format!("cannot use {}", path.display())).caused_by(e)
        };
        let text = std::fs::read_to_string(&path).map_err(|e| failed(&e))?;
        let rules = RulesFile::parse(&text).map_err(|e| failed(&e))?;
        let folder = clean(path.parent().unwrap_or(Path::new("/")));
        Ok(Self {
            path,
            folder,
            rules,
        })
    }
}

/// How plaintext is printed where no flag says it: what `.sops.yaml` says, found from the working directory upwards.
///
/// # Errors
/// A file that does not parse.
pub fn printing(context: &Context) -> Result<EmitOptions, CliError> {
    let config = find_config(&context.directory)
        .map(Config::read)
        .transpose()?;
    let stores = config.map(|c| c.rules.stores).unwrap_or_default();
    Ok(EmitOptions {
        yaml_indent: stores.yaml_indent,
        json_indent: stores.json_indent,
        json_binary_indent: stores.json_binary_indent,
    })
}

/// A `.sops.yaml` that was found.
#[derive(Debug)]
pub struct Config {
    /// Where.
    pub path: PathBuf,
    /// Its folder, absolute and without `..`; rules are matched below it.
    pub folder: PathBuf,
    /// What it says.
    pub rules: RulesFile,
}

fn find_config(directory: &Path) -> Option<PathBuf> {
    let folders = directory.ancestors().take(MAX_LEVELS);
    folders.map(|f| f.join(".sops.yaml")).find(|f| f.is_file())
}

/// The path without `.` and `..`, links not resolved: Go's `filepath.Clean`.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Looks for identities where sops does; warns of key files that others can read.
pub fn identities(context: &Context) -> Lookup {
    let lookup = keystore::look_up(&Surroundings::of_process());
    for warning in &lookup.warnings {
        context.ui.warn(warning);
    }
    lookup
}

/// A document error with its file, and a hint where one helps.
pub fn failure(what: &str, error: &DocumentError, lookup: Option<&Lookup>) -> CliError {
    let out = CliError::failed(what).caused_by(error);
    match error {
        DocumentError::KeyGroup(
            KeyGroupError::NotForUs { .. } | KeyGroupError::TooFewGroups { .. },
        ) => {
            let mut out = out;
            for (source, reason) in lookup.map(Lookup::failures).unwrap_or_default() {
                out = out.hint(format!("{source} was not usable: {reason}"));
            }
            out.hint("export SOPS_AGE_KEY_FILE=FILE, a key file with an identity of one of these recipients")
                .hint("cofferdam why FILE says who opens it, and where identities were looked for")
        }
        DocumentError::NoMac | DocumentError::MacMismatch | DocumentError::MacUnreadable(_) => out
            .hint("git log -p on the file shows who changed it; restore it from a commit that verifies"),
        DocumentError::ForeignEntries(_) => {
            out.hint("--drop-foreign FILE renews it without them")
        }
        _ => out,
    }
}

/// Several failures, each in one line, told at once.
pub fn failures(errors: &[(String, DocumentError)], lookup: &Lookup) -> CliError {
    if let [(path, error)] = errors {
        return failure(path, error, Some(lookup));
    }
    let lines = errors.iter().map(|(path, error)| {
        let mut line = format!("{path}: {error}");
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !line.ends_with(&text) {
                line = format!("{line}: {text}");
            }
            source = cause.source();
        }
        line
    });
    let mut out = CliError::many(Kind::Failed, lines);
    for (source, reason) in lookup.failures() {
        out = out.hint(format!("{source} was not usable: {reason}"));
    }
    let locked = errors.iter().find(|(_, error)| is_not_for_us(error));
    if let Some((path, _)) = locked {
        out = out.hint(format!(
            "cofferdam why {path} says who opens it, and where identities were looked for"
        ));
    }
    out
}

/// Whether the identities at hand are what is missing: on a host of one zone the documents of others do not open.
pub fn is_not_for_us(error: &DocumentError) -> bool {
    matches!(
        error,
        DocumentError::KeyGroup(
            KeyGroupError::NotForUs { .. } | KeyGroupError::TooFewGroups { .. }
        )
    )
}
