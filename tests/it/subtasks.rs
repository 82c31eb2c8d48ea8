use std::time::Duration;

use wpool::{Isolation, Pool, PoolBuilder, SubTasks, TaskError, TaskFuture};
use wpool_tests::{OK_SUBMIT, bounded, pool};

use crate::{WPOOL, until};

fn allowed(depth: u8) -> PoolBuilder {
    pool(WPOOL, OK_SUBMIT).sub_tasks(SubTasks { depth, ..SubTasks::default() })
}

fn call<A, R>(pool: &Pool, task: &str, arguments: &A) -> TaskFuture<R>
where
    A: serde::Serialize + wpool::Schema,
    R: serde::de::DeserializeOwned + wpool::Schema,
{
    pool.task::<A, R>(task).unwrap().submit(arguments).unwrap()
}

#[test]
fn a_task_waits_for_tasks_of_its_own() {
    bounded(|| {
        let pool = allowed(1).build().unwrap();
        assert_eq!(call::<_, i64>(&pool, "squares", &100i64).result(), Ok((0..100).map(|x| x * x).sum()));
        assert_eq!(pool.stats().succeeded, 101);
        let sums = pool.task::<i64, i64>("squares").unwrap().map(0..50);
        assert!(sums.zip(0i64..).all(|(sum, n)| sum == Ok((0..n).map(|x| x * x).sum())), "in a map, too");
    });
}

#[test]
fn no_depth_that_is_allowed_is_a_deadlock_even_with_one_worker() {
    bounded(|| {
        for workers in [1, 2] {
            let pool = allowed(SubTasks::MAX_DEPTH).workers(workers).build().unwrap();
            assert_eq!(call::<_, u32>(&pool, "chain", &32u32).result(), Ok(32));
            // Wider than any worker has seats, and on all levels at once.
            let fibonacci: Vec<_> = (0..8).map(|_| call::<_, u64>(&pool, "fibonacci", &12u32)).collect();
            fibonacci.iter().for_each(|future| assert_eq!(future.result(), Ok(144)));
            let chains = pool.task::<u32, u32>("chain").unwrap().map((0..300).map(|n| n % 33));
            assert!(chains.zip((0..300u32).map(|n| n % 33)).all(|(chain, n)| chain == Ok(n)));
        }
    });
}

#[test]
fn workers_that_are_to_go_still_run_what_their_tasks_wait_for() {
    bounded(|| {
        let pool = allowed(12).workers(1).max_tasks_per_worker(1).build().unwrap();
        assert_eq!(call::<_, u64>(&pool, "fibonacci", &10u32).result(), Ok(55));
        let pool = allowed(12).workers(2).max_worker_age(Duration::ZERO).build().unwrap();
        let future = call::<_, u64>(&pool, "fibonacci", &11u32);
        pool.resize(1).unwrap();
        assert_eq!(future.result(), Ok(89));
        let future = call::<_, u64>(&pool, "fibonacci", &11u32);
        pool.close();
        assert_eq!(future.result(), Ok(89), "what was submitted ends as it would, with its sub-tasks");
        pool.join().unwrap();
    });
}

#[test]
fn nothing_is_submitted_that_is_not_allowed() {
    bounded(|| {
        let denied = |future: TaskFuture<u32>| match future.result() {
            Err(TaskError::Guest(error)) => error.message().to_owned(),
            other => panic!("{other:?}"),
        };
        let pool = pool(WPOOL, OK_SUBMIT).build().unwrap();
        let said = denied(call(&pool, "chain", &1u32));
        assert_eq!(said, "the host does not let this guest submit sub-tasks");
        let quota = SubTasks { depth: 3, fan_out: 6, total: 8 };
        let pool = crate::subtasks::pool(WPOOL, OK_SUBMIT).sub_tasks(quota).build().unwrap();
        assert_eq!(call::<_, u32>(&pool, "chain", &3u32).result(), Ok(3));
        assert_eq!(denied(call(&pool, "chain", &4u32)), "sub-tasks may lie 3 deep");
        match call::<_, u64>(&pool, "fibonacci", &4u32).result() {
            Err(TaskError::Guest(error)) => {
                assert_eq!(error.message(), "sub-tasks may lie 3 deep");
            }
            other => assert_eq!(other, Ok(3)),
        }
        let Err(TaskError::Guest(error)) = call::<_, i64>(&pool, "squares", &7i64).result() else {
            panic!("seven are more than six")
        };
        assert_eq!(error.message(), "a task may submit 6 sub-tasks");
        let quota = SubTasks { depth: 8, fan_out: 100, total: 20 };
        let pool = crate::subtasks::pool(WPOOL, OK_SUBMIT).sub_tasks(quota).build().unwrap();
        assert_eq!(call::<_, i64>(&pool, "squares", &20i64).result(), Ok(2470));
        let Err(TaskError::Guest(error)) = call::<_, i64>(&pool, "squares", &21i64).result() else {
            panic!("twenty-one are more than twenty")
        };
        assert_eq!(error.message(), "a task and its sub-tasks may submit 20 together");
    });
}

#[test]
fn whatever_is_wrong_with_a_sub_task_is_its_own_outcome() {
    bounded(|| {
        let quota = SubTasks { fan_out: 10, ..SubTasks::default() };
        let pool = pool(WPOOL, OK_SUBMIT).sub_tasks(quota).build().unwrap();
        let heard: Vec<(String, String)> = call(&pool, "hear", &10u32).result().unwrap();
        let expected = [
            ("unknown_task", "the guest has no task `no_such_task`"),
            ("wrong_type", "`square` takes another type"),
            ("wrong_type", "`square` returns another type"),
            ("guest", "on purpose"),
            ("panic", "as it was told"),
            ("quota", "a task may submit 10 sub-tasks"),
        ];
        for ((kind, message), (wanted, text)) in heard.iter().zip(expected) {
            assert!(kind == wanted && message.contains(text), "{heard:?}");
        }
        assert_eq!(heard.len(), expected.len());
    });
}

#[test]
fn the_end_of_a_task_is_the_end_of_its_sub_tasks() {
    bounded(|| {
        let pool = allowed(2).workers(1).timeout(None).build().unwrap();
        let idle = || pool.stats().in_flight == 0 && pool.stats().queued == 0;
        let left = call::<_, ()>(&pool, "parent_of_endless", &false);
        left.result().unwrap();
        until("the endless one is killed", idle);
        for cancels in [false, true] {
            let waits = call::<_, ()>(&pool, "parent_of_endless", &true);
            until("both run", || pool.stats().in_flight == 2);
            assert!(!cancels || !waits.cancel(), "it has begun");
            waits.kill();
            assert_eq!(waits.result(), Err(TaskError::Killed));
            until("the endless one is killed", idle);
        }
        let limit = Duration::from_millis(200);
        let task = pool.task::<bool, ()>("parent_of_endless").unwrap().total_timeout(limit);
        let late = task.submit(&true).unwrap();
        assert!(matches!(late.result(), Err(TaskError::Timeout { .. })), "{late:?}");
        until("the endless one is killed", idle);
        assert_eq!(pool.stats().workers_lost, 0, "its worker lives on");
    });
}

#[test]
fn a_sub_task_has_its_own_clock_and_its_parent_none_while_it_waits() {
    bounded(|| {
        let pool = allowed(2).timeout(Duration::from_millis(300)).build().unwrap();
        let waits = call::<_, ()>(&pool, "parent_of_endless", &true);
        match waits.result() {
            Err(TaskError::Guest(error)) => {
                assert_eq!(
                    error.message(),
                    "timed out: ran longer than 300ms",
                    "the child's, told by the parent"
                );
            }
            other => panic!("{other:?}"),
        }
        assert!(waits.figures().unwrap().run < Duration::from_millis(150));
    });
}

#[test]
fn a_task_that_has_submitted_another_does_not_run_again() {
    bounded(|| {
        let pool = allowed(2).workers(1).timeout(None).build().unwrap();
        let waits = call::<_, ()>(&pool, "parent_of_endless", &true);
        until("both run", || pool.stats().in_flight == 2);
        let pid = rustix::process::Pid::from_raw(pool.worker_pids()[0].cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert!(matches!(waits.result(), Err(TaskError::WorkerLost { .. })), "{:?}", waits.result());
        until("nothing is left", || pool.stats().in_flight == 0 && pool.stats().queued == 0);
        assert_eq!(call::<_, i64>(&pool, "squares", &3i64).result(), Ok(5));
    });
}

#[test]
fn settings_that_cannot_work_are_refused() {
    bounded(|| {
        let said = |builder: PoolBuilder| builder.build().unwrap_err().to_string();
        assert_eq!(said(allowed(33)), "sub_tasks.depth cannot be 33: at most 32 are allowed");
        assert_eq!(
            said(allowed(1).isolation(Isolation::Worker)),
            "isolation cannot be Worker: with sub-tasks every task needs an instance of its own"
        );
    });
}
