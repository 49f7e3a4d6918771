//! Many targets at once, but not too many: servers drop logins that come in crowds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many are worked on at a time; sshd begins to drop connections at ten that have not logged in yet.
///
/// Source: `MaxStartups 10:30:100`, the default of sshd_config(5).
const AT_ONCE: usize = 8;

/// Calls `work` for each item, a bounded number at a time; the results in the items' order.
pub fn abreast<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else {
                        break;
                    };
                    let result = work(item);
                    results
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((at, result));
                }
            });
        }
    });
    let mut results = results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_done_in_order_and_no_more_than_the_bound_at_once() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<usize> = (0..40).collect();
        let doubled = abreast(&items, |item| {
            let running = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(running, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(2));
            now.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert_eq!(doubled, (0..40).map(|item| item * 2).collect::<Vec<_>>());
        assert!(most.into_inner() <= AT_ONCE);
        assert!(abreast(&[], |item: &usize| *item).is_empty());
    }
}
