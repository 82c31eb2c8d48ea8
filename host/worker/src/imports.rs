//! What a guest can import from the module `wpool`: nothing else of the host has a name for it.

use wasmtime::{Caller, Linker};
use wpool_abi::{import, level};

use super::faults::BadGuest;
use super::guest_mem::GuestSlice;
use super::state::{Panic, TaskState};
use super::{handles, requests};

/// The names that a guest can import.
pub(crate) const NAMES: [&str; 14] = [
    import::LOG,
    import::PANIC,
    import::CANCELLED,
    import::EMIT,
    import::SUBMIT,
    import::OUTCOME,
    import::ANSWER,
    import::CALL,
    import::POST,
    import::FLUSH,
    import::SHARED_SIZE,
    import::SHARED_READ,
    import::SHARED_WRITE,
    import::SHARED_ADD,
];

/// A panic's message is cut here; the log has room for more.
const LONGEST_PANIC: usize = 4096;

/// Gives every import its function.
pub(super) fn define(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker.func_wrap(import::MODULE, import::LOG, log)?;
    linker.func_wrap(import::MODULE, import::PANIC, panic)?;
    linker.func_wrap(import::MODULE, import::CANCELLED, cancelled)?;
    handles::define(linker)?;
    requests::define(linker)
}

/// The guest's memory and the task's state, side by side.
pub(super) fn memory_and_state<'a>(
    caller: &'a mut Caller<'_, TaskState>,
) -> Result<(&'a mut [u8], &'a mut TaskState), BadGuest> {
    let memory =
        caller.data().memory.ok_or_else(|| BadGuest("it called the host while it started".to_owned()))?;
    Ok(memory.data_and_store_mut(caller))
}

fn log(mut caller: Caller<'_, TaskState>, level: u32, ptr: u32, len: u32) -> wasmtime::Result<()> {
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

fn cancelled(mut caller: Caller<'_, TaskState>) -> u32 {
    u32::from(caller.data_mut().is_over())
}

fn panic(
    mut caller: Caller<'_, TaskState>,
    message: u32,
    message_len: u32,
    location: u32,
    location_len: u32,
) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let text = |ptr, len: u32| {
        let bytes = GuestSlice::new(ptr, len).read(memory)?;
        Ok::<_, BadGuest>(String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_PANIC)]).into_owned())
    };
    let panic = Panic { message: text(message, message_len)?, location: text(location, location_len)? };
    state.panic = Some(panic);
    Ok(())
}
