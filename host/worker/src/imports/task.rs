//! Host functions about the running task: its log, its panic, its end.

use wasmtime::Caller;
use wpool_abi::level;

use super::host_function::memory_and_state;
use crate::guest_error::{BadGuest, Exited};
use crate::guest_mem::GuestSlice;
use crate::state::{Panic, TaskState};

/// The maximum size of a panic's message, in bytes. The panic hook can log more.
const LONGEST_PANIC: usize = 4096;

pub(super) fn log(mut caller: Caller<'_, TaskState>, level: u32, ptr: u32, len: u32) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let line = GuestSlice::new(ptr, len).read(memory)?;
    let prefix = match level {
        level::ERROR => "error: ",
        level::WARN => "warn: ",
        level::INFO => "info: ",
        level::DEBUG => "debug: ",
        level::TRACE => "trace: ",
        other => return Err(BadGuest(format!("it logged at the unknown level {other}")).into()),
    };
    state.log.write(prefix.as_bytes());
    state.log.write(line);
    state.log.write(b"\n");
    Ok(())
}

pub(super) fn panic(
    mut caller: Caller<'_, TaskState>,
    message: u32,
    message_len: u32,
    location: u32,
    location_len: u32,
) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let message = GuestSlice::new(message, message_len).lossy_text(memory, LONGEST_PANIC)?;
    let location = GuestSlice::new(location, location_len).lossy_text(memory, LONGEST_PANIC)?;
    state.panic = Some(Panic { message, location });
    Ok(())
}

pub(super) fn cancelled(mut caller: Caller<'_, TaskState>) -> u32 {
    u32::from(caller.data_mut().must_end())
}

pub(super) fn exit(_: Caller<'_, TaskState>, code: i32) -> wasmtime::Result<()> {
    Err(Exited(code).into())
}
