//! `cofferdam check --fix`: safe repairs, in the work tree (edge).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::apply::TOPOLOGY_PATH;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Kind};
use crate::evidence::Sources;
use crate::keys::key_file::KeyFile;
use crate::policy::Finding;
use crate::policy::fix::{Edit, FixInput, IDENTITY, fixes};
use crate::repo::atomic_write::{self, Expected, Mode};
use crate::repo::batch_write::{self, Replacement};
use crate::repo::content;
use crate::repo::git::Git;
use crate::repo_path::RepoPath;
use crate::secret::SecretBytes;

/// Repairs what can be, or says what would be; whether anything was changed.
///
/// # Errors
/// A file that would be edited has changes that are not committed: nothing is changed. What cannot be written.
pub fn fix(
    findings: &[Finding],
    sources: &Sources,
    git: &Git,
    is_dry: bool,
    context: &Context,
) -> Result<bool, CliError> {
    let tracked = git.tracked()?;
    let documents: BTreeSet<RepoPath> = sources.documents.keys().cloned().collect();
    let mut texts = sources.texts.clone();
    // Not evidence, and so not among the texts.
    let ignoring = sources
        .paths
        .iter()
        .filter(|p| p.file_name() == ".gitignore");
    for path in ignoring {
        let bytes = atomic_write::read_no_follow(&path.under(git.root()))?;
        if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
            texts.insert(path.clone(), text);
        }
    }
    let is_tracked = |path: &RepoPath| tracked.contains(Path::new(path.as_str()));
    let key_files: BTreeSet<RepoPath> = findings
        .iter()
        .filter(|finding| finding.policy == IDENTITY)
        .filter_map(|finding| RepoPath::new(finding.file.as_deref()?).ok())
        .filter(|path| sources.paths.contains(path) && is_key_file(&path.under(git.root())))
        .collect();
    let fixes = fixes(
        findings,
        &FixInput {
            texts: &texts,
            documents: &documents,
            key_files: &key_files,
            is_tracked: &is_tracked,
        },
    );
    refuse_dirty(&fixes.edits, git)?;
    let verb = if is_dry { "would edit" } else { "edited" };
    if !is_dry {
        write(&fixes.edits, git.root())?;
    }
    for edit in &fixes.edits {
        context.ui.note(format!("{verb} {}", edit.path));
        for what in &edit.does {
            context.ui.note(format!("  {what}"));
        }
    }
    for (path, why) in &fixes.left {
        context.ui.note(format!("left to you: {path}: {why}"));
    }
    if fixes.edits.is_empty() && fixes.left.is_empty() {
        context.ui.note("nothing here has a safe repair");
    }
    Ok(!is_dry && !fixes.edits.is_empty())
}

/// Whether a file holds identities and comments, and nothing else.
fn is_key_file(path: &Path) -> bool {
    let bytes = content::whole(path).map(SecretBytes::new);
    let parsed = bytes.map(|bytes| KeyFile::parse(bytes.expose()));
    parsed.is_ok_and(|parsed| parsed.is_ok_and(|file| !file.identities().is_empty()))
}

/// An edit must be all that `git diff` shows of its file, and `git checkout` takes back. Files of ours, and `.gitignore`, are
/// not held to that, as in a run.
fn refuse_dirty(edits: &[Edit], git: &Git) -> Result<(), CliError> {
    let dirty: BTreeSet<PathBuf> = git.status()?.into_iter().map(|entry| entry.path).collect();
    let is_free = |path: &RepoPath| {
        let path = path.as_str();
        path == TOPOLOGY_PATH || path.ends_with(".gitignore") || path.starts_with(".cofferdam/")
    };
    let in_the_way: Vec<&str> = edits
        .iter()
        .filter(|edit| !is_free(&edit.path) && dirty.contains(Path::new(edit.path.as_str())))
        .map(|edit| edit.path.as_str())
        .collect();
    if in_the_way.is_empty() {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "files that would be edited have uncommitted changes: {}; nothing was changed",
        in_the_way.join(", ")
    ))
    .hint("commit or stash them (git stash), then run this again"))
}

fn write(edits: &[Edit], root: &Path) -> Result<(), CliError> {
    let paths: Vec<PathBuf> = edits.iter().map(|edit| edit.path.under(root)).collect();
    let replacements: Vec<Replacement<'_>> = edits
        .iter()
        .zip(&paths)
        .map(|(edit, path)| Replacement {
            path,
            expected: match &edit.before {
                Some(text) => Expected::Bytes(text.as_bytes()),
                None => Expected::Nothing,
            },
            bytes: edit.after.as_bytes(),
            mode: Mode::Keep,
        })
        .collect();
    let results = batch_write::replace_all(&replacements)?;
    let failed: Vec<String> = edits
        .iter()
        .zip(results)
        .filter_map(|(edit, result)| Some(format!("{}: {}", edit.path, result.err()?)))
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(CliError::many(Kind::Failed, failed).hint("run it again")),
    }
}
