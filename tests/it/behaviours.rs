use std::cell::Cell;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;
use wpool::{
    Clock, GuestSettings, MapEnd, MapError, NotYet, Phase, Pool, Process, ReturnWhen, Status, Task,
    TaskError, WorkerExit, as_completed, wait,
};
use wpool_tests::{bounded, load, pool};

use crate::{WPOOL, until};

const MS: Duration = Duration::from_millis(1);

fn squares() -> (Pool, Task<i64, i64>) {
    let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
    let square = pool.task("square").unwrap();
    (pool, square)
}

/// One worker, whose tasks take as long as they are told.
fn slow() -> (Pool, Task<u32, u64>) {
    let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).build().unwrap();
    let work = pool.task("work").unwrap();
    (pool, work)
}

#[test]
fn b01_b02_b16_b17_arguments_arrive_and_values_come_back() {
    bounded(|| {
        let (pool, square) = squares();
        let future = square.submit(&-3).unwrap();
        assert_eq!(future.result(), Ok(9));
        assert!(format!("{future:?}").contains("finished"));
        drop(pool);
        // Names that a pool's own methods have are ordinary names of parameters.
        let echo = wpool_tests::pool(WPOOL, wpool_tests::OK_ECHO).build().unwrap();
        let repeat = echo.task::<(String, u32, Option<char>), String>("repeat").unwrap();
        assert_eq!(repeat.apply(&("ab".into(), 2, Some('!'))).unwrap(), "abab!");
        // An error without words is an error.
        let error = wpool_tests::pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let parse = error.task::<String, i32>("parse").unwrap().submit(&String::new()).unwrap();
        assert!(matches!(parse.result(), Err(TaskError::Guest(_))));
        assert!(format!("{parse:?}").contains("failed"));
    });
}

#[test]
fn b03_b29_b30_numbers_that_make_no_sense_are_errors_at_once() {
    bounded(|| {
        let (pool, square) = squares();
        let zero = Pool::builder(pool.guest().clone()).workers(0).build().unwrap_err();
        assert_eq!(zero.to_string(), "workers cannot be 0: no worker would run the tasks");
        let chunk = square.clone().chunk(0).unwrap_err();
        assert_eq!(chunk.to_string(), "chunk cannot be 0: no task would ever be sent");
        let buffer = square.clone().buffer(0).unwrap_err();
        assert_eq!(buffer.to_string(), "buffer cannot be 0: no input would ever be pulled");
        for chunk in [1, 2, 7, 100, u32::MAX] {
            let chunked = square.clone().chunk(chunk).unwrap();
            assert!(chunked.map(0..50).map(Result::unwrap).eq((0..50).map(|n| n * n)), "{chunk}");
        }
    });
}

#[test]
fn b04_b05_b06_b07_b08_b14_states_follow_one_another() {
    bounded(|| {
        let (_pool, work) = slow();
        let running = work.submit(&3_000_000).unwrap();
        until("it begins", || running.running());
        let pending = work.submit(&1).unwrap();
        assert_eq!((running.status(), pending.status()), (Status::Running, Status::Pending));
        assert!(!running.cancel() && !running.cancelled() && !running.done(), "it is too late");
        assert_eq!(running.result_timeout(Duration::ZERO), Err(NotYet(Duration::ZERO)));
        assert_eq!(pending.result_timeout(MS), Err(NotYet(MS)));
        let (sender, told) = channel();
        pending.add_done_callback(move |future| sender.send(future.status()).unwrap());
        let waiter = {
            let pending = pending.clone();
            std::thread::spawn(move || pending.result())
        };
        assert!(pending.cancel() && pending.cancel(), "twice is once");
        assert_eq!(waiter.join().unwrap(), Err(TaskError::Cancelled));
        assert_eq!(told.recv().unwrap(), Status::Cancelled);
        assert!(pending.done() && pending.cancelled() && !pending.running());
        running.kill();
        assert_eq!(running.result(), Err(TaskError::Killed));
        assert!(!running.cancel() && running.status() == Status::Finished && !running.running());
    });
}

#[test]
fn b09_why_there_is_no_value_can_be_asked() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = pool.task::<i64, i64>("half").unwrap();
        assert_eq!(half.submit(&4).unwrap().exception(), None);
        assert!(matches!(half.submit(&3).unwrap().exception(), Some(TaskError::Guest(_))));
        let (_slow, work) = slow();
        let long = work.submit(&3_000_000).unwrap();
        assert_eq!(long.exception_timeout(MS), Err(NotYet(MS)));
        long.kill();
    });
}

#[test]
fn b11_b12_b13_callbacks_come_in_order_once_and_one_that_fails_stops_nobody() {
    bounded(|| {
        let (_pool, work) = slow();
        let future = work.submit(&100_000).unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let calls = Arc::clone(&calls);
            move |future: &wpool::TaskFuture<u64>| {
                assert!(future.done());
                calls.lock().unwrap().push(name);
            }
        };
        future.add_done_callback(note("first"));
        future.add_done_callback(|_| panic!("this one fails"));
        future.add_done_callback(note("second"));
        future.result().unwrap();
        let (sender, receiver) = channel();
        // One that comes late is called at once, on the callbacks' thread, after those before it.
        future.add_done_callback(note("late"));
        future.add_done_callback(move |_| sender.send(()).unwrap());
        receiver.recv().unwrap();
        assert_eq!(*calls.lock().unwrap(), ["first", "second", "late"]);
    });
}

#[test]
fn b15_what_many_threads_see_of_a_future_fits_together() {
    bounded(|| {
        let (_pool, square) = squares();
        for n in 0..200 {
            let future = square.submit(&n).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while !future.done() {
                            assert!(future.figures().is_none() || future.done());
                        }
                        assert_eq!(future.result(), Ok(n * n));
                        assert!(future.figures().is_some() && !future.cancelled());
                    });
                }
            });
        }
    });
}

#[test]
fn b19_b64_a_closed_pool_says_by_whom_and_an_open_one_cannot_be_joined() {
    bounded(|| {
        let (pool, square) = squares();
        let open = pool.join().unwrap_err();
        assert_eq!(open.to_string(), "the pool still takes tasks: call `close` or `terminate` before `join`");
        pool.close();
        pool.close();
        assert_eq!(square.submit(&1).unwrap_err().to_string(), "the pool is closed: `close` was called");
        let mut late = square.map([1, 2]);
        let end = MapEnd::PoolClosed("`close`");
        assert_eq!(late.next(), Some(Err(TaskError::MapEnded { end, pulled: 0 })));
        pool.join().unwrap();
        pool.join().unwrap();
    });
}

#[test]
fn b20_b21_b26_b27_b36_results_stand_in_the_places_of_their_inputs() {
    bounded(|| {
        let pool_of_two = pool(WPOOL, wpool_tests::SLOW_WORK).build().unwrap();
        let work = pool_of_two.task::<u32, u64>("work").unwrap();
        let figures: Vec<u64> = work.map([200_000, 1, 1, 1]).map(Result::unwrap).collect();
        assert_eq!(figures[1..], [figures[1]; 3], "the slow one is first all the same");
        let halves = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = halves.task::<i64, i64>("half").unwrap();
        for chunk in [None, Some(3)] {
            let results: Vec<_> = half.clone().chunk(chunk).unwrap().map(0..6).collect();
            let odd: Vec<bool> = results.iter().map(Result::is_err).collect();
            assert_eq!(odd, [false, true, false, true, false, true], "each error in its own place");
            assert_eq!(results[4], Ok(2), "and what comes after it comes");
        }
        // Several inputs are one of tuples, as long as the shortest.
        let echo = pool(WPOOL, wpool_tests::OK_ECHO).build().unwrap();
        let repeat = echo.task::<(String, u32, Option<char>), String>("repeat").unwrap();
        let words = ["a", "b", "c"].map(str::to_owned);
        let inputs = words.into_iter().zip(1..=2).map(|(word, times)| (word, times, None));
        let repeated: Result<Vec<_>, _> = repeat.starmap(inputs).collect();
        assert_eq!(repeated.unwrap(), ["a", "bb"]);
    });
}

#[test]
fn b22_b31_b32_b33_b40_input_is_read_as_far_as_it_may_be() {
    bounded(|| {
        let (pool, square) = squares();
        let pulled = Cell::new(0usize);
        let counted = || (0i64..).inspect(|_| pulled.set(pulled.get() + 1));
        let map = square.clone().buffer(7).unwrap().map(counted());
        assert_eq!(pulled.get(), 7, "after the call exactly the buffer was taken");
        until("work is done without anybody asking", || pool.stats().succeeded == 7);
        let results: Vec<_> = map.take(100).collect();
        assert!(pulled.get() <= 107 && results.len() == 100, "{}", pulled.get());
        assert_eq!(square.map([]).count(), 0);
        let both = (0i64..).zip(1i64..).map(|(a, b)| a + b);
        assert_eq!(square.clone().buffer(3).unwrap().imap(both).take(4).last(), Some(Ok(49)));
    });
}

#[test]
fn b23_b24_b25_the_time_of_a_map_is_not_that_of_a_task() {
    bounded(|| {
        let (_pool, work) = slow();
        work.apply(&1).unwrap();
        let limit = 200 * MS;
        let began = Instant::now();
        let mut map = work.clone().map_timeout(limit).map([1, 40_000_000, 40_000_000]);
        assert!(map.next().unwrap().is_ok());
        let over = Some(Err(TaskError::Timeout { clock: Clock::Total, limit }));
        assert_eq!((map.next(), map.next(), map.next()), (over.clone(), over, None));
        assert!(began.elapsed() >= limit);
        let own = work.timeout(50 * MS).map_timeout(Duration::from_secs(60)).map([40_000_000]).next();
        assert_eq!(own, Some(Err(TaskError::Timeout { clock: Clock::Run, limit: 50 * MS })));
    });
}

#[test]
fn b28_a_map_that_is_closed_gives_nothing_more_and_cancels_the_rest() {
    bounded(|| {
        let (pool, work) = slow();
        let mut map = work.map(std::iter::repeat_n(20_000, 100));
        assert!(map.next().unwrap().is_ok());
        map.close();
        assert_eq!(map.next(), None);
        until("the rest is cancelled", || pool.stats().queued == 0 && pool.stats().in_flight == 0);
        assert!(pool.stats().succeeded < 50, "{:?}", pool.stats());
        work.apply(&1).unwrap();
    });
}

#[test]
fn b35_b41_b42_b43_results_of_a_map_can_be_had_together() {
    bounded(|| {
        let (pool, square) = squares();
        assert_eq!(square.map_list(0..4).unwrap(), [0, 1, 4, 9]);
        let (sender, told) = channel();
        let all = square
            .map_async(0..1000, move |result| sender.send(result.clone().map(|all| all.len())).unwrap());
        assert_eq!(all.get().unwrap().len(), 1000);
        assert_eq!(told.recv().unwrap(), Ok(1000));
        assert!(told.recv().is_err(), "it is called once");
        assert_eq!((all.ready(), all.successful()), (true, Some(true)));
        // The result is visible while the callback runs.
        let (go_on, seen) = channel();
        let slow_to_call = square.map_async(0..3, move |_| seen.recv().unwrap());
        assert_eq!(slow_to_call.get().unwrap(), [0, 1, 4]);
        go_on.send(()).unwrap();
        assert!(square.map_async([], |_| {}).get().unwrap().is_empty(), "of nothing as well");
        // What was handed over is done although the pool is closed now.
        let last = square.starmap_async(0..5000, |_| {});
        pool.close();
        pool.join().unwrap();
        assert_eq!(last.get().unwrap().len(), 5000);

        let halves = wpool_tests::pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = halves.task::<i64, i64>("half").unwrap();
        let MapError { index, error } = half.map_list([0, 2, 3, 5]).unwrap_err();
        assert!(
            index == 2 && matches!(error, TaskError::Guest(_)),
            "the first in order, when all have ended"
        );
        assert_eq!(half.map_async([2, 1], |_| {}).get().unwrap_err().index, 1);
        let (sender, told) = channel();
        let errors = sender.clone();
        half.apply_async(&3, move |_| sender.send(false).unwrap(), move |_| errors.send(true).unwrap())
            .unwrap();
        assert!(told.recv().unwrap() && told.recv().is_err(), "one of the two is called");
        let (_slow, work) = slow();
        let long = work.map_async([3_000_000], |_| {});
        assert_eq!(long.get_timeout(20 * MS), Err(NotYet(20 * MS)));
        assert!(!long.wait(MS) && !long.ready() && long.successful().is_none());
        _slow.terminate();
        assert_eq!(long.get().unwrap_err().error, TaskError::PoolClosed);
    });
}

#[test]
fn b37_b38_a_result_that_is_late_is_not_lost() {
    bounded(|| {
        let (_pool, work) = slow();
        let mut map = work.imap([200_000, 1]);
        assert_eq!(map.next_timeout(MS), Err(NotYet(MS)));
        assert!(map.next().unwrap().is_ok() && map.next().unwrap().is_ok() && map.next().is_none());
        let mut unordered: Vec<_> = work.imap_unordered([3, 1, 2]).map(Result::unwrap).collect();
        let mut ordered: Vec<_> = work.imap([1, 2, 3]).map(Result::unwrap).collect();
        unordered.sort_unstable();
        ordered.sort_unstable();
        assert_eq!(unordered, ordered);
    });
}

#[test]
fn b39_an_input_that_fails_half_way_costs_no_result_before_it() {
    bounded(|| {
        let (_pool, square) = squares();
        let mut map = square.map((0..10).inspect(|n| assert!(*n < 5, "the input fails")));
        let given = AtomicUsize::new(0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for result in &mut map {
                result.unwrap();
                given.fetch_add(1, Ordering::Relaxed);
            }
        }));
        assert!(panicked.is_err() && given.into_inner() == 5);
        assert_eq!(map.next(), None);
        assert_eq!(square.apply(&3).unwrap(), 9, "the pool goes on");
        let raw = _pool.raw_task("square").unwrap();
        let inputs = [Ok(raw.signature().arguments_from_json(b"3").unwrap()), Err("no third".to_owned())];
        let results: Vec<_> = raw.map(inputs).map(|(_, completed)| completed.result).collect();
        assert!(
            results[0].is_ok()
                && matches!(&results[1], Err(TaskError::BadArguments { message }) if message == "no third")
        );
    });
}

#[test]
fn a_map_can_end_with_its_first_error() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = pool.task::<i64, i64>("half").unwrap().buffer(4).unwrap();
        let pulled = Cell::new(0);
        let inputs = [2, 1].into_iter().chain(std::iter::repeat(2)).inspect(|_| pulled.set(pulled.get() + 1));
        let results: Vec<_> = half.map(inputs).stop_on_error().collect();
        assert!(results[0].is_ok() && matches!(results[1], Err(TaskError::Guest(_))));
        assert!(results.len() <= 7 && pulled.get() <= 7, "{results:?}");
    });
}

#[test]
fn b44_b45_b46_b47_b48_several_futures_are_waited_for() {
    bounded(|| {
        let (pool, square) = squares();
        let (slow_pool, work) = slow();
        let quick = square.submit(&2).unwrap();
        quick.result().unwrap();
        let long = work.submit(&40_000_000).unwrap();
        let futures = || [quick.erased(), long.erased(), quick.erased()];
        let waited = wait(futures(), ReturnWhen::FirstCompleted, None);
        assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1), "what is given twice counts once");
        let waited = wait(futures(), ReturnWhen::AllCompleted, 20 * MS);
        assert_eq!(
            (waited.done[0].id(), waited.not_done.len()),
            (quick.id(), 1),
            "a time that is over is no error"
        );
        let waited = wait([quick.clone()], ReturnWhen::FirstException, None);
        assert_eq!(waited.done.len(), 1, "without a failure it waits for all");
        let next = work.submit(&1).unwrap();
        next.cancel();
        let waited = wait([next.erased(), long.erased()], ReturnWhen::FirstException, 20 * MS);
        assert_eq!(
            (waited.done.len(), waited.not_done.len()),
            (1, 1),
            "a cancelled one is done, and no failure"
        );
        let killer = long.clone();
        let kill = std::thread::spawn(move || killer.kill());
        let waited = wait([long.erased()], ReturnWhen::FirstException, None);
        assert_eq!(waited.done[0].exception(), Some(TaskError::Killed));
        kill.join().unwrap();
        assert!(wait(Vec::<wpool::TaskFuture<i64>>::new(), ReturnWhen::AllCompleted, None).done.is_empty());
        drop((pool, slow_pool));
    });
}

#[test]
fn b49_b50_b52_b53_futures_come_as_they_end() {
    bounded(|| {
        let (_pool, square) = squares();
        let (_slow, work) = slow();
        let long = work.submit(&300_000).unwrap();
        let quick: Vec<_> = (0..5).map(|n| square.submit(&n).unwrap()).collect();
        quick[3].result().unwrap();
        let mixed = std::iter::once(long.erased()).chain(quick.iter().map(wpool::TaskFuture::erased));
        let order: Vec<_> = as_completed(mixed, None).map(|future| future.unwrap()).collect();
        assert!(order.len() == 6 && order.iter().all(wpool::TaskFuture::done));
        assert!(order[5].completed().figures.run >= order[0].completed().figures.run, "the long one is last");
        let endless = work.submit(&40_000_000).unwrap();
        let futures = [endless.clone(), long.clone()];
        let mut ended = as_completed(futures, 30 * MS);
        assert!(ended.next().unwrap().is_ok());
        let late = ended.next().unwrap().unwrap_err();
        assert_eq!(late.to_string(), "1 (of 2) futures have not ended within 30ms");
        assert!(ended.next().is_none());
        endless.kill();
        // Many end while somebody begins to wait for them.
        for _ in 0..20 {
            let many: Vec<_> = (0..100).map(|n| square.submit(&n).unwrap()).collect();
            assert_eq!(as_completed(many, None).filter(Result::is_ok).count(), 100);
        }
    });
}

#[test]
fn b54_b55_b56_b57_b63_a_pool_ends_in_every_way_there_is() {
    bounded(|| {
        let (pool, square) = squares();
        let many: Vec<_> = (0..500).map(|n| square.submit(&n).unwrap()).collect();
        pool.shutdown(false, false);
        assert!(many.iter().all(|future| future.result().is_ok()), "what waits is done all the same");
        let (pool, work) = slow();
        let futures: Vec<_> = (0..10).map(|_| work.submit(&50_000).unwrap()).collect();
        futures[9].cancel();
        drop(pool);
        assert!(futures[..9].iter().all(|future| future.done() && future.result().is_ok()));
        let (pool, work) = slow();
        let queued: Vec<_> = (0..9_000).map(|_| work.submit(&1_000_000).unwrap()).collect();
        pool.terminate();
        pool.join().unwrap();
        assert!(queued.iter().all(|future| future.done()));
    });
}

#[test]
fn b62_everything_is_ended_at_once_and_nobody_is_left() {
    bounded(|| {
        let (pool, work) = slow();
        pool.terminate();
        assert_eq!(work.submit(&1).unwrap_err().to_string(), "the pool is closed: `terminate` was called");
        let (pool, work) = slow();
        let running = work.submit(&40_000_000).unwrap();
        until("it runs", || running.running());
        pool.terminate();
        assert_eq!(running.result(), Err(TaskError::PoolClosed));
        pool.terminate();
        pool.join().unwrap();
        assert_eq!(pool.stats().workers, 0);
    });
}

/// Ends the workers of a pool from outside while one of its tasks runs; how that task ends if it is not run again.
fn ended_from_outside(signal: Signal) -> TaskError {
    let running = Process::builder(load(WPOOL, wpool_tests::SLOW_WORK))
        .start::<u32, u64>("work", &4_000_000_000)
        .unwrap();
    until("it has begun", || running.pid().is_some_and(computes));
    let pid = i32::try_from(running.pid().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    running.result().unwrap_err()
}

/// Whether a process has used some time.
fn computes(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() >= 10
}

#[test]
fn b66_b67_b68_a_worker_that_dies_is_named_with_its_signal() {
    bounded(|| {
        for (signal, number) in [(Signal::KILL, 9), (Signal::QUIT, 3), (Signal::ABORT, 6)] {
            let cause = WorkerExit::Signal { signal: number, by_pool: false };
            let lost = TaskError::WorkerLost { cause, phase: Phase::Running, earlier: vec![] };
            assert_eq!(ended_from_outside(signal), lost);
        }
    });
}

#[test]
fn b69_a_trap_brings_the_guests_functions_and_what_the_host_finds_brings_none() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_MIXED).build().unwrap();
        let raw = pool.raw_task("act").unwrap();
        let submit = |json: &[u8]| raw.submit(raw.signature().arguments_from_json(json).unwrap()).unwrap();
        let trapped = submit(b"\"trap\"").exception();
        let Some(TaskError::Trap { backtrace, .. }) = trapped else { panic!("{trapped:?}") };
        assert!(backtrace.iter().any(|frame| frame.function.contains("act") && frame.offset.is_some()));
        let refused = raw.submit(vec![0xff; 3]).unwrap().exception();
        assert!(matches!(refused, Some(TaskError::BadArguments { .. })), "{refused:?}");
    });
}

#[test]
fn b70_b71_b73_b74_arguments_and_results_that_cannot_travel_are_errors_of_their_tasks() {
    bounded(|| {
        let mut limits = wpool::Limits::default();
        (limits.arguments, limits.result) = (100, 200);
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).limits(limits).build().unwrap();
        let bytes = pool.task::<Vec<u8>, Vec<u8>>("bytes").unwrap();
        let refused = bytes.submit(&vec![0; 1000]).unwrap_err();
        assert_eq!(refused.to_string(), "the arguments have 1002 bytes, 100 are allowed");
        let mixed: Vec<_> = bytes.map([vec![1], vec![0; 1000], vec![2]]).collect();
        assert!(
            mixed[0].is_ok() && matches!(mixed[1], Err(TaskError::BadArguments { .. })) && mixed[2].is_ok()
        );
        let repeat = pool.task::<(String, u32, Option<char>), String>("repeat").unwrap();
        for _ in 0..20 {
            let large = repeat.submit(&("x".repeat(90), 10, None)).unwrap();
            assert!(matches!(large.result(), Err(TaskError::OutputLimit { limit: 200, .. })));
        }
        let raw = pool.raw_task("tree").unwrap();
        for junk in [&b"\xff\xff\xff"[..], b"", b"\x01"] {
            assert!(matches!(
                raw.submit(junk.to_vec()).unwrap().exception(),
                Some(TaskError::BadArguments { .. })
            ));
        }
        assert_eq!(pool.stats().workers_lost, 0, "none of that costs a worker");
        assert_eq!(bytes.apply(&vec![7]).unwrap(), [7]);
    });
}

#[test]
fn b75_b76_a_worker_that_dies_late_or_in_the_midst_of_a_large_message_loses_nothing() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).workers(1).build().unwrap();
        let bytes = pool.task::<Vec<u8>, Vec<u8>>("bytes").unwrap();
        let large = vec![5; 8 << 20];
        let futures: Vec<_> = (0..4).map(|_| bytes.submit(&large).unwrap()).collect();
        pool.close();
        for pid in pool.worker_pids() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            // It may have ended by itself.
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
        }
        assert!(futures.iter().all(|future| future.result().as_deref() == Ok(&large[..])), "they run again");
        pool.join().unwrap();
    });
}

#[test]
fn b77_submitting_never_waits_for_a_worker_that_does_not_read() {
    bounded(|| {
        let (pool, work) = slow();
        let busy = work.submit(&300_000).unwrap();
        until("it runs", || busy.running());
        let many: Vec<_> = (0..9_000).map(|_| work.submit(&1).unwrap()).collect();
        assert!(!busy.done(), "all were submitted while the worker was busy");
        pool.shutdown(true, true);
        assert!(many.iter().all(|future| future.done()));
    });
}

#[test]
fn b107_b108_b109_b110_a_process_has_an_end_that_can_be_waited_for() {
    bounded(|| {
        let guest = load(WPOOL, wpool_tests::SLOW_WORK);
        let long = Process::builder(guest.clone()).start::<u32, u64>("work", &4_000_000_000).unwrap();
        assert!(long.is_alive() && long.exit_code().is_none());
        let long_pid = long.pid();
        assert!(!long.join(Duration::ZERO) && !long.join(MS));
        let (error, long) = long.close().unwrap_err();
        assert!(error.to_string().starts_with("the process is still running"));
        long.terminate();
        assert!(long.join(None));
        assert_eq!((long.exit_code(), long.is_alive()), (Some(-15), false));
        assert!(long.close().is_ok());

        let killed = Process::builder(guest.clone()).start::<u32, u64>("work", &4_000_000_000).unwrap();
        let pid = killed.pid().expect("it has started");
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists() && Some(pid) != long_pid);
        killed.kill();
        let mut sentinels = [PollFd::new(&killed, PollFlags::IN)];
        let bound = Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(
            rustix::event::poll(&mut sentinels, Some(&bound)).unwrap(),
            1,
            "its sentinel wakes who waits"
        );
        assert_eq!((killed.exit_code(), killed.pid()), (Some(-9), Some(pid)), "it keeps its id");

        let quick = Process::builder(guest.clone()).start::<u32, u64>("work", &1).unwrap();
        assert!(quick.result().is_ok() && quick.join(None));
        assert_eq!((quick.exit_code(), quick.name()), (Some(0), "work"));
        assert!(quick.as_fd().try_clone_to_owned().is_ok());
        let failed =
            Process::builder(load(WPOOL, wpool_tests::FAIL_ERROR)).start::<i64, i64>("half", &3).unwrap();
        assert!(failed.join(None) && failed.exit_code() == Some(1));
        let wrong = Process::builder(guest).start::<u32, u64>("wrok", &1).unwrap_err();
        assert!(wrong.to_string().contains("did you mean `work`?"), "{wrong}");
    });
}

#[test]
fn b111_a_daemon_ends_with_its_handle_and_others_are_waited_for() {
    bounded(|| {
        let guest = load(WPOOL, wpool_tests::SLOW_WORK);
        let began = Instant::now();
        let daemon =
            Process::builder(guest.clone()).daemon(true).start::<u32, u64>("work", &4_000_000_000).unwrap();
        drop(daemon);
        assert!(began.elapsed() < Duration::from_secs(60));
        let waited_for = Process::builder(guest).start::<u32, u64>("work", &200_000).unwrap();
        let future = waited_for.as_fd().try_clone_to_owned().unwrap();
        drop(waited_for);
        let mut ended = [PollFd::new(&future, PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap(), 1);
    });
}

#[test]
fn b113_b114_two_guests_share_nothing_and_errors_keep_their_types() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_STATE)
            .isolation(wpool::Isolation::Worker)
            .workers(2)
            .build()
            .unwrap();
        let other = pool
            .load(
                load(WPOOL, wpool_tests::OK_STATE),
                &GuestSettings::new().isolation(wpool::Isolation::Worker),
            )
            .unwrap();
        let note =
            |name: &str| pool.task::<String, Vec<String>>("note").unwrap().apply(&name.to_owned()).unwrap();
        note("secret");
        let seen = other.task::<String, Vec<String>>("note").unwrap().apply(&"spy".to_owned()).unwrap();
        assert_eq!(seen, Vec::<String>::new());
    });
}

#[test]
fn b115_what_a_finished_task_has_put_stays_in_the_queue() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_OBJECTS).workers(1).max_tasks_per_worker(1).build().unwrap();
        let queue: wpool::Queue<u32> = pool.manager().queue(10);
        let produce = pool.task::<(u32, wpool::Sender<u32>), ()>("produce").unwrap();
        produce.apply(&(3, queue.sender())).unwrap();
        until("its worker is gone, too", || pool.stats().workers_started == 2 || pool.stats().workers == 0);
        assert_eq!(queue.get_many(10), Ok(vec![0, 1, 2]));
    });
}

/// A stream is polled where it is, and wakes who awaits it.
#[test]
fn a_map_is_a_stream() {
    use futures_core::Stream as _;
    use std::task::{Context, Poll, Wake};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    bounded(|| {
        let (_pool, square) = squares();
        let mut map = std::pin::pin!(square.map(0..1000));
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut context = Context::from_waker(&waker);
        let mut sum = 0;
        loop {
            match map.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(value)) => sum += value.unwrap(),
                Poll::Ready(None) => break,
                Poll::Pending => std::thread::park(),
            }
        }
        assert_eq!(sum, (0..1000).map(|n| n * n).sum::<i64>());
        let (_slow, work) = slow();
        let given_up = work.submit(&40_000_000).unwrap();
        until("it runs", || given_up.running());
        let waiting = work.submit(&1).unwrap();
        drop(waiting.clone().cancel_on_drop());
        assert_eq!(waiting.result(), Err(TaskError::Cancelled));
        given_up.kill();
    });
}
