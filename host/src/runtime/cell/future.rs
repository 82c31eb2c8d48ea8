//! The cell of one future: the end of its task, and the threads, wakers and callbacks that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::super::completed::{Completed, TaskLog};
use crate::callbacks::{Callback, Callbacks};
use crate::lock::{Condvar, Mutex, wait_until};

/// The state that the pool and all clones of one future share.
#[derive(Default)]
pub(crate) struct FutureCell {
    inner: Mutex<Inner>,
    ended: Condvar,
    /// The task was seen running.
    began: AtomicBool,
}

#[derive(Default)]
struct Inner {
    completed: Option<Arc<Completed>>,
    /// The waiters were told.
    announced: bool,
    /// The log of the running task so far.
    log: Vec<u8>,
    /// The waker of each future that was polled, by its poller.
    wakers: Vec<(u64, Waker)>,
    /// The number of pollers so far.
    pollers: u64,
    callbacks: Vec<Callback>,
    /// Threads that wait for the first of several futures, each with the index of this one among them.
    watchers: Vec<(usize, Sender<usize>)>,
}

impl Inner {
    fn take_waker(&mut self, key: u64) -> Option<Waker> {
        let index = self.wakers.iter().position(|(known, _)| *known == key)?;
        Some(self.wakers.swap_remove(index).1)
    }
}

/// The right of one future to be woken by the cell; `None` before its first poll.
#[derive(Debug, Default)]
pub(crate) struct Poller(Option<u64>);

impl FutureCell {
    /// Stores how the task has ended, then tells threads, wakers, watchers and callbacks, so that each of them sees it.
    pub(crate) fn complete(&self, completed: Completed, callbacks: &Callbacks) {
        let mut inner = self.inner.lock();
        debug_assert!(!inner.announced, "a task ends once");
        inner.completed.get_or_insert_with(|| Arc::new(completed));
        inner.announced = true;
        inner.log = Vec::new();
        let (wakers, watchers) = (std::mem::take(&mut inner.wakers), std::mem::take(&mut inner.watchers));
        let called_back = std::mem::take(&mut inner.callbacks);
        drop(inner);
        self.ended.notify_all();
        for (index, watcher) in watchers {
            // A watcher that is gone waits for nothing.
            let _gone = watcher.send(index);
        }
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
        called_back.into_iter().for_each(|callback| callbacks.call(callback));
    }

    /// Whether the task is running, or was at an earlier look. The dispatcher lets go of a task before its result is
    /// here: by this memory no look in between tells that the task waits again.
    pub(crate) fn has_begun(&self, running: bool) -> bool {
        if running {
            self.began.store(true, Ordering::SeqCst);
        }
        running || self.began.load(Ordering::SeqCst)
    }

    /// Stores how the task has ended, before [`complete`](Self::complete) tells it. It runs no code of others, so the caller
    /// may have locks.
    pub(crate) fn store(&self, completed: Completed) {
        self.inner.lock().completed.get_or_insert_with(|| Arc::new(completed));
    }

    /// Whether the task has ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.inner.lock().completed.is_some()
    }

    /// The running task has logged `bytes` after `offset` others. A task that runs again begins anew.
    pub(crate) fn logged(&self, offset: u64, bytes: &[u8]) {
        let log = &mut self.inner.lock().log;
        log.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        log.extend_from_slice(bytes);
    }

    /// The log of the task; while it has not ended, what there is. `None` if that is nothing.
    pub(crate) fn log(&self) -> Option<TaskLog> {
        let inner = self.inner.lock();
        match &inner.completed {
            Some(completed) => Some(completed.log.clone()),
            None => (!inner.log.is_empty()).then(|| TaskLog { bytes: inner.log.clone(), dropped: 0 }),
        }
    }

    /// Applies `look` to how the task has ended; `None` while it has not.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Completed) -> T) -> Option<T> {
        self.inner.lock().completed.as_deref().map(look)
    }

    /// Waits for the end of the task; `None` if it has not come by the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Arc<Completed>> {
        wait_until(&self.ended, &mut self.inner.lock(), deadline, |inner| inner.completed.clone())
    }

    /// How the task has ended; while it has not, `waker` is woken when it does, in place of the poller's earlier one.
    pub(crate) fn poll(&self, poller: &mut Poller, waker: &Waker) -> Option<Arc<Completed>> {
        // Cloning and dropping a waker runs code of its executor, so neither happens under the lock.
        let waker = waker.clone();
        let mut inner = self.inner.lock();
        if inner.completed.is_some() {
            return inner.completed.clone();
        }
        inner.pollers += 1;
        let key = *poller.0.get_or_insert(inner.pollers);
        let earlier = inner.take_waker(key);
        inner.wakers.push((key, waker));
        drop(inner);
        drop(earlier);
        None
    }

    /// Forgets the waker of a poller that polls no more.
    pub(crate) fn forget(&self, poller: &Poller) {
        let Some(key) = poller.0 else { return };
        let waker = self.inner.lock().take_waker(key);
        drop(waker);
    }

    /// Has `callback` called when the task ends. If it has ended the callback is handed back.
    pub(crate) fn add_callback(&self, callback: Callback) -> Option<Callback> {
        let mut inner = self.inner.lock();
        // An end that is stored and not announced has earlier callbacks to call first.
        if inner.announced {
            return Some(callback);
        }
        inner.callbacks.push(callback);
        None
    }

    /// Sends `index` to `watcher` when the task has ended; at once if it has.
    pub(crate) fn watch(&self, index: usize, watcher: &Sender<usize>) {
        let mut inner = self.inner.lock();
        if inner.completed.is_none() {
            inner.watchers.push((index, watcher.clone()));
        } else {
            drop(inner);
            let _gone = watcher.send(index);
        }
    }

    /// Ends what [`watch`](Self::watch) began.
    pub(crate) fn unwatch(&self, watcher: &Sender<usize>) {
        self.inner.lock().watchers.retain(|(_, other)| !other.same_channel(watcher));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::error::TaskError;

    fn cancelled() -> Completed {
        Completed::failed(TaskError::Cancelled)
    }

    #[test]
    fn an_end_that_is_stored_is_seen_and_told_once() {
        let (cell, callbacks) = (FutureCell::default(), Callbacks::default());
        let (sender, called) = mpsc::channel();
        let call = |n| {
            let sender = sender.clone();
            Box::new(move || sender.send(n).unwrap())
        };
        assert!(cell.add_callback(call(1)).is_none());
        cell.store(cancelled());
        assert!(cell.is_complete() && cell.wait(Some(Instant::now())).is_some());
        assert!(cell.add_callback(call(2)).is_none(), "it comes behind the first");
        assert!(called.try_recv().is_err());
        cell.complete(cancelled(), &callbacks);
        assert_eq!(called.try_iter().collect::<Vec<_>>(), [1, 2]);
        assert!(cell.add_callback(call(3)).is_some());
    }

    #[test]
    fn the_end_reaches_threads_watchers_and_callbacks() {
        let (cell, callbacks) = (FutureCell::default(), Callbacks::default());
        let (sender, watched) = crossbeam_channel::unbounded();
        let (called, calls) = mpsc::channel();
        cell.watch(3, &sender);
        assert!(cell.add_callback(Box::new(move || called.send(()).unwrap())).is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| cell.wait(None).is_some());
            cell.complete(cancelled(), &callbacks);
            assert!(waiter.join().unwrap());
        });
        assert_eq!(watched.try_recv(), Ok(3));
        calls.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn the_log_of_a_running_task_gives_way_to_the_whole() {
        let (cell, callbacks) = (FutureCell::default(), Callbacks::default());
        assert_eq!(cell.log(), None);
        cell.logged(0, b"one ");
        cell.logged(4, b"two");
        assert_eq!(cell.log().unwrap().text(), "one two");
        // Another worker runs it again.
        cell.logged(0, b"one");
        assert_eq!(cell.log().unwrap().text(), "one");
        let log = TaskLog { bytes: b"one, two".to_vec(), dropped: 1 };
        cell.complete(Completed { log: log.clone(), ..cancelled() }, &callbacks);
        assert_eq!(cell.log(), Some(log));
    }

    #[test]
    fn whoever_comes_late_is_told_at_once() {
        let (cell, callbacks) = (FutureCell::default(), Callbacks::default());
        cell.complete(cancelled(), &callbacks);
        let (sender, watched) = crossbeam_channel::unbounded();
        cell.watch(5, &sender);
        assert_eq!(watched.try_recv(), Ok(5));
        assert!(cell.add_callback(Box::new(|| {})).is_some(), "the callback is handed back");
        assert!(cell.poll(&mut Poller::default(), Waker::noop()).is_some());
    }

    /// A waker that holds its cell's future, as the task of an executor may.
    struct Owner {
        cell: Arc<FutureCell>,
        poller: Poller,
    }

    impl std::task::Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.cell.forget(&self.poller);
        }
    }

    #[test]
    fn a_waker_may_use_the_cell_when_it_is_dropped() {
        let (cell, mut poller) = (Arc::new(FutureCell::default()), Poller::default());
        let owner = Owner { cell: Arc::clone(&cell), poller: Poller(Some(7)) };
        assert!(cell.poll(&mut poller, &Waker::from(Arc::new(owner))).is_none());
        assert!(cell.poll(&mut poller, Waker::noop()).is_none(), "the earlier one is dropped here");
        let owner = Owner { cell: Arc::clone(&cell), poller: Poller(Some(7)) };
        assert!(cell.poll(&mut poller, &Waker::from(Arc::new(owner))).is_none());
        cell.forget(&poller);
    }

    #[test]
    fn a_poller_has_one_waker_and_leaves_none() {
        let cell = FutureCell::default();
        let (mut first, mut second) = (Poller::default(), Poller::default());
        for _ in 0..3 {
            // Executors may pass another waker at each poll.
            assert!(cell.poll(&mut first, &Waker::from(Arc::new(Silent))).is_none());
            assert!(cell.poll(&mut second, &Waker::from(Arc::new(Silent))).is_none());
        }
        assert_eq!(cell.inner.lock().wakers.len(), 2);
        cell.forget(&first);
        assert_eq!(cell.inner.lock().wakers.len(), 1);
    }

    struct Silent;

    impl std::task::Wake for Silent {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_watcher_that_leaves_hears_nothing() {
        let (cell, callbacks) = (FutureCell::default(), Callbacks::default());
        let (sender, watched) = crossbeam_channel::unbounded();
        cell.watch(0, &sender);
        cell.unwatch(&sender);
        cell.complete(cancelled(), &callbacks);
        assert!(watched.try_recv().is_err());
    }
}
