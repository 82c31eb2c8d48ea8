//! Queues: values in the order in which they were put, each taken once.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};

use crate::Handle;
use crate::handle::{object, pack, unexpected, unpack, wait};

object! {
    /// A queue of values of type `T`: put in at one end, taken out at the other, by one each. A task that waits for
    /// room or for a value is in nobody's way.
    ///
    /// What a task has taken is gone, also if the task fails then; a queue that was made to *requeue* takes it back, and
    /// delivers it again, marked.
    Queue<T>: Queue, Rights::ALL
}

object! {
    /// The end of a [`Queue`] that values are put in.
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
    /// Whether somebody had it before.
    pub again: bool,
}

impl<T, H: Handle> Queue<T, H> {
    /// The end that values are put in, for somebody who is to do nothing else.
    pub fn sender(&self) -> Sender<T, H> {
        Sender::from_handle(self.handle.narrowed(Rights::WRITE))
    }

    /// The end that values are taken from, for somebody who is to do nothing else.
    pub fn receiver(&self) -> Receiver<T, H> {
        Receiver::from_handle(self.handle.narrowed(Rights::READ))
    }

    /// Whether as many values wait as there may be. There may be room the next moment, and with fewer there may be none, if
    /// they are large.
    ///
    /// # Errors
    /// As [`qsize`](Self::qsize).
    pub fn full(&self) -> Result<bool, ObjectError> {
        let (len, capacity) = size(&self.handle)?;
        Ok(capacity.is_some_and(|capacity| len >= capacity))
    }
}

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

fn first<T: DeserializeOwned, H: Handle>(reply: Reply<Item<H>>) -> Result<Delivery<T>, ObjectError> {
    match reply {
        Reply::Items(items, again) => match items.into_iter().next() {
            Some(item) => Ok(Delivery { value: unpack(item)?, again }),
            None => unexpected(),
        },
        _ => unexpected(),
    }
}

macro_rules! putting {
    ($($name:ident),*) => { $(
        impl<T: Serialize, H: Handle> $name<T, H> {
            /// Puts a value in, and waits for room. In a task it returns at once, and what is wrong with it comes
            /// with the next call that has an answer.
            ///
            /// # Errors
            /// [`ObjectError::Closed`], or that the value cannot be written.
            pub fn put(&self, value: &T) -> Result<(), ObjectError> {
                self.handle.post(pack_all([value])?)
            }

            /// Puts a value in, and waits for room, at most so long.
            ///
            /// # Errors
            /// [`ObjectError::TimedOut`] if there is none by then, and as [`put`](Self::put).
            pub fn put_timeout(&self, value: &T, timeout: Duration) -> Result<(), ObjectError> {
                self.handle.call(pack_all([value])?, wait(timeout)).map(drop)
            }

            /// Puts a value in if there is room.
            ///
            /// # Errors
            /// [`ObjectError::Full`] if there is none, and as [`put`](Self::put).
            pub fn put_nowait(&self, value: &T) -> Result<(), ObjectError> {
                self.handle.call(pack_all([value])?, Wait::NonBlocking).map(drop)
            }

            /// Puts several values in, at most 100,000, one after the other, with one message for all. Waits until all
            /// of them are in.
            ///
            /// # Errors
            /// As [`put`](Self::put); then some of them may be in.
            pub fn put_many<'v>(&self, values: impl IntoIterator<Item = &'v T>) -> Result<(), ObjectError>
            where
                T: 'v,
            {
                self.handle.call(pack_all(values)?, Wait::Forever).map(drop)
            }

            /// Puts a value in, for an `.await` that waits for room.
            ///
            /// # Errors
            /// As [`put`](Self::put).
            pub async fn put_async(&self, value: &T) -> Result<(), ObjectError> {
                self.handle.call_async(pack_all([value])?, Wait::Forever).await.map(drop)
            }
        }

        impl<T, H: Handle> $name<T, H> {
            /// From now on nothing more can be put in. What is in it can still be taken.
            ///
            /// # Errors
            /// If the pool is gone.
            pub fn close(&self) -> Result<(), ObjectError> {
                self.handle.post(Call::Close)
            }
        }
    )* };
}

putting!(Queue, Sender);

macro_rules! getting {
    ($($name:ident),*) => { $(
        impl<T: DeserializeOwned, H: Handle> $name<T, H> {
            /// Takes a value, and waits for one.
            ///
            /// # Errors
            /// [`ObjectError::Closed`] if there is none and never will be.
            pub fn get(&self) -> Result<T, ObjectError> {
                self.get_marked().map(|delivery| delivery.value)
            }

            /// Takes a value, waits for one, and tells whether it was delivered before to a task that failed.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn get_marked(&self) -> Result<Delivery<T>, ObjectError> {
                first(self.handle.call(Call::Get(1), Wait::Forever)?)
            }

            /// Takes a value, and waits for one, at most so long.
            ///
            /// # Errors
            /// [`ObjectError::TimedOut`] if there is none by then, and as [`get`](Self::get).
            pub fn get_timeout(&self, timeout: Duration) -> Result<T, ObjectError> {
                first(self.handle.call(Call::Get(1), wait(timeout))?).map(|delivery| delivery.value)
            }

            /// Takes a value if there is one.
            ///
            /// # Errors
            /// [`ObjectError::Empty`] if there is none, and as [`get`](Self::get).
            pub fn get_nowait(&self) -> Result<T, ObjectError> {
                first(self.handle.call(Call::Get(1), Wait::NonBlocking)?).map(|delivery| delivery.value)
            }

            /// Takes all values that are there, at most so many, with one message; waits for the first. Zero counts
            /// as one.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub fn get_many(&self, most: u32) -> Result<Vec<T>, ObjectError> {
                match self.handle.call(Call::Get(most), Wait::Forever)? {
                    Reply::Items(items, _) => items.into_iter().map(unpack).collect(),
                    _ => unexpected(),
                }
            }

            /// Takes a value, for an `.await` that waits for one. Given up, it takes nothing.
            ///
            /// # Errors
            /// As [`get`](Self::get).
            pub async fn get_async(&self) -> Result<T, ObjectError> {
                let reply = self.handle.call_async(Call::Get(1), Wait::Forever).await?;
                first(reply).map(|delivery| delivery.value)
            }
        }

        impl<T, H: Handle> $name<T, H> {
            /// How many values are in it. It may be another number the next moment.
            ///
            /// # Errors
            /// [`ObjectError::Closed`] if it is closed and empty.
            pub fn qsize(&self) -> Result<u64, ObjectError> {
                size(&self.handle).map(|(len, _)| len)
            }

            /// Whether there is nothing in it. There may be something the next moment.
            ///
            /// # Errors
            /// As [`qsize`](Self::qsize).
            pub fn empty(&self) -> Result<bool, ObjectError> {
                self.qsize().map(|len| len == 0)
            }

            /// Waits until there is something in it, for an `.await`; its end is something.
            ///
            /// # Errors
            /// If the pool is gone.
            pub async fn ready(&self) -> Result<(), ObjectError> {
                self.handle.call_async(Call::Poll, Wait::Forever).await.map(drop)
            }

            /// A value that was taken has been worked off.
            ///
            /// # Errors
            /// [`ObjectError::TooOften`] if more have been than were put.
            pub fn task_done(&self) -> Result<(), ObjectError> {
                self.handle.call(Call::TaskDone(1), Wait::NonBlocking).map(drop)
            }

            /// Waits until all values that were put have been worked off.
            ///
            /// # Errors
            /// If the pool is gone.
            pub fn join(&self) -> Result<(), ObjectError> {
                self.handle.call(Call::Join, Wait::Forever).map(drop)
            }

            /// Waits until all values that were put have been worked off, at most so long.
            ///
            /// # Errors
            /// [`ObjectError::TimedOut`] if they have not by then.
            pub fn join_timeout(&self, timeout: Duration) -> Result<(), ObjectError> {
                self.handle.call(Call::Join, wait(timeout)).map(drop)
            }
        }
    )* };
}

getting!(Queue, Receiver);
