//! [`RawMap`]: one task for each of many inputs, pulled lazily, in bounded memory; arguments and results are bytes.
//!
//! The caller's thread pulls the inputs while it asks for results: enough to keep the workers busy, and never more than
//! the buffer allows. Results stay in the map's cell until the caller takes them. An input may have nothing for now, such
//! as a pipe: then the map waits for results and for the input's waker alike.

use std::collections::VecDeque;
use std::fmt;
#[cfg(feature = "stream")]
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::canceller::Canceller;
use super::decode::decode;
use super::future::NotYet;
use super::map_input::{Encode, Encoded, MapInput, Pull};
use crate::dispatch::Event;
use crate::error::{MapEnd, TaskError};
use crate::ids::JobId;
use crate::lock::Mutex;
use crate::manager::Grant;
use crate::runtime::cell::map::{MAX_HELD, MapCell, Whole};
use crate::runtime::{Completed, MapStop, PendingInputs, Runtime, StoppedBy, TaskCall};

/// The default number of inputs that are pulled before their results are taken.
const DEFAULT_BUFFER: usize = 8192;
/// Inputs are published together: a batch is full at this number of inputs, or at this number of bytes.
const BATCH_INPUTS: usize = 64;
const BATCH_BYTES: usize = 64 * 1024;
/// Two inputs are pulled for each result while fewer than this number are outstanding.
const PULL_AHEAD: u64 = 2048;
/// The results of a map over encoded arguments, each with the index of its input.
///
/// Made by [`RawTask::map`](crate::RawTask::map) and [`RawTask::imap_unordered`](crate::RawTask::imap_unordered).
/// Dropping it cancels the tasks that have not started.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let square = pool.raw_task("square")?;
/// for (index, completed) in square.map([Ok(vec![2]), Ok(vec![4])]) { // 1 and 2 in postcard
///     println!("{index}: {:?} in {:?}", completed.result, completed.figures.run);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RawMap<I: Iterator> {
    runtime: Arc<Runtime>,
    job: JobId,
    cell: Arc<MapCell>,
    pending: Arc<Mutex<PendingInputs>>,
    input: MapInput<I>,
    /// The maximum number of outstanding inputs: pulled, and their results not given.
    buffer: u64,
    /// The time that the map may take.
    timeout: Option<Duration>,
    /// No inputs are pulled after this time.
    pull_until: Option<Instant>,
    pulled: u64,
    given: u64,
    /// The arguments of outstanding inputs in bytes, by estimate.
    held: usize,
    /// The first error ends the map.
    stops_on_error: bool,
    /// An error has ended the map.
    has_failed: bool,
    /// The results go to the function that [`gather`](Self::gather) got, so that the drop must not cancel the map.
    gathered: bool,
    /// The caller has closed the map.
    closed: bool,
    stop: Arc<MapStop>,
    /// Why the map has ended.
    ended: Option<MapEnd>,
    ready: VecDeque<(u64, Completed)>,
}

impl<I: Iterator> RawMap<I> {
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        call: &TaskCall,
        input: I,
        encode: Encode<I::Item>,
        is_pending: fn(&I::Item) -> bool,
        ordered: bool,
    ) -> Self {
        let (cell, pending, stop) = (Arc::new(MapCell::new(ordered)), Arc::default(), Arc::default());
        let job = runtime.open_map(call, &cell, &pending, &stop);
        let pull_until = call.options.map_timeout.and_then(|limit| Instant::now().checked_add(limit));
        let mut map = Self {
            runtime: Arc::clone(runtime),
            job,
            cell,
            pending,
            input: MapInput::new(call, input, encode, is_pending),
            buffer: call.options.buffer.unwrap_or(DEFAULT_BUFFER) as u64,
            timeout: call.options.map_timeout,
            pull_until,
            pulled: 0,
            given: 0,
            held: 0,
            stops_on_error: false,
            has_failed: false,
            gathered: false,
            closed: false,
            stop,
            ended: None,
            ready: VecDeque::new(),
        };
        // Work starts with the call, not with the first result that is asked for.
        let first = call.options.buffer.unwrap_or(BATCH_INPUTS) as u64;
        while map.pulled < first && map.may_pull() && (call.options.buffer.is_some() || !map.input.is_slow) {
            map.pull();
        }
        map.runtime.publish(job);
        map
    }

    /// Returns a canceller, which ends this map early from any thread.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(&self.runtime, self.job, &self.stop, &self.cell)
    }

    /// Returns the waker for an input that was [`Poll::Pending`](std::task::Poll::Pending) and has something again: it
    /// ends the wait for the next result, and the map pulls.
    pub fn input_waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.cell))
    }

    fn may_pull(&self) -> bool {
        !self.input.is_dry && self.has_room()
    }

    /// Whether one more input may be outstanding, and there may be one.
    fn has_room(&self) -> bool {
        let outstanding = self.pulled - self.given;
        self.input.is_open()
            && self.stop.by().is_none()
            && self.pull_until.is_none_or(|at| at > Instant::now())
            && outstanding < self.buffer
            && (self.held as u64 + self.cell.held() < MAX_HELD || outstanding == 0)
    }

    /// Pulls one more input. The inputs so far are published when they fill a batch, or when a worker wants a task.
    fn pull(&mut self) {
        let item = match self.input.pull(self.pulled) {
            Pull::Item(item) => item,
            Pull::Dry => return,
            Pull::End => return self.runtime.finish_map(self.job, false),
        };
        let index = self.pulled;
        self.pulled += 1;
        // Encoding may drop handles, and that takes locks: so `pending` is not locked yet.
        let Encoded { bytes, grants } = self.input.encode(item);
        match bytes {
            Ok(bytes) => self.add(index, bytes, grants),
            Err(message) => {
                // Tasks that are published together have consecutive indices, and no task has this one.
                self.runtime.publish(self.job);
                let failed = Completed::failed(TaskError::BadArguments { message });
                if let Some(below) = self.cell.keep(&failed) {
                    self.runtime.tell(Event::Hold { job: self.job, below });
                }
                self.cell.arrivals().push(index, failed);
            }
        }
    }

    /// Adds an input's arguments to those that are published together, and publishes them if that is worth a message or
    /// a worker wants tasks.
    fn add(&mut self, index: u64, bytes: Vec<u8>, grants: Vec<Grant>) {
        let mut pending = self.pending.lock();
        if pending.is_empty() {
            pending.first = index;
        }
        pending.bytes.extend_from_slice(&bytes);
        let end = pending.bytes.len();
        pending.ends.push(end);
        if self.input.carries_handles() {
            pending.grants.push(grants);
        }
        let full = pending.ends.len() >= BATCH_INPUTS || end >= BATCH_BYTES;
        drop(pending);
        self.held += bytes.len();
        self.input.recycle(bytes);
        if full || self.runtime.wants_tasks() {
            self.runtime.publish(self.job);
        }
    }

    /// Ends the map: tasks that have not started are cancelled, and the next result is `None`.
    pub fn close(&mut self) {
        self.closed = true;
        self.ended.get_or_insert(MapEnd::Closed);
        self.input.close();
        self.ready.clear();
        self.runtime.drop_map(self.job);
    }

    /// Ends the map at the first error: no more inputs are pulled, and tasks that have not started are cancelled. By
    /// default a map continues after an error.
    #[must_use]
    pub fn stop_on_error(mut self) -> Self {
        self.stops_on_error = true;
        self
    }

    /// Waits at most for `timeout` for the next result and the index of its input; `None` at the end of the map. Zero
    /// looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if no result has come by then. A later call returns it.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<(u64, Completed)>, NotYet> {
        let deadline = Instant::now().checked_add(timeout);
        match self
            .advance(|cell, ready, wait| cell.wait(ready, wait.outstanding, earlier(wait.until, deadline)))
        {
            Step::Item(index, completed) => Ok(Some((index, completed))),
            Step::End => Ok(None),
            Step::NotYet => Err(NotYet(timeout)),
        }
    }

    /// Pulls all inputs, also beyond the buffer, unless the map ends before.
    pub(super) fn pull_all(&mut self) {
        while self.input.is_open() && !self.is_cut_off() {
            self.pull();
        }
        self.runtime.publish(self.job);
    }

    /// Whether the map gets no more inputs, though it may have some.
    fn is_cut_off(&self) -> bool {
        self.stop.by().is_some() || self.pull_until.is_some_and(|at| at <= Instant::now())
    }

    /// Consumes a map whose input is exhausted, and passes all its results to `whole` in one call, on the callback
    /// thread. If the input has panicked, the panic continues in the caller.
    pub(super) fn gather(mut self, whole: Whole) {
        if let Some(panic) = self.input.panicked.take() {
            std::panic::resume_unwind(panic);
        }
        let cut_off = self.cut_off();
        let (runtime, job) = (Arc::clone(&self.runtime), self.job);
        let whole: Whole = Box::new(move |mut results| {
            results.extend(cut_off.map(Completed::failed));
            let pool = Arc::clone(&runtime);
            runtime.call_back(Box::new(move || {
                pool.drop_map(job);
                whole(results);
            }));
        });
        self.gathered = true;
        self.cell.when_whole(self.pulled, whole);
        if self.cell.stop_holding() {
            self.runtime.release(self.job, u64::MAX);
        }
        self.runtime.call_driver();
    }

    /// Returns the next result. `wait` moves results that have arrived to `ready`; if there are none, it may wait. It
    /// returns whether there was a nudge.
    fn advance(&mut self, wait: impl Fn(&MapCell, &mut VecDeque<(u64, Completed)>, &Wait) -> bool) -> Step {
        self.input.is_dry = false;
        while !self.closed {
            if self.ready.is_empty() {
                self.cell.take(&mut self.ready);
            }
            if !self.ready.is_empty() {
                // The caller need not wait for these results, so there is time to pull more inputs.
                let pulls = if self.pulled - self.given < PULL_AHEAD { 2 } else { 1 };
                for _ in 0..pulls {
                    if self.may_pull() && !self.input.is_slow {
                        self.pull();
                    }
                }
                return self.pop_ready().map_or(Step::End, |(index, completed)| Step::Item(index, completed));
            }
            if self.may_pull() {
                self.pull();
            } else if self.given == self.pulled && !(self.input.is_dry && self.has_room()) {
                if let Some(panic) = self.input.panicked.take() {
                    std::panic::resume_unwind(panic);
                }
                return self
                    .cut_off()
                    .map_or(Step::End, |error| Step::Item(self.pulled, Completed::failed(error)));
            } else {
                self.runtime.publish(self.job);
                self.runtime.call_driver();
                // Of a dry input the end of the map's time is seen here; a task is ended by the pool.
                let until = self.pull_until.filter(|_| self.input.is_dry);
                let outstanding = self.pulled > self.given;
                let nudged = wait(&self.cell, &mut self.ready, &Wait { outstanding, until });
                let late = until.is_some_and(|until| until <= Instant::now());
                if self.ready.is_empty() && !nudged && !late {
                    return Step::NotYet;
                }
                self.input.is_dry &= !nudged && !late;
            }
        }
        Step::End
    }

    /// Ends the map. Returns the error of an early end, once.
    fn cut_off(&mut self) -> Option<TaskError> {
        let was_open = self.input.is_open();
        let is_at_end = !self.input.close();
        if was_open {
            self.runtime.finish_map(self.job, false);
        }
        if self.ended.is_some() {
            return None;
        }
        let end = match self.stop.by() {
            _ if is_at_end => MapEnd::Complete,
            Some(StoppedBy::Canceller) if self.has_failed => MapEnd::Error,
            Some(StoppedBy::Canceller) => MapEnd::Cancelled,
            Some(StoppedBy::Pool) => MapEnd::PoolClosed(self.runtime.closed_by().unwrap_or_default()),
            None => MapEnd::Timeout(self.timeout.unwrap_or_default()),
        };
        self.ended = Some(end);
        // The error that has ended a map was its last result.
        let is_told = matches!(end, MapEnd::Complete | MapEnd::Error);
        (!is_told).then_some(TaskError::MapEnded { end, pulled: self.pulled })
    }

    /// Why the map has ended; `None` while it has not given its last result.
    pub fn ended(&self) -> Option<MapEnd> {
        self.ended
    }

    /// The typed value of a result.
    pub(super) fn decode<R: DeserializeOwned + Schema>(&self, completed: &Completed) -> Result<R, TaskError> {
        decode(completed)
    }

    fn pop_ready(&mut self) -> Option<(u64, Completed)> {
        let (index, completed) = self.ready.pop_front()?;
        self.given += 1;
        if let Some(has_room) = self.cell.give(&completed) {
            self.runtime.release(self.job, if has_room { u64::MAX } else { self.given + 1 });
        }
        if self.stops_on_error && completed.result.is_err() && !self.has_failed {
            self.has_failed = true;
            self.canceller().cancel();
        }
        // Which arguments this result has freed is not known here: the average is subtracted.
        let outstanding = usize::try_from(self.pulled - self.given).unwrap_or(usize::MAX);
        self.held -= self.held / (outstanding + 1);
        Some((index, completed))
    }
}

/// The events that the map waits for.
struct Wait {
    /// There are results to come.
    outstanding: bool,
    /// The end of the map's time, if the input had nothing for now.
    until: Option<Instant>,
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// The outcome of one request for the next result.
#[expect(clippy::large_enum_variant, reason = "each is taken apart at once, and none is kept")]
enum Step {
    Item(u64, Completed),
    NotYet,
    End,
}

impl<I: Iterator> Iterator for RawMap<I> {
    type Item = (u64, Completed);

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance(|cell, ready, wait| cell.wait(ready, wait.outstanding, wait.until)) {
            Step::Item(index, completed) => Some((index, completed)),
            Step::NotYet | Step::End => None,
        }
    }
}

impl<I: Iterator> Drop for RawMap<I> {
    fn drop(&mut self) {
        if !self.gathered {
            self.runtime.drop_map(self.job);
        }
    }
}

impl<I: Iterator> fmt::Debug for RawMap<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMap")
            .field("pulled", &self.pulled)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "stream")]
impl<I: Iterator + Unpin> futures_core::Stream for RawMap<I> {
    type Item = (u64, Completed);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.advance(|cell, ready, wait| cell.poll(ready, wait.outstanding, context.waker())) {
            Step::Item(index, completed) => Poll::Ready(Some((index, completed))),
            Step::NotYet => Poll::Pending,
            Step::End => Poll::Ready(None),
        }
    }
}
