use std::collections::{HashMap, HashSet};
use std::time::Duration;

use wpool::{GuestSettings, Isolation, PendingTasks, Pool, TaskError, Wait};
use wpool_tests::{bounded, load, pool};

use crate::{WPOOL, until};

#[test]
fn b58_workers_start_when_there_is_work_and_go_when_there_is_none() {
    bounded(|| {
        let idle = Duration::from_millis(100);
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(3).idle_timeout(idle).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        for _ in 0..20 {
            work.submit(&1).unwrap().result().unwrap();
        }
        assert_eq!(pool.stats().workers_started, 1, "an idle worker is used before another is started");
        let many: Vec<_> = (0..45).map(|_| work.submit(&20_000).unwrap()).collect();
        let used: HashSet<_> = many
            .iter()
            .map(|future| {
                future.result().unwrap();
                future.figures().unwrap().worker
            })
            .collect();
        assert_eq!((used.len(), pool.stats().workers_started), (3, 3), "never more than there may be");
        until("they go", || pool.stats().workers == 1);
        assert_eq!(pool.stats().workers_lost, 0, "they were let go, not lost");
        work.submit(&1).unwrap().result().unwrap();
    });
}

#[test]
fn no_worker_is_kept_if_none_is_wanted() {
    bounded(|| {
        let idle = Duration::from_millis(1);
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).min_workers(0).idle_timeout(idle).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        assert_eq!(pool.stats().workers_started, 0);
        for n in 0..5 {
            assert_eq!(square.submit(&n).unwrap().result(), Ok(n * n));
            until("it goes", || pool.stats().workers == 0);
        }
        let error = pool_error(Pool::builder(pool.guest().clone()).workers(2).min_workers(3));
        assert_eq!(error, "min_workers cannot be 3: it is more than `workers`");
    });
}

fn pool_error(builder: wpool::PoolBuilder) -> String {
    builder.build().unwrap_err().to_string()
}

fn arguments(task: &wpool::RawTask, n: i64) -> Vec<u8> {
    task.signature().arguments_from_json(n.to_string().as_bytes()).unwrap()
}

#[test]
fn b60_a_worker_is_replaced_after_a_number_of_tasks() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).max_tasks_per_worker(7).build().unwrap();
        let square = pool.raw_task("square").unwrap();
        let mut tasks_of = HashMap::new();
        let inputs = (0..100).map(|n| Ok(arguments(&square, n)));
        for (_, completed) in square.map(inputs) {
            assert!(completed.result.is_ok());
            *tasks_of.entry(completed.figures.worker.unwrap()).or_insert(0) += 1;
        }
        assert!(tasks_of.values().all(|&tasks| tasks <= 7), "{tasks_of:?}");
        assert!(tasks_of.len() >= 100 / 7);
        assert_eq!(
            pool_error(Pool::builder(pool.guest().clone()).max_tasks_per_worker(0)),
            "max_tasks_per_worker cannot be 0: no worker could run anything"
        );
        // Closing right after a backlog was made strands nothing.
        let left: Vec<_> = (0..100).map(|n| square.submit(arguments(&square, n)).unwrap()).collect();
        pool.close();
        assert!(left.iter().all(|future| future.completed().result.is_ok()));
    });
}

#[test]
fn old_and_large_workers_are_replaced() {
    bounded(|| {
        let age = Duration::from_millis(50);
        let young = pool(WPOOL, wpool_tests::OK_SQUARE).workers(1).max_worker_age(age).build().unwrap();
        let square = young.task::<i64, i64>("square").unwrap();
        until("an old one goes", || {
            square.submit(&2).unwrap().result().unwrap();
            young.stats().workers_started >= 3
        });
        assert_eq!(young.stats().failed, 0);
        let small =
            pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).max_worker_memory(1 << 20).build().unwrap();
        let work = small.task::<u32, u64>("work").unwrap();
        until("a large one goes", || {
            work.submit(&200_000).unwrap().result().unwrap();
            small.stats().workers_started >= 2
        });
    });
}

#[test]
fn the_number_of_workers_changes_while_they_work() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let results = work.map(std::iter::repeat_n(2_000, 300));
        for (nth, result) in results.enumerate() {
            result.unwrap();
            if nth % 50 == 10 {
                pool.resize(4).unwrap();
            } else if nth % 50 == 30 {
                pool.resize(2).unwrap();
            }
        }
        assert!(pool.stats().workers_started >= 2);
        until("it shrinks", || pool.stats().workers <= 2);
        assert_eq!(
            pool.resize(0).unwrap_err().to_string(),
            "workers cannot be 0: no worker would run the tasks"
        );
    });
}

#[test]
fn shutting_down_finishes_or_cancels_what_waits() {
    bounded(|| {
        let pool_of = || pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).build().unwrap();
        let submit = |pool: &Pool| {
            let work = pool.task::<u32, u64>("work").unwrap();
            (0..20).map(|_| work.submit(&5_000).unwrap()).collect::<Vec<_>>()
        };
        let first = pool_of();
        let futures = submit(&first);
        first.shutdown(Wait::Join, PendingTasks::Finish);
        assert!(futures.iter().all(|future| future.done() && future.result().is_ok()));
        let error = first.task::<u32, u64>("work").unwrap().submit(&1).unwrap_err();
        assert_eq!(error.to_string(), "the pool is closed: `shutdown` was called");
        let second = pool_of();
        let futures = submit(&second);
        second.shutdown(Wait::Return, PendingTasks::Cancel);
        let cancelled = futures.iter().filter(|future| future.result() == Err(TaskError::Cancelled)).count();
        assert!((1..=20).contains(&cancelled), "{cancelled}");
        assert!(futures.iter().all(|future| matches!(future.result(), Ok(_) | Err(TaskError::Cancelled))));
    });
}

#[test]
fn draining_has_a_bound() {
    bounded(|| {
        let pool_of = || pool(WPOOL, wpool_tests::SLOW_END).workers(1).build().unwrap();
        let quick = pool_of();
        let value = quick.task::<u64, u64>("echo").unwrap().submit(&5).unwrap();
        assert!(quick.drain(Duration::from_secs(60)));
        assert_eq!(value.result(), Ok(5));
        let slow = pool_of();
        let endless = slow.task::<(), ()>("forever").unwrap().submit(&()).unwrap();
        assert!(!slow.drain(Duration::from_millis(50)));
        assert_eq!(endless.result(), Err(TaskError::PoolClosed));
    });
}

/// What a task finds that notes its name, one after the other in one worker.
fn notes(isolation: Isolation, chunk: Option<u32>) -> Vec<usize> {
    let pool = pool(WPOOL, wpool_tests::OK_STATE).workers(1).isolation(isolation).build().unwrap();
    let note = pool.task::<String, Vec<String>>("note").unwrap().chunk(chunk).unwrap();
    let names = (0..40).map(|n| n.to_string());
    note.map(names).map(|found| found.unwrap().len()).collect()
}

#[test]
fn a_task_sees_what_earlier_ones_left_only_if_it_is_asked_for() {
    bounded(|| {
        assert!(notes(Isolation::Task, None).iter().all(|&found| found == 0));
        let batches = notes(Isolation::Batch, Some(5));
        assert!(batches.contains(&0) && batches.iter().any(|&found| found > 0), "{batches:?}");
        assert!(batches.iter().all(|&found| found < 10), "no batch is longer than two chunks: {batches:?}");
        assert_eq!(notes(Isolation::Worker, None), (0..40).collect::<Vec<_>>());
    });
}

#[test]
fn a_task_that_fails_takes_its_instance_with_it() {
    bounded(|| {
        let pool =
            pool(WPOOL, wpool_tests::OK_STATE).workers(1).isolation(Isolation::Worker).build().unwrap();
        let visit = pool.task::<u32, u32>("visit").unwrap();
        let visits: Vec<_> =
            [0, 0, 3, 0, 0].into_iter().map(|panics| visit.submit(&panics).unwrap().result()).collect();
        assert_eq!((&visits[..2], &visits[3..]), (&[Ok(1), Ok(2)][..], &[Ok(1), Ok(2)][..]), "{visits:?}");
        assert!(matches!(visits[2], Err(TaskError::Panic { .. })));
        assert_eq!(pool.stats().workers_started, 1);
    });
}

#[test]
fn guests_come_and_go_while_the_pool_works() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
        let square = pool.task::<i64, i64>("square").unwrap();
        let other =
            pool.load(load(WPOOL, wpool_tests::OK_STATE), &GuestSettings::new().memory(8 << 20)).unwrap();
        let visit = other.task::<u32, u32>("visit").unwrap();
        std::thread::scope(|scope| {
            let squares = scope.spawn(|| square.map(0..3000).filter(Result::is_ok).count());
            let visits = scope
                .spawn(|| visit.map(std::iter::repeat_n(0, 3000)).filter(|visit| *visit == Ok(1)).count());
            assert_eq!((squares.join().unwrap(), visits.join().unwrap()), (3000, 3000));
        });
        let last = visit.submit(&0).unwrap();
        other.unload();
        assert_eq!(last.result(), Ok(1), "what was submitted ends as it would");
        assert_eq!(visit.submit(&0).unwrap().result(), Err(TaskError::GuestUnloaded));
        assert_eq!(square.submit(&9).unwrap().result(), Ok(81));
        pool.close();
        let refused = pool.load(load(WPOOL, wpool_tests::OK_STATE), &GuestSettings::new()).unwrap_err();
        assert_eq!(refused.to_string(), "the pool is closed: `close` was called");
    });
}

#[test]
fn a_guest_with_much_to_do_does_not_keep_others_waiting() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let busy: Vec<_> = (0..400).map(|_| work.submit(&20_000).unwrap()).collect();
        let other = pool.load(load(WPOOL, wpool_tests::OK_SQUARE), &GuestSettings::new()).unwrap();
        let square = other.task::<i64, i64>("square").unwrap();
        assert_eq!(square.submit(&4).unwrap().result(), Ok(16));
        assert!(busy.iter().any(|future| !future.done()), "it did not wait for all of them");
        pool.terminate();
    });
}

#[test]
fn the_urgent_go_first() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::SLOW_WORK).workers(1).build().unwrap();
        let work = pool.task::<u32, u64>("work").unwrap();
        let blocking = work.submit(&300_000).unwrap();
        until("it runs", || blocking.running());
        let waiting: Vec<_> = (0..50).map(|_| work.submit(&10_000).unwrap()).collect();
        let urgent = work.priority(1).submit(&1).unwrap();
        urgent.result().unwrap();
        let done = waiting.iter().filter(|future| future.done()).count();
        assert!(blocking.done() && done <= 3, "{done} {:?}", blocking);
    });
}
