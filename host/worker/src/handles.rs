//! The handles of a task, as its worker knows them, and the shared memory that some are to.
//!
//! What is checked here is checked in the parent again, but for shared memory: that is reached without it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use wasmtime::{Caller, Linker};
use wpool_abi::import;
use wpool_abi::object::{Kind, MAX_HANDLES, ObjectError, Rights, Verb, shared, without_rights};

use super::faults::BadGuest;
use super::guest_mem::{GuestSlice, write_u64};
use super::imports::memory_and_state;
use super::state::TaskState;
use wpool_wire::ids::MemoryId;
use wpool_wire::memory::SharedMemory;
use wpool_wire::message::{BadMessage, Granted, Memory, handle_indices};

/// Gives the imports for shared memory their functions.
pub(super) fn define(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker.func_wrap(import::MODULE, import::SHARED_SIZE, size)?;
    linker.func_wrap(import::MODULE, import::SHARED_READ, read)?;
    linker.func_wrap(import::MODULE, import::SHARED_WRITE, write)?;
    linker.func_wrap(import::MODULE, import::SHARED_ADD, add)?;
    Ok(())
}

/// One handle.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    kind: Kind,
    rights: Rights,
    memory: Option<Arc<SharedMemory>>,
}

/// What a task was granted, in order: the numbers are places.
#[derive(Debug, Default)]
pub(super) struct Handles(Vec<Handle>);

impl Handles {
    pub(super) fn new(handles: Vec<Handle>) -> Self {
        Self(handles)
    }

    pub(super) fn add(&mut self, handles: Vec<Handle>) {
        self.0.extend(handles);
    }

    fn get(&self, number: u32) -> Result<&Handle, ObjectError> {
        self.0.get(number as usize).ok_or(ObjectError::BadHandle)
    }

    /// Whether the task has a handle that is good for a call, as the guest has written it.
    pub(super) fn check(&self, number: u32, call: &[u8]) -> Result<(), ObjectError> {
        let handle = self.get(number)?;
        let (verb, _) = postcard::take_from_bytes::<Verb>(call)
            .map_err(|error| ObjectError::BadValue(error.to_string()))?;
        if !verb.suits(handle.kind) {
            return Err(ObjectError::WrongKind);
        }
        if handle.rights.contain(verb.needs()) { Ok(()) } else { Err(ObjectError::NoRight) }
    }

    /// The numbers of the handles that a guest hands out, all of them its own.
    pub(super) fn handed_out<'m>(
        &self,
        memory: &'m [u8],
        ptr: u32,
        count: u32,
    ) -> Result<&'m [u8], BadGuest> {
        if count as usize > MAX_HANDLES {
            return Err(BadGuest(format!("it hands out {count} handles, {MAX_HANDLES} are allowed")));
        }
        let numbers = GuestSlice::new(ptr, count * 4).read(memory)?;
        if handle_indices(numbers).all(|number| self.get(without_rights(number).0).is_ok()) {
            return Ok(numbers);
        }
        Err(BadGuest("it hands out a handle that it does not have".to_owned()))
    }

    /// The memory that a handle is to, if it is good for that.
    fn memory(&self, number: u32, needed: Rights) -> Result<&SharedMemory, ObjectError> {
        let handle = self.get(number)?;
        let memory = handle.memory.as_deref().ok_or(ObjectError::WrongKind)?;
        if handle.rights.contain(needed) { Ok(memory) } else { Err(ObjectError::NoRight) }
    }
}

/// Shared memory that this worker has mapped.
#[derive(Debug, Default)]
pub(super) struct Memories(HashMap<MemoryId, Arc<SharedMemory>>);

impl Memories {
    /// Maps what the parent has made.
    pub(super) fn map(&mut self, memory: Memory, file: Option<OwnedFd>) -> io::Result<()> {
        let file = file.ok_or_else(|| io::Error::other("shared memory came without its file"))?;
        let Memory { id, form, len, writable } = memory;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mapped = SharedMemory::open(&File::from(file), form, len, writable)?;
        self.0.insert(id, Arc::new(mapped));
        Ok(())
    }

    pub(super) fn unmap(&mut self, memory: MemoryId) {
        self.0.remove(&memory);
    }

    /// The handles that a task was granted.
    pub(super) fn handles(&self, granted: &[Granted]) -> Result<Vec<Handle>, BadMessage> {
        let handle = |&Granted { kind, rights, memory }: &Granted| {
            let memory =
                match memory {
                    Some(id) => Some(self.0.get(&id).map(Arc::clone).ok_or_else(|| {
                        BadMessage("a handle is to shared memory that never came".to_owned())
                    })?),
                    None => None,
                };
            Ok(Handle { kind, rights, memory })
        };
        granted.iter().map(handle).collect()
    }
}

fn size(caller: Caller<'_, TaskState>, handle: u32) -> i64 {
    match caller.data().handles.memory(handle, Rights::READ) {
        Ok(memory) => i64::try_from(memory.size()).unwrap_or(i64::MAX),
        Err(error) => -i64::from(shared::status(&Err(error))),
    }
}

fn read(
    mut caller: Caller<'_, TaskState>,
    handle: u32,
    at: u64,
    ptr: u32,
    len: u32,
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let into = GuestSlice::new(ptr, len).write(memory)?;
    let shared = state.handles.memory(handle, Rights::READ);
    Ok(shared::status(&shared.and_then(|shared| shared.read(at, into))))
}

fn write(
    mut caller: Caller<'_, TaskState>,
    handle: u32,
    at: u64,
    ptr: u32,
    len: u32,
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let bytes = GuestSlice::new(ptr, len).read(memory)?;
    let shared = state.handles.memory(handle, Rights::WRITE);
    Ok(shared::status(&shared.and_then(|shared| shared.write(at, bytes))))
}

fn add(
    mut caller: Caller<'_, TaskState>,
    handle: u32,
    at: u64,
    number: u64,
    before: u32,
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    GuestSlice::new(before, 8).read(memory)?;
    let shared = state.handles.memory(handle, Rights::ALL);
    Ok(match shared.and_then(|shared| shared.add(at, number)) {
        Ok(was) => {
            write_u64(memory, before, was)?;
            shared::status(&Ok(()))
        }
        Err(error) => shared::status(&Err(error)),
    })
}

#[cfg(test)]
mod tests {
    use wpool_abi::object::{Call, Item};

    use super::*;

    /// The worker reads of a call what it asks for and no more.
    #[test]
    fn a_call_begins_with_its_verb() {
        let (item, key) = (Item::<u32>::default, Vec::new);
        let calls: Vec<Call> = vec![
            Call::Put(vec![item()]),
            Call::Get(1),
            Call::Poll,
            Call::TaskDone(1),
            Call::Join,
            Call::Close,
            Call::Size,
            Call::Acquire,
            Call::Release(1),
            Call::State,
            Call::ClearPoison,
            Call::Disown,
            Call::Wait,
            Call::Notify(1),
            Call::Flag(true),
            Call::Abort,
            Call::Reset,
            Call::Look(key()),
            Call::Insert { key: key(), value: item(), replace: true },
            Call::Remove(key()),
            Call::All,
            Call::Keys,
            Call::Clear,
            Call::At(1),
            Call::SetAt(1, item()),
            Call::Swap { at: 1, expected: key(), value: item() },
            Call::Extend(vec![item()]),
            Call::InsertAt(1, item()),
            Call::RemoveAt(1),
        ];
        for call in calls {
            let bytes = postcard::to_allocvec(&call).unwrap();
            let (verb, _) = postcard::take_from_bytes::<Verb>(&bytes).unwrap();
            assert_eq!(verb, call.verb());
        }
    }
}
