//! What a wpool host and its guests agree on: names, numbers and the data of a description.
//!
//! There is no I/O here, and no more logic than both must agree on. Both sides compile this crate, for different targets, so
//! whatever changes here changes [`VERSION`] and is written down in `docs/src/reference/guest-abi.md`.
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

/// The names of what a guest exports.
pub mod export {
    /// The guest's only memory.
    pub const MEMORY: &str = "memory";
    /// An exported function whose name ends in the ABI version, such as `wpool_abi_v1`. It is never
    /// called: a host reads the version from the name, without running the guest.
    pub const VERSION_PREFIX: &str = "wpool_abi_v";
    /// `(len: i32) -> ptr: i32`, room for the arguments of one call, aligned to 8 bytes.
    pub const ALLOC: &str = "wpool_alloc";
    /// `(args: i32, len: i32, handles: i32) -> outcome: i32`, one export per task. The block at `args`
    /// starts with `handles` handle indices (4 bytes each, little endian); the rest of its `len` bytes
    /// are the arguments as one postcard tuple. The result points to an outcome record, see
    /// [`outcome`](crate::outcome).
    pub const TASK_PREFIX: &str = "wpool_task:";
    /// `() -> outcome: i32`, one export per task: its [`TaskDescription`](crate::TaskDescription) in
    /// postcard, as the bytes of an outcome with status [`VALUE`](crate::status::VALUE).
    pub const DESCRIBE_PREFIX: &str = "wpool_describe:";
    /// Like a task, optional: the guest's initializer. It runs once, before any task, and what it leaves in memory
    /// and globals is what every instance starts with.
    pub const INIT: &str = "wpool_init";
    /// Its description.
    pub const DESCRIBE_INIT: &str = "wpool_describe_init";
    /// What the host adds to a guest that has an initializer: each of its mutable globals, by number.
    pub const GLOBAL_PREFIX: &str = "wpool_global:";
    /// `() -> ()`, called once in every fresh instance before anything else, where it exists. The
    /// toolchain makes it for WASI reactors.
    pub const INITIALIZE: &str = "_initialize";
}

/// The names of what a guest may import, all optional, from the module [`import::MODULE`].
pub mod import {
    /// The module of every import below.
    pub const MODULE: &str = "wpool";
    /// `(level: i32, ptr: i32, len: i32)`, one line of UTF-8 for the task's log; see
    /// [`level`](crate::level).
    pub const LOG: &str = "log";
    /// `(message: i32, message_len: i32, location: i32, location_len: i32)`, called by the panic hook
    /// before the guest traps.
    pub const PANIC: &str = "panic";
    /// `() -> i32`, one if the task is to end soon, else zero.
    pub const CANCELLED: &str = "cancelled";
    /// `(type: i64, ptr: i32, len: i32)`, a value in postcard for whoever reads what the task emits, with the
    /// fingerprint of its type. The task waits if it has emitted more than the host wants now.
    pub const EMIT: &str = "emit";
    /// `(name: i32, name_len: i32, takes: i64, returns: i64, args: i32, args_len: i32, handles: i32) -> number: i32`,
    /// submits a task of the same guest, with the fingerprints of what it takes and returns. The block at `args` is
    /// like that of a task: `handles` handle indices, then the arguments as one postcard tuple. Numbers count from
    /// zero. Whatever is wrong is the sub-task's outcome.
    pub const SUBMIT: &str = "submit";
    /// `(number: i32) -> len: i32`, waits for the end of a sub-task. Its
    /// [`SubTaskOutcome`](crate::SubTaskOutcome) in postcard is the answer, which has `len` bytes.
    pub const OUTCOME: &str = "outcome";
    /// `(ptr: i32)`, copies the latest answer there.
    pub const ANSWER: &str = "answer";
    /// `(handle: i32, wait: i64, ptr: i32, len: i32) -> len: i32`, asks something of a shared object: an
    /// [`object::Call`](crate::object::Call) in postcard. It waits so many nanoseconds at most, not at all if that is
    /// zero, as long as it takes if it is negative. The answer, a result of
    /// [`object::Reply`](crate::object::Reply) or [`object::ObjectError`](crate::object::ObjectError), has `len`
    /// bytes.
    pub const CALL: &str = "call";
    /// `(handle: i32, ptr: i32, len: i32) -> status: i32`, the same without an answer, for at most 64 KiB. A handle
    /// that was not granted or is not good for the call is a status, see [`object::shared`](crate::object::shared);
    /// what else goes wrong with it is what the next `call` answers.
    pub const POST: &str = "post";
    /// `() -> len: i32`, waits until all that was posted is done. The answer is as that of `call`: what went wrong, or
    /// that nothing did.
    pub const FLUSH: &str = "flush";
    /// `(handle: i32) -> bytes: i64`, how long a shared array is; negative, it is a status, see
    /// [`object::shared`](crate::object::shared).
    pub const SHARED_SIZE: &str = "shared_size";
    /// `(handle: i32, at: i64, ptr: i32, len: i32) -> status: i32`, copies `len` bytes from byte `at` of a shared array
    /// to `ptr`. Both count whole elements.
    pub const SHARED_READ: &str = "shared_read";
    /// `(handle: i32, at: i64, ptr: i32, len: i32) -> status: i32`, copies as many bytes the other way.
    pub const SHARED_WRITE: &str = "shared_write";
    /// `(handle: i32, at: i64, number: i64, before: i32) -> status: i32`, adds to the element at byte `at` in one step,
    /// and writes what it was before to the 8 bytes at `before`. Numbers are in the lowest bits.
    pub const SHARED_ADD: &str = "shared_add";
    /// The module of WASI's first preview. A guest that imports it gets no files, no network and no
    /// environment.
    pub const WASI: &str = "wasi_snapshot_preview1";
}

/// The outcome record that a call returns a pointer to: five little-endian `u32`s.
///
/// | offset | field |
/// |---|---|
/// | 0 | status, see [`mod@crate::status`] |
/// | 4 | address of the bytes |
/// | 8 | length of the bytes |
/// | 12 | address of the handle indices, 4 bytes each |
/// | 16 | number of handles |
pub mod outcome {
    /// The size of the record in bytes.
    pub const SIZE: usize = 20;
}

/// What the status of an outcome record says.
pub mod status {
    /// The task returned. The bytes are its value in postcard.
    pub const VALUE: u32 = 0;
    /// The task returned an error. The bytes are an [`ErrorPayload`](crate::ErrorPayload) in postcard.
    pub const ERROR: u32 = 1;
    /// The arguments were not what the task takes. The bytes are a message in UTF-8.
    pub const BAD_ARGUMENTS: u32 = 2;
    /// The value could not be encoded. The bytes are a message in UTF-8.
    pub const BAD_RESULT: u32 = 3;
}

/// The levels of a log line, most severe first.
pub mod level {
    /// Something failed.
    pub const ERROR: u32 = 1;
    /// Something is suspicious.
    pub const WARN: u32 = 2;
    /// What happens.
    pub const INFO: u32 = 3;
    /// What happens in detail.
    pub const DEBUG: u32 = 4;
    /// Everything.
    pub const TRACE: u32 = 5;
}

/// The error that a task returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorPayload {
    /// What its `Display` says, or an empty string where it has none.
    pub message: String,
    /// Its value in postcard, where the error type has a schema.
    pub value: Option<Vec<u8>>,
}

/// How a sub-task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubTaskOutcome {
    /// It returned: its value in postcard, and the handles in it.
    Value(object::Item),
    /// It has no value.
    Failed(SubTaskFailure),
}

/// Why a sub-task has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTaskFailure {
    /// A short name in snake case: that of the host's error, or why it was not submitted at all (`not_allowed`,
    /// `quota`, `unknown_task`, `wrong_type`, `no_sub_task`).
    pub kind: String,
    /// The same for people.
    pub message: String,
    /// The value of its own error in postcard, where that has a schema.
    pub value: Option<Vec<u8>>,
}

/// The place of a type in [`TaskDescription::types`].
pub type TypeIndex = u32;

/// One task: its name, what it takes, what it returns.
///
/// The types are one flat table. Indices may form a cycle (a tree holds trees), so a reader never
/// recurses over the table itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDescription {
    /// The function's name.
    pub name: String,
    /// Its doc comment, or an empty string.
    pub docs: String,
    /// Its parameters in order. On the wire they are one tuple.
    pub params: Vec<Field>,
    /// The type of its value.
    pub returns: TypeIndex,
    /// The type of its error's value, where the task returns a `Result` whose error has a schema.
    pub error: Option<TypeIndex>,
    /// Every type that the indices name.
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

/// One variant of an enum. Its place in the list is its number on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The name in JSON.
    pub name: String,
    /// The doc comment, or an empty string.
    pub docs: String,
    /// What it carries.
    pub data: VariantData,
}

/// What a variant of an enum carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VariantData {
    /// Nothing: `"Name"` in JSON.
    Unit,
    /// One value: `{"Name": value}`.
    Newtype(TypeIndex),
    /// Several values: `{"Name": [a, b]}`.
    Tuple(Vec<TypeIndex>),
    /// Named fields: `{"Name": {"a": 1}}`.
    Struct(Vec<Field>),
}

/// What a handle is to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleType {
    /// What the object is.
    pub kind: object::Kind,
    /// What the handle is good for.
    pub rights: object::Rights,
    /// The types of what the object holds: none, one, or a key and a value.
    pub items: Vec<TypeIndex>,
}

/// A type, as serde's data model has it and as postcard writes it.
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
    /// Bytes: base64 in JSON, or an array of numbers where it is an input.
    Bytes,
    /// Any JSON value; its text on the wire.
    Json,
    /// A handle to a shared object; its place in the side list on the wire.
    Handle(HandleType),
    /// A value or nothing: `null` in JSON.
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
        /// The type's name, for people.
        name: String,
        /// The fields in the order of the wire.
        fields: Vec<Field>,
    },
    /// One of several variants.
    Enum {
        /// The type's name, for people.
        name: String,
        /// The variants in the order of their numbers.
        variants: Vec<Variant>,
    },
}
