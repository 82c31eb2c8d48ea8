//! Maps: a function over many inputs, lazily, in bounded memory.
//!
//! The input is pulled on the caller's thread, while it asks for results: enough to keep the workers busy,
//! never more than the buffer. Results wait here until they are asked for.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
#[cfg(feature = "stream")]
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::core::{Shared, unsendable};
use super::future::{Completed, NotYet};
use super::handle::Handle;
use super::hosted::Call;
use crate::error::TaskError;
use crate::ids::JobId;
use crate::manager::Grant;

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

/// Tasks of a map that the dispatcher does not know yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    first: u64,
    ends: Vec<usize>,
    bytes: Vec<u8>,
    /// The handles in the arguments of each; empty if the function takes none.
    grants: Vec<Vec<Grant>>,
}

/// What was pending: the first one's index, where each one's arguments end, the arguments, the handles in them.
pub(super) struct Taken {
    pub(super) first: u64,
    pub(super) ends: Vec<usize>,
    pub(super) bytes: Vec<u8>,
    pub(super) grants: Vec<Vec<Grant>>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> Option<Taken> {
        if self.is_empty() {
            return None;
        }
        let capacity = self.bytes.len();
        Some(Taken {
            first: self.first,
            ends: std::mem::take(&mut self.ends),
            bytes: std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity)),
            grants: std::mem::take(&mut self.grants),
        })
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
    /// Who awaits the next result.
    waker: Option<Waker>,
    /// Who wants all results together, and how many those are.
    whole: Option<(u64, Whole)>,
}

/// Takes all results of a map, in their order.
pub(super) type Whole = Box<dyn FnOnce(Vec<Completed>) + Send>;

impl MapState {
    fn new(ordered: bool) -> Arc<Self> {
        let inner = Inner {
            ordered,
            results: VecDeque::new(),
            base: 0,
            waiting: false,
            given_up: false,
            waker: None,
            whole: None,
        };
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
        let mut settling = self.settling();
        settling.inner.given_up = true;
        if let Some((total, _)) = settling.inner.whole {
            for index in settling.inner.missing(total) {
                settling.push(index, Completed::failed(TaskError::PoolClosed));
            }
        }
        let waker = settling.inner.waker.take();
        drop(settling);
        self.arrived.notify_all();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Has all `total` results taken together when they are there; it may be at once.
    pub(super) fn when_whole(&self, total: u64, whole: Whole) {
        self.settling().inner.whole = Some((total, whole));
    }

    /// Moves the results that can be given out to `ready`. With `wait`, until there are some, or none will come;
    /// then the next one is a failure.
    fn take_ready(&self, ready: &mut VecDeque<(u64, Completed)>, wait: Wait<'_>) {
        let mut inner = self.lock();
        loop {
            inner.move_ready(ready);
            if !ready.is_empty() {
                return;
            }
            if inner.given_up && !matches!(wait, Wait::No) {
                ready.push_back((inner.base, Completed::failed(TaskError::PoolClosed)));
                inner.results.pop_front();
                inner.base += 1;
                return;
            }
            let left = match wait {
                Wait::No => return,
                Wait::Waker(waker) => {
                    inner.waker = Some(waker.clone());
                    return;
                }
                Wait::Until(None) => None,
                Wait::Until(Some(at)) => match at.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => return,
                },
            };
            inner.waiting = true;
            inner = match left {
                None => self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.arrived.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            inner.waiting = false;
        }
    }
}

/// How long somebody waits for a result.
#[derive(Clone, Copy)]
enum Wait<'a> {
    No,
    /// Not at all, but this is woken when there is one.
    #[cfg_attr(not(feature = "stream"), expect(dead_code, reason = "only a stream waits like this"))]
    Waker(&'a Waker),
    /// Until then, or for ever.
    Until(Option<Instant>),
}

impl Inner {
    /// The indices without a result.
    fn missing(&self, total: u64) -> Vec<u64> {
        let has = |index: u64| {
            let place = usize::try_from(index - self.base).unwrap_or(usize::MAX);
            matches!(self.results.get(place), Some(Some(_)))
        };
        (self.base..total).filter(|index| !has(*index)).collect()
    }

    /// All results, if they are wanted together and are there.
    fn take_whole(&mut self) -> Option<(Whole, Vec<Completed>)> {
        let (total, _) = self.whole.as_ref()?;
        if (self.results.len() as u64) < *total || !self.results.iter().all(Option::is_some) {
            return None;
        }
        let (_, whole) = self.whole.take()?;
        let results = self.results.drain(..).flatten().map(|(_, completed)| completed).collect();
        Some((whole, results))
    }

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
        if self.inner.whole.is_some()
            && let Some((whole, results)) = self.inner.take_whole()
        {
            return whole(results);
        }
        if !matches!(self.inner.results.front(), Some(Some(_))) {
            return;
        }
        if self.inner.waiting {
            self.arrived.notify_all();
        }
        if let Some(waker) = self.inner.waker.take() {
            waker.wake();
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
            carries_handles: call.hosted.guest.tasks()[call.function as usize].carries_handles(),
            scratch: Vec::new(),
            buffer: call.options.buffer.unwrap_or(DEFAULT_BUFFER) as u64,
            max_arguments: call.hosted.limits.arguments as usize,
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
        map.shared.publish(job);
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
        let item = match std::panic::catch_unwind(AssertUnwindSafe(|| input.next())) {
            Ok(Some(item)) => item,
            ended => {
                self.input = None;
                self.panicked = ended.err();
                self.shared.finish_map(self.job, false);
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
            <Handle as wpool_objects::Handle>::sending(|| (self.encode)(item, &mut bytes))
        } else {
            ((self.encode)(item, &mut bytes), Vec::new())
        };
        let grants: Vec<Grant> = handles.iter().map(Handle::to_grant).collect();
        drop(handles);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
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
                if full || self.shared.is_hungry() {
                    self.shared.publish(self.job);
                }
            }
            Err(message) => {
                drop(pending);
                // Tasks that are published together are consecutive, and this place stays empty.
                self.shared.publish(self.job);
                self.state.settling().push(index, unsendable(message));
            }
        }
    }

    /// Ends the map: what has not begun is cancelled, and the next result is none.
    pub fn close(&mut self) {
        self.closed = true;
        self.input = None;
        self.ready.clear();
        self.shared.drop_map(self.job);
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
        match self.advance(Wait::Until(deadline)) {
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
        self.shared.publish(self.job);
    }

    /// What of the map remains when its input was pulled: its results go to `whole` together. A panic of the input
    /// goes on to the caller.
    pub(super) fn gather(mut self, whole: Whole) {
        if let Some(panic) = self.panicked.take() {
            std::panic::resume_unwind(panic);
        }
        let (shared, job) = (Arc::clone(&self.shared), self.job);
        let whole: Whole = Box::new(move |results| {
            let pool = Arc::clone(&shared);
            shared.callbacks().call(Box::new(move || {
                pool.drop_map(job);
                whole(results);
            }));
        });
        self.gathered = true;
        self.state.when_whole(self.pulled, whole);
        self.shared.lead.call_driver();
    }

    /// The next result, as far as somebody waits for it.
    fn advance(&mut self, wait: Wait<'_>) -> Step {
        while !self.closed {
            if self.ready.is_empty() {
                self.state.take_ready(&mut self.ready, Wait::No);
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
                self.shared.publish(self.job);
                self.shared.lead.call_driver();
                self.state.take_ready(&mut self.ready, wait);
                if self.ready.is_empty() {
                    return Step::NotYet;
                }
            }
        }
        Step::End
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
        match self.advance(Wait::Until(None)) {
            Step::Item(index, completed) => Some((index, completed)),
            Step::NotYet | Step::End => None,
        }
    }
}

impl<I: Iterator> Drop for RawMap<I> {
    fn drop(&mut self) {
        if !self.gathered {
            self.shared.drop_map(self.job);
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
        Some(completed.decode())
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
        Ok(next.map(|(_, completed)| completed.decode()))
    }
}

#[cfg(feature = "stream")]
impl<I: Iterator + Unpin> futures_core::Stream for RawMap<I> {
    type Item = (u64, Completed);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.advance(Wait::Waker(context.waker())) {
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
        next.map(|next| next.map(|(_, completed)| completed.decode()))
    }
}

impl<I: Iterator, R> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
