//! The state of an instance and its task, which host functions, limits and deadlines read and write.

mod clock;
mod handle_table;
mod log;
mod mailbox;
mod memory;
mod requests;
mod shared_memories;
mod task_spec;
mod yield_state;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{Memory, ResourceLimiter, UpdateDeadline};
use wpool_wire::control::ControlPage;
use wpool_wire::ids::Place;
use wpool_wire::limits::{Grow, Limits};
use wpool_wire::message::LogPart;

use crate::guest_error::LimitExceeded;
use crate::output::Output;

pub(crate) use self::clock::RunClock;
pub(crate) use self::handle_table::{HandleEntry, HandleTable};
pub(crate) use self::log::TaskLog;
pub(crate) use self::mailbox::{Mail, Mailbox};
pub(crate) use self::memory::{MemoryBudget, MemoryUsage};
pub(crate) use self::requests::RequestState;
pub(crate) use self::shared_memories::SharedMemories;
pub(crate) use self::task_spec::{CancelToken, TaskSpec};
pub(crate) use self::yield_state::{SuspendReason, YieldState};

/// The time between two parts of the log of a task that runs: one that logs in a loop sends no more.
const LOG_PERIOD: Duration = Duration::from_millis(20);

/// The state that all instances of a worker share.
#[derive(Debug, Clone)]
pub(crate) struct WorkerState {
    pub(crate) limits: Limits,
    pub(crate) output: Arc<Output>,
    pub(crate) control: Arc<ControlPage>,
    pub(crate) yield_state: Arc<YieldState>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) mailbox: Arc<Mailbox>,
    /// The worker's name.
    pub(crate) name: Arc<str>,
}

/// The state of one instance and its task.
pub(crate) struct TaskState {
    pub(crate) limits: Limits,
    pub(crate) usage: MemoryUsage,
    /// The guest's memory; `None` until there is an instance.
    pub(crate) memory: Option<Memory>,
    pub(crate) yield_state: Arc<YieldState>,
    pub(crate) output: Arc<Output>,
    pub(crate) cancel: CancelToken,
    pub(crate) requests: RequestState,
    pub(crate) handles: HandleTable,
    /// The worker's name.
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    /// The state of the generator of seeded random numbers; `None` until the first is drawn.
    pub(crate) generator: Option<u64>,
    run_timeout: Option<Duration>,
    pub(crate) clock: RunClock,
    pub(crate) log: TaskLog,
    /// When a part of the log was sent; `None` if the log is not sent before the task ends.
    log_sent_at: Option<Instant>,
    pub(crate) panic: Option<Panic>,
    /// The first time at which the task could notice that it has to end. Its grace starts then.
    end_noticeable_at: Option<Instant>,
}

/// The report of a guest's panic hook.
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) location: String,
}

impl TaskState {
    /// Returns the state of an instance without a task: one that is pre-warmed, described or initialized.
    pub(crate) fn new(worker: &WorkerState) -> Self {
        Self {
            limits: worker.limits,
            usage: MemoryUsage::new(Arc::clone(&worker.budget)),
            memory: None,
            yield_state: Arc::clone(&worker.yield_state),
            output: Arc::clone(&worker.output),
            cancel: CancelToken::new(Arc::clone(&worker.control)),
            requests: RequestState::new(&worker.mailbox),
            handles: HandleTable::default(),
            name: Arc::clone(&worker.name),
            place: Place::default(),
            generator: None,
            run_timeout: worker.limits.timeout,
            clock: RunClock::start(),
            log: TaskLog::new(worker.limits.log as usize),
            log_sent_at: None,
            panic: None,
            end_noticeable_at: None,
        }
    }

    /// Resets the state for a task that starts. Only the memory's usage remains of an earlier task.
    pub(crate) fn start(&mut self, spec: &TaskSpec, handles: HandleTable) {
        self.cancel.start(spec);
        self.handles = handles;
        self.requests.start(spec.emits);
        (self.place, self.generator) = (spec.place, None);
        self.run_timeout = spec.run_timeout;
        self.clock = RunClock::start();
        self.log.clear();
        self.log_sent_at = spec.follow_log.then(Instant::now);
        self.panic = None;
        self.end_noticeable_at = None;
    }

    /// Returns whether the task has to end, because the parent has requested it or its time has expired.
    pub(crate) fn must_end(&mut self) -> bool {
        self.resume_clock();
        let expired = |timeout| self.clock.elapsed() >= timeout;
        let must_end = self.cancel.end_requested() || self.run_timeout.is_some_and(expired);
        if must_end {
            self.end_noticeable_at.get_or_insert_with(Instant::now);
        }
        must_end
    }

    /// Returns the point in time at which the run timeout expires, if the task runs until then; `None` if there is no
    /// timeout. The clock must run.
    pub(crate) fn run_deadline(&self) -> Option<Instant> {
        let left = self.run_timeout?.saturating_sub(self.clock.elapsed());
        Instant::now().checked_add(left)
    }

    /// Called at each tick of the epoch while the task runs.
    pub(crate) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if self.log_sent_at.is_some_and(|at| at.elapsed() >= LOG_PERIOD) {
            self.send_log()?;
        }
        // The records of earlier tasks do not wait until a long task ends.
        self.output.flush()?;
        if self.must_end() && self.end_noticeable_at.is_some_and(|at| at.elapsed() >= self.limits.grace) {
            return Ok(UpdateDeadline::Interrupt);
        }
        if self.yield_state.should_yield() {
            self.clock.pause_for_yield();
            return Ok(UpdateDeadline::Yield(1));
        }
        Ok(UpdateDeadline::Continue(1))
    }

    /// Stops the task's clock before a host function suspends the task, and sends what it has logged.
    pub(crate) fn pause(&mut self) {
        self.resume_clock();
        self.clock.pause();
        // The worker's loop notices that the parent is gone.
        let _parent_gone = self.send_log();
    }

    /// Sends what the task has logged, if its caller asked for it. A task that ends at once has sent nothing: its record
    /// has the log.
    fn send_log(&mut self) -> io::Result<()> {
        if let (Some(sent_at), Some(task)) = (&mut self.log_sent_at, self.cancel.task())
            && let Some((offset, bytes)) = self.log.take_unsent()
        {
            *sent_at = Instant::now();
            self.output.log(&LogPart { task, offset, bytes })?;
        }
        Ok(())
    }

    /// Restarts the task's clock after a yield, which ends without a call of the host.
    pub(crate) fn resume_clock(&mut self) {
        self.clock.resume_after_yield(|| self.yield_state.resumed_at());
    }

    fn refuse_growth(&self, exceeded: LimitExceeded) -> wasmtime::Result<bool> {
        match self.limits.grow {
            Grow::Deny => Ok(false),
            Grow::Fail => Err(exceeded.into()),
        }
    }
}

impl ResourceLimiter for TaskState {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The module's own maximum, not a limit of the host: the guest expects that the instruction fails.
            return Ok(false);
        }
        let asked = desired as u64;
        if asked <= self.limits.memory_bytes() && self.usage.grow_to(asked) {
            return Ok(true);
        }
        self.refuse_growth(LimitExceeded::Memory { asked })
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.limits.table as usize;
        // The engine's room for a table is the limit, and it says so as if it were the module's own maximum.
        if maximum.is_some_and(|maximum| maximum < limit && desired > maximum) {
            return Ok(false);
        }
        if desired <= limit {
            return Ok(true);
        }
        self.refuse_growth(LimitExceeded::Table { asked: desired as u64 })
    }
}
