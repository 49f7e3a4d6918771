//! The repository as it was at another revision (edge).

use rayon::prelude::*;

use crate::apply::TOPOLOGY_PATH;
use crate::cli::error::CliError;
use crate::policy::facts::Before;
use crate::repo::git::{Git, Oid};
use crate::repo::recognise::recognise;
use crate::repo_path::RepoPath;
use crate::sops::Document;
use crate::topology;

/// A larger file is no document that a person looks at.
const LARGEST: u64 = 8 << 20;
/// How many bytes are held at a time.
const AT_A_TIME: u64 = 32 << 20;

/// Reads the repository at the point where `revision` and HEAD parted: what others did there since is no change of ours.
///
/// # Errors
/// Usage: no git, or no such revision.
pub fn before(git: Option<&Git>, revision: &str) -> Result<Before, CliError> {
    let Some(git) = git else {
        return Err(CliError::usage("--since needs a git repository"));
    };
    let Some(named) = git.resolve(revision)? else {
        return Err(
            CliError::usage(format!("there is no revision {revision} in this clone"))
                .hint("git fetch; a clone of CI may need its whole history (fetch-depth: 0)"),
        );
    };
    let base = git.merge_base(named.as_str(), "HEAD")?.unwrap_or(named);
    let tree = git.tree(base.as_str())?;
    let files: Vec<(RepoPath, Oid)> = tree
        .into_iter()
        .filter(|(_, entry)| entry.mode.starts_with("100"))
        .filter_map(|(path, entry)| Some((RepoPath::new(&path).ok()?, entry.oid)))
        .collect();
    let oids: Vec<&Oid> = files.iter().map(|(_, oid)| oid).collect();
    let sizes = git.sizes(&oids)?;
    let mut documents = Vec::new();
    let mut batch: Vec<&(RepoPath, Oid)> = Vec::new();
    let mut bytes = 0;
    for (file, size) in files.iter().zip(sizes) {
        match size {
            Some(size) if size <= LARGEST => {
                batch.push(file);
                bytes += size;
            }
            _ => {}
        }
        if bytes >= AT_A_TIME {
            documents.extend(read(git, &batch)?);
            batch.clear();
            bytes = 0;
        }
    }
    documents.extend(read(git, &batch)?);
    let text = files
        .iter()
        .find(|(path, _)| path.as_str() == TOPOLOGY_PATH);
    let text = match text {
        Some((_, oid)) => git.cat_files(&[oid])?.pop(),
        None => None,
    };
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(Before {
        documents,
        topology: text.and_then(|text| topology::parse(&text, TOPOLOGY_PATH).ok()),
    })
}

/// The documents among some files.
fn read(git: &Git, files: &[&(RepoPath, Oid)]) -> Result<Vec<(RepoPath, Document)>, CliError> {
    let oids: Vec<&Oid> = files.iter().map(|(_, oid)| oid).collect();
    let contents = git.cat_files(&oids)?;
    let found = files
        .par_iter()
        .zip(contents)
        .filter_map(|((path, _), source)| {
            let store = recognise(path.as_str(), &source)?;
            Some((path.clone(), Document::parse(store, source).ok()?))
        });
    Ok(found.collect())
}
