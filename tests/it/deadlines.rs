use std::time::{Duration, Instant};

use wpool::{Clock, MapEnd, Status, TaskError, TaskFuture};
use wpool_tests::{bounded, pool};

use crate::{WPOOL, until};

const SOON: Duration = Duration::from_millis(50);

fn timeout(clock: Clock, limit: Duration) -> TaskError {
    TaskError::Timeout { clock, limit }
}

/// Waits until a task has begun.
fn begun<R>(future: &TaskFuture<R>) {
    let began = Instant::now();
    while future.status() != Status::Running {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", future.status());
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_task_ends_and_its_worker_goes_on() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_END).workers(1).build().unwrap();
        let forever = pool.task::<(), ()>("forever").unwrap();
        let echo = pool.task::<u64, u64>("echo").unwrap();
        echo.submit(&1).unwrap().result().unwrap();
        for _ in 0..5 {
            let endless = forever.submit(&()).unwrap();
            begun(&endless);
            assert!(
                endless.running() && !endless.cancel() && !endless.done(),
                "it cannot be cancelled any more"
            );
            let after = echo.submit(&2).unwrap();
            endless.kill();
            assert_eq!(endless.result(), Err(TaskError::Killed));
            assert_eq!(after.result(), Ok(2));
            assert_eq!(endless.figures().unwrap().worker, after.figures().unwrap().worker);
            endless.kill();
            assert_eq!(endless.exception(), Some(TaskError::Killed), "once is enough");
        }
        assert_eq!(pool.stats().workers_started, 1);
        let waiting = [forever.submit(&()).unwrap(), forever.submit(&()).unwrap()];
        begun(&waiting[0]);
        waiting[1].kill();
        assert_eq!(waiting[1].result(), Err(TaskError::Cancelled), "what has not begun is cancelled");
        waiting[0].kill();
    });
}

#[test]
fn a_task_that_sleeps_is_killed_at_once() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::WASI_STD).workers(1).build().unwrap();
        let sleep = pool.task::<u64, u64>("sleep").unwrap();
        let long = sleep.submit(&1_000_000).unwrap();
        begun(&long);
        assert!(sleep.submit(&1).unwrap().result().is_ok(), "others run meanwhile");
        long.kill();
        assert_eq!(long.result(), Err(TaskError::Killed));
        assert_eq!(pool.stats().workers_started, 1);
    });
}

#[test]
fn what_the_engine_cannot_interrupt_ends_with_its_worker() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_END).workers(1).build().unwrap();
        let fill = pool.task::<(), ()>("fill").unwrap();
        let filling = fill.submit(&()).unwrap();
        begun(&filling);
        filling.kill();
        assert_eq!(filling.result(), Err(TaskError::Killed));
        let late = fill.timeout(SOON).submit(&()).unwrap();
        assert_eq!(late.result(), Err(timeout(Clock::Run, SOON)));
        let echo = pool.task::<u64, u64>("echo").unwrap();
        assert_eq!(echo.submit(&3).unwrap().result(), Ok(3));
    });
}

#[test]
fn with_a_grace_a_task_is_told_and_ends_by_itself() {
    bounded(|| {
        let grace = Duration::from_secs(60);
        let pool = pool(WPOOL, wpool_tests::SLOW_END).workers(1).grace(grace).build().unwrap();
        let told = pool.task::<(), u64>("until_cancelled").unwrap();
        let killed = told.submit(&()).unwrap();
        begun(&killed);
        killed.kill();
        assert!(killed.result().unwrap() > 0, "it returned what it had");
        assert!(told.clone().timeout(SOON).submit(&()).unwrap().result().is_ok(), "its time was over");
        assert!(told.total_timeout(SOON).submit(&()).unwrap().result().is_ok(), "all its time was over");
        assert_eq!(pool.stats().workers_started, 1);
    });
}

#[test]
fn each_clock_ends_one_task_and_says_which_it_was() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_END).workers(1).build().unwrap();
        let forever = pool.task::<(), ()>("forever").unwrap();
        let echo = pool.task::<u64, u64>("echo").unwrap();
        let running = forever.clone().timeout(SOON).submit(&()).unwrap();
        let late = echo.clone().queue_timeout(Duration::from_millis(1)).submit(&1).unwrap();
        let patient = echo.clone().queue_timeout(Duration::from_secs(60)).submit(&2).unwrap();
        assert_eq!(late.result(), Err(timeout(Clock::Queue, Duration::from_millis(1))));
        assert_eq!(running.result(), Err(timeout(Clock::Run, SOON)));
        assert_eq!(patient.result(), Ok(2));
        let long = forever.total_timeout(SOON).submit(&()).unwrap();
        assert_eq!(long.result(), Err(timeout(Clock::Total, SOON)));
        // A clock that has not run out does nothing to a task that has ended.
        let quick = echo.total_timeout(SOON).submit(&3).unwrap();
        assert_eq!(quick.result(), Ok(3));
        assert_eq!(pool.stats().workers_started, 1);
    });
}

#[test]
fn the_time_of_a_map_counts_from_the_call_and_ends_the_rest() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        work.submit(&1).unwrap().result().unwrap();
        let limit = Duration::from_millis(300);
        let inputs = [1, 1].into_iter().chain(std::iter::repeat(40_000_000));
        let results: Vec<_> = work.clone().map_timeout(limit).map(inputs).collect();
        assert!(results[..2].iter().all(Result::is_ok), "what ended in time has its value");
        let (last, cut) = results[2..].split_last().unwrap();
        assert!(cut.iter().all(|result| *result == Err(timeout(Clock::Total, limit))));
        assert!(results.len() <= 8192 + 3, "an endless input is no reason to go on: {}", results.len());
        let pulled = results.len() as u64 - 1;
        assert_eq!(
            *last,
            Err(TaskError::MapEnded { end: MapEnd::Timeout(limit), pulled }),
            "the input may have had more"
        );
        let endless = std::iter::repeat(40_000_000);
        let list = work.clone().map_timeout(limit).buffer(2).unwrap().map_list(endless).unwrap_err();
        assert_eq!((list.index, list.error), (0, timeout(Clock::Total, limit)), "never a short list");
        let mut late = work.clone().map_timeout(limit).buffer(1).unwrap().map([1, 1, 1]);
        let began = Instant::now();
        assert!(late.next().unwrap().is_ok());
        until("its time is over", || began.elapsed() > limit);
        let cut_off = TaskError::MapEnded { end: MapEnd::Timeout(limit), pulled: 1 };
        assert_eq!((late.next(), late.next()), (Some(Err(cut_off)), None), "two inputs were not pulled");
        // Two runs of the same task are told apart: its own timeout is not the map's.
        let own: Vec<_> =
            work.timeout(SOON).map_timeout(Duration::from_secs(60)).map([1, 40_000_000, 1]).collect();
        assert_eq!(own[1], Err(timeout(Clock::Run, SOON)));
        assert!(own[0].is_ok() && own[2].is_ok());
    });
}
