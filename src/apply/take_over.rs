//! Going on with a run of another clone, from what stands behind its ref (protocol rule 14).
//!
//! Whoever may push to the remote may have put it there. So nothing is believed that this clone's own topology does not say:
//! who reads what, and who reads everything. The person is shown the plan and asked.

use std::path::Path;

use crate::apply::journal_file;
use crate::apply::lease::{HeldRun, JOURNAL_FILE, LEDGER_FILE, SEALED_FOLDER, behind};
use crate::apply::rewrite::store_of;
use crate::apply::{ApplyError, JournalFile, Run, TOPOLOGY_PATH, read_optional};
use crate::journal::{self, Entry, Options, Progress, Step};
use crate::ledger::Ledger;
use crate::plan::access::{self, Access};
use crate::plan::departed::Seals;
use crate::plan::{Party, Plan};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::{Git, Oid};
use crate::sops::document::Document;
use crate::topology::Topology;

/// A run of another clone, read and checked against this one.
#[derive(Debug)]
pub struct Inheritance {
    entries: Vec<Entry>,
    /// What it will do.
    pub plan: Plan,
    /// Whether it goes backwards.
    pub is_undoing: bool,
}

/// Reads what stands behind the ref and checks that it fits this clone. Changes nothing.
///
/// # Errors
/// [`ApplyError::TakeOver`] with what does not fit; a damaged journal.
pub fn take_over(
    root: &Path,
    git: &Git,
    topology: &Topology,
    held: &HeldRun,
    options: &Options,
) -> Result<Inheritance, ApplyError> {
    let refuse = |reason: String, hint: String| Err(ApplyError::TakeOver { reason, hint });
    let wait = "let whoever holds it end it, or undo it there".to_owned();
    let theirs = behind(git, &held.commit, TOPOLOGY_PATH)?;
    if theirs != read_optional(&root.join(TOPOLOGY_PATH))? {
        return refuse(
            format!("it was planned with another {TOPOLOGY_PATH} than the one here"),
            format!(
                "see it with: git show {}:{TOPOLOGY_PATH}; put it here if it is right",
                held.commit
            ),
        );
    }
    let Some(text) = behind(git, &held.commit, JOURNAL_FILE)? else {
        return refuse(format!("{JOURNAL_FILE} is missing behind the ref"), wait);
    };
    let entries = journal_file::parse(Path::new(JOURNAL_FILE), &text)?;
    let head = git.head()?.map(|oid| oid.to_string());
    let entries = journal::lease::inherited(entries, head, options.clone(), held.commit.as_str());
    let progress = match Progress::of(entries.clone()) {
        Ok(progress) if progress.run == held.lease.run && progress.outcome.is_none() => progress,
        Ok(_) => return refuse("its journal is that of another run".to_owned(), wait),
        Err(error) => return refuse(error.to_string(), wait),
    };
    let strange = misfit(&progress.plan, topology);
    if let Some(reason) = strange.or_else(|| keeps_a_stranger(root, &progress.plan)) {
        return refuse(reason, wait);
    }
    Ok(Inheritance {
        entries,
        is_undoing: progress.undo.is_some(),
        plan: progress.plan,
    })
}

/// What of a plan this topology does not say; none if all of it.
fn misfit(plan: &Plan, topology: &Topology) -> Option<String> {
    if plan.always != access::always(topology) {
        return Some("it gives everything to others than the operators and recovery here".into());
    }
    let mut sealed_to = plan.seals.iter().flat_map(|seal| &seal.to);
    if let Some(party) = sealed_to.find(|party| !plan.always.contains(party)) {
        return Some(format!("it seals identities to {}", party.label()));
    }
    let marks: Vec<String> = topology
        .always()
        .iter()
        .map(|(r, _)| r.seal_mark())
        .collect();
    let mut unseals = plan.unseals.iter();
    let is_stale = |name: &str| Seals::of_name(name).is_some_and(|(_, m)| !marks.contains(&m));
    if let Some(name) = unseals.find(|name| !is_stale(name)) {
        return Some(format!("it removes the sealed file {name}"));
    }
    let holders = access::holders(topology);
    if let Some(identity) = plan
        .identities
        .iter()
        .find(|i| !holders.iter().any(|(holder, _)| *holder == i.holder))
    {
        return Some(format!("it has an identity for {}", identity.holder));
    }
    let kept = plan.kept();
    let access = Access::new(topology, &plan.identities, &kept);
    for document in &plan.documents {
        let Ok(place) = access.place_of(&document.path) else {
            return Some(format!("{} is in no zone here", document.path));
        };
        let stranger = document
            .after
            .iter()
            .find(|party| !place.parties.contains(party) && !plan.always.contains(party));
        if let Some(party) = stranger {
            return Some(format!("it gives {} to {}", document.path, party.label()));
        }
    }
    let unknown = plan.readers.iter().find(|reader| {
        access::zone_of_reader(topology, &reader.name).is_none_or(|z| z.name != reader.zone)
            || reader.needs != access.ids_of_reader(&reader.name)
    });
    unknown.map(|reader| format!("{} is another reader here", reader.name))
}

/// What a plan keeps in a document that is not wrapped to it here; none if nothing: what is kept gains nothing.
fn keeps_a_stranger(root: &Path, plan: &Plan) -> Option<String> {
    for kept in plan.kept() {
        let party = Party::Identity(kept.id.clone().unwrap_or_default());
        for document in plan.documents.iter().filter(|d| d.after.contains(&party)) {
            let bytes = read_optional(&document.path.under(root)).ok().flatten();
            let wrapped = bytes.is_none_or(|bytes| {
                let store = store_of(&document.path, &bytes);
                let parsed = Document::parse(store, bytes);
                parsed.is_ok_and(|d| d.recipients().contains(&&kept.recipient))
            });
            if !wrapped {
                let (path, recipient) = (&document.path, kept.recipient.short());
                return Some(format!("{path} is not open to {recipient} here"));
            }
        }
    }
    None
}

impl Inheritance {
    /// Begins this clone's own journal of the run. The run then takes the ref, or is gone again without a trace.
    ///
    /// # Errors
    /// [`ApplyError::Journal`].
    pub fn begin(self, root: &Path) -> Result<JournalFile, ApplyError> {
        let mut entries = self.entries.into_iter();
        let Some(begun) = entries.next() else {
            return Err(ApplyError::TakeOver {
                reason: "its journal is empty".to_owned(),
                hint: "undo it where it was begun".to_owned(),
            });
        };
        let mut journal = JournalFile::begin(root, begun)?;
        journal.record_all(entries.collect())?;
        Ok(journal)
    }
}

impl Run<'_> {
    /// Where the ref stood when this clone took the run over; none if it began here.
    fn inherited_from(&self) -> Option<Oid> {
        self.progress().inherited_from().and_then(Oid::parse)
    }

    /// Whether the run began in another clone.
    pub(super) fn is_inherited(&self) -> bool {
        self.inherited_from().is_some()
    }

    /// Whether the ref stands where the other clone left it.
    pub(super) fn is_inherited_at(&self, oid: &Oid) -> bool {
        self.inherited_from().as_ref() == Some(oid)
    }

    /// Brings the ledger's records and the sealed identities of an inherited run to this clone.
    pub(super) fn inherit(&mut self) -> Result<(), ApplyError> {
        let Some(commit) = self.inherited_from() else {
            return Ok(());
        };
        let step = Step::TakeOver {
            commit: commit.to_string(),
        };
        if self.is_done(&step) {
            return Ok(());
        }
        self.step(step, |run| {
            let text = behind(run.work.git, &commit, LEDGER_FILE)?.unwrap_or_default();
            let theirs = Ledger::parse(&String::from_utf8_lossy(&text))?;
            atomic_write::create_folder(&run.work.sealed, 0o755)?;
            for name in run.sealed_names() {
                let target = run.work.sealed.join(&name);
                let sealed = behind(run.work.git, &commit, &format!("{SEALED_FOLDER}/{name}"))?;
                if let (Some(bytes), None) = (sealed, read_optional(&target)?) {
                    atomic_write::replace(&target, &bytes, Mode::Exact(0o644))?;
                }
            }
            for id in run.sealed_by_plan() {
                let Some(record) = theirs.record(&id) else {
                    continue;
                };
                match run.ledger.record(&id) {
                    None => run.ledger.add(record.clone())?,
                    Some(own) if own.recipient == record.recipient => {}
                    Some(_) => {
                        return Err(ApplyError::TakeOver {
                            reason: format!("{id} is another identity in the ledger here"),
                            hint: "pull (git pull), then: cofferdam resume".to_owned(),
                        });
                    }
                }
            }
            run.save_ledger()
        })
    }
}
