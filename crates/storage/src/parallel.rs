//! Work that is done in parts, some beside each other.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;

/// Does `act` for every part, on so many threads, each of which calls `prepare` first; with one it is this thread. What
/// comes of it is in the order of the parts. After an error no further part is begun.
pub fn each<P: Sync, T: Send>(
    threads: usize,
    parts: &[P],
    prepare: fn(),
    act: impl Fn(&P) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, T)>> {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(number) else {
                return Ok(done);
            };
            match act(part) {
                Ok(one) => done.push((number, one)),
                Err(error) => {
                    next.store(parts.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    if threads <= 1 {
        return Ok(work()?.into_iter().map(|(_, one)| one).collect());
    }
    let in_thread = || {
        prepare();
        work()
    };
    let mut done = std::thread::scope(|scope| {
        let count = threads.min(parts.len());
        let all: Vec<_> = (0..count).map(|_| scope.spawn(in_thread)).collect();
        let mut done = Vec::with_capacity(parts.len());
        for one in all {
            let joined = one.join();
            done.extend(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok::<_, crate::StorageError>(done)
    })?;
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, one)| one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StorageError;

    #[test]
    fn what_comes_of_it_is_in_order_and_an_error_ends_it() {
        let parts: Vec<u32> = (0..100).collect();
        for threads in [1, 2, 7, 200] {
            let doubled = each(threads, &parts, || {}, |part| Ok(part * 2)).unwrap();
            assert!(
                doubled
                    .iter()
                    .zip(0..)
                    .all(|(found, number)| *found == number * 2)
            );
            let failed = each(
                threads,
                &parts,
                || {},
                |part| match part {
                    50 => Err(StorageError::CutAgain),
                    _ => Ok(()),
                },
            );
            assert!(matches!(failed, Err(StorageError::CutAgain)));
        }
        assert!(
            each(4, &[], || {}, |part: &u32| Ok(*part))
                .unwrap()
                .is_empty()
        );
    }
}
