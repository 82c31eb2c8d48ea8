//! Maps: a function over many inputs, lazily, in bounded memory.
//!
//! The input is pulled on the caller's thread while it asks for results: enough to keep the workers busy, never more than
//! the buffer. Results wait in the map's cell until they are asked for.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
#[cfg(feature = "stream")]
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::decode::decode;
use super::future::NotYet;
use super::objects::handle::Handle;
use crate::error::TaskError;
use crate::ids::JobId;
use crate::manager::Grant;
use crate::runtime::cell::map::{MapCell, Whole};
use crate::runtime::{Completed, PendingInputs, Runtime, TaskCall};

/// By default so many inputs are pulled before their results are taken.
const DEFAULT_BUFFER: usize = 8192;
/// Arguments and results that a map holds, in bytes. One that is larger by itself goes alone.
const MAX_HELD: usize = 64 << 20;
/// The room for an input is kept up to this size.
const LARGE_INPUT: usize = 64 << 10;
/// Inputs are handed to the dispatcher together, up to so many, or so many bytes, at a time.
const PUBLISH: usize = 64;
const PUBLISH_BYTES: usize = 64 * 1024;
/// Two inputs are pulled for each result until so many are on their way.
const AHEAD: u64 = 2048;
/// An input that takes longer than this to come is not waited for while there are results.
const SLOW_INPUT: Duration = Duration::from_micros(20);

/// The results of a map over arguments that are encoded already, each with the place of its input.
///
/// Made by [`RawTask::map`](crate::RawTask::map). Dropping it cancels what has not begun.
pub struct RawMap<I: Iterator> {
    runtime: Arc<Runtime>,
    job: JobId,
    cell: Arc<MapCell>,
    pending: Arc<Mutex<PendingInputs>>,
    input: Option<I>,
    encode: Encode<I::Item>,
    carries_handles: bool,
    /// Where the next input is written first.
    scratch: Vec<u8>,
    buffer: u64,
    max_arguments: usize,
    /// No inputs are pulled after this.
    ends: Option<Instant>,
    pulled: u64,
    given: u64,
    /// Arguments that were pulled and results that were not given yet, in bytes.
    held: usize,
    slow_input: bool,
    /// The input has panicked; whoever asks for results learns it after those of the inputs before.
    panicked: Option<Box<dyn Any + Send>>,
    /// The first error ends the map.
    stops_on_error: bool,
    /// Its results go elsewhere.
    gathered: bool,
    /// Nobody wants the rest.
    closed: bool,
    stopped: Arc<AtomicBool>,
    ready: VecDeque<(u64, Completed)>,
}

/// Appends an input's arguments, or says why it has none.
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
        let ends = call.options.map_timeout.and_then(|limit| Instant::now().checked_add(limit));
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
            ends,
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
        // Work begins with the call, not with the first result that is asked for.
        let first = call.options.buffer.unwrap_or(PUBLISH) as u64;
        while map.pulled < first && map.may_pull() && (call.options.buffer.is_some() || !map.slow_input) {
            map.pull();
        }
        map.runtime.publish(job);
        map
    }

    /// What ends this map early, from any thread.
    pub fn canceller(&self) -> Canceller {
        Canceller {
            runtime: Arc::downgrade(&self.runtime),
            job: self.job,
            stopped: Arc::clone(&self.stopped),
        }
    }

    fn may_pull(&self) -> bool {
        let outstanding = self.pulled - self.given;
        self.input.is_some()
            && !self.stopped.load(Ordering::Relaxed)
            && self.ends.is_none_or(|at| at > Instant::now())
            && outstanding < self.buffer
            && (self.held < MAX_HELD || outstanding == 0)
    }

    /// Takes one more input, and passes it on as far as that is worth a message or somebody waits for it.
    fn pull(&mut self) {
        let Some(input) = &mut self.input else { return };
        // A clock is not free: a quick input is timed now and then, a slow one always.
        let began = (self.slow_input || self.pulled.is_multiple_of(16)).then(Instant::now);
        let item = match std::panic::catch_unwind(AssertUnwindSafe(|| input.next())) {
            Ok(Some(item)) => item,
            ended => {
                self.input = None;
                self.panicked = ended.err();
                self.runtime.finish_map(self.job, false);
                return;
            }
        };
        if let Some(began) = began {
            self.slow_input = began.elapsed() > SLOW_INPUT;
        }
        let index = self.pulled;
        self.pulled += 1;
        // An input that goes may take handles with it, and then the pool looks at everything: so not under the lock.
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let (encoded, handles) = if self.carries_handles {
            <Handle as wpool_objects::Handle>::attaching(|| (self.encode)(item, &mut bytes))
        } else {
            ((self.encode)(item, &mut bytes), Vec::new())
        };
        let grants: Vec<Grant> = handles.iter().map(Handle::to_grant).collect();
        drop(handles);
        let mut pending = self.pending.lock();
        let encoded = encoded.and_then(|()| {
            let (size, limit) = (bytes.len(), self.max_arguments);
            if size <= limit {
                return Ok(size);
            }
            Err(format!("the arguments have {size} bytes, {limit} are allowed"))
        });
        match encoded {
            Ok(size) => {
                if pending.is_empty() {
                    pending.first = index;
                }
                pending.bytes.extend_from_slice(&bytes);
                bytes.shrink_to(LARGE_INPUT);
                self.scratch = bytes;
                let end = pending.bytes.len();
                pending.ends.push(end);
                if self.carries_handles {
                    pending.grants.push(grants);
                }
                self.held += size;
                let full = pending.ends.len() >= PUBLISH || end >= PUBLISH_BYTES;
                drop(pending);
                if full || self.runtime.wants_tasks() {
                    self.runtime.publish(self.job);
                }
            }
            Err(message) => {
                drop(pending);
                // Tasks that are published together are consecutive, and this place stays empty.
                self.runtime.publish(self.job);
                self.cell.arrivals().push(index, Completed::failed(TaskError::BadArguments { message }));
            }
        }
    }

    /// Ends the map: what has not begun is cancelled, and the next result is none.
    pub fn close(&mut self) {
        self.closed = true;
        self.input = None;
        self.ready.clear();
        self.runtime.drop_map(self.job);
    }

    /// Has the first error end the map: no more inputs are pulled, and what has not begun is cancelled. Without it
    /// a map goes on, and an error is its item's alone.
    #[must_use]
    pub fn stop_on_error(mut self) -> Self {
        self.stops_on_error = true;
        self
    }

    /// The next result, if it comes before the time is over; it is not lost if it comes later. None when there are
    /// no more.
    ///
    /// # Errors
    /// [`NotYet`] if it has not come by then.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<(u64, Completed)>, NotYet> {
        let deadline = Instant::now().checked_add(timeout);
        match self.advance(|cell, ready| cell.wait(ready, deadline)) {
            Step::Item(index, completed) => Ok(Some((index, completed))),
            Step::End => Ok(None),
            Step::NotYet => Err(NotYet(timeout)),
        }
    }

    /// Pulls the whole input, however long it is.
    pub(super) fn pull_all(&mut self) {
        while self.input.is_some() {
            self.pull();
        }
        self.runtime.publish(self.job);
    }

    /// What of the map remains when its input was pulled: its results go to `whole` together. A panic of the input
    /// goes on to the caller.
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

    /// The next result. `wait` moves results to `ready`, and waits for them as long as its caller wants.
    fn advance(&mut self, wait: impl Fn(&MapCell, &mut VecDeque<(u64, Completed)>)) -> Step {
        while !self.closed {
            if self.ready.is_empty() {
                self.cell.take(&mut self.ready);
            }
            if !self.ready.is_empty() {
                // Results that nobody has to wait for are the time to get more work on its way.
                let pulls = if self.pulled - self.given < AHEAD { 2 } else { 1 };
                for _ in 0..pulls {
                    if self.may_pull() && !self.slow_input {
                        self.pull();
                    }
                }
                return self.give().map_or(Step::End, |(index, completed)| Step::Item(index, completed));
            }
            if self.may_pull() {
                self.pull();
            } else if self.given == self.pulled {
                return match self.panicked.take() {
                    Some(panic) => std::panic::resume_unwind(panic),
                    None => Step::End,
                };
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

    fn decode<R: DeserializeOwned>(&self, completed: &Completed) -> Result<R, TaskError> {
        decode(completed, &Arc::downgrade(&self.runtime))
    }

    pub(super) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    fn give(&mut self) -> Option<(u64, Completed)> {
        let (index, completed) = self.ready.pop_front()?;
        self.given += 1;
        if self.stops_on_error && completed.result.is_err() {
            self.canceller().cancel();
        }
        // Which arguments were freed is not known here; on average they are as large as these.
        let outstanding = usize::try_from(self.pulled - self.given).unwrap_or(usize::MAX);
        self.held -= self.held / (outstanding + 1);
        Some((index, completed))
    }
}

/// What asking for a result has come to.
enum Step {
    Item(u64, Completed),
    NotYet,
    End,
}

/// Ends a map early: no more inputs are pulled, and what has not begun is cancelled. What runs goes on, and
/// every input that was pulled still gets its result.
#[derive(Clone)]
pub struct Canceller {
    runtime: Weak<Runtime>,
    job: JobId,
    stopped: Arc<AtomicBool>,
}

impl Canceller {
    /// Ends the map. Once is enough.
    pub fn cancel(&self) {
        if !self.stopped.swap(true, Ordering::Relaxed)
            && let Some(runtime) = self.runtime.upgrade()
        {
            runtime.finish_map(self.job, true);
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
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

/// The results of a map: one for each input, with the value or the error of its task.
///
/// Made by [`Task::map`](crate::Task::map) and [`Task::imap_unordered`](crate::Task::imap_unordered).
/// Dropping it cancels what has not begun.
pub struct Map<I: Iterator, R> {
    raw: RawMap<I>,
    value: PhantomData<fn() -> R>,
}

impl<I: Iterator, R> Map<I, R> {
    pub(super) fn new(raw: RawMap<I>) -> Self {
        Self { raw, value: PhantomData }
    }

    /// Ends the map: what has not begun is cancelled, and the next result is none.
    pub fn close(&mut self) {
        self.raw.close();
    }

    /// What ends this map early, from any thread.
    pub fn canceller(&self) -> Canceller {
        self.raw.canceller()
    }

    /// Has the first error end the map: no more inputs are pulled, and what has not begun is cancelled. Without it
    /// a map goes on, and an error is its item's alone.
    #[must_use]
    pub fn stop_on_error(self) -> Self {
        Self { raw: self.raw.stop_on_error(), value: PhantomData }
    }
}

impl<I: Iterator, R: DeserializeOwned> Iterator for Map<I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, completed) = self.raw.next()?;
        Some(self.raw.decode(&completed))
    }
}

impl<I: Iterator, R: DeserializeOwned> Map<I, R> {
    /// The next result, if it comes before the time is over; it is not lost if it comes later. None when there are
    /// no more.
    ///
    /// # Errors
    /// [`NotYet`] if it has not come by then.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, NotYet> {
        let next = self.raw.next_timeout(timeout)?;
        Ok(next.map(|(_, completed)| self.raw.decode(&completed)))
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

#[cfg(feature = "stream")]
impl<I: Iterator + Unpin, R: DeserializeOwned> futures_core::Stream for Map<I, R> {
    type Item = Result<R, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.raw).poll_next(context);
        next.map(|next| next.map(|(_, completed)| self.raw.decode(&completed)))
    }
}

impl<I: Iterator, R> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
