//! Who reads from the workers: the driver, or the one thread that waits for a result.
//!
//! A result that the driver reads has to wake up the thread that wants it. If only one thread waits for
//! anything, it takes the ears and reads for itself. Whoever has the ears handles all news, its own and
//! others', so nothing depends on who it is; only these can go wrong, and each is seen to here:
//!
//! | what | why nobody sleeps through it |
//! |---|---|
//! | the driver has the ears | the flag goes up, then the driver is woken; it sees the flag and leaves the ears alone |
//! | two threads want to lead | one of them raises the flag; the other waits for its result as if there were no lead |
//! | the result comes from elsewhere (a cancel, a close) | it is visible before the flag is looked at, and whoever sees the flag wakes the leader |
//! | others come while somebody leads | the leader hears for them too, and calls the driver when it leaves jobs behind |
//! | nobody leads, nobody listens | the driver rests only while there are no jobs, and for a lease at most |

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::core::Shared;
use super::driver::Ears;

/// For so long the driver leaves the ears to the next one who waits for a result, after somebody has.
const LEASE: Duration = Duration::from_millis(10);

thread_local! {
    /// The lead that this thread has, as an address that nothing is done with but comparing.
    static LED: Cell<usize> = const { Cell::new(0) };
}

/// The ears, and who has them.
#[derive(Default)]
pub(super) struct Lead {
    ears: Mutex<Ears>,
    /// A thread that waits for a result has the ears, or is about to.
    taken: AtomicBool,
    /// How often one had.
    count: AtomicU64,
    driver: OnceLock<Thread>,
}

impl Lead {
    /// The thread that calls this is the driver.
    pub(super) fn set_driver(&self) {
        // Nobody else calls it, and it does once.
        let _set = self.driver.set(std::thread::current());
    }

    /// Has the driver look whether it should read again.
    pub(super) fn call_driver(&self) {
        if let Some(driver) = self.driver.get() {
            driver.unpark();
        }
    }

    /// Whether a thread other than this one leads.
    pub(super) fn is_another_thread(&self) -> bool {
        self.taken.load(Ordering::SeqCst) && LED.get() != self.address()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn try_ears(&self) -> Option<MutexGuard<'_, Ears>> {
        match self.ears.try_lock() {
            Ok(ears) => Some(ears),
            // A panic while reading is a bug of ours; what was read is as good as it was.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Shared {
    /// The driver's turn: it reads until the deadline or until something has happened, or leaves that to
    /// somebody who waits. `led` is how often somebody had led when it was here last.
    pub(super) fn listen_as_driver(&self, led: &mut u64, deadline: Option<Instant>) {
        let count = self.lead.count.load(Ordering::SeqCst);
        // Whoever has just led will most likely do so again.
        let resting = std::mem::replace(led, count) != count && self.open_jobs() == 0;
        let ears =
            if resting || self.lead.taken.load(Ordering::SeqCst) { None } else { self.lead.try_ears() };
        match ears {
            Some(mut ears) => ears.listen(self, deadline),
            None => {
                let lease = Instant::now() + LEASE;
                let until = deadline.map_or(lease, |at| at.min(lease));
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// Reads from the workers on this thread until `done` says so or the time is over, if nobody but this
    /// thread waits for anything. Returns at once if there are others, who need the driver.
    pub(super) fn lead(self: &Arc<Self>, done: impl Fn() -> bool, deadline: Option<Instant>) {
        if self.open_jobs() != 1 || self.lead.taken.swap(true, Ordering::SeqCst) {
            return;
        }
        self.lead.count.fetch_add(1, Ordering::SeqCst);
        let mut ears = self.lead.try_ears().unwrap_or_else(|| {
            self.poller.wake();
            self.lead.ears.lock().unwrap_or_else(PoisonError::into_inner)
        });
        let before = LED.replace(self.lead.address());
        self.conversing.store(true, Ordering::Relaxed);
        while !done() && deadline.is_none_or(|at| at > Instant::now()) {
            ears.listen(self, deadline);
        }
        LED.set(before);
        drop(ears);
        self.lead.taken.store(false, Ordering::SeqCst);
        if self.open_jobs() > 0 {
            self.lead.call_driver();
        }
    }
}
