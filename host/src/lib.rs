//! A process pool for untrusted code.
//!
//! wpool offers what Python's `concurrent.futures` and `multiprocessing` offer: submit, map, futures, callbacks, shared
//! objects. Every task is a function of a WebAssembly module, and runs in a sandbox inside one of the pool's worker
//! processes. A worker process has an empty environment, and no open file but those that the pool hands to it. Every
//! task has [limits](Limits), and by default a fresh instance.
//!
//! ```no_run
//! use wpool::{Guest, Pool};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First of all: a worker process is this program too, and in it `init` does not return.
//!     wpool::init();
//!
//!     let pool = Pool::builder(Guest::from_file("guest.wasm")?).build()?;
//!     let square = pool.task::<i64, i64>("square")?;
//!     for result in square.map(0..10) {
//!         println!("{}", result?);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Core concepts
//!
//! - A [`Guest`] is a WebAssembly module that was compiled and has described its tasks. A clone is cheap, and any
//!   number of pools can run the same guest. A [`Loader`] sets how guests are loaded and cached.
//! - A [`Pool`] runs the tasks of one guest or of several. It owns its worker processes, and each of them serves one
//!   guest. Dropping a pool waits for its tasks; after that none of its processes is left, unless a [`Map`] is open that
//!   has not pulled all its inputs.
//! - A [`Task`] is a handle on one of the guest's functions, with its types checked against the guest's description. A
//!   [`RawTask`] takes and returns bytes; [`Signature`] converts them from and to JSON.
//! - A [`TaskFuture`] is one submitted call. A program can wait for it, await it, cancel it, or add a callback.
//! - A [`Map`] yields the results of one call for each input. It pulls its inputs lazily, and its memory is bounded.
//! - [`Limits`] bound the resources of each task. A task that fails has one [`TaskError`], whose variant names the
//!   cause.
//!
//! # The worker executable
//!
//! A worker process runs the [`Executable`] that the [`Loader`] names. By default that is this program itself if it has
//! called [`init`], and otherwise the file `wpool` in this program's folder, or in the one above Cargo's `deps` or
//! `examples`. No search path is used.
#![warn(missing_docs)]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("wpool runs on Linux, on x86_64 and aarch64");

mod callbacks;
mod dispatch;
mod error;
mod guest;
mod ids;
mod lock;
mod manager;
mod outcome;
mod pool;
mod process;
mod runtime;
mod server;

pub use error::{
    ApplyError, BuildError, Clock, Frame, GuestError, InitError, LoadError, MapEnd, Phase, ProcessError,
    SettingError, SpawnError, SubmitError, TaskError, TaskLookupError, WorkerExit,
};
pub use guest::{
    Cache, CacheEntry, FieldDefinition, Guest, Identity, JsonError, Loader, Signature, TypeBody,
    TypeDefinition, ValueError, VariantBody, VariantDefinition,
};
pub use ids::{TaskId, WorkerId};
pub use pool::{
    Array, AsCompleted, Barrier, BoundedSemaphore, CancelOnDrop, Canceller, Completed, Condition,
    ConditionGuard, Connection, Dict, EmitBuffer, EmitError, Emitted, EventObject as Event, Figures,
    GuestSettings, Handle, JoinableQueue, List, LoadedGuest, Lock, LockGuard, LogPart, LogReader, Manager,
    Map, MapError, MapFuture, NamedError, NamedObjects, Namespace, NotYet, ObjectSpec, PendingTasks,
    PipeMode, Pool, PoolBuilder, Process, ProcessBuilder, Queue, RLock, RawArguments, RawMap, RawTask,
    Readable, Receiver, ReturnWhen, Semaphore, SemaphoreGuard, Sender, SharedArray, SharedSlice, SimpleQueue,
    Stats, Status, StillOpen, StillRunning, Task, TaskFuture, TaskLog, Undecoded, Unfinished, Value, Wait,
    Waited, as_completed, wait, wait_ready,
};
pub use process::Executable;
pub use wpool_guest_macros::HostSchema as Schema;
pub use wpool_objects::{Delivery, Number, ObjectError};
pub use wpool_schema::{Json, Schema, TypeTable};
pub use wpool_wire::limits::{
    Capability, ClockPolicy, CompileLimits, Grow, Isolation, Limits, RandomPolicy, SubTasks,
};
pub use wpool_wire::trap::Trap;

/// The items that the derive macro's output names. Not for use by hand, and not covered by the version.
#[doc(hidden)]
pub mod __private {
    pub use wpool_abi::{Type, TypeIndex, VariantData};
    pub use wpool_schema::{field, unit_variant, variant};
}

/// Makes this program able to be its own worker. Call it first thing in `main`.
///
/// In an ordinary run it returns at once. In a child process that a pool has started it never returns: the child does
/// its work and exits. Without the feature `worker` a program has no engine and cannot be its own worker; if it is
/// started as one, it exits with code 1.
#[expect(clippy::exit, reason = "a child process must not continue into the program's own main")]
pub fn init() {
    #[cfg(feature = "worker")]
    {
        if let Some(code) = wpool_worker::run_if_asked() {
            std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 1 });
        }
        process::allow_self();
    }
    #[cfg(not(feature = "worker"))]
    if wpool_wire::role::asked().is_some() {
        std::process::exit(1);
    }
}
