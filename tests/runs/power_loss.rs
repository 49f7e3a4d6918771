//! The power fails at any moment of a split, on the laptop and on all targets at once: what was not synced is gone, and still
//! every reader opens what it must, and the run goes on, or back.

use crate::support::Sandbox;
use crate::support::ground::Ground;
use crate::support::replay::Trace;
use crate::support::side_by_side::side_by_side;

/// Every how many moments the run is carried to its end: readers are looked at after each.
const STRIDE: usize = 9;

fn lose_power(args: &[&str], begin: &Ground<'_>, before: &Ground<'_>) {
    let first = before.first();
    let traced = begin.copy("traced");
    let trace = begin.sandbox.path().join("trace");
    let mut command = traced.command(args);
    command.env("COFFERDAM_TRACE_IO", &trace);
    crate::support::Ran::of(&mut command).expect_code(0);
    let trace = Trace::read(&trace);
    println!("{args:?}: {} operations", trace.len());
    assert!(trace.len() > 100);
    side_by_side(|done| {
        if done > trace.len() {
            return false;
        }
        let when = format!("{args:?}: power lost before {done} ({})", trace.name(done));
        let ground = begin.copy(&format!("left-{done}"));
        trace.lose_power(done, &traced.folder, &ground.folder);
        ground.expect_readable(&when);
        if done % STRIDE == 0 || done == trace.len() {
            let undoing = ground
                .unfinished()
                .is_some_and(|journal| journal.progress().undo.is_some());
            if undoing || done % (2 * STRIDE) == 0 {
                ground.undo_or_finish(before, &first, &when);
            } else {
                ground.resume_and_finish(before, &first, &when);
            }
        }
        ground.remove();
        true
    });
}

#[test]
fn during_a_split() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    lose_power(&["split", "--yes"], &before, &before);
}

#[test]
fn during_an_undo() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let held = before.copy("held");
    held.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    lose_power(&["undo", "--yes"], &held, &before);
}
