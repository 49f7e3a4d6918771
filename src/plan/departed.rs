//! Who left, and what it costs (protocol rule 4): operators and recovery that an identity was ever sealed to could unseal it,
//! and readers that left its zone know it. Both are told from names: of sealed files in the work tree and its history, and of
//! readers in the ledger.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::keys::Recipient;
use crate::ledger::{Holder, Ledger, Record, State};
use crate::plan::{Party, Roster, access};
use crate::topology::Topology;

/// The sealed files that there are and were: each an identity's id and the mark of whom it is sealed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seals {
    /// In the folder of sealed identities.
    pub now: BTreeSet<(String, String)>,
    /// In that folder, and in the history of HEAD.
    pub ever: BTreeSet<(String, String)>,
}

impl Seals {
    /// Reads the name of a sealed file, `<id>.<mark>.age`; none for any other.
    pub fn of_name(name: &str) -> Option<(String, String)> {
        let (id, mark) = name.strip_suffix(".age")?.rsplit_once('.')?;
        let is_mark = mark.len() == 8 && mark.bytes().all(|b| b.is_ascii_hexdigit());
        (is_mark && !id.is_empty()).then(|| (id.to_owned(), mark.to_owned()))
    }

    /// The name of a sealed file.
    pub fn name(id: &str, mark: &str) -> String {
        format!("{id}.{mark}.age")
    }

    /// Every id that was ever sealed: none of them is given to another identity.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.ever.iter().map(|(id, _)| id)
    }

    fn ever_to(&self, mark: &str) -> impl Iterator<Item = &String> {
        let pairs = self.ever.iter();
        pairs.filter(move |(_, m)| m == mark).map(|(id, _)| id)
    }
}

/// An operator's or recovery recipient of an earlier `cofferdam.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Whose: `operator laptop`, `recovery`.
    pub name: String,
    /// The recipient.
    pub recipient: Recipient,
}

/// An operator's or recovery recipient that left, and what its identity can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Departed {
    /// Whose it was: `operator laptop`, `recovery`; nobody's name if only a sealed file tells of it.
    pub name: String,
    /// The recipient; none if only the mark in a sealed file's name is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    /// The ids of the live identities that were ever sealed to it.
    pub could_unseal: Vec<String>,
    /// How many documents are still wrapped to it.
    pub opens: usize,
}

/// A live identity that somebody knows who should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Its name in the ledger.
    pub id: String,
    /// Who holds it.
    pub holder: Holder,
    /// Who knows it, and why that is one too many.
    pub why: String,
}

/// What departures are told from.
#[derive(Debug, Clone, Copy)]
pub struct DepartedInput<'a> {
    /// Intended state.
    pub topology: &'a Topology,
    /// The identities that exist.
    pub ledger: &'a Ledger,
    /// Sealed files.
    pub seals: &'a Seals,
    /// Operators and recovery of earlier topologies.
    pub formers: &'a [Former],
}

/// Everybody who left and still opens, or could unseal, something; `documents` are all recipients, document by document.
pub fn departed<'a>(
    input: &DepartedInput<'_>,
    documents: impl IntoIterator<Item = &'a [Recipient]>,
) -> Vec<Departed> {
    let always = always(input.topology);
    let stays = |recipient: &Recipient| {
        always.contains(&recipient) || input.ledger.record_of(recipient).is_some()
    };
    let documents: Vec<&[Recipient]> = documents.into_iter().collect();
    let opens = |recipient: &Recipient| {
        let wrapped = documents.iter().filter(|d| d.contains(recipient));
        wrapped.count()
    };
    let live = live(input);
    let could_unseal = |mark: &str| -> Vec<String> {
        let sealed = input.seals.ever_to(mark);
        let live = sealed.filter(|id| live.iter().any(|r| r.id == **id));
        live.cloned().collect()
    };
    let mut departed: Vec<Departed> = Vec::new();
    let mut add = |name: &str, recipient: &Recipient, is_named: bool| {
        if stays(recipient)
            || departed
                .iter()
                .any(|d| d.recipient.as_ref() == Some(recipient))
        {
            return;
        }
        let mark = recipient.seal_mark();
        let one = Departed {
            name: name.to_owned(),
            recipient: Some(recipient.clone()),
            could_unseal: could_unseal(&mark),
            opens: opens(recipient),
        };
        let has_file = input.seals.now.iter().any(|(_, m)| *m == mark);
        if is_named && (one.opens > 0 || !one.could_unseal.is_empty() || has_file)
            || !is_named && input.seals.ever_to(&mark).next().is_some()
        {
            departed.push(one);
        }
    };
    for former in input.formers {
        add(&former.name, &former.recipient, true);
    }
    // One that no `cofferdam.toml` of this history names, and that identities were sealed to all the same.
    for recipient in documents.iter().copied().flatten() {
        add("an operator of before", recipient, false);
    }
    let mut marks: BTreeSet<&String> = input.seals.ever.iter().map(|(_, mark)| mark).collect();
    marks.retain(|mark| {
        let known = |recipient: &Recipient| recipient.seal_mark() == **mark;
        let named = departed.iter().filter_map(|d| d.recipient.as_ref());
        !always.iter().any(|r| known(r)) && !named.into_iter().any(known)
    });
    for mark in marks {
        let unsealed = could_unseal(mark);
        if !unsealed.is_empty() {
            departed.push(Departed {
                name: format!("whoever has the sealed files *.{mark}.age"),
                recipient: None,
                could_unseal: unsealed,
                opens: 0,
            });
        }
    }
    departed
}

/// The live identities that somebody who left knows: `departed` could unseal them, or a reader was given them that is no
/// reader of theirs any more.
pub fn exposed(input: &DepartedInput<'_>, departed: &[Departed]) -> Vec<Exposed> {
    let mut exposed = Vec::new();
    for record in live(input) {
        let mut reasons: Vec<String> = departed
            .iter()
            .filter(|d| d.could_unseal.contains(&record.id))
            .map(|d| format!("{} could unseal it and left cofferdam.toml", d.name))
            .collect();
        let readers = access::readers_of_holder(input.topology, &record.holder);
        for name in given(record) {
            if !readers.contains(&name) {
                reasons.push(format!("{name} had it and left {}", record.holder));
            }
        }
        if !reasons.is_empty() {
            exposed.push(Exposed {
                id: record.id.clone(),
                holder: record.holder.clone(),
                why: reasons.join("; "),
            });
        }
    }
    exposed
}

/// The identities, by id, that are sealed to further parties: who reads everything and has no file of theirs.
pub fn lacking(input: &DepartedInput<'_>) -> Vec<(String, Vec<Party>)> {
    let records = input.ledger.records().iter();
    let records = records.filter(|r| r.state != State::Withdrawn);
    let lacking = records.map(|record| {
        let lacks = |party: &Party| {
            let nobody = Roster::new();
            party.recipient(&nobody).is_some_and(|r| {
                let pair = (record.id.clone(), r.seal_mark());
                !input.seals.now.contains(&pair)
            })
        };
        let parties = access::always(input.topology).into_iter();
        (record.id.clone(), parties.filter(lacks).collect::<Vec<_>>())
    });
    lacking.filter(|(_, parties)| !parties.is_empty()).collect()
}

/// The sealed files, by name, of the ledger's identities that are for nobody of the topology.
pub fn stale_files(input: &DepartedInput<'_>) -> Vec<String> {
    let always = always(input.topology);
    let marks: Vec<String> = always.iter().map(|r| r.seal_mark()).collect();
    let stale =
        input.seals.now.iter().filter(|(id, mark)| {
            input.ledger.record(id).is_some() && !marks.iter().any(|m| m == mark)
        });
    stale.map(|(id, mark)| Seals::name(id, mark)).collect()
}

/// Whoever reads everything.
fn always(topology: &Topology) -> Vec<&Recipient> {
    topology.always().into_iter().map(|(r, _)| r).collect()
}

/// The live identities of the topology's holders.
fn live<'a>(input: &DepartedInput<'a>) -> Vec<&'a Record> {
    let holders = access::holders(input.topology).into_iter();
    holders
        .filter_map(|(holder, _)| input.ledger.live(&holder))
        .collect()
}

/// The readers that ever had it, as far as anybody wrote down.
fn given(record: &Record) -> BTreeSet<&str> {
    let proven = record
        .receipts
        .iter()
        .map(|receipt| receipt.reader.as_str());
    let given = record.given_to.iter().map(String::as_str);
    given.chain(proven).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::keys::Identity;
    use crate::ledger::{Receipt, ReceiptKind};
    use crate::topology;

    fn recipient() -> Recipient {
        Identity::mint().recipient().unwrap()
    }

    fn at() -> Timestamp {
        "2026-11-23T10:00:00Z".parse().unwrap()
    }

    struct World {
        topology: Topology,
        ledger: Ledger,
        seals: Seals,
        lan: Recipient,
    }

    /// A zone with one identity, sealed to `sealed_to` and given to `given_to`.
    fn world(operator: &Recipient, sealed_to: &[&Recipient], given_to: &[&str]) -> World {
        let (recovery, lan) = (recipient(), recipient());
        let text = format!(
            "version = 1\n[recovery]\nrecipients = [\"{recovery}\"]\n[operators.laptop]\nrecipients = [\"{operator}\"]\n\
             [zones.lan]\nfiles = [{{ paths = [\"a.sops.env\"] }}]\n[hosts.kasm]\nzone = \"lan\"\nlocal = \"../kasm\"\n"
        );
        let topology = topology::parse(&text, "cofferdam.toml").unwrap();
        let mut ledger = Ledger::new();
        let holder = Holder::Zone("lan".to_owned());
        ledger
            .add(Record::minted("lan-1", holder, lan.clone(), at()))
            .unwrap();
        for reader in given_to {
            let (reader, kind) = ((*reader).to_owned(), ReceiptKind::Unwrapped);
            ledger
                .receive(
                    "lan-1",
                    Receipt {
                        reader,
                        kind,
                        at: at(),
                    },
                )
                .unwrap();
        }
        let mut seals = Seals::default();
        for to in sealed_to.iter().copied().chain([&recovery]) {
            let pair = ("lan-1".to_owned(), to.seal_mark());
            seals.now.insert(pair.clone());
            seals.ever.insert(pair);
        }
        World {
            topology,
            ledger,
            seals,
            lan,
        }
    }

    fn told(
        world: &World,
        formers: &[Former],
        documents: &[Vec<Recipient>],
    ) -> (Vec<Departed>, Vec<Exposed>) {
        let input = DepartedInput {
            topology: &world.topology,
            ledger: &world.ledger,
            seals: &world.seals,
            formers,
        };
        let departed = departed(&input, documents.iter().map(Vec::as_slice));
        let exposed = exposed(&input, &departed);
        (departed, exposed)
    }

    #[test]
    fn what_is_sealed_to_those_who_stay_is_nobodys_business() {
        let laptop = recipient();
        let world = world(&laptop, &[&laptop], &["kasm"]);
        let (departed, exposed) = told(&world, &[], &[vec![world.lan.clone(), laptop]]);
        assert!(departed.is_empty() && exposed.is_empty());
    }

    #[test]
    fn who_left_is_known_by_name_by_documents_and_by_sealed_files() {
        let (laptop, gone) = (recipient(), recipient());
        let mut world = world(&laptop, &[&laptop, &gone], &["kasm"]);
        let former = Former {
            name: "operator desk".into(),
            recipient: gone.clone(),
        };
        let documents = [vec![world.lan.clone(), gone.clone()]];
        type Case<'a> = (&'a [Former], &'a [Vec<Recipient>], &'a str, usize);
        let cases: [Case<'_>; 3] = [
            (
                std::slice::from_ref(&former),
                &documents,
                "operator desk",
                1,
            ),
            (&[], &documents, "an operator of before", 1),
            (&[], &[], "whoever has the sealed files", 0),
        ];
        for (formers, documents, name, opens) in cases {
            let (departed, exposed) = told(&world, formers, documents);
            assert!(departed[0].name.starts_with(name), "{departed:?}");
            assert_eq!((departed.len(), departed[0].opens), (1, opens));
            assert_eq!(departed[0].could_unseal, ["lan-1"]);
            assert_eq!(exposed[0].id, "lan-1");
        }
        // In history alone it counts as well; a live identity that was never sealed to it does not.
        world
            .seals
            .now
            .retain(|(_, mark)| *mark != gone.seal_mark());
        assert_eq!(told(&world, &[], &[]).1.len(), 1);
        world.seals.ever = world.seals.now.clone();
        assert!(
            told(&world, std::slice::from_ref(&former), &[])
                .0
                .is_empty()
        );
        // A stranger that nothing was ever sealed to is none of ours: protocol rule 8 stops for it.
        assert!(told(&world, &[], &documents).0.is_empty());
    }

    #[test]
    fn a_reader_that_left_the_zone_knows_its_identity() {
        let laptop = recipient();
        let world = world(&laptop, &[&laptop], &["kasm", "nvr"]);
        let (departed, exposed) = told(&world, &[], &[]);
        assert!(departed.is_empty());
        assert_eq!(exposed[0].why, "nvr had it and left zone lan");
    }

    #[test]
    fn names_of_sealed_files_are_read_back() {
        let to = recipient();
        let name = Seals::name("lan-2026-11-2", &to.seal_mark());
        let pair = ("lan-2026-11-2".to_owned(), to.seal_mark());
        assert_eq!(Seals::of_name(&name), Some(pair));
        for bad in [
            "a.age",
            ".12345678.age",
            "a.1234567.age",
            "a.1234567g.age",
            "a.12345678",
        ] {
            assert_eq!(Seals::of_name(bad), None, "{bad}");
        }
    }
}
