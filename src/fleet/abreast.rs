//! Many targets side by side, but not any number.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// How many are worked on at a time. Each costs two `ssh` processes and a handful of descriptors here, and waits most of
/// the time: a wide front makes a fleet as quick as its slowest host. Logins that crowd one jump host, and are dropped for
/// that (`MaxStartups 10:30:100` in sshd_config(5)), are tried again.
const AT_ONCE: usize = 64;

/// Calls `work` for each item, a bounded number at a time; the results in the items' order.
pub fn abreast<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let mut results = Vec::with_capacity(items.len());
    let told: Result<(), std::convert::Infallible> = abreast_telling(items, work, |at, result| {
        results.push((at, result));
        Ok(())
    });
    match told {
        Ok(()) => {}
        Err(never) => match never {},
    }
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Calls `work` for each item, a bounded number at a time, and `tell` on the calling thread for each result as it comes,
/// with the item's index.
///
/// # Errors
/// The first of `tell`: nothing new is begun then, and what is under way is waited for.
pub fn abreast_telling<T: Sync, R: Send, E>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut tell: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let (next, work) = (&next, &work);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            let sender = sender.clone();
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else {
                        break;
                    };
                    // Nobody listens any more after a failure.
                    if sender.send((at, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (at, result) in receiver {
            if let Err(error) = tell(at, result) {
                next.store(items.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_done_in_order_and_no_more_than_the_bound_at_once() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<usize> = (0..200).collect();
        let doubled = abreast(&items, |item| {
            let running = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(running, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(2));
            now.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert_eq!(doubled, (0..200).map(|item| item * 2).collect::<Vec<_>>());
        assert!(most.into_inner() <= AT_ONCE);
        assert!(abreast(&[], |item: &usize| *item).is_empty());
    }
    #[test]
    fn after_a_failure_nothing_new_is_begun() {
        let begun = AtomicUsize::new(0);
        let items: Vec<usize> = (0..1000).collect();
        let told = abreast_telling(
            &items,
            |item| {
                begun.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(5));
                *item
            },
            |_, item| if item >= 3 { Err(item) } else { Ok(()) },
        );
        assert!(told.is_err());
        assert!(begun.into_inner() < 500);
    }
}
