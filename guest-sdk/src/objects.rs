//! Shared objects in a guest: the handle, which makes its calls by the host's functions.

use std::cell::Cell;
use std::time::Duration;

use wpool_abi::object::{Call, Item, MAX_POST_SIZE, ObjectError, Reply, Rights, Wait, shared, with_rights};
use wpool_objects::HandleScope;

use crate::host;

wpool_objects::aliases!(Handle);

/// A handle that the host granted to this task. The typed objects are made of handles; by itself a handle can do
/// nothing.
#[derive(Debug, Clone)]
pub struct Handle {
    /// The index in the task's table of handles.
    index: u32,
    rights: Rights,
}

thread_local! {
    static HANDLE_SCOPE: HandleScope<Handle> = const { HandleScope::new() };
    /// Whether the task has posted a call since the last answer of the pool.
    static POSTED: Cell<bool> = const { Cell::new(false) };
}

/// Waits until every call that did not wait for a reply is done: values put, locks released, keys set. A task flushes
/// when it returns, and fails if one of these calls has failed.
///
/// # Errors
/// The first error of these calls, as [`ObjectError::Earlier`].
pub fn flush() -> Result<(), ObjectError> {
    if !POSTED.replace(false) {
        return Ok(());
    }
    decode_answer(&host::flush()).map(drop)
}

impl Handle {
    pub(crate) fn from_index(index: u32) -> Self {
        Self { index, rights: Rights::ALL }
    }

    /// The index in the task's table, with the rights that are passed on.
    pub(crate) fn wire_index(&self) -> u32 {
        with_rights(self.index, self.rights)
    }

    fn check(&self, needed: Rights) -> Result<(), ObjectError> {
        if self.rights.contain(needed) { Ok(()) } else { Err(ObjectError::NoRight) }
    }

    /// The call in postcard, with the wire indices of its handles.
    fn encode(&self, call: Call<Item<Self>>) -> Result<Vec<u8>, ObjectError> {
        self.check(call.verb().needs())?;
        let to_wire = |item: Item<Self>| {
            let handles = item.handles.iter().map(Self::wire_index).collect();
            Ok::<_, ObjectError>(Item { bytes: item.bytes, handles })
        };
        let call: Call = call.try_map(to_wire)?;
        postcard::to_allocvec(&call).map_err(|error| ObjectError::BadValue(error.to_string()))
    }

    fn call_encoded(&self, call: &[u8], wait: i64) -> Result<Reply<Item<Self>>, ObjectError> {
        let answer = decode_answer(&host::call(self.index, wait, call));
        // An error may be the worker's own, and then the pool has not answered for the posted calls.
        if answer.is_ok() {
            POSTED.set(false);
        }
        let from_wire = |item: Item| Item {
            bytes: item.bytes,
            handles: item.handles.into_iter().map(Self::from_index).collect(),
        };
        answer.map(|reply| reply.map(from_wire))
    }
}

impl wpool_objects::Handle for Handle {
    // The task's own sandbox is its bound.
    const READS_UNTRUSTED: bool = false;

    fn call(&self, call: Call<Item<Self>>, wait: Wait) -> Result<Reply<Item<Self>>, ObjectError> {
        self.call_encoded(&self.encode(call)?, nanoseconds(wait))
    }

    fn post(&self, call: Call<Item<Self>>) -> Result<(), ObjectError> {
        let call = self.encode(call)?;
        if call.len() > MAX_POST_SIZE {
            return self.call_encoded(&call, nanoseconds(Wait::Forever)).map(drop);
        }
        shared::answer(host::post(self.index, &call))?;
        POSTED.set(true);
        Ok(())
    }

    async fn call_async(&self, call: Call<Item<Self>>, wait: Wait) -> Result<Reply<Item<Self>>, ObjectError> {
        // A guest has one thread, and the host suspends the task as a whole.
        self.call(call, wait)
    }

    fn shared_size(&self) -> Result<u64, ObjectError> {
        let size = host::shared_size(self.index);
        u64::try_from(size).or_else(|_| {
            let status = u32::try_from(size.unsigned_abs()).unwrap_or(u32::MAX);
            shared::answer(status).and(Err(ObjectError::BadHandle))
        })
    }

    fn shared_read(&self, at: u64, into: &mut [u8]) -> Result<(), ObjectError> {
        shared::answer(host::shared_read(self.index, at, into))
    }

    fn shared_write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError> {
        self.check(Rights::WRITE)?;
        shared::answer(host::shared_write(self.index, at, bytes))
    }

    fn shared_add(&self, at: u64, number: u64) -> Result<u64, ObjectError> {
        self.check(Rights::ALL)?;
        let mut before = 0;
        shared::answer(host::shared_add(self.index, at, number, &mut before))?;
        Ok(before)
    }

    fn now() -> Option<Duration> {
        None
    }

    fn bound(&self) -> Self {
        // The calling party is always this task.
        self.clone()
    }

    fn detached(&self) -> Self {
        self.clone()
    }

    fn narrowed(&self, rights: Rights) -> Self {
        Self { index: self.index, rights: self.rights.and(rights) }
    }

    fn handle_scope<T>(act: impl FnOnce(&HandleScope<Self>) -> T) -> T {
        HANDLE_SCOPE.with(act)
    }
}

/// The wait as the host's function takes it: nanoseconds, zero not to wait, a negative number for no limit.
fn nanoseconds(wait: Wait) -> i64 {
    match wait {
        Wait::NonBlocking => 0,
        Wait::Timeout(nanos) => i64::try_from(nanos.max(1)).unwrap_or(i64::MAX),
        Wait::Forever => -1,
    }
}

fn decode_answer(answer: &[u8]) -> Result<Reply, ObjectError> {
    postcard::from_bytes(answer).unwrap_or_else(|error| Err(ObjectError::BadValue(error.to_string())))
}
