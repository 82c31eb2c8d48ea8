//! The public face of a pool: the types that a program uses, over the runtime that does the work.

mod builder;
mod canceller;
mod decode;
mod emitted;
mod future;
mod map;
mod map_future;
mod map_input;
mod objects;
#[expect(clippy::module_inception, reason = "among the types of the face is the pool itself")]
mod pool;
mod process;
mod raw_map;
mod raw_task;
mod settings;
mod task;
mod wait;

pub use self::builder::PoolBuilder;
pub use self::canceller::Canceller;
pub use self::emitted::{EmitBuffer, EmitError, Emitted};
pub use self::future::{CancelOnDrop, NotYet, Status, TaskFuture, Undecoded};
pub use self::map::Map;
pub use self::map_future::{MapError, MapFuture};
pub use self::objects::handle::Handle;
pub use self::objects::manager::{
    Array, Barrier, BoundedSemaphore, Condition, ConditionGuard, Connection, Dict, Event as EventObject,
    JoinableQueue, List, Lock, LockGuard, Manager, Namespace, PipeMode, Queue, RLock, Receiver, Semaphore,
    SemaphoreGuard, Sender, SharedArray, SharedSlice, SimpleQueue, Value,
};
pub use self::objects::named::NamedObjects;
pub use self::objects::select::{Readable, wait_ready};
pub use self::objects::spec::{NamedError, ObjectSpec};
pub use self::pool::{LoadedGuest, PendingTasks, Pool, StillOpen, Wait};
pub use self::process::{Process, ProcessBuilder, StillRunning};
pub use self::raw_map::RawMap;
pub use self::raw_task::{LogReader, RawArguments, RawTask};
pub use self::settings::GuestSettings;
pub use self::task::Task;
pub use self::wait::{AsCompleted, ReturnWhen, Unfinished, Waited, as_completed, wait};
pub use crate::runtime::{Completed, Figures, LogPart, Stats, TaskLog};
