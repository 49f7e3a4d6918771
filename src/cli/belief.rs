//! Protocol rule 22: a recipient from the ledger is believed only if its identity opens what is said to open for it.
//!
//! Whoever can change the repository can write any recipient into the ledger, and seal any identity to operators. What nobody
//! but the right one can do is open the documents that a zone reads today.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::cli::error::{CliError, Kind};
use crate::cli::kept_sealed::sealed_files;
use crate::cli::project::Project;
use crate::inventory::{RepoFacts, TargetFacts};
use crate::keys::{Identity, IdentitySet, Recipient};
use crate::keystore::sealed;
use crate::plan::access::{self, Access};
use crate::plan::{Party, Plan};
use crate::repo::content;
use crate::repo::recognise::recognise;
use crate::repo_path::RepoPath;
use crate::sops::document::Document;

/// What the ledger says: documents open for the identity `id`.
#[derive(Debug)]
pub struct Claim {
    /// Its name in the ledger.
    pub id: String,
    /// Its recipient there.
    pub recipient: Recipient,
    /// The documents that it must open.
    pub documents: Vec<RepoPath>,
    /// Whether a reader that it is for holds it, as read from there: no change to the repository can bring that about.
    pub is_held: bool,
}

/// What a plan believes of the ledger: of every identity that it delivers, or that it wraps a document to.
pub fn claims(
    project: &Project,
    plan: &Plan,
    repo: &RepoFacts,
    targets: &[TargetFacts],
    widen: &[RepoPath],
) -> Vec<Claim> {
    let kept = plan.kept();
    let access = Access::new(&project.topology, &plan.identities, &kept);
    let is_used = |id: &String| {
        let party = Party::Identity(id.clone());
        plan.documents.iter().any(|d| d.after.contains(&party))
            || plan.readers.iter().any(|r| r.receives.contains(id))
    };
    let mut claims = Vec::new();
    for identity in plan.identities.iter().filter(|i| is_used(&i.id)) {
        let Some(recipient) = &identity.recipient else {
            continue;
        };
        let party = Party::Identity(identity.id.clone());
        let reads = |path: &&RepoPath| {
            let place = access.place_of(path);
            place.is_ok_and(|place| place.parties.contains(&party)) && !widen.contains(path)
        };
        let paths = repo.documents.iter().map(|d| &d.path);
        let readers = access::readers_of_holder(&project.topology, &identity.holder);
        claims.push(Claim {
            id: identity.id.clone(),
            recipient: recipient.clone(),
            documents: paths.filter(reads).cloned().collect(),
            is_held: targets.iter().any(|target| {
                target.reach.is_read()
                    && target.held.contains(recipient)
                    && readers.contains(&target.name.as_str())
            }),
        });
    }
    for kept in &kept {
        let Some(id) = &kept.id else {
            continue;
        };
        let party = Party::Identity(id.clone());
        let wrapped = plan.documents.iter().filter(|d| d.after.contains(&party));
        claims.push(Claim {
            id: id.clone(),
            recipient: kept.recipient.clone(),
            documents: wrapped.map(|d| d.path.clone()).collect(),
            is_held: false,
        });
    }
    claims
}

/// What the ledger says of all live identities, for when there is no plan.
pub fn claims_of_ledger(
    project: &Project,
    repo: &RepoFacts,
    targets: &[TargetFacts],
) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (holder, _) in access::holders(&project.topology) {
        let Some(record) = project.ledger.live(&holder) else {
            continue;
        };
        let readers = access::readers_of_holder(&project.topology, &holder);
        let is_held = targets.iter().any(|target| {
            target.held.contains(&record.recipient) && readers.contains(&target.name.as_str())
        });
        let reads = |path: &&RepoPath| {
            let places = project.topology.places(path);
            let mut of = places.iter().flat_map(|p| project.topology.readers_of(p));
            of.any(|reader| readers.contains(&reader.name()))
        };
        let paths = repo.documents.iter().map(|d| &d.path);
        let documents = paths.filter(reads).cloned().collect();
        claims.push(Claim {
            id: record.id.clone(),
            recipient: record.recipient.clone(),
            documents,
            is_held,
        });
    }
    claims
}

/// Looks whether every claim is true.
///
/// # Errors
/// Exit 1 with each identity that is not believed, and what it does not open.
///
/// # Secrets
/// The identities are unsealed in memory, for as long as this looks.
pub fn check(project: &Project, claims: &[Claim]) -> Result<(), CliError> {
    let identities = unsealed(project, claims)?;
    let mut doubts: Vec<(String, Option<String>)> = Vec::new();
    let mut doubt = |text: String, hint: &str| doubts.push((text, Some(hint.to_owned())));
    for (claim, identity) in claims.iter().zip(identities) {
        let id = &claim.id;
        let Some(identity) = identity else {
            if !claim.is_held {
                doubt(
                    format!(
                        "{id} is not believed: no identity at hand unseals one for the recipient that the ledger names ({})",
                        claim.recipient.short()
                    ),
                    HINT,
                );
            }
            continue;
        };
        if claim.is_held {
            continue;
        }
        let alone = IdentitySet::new(vec![identity]);
        let unopened: Vec<&RepoPath> = claim
            .documents
            .par_iter()
            .filter(|path| !opens(project, path, &alone))
            .collect();
        if let Some(first) = unopened.first() {
            let more = match unopened.len() - 1 {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            doubt(
                format!(
                    "{id} is not believed: what is sealed as {id} does not open {first}{more}, which it should"
                ),
                HINT,
            );
        }
    }
    if doubts.is_empty() {
        Ok(())
    } else {
        Err(CliError::many_with_hints(Kind::Failed, doubts))
    }
}

const HINT: &str = "git log -p -- .cofferdam/keyring.toml shows who changed the ledger: take .cofferdam back to what it was (git checkout COMMIT -- .cofferdam); \
     a document that is new in its zone is allowed with --widen FILE";

fn opens(project: &Project, path: &RepoPath, alone: &IdentitySet) -> bool {
    let bytes = match content::whole(&path.under(&project.root)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => return false,
        // Removed since: nothing is wrapped to anybody.
        Err(_) => return true,
    };
    let Some(store) = recognise(path.as_str(), &bytes) else {
        return false;
    };
    Document::parse(store, bytes).is_ok_and(|document| document.open_with(alone).is_ok())
}

/// The identity of each claim: at hand, or sealed to somebody at hand; none where there is no such file, or it holds another.
fn unsealed(project: &Project, claims: &[Claim]) -> Result<Vec<Option<Identity>>, CliError> {
    let mut found: BTreeMap<usize, Identity> = BTreeMap::new();
    let (mut at, mut files) = (Vec::new(), Vec::new());
    for (n, claim) in claims.iter().enumerate() {
        match project.lookup.identities.get(&claim.recipient) {
            Some(identity) => {
                found.insert(n, identity);
            }
            None => {
                at.push(n);
                files.push(sealed_files(project, &claim.id)?);
            }
        }
    }
    let slices: Vec<Vec<&[u8]>> = files
        .iter()
        .map(|files: &Vec<Vec<u8>>| files.iter().map(Vec::as_slice).collect())
        .collect();
    let opened = sealed::unseal_many(&slices, &project.lookup.identities);
    for (n, opened) in at.into_iter().zip(opened) {
        if let Ok(Some(identity)) = opened
            && identity.recipient().as_ref() == Some(&claims[n].recipient)
        {
            found.insert(n, identity);
        }
    }
    Ok((0..claims.len()).map(|n| found.remove(&n)).collect())
}
