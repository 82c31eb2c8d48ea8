//! The host functions of WASI's first preview, for guests that import it: no files, no network, no environment.
//!
//! Standard output and error go to the task's log, standard input is empty, `poll_oneoff` suspends the task, clocks
//! tick in milliseconds, random numbers are random. Every other function returns `ENOSYS` or, if it takes a descriptor,
//! `EBADF`. The functions and their numbers are those of the preview's own document, `wasi_snapshot_preview1.witx`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime::{Caller, ExternType, Linker, Module, Val};
use wpool_abi::import::WASI;

use super::host_function::{HostFunction, host_functions, memory_and_state};
use crate::guest_error::{BadGuest, EndRequested, Exited};
use crate::guest_mem::{GuestSlice, read_array, write_u32, write_u64};
use crate::state::{CancelToken, SuspendReason, TaskState, YieldState};

const SUCCESS: i32 = 0;
const BADF: i32 = BADF_EVENT as i32;
/// `BADF` in the width that an event has for it.
const BADF_EVENT: u16 = 8;
const INVAL: i32 = 28;
const NOSYS: i32 = 52;
const SPIPE: i32 = 70;

/// The maximum number of subscriptions in one call of `poll_oneoff`.
const MAX_SUBSCRIPTIONS: u32 = 64;
/// The maximum number of pieces in one call of `fd_write`.
const MAX_PIECES: u32 = 1024;
/// The resolution of a guest's clocks. A finer one would help to measure other processes by side channels.
const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

/// The functions that return `BADF`: no guest has a descriptor that they could work on.
const WITHOUT_DESCRIPTORS: &[&str] = &[
    "fd_advise",
    "fd_allocate",
    "fd_datasync",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_readdir",
    "fd_renumber",
    "fd_sync",
    "fd_tell",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// The functions that return `NOSYS`.
const WITHOUT_SYSTEM: &[&str] = &["proc_raise"];

/// The functions that are implemented.
const FUNCTIONS: &[HostFunction] = host_functions!(WASI, {
    sync "args_get" => |_: u32, _: u32| SUCCESS,
    sync "args_sizes_get" => empty_sizes,
    sync "clock_res_get" => clock_resolution,
    sync "clock_time_get" => clock_time,
    sync "environ_get" => |_: u32, _: u32| SUCCESS,
    sync "environ_sizes_get" => empty_sizes,
    sync "fd_close" => |fd: u32| if fd <= 2 { SUCCESS } else { BADF },
    sync "fd_fdstat_get" => descriptor_status,
    sync "fd_read" => read,
    sync "fd_seek" => |fd: u32, _: i64, _: u32, _: u32| if fd <= 2 { SPIPE } else { BADF },
    sync "fd_write" => write,
    async "poll_oneoff" => poll,
    sync "proc_exit" => exit,
    sync "random_get" => random,
    sync "sched_yield" => || SUCCESS,
});

/// Returns whether the preview has a function of this name.
pub(super) fn is_known(name: &str) -> bool {
    without_effect(name).is_some() || FUNCTIONS.iter().any(|function| function.name == name)
}

/// Returns the constant result of a function that is not implemented; `None` for all other names.
fn without_effect(name: &str) -> Option<i32> {
    match name {
        name if WITHOUT_DESCRIPTORS.contains(&name) => Some(BADF),
        name if WITHOUT_SYSTEM.contains(&name) => Some(NOSYS),
        _ => None,
    }
}

/// Defines the functions that `module` can import, if it imports the preview at all.
pub(super) fn define(linker: &mut Linker<TaskState>, module: &Module) -> wasmtime::Result<()> {
    if !module.imports().any(|import| import.module() == WASI) {
        return Ok(());
    }
    for import in module.imports().filter(|import| import.module() == WASI) {
        let (name, ExternType::Func(ty)) = (import.name(), import.ty()) else { continue };
        let Some(errno) = without_effect(name) else { continue };
        linker.func_new(WASI, name, ty, move |_, _, results| {
            if let Some(result) = results.first_mut() {
                *result = Val::I32(errno);
            }
            Ok(())
        })?;
    }
    for function in FUNCTIONS {
        (function.define)(linker, function.name)?;
    }
    Ok(())
}

fn exit(code: i32) -> wasmtime::Result<()> {
    Err(Exited(code).into())
}

/// Writes that there are no arguments, or no environment: the number of entries and their size are zero.
fn empty_sizes(mut caller: Caller<'_, TaskState>, count: u32, size: u32) -> wasmtime::Result<i32> {
    let (memory, _) = memory_and_state(&mut caller)?;
    write_u32(memory, count, 0)?;
    write_u32(memory, size, 0)?;
    Ok(SUCCESS)
}

fn clock_resolution(mut caller: Caller<'_, TaskState>, clock: u32, out: u32) -> wasmtime::Result<i32> {
    if now(clock).is_none() {
        return Ok(INVAL);
    }
    let (memory, _) = memory_and_state(&mut caller)?;
    write_u64(memory, out, nanos(CLOCK_RESOLUTION))?;
    Ok(SUCCESS)
}

fn clock_time(mut caller: Caller<'_, TaskState>, clock: u32, _: u64, out: u32) -> wasmtime::Result<i32> {
    let Some(now) = now(clock) else { return Ok(INVAL) };
    let (memory, _) = memory_and_state(&mut caller)?;
    write_u64(memory, out, now)?;
    Ok(SUCCESS)
}

/// Returns the time of a clock in nanoseconds, rounded down to its resolution; `None` if there is no such clock. The
/// monotonic clock starts at zero in each worker, so it does not reveal the uptime of the machine.
fn now(clock: u32) -> Option<u64> {
    const REALTIME: u32 = 0;
    const MONOTONIC: u32 = 1;
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let time = match clock {
        REALTIME => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        MONOTONIC => START.elapsed(),
        _ => return None,
    };
    let resolution = nanos(CLOCK_RESOLUTION);
    Some(nanos(time) / resolution * resolution)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Describes a standard stream as a character device that can be read or written and nothing else.
fn descriptor_status(mut caller: Caller<'_, TaskState>, fd: u32, out: u32) -> wasmtime::Result<i32> {
    const CHARACTER_DEVICE: u8 = 2;
    const RIGHT_READ: u64 = 1 << 1;
    const RIGHT_WRITE: u64 = 1 << 6;
    if fd > 2 {
        return Ok(BADF);
    }
    let (memory, _) = memory_and_state(&mut caller)?;
    let record = GuestSlice::new(out, 24).write(memory)?;
    record.fill(0);
    record[0] = CHARACTER_DEVICE;
    let rights = if fd == 0 { RIGHT_READ } else { RIGHT_WRITE };
    record[8..16].copy_from_slice(&rights.to_le_bytes());
    Ok(SUCCESS)
}

/// Reads zero bytes: standard input is at its end.
fn read(mut caller: Caller<'_, TaskState>, fd: u32, _: u32, _: u32, out: u32) -> wasmtime::Result<i32> {
    if fd != 0 {
        return Ok(BADF);
    }
    let (memory, _) = memory_and_state(&mut caller)?;
    write_u32(memory, out, 0)?;
    Ok(SUCCESS)
}

/// Writes to standard output or error, which go to the task's log.
fn write(
    mut caller: Caller<'_, TaskState>,
    fd: u32,
    pieces: u32,
    count: u32,
    out: u32,
) -> wasmtime::Result<i32> {
    if fd != 1 && fd != 2 {
        return Ok(BADF);
    }
    if count > MAX_PIECES {
        return Ok(INVAL);
    }
    let (memory, state) = memory_and_state(&mut caller)?;
    let mut written = 0u32;
    for piece in 0..count {
        let record =
            pieces.checked_add(piece * 8).ok_or_else(|| BadGuest("its pieces wrap around".to_owned()))?;
        let [a, b, c, d, len @ ..] = read_array::<8>(memory, record)?;
        let (ptr, len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(len));
        state.log.write(GuestSlice::new(ptr, len).read(memory)?);
        written = written.saturating_add(len);
    }
    write_u32(memory, out, written)?;
    Ok(SUCCESS)
}

fn random(mut caller: Caller<'_, TaskState>, ptr: u32, len: u32) -> wasmtime::Result<i32> {
    let (memory, _) = memory_and_state(&mut caller)?;
    let bytes = GuestSlice::new(ptr, len).write(memory)?;
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(SUCCESS)
}

/// A subscription to a clock or to a descriptor.
enum Subscription {
    Until(Instant),
    /// A standard stream is always ready, and any other descriptor is an error.
    Descriptor {
        errno: u16,
        kind: u8,
    },
}

/// Suspends the task until the first of its subscriptions is ready.
async fn poll(
    mut caller: Caller<'_, TaskState>,
    (subscriptions, events, count, out): (u32, u32, u32, u32),
) -> wasmtime::Result<i32> {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Ok(INVAL);
    }
    let (memory, _) = memory_and_state(&mut caller)?;
    let Some(wanted) = read_subscriptions(memory, subscriptions, count)? else { return Ok(INVAL) };
    let deadlines = wanted.iter().map(|(_, subscription)| match subscription {
        Subscription::Until(time) => Some(*time),
        Subscription::Descriptor { .. } => None,
    });
    // A descriptor is ready at once: its `None` is less than every time.
    if let Some(Some(first)) = deadlines.min() {
        sleep_until(&mut caller, first).await?;
    }
    let (memory, _) = memory_and_state(&mut caller)?;
    let happened = write_events(memory, events, &wanted)?;
    write_u32(memory, out, happened)?;
    Ok(SUCCESS)
}

/// Reads subscriptions with their user data; `None` if one is malformed.
fn read_subscriptions(
    memory: &[u8],
    ptr: u32,
    count: u32,
) -> Result<Option<Vec<(u64, Subscription)>>, BadGuest> {
    let mut wanted = Vec::new();
    for n in 0..count {
        let at =
            ptr.checked_add(n * 48).ok_or_else(|| BadGuest("its subscriptions wrap around".to_owned()))?;
        let Some(subscription) = parse_subscription(&read_array(memory, at)?) else { return Ok(None) };
        wanted.push(subscription);
    }
    Ok(Some(wanted))
}

/// Writes an event for each subscription that is ready, and returns their number.
fn write_events(memory: &mut [u8], ptr: u32, wanted: &[(u64, Subscription)]) -> Result<u32, BadGuest> {
    let now = Instant::now();
    let mut happened = 0;
    for (userdata, subscription) in wanted {
        let (errno, kind) = match subscription {
            Subscription::Until(time) if *time <= now => (0, 0),
            Subscription::Until(_) => continue,
            Subscription::Descriptor { errno, kind } => (*errno, *kind),
        };
        let at =
            ptr.checked_add(happened * 32).ok_or_else(|| BadGuest("its events wrap around".to_owned()))?;
        let event = GuestSlice::new(at, 32).write(memory)?;
        event.fill(0);
        event[..8].copy_from_slice(&userdata.to_le_bytes());
        event[8..10].copy_from_slice(&errno.to_le_bytes());
        event[10] = kind;
        happened += 1;
    }
    Ok(happened)
}

fn parse_subscription(record: &[u8; 48]) -> Option<(u64, Subscription)> {
    const ABSOLUTE: u16 = 1;
    let u64_at = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
    let u32_at = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("four bytes"));
    let userdata = u64_at(0);
    let subscription = match record[8] {
        0 => {
            let (clock, timeout) = (u32_at(16), u64_at(24));
            let flags = u16::from_le_bytes([record[40], record[41]]);
            let wait = if flags & ABSOLUTE == 0 { timeout } else { timeout.saturating_sub(now(clock)?) };
            // Longer than any task lives, and short enough that the sum below cannot overflow.
            const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
            Subscription::Until(Instant::now() + Duration::from_nanos(wait).min(LONGEST))
        }
        kind @ (1 | 2) => {
            let errno = if u32_at(16) <= 2 { 0 } else { BADF_EVENT };
            Subscription::Descriptor { errno, kind }
        }
        _ => return None,
    };
    Some((userdata, subscription))
}

/// Suspends the task until `until`. The time does not count as running.
async fn sleep_until(caller: &mut Caller<'_, TaskState>, until: Instant) -> Result<(), EndRequested> {
    let state = caller.data_mut();
    state.pause();
    let (yield_state, cancel) = (Arc::clone(&state.yield_state), state.cancel.clone());
    Sleep { until, yield_state: &yield_state, cancel: &cancel }.await;
    caller.data_mut().clock.resume();
    if cancel.end_requested() { Err(EndRequested) } else { Ok(()) }
}

/// Waits for a point in time, or for a request of the task's end. The worker's loop polls it again at that time.
struct Sleep<'a> {
    until: Instant,
    yield_state: &'a YieldState,
    cancel: &'a CancelToken,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until || self.cancel.end_requested() {
            return Poll::Ready(());
        }
        self.yield_state.set_reason(SuspendReason::Until(self.until));
        Poll::Pending
    }
}
