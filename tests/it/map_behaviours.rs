use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde::Serialize;
use wpool::{ApplyError, Clock, MapError, NotYet, Schema, SubmitError, TaskError, TypeTable};
use wpool_tests::{bounded, pool};

use crate::behaviours::{MS, slow, squares};
use crate::{WPOOL, until};

#[test]
fn b23_the_time_of_a_map_counts_from_its_call() {
    bounded(|| {
        let (_pool, work) = slow();
        work.apply(&1).unwrap();
        // Each result comes long before the limit, all of them long after it.
        let limit = 300 * MS;
        let results: Vec<_> = work.clone().map_timeout(limit).map([100_000; 100]).collect();
        let whole = results.iter().filter(|result| result.is_ok()).count();
        assert!(whole < 100, "all {whole} have a result");
        let over = Err(TaskError::Timeout { clock: Clock::Total, limit });
        assert!(results[whole..].contains(&over), "{:?}", results.last());
        // A reader that comes late has used the time as well.
        let (limit, began) = (1000 * MS, Instant::now());
        let mut map = work.map_timeout(limit).map([4_000_000_000]);
        until("the time is over", || began.elapsed() > limit + 100 * MS);
        let asked = Instant::now();
        assert_eq!(map.next(), Some(Err(TaskError::Timeout { clock: Clock::Total, limit })));
        assert!(asked.elapsed() < limit / 2, "it had its time: {:?}", asked.elapsed());
    });
}

#[test]
fn b24_b25_the_time_of_a_map_is_not_that_of_a_task() {
    bounded(|| {
        let (pool, work) = slow();
        work.apply(&1).unwrap();
        let limit = 200 * MS;
        let began = Instant::now();
        let mut map = work.clone().map_timeout(limit).map([1, 40_000_000, 40_000_000]);
        assert!(map.next().unwrap().is_ok());
        let over = Some(Err(TaskError::Timeout { clock: Clock::Total, limit }));
        assert_eq!((map.next(), map.next(), map.next()), (over.clone(), over, None));
        assert!(began.elapsed() >= limit);
        until("the rest is gone", || pool.stats().in_flight == 0 && pool.stats().queued == 0);
        let own = work.timeout(50 * MS).map_timeout(Duration::from_secs(60)).map([40_000_000]).next();
        assert_eq!(own, Some(Err(TaskError::Timeout { clock: Clock::Run, limit: 50 * MS })));
    });
}

#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize, Schema)]
#[serde(rename_all = "snake_case")]
enum Deed {
    Fine,
    Loop,
    MemoryBomb,
    Panic,
    Trap,
    StackOverflow,
    HugeResult,
}

#[test]
fn b35_the_list_of_a_map_is_whole_or_its_first_error_when_all_have_ended() {
    bounded(|| {
        let (_pool, square) = squares();
        assert_eq!(square.map_list(0..4).unwrap(), [0, 1, 4, 9]);
        let limit = 500 * MS;
        let pool = pool(WPOOL, wpool_tests::FAIL_MIXED).timeout(limit).build().unwrap();
        let act = pool.task::<Deed, Vec<u8>>("act").unwrap();
        act.apply(&Deed::Fine).unwrap();
        let began = Instant::now();
        let deeds = [Deed::Fine, Deed::Panic, Deed::Loop, Deed::Trap];
        let MapError { index, error } = act.map_list(deeds).unwrap_err();
        let (took, stats) = (began.elapsed(), pool.stats());
        assert!(index == 1 && matches!(error, TaskError::Panic { .. }), "{index}: {error}");
        assert!(took >= limit, "the first error, but not before the last task has ended: {took:?}");
        assert_eq!((stats.succeeded, stats.failed, stats.in_flight, stats.queued), (2, 3, 0, 0));
    });
}

#[test]
fn b39_an_input_that_fails_half_way_costs_no_result_before_it() {
    bounded(|| {
        let (pool, square) = squares();
        let failing = || (0..10).inspect(|n| assert!(*n < 5, "the input fails"));
        let panics = |map: &mut dyn Iterator<Item = Result<i64, TaskError>>| {
            let given = AtomicUsize::new(0);
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                map.for_each(|result| {
                    result.unwrap();
                    given.fetch_add(1, Ordering::Relaxed);
                });
            }));
            let message = panicked.expect_err("the panic of the input is the reader's");
            assert!(message.downcast_ref::<&str>().is_some_and(|text| text.contains("the input fails")));
            given.into_inner()
        };
        let (mut ordered, mut unordered) = (square.map(failing()), square.imap_unordered(failing()));
        assert_eq!((panics(&mut ordered), panics(&mut unordered)), (5, 5));
        assert_eq!((ordered.next(), unordered.next()), (None, None));
        let list = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| square.map_list(failing())));
        assert!(list.is_err(), "a list is not shorter than its input");
        let (sender, told) = channel();
        let list = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            square.map_async(failing(), move |_| sender.send(()).unwrap())
        }));
        assert!(list.is_err() && told.recv().is_err(), "nor one in the background");
        // The results before it come also if they are late.
        let (_slow, work) = slow();
        let mut late =
            work.map([100_000u32, 1].into_iter().chain(std::iter::once_with(|| panic!("too far"))));
        assert!(late.next().unwrap().is_ok() && late.next().unwrap().is_ok());
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| late.next())).is_err());
        assert_eq!(square.apply(&3).unwrap(), 9, "the pool goes on");
        let raw = pool.raw_task("square").unwrap();
        let three = || raw.signature().arguments_from_json(b"3").unwrap();
        let inputs = [Ok(three()), Err("no second".to_owned()), Ok(three())];
        let results: Vec<_> = raw.map(inputs).map(|(_, completed)| completed.result).collect();
        assert!(results.len() == 3 && results[0].is_ok() && results[2].is_ok());
        assert_eq!(results[1], Err(TaskError::BadArguments { message: "no second".to_owned() }));
    });
}

#[test]
fn b41_b43_results_of_a_map_can_be_had_together() {
    bounded(|| {
        let (pool, square) = squares();
        let (sender, told) = channel();
        let all = square.map_async(0..1000, move |result| sender.send(result.clone()).unwrap());
        let expected: Vec<i64> = (0..1000).map(|n| n * n).collect();
        assert_eq!(all.get(), Ok(expected.clone()));
        assert_eq!(told.recv().unwrap(), Ok(expected), "the whole list");
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
        let (sender, told) = channel();
        let failed = half.map_async([2, -4, 3], move |result| sender.send(result.clone()).unwrap());
        let error = failed.get().unwrap_err();
        assert_eq!((error.index, error.error.to_string().as_str()), (1, "below zero by 4"));
        assert_eq!((told.recv().unwrap(), failed.successful()), (Err(error), Some(false)));
        assert!(told.recv().is_err());
        let (slow_pool, work) = slow();
        let long = work.map_async([4_000_000_000], |_| {});
        let began = Instant::now();
        assert_eq!(long.get_timeout(20 * MS), Err(NotYet(20 * MS)));
        assert!(began.elapsed() >= 20 * MS);
        assert!(!long.wait(MS) && !long.ready() && long.successful().is_none());
        slow_pool.terminate();
        assert_eq!(long.get().unwrap_err().error, TaskError::PoolClosed);
    });
}

#[derive(Debug, PartialEq, Serialize, serde::Deserialize, Schema)]
enum Problem {
    Negative { by: i64 },
    Odd,
}

#[test]
fn b42_a_callback_for_errors_gets_the_error_itself() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::FAIL_ERROR).build().unwrap();
        let half = pool.task::<i64, i64>("half").unwrap();
        let outcome = |number: i64| {
            let (sender, told) = channel();
            let errors = sender.clone();
            half.apply_async(
                &number,
                move |value: i64| sender.send(Ok(value)).unwrap(),
                move |error: TaskError| errors.send(Err(error)).unwrap(),
            )
            .unwrap();
            let first = told.recv().unwrap();
            assert!(told.recv().is_err(), "one of the two is called, once");
            first
        };
        assert_eq!(outcome(8), Ok(4));
        let (negative, odd) = (outcome(-5), outcome(7));
        let problem = |outcome| match outcome {
            Err(TaskError::Guest(error)) => error.decode::<Problem>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(problem(negative), Some(Problem::Negative { by: 5 }));
        assert_eq!(problem(odd), Some(Problem::Odd));
    });
}

/// A number that serde cannot write if it is seven.
#[derive(Debug, Clone, Copy)]
struct NotSeven(i64);

impl Serialize for NotSeven {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 7 {
            return Err(serde::ser::Error::custom("seven cannot be written"));
        }
        self.0.serialize(serializer)
    }
}

impl Schema for NotSeven {
    fn describe(types: &mut TypeTable) -> u32 {
        i64::describe(types)
    }
}

#[test]
fn b70_arguments_that_cannot_be_written_fail_alone() {
    bounded(|| {
        let (pool, _) = squares();
        let square = pool.task::<NotSeven, i64>("square").unwrap();
        let before = square.submit(&NotSeven(6)).unwrap();
        let refused = square.submit(&NotSeven(7)).unwrap_err();
        assert!(matches!(refused, SubmitError::Encode { .. }), "{refused:?}");
        assert!(refused.to_string().starts_with("the arguments cannot be encoded: "), "{refused}");
        assert!(matches!(square.try_submit(&NotSeven(7)), Err(SubmitError::Encode { .. })));
        assert!(matches!(square.apply(&NotSeven(7)), Err(ApplyError::Submit(SubmitError::Encode { .. }))));
        assert_eq!(before.result(), Ok(36));
        for chunk in [None, Some(4)] {
            let square = square.clone().chunk(chunk).unwrap();
            let results: Vec<_> = square.map((0..10).map(NotSeven)).collect();
            for (n, result) in (0..).zip(&results) {
                let fits = match result {
                    Ok(value) => n != 7 && *value == n * n,
                    Err(TaskError::BadArguments { message }) => n == 7 && !message.is_empty(),
                    Err(_) => false,
                };
                assert!(fits, "{n}: {result:?}");
            }
            assert_eq!(results.len(), 10);
        }
        assert_eq!(square.map_list((5..9).map(NotSeven)).unwrap_err().index, 2);
        assert_eq!(pool.stats().workers_lost, 0);
        // Those that the limits forbid are refused as soon.
        let mut limits = wpool::Limits::default();
        limits.arguments = 100;
        let echo = wpool_tests::pool(WPOOL, wpool_tests::OK_ECHO).limits(limits).build().unwrap();
        let bytes = echo.task::<Vec<u8>, Vec<u8>>("bytes").unwrap();
        let refused = bytes.submit(&vec![0; 1000]).unwrap_err();
        assert_eq!(refused.to_string(), "the arguments have 1002 bytes, 100 are allowed");
        let mixed: Vec<_> = bytes.map([vec![1], vec![0; 1000], vec![2]]).collect();
        assert!(mixed[0].is_ok() && mixed[2].is_ok(), "{mixed:?}");
        assert!(matches!(mixed[1], Err(TaskError::BadArguments { .. })), "{mixed:?}");
    });
}

#[test]
fn b71_b73_b74_arguments_and_results_that_cannot_travel_are_errors_of_their_tasks() {
    bounded(|| {
        let mut limits = wpool::Limits::default();
        limits.result = 200;
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).limits(limits).build().unwrap();
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
        let bytes = pool.task::<Vec<u8>, Vec<u8>>("bytes").unwrap();
        assert_eq!(bytes.apply(&vec![7]).unwrap(), [7]);
    });
}
