//! `cofferdam encrypt --staged`: what a rule says must be encrypted is not committed in the clear.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: asks the clock, reads the files that are staged"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::check::gather;
use crate::cli::context::Context;
use crate::cli::decrypt::warn;
use crate::cli::digest_record;
use crate::cli::document_flags;
use crate::cli::encrypt::keys_of;
use crate::cli::error::{CliError, Kind};
use crate::cli::init::material::MAX_TEXT;
use crate::inventory::DIGESTS_PATH;
use crate::policy::facts::{is_named_secret, is_tool_file};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::content;
use crate::repo::git::Git;
use crate::repo::recognise::recognise;
use crate::repo::staged::Staged;
use crate::repo_path::RepoPath;
use crate::rules::{CreationRule, RulesFile, path_for_rules};
use crate::secret::SecretBytes;
use crate::sops::{self, EmitOptions, EncryptOptions, Selection, Store};

/// How many files are named of those about which a rule says nothing.
const SHOWN: usize = 10;

/// Encrypts the staged files that are secrets by their rule, in the work tree; they have to be staged anew.
///
/// A file is one if it is named like a document, or if its rule matches no file that stands in the clear already: a rule
/// that also matches other files says nothing.
///
/// # Errors
/// Exit 3 if anything was encrypted; usage without git; failure for a file whose work tree differs from what is staged, a rule
/// that cannot be used, or a file that SOPS cannot hold. Nothing is then written.
pub fn run(context: &Context) -> Result<(), CliError> {
    let (root, Some(git)) = gather::root(context)? else {
        return Err(CliError::usage("--staged needs a git repository"));
    };
    let is_rules = |path: &RepoPath| path.file_name() == ".sops.yaml";
    let staged = Staged::read(&git, MAX_TEXT, is_rules)?;
    let mut files: BTreeMap<String, RulesFile> = BTreeMap::new();
    for (path, text) in &staged.texts {
        let parsed = RulesFile::parse(text).map_err(|error| {
            CliError::failed(format!("cannot use {path} as it is staged")).caused_by(&error)
        })?;
        let folder = path
            .parent()
            .map_or(String::new(), |p| p.as_str().to_owned());
        files.insert(folder, parsed);
    }
    let rule_of = |path: &RepoPath| nearest(&files, path);
    // By address: rules have no name.
    let address = |rule: &CreationRule| std::ptr::from_ref(rule);
    let was_plain = in_the_clear_before(&git, &staged)?;
    let unsure: BTreeSet<*const CreationRule> = staged
        .scan
        .others
        .iter()
        .filter(|path| {
            let is_new = staged.plain.contains_key(*path) && !was_plain.contains(*path);
            !is_new || is_tool_file(path)
        })
        .filter_map(|path| Some(address(rule_of(path)?.1)))
        .collect();
    let mut made: Vec<(RepoPath, SecretBytes, Vec<u8>)> = Vec::new();
    let mut untold: BTreeMap<&str, Vec<&RepoPath>> = BTreeMap::new();
    for path in staged.plain.keys().filter(|path| !is_tool_file(path)) {
        let Some((folder, rule)) = rule_of(path) else {
            continue;
        };
        if rule.key_groups.is_empty() {
            continue;
        }
        if unsure.contains(&address(rule)) && !is_named_secret(path) {
            // One that was in the clear before is meant to be.
            if !was_plain.contains(path) {
                untold.entry(&rule.path_regex).or_default().push(path);
            }
            continue;
        }
        let plain = as_staged(&git, &root, path, &staged)?;
        let encrypted = encrypted(path, &plain, folder, rule, &files, context)?;
        made.push((path.clone(), plain, encrypted));
    }
    for (rule, paths) in untold {
        tell_untold(rule, &paths, context);
    }
    let mut recorded = false;
    for (path, plain, encrypted) in &made {
        atomic_write::replace_expecting(
            &path.under(&root),
            Some(plain.expose()),
            encrypted,
            Mode::Keep,
        )?;
        context.ui.answer(format!("encrypted {path}"));
        recorded |= digest_record::refresh_bytes(&path.under(&root), encrypted, context);
    }
    if made.is_empty() {
        return Ok(());
    }
    let mut names: Vec<&str> = made.iter().map(|(path, ..)| path.as_str()).collect();
    if recorded {
        names.push(DIGESTS_PATH);
    }
    Err(CliError::new(
        Kind::Findings,
        format!("{} about to be committed in the clear, encrypted now", match made.len() {
            1 => "1 secret was".to_owned(),
            n => format!("{n} secrets were"),
        }),
    )
    .hint(format!("look at it, then: git add -- {}", names.join(" ")))
    .hint("this clone's object store keeps what was staged in the clear until: git reflog expire --expire=now --all && git gc --prune=now"))
}

/// New files that a rule matches which says nothing: no reason to stop, and each may be a secret.
fn tell_untold(rule: &str, paths: &[&RepoPath], context: &Context) {
    let rule = match rule {
        "" => "without a path_regex".to_owned(),
        rule => rule.to_owned(),
    };
    let mut names: Vec<&str> = paths.iter().take(SHOWN).map(|path| path.as_str()).collect();
    let more = format!("and {} more", paths.len().saturating_sub(SHOWN));
    if paths.len() > SHOWN {
        names.push(&more);
    }
    context.ui.note(format!(
        "left in the clear: {}: their rule ({rule}) matches other files in the clear too, and so does not tell whether they are secrets",
        names.join(", ")
    ));
    context.ui.note(
        "  if one is: cofferdam encrypt -i FILE && git add -- FILE; to have it done: name it NAME.sops.EXT, or give secrets a path_regex of their own",
    );
}

/// The staged plain files that are committed in the clear already; not those that a document was decrypted into.
fn in_the_clear_before(git: &Git, staged: &Staged) -> Result<BTreeSet<RepoPath>, CliError> {
    if staged.plain.is_empty() || git.head()?.is_none() {
        return Ok(BTreeSet::new());
    }
    let paths: Vec<RepoPath> = staged.plain.keys().cloned().collect();
    let before = git.blobs("HEAD", &paths)?;
    let plain = paths.into_iter().zip(before).filter(|(path, blob)| {
        let is_plain = |source: &Vec<u8>| recognise(path.as_str(), source).is_none();
        blob.as_ref().is_some_and(is_plain)
    });
    Ok(plain.map(|(path, _)| path).collect())
}

/// The rule of a file, with the folder of its rules.
fn nearest<'f>(
    files: &'f BTreeMap<String, RulesFile>,
    path: &RepoPath,
) -> Option<(&'f str, &'f CreationRule)> {
    let mut folder = path.parent();
    loop {
        let name = folder.as_ref().map_or("", RepoPath::as_str);
        if let Some((name, rules)) = files.get_key_value(name) {
            let relative = path_for_rules(name, path.as_str());
            // What is wrong with a rule is for `check` to say.
            let rule = rules.rule_for(relative).ok().flatten()?;
            return Some((name.as_str(), rule));
        }
        folder = folder?.parent();
    }
}

/// The file's bytes, if the work tree holds what is staged.
fn as_staged(
    git: &Git,
    root: &std::path::Path,
    path: &RepoPath,
    staged: &Staged,
) -> Result<SecretBytes, CliError> {
    let bytes = content::whole(&path.under(root)).map(SecretBytes::new);
    let bytes =
        bytes.map_err(|error| CliError::failed(format!("cannot read {path}")).caused_by(&error))?;
    let is_same = staged.plain.get(path) == Some(&git.hash_blob(bytes.expose())?);
    if is_same {
        return Ok(bytes);
    }
    Err(CliError::failed(format!(
        "{path} is about to be committed in the clear, and the work tree holds another version of it"
    ))
    .hint(format!("cofferdam encrypt -i {path} && git add -- {path}")))
}

fn encrypted(
    path: &RepoPath,
    plain: &SecretBytes,
    folder: &str,
    rule: &CreationRule,
    files: &BTreeMap<String, RulesFile>,
    context: &Context,
) -> Result<Vec<u8>, CliError> {
    let config = match folder {
        "" => ".sops.yaml".to_owned(),
        folder => format!("{folder}/.sops.yaml"),
    };
    let (key_groups, threshold) = keys_of(rule, &config)?;
    let selection = match rule.selection()? {
        Some((selector, text)) => Selection::checked(*selector, text)?,
        None => Selection::default(),
    };
    let store = Store::for_path(path.as_str());
    let stores = files
        .get(folder)
        .map(|file| file.stores)
        .unwrap_or_default();
    let options = EncryptOptions {
        key_groups,
        threshold,
        selection,
        mac_only_encrypted: rule.mac_only_encrypted,
        now: jiff::Timestamp::now(),
        output: store,
        emit: EmitOptions {
            yaml_indent: stores.yaml_indent,
            json_indent: stores.json_indent,
            json_binary_indent: stores.json_binary_indent,
        },
    };
    let what = format!("cannot encrypt {path}");
    let made = sops::encrypt(store, plain.expose(), &options)
        .map_err(|error| document_flags::failure(&what, &error, None))?;
    warn(context, path.as_str(), &made.warnings);
    Ok(made.bytes)
}
