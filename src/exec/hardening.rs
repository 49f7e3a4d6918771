//! Keeping this process's memory to itself: no core dump, no reading by others of the same user, no swapping.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: asks the kernel about this process"
)]

use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// What could be had. None of it lasts beyond `execve` but the limit on core dumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardened {
    /// A crash writes no core file. The child inherits this; it can raise the limit again.
    pub writes_no_core: bool,
    /// Other processes of the same user can neither read this one's memory nor attach to it.
    pub is_private: bool,
    /// No page that is in use, now or later, is swapped.
    pub is_locked: bool,
}

/// Does what the system allows. What it refuses is no failure: the answer says so.
pub fn harden() -> Hardened {
    harden_for_now(lock)
}

/// The same for a process that is about to become another program: it is locked only where a swap area is on. Locking what
/// is there costs more than all else that such a process does; one that stays should [`lock`] when it has time.
pub fn harden_briefly() -> Hardened {
    harden_for_now(|| swap_is_on() && lock())
}

fn harden_for_now(lock: impl FnOnce() -> bool) -> Hardened {
    let core = rustix::process::getrlimit(Resource::Core);
    let none = Rlimit {
        current: Some(0),
        maximum: core.maximum,
    };
    Hardened {
        writes_no_core: rustix::process::setrlimit(Resource::Core, none).is_ok(),
        is_private: rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok(),
        is_locked: lock(),
    }
}

/// Keeps every page from the swap area, whether there is one yet or not; whether that could be had.
///
/// Done only where no limit holds: within one, later allocations would fail, and with them the run.
pub fn lock() -> bool {
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    may_lock_everything() && rustix::mm::mlockall(flags).is_ok()
}

/// Whether a swap area is on; yes if that cannot be told.
fn swap_is_on() -> bool {
    std::fs::read_to_string("/proc/swaps").map_or(true, |areas| areas.lines().count() > 1)
}

fn may_lock_everything() -> bool {
    if rustix::process::getrlimit(Resource::Memlock)
        .current
        .is_none()
    {
        return true;
    }
    // The right counts in the first user namespace only.
    let first = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let rights = rustix::thread::capabilities(None);
    first
        && rights.is_ok_and(|r| {
            r.effective
                .contains(rustix::thread::CapabilitySet::IPC_LOCK)
        })
}
