//! The functions that the host offers to a guest, as safe Rust functions.
//!
//! Each is written once, in the table below. Natively, in a test, there is no host, and the function's body runs
//! instead.

use crate::level::Level;

/// Defines functions of the host. The signature is the guest's view: `&str`, `&[u8]` and `&mut [u8]` are passed to the
/// host as an address and a length, every other parameter as it is, and the result is made by [`FromHost`]. The body is
/// the native function's.
macro_rules! host_functions {
    ($($(#[$docs:meta])* fn $name:ident($($parameters:tt)*) $(-> $result:ty)? $native:block)*) => {
        $(host_function! {
            { $(#[$docs])* fn $name ($($result)?) $native } [$($parameters)*,] [] [] []
        })*

        /// The names of the functions in the table.
        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

/// Defines one function of the host: moves its parameters one by one from the first list to the other three, which are
/// those of the import, those of the safe function, and the arguments that the safe function passes to the import.
macro_rules! host_function {
    ($head:tt [$name:ident: &str, $($more:tt)*] [$($import:tt)*] [$($safe:tt)*] [$($pass:tt)*]) => {
        host_function! {
            $head [$($more)*]
            [$($import)* _: *const u8, _: usize,]
            [$($safe)* $name: &str,]
            [$($pass)* $name.as_ptr(), $name.len(),]
        }
    };
    ($head:tt [$name:ident: &[u8], $($more:tt)*] [$($import:tt)*] [$($safe:tt)*] [$($pass:tt)*]) => {
        host_function! {
            $head [$($more)*]
            [$($import)* _: *const u8, _: usize,]
            [$($safe)* $name: &[u8],]
            [$($pass)* $name.as_ptr(), $name.len(),]
        }
    };
    ($head:tt [$name:ident: &mut [u8], $($more:tt)*] [$($import:tt)*] [$($safe:tt)*] [$($pass:tt)*]) => {
        host_function! {
            $head [$($more)*]
            [$($import)* _: *mut u8, _: usize,]
            [$($safe)* $name: &mut [u8],]
            [$($pass)* $name.as_mut_ptr(), $name.len(),]
        }
    };
    ($head:tt [$name:ident: $ty:ty, $($more:tt)*] [$($import:tt)*] [$($safe:tt)*] [$($pass:tt)*]) => {
        host_function! {
            $head [$($more)*]
            [$($import)* _: $ty,] [$($safe)* $name: $ty,] [$($pass)* $name,]
        }
    };
    (
        { $(#[$docs:meta])* fn $name:ident () $native:block }
        [$(,)?] $import:tt $safe:tt $pass:tt
    ) => {
        host_function! { { $(#[$docs])* fn $name (()) $native } [] $import $safe $pass }
    };
    (
        { $(#[$docs:meta])* fn $name:ident ($result:ty) $native:block }
        [$(,)?] [$($import:tt)*] [$($safe:tt)*] [$($pass:tt)*]
    ) => {
        $(#[$docs])*
        #[cfg_attr(not(target_family = "wasm"), allow(unused_variables, reason = "there is no host to pass them to"))]
        pub(crate) fn $name($($safe)*) -> $result {
            #[cfg(target_family = "wasm")]
            {
                #[link(wasm_import_module = "wpool")]
                unsafe extern "C" {
                    fn $name($($import)*) -> <$result as FromHost>::Raw;
                }
                // SAFETY: the rules above pass an address only with the length of the memory that the caller lends, or
                // as a reference. The host reads or writes no more than that, before it returns; any bytes that it
                // writes are valid for `u8` and `u64`.
                FromHost::from_host(unsafe { $name($($pass)*) })
            }
            #[cfg(not(target_family = "wasm"))]
            $native
        }
    };
}

host_functions! {
    /// Writes one line to the task's log; natively to standard error.
    fn log(level: Level, line: &str) {
        native::print(level, line);
    }

    /// Reports a panic before the guest traps; natively nothing.
    fn panic(message: &str, location: &str) {}

    /// Ends the task with an exit code. In a sandbox it does not return.
    fn exit(code: i32) {
        native::exit(code);
    }

    /// Returns whether the host wants the task to end; natively false.
    fn cancelled() -> bool {
        false
    }

    /// Returns the time of a clock in nanoseconds; natively that of the system.
    fn clock(id: u32) -> u64 {
        native::time(id)
    }

    /// Suspends the task for that many nanoseconds, or until it is to end.
    fn sleep(nanoseconds: u64) {
        std::thread::sleep(std::time::Duration::from_nanos(nanoseconds));
    }

    /// Fills the bytes with random numbers.
    fn random(bytes: &mut [u8]) {
        native::fill(bytes);
    }

    /// Returns an `Option<WorkerInfo>` in postcard; natively none.
    fn worker() -> Vec<u8> {
        native::no_worker()
    }

    /// Emits a value with the fingerprint of its type; natively nothing.
    fn emit(fingerprint: u64, value: &[u8]) {}

    /// Submits a sub-task, and returns its id. `takes` and `returns` are fingerprints; `block` is the wire indices of
    /// `handles` handles, then the arguments.
    fn submit(task: &str, takes: u64, returns: u64, block: &[u8], handles: usize) -> u32 {
        0
    }

    /// Waits for the end of a sub-task, and returns its `SubTaskOutcome` in postcard; natively a failure.
    fn outcome(sub_task: u32) -> Vec<u8> {
        native::no_sub_task()
    }

    /// Makes a call on a shared object, waits for at most `wait` nanoseconds, and returns the answer in postcard. Zero
    /// is not to wait, a negative number is no limit. Natively the answer is an error.
    fn call(handle: u32, wait: i64, request: &[u8]) -> Vec<u8> {
        native::no_object()
    }

    /// Makes a call on a shared object without an answer, and returns a status.
    fn post(handle: u32, request: &[u8]) -> u32 {
        native::BAD_HANDLE
    }

    /// Waits until all posted calls are done, and returns an answer like that of `call`.
    fn flush() -> Vec<u8> {
        native::no_object()
    }

    /// Returns the size of a shared array in bytes; negative, it is a negated status.
    fn shared_size(handle: u32) -> i64 {
        -i64::from(native::BAD_HANDLE)
    }

    /// Fills `into` from byte offset `at` of a shared array, and returns a status.
    fn shared_read(handle: u32, at: u64, into: &mut [u8]) -> u32 {
        native::BAD_HANDLE
    }

    /// Copies `bytes` to byte offset `at` of a shared array, and returns a status.
    fn shared_write(handle: u32, at: u64, bytes: &[u8]) -> u32 {
        native::BAD_HANDLE
    }

    /// Adds `number` to the element at byte offset `at` of a shared array, writes its former value to `before`, and
    /// returns a status.
    fn shared_add(handle: u32, at: u64, number: u64, before: &mut u64) -> u32 {
        native::BAD_HANDLE
    }
}

/// A result as the guest wants it, from the number that the host returns.
#[cfg(target_family = "wasm")]
trait FromHost {
    type Raw;

    fn from_host(raw: Self::Raw) -> Self;
}

#[cfg(target_family = "wasm")]
macro_rules! unchanged {
    ($($ty:ty),*) => {
        $(impl FromHost for $ty {
            type Raw = $ty;

            fn from_host(raw: $ty) -> $ty {
                raw
            }
        })*
    };
}

#[cfg(target_family = "wasm")]
unchanged!((), u32, u64, i64);

#[cfg(target_family = "wasm")]
impl FromHost for bool {
    type Raw = u32;

    fn from_host(raw: u32) -> bool {
        raw != 0
    }
}

/// An answer: the host returns its length, and copies it when it is asked to.
#[cfg(target_family = "wasm")]
impl FromHost for Vec<u8> {
    type Raw = usize;

    fn from_host(len: usize) -> Vec<u8> {
        #[link(wasm_import_module = "wpool")]
        unsafe extern "C" {
            fn answer(ptr: *mut u8);
        }
        let mut bytes = vec![0; len];
        // SAFETY: the host writes the latest answer, which has the `len` bytes that `bytes` has.
        unsafe { answer(bytes.as_mut_ptr()) };
        bytes
    }
}

/// The source of the crate `getrandom`, versions 0.3 and 0.4, in a guest that is built for it: see the feature
/// `getrandom`.
#[cfg(all(feature = "getrandom", target_family = "wasm", target_os = "unknown"))]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(bytes: *mut u8, len: usize) -> Result<(), getrandom::Error> {
    // SAFETY: `getrandom` lends `len` bytes at `bytes`, which need not be initialized, so they are first.
    let bytes = unsafe {
        std::ptr::write_bytes(bytes, 0, len);
        std::slice::from_raw_parts_mut(bytes, len)
    };
    random(bytes);
    Ok(())
}

/// The answers where there is no host.
#[cfg(not(target_family = "wasm"))]
mod native {
    use std::hash::{BuildHasher as _, RandomState};
    use std::sync::LazyLock;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    use wpool_abi::object::{ObjectError, Reply};
    use wpool_abi::{SubTaskFailure, SubTaskOutcome, WorkerInfo, clock};

    use crate::level::Level;

    /// The status for a handle that was not granted: natively there are none.
    pub(super) const BAD_HANDLE: u32 = 1;

    #[expect(clippy::print_stderr, reason = "natively there is no task's log")]
    pub(super) fn print(level: Level, line: &str) {
        eprintln!("{level:?}: {line}");
    }

    #[expect(clippy::exit, reason = "natively the program of a test is what ends")]
    pub(super) fn exit(code: i32) {
        std::process::exit(code)
    }

    pub(super) fn time(clock: u32) -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let time = match clock {
            clock::SYSTEM => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            _ => START.elapsed(),
        };
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Every `RandomState` has keys of its own, so each hash of nothing is another number.
    pub(super) fn fill(bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&RandomState::new().hash_one(()).to_le_bytes()[..word.len()]);
        }
    }

    pub(super) fn no_worker() -> Vec<u8> {
        postcard::to_allocvec(&None::<WorkerInfo>).expect("none can be encoded")
    }

    pub(super) fn no_sub_task() -> Vec<u8> {
        let failure = SubTaskFailure {
            kind: "not_allowed".to_owned(),
            message: "there is no pool outside of a sandbox".to_owned(),
            value: None,
        };
        postcard::to_allocvec(&SubTaskOutcome::Failed(failure)).expect("text can be encoded")
    }

    pub(super) fn no_object() -> Vec<u8> {
        let answer: Result<Reply, _> = Err(ObjectError::PoolClosed);
        postcard::to_allocvec(&answer).expect("an error can be encoded")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wpool_abi::import;

    use super::*;

    #[test]
    fn the_table_has_every_import_by_its_name() {
        // The link attribute takes a literal only, so the module's name is repeated in this file.
        assert_eq!(import::MODULE, "wpool");
        let declared: BTreeSet<_> = NAMES.iter().copied().chain([import::ANSWER]).collect();
        assert_eq!(declared, import::ALL.iter().copied().collect());
    }
}
