use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wpool::{
    Array, Barrier, Connection, Dict, Event, List, Lock, Manager, Namespace, ObjectError, PipeMode, Pool,
    Queue, RLock, Receiver, Semaphore, Sender, SharedArray, Value, wait_ready,
};
use wpool_tests::{OK_OBJECTS, OK_SHARED, bounded, pool};

use crate::{WPOOL, call, until};

const SOON: Duration = Duration::from_millis(20);

fn two() -> Pool {
    pool(WPOOL, OK_OBJECTS).build().unwrap()
}

/// Does something that is to fail when its time is over, and not before.
fn late<T>(act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let outcome = act();
    assert!(began.elapsed() >= SOON, "{:?}", began.elapsed());
    outcome
}

#[test]
fn b78_b79_who_puts_or_gets_waits_as_long_as_it_says() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().queue(1);
        assert_eq!(queue.get_nowait(), Err(ObjectError::Empty));
        assert_eq!(late(|| queue.get_timeout(SOON)), Err(ObjectError::Empty));
        queue.put(&1).unwrap();
        assert_eq!(queue.full(), Ok(true));
        assert_eq!(queue.put_nowait(&2), Err(ObjectError::Full));
        assert_eq!(late(|| queue.put_timeout(&2, SOON)), Err(ObjectError::Full));
        // One that waits for room goes on when there is some.
        let putting = thread::spawn({
            let queue = queue.clone();
            move || queue.put(&2)
        });
        assert_eq!((queue.get(), queue.get()), (Ok(1), Ok(2)));
        assert_eq!(putting.join().unwrap(), Ok(()));
        let waiting = call::<_, u32>(&pool, "wait_for_one", &queue.receiver());
        assert!(waiting.result_timeout(SOON).is_err());
        queue.put(&3).unwrap();
        assert_eq!(waiting.result(), Ok(3));
    });
}

#[test]
fn b80_b81_all_values_arrive_in_the_order_of_each_producer() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().queue(5);
        let producers: Vec<_> = (0..2u32)
            .map(|n| call::<_, ()>(&pool, "produce_many", &(n * 10, n * 10 + 10, queue.sender())))
            .collect();
        let all: Vec<u32> = (0..20).map(|_| queue.get().unwrap()).collect();
        producers.iter().for_each(|producer| producer.result().unwrap());
        for range in [0..10, 10..20] {
            let own: Vec<u32> = all.iter().copied().filter(|value| range.contains(value)).collect();
            assert_eq!(own, range.collect::<Vec<u32>>());
        }
        queue.put_many(&[1, 2, 3]).unwrap();
        assert_eq!((queue.qsize(), queue.empty(), queue.full()), (Ok(3), Ok(false), Ok(false)));
    });
}

#[test]
fn b82_join_waits_until_everything_is_worked_off() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().queue(10);
        queue.put_many(&[1, 2]).unwrap();
        assert_eq!((queue.get(), queue.get()), (Ok(1), Ok(2)));
        assert_eq!(late(|| queue.join_timeout(SOON)), Err(ObjectError::TimedOut));
        queue.task_done().unwrap();
        assert_eq!(queue.join_timeout(Duration::ZERO), Err(ObjectError::TimedOut));
        queue.task_done().unwrap();
        assert_eq!((queue.join(), queue.task_done()), (Ok(()), Err(ObjectError::TooOften)));
    });
}

/// A value that serde cannot write.
struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("as it always does"))
    }
}

impl wpool::Schema for Unwritable {
    fn describe(types: &mut wpool::TypeTable) -> u32 {
        <u32 as wpool::Schema>::describe(types)
    }
}

#[test]
fn b83_what_cannot_be_written_is_the_callers_error_and_takes_no_place() {
    bounded(|| {
        let pool = two();
        let queue: Queue<Unwritable> = pool.manager().queue(1);
        assert!(matches!(queue.put(&Unwritable), Err(ObjectError::BadValue(_))));
        assert_eq!((queue.qsize(), queue.full()), (Ok(0), Ok(false)));
    });
}

#[test]
fn b84_a_closed_queue_takes_nothing_and_has_nothing() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().simple_queue();
        queue.put(&1).unwrap();
        assert_eq!((queue.close(), queue.close()), (Ok(()), Ok(())));
        assert_eq!(queue.put(&2), Err(ObjectError::Closed));
        assert_eq!((queue.empty(), queue.get()), (Ok(false), Ok(1)), "what was put before can be had");
        assert_eq!((queue.get(), queue.empty()), (Err(ObjectError::Closed), Err(ObjectError::Closed)));
        let producer = call::<_, ()>(&pool, "produce", &(1u32, queue.sender()));
        assert!(producer.result().unwrap_err().to_string().contains("it is closed"));
    });
}

#[test]
fn b85_b87_messages_are_kept_apart_whatever_their_size() {
    bounded(|| {
        let pool = two();
        let (here, there) = pool.manager().pipe::<String>(PipeMode::Duplex);
        let echo = call::<_, u32>(&pool, "echo", &there);
        let large = "x".repeat(16 << 20);
        for message in ["", "ab", "", "c", &large] {
            here.send(&message.to_owned()).unwrap();
        }
        for message in ["", "AB", "", "C", &large.to_uppercase()] {
            assert!(here.recv().unwrap() == message);
        }
        here.send(&"END".to_owned()).unwrap();
        assert_eq!(echo.result(), Ok(5));
    });
}

#[test]
fn b86_poll_tells_whether_a_message_waits() {
    bounded(|| {
        let pool = two();
        let (here, there) = pool.manager().pipe::<u32>(PipeMode::Duplex);
        assert_eq!(here.poll(Duration::ZERO), Ok(false));
        assert_eq!(late(|| here.poll(SOON)), Ok(false));
        there.send(&1).unwrap();
        assert_eq!(
            (here.poll(Duration::MAX), here.poll(Duration::ZERO), here.recv()),
            (Ok(true), Ok(true), Ok(1))
        );
    });
}

#[test]
fn b88_the_end_of_a_pipe_is_seen_and_the_wrong_way_is_none() {
    bounded(|| {
        let pool = two();
        let (here, there) = pool.manager().pipe::<String>(PipeMode::Duplex);
        // The task had the only handle on its end.
        call::<_, u32>(&pool, "send_and_go", &there).result().unwrap();
        drop(there);
        assert_eq!((here.recv().as_deref(), here.recv()), (Ok("bye"), Err(ObjectError::Closed)));
        assert_eq!(here.send(&String::new()), Err(ObjectError::Closed));
        let (receives, sends) = pool.manager().pipe::<u32>(PipeMode::OneWay);
        assert_eq!(receives.send(&1), Err(ObjectError::NoRight));
        assert_eq!(
            (sends.recv(), sends.recv_timeout(SOON)),
            (Err(ObjectError::NoRight), Err(ObjectError::NoRight))
        );
        sends.send(&1).unwrap();
        assert_eq!(receives.recv(), Ok(1));
    });
}

#[test]
fn b89_the_first_of_many_pipes_is_waited_for() {
    bounded(|| {
        let pool = two();
        let (a, to_a) = pool.manager().pipe::<u32>(PipeMode::OneWay);
        let (b, to_b) = pool.manager().pipe::<String>(PipeMode::OneWay);
        let queue: Queue<u32> = pool.manager().queue(1);
        let all: [&dyn wpool::Readable; 3] = [&a, &b, &queue];
        assert_eq!(wait_ready(&all, Duration::ZERO), Ok(vec![]));
        assert_eq!(late(|| wait_ready(&all, SOON)), Ok(vec![]));
        to_b.send(&"b".to_owned()).unwrap();
        assert_eq!(wait_ready(&all, None), Ok(vec![1]));
        queue.put(&1).unwrap();
        drop(to_a);
        assert_eq!(wait_ready(&all, None), Ok(vec![0, 1, 2]), "the end of a pipe is ready");
        assert_eq!((b.recv().as_deref(), a.recv(), queue.get()), (Ok("b"), Err(ObjectError::Closed), Ok(1)));
        // Somebody else's thread wakes the one that waits.
        let waiting = thread::spawn({
            let (b, queue) = (b.clone(), queue.clone());
            move || wait_ready(&[&b, &queue.receiver()], None)
        });
        call::<_, ()>(&pool, "produce", &(1u32, queue.sender())).result().unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(vec![1]));
    });
}

#[test]
fn b91_b93_a_lock_is_held_once_and_seen_to_be() {
    bounded(|| {
        let pool = two();
        let lock: Lock = pool.manager().lock();
        assert_eq!(lock.locked(), Ok(false));
        let guard = lock.acquire().unwrap();
        assert_eq!(lock.try_acquire().err(), Some(ObjectError::Held));
        assert_eq!(late(|| lock.acquire_timeout(SOON)).err(), Some(ObjectError::TimedOut));
        assert_eq!(call::<_, bool>(&pool, "sees_locked", &lock).result(), Ok(true));
        // A guard may be dropped by another thread than the one that holds the lock.
        thread::spawn(move || drop(guard)).join().unwrap();
        assert_eq!(call::<_, bool>(&pool, "sees_locked", &lock).result(), Ok(false));
        let (held, go): (Event, Event) = (pool.manager().event(), pool.manager().event());
        let holder = call::<_, ()>(&pool, "hold_until", &(lock.clone(), held.clone(), go.clone()));
        held.wait().unwrap();
        assert_eq!(lock.try_acquire().err(), Some(ObjectError::Held));
        go.set().unwrap();
        drop(lock.acquire().unwrap());
        holder.result().unwrap();
    });
}

#[test]
fn b92_a_reentrant_lock_counts() {
    bounded(|| {
        let pool = two();
        let lock: RLock = pool.manager().rlock();
        let guards: Vec<_> = (0..3).map(|_| lock.acquire().unwrap()).collect();
        let other = thread::spawn({
            let lock = lock.clone();
            move || lock.try_acquire().err()
        });
        assert_eq!(other.join().unwrap(), Some(ObjectError::Held));
        for guard in guards {
            assert_eq!(lock.locked(), Ok(true));
            drop(guard);
        }
        assert_eq!(lock.locked(), Ok(false));
    });
}

#[test]
fn b94_b95_a_semaphore_counts_and_a_bounded_one_has_an_end() {
    bounded(|| {
        let pool = two();
        let semaphore: Semaphore = pool.manager().semaphore(2);
        let (one, two) = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
        assert_eq!(semaphore.get_value(), Ok(0));
        assert_eq!(semaphore.try_acquire().err(), Some(ObjectError::Held));
        assert_eq!(late(|| semaphore.acquire_timeout(SOON)).err(), Some(ObjectError::TimedOut));
        drop((one, two));
        semaphore.release(1).unwrap();
        assert_eq!(semaphore.get_value(), Ok(3));
        let bounded = pool.manager().bounded_semaphore(1);
        assert_eq!(bounded.release(1), Err(ObjectError::TooOften));
        bounded.acquire().unwrap().forget();
        assert_eq!((bounded.release(1), bounded.release(1)), (Ok(()), Err(ObjectError::TooOften)));
    });
}

#[test]
fn b96_b97_b98_a_condition_wakes_as_many_as_it_is_told() {
    bounded(|| {
        let pool = two();
        let condition = pool.manager().condition();
        let guard = condition.acquire().unwrap();
        assert_eq!(late(|| guard.wait_timeout(SOON)), Ok(false));
        drop(guard);
        let woken = Arc::new(AtomicU32::new(0));
        let sleepers: Vec<_> = (0..5)
            .map(|_| {
                let (condition, woken) = (condition.clone(), Arc::clone(&woken));
                thread::spawn(move || {
                    let guard = condition.acquire().unwrap();
                    guard.wait().unwrap();
                    woken.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        let notify = |most| condition.acquire().unwrap().notify(most).unwrap();
        // They fall asleep one after the other; as many are woken as were asleep.
        let mut slept = 0;
        while slept < 2 {
            slept += notify(1);
        }
        until("two are awake", || woken.load(Ordering::SeqCst) == 2);
        while slept < 5 {
            slept += condition.acquire().unwrap().notify_all().unwrap();
        }
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        assert_eq!((woken.load(Ordering::SeqCst), notify(9)), (5, 0));
        // A predicate is looked at again after each notification.
        let value: Value<u32> = pool.manager().value(&0).unwrap();
        let waiting = thread::spawn({
            let (condition, value) = (condition.clone(), value.clone());
            move || condition.acquire().unwrap().wait_for(|| value.get() == Ok(3))
        });
        for n in 1..=3 {
            let guard = condition.acquire().unwrap();
            value.set(&n).unwrap();
            guard.notify_all().unwrap();
        }
        waiting.join().unwrap().unwrap();
        let guard = condition.acquire().unwrap();
        assert_eq!(late(|| guard.wait_for_timeout(|| value.get() == Ok(4), SOON)), Ok(false));
        assert_eq!(guard.wait_for_timeout(|| value.get() == Ok(3), SOON), Ok(true));
    });
}

#[test]
fn b99_an_event_is_a_flag_that_wakes_all() {
    bounded(|| {
        let pool = two();
        let event: Event = pool.manager().event();
        assert_eq!((event.is_set(), late(|| event.wait_timeout(SOON))), (Ok(false), Ok(false)));
        let there: Semaphore = pool.manager().semaphore(0);
        let waiting: Vec<_> =
            (0..3).map(|_| call::<_, ()>(&pool, "wait_for_event", &(event.clone(), there.clone()))).collect();
        (0..3).for_each(|_| there.acquire().unwrap().forget());
        assert!(waiting.iter().all(|task| task.result_timeout(SOON).is_err()), "they wait");
        event.set().unwrap();
        waiting.iter().for_each(|task| task.result().unwrap());
        assert_eq!((event.is_set(), event.wait_timeout(Duration::ZERO)), (Ok(true), Ok(true)));
        event.clear().unwrap();
        assert_eq!((event.is_set(), event.wait_timeout(Duration::ZERO)), (Ok(false), Ok(false)));
    });
}

#[test]
fn b100_a_barrier_is_passed_together_a_thousand_times() {
    bounded(|| {
        let pool = two();
        let acted = Arc::new(AtomicU32::new(0));
        for count in [10u32, 1000] {
            acted.store(0, Ordering::SeqCst);
            let act = {
                let acted = Arc::clone(&acted);
                move || {
                    acted.fetch_add(1, Ordering::SeqCst);
                }
            };
            let barrier: Barrier = pool.manager().barrier_with(3, act);
            let parties: Vec<_> =
                (0..3).map(|_| call::<_, Vec<u64>>(&pool, "rounds", &(barrier.clone(), count))).collect();
            let places: Vec<Vec<u64>> = parties.iter().map(|party| party.result().unwrap()).collect();
            for round in 0..count as usize {
                let mut round: Vec<u64> = places.iter().map(|places| places[round]).collect();
                round.sort_unstable();
                assert_eq!(round, [0, 1, 2]);
            }
            assert_eq!(acted.load(Ordering::SeqCst), count, "once a round");
        }
    });
}

#[test]
fn b101_a_broken_barrier_is_broken_for_all() {
    bounded(|| {
        let pool = two();
        let barrier: Barrier = pool.manager().barrier(2);
        let comes = |barrier: &Barrier| call::<_, Vec<u64>>(&pool, "rounds", &(barrier.clone(), 1u32));
        let breaks = |barrier: &Barrier, how: &dyn Fn(&Barrier)| {
            let inside = comes(barrier);
            until("it waits", || barrier.n_waiting() == Ok((1, 2)));
            how(barrier);
            assert!(inside.result().unwrap_err().to_string().contains("the barrier is broken"));
        };
        breaks(&barrier, &|barrier| barrier.abort().unwrap());
        assert_eq!((barrier.broken(), barrier.wait()), (Ok(true), Err(ObjectError::Broken)));
        barrier.reset().unwrap();
        breaks(&barrier, &|barrier| barrier.reset().unwrap());
        let party = comes(&barrier);
        assert!(barrier.wait().is_ok() && party.result().is_ok(), "it can be used again");
        assert_eq!(late(|| barrier.wait_timeout(SOON)), Err(ObjectError::Broken));
        assert_eq!((barrier.broken(), barrier.wait()), (Ok(true), Err(ObjectError::Broken)));
        // So does a time that the barrier itself sets, for who says nothing.
        let impatient = pool.manager().barrier_timeout(2, SOON);
        let outcome = late(|| comes(&impatient).result());
        assert!(outcome.unwrap_err().to_string().contains("broken"));
        assert_eq!(impatient.wait(), Err(ObjectError::Broken));
        impatient.reset().unwrap();
        assert_eq!(late(|| impatient.wait()), Err(ObjectError::Broken));
        let failing = pool.manager().barrier_with(1, || panic!("as it was told"));
        assert_eq!((failing.wait(), failing.broken()), (Err(ObjectError::Broken), Ok(true)));
        let alone = pool.manager().barrier(1);
        assert_eq!((alone.wait(), alone.wait()), (Ok(0), Ok(0)));
    });
}

#[test]
fn b102_values_and_arrays_are_seen_from_both_sides() {
    bounded(|| {
        let pool = pool(WPOOL, OK_SHARED).build().unwrap();
        let array: SharedArray<u64> = pool.manager().shared_array(3).unwrap();
        array.set(0, 7).unwrap();
        call::<_, ()>(&pool, "fill", &(1u64, 3u64, array.clone())).result().unwrap();
        assert_eq!(array.to_vec(), Ok(vec![7, 1, 4]));
        let two = two();
        // No lock is attached: an update is whole without one.
        let value: Value<i64> = two.manager().value(&1).unwrap();
        let updates: Vec<_> =
            (0..4).map(|_| call::<_, ()>(&two, "update", &(100u32, value.clone()))).collect();
        updates.iter().for_each(|update| update.result().unwrap());
        assert_eq!(value.get(), Ok(401));
        let values: Array<String> = two.manager().array(&["a".to_owned()]).unwrap();
        assert_eq!(
            (values.get(0).as_deref(), values.get(1), values.len()),
            (Ok("a"), Err(ObjectError::NotFound), Ok(1))
        );
    });
}

#[test]
fn b103_shared_memory_outlives_tasks_and_workers_and_ends_with_its_last_handle() {
    bounded(|| {
        let pool =
            pool(WPOOL, OK_SHARED).workers(1).max_tasks_per_worker(1).shared_memory(8192).build().unwrap();
        let array: SharedArray<u64> = pool.manager().shared_array(1000).unwrap();
        for n in 0..5u64 {
            call::<_, ()>(&pool, "fill", &(n, n + 1, array.clone())).result().unwrap();
        }
        let squares: Vec<u64> = (0..5).map(|n| array.get(n).unwrap()).collect();
        assert_eq!((squares, array.len()), (vec![0, 1, 4, 9, 16], Ok(1000)));
        assert!(pool.manager().shared_array::<u64>(1000).is_err(), "it is there");
        drop(array);
        assert!(pool.manager().shared_array::<u64>(1000).is_ok(), "it is gone");
    });
}

#[test]
fn b104_containers_behave_as_local_ones_and_hold_each_other() {
    bounded(|| {
        let pool = two();
        let manager = pool.manager();
        let dict: Dict<String, List<u32>> = manager.dict();
        let list: List<u32> = manager.list();
        list.extend(&[3, 1, 2]).unwrap();
        dict.set(&"inner".to_owned(), &list).unwrap();
        let inner = dict.get(&"inner".to_owned()).unwrap().unwrap();
        inner.append(&9).unwrap();
        inner.insert(0, &7).unwrap();
        inner.set(-1, &8).unwrap();
        assert_eq!((list.pop(1), list.to_vec(), list.len()), (Ok(3), Ok(vec![7, 1, 2, 8]), Ok(4)));
        assert_eq!(dict.keys(), Ok(vec!["inner".to_owned()]));
        assert!(dict.remove(&"inner".to_owned()).unwrap().is_some() && dict.is_empty() == Ok(true));
        let queues: Queue<Queue<u32>> = manager.queue(1);
        queues.put(&manager.queue(1)).unwrap();
        let nested = queues.get().unwrap();
        nested.put(&5).unwrap();
        assert_eq!(nested.get(), Ok(5));
        let namespace: Namespace = manager.namespace();
        namespace.set("x", &10u32).unwrap();
        assert_eq!(
            (namespace.get::<u32>("x"), namespace.get::<String>("x")),
            (Ok(10), Err(ObjectError::WrongType))
        );
        assert_eq!(
            (namespace.remove("x"), namespace.get::<u32>("x")),
            (Ok(true), Err(ObjectError::NotFound))
        );
    });
}

/// The place of an index that may count from the end, as in Python.
fn place(at: i64, len: usize) -> Option<usize> {
    let from_start = if at < 0 { at + i64::try_from(len).unwrap() } else { at };
    usize::try_from(from_start).ok().filter(|place| *place < len)
}

/// Does one thing to a list and to a vector, and compares what both say.
fn change_both(list: &List<u32>, local: &mut Vec<u32>, act: u64, at: i64, value: u32) {
    let found = place(at, local.len());
    match act % 6 {
        0 => {
            list.append(&value).unwrap();
            local.push(value);
        }
        1 => {
            list.insert(at, &value).unwrap();
            let len = i64::try_from(local.len()).unwrap();
            let before = if at < 0 { (at + len).max(0) } else { at.min(len) };
            local.insert(usize::try_from(before).unwrap(), value);
        }
        2 => assert_eq!(list.get(at), found.map(|at| local[at]).ok_or(ObjectError::NotFound)),
        3 => assert_eq!(list.pop(at), found.map(|at| local.remove(at)).ok_or(ObjectError::NotFound)),
        4 => {
            let replaced = found.map(|at| local[at] = value).ok_or(ObjectError::NotFound);
            assert_eq!(list.set(at, &value), replaced);
        }
        _ => {
            list.extend(&[value, value + 1]).unwrap();
            local.extend([value, value + 1]);
        }
    }
}

#[test]
fn b104_containers_change_as_local_ones_do() {
    bounded(|| {
        let pool = two();
        let (list, dict): (List<u32>, Dict<u32, String>) = (pool.manager().list(), pool.manager().dict());
        let (mut vec, mut map) = (Vec::new(), std::collections::BTreeMap::new());
        let mut state: u64 = 104;
        for value in 0..1500u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = state >> 33;
            change_both(&list, &mut vec, random, i64::try_from(random / 6 % 21).unwrap() - 10, value);
            assert_eq!((list.len(), list.is_empty()), (Ok(vec.len() as u64), Ok(vec.is_empty())));
            let (key, text) = (u32::try_from(random % 9).unwrap(), value.to_string());
            match random / 200 % 5 {
                0 => assert_eq!(dict.insert(&key, &text), Ok(map.insert(key, text))),
                1 => {
                    assert_eq!(dict.set_default(&key, &text), Ok(map.get(&key).cloned()));
                    map.entry(key).or_insert(text);
                }
                2 => assert_eq!(dict.remove(&key), Ok(map.remove(&key))),
                3 => {
                    dict.set(&key, &text).unwrap();
                    map.insert(key, text);
                }
                _ => assert_eq!(dict.get(&key), Ok(map.get(&key).cloned())),
            }
            assert_eq!((dict.len(), dict.is_empty()), (Ok(map.len() as u64), Ok(map.is_empty())));
            // Iteration goes over everything that is there, of one instant.
            if value % 50 == 0 {
                assert_eq!(list.to_vec().as_ref(), Ok(&vec));
                let mut items = dict.items().unwrap();
                items.sort();
                assert!(items.iter().map(|(key, text)| (key, text)).eq(&map), "{items:?} {map:?}");
                let mut keys = dict.keys().unwrap();
                keys.sort_unstable();
                assert!(keys.iter().eq(map.keys()));
            }
        }
        assert!(vec.len() > 10 && map.len() > 2, "the changes did not cancel each other");
        list.clear().unwrap();
        dict.clear().unwrap();
        assert_eq!((list.to_vec(), dict.items()), (Ok(vec![]), Ok(vec![])));
    });
}

#[test]
fn b105_errors_of_objects_keep_their_kind_in_a_guest() {
    bounded(|| {
        let pool = two();
        let queue: Queue<u32> = pool.manager().queue(1);
        let (sender, receiver): (Sender<u32>, Receiver<u32>) = (queue.sender(), queue.receiver());
        let seen: Vec<String> =
            call(&pool, "errors", &(sender, receiver, pool.manager().lock())).result().unwrap();
        assert_eq!(seen, ["Err(Empty)", "Err(Empty)", "Ok(())", "Err(Full)", "Err(Full)", "Some(Held)"]);
    });
}

#[test]
fn b106_a_manager_ends_by_shutdown_and_its_waits_with_its_pool() {
    bounded(|| {
        let pool = two();
        let (here, there): (Connection<u32>, Connection<u32>) = pool.manager().pipe(PipeMode::Duplex);
        let queue: Queue<u32> = pool.manager().queue(1);
        queue.put(&1).unwrap();
        let waiting = thread::spawn(move || (here.recv(), here));
        drop(pool);
        let (received, _here) = waiting.join().unwrap();
        assert_eq!(received, Err(ObjectError::PoolClosed), "no task will ever send");
        assert_eq!(there.send(&1), Ok(()), "what need not wait is served");
        assert_eq!((queue.get(), queue.get()), (Ok(1), Err(ObjectError::PoolClosed)));

        let manager = Manager::new();
        let (queue, pipe): (Queue<u32>, _) = (manager.queue(2), manager.pipe::<u32>(PipeMode::Duplex));
        queue.put(&1).unwrap();
        let waiting = thread::spawn(move || pipe.0.recv());
        manager.shutdown();
        assert_eq!(waiting.join().unwrap(), Err(ObjectError::PoolClosed));
        assert_eq!(
            (queue.get(), queue.put(&2)),
            (Err(ObjectError::PoolClosed), Err(ObjectError::PoolClosed))
        );
    });
}
