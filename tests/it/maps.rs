use std::cell::Cell;
use std::sync::mpsc::{self, TryRecvError};
use std::task::Poll;
use std::time::Duration;

use wpool::{MapEnd, PendingTasks, Pool, TaskError, Wait};
use wpool_tests::{bounded, pool};

use crate::WPOOL;

#[test]
fn results_come_in_the_order_of_the_inputs() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let results: Result<Vec<i64>, TaskError> = square.map(0..100_000).collect();
        assert!(results.unwrap().into_iter().eq((0..100_000).map(|n| n * n)));
        assert_eq!(square.map(std::iter::empty()).count(), 0);
    });
}

#[test]
fn unordered_results_come_once_each() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let mut results: Vec<i64> = square.imap_unordered(0..20_000).map(Result::unwrap).collect();
        results.sort_unstable();
        assert!(results.into_iter().eq((0..20_000).map(|n| n * n)));
    });
}

#[test]
fn every_task_starts_in_a_new_instance() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_COUNT_VISITS).build().unwrap();
        let visit = pool.task::<u32, u32>("visit").unwrap();
        assert!(visit.map(0..5000).all(|visits| visits == Ok(1)));
    });
}

#[test]
fn input_is_pulled_as_far_as_the_buffer_and_no_further() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap().buffer(10).unwrap();
        let pulled = Cell::new(0i64);
        let endless = (0..).inspect(|n| pulled.set(*n + 1));
        for (given, result) in (0i64..).zip(square.map(endless)).take(1000) {
            assert_eq!(result, Ok(given * given));
            assert!(pulled.get() <= given + 11, "{} pulled, {given} given", pulled.get());
        }
    });
}

#[test]
fn a_map_that_is_dropped_cancels_the_rest() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let mut map = work.map(std::iter::repeat(1000));
        assert!(map.next().unwrap().is_ok());
        drop(map);
        pool.close();
        pool.join().unwrap();
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.succeeded + stats.failed);
        assert!(stats.failed > 0, "something was cancelled: {stats:?}");
    });
}

#[test]
fn an_input_that_panics_leaves_the_pool_usable() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let input = (0..1000).inspect(|n| assert!(*n < 500, "no more"));
        let mapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| square.map(input).count()));
        assert!(mapped.is_err());
        assert_eq!(square.submit(&5).unwrap().result(), Ok(25));
    });
}

#[test]
fn two_maps_share_a_pool() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let pairs = square.map(0..5000).zip(square.map(5000..10_000));
        for (n, (a, b)) in (0i64..).zip(pairs) {
            assert_eq!((a, b), (Ok(n * n), Ok((n + 5000) * (n + 5000))));
        }
    });
}

#[test]
fn a_long_task_holds_up_nobody() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        // Short ones first, so that the long one is sent ahead in the middle of a batch.
        let inputs = (0..400u32).map(|n| if n == 200 { 200_000 } else { 10 });
        let mut long = None;
        let mut after = 0;
        for (place, completed) in
            pool.raw_task("work").unwrap().imap_unordered(inputs.map(|n| Ok(varint(n)))).by_ref()
        {
            assert!(completed.result.is_ok());
            match long {
                None if place == 200 => long = Some(completed.figures.run),
                Some(_) => after += 1,
                None => {}
            }
        }
        assert!(long.is_some());
        assert!(after < 50, "{after} short tasks came after the long one");
        drop(work);
    });
}

/// A `u32` in postcard.
fn varint(mut n: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[test]
fn a_map_gets_all_its_inputs_though_its_pool_is_closed_or_dropped() {
    bounded(|| {
        // More inputs than a map pulls ahead, so that most are pulled after the end of the pool's handle.
        let all: Vec<i64> = (0..30_000).collect();
        let ends: [fn(&Pool); 3] =
            [Pool::close, |pool| pool.shutdown(Wait::Join, PendingTasks::Finish), |_| ()];
        for end in ends {
            let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
            let mut map = pool.task::<i64, i64>("square").unwrap().imap(all.clone());
            end(&pool);
            drop(pool);
            let values: Result<Vec<i64>, TaskError> = map.by_ref().collect();
            assert!(values.unwrap().into_iter().eq(all.iter().map(|n| n * n)));
            assert_eq!(map.ended(), Some(MapEnd::Complete));
        }
    });
}

#[test]
fn a_pool_that_is_joined_waits_for_what_a_map_has_pulled() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let map = square.map(0..100_000);
        pool.close();
        pool.join().unwrap();
        let stats = pool.stats();
        assert!(stats.queued == 0 && stats.in_flight == 0 && stats.succeeded > 0, "{stats:?}");
        assert_eq!(map.map(Result::unwrap).count(), 100_000);
        // Its reader is gone, so the workers go, too.
        pool.join().unwrap();
        assert!(pool.worker_pids().is_empty());
    });
}

#[test]
fn a_map_whose_pool_is_ended_says_so_after_what_it_has_pulled() {
    bounded(|| {
        type End = fn(&Pool);
        let ends: [(End, &str); 3] = [
            (Pool::terminate, "`terminate`"),
            (|pool| pool.shutdown(Wait::Return, PendingTasks::Cancel), "`shutdown`"),
            (|pool| assert!(!pool.drain(Duration::ZERO)), "`drain`"),
        ];
        for (end, by) in ends {
            let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
            let mut map = pool.task::<i64, i64>("square").unwrap().map(0..);
            map.next().unwrap().unwrap();
            end(&pool);
            let results: Vec<_> = map.by_ref().collect();
            let (last, pulled) = results.split_last().unwrap();
            let (end, pulled) = (MapEnd::PoolClosed(by), pulled.len() as u64 + 1);
            assert_eq!(*last, Err(TaskError::MapEnded { end, pulled }));
            assert!(last.as_ref().unwrap_err().to_string().contains(by));
            assert_eq!((map.next(), map.ended()), (None, Some(end)));
            let late: Vec<_> = pool.task::<i64, i64>("square").unwrap().map(0..5).collect();
            assert_eq!(late, [Err(TaskError::MapEnded { end, pulled: 0 })], "it takes nothing more");
        }
    });
}

#[test]
fn an_early_end_is_told_once_and_an_end_is_not() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let mut whole = square.map(0..3);
        assert_eq!(whole.ended(), None);
        assert_eq!(whole.by_ref().collect::<Result<Vec<_>, _>>(), Ok(vec![0, 1, 4]));
        assert_eq!(whole.ended(), Some(MapEnd::Complete));
        let mut cancelled = square.map(0..);
        cancelled.canceller().cancel();
        let last = cancelled.by_ref().last().unwrap().unwrap_err();
        assert!(matches!(last, TaskError::MapEnded { end: MapEnd::Cancelled, .. }), "{last}");
        assert_eq!(cancelled.ended(), Some(MapEnd::Cancelled));
        let mut closed = square.map(0..);
        closed.close();
        assert_eq!((closed.next(), closed.ended()), (None, Some(MapEnd::Closed)));
        let late = square.map_timeout(Duration::ZERO).map_async(vec![1, 2, 3], |_| ()).get().unwrap_err();
        assert!(matches!(late.error, TaskError::MapEnded { .. } | TaskError::Timeout { .. }), "{late}");
    });
}

/// A map over inputs of a channel, which the caller wakes.
fn polled(
    task: &wpool::RawTask,
    inputs: std::sync::mpsc::Receiver<i64>,
) -> wpool::RawMap<impl Iterator<Item = Poll<Result<Vec<u8>, String>>>> {
    let signature = task.signature().clone();
    task.map_polled(std::iter::from_fn(move || match inputs.try_recv() {
        Ok(number) => {
            let arguments = signature.arguments_from_json(number.to_string().as_bytes());
            Some(Poll::Ready(Ok(arguments.unwrap())))
        }
        Err(TryRecvError::Empty) => Some(Poll::Pending),
        Err(TryRecvError::Disconnected) => None,
    }))
}

#[test]
fn results_do_not_wait_for_an_input_that_does_not_come() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.raw_task("square").unwrap();
        let (sender, inputs) = mpsc::channel();
        let mut map = polled(&square, inputs);
        let waker = map.input_waker();
        assert!(map.next_timeout(Duration::ZERO).is_err(), "there is no input");
        for number in 0..3 {
            sender.send(number).unwrap();
            waker.wake_by_ref();
            let (index, completed) = map.next().unwrap();
            assert_eq!((index, completed.result.is_ok()), (u64::try_from(number).unwrap(), true));
        }
        // The wait for an input ends with that input, the end of them, and the end of the map.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| map.next().map(|(index, _)| index));
            sender.send(3).unwrap();
            waker.wake_by_ref();
            assert_eq!(waiting.join().unwrap(), Some(3));
        });
        drop(sender);
        waker.wake_by_ref();
        assert!(map.next().is_none());
    });
}

#[test]
fn a_map_that_waits_for_an_input_can_be_cancelled_and_cut_off() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.raw_task("square").unwrap();
        let (sender, inputs) = mpsc::channel();
        let mut map = polled(&square, inputs);
        let canceller = map.canceller();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| map.next().map(|(_, completed)| completed.result));
            canceller.cancel();
            let ended = Err(TaskError::MapEnded { end: MapEnd::Cancelled, pulled: 0 });
            assert_eq!(waiting.join().unwrap(), Some(ended));
        });
        drop((map, sender));
        let (sender, inputs) = mpsc::channel();
        let square = square.map_timeout(Duration::from_millis(50));
        let mut map = polled(&square, inputs);
        let cut_off = map.next().unwrap().1.result.unwrap_err();
        assert!(matches!(cut_off, TaskError::MapEnded { end: MapEnd::Timeout(_), pulled: 0 }), "{cut_off:?}");
        assert!(map.next().is_none());
        drop(sender);
    });
}

/// A result of a mebibyte or more for each index.
fn mebibytes(
    pool: &Pool,
    count: u32,
) -> wpool::Map<impl Iterator<Item = (String, u32, Option<char>)>, String> {
    let repeat = pool.task::<(String, u32, Option<char>), String>("repeat").unwrap();
    repeat.map((0..count).map(|n| (n.to_string(), 1 << 20, None)))
}

#[test]
fn results_that_nobody_takes_hold_back_further_tasks() {
    const MANY: u32 = 400;
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).workers(2).build().unwrap();
        let mut map = mebibytes(&pool, MANY);
        let first = map.next().unwrap().unwrap();
        // All are submitted, as their arguments are few bytes. No task runs when the counter stands still for long.
        let done = || pool.stats().succeeded;
        let before = Cell::new(0);
        crate::until("no further task ends", || {
            std::thread::sleep(Duration::from_millis(200));
            before.replace(done()) == done()
        });
        assert!(done() < u64::from(MANY) / 2, "{} results of a mebibyte or more are held", done());
        // The reader gets all of them, in their order, also after the pool was closed and joined.
        pool.close();
        pool.join().unwrap();
        let rest: Vec<String> = map.map(Result::unwrap).collect();
        assert_eq!((first.as_str().len(), rest.len()), (1 << 20, MANY as usize - 1));
        assert!(rest.iter().zip(1..MANY).all(|(text, n)| text.starts_with(&n.to_string())));
    });
}

#[test]
fn results_that_are_gathered_or_cancelled_are_not_held_back() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).workers(2).build().unwrap();
        let repeat = pool.task::<(String, u32, Option<char>), String>("repeat").unwrap();
        let inputs = || (0..150).map(|_| ("x".to_owned(), 1 << 20, None));
        let gathered = repeat.map_async(inputs(), |_| {}).get().unwrap();
        assert_eq!(gathered.len(), 150);
        drop(repeat.map(inputs()));
        let unordered = repeat.imap_unordered(inputs()).filter(Result::is_ok).count();
        assert_eq!(unordered, 150);
    });
}
