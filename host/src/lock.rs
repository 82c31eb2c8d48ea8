//! The standard library's locks without poisoning.
//!
//! Not those of `parking_lot`, which have none either: they hand a lock over to the waiting thread every millisecond or
//! so. If that thread has no processor at that moment, the others wait until it gets one. Where all processors are busy
//! with workers, this doubled the driver's sleeps and cost a map two percent of its speed.

use std::ops::{Deref, DerefMut};
#[cfg(not(wpool_model))]
use std::sync;
use std::sync::{PoisonError, TryLockError};
use std::time::Instant;

#[cfg(wpool_model)]
use shuttle::sync;

/// A lock that ignores the panic of a thread that had it.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T: ?Sized>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { mutex: &self.0, guard: Some(guard) }
    }

    /// Takes the lock; `None` if another thread has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = match self.0.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { mutex: &self.0, guard: Some(guard) })
    }
}

/// The lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a sync::Mutex<T>,
    /// `None` only while this thread waits or runs without the lock.
    guard: Option<sync::MutexGuard<'a, T>>,
}

const HELD: &str = "the lock is held";

impl<T: ?Sized> MutexGuard<'_, T> {
    /// Runs `act` without the lock, and takes it again.
    pub(crate) fn unlocked<R>(&mut self, act: impl FnOnce() -> R) -> R {
        self.guard = None;
        let result = act();
        self.guard = Some(self.mutex.lock().unwrap_or_else(PoisonError::into_inner));
        result
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect(HELD)
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect(HELD)
    }
}

/// A condition variable.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let inner = guard.guard.take().expect(HELD);
        guard.guard = Some(self.0.wait(inner).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits at most until `deadline`. Returns whether it has passed.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> bool {
        let inner = guard.guard.take().expect(HELD);
        let left = deadline.saturating_duration_since(Instant::now());
        let (inner, _) = self.0.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner);
        guard.guard = Some(inner);
        Instant::now() >= deadline
    }
}

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

    use super::*;

    #[test]
    fn a_panic_of_the_holder_costs_the_others_nothing() {
        let mutex = std::sync::Arc::new(Mutex::new(1));
        let other = std::sync::Arc::clone(&mutex);
        let panicked = std::thread::spawn(move || {
            let _guard = other.lock();
            panic!("while it has the lock");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*mutex.lock(), 1);
        assert_eq!(mutex.try_lock().map(|guard| *guard), Some(1));
    }

    #[test]
    fn the_lock_is_free_while_a_guard_runs_something_unlocked() {
        let mutex = Mutex::new(1);
        let mut guard = mutex.lock();
        assert!(mutex.try_lock().is_none());
        guard.unlocked(|| *mutex.lock() += 1);
        assert!(*guard == 2 && mutex.try_lock().is_none());
    }

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
