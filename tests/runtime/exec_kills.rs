//! `cofferdam exec` with files, struck at random moments: whoever is killed and how, nothing is left after the next start, exit
//! codes are right, and no process stays behind.

#![cfg(target_os = "linux")]

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Ran;
use crate::support::runtime::{Bed, ended, is_ignored, pid, processes_with};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const ROUNDS: u64 = 200;

/// As many at a time as make the machine busy, and moments more random.
const AT_ONCE: u64 = 4;

/// Two documents.
fn bed() -> Option<Bed> {
    let bed = Bed::new()?;
    bed.stack.write(".sops.env", "A=a-secret-value\n");
    bed.stack
        .write("b.sops.json", "{\"b\": \"another-secret\"}");
    Some(bed)
}

fn exec(bed: &Bed, args: &[&str]) -> Command {
    let mut command = bed.exec(&["--dir", ".", "--"]);
    command.args(args);
    command
}

/// Whom a strike hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    Program,
    Wrapper,
    Both,
    Guard,
    /// The guard, and the wrapper after it: nobody is left to see to anything.
    GuardAndWrapper,
    /// The program with what it started, and the guard.
    Group,
}

const STRIKES: [(Whom, Signal); 12] = [
    (Whom::Program, Signal::KILL),
    (Whom::Program, Signal::TERM),
    // A shell itself waits for what it runs.
    (Whom::Group, Signal::INT),
    (Whom::Wrapper, Signal::KILL),
    (Whom::Wrapper, Signal::TERM),
    (Whom::Wrapper, Signal::INT),
    (Whom::Both, Signal::KILL),
    (Whom::Both, Signal::TERM),
    (Whom::Guard, Signal::KILL),
    (Whom::GuardAndWrapper, Signal::KILL),
    (Whom::Group, Signal::KILL),
    (Whom::Group, Signal::TERM),
];

/// What came of the rounds.
#[derive(Debug, Default)]
struct Tally {
    running: usize,
    left_at_first: usize,
}

#[test]
fn struck_at_random_moments() {
    let seed = 20261125;
    println!("seed {seed}");
    let tallies: Vec<Option<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|n| scope.spawn(move || bed().map(|bed| strike(&bed, n, seed + n))))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let Some(tallies) = tallies.into_iter().collect::<Option<Vec<Tally>>>() else {
        return;
    };
    let running: usize = tallies.iter().map(|t| t.running).sum();
    let left: usize = tallies.iter().map(|t| t.left_at_first).sum();
    println!("{running} of {ROUNDS} ran their program, {left} left something at first");
    assert!(running > 40 && running < 190, "{running}");
}

fn strike(bed: &Bed, number: u64, seed: u64) -> Tally {
    let mut random = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let mark = format!("kill-test-{}-{number}", std::process::id());
    let script = "echo $$ > up.new; mv up.new up; cat .env b.json >/dev/null; sleep 300; true";
    for round in 0..ROUNDS / AT_ONCE {
        let (whom, signal) = STRIKES[random.gen_range(0..STRIKES.len())];
        if is_ignored(signal.as_raw()) {
            continue;
        }
        let _ = std::fs::remove_file(bed.path("up"));
        let mut child = exec(bed, &["sh", "-c", script, &mark])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.gen_range(0..200_000)));
        let program = std::fs::read_to_string(bed.path("up"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .and_then(Pid::from_raw);
        let group = program.and_then(|program| rustix::process::getpgid(Some(program)).ok());
        tally.running += usize::from(program.is_some());
        let what = format!("round {round} of {number}: {whom:?} {signal:?}, program {program:?}");
        let wrapper = pid(&child);
        let died = 128 + signal.as_raw();
        // What the wrapper may end with: a code, or a signal of its own (negative).
        let expected: Vec<i32> = match (program, group) {
            (Some(program), Some(group)) => {
                // Gone already is as good.
                let kill = |pid| {
                    let _ = kill_process(pid, signal);
                };
                match whom {
                    Whom::Program => kill(program),
                    Whom::Wrapper => kill(wrapper),
                    Whom::Both => {
                        kill(wrapper);
                        kill(program);
                    }
                    Whom::Guard => {
                        kill(group);
                        // The wrapper sees to its program all the same.
                        let _ = kill_process(wrapper, Signal::TERM);
                    }
                    Whom::GuardAndWrapper => {
                        kill(group);
                        kill(wrapper);
                    }
                    Whom::Group => {
                        let _ = kill_process_group(group, signal);
                    }
                }
                match (whom, signal) {
                    (Whom::Wrapper | Whom::Both | Whom::GuardAndWrapper, Signal::KILL) => vec![-9],
                    (Whom::Guard, _) => vec![128 + 15],
                    _ => vec![died],
                }
            }
            // Nothing runs yet: the wrapper dies of it, or holds it for the program.
            _ => {
                kill_process(wrapper, signal).unwrap();
                vec![-signal.as_raw(), died]
            }
        };
        let status = ended(&mut child, &what);
        let code = status.code().or(status.signal().map(|signal| -signal));
        assert!(
            code.is_some_and(|code| expected.contains(&code)),
            "{what}: {code:?}"
        );
        tally.left_at_first += usize::from(!bed.left().is_empty());
        // What a program leaves when it alone is struck is its own affair, as without us; and nobody is left to end a
        // program whose wrapper and guard were both killed.
        let is_alone = matches!(whom, Whom::Program | Whom::Both | Whom::GuardAndWrapper);
        if let Some(group) = group.filter(|_| is_alone) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        Ran::of(&mut exec(bed, &["true"])).expect_code(0);
        assert_eq!(bed.left(), Vec::<PathBuf>::new(), "{what}");
        for link in [".env", "b.json"] {
            assert!(
                !bed.path(link).is_symlink() && !bed.path(link).exists(),
                "{what}: {link}"
            );
        }
        let began = Instant::now();
        while !processes_with(&mark).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(10), "orphans: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    tally
}
