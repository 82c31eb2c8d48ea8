//! The names, numbers and data that a wpool host and its guests agree on.
//!
//! There is no I/O here, and only the logic that both sides must share. Both sides compile this crate, for different
//! targets, so a change of a name, a number or a layout changes [`VERSION`] and is documented in `docs/src/reference/guest-abi.md`.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod object;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// The version of the guest ABI. A guest exports [`export::VERSION_PREFIX`] followed by this number.
pub const VERSION: u32 = 1;

/// The names of a guest's exports.
pub mod export {
    /// The guest's only memory.
    pub const MEMORY: &str = "memory";
    /// The prefix of an exported function whose name ends in the ABI version, such as `wpool_abi_v1`. The function is
    /// never called: a host reads the version from the name, without running the guest.
    pub const VERSION_PREFIX: &str = "wpool_abi_v";
    /// `(len: i32) -> ptr: i32`: allocates the argument block of one call, aligned to 8 bytes. Null if `len` is zero or
    /// there is no memory.
    pub const ALLOC: &str = "wpool_alloc";
    /// `(args: i32, len: i32, handles: i32) -> outcome: i32`, one export per task. The block at `args` starts with
    /// `handles` handle indices (4 bytes each, little endian); the rest of its `len` bytes are the arguments as one
    /// postcard tuple. The result is the address of an outcome record, see [`outcome`](crate::outcome).
    pub const TASK_PREFIX: &str = "wpool_task:";
    /// `() -> outcome: i32`, one export per task: its [`TaskDescription`](crate::TaskDescription) in postcard, as the
    /// bytes of an outcome with status [`VALUE`](crate::status::VALUE).
    pub const DESCRIBE_PREFIX: &str = "wpool_describe:";
    /// Like a task, optional: the guest's initializer. It runs once, before any task, and every instance starts from
    /// the memory and globals that it leaves.
    pub const INIT: &str = "wpool_init";
    /// Like [`DESCRIBE_PREFIX`]: the description of the initializer.
    pub const DESCRIBE_INIT: &str = "wpool_describe_init";
    /// The prefix of exports that the host adds to a guest with an initializer: each mutable global, by its index.
    pub const GLOBAL_PREFIX: &str = "wpool_global:";
    /// `() -> ()`, optional: called before anything else in every instance that does not start from a snapshot. The
    /// toolchain makes it for WASI reactors.
    pub const INITIALIZE: &str = "_initialize";
}

/// The names of the functions that a guest may import, all optional, from the module [`import::MODULE`].
pub mod import {
    /// The module of all imports in [`ALL`].
    pub const MODULE: &str = "wpool";
    /// The module of WASI's first preview. A guest that imports it gets no files, no network and no environment.
    pub const WASI: &str = "wasi_snapshot_preview1";

    macro_rules! imports {
        ($($(#[$docs:meta])* $constant:ident = $name:literal;)*) => {
            $($(#[$docs])* pub const $constant: &str = $name;)*

            /// The names of all imports from [`MODULE`].
            pub const ALL: &[&str] = &[$($constant),*];
        };
    }

    imports! {
        /// `(level: i32, ptr: i32, len: i32)`: writes one line of UTF-8 to the task's log, see [`level`](crate::level).
        LOG = "log";
        /// `(message: i32, message_len: i32, location: i32, location_len: i32)`: reports a panic, in UTF-8, before the
        /// guest traps.
        PANIC = "panic";
        /// `(code: i32)`: ends the task with an exit code instead of a value. It does not return.
        EXIT = "exit";
        /// `() -> i32`: one if the task is to end soon, otherwise zero.
        CANCELLED = "cancelled";
        /// `(clock: i32) -> nanoseconds: i64`: the time of a clock, see [`clock`](crate::clock), in steps of the
        /// resolution that the host chooses. The task fails if its policy denies clocks.
        CLOCK = "clock";
        /// `(nanoseconds: i64)`: suspends the task. The time is unsigned, and rounded up to the resolution of the
        /// clocks. Returns earlier if the task is to end. The task fails if its policy denies clocks.
        SLEEP = "sleep";
        /// `(ptr: i32, len: i32)`: fills the bytes with random numbers. The task fails if its policy denies them.
        RANDOM = "random";
        /// `() -> len: i32`: the answer is an `Option` of the task's [`WorkerInfo`](crate::WorkerInfo) in postcard, of
        /// `len` bytes: none if the host does not show it.
        WORKER = "worker";
        /// `(type: i64, ptr: i32, len: i32)`: emits a value in postcard, with the fingerprint of its type. The task
        /// waits while it has no credit for another value.
        EMIT = "emit";
        /// `(name: i32, name_len: i32, takes: i64, returns: i64, args: i32, args_len: i32, handles: i32) -> sub_task:
        /// i32`: submits a task of the same guest, with the fingerprints of its parameters and its value. The block at
        /// `args` is like that of a task: `handles` wire indices, see [`with_rights`](crate::object::with_rights), then
        /// the arguments as one postcard tuple. Ids of sub-tasks count from zero. A sub-task that cannot be run gets
        /// the reason as its outcome.
        SUBMIT = "submit";
        /// `(sub_task: i32) -> len: i32`: waits for the end of a sub-task. The answer is its
        /// [`SubTaskOutcome`](crate::SubTaskOutcome) in postcard, of `len` bytes.
        OUTCOME = "outcome";
        /// `(ptr: i32)`: copies the latest answer to `ptr`.
        ANSWER = "answer";
        /// `(handle: i32, wait: i64, ptr: i32, len: i32) -> len: i32`: makes a call on a shared object, an
        /// [`object::Call`](crate::object::Call) in postcard. `wait` is the most nanoseconds to wait; zero is not at
        /// all, a negative number is no limit. The answer, a result of [`object::Reply`](crate::object::Reply) or
        /// [`object::ObjectError`](crate::object::ObjectError), has `len` bytes.
        CALL = "call";
        /// `(handle: i32, ptr: i32, len: i32) -> status: i32`: makes a call without an answer, of at most
        /// [`MAX_POST_SIZE`](crate::object::MAX_POST_SIZE) bytes. A handle that was not granted or lacks the right is a
        /// status, see [`object::shared`](crate::object::shared); any other error is part of the answer to the next
        /// [`CALL`] or [`FLUSH`].
        POST = "post";
        /// `() -> len: i32`: waits until all posted calls are done. The answer is like that of [`CALL`]: the first
        /// error, or [`Reply::Done`](crate::object::Reply::Done).
        FLUSH = "flush";
        /// `(handle: i32) -> bytes: i64`: the size of a shared array. A negative number is a negated status, see
        /// [`object::shared`](crate::object::shared).
        SHARED_SIZE = "shared_size";
        /// `(handle: i32, at: i64, ptr: i32, len: i32) -> status: i32`: copies `len` bytes from byte offset `at` of a
        /// shared array to `ptr`. Both are multiples of the element size.
        SHARED_READ = "shared_read";
        /// `(handle: i32, at: i64, ptr: i32, len: i32) -> status: i32`: copies `len` bytes from `ptr` to byte offset
        /// `at` of a shared array. Both are multiples of the element size.
        SHARED_WRITE = "shared_write";
        /// `(handle: i32, at: i64, number: i64, before: i32) -> status: i32`: adds `number` to the element at byte
        /// offset `at` atomically, and writes its former value to the 8 bytes at `before`. Both numbers are in the
        /// lowest bits.
        SHARED_ADD = "shared_add";
    }
}

/// The outcome record whose address a call returns: five little-endian `u32`s.
///
/// | offset | field |
/// |---|---|
/// | 0 | status, see [`mod@crate::status`] |
/// | 4 | address of the bytes |
/// | 8 | length of the bytes |
/// | 12 | address of the handle indices, 4 bytes each |
/// | 16 | number of handle indices |
pub mod outcome {
    /// The size of the record in bytes.
    pub const SIZE: usize = 20;
}

/// The values of an outcome record's status.
pub mod status {
    /// The task returned. The bytes are its value in postcard.
    pub const VALUE: u32 = 0;
    /// The task returned an error. The bytes are an [`ErrorPayload`](crate::ErrorPayload) in postcard.
    pub const ERROR: u32 = 1;
    /// The arguments do not have the types of the task's parameters. The bytes are a message in UTF-8.
    pub const BAD_ARGUMENTS: u32 = 2;
    /// The value could not be encoded. The bytes are a message in UTF-8.
    pub const BAD_RESULT: u32 = 3;
}

/// The levels of a log line, most severe first.
pub mod level {
    /// An error.
    pub const ERROR: u32 = 1;
    /// A warning.
    pub const WARN: u32 = 2;
    /// Information.
    pub const INFO: u32 = 3;
    /// Details for debugging.
    pub const DEBUG: u32 = 4;
    /// The finest details.
    pub const TRACE: u32 = 5;
}

/// The clocks of a guest.
pub mod clock {
    /// It never goes back. Its zero is arbitrary, and another one in every worker.
    pub const MONOTONIC: u32 = 0;
    /// The time since the Unix epoch.
    pub const SYSTEM: u32 = 1;
}

/// The worker that runs a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its name, unique within its pool.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// The process id of the program that the pool belongs to.
    pub parent_pid: u32,
}

/// The error that a task returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorPayload {
    /// The text of its `Display`, or an empty string if it has none.
    pub message: String,
    /// Its value in postcard, or `None` if the error type has no schema.
    pub value: Option<Vec<u8>>,
}

/// How a sub-task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubTaskOutcome {
    /// It returned: its value in postcard, and the wire indices of its handles.
    Value(object::Item),
    /// It failed, or was not submitted.
    Failed(SubTaskFailure),
}

/// Why a sub-task has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTaskFailure {
    /// A short name in snake case: that of the host's error, or the reason why it was not submitted (`not_allowed`,
    /// `quota`, `unknown_task`, `wrong_type`, `no_sub_task`).
    pub kind: String,
    /// The reason as text.
    pub message: String,
    /// The value of its own error in postcard, or `None` if that has no schema.
    pub value: Option<Vec<u8>>,
}

/// The index of a type in [`TaskDescription::types`].
pub type TypeIndex = u32;

/// One task: its name, its parameters, the types of its value and its error.
///
/// The types are one flat table. Indices may form a cycle (a tree contains trees), so a reader must not recurse over
/// the table without a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDescription {
    /// The function's name.
    pub name: String,
    /// Its doc comment, or an empty string.
    pub docs: String,
    /// Its parameters in their order. On the wire they are one tuple.
    pub params: Vec<Field>,
    /// The type of its value.
    pub returns: TypeIndex,
    /// The type of its error, if the task returns a `Result` whose error has a schema.
    pub error: Option<TypeIndex>,
    /// All types that the indices refer to.
    pub types: Vec<Type>,
}

/// A parameter, or a field of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The name in JSON.
    pub name: String,
    /// The doc comment, or an empty string.
    pub docs: String,
    /// Its type.
    pub ty: TypeIndex,
}

/// One variant of an enum. Its index in the list is its number on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The name in JSON.
    pub name: String,
    /// The doc comment, or an empty string.
    pub docs: String,
    /// Its fields.
    pub data: VariantData,
}

/// The fields of a variant of an enum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VariantData {
    /// No fields: `"Name"` in JSON.
    Unit,
    /// One unnamed field: `{"Name": value}`.
    Newtype(TypeIndex),
    /// Several unnamed fields: `{"Name": [a, b]}`.
    Tuple(Vec<TypeIndex>),
    /// Named fields: `{"Name": {"a": 1}}`.
    Struct(Vec<Field>),
}

/// The type of a handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleType {
    /// The kind of its object.
    pub kind: object::Kind,
    /// The rights of the handle.
    pub rights: object::Rights,
    /// The types of the object's values: none, one, or a key and a value.
    pub items: Vec<TypeIndex>,
}

/// A type, as in serde's data model and in postcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Type {
    /// `()`, a unit struct: `null` in JSON.
    Unit,
    /// `bool`.
    Bool,
    /// `u8`.
    U8,
    /// `u16`.
    U16,
    /// `u32`.
    U32,
    /// `u64`.
    U64,
    /// `u128`.
    U128,
    /// `i8`.
    I8,
    /// `i16`.
    I16,
    /// `i32`.
    I32,
    /// `i64`.
    I64,
    /// `i128`.
    I128,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `char`: a string of one character in JSON.
    Char,
    /// UTF-8 text.
    String,
    /// Bytes: base64 in JSON. Input may also be an array of numbers.
    Bytes,
    /// Any JSON value; its text on the wire.
    Json,
    /// A handle of a shared object: on the wire its position in the list beside the value's bytes.
    Handle(HandleType),
    /// A value, or `null` in JSON.
    Option(TypeIndex),
    /// Any number of values.
    Seq(TypeIndex),
    /// A fixed number of values of various types.
    Tuple(Vec<TypeIndex>),
    /// A fixed number of values of one type.
    Array(TypeIndex, u32),
    /// Keys and values: an object in JSON.
    Map(TypeIndex, TypeIndex),
    /// Named fields: an object in JSON.
    Struct {
        /// The type's name, shown by `wpool inspect`.
        name: String,
        /// The fields in the order of the wire form.
        fields: Vec<Field>,
    },
    /// One of several variants.
    Enum {
        /// The type's name, shown by `wpool inspect`.
        name: String,
        /// The variants in the order of their numbers.
        variants: Vec<Variant>,
    },
}
