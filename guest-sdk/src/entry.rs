//! The exports of a guest: its tasks' entry points, their descriptions, and the allocation of arguments.

use std::alloc::Layout;
use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::Once;

use serde::Deserialize;
use wpool_abi::{ErrorPayload, Field, TaskDescription, TypeIndex, status};
use wpool_objects::Handle as _;
use wpool_schema::TypeTable;

use crate::host;
use crate::objects::{Handle, flush};

/// The alignment of an argument block, as the ABI defines it for `wpool_alloc`.
const ARGUMENT_ALIGN: usize = 8;

/// The outcome record, in the layout of `wpool_abi::outcome`.
#[derive(Debug)]
#[repr(C)]
pub struct Outcome {
    status: u32,
    bytes: *const u8,
    len: usize,
    handles: *const u32,
    handle_count: usize,
}

/// The outcome of the last call, and the memory that its record refers to.
struct LastOutcome {
    record: Outcome,
    bytes: Vec<u8>,
    handles: Vec<u32>,
}

thread_local! {
    /// It stays until the next call, so that the host can read it after the guest has returned.
    static LAST_OUTCOME: RefCell<LastOutcome> = const {
        RefCell::new(LastOutcome {
            record: Outcome {
                status: 0,
                bytes: std::ptr::null(),
                len: 0,
                handles: std::ptr::null(),
                handle_count: 0,
            },
            bytes: Vec::new(),
            handles: Vec::new(),
        })
    };
}

/// Runs one task: decodes its arguments from the block that `wpool_alloc` made, calls the function, encodes its result,
/// and frees the block. Returns the address of the outcome record.
///
/// # Safety
/// `args` and `len` describe a block from `wpool_alloc` that the host has filled and no longer uses. Nothing that
/// `call` and `encode` borrow from the arguments outlives `encode`; the macro ensures this by requiring that the
/// parameters can be decoded with any lifetime, so that `call` cannot expect `'static`.
pub unsafe fn run<A: Deserialize<'static>, R>(
    args: *mut u8,
    len: usize,
    handles: usize,
    call: impl FnOnce(A) -> R,
    encode: impl FnOnce(R, &mut Vec<u8>) -> u32,
) -> *const Outcome {
    report_panics();
    // SAFETY: `args` and `len` describe one block, as the caller promises. An empty block has no address.
    let block: &'static [u8] = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(args, len) } };
    let (status, bytes, handles) = match decode(block, handles) {
        Ok(arguments) => finish(call(arguments), encode),
        Err(message) => (status::BAD_ARGUMENTS, message.into_bytes(), Vec::new()),
    };
    if len != 0 {
        // SAFETY: the block came from `wpool_alloc` with this layout, and by the caller's promise nothing borrows from
        // it.
        unsafe { std::alloc::dealloc(args, Layout::from_size_align_unchecked(len, ARGUMENT_ALIGN)) };
    }
    keep(status, bytes, handles)
}

/// Decodes the arguments behind the handle indices, and requires that nothing is left over.
fn decode<A: Deserialize<'static>>(block: &'static [u8], handles: usize) -> Result<A, String> {
    let (indices, bytes) = handles
        .checked_mul(4)
        .and_then(|start| block.split_at_checked(start))
        .ok_or_else(|| format!("a block of {} bytes cannot start with {handles} handles", block.len()))?;
    let read = || match postcard::take_from_bytes(bytes) {
        Ok((arguments, [])) => Ok(arguments),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    };
    if indices.is_empty() {
        return read();
    }
    let (indices, _) = indices.as_chunks::<4>();
    let handles = indices.iter().map(|index| Handle::from_index(u32::from_le_bytes(*index))).collect();
    Handle::resolving(handles, read)
}

/// Encodes what a task returned, and waits for its posted calls. Returns the outcome's status, bytes and wire indices.
fn finish<R>(returned: R, encode: impl FnOnce(R, &mut Vec<u8>) -> u32) -> (u32, Vec<u8>, Vec<u32>) {
    let mut bytes = Vec::new();
    let (status, handles) = Handle::attaching(|| encode(returned, &mut bytes));
    // An error of the task's own says more than that of a posted call.
    if let (status::VALUE, Err(error)) = (status, flush()) {
        let (status, bytes) = encode_failure(format!("the task ended, but {error}"));
        return (status, bytes, Vec::new());
    }
    let handles = if status == status::VALUE { handles } else { Vec::new() };
    (status, bytes, handles.iter().map(Handle::wire_index).collect())
}

/// The outcome of a task that returned, but whose posted calls failed.
fn encode_failure(message: String) -> (u32, Vec<u8>) {
    match postcard::to_allocvec(&ErrorPayload { message, value: None }) {
        Ok(bytes) => (status::ERROR, bytes),
        Err(error) => (status::BAD_RESULT, error.to_string().into_bytes()),
    }
}

/// Describes one task, and returns the address of an outcome record with the description.
pub fn describe(
    name: &str,
    docs: &str,
    params: impl FnOnce(&mut TypeTable) -> Vec<Field>,
    output: impl FnOnce(&mut TypeTable) -> (TypeIndex, Option<TypeIndex>),
) -> *const Outcome {
    report_panics();
    let mut types = TypeTable::default();
    let params = params(&mut types);
    let (returns, error) = output(&mut types);
    let description = TaskDescription {
        name: name.to_owned(),
        docs: docs.to_owned(),
        params,
        returns,
        error,
        types: types.into_types(),
    };
    match postcard::to_allocvec(&description) {
        Ok(bytes) => keep(status::VALUE, bytes, Vec::new()),
        Err(error) => keep(status::BAD_RESULT, error.to_string().into_bytes(), Vec::new()),
    }
}

/// Stores an outcome for the host to read, and returns the address of its record.
fn keep(status: u32, bytes: Vec<u8>, handles: Vec<u32>) -> *const Outcome {
    LAST_OUTCOME.with_borrow_mut(|last| {
        (last.bytes, last.handles) = (bytes, handles);
        last.record = Outcome {
            status,
            bytes: last.bytes.as_ptr(),
            len: last.bytes.len(),
            handles: last.handles.as_ptr(),
            handle_count: last.handles.len(),
        };
        &raw const last.record
    })
}

/// Has a panic report its message and location to the host before the guest traps. Natively a panic is left to the
/// test.
fn report_panics() {
    static HOOK: Once = Once::new();
    if cfg!(target_family = "wasm") {
        HOOK.call_once(|| std::panic::set_hook(Box::new(report_panic)));
    }
}

fn report_panic(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a value that is no text");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    host::panic(message, &location);
}

/// Allocates an argument block, which [`run`] frees. Null if `len` is zero or there is no memory.
#[cfg(target_family = "wasm")]
#[unsafe(export_name = "wpool_alloc")]
extern "C" fn allocate(len: usize) -> *mut u8 {
    if len == 0 {
        return std::ptr::null_mut();
    }
    match Layout::from_size_align(len, ARGUMENT_ALIGN) {
        // SAFETY: the layout's size is not zero.
        Ok(layout) => unsafe { std::alloc::alloc(layout) },
        Err(_) => std::ptr::null_mut(),
    }
}

/// The version of the ABI, which the host reads from the name. It is never called.
#[cfg(target_family = "wasm")]
#[unsafe(export_name = "wpool_abi_v1")]
extern "C" fn abi_version() {}
