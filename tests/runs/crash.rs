//! Killed at every entry of the journal and at random moments, a split locks nobody out, and goes on or back to the end.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::ground::{First, Ground};
use crate::support::homeops::Homeops;
use crate::support::side_by_side::side_by_side;
use crate::support::{Sandbox, have_peers};

/// Where the random moments come from, unless `COFFERDAM_TEST_SEED` says otherwise.
const SEED: u64 = 20_261_123;

/// Runs a command that kills itself at its n-th crash point; whether it was killed.
pub(crate) fn crash_at(ground: &Ground<'_>, args: &[&str], n: usize) -> bool {
    let output = ground
        .command(args)
        .env("COFFERDAM_CRASH_AT", n.to_string())
        .output()
        .unwrap();
    if output.status.signal() == Some(9) {
        return true;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?} at {n}: {said}");
    false
}

#[test]
fn killed_at_every_entry() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    let entries = AtomicUsize::new(0);
    side_by_side(|n| {
        let when = format!("killed at {}", n + 1);
        let going_on = before.copy(&format!("on-{n}"));
        let killed = crash_at(&going_on, &["split", "--yes"], n + 1);
        going_on.expect_readable(&when);
        let going_back = going_on.copy(&format!("back-{n}"));
        going_on.resume_and_finish(&before, &first, &format!("{when}, then resume"));
        going_back.undo_or_finish(&before, &first, &format!("{when}, then undo"));
        going_on.remove();
        going_back.remove();
        if killed {
            entries.fetch_add(1, Ordering::SeqCst);
        }
        killed
    });
    let entries = entries.load(Ordering::SeqCst);
    println!("killed at {entries} moments");
    assert!(entries > 60, "only {entries} moments");
}

#[test]
fn killed_at_every_entry_of_a_resume() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    // In the middle of the rewrite.
    let half = before.copy("half");
    assert!(crash_at(&half, &["split", "--yes"], 60));
    side_by_side(|n| {
        let when = format!("killed at 60, resume at {}", n + 1);
        let ground = half.copy(&format!("half-{n}"));
        let killed = crash_at(&ground, &["resume"], n + 1);
        ground.expect_readable(&when);
        if n % 2 == 0 {
            ground.resume_and_finish(&before, &first, &when);
        } else {
            ground.undo_or_finish(&before, &first, &when);
        }
        ground.remove();
        killed
    });
}

#[test]
fn killed_at_every_entry_of_an_undo() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    let held = before.copy("held");
    held.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    held.expect_readable("held before retirement");
    side_by_side(|n| {
        let when = format!("undo killed at {}", n + 1);
        let ground = held.copy(&format!("held-{n}"));
        let killed = crash_at(&ground, &["undo", "--yes"], n + 1);
        ground.expect_readable(&when);
        // Either continues it, once it has begun.
        let undo = ground
            .unfinished()
            .is_some_and(|journal| journal.progress().undo.is_none());
        let on = n % 2 == 0 && !undo;
        let command: &[&str] = if on { &["resume"] } else { &["undo", "--yes"] };
        ground.run(command).expect_code(0);
        ground.expect_first(&first, &when);
        ground.remove();
        killed
    });
}

/// A small generator: the same moments every time.
struct Moments(u64);

impl Moments {
    fn of(n: usize) -> Self {
        let seed = std::env::var("COFFERDAM_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(SEED);
        let mut moments = Self(seed ^ (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        moments.next();
        moments
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Some time below `whole`.
    fn within(&mut self, whole: Duration) -> Duration {
        whole.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// Starts a command and kills it after a while; whether it was still alive, its exit code otherwise.
fn kill_after(ground: &Ground<'_>, args: &[&str], delay: Duration) -> Option<i32> {
    let mut child: Child = ground
        .command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    std::thread::sleep(delay.saturating_sub(began.elapsed()));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    // A git that outlived it may still hold the pipe open: what was said is read only from a program that ended.
    if status.code().is_some_and(|code| code != 0) {
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        println!("{args:?} after {delay:?}: {said}");
    }
    status.code()
}

/// How long a split takes here, side by side with another.
fn whole_length(before: &Ground<'_>) -> Duration {
    const RUNS: u32 = 4;
    let together = std::sync::Mutex::new(Duration::ZERO);
    side_by_side(|n| {
        if n >= RUNS as usize {
            return false;
        }
        let ground = before.copy(&format!("length-{n}"));
        let began = Instant::now();
        ground.run(&["split", "--yes"]).expect_code(0);
        *together.lock().unwrap() += began.elapsed();
        ground.expect_finished(before, "not killed");
        ground.remove();
        true
    });
    together.into_inner().unwrap() / RUNS
}

fn killed_at_random(before: &Ground<'_>, first: &First, moments: usize) {
    let whole = whole_length(before);
    let killed_alive = AtomicUsize::new(0);
    side_by_side(|n| {
        if n >= moments {
            return false;
        }
        let mut random = Moments::of(n);
        let ground = before.copy(&format!("random-{n}"));
        let delay = random.within(whole);
        let mut when = format!("moment {n}: split killed after {delay:?}");
        let code = kill_after(&ground, &["split", "--yes"], delay);
        if code.is_none() {
            killed_alive.fetch_add(1, Ordering::SeqCst);
        }
        assert!(matches!(code, None | Some(0)), "{when}: exit {code:?}");
        ground.expect_readable(&when);
        let back = n % 2 == 1;
        // The way on, or back, is killed as well now and then.
        for _ in 0..random.next() % 3 {
            let args: &[&str] = if back {
                &["undo", "--yes"]
            } else {
                &["resume"]
            };
            let delay = random.within(whole);
            when.push_str(&format!(", {} killed after {delay:?}", args[0]));
            let code = kill_after(&ground, args, delay);
            let refused = back && code == Some(1) && ground.retirement_begun();
            assert!(
                matches!(code, None | Some(0)) || refused,
                "{when}: exit {code:?}"
            );
            ground.expect_readable(&when);
        }
        let undoing = |ground: &Ground<'_>| {
            ground
                .unfinished()
                .is_some_and(|journal| journal.progress().undo.is_some())
        };
        if back || undoing(&ground) {
            ground.undo_or_finish(before, first, &when);
        } else {
            ground.resume_and_finish(before, first, &when);
        }
        ground.remove();
        true
    });
    let alive = killed_alive.load(Ordering::SeqCst);
    println!("{alive} of {moments} moments found it at work; a whole run takes {whole:?}");
    assert!(
        alive * 3 > moments,
        "{alive} of {moments}: the moments miss the run"
    );
}

#[test]
fn killed_at_200_random_moments() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    killed_at_random(&before, &first, 200);
}

#[test]
fn the_sample_repository_killed_at_random() {
    let (homeops, _) = Homeops::prepared_in(&crate::support::memory());
    let before = Ground::whole(&homeops);
    let first = before.first();
    killed_at_random(&before, &first, 6);
}

#[test]
fn real_sops_agrees_after_a_crash() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    for n in [40, 70, 90] {
        let ground = before.copy(&format!("sops-{n}"));
        crash_at(&ground, &["split", "--yes"], n);
        ground.run(&["resume"]).expect_code(0);
        ground.expect_sops_agrees();
    }
}
