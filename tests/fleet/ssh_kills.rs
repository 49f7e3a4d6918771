//! A rotation by SSH that is struck at random moments: the operator's process is killed, a host's server, the processes that serve a
//! connection, the connection itself, the `ssh` that holds it. After each no reader is locked out, no key file is half written,
//! no identity is nowhere; and `resume` finishes.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::bench::{by_ssh, mode, names, transport};
use crate::support::ground::{Ground, identities, recipient};
use crate::support::homeops::VPS;
use crate::support::sshd::{Fleet, Manners, children, have_sshd, signal};
use crate::support::{Ran, Sandbox, have_peers};
use cofferdam::keys::key_file::KeyFile;
use cofferdam::keystore::sealed;
use cofferdam::ledger::{Holder, State};
use rustix::process::Signal;

const HOSTS: [&str; 3] = ["kasm", "nvr", VPS];
/// Rotations that go on side by side, each on a ground of its own.
const LANES: usize = 3;

/// A repository with its hosts, and chance.
struct Lane<'s> {
    ground: Ground<'s>,
    fleet: Fleet,
    chance: u64,
    /// How long a run takes that nobody disturbs.
    run: Duration,
    name: String,
    /// What everybody was seen to read, last.
    seen: std::cell::RefCell<Option<Seen>>,
}

/// Documents in the work tree, the commit, and what key files hold.
type Seen = (Vec<Vec<u8>>, String, Vec<Vec<u8>>);

/// What can end before its time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Strike {
    /// The operator's process.
    Operator,
    /// The processes that serve the connections to a host.
    Sessions,
    /// All of a host's server; it is started again a little later.
    Server,
    /// The connection.
    Connection,
    /// The operator's `ssh` processes.
    Clients,
}

const STRIKES: [Strike; 5] = [
    Strike::Operator,
    Strike::Sessions,
    Strike::Server,
    Strike::Connection,
    Strike::Clients,
];

impl<'s> Lane<'s> {
    fn new(sandbox: &'s Sandbox, seed: u64, name: &str) -> Self {
        let ground = Ground::small(sandbox);
        let mut fleet = Fleet::new(&ground.folder);
        let manners = Manners {
            can_be_cut: true,
            ..Manners::default()
        };
        for host in HOSTS {
            fleet.add(host, &manners);
            by_ssh(&ground, host, "");
        }
        let mut lane = Self {
            ground,
            fleet,
            chance: seed,
            run: Duration::ZERO,
            name: name.to_owned(),
            seen: std::cell::RefCell::default(),
        };
        lane.cofferdam(&["split", "--yes"]).expect_code(0);
        let begun = Instant::now();
        lane.cofferdam(&["rotate", "lan", "--yes"]).expect_code(0);
        lane.run = begun.elapsed();
        lane
    }

    fn cofferdam(&self, args: &[&str]) -> Ran {
        Ran::of(
            self.ground
                .command(args)
                .env("COFFERDAM_SSH", self.fleet.program()),
        )
    }

    /// A number below `bound`. Source: Marsaglia's xorshift64.
    fn draw(&mut self, bound: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % bound.max(1)
    }

    fn moment(&mut self, within: Duration) -> Duration {
        Duration::from_micros(self.draw(u64::try_from(within.as_micros()).unwrap()))
    }

    /// Goes on with the rotation, or begins one, and strikes until it has ended; each strike goes to `struck`, and whether old identities had
    /// begun to leave.
    fn go_on(&mut self, struck: &mut Vec<(Strike, bool)>) {
        let args: &[&str] = match self.ground.unfinished() {
            Some(_) => &["resume", "--yes"],
            None => &["rotate", "lan", "--yes"],
        };
        let mut child = self
            .ground
            .command(args)
            .env("COFFERDAM_SSH", self.fleet.program())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.ground.folder.join("said")).unwrap())
            .spawn()
            .unwrap();
        // Some runs are struck once their commit is there, others when they are hardly begun; then one follows the other.
        let is_late = self.ground.retirement_begun();
        let mut within = if is_late { self.run } else { self.run / 2 };
        if self.draw(4) == 0 && !is_late {
            let head = self.head();
            let deadline = Instant::now() + self.run * 2;
            while self.head() == head
                && Instant::now() < deadline
                && ended(&mut child, Duration::from_millis(10)).is_none()
            {}
        }
        let code = loop {
            let moment = self.moment(within);
            within = self.run / 8;
            if let Some(code) = ended(&mut child, moment) {
                break code;
            }
            let strike = STRIKES[usize::try_from(self.draw(5)).unwrap()];
            let late = self.ground.retirement_begun();
            let host = HOSTS[usize::try_from(self.draw(3)).unwrap()];
            let when = format!("{}: {strike:?}, {host}, within {args:?}", self.name);
            signal(child.id(), Signal::STOP);
            let hit = self.strike(strike, host, &mut child);
            if hit {
                self.expect_all_is_well(&when);
                struck.push((strike, late));
            }
            if matches!(strike, Strike::Operator) {
                return;
            }
            signal(child.id(), Signal::CONT);
            if matches!(strike, Strike::Server) {
                std::thread::sleep(self.moment(Duration::from_millis(100)));
                self.fleet.start(host);
            }
        };
        let said = std::fs::read_to_string(self.ground.folder.join("said")).unwrap();
        let when = format!("{}: {args:?} ended with {code:?}: {said}", self.name);
        // Before anything is done the plan may find all hosts dead, and says so.
        assert!(matches!(code, Some(0 | 5)), "{when}");
        if code == Some(0) && self.ground.unfinished().is_none() {
            self.expect_rotated(&when);
        }
    }

    /// The last commit, as the branch's file has it.
    fn head(&self) -> String {
        let file = self.ground.repository().join(".git/refs/heads/main");
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// Whether there was anything to strike.
    fn strike(&mut self, strike: Strike, host: &str, child: &mut Child) -> bool {
        match strike {
            Strike::Operator => {
                child.kill().unwrap();
                child.wait().unwrap();
                true
            }
            Strike::Sessions => self.fleet.kill_sessions(host) > 0,
            Strike::Server => {
                self.fleet.kill(host);
                true
            }
            Strike::Connection => self.fleet.cut(host),
            Strike::Clients => {
                let clients = children(child.id());
                let clients: Vec<u32> = clients.into_iter().filter(|&pid| is_ssh(pid)).collect();
                let Some(first) = clients.len().checked_sub(1) else {
                    return false;
                };
                let first = usize::try_from(self.draw(u64::try_from(first + 1).unwrap())).unwrap();
                for &client in &clients[first..] {
                    signal(client, Signal::KILL);
                }
                true
            }
        }
    }

    /// Everybody reads, in the work tree and at HEAD; each key file is whole; each identity is sealed to the operator.
    fn expect_all_is_well(&self, when: &str) {
        let ledger = self.ground.ledger();
        let laptop = identities(&self.ground.folder.join("laptop.txt"));
        let operator = recipient(&self.ground.folder.join("laptop.txt"));
        let folder = self.ground.repository().join(".cofferdam/sealed");
        let unsealed = |id: &str| {
            let bytes = std::fs::read(folder.join(sealed::sealed_file_name(id, &operator)));
            let bytes = bytes.unwrap_or_else(|e| panic!("{when}: {id} is sealed nowhere: {e}"));
            sealed::unseal(&[&bytes], &laptop).unwrap().unwrap()
        };
        for host in HOSTS {
            let path = self.ground.host_file(host);
            let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{when}: {host}: {e}"));
            let file = KeyFile::parse(&bytes).unwrap_or_else(|e| panic!("{when}: {host}: {e}"));
            assert!(
                !file.recipients().is_empty(),
                "{when}: {host} holds nothing"
            );
            assert_eq!(mode(&path), 0o400, "{when}: {host}");
            for recipient in file.recipients() {
                let record = ledger.record_of(&recipient);
                let record = record.unwrap_or_else(|| {
                    panic!("{when}: {host} holds {recipient}, which nobody knows")
                });
                assert_eq!(unsealed(&record.id).recipient(), Some(recipient), "{when}");
            }
        }
        for record in ledger.records() {
            if record.state != State::Withdrawn {
                let recipient = unsealed(&record.id).recipient();
                assert_eq!(recipient.as_ref(), Some(&record.recipient), "{when}");
            }
        }
        // Who reads what follows from these alone.
        let now = (
            self.ground
                .documents
                .iter()
                .map(|d| self.ground.read(d))
                .collect(),
            self.ground.git(&["rev-parse", "HEAD"]),
            HOSTS
                .map(|host| std::fs::read(self.ground.host_file(host)).unwrap())
                .to_vec(),
        );
        if self.seen.borrow().as_ref() != Some(&now) {
            self.ground.expect_readable(when);
            self.seen.replace(Some(now));
        }
    }

    /// Each host holds its zone's identity alone, and nothing is left beside it.
    fn expect_rotated(&self, when: &str) {
        self.expect_all_is_well(when);
        let ledger = self.ground.ledger();
        for (host, zone) in &self.ground.hosts {
            let live = ledger.live(&Holder::Zone((*zone).to_owned())).unwrap();
            let path = self.ground.host_file(host);
            let held = identities(&path).recipients();
            assert_eq!(
                held,
                std::slice::from_ref(&live.recipient),
                "{when}: {host}"
            );
            let wanted =
                BTreeSet::from([".keys.txt.cofferdam-generation", "keys.txt"].map(str::to_owned));
            assert_eq!(names(path.parent().unwrap()), wanted, "{when}: {host}");
        }
        self.ground.expect_readable_by_hosts();
    }
}

/// How a child ended, if it did within `patience`.
fn ended(child: &mut Child, patience: Duration) -> Option<Option<i32>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::sleep(left.min(Duration::from_millis(5)));
    }
}

fn is_ssh(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "ssh")
}

/// By the library fewer: what it shares with the program was struck there. `COFFERDAM_MOMENTS` asks for another number.
fn moments() -> usize {
    let asked = std::env::var("COFFERDAM_MOMENTS").ok();
    let usual = if transport().is_none() { 200 } else { 60 };
    asked.map_or(usual, |asked| asked.parse().unwrap())
}

#[test]
fn struck_at_random_moments_a_rotation_locks_nobody_out_and_resume_finishes() {
    if !have_sshd() || !have_peers(&["git"]) {
        return;
    }
    let seed: u64 = match std::env::var("COFFERDAM_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random::<u32>().into(),
    };
    println!("COFFERDAM_SEED={seed}");
    let (total, runs) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let all = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|number| {
                let (total, runs) = (&total, &runs);
                scope.spawn(move || {
                    let sandbox = Sandbox::in_memory();
                    let name = format!("seed {seed}, lane {number}");
                    let seed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                        ^ u64::try_from(number).unwrap();
                    let mut lane = Lane::new(&sandbox, seed, &name);
                    let mut struck = Vec::new();
                    while total.load(Ordering::SeqCst) < moments() {
                        let before = struck.len();
                        lane.go_on(&mut struck);
                        total.fetch_add(struck.len() - before, Ordering::SeqCst);
                        runs.fetch_add(1, Ordering::SeqCst);
                    }
                    // Now nobody strikes.
                    lane.cofferdam(&["resume", "--yes"]).expect_code(0);
                    lane.cofferdam(&["sync", "--yes"]).expect_code(0);
                    lane.expect_rotated(&format!("{name}: at the end"));
                    lane.cofferdam(&["status"]).expect_code(0);
                    assert!(!lane.fleet.argv().contains("AGE-SECRET-KEY"));
                    struck
                })
            })
            .collect();
        let ends: Vec<_> = lanes.into_iter().map(|lane| lane.join()).collect();
        ends.into_iter()
            .flat_map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<(Strike, bool)>>()
    });
    let counts: Vec<String> = STRIKES
        .iter()
        .map(|kind| {
            format!(
                "{kind:?} {}",
                all.iter().filter(|(one, _)| one == kind).count()
            )
        })
        .collect();
    println!(
        "struck at {} moments of {} runs, {} of them within the retirement: {}",
        all.len(),
        runs.into_inner(),
        all.iter().filter(|(_, late)| *late).count(),
        counts.join(", ")
    );
    assert!(all.len() >= moments());
}
