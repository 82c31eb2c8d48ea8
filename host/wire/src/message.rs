//! The messages: the payloads of frames, in postcard. The order of fields and variants is the wire format.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use wpool_abi::object::{Kind, Number, Rights, Wait};

use crate::ids::{MemoryId, Place, TaskId};
use crate::limits::{Capability, CompileLimits, Isolation, Limits};
use crate::{BUILD, PROTOCOL_VERSION, is_this_build};

/// The kinds of frames from the parent to a worker.
pub mod to_worker {
    /// The first frame, a [`Hello`](super::Hello). File descriptors come with it, in this order: the control page,
    /// the image, and the snapshot to start from or an empty file for one, if there is any.
    pub const HELLO: u8 = 1;
    /// Tasks to run: a [`CallHeader`](super::CallHeader), then the arguments of each task as postcard bytes (a length and
    /// the bytes themselves).
    pub const CALL: u8 = 2;
    /// Requests the descriptions of the tasks that the hello names. No payload.
    pub const DESCRIBE: u8 = 3;
    /// Requests the end of a started task: its [`TaskId`](super::TaskId). The claim word requests it too; the frame wakes a
    /// worker whose tasks are all suspended.
    pub const END: u8 = 4;
    /// Requests a run of the initializer: its arguments. The hello has named it as the only task, and a file for the
    /// snapshot came with the hello.
    pub const INIT: u8 = 5;
    /// The answer to a request of a suspended task: an [`Answer`](super::Answer).
    pub const ANSWER: u8 = 6;
    /// More credit for a task: a [`Credit`](super::Credit).
    pub const CREDIT: u8 = 7;
    /// Shared memory to map, a [`Memory`](super::Memory). Its file comes with it. It is sent before the first task that has
    /// a handle to it.
    pub const MAP: u8 = 8;
    /// Shared memory to unmap, because no task has a handle to it any more: its [`MemoryId`](super::MemoryId).
    pub const UNMAP: u8 = 9;
}

/// The kinds of frames from a worker to the parent.
pub mod from_worker {
    /// The worker is ready, a [`Ready`](super::Ready). The first frame, unless it is `FATAL`.
    pub const READY: u8 = 1;
    /// Tasks that ended: consecutive [`Done`](super::Done) records.
    pub const DONE: u8 = 2;
    /// The descriptions, a [`Described`](super::Described).
    pub const DESCRIBED: u8 = 3;
    /// The reason why the worker is about to exit with an error, a [`Fatal`](super::Fatal).
    pub const FATAL: u8 = 4;
    /// A task was suspended, so that others can run: its [`TaskId`](super::TaskId).
    pub const SUSPENDED: u8 = 5;
    /// The outcome of the initializer, whose snapshot is in the file: an [`Initialized`](super::Initialized).
    pub const INITIALIZED: u8 = 6;
    /// Requests of running tasks: consecutive [`Request`](super::Request) records.
    pub const REQUEST: u8 = 7;
    /// A suspended task was resumed: its [`TaskId`](super::TaskId).
    pub const RESUMED: u8 = 8;
    /// Parts of the logs of running tasks, if their call asked for it: consecutive [`LogPart`](super::LogPart) records.
    pub const LOG: u8 = 9;
}

/// The kinds of frames between the parent and a compiler.
pub mod compiler {
    /// Parent to compiler: a [`CompileRequest`](super::CompileRequest). The module, a file for the image and, if the
    /// request has one, a snapshot come with it as file descriptors, in this order.
    pub const REQUEST: u8 = 1;
    /// Compiler to parent: a [`CompileReply`](super::CompileReply).
    pub const REPLY: u8 = 1;
}

/// The first message to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub build: String,
    pub limits: Limits,
    /// The exports to call; a call names one by its index.
    pub functions: Vec<String>,
    /// Whether the module has a start function.
    pub has_start: bool,
    pub isolation: Isolation,
    /// Whether the third descriptor is a snapshot that instances start from.
    pub from_snapshot: bool,
    /// The worker's name, which guests can read if the limits allow it; empty in a worker that runs no tasks.
    pub worker: String,
}

impl Hello {
    /// Returns the hello of this build to a worker that makes an instance for each task, from the module itself.
    #[must_use]
    pub fn new(limits: Limits, functions: Vec<String>, has_start: bool) -> Self {
        let isolation = Isolation::Task;
        Self {
            protocol: PROTOCOL_VERSION,
            build: BUILD.to_owned(),
            limits,
            functions,
            has_start,
            isolation,
            from_snapshot: false,
            worker: String::new(),
        }
    }

    /// Returns whether the sender is this build.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        is_this_build(self.protocol, &self.build)
    }
}

/// The worker's answer to the hello.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    pub protocol: u32,
    pub build: String,
    /// The sandbox layers that the worker has entered.
    pub sandbox: SandboxReport,
}

/// The sandbox layers of a child, as the kernel confirmed them to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    pub dies_with_parent: bool,
    pub no_new_privileges: bool,
    pub not_dumpable: bool,
    pub memory_capped: bool,
}

/// The last message of a worker that exits with an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fatal {
    pub message: String,
}

/// A range of tasks of one function, with consecutive ids and consecutive claim words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHeader {
    pub first: TaskId,
    pub count: u32,
    /// The claim word of the first task. The last word of the page is followed by the first.
    pub claim: u32,
    /// The index of the function among the exports of the hello.
    pub function: u32,
    /// The time that each task may run; `None` if there is no limit.
    pub run_timeout: Option<Duration>,
    /// The first credit for emitted values of each task; `None` if they are discarded.
    pub emits: Option<u64>,
    /// Whether a list of handles, each a [`Granted`], precedes the arguments of each task.
    pub handles: bool,
    /// The place of the first task in its pool: seeded random numbers depend on it.
    pub place: Place,
    /// Whether the log of each task is sent while the task runs.
    pub follow_log: bool,
}

/// A handle that is granted to a task. Its index is the number of handles that the task was granted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    pub kind: Kind,
    pub rights: Rights,
    /// The memory, if the handle is to shared memory.
    pub memory: Option<MemoryId>,
}

/// Shared memory, to be mapped by a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub id: MemoryId,
    /// The type of the elements.
    pub form: Number,
    /// The size of all elements in bytes.
    pub len: u64,
    pub writable: bool,
}

/// A request of a running task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<'a> {
    pub task: TaskId,
    #[serde(borrow)]
    pub ask: Ask<'a>,
}

/// The first credit for posted calls of each task: the number of posted calls that may be unfinished.
pub const POSTS: u64 = 128;

/// The content of a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask<'a> {
    /// A value in postcard for the reader of the task's emitted values, with the fingerprint of its type. No answer.
    Emit { fingerprint: u64, value: &'a [u8] },
    /// A sub-task: its index among those of the task, its name, the fingerprints of its argument and result types, its
    /// arguments in postcard, and the indices of the handles in them (4 bytes each, little endian). No answer.
    Submit { index: u32, name: &'a str, takes: u64, returns: u64, arguments: &'a [u8], handles: &'a [u8] },
    /// Waits for the outcome of a sub-task. The answer is a `wpool_abi::SubTaskOutcome` in postcard.
    Outcome { index: u32 },
    /// A call of a shared object, a `wpool_abi::object::Call` in postcard. The answer is a reply or an error.
    Call { handle: u32, wait: Wait, call: &'a [u8] },
    /// A call without an answer.
    Post { handle: u32, call: &'a [u8] },
    /// Waits until all posted calls are done. The answer is the first error of one, in the form of a call's answer.
    Flush,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<'a> {
    pub task: TaskId,
    pub bytes: &'a [u8],
    /// The handles that the task is granted with the answer.
    pub granted: Vec<Granted>,
}

/// A flow of requests without an answer, which is limited by credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flow {
    /// Emitted values.
    Emits,
    /// Posted calls of shared objects.
    Posts,
}

/// The credit of a task in one flow: the number of requests that it may have sent since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    pub task: TaskId,
    pub flow: Flow,
    pub total: u64,
}

/// A part of the log of a running task. The parts follow one another without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart<'a> {
    pub task: TaskId,
    /// The number of bytes that the task has logged before.
    pub offset: u64,
    pub bytes: &'a [u8],
}

/// One task that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done<'a> {
    pub id: TaskId,
    #[serde(borrow)]
    pub outcome: Outcome<'a>,
    pub run_ns: u64,
    pub peak_memory: u64,
    pub fuel: u64,
    pub log: &'a [u8],
    pub log_dropped: u64,
}

/// The outcome of a task, without the limits, which the parent knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome<'a> {
    /// A value in postcard, and the indices of the handles in it (4 bytes each, little endian).
    Value(&'a [u8], &'a [u8]),
    /// The error that the task has returned, a `wpool_abi::ErrorPayload` in postcard.
    Error(&'a [u8]),
    Panic {
        message: &'a str,
        location: &'a str,
    },
    Trap {
        number: u8,
        #[serde(borrow, deserialize_with = "few_frames")]
        backtrace: Vec<Frame<'a>>,
    },
    /// It ended with an exit code.
    Exited {
        code: i32,
    },
    Timeout,
    /// The parent requested the end.
    Killed,
    OutOfFuel,
    MemoryLimit {
        asked: u64,
    },
    TableLimit {
        asked: u64,
    },
    OutputLimit {
        size: u64,
    },
    EmitLimit {
        size: u64,
    },
    BadArguments(&'a str),
    BadResult(&'a str),
    BadGuest(&'a str),
    /// The guest asked for what its policy denies.
    Denied(Capability),
}

/// The functions of a backtrace at most.
pub const MAX_FRAMES: usize = 16;
/// The bytes of a function's name in a backtrace at most.
pub const MAX_FRAME_NAME: usize = 4096;

/// Reads a backtrace, of which the parent keeps far more memory than a worker has to send.
fn few_frames<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Frame<'de>>, D::Error> {
    struct Few;

    impl<'de> Visitor<'de> for Few {
        type Value = Vec<Frame<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_FRAMES} functions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut frames = Vec::new();
            while let Some(frame) = seq.next_element::<Frame<'de>>()? {
                if frames.len() == MAX_FRAMES || frame.function.len() > MAX_FRAME_NAME {
                    return Err(A::Error::invalid_length(frames.len() + 1, &self));
                }
                frames.push(frame);
            }
            Ok(frames)
        }
    }

    deserializer.deserialize_seq(Few)
}

/// One function of a backtrace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame<'a> {
    pub function: &'a str,
    pub offset: Option<u64>,
}

/// The guest's descriptions of its tasks, in the order of the hello's exports; each is a `wpool_abi::TaskDescription` in
/// postcard. Or the outcome of the first that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described<'a> {
    #[serde(borrow)]
    pub result: Result<Vec<&'a [u8]>, Outcome<'a>>,
}

/// The outcome of an initializer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Initialized<'a> {
    #[serde(borrow)]
    pub result: Result<(), Outcome<'a>>,
}

/// The message to a compiler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompileRequest {
    pub protocol: u32,
    pub build: String,
    pub limits: CompileLimits,
    /// Whether the code counts fuel.
    pub fuel: bool,
    /// Whether the third descriptor is a snapshot that is to be compiled into the module.
    pub snapshot: bool,
}

impl CompileRequest {
    /// Returns whether the sender is this build.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        is_this_build(self.protocol, &self.build)
    }
}

/// The result of a compilation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CompileReply {
    /// The image is in the file.
    Compiled(ModuleInfo),
    Failed(CompileFailure),
    /// The compiler is another build.
    Mismatch {
        protocol: u32,
        build: String,
    },
}

/// The reason why a module is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CompileFailure {
    Invalid { message: String },
    UnknownImport { module: String, name: String },
    WrongType { export: bool, name: String, found: String, expected: String },
    MissingExport { name: String },
    WrongAbi { found: String },
}

/// The properties of a module that the compiler finds without running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Module, name and type of each import.
    pub imports: Vec<(String, String, String)>,
    /// Bytes of the initial linear memory.
    pub memory_min: u64,
    /// The maximum that the module itself declares, in bytes.
    pub memory_max: Option<u64>,
    /// Whether it has a start function.
    pub has_start: bool,
    /// Whether it has an initializer.
    pub has_init: bool,
    /// The names of the tasks, sorted.
    pub tasks: Vec<String>,
    /// Bytes of the compiled image.
    pub image_len: u64,
}

/// Returns the handle indices in `bytes`, which hold them as a guest's memory does. A rest of less than 4 bytes is ignored.
#[inline]
pub fn handle_indices(bytes: &[u8]) -> impl ExactSizeIterator<Item = u32> {
    let (indices, _) = bytes.as_chunks::<4>();
    indices.iter().map(|index| u32::from_le_bytes(*index))
}

/// Decodes a message. Bytes behind it are an error.
pub fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, BadMessage> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(BadMessage(format!("{} bytes after a message", rest.len()))),
        Err(error) => Err(BadMessage(error.to_string())),
    }
}

/// Decodes the first record of `payload`, and advances `payload` to the next one.
pub fn take_record<'a, T: Deserialize<'a>>(payload: &mut &'a [u8]) -> Result<T, BadMessage> {
    let (record, rest) = postcard::take_from_bytes(payload).map_err(|error| BadMessage(error.to_string()))?;
    *payload = rest;
    Ok(record)
}

/// Appends a message to `out`.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and every type in a message is supported by postcard.
    *out = postcard::to_extend(message, std::mem::take(out)).expect("messages can be encoded");
}

/// Appends the length of `bytes` and the bytes, which is the form of arguments in a call frame and of strings in postcard.
#[inline]
pub fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    encode(&(bytes.len() as u64), out);
    out.extend_from_slice(bytes);
}

/// A payload that does not decode as its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a bad message: {0}")]
pub struct BadMessage(pub String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    #[test]
    fn a_record_survives_the_wire() {
        let done = Done {
            id: TaskId(7),
            outcome: Outcome::Trap {
                number: 9,
                backtrace: vec![Frame { function: "primes::count", offset: Some(12) }],
            },
            run_ns: 1234,
            peak_memory: 1 << 17,
            fuel: 0,
            log: b"hello",
            log_dropped: 2,
        };
        let mut bytes = Vec::new();
        encode(&done, &mut bytes);
        assert_eq!(decode::<Done<'_>>(&bytes), Ok(done));
        bytes.push(0);
        assert_eq!(decode::<Done<'_>>(&bytes), Err(BadMessage("1 bytes after a message".into())));
    }

    proptest! {
        /// A hostile worker may send any bytes.
        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = decode::<Done<'_>>(&bytes);
            let _any = decode::<Ready>(&bytes);
            let _any = decode::<Request<'_>>(&bytes);
            let _any = decode::<Described<'_>>(&bytes);
            let _any = decode::<Fatal>(&bytes);
            let _any = decode::<CompileReply>(&bytes);
        }
    }
}
