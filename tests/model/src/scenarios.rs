//! What two or three threads do to one cell, and what must be true in whatever order their steps come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use shuttle::thread;
use wpool_abi::object::{Reply, Verb};

use crate::callbacks::Callbacks;
use crate::error::TaskError;
use crate::manager::{ObjectInit, Owner, Store};
use crate::runtime::cell::emitted::{EmitCell, Next};
use crate::runtime::cell::future::{FutureCell, Poller};
use crate::runtime::cell::map::MapCell;
use crate::runtime::completed::Completed;
use crate::server::ObjectCall;

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn cancelled() -> Completed {
    Completed::failed(TaskError::Cancelled)
}

/// Ends the task of a cell on a thread of its own.
fn completes(cell: &Arc<FutureCell>) -> thread::JoinHandle<()> {
    let cell = Arc::clone(cell);
    thread::spawn(move || cell.complete(cancelled(), &Callbacks::default()))
}

/// Two threads wait while a third ends the task: both are woken, and see the end.
pub fn all_waiting_threads_see_the_end() {
    let cell = Arc::new(FutureCell::default());
    let waits = || {
        let cell = Arc::clone(&cell);
        thread::spawn(move || assert!(cell.wait(None).is_some() && cell.is_complete()))
    };
    for thread in [waits(), waits(), completes(&cell)] {
        thread.join().expect("the scheduler reports a deadlock");
    }
}

/// A poll that finds nothing is woken, once; one that finds the end is not.
pub fn a_poll_is_ready_or_woken() {
    let (cell, counter) = (Arc::new(FutureCell::default()), Arc::new(Counter::default()));
    let ends = completes(&cell);
    let ready = cell.poll(&mut Poller::default(), &Waker::from(Arc::clone(&counter))).is_some();
    ends.join().expect("it ends");
    assert_eq!(counter.count(), usize::from(!ready));
}

/// A watcher is told once, whether the end comes before or after it begins to watch.
pub fn a_watcher_is_told_once() {
    let cell = Arc::new(FutureCell::default());
    let (sender, told) = crossbeam_channel::unbounded();
    let ends = completes(&cell);
    cell.watch(7, &sender);
    ends.join().expect("it ends");
    assert_eq!((told.try_recv(), told.try_recv().is_err()), (Ok(7), true));
}

/// A callback is handed back or called, and never both.
pub fn a_callback_is_called_once() {
    let (cell, counter) = (Arc::new(FutureCell::default()), Arc::new(Counter::default()));
    let ends = completes(&cell);
    let called = Arc::clone(&counter);
    if let Some(callback) = cell.add_callback(Box::new(move || called.wake())) {
        callback();
    }
    ends.join().expect("it ends");
    assert_eq!(counter.count(), 1);
}

/// The results of a map reach a reader that waits, in order, whichever comes first.
pub fn a_map_gives_its_results_in_order() {
    let cell = Arc::new(MapCell::new(true));
    let arrives = |index| {
        let cell = Arc::clone(&cell);
        thread::spawn(move || cell.arrivals().push(index, cancelled()))
    };
    let arriving = [arrives(1), arrives(0)];
    let mut ready = VecDeque::new();
    let mut indices = Vec::new();
    while indices.len() < 2 {
        cell.wait(&mut ready, true, None);
        indices.extend(ready.drain(..).map(|(index, _)| index));
    }
    assert_eq!(indices, [0, 1]);
    for thread in arriving {
        thread.join().expect("it arrives");
    }
}

/// All results together are handed over once, whether they are asked for before or after the last arrives.
pub fn a_whole_map_is_handed_over_once() {
    let (cell, counter) = (Arc::new(MapCell::new(true)), Arc::new(Counter::default()));
    let arriving = {
        let cell = Arc::clone(&cell);
        thread::spawn(move || (0..2).for_each(|index| cell.arrivals().push(index, cancelled())))
    };
    let handed = Arc::clone(&counter);
    cell.when_whole(2, Box::new(move |results| (0..results.len()).for_each(|_| Arc::clone(&handed).wake())));
    arriving.join().expect("they arrive");
    assert_eq!(counter.count(), 2, "two results, once");
}

/// A map whose pool is gone ends a reader's wait, also one that begins at the same moment.
pub fn an_abort_ends_a_wait() {
    let cell = Arc::new(MapCell::new(true));
    let aborts = {
        let cell = Arc::clone(&cell);
        thread::spawn(move || cell.abort())
    };
    let mut ready = VecDeque::new();
    cell.wait(&mut ready, true, None);
    assert!(matches!(&ready[0], (0, Completed { result: Err(TaskError::PoolClosed), .. })));
    aborts.join().expect("it aborts");
}

/// An answer reaches the caller, or comes back if the caller gave up: it is never lost.
pub fn an_answer_is_taken_or_comes_back() {
    let object = Store::default().make(ObjectInit::Event);
    let call = Arc::new(ObjectCall::new(Owner::Host(1), object, Verb::Get));
    let answers = {
        let call = Arc::clone(&call);
        thread::spawn(move || call.answer(Ok(Reply::Done)).is_some())
    };
    let taken = call.abandon().is_some();
    let came_back = answers.join().expect("it answers");
    assert!(taken != came_back, "taken {taken}, came back {came_back}");
}

/// A reader of emitted values gets each value and then the end.
pub fn emitted_values_come_before_the_end() {
    let cell = Arc::new(EmitCell::new(2, false));
    let emits = {
        let cell = Arc::clone(&cell);
        thread::spawn(move || {
            assert!((0..2).all(|n| cell.push(n, b"").is_ok()));
            cell.end();
        })
    };
    let mut read = Vec::new();
    while let Some(Next::Value(value, _)) = cell.wait(None) {
        read.push(value.fingerprint);
    }
    assert_eq!(read, [0, 1]);
    emits.join().expect("it emits");
}
