use std::future::Future as _;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use wpool::{
    BoundedSemaphore, Event, Isolation, Lock, ObjectError, PipeMode, Pool, Queue, Receiver, Semaphore,
    Sender, SharedArray, TaskError, TaskFuture,
};
use wpool_tests::{BAD_OBJECTS, OK_OBJECTS, bounded, pool};

use crate::{WPOOL, call, until};

fn two() -> Pool {
    pool(WPOOL, BAD_OBJECTS).build().unwrap()
}

/// The first bytes of an answer that is this error, by its place in the list of errors.
fn error(number: u8) -> Vec<u8> {
    vec![1, number]
}

/// Answers without the words that follow the number of an error.
fn without_words(mut answers: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    answers
        .iter_mut()
        .filter(|answer| answer.len() == 3 && answer[0] == 1)
        .for_each(|answer| answer.truncate(2));
    answers
}

const NOT_HELD: u8 = 6;
const TOO_OFTEN: u8 = 7;
const BAD_HANDLE: u8 = 9;
const NO_RIGHT: u8 = 10;
const WRONG_KIND: u8 = 11;
const BAD_VALUE: u8 = 13;

#[test]
fn a_guess_reaches_nothing() {
    bounded(|| {
        let pool = two();
        // There is much that could be reached.
        let others: (Queue<u32>, Lock) = (pool.manager().queue(1000), pool.manager().lock());
        let _array: SharedArray<u64> = pool.manager().shared_array(1000).unwrap();
        let guesses: Vec<_> = (0..8u64)
            .map(|seed| call::<_, u32>(&pool, "guess", &(seed, 2000u32, pool.manager().event())))
            .collect();
        assert!(guesses.iter().all(|guess| guess.result() == Ok(0)));
        assert_eq!(
            (others.0.empty(), others.1.locked(), pool.stats().workers_lost),
            (Ok(true), Ok(false), 0)
        );
    });
}

#[test]
fn each_wrong_call_is_an_error_of_that_call() {
    bounded(|| {
        let pool = two();
        let (queue, lock): (Queue<u32>, Lock) = (pool.manager().queue(10), pool.manager().lock());
        let arguments = (queue.sender(), queue.receiver(), lock.clone());
        let answers: Vec<Vec<u8>> = call(&pool, "wrong", &arguments).result().unwrap();
        let expected = [
            error(NO_RIGHT),
            error(NO_RIGHT),
            error(WRONG_KIND),
            error(BAD_HANDLE),
            error(BAD_HANDLE),
            error(BAD_VALUE),
            error(BAD_VALUE),
            error(BAD_VALUE),
            // Nobody holds it; it does; it does no more; twice is once too often.
            error(NOT_HELD),
            vec![0, 1, 0],
            vec![0, 0],
            error(NOT_HELD),
            vec![2, 3, 1, 0],
        ];
        assert_eq!(without_words(answers), expected);
        assert_eq!((queue.get(), queue.empty()), (Ok(7), Ok(true)), "what was right was done");
        // A stranger does not release what somebody else holds.
        let _held = lock.acquire().unwrap();
        let answers: Vec<Vec<u8>> = call(&pool, "wrong", &arguments).result().unwrap();
        assert_eq!(answers[8], error(NOT_HELD));
        assert_eq!(lock.locked(), Ok(true));
    });
}

#[test]
fn a_handle_ends_with_its_task() {
    bounded(|| {
        let pool = pool(WPOOL, BAD_OBJECTS).workers(1).isolation(Isolation::Worker).build().unwrap();
        let queue: Queue<u32> = pool.manager().queue(10);
        queue.put(&1).unwrap();
        assert_eq!(call::<_, u32>(&pool, "calls", &(3u32, queue.clone())).result(), Ok(3));
        // In the same instance, the next task has none.
        let answers: Vec<Vec<u8>> = call(&pool, "without_any", &()).result().unwrap();
        assert_eq!(answers, vec![error(BAD_HANDLE); 3]);
    });
}

#[test]
fn shared_memory_is_reached_within_its_bounds_and_rights() {
    bounded(|| {
        let pool = two();
        let array: SharedArray<u64> = pool.manager().shared_array(2).unwrap();
        let arguments = (array.clone(), array.read_only(), pool.manager().queue::<u32>(1));
        let statuses: Vec<u32> = call(&pool, "overreach", &arguments).result().unwrap();
        assert_eq!(statuses, [2, 2, 4, 4, 5, 5, 5, 3, 1, 3, 0]);
        assert_eq!(array.to_vec(), Ok(vec![0, 5]));
        for write in [true, false] {
            let astray = call::<_, u32>(&pool, "astray", &(array.clone(), write)).result().unwrap_err();
            assert!(
                matches!(&astray, TaskError::BadGuest { message } if message.contains("do not lie in its memory")),
                "{astray}"
            );
        }
    });
}

#[test]
fn who_floods_waits_its_turn_and_harms_nobody() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().queue(10);
        let flood = call::<_, u32>(&pool, "flood", &(300_000u32, queue.sender()));
        let other: Queue<u32> = pool.manager().queue(10);
        for _ in 0..100 {
            assert_eq!(call::<_, u32>(&pool, "calls", &(10u32, other.clone())).result(), Ok(10));
        }
        assert!(!flood.done(), "its queue is full");
        let mut taken = 0;
        while taken < 300_000 {
            taken += queue.get_many(100_000).unwrap().len();
        }
        assert_eq!(flood.result(), Ok(0));
        let error = call::<_, u32>(&pool, "post_too_much", &queue.sender()).result().unwrap_err();
        assert!(error.to_string().contains("it posted 65537 bytes, 65536 are allowed"), "{error}");
        let semaphore: BoundedSemaphore = pool.manager().bounded_semaphore(1);
        let told: (u32, Vec<u8>) = call(&pool, "release_too_often", &semaphore).result().unwrap();
        // An earlier call's error, and which.
        assert_eq!(told, (0, vec![1, 17, TOO_OFTEN]));
        assert_eq!(semaphore.release(1), Err(ObjectError::TooOften));
    });
}

#[test]
fn calls_are_counted_if_the_host_says_how_many() {
    bounded(|| {
        let queue_of = |pool: &Pool| pool.manager().queue::<u32>(10);
        let strict = pool(WPOOL, BAD_OBJECTS).object_calls(100).build().unwrap();
        let began = Instant::now();
        let done: u32 = call(&strict, "calls", &(1000u32, queue_of(&strict))).result().unwrap();
        let most = 100 + u32::try_from(began.elapsed().as_millis() / 10).unwrap() + 1;
        assert!((100..=most).contains(&done), "{done} of {most}");
        let none = pool(WPOOL, BAD_OBJECTS).object_calls(0).build().unwrap();
        assert_eq!(call::<_, u32>(&none, "calls", &(10u32, queue_of(&none))).result(), Ok(0));
    });
}

#[test]
fn an_item_over_the_limit_is_refused() {
    bounded(|| {
        let mut limits = wpool::Limits::default();
        limits.arguments = 100_000;
        let pool = pool(WPOOL, OK_OBJECTS).limits(limits).build().unwrap();
        let queue: Queue<u32> = pool.manager().simple_queue();
        let many = call::<_, ()>(&pool, "produce_many", &(1_000_000u32, 1_001_000u32, queue.sender()));
        assert_eq!(many.result(), Ok(()), "a thousand small ones are few bytes");
        let bytes: Queue<String> = pool.manager().queue(10);
        let error = call::<_, ()>(&pool, "put_large", &(200_000u32, bytes.sender())).result().unwrap_err();
        assert!(error.to_string().contains("are allowed"), "{error}");
        assert_eq!(bytes.empty(), Ok(true));
    });
}

/// Every way to wait, in a guest.
const WAYS: [&str; 8] = ["get", "put", "join", "lock", "event", "barrier", "condition", "pipe"];

#[test]
fn a_worker_that_dies_takes_no_waiter_and_no_lock_with_it() {
    bounded(|| {
        let pool = pool(WPOOL, OK_OBJECTS).workers(1).build().unwrap();
        let manager = pool.manager();
        let (queue, lock): (Queue<u32>, Lock) = (manager.queue(2), manager.lock());
        let full: Queue<u32> = manager.queue(1);
        full.put(&0).unwrap();
        let (held, go) = (manager.event(), manager.event());
        let holder = call::<_, ()>(&pool, "hold_until", &(lock.clone(), held.clone(), go.clone()));
        held.wait().unwrap();
        let (event, barrier, condition) = (manager.event(), manager.barrier(2), manager.condition());
        let (pipe, here) = manager.pipe::<String>(PipeMode::Duplex);
        let arrived: Semaphore = manager.semaphore(0);
        let waiting: Vec<TaskFuture<()>> = WAYS
            .iter()
            .map(|way| {
                let queue = if *way == "put" || *way == "join" { &full } else { &queue };
                let objects = (
                    (*way).to_owned(),
                    queue.clone(),
                    lock.clone(),
                    event.clone(),
                    barrier.clone(),
                    condition.clone(),
                    pipe.clone(),
                    arrived.clone(),
                );
                call(&pool, "wait_in", &objects)
            })
            .collect();
        // What has asked for something does not run again when its worker dies.
        (0..WAYS.len()).for_each(|_| arrived.acquire().unwrap().forget());
        until("the last of them wait, too", || barrier.n_waiting() == Ok((1, 2)));
        let worker = pool.worker_pids()[0];
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(worker.cast_signed()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        for (way, task) in WAYS.iter().zip(&waiting) {
            assert!(matches!(task.result(), Err(TaskError::WorkerLost { .. })), "{way}: {:?}", task.result());
        }
        assert!(holder.result().is_err());
        // What the dead held is free, and marked; what they waited for nobody has lost.
        let guard = lock.acquire().unwrap();
        assert!(guard.poisoned());
        drop(guard);
        assert_eq!((barrier.broken(), full.get(), full.empty()), (Ok(true), Ok(0), Ok(true)));
        queue.put(&5).unwrap();
        assert_eq!(call::<_, u32>(&pool, "wait_for_one", &queue.receiver()).result(), Ok(5));
        here.send(&"still there".to_owned()).unwrap();
        assert_eq!(pipe.recv().as_deref(), Ok("still there"));
    });
}

#[test]
fn a_ring_of_five_tasks_is_broken() {
    bounded(|| {
        let pool = pool(WPOOL, OK_OBJECTS).build().unwrap();
        let locks: Vec<Lock> = (0..5).map(|_| pool.manager().lock()).collect();
        let (held, go): (Semaphore, Event) = (pool.manager().semaphore(0), pool.manager().event());
        let tasks: Vec<TaskFuture<bool>> = (0..5)
            .map(|n| {
                let next = locks[(n + 1) % 5].clone();
                call(&pool, "two_locks", &(locks[n].clone(), next, held.clone(), go.clone()))
            })
            .collect();
        until("each holds one", || held.get_value() == Ok(5));
        go.set().unwrap();
        let results: Vec<_> = tasks.iter().map(TaskFuture::result).collect();
        let failed: Vec<String> =
            results.iter().filter_map(|result| result.as_ref().err().map(ToString::to_string)).collect();
        assert_eq!(failed.len(), 1, "{results:?}");
        assert!(failed[0].contains("deadlock: ") && failed[0].matches("task ").count() >= 5, "{failed:?}");
        assert!(locks.iter().all(|lock| lock.locked() == Ok(false)));
    });
}

#[test]
fn somebody_in_the_host_who_goes_away_takes_nothing_along() {
    bounded(|| {
        let pool = pool(WPOOL, OK_OBJECTS).build().unwrap();
        let (queue, lock): (Queue<u32>, Lock) = (pool.manager().queue(10), pool.manager().lock());
        let mut context = Context::from_waker(Waker::noop());
        let held = lock.acquire().unwrap();
        {
            let (mut get, mut acquire) = (Box::pin(queue.get_async()), Box::pin(lock.acquire_async()));
            assert!(
                get.as_mut().poll(&mut context).is_pending()
                    && acquire.as_mut().poll(&mut context).is_pending()
            );
            // Both are given what they wait for, and never hear of it.
            queue.put(&1).unwrap();
            drop(held);
            assert_eq!((queue.empty(), lock.locked()), (Ok(true), Ok(true)));
        }
        assert_eq!((queue.get_nowait(), lock.locked()), (Ok(1), Ok(false)));
        // One that waits, and goes before there is anything.
        drop({
            let mut get = Box::pin(queue.get_async());
            assert!(get.as_mut().poll(&mut context).is_pending());
            get
        });
        queue.put(&2).unwrap();
        assert_eq!(queue.get_timeout(Duration::from_secs(10)), Ok(2));
        // A thread that ends while it holds a lock has dropped its guard.
        let other = lock.clone();
        assert!(
            std::thread::spawn(move || {
                let _guard = other.acquire().unwrap();
                panic!("as it was told")
            })
            .join()
            .is_err()
        );
        assert_eq!(lock.locked(), Ok(false));
    });
}

#[test]
fn a_million_values_arrive_once_and_in_order() {
    bounded(|| {
        let pool = pool(WPOOL, OK_OBJECTS).build().unwrap();
        let queue: Queue<(u32, u32)> = pool.manager().queue(5000);
        let consume = pool.task::<(u32, Receiver<(u32, u32)>), Vec<u32>>("check_order").unwrap();
        let consumer = consume.submit(&(2, queue.receiver())).unwrap();
        let produce = pool.task::<(u32, u32, Sender<(u32, u32)>), ()>("produce_marked").unwrap();
        let producers = [0, 1].map(|n| produce.submit(&(n, 500_000, queue.sender())).unwrap());
        producers.iter().for_each(|producer| producer.result().unwrap());
        queue.close().unwrap();
        assert_eq!(consumer.result(), Ok(vec![500_000, 500_000]));
    });
}
