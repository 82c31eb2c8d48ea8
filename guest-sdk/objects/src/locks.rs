//! Locks, semaphores and conditions. Acquiring returns a guard, and dropping the guard releases, as the end of Python's
//! `with` does.

use std::time::Duration;

use wpool_abi::object::{Call, ObjectError, Reply, Rights, Wait};

use crate::Handle;
use crate::handle::{at_most, flag, object, unexpected};

object! {
    /// A mutual exclusion lock. Its holder is a task, a thread of the host, or an `.await` of the host. The lock of a
    /// task that ends is released; if the task failed, the lock is [poisoned](Guard::poisoned).
    Lock<>: Lock, Rights::ALL
}

object! {
    /// A reentrant lock: its holder may acquire it again, and holds it until every guard is dropped.
    RLock<>: RLock, Rights::ALL
}

object! {
    /// A semaphore: a number of permits. Permits of a task that ends are released.
    Semaphore<>: Semaphore, Rights::ALL
}

object! {
    /// A condition variable with a reentrant lock: its holder releases the lock while it waits to be notified.
    Condition<>: Condition, Rights::ALL
}

/// A held lock. Dropping it releases the lock.
#[derive(Debug)]
#[must_use = "dropped at once, it releases the lock"]
pub struct Guard<H: Handle> {
    handle: H,
    poisoned: bool,
}

impl<H: Handle> Guard<H> {
    /// Returns whether a holder has failed since [`clear_poison`](Self::clear_poison) was last called: the lock's data
    /// may be inconsistent.
    pub fn poisoned(&self) -> bool {
        self.poisoned
    }

    /// Clears the poison: the lock's data is consistent again.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn clear_poison(&mut self) -> Result<(), ObjectError> {
        self.handle.call(Call::ClearPoison, Wait::NonBlocking)?;
        self.poisoned = false;
        Ok(())
    }
}

impl<H: Handle> Drop for Guard<H> {
    fn drop(&mut self) {
        // It fails only if the pool is gone, and the lock with it.
        let _gone = self.handle.post(Call::Release(1));
    }
}

macro_rules! locking {
    ($($name:ident),*) => { $(
        impl<H: Handle> $name<H> {
            /// Acquires the lock, and waits while another party holds it.
            ///
            /// # Errors
            /// [`ObjectError::Deadlock`] if waiting closes a cycle of parties that wait for each other, and the caller
            /// is the youngest of them.
            pub fn acquire(&self) -> Result<Guard<H>, ObjectError> {
                self.guard(acquire(&self.handle, Wait::Forever))
            }

            /// Acquires the lock, and waits for at most `timeout` while another party holds it.
            ///
            /// # Errors
            /// [`ObjectError::TimedOut`] if another party still holds it, and as [`acquire`](Self::acquire).
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Guard<H>, ObjectError> {
                self.guard(acquire(&self.handle, at_most(timeout)))
            }

            /// Acquires the lock if no other party holds it.
            ///
            /// # Errors
            /// [`ObjectError::Held`] if another party holds it.
            pub fn try_acquire(&self) -> Result<Guard<H>, ObjectError> {
                self.guard(acquire(&self.handle, Wait::NonBlocking))
            }

            /// Acquires the lock, for an `.await`. The holder is then the guard and not the thread, which cannot
            /// acquire the lock until the guard is dropped.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub async fn acquire_async(&self) -> Result<Guard<H>, ObjectError> {
                let handle = self.handle.detached();
                acquire_async(&handle).await.map(|poisoned| Guard { handle, poisoned })
            }

            /// Returns whether any party holds the lock. The answer may be outdated when it arrives.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn locked(&self) -> Result<bool, ObjectError> {
                flag(&self.handle, Call::State, Wait::NonBlocking)
            }

            fn guard(&self, acquired: Result<bool, ObjectError>) -> Result<Guard<H>, ObjectError> {
                acquired.map(|poisoned| Guard { handle: self.handle.bound(), poisoned })
            }
        }
    )* };
}

locking!(Lock, RLock);

/// One acquired permit of a semaphore. Dropping it releases the permit.
#[derive(Debug)]
#[must_use = "dropped at once, it releases the semaphore"]
pub struct SemaphoreGuard<H: Handle> {
    handle: Option<H>,
}

impl<H: Handle> SemaphoreGuard<H> {
    /// Gives up the permit without releasing it: another party releases it by [`Semaphore::release`].
    pub fn forget(mut self) {
        // It fails only if the pool is gone, and the semaphore with it.
        let _gone = self.handle.take().map(|handle| handle.post(Call::Disown));
    }
}

impl<H: Handle> Drop for SemaphoreGuard<H> {
    fn drop(&mut self) {
        // It fails only if the pool is gone, and the semaphore with it.
        let _gone = self.handle.as_ref().map(|handle| handle.post(Call::Release(1)));
    }
}

impl<H: Handle> Semaphore<H> {
    /// Acquires a permit, and waits while there is none.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn acquire(&self) -> Result<SemaphoreGuard<H>, ObjectError> {
        self.guard(acquire(&self.handle, Wait::Forever))
    }

    /// Acquires a permit, and waits for at most `timeout` while there is none.
    ///
    /// # Errors
    /// [`ObjectError::TimedOut`] if there is still none.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<SemaphoreGuard<H>, ObjectError> {
        self.guard(acquire(&self.handle, at_most(timeout)))
    }

    /// Acquires a permit, for an `.await`.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub async fn acquire_async(&self) -> Result<SemaphoreGuard<H>, ObjectError> {
        let handle = self.handle.detached();
        acquire_async(&handle).await?;
        Ok(SemaphoreGuard { handle: Some(handle) })
    }

    /// Acquires a permit if there is one.
    ///
    /// # Errors
    /// [`ObjectError::Held`] if there is none.
    pub fn try_acquire(&self) -> Result<SemaphoreGuard<H>, ObjectError> {
        self.guard(acquire(&self.handle, Wait::NonBlocking))
    }

    /// Adds `times` permits, whichever party acquired them.
    ///
    /// # Errors
    /// [`ObjectError::TooOften`] if the semaphore is bounded and would have more permits than at the start.
    pub fn release(&self, times: u32) -> Result<(), ObjectError> {
        self.handle.call(Call::Release(times), Wait::NonBlocking).map(drop)
    }

    /// Returns the number of free permits.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn get_value(&self) -> Result<u64, ObjectError> {
        match self.handle.call(Call::Size, Wait::NonBlocking)? {
            Reply::Size(count, _) => Ok(count),
            _ => unexpected(),
        }
    }

    fn guard(&self, acquired: Result<bool, ObjectError>) -> Result<SemaphoreGuard<H>, ObjectError> {
        acquired.map(|_| SemaphoreGuard { handle: Some(self.handle.bound()) })
    }
}

impl<H: Handle> Condition<H> {
    /// Acquires the condition's lock, and waits while another party holds it.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub fn acquire(&self) -> Result<ConditionGuard<H>, ObjectError> {
        let poisoned = acquire(&self.handle, Wait::Forever)?;
        Ok(ConditionGuard { guard: Guard { handle: self.handle.bound(), poisoned } })
    }

    /// Acquires the condition's lock, for an `.await`. The holder is then the guard and not the thread.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn acquire_async(&self) -> Result<ConditionGuard<H>, ObjectError> {
        let handle = self.handle.detached();
        let poisoned = acquire_async(&handle).await?;
        Ok(ConditionGuard { guard: Guard { handle, poisoned } })
    }
}

/// The held lock of a condition. Dropping it releases the lock.
#[derive(Debug)]
#[must_use = "dropped at once, it releases the condition's lock"]
pub struct ConditionGuard<H: Handle> {
    guard: Guard<H>,
}

impl<H: Handle> ConditionGuard<H> {
    /// Releases the lock, waits to be notified, and acquires the lock again.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn wait(&self) -> Result<(), ObjectError> {
        flag(&self.guard.handle, Call::Wait, Wait::Forever).map(drop)
    }

    /// Releases the lock, waits to be notified, and acquires the lock again, for an `.await`. Dropped early, it does
    /// not acquire the lock again.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub async fn wait_async(&self) -> Result<(), ObjectError> {
        self.guard.handle.call_async(Call::Wait, Wait::Forever).await.map(drop)
    }

    /// Releases the lock, waits to be notified for at most `timeout`, and acquires the lock again. Returns false if it
    /// was not notified in that time.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        flag(&self.guard.handle, Call::Wait, at_most(timeout))
    }

    /// Waits until `so` returns true. It is called at first and after each notification, with the lock held.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn wait_for(&self, mut so: impl FnMut() -> bool) -> Result<(), ObjectError> {
        while !so() {
            self.wait()?;
        }
        Ok(())
    }

    /// Waits for at most `timeout` until `so` returns true, and returns its last result. A guest has no clock: in a
    /// task the timeout starts anew with each notification.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn wait_for_timeout(
        &self,
        mut so: impl FnMut() -> bool,
        timeout: Duration,
    ) -> Result<bool, ObjectError> {
        let began = H::now();
        while !so() {
            let elapsed =
                began.zip(H::now()).map_or(Duration::ZERO, |(began, now)| now.saturating_sub(began));
            let left = timeout.saturating_sub(elapsed);
            if left.is_zero() || !self.wait_timeout(left)? {
                return Ok(so());
            }
        }
        Ok(true)
    }

    /// Wakes at most `most` waiting parties, and returns the number of them.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn notify(&self, most: u32) -> Result<u64, ObjectError> {
        match self.guard.handle.call(Call::Notify(most), Wait::NonBlocking)? {
            Reply::Number(woken) => Ok(woken),
            _ => unexpected(),
        }
    }

    /// Wakes all waiting parties, and returns the number of them.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn notify_all(&self) -> Result<u64, ObjectError> {
        self.notify(u32::MAX)
    }
}

/// Acquires, and returns whether the lock is poisoned.
fn acquire<H: Handle>(handle: &H, wait: Wait) -> Result<bool, ObjectError> {
    flag(handle, Call::Acquire, wait)
}

async fn acquire_async<H: Handle>(handle: &H) -> Result<bool, ObjectError> {
    match handle.call_async(Call::Acquire, Wait::Forever).await? {
        Reply::Flag(poisoned) => Ok(poisoned),
        _ => unexpected(),
    }
}
