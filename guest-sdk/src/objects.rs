//! Shared objects, as a guest reaches them.

use std::cell::Cell;
use std::time::Duration;

use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait, shared, with_rights};
use wpool_objects::Luggage;

use crate::glue;

wpool_objects::aliases!(Handle);

/// A handle that this task was granted. The typed objects are made of these; by itself it can do nothing.
#[derive(Debug, Clone)]
pub struct Handle {
    number: u32,
    rights: Rights,
}

/// What needs no answer is not longer than this.
const POST_SIZE: usize = 64 << 10;

thread_local! {
    static LUGGAGE: Luggage<Handle> = const { Luggage::new() };
    /// Whether anything was asked for that needs no answer, since the last answer.
    static POSTED: Cell<bool> = const { Cell::new(false) };
}

/// Waits until everything that needs no answer is done: values put, locks released, keys set. A task does so when it
/// returns; one whose calls have failed then fails, too.
///
/// # Errors
/// What went wrong first.
pub fn flush() -> Result<(), ObjectError> {
    if !POSTED.replace(false) {
        return Ok(());
    }
    read_answer(&glue::host_flush()).map(drop)
}

fn read_answer(answer: &[u8]) -> Result<Reply, ObjectError> {
    postcard::from_bytes(answer).unwrap_or_else(|error| Err(ObjectError::BadValue(error.to_string())))
}

impl Handle {
    pub(crate) fn from_number(number: u32) -> Self {
        Self { number, rights: Rights::ALL }
    }

    /// The number to travel by, with what is passed on.
    pub(crate) fn travelling(&self) -> u32 {
        with_rights(self.number, self.rights)
    }

    fn allow(&self, needed: Rights) -> Result<(), ObjectError> {
        if self.rights.contain(needed) { Ok(()) } else { Err(ObjectError::NoRight) }
    }

    /// The call in postcard, with the numbers of the handles in it.
    fn encode(&self, call: Call<Item<Self>>) -> Result<Vec<u8>, ObjectError> {
        self.allow(call.verb().needs())?;
        let numbers = |item: Item<Self>| {
            let handles = item.handles.iter().map(Self::travelling).collect();
            Ok::<_, ObjectError>(Item { bytes: item.bytes, handles })
        };
        let call: Call = call.try_map(numbers)?;
        postcard::to_allocvec(&call).map_err(|error| ObjectError::BadValue(error.to_string()))
    }

    fn ask(&self, call: &[u8], wait: i64) -> Result<Reply<Item<Self>>, ObjectError> {
        let answer = read_answer(&glue::host_call(self.number, wait, call));
        // What has failed may not have asked the pool at all.
        if answer.is_ok() {
            POSTED.set(false);
        }
        let handles = |item: Item| Item {
            bytes: item.bytes,
            handles: item.handles.into_iter().map(Self::from_number).collect(),
        };
        answer.map(|reply| reply.map(handles))
    }
}

impl wpool_objects::Handle for Handle {
    fn call(&self, call: Call<Item<Self>>, wait: Wait) -> Result<Reply<Item<Self>>, ObjectError> {
        let wait = match wait {
            Wait::NonBlocking => 0,
            Wait::Timeout(nanos) => i64::try_from(nanos.max(1)).unwrap_or(i64::MAX),
            Wait::Forever => -1,
        };
        self.ask(&self.encode(call)?, wait)
    }

    fn post(&self, call: Call<Item<Self>>) -> Result<(), ObjectError> {
        let call = self.encode(call)?;
        if call.len() > POST_SIZE {
            return self.ask(&call, -1).map(drop);
        }
        shared::answer(glue::host_post(self.number, &call))?;
        POSTED.set(true);
        Ok(())
    }

    async fn call_async(&self, call: Call<Item<Self>>, wait: Wait) -> Result<Reply<Item<Self>>, ObjectError> {
        // A task that waits is suspended as a whole.
        self.call(call, wait)
    }

    fn shared_size(&self) -> Result<u64, ObjectError> {
        let size = glue::host_shared_size(self.number);
        u64::try_from(size).or_else(|_| {
            let status = u32::try_from(size.unsigned_abs()).unwrap_or(u32::MAX);
            shared::answer(status).and(Err(ObjectError::BadHandle))
        })
    }

    fn shared_read(&self, at: u64, into: &mut [u8]) -> Result<(), ObjectError> {
        shared::answer(glue::host_shared_read(self.number, at, into))
    }

    fn shared_write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError> {
        self.allow(Rights::WRITE)?;
        shared::answer(glue::host_shared_write(self.number, at, bytes))
    }

    fn shared_add(&self, at: u64, number: u64) -> Result<u64, ObjectError> {
        self.allow(Rights::ALL)?;
        let (status, before) = glue::host_shared_add(self.number, at, number);
        shared::answer(status).map(|()| before)
    }

    fn now() -> Option<Duration> {
        None
    }

    fn bound(&self) -> Self {
        // A task is one.
        self.clone()
    }

    fn detached(&self) -> Self {
        self.clone()
    }

    fn narrowed(&self, rights: Rights) -> Self {
        Self { number: self.number, rights: self.rights.and(rights) }
    }

    fn luggage<T>(act: impl FnOnce(&Luggage<Self>) -> T) -> T {
        LUGGAGE.with(act)
    }
}
