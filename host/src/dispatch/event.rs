//! The dispatcher's input and output: the events of a pool, and the actions that follow from them.

use std::time::Duration;

use super::range::Range;
use crate::error::{TaskError, WorkerExit};
use crate::ids::{GuestKey, JobId, TaskId, WorkerId};

/// An event of a pool.
#[derive(Debug)]
pub(crate) enum Event {
    /// A guest was added. Of two guests with work, one of twice the weight gets twice the time. Below its tasks there may
    /// be sub-tasks down to `depth`.
    Load {
        guest: GuestKey,
        weight: u32,
        depth: u8,
    },
    /// A guest takes no more tasks. Those that it has are finished, then its workers are stopped.
    Unload(GuestKey),
    Submitted(Range),
    /// A worker's process could not be started.
    SpawnFailed {
        worker: WorkerId,
        message: String,
    },
    /// A worker has answered the hello.
    WorkerReady(WorkerId),
    /// Tasks of a worker have ended, each with the time that it ran.
    Done {
        worker: WorkerId,
        tasks: Vec<(TaskId, Duration)>,
    },
    /// A task of a worker waits for something, and others may run meanwhile.
    Suspended {
        worker: WorkerId,
        task: TaskId,
    },
    /// A task is not suspended any more.
    Resumed {
        worker: WorkerId,
        task: TaskId,
    },
    /// The answer to [`Action::Recall`]: the tasks that could be taken back.
    Recalled {
        worker: WorkerId,
        taken: Vec<TaskId>,
        why: Recall,
    },
    /// The answer to [`Action::Probe`].
    Probed {
        worker: WorkerId,
        seen: Probe,
    },
    /// A worker's process has ended. Its control page says that the tasks `begun` had begun and that `running` ran: no
    /// more than hints, as the worker can write there.
    WorkerExited {
        worker: WorkerId,
        exit: WorkerExit,
        begun: Vec<TaskId>,
        running: Option<TaskId>,
        message: Option<String>,
    },
    /// A task is cancelled unless it has begun.
    Cancel(TaskId),
    /// Only tasks of the job whose index is below `below` are handed out from now on: the results find no room.
    Hold {
        job: JobId,
        below: u64,
    },
    /// Tasks of the job whose index is below `below` are handed out again.
    Release {
        job: JobId,
        below: u64,
    },
    /// The tasks of a job are cancelled, except for those that have begun.
    CancelJob(JobId),
    /// All tasks are cancelled, except for those that have begun.
    CancelPending,
    /// A task ends, whether it has begun or not.
    Kill(TaskId),
    /// The maximum number of workers changes.
    Resize {
        max: u16,
    },
    /// No more tasks will come. Those that are there are finished.
    Close,
    /// All tasks and workers end at once.
    Terminate,
    /// The instant that `next_deadline` returned has come.
    Tick,
}

/// A worker's state as its control page shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// The task that runs.
    pub(crate) running: Option<TaskId>,
    /// A counter that changes whenever `running` does.
    pub(crate) slice: u64,
    /// Whether tasks have begun, and all of them wait for the parent: for an answer, for the outcome of a sub-task, or for
    /// room for what they emit. The parent knows that itself.
    pub(crate) waits: bool,
    /// A task that has begun and waits for nobody: if none runs, it sleeps.
    pub(crate) asleep: Option<TaskId>,
    /// The worker's memory in bytes; `None` if it was not read.
    pub(crate) resident: Option<u64>,
}

/// An effect that the dispatcher decides on.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Start a worker's process.
    Spawn { worker: WorkerId, guest: GuestKey },
    /// Mark a range as pending in the control page, from claim word `claim` on, and send it.
    Send { worker: WorkerId, range: Range, claim: u32 },
    /// Try to take tasks back by their claim words, and report those that were.
    Recall { worker: WorkerId, tasks: Vec<(TaskId, u32)>, why: Recall },
    /// Tell a worker to end a task that has begun.
    EndTask { worker: WorkerId, task: TaskId, claim: u32 },
    /// Read a worker's control page, and report what it says.
    Probe(WorkerId),
    /// Send SIGKILL.
    Kill(WorkerId),
    /// Close the connection; the worker exits by itself.
    Stop(WorkerId),
    /// The `nth` task of the event has ended: its outcome goes to its owner.
    Complete { nth: usize, end: TaskEnd },
    /// Tasks end without an outcome from a worker.
    Fail { range: Range, error: TaskError },
    /// An unloaded guest has no task and no worker any more.
    Unloaded(GuestKey),
    /// A worker broke the protocol.
    Violation { worker: WorkerId, what: &'static str },
}

/// The dispatcher's knowledge of a task that has ended, for its outcome.
#[derive(Debug, PartialEq)]
pub(crate) struct TaskEnd {
    pub(crate) task: TaskId,
    pub(crate) job: JobId,
    /// The index of the task in its job.
    pub(crate) index: u64,
    pub(crate) guest: GuestKey,
    pub(crate) function: u32,
    pub(crate) worker: WorkerId,
    /// The number of times that it was started.
    pub(crate) attempts: u32,
    /// How long it was allowed to run.
    pub(crate) run_timeout: Option<Duration>,
    /// Why it was told to end, if it was.
    pub(crate) reason: Option<TaskError>,
}

/// Why a task is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recall {
    /// It is cancelled.
    Cancel,
    /// Another worker is idle, or this one retires.
    Steal,
    /// It did not begin in time.
    Late,
    /// It is to end. If it has begun, its worker is told to end it.
    End,
}
