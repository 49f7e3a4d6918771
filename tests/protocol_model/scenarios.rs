//! The configurations: each bounded in how often things happen that have no natural end. Kills, lost answers and pulls are
//! bounded in none.

use crate::cast::{Scenario, Wish};
use crate::world::Left;

const ONCE: Left = Left {
    runs: 1,
    edits: 0,
    commits: 0,
    reverts: 0,
    lates: 0,
    snapshots: 0,
    hooks: 0,
    ships: 0,
    takeovers: 0,
};

/// Two zones with a reader each, before their split.
const SPLIT: Scenario = Scenario {
    name: "split",
    zones: 2,
    readers: &[(0, true), (1, true)],
    documents: &[&[0], &[1]],
    late: None,
    desks: 1,
    remote: false,
    is_split: false,
    wishes: &[Wish::Split],
    flaky: 0,
    grace: false,
    mistyped: false,
    two_roles: false,
    unasked: false,
    forwards_only: false,
    left: ONCE,
};

/// The same after it.
const ROTATE: Scenario = Scenario {
    name: "rotate",
    is_split: true,
    wishes: &[Wish::Rotate(0)],
    ..SPLIT
};

/// One zone with one reader, and a remote.
const REMOTE: Scenario = Scenario {
    name: "remote",
    zones: 1,
    readers: &[(0, true)],
    documents: &[&[0]],
    remote: true,
    ..SPLIT
};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        SPLIT,
        Scenario {
            name: "split of three zones, four readers, a document of two zones",
            zones: 3,
            readers: &[(0, true), (0, true), (1, true), (2, false)],
            documents: &[&[0], &[0, 1], &[2]],
            ..SPLIT
        },
        Scenario {
            name: "split, a reader restored from a snapshot",
            left: Left {
                snapshots: 1,
                ..ONCE
            },
            ..SPLIT
        },
        Scenario {
            name: "split, an edit",
            left: Left { edits: 1, ..ONCE },
            ..SPLIT
        },
        Scenario {
            name: "split, a colleague commits in the same clone",
            left: Left { commits: 1, ..ONCE },
            ..SPLIT
        },
        Scenario {
            name: "split, a late branch",
            late: Some((0, 0)),
            left: Left { lates: 1, ..ONCE },
            ..SPLIT
        },
        Scenario {
            name: "split, a revert",
            left: Left { reverts: 1, ..ONCE },
            ..SPLIT
        },
        Scenario {
            name: "split, a hook that leaves a document out",
            readers: &[(0, false), (1, true)],
            left: Left { hooks: 1, ..ONCE },
            ..SPLIT
        },
        Scenario {
            name: "split, a reader that may not answer, and going on without it",
            flaky: 1,
            ..SPLIT
        },
        Scenario {
            name: "split, a mistyped operator",
            mistyped: true,
            ..SPLIT
        },
        Scenario {
            name: "split, an operator with the shared identity",
            two_roles: true,
            ..SPLIT
        },
        Scenario {
            name: "rotate twice",
            left: Left { runs: 2, ..ONCE },
            ..ROTATE
        },
        Scenario {
            name: "rotate without one of two readers, then sync",
            readers: &[(0, true), (0, true)],
            zones: 1,
            documents: &[&[0]],
            flaky: 1,
            forwards_only: true,
            wishes: &[Wish::Rotate(0), Wish::Sync],
            left: Left { runs: 2, ..ONCE },
            ..ROTATE
        },
        Scenario {
            name: "rotate twice, with a reader that may not answer",
            readers: &[(0, true)],
            zones: 1,
            documents: &[&[0]],
            flaky: 1,
            left: Left { runs: 2, ..ONCE },
            ..ROTATE
        },
        Scenario {
            name: "rotate, a late document in another zone's place",
            late: Some((1, 0)),
            left: Left { lates: 1, ..ONCE },
            ..ROTATE
        },
        Scenario {
            name: "rotate, then revoke, grace not over",
            grace: true,
            zones: 1,
            readers: &[(0, true), (0, true)],
            documents: &[&[0]],
            wishes: &[Wish::Rotate(0), Wish::Revoke(0)],
            left: Left { runs: 2, ..ONCE },
            ..ROTATE
        },
        Scenario {
            name: "remote, a colleague pushes an edit",
            left: Left { commits: 1, ..ONCE },
            ..REMOTE
        },
        Scenario {
            name: "remote, a revert",
            left: Left { reverts: 1, ..ONCE },
            ..REMOTE
        },
        Scenario {
            name: "remote, a late branch",
            late: Some((0, 0)),
            left: Left { lates: 1, ..ONCE },
            ..REMOTE
        },
        Scenario {
            name: "remote, two operators",
            desks: 2,
            left: Left { runs: 2, ..ONCE },
            ..REMOTE
        },
        Scenario {
            name: "remote, taking over",
            desks: 2,
            left: Left {
                takeovers: 1,
                ..ONCE
            },
            ..REMOTE
        },
        Scenario {
            name: "remote, a stale clone ships while another rotates",
            desks: 2,
            is_split: true,
            wishes: &[Wish::Rotate(0)],
            left: Left { ships: 1, ..ONCE },
            ..REMOTE
        },
        Scenario {
            name: "remote that does not answer a stale clone, which ships",
            desks: 2,
            is_split: true,
            wishes: &[Wish::Rotate(0)],
            unasked: true,
            forwards_only: true,
            left: Left { ships: 1, ..ONCE },
            ..REMOTE
        },
    ]
}

/// The configuration whose name begins so.
pub fn scenario(name: &str) -> Scenario {
    let mut all = scenarios().into_iter();
    all.find(|s| s.name.starts_with(name)).unwrap()
}
