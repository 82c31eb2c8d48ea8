//! Write tasks for [wpool](https://docs.rs/wpool-host): ordinary functions that run in a WebAssembly sandbox, each call
//! in an instance of its own.
//!
//! ```
//! /// The square of a number.
//! #[wpool_guest::task]
//! fn square(x: i64) -> i64 {
//!     x * x
//! }
//! # fn main() { assert_eq!(square(7), 49); }
//! ```
//!
//! `wpool new NAME` creates a package with such a function; `wpool run NAME --map inputs.json` builds it and maps the
//! function over the inputs.
//!
//! # Parameters and results
//!
//! A task has any number of parameters, and returns a value or a `Result`. Their types are those with serde's traits
//! and [`Schema`]: numbers, `String`, `Vec`, tuples, maps, and your own types with
//! `#[derive(Serialize, Deserialize, wpool_guest::Schema)]`. A parameter may also be borrowed as `&str` or `&[u8]`.
//! Bytes (`&[u8]`, `Vec<u8>`) are base64 in JSON; [`Json`] is any JSON value.
//!
//! The host gets the text of an error's `Display`, and also its value if the error has serde's `Serialize` and
//! [`Schema`]. A panic is reported to the host with its message and location.
//!
//! Doc comments and names of functions, parameters, fields and variants are part of the guest's description:
//! `wpool inspect` shows them, and the host reads JSON by them.
//!
//! # Initial state
//!
//! [`#[init]`](macro@init) marks a function that runs once, before any task. Every task starts, in an instance of its
//! own, from the memory that this function leaves. So a table is built once, and each of a million tasks has it.
//!
//! # Requests while a task runs
//!
//! [`emit`] passes values to the host before the task ends. [`submit`] runs another task of the same guest, if the host
//! allows it; a task that waits for a sub-task is suspended, and its worker runs others meanwhile. [`cancelled`]
//! returns whether the task is to end.
//!
//! # Shared objects
//!
//! A parameter can be a shared object that the host grants: a [`Queue`] or one end of it, a [`Lock`], a [`Dict`] and so
//! on. The object is in the host; a task that waits for it is suspended, and others run meanwhile. Handles can be put
//! into queues and other objects, and are valid until the task ends. Methods that need no reply, such as `put` and
//! `set`, return at once; an error is then returned by the next call that waits for a reply, or by [`flush`].
//!
//! # Time and chance
//!
//! [`now`] and [`system_time`] read clocks, [`sleep`] lets other tasks run for a while, [`random`] and [`random_bytes`]
//! draw random numbers, all by the host's policy; [`worker`] tells which process runs the task, if the host allows it.
//! On `wasm32-unknown-unknown` the standard library has none of this: `std::time::Instant::now` panics there.
//!
//! The crates `getrandom` and `rand` draw from the same source in a guest with the feature `getrandom` of this crate,
//! if its `.cargo/config.toml` selects the custom backend of `getrandom` 0.3 and later:
//!
//! ```toml
//! [target.wasm32-unknown-unknown]
//! rustflags = ['--cfg', 'getrandom_backend="custom"']
//! ```
//!
//! # Output
//!
//! [`info!`], [`warn!`] and the other macros write to the task's log, and so do `println!` and `eprintln!` in a guest
//! that is built for `wasm32-wasip1`.
//!
//! # Tests
//!
//! A task stays an ordinary function, so `cargo test` calls it natively. The exports exist only in a build for
//! WebAssembly. Natively there is no pool: [`submit`] fails, [`emit`] does nothing, [`worker`] is `None`, and the log is
//! standard error.
#![warn(missing_docs)]

mod alloc;
mod entry;
mod host;
mod level;
mod log;
mod objects;
mod output;
mod random;
mod requests;
mod time;

pub use level::Level;
pub use objects::{
    Array, Barrier, BoundedSemaphore, Condition, Connection, Dict, Event, Handle, JoinableQueue, List, Lock,
    LockGuard, Namespace, Queue, RLock, Receiver, Semaphore, Sender, SharedArray, SharedSlice, SimpleQueue,
    Value, flush,
};
pub use random::{Random, random, random_bytes};
pub use requests::{SubTask, SubTaskError, emit, submit, worker};
pub use time::{Instant, now, sleep, system_time};
pub use wpool_abi::WorkerInfo;
pub use wpool_guest_macros::{Schema, init, task};
pub use wpool_objects::{Delivery, ObjectError};
#[cfg(feature = "json")]
pub use wpool_schema::Json;
pub use wpool_schema::{Schema, TypeTable};

/// Ends this task with an exit code instead of a value: the host gets `TaskError::Exited` with `code`, and a `Process`
/// of the host has that exit code. It stops where it is; nothing is dropped. Natively, in a test, it ends the program.
///
/// ```no_run
/// #[wpool_guest::task]
/// fn check(input: String) {
///     if input.is_empty() {
///         wpool_guest::exit(3);
///     }
/// }
/// # fn main() {}
/// ```
pub fn exit(code: i32) -> ! {
    host::exit(code);
    unreachable!("the host ends a task that exits")
}

/// Returns whether this task is to end: its timeout has elapsed, or the host has cancelled it. A task that checks this
/// regularly can return early with a partial result, if the host gives it a grace period; without one the task is ended
/// within some milliseconds. Natively, in a test, it is always false.
///
/// ```
/// #[wpool_guest::task]
/// fn primes_below(limit: u64) -> Vec<u64> {
///     let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0);
///     (2..limit).filter(is_prime).take_while(|_| !wpool_guest::cancelled()).collect()
/// }
/// # fn main() { assert_eq!(primes_below(10), [2, 3, 5, 7]); }
/// ```
pub fn cancelled() -> bool {
    host::cancelled()
}

/// The items that the macros' expansions use. They are not for other use, and not covered by semantic versioning.
#[doc(hidden)]
pub mod __private {
    pub use crate::entry::{describe, run};
    pub use crate::log::write_log;
    pub use crate::output::{DisplayedError, Plain, Probe, SchemaError, TypedError};
    pub use wpool_abi::{Type, TypeIndex, VariantData};
    pub use wpool_schema::{describe_params, field, unit_variant, variant};

    /// Requires a schema, so that the compiler reports a missing one at the type of a parameter or field.
    pub const fn assert_schema<T: crate::Schema>() {}

    /// Requires that a type can borrow from arguments of any lifetime.
    pub const fn assert_decodes<'de, T: serde::Deserialize<'de>>() {}
}
