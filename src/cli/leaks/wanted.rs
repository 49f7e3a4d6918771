//! What `cofferdam leaks` looks for: the values of documents, today's and those of history.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use crate::cli::context::Context;
use crate::cli::document_flags;
use crate::cli::documents::Documents;
use crate::cli::error::CliError;
use crate::exposure::{Fingerprint, FingerprintKey};
use crate::keys::IdentitySet;
use crate::leaks::finder::Wanted;
use crate::repo::Git;
use crate::repo::git::{FileVersion, Oid};
use crate::repo::recognise::recognise;
use crate::secret::SecretBytes;
use crate::sops::cipher::LeafCipher;
use crate::sops::leaves::LeafContent;
use crate::sops::{Document, Verified};

/// How many bytes of history are held at a time.
const AT_A_TIME: u64 = 32 << 20;
/// A version larger than this is not read.
const LARGEST: u64 = 64 << 20;

/// What there is to look for.
#[derive(Debug)]
pub struct Gathered {
    /// The values.
    pub secrets: Vec<Wanted>,
    /// Documents, and versions in history, whose values are not known here.
    pub unopened: BTreeSet<String>,
}

/// Opens documents, and with `history` every version of every document.
///
/// # Errors
/// There is no document, or none that opens.
pub fn gather(paths: &[PathBuf], history: bool, context: &Context) -> Result<Gathered, CliError> {
    let here = [PathBuf::from(".")];
    let paths = if paths.is_empty() { &here[..] } else { paths };
    let documents = Documents::find(paths, context)?;
    if documents.is_empty() && !history {
        return Err(CliError::failed(
            "there is no SOPS document here, so there is nothing to look for",
        )
        .hint("cofferdam leaks --documents FOLDER"));
    }
    let lookup = document_flags::identities(context);
    let progress = context.ui.progress("opening", documents.len() as u64);
    let mut gathered = Gathered {
        secrets: Vec::new(),
        unopened: BTreeSet::new(),
    };
    let mut failed = Vec::new();
    for (name, opened) in documents.open(&lookup.identities, &progress) {
        match opened {
            Ok((document, verified)) => {
                gathered
                    .secrets
                    .extend(values(&name, &document, &verified, false));
            }
            Err(error) => {
                gathered.unopened.insert(name.clone());
                failed.push((format!("cannot open {name}"), error));
            }
        }
    }
    drop(progress);
    if history {
        let git = Git::discover(&context.directory)?;
        earlier(&git, &lookup.identities, &mut gathered)?;
    }
    // On a host with one zone's identity the other zones' documents stay closed.
    if gathered.secrets.is_empty() && !failed.is_empty() {
        return Err(document_flags::failures(&failed, &lookup));
    }
    Ok(gathered)
}

/// The encrypted values and comments of a document.
fn values(name: &str, document: &Document, verified: &Verified, is_earlier: bool) -> Vec<Wanted> {
    let cipher = LeafCipher::new(verified.data_key());
    let leaves = document.leaves();
    let is_stream = leaves.iter().any(|leaf| leaf.document > 0);
    let mut values = Vec::new();
    for leaf in leaves {
        let LeafContent::Sealed(sealed) = leaf.content else {
            continue;
        };
        let Some(value) = sealed.open(&cipher) else {
            continue;
        };
        let mut key = leaf.key.join(".");
        if is_stream {
            key = format!("{key} (document {})", leaf.document + 1);
        }
        if leaf.is_comment {
            let place = if key.is_empty() { "the top" } else { &key };
            key = format!("a comment in {place}");
        }
        values.push(Wanted {
            document: name.to_owned(),
            key,
            is_comment: leaf.is_comment,
            is_earlier,
            value,
        });
    }
    values
}

/// The values of history that today's documents do not hold.
fn earlier(git: &Git, identities: &IdentitySet, to: &mut Gathered) -> Result<(), CliError> {
    let versions = git.file_versions()?;
    let oids: Vec<&Oid> = versions.iter().map(|version| &version.oid).collect();
    let sizes = git.sizes(&oids)?;
    let mut known = Known::default();
    for secret in &to.secrets {
        known.is_new(&secret.value);
    }
    let mut batch: Vec<&FileVersion> = Vec::new();
    let mut bytes = 0;
    for (version, size) in versions.iter().zip(sizes) {
        if let Some(size) = size.filter(|size| *size <= LARGEST) {
            batch.push(version);
            bytes += size;
        }
        if bytes >= AT_A_TIME {
            read(git, &batch, identities, &mut known, to)?;
            batch.clear();
            bytes = 0;
        }
    }
    read(git, &batch, identities, &mut known, to)
}

fn read(
    git: &Git,
    versions: &[&FileVersion],
    identities: &IdentitySet,
    known: &mut Known,
    to: &mut Gathered,
) -> Result<(), CliError> {
    let oids: Vec<&Oid> = versions.iter().map(|version| &version.oid).collect();
    for (version, source) in versions.iter().zip(git.cat_files(&oids)?) {
        let name = version.path.to_string_lossy();
        let Some(store) = recognise(&name, &source) else {
            continue;
        };
        let opened = Document::parse(store, source).and_then(|document| {
            let verified = document.open_with(identities)?;
            Ok(values(&name, &document, &verified, true))
        });
        match opened {
            Ok(values) => {
                to.secrets
                    .extend(values.into_iter().filter(|v| known.is_new(&v.value)));
            }
            Err(_) => {
                to.unopened.insert(format!("an earlier {name}"));
            }
        }
    }
    Ok(())
}

/// Which values were seen, by fingerprints under a key of this process.
struct Known {
    key: FingerprintKey,
    seen: HashSet<Fingerprint>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            key: FingerprintKey::generate(),
            seen: HashSet::new(),
        }
    }
}

impl Known {
    fn is_new(&mut self, value: &SecretBytes) -> bool {
        self.seen.insert(self.key.of("value", value.expose()))
    }
}
