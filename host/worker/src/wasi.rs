//! WASI's first preview for guests that import it: no files, no network, no environment.
//!
//! Standard output and error go to the task's log, standard input is empty, `poll_oneoff` suspends the
//! task, clocks tick in milliseconds, random numbers are random. Every other function answers `ENOSYS`
//! or, where it takes a descriptor, that there is no such descriptor. The functions and their numbers
//! are those of the preview's own document, `wasi_snapshot_preview1.witx`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use std::sync::Arc;

use wasmtime::{Caller, ExternType, Linker, Module, Val};
use wpool_abi::import::WASI;

use super::faults::{BadGuest, Ended, Exited};
use super::guest_mem::{GuestSlice, read_u32, write_u32, write_u64};
use super::imports::memory_and_state;
use super::state::{Order, TaskState, Turns};

const SUCCESS: i32 = 0;
const BADF: i32 = BADF_EVENT as i32;
/// The same, as an event has it.
const BADF_EVENT: u16 = 8;
const INVAL: i32 = 28;
const NOSYS: i32 = 52;
const SPIPE: i32 = 70;

/// A guest can wait for so many events at once.
const MAX_SUBSCRIPTIONS: u32 = 64;
/// A guest can write so many pieces at once.
const MAX_PIECES: u32 = 1024;
/// No finer clock than this is shown to a guest.
const CLOCK_GRAIN: Duration = Duration::from_millis(1);

/// Functions that answer that a descriptor does not exist, or cannot do such a thing.
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

/// Functions that the preview has and wpool does not.
const WITHOUT_SYSTEM: &[&str] = &["proc_raise"];

/// Functions that do something.
const WORKING: &[&str] = &[
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_read",
    "fd_seek",
    "fd_write",
    "poll_oneoff",
    "proc_exit",
    "random_get",
    "sched_yield",
];

/// Whether the preview has a function of this name.
pub(crate) fn is_known(name: &str) -> bool {
    [WITHOUT_DESCRIPTORS, WITHOUT_SYSTEM, WORKING].iter().any(|list| list.contains(&name))
}

/// Gives the module the functions that it imports.
pub(super) fn define(linker: &mut Linker<TaskState>, module: &Module) -> wasmtime::Result<()> {
    if !module.imports().any(|import| import.module() == WASI) {
        return Ok(());
    }
    for import in module.imports().filter(|import| import.module() == WASI) {
        let (name, ExternType::Func(ty)) = (import.name(), import.ty()) else { continue };
        let answer = match name {
            name if WITHOUT_DESCRIPTORS.contains(&name) => BADF,
            name if WITHOUT_SYSTEM.contains(&name) => NOSYS,
            _ => continue,
        };
        linker.func_new(WASI, name, ty, move |_, _, results| {
            if let Some(result) = results.first_mut() {
                *result = Val::I32(answer);
            }
            Ok(())
        })?;
    }
    define_working(linker)
}

fn define_working(linker: &mut Linker<TaskState>) -> wasmtime::Result<()> {
    linker.func_wrap(WASI, "args_get", |_: u32, _: u32| SUCCESS)?;
    linker.func_wrap(WASI, "args_sizes_get", empty_sizes)?;
    linker.func_wrap(WASI, "environ_get", |_: u32, _: u32| SUCCESS)?;
    linker.func_wrap(WASI, "environ_sizes_get", empty_sizes)?;
    linker.func_wrap(WASI, "clock_res_get", clock_resolution)?;
    linker.func_wrap(WASI, "clock_time_get", clock_time)?;
    linker.func_wrap(WASI, "fd_close", |fd: u32| if fd <= 2 { SUCCESS } else { BADF })?;
    linker.func_wrap(WASI, "fd_fdstat_get", descriptor_status)?;
    linker.func_wrap(WASI, "fd_read", read)?;
    linker.func_wrap(
        WASI,
        "fd_seek",
        |fd: u32, _: i64, _: u32, _: u32| if fd <= 2 { SPIPE } else { BADF },
    )?;
    linker.func_wrap(WASI, "fd_write", write)?;
    linker.func_wrap_async(WASI, "poll_oneoff", |caller, args| Box::new(poll(caller, args)))?;
    linker.func_wrap(WASI, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(Exited(code).into()) })?;
    linker.func_wrap(WASI, "random_get", random)?;
    linker.func_wrap(WASI, "sched_yield", || SUCCESS)?;
    Ok(())
}

/// No arguments and no environment: both counts are zero.
fn empty_sizes(mut caller: Caller<'_, TaskState>, count: u32, size: u32) -> wasmtime::Result<i32> {
    let (memory, _) = memory_and_state(&mut caller)?;
    write_u32(memory, count, 0)?;
    write_u32(memory, size, 0)?;
    Ok(SUCCESS)
}

fn clock_resolution(mut caller: Caller<'_, TaskState>, _clock: u32, out: u32) -> wasmtime::Result<i32> {
    let (memory, _) = memory_and_state(&mut caller)?;
    write_u64(memory, out, nanos(CLOCK_GRAIN))?;
    Ok(SUCCESS)
}

fn clock_time(mut caller: Caller<'_, TaskState>, clock: u32, _: u64, out: u32) -> wasmtime::Result<i32> {
    let Some(now) = now(clock) else { return Ok(INVAL) };
    let (memory, _) = memory_and_state(&mut caller)?;
    write_u64(memory, out, now)?;
    Ok(SUCCESS)
}

/// The time on a clock in nanoseconds, no finer than the grain. The monotonic clock starts anew in each
/// worker, so it tells nothing of the machine.
fn now(clock: u32) -> Option<u64> {
    const REALTIME: u32 = 0;
    const MONOTONIC: u32 = 1;
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let time = match clock {
        REALTIME => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        MONOTONIC => START.elapsed(),
        _ => return None,
    };
    let grain = nanos(CLOCK_GRAIN);
    Some(nanos(time) / grain * grain)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The three standard streams are character devices that can be read or written and nothing else.
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

/// Standard input is at its end.
fn read(mut caller: Caller<'_, TaskState>, fd: u32, _: u32, _: u32, out: u32) -> wasmtime::Result<i32> {
    if fd != 0 {
        return Ok(BADF);
    }
    let (memory, _) = memory_and_state(&mut caller)?;
    write_u32(memory, out, 0)?;
    Ok(SUCCESS)
}

/// Standard output and error go to the task's log.
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
        let ptr = read_u32(memory, record)?;
        let len = read_u32(memory, record + 4)?;
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

/// A subscription to a clock or to a descriptor, as far as wpool looks at it.
enum Subscription {
    Until(Instant),
    /// A standard stream is always ready, another descriptor never exists.
    Descriptor {
        errno: u16,
        kind: u8,
    },
}

/// Suspends the task until the first of its subscriptions is due.
async fn poll(
    mut caller: Caller<'_, TaskState>,
    (subscriptions, events, count, out): (u32, u32, u32, u32),
) -> wasmtime::Result<i32> {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Ok(INVAL);
    }
    let (memory, state) = memory_and_state(&mut caller)?;
    let mut wanted = Vec::new();
    for n in 0..count {
        let at = subscriptions
            .checked_add(n * 48)
            .ok_or_else(|| BadGuest("its subscriptions wrap around".to_owned()))?;
        let record: [u8; 48] =
            GuestSlice::new(at, 48).read(memory)?.try_into().expect("the slice has 48 bytes");
        let Some(parsed) = parse_subscription(&record) else { return Ok(INVAL) };
        wanted.push(parsed);
    }
    let wait = wanted.iter().map(|(_, subscription)| match subscription {
        Subscription::Until(at) => Some(*at),
        Subscription::Descriptor { .. } => None,
    });
    if let Some(Some(first)) = wait.min() {
        state.clock.pause();
        let order = state.order.clone();
        Sleep { until: first, turns: Arc::clone(&state.turns), order: &order }.await;
        caller.data_mut().clock.resume();
        if order.is_to_end() {
            return Err(Ended.into());
        }
    }
    let now = Instant::now();
    let (memory, _) = memory_and_state(&mut caller)?;
    let mut happened = 0;
    for (userdata, subscription) in &wanted {
        let (errno, kind) = match subscription {
            Subscription::Until(at) if *at <= now => (0, 0),
            Subscription::Until(_) => continue,
            Subscription::Descriptor { errno, kind } => (*errno, *kind),
        };
        let at =
            events.checked_add(happened * 32).ok_or_else(|| BadGuest("its events wrap around".to_owned()))?;
        let event = GuestSlice::new(at, 32).write(memory)?;
        event.fill(0);
        event[..8].copy_from_slice(&userdata.to_le_bytes());
        event[8..10].copy_from_slice(&errno.to_le_bytes());
        event[10] = kind;
        happened += 1;
    }
    write_u32(memory, out, happened)?;
    Ok(SUCCESS)
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
            // Longer than any deadline of a task is as good as for ever, and cannot overflow.
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

/// Waits for a point in time, or for the order to end. The worker's loop polls again when it has come.
struct Sleep<'a> {
    until: Instant,
    turns: Arc<Turns>,
    order: &'a Order,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until || self.order.is_to_end() {
            return Poll::Ready(());
        }
        self.turns.wait_until(self.until);
        Poll::Pending
    }
}
