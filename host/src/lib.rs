//! A process pool for code that nobody trusts.
//!
//! What `concurrent.futures` and `multiprocessing` are to Python, wpool is to Rust: submit, map, futures,
//! callbacks. Every task runs in a WebAssembly sandbox inside a process of its own pool: nothing inherited,
//! everything limited, every task in a brand-new instance.
//!
//! ```no_run
//! use wpool::{Guest, Pool};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First of all: a child process of this pool is this program again, and goes no further.
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
//! - A [`Guest`] is a WebAssembly module that was compiled once and has described its tasks. It is cheap to
//!   clone; as many pools as you like can run it. [`Loader`] says how it is loaded and cached.
//! - A [`Pool`] is a number of worker processes that run one guest. It owns them: when it is dropped, they
//!   are gone.
//! - A [`Task`] is a handle on one of the guest's functions, with its types checked against the guest's
//!   own description. [`RawTask`] is the same for bytes, with JSON by [`Signature`].
//! - A [`TaskFuture`] is one call. It can be waited for, awaited, cancelled, or call back.
//! - A [`Map`] is many calls, lazily, in bounded memory.
//! - [`Limits`] are what one task may use. Whatever goes wrong is one variant of [`TaskError`].
//!
//! # Which program becomes a worker
//!
//! The one that the [`Loader`] names; else this program itself, if it calls [`init`]; else the `wpool` beside
//! it. Nothing is searched for.
#![warn(missing_docs)]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("wpool runs on Linux, on x86_64 and aarch64");

mod dispatch;
mod error;
mod guest;
mod ids;
mod manager;
mod outcome;
mod pool;
mod process;
mod runtime;

pub use error::{
    ApplyError, BuildError, Clock, Frame, GuestError, InitError, LoadError, Phase, ProcessError,
    SettingError, SpawnError, SubmitError, TaskError, TaskLookupError, WorkerExit,
};
pub use guest::{Cache, CacheEntry, Guest, Identity, JsonError, Loader, Signature, ValueError};
pub use ids::{TaskId, WorkerId};
pub use pool::{
    Array, AsCompleted, Barrier, BoundedSemaphore, CancelOnDrop, Canceller, Completed, Condition, Connection,
    Dict, EmitBuffer, EmitError, Emitted, EventObject as Event, Figures, GuestSettings, Handle,
    JoinableQueue, List, LoadedGuest, Lock, LockGuard, Manager, Map, MapError, MapFuture, NamedError,
    NamedObjects, Namespace, NotYet, ObjectSpec, Pool, PoolBuilder, Process, ProcessBuilder, Queue, RLock,
    RawArguments, RawMap, RawTask, Readable, Receiver, ReturnWhen, Semaphore, Sender, SharedArray,
    SharedSlice, SimpleQueue, Stats, Status, StillOpen, StillRunning, Task, TaskFuture, TaskLog, Undecoded,
    Unfinished, Value, Waited, as_completed, wait, wait_ready,
};
pub use process::Executable;
pub use wpool_guest_macros::HostSchema as Schema;
pub use wpool_objects::{Delivery, Number, ObjectError};
pub use wpool_schema::{Schema, TypeTable};
pub use wpool_wire::limits::{CompileLimits, Grow, Isolation, Limits, SubTasks};
pub use wpool_wire::trap::Trap;

/// What the derive macro expands to. Not for use by hand, and not covered by the version.
#[doc(hidden)]
pub mod __private {
    pub use wpool_abi::{Type, TypeIndex, VariantData};
    pub use wpool_schema::{field, unit_variant, variant};
}

/// Makes this program able to be its own worker. Call it first thing in `main`.
///
/// In an ordinary run it returns at once. In a child process that a pool has started it never returns: the child does its
/// work and exits. Without the feature `worker` a program has no engine, cannot be its own worker, and exits with 1 if a
/// pool starts it as one.
#[expect(clippy::exit, reason = "a child process must not go on into the program's own main")]
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
