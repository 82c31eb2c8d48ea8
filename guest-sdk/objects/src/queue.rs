//! Queues: first in, first out, each value taken once.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};
use wpool_schema::Schema;

use crate::Handle;
use crate::handle::{at_most, object, pack, unexpected, unpack};

object! {
    /// A first-in-first-out queue of values of type `T`. Each value is taken once. A task that waits for room or for a
    /// value is suspended, and its worker runs others meanwhile.
    ///
    /// A value that a task has taken is gone, also if the task fails later. A queue made by `Manager::requeue` puts it
    /// back at the front, and delivers it again, marked.
    Queue<T>: Queue, Rights::ALL
}

object! {
    /// The end of a [`Queue`] that values are put into.
    Sender<T>: Queue, Rights::WRITE
}

object! {
    /// The end of a [`Queue`] that values are taken from.
    Receiver<T>: Queue, Rights::READ
}

/// A value, and whether it was delivered before, to a task that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<T> {
    /// The value.
    pub value: T,
    /// Whether it was delivered before.
    pub again: bool,
}

impl<T, H: Handle> Queue<T, H> {
    /// Returns the end that can only put values.
    pub fn sender(&self) -> Sender<T, H> {
        Sender::from_handle(self.handle.narrowed(Rights::WRITE))
    }

    /// Returns the end that can only take values.
    pub fn receiver(&self) -> Receiver<T, H> {
        Receiver::from_handle(self.handle.narrowed(Rights::READ))
    }

    /// Returns whether the queue holds as many values as its capacity; false without a capacity. The answer may be
    /// outdated when it arrives, and large values can fill the queue below its capacity.
    ///
    /// # Errors
    /// As [`qsize`](Self::qsize).
    pub fn full(&self) -> Result<bool, ObjectError> {
        let (len, capacity) = size(&self.handle)?;
        Ok(capacity.is_some_and(|capacity| len >= capacity))
    }
}

macro_rules! putting {
    ($($name:ident),*) => { $(
        impl<T: Serialize, H: Handle> $name<T, H> {
            /// Puts a value, and waits for room. In a task it does not wait for the reply: an error is then returned by
            /// the next call that does, as [`ObjectError::Earlier`].
            ///
            /// # Errors
            /// [`ObjectError::Closed`] if the queue is closed, [`ObjectError::BadValue`] if the value cannot be
            /// encoded.
            pub fn put(&self, value: &T) -> Result<(), ObjectError> {
                self.handle.post(pack_all([value])?)
            }

            /// Puts a value, and waits for room for at most `timeout`.
            ///
            /// # Errors
            /// [`ObjectError::TimedOut`] if there is still no room, and as [`put`](Self::put).
            pub fn put_timeout(&self, value: &T, timeout: Duration) -> Result<(), ObjectError> {
                self.handle.call(pack_all([value])?, at_most(timeout)).map(drop)
            }

            /// Puts a value if there is room.
            ///
            /// # Errors
            /// [`ObjectError::Full`] if there is no room, and as [`put`](Self::put).
            pub fn put_nowait(&self, value: &T) -> Result<(), ObjectError> {
                self.handle.call(pack_all([value])?, Wait::NonBlocking).map(drop)
            }

            /// Puts at most 100,000 values in their order, with one message, and waits until all of them are in.
            ///
            /// # Errors
            /// As [`put`](Self::put); some of the values may be in the queue then.
            pub fn put_many<'v>(&self, values: impl IntoIterator<Item = &'v T>) -> Result<(), ObjectError>
            where
                T: 'v,
            {
                self.handle.call(pack_all(values)?, Wait::Forever).map(drop)
            }

            /// Puts a value, for an `.await` that waits for room.
            ///
            /// # Errors
            /// As [`put`](Self::put).
            pub async fn put_async(&self, value: &T) -> Result<(), ObjectError> {
                self.handle.call_async(pack_all([value])?, Wait::Forever).await.map(drop)
            }
        }

        impl<T, H: Handle> $name<T, H> {
            /// Closes the queue: no more values can be put. Its values can still be taken.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn close(&self) -> Result<(), ObjectError> {
                self.handle.post(Call::Close)
            }
        }
    )* };
}

putting!(Queue, Sender);

macro_rules! getting {
    ($($name:ident),*) => { $(
        impl<T: DeserializeOwned + Schema, H: Handle> $name<T, H> {
            /// Takes a value, and waits for one.
            ///
            /// # Errors
            /// [`ObjectError::Closed`] if the queue is closed and empty, [`ObjectError::BadValue`] if the value cannot
            /// be decoded.
            pub fn get(&self) -> Result<T, ObjectError> {
                self.get_marked().map(|delivery| delivery.value)
            }

            /// Takes a value, waits for one, and returns with it whether it was delivered before to a task that failed.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn get_marked(&self) -> Result<Delivery<T>, ObjectError> {
                first(self.handle.call(Call::Get(1), Wait::Forever)?)
            }

            /// Takes a value, and waits for one for at most `timeout`.
            ///
            /// # Errors
            /// [`ObjectError::TimedOut`] if there is still none, and as [`get`](Self::get).
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, ObjectError> {
                first(self.handle.call(Call::Get(1), at_most(timeout))?).map(|delivery| delivery.value)
            }

            /// Takes a value if there is one.
            ///
            /// # Errors
            /// [`ObjectError::Empty`] if there is none, and as [`get`](Self::get).
            pub fn get_nowait(&self) -> Result<T, ObjectError> {
                first(self.handle.call(Call::Get(1), Wait::NonBlocking)?).map(|delivery| delivery.value)
            }

            /// Takes the values that are in the queue, at most `most`, with one message; waits for the first. Zero
            /// counts as one.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn get_many(&self, most: u32) -> Result<Vec<T>, ObjectError> {
                match self.handle.call(Call::Get(most), Wait::Forever)? {
                    Reply::Items(items, _) => items.into_iter().map(unpack).collect(),
                    _ => unexpected(),
                }
            }

            /// Takes a value, for an `.await` that waits for one. Dropped early, it takes none.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub async fn get_async(&self) -> Result<T, ObjectError> {
                let reply = self.handle.call_async(Call::Get(1), Wait::Forever).await?;
                first(reply).map(|delivery| delivery.value)
            }
        }

        impl<T, H: Handle> $name<T, H> {
            /// Returns the number of values in the queue. It may be outdated when it arrives.
            ///
            /// # Errors
            /// [`ObjectError::Closed`] if the queue is closed and empty.
            pub fn qsize(&self) -> Result<u64, ObjectError> {
                size(&self.handle).map(|(len, _)| len)
            }

            /// Returns whether the queue holds no value. The answer may be outdated when it arrives.
            ///
            /// # Errors
            /// As [`qsize`](Self::qsize).
            pub fn empty(&self) -> Result<bool, ObjectError> {
                self.qsize().map(|len| len == 0)
            }

            /// Waits until the queue holds a value or is closed, for an `.await`.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub async fn ready(&self) -> Result<(), ObjectError> {
                self.handle.call_async(Call::Poll, Wait::Forever).await.map(drop)
            }

            /// Marks one taken value as processed, see [`join`](Self::join).
            ///
            /// # Errors
            /// [`ObjectError::TooOften`] if more values were marked than put.
            pub fn task_done(&self) -> Result<(), ObjectError> {
                self.handle.call(Call::TaskDone(1), Wait::NonBlocking).map(drop)
            }

            /// Waits until every value that was put is marked as processed.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn join(&self) -> Result<(), ObjectError> {
                self.handle.call(Call::Join, Wait::Forever).map(drop)
            }

            /// Waits for at most `timeout` until every value that was put is marked as processed.
            ///
            /// # Errors
            /// [`ObjectError::TimedOut`] if some are still not.
            pub fn join_timeout(&self, timeout: Duration) -> Result<(), ObjectError> {
                self.handle.call(Call::Join, at_most(timeout)).map(drop)
            }
        }
    )* };
}

getting!(Queue, Receiver);

fn size<H: Handle>(handle: &H) -> Result<(u64, Option<u64>), ObjectError> {
    match handle.call(Call::Size, Wait::NonBlocking)? {
        Reply::Size(len, capacity) => Ok((len, capacity)),
        _ => unexpected(),
    }
}

fn pack_all<'v, T: Serialize + 'v, H: Handle>(
    values: impl IntoIterator<Item = &'v T>,
) -> Result<Call<Item<H>>, ObjectError> {
    values.into_iter().map(pack).collect::<Result<_, _>>().map(Call::Put)
}

fn first<T: DeserializeOwned + Schema, H: Handle>(reply: Reply<Item<H>>) -> Result<Delivery<T>, ObjectError> {
    match reply {
        Reply::Items(items, again) => match items.into_iter().next() {
            Some(item) => Ok(Delivery { value: unpack(item)?, again }),
            None => unexpected(),
        },
        _ => unexpected(),
    }
}
