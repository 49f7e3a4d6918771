//! Revoking somebody who reads everything: an operator, or recovery (protocol rule 4).

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::path::Path;

use crate::apply::{JournalFile, TOPOLOGY_PATH};
use crate::cli::departures;
use crate::cli::error::{CliError, Kind};
use crate::cli::project::{Project, load_topology};
use crate::cli::revoke::Struck;
use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger, RevokedParty, State};
use crate::plan::Revoked;
use crate::topology::{self, Topology, operators};

/// Whether an operator of the topology has this name.
pub fn is_operator(topology: &Topology, name: &str) -> bool {
    topology
        .operators
        .iter()
        .any(|operator| operator.name == name)
}

/// The revocation of this name or recipient that came to its end; none if there is none, or it is to be revoked again.
///
/// # Errors
/// A topology with mistakes, a damaged journal.
pub fn is_over<'a>(
    root: &Path,
    ledger: &'a Ledger,
    name: &str,
) -> Result<Option<&'a RevokedParty>, CliError> {
    let label = label(name);
    let recipient = Recipient::parse(name).ok();
    let mut parties = ledger.revoked_parties().iter().rev();
    let Some(party) = parties.find(|p| p.name == label || recipient.as_ref() == Some(&p.recipient))
    else {
        return Ok(None);
    };
    if JournalFile::unfinished_run(root)?.is_some() {
        return Ok(None);
    }
    let topology = load_topology(root)?;
    let is_there = of_topology(&topology, &label, recipient.as_ref()).is_some();
    Ok(
        (!is_there && topology.host(name).is_none() && topology.cluster(name).is_none())
            .then_some(party),
    )
}

/// Works out the revocation of an operator or of recovery, and takes it out of the project's topology, in memory only; none if
/// the name is nobody's who reads, or read, everything.
///
/// # Errors
/// Usage: the topology does not hold without it: it is the last operator, or the only recovery recipient.
pub fn strike(project: &mut Project, name: &str) -> Result<Option<Struck>, CliError> {
    let label = label(name);
    let recipient = Recipient::parse(name).ok();
    let now = of_topology(&project.topology, &label, recipient.as_ref());
    let is_there = now.is_some();
    let found = match now {
        Some(found) => Some(found),
        None => of_history(project, &label, recipient.as_ref())?,
    };
    let Some((label, recipients)) = found else {
        return Ok(None);
    };
    let mut text = None;
    if is_there {
        let path = project.root.join(TOPOLOGY_PATH);
        let whole = std::fs::read_to_string(&path).map_err(|e| {
            CliError::failed(format!("cannot read {}", path.display())).caused_by(&e)
        })?;
        let without = operators::without_recipients(&whole, &recipients).unwrap_or(whole);
        project.topology = topology::parse(&without, TOPOLOGY_PATH).map_err(|problems| {
            let told = problems.into_iter().map(|p| (p.to_string(), None));
            CliError::many_with_hints(Kind::Usage, told).hint(instead(&label))
        })?;
        text = Some(without);
    }
    let seals = departures::seals(&project.git, &project.topology)?;
    let marks: Vec<String> = recipients.iter().map(Recipient::seal_mark).collect();
    let was_sealed = |id: &str| {
        let mut pairs = seals.ever.iter();
        pairs.any(|(sealed, mark)| sealed == id && marks.contains(mark))
    };
    let records = project.ledger.records().iter();
    let known: Vec<_> = records
        .filter(|r| r.state != State::Withdrawn && was_sealed(&r.id))
        .collect();
    let live = known.iter().filter(|r| r.state.is_live());
    let replace: Vec<Holder> = live.map(|r| r.holder.clone()).collect();
    let revoked = Revoked {
        name: label,
        reader: None,
        recipients,
        compromised: known.iter().map(|r| r.id.clone()).collect(),
    };
    Ok(Some(Struck::of_party(revoked, replace, text)))
}

/// `operator laptop` for `laptop` and `operators.laptop`; `recovery` stays.
fn label(name: &str) -> String {
    match name.strip_prefix("operators.").unwrap_or(name) {
        "recovery" => "recovery".to_owned(),
        name => format!("operator {name}"),
    }
}

type Party = (String, Vec<Recipient>);

fn of_topology(topology: &Topology, label: &str, recipient: Option<&Recipient>) -> Option<Party> {
    let always = topology.always();
    if let Some((found, holder)) = always.iter().find(|(r, _)| recipient == Some(*r)) {
        return Some((holder.clone(), vec![(*found).clone()]));
    }
    let of_name = always.iter().filter(|(_, holder)| holder == label);
    let recipients: Vec<Recipient> = of_name.map(|(r, _)| (*r).clone()).collect();
    (!recipients.is_empty()).then(|| (label.to_owned(), recipients))
}

/// Somebody who left `cofferdam.toml` before: taken out by hand, or by a revocation that was killed before it began.
fn of_history(
    project: &Project,
    label: &str,
    recipient: Option<&Recipient>,
) -> Result<Option<Party>, CliError> {
    let mut formers = departures::formers(&project.git)?;
    formers.retain(|former| {
        let is_it = former.name == label || recipient == Some(&former.recipient);
        let stays = project
            .topology
            .always()
            .iter()
            .any(|(r, _)| **r == former.recipient);
        is_it && !stays && project.ledger.record_of(&former.recipient).is_none()
    });
    let name = formers.first().map(|former| former.name.clone());
    Ok(name.map(|name| (name, formers.into_iter().map(|f| f.recipient).collect())))
}

/// How one who cannot be missed is replaced.
fn instead(label: &str) -> String {
    match label.strip_prefix("operator ") {
        Some(name) => format!(
            "add another operator first: cofferdam recovery restore --operator NAME=RECIPIENT; or give {name} a new recipient in \
             cofferdam.toml and revoke the old one by itself: cofferdam revoke RECIPIENT"
        ),
        None => "make another kit first (cofferdam recovery create --out FILE), put its recipient into [recovery] beside the old \
                 one, and revoke the old one by itself: cofferdam revoke RECIPIENT"
            .to_owned(),
    }
}
