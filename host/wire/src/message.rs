//! The messages in the frames. These are the only types that travel between processes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wpool_abi::object::{Kind, Number, Rights, Wait};

use crate::ids::{MemoryId, TaskId};
use crate::limits::{CompileLimits, Isolation, Limits};
use crate::{BUILD, PROTOCOL_VERSION};

/// The kinds of frames from the parent to a worker.
pub mod to_worker {
    /// The first frame, a [`Hello`](super::Hello). The control page and the image travel with it as
    /// file descriptors, in this order.
    pub const HELLO: u8 = 1;
    /// Tasks to run: a [`CallHeader`](super::CallHeader), then the arguments of each task as postcard
    /// bytes (a length and the bytes themselves).
    pub const CALL: u8 = 2;
    /// Asks for the descriptions of the tasks that the hello named. No payload.
    pub const DESCRIBE: u8 = 3;
    /// A task that has begun is to end, as its claim word says too: a [`TaskId`](super::TaskId). For a worker
    /// whose tasks are all suspended.
    pub const END: u8 = 4;
    /// Asks for the initializer to be run: its arguments. The hello has named it as the only task, and a file for the
    /// snapshot has come with it.
    pub const INIT: u8 = 5;
    /// What a task that waits has asked for: an [`Answer`](super::Answer).
    pub const ANSWER: u8 = 6;
    /// A task may emit more: a [`Credit`](super::Credit).
    pub const CREDIT: u8 = 7;
    /// Shared memory, a [`Memory`](super::Memory). Its file travels with it, and it comes before the first task that
    /// can reach it.
    pub const MAP: u8 = 8;
    /// Shared memory that no task can reach any more: its [`MemoryId`](super::MemoryId).
    pub const UNMAP: u8 = 9;
}

/// The kinds of frames from a worker to the parent.
pub mod from_worker {
    /// The worker is ready, a [`Ready`](super::Ready). The first frame.
    pub const READY: u8 = 1;
    /// Tasks that ended: [`Done`](super::Done) records, one after the other.
    pub const DONE: u8 = 2;
    /// The descriptions, a [`Described`](super::Described).
    pub const DESCRIBED: u8 = 3;
    /// The worker cannot go on and says why before it exits, a [`Fatal`](super::Fatal).
    pub const FATAL: u8 = 4;
    /// A task waits for something, and others can run meanwhile: its [`TaskId`](super::TaskId).
    pub const SUSPENDED: u8 = 5;
    /// The initializer has run, and the snapshot is in the file; or why not: an [`Initialized`](super::Initialized).
    pub const INITIALIZED: u8 = 6;
    /// What tasks ask for while they run: [`Request`](super::Request) records, one after the other.
    pub const REQUEST: u8 = 7;
    /// A task that was suspended goes on: its [`TaskId`](super::TaskId).
    pub const RESUMED: u8 = 8;
}

/// The kinds of frames between the parent and a compiler.
pub mod compiler {
    /// Parent to compiler: a [`CompileRequest`](super::CompileRequest). The module's bytes, the file
    /// for the image and, if the request has one, a snapshot travel with it as file descriptors, in this order.
    pub const REQUEST: u8 = 1;
    /// Compiler to parent: a [`CompileReply`](super::CompileReply).
    pub const REPLY: u8 = 1;
}

/// What a child needs to know before anything else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub build: String,
    pub limits: Limits,
    /// The exports that are called, by their indices.
    pub functions: Vec<String>,
    /// Whether the module has a start function.
    pub has_start: bool,
    pub isolation: Isolation,
    /// Whether the third descriptor is a snapshot that instances start from.
    pub from_snapshot: bool,
}

impl Hello {
    /// The hello of this build, to a worker whose instances start from the module itself, one for each task.
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
        }
    }

    /// Whether the sender is this build.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        (self.protocol, self.build.as_str()) == (PROTOCOL_VERSION, BUILD)
    }
}

/// The worker's answer to the hello.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    pub protocol: u32,
    pub build: String,
    /// The walls that the worker stands in.
    pub sandbox: SandboxReport,
}

/// Which walls stand around a child, as it found them itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxReport {
    pub dies_with_parent: bool,
    pub no_new_privileges: bool,
    pub not_dumpable: bool,
    pub memory_capped: bool,
}

/// What a child says before it exits because it cannot go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fatal {
    pub message: String,
}

/// A range of tasks: consecutive task ids, consecutive words in the control page, one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHeader {
    pub first: TaskId,
    pub count: u32,
    /// The claim word of the first task; the next follow, round the end of the page.
    pub claim: u32,
    /// The index of the function among the exports that the hello names.
    pub function: u32,
    /// How long each of them may run.
    pub run_timeout: Option<Duration>,
    /// How many values each of them may emit until it hears more; none if nobody wants any.
    pub emits: Option<u64>,
    /// Whether the arguments of each task are preceded by a list of its handles, each a [`Granted`].
    pub handles: bool,
}

/// A handle, as the worker knows it. A task's handles are numbered in the order in which it was granted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    pub kind: Kind,
    pub rights: Rights,
    /// What it is to, if that is shared memory.
    pub memory: Option<MemoryId>,
}

/// Shared memory that a worker is to map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub id: MemoryId,
    pub form: Number,
    /// In bytes.
    pub len: u64,
    pub writable: bool,
}

/// What a task asks for while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<'a> {
    pub task: TaskId,
    #[serde(borrow)]
    pub ask: Ask<'a>,
}

/// How many calls without an answer a task may have made that are not done yet, and how long each may be.
pub const POSTS: u64 = 128;
pub const POST_SIZE: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask<'a> {
    /// A value for the task's owner, in postcard, and the fingerprint of its type. No answer.
    Emit { of: u64, value: &'a [u8] },
    /// A sub-task, the task's `number`th: its name, the fingerprints of what it takes and returns, its arguments
    /// in postcard, and the numbers of the handles in them (4 bytes each, little endian). No answer.
    Submit { number: u32, name: &'a str, takes: u64, returns: u64, arguments: &'a [u8], handles: &'a [u8] },
    /// The outcome of a sub-task. The answer is a `wpool_abi::SubTaskOutcome` in postcard.
    Outcome { number: u32 },
    /// Something of a shared object, a `wpool_abi::object::Call` in postcard. The answer is a reply or an error.
    Call { handle: u32, wait: Wait, call: &'a [u8] },
    /// The same, and nobody waits for the answer.
    Post { handle: u32, call: &'a [u8] },
    /// Whether all of those went well, when all of them are done. The answer is as that of a call.
    Flush,
}

/// What a task has asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<'a> {
    pub task: TaskId,
    pub bytes: &'a [u8],
    /// The handles that it was granted with this.
    pub granted: Vec<Granted>,
}

/// What a task can be granted more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flow {
    /// Emitted values.
    Emits,
    /// Calls of shared objects without an answer.
    Posts,
}

/// How many of something a task may have sent by now, all in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    pub task: TaskId,
    pub of: Flow,
    pub total: u64,
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

/// How a task ended, in the worker's words. The parent fills in the limits that it set itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome<'a> {
    /// Its value in postcard, and the numbers of the handles in it (4 bytes each, little endian).
    Value(&'a [u8], &'a [u8]),
    /// Its own error, a `wpool_abi::ErrorPayload` in postcard.
    Error(&'a [u8]),
    Panic {
        message: &'a str,
        location: &'a str,
    },
    Trap {
        number: u8,
        #[serde(borrow)]
        backtrace: Vec<Frame<'a>>,
    },
    Timeout,
    /// The parent asked for its end.
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
}

/// One function of a backtrace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame<'a> {
    pub function: &'a str,
    pub offset: Option<u64>,
}

/// The descriptions that the guest gave of its tasks, in the order of the hello's list; each is a
/// `wpool_abi::TaskDescription` in postcard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described<'a> {
    #[serde(borrow)]
    pub result: Result<Vec<&'a [u8]>, Outcome<'a>>,
}

/// What became of an initializer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Initialized<'a> {
    #[serde(borrow)]
    pub result: Result<(), Outcome<'a>>,
}

/// What a compiler is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompileRequest {
    pub protocol: u32,
    pub build: String,
    pub limits: CompileLimits,
    /// Whether the code counts fuel.
    pub fuel: bool,
    /// Whether the third descriptor is a snapshot that the module is to start from.
    pub snapshot: bool,
}

/// What became of a compilation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CompileReply {
    /// The image is in the file, and this is what the module is like.
    Compiled(ModuleInfo),
    Failed(CompileFailure),
    /// The compiler is another build.
    Mismatch {
        protocol: u32,
        build: String,
    },
}

/// Why a module is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CompileFailure {
    Invalid { message: String },
    UnknownImport { module: String, name: String },
    WrongType { export: bool, name: String, found: String, expected: String },
    MissingExport { name: String },
    WrongAbi { found: String },
}

/// What is known of a module without running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Module, name and type of each import.
    pub imports: Vec<(String, String, String)>,
    /// Bytes of linear memory at the start.
    pub memory_min: u64,
    /// The most that the module itself allows, in bytes.
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

/// The numbers of handles, as they stand in a guest's memory.
pub fn handle_numbers(bytes: &[u8]) -> impl ExactSizeIterator<Item = u32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|number| u32::from_le_bytes(*number))
}

/// Reads a message that fills its payload.
pub fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, BadMessage> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(BadMessage(format!("{} bytes after a message", rest.len()))),
        Err(error) => Err(BadMessage(error.to_string())),
    }
}

/// Reads the next of several messages in a payload, and takes it off.
pub fn take_record<'a, T: Deserialize<'a>>(payload: &mut &'a [u8]) -> Result<T, BadMessage> {
    let (record, rest) = postcard::take_from_bytes(payload).map_err(|error| BadMessage(error.to_string()))?;
    *payload = rest;
    Ok(record)
}

/// Appends a message.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    // Writing to memory cannot fail, and no message holds what postcard cannot write.
    *out = postcard::to_extend(message, std::mem::take(out)).expect("messages can be encoded");
}

/// Appends bytes with their length before them, as a call frame holds arguments and postcard holds strings.
pub fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    encode(&(bytes.len() as u64), out);
    out.extend_from_slice(bytes);
}

/// A payload that is no message.
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
        /// A worker may send any bytes at all.
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
