//! Write tasks for [wpool](https://docs.rs/wpool-host): ordinary functions that run in a WebAssembly
//! sandbox, each call in an instance of its own.
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
//! `wpool new NAME` makes a package that holds such a function and builds; `wpool run NAME --map
//! inputs.json` builds it and maps the function over the inputs.
//!
//! # What a task may look like
//!
//! A task takes any number of parameters and returns a value or a `Result`. Parameters and results are
//! of any type that has serde's traits and [`Schema`]: numbers, `String`, `Vec`, tuples, maps, and
//! your own types with `#[derive(Serialize, Deserialize, wpool_guest::Schema)]`. A parameter may also
//! be borrowed as `&str` or `&[u8]`. Bytes (`&[u8]`, `Vec<u8>`) are base64 in JSON; [`Json`] is any
//! JSON value.
//!
//! An error is shown by its `Display`; if it also has serde's `Serialize` and [`Schema`], the host gets
//! its value too. A panic reaches the host with its message and its place.
//!
//! Doc comments and names of functions, parameters, fields and variants are part of the guest's own
//! description: `wpool inspect` shows them, and the host reads JSON by them.
//!
//! # Starting from something
//!
//! [`#[init]`](macro@init) marks a function that runs once, before any task: every task starts, in an instance of its
//! own, from what it has left in memory. So a table is read once and is there in each of a million tasks.
//!
//! # While it runs
//!
//! [`emit`] gives values to the host before the task ends. [`submit`] runs another task of the same guest, if the host
//! allows it, and waits for it without being in anybody's way. [`cancelled`] tells whether the task is to end.
//!
//! # What tasks share
//!
//! A parameter can be a shared object that the host grants: a [`Queue`] or one end of it, a [`Lock`], a [`Dict`] and
//! so on. It lives in the host; a task that waits for it is suspended, and others run meanwhile. Handles can be put
//! into queues and other objects, and are good until the task ends. What needs no answer (`put`, `set`) returns at
//! once; what is wrong with it comes with the next call that has one.
//!
//! # Output
//!
//! [`info!`], [`warn!`] and the other macros write to the task's log, and so do `println!` and
//! `eprintln!` in a guest that is built for `wasm32-wasip1`.
//!
//! # Tests
//!
//! A task stays an ordinary function, so `cargo test` calls it natively. The exports exist only in a
//! build for WebAssembly.
#![warn(missing_docs)]

mod alloc;
mod glue;
mod json;
mod log;
mod objects;
mod output;
mod requests;

#[cfg(feature = "json")]
pub use json::Json;
pub use log::Level;
pub use objects::{
    Array, Barrier, BoundedSemaphore, Condition, Connection, Dict, Event, Handle, JoinableQueue, List, Lock,
    LockGuard, Namespace, Queue, RLock, Receiver, Semaphore, Sender, SharedArray, SharedSlice, SimpleQueue,
    Value, flush,
};
pub use requests::{SubTask, SubTaskError, emit, submit};
pub use wpool_guest_macros::{Schema, init, task};
pub use wpool_objects::{Delivery, ObjectError};
pub use wpool_schema::{Schema, TypeTable};

/// Whether this task is to end: its time is over, or somebody has killed it. A task that asks now and then can
/// end by itself, with what it has so far, if the host gives it a grace; without one it is ended within some
/// milliseconds. Natively, in a test, it is always false.
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
    glue::host_cancelled()
}

/// What the macros expand to. Not for use by hand, and not covered by the version.
#[doc(hidden)]
pub mod __private {
    pub use crate::glue::{describe, run};
    pub use crate::log::write_log;
    pub use crate::output::{DisplayedError, Plain, Probe, SchemaError, TypedError};
    pub use wpool_abi::{Type, TypeIndex, VariantData};
    pub use wpool_schema::{describe_params, field, unit_variant, variant};

    /// Asks for a schema where a parameter's or a field's type stands.
    pub const fn assert_schema<T: crate::Schema>() {}
}
