//! Many iterations of a test in a few threads.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many iterations go side by side.
const THREADS: usize = 2;

/// Runs `work` for 0, 1, 2, … until one of them returns false, or panics: then so does this.
pub fn side_by_side(work: impl Fn(usize) -> bool + Sync) {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let loop_of_work = || {
        while !stop.load(Ordering::SeqCst) {
            let n = next.fetch_add(1, Ordering::SeqCst);
            match catch_unwind(AssertUnwindSafe(|| work(n))) {
                Ok(true) => {}
                Ok(false) => stop.store(true, Ordering::SeqCst),
                Err(panic) => {
                    stop.store(true, Ordering::SeqCst);
                    resume_unwind(panic);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(loop_of_work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}
