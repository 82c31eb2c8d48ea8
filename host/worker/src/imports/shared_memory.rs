//! Host functions for shared memory. They return the statuses of `wpool_abi::object::shared`.

use wasmtime::Caller;
use wpool_abi::object::{Rights, shared};

use super::host_function::memory_and_state;
use crate::guest_mem::{GuestSlice, write_u64};
use crate::state::TaskState;

/// Returns the size in bytes, or a negative status.
pub(super) fn size(caller: Caller<'_, TaskState>, handle: u32) -> i64 {
    match caller.data().handles.memory(handle, Rights::READ) {
        Ok(memory) => i64::try_from(memory.size()).unwrap_or(i64::MAX),
        Err(error) => -i64::from(shared::status(&Err(error))),
    }
}

pub(super) fn read(
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

pub(super) fn write(
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

pub(super) fn add(
    mut caller: Caller<'_, TaskState>,
    handle: u32,
    at: u64,
    number: u64,
    before: u32,
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    // A bad address is an error before the element is changed.
    GuestSlice::new(before, 8).read(memory)?;
    let shared = state.handles.memory(handle, Rights::ALL);
    Ok(match shared.and_then(|shared| shared.add(at, number)) {
        Ok(value) => {
            write_u64(memory, before, value)?;
            shared::status(&Ok(()))
        }
        Err(error) => shared::status(&Err(error)),
    })
}
