//! The cell of one map: results that have arrived and were not taken yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Instant;

use super::super::completed::Completed;
use crate::error::TaskError;
use crate::lock::{Condvar, Mutex, MutexGuard, wait_until};

/// The bytes of results that wait for the caller; beyond it further tasks are held back.
pub(crate) const MAX_HELD: u64 = 64 << 20;

/// Results of a map, in the order of the inputs or in that of their arrival.
pub(crate) struct MapCell {
    /// The bytes of the results that have come and were not given to the caller.
    held: AtomicU64,
    /// The tasks are held back, as the results found no room.
    holds: AtomicBool,
    inner: Mutex<Inner>,
    arrived: Condvar,
}

struct Inner {
    ordered: bool,
    /// Ordered: the results from index `base` on, `None` for those that are missing. Unordered: in order of arrival.
    results: VecDeque<Option<(u64, Completed)>>,
    base: u64,
    /// No more results will come.
    aborted: bool,
    /// The input has something again, or the map was cancelled: the reader is to look.
    nudged: bool,
    /// The `.await` of the next result.
    waker: Option<Waker>,
    /// Takes all results together, and their number.
    whole: Option<(u64, Whole)>,
}

/// Takes all results of a map, in the order of the inputs.
pub(crate) type Whole = Box<dyn FnOnce(Vec<Completed>) + Send>;

impl MapCell {
    pub(crate) fn new(ordered: bool) -> Self {
        let inner = Inner {
            ordered,
            results: VecDeque::new(),
            base: 0,
            aborted: false,
            nudged: false,
            waker: None,
            whole: None,
        };
        let (held, holds) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { held, holds, inner: Mutex::new(inner), arrived: Condvar::new() }
    }

    /// A result has come. Returns whether further tasks are to be held back from now on, and the index that the caller
    /// waits for: its task must run.
    pub(crate) fn keep(&self, completed: &Completed) -> Option<u64> {
        let size = completed.size();
        let held = self.held.fetch_add(size, Ordering::Relaxed) + size;
        if held <= MAX_HELD || self.holds.load(Ordering::Relaxed) {
            return None;
        }
        let inner = self.inner.lock();
        // All results together have no reader on the way.
        if inner.whole.is_some() || self.holds.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(if inner.ordered { inner.base + 1 } else { 0 })
    }

    /// The caller was given a result. Returns, if tasks are held back, whether there is room for all of them again.
    pub(crate) fn give(&self, completed: &Completed) -> Option<bool> {
        let size = completed.size();
        let held = self.held.fetch_sub(size, Ordering::Relaxed) - size;
        if !self.holds.load(Ordering::Relaxed) {
            return None;
        }
        let has_room = held <= MAX_HELD / 2;
        if has_room {
            self.holds.store(false, Ordering::Relaxed);
        }
        Some(has_room)
    }

    /// The bytes of the results that the caller was not given yet.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// From now on no task is held back. Returns whether tasks were.
    pub(crate) fn stop_holding(&self) -> bool {
        self.holds.swap(false, Ordering::Relaxed)
    }

    /// Whether tasks are held back.
    pub(crate) fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    /// Takes results in until it is dropped; then the reader is woken.
    pub(crate) fn arrivals(&self) -> Arrivals<'_> {
        Arrivals { inner: self.inner.lock(), arrived: &self.arrived }
    }

    /// Tells the reader that no more results will come: the missing ones are failures.
    pub(crate) fn abort(&self) {
        let mut arrivals = self.arrivals();
        (arrivals.inner.aborted, arrivals.inner.nudged) = (true, true);
        if let Some((total, _)) = arrivals.inner.whole {
            for index in arrivals.inner.missing(total) {
                arrivals.push(index, Completed::failed(TaskError::PoolClosed));
            }
        }
        let waker = arrivals.inner.waker.take();
        drop(arrivals);
        self.arrived.notify_all();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ends the reader's wait, or its next one, though no result has arrived.
    pub(crate) fn nudge(&self) {
        let mut inner = self.inner.lock();
        inner.nudged = true;
        let waker = inner.waker.take();
        drop(inner);
        self.arrived.notify_all();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Has `whole` called with all `total` results when they have arrived; it may be at once.
    pub(crate) fn when_whole(&self, total: u64, whole: Whole) {
        self.arrivals().inner.whole = Some((total, whole));
    }

    /// Moves the results that are next to `ready`, without waiting.
    pub(crate) fn take(&self, ready: &mut VecDeque<(u64, Completed)>) {
        self.inner.lock().move_ready(ready);
    }

    /// Moves the results that are next to `ready`, and waits until there is one, at most until the deadline; if none is
    /// `outstanding`, only a nudge ends the wait early. Returns whether there was a nudge.
    pub(crate) fn wait(
        &self,
        ready: &mut VecDeque<(u64, Completed)>,
        outstanding: bool,
        deadline: Option<Instant>,
    ) -> bool {
        let mut inner = self.inner.lock();
        // A deadline that has passed leaves `ready` empty.
        wait_until(&self.arrived, &mut inner, deadline, |inner| inner.look(ready, outstanding))
            .unwrap_or(false)
    }

    /// As [`wait`](Self::wait), but `waker` is woken in place of a wait.
    #[cfg_attr(not(feature = "stream"), expect(dead_code, reason = "only a stream waits like this"))]
    pub(crate) fn poll(
        &self,
        ready: &mut VecDeque<(u64, Completed)>,
        outstanding: bool,
        waker: &Waker,
    ) -> bool {
        // Declared before the guard, and so dropped after it: a waker's clone and drop run code of its executor.
        let mut waker = Some(waker.clone());
        let mut inner = self.inner.lock();
        let seen = inner.look(ready, outstanding);
        if seen.is_none() {
            std::mem::swap(&mut inner.waker, &mut waker);
        }
        seen.unwrap_or(false)
    }
}

impl std::task::Wake for MapCell {
    fn wake(self: Arc<Self>) {
        self.nudge();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.nudge();
    }
}

impl Inner {
    /// Moves the results that are next to `ready`. Returns whether there was a nudge; `None` if there is nothing to see.
    fn look(&mut self, ready: &mut VecDeque<(u64, Completed)>, outstanding: bool) -> Option<bool> {
        if outstanding {
            self.move_ready_or_fail(ready);
        }
        let nudged = std::mem::take(&mut self.nudged);
        (nudged || !ready.is_empty()).then_some(nudged)
    }

    /// The indices below `total` without a result.
    fn missing(&self, total: u64) -> Vec<u64> {
        let has = |index: u64| {
            let offset = usize::try_from(index - self.base).unwrap_or(usize::MAX);
            matches!(self.results.get(offset), Some(Some(_)))
        };
        (self.base..total).filter(|index| !has(*index)).collect()
    }

    /// All results, if they are wanted together and have arrived.
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

    /// As [`move_ready`](Self::move_ready); after an abort the next result that is missing is a failure.
    fn move_ready_or_fail(&mut self, ready: &mut VecDeque<(u64, Completed)>) {
        self.move_ready(ready);
        if ready.is_empty() && self.aborted {
            ready.push_back((self.base, Completed::failed(TaskError::PoolClosed)));
            self.results.pop_front();
            self.base += 1;
        }
    }
}

/// Results on their way into a map's cell, under one lock.
pub(crate) struct Arrivals<'a> {
    inner: MutexGuard<'a, Inner>,
    arrived: &'a Condvar,
}

impl Arrivals<'_> {
    pub(crate) fn push(&mut self, index: u64, completed: Completed) {
        let inner = &mut *self.inner;
        if !inner.ordered {
            inner.results.push_back(Some((index, completed)));
            return;
        }
        let offset = usize::try_from(index - inner.base).expect("a map holds as many results as memory");
        if inner.results.len() <= offset {
            inner.results.resize_with(offset + 1, || None);
        }
        inner.results[offset] = Some((index, completed));
    }
}

impl Drop for Arrivals<'_> {
    fn drop(&mut self) {
        if self.inner.whole.is_some()
            && let Some((whole, results)) = self.inner.take_whole()
        {
            return self.inner.unlocked(|| whole(results));
        }
        if !matches!(self.inner.results.front(), Some(Some(_))) {
            return;
        }
        self.arrived.notify_all();
        if let Some(waker) = self.inner.waker.take() {
            self.inner.unlocked(|| waker.wake());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn value(byte: u8) -> Completed {
        Completed { result: Ok(vec![byte]), ..Completed::failed(TaskError::Cancelled) }
    }

    fn indices(ready: &VecDeque<(u64, Completed)>) -> Vec<u64> {
        ready.iter().map(|(index, _)| *index).collect()
    }

    #[test]
    fn an_ordered_map_gives_results_in_the_order_of_the_inputs() {
        let (cell, mut ready) = (MapCell::new(true), VecDeque::new());
        cell.arrivals().push(1, value(1));
        cell.take(&mut ready);
        assert!(ready.is_empty(), "the first is missing");
        cell.arrivals().push(0, value(0));
        cell.take(&mut ready);
        assert_eq!(indices(&ready), [0, 1]);
    }

    #[test]
    fn an_unordered_map_gives_results_as_they_arrive() {
        let (cell, mut ready) = (MapCell::new(false), VecDeque::new());
        for index in [2, 0, 1] {
            cell.arrivals().push(index, value(9));
        }
        cell.wait(&mut ready, true, None);
        assert_eq!(indices(&ready), [2, 0, 1]);
    }

    #[test]
    fn a_nudge_ends_one_wait_and_is_no_result() {
        let (cell, mut ready) = (Arc::new(MapCell::new(true)), VecDeque::new());
        Waker::from(Arc::clone(&cell)).wake();
        assert!(cell.wait(&mut ready, true, None) && ready.is_empty());
        assert!(!cell.wait(&mut ready, true, Some(Instant::now())), "it is taken");
        cell.abort();
        assert!(cell.wait(&mut ready, false, None) && ready.is_empty(), "none is missing, so none fails");
    }

    #[test]
    fn all_results_are_handed_over_once_whenever_they_are_asked_for() {
        for early in [true, false] {
            let cell = MapCell::new(true);
            let (sender, results) = mpsc::channel();
            let whole: Whole = Box::new(move |results| sender.send(results.len()).unwrap());
            if early {
                cell.when_whole(2, whole);
                (0..2).for_each(|index| cell.arrivals().push(index, value(0)));
            } else {
                (0..2).for_each(|index| cell.arrivals().push(index, value(0)));
                cell.when_whole(2, whole);
            }
            assert_eq!(results.try_recv(), Ok(2));
            assert!(results.try_recv().is_err());
        }
    }

    #[test]
    fn an_abort_fails_what_is_missing_and_nothing_else() {
        let (cell, mut ready) = (MapCell::new(true), VecDeque::new());
        cell.arrivals().push(1, value(1));
        cell.abort();
        cell.wait(&mut ready, true, None);
        assert!(matches!(&ready[0], (0, Completed { result: Err(TaskError::PoolClosed), .. })));
        cell.wait(&mut ready, true, None);
        assert_eq!(indices(&ready), [0, 1]);
        let (cell, (sender, results)) = (MapCell::new(true), mpsc::channel());
        cell.arrivals().push(1, value(1));
        cell.when_whole(3, Box::new(move |results| sender.send(results).unwrap()));
        cell.abort();
        let succeeded =
            results.try_recv().unwrap().iter().map(|completed| completed.result.is_ok()).collect::<Vec<_>>();
        assert_eq!(succeeded, [false, true, false]);
    }
}
