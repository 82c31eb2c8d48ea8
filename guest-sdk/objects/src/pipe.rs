//! Pipes: two ends, what is sent into one is received from the other.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_abi::object::{Call, ObjectError, Reply, Rights, Wait};

use crate::Handle;
use crate::handle::{object, pack, unexpected, unpack, wait};

object! {
    /// One end of a pipe for messages of type `T`. When the other end is gone, because it was closed or nobody has it
    /// any more, what was sent can still be received, and then there is [`ObjectError::Closed`].
    Connection<T>: Pipe, Rights::ALL
}

impl<T: Serialize, H: Handle> Connection<T, H> {
    /// Sends a message. Waits while 64 are on their way.
    ///
    /// # Errors
    /// [`ObjectError::Closed`] if the other end is gone, [`ObjectError::NoRight`] if this end only receives.
    pub fn send(&self, message: &T) -> Result<(), ObjectError> {
        self.handle.post(Call::Put(vec![pack(message)?]))
    }
}

impl<T: DeserializeOwned, H: Handle> Connection<T, H> {
    /// Receives a message, and waits for one.
    ///
    /// # Errors
    /// [`ObjectError::Closed`] if the other end is gone and all that it sent was received.
    pub fn recv(&self) -> Result<T, ObjectError> {
        self.receive(Wait::Forever)
    }

    /// Receives a message, and waits for one, at most so long.
    ///
    /// # Errors
    /// [`ObjectError::TimedOut`] if none came by then, and as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, ObjectError> {
        self.receive(wait(timeout))
    }

    /// Receives a message, for an `.await`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<T, ObjectError> {
        Self::only(self.handle.call_async(Call::Get(1), Wait::Forever).await?)
    }

    fn receive(&self, wait: Wait) -> Result<T, ObjectError> {
        Self::only(self.handle.call(Call::Get(1), wait)?)
    }

    fn only(reply: Reply<wpool_abi::object::Item<H>>) -> Result<T, ObjectError> {
        match reply {
            Reply::Items(items, _) => items.into_iter().next().map_or_else(unexpected, unpack),
            _ => unexpected(),
        }
    }
}

impl<T, H: Handle> Connection<T, H> {
    /// Waits until there is something to receive, at most so long; the end of the pipe is something. Zero looks
    /// without waiting.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn poll(&self, timeout: Duration) -> Result<bool, ObjectError> {
        let wait = if timeout.is_zero() { Wait::NonBlocking } else { wait(timeout) };
        match self.handle.call(Call::Poll, wait) {
            Ok(_) => Ok(true),
            Err(ObjectError::Empty | ObjectError::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until there is something to receive, for an `.await`; the end of it is something.
    ///
    /// # Errors
    /// If the pool is gone.
    pub async fn ready(&self) -> Result<(), ObjectError> {
        self.handle.call_async(Call::Poll, Wait::Forever).await.map(drop)
    }

    /// Closes this end: the other one hears of it.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn close(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Close)
    }
}
