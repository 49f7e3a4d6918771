//! `cofferdam encrypt`: a plain file becomes a document.
#![expect(clippy::disallowed_methods, reason = "edge: asks the clock")]

use clap::Args;

use crate::cli::context::Context;
use crate::cli::decrypt::warn;
use crate::cli::digest_record;
use crate::cli::document_flags::{self, Config, FileFlags};
use crate::cli::encrypt_staged;
use crate::cli::error::CliError;
use crate::keys::Recipient;
use crate::repo::atomic_write::Mode;
use crate::rules::{CreationRule, path_for_rules};
use crate::sops::{self, DocumentError, EncryptOptions, Selection, Selector};

/// Encrypt a file as sops does, for the recipients of the first rule of .sops.yaml that matches it.
///
/// The result is printed unless --in-place or --output say otherwise.
#[derive(Debug, Args)]
pub struct EncryptArgs {
    #[command(flatten)]
    flags: FileFlags,
    /// Recipients, separated by commas, in place of those of the rule.
    // Taken as text: clap would repeat a wrong value, and the likeliest wrong value is an identity.
    #[arg(short, long, value_name = "RECIPIENTS", env = "SOPS_AGE_RECIPIENTS")]
    age: Vec<String>,
    #[command(flatten)]
    selectors: SelectorFlags,
    /// Let the MAC cover encrypted values only.
    #[arg(long)]
    mac_only_encrypted: bool,
    /// Encrypt in place what is about to be committed in the clear although a rule says that it is a secret; for a hook.
    #[arg(long, conflicts_with_all = ["file", "in_place", "output", "filename_override"])]
    staged: bool,
}

/// Which leaves are encrypted; one of them at most.
#[derive(Debug, Args)]
struct SelectorFlags {
    /// Leave values below keys with this ending in the clear.
    #[arg(long, value_name = "SUFFIX")]
    unencrypted_suffix: Option<String>,
    /// Encrypt only values below keys with this ending.
    #[arg(long, value_name = "SUFFIX")]
    encrypted_suffix: Option<String>,
    /// Leave values below keys that match in the clear.
    #[arg(long, value_name = "REGEX")]
    unencrypted_regex: Option<String>,
    /// Encrypt only values below keys that match.
    #[arg(long, value_name = "REGEX")]
    encrypted_regex: Option<String>,
    /// Leave what follows a matching comment in the clear.
    #[arg(long, value_name = "REGEX")]
    unencrypted_comment_regex: Option<String>,
    /// Encrypt only what follows a matching comment.
    #[arg(long, value_name = "REGEX")]
    encrypted_comment_regex: Option<String>,
}

impl SelectorFlags {
    fn given(&self) -> Vec<(Selector, &str)> {
        let all = [
            (Selector::UnencryptedSuffix, &self.unencrypted_suffix),
            (Selector::EncryptedSuffix, &self.encrypted_suffix),
            (Selector::UnencryptedRegex, &self.unencrypted_regex),
            (Selector::EncryptedRegex, &self.encrypted_regex),
            (
                Selector::UnencryptedCommentRegex,
                &self.unencrypted_comment_regex,
            ),
            (
                Selector::EncryptedCommentRegex,
                &self.encrypted_comment_regex,
            ),
        ];
        let given = all
            .into_iter()
            .filter_map(|(s, text)| Some((s, text.as_deref()?)));
        given.filter(|(_, text)| !text.is_empty()).collect()
    }
}

/// Runs `cofferdam encrypt`.
///
/// # Errors
/// Usage: flags that contradict each other, standard input without a name. Failure: no rule or no keys, an encrypted
/// file, a file that SOPS cannot hold.
pub fn run(args: &EncryptArgs, context: &Context) -> Result<(), CliError> {
    if args.staged {
        return encrypt_staged::run(context);
    }
    let flags = &args.flags;
    let Some(name) = flags.name() else {
        return Err(
            CliError::usage("standard input needs a name, for its format and its rule")
                .hint("cofferdam encrypt --filename-override secrets.yaml < FILE"),
        );
    };
    let config = flags.config(context)?;
    let rule = match &config {
        Some(config) => rule_of(config, &name, context)?,
        None => None,
    };
    let selection = selection(args, rule)?;
    let (key_groups, threshold) = keys(args, rule, config.as_ref())?;
    let options = EncryptOptions {
        key_groups,
        threshold,
        selection,
        mac_only_encrypted: args.mac_only_encrypted || rule.is_some_and(|r| r.mac_only_encrypted),
        now: jiff::Timestamp::now(),
        output: flags.output_store(),
        emit: flags.emit_options(config.as_ref()),
    };
    let plain = crate::secret::SecretBytes::new(flags.read(context)?);
    let what = format!("cannot encrypt {}", flags.label());
    let encrypted = sops::encrypt(flags.input_store(), plain.expose(), &options).map_err(|e| {
        let out = document_flags::failure(&what, &e, None);
        match e {
            DocumentError::AlreadyEncrypted => {
                out.hint(format!("cofferdam renew {}", flags.label()))
            }
            _ => out,
        }
    })?;
    warn(context, &flags.label(), &encrypted.warnings);
    if let Some(path) = flags.write(context, &encrypted.bytes, Mode::Default)? {
        digest_record::refresh_bytes(&path, &encrypted.bytes, context);
    }
    Ok(())
}

fn rule_of<'c>(
    config: &'c Config,
    name: &str,
    context: &Context,
) -> Result<Option<&'c CreationRule>, CliError> {
    let file = document_flags::clean(&context.resolve(name.as_ref()));
    let (folder, file) = (config.folder.to_string_lossy(), file.to_string_lossy());
    let rule = config.rules.rule_for(path_for_rules(&folder, &file));
    rule.map_err(|e| {
        CliError::failed(format!(
            "no rule of {} can be used for {name}",
            config.path.display()
        ))
        .caused_by(&e)
    })
}

/// The recipients: those of the command line, else those of the rule.
fn keys(
    args: &EncryptArgs,
    rule: Option<&CreationRule>,
    config: Option<&Config>,
) -> Result<(Vec<Vec<Recipient>>, Option<u64>), CliError> {
    if !args.age.is_empty() {
        let texts = args.age.iter().flat_map(|list| list.split(','));
        let group = texts.map(Recipient::parse).collect::<Result<Vec<_>, _>>();
        let group = group.map_err(|e| CliError::failed("--age cannot be used").caused_by(&e))?;
        return Ok((vec![group], None));
    }
    let rule = rule.filter(|r| !r.key_groups.is_empty());
    let (Some(rule), Some(config)) = (rule, config) else {
        return Err(
            CliError::failed("nobody to encrypt for: no rule and no --age")
                .hint("cofferdam encrypt --age age1… FILE"),
        );
    };
    keys_of(rule, &config.path.display().to_string())
}

/// The recipients that a rule of the file `config` names.
///
/// # Errors
/// Keys of other kinds than age's, texts that are no recipients.
pub fn keys_of(
    rule: &CreationRule,
    config: &str,
) -> Result<(Vec<Vec<Recipient>>, Option<u64>), CliError> {
    let unusable = format!("the rule on line {} of {config} cannot be used", rule.line);
    if rule.has_foreign_keys() {
        let kinds: Vec<&str> = rule
            .key_groups
            .iter()
            .flat_map(|g| g.foreign.iter().map(|f| f.kind.as_str()))
            .collect();
        return Err(CliError::failed(unusable).hint(format!(
            "it asks for keys that are not age's ({}); encrypt with sops, or name recipients with --age",
            kinds.join(", ")
        )));
    }
    let mut groups = Vec::with_capacity(rule.key_groups.len());
    for group in &rule.key_groups {
        let parsed = group.age.iter().map(|text| Recipient::parse(text));
        let parsed = parsed.collect::<Result<Vec<_>, _>>();
        groups.push(parsed.map_err(|e| CliError::failed(&unusable).caused_by(&e))?);
    }
    let threshold = rule.shamir_threshold.map(u64::try_from).transpose();
    let threshold = threshold
        .map_err(|_| CliError::failed(unusable).hint("shamir_threshold must not be negative"))?;
    Ok((groups, threshold.filter(|t| *t > 0)))
}

/// The selector: a flag replaces the same one of the rule; two different ones are an error, as in sops.
fn selection(args: &EncryptArgs, rule: Option<&CreationRule>) -> Result<Selection, CliError> {
    let mut all: Vec<(Selector, String)> = Vec::new();
    if let Some((kind, text)) = rule.map(CreationRule::selection).transpose()?.flatten() {
        all.push((*kind, text.clone()));
    }
    for (selector, text) in args.selectors.given() {
        all.retain(|(other, _)| *other != selector);
        all.push((selector, text.to_owned()));
    }
    match all.as_slice() {
        [] => Ok(Selection::default()),
        [(selector, text)] => Ok(Selection::checked(*selector, text)?),
        [(a, _), (b, _), ..] => Err(CliError::usage(format!(
            "{} and {} are both given; a document has one selector",
            a.field(),
            b.field()
        ))),
    }
}
