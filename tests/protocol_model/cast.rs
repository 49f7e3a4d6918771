//! Who takes part: a small real topology, real recipients, and how the model's numbers name them.

use std::collections::BTreeMap;

use cofferdam::inventory::Digest;
use cofferdam::keys::{Identity, Recipient};
use cofferdam::repo_path::RepoPath;
use cofferdam::topology::{self, Topology, without_reader};

use crate::world::{Bits, Doc, Left};

pub const SHARED: Bits = 1;
pub const OPERATORS: [Bits; 2] = [1 << 1, 1 << 2];
pub const RECOVERY: Bits = 1 << 3;
/// Operators and recovery.
pub const ALWAYS: Bits = OPERATORS[0] | OPERATORS[1] | RECOVERY;
const MINTED: usize = 4;

pub const ZONES: [&str; 3] = ["lan", "vps", "k8s"];
pub const READERS: [&str; 4] = ["kasm", "nvr", "aegis", "cluster"];

/// What a scenario's operators may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    Split,
    Rotate(usize),
    Revoke(usize),
    Sync,
}

/// One bounded configuration of the model.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: &'static str,
    pub zones: usize,
    /// The zone of each reader, and whether it declares clones.
    pub readers: &'static [(usize, bool)],
    /// The zones of each document.
    pub documents: &'static [&'static [usize]],
    /// The place of a document that is not there at first, and the zone whose identity it comes wrapped to.
    pub late: Option<(usize, usize)>,
    pub desks: usize,
    pub remote: bool,
    /// Whether the zones have their identities already.
    pub is_split: bool,
    pub wishes: &'static [Wish],
    /// Readers that may not answer.
    pub flaky: u8,
    pub grace: bool,
    /// Whether the operator's recipient is mistyped, and recovery was never read back.
    pub mistyped: bool,
    /// Whether the operator's recipient is the shared one.
    pub two_roles: bool,
    /// Whether the remote does not answer a clone that ships.
    pub unasked: bool,
    /// Nothing is taken back.
    pub forwards_only: bool,
    pub left: Left,
}

/// A scenario's people and things, made once.
pub struct Cast {
    pub scenario: Scenario,
    /// As it is, and without the reader that is revoked.
    pub topology: [Topology; 2],
    /// As it would be if nobody had two roles.
    pub clean: Topology,
    pub recipients: Vec<Recipient>,
    numbers: BTreeMap<Recipient, usize>,
    pub paths: Vec<RepoPath>,
    /// The identities of each desk's operator.
    pub at_hand: [Bits; 2],
}

impl Cast {
    pub fn new(scenario: Scenario) -> Self {
        let count = MINTED + 4 * scenario.zones;
        let recipients: Vec<Recipient> = (0..count)
            .map(|_| Identity::mint().recipient().unwrap())
            .collect();
        let parse = |text: &str| topology::parse(text, "cofferdam.toml").unwrap();
        let clean = parse(&text(&scenario, &recipients));
        let mut named = recipients.clone();
        if scenario.two_roles {
            named[1] = recipients[0].clone();
        }
        let text = text(&scenario, &named);
        let revoked = scenario.wishes.iter().find_map(|wish| match wish {
            Wish::Revoke(reader) => Some(READERS[*reader]),
            _ => None,
        });
        let struck = match revoked {
            Some(name) => parse(&without_reader(&text, name).unwrap().text),
            None => parse(&text),
        };
        let numbers = recipients.iter().cloned().zip(0..).collect();
        let held = if scenario.is_split { 0 } else { SHARED };
        let own = |n: usize| if scenario.mistyped { 0 } else { OPERATORS[n] };
        let documents = scenario.documents.len() + usize::from(scenario.late.is_some());
        Self {
            topology: [parse(&text), struck],
            clean,
            recipients,
            numbers,
            paths: (0..documents).map(|n| path(&scenario, n)).collect(),
            at_hand: [own(0) | held, own(1) | held],
            scenario,
        }
    }

    pub fn number_of(&self, recipient: &Recipient) -> Bits {
        self.numbers.get(recipient).map_or(0, |n| 1 << n)
    }

    pub fn bits<'a>(&self, recipients: impl IntoIterator<Item = &'a Recipient>) -> Bits {
        recipients
            .into_iter()
            .fold(0, |bits, r| bits | self.number_of(r))
    }

    pub fn recipients_of(&self, bits: Bits) -> Vec<Recipient> {
        let numbers = (0..self.recipients.len()).filter(|n| bits & (1 << n) != 0);
        let mut found: Vec<Recipient> = numbers.map(|n| self.recipients[n].clone()).collect();
        found.dedup();
        found
    }

    /// The identity that run `run` mints in place `at` of its plan; run 0 was the split before the beginning.
    pub fn minted(&self, run: u8, at: usize) -> Bits {
        1 << (MINTED + usize::from(run) * self.scenario.zones + at)
    }

    /// Whatever was minted, in any run.
    pub fn all_minted(&self) -> Bits {
        (1 << self.recipients.len()) - (1 << MINTED)
    }

    pub fn document(&self, path: &RepoPath) -> usize {
        self.paths.iter().position(|p| p == path).unwrap()
    }

    pub fn reader(&self, name: &str) -> usize {
        READERS.iter().position(|r| *r == name).unwrap()
    }

    /// What a reader holds at first.
    pub fn first_held(&self, reader: usize) -> Bits {
        if self.scenario.is_split {
            self.minted(0, self.scenario.readers[reader].0)
        } else {
            SHARED
        }
    }

    /// Whether the topology says that `reader` reads `document`.
    pub fn reads(&self, reader: usize, document: usize) -> bool {
        let zone = self.scenario.readers[reader].0;
        match self.scenario.documents.get(document) {
            Some(zones) => zones.contains(&zone),
            None => self.scenario.late.is_some_and(|(place, _)| place == zone),
        }
    }
}

pub fn digest(doc: &Doc) -> Digest {
    let mut bytes = doc.to.to_le_bytes().to_vec();
    bytes.extend([doc.key, doc.value]);
    Digest::of(&bytes)
}

fn path(scenario: &Scenario, document: usize) -> RepoPath {
    let text = match scenario.documents.get(document) {
        Some([zone]) => format!("{}/{document}.sops.env", ZONES[*zone]),
        Some(_) => format!("all/{document}.sops.env"),
        None => format!("{}/late.sops.env", ZONES[scenario.late.map_or(0, |l| l.0)]),
    };
    RepoPath::new(&text).unwrap()
}

fn text(scenario: &Scenario, recipients: &[Recipient]) -> String {
    let mut text = format!(
        "version = 1\n[recovery]\nrecipients = [\"{}\"]\n[operators.laptop]\nrecipients = [\"{}\"]\n\
         [operators.desk]\nrecipients = [\"{}\"]\n",
        recipients[3], recipients[1], recipients[2]
    );
    if scenario.remote {
        text += "[publish]\nremote = \"origin\"\npush = true\n";
    }
    for zone in &ZONES[..scenario.zones] {
        text += &format!("[zones.{zone}]\nfiles = [{{ paths = [\"{zone}/*\"] }}]\n");
        if scenario.grace {
            text += "grace = \"7d\"\n";
        }
    }
    for zones in scenario.documents.iter().filter(|zones| zones.len() > 1) {
        let names: Vec<String> = zones.iter().map(|z| format!("\"{}\"", ZONES[*z])).collect();
        let names = names.join(", ");
        text += &format!("[shared.all]\nzones = [{names}]\nfiles = [{{ paths = [\"all/*\"] }}]\n");
    }
    for (name, (zone, declares)) in READERS.iter().zip(scenario.readers) {
        text += &format!(
            "[hosts.{name}]\nzone = \"{}\"\nlocal = \"../{name}\"\n",
            ZONES[*zone]
        );
        if *declares {
            text += "clones = [\"/srv/repo\"]\n";
        }
    }
    text
}
