//! `cofferdam ship --print`: a delivery for somebody else's hands, instead of a delivery.
//!
//! What is printed is a SOPS document that operators open, and whoever is named with `--to`. Never the reader itself: what
//! it holds now is what the delivery replaces, and whoever holds a copy of that must not get the new identity with it
//! (protocol rule 1).

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::project::Project;
use crate::keys::{Identity, KeyFile, Recipient};
use crate::keystore::sealed;
use crate::ledger::{Holder, Record};
use crate::sops::{self, EmitOptions, EncryptOptions, Selection, Store};
use crate::topology::{Cluster, ClusterTarget, IdentityScope, Selector};

/// What is printed in place of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PrintForm {
    /// A Secret's manifest, encrypted by SOPS.
    Kubernetes,
}

/// The flags of `ship` that print.
#[derive(Debug, Default, clap::Args)]
pub struct PrintArgs {
    /// Deliver nothing; print what would be put into the one cluster named, encrypted to the operators, for other hands.
    #[arg(long, value_name = "FORM", value_enum)]
    pub print: Option<PrintForm>,
    /// With --print: let RECIPIENT open it, too; may be given several times.
    #[arg(long, value_name = "RECIPIENT", requires = "print")]
    pub to: Vec<String>,
    /// With --print: the Secret, where the cluster has several.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "print")]
    pub secret: Option<String>,
}

/// Prints the delivery to one cluster: the one that is named, or the only one there is.
///
/// # Errors
/// No such cluster, several of them, none of its identities in the ledger, an identity that cannot be unsealed here, a
/// recipient that readers hold.
pub fn run(args: &PrintArgs, names: &[String], context: &Context) -> Result<(), CliError> {
    let project = Project::load(context)?;
    let cluster = the_cluster(&project, names)?;
    let secret = the_secret(cluster, args.secret.as_deref())?;
    let recipients = recipients(&project, &args.to)?;
    let record = live_identity(&project, cluster)?;
    let identity = unsealed(&project, record)?;
    let manifest = manifest(secret, &record.id, &identity);
    let selection = Selection::checked(Selector::EncryptedRegex, "^(data|stringData)$")
        .map_err(CliError::failed)?;
    let options = EncryptOptions {
        key_groups: vec![recipients],
        threshold: None,
        selection,
        mac_only_encrypted: false,
        now: Timestamp::now(),
        output: Store::Yaml,
        emit: EmitOptions::default(),
    };
    let made = sops::encrypt(Store::Yaml, manifest.as_bytes(), &options)?;
    context.ui.answer_bytes(&made.bytes)?;
    let context_name = match &cluster.target {
        ClusterTarget::Context(name) => name.as_str(),
        ClusterTarget::Local(_) => "CONTEXT",
    };
    let (namespace, name) = secret;
    // A merge patch: `kubectl apply`, of either kind, and Flux remove entries that an earlier manifest held.
    context.ui.note(format!(
        "{} for {}. Saved as delivery.yaml it is put there by: sops decrypt delivery.yaml | kubectl --context {context_name} --namespace {namespace} patch secret {name} --type=merge --patch-file=/dev/stdin",
        record.id, cluster.name
    ));
    Ok(())
}

fn the_cluster<'a>(project: &'a Project, names: &[String]) -> Result<&'a Cluster, CliError> {
    let clusters = &project.topology.clusters;
    let known: Vec<&str> = clusters.iter().map(|c| c.name.as_str()).collect();
    let hint = format!("clusters are: {}", known.join(", "));
    match (names, clusters.as_slice()) {
        ([name], _) => project
            .topology
            .cluster(name)
            .ok_or_else(|| CliError::usage(format!("there is no cluster {name}")).hint(hint)),
        ([], [only]) => Ok(only),
        ([], []) => Err(CliError::usage("cofferdam.toml has no cluster")),
        _ => Err(CliError::usage("a delivery is printed for one cluster at a time").hint(hint)),
    }
}

/// Operators, and those of `--to`. An identity that readers hold opens no delivery: others may have it, too.
fn recipients(project: &Project, to: &[String]) -> Result<Vec<Recipient>, CliError> {
    let operators = project.topology.operators.iter();
    let mut recipients: Vec<Recipient> = operators.flat_map(|o| o.recipients.clone()).collect();
    for text in to {
        let recipient = Recipient::parse(text).map_err(CliError::usage)?;
        if let Some(record) = project.ledger.record_of(&recipient) {
            return Err(CliError::failed(format!(
                "{} is {}, which readers hold: whoever has a copy of it would get the new identity with it",
                recipient.short(),
                record.id
            ))
            .hint("name the recipient of whoever applies the manifest, or leave --to out"));
        }
        recipients.push(recipient);
    }
    recipients.dedup();
    Ok(recipients)
}

fn live_identity<'a>(project: &'a Project, cluster: &Cluster) -> Result<&'a Record, CliError> {
    let scope = project.topology.zone(&cluster.zone).map(|z| z.identity);
    let holder = match scope {
        Some(IdentityScope::Host) => Holder::Host(cluster.name.clone()),
        _ => Holder::Zone(cluster.zone.clone()),
    };
    project.ledger.live(&holder).ok_or_else(|| {
        CliError::failed(format!("{holder} has no identity yet"))
            .hint("cofferdam split --hold-at ship mints it, and delivers nothing")
    })
}

fn unsealed(project: &Project, record: &Record) -> Result<Identity, CliError> {
    let mut files = Vec::new();
    for (recipient, _) in project.topology.always() {
        let path = project
            .sealed()
            .join(sealed::sealed_file_name(&record.id, recipient));
        match std::fs::read(&path) {
            Ok(bytes) => files.push(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                let message = format!("cannot read {}", path.display());
                return Err(CliError::failed(message).caused_by(&e));
            }
        }
    }
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let identity = sealed::unseal(&files, &project.lookup.identities)?;
    identity
        // A sealed file that somebody swapped is no identity of ours.
        .filter(|identity| identity.recipient_ref() == Some(&record.recipient))
        .ok_or_else(|| {
            CliError::failed(format!(
                "identity {} cannot be unsealed with the identities at hand",
                record.id
            ))
            .hint("name the file of an operator's identity: export SOPS_AGE_KEY_FILE=keys.txt")
        })
}

/// The Secret that is named, or the only one there is.
fn the_secret<'a>(
    cluster: &'a Cluster,
    named: Option<&str>,
) -> Result<(&'a str, &'a str), CliError> {
    let mut places: Vec<(&str, &str)> = Vec::new();
    for secret in &cluster.secrets {
        let place = (secret.namespace.as_str(), secret.name.as_str());
        let is_named = named.is_none_or(|named| named == format!("{}/{}", place.0, place.1));
        if is_named && !secret.entry.ends_with(".agekey") {
            return Err(CliError::failed(format!(
                "entry {} of Secret {}/{} holds all identities in one file, which a manifest would replace",
                secret.entry, secret.namespace, secret.name
            ))
            .hint("cofferdam ship adds a line to it in place"));
        }
        if is_named && !places.contains(&place) {
            places.push(place);
        }
    }
    match places.as_slice() {
        [only] => Ok(*only),
        _ => {
            let known: Vec<String> = cluster
                .secrets
                .iter()
                .map(|secret| format!("--secret {}/{}", secret.namespace, secret.name))
                .collect();
            Err(
                CliError::usage("a delivery is printed for one Secret at a time")
                    .hint(format!("name it: {}", known.join(" or "))),
            )
        }
    }
}

/// The entry that is ours and nothing else, so that a merge adds it and touches nothing.
fn manifest((namespace, name): (&str, &str), id: &str, identity: &Identity) -> Zeroizing<String> {
    let file = KeyFile::empty().with_identity(&[&format!("cofferdam: {id}")], identity);
    let mut text = Zeroizing::new(String::with_capacity(file.expose().len() * 2 + 1024));
    text.push_str("apiVersion: v1\nkind: Secret\nmetadata:\n");
    text.push_str(&format!(
        "    name: {name}\n    namespace: {namespace}\ndata:\n    {id}.agekey: "
    ));
    STANDARD.encode_string(file.expose(), &mut text);
    text.push('\n');
    text
}
