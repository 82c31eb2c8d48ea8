use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use wpool::{NotYet, Status, StillOpen, SubmitError, TaskError};
use wpool_tests::{bounded, pool};

use crate::WPOOL;

/// Wakes a thread that is parked.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_future_is_waited_for_awaited_and_asked() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let future = square.submit(&7).unwrap();
        assert_eq!(future.result(), Ok(49));
        assert!(future.done() && !future.cancelled());
        assert_eq!(future.result(), Ok(49), "a result can be had again");
        assert_eq!(block_on(square.submit(&8).unwrap()), Ok(64));
        let figures = future.figures().unwrap();
        assert!(
            figures.worker.is_some() && figures.attempts == 1 && figures.run <= figures.total,
            "{figures:?}"
        );
        assert!(figures.peak_memory >= 64 << 10);
        let debug = format!("{future:?}");
        assert!(debug.contains("finished"), "{debug}");
    });
}

#[test]
fn what_has_not_ended_says_so_and_goes_on() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let long = work.submit(&3_000_000).unwrap();
        assert_eq!(long.result_timeout(Duration::ZERO), Err(NotYet(Duration::ZERO)));
        let soon = Duration::from_millis(5);
        assert_eq!(long.result_timeout(soon), Err(NotYet(soon)));
        assert!(!long.done());
        pool.terminate();
        assert_eq!(long.result(), Err(TaskError::PoolClosed));
    });
}

#[test]
fn a_cancelled_task_never_runs() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let running = work.submit(&300_000).unwrap();
        let waiting: Vec<_> = (0..10).map(|_| work.submit(&1).unwrap()).collect();
        assert!(waiting.iter().all(|future| future.cancel()), "none of them could begin behind the long one");
        assert!(waiting.iter().all(|future| future.cancel()), "cancelled twice is cancelled");
        assert!(waiting.iter().all(|future| future.result() == Err(TaskError::Cancelled)));
        running.result().unwrap();
        assert!(!running.cancel(), "it has ended");
        assert_eq!(pool.stats().succeeded, 1);
    });
}

#[test]
fn a_wait_ends_when_another_thread_cancels() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).timeout(None).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        // This one waits for its result alone, so it reads for itself; nothing that it could read will come.
        let endless = work.submit(&u32::MAX).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| endless.result());
            while pool.stats().in_flight == 0 {
                std::thread::yield_now();
            }
            let behind = work.submit(&1).unwrap();
            let second = scope.spawn({
                let behind = behind.clone();
                move || behind.result()
            });
            assert!(behind.cancel());
            assert_eq!(second.join().unwrap(), Err(TaskError::Cancelled));
            pool.terminate();
            assert_eq!(waiting.join().unwrap(), Err(TaskError::PoolClosed));
        });
    });
}

#[test]
fn callbacks_run_in_order_once_with_the_result_visible() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let (sender, receiver) = channel();
        let future = square.submit(&3).unwrap();
        for n in 0..5 {
            let sender = sender.clone();
            future.add_done_callback(move |future| sender.send((n, future.result())).unwrap());
        }
        future.add_done_callback(|_| panic!("a callback's own business"));
        let again = sender.clone();
        future.add_done_callback(move |future| again.send((5, future.result())).unwrap());
        future.result().unwrap();
        future.add_done_callback(move |future| sender.send((6, future.result())).unwrap());
        let called: Vec<_> = receiver.iter().collect();
        assert_eq!(called, (0..7).map(|n| (n, Ok(9))).collect::<Vec<_>>());
    });
}

#[test]
fn joining_waits_for_callbacks() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let called = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&called);
        square.submit(&1).unwrap().add_done_callback(move |_| seen.store(true, Ordering::SeqCst));
        assert_eq!(pool.join(), Err(StillOpen));
        pool.close();
        pool.join().unwrap();
        assert!(called.load(Ordering::SeqCst));
        assert_eq!(square.submit(&1).unwrap_err(), SubmitError::Closed { by: "`close`" });
        pool.join().unwrap();
    });
}

#[test]
fn a_full_queue_refuses_or_waits() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).max_queued(3).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let mut accepted = Vec::new();
        let refused = loop {
            match work.try_submit(&20_000) {
                Ok(future) => accepted.push(future),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, SubmitError::QueueFull { limit: 3 });
        assert!(accepted.len() >= 3);
        accepted.push(work.submit(&1).unwrap());
        accepted.iter().for_each(|future| assert!(future.result().is_ok()));
    });
}

#[test]
fn dropping_a_pool_finishes_its_work() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let futures: Vec<_> = (0..1000).map(|n| square.submit(&n).unwrap()).collect();
        drop(pool);
        for (n, future) in (0..).zip(futures) {
            assert!(future.done());
            assert_eq!(future.result(), Ok(n * n));
        }
    });
}

#[test]
fn terminating_is_quick_and_settles_everything() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).max_queued(100_000).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let futures: Vec<_> = (0..20_000).map(|_| work.submit(&100_000).unwrap()).collect();
        pool.terminate();
        pool.join().unwrap();
        assert!(futures.iter().all(wpool::TaskFuture::done));
        assert!(futures.iter().any(|future| future.result() == Err(TaskError::PoolClosed)));
        assert_eq!(work.submit(&1).unwrap_err(), SubmitError::Closed { by: "`terminate`" });
    });
}

#[test]
fn many_threads_submit_and_cancel_at_once() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (square, start) = (square.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    for n in 0..500 {
                        let future = square.submit(&n).unwrap();
                        let cancelled = (n + thread) % 3 == 0 && future.cancel();
                        let expected = if cancelled { Err(TaskError::Cancelled) } else { Ok(n * n) };
                        assert_eq!(future.result(), expected);
                    }
                });
            }
        });
        let stats = pool.stats();
        assert_eq!(stats.succeeded + stats.failed, 4000);
    });
}

/// Waits for one result in one of the ways that there are.
fn wait_somehow(pool: &wpool::Pool, way: u64, n: i64) {
    let square = pool.task::<i64, i64>("square").unwrap();
    let future = square.submit(&n).unwrap();
    let value = match way % 7 {
        0 => future.result(),
        1 => block_on(future),
        2 => loop {
            if let Ok(result) = future.result_timeout(Duration::from_micros(20)) {
                break result;
            }
        },
        3 => {
            let (sender, receiver) = channel();
            future.add_done_callback(move |future| sender.send(future.result()).unwrap());
            receiver.recv().unwrap()
        }
        4 => {
            let other = future.clone();
            let waiter = std::thread::spawn(move || other.result());
            future.cancel();
            let results = (future.result(), waiter.join().unwrap());
            assert_eq!(results.0, results.1);
            assert!(matches!(results.0, Ok(_) | Err(TaskError::Cancelled)), "{results:?}");
            return;
        }
        5 => {
            let results: Vec<_> = square.map([n, n]).collect();
            assert_eq!(results, [Ok(n * n), Ok(n * n)]);
            future.result()
        }
        _ => {
            while !future.done() {
                std::thread::yield_now();
            }
            future.result()
        }
    };
    assert_eq!(value, Ok(n * n));
}

/// Who reads from the workers changes with every wait; nobody may sleep through a result.
#[test]
fn all_ways_of_waiting_work_side_by_side() {
    bounded(|| {
        let pool = Arc::new(pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap());
        for threads in [1, 2, 5] {
            let waiters: Vec<_> = (0..threads)
                .map(|thread| {
                    let pool = Arc::clone(&pool);
                    std::thread::spawn(move || {
                        let mut state: u64 = thread + 1;
                        for n in 0..500 {
                            // A simple generator: the ways come in another order for each thread.
                            state = state
                                .wrapping_mul(6_364_136_223_846_793_005_u64)
                                .wrapping_add(1_442_695_040_888_963_407);
                            wait_somehow(&pool, state >> 33, n);
                        }
                    })
                })
                .collect();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        }
    });
}

#[test]
fn the_log_of_a_running_task_can_be_read() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_LOG).timeout(None).build().unwrap();
        let tell = pool.task::<(u32, u32), u64>("tell").unwrap();
        let endless = tell.submit(&(2, u32::MAX)).unwrap();
        crate::until("it has logged", || endless.log().is_some());
        assert_eq!(endless.log().unwrap().text(), "info: line 0\ninfo: line 1\n");
        assert!(endless.running());
        endless.kill();
        endless.completed();
        assert_eq!(endless.log().unwrap().text(), "info: line 0\ninfo: line 1\n");
        // Of a map, with the index of its input.
        let (tell, logs) = pool.raw_task("tell").unwrap().follow_logs();
        let arguments = tell.signature().arguments_from_json(b"[1, 4000000000]").unwrap();
        let map = tell.map([Ok(arguments)]);
        assert!(logs.wait(Duration::from_secs(30)));
        let parts = logs.take();
        assert_eq!(
            (parts[0].index, parts[0].offset, parts[0].bytes.as_slice()),
            (0, 0, &b"info: line 0\n"[..])
        );
        pool.terminate();
        drop(map);
    });
}

#[test]
fn two_threads_that_cancel_one_future_are_both_told_so() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let _busy = work.submit(&4_000_000_000).unwrap();
        for _ in 0..200 {
            let future = work.submit(&1).unwrap();
            let barrier = std::sync::Barrier::new(2);
            let cancel = || {
                barrier.wait();
                (future.cancel(), future.done(), future.status())
            };
            let told = std::thread::scope(|scope| {
                let other = scope.spawn(cancel);
                [cancel(), other.join().unwrap()]
            });
            assert_eq!(told, [(true, true, Status::Cancelled); 2]);
        }
        pool.terminate();
    });
}
