use std::cell::Cell;
use std::sync::mpsc::{self, TryRecvError};
use std::task::Poll;
use std::time::Duration;

use wpool::TaskError;
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
            let waiting = scope.spawn(|| map.next().is_none());
            canceller.cancel();
            assert!(waiting.join().unwrap());
        });
        drop((map, sender));
        let (sender, inputs) = mpsc::channel();
        let square = square.map_timeout(Duration::from_millis(50));
        let mut map = polled(&square, inputs);
        let cut_off = map.next().unwrap().1.result.unwrap_err();
        assert!(matches!(cut_off, TaskError::MapTimeout { pulled: 0, .. }), "{cut_off:?}");
        assert!(map.next().is_none());
        drop(sender);
    });
}
