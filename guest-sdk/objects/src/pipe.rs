//! Pipes: a message sent into one end is received from the other.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};
use wpool_schema::Schema;

use crate::Handle;
use crate::handle::{at_most, object, pack, unexpected, unpack};

object! {
    /// One end of a pipe for messages of type `T`. When the other end is closed, or has no handle left, the messages
    /// already sent can still be received; after them every call fails with [`ObjectError::Closed`].
    Connection<T>: Pipe, Rights::ALL
}

impl<T: Serialize, H: Handle> Connection<T, H> {
    /// Sends a message, and waits while 64 sent messages have not been received. In a task it does not wait for the
    /// reply: an error is then returned by the next call that does, as [`ObjectError::Earlier`].
    ///
    /// # Errors
    /// [`ObjectError::Closed`] if the other end is gone, [`ObjectError::NoRight`] if this end only receives,
    /// [`ObjectError::BadValue`] if the message cannot be encoded.
    pub fn send(&self, message: &T) -> Result<(), ObjectError> {
        self.handle.post(Call::Put(vec![pack(message)?]))
    }
}

impl<T: DeserializeOwned + Schema, H: Handle> Connection<T, H> {
    /// Receives a message, and waits for one.
    ///
    /// # Errors
    /// [`ObjectError::Closed`] if the other end is gone and all its messages were received, [`ObjectError::NoRight`] if
    /// this end only sends.
    pub fn recv(&self) -> Result<T, ObjectError> {
        self.receive(Wait::Forever)
    }

    /// Receives a message, and waits for one for at most `timeout`.
    ///
    /// # Errors
    /// [`ObjectError::TimedOut`] if there is still none, and as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, ObjectError> {
        self.receive(at_most(timeout))
    }

    /// Receives a message, for an `.await`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<T, ObjectError> {
        only(self.handle.call_async(Call::Get(1), Wait::Forever).await?)
    }

    fn receive(&self, wait: Wait) -> Result<T, ObjectError> {
        only(self.handle.call(Call::Get(1), wait)?)
    }
}

impl<T, H: Handle> Connection<T, H> {
    /// Waits for at most `timeout` until there is a message to receive or the other end is gone, and returns whether
    /// that is so. With a timeout of zero it does not wait.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn poll(&self, timeout: Duration) -> Result<bool, ObjectError> {
        let wait = if timeout.is_zero() { Wait::NonBlocking } else { at_most(timeout) };
        match self.handle.call(Call::Poll, wait) {
            Ok(_) => Ok(true),
            Err(ObjectError::Empty | ObjectError::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until there is a message to receive or the other end is gone, for an `.await`.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub async fn ready(&self) -> Result<(), ObjectError> {
        self.handle.call_async(Call::Poll, Wait::Forever).await.map(drop)
    }

    /// Closes this end. The other end can still receive the messages already sent, and then fails with
    /// [`ObjectError::Closed`].
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn close(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Close)
    }
}

fn only<T: DeserializeOwned + Schema, H: Handle>(reply: Reply<Item<H>>) -> Result<T, ObjectError> {
    match reply {
        Reply::Items(items, _) => items.into_iter().next().map_or_else(unexpected, unpack),
        _ => unexpected(),
    }
}
