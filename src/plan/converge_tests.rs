//! Tests of the planner over a small repository.

use super::*;
use crate::inventory::{Digest, Reach, ReaderKind};
use crate::keys::Identity;
use crate::ledger::Record;
use crate::ledger::State;
use crate::report::plan_text::plan_text;
use crate::topology;

struct World {
    topology: Topology,
    ledger: Ledger,
    repo: RepoFacts,
    targets: Vec<TargetFacts>,
    shared: Recipient,
    operator: Recipient,
    leave: Leave,
    goal: Goal,
    replace: Vec<Holder>,
    at_hand: Vec<Recipient>,
    without: Vec<String>,
    seals: Seals,
    formers: Vec<Former>,
}

fn recipient() -> Recipient {
    Identity::mint().recipient().unwrap()
}

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn document(text: &str, recipients: &[&Recipient]) -> DocumentFacts {
    DocumentFacts {
        path: path(text),
        recipients: recipients.iter().map(|r| (*r).clone()).collect(),
        foreign: Vec::new(),
        key_groups: 1,
        digest: Digest::of(text.as_bytes()),
        values: 3,
    }
}

impl World {
    fn new() -> Self {
        let (shared, operator, recovery) = (recipient(), recipient(), recipient());
        let text = format!(
            r#"
version = 1
[recovery]
recipients = ["{recovery}"]
[operators.laptop]
recipients = ["{operator}"]
[zones.lan]
files = [{{ paths = ["docker/{{kasm,nvr}}/**/*.sops.env"] }}]
[zones.vps]
files = [{{ paths = ["docker/vps/**/*.sops.env"] }}]
[zones.ansible]
files = [{{ paths = ["ansible/*.sops.yml"] }}]
[shared.alloy]
zones = ["lan", "vps"]
files = [{{ paths = ["docker/shared/*.sops.env"] }}]
[hosts.kasm]
zone = "lan"
local = "targets/kasm"
[hosts.nvr]
zone = "lan"
local = "targets/nvr"
[hosts.aegis]
zone = "vps"
local = "targets/aegis"
"#
        );
        let topology = topology::parse(&text, "cofferdam.toml").unwrap();
        let repo = RepoFacts {
            documents: [
                "ansible/a.sops.yml",
                "docker/kasm/x/.sops.env",
                "docker/shared/.sops.env",
                "docker/vps/y/.sops.env",
            ]
            .iter()
            .map(|p| document(p, &[&shared]))
            .collect(),
            others: Vec::new(),
            rules: None,
        };
        let targets = [("kasm", "lan"), ("nvr", "lan"), ("aegis", "vps")]
            .iter()
            .map(|(name, zone)| TargetFacts {
                name: (*name).to_owned(),
                kind: ReaderKind::Host,
                zone: (*zone).to_owned(),
                held: vec![shared.clone()],
                reach: Reach::Read,
                declares_clones: false,
            })
            .collect();
        Self {
            topology,
            ledger: Ledger::new(),
            repo,
            targets,
            at_hand: vec![shared.clone()],
            shared,
            operator,
            leave: Leave::default(),
            goal: Goal::Split,
            replace: Vec::new(),
            without: Vec::new(),
            seals: Seals::default(),
            formers: Vec::new(),
        }
    }

    fn plan(&self) -> Result<Plan, Vec<PlanProblem>> {
        plan(&PlanInput {
            revoked: None,
            seals: &self.seals,
            formers: &self.formers,
            goal: self.goal,
            replace: &self.replace,
            topology: &self.topology,
            ledger: &self.ledger,
            repo: &self.repo,
            targets: &self.targets,
            at_hand: &self.at_hand,
            now: now(),
            without: &self.without,
            leave: &self.leave,
        })
    }
}

fn ids(document: &PlannedDocument) -> Vec<&str> {
    document
        .after
        .iter()
        .filter_map(|p| match p {
            Party::Identity(id) => Some(id.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn every_document_gets_its_zones_operators_and_recovery() {
    let world = World::new();
    let plan = world.plan().unwrap();
    let after: Vec<Vec<&str>> = plan.documents.iter().map(ids).collect();
    assert_eq!(
        after,
        [
            vec![],
            vec!["lan-2026-11"],
            vec!["lan-2026-11", "vps-2026-11"],
            vec!["vps-2026-11"]
        ]
    );
    assert!(
        plan.documents
            .iter()
            .all(|d| d.after.ends_with(&plan.always))
    );
    assert_eq!(plan.retiring.len(), 1);
    assert_eq!(plan.retiring[0].recipient, world.shared);
    assert_eq!(plan.retiring[0].held_by, ["kasm", "nvr", "aegis"]);
    assert_eq!(plan.exposed_values, 12);
    let opens: Vec<(usize, usize)> = plan
        .readers
        .iter()
        .map(|r| (r.opens_before, r.opens_after))
        .collect();
    assert_eq!(opens, [(4, 2), (4, 2), (4, 2)]);
}

#[test]
fn an_operator_only_zone_mints_nothing() {
    let plan = World::new().plan().unwrap();
    assert!(
        !plan
            .identities
            .iter()
            .any(|i| i.holder == Holder::Zone("ansible".into()))
    );
}

#[test]
fn the_shared_recipient_cannot_be_an_operator() {
    let mut world = World::new();
    world.targets[0].held = vec![world.operator.clone()];
    let problems = world.plan().unwrap_err();
    assert!(
        problems
            .iter()
            .any(|p| matches!(p, PlanProblem::TwoRoles { .. })),
        "{problems:?}"
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let mut world = World::new();
    let stranger = recipient();
    world
        .repo
        .documents
        .push(document("nowhere/b.sops.env", &[&world.shared]));
    world.repo.documents.push(document(
        "docker/kasm/z.sops.env",
        &[&world.shared, &stranger],
    ));
    let mut foreign = document("docker/nvr/q.sops.env", &[&world.shared]);
    foreign.foreign = vec!["pgp 85D77543B3D624B63CEA9E6DBC17301B491B3F21".into()];
    world.repo.documents.push(foreign);
    let problems = world.plan().unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
    world.leave.drop = vec![stranger];
    world.leave.drop_foreign = vec![path("docker/nvr/q.sops.env")];
    world
        .repo
        .documents
        .retain(|d| d.path != path("nowhere/b.sops.env"));
    assert!(world.plan().is_ok());
}

/// The world after its split.
fn split_world() -> (World, crate::plan::Roster) {
    let mut world = World::new();
    let plan = world.plan().unwrap();
    let mut roster = crate::plan::Roster::new();
    for identity in &plan.identities {
        let minted = recipient();
        roster.insert(identity.id.clone(), minted.clone());
        let mut record = Record::minted(&identity.id, identity.holder.clone(), minted, now());
        record.state = State::Active;
        world.ledger.add(record).unwrap();
        for (to, _) in world.topology.always() {
            let pair = (identity.id.clone(), to.seal_mark());
            world.seals.now.insert(pair.clone());
            world.seals.ever.insert(pair);
        }
    }
    for (to, _) in world.topology.always() {
        let pair = ("shared-2026-11".to_owned(), to.seal_mark());
        world.seals.now.insert(pair);
    }
    let mut adopted = Record::adopted(
        "shared-2026-11",
        Holder::Shared("shared-2026-11".to_owned()),
        world.shared.clone(),
        now(),
    );
    adopted.state = State::Retired;
    world.ledger.add(adopted).unwrap();
    for document in &plan.documents {
        let facts = world
            .repo
            .documents
            .iter_mut()
            .find(|d| d.path == document.path)
            .unwrap();
        facts.recipients = document.recipients_after(&roster).unwrap();
    }
    for (target, reader) in world.targets.iter_mut().zip(&plan.readers) {
        target.held = reader.needs.iter().map(|id| roster[id].clone()).collect();
    }
    (world, roster)
}

/// The world in which the VPS has an identity of its own, beside the shared one, and its zone adopts it.
fn half_zoned_world() -> (World, Recipient) {
    let mut world = World::new();
    let vps = recipient();
    for name in ["docker/shared/.sops.env", "docker/vps/y/.sops.env"] {
        let mut documents = world.repo.documents.iter_mut();
        let document = documents.find(|d| d.path == path(name)).unwrap();
        document.recipients.push(vps.clone());
    }
    let aegis = world.targets.iter_mut().find(|t| t.name == "aegis");
    aegis.unwrap().held = vec![vps.clone()];
    let zone = world.topology.zones.iter_mut().find(|z| z.name == "vps");
    zone.unwrap().adopt = Some(vps.clone());
    (world, vps)
}

#[test]
fn what_serves_a_zone_is_adopted() {
    let (mut world, vps) = half_zoned_world();
    let plan = world.plan().unwrap();
    let [lan, adopted] = plan.identities.as_slice() else {
        panic!("{:?}", plan.identities);
    };
    assert!(!lan.adopt && lan.recipient.is_none());
    assert!(adopted.adopt && adopted.recipient.as_ref() == Some(&vps));
    assert_eq!(adopted.holder, Holder::Zone("vps".into()));
    let retiring: Vec<&Recipient> = plan.retiring.iter().map(|r| &r.recipient).collect();
    assert_eq!(retiring, [&world.shared]);
    let aegis = plan.readers.iter().find(|r| r.name == "aegis").unwrap();
    assert!(aegis.receives.is_empty() && aegis.loses.is_empty());
    assert_eq!((aegis.opens_before, aegis.opens_after), (2, 2));
    assert_eq!(plan.adopted().len(), 2);
    let text = plan_text(&plan);
    assert!(text.contains("vps-2026-11 (adopted)"), "{text}");
    assert!(text.contains("adopt 1 identity, mint 1 identity"), "{text}");
    assert!(
        text.contains("vps-2026-11 is not at hand: it is read from aegis"),
        "{text}"
    );

    // Who is new in the zone is given what it adopts; who cannot be asked is supposed to hold what is its own.
    world.at_hand.push(vps.clone());
    world.targets[2].held = Vec::new();
    let plan = world.plan().unwrap();
    assert_eq!(plan.readers[2].receives, ["vps-2026-11"]);
    assert!(!plan_text(&plan).contains("is not at hand"));
    for target in &mut world.targets {
        target.reach = Reach::Unreachable;
        target.held = Vec::new();
    }
    let plan = world.plan().unwrap();
    assert_eq!(plan.readers[0].loses, [world.shared.clone()]);
    assert!(plan.readers[2].receives.is_empty());
}

#[test]
fn nothing_is_adopted_that_is_not_the_zones_own() {
    let problem = |change: &dyn Fn(&mut World, &Recipient)| {
        let (mut world, vps) = half_zoned_world();
        change(&mut world, &vps);
        let problems = world.plan().unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let hint = problems[0].hint().unwrap();
        assert!(hint.contains("remove `adopt`"), "{hint}");
        problems.into_iter().next().unwrap()
    };
    let elsewhere = problem(&|world, vps| world.targets[1].held.push(vps.clone()));
    assert!(
        matches!(&elsewhere, PlanProblem::AdoptedElsewhere { readers, .. } if readers == &["nvr"]),
        "{elsewhere}"
    );
    let absent = problem(&|world, _| world.targets[2].held = vec![world.shared.clone()]);
    assert!(
        matches!(absent, PlanProblem::AdoptedNotHad { .. }),
        "{absent}"
    );
    let unused = problem(&|world, vps| {
        for document in &mut world.repo.documents {
            document.recipients.retain(|r| r != vps);
        }
        world.targets[2].held.push(world.shared.clone());
    });
    assert!(
        matches!(unused, PlanProblem::AdoptedUnused { .. }),
        "{unused}"
    );
    let late = problem(&|world, _| {
        let live = recipient();
        let vps = Holder::Zone("vps".into());
        let mut record = Record::minted("vps-2026-10", vps, live.clone(), now());
        record.state = State::Active;
        world.ledger.add(record).unwrap();
        world.targets[2].held.push(live);
    });
    assert!(
        matches!(&late, PlanProblem::AdoptedLate { live, .. } if live == "vps-2026-10"),
        "{late}"
    );
}

#[test]
fn an_adoption_that_was_carried_out_is_over() {
    let (mut world, vps) = half_zoned_world();
    let holder = Holder::Zone("vps".to_owned());
    let adopted = Record::adopted("vps-2026-11", holder.clone(), vps, now());
    world.ledger.add(adopted).unwrap();
    let plan = world.plan().unwrap();
    assert!(plan.identities.iter().all(|i| !i.adopt));
    world.goal = Goal::Rotate;
    world.replace = vec![holder];
    let plan = world.plan().unwrap();
    assert_eq!(plan.identities[1].id, "vps-2026-11-2");
    assert!(plan.identities[1].recipient.is_none());
}

#[test]
fn a_finished_split_plans_nothing() {
    let (mut world, _) = split_world();
    let again = world.plan().unwrap();
    assert!(again.is_empty(), "{again:?}");

    // A secret copied into another zone's folder is not opened for that zone.
    let copied = world.repo.documents[3].recipients.clone();
    let mut copy = document("docker/kasm/copied.sops.env", &[]);
    copy.recipients = copied;
    world.repo.documents.push(copy);
    let problems = world.plan().unwrap_err();
    assert!(
        matches!(&problems[0], PlanProblem::Widening { reader, .. } if reader == "kasm"),
        "{problems:?}"
    );
    world.leave.widen = vec![path("docker/kasm/copied.sops.env")];
    assert_eq!(world.plan().unwrap().documents.len(), 1);
}

#[test]
fn the_text_names_zones_files_and_readers() {
    let text = plan_text(&World::new().plan().unwrap());
    for needle in [
        "Split 1 shared identity into 2 zones   4 documents, 3 hosts",
        "docker/shared/.sops.env",
        "lan-2026-11, vps-2026-11, operator laptop, recovery",
        "operators and recovery only",
        "4 → 2",
        "12 values stay readable in git history",
    ] {
        assert!(text.contains(needle), "{needle:?} is not in:\n{text}");
    }
}

#[test]
fn rotating_a_zone_concerns_that_zone_alone() {
    let (mut world, roster) = split_world();
    world.goal = Goal::Rotate;
    world.replace = vec![Holder::Zone("lan".into())];
    let plan = world.plan().unwrap();
    let paths: Vec<&str> = plan.documents.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(
        paths,
        ["docker/kasm/x/.sops.env", "docker/shared/.sops.env"]
    );
    assert_eq!(ids(&plan.documents[1]), ["lan-2026-11-2", "vps-2026-11"]);
    assert_eq!(plan.retiring.len(), 1);
    assert_eq!(plan.retiring[0].id, "lan-2026-11");
    assert_eq!(plan.retiring[0].recipient, roster["lan-2026-11"]);
    let losing: Vec<&str> = plan
        .readers
        .iter()
        .filter(|r| !r.loses.is_empty())
        .map(|r| r.name.as_str())
        .collect();
    assert_eq!(losing, ["kasm", "nvr"]);
    assert!(plan.readers.iter().all(|r| r.opens_before == r.opens_after));
}

#[test]
fn a_sync_brings_a_new_operator_into_every_document() {
    let (mut world, _) = split_world();
    world.goal = Goal::Sync;
    assert!(world.plan().unwrap().is_empty());
    let mut second = world.topology.operators[0].clone();
    second.name = "desktop".into();
    second.recipients = vec![recipient()];
    world.topology.operators.push(second);
    let plan = world.plan().unwrap();
    assert_eq!(plan.documents.len(), 4);
    assert!(plan.retiring.is_empty());
    let text = plan_text(&plan);
    assert!(text.starts_with("Bring 2 zones up to date"), "{text}");
    assert!(
        plan.readers
            .iter()
            .all(|r| r.receives.is_empty() && r.loses.is_empty())
    );
}

#[test]
fn neither_rotation_nor_sync_widens_what_was_shared() {
    let mut world = World::new();
    world.goal = Goal::Sync;
    world.targets[2].held.clear();
    let problems = world.plan().unwrap_err();
    assert!(
        problems
            .iter()
            .any(|p| matches!(p, PlanProblem::Widening { reader, .. } if reader == "aegis")),
        "{problems:?}"
    );
}
