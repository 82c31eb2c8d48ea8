//! Maps: a function over many inputs, lazily, in bounded memory.
//!
//! The input is pulled on the caller's thread, while it asks for results: enough to keep the workers busy,
//! never more than the buffer. Results wait here until they are asked for.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::core::{Shared, unsendable};
use super::future::{Completed, decode};
use super::hosted::Call;
use crate::error::TaskError;
use crate::ids::JobId;

/// By default so many inputs are pulled before their results are taken.
const DEFAULT_BUFFER: usize = 8192;
/// Arguments and results that a map holds, in bytes. One that is larger by itself goes alone.
const MAX_HELD: usize = 64 << 20;
/// Inputs are handed to the dispatcher together, up to so many, or so many bytes, at a time.
const PUBLISH: usize = 64;
const PUBLISH_BYTES: usize = 64 * 1024;
/// Two inputs are pulled for each result until so many are on their way.
const AHEAD: u64 = 2048;
/// An input that takes longer than this to come is not waited for while there are results.
const SLOW_INPUT: Duration = Duration::from_micros(20);

/// Tasks of a map that the dispatcher does not know yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    first: u64,
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes all of them: the first one's index, where each one's arguments end, and the arguments.
    pub(super) fn take(&mut self) -> Option<(u64, Vec<usize>, Vec<u8>)> {
        if self.is_empty() {
            return None;
        }
        let capacity = self.bytes.len();
        let taken = (
            std::mem::take(&mut self.ends),
            std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity)),
        );
        Some((self.first, taken.0, taken.1))
    }
}

/// Results of a map that have come and were not taken yet.
pub(super) struct MapState {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

struct Inner {
    ordered: bool,
    /// Ordered: the results from index `base` on, those that have come. Unordered: in the order of arrival.
    results: VecDeque<Option<(u64, Completed)>>,
    base: u64,
    waiting: bool,
    /// No more results will come.
    given_up: bool,
}

impl MapState {
    fn new(ordered: bool) -> Arc<Self> {
        let inner = Inner { ordered, results: VecDeque::new(), base: 0, waiting: false, given_up: false };
        Arc::new(Self { inner: Mutex::new(inner), arrived: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in results until it is dropped; then whoever waits for them is woken.
    pub(super) fn settling(&self) -> Settling<'_> {
        Settling { inner: self.lock(), arrived: &self.arrived }
    }

    /// The pool cannot go on, and no more results will come.
    pub(super) fn give_up(&self) {
        self.lock().given_up = true;
        self.arrived.notify_all();
    }

    /// Moves the results that can be given out to `ready`. With `wait`, until there are some, or none will come;
    /// then the next one is a failure.
    fn take_ready(&self, ready: &mut VecDeque<(u64, Completed)>, wait: bool) {
        let mut inner = self.lock();
        loop {
            inner.move_ready(ready);
            if !ready.is_empty() || !wait {
                return;
            }
            if inner.given_up {
                ready.push_back((inner.base, Completed::failed(TaskError::PoolClosed)));
                inner.results.pop_front();
                inner.base += 1;
                return;
            }
            inner.waiting = true;
            inner = self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner);
            inner.waiting = false;
        }
    }
}

impl Inner {
    fn move_ready(&mut self, ready: &mut VecDeque<(u64, Completed)>) {
        while let Some(Some(_)) = self.results.front() {
            ready.extend(self.results.pop_front().flatten());
            self.base += 1;
        }
    }
}

/// Results on their way into a map.
pub(super) struct Settling<'a> {
    inner: MutexGuard<'a, Inner>,
    arrived: &'a Condvar,
}

impl Settling<'_> {
    pub(super) fn push(&mut self, index: u64, completed: Completed) {
        let inner = &mut *self.inner;
        if !inner.ordered {
            inner.results.push_back(Some((index, completed)));
            return;
        }
        let place = usize::try_from(index - inner.base).expect("a map holds as many results as memory");
        if inner.results.len() <= place {
            inner.results.resize_with(place + 1, || None);
        }
        inner.results[place] = Some((index, completed));
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        if self.inner.waiting && matches!(self.inner.results.front(), Some(Some(_))) {
            self.arrived.notify_all();
        }
    }
}

/// The results of a map over arguments that are encoded already, each with the place of its input.
///
/// Made by [`RawTask::map`](crate::RawTask::map). Dropping it cancels what has not begun.
pub struct RawMap<I: Iterator> {
    shared: Arc<Shared>,
    job: JobId,
    state: Arc<MapState>,
    pending: Arc<Mutex<Pending>>,
    input: Option<I>,
    encode: Encode<I::Item>,
    buffer: u64,
    max_arguments: usize,
    /// No inputs are pulled after this.
    ends: Option<Instant>,
    pulled: u64,
    given: u64,
    /// Arguments that were pulled and results that were not given yet, in bytes.
    held: usize,
    slow_input: bool,
    stopped: Arc<AtomicBool>,
    ready: VecDeque<(u64, Completed)>,
}

/// Appends an input's arguments, or says why it has none.
pub(super) type Encode<T> = fn(T, &mut Vec<u8>) -> Result<(), String>;

impl<I: Iterator> RawMap<I> {
    pub(super) fn new(
        shared: &Arc<Shared>,
        call: &Call,
        input: I,
        encode: Encode<I::Item>,
        ordered: bool,
    ) -> Self {
        let state = MapState::new(ordered);
        let pending = Arc::new(Mutex::new(Pending::default()));
        let job = shared.open_map(call, &state, &pending);
        let ends = call.options.map_timeout.and_then(|limit| Instant::now().checked_add(limit));
        let mut map = Self {
            shared: Arc::clone(shared),
            job,
            state,
            pending,
            input: Some(input),
            encode,
            buffer: call.options.buffer.unwrap_or(DEFAULT_BUFFER) as u64,
            max_arguments: call.hosted.limits.arguments as usize,
            ends,
            pulled: 0,
            given: 0,
            held: 0,
            slow_input: false,
            stopped: Arc::default(),
            ready: VecDeque::new(),
        };
        // Work begins with the call, not with the first result that is asked for.
        map.pull();
        map
    }

    /// What ends this map early, from any thread.
    pub fn canceller(&self) -> Canceller {
        Canceller { shared: Arc::downgrade(&self.shared), job: self.job, stopped: Arc::clone(&self.stopped) }
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
        let Some(item) = input.next() else {
            self.input = None;
            self.shared.finish_map(self.job, false);
            return;
        };
        if let Some(began) = began {
            self.slow_input = began.elapsed() > SLOW_INPUT;
        }
        let index = self.pulled;
        self.pulled += 1;
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let start = pending.bytes.len();
        let encoded = (self.encode)(item, &mut pending.bytes).and_then(|()| {
            let (size, limit) = (pending.bytes.len() - start, self.max_arguments);
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
                let end = pending.bytes.len();
                pending.ends.push(end);
                self.held += size;
                let full = pending.ends.len() >= PUBLISH || end >= PUBLISH_BYTES;
                drop(pending);
                if full || self.shared.is_hungry() {
                    self.shared.publish(self.job);
                }
            }
            Err(message) => {
                pending.bytes.truncate(start);
                drop(pending);
                // Tasks that are published together are consecutive, and this place stays empty.
                self.shared.publish(self.job);
                self.state.settling().push(index, unsendable(message));
            }
        }
    }

    fn give(&mut self) -> Option<(u64, Completed)> {
        let (index, completed) = self.ready.pop_front()?;
        self.given += 1;
        // Which arguments were freed is not known here; on average they are as large as these.
        let outstanding = usize::try_from(self.pulled - self.given).unwrap_or(usize::MAX);
        self.held -= self.held / (outstanding + 1);
        Some((index, completed))
    }
}

/// Ends a map early: no more inputs are pulled, and what has not begun is cancelled. What runs goes on, and
/// every input that was pulled still gets its result.
#[derive(Clone)]
pub struct Canceller {
    shared: Weak<Shared>,
    job: JobId,
    stopped: Arc<AtomicBool>,
}

impl Canceller {
    /// Ends the map. Once is enough.
    pub fn cancel(&self) {
        if !self.stopped.swap(true, Ordering::Relaxed)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.finish_map(self.job, true);
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
        loop {
            if self.ready.is_empty() {
                self.state.take_ready(&mut self.ready, false);
            }
            if !self.ready.is_empty() {
                // Results that nobody has to wait for are the time to get more work on its way.
                let pulls = if self.pulled - self.given < AHEAD { 2 } else { 1 };
                for _ in 0..pulls {
                    if self.may_pull() && !self.slow_input {
                        self.pull();
                    }
                }
                return self.give();
            }
            if self.may_pull() {
                self.pull();
            } else if self.given == self.pulled {
                return None;
            } else {
                self.shared.publish(self.job);
                self.shared.lead.call_driver();
                self.state.take_ready(&mut self.ready, true);
            }
        }
    }
}

impl<I: Iterator> Drop for RawMap<I> {
    fn drop(&mut self) {
        self.shared.drop_map(self.job);
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
}

impl<I: Iterator, R: DeserializeOwned> Iterator for Map<I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, completed) = self.raw.next()?;
        Some(decode(completed.result.as_deref()))
    }
}

impl<I: Iterator, R> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
