//! The border with the host: exports, imports, and all code that handles raw addresses.

use std::alloc::Layout;
use std::cell::UnsafeCell;

use serde::Deserialize;
use wpool_abi::status;

use crate::log::Level;
use crate::objects::Handle;
use wpool_schema::TypeTable;

/// Handles are 4 bytes, and what a task makes of its arguments may want 8.
const ARGUMENT_ALIGN: usize = 8;

/// The outcome record, as `wpool_abi::outcome` lays it out.
#[derive(Debug)]
#[repr(C)]
pub struct Outcome {
    status: u32,
    bytes: *const u8,
    len: usize,
    handles: *const u32,
    handle_count: usize,
}

/// What the last call left for the host to read. It stays until the next call.
struct Last {
    outcome: Outcome,
    bytes: Vec<u8>,
    handles: Vec<u32>,
}

struct LastCell(UnsafeCell<Last>);

// SAFETY: a guest has one thread.
unsafe impl Sync for LastCell {}

static LAST: LastCell = LastCell(UnsafeCell::new(Last {
    outcome: Outcome {
        status: 0,
        bytes: std::ptr::null(),
        len: 0,
        handles: std::ptr::null(),
        handle_count: 0,
    },
    bytes: Vec::new(),
    handles: Vec::new(),
}));

/// Puts an outcome where the host finds it.
fn leave(status: u32, bytes: Vec<u8>, handles: Vec<u32>) -> *const Outcome {
    // SAFETY: a guest has one thread, and no reference to `LAST` outlives this function.
    let last = unsafe { &mut *LAST.0.get() };
    (last.bytes, last.handles) = (bytes, handles);
    last.outcome = Outcome {
        status,
        bytes: last.bytes.as_ptr(),
        len: last.bytes.len(),
        handles: last.handles.as_ptr(),
        handle_count: last.handles.len(),
    };
    &raw const last.outcome
}

/// Runs one task: decodes its arguments from the block that `wpool_alloc` made, calls it, leaves what
/// it returned, and frees the block.
///
/// # Safety
/// `args` and `len` describe a block from `wpool_alloc` that nobody else uses, filled by the host. What
/// `call` and `encode` borrow from the arguments does not outlive `encode`; the macro sees to it by
/// refusing parameters with a named lifetime.
pub unsafe fn run<A: Deserialize<'static>, R>(
    args: *mut u8,
    len: usize,
    handles: usize,
    call: impl FnOnce(A) -> R,
    encode: impl FnOnce(R, &mut Vec<u8>) -> u32,
) -> *const Outcome {
    report_panics();
    // SAFETY: the caller's promise. An empty block has no address.
    let block: &'static [u8] = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(args, len) } };
    let mut numbers = Vec::new();
    let (status, bytes) = match decode(block, handles) {
        Ok(arguments) => {
            let mut bytes = Vec::new();
            let returned = call(arguments);
            let (status, handles) =
                <Handle as wpool_objects::Handle>::sending(|| encode(returned, &mut bytes));
            numbers = handles.iter().map(Handle::travelling).collect();
            match crate::objects::flush() {
                Ok(()) => (status, bytes),
                Err(error) => failed(&format!("the task ended, but {error}")),
            }
        }
        Err(message) => (status::BAD_ARGUMENTS, message.into_bytes()),
    };
    if status != status::VALUE {
        numbers.clear();
    }
    if len != 0 {
        // SAFETY: the block came from `wpool_alloc` with this layout, and nothing borrows from it now.
        unsafe { std::alloc::dealloc(args, Layout::from_size_align_unchecked(len, ARGUMENT_ALIGN)) };
    }
    leave(status, bytes, numbers)
}

/// The outcome of a task that returned too early to know what went wrong.
fn failed(message: &str) -> (u32, Vec<u8>) {
    let payload = wpool_abi::ErrorPayload { message: message.to_owned(), value: None };
    match postcard::to_allocvec(&payload) {
        Ok(bytes) => (status::ERROR, bytes),
        Err(error) => (status::BAD_RESULT, error.to_string().into_bytes()),
    }
}

/// Reads the arguments behind the handles, all of them and nothing more.
fn decode<A: Deserialize<'static>>(block: &'static [u8], handles: usize) -> Result<A, String> {
    let (numbers, bytes) = handles
        .checked_mul(4)
        .and_then(|start| block.split_at_checked(start))
        .ok_or_else(|| format!("a block of {} bytes cannot start with {handles} handles", block.len()))?;
    let read = || match postcard::take_from_bytes(bytes) {
        Ok((arguments, [])) => Ok(arguments),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    };
    if numbers.is_empty() {
        return read();
    }
    let (numbers, _) = numbers.as_chunks::<4>();
    let handles = numbers.iter().map(|number| Handle::from_number(u32::from_le_bytes(*number))).collect();
    <Handle as wpool_objects::Handle>::receiving(handles, read)
}

/// Leaves a task's description.
pub fn describe(
    name: &str,
    docs: &str,
    params: impl FnOnce(&mut TypeTable) -> Vec<wpool_abi::Field>,
    output: impl FnOnce(&mut TypeTable) -> (wpool_abi::TypeIndex, Option<wpool_abi::TypeIndex>),
) -> *const Outcome {
    report_panics();
    let mut types = TypeTable::default();
    let params = params(&mut types);
    let (returns, error) = output(&mut types);
    let description = wpool_abi::TaskDescription {
        name: name.to_owned(),
        docs: docs.to_owned(),
        params,
        returns,
        error,
        types: types.into_types(),
    };
    match postcard::to_allocvec(&description) {
        Ok(bytes) => leave(status::VALUE, bytes, Vec::new()),
        Err(error) => leave(status::BAD_RESULT, error.to_string().into_bytes(), Vec::new()),
    }
}

#[cfg(target_family = "wasm")]
mod wasm {
    use std::alloc::Layout;
    use std::sync::Once;

    use crate::log::Level;

    #[link(wasm_import_module = "wpool")]
    unsafe extern "C" {
        fn log(level: u32, ptr: *const u8, len: usize);
        fn cancelled() -> u32;
        fn emit(of: u64, ptr: *const u8, len: usize);
        fn submit(
            name: *const u8,
            name_len: usize,
            takes: u64,
            returns: u64,
            args: *const u8,
            args_len: usize,
            handles: usize,
        ) -> u32;
        fn outcome(number: u32) -> usize;
        fn answer(ptr: *mut u8);
        fn call(handle: u32, wait: i64, ptr: *const u8, len: usize) -> usize;
        fn post(handle: u32, ptr: *const u8, len: usize) -> u32;
        fn flush() -> usize;
        fn shared_size(handle: u32) -> i64;
        fn shared_read(handle: u32, at: u64, ptr: *mut u8, len: usize) -> u32;
        fn shared_write(handle: u32, at: u64, ptr: *const u8, len: usize) -> u32;
        fn shared_add(handle: u32, at: u64, number: u64, before: *mut u64) -> u32;
        fn panic(message: *const u8, message_len: usize, location: *const u8, location_len: usize);
    }

    /// The version of the ABI is in the name; nobody calls it.
    #[unsafe(export_name = "wpool_abi_v1")]
    extern "C" fn abi_version() {}

    #[unsafe(export_name = "wpool_alloc")]
    extern "C" fn allocate(len: usize) -> *mut u8 {
        if len == 0 {
            return std::ptr::null_mut();
        }
        match Layout::from_size_align(len, super::ARGUMENT_ALIGN) {
            // SAFETY: the layout's size is not zero.
            Ok(layout) => unsafe { std::alloc::alloc(layout) },
            Err(_) => std::ptr::null_mut(),
        }
    }

    pub(super) fn host_cancelled() -> bool {
        // SAFETY: it takes nothing and returns a number.
        unsafe { cancelled() != 0 }
    }

    pub(super) fn host_emit(of: u64, value: &[u8]) {
        // SAFETY: the host reads `value` before it returns.
        unsafe { emit(of, value.as_ptr(), value.len()) }
    }

    pub(super) fn host_submit(task: &str, takes: u64, returns: u64, block: &[u8], handles: usize) -> u32 {
        let (args, len) = (block.as_ptr(), block.len());
        // SAFETY: the host reads the name and the arguments before it returns.
        unsafe { submit(task.as_ptr(), task.len(), takes, returns, args, len, handles) }
    }

    pub(super) fn host_outcome(number: u32) -> Vec<u8> {
        // SAFETY: it takes and returns numbers.
        take_answer(unsafe { outcome(number) })
    }

    pub(super) fn host_call(handle: u32, wait: i64, question: &[u8]) -> Vec<u8> {
        // SAFETY: the host reads the question before it returns.
        take_answer(unsafe { call(handle, wait, question.as_ptr(), question.len()) })
    }

    pub(super) fn host_post(handle: u32, question: &[u8]) -> u32 {
        // SAFETY: the host reads the question before it returns.
        unsafe { post(handle, question.as_ptr(), question.len()) }
    }

    pub(super) fn host_shared_size(handle: u32) -> i64 {
        // SAFETY: it takes and returns numbers.
        unsafe { shared_size(handle) }
    }

    pub(super) fn host_shared_read(handle: u32, at: u64, into: &mut [u8]) -> u32 {
        // SAFETY: the host writes as many bytes as `into` has, and any bytes are good ones.
        unsafe { shared_read(handle, at, into.as_mut_ptr(), into.len()) }
    }

    pub(super) fn host_shared_write(handle: u32, at: u64, bytes: &[u8]) -> u32 {
        // SAFETY: the host reads the bytes before it returns.
        unsafe { shared_write(handle, at, bytes.as_ptr(), bytes.len()) }
    }

    pub(super) fn host_shared_add(handle: u32, at: u64, number: u64) -> (u32, u64) {
        let mut before = 0;
        // SAFETY: the host writes the eight bytes of `before`.
        let status = unsafe { shared_add(handle, at, number, &raw mut before) };
        (status, before)
    }

    pub(super) fn host_flush() -> Vec<u8> {
        // SAFETY: it takes nothing and returns a number.
        take_answer(unsafe { flush() })
    }

    /// The answer, whose length the host has just told.
    fn take_answer(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        // SAFETY: the host writes as many bytes as it has said.
        unsafe { answer(bytes.as_mut_ptr()) };
        bytes
    }

    pub(super) fn host_log(level: Level, line: &str) {
        // SAFETY: the host reads `len` bytes at `ptr` before it returns.
        unsafe { log(level as u32, line.as_ptr(), line.len()) }
    }

    /// Sends a panic's message and place to the host before the guest traps.
    pub(super) fn report_panics() {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            std::panic::set_hook(Box::new(|info| {
                let message = info.payload_as_str().unwrap_or("a value that is no text");
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                // SAFETY: the host reads both strings before it returns.
                unsafe { panic(message.as_ptr(), message.len(), place.as_ptr(), place.len()) }
            }));
        });
    }
}

#[cfg(target_family = "wasm")]
fn report_panics() {
    wasm::report_panics();
}

/// In a native test a panic is the test's.
#[cfg(not(target_family = "wasm"))]
fn report_panics() {}

/// Whether the host wants the task to end.
#[cfg(target_family = "wasm")]
pub(crate) fn host_cancelled() -> bool {
    wasm::host_cancelled()
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_cancelled() -> bool {
    false
}

/// Gives a value to whoever reads what the task emits.
#[cfg(target_family = "wasm")]
pub(crate) fn host_emit(of: u64, value: &[u8]) {
    wasm::host_emit(of, value);
}

/// In a native test nobody does.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_emit(_: u64, _: &[u8]) {}

/// Submits a sub-task, and tells its number.
#[cfg(target_family = "wasm")]
pub(crate) fn host_submit(task: &str, takes: u64, returns: u64, block: &[u8], handles: usize) -> u32 {
    wasm::host_submit(task, takes, returns, block, handles)
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_submit(_: &str, _: u64, _: u64, _: &[u8], _: usize) -> u32 {
    0
}

/// Waits for a sub-task's outcome.
#[cfg(target_family = "wasm")]
pub(crate) fn host_outcome(number: u32) -> Vec<u8> {
    wasm::host_outcome(number)
}

/// In a native test there is no pool.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_outcome(_: u32) -> Vec<u8> {
    let failure = wpool_abi::SubTaskFailure {
        kind: "not_allowed".to_owned(),
        message: "there is no pool outside of a sandbox".to_owned(),
        value: None,
    };
    postcard::to_allocvec(&wpool_abi::SubTaskOutcome::Failed(failure)).expect("text can be encoded")
}

/// Asks something of a shared object, and waits for the answer.
#[cfg(target_family = "wasm")]
pub(crate) fn host_call(handle: u32, wait: i64, call: &[u8]) -> Vec<u8> {
    wasm::host_call(handle, wait, call)
}

/// In a native test there are no handles.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_call(_: u32, _: i64, _: &[u8]) -> Vec<u8> {
    let none: Result<wpool_abi::object::Reply, _> = Err(wpool_abi::object::ObjectError::PoolClosed);
    postcard::to_allocvec(&none).expect("an error can be encoded")
}

/// Asks for something that needs no answer.
#[cfg(target_family = "wasm")]
pub(crate) fn host_post(handle: u32, call: &[u8]) -> u32 {
    wasm::host_post(handle, call)
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_post(_: u32, _: &[u8]) -> u32 {
    NO_HANDLE
}

/// The status of what a handle is asked for that was never granted.
#[cfg(not(target_family = "wasm"))]
const NO_HANDLE: u32 = 1;

/// How many bytes a shared array has; if it is negative, why that is not known.
#[cfg(target_family = "wasm")]
pub(crate) fn host_shared_size(handle: u32) -> i64 {
    wasm::host_shared_size(handle)
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_shared_size(_: u32) -> i64 {
    -i64::from(NO_HANDLE)
}

/// Copies from a shared array.
#[cfg(target_family = "wasm")]
pub(crate) fn host_shared_read(handle: u32, at: u64, into: &mut [u8]) -> u32 {
    wasm::host_shared_read(handle, at, into)
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_shared_read(_: u32, _: u64, _: &mut [u8]) -> u32 {
    NO_HANDLE
}

/// Copies to a shared array.
#[cfg(target_family = "wasm")]
pub(crate) fn host_shared_write(handle: u32, at: u64, bytes: &[u8]) -> u32 {
    wasm::host_shared_write(handle, at, bytes)
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_shared_write(_: u32, _: u64, _: &[u8]) -> u32 {
    NO_HANDLE
}

/// Adds to an element of a shared array, and tells what it was.
#[cfg(target_family = "wasm")]
pub(crate) fn host_shared_add(handle: u32, at: u64, number: u64) -> (u32, u64) {
    wasm::host_shared_add(handle, at, number)
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_shared_add(_: u32, _: u64, _: u64) -> (u32, u64) {
    (NO_HANDLE, 0)
}

/// Waits until all that needs no answer is done.
#[cfg(target_family = "wasm")]
pub(crate) fn host_flush() -> Vec<u8> {
    wasm::host_flush()
}

#[cfg(not(target_family = "wasm"))]
pub(crate) fn host_flush() -> Vec<u8> {
    host_call(0, 0, &[])
}

/// Sends one line to the task's log.
#[cfg(target_family = "wasm")]
pub(crate) fn host_log(level: Level, line: &str) {
    wasm::host_log(level, line);
}

/// In a native test the log goes to standard error.
#[cfg(not(target_family = "wasm"))]
#[expect(clippy::print_stderr, reason = "outside a sandbox there is no task's log")]
pub(crate) fn host_log(level: Level, line: &str) {
    eprintln!("{level:?}: {line}");
}
