//! Cells, on which threads and wakers wait: one for each future, map, stream of emitted values, reader of logs and object call.
//!
//! A cell has a lock of its own and knows nothing of the pool: the runtime puts results in, the public face takes them
//! out.

pub(crate) mod emitted;
pub(crate) mod future;
pub(crate) mod log;
pub(crate) mod map;
pub(crate) mod object_call;

use std::time::Instant;

use crate::lock::{Condvar, MutexGuard};

/// Waits on `changed` until `ready` returns a value; `None` if it has not by the deadline.
///
/// Without a deadline it waits for ever. A deadline that has passed looks once.
pub(crate) fn wait_until<S, T>(
    changed: &Condvar,
    guard: &mut MutexGuard<'_, S>,
    deadline: Option<Instant>,
    mut ready: impl FnMut(&mut S) -> Option<T>,
) -> Option<T> {
    loop {
        if let Some(value) = ready(guard) {
            return Some(value);
        }
        match deadline {
            None => changed.wait(guard),
            Some(at) if changed.wait_until(guard, at) => return ready(guard),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::lock::Mutex;

    use super::*;

    #[test]
    fn a_value_that_is_there_is_returned_whatever_the_deadline() {
        let (state, changed) = (Mutex::new(Some(7)), Condvar::new());
        let past = Instant::now().checked_sub(Duration::from_secs(1));
        assert_eq!(wait_until(&changed, &mut state.lock(), past, |state| *state), Some(7));
    }

    #[test]
    fn a_deadline_that_has_passed_looks_once() {
        let (state, changed) = (Mutex::new(None::<u8>), Condvar::new());
        let mut looks = 0;
        let mut look = |state: &mut Option<u8>| {
            looks += 1;
            *state
        };
        assert_eq!(wait_until(&changed, &mut state.lock(), Some(Instant::now()), &mut look), None);
        assert!((1..=2).contains(&looks), "{looks}");
    }

    #[test]
    fn a_change_from_another_thread_ends_the_wait() {
        let (state, changed) = (Mutex::new(0), Condvar::new());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                wait_until(&changed, &mut state.lock(), None, |state| (*state == 3).then_some(*state))
            });
            for _ in 0..3 {
                *state.lock() += 1;
                changed.notify_all();
            }
            assert_eq!(waiter.join().unwrap(), Some(3));
        });
    }
}
