//! Work on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;

/// Calls `work` for `count` items on up to `workers` threads, and returns the results in the order
/// of the items.
///
/// # Errors
/// The error of the first item that failed; items that have not begun by then are skipped.
pub fn parallel_map<T: Send>(
    workers: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Vec<Mutex<Option<Result<T>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..workers.min(count) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = results.get(index) else { break };
                    let result = work(index);
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    *slot.lock().expect("one thread an item") = Some(result);
                }
            });
        }
    });
    // Items begin in order, so every missing result comes after the error that stopped the work.
    results
        .into_iter()
        .map_while(|slot| slot.into_inner().expect("the threads have ended"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn results_come_in_the_order_of_the_items_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let squares =
                parallel_map(threads, 20, |index| Ok(index * index)).expect("nothing fails");
            assert_eq!(squares, (0..20).map(|index| index * index).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_is_the_one_that_is_told() {
        let outcome =
            parallel_map(3, 20, |index| if index >= 5 { bail!("item {index}") } else { Ok(index) });
        assert_eq!(outcome.expect_err("items fail").to_string(), "item 5");
    }
}
