//! Events and barriers: parties wait for a flag, or for each other.

use std::time::Duration;

use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};

use crate::Handle;
use crate::handle::{at_most, flag, object, unexpected};

object! {
    /// A flag that parties wait for.
    Event<>: Event, Rights::ALL
}

object! {
    /// A barrier: it releases a fixed number of waiting parties together, again and again.
    Barrier<>: Barrier, Rights::ALL
}

impl<H: Handle> Event<H> {
    /// Sets the flag, and wakes all waiting parties.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn set(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Flag(true))
    }

    /// Clears the flag.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Flag(false))
    }

    /// Returns whether the flag is set.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn is_set(&self) -> Result<bool, ObjectError> {
        flag(&self.handle, Call::State, Wait::NonBlocking)
    }

    /// Waits until the flag is set.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn wait(&self) -> Result<(), ObjectError> {
        self.handle.call(Call::Wait, Wait::Forever).map(drop)
    }

    /// Waits for at most `timeout` until the flag is set, and returns whether it was set in that time.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool, ObjectError> {
        match self.handle.call(Call::Wait, at_most(timeout)) {
            Ok(_) => Ok(true),
            Err(ObjectError::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until the flag is set, for an `.await`.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub async fn wait_async(&self) -> Result<(), ObjectError> {
        self.handle.call_async(Call::Wait, Wait::Forever).await.map(drop)
    }
}

impl<H: Handle> Barrier<H> {
    /// Waits for the other parties. Returns the caller's position in the order of arrival, from zero: exactly one of
    /// the parties gets zero.
    ///
    /// # Errors
    /// [`ObjectError::Broken`] if the barrier is broken, or breaks meanwhile.
    pub fn wait(&self) -> Result<u64, ObjectError> {
        arrival(self.handle.call(Call::Wait, Wait::Forever)?)
    }

    /// Waits for the other parties for at most `timeout`; after that the barrier is broken for all.
    ///
    /// # Errors
    /// [`ObjectError::TimedOut`], and as [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<u64, ObjectError> {
        arrival(self.handle.call(Call::Wait, at_most(timeout))?)
    }

    /// Waits for the other parties, for an `.await`. Dropped early, it breaks the barrier for all.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_async(&self) -> Result<u64, ObjectError> {
        arrival(self.handle.call_async(Call::Wait, Wait::Forever).await?)
    }

    /// Breaks the barrier: waiting and future parties get [`ObjectError::Broken`].
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn abort(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Abort)
    }

    /// Makes the barrier as new: no longer broken, and with no waiting parties. Those that wait get
    /// [`ObjectError::Broken`].
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn reset(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Reset)
    }

    /// Returns whether the barrier is broken.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn broken(&self) -> Result<bool, ObjectError> {
        flag(&self.handle, Call::State, Wait::NonBlocking)
    }

    /// Returns the number of waiting parties, and the number of parties that are released together.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn n_waiting(&self) -> Result<(u64, u64), ObjectError> {
        match self.handle.call(Call::Size, Wait::NonBlocking)? {
            Reply::Size(waiting, parties) => Ok((waiting, parties.unwrap_or(0))),
            _ => unexpected(),
        }
    }
}

/// The position in the order of arrival, from the reply of a barrier.
fn arrival<H>(reply: Reply<Item<H>>) -> Result<u64, ObjectError> {
    match reply {
        Reply::Number(position) => Ok(position),
        _ => unexpected(),
    }
}
