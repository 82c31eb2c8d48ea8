//! What is held and waited with: locks, semaphores, conditions, events, barriers. What Python has context managers for
//! are guards here: dropping one releases.

use std::time::Duration;

use wpool_abi::object::{Call, ObjectError, Reply, Rights, Wait};

use crate::Handle;
use crate::handle::{object, unexpected, wait};

object! {
    /// Held by one at a time. A task that ends while it holds it has released it.
    Lock<>: Lock, Rights::ALL
}

object! {
    /// Held by one at a time, who may take it several times over.
    RLock<>: RLock, Rights::ALL
}

object! {
    /// Held by so many at a time.
    Semaphore<>: Semaphore, Rights::ALL
}

object! {
    /// A lock that can be taken several times over, and waiting for news while somebody else holds it.
    Condition<>: Condition, Rights::ALL
}

object! {
    /// A flag that can be waited for.
    Event<>: Event, Rights::ALL
}

object! {
    /// Passed by so many together, again and again.
    Barrier<>: Barrier, Rights::ALL
}

/// A lock that is held. Dropping it releases it.
#[derive(Debug)]
#[must_use = "dropped at once, it releases the lock"]
pub struct Guard<H: Handle> {
    handle: H,
    poisoned: bool,
}

impl<H: Handle> Guard<H> {
    /// Whether somebody who held the lock has failed since it was [tidied up](Self::clear_poison) last: what it
    /// guards may be in disorder.
    pub fn poisoned(&self) -> bool {
        self.poisoned
    }

    /// What the lock guards is in order again.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn clear_poison(&mut self) -> Result<(), ObjectError> {
        self.handle.call(Call::ClearPoison, Wait::NonBlocking)?;
        self.poisoned = false;
        Ok(())
    }
}

impl<H: Handle> Drop for Guard<H> {
    fn drop(&mut self) {
        // It fails only where nobody can hold it any more.
        let _gone = self.handle.post(Call::Release(1));
    }
}

fn acquire<H: Handle>(handle: &H, wait: Wait) -> Result<bool, ObjectError> {
    match handle.call(Call::Acquire, wait)? {
        Reply::Flag(poisoned) => Ok(poisoned),
        _ => unexpected(),
    }
}

async fn acquire_async<H: Handle>(handle: &H) -> Result<bool, ObjectError> {
    match handle.call_async(Call::Acquire, Wait::Forever).await? {
        Reply::Flag(poisoned) => Ok(poisoned),
        _ => unexpected(),
    }
}

fn flag<H: Handle>(
    handle: &H,
    call: Call<wpool_abi::object::Item<H>>,
    wait: Wait,
) -> Result<bool, ObjectError> {
    match handle.call(call, wait)? {
        Reply::Flag(flag) => Ok(flag),
        _ => unexpected(),
    }
}

macro_rules! locking {
    ($($name:ident),*) => { $(
        impl<H: Handle> $name<H> {
            /// Waits until it can be held.
            ///
            /// # Errors
            /// [`ObjectError::Deadlock`] if its holder waits for who calls, and this one is the youngest of the ring.
            pub fn acquire(&self) -> Result<Guard<H>, ObjectError> {
                self.guard(acquire(&self.handle, Wait::Forever))
            }

            /// Waits until it can be held, at most so long.
            ///
            /// # Errors
            /// [`ObjectError::TimedOut`], and as [`acquire`](Self::acquire).
            pub fn acquire_timeout(&self, timeout: Duration) -> Result<Guard<H>, ObjectError> {
                self.guard(acquire(&self.handle, wait(timeout)))
            }

            /// Takes it if nobody else holds it.
            ///
            /// # Errors
            /// [`ObjectError::Held`] if somebody does.
            pub fn try_acquire(&self) -> Result<Guard<H>, ObjectError> {
                self.guard(acquire(&self.handle, Wait::NonBlocking))
            }

            /// Waits until it can be held, for an `.await`, which is somebody of its own: to a thread that holds it
            /// this is somebody else.
            ///
            /// # Errors
            /// As [`acquire`](Self::acquire).
            pub async fn acquire_async(&self) -> Result<Guard<H>, ObjectError> {
                let handle = self.handle.detached();
                acquire_async(&handle).await.map(|poisoned| Guard { handle, poisoned })
            }

            /// Whether somebody holds it. It may be otherwise the next moment.
            ///
            /// # Errors
            /// If the pool is gone.
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

/// A semaphore that is held. Dropping it releases it.
#[derive(Debug)]
#[must_use = "dropped at once, it releases the semaphore"]
pub struct SemaphoreGuard<H: Handle> {
    handle: Option<H>,
}

impl<H: Handle> SemaphoreGuard<H> {
    /// Does not release it: somebody else will, by [`Semaphore::release`].
    pub fn forget(mut self) {
        // It fails only where nobody can hold it any more.
        let _gone = self.handle.take().map(|handle| handle.post(Call::Disown));
    }
}

impl<H: Handle> Drop for SemaphoreGuard<H> {
    fn drop(&mut self) {
        // It fails only where nobody can hold it any more.
        let _gone = self.handle.as_ref().map(|handle| handle.post(Call::Release(1)));
    }
}

impl<H: Handle> Semaphore<H> {
    /// Waits until it can be held.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn acquire(&self) -> Result<SemaphoreGuard<H>, ObjectError> {
        self.guard(acquire(&self.handle, Wait::Forever))
    }

    /// Waits until it can be held, at most so long.
    ///
    /// # Errors
    /// [`ObjectError::TimedOut`].
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<SemaphoreGuard<H>, ObjectError> {
        self.guard(acquire(&self.handle, wait(timeout)))
    }

    /// Waits until it can be held, for an `.await`.
    ///
    /// # Errors
    /// If the pool is gone.
    pub async fn acquire_async(&self) -> Result<SemaphoreGuard<H>, ObjectError> {
        let handle = self.handle.detached();
        acquire_async(&handle).await?;
        Ok(SemaphoreGuard { handle: Some(handle) })
    }

    /// Takes it if it can be held.
    ///
    /// # Errors
    /// [`ObjectError::Held`] if it cannot.
    pub fn try_acquire(&self) -> Result<SemaphoreGuard<H>, ObjectError> {
        self.guard(acquire(&self.handle, Wait::NonBlocking))
    }

    /// So many more can hold it, whoever held it before.
    ///
    /// # Errors
    /// [`ObjectError::TooOften`] if it is bounded and that would be more than at the start.
    pub fn release(&self, times: u32) -> Result<(), ObjectError> {
        self.handle.call(Call::Release(times), Wait::NonBlocking).map(drop)
    }

    /// How many could hold it now.
    ///
    /// # Errors
    /// If the pool is gone.
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
    /// Waits until its lock can be held.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub fn acquire(&self) -> Result<ConditionGuard<H>, ObjectError> {
        let poisoned = acquire(&self.handle, Wait::Forever)?;
        Ok(ConditionGuard { guard: Guard { handle: self.handle.bound(), poisoned } })
    }

    /// Waits until its lock can be held, for an `.await`, which is somebody of its own.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn acquire_async(&self) -> Result<ConditionGuard<H>, ObjectError> {
        let handle = self.handle.detached();
        let poisoned = acquire_async(&handle).await?;
        Ok(ConditionGuard { guard: Guard { handle, poisoned } })
    }
}

/// A condition whose lock is held. Dropping it releases that.
#[derive(Debug)]
#[must_use = "dropped at once, it releases the condition's lock"]
pub struct ConditionGuard<H: Handle> {
    guard: Guard<H>,
}

impl<H: Handle> ConditionGuard<H> {
    /// Lets go of the lock, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn wait(&self) -> Result<(), ObjectError> {
        flag(&self.guard.handle, Call::Wait, Wait::Forever).map(drop)
    }

    /// Lets go of the lock, waits to be notified, and takes the lock again, for an `.await`. Given up, it does not
    /// hold the lock.
    ///
    /// # Errors
    /// If the pool is gone.
    pub async fn wait_async(&self) -> Result<(), ObjectError> {
        self.guard.handle.call_async(Call::Wait, Wait::Forever).await.map(drop)
    }

    /// Lets go of the lock, waits to be notified, at most so long, and takes the lock again. False if the time was over.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        flag(&self.guard.handle, Call::Wait, wait(timeout))
    }

    /// Waits until it is so, as it looks at first and whenever it is notified.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn wait_for(&self, mut so: impl FnMut() -> bool) -> Result<(), ObjectError> {
        while !so() {
            self.wait()?;
        }
        Ok(())
    }

    /// Waits until it is so, at most so long, and returns whether it is. A guest has no clock of its own: there the time
    /// begins anew with each notification.
    ///
    /// # Errors
    /// If the pool is gone.
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

    /// Wakes so many who wait, and tells how many did.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn notify(&self, most: u32) -> Result<u64, ObjectError> {
        match self.guard.handle.call(Call::Notify(most), Wait::NonBlocking)? {
            Reply::Number(woken) => Ok(woken),
            _ => unexpected(),
        }
    }

    /// Wakes all who wait, and tells how many did.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn notify_all(&self) -> Result<u64, ObjectError> {
        self.notify(u32::MAX)
    }
}

impl<H: Handle> Event<H> {
    /// Sets the flag: whoever waits goes on.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn set(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Flag(true))
    }

    /// Clears the flag.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Flag(false))
    }

    /// Whether the flag is set.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn is_set(&self) -> Result<bool, ObjectError> {
        flag(&self.handle, Call::State, Wait::NonBlocking)
    }

    /// Waits until the flag is set.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn wait(&self) -> Result<(), ObjectError> {
        self.handle.call(Call::Wait, Wait::Forever).map(drop)
    }

    /// Waits until the flag is set, at most so long. False if it was not by then.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        match self.handle.call(Call::Wait, wait(timeout)) {
            Ok(_) => Ok(true),
            Err(ObjectError::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until the flag is set, for an `.await`.
    ///
    /// # Errors
    /// If the pool is gone.
    pub async fn wait_async(&self) -> Result<(), ObjectError> {
        self.handle.call_async(Call::Wait, Wait::Forever).await.map(drop)
    }
}

fn place<I>(reply: Reply<I>) -> Result<u64, ObjectError> {
    match reply {
        Reply::Number(place) => Ok(place),
        _ => unexpected(),
    }
}

impl<H: Handle> Barrier<H> {
    /// Waits for the others. Returns the place in which it came, from zero: exactly one has place zero.
    ///
    /// # Errors
    /// [`ObjectError::Broken`] if the barrier is broken, or somebody breaks it meanwhile.
    pub fn wait(&self) -> Result<u64, ObjectError> {
        self.pass(Wait::Forever)
    }

    /// Waits for the others, at most so long; then the barrier is broken for all.
    ///
    /// # Errors
    /// [`ObjectError::TimedOut`], and as [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<u64, ObjectError> {
        self.pass(wait(timeout))
    }

    fn pass(&self, wait: Wait) -> Result<u64, ObjectError> {
        place(self.handle.call(Call::Wait, wait)?)
    }

    /// Waits for the others, for an `.await`. Given up, the barrier is broken for all.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_async(&self) -> Result<u64, ObjectError> {
        place(self.handle.call_async(Call::Wait, Wait::Forever).await?)
    }

    /// Breaks the barrier: whoever waits, and whoever comes, gets [`ObjectError::Broken`].
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn abort(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Abort)
    }

    /// Makes the barrier as new. Whoever waits gets [`ObjectError::Broken`].
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn reset(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Reset)
    }

    /// Whether it is broken.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn broken(&self) -> Result<bool, ObjectError> {
        flag(&self.handle, Call::State, Wait::NonBlocking)
    }

    /// How many wait, and how many pass together.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn n_waiting(&self) -> Result<(u64, u64), ObjectError> {
        match self.handle.call(Call::Size, Wait::NonBlocking)? {
            Reply::Size(waiting, parties) => Ok((waiting, parties.unwrap_or(0))),
            _ => unexpected(),
        }
    }
}
