use std::time::Duration;

use wpool::{
    Array, Barrier, Condition, Connection, Dict, Event, List, Lock, Namespace, ObjectError, PipeMode, Pool,
    Queue, RLock, Receiver, Semaphore, Sender, TaskError, TaskFuture, Value,
};
use wpool_tests::{OK_OBJECTS, bounded, pool};

use crate::{WPOOL, call, until};

fn two() -> Pool {
    pool(WPOOL, OK_OBJECTS).build().unwrap()
}

#[test]
fn a_queue_joins_tasks_and_the_host() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().queue(10);
        let consumer: TaskFuture<Vec<u32>> = call(&pool, "consume", &queue.receiver());
        let producer: TaskFuture<()> = call(&pool, "produce", &(1000u32, queue.sender()));
        producer.result().unwrap();
        queue.put(&1000).unwrap();
        queue.close().unwrap();
        assert_eq!(consumer.result().unwrap(), (0..=1000).collect::<Vec<u32>>());
        assert_eq!(queue.put(&1), Err(ObjectError::Closed));
        assert_eq!(queue.get_nowait(), Err(ObjectError::Closed));
    });
}

#[test]
fn those_who_wait_are_in_nobodys_way() {
    bounded(|| {
        let pool = pool(WPOOL, OK_OBJECTS).workers(1).build().unwrap();
        let queue: Queue<u32> = pool.manager().queue(5);
        // Consumers first, on one worker, sent in one go.
        let consume = pool.task::<Receiver<u32>, Vec<u32>>("consume").unwrap();
        let consumers: Vec<_> = (0..20).map(|_| consume.submit(&queue.receiver()).unwrap()).collect();
        let produce = pool.task::<(u32, Sender<u32>), ()>("produce").unwrap();
        let producers: Vec<_> = (0..20).map(|_| produce.submit(&(100, queue.sender())).unwrap()).collect();
        producers.iter().for_each(|producer| producer.result().unwrap());
        queue.close().unwrap();
        let mut all: Vec<u32> = consumers.iter().flat_map(|consumer| consumer.result().unwrap()).collect();
        all.sort_unstable();
        let expected: Vec<u32> = (0..100).flat_map(|n| std::iter::repeat_n(n, 20)).collect();
        assert_eq!(all, expected);
    });
}

#[test]
fn ten_thousand_deposits_under_a_lock_are_exact() {
    bounded(|| {
        let pool = two();
        let (lock, balance): (Lock, Value<i64>) =
            (pool.manager().lock(), pool.manager().value(&0i64).unwrap());
        let deposit = pool.task::<(u32, i64, Value<i64>, Option<Lock>), ()>("deposit").unwrap();
        let jobs: Vec<_> = (0..10)
            .map(|n| {
                let amount = if n % 2 == 0 { 3 } else { -1 };
                deposit.submit(&(100, amount, balance.clone(), Some(lock.clone()))).unwrap()
            })
            .collect();
        jobs.iter().for_each(|job| job.result().unwrap());
        assert_eq!(balance.get(), Ok(5 * 100 * 3 - 5 * 100));
        assert_eq!(lock.locked(), Ok(false));
        assert_eq!(balance.update(|balance| balance * 2), Ok(1000));
        assert_eq!(balance.get(), Ok(2000));
    });
}

#[test]
fn a_task_does_one_thing_with_each_object() {
    bounded(|| {
        let pool = two();
        let manager = pool.manager();
        let dict: Dict<String, u32> = manager.dict();
        dict.set(&"a".to_owned(), &1).unwrap();
        let (list, array): (List<u32>, Array<u32>) = (manager.list(), manager.array(&[4, 5]).unwrap());
        type All = (Queue<String>, Dict<String, u32>, List<u32>, Array<u32>, Namespace, RLock, Semaphore);
        let semaphore: Semaphore = manager.semaphore(2);
        let all: All = (
            manager.queue(3),
            dict.clone(),
            list.clone(),
            array.clone(),
            manager.namespace(),
            manager.rlock(),
            semaphore.clone(),
        );
        let seen: Vec<String> = call(&pool, "everything", &all).result().unwrap();
        let expected = [
            r#"queue Ok(1) Ok("one")"#,
            "empty Ok(true) Err(Empty)",
            "dict Ok(Some(1)) Ok(Some(2))",
            r#"items Ok([("a", 2), ("b", 3)])"#,
            "list Ok(3) Ok(1) Ok([2, 3])",
            "array Ok([4, 9]) Err(NotFound)",
            "namespace Ok(7) Err(WrongType)",
            "rlock Ok(true)",
            "released Ok(false)",
            "semaphore Ok(1)",
            "earlier Err(Earlier(NotFound)) Ok(2)",
        ];
        assert_eq!(seen, expected);
        assert_eq!((dict.len(), list.to_vec(), array.get(1)), (Ok(2), Ok(vec![2, 3]), Ok(9)));
        assert_eq!(semaphore.get_value(), Ok(2), "what a task held is released when it ends");
    });
}

#[test]
fn an_error_from_before_costs_the_call_that_tells_it_nothing() {
    bounded(|| {
        let pool = two();
        let array: Array<u32> = pool.manager().array(&[1]).unwrap();
        let queue: Queue<u32> = pool.manager().queue(3);
        queue.put(&7).unwrap();
        let told: TaskFuture<(String, u32)> = call(&pool, "wrong_before_taking", &(array, queue.receiver()));
        assert_eq!(
            told.result(),
            Ok(("an earlier call failed: there is no such key or place".to_owned(), 7))
        );
    });
}

#[test]
fn handles_travel_through_queues() {
    bounded(|| {
        let pool = two();
        let questions: Queue<(String, Sender<String>)> = pool.manager().queue(10);
        let answers: Queue<String> = pool.manager().simple_queue();
        let answered: TaskFuture<u32> = call(&pool, "answer", &questions.receiver());
        for question in ["who", "what"] {
            questions.put(&(question.to_owned(), answers.sender())).unwrap();
        }
        assert_eq!((answers.get(), answers.get()), (Ok("who!".to_owned()), Ok("what!".to_owned())));
        questions.close().unwrap();
        assert_eq!(answered.result(), Ok(2));
    });
}

#[test]
fn a_pipe_echoes_until_the_end() {
    bounded(|| {
        let pool = two();
        let (here, there): (Connection<String>, Connection<String>) = pool.manager().pipe(PipeMode::Duplex);
        let echo: TaskFuture<u32> = call(&pool, "echo", &there);
        drop(there);
        for message in ["hello", "", "world"] {
            here.send(&message.to_owned()).unwrap();
            assert_eq!(here.recv(), Ok(message.to_uppercase()));
        }
        assert_eq!(here.poll(Duration::ZERO), Ok(false));
        here.send(&"END".to_owned()).unwrap();
        assert_eq!(echo.result(), Ok(3));
        assert_eq!(
            here.recv(),
            Err(ObjectError::Closed),
            "the task's end of the pipe has gone with the task"
        );
        assert_eq!(here.send(&"anybody?".to_owned()), Err(ObjectError::Closed));
    });
}

#[test]
fn a_barrier_is_passed_in_lockstep() {
    bounded(|| {
        let pool = two();
        let barrier: Barrier = pool.manager().barrier(5);
        let rounds = pool.task::<(Barrier, u32), Vec<u64>>("rounds").unwrap();
        let parties: Vec<_> = (0..5).map(|_| rounds.submit(&(barrier.clone(), 100)).unwrap()).collect();
        let places: Vec<Vec<u64>> = parties.iter().map(|party| party.result().unwrap()).collect();
        for round in 0..100 {
            let mut of_round: Vec<u64> = places.iter().map(|places| places[round]).collect();
            of_round.sort_unstable();
            assert_eq!(of_round, [0, 1, 2, 3, 4]);
        }
    });
}

#[test]
fn a_killed_task_leaves_its_lock_poisoned_and_free() {
    bounded(|| {
        let pool = two();
        let (lock, held): (Lock, Event) = (pool.manager().lock(), pool.manager().event());
        let holds: TaskFuture<()> = call(&pool, "hold", &(lock.clone(), held.clone()));
        assert_eq!(held.wait_timeout(Duration::from_secs(30)), Ok(true));
        assert_eq!(lock.try_acquire().map(drop), Err(ObjectError::Held));
        holds.kill();
        let mut guard = lock.acquire().unwrap();
        assert!(guard.poisoned());
        guard.clear_poison().unwrap();
        drop(guard);
        assert!(!lock.acquire().unwrap().poisoned());
        assert_eq!(holds.result(), Err(TaskError::Killed));
    });
}

#[test]
fn a_ring_of_two_tasks_is_broken() {
    bounded(|| {
        let pool = two();
        let manager = pool.manager();
        let (a, b, held, go): (Lock, Lock, Semaphore, Event) =
            (manager.lock(), manager.lock(), manager.semaphore(0), manager.event());
        let first: TaskFuture<bool> =
            call(&pool, "two_locks", &(a.clone(), b.clone(), held.clone(), go.clone()));
        let second: TaskFuture<bool> = call(&pool, "two_locks", &(b, a, held.clone(), go.clone()));
        held.acquire().unwrap().forget();
        held.acquire().unwrap().forget();
        go.set().unwrap();
        let Err(TaskError::Guest(error)) = second.result() else { panic!("the youngest fails") };
        assert!(
            error.message().starts_with("deadlock: ") && error.message().contains("wait for each other"),
            "{error}"
        );
        assert!(first.result().is_ok(), "and the other goes on");
    });
}

#[test]
fn whoever_waits_can_be_killed_and_loses_nothing() {
    bounded(|| {
        let pool = two();
        let manager = pool.manager();
        let queue: Queue<u32> = manager.queue(1);
        let (lock, event, barrier): (Lock, Event, Barrier) =
            (manager.lock(), manager.event(), manager.barrier(2));
        let condition: Condition = manager.condition();
        let (_here, there): (Connection<String>, Connection<String>) = manager.pipe(PipeMode::Duplex);
        let held = lock.acquire().unwrap();
        let arrived: Semaphore = manager.semaphore(0);
        for (nth, how) in
            ["get", "put", "join", "lock", "event", "barrier", "condition", "pipe"].into_iter().enumerate()
        {
            if nth == 1 {
                queue.put(&7).unwrap();
            }
            let arguments = (
                how.to_owned(),
                queue.clone(),
                lock.clone(),
                event.clone(),
                barrier.clone(),
                condition.clone(),
                there.clone(),
                arrived.clone(),
            );
            let waits: TaskFuture<()> = call(&pool, "wait_in", &arguments);
            arrived.acquire().unwrap().forget();
            assert!(waits.result_timeout(Duration::from_millis(30)).is_err(), "{how}");
            waits.kill();
            assert_eq!(waits.result(), Err(TaskError::Killed), "{how}");
            if how == "barrier" {
                assert_eq!(barrier.broken(), Ok(true));
            }
        }
        assert_eq!(queue.get_nowait(), Ok(7));
        assert_eq!(pool.stats().workers_lost, 0);
        drop(held);
        assert!(lock.try_acquire().is_ok());
    });
}

#[test]
fn what_a_failed_task_took_is_delivered_again() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().requeue(10);
        queue.put(&7).unwrap();
        let fails: TaskFuture<(u32, bool)> = call(&pool, "take", &(queue.receiver(), true));
        assert!(fails.result().is_err());
        let again: TaskFuture<(u32, bool)> = call(&pool, "take", &(queue.receiver(), false));
        assert_eq!(again.result(), Ok((7, true)));
        assert_eq!(queue.empty(), Ok(true));
    });
}

#[test]
fn two_hundred_can_be_blocked_while_others_go_on() {
    bounded(|| {
        let pool = two();
        let (queue, done): (Queue<u32>, Queue<u32>) = (pool.manager().queue(10), pool.manager().queue(10));
        let take = pool.task::<(Receiver<u32>, bool), (u32, bool)>("take").unwrap();
        let blocked: Vec<_> = (0..200).map(|_| take.submit(&(queue.receiver(), false)).unwrap()).collect();
        until("all are blocked", || blocked.iter().all(TaskFuture::running));
        call::<_, ()>(&pool, "produce", &(5u32, done.sender())).result().unwrap();
        assert_eq!(done.qsize(), Ok(5));
        let numbers: Vec<u32> = (0..200).collect();
        queue.put_many(&numbers).unwrap();
        let mut got: Vec<u32> = blocked.iter().map(|task| task.result().unwrap().0).collect();
        got.sort_unstable();
        assert_eq!(got, numbers);
    });
}

#[test]
fn the_end_of_the_pool_is_the_end_of_all_waiting() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().queue(10);
        queue.put(&1).unwrap();
        let waits = {
            let event: Event = pool.manager().event();
            std::thread::spawn(move || event.wait())
        };
        pool.close();
        pool.join().unwrap();
        assert_eq!(waits.join().unwrap(), Err(ObjectError::PoolClosed));
        assert_eq!(queue.get(), Ok(1), "what is there can still be had");
        drop(pool);
        assert_eq!(queue.get(), Err(ObjectError::PoolClosed));
    });
}

#[test]
fn a_holder_goes_first_where_it_may_hold_twice() {
    bounded(|| {
        let pool = two();
        let lock: RLock = pool.manager().rlock();
        let outer = lock.acquire().unwrap();
        let waiting = std::thread::spawn({
            let lock = lock.clone();
            move || lock.acquire().map(drop)
        });
        // Somebody else waits, or will in a moment: either way the holder does not wait behind it.
        for _ in 0..1000 {
            drop(lock.acquire().unwrap());
        }
        drop(outer);
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
}
