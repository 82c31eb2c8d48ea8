use std::collections::HashSet;
use std::io::Write;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wpool::{
    NotYet, ReturnWhen, SharedArray, SharedSlice, Status, TaskError, TaskFuture, as_completed, wait,
};
use wpool_tests::{bounded, pool};

use crate::behaviours::{MS, slow, squares};
use crate::{WPOOL, call, until};

#[test]
fn b01_b02_b17_arguments_arrive_and_values_come_back() {
    bounded(|| {
        let (pool, square) = squares();
        assert_eq!(square.submit(&-3).unwrap().result(), Ok(9));
        drop(pool);
        let echo = wpool_tests::pool(WPOOL, wpool_tests::OK_ECHO).build().unwrap();
        let repeat = echo.task::<(String, u32, Option<char>), String>("repeat").unwrap();
        assert_eq!(repeat.apply(&("ab".into(), 2, Some('!'))).unwrap(), "abab!");
        // Names that a pool's own methods have, and words of the language, are ordinary names of parameters.
        let named = echo.raw_task("named").unwrap();
        let names: Vec<&str> = named.signature().parameters().map(|(name, _)| name).collect();
        assert_eq!(names, ["fn", "task", "timeout", "arguments"]);
        let by_name = br#"{"arguments": 4, "timeout": 3, "fn": 1, "task": 2}"#;
        let arguments = named.signature().arguments_from_json(by_name).unwrap();
        let completed = named.submit(arguments).unwrap().completed();
        let bytes = completed.result.as_ref().unwrap();
        let mut json = Vec::new();
        named.signature().value_to_json(bytes, &mut json).unwrap();
        assert_eq!(json, b"[1,2,3,4]");
        // An error without words is an error.
        let error = wpool_tests::pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let parse = error.task::<String, i32>("parse").unwrap().submit(&String::new()).unwrap();
        assert!(matches!(parse.result(), Err(TaskError::Guest(_))));
    });
}

/// What is logged as an error, by the whole program: the callback thread belongs to no test.
static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Logged;

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn b11_b12_b13_callbacks_come_in_order_once_and_one_that_fails_stops_nobody() {
    // No other test of this program sets one.
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Logged).init();
    bounded(|| {
        let (_pool, work) = slow();
        let future = work.submit(&100_000).unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let calls = Arc::clone(&calls);
            move |future: &TaskFuture<u64>| {
                assert!(future.done());
                calls.lock().unwrap().push((name, std::thread::current().id()));
            }
        };
        future.add_done_callback(note("first"));
        future.add_done_callback(|_| panic!("one that fails before the end"));
        future.add_done_callback(note("second"));
        future.result().unwrap();
        let (sender, receiver) = channel();
        // One that comes late is called at once, on the callbacks' thread, after those before it.
        future.add_done_callback(|_| panic!("one that fails after the end"));
        future.add_done_callback(note("late"));
        future.add_done_callback(move |_| sender.send(()).unwrap());
        receiver.recv().unwrap();
        let calls = calls.lock().unwrap();
        assert_eq!(calls.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["first", "second", "late"]);
        assert!(
            calls.iter().all(|(_, thread)| *thread == calls[0].1 && *thread != std::thread::current().id())
        );
        let logged = String::from_utf8(LOGGED.lock().unwrap().clone()).unwrap();
        for message in ["one that fails before the end", "one that fails after the end"] {
            let line = logged.lines().find(|line| line.contains(message));
            let line = line.unwrap_or_else(|| panic!("`{message}` is not in the log: {logged}"));
            assert!(line.contains("ERROR") && line.contains("a callback panicked"), "{line}");
        }
    });
}

/// How far a future has come. No look may show less than an earlier one.
fn stage(status: Status) -> u32 {
    match status {
        Status::Pending => 0,
        Status::Running => 1,
        Status::Cancelled | Status::Finished => 2,
    }
}

#[test]
fn b15_what_many_threads_see_of_a_future_fits_together() {
    bounded(|| {
        let (_pool, work) = slow();
        for n in 0..300 {
            let future = work.submit(&(n % 7)).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| watch_to_its_end(&future));
                }
                if n % 3 == 0 {
                    future.cancel();
                }
            });
        }
    });
}

/// Looks at a future until it has ended: each look fits the one before, and all parts of a look fit each other.
fn watch_to_its_end(future: &TaskFuture<u64>) {
    let mut seen = Status::Pending;
    loop {
        let (done, status) = (future.done(), future.status());
        assert!(stage(status) >= stage(seen), "{status:?} after {seen:?}");
        assert!(!done || stage(status) == 2, "it has ended, and is {status:?}");
        seen = status;
        if stage(status) == 2 {
            break;
        }
        assert!(!done);
        assert!(seen != Status::Running || !future.cancelled());
    }
    assert!(future.done() && !future.running());
    let cancelled = seen == Status::Cancelled;
    assert_eq!((future.status(), future.cancelled()), (seen, cancelled), "an end is an end");
    let result = future.result_timeout(Duration::ZERO).expect("the result is there with the end");
    assert_eq!((result.is_ok(), result == Err(TaskError::Cancelled)), (!cancelled, cancelled));
    assert_eq!(future.figures().unwrap().worker.is_some(), !cancelled);
    assert!(future.log().is_some());
}

#[test]
fn b16_the_debug_form_tells_the_state_and_the_kind_of_error() {
    bounded(|| {
        let (_pool, work) = slow();
        let running = work.submit(&4_000_000_000).unwrap();
        until("it runs", || running.running());
        let pending = work.submit(&1).unwrap();
        let state = |future: &TaskFuture<u64>| {
            let text = format!("{future:?}");
            let (_, state) = text.split_once("state: \"").unwrap_or_else(|| panic!("{text}"));
            state.split('"').next().unwrap().to_owned()
        };
        assert_eq!((state(&running), state(&pending)), ("running".to_owned(), "pending".to_owned()));
        pending.cancel();
        running.kill();
        assert_eq!(running.result(), Err(TaskError::Killed));
        assert_eq!(
            (state(&running).as_str(), state(&pending).as_str()),
            ("failed (killed): killed", "cancelled")
        );
        let short = work.submit(&0).unwrap();
        short.result().unwrap();
        assert_eq!(state(&short), "finished with 1 bytes");
        assert!(format!("{short:?}").contains(&format!("id: {}", short.id().0)));
    });
}

#[test]
fn b44_b46_b47_b48_several_futures_are_waited_for() {
    bounded(|| {
        let (_pool, square) = squares();
        let (_slow, work) = slow();
        let quick = square.submit(&2).unwrap();
        quick.result().unwrap();
        let endless = work.submit(&4_000_000_000).unwrap();
        let futures = || [endless.erased(), quick.erased(), endless.erased()];
        let ids = |futures: &[TaskFuture<_>]| futures.iter().map(TaskFuture::id).collect::<Vec<_>>();
        let waited = wait(futures(), ReturnWhen::FirstCompleted, None);
        assert_eq!((ids(&waited.done), waited.not_done.len()), (vec![quick.id()], 1), "twice counts once");
        let began = Instant::now();
        let waited = wait(futures(), ReturnWhen::AllCompleted, 50 * MS);
        assert!(began.elapsed() >= 50 * MS, "one that has ended is not all");
        assert_eq!((ids(&waited.done), waited.not_done.len()), (vec![quick.id()], 1), "no error, but a part");
        endless.kill();
        // All have ended when it returns: none is left, and in the order in which they were given.
        let more: Vec<_> = [200_000, 1, 100_000].iter().map(|n| work.submit(n).unwrap()).collect();
        let waited = wait(more.clone(), ReturnWhen::AllCompleted, None);
        assert!(waited.not_done.is_empty() && more.iter().all(TaskFuture::done));
        let order = |futures: &[TaskFuture<u64>]| futures.iter().map(TaskFuture::id).collect::<Vec<_>>();
        assert_eq!(order(&waited.done), order(&more));
        assert!(wait(Vec::<TaskFuture<i64>>::new(), ReturnWhen::AllCompleted, None).done.is_empty());
        // An error does not end it.
        let halves = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let failing = halves.task::<i64, i64>("half").unwrap().submit(&3).unwrap();
        failing.exception().unwrap();
        let later = work.submit(&100_000).unwrap();
        let waited = wait([failing.erased(), later.erased()], ReturnWhen::AllCompleted, None);
        assert!(waited.not_done.is_empty() && later.done());
    });
}

#[test]
fn b45_the_first_exception_ends_a_wait_and_nothing_less_does() {
    bounded(|| {
        let halves = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = halves.task::<i64, i64>("half").unwrap();
        let (_slow, work) = slow();
        let endless = work.submit(&4_000_000_000).unwrap();
        let behind = work.submit(&1).unwrap();
        let good = half.submit(&4).unwrap();
        good.result().unwrap();
        // One that fails while others go on ends the wait: it does not wait for all.
        let failing = half.submit(&3).unwrap();
        let futures = [endless.erased(), good.erased(), failing.erased()];
        let waited = wait(futures, ReturnWhen::FirstException, None);
        assert!(!endless.done() && waited.done.iter().any(|future| future.id() == failing.id()));
        assert_eq!((waited.done.len(), waited.not_done.len()), (2, 1));
        assert_eq!(waited.not_done[0].id(), endless.id());
        // Neither a value nor a cancellation does.
        assert!(behind.cancel());
        let began = Instant::now();
        let futures = [endless.erased(), good.erased(), behind.erased()];
        let waited = wait(futures, ReturnWhen::FirstException, 50 * MS);
        assert!(began.elapsed() >= 50 * MS, "it waited for as long as it might");
        assert_eq!((waited.done.len(), waited.not_done.len()), (2, 1));
        // Without a failure it waits for all.
        endless.kill();
        assert_eq!(endless.result(), Err(TaskError::Killed));
        let (short, long) = (work.submit(&1).unwrap(), work.submit(&200_000).unwrap());
        let waited = wait([long.clone(), short], ReturnWhen::FirstException, None);
        assert!(waited.done.len() == 2 && waited.not_done.is_empty() && long.done());
        // A failure that is there already counts as well.
        let waited = wait(
            [failing.erased(), work.submit(&4_000_000_000).unwrap().erased()],
            ReturnWhen::FirstException,
            None,
        );
        assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
        waited.not_done[0].kill();
    });
}

#[test]
fn b49_b53_futures_come_as_they_end() {
    bounded(|| {
        let (_pool, square) = squares();
        let (_slow, work) = slow();
        let endless = work.submit(&4_000_000_000).unwrap();
        let quick: Vec<_> = (0..5).map(|n| square.submit(&n).unwrap()).collect();
        quick.iter().for_each(|future| assert!(future.result().is_ok()));
        until("it runs", || endless.running());
        let mixed = std::iter::once(endless.erased()).chain(quick.iter().map(TaskFuture::erased));
        let mut ended = as_completed(mixed, None);
        let first: HashSet<_> = ended.by_ref().take(5).map(|future| future.unwrap().id()).collect();
        assert_eq!(first.len(), 5);
        assert!(!endless.done(), "those that have ended come before one that has not");
        endless.kill();
        assert_eq!(ended.next().unwrap().unwrap().exception(), Some(TaskError::Killed));
        assert!(ended.next().is_none());
        // Many end while one thread begins to wait for them.
        for round in 0..20 {
            let many: Vec<_> = (0..100).map(|n| square.submit(&n).unwrap()).collect();
            if round % 2 == 0 {
                assert_eq!(as_completed(many, None).filter(Result::is_ok).count(), 100);
            } else {
                assert_eq!(wait(many, ReturnWhen::AllCompleted, None).done.len(), 100);
            }
        }
    });
}

#[test]
fn b50_the_time_of_as_completed_counts_from_its_call() {
    bounded(|| {
        let (_pool, square) = squares();
        let (_slow, work) = slow();
        let quick: Vec<_> = (0..2).map(|n| square.submit(&n).unwrap()).collect();
        quick.iter().for_each(|future| assert!(future.result().is_ok()));
        let endless: Vec<_> = (0..2).map(|_| work.submit(&4_000_000_000).unwrap()).collect();
        let all = quick.iter().map(TaskFuture::erased).chain(endless.iter().map(TaskFuture::erased));
        let (limit, began) = (1000 * MS, Instant::now());
        let mut ended = as_completed(all, limit);
        assert!(ended.next().unwrap().is_ok() && ended.next().unwrap().is_ok());
        until("the time is over", || began.elapsed() > limit);
        let asked = Instant::now();
        let late = ended.next().unwrap().unwrap_err();
        assert!(asked.elapsed() < limit / 2, "it had its time: {:?}", asked.elapsed());
        assert_eq!(late.to_string(), "2 (of 4) futures have not ended within 1s");
        assert!(ended.next().is_none());
        assert_eq!(endless[1].result_timeout(Duration::ZERO), Err(NotYet(Duration::ZERO)), "they go on");
        endless.iter().for_each(TaskFuture::kill);
    });
}

#[test]
fn b52_a_future_that_was_yielded_is_not_kept() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SHARED).shared_memory(8192).build().unwrap();
        let array = || pool.manager().shared_array::<u64>(1000);
        let only: SharedArray<u64> = array().unwrap();
        // The memory lives as long as this result, which has the last handle on it.
        let holder = call::<_, (SharedSlice<u64>, u32)>(&pool, "read_only", &only);
        holder.completed();
        drop(only);
        let (_slow, work) = slow();
        let endless = work.submit(&4_000_000_000).unwrap();
        let mut ended = as_completed([holder.erased(), endless.erased()], None);
        drop(holder);
        let yielded = ended.next().unwrap().unwrap();
        assert!(array().is_err(), "the future that was yielded holds it");
        drop(yielded);
        assert!(array().is_ok(), "the iterator does not");
        endless.kill();
        assert!(ended.next().unwrap().is_ok());
    });
}
