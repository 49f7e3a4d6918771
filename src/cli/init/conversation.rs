//! Asks for what the repository does not say, one question at a time.

use std::collections::BTreeSet;

use crate::cli::error::CliError;
use crate::cli::ui::Ui;
use crate::evidence::{Answers, Evidence, Sources, Target, propose};
use crate::keys::Recipient;

/// Completes `answers` with the user's.
///
/// # Errors
/// A usage error if a recipient is not given, or if the input ends.
pub(super) fn complete(
    answers: &mut Answers,
    sources: &Sources,
    evidence: &Evidence,
    ui: &Ui,
) -> Result<(), CliError> {
    if answers.recovery.is_empty() {
        ui.note("Recovery opens every document; its identity is kept offline.");
        let hint = "make one: cofferdam recovery create --out FILE";
        answers
            .recovery
            .push(recipient(ui, "Recovery recipient (age1…):", hint)?);
    }
    if answers.operators.is_empty() {
        ui.note("You open every document too, by an identity that no host holds.");
        let name = ask_or(ui, "A name for this computer", "laptop")?;
        let hint = "make one: age-keygen -o FILE";
        let key = recipient(ui, "Its recipient (age1…):", hint)?;
        answers.operators.insert(name, vec![key]);
    }
    for (name, host) in &evidence.hosts {
        if host.region.is_none() {
            let zone = propose(sources, evidence, answers);
            let guess = zone.hosts.iter().find(|h| h.name == *name);
            let guess = guess.map_or("lan", |h| h.zone.as_str()).to_owned();
            let zone = ask_or(ui, &format!("Zone of the host {name}"), &guess)?;
            answers.host_zones.insert(name.clone(), zone);
        }
    }
    documents(answers, sources, evidence, ui)?;
    let proposal = propose(sources, evidence, answers);
    for host in &proposal.hosts {
        if let Target::Remote {
            name,
            guessed: true,
        } = &host.target
        {
            let question = format!("SSH destination of {} (user@host or an alias)", host.name);
            let said = ask_or(ui, &question, name)?;
            answers.ssh.insert(host.name.clone(), said);
        }
    }
    for cluster in &proposal.clusters {
        if let Target::Remote {
            name,
            guessed: true,
        } = &cluster.target
        {
            let question = format!("Kubeconfig context of the cluster {}", cluster.name);
            let said = ask_or(ui, &question, name)?;
            answers.contexts.insert(cluster.name.clone(), said);
        }
    }
    Ok(())
}

/// Documents whose readers nobody names: which zones?
fn documents(
    answers: &mut Answers,
    sources: &Sources,
    evidence: &Evidence,
    ui: &Ui,
) -> Result<(), CliError> {
    let proposal = propose(sources, evidence, answers);
    let with_readers = proposal.zones.iter().filter(|z| z.has_readers);
    let known: BTreeSet<String> = with_readers.map(|z| z.name.clone()).collect();
    if known.is_empty() {
        return Ok(());
    }
    let own = proposal.zones.iter().flat_map(|z| {
        let zones = if z.has_readers {
            vec![z.name.clone()]
        } else {
            Vec::new()
        };
        z.files.iter().map(move |f| (zones.clone(), f))
    });
    let shared = proposal
        .shared
        .iter()
        .flat_map(|s| s.files.iter().map(move |f| (s.zones.clone(), f)));
    for (zones, files) in own.chain(shared) {
        for (document, doubt) in &files.doubts {
            let guess = if zones.is_empty() {
                "none".to_owned()
            } else {
                zones.join(" ")
            };
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            ui.note(format!("{document}: {doubt}."));
            let question = format!(
                "Which zones read it ({}; none: operators only)",
                names.join(" ")
            );
            loop {
                let said = ask_or(ui, &question, &guess)?;
                let words = said
                    .split([' ', ','])
                    .filter(|w| !w.is_empty() && *w != "none");
                let chosen: Vec<String> = words.map(str::to_owned).collect();
                if chosen.iter().all(|c| known.contains(c)) {
                    answers.document_zones.insert(document.clone(), chosen);
                    break;
                }
                ui.note("There is no such zone.");
            }
        }
    }
    Ok(())
}

fn recipient(ui: &Ui, question: &str, hint: &str) -> Result<Recipient, CliError> {
    loop {
        let said = ui.ask(question)?;
        if said.is_empty() {
            return Err(CliError::usage("no recipient was given; nothing was written").hint(hint));
        }
        match Recipient::parse(&said) {
            Ok(recipient) => return Ok(recipient),
            Err(error) => ui.note(error),
        }
    }
}

fn ask_or(ui: &Ui, question: &str, default: &str) -> Result<String, CliError> {
    let said = ui.ask(&format!("{question} [{default}]:"))?;
    Ok(if said.is_empty() {
        default.to_owned()
    } else {
        said
    })
}
