//! [`RawMap`]: one task for each of many inputs, pulled lazily, in bounded memory; arguments and results are bytes.
//!
//! The caller's thread pulls the inputs while it asks for results: enough to keep the workers busy, and never more than
//! the buffer allows. Results stay in the map's cell until the caller takes them.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
#[cfg(feature = "stream")]
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::canceller::Canceller;
use super::decode::decode;
use super::future::NotYet;
use super::objects::handle::Handle;
use crate::error::TaskError;
use crate::ids::JobId;
use crate::lock::Mutex;
use crate::manager::Grant;
use crate::runtime::cell::map::{MapCell, Whole};
use crate::runtime::{Completed, PendingInputs, Runtime, TaskCall};

/// The default number of inputs that are pulled before their results are taken.
const DEFAULT_BUFFER: usize = 8192;
/// The limit in bytes of the arguments that a map holds. When it is reached, an input is pulled only if no other is
/// outstanding.
const MAX_HELD: usize = 64 << 20;
/// The capacity in bytes that the scratch buffer keeps after a larger input.
const MAX_SCRATCH: usize = 64 << 10;
/// Inputs are published together: a batch is full at this number of inputs, or at this number of bytes.
const BATCH_INPUTS: usize = 64;
const BATCH_BYTES: usize = 64 * 1024;
/// Two inputs are pulled for each result while fewer than this number are outstanding.
const PULL_AHEAD: u64 = 2048;
/// An input that takes longer than this to produce is not pulled while results are ready.
const SLOW_INPUT: Duration = Duration::from_micros(20);

/// The results of a map over encoded arguments, each with the index of its input.
///
/// Made by [`RawTask::map`](crate::RawTask::map) and [`RawTask::imap_unordered`](crate::RawTask::imap_unordered).
/// Dropping it cancels the tasks that have not started.
pub struct RawMap<I: Iterator> {
    runtime: Arc<Runtime>,
    job: JobId,
    cell: Arc<MapCell>,
    pending: Arc<Mutex<PendingInputs>>,
    input: Option<I>,
    encode: Encode<I::Item>,
    /// The arguments may contain handles.
    carries_handles: bool,
    /// The buffer in which the next input is encoded.
    scratch: Vec<u8>,
    /// The maximum number of outstanding inputs: pulled, and their results not given.
    buffer: u64,
    max_arguments: usize,
    /// The time that the map may take.
    timeout: Option<Duration>,
    /// No inputs are pulled after this time.
    pull_until: Option<Instant>,
    pulled: u64,
    given: u64,
    /// The arguments of outstanding inputs in bytes, by estimate.
    held: usize,
    slow_input: bool,
    /// The panic of the input. It continues in the caller after the results of the inputs before it.
    panicked: Option<Box<dyn Any + Send>>,
    /// The first error ends the map.
    stops_on_error: bool,
    /// The results go to the function that [`gather`](Self::gather) got, so that the drop must not cancel the map.
    gathered: bool,
    /// The caller has closed the map.
    closed: bool,
    stopped: Arc<AtomicBool>,
    ready: VecDeque<(u64, Completed)>,
}

/// Appends the encoded arguments of an input, or returns the text of an error.
pub(super) type Encode<T> = fn(T, &mut Vec<u8>) -> Result<(), String>;

impl<I: Iterator> RawMap<I> {
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        call: &TaskCall,
        input: I,
        encode: Encode<I::Item>,
        ordered: bool,
    ) -> Self {
        let (cell, pending) = (Arc::new(MapCell::new(ordered)), Arc::default());
        let job = runtime.open_map(call, &cell, &pending);
        let pull_until = call.options.map_timeout.and_then(|limit| Instant::now().checked_add(limit));
        let mut map = Self {
            runtime: Arc::clone(runtime),
            job,
            cell,
            pending,
            input: Some(input),
            encode,
            carries_handles: call.guest.guest.tasks()[call.function as usize].carries_handles(),
            scratch: Vec::new(),
            buffer: call.options.buffer.unwrap_or(DEFAULT_BUFFER) as u64,
            max_arguments: call.guest.limits.arguments as usize,
            timeout: call.options.map_timeout,
            pull_until,
            pulled: 0,
            given: 0,
            held: 0,
            slow_input: false,
            panicked: None,
            stops_on_error: false,
            gathered: false,
            closed: false,
            stopped: Arc::default(),
            ready: VecDeque::new(),
        };
        // Work starts with the call, not with the first result that is asked for.
        let first = call.options.buffer.unwrap_or(BATCH_INPUTS) as u64;
        while map.pulled < first && map.may_pull() && (call.options.buffer.is_some() || !map.slow_input) {
            map.pull();
        }
        map.runtime.publish(job);
        map
    }

    /// Returns a canceller, which ends this map early from any thread.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(&self.runtime, self.job, &self.stopped)
    }

    fn may_pull(&self) -> bool {
        let outstanding = self.pulled - self.given;
        self.input.is_some()
            && !self.stopped.load(Ordering::Relaxed)
            && self.pull_until.is_none_or(|at| at > Instant::now())
            && outstanding < self.buffer
            && (self.held < MAX_HELD || outstanding == 0)
    }

    /// Pulls one more input. The inputs so far are published when they fill a batch, or when a worker wants a task.
    fn pull(&mut self) {
        let Some(item) = self.next_input() else { return };
        let index = self.pulled;
        self.pulled += 1;
        // Encoding may drop handles, and that takes the pool's lock: so `pending` is not locked yet.
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let (encoded, handles) = if self.carries_handles {
            <Handle as wpool_objects::Handle>::attaching(|| (self.encode)(item, &mut bytes))
        } else {
            ((self.encode)(item, &mut bytes), Vec::new())
        };
        let grants: Vec<Grant> = handles.iter().map(Handle::to_grant).collect();
        drop(handles);
        match encoded.and_then(|()| check_size(bytes.len(), self.max_arguments)) {
            Ok(()) => self.add(index, bytes, grants),
            Err(message) => {
                // Tasks that are published together have consecutive indices, and no task has this one.
                self.runtime.publish(self.job);
                self.cell.arrivals().push(index, Completed::failed(TaskError::BadArguments { message }));
            }
        }
    }

    /// The next input. `None` if there is none, or the input panicked: then the map gets no more.
    fn next_input(&mut self) -> Option<I::Item> {
        let input = self.input.as_mut()?;
        // Reading the clock takes time: fast inputs are timed now and then, slow ones always.
        let began = (self.slow_input || self.pulled.is_multiple_of(16)).then(Instant::now);
        match std::panic::catch_unwind(AssertUnwindSafe(|| input.next())) {
            Ok(Some(item)) => {
                if let Some(began) = began {
                    self.slow_input = began.elapsed() > SLOW_INPUT;
                }
                Some(item)
            }
            ended => {
                self.input = None;
                self.panicked = ended.err();
                self.runtime.finish_map(self.job, false);
                None
            }
        }
    }

    /// Adds an input's arguments to those that are published together, and publishes them if that is worth a message or
    /// a worker wants tasks.
    fn add(&mut self, index: u64, mut bytes: Vec<u8>, grants: Vec<Grant>) {
        let mut pending = self.pending.lock();
        if pending.is_empty() {
            pending.first = index;
        }
        pending.bytes.extend_from_slice(&bytes);
        let end = pending.bytes.len();
        pending.ends.push(end);
        if self.carries_handles {
            pending.grants.push(grants);
        }
        let full = pending.ends.len() >= BATCH_INPUTS || end >= BATCH_BYTES;
        drop(pending);
        self.held += bytes.len();
        bytes.shrink_to(MAX_SCRATCH);
        self.scratch = bytes;
        if full || self.runtime.wants_tasks() {
            self.runtime.publish(self.job);
        }
    }

    /// Ends the map: tasks that have not started are cancelled, and the next result is `None`.
    pub fn close(&mut self) {
        self.closed = true;
        self.input = None;
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
        match self.advance(|cell, ready| cell.wait(ready, deadline)) {
            Step::Item(index, completed) => Ok(Some((index, completed))),
            Step::End => Ok(None),
            Step::NotYet => Err(NotYet(timeout)),
        }
    }

    /// Pulls all inputs, also beyond the buffer.
    pub(super) fn pull_all(&mut self) {
        while self.input.is_some() {
            self.pull();
        }
        self.runtime.publish(self.job);
    }

    /// Consumes a map whose input is exhausted, and passes all its results to `whole` in one call, on the callback
    /// thread. If the input has panicked, the panic continues in the caller.
    pub(super) fn gather(mut self, whole: Whole) {
        if let Some(panic) = self.panicked.take() {
            std::panic::resume_unwind(panic);
        }
        let (runtime, job) = (Arc::clone(&self.runtime), self.job);
        let whole: Whole = Box::new(move |results| {
            let pool = Arc::clone(&runtime);
            runtime.call_back(Box::new(move || {
                pool.drop_map(job);
                whole(results);
            }));
        });
        self.gathered = true;
        self.cell.when_whole(self.pulled, whole);
        self.runtime.call_driver();
    }

    /// Returns the next result. `wait` moves results that have arrived to `ready`; if there are none, it may wait.
    fn advance(&mut self, wait: impl Fn(&MapCell, &mut VecDeque<(u64, Completed)>)) -> Step {
        while !self.closed {
            if self.ready.is_empty() {
                self.cell.take(&mut self.ready);
            }
            if !self.ready.is_empty() {
                // The caller need not wait for these results, so there is time to pull more inputs.
                let pulls = if self.pulled - self.given < PULL_AHEAD { 2 } else { 1 };
                for _ in 0..pulls {
                    if self.may_pull() && !self.slow_input {
                        self.pull();
                    }
                }
                return self.pop_ready().map_or(Step::End, |(index, completed)| Step::Item(index, completed));
            }
            if self.may_pull() {
                self.pull();
            } else if self.given == self.pulled {
                if let Some(panic) = self.panicked.take() {
                    std::panic::resume_unwind(panic);
                }
                return self
                    .cut_off()
                    .map_or(Step::End, |error| Step::Item(self.pulled, Completed::failed(error)));
            } else {
                self.runtime.publish(self.job);
                self.runtime.call_driver();
                wait(&self.cell, &mut self.ready);
                if self.ready.is_empty() {
                    return Step::NotYet;
                }
            }
        }
        Step::End
    }

    /// Ends the map if its time is over and its input may have more. Returns the error that says so, once.
    fn cut_off(&mut self) -> Option<TaskError> {
        let input = self.input.as_ref().filter(|_| !self.stopped.load(Ordering::Relaxed))?;
        let is_at_end = input.size_hint().1 == Some(0);
        self.input = None;
        self.runtime.finish_map(self.job, false);
        let limit = self.timeout.filter(|_| !is_at_end)?;
        Some(TaskError::MapTimeout { limit, pulled: self.pulled })
    }

    /// The typed value of a result.
    pub(super) fn decode<R: DeserializeOwned>(&self, completed: &Completed) -> Result<R, TaskError> {
        decode(completed, &Arc::downgrade(&self.runtime))
    }

    pub(super) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    fn pop_ready(&mut self) -> Option<(u64, Completed)> {
        let (index, completed) = self.ready.pop_front()?;
        self.given += 1;
        if self.stops_on_error && completed.result.is_err() {
            self.canceller().cancel();
        }
        // Which arguments this result has freed is not known here: the average is subtracted.
        let outstanding = usize::try_from(self.pulled - self.given).unwrap_or(usize::MAX);
        self.held -= self.held / (outstanding + 1);
        Some((index, completed))
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
        match self.advance(|cell, ready| cell.wait(ready, None)) {
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
        match self.advance(|cell, ready| cell.poll(ready, context.waker())) {
            Step::Item(index, completed) => Poll::Ready(Some((index, completed))),
            Step::NotYet => Poll::Pending,
            Step::End => Poll::Ready(None),
        }
    }
}

fn check_size(size: usize, limit: usize) -> Result<(), String> {
    if size <= limit { Ok(()) } else { Err(format!("the arguments have {size} bytes, {limit} are allowed")) }
}
