//! What belongs to one task while it runs: its limits, its clock, its log, and what went wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Memory, ResourceLimiter, UpdateDeadline};

use super::faults::Refused;
use super::handles::Handles;
use super::output::Output;
use super::requests::{Desk, Requests};
use wpool_wire::control::ControlPage;
use wpool_wire::ids::TaskId;
use wpool_wire::limits::{Grow, Limits};

/// All that host functions, limits and deadlines know of an instance and its task.
pub(super) struct TaskState {
    pub(super) limits: Limits,
    pub(super) usage: MemoryUsage,
    /// The guest's memory, once there is an instance.
    pub(super) memory: Option<Memory>,
    /// Where a task that waits says what for.
    pub(super) turns: Arc<Turns>,
    pub(super) output: Arc<Output>,
    pub(super) order: Order,
    pub(super) requests: Requests,
    pub(super) handles: Handles,
    timeout: Option<Duration>,
    pub(super) clock: RunClock,
    pub(super) log: Log,
    pub(super) panic: Option<Panic>,
    /// When the task could first know that it is to end.
    warned: Option<Instant>,
}

/// One task, and where the control page has its word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Duty {
    pub(super) id: TaskId,
    pub(super) claim: u32,
    pub(super) timeout: Option<Duration>,
    /// How many values it may emit until it hears more; none if nobody wants any.
    pub(super) emits: Option<u64>,
}

/// Where the parent says that the task that runs is to end.
#[derive(Debug, Clone)]
pub(super) struct Order {
    control: Arc<ControlPage>,
    /// None for a description.
    duty: Option<Duty>,
}

impl Order {
    /// The task that runs; none for a description or an initializer.
    pub(super) fn task(&self) -> Option<TaskId> {
        self.duty.map(|duty| duty.id)
    }

    /// Whether the parent has asked for the task's end.
    pub(super) fn is_to_end(&self) -> bool {
        self.duty.is_some_and(|duty| self.control.end_requested(duty.claim, duty.id))
    }
}

/// What a guest's panic hook said.
pub(super) struct Panic {
    pub(super) message: String,
    pub(super) location: String,
}

impl TaskState {
    pub(super) fn new(shared: &InstanceShare) -> Self {
        Self {
            limits: shared.limits,
            usage: MemoryUsage::new(Arc::clone(&shared.budget)),
            memory: None,
            turns: Arc::clone(&shared.turns),
            output: Arc::clone(&shared.output),
            order: Order { control: Arc::clone(&shared.control), duty: None },
            requests: Requests::new(&shared.desk),
            handles: Handles::default(),
            timeout: shared.limits.timeout,
            clock: RunClock::start(),
            log: Log::new(shared.limits.log as usize),
            panic: None,
            warned: None,
        }
    }

    /// A task begins: nothing is left of what an earlier one was told or said.
    pub(super) fn begin(&mut self, duty: Duty, handles: Handles) {
        self.order.duty = Some(duty);
        self.handles = handles;
        self.requests.begin(duty.emits);
        self.timeout = duty.timeout;
        self.clock = RunClock::start();
        self.log.clear();
        self.panic = None;
        self.warned = None;
    }

    /// Whether the task is to end, by order or because its time is over. From the first time that this is true
    /// its grace counts.
    pub(super) fn is_over(&mut self) -> bool {
        self.go_on();
        let over =
            self.order.is_to_end() || self.timeout.is_some_and(|timeout| self.clock.elapsed() >= timeout);
        if over {
            self.warned.get_or_insert_with(Instant::now);
        }
        over
    }

    /// What happens at each tick of the epoch while the task runs. Records of earlier tasks do not wait
    /// for it to end, nor do tasks that have begun and may have what they waited for.
    pub(super) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.output.flush()?;
        if self.is_over() && self.warned.is_some_and(|at| at.elapsed() >= self.limits.grace) {
            return Ok(UpdateDeadline::Interrupt);
        }
        if self.turns.give_way() {
            self.clock.stop();
            return Ok(UpdateDeadline::Yield(1));
        }
        Ok(UpdateDeadline::Continue(1))
    }

    /// Has the clock know since when the task has its turn again, if it had let others go first.
    pub(super) fn go_on(&mut self) {
        self.clock.go_on(|| self.turns.since());
    }
}

/// What all instances of a worker have in common.
#[derive(Debug, Clone)]
pub(super) struct InstanceShare {
    pub(super) limits: Limits,
    pub(super) output: Arc<Output>,
    pub(super) control: Arc<ControlPage>,
    pub(super) turns: Arc<Turns>,
    pub(super) budget: Arc<Budget>,
    pub(super) desk: Arc<Desk>,
}

/// The time that a task has run; it stands still while the task is suspended.
#[derive(Debug)]
pub(super) struct RunClock {
    since: Instant,
    before: Duration,
    /// It was stopped in the midst of the guest's code, and nobody has said yet when it went on.
    stopped: bool,
}

impl RunClock {
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), before: Duration::ZERO, stopped: false }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.before + self.since.elapsed()
    }

    /// The task is about to be suspended. `resume` belongs to it.
    pub(super) fn pause(&mut self) {
        self.before += self.since.elapsed();
    }

    pub(super) fn resume(&mut self) {
        self.since = Instant::now();
    }

    /// The task lets others go first.
    fn stop(&mut self) {
        self.pause();
        self.stopped = true;
    }

    /// The task has its turn again since then, if it had let others go first.
    fn go_on(&mut self, since: impl FnOnce() -> Instant) {
        if std::mem::take(&mut self.stopped) {
            self.since = since();
        }
    }
}

/// What a suspended task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// Its turn: it would go on at once.
    Turn,
    Time(Instant),
    /// Something from the parent, which does not know that it waits.
    News,
    /// An answer from the parent, which knows.
    Answer,
}

impl Pause {
    /// Whether the parent has to be told that the task waits.
    pub(super) fn is_told(self) -> bool {
        matches!(self, Pause::Time(_) | Pause::News)
    }
}

/// Where the worker's loop and the task that runs tell each other about turns. Only one task runs at a time, so one
/// place serves a worker.
#[derive(Debug)]
pub(super) struct Turns(Mutex<TurnsState>);

#[derive(Debug)]
struct TurnsState {
    /// What the task waits for that is about to suspend itself.
    pause: Pause,
    /// Since when the task runs that runs now.
    since: Instant,
    /// Whether others have begun and wait.
    others: bool,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Mutex::new(TurnsState { pause: Pause::News, since: Instant::now(), others: false }))
    }
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, TurnsState> {
        // Whoever panics here ends the process, so a poisoned lock has no reader.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task has its turn; `others` if there are some that wait.
    pub(super) fn begin(&self, others: bool) {
        let mut state = self.lock();
        (state.pause, state.others) = (Pause::News, others);
        // Only who lets others go first needs to know.
        if others {
            state.since = Instant::now();
        }
    }

    /// The task that runs waits until then.
    pub(super) fn wait_until(&self, at: Instant) {
        self.lock().pause = Pause::Time(at);
    }

    /// The task that runs waits for an answer.
    pub(super) fn wait_for_answer(&self) {
        self.lock().pause = Pause::Answer;
    }

    /// What the task waits for that has just suspended itself.
    pub(super) fn pause(&self) -> Pause {
        self.lock().pause
    }

    fn since(&self) -> Instant {
        self.lock().since
    }

    /// Whether the task that runs lets others go first.
    fn give_way(&self) -> bool {
        let mut state = self.lock();
        if state.others {
            state.pause = Pause::Turn;
        }
        state.others
    }
}

/// The task's log, capped.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) bytes: Vec<u8>,
    pub(super) dropped: u64,
    limit: usize,
}

impl Log {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), dropped: 0, limit }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.dropped = 0;
    }

    /// Adds bytes as far as there is room, and counts the rest. Once something was dropped all that
    /// follows is, so that a log never has a hole.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let room = if self.dropped > 0 { 0 } else { self.limit - self.bytes.len() };
        let (kept, dropped) = bytes.split_at(room.min(bytes.len()));
        self.bytes.extend_from_slice(kept);
        self.dropped += dropped.len() as u64;
    }
}

/// How much linear memory all instances of this worker have together, and may have.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicU64,
    limit: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    fn take(&self, bytes: u64) -> bool {
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One instance's linear memory, taken from the budget and given back with it.
#[derive(Debug)]
pub(super) struct MemoryUsage {
    budget: Arc<Budget>,
    bytes: u64,
}

impl MemoryUsage {
    fn new(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// The most that the instance has had: linear memory never shrinks.
    pub(super) fn peak(&self) -> u64 {
        self.bytes
    }

    fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if !self.budget.take(more) {
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for MemoryUsage {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

impl ResourceLimiter for TaskState {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The module's own maximum: the guest expects to be told no.
            return Ok(false);
        }
        let asked = desired as u64;
        if asked <= self.limits.memory_bytes() && self.usage.grow_to(asked) {
            return Ok(true);
        }
        self.refuse(Refused::Memory { asked })
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if desired <= self.limits.table as usize {
            return Ok(true);
        }
        self.refuse(Refused::Table { asked: desired as u64 })
    }
}

impl TaskState {
    fn refuse(&self, refused: Refused) -> wasmtime::Result<bool> {
        match self.limits.grow {
            Grow::Deny => Ok(false),
            Grow::Fail => Err(refused.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_once_and_counts_the_rest() {
        let mut log = Log::new(5);
        log.write(b"abc");
        log.write(b"defg");
        log.write(b"h");
        assert_eq!((log.bytes.as_slice(), log.dropped), (&b"abcde"[..], 3));
    }

    #[test]
    fn memory_comes_from_one_budget_and_goes_back() {
        let budget = Arc::new(Budget::new(100));
        let mut first = MemoryUsage::new(Arc::clone(&budget));
        let mut second = MemoryUsage::new(Arc::clone(&budget));
        assert!(first.grow_to(60));
        assert!(!second.grow_to(50));
        drop(first);
        assert!(second.grow_to(50));
    }
}
